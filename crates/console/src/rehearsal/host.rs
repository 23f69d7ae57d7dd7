//! A box that takes notes of what it is to do, and does nothing.

use super::Steps;
use crate::commands::REBOOT_STEP;
use crate::host::{
    AlertStatus, BoxFacts, Caller, CecStatus, Checks, Clock, ClockStatus, ConsoleStatus, Consoles,
    Deed, DriveFacts, Hardware, Host, HostError, ImageVersions, LogEntry, Machine, Power, Role,
    Sensors, Settings, SettingsStore, SlotLed, Task, TimeSource, Trouble, UpdateId, UpdateState,
    UpdateTo, UserStatus,
};
use shelf::smart::SmartChange;
use std::time::Duration;

/// The box, and what it is to do.
pub(crate) struct RehearsalHost<'a> {
    real: &'a mut dyn Host,
    steps: &'a Steps,
    /// As they would be.
    settings: Settings,
}

impl<'a> RehearsalHost<'a> {
    /// Over the real one.
    pub(crate) fn new(real: &'a mut dyn Host, steps: &'a Steps) -> Self {
        let settings = real.settings().clone();
        Self {
            real,
            steps,
            settings,
        }
    }

    fn step(&self, deed: &Deed<'_>, step: String) -> Result<(), HostError> {
        self.real.check(deed)?;
        self.steps.note(step);
        Ok(())
    }
}

impl Checks for RehearsalHost<'_> {
    fn check(&self, deed: &Deed<'_>) -> Result<(), HostError> {
        self.real.check(deed)
    }
}

impl SettingsStore for RehearsalHost<'_> {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn change_settings(&mut self, settings: Settings) -> Result<(), HostError> {
        self.real.check(&Deed::Settings(&settings))?;
        for step in changes(&self.settings, &settings) {
            self.steps.note(step);
        }
        self.settings = settings;
        Ok(())
    }
}

/// What is different of settings.
fn changes(before: &Settings, now: &Settings) -> Vec<String> {
    let Settings {
        product,
        motd,
        syslog,
        timezone,
        spare_leds,
        // Of `set_time_source`.
        ntp: _,
    } = now;
    let mut steps = Vec::new();
    if *product != before.product {
        steps.push(format!("begin prompts with {product}"));
    }
    if *motd != before.motd {
        steps.push(if motd.is_empty() {
            "begin sessions without a message".to_owned()
        } else {
            format!("begin every session with '{motd}'")
        });
    }
    if *syslog != before.syslog {
        steps.push(match syslog {
            Some(target) => format!("send the log to {target}, too"),
            None => "send the log nowhere else any more".to_owned(),
        });
    }
    if *timezone != before.timezone {
        let zone = timezone.as_deref().unwrap_or("of the machine");
        steps.push(format!("tell dates in the time zone {zone}"));
    }
    if *spare_leds != before.spare_leds {
        let whether = if *spare_leds { "" } else { "no longer " };
        steps.push(format!("{whether}let LEDs show which drives are spares"));
    }
    steps
}

impl Hardware for RehearsalHost<'_> {
    fn smart_fault(&self) -> Option<String> {
        self.real.smart_fault()
    }

    fn begin(&mut self, task: Task) -> Result<u64, HostError> {
        self.steps.note(match task {
            Task::Led { slot, state, .. } => format!("let slot {slot} show {}", state.name()),
            Task::Smart { slot, change, .. } => match change {
                SmartChange::Enable(true) => {
                    format!("let the drive in slot {slot} keep count of its health")
                }
                SmartChange::Enable(false) => {
                    format!("keep the drive in slot {slot} from keeping count of its health")
                }
                SmartChange::Timers(timers) => format!(
                    "let the drive in slot {slot} try {} ms to read and {} ms to write",
                    timers.read_ms, timers.write_ms
                ),
                SmartChange::SelfTest(_) => format!("let the drive in slot {slot} test itself"),
                SmartChange::AbortSelfTest => {
                    format!("let the drive in slot {slot} end its self-test")
                }
            },
        });
        Ok(0)
    }

    fn finished(&mut self, _number: u64) -> Option<Result<(), HostError>> {
        Some(Ok(()))
    }

    fn leds(&self) -> Result<Vec<SlotLed>, HostError> {
        self.real.leds()
    }

    fn sensors(&self) -> Sensors {
        self.real.sensors()
    }
}

impl Clock for RehearsalHost<'_> {
    fn clock(&self) -> Result<ClockStatus, HostError> {
        self.real.clock()
    }

    fn parse_time(&self, text: &str, zone: Option<&str>) -> Result<u64, HostError> {
        self.real.parse_time(text, zone)
    }

    fn set_clock(&mut self, unix_seconds: u64) -> Result<(), HostError> {
        let zone = self.settings.timezone.clone();
        let time = self.real.local_time(unix_seconds, zone.as_deref())?;
        self.step(
            &Deed::SetClock(unix_seconds),
            format!("set the clock to {time}"),
        )
    }

    fn set_time_source(&mut self, source: &TimeSource) -> Result<(), HostError> {
        let is_off = || self.real.clock().is_ok_and(|clock| !clock.is_enabled);
        if [source, &self.settings.ntp] == [&TimeSource::Off; 2] && is_off() {
            return self.real.check(&Deed::TimeSource(source));
        }
        let step = match source {
            TimeSource::Default => {
                "have the time service keep the clock, with the servers that the box has".to_owned()
            }
            TimeSource::Off => "switch the time service off".to_owned(),
            TimeSource::Servers(servers) => {
                let servers = servers.join(" ");
                format!("have the time service keep the clock, with the servers {servers}")
            }
        };
        self.step(&Deed::TimeSource(source), step)?;
        self.settings.ntp = source.clone();
        Ok(())
    }
}

impl Machine for RehearsalHost<'_> {
    fn now(&self) -> Duration {
        self.real.now()
    }

    fn unix_seconds(&self) -> u64 {
        self.real.unix_seconds()
    }

    fn facts(&self) -> BoxFacts {
        self.real.facts()
    }

    fn drive_facts(&self, path: &str) -> DriveFacts {
        self.real.drive_facts(path)
    }

    fn temperatures(&self, paths: &[String]) -> Vec<Option<i32>> {
        self.real.temperatures(paths)
    }

    fn local_time(&self, unix_seconds: u64, zone: Option<&str>) -> Result<String, HostError> {
        self.real.local_time(unix_seconds, zone)
    }

    fn timezones(&self) -> Vec<String> {
        self.real.timezones()
    }

    fn power(&mut self, what: Power) -> Result<(), HostError> {
        let step = match what {
            Power::Reboot => REBOOT_STEP,
            Power::Halt => "stop the shelf in good order, and switch the machine off",
        };
        self.step(&Deed::Power(what), step.to_owned())
    }

    fn image(&self) -> Result<ImageVersions, HostError> {
        self.real.image()
    }

    fn begin_update(&mut self, to: UpdateTo<'_>, _: bool) -> Result<UpdateId, HostError> {
        let step = match to {
            UpdateTo::File(file) => format!("verify and write the update {file}"),
            UpdateTo::Other => "have the other version run after a reboot".to_owned(),
        };
        self.step(&Deed::Update(to), step)?;
        Ok(UpdateId::default())
    }

    fn update_state(&self, update: UpdateId) -> UpdateState {
        self.real.update_state(update)
    }

    fn is_debugging(&self) -> bool {
        self.real.is_debugging()
    }

    fn set_debugging(&mut self, on: bool) -> Result<(), HostError> {
        if on == self.real.is_debugging() {
            return self.real.check(&Deed::Debugging(on));
        }
        let what = if on {
            "everything"
        } else {
            "what it told at the start"
        };
        self.step(&Deed::Debugging(on), format!("have the log tell {what}"))
    }

    fn send_syslog(&mut self, _: &str) -> Result<(), HostError> {
        let step = "send that text to the syslog target";
        self.step(&Deed::Syslog, step.to_owned())
    }

    fn write_bundle(&mut self, _: &[(String, String)]) -> Result<Option<String>, HostError> {
        let step = "write a bundle for those who are to help";
        self.step(&Deed::Bundle, step.to_owned())?;
        Ok(None)
    }

    fn saved(&self) -> Result<Vec<String>, HostError> {
        self.real.saved()
    }

    fn load(&self, name: &str) -> Result<String, HostError> {
        self.real.load(name)
    }

    fn save(&mut self, name: &str, _: &str) -> Result<(), HostError> {
        let is_there = self.real.saved()?.iter().any(|known| known == name);
        let over = if is_there {
            ", over the present one"
        } else {
            ""
        };
        let step = format!("save the configuration as {name}{over}");
        self.step(&Deed::Save(name), step)
    }
}

impl Consoles for RehearsalHost<'_> {
    fn consoles(&self) -> Vec<ConsoleStatus> {
        self.real.consoles()
    }

    fn kick(&mut self, id: u64, _: &Caller) -> Result<(), HostError> {
        self.step(&Deed::Kick(id), format!("end console {id}"))
    }

    fn users(&self) -> Result<Vec<UserStatus>, HostError> {
        self.real.users()
    }

    fn add_user(&mut self, name: &str, role: Role) -> Result<(), HostError> {
        let step = format!("add user {name}, {role}, without a password");
        self.step(&Deed::AddUser(name, role), step)
    }

    fn remove_user(&mut self, name: &str) -> Result<(), HostError> {
        let step = format!("remove user {name} and end the Ethernet consoles of that user");
        self.step(&Deed::RemoveUser(name), step)
    }

    fn set_role(&mut self, name: &str, role: Role) -> Result<(), HostError> {
        let step = format!("make user {name} {role}, and end the Ethernet consoles of that user");
        self.step(&Deed::SetRole(name, role), step)
    }

    fn is_password(&self, name: &str, password: &str) -> bool {
        self.real.is_password(name, password)
    }

    fn set_password(&mut self, name: &str, _: &str, _: &Caller) -> Result<(), HostError> {
        // Nobody is asked for a password in a rehearsal.
        let text = format!("the password of {name} is not set in a rehearsal");
        Err(HostError::Refused(text))
    }

    fn cec(&self) -> Vec<CecStatus> {
        self.real.cec()
    }

    fn set_cec(&mut self, interface: &str, is_enabled: bool) -> Result<(), HostError> {
        let deed = Deed::SetCec(interface, is_enabled);
        let is_so = |port: &CecStatus| port.interface == interface && port.is_enabled == is_enabled;
        if self.real.cec().iter().any(is_so) {
            return self.real.check(&deed);
        }
        let step = if is_enabled {
            format!("let the Ethernet console answer on {interface}")
        } else {
            format!("end the Ethernet console on {interface}, and its sessions there")
        };
        self.step(&deed, step)
    }

    fn log(&self, count: usize) -> (Vec<LogEntry>, u64) {
        self.real.log(count)
    }

    fn log_from(&self, position: u64) -> (Vec<LogEntry>, u64) {
        self.real.log_from(position)
    }

    fn alerts(&mut self, troubles: &[Trouble]) -> Vec<AlertStatus> {
        self.real.alerts(troubles)
    }

    fn acknowledge(&mut self, id: u64, _: &Caller) -> Result<(), HostError> {
        self.step(
            &Deed::Acknowledge(id),
            format!("note that you know of alert {id}"),
        )
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.real.troubles()
    }
}

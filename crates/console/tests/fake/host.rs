//! A box that exists in memory only, for tests of consoles.

use console::host::{
    AlertStatus, BoxFacts, Caller, CecStatus, Checks, Clock, ClockStatus, ConsoleStatus, Consoles,
    CpuTimes, Deed, DoorKind, DriveFacts, Hardware, HostError, ImageVersions, LedState, LogEntry,
    Machine, Power, Role, Sensors, Settings, SettingsStore, SlotLed, Task, TimeSource, Trouble,
    UpdateId, UpdateState, UpdateTo, UserStatus,
};
use shelf::admin::DriveSlot;
use std::collections::BTreeMap;
use std::time::Duration;

/// The box. Its time stands still until a test moves it.
#[derive(Clone, Debug)]
pub(crate) struct FakeHost {
    pub(crate) settings: Settings,
    /// Why settings cannot be stored.
    pub(crate) store_fault: Option<String>,
    pub(crate) now: Duration,
    pub(crate) consoles: Vec<ConsoleStatus>,
    pub(crate) users: BTreeMap<String, (Role, Option<String>)>,
    pub(crate) cec: Vec<CecStatus>,
    pub(crate) log: Vec<LogEntry>,
    pub(crate) acknowledged: BTreeMap<u64, String>,
    pub(crate) alerts_open: u64,
    pub(crate) troubles: Vec<Trouble>,
    /// Whether the firmware tells what the box is.
    pub(crate) has_firmware: bool,
    /// Whether somebody could stop it.
    pub(crate) has_power: bool,
    /// How it was stopped.
    pub(crate) stopped: Option<Power>,
    pub(crate) is_debugging: bool,
    /// Whether there is a time service.
    pub(crate) has_time_service: bool,
    /// Whether it keeps the clock.
    pub(crate) is_clock_kept: bool,
    /// What the clock told when `now` was nothing.
    pub(crate) clock_seconds: u64,
    /// The image that it was started from.
    pub(crate) image: Option<ImageVersions>,
    pub(crate) update: UpdateState,
    /// That of the update that was begun last.
    pub(crate) update_id: UpdateId,
    pub(crate) sent: Vec<String>,
    pub(crate) saved: BTreeMap<String, String>,
    /// Why no drive tells of its health.
    pub(crate) smart_fault: Option<String>,
    /// What the LEDs of slots show; without any, there are none.
    pub(crate) leds: BTreeMap<DriveSlot, LedState>,
    pub(crate) sensors: Sensors,
    /// What was begun, and why it failed.
    pub(crate) tasks: Vec<(Task, Result<(), HostError>)>,
    /// Whether what is begun takes a second.
    pub(crate) is_slow: bool,
    /// The files of the bundle that was written last.
    pub(crate) bundle: Vec<(String, String)>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            store_fault: None,
            now: Duration::ZERO,
            has_firmware: true,
            has_power: true,
            stopped: None,
            is_debugging: false,
            has_time_service: true,
            is_clock_kept: true,
            clock_seconds: 1_800_000_000,
            image: None,
            update: UpdateState::Running,
            update_id: UpdateId::default(),
            sent: Vec::new(),
            saved: BTreeMap::new(),
            bundle: Vec::new(),
            smart_fault: None,
            leds: BTreeMap::new(),
            sensors: Sensors::default(),
            tasks: Vec::new(),
            is_slow: false,
            consoles: Vec::new(),
            users: BTreeMap::new(),
            cec: Vec::new(),
            log: Vec::new(),
            acknowledged: BTreeMap::new(),
            alerts_open: 0,
            troubles: Vec::new(),
        }
    }
}

/// Somebody who may do everything.
pub(crate) fn administrator() -> Caller {
    Caller {
        user: "root".to_owned(),
        role: Role::Admin,
        door: DoorKind::Socket,
        address: String::new(),
    }
}

impl FakeHost {
    /// What starts next is the other one of two versions.
    fn go_back(&mut self, mut image: ImageVersions, is_plan: bool) -> UpdateState {
        let to = match &image.other {
            _ if image.next != image.running => image.running.clone(),
            Some(other) => other.clone(),
            None => {
                let text = "slot b has no version to go back to";
                return UpdateState::Failed(HostError::Refused(text.to_owned()));
            }
        };
        if is_plan {
            return UpdateState::Done(format!("would have version {to} run after a reboot"));
        }
        let said = format!("version {to} runs after a reboot");
        image.next = to;
        self.image = Some(image);
        UpdateState::Done(said)
    }

    fn fault(&self) -> Result<(), HostError> {
        self.store_fault
            .as_ref()
            .map_or(Ok(()), |fault| Err(HostError::Io(fault.clone())))
    }
}

/// What is refused is known by doing it to another one.
impl Checks for FakeHost {
    fn check(&self, deed: &Deed<'_>) -> Result<(), HostError> {
        let (mut other, by) = (self.clone(), administrator());
        match *deed {
            Deed::Settings(settings) => other.change_settings(settings.clone()),
            Deed::SetClock(seconds) => other.set_clock(seconds),
            Deed::TimeSource(source) => other.set_time_source(source),
            Deed::Power(what) => other.power(what),
            Deed::Update(to) => other.begin_update(to, true).map(drop),
            Deed::Debugging(on) => other.set_debugging(on),
            Deed::Syslog => other.send_syslog(""),
            Deed::Bundle => other.write_bundle(&[]).map(drop),
            Deed::Save(name) => other.save(name, ""),
            Deed::Kick(id) => other.kick(id, &by),
            Deed::AddUser(name, role) => other.add_user(name, role),
            Deed::RemoveUser(name) => other.remove_user(name),
            Deed::SetRole(name, role) => other.set_role(name, role),
            Deed::SetCec(interface, is_enabled) => other.set_cec(interface, is_enabled),
            Deed::Acknowledge(id) => other.acknowledge(id, &by),
        }
    }
}

impl SettingsStore for FakeHost {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn change_settings(&mut self, settings: Settings) -> Result<(), HostError> {
        self.fault()?;
        self.settings = settings;
        Ok(())
    }
}

impl Clock for FakeHost {
    fn clock(&self) -> Result<ClockStatus, HostError> {
        let service = self.is_clock_kept.then(|| "systemd-timesyncd".to_owned());
        let servers = match &self.settings.ntp {
            TimeSource::Servers(servers) => servers.clone(),
            _ => vec!["0.debian.pool.ntp.org".to_owned()],
        };
        Ok(ClockStatus {
            service,
            is_enabled: self.is_clock_kept,
            is_synchronized: self.is_clock_kept,
            servers: servers.into_iter().filter(|_| self.is_clock_kept).collect(),
        })
    }

    /// Times of one day.
    fn parse_time(&self, text: &str, zone: Option<&str>) -> Result<u64, HostError> {
        self.local_time(0, zone)?;
        let clock = text
            .strip_prefix("2026-11-27 ")
            .map(|clock| clock.split(':'));
        let numbers =
            clock.map(|parts| parts.map(str::parse::<u64>).collect::<Result<Vec<_>, _>>());
        match numbers {
            Some(Ok(parts)) if parts.len() == 3 && parts.iter().all(|part| *part < 60) => {
                Ok(1_795_737_600 + parts[0] * 3600 + parts[1] * 60 + parts[2])
            }
            _ => Err(HostError::Refused(format!(
                "{text} is no time: as 2026-11-27 01:10:03"
            ))),
        }
    }

    fn set_clock(&mut self, unix_seconds: u64) -> Result<(), HostError> {
        if self.is_clock_kept {
            let text = "systemd-timesyncd keeps the clock, and would set it back; first: ntp off";
            return Err(HostError::Refused(text.to_owned()));
        }
        self.clock_seconds = unix_seconds - self.now.as_secs();
        Ok(())
    }

    fn set_time_source(&mut self, source: &TimeSource) -> Result<(), HostError> {
        self.fault()?;
        let is_kept = *source != TimeSource::Off;
        if is_kept && !self.has_time_service {
            let text = "there is no time service on this box: apt install systemd-timesyncd there";
            return Err(HostError::Refused(text.to_owned()));
        }
        self.is_clock_kept = is_kept;
        self.settings.ntp = source.clone();
        Ok(())
    }
}

impl Machine for FakeHost {
    fn now(&self) -> Duration {
        self.now
    }

    fn unix_seconds(&self) -> u64 {
        self.clock_seconds + self.now.as_secs()
    }

    fn facts(&self) -> BoxFacts {
        let cpu = CpuTimes {
            user: 1000,
            system: 200,
            idle: 30_000,
            io_wait: 40,
            interrupts: 5,
        };
        BoxFacts {
            model: self.has_firmware.then(|| "Storage 2000".to_owned()),
            serial: self.has_firmware.then(|| "SN-0042".to_owned()),
            hostname: "shelf1".to_owned(),
            kernel: "6.12.37".to_owned(),
            uptime_seconds: 273_906,
            daemon_uptime_seconds: 3_661,
            load: ["0.10", "0.20", "0.30"].map(str::to_owned),
            memory_total_bytes: 8 << 30,
            memory_available_bytes: 7 << 30,
            daemon_resident_bytes: 150 << 20,
            cpus: vec![cpu; 2],
        }
    }

    /// Slot 0 has a SATA disk, slot 1 an NVMe drive; of the others the kernel knows nothing.
    fn drive_facts(&self, path: &str) -> DriveFacts {
        let text = |text: &str| Some(text.to_owned());
        let common = DriveFacts {
            logical_sector_bytes: Some(512),
            physical_sector_bytes: Some(4096),
            has_volatile_cache: Some(true),
            has_fua: Some(true),
            has_poll_queues: Some(false),
            ..DriveFacts::default()
        };
        match path {
            "/dev/disk0" => DriveFacts {
                device: text("sda"),
                model: text("Hitachi HUA722020ALA330"),
                serial: text("JK1101YAH0ZZZZ"),
                wwn: text("naa.5000cca221d7zzzz"),
                firmware: text("JKAOA3EA"),
                bus: text("sata"),
                link_speed: text("3.0 Gbps"),
                is_rotating: Some(true),
                rpm: Some(7200),
                bay: text("5003048001abcdef 4"),
                place: text("pci-0000:00:17.0-ata-1"),
                ..common
            },
            "/dev/disk1" => DriveFacts {
                device: text("nvme0n1"),
                model: text("SAMSUNG MZQL21T9HCJR-00A07"),
                firmware: text("GDC5602Q"),
                bus: text("nvme"),
                link_speed: text("16.0 GT/s PCIe x4"),
                is_rotating: Some(false),
                ..common
            },
            _ => DriveFacts::default(),
        }
    }

    fn temperatures(&self, paths: &[String]) -> Vec<Option<i32>> {
        let celsius = |path: &String| (path == "/dev/disk0").then_some(34);
        paths.iter().map(celsius).collect()
    }

    fn local_time(&self, unix_seconds: u64, zone: Option<&str>) -> Result<String, HostError> {
        let zone = zone.unwrap_or("UTC");
        if !self.timezones().iter().any(|known| known == zone) {
            let text = format!("unknown time zone {zone}; timezone -l lists all");
            return Err(HostError::Refused(text));
        }
        Ok(format!("second {unix_seconds} {zone}"))
    }

    fn timezones(&self) -> Vec<String> {
        ["Europe/Berlin", "UTC"].map(str::to_owned).to_vec()
    }

    fn power(&mut self, what: Power) -> Result<(), HostError> {
        if !self.has_power {
            let text = "there is no systemd here that could; do it where the machine is run";
            return Err(HostError::Refused(text.to_owned()));
        }
        self.stopped = Some(what);
        Ok(())
    }

    fn image(&self) -> Result<ImageVersions, HostError> {
        let text = "this machine was not started from the image of Ledge";
        let refused = || HostError::Refused(text.to_owned());
        self.image.clone().ok_or_else(refused)
    }

    /// Only `good.update` is signed and new; `slow.update` does not end.
    fn begin_update(&mut self, to: UpdateTo<'_>, is_plan: bool) -> Result<UpdateId, HostError> {
        let mut image = self.image()?;
        let UpdateTo::File(file) = to else {
            self.update = self.go_back(image, is_plan);
            self.update_id.0 += 1;
            return Ok(self.update_id);
        };
        let refused = |text: String| UpdateState::Failed(HostError::Refused(text));
        self.update = match (file, is_plan) {
            ("good.update", true) => {
                UpdateState::Done("would write version 1.3 into slot b".to_owned())
            }
            ("good.update", false) => {
                "1.3".clone_into(&mut image.next);
                image.other = Some(image.next.clone());
                self.image = Some(image);
                let text = "version 1.3 is in slot b and runs after a reboot";
                UpdateState::Done(text.to_owned())
            }
            ("slow.update", _) => UpdateState::Running,
            ("same.update", _) => refused(format!("version {} runs already", image.running)),
            ("short.update", _) => refused("short.update is truncated in root.squashfs".to_owned()),
            ("none.update", _) => refused("none.update: no such file".to_owned()),
            _ => refused(format!(
                "{file} is not signed by whom this machine takes updates from"
            )),
        };
        self.update_id.0 += 1;
        Ok(self.update_id)
    }

    fn update_state(&self, update: UpdateId) -> UpdateState {
        if update == self.update_id {
            return self.update.clone();
        }
        UpdateState::Failed(HostError::Refused("another was begun since".to_owned()))
    }

    fn is_debugging(&self) -> bool {
        self.is_debugging
    }

    fn set_debugging(&mut self, on: bool) -> Result<(), HostError> {
        self.is_debugging = on;
        Ok(())
    }

    fn send_syslog(&mut self, text: &str) -> Result<(), HostError> {
        if self.settings.syslog.is_none() {
            let text = "there is no syslog target; set one with: syslog ADDRESS";
            return Err(HostError::Refused(text.to_owned()));
        }
        self.sent.push(text.to_owned());
        Ok(())
    }

    fn write_bundle(&mut self, files: &[(String, String)]) -> Result<Option<String>, HostError> {
        self.fault()?;
        files.clone_into(&mut self.bundle);
        Ok(Some("/var/lib/ledge/sos/bundle.tar".to_owned()))
    }

    fn saved(&self) -> Result<Vec<String>, HostError> {
        Ok(self.saved.keys().cloned().collect())
    }

    fn load(&self, name: &str) -> Result<String, HostError> {
        let text = self.saved.get(name).cloned();
        text.ok_or_else(|| HostError::Refused(format!("no configuration is saved as {name}")))
    }

    fn save(&mut self, name: &str, text: &str) -> Result<(), HostError> {
        self.fault()?;
        self.saved.insert(name.to_owned(), text.to_owned());
        Ok(())
    }
}

impl Hardware for FakeHost {
    fn smart_fault(&self) -> Option<String> {
        self.smart_fault.clone()
    }

    fn begin(&mut self, task: Task) -> Result<u64, HostError> {
        let done = match task {
            Task::Led { slot, state, .. } => match self.leds.get_mut(&slot) {
                Some(led) => {
                    *led = state;
                    Ok(())
                }
                None => Err(HostError::Refused("this slot has no LED".to_owned())),
            },
            Task::Smart { .. } => Ok(()),
        };
        self.tasks.push((task, done));
        Ok(self.tasks.len() as u64 - 1 + self.now.as_secs() * 1000)
    }

    fn finished(&mut self, number: u64) -> Option<Result<(), HostError>> {
        if self.is_slow && number / 1000 == self.now.as_secs() {
            return None;
        }
        let index = usize::try_from(number % 1000).unwrap_or(usize::MAX);
        self.tasks.get(index).map(|(_, done)| done.clone())
    }

    fn leds(&self) -> Result<Vec<SlotLed>, HostError> {
        if self.leds.is_empty() {
            let text = "this box has no LEDs of slots that the kernel or ledctl could set";
            return Err(HostError::Refused(text.to_owned()));
        }
        let leds = self.leds.iter();
        Ok(leds
            .map(|(slot, state)| SlotLed {
                slot: *slot,
                state: *state,
            })
            .collect())
    }

    fn sensors(&self) -> Sensors {
        self.sensors.clone()
    }
}

impl Consoles for FakeHost {
    fn consoles(&self) -> Vec<ConsoleStatus> {
        self.consoles.clone()
    }

    fn kick(&mut self, id: u64, _by: &Caller) -> Result<(), HostError> {
        let before = self.consoles.len();
        self.consoles.retain(|console| console.id != id);
        if self.consoles.len() == before {
            return Err(HostError::Refused(format!("no console {id} is open")));
        }
        Ok(())
    }

    fn users(&self) -> Result<Vec<UserStatus>, HostError> {
        let status = |(name, (role, password)): (&String, &(Role, Option<String>))| UserStatus {
            name: name.clone(),
            role: *role,
            has_password: password.is_some(),
        };
        Ok(self.users.iter().map(status).collect())
    }

    fn add_user(&mut self, name: &str, role: Role) -> Result<(), HostError> {
        self.users.insert(name.to_owned(), (role, None));
        Ok(())
    }

    fn remove_user(&mut self, name: &str) -> Result<(), HostError> {
        match self.users.remove(name) {
            Some(_) => Ok(()),
            None => Err(HostError::Refused(format!("user {name} does not exist"))),
        }
    }

    fn set_role(&mut self, name: &str, role: Role) -> Result<(), HostError> {
        self.user(name)?.0 = role;
        Ok(())
    }

    fn is_password(&self, name: &str, password: &str) -> bool {
        let user = self.users.get(name);
        user.is_some_and(|(_, stored)| stored.as_deref() == Some(password))
    }

    fn set_password(&mut self, name: &str, password: &str, _by: &Caller) -> Result<(), HostError> {
        self.user(name)?.1 = Some(password.to_owned());
        Ok(())
    }

    fn cec(&self) -> Vec<CecStatus> {
        self.cec.clone()
    }

    fn set_cec(&mut self, interface: &str, is_enabled: bool) -> Result<(), HostError> {
        let mut ports = self.cec.iter_mut();
        let port = ports.find(|port| port.interface == interface);
        let port = port
            .ok_or_else(|| HostError::Refused(format!("interface {interface} does not exist")))?;
        port.is_enabled = is_enabled;
        Ok(())
    }

    fn log(&self, count: usize) -> (Vec<LogEntry>, u64) {
        let skipped = self.log.len().saturating_sub(count);
        (self.log[skipped..].to_vec(), self.log.len() as u64)
    }

    fn log_from(&self, position: u64) -> (Vec<LogEntry>, u64) {
        self.log(self.log.len() - usize::try_from(position).unwrap_or(usize::MAX))
    }

    fn alerts(&mut self, troubles: &[Trouble]) -> Vec<AlertStatus> {
        let alert = |(id, trouble): (u64, &Trouble)| AlertStatus {
            id,
            since_unix_seconds: 1_800_000_000,
            subject: trouble.subject.clone(),
            problem: trouble.problem.clone(),
            advice: trouble.advice.clone(),
            acknowledged_by: self.acknowledged.get(&id).cloned(),
        };
        let alerts: Vec<AlertStatus> = (1..).zip(troubles).map(alert).collect();
        self.alerts_open = alerts.len() as u64;
        alerts
    }

    fn acknowledge(&mut self, id: u64, by: &Caller) -> Result<(), HostError> {
        if id == 0 || id > self.alerts_open {
            return Err(HostError::Refused(format!("no alert {id} is open")));
        }
        self.acknowledged.insert(id, by.user.clone());
        Ok(())
    }

    fn troubles(&self) -> Vec<Trouble> {
        let clock = console::clock_trouble(self.unix_seconds());
        self.troubles.iter().cloned().chain(clock).collect()
    }
}

impl FakeHost {
    fn user(&mut self, name: &str) -> Result<&mut (Role, Option<String>), HostError> {
        let user = self.users.get_mut(name);
        user.ok_or_else(|| HostError::Refused(format!("user {name} does not exist")))
    }
}

//! The machine: `timezone`, `uptime`, `model`, `serial`, `lunserial`, `sysstat`, `mtu`, `debug`,
//! `motd`, `reboot`, `halt`.

use super::luns::named;
use super::{Outcome, Pending};
use crate::command::Options;
use crate::host::{BoxFacts, HostError, Power, World};
use crate::problem::Problem;
use crate::record::{CpuRecord, Record};
use crate::report::Report;
use shelf::admin::{Admin, LunNumber};

/// Most characters of the message of the day.
const MOTD_CHARACTERS_MAX: usize = 1024;

/// Tells, lists and sets the time zone of dates.
pub(super) fn timezone(report: &mut Report, world: &mut World<'_>, long: bool, words: &[String]) {
    let row = |report: &mut Report, name: String| {
        report.row(name.clone(), Record::Timezone { timezone: name });
    };
    if long && !words.is_empty() {
        return report.fail(Problem::Usage(TIMEZONE_USAGE), &[]);
    }
    if long {
        for name in world.host.timezones() {
            row(report, name);
        }
        return;
    }
    let Some(name) = words.first() else {
        let zone = world.host.settings().timezone.clone();
        return row(report, zone.unwrap_or_else(|| "local".to_owned()));
    };
    let zone = (name != "local").then(|| name.clone());
    // Known by being used.
    let now = world.host.unix_seconds();
    if let Err(error) = world.host.local_time(now, zone.as_deref()) {
        return report.fail(error, &[]);
    }
    change(report, world, |settings| settings.timezone = zone);
}

/// Changes settings, or tells why not.
pub(super) fn change(
    report: &mut Report,
    world: &mut World<'_>,
    edit: impl FnOnce(&mut crate::host::Settings),
) {
    let mut settings = world.host.settings().clone();
    edit(&mut settings);
    if let Err(error) = world.host.change_settings(settings) {
        report.fail(error, &[]);
    }
}

/// Tells since when machine and daemon run.
pub(super) fn uptime(report: &mut Report, world: &World<'_>) {
    let facts = world.host.facts();
    let (all, daemon) = (facts.uptime_seconds, facts.daemon_uptime_seconds);
    let load = facts.load.join(" ");
    report.row(
        format!("up {}, shelf up {}, load {load}", days(all), days(daemon)),
        Record::Uptime {
            seconds: all,
            daemon_seconds: daemon,
            load: facts.load,
        },
    );
}

/// `3 days 4:05:06`.
fn days(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        1 => format!("1 day {clock}"),
        days => format!("{days} days {clock}"),
    }
}

/// Tells what the machine is.
pub(super) fn model(report: &mut Report, world: &World<'_>) {
    fact(report, "model", world.host.facts().model);
}

/// Tells the serial number of the machine.
pub(super) fn serial(report: &mut Report, world: &World<'_>) {
    fact(report, "serial", world.host.facts().serial);
}

fn fact(report: &mut Report, name: &'static str, value: Option<String>) {
    match value {
        Some(value) => report.row(value.clone(), Record::Fact { name, value }),
        None => {
            let text = format!("the firmware of this machine tells no {name}");
            report.fail(HostError::Refused(text), &[]);
        }
    }
}

/// Lists the serial numbers of LUNs.
pub(super) fn lun_serial(report: &mut Report, admin: &dyn Admin, words: &[String]) {
    let luns = admin.luns();
    for (index, word) in words.iter().enumerate() {
        match named(&luns, word) {
            Ok(lun) => report.row(
                format!("{:<7} {}", lun.lun.to_string(), lun.serial),
                Record::LunSerial {
                    lun: lun.lun.get(),
                    serial: lun.serial.clone(),
                },
            ),
            Err(problem) => return report.fail(problem, &words[index + 1..]),
        }
    }
}

/// Tells what machine, memory and CPUs do, as `key=value` in blocks.
pub(super) fn sysstat(report: &mut Report, world: &World<'_>) {
    let facts = world.host.facts();
    let mut lines = vec![
        format!("hostname={}", facts.hostname),
        format!("kernel={}", facts.kernel),
        format!("uptime={}", facts.uptime_seconds),
        format!("load={}", facts.load.join(" ")),
        format!("memory={}", facts.memory_total_bytes),
        format!("memoryavailable={}", facts.memory_available_bytes),
        format!("shelfresident={}", facts.daemon_resident_bytes),
    ];
    for (index, cpu) in facts.cpus.iter().enumerate() {
        let (user, system, idle) = (cpu.user, cpu.system, cpu.idle);
        lines.push(String::new());
        lines.push(format!("cpu={index}"));
        lines.push(format!("user={user}"));
        lines.push(format!("system={system}"));
        lines.push(format!("idle={idle}"));
        lines.push(format!("iowait={}", cpu.io_wait));
        lines.push(format!("interrupts={}", cpu.interrupts));
    }
    report.rows(lines, record(facts));
}

fn record(facts: BoxFacts) -> Record {
    let cpu = |cpu: &crate::host::CpuTimes| CpuRecord {
        user: cpu.user,
        system: cpu.system,
        idle: cpu.idle,
        io_wait: cpu.io_wait,
        interrupts: cpu.interrupts,
    };
    Record::Machine {
        cpus: facts.cpus.iter().map(cpu).collect(),
        hostname: facts.hostname,
        kernel: facts.kernel,
        uptime_seconds: facts.uptime_seconds,
        load: facts.load,
        memory_total_bytes: facts.memory_total_bytes,
        memory_available_bytes: facts.memory_available_bytes,
        daemon_resident_bytes: facts.daemon_resident_bytes,
    }
}

/// Tells the MTU of ports. It is that of the interface when the port was opened.
pub(super) fn mtu(report: &mut Report, admin: &dyn Admin, words: &[String]) {
    let ports = admin.ports();
    let mut wanted = ports.iter().filter(|port| {
        let name = words.first();
        name.is_none_or(|name| *name == port.interface)
    });
    if let [name, ..] = words
        && wanted.clone().next().is_none()
    {
        return report.fail(Problem::NoInterface(name.clone()), &[]);
    }
    if let [name, bytes] = words {
        let text = format!(
            "the MTU of {name} is taken from the interface when the shelf starts: \
             ip link set {name} mtu {bytes}, also in the configuration of the network, then start it anew"
        );
        return report.fail(HostError::Refused(text), &[]);
    }
    wanted.by_ref().for_each(|port| {
        report.row(
            format!("{:<10} {:>6}", port.interface, port.mtu_bytes),
            Record::Mtu {
                name: port.interface.clone(),
                mtu_bytes: port.mtu_bytes,
            },
        );
    });
}

/// Tells whether the log tells everything, or changes that.
pub(super) fn debug(report: &mut Report, world: &mut World<'_>, words: &[String]) {
    let on = match words.first().map(String::as_str) {
        None => {
            let on = world.host.is_debugging();
            let text = if on { "on" } else { "off" };
            return report.row(text.to_owned(), Record::Debug { debug: on });
        }
        Some("on") => true,
        Some("off") => false,
        Some(other) => return report.fail(Problem::NotOnOff(other.to_owned()), &[]),
    };
    if let Err(error) = world.host.set_debugging(on) {
        report.fail(error, &[]);
    }
}

/// Shows the message of the day, or sets it.
pub(super) fn motd(
    report: &mut Report,
    world: &mut World<'_>,
    options: &Options,
    words: &[String],
) {
    let text = match (options.clean, words) {
        (false, []) => {
            let motd = world.host.settings().motd.clone();
            let lines = motd.lines().map(str::to_owned).collect();
            return report.rows(lines, Record::Motd { motd });
        }
        (true, []) => String::new(),
        (false, words) => words.join(" "),
        (true, _) => return report.fail(Problem::Usage(MOTD_USAGE), &[]),
    };
    if text.chars().count() > MOTD_CHARACTERS_MAX || text.chars().any(char::is_control) {
        return report.fail(Problem::InvalidMotd, &[]);
    }
    change(report, world, |settings| settings.motd = text);
}

const TIMEZONE_USAGE: &str = "timezone [-l] [-j] [name]";

const MOTD_USAGE: &str = "motd [-c] [text ...]";

/// A machine that is to be stopped, if the answer is yes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stop {
    what: Power,
    /// The LUNs whose hosts will wait.
    online: Vec<LunNumber>,
}

/// Stops the machine, or asks whether to.
pub(super) fn stop(world: &mut World<'_>, what: Power, force: bool) -> Outcome {
    let stop = Stop {
        what,
        online: online(world.admin),
    };
    if force {
        return stop.go(world);
    }
    let online = stop.online.len();
    let mut report = Report::default();
    let noun = if online == 1 { "LUN" } else { "LUNs" };
    let name = stop.name();
    report.line(format!("Request to {name} with {online} {noun} online"));
    Outcome {
        report,
        pending: Some(Pending::Stop(stop)),
        ..Outcome::default()
    }
}

fn online(admin: &dyn Admin) -> Vec<LunNumber> {
    let luns = admin.luns().into_iter().filter(|lun| lun.online);
    luns.map(|lun| lun.lun).collect()
}

impl Stop {
    fn name(&self) -> &'static str {
        match self.what {
            Power::Reboot => "reboot",
            Power::Halt => "halt",
        }
    }

    pub(super) fn question(&self) -> String {
        format!("'n' to cancel, or 'y' to {} [n]: ", self.name())
    }

    pub(super) fn answer(&self, world: &mut World<'_>, answer: &str) -> Outcome {
        if !matches!(answer.trim(), "y" | "Y") {
            return Report::from(Problem::Canceled).into();
        }
        let online = online(world.admin);
        match online.iter().find(|lun| !self.online.contains(lun)) {
            Some(lun) => {
                let what = format!("LUN {lun} has gone online");
                Report::from(Problem::Meanwhile(what)).into()
            }
            None => self.go(world),
        }
    }

    pub(super) fn go(&self, world: &mut World<'_>) -> Outcome {
        match world.host.power(self.what) {
            Ok(()) => Outcome::default(),
            Err(error) => Report::from(Problem::from(error)).into(),
        }
    }
}

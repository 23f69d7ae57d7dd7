//! What the machine tells of itself, and how it is stopped. Files of `/proc` and `/sys`, and systemd.

use crate::threads::spawn;
use console::host::{BoxFacts, CpuTimes, DriveFacts, HostError, Power};
use disk::facts::{Facts, Rotation, System, read_temperature};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Asks the kernel and the firmware.
pub(crate) fn facts(daemon_uptime: Duration) -> BoxFacts {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let name = rustix::system::uname();
    let firmware = |file: &str| {
        let text = read(&format!("/sys/class/dmi/id/{file}"));
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let memory = read("/proc/meminfo");
    let load = read("/proc/loadavg");
    let mut load = load.split_whitespace().map(str::to_owned);
    let uptime = read("/proc/uptime");
    let seconds = uptime.split(['.', ' ']).next().unwrap_or_default();
    BoxFacts {
        model: firmware("product_name"),
        serial: firmware("product_serial"),
        hostname: name.nodename().to_string_lossy().into_owned(),
        kernel: name.release().to_string_lossy().into_owned(),
        uptime_seconds: seconds.parse().unwrap_or(0),
        daemon_uptime_seconds: daemon_uptime.as_secs(),
        load: [(); 3].map(|()| load.next().unwrap_or_default()),
        memory_total_bytes: kib(&memory, "MemTotal:"),
        memory_available_bytes: kib(&memory, "MemAvailable:"),
        daemon_resident_bytes: kib(&read("/proc/self/status"), "VmRSS:"),
        cpus: cpus(&read("/proc/stat")),
    }
}

/// How long sensors of drives may take, all together.
const SENSORS: Duration = Duration::from_millis(500);

/// What the kernel tells of a drive.
pub(crate) fn drive_facts(path: &str) -> DriveFacts {
    let Some(facts) = Facts::of_path(&System::default(), Path::new(path)) else {
        return DriveFacts::default();
    };
    let bay = facts
        .bay
        .map(|bay| format!("{} {}", bay.enclosure, bay.number));
    DriveFacts {
        device: Some(facts.name),
        model: facts.model,
        serial: facts.serial,
        wwn: facts.wwn,
        firmware: facts.firmware,
        bus: Some(facts.bus.name().to_owned()),
        link_speed: facts.link_speed,
        is_rotating: facts
            .rotation
            .map(|rotation| rotation != Rotation::SolidState),
        rpm: match facts.rotation {
            Some(Rotation::Rotating(rpm)) => rpm,
            Some(Rotation::SolidState) | None => None,
        },
        logical_sector_bytes: facts.logical_sector_bytes,
        physical_sector_bytes: facts.physical_sector_bytes,
        has_volatile_cache: facts.has_volatile_cache,
        has_fua: facts.has_fua,
        has_poll_queues: facts.has_poll_queues,
        bay,
        place: facts.place,
    }
}

/// Asks all sensors at once: a drive that hangs holds up its own thread, and nobody else for long.
pub(crate) fn temperatures(paths: &[String]) -> Vec<Option<i32>> {
    let (sender, answers) = crossbeam::channel::unbounded();
    for (index, path) in paths.iter().enumerate() {
        let system = System::default();
        let facts = Facts::of_path(&system, Path::new(path));
        let Some(file) = facts.and_then(|facts| system.temperature_file(&facts.name)) else {
            continue;
        };
        let sender = sender.clone();
        let asked = spawn("sensor", move || {
            // Nobody listens any more when it has taken too long.
            let _ = sender.send((index, read_temperature(&file)));
        });
        if let Err(error) = asked {
            tracing::warn!("temperature of {path}: {error:#}");
        }
    }
    drop(sender);
    let deadline = Instant::now() + SENSORS;
    let mut celsius = vec![None; paths.len()];
    while let Ok((index, told)) = answers.recv_deadline(deadline) {
        celsius[index] = told;
    }
    celsius
}

/// The value of a line such as `MemTotal:  8000000 kB`.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// The lines `cpuN user nice system idle iowait irq softirq …`.
fn cpus(text: &str) -> Vec<CpuTimes> {
    let is_one = |line: &&str| {
        let digit = line
            .strip_prefix("cpu")
            .and_then(|rest| rest.bytes().next());
        digit.is_some_and(|byte| byte.is_ascii_digit())
    };
    let cpu = |line: &str| {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .map(|number| number.parse().unwrap_or(0))
            .collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        CpuTimes {
            user: at(0) + at(1),
            system: at(2),
            idle: at(3),
            io_wait: at(4),
            interrupts: at(5) + at(6),
        }
    };
    text.lines().filter(is_one).map(cpu).collect()
}

/// Whether systemd runs this machine, and no container of it. `root` is where its file system is.
fn may_stop(root: &Path) -> Result<(), HostError> {
    if root.join("run/systemd/container").exists() || root.join(".dockerenv").exists() {
        let text = "this is a container: stop it where it is run";
        return Err(HostError::Refused(text.to_owned()));
    }
    if !root.join("run/systemd/system").is_dir() {
        let text = "systemd does not run this machine: stop it as it is stopped otherwise";
        return Err(HostError::Refused(text.to_owned()));
    }
    Ok(())
}

/// Whether this machine would be stopped.
pub(crate) fn may_be_stopped() -> Result<(), HostError> {
    may_stop(Path::new("/"))
}

/// Has systemd stop the machine; it ends the daemon in good order before.
pub(crate) fn power(what: Power) -> Result<(), HostError> {
    may_be_stopped()?;
    let verb = match what {
        Power::Reboot => "reboot",
        Power::Halt => "poweroff",
    };
    // systemd listens to root.
    if rustix::process::geteuid().is_root() {
        return systemctl(verb).map_err(HostError::Io);
    }
    crate::helper::power(verb).map_err(|error| HostError::Io(format!("{verb}: {error}")))
}

/// Tells systemd what to do with the machine.
pub(crate) fn systemctl(verb: &str) -> Result<(), String> {
    let output = Command::new("systemctl")
        .args(["--no-block", verb])
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(format!("systemctl {verb}: {}", text.trim()))
        }
        Err(error) => Err(format!("systemctl {verb}: {error}")),
    }
}

/// A time zone by its name; `None` for that of the machine.
pub(crate) fn zone(name: Option<&str>) -> Result<jiff::tz::TimeZone, HostError> {
    let Some(name) = name else {
        return Ok(jiff::tz::TimeZone::system());
    };
    jiff::tz::TimeZone::get(name)
        .map_err(|_| HostError::Refused(format!("unknown time zone {name}; timezone -l lists all")))
}

/// A time in a zone, as people read it.
pub(crate) fn local_time(unix_seconds: u64, name: Option<&str>) -> Result<String, HostError> {
    let zone = zone(name)?;
    let seconds = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds)
        .map_err(|error| HostError::Refused(error.to_string()))?;
    Ok(time
        .to_zoned(zone)
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string())
}

/// The names of all time zones.
pub(crate) fn timezones() -> Vec<String> {
    jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_and_a_machine_without_systemd_are_not_stopped() {
        let root = tempfile::tempdir().unwrap();
        let refused = |root: &Path| may_stop(root).unwrap_err().to_string();
        assert!(refused(root.path()).contains("systemd does not run"));
        fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
        assert_eq!(may_stop(root.path()), Ok(()));
        fs::write(root.path().join("run/systemd/container"), "lxc").unwrap();
        assert!(refused(root.path()).contains("container"));
    }

    #[test]
    fn proc_is_read() {
        let facts = facts(Duration::from_secs(5));
        assert!(facts.memory_total_bytes > facts.daemon_resident_bytes);
        assert!(facts.daemon_resident_bytes > 0 && facts.uptime_seconds > 0);
        assert!(!facts.cpus.is_empty() && !facts.kernel.is_empty());
        let text = "cpu  9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 1\nintr 5\n";
        let first = CpuTimes {
            user: 3,
            system: 3,
            idle: 4,
            io_wait: 5,
            interrupts: 13,
        };
        assert_eq!(cpus(text)[0], first);
        assert_eq!(cpus(text).len(), 2);
        assert_eq!(kib("MemTotal:   10 kB\n", "MemTotal:"), 10_240);
        assert_eq!(kib("", "MemTotal:"), 0);
    }

    #[test]
    fn times_are_told_in_their_zone() {
        let time = |zone| local_time(1_764_205_803, Some(zone));
        assert_eq!(time("UTC").as_deref(), Ok("2025-11-27 01:10:03 UTC"));
        assert_eq!(
            time("Europe/Berlin").as_deref(),
            Ok("2025-11-27 02:10:03 CET")
        );
        assert!(time("Mars/Olympus").is_err());
        assert!(local_time(0, None).is_ok());
        assert!(timezones().iter().any(|name| name == "Europe/Berlin"));
    }
}

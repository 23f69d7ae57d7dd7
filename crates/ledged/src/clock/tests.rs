//! The clock over programs that note how they were called: `tests/programs`.

use super::*;

/// A box with systemd and systemd-timesyncd, which runs.
struct Box {
    directory: tempfile::TempDir,
    clock: SystemClock,
}

impl Box {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("run/systemd/system")).unwrap();
        fs::create_dir_all(root.join("usr/lib/systemd/system")).unwrap();
        let unit = root.join("usr/lib/systemd/system/systemd-timesyncd.service");
        fs::write(unit, "").unwrap();
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
        for program in ["timedatectl", "systemctl", "chronyc"] {
            let link = directory.path().join(program);
            std::os::unix::fs::symlink(programs.join(program), link).unwrap();
        }
        let clock = SystemClock {
            root,
            programs: Some(directory.path().to_owned()),
            is_asked: false,
        };
        let known = Self { directory, clock };
        known.has("can", "yes");
        known.has("ntp", "yes");
        known.has("synchronized", "yes");
        known.has("servers", "");
        known.has("active", TIMESYNCD);
        known.has("unit", "enabled");
        known
    }

    fn has(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), format!("{text}\n")).unwrap();
    }

    fn told(&self, name: &str) -> String {
        let text = fs::read_to_string(self.directory.path().join(name));
        text.unwrap_or_default().trim().to_owned()
    }

    fn drop_in(&self) -> Option<String> {
        fs::read_to_string(self.clock.drop_in()).ok()
    }
}

fn servers(names: &[&str]) -> TimeSource {
    TimeSource::Servers(names.iter().map(|name| (*name).to_owned()).collect())
}

fn refusal<T>(result: Result<T, HostError>) -> String {
    match result {
        Err(HostError::Refused(text)) => text,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was done"),
    }
}

#[test]
fn it_is_told_who_keeps_it() {
    let known = Box::new();
    let status = known.clock.status().unwrap();
    assert_eq!(status.service.as_deref(), Some(TIMESYNCD));
    assert!(status.is_enabled && status.is_synchronized);
    assert_eq!(
        status.servers,
        ["0.debian.pool.ntp.org", "1.debian.pool.ntp.org"]
    );
    known.has("servers", "10.0.0.1 10.0.0.2");
    known.has("synchronized", "no");
    let status = known.clock.status().unwrap();
    assert_eq!(status.servers, ["10.0.0.1", "10.0.0.2"]);
    assert!(!status.is_synchronized);
    known.has("active", "chrony");
    let status = known.clock.status().unwrap();
    assert_eq!(status.service.as_deref(), Some("chrony"));
    assert_eq!(status.servers, ["10.0.0.7", "time.example.org"]);
    known.has("active", "cron");
    known.has("ntp", "no");
    let nobody = ClockStatus {
        is_synchronized: false,
        ..ClockStatus::default()
    };
    assert_eq!(known.clock.status(), Ok(nobody));
}

#[test]
fn servers_are_set_kept_over_a_boot_and_taken_back() {
    let known = Box::new();
    known.has("ntp", "no");
    known
        .clock
        .keep(&servers(&["10.0.0.1", "time.example.org"]))
        .unwrap();
    let text = "# Set on the console of the shelf: ntp\n[Time]\nNTP=\nNTP=10.0.0.1 time.example.org\nFallbackNTP=\n";
    assert_eq!(known.drop_in().as_deref(), Some(text));
    assert_eq!(known.told("ntp"), "yes");
    let restart = "systemctl --no-block try-restart systemd-timesyncd.service";
    assert!(known.told("calls").ends_with(restart));
    // The daemon starts again: there is nothing to do. After a boot there is.
    fs::remove_file(known.directory.path().join("calls")).unwrap();
    let source = servers(&["10.0.0.1", "time.example.org"]);
    known.clock.restore(&source).unwrap();
    assert_eq!(known.told("calls"), "");
    fs::remove_file(known.clock.drop_in()).unwrap();
    known.clock.restore(&source).unwrap();
    assert_eq!(known.drop_in().as_deref(), Some(text));
    assert_eq!(known.told("calls"), restart);
    known.clock.keep(&TimeSource::Default).unwrap();
    assert_eq!(known.drop_in(), None);
    assert_eq!(known.told("ntp"), "yes");
    known.clock.keep(&source).unwrap();
    known.clock.keep(&TimeSource::Off).unwrap();
    assert_eq!((known.drop_in(), known.told("ntp").as_str()), (None, "no"));
}

/// What the kernel tells of a machine with the address 192.168.7.2 beside the loopback.
const ADDRESSES: &str = "\
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 127.255.255.255
        /32 link BROADCAST
     |-- 192.168.7.2
        /32 host LOCAL
     |-- 192.168.7.255
        /32 link BROADCAST
";

/// In the image nobody starts the service but the shelf, and no address is asked for.
#[test]
fn a_service_that_nobody_starts_runs_while_servers_are_set() {
    let known = Box::new();
    known.has("unit", "static");
    known.has("ntp", "no");
    let source = servers(&["192.168.7.1"]);
    let net = known.clock.root.join("proc/self/net");
    fs::create_dir_all(&net).unwrap();
    let loopback = ADDRESSES.replace("192.168.7.2", "127.0.0.2");
    fs::write(net.join("fib_trie"), loopback).unwrap();
    let told = refusal(known.clock.keep(&source));
    assert!(told.contains("no IP address"), "{told}");
    assert_eq!((known.drop_in(), known.told("ntp").as_str()), (None, "no"));

    fs::write(net.join("fib_trie"), ADDRESSES).unwrap();
    known.clock.keep(&source).unwrap();
    let start = "systemctl --no-block restart systemd-timesyncd.service";
    assert!(known.told("calls").ends_with(start));
    // After a boot, in which it was not started.
    fs::remove_file(known.clock.drop_in()).unwrap();
    fs::remove_file(known.directory.path().join("calls")).unwrap();
    known.clock.restore(&source).unwrap();
    assert!(known.told("calls").ends_with(start));
    assert!(known.drop_in().is_some());
    // There are no servers to go back to.
    let stop = "systemctl --no-block stop systemd-timesyncd.service";
    for nobody in [TimeSource::Default, TimeSource::Off] {
        known.clock.keep(&source).unwrap();
        known.clock.keep(&nobody).unwrap();
        assert!(known.told("calls").ends_with(stop));
        assert_eq!(known.drop_in(), None);
    }
    fs::remove_file(known.directory.path().join("calls")).unwrap();
    known.clock.restore(&TimeSource::Default).unwrap();
    assert_eq!(known.told("calls"), "");
}

#[test]
fn addresses_of_the_loopback_and_of_a_link_reach_no_server() {
    assert!(has_address(ADDRESSES, ""));
    for not in ["127.0.0.2", "169.254.3.4"] {
        assert!(!has_address(
            &ADDRESSES.replace("192.168.7.2\n", &format!("{not}\n")),
            ""
        ));
    }
    let six = |address: &str, scope: &str| format!("{address} 02 40 {scope} 80     eth0\n");
    let loopback = six("00000000000000000000000000000001", "10");
    let link = six("fe80000000000000505400fffe000201", "20");
    assert!(!has_address("", &format!("{loopback}{link}")));
    let global = six("fd000000000000000000000000000002", "00");
    assert!(has_address("", &format!("{loopback}{link}{global}")));
}

#[test]
fn what_fails_changes_nothing() {
    let known = Box::new();
    let before = servers(&["10.0.0.1"]);
    known.clock.keep(&before).unwrap();
    let text = known.drop_in();
    known.has("fails-set-ntp", "");
    for source in [servers(&["10.0.0.9"]), TimeSource::Default, TimeSource::Off] {
        let error = known.clock.keep(&source).unwrap_err();
        assert!(matches!(error, HostError::Io(_)));
        let told = error.to_string();
        assert!(told.starts_with("timedatectl set-ntp "), "{told}");
        assert!(
            told.ends_with("Failed to do set-ntp: Access denied"),
            "{told}"
        );
        assert_eq!(known.drop_in(), text, "{source:?}");
    }
}

#[test]
fn a_clock_that_is_kept_is_not_set() {
    let known = Box::new();
    let told = refusal(known.clock.set(1_764_205_803));
    assert_eq!(
        told,
        "systemd-timesyncd keeps the clock, and would set it back; first: ntp off"
    );
    assert_eq!(known.told("time"), "");
    known.clock.keep(&TimeSource::Off).unwrap();
    known.clock.set(1_764_205_803).unwrap();
    assert_eq!(known.told("time"), "@1764205803");
    for time in [0, TIMES.start - 1, TIMES.end] {
        assert!(refusal(known.clock.set(time)).contains("no time at which a shelf can be"));
    }
    assert_eq!(known.told("time"), "@1764205803");
}

#[test]
fn a_box_without_a_time_service_says_what_to_do() {
    let known = Box::new();
    known.has("active", "");
    known.has("can", "no");
    known.has("ntp", "no");
    for source in [servers(&["10.0.0.1"]), TimeSource::Default] {
        let told = refusal(known.clock.keep(&source));
        assert!(told.contains("apt install systemd-timesyncd"), "{told}");
    }
    known.clock.keep(&TimeSource::Off).unwrap();
    known.clock.set(1_764_205_803).unwrap();
    // Another service: it can be switched, and has its servers elsewhere.
    known.has("active", "chrony");
    known.has("can", "yes");
    let told = refusal(known.clock.keep(&servers(&["10.0.0.1"])));
    assert!(told.contains("/etc/chrony/sources.d"), "{told}");
    known.clock.keep(&TimeSource::Default).unwrap();
    assert_eq!(known.told("ntp"), "yes");
    assert_eq!(known.drop_in(), None);
    fs::remove_dir_all(known.clock.root.join("run")).unwrap();
    let told = refusal(known.clock.status());
    assert!(told.contains("systemd does not run this machine"), "{told}");
    assert_eq!(refusal(known.clock.keep(&TimeSource::Off)), told);
    assert_eq!(refusal(known.clock.set(1_764_205_803)), told);
    assert_eq!(known.clock.restore(&TimeSource::Default), Ok(()));
}

#[test]
fn a_program_that_hangs_is_not_waited_for() {
    let known = Box::new();
    known.has("hangs", "");
    let told = known.clock.status().unwrap_err().to_string();
    assert_eq!(told, "timedatectl show: it has not answered for 3 s");
    let clock = SystemClock {
        programs: Some(known.directory.path().join("nowhere")),
        root: known.clock.root.clone(),
        is_asked: false,
    };
    assert!(
        clock
            .status()
            .unwrap_err()
            .to_string()
            .contains("No such file")
    );
}

#[test]
fn times_are_read_in_their_zone() {
    let time = |text, zone| parse_time(text, Some(zone));
    assert_eq!(time("2025-11-27 01:10:03", "UTC"), Ok(1_764_205_803));
    assert_eq!(
        time("2025-11-27 02:10:03", "Europe/Berlin"),
        Ok(1_764_205_803)
    );
    assert_eq!(
        time("2025-11-27T01:10:03Z", "Europe/Berlin"),
        Ok(1_764_205_803)
    );
    assert_eq!(time("2025-11-27 01:10", "UTC"), Ok(1_764_205_800));
    assert_eq!(time("2025-11-27 02:10:03+01:00", "UTC"), Ok(1_764_205_803));
    for text in [
        "",
        "2025-11-27",
        "01:10:03",
        "2025-02-30 01:10:03",
        "1969-01-01 00:00:00",
        "tomorrow",
    ] {
        let told = refusal(time(text, "UTC"));
        assert!(told.contains("is no time"), "{text}: {told}");
    }
    assert!(refusal(time("2025-11-27 01:10:03", "Mars/Olympus")).contains("unknown time zone"));
}

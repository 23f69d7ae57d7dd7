//! What smartmontools says, as data: `qemu-*` are answers of smartctl 7.3 (Debian 12) in a machine of QEMU
//! with an NVMe, a SATA and a SCSI disk, and with one behind an adapter that refuses TEST UNIT READY (its
//! `megasas` does not do commands without data); the others are written by its schema, for drives that QEMU
//! has not.

use super::{SmartError, Smartctl, parse};
use shelf::smart::{RecoveryTimers, SelfTest, SelfTestKind, Smart, SmartChange};
use std::path::Path;
use std::time::{Duration, Instant};

fn sample(name: &str) -> Smart {
    parse(&text(name)).expect(name)
}

fn text(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/smart/samples");
    std::fs::read_to_string(directory.join(format!("{name}.json"))).expect(name)
}

#[test]
fn the_disks_of_qemu_are_well() {
    let nvme = sample("qemu-nvme");
    let expected = Smart {
        is_supported: Some(true),
        is_enabled: Some(true),
        has_passed: Some(true),
        celsius: Some(50),
        power_on_hours: Some(0),
        life_left_percent: Some(100),
        media_errors: Some(0),
        error_count: Some(0),
        is_nvme: true,
        ..Smart::default()
    };
    assert_eq!((nvme.word(), nvme), ("normal", expected));
    let sata = sample("qemu-sata");
    let expected = Smart {
        is_supported: Some(true),
        is_enabled: Some(true),
        has_passed: Some(true),
        celsius: Some(31),
        power_on_hours: Some(1),
        reallocated_sectors: Some(0),
        error_count: Some(0),
        exit_status: 4,
        ..Smart::default()
    };
    assert_eq!((sata.word(), sata), ("normal", expected));
}

#[test]
fn what_a_drive_does_not_tell_is_not_known() {
    let scsi = sample("qemu-scsi");
    assert_eq!(
        (scsi.is_supported, scsi.celsius, scsi.celsius_limit),
        (Some(false), None, None)
    );
    assert_eq!(scsi.word(), "unknown");
    assert_eq!(sample("qemu-sata-disabled").word(), "unknown");
    let least = r#"{"smartctl":{"exit_status":0}}"#;
    assert_eq!(parse(least).unwrap(), Smart::default());
    let wrong = r#"{"smart_status":{"passed":"yes"},"temperature":{"current":99999},"power_on_time":{"hours":-1},
        "ata_smart_attributes":{"table":[7,{"id":5}]},"smartctl":{"exit_status":0}}"#;
    assert_eq!(parse(wrong).unwrap(), Smart::default());
}

#[test]
fn what_is_no_answer_tells_nothing() {
    let error = |json: &str| parse(json).unwrap_err().to_string();
    for json in ["", "{", "Segmentation fault"] {
        assert!(error(json).starts_with("no JSON: "), "{json}");
    }
    let failed = r#"{"smart_status":{"passed":false},"smartctl":{"exit_status":"8"}}"#;
    for json in ["{}", "[]", "7", failed] {
        assert_eq!(error(json), "it told no exit status", "{json}");
    }
    let later = r#"{"json_format_version":[2,0],"smartctl":{"exit_status":0}}"#;
    assert_eq!(
        error(later),
        "its JSON is of version 2, and only 1 is understood"
    );
}

#[test]
fn a_sata_drive_that_fails_says_so() {
    let smart = sample("ata-failing");
    assert!(smart.predicts_failure);
    assert_eq!(smart.word(), "threshold exceeded");
    assert_eq!(smart.exit_status, 216);
    let sectors = (
        smart.reallocated_sectors,
        smart.pending_sectors,
        smart.uncorrectable_sectors,
    );
    assert_eq!(sectors, (Some(2043), Some(17), Some(3)));
    assert_eq!((smart.celsius, smart.celsius_limit), (Some(44), Some(60)));
    assert_eq!((smart.error_count, smart.errors.len()), (Some(212), 2));
    assert_eq!(
        smart.errors[0],
        "at 41200 h: Error: UNC at LBA = 0x00a1b2c3 = 10597059"
    );
    assert!(!smart.errors[1].contains('\x1b'), "{:?}", smart.errors[1]);
    let timers = RecoveryTimers {
        read_ms: 7000,
        write_ms: 0,
    };
    assert_eq!(smart.recovery, Some(timers));
    let self_test = SelfTest {
        remaining_percent: None,
        kind: Some("Extended offline".to_owned()),
        result: Some("Completed: read failure".to_owned()),
        has_passed: Some(false),
        at_hours: Some(41190),
    };
    assert_eq!(smart.self_test, self_test);
}

#[test]
fn wear_comes_from_what_the_standards_define_before_what_vendors_do() {
    let ssd = sample("ata-ssd");
    assert_eq!((ssd.life_left_percent, ssd.is_worn()), (Some(7), true));
    assert_eq!(ssd.self_test.remaining_percent, Some(60));
    let vendor = text("ata-ssd").replace("Percentage Used Endurance Indicator", "x");
    assert_eq!(parse(&vendor).unwrap().life_left_percent, Some(88));
    assert_eq!(sample("scsi-sas").life_left_percent, Some(93));
    assert_eq!(sample("nvme-worn").life_left_percent, Some(0), "132 % used");
}

#[test]
fn a_drive_that_is_warm_does_not_fail() {
    for (name, predicts, is_hot) in [
        ("nvme-worn", true, false),
        ("nvme-hot", false, true),
        ("scsi-failing", true, false),
        ("scsi-warm", false, true),
        ("scsi-sas", false, false),
    ] {
        let smart = sample(name);
        assert_eq!(
            (smart.predicts_failure, smart.is_hot()),
            (predicts, is_hot),
            "{name}"
        );
        assert_eq!(smart.word() == "normal", name == "scsi-sas", "{name}");
    }
    // The exit status alone says it, too.
    assert!(
        parse(r#"{"smartctl":{"exit_status":8}}"#)
            .unwrap()
            .predicts_failure
    );
}

#[test]
fn self_tests_of_every_kind_of_drive() {
    let hot = sample("nvme-hot").self_test;
    assert_eq!(hot.remaining_percent, Some(75));
    let worn = sample("nvme-worn");
    assert_eq!(worn.self_test.has_passed, Some(false));
    assert_eq!(worn.errors, ["Unrecovered Read Error at LBA 81920"]);
    let sas = sample("scsi-sas");
    assert_eq!(
        (sas.self_test.has_passed, sas.self_test.at_hours),
        (Some(true), Some(20000))
    );
    assert_eq!(
        (sas.reallocated_sectors, sas.media_errors),
        (Some(4), Some(3))
    );
    let running = sample("scsi-failing").self_test;
    assert_eq!(
        (running.remaining_percent, running.has_passed),
        (Some(100), None)
    );
}

/// A program in the place of `smartctl`. The shell reads it: a file that was just written cannot always be
/// executed while other threads start programs.
fn program(directory: &Path, body: &str, deadline: Duration) -> Smartctl {
    let path = directory.join("smartctl");
    std::fs::write(&path, format!("{body}\n")).unwrap();
    Smartctl::of_program("/bin/sh", &[path.as_os_str()], deadline)
}

const LONG: Duration = Duration::from_secs(120);

#[test]
fn it_is_asked_for_json_and_not_to_wake_anybody_up() {
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let body = format!(
        "echo \"$@\" >>{}; echo '{{\"smartctl\":{{\"exit_status\":0}},\"smart_status\":{{\"passed\":true}}}}'",
        seen.display()
    );
    let mut smartctl = program(directory.path(), &body, LONG);
    let device = Path::new("/dev/sdz");
    assert_eq!(smartctl.read(device).unwrap().has_passed, Some(true));
    smartctl.change(device, SmartChange::Enable(false)).unwrap();
    smartctl
        .change(device, SmartChange::SelfTest(SelfTestKind::Long))
        .unwrap();
    smartctl.change(device, SmartChange::AbortSelfTest).unwrap();
    let timers = RecoveryTimers {
        read_ms: 7001,
        write_ms: 0,
    };
    let none = smartctl
        .change(device, SmartChange::Timers(timers))
        .unwrap_err();
    assert!(
        matches!(none, SmartError::NotSupported),
        "it did not tell of any: {none}"
    );
    let seen = std::fs::read_to_string(&seen).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(
        lines,
        [
            "--json=co -n standby,3 -x /dev/sdz",
            "--json=co -i -s off /dev/sdz",
            "--json=co -t long /dev/sdz",
            "--json=co -X /dev/sdz",
            "--json=co -l scterc,71,0 /dev/sdz",
        ]
    );
}

#[test]
fn a_disk_that_sleeps_is_told_from_one_that_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let answer = |json: &str| {
        let body = format!("cat <<'END'\n{json}\nEND");
        let mut smartctl = program(directory.path(), &body, LONG);
        smartctl.read(Path::new("/dev/sdz"))
    };
    let asleep = answer(
        r#"{"smartctl":{"messages":[{"string":"Device is in STANDBY mode, exit(3)"}],"exit_status":3}}"#,
    );
    assert!(matches!(asleep, Err(SmartError::Asleep)));
    let gone = answer(&text("qemu-gone"));
    let is_right = |told: &str| told.contains("/dev/sdc failed: No such device");
    assert!(
        matches!(&gone, Err(SmartError::Other(told)) if is_right(told)),
        "{gone:?}"
    );
    let virtual_disk = answer(
        r#"{"smartctl":{"messages":[{"string":"/dev/sdz: Unable to detect device type"}],"exit_status":1}}"#,
    );
    assert!(
        matches!(virtual_disk, Err(SmartError::UnknownKind(_))),
        "{virtual_disk:?}"
    );
    let refuses = answer(&text("qemu-megasas")).unwrap_err().to_string();
    assert_eq!(
        refuses,
        "smartctl: device Test Unit Ready  [medium or hardware error (serious)]"
    );
    let volume = answer(
        r#"{"smartctl":{"messages":[{"string":"Smartctl open device: /dev/sda failed: DELL or MegaRaid controller,
        please try adding '-d megaraid,N'"}],"exit_status":2}}"#
            .replace("\n        ", " ")
            .as_str(),
    );
    let volume = volume.unwrap_err().to_string();
    assert!(
        volume.contains("megaraid,N'; it is a volume") && volume.contains("JBOD"),
        "{volume}"
    );
    let silent = answer(r#"{"smartctl":{"output":["",7],"exit_status":2}}"#);
    let silent = silent.unwrap_err().to_string();
    assert!(silent.contains("does not say why"), "{silent}");
    for nonsense in ["Segmentation fault", "", "{}"] {
        let nonsense = answer(nonsense);
        assert!(
            matches!(nonsense, Err(SmartError::Unreadable(_))),
            "{nonsense:?}"
        );
    }
}

#[test]
fn what_a_drive_cannot_do_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let answer = |json: &str, change| {
        let body = format!("cat <<'END'\n{json}\nEND");
        let mut smartctl = program(directory.path(), &body, LONG);
        smartctl.change(Path::new("/dev/sdz"), change)
    };
    let nvme = text("qemu-nvme");
    assert!(answer(&nvme, SmartChange::Enable(true)).is_ok());
    let off = answer(&nvme, SmartChange::Enable(false));
    assert!(matches!(off, Err(SmartError::NotSupported)));
    let test = SmartChange::SelfTest(SelfTestKind::Short);
    assert!(
        matches!(answer(&nvme, test), Err(SmartError::NvmeSelfTest)),
        "7.3"
    );
    assert!(answer(&text("nvme-hot"), test).is_ok(), "7.4");
    let refused = answer(&text("qemu-scsi"), test);
    assert!(
        matches!(refused, Err(SmartError::NotSupported)),
        "exit status 4"
    );
    let abort = SmartChange::AbortSelfTest;
    assert!(matches!(
        answer(&nvme, abort),
        Err(SmartError::NvmeSelfTest)
    ));
    assert!(answer(&text("nvme-hot"), abort).is_ok());
}

#[test]
fn one_that_hangs_is_killed_and_more_than_a_pipe_holds_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let device = Path::new("/dev/sdz");
    let mut hanging = program(
        directory.path(),
        "exec sleep 600",
        Duration::from_millis(100),
    );
    let before = Instant::now();
    let late = hanging.read(device);
    assert!(matches!(late, Err(SmartError::Late(_))));
    assert!(before.elapsed() < LONG);
    let mut much = program(
        directory.path(),
        "echo '{\"x\":\"'; head -c 300000 /dev/zero | tr '\\0' x; echo '\"}'",
        LONG,
    );
    let long = much.read(device).unwrap_err();
    assert!(
        long.to_string().contains("no JSON"),
        "a string over lines, read to its end: {long}"
    );
    // Longer than any answer, and bytes that are no text.
    let mut endless = program(directory.path(), "exec cat /dev/zero", LONG);
    let told = endless.read(device);
    assert!(matches!(told, Err(SmartError::Unreadable(_))), "{told:?}");
    let mut bytes = program(
        directory.path(),
        "printf '{\"model_name\":\"\\377\",\"smartctl\":{\"exit_status\":0}}'",
        LONG,
    );
    assert!(bytes.read(device).is_ok());
    // Somebody that it has started keeps the pipe, and is not waited for.
    let pid = directory.path().join("pid");
    let body = format!("sleep 600 & echo $! >{}; echo '{{}}'", pid.display());
    let told = program(directory.path(), &body, LONG).read(device);
    let sleeper = std::fs::read_to_string(pid).unwrap();
    let mut kill = std::process::Command::new("kill");
    assert!(kill.arg(sleeper.trim()).status().unwrap().success());
    assert!(matches!(told, Err(SmartError::Late(_))), "{told:?}");
    let absent = Smartctl::of_program("/nowhere/smartctl", &[], LONG).read(device);
    assert!(matches!(absent, Err(SmartError::NotInstalled)));
}

/// What we type is what it takes: it gets as far as the device, which is none that tells anything.
#[test]
fn the_real_program_takes_every_option_that_we_have() {
    let mut smartctl = Smartctl::new(LONG);
    let device = Path::new("/dev/null");
    let timers = RecoveryTimers {
        read_ms: 7000,
        write_ms: 0,
    };
    let mut errors = vec![smartctl.read(device).map(drop)];
    for change in [
        SmartChange::Enable(true),
        SmartChange::Enable(false),
        SmartChange::Timers(timers),
        SmartChange::SelfTest(SelfTestKind::Short),
        SmartChange::SelfTest(SelfTestKind::Long),
        SmartChange::AbortSelfTest,
    ] {
        errors.push(smartctl.change(device, change));
    }
    for error in errors {
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("/dev/null: Unable to detect device type"),
            "{error}"
        );
    }
}

//! Drives themselves, their slots, and sensors.

use super::Bench;
use console::Next;
use console::events::Watcher;
use console::host::{Fan, HostError, LedState, PowerSupply, Task, Temperature};
use shelf::admin::{DriveRole, DriveSlot};
use shelf::smart::{RecoveryTimers, SelfTest, SelfTestKind, Smart, SmartChange, SmartMiss};
use std::sync::Arc;
use std::time::Duration;

/// What these drives tell, in order.
fn told() -> [Smart; 5] {
    let well = Smart {
        is_supported: Some(true),
        is_enabled: Some(true),
        has_passed: Some(true),
        celsius: Some(38),
        celsius_limit: Some(60),
        power_on_hours: Some(20_011),
        reallocated_sectors: Some(0),
        pending_sectors: Some(0),
        uncorrectable_sectors: Some(0),
        error_count: Some(0),
        recovery: Some(RecoveryTimers {
            read_ms: 7000,
            write_ms: 0,
        }),
        ..Smart::default()
    };
    let failing = Smart {
        has_passed: Some(false),
        predicts_failure: true,
        celsius: Some(61),
        reallocated_sectors: Some(2043),
        pending_sectors: Some(17),
        error_count: Some(212),
        errors: vec!["at 41200 h: Error: UNC at LBA = 0x00a1b2c3 = 10597059".to_owned()],
        self_test: SelfTest {
            remaining_percent: None,
            kind: Some("Extended offline".to_owned()),
            result: Some("Completed: read failure".to_owned()),
            has_passed: Some(false),
            at_hours: Some(41_190),
        },
        exit_status: 216,
        ..well.clone()
    };
    let worn = Smart {
        life_left_percent: Some(7),
        recovery: None,
        ..well.clone()
    };
    let testing = Smart {
        is_nvme: true,
        life_left_percent: Some(100),
        media_errors: Some(0),
        self_test: SelfTest {
            remaining_percent: Some(75),
            ..SelfTest::default()
        },
        recovery: None,
        ..well.clone()
    };
    let mute = Smart {
        is_supported: Some(false),
        ..Smart::default()
    };
    [well, failing, worn, testing, mute]
}

/// A shelf whose drives tell of their health: 1.0 is well, 1.1 fails, 1.2 is a worn SSD, 1.3 is an NVMe drive
/// that tests itself, 1.4 cannot tell, 1.5 never answered, and the others were not asked yet. 1.2 did not
/// answer the last time. Slots 0 to 3 have LEDs.
pub(super) fn watched() -> Bench {
    let mut bench = Bench::with_luns();
    for (slot, smart) in told().into_iter().enumerate() {
        bench.shelf.drives[slot].smart = Some(Arc::new(smart));
    }
    for (slot, times) in [(2, 1), (5, 3)] {
        let reason = "smartctl did not answer within 45 s".to_owned();
        bench.shelf.drives[slot].smart_miss = Some(Arc::new(SmartMiss { times, reason }));
    }
    bench.host.leds = (0..4)
        .map(|slot| (DriveSlot(slot), LedState::Off))
        .collect();
    sensors(&mut bench);
    bench
}

fn sensors(bench: &mut Bench) {
    bench.host.sensors.temperatures = vec![
        Temperature {
            location: "coretemp Package id 0".to_owned(),
            celsius: 41,
            celsius_limit: Some(100),
        },
        Temperature {
            location: "nct6798 SYSTIN".to_owned(),
            celsius: 33,
            celsius_limit: None,
        },
    ];
    let fan = |name: &str, rpm, is_faulty| Fan {
        name: name.to_owned(),
        rpm,
        is_faulty,
    };
    bench.host.sensors.fans = vec![
        fan("nct6798 fan1", 1200, false),
        fan("nct6798 fan2", 0, true),
    ];
    let supply = |name: &str, is_faulty, celsius, rpm| PowerSupply {
        name: name.to_owned(),
        is_faulty,
        celsius,
        rpm,
    };
    bench.host.sensors.supplies = vec![
        supply("pmbus", false, Some(35), vec![8000, 8100]),
        supply("pmbus 2", true, None, vec![]),
    ];
}

#[test]
fn what_takes_long_is_not_waited_for_and_done_one_after_the_other() {
    let mut bench = watched();
    bench.host.is_slow = true;
    let mut reply = bench.line("smartdisable 1.0-2");
    for begun in 1..=3 {
        let Next::Later { after } = reply.next else {
            panic!("{reply:?}");
        };
        assert!(after <= Duration::from_secs(1));
        assert_eq!(bench.host.tasks.len(), begun, "one at a time");
        bench.host.now += Duration::from_secs(1);
        reply = bench.session.go_on(&mut world!(bench));
    }
    assert_eq!((reply.output.as_str(), reply.next), ("", Next::Command));
    let changes = bench.host.tasks.iter().map(|(task, _)| task.clone());
    let disable = |slot: u16| Task::Smart {
        slot: DriveSlot(slot),
        path: bench.shelf.drives[usize::from(slot)].path.clone(),
        change: SmartChange::Enable(false),
    };
    assert_eq!(
        changes.collect::<Vec<_>>(),
        [disable(0), disable(1), disable(2)]
    );
}

#[test]
fn nothing_is_begun_when_one_of_the_drives_cannot() {
    for line in [
        "smartdisable 1.0 1.3",
        "smartenable 1.0 1.4",
        "selftest short 1.0 1.3",
        "selftest long 1.0 1.4",
        "erctimers -r 7000 1.0 1.2",
        "erctimers -r 7000",
        "erctimers -r 6553501 1.0",
        "setslotled fault 0 99",
        "setslotled on 0",
        "locate on 1.0 1.99",
        "locate off 1.0 5",
        "locate on 1.0 0",
        "locate on 5",
        "selftest middling 1.0",
        "selftest short",
        "selftest abort",
        "selftest abort 1.3 1.4",
    ] {
        let mut bench = watched();
        let reply = bench.line(line);
        assert!(
            reply.output.contains("error: ") || reply.output.contains("usage: "),
            "{line}: {}",
            reply.output
        );
        assert!(bench.host.tasks.is_empty(), "{line}");
    }
}

#[test]
fn timers_that_are_not_named_stay() {
    let mut bench = watched();
    assert_eq!(bench.line("erctimers -w 5000 1.0").output, "");
    assert_eq!(bench.line("selftest long 1.0").output, "");
    // The one that tests itself can only be ended.
    assert_eq!(bench.line("selftest abort 1.3").output, "");
    let change = |index: usize| match &bench.host.tasks[index].0 {
        Task::Smart { change, .. } => *change,
        task @ Task::Led { .. } => panic!("{task:?}"),
    };
    let timers = RecoveryTimers {
        read_ms: 7000,
        write_ms: 5000,
    };
    assert_eq!(change(0), SmartChange::Timers(timers));
    assert_eq!(change(1), SmartChange::SelfTest(SelfTestKind::Long));
    assert_eq!(change(2), SmartChange::AbortSelfTest);
}

#[test]
fn self_tests_are_among_the_jobs_of_when() {
    let mut bench = watched();
    let told = bench.line("when").output;
    let tests: Vec<&str> = told
        .lines()
        .filter(|line| line.ends_with("self-test"))
        .collect();
    assert_eq!(tests, ["1.3 25.00% ? KBps ?:??:?? left self-test"]);
    let json: serde_json::Value = serde_json::from_str(&bench.line("when -j").output).unwrap();
    let rows = json["data"].as_array().unwrap();
    assert_eq!(rows.last().unwrap()["remaining_percent"], 75);
}

#[test]
fn a_drive_that_fails_or_hangs_is_an_alert() {
    let mut bench = watched();
    let told = bench.line("alerts").output;
    for problem in [
        "drive 1.1 says by SMART that it will fail; ",
        "drive 1.5 did not tell of its health 3 times in a row: smartctl did not answer within 45 s; ",
    ] {
        assert!(told.contains(problem), "{told}");
    }
    assert!(!told.contains("drive 1.2 did not tell"), "once is no alert");
    let listed = bench.line("disks -s 1.0-2").output;
    let words: Vec<bool> = listed
        .lines()
        .map(|row| row.contains("threshold exceeded"))
        .collect();
    assert_eq!(words.iter().filter(|is_so| **is_so).count(), 1, "{listed}");
}

#[test]
fn slots_and_states_stand_in_either_order() {
    for line in [
        "setslotled fault 2 3",
        "setslotled 2-3 fault",
        "setslotled fault 1.2 1.3",
    ] {
        let mut bench = watched();
        assert_eq!(bench.line(line).output, "");
        let shown: Vec<_> = bench.host.leds.values().copied().collect();
        let off = LedState::Off;
        assert_eq!(
            shown,
            [off, off, LedState::Fault, LedState::Fault],
            "{line}"
        );
    }
    let mut bench = watched();
    bench.line("locate on 1.1 10");
    let located = Task::Led {
        slot: DriveSlot(1),
        state: LedState::Locate,
        seconds: Some(600),
    };
    assert_eq!(bench.host.tasks, [(located, Ok(()))]);
    // A bay is found where a disk is to be put into it.
    let mut bench = watched();
    let empty = DriveSlot(40);
    bench.host.leds.insert(empty, LedState::Off);
    assert_eq!(bench.line("setslotled locate 40").output, "");
    assert_eq!(bench.host.leds[&empty], LedState::Locate);
    assert!(bench.line("slotled 40").output.contains("40       locate"));
    bench.host.leds.remove(&empty);
    let none = HostError::Refused("this slot has no LED".to_owned());
    let output = bench.line("setslotled locate 0 9 1").output;
    assert_eq!(output, format!("error: 9: {none}\nskipping: 1\n"));
}

#[test]
fn health_tells_what_drives_tell_and_a_drive_that_is_being_replaced_needs_nothing() {
    let mut bench = watched();
    let told = bench.line("health").output;
    let lines: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("drive "))
        .collect();
    assert_eq!(
        lines,
        [
            "drive 1.1 says by SMART that it will fail; replace 0.0.1 DRIVE, or add a spare that is large enough",
            "drive 1.1 did not pass its self-test: Completed: read failure; replace 0.0.1 DRIVE, or add a spare that \
             is large enough; selftest long 1.1 tests it again",
            "drive 1.1 is warmer than its limit of 60C; look at the fans, and at the air around the shelf",
            "drive 1.1 has 17 sectors that it could not read; scrub start 0: it writes anew what others hold",
            "drive 1.2 has used up more than 90% of its life; replace it",
            "drive 1.5 did not tell of its health 3 times in a row: smartctl did not answer within 45 s; it may hang: \
             see what the log of the kernel says of it",
        ]
    );
    bench.shelf.drives[1].role = DriveRole::Spare;
    let told = bench.line("health").output;
    assert!(
        told.contains("will fail; rmspare 1.1, and replace the drive\n"),
        "{told}"
    );
}

#[test]
fn what_gets_worse_is_an_event_once() {
    let (mut bench, mut watcher) = (Bench::with_luns(), Watcher::default());
    assert_eq!(watcher.look(&bench.shelf, 0), []);
    bench.shelf.drives = watched().shelf.drives;
    let events = watcher.look(&bench.shelf, 1);
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.tag.as_str(), event.text.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (
                "SMART_THRESHOLD_EXCEEDED",
                "SMART threshold exceeded: drive 1.1: it will fail"
            ),
            ("DRIVE_HOT", "drive 1.1 is at 61C"),
            (
                "DRIVE_PENDING_SECTORS",
                "drive 1.1 has 17 sectors that it could not read"
            ),
            ("DRIVE_WORN", "drive 1.2 has 7% of its life left"),
        ]
    );
    assert_eq!(watcher.look(&bench.shelf, 2), []);
}

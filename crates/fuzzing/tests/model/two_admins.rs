//! Two administrators on one shelf, one of whom has a question open.

use crate::{consent, house, type_line};
use console::{Next, Session};
use fuzzing::lines::house::{House, State};

/// What one asks for, and what is there before.
fn asking(line: &str) -> (House, Session, String) {
    let mut house = house();
    for line in [
        "make -c 0 raid1 1.0-1",
        "make -c 1 raid1 1.2-3",
        "label data 0",
    ] {
        done(&mut house, line);
    }
    let mut session = Session::default();
    let reply = house.line(&mut session, line);
    let Next::Answer { prompt, .. } = reply.next else {
        panic!("{line} does not ask: {}", reply.output);
    };
    (house, session, consent(&prompt))
}

fn done(house: &mut House, line: &str) {
    let (ok, _, output) = type_line(house, line);
    assert!(ok, "{line}: {output}");
}

/// The other one types these; then the first one consents. Gives what that is told, and before and after.
fn meanwhile(line: &str, others: &[&str]) -> (bool, String, State, State) {
    let (mut house, mut session, answer) = asking(line);
    for other in others {
        done(&mut house, other);
    }
    let before = house.state();
    let reply = house.line(&mut session, &answer);
    (reply.ok, reply.output, before, house.state())
}

#[test]
fn an_answer_to_a_question_about_something_else_is_refused() {
    for line in ["remove 0", "rmlun 0", "eject 0"] {
        for (others, told) in [
            (&["remove -f 0"][..], "LUN 0 does not exist"),
            (
                &["remove -f 0", "make -c 0 raid1 1.0-1"],
                "LUN 0 became another one",
            ),
            (
                &["remove -f 0", "make -c 0 jbod 1.5"],
                "LUN 0 became another one",
            ),
            (&["online 0"], "LUN 0 has gone online since you were asked"),
            (&["eject -f 0"], "LUN 0 does not exist"),
            (&["grow -y 0 jbod 1.5"], "LUN 0 has grown from "),
            (&["fail 0.0.1"], "0.0.1 is failed since you were asked"),
            (
                &["replace 0.0.1 1.5"],
                "0.0.1 is being replaced since you were asked",
            ),
            (
                &["label logs 0"],
                "LUN 0 was labelled 'logs', before 'data' since you were asked",
            ),
        ] {
            let (ok, output, before, after) = meanwhile(line, others);
            assert!(!ok && output.contains(told), "{line}, {others:?}: {output}");
            assert_eq!(before, after, "{line}, {others:?}");
        }
    }
}

#[test]
fn a_shelf_that_changed_does_not_change_its_number_by_an_old_answer() {
    for (others, told) in [
        (&["shelf -f 3"][..], "shelf address changed from 1 to 3"),
        (&["online 1"], "LUN 1 has gone online"),
        (&["remove -f 1"], "LUN 1 does not exist any more"),
        (&["make -c 2 jbod 1.5"], "LUN 2 was made"),
        (&["grow -y 1 jbod 1.5"], "LUN 1 has grown from "),
    ] {
        let (ok, output, before, after) = meanwhile("shelf 2", others);
        assert!(!ok && output.contains(told), "{others:?}: {output}");
        assert_eq!(before, after, "{others:?}");
    }
}

#[test]
fn a_drive_that_changed_is_not_erased_by_an_old_answer() {
    for (line, others, told) in [
        ("erase 1.4", &["spare 1.4"][..], "drive 1.4 has role spare"),
        (
            "erase 1.4",
            &["make 2 jbod 1.4"],
            "drive 1.4 has role 2.0.0",
        ),
        (
            "disktest -w 1.4",
            &["erase -f 1.4"],
            "1.4 has a job already: erase",
        ),
        (
            "erase 1.7",
            &["make -f 2 jbod 1.7", "remove -f 2"],
            "drive 1.7 changed",
        ),
    ] {
        let (mut house, mut session, answer) = asking(line);
        house.hold_jobs();
        for other in others {
            done(&mut house, other);
        }
        let before = house.state();
        let reply = house.line(&mut session, &answer);
        let output = reply.output;
        assert!(
            !reply.ok && output.contains(told),
            "{line}, {others:?}: {output}"
        );
        assert_eq!(before, house.state(), "{line}, {others:?}");
    }
}

/// A drive that one of them erases is nobody else's.
#[test]
fn a_drive_that_is_erased_is_in_use() {
    let (mut house, ..) = asking("remove 0");
    house.hold_jobs();
    done(&mut house, "erase -f 1.4");
    for line in [
        "make -f 2 jbod 1.4",
        "make -f 2 raw 1.4",
        "grow -f 0 raid1 1.4-5",
        "replace -f 0.0.0 1.4",
        "spare -f 1.4",
        "setsize 1M 1.4",
        "erase -f 1.4",
        "disktest -r 1.4",
        "condition -f 1.4",
        "extract -y 1.4 1.5",
        "extract -y 1.5 1.4",
    ] {
        let before = house.state();
        let (ok, _, output) = type_line(&mut house, line);
        let told = output.contains("1.4 already in use") || output.contains("1.4 has a job");
        assert!(!ok && told, "{line}: {output}");
        assert_eq!(before, house.state(), "{line}");
    }
    done(&mut house, "scan");
    done(&mut house, "erase stop 1.4");
    house.tick(std::time::Duration::from_secs(1));
    done(&mut house, "make -f 2 jbod 1.4");
}

#[test]
fn a_lun_does_not_grow_by_an_old_answer() {
    for (others, told) in [
        (&["spare 1.4"][..], "drive 1.4 became a spare"),
        (&["make -c 2 jbod 1.5"], "drive 1.5 was taken for 2.0.0"),
        (&["grow -y 0 jbod 1.6"], "LUN 0 has grown from "),
        (&["fail 0.0.0"], "0.0.0 is failed"),
        (&["online 0"], "LUN 0 has gone online"),
        (&["remove -f 0"], "LUN 0 does not exist any more"),
    ] {
        let (ok, output, before, after) = meanwhile("grow -c 0 raid1 1.4-5", others);
        assert!(!ok && output.contains(told), "{others:?}: {output}");
        assert_eq!(before, after, "{others:?}");
    }
    let (ok, output, before, after) = meanwhile("grow -c 0 raid1 1.4-5", &["label more 1"]);
    assert!(ok, "{output}");
    assert!(after.luns[0].size_bytes > before.luns[0].size_bytes);
}

/// What the other one did elsewhere is nobody's concern.
#[test]
fn an_answer_holds_when_something_else_changed() {
    for other in [
        "online 1",
        "spare 1.5",
        "label more 1",
        "mask 0 +001004012e81",
    ] {
        let (ok, output, _, after) = meanwhile("remove 0", &[other]);
        assert!(ok, "{other}: {output}");
        assert_eq!(after.luns.len(), 1, "{other}");
    }
}

/// Of two that want the same drives, number or spare, the second gets none of it.
#[test]
fn the_second_of_two_gets_a_conflict_and_nothing_half_done() {
    for (first, second, told) in [
        ("make -c 2 raid1 1.4-5", "make -c 2 raid1 1.6 1.5", "exists"),
        (
            "make -c 2 raid1 1.4-5",
            "make -c 3 raid1 1.6 1.5",
            "1.5 already in use",
        ),
        (
            "make -c 2 raid1 1.4-5",
            "grow -yc 0 raid1 1.6 1.5",
            "1.5 already in use",
        ),
        ("make -c 2 raid1 1.4-5", "spare 1.5", "1.5 already in use"),
        ("spare 1.4", "make -c 2 raid1 1.4-5", "1.4"),
        ("spare 1.4", "spare 1.4", "1.4"),
        ("remove -f 0", "online 0", "LUN 0 does not exist"),
        (
            "remove -f 0",
            "mask 1 0 +001004012e81",
            "LUN 0 does not exist",
        ),
        ("remove -f 0", "setvlan 7 1 0", "LUN 0 does not exist"),
        ("remove -f 0", "readonly on 1 0", "LUN 0 does not exist"),
        ("online 0", "remove 0", "LUN 0 needs to be offline"),
        ("online 0", "eject 0", "LUN 0 needs to be offline"),
        ("fail 0.0.1", "fail 0.0.0", "0.0.0"),
        ("fail 0.0.1", "fail 0.0.1", "0.0.1"),
    ] {
        let (mut house, ..) = asking("remove 0");
        done(&mut house, first);
        let before = house.state();
        let (ok, _, output) = type_line(&mut house, second);
        assert!(!ok && output.contains(told), "{first}; {second}: {output}");
        assert_eq!(house.state(), before, "{first}; {second}");
    }
}

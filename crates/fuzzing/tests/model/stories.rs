//! What random commands have found, told as stories.

use crate::{house, type_line};
use fuzzing::lines::house::House;

fn done(house: &mut House, line: &str) -> String {
    let (ok, _, output) = type_line(house, line);
    assert!(ok, "{line}: {output}");
    output
}

/// The mirror that had been replaced was taken for a LUN of another shelf when the shelf had another number.
/// It could be served beside the LUN that it was of, until the next start.
#[test]
fn what_was_replaced_is_not_served_as_another_lun() {
    let mut house = house();
    for line in [
        "make -c 3 raid1 1.0-1",
        "replace 3.0.1 1.2",
        "fail 3.0.1",
        "restore",
    ] {
        done(&mut house, line);
    }
    let shown = done(&mut house, "show -l");
    assert!(!shown.contains("a second time"), "{shown}");
    done(&mut house, "shelf 2");
    let listed = done(&mut house, "restore -l");
    let refused = |line: &str| line.contains("not to be taken over");
    assert!(listed.lines().all(refused), "{listed}");
    for line in ["restore 1 3 7", "restore 1:3 7"] {
        let (ok, _, output) = type_line(&mut house, line);
        assert!(!ok, "{line}: {output}");
    }
    assert_eq!(house.state().luns.len(), 1);
}

/// An ejected LUN keeps the number of the shelf that is on its drives: whoever changes that number is told
/// so, and how to take the LUN over.
#[test]
fn an_ejected_lun_is_not_lost_when_the_shelf_gets_another_number() {
    let mut house = house();
    for line in ["make -c 3 raid1 1.0-1", "label data 3", "eject 3"] {
        done(&mut house, line);
    }
    let (ok, was_asked, output) = type_line(&mut house, "shelf 2");
    assert!(ok && was_asked, "{output}");
    let told = "ejected LUN 3 on 1.0 1.1 stays one of shelf 1: restore 1 takes it over\n";
    assert!(output.contains(told), "{output}");
    assert_eq!(done(&mut house, "list"), "");
    assert!(done(&mut house, "restore -l").starts_with("shelf 1 LUN 3 raid1 "));
    done(&mut house, "restore 1");
    assert!(done(&mut house, "list").contains("'data'"));
}

/// Whoever removes a LUN is told what becomes of the spare that was for it alone; the next LUN of that number
/// does not have it.
#[test]
fn a_spare_of_a_removed_lun_is_told_of() {
    let mut house = house();
    done(&mut house, "make -c 0 raid1 1.0-1");
    done(&mut house, "spare -l 0 1.4");
    let output = done(&mut house, "remove -n 0");
    assert!(
        output.contains("1.4, a spare for it alone, would be one for all"),
        "{output}"
    );
    let output = done(&mut house, "remove 0");
    let told = "spare 1.4 is for LUN 0 alone: it becomes one for all LUNs\n";
    assert!(output.contains(told), "{output}");
    done(&mut house, "make -c 0 raid1 1.0-1");
    let spares = done(&mut house, "spare");
    assert!(
        spares.starts_with("1.4 ") && !spares.contains("LUN"),
        "{spares}"
    );
}

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

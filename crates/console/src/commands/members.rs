//! `fail`, `unfail`, `replace`: the members of a RAID.

use crate::names::{parse_drive, parse_element};
use crate::problem::Problem;
use crate::report::Report;
use shelf::admin::{Admin, AdminError, ElementId};

/// Does something to each element that is named, in order, until one fails.
pub(super) fn each(
    report: &mut Report,
    words: &[String],
    mut action: impl FnMut(ElementId) -> Result<(), AdminError>,
) {
    for (index, word) in words.iter().enumerate() {
        let done = parse_element(word).and_then(|id| action(id).map_err(Problem::from));
        if let Err(problem) = done {
            return report.fail(problem, &words[index + 1..]);
        }
    }
}

/// Rebuilds an element on another drive.
pub(super) fn replace(report: &mut Report, admin: &mut dyn Admin, force: bool, words: &[String]) {
    let [element, drive] = words else {
        return report.fail(Problem::Usage("replace [-f] LUN.part.drive drive"), &[]);
    };
    let shelf = admin.shelf();
    let done = parse_element(element)
        .and_then(|element| Ok((element, parse_drive(drive, shelf)?)))
        .and_then(|(element, drive)| Ok(admin.replace(element, drive, force)?));
    if let Err(problem) = done {
        report.fail(problem, &[]);
    }
}

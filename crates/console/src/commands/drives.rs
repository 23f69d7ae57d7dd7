//! `show`: the drives.

use super::gigabytes;
use crate::names::{drive_name, parse_drive};
use crate::problem::Problem;
use crate::record::{DriveRecord, Record};
use crate::report::Report;
use aoe::Shelf;
use shelf::admin::{Admin, AdminError, DriveRole, DriveState, DriveStatus};

/// Lists all drives, or those that are named.
pub(super) fn show(report: &mut Report, admin: &dyn Admin, long: bool, operands: &[String]) {
    let shelf = admin.shelf();
    let drives = admin.drives();
    let row = |report: &mut Report, drive: &DriveStatus| {
        let line = if long {
            long_line(shelf, drive)
        } else {
            drive_name(shelf, drive.slot)
        };
        report.row(line, Record::Drive(DriveRecord::new(shelf, drive)));
    };
    if operands.is_empty() {
        drives.iter().for_each(|drive| row(report, drive));
    }
    for (index, word) in operands.iter().enumerate() {
        match named(&drives, shelf, word) {
            Ok(drive) => row(report, drive),
            Err(problem) => return report.fail(problem, &operands[index + 1..]),
        }
    }
}

fn named<'a>(
    drives: &'a [DriveStatus],
    shelf: Option<Shelf>,
    word: &str,
) -> Result<&'a DriveStatus, Problem> {
    let slot = parse_drive(word, shelf)?;
    let drive = drives.iter().find(|drive| drive.slot == slot);
    drive.ok_or_else(|| AdminError::NoSuchDrive(word.to_owned()).into())
}

/// A row of `show -l`. Monitoring plug-ins take the first three tokens; what is not always there
/// comes after them.
fn long_line(shelf: Option<Shelf>, drive: &DriveStatus) -> String {
    let name = drive_name(shelf, drive.slot);
    let size = gigabytes(drive.size_bytes);
    let mut line = format!("{name:<4} {size:>8}GB {}", drive.state.name());
    match &drive.role {
        DriveRole::Free => {}
        DriveRole::Spare => line.push_str(" spare"),
        DriveRole::Element(id) => line.push_str(&format!(" {id}")),
        DriveRole::Foreign(what) => line.push_str(&format!(" foreign: {what}")),
        DriveRole::Working(kind) => line.push_str(&format!(" in use: {kind}")),
    }
    if drive.state == DriveState::Up && drive.whole_bytes != drive.size_bytes {
        let whole = gigabytes(drive.whole_bytes);
        line.push_str(&format!(" (setsize, of {whole}GB)"));
    }
    if drive.keeps_nothing {
        line.push_str(" null drive: nothing is stored");
    }
    if drive.state != DriveState::Up
        && let Some(reason) = &drive.note
    {
        line.push_str(&format!(" {reason}"));
    }
    line
}

/// Looks at the slots again.
pub(super) fn scan(report: &mut Report, admin: &mut dyn Admin) {
    if let Err(error) = admin.rescan() {
        report.fail(error, &[]);
    }
}

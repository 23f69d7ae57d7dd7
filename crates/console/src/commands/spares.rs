//! `spare`, `spares`, `rmspare`: the pool of spares.

use super::gigabytes;
use crate::command::Options;
use crate::names::{drive_name, parse_drive, parse_lun};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use shelf::admin::{Admin, AdminError, DriveSlot};

const USAGE: &str = "spare [-f] [-l LUN] [drive ...]";

/// Lists the spares: name and size, then what is not always there.
pub(super) fn list(report: &mut Report, admin: &dyn Admin) {
    rows(report, admin, |drive, size| {
        format!("{drive:<6} {size:>10}")
    });
}

/// A row for each spare: name and size in the columns of `row`, then what is not always there.
pub(super) fn rows(report: &mut Report, admin: &dyn Admin, row: impl Fn(&str, &str) -> String) {
    let shelf = admin.shelf();
    for spare in admin.spares() {
        let drive = drive_name(shelf, spare.drive);
        let mut line = row(&drive, &format!("{}GB", gigabytes(spare.size_bytes)));
        if let Some(lun) = spare.dedicated_to {
            line.push_str(&format!(" LUN {lun}"));
        }
        if let Some(fault) = &spare.fault {
            line.push_str(&format!(" bad: {fault}"));
        }
        let record = Record::Spare {
            drive,
            slot: spare.drive.0,
            size_bytes: spare.size_bytes,
            lun: spare.dedicated_to.map(|lun| lun.get()),
            fault: spare.fault,
        };
        report.row(line, record);
    }
}

/// Without operands lists the spares, else adds drives to them.
pub(super) fn spare(
    report: &mut Report,
    admin: &mut dyn Admin,
    options: &Options,
    words: &[String],
) {
    if words.is_empty() && *options == Options::default() {
        return list(report, admin);
    }
    if words.is_empty() {
        return report.fail(Problem::Usage(USAGE), &[]);
    }
    let lun = match options.value.as_deref().map(parse_lun).transpose() {
        Ok(lun) => lun,
        Err(problem) => return report.fail(problem, words),
    };
    each(report, admin, words, |admin, drive| {
        admin.add_spare(drive, lun, options.force)
    });
}

/// Takes drives from the pool.
pub(super) fn rmspare(report: &mut Report, admin: &mut dyn Admin, force: bool, words: &[String]) {
    each(report, admin, words, |admin, drive| {
        admin.remove_spare(drive, force)
    });
}

/// Does something to each drive that is named, in order, until one fails.
fn each(
    report: &mut Report,
    admin: &mut dyn Admin,
    words: &[String],
    action: impl Fn(&mut dyn Admin, DriveSlot) -> Result<(), AdminError>,
) {
    let shelf = admin.shelf();
    for (index, word) in words.iter().enumerate() {
        let done = parse_drive(word, shelf).and_then(|drive| Ok(action(admin, drive)?));
        if let Err(problem) = done {
            return report.fail(problem, &words[index + 1..]);
        }
    }
}

//! `restore`: LUNs that were ejected, and arrays that others made with md and how they become LUNs.

use super::gigabytes;
use crate::names::{drive_name, parse_lun};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use shelf::admin::Admin;

/// Finds LUNs again, lists the arrays, or takes one over.
pub(super) fn restore(report: &mut Report, admin: &mut dyn Admin, list: bool, words: &[String]) {
    match words {
        [] if list => rows(report, admin),
        [] => {
            if let Err(error) = admin.rescan() {
                report.fail(error, &[]);
            }
        }
        [array, lun] if !list => {
            let done = parse_lun(lun).and_then(|lun| Ok(admin.import(array, lun)?));
            if let Err(problem) = done {
                report.fail(problem, &[]);
            }
        }
        _ => report.fail(Problem::Usage("restore [-l] [array LUN]"), &[]),
    }
}

fn rows(report: &mut Report, admin: &mut dyn Admin) {
    let shelf = admin.shelf();
    for array in admin.arrays() {
        let drives: Vec<String> = array
            .drives
            .iter()
            .map(|slot| drive_name(shelf, *slot))
            .collect();
        let level = array.level.map(|level| level.name());
        let mut line = format!(
            "{} '{}' {} {}GB {}",
            array.uuid,
            array.name.replace('\'', "''"),
            level.unwrap_or("unknown"),
            gigabytes(array.size_bytes),
            drives.join(" ")
        );
        if let Some(refusal) = &array.refusal {
            line.push_str(&format!("; not to be taken over: {refusal}"));
        }
        let record = Record::Array {
            uuid: array.uuid,
            name: array.name,
            level,
            size_bytes: array.size_bytes,
            drives,
            refusal: array.refusal,
        };
        report.row(line, record);
    }
}

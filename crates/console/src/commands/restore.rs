//! `restore`: LUNs on the drives that are not there: ejected ones, those of other shelves, and arrays that
//! were made with md.
//!
//! A first word that is a number is the number of a shelf; an array with such a name is named by its UUID.

use super::gigabytes;
use crate::names::{decimal, drive_name, parse_lun};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use aoe::Shelf;
use shelf::admin::{Admin, AdminError, DriveSlot, ElsewhereStatus, LunNumber};

const USAGE: &str = "restore [-l] [oldshelf [oldlun [newlun]] | array LUN]";

/// What is to be restored.
enum Wanted<'a> {
    /// What is of this shelf.
    Own,
    /// What is of another one: all of it, or a LUN, or that under another number.
    Elsewhere(u16, Option<LunNumber>, Option<LunNumber>),
    /// An md array.
    Array(&'a str, LunNumber),
}

/// Finds LUNs again, lists what is on the drives, or takes it over.
pub(super) fn restore(report: &mut Report, admin: &mut dyn Admin, list: bool, words: &[String]) {
    let wanted = match wanted(words) {
        Ok(wanted) => wanted,
        Err(problem) => return report.fail(problem, &[]),
    };
    if list {
        return rows(report, admin, &wanted);
    }
    let is_own = |shelf: u16| admin.shelf().is_some_and(|own| own.0 == shelf);
    let done = match wanted {
        Wanted::Own => admin.rescan(),
        Wanted::Elsewhere(shelf, ..) if is_own(shelf) => admin.rescan(),
        Wanted::Elsewhere(shelf, Some(lun), new) => admin.adopt(shelf, lun, new.unwrap_or(lun)),
        Wanted::Elsewhere(shelf, None, _) => return whole_shelf(report, admin, shelf),
        Wanted::Array(array, lun) => admin.import(array, lun),
    };
    if let Err(error) = done {
        report.fail(error, &[]);
    }
}

fn wanted(words: &[String]) -> Result<Wanted<'_>, Problem> {
    let number = |word: &String| decimal(word).and_then(|number| u16::try_from(number).ok());
    let lun = |word: Option<&String>| word.map(|word| parse_lun(word)).transpose();
    match words {
        [] => Ok(Wanted::Own),
        [first, rest @ ..] if number(first).is_some() && rest.len() <= 2 => {
            let shelf = number(first).unwrap_or_default();
            let (old, new) = (lun(rest.first())?, lun(rest.get(1))?);
            Ok(Wanted::Elsewhere(shelf, old, new))
        }
        [array, number] => Ok(Wanted::Array(array, parse_lun(number)?)),
        _ => Err(Problem::Usage(USAGE)),
    }
}

/// Takes over all LUNs of another shelf under their numbers, until one cannot be, and its spares.
fn whole_shelf(report: &mut Report, admin: &mut dyn Admin, shelf: u16) {
    if let Err(error) = admin.look_elsewhere() {
        return report.fail(error, &[]);
    }
    let found = admin.elsewhere(None);
    let found: Vec<_> = found.iter().filter(|found| found.shelf == shelf).collect();
    if found.is_empty() {
        let what = "anything".to_owned();
        return report.fail(AdminError::NothingElsewhere { what, shelf }, &[]);
    }
    let luns: Vec<LunNumber> = found.iter().filter_map(|found| found.lun).collect();
    for (index, &lun) in luns.iter().enumerate() {
        if let Err(error) = admin.adopt(shelf, lun, lun) {
            let rest: Vec<String> = luns[index + 1..].iter().map(LunNumber::to_string).collect();
            return report.fail(error, &rest);
        }
    }
    if let Err(error) = admin.adopt_spares(shelf) {
        report.fail(error, &[]);
    }
}

fn rows(report: &mut Report, admin: &mut dyn Admin, wanted: &Wanted<'_>) {
    let own = admin.shelf();
    let new = match wanted {
        Wanted::Elsewhere(_, _, new) => *new,
        Wanted::Own | Wanted::Array(..) => None,
    };
    for found in admin.elsewhere(new) {
        let is_wanted = match wanted {
            Wanted::Own => true,
            Wanted::Elsewhere(shelf, None, _) => found.shelf == *shelf,
            Wanted::Elsewhere(shelf, lun, _) => found.shelf == *shelf && found.lun == *lun,
            Wanted::Array(..) => false,
        };
        if is_wanted {
            elsewhere_row(report, own, found);
        }
    }
    match wanted {
        Wanted::Own => array_rows(report, admin, None),
        Wanted::Array(array, _) => array_rows(report, admin, Some(array)),
        Wanted::Elsewhere(..) => {}
    }
}

fn drive_names(own: Option<Shelf>, drives: &[DriveSlot]) -> Vec<String> {
    drives.iter().map(|slot| drive_name(own, *slot)).collect()
}

fn elsewhere_row(report: &mut Report, own: Option<Shelf>, found: ElsewhereStatus) {
    let drives = drive_names(own, &found.drives);
    let levels: Vec<&str> = found.levels.iter().map(|level| level.name()).collect();
    let what = match found.lun {
        Some(lun) => format!("LUN {lun} {}", levels.join("+")),
        None => "spare".to_owned(),
    };
    let size = gigabytes(found.size_bytes);
    let mut line = format!("shelf {} {what} {size}GB {}", found.shelf, drives.join(" "));
    if let Some(refusal) = &found.refusal {
        line.push_str(&format!("; not to be taken over: {refusal}"));
    } else if let Some(remark) = &found.remark {
        line.push_str(&format!("; {remark}"));
    }
    let record = Record::Elsewhere {
        shelf: found.shelf,
        lun: found.lun.map(LunNumber::get),
        levels,
        size_bytes: found.size_bytes,
        drives,
        refusal: found.refusal,
        remark: found.remark,
    };
    report.row(line, record);
}

fn array_rows(report: &mut Report, admin: &mut dyn Admin, only: Option<&str>) {
    let shelf = admin.shelf();
    for array in admin.arrays() {
        if only.is_some_and(|only| only != array.name && only != array.uuid) {
            continue;
        }
        let drives = drive_names(shelf, &array.drives);
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

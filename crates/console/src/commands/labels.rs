//! `label`, `unlabel`: names of LUNs for people.

use super::luns::each;
use crate::report::Report;
use shelf::admin::{Admin, check_label};

/// Labels LUNs.
pub(super) fn label(report: &mut Report, admin: &mut dyn Admin, words: &[String]) {
    let [label, luns @ ..] = words else {
        return;
    };
    match check_label(label) {
        Ok(()) => each(report, luns, |lun| admin.set_label(lun, Some(label))),
        Err(error) => report.fail(error, luns),
    }
}

/// Takes labels away.
pub(super) fn unlabel(report: &mut Report, admin: &mut dyn Admin, luns: &[String]) {
    each(report, luns, |lun| admin.set_label(lun, None));
}

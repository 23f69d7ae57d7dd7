//! `shelf`: shows or sets the shelf number. With LUNs it asks, because every initiator will know
//! them by other names.

use super::meanwhile::KnownLun;
use super::{Outcome, Pending};
use crate::names::{decimal, drive_name, shelf_name};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use aoe::Shelf;
use shelf::admin::{Admin, AdminError, DriveRole, LunStatus};
use std::collections::BTreeMap;

/// A change of the shelf number that waits for its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ShelfChange {
    from: Option<Shelf>,
    to: Shelf,
    /// The LUNs that are to move with it.
    luns: Vec<KnownLun>,
}

/// Shows the number, or sets it.
pub(super) fn shelf(admin: &mut dyn Admin, force: bool, operands: &[String]) -> Outcome {
    let from = admin.shelf();
    if force && operands.is_empty() {
        return Report::from(Problem::Usage("shelf [-f] [number]")).into();
    }
    let Some(word) = operands.first() else {
        let mut report = Report::default();
        report.row(
            shelf_name(from),
            Record::Shelf {
                shelf: from.map(|shelf| shelf.0),
            },
        );
        return report.into();
    };
    let to = match parse_shelf(word) {
        Ok(to) => to,
        Err(problem) => return Report::from(problem).into(),
    };
    if from == Some(to) {
        return Outcome::default();
    }
    let luns = admin.luns();
    if luns.iter().any(|lun| lun.online) {
        return Report::from(Problem::from(AdminError::OnlineLuns)).into();
    }
    let known = |lun: &LunStatus| KnownLun::now(lun.lun, admin);
    let change = ShelfChange {
        from,
        to,
        luns: luns.iter().map(known).collect(),
    };
    let let_go = let_go(admin);
    if force || (luns.is_empty() && let_go.is_empty()) {
        return change.apply(admin);
    }
    let mut report = Report::default();
    let noun = if luns.len() == 1 { "LUN" } else { "LUNs" };
    let from = shelf_name(from);
    report.line(format!(
        "Request to change shelf {from} to {to} with {} {noun}",
        luns.len()
    ));
    for (what, drives) in let_go {
        let drives = drives.join(" ");
        report.line(format!(
            "{what} on {drives} stays one of shelf {from}: restore {from} takes it over"
        ));
    }
    Outcome {
        report,
        pending: Some(Pending::ShelfChange(change)),
        ..Outcome::default()
    }
}

/// LUNs that were ejected and whose drives are still here: they keep the number that is on them.
fn let_go(admin: &dyn Admin) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for drive in admin.drives() {
        if let DriveRole::Foreign(what) = drive.role
            && what.starts_with("ejected LUN ")
        {
            let name = drive_name(admin.shelf(), drive.slot);
            found.entry(what).or_default().push(name);
        }
    }
    found
}

fn parse_shelf(word: &str) -> Result<Shelf, Problem> {
    let shelf = decimal(word)
        .and_then(|number| u16::try_from(number).ok())
        .map(Shelf);
    shelf
        .filter(|shelf| shelf.is_valid_target())
        .ok_or_else(|| Problem::InvalidShelf(word.to_owned()))
}

impl ShelfChange {
    // Coraid's text: in this one no blank follows the default.
    #[allow(clippy::unused_self, reason = "all questions are asked of their plans")]
    pub(super) fn question(&self) -> String {
        "'n' to cancel, or 'y' to change [N]:".to_owned()
    }

    pub(super) fn answer(&self, admin: &mut dyn Admin, answer: &str) -> Outcome {
        if !matches!(answer.trim(), "y" | "Y") {
            return Report::from(Problem::Canceled).into();
        }
        match self.difference(admin) {
            Some(what) => Report::from(Problem::Meanwhile(what)).into(),
            None => self.apply(admin),
        }
    }

    /// What is not as it was when it was asked.
    fn difference(&self, admin: &dyn Admin) -> Option<String> {
        let (from, now) = (shelf_name(self.from), shelf_name(admin.shelf()));
        if from != now {
            return Some(format!("shelf address changed from {from} to {now}"));
        }
        let changed = self.luns.iter().find_map(|lun| lun.change(admin));
        let is_known = |lun: &LunStatus| self.luns.iter().any(|known| known.lun == lun.lun);
        changed.or_else(|| {
            let luns = admin.luns();
            let new = luns.iter().find(|lun| !is_known(lun))?;
            Some(format!("LUN {} was made", new.lun))
        })
    }

    pub(super) fn apply(&self, admin: &mut dyn Admin) -> Outcome {
        match admin.set_shelf(u32::from(self.to.0)) {
            Ok(()) => Outcome::default(),
            Err(error) => Report::from(Problem::from(error)).into(),
        }
    }
}

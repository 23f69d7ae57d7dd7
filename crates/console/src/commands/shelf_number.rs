//! `shelf`: shows or sets the shelf number. With LUNs it asks, because every initiator will know
//! them by other names.

use super::{Outcome, Pending};
use crate::names::{decimal, shelf_name};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use aoe::Shelf;
use shelf::admin::{Admin, AdminError};

/// A change of the shelf number that waits for its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ShelfChange {
    from: Option<Shelf>,
    to: Shelf,
}

/// Shows the number, or sets it.
pub(super) fn shelf(admin: &mut dyn Admin, force: bool, operands: &[String]) -> Outcome {
    let from = admin.shelf();
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
    let change = ShelfChange { from, to };
    if force || luns.is_empty() {
        return change.apply(admin);
    }
    let mut report = Report::default();
    let noun = if luns.len() == 1 { "LUN" } else { "LUNs" };
    let from = shelf_name(from);
    report.line(format!(
        "Request to change shelf {from} to {to} with {} {noun}",
        luns.len()
    ));
    Outcome {
        report,
        pending: Some(Pending::ShelfChange(change)),
        ..Outcome::default()
    }
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
        if admin.shelf() != self.from {
            return Report::from(Problem::ShelfChanged).into();
        }
        self.apply(admin)
    }

    pub(super) fn apply(&self, admin: &mut dyn Admin) -> Outcome {
        match admin.set_shelf(u32::from(self.to.0)) {
            Ok(()) => Outcome::default(),
            Err(error) => Report::from(Problem::from(error)).into(),
        }
    }
}

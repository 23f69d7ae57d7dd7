//! What changed between a question and its answer.
//!
//! An answer is given to what was asked: if that is not so any more, nothing is done, and whoever answered is
//! told what is different. What has nothing to do with the question may change.

use super::gigabytes;
use crate::names::drive_name;
use aoe::Shelf;
use shelf::admin::{
    Admin, DriveRole, DriveSlot, DriveState, DriveStatus, ElementState, ElementStatus, LunNumber,
    LunStatus,
};

/// What was true of a LUN when a question about it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KnownLun {
    pub(super) lun: LunNumber,
    /// `None` if there was none.
    status: Option<LunStatus>,
}

impl KnownLun {
    pub(super) fn now(lun: LunNumber, admin: &dyn Admin) -> Self {
        let status = admin.luns().into_iter().find(|status| status.lun == lun);
        Self { lun, status }
    }

    pub(super) fn label(&self) -> Option<&str> {
        self.status.as_ref()?.label.as_deref()
    }

    pub(super) fn status(&self) -> Option<&LunStatus> {
        self.status.as_ref()
    }

    /// What is different now, in words.
    pub(super) fn change(&self, admin: &dyn Admin) -> Option<String> {
        let now = Self::now(self.lun, admin);
        let lun = self.lun;
        match (&self.status, &now.status) {
            (None, None) => None,
            (None, Some(_)) => Some(format!("LUN {lun} was made")),
            (Some(_), None) => Some(format!(
                "LUN {lun} does not exist any more: it was removed or ejected"
            )),
            (Some(before), Some(now)) if before.serial != now.serial => Some(format!(
                "LUN {lun} became another one, which only has its number,"
            )),
            (Some(before), Some(now)) => difference(admin.shelf(), before, now),
        }
    }
}

/// What is different of a LUN that is still the same one.
fn difference(shelf: Option<Shelf>, before: &LunStatus, now: &LunStatus) -> Option<String> {
    let lun = before.lun;
    if before.size_bytes != now.size_bytes {
        let (from, to) = (gigabytes(before.size_bytes), gigabytes(now.size_bytes));
        return Some(format!("LUN {lun} has grown from {from}GB to {to}GB"));
    }
    if before.online != now.online {
        let way = if now.online { "online" } else { "offline" };
        return Some(format!("LUN {lun} has gone {way}"));
    }
    if before.label != now.label {
        let quoted = |label: &Option<String>| match label {
            Some(label) => format!("'{label}'"),
            None => "no label".to_owned(),
        };
        let (from, to) = (quoted(&before.label), quoted(&now.label));
        return Some(format!("LUN {lun} was labelled {to}, before {from}"));
    }
    let parts = before.parts.iter().zip(&now.parts);
    parts
        .flat_map(|(before, now)| element_changes(shelf, &before.elements, &now.elements))
        .next()
}

fn element_changes(
    shelf: Option<Shelf>,
    before: &[ElementStatus],
    now: &[ElementStatus],
) -> Vec<String> {
    let key = |element: &ElementStatus| (element.id, element.is_replacement);
    let mut changes = Vec::new();
    for element in before {
        let found = now.iter().find(|other| key(other) == key(element));
        changes.extend(element_change(shelf, element, found));
    }
    for element in now {
        if !before.iter().any(|other| key(other) == key(element)) {
            changes.push(format!("{} is being replaced", element.id));
        }
    }
    changes
}

fn element_change(
    shelf: Option<Shelf>,
    before: &ElementStatus,
    now: Option<&ElementStatus>,
) -> Option<String> {
    let id = before.id;
    let Some(now) = now else {
        return Some(format!("{id} is not being replaced any more"));
    };
    if before.drive != now.drive {
        let name = |drive: Option<DriveSlot>| {
            drive.map_or_else(|| "no drive".to_owned(), |slot| drive_name(shelf, slot))
        };
        let (from, to) = (name(before.drive), name(now.drive));
        return Some(format!("{id} is on {to}, before on {from}"));
    }
    match (before.state, now.state) {
        (before, now) if before == now => None,
        // That a rebuild came to its end makes nothing worse.
        (ElementState::Replaced, ElementState::Normal) => None,
        (_, now) => Some(format!("{id} is {}", state_word(now))),
    }
}

fn state_word(state: ElementState) -> &'static str {
    match state {
        ElementState::Failed => "failed",
        ElementState::Missing => "missing",
        ElementState::Replaced => "being rebuilt",
        ElementState::Normal => "in use again",
    }
}

/// What was true of a drive when a question about it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KnownDrive {
    slot: DriveSlot,
    /// `None` if there was none.
    status: Option<(DriveState, DriveRole, u64)>,
}

impl KnownDrive {
    pub(super) fn now(slot: DriveSlot, admin: &dyn Admin) -> Self {
        let drives = admin.drives();
        let found = drives.into_iter().find(|drive| drive.slot == slot);
        let known = |drive: DriveStatus| (drive.state, drive.role, drive.size_bytes);
        Self {
            slot,
            status: found.map(known),
        }
    }

    /// What is different now, in words.
    pub(super) fn change(&self, admin: &dyn Admin) -> Option<String> {
        let now = Self::now(self.slot, admin);
        if *self == now {
            return None;
        }
        let name = drive_name(admin.shelf(), self.slot);
        Some(match now.status {
            None => format!("drive {name} does not exist any more"),
            Some((DriveState::Up, role, size)) => match role {
                DriveRole::Element(id) => format!("drive {name} was taken for {id}"),
                DriveRole::Spare => format!("drive {name} became a spare"),
                DriveRole::Foreign(what) => format!("drive {name} carries {what}"),
                DriveRole::Working(kind) => format!("drive {name} is in use: {kind}"),
                DriveRole::Free => format!("drive {name} is free, of {}GB", gigabytes(size)),
            },
            Some((state, ..)) => format!("drive {name} is {}", state.name()),
        })
    }
}

//! An administrator who replaces members that still work, now and then drops what he began, or fails a
//! member that is being replaced.
//!
//! His decisions have a random source of their own: a run without him is what it was before he came.

use crate::random::Random;
use crate::run::the_lun;
use shelf::admin::{Admin, AdminError, DriveRole, DriveSlot, ElementId};
use shelf::manager::Manager;

/// Events between two things that he does, at most.
const PAUSE: u64 = 600;

/// An administrator.
#[derive(Debug)]
pub(crate) struct Operator {
    random: Random,
    members: usize,
    /// The count of events at which he does something next.
    next: u64,
}

impl Operator {
    /// One who has this many members to care for.
    pub(crate) fn new(mut random: Random, members: usize) -> Self {
        let next = random.below(PAUSE);
        Self {
            random,
            members,
            next,
        }
    }

    /// Whether it is time to do something.
    pub(crate) const fn is_due(&self, events: u64) -> bool {
        events >= self.next
    }

    /// What he is to do now: an element and a dice.
    pub(crate) fn decide(&mut self, events: u64) -> (u8, u64) {
        self.next = events + self.random.between(1..=PAUSE);
        let element = self.random.index(self.members);
        (u8::try_from(element).unwrap_or(0), self.random.below(10))
    }
}

/// What dice say for a member to be failed.
pub(crate) const FAILS: u64 = 1;

/// Does what was decided. What is refused is refused.
pub(crate) fn operate(
    manager: &mut Manager,
    element: u8,
    dice: u64,
) -> Result<&'static str, AdminError> {
    let id = ElementId {
        lun: the_lun(),
        part: 0,
        member: element,
    };
    let (word, done) = match dice {
        0 => ("drops the replacement of", manager.fail_replacement(id)),
        FAILS => ("fails", manager.fail(id)),
        _ => {
            let Some(drive) = idle_drive(manager) else {
                return Ok("finds no drive for");
            };
            ("replaces", manager.replace(id, drive, true))
        }
    };
    done.map(|()| word)
}

/// A drive that holds no element.
fn idle_drive(manager: &Manager) -> Option<DriveSlot> {
    let drives = manager.drives();
    let mut idle = drives.iter().filter(|drive| {
        let is_element = matches!(drive.role, DriveRole::Element(_));
        !is_element && drive.size_bytes > 0
    });
    idle.next().map(|drive| drive.slot)
}

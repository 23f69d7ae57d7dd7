//! I/O that takes too long: whether there is another way, and what then becomes of it.
//!
//! A read that is late is read from another copy, or computed from parity, as one that failed, but nothing is
//! written anew and nobody is blamed. What only the administration can do without (a write, a read while
//! mirrors may differ) waits for the view that it attaches after it has given up the member, durably.

use super::run::{for_each_segment, is_in_sync, is_last_copy, is_on_any, next_copy};
use super::{Action, Io, IoOwner, Kind, Operation, Report, State, Target, sync};
use crate::ids::{DriveSlot, LunNumber};
use crate::order::CommandIndex;
use crate::patience::Stage;
use crate::plane::{LunView, PartView};
use std::sync::Arc;

/// Room for suspect drives; a shelf with more has other troubles.
pub(super) const SUSPECTS_MAX: usize = 256;

/// Why an I/O was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The drive said so.
    Error,
    /// It was not waited for: there is another way.
    Late,
    /// The drive does not answer; the administration decides about the member.
    Hangs,
    /// It failed, perhaps because the drive was pulled, and the LUN is not served any more.
    Unreached,
}

impl Target {
    /// A drive is slow to answer, or well again: reads go elsewhere while they can.
    pub fn set_suspect(&mut self, drive: DriveSlot, is_suspect: bool) {
        self.suspects.retain(|known| *known != drive);
        if is_suspect && self.suspects.len() < SUSPECTS_MAX {
            self.suspects.push(drive);
        }
    }

    /// Whether an I/O that has gone on for so long may be abandoned: there is another way to do what it
    /// is for, or nobody is to wait for it any longer.
    #[must_use]
    pub fn may_abandon(&self, io: &Io, stage: Stage) -> bool {
        let is_read = io.operation == Operation::Read;
        match stage {
            Stage::Late => is_read && !self.is_of_pass(io) && self.has_other_way(io),
            Stage::Suspect => is_read && self.has_other_way(io),
            Stage::Overdue => (is_read && self.has_other_way(io)) || !self.is_last(io),
            Stage::Hopeless => true,
        }
    }

    /// An I/O is not waited for any longer. It may still land on its drive, or what it read in the buffer
    /// that it was given: the surroundings see to it that neither does harm.
    pub fn abandoned(&mut self, io: &Io, stage: Stage, out: &mut Vec<Action>) {
        let is_read = io.operation == Operation::Read;
        let fault = if is_read && self.has_other_way(io) {
            Fault::Late
        } else if stage == Stage::Hopeless && (is_read || self.is_last(io)) {
            Fault::Error
        } else {
            Fault::Hangs
        };
        self.ended(io, Some(fault), out);
    }

    /// Whether it is to be waited whether the drive of an I/O that failed was pulled, before an initiator is
    /// told of an error: nobody else holds what is on it. If it was, the LUN is taken from the data path, and
    /// then nobody is told of anything, so that all is asked for again when the drive is back.
    #[must_use]
    pub fn may_wait_for_news(&self, io: &Io) -> bool {
        self.is_served(io) && self.is_last(io)
    }

    /// Whether the LUN that an I/O is done for is served.
    #[must_use]
    pub fn is_served(&self, io: &Io) -> bool {
        self.view_of(io).is_some_and(|view| view.online)
    }

    /// An I/O failed whose LUN was taken from the data path meanwhile: its command is given up without an
    /// answer.
    pub fn unreached(&mut self, io: &Io, out: &mut Vec<Action>) {
        self.ended(io, Some(Fault::Unreached), out);
    }

    /// Tells the administration of a fault, and counts it.
    pub(super) fn report_fault(
        &mut self,
        lun: LunNumber,
        io: &Io,
        fault: Fault,
        out: &mut Vec<Action>,
    ) {
        match fault {
            Fault::Late | Fault::Unreached => {}
            Fault::Hangs => out.push(Action::Report(Report::MemberHangs { lun, io: *io })),
            Fault::Error => {
                out.push(Action::Report(Report::MemberError { lun, io: *io }));
                if io.operation == Operation::Read {
                    self.counters.drive_read_errors += 1;
                } else {
                    self.counters.drive_write_errors += 1;
                }
            }
        }
    }

    /// Whether a direct read of a member with parity is better computed from the others.
    pub(super) fn is_to_be_avoided(&self, part: &PartView, element: u8) -> bool {
        !self.suspects.is_empty()
            && is_on_any(part, element, &self.suspects)
            && !part.mirrors_unsynced
            && self.can_do_without(part, 1 << element)
    }

    /// Whether the members of a part with parity that are neither among these nor slow give everything.
    pub(super) fn can_do_without(&self, part: &PartView, lost: u64) -> bool {
        part.geometry.can_serve(|member| {
            is_in_sync(part, member)
                && lost >> member & 1 == 0
                && !is_on_any(part, member, &self.suspects)
        })
    }

    /// The view of the LUN that an I/O is done for.
    fn view_of(&self, io: &Io) -> Option<&Arc<LunView>> {
        let lun = match io.owner {
            IoOwner::Command(index) => self.commands[usize::from(index)].lun,
            IoOwner::Slice(index) => self.lun_of_slice(index)?,
            IoOwner::Group(index) => self.lun_of_group(index),
        };
        let lun = self.luns[usize::from(lun.get())].as_ref()?;
        Some(&lun.view)
    }

    /// Whether nobody else holds what the member of an I/O holds.
    fn is_last(&self, io: &Io) -> bool {
        self.view_of(io).is_some_and(|view| is_last_copy(view, io))
    }

    fn is_of_pass(&self, io: &Io) -> bool {
        match io.owner {
            IoOwner::Command(index) => {
                matches!(self.commands[usize::from(index)].kind, Kind::Sync(_))
            }
            IoOwner::Slice(index) => self.is_slice_of_pass(index),
            IoOwner::Group(_) => false,
        }
    }

    /// Whether another copy, or parity, gives what an I/O is to read, and no slow drive is needed for that.
    fn has_other_way(&self, io: &Io) -> bool {
        let part = self
            .view_of(io)
            .and_then(|view| view.parts.get(usize::from(io.part)));
        let Some(part) = part.filter(|part| !part.mirrors_unsynced) else {
            return false;
        };
        match io.owner {
            IoOwner::Command(index) => self.has_other_copy(index, io, part),
            IoOwner::Slice(index) => self.slice_has_other_way(index, io, part),
            IoOwner::Group(_) => false,
        }
    }

    fn has_other_copy(&self, index: CommandIndex, io: &Io, part: &PartView) -> bool {
        let command = &self.commands[usize::from(index)];
        let is_plain_read = matches!(command.kind, Kind::Read | Kind::Sync(sync::Phase::Read));
        // What was asked for anew has been everywhere else.
        if !is_plain_read || command.is_asked_again(io) || command.state != State::Running {
            return false;
        }
        if part.geometry.parity_count() > 0 {
            return self.can_do_without(part, 1 << io.member);
        }
        let Some(view) = self.view_of(io) else {
            return false;
        };
        let lba = command.lba + u64::from(io.offset_sectors);
        for_each_segment(view, lba, io.sectors, |_, part, segment| {
            next_copy(part, &segment, io, &self.suspects)
                .is_some_and(|(_, member)| !is_on_any(part, member, &self.suspects))
        })
    }
}

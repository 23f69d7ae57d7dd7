//! Writes of sectors that are on the list of bad ones: read after a crash they would be errors yet, although
//! they hold what was written.
//!
//! So are sectors that are on the list of lost ones ([`raid::lost`]).
//! Such a write is done like any other. When all of it is durable it waits until the administration has taken
//! the sectors from the list of their drive, durably, or says that it cannot.
//!
//! Invariants:
//! * who waits has no I/O under a view, so that no change of view waits for it;
//! * a stripe that waits keeps its place in the redo log;
//! * while a LUN is offline nobody waits: it is as if the write had not come. What it wrote is on all
//!   members, so they agree.

use super::run::{for_each_segment, is_any_lost, range_of};
use super::{Action, Io, IoOwner, MendTicket, Report, State, Target};
use crate::ids::{DriveSlot, LunNumber};
use crate::order::CommandIndex;
use raid::bad_blocks::BadRange;
use raid::lost;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use std::sync::Arc;

impl Target {
    /// Replaces the list of bad sectors of a drive: reads of them are not to be sent.
    pub fn set_bad_sectors(&mut self, drive: DriveSlot, ranges: Arc<[BadRange]>) {
        self.bad_sectors.set(drive, ranges);
    }

    /// Whether an I/O reads a bad sector: it fails without being sent.
    #[must_use]
    pub fn reads_bad_sector(&self, io: &Io) -> bool {
        self.bad_sectors.fails(io)
    }

    /// The stamp of a write that is planned, perhaps anew.
    pub(super) const fn next_mend_stamp(&mut self) -> u64 {
        self.mend_stamp += 1;
        self.mend_stamp
    }

    /// An I/O was done: if it has written bad sectors, the administration is to know.
    pub(super) fn tell_mended(&mut self, io: &Io, out: &mut Vec<Action>) {
        if let Some(range) = self.bad_sectors.mended(io) {
            let drive = io.drive;
            let ticket = self.take_ticket(io);
            out.push(Action::Report(Report::BadSectorsWritten {
                drive,
                range,
                ticket,
            }));
        }
    }

    /// The ticket of the write that an I/O belongs to. Steps of passes and repairs have nobody to answer:
    /// what they wrote is known to others, and a pass ends after all that it reported before.
    #[cold]
    fn take_ticket(&mut self, io: &Io) -> Option<MendTicket> {
        let owner = io.owner;
        let (mends, stamp) = match owner {
            IoOwner::Command(index) => {
                let command = &mut self.commands[usize::from(index)];
                command
                    .kind
                    .is_write()
                    .then_some((&mut command.mends, command.mend_stamp))
            }
            IoOwner::Slice(index) => self.stripes.mends_of(index),
            IoOwner::Group(_) => None,
        }?;
        *mends += 1;
        Some(MendTicket {
            worker: self.place.own,
            owner,
            stamp,
        })
    }

    /// Whether a write is done but for sectors that are on the list of bad ones; if so, it waits.
    pub(super) fn awaits_mend(&mut self, index: CommandIndex, out: &mut Vec<Action>) -> bool {
        let command = &mut self.commands[usize::from(index)];
        let is_done = command.kind.is_write() && !command.failed && !command.unmapped;
        if !is_done || command.is_cut {
            return false;
        }
        self.tell_lost_written(index, out);
        let command = &mut self.commands[usize::from(index)];
        if command.mends == 0 {
            return false;
        }
        #[cfg(feature = "planted")]
        if planted::is(Bug::AckBeforeMended) {
            return false;
        }
        command.state = State::AwaitingMend;
        let number = command.lun;
        self.counters.mend_waits += 1;
        self.uncount(index);
        if self.is_offline(number) {
            self.drop_command(index, out);
            self.run_ready(out);
        } else {
            self.settle(number, out);
        }
        true
    }

    /// A write is done: tells once, if some of what it wrote was lost.
    fn tell_lost_written(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        let command = &mut self.commands[usize::from(index)];
        let (lun, lba, sectors) = (command.lun, command.lba, command.sectors);
        let Some(view) = self.luns[usize::from(lun.get())]
            .as_ref()
            .map(|lun| &lun.view)
        else {
            return;
        };
        if command.has_told_lost || !is_any_lost(view, lba, sectors) {
            return;
        }
        command.has_told_lost = true;
        let ticket = MendTicket {
            worker: self.place.own,
            owner: IoOwner::Command(index),
            stamp: command.mend_stamp,
        };
        for_each_segment(view, lba, sectors, |part, own, segment| {
            let (element, range) = (segment.mirrors.first, range_of(&segment));
            if lost::is_any_lost(&own.lost, element, &range) {
                command.mends += 1;
                out.push(Action::Report(Report::LostWritten {
                    lun,
                    part,
                    element,
                    range,
                    epoch: own.log.map_or(0, |log| log.parameters.epoch()),
                    ticket,
                }));
            }
            true
        });
    }

    /// The sectors of a ticket are off the list, durably; or, with `ok` false, they stay on it although
    /// nobody else holds what was written: then the write is answered with a fault. Tickets of other workers
    /// are passed over.
    pub fn bad_sectors_settled(&mut self, ticket: MendTicket, ok: bool, out: &mut Vec<Action>) {
        if ticket.worker != self.place.own {
            return;
        }
        match ticket.owner {
            IoOwner::Command(index) => {
                let command = &mut self.commands[usize::from(index)];
                if command.mend_stamp != ticket.stamp || command.mends == 0 {
                    // It was planned anew since, or dropped.
                    return;
                }
                command.mends -= 1;
                command.unmapped |= !ok;
                if command.state == State::AwaitingMend && (command.mends == 0 || !ok) {
                    command.mends = 0;
                    self.finish(index, out);
                }
            }
            IoOwner::Slice(index) => self.slice_mend_settled(index, ticket.stamp, ok, out),
            IoOwner::Group(_) => {}
        }
    }

    /// Whether a LUN is silent, or goes.
    pub(super) fn is_offline(&self, number: LunNumber) -> bool {
        let lun = &self.luns[usize::from(number.get())];
        lun.as_ref().is_some_and(|lun| !lun.view.online)
    }

    /// A LUN goes offline: nobody waits any more.
    pub(super) fn drop_mend_waits(&mut self, number: LunNumber, out: &mut Vec<Action>) {
        if !self.is_offline(number) {
            return;
        }
        for index in 0..self.commands.len() {
            let command = &self.commands[index];
            if command.lun == number
                && command.state == State::AwaitingMend
                && let Ok(index) = CommandIndex::try_from(index)
            {
                self.drop_command(index, out);
            }
        }
    }
}

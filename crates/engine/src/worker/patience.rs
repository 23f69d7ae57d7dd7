//! Drives that are slow or hang: what is not waited for any longer.

use super::Worker;
use crate::message::FromWorker;
use crate::peers::Peers;
use disk::Drive;
use rustix::event::Timespec;
use shelf::admin::DriveSlot;
use shelf::patience::{DriveKind, Limits, Overdue, Patience, Stage};
use shelf::target::Io;
use std::sync::Arc;

/// I/Os that are dealt with in one look; what is left comes in the next.
pub(super) const OVERDUE_MAX: usize = 256;

/// I/Os that are watched at a time: what the executor holds when it is full.
const WATCHED_MAX: u16 = 10_240;

/// How often it is asked which drives became slow.
const CHANGE_INTERVAL_NS: u64 = 100_000_000;

/// A worker that sleeps looks no sooner than after this.
const SLEEP_MIN_NS: u64 = 1_000_000;

/// The watch over these drives, and others in so many slots.
pub(super) fn watch(drives: &[(DriveSlot, Arc<Drive>)], slots: usize, limits: Limits) -> Patience {
    let kinds: Vec<(DriveSlot, DriveKind)> = drives
        .iter()
        .map(|(slot, drive)| (*slot, drive.kind()))
        .collect();
    Patience::new(&kinds, WATCHED_MAX, limits).with_slots(slots)
}

impl Worker {
    /// Hands an I/O to its drive, unless that hangs and there is another way, or what was abandoned might
    /// land after it.
    pub(super) fn submit(&mut self, io: Io) {
        let is_barred_elsewhere = |peers: &Peers| peers.is_barred(&io);
        let stage = if self.patience.is_barred(&io)
            || self.peers.as_ref().is_some_and(is_barred_elsewhere)
        {
            Some(Stage::Hopeless)
        } else {
            self.patience.is_hung(io.drive).then_some(Stage::Overdue)
        };
        if let Some(stage) = stage.filter(|stage| self.target.may_abandon(&io, *stage)) {
            self.patience.refused();
            self.target.abandoned(&io, stage, &mut self.actions);
            return;
        }
        let ticket = self.patience.begin(&io);
        self.executor.submit(ticket, io);
    }

    /// Stops waiting for I/O that is overdue, where there is another way. Returns whether there was any.
    pub(super) fn lose_patience(&mut self) -> bool {
        let now_ns = self.now_ns;
        if now_ns >= self.next_change_ns {
            self.next_change_ns = now_ns + CHANGE_INTERVAL_NS;
            self.follow_slow_drives();
        }
        if now_ns < self.patience.next_due_ns() {
            return false;
        }
        let mut overdue = std::mem::take(&mut self.overdue);
        self.patience.look(&mut overdue);
        let any = !overdue.is_empty();
        for due in overdue.drain(..) {
            self.deal_with(&due);
            self.carry_out();
        }
        self.overdue = overdue;
        any
    }

    fn deal_with(&mut self, due: &Overdue) {
        let Overdue { ticket, io, stage } = *due;
        if !self.target.may_abandon(&io, stage) {
            self.patience.deny(ticket, stage);
        } else if self.executor.abandon(ticket) {
            self.patience.abandon(ticket, stage);
            if let Some(peers) = &mut self.peers {
                peers.landing_changed(&io, false);
            }
            self.target.abandoned(&io, stage, &mut self.actions);
        } else {
            self.patience.lacked_buffer(stage);
        }
    }

    fn follow_slow_drives(&mut self) {
        while let Some((drive, is_suspect)) = self.patience.next_change() {
            self.target.set_suspect(drive, is_suspect);
            self.unsaid
                .push_back(FromWorker::DriveSuspect { drive, is_suspect });
        }
    }

    /// How long to sleep, so that nothing is overdue meanwhile.
    pub(super) fn until_overdue(&self, limit: Timespec) -> Timespec {
        let left_ns = self
            .patience
            .next_due_ns()
            .saturating_sub(self.now_ns)
            .max(SLEEP_MIN_NS);
        let limit_ns = u64::try_from(limit.tv_nsec).unwrap_or(0);
        Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(left_ns.min(limit_ns)).unwrap_or(limit.tv_nsec),
        }
    }
}

//! I/O that failed as I/O of a drive that is pulled does, when nobody else holds what is on the drive.
//!
//! It fails a little before the kernel tells that the drive is gone. An initiator that was told of the error
//! would give up: a file system is read-only from then on. So the command waits until the administration has
//! taken the LUN from the data path, and is then given up without an answer; the initiator asks again, and is
//! answered when the drive is back. When there is no such news the error was the drive's.
//!
//! Invariants:
//! * every I/O that is held is given to the target once;
//! * nothing is allocated after the start; what finds no room is told as an error.

use super::Worker;
use shelf::target::Io;

/// How long news are waited for. The shelf looks once a second whether its drives are there.
const NEWS_NS: u64 = 5_000_000_000;

/// I/Os that are held at a time.
const HELD_MAX: usize = 4096;

/// I/Os that are held, the oldest first.
#[derive(Debug)]
pub(super) struct Unreached {
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    io: Io,
    since_ns: u64,
}

impl Unreached {
    pub(super) fn new() -> Self {
        Self {
            held: Vec::with_capacity(HELD_MAX),
        }
    }
}

impl Worker {
    /// Holds an I/O that failed, if its drive may have been pulled and that matters.
    pub(super) fn wait_for_news(&mut self, io: &Io) -> bool {
        let held = &mut self.unreached.held;
        if held.len() == HELD_MAX || !self.target.may_wait_for_news(io) {
            return false;
        }
        held.push(Held {
            io: *io,
            since_ns: self.now_ns,
        });
        true
    }

    /// Goes on with what was held, when there are news, or have been none for long enough. Whether there was
    /// any.
    pub(super) fn settle_unreached(&mut self) -> bool {
        if self.unreached.held.is_empty() {
            return false;
        }
        let mut any = false;
        let mut index = 0;
        while let Some(Held { io, since_ns }) = self.unreached.held.get(index) {
            let is_served = self.target.is_served(io);
            if is_served && self.now_ns.saturating_sub(*since_ns) < NEWS_NS {
                index += 1;
                continue;
            }
            any = true;
            let Held { io, .. } = self.unreached.held.remove(index);
            if is_served {
                self.target.complete(&io, false, &mut self.actions);
            } else {
                self.target.unreached(&io, &mut self.actions);
            }
            self.carry_out();
        }
        any
    }
}

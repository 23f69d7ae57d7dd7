//! The window: the reads and writes that are on the wire to one target, over one route to it or several.
//!
//! A tag is the number of a slot in the low bits and that slot's count of transmissions above them,
//! so an answer finds its command by indexing a table, and every transmission has a tag of its own.
//!
//! ```text
//! bit 31   30 ............ n   n-1 ...... 0
//!   0      transmission of      slot of the
//!          this slot            table
//! ```
//!
//! Invariants:
//! * bit 31 is clear: the Linux driver discards such answers and other tools set it by convention;
//! * at most `depth` commands are outstanding, and no two of them share a slot;
//! * only the answer to the newest transmission ends a command, as with the Linux initiator;
//! * nothing is allocated after [`Commands::new`].

use crate::rto::{Retransmission, RoundTrip};
use crate::wire::{self, Extent};
pub use crate::wire::{CommandError, Operation, Route};
use aoe::{ATA_FRAME_BYTES, Tag};
use port::ReceivedFrame;
use std::iter;

/// The most commands that a window holds: 12 bits of the tag.
pub const DEPTH_MAX: usize = 4096;

/// Answers to a transmission no older than this count as repeated; others were never asked for.
const REPEATED_AGE_MAX: u32 = 1024;

/// Which command of a window: stable from its start to its end, then used again. Indexes tables of
/// `depth` entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CommandId(u16);

impl CommandId {
    /// The index, below the depth of the window.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Header and registers of a command, ready to send; a write's data follow them.
#[derive(Clone, Copy, Debug)]
pub struct CommandFrame {
    /// The command.
    pub id: CommandId,
    /// Whether data follow.
    pub operation: Operation,
    /// Which of the window's routes it takes.
    pub route: usize,
    /// The first bytes of the frame.
    pub header: [u8; ATA_FRAME_BYTES],
}

/// A command that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finished {
    /// Which one; free to be used again.
    pub id: CommandId,
    /// What it was to do.
    pub operation: Operation,
    /// First sector.
    pub lba: u64,
    /// Sectors.
    pub sectors: u8,
    /// How often it was sent.
    pub sends: u32,
    /// Whether it was done.
    pub result: Result<(), CommandError>,
}

/// What a received frame meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A command ended. The data of a read lie in the frame from byte 36 on.
    Finished(Finished),
    /// An answer to what had been sent again, or had ended. Nothing ended.
    Repeated,
    /// No answer to anything of this window; the counters say why.
    Ignored,
}

/// What time has done to a command.
#[derive(Clone, Copy, Debug)]
pub enum Expired {
    /// Send this frame: the last one was not answered in time.
    Again(CommandFrame),
    /// The deadline has passed: the command is lost. A write may have been done or not, or be
    /// done later.
    Lost(Finished),
}

/// What a window has counted. Answers that end nothing are counted apart by what they are.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Commands started.
    pub started: u64,
    /// Commands done.
    pub done: u64,
    /// Commands that the target refused or failed, or answered wrongly.
    pub failed: u64,
    /// Commands given up after the deadline.
    pub lost: u64,
    /// Transmissions after the first of a command.
    pub retransmissions: u64,
    /// Answers to a transmission that has been repeated since: the timeout was too short.
    pub superseded: u64,
    /// Answers to a command that has ended.
    pub duplicates: u64,
    /// ATA answers with our station as destination whose tag or address fits no command.
    pub unexpected: u64,
    /// Frames that answer no ATA command: advertisements, requests of others, garbage.
    pub foreign: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Transmissions of this slot so far, modulo the width of the field.
    transmission: u32,
    command: Option<Outstanding>,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    operation: Operation,
    extent: Extent,
    started_ns: u64,
    sent_ns: u64,
    sends: u32,
}

/// The commands outstanding to one target.
#[derive(Debug)]
pub struct Commands {
    /// Never empty.
    routes: Vec<Route>,
    /// Which of them is next.
    turn: usize,
    lba48: bool,
    retransmission: Retransmission,
    deadline_ns: u64,
    index_bits: u32,
    entries: Vec<Entry>,
    free: Vec<CommandId>,
    scan: usize,
    round_trip: RoundTrip,
    counters: Counters,
}

/// How a window behaves.
#[derive(Clone, Copy, Debug)]
pub struct WindowSpec {
    /// Commands that may be outstanding: 1 to [`DEPTH_MAX`]; others are brought into these limits.
    pub depth: usize,
    /// Whether the target takes 48-bit commands.
    pub lba48: bool,
    /// What to do about missing answers.
    pub retransmission: Retransmission,
    /// After how many nanoseconds a command without an answer is lost.
    pub deadline_ns: u64,
    /// Where the tags begin. Runs that follow one another should differ in it, so that late answers
    /// to the one mean nothing to the next.
    pub first_transmission: u32,
}

impl Commands {
    /// An empty window over one route.
    #[must_use]
    pub fn new(route: Route, spec: WindowSpec) -> Self {
        Self::over(route, &[], spec)
    }

    /// An empty window over several routes to one target. They take turns by the frame, as with Linux, and
    /// what is sent again takes the next one, too.
    #[must_use]
    pub fn over(first: Route, others: &[Route], spec: WindowSpec) -> Self {
        let depth = spec.depth.clamp(1, DEPTH_MAX);
        let index_bits = depth.next_power_of_two().trailing_zeros();
        let entry = Entry {
            transmission: spec.first_transmission & transmission_mask(index_bits),
            command: None,
        };
        let ids = (0..DEPTH_MAX as u16).take(depth).map(CommandId);
        Self {
            routes: iter::once(first).chain(others.iter().copied()).collect(),
            turn: 0,
            lba48: spec.lba48,
            retransmission: spec.retransmission,
            deadline_ns: spec.deadline_ns,
            index_bits,
            entries: vec![entry; depth],
            free: ids.rev().collect(),
            scan: 0,
            round_trip: RoundTrip::default(),
            counters: Counters::default(),
        }
    }

    /// How many commands may be outstanding.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.entries.len()
    }

    /// How many are.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// What has been counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The place that the next command will take, so that its data can be put there; `None` when
    /// the window is full.
    #[must_use]
    pub fn next_id(&self) -> Option<CommandId> {
        self.free.last().copied()
    }

    /// Starts a command; `None` when the window is full. The frame has to be sent now: the clock of
    /// its answer runs from `now_ns`. `sectors` must not be 0.
    pub fn start(
        &mut self,
        operation: Operation,
        lba: u64,
        sectors: u8,
        now_ns: u64,
    ) -> Option<CommandFrame> {
        debug_assert_ne!(sectors, 0);
        let id = self.free.pop()?;
        self.counters.started += 1;
        self.entries[id.index()].command = Some(Outstanding {
            operation,
            extent: Extent { lba, sectors },
            started_ns: now_ns,
            sent_ns: now_ns,
            sends: 0,
        });
        self.transmit(id, now_ns)
    }

    /// The frame of the next transmission of a command, under a new tag.
    fn transmit(&mut self, id: CommandId, now_ns: u64) -> Option<CommandFrame> {
        let entry = &mut self.entries[id.index()];
        let command = entry.command.as_mut()?;
        command.sends += 1;
        command.sent_ns = now_ns;
        entry.transmission = (entry.transmission + 1) & transmission_mask(self.index_bits);
        let tag = Tag((entry.transmission << self.index_bits) | u32::from(id.0));
        let registers = wire::registers(command.operation, command.extent, self.lba48);
        let route = self.turn;
        self.turn = (route + 1) % self.routes.len();
        Some(CommandFrame {
            id,
            operation: command.operation,
            route,
            header: wire::request(&self.routes[route], tag, &registers),
        })
    }

    /// Takes in a received frame.
    pub fn receive(&mut self, frame: &ReceivedFrame<'_>, now_ns: u64) -> Event {
        let Some(header) = wire::ata_answer(frame) else {
            self.counters.foreign += 1;
            return Event::Ignored;
        };
        let tag = header.tag.get();
        let index = (tag & !(u32::MAX << self.index_bits)) as usize;
        let known = self.entries.get(index).filter(|_| tag >> 31 == 0);
        let from_target = self.routes.iter().any(|route| route.is_from(header));
        let Some(entry) = known.filter(|_| from_target) else {
            let mut stations = self.routes.iter().map(|route| route.source);
            return self.unexpected(stations.any(|ours| header.destination == ours));
        };
        // How many transmissions of this slot came after the one that is answered.
        let age = entry.transmission.wrapping_sub(tag >> self.index_bits)
            & transmission_mask(self.index_bits);
        match entry.command {
            Some(command) if age == 0 => {
                let Extent { sectors, .. } = command.extent;
                if command.sends == 1 {
                    self.round_trip
                        .sample(now_ns.saturating_sub(command.sent_ns));
                }
                let result = wire::outcome(command.operation, sectors, header, frame);
                Event::Finished(self.finish(index, &command, result))
            }
            Some(command) if age < command.sends => {
                self.counters.superseded += 1;
                Event::Repeated
            }
            _ if age <= REPEATED_AGE_MAX => {
                self.counters.duplicates += 1;
                Event::Repeated
            }
            _ => self.unexpected(true),
        }
    }

    #[cold]
    fn unexpected(&mut self, for_us: bool) -> Event {
        if for_us {
            self.counters.unexpected += 1;
        } else {
            self.counters.foreign += 1;
        }
        Event::Ignored
    }

    fn finish(
        &mut self,
        index: usize,
        command: &Outstanding,
        result: Result<(), CommandError>,
    ) -> Finished {
        match result {
            Ok(()) => self.counters.done += 1,
            Err(CommandError::Lost) => self.counters.lost += 1,
            Err(_) => self.counters.failed += 1,
        }
        self.entries[index].command = None;
        let id = CommandId(index as u16);
        self.free.push(id);
        Finished {
            id,
            operation: command.operation,
            lba: command.extent.lba,
            sectors: command.extent.sectors,
            sends: command.sends,
            result,
        }
    }

    /// The next command that is overdue at `now_ns`; `None` when there is none. Looks through the
    /// whole window, so it is to be called about once in a millisecond, until it returns `None`.
    pub fn next_expired(&mut self, now_ns: u64) -> Option<Expired> {
        while let Some(entry) = self.entries.get(self.scan) {
            let index = self.scan;
            self.scan += 1;
            let Some(command) = entry.command else {
                continue;
            };
            if now_ns.saturating_sub(command.started_ns) >= self.deadline_ns {
                let finished = self.finish(index, &command, Err(CommandError::Lost));
                return Some(Expired::Lost(finished));
            }
            let timeout_ns = self
                .retransmission
                .timeout_ns(&self.round_trip, command.sends);
            if timeout_ns.is_some_and(|limit| now_ns.saturating_sub(command.sent_ns) >= limit) {
                self.counters.retransmissions += 1;
                let frame = self.transmit(CommandId(index as u16), now_ns);
                return frame.map(Expired::Again);
            }
        }
        self.scan = 0;
        None
    }
}

/// The bits of a tag that count transmissions, shifted down.
const fn transmission_mask(index_bits: u32) -> u32 {
    (i32::MAX as u32) >> index_bits
}

#[cfg(test)]
mod tests;

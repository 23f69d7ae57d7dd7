//! Parts with parity: writes, reads of what is lost, resynchronisation and rebuild, slice by slice.
//!
//! A *slice* is up to 16 sectors of member address space, the same on every element of a row. What
//! commands want of a slice comes as *pieces*; a slice works on them in *rounds*, one at a time:
//!
//! ```text
//! Idle ─ Held ─ Queued ─ Reading ─ Read ─ Computed ─ Logging ─ Logged ─ Writing ─ Written ─ Given ─ Idle
//!        wait   plan     old data  parity wait for a group      home              answer    send
//!        for                              of the redo log       writes
//!        more
//! ```
//!
//! A round that has written bad sectors is not given before they are off their list ([`super::mend`]).
//! The content of a slice stays in memory until its pages are needed, so that the next write of a
//! stream reads nothing.
//!
//! Invariants:
//! * nothing is written home before the redo log has it, durably, on every member that takes part
//!   (if the part has a log) or was given up, durably, since;
//! * a write is answered with success only after everything of its round is durable at home;
//! * a round that the last copy did not take stays in the redo log until that is noted as bad, durably: what
//!   is there may be a mixture, from which others would be computed;
//! * `valid` sectors of a page are what the element holds, or would hold if it were there;
//! * two rounds of a slice never overlap, so that parity is never computed from a mixture;
//! * a round that waits for pages or records holds none;
//! * while replies are to be sent from the pages of a slice, they are neither written nor given away. A
//!   reply that cannot be sent at once is moved out, so that no port holds up a slice.
//!
//! Source of the log's rules: the redo log's own module, [`raid::log`].
//!
//! Budget (`corebench stages slices`): 400 ns, 5400 instructions.

mod cache;
mod compute;
mod gather;
mod group;
mod mend;
mod pieces;
mod round;
mod settle;
mod sift;
mod slow;

use super::{Action, BufferPlan, Memory, Target};
use crate::ids::LunNumber;
use crate::plane::LunView;
use cache::Cache;
use gather::Streams;
use group::Groups;
use pieces::Pieces;
use raid::Geometry;
use raid::geometry::{MEMBERS_MAX, RowLayout};
use raid::stripe::{SLICE_SECTORS_MAX, SectorMask};
use std::collections::VecDeque;

pub(super) use pieces::{PIECES_MAX, PieceKind, Wish};

/// No slice, page, piece or group.
const NONE: u16 = u16::MAX;

/// Where a slice lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    lun: LunNumber,
    part: u8,
    /// Member sector of its begin, in slices.
    number: u64,
}

/// One element's block of a slice.
#[derive(Clone, Copy, Debug)]
struct Column {
    page: u16,
    /// Sectors of the page that hold what the element holds.
    valid: SectorMask,
    /// Sectors that this round writes home; one run.
    home: SectorMask,
}

impl Column {
    const EMPTY: Self = Self {
        page: NONE,
        valid: 0,
        home: 0,
    };
}

/// Where a slice stands: see the picture of the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Held,
    Queued,
    Reading,
    Read,
    Computed,
    Logging,
    Logged,
    Writing,
    Written,
    /// All is at home, in sectors that are on the list of bad ones yet.
    AwaitingMend,
    /// A member failed; the next view decides.
    AwaitingView,
    /// The round is over, but for replies that are sent from the pages.
    Given,
}

/// What a round does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Round {
    Write,
    /// Gives blocks, also such as cannot be read.
    Read,
    /// Makes parity match and brings members that are not in sync up to date.
    Sync,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    key: Option<Key>,
    chain_next: u16,
    idle_before: u16,
    idle_next: u16,
    columns: [Column; MEMBERS_MAX as usize],
    /// The columns that have a page, a bit for each element. Nothing else is said of the others.
    paged: u64,
    phase: Phase,
    /// It stands in the queue of those with something to do.
    is_due: bool,
    /// Pieces that wait for a round, in order.
    waiting_first: u16,
    waiting_last: u16,
    /// Pieces of the round.
    pieces: u16,
    /// Replies that are to be sent from its pages.
    readers: u16,
    /// Data sectors that the last write has written, and reads were given since.
    sectors_used: u16,
    round: Round,
    /// View generation that the I/O in flight belongs to.
    epoch: u32,
    outstanding: u16,
    /// An I/O of the round failed; a write of it.
    failed: bool,
    /// A member failed that the others cannot make good.
    doomed: bool,
    /// Elements whose blocks could not be read in this round.
    unreadable: u64,
    /// Of these, those that are only slow: nothing needs to be written anew.
    late: u64,
    /// A drive does not answer a read that only the administration can do without.
    is_reading_again: bool,
    /// The sectors whose parity the round changes, or that it reads.
    range: SectorMask,
    method: raid::stripe::Method,
    replans: u8,
    held_since_ns: u64,
    /// The group of the log that holds the round.
    group: Option<u64>,
    /// Elements whose record of that group could not be written.
    unlogged: u64,
    /// Elements that could not be written home, though nobody else holds what they hold.
    unwritten: u64,
    group_next: u16,
    /// Home writes of the round whose sectors are on the list of bad ones yet, and what their tickets say.
    mends: u16,
    mend_stamp: u64,
    /// Sectors that a step of a pass has still to do one by one, because not all of the slice can be
    /// had; 0 while it does all at once.
    sift: SectorMask,
    /// The number of the report of the last sector that nobody could give; 0 for none.
    report: u64,
}

impl Slice {
    const fn empty() -> Self {
        Self {
            key: None,
            chain_next: NONE,
            idle_before: NONE,
            idle_next: NONE,
            columns: [Column::EMPTY; MEMBERS_MAX as usize],
            paged: 0,
            phase: Phase::Idle,
            is_due: false,
            waiting_first: NONE,
            waiting_last: NONE,
            pieces: NONE,
            readers: 0,
            sectors_used: 0,
            round: Round::Write,
            epoch: 0,
            outstanding: 0,
            failed: false,
            doomed: false,
            unreadable: 0,
            late: 0,
            is_reading_again: false,
            range: 0,
            method: raid::stripe::Method::DataOnly,
            replans: 0,
            held_since_ns: 0,
            group: None,
            unlogged: 0,
            unwritten: 0,
            group_next: NONE,
            mends: 0,
            mend_stamp: 0,
            sift: 0,
            report: 0,
        }
    }

    /// Elements whose blocks are to be written because they could not be read.
    const fn repairs(&self) -> u64 {
        self.unreadable & !self.late
    }
}

/// The elements of a mask.
fn elements(mask: u64) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        let element = usize::try_from(left.trailing_zeros()).unwrap_or(0);
        let is_any = left != 0;
        left &= left.wrapping_sub(1);
        is_any.then_some(element)
    })
}

/// Sectors of a slice of a geometry: chunks are divided evenly.
fn slice_sectors(geometry: &Geometry) -> u32 {
    geometry.chunk_sectors().min(SLICE_SECTORS_MAX)
}

/// Where data and parity lie in a slice.
fn layout_of(geometry: &Geometry, number: u64) -> RowLayout {
    let row = geometry.row_of(number * u64::from(slice_sectors(geometry)));
    geometry
        .row_layout(row)
        .expect("only parts with parity have slices")
}

/// The state of all parts with parity.
#[derive(Debug)]
pub(super) struct Stripes {
    plan: BufferPlan,
    cache: Cache,
    pieces: Pieces,
    groups: Groups,
    streams: Streams,
    read_streams: Streams,
    /// Slices with something to do.
    due: VecDeque<u16>,
    /// Slices that wait for pages or for room in the log.
    stalled: Vec<u16>,
    /// Something became free since they were tried.
    may_unstall: bool,
    /// Slices that may be waiting for more of their row.
    held: Vec<u16>,
    now_ns: u64,
}

impl Stripes {
    pub(super) fn new(plan: BufferPlan) -> Self {
        let pieces = usize::from(plan.commands) * PIECES_MAX;
        let slices = u16::try_from(pieces).unwrap_or(NONE - 1);
        Self {
            plan,
            cache: Cache::new(slices, plan.pages),
            pieces: Pieces::new(plan.commands),
            groups: Groups::new(plan),
            streams: Streams::default(),
            read_streams: Streams::default(),
            due: VecDeque::with_capacity(usize::from(slices)),
            stalled: Vec::with_capacity(usize::from(slices)),
            may_unstall: false,
            held: Vec::with_capacity(usize::from(slices)),
            now_ns: 0,
        }
    }

    /// Readies what parts of a view need. May allocate: it is administration.
    pub(super) fn prepare(&mut self, view: &LunView) {
        self.groups.prepare(view);
    }

    /// Whether the slices are in order.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.cache.check();
    }

    /// Puts a slice into the queue of those with something to do.
    fn make_due(&mut self, index: u16) {
        let slice = self.cache.get_mut(index);
        if !slice.is_due {
            slice.is_due = true;
            self.due.push_back(index);
        }
    }
}

impl Stripes {
    /// A slice waits for pages or for room in the log.
    fn stall(&mut self, index: u16) {
        self.stalled.push(index);
    }

    /// What slices wait for may be free now: they try again.
    fn unstall(&mut self) {
        if std::mem::take(&mut self.may_unstall) {
            while let Some(index) = self.stalled.pop() {
                self.make_due(index);
            }
        }
    }
}

impl Target {
    /// Whether [`Target::stripe_step`] would do anything.
    #[must_use]
    pub fn has_stripe_work(&self) -> bool {
        let stripes = &self.stripes;
        !self.compares.is_empty()
            || !self.merges.is_empty()
            || !stripes.due.is_empty()
            || !stripes.held.is_empty()
            || stripes.groups.may_close()
            || (stripes.may_unstall && !stripes.stalled.is_empty())
    }

    /// Works on the parts with parity. To be called once a turn, after frames and completions were
    /// taken: `now_ns` is any clock that does not go back, `received` whether a frame came in this
    /// turn. Returns whether it is to be called again soon although nothing may come in.
    pub fn stripe_step(
        &mut self,
        now_ns: u64,
        received: bool,
        memory: &mut impl Memory,
        out: &mut Vec<Action>,
    ) -> bool {
        self.stripes.now_ns = now_ns;
        self.compare_copies(memory, out);
        self.merge_edges(memory, out);
        self.release_held(received);
        self.stripes.unstall();
        for _ in 0..self.stripes.due.len() {
            let Some(index) = self.stripes.due.pop_front() else {
                break;
            };
            self.stripes.cache.get_mut(index).is_due = false;
            self.advance(index, memory, out);
        }
        self.close_groups(memory, out);
        self.has_stripe_work()
    }

    /// Takes the next step of a slice.
    fn advance(&mut self, index: u16, memory: &mut impl Memory, out: &mut Vec<Action>) {
        match self.stripes.cache.get(index).phase {
            Phase::Queued => self.start_round(index, out),
            Phase::Read => self.compute_round(index, memory, out),
            Phase::Computed => self.log_round(index, memory, out),
            Phase::Logged => self.write_home(index, out),
            Phase::Written => self.round_written(index, out),
            Phase::Idle
            | Phase::Held
            | Phase::Reading
            | Phase::Logging
            | Phase::Writing
            | Phase::AwaitingMend
            | Phase::Given => {}
            Phase::AwaitingView => self.look_at_waiting(index, out),
        }
    }
}

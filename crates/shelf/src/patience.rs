//! Patience with drives: how long an I/O may take, and what is to happen then. Sans-I/O: the time comes in.
//!
//! Whoever carries out the I/O of a [`crate::target::Target`] tells this watch of each that begins and
//! ends, and asks it now and then which are [`Overdue`]. An overdue I/O may be *abandoned*: the target
//! gets it back at once ([`crate::target::Target::abandoned`]) and goes another way; what becomes of it
//! on the drive is awaited, and then forgotten. Whether there is another way is the target's to say
//! ([`crate::target::Target::may_abandon`]).
//!
//! Reads are abandoned only where another copy or parity gives them.
//!
//! | stage | when | what is abandoned |
//! | --- | --- | --- |
//! | late | 3 × the p99 of its reads, 20 ms at least (flash: 1 ms) | reads, few: [`HEDGE_COST`] |
//! | suspect | 1 s | reads, however many; new ones go elsewhere while they can |
//! | overdue | [`Limits::give_up_ns`], 10 s | whatever redundancy makes good: the member is given up |
//! | hopeless | 35 s | everything: the initiator is told |
//!
//! Invariants:
//! * an I/O is live from its begin until it ends or is abandoned, and is known until it ends: a drive on
//!   which an abandoned one may still land is told by [`Patience::abandoned_ios`], and no write is sent
//!   that an abandoned one might overwrite ([`Patience::is_barred`]);
//! * nothing is allocated after [`Patience::new`]. I/O that finds no room is not watched, and counted.
//!
//! Budget (`corebench stages watch`): 20 ns, 260 instructions.

use crate::ids::DriveSlot;
use crate::latency::Latencies;
use crate::statistics::{Rates, Window};
use crate::target::{Io, Operation};
use aoe::SECTOR_BYTES;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};

/// A millisecond.
const MS: u64 = 1_000_000;
/// A second.
const SECOND: u64 = 1_000_000_000;

/// When a drive is suspect.
const SUSPECT_NS: u64 = SECOND;
/// How long a suspect drive must have been well before it is called so.
const WELL_NS: u64 = 5 * SECOND;
/// When nothing is hoped for any more: well below the 180 s that the Linux initiator waits.
const HOPELESS_NS: u64 = 35 * SECOND;
/// How soon what could not be abandoned is tried again.
const RETRY_NS: u64 = MS;
/// Reads that must have ended for each that is abandoned early: at most 5 % are.
pub const HEDGE_COST: u32 = 20;
/// Early abandonments that may come at once.
const HEDGES_AT_ONCE: u32 = 64;

/// Whether a write that may land some time overlaps another.
const fn is_overwritten(landing: &Io, io: &Io) -> bool {
    landing.operation.is_write()
        && landing.sector < io.sector + io.sectors as u64
        && io.sector < landing.sector + landing.sectors as u64
}

/// No entry.
const NONE: u16 = u16::MAX;

/// What is known of the kind of a drive.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum DriveKind {
    /// Nothing, or it has moving parts.
    #[default]
    Rotating,
    /// It has none.
    SolidState,
}

impl DriveKind {
    /// No read is late before this.
    const fn floor_ns(self) -> u64 {
        match self {
            Self::Rotating => 20 * MS,
            Self::SolidState => MS,
        }
    }
}

/// Times that an administrator may set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// After how long a member that redundancy can spare is given up.
    pub give_up_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            give_up_ns: 10 * SECOND,
        }
    }
}

/// How late an I/O is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Later than nearly all others of its drive.
    Late,
    /// Older than a second.
    Suspect,
    /// The drive is taken to hang: a member that can be spared is given up.
    Overdue,
    /// The initiator is to be told.
    Hopeless,
}

/// Names an I/O that is watched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IoTicket(pub u16);

impl IoTicket {
    /// That of an I/O that is not watched.
    pub const NONE: Self = Self(NONE);
}

/// An I/O that has gone on for long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overdue {
    /// Its ticket.
    pub ticket: IoTicket,
    /// The I/O.
    pub io: Io,
    /// How late it is.
    pub stage: Stage,
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PatienceCounters {
    /// Reads that were abandoned early and done another way.
    pub reads_hedged: u64,
    /// I/Os that were abandoned because their drive was suspect or hung.
    pub ios_abandoned: u64,
    /// I/Os of drives that hang that were not sent at all.
    pub ios_refused: u64,
    /// Late reads that had to wait on, because too many had been hedged.
    pub hedges_denied: u64,
    /// I/Os that could not be abandoned because every spare buffer was in use.
    pub buffers_lacking: u64,
    /// I/Os that found no room in the watch.
    pub unwatched: u64,
}

impl PatienceCounters {
    /// Every counter with its name, in the order of the fields.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("reads_hedged", self.reads_hedged),
            ("ios_abandoned", self.ios_abandoned),
            ("ios_refused", self.ios_refused),
            ("hedges_denied", self.hedges_denied),
            ("buffers_lacking", self.buffers_lacking),
            ("unwatched", self.unwatched),
        ]
    }
}

/// How a drive is doing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DriveHealth {
    /// An I/O on it has been going on for more than a second, or was lately.
    pub is_suspect: bool,
    /// I/Os that were abandoned and may still land on it.
    pub abandoned_ios: u32,
    /// Age of its oldest I/O.
    pub oldest_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    io: Option<Io>,
    since_ns: u64,
    /// The last stage for which there was no other way.
    denied: Option<Stage>,
    is_abandoned: bool,
    before: u16,
    next: u16,
}

/// A drive: its I/Os in the order in which they began.
#[derive(Clone, Debug)]
struct Watched {
    kind: DriveKind,
    first: u16,
    last: u16,
    abandoned: u32,
    /// Since when it has I/O, if it has any.
    busy_since_ns: u64,
    /// How long it had I/O before that.
    busy_ns: u64,
    latencies: Latencies,
    late_ns: u64,
    reads_until_estimate: u32,
    last_answer_ns: u64,
    /// It has not answered for so long that it is not asked any more.
    is_hung: bool,
    is_suspect: bool,
    last_suspect_ns: u64,
    /// What it did in the last seconds.
    window: Window,
}

/// Reads after which the estimate is made anew.
const ESTIMATE_READS: u32 = 128;

impl Watched {
    const fn new(kind: DriveKind) -> Self {
        Self {
            kind,
            first: NONE,
            last: NONE,
            abandoned: 0,
            busy_since_ns: 0,
            busy_ns: 0,
            latencies: Latencies::new(),
            late_ns: kind.floor_ns(),
            reads_until_estimate: ESTIMATE_READS,
            last_answer_ns: 0,
            is_hung: false,
            is_suspect: false,
            last_suspect_ns: 0,
            window: Window::new(),
        }
    }

    fn answered(&mut self, latency_ns: u64, now_ns: u64, io: &Io) {
        self.last_answer_ns = now_ns;
        self.is_hung = false;
        if io.operation != Operation::Flush {
            let is_write = io.operation == Operation::Write;
            let bytes = u64::from(io.sectors) * SECTOR_BYTES as u64;
            self.window.record(now_ns, is_write, bytes, latency_ns);
        }
        if io.operation != Operation::Read {
            return;
        }
        self.latencies.record(latency_ns);
        self.reads_until_estimate -= 1;
        if self.reads_until_estimate == 0 {
            self.reads_until_estimate = ESTIMATE_READS;
            let usual = self.latencies.p99_ns().map_or(0, |p99| 3 * p99);
            self.late_ns = usual.clamp(self.kind.floor_ns(), SUSPECT_NS);
        }
    }

    /// The first stage at which an I/O is due after this one.
    const fn due_ns(&self, denied: Option<Stage>, limits: &Limits) -> u64 {
        match denied {
            None => self.late_ns,
            Some(Stage::Late) => SUSPECT_NS,
            Some(Stage::Suspect) => limits.give_up_ns,
            Some(Stage::Overdue | Stage::Hopeless) => HOPELESS_NS,
        }
    }

    fn stage(&self, age_ns: u64, limits: &Limits) -> Option<Stage> {
        if age_ns >= HOPELESS_NS {
            Some(Stage::Hopeless)
        } else if age_ns >= limits.give_up_ns || self.is_hung {
            Some(Stage::Overdue)
        } else if age_ns >= SUSPECT_NS {
            Some(Stage::Suspect)
        } else if age_ns >= self.late_ns {
            Some(Stage::Late)
        } else {
            None
        }
    }
}

/// The watch over all drives of a worker.
#[derive(Debug)]
pub struct Patience {
    limits: Limits,
    drives: Vec<Option<Watched>>,
    entries: Box<[Entry]>,
    free: Vec<u16>,
    now_ns: u64,
    next_due_ns: u64,
    hedge_credit: u32,
    counters: PatienceCounters,
}

impl Patience {
    /// A watch over these drives with room for so many I/Os at a time.
    #[must_use]
    pub fn new(drives: &[(DriveSlot, DriveKind)], ios: u16, limits: Limits) -> Self {
        let slots = drives.iter().map(|(slot, _)| usize::from(slot.0) + 1).max();
        let mut table = vec![None; slots.unwrap_or(0)];
        for (slot, kind) in drives {
            table[usize::from(slot.0)] = Some(Watched::new(*kind));
        }
        let entry = Entry {
            io: None,
            since_ns: 0,
            denied: None,
            is_abandoned: false,
            before: NONE,
            next: NONE,
        };
        let ios = ios.min(NONE - 1);
        Self {
            limits,
            drives: table,
            entries: vec![entry; usize::from(ios)].into(),
            free: (0..ios).rev().collect(),
            now_ns: 0,
            next_due_ns: u64::MAX,
            hedge_credit: HEDGES_AT_ONCE * HEDGE_COST,
            counters: PatienceCounters::default(),
        }
    }

    /// The same, with room for drives in so many slots.
    #[must_use]
    pub fn with_slots(mut self, slots: usize) -> Self {
        let slots = slots.max(self.drives.len());
        self.drives.resize_with(slots, || None);
        self
    }

    /// A drive comes into a slot that there is room for, in which there was none.
    pub fn add(&mut self, slot: DriveSlot, kind: DriveKind) {
        if let Some(drive) = self.drives.get_mut(usize::from(slot.0)) {
            debug_assert!(drive.is_none(), "slot {slot} is taken");
            *drive = Some(Watched::new(kind));
        }
    }

    /// A drive is gone, and all I/O on it has ended.
    pub fn remove(&mut self, slot: DriveSlot) {
        if let Some(drive) = self.drives.get_mut(usize::from(slot.0)) {
            let is_idle = drive.as_ref().is_none_or(|drive| drive.first == NONE);
            debug_assert!(is_idle, "I/O on slot {slot} goes on");
            *drive = None;
        }
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &PatienceCounters {
        &self.counters
    }

    /// Tells the time, of any clock that does not go back.
    pub const fn set_now(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// When [`Patience::look`] may find something next; never if nothing goes on.
    #[must_use]
    pub const fn next_due_ns(&self) -> u64 {
        self.next_due_ns
    }

    /// An I/O is handed to its drive.
    pub fn begin(&mut self, io: &Io) -> IoTicket {
        let Some(Some(drive)) = self.drives.get_mut(usize::from(io.drive.0)) else {
            return IoTicket::NONE;
        };
        let Some(index) = self.free.pop() else {
            self.counters.unwatched += 1;
            return IoTicket::NONE;
        };
        self.entries[usize::from(index)] = Entry {
            io: Some(*io),
            since_ns: self.now_ns,
            denied: None,
            is_abandoned: false,
            before: drive.last,
            next: NONE,
        };
        let before = std::mem::replace(&mut drive.last, index);
        self.next_due_ns = self.next_due_ns.min(self.now_ns + drive.late_ns);
        if before == NONE {
            drive.first = index;
            drive.busy_since_ns = self.now_ns;
        } else {
            self.entries[usize::from(before)].next = index;
        }
        IoTicket(index)
    }

    /// The drive is done with an I/O, abandoned or not.
    pub fn end(&mut self, ticket: IoTicket) {
        let Some(entry) = self.entries.get_mut(usize::from(ticket.0)) else {
            return;
        };
        let Some(io) = entry.io.take() else {
            debug_assert!(false, "an I/O ends twice");
            return;
        };
        let Entry {
            since_ns,
            is_abandoned,
            before,
            next,
            ..
        } = *entry;
        self.free.push(ticket.0);
        self.link(before, next, io.drive);
        if io.operation == Operation::Read {
            self.hedge_credit = (self.hedge_credit + 1).min(HEDGES_AT_ONCE * HEDGE_COST);
        }
        let now_ns = self.now_ns;
        if let Some(Some(drive)) = self.drives.get_mut(usize::from(io.drive.0)) {
            drive.abandoned -= u32::from(is_abandoned);
            drive.answered(now_ns.saturating_sub(since_ns), now_ns, &io);
        }
    }

    fn link(&mut self, before: u16, next: u16, slot: DriveSlot) {
        let Some(Some(drive)) = self.drives.get_mut(usize::from(slot.0)) else {
            return;
        };
        match self.entries.get_mut(usize::from(before)) {
            Some(entry) => entry.next = next,
            None => {
                drive.first = next;
                if next == NONE {
                    drive.busy_ns += self.now_ns.saturating_sub(drive.busy_since_ns);
                }
            }
        }
        match self.entries.get_mut(usize::from(next)) {
            Some(entry) => entry.before = before,
            None => drive.last = before,
        }
    }

    /// Whether a drive does not answer at all, so that an I/O that can go another way is not sent to it.
    #[must_use]
    pub fn is_hung(&self, slot: DriveSlot) -> bool {
        matches!(self.drives.get(usize::from(slot.0)), Some(Some(drive)) if drive.is_hung)
    }

    /// Whether a write must not be sent, because one that was abandoned may still land on the same
    /// sectors, and then perhaps after it.
    #[must_use]
    pub fn is_barred(&self, io: &Io) -> bool {
        let drive = self.drives.get(usize::from(io.drive.0));
        let Some(Some(drive)) = drive else {
            return false;
        };
        if drive.abandoned == 0 || !io.operation.is_write() {
            return false;
        }
        #[cfg(feature = "planted")]
        if planted::is(Bug::LateWritesForgotten) {
            return false;
        }
        let mut next = drive.first;
        while let Some(entry) = self.entries.get(usize::from(next)) {
            next = entry.next;
            let landing = entry.io.filter(|_| entry.is_abandoned);
            if landing.is_some_and(|other| is_overwritten(&other, io)) {
                return true;
            }
        }
        false
    }

    /// An I/O was not sent because its drive hangs.
    pub const fn refused(&mut self) {
        self.counters.ios_refused += 1;
    }

    /// Finds what is overdue: adds as much as there is room for to `out`. Of each one it is to be told
    /// whether it was [abandoned](Patience::abandon) or [has no other way](Patience::deny) before the
    /// next look.
    pub fn look(&mut self, out: &mut Vec<Overdue>) {
        self.next_due_ns = u64::MAX;
        for slot in 0..self.drives.len() {
            self.look_at(slot, out);
        }
    }

    fn look_at(&mut self, slot: usize, out: &mut Vec<Overdue>) {
        let (now_ns, limits) = (self.now_ns, self.limits);
        let Some(drive) = &mut self.drives[slot] else {
            return;
        };
        let Some(oldest) = self.entries.get(usize::from(drive.first)) else {
            return;
        };
        let oldest_ns = now_ns.saturating_sub(oldest.since_ns);
        let silent_ns = now_ns.saturating_sub(drive.last_answer_ns.max(oldest.since_ns));
        drive.is_hung |= oldest_ns >= limits.give_up_ns && silent_ns >= SUSPECT_NS;
        let (mut next, mut due_ns) = (drive.first, u64::MAX);
        while let Some(entry) = self.entries.get_mut(usize::from(next)) {
            let ticket = IoTicket(std::mem::replace(&mut next, entry.next));
            let Some(io) = entry.io.filter(|_| !entry.is_abandoned) else {
                continue;
            };
            let Some(stage) = drive.stage(now_ns.saturating_sub(entry.since_ns), &limits) else {
                // Whoever began later is not due earlier.
                due_ns = due_ns.min(entry.since_ns + drive.late_ns);
                break;
            };
            let is_early = stage == Stage::Late;
            if is_early && io.operation != Operation::Read {
                entry.denied = Some(stage);
            }
            if entry.denied.is_some_and(|denied| denied >= stage) {
                due_ns = due_ns.min(entry.since_ns + drive.due_ns(entry.denied, &limits));
                continue;
            }
            due_ns = due_ns.min(now_ns + RETRY_NS);
            if is_early && self.hedge_credit < HEDGE_COST {
                self.counters.hedges_denied += 1;
            } else if out.len() < out.capacity() {
                // Given back if there is no other way.
                self.hedge_credit -= if is_early { HEDGE_COST } else { 0 };
                out.push(Overdue { ticket, io, stage });
            }
        }
        self.next_due_ns = self.next_due_ns.min(due_ns);
    }

    /// There is no other way for an I/O at this stage: it is waited for until the next.
    pub fn deny(&mut self, ticket: IoTicket, stage: Stage) {
        if let Some(entry) = self.entries.get_mut(usize::from(ticket.0)) {
            if stage == Stage::Late {
                self.hedge_credit += HEDGE_COST;
            }
            entry.denied = entry.denied.max(Some(stage));
        }
    }

    /// An overdue I/O could not be abandoned for lack of a buffer: it is tried again.
    pub const fn lacked_buffer(&mut self, stage: Stage) {
        self.counters.buffers_lacking += 1;
        if matches!(stage, Stage::Late) {
            self.hedge_credit += HEDGE_COST;
        }
    }

    /// An I/O is abandoned: what becomes of it on the drive is awaited, and nobody wants it any more.
    pub fn abandon(&mut self, ticket: IoTicket, stage: Stage) {
        let Some(entry) = self.entries.get_mut(usize::from(ticket.0)) else {
            return;
        };
        let Some(io) = entry.io.filter(|_| !entry.is_abandoned) else {
            return;
        };
        entry.is_abandoned = true;
        if let Some(Some(drive)) = self.drives.get_mut(usize::from(io.drive.0)) {
            drive.abandoned += 1;
        }
        if stage == Stage::Late {
            self.counters.reads_hedged += 1;
        } else {
            self.counters.ios_abandoned += 1;
        }
    }

    /// How a drive is doing; nothing of one that is not watched.
    #[must_use]
    pub fn health(&self, slot: DriveSlot) -> DriveHealth {
        let Some(Some(drive)) = self.drives.get(usize::from(slot.0)) else {
            return DriveHealth::default();
        };
        let oldest = self.entries.get(usize::from(drive.first));
        DriveHealth {
            is_suspect: drive.is_suspect,
            abandoned_ios: drive.abandoned,
            oldest_ns: oldest.map_or(0, |entry| self.now_ns.saturating_sub(entry.since_ns)),
        }
    }

    /// What a drive did in the last whole seconds, as many as
    /// [`crate::statistics::WINDOW_SECONDS_MAX`]; nothing of one that is not watched. All I/O that ended
    /// counts, also that which failed or was abandoned.
    #[must_use]
    pub fn rates(&self, slot: DriveSlot, seconds: u64) -> Rates {
        let Some(Some(drive)) = self.drives.get(usize::from(slot.0)) else {
            return Rates::default();
        };
        drive.window.rates(self.now_ns, seconds)
    }

    /// How long a drive had I/O until now, whatever became of it.
    #[must_use]
    pub fn busy_ns(&self, slot: DriveSlot) -> u64 {
        let Some(Some(drive)) = self.drives.get(usize::from(slot.0)) else {
            return 0;
        };
        let goes_on = drive.first != NONE;
        let present_ns = self.now_ns.saturating_sub(drive.busy_since_ns);
        drive.busy_ns + if goes_on { present_ns } else { 0 }
    }

    /// How many I/Os were abandoned that may still land on a drive.
    #[must_use]
    pub fn abandoned_ios(&self, slot: DriveSlot) -> u32 {
        self.health(slot).abandoned_ios
    }

    /// The next drive that became suspect (true) or well again (false) since it was told. To be called until
    /// there is none, some times a second.
    pub fn next_change(&mut self) -> Option<(DriveSlot, bool)> {
        let now_ns = self.now_ns;
        for (slot, drive) in (0..).zip(&mut self.drives) {
            let Some(drive) = drive else { continue };
            let oldest = self.entries.get(usize::from(drive.first));
            if oldest.is_some_and(|entry| now_ns.saturating_sub(entry.since_ns) >= SUSPECT_NS) {
                drive.last_suspect_ns = now_ns;
                if !drive.is_suspect {
                    drive.is_suspect = true;
                    return Some((DriveSlot(slot), true));
                }
            } else if drive.is_suspect && now_ns >= drive.last_suspect_ns + WELL_NS {
                drive.is_suspect = false;
                return Some((DriveSlot(slot), false));
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "patience/tests.rs"]
mod tests;

//! Passes over the mirrors of a part: resynchronisation and rebuild, beside client I/O.
//!
//! A pass walks a part from its start to its end in steps of [`STEP_SECTORS`]. A step is a command
//! like any other: it takes a slot and stands in the order as a write of its range, so that no client
//! write can fall between its reading and its writing. It reads the range from the member that
//! clients read, and writes it to those that may differ. Regions that the pass does not concern are
//! passed over. A resync concerns only regions whose bits are set in the write-intent bitmap, and a
//! member that is rebuilt is not in sync by its superblock, so no step has to wait for a bit.
//!
//! A scrub is such a pass that compares; what it is told to repair it writes in the same step. What it
//! writes differed before, so a power cut in the middle leaves it no worse, and it needs no bit either.
//!
//! A device that is to take the place of a member that still works is filled by the same pass: every
//! step writes it. A sector that no copy can give costs only itself: the step goes on sector by sector,
//! and what is left is reported, to be noted as bad on the devices that were to get it.
//!
//! Invariants:
//! * a scrub repairs nothing of a part that lacks a member, or whose members may differ anyway;
//! * what [`PassEvent::Reached`] reports is behind every step that is not done;
//! * a pass ends complete only if every step read its range and wrote it wherever it was to go, under
//!   one view (a step whose view changed in between reads again), or what it could not read is noted as
//!   bad there, before anybody writes it;
//! * clients come first: while they have commands in flight a pass has few of its own ([`super::pace`]).

use super::pace::{Allowance, STEPS_IDLE};
use super::run::{for_each_segment, is_in_sync, pick_copy, plan_read, push_io, push_twin};
use super::stripe::{PieceKind, Wish};
use super::{
    Action, BufferIndex, Command, Kind, Lacking, Memory, Operation, PassEvent, REPLANS_MAX, Report,
    ScrubFinding, Span, State, Target,
};
use crate::ids::{DriveSlot, LunNumber};
use crate::order::{CommandIndex, Extent, Range};
use crate::plane::{LunView, MemberView, PartView, RateLimit, SyncKind, SyncProgress, SyncView};
use aoe::SECTOR_BYTES;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::ScrubRepair;
use raid::regions::{RegionMap, RegionSet};
use raid::stripe::{SLICE_SECTORS_MAX, SectorMask, sector_mask};
use std::sync::Arc;

/// Sectors of a step: 8 KiB, half the smallest chunk.
const STEP_SECTORS: u64 = 16;
/// Command slots that a pass leaves to clients.
const SLOTS_RESERVED: usize = 128;
/// Ranges without work that are passed over in one turn.
const SKIPS_MAX: usize = 1024;
/// Checkpoints of a pass.
const CHECKPOINTS: u64 = 64;
/// Checkpoints are not closer than this: 64 MiB.
const CHECKPOINT_SECTORS_MIN: u64 = 131_072;
/// But a pass over little has so many, too.
const CHECKPOINTS_MIN: u64 = 8;

/// Nor farther: 2 GiB, about ten seconds of a rebuild.
const CHECKPOINT_SECTORS_MAX: u64 = 4_194_304;

/// What a step does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Read,
    /// A copy could not be read; another one is.
    ReadAgain,
    /// To the members that may differ from the one that was read.
    Write,
    /// To all members: the one that clients read could not be, or they are to agree with it.
    WriteAll,
    /// No copy could be read as a whole: each sector by itself.
    Sift,
    /// To all members, what any copy could give.
    WriteSifted,
    /// What none could give is being noted.
    Noting,
    /// Of two copies, to be compared: the one that clients read, and the one of this number after it.
    Compare(u8),
}

/// Sectors of a step that compares: two copies fit into the buffer of a command.
const COMPARE_SECTORS: u64 = 8;

/// A pass that is running, or has ended.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pass: u64,
    part: u8,
    /// First sector of the part in the LUN.
    part_start: u64,
    total: u64,
    begun: u64,
    next: u64,
    /// Steps in flight, by where they begin in the part.
    steps: Vec<u64>,
    /// What it may go over by the ceiling that is set.
    allowance: Allowance,
    checkpoint: u64,
    incomplete: bool,
    ended: bool,
    /// It compares and writes only what could not be read.
    kind: SyncKind,
    /// What was found to differ.
    found: ScrubFinding,
    /// Reports of sectors that nobody can give.
    reports: u64,
    /// What it concerns, unless that is everything.
    regions: Option<(RegionMap, Arc<RegionSet>)>,
}

/// The regions that a pass is told to go over.
fn concerned(part: &PartView, sync: &SyncView) -> Option<(RegionMap, Arc<RegionSet>)> {
    let map = part.regions.as_ref()?.map;
    sync.regions.clone().map(|set| (map, set))
}

impl Job {
    /// The pass that a view wants: the present one if it is the same.
    pub(super) fn for_view(view: &LunView, present: Option<Self>) -> Option<Self> {
        if !view.online {
            return None;
        }
        let mut part_start = 0;
        for (number, part) in (0u8..).zip(&view.parts) {
            let total = part.geometry.capacity_sectors();
            if let Some(sync) = &part.sync {
                if let Some(present) = present.filter(|job| job.pass == sync.pass) {
                    return Some(present);
                }
                let start_lba = view.unit.floor(sync.start_lba);
                return Some(Self {
                    pass: sync.pass,
                    part: number,
                    part_start,
                    total,
                    begun: start_lba,
                    next: start_lba,
                    steps: Vec::with_capacity(STEPS_IDLE),
                    allowance: Allowance::default(),
                    checkpoint: start_lba,
                    incomplete: false,
                    ended: false,
                    kind: sync.kind,
                    found: ScrubFinding::default(),
                    reports: 0,
                    regions: concerned(part, sync),
                });
            }
            part_start += total;
        }
        None
    }

    /// What a step over mirrors begins with.
    const fn first_phase(&self) -> Phase {
        match self.kind {
            SyncKind::Resync => Phase::Read,
            SyncKind::Check => Phase::Compare(1),
        }
    }

    /// Everything before this is done.
    fn low(&self) -> u64 {
        self.steps.iter().copied().min().unwrap_or(self.next)
    }

    /// How much of what the pass concerns lies before a sector of the part.
    fn work_before(&self, lba: u64) -> u64 {
        let Some((map, set)) = &self.regions else {
            return lba;
        };
        let before = |region| {
            let end = map.end_lba(region).min(lba);
            end.saturating_sub(map.start_lba(region))
        };
        set.iter().map(before).sum()
    }

    fn checkpoint_interval(&self) -> u64 {
        let least = CHECKPOINT_SECTORS_MIN.min(self.total / CHECKPOINTS_MIN);
        (self.total / CHECKPOINTS).clamp(least, CHECKPOINT_SECTORS_MAX)
    }

    /// Moves on behind what the pass does not concern.
    fn skip_regions(&mut self) {
        if self.next < self.total
            && let Some((map, set)) = &self.regions
        {
            self.next = map.next_lba(set, self.next).unwrap_or(self.total);
        }
    }

    /// The next range that needs work, in sectors of the part; moves on behind it.
    fn take_next(&mut self, part: &PartView) -> Option<(u64, u32)> {
        if part.geometry.parity_count() > 0 {
            return self.take_slice(part);
        }
        let step_sectors = match self.kind {
            SyncKind::Resync => STEP_SECTORS,
            SyncKind::Check => COMPARE_SECTORS,
        };
        let chunk = u64::from(part.geometry.chunk_sectors()).max(STEP_SECTORS);
        for _ in 0..SKIPS_MAX {
            self.skip_regions();
            if self.next >= self.total {
                return None;
            }
            let start = self.next;
            let chunk_end = (start / chunk + 1) * chunk;
            let step = (self.total - start)
                .min(step_sectors)
                .min(chunk_end - start);
            let Ok(sectors) = u32::try_from(step) else {
                unreachable!("a step is short")
            };
            if self.kind == SyncKind::Check || needs_work(part, start, sectors) {
                self.next += step;
                return Some((start, sectors));
            }
            self.next = chunk_end.min(self.total);
        }
        None
    }
}

impl Job {
    /// As [`Job::take_next`], for parts with parity: a step is a slice, and stands for as many sectors
    /// of the part as the slice has data.
    fn take_slice(&mut self, part: &PartView) -> Option<(u64, u32)> {
        let is_behind = |member: &Option<MemberView>| member.is_some_and(|member| !member.in_sync);
        let is_idle = self.kind == SyncKind::Resync && !part.mirrors_unsynced;
        if is_idle && !part.members.iter().any(is_behind) && part.twin_bits() == 0 {
            self.next = self.total;
        }
        self.skip_regions();
        if self.next >= self.total {
            return None;
        }
        let columns = u32::from(part.geometry.columns());
        let sectors = part.geometry.chunk_sectors().min(SLICE_SECTORS_MAX) * columns;
        let start = self.next - self.next % u64::from(sectors);
        self.next = (start + u64::from(sectors)).min(self.total);
        Some((start, sectors))
    }
}

/// Whether all members are there and are to agree.
pub(super) fn is_well(part: &PartView) -> bool {
    let is_whole = |member: &Option<MemberView>| member.is_some_and(|member| member.in_sync);
    !part.mirrors_unsynced && part.members.iter().all(is_whole)
}

/// Whether some member may differ in this range.
fn needs_work(part: &PartView, lba: u64, sectors: u32) -> bool {
    part.geometry.segments(lba, sectors).any(|segment| {
        let source = pick_copy(part, &segment, 0).map(|(_, member)| member);
        segment
            .mirrors
            .into_iter()
            .any(|member| is_target(part, member, source) || part.twin(member).is_some())
    })
}

fn is_target(part: &PartView, member: u8, source: Option<u8>) -> bool {
    match part.members.get(usize::from(member)) {
        Some(Some(place)) => Some(member) != source && (part.mirrors_unsynced || !place.in_sync),
        _ => false,
    }
}

/// The I/O of a step. Returns whether its range can be served at all.
pub(super) fn plan(
    index: CommandIndex,
    phase: Phase,
    (lba, sectors): (u64, u32),
    lost: SectorMask,
    view: &LunView,
    suspects: &[DriveSlot],
    out: &mut Vec<Action>,
) -> bool {
    #[cfg(feature = "planted")]
    if planted::is(Bug::ResyncFromWrongMirror) && phase == Phase::Read {
        return plan_wrong_read(index, (lba, sectors), view, out);
    }
    let unit = view.unit.sectors();
    match phase {
        Phase::Read | Phase::ReadAgain => plan_read(index, lba, sectors, (suspects, 0), view, out),
        Phase::Compare(copy) => plan_compare(index, copy, (lba, sectors), view, out),
        Phase::Write | Phase::WriteAll => {
            let is_to_all = phase == Phase::WriteAll;
            plan_copies(index, is_to_all, (lba, sectors, 0), view, out);
            true
        }
        Phase::Sift => units(view, sectors).all(|sector| {
            let at = lba + u64::from(sector);
            plan_read(index, at, unit, (suspects, sector), view, out)
        }),
        Phase::WriteSifted => {
            for sector in units(view, sectors).filter(|sector| lost >> sector & 1 == 0) {
                let place = (lba + u64::from(sector), unit, sector);
                plan_copies(index, true, place, view, out);
            }
            true
        }
        Phase::Noting => true,
    }
}

/// The units of a step, by their first sectors.
fn units(view: &LunView, sectors: u32) -> impl Iterator<Item = u32> + use<> {
    (0..sectors).step_by(view.unit.sectors() as usize)
}

#[cfg(feature = "planted")]
fn plan_wrong_read(
    index: CommandIndex,
    (lba, sectors): (u64, u32),
    view: &LunView,
    out: &mut Vec<Action>,
) -> bool {
    for_each_segment(view, lba, sectors, |number, part, segment| {
        let Some((attempt, member)) = pick_copy(part, &segment, 1) else {
            return false;
        };
        let place = (number, part);
        push_io(
            index,
            Operation::Read,
            place,
            &segment,
            member,
            attempt,
            out,
        )
    })
}

/// The writes of what a step has read: to the members that may differ, or to all, and to all twins.
fn plan_copies(
    index: CommandIndex,
    is_to_all: bool,
    (lba, sectors, base_sectors): (u64, u32, u32),
    view: &LunView,
    out: &mut Vec<Action>,
) {
    for_each_segment(view, lba, sectors, |number, part, mut segment| {
        let source = pick_copy(part, &segment, 0).map(|(_, member)| member);
        segment.offset_sectors += base_sectors;
        for member in segment.mirrors {
            let place = (number, part);
            if is_to_all || is_target(part, member, source) {
                push_io(index, Operation::Write, place, &segment, member, 0, out);
            }
            push_twin(index, place, &segment, member, out);
        }
        true
    });
}

/// Whether there is another copy of this number after the one that clients read.
fn has_copy(view: &LunView, lba: u64, copy: u8) -> bool {
    for_each_segment(view, lba, 1, |_, part, segment| {
        let copies = segment.mirrors.into_iter();
        let readable = copies.filter(|member| is_in_sync(part, *member));
        readable.count() > usize::from(copy)
    })
}

/// The reads of two copies. Without the second one there is nothing left to compare.
fn plan_compare(
    index: CommandIndex,
    copy: u8,
    (lba, sectors): (u64, u32),
    view: &LunView,
    out: &mut Vec<Action>,
) -> bool {
    for_each_segment(view, lba, sectors, |number, part, mut segment| {
        let copies = segment.mirrors.into_iter();
        let mut readable = copies.filter(|member| is_in_sync(part, *member));
        let Some(first) = readable.next() else {
            return false;
        };
        if let Some(other) = readable.nth(usize::from(copy) - 1) {
            for (place, member) in [(0, first), (sectors, other)] {
                segment.offset_sectors = place;
                push_io(
                    index,
                    Operation::Read,
                    (number, part),
                    &segment,
                    member,
                    0,
                    out,
                );
            }
        }
        true
    })
}

impl Target {
    /// Starts steps of the passes that are to run. To be called once a turn; returns whether any was
    /// started.
    pub fn sync_step(&mut self, out: &mut Vec<Action>) -> bool {
        if !self.has_passes {
            return false;
        }
        self.pace.follow();
        if self.pace.is_pause() {
            return false;
        }
        let mut any = false;
        self.has_passes = false;
        for number in 0..=LunNumber::MAX {
            while let Some((lba, sectors)) = self.next_step(number, out) {
                self.start_step(number, lba, sectors, out);
                any = true;
            }
            let lun = self.luns[usize::from(number)].as_ref();
            let job = lun.and_then(|lun| lun.sync.as_ref());
            self.has_passes |= job.is_some_and(|job| !job.ended);
        }
        any
    }

    /// Tells the time, of any clock that does not go back.
    pub fn set_now(&mut self, now_ns: u64) {
        self.statistics.set_now(now_ns);
        self.pace.set_now(now_ns);
    }

    /// Sets the most that each pass goes over in a second.
    pub const fn set_rate_limit(&mut self, limit: RateLimit) {
        self.pace.set_limit(limit);
    }

    /// Whether a pass waits for time to go by, and for nothing else.
    #[must_use]
    pub fn waits_for_time(&self) -> bool {
        self.has_passes && (self.pace.is_pause() || self.pace.limit() != RateLimit::NONE)
    }

    /// How far the passes are.
    #[must_use]
    pub fn sync_progress(&self) -> Vec<SyncProgress> {
        let running = self.luns.iter().flatten().filter_map(|lun| {
            let job = lun.sync.as_ref().filter(|job| !job.ended)?;
            Some(SyncProgress {
                lun: lun.view.lun,
                part: job.part,
                pass: job.pass,
                begun_sectors: job.work_before(job.begun),
                done_sectors: job.work_before(job.low()),
                total_sectors: job.work_before(job.total),
                kind: job.kind,
            })
        });
        running.collect()
    }

    fn next_step(&mut self, number: u8, out: &mut Vec<Action>) -> Option<(u64, u32)> {
        let lun = self.luns[usize::from(number)].as_mut()?;
        let job = lun.sync.as_mut().filter(|job| !job.ended)?;
        let own = (lun.commands as usize).saturating_sub(job.steps.len());
        // What was told with the last loan; slices need none.
        let elsewhere = lun.view.parts.get(usize::from(job.part));
        let elsewhere = elsewhere.map_or(0, |part| match part.geometry.parity_count() {
            0 => lun.commands_elsewhere as usize,
            _ => 0,
        });
        let clients = own + elsewhere;
        let limit = if clients == 0 {
            STEPS_IDLE
        } else {
            self.pace.steps()
        };
        if job.steps.len() >= limit
            || self.free.len() <= SLOTS_RESERVED.min(self.commands.len() / 2)
        {
            return None;
        }
        let part = lun.view.parts.get(usize::from(job.part))?;
        let step_bytes = STEP_SECTORS * SECTOR_BYTES as u64;
        let drives = u64::from(part.geometry.members());
        if !job.allowance.take(&self.pace, step_bytes, drives) {
            return None;
        }
        let step = job.take_next(part);
        if step.is_none() {
            report(lun, out);
        }
        step
    }

    fn start_step(&mut self, number: u8, lba: u64, sectors: u32, out: &mut Vec<Action>) {
        let Some(lun) = &mut self.luns[usize::from(number)] else {
            return;
        };
        let Some(job) = &mut lun.sync else { return };
        let Some(index) = self.free.pop() else { return };
        job.steps.push(lba);
        lun.commands += 1;
        let part = &lun.view.parts[usize::from(job.part)].geometry;
        if part.parity_count() > 0 {
            let sectors_of_slice = part.chunk_sectors().min(SLICE_SECTORS_MAX);
            let wish = Wish {
                kind: PieceKind::Sync,
                element: 0,
                member_sector: lba / u64::from(part.columns()),
                sectors: sectors_of_slice,
                buffer_sector: 0,
                is_unreadable: false,
                is_late: false,
            };
            let number = job.part;
            self.commands[usize::from(index)] = Command {
                state: State::Running,
                kind: Kind::Sync(Phase::Write),
                lun: lun.view.lun,
                epoch: lun.epoch,
                lba: job.part_start + lba,
                sectors,
                pass: job.pass,
                ..Command::free()
            };
            self.add_piece(index, number, &wish, 0);
            return;
        }
        let lba = job.part_start + lba;
        let range = Range {
            lun: lun.view.lun,
            lba,
            sectors: u64::from(sectors),
            writes: true,
        };
        let owners = self.place.owners(&lun.view, lba, range.sectors);
        let lenders = owners.without(self.place.own);
        self.commands[usize::from(index)] = Command {
            state: State::Waiting,
            kind: Kind::Sync(job.first_phase()),
            lun: range.lun,
            lba,
            sectors,
            pass: job.pass,
            is_ordered: true,
            lenders,
            awaits: lenders,
            ..Command::free()
        };
        #[cfg(feature = "planted")]
        let range = if planted::is(Bug::StepsOutOfOrder) {
            Range {
                lba: u64::from(index) << 32,
                ..range
            }
        } else {
            range
        };
        let sectors = range.sectors;
        self.borrow(index, Extent { lba, sectors }, out);
        if self.order.enter(index, range) {
            self.ready.push(index);
            self.run_ready(out);
        }
    }

    /// The I/O of a phase is done: writes what was read, reads again, or ends the step.
    pub(super) fn finish_step(&mut self, index: CommandIndex, phase: Phase, out: &mut Vec<Action>) {
        let command = &mut self.commands[usize::from(index)];
        let Some(lun) = &mut self.luns[usize::from(command.lun.get())] else {
            unreachable!("a LUN is kept while it has commands")
        };
        let changed = command.epoch != lun.epoch;
        let ok = !command.failed && !command.unmapped;
        if phase == Phase::Noting {
            self.await_note(index, out);
            return;
        }
        let reads = matches!(phase, Phase::Read | Phase::ReadAgain | Phase::Sift);
        let is_resync = |job: &Job| job.pass == command.pass && job.kind == SyncKind::Resync;
        let sifts =
            !command.unmapped && lun.view.online && lun.sync.as_ref().is_some_and(is_resync);
        let next = match phase {
            Phase::Compare(_) if changed => Some(Phase::Compare(1)),
            // Whether they still differ, and are to be repaired, is to be seen.
            _ if changed && std::mem::take(&mut command.differing) > 0 => Some(Phase::Compare(1)),
            // What was read, or where it went, may not be what the present view says.
            _ if changed => Some(Phase::Read),
            Phase::Compare(copy) if ok && has_copy(&lun.view, command.lba, copy) => {
                self.uncount(index);
                self.compares.push(index);
                return;
            }
            Phase::Compare(_) if ok => None,
            Phase::Compare(_) if command.awaits_view => {
                command.kind = Kind::Sync(Phase::Compare(1));
                command.replans += 1;
                command.state = State::AwaitingView;
                return;
            }
            // One could not be read: all are written from one that can be.
            Phase::Compare(_) => Some(Phase::ReadAgain),
            Phase::Read if ok => Some(Phase::Write),
            Phase::ReadAgain if ok => Some(Phase::WriteAll),
            Phase::Sift if ok => Some(Phase::WriteSifted),
            Phase::WriteSifted if ok && command.lost != 0 => {
                self.report_lost(index, out);
                return;
            }
            // Some of it may be had.
            Phase::Read | Phase::ReadAgain if sifts && !command.awaits_view => Some(Phase::Sift),
            _ if (reads && !command.awaits_view)
                || ok
                || command.unmapped
                || !lun.view.online
                || command.replans >= REPLANS_MAX =>
            {
                None
            }
            _ => {
                // A member failed the write: the view that answers this decides about it.
                command.kind = Kind::Sync(Phase::Read);
                command.differing = 0;
                command.replans += 1;
                command.state = State::AwaitingView;
                return;
            }
        };
        let number = command.lun;
        if let Some(next) = next {
            command.kind = Kind::Sync(next);
            if next == Phase::Read || next == Phase::Sift {
                command.lost = 0;
            }
            self.uncount(index);
            self.ready.push(index);
            self.run_ready(out);
            self.settle(number, out);
        } else {
            self.count_differing(index, ok, out);
            self.uncount(index);
            self.end_step(index, ok, out);
        }
    }

    /// A step over mirrors has done what it could: what no copy gave is to be noted as bad on those that
    /// were to get it.
    #[cold]
    fn report_lost(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        let command = &self.commands[usize::from(index)];
        let (number, pass) = (command.lun, command.pass);
        let (lba, sectors, lost) = (command.lba, command.sectors, command.lost);
        let Some(lun) = &self.luns[usize::from(number.get())] else {
            unreachable!("a LUN is kept while it has commands")
        };
        let view = Arc::clone(&lun.view);
        let mut report = 0;
        let unit = view.unit.sectors();
        for sector in units(&view, sectors) {
            if lost & sector_mask(sector, 1) == 0 {
                continue;
            }
            for_each_segment(&view, lba + u64::from(sector), unit, |_, part, segment| {
                let source = pick_copy(part, &segment, 0).map(|(_, member)| member);
                let bits = |is_lacking: &dyn Fn(u8) -> bool| {
                    let lacking = segment.mirrors.into_iter().filter(|m| is_lacking(*m));
                    lacking.fold(0, |bits, member| bits | 1_u64 << member)
                };
                let lacking = Lacking {
                    member_sector: segment.member_sector,
                    sectors: segment.sectors,
                    elements: bits(&|member| is_target(part, member, source)),
                    twins: bits(&|member| part.twin(member).is_some()),
                };
                report = self.report_unreadable(number, pass, &lacking, out);
                true
            });
        }
        let command = &mut self.commands[usize::from(index)];
        command.kind = Kind::Sync(Phase::Noting);
        command.report = report;
        command.state = State::AwaitingView;
    }

    /// Reports a sector that nobody can give. Gives the number of the report.
    pub(super) fn report_unreadable(
        &mut self,
        lun: LunNumber,
        pass: u64,
        lacking: &Lacking,
        out: &mut Vec<Action>,
    ) -> u64 {
        let entry = self.luns[usize::from(lun.get())].as_mut();
        let Some(job) = entry.and_then(|lun| lun.sync.as_mut()) else {
            return 0;
        };
        if job.pass != pass {
            return 0;
        }
        job.reports += 1;
        out.push(Action::Report(Report::Pass {
            lun,
            part: job.part,
            pass,
            event: PassEvent::Unreadable(*lacking),
        }));
        job.reports
    }

    /// Whether a report of a pass has been dealt with: `None` while it has not, false when the pass is
    /// over or another one runs.
    pub(super) fn is_noted(&self, lun: LunNumber, pass: u64, report: u64) -> Option<bool> {
        let lun = self.luns[usize::from(lun.get())].as_ref()?;
        let mut passes = lun.view.parts.iter().filter_map(|part| part.sync.as_ref());
        let pass = passes.find(|sync| sync.pass == pass && lun.view.online);
        let Some(sync) = pass else { return Some(false) };
        (sync.noted >= report).then_some(true)
    }

    /// A new view: the step ends if it says that what was reported is noted, or that its pass is over.
    fn await_note(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        let command = &mut self.commands[usize::from(index)];
        let (lun, pass, report) = (command.lun, command.pass, command.report);
        command.state = State::AwaitingView;
        if let Some(ok) = self.is_noted(lun, pass, report) {
            self.uncount(index);
            self.end_step(index, ok, out);
        }
    }

    /// A step that wrote anew what differed is over: it is counted, as repaired if that worked.
    fn count_differing(&mut self, index: CommandIndex, is_repaired: bool, out: &mut Vec<Action>) {
        let command = &mut self.commands[usize::from(index)];
        let differing = std::mem::take(&mut command.differing);
        let found = ScrubFinding {
            mismatched_sectors: differing,
            repaired_sectors: if is_repaired { differing } else { 0 },
            wrong: None,
        };
        let (number, pass) = (command.lun, command.pass);
        self.count_mismatches(number, pass, found, out);
    }

    /// Compares the copies that steps have read, and goes on to the next ones.
    pub(super) fn compare_copies(&mut self, memory: &mut impl Memory, out: &mut Vec<Action>) {
        while let Some(index) = self.compares.pop() {
            let command = &self.commands[usize::from(index)];
            let Kind::Sync(Phase::Compare(copy)) = command.kind else {
                unreachable!("only such steps are compared")
            };
            let (lun, pass, sectors) = (command.lun, command.pass, command.sectors);
            let copies = [0, sectors].map(|start_sector| Span {
                buffer: BufferIndex::of_command(index),
                start_sector,
                sectors,
            });
            let mut mismatched = 0;
            memory.compute(&copies, &[], &mut |read, _| {
                let sectors = read[0]
                    .chunks(SECTOR_BYTES)
                    .zip(read[1].chunks(SECTOR_BYTES));
                mismatched = sectors.filter(|(one, other)| one != other).count() as u64;
            });
            let next = if mismatched > 0 && self.repair_of(index) == ScrubRepair::All {
                // All are written from the one that clients read, and counted when that is done.
                self.commands[usize::from(index)].differing = mismatched;
                Phase::ReadAgain
            } else {
                let found = ScrubFinding {
                    mismatched_sectors: mismatched,
                    ..ScrubFinding::default()
                };
                self.count_mismatches(lun, pass, found, out);
                Phase::Compare(copy + 1)
            };
            self.commands[usize::from(index)].kind = Kind::Sync(next);
            self.ready.push(index);
            self.run_ready(out);
        }
    }

    /// What the pass of a step over mirrors is to do about copies that differ: nothing, unless all of them
    /// are to hold the same.
    fn repair_of(&self, index: CommandIndex) -> ScrubRepair {
        let command = &self.commands[usize::from(index)];
        let lun = self.luns[usize::from(command.lun.get())].as_ref();
        let sync = lun.and_then(|lun| {
            let part = &lun.view.parts[usize::from(lun.sync.as_ref()?.part)];
            part.sync.as_ref().filter(|_| is_well(part))
        });
        sync.filter(|sync| sync.pass == command.pass)
            .map_or(ScrubRepair::Report, |sync| sync.repair)
    }

    /// A scrub has found sectors that differ.
    pub(super) fn count_mismatches(
        &mut self,
        lun: LunNumber,
        pass: u64,
        found: ScrubFinding,
        out: &mut Vec<Action>,
    ) {
        let entry = self.luns[usize::from(lun.get())].as_mut();
        let Some(job) = entry.and_then(|lun| lun.sync.as_mut()) else {
            return;
        };
        if job.pass != pass || found.mismatched_sectors == 0 {
            return;
        }
        #[cfg(feature = "planted")]
        if planted::is(Bug::ScrubFindsNothing) {
            return;
        }
        job.found.mismatched_sectors += found.mismatched_sectors;
        job.found.repaired_sectors += found.repaired_sectors;
        job.found.wrong = found.wrong;
        out.push(Action::Report(Report::Pass {
            lun,
            part: job.part,
            pass,
            event: PassEvent::Found(job.found),
        }));
    }

    /// A step is over.
    pub(super) fn end_step(&mut self, index: CommandIndex, ok: bool, out: &mut Vec<Action>) {
        let command = &mut self.commands[usize::from(index)];
        let number = command.lun;
        let (pass, lba) = (command.pass, command.lba);
        command.state = State::Free;
        self.free.push(index);
        if std::mem::take(&mut command.is_ordered) {
            self.leave_order(index, out);
        }
        if let Some(lun) = &mut self.luns[usize::from(number.get())] {
            lun.commands -= 1;
            if let Some(job) = lun.sync.as_mut().filter(|job| job.pass == pass) {
                let place = lba - job.part_start;
                job.steps.retain(|step| *step != place);
                job.incomplete |= !ok;
            }
            report(lun, out);
        }
        self.run_ready(out);
        self.settle(number, out);
    }
}

/// Reports a checkpoint that was reached, or the end.
fn report(lun: &mut super::Lun, out: &mut Vec<Action>) {
    let view = Arc::clone(&lun.view);
    let Some(job) = lun.sync.as_mut().filter(|job| !job.ended) else {
        return;
    };
    let (lun, part, pass, low) = (view.lun, job.part, job.pass, job.low());
    #[cfg(feature = "planted")]
    let low = if planted::is(Bug::PassEndsEarly) && low > job.total / 2 {
        job.total
    } else {
        low
    };
    #[cfg(feature = "planted")]
    let low = {
        let has_twin = view.parts[usize::from(part)].twin_bits() != 0;
        let is_early = has_twin && planted::is(Bug::TwinTakenTooEarly) && low > job.total / 2;
        if is_early { job.total } else { low }
    };
    let event = if low >= job.total {
        job.ended = true;
        let complete = !job.incomplete;
        PassEvent::Ended { complete }
    } else if !job.incomplete && low >= job.checkpoint + job.checkpoint_interval() {
        job.checkpoint = low;
        PassEvent::Reached(low)
    } else {
        return;
    };
    out.push(Action::Report(Report::Pass {
        lun,
        part,
        pass,
        event,
    }));
}

//! From an admitted command to I/O on drives, and back to an answer.

use super::patience::Fault;
use super::stripe::{PieceKind, Wish};
use super::trim::plan_zeroes;
use super::{
    Action, BufferIndex, Command, Io, IoOwner, Kind, Operation, Purpose, REPLANS_MAX, State,
    Target, sync,
};
use crate::ids::DriveSlot;
use crate::order::{BLOCK_SECTORS, CommandIndex};
use crate::plane::{LunView, MemberView, PartView};
use aoe::{ATA_FRAME_BYTES, AtaRegisters, HEADER_BYTES};
use raid::bad_blocks::BadRange;
use raid::geometry::Segment;
use raid::lost;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::stripe::{SLICE_SECTORS_MAX, sector_mask};
use std::sync::Arc;

/// Reads of a mirrored range go to one member per so many sectors (1 MiB), so that a sequential
/// stream stays sequential on a disk and two streams use both.
const READ_BALANCE_SECTORS: u64 = 2048;

/// How often a read asks all copies anew before it is answered with an error. A drive that takes repairs, and
/// cannot read them, is not to keep it busy for ever.
const ROUNDS_MAX: u8 = 8;

/// What became of a read that failed.
enum Remedy {
    None,
    /// The same is being read from another copy.
    AnotherCopy,
    /// Slices were asked for it.
    Slices,
    /// It is done without.
    Without,
}

impl Target {
    /// Plans every command that may run.
    pub(super) fn run_ready(&mut self, out: &mut Vec<Action>) {
        while let Some(index) = self.ready.pop() {
            self.plan(index, out);
        }
    }

    fn plan(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        if self.awaits_loans(index, out) || self.is_shut_out(index, out) {
            return;
        }
        if self.commands[usize::from(index)].edges.is_some() {
            self.aim_at_edge(index);
        }
        if !self.regions_ready_or_wait(index, out) {
            return;
        }
        if self.commands[usize::from(index)].is_stale {
            self.counters.stale_writes += 1;
            self.release_command(index, out);
            return;
        }
        let stamp = self.next_mend_stamp();
        let command = &mut self.commands[usize::from(index)];
        let Some(lun) = &mut self.luns[usize::from(command.lun.get())] else {
            unreachable!("a LUN is kept while it has commands")
        };
        if command.kind == Kind::Read && lun.mirrors_differ && !lun.view.online {
            // A write before it was cut off: which of its copies counts is decided when the LUN is back.
            self.drop_command(index, out);
            return;
        }
        command.state = State::Running;
        command.epoch = lun.epoch;
        command.failed = false;
        command.is_cut = false;
        command.pieces_used = 0;
        command.repair = None;
        (command.mends, command.mend_stamp) = (0, stamp);
        command.has_told_lost = false;
        command.awaits_view = false;
        command.is_unreached = false;
        command.passed_over = !self.suspects.is_empty();
        (command.asked_again, command.mended, command.rounds) = (0, 0, 0);
        command.is_counted = true;
        lun.running += 1;
        let (kind, lba, sectors) = (command.kind, command.lba, command.sectors);
        let lost = command.lost;
        let before = out.len();
        let (view, suspects) = (&lun.view, &self.suspects);
        let mapped = match kind {
            Kind::Flush => {
                plan_flush(index, view, out);
                true
            }
            Kind::Read => self.plan_reads(index, lba, sectors, out),
            Kind::Write => self.plan_writes(index, lba, sectors, out),
            Kind::Trim => plan_zeroes(index, lba, sectors, view, out),
            Kind::Sync(phase) => {
                let wanted = (lba, sectors);
                sync::plan(index, phase, wanted, lost, view, suspects, out)
            }
        };
        let issued = out.len() - before;
        let command = &mut self.commands[usize::from(index)];
        command.outstanding = u16::try_from(issued).unwrap_or(u16::MAX);
        command.unmapped = !mapped;
        if issued == 0 {
            self.own_io_done(index, out);
        }
    }

    /// The view of the LUN that a command is of.
    pub(super) fn own_view(&self, index: CommandIndex) -> &Arc<LunView> {
        let number = self.commands[usize::from(index)].lun;
        match &self.luns[usize::from(number.get())] {
            Some(lun) => &lun.view,
            None => unreachable!("a LUN is kept while it has commands"),
        }
    }

    /// Plans a read; false if some of it cannot be given.
    fn plan_reads(
        &mut self,
        index: CommandIndex,
        lba: u64,
        sectors: u32,
        out: &mut Vec<Action>,
    ) -> bool {
        let view = self.own_view(index);
        let is_lost = is_any_lost(view, lba, sectors);
        #[cfg(feature = "planted")]
        let is_lost = is_lost && !planted::is(Bug::LostGiven);
        if is_lost || !is_served(view, lba, sectors) {
            return false;
        }
        if !view.has_parity() {
            return plan_read(index, lba, sectors, (&self.suspects, 0), view, out);
        }
        let view = Arc::clone(view);
        self.plan_parity_reads(index, lba, sectors, &view, out);
        view.is_all_parity() || plan_read(index, lba, sectors, (&self.suspects, 0), &view, out)
    }

    /// Plans a write; false if some of it cannot be kept.
    fn plan_writes(
        &mut self,
        index: CommandIndex,
        lba: u64,
        sectors: u32,
        out: &mut Vec<Action>,
    ) -> bool {
        let view = self.own_view(index);
        if !is_served(view, lba, sectors) {
            return false;
        }
        if !view.has_parity() {
            return plan_write(index, lba, sectors, view, out);
        }
        let view = Arc::clone(view);
        self.plan_parity_writes(index, lba, sectors, &view);
        view.is_all_parity() || plan_write(index, lba, sectors, &view, out)
    }

    /// A command has no I/O of its own in flight: it ends, unless slices work for it.
    fn own_io_done(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        let command = &self.commands[usize::from(index)];
        if command.pieces == 0 {
            self.finish(index, out);
            return;
        }
        let lun = command.lun;
        self.uncount(index);
        self.settle(lun, out);
    }

    /// Reads of parts with parity: from the member, or, when that cannot be read, from slices. While
    /// data is lost, streams go through slices altogether: they need all of each stripe, and slices
    /// read it once.
    fn plan_parity_reads(
        &mut self,
        index: CommandIndex,
        lba: u64,
        sectors: u32,
        view: &Arc<LunView>,
        out: &mut Vec<Action>,
    ) {
        for_each_segment(view, lba, sectors, |number, part, segment| {
            let element = segment.mirrors.first;
            if part.geometry.parity_count() == 0 {
                return true;
            }
            let direct = is_in_sync(part, element)
                && ((0..part.geometry.members()).all(|member| is_in_sync(part, member))
                    || !self.is_read_stream(view.lun, lba, segment.sectors));
            let is_late = direct && self.is_to_be_avoided(part, element);
            if direct && !is_late {
                let place = (number, part);
                push_io(index, Operation::Read, place, &segment, element, 0, out);
            } else {
                self.ask_slices(
                    index,
                    (number, part),
                    &segment,
                    PieceKind::Read,
                    (lba, is_late.then_some(Fault::Late)),
                );
            }
            true
        });
    }

    /// Asks slices for every write to a part with parity.
    fn plan_parity_writes(
        &mut self,
        index: CommandIndex,
        lba: u64,
        sectors: u32,
        view: &Arc<LunView>,
    ) {
        for_each_segment(view, lba, sectors, |number, part, segment| {
            if part.geometry.parity_count() > 0 {
                self.ask_slices(
                    index,
                    (number, part),
                    &segment,
                    PieceKind::Write,
                    (lba, None),
                );
            }
            true
        });
    }

    /// Asks the slices of a segment for it.
    fn ask_slices(
        &mut self,
        index: CommandIndex,
        (number, part): (u8, &PartView),
        segment: &Segment,
        kind: PieceKind,
        (lba, fault): (u64, Option<Fault>),
    ) {
        let slice = part.geometry.chunk_sectors().min(SLICE_SECTORS_MAX);
        let mut done = 0;
        while done < segment.sectors {
            let member_sector = segment.member_sector + u64::from(done);
            let within = u32::try_from(member_sector % u64::from(slice)).unwrap_or(0);
            let sectors = (slice - within).min(segment.sectors - done);
            let wish = Wish {
                kind,
                element: segment.mirrors.first,
                member_sector,
                sectors,
                buffer_sector: segment.offset_sectors + done,
                is_unreadable: fault.is_some(),
                is_late: fault == Some(Fault::Late),
            };
            let stream_lba = lba + u64::from(segment.offset_sectors + done);
            self.add_piece(index, number, &wish, stream_lba);
            done += sectors;
        }
    }

    /// Reports an I/O. `io` is what [`Action::Io`] carried; `ok` whether all of it was done and, for a
    /// write or flush, is durable.
    pub fn complete(&mut self, io: &Io, ok: bool, out: &mut Vec<Action>) {
        self.ended(io, (!ok).then_some(Fault::Error), out);
    }

    /// An I/O is over, one way or another.
    pub(super) fn ended(&mut self, io: &Io, fault: Option<Fault>, out: &mut Vec<Action>) {
        if fault.is_none() {
            self.tell_mended(io, out);
        }
        let index = match io.owner {
            IoOwner::Command(index) => index,
            IoOwner::Slice(index) => return self.complete_slice(index, io, fault, out),
            IoOwner::Group(index) => return self.complete_group(index, io, fault, out),
        };
        let is_repair = io.operation == Operation::Write
            && self.commands[usize::from(index)].kind == Kind::Read;
        if is_repair && fault.is_none() {
            self.tell_other_reads(index, io);
        }
        let ok = match fault {
            None => true,
            Some(fault) if is_repair => self.repair_failed(io, fault, out),
            Some(fault) => match self.io_failed(index, io, fault, out) {
                Remedy::None => false,
                Remedy::Slices | Remedy::Without => true,
                Remedy::AnotherCopy => return,
            },
        };
        let command = &mut self.commands[usize::from(index)];
        debug_assert_eq!(command.state, State::Running);
        command.failed |= !ok;
        command.outstanding -= 1;
        if command.outstanding == 0 {
            if self.begin_repair(index, out) {
                return;
            }
            self.own_io_done(index, out);
        } else {
            #[cfg(feature = "planted")]
            if planted::is(Bug::AckBeforeDurable) {
                self.answer_early(index, out);
            }
        }
    }

    /// All of a read has been given: writes anew what one copy could not give, so that drives replace bad
    /// sectors. Returns whether there was anything.
    fn begin_repair(&mut self, index: CommandIndex, out: &mut Vec<Action>) -> bool {
        let command = &mut self.commands[usize::from(index)];
        let Some(repair) = command.repair.take().filter(|_| !command.failed) else {
            return false;
        };
        command.outstanding = 1;
        self.counters.blocks_repaired += 1;
        out.push(Action::Io(Io {
            operation: Operation::Write,
            purpose: Purpose::Repair,
            ..repair
        }));
        true
    }

    /// A copy was written anew: reads that found it bad before may ask it once more.
    #[cold]
    fn tell_other_reads(&mut self, index: CommandIndex, io: &Io) {
        let repairing = &self.commands[usize::from(index)];
        let lun = repairing.lun;
        let start = repairing.lba + u64::from(io.offset_sectors);
        let end = start + u64::from(io.sectors);
        let is_other_read = |(place, command): &(usize, &mut Command)| {
            *place != usize::from(index)
                && (command.state, command.kind) == (State::Running, Kind::Read)
                && command.lun == lun
        };
        for (_, command) in self.commands.iter_mut().enumerate().filter(is_other_read) {
            let first = start.max(command.lba);
            let sectors = end
                .min(command.lba + u64::from(command.sectors))
                .saturating_sub(first);
            // What has nothing in common has no bits.
            let offset = u32::try_from(first - command.lba).unwrap_or(u32::MAX);
            command.mended |= sector_bits(offset, u32::try_from(sectors).unwrap_or(0));
        }
    }

    /// A repair failed: the administration decides about the member; the read is answered all the same.
    #[cold]
    fn repair_failed(&mut self, io: &Io, fault: Fault, out: &mut Vec<Action>) -> bool {
        if let IoOwner::Command(index) = io.owner {
            let lun = self.commands[usize::from(index)].lun;
            self.report_fault(lun, io, fault, out);
        }
        true
    }

    /// An I/O of a command failed: counts and reports it, and reads what it was to read elsewhere.
    #[cold]
    fn io_failed(
        &mut self,
        index: CommandIndex,
        io: &Io,
        fault: Fault,
        out: &mut Vec<Action>,
    ) -> Remedy {
        let number = self.commands[usize::from(index)].lun;
        self.report_fault(number, io, fault, out);
        let command = &mut self.commands[usize::from(index)];
        if command.kind == Kind::Sync(sync::Phase::Read) && fault == Fault::Error {
            command.kind = Kind::Sync(sync::Phase::ReadAgain);
        }
        let compares = matches!(command.kind, Kind::Sync(sync::Phase::Compare(_)));
        let Some(lun) = &self.luns[usize::from(command.lun.get())] else {
            return Remedy::None;
        };
        if fault == Fault::Unreached {
            command.is_unreached = true;
            return Remedy::None;
        }
        if io.operation != Operation::Read {
            // Nobody can take over from the last copy: there is nothing to wait for.
            command.unmapped |= is_last_copy(&lun.view, io);
            return Remedy::None;
        }
        command.awaits_view |= fault == Fault::Hangs;
        if compares || fault == Fault::Hangs {
            return Remedy::None;
        }
        #[cfg(feature = "planted")]
        if planted::is(Bug::ReadErrorIsFinal) {
            return Remedy::None;
        }
        let (view, lun_epoch) = (Arc::clone(&lun.view), lun.epoch);
        let lba = command.lba + u64::from(io.offset_sectors);
        if view.parts[usize::from(io.part)].geometry.parity_count() > 0 {
            self.read_around(index, io, lba, fault, &view);
            return Remedy::Slices;
        }
        let command = &mut self.commands[usize::from(index)];
        command.passed_over |= fault == Fault::Late || !self.suspects.is_empty();
        if plan_read_again(index, io, lba, (&view, &self.suspects), out) {
            if command.kind == Kind::Read && fault == Fault::Error {
                command.repair = Some(*io);
            }
            return Remedy::AnotherCopy;
        }
        if command.begins_round(io, lun_epoch) {
            let base = (&[][..], io.offset_sectors);
            if plan_read(index, lba, io.sectors, base, &view, out) {
                if fault == Fault::Error {
                    let command = &mut self.commands[usize::from(index)];
                    command.repair = Some(*io);
                }
                return Remedy::AnotherCopy;
            }
        }
        let command = &mut self.commands[usize::from(index)];
        if command.kind == Kind::Sync(sync::Phase::Sift) {
            command.lost |= sector_mask(io.offset_sectors, io.sectors);
            return Remedy::Without;
        }
        Remedy::None
    }

    /// A block of a part with parity could not be read: slices are to give it.
    fn read_around(
        &mut self,
        index: CommandIndex,
        io: &Io,
        lba: u64,
        fault: Fault,
        view: &Arc<LunView>,
    ) {
        for_each_segment(view, lba, io.sectors, |number, part, mut segment| {
            segment.offset_sectors += io.offset_sectors;
            self.ask_slices(
                index,
                (number, part),
                &segment,
                PieceKind::Read,
                (lba, Some(fault)),
            );
            true
        });
    }

    /// All that was done for a command is done.
    pub(super) fn finish(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        let command = &mut self.commands[usize::from(index)];
        #[cfg(feature = "planted")]
        if planted::is(Bug::AckBeforeFailureRecorded) && command.kind.is_write() {
            command.failed &= command.unmapped;
        }
        if let Kind::Sync(phase) = command.kind {
            self.finish_step(index, phase, out);
            return;
        }
        if self.awaits_mend(index, out) {
            return;
        }
        let command = &self.commands[usize::from(index)];
        if (command.failed || command.is_cut) && !self.ends_in_failure(index, out) {
            return;
        }
        if self.commands[usize::from(index)].edges.is_some() && self.edge_done(index, out) {
            return;
        }
        let command = &self.commands[usize::from(index)];
        let is_done = !command.failed && !command.unmapped;
        if command.kind == Kind::Trim && is_done && self.next_trim_step(index, out) {
            return;
        }
        self.end_command(index, out);
    }

    /// Not all of a command was done. Whether it is to be answered like that; if not, it is done again, or
    /// given up.
    #[cold]
    fn ends_in_failure(&mut self, index: CommandIndex, out: &mut Vec<Action>) -> bool {
        let command = &mut self.commands[usize::from(index)];
        let Some(lun) = &mut self.luns[usize::from(command.lun.get())] else {
            unreachable!("a LUN is kept while it has commands")
        };
        let is_redundant = |part: &PartView| part.geometry.level().is_redundant();
        let redundant = lun.view.parts.iter().any(is_redundant);
        let another_try = command.failed
            && (command.kind != Kind::Read || command.awaits_view)
            && redundant
            && !command.unmapped
            && lun.view.online
            && command.replans < REPLANS_MAX;
        if another_try {
            command.state = State::AwaitingView;
            command.replans += 1;
            if command.epoch != lun.epoch {
                // The answer to the failure came before the command's other I/O was done.
                let number = command.lun;
                self.uncount(index);
                self.ready.push(index);
                self.run_ready(out);
                self.settle(number, out);
            }
            return false;
        }
        // What was cut was not written at all, or is in the redo log.
        let is_undone = command.failed && !command.is_cut;
        lun.mirrors_differ |= redundant && command.kind.is_write() && is_undone;
        // Others could take over, but nobody decides about that any more: as if it had not come, so that
        // the initiator asks again when the LUN is back.
        let is_cut = command.is_cut || (command.failed && !command.unmapped);
        let is_asked_again = command.kind != Kind::Read || command.awaits_view || command.is_cut;
        let is_given_up = command.is_unreached || (is_cut && redundant && is_asked_again);
        if is_given_up && !lun.view.online {
            self.uncount(index);
            self.drop_command(index, out);
            self.run_ready(out);
            return false;
        }
        true
    }

    /// Answers a command, and lets those go on that have waited for it.
    fn end_command(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        let number = self.commands[usize::from(index)].lun;
        let Some(lun) = &mut self.luns[usize::from(number.get())] else {
            unreachable!("a LUN is kept while it has commands")
        };
        lun.commands -= 1;
        self.uncount(index);
        self.answer(index, out);
        if self.commands[usize::from(index)].is_ordered {
            self.leave_order(index, out);
        }
        self.run_ready(out);
        self.settle(number, out);
    }
}

impl Command {
    /// No copy gave what an I/O was to read: whether all of them are asked once more. They are if it could be
    /// otherwise now: some were passed over because they are slow, another view has other copies, or another
    /// read has written one anew meanwhile.
    fn begins_round(&mut self, io: &Io, lun_epoch: u32) -> bool {
        let sectors = sector_bits(io.offset_sectors, io.sectors);
        let is_first = self.asked_again & sectors == 0;
        let has_others = self.passed_over || self.epoch != lun_epoch;
        let is_mended = self.mended & sectors != 0 && self.rounds < ROUNDS_MAX;
        if self.kind != Kind::Read || !(is_mended || is_first && has_others) {
            return false;
        }
        self.asked_again |= sectors;
        self.mended &= !sectors;
        self.rounds += 1;
        true
    }

    /// Whether an I/O reads what was asked for anew.
    pub(super) fn is_asked_again(&self, io: &Io) -> bool {
        self.asked_again & sector_bits(io.offset_sectors, io.sectors) != 0
    }
}

/// A bit for each sector of a command.
fn sector_bits(offset: u32, sectors: u32) -> u32 {
    let up_to = |end: u32| 1_u32.checked_shl(end).unwrap_or(0).wrapping_sub(1);
    up_to(offset.saturating_add(sectors)) & !up_to(offset)
}

const _: () = assert!(
    BLOCK_SECTORS <= u32::BITS as u64,
    "a command has a bit for each sector"
);

const _: () = assert!(HEADER_BYTES + size_of::<AtaRegisters>() == ATA_FRAME_BYTES);

/// Whether the parts with parity that a range touches have lost no more than parity makes good.
fn is_served(view: &LunView, lba: u64, sectors: u32) -> bool {
    let is_well = |part: &PartView| !part.has_parity() || part.is_whole();
    if view.parts.iter().all(is_well) && lba + u64::from(sectors) <= view.capacity_sectors {
        return true;
    }
    for_each_segment(view, lba, sectors, |_, part, _| {
        part.geometry.parity_count() == 0
            || part.geometry.can_serve(|member| is_in_sync(part, member))
    })
}

/// Whether some sector of a range is lost: clients are not to be given it before they have written it.
pub(super) fn is_any_lost(view: &LunView, lba: u64, sectors: u32) -> bool {
    view.parts.iter().any(|part| !part.lost.is_empty())
        && !for_each_segment(view, lba, sectors, |_, part, segment| {
            !lost::is_any_lost(&part.lost, segment.mirrors.first, &range_of(&segment))
        })
}

/// Where a segment lies on its member.
pub(super) fn range_of(segment: &Segment) -> BadRange {
    BadRange {
        sector: segment.member_sector,
        sectors: u64::from(segment.sectors),
    }
}

/// One flush for each present member. Everything acknowledged is durable already; a flush asks the
/// drives once more.
fn plan_flush(index: CommandIndex, view: &LunView, out: &mut Vec<Action>) {
    for (number, part) in (0u8..).zip(&view.parts) {
        let members = (0u8..).zip(&part.members);
        let twins = (0u8..).zip(&part.twins);
        let devices = members
            .map(|device| (Purpose::Member, device))
            .chain(twins.map(|device| (Purpose::Twin, device)));
        for (purpose, (member, place)) in devices {
            if let Some(place) = place {
                out.push(Action::Io(Io {
                    owner: IoOwner::Command(index),
                    buffer: BufferIndex::of_command(index),
                    operation: Operation::Flush,
                    drive: place.drive,
                    sector: 0,
                    sectors: 0,
                    offset_sectors: 0,
                    part: number,
                    member,
                    purpose,
                    attempt: 0,
                }));
            }
        }
    }
}

/// One read for each segment without parity, of its first copy that is not on a drive of `suspects`, into
/// the buffer from `base_sectors` on. Returns whether every segment has a copy; if not, nothing is read.
pub(super) fn plan_read(
    index: CommandIndex,
    lba: u64,
    sectors: u32,
    (suspects, base_sectors): (&[DriveSlot], u32),
    view: &LunView,
    out: &mut Vec<Action>,
) -> bool {
    let before = out.len();
    let mapped = for_each_segment(view, lba, sectors, |number, part, mut segment| {
        if part.geometry.parity_count() > 0 {
            return true;
        }
        let Some((attempt, member)) = pick_well_copy(part, &segment, suspects) else {
            return false;
        };
        segment.offset_sectors += base_sectors;
        push_io(
            index,
            Operation::Read,
            (number, part),
            &segment,
            member,
            attempt,
            out,
        )
    });
    if !mapped {
        out.truncate(before);
    }
    mapped
}

/// One write for each segment without parity and present member. Returns whether every segment has one
/// that is in sync: what only a member holds that nobody reads is lost.
fn plan_write(
    index: CommandIndex,
    lba: u64,
    sectors: u32,
    view: &LunView,
    out: &mut Vec<Action>,
) -> bool {
    let before = out.len();
    let mapped = for_each_segment(view, lba, sectors, |number, part, segment| {
        if part.geometry.parity_count() > 0 {
            return true;
        }
        let mut in_sync = false;
        for member in segment.mirrors {
            #[cfg(feature = "planted")]
            if planted::is(Bug::UnsyncedWritesToOneMirror) && part.mirrors_unsynced && in_sync {
                continue;
            }
            let place = (number, part);
            in_sync |= push_io(index, Operation::Write, place, &segment, member, 0, out)
                && is_in_sync(part, member);
            #[cfg(feature = "planted")]
            if planted::is(Bug::TwinNotWritten) {
                continue;
            }
            push_twin(index, place, &segment, member, out);
        }
        in_sync
    });
    if !mapped {
        out.truncate(before);
    }
    mapped
}

/// Reads what a failed I/O was to read from the next copy. Returns whether there is one.
fn plan_read_again(
    index: CommandIndex,
    io: &Io,
    lba: u64,
    (view, suspects): (&LunView, &[DriveSlot]),
    out: &mut Vec<Action>,
) -> bool {
    for_each_segment(view, lba, io.sectors, |number, part, mut segment| {
        let Some((attempt, member)) = next_copy(part, &segment, io, suspects) else {
            return false;
        };
        segment.offset_sectors += io.offset_sectors;
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

/// The next present member to read a segment from, with its place. Copies are tried in turn from the
/// one that was tried first: a new view may call for another first one, but no copy may be tried twice
/// or left out but those on slow drives while there are others.
pub(super) fn next_copy(
    part: &PartView,
    segment: &Segment,
    io: &Io,
    suspects: &[DriveSlot],
) -> Option<(u8, u8)> {
    let copies = segment.mirrors.into_iter();
    let failed = copies.clone().position(|member| member == io.member)?;
    let mut left = (io.attempt + 1..segment.mirrors.copies)
        .zip(copies.cycle().skip(failed + 1))
        .filter(|(_, member)| is_in_sync(part, *member));
    let first = left.clone().next();
    left.find(|(_, member)| !is_on_any(part, *member, suspects))
        .or(first)
}

/// Calls `act` for each segment of a range until it returns false; returns whether it never did.
pub(super) fn for_each_segment(
    view: &LunView,
    lba: u64,
    sectors: u32,
    mut act: impl FnMut(u8, &PartView, Segment) -> bool,
) -> bool {
    let mut part_start = 0;
    let mut done = 0u32;
    for (number, part) in (0u8..).zip(&view.parts) {
        let capacity = part.geometry.capacity_sectors();
        let place = lba + u64::from(done) - part_start;
        if place < capacity && done < sectors {
            let left = u32::try_from(capacity - place).unwrap_or(u32::MAX);
            let count = left.min(sectors - done);
            for mut segment in part.geometry.segments(place, count) {
                segment.offset_sectors += done;
                if !act(number, part, segment) {
                    return false;
                }
            }
            done += count;
        }
        part_start += capacity;
        if done == sectors {
            return true;
        }
    }
    false
}

/// The first present member to read a segment from, from place `attempt` of the order in which its
/// copies are tried, with its place. Places do not move when a member is given up meanwhile.
pub(super) fn pick_copy(part: &PartView, segment: &Segment, attempt: u8) -> Option<(u8, u8)> {
    let copies = segment.mirrors.into_iter();
    let unsynced = part.mirrors_unsynced;
    #[cfg(feature = "planted")]
    let unsynced = unsynced && !planted::is(Bug::UnsyncedReadsBalanced);
    let first = if unsynced || segment.mirrors.copies < 2 {
        0
    } else {
        let turn =
            (segment.member_sector / READ_BALANCE_SECTORS) % u64::from(segment.mirrors.copies);
        usize::try_from(turn).unwrap_or(0)
    };
    copies
        .clone()
        .skip(first)
        .chain(copies.take(first))
        .zip(0u8..)
        .skip(usize::from(attempt))
        .find(|(member, _)| is_in_sync(part, *member))
        .map(|(member, place)| (place, member))
}

/// As [`pick_copy`], but a copy on a slow drive only if there is no other. While mirrors may differ there is
/// no choice.
fn pick_well_copy(part: &PartView, segment: &Segment, suspects: &[DriveSlot]) -> Option<(u8, u8)> {
    let first = pick_copy(part, segment, 0)?;
    if suspects.is_empty() || part.mirrors_unsynced {
        return Some(first);
    }
    (0..segment.mirrors.copies)
        .filter_map(|attempt| pick_copy(part, segment, attempt))
        .find(|(_, member)| !is_on_any(part, *member, suspects))
        .or(Some(first))
}

/// Whether a member lies on one of these drives.
pub(super) fn is_on_any(part: &PartView, member: u8, drives: &[DriveSlot]) -> bool {
    let place = part.members.get(usize::from(member)).copied().flatten();
    place.is_some_and(|place| drives.contains(&place.drive))
}

/// Whether the other members do not hold everything that the member of this I/O holds.
pub(super) fn is_last_copy(view: &LunView, io: &Io) -> bool {
    if io.purpose == Purpose::Twin {
        return false;
    }
    view.parts.get(usize::from(io.part)).is_some_and(|part| {
        let others = |member| member != io.member && is_in_sync(part, member);
        !part.geometry.can_serve(others)
    })
}

/// Whether a member is present and holds everything.
pub(super) fn is_in_sync(part: &PartView, member: u8) -> bool {
    matches!(part.members.get(usize::from(member)), Some(Some(place)) if place.in_sync)
}

/// Adds an I/O, unless the member is gone.
pub(super) fn push_io(
    command: CommandIndex,
    operation: Operation,
    (number, part): (u8, &PartView),
    segment: &Segment,
    member: u8,
    attempt: u8,
    out: &mut Vec<Action>,
) -> bool {
    let Some(Some(place)) = part.members.get(usize::from(member)) else {
        return false;
    };
    let io = segment_io(command, operation, place, segment);
    out.push(Action::Io(Io {
        part: number,
        member,
        attempt,
        ..io
    }));
    true
}

/// Adds a write to the twin of a member, if there is one.
pub(super) fn push_twin(
    command: CommandIndex,
    (number, part): (u8, &PartView),
    segment: &Segment,
    member: u8,
    out: &mut Vec<Action>,
) {
    if let Some(twin) = part.twin(member) {
        out.push(Action::Io(Io {
            part: number,
            member,
            purpose: Purpose::Twin,
            ..segment_io(command, Operation::Write, twin, segment)
        }));
    }
}

/// The I/O of a segment on a device.
const fn segment_io(
    command: CommandIndex,
    operation: Operation,
    place: &MemberView,
    segment: &Segment,
) -> Io {
    Io {
        owner: IoOwner::Command(command),
        buffer: BufferIndex::of_command(command),
        operation,
        drive: place.drive,
        sector: place.data_offset_sectors + segment.member_sector,
        sectors: segment.sectors,
        offset_sectors: segment.offset_sectors,
        part: 0,
        member: 0,
        purpose: Purpose::Member,
        attempt: 0,
    }
}

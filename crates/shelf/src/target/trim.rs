//! TRIM (conformance row 103): sectors that read as zeroes from then on, and that drives may deallocate.
//!
//! A TRIM is a sequence of writes of zeroes. It takes a command slot, and stands in the order with all of its
//! ranges at once ([`crate::order`]), from its arrival until it is answered. What it asks for is put in
//! order, and worked on in steps of at most [`STEP_SECTORS`], one after the other; the range of the command
//! is that of its step. A step is planned, waits, fails and is planned anew as a write is. Drives are asked
//! with [`Operation::WriteZeroes`], once for each run of sectors on a device. Where drives have larger
//! sectors, what lies inside one of them is a step of its own (`super::edges`).
//!
//! Invariants:
//! * it is answered with success only when each sector that it asks for is zero, durably, on every present
//!   member and twin;
//! * one that asks for a sector beyond the end changes nothing;
//! * a crash leaves each sector as it was or zero, and members that do not agree only in regions whose bits
//!   are durable;
//! * it has the I/O of one step in flight, so that others are not held up;
//! * one that is cut between two steps, because its LUN goes offline, is not answered.
//!
//! LUNs with parity have none: whole stripes of zeroes would be cheap, but the rest of each range would have
//! to be written through the redo log.

use super::run::{for_each_segment, is_in_sync};
use super::{
    Action, Asked, BUFFER_SECTORS, Body, BufferIndex, Command, Io, IoOwner, Kind, Memory,
    Operation, Purpose, Span, State, Target,
};
use crate::order::{CommandIndex, Extent};
use crate::plane::{LunView, MemberView};
use aoe::{AtaRegisters, Header, SECTOR_BYTES, sectors_per_frame};
use ata::Outcome;
use ata::trim::{BLOCKS_MAX, ENTRY_BYTES, Entry};
use raid::geometry::Segment;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::{Geometry, Unit};
use std::sync::Arc;
use zerocopy::FromBytes;

/// Sectors of a step, 8 MiB: even a drive that has to write them is done with some of them well before it is
/// taken to hang. Steps end at multiples of it, so that they begin with a chunk.
const STEP_SECTORS: u64 = 16_384;

const _: () = assert!(BLOCKS_MAX as usize <= BUFFER_SECTORS);

/// Whether a RAID can be trimmed.
#[must_use]
pub fn can_trim(geometry: &Geometry) -> bool {
    geometry.parity_count() == 0
}

impl Target {
    /// Takes a slot for a TRIM whose ranges have come with it. They are looked at when they are in its
    /// buffer.
    pub(super) fn admit_trim(
        &mut self,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        (blocks, data_bytes): (u8, usize),
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        let mtu_bytes = self.ports[usize::from(asked.port.0)].mtu_bytes;
        let fits = sectors_per_frame(mtu_bytes).min(usize::from(BLOCKS_MAX));
        let held = data_bytes / SECTOR_BYTES;
        let is_offered = asked.view.parts.iter().all(|part| can_trim(&part.geometry));
        let wanted = usize::from(blocks);
        if !is_offered || wanted == 0 || wanted > fits || held < wanted {
            self.count_refused_ata(asked);
            self.reply_ata(asked, registers, Outcome::Aborted, Body::Empty, out);
            return None;
        }
        let (index, epoch) = self.take_slot(asked)?;
        self.commands[usize::from(index)] = Command {
            state: State::Waiting,
            kind: Kind::Trim,
            lun: asked.view.lun,
            port: asked.port,
            head: super::admit::head_bytes(asked.header, registers),
            since_ns: self.pace.now_ns(),
            epoch,
            ..Command::free()
        };
        Some(index)
    }

    /// The ranges of a TRIM are in its buffer: it is refused, or takes its place in the order. One that is
    /// the same as one that is not answered is that one, sent again.
    pub(super) fn begin_trim(
        &mut self,
        index: CommandIndex,
        memory: &mut impl Memory,
        out: &mut Vec<Action>,
    ) {
        let command = &self.commands[usize::from(index)];
        let (number, port, head) = (command.lun, command.port, command.head);
        let Some(view) = self.luns[usize::from(number.get())].as_ref() else {
            unreachable!("a LUN is kept while it has commands")
        };
        let view = Arc::clone(&view.view);
        let Ok((header, rest)) = Header::ref_from_prefix(&head) else {
            unreachable!("the head of a request that was parsed")
        };
        let Ok((registers, _)) = AtaRegisters::ref_from_prefix(rest) else {
            unreachable!("the head of a request that was parsed")
        };
        let view = &view;
        let asked = Asked { port, header, view };
        if !self.decode_extents(index, registers.count, view.capacity_sectors, memory) {
            self.release(index);
            self.count_refused_ata(asked);
            self.reply_ata(asked, registers, Outcome::OutOfRange, Body::Empty, out);
            return;
        }
        let Some(first) = next_step(&self.extents, 0, view.unit) else {
            self.release(index);
            self.statistics.count(asked.who(), |tally| tally.trims += 1);
            self.reply_ata(asked, registers, Outcome::Success, Body::Empty, out);
            return;
        };
        if let Some(original) = self.order.find_wide(number, &self.extents, |_| true) {
            self.counters.trims += 1;
            self.count_duplicate(index, original);
            let original = &mut self.commands[usize::from(original)];
            (original.head, original.port) = (head, port);
            self.release(index);
            return;
        }
        let Some(may_run) = self
            .order
            .enter_wide(index, (number, view.unit), &self.extents)
        else {
            // The initiator asks again.
            self.count_no_buffer(asked);
            self.release(index);
            return;
        };
        self.counters.trims += 1;
        let hull = hull(&self.extents);
        let unit = view.unit;
        let lenders = self.lenders(view, hull);
        let command = &mut self.commands[usize::from(index)];
        (command.lenders, command.awaits) = (lenders, lenders);
        command.is_ordered = true;
        self.set_trim_step(index, unit, first);
        self.borrow(index, hull, out);
        if may_run {
            self.ready.push(index);
            self.run_ready(out);
        } else {
            self.counters.overlaps += 1;
        }
    }

    /// What a TRIM asks for, in order and apart. False if some of it lies beyond the end.
    fn decode_extents(
        &mut self,
        index: CommandIndex,
        blocks: u8,
        capacity_sectors: u64,
        memory: &mut impl Memory,
    ) -> bool {
        let extents = &mut self.extents;
        extents.clear();
        let mut is_inside = true;
        let ranges = Span {
            buffer: BufferIndex::of_command(index),
            start_sector: 0,
            sectors: u32::from(blocks),
        };
        memory.compute(&[ranges], &[], &mut |read, _| {
            for bytes in read[0].as_chunks::<ENTRY_BYTES>().0 {
                let Entry { lba, sectors } = Entry::decode(*bytes);
                let sectors = u64::from(sectors);
                if sectors > 0 {
                    is_inside &= lba + sectors <= capacity_sectors;
                    extents.push(Extent { lba, sectors });
                }
            }
        });
        extents.sort_unstable();
        // Each one is joined to the one before it where they touch.
        extents.dedup_by(|next, last| {
            let touches = next.lba <= last.end();
            if touches {
                last.sectors = last.end().max(next.end()) - last.lba;
            }
            touches
        });
        is_inside
    }

    /// A step of a TRIM is done: goes on with the next one. False if there is none.
    pub(super) fn next_trim_step(&mut self, index: CommandIndex, out: &mut Vec<Action>) -> bool {
        let unit = self.own_view(index).unit;
        let command = &self.commands[usize::from(index)];
        let end = command.lba + u64::from(command.sectors);
        let Some(next) = next_step(self.order.extents(index), end, unit) else {
            return false;
        };
        #[cfg(feature = "planted")]
        if planted::is(Bug::TrimEndsEarly) {
            return false;
        }
        self.set_trim_step(index, unit, next);
        let command = &mut self.commands[usize::from(index)];
        // It has not begun, so that whoever may not do it any more is refused it.
        command.state = State::Waiting;
        command.replans = 0;
        let number = command.lun;
        self.uncount(index);
        if self.is_offline(number) {
            self.drop_command(index, out);
            self.run_ready(out);
        } else {
            self.ready.push(index);
            self.run_ready(out);
            self.settle(number, out);
        }
        true
    }
}

/// All from the first sector to the last.
fn hull(extents: &[Extent]) -> Extent {
    let lba = extents.first().map_or(0, |extent| extent.lba);
    let end = extents.last().map_or(lba, Extent::end);
    Extent {
        lba,
        sectors: end - lba,
    }
}

/// How much a TRIM asks for.
pub(super) fn bytes_of(extents: &[Extent]) -> u64 {
    let sectors: u64 = extents.iter().map(|extent| extent.sectors).sum();
    sectors * SECTOR_BYTES as u64
}

/// The first step that has sectors from this one on: first sector, sectors. It is of whole units, or inside
/// one.
fn next_step(extents: &[Extent], from: u64, unit: Unit) -> Option<(u64, u32)> {
    let extent = extents.iter().find(|extent| extent.end() > from)?;
    let lba = extent.lba.max(from);
    let step_end = (lba / STEP_SECTORS + 1) * STEP_SECTORS;
    let end = step_end.min(extent.end());
    let unit_end = unit.floor(lba) + u64::from(unit.sectors());
    let end = if unit.divides(lba) && unit_end <= end {
        unit.floor(end)
    } else {
        end.min(unit_end)
    };
    Some((lba, u32::try_from(end - lba).ok()?))
}

/// The I/O of a step: for each present device the runs of its sectors. Returns whether every segment has a
/// member that is in sync.
pub(super) fn plan_zeroes(
    index: CommandIndex,
    lba: u64,
    sectors: u32,
    view: &LunView,
    out: &mut Vec<Action>,
) -> bool {
    let before = out.len();
    let mapped = for_each_segment(view, lba, sectors, |number, part, segment| {
        let mut in_sync = false;
        for member in segment.mirrors {
            #[cfg(feature = "planted")]
            if planted::is(Bug::TrimOfOneMirror) && in_sync {
                continue;
            }
            let place = part.members.get(usize::from(member)).copied().flatten();
            if let Some(place) = place {
                let device = (number, member, Purpose::Member, &place);
                push_zeroes(index, device, &segment, before, out);
                in_sync |= is_in_sync(part, member);
            }
            if let Some(twin) = part.twin(member) {
                let device = (number, member, Purpose::Twin, twin);
                push_zeroes(index, device, &segment, before, out);
            }
        }
        in_sync
    });
    if !mapped {
        out.truncate(before);
    }
    mapped
}

/// Adds the sectors of a segment to what is asked of a device: to a run that they continue, if there is one
/// among the actions from `before` on.
fn push_zeroes(
    index: CommandIndex,
    (part, member, purpose, place): (u8, u8, Purpose, &MemberView),
    segment: &Segment,
    before: usize,
    out: &mut Vec<Action>,
) {
    let sector = place.data_offset_sectors + segment.member_sector;
    let mut planned = out[before..].iter_mut().rev();
    let run = planned.find_map(|action| match action {
        Action::Io(io) if (io.part, io.member, io.purpose) == (part, member, purpose) => Some(io),
        _ => None,
    });
    if let Some(run) = run.filter(|run| run.range().end() == sector) {
        run.sectors += segment.sectors;
        return;
    }
    out.push(Action::Io(Io {
        owner: IoOwner::Command(index),
        buffer: BufferIndex::of_command(index),
        operation: Operation::WriteZeroes,
        drive: place.drive,
        sector,
        sectors: segment.sectors,
        offset_sectors: 0,
        part,
        member,
        purpose,
        attempt: 0,
    }));
}

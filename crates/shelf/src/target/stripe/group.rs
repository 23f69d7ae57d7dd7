//! Groups of the redo log: what many slices are about to write, in one record for each member.
//!
//! A part has at most one open group. Slices whose new content is computed join it; at the end of the
//! turn it is closed and its records are written, so that a turn with many writes costs each member one
//! log write. While [`WRITING_MAX`] groups are on their way, the open one goes on gathering.
//!
//! Invariants, those of the module [`raid::log`] among them:
//! * group g is opened only when group g - slots of its part is retired;
//! * a slice counts in the group that holds its content until its home writes are durable;
//! * an open group holds record buffers, and is closed in the turn in which it was opened unless
//!   others are being written: nobody waits for buffers while holding some.

use super::compute::{Checksums, Masks, Spans};
use super::round::Site;
use super::{Key, NONE, Phase, Target, elements};
use crate::ids::LunNumber;
use crate::plane::{LogView, LunView, MemberView, PartView};
use crate::target::memory::Span;
use crate::target::patience::Fault;
use crate::target::{Action, BufferPlan, Io, IoOwner, Memory, Operation, Purpose, run};
use raid::checksum::nh;
use raid::geometry::MEMBERS_MAX;
use raid::log::{EntryPlace, HEADER_SECTORS, Kind, RecordIdentity, RecordWriter};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::stripe::run_of;
use std::sync::Arc;

/// Groups of a part that are written at a time.
const WRITING_MAX: usize = 4;

/// Groups in all.
const GROUPS: u16 = 64;

/// Most groups of a part that may be live; what the log of a part has at most.
const LIVE_MAX: usize = 64;

const ELEMENTS: usize = MEMBERS_MAX as usize;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    Open,
    Writing,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    state: State,
    key: (LunNumber, u8),
    number: u64,
    /// Record buffers by element.
    records: [u16; ELEMENTS],
    writers: [RecordWriter; ELEMENTS],
    /// First of the slices in it.
    slices: u16,
    epoch: u32,
    outstanding: u16,
    /// Elements whose record could not be written.
    failed: u64,
    doomed: bool,
}

/// The log of a part.
#[derive(Clone, Copy, Debug)]
struct PartLog {
    key: (LunNumber, u8),
    epoch: u64,
    /// Number of the next group.
    next: u64,
    /// For each of the last groups, by number, the slices that are not done with it.
    live: [u16; LIVE_MAX],
    open: u16,
    writing: usize,
}

/// All groups and logs.
#[derive(Debug)]
pub(super) struct Groups {
    groups: Box<[Group]>,
    free: Vec<u16>,
    free_records: Vec<u16>,
    logs: Vec<PartLog>,
}

impl Groups {
    pub(super) fn new(plan: BufferPlan) -> Self {
        let Some(lun) = LunNumber::new(0) else {
            unreachable!("0 is a LUN number")
        };
        let group = Group {
            state: State::Free,
            key: (lun, 0),
            number: 0,
            records: [NONE; ELEMENTS],
            writers: [RecordWriter::new(0, 0); ELEMENTS],
            slices: NONE,
            epoch: 0,
            outstanding: 0,
            failed: 0,
            doomed: false,
        };
        Self {
            groups: vec![group; usize::from(GROUPS)].into(),
            free: (0..GROUPS).rev().collect(),
            free_records: (0..plan.records).rev().collect(),
            logs: Vec::new(),
        }
    }

    /// Readies the logs of the parts of a view.
    pub(super) fn prepare(&mut self, view: &LunView) {
        for (part, number) in view.parts.iter().zip(0_u8..) {
            let Some(log) = &part.log else { continue };
            let (key, epoch) = ((view.lun, number), log.parameters.epoch());
            if self
                .logs
                .iter()
                .any(|log| log.key == key && log.epoch == epoch)
            {
                continue;
            }
            self.logs.retain(|log| log.key != key);
            self.logs.push(PartLog {
                key,
                epoch,
                next: 1,
                live: [0; LIVE_MAX],
                open: NONE,
                writing: 0,
            });
        }
    }

    /// Whether a group is open that may be closed: the slices that joined it wait for that.
    pub(super) fn may_close(&self) -> bool {
        let may_close = |log: &PartLog| log.open != NONE && log.writing < WRITING_MAX;
        self.logs.iter().any(may_close)
    }

    pub(super) fn forget(&mut self, lun: LunNumber) {
        self.logs.retain(|log| log.key.0 != lun);
    }

    fn log_mut(&mut self, key: (LunNumber, u8)) -> Option<&mut PartLog> {
        self.logs.iter_mut().find(|log| log.key == key)
    }

    /// The open group of a part; a new one if there is none and may be one.
    fn open(&mut self, key: (LunNumber, u8), view: &LogView, members: u8) -> Option<u16> {
        let slots = usize::from(view.parameters.slots()).min(LIVE_MAX);
        let log = self.logs.iter_mut().find(|log| log.key == key)?;
        if log.open != NONE {
            return Some(log.open);
        }
        let live = usize::try_from(log.next % slots as u64).unwrap_or(0);
        let is_live = log.live[live] > 0;
        #[cfg(feature = "planted")]
        let is_live = is_live && !planted::is(Bug::SlotsReusedTooEarly);
        if is_live {
            return None;
        }
        let index = self.free.pop()?;
        let writer = RecordWriter::new(members, view.parameters.slot_sectors());
        self.groups[usize::from(index)] = Group {
            state: State::Open,
            key,
            number: log.next,
            records: [NONE; ELEMENTS],
            writers: [writer; ELEMENTS],
            slices: NONE,
            epoch: 0,
            outstanding: 0,
            failed: 0,
            doomed: false,
        };
        log.open = index;
        log.next += 1;
        Some(index)
    }

    /// Gives record buffers to the elements of a mask, if each has room for its content.
    fn make_room(&mut self, index: u16, homes: &Homes<'_>, reached: u64) -> bool {
        let group = &mut self.groups[usize::from(index)];
        let lacking = elements(reached).filter(|element| group.records[*element] == NONE);
        let has_room = elements(reached)
            .all(|element| group.writers[element].has_room(homes.content_sectors(element)));
        if !has_room || lacking.count() > self.free_records.len() {
            return false;
        }
        for element in elements(reached) {
            if group.records[element] == NONE {
                let Some(record) = self.free_records.pop() else {
                    unreachable!("they were counted")
                };
                group.records[element] = record;
            }
        }
        true
    }
}

/// The members that get a record: those that take part, and further ones until the number of the group
/// outlives a loss of as many as there are parities.
fn reached(elements: u64, members: &[Option<MemberView>], parities: u8) -> u64 {
    let present = (0_u32..)
        .zip(members)
        .filter(|(_, member)| member.is_some());
    present.fold(elements, |reached, (element, _)| {
        if reached.count_ones() > u32::from(parities) {
            reached
        } else {
            reached | 1 << element
        }
    })
}

/// What a round is about to write, element by element.
struct Homes<'c> {
    elements: u64,
    masks: Masks,
    kind: Kind,
    /// Of all that an intent writes, if they were computed with it.
    checksums: Option<&'c Checksums>,
}

impl Homes<'_> {
    /// Sectors that the log takes of an element.
    fn content_sectors(&self, element: usize) -> u16 {
        match self.kind {
            Kind::Redo => u16::try_from(self.masks[element].count_ones()).unwrap_or(u16::MAX),
            Kind::Intent => 0,
        }
    }
}

impl Target {
    /// The new content of a slice is computed: it joins a group of the log, or waits for one.
    pub(super) fn log_round(
        &mut self,
        index: u16,
        memory: &mut impl Memory,
        out: &mut Vec<Action>,
    ) {
        let Some(site) = self.site(index) else {
            self.end_round(index, false, out);
            return;
        };
        self.log_round_at(index, &site, None, memory, out);
    }

    /// The same; checksums of all that is written may be known.
    pub(super) fn log_round_at(
        &mut self,
        index: u16,
        site: &Site,
        checksums: Option<&Checksums>,
        memory: &mut impl Memory,
        out: &mut Vec<Action>,
    ) {
        let homes = self.homes_of(index, site, checksums);
        let log = site.part().log.filter(|_| homes.elements != 0);
        #[cfg(feature = "planted")]
        let log = log.filter(|_| !planted::is(Bug::NoLog));
        let Some(log) = log else {
            self.stripes.cache.get_mut(index).phase = Phase::Logged;
            self.write_home(index, out);
            return;
        };
        if !self.join_group(index, site, &log, &homes, memory) {
            // The open group is full, or the log is: the next turn has another.
            self.counters.stripe_waits += 1;
            self.close_group((site.key.lun, site.key.part), memory, out);
            if !self.join_group(index, site, &log, &homes, memory) {
                self.stall_or_cut(index, out);
                return;
            }
        }
        self.stripes.cache.get_mut(index).phase = Phase::Logging;
    }

    fn homes_of<'c>(&self, index: u16, site: &Site, checksums: Option<&'c Checksums>) -> Homes<'c> {
        let slice = self.stripes.cache.get(index);
        let mut homes = Homes {
            checksums,
            elements: 0,
            masks: [0; ELEMENTS],
            kind: Kind::Redo,
        };
        let range = slice.range;
        let mut is_all = true;
        for (element, member) in site.part().members.iter().enumerate() {
            let home = slice.columns[element].home;
            is_all &= home == range;
            if member.is_some() && home != 0 {
                homes.elements |= 1 << element;
                homes.masks[element] = home;
            }
        }
        let new = self.new_masks(index);
        if is_all && self.is_known_by_checksums(index, site, range, &new) {
            homes.kind = Kind::Intent;
        }
        homes
    }

    fn join_group(
        &mut self,
        index: u16,
        site: &Site,
        log: &LogView,
        homes: &Homes<'_>,
        memory: &mut impl Memory,
    ) -> bool {
        let key = (site.key.lun, site.key.part);
        let groups = &mut self.stripes.groups;
        let Some(group) = groups.open(key, log, site.layout.members()) else {
            return false;
        };
        let parities = site.layout.members() - site.layout.columns();
        let reached = reached(homes.elements, &site.part().members, parities);
        if !groups.make_room(group, homes, reached) {
            return false;
        }
        self.add_entries(index, group, site, log, homes, memory);
        self.count_in(index, group);
        true
    }

    /// Adds what a slice is about to write to the records of a group.
    fn add_entries(
        &mut self,
        index: u16,
        group: u16,
        site: &Site,
        log: &LogView,
        homes: &Homes<'_>,
        memory: &mut impl Memory,
    ) {
        let (range_start, range_sectors) = run_of(self.stripes.cache.get(index).range);
        let mut contents = Spans::<ELEMENTS>::new();
        let mut records = Spans::<ELEMENTS>::new();
        let entry = &self.stripes.groups.groups[usize::from(group)];
        for element in (0..site.layout.members()).filter(|e| homes.elements >> e & 1 == 1) {
            let at = usize::from(element);
            contents.push(self.span(index, element, homes.masks[at]));
            records.push(Span {
                buffer: self.stripes.plan.record(entry.records[at]),
                start_sector: 0,
                sectors: u32::from(log.parameters.slot_sectors()),
            });
        }
        let writers = &mut self.stripes.groups.groups[usize::from(group)].writers;
        let (contents, records) = (contents.as_slice(), records.as_slice());
        memory.compute(contents, records, &mut |read, written| {
            let blocks = read.iter().zip(written);
            for (element, (content, record)) in elements(homes.elements).zip(blocks) {
                let place = EntryPlace {
                    member_sector: site.place(homes.masks[element]).0,
                    range_start: u16::try_from(range_start).unwrap_or(0),
                    range_sectors: u16::try_from(range_sectors).unwrap_or(0),
                    participants: homes.elements,
                };
                let added = match homes.kind {
                    Kind::Redo => writers[element].add_redo(record, &place, content),
                    Kind::Intent => {
                        let known = homes.checksums.map(|checksums| checksums[element]);
                        let checksum = known.unwrap_or_else(|| nh(content));
                        let sectors = homes.masks[element].count_ones();
                        let sectors = u16::try_from(sectors).unwrap_or(u16::MAX);
                        writers[element].add_intent(record, &place, sectors, checksum)
                    }
                };
                added.expect("room was made");
            }
        });
    }

    /// A slice is in a group from now on.
    fn count_in(&mut self, index: u16, group: u16) {
        let entry = &mut self.stripes.groups.groups[usize::from(group)];
        let (key, number) = (entry.key, entry.number);
        let slice = self.stripes.cache.get_mut(index);
        slice.group_next = std::mem::replace(&mut entry.slices, index);
        slice.group = Some(number);
        slice.unlogged = 0;
        let place = self.live_place(key, number);
        if let (Some(log), Some(place)) = (self.stripes.groups.log_mut(key), place) {
            log.live[place] += 1;
        }
    }

    /// Where the slices of a group are counted.
    fn live_place(&self, key: (LunNumber, u8), number: u64) -> Option<usize> {
        let view = &self.luns[usize::from(key.0.get())].as_ref()?.view;
        let log = view.parts.get(usize::from(key.1))?.log?;
        let slots = usize::from(log.parameters.slots()).min(LIVE_MAX);
        usize::try_from(number % slots as u64).ok()
    }

    /// A slice is done with a group.
    pub(super) fn retire(&mut self, key: Key, group: u64) {
        let key = (key.lun, key.part);
        let place = self.live_place(key, group);
        if let (Some(log), Some(place)) = (self.stripes.groups.log_mut(key), place) {
            log.live[place] -= 1;
            self.stripes.may_unstall = true;
        }
    }

    /// Closes the open groups of parts that are not writing many.
    pub(super) fn close_groups(&mut self, memory: &mut impl Memory, out: &mut Vec<Action>) {
        for place in 0..self.stripes.groups.logs.len() {
            let log = &self.stripes.groups.logs[place];
            if log.open != NONE && log.writing < WRITING_MAX {
                self.close_group(log.key, memory, out);
            }
        }
    }

    /// Writes the records of the open group of a part.
    fn close_group(
        &mut self,
        key: (LunNumber, u8),
        memory: &mut impl Memory,
        out: &mut Vec<Action>,
    ) {
        let Some(log) = self.stripes.groups.log_mut(key) else {
            return;
        };
        let index = log.open;
        let Some(lun) = &self.luns[usize::from(key.0.get())] else {
            return;
        };
        let view = Arc::clone(&lun.view);
        let Some(part) = view.parts.get(usize::from(key.1)) else {
            return;
        };
        let Some(log_view) = part.log.filter(|_| index != NONE) else {
            return;
        };
        log.open = NONE;
        let is_empty = self.stripes.groups.groups[usize::from(index)].slices == NONE;
        if let Some(log) = self.stripes.groups.log_mut(key) {
            // Opened for one that then found no buffers: its number was not used.
            log.next -= u64::from(is_empty);
            log.writing += usize::from(!is_empty);
        }
        if is_empty {
            self.free_group(index);
            return;
        }
        self.counters.log_groups += 1;
        let before = out.len();
        self.push_records(index, part, &log_view, memory, out);
        let count = u16::try_from(out.len() - before).unwrap_or(u16::MAX);
        let group = &mut self.stripes.groups.groups[usize::from(index)];
        group.state = State::Writing;
        group.outstanding = count;
        if let Some(lun) = &mut self.luns[usize::from(key.0.get())] {
            group.epoch = lun.epoch;
            lun.running += u32::from(count > 0);
        }
        if count == 0 {
            // Everybody it was for is gone.
            self.group_done(index, out);
        }
    }

    fn push_records(
        &mut self,
        index: u16,
        part: &PartView,
        log: &LogView,
        memory: &mut impl Memory,
        out: &mut Vec<Action>,
    ) {
        let mut tags = [0; ELEMENTS];
        for (tag, member) in tags.iter_mut().zip(&part.members) {
            *tag = member.map_or(0, |member| member.log_tag);
        }
        let group = &mut self.stripes.groups.groups[usize::from(index)];
        for (element, member) in (0_u8..).zip(&part.members) {
            let at = usize::from(element);
            let record = group.records[at];
            // One that left after slices had joined needs no record any more.
            let Some(member) = member.filter(|_| record != NONE) else {
                continue;
            };
            let buffer = self.stripes.plan.record(record);
            let whole = Span {
                buffer,
                start_sector: 0,
                sectors: u32::from(log.parameters.slot_sectors()),
            };
            let identity = RecordIdentity {
                set_uuid: log.set_uuid,
                epoch: log.parameters.epoch(),
                group: group.number,
                element,
                tags: &tags[..part.members.len()],
            };
            let writer = group.writers[at];
            let mut bytes = 0;
            memory.compute(&[], &[whole], &mut |_, written| {
                bytes = writer.finish(written[0], &identity);
            });
            out.push(Action::Io(Io {
                owner: IoOwner::Group(index),
                buffer,
                operation: Operation::Write,
                drive: member.drive,
                sector: log.parameters.record_sector(member.log_area, group.number),
                sectors: u32::try_from(bytes / aoe::SECTOR_BYTES).unwrap_or(0),
                offset_sectors: 0,
                part: group.key.1,
                member: element,
                purpose: Purpose::Member,
                attempt: 0,
            }));
        }
    }

    /// A record of a group is written.
    pub(in crate::target) fn complete_group(
        &mut self,
        index: u16,
        io: &Io,
        fault: Option<Fault>,
        out: &mut Vec<Action>,
    ) {
        let lun = self.stripes.groups.groups[usize::from(index)].key.0;
        if let Some(fault) = fault {
            self.report_fault(lun, io, fault, out);
        }
        let group = &mut self.stripes.groups.groups[usize::from(index)];
        debug_assert_eq!(group.state, State::Writing);
        if fault.is_some() {
            group.failed |= 1 << io.member;
            if fault != Some(Fault::Unreached)
                && let Some(lun) = &self.luns[usize::from(lun.get())]
            {
                group.doomed |= run::is_last_copy(&lun.view, io);
            }
        }
        group.outstanding -= 1;
        if group.outstanding == 0 {
            let epoch = group.epoch;
            self.group_done(index, out);
            self.io_ended(lun, epoch, out);
        }
    }

    /// All records of a group are written: its slices may write home. If one could not be written, they
    /// wait for the view that answers that.
    fn group_done(&mut self, index: u16, out: &mut Vec<Action>) {
        let group = self.stripes.groups.groups[usize::from(index)];
        if let Some(log) = self.stripes.groups.log_mut(group.key) {
            log.writing -= 1;
        }
        self.free_group(index);
        self.stripes.may_unstall = true;
        let mut next = group.slices;
        while next != NONE {
            let slice = self.stripes.cache.get_mut(next);
            let (at, after) = (next, std::mem::replace(&mut slice.group_next, NONE));
            if group.failed != 0 {
                slice.epoch = group.epoch;
                slice.doomed = group.doomed;
                slice.unlogged = group.failed;
                self.member_failed_round(at, out);
            } else {
                slice.phase = Phase::Logged;
                self.write_home(at, out);
            }
            next = after;
        }
    }

    /// The LUN that a group belongs to.
    pub(in crate::target) fn lun_of_group(&self, index: u16) -> LunNumber {
        self.stripes.groups.groups[usize::from(index)].key.0
    }

    fn free_group(&mut self, index: u16) {
        let groups = &mut self.stripes.groups;
        let group = &mut groups.groups[usize::from(index)];
        group.state = State::Free;
        for record in &mut group.records {
            if *record != NONE {
                groups.free_records.push(std::mem::replace(record, NONE));
            }
        }
        groups.free.push(index);
    }
}

const _: () = assert!(HEADER_SECTORS as usize * 2 <= crate::target::RECORD_SECTORS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DriveSlot;
    use raid::layout::Area;

    #[test]
    fn a_group_reaches_one_member_more_than_may_be_lost() {
        let member = Some(MemberView {
            drive: DriveSlot(0),
            data_offset_sectors: 0,
            in_sync: true,
            log_area: Area {
                sector: 0,
                sectors: 0,
            },
            log_tag: 1,
        });
        let members = [member, None, member, member];
        assert_eq!(reached(0b1001, &members, 1), 0b1001, "two take part");
        assert_eq!(reached(0b1000, &members, 1), 0b1001, "a rebuild of one");
        assert_eq!(reached(0b1000, &members, 2), 0b1101);
        assert_eq!(
            reached(0b0001, &[member, None, None, member], 2),
            0b1001,
            "all there are"
        );
    }
}

//! Which regions may be written: those whose bits are durable in the write-intent bitmap.
//!
//! A write to another region waits, and the administration is asked for the bits of the whole group.
//! Bits are sticky: the administration takes back those of regions that were not written for a while.
//!
//! Invariants:
//! * a region that is ready here has its bit on every member: the table begins as the bitmap that came
//!   with the first view, a region becomes ready only when the administration says so, and stops being
//!   so before the administration clears its bit;
//! * a region with a write under way, or in which a write was answered with a fault, is not given back;
//! * a group is asked for once until the answer comes;
//! * a write costs one look at a byte; tables are made when a view is attached.

use super::{Action, Command, Lun, Report, State, Target};
use crate::ids::LunNumber;
use crate::order::CommandIndex;
use crate::plane::{LunView, RegionsView};
use raid::regions::{REGION_GROUP, RegionIndex, RegionMap, RegionSet};
use std::ops::Range;

/// Its bit is durable.
const READY: u8 = 1;
/// The administration was asked for it.
const ASKED: u8 = 2;
/// How many calls of [`Target::take_idle_regions`] have found it without writes, in these units.
const CALL: u8 = 4;
/// Calls that a region stays after its last write, in those units.
const CALLS: u8 = 2 * CALL;

/// The regions of a part.
#[derive(Clone, Debug)]
pub(super) struct RegionTable {
    map: RegionMap,
    regions: Box<[u8]>,
}

impl RegionTable {
    fn new(view: &RegionsView) -> Self {
        let ready = |region| u8::from(view.ready.contains(RegionIndex(region))) * READY;
        Self {
            map: view.map,
            regions: (0..view.map.regions()).map(ready).collect(),
        }
    }

    /// A write to the region is about to begin; whether it may.
    fn touch(&mut self, region: u32) -> bool {
        let entry = &mut self.regions[region as usize];
        let is_ready = *entry & READY != 0;
        if is_ready {
            *entry = READY;
        }
        is_ready
    }

    /// The group to ask for, if it was not asked for yet.
    fn ask(&mut self, region: u32) -> Option<RegionIndex> {
        let group = RegionIndex(region).group();
        let is_asked = self.regions[region as usize] & ASKED != 0;
        for entry in self.group_mut(group.0..group.0 + REGION_GROUP) {
            *entry |= ASKED;
        }
        (!is_asked).then_some(group)
    }

    fn group_mut(&mut self, regions: Range<u32>) -> &mut [u8] {
        let count = self.regions.len();
        let end = (regions.end as usize).min(count);
        &mut self.regions[(regions.start as usize).min(end)..end]
    }

    /// The regions of a range of the part.
    fn of(&self, part_start: u64, capacity: u64, command: &Command) -> Range<u32> {
        let first = command.lba.max(part_start);
        let end = (command.lba + u64::from(command.sectors)).min(part_start + capacity);
        if first >= end {
            return 0..0;
        }
        let range = self.map.of_range(first - part_start, end - first);
        *range.start()..*range.end() + 1
    }
}

/// Makes the tables those of a view; regions of parts that were there before keep their state.
pub(super) fn follow(tables: &mut Vec<Option<RegionTable>>, view: &LunView) {
    tables.resize(view.parts.len(), None);
    for (table, part) in tables.iter_mut().zip(&view.parts) {
        let wanted = part.regions.as_ref();
        if table.as_ref().map(|table| table.map) != wanted.map(|wanted| wanted.map) {
            *table = wanted.map(RegionTable::new);
        }
    }
}

/// Calls `act` with the number, table and regions of each part that the command concerns.
fn for_each_part(lun: &mut Lun, command: &Command, mut act: impl FnMut(u8, &mut RegionTable, u32)) {
    let mut part_start = 0;
    for (number, (part, table)) in (0u8..).zip(lun.view.parts.iter().zip(&mut lun.regions)) {
        let capacity = part.geometry.capacity_sectors();
        if let Some(table) = table {
            for region in table.of(part_start, capacity, command) {
                act(number, table, region);
            }
        }
        part_start += capacity;
    }
}

impl Target {
    /// Whether a command that is about to be planned may begin. If not, it waits for
    /// [`Target::regions_ready`], or is dropped when its LUN is offline: then nobody will call that.
    pub(super) fn regions_ready_or_wait(
        &mut self,
        index: CommandIndex,
        out: &mut Vec<Action>,
    ) -> bool {
        let command = &mut self.commands[usize::from(index)];
        if !command.kind.is_write() {
            return true;
        }
        let number = command.lun;
        let Some(lun) = &mut self.luns[usize::from(number.get())] else {
            unreachable!("a LUN is kept while it has commands")
        };
        let is_online = lun.view.online;
        let mut is_ready = true;
        for_each_part(lun, command, |part, table, region| {
            if !table.touch(region) {
                is_ready = false;
                let group = if is_online { table.ask(region) } else { None };
                out.extend(group.map(|group| {
                    Action::Report(Report::WantRegions {
                        lun: number,
                        part,
                        group,
                    })
                }));
            }
        });
        if is_ready {
            return true;
        }
        if is_online {
            self.counters.region_waits += u64::from(command.state != State::AwaitingRegion);
            command.state = State::AwaitingRegion;
        } else {
            self.drop_command(index, out);
        }
        false
    }

    /// A write that never began, or did not come to its end, is as if it had not come; so is a read that
    /// waited for what the administration decides about a member.
    #[cold]
    pub(super) fn drop_command(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        self.count_dropped(index);
        self.release_command(index, out);
    }

    /// A command ends without an answer of its own.
    pub(super) fn release_command(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        if self.commands[usize::from(index)].edges.is_some() {
            self.forget_edges(index);
        }
        let command = &mut self.commands[usize::from(index)];
        let number = command.lun;
        let is_ordered = command.is_ordered;
        command.state = State::Free;
        self.free.push(index);
        if is_ordered {
            self.leave_order(index, out);
        }
        if let Some(lun) = &mut self.luns[usize::from(number.get())] {
            lun.commands -= 1;
        }
        self.settle(number, out);
    }

    /// Writes that wait for regions are to be planned once more: they begin, wait on, or are dropped.
    pub(super) fn wake_region_waits(&mut self, number: LunNumber) {
        for (index, command) in (0..).zip(&self.commands) {
            if command.lun == number && command.state == State::AwaitingRegion {
                self.ready.push(index);
            }
        }
    }

    /// The bits of these regions are durable, or with `ready` false cannot be made so: writes that wait
    /// for them begin, or are answered with a fault.
    pub fn regions_ready(
        &mut self,
        number: LunNumber,
        part: u8,
        regions: Range<u32>,
        ready: bool,
        out: &mut Vec<Action>,
    ) {
        let Some(lun) = &mut self.luns[usize::from(number.get())] else {
            return;
        };
        let Some(Some(table)) = lun.regions.get_mut(usize::from(part)) else {
            return;
        };
        for entry in table.group_mut(regions.clone()) {
            *entry &= !ASKED;
            if ready {
                *entry = READY;
            }
        }
        if !ready {
            self.refuse_region_waits(number, part, &regions, out);
        }
        self.wake_region_waits(number);
        self.run_ready(out);
    }

    /// Answers the writes that wait for one of these regions with a fault.
    #[cold]
    fn refuse_region_waits(
        &mut self,
        number: LunNumber,
        part: u8,
        regions: &Range<u32>,
        out: &mut Vec<Action>,
    ) {
        for index in 0..self.commands.len() {
            let command = &mut self.commands[index];
            let Some(lun) = &mut self.luns[usize::from(number.get())] else {
                return;
            };
            if command.lun != number || command.state != State::AwaitingRegion {
                continue;
            }
            let mut waits = false;
            for_each_part(lun, command, |own, _, region| {
                waits |= own == part && regions.contains(&region);
            });
            if let Some(index) = CommandIndex::try_from(index).ok().filter(|_| waits) {
                // As of a write that no member could take: nothing was written.
                command.failed = false;
                command.unmapped = true;
                self.finish(index, out);
            }
        }
    }

    /// Takes back those of `candidates` that were not written since two calls ago, and that no write is
    /// under way to: from now on a write to one of them waits.
    #[must_use]
    pub fn take_idle_regions(
        &mut self,
        number: LunNumber,
        part: u8,
        candidates: &RegionSet,
    ) -> RegionSet {
        let mut idle = RegionSet::empty(candidates.regions());
        let Some(lun) = &mut self.luns[usize::from(number.get())] else {
            return idle;
        };
        // A write that was answered with a fault left members that differ: only the bits tell where.
        if lun.mirrors_differ || lun.is_log_pending {
            return idle;
        }
        for command in &self.commands {
            let is_under_way = !matches!(
                command.state,
                State::Free | State::Replying | State::Holding
            );
            if command.lun == number && command.kind.is_write() && is_under_way {
                for_each_part(lun, command, |_, table, region| {
                    table.touch(region);
                });
            }
        }
        let Some(Some(table)) = lun.regions.get_mut(usize::from(part)) else {
            return idle;
        };
        if table.map.regions() != candidates.regions() {
            return idle;
        }
        for region in candidates.iter() {
            let entry = &mut table.regions[region.0 as usize];
            if *entry & READY == 0 || *entry >= CALLS {
                *entry = 0;
                idle.insert(region);
            } else {
                *entry += CALL;
            }
        }
        idle
    }
}

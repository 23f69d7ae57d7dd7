//! Commands that write many ranges, of any length: TRIM.
//!
//! Invariants:
//! * there are at most [`WIDE_MAX`] of each worker, and of one LUN at most [`WIDE_OF_LUN_MAX`], so that one
//!   whose drives stall does not shut out the others;
//! * their extents are in order, apart, and not empty;
//! * two commands of which one is wide wait for each other once, whatever they share;
//! * whether two wide ones do is the same whichever is asked.

use super::{CommandIndex, Order, Range};
use crate::ids::LunNumber;
use ata::trim::ENTRIES_MAX;
use raid::Unit;

/// Most wide commands at a time.
pub const WIDE_MAX: usize = 16;

/// Most of one LUN.
const WIDE_OF_LUN_MAX: usize = 4;

/// A run of sectors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Extent {
    /// First sector.
    pub lba: u64,
    /// Sectors, at least one.
    pub sectors: u64,
}

impl Extent {
    /// The sector behind it.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.lba + self.sectors
    }
}

/// A wide command.
#[derive(Clone, Debug)]
pub(super) struct Wide {
    command: CommandIndex,
    lun: LunNumber,
    unit: Unit,
    extents: Vec<Extent>,
}

impl Wide {
    pub(super) fn empty() -> Self {
        let Some(lun) = LunNumber::new(0) else {
            unreachable!("0 is a LUN number")
        };
        Self {
            command: super::NONE,
            lun,
            unit: Unit::SECTOR,
            extents: Vec::with_capacity(ENTRIES_MAX),
        }
    }

    fn conflicts(&self, range: &Range) -> bool {
        let end = range.lba + range.sectors;
        let first = self
            .extents
            .partition_point(|extent| extent.end() <= range.lba);
        let overlaps = |extent: &Extent| extent.lba < end;
        self.lun == range.lun && self.extents.get(first).is_some_and(overlaps)
    }

    /// Two that share a unit of the LUN do, whatever they have of it: each writes all of it. Other commands
    /// are of whole units already.
    fn conflicts_wide(&self, other: &Self) -> bool {
        let unit = self.unit.max(other.unit);
        let overlaps = |extent: &Extent| {
            let lba = unit.floor(extent.lba);
            other.conflicts(&Range {
                lun: self.lun,
                lba,
                sectors: extent.end().next_multiple_of(unit.sectors().into()) - lba,
                writes: true,
            })
        };
        self.extents.iter().any(overlaps)
    }
}

impl Order {
    /// Puts a command that writes these extents, of a LUN with this unit, behind all earlier ones. Returns
    /// whether it may run at once; `None` when there is no room for it.
    ///
    /// # Panics
    /// If the command is entered already, or its extents are not in order and apart: both would lose the
    /// order.
    pub fn enter_wide(
        &mut self,
        command: CommandIndex,
        (lun, unit): (LunNumber, Unit),
        extents: &[Extent],
    ) -> Option<bool> {
        let is_apart = |pair: &[Extent]| pair[0].end() < pair[1].lba;
        assert!(
            !extents.is_empty() && extents.windows(2).all(is_apart),
            "{extents:?} are not in order and apart"
        );
        let slot = usize::from(command);
        let is_entered = |wide: &Wide| wide.command == command;
        assert!(
            self.entries[slot].range.is_none() && !self.wide.iter().any(is_entered),
            "command {command} entered twice"
        );
        if command < self.own {
            let own = |wide: &&Wide| wide.command < self.own;
            let of_lun = self.wide.iter().filter(|wide| wide.lun == lun);
            let is_full = self.wide.iter().filter(own).count() >= WIDE_MAX;
            if is_full || of_lun.count() >= WIDE_OF_LUN_MAX {
                return None;
            }
        }
        let mut entered = self.spare.pop()?;
        (entered.command, entered.lun, entered.unit) = (command, lun, unit);
        entered.extents.clear();
        entered.extents.extend_from_slice(extents);
        let narrow = self.entries.iter().filter_map(|entry| entry.range);
        let narrow = narrow.filter(|range| entered.conflicts(range)).count();
        let wide = self.wide.iter();
        let wide = wide.filter(|wide| wide.conflicts_wide(&entered)).count();
        let Ok(blockers) = u16::try_from(narrow + wide) else {
            unreachable!("commands are counted in 16 bits")
        };
        self.arrivals += 1;
        self.entries[slot].blockers = blockers;
        self.entries[slot].arrival = self.arrivals;
        self.wide.push(entered);
        Some(blockers == 0)
    }

    /// The extents of a wide command.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn extents(&self, command: CommandIndex) -> &[Extent] {
        match self.wide.iter().find(|wide| wide.command == command) {
            Some(wide) => &wide.extents,
            None => unreachable!("command {command} is not wide"),
        }
    }

    /// The first wide command with just these extents for which `is_it` is true.
    pub fn find_wide(
        &self,
        lun: LunNumber,
        extents: &[Extent],
        is_it: impl Fn(CommandIndex) -> bool,
    ) -> Option<CommandIndex> {
        let is_same = |wide: &&Wide| wide.lun == lun && wide.extents == extents;
        let mut same = self.wide.iter().filter(is_same).map(|wide| wide.command);
        same.find(|command| is_it(*command))
    }

    /// How many wide commands a range has to wait for.
    pub(super) fn wide_before(&self, range: &Range) -> u16 {
        let conflicting = self.wide.iter().filter(|wide| wide.conflicts(range));
        u16::try_from(conflicting.count()).unwrap_or(u16::MAX)
    }

    /// A command with a range goes: wide ones that came after it need not wait for it any more.
    pub(super) fn unblock_wide(
        &mut self,
        gone: CommandIndex,
        range: &Range,
        ready: &mut dyn FnMut(CommandIndex),
    ) {
        let arrival = self.entries[usize::from(gone)].arrival;
        for wide in &self.wide {
            let entry = &mut self.entries[usize::from(wide.command)];
            if entry.arrival > arrival && wide.conflicts(range) {
                entry.blockers -= 1;
                if entry.blockers == 0 {
                    ready(wide.command);
                }
            }
        }
    }

    /// Takes out a finished wide command. False if it is none.
    pub(super) fn leave_wide(
        &mut self,
        command: CommandIndex,
        ready: &mut dyn FnMut(CommandIndex),
    ) -> bool {
        let found = self.wide.iter().position(|wide| wide.command == command);
        let Some(place) = found else { return false };
        let gone = self.wide.remove(place);
        let arrival = self.entries[usize::from(command)].arrival;
        for (index, entry) in (0..).zip(&mut self.entries) {
            let is_blocked = |range: &Range| entry.arrival > arrival && gone.conflicts(range);
            if entry.range.as_ref().is_some_and(is_blocked) {
                entry.blockers -= 1;
                if entry.blockers == 0 {
                    ready(index);
                }
            }
        }
        // They are in arrival order.
        for later in self.wide[place..]
            .iter()
            .filter(|w| w.conflicts_wide(&gone))
        {
            let entry = &mut self.entries[usize::from(later.command)];
            entry.blockers -= 1;
            if entry.blockers == 0 {
                ready(later.command);
            }
        }
        self.spare.push(gone);
        true
    }
}

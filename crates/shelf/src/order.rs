//! Arrival order of overlapping commands.
//!
//! Two commands of one LUN *conflict* when their ranges overlap and at least one of them writes.
//! Conflicting commands run one after the other, in the order in which they arrived, so that a late
//! retransmission never overtakes a newer write and mirrors never diverge (conformance row 106).
//!
//! How: the address space is cut into blocks of [`BLOCK_SECTORS`]; a command covers one or two
//! neighbouring blocks and stands in the list of each, in arrival order. It may run when no earlier
//! command in its lists conflicts with it; `blockers` counts those, once per shared list.
//! A few commands are *wide*: they write any number of ranges of any length ([`wide`]). They stand in no
//! list; everybody looks at each of them, and counts it once.
//!
//! Invariants:
//! * a command is in the lists of exactly its blocks from [`Order::enter`] to [`Order::leave`];
//! * an even and an odd block never share a list, so a command stands in a list at most once and
//!   the parity of the list says which of its two links leads on;
//! * `enter` counts, and `leave` takes back, the very same pairs, because a list keeps its order;
//! * no allocation after [`Order::new`].
//!
//! Budget (`corebench stages order`): 20 ns, 260 instructions.

mod wide;

pub use wide::{Extent, WIDE_MAX};

use crate::ids::LunNumber;
use wide::Wide;

/// Sectors of a block; no command is longer, so that it covers at most two.
pub const BLOCK_SECTORS: u64 = 32;

/// Index of a command in the tables of the target.
pub type CommandIndex = u16;

const NONE: CommandIndex = CommandIndex::MAX;

/// What the order needs to know of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Its LUN.
    pub lun: LunNumber,
    /// First sector.
    pub lba: u64,
    /// Sectors, 1 to [`BLOCK_SECTORS`].
    pub sectors: u64,
    /// Whether it writes.
    pub writes: bool,
}

impl Range {
    fn conflicts(&self, other: &Self) -> bool {
        self.lun == other.lun
            && (self.writes || other.writes)
            && self.lba < other.lba + other.sectors
            && other.lba < self.lba + self.sectors
    }

    fn blocks(&self) -> std::ops::RangeInclusive<u64> {
        self.lba / BLOCK_SECTORS..=(self.lba + self.sectors - 1) / BLOCK_SECTORS
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    range: Option<Range>,
    blockers: u16,
    /// Counts those that have entered.
    arrival: u64,
    /// The next command in the list of the even block and of the odd block.
    next: [CommandIndex; 2],
}

/// The lists.
#[derive(Debug)]
pub struct Order {
    entries: Box<[Entry]>,
    /// How many of them are commands; the others are loans.
    own: CommandIndex,
    heads: Box<[CommandIndex]>,
    /// In arrival order.
    wide: Vec<Wide>,
    /// Room for more of them.
    spare: Vec<Wide>,
    arrivals: u64,
}

impl Order {
    /// Room for `commands` commands, at most 65535.
    #[must_use]
    pub fn new(commands: u16) -> Self {
        Self::with_loans(commands, 0)
    }

    /// As [`Order::new`], and behind the commands as many places for the commands of each of `others`
    /// workers.
    ///
    /// # Panics
    /// When the places are more than 16 bits count: both numbers are bounded by the configuration.
    #[must_use]
    pub fn with_loans(commands: u16, others: u8) -> Self {
        let Some(places) = commands.checked_mul(1 + u16::from(others)) else {
            panic!("more places in the order than 16 bits count")
        };
        let wide = WIDE_MAX * (1 + usize::from(others));
        let empty = Entry {
            range: None,
            blockers: 0,
            arrival: 0,
            next: [NONE; 2],
        };
        let lists = usize::from(places).next_power_of_two().max(1) * 4;
        Self {
            entries: vec![empty; usize::from(places)].into(),
            own: commands,
            heads: vec![NONE; lists].into(),
            wide: Vec::with_capacity(wide),
            spare: (0..wide).map(|_| Wide::empty()).collect(),
            arrivals: 0,
        }
    }

    /// The list of a block: its pair hashed, its parity kept.
    fn list(&self, lun: LunNumber, block: u64) -> usize {
        let key = (block >> 1) ^ (u64::from(lun.get()) << 48);
        // Fibonacci hashing: neighbours spread over the lists. The shift leaves 32 bits.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        // A power of two.
        let pairs = self.heads.len() / 2;
        let parity = usize::from(block & 1 == 1);
        (usize::try_from(hash).unwrap_or(0) & (pairs - 1)) * 2 + parity
    }

    fn range(&self, command: CommandIndex) -> Range {
        match self.entries[usize::from(command)].range {
            Some(range) => range,
            None => unreachable!("command {command} is listed without a range"),
        }
    }

    /// Puts a command behind all earlier ones. Returns whether it may run at once.
    ///
    /// # Panics
    /// If the command is entered already, or its length is out of bounds: both would lose the order.
    pub fn enter(&mut self, command: CommandIndex, range: Range) -> bool {
        assert!(
            (1..=BLOCK_SECTORS).contains(&range.sectors),
            "length of {range:?}"
        );
        let slot = usize::from(command);
        assert!(
            self.entries[slot].range.is_none(),
            "command {command} entered twice"
        );
        let mut blockers = self.wide_before(&range);
        for block in range.blocks() {
            let list = self.list(range.lun, block);
            blockers += self.append(list, command, &range);
        }
        self.arrivals += 1;
        let entry = &mut self.entries[slot];
        entry.range = Some(range);
        entry.blockers = blockers;
        entry.arrival = self.arrivals;
        blockers == 0
    }

    /// Appends to a list, counting the conflicts on the way to its end.
    fn append(&mut self, list: usize, command: CommandIndex, range: &Range) -> u16 {
        let link = list & 1;
        let mut blockers = 0;
        let mut last = NONE;
        let mut cursor = self.heads[list];
        while cursor != NONE {
            blockers += u16::from(self.range(cursor).conflicts(range));
            last = cursor;
            cursor = self.entries[usize::from(cursor)].next[link];
        }
        self.entries[usize::from(command)].next[link] = NONE;
        self.set_next(list, last, command);
        blockers
    }

    fn set_next(&mut self, list: usize, previous: CommandIndex, next: CommandIndex) {
        if previous == NONE {
            self.heads[list] = next;
        } else {
            self.entries[usize::from(previous)].next[list & 1] = next;
        }
    }

    /// Of the commands before one that are of the very same range, and write if it does, the first for which
    /// `is_it` is true.
    ///
    /// # Panics
    /// If the command was not entered.
    pub fn find_same_before(
        &self,
        command: CommandIndex,
        is_it: &mut dyn FnMut(CommandIndex) -> bool,
    ) -> Option<CommandIndex> {
        let range = self.range(command);
        let list = self.list(range.lun, range.lba / BLOCK_SECTORS);
        let mut cursor = self.heads[list];
        while cursor != command {
            if self.range(cursor) == range && is_it(cursor) {
                return Some(cursor);
            }
            cursor = self.entries[usize::from(cursor)].next[list & 1];
        }
        None
    }

    /// Takes a finished command out and calls `ready` for each command that may run now.
    ///
    /// # Panics
    /// If the command was not entered.
    pub fn leave(&mut self, command: CommandIndex, ready: &mut dyn FnMut(CommandIndex)) {
        if self.leave_wide(command, ready) {
            return;
        }
        let range = self.range(command);
        self.unblock_wide(command, &range, ready);
        for block in range.blocks() {
            let list = self.list(range.lun, block);
            let after = self.unlink(list, command);
            self.unblock(list, after, &range, ready);
        }
        self.entries[usize::from(command)].range = None;
    }

    /// Takes a command out of a list and returns the one behind it.
    fn unlink(&mut self, list: usize, command: CommandIndex) -> CommandIndex {
        let link = list & 1;
        let mut previous = NONE;
        let mut cursor = self.heads[list];
        while cursor != command {
            previous = cursor;
            cursor = self.entries[usize::from(cursor)].next[link];
        }
        let after = self.entries[usize::from(command)].next[link];
        self.set_next(list, previous, after);
        after
    }

    fn unblock(
        &mut self,
        list: usize,
        first: CommandIndex,
        gone: &Range,
        ready: &mut dyn FnMut(CommandIndex),
    ) {
        let mut cursor = first;
        while cursor != NONE {
            let conflicts = self.range(cursor).conflicts(gone);
            let entry = &mut self.entries[usize::from(cursor)];
            if conflicts {
                entry.blockers -= 1;
                if entry.blockers == 0 {
                    ready(cursor);
                }
            }
            cursor = entry.next[list & 1];
        }
    }
}

#[cfg(test)]
mod tests;

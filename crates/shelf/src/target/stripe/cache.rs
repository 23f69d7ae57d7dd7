//! The slices that are in memory: found by their place, evicted when they were idle longest.
//!
//! Invariants:
//! * a slice has a place, or is in the list of empty ones, or its LUN was let go while its round ended; one
//!   with a place is in the list of idle ones exactly while its phase is [`Phase::Idle`];
//! * a page belongs to one column of one slice, or is free;
//! * there are as many slices as there can be pieces, so that one can always be had.

use super::{Column, Key, NONE, Phase, Slice, elements};

/// All slices and pages.
#[derive(Debug)]
pub(super) struct Cache {
    slices: Box<[Slice]>,
    /// First slice of each hash chain.
    chains: Box<[u16]>,
    /// Slices without a place.
    empty: Vec<u16>,
    /// Idle slices with a place, the one that was idle longest first.
    oldest: u16,
    newest: u16,
    free_pages: Vec<u16>,
}

impl Cache {
    pub(super) fn new(slices: u16, pages: u16) -> Self {
        let chains = usize::from(slices).next_power_of_two().max(2);
        Self {
            slices: vec![Slice::empty(); usize::from(slices)].into(),
            chains: vec![NONE; chains].into(),
            oldest: NONE,
            newest: NONE,
            empty: (0..slices).rev().collect(),
            free_pages: (0..pages).rev().collect(),
        }
    }

    /// Whether the lists are what the module says.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let (mut at, mut idle) = (self.oldest, 0);
        while at != NONE {
            let slice = self.get(at);
            assert_eq!(slice.phase, Phase::Idle);
            assert!(slice.key.is_some(), "an idle slice has a place");
            idle += 1;
            assert!(
                idle <= self.slices.len(),
                "the list of idle slices is a ring"
            );
            at = slice.idle_next;
        }
        let has_no_place = |index: &u16| self.get(*index).key.is_none();
        assert!(self.empty.iter().all(has_no_place));
    }

    pub(super) fn get(&self, index: u16) -> &Slice {
        &self.slices[usize::from(index)]
    }

    pub(super) fn get_mut(&mut self, index: u16) -> &mut Slice {
        &mut self.slices[usize::from(index)]
    }

    /// Every slice of a LUN, by index.
    pub(super) fn indices(&self) -> std::ops::Range<u16> {
        0..u16::try_from(self.slices.len()).unwrap_or(NONE)
    }

    fn chain(&self, key: Key) -> usize {
        let place = (u64::from(key.lun.get()) << 2 | u64::from(key.part)) << 48;
        // Fibonacci hashing; the shift leaves 32 bits.
        let hash = (key.number ^ place).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(hash).unwrap_or(0) & (self.chains.len() - 1)
    }

    /// The slice at this place. If it is not in memory, an empty one becomes it, or
    /// else the one that was idle longest.
    pub(super) fn find_or_take(&mut self, key: Key) -> u16 {
        let chain = self.chain(key);
        let mut index = self.chains[chain];
        while index != NONE {
            let slice = self.get(index);
            if slice.key == Some(key) {
                return index;
            }
            index = slice.chain_next;
        }
        if self.empty.is_empty() {
            assert_ne!(self.oldest, NONE, "there are as many slices as pieces");
            self.drop_idle(self.oldest);
        }
        let Some(index) = self.empty.pop() else {
            unreachable!("one was just emptied")
        };
        self.get_mut(index).key = Some(key);
        self.get_mut(index).chain_next = self.chains[chain];
        self.chains[chain] = index;
        self.link_idle(index);
        index
    }

    /// A slice has no place any more; nobody finds it.
    pub(super) fn displace(&mut self, index: u16) {
        let Some(key) = self.get_mut(index).key.take() else {
            return;
        };
        let chain = self.chain(key);
        let next = self.get(index).chain_next;
        if self.chains[chain] == index {
            self.chains[chain] = next;
            return;
        }
        let mut before = self.chains[chain];
        while self.get(before).chain_next != index {
            before = self.get(before).chain_next;
        }
        self.get_mut(before).chain_next = next;
    }

    /// Empties an idle slice.
    pub(super) fn drop_idle(&mut self, index: u16) {
        self.displace(index);
        self.unlink_idle(index);
        self.empty(index);
    }

    /// A slice without a place, which is not idle, may be had for another.
    pub(super) fn empty(&mut self, index: u16) {
        debug_assert_eq!(self.get(index).key, None);
        self.release_pages(index);
        let slice = self.get_mut(index);
        slice.phase = Phase::Idle;
        slice.sectors_used = 0;
        self.empty.push(index);
    }

    /// Gives back all pages of a slice; nothing of it is in memory then.
    pub(super) fn release_pages(&mut self, index: u16) {
        let slice = &mut self.slices[usize::from(index)];
        for element in elements(std::mem::take(&mut slice.paged)) {
            let column = std::mem::replace(&mut slice.columns[element], Column::EMPTY);
            self.free_pages.push(column.page);
        }
    }

    /// Gives pages to the elements of a mask that have none. When there are not enough, pages are
    /// taken from idle slices; if that does not do, nothing is given.
    pub(super) fn give_pages(&mut self, index: u16, wanted: u64) -> bool {
        let lacking = wanted & !self.get(index).paged;
        while self.free_pages.len() < lacking.count_ones() as usize {
            if self.oldest == NONE {
                return false;
            }
            self.drop_idle(self.oldest);
        }
        let slice = &mut self.slices[usize::from(index)];
        slice.paged |= lacking;
        for element in elements(lacking) {
            let Some(page) = self.free_pages.pop() else {
                unreachable!("they were counted")
            };
            slice.columns[element].page = page;
        }
        true
    }

    /// A slice is busy from now on.
    pub(super) fn leave_idle(&mut self, index: u16) {
        debug_assert_eq!(self.get(index).phase, Phase::Idle);
        self.unlink_idle(index);
    }

    fn unlink_idle(&mut self, index: u16) {
        let (before, next) = (self.get(index).idle_before, self.get(index).idle_next);
        if before == NONE {
            self.oldest = next;
        } else {
            self.get_mut(before).idle_next = next;
        }
        if next == NONE {
            self.newest = before;
        } else {
            self.get_mut(next).idle_before = before;
        }
    }

    /// A slice is idle from now on.
    pub(super) fn link_idle(&mut self, index: u16) {
        let newest = self.newest;
        let slice = self.get_mut(index);
        slice.phase = Phase::Idle;
        slice.idle_before = newest;
        slice.idle_next = NONE;
        if newest == NONE {
            self.oldest = index;
        } else {
            self.get_mut(newest).idle_next = index;
        }
        self.newest = index;
    }

    /// A slice is idle from now on, and the next to be evicted.
    pub(super) fn link_idle_first(&mut self, index: u16) {
        let oldest = self.oldest;
        let slice = self.get_mut(index);
        slice.phase = Phase::Idle;
        slice.idle_before = NONE;
        slice.idle_next = oldest;
        if oldest == NONE {
            self.newest = index;
        } else {
            self.get_mut(oldest).idle_before = index;
        }
        self.oldest = index;
    }
}

//! Waiting for the rest of a stripe: streams of writes fill whole stripes, which then read nothing.
//!
//! A write that goes on where another has ended belongs to a stream. Its slice is held until all of it
//! is there, for a millisecond at most, and not at all once nothing else of the LUN is under way: then
//! the initiator has used up its window and waits for us.

use super::{Key, Phase, Target, slice_sectors};
use raid::stripe::sector_mask;

/// How long a slice is held at most.
const HOLD_NS: u64 = 1_000_000;

/// How long a slice is held although its initiator seems to wait.
const STALL_NS: u64 = 20_000;

/// How far behind the end of a stream a write may begin and still belong to it: frames overtake each
/// other.
const REACH_SECTORS: u64 = 256;

/// The ends of the last streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    ends: [(u8, u64); 16],
    next: usize,
}

impl Streams {
    /// Whether a command goes on where another has ended.
    pub(super) fn goes_on(&mut self, lun: u8, lba: u64, sectors: u64) -> bool {
        let end = lba + sectors;
        for (of, at) in &mut self.ends {
            if *of == lun && lba + REACH_SECTORS >= *at && lba <= *at + REACH_SECTORS {
                let goes_on = *at != 0;
                *at = end.max(*at);
                return goes_on;
            }
        }
        self.ends[self.next] = (lun, end);
        self.next = (self.next + 1) % self.ends.len();
        false
    }
}

impl Target {
    /// Whether a read goes on where another has ended.
    pub(in crate::target) fn is_read_stream(
        &mut self,
        lun: crate::ids::LunNumber,
        lba: u64,
        sectors: u32,
    ) -> bool {
        let reads = &mut self.stripes.read_streams;
        reads.goes_on(lun.get(), lba, u64::from(sectors))
    }

    /// A write came to a slice that does nothing else: holds it, or queues it.
    pub(super) fn hold_or_queue(&mut self, index: u16, is_stream: bool) {
        let is_full = self.is_full(index);
        let now_ns = self.stripes.now_ns;
        let slice = self.stripes.cache.get_mut(index);
        match slice.phase {
            Phase::Idle | Phase::Held if is_full || !is_stream => {
                if slice.phase == Phase::Idle {
                    self.stripes.cache.leave_idle(index);
                }
                self.stripes.cache.get_mut(index).phase = Phase::Queued;
                self.stripes.make_due(index);
            }
            Phase::Idle => {
                self.stripes.cache.leave_idle(index);
                let slice = self.stripes.cache.get_mut(index);
                slice.phase = Phase::Held;
                slice.held_since_ns = now_ns;
                self.stripes.held.push(index);
            }
            // Unless the LUN goes offline, nothing is done until the view comes.
            Phase::AwaitingView => self.stripes.make_due(index),
            _ => {}
        }
    }

    /// Whether the pieces that wait for a slice overwrite all its data.
    fn is_full(&self, index: u16) -> bool {
        let slice = self.stripes.cache.get(index);
        let Some(Key { lun, part, .. }) = slice.key else {
            return false;
        };
        let Some(view) = self.luns[usize::from(lun.get())]
            .as_ref()
            .map(|lun| &lun.view)
        else {
            return false;
        };
        let Some(part) = view.parts.get(usize::from(part)) else {
            return false;
        };
        let sectors = slice_sectors(&part.geometry);
        let wanted = sector_mask(0, sectors).count_ones() * u32::from(part.geometry.columns());
        let waiting = self.stripes.pieces.list(slice.waiting_first);
        // They do not overlap: overlapping commands run one after the other.
        let covered: u32 = waiting.map(|(_, piece)| piece.mask.count_ones()).sum();
        covered >= wanted
    }

    /// Queues the slices that were held long enough.
    pub(super) fn release_held(&mut self, received: bool) {
        let now_ns = self.stripes.now_ns;
        let mut place = 0;
        while let Some(&index) = self.stripes.held.get(place) {
            let slice = self.stripes.cache.get(index);
            let held_ns = now_ns.saturating_sub(slice.held_since_ns);
            let is_held = slice.phase == Phase::Held;
            let is_over =
                held_ns >= HOLD_NS || (!received && held_ns >= STALL_NS && self.lun_waits(index));
            if is_held && is_over {
                self.stripes.cache.get_mut(index).phase = Phase::Queued;
                self.stripes.make_due(index);
            }
            if is_held && !is_over {
                place += 1;
            } else {
                self.stripes.held.swap_remove(place);
            }
        }
    }

    /// Whether nothing of the LUN of a slice is under way but what is held.
    fn lun_waits(&self, index: u16) -> bool {
        let Some(key) = self.stripes.cache.get(index).key else {
            return true;
        };
        let Some(lun) = &self.luns[usize::from(key.lun.get())] else {
            return true;
        };
        let cache = &self.stripes.cache;
        let held = self.stripes.held.iter().map(|held| cache.get(*held));
        let of_lun = held.filter(|slice| {
            slice.phase == Phase::Held && slice.key.is_some_and(|other| other.lun == key.lun)
        });
        let pieces: usize = of_lun
            .map(|slice| self.stripes.pieces.list(slice.waiting_first).count())
            .sum();
        pieces >= lun.commands as usize
    }
}

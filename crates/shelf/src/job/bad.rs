//! Bad sectors that a job has met.

use std::ops::Range;

/// Runs of bad sectors that are remembered. A drive with more is no drive.
pub const BAD_RANGES_MAX: usize = 4096;

/// Bad sectors: runs in order, apart, and of bounded number.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct BadSectors(Vec<Range<u64>>);

impl BadSectors {
    /// Adds a sector, if it is not known already. Whether there was room.
    pub fn add(&mut self, sector: u64) -> bool {
        let at = self.0.partition_point(|range| range.end < sector);
        let has_room = self.0.len() < BAD_RANGES_MAX;
        let joins_next = self
            .0
            .get(at + 1)
            .is_some_and(|next| next.start == sector + 1);
        match self.0.get_mut(at) {
            Some(range) if range.contains(&sector) => {}
            Some(range) if range.end == sector && joins_next => {
                self.0[at].end = self.0.remove(at + 1).end;
            }
            Some(range) if range.end == sector => range.end += 1,
            Some(range) if range.start == sector + 1 => range.start = sector,
            _ if has_room => self.0.insert(at, sector..sector + 1),
            _ => return false,
        }
        true
    }

    /// Takes sectors away. A run in the midst of which they are becomes two, also beyond [`BAD_RANGES_MAX`].
    pub(super) fn remove(&mut self, gone: Range<u64>) {
        if gone.is_empty() {
            return;
        }
        let first = self.0.partition_point(|range| range.end <= gone.start);
        let end = self.0.partition_point(|range| range.start < gone.end);
        let Some(touched) = self.0.get(first..end).filter(|runs| !runs.is_empty()) else {
            return;
        };
        let before = touched[0].start..gone.start;
        let after = gone.end..touched[touched.len() - 1].end;
        let left = [before, after].into_iter().filter(|run| !run.is_empty());
        self.0.splice(first..end, left);
    }

    /// How many there are.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// The runs, in order.
    #[must_use]
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn runs_are_in_order_apart_and_hold_what_was_added(sectors in prop::collection::vec(0..64_u64, 0..80)) {
            let mut bad = BadSectors::default();
            for sector in &sectors {
                prop_assert!(bad.add(*sector));
            }
            let all: BTreeSet<u64> = sectors.into_iter().collect();
            let held: Vec<u64> = bad.ranges().iter().cloned().flatten().collect();
            prop_assert_eq!(bad.sectors(), all.len() as u64);
            prop_assert_eq!(held, all.into_iter().collect::<Vec<_>>());
            prop_assert!(bad.ranges().windows(2).all(|two| two[0].end < two[1].start));
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_away_is_gone_and_nothing_else(
            sectors in prop::collection::vec(0..64_u64, 0..80),
            gone in prop::collection::vec((0..64_u64, 0..12_u64), 0..8),
        ) {
            let mut bad = BadSectors::default();
            let mut all: BTreeSet<u64> = sectors.iter().copied().collect();
            sectors.iter().for_each(|sector| assert!(bad.add(*sector)));
            for (start, length) in gone {
                bad.remove(start..start + length);
                all.retain(|sector| !(start..start + length).contains(sector));
                let held: Vec<u64> = bad.ranges().iter().cloned().flatten().collect();
                prop_assert_eq!(held, all.iter().copied().collect::<Vec<_>>());
                prop_assert!(bad.ranges().windows(2).all(|two| two[0].end < two[1].start));
            }
        }
    }

    #[test]
    fn there_is_room_for_so_many_runs() {
        let mut bad = BadSectors::default();
        assert!((0..BAD_RANGES_MAX as u64).all(|run| bad.add(run * 2)));
        assert!(!bad.add(BAD_RANGES_MAX as u64 * 2));
        assert!(bad.add(1), "a gap is closed");
    }
}

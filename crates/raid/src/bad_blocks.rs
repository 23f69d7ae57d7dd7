//! md's bad-block log: sectors of one member that hold old data or none, though the member is in use.
//!
//! ```text
//! up to 512 little-endian words:  sector << 10 | sectors (1 to 512)      all ones end the list
//! ```
//!
//! Invariants:
//! * sectors are counted from the start of the device, not of its data;
//! * ranges in memory are in order, apart, and not empty; on the disk a long one is several entries;
//! * the superblock's bad-block feature is set exactly while the list is not empty: without it md does
//!   not read the list.
//!
//! Source: md v1.2 bad-block log.

/// Bytes of the log: one 4 KiB block.
pub const LOG_BYTES: usize = 4096;

/// Most entries.
pub const ENTRIES_MAX: usize = LOG_BYTES / 8;

/// Most sectors of an entry.
const ENTRY_SECTORS_MAX: u64 = 512;

const LENGTH_BITS: u32 = 10;
const LENGTH_MASK: u64 = (1 << LENGTH_BITS) - 1;

/// Sectors that an entry can tell.
const SECTOR_LIMIT: u64 = 1 << (64 - LENGTH_BITS);

/// A run of sectors of a device. It is not empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BadRange {
    /// First sector.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
}

impl BadRange {
    /// The sector behind it.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.sector.saturating_add(self.sectors)
    }

    /// Whether it shares a sector with another.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.sector < other.end() && other.sector < self.end()
    }

    /// Entries that it takes.
    const fn entries(&self) -> u64 {
        self.sectors.div_ceil(ENTRY_SECTORS_MAX)
    }
}

/// Why a bad-block log or a change of it cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadBlockError {
    /// An entry that md would not take.
    #[error("damaged bad-block log: entry {entry} is {word:#018x}")]
    Damaged {
        /// Its number, from 0.
        entry: usize,
        /// As stored.
        word: u64,
    },
    /// No room for another range.
    #[error("the bad-block log is full: it has room for {ENTRIES_MAX} entries")]
    Full,
    /// A range that no entry can tell.
    #[error("{sectors} bad sectors at sector {sector} cannot be logged")]
    Range {
        /// First sector.
        sector: u64,
        /// How many.
        sectors: u64,
    },
}

/// The bad blocks of a member.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct BadBlocks {
    ranges: Vec<BadRange>,
}

impl BadBlocks {
    /// Reads a log whose sectors are of `512 << shift` bytes.
    ///
    /// # Errors
    /// When an entry is empty, or beyond what sectors can be, or the list is longer than one of ours can
    /// be: entries of another sector size may be long.
    pub fn decode(log: &[u8], shift: u8) -> Result<Self, BadBlockError> {
        let mut bad = Self::default();
        for (entry, word) in log.chunks_exact(8).take(ENTRIES_MAX).enumerate() {
            let word = u64::from_le_bytes([
                word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7],
            ]);
            if word == u64::MAX {
                break;
            }
            let scale = 1_u64.checked_shl(u32::from(shift));
            let scaled = |value: u64| scale.and_then(|scale| value.checked_mul(scale));
            let range = scaled(word >> LENGTH_BITS)
                .zip(scaled(word & LENGTH_MASK))
                .filter(|(sector, sectors)| {
                    *sectors > 0
                        && sector
                            .checked_add(*sectors)
                            .is_some_and(|end| end <= SECTOR_LIMIT)
                })
                .map(|(sector, sectors)| BadRange { sector, sectors })
                .ok_or(BadBlockError::Damaged { entry, word })?;
            bad.merge(range);
        }
        bad.keep_if_it_fits(Vec::new()).map(|()| bad)
    }

    /// The log to write.
    #[must_use]
    pub fn encode(&self) -> [u8; LOG_BYTES] {
        let mut log = [0xff; LOG_BYTES];
        let entries = self.ranges.iter().flat_map(|range| {
            (0..range.entries()).map(|entry| {
                let done = entry * ENTRY_SECTORS_MAX;
                let sectors = (range.sectors - done).min(ENTRY_SECTORS_MAX);
                (range.sector + done) << LENGTH_BITS | sectors
            })
        });
        for (place, word) in log.chunks_exact_mut(8).zip(entries) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        log
    }

    /// The ranges, in order and apart.
    #[must_use]
    pub fn ranges(&self) -> &[BadRange] {
        &self.ranges
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether some sector of a range is bad.
    #[must_use]
    pub fn overlaps(&self, range: &BadRange) -> bool {
        any_overlaps(&self.ranges, range)
    }

    /// Adds a range, joining it with those that it touches.
    ///
    /// # Errors
    /// When it is empty or too far out, or the log would not hold it; then nothing is changed.
    pub fn add(&mut self, range: BadRange) -> Result<(), BadBlockError> {
        let end = range.sector.checked_add(range.sectors);
        if range.sectors == 0 || end.is_none_or(|end| end > SECTOR_LIMIT) {
            let BadRange { sector, sectors } = range;
            return Err(BadBlockError::Range { sector, sectors });
        }
        let before = self.ranges.clone();
        self.merge(range);
        self.keep_if_it_fits(before)
    }

    /// Takes sectors out: they hold good data again. Returns whether any was bad.
    ///
    /// # Errors
    /// When that cuts a range in two, and the log would not hold both; then nothing is changed.
    pub fn remove(&mut self, range: &BadRange) -> Result<bool, BadBlockError> {
        if !self.overlaps(range) {
            return Ok(false);
        }
        let before = std::mem::take(&mut self.ranges);
        for own in &before {
            let head = own.sector..range.sector.min(own.end());
            let tail = range.end().max(own.sector)..own.end();
            for rest in [head, tail].into_iter().filter(|rest| !rest.is_empty()) {
                self.ranges.push(BadRange {
                    sector: rest.start,
                    sectors: rest.end - rest.start,
                });
            }
        }
        self.keep_if_it_fits(before).map(|()| true)
    }

    fn keep_if_it_fits(&mut self, before: Vec<BadRange>) -> Result<(), BadBlockError> {
        let entries: u64 = self.ranges.iter().map(BadRange::entries).sum();
        if entries > ENTRIES_MAX as u64 {
            self.ranges = before;
            return Err(BadBlockError::Full);
        }
        Ok(())
    }

    fn merge(&mut self, mut range: BadRange) {
        let touches = |own: &BadRange| own.sector <= range.end() && range.sector <= own.end();
        let first = self.ranges.partition_point(|own| own.end() < range.sector);
        let count = self.ranges[first..]
            .iter()
            .take_while(|own| touches(own))
            .count();
        let joined = &self.ranges[first..first + count];
        if let (Some(head), Some(tail)) = (joined.first(), joined.last()) {
            let end = tail.end().max(range.end());
            range.sector = range.sector.min(head.sector);
            range.sectors = end - range.sector;
        }
        self.ranges.splice(first..first + count, [range]);
    }
}

/// Whether some range of a list, which is in order and apart, shares a sector with another range.
#[must_use]
pub fn any_overlaps(ranges: &[BadRange], range: &BadRange) -> bool {
    let first = ranges.partition_point(|own| own.end() <= range.sector);
    ranges.get(first).is_some_and(|own| own.overlaps(range))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn range(sector: u64, sectors: u64) -> BadRange {
        BadRange { sector, sectors }
    }

    #[test]
    fn entries_are_those_of_md() {
        let mut bad = BadBlocks::default();
        bad.add(range(32_896, 8)).unwrap();
        let log = bad.encode();
        assert_eq!(log[..8], (32_896_u64 << 10 | 8).to_le_bytes());
        assert!(log[8..].iter().all(|&byte| byte == 0xff));
        bad.add(range(32_904, 512)).unwrap();
        let log = bad.encode();
        assert_eq!(log[..8], (32_896_u64 << 10 | 512).to_le_bytes());
        assert_eq!(log[8..16], ((32_896_u64 + 512) << 10 | 8).to_le_bytes());
        assert_eq!(BadBlocks::default().encode(), [0xff; LOG_BYTES]);
    }

    #[test]
    fn larger_sectors_are_counted_in_small_ones() {
        let log = (5_u64 << 10 | 2).to_le_bytes();
        let bad = BadBlocks::decode(&log, 3).unwrap();
        assert_eq!(bad.ranges(), [range(40, 16)]);
        assert!(BadBlocks::decode(&(1_u64 << 63 | 1).to_le_bytes(), 20).is_err());
        assert!(BadBlocks::decode(&log, 255).is_err());
    }

    #[test]
    fn an_empty_entry_is_damage() {
        let damaged = BadBlocks::decode(&[0; LOG_BYTES], 0);
        assert_eq!(damaged, Err(BadBlockError::Damaged { entry: 0, word: 0 }));
    }

    #[test]
    fn a_full_log_takes_nothing_that_needs_an_entry() {
        let mut bad = BadBlocks::default();
        for entry in 0..ENTRIES_MAX as u64 {
            bad.add(range(entry * 10, 5)).unwrap();
        }
        let full = bad.clone();
        assert_eq!(bad.add(range(1_000_000, 1)), Err(BadBlockError::Full));
        assert_eq!(bad.remove(&range(2, 1)), Err(BadBlockError::Full));
        assert_eq!(bad, full);
        assert_eq!(BadBlocks::decode(&bad.encode(), 0), Ok(full));
        bad.add(range(5, 5)).unwrap();
        assert_eq!(bad.remove(&range(2, 1)), Ok(true));
    }

    #[test]
    fn ranges_that_cannot_be_told_are_refused() {
        let mut bad = BadBlocks::default();
        for (sector, sectors) in [(5, 0), (u64::MAX, 1), (SECTOR_LIMIT, 1), (1, u64::MAX)] {
            assert!(bad.add(range(sector, sectors)).is_err());
        }
        bad.add(range(SECTOR_LIMIT - 1, 1)).unwrap();
        assert_eq!(BadBlocks::decode(&bad.encode(), 0), Ok(bad));
    }

    proptest! {
        #[test]
        fn a_list_is_a_set_of_sectors(
            steps in prop::collection::vec((any::<bool>(), 0_u64..2000, 1_u64..900), 1..60)
        ) {
            let mut bad = BadBlocks::default();
            let mut model = BTreeSet::new();
            for (add, sector, sectors) in steps {
                let change = range(sector, sectors);
                let was_bad = bad.overlaps(&change);
                prop_assert_eq!(was_bad, model.range(sector..change.end()).next().is_some());
                if add {
                    bad.add(change).unwrap();
                    model.extend(sector..change.end());
                } else {
                    prop_assert_eq!(bad.remove(&change), Ok(was_bad));
                    model.retain(|bad| !(sector..change.end()).contains(bad));
                }
                for pair in bad.ranges().windows(2) {
                    prop_assert!(pair[0].end() < pair[1].sector, "in order and apart");
                }
                let sectors: BTreeSet<u64> =
                    bad.ranges().iter().flat_map(|range| range.sector..range.end()).collect();
                prop_assert_eq!(&sectors, &model);
                prop_assert_eq!(BadBlocks::decode(&bad.encode(), 0), Ok(bad.clone()));
                prop_assert_eq!(bad.is_empty(), model.is_empty());
            }
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(
            log in prop::collection::vec(any::<u8>(), 0..LOG_BYTES),
            shift in any::<u8>(),
        ) {
            if let Ok(bad) = BadBlocks::decode(&log, shift % 8) {
                prop_assert!(bad.ranges().iter().all(|range| range.sectors > 0));
            }
            drop(BadBlocks::decode(&log, shift));
        }
    }
}

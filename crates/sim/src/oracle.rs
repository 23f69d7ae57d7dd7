//! What each sector may hold.
//!
//! A write is *open* from its first transmission until it is answered and no copy of its frames is
//! under way any more: all that time the target may do it (again). The answer to a write drops every
//! value whose write was closed before this one was sent; a read that returns a value drops the others in
//! the same way. What is dropped may never be seen again by a command that was sent later.
//!
//! What was never written has a value, too: whatever is read there first. A TRIM is a write whose sectors do
//! not tell which: zeroes may be those of any TRIM, and of what was never written.
//!
//! While mirrors are not known to agree and a disk goes, comes, or cannot read, a value that was only ever
//! read, and never acknowledged, may give way to the other one: that is more faults at once than
//! redundancy is for. Acknowledged values never may.

use crate::content::{self, Content, SECTOR};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Number of the value that was there before anybody wrote.
const INITIAL: u64 = 0;

/// The hash of a sector of zeroes.
static HASH_OF_ZEROES: LazyLock<u64> = LazyLock::new(|| content::hash(&[0; SECTOR]));

#[derive(Clone, Debug)]
struct Candidate {
    value: u64,
    is_zeroes: bool,
    /// When its write could not happen any more.
    closed_at: Option<u64>,
    dropped: Option<Dropped>,
}

#[derive(Clone, Copy, Debug)]
struct Dropped {
    at: u64,
    by_read: bool,
}

#[derive(Clone, Debug)]
struct Sector {
    candidates: Vec<Candidate>,
    initial_hash: Option<u64>,
    /// More copies than redundancy covers are lost: errors are right.
    is_excused: bool,
    /// When they were last, for commands that are older.
    excused_until: u64,
    /// A disk lost or misplaced a write without telling: anything is right.
    is_tainted: bool,
    /// It was being overwritten when the power went, and is served without a disk that had part of it: an
    /// error of a read is right until it is written.
    is_torn: bool,
    /// A sector of its slices is torn, and it was said that others of them cannot be written: such an error
    /// is right until it is written.
    is_beside_torn: bool,
}

impl Sector {
    fn new() -> Self {
        Self {
            candidates: vec![Candidate {
                value: INITIAL,
                is_zeroes: false,
                closed_at: Some(0),
                dropped: None,
            }],
            initial_hash: None,
            is_excused: false,
            excused_until: 0,
            is_tainted: false,
            is_torn: false,
            is_beside_torn: false,
        }
    }

    /// Whether zeroes may be those of a TRIM.
    fn are_zeroes_right(&self, sent_at: u64) -> bool {
        let mut trims = self.candidates.iter().filter(|c| c.is_zeroes);
        trims.any(|candidate| candidate.is_right(sent_at))
    }

    /// Zeroes were read: whose they are is not known.
    fn see_zeroes(&mut self, sent_at: u64, now: u64, is_final: bool) {
        let is_initial = self.initial_hash.is_none_or(|hash| hash == *HASH_OF_ZEROES);
        let is_zero = |c: &Candidate| c.is_zeroes || (c.value == INITIAL && is_initial);
        let is_current = |c: &Candidate| is_zero(c) && c.dropped.is_none();
        if is_final && self.candidates.iter().any(is_current) {
            self.drop_others(sent_at, now, is_zero);
        }
    }

    /// Something else was read: what was there before that is out.
    fn drop_others(&mut self, sent_at: u64, now: u64, is_it: impl Fn(&Candidate) -> bool) {
        for candidate in &mut self.candidates {
            let before = candidate.closed_at.is_some_and(|closed| closed < sent_at);
            if before && !is_it(candidate) {
                candidate.dropped.get_or_insert(Dropped {
                    at: now,
                    by_read: true,
                });
            }
        }
    }
}

impl Candidate {
    /// Whether a command that was sent then may see it.
    fn is_right(&self, sent_at: u64) -> bool {
        self.dropped.is_none_or(|dropped| dropped.at > sent_at)
    }
}

/// The sectors of ranges, some of them perhaps more than once.
fn all_of(ranges: &[(u64, u32)]) -> impl Iterator<Item = u64> + '_ {
    ranges
        .iter()
        .flat_map(|(lba, sectors)| *lba..lba + u64::from(*sectors))
}

#[derive(Clone, Debug)]
struct Write {
    /// First sector, sectors.
    ranges: Vec<(u64, u32)>,
    sent_at: u64,
    /// Copies of its frame under way to the target.
    copies: u32,
    /// Copies that are not.
    arrivals: u32,
    /// Nobody sends it any more.
    is_over: bool,
    /// It is over without having been answered: the target may still have it.
    is_abandoned: bool,
    is_closed: bool,
}

/// The oracle of a LUN. Times are those of the virtual clock.
#[derive(Clone, Default, Debug)]
pub struct Oracle {
    sectors: BTreeMap<u64, Sector>,
    writes: Vec<Write>,
    abandoned: Vec<u64>,
    /// Writes of which the target got more than one copy since it started: it may do them again after they
    /// were answered.
    repeated: Vec<u64>,
}

impl Oracle {
    /// A write is sent for the first time. Gives its value.
    pub fn begin_write(&mut self, lba: u64, sectors: u32, now: u64) -> u64 {
        self.begin(&[(lba, sectors)], false, now)
    }

    /// A TRIM is sent for the first time. Gives its value.
    pub fn begin_trim(&mut self, ranges: &[(u64, u32)], now: u64) -> u64 {
        self.begin(ranges, true, now)
    }

    fn begin(&mut self, ranges: &[(u64, u32)], is_zeroes: bool, now: u64) -> u64 {
        self.writes.push(Write {
            ranges: ranges.to_vec(),
            sent_at: now,
            copies: 0,
            arrivals: 0,
            is_over: false,
            is_abandoned: false,
            is_closed: false,
        });
        let value = self.writes.len() as u64;
        for lba in all_of(ranges) {
            self.sector(lba).candidates.push(Candidate {
                value,
                is_zeroes,
                closed_at: None,
                dropped: None,
            });
        }
        value
    }

    /// A copy of the frame of a write is under way.
    pub fn copy_sent(&mut self, value: u64) {
        self.write(value).copies += 1;
    }

    /// A copy has come to its end.
    pub fn copy_gone(&mut self, value: u64, now: u64) {
        let write = self.write(value);
        write.copies -= 1;
        write.arrivals += 1;
        if write.arrivals > 1 {
            self.repeated.push(value);
        }
        self.close_if_over(value, now);
    }

    /// A write was answered with success. `oldest_read` is when the oldest read that has no answer was
    /// sent.
    pub fn acknowledge(&mut self, value: u64, now: u64, oldest_read: u64) {
        let write = self.write(value);
        let (ranges, sent_at) = (write.ranges.clone(), write.sent_at);
        for lba in all_of(&ranges) {
            let sector = self.sector(lba);
            if sector.is_torn || sector.is_beside_torn {
                (sector.is_torn, sector.is_beside_torn) = (false, false);
                sector.excused_until = now;
            }
            for candidate in &mut sector.candidates {
                let before = candidate.closed_at.is_some_and(|closed| closed < sent_at);
                if candidate.value == value || !before {
                    continue;
                }
                let dropped = candidate.dropped.get_or_insert(Dropped {
                    at: now,
                    by_read: false,
                });
                dropped.by_read = false;
            }
            sector.candidates.retain(|candidate| {
                let is_past = |d: &Dropped| !d.by_read && d.at < oldest_read;
                !candidate.dropped.as_ref().is_some_and(is_past)
            });
        }
        self.write(value).is_over = true;
        self.close_if_over(value, now);
    }

    /// A write will never be answered, or was answered with an error.
    pub fn abandon(&mut self, value: u64) {
        let write = self.write(value);
        write.is_over = true;
        write.is_abandoned = true;
        self.abandoned.push(value);
    }

    /// The target has forgotten what it was doing.
    pub fn target_restarted(&mut self, now: u64) {
        self.repeated.clear();
        for value in std::mem::take(&mut self.abandoned) {
            if self.write(value).copies == 0 {
                self.write(value).is_abandoned = false;
                self.close_if_over(value, now);
            } else {
                self.abandoned.push(value);
            }
        }
    }

    /// Whether a write to any sector of a range is open.
    #[must_use]
    pub fn has_open_write(&self, lba: u64, sectors: u32) -> bool {
        let mut range = self.sectors.range(lba..lba + u64::from(sectors));
        range.any(|(_, s)| s.candidates.iter().any(|c| c.closed_at.is_none()))
    }

    /// A read that was sent at `sent_at` returned this for a sector. `is_final` says whether the other
    /// values are out from now on.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(
        &mut self,
        lba: u64,
        content: Content,
        sent_at: u64,
        now: u64,
        is_final: bool,
    ) -> Result<(), String> {
        let sector = self.sector(lba);
        if sector.is_tainted {
            return Ok(());
        }
        let value = match content {
            Content::Written(value) => value,
            Content::Initial(_) => INITIAL,
            Content::Wrong => {
                return Err(format!(
                    "LBA {lba}: a mixture, or the sector of another LBA"
                ));
            }
        };
        if content == Content::Initial(*HASH_OF_ZEROES) && sector.are_zeroes_right(sent_at) {
            sector.see_zeroes(sent_at, now, is_final);
            return Ok(());
        }
        let allowed = |c: &&Candidate| c.value == value && c.is_right(sent_at);
        let Some(found) = sector.candidates.iter().find(allowed) else {
            return Err(format!(
                "LBA {lba}: value {value} was read; right are {:?}",
                sector.candidates
            ));
        };
        let is_current = found.dropped.is_none();
        if let Content::Initial(hash) = content
            && is_final
        {
            let known = *sector.initial_hash.get_or_insert(hash);
            if known != hash {
                return Err(format!(
                    "LBA {lba} was never written, and does not read the same every time"
                ));
            }
        }
        if is_current && is_final {
            sector.drop_others(sent_at, now, |candidate| candidate.value == value);
        }
        Ok(())
    }

    /// A member went, came or cannot read while its mirrors were not known to agree. What was only read
    /// may change once; what was never written, too, unless it was made equal before.
    pub fn redundancy_changed(&mut self, initial_agrees: bool) {
        for sector in self.sectors.values_mut() {
            if !initial_agrees {
                sector.initial_hash = None;
            }
            for candidate in &mut sector.candidates {
                candidate.dropped.take_if(|dropped| dropped.by_read);
            }
        }
    }

    /// Errors at this sector are right from now on.
    pub fn excuse(&mut self, lba: u64) {
        self.sector(lba).is_excused = true;
    }

    /// The sectors that the target may be writing.
    #[must_use]
    pub fn open_lbas(&self) -> Vec<u64> {
        let is_open = |sector: &Sector| sector.candidates.iter().any(|c| c.closed_at.is_none());
        let open = self.sectors.iter().filter(|(_, sector)| is_open(sector));
        let repeated = self.repeated.iter().flat_map(|value| {
            let index = usize::try_from(value - 1).expect("values are counted in memory");
            let write = &self.writes[index];
            all_of(&write.ranges)
        });
        open.map(|(lba, _)| *lba).chain(repeated).collect()
    }

    /// A sector that was being overwritten is served without a disk that had part of it; `beside` are
    /// sectors that cannot be written until it is.
    pub fn tear(&mut self, lba: u64, beside: impl IntoIterator<Item = u64>) {
        self.sector(lba).is_torn = true;
        for lba in beside {
            self.sector(lba).is_beside_torn = true;
        }
    }

    /// Errors at this sector are wrong again: it was written since, and enough copies hold that.
    pub fn expect(&mut self, lba: u64, now: u64) {
        let sector = self.sector(lba);
        if std::mem::take(&mut sector.is_excused) {
            sector.excused_until = now;
        }
    }

    /// Anything at this sector is right from now on.
    pub fn taint(&mut self, lba: u64) {
        self.sector(lba).is_tainted = true;
    }

    /// Whether an error of a command is right.
    #[must_use]
    pub fn is_error_right(&self, (lba, sectors): (u64, u32), is_write: bool, sent_at: u64) -> bool {
        let mut range = self.sectors.range(lba..lba + u64::from(sectors));
        range.any(|(_, sector)| {
            let is_known =
                sector.is_excused || sector.is_tainted || sent_at <= sector.excused_until;
            is_known || sector.is_torn && !is_write || sector.is_beside_torn && is_write
        })
    }

    /// Whether nothing is known to be wrong silently.
    #[must_use]
    pub fn has_taint(&self) -> bool {
        self.sectors.values().any(|sector| sector.is_tainted)
    }

    /// The sectors that anybody wrote or read.
    pub fn touched(&self) -> impl Iterator<Item = u64> {
        self.sectors.keys().copied()
    }

    fn sector(&mut self, lba: u64) -> &mut Sector {
        self.sectors.entry(lba).or_insert_with(Sector::new)
    }

    fn write(&mut self, value: u64) -> &mut Write {
        let index = usize::try_from(value - 1).expect("values are counted in memory");
        &mut self.writes[index]
    }

    fn close_if_over(&mut self, value: u64, now: u64) {
        let write = self.write(value);
        if !write.is_over || write.is_abandoned || write.copies > 0 || write.is_closed {
            return;
        }
        write.is_closed = true;
        for lba in all_of(&write.ranges.clone()) {
            for candidate in &mut self.sector(lba).candidates {
                if candidate.value == value {
                    candidate.closed_at = Some(now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(oracle: &mut Oracle, now: u64) -> u64 {
        let value = oracle.begin_write(8, 1, now);
        oracle.copy_sent(value);
        oracle.copy_gone(value, now + 1);
        value
    }

    fn read(oracle: &mut Oracle, value: u64, now: u64) -> bool {
        let content = Content::Written(value);
        oracle.check(8, content, now, now + 1, true).is_ok()
    }

    #[test]
    fn an_acknowledged_write_is_the_only_value() {
        let mut oracle = Oracle::default();
        let first = write(&mut oracle, 10);
        oracle.acknowledge(first, 12, u64::MAX);
        let second = write(&mut oracle, 20);
        assert!(
            oracle
                .clone()
                .check(8, Content::Initial(1), 25, 26, true)
                .is_err()
        );
        assert!(read(&mut oracle.clone(), first, 25));
        assert!(read(&mut oracle.clone(), second, 25));
        oracle.acknowledge(second, 30, u64::MAX);
        assert!(!read(&mut oracle.clone(), first, 31));
        assert!(read(&mut oracle, second, 31));
    }

    #[test]
    fn a_copy_that_is_under_way_may_be_done_once_more() {
        let mut oracle = Oracle::default();
        let first = write(&mut oracle, 10);
        oracle.copy_sent(first);
        oracle.acknowledge(first, 12, u64::MAX);
        let second = write(&mut oracle, 20);
        oracle.acknowledge(second, 22, u64::MAX);
        assert!(read(&mut oracle.clone(), first, 30));
        oracle.copy_gone(first, 31);
        let third = write(&mut oracle, 40);
        oracle.acknowledge(third, 42, u64::MAX);
        assert!(!read(&mut oracle, first, 50));
    }

    #[test]
    fn what_was_read_stays_until_redundancy_is_gone() {
        let mut oracle = Oracle::default();
        let first = write(&mut oracle, 10);
        oracle.acknowledge(first, 12, u64::MAX);
        let second = write(&mut oracle, 20);
        oracle.abandon(second);
        oracle.target_restarted(30);
        assert!(read(&mut oracle, second, 40));
        assert!(!read(&mut oracle.clone(), first, 50));
        oracle.redundancy_changed(true);
        assert!(read(&mut oracle.clone(), first, 60));
        assert!(read(&mut oracle, second, 60));
    }

    #[test]
    fn errors_of_what_was_written_since_are_wrong_again() {
        let mut oracle = Oracle::default();
        assert!(!oracle.is_error_right((8, 1), false, 5));
        oracle.excuse(8);
        assert!(
            oracle.is_error_right((7, 2), false, 5) && !oracle.is_error_right((9, 2), false, 5)
        );
        oracle.expect(8, 20);
        assert!(oracle.is_error_right((8, 1), false, 20), "it was under way");
        assert!(!oracle.is_error_right((8, 1), false, 21));
    }

    #[test]
    fn what_nobody_wrote_reads_the_same() {
        let mut oracle = Oracle::default();
        assert!(oracle.check(3, Content::Initial(7), 1, 2, true).is_ok());
        assert!(oracle.check(3, Content::Initial(8), 3, 4, true).is_err());
        assert!(oracle.check(3, Content::Written(8), 3, 4, true).is_err());
    }
}

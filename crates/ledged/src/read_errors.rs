//! Reads that fail, told so that a drive with a million bad sectors does not fill the log: the first few one
//! by one, then their number now and then.

use shelf::admin::DriveSlot;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Failures of a drive that are told one by one.
const TOLD_MAX: u32 = 5;

/// How often the others are told, as a number; and how long a drive must read well to be told of anew.
const INTERVAL: Duration = Duration::from_secs(60);

/// What is known of a drive whose reads fail.
#[derive(Clone, Copy, Debug)]
struct Tally {
    /// Told one by one since it read well.
    told: u32,
    /// Not told yet.
    untold: u64,
    /// When the last number was told, or the first failure.
    since: Instant,
}

/// Counts the reads that fail, drive by drive.
#[derive(Default, Debug)]
pub(crate) struct ReadErrors(BTreeMap<DriveSlot, Tally>);

impl ReadErrors {
    /// A read failed: whether it is to be told by itself.
    pub(crate) fn note(&mut self, drive: DriveSlot, now: Instant) -> bool {
        let tally = self.0.entry(drive).or_insert(Tally {
            told: 0,
            untold: 0,
            since: now,
        });
        if tally.told < TOLD_MAX {
            tally.told += 1;
            return true;
        }
        tally.untold += 1;
        false
    }

    /// Numbers that are to be told now. To be called now and then.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(DriveSlot, u64)> {
        let is_due = |tally: &Tally| now.saturating_duration_since(tally.since) >= INTERVAL;
        let mut due = Vec::new();
        self.0.retain(|drive, tally| {
            if !is_due(tally) {
                return true;
            }
            if tally.untold == 0 {
                return false;
            }
            due.push((*drive, std::mem::take(&mut tally.untold)));
            tally.since = now;
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failures_are_told_and_then_their_number() {
        let (mut errors, start) = (ReadErrors::default(), Instant::now());
        let (bad, other) = (DriveSlot(3), DriveSlot(4));
        let told = (0..1000).filter(|_| errors.note(bad, start)).count();
        assert_eq!(told, 5);
        assert!(errors.note(other, start), "each drive for itself");
        assert_eq!(errors.due(start + Duration::from_secs(59)), []);
        let minute = start + Duration::from_secs(60);
        assert_eq!(errors.due(minute), [(bad, 995)]);
        assert!(!errors.note(bad, minute));
        assert!(errors.note(other, minute), "it read well for a minute");
        assert_eq!(errors.due(minute + INTERVAL), [(bad, 1)]);
        assert_eq!(errors.due(minute + 2 * INTERVAL), []);
        assert!(errors.note(bad, minute + 2 * INTERVAL));
    }
}

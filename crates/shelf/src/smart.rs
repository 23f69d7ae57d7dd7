//! What a drive tells of its own health, and what the shelf makes of it.
//!
//! Plain data: whoever asks drives (through smartmontools) fills it in and hands it to
//! [`crate::manager::Manager::drive_told`], or says why a drive did not tell:
//! [`crate::manager::Manager::drive_not_told`].
//!
//! Invariants:
//! * what a drive did not tell is `None`, never a guess;
//! * a drive that is only warm does not [predict its failure](Smart::predicts_failure): it would be replaced
//!   by one that gets as warm;
//! * nothing is done for what a drive has said once: it [is failing](crate::admin::DriveStatus::is_failing)
//!   when it has said so [`WARNINGS_LIMIT`] times, one after the other.

/// Life that is used up, in percent, from which a drive is to be replaced when there is an occasion.
pub const WEAR_LIMIT_PERCENT: u8 = 90;

/// Answers in a row by which a drive predicts its failure, for which it is replaced: a single one may be a
/// bit that was misread.
pub const WARNINGS_LIMIT: u8 = 2;

/// Questions in a row that a drive did not answer, from which that is a problem: drives are busy at times.
pub const MISSES_LIMIT: u32 = 3;

/// A drive did not tell of its health when it was asked last. What it told before still holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SmartMiss {
    /// How many times in a row.
    pub times: u32,
    /// Why, the last time.
    pub reason: String,
}

/// What a drive told when it was asked last.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Smart {
    /// Whether it can tell anything.
    pub is_supported: Option<bool>,
    /// Whether it keeps count.
    pub is_enabled: Option<bool>,
    /// Its own verdict: `false` when a threshold is exceeded.
    pub has_passed: Option<bool>,
    /// The verdict is about wear or failures, and not about its temperature alone.
    pub predicts_failure: bool,
    /// Temperature.
    pub celsius: Option<i16>,
    /// The temperature that it should not reach.
    pub celsius_limit: Option<i16>,
    /// Time that it was on.
    pub power_on_hours: Option<u64>,
    /// Life that is left, of drives that wear.
    pub life_left_percent: Option<u8>,
    /// Sectors that it has replaced by others; grown defects of SAS drives.
    pub reallocated_sectors: Option<u64>,
    /// Sectors that it could not read, and waits to be written.
    pub pending_sectors: Option<u64>,
    /// Sectors that it could not read when it looked by itself.
    pub uncorrectable_sectors: Option<u64>,
    /// Reads and writes that failed for good.
    pub media_errors: Option<u64>,
    /// Entries that its error log has had.
    pub error_count: Option<u64>,
    /// The last of them, newest first.
    pub errors: Vec<String>,
    /// Its self-tests.
    pub self_test: SelfTest,
    /// How long it tries to read and to write, if that can be limited.
    pub recovery: Option<RecoveryTimers>,
    /// It is NVMe: it keeps count always.
    pub is_nvme: bool,
    /// The exit status of `smartctl`, bit by bit as its manual has it.
    pub exit_status: u8,
}

/// How far a drive's self-tests are.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SelfTest {
    /// What is left of the one that runs.
    pub remaining_percent: Option<u8>,
    /// The last one, or the one that runs: which it was, and how it ended.
    pub kind: Option<String>,
    /// How it ended, in the words of smartmontools.
    pub result: Option<String>,
    /// Whether it found nothing.
    pub has_passed: Option<bool>,
    /// The power-on time when it ended.
    pub at_hours: Option<u64>,
}

/// How long a drive tries before it gives up, in milliseconds; 0 for as long as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecoveryTimers {
    /// To read.
    pub read_ms: u32,
    /// To write.
    pub write_ms: u32,
}

/// What is to be changed about a drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SmartChange {
    /// Whether it keeps count.
    Enable(bool),
    /// How long it tries to read and to write.
    Timers(RecoveryTimers),
    /// It is to test itself.
    SelfTest(SelfTestKind),
    /// It is not to test itself any more.
    AbortSelfTest,
}

/// How thorough a self-test is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SelfTestKind {
    /// Minutes.
    Short,
    /// Hours: it reads everything.
    Long,
}

impl Smart {
    /// The word for it that monitoring plug-ins know.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match (self.is_enabled, self.has_passed) {
            (Some(false), _) => "disabled",
            (_, Some(true)) => "normal",
            (_, Some(false)) => "threshold exceeded",
            (_, None) => "unknown",
        }
    }

    /// Whether so little life is left that the drive is to be replaced.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        let used = self.life_left_percent.map(|left| 100 - left.min(100));
        used.is_some_and(|used| used > WEAR_LIMIT_PERCENT)
    }

    /// Whether it is warmer than it should be.
    #[must_use]
    pub fn is_hot(&self) -> bool {
        let both = self.celsius.zip(self.celsius_limit);
        both.is_some_and(|(now, limit)| now >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_tools_know() {
        let word = |is_enabled, has_passed| {
            let smart = Smart {
                is_enabled,
                has_passed,
                ..Smart::default()
            };
            smart.word()
        };
        assert_eq!(word(None, None), "unknown");
        assert_eq!(word(Some(true), None), "unknown");
        assert_eq!(word(Some(false), Some(true)), "disabled");
        assert_eq!(word(Some(true), Some(true)), "normal");
        assert_eq!(word(None, Some(false)), "threshold exceeded");
    }

    #[test]
    fn worn_is_more_than_the_limit_and_hot_is_at_the_limit() {
        let left = |life_left_percent| Smart {
            life_left_percent,
            ..Smart::default()
        };
        assert!(!left(None).is_worn() && !left(Some(10)).is_worn());
        assert!(left(Some(9)).is_worn() && left(Some(0)).is_worn() && !left(Some(255)).is_worn());
        let warm = |celsius, celsius_limit| Smart {
            celsius,
            celsius_limit,
            ..Smart::default()
        };
        assert!(!warm(Some(99), None).is_hot() && !warm(None, Some(60)).is_hot());
        assert!(!warm(Some(59), Some(60)).is_hot() && warm(Some(60), Some(60)).is_hot());
    }
}

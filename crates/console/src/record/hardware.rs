//! Records of what drives tell of their health.

use serde::Serialize;
use shelf::smart::{Smart, SmartMiss};

/// What a drive tells. `null` for what it does not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct SmartRecord {
    drive: String,
    /// `normal`, `threshold exceeded`, `disabled` or `unknown`.
    smart: &'static str,
    /// It says that it will fail.
    predicts_failure: bool,
    enabled: Option<bool>,
    celsius: Option<i16>,
    celsius_limit: Option<i16>,
    power_on_hours: Option<u64>,
    life_left_percent: Option<u8>,
    reallocated_sectors: Option<u64>,
    pending_sectors: Option<u64>,
    uncorrectable_sectors: Option<u64>,
    media_errors: Option<u64>,
    error_count: Option<u64>,
    errors: Vec<String>,
    self_test_remaining_percent: Option<u8>,
    self_test: Option<String>,
    self_test_result: Option<String>,
    self_test_passed: Option<bool>,
    self_test_at_hours: Option<u64>,
    /// As the manual of `smartctl` has it.
    exit_status: u8,
    /// How many times in a row it did not answer since it told that.
    misses: u32,
    /// Why, the last time.
    miss_reason: Option<String>,
}

impl SmartRecord {
    pub(crate) fn new(drive: &str, smart: &Smart, miss: Option<&SmartMiss>) -> Self {
        let test = &smart.self_test;
        Self {
            drive: drive.to_owned(),
            smart: smart.word(),
            predicts_failure: smart.predicts_failure,
            enabled: smart.is_enabled,
            celsius: smart.celsius,
            celsius_limit: smart.celsius_limit,
            power_on_hours: smart.power_on_hours,
            life_left_percent: smart.life_left_percent,
            reallocated_sectors: smart.reallocated_sectors,
            pending_sectors: smart.pending_sectors,
            uncorrectable_sectors: smart.uncorrectable_sectors,
            media_errors: smart.media_errors,
            error_count: smart.error_count,
            errors: smart.errors.clone(),
            self_test_remaining_percent: test.remaining_percent,
            self_test: test.kind.clone(),
            self_test_result: test.result.clone(),
            self_test_passed: test.has_passed,
            self_test_at_hours: test.at_hours,
            exit_status: smart.exit_status,
            misses: miss.map_or(0, |miss| miss.times),
            miss_reason: miss.map(|miss| miss.reason.clone()),
        }
    }
}

//! The records of jobs on drives.

use crate::commands::{job_seconds_left, job_state, percent, rate_of};
use crate::names::drive_name;
use aoe::Shelf;
use serde::Serialize;
use shelf::admin::JobStatus;
use shelf::job::{BadSectors, JobEnd, JobKind};
use std::ops::Range;

const SECTOR_BYTES: u64 = 512;

/// A job on a drive: the one that runs, or the last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct JobRecord {
    drive: String,
    slot: u16,
    /// `erase`, `read test`, `write test`, `condition` or `extract`.
    job: &'static str,
    /// The drive that an extract copies.
    source: Option<String>,
    /// The element whose place the copy is to take.
    element: Option<String>,
    /// `running`, `stopping`, `complete`, `stopped` or `failed`.
    state: &'static str,
    /// Why it failed.
    reason: Option<String>,
    done_bytes: u64,
    /// Of all passes: a write test writes everything and reads it.
    total_bytes: u64,
    /// With two decimals, cut: 100 only when all is done.
    percent: String,
    bytes_per_s: u64,
    /// `null` while the rate is not known, and when it is over.
    seconds_left: Option<u64>,
    begun_unix_seconds: u64,
    bad_sectors: u64,
    /// All of them, in runs.
    bad: Vec<RunRecord>,
    rewritten_sectors: u64,
    /// What could not be read, was written with zeroes by a condition, and can be read now.
    rewritten: Vec<RunRecord>,
    /// The slowest MiB.
    slowest: Vec<SlowRecord>,
    /// Where an extract is to begin that goes on with this one.
    resume_sector: Option<u64>,
    /// How an erase makes zeroes: `deallocated`, `zeroed by the kernel` or `written with zeroes`.
    way: Option<String>,
    /// For how long the drive has not answered.
    silent_seconds: u64,
}

/// Sectors in a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct RunRecord {
    sector: u64,
    sectors: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct SlowRecord {
    sector: u64,
    ms: u64,
}

fn runs(sectors: &BadSectors) -> Vec<RunRecord> {
    let runs = sectors.ranges().iter();
    let record = |run: &Range<u64>| RunRecord {
        sector: run.start,
        sectors: run.end - run.start,
    };
    runs.map(record).collect()
}

impl JobRecord {
    pub(crate) fn new(shelf: Option<Shelf>, job: &JobStatus) -> Self {
        let progress = &job.report.progress;
        let slow = progress.slowest.iter();
        Self {
            drive: drive_name(shelf, job.drive),
            slot: job.drive.0,
            job: job.kind.name(),
            source: (job.kind.source()).map(|source| drive_name(shelf, source)),
            element: match job.kind {
                JobKind::Extract(extract) => extract.element.map(|id| id.to_string()),
                _ => None,
            },
            state: job_state(job),
            reason: match &progress.end {
                Some(JobEnd::Failed(reason)) => Some(reason.clone()),
                _ => None,
            },
            done_bytes: progress.done_sectors * SECTOR_BYTES,
            total_bytes: progress.total_sectors * SECTOR_BYTES,
            percent: percent(progress.done_sectors, progress.total_sectors),
            bytes_per_s: rate_of(progress.done_sectors, job.report.elapsed),
            seconds_left: job_seconds_left(job).filter(|_| job.is_running()),
            begun_unix_seconds: job.begun_unix_seconds,
            bad_sectors: progress.bad.sectors(),
            bad: runs(&progress.bad),
            rewritten_sectors: progress.rewritten.sectors(),
            rewritten: runs(&progress.rewritten),
            slowest: slow
                .map(|place| SlowRecord {
                    sector: place.sector,
                    ms: u64::try_from(place.took.as_millis()).unwrap_or(u64::MAX),
                })
                .collect(),
            resume_sector: progress.resume_sector,
            way: job.report.way.clone(),
            silent_seconds: job.report.silent.as_secs(),
        }
    }
}

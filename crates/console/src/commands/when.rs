//! `when`: how far the long jobs are. Of each LUN one runs at a time; the others wait for it. Each drive has
//! its own; self-tests of drives are among them.

use super::hardware::running_self_tests;
use super::jobs::{kind_name, state_of};
use crate::names::drive_name;
use crate::record::{JobRecord, Record};
use crate::report::Report;
use aoe::Shelf;
use shelf::admin::{Admin, DriveSlot, ElementState, ElementStatus, JobStatus, LunNumber};
use shelf::plane::{RunningPass, SyncKind};
use std::time::Duration;

const SECTOR_BYTES: u64 = 512;

/// Lists the jobs that are running, in the form of SRX 6: `L.P percent rate KBps H:MM:SS left`, with
/// `L.P.D` for each element that is rebuilt, and `S.N` for a drive that is erased or tested.
pub(super) fn when(report: &mut Report, admin: &dyn Admin) {
    of(report, admin, |_| true);
    of_drives(report, admin, |_| true);
    running_self_tests(report, admin);
}

/// The jobs that run on some drives.
pub(super) fn of_drives(
    report: &mut Report,
    admin: &dyn Admin,
    wanted: impl Fn(DriveSlot) -> bool,
) {
    let shelf = admin.shelf();
    let jobs = admin.jobs();
    for job in jobs
        .iter()
        .filter(|job| job.is_running() && wanted(job.drive))
    {
        report.row(
            job_line(shelf, job),
            Record::Job(JobRecord::new(shelf, job)),
        );
    }
}

/// From when on it is told that a drive does not answer.
const SILENCE: Duration = Duration::from_secs(5);

fn job_line(shelf: Option<Shelf>, job: &JobStatus) -> String {
    let place = &job.report.progress;
    let bytes_per_s = rate_of(place.done_sectors, job.report.elapsed);
    let left = job_seconds_left(job).map_or_else(|| "?:??:??".to_owned(), clock);
    let mut line = format!(
        "{} {}% {}.{:02} KBps {left} left {}",
        drive_name(shelf, job.drive),
        percent(place.done_sectors, place.total_sectors),
        bytes_per_s / 1000,
        bytes_per_s % 1000 / 10,
        kind_name(shelf, job.kind),
    );
    if job.is_stopping {
        line.push_str(&format!(" {}", state_of(job)));
    }
    if job.report.silent >= SILENCE {
        let seconds = job.report.silent.as_secs();
        line.push_str(&format!(", no answer for {seconds} s"));
    }
    line
}

/// How long a job takes yet, at its rate.
pub(crate) fn job_seconds_left(job: &JobStatus) -> Option<u64> {
    let place = &job.report.progress;
    let left = (place.total_sectors - place.done_sectors) * SECTOR_BYTES;
    left.checked_div(rate_of(place.done_sectors, job.report.elapsed))
}

/// Bytes a second.
pub(crate) fn rate_of(sectors: u64, elapsed: Duration) -> u64 {
    let bytes = u128::from(sectors) * u128::from(SECTOR_BYTES);
    let per_second = (bytes * 1000).checked_div(elapsed.as_millis());
    u64::try_from(per_second.unwrap_or(0)).unwrap_or(u64::MAX)
}

/// The same, of some LUNs.
pub(super) fn of(report: &mut Report, admin: &dyn Admin, wanted: impl Fn(LunNumber) -> bool) {
    let luns = admin.luns();
    let passes = admin.passes().into_iter();
    for pass in passes.filter(|pass| wanted(pass.progress.lun)) {
        let place = pass.progress;
        let lun = luns.iter().find(|lun| lun.lun == place.lun);
        let part = lun.and_then(|lun| lun.parts.get(usize::from(place.part)));
        let elements = part
            .map(|part| part.elements.as_slice())
            .unwrap_or_default();
        let rebuilt: Vec<&ElementStatus> = elements
            .iter()
            .filter(|element| element.state == ElementState::Replaced)
            .filter(|_| place.kind == SyncKind::Resync)
            .collect();
        for element in &rebuilt {
            row(report, &pass, Some(element));
        }
        if rebuilt.is_empty() {
            row(report, &pass, None);
        }
    }
}

fn row(report: &mut Report, pass: &RunningPass, element: Option<&ElementStatus>) {
    let place = pass.progress;
    let bytes_per_s = rate(pass);
    let percent = percent(place.done_sectors, place.total_sectors);
    let member = element.map(|element| element.id.member);
    let name = member
        .map(|member| format!(".{member}"))
        .unwrap_or_default();
    let (job, suffix) = match (place.kind, element) {
        (SyncKind::Check, _) => ("scrub", " scrub"),
        (SyncKind::Resync, Some(element)) if element.is_replacement => ("replace", ""),
        (SyncKind::Resync, Some(_)) => ("rebuild", ""),
        (SyncKind::Resync, None) => ("resync", ""),
    };
    let line = format!(
        "{}.{}{name} {percent}% {}.{:02} KBps {} left{suffix}",
        place.lun,
        place.part,
        bytes_per_s / 1000,
        bytes_per_s % 1000 / 10,
        remaining(pass),
    );
    let record = Record::Pass {
        lun: place.lun.get(),
        part: place.part,
        member,
        job,
        done_bytes: place.done_sectors * SECTOR_BYTES,
        total_bytes: place.total_sectors * SECTOR_BYTES,
        percent,
        bytes_per_s,
        seconds_left: seconds_left(pass),
    };
    report.row(line, record);
}

/// The time left at the present rate, as `H:MM:SS`.
pub(super) fn remaining(pass: &RunningPass) -> String {
    seconds_left(pass).map_or_else(|| "?:??:??".to_owned(), clock)
}

fn seconds_left(pass: &RunningPass) -> Option<u64> {
    let left_sectors = pass.progress.total_sectors - pass.progress.done_sectors;
    (left_sectors * SECTOR_BYTES).checked_div(rate(pass))
}

/// Bytes a second since the job began.
fn rate(pass: &RunningPass) -> u64 {
    let sectors = pass.progress.done_sectors - pass.progress.begun_sectors;
    rate_of(sectors, pass.elapsed)
}

/// Percent with two decimals, cut: 100 only when all is done.
pub(crate) fn percent(done: u64, total: u64) -> String {
    let hundredths = (u128::from(done) * 10_000)
        .checked_div(u128::from(total))
        .unwrap_or(0);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn clock(seconds: u64) -> String {
    format!(
        "{}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

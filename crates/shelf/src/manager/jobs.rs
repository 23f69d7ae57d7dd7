//! Jobs on drives: who may have one, and what becomes of the drive.
//!
//! A job that destroys takes the drive from everybody: nothing else is made of it until the job is over. It
//! begins with one write, of a mark where a member has its superblock: before that write the drive is what
//! it was; after it it is nobody's member, and whoever looks at it, also after a restart, is told that the
//! job has not ended. Only a job that went well over everything takes the mark away, as its last write, so
//! that no drive that is half erased is taken for an empty one. One that was stopped, or interrupted, is
//! begun anew; what was found bad stays marked.
//!
//! A read test takes nothing: drives in use have one beside their clients, at a pace that leaves these most
//! of the drive's time.
//!
//! A condition writes zeroes where a drive cannot be read. Who reads there next is not told that something is
//! lost: so the drive must carry nothing that anybody would take for whole. A member would give zeroes in the
//! place of what its RAID can make good, and a file system likewise. It destroys nothing that can be read,
//! needs no mark, and may be interrupted at any write.
//!
//! A copy takes two drives ([`super::extract`]): the one that it is on, which is destroyed as by an erase,
//! and the one that it copies, of which it only reads.
//!
//! Invariants:
//! * a drive with a role has no job that writes, and no drive has two jobs;
//! * a drive that carries anything is not conditioned;
//! * a drive is free for others only when its job has ended, also when it was stopped and does not answer:
//!   what is under way might land later.

use super::Manager;
use super::drives::{Entry, Usage};
use super::members::up;
use crate::admin::{AdminError, DriveSlot, JobStatus};
use crate::job::{Job, JobEnd, JobHandle, JobKind, JobReport, Pace, mark_range};
use raid::drive_record::{Mark, RECORD_BYTES, Work};
use raid::md::raw::BLOCK_BYTES;
use std::time::Duration;

/// How long an orderly stop of the shelf waits for each job to end its step. They end side by side, so that
/// only drives that hang take so long.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// A job, or what is left of the last one that a drive had.
pub(super) struct DriveJob {
    drive: DriveSlot,
    number: u64,
    kind: JobKind,
    /// What the drive was used for that it copies.
    source_was: Option<Usage>,
    begun_unix_seconds: u64,
    is_stopping: bool,
    /// Its drive, or the one that it copies, is not there any more.
    pulled: Option<DriveSlot>,
    state: JobState,
}

enum JobState {
    Running(Box<dyn JobHandle>),
    Over(JobReport),
}

impl DriveJob {
    fn is_running(&self) -> bool {
        matches!(self.state, JobState::Running(_))
    }

    fn report(&self) -> JobReport {
        match &self.state {
            JobState::Running(handle) => handle.report(),
            JobState::Over(report) => report.clone(),
        }
    }

    fn stop(&mut self) {
        if let JobState::Running(handle) = &mut self.state {
            handle.stop();
            self.is_stopping = true;
        }
    }

    /// As it is now, for a rehearsal: what is done to that has no effect on the job.
    pub(super) fn told(&self) -> Self {
        Self {
            drive: self.drive,
            number: self.number,
            kind: self.kind,
            source_was: self.source_was.clone(),
            begun_unix_seconds: self.begun_unix_seconds,
            is_stopping: self.is_stopping,
            pulled: self.pulled,
            state: match &self.state {
                JobState::Running(handle) => JobState::Running(Box::new(Told(handle.report()))),
                JobState::Over(report) => JobState::Over(report.clone()),
            },
        }
    }
}

/// A job in a rehearsal: what is known of it, and nothing that could be done to it.
#[derive(Default)]
pub(super) struct Told(JobReport);

impl JobHandle for Told {
    fn report(&self) -> JobReport {
        self.0.clone()
    }

    fn set_pace(&mut self, _: Pace) {}

    fn stop(&mut self) {}

    fn join(&mut self, _: Duration) -> bool {
        true
    }
}

/// Whether zeroes in the place of what cannot be read on a drive would be taken for nobody's data.
fn may_be_conditioned(entry: &Entry, first_sector: u64) -> Result<(), String> {
    let end = entry.whole_sectors();
    match &entry.usage {
        Usage::Element(id) => Err(format!(
            "it is {id}; scrub start {} writes anew what cannot be read, with what the others hold",
            id.lun
        )),
        Usage::Free if first_sector >= end => Err(format!("it ends before sector {end}")),
        usage => match usage.foreign() {
            Some(what) => Err(format!(
                "it carries {what}, and zeroes in the place of what cannot be read would be taken for that; \
                 erase writes all of the drive"
            )),
            None => Ok(()),
        },
    }
}

/// What a job that did not end has left, in words.
pub(super) const fn left_by(work: Work) -> &'static str {
    match work {
        Work::Erase => "what an erase that did not end has left",
        Work::WriteTest => "what a write test that did not end has left",
        Work::Extract => "what an extract that did not end has left",
    }
}

impl Manager {
    pub(super) fn list_jobs(&self) -> Vec<JobStatus> {
        let status = |job: &DriveJob| JobStatus {
            number: job.number,
            drive: job.drive,
            kind: job.kind,
            begun_unix_seconds: job.begun_unix_seconds,
            is_stopping: job.is_stopping && job.is_running(),
            report: job.report(),
        };
        self.jobs.iter().map(status).collect()
    }

    /// Whether a drive may have a job; gives the sectors that it would be over, and what it would be.
    pub(super) fn fit_job(
        &mut self,
        slot: DriveSlot,
        kind: JobKind,
    ) -> Result<(u64, JobKind), AdminError> {
        if self.is_stopping {
            return Err(AdminError::Stopping);
        }
        let drive = self.drive_name(slot);
        let Some(entry) = self.drives.get(slot) else {
            return Err(AdminError::NoSuchDrive(drive));
        };
        up(entry, &drive)?;
        self.expect_no_job(slot)?;
        if let Ok(device) = &entry.drive.drive
            && device.keeps_nothing()
        {
            let reason = "a null drive keeps nothing".to_owned();
            return Err(AdminError::JobRefused {
                drive,
                kind,
                reason,
            });
        }
        if let JobKind::Condition { first_sector } = kind {
            may_be_conditioned(entry, first_sector).map_err(|reason| AdminError::JobRefused {
                drive: drive.clone(),
                kind,
                reason,
            })?;
        }
        if kind.takes_drive() {
            let role = match &entry.usage {
                Usage::Element(id) => Some(id.to_string()),
                Usage::Spare => Some("spare".to_owned()),
                _ => None,
            };
            if let Some(role) = role {
                return Err(AdminError::DriveHasRole { drive, role });
            }
            self.expect_quiet(slot)?;
        }
        match kind {
            JobKind::Extract(extract) => {
                let (sectors, extract) = self.fit_extract(slot, extract)?;
                Ok((sectors, JobKind::Extract(extract)))
            }
            _ => Ok((entry.whole_sectors(), kind)),
        }
    }

    /// Refuses a drive that has a job, or is copied.
    pub(super) fn expect_no_job(&self, slot: DriveSlot) -> Result<(), AdminError> {
        let mut running = self.jobs.iter().filter(|job| job.is_running());
        let Some(job) = running.find(|job| job.kind.concerns(job.drive, slot)) else {
            return Ok(());
        };
        let (drive, kind) = (self.drive_name(slot), job.kind);
        Err(AdminError::DriveBusy { drive, kind })
    }

    pub(super) fn begin_drive_job(
        &mut self,
        slot: DriveSlot,
        kind: JobKind,
    ) -> Result<(), AdminError> {
        self.settle_jobs();
        let (sectors, kind) = self.fit_job(slot, kind)?;
        let drive = self.drive_name(slot);
        let refused = |reason| AdminError::JobRefused {
            drive: drive.clone(),
            kind,
            reason,
        };
        let begun_unix_seconds = (self.now_unix_seconds)();
        if let Some(work) = kind.work() {
            let source = match kind {
                JobKind::Extract(extract) => self.known_by(extract, sectors),
                _ => 0,
            };
            let mark = Mark {
                work,
                begun_unix_seconds,
                source,
            };
            self.mark_drive(slot, sectors, mark).map_err(&refused)?;
        }
        let pace = self.pace_of(slot);
        let job = Job::new(kind, sectors, self.drives.unit(slot));
        let handle = self.drives.begin(slot, job, pace).map_err(&refused)?;
        if kind.takes_drive()
            && let Some(entry) = self.drives.get_mut(slot)
        {
            entry.usage = Usage::Working(kind);
            if kind.work().is_some() {
                // They go with everything else.
                entry.clip = None;
                entry.is_ejected = false;
            }
        }
        self.hold_still(kind);
        let source = kind.foreign_source();
        let source = source.and_then(|source| self.drives.get_mut(source));
        let source_was =
            source.map(|entry| std::mem::replace(&mut entry.usage, Usage::Working(kind)));
        self.jobs.retain(|job| job.drive != slot);
        self.last_job += 1;
        self.jobs.push(DriveJob {
            drive: slot,
            number: self.last_job,
            kind,
            source_was,
            begun_unix_seconds,
            is_stopping: false,
            pulled: None,
            state: JobState::Running(handle),
        });
        self.jobs.sort_by_key(|job| job.drive);
        let what = self.called(slot, kind);
        self.notices.push(format!("beginning {what}"));
        self.settle_jobs();
        Ok(())
    }

    /// A job, as in `erase of drive 1.3`.
    fn called(&self, slot: DriveSlot, kind: JobKind) -> String {
        let drive = self.drive_name(slot);
        match kind.source() {
            Some(source) => format!("{kind} of drive {} onto {drive}", self.drive_name(source)),
            None => format!("{kind} of drive {drive}"),
        }
    }

    /// Makes a drive nobody's, durably.
    fn mark_drive(&mut self, slot: DriveSlot, sectors: u64, mark: Mark) -> Result<(), String> {
        let place = mark_range(sectors);
        if place.is_empty() {
            return Ok(());
        }
        let mut block = [0; BLOCK_BYTES];
        block[..RECORD_BYTES].copy_from_slice(&mark.encode());
        let written = self.drives.write(slot, place.start, &block);
        // What it was before it is no more, or is not known.
        self.spares_elsewhere.retain(|spare| spare.drive != slot);
        self.drives.set_unfinished(slot, mark.work);
        written
    }

    /// Ends a job of one of these kinds.
    pub(super) fn stop_drive_job(
        &mut self,
        slot: DriveSlot,
        kinds: &[JobKind],
    ) -> Result<(), AdminError> {
        self.settle_jobs();
        let drive = self.drive_name(slot);
        if self.drives.get(slot).is_none() {
            return Err(AdminError::NoSuchDrive(drive));
        }
        let is_meant = |job: &&mut DriveJob| {
            let is_one = kinds.iter().any(|kind| kind.is_like(job.kind));
            job.drive == slot && job.is_running() && is_one
        };
        let job = self.jobs.iter_mut().find(is_meant);
        job.ok_or(AdminError::NoJob(drive))?.stop();
        Ok(())
    }

    /// The drive of a slot is gone: its job ends, also if the drive has not answered yet; and so does one
    /// that copies it.
    pub(super) fn job_drive_pulled(&mut self, slot: DriveSlot) {
        let concerned =
            |job: &&mut DriveJob| job.is_running() && job.kind.concerns(job.drive, slot);
        for job in self.jobs.iter_mut().filter(concerned) {
            job.stop();
            job.pulled = Some(slot);
        }
    }

    /// Another drive is in a slot: what the last job of the one before has found means nothing any more.
    pub(super) fn forget_job(&mut self, slot: DriveSlot) {
        self.jobs
            .retain(|job| job.drive != slot || job.is_running());
    }

    fn pace_of(&self, slot: DriveSlot) -> Pace {
        let usage = self.drives.get(slot).map(|entry| &entry.usage);
        Pace {
            bytes_per_second: self.rate_limit.bytes_per_second,
            is_gentle: matches!(usage, Some(Usage::Element(_))),
        }
    }

    /// Deals with jobs that have ended, and tells the others how fast they may go.
    pub(super) fn settle_jobs(&mut self) {
        for index in 0..self.jobs.len() {
            let (slot, kind) = (self.jobs[index].drive, self.jobs[index].kind);
            let pace = self.pace_of(slot);
            let pulled = self.jobs[index].pulled;
            let JobState::Running(handle) = &mut self.jobs[index].state else {
                continue;
            };
            let mut report = handle.report();
            if let Some(pulled) = pulled.filter(|_| report.progress.end.is_some()) {
                let which = if pulled == slot {
                    "the drive"
                } else {
                    "the old drive"
                };
                report.progress.end = Some(JobEnd::Failed(format!("{which} was pulled")));
            }
            let Some(end) = report.progress.end.clone() else {
                handle.set_pace(pace);
                continue;
            };
            let copied = report.clone();
            let bad = report.progress.bad.sectors();
            let rewritten = report.progress.rewritten.sectors();
            self.jobs[index].state = JobState::Over(report);
            if rewritten > 0 {
                let drive = self.drive_name(slot);
                let text = format!("{rewritten} sectors of drive {drive} were written anew");
                self.notices.push(text);
            }
            let source_was = self.jobs[index].source_was.take();
            self.job_ended(slot, kind, &end, bad);
            if let JobKind::Extract(extract) = kind {
                self.extract_ended((slot, extract), source_was, &copied);
            }
        }
    }

    fn job_ended(&mut self, slot: DriveSlot, kind: JobKind, end: &JobEnd, bad: u64) {
        let is_there = self.drives.get(slot).is_some_and(|entry| !entry.is_empty());
        if is_there && let JobKind::Condition { .. } = kind {
            self.drives.release(slot);
        }
        if let Some(work) = kind.work().filter(|_| is_there) {
            // A copy is none without its end, and one with it, also of a drive with bad sectors.
            let is_whole = bad == 0 || kind.source().is_some();
            if *end == JobEnd::Complete && is_whole {
                self.drives.erased(slot);
            } else {
                self.drives.set_unfinished(slot, work);
            }
        }
        let what = self.called(slot, kind);
        self.notices.push(match end {
            JobEnd::Complete if bad == 0 => format!("{what} is complete"),
            JobEnd::Complete => format!("WARNING: {what} is complete: {bad} bad sectors"),
            JobEnd::Stopped => format!("{what} was stopped"),
            JobEnd::Failed(reason) => format!("WARNING: {what} failed: {reason}"),
        });
    }

    /// Asks all jobs to end.
    pub(super) fn stop_jobs(&mut self) {
        self.jobs.iter_mut().for_each(DriveJob::stop);
    }

    /// Waits for the end of jobs that were asked to.
    pub(super) fn await_jobs(&mut self) {
        for job in &mut self.jobs {
            if let JobState::Running(handle) = &mut job.state
                && !handle.join(STOP_LIMIT)
            {
                let slot = job.drive;
                self.notices.push(format!(
                    "the drive in slot {slot} did not end its {} in time",
                    job.kind
                ));
            }
        }
        self.settle_jobs();
    }
}

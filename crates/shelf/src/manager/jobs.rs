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
    begun_unix_seconds: u64,
    is_stopping: bool,
    /// Its drive is not there any more.
    is_pulled: bool,
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
            begun_unix_seconds: self.begun_unix_seconds,
            is_stopping: self.is_stopping,
            is_pulled: self.is_pulled,
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

    /// Whether a drive may have a job; gives the sectors of all of it.
    pub(super) fn fit_job(&self, slot: DriveSlot, kind: JobKind) -> Result<u64, AdminError> {
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
        Ok(entry.whole_sectors())
    }

    /// Refuses a drive that has a job.
    pub(super) fn expect_no_job(&self, slot: DriveSlot) -> Result<(), AdminError> {
        let mut running = self.jobs.iter().filter(|job| job.is_running());
        let Some(job) = running.find(|job| job.drive == slot) else {
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
        let sectors = self.fit_job(slot, kind)?;
        let drive = self.drive_name(slot);
        let refused = |reason| AdminError::JobRefused {
            drive: drive.clone(),
            kind,
            reason,
        };
        let begun_unix_seconds = (self.now_unix_seconds)();
        if let Some(work) = kind.work() {
            self.mark_drive(slot, sectors, work, begun_unix_seconds)
                .map_err(&refused)?;
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
        self.jobs.retain(|job| job.drive != slot);
        self.last_job += 1;
        self.jobs.push(DriveJob {
            drive: slot,
            number: self.last_job,
            kind,
            begun_unix_seconds,
            is_stopping: false,
            is_pulled: false,
            state: JobState::Running(handle),
        });
        self.jobs.sort_by_key(|job| job.drive);
        self.notices
            .push(format!("beginning {kind} of drive {drive}"));
        self.settle_jobs();
        Ok(())
    }

    /// Makes a drive nobody's, durably.
    fn mark_drive(
        &mut self,
        slot: DriveSlot,
        sectors: u64,
        work: Work,
        begun_unix_seconds: u64,
    ) -> Result<(), String> {
        let place = mark_range(sectors);
        if place.is_empty() {
            return Ok(());
        }
        let mark = Mark {
            work,
            begun_unix_seconds,
        };
        let mut block = [0; BLOCK_BYTES];
        block[..RECORD_BYTES].copy_from_slice(&mark.encode());
        let written = self.drives.write(slot, place.start, &block);
        // What it was before it is no more, or is not known.
        self.spares_elsewhere.retain(|spare| spare.drive != slot);
        self.drives.set_unfinished(slot, work);
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

    /// The drive of a slot is gone: its job ends, also if the drive has not answered yet.
    pub(super) fn job_drive_pulled(&mut self, slot: DriveSlot) {
        let mut jobs = self.jobs.iter_mut();
        let is_own = |job: &&mut DriveJob| job.drive == slot && job.is_running();
        if let Some(job) = jobs.find(is_own) {
            job.stop();
            job.is_pulled = true;
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
            let is_pulled = self.jobs[index].is_pulled;
            let JobState::Running(handle) = &mut self.jobs[index].state else {
                continue;
            };
            let mut report = handle.report();
            if is_pulled && report.progress.end.is_some() {
                report.progress.end = Some(JobEnd::Failed("the drive was pulled".to_owned()));
            }
            let Some(end) = report.progress.end.clone() else {
                handle.set_pace(pace);
                continue;
            };
            let bad = report.progress.bad.sectors();
            let rewritten = report.progress.rewritten.sectors();
            self.jobs[index].state = JobState::Over(report);
            if rewritten > 0 {
                let drive = self.drive_name(slot);
                let text = format!("{rewritten} sectors of drive {drive} were written anew");
                self.notices.push(text);
            }
            self.job_ended(slot, kind, &end, bad);
        }
    }

    fn job_ended(&mut self, slot: DriveSlot, kind: JobKind, end: &JobEnd, bad: u64) {
        let drive = self.drive_name(slot);
        let is_there = self.drives.get(slot).is_some_and(|entry| !entry.is_empty());
        if is_there && let JobKind::Condition { .. } = kind {
            self.drives.release(slot);
        }
        if let Some(work) = kind.work().filter(|_| is_there) {
            if *end == JobEnd::Complete && bad == 0 {
                self.drives.erased(slot);
            } else {
                self.drives.set_unfinished(slot, work);
            }
        }
        self.notices.push(match end {
            JobEnd::Complete if bad == 0 => format!("{kind} of drive {drive} is complete"),
            JobEnd::Complete => {
                format!("WARNING: {kind} of drive {drive} is complete: {bad} bad sectors")
            }
            JobEnd::Stopped => format!("{kind} of drive {drive} was stopped"),
            JobEnd::Failed(reason) => format!("WARNING: {kind} of drive {drive} failed: {reason}"),
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

//! `wait`: until nothing is resynchronised, rebuilt or scrubbed in LUNs, and no job runs on drives.

use super::{Outcome, Watch};
use crate::command::Options;
use crate::host::World;
use crate::names::{drive_name, parse_drive, parse_lun};
use crate::problem::Problem;
use crate::report::Report;
use aoe::Shelf;
use shelf::admin::{Admin, AdminError, DriveSlot, LunNumber};
use shelf::plane::SyncKind;
use std::time::Duration;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(1);

/// How often it is told how far it is.
const TELL_PERIOD: Duration = Duration::from_secs(10);

/// Longest time that can be waited: a year.
const SECONDS_MAX: u64 = 366 * 24 * 3600;

/// A wait that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Waiting {
    luns: Vec<LunNumber>,
    drives: Vec<DriveSlot>,
    /// When it is given up.
    until: Option<Duration>,
    /// When it is told again how far it is.
    tell_at: Duration,
}

/// Waits for the LUNs and drives that are named.
pub(super) fn wait(world: &mut World<'_>, options: &Options, words: &[String]) -> Outcome {
    let limit = options.value.as_deref().map(|word| {
        let seconds = crate::names::decimal(word).filter(|seconds| *seconds <= SECONDS_MAX);
        seconds.ok_or_else(|| Problem::InvalidWait(word.to_owned()))
    });
    match (limit.transpose(), read(words, world.admin.shelf())) {
        (Err(problem), _) | (_, Err(problem)) => Report::from(problem).into(),
        (Ok(limit), Ok((luns, drives))) => {
            let until = limit.map(|seconds| world.host.now() + Duration::from_secs(seconds));
            let tell_at = world.host.now();
            Waiting {
                luns,
                drives,
                until,
                tell_at,
            }
            .go_on(world)
        }
    }
}

/// The LUNs and the drives that are named.
fn read(
    words: &[String],
    shelf: Option<Shelf>,
) -> Result<(Vec<LunNumber>, Vec<DriveSlot>), Problem> {
    let (mut luns, mut drives) = (Vec::new(), Vec::new());
    for word in words {
        if word.contains('.') {
            drives.push(parse_drive(word, shelf)?);
        } else {
            luns.push(parse_lun(word)?);
        }
    }
    Ok((luns, drives))
}

impl Waiting {
    /// What is waited for and busy, in words.
    fn busy(&self, admin: &dyn Admin) -> Option<String> {
        let known = admin.luns();
        let is_busy = |lun: &&LunNumber| {
            let status = known.iter().find(|status| status.lun == **lun);
            let is_due = status.is_some_and(|status| {
                let mut parts = status.parts.iter();
                parts.any(|part| part.state.initing || part.state.recovering)
            });
            let mut passes = admin.passes().into_iter().map(|pass| pass.progress);
            is_due || passes.any(|of| of.lun == **lun && of.kind == SyncKind::Check)
        };
        let jobs = admin.jobs();
        let works = |drive: &&DriveSlot| {
            let mut jobs = jobs.iter();
            jobs.any(|job| job.drive == **drive && job.is_running())
        };
        let lun = self.luns.iter().find(is_busy);
        let lun = lun.map(|lun| format!("LUN {lun}"));
        let drive = || self.drives.iter().find(works);
        lun.or_else(|| Some(drive_name(admin.shelf(), *drive()?)))
    }

    /// Looks again.
    pub(super) fn go_on(mut self, world: &mut World<'_>) -> Outcome {
        let known = world.admin.luns();
        for lun in &self.luns {
            if !known.iter().any(|status| status.lun == *lun) {
                return Report::from(Problem::from(AdminError::NoSuchLun(*lun))).into();
            }
        }
        let slots = world.admin.drives();
        for drive in &self.drives {
            if !slots.iter().any(|status| status.slot == *drive) {
                let name = drive_name(world.admin.shelf(), *drive);
                return Report::from(Problem::from(AdminError::NoSuchDrive(name))).into();
            }
        }
        let Some(busy) = self.busy(world.admin) else {
            return Outcome::default();
        };
        if self.until.is_some_and(|until| world.host.now() >= until) {
            return Report::from(Problem::StillBusy(busy)).into();
        }
        let mut report = Report::default();
        let now = world.host.now();
        if now >= self.tell_at {
            super::when::of(&mut report, world.admin, |lun| self.luns.contains(&lun));
            super::when::of_drives(&mut report, world.admin, |drive| {
                self.drives.contains(&drive)
            });
            self.tell_at = now + TELL_PERIOD;
        }
        Outcome {
            report,
            pending: None,
            watch: Some((PERIOD, Watch::Wait(self))),
        }
    }
}

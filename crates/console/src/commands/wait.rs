//! `wait`: until nothing is resynchronised, rebuilt or scrubbed in LUNs.

use super::{Outcome, Watch};
use crate::command::Options;
use crate::host::World;
use crate::names::parse_lun;
use crate::problem::Problem;
use crate::report::Report;
use shelf::admin::{AdminError, LunNumber};
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
    /// When it is given up.
    until: Option<Duration>,
    /// When it is told again how far it is.
    tell_at: Duration,
}

/// Waits for the LUNs that are named.
pub(super) fn wait(world: &mut World<'_>, options: &Options, words: &[String]) -> Outcome {
    let limit = options.value.as_deref().map(|word| {
        let seconds = crate::names::decimal(word).filter(|seconds| *seconds <= SECONDS_MAX);
        seconds.ok_or_else(|| Problem::InvalidWait(word.to_owned()))
    });
    let luns: Result<Vec<LunNumber>, Problem> = words.iter().map(|word| parse_lun(word)).collect();
    match (limit.transpose(), luns) {
        (Err(problem), _) | (_, Err(problem)) => Report::from(problem).into(),
        (Ok(limit), Ok(luns)) => {
            let until = limit.map(|seconds| world.host.now() + Duration::from_secs(seconds));
            let tell_at = world.host.now();
            Waiting {
                luns,
                until,
                tell_at,
            }
            .go_on(world)
        }
    }
}

impl Waiting {
    /// Looks again.
    pub(super) fn go_on(mut self, world: &mut World<'_>) -> Outcome {
        let known = world.admin.luns();
        for lun in &self.luns {
            if !known.iter().any(|status| status.lun == *lun) {
                return Report::from(Problem::from(AdminError::NoSuchLun(*lun))).into();
            }
        }
        let busy = |lun: &&LunNumber| {
            let status = known.iter().find(|status| status.lun == **lun);
            let is_due = status.is_some_and(|status| {
                let mut parts = status.parts.iter();
                parts.any(|part| part.state.initing || part.state.recovering)
            });
            let mut passes = world.admin.passes().into_iter().map(|pass| pass.progress);
            is_due || passes.any(|of| of.lun == **lun && of.kind == SyncKind::Check)
        };
        let Some(lun) = self.luns.iter().find(busy) else {
            return Outcome::default();
        };
        if self.until.is_some_and(|until| world.host.now() >= until) {
            return Report::from(Problem::StillBusy(*lun)).into();
        }
        let mut report = Report::default();
        let now = world.host.now();
        if now >= self.tell_at {
            super::when::of(&mut report, world.admin, |lun| self.luns.contains(&lun));
            self.tell_at = now + TELL_PERIOD;
        }
        Outcome {
            report,
            pending: None,
            watch: Some((PERIOD, Watch::Wait(self))),
        }
    }
}

//! `update`: the versions of the image, and a new one.
//!
//! The update itself is done by a program of the image; here it is begun, and waited for. It goes on when
//! nobody waits for it any more; only whoever waits for its end reboots.

use super::machine::{REBOOT_STEP, stop};
use super::{Outcome, Watch};
use crate::command::Options;
use crate::host::{Deed, ImageVersions, Power, UpdateId, UpdateState, World};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use std::time::Duration;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(1);

const USAGE: &str = "update [-n] [-r] [file]";

/// An update that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Updating {
    id: UpdateId,
    is_plan: bool,
    reboots: bool,
}

/// Tells the versions, or begins an update.
pub(super) fn update(world: &mut World<'_>, options: &Options, words: &[String]) -> Outcome {
    let (is_plan, reboots) = (options.plan, options.reboot);
    let Some(file) = words.first() else {
        if is_plan || reboots {
            return Report::from(Problem::Usage(USAGE)).into();
        }
        return list(world);
    };
    // What could not be carried out to its end is not begun.
    let reboot = match reboots {
        true => world.host.check(&Deed::Power(Power::Reboot)),
        false => Ok(()),
    };
    match reboot.and_then(|()| world.host.begin_update(file, is_plan)) {
        Ok(id) => Updating {
            id,
            is_plan,
            reboots,
        }
        .go_on(world),
        Err(error) => Report::from(Problem::from(error)).into(),
    }
}

fn list(world: &World<'_>) -> Outcome {
    let versions = match world.host.image() {
        Ok(versions) => versions,
        Err(error) => return Report::from(Problem::from(error)).into(),
    };
    let mut lines = vec![
        format!("version {} runs", versions.running),
        format!("version {} runs after reboot", versions.next),
    ];
    for version in &versions.failed {
        lines.push(format!("version {version} did not come up"));
    }
    let mut report = Report::default();
    report.rows(lines, record(versions));
    report.into()
}

fn record(versions: ImageVersions) -> Record {
    let ImageVersions {
        running,
        next,
        failed,
    } = versions;
    Record::Update {
        running,
        next,
        failed,
    }
}

impl Updating {
    /// Looks again.
    pub(crate) fn go_on(self, world: &mut World<'_>) -> Outcome {
        let mut report = Report::default();
        match world.host.update_state(self.id) {
            UpdateState::Running => {
                return Outcome {
                    report,
                    pending: None,
                    watch: Some((PERIOD, Watch::Update(self))),
                };
            }
            UpdateState::Failed(error) => report.fail(error, &[]),
            UpdateState::Done(said) if self.is_plan => {
                report.would(said.strip_prefix("would ").unwrap_or(&said));
                if self.reboots {
                    report.would(REBOOT_STEP);
                }
            }
            UpdateState::Done(said) => return self.end(world, said),
        }
        report.into()
    }

    /// Tells that it is written, and reboots if that was asked for.
    fn end(self, world: &mut World<'_>, said: String) -> Outcome {
        let mut report = Report::default();
        match world.host.image() {
            Ok(versions) => report.rows(vec![said], record(versions)),
            Err(error) => {
                report.line(said);
                report.fail(error, &[]);
            }
        }
        if self.reboots && report.is_ok() {
            let stopped = stop(world, Power::Reboot, true).report;
            if let Some(problem) = stopped.first_problem() {
                report.fail(problem, &[]);
            }
        }
        report.into()
    }
}

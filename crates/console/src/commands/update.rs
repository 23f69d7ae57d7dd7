//! `update`: the versions of the image, a new one, and the way back to the other one.
//!
//! The update itself is done by a program of the image; here it is begun, and waited for. It goes on when
//! nobody waits for it any more; only whoever waits for its end reboots.

use super::machine::{REBOOT_STEP, stop};
use super::{Outcome, Watch, consent};
use crate::command::Options;
use crate::host::{Deed, ImageVersions, Power, UpdateId, UpdateState, UpdateTo, World};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use std::time::Duration;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(1);

const USAGE: &str = "update [-n] [-r] [file | -b [-f]]";

/// An update that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Updating {
    id: UpdateId,
    is_plan: bool,
    reboots: bool,
}

/// Tells the versions, begins an update, or has the other version run.
pub(super) fn update(world: &mut World<'_>, options: &Options, words: &[String]) -> Outcome {
    let is_usage_wrong = match words {
        [] => !options.back && (options.plan || options.reboot || options.force),
        _ => options.back || options.force,
    };
    if is_usage_wrong {
        return Report::from(Problem::Usage(USAGE)).into();
    }
    match words.first() {
        None if options.back => go_back(world, options),
        None => list(world),
        Some(file) => begin(world, UpdateTo::File(file), options.plan, options.reboot),
    }
}

fn begin(world: &mut World<'_>, to: UpdateTo<'_>, is_plan: bool, reboots: bool) -> Outcome {
    // What could not be carried out to its end is not begun.
    let reboot = match reboots {
        true => world.host.check(&Deed::Power(Power::Reboot)),
        false => Ok(()),
    };
    match reboot.and_then(|()| world.host.begin_update(to, is_plan)) {
        Ok(id) => Updating {
            id,
            is_plan,
            reboots,
        }
        .go_on(world),
        Err(error) => Report::from(Problem::from(error)).into(),
    }
}

/// Has the other version run after a reboot, or asks whether to.
fn go_back(world: &mut World<'_>, options: &Options) -> Outcome {
    let (is_plan, reboots) = (options.plan, options.reboot);
    if is_plan || options.force {
        return begin(world, UpdateTo::Other, is_plan, reboots);
    }
    let versions = match world.host.image() {
        Ok(versions) => versions,
        Err(error) => return Report::from(Problem::from(error)).into(),
    };
    // Why there is none the box knows, and it has nothing to do.
    let Some(instead) = instead(&versions) else {
        return begin(world, UpdateTo::Other, true, false);
    };
    let line = format!(
        "Request to have version {instead} run after reboot instead of version {}",
        versions.next
    );
    let rebooted = reboots.then(|| world.admin.luns());
    let online = rebooted.map(|luns| luns.iter().filter(|lun| lun.online).count());
    consent::go_back(line, online, GoingBack { versions, reboots })
}

/// The version that would run after a reboot, if it were not for another one.
fn instead(versions: &ImageVersions) -> Option<&str> {
    if versions.next == versions.running {
        return versions.other.as_deref();
    }
    Some(&versions.running)
}

/// What is to run after a reboot is to be another version, if the answer is yes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GoingBack {
    /// As they were when it was asked.
    versions: ImageVersions,
    reboots: bool,
}

impl GoingBack {
    pub(super) fn question(&self) -> String {
        let version = instead(&self.versions).unwrap_or_default();
        format!("'n' to cancel, or 'y' to have version {version} run [n]: ")
    }

    /// What is not as it was when it was asked.
    pub(super) fn change(&self, world: &World<'_>) -> Option<String> {
        let is_same = world.host.image().is_ok_and(|now| now == self.versions);
        (!is_same).then(|| "there are other versions".to_owned())
    }

    pub(super) fn go(&self, world: &mut World<'_>) -> Outcome {
        begin(world, UpdateTo::Other, false, self.reboots)
    }
}

fn list(world: &World<'_>) -> Outcome {
    let versions = match world.host.image() {
        Ok(versions) => versions,
        Err(error) => return Report::from(Problem::from(error)).into(),
    };
    let mut lines = vec![format!("version {} runs", versions.running)];
    if let Some(other) = &versions.other {
        lines.push(format!("version {other} is in the other slot"));
    }
    lines.push(format!("version {} runs after reboot", versions.next));
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
        other,
        next,
        failed,
    } = versions;
    Record::Update {
        running,
        other,
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

//! `update`: the versions of the image, and a new one.
//!
//! The update itself is done by a program of the image; here it is begun, and waited for.

use super::{Outcome, Watch};
use crate::host::{ImageVersions, UpdateState, World};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use std::time::Duration;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(1);

/// An update that is under way. It goes on when nobody waits for it any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Updating;

/// Tells the versions, or begins an update.
pub(super) fn update(world: &mut World<'_>, is_plan: bool, words: &[String]) -> Outcome {
    let Some(file) = words.first() else {
        return list(world);
    };
    match world.host.begin_update(file, is_plan) {
        Ok(()) => Updating.go_on(world),
        Err(error) => Report::from(Problem::from(error)).into(),
    }
}

fn list(world: &World<'_>) -> Outcome {
    let versions = match world.host.image() {
        Ok(versions) => versions,
        Err(error) => return Report::from(Problem::from(error)).into(),
    };
    let mut report = Report::default();
    let ImageVersions {
        running,
        next,
        failed,
    } = versions;
    let mut lines = vec![
        format!("version {running} runs"),
        format!("version {next} runs after reboot"),
    ];
    for version in &failed {
        lines.push(format!("version {version} did not come up"));
    }
    let record = Record::Update {
        running,
        next,
        failed,
    };
    report.rows(lines, record);
    report.into()
}

impl Updating {
    /// Looks again.
    pub(crate) fn go_on(self, world: &mut World<'_>) -> Outcome {
        let mut report = Report::default();
        match world.host.update_state() {
            UpdateState::Running => {
                return Outcome {
                    report,
                    pending: None,
                    watch: Some((PERIOD, Watch::Update(self))),
                };
            }
            UpdateState::Done(said) => report.line(said),
            UpdateState::Failed(error) => report.fail(error, &[]),
        }
        report.into()
    }
}

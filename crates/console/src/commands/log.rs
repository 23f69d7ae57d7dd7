//! `log` and `history`: who did what with which result, and what happened.

use super::{Outcome, Watch};
use crate::command::Options;
use crate::host::{EntryKind, HostError, LogEntry, World};
use crate::names::decimal;
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use std::time::Duration;

/// Lines that are shown when nobody says how many.
const LINES: usize = 24;

/// How often it is looked whether there are new ones.
const PERIOD: Duration = Duration::from_millis(500);

/// Whoever looks on while the log grows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Following {
    position: u64,
}

/// Shows the last lines, and perhaps those that come.
pub(super) fn log(world: &World<'_>, options: &Options) -> Outcome {
    let mut report = Report::default();
    let count = match count(options) {
        Ok(count) => count,
        Err(problem) => return Report::from(problem).into(),
    };
    let (entries, position) = world.host.log(count);
    entries
        .into_iter()
        .for_each(|entry| row(&mut report, entry));
    let following = Following { position };
    Outcome {
        report,
        watch: options.force.then_some((PERIOD, Watch::Log(following))),
        ..Outcome::default()
    }
}

/// Shows the last commands.
pub(super) fn history(report: &mut Report, world: &World<'_>, options: &Options) {
    let count = match count(options) {
        Ok(count) => count,
        Err(problem) => return report.fail(problem, &[]),
    };
    let (entries, _) = world.host.log(usize::MAX);
    let mut commands: Vec<LogEntry> = entries;
    commands.retain(|entry| entry.kind == EntryKind::Command);
    let skipped = commands.len().saturating_sub(count);
    commands
        .into_iter()
        .skip(skipped)
        .for_each(|entry| row(report, entry));
}

impl Following {
    /// Shows what has come.
    pub(super) fn go_on(self, world: &mut World<'_>) -> Outcome {
        let mut report = Report::default();
        let (entries, position) = world.host.log_from(self.position);
        entries
            .into_iter()
            .for_each(|entry| row(&mut report, entry));
        Outcome {
            report,
            watch: Some((PERIOD, Watch::Log(Self { position }))),
            ..Outcome::default()
        }
    }
}

fn count(options: &Options) -> Result<usize, Problem> {
    let Some(word) = &options.value else {
        return Ok(LINES);
    };
    let count = decimal(word).and_then(|count| usize::try_from(count).ok());
    count
        .filter(|count| (1..=100_000).contains(count))
        .ok_or_else(|| {
            HostError::Refused(format!("{word} is no number of lines, 1 to 100000")).into()
        })
}

fn row(report: &mut Report, entry: LogEntry) {
    let mut line = entry.time.clone();
    if let Some(user) = &entry.user {
        let door = entry.door.as_deref().unwrap_or_default();
        let session = entry
            .session
            .map(|id| format!(" #{id}"))
            .unwrap_or_default();
        line.push_str(&format!(" {user} by {door}{session}:"));
    }
    line.push_str(&format!(" {}", entry.text));
    if !entry.answers.is_empty() {
        line.push_str(&format!(" [{}]", entry.answers.join("; ")));
    }
    match (entry.kind, entry.ok) {
        (EntryKind::Event, _) => line.push_str(&format!(" ({})", entry.result)),
        (_, true) => {}
        (_, false) => line.push_str(&format!(" -> {}", entry.result)),
    }
    report.row(line, Record::Log(entry));
}

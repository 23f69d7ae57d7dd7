//! `alerts`: the problems that are open, by number, and who knows of them.

use super::open_troubles;
use crate::host::{AlertStatus, HostError, World};
use crate::names::decimal;
use crate::problem::Problem;
use crate::record::Record;
use crate::record::consoles::AlertRecord;
use crate::report::Report;

/// Lists them, or acknowledges some.
pub(super) fn alerts(report: &mut Report, world: &mut World<'_>, operands: &[String]) {
    let open = update(world);
    match operands.split_first() {
        None => open.into_iter().for_each(|alert| row(report, alert)),
        Some((word, ids)) if word == "ack" && !ids.is_empty() => acknowledge(report, world, ids),
        Some(_) => report.fail(Problem::Usage("alerts [ack id ...]"), &[]),
    }
}

/// What mends itself is no alert.
fn update(world: &mut World<'_>) -> Vec<AlertStatus> {
    let mut troubles = open_troubles(world.admin);
    troubles.extend(world.host.troubles());
    world.host.alerts(&troubles)
}

fn row(report: &mut Report, alert: AlertStatus) {
    let mut line = format!(
        "{:>3} {} {}; {}",
        alert.id, alert.subject, alert.problem, alert.advice
    );
    if let Some(by) = &alert.acknowledged_by {
        line.push_str(&format!(" (acknowledged by {by})"));
    }
    let record = AlertRecord {
        id: alert.id,
        since_unix_seconds: alert.since_unix_seconds,
        subject: alert.subject,
        problem: alert.problem,
        advice: alert.advice,
        acknowledged_by: alert.acknowledged_by,
    };
    report.row(line, Record::Alert(record));
}

fn acknowledge(report: &mut Report, world: &mut World<'_>, ids: &[String]) {
    for (index, word) in ids.iter().enumerate() {
        let done = match decimal(word) {
            Some(id) => world.host.acknowledge(id, world.who),
            None => Err(HostError::Refused(format!(
                "{word} is no number of an alert; see: alerts"
            ))),
        };
        if let Err(error) = done {
            report.fail(
                Problem::Host(error),
                ids.get(index + 1..).unwrap_or_default(),
            );
            return;
        }
    }
}

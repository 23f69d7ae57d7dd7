//! `sessions` and `kick`: the open consoles.

use crate::host::{HostError, World};
use crate::names::decimal;
use crate::problem::Problem;
use crate::record::Record;
use crate::record::consoles::ConsoleRecord;
use crate::report::Report;
use std::time::Duration;

/// Lists the consoles.
pub(super) fn sessions(report: &mut Report, world: &World<'_>) {
    let now = world.host.unix_seconds();
    let consoles = world.host.consoles();
    if consoles.is_empty() {
        return;
    }
    report.line(format!(
        "{:>3} {:<6} {:<12} {:<9} {:>9} {:>9} FROM",
        "ID", "DOOR", "USER", "ROLE", "OPEN", "IDLE"
    ));
    for console in consoles {
        let (user, role) = console
            .user
            .as_ref()
            .map_or(("-", "-"), |(user, role)| (user.as_str(), role.name()));
        let open = Duration::from_secs(now.saturating_sub(console.since_unix_seconds));
        let mut line = format!(
            "{:>3} {:<6} {user:<12} {role:<9} {:>9} {:>9} {}",
            console.id,
            console.door.name(),
            clock(open),
            clock(console.idle),
            console.address,
        );
        if let Some(running) = &console.running {
            line.push_str(&format!(": {running}"));
        }
        let record = ConsoleRecord {
            id: console.id,
            door: console.door.name(),
            user: console.user.as_ref().map(|(user, _)| user.clone()),
            role: console.user.as_ref().map(|(_, role)| role.name()),
            address: console.address,
            since_unix_seconds: console.since_unix_seconds,
            idle_seconds: console.idle.as_secs(),
            running: console.running,
        };
        report.row(line, Record::Console(record));
    }
}

/// Ends consoles.
pub(super) fn kick(report: &mut Report, world: &mut World<'_>, operands: &[String]) {
    for (index, word) in operands.iter().enumerate() {
        let kicked = match decimal(word) {
            Some(id) => world.host.kick(id, world.who),
            None => Err(HostError::Refused(format!(
                "{word} is no number of a console; see: sessions"
            ))),
        };
        if let Err(error) = kicked {
            report.fail(
                Problem::Host(error),
                operands.get(index + 1..).unwrap_or_default(),
            );
            return;
        }
    }
}

/// Hours, minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

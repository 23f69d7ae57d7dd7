//! `cecenable`, `cecdisable` and `cecstat`: on which ports the Ethernet console answers.

use crate::host::{CecStatus, HostError, World};
use crate::problem::Problem;
use crate::record::Record;
use crate::record::consoles::{CecRecord, CecSessionRecord};
use crate::report::Report;

/// Switches ports on or off.
pub(super) fn switch(
    report: &mut Report,
    world: &mut World<'_>,
    is_enabled: bool,
    operands: &[String],
) {
    for (index, word) in operands.iter().enumerate() {
        if let Err(error) = world.host.set_cec(word, is_enabled) {
            report.fail(
                Problem::Host(error),
                operands.get(index + 1..).unwrap_or_default(),
            );
            return;
        }
    }
}

/// Tells port by port.
pub(super) fn stat(report: &mut Report, world: &World<'_>, long: bool, operands: &[String]) {
    let ports = world.host.cec();
    let unknown = operands
        .iter()
        .find(|word| !ports.iter().any(|port| port.interface == **word));
    if let Some(word) = unknown {
        let error = HostError::Refused(format!("interface {word} does not exist"));
        report.fail(Problem::Host(error), &[]);
        return;
    }
    let wanted = |port: &&CecStatus| operands.is_empty() || operands.contains(&port.interface);
    if !ports.is_empty() {
        report.line(format!("{:<10} {:>10}", "NAME", "CEC"));
    }
    for port in ports.iter().filter(wanted) {
        let state = if port.is_enabled {
            "enabled"
        } else {
            "disabled"
        };
        let mut lines = vec![format!("{:<10} {state:>10}", port.interface)];
        if long {
            if !port.admitted.is_empty() {
                let macs: Vec<String> = port.admitted.iter().map(ToString::to_string).collect();
                lines.push(format!("  answers only {}", macs.join(" ")));
            }
            for session in &port.sessions {
                let counters = session
                    .counters
                    .iter()
                    .map(|(name, value)| format!("{name} {value}"));
                let counters: Vec<String> = counters.collect();
                lines.push(format!(
                    "  session {} {} tag {}: {}",
                    session.id,
                    session.mac,
                    session.tag,
                    counters.join(", ")
                ));
            }
        }
        report.rows(lines, Record::Cec(record(port)));
    }
}

fn record(port: &CecStatus) -> CecRecord {
    let sessions = port.sessions.iter().map(|session| CecSessionRecord {
        id: session.id,
        mac: session.mac.to_string(),
        tag: session.tag,
        counters: session.counters.clone(),
    });
    CecRecord {
        name: port.interface.clone(),
        enabled: port.is_enabled,
        admitted: port.admitted.iter().map(ToString::to_string).collect(),
        sessions: sessions.collect(),
    }
}

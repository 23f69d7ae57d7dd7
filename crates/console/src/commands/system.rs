//! `ifstat`, `aoestats` and `release`.

use crate::options::SessionOptions;
use crate::record::Record;
use crate::report::Report;
use shelf::admin::Admin;

/// Lists the network ports. There is a header only if there are rows.
pub(super) fn ifstat(report: &mut Report, admin: &dyn Admin) {
    let ports = admin.ports();
    if !ports.is_empty() {
        report.line(format!(
            "{:<15} {:<12} {:>5} {}",
            "NAME", "ADDR", "MTU", "MODE"
        ));
    }
    for port in &ports {
        let mac = port.mac.to_string();
        let line = format!(
            "{:<15} {mac:<12} {:>5} {}",
            port.interface, port.mtu_bytes, port.mode
        );
        report.row(line, Record::port(port));
    }
}

/// Lists what the data path has counted, group by group; without `all` only what is not zero.
pub(super) fn aoestats(report: &mut Report, admin: &dyn Admin, all: bool) {
    for group in admin.counters() {
        for (name, value) in group.counters {
            if all || value > 0 {
                let line = format!("{:<20} {name:<22} {value:>16}", group.name);
                report.row(
                    line,
                    Record::Counter {
                        group: group.name.clone(),
                        name,
                        value,
                    },
                );
            }
        }
    }
}

/// Tells the version.
pub(super) fn release(report: &mut Report, session: &SessionOptions) {
    let version = session.version.clone();
    report.row(
        format!("ledge {version}"),
        Record::Release {
            product: "ledge",
            version,
        },
    );
}

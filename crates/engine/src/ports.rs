//! What was counted of the ports, layer by layer; the queues of an interface are added up.

use crate::message::{WorkerReport, port_rows};
use shelf::observe::{LinkStatus, PortStatistics};
use shelf::plane::CounterGroup;
use shelf::statistics::PortTally;

/// Counters that each queue tells of its whole interface.
const OF_INTERFACE: [&str; 3] = ["aoe_to_kernel", "aoe_spread", "passed_to_kernel"];

/// What an interface has counted in all its queues.
struct Sums {
    interface: String,
    ring: Vec<(&'static str, u64)>,
    shelf: PortTally,
}

/// The ports of all workers.
pub(crate) fn statistics(reports: &[WorkerReport]) -> Vec<PortStatistics> {
    let mut ports: Vec<Sums> = Vec::new();
    for report in reports {
        let counted = report.ports.iter().zip(&report.port_tallies);
        let present = counted
            .zip(&report.ports_present)
            .filter(|(_, is_there)| **is_there);
        for (((facts, counters), tally), _) in present {
            let rows = port_rows(counters);
            let known = |port: &&mut Sums| port.interface == facts.interface;
            if let Some(port) = ports.iter_mut().find(known) {
                port.add(&rows, tally);
            } else {
                ports.push(Sums {
                    interface: facts.interface.clone(),
                    ring: rows,
                    shelf: *tally,
                });
            }
        }
    }
    ports.into_iter().map(Sums::tell).collect()
}

impl Sums {
    fn add(&mut self, rows: &[(&'static str, u64)], tally: &PortTally) {
        for ((name, sum), (_, more)) in self.ring.iter_mut().zip(rows) {
            *sum = if OF_INTERFACE.contains(name) {
                (*sum).max(*more)
            } else {
                *sum + more
            };
        }
        self.shelf.add(tally);
    }

    /// With what the kernel knows of the interface.
    fn tell(self) -> PortStatistics {
        let link = port::link(&self.interface);
        if let Err(error) = &link {
            tracing::debug!("link of {}: {error}", self.interface);
        }
        let link = link.ok();
        let status = link.as_ref().map(|link| LinkStatus {
            has_carrier: link.has_carrier,
            speed_mbps: link.speed_mbps,
            speed_max_mbps: link.speed_max_mbps,
        });
        let group = |name: &str, counters| CounterGroup {
            name: name.to_owned(),
            counters,
        };
        let nic = link.map(|link| group("nic", link.counters));
        let layers = nic.into_iter().chain([
            group("ring", self.ring),
            group("shelf", self.shelf.frames.rows()),
            group("requests", self.shelf.requests.rows()),
        ]);
        PortStatistics {
            interface: self.interface,
            link: status,
            layers: layers.collect(),
        }
    }
}

//! What is counted since the start, looked at twice, and what that comes to in a second.

use crate::commands::health;
use crate::host::World;
use crate::names::drive_name;
use crate::record::status_name;
use crate::record::top::{
    DriveLoadRecord, InitiatorLoadRecord, LunLoadRecord, PortLoadRecord, TopRecord, WorkerRecord,
};
use shelf::admin::{Admin, DriveRole, DriveSlot, DriveStatus, LunStatus, RaidState};
use shelf::observe::{DriveLoad, Initiator, LinkStatus, PortStatistics, WorkerLoad};
use shelf::statistics::Rates;
use std::collections::BTreeMap;
use std::time::Duration;

/// Counters of a port that tell of frames for which there was no room, by layer.
const DROPS: &[(&str, &[&str])] = &[
    (
        "nic",
        &[
            "rx_dropped",
            "tx_dropped",
            "rx_missed_errors",
            "rx_fifo_errors",
        ],
    ),
    ("ring", &["rx_dropped", "rx_ring_full"]),
];

/// What was counted until a moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Sample {
    at: Duration,
    workers: Vec<WorkerLoad>,
    ports: Vec<PortSample>,
    drives: Vec<(DriveSlot, DriveLoad)>,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct PortSample {
    interface: String,
    link: Option<LinkStatus>,
    rx_bytes: u64,
    tx_bytes: u64,
    rx_frames: u64,
    tx_frames: u64,
    drops: u64,
}

impl Sample {
    /// Looks at all that is counted.
    pub(super) fn take(world: &World<'_>, drives: &[DriveStatus], seconds: u64) -> Self {
        let admin = &*world.admin;
        let load = |drive: &DriveStatus| (drive.slot, admin.drive_load(drive.slot, seconds));
        Self {
            at: world.host.now(),
            workers: admin.workers(),
            ports: admin.port_statistics().iter().map(PortSample::of).collect(),
            drives: drives.iter().map(load).collect(),
        }
    }

    /// When it was taken.
    pub(super) const fn at(&self) -> Duration {
        self.at
    }
}

impl PortSample {
    fn of(port: &PortStatistics) -> Self {
        let count = |layer: &str, names: &[&str]| {
            let groups = port.layers.iter().filter(|group| group.name == layer);
            let counters = groups.flat_map(|group| &group.counters);
            let wanted = counters.filter(|(name, _)| names.contains(name));
            wanted.map(|(_, value)| value).sum::<u64>()
        };
        Self {
            interface: port.interface.clone(),
            link: port.link,
            rx_bytes: count("ring", &["rx_bytes"]),
            tx_bytes: count("ring", &["tx_bytes"]),
            rx_frames: count("ring", &["rx_frames"]),
            tx_frames: count("ring", &["tx_frames"]),
            drops: DROPS.iter().map(|(layer, names)| count(layer, names)).sum(),
        }
    }
}

/// The time between two looks.
#[derive(Clone, Copy)]
struct Between(Duration);

impl Between {
    /// What a counter came to in a second.
    fn rate(self, before: u64, now: u64) -> u64 {
        let per_second = u128::from(now.saturating_sub(before)) * 1_000_000_000;
        narrow(per_second.checked_div(self.0.as_nanos()))
    }

    /// How much of the time some of it was.
    fn permille(self, ns: u64) -> u64 {
        narrow((u128::from(ns) * 1000).checked_div(self.0.as_nanos())).min(1000)
    }
}

fn narrow(value: Option<u128>) -> u64 {
    u64::try_from(value.unwrap_or(0)).unwrap_or(u64::MAX)
}

/// What goes on now, by what was counted since an earlier look, if there was one.
pub(super) fn look(
    world: &World<'_>,
    before: Option<&Sample>,
    seconds: u64,
) -> (Sample, TopRecord) {
    let admin = &*world.admin;
    let drives = admin.drives();
    let sample = Sample::take(world, &drives, seconds);
    let between = before.map(|before| Between(sample.at.saturating_sub(before.at)));
    let earlier = before.zip(between);
    let unix_seconds = world.host.unix_seconds();
    let zone = world.host.settings().timezone.clone();
    let date = world.host.local_time(unix_seconds, zone.as_deref());
    let troubles = health::troubles(world);
    let health = troubles.first().map_or_else(
        || "ok".to_owned(),
        |trouble| format!("{} {}", trouble.subject, trouble.problem),
    );
    let record = TopRecord {
        shelf: admin.shelf().map(|shelf| shelf.0),
        date: date.unwrap_or_else(|error| error.to_string()),
        unix_seconds,
        daemon_seconds: world.host.facts().daemon_uptime_seconds,
        seconds,
        problems: troubles.len(),
        health,
        workers: workers(&sample, earlier),
        luns: luns(admin, seconds),
        initiators: admin.initiators().known.iter().map(initiator).collect(),
        drives: drives
            .iter()
            .zip(&sample.drives)
            .map(|(drive, (_, load))| drive_row(admin, drive, load, earlier))
            .collect(),
        ports: sample
            .ports
            .iter()
            .map(|port| port_row(port, earlier))
            .collect(),
    };
    (sample, record)
}

fn workers(sample: &Sample, earlier: Option<(&Sample, Between)>) -> Vec<WorkerRecord> {
    let row = |now: &WorkerLoad| {
        let known = earlier.and_then(|(before, between)| {
            let mut workers = before.workers.iter();
            Some((*workers.find(|other| other.index == now.index)?, between))
        });
        let since = |count: fn(&WorkerLoad) -> u64| {
            known.map(|(before, between)| between.rate(count(&before), count(now)))
        };
        // By its own clock, so that the three make a whole.
        let own = known.map(|(before, _)| {
            [
                now.working_ns.saturating_sub(before.working_ns),
                now.polling_ns.saturating_sub(before.polling_ns),
                now.sleeping_ns.saturating_sub(before.sleeping_ns),
            ]
        });
        let share = |of: usize| {
            let own = own?;
            let all = Between(Duration::from_nanos(own.iter().sum()));
            Some(all.permille(own[of]))
        };
        let (busy, polling) = (share(0), share(1));
        let rest = busy
            .zip(polling)
            .map(|(busy, polling)| 1000 - (busy + polling));
        WorkerRecord {
            worker: now.index,
            busy_permille: busy,
            polling_permille: polling,
            sleeping_permille: rest,
            frames_per_s: since(|load| load.frames),
            commands_per_s: since(|load| load.commands),
            sleeps_per_s: since(|load| load.sleeps),
            slots_used: now.slots_used,
            slots: now.slots,
        }
    };
    sample.workers.iter().map(row).collect()
}

fn luns(admin: &dyn Admin, seconds: u64) -> Vec<LunLoadRecord> {
    let rates: BTreeMap<_, _> = admin.lun_rates(seconds).into_iter().collect();
    let row = |lun: &LunStatus| {
        let rates = rates.get(&lun.lun).copied().unwrap_or_default();
        let (mean_us, max_us) = latency_us(&rates);
        LunLoadRecord {
            lun: lun.lun.get(),
            status: status_name(lun.online),
            state: worst(lun).to_string(),
            label: lun.label.clone(),
            rates: (&rates).into(),
            mean_us,
            max_us,
        }
    };
    admin.luns().iter().map(row).collect()
}

/// What is not well in any of its RAIDs.
fn worst(lun: &LunStatus) -> RaidState {
    let mut all = RaidState::default();
    for part in &lun.parts {
        all.failed |= part.state.failed;
        all.initing |= part.state.initing;
        all.recovering |= part.state.recovering;
        all.degraded |= part.state.degraded;
    }
    all
}

/// On average and at most, of reads and writes.
fn latency_us(rates: &Rates) -> (u64, u64) {
    let (reads, writes) = (&rates.reads, &rates.writes);
    let mean_ns = (reads.latency_ns + writes.latency_ns).checked_div(reads.ops + writes.ops);
    let max_ns = reads.latency_max_ns.max(writes.latency_max_ns);
    (mean_ns.unwrap_or(0) / 1000, max_ns / 1000)
}

fn initiator(initiator: &Initiator) -> InitiatorLoadRecord {
    let of = &initiator.statistics;
    InitiatorLoadRecord {
        mac: of.mac.to_string(),
        port: initiator.interface.clone(),
        luns: of.luns.iter().map(|lun| lun.get()).collect(),
        ops_per_s: of.ops_per_second,
        bytes_per_s: of.bytes_per_second,
        resent: of.tally.retransmissions,
        refused: of.tally.refusals(),
        last_seen_s: of.last_seen.as_secs(),
    }
}

fn drive_row(
    admin: &dyn Admin,
    drive: &DriveStatus,
    load: &DriveLoad,
    earlier: Option<(&Sample, Between)>,
) -> DriveLoadRecord {
    let rates = &load.rates;
    let (mean_us, max_us) = latency_us(rates);
    // By Little's law: what all of them took together, in each second.
    let together_ns = rates.per_second(rates.reads.latency_ns + rates.writes.latency_ns);
    let busy = earlier.and_then(|(before, between)| {
        let mut drives = before.drives.iter();
        let (_, known) = drives.find(|(slot, _)| *slot == drive.slot)?;
        Some(busy_permille(&known.busy_ns, &load.busy_ns, between))
    });
    DriveLoadRecord {
        drive: drive_name(admin.shelf(), drive.slot),
        state: drive.state.name(),
        role: match &drive.role {
            DriveRole::Element(id) => id.to_string(),
            DriveRole::Spare => "spare".to_owned(),
            DriveRole::Working(kind) => kind.to_string(),
            DriveRole::Free | DriveRole::Foreign(_) => String::new(),
        },
        rates: rates.into(),
        mean_us,
        max_us,
        queue_hundredths: together_ns / 10_000_000,
        busy_permille: busy,
    }
}

/// How much of the time at least one of the workers had I/O on a drive, if each has it at times of its own.
fn busy_permille(before: &[u64], now: &[u64], between: Between) -> u64 {
    let idle = now.iter().enumerate().fold(1000, |idle, (worker, now)| {
        let before = before.get(worker).copied().unwrap_or(0);
        let busy = between.permille(now.saturating_sub(before));
        idle * (1000 - busy) / 1000
    });
    1000 - idle
}

fn port_row(now: &PortSample, earlier: Option<(&Sample, Between)>) -> PortLoadRecord {
    let known = earlier.and_then(|(before, between)| {
        let mut ports = before.ports.iter();
        Some((ports.find(|port| port.interface == now.interface)?, between))
    });
    let since = |count: fn(&PortSample) -> u64| {
        known.map(|(before, between)| between.rate(count(before), count(now)))
    };
    PortLoadRecord {
        name: now.interface.clone(),
        up: now.link.map(|link| link.has_carrier),
        speed_mbps: now.link.and_then(|link| link.speed_mbps),
        rx_bits_per_s: since(|port| port.rx_bytes).map(|bytes| 8 * bytes),
        tx_bits_per_s: since(|port| port.tx_bytes).map(|bytes| 8 * bytes),
        rx_frames_per_s: since(|port| port.rx_frames),
        tx_frames_per_s: since(|port| port.tx_frames),
        drops: now.drops,
        drops_per_s: since(|port| port.drops),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_do_not_know_of_each_other_keep_a_drive_busy_together() {
        let second = Between(Duration::from_secs(1));
        assert_eq!(busy_permille(&[0], &[250_000_000], second), 250);
        assert_eq!(
            busy_permille(&[1, 1], &[500_000_001, 500_000_001], second),
            750
        );
        assert_eq!(busy_permille(&[], &[2_000_000_000], second), 1000);
        assert_eq!(busy_permille(&[9], &[9], Between(Duration::ZERO)), 0);
        assert_eq!(busy_permille(&[9], &[], second), 0);
    }

    #[test]
    fn counters_become_rates_by_the_time_between() {
        let two = Between(Duration::from_secs(2));
        assert_eq!((two.rate(10, 30), two.rate(30, 10)), (10, 0));
        assert_eq!(Between(Duration::ZERO).rate(0, 5), 0);
        assert_eq!(two.permille(1_000_000_000), 500);
    }
}

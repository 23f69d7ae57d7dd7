//! The result of a load, as text or as one JSON object.

mod text;

use crate::connect::Connection;
use crate::line_rate::{self, Line, LineShare, Traffic};
use crate::load::{Outcome, Summary};
use crate::losses::watch::Watched;
use crate::plan::Plan;
use crate::series::Row;
use crate::tally::{KindTally, Tally};
use initiator::{CheckCounters, Identity};
use serde::Serialize;

/// The result of a load. Field names are part of the interface of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Several are separated by commas.
    interface: String,
    /// How frames reach the target: `packet`, `native`, `generic`, `zerocopy`.
    mode: String,
    /// Several are separated by commas.
    target: String,
    /// Of a single target; else `targets` has them.
    lun: Option<LunReport>,
    operation: &'static str,
    pattern: &'static str,
    size_bytes: usize,
    /// Of all targets together, as are the figures that follow.
    range_bytes: u64,
    depth: u64,
    rate: Option<f64>,
    seed: u64,
    /// How long was measured.
    seconds: f64,
    #[serde(flatten)]
    figures: Figures,
    /// Second by second, reads and writes together.
    series: Vec<Row>,
    #[serde(flatten)]
    counts: Counts,
    /// Each for itself, in the order of the command line.
    targets: Vec<TargetReport>,
    /// Ports and losses, where the load was watched.
    #[serde(flatten)]
    watched: Option<Watched>,
    interrupted: bool,
    /// Whether nothing was lost, wrong or refused.
    pub(crate) ok: bool,
}

/// What came of one target.
#[derive(Debug, Serialize)]
struct TargetReport {
    target: String,
    lun: LunReport,
    range_bytes: u64,
    depth: u16,
    #[serde(flatten)]
    figures: Figures,
    #[serde(flatten)]
    counts: Counts,
    ok: bool,
}

/// What went wrong, or might have.
#[derive(Debug, Serialize)]
struct Counts {
    retransmissions: u64,
    lost: u64,
    errors: u64,
    /// Answers to commands that had ended, or to a transmission that had been repeated.
    duplicates: u64,
    /// Answers that fit no command.
    unexpected: u64,
    /// Open loop: commands that were due and never started.
    overdue: u64,
    verify: Option<VerifyReport>,
}

#[derive(Clone, Debug, Serialize)]
struct LunReport {
    sectors: u64,
    model: String,
    serial: String,
    firmware: String,
}

/// How much was done, and how fast.
#[derive(Debug, Serialize)]
struct Figures {
    read: Option<KindReport>,
    write: Option<KindReport>,
    iops: f64,
    mb_per_s: f64,
    /// What reads and writes together are on the wire.
    line_rate: Vec<LineShare>,
}

/// The commands of one kind.
#[derive(Debug, Serialize)]
struct KindReport {
    commands: u64,
    iops: f64,
    mb_per_s: f64,
    line_rate: Vec<LineShare>,
    latency_us: LatencyReport,
}

/// Latencies in microseconds.
#[derive(Debug, Serialize)]
struct LatencyReport {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// Sectors looked at, and what was wrong with them.
#[derive(Debug, Serialize)]
struct VerifyReport {
    sectors: u64,
    unknown: u64,
    wrong_lba: u64,
    stale: u64,
    unissued: u64,
    foreign: u64,
    corrupt: u64,
    torn_reads: u64,
    faults: u64,
}

impl Report {
    pub(crate) fn new(connection: &Connection, plan: &Plan, summary: &Summary) -> Self {
        let size_bytes = plan.size_bytes();
        let lines = line_rate::lines(connection, plan);
        let first = connection.interfaces.each().next();
        let plans = plan.targets.iter().zip(&connection.endpoints);
        let targets: Vec<_> = plans
            .zip(&summary.targets)
            .map(|((target, endpoint), outcome)| TargetReport {
                target: endpoint.address().to_string(),
                lun: LunReport::new(&endpoint.identity),
                range_bytes: target.block_count * size_bytes as u64,
                depth: target.depth,
                figures: Figures::new(&outcome.tally, size_bytes, &lines),
                counts: Counts::new(outcome),
                ok: is_ok(outcome, summary.interrupted),
            })
            .collect();
        let names: Vec<_> = targets.iter().map(|part| part.target.as_str()).collect();
        Self {
            interface: connection.interfaces.names(),
            mode: first.map_or(String::new(), |one| one.facts().mode.to_string()),
            target: names.join(","),
            lun: match targets.as_slice() {
                [single] => Some(single.lun.clone()),
                _ => None,
            },
            operation: plan.operation_name(),
            pattern: if plan.sequential {
                "sequential"
            } else {
                "random"
            },
            size_bytes,
            range_bytes: plan.block_count() * size_bytes as u64,
            depth: plan.depth(),
            rate: plan.rate,
            seed: plan.seed,
            seconds: summary.total.tally.seconds(),
            figures: Figures::new(&summary.total.tally, size_bytes, &lines),
            series: summary.series.clone(),
            counts: Counts::new(&summary.total),
            watched: None,
            interrupted: summary.interrupted,
            ok: targets.iter().all(|part| part.ok),
            targets,
        }
    }

    /// The same with what was seen of the layers below.
    pub(crate) fn with(self, watched: Watched) -> Self {
        Self {
            watched: Some(watched),
            ..self
        }
    }

    /// Commands per second, reads and writes together.
    pub(crate) const fn iops(&self) -> f64 {
        self.figures.iops
    }
}

impl Figures {
    fn new(tally: &Tally, size_bytes: usize, lines: &[Line]) -> Self {
        let per_s = |kind: &KindTally| {
            let seconds = tally.seconds();
            if seconds > 0.0 {
                kind.done as f64 / seconds
            } else {
                0.0
            }
        };
        let (reads, writes) = (per_s(&tally.reads), per_s(&tally.writes));
        let traffic = |reads, writes| Traffic {
            size_bytes,
            reads,
            writes,
        };
        let iops = reads + writes;
        Self {
            read: KindReport::new(&tally.reads, traffic(reads, 0.0), lines),
            write: KindReport::new(&tally.writes, traffic(0.0, writes), lines),
            iops,
            mb_per_s: iops * size_bytes as f64 / 1e6,
            line_rate: traffic(reads, writes).on(lines),
        }
    }
}

/// Nothing lost, refused or wrong; something done; and, if data were to be checked, they were, and
/// to the end.
fn is_ok(outcome: &Outcome, interrupted: bool) -> bool {
    let counters = &outcome.counters;
    let checked = outcome
        .check
        .as_ref()
        .is_none_or(|check| check.faults() == 0 && check.sectors > check.unknown && !interrupted);
    counters.lost == 0 && counters.failed == 0 && counters.done > 0 && checked
}

impl LunReport {
    fn new(identity: &Identity) -> Self {
        Self {
            sectors: identity.sectors,
            model: identity.model.clone(),
            serial: identity.serial.clone(),
            firmware: identity.firmware.clone(),
        }
    }
}

impl Counts {
    fn new(outcome: &Outcome) -> Self {
        let counters = &outcome.counters;
        Self {
            retransmissions: counters.retransmissions,
            lost: counters.lost,
            errors: counters.failed,
            duplicates: counters.duplicates + counters.superseded,
            unexpected: counters.unexpected,
            overdue: outcome.overdue,
            verify: outcome.check.as_ref().map(VerifyReport::new),
        }
    }
}

impl KindReport {
    /// `None` when there was no command of this kind.
    fn new(tally: &KindTally, traffic: Traffic, lines: &[Line]) -> Option<Self> {
        if tally.latency.is_empty() && tally.done == 0 {
            return None;
        }
        let iops = traffic.reads + traffic.writes;
        let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        let at = |quantile: f64| us(tally.latency.value_at_quantile(quantile));
        Some(Self {
            commands: tally.done,
            iops,
            mb_per_s: iops * traffic.size_bytes as f64 / 1e6,
            line_rate: traffic.on(lines),
            latency_us: LatencyReport {
                min: us(tally.latency.min()),
                mean: tally.latency.mean() / 1e3,
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: us(tally.latency.max()),
            },
        })
    }
}

impl VerifyReport {
    fn new(counters: &CheckCounters) -> Self {
        Self {
            sectors: counters.sectors,
            unknown: counters.unknown,
            wrong_lba: counters.wrong_lba,
            stale: counters.stale,
            unissued: counters.unissued,
            foreign: counters.foreign,
            corrupt: counters.corrupt,
            torn_reads: counters.torn_reads,
            faults: counters.faults(),
        }
    }
}

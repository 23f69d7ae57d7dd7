//! The result of a load, as text or as one JSON object.

use crate::connect::{Connection, first_port};
use crate::line_rate::{self, Line, LineShare, Traffic};
use crate::load::Summary;
use crate::plan::Plan;
use crate::series::Row;
use crate::tally::{KindTally, Tally};
use initiator::CheckCounters;
use serde::Serialize;
use std::fmt;

/// The result of a load. Field names are part of the interface of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    interface: String,
    /// How frames reach the target: `packet`, `native`, `generic`, `zerocopy`.
    mode: String,
    target: String,
    lun: LunReport,
    operation: &'static str,
    pattern: &'static str,
    size_bytes: usize,
    range_bytes: u64,
    depth: u16,
    rate: Option<f64>,
    seed: u64,
    /// How long was measured.
    seconds: f64,
    #[serde(flatten)]
    figures: Figures,
    /// Second by second, reads and writes together.
    series: Vec<Row>,
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
    interrupted: bool,
    /// Whether nothing was lost, wrong or refused.
    pub(crate) ok: bool,
}

#[derive(Debug, Serialize)]
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
        let facts = first_port(&connection.ports).ok().map(|port| port.facts());
        let identity = &connection.identity;
        let counters = &summary.counters;
        Self {
            interface: facts.map_or(String::new(), |facts| facts.interface.clone()),
            mode: facts.map_or(String::new(), |facts| facts.mode.to_string()),
            target: connection.address().to_string(),
            lun: LunReport {
                sectors: identity.sectors,
                model: identity.model.clone(),
                serial: identity.serial.clone(),
                firmware: identity.firmware.clone(),
            },
            operation: plan.operation_name(),
            pattern: if plan.sequential {
                "sequential"
            } else {
                "random"
            },
            size_bytes,
            range_bytes: plan.block_count * size_bytes as u64,
            depth: plan.depth,
            rate: plan.rate,
            seed: plan.seed,
            seconds: summary.tally.seconds(),
            figures: Figures::new(&summary.tally, size_bytes, &lines),
            series: summary.series.clone(),
            retransmissions: counters.retransmissions,
            lost: counters.lost,
            errors: counters.failed,
            duplicates: counters.duplicates + counters.superseded,
            unexpected: counters.unexpected,
            overdue: summary.overdue,
            verify: summary.check.as_ref().map(VerifyReport::new),
            interrupted: summary.interrupted,
            ok: is_ok(summary),
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
fn is_ok(summary: &Summary) -> bool {
    let counters = &summary.counters;
    let checked = summary.check.as_ref().is_none_or(|check| {
        check.faults() == 0 && check.sectors > check.unknown && !summary.interrupted
    });
    counters.lost == 0 && counters.failed == 0 && counters.done > 0 && checked
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LunReport { sectors, model, .. } = &self.lun;
        writeln!(
            f,
            "e{} on {} ({}): {model}, {sectors} sectors",
            self.target, self.interface, self.mode
        )?;
        write!(
            f,
            "{} {}, {} bytes, depth {}",
            self.pattern, self.operation, self.size_bytes, self.depth
        )?;
        if let Some(rate) = self.rate {
            write!(f, ", {rate} commands/s asked for")?;
        }
        writeln!(f, ", {:.2} s, seed {}", self.seconds, self.seed)?;
        self.figures.lines(f)?;
        write!(
            f,
            "retransmissions {}, lost {}, errors {}, duplicates {}, unexpected {}",
            self.retransmissions, self.lost, self.errors, self.duplicates, self.unexpected
        )?;
        if self.rate.is_some() {
            write!(f, ", due but never started {}", self.overdue)?;
        }
        if let Some(verify) = &self.verify {
            writeln!(f)?;
            verify.line(f)?;
        }
        if self.interrupted {
            write!(f, "\ninterrupted before the end")?;
        }
        Ok(())
    }
}

impl Figures {
    fn lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, kind) in [("read", &self.read), ("write", &self.write)] {
            if let Some(kind) = kind {
                kind.line(f, name)?;
            }
        }
        for share in line_rate::distinct(&self.line_rate) {
            writeln!(f, "{share}")?;
        }
        Ok(())
    }
}

impl KindReport {
    fn line(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let LatencyReport {
            p50,
            p90,
            p99,
            p999,
            max,
            ..
        } = self.latency_us;
        writeln!(
            f,
            "{name:<5} {:>9.0} IOPS {:>8.1} MB/s ({})   latency us: \
             p50 {p50:.1}  p90 {p90:.1}  p99 {p99:.1}  p99.9 {p999:.1}  max {max:.1}",
            self.iops,
            self.mb_per_s,
            line_rate::short(&self.line_rate)
        )
    }
}

impl VerifyReport {
    fn line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "verified {} sectors ({} of them never stamped): ",
            self.sectors, self.unknown
        )?;
        if self.faults > 0 {
            return write!(
                f,
                "WRONG DATA: {} at a wrong LBA, {} stale, {} never issued, {} foreign, {} corrupt; {} torn reads",
                self.wrong_lba,
                self.stale,
                self.unissued,
                self.foreign,
                self.corrupt,
                self.torn_reads
            );
        }
        if self.sectors == self.unknown {
            return write!(f, "NOTHING TO CHECK, no sector has a stamp");
        }
        write!(f, "all correct")
    }
}

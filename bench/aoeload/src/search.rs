//! `aoeload search`: the highest rate that loses nothing.
//!
//! First a closed loop finds what the target can do at all; then trials at fixed rates halve the
//! interval between a rate that passed and one that did not (the method of RFC 2544). A trial passes
//! when every command that was due was started and answered, with nothing sent twice, refused or
//! lost. Nothing is retransmitted in a trial: a lost frame is a lost command. Every trial is watched
//! layer by layer, so that the result tells where the frames stayed at the rate above the highest.

use crate::cli::SearchArgs;
use crate::connect::Connection;
use crate::drive;
use crate::line_rate::{self, LineShare, Traffic};
use crate::load::Summary;
use crate::losses::watch::Watch;
use crate::plan::{Plan, nanoseconds};
use crate::report::Report;
use anyhow::Result;
use initiator::Retransmission;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};

/// Deadline of a command in a trial: far beyond any latency that is of use.
const DEADLINE_NS: u64 = 2_000_000_000;
/// The first trial goes beyond what the closed loop reached, so that it may fail.
const START_FACTOR: f64 = 1.2;
/// More trials than any resolution needs.
const TRIALS_MAX: usize = 40;

#[derive(Serialize)]
struct SearchReport {
    /// The highest rate that passed, in commands per second; 0 if none did.
    rate: f64,
    mb_per_s: f64,
    line_rate: Vec<LineShare>,
    /// Every trial, in order.
    trials: Vec<Trial>,
    /// The last trial that passed.
    best: Option<Report>,
    /// The one at the lowest rate that failed: what limits the rate is where its frames were lost.
    above: Option<Report>,
}

#[derive(Serialize)]
struct Trial {
    rate: f64,
    passed: bool,
    lost: u64,
    errors: u64,
    overdue: u64,
}

/// Searches and prints the result; `Ok(false)` when no rate passed.
pub(crate) fn search(args: &SearchArgs) -> Result<bool> {
    let mut connection = Connection::open(&args.path, &args.target)?;
    let plan = Plan {
        warmup_ns: nanoseconds(args.warmup),
        measure_ns: nanoseconds(args.seconds),
        deadline_ns: DEADLINE_NS,
        line_rate_mbit: args.line_rate,
        progress: false,
        ..Plan::with_shape(&args.shape, &connection)?
    };
    plan.check_limits()?;
    let stop = crate::stop_on_signals()?;
    let report = bisect(&mut connection, &plan, args, &stop)?;
    if args.json {
        crate::print(&serde_json::to_string(&report)?)?;
    } else {
        crate::print(&format!(
            "highest rate without loss: {:.0} commands/s, {:.1} MB/s, {}",
            report.rate,
            report.mb_per_s,
            line_rate::short(&report.line_rate)
        ))?;
        if let Some(best) = &report.best {
            crate::print(&best.to_string())?;
        }
        if let Some(above) = &report.above {
            crate::print("\nthe lowest rate that failed, and where its frames were lost:")?;
            crate::print(&above.to_string())?;
        }
    }
    Ok(report.best.is_some() && !stop.load(Ordering::Relaxed))
}

fn bisect(
    connection: &mut Connection,
    plan: &Plan,
    args: &SearchArgs,
    stop: &AtomicBool,
) -> Result<SearchReport> {
    let resolution = args.resolution / 100.0;
    let ceiling = drive::run(connection, plan, None, stop)?;
    let closed_rate = Report::new(connection, plan, &ceiling).iops();
    crate::complain(&format!("closed loop: {closed_rate:.0} commands/s"));
    let mut report = SearchReport {
        rate: 0.0,
        mb_per_s: 0.0,
        line_rate: Vec::new(),
        trials: Vec::new(),
        best: None,
        above: None,
    };
    let mut high = f64::INFINITY;
    let mut rate = closed_rate * START_FACTOR;
    while !stop.load(Ordering::Relaxed)
        && report.trials.len() < TRIALS_MAX
        && rate >= 1.0
        && !is_settled(report.rate, high, resolution)
    {
        let trial_plan = Plan {
            rate: Some(rate),
            retransmission: Retransmission::Never,
            ..plan.clone()
        };
        let watch = Watch::begin(connection, &args.watch, args.probes)?;
        let summary = drive::run(connection, &trial_plan, None, stop)?;
        let watched = watch.end(connection, &summary.total)?;
        let trial = Trial::new(rate, &summary);
        let whole = Report::new(connection, &trial_plan, &summary).with(watched);
        crate::complain(&trial.line());
        if trial.passed {
            report.rate = rate;
            report.mb_per_s = rate * plan.size_bytes() as f64 / 1e6;
            report.best = Some(whole);
        } else {
            high = rate;
            // What was broken off says nothing.
            if !summary.interrupted {
                report.above = Some(whole);
            }
        }
        report.trials.push(trial);
        rate = next_rate(report.rate, high);
    }
    let reads = report.rate * f64::from(plan.read_percent) / 100.0;
    let traffic = Traffic {
        size_bytes: plan.size_bytes(),
        reads,
        writes: report.rate - reads,
    };
    report.line_rate = traffic.on(&line_rate::lines(connection, plan));
    Ok(report)
}

/// Whether the rate that passed and the one that did not are close enough.
fn is_settled(low: f64, high: f64, resolution: f64) -> bool {
    high.is_finite() && high - low <= resolution * high
}

/// The rate between one that passed and one that did not; upwards while none has failed.
fn next_rate(low: f64, high: f64) -> f64 {
    if high.is_infinite() {
        low * START_FACTOR
    } else {
        f64::midpoint(low, high)
    }
}

impl Trial {
    fn new(rate: f64, summary: &Summary) -> Self {
        let counters = &summary.total.counters;
        let overdue = summary.total.overdue;
        let passed = counters.lost == 0
            && counters.failed == 0
            && overdue == 0
            && !summary.interrupted
            && summary.targets.iter().all(|part| part.counters.done > 0);
        Self {
            rate,
            passed,
            lost: counters.lost,
            errors: counters.failed,
            overdue,
        }
    }

    fn line(&self) -> String {
        let verdict = if self.passed { "passed" } else { "failed" };
        format!(
            "{:.0} commands/s {verdict}: lost {}, errors {}, due but never started {}",
            self.rate, self.lost, self.errors, self.overdue
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_goes_up_until_something_fails_and_halves_from_then_on() {
        assert!(next_rate(1000.0, f64::INFINITY) > 1000.0);
        assert!((next_rate(1000.0, 2000.0) - 1500.0).abs() < 1e-9);
        assert!(!is_settled(1000.0, f64::INFINITY, 0.01));
        assert!(!is_settled(1000.0, 1020.0, 0.01) && is_settled(1000.0, 1010.0, 0.01));
        assert!((next_rate(0.0, 2000.0) - 1000.0).abs() < 1e-9);
    }
}

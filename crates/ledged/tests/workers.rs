//! One, two and four workers, with one and two ports of one and two queues: the same seeded mix of
//! overlapping reads, writes, TRIMs and flushes, many of which touch sectors of several workers, while the
//! mirrors are made to agree, or while a member fails.

mod support;

use anyhow::{Context, Result, bail, ensure};
use std::thread;
use std::time::{Duration, Instant};
use support::mix::{Host, open_ends, wire};
use support::shelf::check_log;
use support::{LIMIT, memory_disks};
use testbed::{Ledge, LedgeOptions, PairNetwork};

/// Commands of a run.
const COMMANDS: u32 = 3000;

/// Waits until no pass runs.
fn await_passes(ledge: &Ledge, command: &str, end: &str) -> Result<String> {
    let deadline = Instant::now() + 2 * LIMIT;
    loop {
        let told = ledge.console_ok(command)?;
        if told.contains(end) {
            return Ok(told);
        }
        if Instant::now() > deadline {
            bail!("it does not end: {told}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn serve(workers: u16, queues: usize, ports: usize, member_fails: bool) -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let (interfaces, theirs) = wire(&network, ports, queues)?;
    let options = LedgeOptions {
        workers,
        interfaces,
        disk_bytes: 20 << 20,
        cec: false,
        ..memory_disks("native")
    };
    let ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make 0 raid10 1.0-3")?;
    ledge.console_ok("online 0")?;
    let ends = open_ends(&network, &theirs)?;
    ensure!(ends.len() == ports * queues, "{} ends", ends.len());
    let mut host = Host::new(ends, 0x1234_5678_9abc_def1);
    host.discover()?;
    host.run(COMMANDS / 2)?;
    if member_fails {
        ledge.console_ok("fail 0.0.1")?;
    }
    host.run(COMMANDS / 2)?;
    host.read_back()?;
    let told = ledge.console_ok("aoestats -a")?;
    if !member_fails {
        ledge.console_ok("scrub start 0")?;
        let told = await_passes(&ledge, "scrub 0", " idle;")?;
        ensure!(told.contains(" 0 differ"), "{told}");
        host.read_back()?;
    }
    let value = |name: &str| {
        let row = told.lines().find(|line| line.contains(name));
        row.and_then(|row| row.split_whitespace().last()?.parse::<u64>().ok())
    };
    let crossed = workers > 1;
    for name in ["loans", "handed_over"] {
        let count = value(name).with_context(|| format!("no {name} in {told}"))?;
        ensure!(
            (count > 0) == crossed,
            "{name} {count} with {workers} workers"
        );
    }
    check_log_of_failure(&ledge.log(), member_fails)
}

fn check_log_of_failure(log: &str, member_fails: bool) -> Result<()> {
    if member_fails {
        return Ok(());
    }
    check_log(log)
}

fn serve_all(workers: u16) -> Result<()> {
    for (queues, ports) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        for member_fails in [false, true] {
            serve(workers, queues, ports, member_fails).with_context(|| {
                format!("{workers} workers, {ports} ports of {queues} queues, {member_fails}")
            })?;
        }
    }
    Ok(())
}

#[test]
fn one_worker_serves_a_mix() -> Result<()> {
    serve_all(1)
}

#[test]
fn two_workers_serve_the_same_mix() -> Result<()> {
    serve_all(2)
}

#[test]
fn four_workers_serve_the_same_mix() -> Result<()> {
    serve_all(4)
}

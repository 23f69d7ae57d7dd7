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
use testbed::network::CLIENT_INTERFACE;
use testbed::process::run;
use testbed::{Ledge, LedgeOptions, PairNetwork, paths};

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
    let is_shared = queues < usize::from(workers);
    let crossed = workers > 1;
    for (name, is_any) in [
        ("loans", crossed),
        ("handed_over", crossed && !is_shared),
        ("misdirected", false),
    ] {
        let count = value(&told, name)?;
        ensure!(
            (count > 0) == is_any,
            "{name} {count} with {workers} workers"
        );
    }
    let told = ledge.console_ok("ifstat -a")?;
    let spread = value(&told, "aoe_spread")?;
    ensure!(
        (spread > 0) == is_shared,
        "aoe_spread {spread} with {workers} workers"
    );
    check_log_of_failure(&ledge.log(), member_fails)
}

/// The number behind a name.
fn value(told: &str, name: &str) -> Result<u64> {
    let mut words = told.split_whitespace();
    words
        .find(|word| *word == name)
        .and_then(|_| words.next()?.parse().ok())
        .with_context(|| format!("no {name} in {told}"))
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

/// A load that reads back and compares all that it writes, of a LUN that is spread and of one whose home gets
/// everything, while they share one queue. Frames of 14 sectors cross from one worker to the next at the end
/// of groups.
#[test]
fn loads_over_a_shared_queue_read_back_what_they_have_written() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let options = LedgeOptions {
        workers: 3,
        disks: 5,
        disk_bytes: 24 << 20,
        cec: false,
        ..memory_disks("native")
    };
    let ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make 0 raid0 1.0-1")?;
    ledge.console_ok("make 1 raid5 1.2-4")?;
    ledge.console_ok("online 0-1")?;
    for load in [
        "--target 1.0 --op mixed --random --size 7168 --depth 16",
        "--target 1.0 --op write --sequential --size 7168 --depth 8",
        "--target 1.1 --op mixed --random --size 8192 --depth 8",
        "--target 1.1 --op write --sequential --size 8192 --depth 8",
    ] {
        let mut command = network.client.command(paths::binary("aoeload")?);
        command.args([
            "--interface",
            CLIENT_INTERFACE,
            "--seconds",
            "2",
            "--verify",
        ]);
        command.args(load.split(' '));
        run(command, 2 * LIMIT)?.success(load)?;
    }
    let told = ledge.console_ok("aoestats -a")?;
    for (name, is_any) in [
        ("loans", true),
        ("handed_over", false),
        ("misdirected", false),
    ] {
        let count = value(&told, name)?;
        ensure!((count > 0) == is_any, "{name} {count}");
    }
    check_log(&ledge.log())
}

//! What the daemon has given up when it serves, as the kernel tells it, and that what it may not do is an
//! error that is told, and no end.

mod support;

use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use support::shelf::{check_log, wait_until};
use support::wire::Wire;
use testbed::{Ledge, LedgeOptions, PairNetwork};

const LUN: (u16, u8) = (1, 0);

/// `CAP_NET_ADMIN`, `CAP_NET_RAW`, `CAP_IPC_LOCK`, `CAP_SYS_RAWIO`, `CAP_PERFMON`, `CAP_BPF`, and, since it
/// is root here and has no helper that asks NVMe drives, `CAP_SYS_ADMIN`.
const CAPABILITIES: u64 = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 38 | 1 << 39 | SYS_ADMIN;

/// `CAP_SYS_ADMIN`, which workers do not have.
const SYS_ADMIN: u64 = 1 << 21;

fn options() -> LedgeOptions {
    LedgeOptions {
        disks: 2,
        disk_bytes: 4 << 20,
        workers: 2,
        ..LedgeOptions::default()
    }
}

/// A thread as `/proc` tells it.
struct Thread {
    name: String,
    status: String,
}

impl Thread {
    fn field(&self, name: &str) -> Result<&str> {
        let mut fields = self.status.lines().filter_map(|line| line.split_once(':'));
        let value = fields
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value.trim());
        value.with_context(|| format!("{name} of thread {}", self.name))
    }

    fn number(&self, name: &str) -> Result<u64> {
        Ok(self.field(name)?.parse()?)
    }

    fn mask(&self, name: &str) -> Result<u64> {
        Ok(u64::from_str_radix(self.field(name)?, 16)?)
    }
}

fn threads(process: u32) -> Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let path = entry?.path();
        // One that has ended meanwhile tells nothing.
        let (Ok(name), Ok(status)) = (
            fs::read_to_string(path.join("comm")),
            fs::read_to_string(path.join("status")),
        ) else {
            continue;
        };
        let name = name.trim().to_owned();
        threads.push(Thread { name, status });
    }
    Ok(threads)
}

#[test]
fn every_thread_is_confined_and_workers_most() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = Ledge::start(&network.target, options())?;
    let process = ledge.daemon().context("it runs")?.id();
    let threads = threads(process)?;
    let (mut workers, mut others) = (0, 0);
    for thread in &threads {
        let name = &thread.name;
        // 2 is a filter.
        ensure!(thread.number("Seccomp")? == 2, "{name}: {}", thread.status);
        ensure!(
            thread.number("NoNewPrivs")? == 1,
            "{name}: {}",
            thread.status
        );
        for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
            let more = thread.mask(set)? & !CAPABILITIES;
            ensure!(more == 0, "{name} has in {set}: {more:#x}");
        }
        let filters = thread.number("Seccomp_filters")?;
        if name.starts_with("worker-") {
            let has = thread.mask("CapPrm")? | thread.mask("CapEff")?;
            ensure!(has & SYS_ADMIN == 0, "{name} has {has:#x}");
            ensure!(filters == 2, "{name}: {filters}");
            workers += 1;
        } else {
            // io_uring's own threads are the kernel's.
            others += u32::from(!name.starts_with("iou-"));
        }
    }
    ensure!(
        workers == 2 && others > 3,
        "{workers} workers, {others} others"
    );
    let locked = threads[0].field("VmLck")?;
    ensure!(!locked.starts_with("0 "), "nothing is locked: {locked}");
    ledge.stop()?;
    check_log(&ledge.log())?;
    Ok(())
}

/// A disk whose path leads out of what the configuration named at the start.
#[test]
fn a_file_that_is_not_allowed_is_told_of_and_the_shelf_serves_on() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = Ledge::start(&network.target, options())?;
    ledge.console_ok("make 0 raw 1.0")?;
    ledge.console_ok("online 0")?;
    let to = wire.discover(LUN)?;
    let elsewhere = tempfile::tempdir()?;
    let other = elsewhere.path().join("other");
    fs::copy(ledge.disk_path(1), &other)?;
    let pulled = ledge.disk_path(1).with_extension("pulled");
    fs::rename(ledge.disk_path(1), &pulled)?;
    wait_until(&ledge, "show -l 1.1", |said| said.contains("missing"))?;
    symlink(&other, ledge.disk_path(1))?;
    wait_until(&ledge, "show -l 1.1", |said| said.contains("down"))?;
    let log = ledge.log();
    let told = log.lines().find(|line| line.contains("(sandbox)"));
    let told = told.with_context(|| format!("it is not told: {log}"))?;
    ensure!(
        told.contains("slot 1") && told.contains("restart"),
        "{told}"
    );
    wire.write(to, LUN, 0, &[7; 512])?;
    ensure!(wire.read(to, LUN, 0, 1)? == [7; 512]);
    // The right one is taken again, without a restart.
    fs::remove_file(ledge.disk_path(1))?;
    fs::rename(&pulled, ledge.disk_path(1))?;
    wait_until(&ledge, "show -l 1.1", |said| said.contains("up"))?;
    // With another start the configuration leads there.
    fs::rename(ledge.disk_path(1), &pulled)?;
    symlink(&other, ledge.disk_path(1))?;
    ledge.stop()?;
    ledge.start_again()?;
    wait_until(&ledge, "show -l 1.1", |said| said.contains("up"))?;
    ledge.stop()?;
    check_log(&ledge.log())?;
    Ok(())
}

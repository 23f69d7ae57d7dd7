//! Workers wait for nobody: what system calls they make under load, counted by the kernel's own tracing of
//! processes. A lock that one of them had to wait for would show as `futex`, memory as `mmap` or `brk`.

mod support;

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::mix::{Host, open_ends, wire};
use support::shelf::check_log;
use support::{LIMIT, file_disks};
use testbed::{Ledge, LedgeOptions, PairNetwork};

/// Commands that go before, and those during which calls are counted.
const WARM_UP: u32 = 1500;
const COMMANDS: u32 = 1500;

/// What a worker asks the kernel for: I/O of drives and ports, its idle wait, the bell of another worker, the
/// time on machines where the kernel has to tell it, and once a second the state of its interfaces.
const CALLS: &[&str] = &[
    "clock_gettime",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "io_uring_enter",
    "read",
    "recvfrom",
    "recvmsg",
    "restart_syscall",
    "sendto",
    "write",
];

/// The threads of a process whose names begin so.
fn threads(process: u32, name: &str) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let path = entry?.path();
        if fs::read_to_string(path.join("comm"))?.starts_with(name) {
            let id = path.file_name().context("a thread has a number")?;
            ids.push(id.to_string_lossy().into_owned());
        }
    }
    Ok(ids)
}

/// How often threads make each system call while something is done.
fn calls_during(
    threads: &[String],
    work: impl FnOnce() -> Result<()>,
) -> Result<BTreeMap<String, u64>> {
    let directory = tempfile::tempdir()?;
    let table = directory.path().join("calls");
    let messages = directory.path().join("messages");
    let mut strace = Command::new("strace");
    strace.args(["-c", "-U", "name,calls", "-o"]).arg(&table);
    for thread in threads {
        strace.args(["-p", thread]);
    }
    strace
        .stdin(Stdio::null())
        .stderr(fs::File::create(&messages)?);
    let mut strace = strace.spawn().context("strace")?;
    let deadline = Instant::now() + LIMIT;
    let attached =
        || -> Result<usize> { Ok(fs::read_to_string(&messages)?.matches(" attached").count()) };
    while attached()? < threads.len() {
        let told = fs::read_to_string(&messages)?;
        ensure!(Instant::now() < deadline, "strace does not begin: {told}");
        thread::sleep(Duration::from_millis(20));
    }
    let done = work();
    let mut interrupt = Command::new("kill");
    interrupt.args(["-INT", &strace.id().to_string()]);
    ensure!(interrupt.status()?.success(), "strace has ended");
    strace.wait()?;
    done?;
    let table = fs::read_to_string(&table)?;
    let rows = table.lines().filter_map(|row| {
        let mut words = row.split_whitespace();
        let (name, calls) = (words.next()?, words.next()?);
        Some((name.to_owned(), calls.parse().ok()?))
    });
    Ok(rows.filter(|(name, _)| name != "total").collect())
}

fn count_calls(workers: u16) -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let (interfaces, theirs) = wire(&network, 2, 1)?;
    let options = LedgeOptions {
        workers,
        interfaces,
        disk_bytes: 20 << 20,
        cec: false,
        ..file_disks("native")
    };
    let mut ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make 0 raid10 1.0-3")?;
    ledge.console_ok("online 0")?;
    let mut host = Host::new(open_ends(&network, &theirs)?, 0x0bad_cafe_0bad_cafe);
    host.discover()?;
    host.run(WARM_UP)?;
    let process = ledge.daemon().context("no daemon")?.id();
    let of_workers = threads(process, "worker-")?;
    ensure!(of_workers.len() == usize::from(workers), "{of_workers:?}");
    let calls = calls_during(&of_workers, || host.run(COMMANDS))?;
    // They did the work while they were looked at.
    for name in ["io_uring_enter", "sendto"] {
        let count = calls.get(name).copied().unwrap_or(0);
        ensure!(count > u64::from(COMMANDS) / 50, "{name}: {calls:?}");
    }
    for name in calls.keys() {
        ensure!(
            CALLS.contains(&name.as_str()),
            "{workers} workers: {name} in {calls:?}"
        );
    }
    // Whoever waits for a lock is seen by this: the administration does.
    let others = threads(process, "events")?;
    let calls = calls_during(&others, || {
        ledge.console_ok("fail 0.0.1")?;
        ledge.console_ok("unfail 0.0.1")?;
        host.run(COMMANDS / 10)
    })?;
    ensure!(calls.contains_key("futex"), "{calls:?}");
    check_log(&ledge.log())
}

#[test]
fn a_worker_waits_for_no_other_thread() -> Result<()> {
    for workers in [1, 2, 4] {
        count_calls(workers).with_context(|| format!("{workers} workers"))?;
    }
    Ok(())
}

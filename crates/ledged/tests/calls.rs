//! Workers wait for nobody: what system calls they make under load, as the kernel lets another process see.
//! A lock that one of them had to wait for would show as a `futex` that waits, memory as `mmap` or `brk`.

mod support;

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::mix::{Host, open_ends, wire};
use support::shelf::check_log;
use support::{LIMIT, file_disks};
use testbed::{Ledge, LedgeOptions, PairNetwork};

/// Commands that go before, and those during which calls are counted.
const WARM_UP: u32 = 1500;
const COMMANDS: u32 = 1500;

/// What a worker asks the kernel for: I/O of drives and ports, its idle wait, the bell of another worker and
/// of the administration ([`WAKE`]), the time on machines where the kernel has to tell it, and once a second
/// the state of its interfaces.
const CALLS: &[&str] = &[
    "clock_gettime",
    "close",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "fcntl",
    "io_uring_enter",
    "ioctl",
    "read",
    "recvfrom",
    "recvmsg",
    "restart_syscall",
    "sendto",
    "socket",
    "write",
    WAKE,
];

/// A futex by which a thread that sleeps is woken, and one by which a thread waits.
const WAKE: &str = "futex that wakes";
const WAIT: &str = "futex that waits";

/// What a line of a trace tells of: the call that begins in it.
fn call_of(line: &str) -> Option<&str> {
    let (name, arguments) = line.split_once('(')?;
    let mut words = name.split_whitespace();
    // The number of the thread, when there are several, and the end of a call that was told of before.
    let name = words.find(|word| !word.bytes().all(|c| c.is_ascii_digit()))?;
    match name {
        "futex" if arguments.contains("FUTEX_WAKE") => Some(WAKE),
        "futex" => Some(WAIT),
        "<..." | "---" | "+++" => None,
        name => Some(name),
    }
}

/// The threads of a process whose names begin so. Others may end while they are looked through.
fn threads(process: u32, name: &str) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let path = entry?.path();
        if fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.starts_with(name)) {
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
    let trace = directory.path().join("trace");
    let messages = directory.path().join("messages");
    let mut strace = Command::new("strace");
    strace.args(["-s", "0", "-o"]).arg(&trace);
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
    let mut calls = BTreeMap::new();
    for line in fs::read_to_string(&trace)?.lines() {
        if let Some(call) = call_of(line) {
            *calls.entry(call.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(calls)
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
    check_log(&ledge.log())
}

/// A thread of the test that has to wait for a lock is seen to.
#[test]
fn who_waits_for_a_lock_is_found() -> Result<()> {
    let (lock, is_over) = (Mutex::new(()), AtomicBool::new(false));
    let wait = || {
        while !is_over.load(Ordering::Relaxed) {
            drop(lock.lock());
            thread::sleep(Duration::from_millis(1));
        }
    };
    let hold = || {
        for _ in 0..50 {
            let held = lock.lock();
            thread::sleep(Duration::from_millis(10));
            drop(held);
        }
        Ok(())
    };
    let watch = || {
        // It has its name when it runs.
        let mut waiter = Vec::new();
        while waiter.is_empty() {
            waiter = threads(std::process::id(), "waiter")?;
        }
        calls_during(&waiter, hold)
    };
    let calls = thread::scope(|scope| {
        thread::Builder::new()
            .name("waiter".to_owned())
            .spawn_scoped(scope, wait)?;
        let calls = watch();
        // Whatever came of it: the scope ends when the thread does.
        is_over.store(true, Ordering::Relaxed);
        calls
    })?;
    ensure!(calls.contains_key(WAIT), "{calls:?}");
    Ok(())
}

#[test]
fn a_worker_waits_for_no_other_thread() -> Result<()> {
    for workers in [1, 2, 4] {
        count_calls(workers).with_context(|| format!("{workers} workers"))?;
    }
    Ok(())
}

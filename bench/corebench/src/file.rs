//! The executor over one file or disk, without core or network: what `bench/executor.py` holds against fio.
//!
//! A closed loop of random 8 KiB I/Os, driven as a worker drives its executor: turns, and a sleep after
//! so long without work as a worker waits for drives. A write counts when it is durable.

use anyhow::{Context, Result, anyhow, ensure};
use disk::{DRIVE_SPIN, Drive, DriveSpec, Ending, Executor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use shelf::admin::DriveSlot;
use shelf::patience::IoTicket;
use shelf::target::{BufferIndex, BufferPlan, Io, IoOwner, Operation, Purpose};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sectors of an I/O: 8 KiB.
const SECTORS: u32 = 16;

/// Not counted: until then the loop has settled.
const WARM_UP: Duration = Duration::from_millis(200);

/// Longest sleep.
const SLEEP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// What is done, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct FileLoad {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) is_write: bool,
    /// I/Os under way, over all files.
    pub(crate) depth: u16,
    pub(crate) seconds: f64,
}

/// What came of it.
#[derive(Serialize, Debug)]
pub(crate) struct FileReport {
    iops: f64,
    p50_us: f64,
    p99_us: f64,
}

struct Loop {
    executor: Executor,
    sizes: Vec<u64>,
    is_write: bool,
    random: u64,
    /// When the I/O of each buffer began.
    began: Vec<Instant>,
}

/// Runs a load on a thread that is pinned, as a worker is.
pub(crate) fn run(load: &FileLoad, core: Option<usize>) -> Result<FileReport> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            if let Some(core) = core {
                let mut cpus = CpuSet::new();
                cpus.set(core);
                sched_setaffinity(None, &cpus)?;
            }
            serve(load)
        });
        worker.join().map_err(|_| anyhow!("the thread ended"))?
    })
}

fn serve(load: &FileLoad) -> Result<FileReport> {
    let mut drives = Vec::new();
    for (slot, path) in (0u16..).zip(&load.paths) {
        let drive = Drive::open(&DriveSpec::Path(path.clone()))?;
        // Buffered I/O would be a figure of the page cache.
        let note = drive.note().unwrap_or_default();
        ensure!(note.is_empty(), "{}: {note}", path.display());
        drives.push((DriveSlot(slot), Arc::new(drive)));
    }
    let plan = BufferPlan {
        commands: load.depth,
        pages: 0,
        records: 0,
    };
    let mut this = Loop {
        executor: Executor::new(&drives, plan)?,
        sizes: drives
            .iter()
            .map(|(_, drive)| drive.size_sectors())
            .collect(),
        is_write: load.is_write,
        random: 0x9e37_79b9_7f4a_7c15,
        began: vec![Instant::now(); usize::from(load.depth)],
    };
    ensure!(!this.sizes.is_empty(), "no file");
    (0..load.depth).for_each(|buffer| this.submit(buffer));
    let start = Instant::now();
    let (from, end) = (
        start + WARM_UP,
        start + WARM_UP + Duration::from_secs_f64(load.seconds),
    );
    let mut latencies = Vec::new();
    let mut idle_since = start;
    loop {
        this.executor.kick().context("the ring is broken")?;
        let now = Instant::now();
        if now >= end {
            break;
        }
        let mut any = false;
        while let Some(over) = this.executor.next_result() {
            ensure!(over.ending == Ending::Done, "{over:?}");
            let buffer = over.io.buffer.0;
            if now >= from {
                latencies.push(now - this.began[usize::from(buffer)]);
            }
            this.submit(buffer);
            any = true;
        }
        if any {
            idle_since = now;
        } else if !this.executor.is_polling() && now - idle_since >= DRIVE_SPIN {
            let mut due = [PollFd::from_borrowed_fd(
                this.executor.poll_fd(),
                PollFlags::IN,
            )];
            poll(&mut due, Some(&SLEEP))?;
            this.executor.woke();
            idle_since = Instant::now();
        }
    }
    report(latencies, load.seconds)
}

fn report(mut latencies: Vec<Duration>, seconds: f64) -> Result<FileReport> {
    ensure!(!latencies.is_empty(), "nothing was done");
    latencies.sort_unstable();
    let at = |percent: usize| {
        let place = (latencies.len() * percent / 100).min(latencies.len() - 1);
        latencies[place].as_secs_f64() * 1e6
    };
    Ok(FileReport {
        iops: latencies.len() as f64 / seconds,
        p50_us: at(50),
        p99_us: at(99),
    })
}

impl Loop {
    fn submit(&mut self, buffer: u16) {
        // Marsaglia's xorshift.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let drive = usize::from(buffer) % self.sizes.len();
        let blocks = self.sizes[drive] / u64::from(SECTORS);
        let io = Io {
            owner: IoOwner::Command(buffer),
            buffer: BufferIndex(buffer),
            operation: if self.is_write {
                Operation::Write
            } else {
                Operation::Read
            },
            drive: DriveSlot(u16::try_from(drive).unwrap_or(u16::MAX)),
            sector: self.random % blocks * u64::from(SECTORS),
            sectors: SECTORS,
            offset_sectors: 0,
            part: 0,
            member: 0,
            purpose: Purpose::Member,
            attempt: 0,
        };
        self.began[usize::from(buffer)] = Instant::now();
        self.executor.submit(IoTicket::NONE, io);
    }
}

//! `--histogram`: latencies in the HdrHistogram interval log format, which the usual tools read.
//!
//! Values are nanoseconds. There is an interval for about every second: one without tag for all commands,
//! and for mixed loads also one with the tag `read` and one with the tag `write`.
//!
//! Invariants:
//! * the intervals taken together are the latencies that the result tells of: commands that began inside
//!   the time of measurement, however late they ended. Each is in the interval in which it ended; the
//!   last interval goes on until the last of them has;
//! * the thread that measures neither writes nor allocates: it hands full histograms to a thread of their
//!   own and takes empty ones back. As long as there is none, the interval goes on.

use crate::tally::new_latency_histogram;
use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use initiator::Operation;
use std::fs::File;
use std::io::{LineWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

const INTERVAL_NS: u64 = 1_000_000_000;
/// Pairs of histograms: one is filled, one written, and one is spare.
const PAIRS: usize = 3;
/// The format has its longest latencies in milliseconds beside the histograms, for people.
const NS_PER_MS: f64 = 1e6;

/// The latencies of the commands of an interval.
#[derive(Debug)]
struct Pair {
    reads: Histogram<u64>,
    writes: Histogram<u64>,
}

impl Pair {
    fn new() -> Result<Self> {
        Ok(Self {
            reads: new_latency_histogram()?,
            writes: new_latency_histogram()?,
        })
    }
}

/// An interval that is over.
#[derive(Debug)]
struct Interval {
    /// Since the base time of the log.
    begin: Duration,
    length: Duration,
    pair: Pair,
}

/// A log that is being filled.
#[derive(Debug)]
pub(crate) struct HistogramLog {
    filling: Pair,
    base_ns: u64,
    interval_begin_ns: u64,
    intervals: SyncSender<Interval>,
    empty: Receiver<Pair>,
    writer: JoinHandle<Result<()>>,
}

impl HistogramLog {
    /// Makes the file; the base time of the log is that of now, `now_ns`.
    pub(crate) fn create(path: &Path, mixed: bool, now_ns: u64) -> Result<Self> {
        let base = SystemTime::now();
        let name = path.display().to_string();
        let file = File::create(path).with_context(|| format!("cannot create {name}"))?;
        // Room for all pairs: sending one never waits.
        let (intervals, over) = sync_channel(PAIRS);
        let (give_back, empty) = sync_channel(PAIRS);
        for _ in 1..PAIRS {
            give_back.send(Pair::new()?)?;
        }
        let writer = std::thread::Builder::new()
            .name("histogram".to_owned())
            .spawn(move || {
                write_all(LineWriter::new(file), base, mixed, &over, &give_back)
                    .with_context(|| format!("cannot write {name}"))
            })
            .context("cannot start a thread")?;
        Ok(Self {
            filling: Pair::new()?,
            base_ns: now_ns,
            interval_begin_ns: now_ns,
            intervals,
            empty,
            writer,
        })
    }

    /// The first interval begins at `begin_ns`.
    pub(crate) fn begin(&mut self, begin_ns: u64) {
        self.interval_begin_ns = begin_ns;
    }

    /// Counts a latency.
    pub(crate) fn record(&mut self, operation: Operation, latency_ns: u64) {
        let latencies = match operation {
            Operation::Read => &mut self.filling.reads,
            Operation::Write => &mut self.filling.writes,
        };
        latencies.saturating_record(latency_ns);
    }

    /// Ends the interval if it has lasted long enough. To be called several times a second.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        if now_ns < self.interval_begin_ns + INTERVAL_NS {
            return;
        }
        match self.empty.try_recv() {
            Ok(empty) => {
                let pair = std::mem::replace(&mut self.filling, empty);
                self.hand_over(pair, now_ns);
            }
            // The writer is late, and the interval goes on; or has failed: `finish` tells.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
    }

    fn hand_over(&mut self, pair: Pair, now_ns: u64) {
        let interval = Interval {
            begin: Duration::from_nanos(self.interval_begin_ns - self.base_ns),
            length: Duration::from_nanos(now_ns.saturating_sub(self.interval_begin_ns)),
            pair,
        };
        self.interval_begin_ns = now_ns;
        if self.intervals.try_send(interval).is_err() {
            // There is room for every pair, so the writer has failed: `finish` tells.
        }
    }

    /// Ends the last interval: no more latencies come.
    pub(crate) fn end(&mut self, now_ns: u64) -> Result<()> {
        let pair = std::mem::replace(&mut self.filling, Pair::new()?);
        self.hand_over(pair, now_ns);
        Ok(())
    }

    /// Waits until everything is written.
    pub(crate) fn finish(self) -> Result<()> {
        drop(self.intervals);
        self.writer
            .join()
            .map_err(|_| anyhow!("the thread that writes histograms has panicked"))?
    }
}

/// What the thread of the log does, until nobody sends intervals any more.
fn write_all(
    mut file: impl Write,
    base: SystemTime,
    mixed: bool,
    over: &Receiver<Interval>,
    give_back: &SyncSender<Pair>,
) -> Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut all = new_latency_histogram()?;
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("[Latencies in nanoseconds, by aoeload]")
        .with_start_time(base)
        .with_base_time(base)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(&mut file, &mut serializer)?;
    for Interval {
        begin,
        length,
        mut pair,
    } in over
    {
        all.reset();
        all.add(&pair.reads)?;
        all.add(&pair.writes)?;
        log.write_histogram(&all, begin, length, None)?;
        for (name, latencies) in [("read", &pair.reads), ("write", &pair.writes)] {
            if mixed {
                log.write_histogram(latencies, begin, length, Tag::new(name))?;
            }
        }
        pair.reads.reset();
        pair.writes.reset();
        if give_back.send(pair).is_err() {
            // The load is over: nobody needs it any more.
        }
    }
    drop(log);
    file.flush()?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;

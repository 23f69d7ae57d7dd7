//! How long threads of a program were ready to run while the machine ran others: what a slow answer is
//! judged with on a machine that has other things to do. And how they come before the others.
//!
//! The kernel adds up, for each thread, the time that it waited on a run queue (`schedstat`). A
//! [`Sampler`] notes the sums all the time, so that what falls into a short interval can be told
//! afterwards, to the distance of two samples at each end.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::paths::base_name;
use crate::process::run_ok;
use crate::requirements::program;

/// Time between two samples.
const INTERVAL: Duration = Duration::from_millis(5);

/// Whose threads are watched.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The process.
    pub process: u32,
    /// Only threads with this name; all when there is none.
    pub thread: Option<&'static str>,
}

impl Watched {
    /// The threads that there are, as directories in `/proc`.
    fn tasks(&self) -> Vec<PathBuf> {
        let is_meant = |task: &PathBuf| {
            let name = self.thread;
            name.is_none_or(|name| {
                fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
            })
        };
        // A thread or process that ends meanwhile waits for nothing any more.
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process));
        let paths = tasks
            .into_iter()
            .flatten()
            .flatten()
            .map(|task| task.path());
        paths.filter(is_meant).collect()
    }

    /// Lets these threads, and those that they start from now on, run before all that have no real-time
    /// priority. A lower nice value would not do: the kernel compares those within a session only.
    ///
    /// # Errors
    /// There are none, or not root.
    pub fn prefer(&self) -> Result<()> {
        let tasks = self.tasks();
        ensure!(!tasks.is_empty(), "no threads of {self:?}");
        for task in tasks {
            let mut command = Command::new(program("chrt")?);
            command.args(["--fifo", "--pid", "1", &base_name(&task)]);
            run_ok(command)?;
        }
        Ok(())
    }
}

/// Notes how long threads have waited for a processor.
#[derive(Debug)]
pub struct Sampler {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<RunDelays>>,
}

/// Sums of waiting, in the order of time.
#[derive(Debug, Clone, Default)]
pub struct RunDelays {
    samples: Vec<(Instant, Duration)>,
}

impl Sampler {
    /// Begins to watch.
    #[must_use]
    pub fn start(watched: Vec<Watched>) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = thread::spawn(move || {
            let mut sums = Sums::default();
            let mut delays = RunDelays::default();
            while !ended.load(Ordering::Relaxed) {
                let sum = sums.update(&watched);
                delays.samples.push((Instant::now(), sum));
                thread::sleep(INTERVAL);
            }
            delays
        });
        Self {
            end,
            thread: Some(thread),
        }
    }

    /// Ends watching.
    #[must_use]
    pub fn stop(mut self) -> RunDelays {
        self.end.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("only this ends it");
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // The thread sees that within one interval, and nobody waits for it.
        self.end.store(true, Ordering::Relaxed);
    }
}

impl RunDelays {
    /// How long the threads waited for a processor, all together, between two moments: from the last
    /// sample before to the second one after. The kernel adds a wait when it is over, and that may be
    /// just after the answer that it was in the way of.
    #[must_use]
    pub fn between(&self, from: Instant, to: Instant) -> Duration {
        let before = self.samples.partition_point(|(at, _)| *at <= from);
        let after = self.samples.partition_point(|(at, _)| *at < to) + 1;
        let sum = |index: usize| self.samples.get(index).or(self.samples.last());
        match (sum(before.saturating_sub(1)), sum(after)) {
            (Some((_, before)), Some((_, after))) => after.saturating_sub(*before),
            _ => Duration::ZERO,
        }
    }
}

/// Sums over threads that come and go.
#[derive(Debug, Default)]
struct Sums {
    last: HashMap<PathBuf, Duration>,
    total: Duration,
}

impl Sums {
    fn update(&mut self, watched: &[Watched]) -> Duration {
        for task in watched.iter().flat_map(Watched::tasks) {
            let Ok(text) = fs::read_to_string(task.join("schedstat")) else {
                continue;
            };
            let waited = waited(&text);
            let last = self.last.insert(task, waited).unwrap_or_default();
            self.total += waited.saturating_sub(last);
        }
        self.total
    }
}

/// The second of the three numbers: nanoseconds on a run queue.
fn waited(schedstat: &str) -> Duration {
    let ns = schedstat
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_told_by_interval() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let samples = [(0, 0), (5, 0), (10, 3), (15, 3), (20, 9), (25, 9)];
        let samples = samples.map(|(time, sum)| (at(time), ms(sum))).to_vec();
        let delays = RunDelays { samples };
        assert_eq!(delays.between(at(6), at(9)), ms(3));
        assert_eq!(delays.between(at(1), at(4)), ms(3));
        assert_eq!(delays.between(at(6), at(18)), ms(9));
        assert_eq!(delays.between(at(21), at(90)), ms(0));
        assert_eq!(RunDelays::default().between(at(0), at(1)), ms(0));
    }

    #[test]
    fn a_thread_that_shares_its_processor_waits() {
        assert_eq!(waited("12 3456 7\n"), Duration::from_nanos(3456));
        // More threads that never sleep than the machine has processors.
        let count = thread::available_parallelism().unwrap().get() + 1;
        let sampler = Sampler::start(vec![Watched {
            process: std::process::id(),
            thread: Some("busy"),
        }]);
        let start = Instant::now();
        let busy = || {
            thread::Builder::new().name("busy".into()).spawn(move || {
                while start.elapsed() < Duration::from_millis(300) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads: Vec<_> = (0..count).map(|_| busy().unwrap()).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let delays = sampler.stop();
        assert!(delays.between(start, Instant::now()) > Duration::from_millis(10));
    }
}

//! The loop: receive, send, flush; now and then look for overdue commands and show progress.

use crate::connect::{Clock, Connection};
use crate::histogram::HistogramLog;
use crate::interfaces::{Interfaces, RECEIVE_BUDGET};
use crate::load::{Load, Summary};
use crate::plan::Plan;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often overdue commands are looked for.
const EXPIRE_INTERVAL_NS: u64 = 1_000_000;
/// How many batches more than all windows hold are taken before overdue commands are looked for.
const DRAIN_TURNS_MORE: usize = 64;
/// How many turns without a frame are made before the clock is looked at: a few microseconds. A closed loop
/// needs it for nothing but what is overdue.
const IDLE_TURNS: usize = 32;
/// The same where commands become due with time: a few tenths of a microsecond, which latencies include.
const IDLE_TURNS_SCHEDULED: usize = 3;
/// How long nothing may come before no more answers to what was sent again or given up are waited for.
const SETTLE_NS: u64 = 50_000_000;
/// How long such answers are waited for in any case.
const SETTLE_NS_MAX: u64 = 1_000_000_000;
/// How often progress is shown.
const PROGRESS_INTERVAL_NS: u64 = 250_000_000;

/// Runs a load to its end, or until `stop` is set.
pub(crate) fn run(
    connection: &mut Connection,
    plan: &Plan,
    log: Option<HistogramLog>,
    stop: &AtomicBool,
) -> Result<Summary> {
    let mut load = Load::new(plan, connection, log, connection.clock.now_ns())?;
    let progress = Progress::new(plan, connection.clock.now_ns());
    let mut driver = Driver {
        clock: connection.clock,
        interfaces: &mut connection.interfaces,
        stop,
        progress,
    };
    driver.stage(&mut load)?;
    load.end_measuring(driver.clock.now_ns())?;
    if load.has_written() && !stop.load(Ordering::Relaxed) {
        driver.progress.read_back();
        load.read_back();
        driver.stage(&mut load)?;
    }
    driver.settle(&mut load);
    driver.progress.bar.finish_and_clear();
    load.into_summary(stop.load(Ordering::Relaxed))
}

struct Driver<'a> {
    clock: Clock,
    interfaces: &'a mut Interfaces,
    stop: &'a AtomicBool,
    progress: Progress,
}

impl Driver<'_> {
    /// Runs the stage that `load` is in to its end.
    fn stage(&mut self, load: &mut Load) -> Result<()> {
        let mut next_expire_ns = 0;
        let mut stopped = false;
        // Turns without a frame that may be made now, and those that have been.
        let (mut idle_turns_max, mut idle_turns) = (0, 0);
        let drain_turns = load.depth() / RECEIVE_BUDGET + DRAIN_TURNS_MORE;
        loop {
            let mut received = self.receive(load);
            if received == 0 && idle_turns < idle_turns_max {
                idle_turns += 1;
                std::hint::spin_loop();
                continue;
            }
            idle_turns = 0;
            let now_ns = self.clock.now_ns();
            if load.is_over(now_ns) {
                return Ok(());
            }
            let expire = now_ns >= next_expire_ns;
            // Whatever has come by now counts before anything is overdue: it may be us who slept.
            for _ in 0..drain_turns {
                if !expire || received == 0 {
                    break;
                }
                received = self.receive(load);
            }
            let sent_all = load.send(self.interfaces, now_ns)?;
            if expire {
                next_expire_ns = now_ns + EXPIRE_INTERVAL_NS;
                load.expire(self.interfaces, now_ns)?;
                self.progress.show(load, now_ns);
                if self.stop.load(Ordering::Relaxed) && !stopped {
                    stopped = true;
                    load.stop(now_ns);
                }
            }
            let unsent = self.interfaces.flush();
            // A closed loop with full windows goes on with the next answer, and needs no clock until then.
            idle_turns_max = match load.has_schedule() {
                _ if unsent || !sent_all => 0,
                true => IDLE_TURNS_SCHEDULED,
                false => IDLE_TURNS,
            };
        }
    }

    /// Takes late answers, so that they are not counted as lost on the way.
    fn settle(&mut self, load: &mut Load) {
        let begin_ns = self.clock.now_ns();
        let (mut now_ns, mut quiet_since_ns) = (begin_ns, begin_ns);
        while load.has_unanswered()
            && now_ns < quiet_since_ns + SETTLE_NS
            && now_ns < begin_ns + SETTLE_NS_MAX
        {
            let received = self.receive(load);
            self.interfaces.flush();
            now_ns = self.clock.now_ns();
            if received > 0 {
                quiet_since_ns = now_ns;
            }
        }
    }

    fn receive(&mut self, load: &mut Load) -> usize {
        let clock = self.clock;
        let mut now_ns = 0;
        self.interfaces.receive(&mut |_, frame, begins| {
            if begins {
                now_ns = clock.now_ns();
            }
            load.receive(frame, now_ns)
        })
    }
}

/// The bar on the terminal; nothing where stderr is none.
struct Progress {
    bar: ProgressBar,
    next_ns: u64,
    done_before: u64,
    begin_ns: u64,
    size_bytes: u64,
    reading_back: bool,
}

impl Progress {
    fn new(plan: &Plan, now_ns: u64) -> Self {
        let target = if plan.progress && std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let whole_ms = (plan.warmup_ns + plan.measure_ns) / 1_000_000;
        let bar = ProgressBar::with_draw_target(Some(whole_ms), target);
        // The template is constant and tested; a bar of another shape would do as well.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        Self {
            bar,
            next_ns: now_ns + PROGRESS_INTERVAL_NS,
            done_before: 0,
            begin_ns: now_ns,
            size_bytes: plan.size_bytes() as u64,
            reading_back: false,
        }
    }

    fn read_back(&mut self) {
        self.reading_back = true;
        self.bar.set_message("reading back what was written");
    }

    fn show(&mut self, load: &Load, now_ns: u64) {
        if now_ns < self.next_ns || self.bar.is_hidden() {
            return;
        }
        let since_ns = now_ns - self.next_ns + PROGRESS_INTERVAL_NS;
        self.next_ns = now_ns + PROGRESS_INTERVAL_NS;
        self.bar.set_position((now_ns - self.begin_ns) / 1_000_000);
        if self.reading_back {
            return;
        }
        let done = load.done_count();
        let per_s = (done - self.done_before) as f64 * 1e9 / since_ns as f64;
        self.done_before = done;
        let mb_per_s = per_s * self.size_bytes as f64 / 1e6;
        self.bar
            .set_message(format!("{per_s:.0} IOPS, {mb_per_s:.0} MB/s"));
    }
}

/// What the bar looks like.
const TEMPLATE: &str = "{bar:30} {percent:>3} % {msg}";

#[cfg(test)]
mod tests;

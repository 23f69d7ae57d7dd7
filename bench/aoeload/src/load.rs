//! A load in progress: the windows of all its targets behind the interfaces.
//!
//! Stages, in this order: *measure* (warm-up included), then *read back* if writes are verified.
//! Each stage ends when no target has anything more to start and nothing is outstanding; a command
//! without an answer ends by its deadline, so every stage does.
//!
//! Invariants:
//! * every target has a window of its own, so one that is slow holds up no other;
//! * when an interface is full, the target that had to wait is the next to send; otherwise each in its turn;
//! * nothing is allocated for a command.

use crate::connect::Connection;
use crate::histogram::HistogramLog;
use crate::interfaces::Interfaces;
use crate::plan::Plan;
use crate::record::Record;
use crate::series::{Row, Series};
use crate::tally::Tally;
use crate::window::Window;
use anyhow::{Context, Result};
use aoe::Header;
use initiator::{CheckCounters, Counters};
use port::ReceivedFrame;
use zerocopy::FromBytes;

/// A load in progress.
#[derive(Debug)]
pub(crate) struct Load {
    /// One for each target, in the order of the command line.
    windows: Vec<Window>,
    /// Shelf and slot, and which window is theirs; sorted.
    addresses: Vec<((u16, u8), usize)>,
    record: Record,
    /// Which window sends first.
    turn: usize,
    measuring: bool,
}

impl Load {
    /// A load that starts at `now_ns`.
    pub(crate) fn new(
        plan: &Plan,
        connection: &Connection,
        log: Option<HistogramLog>,
        now_ns: u64,
    ) -> Result<Self> {
        let windows: Vec<Window> = (0..plan.targets.len())
            .zip(&connection.endpoints)
            .map(|(index, endpoint)| Window::new(plan, index, endpoint, now_ns))
            .collect::<Result<_>>()?;
        let mut addresses: Vec<_> = (0..windows.len())
            .zip(&connection.endpoints)
            .map(|(index, endpoint)| {
                let target = &endpoint.target;
                ((target.shelf.0, target.slot.0), index)
            })
            .collect();
        addresses.sort_unstable();
        let begin_ns = now_ns + plan.warmup_ns;
        let series = Series::new(plan.size_bytes(), begin_ns, plan.measure_ns)?;
        Ok(Self {
            windows,
            addresses,
            record: Record::new(series, log, begin_ns),
            turn: 0,
            measuring: true,
        })
    }

    /// Ends measuring at `now_ns`, or reading back, ahead of time.
    pub(crate) fn stop(&mut self, now_ns: u64) {
        self.record.stop(now_ns);
        for window in &mut self.windows {
            window.stop(now_ns);
        }
    }

    /// Ends what is recorded of measuring. Called when that stage is over.
    pub(crate) fn end_measuring(&mut self, now_ns: u64) -> Result<()> {
        self.measuring = false;
        self.record.end(now_ns)
    }

    /// Moves on to reading back what was written. Called when the stage before it is over.
    pub(crate) fn read_back(&mut self) {
        self.windows.iter_mut().for_each(Window::read_back);
    }

    /// Whether the stage has come to its end.
    pub(crate) fn is_over(&self, now_ns: u64) -> bool {
        self.windows.iter().all(|window| window.is_over(now_ns))
    }

    /// How many commands may be outstanding.
    pub(crate) fn depth(&self) -> usize {
        self.windows.iter().map(Window::depth).sum()
    }

    /// Takes in a received frame; whether it answered something. What is of none of the targets is counted
    /// with the first one.
    pub(crate) fn receive(&mut self, frame: &ReceivedFrame<'_>, now_ns: u64) -> bool {
        let header = Header::ref_from_prefix(frame.first).ok();
        let found = header.and_then(|(header, _)| {
            let key = (header.shelf.get(), header.slot);
            let place = self.addresses.binary_search_by_key(&key, |entry| entry.0);
            place.ok().map(|place| self.addresses[place].1)
        });
        let window = self.windows.get_mut(found.unwrap_or(0));
        window.is_some_and(|window| window.receive(frame, now_ns, &mut self.record))
    }

    /// Fills the windows, as far as commands are due and the interfaces have room. `false`: one has none.
    pub(crate) fn send(&mut self, interfaces: &mut Interfaces, now_ns: u64) -> Result<bool> {
        let count = self.windows.len();
        for _ in 0..count {
            if !self.windows[self.turn].send(interfaces, now_ns)? {
                return Ok(false);
            }
            self.turn = (self.turn + 1) % count;
        }
        self.turn = (self.turn + 1) % count;
        Ok(true)
    }

    /// Whether commands become due with time, not only with answers.
    pub(crate) fn has_schedule(&self) -> bool {
        self.windows.iter().any(Window::has_schedule)
    }

    /// Sends again what is overdue, and gives up what is lost. To be called about every millisecond.
    pub(crate) fn expire(&mut self, interfaces: &mut Interfaces, now_ns: u64) -> Result<()> {
        if self.measuring {
            self.record.advance(now_ns);
        }
        for window in &mut self.windows {
            window.expire(interfaces, now_ns, &mut self.record)?;
        }
        Ok(())
    }

    /// What has been done so far inside the time of measurement.
    pub(crate) fn done_count(&self) -> u64 {
        self.windows.iter().map(Window::done_count).sum()
    }

    /// Whether something was sent that has no answer.
    pub(crate) fn has_unanswered(&self) -> bool {
        self.windows.iter().any(Window::has_unanswered)
    }

    /// Whether there is anything to read back.
    pub(crate) fn has_written(&self) -> bool {
        self.windows.iter().any(Window::has_written)
    }

    /// What came out of it.
    pub(crate) fn into_summary(self, interrupted: bool) -> Result<Summary> {
        let (series, log) = self.record.into_parts();
        let windows = self.windows.into_iter();
        let mut targets: Vec<_> = windows.map(Window::into_outcome).collect();
        if targets.len() > 1 {
            for ((shelf, slot), index) in self.addresses {
                for line in &mut targets[index].samples {
                    *line = format!("e{shelf}.{slot}: {line}");
                }
            }
        }
        Ok(Summary {
            total: Outcome::total(&targets)?,
            targets,
            series,
            log,
            interrupted,
        })
    }
}

/// What came out of a load.
#[derive(Debug)]
pub(crate) struct Summary {
    /// Of all targets together.
    pub(crate) total: Outcome,
    /// Of each, in the order of the command line.
    pub(crate) targets: Vec<Outcome>,
    pub(crate) series: Vec<Row>,
    /// To be finished.
    pub(crate) log: Option<HistogramLog>,
    /// Whether the load was stopped before its end.
    pub(crate) interrupted: bool,
}

/// What came out of a window, or of all.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Of all commands, those of the warm-up and of reading back included.
    pub(crate) counters: Counters,
    /// What verification found, if it was asked for.
    pub(crate) check: Option<CheckCounters>,
    /// Commands that were due before the end of measuring and never started.
    pub(crate) overdue: u64,
    /// The first errors, one line each.
    pub(crate) samples: Vec<String>,
}

impl Outcome {
    fn total(parts: &[Self]) -> Result<Self> {
        let mut tally = Tally::new()?;
        let first = parts.first().context("a load has a target")?;
        (tally.begin_ns, tally.end_ns) = (first.tally.begin_ns, first.tally.end_ns);
        let mut total = Self {
            tally,
            counters: Counters::default(),
            check: None,
            overdue: 0,
            samples: Vec::new(),
        };
        for part in parts {
            total.tally.add(&part.tally)?;
            add_counters(&mut total.counters, &part.counters);
            if let Some(check) = &part.check {
                add_check(total.check.get_or_insert_default(), check);
            }
            total.overdue += part.overdue;
            total.samples.extend_from_slice(&part.samples);
        }
        Ok(total)
    }
}

fn add_counters(sum: &mut Counters, part: &Counters) {
    // Named one by one, so that a counter that is new is not forgotten.
    let Counters {
        started,
        done,
        failed,
        lost,
        retransmissions,
        superseded,
        duplicates,
        unexpected,
        foreign,
    } = sum;
    *started += part.started;
    *done += part.done;
    *failed += part.failed;
    *lost += part.lost;
    *retransmissions += part.retransmissions;
    *superseded += part.superseded;
    *duplicates += part.duplicates;
    *unexpected += part.unexpected;
    *foreign += part.foreign;
}

fn add_check(sum: &mut CheckCounters, part: &CheckCounters) {
    let CheckCounters {
        sectors,
        unknown,
        wrong_lba,
        stale,
        unissued,
        foreign,
        corrupt,
        torn_reads,
    } = sum;
    *sectors += part.sectors;
    *unknown += part.unknown;
    *wrong_lba += part.wrong_lba;
    *stale += part.stale;
    *unissued += part.unissued;
    *foreign += part.foreign;
    *corrupt += part.corrupt;
    *torn_reads += part.torn_reads;
}

//! The commands of one target: what is on the wire, what comes next, what has been counted.
//!
//! Invariants:
//! * nothing is allocated for a command: data lie in one buffer per place in the window, which
//!   stays as it is until the command ends, so a retransmission sends the same bytes;
//! * a frame that its interface could not take is the next one to be sent.

use crate::connect::Endpoint;
use crate::interfaces::Interfaces;
use crate::load::Outcome;
use crate::plan::Plan;
use crate::record::{Done, Record};
use crate::tally::Tally;
use crate::verify::Verify;
use crate::workload::{Random, Workload};
use anyhow::{Context, Result};
use initiator::{
    CommandError, CommandFrame, Commands, Event, Expired, Finished, Generation, Operation,
    WindowSpec,
};
use port::{ReceivedFrame, TransmitError};

/// How many errors are told one by one.
const SAMPLES_MAX: usize = 10;
/// How many other blocks are tried when one may not be written now.
const BLOCK_TRIES: usize = 16;

/// Which part of the time of measurement is added to it for starting commands that were due before
/// its end: enough for a late turn of the loop, too little to hide a target that does not keep up.
const GRACE_DIVISOR: u64 = 100;

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Measure,
    /// Reading back; the next block to look at.
    ReadBack(u64),
    /// Only waiting for answers.
    Drain,
}

/// What must be remembered of a command until it ends.
#[derive(Clone, Copy, Default, Debug)]
struct InFlight {
    block: u64,
    /// When it was due: the time of its start, or that of the schedule.
    due_ns: u64,
    floor: Generation,
    measured: bool,
}

/// A command that is to be started.
struct Next {
    operation: Operation,
    block: u64,
    due_ns: u64,
}

/// The commands of one target.
#[derive(Debug)]
pub(crate) struct Window {
    sectors: u8,
    size_bytes: usize,
    measure_ns: u64,
    /// This target's part of the commands per second.
    rate: Option<f64>,
    commands: Commands,
    /// The interface that each route of the commands begins at.
    interfaces: Vec<usize>,
    workload: Workload,
    verify: Verify,
    tally: Tally,
    stage: Stage,
    in_flight: Vec<InFlight>,
    data: Vec<u8>,
    unsent: Option<CommandFrame>,
    /// Time of the first command of the schedule, and how many of it have been started.
    schedule_ns: u64,
    scheduled: u64,
    samples: Vec<String>,
    /// Commands lost since the last answer.
    lost_in_a_row: usize,
}

impl Window {
    /// The window of the target with this index, for a load that starts at `now_ns`.
    pub(crate) fn new(plan: &Plan, index: usize, endpoint: &Endpoint, now_ns: u64) -> Result<Self> {
        let target = &plan.targets[index];
        let depth = usize::from(target.depth);
        let spec = WindowSpec {
            depth,
            lba48: endpoint.identity.lba48,
            retransmission: plan.retransmission,
            deadline_ns: plan.deadline_ns,
            first_transmission: target.run.0 as u32,
        };
        let mut tally = Tally::new()?;
        tally.begin_ns = now_ns + plan.warmup_ns;
        tally.end_ns = tally.begin_ns + plan.measure_ns;
        let mut random = Random::new(target.run.0);
        let words =
            (0..depth * plan.size_bytes() / 8).flat_map(|_| random.next_u64().to_le_bytes());
        let routes: Vec<_> = endpoint.ways.iter().map(|way| way.route).collect();
        let (first, others) = routes.split_first().context("a target without a way")?;
        // The targets take turns in one schedule.
        let first_due_ns = plan.rate.map_or(0.0, |rate| index as f64 * 1e9 / rate);
        Ok(Self {
            sectors: plan.sectors,
            size_bytes: plan.size_bytes(),
            measure_ns: plan.measure_ns,
            rate: plan.rate.map(|rate| rate / plan.targets.len() as f64),
            commands: Commands::over(*first, others, spec),
            interfaces: endpoint.ways.iter().map(|way| way.interface).collect(),
            workload: Workload::new(plan, target),
            verify: Verify::new(plan, target),
            tally,
            stage: Stage::Measure,
            in_flight: vec![InFlight::default(); depth],
            data: words.collect(),
            unsent: None,
            schedule_ns: now_ns + first_due_ns as u64,
            scheduled: 0,
            samples: Vec::with_capacity(SAMPLES_MAX),
            lost_in_a_row: 0,
        })
    }

    /// Ends measuring at `now_ns`, or reading back, ahead of time.
    pub(crate) fn stop(&mut self, now_ns: u64) {
        self.tally.end_ns = self.tally.end_ns.min(now_ns);
        self.stage = Stage::Drain;
    }

    /// How many commands may be outstanding.
    pub(crate) fn depth(&self) -> usize {
        self.commands.depth()
    }

    /// Moves on to reading back what was written. Called when the stage before it is over.
    pub(crate) fn read_back(&mut self) {
        self.stage = Stage::ReadBack(0);
    }

    /// Whether the stage has come to its end.
    pub(crate) fn is_over(&self, now_ns: u64) -> bool {
        if self.commands.outstanding() > 0 {
            return false;
        }
        match self.stage {
            Stage::Measure => {
                now_ns >= self.tally.end_ns && !self.is_due(self.due_ns(now_ns), now_ns)
            }
            Stage::ReadBack(block) => self.verify.next_touched(block).is_none(),
            Stage::Drain => true,
        }
    }

    /// Takes in a received frame; whether it answered something, be it late.
    pub(crate) fn receive(
        &mut self,
        frame: &ReceivedFrame<'_>,
        now_ns: u64,
        record: &mut Record,
    ) -> bool {
        match self.commands.receive(frame, now_ns) {
            Event::Finished(finished) => {
                self.finish(&finished, Some(frame), now_ns, record);
                true
            }
            Event::Repeated => true,
            Event::Ignored => false,
        }
    }

    /// Whether commands become due with time, not only with answers.
    pub(crate) fn has_schedule(&self) -> bool {
        self.rate.is_some() && self.stage == Stage::Measure
    }

    /// Fills the window, as far as commands are due and the interfaces have room. `false`: one has none.
    pub(crate) fn send(&mut self, interfaces: &mut Interfaces, now_ns: u64) -> Result<bool> {
        if let Some(frame) = self.unsent.take()
            && !self.transmit(interfaces, frame)?
        {
            return Ok(false);
        }
        while self.commands.outstanding() < self.commands.depth() {
            let Some(next) = self.next(now_ns) else {
                break;
            };
            let Some(frame) = self.start(&next, now_ns) else {
                break;
            };
            if !self.transmit(interfaces, frame)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is due now, if anything.
    fn next(&mut self, now_ns: u64) -> Option<Next> {
        if let Stage::ReadBack(from) = self.stage {
            let block = self.verify.next_touched(from)?;
            self.stage = Stage::ReadBack(block + 1);
            return Some(Next {
                operation: Operation::Read,
                block,
                due_ns: now_ns,
            });
        }
        let due_ns = self.due_ns(now_ns);
        let due = self.stage == Stage::Measure && self.is_due(due_ns, now_ns);
        due.then(|| Next {
            operation: self.workload.operation(),
            block: self.workload.block(),
            due_ns,
        })
    }

    /// When the next command is due: according to the schedule, or now.
    fn due_ns(&self, now_ns: u64) -> u64 {
        self.rate.map_or(now_ns, |rate| {
            self.schedule_ns + (self.scheduled as f64 * 1e9 / rate) as u64
        })
    }

    /// Whether a command may be started now that is due at `due_ns`. Those of a schedule that ends
    /// get a little longer: what fell due with the last turn of the loop is not late.
    fn is_due(&self, due_ns: u64, now_ns: u64) -> bool {
        let end_ns = self.tally.end_ns;
        due_ns <= now_ns && due_ns < end_ns && now_ns < end_ns + self.measure_ns / GRACE_DIVISOR
    }

    /// Starts a command. `None` when it is a write and none of the blocks tried may be written now:
    /// writes on the wire that overlap have no order.
    fn start(&mut self, next: &Next, now_ns: u64) -> Option<CommandFrame> {
        let sectors = self.sectors;
        let mut block = next.block;
        let data_bytes = self.size_bytes;
        let floor = match next.operation {
            Operation::Read => self.verify.begin_read(block),
            Operation::Write => Generation::default(),
        };
        let id = self.commands.next_id()?;
        if next.operation == Operation::Write {
            let start = id.index() * data_bytes;
            let data = &mut self.data[start..start + data_bytes];
            // Two writes of one block with the same bytes are one that was sent again, to a target that looks
            // for that, and have one answer.
            let number = self.scheduled.to_le_bytes();
            data[..number.len()].copy_from_slice(&number);
            let mut tries = 0;
            while !self.verify.begin_write(block, sectors, data) {
                tries += 1;
                if tries == BLOCK_TRIES {
                    return None;
                }
                block = self.workload.block();
            }
        }
        self.in_flight[id.index()] = InFlight {
            block,
            due_ns: next.due_ns,
            floor,
            measured: self.stage == Stage::Measure,
        };
        self.scheduled += 1;
        let lba = block * u64::from(sectors);
        self.commands.start(next.operation, lba, sectors, now_ns)
    }

    /// Gives a frame to its interface; keeps it for later if there is no room now.
    fn transmit(&mut self, interfaces: &mut Interfaces, frame: CommandFrame) -> Result<bool> {
        let data = match frame.operation {
            Operation::Read => &[][..],
            Operation::Write => {
                let start = frame.id.index() * self.size_bytes;
                &self.data[start..start + self.size_bytes]
            }
        };
        let interface = self.interfaces[frame.route];
        match interfaces.transmit(interface, &frame.header, data) {
            Ok(()) => Ok(true),
            Err(TransmitError::Full) => {
                self.unsent = Some(frame);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends again what is overdue, and gives up what is lost. To be called about every millisecond.
    pub(crate) fn expire(
        &mut self,
        interfaces: &mut Interfaces,
        now_ns: u64,
        record: &mut Record,
    ) -> Result<()> {
        while let Some(expired) = self.commands.next_expired(now_ns) {
            let id = match &expired {
                Expired::Again(frame) => frame.id,
                Expired::Lost(finished) => finished.id,
            };
            // What waits for room has been overtaken: sent now, it would mean another command.
            if self.unsent.is_some_and(|frame| frame.id == id) {
                self.unsent = None;
            }
            match &expired {
                Expired::Again(_) => record.sent_again(now_ns),
                Expired::Lost(_) => record.lost(now_ns),
            }
            match expired {
                Expired::Again(frame) if self.unsent.is_none() => {
                    self.transmit(interfaces, frame)?;
                }
                // No room for this one either: its next timeout repeats it.
                Expired::Again(_) => {}
                Expired::Lost(finished) => self.finish(&finished, None, now_ns, record),
            }
        }
        Ok(())
    }

    fn finish(
        &mut self,
        finished: &Finished,
        frame: Option<&ReceivedFrame<'_>>,
        now_ns: u64,
        record: &mut Record,
    ) {
        let command = self.in_flight[finished.id.index()];
        let done = finished.result.is_ok();
        self.note_loss(finished.result == Err(CommandError::Lost));
        if finished.operation == Operation::Write {
            self.verify.end_write(command.block, done);
        }
        if let Err(error) = finished.result {
            let what = match finished.operation {
                Operation::Read => "read",
                Operation::Write => "write",
            };
            return self.sample(|| {
                format!(
                    "{what} of {} sectors at LBA {}: {error}",
                    finished.sectors, finished.lba
                )
            });
        }
        if command.measured {
            let (operation, due_ns) = (finished.operation, command.due_ns);
            record.done(Done {
                operation,
                due_ns,
                now_ns,
                latency_ns: self.tally.done(operation, due_ns, now_ns),
            });
        }
        if let (Operation::Read, Some(frame)) = (finished.operation, frame) {
            let (block, sectors) = (command.block, finished.sectors);
            let checked = self.verify.end_read(block, sectors, command.floor, frame);
            if let Err(mismatch) = checked {
                self.sample(|| format!("wrong data: {mismatch}"));
            }
        }
    }

    /// Gives up reading back from a target that is gone: each block would take a deadline.
    fn note_loss(&mut self, lost: bool) {
        if !lost {
            self.lost_in_a_row = 0;
            return;
        }
        self.lost_in_a_row += 1;
        let gone = self.lost_in_a_row >= self.commands.depth();
        if gone && matches!(self.stage, Stage::ReadBack(_)) {
            self.stage = Stage::Drain;
            self.sample(|| "the target is gone: not everything was read back".to_owned());
        }
    }

    #[cold]
    fn sample(&mut self, line: impl FnOnce() -> String) {
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(line());
        }
    }

    /// Commands of the schedule that were due before the end of measuring and never started.
    fn overdue_count(&self) -> u64 {
        let due = self.rate.map_or(0.0, |rate| {
            self.tally.end_ns.saturating_sub(self.schedule_ns) as f64 * rate / 1e9
        });
        (due as u64).saturating_sub(self.scheduled)
    }

    /// What has been done so far inside the time of measurement.
    pub(crate) fn done_count(&self) -> u64 {
        self.tally.done_count()
    }

    /// Whether something was sent that has no answer.
    pub(crate) fn has_unanswered(&self) -> bool {
        let counters = self.commands.counters();
        let answers = counters.done + counters.failed + counters.superseded + counters.duplicates;
        answers < counters.started + counters.retransmissions
    }

    /// Whether there is anything to read back.
    pub(crate) fn has_written(&self) -> bool {
        self.verify.next_touched(0).is_some()
    }

    /// What came out of it.
    pub(crate) fn into_outcome(self) -> Outcome {
        Outcome {
            overdue: self.overdue_count(),
            counters: *self.commands.counters(),
            check: self.verify.counters().copied(),
            tally: self.tally,
            samples: self.samples,
        }
    }
}

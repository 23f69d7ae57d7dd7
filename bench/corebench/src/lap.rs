//! The loop of a worker with nothing but core and executor in it: requests come from a counter instead of a
//! port, and replies are copied to where a port would send them from.

use crate::cpu_seconds;
use crate::frame::{FRAME_BYTES, MAC, Numbers, write_request};
use crate::luns::{self, Place};
use anyhow::{Result, ensure};
use aoe::{ATA_FRAME_BYTES, HEADER_BYTES};
use disk::{Ending, Executor};
use shelf::patience::IoTicket;
use shelf::plane::LunView;
use shelf::target::{
    Action, Body, BufferPlan, Io, IoOwner, Operation, PortIndex, PortView, Reply, Report, Target,
};
use std::sync::Arc;

/// As the daemon plans them.
pub(crate) const PLAN: BufferPlan = BufferPlan {
    commands: 1024,
    pages: 4096,
    records: 64,
};

/// Requests that are under way at a time, and that come in one turn at most, as with a port.
const DEPTH: usize = 256;
const RECEIVE_BUDGET: usize = 64;

/// Frames that lie between a port and the kernel.
const FRAMES: usize = 64;

/// What requests do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Load {
    pub(crate) is_write: bool,
    pub(crate) is_random: bool,
    pub(crate) sectors: u8,
}

/// What one lap came to.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Lap {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    /// I/Os by kind: reads, writes of the log, other writes.
    pub(crate) ios: [u64; 3],
}

impl Lap {
    pub(crate) fn seconds_each(&self) -> f64 {
        self.seconds / self.requests as f64
    }
}

/// What happened in a traced lap.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Io(Io),
    /// Everything that was asked for is done before what comes next.
    Turn,
}

/// Core and executor.
pub(crate) struct Bench {
    target: Target,
    executor: Executor,
    actions: Vec<Action>,
    /// Frames as they come and go.
    received: Vec<u8>,
    transmitted: Vec<u8>,
    frame: usize,
    outstanding: usize,
    /// Of the last write.
    stamp: u64,
    errors: u64,
    ios: [u64; 3],
    trace: Option<Vec<Step>>,
    turns: u64,
    random: Numbers,
}

impl Bench {
    pub(crate) fn new(disks: u16, disk_bytes: u64) -> Result<Self> {
        let port = PortView::single(MAC, 9000);
        let drives = luns::drives(disks, disk_bytes)?;
        Ok(Self {
            target: Target::new(&[port], PLAN),
            executor: Executor::new(&drives, PLAN)?,
            actions: Vec::with_capacity(8 * usize::from(PLAN.commands)),
            received: (0..FRAMES * FRAME_BYTES)
                .map(|index| ((index * 31) >> 3).to_le_bytes()[0])
                .collect(),
            transmitted: vec![0; FRAMES * FRAME_BYTES],
            frame: 0,
            outstanding: 0,
            stamp: 0,
            errors: 0,
            ios: [0; 3],
            trace: None,
            turns: 0,
            random: Numbers::new(),
        })
    }

    pub(crate) fn attach(&mut self, view: LunView) {
        self.target.attach(Arc::new(view), &mut self.actions);
        self.carry_out();
    }

    /// Serves a load for this many requests, and times it.
    pub(crate) fn lap(&mut self, lun: &Place, load: Load, requests: u64) -> Result<Lap> {
        self.ios = [0; 3];
        let start = cpu_seconds();
        self.serve(lun, load, requests)?;
        Ok(Lap {
            requests,
            seconds: cpu_seconds() - start,
            ios: self.ios,
        })
    }

    /// Serves a load without looking at a clock, which valgrind does not have.
    pub(crate) fn serve(&mut self, lun: &Place, load: Load, requests: u64) -> Result<()> {
        let errors = self.errors;
        let (mut sent, mut lba) = (0, 0);
        while sent < requests || self.outstanding > 0 {
            let mut batch = 0;
            while batch < RECEIVE_BUDGET && sent < requests && self.outstanding < DEPTH {
                let next = self.next_lba(lun, load, &mut lba);
                self.receive(lun, load, next);
                (sent, batch) = (sent + 1, batch + 1);
            }
            self.turn(batch > 0)?;
        }
        ensure!(
            self.errors == errors,
            "{} requests failed",
            self.errors - errors
        );
        Ok(())
    }

    /// The same, and what the executor was asked for.
    pub(crate) fn traced_lap(
        &mut self,
        lun: &Place,
        load: Load,
        requests: u64,
    ) -> Result<(Lap, Vec<Step>)> {
        self.trace = Some(Vec::with_capacity(usize::try_from(requests)? * 12));
        let lap = self.lap(lun, load, requests)?;
        Ok((lap, self.trace.take().unwrap_or_default()))
    }

    /// Does the I/O of a trace, and nothing else; gives the seconds that it takes.
    pub(crate) fn replay(&mut self, trace: &[Step]) -> Result<f64> {
        let start = cpu_seconds();
        for step in trace {
            match step {
                Step::Io(io) => self.executor.submit(IoTicket::NONE, *io),
                Step::Turn => {
                    self.executor.kick()?;
                    while let Some(over) = self.executor.next_result() {
                        ensure!(over.ending == Ending::Done, "{over:?}");
                    }
                }
            }
        }
        Ok(cpu_seconds() - start)
    }

    fn next_lba(&mut self, lun: &Place, load: Load, lba: &mut u64) -> u64 {
        let blocks = lun.capacity_sectors / u64::from(load.sectors);
        if load.is_random {
            return self.random.next() % blocks * u64::from(load.sectors);
        }
        let next = *lba;
        *lba = (next + u64::from(load.sectors)) % (blocks * u64::from(load.sectors));
        next
    }

    fn receive(&mut self, lun: &Place, load: Load, lba: u64) {
        self.frame = (self.frame + 1) % FRAMES;
        let frame = &mut self.received[self.frame * FRAME_BYTES..][..FRAME_BYTES];
        let bytes = write_request(frame, lun.number, load.is_write, lba, load.sectors);
        let payload = bytes - ATA_FRAME_BYTES;
        if load.is_write {
            // Else two writes of one place are one that was sent again, with one answer.
            self.stamp += 1;
            frame[ATA_FRAME_BYTES..][..8].copy_from_slice(&self.stamp.to_le_bytes());
        }
        self.outstanding += 1;
        let port = PortIndex(0);
        if let Some(admitted) = self.target.receive(port, frame, bytes, &mut self.actions) {
            let command = admitted.command;
            let buffer = self.executor.buffer_mut(admitted.buffer);
            buffer[..payload].copy_from_slice(&frame[ATA_FRAME_BYTES..bytes]);
            let (memory, out) = (&mut self.executor, &mut self.actions);
            self.target.filled(command, memory, out);
        }
        self.carry_out();
    }

    /// As the turn of a worker.
    fn turn(&mut self, received: bool) -> Result<()> {
        self.complete();
        self.work_on_stripes(received);
        self.carry_out();
        self.executor.kick()?;
        self.complete();
        self.work_on_stripes(true);
        self.carry_out();
        if let Some(trace) = &mut self.trace {
            trace.push(Step::Turn);
        }
        Ok(())
    }

    fn work_on_stripes(&mut self, received: bool) {
        // A microsecond a turn: nothing that was held waits for long.
        self.turns += 1;
        if self.target.has_stripe_work() {
            let (memory, out) = (&mut self.executor, &mut self.actions);
            self.target
                .stripe_step(self.turns * 1000, received, memory, out);
        }
    }

    fn complete(&mut self) {
        while let Some(over) = self.executor.next_result() {
            let ok = over.ending == Ending::Done;
            self.target.complete(&over.io, ok, &mut self.actions);
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Io(io) => self.submit(io),
                Action::Reply(reply) => self.reply(&reply),
                Action::Report(Report::MemberError { .. })
                | Action::Report(Report::WantRegions { .. }) => self.errors += 1,
                _ => {}
            }
        }
        self.actions = actions;
    }

    fn submit(&mut self, io: Io) {
        let kind = match (io.operation, io.owner) {
            (Operation::Write, IoOwner::Group(_)) => 1,
            (Operation::Write, _) => 2,
            _ => 0,
        };
        self.ios[kind] += 1;
        if let Some(trace) = &mut self.trace {
            trace.push(Step::Io(io));
        }
        self.executor.submit(IoTicket::NONE, io);
    }

    fn reply(&mut self, reply: &Reply) {
        self.frame = (self.frame + 1) % FRAMES;
        let frame = &mut self.transmitted[self.frame * FRAME_BYTES..][..FRAME_BYTES];
        frame[..reply.head_bytes].copy_from_slice(&reply.head[..reply.head_bytes]);
        if let Body::Data(span) = &reply.body {
            let data = self.executor.span(span);
            frame[reply.head_bytes..][..data.len()].copy_from_slice(data);
        }
        // Status of the ATA registers: its lowest bit says that something went wrong.
        let status = reply.head[HEADER_BYTES + 3];
        self.errors += u64::from(status & 1);
        if let Some(command) = reply.command {
            self.target.sent(command);
            self.outstanding -= 1;
        }
    }
}

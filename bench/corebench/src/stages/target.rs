//! Stages of the target and the executor: reads of a raid0 over four disks in memory.

use super::{SECTORS, Stage, UNITS};
use crate::frame::{FRAME_BYTES, MAC, Numbers, write_request};
use crate::lap::PLAN;
use crate::luns::{self, Shape};
use anyhow::{Result, ensure};
use disk::{Ending, Executor};
use raid::Level;
use shelf::patience::IoTicket;
use shelf::target::{Action, Io, PortIndex, PortView, Target};
use std::sync::Arc;

/// Large enough that it is not all in the second cache; 16 MiB of it are before the data.
const DISK_BYTES: u64 = 32 << 20;
const MEMBERS: u8 = 4;

/// A target with a LUN, and the frames that ask it.
struct Rig {
    target: Target,
    frames: Vec<[u8; FRAME_BYTES]>,
    frame_bytes: usize,
    blocks: u64,
    numbers: Numbers,
    actions: Vec<Action>,
}

impl Rig {
    fn new() -> Result<Self> {
        let shape = Shape {
            level: Level::Raid0,
            members: MEMBERS,
            lost: 0,
            is_protected: true,
        };
        let (place, view) = luns::view(0, shape, DISK_BYTES)?;
        let mut target = Target::new(&[PortView::single(MAC, 9000)], PLAN);
        let mut actions = Vec::with_capacity(4 * UNITS);
        target.attach(Arc::new(view), &mut actions);
        actions.clear();
        Ok(Self {
            target,
            frames: vec![[0; FRAME_BYTES]; UNITS],
            frame_bytes: 0,
            blocks: place.capacity_sectors / u64::from(SECTORS),
            numbers: Numbers::new(),
            actions,
        })
    }

    /// New requests, for somewhere else.
    fn write_frames(&mut self) {
        for frame in &mut self.frames {
            let lba = self.numbers.next() % self.blocks * u64::from(SECTORS);
            self.frame_bytes = write_request(frame, 0, false, lba, SECTORS);
        }
    }

    fn admit(&mut self) {
        for frame in &self.frames {
            let (head, bytes) = (&frame[..self.frame_bytes], self.frame_bytes);
            let target = &mut self.target;
            target.receive(PortIndex(0), head, bytes, &mut self.actions);
        }
    }

    /// What was asked of the disks.
    fn take_ios(&mut self, ios: &mut Vec<Io>) {
        for action in self.actions.drain(..) {
            if let Action::Io(io) = action {
                ios.push(io);
            }
        }
    }

    /// The I/O is done: answers, and frees the slots. Returns how many were answered with success.
    fn answer(&mut self, ios: &[Io]) -> usize {
        for io in ios {
            self.target.complete(io, true, &mut self.actions);
        }
        let mut answered = 0;
        for action in self.actions.drain(..) {
            if let Action::Reply(reply) = action
                && let Some(command) = reply.command
            {
                // The lowest bit of the status says that something went wrong.
                answered += usize::from(reply.head[aoe::HEADER_BYTES + 3] & 1 == 0);
                self.target.sent(command);
            }
        }
        answered
    }
}

/// From frames to I/O.
pub(super) struct Admit {
    rig: Rig,
    ios: Vec<Io>,
}

impl Admit {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            rig: Rig::new()?,
            ios: Vec::with_capacity(UNITS),
        })
    }
}

impl Stage for Admit {
    fn prepare(&mut self) -> Result<()> {
        self.rig.take_ios(&mut self.ios);
        let answered = self.rig.answer(&self.ios);
        ensure!(answered == self.ios.len(), "{answered} were answered");
        self.ios.clear();
        self.rig.write_frames();
        Ok(())
    }

    fn run(&mut self) -> usize {
        self.rig.admit();
        self.rig.actions.len()
    }
}

/// I/O of disks in memory, until it is given back.
pub(super) struct Execute {
    rig: Rig,
    executor: Executor,
    ios: Vec<Io>,
}

impl Execute {
    pub(super) fn new() -> Result<Self> {
        let drives = luns::drives(u16::from(MEMBERS), DISK_BYTES)?;
        Ok(Self {
            rig: Rig::new()?,
            executor: Executor::new(&drives, PLAN)?,
            ios: Vec::with_capacity(UNITS),
        })
    }
}

impl Stage for Execute {
    fn prepare(&mut self) -> Result<()> {
        self.rig.answer(&self.ios);
        self.ios.clear();
        self.rig.write_frames();
        self.rig.admit();
        self.rig.take_ios(&mut self.ios);
        Ok(())
    }

    fn run(&mut self) -> usize {
        for io in &self.ios {
            self.executor.submit(IoTicket::NONE, *io);
        }
        if self.executor.kick().is_err() {
            return 0;
        }
        let mut done = 0;
        while let Some(over) = self.executor.next_result() {
            done += usize::from(over.ending == Ending::Done);
        }
        done
    }
}

/// From finished I/O to replies.
pub(super) struct Replying {
    rig: Rig,
    ios: Vec<Io>,
}

impl Replying {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            rig: Rig::new()?,
            ios: Vec::with_capacity(UNITS),
        })
    }
}

impl Stage for Replying {
    fn prepare(&mut self) -> Result<()> {
        self.rig.write_frames();
        self.rig.admit();
        self.ios.clear();
        self.rig.take_ios(&mut self.ios);
        Ok(())
    }

    fn run(&mut self) -> usize {
        self.rig.answer(&self.ios)
    }
}

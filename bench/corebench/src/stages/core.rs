//! Stages of the leaf and core crates that need nothing but themselves.

use super::{SECTORS, Stage, UNITS};
use crate::frame::{FRAME_BYTES, Numbers, write_request};
use anyhow::Result;
use raid::{Geometry, Level};
use shelf::admin::DriveSlot;
use shelf::ids::LunNumber;
use shelf::order::{CommandIndex, Order, Range};
use shelf::patience::{DriveKind, IoTicket, Limits, Patience};
use shelf::target::{BufferIndex, Io, IoOwner, Operation, Purpose};
use std::hint::black_box;

/// Blocks of 8 KiB of the LUN that is read.
const BLOCKS: u64 = 1 << 20;

/// The commands of a lap.
fn commands() -> impl Iterator<Item = CommandIndex> {
    (0..).take(UNITS)
}

/// Where the requests of a lap begin.
fn lbas() -> Vec<u64> {
    let mut numbers = Numbers::new();
    let lba = |_| numbers.next() % BLOCKS * u64::from(SECTORS);
    (0..UNITS).map(lba).collect()
}

/// Header and arguments of a frame.
pub(super) struct Parse {
    frames: Vec<[u8; FRAME_BYTES]>,
    frame_bytes: usize,
}

impl Parse {
    pub(super) fn new() -> Self {
        let mut frame_bytes = 0;
        let frame = |lba: &u64| {
            let mut frame = [0; FRAME_BYTES];
            frame_bytes = write_request(&mut frame, 0, false, *lba, SECTORS);
            frame
        };
        Self {
            frames: lbas().iter().map(frame).collect(),
            frame_bytes,
        }
    }
}

impl Stage for Parse {
    fn run(&mut self) -> usize {
        let heads = self.frames.iter().map(|frame| &frame[..self.frame_bytes]);
        let is_request = |head: &&[u8]| black_box(aoe::request::parse(black_box(head))).is_ok();
        heads.filter(is_request).count()
    }
}

/// A command enters and leaves the order of its LUN, among as many as are under way.
pub(super) struct Ordering {
    order: Order,
    ranges: Vec<Range>,
}

impl Ordering {
    pub(super) fn new() -> Self {
        let range = |lba| Range {
            lun: LunNumber::new(0).unwrap_or_else(|| unreachable!("0 is a LUN number")),
            lba,
            sectors: u64::from(SECTORS),
            writes: false,
        };
        Self {
            order: Order::new(1024),
            ranges: lbas().into_iter().map(range).collect(),
        }
    }
}

impl Stage for Ordering {
    fn run(&mut self) -> usize {
        let mut may_run = 0;
        for (command, range) in commands().zip(&self.ranges) {
            may_run += usize::from(self.order.enter(command, *range));
        }
        for command in commands() {
            self.order.leave(command, &mut |_| {});
        }
        may_run
    }
}

/// Where the sectors of requests lie.
pub(super) struct Map {
    geometry: Geometry,
    lbas: Vec<u64>,
}

impl Map {
    pub(super) fn new() -> Result<Self> {
        let member_sectors = BLOCKS * u64::from(SECTORS) / 4;
        Ok(Self {
            geometry: Geometry::new(Level::Raid0, 4, 128, member_sectors)?,
            lbas: lbas(),
        })
    }
}

impl Stage for Map {
    fn run(&mut self) -> usize {
        let geometry = black_box(&self.geometry);
        let segments = |lba: &u64| {
            let segments = geometry.segments(*lba, u32::from(SECTORS));
            segments.map(black_box).count()
        };
        self.lbas.iter().map(segments).sum()
    }
}

/// The watch over I/Os: as many as a turn takes begin, then they end.
pub(super) struct Watch {
    patience: Patience,
    ios: Vec<Io>,
    tickets: Vec<IoTicket>,
    now_ns: u64,
}

impl Watch {
    pub(super) fn new() -> Self {
        let io = |(command, lba): (CommandIndex, u64)| Io {
            owner: IoOwner::Command(command),
            buffer: BufferIndex::of_command(command),
            operation: Operation::Read,
            drive: DriveSlot(command % 4),
            sector: lba,
            sectors: u32::from(SECTORS),
            offset_sectors: 0,
            part: 0,
            member: 0,
            purpose: Purpose::Member,
            attempt: 0,
        };
        let kinds = [0, 1, 2, 3].map(|slot| (DriveSlot(slot), DriveKind::SolidState));
        Self {
            patience: Patience::new(&kinds, 10_240, Limits::default()),
            ios: commands().zip(lbas()).map(io).collect(),
            tickets: Vec::with_capacity(UNITS),
            now_ns: 0,
        }
    }
}

impl Stage for Watch {
    fn run(&mut self) -> usize {
        self.patience.set_now(self.now_ns);
        for io in &self.ios {
            if !self.patience.is_barred(io) && !self.patience.is_hung(io.drive) {
                self.tickets.push(self.patience.begin(io));
            }
        }
        self.now_ns += 5_000;
        self.patience.set_now(self.now_ns);
        let watched = self.tickets.iter().filter(|t| **t != IoTicket::NONE);
        let watched = watched.count();
        for ticket in self.tickets.drain(..) {
            self.patience.end(ticket);
        }
        watched
    }
}

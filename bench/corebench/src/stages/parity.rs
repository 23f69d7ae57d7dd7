//! What parity, redo log and checksums add to a write.

use super::{SECTORS, Stage, UNITS};
use crate::frame::{FRAME_BYTES, MAC, write_request};
use crate::lap::PLAN;
use crate::luns::{self, Shape};
use anyhow::{Context, Result};
use aoe::SECTOR_BYTES;
use raid::Level;
use raid::log::{EntryPlace, LogParameters, RecordIdentity, RecordWriter};
use raid::parity::parity_and_checksums;
use shelf::target::{Action, Io, Memory, PortIndex, PortView, Span, Target, Work};
use std::hint::black_box;
use std::sync::Arc;

const BLOCK_BYTES: usize = SECTORS as usize * SECTOR_BYTES;

/// Bytes as they may be written.
fn block(number: usize) -> Vec<u8> {
    let byte = |index: usize| ((index * 31 + number * 7) >> 3).to_le_bytes()[0];
    (0..BLOCK_BYTES).map(byte).collect()
}

/// Buffers whose bytes nobody looks at.
struct NoBytes;

impl Memory for NoBytes {
    fn compute(&mut self, _inputs: &[Span], _outputs: &[Span], _work: Work<'_>) {}
}

/// Disks large enough for many laps; they are not there.
const DRIVE_BYTES: u64 = 256 << 20;
const MEMBERS: u8 = 5;

/// Frames that come in a turn.
const TURN_FRAMES: usize = 64;

/// Writes of whole stripes without their bytes.
pub(super) struct Slices {
    target: Target,
    frame: [u8; FRAME_BYTES],
    actions: Vec<Action>,
    ios: Vec<Io>,
    blocks: u64,
    next_block: u64,
    turns: u64,
    answered: usize,
}

impl Slices {
    pub(super) fn new() -> Result<Self> {
        let shape = Shape {
            level: Level::Raid5,
            members: MEMBERS,
            lost: 0,
            is_protected: true,
        };
        let (place, view) = luns::view(0, shape, DRIVE_BYTES)?;
        let mut target = Target::new(&[PortView::single(MAC, 9000)], PLAN);
        let mut actions = Vec::with_capacity(8 * usize::from(PLAN.commands));
        target.attach(Arc::new(view), &mut actions);
        actions.clear();
        let whole_laps = place.capacity_sectors / u64::from(SECTORS) / UNITS as u64;
        Ok(Self {
            target,
            frame: [0; FRAME_BYTES],
            actions,
            ios: Vec::with_capacity(8 * usize::from(PLAN.commands)),
            blocks: whole_laps * UNITS as u64,
            next_block: 0,
            turns: 0,
            answered: 0,
        })
    }

    fn receive(&mut self) {
        let lba = self.next_block * u64::from(SECTORS);
        self.next_block = (self.next_block + 1) % self.blocks;
        let bytes = write_request(&mut self.frame, 0, true, lba, SECTORS);
        let (target, out) = (&mut self.target, &mut self.actions);
        if let Some(payload) = target.receive(PortIndex(0), &self.frame, bytes, out) {
            target.filled(payload.command, &mut NoBytes, out);
        }
        self.carry_out();
    }

    fn turn(&mut self, received: bool) {
        self.turns += 1;
        for received in [received, true] {
            let (now_ns, out) = (self.turns * 1000, &mut self.actions);
            if self.target.has_stripe_work() {
                self.target.stripe_step(now_ns, received, &mut NoBytes, out);
            }
            self.carry_out();
            let mut ios = std::mem::take(&mut self.ios);
            for io in ios.drain(..) {
                self.target.complete(&io, true, &mut self.actions);
            }
            self.carry_out();
            ios.append(&mut self.ios);
            self.ios = ios;
        }
    }

    fn carry_out(&mut self) {
        for action in self.actions.drain(..) {
            match action {
                Action::Io(io) => self.ios.push(io),
                Action::Reply(reply) => {
                    let is_success = reply.head[aoe::HEADER_BYTES + 3] & 1 == 0;
                    self.answered += usize::from(is_success);
                    if let Some(command) = reply.command {
                        self.target.sent(command);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Stage for Slices {
    fn run(&mut self) -> usize {
        self.answered = 0;
        for _ in 0..UNITS / TURN_FRAMES {
            for _ in 0..TURN_FRAMES {
                self.receive();
            }
            self.turn(true);
        }
        let last_turn = self.turns + 1000;
        while self.answered < UNITS && self.turns < last_turn {
            self.turn(false);
        }
        self.answered
    }
}

/// P, Q and checksums of stripes of raid6, 8 + 2.
pub(super) struct Parity {
    data: Vec<Vec<u8>>,
    p: Vec<u8>,
    q: Vec<u8>,
}

/// Data blocks of a stripe of it.
const COLUMNS: usize = 8;

impl Parity {
    pub(super) fn new() -> Self {
        Self {
            data: (0..COLUMNS).map(block).collect(),
            p: vec![0; BLOCK_BYTES],
            q: vec![0; BLOCK_BYTES],
        }
    }
}

impl Stage for Parity {
    fn run(&mut self) -> usize {
        let data: [&[u8]; COLUMNS] = std::array::from_fn(|column| &*self.data[column]);
        let mut checksums = [0; COLUMNS + 2];
        let mut blocks = 0;
        for _ in 0..UNITS / COLUMNS {
            let (p, q) = (&mut self.p, &mut self.q);
            let done = parity_and_checksums(black_box(&data), p, Some(q), &mut checksums);
            blocks += if done.is_ok() { COLUMNS } else { 0 };
            black_box((&self.p, &self.q, &checksums));
        }
        blocks
    }
}

/// Small writes in a record of the redo log: eight to a record, as when there is load.
pub(super) struct Log {
    slot_sectors: u16,
    content: Vec<u8>,
    record: Vec<u8>,
    tags: [u32; MEMBERS as usize],
}

/// Writes that share a record.
const RECORD_WRITES: usize = 8;

impl Log {
    pub(super) fn new() -> Result<Self> {
        let parameters = LogParameters::for_areas(1 << 15).context("no room for a log")?;
        let slot_sectors = parameters.slot_sectors();
        Ok(Self {
            slot_sectors,
            content: block(0),
            record: vec![0; usize::from(slot_sectors) * SECTOR_BYTES],
            tags: [1, 2, 3, 4, 5],
        })
    }
}

impl Stage for Log {
    fn run(&mut self) -> usize {
        let mut entries = 0;
        for group in 0..UNITS / RECORD_WRITES {
            let mut writer = RecordWriter::new(MEMBERS, self.slot_sectors);
            for number in 0..RECORD_WRITES as u64 {
                let place = EntryPlace {
                    member_sector: number * u64::from(SECTORS),
                    range_start: 0,
                    range_sectors: u16::from(SECTORS),
                    participants: 0b11,
                };
                let content = black_box(&self.content);
                let added = writer.add_redo(&mut self.record, &place, content);
                entries += usize::from(added.is_ok());
            }
            let identity = RecordIdentity {
                set_uuid: uuid::Uuid::from_u128(1),
                epoch: 1,
                group: group as u64 + 1,
                element: 0,
                tags: &self.tags,
            };
            black_box(writer.finish(&mut self.record, &identity));
        }
        entries
    }
}

/// The checksum of a content.
pub(super) struct Checksum {
    content: Vec<u8>,
}

impl Checksum {
    pub(super) fn new() -> Self {
        Self { content: block(1) }
    }
}

impl Stage for Checksum {
    fn run(&mut self) -> usize {
        let first = raid::checksum::nh(&self.content);
        let content = || black_box(&self.content);
        let others = (1..UNITS).filter(|_| raid::checksum::nh(content()) == first);
        1 + others.count()
    }
}

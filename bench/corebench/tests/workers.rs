//! Workers on threads of their own allocate nothing once they have warmed up: one, two and four of them,
//! every level and kind of request, frames that are handed over and back, commands that borrow sectors of
//! other workers, replies that wait for their pace.
//!
//! What any thread of this process allocates is counted, so this program has one test, and no harness, which
//! would write to the terminal when that takes long.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what went wrong by panicking"
)]

#[path = "../src/luns.rs"]
mod luns;

use aoe::ata::COMMAND_ATA;
use aoe::config::COMMAND_CONFIG;
use aoe::{ATA_FRAME_BYTES, AtaRegisters, HEADER_BYTES, Header, MacAddress, SECTOR_BYTES};
use aoe::{Shelf, Slot, Tag};
use ata::opcode;
use ata::trim::{Entry, FEATURE};
use engine::{Paces, Spin, WorkerOptions, Workers};
use luns::{Place, Shape};
use port::{MemoryPort, Port, TransmitError, memory_pair};
use raid::Level;
use shelf::patience::Limits;
use shelf::plane::DataPlane;
use shelf::shard::GROUP_SECTORS;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PORT: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const LIMIT: Duration = Duration::from_secs(60);

const DRIVES: u8 = 4;
const DRIVE_BYTES: u64 = 48 << 20;
const COMMANDS: u16 = 256;
/// Fast, so that replies wait only when many come at once.
const PACE: u64 = 10_000;

/// Requests at a time.
const WINDOW: u64 = 24;
/// TRIMs at a time.
const TRIMS: u64 = 4;
/// Windows of each kind of request, once to warm up and once that is counted: of all kinds together more
/// requests than there are commands and buffers.
const WINDOWS: u64 = 50;
/// The LUN: not one whose home is the first worker, which has the first port.
const LUN: u8 = 1;

/// What a window of requests is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Write,
    Read,
    RandomWrite,
    /// Half of each in two groups, so of two owners.
    CrossingWrite,
    CrossingRead,
    /// Over three groups.
    Trim,
    Flush,
    Identify,
    Config,
    ConfigOfAll,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Write,
        Self::Read,
        Self::RandomWrite,
        Self::CrossingWrite,
        Self::CrossingRead,
        Self::Trim,
        Self::Flush,
        Self::Identify,
        Self::Config,
        Self::ConfigOfAll,
    ];

    /// Opcode, count of sectors and LBA of the request of a number.
    fn command(self, place: &Place, number: u64) -> (u8, u8, u64) {
        let blocks = place.capacity_sectors / 16;
        let edges = place.capacity_sectors / GROUP_SECTORS - 2;
        // Mixed, and of one window no two are the same.
        let mixed = number * 7919 % blocks * 16;
        let edge = (1 + number % edges) * GROUP_SECTORS - 8;
        match self {
            Self::Write => (opcode::WRITE_EXT, 16, number % blocks * 16),
            Self::Read => (opcode::READ_EXT, 16, number % blocks * 16),
            Self::RandomWrite => (opcode::WRITE_EXT, 8, mixed),
            Self::CrossingWrite => (opcode::WRITE_EXT, 16, edge),
            Self::CrossingRead => (opcode::READ_EXT, 16, edge),
            Self::Trim => (opcode::DATA_SET_MANAGEMENT, 1, 0),
            Self::Flush => (opcode::FLUSH_EXT, 0, 0),
            _ => (opcode::IDENTIFY, 1, 0),
        }
    }
}

struct Host {
    ports: Vec<MemoryPort>,
    frame: Vec<u8>,
    number: u64,
    answers: u64,
}

impl Host {
    /// Sends so many windows of a kind of request, and takes the answers.
    fn load(&mut self, place: &Place, kind: Kind, windows: u64) {
        for _ in 0..windows {
            let window = if kind == Kind::Trim { TRIMS } else { WINDOW };
            for _ in 0..window {
                self.number += 1;
                let bytes = self.request(place, kind);
                self.send(bytes);
            }
            let end = Instant::now() + LIMIT;
            while self.answers < window {
                assert!(Instant::now() < end, "{kind:?}: {} answers", self.answers);
                self.hear(kind);
                thread::yield_now();
            }
            self.answers = 0;
        }
    }

    /// Makes the next request; how long it is.
    fn request(&mut self, place: &Place, kind: Kind) -> usize {
        let is_config = matches!(kind, Kind::Config | Kind::ConfigOfAll);
        let command = if is_config {
            COMMAND_CONFIG
        } else {
            COMMAND_ATA
        };
        let slot = if kind == Kind::ConfigOfAll {
            0xff
        } else {
            place.number
        };
        let tag = Tag(u32::try_from(self.number).unwrap());
        let header = Header::request(PORT, CLIENT, Shelf(1), Slot(slot), command, tag);
        self.frame[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        if is_config {
            self.frame[HEADER_BYTES..ATA_FRAME_BYTES].fill(0);
            return ATA_FRAME_BYTES;
        }
        let (opcode, sectors, lba) = kind.command(place, self.number);
        let writes = matches!(opcode, opcode::WRITE_EXT | opcode::DATA_SET_MANAGEMENT);
        let mut registers = AtaRegisters::extended(opcode, writes, lba, sectors);
        if kind == Kind::Trim {
            registers.feature_error = FEATURE;
        }
        self.frame[HEADER_BYTES..ATA_FRAME_BYTES].copy_from_slice(registers.as_bytes());
        if !writes {
            return ATA_FRAME_BYTES;
        }
        let data = &mut self.frame[ATA_FRAME_BYTES..][..usize::from(sectors) * SECTOR_BYTES];
        if kind == Kind::Trim {
            let entry = Entry {
                lba: self.number % (place.capacity_sectors / GROUP_SECTORS / 3) * 3 * GROUP_SECTORS,
                sectors: u16::try_from(2 * GROUP_SECTORS + 8).unwrap(),
            };
            data.fill(0);
            data[..8].copy_from_slice(&entry.encode());
        } else {
            // Else two writes of one place are one that was sent again.
            data[..8].copy_from_slice(&self.number.to_le_bytes());
        }
        ATA_FRAME_BYTES + data.len()
    }

    fn send(&mut self, bytes: usize) {
        let count = self.ports.len() as u64;
        let port = &mut self.ports[usize::try_from(self.number % count).unwrap()];
        let end = Instant::now() + LIMIT;
        while port.transmit(&self.frame[..bytes], &[]) == Err(TransmitError::Full) {
            assert!(Instant::now() < end, "the port takes nothing");
            thread::yield_now();
        }
        port.flush();
    }

    fn hear(&mut self, kind: Kind) {
        for port in &mut self.ports {
            port.receive(64, &mut |frame| {
                let head = frame.first;
                self.answers += 1;
                assert!(head[14] == 0x18, "{kind:?}: {head:?}");
                let is_ata = head[19] == COMMAND_ATA;
                assert!(!is_ata || head[27] == 0x40, "{kind:?}: {head:?}");
            });
        }
    }
}

/// Workers with two queues of one interface, of the first two of them.
fn start(count: u8) -> (Workers, Host) {
    let (mut ours, mut theirs) = (Vec::<Box<dyn Port>>::new(), Vec::new());
    for _ in 0..2 {
        let (own, their) = memory_pair(PORT, CLIENT, 9000, 64).unwrap();
        ours.push(Box::new(own));
        theirs.push(their);
    }
    let drives = luns::drives(u16::from(DRIVES), DRIVE_BYTES).unwrap();
    let paces = Paces::new(&[("memory0".to_owned(), PACE)]);
    let seats = engine::seats(count, ours, COMMANDS, usize::from(DRIVES)).unwrap();
    let spawn = |(index, seat)| {
        let options = WorkerOptions {
            index,
            core: None,
            // So that they poll and sleep.
            spin: Spin::For(Duration::from_micros(50)),
            commands: COMMANDS,
            limits: Limits::default(),
            room: disk::DriveRoom::for_drives(&drives),
            prepare: || Ok(()),
            paces: paces.clone(),
        };
        let (_, memory) = engine::worker_memories(COMMANDS, 1).unwrap().remove(0);
        engine::spawn(options, seat, memory, drives.clone(), |_| true).unwrap()
    };
    let workers = Workers::new(seats.into_iter().enumerate().map(spawn).collect());
    let host = Host {
        ports: theirs,
        frame: vec![7; 9216],
        number: 0,
        answers: 0,
    };
    (workers, host)
}

fn counter(workers: &Workers, name: &str) -> u64 {
    let groups = workers.counters();
    let mut rows = groups.iter().flat_map(|group| &group.counters);
    rows.find(|(row, _)| *row == name).unwrap().1
}

fn serve(workers: &mut Workers, host: &mut Host, level: Level) {
    let shape = Shape {
        level,
        members: DRIVES,
        lost: 0,
        is_protected: true,
    };
    let (place, view) = luns::view(LUN, shape, DRIVE_BYTES).unwrap();
    workers.attach(Arc::new(view.clone())).unwrap();
    // What one LUN leaves on the drives is no parity of the next: all of it is written first.
    let all = place.capacity_sectors / 16 / WINDOW + 1;
    host.load(&place, Kind::Write, all);
    for kind in Kind::ALL {
        if kind == Kind::Trim && level.parity_count() > 0 {
            continue;
        }
        host.load(&place, kind, WINDOWS);
        let region = Region::new(COUNTED);
        host.load(&place, kind, WINDOWS);
        let change = region.change();
        assert_eq!(
            (change.allocations, change.reallocations),
            (0, 0),
            "{level:?}, {kind:?}: {change:?}"
        );
    }
    workers.detach(view.lun).unwrap();
}

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let region = Region::new(COUNTED);
    drop(std::hint::black_box(Box::new(1)));
    assert!(region.change().allocations > 0, "they are counted at all");
    for count in [1, 2, 4] {
        let (mut workers, mut host) = start(count);
        for level in [Level::Raid0, Level::Raid10, Level::Raid5, Level::Raid6] {
            serve(&mut workers, &mut host, level);
        }
        // What was meant to happen did.
        for name in ["loans", "handed_over"] {
            let happened = counter(&workers, name);
            assert_eq!(
                happened > 0,
                count > 1,
                "{name}: {happened}, {count} workers"
            );
        }
        assert!(counter(&workers, "paced_replies") > 0);
        workers.stop();
    }
}

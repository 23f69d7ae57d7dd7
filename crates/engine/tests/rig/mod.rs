//! Workers between ports in memory and a drive in memory, and a host that asks them.
#![allow(dead_code, reason = "each test program uses a part of it")]

use aoe::{AtaRegisters, Header, MacAddress, Shelf, Slot, Tag};
use disk::{Drive, DriveSpec};
use engine::{Paces, Spin, WorkerOptions, Workers};
use port::{MemoryPort, Port};
use raid::{Geometry, Level};
use shelf::admin::{DriveSlot, LunNumber};
use shelf::patience::Limits;
use shelf::plane::{DataPlane, LunView, MemberView, PartView};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

pub(crate) const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 99]);
pub(crate) const PORT: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn lun() -> LunNumber {
    LunNumber::new(0).unwrap()
}

/// Sectors of drive 0.
const DRIVE_SECTORS: u64 = 8 * shelf::shard::GROUP_SECTORS;

/// A mirror over drive 0, which is there, and drive 1, which is not: each write to it fails.
pub(crate) fn mirror() -> Arc<LunView> {
    let geometry = Geometry::new(Level::Raid1, 2, 128, 1024).unwrap();
    Arc::new(view(geometry))
}

/// All of drive 0: sectors of as many owners as there are workers.
pub(crate) fn whole_drive() -> Arc<LunView> {
    let geometry = Geometry::new(Level::Jbod, 1, 128, DRIVE_SECTORS).unwrap();
    Arc::new(view(geometry))
}

/// LUN 0 over the first drives.
fn view(geometry: Geometry) -> LunView {
    let member = |drive| {
        Some(MemberView {
            drive: DriveSlot(drive),
            data_offset_sectors: 0,
            in_sync: true,
            log_area: raid::layout::Area {
                sector: 0,
                sectors: 0,
            },
            log_tag: 1,
        })
    };
    let members = (0..u16::from(geometry.members())).map(member).collect();
    LunView {
        lun: lun(),
        shelf: Shelf(1),
        online: true,
        capacity_sectors: geometry.capacity_sectors(),
        unit: raid::Unit::SECTOR,
        parts: vec![PartView {
            geometry,
            members,
            twins: Vec::new(),
            mirrors_unsynced: false,
            sync: None,
            regions: None,
            lost: [].into(),
            log: None,
        }],
        identify: Box::new([0; 512]),
        config_string: Vec::new(),
        access: shelf::access::Access::default(),
    }
}

/// One worker that serves the mirror.
pub(crate) fn start(ports: Vec<Box<dyn Port>>) -> Workers {
    Start::default().start(ports)
}

/// How workers are started.
pub(crate) struct Start {
    pub(crate) workers: u8,
    pub(crate) spin: Spin,
    /// Mbit/s to each station of the ports.
    pub(crate) pace: u64,
    pub(crate) commands: u16,
    pub(crate) view: Arc<LunView>,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            workers: 1,
            spin: Spin::For(Duration::from_micros(50)),
            pace: 0,
            commands: 16,
            view: mirror(),
        }
    }
}

impl Start {
    pub(crate) fn start(self, ports: Vec<Box<dyn Port>>) -> Workers {
        let size_bytes = DRIVE_SECTORS * 512;
        let ram = Drive::open(&DriveSpec::Ram { size_bytes }).unwrap();
        let drives = vec![(DriveSlot(0), Arc::new(ram))];
        let paces = Paces::new(&[("memory0".to_owned(), self.pace)]);
        let seats = engine::seats(self.workers, ports, self.commands, 1).unwrap();
        let spawn = |(index, seat)| {
            let options = WorkerOptions {
                paces: paces.clone(),
                index,
                core: None,
                spin: self.spin,
                commands: self.commands,
                limits: Limits::default(),
                room: disk::DriveRoom::for_drives(&drives),
                prepare: || Ok(()),
            };
            let (_, memory) = engine::worker_memories(options.commands, 1)
                .unwrap()
                .remove(0);
            engine::spawn(options, seat, memory, drives.clone(), |_| true).unwrap()
        };
        let mut workers = Workers::new(seats.into_iter().enumerate().map(spawn).collect());
        workers.attach(self.view).unwrap();
        workers
    }
}

/// A request to 1.0.
pub(crate) fn frame(port: MacAddress, command: u8, argument: &[u8]) -> Vec<u8> {
    let header = Header::request(port, CLIENT, Shelf(1), Slot(0), command, Tag(1));
    let mut frame = header.as_bytes().to_vec();
    frame.extend_from_slice(argument);
    frame
}

pub(crate) fn send(port: &mut MemoryPort, frame: &[u8]) {
    while port.transmit(frame, &[]).is_err() {
        thread::yield_now();
    }
    port.flush();
}

pub(crate) fn is_answered(port: &mut MemoryPort) -> bool {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if port.receive(1, &mut |_| {}) > 0 {
            return true;
        }
        thread::yield_now();
    }
    false
}

pub(crate) fn counter(workers: &Workers, name: &str) -> u64 {
    let groups = workers.counters();
    let mut rows = groups.iter().flat_map(|group| &group.counters);
    rows.find(|(row, _)| *row == name).unwrap().1
}

/// A read of one sector, which drive 0 gives.
pub(crate) fn read_frame(lba: u64) -> Vec<u8> {
    read_of(lba, 1)
}

/// A read.
pub(crate) fn read_of(lba: u64, sectors: u8) -> Vec<u8> {
    let registers = AtaRegisters::extended(0x24, false, lba, sectors);
    frame(PORT, 0, registers.as_bytes())
}

/// Command and LBA of the next answer.
pub(crate) fn next_answer(port: &mut MemoryPort) -> (u8, u8) {
    let end = Instant::now() + LIMIT;
    let mut answer = None;
    while answer.is_none() {
        assert!(Instant::now() < end, "no answer");
        thread::yield_now();
        port.receive(1, &mut |frame| {
            answer = Some((frame.first[19], frame.first[28]));
        });
    }
    answer.unwrap()
}

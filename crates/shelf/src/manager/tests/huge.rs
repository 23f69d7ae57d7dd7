//! LUNs of 24 drives of 24 TB, a sector more and a sector less: everything that is counted in sectors is
//! right up to the last one, from the superblocks to the data path.

use super::memory::Images;
use super::world::{World, number};
use crate::admin::{Admin, MakeRequest};
use crate::plane::LunView;
use crate::target::{
    Action, Body, BufferIndex, BufferPlan, Io, IoOwner, Memory, Operation, PortIndex, PortView,
    Span, Target, Work, compute_in,
};
use aoe::{AtaRegisters, Header, MacAddress, Shelf, Slot, Tag};
use raid::Level;
use raid::regions::RegionIndex;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// 24 TB.
const SECTORS: u64 = 24_000_000_000_000 / 512;
const DRIVES: u8 = 24;
const PORT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PLAN: BufferPlan = BufferPlan {
    commands: 4,
    pages: 64,
    records: 48,
};

/// The data path over the drives of a world.
struct Bench<'a> {
    target: Target,
    shelf: Shelf,
    arena: Vec<u8>,
    images: &'a Images,
    now_ns: u64,
    replies: Vec<(u8, Vec<u8>)>,
}

struct Arena<'a>(&'a mut [u8]);

impl Memory for Arena<'_> {
    fn compute(&mut self, inputs: &[Span], outputs: &[Span], work: Work<'_>) {
        compute_in(self.0, |span| PLAN.bytes_of(span), inputs, outputs, work);
    }
}

impl<'a> Bench<'a> {
    fn new(images: &'a Images, view: &Arc<LunView>) -> Self {
        let port = PortView::single(PORT_MAC, 9000);
        let mut bench = Self {
            target: Target::new(&[port], PLAN),
            shelf: view.shelf,
            arena: vec![0; PLAN.total_sectors() * 512],
            images,
            now_ns: 0,
            replies: Vec::new(),
        };
        let mut actions = Vec::new();
        bench.target.attach(Arc::clone(view), &mut actions);
        bench.carry_out(actions);
        bench
    }

    /// Sends a command for one sector, and gives the status and data of the answer.
    fn ask(&mut self, opcode: u8, lba: u64, data: &[u8]) -> (u8, Vec<u8>) {
        let source = MacAddress([2, 0, 0, 0, 0, 9]);
        let header = Header::request(PORT_MAC, source, self.shelf, Slot(0), 0, Tag(1));
        let registers = AtaRegisters::extended(opcode, !data.is_empty(), lba, 1);
        let mut frame = header.as_bytes().to_vec();
        frame.extend_from_slice(registers.as_bytes());
        frame.extend_from_slice(data);
        let mut actions = Vec::new();
        let command = self
            .target
            .receive(PortIndex(0), &frame, frame.len(), &mut actions);
        if let Some(command) = command {
            let start = PLAN
                .sectors_of(BufferIndex::of_command(command.command))
                .start
                * 512;
            self.arena[start..start + data.len()].copy_from_slice(data);
        }
        self.carry_out(actions);
        let reply = self.replies.pop();
        reply.unwrap_or_else(|| panic!("no answer for LBA {lba}: {:?}", self.target.counters()))
    }

    fn carry_out(&mut self, mut actions: Vec<Action>) {
        loop {
            for action in std::mem::take(&mut actions) {
                match action {
                    Action::Io(io) => {
                        self.do_io(&io);
                        self.target.complete(&io, true, &mut actions);
                    }
                    Action::Reply(reply) => {
                        let data = match &reply.body {
                            Body::Data(span) => self.arena[PLAN.bytes_of(span)].to_vec(),
                            _ => Vec::new(),
                        };
                        self.replies.push((reply.head[27], data));
                        if let Some(command) = reply.command {
                            self.target.sent(command);
                        }
                    }
                    Action::Settled { .. } => {}
                    other => panic!("nobody asked for {other:?}"),
                }
            }
            self.now_ns += 10_000_000;
            let mut memory = Arena(&mut self.arena);
            let busy = self
                .target
                .stripe_step(self.now_ns, false, &mut memory, &mut actions);
            if actions.is_empty() && !busy {
                return;
            }
        }
    }

    fn do_io(&mut self, io: &Io) {
        let start = PLAN.sectors_of(io.buffer).start + io.offset_sectors as usize;
        let bytes = &mut self.arena[start * 512..(start + io.sectors as usize) * 512];
        let mut image = self.images[usize::from(io.drive.0)].lock().unwrap();
        match io.operation {
            Operation::Read => image.read(io.sector, bytes),
            Operation::Write => image.write(io.sector, bytes),
            Operation::WriteZeroes => unreachable!("nobody trims"),
            Operation::Flush => {}
        }
        if let IoOwner::Group(_) = io.owner {
            let offset = image.superblock().unwrap().data_offset_sectors();
            assert!(io.sector + u64::from(io.sectors) <= offset, "{io:?}");
        }
    }
}

#[test]
fn the_last_sectors_of_24_drives_of_24_tb_are_written_and_read() {
    let levels = [
        (Level::Raid0, 24),
        (Level::Raid1, 1),
        (Level::Raid10, 12),
        (Level::Raid5, 23),
        (Level::Raid6, 22),
    ];
    for (level, data) in levels {
        for sectors in [SECTORS - 1, SECTORS, SECTORS + 1] {
            check(level, data, sectors);
        }
    }
}

fn check(level: Level, data: u64, sectors: u64) {
    let world = World::new(&[sectors; DRIVES as usize]);
    let mut manager = world.start();
    let drives: Vec<usize> = (0..DRIVES.into()).collect();
    let request = MakeRequest {
        clean: true,
        ..world.request(0, level, &drives)
    };
    manager.make(&request).unwrap();
    manager.online(number(0)).unwrap();
    let view = world.view(0).unwrap();
    let part = &view.parts[0];
    let geometry = part.geometry;
    let capacity = view.capacity_sectors;
    assert_eq!(capacity, geometry.capacity_sectors());
    let size_bytes = manager.luns()[0].size_bytes;
    assert_eq!(size_bytes, capacity * 512);
    // All but the headroom and less than a chunk of each drive.
    let offset = part.members[0].unwrap().data_offset_sectors;
    let room = sectors - offset;
    assert!(
        capacity <= data * room && capacity > data * (room - 128),
        "{level}: {capacity}"
    );
    for member in part.members.iter().flatten() {
        assert!(member.data_offset_sectors + geometry.member_sectors() <= sectors);
    }
    if let Some(regions) = &part.regions {
        let last = regions.map.regions() - 1;
        manager.want_regions(number(0), 0, &[RegionIndex(last / 8 * 8)]);
    }
    let view = world.view(0).unwrap();
    let mut ready = (*view).clone();
    // As the worker is told when the bits are durable.
    for regions in ready
        .parts
        .iter_mut()
        .filter_map(|part| part.regions.as_mut())
    {
        regions.ready = Arc::new(raid::regions::RegionSet::full(regions.map.regions()));
    }
    let mut bench = Bench::new(&world.images, &Arc::new(ready));
    for lba in [
        capacity - 1,
        capacity - 129,
        capacity / 2,
        u64::from(u32::MAX) + 7,
    ] {
        let content = [lba.to_le_bytes()[0] | 1; 512];
        assert_eq!(bench.ask(0x34, lba, &content).0, 0x40, "{level} LBA {lba}");
        let (status, read) = bench.ask(0x24, lba, &[]);
        assert_eq!(
            (status, read.as_slice()),
            (0x40, content.as_slice()),
            "{level} LBA {lba}"
        );
    }
    let (beyond, _) = bench.ask(0x24, capacity, &[]);
    assert_ne!(beyond & 0x21, 0, "{level}: beyond the end");
    manager.shutdown();
    // The superblocks say it to the sector.
    drop(manager);
    let again = world.fork();
    let mut manager = again.start();
    assert_eq!(manager.luns()[0].size_bytes, capacity * 512, "{level}");
    assert!(manager.luns()[0].online, "{:?}", manager.take_notices());
}

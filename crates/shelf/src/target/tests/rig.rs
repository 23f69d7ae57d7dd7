//! A target with its surroundings in memory: buffers, drives, and a record of what was sent.

use super::super::{
    Action, Body, BufferIndex, BufferPlan, Io, IoOwner, Memory, Operation, Payload, PortIndex,
    PortView, Reply, Report, Span, Target, Work, compute_in,
};
use crate::access::Access;
use crate::admin::{DriveSlot, LunNumber};
use crate::patience::Stage;
use crate::plane::{LogView, LunView, MemberView, PartView};
use aoe::{AtaRegisters, Header, MacAddress, Shelf, Slot, Tag};
use raid::bad_blocks::BadRange;
use raid::log::LogParameters;
use raid::{Geometry, Level, Unit};
use std::collections::BTreeSet;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// The address of the only port unless a test makes more.
pub(super) const PORT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
/// The initiator.
pub(super) const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
/// Sectors of each drive.
const DRIVE_SECTORS: usize = 2048;
/// Where members begin on their drive.
const DATA_OFFSET: u64 = 256;

pub(super) struct Rig {
    pub(super) target: Target,
    memory: Arena,
    now_ns: u64,
    pub(super) drives: Vec<Vec<u8>>,
    /// I/O that was asked for and not done.
    pub(super) pending: Vec<Io>,
    /// Frames sent, padded as a port would.
    pub(super) sent: Vec<(PortIndex, Vec<u8>)>,
    /// The port takes nothing: replies are kept, as by a worker.
    pub(super) port_is_full: bool,
    kept: Vec<Reply>,
    /// Everything that was neither I/O nor a reply.
    pub(super) events: Vec<Action>,
    /// Drives whose reads or writes fail.
    pub(super) broken_reads: BTreeSet<u16>,
    pub(super) broken_writes: BTreeSet<u16>,
    /// Sectors of drives whose reads or writes fail.
    pub(super) bad_sectors: BTreeSet<(u16, u64)>,
    pub(super) bad_writes: BTreeSet<(u16, u64)>,
    pub(super) commands: u16,
    /// What every drive takes at least: the largest unit of the LUNs.
    unit: Unit,
}

/// The buffers.
pub(super) struct Arena {
    bytes: Vec<u8>,
    plan: BufferPlan,
}

impl Arena {
    pub(super) fn new(plan: BufferPlan) -> Self {
        Self {
            bytes: vec![0xee; plan.total_sectors() * 512],
            plan,
        }
    }

    /// Puts what came with a command where it belongs.
    pub(super) fn fill(&mut self, admitted: &Payload, payload: &[u8]) {
        let buffer = &mut self.bytes[admitted.place(&self.plan)];
        let bytes = payload.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&payload[..bytes]);
    }

    fn buffer(&mut self, buffer: BufferIndex) -> &mut [u8] {
        let sectors = self.plan.sectors_of(buffer);
        &mut self.bytes[sectors.start * 512..sectors.end * 512]
    }
}

impl Memory for Arena {
    fn compute(&mut self, inputs: &[Span], outputs: &[Span], work: Work<'_>) {
        compute_in(
            &mut self.bytes,
            |span| self.plan.bytes_of(span),
            inputs,
            outputs,
            work,
        );
    }
}

pub(super) fn lun(number: u8) -> LunNumber {
    LunNumber::new(number).unwrap()
}

/// A LUN over drives 0, 1, 2 …
pub(super) fn view(number: u8, level: Level, members: u8) -> LunView {
    let geometry = Geometry::new(level, members, 32, 1024).unwrap();
    let member = |drive| {
        Some(MemberView {
            drive: DriveSlot(drive),
            data_offset_sectors: DATA_OFFSET,
            in_sync: true,
            log_area: raid::layout::Area {
                sector: 0,
                sectors: DATA_OFFSET,
            },
            log_tag: u32::from(drive) + 1,
        })
    };
    LunView {
        lun: lun(number),
        shelf: Shelf(1),
        online: true,
        capacity_sectors: geometry.capacity_sectors(),
        unit: raid::Unit::SECTOR,
        parts: vec![PartView {
            geometry,
            members: (0..u16::from(members)).map(member).collect(),
            twins: Vec::new(),
            mirrors_unsynced: false,
            sync: None,
            log: (level.parity_count() > 0).then(|| LogView {
                set_uuid: uuid::Uuid::from_u128(5),
                parameters: LogParameters::for_areas(DATA_OFFSET).unwrap(),
            }),
            regions: None,
            lost: [].into(),
        }],
        identify: Box::new([0x5a; 512]),
        config_string: Vec::new(),
        access: Access::default(),
    }
}

impl Rig {
    /// One port at MTU 9000 with the given LUNs attached, and eight drives.
    pub(super) fn new(views: impl IntoIterator<Item = LunView>) -> Self {
        Self::with_ports(&[PortView::single(PORT_MAC, 9000)], views)
    }

    pub(super) fn with_ports(ports: &[PortView], views: impl IntoIterator<Item = LunView>) -> Self {
        Self::with(ports, 32, views)
    }

    pub(super) fn with_commands(commands: u16, views: impl IntoIterator<Item = LunView>) -> Self {
        Self::with(&[PortView::single(PORT_MAC, 9000)], commands, views)
    }

    fn with(ports: &[PortView], commands: u16, views: impl IntoIterator<Item = LunView>) -> Self {
        let plan = BufferPlan {
            commands,
            pages: 48,
            records: 16,
        };
        let mut rig = Self {
            target: Target::new(ports, plan),
            memory: Arena::new(plan),
            now_ns: 0,
            drives: vec![vec![0; DRIVE_SECTORS * 512]; 8],
            pending: Vec::new(),
            sent: Vec::new(),
            port_is_full: false,
            kept: Vec::new(),
            events: Vec::new(),
            broken_reads: BTreeSet::new(),
            broken_writes: BTreeSet::new(),
            bad_sectors: BTreeSet::new(),
            bad_writes: BTreeSet::new(),
            commands,
            unit: Unit::SECTOR,
        };
        for view in views {
            rig.attach(view);
        }
        rig.events.clear();
        rig
    }

    pub(super) fn attach(&mut self, view: LunView) {
        self.unit = self.unit.max(view.unit);
        let mut actions = Vec::new();
        self.target.attach(Arc::new(view), &mut actions);
        self.absorb(actions);
    }

    pub(super) fn detach(&mut self, number: u8) {
        let mut actions = Vec::new();
        self.target.detach(lun(number), &mut actions);
        self.absorb(actions);
    }

    /// Delivers a frame; nothing is completed yet.
    pub(super) fn deliver(&mut self, port: u8, frame: &[u8]) {
        let mut actions = Vec::new();
        let admitted = self
            .target
            .receive(PortIndex(port), frame, frame.len(), &mut actions);
        if let Some(admitted) = admitted {
            let payload = &frame[admitted.offset.min(frame.len())..];
            self.memory.fill(&admitted, payload);
            let command = admitted.command;
            self.target.filled(command, &mut self.memory, &mut actions);
        }
        self.absorb(actions);
    }

    pub(super) fn absorb(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Io(io) => self.pending.push(io),
                Action::Reply(mut reply) if self.port_is_full => {
                    self.target.keep(&mut reply, &mut self.memory);
                    self.kept.push(reply);
                }
                Action::Reply(reply) => self.send(&reply),
                event => self.events.push(event),
            }
        }
    }

    /// Lets slices work; whether they want to go on.
    pub(super) fn step(&mut self) -> bool {
        self.now_ns += 50_000;
        let mut actions = Vec::new();
        self.target
            .stripe_step(self.now_ns, false, &mut self.memory, &mut actions);
        self.absorb(actions);
        self.target.has_stripe_work()
    }

    /// The port takes what was kept.
    pub(super) fn send_kept(&mut self) {
        self.port_is_full = false;
        for reply in std::mem::take(&mut self.kept) {
            self.send(&reply);
        }
    }

    fn send(&mut self, reply: &Reply) {
        let mut frame = reply.head[..reply.head_bytes].to_vec();
        match &reply.body {
            Body::Data(span) => {
                let place = self.memory.plan.bytes_of(span);
                frame.extend_from_slice(&self.memory.bytes[place]);
            }
            shared => frame.extend_from_slice(shared.shared()),
        }
        frame.resize(frame.len().max(aoe::FRAME_BYTES_MIN), 0);
        self.sent.push((reply.port, frame));
        if let Some(command) = reply.command {
            self.target.sent(command);
        }
    }

    /// Does the pending I/O at `index`.
    pub(super) fn complete(&mut self, index: usize) {
        let io = self.pending.remove(index);
        let places = io.sector | u64::from(io.sectors) | u64::from(io.offset_sectors);
        assert!(self.unit.divides(places), "not of whole units: {io:?}");
        let drive = usize::from(io.drive.0);
        let place = usize::try_from(io.sector).unwrap() * 512;
        let bytes = io.sectors as usize * 512;
        let offset = io.offset_sectors as usize * 512;
        let end = io.sector + u64::from(io.sectors);
        if matches!(io.owner, IoOwner::Group(_)) {
            assert!(
                end <= DATA_OFFSET && io.operation == Operation::Write,
                "{io:?}"
            );
        } else {
            let is_inside = io.sector >= DATA_OFFSET && end <= DATA_OFFSET + 1024;
            assert!(is_inside || io.operation == Operation::Flush, "{io:?}");
        }
        let buffer = self.memory.buffer(io.buffer);
        let bad = (io.drive.0, io.sector)..(io.drive.0, end);
        let ok = match io.operation {
            Operation::Read if self.bad_sectors.range(bad.clone()).next().is_some() => false,
            Operation::Read if self.broken_reads.contains(&io.drive.0) => false,
            Operation::Read if self.target.reads_bad_sector(&io) => false,
            Operation::Write | Operation::WriteZeroes
                if self.bad_writes.range(bad.clone()).next().is_some() =>
            {
                false
            }
            Operation::Write | Operation::WriteZeroes | Operation::Flush
                if self.broken_writes.contains(&io.drive.0) =>
            {
                false
            }
            Operation::Read => {
                buffer[offset..offset + bytes]
                    .copy_from_slice(&self.drives[drive][place..place + bytes]);
                true
            }
            Operation::Write => {
                self.drives[drive][place..place + bytes]
                    .copy_from_slice(&buffer[offset..offset + bytes]);
                true
            }
            Operation::WriteZeroes => {
                self.drives[drive][place..place + bytes].fill(0);
                true
            }
            Operation::Flush => true,
        };
        let mut actions = Vec::new();
        self.target.complete(&io, ok, &mut actions);
        self.absorb(actions);
    }

    /// Notes sectors of the data of a drive as bad; none for what is good again.
    pub(super) fn note_bad(&mut self, drive: u16, ranges: &[(u64, u64)]) {
        let range = |&(sector, sectors): &(u64, u64)| BadRange {
            sector: DATA_OFFSET + sector,
            sectors,
        };
        let ranges: Vec<BadRange> = ranges.iter().map(range).collect();
        self.target.set_bad_sectors(DriveSlot(drive), ranges.into());
    }

    /// The administration has dealt with the bad sectors that were written: those of these drives could not
    /// be taken from their list.
    pub(super) fn settle_bad(&mut self, kept: &[u16]) {
        for event in std::mem::take(&mut self.events) {
            let Action::Report(Report::BadSectorsWritten { drive, ticket, .. }) = event else {
                self.events.push(event);
                continue;
            };
            let ok = !kept.contains(&drive.0);
            if ok {
                self.note_bad(drive.0, &[]);
            }
            let mut actions = Vec::new();
            if let Some(ticket) = ticket {
                self.target.bad_sectors_settled(ticket, ok, &mut actions);
            }
            self.absorb(actions);
        }
    }

    /// Stops waiting for the pending I/O at `index`.
    pub(super) fn abandon(&mut self, index: usize, stage: Stage) {
        let io = self.pending.remove(index);
        let mut actions = Vec::new();
        self.target.abandoned(&io, stage, &mut actions);
        self.absorb(actions);
    }

    /// The pending I/O at `index` has failed, and its LUN is not served any more.
    pub(super) fn unreached(&mut self, index: usize) {
        let io = self.pending.remove(index);
        let mut actions = Vec::new();
        self.target.unreached(&io, &mut actions);
        self.absorb(actions);
    }

    /// Does all I/O but that of one drive, which is abandoned at this stage where there is another way.
    pub(super) fn drain_without(&mut self, drive: u16, stage: Stage) {
        loop {
            let busy = self.step();
            let answers = self.pending.iter().position(|io| io.drive.0 != drive);
            let target = &self.target;
            let overdue = self.pending.iter();
            let overdue = overdue
                .clone()
                .position(|io| io.drive.0 == drive && target.may_abandon(io, stage));
            match (answers, overdue) {
                (Some(index), _) => self.complete(index),
                (None, Some(index)) => self.abandon(index, stage),
                (None, None) if !busy => return,
                (None, None) => {}
            }
        }
    }

    /// Does all I/O, oldest first.
    pub(super) fn drain(&mut self) {
        while self.step() || !self.pending.is_empty() {
            if !self.pending.is_empty() {
                self.complete(0);
            }
        }
    }

    /// Delivers a frame, does all I/O, and returns what was sent.
    pub(super) fn ask(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.sent.clear();
        self.deliver(0, frame);
        self.drain();
        self.sent.drain(..).map(|(_, frame)| frame).collect()
    }

    /// Like [`Rig::ask`] where exactly one reply is expected.
    pub(super) fn ask_one(&mut self, frame: &[u8]) -> Vec<u8> {
        let replies = self.ask(frame);
        assert_eq!(replies.len(), 1, "{replies:02x?}");
        replies.into_iter().next().unwrap()
    }

    pub(super) fn write(&mut self, lba: u64, data: &[u8]) -> Vec<u8> {
        self.ask_one(&write(lba, data))
    }

    pub(super) fn read(&mut self, lba: u64, count: u8) -> Vec<u8> {
        self.ask_one(&ata(0x24, 0x40, lba, count, &[]))
    }
}

/// A request header to 1.0 from the client.
pub(super) fn header(command: u8) -> Header {
    Header::request(
        PORT_MAC,
        CLIENT_MAC,
        Shelf(1),
        Slot(0),
        command,
        Tag(0x8765_4321),
    )
}

pub(super) fn frame(header: &Header, argument: &[u8]) -> Vec<u8> {
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(argument);
    bytes
}

/// An ATA request to 1.0.
pub(super) fn ata(opcode: u8, flags: u8, lba: u64, count: u8, data: &[u8]) -> Vec<u8> {
    let registers = AtaRegisters {
        flags,
        ..AtaRegisters::extended(opcode, false, lba, count)
    };
    let mut argument = registers.as_bytes().to_vec();
    argument.extend_from_slice(data);
    frame(&header(0), &argument)
}

/// WRITE EXT of whole sectors.
pub(super) fn write(lba: u64, data: &[u8]) -> Vec<u8> {
    ata(
        0x34,
        0x41,
        lba,
        u8::try_from(data.len() / 512).unwrap(),
        data,
    )
}

/// Status and Error of a reply.
pub(super) fn outcome(reply: &[u8]) -> (u8, u8) {
    (reply[27], reply[25])
}

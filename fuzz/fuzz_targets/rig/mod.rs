//! A target with one LUN, its surroundings in memory.

use aoe::{ATA_FRAME_BYTES, MacAddress, Shelf};
use raid::{Geometry, Level};
use shelf::admin::{DriveSlot, LunNumber};
use shelf::plane::{LunView, MemberView, PartView};
use shelf::target::{Report, BufferPlan, 
    Action, BUFFER_SECTORS, Body, ChangeDecision, Io, Operation, PortIndex, PortView, Reply, Target,
};
use std::sync::Arc;

/// Address of the only port.
pub const PORT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
/// Address of the initiator.
pub const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
/// Number of the shelf.
pub const SHELF: Shelf = Shelf(1);

const PORT: PortIndex = PortIndex(0);
const COMMANDS: u16 = 16;
const DRIVES: usize = 6;
/// Where a member's data begins on its drive, and how long it is.
const DATA_OFFSET_SECTORS: u64 = 8;
const DATA_SECTORS: u64 = 256;
/// What is never part of a member.
const GUARD: u8 = 0xa5;
/// A receiver hands over at least this much of a long frame.
const HEAD_BYTES: usize = 1056;

/// The target and everything around it.
pub struct Rig {
    target: Target,
    view: LunView,
    buffers: Vec<Vec<u8>>,
    drives: Vec<Vec<u8>>,
    broken: [bool; DRIVES],
    pending: Vec<Io>,
    /// Members that failed a write and are still in the view.
    failed: Vec<u8>,
    answers: u64,
    /// How config changes are decided.
    pub decision: ChangeDecision,
}

impl Rig {
    /// A LUN that is online.
    pub fn new(level: Level, members: u8) -> Self {
        let geometry = Geometry::new(level, members, 32, DATA_SECTORS).expect("a geometry");
        let member = |drive| {
            Some(MemberView {
                drive: DriveSlot(drive),
                data_offset_sectors: DATA_OFFSET_SECTORS,
                in_sync: true,
                log_area: raid::layout::Area {
                    sector: 0,
                    sectors: 0,
                },
                log_tag: 1,
            })
        };
        let view = LunView {
            lun: lun(),
            shelf: SHELF,
            online: true,
            capacity_sectors: geometry.capacity_sectors(),
            parts: vec![PartView {
                geometry,
                members: (0..u16::from(members)).map(member).collect(),
                mirrors_unsynced: false,
                sync: None,
                regions: None,
                log: None,
            }],
            identify: Box::new([0x5a; 512]),
            config_string: b"fuzz".to_vec(),
        };
        let port = PortView::single(PORT_MAC, 9000);
        let drive_sectors = usize::try_from(DATA_SECTORS + 2 * DATA_OFFSET_SECTORS).expect("small");
        let mut rig = Self {
            target: Target::new(
                &[port],
                BufferPlan {
                    commands: COMMANDS,
                    pages: 0,
                    records: 0,
                },
            ),
            view,
            buffers: vec![vec![0xee; BUFFER_SECTORS * 512]; usize::from(COMMANDS)],
            drives: vec![vec![GUARD; drive_sectors * 512]; DRIVES],
            broken: [false; DRIVES],
            pending: Vec::new(),
            failed: Vec::new(),
            answers: 0,
            decision: ChangeDecision::Stored,
        };
        rig.attach(true);
        rig
    }

    /// A frame arrives.
    pub fn deliver(&mut self, frame: &[u8]) {
        let head = &frame[..frame.len().min(HEAD_BYTES)];
        let mut actions = Vec::new();
        let command = self.target.receive(PORT, head, frame.len(), &mut actions);
        if let Some(command) = command {
            let payload = &frame[ATA_FRAME_BYTES..];
            let buffer = &mut self.buffers[usize::from(command)];
            let bytes = payload.len().min(buffer.len());
            buffer[..bytes].copy_from_slice(&payload[..bytes]);
        }
        self.absorb(actions);
    }

    /// Does one I/O that was asked for, if any.
    pub fn complete(&mut self, pick: usize) {
        if self.pending.is_empty() {
            return;
        }
        let io = self.pending.swap_remove(pick % self.pending.len());
        let ok = self.transfer(&io);
        let mut actions = Vec::new();
        self.target.complete(&io, ok, &mut actions);
        self.absorb(actions);
    }

    fn transfer(&mut self, io: &Io) -> bool {
        let drive = usize::from(io.drive.0);
        if io.operation != Operation::Flush {
            let end = io.sector + u64::from(io.sectors);
            let inside = io.sector >= DATA_OFFSET_SECTORS && io.sectors > 0;
            assert!(
                inside && end <= DATA_OFFSET_SECTORS + DATA_SECTORS,
                "{io:?}"
            );
        }
        if self.broken[drive] {
            return false;
        }
        let place = usize::try_from(io.sector).expect("small") * 512;
        let (bytes, offset) = (io.sectors as usize * 512, io.offset_sectors as usize * 512);
        let on_drive = &mut self.drives[drive][place..place + bytes];
        let in_buffer = &mut self.buffers[usize::from(io.buffer.0)][offset..offset + bytes];
        match io.operation {
            Operation::Read => in_buffer.copy_from_slice(on_drive),
            Operation::Write => on_drive.copy_from_slice(in_buffer),
            Operation::Flush => {}
        }
        true
    }

    /// A drive starts or stops to fail everything.
    pub fn set_broken(&mut self, drive: u8, fails: bool) {
        self.broken[usize::from(drive) % DRIVES] = fails;
    }

    /// Members that failed leave the view, as far as the LUN can do without them.
    pub fn fail_over(&mut self) {
        for member in std::mem::take(&mut self.failed) {
            let part = &mut self.view.parts[0];
            let members = &part.members;
            let is_left = |m: u8| m != member && members[usize::from(m)].is_some();
            if part.geometry.can_serve(is_left) {
                part.members[usize::from(member)] = None;
            }
        }
        self.attach(self.view.online);
    }

    /// The administration hands over a view.
    pub fn attach(&mut self, online: bool) {
        self.view.online = online;
        let mut actions = Vec::new();
        self.target
            .attach(Arc::new(self.view.clone()), &mut actions);
        self.absorb(actions);
    }

    /// The administration takes the LUN away.
    pub fn detach(&mut self) {
        let mut actions = Vec::new();
        self.target.detach(lun(), &mut actions);
        self.absorb(actions);
    }

    /// The LUN says where it is.
    pub fn advertise(&mut self) {
        let mut actions = Vec::new();
        self.target.advertise(lun(), &mut actions);
        self.absorb(actions);
    }

    /// Everything comes to its end, and nothing is left.
    pub fn finish(&mut self) {
        // A write is planned anew a few times before it is answered with a fault; overlapping
        // commands wait for one another, so at most every command goes through its tries alone.
        for _ in 0..COMMANDS * 8 {
            while !self.pending.is_empty() {
                self.complete(0);
            }
            if self.target.commands_in_flight() == 0 {
                break;
            }
            self.fail_over();
        }
        assert_eq!(self.target.commands_in_flight(), 0);
        let counters = self.target.counters();
        let admitted = counters.reads + counters.writes + counters.flushes;
        // What a LUN that goes offline drops, the initiator asks for again.
        let ended = self.answers + counters.commands_dropped;
        assert_eq!(ended, admitted, "{counters:?}");
        for drive in &self.drives {
            let guard = usize::try_from(DATA_OFFSET_SECTORS).expect("small") * 512;
            let outside = drive[..guard].iter().chain(&drive[drive.len() - guard..]);
            assert!(outside.copied().all(|byte| byte == GUARD));
        }
    }

    fn absorb(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Io(io) => self.pending.push(io),
                Action::Reply(reply) => self.check(&reply),
                Action::Change(change) => {
                    assert!(change.string.len() <= aoe::CONFIG_STRING_BYTES_MAX);
                    let mut answer = Vec::new();
                    self.target.change_done(&change, self.decision, &mut answer);
                    self.absorb(answer);
                }
                Action::Report(Report::MemberError { io, .. }) => {
                    if io.operation != Operation::Read && !self.failed.contains(&io.member) {
                        self.failed.push(io.member);
                    }
                }
                Action::Settled { lun: number, .. } => assert_eq!(number, lun()),
                Action::Report(Report::WantRegions { .. })
                | Action::Report(Report::Pass { .. }) => panic!("{action:?} of a LUN without passes"),
            }
        }
    }

    /// What every frame that leaves must be like.
    fn check(&mut self, reply: &Reply) {
        let body_bytes = match &reply.body {
            Body::Empty => 0,
            Body::Data { sectors } => *sectors as usize * 512,
            Body::Identify(_) => 512,
            Body::ConfigString(view) => view.config_string.len(),
        };
        let head = &reply.head[..reply.head_bytes];
        assert!(head.len() + body_bytes <= 14 + 9000, "{reply:?}");
        assert_eq!(head[12..14], [0x88, 0xa2]);
        assert!(head[14] == 0x18 || head[14] == 0x1c, "version and flags");
        assert!(head[15] <= 6, "error code");
        assert_eq!((head[16..18].as_ref(), head[18]), ([0, 1].as_ref(), 0));
        assert_eq!(head[6..12], PORT_MAC.0);
        if let Some(command) = reply.command {
            self.answers += 1;
            self.target.sent(command);
        }
    }
}

fn lun() -> LunNumber {
    LunNumber::new(0).expect("0 is a LUN number")
}

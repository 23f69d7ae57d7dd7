//! Frames in any order against a target, with drives that answer in any order, fail, and views that
//! change meanwhile.
//!
//! Checked: no I/O leaves the members' data; every reply is well formed; every admitted command is
//! answered exactly once, and its buffer is free afterwards.
#![no_main]

mod rig;

use aoe::{AtaRegisters, Header, MacAddress, Shelf, Slot, Tag};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use raid::Level;
use rig::{CLIENT_MAC, PORT_MAC, Rig, SHELF};
use shelf::target::ChangeDecision;
use zerocopy::IntoBytes;

/// Longest frame at MTU 9000, and a little more.
const FRAME_BYTES_LIMIT: usize = 9100;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A frame that is nearly right.
    Ata {
        opcode: Opcode,
        flags: Option<u8>,
        lba: Lba,
        count: u8,
        /// Payload in sectors; `surplus_bytes` are added.
        sectors: u8,
        surplus_bytes: u8,
        to: Address,
    },
    /// Query Config and other commands.
    Command {
        command: u8,
        argument: Vec<u8>,
        to: Address,
    },
    /// Any bytes at all.
    Bytes(Vec<u8>),
    /// Only the first bytes of a good frame.
    Cut { command: u8, bytes: u8 },
    /// An I/O is done.
    Complete { pick: u8 },
    /// A drive starts or stops to fail.
    Drive { drive: u8, fails: bool },
    /// The administration answers member errors.
    Failover,
    /// The administration changes the LUN.
    View { online: bool },
    /// The administration takes the LUN away; a later view brings it back.
    Detach,
    /// It says where it is.
    Advertise,
    /// From now on config changes are decided like this.
    Decide(Decision),
}

#[derive(Arbitrary, Debug)]
enum Opcode {
    Read,
    ReadExtended,
    Write,
    WriteExtended,
    Flush,
    FlushExtended,
    Identify,
    Any(u8),
}

#[derive(Arbitrary, Debug)]
enum Lba {
    Near(u16),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
enum Address {
    Lun,
    Broadcast,
    Any { shelf: u16, slot: u8 },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Decision {
    Stored,
    Present,
    BadArgument,
    Silence,
}

impl Opcode {
    fn code(&self) -> u8 {
        match self {
            Self::Read => 0x20,
            Self::ReadExtended => 0x24,
            Self::Write => 0x30,
            Self::WriteExtended => 0x34,
            Self::Flush => 0xe7,
            Self::FlushExtended => 0xea,
            Self::Identify => 0xec,
            Self::Any(code) => *code,
        }
    }
}

fn frame(command: u8, to: &Address, argument: &[u8]) -> Vec<u8> {
    let (mac, shelf, slot) = match to {
        Address::Lun => (PORT_MAC, SHELF, Slot(0)),
        Address::Broadcast => (MacAddress::BROADCAST, Shelf::ANY, Slot::ANY),
        Address::Any { shelf, slot } => (PORT_MAC, Shelf(*shelf), Slot(*slot)),
    };
    let header = Header::request(mac, CLIENT_MAC, shelf, slot, command, Tag(0x8765_4321));
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(argument);
    bytes.truncate(FRAME_BYTES_LIMIT);
    bytes
}

fn ata_frame(opcode: u8, flags: Option<u8>, lba: u64, count: u8, data_bytes: usize) -> Vec<u8> {
    let writes = matches!(opcode, 0x30 | 0x34);
    let registers = AtaRegisters::extended(opcode, writes, lba, count);
    let registers = AtaRegisters {
        flags: flags.unwrap_or(registers.flags),
        ..registers
    };
    let mut argument = registers.as_bytes().to_vec();
    argument.resize(argument.len() + data_bytes, 0x77);
    argument
}

fn run(rig: &mut Rig, step: &Step) {
    match step {
        Step::Ata {
            opcode,
            flags,
            lba,
            count,
            sectors,
            surplus_bytes,
            to,
        } => {
            let lba = match lba {
                Lba::Near(lba) => u64::from(*lba % 800),
                Lba::Any(lba) => *lba,
            };
            let data_bytes = usize::from(*sectors) * 512 + usize::from(*surplus_bytes);
            let argument = ata_frame(opcode.code(), *flags, lba, *count, data_bytes);
            rig.deliver(&frame(0, to, &argument));
        }
        Step::Command {
            command,
            argument,
            to,
        } => rig.deliver(&frame(*command, to, argument)),
        Step::Bytes(bytes) => rig.deliver(bytes),
        Step::Cut { command, bytes } => {
            let whole = frame(*command, &Address::Lun, &[0; 256]);
            rig.deliver(&whole[..usize::from(*bytes)]);
        }
        Step::Complete { pick } => rig.complete(usize::from(*pick)),
        Step::Drive { drive, fails } => rig.set_broken(*drive, *fails),
        Step::Failover => rig.fail_over(),
        Step::View { online } => rig.attach(*online),
        Step::Detach => rig.detach(),
        Step::Advertise => rig.advertise(),
        Step::Decide(decision) => {
            rig.decision = match decision {
                Decision::Stored => ChangeDecision::Stored,
                Decision::Present => ChangeDecision::Present,
                Decision::BadArgument => ChangeDecision::BadArgument,
                Decision::Silence => ChangeDecision::Silence,
            }
        }
    }
}

fuzz_target!(|input: (u8, Vec<Step>)| {
    let (level, members) = [
        (Level::Jbod, 1),
        (Level::Raid0, 3),
        (Level::Raid1, 2),
        (Level::Raid10, 4),
        (Level::Raid10, 6),
    ][usize::from(input.0) % 5];
    let mut rig = Rig::new(level, members);
    for step in &input.1 {
        run(&mut rig, step);
    }
    rig.finish();
});

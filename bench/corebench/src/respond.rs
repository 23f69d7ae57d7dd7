//! The bare responder: it answers AoE reads and writes straight from the rings of a port, as a null LUN
//! without a shelf would: the limit that the shelf is compared with by `bench/matrix`.
//!
//! Invariants:
//! * reads are answered with zeroes and what is written is dropped, unless it is told to hold its disk in
//!   memory: then each has the one copy, from the disk to the rings or from them to it, that no target can do
//!   without whose disk is memory; every answer is well-formed;
//! * it allocates nothing after its start, and never sleeps.

use anyhow::{Context, Result, bail};
use aoe::request::parse;
use aoe::{
    AtaRegisters, ConfigArgument, ConfigCommand, Header, MacAddress, Request, SECTOR_BYTES, Shelf,
    Slot, VERSION, advertised_sector_count,
};
use ata::{Command, IdentifySpec, Outcome};
use clap::Args;
use port::{Port, ReceivedFrame, RequestedMode, TransmitError};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U16;

/// Frames that are taken in one turn, as a worker of the shelf takes them.
const RECEIVE_BUDGET: usize = 64;

/// Header and the longer of the arguments of an answer.
const HEAD_BYTES_MAX: usize = aoe::ATA_FRAME_BYTES;

/// The most that a frame carries.
const PAYLOAD_BYTES_MAX: usize = 255 * SECTOR_BYTES;

/// Where to answer.
#[derive(Args, Debug)]
pub(crate) struct RespondArguments {
    /// Network interface
    #[arg(long)]
    interface: String,
    /// auto, zerocopy, native, generic or packet
    #[arg(long, default_value = "auto")]
    mode: RequestedMode,
    /// Shelf to answer as
    #[arg(long, default_value_t = 9)]
    shelf: u16,
    /// Slot to answer as
    #[arg(long, default_value_t = 0)]
    slot: u8,
    /// MiB of the disk that is not there
    #[arg(long, default_value_t = 512)]
    mib: u64,
    /// Hold that disk in memory: a copy out of it for each read, into it for each write
    #[arg(long)]
    stored: bool,
}

/// What an answer carries behind its head.
#[derive(Clone, Copy)]
enum Body {
    None,
    Identify,
    Zeroes(usize),
    /// These bytes of the disk.
    Stored {
        offset: usize,
        bytes: usize,
    },
}

/// An answer that is to be sent.
#[derive(Clone, Copy)]
struct Answer {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    body: Body,
}

/// What the responder says that it is.
struct Responder {
    shelf: Shelf,
    slot: Slot,
    mac: MacAddress,
    sectors: u64,
    sector_count: u8,
    identify: [u8; 512],
    /// The disk, when it is in memory; else empty.
    disk: Vec<u8>,
}

/// Answers until the process is ended.
pub(crate) fn respond(arguments: &RespondArguments) -> Result<()> {
    let mut ports = port::open(&arguments.interface, arguments.mode)
        .with_context(|| format!("cannot answer on {}", arguments.interface))?;
    let Some(facts) = ports.first().map(|port| port.facts()) else {
        bail!("{} has no queue", arguments.interface)
    };
    println!("ready: {} in mode {}", facts.interface, facts.mode);
    let sectors = arguments.mib << 11;
    // Written once: pages that were never touched are all the same one.
    let disk = vec![
        0xa5;
        if arguments.stored {
            usize::try_from(sectors)? * SECTOR_BYTES
        } else {
            0
        }
    ];
    let mut responder = Responder {
        shelf: Shelf(arguments.shelf),
        slot: Slot(arguments.slot),
        mac: facts.stations.first(),
        sectors,
        sector_count: advertised_sector_count(facts.mtu_bytes),
        identify: IdentifySpec {
            sectors,
            serial: "RESPOND",
            firmware: "0",
            model: "bare responder",
            solid_state: true,
            wwn: None,
            is_aligned: true,
            trims: false,
        }
        .build(),
        disk,
    };
    let zeroes = vec![0; PAYLOAD_BYTES_MAX];
    let mut answers: Vec<Answer> = Vec::with_capacity(RECEIVE_BUDGET);
    // Ports that have not taken everything yet.
    let mut is_full = vec![false; ports.len()];
    loop {
        for (port, is_full) in ports.iter_mut().zip(&mut is_full) {
            answers.clear();
            let received = port.receive(RECEIVE_BUDGET, &mut |frame| {
                answers.extend(responder.answer(frame));
            });
            for answer in &answers {
                let payload = match answer.body {
                    Body::None => &[],
                    Body::Identify => responder.identify.as_slice(),
                    Body::Zeroes(bytes) => &zeroes[..bytes],
                    Body::Stored { offset, bytes } => &responder.disk[offset..offset + bytes],
                };
                send(port.as_mut(), &answer.head[..answer.head_bytes], payload)?;
            }
            if received > 0 || *is_full {
                *is_full = port.flush();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

/// Queues a frame, however long it takes until there is room.
fn send(port: &mut dyn Port, head: &[u8], payload: &[u8]) -> Result<()> {
    loop {
        match port.transmit(head, payload) {
            Ok(()) => return Ok(()),
            Err(TransmitError::Full) => {
                port.flush();
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Responder {
    /// The answer to a frame, if it is a request for this target.
    fn answer(&mut self, frame: &ReceivedFrame<'_>) -> Option<Answer> {
        let request = parse(frame.first).ok()?;
        if !request.header.addresses(self.shelf, self.slot) || request.vlan.is_some() {
            return None;
        }
        let header = request.header.reply(self.mac, self.shelf, self.slot);
        match request.request {
            Request::Ata(registers) => Some(self.answer_ata(&header, registers, frame)),
            Request::Config { command, .. } => self.answer_config(&header, command),
            _ => None,
        }
    }

    fn answer_ata(
        &mut self,
        header: &Header,
        registers: &AtaRegisters,
        frame: &ReceivedFrame<'_>,
    ) -> Answer {
        let command = Command::decode(
            registers.command_status,
            registers.feature_error,
            registers.lba,
            registers.count,
        );
        let (outcome, body) = match command {
            Command::Read { lba, count } | Command::Write { lba, count }
                if lba + u64::from(count) > self.sectors =>
            {
                (Outcome::OutOfRange, Body::None)
            }
            Command::Read { count, .. } if count > self.sector_count => {
                (Outcome::Aborted, Body::None)
            }
            Command::Read { lba, count } => (Outcome::Success, self.read(lba, count)),
            Command::Write { lba, count } => (self.write(lba, count, frame), Body::None),
            Command::Flush => (Outcome::Success, Body::None),
            Command::Identify => (Outcome::Success, Body::Identify),
            _ => (Outcome::Aborted, Body::None),
        };
        let registers = registers.response(outcome.status(), outcome.error());
        Answer::new(header, registers.as_bytes(), body)
    }

    fn read(&self, lba: u64, count: u8) -> Body {
        let bytes = usize::from(count) * SECTOR_BYTES;
        if self.disk.is_empty() {
            return Body::Zeroes(bytes);
        }
        Body::Stored {
            offset: place(lba),
            bytes,
        }
    }

    fn write(&mut self, lba: u64, count: u8, frame: &ReceivedFrame<'_>) -> Outcome {
        if self.disk.is_empty() {
            return Outcome::Success;
        }
        let bytes = usize::from(count) * SECTOR_BYTES;
        let target = &mut self.disk[place(lba)..][..bytes];
        if frame.copy_to(aoe::ATA_FRAME_BYTES, target) == bytes {
            Outcome::Success
        } else {
            Outcome::Aborted
        }
    }

    /// The config string is empty, and cannot be set.
    fn answer_config(&self, header: &Header, command: ConfigCommand) -> Option<Answer> {
        if !matches!(command, ConfigCommand::Read | ConfigCommand::TestPrefix) {
            return None;
        }
        let argument = ConfigArgument {
            buffer_count: U16::new(1024),
            firmware: U16::new(0),
            sector_count: self.sector_count,
            version_command: (VERSION << 4) | command.nibble(),
            string_bytes: U16::new(0),
        };
        Some(Answer::new(header, argument.as_bytes(), Body::None))
    }
}

/// Where a sector is. The caller has seen that it is on the disk, which is in memory.
fn place(lba: u64) -> usize {
    usize::try_from(lba).unwrap_or(usize::MAX) * SECTOR_BYTES
}

impl Answer {
    fn new(header: &Header, argument: &[u8], body: Body) -> Self {
        let mut head = [0; HEAD_BYTES_MAX];
        let head_bytes = aoe::HEADER_BYTES + argument.len();
        head[..aoe::HEADER_BYTES].copy_from_slice(header.as_bytes());
        head[aoe::HEADER_BYTES..head_bytes].copy_from_slice(argument);
        Self {
            head,
            head_bytes,
            body,
        }
    }
}

#[cfg(test)]
mod tests;

//! A host that checks what it reads: a seeded mix of overlapping reads, writes, TRIMs and flushes about the
//! ends of groups, so that many touch sectors of several workers.

use super::LIMIT;
use anyhow::{Result, ensure};
use aoe::ata::COMMAND_ATA;
use aoe::{ATA_FRAME_BYTES, AtaRegisters, Header, MacAddress, SECTOR_BYTES, Shelf, Slot, Tag};
use ata::opcode;
use ata::trim::{Entry, FEATURE};
use port::{Port, RequestedMode};
use std::thread;
use std::time::{Duration, Instant};
use testbed::PairNetwork;
use zerocopy::{FromBytes, IntoBytes};

/// Sectors of the LUN that are used: sixteen groups.
const SECTORS: u64 = 16 * GROUP;
const GROUP: u64 = shelf::shard::GROUP_SECTORS;
/// Commands at a time.
const WINDOW: usize = 32;
/// Then it is sent again.
const TIMEOUT: Duration = Duration::from_millis(300);

/// What may be in a sector: the number of a write, or of a TRIM, which leaves zeroes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Version {
    number: u32,
    is_zero: bool,
    acknowledged: Option<u32>,
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[derive(Debug)]
struct Command {
    tag: u32,
    frame: Vec<u8>,
    opcode: u8,
    lba: u64,
    sectors: u64,
    issued: u32,
    sent: Instant,
    /// For a read what each sector may be.
    expected: Vec<Vec<Version>>,
}

pub(crate) struct Host {
    ports: Vec<Box<dyn Port>>,
    stations: Vec<MacAddress>,
    random: Random,
    /// Sectors as they may be.
    sectors: Vec<Vec<Version>>,
    open: Vec<Command>,
    /// Counts what is issued and what is answered.
    clock: u32,
    tag: u32,
}

fn content(lba: u64, number: u32) -> Vec<u8> {
    let mut bytes = (u64::from(number) << 32 | lba).to_le_bytes().to_vec();
    bytes.resize(SECTOR_BYTES, u8::try_from(number % 251).unwrap_or(0));
    bytes
}

fn may_be(versions: &[Version], lba: u64, bytes: &[u8]) -> bool {
    versions.iter().any(|version| {
        if version.is_zero {
            bytes.iter().all(|byte| *byte == 0)
        } else {
            bytes == content(lba, version.number)
        }
    })
}

impl Host {
    pub(crate) fn new(ports: Vec<Box<dyn Port>>, seed: u64) -> Self {
        let zero = Version {
            number: 0,
            is_zero: true,
            acknowledged: Some(0),
        };
        Self {
            stations: vec![MacAddress::BROADCAST; ports.len()],
            ports,
            random: Random(seed),
            sectors: (0..SECTORS).map(|_| vec![zero]).collect(),
            open: Vec::new(),
            clock: 1,
            tag: 1,
        }
    }

    /// Finds the station behind each port.
    pub(crate) fn discover(&mut self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        for port in 0..self.ports.len() {
            let own = self.ports[port].facts().stations.first();
            let header = Header::request(MacAddress::BROADCAST, own, Shelf(1), Slot(0), 1, Tag(1));
            let mut frame = header.as_bytes().to_vec();
            frame.extend_from_slice(&[0; 8]);
            while self.stations[port] == MacAddress::BROADCAST {
                ensure!(Instant::now() < deadline, "port {port} finds no shelf");
                let _ = self.ports[port].transmit(&frame, &[]);
                self.ports[port].flush();
                thread::sleep(Duration::from_millis(20));
                // The answer may come to another queue of the interface.
                let interface = self.ports[port].facts().interface.clone();
                for index in 0..self.ports.len() {
                    let station = &mut self.stations[port];
                    if self.ports[index].facts().interface == interface {
                        self.ports[index].receive(64, &mut |frame| {
                            if let Ok((header, _)) = Header::ref_from_prefix(frame.first)
                                && header.is_response()
                            {
                                *station = header.source;
                            }
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Where commands lie: mostly about the ends of groups, so that they overlap, and cross.
    fn place(&mut self) -> (u64, u64) {
        let sectors = 1 + self.random.below(16);
        let lba = if self.random.below(4) > 0 {
            let edge = (1 + self.random.below(SECTORS / GROUP - 1)) * GROUP;
            edge - 16 + self.random.below(24)
        } else {
            self.random.below(SECTORS - 16)
        };
        (lba, sectors)
    }

    fn issue(&mut self) {
        let (mut lba, mut sectors) = self.place();
        self.tag += 1;
        self.clock += 1;
        let number = self.tag;
        let (opcode, payload) = match self.random.below(20) {
            0 => (opcode::FLUSH_EXT, Vec::new()),
            1 => {
                sectors = 1 + self.random.below(3 * GROUP).min(SECTORS - lba - 1);
                let entry = Entry {
                    lba,
                    sectors: u16::try_from(sectors).unwrap_or(1),
                };
                let mut ranges = entry.encode().to_vec();
                ranges.resize(SECTOR_BYTES, 0);
                (opcode::DATA_SET_MANAGEMENT, ranges)
            }
            2..=11 => {
                let data = (lba..lba + sectors).flat_map(|lba| content(lba, number));
                (opcode::WRITE_EXT, data.collect())
            }
            _ => (opcode::READ_EXT, Vec::new()),
        };
        if opcode == opcode::FLUSH_EXT {
            (lba, sectors) = (0, 0);
        }
        let is_trim = opcode == opcode::DATA_SET_MANAGEMENT;
        let (told_lba, told_count) = if is_trim { (0, 1) } else { (lba, sectors) };
        let count = u8::try_from(told_count).unwrap_or(0);
        let header = Header::request(
            MacAddress::BROADCAST,
            MacAddress::BROADCAST,
            Shelf(1),
            Slot(0),
            COMMAND_ATA,
            Tag(number),
        );
        let registers = AtaRegisters::extended(opcode, !payload.is_empty(), told_lba, count);
        let mut frame = header.as_bytes().to_vec();
        frame.extend_from_slice(registers.as_bytes());
        if is_trim {
            frame[25] = FEATURE;
        }
        frame.extend_from_slice(&payload);
        let range = usize::try_from(lba).unwrap_or(0)..usize::try_from(lba + sectors).unwrap_or(0);
        let mut expected = Vec::new();
        if opcode == opcode::READ_EXT {
            expected = self.sectors[range].to_vec();
        } else {
            self.note_write(lba, range, number, is_trim);
        }
        self.open.push(Command {
            tag: number,
            frame,
            opcode,
            lba,
            sectors,
            issued: self.clock,
            sent: Instant::now(),
            expected,
        });
        let last = self.open.len() - 1;
        self.send(last);
    }

    /// A write may be done from now on; reads that are under way may see it.
    fn note_write(&mut self, lba: u64, range: std::ops::Range<usize>, number: u32, is_zero: bool) {
        let version = Version {
            number,
            is_zero,
            acknowledged: None,
        };
        let end = lba + range.len() as u64;
        for sector in &mut self.sectors[range] {
            sector.push(version);
        }
        for read in &mut self.open {
            for (at, expected) in (read.lba..).zip(&mut read.expected) {
                if (lba..end).contains(&at) {
                    expected.push(version);
                }
            }
        }
    }

    fn send(&mut self, index: usize) {
        let port = usize::try_from(self.random.below(self.ports.len() as u64)).unwrap_or(0);
        let own = self.ports[port].facts().stations.first();
        let command = &mut self.open[index];
        command.frame[..6].copy_from_slice(&self.stations[port].0);
        command.frame[6..12].copy_from_slice(&own.0);
        command.sent = Instant::now();
        // What finds no room is sent again when it is overdue.
        let _ = self.ports[port].transmit(&command.frame, &[]);
        self.ports[port].flush();
    }

    /// Takes what has come, and sends again what is overdue.
    fn hear(&mut self) -> Result<()> {
        let mut frames = Vec::new();
        for port in &mut self.ports {
            port.receive(64, &mut |frame| {
                let mut bytes = vec![0; frame.len_bytes()];
                frame.copy_to(0, &mut bytes);
                frames.push(bytes);
            });
        }
        for frame in frames {
            self.answered(&frame)?;
        }
        for index in 0..self.open.len() {
            if self.open[index].sent.elapsed() > TIMEOUT {
                self.send(index);
            }
        }
        Ok(())
    }

    fn answered(&mut self, frame: &[u8]) -> Result<()> {
        let Ok((header, rest)) = Header::ref_from_prefix(frame) else {
            return Ok(());
        };
        let same = |command: &Command| command.tag == header.tag.get();
        let Some(index) = self.open.iter().position(same) else {
            return Ok(());
        };
        if header.command != COMMAND_ATA || !header.is_response() {
            return Ok(());
        }
        let command = self.open.swap_remove(index);
        let (registers, _) = AtaRegisters::ref_from_prefix(rest)
            .map_err(|_| anyhow::anyhow!("a short answer: {frame:?}"))?;
        ensure!(
            registers.command_status == 0x40,
            "status {:#04x} of {:#04x} at {}",
            registers.command_status,
            command.opcode,
            command.lba
        );
        self.clock += 1;
        if command.opcode == opcode::READ_EXT {
            let data = frame[ATA_FRAME_BYTES..].chunks(SECTOR_BYTES);
            for ((lba, versions), bytes) in (command.lba..).zip(&command.expected).zip(data) {
                ensure!(
                    may_be(versions, lba, bytes),
                    "sector {lba} is {:02x?}, and may be {versions:?}",
                    &bytes[..8]
                );
            }
            return Ok(());
        }
        for lba in command.lba..command.lba + command.sectors {
            let sector = &mut self.sectors[usize::try_from(lba)?];
            for version in &mut *sector {
                if version.number == command.tag {
                    version.acknowledged = Some(self.clock);
                }
            }
            // What was answered before this one was sent is gone.
            sector.retain(|version| {
                version.number == command.tag
                    || version.acknowledged.is_none_or(|at| at > command.issued)
            });
        }
        Ok(())
    }

    pub(crate) fn run(&mut self, commands: u32) -> Result<()> {
        let mut issued = 0;
        let mut last = Instant::now();
        while issued < commands || !self.open.is_empty() {
            let before = self.open.len();
            self.hear()?;
            if self.open.len() < before {
                last = Instant::now();
            }
            while issued < commands && self.open.len() < WINDOW {
                self.issue();
                issued += 1;
            }
            ensure!(last.elapsed() < LIMIT, "not answered: {:?}", self.open);
            thread::yield_now();
        }
        Ok(())
    }

    /// Reads everything that was written, one after the other.
    pub(crate) fn read_back(&mut self) -> Result<()> {
        for lba in (0..SECTORS).step_by(16) {
            let touched = |lba: u64| {
                let sector = usize::try_from(lba).map(|lba| &self.sectors[lba]);
                sector.is_ok_and(|versions| versions[0].number > 0)
            };
            if !(lba..lba + 16).any(touched) {
                continue;
            }
            self.tag += 1;
            let header = Header::request(
                MacAddress::BROADCAST,
                MacAddress::BROADCAST,
                Shelf(1),
                Slot(0),
                COMMAND_ATA,
                Tag(self.tag),
            );
            let mut frame = header.as_bytes().to_vec();
            let registers = AtaRegisters::extended(opcode::READ_EXT, false, lba, 16);
            frame.extend_from_slice(registers.as_bytes());
            let range = usize::try_from(lba)?..usize::try_from(lba + 16)?;
            self.open.push(Command {
                tag: self.tag,
                frame,
                opcode: opcode::READ_EXT,
                lba,
                sectors: 16,
                issued: self.clock,
                sent: Instant::now(),
                expected: self.sectors[range].to_vec(),
            });
            self.send(self.open.len() - 1);
            self.run(0)?;
        }
        Ok(())
    }
}

/// Joins the namespaces by so many more veth pairs, with so many queues each.
pub(crate) fn wire(
    network: &PairNetwork,
    pairs: usize,
    queues: usize,
) -> Result<(Vec<String>, Vec<String>)> {
    let queues = queues.to_string();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let (here, there) = (format!("shelf{pair}"), format!("host{pair}"));
        let client = network.client.name();
        let mut arguments = vec!["link", "add", &here, "mtu", "9000"];
        let counts = ["numrxqueues", &queues, "numtxqueues", &queues];
        arguments.extend(counts);
        arguments.extend(["type", "veth", "peer", "name", &there, "mtu", "9000"]);
        arguments.extend(counts);
        arguments.extend(["netns", client]);
        network.target.ip(&arguments)?;
        network.target.set_link(&here, true)?;
        network.client.set_link(&there, true)?;
        ours.push(here);
        theirs.push(there);
    }
    Ok((ours, theirs))
}

/// The other ends of the wires.
pub(crate) fn open_ends(network: &PairNetwork, theirs: &[String]) -> Result<Vec<Box<dyn Port>>> {
    network.client.enter(|| {
        let mut all: Vec<Box<dyn Port>> = Vec::new();
        for interface in theirs {
            all.extend(port::open(interface, RequestedMode::Native)?);
        }
        Ok(all)
    })
}

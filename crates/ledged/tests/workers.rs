//! One, two and four workers, with one and two ports of one and two queues: the same seeded mix of
//! overlapping reads, writes, TRIMs and flushes, many of which touch sectors of several workers, while the
//! mirrors are made to agree, or while a member fails.

mod support;

use anyhow::{Context, Result, bail, ensure};
use aoe::ata::COMMAND_ATA;
use aoe::{ATA_FRAME_BYTES, AtaRegisters, Header, MacAddress, SECTOR_BYTES, Shelf, Slot, Tag};
use ata::opcode;
use ata::trim::{Entry, FEATURE};
use port::{Port, RequestedMode};
use std::thread;
use std::time::{Duration, Instant};
use support::shelf::check_log;
use support::{LIMIT, memory_disks};
use testbed::network::CLIENT_INTERFACE;
use testbed::process::run;
use testbed::{Ledge, LedgeOptions, PairNetwork, paths};
use zerocopy::{FromBytes, IntoBytes};

/// Sectors of the LUN that are used: sixteen groups.
const SECTORS: u64 = 16 * GROUP;
const GROUP: u64 = shelf::shard::GROUP_SECTORS;
/// Commands at a time.
const WINDOW: usize = 32;
/// Commands of a run.
const COMMANDS: u32 = 3000;
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

struct Host {
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
    fn new(ports: Vec<Box<dyn Port>>, seed: u64) -> Self {
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
    fn discover(&mut self) -> Result<()> {
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

    fn run(&mut self, commands: u32) -> Result<()> {
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
    fn read_back(&mut self) -> Result<()> {
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
fn wire(network: &PairNetwork, pairs: usize, queues: usize) -> Result<(Vec<String>, Vec<String>)> {
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

/// Waits until no pass runs.
fn await_passes(ledge: &Ledge, command: &str, end: &str) -> Result<String> {
    let deadline = Instant::now() + 2 * LIMIT;
    loop {
        let told = ledge.console_ok(command)?;
        if told.contains(end) {
            return Ok(told);
        }
        if Instant::now() > deadline {
            bail!("it does not end: {told}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn serve(workers: u16, queues: usize, ports: usize, member_fails: bool) -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let (interfaces, theirs) = wire(&network, ports, queues)?;
    let options = LedgeOptions {
        workers,
        interfaces,
        disk_bytes: 20 << 20,
        cec: false,
        ..memory_disks("native")
    };
    let ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make 0 raid10 1.0-3")?;
    ledge.console_ok("online 0")?;
    let open = || {
        let mut all: Vec<Box<dyn Port>> = Vec::new();
        for interface in &theirs {
            all.extend(port::open(interface, RequestedMode::Native)?);
        }
        Ok(all)
    };
    let ends = network.client.enter(open)?;
    ensure!(ends.len() == ports * queues, "{} ends", ends.len());
    let mut host = Host::new(ends, 0x1234_5678_9abc_def1);
    host.discover()?;
    host.run(COMMANDS / 2)?;
    if member_fails {
        ledge.console_ok("fail 0.0.1")?;
    }
    host.run(COMMANDS / 2)?;
    host.read_back()?;
    let told = ledge.console_ok("aoestats -a")?;
    if !member_fails {
        ledge.console_ok("scrub start 0")?;
        let told = await_passes(&ledge, "scrub 0", " idle;")?;
        ensure!(told.contains(" 0 differ"), "{told}");
        host.read_back()?;
    }
    let is_shared = queues < usize::from(workers);
    let crossed = workers > 1;
    for (name, is_any) in [
        ("loans", crossed),
        ("handed_over", crossed && !is_shared),
        ("misdirected", false),
    ] {
        let count = value(&told, name)?;
        ensure!(
            (count > 0) == is_any,
            "{name} {count} with {workers} workers"
        );
    }
    let told = ledge.console_ok("ifstat -a")?;
    let spread = value(&told, "aoe_spread")?;
    ensure!(
        (spread > 0) == is_shared,
        "aoe_spread {spread} with {workers} workers"
    );
    check_log_of_failure(&ledge.log(), member_fails)
}

/// The number behind a name.
fn value(told: &str, name: &str) -> Result<u64> {
    let mut words = told.split_whitespace();
    words
        .find(|word| *word == name)
        .and_then(|_| words.next()?.parse().ok())
        .with_context(|| format!("no {name} in {told}"))
}

fn check_log_of_failure(log: &str, member_fails: bool) -> Result<()> {
    if member_fails {
        return Ok(());
    }
    check_log(log)
}

fn serve_all(workers: u16) -> Result<()> {
    for (queues, ports) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        for member_fails in [false, true] {
            serve(workers, queues, ports, member_fails).with_context(|| {
                format!("{workers} workers, {ports} ports of {queues} queues, {member_fails}")
            })?;
        }
    }
    Ok(())
}

#[test]
fn one_worker_serves_a_mix() -> Result<()> {
    serve_all(1)
}

#[test]
fn two_workers_serve_the_same_mix() -> Result<()> {
    serve_all(2)
}

#[test]
fn four_workers_serve_the_same_mix() -> Result<()> {
    serve_all(4)
}

/// A load that reads back and compares all that it writes, of a LUN that is spread and of one whose home gets
/// everything, while they share one queue. Frames of 14 sectors cross from one worker to the next at the end of
/// groups.
#[test]
fn loads_over_a_shared_queue_read_back_what_they_have_written() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let options = LedgeOptions {
        workers: 3,
        disks: 5,
        disk_bytes: 24 << 20,
        cec: false,
        ..memory_disks("native")
    };
    let ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make 0 raid0 1.0-1")?;
    ledge.console_ok("make 1 raid5 1.2-4")?;
    ledge.console_ok("online 0-1")?;
    for load in [
        "--target 1.0 --op mixed --random --size 7168 --depth 16",
        "--target 1.0 --op write --sequential --size 7168 --depth 8",
        "--target 1.1 --op mixed --random --size 8192 --depth 8",
        "--target 1.1 --op write --sequential --size 8192 --depth 8",
    ] {
        let mut command = network.client.command(paths::binary("aoeload")?);
        command.args([
            "--interface",
            CLIENT_INTERFACE,
            "--seconds",
            "2",
            "--verify",
        ]);
        command.args(load.split(' '));
        run(command, 2 * LIMIT)?.success(load)?;
    }
    let told = ledge.console_ok("aoestats -a")?;
    for (name, is_any) in [
        ("loans", true),
        ("handed_over", false),
        ("misdirected", false),
    ] {
        let count = value(&told, name)?;
        ensure!((count > 0) == is_any, "{name} {count}");
    }
    check_log(&ledge.log())
}

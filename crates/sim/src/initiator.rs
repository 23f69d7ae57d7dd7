//! Initiators: each keeps some reads, writes and TRIMs on the wire, and sends again what gets no answer, as
//! the Linux driver does: with the same tag, after a time that follows the round trips.

use crate::content::{self, SECTOR};
use crate::random::Random;
use crate::switch::Micros;
use crate::world::{Event, World};
use aoe::{ATA_FRAME_BYTES, AtaRegisters, Header, MacAddress, Shelf, Slot, Tag};
use ata::{opcode, trim};
use zerocopy::{FromBytes, IntoBytes};

/// Most sectors of a command.
const SECTORS_MAX: u64 = 16;
/// Most sectors of a range that is trimmed: several chunks.
const TRIM_SECTORS_MAX: u64 = 300;
/// Of a thousand commands of an initiator that trims, so many are that. More of them would make good all bad
/// sectors before anything else meets them.
const TRIMS: u64 = 60;
/// Of a thousand commands of an initiator with a stream, so many are of it.
const STREAM: u64 = 800;
/// Commands that an initiator has on the wire.
const WINDOW: usize = 8;
/// Bounds of the time after which a command is sent again.
const TIMEOUT: (Micros, Micros) = (4_000, 2_000_000);

/// First sector, sectors.
type Range = (u64, u32);

/// What an initiator does.
#[derive(Clone, Debug)]
enum Wish {
    Read(Range),
    Write(Range),
    Trim(Vec<Range>),
}

impl Wish {
    fn ranges(&self) -> &[Range] {
        match self {
            Self::Read(range) | Self::Write(range) => std::slice::from_ref(range),
            Self::Trim(ranges) => ranges,
        }
    }
}

#[derive(Clone, Debug)]
struct Command {
    tag: u32,
    /// That of a write or TRIM; 0 for a read.
    value: u64,
    wish: Wish,
    sent_at: Micros,
    sends: u32,
}

/// A command that ended in an error.
#[derive(Debug)]
pub(crate) struct Refusal {
    command: Command,
    /// What is wrong if it is not right.
    text: String,
}

/// What initiators do.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Runs of sectors that they use: first and length.
    pub zones: Vec<(u64, u64)>,
    /// Of a thousand commands, so many are writes.
    pub writes: u64,
    /// Longest pause between two commands.
    pub pause: Micros,
    /// Ranges are trimmed, too; what is chosen for that hangs on nothing else.
    pub trims: Option<Random>,
    /// A run of sectors, first and length, that is also written from its start to its end, again and again.
    pub stream: Option<(u64, u64)>,
}

/// An initiator.
#[derive(Clone, Debug)]
pub struct Initiator {
    mac: MacAddress,
    window: Vec<Option<Command>>,
    next_tag: u32,
    /// Smoothed round trip and its deviation.
    round_trip: (Micros, Micros),
    workload: Workload,
    /// Sends new commands.
    is_working: bool,
    /// Sectors of the stream that are written.
    streamed: u64,
    /// Reads that it is to do, whatever else it does.
    wanted: Vec<(u64, u32)>,
}

impl Initiator {
    /// An initiator that waits.
    #[must_use]
    pub fn new(number: u8, workload: Workload) -> Self {
        Self {
            mac: MacAddress([2, 0, 0, 0, 1, number]),
            window: vec![None; WINDOW],
            next_tag: 1,
            round_trip: (2_000, 500),
            workload,
            is_working: false,
            streamed: 0,
            wanted: Vec::new(),
        }
    }

    /// Forgets what it sent and was to do.
    pub(crate) fn forget(&mut self) {
        self.window.fill(None);
        self.wanted.clear();
    }

    fn outstanding(&self) -> impl Iterator<Item = &Command> {
        self.window.iter().flatten()
    }

    fn timeout(&self, sends: u32) -> Micros {
        let (average, deviation) = self.round_trip;
        let base = (2 * average + 8 * deviation).clamp(TIMEOUT.0, TIMEOUT.1);
        (base << (sends - 1).min(12)).min(TIMEOUT.1)
    }

    fn sample(&mut self, round_trip: Micros) {
        let (average, deviation) = self.round_trip;
        let error = average.abs_diff(round_trip);
        self.round_trip = (
            average - average / 8 + round_trip / 8,
            deviation - deviation / 4 + error / 4,
        );
    }
}

impl World {
    /// Lets all initiators send new commands, or not.
    pub fn set_working(&mut self, works: bool) {
        for number in 0..self.initiators.len() {
            let worked = std::mem::replace(&mut self.initiators[number].is_working, works);
            if works && !worked {
                let delay = self.random.below(50);
                self.at(delay, Event::Think { initiator: number });
            }
        }
    }

    /// Whether every command was answered.
    #[must_use]
    pub fn is_all_answered(&self) -> bool {
        let is_quiet = |initiator: &Initiator| {
            initiator.wanted.is_empty() && initiator.outstanding().next().is_none()
        };
        self.initiators.iter().all(is_quiet)
    }

    /// Has the first initiator read ranges.
    pub fn want_reads(&mut self, ranges: impl IntoIterator<Item = (u64, u32)>) {
        self.initiators[0].wanted.extend(ranges);
        self.at(1, Event::Think { initiator: 0 });
    }

    /// Reads that somebody asked for and did not get.
    #[must_use]
    pub fn describe_unanswered(&self) -> String {
        let all = self.initiators.iter().flat_map(Initiator::outstanding);
        let texts: Vec<String> = all.map(|command| format!("{command:?}")).collect();
        texts.join(", ")
    }

    /// Some initiators start anew and forget what they sent.
    pub fn reboot_initiators(&mut self) {
        for number in 0..self.initiators.len() {
            if !self.random.chance(250) {
                continue;
            }
            for slot in 0..WINDOW {
                if let Some(command) = self.initiators[number].window[slot].take()
                    && command.value != 0
                {
                    self.oracle.abandon(command.value);
                }
            }
        }
    }

    pub(crate) fn initiator_at(&self, mac: MacAddress) -> Option<usize> {
        self.initiators.iter().position(|known| known.mac == mac)
    }

    pub(crate) fn think(&mut self, number: usize) {
        let initiator = &mut self.initiators[number];
        let Some(slot) = initiator.window.iter().position(Option::is_none) else {
            // Goes on when an answer comes; looks again in case none does.
            if initiator.is_working || !initiator.wanted.is_empty() {
                self.at(5_000, Event::Think { initiator: number });
            }
            return;
        };
        if let Some((lba, sectors)) = initiator.wanted.pop() {
            self.begin(number, slot, Wish::Read((lba, sectors)));
            self.at(1, Event::Think { initiator: number });
        } else if initiator.is_working {
            let wish = self.choose(number);
            self.begin(number, slot, wish);
            let pause = self.initiators[number].workload.pause;
            let delay = self.random.between(0..=pause);
            self.at(delay, Event::Think { initiator: number });
        }
    }

    /// What to do next. Mostly not a write to what another write is about: what comes of that is less
    /// certain.
    fn choose(&mut self, number: usize) -> Wish {
        if let Some(ranges) = self.choose_trim(number) {
            return Wish::Trim(ranges);
        }
        let workload = self.initiators[number].workload.clone();
        if let Some((start, length)) = workload.stream
            && self.random.chance(STREAM)
        {
            let streamed = &mut self.initiators[number].streamed;
            let done = *streamed % length;
            let sectors = SECTORS_MAX.min(length - done);
            *streamed = done + sectors;
            return Wish::Write((start + done, u32::try_from(sectors).unwrap_or(1)));
        }
        let writes = self.random.chance(workload.writes);
        let mut choice = choose_range(&mut self.random, &workload);
        for _ in 0..4 {
            let (lba, sectors) = choice;
            if !writes || !self.oracle.has_open_write(lba, sectors) || self.random.chance(150) {
                break;
            }
            choice = choose_range(&mut self.random, &workload);
        }
        if writes {
            Wish::Write(choice)
        } else {
            Wish::Read(choice)
        }
    }

    /// Ranges to trim, if that is what is to be done. They may overlap.
    fn choose_trim(&mut self, number: usize) -> Option<Vec<Range>> {
        let workload = &mut self.initiators[number].workload;
        let random = workload.trims.as_mut()?;
        if !random.chance(TRIMS) {
            return None;
        }
        let mut ranges = Vec::new();
        for _ in 0..random.between(1..=4) {
            let (start, length) = random.pick(&workload.zones);
            let offset = random.below(length);
            let longest = random.pick(&[8, TRIM_SECTORS_MAX]).min(length - offset);
            let sectors = u32::try_from(random.between(1..=longest)).unwrap_or(1);
            let range = (start + offset, sectors);
            if !self.oracle.has_open_write(range.0, range.1) || random.chance(150) {
                ranges.push(range);
            }
        }
        (!ranges.is_empty()).then_some(ranges)
    }

    fn begin(&mut self, number: usize, slot: usize, wish: Wish) {
        let value = match &wish {
            Wish::Read(_) => 0,
            Wish::Write((lba, sectors)) => self.oracle.begin_write(*lba, *sectors, self.now),
            Wish::Trim(ranges) => self.oracle.begin_trim(ranges, self.now),
        };
        let initiator = &mut self.initiators[number];
        let tag = initiator.next_tag;
        initiator.next_tag = (initiator.next_tag + 1) & 0x7fff_ffff;
        initiator.window[slot] = Some(Command {
            tag,
            value,
            wish,
            sent_at: self.now,
            sends: 0,
        });
        self.transmit(number, slot);
    }

    fn transmit(&mut self, number: usize, slot: usize) {
        let initiator = &mut self.initiators[number];
        let Some(command) = &mut initiator.window[slot] else {
            return;
        };
        command.sends += 1;
        let command = command.clone();
        let frame = request(initiator.mac, &command);
        let timeout = initiator.timeout(command.sends);
        self.note(|| format!("initiator {number} sends {command:?}"));
        for delay in self.switch.deliver(&mut self.random) {
            if command.value != 0 {
                self.oracle.copy_sent(command.value);
            }
            let (frame, value) = (frame.clone(), command.value);
            self.at(delay, Event::ToTarget { frame, value });
        }
        let Command { tag, sends, .. } = command;
        let initiator = number;
        self.at(
            timeout,
            Event::Overdue {
                initiator,
                slot,
                tag,
                sends,
            },
        );
    }

    pub(crate) fn overdue(&mut self, number: usize, slot: usize, tag: u32, sends: u32) {
        let command = &self.initiators[number].window[slot];
        if command
            .as_ref()
            .is_some_and(|command| (command.tag, command.sends) == (tag, sends))
        {
            self.transmit(number, slot);
        }
    }

    pub(crate) fn reply_arrives(&mut self, number: usize, frame: &[u8]) {
        let Ok((header, rest)) = Header::ref_from_prefix(frame) else {
            return;
        };
        let Ok((registers, data)) = AtaRegisters::ref_from_prefix(rest) else {
            return;
        };
        let tag = header.tag.get();
        let initiator = &mut self.initiators[number];
        let is_it = |slot: &Option<Command>| slot.as_ref().is_some_and(|c| c.tag == tag);
        let Some(slot) = initiator.window.iter().position(is_it) else {
            return;
        };
        let Some(command) = initiator.window[slot].take() else {
            return;
        };
        if command.sends == 1 {
            initiator.sample(self.now - command.sent_at);
        }
        let has_failed = registers.command_status & ata::status::FAILURE_BITS != 0
            || header.error_code().is_some();
        if has_failed {
            self.refused(number, &command, registers.command_status);
        } else if command.value != 0 {
            match &command.wish {
                Wish::Trim(_) => self.counts.trims += 1,
                _ => self.counts.writes += 1,
            }
            let oldest = self.oldest_read();
            self.oracle.acknowledge(command.value, self.now, oldest);
            for (lba, sectors) in command.wish.ranges() {
                self.expect_written(*lba, *sectors);
            }
            self.note(|| format!("acknowledged {command:?}"));
        } else if let Wish::Read(range) = command.wish {
            self.check_read(&command, range, data);
        }
    }

    fn refused(&mut self, number: usize, command: &Command, status: u8) {
        if command.value != 0 {
            self.oracle.abandon(command.value);
        }
        self.counts.errors += 1;
        let is_write = command.value != 0;
        let is_right = is_write && self.last_answers.contains(&(number, command.tag));
        if is_right || self.is_error_right(command) {
            return;
        }
        let text = format!("status {status:#04x} for {command:?}, with redundancy left");
        let is_interrupted = |(lba, sectors): &Range| {
            let mut range = self.interrupted.range(*lba..lba + u64::from(*sectors));
            range.next().is_some()
        };
        if command.wish.ranges().iter().any(is_interrupted) {
            // A start serves the LUN before it is over, and tells what is lost when it is.
            self.unjudged.push(Refusal {
                command: command.clone(),
                text,
            });
        } else {
            self.fail(text);
        }
    }

    /// The shelf has said what it had to say of its start: what was refused before is right now, or wrong.
    pub(crate) fn judge_refusals(&mut self) {
        for refusal in std::mem::take(&mut self.unjudged) {
            if !self.is_error_right(&refusal.command) {
                self.fail(refusal.text);
            }
        }
    }

    fn is_error_right(&self, command: &Command) -> bool {
        let is_write = command.value != 0;
        // Where drives have larger sectors, a command meets all that lies in them, and what it writes in part
        // it has to read.
        let unit = self.largest_unit();
        let is_right = |(lba, sectors): &Range| {
            let whole = unit.around(*lba, *sectors);
            let is_partial = whole != (*lba, *sectors);
            self.oracle
                .is_error_right(whole, is_write && !is_partial, command.sent_at)
                || self.oracle.is_error_right(whole, is_write, command.sent_at)
        };
        command.wish.ranges().iter().any(is_right)
    }

    fn check_read(&mut self, command: &Command, (first, count): Range, data: &[u8]) {
        self.counts.reads += 1;
        let sectors = data.as_chunks::<SECTOR>().0;
        if sectors.len() < count as usize {
            self.fail(format!(
                "{} sectors in answer to {command:?}",
                sectors.len()
            ));
            return;
        }
        let is_steady = self.is_synced() || !self.has_unreadable();
        let is_final = is_steady && command.sent_at > self.changed_at;
        for (lba, sector) in (first..).zip(&sectors[..count as usize]) {
            let content = content::read(lba, sector);
            if let Some(captured) = &mut self.captured {
                captured.push((lba, content));
                continue;
            }
            let (sent_at, now) = (command.sent_at, self.now);
            if let Err(text) = self.oracle.check(lba, content, sent_at, now, is_final) {
                self.fail(format!("{text}; {command:?}"));
                return;
            }
        }
    }

    /// When the oldest read was sent that has no answer.
    fn oldest_read(&self) -> Micros {
        let commands = self.initiators.iter().flat_map(Initiator::outstanding);
        let reads = commands.filter(|command| command.value == 0);
        reads
            .map(|command| command.sent_at)
            .min()
            .unwrap_or(self.now)
    }
}

fn choose_range(random: &mut Random, workload: &Workload) -> (u64, u32) {
    let (start, len) = random.pick(&workload.zones);
    let (offset, sectors) = if random.chance(400) {
        let blocks = (len / 8).max(1);
        (random.below(blocks) * 8, random.pick(&[8, 16]))
    } else {
        (random.below(len), random.between(1..=SECTORS_MAX))
    };
    let sectors = sectors.min(len - offset);
    (
        start + offset,
        u32::try_from(sectors).expect("a command is short"),
    )
}

fn request(source: MacAddress, command: &Command) -> Vec<u8> {
    let header = Header::request(
        crate::worker::TARGET_MAC,
        source,
        Shelf(1),
        Slot(0),
        aoe::ata::COMMAND_ATA,
        Tag(command.tag),
    );
    let count = |sectors: u32| u8::try_from(sectors).expect("a command is short");
    let (registers, data) = match &command.wish {
        Wish::Read((lba, sectors)) => {
            let code = opcode::READ_EXT;
            let registers = AtaRegisters::extended(code, false, *lba, count(*sectors));
            (registers, Vec::new())
        }
        Wish::Write((lba, sectors)) => {
            let code = opcode::WRITE_EXT;
            let registers = AtaRegisters::extended(code, true, *lba, count(*sectors));
            let mut data = vec![0; SECTOR * *sectors as usize];
            content::fill(*lba, command.value, &mut data);
            (registers, data)
        }
        Wish::Trim(ranges) => {
            let registers = AtaRegisters {
                feature_error: trim::FEATURE,
                ..AtaRegisters::extended(opcode::DATA_SET_MANAGEMENT, true, 0, 1)
            };
            let entry = |&(lba, sectors): &Range| {
                let sectors = u16::try_from(sectors).expect("a range is short");
                trim::Entry { lba, sectors }.encode()
            };
            let mut data: Vec<u8> = ranges.iter().flat_map(entry).collect();
            data.resize(SECTOR, 0);
            (registers, data)
        }
    };
    let mut frame = Vec::with_capacity(ATA_FRAME_BYTES + data.len());
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(registers.as_bytes());
    frame.extend_from_slice(&data);
    frame
}

//! raid5 and raid6 with the real program: `kill -9` while writes are on the wire, disks that are lost
//! with the crash, and what the disks hold after an orderly stop.
//!
//! A write that was acknowledged reads back, whatever was lost; one that was not is old or new in each
//! sector; and what was read once is read again, also when the lost disks come back and are rebuilt.
//!
//! When whole stripes were being overwritten, and too little of the old and of the new ones is left
//! without the lost disks, the LUN waits for them: with them it has everything.

mod support;

use anyhow::{Context, Result, bail, ensure};
use aoe::{MacAddress, SECTOR_BYTES};
use ata::opcode;
use raid::parity::{Verdict, check_parity};
use raid::{Geometry, Level};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use support::shelf::check_log;
use support::wire::{Ata, Wire};
use support::{E10, LIMIT};
use testbed::{Ledge, LedgeOptions, PairNetwork, linux_md};

const DISK_BYTES: u64 = 8 << 20;

/// Where the tests write: about ten stripes of default chunks, so that writes meet in them.
const WRITTEN_SECTORS: u64 = 4096;

/// Writes on the wire at once; fewer than the shelf has slots for commands.
const WINDOW: usize = 24;

/// Numbers that look random, the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What one sector may hold: the generation that was acknowledged last, and one that may have been
/// written instead. Generation 0 is the zeros of a new disk.
#[derive(Clone, Copy, Default)]
struct Content {
    settled: u32,
    pending: Option<u32>,
}

/// A write on the wire.
struct Outstanding {
    lba: u64,
    count: u8,
    frame: Vec<u8>,
}

/// An initiator that knows what each sector may hold.
struct Writer {
    wire: Wire,
    to: MacAddress,
    numbers: Numbers,
    contents: Vec<Content>,
    generation: u32,
    window: BTreeMap<u32, Outstanding>,
    /// Where the next sequential write goes.
    next_lba: u64,
}

fn sector(lba: u64, generation: u32) -> [u8; SECTOR_BYTES] {
    let mut bytes = [0; SECTOR_BYTES];
    if generation > 0 {
        let mut numbers = Numbers((lba << 32) | u64::from(generation));
        for byte in &mut bytes {
            *byte = numbers.below(251).to_le_bytes()[0];
        }
    }
    bytes
}

impl Writer {
    fn new(network: &PairNetwork, seed: u64) -> Result<Self> {
        let mut wire = Wire::open(network)?;
        let to = wire.discover(E10)?;
        Ok(Self {
            wire,
            to,
            numbers: Numbers(seed),
            contents: vec![Content::default(); usize::try_from(WRITTEN_SECTORS)?],
            generation: 0,
            window: BTreeMap::new(),
            next_lba: 0,
        })
    }

    /// A place for the next write where none is on the wire: every other one follows the last, so
    /// that stripes fill up, and the rest are anywhere and of any length.
    fn place(&mut self) -> Option<(u64, u8)> {
        let (lba, count) = if self.numbers.below(2) == 0 {
            let lba = self.next_lba;
            self.next_lba = (lba + 16) % WRITTEN_SECTORS;
            (lba, 16)
        } else {
            let count = 1 + self.numbers.below(16);
            (self.numbers.below(WRITTEN_SECTORS - count), count)
        };
        let free = self.sectors(lba, count).iter().all(|s| s.pending.is_none());
        free.then_some((lba, u8::try_from(count).expect("at most 16")))
    }

    fn sectors(&mut self, lba: u64, count: u64) -> &mut [Content] {
        let index = |lba| usize::try_from(lba).expect("below WRITTEN_SECTORS");
        &mut self.contents[index(lba)..index(lba + count)]
    }

    fn send_next(&mut self) -> Result<()> {
        let Some((lba, count)) = self.place() else {
            return Ok(());
        };
        self.generation += 1;
        let generation = self.generation;
        let mut data = Vec::new();
        for (content, lba) in self.sectors(lba, u64::from(count)).iter_mut().zip(lba..) {
            content.pending = Some(generation);
            data.extend_from_slice(&sector(lba, generation));
        }
        let ata = Ata {
            opcode: opcode::WRITE_EXT,
            lba,
            count,
        };
        let frame = self.wire.ata_frame(self.to, E10, ata, &data);
        self.wire.send(&frame)?;
        let tag = support::wire::Frame(frame.clone()).header()?.tag.get();
        self.window.insert(tag, Outstanding { lba, count, frame });
        Ok(())
    }

    /// Takes in one answer if there is one within `timeout`.
    fn settle_one(&mut self, timeout: Duration) -> Result<bool> {
        let Some(frame) = self.wire.receive(timeout)? else {
            return Ok(false);
        };
        let header = frame.header()?;
        if !header.is_response() {
            return Ok(true);
        }
        if let Some(done) = self.window.remove(&header.tag.get()) {
            frame.ata_success()?;
            for content in self.sectors(done.lba, u64::from(done.count)) {
                content.settled = content.pending.take().context("answered twice")?;
            }
        }
        Ok(true)
    }

    /// Keeps the window full until `count` writes are acknowledged.
    fn write(&mut self, count: u64) -> Result<()> {
        let mut settled = 0;
        let mut last = Instant::now();
        while settled < count {
            if self.window.len() < WINDOW {
                self.send_next()?;
            }
            let full = self.window.len() == WINDOW;
            let wait = Duration::from_millis(if full { 1000 } else { 0 });
            let before = self.window.len();
            if self.settle_one(wait)? {
                settled += u64::from(self.window.len() < before);
                last = Instant::now();
            } else if full {
                ensure!(last.elapsed() < LIMIT, "writes are not answered");
                for outstanding in self.window.values() {
                    self.wire.send(&outstanding.frame)?;
                }
            }
        }
        Ok(())
    }

    /// Takes in the answers that the shelf sent before it died. What is left is old or new.
    fn take_last_answers(&mut self) -> Result<usize> {
        while self.settle_one(support::SILENCE)? {}
        let uncertain = self.window.len();
        self.window.clear();
        Ok(uncertain)
    }

    /// Reads everything. Each sector must be what was acknowledged, or what was on the wire; and
    /// that is what it must be from now on.
    fn verify(&mut self) -> Result<()> {
        self.to = self.wire.discover(E10)?;
        for lba in (0..WRITTEN_SECTORS).step_by(16) {
            let read = self.wire.read(self.to, E10, lba, 16)?;
            for (bytes, lba) in read.chunks(SECTOR_BYTES).zip(lba..) {
                self.check(lba, bytes)?;
            }
        }
        Ok(())
    }

    /// Whether a sector may hold this.
    fn check(&mut self, lba: u64, read: &[u8]) -> Result<()> {
        let [content] = self.sectors(lba, 1) else {
            bail!("one sector is not one")
        };
        let Content { settled, .. } = *content;
        let pending = content.pending.take();
        if read != sector(lba, settled) {
            let new = pending.filter(|new| read == sector(lba, *new));
            content.settled = new.with_context(|| {
                format!("sector {lba} holds neither generation {settled} nor {pending:?}")
            })?;
        }
        Ok(())
    }
}

/// Waits until every element of LUN 0 is normal and its parity agrees everywhere.
fn await_normal(ledge: &Ledge) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let listed = ledge.console_ok("list -l 0")?;
        let mut elements = listed
            .lines()
            .filter(|row| row.trim_start().starts_with("0.0."));
        let normal = elements.all(|row| row.split_whitespace().nth(1) == Some("normal"));
        if normal && !listed.contains("initing") {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("not rebuilt: {}", ledge.console_ok("list -l")?)
}

/// Takes the files of these slots away, or puts them back.
fn move_disks(ledge: &Ledge, slots: &[u8], away: bool) -> Result<()> {
    for slot in slots {
        let (disk, aside) = (
            ledge.disk_path(*slot),
            ledge.disk_path(*slot).with_extension("away"),
        );
        let (from, to) = if away { (disk, aside) } else { (aside, disk) };
        fs::rename(from, to)?;
    }
    Ok(())
}

/// What mdadm says of every member after an orderly stop, and the parity of every row.
fn check_members(disks: &[PathBuf], level: Level) -> Result<()> {
    for disk in disks {
        let report = linux_md::examine(disk)?;
        ensure!(linux_md::reported(&report, "State") == "clean", "{report}");
        let checksum = linux_md::reported(&report, "Checksum");
        ensure!(checksum.ends_with("- correct"), "{report}");
    }
    let images: Vec<Vec<u8>> = disks.iter().map(fs::read).collect::<Result<_, _>>()?;
    let number = |image: &[u8], offset: usize, bytes: usize| {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(&image[4096 + offset..][..bytes]);
        u64::from_le_bytes(value)
    };
    let (size, chunk) = (number(&images[0], 80, 8), number(&images[0], 88, 4));
    let mut members = vec![&[][..]; images.len()];
    for image in &images {
        let device = usize::try_from(number(image, 160, 4))?;
        let role = usize::try_from(number(image, 256 + 2 * device, 2))?;
        let data = usize::try_from(number(image, 128, 8))? * SECTOR_BYTES;
        *members.get_mut(role).context("a role beyond the members")? = &image[data..];
    }
    let count = u8::try_from(members.len())?;
    let geometry = Geometry::new(level, count, u32::try_from(chunk)?, size)?;
    for row in 0..size / chunk {
        let layout = geometry.row_layout(row).context("no parity")?;
        let start = usize::try_from(row * chunk)? * SECTOR_BYTES;
        let length = usize::try_from(chunk)? * SECTOR_BYTES;
        let block = |element: u8| &members[usize::from(element)][start..start + length];
        let data: Vec<&[u8]> = (0..layout.columns())
            .map(|c| block(layout.data(c)))
            .collect();
        let verdict = check_parity(&data, block(layout.p()), layout.q().map(block))?;
        ensure!(verdict == Verdict::Consistent, "row {row}: {verdict:?}");
    }
    Ok(())
}

fn disks(ledge: &Ledge, count: u8) -> Vec<PathBuf> {
    (0..count).map(|slot| ledge.disk_path(slot)).collect()
}

/// One kill under load, with these disks lost in the same moment; they come back afterwards.
fn crash(ledge: &mut Ledge, writer: &mut Writer, lost: &[u8]) -> Result<()> {
    let count = 50 + writer.numbers.below(600);
    writer.write(count)?;
    ledge.kill()?;
    move_disks(ledge, lost, true)?;
    let uncertain = writer.take_last_answers()?;
    testbed::transcript::note(&format!("{uncertain} writes were on the wire"));
    ledge.start_again()?;
    if ledge.console_ok("list 0")?.trim_end().ends_with("offline") {
        ensure!(!lost.is_empty(), "it lacks nothing");
        come_back(ledge, lost)?;
        writer.verify().context("with the disks")?;
        return check_log(&ledge.log());
    }
    writer.verify().context("after the crash")?;
    writer.verify().context("read again")?;
    if !lost.is_empty() {
        writer.write(100)?;
        while !writer.window.is_empty() {
            ensure!(writer.settle_one(LIMIT)?, "writes are not answered");
        }
        writer.verify().context("after writes without disks")?;
        come_back(ledge, lost)?;
        writer.verify().context("with stale members")?;
        await_normal(ledge)?;
        writer.verify().context("rebuilt")?;
    }
    check_log(&ledge.log())
}

/// The lost disks are there again, as they were, at the next start.
fn come_back(ledge: &mut Ledge, lost: &[u8]) -> Result<()> {
    ledge.stop()?;
    check_log(&ledge.log())?;
    move_disks(ledge, lost, false)?;
    ledge.start_again()
}

/// Rounds of [`crash`], then a stop after which everything agrees.
fn crashes(level: Level, members: u8, chunk_kib: u32, lost: &[&[u8]]) -> Result<()> {
    let seed = 0x9e37_79b9 * u64::from(std::process::id());
    let network = PairNetwork::new(9000)?;
    let options = LedgeOptions {
        disks: members,
        disk_bytes: DISK_BYTES,
        ..LedgeOptions::default()
    };
    let mut ledge = Ledge::start(&network.target, options)?;
    let last = members - 1;
    ledge.console_ok(&format!("make -k {chunk_kib} 0 {level} 1.0-{last}"))?;
    ledge.console_ok("online 0")?;
    let mut writer = Writer::new(&network, seed)?;
    for (round, lost) in lost.iter().enumerate() {
        crash(&mut ledge, &mut writer, lost)
            .with_context(|| format!("{level}, seed {seed}, round {round}, lost {lost:?}"))
            .with_context(|| ledge.log())?;
    }
    await_normal(&ledge)?;
    ledge.stop()?;
    check_members(&disks(&ledge, members), level)?;
    ledge.start_again()?;
    writer.verify().context("after an orderly stop")
}

#[test]
fn raid5_keeps_acknowledged_writes_through_kills_with_a_lost_disk() -> Result<()> {
    crashes(Level::Raid5, 4, 64, &[&[1], &[], &[3], &[0], &[2]])
}

#[test]
fn raid6_keeps_acknowledged_writes_through_kills_with_two_lost_disks() -> Result<()> {
    let lost: [&[u8]; 6] = [&[0, 1], &[], &[2], &[1, 4], &[2, 3], &[4, 0]];
    crashes(Level::Raid6, 5, 16, &lost)
}

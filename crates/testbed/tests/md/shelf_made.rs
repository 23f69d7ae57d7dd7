//! Arrays that a running shelf made, filled over the wire, and left behind in every way in which a
//! shelf can end.

use super::client::{Client, Progress};
use super::content::Content;
use super::level::{LEVELS, Level};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};
use testbed::{Ledge, LedgeOptions, PairNetwork, transcript};

/// What happens to a shelf's LUNs after they were filled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Story {
    /// So many members of each are lost for good, and the LUNs are written to without them.
    pub(crate) lost: u8,
    /// How they are lost.
    pub(crate) loss: Loss,
    /// Whether a new disk takes the place of the first lost member; of the first one, still in use, when
    /// none is lost.
    pub(crate) rebuild: Rebuild,
    /// How it ends.
    pub(crate) end: End,
}

/// How members are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// They are not there when the shelf is started again.
    Away,
    /// By the command `fail`, while they are online.
    Failed,
}

/// How far the first lost member is rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rebuild {
    /// Not at all.
    No,
    /// It has begun when the end comes.
    Begun,
    /// It is complete.
    Complete,
}

/// The end of a shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// SIGTERM.
    Stop,
    /// `kill -9` while nothing is in flight.
    Kill,
    /// `kill -9` with writes in flight.
    Crash,
    /// The same, and then started again, and stopped when it has made all consistent.
    Recovery,
}

impl Story {
    /// A story of whole LUNs.
    pub(crate) const fn whole(end: End) -> Self {
        Self::lost(0, end)
    }

    /// A story of LUNs that lack members.
    pub(crate) const fn lost(lost: u8, end: End) -> Self {
        Self {
            lost,
            loss: Loss::Away,
            rebuild: Rebuild::No,
            end,
        }
    }

    /// A story of LUNs whose members were failed by command.
    pub(crate) const fn failed(lost: u8, end: End) -> Self {
        Self {
            loss: Loss::Failed,
            ..Self::lost(lost, end)
        }
    }

    /// A story of LUNs that get a member back.
    pub(crate) const fn rebuilt(lost: u8, rebuild: Rebuild, end: End) -> Self {
        Self {
            rebuild,
            ..Self::lost(lost, end)
        }
    }

    /// A story of LUNs of which a member that works is replaced.
    pub(crate) const fn replaced(rebuild: Rebuild, end: End) -> Self {
        Self::rebuilt(0, rebuild, end)
    }

    /// The first members that are none any more when the end comes.
    pub(crate) const fn gone(&self) -> u8 {
        match (self.lost, self.rebuild) {
            (0, Rebuild::Complete) => 1,
            (lost, _) => lost,
        }
    }

    /// For the names of images and for messages.
    pub(crate) fn name(&self) -> String {
        let Self { lost, end, .. } = self;
        let lost = match (lost, self.loss) {
            (0, _) => String::new(),
            (_, Loss::Away) => format!("{lost}-lost-"),
            (_, Loss::Failed) => format!("{lost}-failed-"),
        };
        let rebuild = match self.rebuild {
            Rebuild::No => "",
            Rebuild::Begun => "rebuild-begun-",
            Rebuild::Complete => "rebuilt-",
        };
        format!("{lost}{rebuild}{end:?}").to_lowercase()
    }

    /// Members that are missing when md has done all that it can.
    pub(crate) const fn degraded(&self) -> u8 {
        match self.rebuild {
            Rebuild::No => self.lost,
            Rebuild::Begun | Rebuild::Complete => self.lost.saturating_sub(1),
        }
    }

    /// Whether the shelf could not say goodbye.
    pub(crate) const fn is_dirty(&self) -> bool {
        matches!(self.end, End::Kill | End::Crash)
    }

    /// The levels that live it to an end that md accepts: those that survive the loss, without those
    /// with parity where md would have to trust parity after a crash.
    fn levels(&self) -> Vec<&'static Level> {
        let survives = |level: &&Level| {
            let trusts_parity = level.has_parity && self.is_dirty() && self.lost > 0;
            let is_rebuilt = self.rebuild == Rebuild::No || level.lost_max > 0;
            level.lost_max >= self.lost && is_rebuilt && !trusts_parity
        };
        LEVELS.iter().filter(survives).collect()
    }

    /// Disks that a LUN needs: its members, and the one that takes a lost one's place.
    const fn disks(&self, level: &Level) -> u8 {
        match self.rebuild {
            Rebuild::No => level.members,
            Rebuild::Begun | Rebuild::Complete => level.members + 1,
        }
    }
}

/// What a shelf left of one LUN.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) level: &'static Level,
    pub(crate) story: Story,
    pub(crate) content: Content,
    /// The images of its members in element order, then of the disk that was rebuilt.
    pub(crate) images: Vec<PathBuf>,
}

impl Array {
    /// For messages.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.level.name, self.story.name())
    }

    /// Whether the shelf keeps the replacement of a member from Linux, which does not resynchronise an array
    /// right when it fills a replacement, too: but in a raid6.
    pub(crate) fn is_replacement_withheld(&self) -> bool {
        let Story { lost, rebuild, .. } = self.story;
        let is_half_done = lost == 0 && rebuild == Rebuild::Begun;
        self.level.md != "raid6" && is_half_done && self.story.is_dirty()
    }
}

/// Writes to each LUN that must be acknowledged while more are in flight, before the end.
const ACKNOWLEDGED_MIN: u64 = 200;

/// Limit for those writes, and for a resync or rebuild. They take seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// As [`live`], of the levels with parity only.
pub(crate) fn live_with_parity(
    story: Story,
    disk_bytes: u64,
    directory: &Path,
) -> Result<Vec<Array>> {
    let arrays = live(story, disk_bytes, directory)?;
    Ok(arrays.into_iter().filter(|a| a.level.has_parity).collect())
}

/// Lets a shelf make one LUN of each level that can live the story, lives it with them, and leaves the
/// members' images in `directory`.
pub(crate) fn live(story: Story, disk_bytes: u64, directory: &Path) -> Result<Vec<Array>> {
    transcript::note(&format!("the shelf's story: {}", story.name()));
    let network = PairNetwork::new(9000)?;
    let mut shelf = Shelf::start(&network, &story, disk_bytes)?;
    shelf.write_all(&|blocks| Box::new(first_time(blocks)))?;
    if story.lost > 0 {
        match story.loss {
            Loss::Away => shelf.lose(story.lost)?,
            Loss::Failed => shelf.fail(story.lost)?,
        }
        shelf.write_all(&|blocks| Box::new((0..blocks).step_by(7.max(blocks / 1024))))?;
    }
    if story.rebuild != Rebuild::No {
        shelf.replace()?;
    }
    match story.rebuild {
        Rebuild::No => {}
        Rebuild::Begun => shelf.wait_for_half()?,
        Rebuild::Complete => shelf.wait_for_passes()?,
    }
    match story.end {
        End::Stop => shelf.ledge.stop()?,
        End::Kill => shelf.ledge.kill()?,
        End::Crash => shelf.die_writing()?,
        End::Recovery => {
            shelf.die_writing()?;
            shelf.ledge.start_again()?;
            shelf.wait_for_passes()?;
            shelf.ledge.stop()?;
        }
    }
    shelf.into_arrays(story, directory)
}

/// Blocks of the first round: both ends as a whole, and a third or less of the rest; the others are
/// never written.
fn first_time(blocks: usize) -> impl Iterator<Item = usize> {
    let edge = (blocks / 8).min(512);
    let step = (blocks / 2048).max(3);
    (0..blocks).filter(move |&block| block < edge || block >= blocks - edge || block % step == 0)
}

/// Blocks all over the array, in an order that a scattered load has; forever.
fn scattered(blocks: usize) -> impl Iterator<Item = usize> {
    // A prime step visits all blocks, as no array here has a multiple of so many.
    (0..).map(move |turn: usize| turn * 7919 % blocks)
}

/// A LUN that is served.
struct Lun {
    level: &'static Level,
    /// Slots of its members, and of the disk for a lost one.
    slots: Range<u8>,
    content: Content,
}

struct Shelf<'a> {
    network: &'a PairNetwork,
    ledge: Ledge<'a>,
    luns: Vec<Lun>,
}

impl<'a> Shelf<'a> {
    /// LUNs from 0 on, each on disks of its own, online.
    fn start(network: &'a PairNetwork, story: &Story, disk_bytes: u64) -> Result<Self> {
        let levels = story.levels();
        let options = LedgeOptions {
            disks: levels.iter().map(|level| story.disks(level)).sum(),
            disk_bytes,
            mode: "packet".to_owned(),
            cec: false,
            ..LedgeOptions::default()
        };
        let ledge = Ledge::start(&network.target, options)?;
        let mut luns = Vec::new();
        let mut first = 0;
        for (lun, level) in (0..).zip(levels) {
            let (make, last) = (level.make, first + level.members - 1);
            ledge.console_ok(&format!("make {lun} {make} 1.{first}-{last}"))?;
            ledge.console_ok(&format!("online {lun}"))?;
            let sectors = Client::open(network, lun)?.sectors();
            let slots = first..first + story.disks(level);
            first = slots.end;
            luns.push(Lun {
                level,
                slots,
                content: Content::new(0x1ed6e + u64::from(lun), sectors)?,
            });
        }
        Ok(Self {
            network,
            ledge,
            luns,
        })
    }

    /// Writes to all LUNs, one after the other; `choose` picks the blocks of so many.
    fn write_all(
        &mut self,
        choose: &dyn Fn(usize) -> Box<dyn Iterator<Item = usize>>,
    ) -> Result<()> {
        for (number, lun) in (0..).zip(&mut self.luns) {
            let blocks = choose(lun.content.blocks());
            let written = Client::open(self.network, number)?.write(&mut lun.content, blocks);
            written
                .with_context(|| lun.level.name)
                .with_context(|| self.ledge.log())?;
        }
        Ok(())
    }

    /// Takes the first members of every LUN away while the shelf is off, and starts it without them.
    fn lose(&mut self, count: u8) -> Result<()> {
        self.ledge.stop()?;
        for lun in &self.luns {
            for slot in lun.slots.clone().take(usize::from(count)) {
                let path = self.ledge.disk_path(slot);
                fs::rename(&path, away(&path))?;
            }
        }
        self.ledge.start_again()
    }

    /// Fails the first members of every LUN by command.
    fn fail(&self, count: u8) -> Result<()> {
        for lun in 0..self.luns.len() {
            for element in 0..count {
                self.ledge.console_ok(&format!("fail {lun}.0.{element}"))?;
            }
        }
        Ok(())
    }

    /// Lets a new disk take the place of the first element of every LUN.
    fn replace(&self) -> Result<()> {
        for (number, lun) in self.luns.iter().enumerate() {
            let disk = lun.slots.end - 1;
            self.ledge
                .console_ok(&format!("replace {number}.0.0 1.{disk}"))?;
        }
        Ok(())
    }

    /// Waits until almost half of every rebuild is done, which in LUNs of 160 MiB and more is where
    /// the superblocks say something about it.
    fn wait_for_half(&self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let passes = self.ledge.console_ok("when")?;
            let done = passes.lines().filter_map(|row| {
                let percent = row.split_whitespace().nth(1)?.strip_suffix('%')?;
                percent.parse::<f64>().ok()
            });
            let done: Vec<f64> = done.collect();
            ensure!(
                done.len() == self.luns.len(),
                "a rebuild is over before another has begun: {passes}"
            );
            if done.iter().all(|percent| *percent > 45.0) {
                // Half it stays, whatever comes before the end.
                self.ledge.console_ok("ratelimit -p 64K")?;
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not done in time: {passes}");
        }
    }

    /// Waits until nothing is resynchronised or rebuilt.
    fn wait_for_passes(&self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let passes = self.ledge.console_ok("when")?;
            if passes.trim().is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not done in time: {passes}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Writes to all LUNs at once, and kills the daemon in the middle of it.
    fn die_writing(&mut self) -> Result<()> {
        let mut jobs = Vec::new();
        for (number, lun) in (0..).zip(&mut self.luns) {
            let client = Client::open(self.network, number)?;
            jobs.push((client, &mut lun.content, Progress::default()));
        }
        let (acknowledged, in_doubt) = kill_amid(&mut self.ledge, &mut jobs)?;
        transcript::note(&format!(
            "{acknowledged} writes acknowledged, {in_doubt} in flight at the kill"
        ));
        ensure!(in_doubt > 0, "not the crash that was meant");
        Ok(())
    }

    fn into_arrays(self, story: Story, directory: &Path) -> Result<Vec<Array>> {
        let keep = |slot: u8| {
            let path = self.ledge.disk_path(slot);
            let kept = directory.join(format!("{}-{slot}", story.name()));
            let from = if path.exists() { path } else { away(&path) };
            fs::rename(&from, &kept).with_context(|| from.display().to_string())?;
            Ok(kept)
        };
        let luns = self.luns.into_iter().map(|lun| {
            Ok(Array {
                level: lun.level,
                story,
                content: lun.content,
                images: lun.slots.map(keep).collect::<Result<_>>()?,
            })
        });
        luns.collect()
    }
}

/// Kills the daemon when each job has had enough writes acknowledged. Gives how many they were
/// together, and how many writes are in doubt.
fn kill_amid(
    ledge: &mut Ledge<'_>,
    jobs: &mut [(Client, &mut Content, Progress)],
) -> Result<(u64, usize)> {
    thread::scope(|scope| {
        let mut writers = Vec::new();
        let mut all_progress = Vec::new();
        for (client, content, progress) in jobs {
            let progress = &*progress;
            all_progress.push(progress);
            writers.push(scope.spawn(move || {
                let blocks = scattered(content.blocks());
                client.write_until(content, blocks, progress)
            }));
        }
        let count = |progress: &Progress| progress.acknowledged.load(Ordering::Relaxed);
        let deadline = Instant::now() + LIMIT;
        while all_progress.iter().any(|p| count(p) < ACKNOWLEDGED_MIN) && Instant::now() < deadline
        {
            thread::sleep(Duration::from_millis(1));
        }
        let killed = ledge.kill();
        for progress in &all_progress {
            progress.ended.store(true, Ordering::Relaxed);
        }
        let in_doubt = writers.into_iter().map(|writer| {
            let ended = writer.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let in_doubt = in_doubt.sum::<Result<usize>>()?;
        killed?;
        ensure!(
            all_progress.iter().all(|p| count(p) >= ACKNOWLEDGED_MIN),
            "a LUN acknowledges too little"
        );
        Ok((all_progress.iter().map(|p| count(p)).sum(), in_doubt))
    })
}

/// Where a lost disk waits.
fn away(path: &Path) -> PathBuf {
    path.with_extension("away")
}

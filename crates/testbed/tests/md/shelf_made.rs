//! Arrays that a running shelf made, filled over the wire, and left behind in every way in which a
//! shelf can end.

use super::client::{Client, Progress};
use super::content::Content;
use super::level::Level;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};
use testbed::{Ledge, LedgeOptions, PairNetwork, transcript};

/// How the shelf's life ends, and which elements are lost before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Story {
    /// SIGTERM.
    Clean,
    /// `kill -9` while nothing is in flight.
    Killed,
    /// `kill -9` with writes in flight.
    CrashMidWrite,
    /// Started again without this many members, written to, and stopped.
    Lost(u8),
    /// Started again without this many members, and killed with writes in flight.
    LostAndCrash(u8),
}

impl Story {
    /// For the names of images and for messages.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Clean => "clean".to_owned(),
            Self::Killed => "killed".to_owned(),
            Self::CrashMidWrite => "crash-mid-write".to_owned(),
            Self::Lost(count) => format!("lost-{count}"),
            Self::LostAndCrash(count) => format!("lost-{count}-and-crash"),
        }
    }

    /// Members that are lost.
    pub(crate) const fn lost(self) -> u8 {
        match self {
            Self::Lost(count) | Self::LostAndCrash(count) => count,
            _ => 0,
        }
    }

    /// Whether the shelf could not say goodbye.
    pub(crate) const fn is_dirty(self) -> bool {
        !matches!(self, Self::Clean | Self::Lost(_))
    }

    const fn dies_writing(self) -> bool {
        matches!(self, Self::CrashMidWrite | Self::LostAndCrash(_))
    }
}

/// What a shelf left of one LUN.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) level: &'static Level,
    pub(crate) story: Story,
    pub(crate) content: Content,
    /// The images of its members in element order.
    pub(crate) images: Vec<PathBuf>,
}

impl Array {
    /// For messages.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.level.name, self.story.name())
    }

    /// Whether an element was away while the shelf went on without it.
    pub(crate) fn is_lost(&self, element: usize) -> bool {
        element < usize::from(self.story.lost())
    }
}

/// Writes to all LUNs together that must be acknowledged while more are in flight, before the end.
const ACKNOWLEDGED_MIN: u64 = 1000;

/// Limit for those writes. They take seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// Lets a shelf make one LUN of each level, lives the story with it, and leaves the members' images
/// in `directory`.
pub(crate) fn live(
    story: Story,
    levels: &[&'static Level],
    disk_bytes: u64,
    directory: &Path,
) -> Result<Vec<Array>> {
    transcript::note(&format!("the shelf's story: {}", story.name()));
    let network = PairNetwork::new(9000)?;
    let mut shelf = Shelf::start(&network, levels, disk_bytes)?;
    shelf.write_all(&|blocks| Box::new(first_time(blocks)))?;
    if story.lost() > 0 {
        shelf.lose(story.lost())?;
        shelf.write_all(&|blocks| Box::new((0..blocks).step_by(7)))?;
    }
    if story.dies_writing() {
        shelf.die_writing()?;
    } else if story.is_dirty() {
        shelf.ledge.kill()?;
    } else {
        shelf.ledge.stop()?;
    }
    shelf.into_arrays(story, directory)
}

/// Blocks of the first round: both ends as a whole, every third of the rest, the others never.
fn first_time(blocks: usize) -> impl Iterator<Item = usize> {
    let edge = blocks / 8;
    (0..blocks).filter(move |&block| block < edge || block >= blocks - edge || block % 3 == 0)
}

/// Blocks all over the array, in an order that a scattered load has; forever.
fn scattered(blocks: usize) -> impl Iterator<Item = usize> {
    // A prime step visits all blocks, as no array here has a multiple of so many.
    (0..).map(move |turn: usize| turn * 7919 % blocks)
}

/// A LUN that is served.
struct Lun {
    level: &'static Level,
    first_slot: u8,
    content: Content,
}

struct Shelf<'a> {
    network: &'a PairNetwork,
    ledge: Ledge<'a>,
    luns: Vec<Lun>,
}

impl<'a> Shelf<'a> {
    /// LUNs from 0 on, each on disks of its own, online.
    fn start(network: &'a PairNetwork, levels: &[&'static Level], disk_bytes: u64) -> Result<Self> {
        let options = LedgeOptions {
            disks: levels.iter().map(|level| level.members).sum(),
            disk_bytes,
            mode: "packet".to_owned(),
            cec: false,
            ..LedgeOptions::default()
        };
        let ledge = Ledge::start(&network.target, options)?;
        let mut luns = Vec::new();
        let mut first_slot = 0;
        for (lun, level) in (0..).zip(levels) {
            let (make, last_slot) = (level.make, first_slot + level.members - 1);
            ledge.console_ok(&format!("make {lun} {make} 1.{first_slot}-{last_slot}"))?;
            ledge.console_ok(&format!("online {lun}"))?;
            let sectors = Client::open(network, lun)?.sectors();
            luns.push(Lun {
                level,
                first_slot,
                content: Content::new(0x1ed6e + u64::from(lun), sectors)?,
            });
            first_slot = last_slot + 1;
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
            for slot in lun.first_slot..lun.first_slot + count {
                let path = self.ledge.disk_path(slot);
                fs::rename(&path, away(&path))?;
            }
        }
        self.ledge.start_again()
    }

    /// Writes to all LUNs at once, and kills the daemon in the middle of it.
    fn die_writing(&mut self) -> Result<()> {
        let progress = Progress::default();
        let (network, ledge) = (self.network, &mut self.ledge);
        let write = |(number, lun): (u8, &mut Lun)| {
            let blocks = scattered(lun.content.blocks());
            Client::open(network, number)?.write_until(&mut lun.content, blocks, &progress)
        };
        let (write, progress) = (&write, &progress);
        let in_doubt = thread::scope(|scope| {
            let writers: Vec<_> = (0..)
                .zip(&mut self.luns)
                .map(|job| scope.spawn(move || write(job)))
                .collect();
            let deadline = Instant::now() + LIMIT;
            while progress.acknowledged.load(Ordering::Relaxed) < ACKNOWLEDGED_MIN
                && Instant::now() < deadline
            {
                thread::sleep(Duration::from_millis(1));
            }
            let killed = ledge.kill();
            progress.ended.store(true, Ordering::Relaxed);
            let in_doubt = writers.into_iter().map(|writer| {
                let ended = writer.join();
                ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            let in_doubt = in_doubt.sum::<Result<usize>>();
            killed.and(in_doubt)
        })?;
        let acknowledged = progress.acknowledged.load(Ordering::Relaxed);
        transcript::note(&format!(
            "{acknowledged} writes acknowledged, {in_doubt} in flight at the kill"
        ));
        ensure!(
            acknowledged >= ACKNOWLEDGED_MIN && in_doubt > 0,
            "not the crash that was meant"
        );
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
            let slots = lun.first_slot..lun.first_slot + lun.level.members;
            Ok(Array {
                level: lun.level,
                story,
                content: lun.content,
                images: slots.map(keep).collect::<Result<_>>()?,
            })
        });
        luns.collect()
    }
}

/// Where a lost disk waits.
fn away(path: &Path) -> PathBuf {
    path.with_extension("away")
}

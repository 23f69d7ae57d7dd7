//! An initiator that writes blocks to one LUN and keeps account of what was acknowledged.

use super::content::{BLOCK_SECTORS, Content};
use super::lun::{DEPTH, Lun, RECEIVE_BUDGET};
use anyhow::{Context, Result, bail, ensure};
use aoe::SECTOR_BYTES;
use initiator::{Commands, Event, Expired, Operation};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testbed::PairNetwork;
use testbed::network::CLIENT_INTERFACE;

/// How long answers that were sent before the shelf's death may be on their way.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// When to end.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Writes acknowledged so far.
    pub(crate) acknowledged: AtomicU64,
    /// The shelf is dead: what is not answered now never will be.
    pub(crate) ended: AtomicBool,
}

/// What is on the wire: the window, and the block and bytes of each of its writes.
struct Flight {
    commands: Commands,
    writes: [Option<(usize, Vec<u8>)>; DEPTH],
}

/// The way to one LUN.
#[derive(Debug)]
pub(crate) struct Client(Lun);

impl Client {
    /// Finds the LUN of shelf 1 and asks for its size.
    pub(crate) fn open(network: &PairNetwork, lun: u8) -> Result<Self> {
        Ok(Self(Lun::open(
            &network.client,
            CLIENT_INTERFACE,
            (1, lun),
        )?))
    }

    /// Sectors of the LUN.
    pub(crate) const fn sectors(&self) -> u64 {
        self.0.sectors
    }

    /// Writes these blocks; all must be acknowledged.
    pub(crate) fn write(
        &mut self,
        content: &mut Content,
        blocks: impl Iterator<Item = usize>,
    ) -> Result<()> {
        let in_doubt = self.write_until(content, blocks, &Progress::default())?;
        ensure!(in_doubt == 0, "{in_doubt} writes in doubt");
        Ok(())
    }

    /// Writes these blocks until all are acknowledged or the shelf has ended. What is not answered
    /// then is in doubt; gives how many.
    pub(crate) fn write_until(
        &mut self,
        content: &mut Content,
        mut blocks: impl Iterator<Item = usize>,
        progress: &Progress,
    ) -> Result<usize> {
        let mut flight = Flight {
            commands: self.0.begin(),
            writes: [const { None }; DEPTH],
        };
        let mut ended_at = None;
        let mut more = true;
        while more || flight.commands.outstanding() > 0 {
            let ended = progress.ended.load(Ordering::Relaxed);
            while more && !ended && flight.commands.next_id().is_some() {
                match blocks.next() {
                    Some(block) => self.send(&mut flight, content, block)?,
                    None => more = false,
                }
            }
            self.0.port.flush();
            let acknowledged = self.receive(&mut flight, content)?;
            progress
                .acknowledged
                .fetch_add(acknowledged, Ordering::Relaxed);
            if ended && ended_at.get_or_insert_with(Instant::now).elapsed() > LAST_ANSWERS {
                break;
            }
            self.send_again(&mut flight)?;
            if acknowledged == 0 {
                thread::sleep(Duration::from_micros(100));
            }
        }
        let in_doubt = flight.writes.iter().flatten();
        in_doubt
            .clone()
            .for_each(|(block, _)| content.doubt(*block));
        Ok(in_doubt.count())
    }

    /// Begins the write of a block, unless its content is in doubt already.
    fn send(&mut self, flight: &mut Flight, content: &mut Content, block: usize) -> Result<()> {
        let Some(write) = content.begin(block) else {
            return Ok(());
        };
        let now_ns = self.0.now_ns();
        let started = flight
            .commands
            .start(Operation::Write, write.lba, BLOCK_SECTORS, now_ns);
        let frame = started.context("the window is full")?;
        self.0.port.transmit(&frame.header, &write.bytes)?;
        flight.writes[frame.id.index()] = Some((block, write.bytes));
        Ok(())
    }

    /// Reads the whole LUN and compares it; gives how many of its sectors are written.
    pub(crate) fn check(&mut self, content: &Content) -> Result<u64> {
        ensure!(
            self.sectors() == content.sectors(),
            "the LUN has {} sectors, the array {}",
            self.sectors(),
            content.sectors()
        );
        let image = self
            .0
            .read(0, usize::try_from(self.sectors())? * SECTOR_BYTES)?;
        let mut sectors = image.as_chunks::<SECTOR_BYTES>().0.iter();
        content.check(&mut |sector| {
            *sector = *sectors.next().context("a sector")?;
            Ok(())
        })
    }

    /// Takes answers; gives how many writes they acknowledge.
    fn receive(&mut self, flight: &mut Flight, content: &mut Content) -> Result<u64> {
        let now_ns = self.0.now_ns();
        let (mut acknowledged, mut failed) = (0, None);
        self.0.port.receive(RECEIVE_BUDGET, &mut |frame| {
            let Event::Finished(finished) = flight.commands.receive(frame, now_ns) else {
                return;
            };
            match (finished.result, flight.writes[finished.id.index()].take()) {
                (Ok(()), Some((block, _))) => {
                    content.settle(block);
                    acknowledged += 1;
                }
                (result, _) => failed = Some((finished.lba, result)),
            }
        });
        if let Some((lba, result)) = failed {
            bail!("write of LBA {lba}: {result:?}");
        }
        Ok(acknowledged)
    }

    /// Sends again what is overdue.
    fn send_again(&mut self, flight: &mut Flight) -> Result<()> {
        while let Some(expired) = flight.commands.next_expired(self.0.now_ns()) {
            let Expired::Again(frame) = expired else {
                bail!("a write was not answered for a minute");
            };
            let write = flight.writes[frame.id.index()].as_ref();
            let (_, bytes) = write.context("an overdue command that is no write")?;
            self.0.port.transmit(&frame.header, bytes)?;
        }
        Ok(())
    }
}

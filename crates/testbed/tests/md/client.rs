//! An initiator that writes blocks to one LUN and keeps account of what was acknowledged.

use super::content::{BLOCK_SECTORS, Content};
use anyhow::{Context, Result, bail, ensure};
use aoe::{ATA_FRAME_BYTES, SECTOR_BYTES, Shelf, Slot, Tag};
use initiator::{
    Commands, Discovery, Event, Expired, IdentityQuery, Operation, Retransmission, Route,
    WindowSpec,
};
use port::{Port, ReceivedFrame, RequestedMode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testbed::PairNetwork;
use testbed::network::CLIENT_INTERFACE;

/// Commands on the wire at a time.
const DEPTH: usize = 16;

/// How often a question without an answer is asked again, and how often at most.
const ASK_INTERVAL: Duration = Duration::from_millis(250);
const ASK_MAX: usize = 80;

/// How long answers that were sent before the shelf's death may be on their way.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// Frames taken at once.
const RECEIVE_BUDGET: usize = 64;

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
pub(crate) struct Client {
    port: Box<dyn Port>,
    route: Route,
    lba48: bool,
    sectors: u64,
    started: Instant,
    transmission: u32,
}

impl Client {
    /// Finds the LUN of shelf 1 and asks for its size.
    pub(crate) fn open(network: &PairNetwork, lun: u8) -> Result<Self> {
        let open = || Ok(port::open(CLIENT_INTERFACE, RequestedMode::Packet)?);
        let ports = network.client.enter(open)?;
        let mut port = ports.into_iter().next().context("no port")?;
        let (shelf, slot) = (Shelf(1), Slot(lun));
        let source = port.facts().stations.first();
        let mut discovery = Discovery::new(shelf, slot, Tag(1));
        let request = discovery.request(source);
        let destination = ask(port.as_mut(), &request, &mut |frame| {
            discovery.receive(frame);
            discovery.targets().first().map(|target| target.macs[0])
        })
        .with_context(|| format!("LUN {lun} does not answer"))?;
        let route = Route {
            source,
            destination,
            shelf,
            slot,
        };
        let query = IdentityQuery::new(route, Tag(2));
        let identity = ask(port.as_mut(), &query.request(), &mut |frame| {
            query.receive(frame)
        })??;
        Ok(Self {
            port,
            route,
            lba48: identity.lba48,
            sectors: identity.sectors,
            started: Instant::now(),
            transmission: 0,
        })
    }

    /// Sectors of the LUN.
    pub(crate) const fn sectors(&self) -> u64 {
        self.sectors
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
        // Tags go on where those of the last call ended: late answers mean nothing here.
        self.transmission += 1 << 12;
        let mut flight = Flight {
            commands: Commands::new(self.route, self.window()),
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
            self.port.flush();
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
        let now_ns = self.now_ns();
        let started = flight
            .commands
            .start(Operation::Write, write.lba, BLOCK_SECTORS, now_ns);
        let frame = started.context("the window is full")?;
        self.port.transmit(&frame.header, &write.bytes)?;
        flight.writes[frame.id.index()] = Some((block, write.bytes));
        Ok(())
    }

    /// Reads the whole LUN and compares it; gives how many of its sectors are written.
    pub(crate) fn check(&mut self, content: &Content) -> Result<u64> {
        ensure!(
            self.sectors == content.sectors(),
            "the LUN has {} sectors, the array {}",
            self.sectors,
            content.sectors()
        );
        let image = self.read_all()?;
        let mut sectors = image.as_chunks::<SECTOR_BYTES>().0.iter();
        content.check(&mut |sector| {
            *sector = *sectors.next().context("a sector")?;
            Ok(())
        })
    }

    fn read_all(&mut self) -> Result<Vec<u8>> {
        self.transmission += 1 << 12;
        let mut commands = Commands::new(self.route, self.window());
        let mut image = vec![0; usize::try_from(self.sectors)? * SECTOR_BYTES];
        let mut next_lba = 0;
        while next_lba < self.sectors || commands.outstanding() > 0 {
            while next_lba < self.sectors && commands.next_id().is_some() {
                let left = self.sectors - next_lba;
                let count = u8::try_from(left).map_or(BLOCK_SECTORS, |n| n.min(BLOCK_SECTORS));
                let started = commands.start(Operation::Read, next_lba, count, self.now_ns());
                let frame = started.context("the window is full")?;
                self.port.transmit(&frame.header, &[])?;
                next_lba += u64::from(count);
            }
            self.port.flush();
            let now_ns = self.now_ns();
            let mut failed = None;
            let received = self.port.receive(RECEIVE_BUDGET, &mut |frame| {
                if let Event::Finished(finished) = commands.receive(frame, now_ns) {
                    let start = finished.lba as usize * SECTOR_BYTES;
                    let end = start + usize::from(finished.sectors) * SECTOR_BYTES;
                    frame.copy_to(ATA_FRAME_BYTES, &mut image[start..end]);
                    if finished.result.is_err() {
                        failed = Some((finished.lba, finished.result));
                    }
                }
            });
            if let Some((lba, result)) = failed {
                bail!("read of LBA {lba}: {result:?}");
            }
            while let Some(expired) = commands.next_expired(now_ns) {
                let Expired::Again(frame) = expired else {
                    bail!("a read was not answered for a minute");
                };
                self.port.transmit(&frame.header, &[])?;
            }
            if received == 0 {
                thread::sleep(Duration::from_micros(100));
            }
        }
        Ok(image)
    }

    fn window(&self) -> WindowSpec {
        WindowSpec {
            depth: DEPTH,
            lba48: self.lba48,
            retransmission: Retransmission::Adaptive,
            deadline_ns: 60_000_000_000,
            first_transmission: self.transmission,
        }
    }

    /// Takes answers; gives how many writes they acknowledge.
    fn receive(&mut self, flight: &mut Flight, content: &mut Content) -> Result<u64> {
        let now_ns = self.now_ns();
        let (mut acknowledged, mut failed) = (0, None);
        self.port.receive(RECEIVE_BUDGET, &mut |frame| {
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
        while let Some(expired) = flight.commands.next_expired(self.now_ns()) {
            let Expired::Again(frame) = expired else {
                bail!("a write was not answered for a minute");
            };
            let write = flight.writes[frame.id.index()].as_ref();
            let (_, bytes) = write.context("an overdue command that is no write")?;
            self.port.transmit(&frame.header, bytes)?;
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Sends a question until `answer` makes something of a frame.
fn ask<T>(
    port: &mut dyn Port,
    request: &[u8],
    answer: &mut dyn FnMut(&ReceivedFrame<'_>) -> Option<T>,
) -> Result<T> {
    for _ in 0..ASK_MAX {
        port.transmit(request, &[])?;
        port.flush();
        let deadline = Instant::now() + ASK_INTERVAL;
        while Instant::now() < deadline {
            let mut found = None;
            port.receive(RECEIVE_BUDGET, &mut |frame| {
                if found.is_none() {
                    found = answer(frame);
                }
            });
            if let Some(found) = found {
                return Ok(found);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    bail!(
        "no answer in {} s",
        (ASK_INTERVAL * ASK_MAX as u32).as_secs()
    )
}

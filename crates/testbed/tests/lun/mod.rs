//! An initiator of ours that copies a part of a LUN, or writes it: what is on a LUN is judged by what comes
//! over the wire.
#![allow(dead_code, reason = "each test program uses a part of it")]

use anyhow::{Context, Result, bail, ensure};
use aoe::{ATA_FRAME_BYTES, SECTOR_BYTES, Shelf, Slot, Tag};
use initiator::{
    Commands, Discovery, Event, Expired, IdentityQuery, Operation, Retransmission, Route,
    WindowSpec,
};
use port::{Port, ReceivedFrame, RequestedMode};
use std::thread;
use std::time::{Duration, Instant};
use testbed::Namespace;

/// Commands on the wire at a time.
pub(crate) const DEPTH: usize = 16;

/// Sectors of a command: what a shelf advertises at MTU 9000.
const SECTORS: u8 = 16;

/// How often a question without an answer is asked again, and how often at most.
const ASK_INTERVAL: Duration = Duration::from_millis(250);
const ASK_MAX: usize = 80;

/// After how long a command that is not answered is a failure.
const DEADLINE: Duration = Duration::from_secs(60);

/// Frames taken at once.
pub(crate) const RECEIVE_BUDGET: usize = 64;

/// The way to one LUN.
#[derive(Debug)]
pub(crate) struct Lun {
    pub(crate) port: Box<dyn Port>,
    route: Route,
    pub(crate) sectors: u64,
    started: Instant,
    transmission: u32,
}

impl Lun {
    /// Finds a LUN through an interface and asks for its size.
    pub(crate) fn open(
        namespace: &Namespace,
        interface: &str,
        (shelf, slot): (u16, u8),
    ) -> Result<Self> {
        let open = || Ok(port::open(interface, RequestedMode::Packet)?);
        let mut port = namespace
            .enter(open)?
            .into_iter()
            .next()
            .context("no port")?;
        let (shelf, slot) = (Shelf(shelf), Slot(slot));
        let source = port.facts().stations.first();
        let mut discovery = Discovery::new(shelf, slot, Tag(1));
        let request = discovery.request(source);
        let destination = ask(port.as_mut(), &request, &mut |frame| {
            discovery.receive(frame);
            discovery.targets().first().map(|target| target.macs[0])
        })
        .with_context(|| format!("e{}.{} does not answer", shelf.0, slot.0))?;
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
        ensure!(identity.lba48, "no 48-bit addresses");
        Ok(Self {
            port,
            route,
            sectors: identity.sectors,
            started: Instant::now(),
            transmission: 0,
        })
    }

    /// Writes whole sectors from the start of the LUN; all are acknowledged.
    pub(crate) fn write(&mut self, data: &[u8]) -> Result<()> {
        self.transfer(Operation::Write, 0, &mut data.to_vec())
    }

    /// Reads so many bytes, whole sectors, from a sector on.
    pub(crate) fn read(&mut self, lba: u64, len_bytes: usize) -> Result<Vec<u8>> {
        let mut data = vec![0; len_bytes];
        self.transfer(Operation::Read, lba, &mut data)?;
        Ok(data)
    }

    fn transfer(&mut self, operation: Operation, lba: u64, data: &mut [u8]) -> Result<()> {
        let total = u64::try_from(data.len() / SECTOR_BYTES)?;
        ensure!(
            data.len().is_multiple_of(SECTOR_BYTES) && lba + total <= self.sectors,
            "{} bytes at sector {lba} of {}",
            data.len(),
            self.sectors
        );
        let mut commands = self.begin();
        // The first sector of each command on the wire, and where its data lie.
        let mut extents = [(0, 0); DEPTH];
        let mut next = 0;
        while next < total || commands.outstanding() > 0 {
            while next < total && commands.next_id().is_some() {
                let count = u8::try_from(total - next).map_or(SECTORS, |left| left.min(SECTORS));
                let started = commands.start(operation, lba + next, count, self.now_ns());
                let frame = started.context("the window is full")?;
                let start = usize::try_from(next)? * SECTOR_BYTES;
                let extent = (start, start + usize::from(count) * SECTOR_BYTES);
                extents[frame.id.index()] = extent;
                self.send(operation, &frame.header, &data[extent.0..extent.1])?;
                next += u64::from(count);
            }
            self.port.flush();
            self.receive(&mut commands, &extents, data)?;
            while let Some(expired) = commands.next_expired(self.now_ns()) {
                let Expired::Again(frame) = expired else {
                    bail!("{operation:?}: no answer for {} s", DEADLINE.as_secs());
                };
                let (start, end) = extents[frame.id.index()];
                self.send(operation, &frame.header, &data[start..end])?;
            }
        }
        Ok(())
    }

    fn send(&mut self, operation: Operation, header: &[u8], data: &[u8]) -> Result<()> {
        let payload = if operation == Operation::Write {
            data
        } else {
            &[]
        };
        Ok(self.port.transmit(header, payload)?)
    }

    /// Takes answers, with the data of those that carry some.
    fn receive(
        &mut self,
        commands: &mut Commands,
        extents: &[(usize, usize)],
        data: &mut [u8],
    ) -> Result<()> {
        let now_ns = self.now_ns();
        let mut failed = None;
        let received = self.port.receive(RECEIVE_BUDGET, &mut |frame| {
            let Event::Finished(finished) = commands.receive(frame, now_ns) else {
                return;
            };
            let (start, end) = extents[finished.id.index()];
            match finished.result {
                Ok(()) if finished.operation == Operation::Read => {
                    frame.copy_to(ATA_FRAME_BYTES, &mut data[start..end]);
                }
                Ok(()) => {}
                Err(error) => failed = Some((finished.lba, error)),
            }
        });
        if let Some((lba, error)) = failed {
            bail!("sector {lba}: {error}");
        }
        if received == 0 {
            thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    /// A window of commands. Tags go on where those of the last one ended: late answers mean nothing here.
    pub(crate) fn begin(&mut self) -> Commands {
        self.transmission += 1 << 12;
        let spec = WindowSpec {
            depth: DEPTH,
            lba48: true,
            retransmission: Retransmission::Adaptive,
            deadline_ns: u64::try_from(DEADLINE.as_nanos()).unwrap_or(u64::MAX),
            first_transmission: self.transmission,
        };
        Commands::new(self.route, spec)
    }

    /// The time of the commands.
    pub(crate) fn now_ns(&self) -> u64 {
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
    bail!("no answer to {ASK_MAX} questions")
}

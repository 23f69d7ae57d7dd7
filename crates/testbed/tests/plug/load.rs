//! A load from the host, over the tap: stamped writes and checked reads until it is told to end, and then
//! every block is read and compared.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use aoe::{ETHERTYPE, MacAddress, SECTOR_BYTES, Shelf, Slot, Tag};
use initiator::stamp::write_block;
use initiator::{
    Checker, CommandFrame, Commands, Discovery, Event, Expired, Generation, GenerationModel,
    Operation, Retransmission, Route, RunId, Stamp, WindowSpec,
};
use port::{RawSocket, ReceivedFrame};
use testbed::{Namespace, transcript};

/// Sectors of a block: what one command reads or writes.
const BLOCK_SECTORS: u8 = 16;
const BLOCK_BYTES: usize = BLOCK_SECTORS as usize * SECTOR_BYTES;

/// Commands under way.
const DEPTH: usize = 8;

/// The Linux driver gives up after 180 s, and so does this: what takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(180);

/// Between two looks at what is overdue.
const TICK: Duration = Duration::from_millis(1);

/// What is on a LUN, as far as a load has written it.
#[derive(Debug)]
pub(crate) struct Content {
    run: RunId,
    model: GenerationModel,
}

/// What a load does until it is told to end.
#[derive(Debug)]
pub(crate) struct Load {
    thread: Option<JoinHandle<Result<Content>>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    has_to_end: AtomicBool,
    acknowledged: AtomicU64,
}

impl Load {
    /// Starts one on so many blocks from the start of a LUN of shelf 1.
    pub(crate) fn start(
        namespace: &Namespace,
        interface: &str,
        lun: u8,
        blocks: usize,
    ) -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let content = Content {
            run: RunId(u64::try_from(since.as_nanos())?),
            model: GenerationModel::new(blocks),
        };
        Self::resume(namespace, interface, lun, content)
    }

    /// Goes on with what another has written.
    pub(crate) fn resume(
        namespace: &Namespace,
        interface: &str,
        lun: u8,
        content: Content,
    ) -> Result<Self> {
        let mut session = Session::open(namespace, interface, lun, content)?;
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            session.load(&its)?;
            Ok(session.content)
        });
        let thread = Some(thread);
        Ok(Self { thread, shared })
    }

    /// Writes that were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more were acknowledged.
    pub(crate) fn goes_on(&mut self, count: u64, limit: Duration) -> Result<()> {
        let (before, deadline) = (self.acknowledged(), Instant::now() + limit);
        while self.acknowledged() < before + count {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                self.join()?;
                bail!("the load has ended by itself");
            }
            let now = self.acknowledged() - before;
            ensure!(
                Instant::now() < deadline,
                "{now} of {count} writes acknowledged"
            );
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Ends it; gives what is on the LUN now.
    pub(crate) fn end(mut self) -> Result<Content> {
        self.shared.has_to_end.store(true, Ordering::Relaxed);
        self.join()
    }

    fn join(&mut self) -> Result<Content> {
        let thread = self.thread.take().context("the load has ended already")?;
        let ended = thread.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Content {
    /// Reads every block that was written and compares it.
    pub(crate) fn verify(self, namespace: &Namespace, interface: &str, lun: u8) -> Result<Self> {
        let mut session = Session::open(namespace, interface, lun, self)?;
        for block in 0..session.content.model.count() {
            while session.commands.next_id().is_none() {
                session.wait()?;
            }
            if session.content.model.is_touched(block) {
                session.read(block)?;
            }
        }
        session.drain()?;
        let checked = *session.checker.counters();
        ensure!(checked.sectors > 0 && checked.unknown == 0, "{checked:?}");
        transcript::note(&format!("LUN {lun}: {} sectors compared", checked.sectors));
        Ok(session.content)
    }
}

/// An initiator of one LUN.
struct Session {
    socket: RawSocket,
    commands: Commands,
    checker: Checker,
    content: Content,
    /// Payload of the write of each command.
    payloads: Vec<Vec<u8>>,
    /// What the block of each command held when it was sent.
    floors: Vec<Generation>,
    began: Instant,
    random: u64,
}

impl Session {
    fn open(namespace: &Namespace, interface: &str, lun: u8, content: Content) -> Result<Self> {
        let open = || Ok(RawSocket::open(interface, ETHERTYPE)?);
        let mut socket = namespace.enter(open)?;
        let destination = discover(&mut socket, lun)?;
        let route = Route {
            source: socket.mac(),
            destination,
            shelf: Shelf(1),
            slot: Slot(lun),
        };
        let spec = WindowSpec {
            depth: DEPTH,
            lba48: true,
            retransmission: Retransmission::Adaptive,
            deadline_ns: u64::try_from(DEADLINE.as_nanos())?,
            first_transmission: u32::try_from(content.run.0 >> 20 & 0x00ff_ffff)?,
        };
        Ok(Self {
            socket,
            commands: Commands::new(route, spec),
            checker: Checker::new(content.run),
            random: content.run.0,
            content,
            payloads: vec![vec![0; BLOCK_BYTES]; DEPTH],
            floors: vec![Generation(0); DEPTH],
            began: Instant::now(),
        })
    }

    /// Three writes for each read, anywhere.
    fn load(&mut self, shared: &Shared) -> Result<()> {
        while !shared.has_to_end.load(Ordering::Relaxed) {
            while self.commands.next_id().is_some() {
                let block =
                    usize::try_from(self.next_random() % self.content.model.count() as u64)?;
                if self.next_random().is_multiple_of(4) {
                    self.read(block)?;
                } else {
                    self.write(block)?;
                }
            }
            shared
                .acknowledged
                .fetch_add(self.wait()?, Ordering::Relaxed);
        }
        self.drain()
    }

    fn drain(&mut self) -> Result<()> {
        while self.commands.outstanding() > 0 {
            self.wait()?;
        }
        Ok(())
    }

    fn read(&mut self, block: usize) -> Result<()> {
        let floor = self.content.model.floor(block);
        let frame = self.start(Operation::Read, block)?;
        self.floors[frame.id.index()] = floor;
        self.send(&frame)
    }

    /// Nothing, while another write to the block is under way.
    fn write(&mut self, block: usize) -> Result<()> {
        let Some(generation) = self.content.model.begin_write(block) else {
            return Ok(());
        };
        let frame = self.start(Operation::Write, block)?;
        let stamp = Stamp {
            lba: lba_of(block),
            run: self.content.run,
            generation,
            block_sectors: BLOCK_SECTORS.into(),
        };
        write_block(stamp, &mut self.payloads[frame.id.index()]);
        self.send(&frame)
    }

    fn start(&mut self, operation: Operation, block: usize) -> Result<CommandFrame> {
        let now = self.now();
        let started = self
            .commands
            .start(operation, lba_of(block), BLOCK_SECTORS, now);
        started.context("the window is full")
    }

    fn send(&mut self, frame: &CommandFrame) -> Result<()> {
        let mut bytes = frame.header.to_vec();
        if frame.operation == Operation::Write {
            bytes.extend_from_slice(&self.payloads[frame.id.index()]);
        }
        match self.socket.send(&bytes) {
            // The emulator's queue is full: it is sent again when it is overdue.
            Err(error) if matches!(error.raw_os_error(), Some(11 | 105)) => Ok(()),
            sent => sent.context("cannot send a command"),
        }
    }

    /// Takes in what has arrived, and sends again what is overdue. How many writes were acknowledged.
    fn wait(&mut self) -> Result<u64> {
        let mut buffer = [0; 16 * 1024];
        let mut acknowledged = 0;
        let mut any = false;
        while let Some(length) = self.socket.receive(&mut buffer)? {
            any = true;
            acknowledged += self.take(&buffer[..length])?;
        }
        if !any {
            thread::sleep(TICK);
        }
        let now = self.now();
        while let Some(expired) = self.commands.next_expired(now) {
            match expired {
                Expired::Again(frame) => self.send(&frame)?,
                Expired::Lost(lost) => bail!("no answer within {DEADLINE:?}: {lost:?}"),
            }
        }
        Ok(acknowledged)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<u64> {
        let frame = ReceivedFrame {
            first: bytes,
            rest: &[],
        };
        let now = self.now();
        let Event::Finished(finished) = self.commands.receive(&frame, now) else {
            return Ok(0);
        };
        if let Err(error) = finished.result {
            bail!("{finished:?}: {error}");
        }
        let block = usize::try_from(finished.lba / u64::from(BLOCK_SECTORS))?;
        if finished.operation == Operation::Write {
            self.content.model.settle(block);
            return Ok(1);
        }
        let allowed: RangeInclusive<Generation> = self
            .content
            .model
            .allowed(block, self.floors[finished.id.index()]);
        let checked = self
            .checker
            .check_own(&frame, finished.lba, finished.sectors, &allowed);
        match checked {
            Ok(()) => Ok(0),
            Err(wrong) => bail!("wrong data: {wrong:?}, allowed {allowed:?}"),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn next_random(&mut self) -> u64 {
        self.random = self
            .random
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        self.random >> 33
    }
}

fn lba_of(block: usize) -> u64 {
    block as u64 * u64::from(BLOCK_SECTORS)
}

/// The station that serves a LUN.
fn discover(socket: &mut RawSocket, lun: u8) -> Result<MacAddress> {
    let found = look_for(socket, lun, Duration::from_secs(60))?;
    found.with_context(|| format!("e1.{lun} is not found"))
}

/// Whether a LUN answers within a time.
pub(crate) fn is_served(
    namespace: &Namespace,
    interface: &str,
    lun: u8,
    limit: Duration,
) -> Result<bool> {
    let open = || Ok(RawSocket::open(interface, ETHERTYPE)?);
    let mut socket = namespace.enter(open)?;
    Ok(look_for(&mut socket, lun, limit)?.is_some())
}

fn look_for(socket: &mut RawSocket, lun: u8, limit: Duration) -> Result<Option<MacAddress>> {
    let mut discovery = Discovery::new(Shelf(1), Slot(lun), Tag(0x7f00_0001));
    let deadline = Instant::now() + limit;
    let mut buffer = [0; 16 * 1024];
    while Instant::now() < deadline {
        socket.send(&discovery.request(socket.mac()))?;
        thread::sleep(Duration::from_millis(200));
        while let Some(length) = socket.receive(&mut buffer)? {
            let first = &buffer[..length];
            discovery.receive(&ReceivedFrame { first, rest: &[] });
        }
        if let Some(target) = discovery.targets().first() {
            return Ok(target.macs.first().copied());
        }
    }
    Ok(None)
}

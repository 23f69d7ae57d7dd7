//! A second port that comes and goes, and a load on the first one, which misses whatever is lost.

use super::wire::Wire;
use super::{E10, LIMIT};
use anyhow::{Context, Result, bail, ensure};
use aoe::{AtaRegisters, Header, MacAddress, Shelf, Slot, Tag};
use ata::opcode;
use port::{Port, RequestedMode, TransmitError};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use testbed::netns::{VethEnd, veth_pair};
use testbed::network::CLIENT_INTERFACE;
use testbed::scheduling::Watched;
use testbed::{Ledge, PairNetwork};
use zerocopy::{FromBytes, IntoBytes};

/// The second port of the shelf, and what it is wired to.
pub(crate) const SECOND: &str = "eth2";
pub(crate) const SECOND_CLIENT: &str = "eth3";

/// Wires the second port.
pub(crate) fn wire_second(network: &PairNetwork) -> Result<()> {
    wire_another(network, SECOND, SECOND_CLIENT)
}

/// Wires one more interface of the shelf.
pub(crate) fn wire_another(network: &PairNetwork, ours: &str, theirs: &str) -> Result<()> {
    let end = |namespace, interface| VethEnd {
        namespace,
        interface,
    };
    let (ours, theirs) = (end(&network.target, ours), end(&network.client, theirs));
    veth_pair(ours, theirs, 9000)
}

/// Changes the file, has it read, and waits until the log says this once more than before.
pub(crate) fn reload(ledge: &mut Ledge<'_>, text: &str, says: &str) -> Result<()> {
    fs::write(ledge.config_path(), text)?;
    let count = |ledge: &Ledge<'_>| ledge.log().matches(says).count();
    let before = count(ledge);
    hang_up(ledge)?;
    let deadline = Instant::now() + LIMIT;
    while count(ledge) == before {
        ensure!(Instant::now() < deadline, "no {says:?}:\n{}", ledge.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn hang_up(ledge: &mut Ledge<'_>) -> Result<()> {
    let id = ledge.daemon().context("it does not run")?.id();
    let pid = Pid::from_raw(i32::try_from(id)?).context("a process")?;
    Ok(kill_process(pid, Signal::HUP)?)
}

/// Writes and reads back by one port.
pub(crate) fn serves(wire: &mut Wire, byte: u8) -> Result<()> {
    serves_at(wire, byte, 0..512)
}

/// As [`serves`], in these sectors; a [`Load`] writes to others than [`BESIDE`].
pub(crate) fn serves_at(wire: &mut Wire, byte: u8, sectors: Range<u64>) -> Result<()> {
    let to = wire.discover(E10)?;
    for lba in sectors.step_by(64) {
        wire.write(to, E10, lba, &[byte; 8192])?;
        ensure!(wire.read(to, E10, lba, 16)? == [byte; 8192], "at {lba}");
    }
    Ok(())
}

/// A worker that is kept from its CPU for a second drops what has waited, by rule: it goes before others.
pub(crate) fn prefer_workers(ledge: &mut Ledge<'_>, workers: u16) -> Result<()> {
    let process = ledge.daemon().context("it does not run")?.id();
    for thread in ["worker-0", "worker-1"].into_iter().take(workers.into()) {
        let thread = Some(thread);
        Watched { process, thread }.prefer()?;
    }
    Ok(())
}

/// Commands under way at a time.
const WINDOW: u32 = 16;

/// Sectors that a load leaves alone.
pub(crate) const BESIDE: Range<u64> = 4096..4608;

/// A host that keeps its window full and sends nothing twice: whatever is lost, it misses.
struct Host {
    port: Box<dyn Port>,
    to: MacAddress,
    sent: u32,
    /// By place of the window, the tag that is not answered.
    open: Vec<Option<u32>>,
}

impl Host {
    fn send(&mut self) -> Result<()> {
        let place = self.open.iter().position(Option::is_none).context("full")?;
        let tag = self.sent;
        self.sent += 1;
        self.open[place] = Some(tag);
        let own = self.port.facts().stations.first();
        let header = Header::request(self.to, own, Shelf(1), Slot(0), 0, Tag(tag));
        let lba = 16 * u64::try_from(place)?;
        let is_write = tag.is_multiple_of(2);
        let code = if is_write {
            opcode::WRITE_EXT
        } else {
            opcode::READ_EXT
        };
        let registers = AtaRegisters::extended(code, is_write, lba, 16);
        let head = [header.as_bytes(), registers.as_bytes()].concat();
        let data = [u8::try_from(tag % 251)?; 8192];
        let data = if is_write { &data[..] } else { &[] };
        let deadline = Instant::now() + LIMIT;
        while self.port.transmit(&head, data) == Err(TransmitError::Full) {
            self.port.flush();
            ensure!(Instant::now() < deadline, "the port takes nothing");
        }
        Ok(())
    }

    /// Takes what has come; how many answers that was.
    fn receive(&mut self) -> Result<usize> {
        self.port.flush();
        let mut answers = Vec::new();
        self.port.receive(64, &mut |frame| {
            if let Ok((header, rest)) = Header::ref_from_prefix(frame.first)
                && header.is_response()
                && header.command == 0
            {
                answers.push((header.tag.get(), header.error, rest.get(3).copied()));
            }
        });
        for (tag, error, status) in &answers {
            let is_done = *error == 0 && *status == Some(0x40);
            ensure!(is_done, "tag {tag}: error {error}, status {status:?}");
            let place = self.open.iter_mut().find(|open| **open == Some(*tag));
            *place.with_context(|| format!("{tag} is answered twice"))? = None;
        }
        Ok(answers.len())
    }

    fn run(mut self, stop: &AtomicBool) -> Result<u32> {
        let mut heard = Instant::now();
        loop {
            let is_over = stop.load(Ordering::Relaxed);
            while !is_over && self.open.contains(&None) {
                self.send()?;
            }
            if self.receive()? > 0 {
                heard = Instant::now();
            }
            if is_over && self.open.iter().all(Option::is_none) {
                return Ok(self.sent);
            }
            let missing = self.open.iter().flatten().count();
            ensure!(
                heard.elapsed() < LIMIT,
                "{missing} commands are not answered"
            );
            // The window is looked at as a whole: one that is never answered is met in the end.
            std::thread::yield_now();
        }
    }
}

/// A load by a host, until it is ended.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u32>>,
}

impl Load {
    pub(crate) fn start(network: &PairNetwork) -> Result<Self> {
        let to = Wire::open(network)?.discover(E10)?;
        let open = || {
            let mut ports = port::open(CLIENT_INTERFACE, RequestedMode::Packet)?;
            Ok(ports.remove(0))
        };
        let host = Host {
            port: network.client.enter(open)?,
            to,
            sent: 0,
            open: vec![None; WINDOW as usize],
        };
        let stop = Arc::<AtomicBool>::default();
        let ends = Arc::clone(&stop);
        let thread = std::thread::spawn(move || host.run(&ends));
        Ok(Self { stop, thread })
    }

    /// How many commands there were, all of them answered once.
    pub(crate) fn end(self) -> Result<u32> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| bail!("the load panicked"))
    }
}

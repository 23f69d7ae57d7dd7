//! A wire that misbehaves on command: a thread that carries AoE frames between two interfaces of a
//! namespace, and loses, repeats and delays some of them, or swallows all.
//!
//! **Invariants**
//! - What happens to the n-th frame of a direction depends on the seed, the direction and n only
//!   ([`Faults`]).
//! - What the relay does, it counts ([`Tally`]): received = forwarded + dropped + swallowed + delayed
//!   and not yet due + unsendable.
//! - The relay itself loses nothing unseen: its sockets hold far more than the windows of the
//!   initiators on the wire, and a frame that cannot be sent is counted.
//! - Frames that are not delayed keep their order.
//!
//! It carries frames of one EtherType, and in each direction those for everybody and those for the
//! station behind the far interface. The kernel gives a packet socket only what is addressed to its
//! interface, so each interface takes the address of the station behind the other one.

mod faults;
mod ledger;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use port::{ETHERTYPE_AOE, RawSocket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::netns::Namespace;

pub use faults::Faults;
use faults::Treatment;
pub use ledger::{Ledger, Passage};

/// Receive buffer of each socket: hundreds of windows of 64 jumbo frames with the kernel's overhead.
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;

/// The longest frame that is carried, and some more.
const FRAME_BYTES_MAX: usize = 16 << 10;

/// Frames of one direction that are carried before the other one gets its turn.
const BATCH: usize = 64;

/// How long the thread sleeps at most: what it takes to notice that it is to end.
const TICK: Duration = Duration::from_millis(50);

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the initiators to the target.
    ToTarget,
    /// From the target to the initiators.
    ToClient,
}

/// What became of the frames of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that came in.
    pub received: u64,
    /// Frames sent on, each counted once, those that were delayed when their time had come.
    pub forwarded: u64,
    /// Of those, frames sent twice.
    pub duplicated: u64,
    /// Frames held back, so that later ones overtook them.
    pub delayed: u64,
    /// Frames lost on purpose.
    pub dropped: u64,
    /// Frames that came in, or that were due, while the wire swallowed everything.
    pub swallowed: u64,
    /// Frames that could not be sent, because the far interface was down or full.
    pub unsendable: u64,
}

/// The relay's thread and what it shares; dropping it cuts the wire.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    end: AtomicBool,
    swallows: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tallies: [Tally; 2],
    ledger: Ledger,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Counters are whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// Starts carrying frames between two interfaces of `namespace`, which are up.
    ///
    /// # Errors
    /// An interface is missing or down, or the process may not open packet sockets.
    pub fn start(
        namespace: &Namespace,
        target_side: &str,
        client_side: &str,
        faults: Faults,
    ) -> Result<Self> {
        let sockets = namespace.enter(|| Ok([open(client_side)?, open(target_side)?]))?;
        let shared = Arc::new(Shared::default());
        let carrier = Carrier {
            sockets,
            faults,
            shared: shared.clone(),
            received: [0; 2],
            waiting: BTreeMap::new(),
            sequence: 0,
        };
        let thread = thread::Builder::new()
            .name("relay".into())
            .spawn(|| carrier.run())
            .context("the relay's thread")?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// From now on swallows every frame of both directions, or carries them again. The interfaces
    /// stay up: nobody is told.
    pub fn swallow(&self, everything: bool) {
        self.shared.swallows.store(everything, Ordering::Relaxed);
    }

    /// What has become of the frames of a direction so far.
    #[must_use]
    pub fn tally(&self, direction: Direction) -> Tally {
        self.shared.state().tallies[direction as usize]
    }

    /// When requests and answers passed, so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.state().ledger.clone()
    }

    /// Ends the thread.
    ///
    /// # Errors
    /// What ended it before; e.g. one of its interfaces was removed.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.shared.end.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .context("the relay")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            crate::transcript::note(&format!("{error:#}"));
        }
    }
}

fn open(interface: &str) -> Result<RawSocket> {
    let socket = RawSocket::open(interface, ETHERTYPE_AOE)?;
    set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES)
        .context("receive buffer of the relay")?;
    Ok(socket)
}

/// A delayed frame.
#[derive(Debug)]
struct Waiting {
    direction: Direction,
    frame: Vec<u8>,
}

/// The thread's own state.
struct Carrier {
    /// Where frames of each direction come in; they leave by the other one.
    sockets: [RawSocket; 2],
    faults: Faults,
    shared: Arc<Shared>,
    /// Frames of each direction that the faults have decided about.
    received: [u64; 2],
    /// Delayed frames by when they are due, and in which order they came.
    waiting: BTreeMap<(Instant, u64), Waiting>,
    sequence: u64,
}

impl Carrier {
    fn run(mut self) -> Result<()> {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        while !self.shared.end.load(Ordering::Relaxed) {
            self.wait()?;
            for direction in [Direction::ToTarget, Direction::ToClient] {
                for _ in 0..BATCH {
                    let socket = &mut self.sockets[direction as usize];
                    let Some(length) = socket.receive(&mut buffer).context("receiving")? else {
                        break;
                    };
                    self.treat(direction, &buffer[..length])?;
                }
            }
            self.release()?;
        }
        Ok(())
    }

    /// Until a frame comes or one is due.
    fn wait(&self) -> Result<()> {
        let due = self.waiting.first_key_value().map(|((due, _), _)| *due);
        let left = due.map_or(TICK, |due| due.saturating_duration_since(Instant::now()));
        let timeout = Timespec::try_from(left.min(TICK)).context("time-out")?;
        let [a, b] = &self.sockets;
        let mut watched = [PollFd::new(a, PollFlags::IN), PollFd::new(b, PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("poll"),
        }
    }

    fn treat(&mut self, direction: Direction, frame: &[u8]) -> Result<()> {
        let swallows = self.shared.swallows.load(Ordering::Relaxed);
        let number = self.received[direction as usize];
        let treatment = if swallows {
            Treatment::Drop
        } else {
            self.received[direction as usize] += 1;
            self.faults.treatment(direction, number)
        };
        self.count(direction, |tally| {
            tally.received += 1;
            match treatment {
                Treatment::Drop if swallows => tally.swallowed += 1,
                Treatment::Drop => tally.dropped += 1,
                Treatment::Delay(_) => tally.delayed += 1,
                Treatment::Forward | Treatment::Duplicate => {}
            }
        });
        match treatment {
            Treatment::Drop => {}
            Treatment::Forward => self.forward(direction, frame)?,
            Treatment::Duplicate => {
                self.forward(direction, frame)?;
                // A copy that finds no room is one that the wire did not make.
                if sent(self.exit(direction).send(frame))? {
                    self.count(direction, |tally| tally.duplicated += 1);
                }
            }
            Treatment::Delay(delay) => {
                self.sequence += 1;
                let key = (Instant::now() + delay, self.sequence);
                let frame = frame.to_vec();
                self.waiting.insert(key, Waiting { direction, frame });
            }
        }
        Ok(())
    }

    /// Sends what is due.
    fn release(&mut self) -> Result<()> {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > Instant::now() {
                break;
            }
            let Waiting { direction, frame } = entry.remove();
            if self.shared.swallows.load(Ordering::Relaxed) {
                self.count(direction, |tally| tally.swallowed += 1);
            } else {
                self.forward(direction, &frame)?;
            }
        }
        Ok(())
    }

    fn forward(&mut self, direction: Direction, frame: &[u8]) -> Result<()> {
        // The time is taken before the frame is sent: its answer cannot be earlier.
        let now = Instant::now();
        let sent = sent(self.exit(direction).send(frame))?;
        let mut state = self.shared.state();
        let tally = &mut state.tallies[direction as usize];
        if sent {
            tally.forwarded += 1;
            state.ledger.note(direction, frame, now);
        } else {
            tally.unsendable += 1;
        }
        Ok(())
    }

    fn exit(&mut self, direction: Direction) -> &mut RawSocket {
        &mut self.sockets[1 - direction as usize]
    }

    fn count(&self, direction: Direction, change: impl FnOnce(&mut Tally)) {
        change(&mut self.shared.state().tallies[direction as usize]);
    }
}

/// Whether the kernel took the frame. An interface that is down or full takes none; that is what wires
/// are like.
fn sent(result: std::io::Result<()>) -> Result<bool> {
    use rustix::io::Errno;
    let Err(error) = result else { return Ok(true) };
    match Errno::from_io_error(&error) {
        Some(Errno::AGAIN | Errno::NOBUFS | Errno::NETDOWN) => Ok(false),
        _ => Err(error).context("sending"),
    }
}

#[cfg(test)]
mod tests;

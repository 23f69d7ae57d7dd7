//! The wire and the clock: a packet socket, waiting, and signals that end the program.

use crate::SIGNAL_CHECK;
use anyhow::{Context, Result};
use aoe::MacAddress;
use cec::Frame;
use port::RawSocket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Room for the largest console frame; longer ones are not ours.
const RECEIVE_BYTES: usize = 2048;

/// The program was told to end.
#[derive(Clone, Copy, Debug, Error)]
#[error("ended by signal {0}")]
pub(crate) struct Stopped(pub(crate) u8);

/// What a wait has found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ready {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
}

#[derive(Debug)]
pub(crate) struct Link {
    socket: RawSocket,
    start: Instant,
    dump: bool,
    signal: Arc<AtomicUsize>,
}

impl Link {
    pub(crate) fn open(interface: &str, dump: bool) -> Result<Self> {
        let socket = RawSocket::open(interface, cec::ETHERTYPE)?;
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGHUP, SIGINT, SIGTERM] {
            let value = usize::try_from(number)?;
            signal_hook::flag::register_usize(number, Arc::clone(&signal), value)
                .context("cannot handle signals")?;
        }
        Ok(Self {
            socket,
            start: Instant::now(),
            dump,
            signal,
        })
    }

    pub(crate) fn mac(&self) -> MacAddress {
        self.socket.mac()
    }

    /// Time since the program started.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Sends a frame. What the interface cannot take now is lost like any frame, and will be
    /// sent again or time out.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.dump('>', frame);
        match self.socket.send(frame) {
            Err(error) if !is_loss(&error) => Err(error).context("cannot send"),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The next received frame, if there is one now.
    pub(crate) fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let mut buffer = [0; RECEIVE_BYTES];
        let length = self.socket.receive(&mut buffer).context("cannot receive")?;
        let frame = length.map(|length| buffer[..length].to_vec());
        if let Some(frame) = &frame {
            self.dump('<', frame);
        }
        Ok(frame)
    }

    fn dump(&self, direction: char, bytes: &[u8]) {
        if self.dump {
            // The terminal may be in raw mode.
            match Frame::parse(bytes) {
                Ok(frame) => eprint!("{direction} {frame}\r\n"),
                Err(error) => eprint!("{direction} {error}\r\n"),
            }
        }
    }

    /// Waits for a frame or for the time to pass.
    pub(crate) fn wait(&self, limit: Duration) -> Result<()> {
        self.wait_for(Ready::default(), limit).map(drop)
    }

    /// Waits for a frame, for what `wanted` names, or for the time to pass; not longer than
    /// [`SIGNAL_CHECK`]. Tells what of `wanted` is possible now without waiting.
    ///
    /// # Errors
    /// [`Stopped`] when a signal says so.
    pub(crate) fn wait_for(&self, wanted: Ready, limit: Duration) -> Result<Ready> {
        let (input, output) = (stdin(), stdout());
        let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN)];
        if wanted.stdin {
            fds.push(PollFd::new(&input, PollFlags::IN));
        }
        if wanted.stdout {
            fds.push(PollFd::new(&output, PollFlags::OUT));
        }
        // Rounded up: waking early would only mean to wait again.
        let limit = limit.min(SIGNAL_CHECK) + Duration::from_micros(1);
        let polled = poll(&mut fds, Some(&Timespec::try_from(limit)?));
        self.check_signals()?;
        match polled {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(error).context("cannot poll"),
        }
        // An end or an error counts as ready: reading and writing will tell.
        let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready {
            stdin: wanted.stdin && ready(1),
            stdout: wanted.stdout && ready(1 + usize::from(wanted.stdin)),
        })
    }

    fn check_signals(&self) -> Result<()> {
        match u8::try_from(self.signal.load(Ordering::Relaxed)) {
            Ok(0) => Ok(()),
            Ok(signal) => Err(Stopped(signal).into()),
            Err(error) => Err(error).context("signal number"),
        }
    }
}

fn is_loss(error: &io::Error) -> bool {
    let losses = [Errno::AGAIN, Errno::NOBUFS, Errno::NETDOWN];
    losses
        .iter()
        .any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

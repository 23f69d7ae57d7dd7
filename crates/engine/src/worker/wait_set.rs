//! Everything that ends a worker's sleep.
//!
//! * While the worker is awake it looks at everything itself, and the kernel need not tell the set of each
//!   frame and completion, which costs the core that receives some 4 %. So nothing is watched for a worker
//!   that has been awake for a while.
//! * What became ready before it was watched ends the next sleep at once: nothing is lost in between.

use crate::wake::Wake;
use disk::Executor;
use port::Port;
use rustix::event::{Timespec, epoll};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Errors in a row after which a port is taken for gone.
pub(super) const PORT_ERRORS_MAX: u32 = 64;

/// Things that are told of after a sleep; the next one tells of the others.
pub(super) const SOURCES_MAX: usize = 8;

/// Turns without a sleep after which nothing is watched any more: whoever sleeps between any two requests
/// pays nothing for it.
const AWAKE_TURNS: u32 = 64;

/// How the set calls what it watches; ports are called by their index.
const MESSAGES: u64 = u64::MAX;
const RESULTS: u64 = u64::MAX - 1;

/// What ended a sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// A message.
    Messages,
    /// A drive.
    Results,
    /// A port, and whether it has an error to tell.
    Port { index: usize, has_error: bool },
}

/// The wait set.
#[derive(Debug)]
pub(super) struct WaitSet {
    epoll: OwnedFd,
    is_watching: bool,
    awake_turns: u32,
}

impl WaitSet {
    /// A set that watches nothing yet.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            is_watching: false,
            awake_turns: 0,
        })
    }

    /// Sleeps until something is ready, or for so long, and tells what is.
    pub(super) fn sleep(
        &mut self,
        all: Watched<'_>,
        limit: &Timespec,
        sources: &mut [Option<Source>; SOURCES_MAX],
    ) -> io::Result<()> {
        self.awake_turns = 0;
        if !self.is_watching {
            self.is_watching = true;
            self.watch(all)?;
        }
        let mut events = [const { empty_event() }; SOURCES_MAX];
        // Interrupted or not, the next turn looks at everything.
        let woken = epoll::wait(&self.epoll, &mut events, Some(limit)).unwrap_or(0);
        for (source, event) in sources.iter_mut().zip(&events[..woken]) {
            // Copied out: the kernel's event is packed.
            let (flags, data) = (event.flags, event.data);
            let error = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
            *source = Some(match data.u64() {
                MESSAGES => Source::Messages,
                RESULTS => Source::Results,
                port => Source::Port {
                    index: usize::try_from(port).unwrap_or(usize::MAX),
                    has_error: flags.intersects(error),
                },
            });
        }
        Ok(())
    }

    /// There is more to watch from now on: the next sleep sees to it.
    pub(super) const fn has_changed(&mut self) {
        self.is_watching = false;
    }

    /// The worker goes on without a sleep.
    pub(super) fn stay_awake(&mut self, all: Watched<'_>) {
        if !self.is_watching {
            return;
        }
        self.awake_turns += 1;
        if self.awake_turns >= AWAKE_TURNS {
            self.is_watching = false;
            all.each(|fd, _| {
                // It fails only when the descriptor was not watched: of a port that is gone.
                let _ = epoll::delete(&self.epoll, fd);
                Ok(())
            })
            .unwrap_or_default();
        }
    }

    /// A port is gone, and would end every sleep.
    pub(super) fn forget(&self, port: &dyn Port) {
        if let Some(fd) = port.poll_fd() {
            let _ = epoll::delete(&self.epoll, fd);
        }
    }

    fn watch(&self, all: Watched<'_>) -> io::Result<()> {
        all.each(|fd, source| {
            let data = epoll::EventData::new_u64(source);
            match epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN) {
                Err(rustix::io::Errno::EXIST) | Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// What a worker is woken by.
#[derive(Clone, Copy)]
pub(super) struct Watched<'a> {
    pub(super) ports: &'a [Box<dyn Port>],
    /// By port, how often it reported an error since its last frame.
    pub(super) errors_in_row: &'a [u32],
    pub(super) executor: &'a Executor,
    pub(super) wake: &'a Wake,
}

impl Watched<'_> {
    /// With how the set calls each.
    fn each(self, mut act: impl FnMut(BorrowedFd<'_>, u64) -> io::Result<()>) -> io::Result<()> {
        act(self.executor.poll_fd(), RESULTS)?;
        act(self.wake.fd(), MESSAGES)?;
        for (index, port) in self.ports.iter().enumerate() {
            let is_gone = self.errors_in_row[index] >= PORT_ERRORS_MAX;
            if let Some(fd) = port.poll_fd().filter(|_| !is_gone) {
                act(fd, index as u64)?;
            }
        }
        Ok(())
    }
}

const fn empty_event() -> epoll::Event {
    epoll::Event {
        flags: epoll::EventFlags::empty(),
        data: epoll::EventData::new_u64(0),
    }
}

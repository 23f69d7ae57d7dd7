//! Ending a worker's idle wait from another thread.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// An eventfd that a worker sleeps on and others ring.
#[derive(Clone, Debug)]
pub(crate) struct Wake(Arc<OwnedFd>);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(
            0,
            EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC,
        )?)))
    }

    /// Ends the present or next wait.
    pub(crate) fn ring(&self) {
        // It fails only when the count is at its limit: then the worker is awake already.
        let _ = rustix::io::write(&self.0, &1u64.to_le_bytes());
    }

    /// Forgets past rings.
    pub(crate) fn clear(&self) {
        let mut count = [0; 8];
        // It fails only when nobody rang.
        let _ = rustix::io::read(&self.0, &mut count);
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

//! What the daemon gives up before it touches a drive or a port.
//!
//! Invariants:
//! * It is done on the main thread while that is the only one but for the tests' own, so that all threads
//!   and all programs that are run inherit it, and nothing gets it back.
//! * What is denied is an error that whoever asked for it tells, with what it was for: never a death without
//!   a word. A system call that is not on the list ends with EPERM, a file that is not below what the
//!   configuration names with EACCES. Some calls are denied without anybody telling, since who made them goes
//!   on another way: for finding these there is [`Sandbox::Kill`], which tests run with.
//! * What the kernel cannot do is told in the log, and does not keep the shelf from serving.
//!
//! Capabilities, then files ([`files`]), then system calls ([`calls`]): each step needs what the next takes.

mod calls;
mod capabilities;
mod files;

use crate::config::Config;
use anyhow::Context;
use caps::{CapSet, Capability};
use rustix::io::Errno;
use rustix::mm::MlockAllFlags;
use rustix::process::{Resource, getrlimit};

/// Whether the daemon is confined, and what becomes of it when it makes a system call that is not on the
/// lists: `sandbox` of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sandbox {
    /// It is not.
    Off,
    /// The call is an error.
    Refuse,
    /// The process, or the program that it runs, is killed (SIGSYS), and the kernel logs which call it was.
    Kill,
}

/// Keeps what is in memory there: a daemon that waits for its swap waits for a drive of its own, or not at
/// all. Pages are locked once they are used, so that stacks of threads cost what is used of them.
pub(crate) fn lock_memory() {
    let is_unlimited = getrlimit(Resource::Memlock).current.is_none();
    let may = is_unlimited
        || caps::has_cap(None, CapSet::Effective, Capability::CAP_IPC_LOCK).unwrap_or(false);
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    // With a limit what is mapped later would fail beyond it.
    let done = if may {
        rustix::mm::mlockall(flags)
    } else {
        Err(Errno::PERM)
    };
    if let Err(error) = done {
        tracing::warn!(
            "memory is not locked: {error}; needs CAP_IPC_LOCK, or LimitMEMLOCK=infinity"
        );
    }
}

/// Gives up what is not needed to serve by this configuration.
///
/// # Errors
/// When what the kernel offers cannot be had: a shelf that should be confined does not serve unconfined.
pub(crate) fn enter(config: &Config) -> anyhow::Result<()> {
    match config.sandbox {
        Sandbox::Off => {
            tracing::warn!(
                "sandbox = false: capabilities, files and system calls are not restricted"
            );
            return Ok(());
        }
        Sandbox::Refuse => {}
        Sandbox::Kill => {
            tracing::warn!("sandbox = \"kill\": a system call that is not allowed ends the shelf");
        }
    }
    have_asked()?;
    capabilities::keep_needed()?;
    files::confine(config)?;
    calls::confine_daemon(config.sandbox)?;
    Ok(())
}

/// Has libc ask what it asks once in a process, by whichever thread is the first to need it: that may be a
/// worker, which may open no file. An allocator that gives memory of a thread back to the kernel looks how
/// the kernel counts memory (`vm.overcommit_memory`).
fn have_asked() -> anyhow::Result<()> {
    let thread = std::thread::Builder::new().spawn(|| drop(blocks()));
    let asked = thread.context("a thread")?.join();
    asked.map_err(|_| anyhow::anyhow!("libc cannot be had to ask beforehand"))
}

/// More memory than an allocator keeps, in blocks that it does not have the kernel make one by one.
fn blocks() -> Vec<Vec<u8>> {
    const BLOCK_BYTES: usize = 64 << 10;
    const BLOCKS: usize = 64;
    (0..BLOCKS).map(|_| vec![1; BLOCK_BYTES]).collect()
}

/// What gives up, on the thread of a worker, what only the others need; what it gives is an error as of
/// [`enter`].
pub(crate) fn of_worker(sandbox: Sandbox) -> fn() -> Result<(), String> {
    match sandbox {
        Sandbox::Off => || Ok(()),
        Sandbox::Refuse => || confine_worker(Sandbox::Refuse),
        Sandbox::Kill => || confine_worker(Sandbox::Kill),
    }
}

fn confine_worker(sandbox: Sandbox) -> Result<(), String> {
    let confined = capabilities::leave_to_others().and_then(|()| calls::confine_worker(sandbox));
    confined.map_err(|error| format!("{error:#}"))
}

//! Jobs on the whole of a drive, each on a thread of its own: neither the data path nor the administration
//! waits for it. What is done, and in which order, the [`Job`] says; here it is only done.
//!
//! Invariants:
//! * one step is under way at a time, so that a job that was asked to end has ended when it is told so, and
//!   nothing of it lands later;
//! * nothing is held locked while the drive is waited for.

use crate::SECTOR_BYTES;
use crate::drive::{Drive, Medium};
use crate::metadata::{read_exact, write_all};
use crate::page::{PAGE_BYTES, Pages};
use crate::zeroing::Zeroing;
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};
use shelf::job::{
    Job, JobHandle, JobReport, JobSource, Pace, Step, StepEnd, StepKind, TRANSFER_SECTORS,
    fill_pattern,
};
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of the buffer of a job.
const TRANSFER_BYTES: usize = TRANSFER_SECTORS * SECTOR_BYTES;

/// What the thread and its owner share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    job: Job,
    pace: Pace,
    is_to_stop: bool,
    began: Instant,
    /// Since when the step that is under way is.
    waits_since: Option<Instant>,
    /// When the thread was done.
    ended: Option<Instant>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while a condition holds, so long at most.
    fn wait(&self, limit: Duration, holds: impl FnMut(&mut State) -> bool) {
        let waited = self.changed.wait_timeout_while(self.lock(), limit, holds);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// A job that its thread carries out.
pub(crate) struct JobThread {
    drive: Arc<Drive>,
    shared: Arc<Shared>,
}

impl JobThread {
    /// Starts one.
    ///
    /// # Errors
    /// There is no memory, or no thread for it; or the drive keeps nothing.
    pub(crate) fn start(
        drive: &Arc<Drive>,
        job: Job,
        source: Option<Box<dyn JobSource>>,
        pace: Pace,
    ) -> Result<Self, String> {
        let buffer = Pages::new_zeroed(TRANSFER_BYTES / PAGE_BYTES);
        let mut buffer = buffer.ok_or("there is no memory for its buffer")?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                job,
                pace,
                is_to_stop: false,
                began: Instant::now(),
                waits_since: None,
                ended: None,
            }),
            changed: Condvar::new(),
        });
        let of_thread = (Arc::clone(drive), Arc::clone(&shared));
        thread::Builder::new()
            .name("job".to_owned())
            .spawn(move || run(&of_thread.0, &of_thread.1, source, &mut buffer))
            .map_err(|error| format!("there is no thread for it: {error}"))?;
        Ok(Self {
            drive: Arc::clone(drive),
            shared,
        })
    }
}

impl JobHandle for JobThread {
    fn report(&self) -> JobReport {
        let state = self.shared.lock();
        let silent = state.waits_since.map(|since| since.elapsed());
        let mut progress = state.job.progress().clone();
        if state.ended.is_none() {
            // The thread has not seen it yet.
            progress.end = None;
        }
        let is_erase = state.job.kind() == shelf::job::JobKind::Erase;
        JobReport {
            progress,
            elapsed: state.ended.unwrap_or_else(Instant::now) - state.began,
            silent: silent.unwrap_or_default(),
            way: is_erase.then(|| way_of(&self.drive).to_owned()),
        }
    }

    fn set_pace(&mut self, pace: Pace) {
        let mut state = self.shared.lock();
        if state.pace != pace {
            state.pace = pace;
            self.shared.changed.notify_all();
        }
    }

    fn stop(&mut self) {
        self.shared.lock().is_to_stop = true;
        self.shared.changed.notify_all();
    }

    fn join(&mut self, limit: Duration) -> bool {
        self.shared.wait(limit, |state| state.ended.is_none());
        self.shared.lock().ended.is_some()
    }
}

/// How an erase makes zeroes of what is on a drive.
fn way_of(drive: &Drive) -> &'static str {
    match drive.zeroing() {
        Zeroing::Deallocate => "deallocated",
        Zeroing::ZeroRange => "zeroed by the kernel",
        Zeroing::Write => "written with zeroes",
    }
}

/// A drive that a job on another one copies.
pub(crate) struct Source(Arc<Drive>);

impl Source {
    pub(crate) fn new(drive: &Arc<Drive>) -> Self {
        Self(Arc::clone(drive))
    }
}

impl JobSource for Source {
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> StepEnd {
        let read = match self.0.medium() {
            Medium::Null => Err(Failure::Wrong("a null drive keeps nothing")),
            Medium::Ram(ram) => {
                ram.read(sector, buffer);
                Ok(())
            }
            Medium::File(file) => {
                let place = sector * SECTOR_BYTES as u64;
                read_exact(file, place, buffer).map_err(Failure::Kernel)
            }
        };
        match end_of(&read) {
            StepEnd::Gone(reason) => StepEnd::Gone(format!("of the old one, {reason}")),
            end => end,
        }
    }
}

/// What the thread does.
fn run(drive: &Drive, shared: &Shared, mut source: Option<Box<dyn JobSource>>, buffer: &mut Pages) {
    loop {
        let mut state = shared.lock();
        if state.is_to_stop {
            state.job.stop();
        }
        let Some(step) = state.job.next() else {
            state.ended = Some(Instant::now());
            shared.changed.notify_all();
            return;
        };
        let began = Instant::now();
        state.waits_since = Some(began);
        drop(state);
        let end = match (step.kind, &mut source) {
            (StepKind::Fetch, Some(source)) => {
                source.read(step.sector, &mut buffer[..memory_bytes(step.sectors)])
            }
            _ => carry_out(drive, step, buffer),
        };
        let took = began.elapsed();
        let mut state = shared.lock();
        state.waits_since = None;
        state.job.ended(end, took);
        let pace = state.pace;
        drop(state);
        // What is copied counts once.
        let counted = if step.kind == StepKind::Store {
            0
        } else {
            step.sectors
        };
        let pause = pace.pause(counted * SECTOR_BYTES as u64, took);
        // Another pace counts at once.
        shared.wait(pause, |state| !state.is_to_stop && state.pace == pace);
    }
}

/// Does a step.
fn carry_out(drive: &Drive, step: Step, buffer: &mut Pages) -> StepEnd {
    let done = match drive.medium() {
        Medium::Null => Err(Failure::Wrong("a null drive keeps nothing")),
        Medium::Ram(ram) => {
            let bytes = memory_bytes(step.sectors);
            match step.kind {
                StepKind::Zero | StepKind::Rewrite => {
                    ram.zero(step.sector, bytes);
                    Ok(())
                }
                StepKind::Flush => Ok(()),
                StepKind::Write => {
                    fill_pattern(step.sector, &mut buffer[..bytes]);
                    ram.write(step.sector, &buffer[..bytes]);
                    Ok(())
                }
                StepKind::Store => {
                    ram.write(step.sector, &buffer[..bytes]);
                    Ok(())
                }
                StepKind::Read | StepKind::Compare => {
                    ram.read(step.sector, &mut buffer[..bytes]);
                    check(step, &buffer[..bytes])
                }
                StepKind::Fetch => Err(NO_SOURCE),
            }
        }
        Medium::File(file) => on_file(drive, file, step, buffer),
    };
    end_of(&done)
}

/// How a step ended that was done, or not.
fn end_of(done: &Result<(), Failure>) -> StepEnd {
    match done {
        Ok(()) => StepEnd::Done,
        Err(Failure::Wrong(text)) => StepEnd::Failed((*text).to_owned()),
        Err(Failure::Kernel(errno @ (Errno::NODEV | Errno::NXIO | Errno::NOMEDIUM))) => {
            StepEnd::Gone(format!("the drive is gone: {errno}"))
        }
        Err(Failure::Kernel(errno)) => StepEnd::Failed(errno.to_string()),
    }
}

/// Bytes of sectors in memory.
fn memory_bytes(sectors: u64) -> usize {
    usize::try_from(sectors)
        .unwrap_or(usize::MAX)
        .saturating_mul(SECTOR_BYTES)
}

/// A copy was begun without the drive to copy.
const NO_SOURCE: Failure = Failure::Wrong("there is no drive to copy");

/// Why a step was not done.
enum Failure {
    Kernel(Errno),
    Wrong(&'static str),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

fn on_file(drive: &Drive, file: &File, step: Step, buffer: &mut Pages) -> Result<(), Failure> {
    let place = step.sector * SECTOR_BYTES as u64;
    if step.kind == StepKind::Zero {
        return Ok(zero(drive, file, step, buffer)?);
    }
    let data = &mut buffer[..memory_bytes(step.sectors)];
    match step.kind {
        StepKind::Flush => rustix::fs::fdatasync(file)?,
        StepKind::Write => {
            fill_pattern(step.sector, data);
            write_all(file, place, data, ReadWriteFlags::empty())?;
        }
        StepKind::Rewrite => {
            data.fill(0);
            write_all(file, place, data, ReadWriteFlags::empty())?;
        }
        StepKind::Store => write_all(file, place, data, ReadWriteFlags::empty())?,
        StepKind::Fetch => return Err(NO_SOURCE),
        StepKind::Zero | StepKind::Read | StepKind::Compare => {
            read_exact(file, place, data)?;
            check(step, data)?;
        }
    }
    Ok(())
}

/// Whether what was read is what was written, if that was asked.
fn check(step: Step, data: &[u8]) -> Result<(), Failure> {
    let mut wanted = [0; SECTOR_BYTES];
    if step.kind != StepKind::Compare {
        return Ok(());
    }
    for (sector, read) in (step.sector..).zip(data.chunks(SECTOR_BYTES)) {
        fill_pattern(sector, &mut wanted);
        if read != wanted {
            return Err(Failure::Wrong("it does not read as it was written"));
        }
    }
    Ok(())
}

/// Makes bytes of a file or device read as zeroes, by the first way that works.
fn zero(drive: &Drive, file: &File, step: Step, buffer: &mut Pages) -> Result<(), Errno> {
    let (mut place, mut sectors) = (step.sector * SECTOR_BYTES as u64, step.sectors);
    let bytes = sectors * SECTOR_BYTES as u64;
    let mut way = drive.zeroing();
    while let Some(mode) = way.fallocate_mode() {
        let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        match rustix::fs::fallocate(file, flags, place, bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::REMOTEIO) => {
                drive.give_up_zeroing(way);
            }
            Err(errno @ (Errno::NODEV | Errno::NXIO | Errno::NOMEDIUM)) => return Err(errno),
            Err(_) => {}
        }
        // What a drive cannot do so it can perhaps when it is written.
        way = way.next().unwrap_or(Zeroing::Write);
    }
    let chunk = &mut buffer[..];
    chunk.fill(0);
    while sectors > 0 {
        let next = memory_bytes(sectors.min(TRANSFER_SECTORS as u64));
        write_all(file, place, &chunk[..next], ReadWriteFlags::empty())?;
        place += next as u64;
        sectors = sectors.saturating_sub(TRANSFER_SECTORS as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

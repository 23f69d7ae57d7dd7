//! Zeroes: [`Operation::WriteZeroes`](shelf::target::Operation), by the way of each drive ([`Zeroing`]).
//!
//! Invariants:
//! * what is given back as done was covered by a flush that began when it had landed, whatever the way;
//! * an I/O that one way does not do is done the next way, and fails only when it could not be written;
//! * one that is abandoned goes no further than what the kernel has of it.

use super::{ATTEMPTS_MAX, Executor, Finished, Job};
use crate::SECTOR_BYTES;
use crate::uring::{QueueFull, ZEROES_SECTORS};
use crate::zeroing::Zeroing;

/// Sectors that are written next.
fn chunk_of(job: &Job) -> u32 {
    (job.io.sectors - job.zeroed).min(ZEROES_SECTORS)
}

impl Executor {
    /// Hands zeroes, or the next ones of them, to the kernel.
    pub(super) fn push_zeroes(
        &mut self,
        job: &Job,
        file: u32,
        user_data: u64,
    ) -> Result<(), QueueFull> {
        let io = &job.io;
        let start_bytes = io.sector * SECTOR_BYTES as u64;
        match job.zeroing.and_then(Zeroing::fallocate_mode) {
            Some(mode) => {
                let bytes = u64::from(io.sectors) * SECTOR_BYTES as u64;
                self.ring
                    .push_fallocate(file, (start_bytes, bytes), mode, user_data)
            }
            None => {
                let offset_bytes = start_bytes + u64::from(job.zeroed) * SECTOR_BYTES as u64;
                let bytes = chunk_of(job) as usize * SECTOR_BYTES;
                self.ring.push_zeroes(file, offset_bytes, bytes, user_data)
            }
        }
    }

    /// The kernel has done zeroes, or some of them, or not.
    pub(super) fn zeroes_landed(&mut self, job: Job, result: i32) -> Option<Finished> {
        let Job { ticket, io, .. } = job;
        let way = job.zeroing.unwrap_or(Zeroing::Write);
        let is_fallocate = way.fallocate_mode().is_some();
        let chunk = chunk_of(&job);
        let expected = if is_fallocate {
            0
        } else {
            i32::try_from(chunk as usize * SECTOR_BYTES).unwrap_or(i32::MAX)
        };
        if result == expected {
            let zeroed = job.zeroed + chunk;
            if !is_fallocate && zeroed < io.sectors {
                self.start_again(Job { zeroed, ..job });
                return None;
            }
            return self.commits(&job);
        }
        let is_interrupted = result >= 0 || matches!(-result, libc::EAGAIN | libc::EINTR);
        if is_interrupted && job.attempts + 1 < ATTEMPTS_MAX {
            self.start_again(Job {
                attempts: job.attempts + 1,
                ..job
            });
            return None;
        }
        if let Some(next) = way.next() {
            let is_missing = matches!(
                -result,
                libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::EREMOTEIO | libc::ESPIPE
            );
            if is_missing
                && let Some(entry) = self.entry(io.drive)
                && entry.drive.give_up_zeroing(way)
            {
                self.fallbacks.push_back(io.drive);
            }
            self.start_again(Job {
                zeroing: Some(next),
                attempts: 0,
                ..job
            });
            return None;
        }
        let ending = self.failure(io.drive, result);
        Some(Finished { ticket, io, ending })
    }
}

#[cfg(test)]
mod tests;

//! Whether what a read returned may be there.
//!
//! Two questions: [`Checker::check_own`] compares with what this run wrote, and knows exactly;
//! [`Checker::check_stamped`] looks at what a former run left, and knows only what the sectors say
//! about themselves and about each other.
//!
//! Every bad sector is counted under what is wrong with it; the first one of a command is reported.

use crate::model::Generation;
use crate::stamp::{RunId, SectorFault, Stamp};
use aoe::{ATA_FRAME_BYTES, SECTOR_BYTES};
use port::ReceivedFrame;
use std::ops::RangeInclusive;

/// What is wrong with a sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MismatchKind {
    /// It was written for another address.
    #[error("it holds the sector that belongs at LBA {found_lba}")]
    WrongLba {
        /// The address that it names.
        found_lba: u64,
    },
    /// It holds an older write than the last one acknowledged.
    #[error("stale: it holds generation {found}, but {oldest} was acknowledged")]
    Stale {
        /// The generation that it holds.
        found: u32,
        /// The oldest one that would be right.
        oldest: u32,
    },
    /// It holds a write that was never sent.
    #[error("it holds generation {found}, but none after {newest} was written")]
    Unissued {
        /// The generation that it holds.
        found: u32,
        /// The newest one that would be right.
        newest: u32,
    },
    /// It was written by another run, though this one has written it since.
    #[error("foreign: it was written by run {found:#x}")]
    ForeignRun {
        /// The run that it names.
        found: u64,
    },
    /// It has no stamp, though it has been written.
    #[error("foreign: it has no stamp")]
    Unstamped,
    /// Its checksum is wrong.
    #[error("its checksum is wrong: torn inside the sector, or damaged")]
    Corrupt,
    /// Some sectors of a write are there and others are not.
    #[error("torn: it differs from other sectors of the same write")]
    Torn,
}

/// A sector that may not be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("LBA {lba}: {kind}")]
pub struct Mismatch {
    /// Where.
    pub lba: u64,
    /// What is wrong.
    pub kind: MismatchKind,
}

/// What has been looked at and found, in sectors except where it says otherwise.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CheckCounters {
    /// Sectors that were looked at.
    pub sectors: u64,
    /// Sectors among them that could not be judged, because nobody stamped them.
    pub unknown: u64,
    /// Written for another address.
    pub wrong_lba: u64,
    /// Older than what was acknowledged.
    pub stale: u64,
    /// Newer than what was written.
    pub unissued: u64,
    /// Of another run, or without stamp, where this run has written.
    pub foreign: u64,
    /// With a wrong checksum.
    pub corrupt: u64,
    /// Reads of which some sectors hold a write and others do not.
    pub torn_reads: u64,
}

impl CheckCounters {
    /// How many faults there are.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.wrong_lba + self.stale + self.unissued + self.foreign + self.corrupt + self.torn_reads
    }

    fn count(&mut self, kind: MismatchKind) {
        *match kind {
            MismatchKind::WrongLba { .. } => &mut self.wrong_lba,
            MismatchKind::Stale { .. } => &mut self.stale,
            MismatchKind::Unissued { .. } => &mut self.unissued,
            MismatchKind::ForeignRun { .. } | MismatchKind::Unstamped => &mut self.foreign,
            MismatchKind::Corrupt => &mut self.corrupt,
            MismatchKind::Torn => &mut self.torn_reads,
        } += 1;
    }
}

/// Checks the data of reads.
#[derive(Debug)]
pub struct Checker {
    run: RunId,
    counters: CheckCounters,
}

impl Checker {
    /// A checker for the run `run`.
    #[must_use]
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            counters: CheckCounters::default(),
        }
    }

    /// What has been found.
    #[must_use]
    pub const fn counters(&self) -> &CheckCounters {
        &self.counters
    }

    /// Checks the answer to a read of `sectors` sectors at `lba`, all of one block of which this
    /// run may have written the generations `allowed`. Where that includes 0, any content
    /// is right that is not a misplaced write of this run.
    ///
    /// # Errors
    /// The first sector that may not be there.
    pub fn check_own(
        &mut self,
        frame: &ReceivedFrame<'_>,
        lba: u64,
        sectors: u8,
        allowed: &RangeInclusive<Generation>,
    ) -> Result<(), Mismatch> {
        let mut first_bad = None;
        let (mut good, mut old) = (0u32, 0u32);
        for (lba, stamp) in stamps(frame, lba, sectors) {
            self.counters.sectors += 1;
            match judge(self.run, lba, stamp, allowed) {
                Ok(known) => {
                    good += 1;
                    self.counters.unknown += u64::from(!known);
                }
                Err(kind) => {
                    old += u32::from(is_old(kind));
                    self.counters.count(kind);
                    first_bad.get_or_insert(Mismatch { lba, kind });
                }
            }
        }
        let Some(mismatch) = first_bad else {
            return Ok(());
        };
        if good == 0 || old == 0 {
            return Err(mismatch);
        }
        let kind = MismatchKind::Torn;
        self.counters.count(kind);
        Err(Mismatch { kind, ..mismatch })
    }

    /// Checks the answer to a read of `sectors` sectors at `lba` that a former run may have written:
    /// addresses, checksums, and that sectors of one write are of the same generation.
    ///
    /// # Errors
    /// The first sector that may not be there.
    pub fn check_stamped(
        &mut self,
        frame: &ReceivedFrame<'_>,
        lba: u64,
        sectors: u8,
    ) -> Result<(), Mismatch> {
        let mut first_bad = None;
        let mut before: Option<Stamp> = None;
        for (lba, stamp) in stamps(frame, lba, sectors) {
            self.counters.sectors += 1;
            let kind = match stamp {
                Err(SectorFault::Corrupt) => Some(MismatchKind::Corrupt),
                Ok(Stamp { lba: found_lba, .. }) if found_lba != lba => {
                    Some(MismatchKind::WrongLba { found_lba })
                }
                _ => before
                    .filter(|before| is_torn_after(before, stamp.ok()))
                    .map(|_| MismatchKind::Torn),
            };
            self.counters.unknown += u64::from(stamp == Err(SectorFault::Unstamped));
            if let Some(kind) = kind {
                self.counters.count(kind);
                first_bad.get_or_insert(Mismatch { lba, kind });
            }
            before = stamp.ok().filter(|stamp| stamp.lba == lba);
        }
        first_bad.map_or(Ok(()), Err)
    }
}

/// The sectors of a read with their addresses and stamps.
fn stamps(
    frame: &ReceivedFrame<'_>,
    lba: u64,
    sectors: u8,
) -> impl Iterator<Item = (u64, Result<Stamp, SectorFault>)> {
    (0..sectors).map(move |index| {
        let mut sector = [0; SECTOR_BYTES];
        let offset = ATA_FRAME_BYTES + usize::from(index) * SECTOR_BYTES;
        frame.copy_to(offset, &mut sector);
        (lba + u64::from(index), Stamp::read(&sector))
    })
}

/// Judges one sector; `Ok(false)` when it is right only because anything is.
fn judge(
    run: RunId,
    lba: u64,
    stamp: Result<Stamp, SectorFault>,
    allowed: &RangeInclusive<Generation>,
) -> Result<bool, MismatchKind> {
    let anything = allowed.start().0 == 0;
    let stamp = match stamp {
        Ok(stamp) => stamp,
        Err(SectorFault::Unstamped) if anything => return Ok(false),
        Err(SectorFault::Unstamped) => return Err(MismatchKind::Unstamped),
        Err(SectorFault::Corrupt) => return Err(MismatchKind::Corrupt),
    };
    if stamp.run != run && anything {
        return Ok(false);
    }
    if stamp.lba != lba {
        let found_lba = stamp.lba;
        return Err(MismatchKind::WrongLba { found_lba });
    }
    if stamp.run != run {
        return Err(MismatchKind::ForeignRun { found: stamp.run.0 });
    }
    let found = stamp.generation.0;
    if stamp.generation < *allowed.start() {
        let oldest = allowed.start().0;
        return Err(MismatchKind::Stale { found, oldest });
    }
    if stamp.generation > *allowed.end() {
        let newest = allowed.end().0;
        return Err(MismatchKind::Unissued { found, newest });
    }
    Ok(true)
}

/// Whether the sector holds what was there before: as after a write that was only partly done.
const fn is_old(kind: MismatchKind) -> bool {
    matches!(
        kind,
        MismatchKind::Stale { .. } | MismatchKind::ForeignRun { .. } | MismatchKind::Unstamped
    )
}

/// Whether the sector after `before` should be of the same write, and is not. A run with blocks of
/// another size may have overwritten it: that is no fault.
fn is_torn_after(before: &Stamp, next: Option<Stamp>) -> bool {
    before.is_written_with_next()
        && next.is_none_or(|next| {
            next.block_sectors == before.block_sectors
                && (next.run, next.generation) != (before.run, before.generation)
        })
}

#[cfg(test)]
mod tests;

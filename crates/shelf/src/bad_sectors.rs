//! Bad sectors of drives, as a [`crate::target::Target`] knows them: reads of them fail without being sent,
//! writes of them are told.
//!
//! The target sees a read that failed, and takes another copy or what parity gives; a write that was
//! done lets the administration take the sectors from the list
//! ([`crate::manager::Manager::bad_blocks_written`]), and is answered when they are off it.

use crate::ids::DriveSlot;
use crate::target::{Io, Operation};
use raid::bad_blocks::{BadRange, any_overlaps};
use std::sync::Arc;

/// Lists of the drives that have any.
#[derive(Clone, Default, Debug)]
pub(crate) struct BadSectors(Vec<(DriveSlot, Arc<[BadRange]>)>);

impl BadSectors {
    /// Replaces the list of a drive.
    pub(crate) fn set(&mut self, drive: DriveSlot, ranges: Arc<[BadRange]>) {
        self.0.retain(|(known, _)| *known != drive);
        if !ranges.is_empty() {
            self.0.push((drive, ranges));
        }
    }

    /// Whether an I/O reads a bad sector.
    #[must_use]
    pub(crate) fn fails(&self, io: &Io) -> bool {
        io.operation == Operation::Read && self.touched(io).is_some()
    }

    /// What a write covers, if some of it is bad.
    #[must_use]
    pub(crate) fn mended(&self, io: &Io) -> Option<BadRange> {
        self.touched(io).filter(|_| io.operation.is_write())
    }

    /// Whether all sectors of a range of a drive are bad.
    #[must_use]
    pub(crate) fn has_all(&self, drive: DriveSlot, range: &BadRange) -> bool {
        let mut lists = self.0.iter().filter(|(known, _)| *known == drive);
        lists.any(|(_, bad)| {
            // Ranges of a list are apart: one has it all, or none.
            bad.iter()
                .any(|bad| bad.sector <= range.sector && range.end() <= bad.end())
        })
    }

    /// The range of an I/O, if some of it is bad.
    fn touched(&self, io: &Io) -> Option<BadRange> {
        let (_, bad) = self.0.iter().find(|(drive, _)| *drive == io.drive)?;
        let range = io.range();
        any_overlaps(bad, &range).then_some(range)
    }
}

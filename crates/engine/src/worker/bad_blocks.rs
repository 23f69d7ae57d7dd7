//! Bad sectors of drives: reads of them fail without being sent, writes of them are told.
//!
//! The target sees a read that failed, and takes another copy or what parity gives; a write that was
//! done lets the administration take the sectors from the list.

use raid::bad_blocks::{BadRange, any_overlaps};
use shelf::admin::DriveSlot;
use shelf::target::{Io, Operation};
use std::sync::Arc;

/// Lists of the drives that have any.
#[derive(Clone, Default, Debug)]
pub(super) struct BadSectors(Vec<(DriveSlot, Arc<[BadRange]>)>);

impl BadSectors {
    /// Replaces the list of a drive.
    pub(super) fn set(&mut self, drive: DriveSlot, ranges: Arc<[BadRange]>) {
        self.0.retain(|(known, _)| *known != drive);
        if !ranges.is_empty() {
            self.0.push((drive, ranges));
        }
    }

    /// Whether an I/O reads a bad sector.
    pub(super) fn fails(&self, io: &Io) -> bool {
        io.operation == Operation::Read && self.touched(io).is_some()
    }

    /// What a write has covered, if some of it was bad.
    pub(super) fn mended(&self, io: &Io) -> Option<BadRange> {
        self.touched(io)
            .filter(|_| io.operation == Operation::Write)
    }

    /// The range of an I/O, if some of it is bad.
    fn touched(&self, io: &Io) -> Option<BadRange> {
        let (_, bad) = self.0.iter().find(|(drive, _)| *drive == io.drive)?;
        let range = BadRange {
            sector: io.sector,
            sectors: u64::from(io.sectors),
        };
        any_overlaps(bad, &range).then_some(range)
    }
}

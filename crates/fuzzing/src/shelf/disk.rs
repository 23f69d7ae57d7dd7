//! Drives in memory, of which only what changes is copied, and their ways to fail.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes of a sector.
pub(super) const SECTOR: usize = 512;

/// Everything that is on a drive.
pub(super) type Content = [u8];

/// A drive.
pub(super) struct Disk {
    pub(super) sectors: u64,
    base: Arc<Content>,
    changed: Vec<Option<Box<[u8; SECTOR]>>>,
    /// Nothing can be read, or written.
    pub(super) is_broken: bool,
    /// So many of the next reads, and writes, of data fail.
    pub(super) failing_reads: u8,
    pub(super) failing_writes: u8,
    /// Sectors that cannot be read before they are written.
    pub(super) unreadable: BTreeSet<u64>,
}

impl Disk {
    /// A drive with this content.
    pub(super) fn new(base: Arc<Content>) -> Self {
        let sectors = base.len() / SECTOR;
        Self {
            sectors: sectors as u64,
            base,
            changed: vec![None; sectors],
            is_broken: false,
            failing_reads: 0,
            failing_writes: 0,
            unreadable: BTreeSet::new(),
        }
    }

    /// What is on it now.
    pub(super) fn content(&self) -> Arc<Content> {
        let mut content = vec![0; self.base.len()];
        for (sector, out) in content.as_chunks_mut::<SECTOR>().0.iter_mut().enumerate() {
            *out = *self.sector(sector);
        }
        content.into()
    }

    fn sector(&self, sector: usize) -> &[u8; SECTOR] {
        let base = || &self.base.as_chunks::<SECTOR>().0[sector];
        self.changed[sector].as_deref().unwrap_or_else(base)
    }

    /// Reads whole sectors; whether all of them could be.
    pub(super) fn read(&self, sector: u64, out: &mut [u8]) -> bool {
        let end = sector + (out.len() / SECTOR) as u64;
        assert!(
            end <= self.sectors,
            "a read beyond the drive: {sector}..{end}"
        );
        if self.is_broken || self.unreadable.range(sector..end).next().is_some() {
            return false;
        }
        for (sector, out) in (index(sector)..).zip(out.as_chunks_mut::<SECTOR>().0) {
            *out = *self.sector(sector);
        }
        true
    }

    /// Writes whole sectors, whatever fails.
    pub(super) fn write(&mut self, sector: u64, data: &[u8]) {
        let end = sector + (data.len() / SECTOR) as u64;
        assert!(
            end <= self.sectors,
            "a write beyond the drive: {sector}..{end}"
        );
        for (at, data) in (sector..).zip(data.as_chunks::<SECTOR>().0) {
            self.changed[index(at)] = Some(Box::new(*data));
            self.unreadable.remove(&at);
        }
    }
}

/// Drives are small.
fn index(sector: u64) -> usize {
    usize::try_from(sector).expect("a sector of a small drive")
}

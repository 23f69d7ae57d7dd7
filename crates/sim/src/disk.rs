//! A disk: a medium, a volatile cache before it, and its ways to fail.
//!
//! A write is *pending* from its submission until it is reported. Reported as done it is durable.
//! Until then any of its sectors may be on the medium after a crash, in any order, and reads may see
//! it or not.
//!
//! Faults: unreadable sectors (until they are rewritten), failed writes, a disk that is gone and may
//! come back with what it had. Lost and misdirected writes are asked for one by one.

use crate::content::SECTOR;
use crate::random::Random;
use raid::Unit;
use raid::bad_blocks::{BadRange, any_overlaps};
use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// How much of what is pending is on the medium after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Landing {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Each sector in so many of a thousand cases.
    Each(u64),
    /// The first sectors of each write, any number of them.
    Prefix,
}

/// How a write that is reported as done went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Where it belongs.
    Right,
    /// Nowhere.
    Lost,
    /// At this sector.
    Misdirected(u64),
}

#[derive(Clone, Debug)]
struct Pending {
    id: u64,
    sector: u64,
    data: Vec<u8>,
    /// Reads see it.
    is_cached: bool,
}

/// Whatever the layout, data begins at a multiple of so many sectors.
const DATA_OFFSET_UNIT: u64 = 256;

/// A sector of one of several disks.
pub type DiskSector = (usize, u64);

/// Which of some sectors, on several disks, are looked at before they are written: whatever is done with the
/// disks depends on no other content of these sectors.
#[derive(Default, Debug)]
pub struct Footprint {
    watched: HashSet<DiskSector>,
    written: HashSet<DiskSector>,
    seen: HashSet<DiskSector>,
    /// In the order in which they were looked at first.
    order: Vec<DiskSector>,
}

impl Footprint {
    /// That of nothing yet; only these sectors are of interest.
    #[must_use]
    pub fn of(watched: HashSet<DiskSector>) -> Self {
        Self {
            watched,
            ..Self::default()
        }
    }

    /// All disks are as they were in the beginning, and it all goes on from there.
    pub fn rewind(&mut self) {
        self.written.clear();
    }

    /// The sectors that were looked at, in order; from now on those of the next course are noted.
    pub fn take(&mut self) -> Vec<DiskSector> {
        self.written.clear();
        self.seen.clear();
        std::mem::take(&mut self.order)
    }

    fn read(&mut self, sector: DiskSector) {
        let is_new = self.watched.contains(&sector) && !self.written.contains(&sector);
        if is_new && self.seen.insert(sector) {
            self.order.push(sector);
        }
    }
}

/// A footprint that disks share, and the number of this one.
#[derive(Clone, Debug)]
struct Watch {
    disk: usize,
    footprint: Arc<Mutex<Footprint>>,
}

/// A disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    medium: Vec<u8>,
    /// Its own sectors: it takes only whole ones, and never tears one.
    unit: Unit,
    pending: Vec<Pending>,
    unreadable: BTreeSet<u64>,
    /// Sectors that the shelf has noted as bad: it does not read them.
    noted: Arc<[BadRange]>,
    /// Sectors that have changed since [`Self::remember`].
    changed: Option<Vec<u64>>,
    watch: Option<Watch>,
    /// Nothing can be read or written.
    pub is_gone: bool,
    /// The next write fails.
    pub fails_next_write: bool,
    /// I/O takes so many times as long.
    pub slowness: u64,
}

impl SimDisk {
    /// A disk of zeros.
    #[must_use]
    pub fn new(sectors: usize, unit: Unit) -> Self {
        Self {
            medium: vec![0; sectors * SECTOR],
            unit,
            pending: Vec::new(),
            unreadable: BTreeSet::new(),
            noted: Arc::default(),
            changed: None,
            watch: None,
            is_gone: false,
            fails_next_write: false,
            slowness: 1,
        }
    }

    /// Its own sectors.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// How many sectors of 512 bytes it has.
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        (self.medium.len() / SECTOR) as u64
    }

    /// What is on the medium, whatever is pending or unreadable.
    #[must_use]
    pub fn medium(&self) -> &[u8] {
        &self.medium
    }

    /// The same, to be set up.
    pub fn medium_mut(&mut self) -> &mut [u8] {
        &mut self.medium
    }

    /// Notes from now on which sectors change, so that [`Self::restore`] need not copy everything.
    pub fn remember(&mut self) {
        self.changed = Some(Vec::new());
    }

    /// Notes what is looked at in a footprint, as disk number `disk`.
    pub fn watch(&mut self, disk: usize, footprint: &Arc<Mutex<Footprint>>) {
        self.watch = Some(Watch {
            disk,
            footprint: Arc::clone(footprint),
        });
    }

    /// Goes back to what `base` holds, which this disk held when it began to remember.
    pub fn restore(&mut self, base: &Self) {
        for sector in self.changed.iter_mut().flat_map(std::mem::take) {
            let range = place(sector)..place(sector) + SECTOR;
            self.medium[range.clone()].copy_from_slice(&base.medium[range]);
        }
        self.pending.clear();
        self.unreadable.clear();
        self.is_gone = false;
    }

    /// Puts a sector on the medium.
    pub fn put(&mut self, sector: u64, data: &[u8; SECTOR]) {
        self.medium[place(sector)..place(sector) + SECTOR].copy_from_slice(data);
        self.unreadable.remove(&sector);
        if let Some(changed) = &mut self.changed {
            changed.push(sector);
        }
        self.note(|footprint, disk| {
            footprint.written.insert((disk, sector));
        });
    }

    /// A sector of the medium.
    #[must_use]
    pub fn get(&self, sector: u64) -> &[u8] {
        self.get_range(sector, 1)
    }

    /// Some sectors of the medium.
    #[must_use]
    pub fn get_range(&self, sector: u64, sectors: u64) -> &[u8] {
        self.note(|footprint, disk| {
            (sector..sector + sectors).for_each(|sector| footprint.read((disk, sector)));
        });
        &self.medium[place(sector)..place(sector + sectors)]
    }

    fn note(&self, note: impl FnOnce(&mut Footprint, usize)) {
        if let Some(Watch { disk, footprint }) = &self.watch {
            let mut footprint = footprint.lock().unwrap_or_else(PoisonError::into_inner);
            note(&mut footprint, *disk);
        }
    }

    /// Sectors that cannot be read.
    #[must_use]
    pub const fn unreadable(&self) -> &BTreeSet<u64> {
        &self.unreadable
    }

    /// The shelf has noted sectors as bad: all that it has noted.
    pub fn note_bad(&mut self, ranges: Arc<[BadRange]>) {
        self.noted = ranges;
    }

    /// Whether a sector cannot be read, or is not, because it was noted as bad.
    #[must_use]
    pub fn is_bad(&self, sector: u64) -> bool {
        let range = BadRange { sector, sectors: 1 };
        self.unreadable.contains(&sector) || any_overlaps(&self.noted, &range)
    }

    /// Whether a sector of the data cannot be read, wherever the data begins: that is a multiple of
    /// [`DATA_OFFSET_UNIT`].
    #[must_use]
    pub fn is_unreadable_in_any_layout(&self, member_sector: u64) -> bool {
        let mut unreadable = self.unreadable.iter();
        unreadable.any(|sector| is_congruent(*sector, member_sector))
    }

    /// The same, also of sectors that were noted as bad.
    #[must_use]
    pub fn is_bad_in_any_layout(&self, member_sector: u64) -> bool {
        let mut noted = self
            .noted
            .iter()
            .flat_map(|range| range.sector..range.end());
        self.is_unreadable_in_any_layout(member_sector)
            || noted.any(|sector| is_congruent(sector, member_sector))
    }

    /// Whether there is any such sector.
    #[must_use]
    pub fn has_bad(&self) -> bool {
        !self.unreadable.is_empty() || !self.noted.is_empty()
    }

    /// Makes a sector unreadable until it is written.
    pub fn spoil(&mut self, sector: u64) {
        self.unreadable.insert(sector);
    }

    /// Makes everything readable.
    pub fn heal(&mut self) {
        self.unreadable.clear();
    }

    /// Reads what a client of the disk sees; false when it cannot be read.
    pub fn read(&self, sector: u64, out: &mut [u8]) -> bool {
        let sectors = (out.len() / SECTOR) as u64;
        let end = sector + sectors;
        if self.is_gone || self.unreadable.range(sector..end).next().is_some() {
            return false;
        }
        out.copy_from_slice(self.get_range(sector, sectors));
        for write in self.pending.iter().filter(|write| write.is_cached) {
            let write_end = write.sector + (write.data.len() / SECTOR) as u64;
            let (from, to) = (sector.max(write.sector), end.min(write_end));
            if from < to {
                let (source, bytes) = (place(from - write.sector), place(to - from));
                let target = place(from - sector);
                out[target..target + bytes].copy_from_slice(&write.data[source..source + bytes]);
            }
        }
        true
    }

    /// Takes a write. The caller has checked that it lies on the disk.
    pub fn begin_write(&mut self, id: u64, sector: u64, data: Vec<u8>, is_cached: bool) {
        self.pending.push(Pending {
            id,
            sector,
            data,
            is_cached,
        });
    }

    /// What is pending: number, first sector, content.
    pub fn pending(&self) -> impl Iterator<Item = (u64, u64, &[u8])> {
        let pending = self.pending.iter();
        pending.map(|write| (write.id, write.sector, write.data.as_slice()))
    }

    /// Sectors that were written since [`Self::remember`], some of them several times.
    #[must_use]
    pub fn changed(&self) -> &[u64] {
        self.changed.as_deref().unwrap_or_default()
    }

    /// What a pending write holds.
    #[must_use]
    pub fn pending_data(&self, id: u64) -> Option<&[u8]> {
        let found = self.pending.iter().find(|write| write.id == id)?;
        Some(&found.data)
    }

    /// A write is done and durable.
    pub fn finish_write(&mut self, id: u64, delivery: Delivery) {
        let Some(mut write) = self.take(id) else {
            return;
        };
        match delivery {
            Delivery::Right => {}
            Delivery::Lost => return,
            Delivery::Misdirected(sector) => write.sector = sector,
        }
        for index in 0..write.data.len() / SECTOR {
            self.land(&write, index);
        }
    }

    /// A write failed: any of its sectors may be on the medium.
    pub fn fail_write(&mut self, id: u64, landing: Landing, random: &mut Random) {
        if let Some(write) = self.take(id)
            && !self.is_gone
        {
            self.land_some(&write, landing, random);
        }
    }

    /// The power goes: what is pending is on the medium or not.
    pub fn cut_power(&mut self, landing: Landing, random: &mut Random) {
        let mut pending = std::mem::take(&mut self.pending);
        if self.is_gone {
            return;
        }
        // Of two that overlap either may land last.
        random.shuffle(&mut pending);
        for write in &pending {
            self.land_some(write, landing, random);
        }
    }

    /// The disk is taken out: what is pending fails, and is on the medium or not.
    pub fn pull(&mut self, landing: Landing, random: &mut Random) {
        for write in self.pending.clone() {
            self.land_some(&write, landing, random);
        }
        self.is_gone = true;
    }

    fn land_some(&mut self, write: &Pending, landing: Landing, random: &mut Random) {
        let unit = self.unit.sectors() as usize;
        let sectors = write.data.len() / SECTOR;
        let prefix = random.index(sectors / unit + 1);
        for first in (0..sectors).step_by(unit) {
            let lands = match landing {
                Landing::Nothing => false,
                Landing::Everything => true,
                Landing::Each(per_mille) => random.chance(per_mille),
                Landing::Prefix => first / unit < prefix,
            };
            if lands {
                (first..first + unit).for_each(|index| self.land(write, index));
            }
        }
    }

    fn land(&mut self, write: &Pending, index: usize) {
        let sectors = write.data.as_chunks::<SECTOR>().0;
        self.put(write.sector + index as u64, &sectors[index]);
    }

    fn take(&mut self, id: u64) -> Option<Pending> {
        let index = self.pending.iter().position(|write| write.id == id)?;
        Some(self.pending.remove(index))
    }
}

fn is_congruent(sector: u64, member_sector: u64) -> bool {
    sector % DATA_OFFSET_UNIT == member_sector % DATA_OFFSET_UNIT
}

/// Where a sector begins.
fn place(sector: u64) -> usize {
    usize::try_from(sector).unwrap_or(usize::MAX / SECTOR) * SECTOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(disk: &SimDisk, sector: u64) -> u8 {
        disk.medium()[place(sector)]
    }

    #[test]
    fn a_reported_write_is_durable_and_a_pending_one_may_be_torn() {
        let mut random = Random::new(1);
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            let mut disk = SimDisk::new(8, Unit::SECTOR);
            disk.begin_write(1, 0, vec![1; 2 * SECTOR], false);
            disk.begin_write(2, 4, vec![2; 2 * SECTOR], false);
            disk.finish_write(1, Delivery::Right);
            disk.cut_power(Landing::Each(500), &mut random);
            assert_eq!((sector(&disk, 0), sector(&disk, 1)), (1, 1));
            seen.insert((sector(&disk, 4), sector(&disk, 5)));
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn a_sector_of_4096_bytes_is_never_torn() {
        let mut random = Random::new(1);
        let mut seen = BTreeSet::new();
        for landing in [Landing::Each(500), Landing::Prefix].repeat(50) {
            let mut disk = SimDisk::new(24, Unit::BLOCK);
            disk.begin_write(1, 8, vec![1; 16 * SECTOR], false);
            disk.cut_power(landing, &mut random);
            let landed: Vec<u8> = (0..24).map(|at| sector(&disk, at)).collect();
            assert!(
                landed
                    .chunks(8)
                    .all(|own| own.iter().all(|byte| *byte == own[0]))
            );
            seen.insert((landed[8], landed[16]));
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn reads_see_the_cache_and_stop_at_unreadable_sectors() {
        let mut disk = SimDisk::new(8, Unit::SECTOR);
        disk.begin_write(1, 2, vec![7; SECTOR], true);
        let mut out = [0; 2 * SECTOR];
        assert!(disk.read(1, &mut out));
        assert_eq!((out[0], out[SECTOR]), (0, 7));
        disk.spoil(1);
        assert!(!disk.read(1, &mut out));
        disk.begin_write(2, 1, vec![3; SECTOR], false);
        disk.finish_write(2, Delivery::Right);
        assert!(disk.read(1, &mut out));
    }
}

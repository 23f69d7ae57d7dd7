//! The write-intent bitmap of a RAID: which regions may differ after a crash.
//!
//! The data path asks for the bits of regions before it writes them ([`Manager::want_regions`]); they are
//! sticky, and cleared when nothing was written for a while ([`Manager::tick`]) or the LUN stops in
//! order. After a crash the regions whose bits are set are resynchronised, and no others.
//!
//! Invariants:
//! * bits in memory are durable on every member in use when a call returns, whatever was on a member
//!   before: a member that is not known to hold the bitmap gets all of it, called stale until it is
//!   complete;
//! * the event count of the bitmap is never behind that of the superblock on the same member: md and we
//!   take it for stale then, and resynchronise everything;
//! * no bit is cleared while a member is missing, because the bits then tell what it lacks; so a LUN that
//!   lacks members may be clean with bits set, as md has it. Of a clean LUN that lacks nobody bits mean
//!   nothing;
//! * the bits of regions in which mirrors may differ stay until a pass has been over them.

use super::raid::Raid;
use super::rounds::{Failures, Rounds, reasons};
use super::scan::Candidate;
use super::twin::devices_mut;
use super::{LunNumber, Manager};
use crate::admin::PartId;
use raid::bitmap::{Bitmap, BitmapError, PAGE_BYTES, PAGE_SECTORS};
use raid::regions::{REGION_GROUP, RegionIndex, RegionSet};
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks for regions without writes. A bit is cleared at the third look after the last
/// write began, 60 to 90 seconds later.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

impl Manager {
    /// Writes wait for groups of regions of a part: makes their bits durable and tells the workers, or
    /// tells them that it cannot be done. Groups that are asked for together cost one write a member.
    pub fn want_regions(&mut self, number: LunNumber, part: u8, groups: &[RegionIndex]) {
        let id = PartId { lun: number, part };
        let is_live = self.raids.get(&id).is_some_and(|raid| raid.is_live);
        if !is_live {
            // The writes that waited were dropped when the LUN went offline.
            return;
        }
        let regions_of = |group: &RegionIndex| group.0..group.0.saturating_add(REGION_GROUP);
        let set = self.set_regions(id, groups.iter().flat_map(regions_of));
        if let Err(reason) = &set {
            self.notices.push(format!(
                "LUN {number}: writes are refused, as the write-intent bitmap cannot be written: {reason}"
            ));
        }
        for regions in groups.iter().map(regions_of) {
            let told = self.plane.regions_ready(number, part, regions, set.is_ok());
            if let Err(reason) = told {
                self.notices.push(format!("LUN {number}: {reason}"));
            }
        }
    }

    /// Makes the bits of regions durable on every member. Members that fail are given up first.
    fn set_regions(
        &mut self,
        id: PartId,
        regions: impl Iterator<Item = u32>,
    ) -> Result<(), String> {
        let Some(mut rounds) = self.rounds(id) else {
            return Ok(());
        };
        let Some(bitmap) = &mut rounds.raid.bitmap else {
            return Ok(());
        };
        let end = bitmap.map().regions();
        let added: Vec<RegionIndex> = regions
            .filter(|region| *region < end)
            .map(RegionIndex)
            .filter(|region| bitmap.insert(*region))
            .collect();
        if added.is_empty() {
            return Ok(());
        }
        let members = rounds.raid.drives_in_use();
        let written = rounds.bitmap();
        let lost_members = rounds.raid.drives_in_use() != members;
        if written.is_err()
            && let Some(bitmap) = &mut rounds.raid.bitmap
        {
            for region in added {
                bitmap.remove(region);
            }
        }
        if lost_members {
            // Nothing is to be written to a member that does not have the bits.
            self.attach_if_live(id.lun)
                .map_err(|error| error.to_string())?;
        }
        written
    }

    /// Clears the bits of regions that were not written for a while.
    pub(super) fn sweep_regions(&mut self, uptime: Duration) {
        let is_due = self
            .last_sweep
            .is_none_or(|last| uptime.saturating_sub(last) >= SWEEP_INTERVAL);
        if !is_due {
            return;
        }
        self.last_sweep = Some(uptime);
        let live: Vec<PartId> = self
            .raids
            .values()
            .filter(|raid| raid.is_live)
            .map(|raid| raid.id)
            .collect();
        for id in live {
            self.sweep_raid(id);
        }
    }

    fn sweep_raid(&mut self, id: PartId) {
        let number = id.lun;
        let Some(candidates) = self.raids.get(&id).and_then(Raid::clearable_regions) else {
            return;
        };
        let idle = match self
            .plane
            .take_idle_regions(number, id.part, Arc::new(candidates))
        {
            Ok(idle) => idle,
            Err(reason) => {
                self.notices.push(format!(
                    "LUN {number}: the write-intent bitmap was not tidied: {reason}"
                ));
                return;
            }
        };
        if idle.is_empty() {
            return;
        }
        let Some(mut rounds) = self.rounds(id) else {
            return;
        };
        if let Some(bitmap) = &mut rounds.raid.bitmap {
            for region in idle.iter() {
                bitmap.remove(region);
            }
        }
        let members = rounds.raid.drives_in_use();
        let cleared = rounds.bitmap();
        let lost_members = rounds.raid.drives_in_use() != members;
        if let Err(reason) = cleared {
            self.notices.push(format!(
                "LUN {number}: bits of the write-intent bitmap were not cleared: {reason}"
            ));
        }
        if lost_members && let Err(error) = self.attach_if_live(number) {
            self.notices.push(error.to_string());
        }
    }
}

impl Raid {
    /// The regions whose bits may be cleared when nobody writes them; `None` when there are none.
    fn clearable_regions(&self) -> Option<RegionSet> {
        let bitmap = self.bitmap.as_ref()?;
        let mut regions = bitmap.set().clone();
        regions.remove_all(&self.still_unsynced(bitmap));
        (self.all_normal() && !regions.is_empty()).then_some(regions)
    }

    /// The regions in which mirrors may differ now.
    fn still_unsynced(&self, bitmap: &Bitmap) -> RegionSet {
        let count = bitmap.map().regions();
        if !self.is_unsynced {
            return RegionSet::empty(count);
        }
        let mut regions = self
            .unsynced_regions
            .as_ref()
            .map_or_else(|| RegionSet::full(count), |regions| (**regions).clone());
        let done: Vec<RegionIndex> = regions
            .iter()
            .take_while(|region| bitmap.map().end_lba(*region) <= self.sync_from)
            .collect();
        for region in done {
            regions.remove(region);
        }
        regions
    }

    /// Nothing is written any more: only the bits of regions in which mirrors may differ are to stay.
    pub(super) fn keep_unsynced_bits(&mut self) {
        if !self.all_normal() {
            return;
        }
        let kept = self
            .bitmap
            .as_ref()
            .map(|bitmap| self.still_unsynced(bitmap));
        if let (Some(bitmap), Some(kept)) = (&mut self.bitmap, kept) {
            bitmap.replace(&kept);
            self.unsynced_regions = Some(Arc::new(kept));
        }
    }
}

impl Rounds<'_> {
    /// Makes the bitmap durable on every member. Members that fail are given up, durably, if the others
    /// hold all data.
    pub(super) fn bitmap(&mut self) -> Result<(), String> {
        let failures = self.write_bitmap();
        if failures.is_empty() {
            Ok(())
        } else if self.can_lose(&failures) {
            self.give_up(&failures)
        } else {
            Err(reasons(&failures))
        }
    }

    /// Writes the bitmap so that it is good for superblocks with the present event count. Gives the
    /// members that failed.
    pub(super) fn write_bitmap_for_events(&mut self) -> Failures {
        // Those that follow in the same change need no bitmap of their own.
        let events = self.raid.events.max(self.raid.events_ahead);
        if let Some(bitmap) = &mut self.raid.bitmap
            && !bitmap.is_current(self.raid.events)
        {
            bitmap.set_events(events);
        }
        self.write_bitmap()
    }

    /// All members have the present event count: what lacks no later one lacks only what the bits say.
    pub(super) fn note_events_cleared(&mut self) {
        if self.raid.all_normal()
            && let Some(bitmap) = &mut self.raid.bitmap
        {
            bitmap.set_events_cleared(self.raid.events);
        }
    }

    /// Writes what was changed in the bitmap to every member that holds the rest of it, and all of it to
    /// those that do not. Gives the members that failed.
    pub(super) fn write_bitmap(&mut self) -> Failures {
        let Some(bitmap) = &mut self.raid.bitmap else {
            return Vec::new();
        };
        let changed = bitmap.take_changed();
        let mut failures = Vec::new();
        for entry in devices_mut(&mut self.raid.members) {
            let (device, drive, metadata) = (entry.device, entry.drive, entry.metadata);
            let Some(area) = metadata.superblock.bitmap_area() else {
                let reason = format!("drive in slot {drive}: no place for the write-intent bitmap");
                failures.push((device, reason));
                continue;
            };
            let mut write = |page: usize, bytes: &[u8]| {
                let sector = area.sector + page as u64 * PAGE_SECTORS;
                self.drives.write(drive, sector, bytes)
            };
            let written = if metadata.has_bitmap {
                changed
                    .iter()
                    .try_for_each(|&page| write(page, &bitmap.page(page)))
            } else {
                write(0, &stale_bytes(bitmap)).and_then(|()| write(0, &bitmap.page(0)))
            };
            metadata.has_bitmap = written.is_ok();
            if let Err(reason) = written {
                failures.push((device, reason));
            }
        }
        failures
    }
}

/// All of a bitmap, so that nobody believes it yet.
fn stale_bytes(bitmap: &Bitmap) -> Vec<u8> {
    let mut stale = bitmap.clone();
    stale.set_events(0);
    let mut bytes = Vec::with_capacity(stale.pages() * PAGE_BYTES);
    for page in 0..stale.pages() {
        bytes.extend_from_slice(&stale.page(page));
    }
    bytes
}

/// The bitmap of a set, from its members in use. `None` for a set without one.
///
/// # Errors
/// When there is one that this version cannot keep right: then nothing may be written.
pub(super) fn find_bitmap(
    used: &[&Candidate],
    freshest: &Candidate,
    is_dirty: bool,
) -> Result<Option<Bitmap>, String> {
    let is_redundant = freshest.geometry.level().is_redundant();
    if !freshest.superblock.has_bitmap() || !is_redundant {
        return Ok(None);
    }
    for candidate in used {
        if let Some(Err(error)) = &candidate.bitmap
            && error.is_unsupported()
        {
            return Err(format!("drive in slot {}: {error}", candidate.drive));
        }
    }
    // Who is being rebuilt lacks something, too.
    let whole = used
        .iter()
        .filter(|used| used.superblock.recovery().is_none());
    let is_complete = whole.count() == usize::from(freshest.geometry.members());
    let mut bitmap = match known_bitmap(used, freshest) {
        Some(bitmap) => bitmap,
        None => unknown_bitmap(used, freshest, is_dirty || !is_complete)?,
    };
    if !is_dirty && is_complete {
        bitmap.replace(&RegionSet::empty(bitmap.map().regions()));
    }
    Ok(Some(bitmap))
}

/// What the members know together. Each of them has the bits of all that may differ; one that was being
/// written when the power went may have more.
fn known_bitmap(used: &[&Candidate], freshest: &Candidate) -> Option<Bitmap> {
    let events = freshest.superblock.events();
    let mut known = used
        .iter()
        .filter_map(|candidate| candidate.bitmap.as_ref()?.as_ref().ok())
        .filter(|bitmap| bitmap.is_current(events));
    let mut bitmap = known.next()?.clone();
    for other in known
        .filter(|other| other.map() == bitmap.map())
        .collect::<Vec<_>>()
    {
        for region in other.set().iter() {
            bitmap.insert(region);
        }
    }
    Some(bitmap)
}

/// A bitmap where none can be believed.
fn unknown_bitmap(
    used: &[&Candidate],
    freshest: &Candidate,
    is_full: bool,
) -> Result<Bitmap, String> {
    let shape = used
        .iter()
        .find_map(|candidate| candidate.bitmap.as_ref()?.as_ref().ok().cloned());
    let room = used
        .iter()
        .filter_map(|candidate| candidate.superblock.bitmap_area())
        .map(|area| area.sectors)
        .min()
        .unwrap_or(0);
    let set = freshest.superblock.set_uuid();
    let mut bitmap = shape
        .or_else(|| Bitmap::new(set, &freshest.geometry, room))
        .ok_or_else(|| BitmapError::Magic.to_string())?;
    bitmap.set_events(0);
    if is_full {
        bitmap.replace(&RegionSet::full(bitmap.map().regions()));
    }
    Ok(bitmap)
}

/// Whether a member holds this bitmap and no other.
pub(super) fn holds(candidate: &Candidate, bitmap: Option<&Bitmap>) -> bool {
    let (Some(bitmap), Some(Ok(own))) = (bitmap, &candidate.bitmap) else {
        return false;
    };
    let events = |bitmap: &Bitmap| (bitmap.events(), bitmap.events_cleared());
    own.map() == bitmap.map()
        && own.set() == bitmap.set()
        && events(own) == events(bitmap)
        && own.is_current(candidate.superblock.events())
}

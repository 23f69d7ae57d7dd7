//! The drives of the shelf: what is in each slot and what it is used for.

use super::jobs::left_by;
use crate::admin::{DriveRole, DriveSlot, DriveState, DriveStatus, ElementId, LunNumber, PartId};
use crate::job::{Job, JobHandle, JobKind, Pace};
use crate::plane::{DriveError, MetadataDrive};
use crate::smart::{Smart, SmartMiss, WARNINGS_LIMIT};
use aoe::SECTOR_BYTES;
use raid::Unit;
use raid::drive_record::{Clip, Work};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// Why a slot has no drive to use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoDrive {
    /// There is none.
    Missing,
    /// It could not be opened, or is claimed by somebody else.
    Down(String),
}

/// A configured slot.
pub struct Drive {
    /// Number of the slot.
    pub slot: DriveSlot,
    /// Where the drive was opened from.
    pub path: String,
    /// What kind of drive it is: the model, or `file`, or `ram`.
    pub model: String,
    /// A remark for `show`.
    pub note: Option<String>,
    /// The drive.
    pub drive: Result<Box<dyn MetadataDrive>, NoDrive>,
    /// What the prober of signatures found on it, in words such as "an ext4 file system". On members
    /// of LUNs of this shelf it is disregarded.
    pub foreign: Option<String>,
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive")
            .field("slot", &self.slot)
            .field("path", &self.path)
            .field("foreign", &self.foreign)
            .finish_non_exhaustive()
    }
}

/// What a drive is used for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Usage {
    /// For nothing.
    Free,
    /// For something that is not ours.
    Foreign(String),
    /// For nothing any more: what an element of a LUN left that is there without it.
    Former { what: String, set: Uuid },
    /// For another set of a LUN of this shelf, which is not served.
    Second { lun: LunNumber, set: Uuid },
    /// For a LUN of another shelf.
    Elsewhere { shelf: u16, lun: u8 },
    /// To take the place of a member that fails.
    Spare,
    /// For a LUN.
    Element(ElementId),
    /// For a job that writes it.
    Working(JobKind),
    /// For nothing, since such a job has not come to its end.
    Unfinished(Work),
}

/// A slot and what became of it.
pub(super) struct Entry {
    pub(super) drive: Drive,
    pub(super) usage: Usage,
    /// How much of it is used, if that is not all.
    pub(super) clip: Option<Clip>,
    /// Its I/O takes a second and more.
    pub(super) is_slow: bool,
    /// It did not answer the administration, and nobody has dealt with that.
    is_silent: bool,
    /// What the drive told of its health.
    smart: Option<Arc<Smart>>,
    /// How many times in a row it said that it will fail.
    warnings: u8,
    /// It did not tell when it was asked last.
    smart_miss: Option<Arc<SmartMiss>>,
    /// I/O of the administration on it has failed, and nobody has dealt with that.
    has_failed: bool,
    /// Its LUN was ejected: only somebody who asks finds that again.
    pub(super) is_ejected: bool,
}

impl Entry {
    fn new(drive: Drive) -> Self {
        Self {
            usage: unused(&drive),
            drive,
            clip: None,
            is_slow: false,
            is_silent: false,
            smart: None,
            warnings: 0,
            smart_miss: None,
            has_failed: false,
            is_ejected: false,
        }
    }

    /// Whether there is no drive in it.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.drive.drive, Err(NoDrive::Missing))
    }

    /// The drive is gone, and with it all that was known of it but what it was used for.
    pub(super) fn becomes_empty(&mut self) {
        self.drive.drive = Err(NoDrive::Missing);
        self.drive.model.clear();
        self.drive.note = None;
        self.drive.foreign = None;
        self.clip = None;
        self.is_slow = false;
        self.is_silent = false;
        self.is_ejected = false;
        self.smart = None;
        self.warnings = 0;
        self.smart_miss = None;
    }

    /// How many sectors may be used.
    pub(super) fn size_sectors(&self) -> Option<u64> {
        let drive = self.drive.drive.as_ref().ok()?;
        let clipped = self.clip.map_or(u64::MAX, |clip| clip.used_sectors);
        Some(drive.size_sectors().min(clipped))
    }

    /// All of it; 0 when it is not up.
    pub(super) fn whole_sectors(&self) -> u64 {
        let drive = self.drive.drive.as_ref();
        drive.map_or(0, |drive| drive.size_sectors())
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_sectors().map_or(0, |sectors| sectors * 512)
    }

    /// State, and why.
    pub(super) fn state(&self) -> (DriveState, Option<&str>) {
        match &self.drive.drive {
            Ok(_) => (DriveState::Up, None),
            Err(NoDrive::Missing) => (DriveState::Missing, None),
            Err(NoDrive::Down(reason)) => (DriveState::Down, Some(reason)),
        }
    }

    pub(super) fn status(&self) -> DriveStatus {
        let (state, reason) = self.state();
        DriveStatus {
            slot: self.drive.slot,
            size_bytes: self.size_bytes(),
            state,
            role: match &self.usage {
                Usage::Free => DriveRole::Free,
                Usage::Spare => DriveRole::Spare,
                Usage::Element(id) => DriveRole::Element(*id),
                Usage::Working(kind) => DriveRole::Working(*kind),
                usage => DriveRole::Foreign(usage.foreign().unwrap_or_default()),
            },
            model: self.drive.model.clone(),
            path: self.drive.path.clone(),
            note: reason
                .map(str::to_owned)
                .or_else(|| {
                    self.is_slow
                        .then(|| "slow: it takes a second and more to answer".to_owned())
                })
                .or_else(|| self.drive.note.clone()),
            keeps_nothing: self
                .drive
                .drive
                .as_ref()
                .is_ok_and(|drive| drive.keeps_nothing()),
            whole_bytes: self.whole_sectors() * 512,
            unfinished: match self.usage {
                Usage::Unfinished(work) => Some(work),
                _ => None,
            },
            smart: self.if_up(self.smart.as_ref()).cloned(),
            is_failing: self.is_failing(),
            smart_miss: self.if_up(self.smart_miss.as_ref()).cloned(),
        }
    }

    /// Something of the drive that is there.
    fn if_up<'a, T>(&self, of: Option<&'a T>) -> Option<&'a T> {
        self.drive.drive.as_ref().ok().and(of)
    }

    /// The drive has told of its health.
    pub(super) fn told(&mut self, smart: Smart) {
        self.warnings = if smart.predicts_failure {
            self.warnings.saturating_add(1)
        } else {
            0
        };
        self.smart = Some(Arc::new(smart));
        self.smart_miss = None;
    }

    /// The drive has not told of its health. What it told before still holds.
    pub(super) fn not_told(&mut self, reason: String) {
        let before = self.smart_miss.as_ref().map_or(0, |miss| miss.times);
        self.smart_miss = Some(Arc::new(SmartMiss {
            times: before.saturating_add(1),
            reason,
        }));
    }

    /// Whether the drive said, the last time, that it will fail.
    pub(super) fn predicts_failure(&self) -> bool {
        self.if_up(self.smart.as_ref())
            .is_some_and(|smart| smart.predicts_failure)
    }

    /// Whether it has said so often enough.
    pub(super) fn is_failing(&self) -> bool {
        self.predicts_failure() && self.warnings >= WARNINGS_LIMIT
    }
}

impl Usage {
    /// What the drive carries that is not ours.
    pub(super) fn foreign(&self) -> Option<String> {
        match self {
            Self::Foreign(what) | Self::Former { what, .. } => Some(what.clone()),
            Self::Second { lun, set } => {
                Some(format!("LUN {lun} of this shelf a second time (set {set})"))
            }
            Self::Elsewhere { shelf, lun } => Some(format!("LUN {lun} of shelf {shelf}")),
            Self::Unfinished(work) => Some(left_by(*work).to_owned()),
            Self::Free | Self::Spare | Self::Element(_) | Self::Working(_) => None,
        }
    }
}

/// What a RAID left on a drive that was away when its LUN was removed.
pub(super) fn of_removed(raid: PartId, set: Uuid) -> String {
    let lun = raid.lun;
    if raid == PartId::first(lun) {
        format!("removed LUN {lun} (set {set})")
    } else {
        format!("raid {raid} of removed LUN {lun} (set {set})")
    }
}

/// All slots, in order.
pub(super) struct Drives {
    entries: Vec<Entry>,
    /// In a rehearsal, what has been written; it is on no drive.
    noted: Option<Noted>,
}

/// Sectors that were written, by drive and place.
type Noted = BTreeMap<(DriveSlot, u64), [u8; 512]>;

impl Drives {
    pub(super) fn new(mut drives: Vec<Drive>) -> Self {
        drives.sort_by_key(|drive| drive.slot);
        Self {
            entries: drives.into_iter().map(Entry::new).collect(),
            noted: None,
        }
    }

    /// Puts a drive into its slot, in place of what is known of that.
    pub(super) fn insert(&mut self, drive: Drive) {
        let slot = drive.slot;
        let entries = &mut self.entries;
        let at = entries.partition_point(|entry| entry.drive.slot < slot);
        match entries.get_mut(at) {
            Some(entry) if entry.drive.slot == slot => *entry = Entry::new(drive),
            _ => entries.insert(at, Entry::new(drive)),
        }
    }

    /// Forgets a slot.
    pub(super) fn remove(&mut self, slot: DriveSlot) {
        self.entries.retain(|entry| entry.drive.slot != slot);
    }

    /// Hands all drives to a copy, which only reads them, until [`Drives::take_back`].
    pub(super) fn lend(&mut self) -> Self {
        let copy = |entry: &mut Entry| {
            let drive = &mut entry.drive;
            let handle = match &drive.drive {
                Ok(_) => std::mem::replace(&mut drive.drive, Err(NoDrive::Missing)),
                Err(reason) => Err(reason.clone()),
            };
            Entry {
                drive: Drive {
                    slot: drive.slot,
                    path: drive.path.clone(),
                    model: drive.model.clone(),
                    note: drive.note.clone(),
                    drive: handle,
                    foreign: drive.foreign.clone(),
                },
                usage: entry.usage.clone(),
                clip: entry.clip,
                is_slow: entry.is_slow,
                is_silent: entry.is_silent,
                has_failed: entry.has_failed,
                is_ejected: entry.is_ejected,
                smart: entry.smart.clone(),
                warnings: entry.warnings,
                smart_miss: entry.smart_miss.clone(),
            }
        };
        Self {
            entries: self.entries.iter_mut().map(copy).collect(),
            noted: Some(self.noted.clone().unwrap_or_default()),
        }
    }

    /// Takes the drives back, and what was learned of their silence; what was written in the copy is nowhere.
    pub(super) fn take_back(&mut self, copy: Self) {
        for (entry, lent) in self.entries.iter_mut().zip(copy.entries) {
            if let Ok(drive) = lent.drive.drive {
                entry.drive.drive = Ok(drive);
            }
            entry.is_silent |= lent.is_silent;
            entry.has_failed |= lent.has_failed;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn get(&self, slot: DriveSlot) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.drive.slot == slot)
    }

    pub(super) fn get_mut(&mut self, slot: DriveSlot) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.drive.slot == slot)
    }

    pub(super) fn set_usage(&mut self, slot: DriveSlot, usage: Usage) {
        if let Some(entry) = self.get_mut(slot) {
            entry.usage = usage;
            entry.is_ejected = false;
        }
    }

    /// The LUN that some drives were once of is removed.
    pub(super) fn set_removed(&mut self, raid: PartId, set: Uuid) {
        for entry in &mut self.entries {
            if matches!(entry.usage, Usage::Former { set: of, .. } if of == set) {
                entry.usage = Usage::Foreign(of_removed(raid, set));
            }
        }
    }

    /// A drive is of a LUN that is ejected.
    pub(super) fn eject(&mut self, slot: DriveSlot, lun: LunNumber) {
        self.set_usage(slot, Usage::Foreign(format!("ejected LUN {lun}")));
        if let Some(entry) = self.get_mut(slot) {
            entry.is_ejected = true;
        }
    }

    /// Takes a drive for a LUN.
    pub(super) fn claim(&mut self, slot: DriveSlot, id: ElementId) {
        self.set_usage(slot, Usage::Element(id));
    }

    /// A drive is in no LUN any more, and nothing of ours is on it.
    pub(super) fn erased(&mut self, slot: DriveSlot) {
        if let Some(entry) = self.get_mut(slot) {
            entry.drive.foreign = None;
            entry.usage = Usage::Free;
        }
    }

    /// A job that destroys what is on a drive was begun, and has not ended.
    pub(super) fn set_unfinished(&mut self, slot: DriveSlot, work: Work) {
        if let Some(entry) = self.get_mut(slot) {
            entry.drive.foreign = None;
            entry.usage = Usage::Unfinished(work);
            entry.is_ejected = false;
        }
    }

    /// A drive is in no LUN any more, and carries what that left.
    pub(super) fn left(&mut self, slot: DriveSlot, what: String) {
        if let Some(entry) = self.get_mut(slot) {
            entry.drive.foreign = Some(what);
            entry.usage = unused(&entry.drive);
        }
    }

    /// A drive is in no LUN any more, and is as it was before.
    pub(super) fn release(&mut self, slot: DriveSlot) {
        if let Some(entry) = self.get_mut(slot) {
            entry.usage = unused(&entry.drive);
        }
    }

    /// Reads metadata.
    pub(super) fn read(
        &mut self,
        slot: DriveSlot,
        sector: u64,
        buffer: &mut [u8],
    ) -> Result<(), String> {
        let read = read_widened(self.device(slot)?.as_mut(), sector, buffer);
        read.map_err(|error| self.failed(slot, &error))?;
        if let Some(noted) = &self.noted {
            for (at, bytes) in (sector..).zip(buffer.chunks_exact_mut(512)) {
                if let Some(written) = noted.get(&(slot, at)) {
                    bytes.copy_from_slice(written);
                }
            }
        }
        Ok(())
    }

    /// Writes metadata; durable when this returns, unless this is a rehearsal.
    pub(super) fn write(
        &mut self,
        slot: DriveSlot,
        sector: u64,
        data: &[u8],
    ) -> Result<(), String> {
        if self.noted.is_some() {
            self.device(slot)?;
        }
        if let Some(noted) = &mut self.noted {
            let sectors = data.as_chunks().0.iter();
            noted.extend(
                (sector..)
                    .zip(sectors)
                    .map(|(at, bytes)| ((slot, at), *bytes)),
            );
            return Ok(());
        }
        let written = write_widened(self.device(slot)?.as_mut(), sector, data);
        written.map_err(|error| self.failed(slot, &error))
    }

    /// Begins a job; in a rehearsal nothing is done.
    pub(super) fn begin(
        &mut self,
        slot: DriveSlot,
        job: Job,
        pace: Pace,
    ) -> Result<Box<dyn JobHandle>, String> {
        if self.noted.is_some() {
            self.device(slot)?;
            return Ok(Box::new(super::jobs::Told::default()));
        }
        let source = match job.kind().source() {
            Some(source) => Some(self.device(source)?.source()?),
            None => None,
        };
        self.device(slot)?.begin(job, source, pace)
    }

    /// What the drive of a slot takes at least; a sector, where there is none.
    pub(super) fn unit(&self, slot: DriveSlot) -> Unit {
        let entry = self.get(slot);
        let drive = entry.and_then(|entry| entry.drive.drive.as_ref().ok());
        drive.map_or(Unit::SECTOR, |drive| drive.unit())
    }

    fn failed(&mut self, slot: DriveSlot, error: &DriveError) -> String {
        if let Some(entry) = self.get_mut(slot) {
            entry.is_silent |= error.is_silent;
            entry.has_failed = true;
        }
        format!("drive in slot {slot}: {error}")
    }

    /// The drives that did not answer since this was asked last.
    pub(super) fn take_silent(&mut self) -> Vec<DriveSlot> {
        let silent = self.entries.iter_mut().filter(|entry| entry.is_silent);
        let take = |entry: &mut Entry| {
            entry.is_silent = false;
            entry.drive.slot
        };
        silent.map(take).collect()
    }

    /// The drives on which I/O of the administration failed since this was asked last.
    pub(super) fn take_failed(&mut self) -> Vec<DriveSlot> {
        let failed = self.entries.iter_mut().filter(|entry| entry.has_failed);
        let take = |entry: &mut Entry| {
            entry.has_failed = false;
            entry.drive.slot
        };
        failed.map(take).collect()
    }

    fn device(&mut self, slot: DriveSlot) -> Result<&mut Box<dyn MetadataDrive>, String> {
        let entry = self
            .get_mut(slot)
            .ok_or_else(|| format!("slot {slot} does not exist"))?;
        match &mut entry.drive.drive {
            Ok(drive) => Ok(drive),
            Err(NoDrive::Missing) => Err(format!("drive in slot {slot} is missing")),
            Err(NoDrive::Down(reason)) => Err(format!("drive in slot {slot} is down: {reason}")),
        }
    }
}

/// The units of a drive that some bytes are of; `None` when they are whole ones.
fn widened(drive: &dyn MetadataDrive, sector: u64, bytes: usize) -> Option<(u64, Vec<u8>)> {
    let unit = drive.unit();
    let sectors = u32::try_from(bytes / SECTOR_BYTES).ok()?;
    let (start, all) = unit.around(sector, sectors);
    let is_whole = (start, all) == (sector, sectors);
    (!is_whole).then(|| (start, vec![0; all as usize * SECTOR_BYTES]))
}

/// Where sectors lie in what they were widened to.
fn place_in(start: u64, sector: u64, bytes: usize) -> std::ops::Range<usize> {
    let skip = usize::try_from(sector - start).unwrap_or(0) * SECTOR_BYTES;
    skip..skip + bytes
}

fn read_widened(
    drive: &mut dyn MetadataDrive,
    sector: u64,
    buffer: &mut [u8],
) -> Result<(), DriveError> {
    let Some((start, mut all)) = widened(drive, sector, buffer.len()) else {
        return drive.read(sector, buffer);
    };
    drive.read(start, &mut all)?;
    buffer.copy_from_slice(&all[place_in(start, sector, buffer.len())]);
    Ok(())
}

/// Writes sectors. What is beside them in their units is written as it was read: nobody else writes there, as
/// the data path and the administration have no unit in common.
fn write_widened(
    drive: &mut dyn MetadataDrive,
    sector: u64,
    data: &[u8],
) -> Result<(), DriveError> {
    let Some((start, mut all)) = widened(drive, sector, data.len()) else {
        return drive.write(sector, data);
    };
    drive.read(start, &mut all)?;
    all[place_in(start, sector, data.len())].copy_from_slice(data);
    drive.write(start, &all)
}

/// What a drive is used for that is in no LUN.
fn unused(drive: &Drive) -> Usage {
    drive.foreign.clone().map_or(Usage::Free, Usage::Foreign)
}

//! What is on a drive: reads its superblock and its record, and decides whose it is.

use super::bad_blocks;
use super::drives::{Drives, Entry, NoDrive, Usage};
use super::lun::PARTS_MAX;
use super::raid::Metadata;
use super::sizes::read_clip;
use super::spares::Spare;
use crate::admin::{DriveSlot, LunNumber};
use raid::Geometry;
use raid::bad_blocks::BadBlocks;
use raid::bitmap::{Bitmap, BitmapError, PAGE_BYTES, PAGE_SECTORS};
use raid::drive_record::{Mark, Work};
use raid::layout::{DEVICE_SECTORS_MIN, MetadataPlaces, SUPERBLOCK_SECTOR};
use raid::md::raw::BLOCK_BYTES;
use raid::md::{Role, Superblock, SuperblockError};
use raid::record::{FORMAT, RecordError, SLOT_BYTES, StoredRecord, read_slots, read_spare_slots};

/// A drive with a superblock and a record that belong together.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) drive: DriveSlot,
    pub(super) superblock: Superblock,
    pub(super) geometry: Geometry,
    pub(super) stored: StoredRecord,
    /// Its write-intent bitmap, if its superblock says that there is one.
    pub(super) bitmap: Option<Result<Bitmap, BitmapError>>,
    /// Its bad blocks, or why they are not known.
    pub(super) bad_blocks: Result<BadBlocks, String>,
}

impl Candidate {
    /// What it is, as in `a former element 0.0.1 (set …)`.
    pub(super) fn called(&self, kind: &str) -> String {
        let record = &self.stored.record;
        let (lun, part, element) = (record.lun, record.part, record.element);
        let set = self.superblock.set_uuid();
        format!("{kind} element {lun}.{part}.{element} (set {set})")
    }
}

/// A drive whose record another version wrote. It may be a member of a set.
#[derive(Clone, Debug)]
pub(super) struct OtherVersion {
    pub(super) drive: DriveSlot,
    pub(super) superblock: Superblock,
    pub(super) format: u32,
}

/// What is on the drives that are in no LUN.
#[derive(Default)]
pub(super) struct Scan {
    /// The members of LUNs.
    pub(super) candidates: Vec<Candidate>,
    /// Drives that this version cannot read and leaves alone.
    pub(super) other_versions: Vec<OtherVersion>,
    pub(super) spares: Vec<Spare>,
}

/// What it is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Occasion {
    /// The start, or somebody has asked for it.
    Asked,
    /// Somebody has asked for what another shelf left.
    Elsewhere,
    /// A drive has come or gone.
    Plug,
}

/// Looks at every drive that is in no LUN, and notes what it carries. A drive that cannot be read is down
/// from now on. Drives of LUNs that were ejected are left alone unless somebody asks for what is of this
/// shelf.
pub(super) fn scan(drives: &mut Drives, occasion: Occasion, notices: &mut Vec<String>) -> Scan {
    let is_left = |is_ejected: bool| is_ejected && occasion != Occasion::Asked;
    let idle: Vec<_> = drives
        .iter()
        .filter(|entry| {
            let is_taken = matches!(entry.usage, Usage::Element(_) | Usage::Working(_));
            !is_taken && !is_left(entry.is_ejected)
        })
        .map(|entry| (entry.drive.slot, entry.whole_sectors()))
        .filter(|(_, sectors)| *sectors >= DEVICE_SECTORS_MIN)
        .collect();
    let mut found = Scan::default();
    for (slot, whole_sectors) in idle {
        read_clip(drives, slot, whole_sectors);
        let size_sectors = drives.get(slot).and_then(Entry::size_sectors);
        let size_sectors = size_sectors.unwrap_or(whole_sectors);
        match look_at(drives, slot, size_sectors, notices) {
            Ok(Look::NotMd) => drives.release(slot),
            Ok(Look::Unfinished(work)) => drives.set_unfinished(slot, work),
            Ok(Look::Foreign(what)) => drives.set_usage(slot, Usage::Foreign(what)),
            Ok(Look::Candidate(candidate)) => found.candidates.push(*candidate),
            Ok(Look::Spare(spare)) => found.spares.push(*spare),
            Ok(Look::OtherVersion(other)) => {
                let text = other_format(other.format);
                notices.push(format!("drive in slot {slot} is left alone: {text}"));
                let name = other.superblock.name();
                let what = format!("a member of md array '{name}', {text}");
                drives.set_usage(slot, Usage::Foreign(what));
                found.other_versions.push(*other);
            }
            Err(reason) => {
                notices.push(format!("drive in slot {slot} is down: {reason}"));
                if let Some(entry) = drives.get_mut(slot) {
                    entry.drive.drive = Err(NoDrive::Down(reason));
                }
            }
        }
    }
    found
}

enum Look {
    NotMd,
    /// A job that destroys what is on it was begun, and has not ended.
    Unfinished(Work),
    Foreign(String),
    Candidate(Box<Candidate>),
    OtherVersion(Box<OtherVersion>),
    Spare(Box<Spare>),
}

fn look_at(
    drives: &mut Drives,
    drive: DriveSlot,
    size_sectors: u64,
    notices: &mut Vec<String>,
) -> Result<Look, String> {
    let mut block = [0; BLOCK_BYTES];
    drives.read(drive, SUPERBLOCK_SECTOR, &mut block)?;
    let superblock = match Superblock::decode(&block) {
        Ok(superblock) => superblock,
        Err(SuperblockError::NotMd) => {
            let mark = Mark::decode(&block);
            return Ok(mark.map_or(Look::NotMd, |mark| Look::Unfinished(mark.work)));
        }
        Err(error) => return Ok(Look::Foreign(format!("an {error}"))),
    };
    let foreign = |remark: &str| {
        Ok(Look::Foreign(format!(
            "a member of md array '{}'{remark}",
            superblock.name()
        )))
    };
    let data_end = superblock
        .data_offset_sectors()
        .checked_add(superblock.data_sectors());
    if data_end.is_none_or(|end| end > size_sectors) {
        return foreign(", which is longer than the drive");
    }
    let Some(places) = MetadataPlaces::of(superblock.data_offset_sectors()) else {
        return foreign("");
    };
    let bytes = read_private_slots(drives, drive, &places)?;
    let [a, b] = &*bytes;
    let owner = Metadata::owner(&superblock);
    let slots = read_slots([a, b], &owner);
    if let Some(format) = slots.other_format() {
        return Ok(Look::OtherVersion(Box::new(OtherVersion {
            drive,
            superblock,
            format,
        })));
    }
    if superblock.is_spare()
        && let Some(stored) = read_spare_slots([a, b], &owner).newest
    {
        let spare = Spare::new(drive, superblock, stored);
        return Ok(Look::Spare(Box::new(spare)));
    }
    let has_damage = |error: &&RecordError| !matches!(error, RecordError::OtherMember { .. });
    for error in slots.damage.iter().flatten().filter(has_damage) {
        notices.push(format!("drive in slot {drive}: {error}"));
    }
    let Some(stored) = slots.newest else {
        return foreign("");
    };
    let geometry = match superblock.geometry() {
        Ok(geometry) => geometry,
        Err(error) => return foreign(&format!(" ({error})")),
    };
    if !belong_together(&superblock, &geometry, &stored) {
        return foreign(", whose record is of another kind than its superblock");
    }
    let bitmap = if superblock.has_bitmap() {
        Some(read_bitmap(drives, drive, &superblock, &geometry)?)
    } else {
        None
    };
    let bad_blocks = bad_blocks::read(drives, drive, &superblock)?;
    Ok(Look::Candidate(Box::new(Candidate {
        drive,
        bitmap,
        bad_blocks,
        superblock,
        geometry,
        stored,
    })))
}

/// What a drive is in LUNs or pools of this software, wherever they are, in words; `None` when it is nothing
/// of that.
///
/// # Errors
/// It cannot be read.
pub(super) fn find_own(
    drives: &mut Drives,
    drive: DriveSlot,
    size_sectors: u64,
) -> Result<Option<String>, String> {
    Ok(
        match look_at(drives, drive, size_sectors, &mut Vec::new())? {
            Look::NotMd | Look::Unfinished(_) | Look::Foreign(_) => None,
            Look::Candidate(candidate) => Some(candidate.called("an")),
            Look::OtherVersion(other) => Some(format!("a member {}", other_format(other.format))),
            Look::Spare(_) => Some("a spare".to_owned()),
        },
    )
}

/// What is told of a record of another version.
pub(super) fn other_format(format: u32) -> String {
    format!(
        "with a record of format {format}, which another version of this software wrote; this one reads \
         format {FORMAT}: use that version"
    )
}

/// The format of a record of another version, if a device that may be a member carries one.
pub(super) fn find_other_format(
    drives: &mut Drives,
    drive: DriveSlot,
    superblock: &Superblock,
) -> Option<u32> {
    let places = MetadataPlaces::of(superblock.data_offset_sectors())?;
    let bytes = read_private_slots(drives, drive, &places).ok()?;
    let [a, b] = &*bytes;
    read_slots([a, b], &Metadata::owner(superblock)).other_format()
}

fn read_private_slots(
    drives: &mut Drives,
    drive: DriveSlot,
    places: &MetadataPlaces,
) -> Result<Box<[[u8; SLOT_BYTES]; 2]>, String> {
    let mut slots = Box::new([[0; SLOT_BYTES]; 2]);
    for (area, bytes) in places.slots.iter().zip(slots.iter_mut()) {
        drives.read(drive, area.sector, bytes)?;
    }
    Ok(slots)
}

/// Reads the write-intent bitmap of a member: its first page says how long it is.
pub(super) fn read_bitmap(
    drives: &mut Drives,
    drive: DriveSlot,
    superblock: &Superblock,
    geometry: &Geometry,
) -> Result<Result<Bitmap, BitmapError>, String> {
    let Some(area) = superblock.bitmap_area() else {
        return Ok(Err(BitmapError::Magic));
    };
    let set = superblock.set_uuid();
    let mut bytes = vec![0; PAGE_BYTES];
    drives.read(drive, area.sector, &mut bytes)?;
    match Bitmap::length_bytes(&bytes, set, geometry, area.sectors) {
        Err(error) => Ok(Err(error)),
        Ok(length) => {
            bytes.resize(length, 0);
            let (_, rest) = bytes.split_at_mut(PAGE_BYTES);
            if !rest.is_empty() {
                drives.read(drive, area.sector + PAGE_SECTORS, rest)?;
            }
            Ok(Bitmap::decode(&bytes, set, geometry, area.sectors))
        }
    }
}

/// Whether a record says of its member what the superblock says, and this version can serve it. A member
/// that was called failed has no role of its own any more.
fn belong_together(superblock: &Superblock, geometry: &Geometry, stored: &StoredRecord) -> bool {
    let record = &stored.record;
    record.level == geometry.level()
        && record.elements == geometry.members()
        && record.element < record.elements
        && match superblock.role(superblock.dev_number()) {
            Role::Active(role) => role == geometry.md_role(record.element),
            Role::Faulty => true,
            Role::Spare | Role::Other(_) => false,
        }
        && record.part < record.parts
        && record.parts <= PARTS_MAX
        && (record.part > 0 || record.further.len() + 1 == usize::from(record.parts))
        && LunNumber::new(record.lun).is_some()
}

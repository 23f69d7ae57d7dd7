//! Arrays that others made with md, taken over as LUNs.
//!
//! An array is taken over by writing our records into the free headroom of its members; its superblocks
//! and its data stay as they are until the LUN goes online. How that survives a crash at any write: every
//! member gets a record that says `Importing`; when all have it, the records turn to `Complete`. One
//! complete record makes the LUN, and a start completes the others; without one a start erases the
//! records, and nothing else.

use super::bad_blocks;
use super::drives::Usage;
use super::make::serial;
use super::raid::{Metadata, Raid};
use super::rounds::reasons;
use super::scan::{Candidate, find_other_format, other_format, read_bitmap};
use super::set::{Set, put_together};
use super::unit::unfit_unit;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, ArrayStatus, DriveSlot};
use aoe::SECTOR_BYTES;
use raid::Geometry;
use raid::layout::{Area, MetadataPlaces, SUPERBLOCK_SECTOR};
use raid::log::LogParameters;
use raid::md::raw::BLOCK_BYTES;
use raid::md::{Role, Superblock};
use raid::record::{AccessRecord, Record, RecordState, ScrubRecord, StoredRecord};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A device of an array that others made.
#[derive(Clone, Debug)]
struct Device {
    drive: DriveSlot,
    size_sectors: u64,
    superblock: Superblock,
}

/// Its devices, the freshest first.
struct Array(Vec<Device>);

impl Manager {
    pub(super) fn list_arrays(&mut self) -> Vec<ArrayStatus> {
        let mut listed = Vec::new();
        for (uuid, array) in self.find_arrays() {
            let freshest = &array.0[0].superblock;
            let geometry = freshest.geometry().ok();
            let refusal =
                LunNumber::new(0).and_then(|lun| self.put_array_together(&array, lun).err());
            listed.push(ArrayStatus {
                uuid: md_uuid(uuid),
                name: freshest.name(),
                level: geometry.map(|geometry| geometry.level()),
                size_bytes: geometry.map_or(0, |g| g.capacity_sectors() * SECTOR_BYTES as u64),
                drives: array.0.iter().map(|device| device.drive).collect(),
                refusal,
            });
        }
        listed
    }

    pub(super) fn import_array(&mut self, name: &str, number: LunNumber) -> Result<(), AdminError> {
        self.shelf.ok_or(AdminError::ShelfUnset)?;
        if self.lun(number).is_ok() {
            return Err(AdminError::LunExists(number));
        }
        let mut named: Vec<Array> = self
            .find_arrays()
            .into_iter()
            .filter(|(uuid, array)| md_uuid(*uuid) == name || array.0[0].superblock.name() == name)
            .map(|(_, array)| array)
            .collect();
        let Some(array) = named.pop() else {
            return Err(AdminError::NoSuchArray(name.to_owned()));
        };
        if !named.is_empty() {
            return Err(AdminError::AmbiguousArray(name.to_owned()));
        }
        let set = self.put_array_together(&array, number);
        let set = set.map_err(|reason| AdminError::NotImportable {
            array: array.0[0].superblock.name(),
            reason,
        })?;
        self.free_spares_of(number).map_err(AdminError::Io)?;
        self.write_import(set.raid)
    }

    /// The arrays on drives that are in no LUN.
    fn find_arrays(&mut self) -> BTreeMap<Uuid, Array> {
        let foreign: Vec<(DriveSlot, u64)> = self
            .drives
            .iter()
            .filter(|entry| matches!(entry.usage, Usage::Foreign(_) | Usage::Former { .. }))
            .filter_map(|entry| Some((entry.drive.slot, entry.size_sectors()?)))
            .collect();
        let mut arrays: BTreeMap<Uuid, Array> = BTreeMap::new();
        for (drive, size_sectors) in foreign {
            let mut block = [0; BLOCK_BYTES];
            if self
                .drives
                .read(drive, SUPERBLOCK_SECTOR, &mut block)
                .is_err()
            {
                continue;
            }
            let Ok(superblock) = Superblock::decode(&block) else {
                continue;
            };
            let array = arrays.entry(superblock.set_uuid());
            array.or_insert_with(|| Array(Vec::new())).0.push(Device {
                drive,
                size_sectors,
                superblock,
            });
        }
        for array in arrays.values_mut() {
            array
                .0
                .sort_by_key(|device| Reverse(device.superblock.events()));
        }
        arrays
    }

    /// Makes a set of an array as if its members had records of ours.
    ///
    /// # Errors
    /// Why it cannot be a LUN.
    fn put_array_together(&mut self, array: &Array, lun: LunNumber) -> Result<Set, String> {
        let freshest = &array.0[0].superblock;
        let uuid = freshest.set_uuid();
        if self.removed_sets.contains(&uuid) {
            return Err("it was a LUN of this shelf and was removed".to_owned());
        }
        let mut present = self.raids.values();
        if let Some(raid) = present.find(|raid| raid.set_uuid == Some(uuid)) {
            let id = raid.id;
            return Err(format!("it is what raid {id} has done without since"));
        }
        let geometry = freshest.geometry().map_err(|error| error.to_string())?;
        let is_replaced = |device: &Device| {
            let role = freshest.role(device.superblock.dev_number());
            device.superblock.is_replacement() && matches!(role, Role::Active(_))
        };
        if array.0.iter().any(is_replaced) {
            return Err(
                "Linux is replacing a member of it: let it finish (mdadm --wait), or end it by failing the \
                 device that is to take its place"
                    .to_owned(),
            );
        }
        let record = self.record_of(array, &geometry, lun)?;
        let mut group = Vec::new();
        for device in &array.0 {
            let (drive, name) = (device.drive, self.drive_name(device.drive));
            if let Some(format) = find_other_format(&mut self.drives, drive, &device.superblock) {
                return Err(format!("drive {name} is a member {}", other_format(format)));
            }
            let own = &device.superblock;
            let roles = [freshest.role(own.dev_number()), own.role(own.dev_number())];
            let element = roles.iter().find_map(|role| match role {
                Role::Active(role) => geometry.element_of_md_role(*role),
                _ => None,
            });
            if let Some(element) = element {
                group.push(self.candidate(device, &geometry, &record, element)?);
            }
        }
        let set = put_together(uuid, group, &[]).ok_or("it has no members")?;
        self.check_import(&set)?;
        Ok(set)
    }

    /// The record that the members are to have. Parity gets a redo log if there is room on all of them.
    fn record_of(
        &self,
        array: &Array,
        geometry: &Geometry,
        lun: LunNumber,
    ) -> Result<Record, String> {
        let shelf = self.shelf.ok_or("the shelf has no number")?;
        let freshest = &array.0[0].superblock;
        let mut log_sectors = None;
        for device in &array.0 {
            let name = self.drive_name(device.drive);
            let room = headroom(device).map_err(|reason| format!("drive {name}: {reason}"))?;
            log_sectors = Some(log_sectors.unwrap_or(u64::MAX).min(room));
        }
        let created_unix_seconds = freshest.created_unix_seconds();
        let has_parity = geometry.parity_count() > 0;
        Ok(Record {
            state: RecordState::Importing,
            shelf: shelf.0,
            next_shelf: None,
            lun: lun.get(),
            part: 0,
            parts: 1,
            further: Vec::new(),
            namers: Vec::new(),
            element: 0,
            elements: geometry.members(),
            level: geometry.level(),
            label: None,
            online: false,
            serial: serial(freshest.set_uuid(), lun, created_unix_seconds),
            config_string: Vec::new(),
            created_unix_seconds,
            log: log_sectors
                .filter(|_| has_parity)
                .and_then(LogParameters::for_areas),
            parity_synced: has_parity,
            lost: Vec::new(),
            away: Vec::new(),
            scrub: ScrubRecord::default(),
            access: AccessRecord::default(),
        })
    }

    fn candidate(
        &mut self,
        device: &Device,
        geometry: &Geometry,
        record: &Record,
        element: u8,
    ) -> Result<Candidate, String> {
        let superblock = &device.superblock;
        let drives = &mut self.drives;
        let bitmap = if superblock.has_bitmap() {
            Some(read_bitmap(drives, device.drive, superblock, geometry)?)
        } else {
            None
        };
        Ok(Candidate {
            drive: device.drive,
            superblock: superblock.clone(),
            geometry: superblock.geometry().map_err(|error| error.to_string())?,
            stored: StoredRecord {
                // The first record goes to the other slot, slot 0.
                slot: 1,
                generation: 0,
                record: Record {
                    element,
                    ..record.clone()
                },
            },
            bad_blocks: bad_blocks::read(drives, device.drive, superblock)?,
            bitmap,
        })
    }

    /// Whether a set that others made can be a LUN as it is.
    fn check_import(&self, set: &Set) -> Result<(), String> {
        let raid = &set.raid;
        if let Some((drive, what)) = set.spurious.first() {
            return Err(format!("drive {} is {what}", self.drive_name(*drive)));
        }
        if let Some(drive) = set.given_up.first() {
            let drive = self.drive_name(*drive);
            return Err(format!("Linux noted bad blocks on drive {drive}"));
        }
        if !raid.rivals.is_empty() {
            return Err("its halves were served apart; stop one of them with Linux".to_owned());
        }
        if let Some(reason) = raid.refusal() {
            return Err(reason);
        }
        if let Some(reason) = unfit_unit(&self.drives, raid) {
            return Err(reason);
        }
        if raid.is_dirty && raid.geometry.parity_count() > 0 {
            return Err(
                "its parity may not match, because it was not stopped in order; let Linux \
                 resynchronise it"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Writes the records of an array that is taken over, or leaves none.
    fn write_import(&mut self, mut raid: Raid) -> Result<(), AdminError> {
        let (id, number) = (raid.id, raid.id.lun);
        raid.generation = 0;
        let drives: Vec<(u8, DriveSlot)> = raid
            .elements()
            .filter_map(|(element, member)| Some((element, member.drive()?)))
            .collect();
        let record = raid.record.clone();
        let complete = Record {
            state: RecordState::Complete,
            ..record.clone()
        };
        self.raids.insert(id, raid);
        let Some(rounds) = &mut self.rounds(id) else {
            return Err(AdminError::NoSuchLun(number));
        };
        let mut failures = rounds.write_records(1, &record);
        let is_begun = failures.is_empty();
        if is_begun {
            failures = rounds.write_records(2, &complete);
        }
        rounds.raid.generation = 2;
        rounds.raid.record = complete;
        if failures.is_empty() {
            for (element, drive) in drives {
                self.drives.claim(drive, id.element(element));
            }
            return Ok(());
        }
        let mut text = format!("LUN {number} was not made: {}", reasons(&failures));
        if let Some(raid) = self.raids.remove(&id) {
            let left = self.erase_records(&raid);
            if !left.is_empty() {
                text.push_str("; not erased, so that it may show after a restart: ");
                text.push_str(&left.join("; "));
            }
        }
        Err(AdminError::Io(text))
    }

    /// An import was interrupted: the array is as it was.
    pub(super) fn discard_import(&mut self, raid: &Raid) {
        let number = raid.id.lun;
        let failures = self.erase_records(raid);
        for member in &raid.members {
            if let (Some(drive), Some(metadata)) = (member.drive(), member.metadata()) {
                let name = metadata.superblock.name();
                let what = format!("a member of md array '{name}'");
                self.drives.set_usage(drive, Usage::Foreign(what));
            }
        }
        self.notices.push(format!(
            "taking over an array as LUN {number} was interrupted; the array is as it was"
        ));
        let not_erased = |reason| format!("not erased: {reason}");
        self.notices.extend(failures.into_iter().map(not_erased));
    }

    /// Erases our records, and nothing else.
    fn erase_records(&mut self, raid: &Raid) -> Vec<String> {
        let mut failures = Vec::new();
        for (drive, metadata) in raid
            .members
            .iter()
            .filter_map(|m| Some((m.drive()?, m.metadata()?)))
        {
            for slot in Metadata::places(&metadata.superblock).slots {
                failures.extend(
                    self.drives
                        .write(drive, slot.sector, &[0; BLOCK_BYTES])
                        .err(),
                );
            }
        }
        failures
    }
}

/// How many sectors of a device there are for a redo log. The device must have room for our records,
/// beside what md has there.
fn headroom(device: &Device) -> Result<u64, String> {
    let superblock = &device.superblock;
    let data_offset = superblock.data_offset_sectors();
    let end = data_offset.checked_add(superblock.data_sectors());
    if end.is_none_or(|end| end > device.size_sectors) {
        return Err("the array is longer than the drive".to_owned());
    }
    let places = MetadataPlaces::of(data_offset).ok_or_else(|| {
        format!("its data begins at sector {data_offset}, too early for our records")
    })?;
    let of_md = [
        superblock.bitmap_area(),
        superblock.bad_blocks_area().map(|(area, _)| area),
    ];
    let overlaps = |ours: &Area| {
        let mut areas = of_md.iter().flatten();
        areas.any(|md| {
            md.sector < ours.sector + ours.sectors && ours.sector < md.sector + md.sectors
        })
    };
    if places.slots.iter().any(overlaps) {
        return Err("md keeps its bitmap or bad-block log where our records go".to_owned());
    }
    let log = places.redo_log;
    Ok(if overlaps(&log) { 0 } else { log.sectors })
}

/// A UUID as md prints it.
pub(super) fn md_uuid(uuid: Uuid) -> String {
    let digits = uuid.simple().to_string();
    let (a, b, c, d) = (&digits[..8], &digits[8..16], &digits[16..24], &digits[24..]);
    format!("{a}:{b}:{c}:{d}")
}

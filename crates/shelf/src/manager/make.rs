//! `make`: a new LUN.
//!
//! How it survives a crash at any write: every member gets a record that says `Making`, then its
//! superblock; when all have both, the records turn to `Complete`. One complete record makes the
//! LUN, and a start completes the others; without one a start erases what is there. A raw LUN is not
//! recorded; an md superblock on its drive is erased first, then the records that it leads to.

use super::drives::{Entry, Usage};
use super::members::{expect_unused, up};
use super::raid::{Member, Metadata, Raid};
use super::removal::erase_drive;
use super::rounds::{md_name, reasons};
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, MakeRequest, MemberChoice, PartId, check_label};
use aoe::Shelf;
use raid::bad_blocks::BadBlocks;
use raid::bitmap::Bitmap;
use raid::drive_record::Mark;
use raid::geometry::{CHUNK_SECTORS_DEFAULT, GeometryError, is_striped, member_count_rule};
use raid::layout::{DEVICE_SECTORS_MIN, MemberLayout, MetadataPlaces, SUPERBLOCK_SECTOR};
use raid::log::LogParameters;
use raid::md::raw::BLOCK_BYTES;
use raid::md::{EMPTY_BAD_BLOCK_LOG, NewMember, Resync, Superblock, SuperblockError};
use raid::record::{AccessRecord, Record, RecordState, ScrubRecord};
use raid::regions::RegionSet;
use raid::{Geometry, Level};
use uuid::Uuid;

/// A member that was found fit.
pub(super) struct Fit {
    element: u8,
    drive: DriveSlot,
    layout: MemberLayout,
}

impl Manager {
    /// What a LUN would be, in bytes. Nothing is written.
    pub(super) fn plan_lun(&mut self, request: &MakeRequest) -> Result<u64, AdminError> {
        let (raid, _) = self.check_make(request)?;
        Ok(raid.geometry.capacity_sectors() * 512)
    }

    /// The first RAID of a LUN that is to be made.
    fn check_make(&mut self, request: &MakeRequest) -> Result<(Raid, Vec<Fit>), AdminError> {
        self.shelf.ok_or(AdminError::ShelfUnset)?;
        if self.lun(request.lun).is_ok() {
            return Err(AdminError::LunExists(request.lun));
        }
        if let Some(label) = &request.label {
            check_label(label)?;
            if request.level == Level::Raw {
                return Err(AdminError::NotRecorded(request.lun));
            }
        }
        self.check_no_second_set(request)?;
        self.plan_raid(request, PartId::first(request.lun))
    }

    pub(super) fn make_lun(&mut self, request: &MakeRequest) -> Result<(), AdminError> {
        let (raid, fits) = self.check_make(request)?;
        let id = raid.id;
        // One that is kept for a LUN of that number was for another one.
        self.free_spares_of(id.lun).map_err(AdminError::Io)?;
        if raid.is_recorded() {
            self.write_new(raid)?;
        } else {
            for fit in &fits {
                self.erase_md(fit)?;
            }
            self.raids.insert(id, raid);
        }
        self.claim(id, &fits);
        Ok(())
    }

    /// The drives are those of a RAID from now on.
    pub(super) fn claim(&mut self, id: PartId, fits: &[Fit]) {
        for fit in fits {
            self.drives.claim(fit.drive, id.element(fit.element));
        }
    }

    /// A RAID that is to be made, and what its members are to be. Nothing is written.
    pub(super) fn plan_raid(
        &mut self,
        request: &MakeRequest,
        id: PartId,
    ) -> Result<(Raid, Vec<Fit>), AdminError> {
        let level = request.level;
        let chunk = chunk_sectors(request)?;
        let shelf = self.shelf.ok_or(AdminError::ShelfUnset)?;
        // One sector per member is enough to ask whether the level takes that many.
        let members = u8::try_from(request.members.len()).unwrap_or(u8::MAX);
        let counted = Geometry::new(level, members, chunk, u64::from(chunk))
            .map_err(|error| refused_geometry(&error, request))?;
        let fits = self.fit_members(request)?;
        let is_there = |element| fits.iter().any(|fit| fit.element == element);
        if !counted.can_serve(is_there) {
            return Err(AdminError::TooManyMissing { level });
        }
        let member_sectors = fits
            .iter()
            .map(|fit| fit.layout.data_sectors)
            .min()
            .unwrap_or(0);
        let geometry = Geometry::new(level, members, chunk, member_sectors)
            .map_err(|error| refused_geometry(&error, request))?;
        let raid = self.new_raid(request, (id, shelf), geometry, &fits);
        if raid.is_redundant() && raid.bitmap.is_none() {
            return Err(AdminError::Io(format!(
                "raid {id} cannot be made: its members are too large for a write-intent bitmap"
            )));
        }
        Ok((raid, fits))
    }

    /// Refuses a number that a set on other drives has, too: after a restart there would be two of
    /// them. A set over whose drives the new LUN is made (with `-f`) is no more.
    fn check_no_second_set(&self, request: &MakeRequest) -> Result<(), AdminError> {
        let drives: Vec<String> = self
            .drives
            .iter()
            .filter(|entry| matches!(entry.usage, Usage::Second { lun, .. } if lun == request.lun))
            .map(|entry| entry.drive.slot)
            .filter(|slot| !request.members.contains(&MemberChoice::Drive(*slot)))
            .map(|slot| self.drive_name(slot))
            .collect();
        if drives.is_empty() {
            return Ok(());
        }
        Err(AdminError::LunElsewhere {
            lun: request.lun,
            drives: drives.join(", "),
        })
    }

    /// Checks every member that was named.
    fn fit_members(&self, request: &MakeRequest) -> Result<Vec<Fit>, AdminError> {
        let mut fits: Vec<Fit> = Vec::with_capacity(request.members.len());
        for (element, choice) in (0..).zip(&request.members) {
            let MemberChoice::Drive(slot) = *choice else {
                continue;
            };
            let drive = self.drive_name(slot);
            let Some(entry) = self.drives.get(slot) else {
                return Err(AdminError::NoSuchDrive(drive));
            };
            if fits.iter().any(|fit| fit.drive == slot) {
                return Err(AdminError::DriveInUse(drive));
            }
            let layout = fit_drive(entry, drive, request)?;
            self.expect_quiet(slot)?;
            fits.push(Fit {
                element,
                drive: slot,
                layout,
            });
        }
        Ok(fits)
    }

    fn new_raid(
        &mut self,
        request: &MakeRequest,
        (id, shelf): (PartId, Shelf),
        geometry: Geometry,
        fits: &[Fit],
    ) -> Raid {
        let created_unix_seconds = (self.now_unix_seconds)();
        let set_uuid = (self.new_uuid)();
        let is_unsynced = geometry.level().is_redundant() && !request.clean;
        let name = md_name(shelf.0, id);
        let members = self.new_members(&geometry, fits, |device_uuid, fit| NewMember {
            set_uuid,
            device_uuid,
            name: &name,
            created_unix_seconds,
            geometry: &geometry,
            layout: fit.layout,
            element: fit.element,
            resync: Resync::Clean,
        });
        let bitmap = new_bitmap(set_uuid, &geometry, fits, is_unsynced);
        let record = Record {
            state: RecordState::Making,
            shelf: shelf.0,
            next_shelf: None,
            lun: id.lun.get(),
            part: id.part,
            parts: id.part + 1,
            further: Vec::new(),
            namers: Vec::new(),
            element: 0,
            elements: geometry.members(),
            level: geometry.level(),
            label: request.label.clone(),
            online: false,
            serial: serial(set_uuid, id.lun, created_unix_seconds),
            config_string: Vec::new(),
            created_unix_seconds,
            log: log_parameters(&geometry, fits),
            parity_synced: false,
            lost: Vec::new(),
            away: Vec::new(),
            scrub: ScrubRecord::default(),
            access: AccessRecord::default(),
        };
        Raid {
            set_uuid: (geometry.level() != Level::Raw).then_some(set_uuid),
            is_dirty: is_unsynced,
            is_unsynced,
            unsynced_regions: bitmap.as_ref().map(|bitmap| bitmap.set().clone().into()),
            bitmap,
            ..Raid::new(id, geometry, members, record)
        }
    }

    fn new_members<'a>(
        &mut self,
        geometry: &Geometry,
        fits: &[Fit],
        describe: impl Fn(Uuid, &Fit) -> NewMember<'a>,
    ) -> Vec<Member> {
        let mut members = vec![Member::Missing; usize::from(geometry.members())];
        for fit in fits {
            let metadata = (geometry.level() != Level::Raw).then(|| {
                Box::new(Metadata {
                    superblock: Superblock::new(&describe((self.new_uuid)(), fit)),
                    // The first record goes to the other slot, slot 0.
                    slot: 1,
                    has_bitmap: false,
                    bad_blocks: BadBlocks::default(),
                })
            });
            members[usize::from(fit.element)] = Member::Normal {
                drive: fit.drive,
                data_offset_sectors: fit.layout.data_offset_sectors,
                metadata,
                twin: None,
            };
        }
        members
    }

    /// Erases what an md member carries, so that no LUN comes back over a raw one, and the mark of a job. A
    /// drive with neither is left as it is.
    fn erase_md(&mut self, fit: &Fit) -> Result<(), AdminError> {
        if fit.layout.data_sectors < DEVICE_SECTORS_MIN {
            return Ok(());
        }
        let mut block = [0; BLOCK_BYTES];
        let erased = self
            .drives
            .read(fit.drive, SUPERBLOCK_SECTOR, &mut block)
            .and_then(|()| match Superblock::decode(&block) {
                Err(SuperblockError::NotMd) if Mark::decode(&block).is_none() => Ok(()),
                _ => erase_drive(&mut self.drives, fit.drive),
            });
        erased.map_err(|reason| AdminError::Io(format!("the LUN was not made: {reason}")))
    }

    /// Writes a new LUN to its drives, or leaves nothing of it there.
    fn write_new(&mut self, raid: Raid) -> Result<(), AdminError> {
        let (id, number) = (raid.id, raid.id.lun);
        let drives: Vec<_> = raid.members.iter().flat_map(Member::drives).collect();
        self.raids.insert(id, raid);
        let Err(reason) = self.write_making(id, &drives) else {
            return self.write_complete(id);
        };
        self.raids.remove(&id);
        let mut text = format!("LUN {number} was not made: {reason}");
        for drive in drives {
            if let Err(reason) = erase_drive(&mut self.drives, drive) {
                text.push_str("; not erased: ");
                text.push_str(&reason);
            }
        }
        Err(AdminError::Io(text))
    }

    /// Writes everything but the word that completes the LUN.
    pub(super) fn write_making(&mut self, id: PartId, drives: &[DriveSlot]) -> Result<(), String> {
        // A boot sector or file system at the start would make others take the drive for theirs.
        for &drive in drives {
            self.drives.write(drive, 0, &[0; 4096])?;
        }
        let Some(mut rounds) = self.rounds(id) else {
            unreachable!("the LUN was just put there")
        };
        rounds.write_bad_block_logs(&EMPTY_BAD_BLOCK_LOG)?;
        let record = rounds.raid.record.clone();
        rounds.raid.generation = 1;
        rounds.raid.events = 1;
        let mut failures = rounds.write_records(1, &record);
        if failures.is_empty() {
            failures = rounds.write_bitmap_for_events();
        }
        if failures.is_empty() {
            let resync = rounds.present_resync();
            failures = rounds.write_superblocks(resync);
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(reasons(&failures))
        }
    }

    /// Completes a LUN, or removes it as a complete one is removed.
    fn write_complete(&mut self, id: PartId) -> Result<(), AdminError> {
        let number = id.lun;
        let Some(rounds) = &mut self.rounds(id) else {
            unreachable!("the LUN was just put there")
        };
        let record = Record {
            state: RecordState::Complete,
            ..rounds.raid.record.clone()
        };
        let failures = rounds.write_records(2, &record);
        rounds.raid.generation = 2;
        if failures.is_empty() {
            rounds.raid.record = record;
            return Ok(());
        }
        let mut text = format!("LUN {number} was not made: {}", reasons(&failures));
        match self.erase_lun(number) {
            Ok(not_erased) if not_erased.is_empty() => {}
            Ok(not_erased) => {
                text.push_str("; not erased: ");
                text.push_str(&not_erased.join("; "));
            }
            Err(reason) => {
                text.push_str("; it may show after a restart: ");
                text.push_str(&reason);
            }
        }
        self.forget(number);
        Err(AdminError::Io(text))
    }
}

/// The write-intent bitmap of a redundant RAID; all bits are set if its mirrors may differ. `None` when
/// there is no room for one.
fn new_bitmap(
    set_uuid: Uuid,
    geometry: &Geometry,
    fits: &[Fit],
    is_unsynced: bool,
) -> Option<Bitmap> {
    if !geometry.level().is_redundant() {
        return None;
    }
    let room_sectors = fits
        .iter()
        .filter_map(|fit| MetadataPlaces::of(fit.layout.data_offset_sectors))
        .map(|places| places.bitmap.sectors)
        .min()?;
    let mut bitmap = Bitmap::new(set_uuid, geometry, room_sectors)?;
    if is_unsynced {
        bitmap.replace(&RegionSet::full(bitmap.map().regions()));
    }
    Some(bitmap)
}

/// Whether a drive can be a member, and how it is divided.
fn fit_drive(
    entry: &Entry,
    drive: String,
    request: &MakeRequest,
) -> Result<MemberLayout, AdminError> {
    let size_sectors = up(entry, &drive)?;
    expect_unused(entry, &drive, request.force)?;
    let (layout, needed_sectors) = if request.level == Level::Raw {
        let whole = MemberLayout {
            data_offset_sectors: 0,
            data_sectors: size_sectors,
        };
        ((size_sectors > 0).then_some(whole), 1)
    } else {
        (
            MemberLayout::new(size_sectors, chunk_sectors(request)?).ok(),
            DEVICE_SECTORS_MIN,
        )
    };
    layout.ok_or(AdminError::DriveTooSmall {
        drive,
        size_bytes: size_sectors * 512,
        needed_bytes: needed_sectors * 512,
    })
}

/// The redo log of a LUN with parity, in the first epoch.
fn log_parameters(geometry: &Geometry, fits: &[Fit]) -> Option<LogParameters> {
    if geometry.parity_count() == 0 {
        return None;
    }
    let area_sectors = |fit: &Fit| {
        MetadataPlaces::of(fit.layout.data_offset_sectors)
            .map_or(0, |places| places.redo_log.sectors)
    };
    LogParameters::for_areas(fits.iter().map(area_sectors).min()?)
}

/// Sectors of a chunk of the new LUN.
fn chunk_sectors(request: &MakeRequest) -> Result<u32, AdminError> {
    match request.chunk_kib {
        None => Ok(CHUNK_SECTORS_DEFAULT),
        Some(_) if !is_striped(request.level) => Err(AdminError::NoChunks(request.level)),
        Some(kib) if kib.is_power_of_two() && (16..=512).contains(&kib) => Ok(kib * 2),
        Some(kib) => Err(AdminError::InvalidChunk(kib)),
    }
}

fn refused_geometry(error: &GeometryError, request: &MakeRequest) -> AdminError {
    match error {
        GeometryError::MemberCount { level, .. } => AdminError::WrongMemberCount {
            level: *level,
            takes: member_count_rule(*level),
            given: request.members.len(),
        },
        error => AdminError::Io(format!("LUN {} cannot be made: {error}", request.lun)),
    }
}

/// A serial number of 20 characters in the shape of Coraid's: hash, LUN, time of creation.
pub(super) fn serial(set_uuid: Uuid, lun: LunNumber, created_unix_seconds: u64) -> String {
    let hash = set_uuid.as_fields().0;
    let seconds = created_unix_seconds & 0xffff_ffff;
    format!("{hash:08x}-{:02x}-{seconds:08x}", lun.get())
}

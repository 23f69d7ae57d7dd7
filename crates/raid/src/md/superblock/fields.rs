//! The fields of a superblock: what it says, and what may be changed.

use super::{
    DEVICES_MAX, Features, LAYOUT_LEFT_SYMMETRIC, LAYOUT_NEAR_2, Resync, Role, SECONDS_MASK,
    SHELF_MICROSECONDS, Superblock, UnsupportedArray,
};
use crate::layout::{Area, MetadataPlaces, SUPERBLOCK_SECTOR, SUPERBLOCK_SECTORS};
use crate::{Geometry, GeometryError, Level};
use uuid::Uuid;
use zerocopy::byteorder::little_endian::{U32, U64};

/// Most sectors of a bad-block log; a kernel refuses more.
const BAD_BLOCKS_SECTORS_MAX: u64 = 8;

/// Most sectors of a bitmap that others made and we read: enough for [`crate::regions::REGIONS_MAX`].
const BITMAP_SECTORS_MAX: u64 = 1 + crate::regions::REGIONS_MAX as u64 / 8 / 512;

impl Superblock {
    /// UUID of the array.
    #[must_use]
    pub const fn set_uuid(&self) -> Uuid {
        Uuid::from_bytes(self.raw.set_uuid)
    }

    /// UUID of this device.
    #[must_use]
    pub const fn device_uuid(&self) -> Uuid {
        Uuid::from_bytes(self.raw.device_uuid)
    }

    /// Name of the array, up to the first NUL; what is not UTF-8 is replaced.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self
            .raw
            .set_name
            .split(|&byte| byte == 0)
            .next()
            .unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// Names the array; at most 32 bytes, the rest is cut.
    pub fn set_name(&mut self, name: &str) {
        self.raw.set_name = [0; 32];
        for (byte, of_name) in self.raw.set_name.iter_mut().zip(name.bytes()) {
            *byte = of_name;
        }
    }

    /// When the array was made.
    #[must_use]
    pub const fn created_unix_seconds(&self) -> u64 {
        self.raw.ctime.get() & SECONDS_MASK
    }

    /// Device number of this device: its permanent index into the roles.
    #[must_use]
    pub const fn dev_number(&self) -> u32 {
        self.raw.dev_number.get()
    }

    /// Sector of this device where data begins.
    #[must_use]
    pub const fn data_offset_sectors(&self) -> u64 {
        self.raw.data_offset.get()
    }

    /// Sectors of this device usable from there.
    #[must_use]
    pub const fn data_sectors(&self) -> u64 {
        self.raw.data_size.get()
    }

    /// Count of updates.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.raw.events.get()
    }

    /// Notes an update by the shelf.
    pub const fn set_events(&mut self, events: u64, now_unix_seconds: u64) {
        self.raw.events = U64::new(events);
        self.raw.utime = U64::new(now_unix_seconds & SECONDS_MASK | SHELF_MICROSECONDS << 40);
    }

    /// Whether the shelf wrote it last. Linux writes whole seconds as the time of an update, the shelf
    /// always the same fraction of one; what the shelf keeps elsewhere of an array that Linux changed
    /// meanwhile, such as the redo log, is void.
    #[must_use]
    pub const fn is_written_by_shelf(&self) -> bool {
        self.raw.utime.get() >> 40 == SHELF_MICROSECONDS
    }

    /// Whether the copies agree.
    #[must_use]
    pub const fn resync(&self) -> Resync {
        match self.raw.resync_offset.get() {
            u64::MAX => Resync::Clean,
            sector => Resync::DirtyFrom(sector),
        }
    }

    /// Says whether the copies agree.
    pub const fn set_resync(&mut self, resync: Resync) {
        self.raw.resync_offset = U64::new(match resync {
            Resync::Clean => u64::MAX,
            Resync::DirtyFrom(sector) => sector,
        });
    }

    /// Role of a device; a device beyond the table has none.
    #[must_use]
    pub fn role(&self, dev_number: u32) -> Role {
        usize::try_from(dev_number)
            .ok()
            .and_then(|index| self.roles.get(index))
            .map_or(Role::Spare, |&role| role)
    }

    /// Gives a device its role. A table that has no place for it gets one.
    ///
    /// # Panics
    /// For a device number that no superblock has a place for.
    pub fn set_role(&mut self, dev_number: u32, role: Role) {
        let index = usize::try_from(dev_number).expect("device numbers are small");
        assert!(index < DEVICES_MAX, "device numbers are below 1920");
        if index >= self.roles.len() {
            self.roles.resize(index + 1, Role::Spare);
        }
        self.roles[index] = role;
    }

    /// The devices that the table calls members, each with its md role. Linux gives a device that it
    /// rebuilt a number of its own, beyond those of the members that the array was made with.
    pub fn active_devices(&self) -> impl Iterator<Item = (u32, u16)> {
        (0..)
            .zip(&self.roles)
            .filter_map(|(device, role)| match role {
                Role::Active(role) => Some((device, *role)),
                _ => None,
            })
    }

    /// Takes over the whole table of another member of the array.
    pub fn copy_roles(&mut self, other: &Self) {
        self.roles.clone_from(&other.roles);
    }

    /// Calls these devices members, by number and md role. Every other one that was a member, or that
    /// the array was made with, is failed.
    ///
    /// # Panics
    /// As [`Self::set_role`].
    pub fn set_active_devices(&mut self, active: &[(u32, u16)]) {
        let made_with = self.raw.raid_disks.get();
        for (device, role) in (0..).zip(&mut self.roles) {
            if matches!(role, Role::Active(_)) || device < made_with {
                *role = Role::Faulty;
            }
        }
        for (device, role) in active {
            self.set_role(*device, Role::Active(*role));
        }
    }

    /// How far this device is rebuilt, in sectors from where its data begins; `None` for a device that
    /// holds everything.
    #[must_use]
    pub const fn recovery(&self) -> Option<u64> {
        if self.raw.feature_map.get() & Features::RECOVERY_OFFSET.bits() == 0 {
            return None;
        }
        Some(self.raw.recovery_offset.get())
    }

    /// Says how far this device is rebuilt, in sectors from where its data begins; `None` for a device
    /// that holds everything.
    pub const fn set_recovery(&mut self, done_sectors: Option<u64>) {
        let bit = Features::RECOVERY_OFFSET.bits();
        let others = self.raw.feature_map.get() & !bit;
        let (feature_map, recovery_offset) = match done_sectors {
            Some(sectors) => (others | bit, sectors),
            None => (others, 0),
        };
        self.raw.feature_map = U32::new(feature_map);
        self.raw.recovery_offset = U64::new(recovery_offset);
    }

    /// Whether this device is to take the place of another one of the same role, which is still in use:
    /// md's hot replace. It is written like the other, and not read.
    #[must_use]
    pub const fn is_replacement(&self) -> bool {
        self.raw.feature_map.get() & Features::REPLACEMENT.bits() != 0
    }

    /// Says whether this device is to take the place of another one of the same role.
    pub const fn set_replacement(&mut self, is_replacement: bool) {
        self.set_feature(Features::REPLACEMENT, is_replacement);
    }

    /// Whether Linux would do wrong with this device: a replacement in an array that it has to
    /// resynchronise, unless it is a raid6. Such a superblock is encoded so that Linux leaves the device
    /// alone.
    #[must_use]
    pub fn is_spoilt_by_linux(&self) -> bool {
        self.is_replacement() && self.raw.level.get() != 6 && self.resync() != Resync::Clean
    }

    /// A number for a device that joins the array, but none of `avoided`: the first one beyond those of the
    /// members that it was made with that no device had yet, so that a device that left is not mistaken for
    /// its successor. When all 1920 were given, one of a device that left; which one changes with the event
    /// count. `None` when all are in use.
    #[must_use]
    pub fn free_dev_number(&self, avoided: &[u32]) -> Option<u32> {
        let first = self.raw.raid_disks.get();
        let is_free = |device: u32, wanted: Role| {
            device >= first && !avoided.contains(&device) && self.role(device) == wanted
        };
        let limit = u32::try_from(DEVICES_MAX).unwrap_or(u32::MAX);
        let never_used = (first..limit).find(|device| is_free(*device, Role::Spare));
        never_used.or_else(|| {
            let left = || (first..limit).filter(|device| is_free(*device, Role::Faulty));
            let count = left().count().max(1) as u64;
            let turn = usize::try_from(self.events() % count).unwrap_or(0);
            left().nth(turn)
        })
    }

    /// Whether sectors of this device were noted that cannot be read or are out of date.
    #[must_use]
    pub const fn has_bad_blocks(&self) -> bool {
        self.raw.feature_map.get() & Features::BAD_BLOCKS.bits() != 0
    }

    /// Says whether the bad-block log is to be read.
    pub const fn set_has_bad_blocks(&mut self, has: bool) {
        self.set_feature(Features::BAD_BLOCKS, has);
    }

    /// Where the bad-block log lies, and the exponent of its sectors, in 512-byte sectors; `None` when
    /// there is none, or it would lie where none can be.
    #[must_use]
    pub fn bad_blocks_area(&self) -> Option<(Area, u8)> {
        let raw = &self.raw;
        let sectors = u64::from(raw.bad_blocks_sectors.get());
        let area = self.area(raw.bad_blocks_offset.get(), sectors)?;
        (1..=BAD_BLOCKS_SECTORS_MAX)
            .contains(&sectors)
            .then_some((area, raw.bad_blocks_shift))
    }

    /// Whether the array has a write-intent bitmap.
    #[must_use]
    pub const fn has_bitmap(&self) -> bool {
        self.raw.feature_map.get() & Features::BITMAP.bits() != 0
    }

    /// Says whether the array has a write-intent bitmap. Its place stays.
    pub const fn set_has_bitmap(&mut self, has: bool) {
        self.set_feature(Features::BITMAP, has);
    }

    /// Where the write-intent bitmap lies and how much room it has: in an array of ours what
    /// [`crate::layout`] leaves it, else up to the bad-block log or the data. `None` when there is no
    /// bitmap, or it would lie where none can be.
    #[must_use]
    pub fn bitmap_area(&self) -> Option<Area> {
        if !self.has_bitmap() {
            return None;
        }
        let area = self.area(self.raw.bitmap_offset.get(), 1)?;
        let ours = MetadataPlaces::of(self.data_offset_sectors()).map(|places| places.bitmap);
        let log = self.bad_blocks_area().map(|(log, _)| log.sector);
        let log = log.filter(|log| *log > area.sector);
        let ours = ours.filter(|ours| ours.sector == area.sector);
        // Others may have their bad-block log where ours has bits.
        let is_free = |ours: &Area| log.is_none_or(|log| log >= ours.sector + ours.sectors);
        if let Some(ours) = ours.filter(is_free) {
            return Some(ours);
        }
        let end = log.unwrap_or_else(|| self.data_offset_sectors());
        let sectors = (end - area.sector).min(BITMAP_SECTORS_MAX);
        Some(Area { sectors, ..area })
    }

    /// An area of so many sectors at an offset from the superblock, if it lies behind the superblock
    /// and before the data.
    fn area(&self, offset: i32, sectors: u64) -> Option<Area> {
        let sector = SUPERBLOCK_SECTOR.checked_add_signed(i64::from(offset))?;
        let is_free = sector >= SUPERBLOCK_SECTOR + SUPERBLOCK_SECTORS
            && sector + sectors <= self.data_offset_sectors();
        is_free.then_some(Area { sector, sectors })
    }

    pub(super) const fn set_feature(&mut self, feature: Features, is_set: bool) {
        let others = self.raw.feature_map.get() & !feature.bits();
        let own = if is_set { feature.bits() } else { 0 };
        self.raw.feature_map = U32::new(others | own);
    }

    /// The feature bits.
    #[must_use]
    pub const fn feature_bits(&self) -> u32 {
        self.raw.feature_map.get()
    }

    /// What the array is, as far as this version can serve it.
    ///
    /// # Errors
    /// When it has features, a level, a layout or numbers that we do not serve.
    pub fn geometry(&self) -> Result<Geometry, UnsupportedArray> {
        let raw = &self.raw;
        let served = Features::RAID0_LAYOUT
            | Features::BAD_BLOCKS
            | Features::BITMAP
            | Features::RECOVERY_OFFSET
            | Features::REPLACEMENT;
        let served = served.bits();
        if raw.feature_map.get() & !served != 0 {
            return Err(UnsupportedArray::Features(raw.feature_map.get() & !served));
        }
        let (level, layout) = (raw.level.get(), raw.layout.get());
        let level = match (level, layout, raw.raid_disks.get()) {
            (1, _, 1) => Level::Jbod,
            (1, _, _) => Level::Raid1,
            // With members of one size all layouts are one, and old ones say none.
            (0, 0..=2, _) => Level::Raid0,
            (10, LAYOUT_NEAR_2, _) => Level::Raid10,
            (5, LAYOUT_LEFT_SYMMETRIC, _) => Level::Raid5,
            (6, LAYOUT_LEFT_SYMMETRIC, _) => Level::Raid6,
            _ => return Err(UnsupportedArray::Level { level, layout }),
        };
        let members = u8::try_from(raw.raid_disks.get()).unwrap_or(u8::MAX);
        let member_sectors = match level {
            Level::Raid0 => {
                let chunk = u64::from(raw.chunk_sectors.get().max(1));
                raw.data_size.get() / chunk * chunk
            }
            _ => raw.size.get(),
        };
        let geometry = Geometry::new(level, members, raw.chunk_sectors.get(), member_sectors)?;
        if geometry.member_sectors() > raw.data_size.get() {
            return Err(GeometryError::MemberSize { member_sectors }.into());
        }
        Ok(geometry)
    }
}

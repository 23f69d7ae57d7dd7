//! A member's md v1.2 superblock: making, decoding, changing and encoding one.
//!
//! Invariants:
//! * what is encoded is what mdadm writes for the same array, and a kernel of any age takes it: no
//!   feature that we do not use, padding zero, room for 128 roles as mdadm leaves;
//! * but for the replacement of a member while the array is dirty, which no kernel takes. Linux (up to 6.12
//!   at least) fills it before it resynchronises. In a mirror it takes the regions that it goes over for
//!   resynchronised, and copies differ on. In a raid5 it compares parity while it goes over it, which leaves
//!   zeros in the buffer that it then writes to the replacement as parity. In a raid6 it does right. A
//!   feature bit that md does not know keeps the others away; it is there as encoded and nowhere else;
//! * with 128 roles all that counts lies in the first 512 bytes, so that a write of the superblock
//!   is as atomic as a sector is;
//! * the table has a role for every member of the array, whatever was read;
//! * a redundant array that we make has a write-intent bitmap, in the place that [`crate::layout`] has
//!   for it; where others put theirs, it stays;
//! * fields that we have no use for survive decoding and encoding.

use super::raw::{self, BLOCK_BYTES, DEVICES_MAX, Features, HEADER_BYTES, RawSuperblock};
use crate::layout::{MemberLayout, MetadataPlaces, SUPERBLOCK_SECTOR};
use crate::{Geometry, GeometryError, Level};
use uuid::Uuid;
use zerocopy::byteorder::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

mod fields;
mod join;

pub use join::{JoiningDevice, NewSpare};

/// Roles that a new superblock has room for; mdadm's number.
const NEW_ROLES: usize = 128;

/// md's layout word for RAID 10: two near copies.
const LAYOUT_NEAR_2: u32 = 0x102;

/// md's layout word for RAID 0: the original one. With equal members all layouts agree.
const LAYOUT_RAID0_ORIGINAL: u32 = 1;

/// md's layout word for RAID 5 and 6: parity rotates from the last element down, data follows it.
const LAYOUT_LEFT_SYMMETRIC: u32 = 2;

/// Why a block is no superblock that we can read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SuperblockError {
    /// No md magic: nothing of md is here.
    #[error("no md superblock")]
    NotMd,
    /// Another format of md.
    #[error("md superblock of version {0}, not 1")]
    Version(u32),
    /// More roles than fit in the block.
    #[error("md superblock for {0} devices")]
    TooManyDevices(u32),
    /// The checksum is wrong: torn or rotten.
    #[error("md superblock with checksum {found:#010x}, computed {computed:#010x}")]
    Checksum {
        /// As stored.
        found: u32,
        /// As it should be.
        computed: u32,
    },
    /// It says that it lies elsewhere: a copy, or version 1.0 or 1.1.
    #[error("md superblock that belongs to sector {0}")]
    Misplaced(u64),
    /// Its device number has no role.
    #[error("md superblock of device {0}, which it has no role for")]
    DeviceNumber(u32),
    /// More members than it has roles for.
    #[error("md superblock of {members} members with {roles} roles")]
    RaidDisks {
        /// Members of the array.
        members: u32,
        /// Roles in the table.
        roles: u32,
    },
    /// Data would lie over the superblock.
    #[error("md superblock with data at sector {0}")]
    DataOffset(u64),
}

/// Why an array, though readable, is not one that this version can serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnsupportedArray {
    /// Features that are unknown or not served.
    #[error("md feature bits {0:#x}")]
    Features(u32),
    /// A level or layout that is not served.
    #[error("md level {level} with layout {layout:#x}")]
    Level {
        /// Level number.
        level: i32,
        /// Layout word.
        layout: u32,
    },
    /// Numbers that the level cannot have.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

/// What a device is to its array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A member, by its md role number.
    Active(u16),
    /// No device, or a spare.
    Spare,
    /// A failed device.
    Faulty,
    /// The journal, or a code that nobody defined.
    Other(u16),
}

impl Role {
    const fn from_word(word: u16) -> Self {
        match word {
            0xffff => Self::Spare,
            0xfffe => Self::Faulty,
            0..=0xfeff => Self::Active(word),
            other => Self::Other(other),
        }
    }

    const fn word(self) -> u16 {
        match self {
            Self::Spare => 0xffff,
            Self::Faulty => 0xfffe,
            Self::Active(word) | Self::Other(word) => word,
        }
    }
}

/// How far the copies of an array agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resync {
    /// They do.
    Clean,
    /// They may differ from this sector on.
    DirtyFrom(u64),
}

/// What a superblock is made of.
#[derive(Clone, Copy, Debug)]
pub struct NewMember<'a> {
    /// Names the array; the same on all members.
    pub set_uuid: Uuid,
    /// Names this device.
    pub device_uuid: Uuid,
    /// `<shelf>:<lun>`; at most 32 bytes, the rest is cut.
    pub name: &'a str,
    /// The same on all members: mdadm compares it.
    pub created_unix_seconds: u64,
    /// Where the data of the array lies.
    pub geometry: &'a Geometry,
    /// How this device is divided.
    pub layout: MemberLayout,
    /// Which element this device is.
    pub element: u8,
    /// Whether the copies agree.
    pub resync: Resync,
}

/// The superblock of one member.
#[derive(Clone, Debug)]
pub struct Superblock {
    raw: RawSuperblock,
    roles: Vec<Role>,
}

impl Superblock {
    /// Makes the superblock of a new member, with no role for anybody but itself, and no events.
    /// RAID 0 has data of equal size on all members, so that md sees a single zone.
    ///
    /// # Panics
    /// For `raw`, which has no metadata, and a layout without room for it.
    #[must_use]
    pub fn new(member: &NewMember) -> Self {
        let geometry = member.geometry;
        let (level, layout, chunk_sectors, features) = match geometry.level() {
            Level::Jbod | Level::Raid1 => (1, 0, 0, Features::empty()),
            Level::Raid0 => (
                0,
                LAYOUT_RAID0_ORIGINAL,
                geometry.chunk_sectors(),
                Features::RAID0_LAYOUT,
            ),
            Level::Raid10 => (
                10,
                LAYOUT_NEAR_2,
                geometry.chunk_sectors(),
                Features::empty(),
            ),
            Level::Raid5 => (
                5,
                LAYOUT_LEFT_SYMMETRIC,
                geometry.chunk_sectors(),
                Features::empty(),
            ),
            Level::Raid6 => (
                6,
                LAYOUT_LEFT_SYMMETRIC,
                geometry.chunk_sectors(),
                Features::empty(),
            ),
            Level::Raw => unreachable!("raw has no md metadata"),
        };
        let (size, data_size) = if level == 0 {
            (0, geometry.member_sectors())
        } else {
            (geometry.member_sectors(), member.layout.data_sectors)
        };
        let places = MetadataPlaces::of(member.layout.data_offset_sectors)
            .expect("a layout of ours has room for the metadata");
        let role = geometry.md_role(member.element);
        let mut raw = RawSuperblock::new_zeroed();
        raw.magic = U32::new(raw::MAGIC);
        raw.major_version = U32::new(1);
        raw.feature_map = U32::new(features.bits());
        raw.set_uuid = member.set_uuid.into_bytes();
        raw.ctime = U64::new(member.created_unix_seconds & SECONDS_MASK);
        raw.level = I32::new(level);
        raw.layout = U32::new(layout);
        raw.size = U64::new(size);
        raw.chunk_sectors = U32::new(chunk_sectors);
        raw.raid_disks = U32::new(u32::from(geometry.members()));
        raw.data_offset = U64::new(member.layout.data_offset_sectors);
        raw.data_size = U64::new(data_size);
        raw.super_offset = U64::new(SUPERBLOCK_SECTOR);
        raw.dev_number = U32::new(u32::from(role));
        raw.device_uuid = member.device_uuid.into_bytes();
        set_bad_blocks_place(&mut raw, &places);
        if geometry.level().is_redundant() {
            set_bitmap_place(&mut raw, &places);
        }
        raw.utime = raw.ctime;
        let mut superblock = Self {
            raw,
            roles: vec![Role::Spare; NEW_ROLES],
        };
        superblock.set_name(member.name);
        superblock.set_resync(member.resync);
        superblock.set_role(u32::from(role), Role::Active(role));
        superblock
    }

    /// Reads the block at sector 8 of a device.
    ///
    /// # Errors
    /// When it is no superblock of version 1.2, or a damaged one. Features are not judged here.
    pub fn decode(block: &[u8; BLOCK_BYTES]) -> Result<Self, SuperblockError> {
        let Ok((raw, _)) = RawSuperblock::read_from_prefix(block) else {
            unreachable!("the header is shorter than its block")
        };
        if raw.magic.get() != raw::MAGIC {
            return Err(SuperblockError::NotMd);
        }
        if raw.major_version.get() != 1 || raw.pad0.get() != 0 {
            return Err(SuperblockError::Version(raw.major_version.get()));
        }
        let devices = raw.max_dev.get();
        let devices_usize = usize::try_from(devices)
            .ok()
            .filter(|&devices| devices <= DEVICES_MAX)
            .ok_or(SuperblockError::TooManyDevices(devices))?;
        let used_bytes = HEADER_BYTES + devices_usize * 2;
        let (found, computed) = (raw.checksum.get(), raw::checksum(&block[..used_bytes]));
        if found != computed {
            return Err(SuperblockError::Checksum { found, computed });
        }
        if raw.super_offset.get() != SUPERBLOCK_SECTOR {
            return Err(SuperblockError::Misplaced(raw.super_offset.get()));
        }
        if raw.dev_number.get() >= devices {
            return Err(SuperblockError::DeviceNumber(raw.dev_number.get()));
        }
        if raw.raid_disks.get() > devices {
            return Err(SuperblockError::RaidDisks {
                members: raw.raid_disks.get(),
                roles: devices,
            });
        }
        if raw.data_offset.get() <= SUPERBLOCK_SECTOR {
            return Err(SuperblockError::DataOffset(raw.data_offset.get()));
        }
        let roles = block[HEADER_BYTES..used_bytes]
            .chunks_exact(2)
            .map(|word| Role::from_word(u16::from_le_bytes([word[0], word[1]])))
            .collect();
        let mut superblock = Self { raw, roles };
        // Elsewhere the bit stays, and makes the array one that is not served.
        if superblock.is_spoilt_by_linux() {
            superblock.set_feature(Features::WITHHELD, false);
        }
        Ok(superblock)
    }

    /// The block to write at sector 8. The last padding is zero whatever was read: kernels up to
    /// 6.18 refuse anything else.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        let used_bytes = HEADER_BYTES + self.roles.len() * 2;
        for (bytes, role) in block[HEADER_BYTES..].chunks_exact_mut(2).zip(&self.roles) {
            bytes.copy_from_slice(&role.word().to_le_bytes());
        }
        let mut raw = self.raw;
        if self.is_spoilt_by_linux() {
            raw.feature_map = U32::new(raw.feature_map.get() | Features::WITHHELD.bits());
        }
        raw.max_dev = U32::new(
            u32::try_from(self.roles.len()).expect("at most 1920 roles were read or made"),
        );
        raw.pad3 = [0; 32];
        block[..HEADER_BYTES].copy_from_slice(raw.as_bytes());
        raw.checksum = U32::new(raw::checksum(&block[..used_bytes]));
        block[..HEADER_BYTES].copy_from_slice(raw.as_bytes());
        block
    }
}

/// Seconds are the low 40 bits of md's times.
const SECONDS_MASK: u64 = (1 << 40) - 1;

/// The microseconds above them, in the time of an update by the shelf.
const SHELF_MICROSECONDS: u64 = 42;

fn set_bad_blocks_place(raw: &mut RawSuperblock, places: &MetadataPlaces) {
    let offset = places.bad_blocks.sector - SUPERBLOCK_SECTOR;
    raw.bad_blocks_offset = I32::new(i32::try_from(offset).expect("below 4096"));
    raw.bad_blocks_sectors =
        U16::new(u16::try_from(places.bad_blocks.sectors).expect("one 4 KiB block"));
}

/// Says that there is a write-intent bitmap, in its place.
fn set_bitmap_place(raw: &mut RawSuperblock, places: &MetadataPlaces) {
    let offset = places.bitmap.sector - SUPERBLOCK_SECTOR;
    raw.bitmap_offset = I32::new(i32::try_from(offset).expect("below 4096"));
    raw.feature_map = U32::new(raw.feature_map.get() | Features::BITMAP.bits());
}

#[cfg(test)]
#[path = "superblock_tests.rs"]
mod tests;

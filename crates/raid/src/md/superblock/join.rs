//! Superblocks of devices that join an array, and of spares that may.

use super::{
    Features, NEW_ROLES, Role, SECONDS_MASK, SUPERBLOCK_SECTOR, Superblock, set_bad_blocks_place,
};
use crate::layout::{MemberLayout, MetadataPlaces};
use crate::md::raw::{self, RawSuperblock};
use uuid::Uuid;
use zerocopy::FromZeros;
use zerocopy::byteorder::little_endian::{I32, U32, U64};

/// A device that takes the place of a member.
#[derive(Clone, Copy, Debug)]
pub struct JoiningDevice {
    /// Names this device.
    pub device_uuid: Uuid,
    /// Its number; see [`Superblock::free_dev_number`].
    pub dev_number: u32,
    /// The md role that it takes.
    pub role: u16,
    /// How it is divided.
    pub layout: MemberLayout,
}

/// A device that waits for a member to fail.
#[derive(Clone, Copy, Debug)]
pub struct NewSpare<'a> {
    /// Names the array of which this is the only device.
    pub set_uuid: Uuid,
    /// Names this device.
    pub device_uuid: Uuid,
    /// At most 32 bytes, the rest is cut.
    pub name: &'a str,
    /// When it became a spare.
    pub created_unix_seconds: u64,
    /// How it is divided.
    pub layout: MemberLayout,
}

impl Superblock {
    /// The superblock of a device that joins the array of this one, with nothing rebuilt on it yet.
    /// Everything that md compares between members is as on this one. The role stands in the table of
    /// the new device only.
    ///
    /// # Panics
    /// For a layout without room for the metadata, and a number or role beyond the table.
    #[must_use]
    pub fn join(&self, device: &JoiningDevice) -> Self {
        let mut joined = self.clone();
        let raw = &mut joined.raw;
        raw.data_offset = U64::new(device.layout.data_offset_sectors);
        raw.data_size = U64::new(device.layout.data_sectors);
        raw.dev_number = U32::new(device.dev_number);
        raw.device_uuid = device.device_uuid.into_bytes();
        raw.device_flags = 0;
        raw.corrected_reads = U32::new(0);
        let of_others = Features::BAD_BLOCKS | Features::REPLACEMENT;
        raw.feature_map = U32::new(raw.feature_map.get() & !of_others.bits());
        set_bad_blocks_place(raw, &places(&device.layout));
        joined.set_recovery(Some(0));
        joined.set_role(device.dev_number, Role::Active(device.role));
        joined
    }

    /// The superblock of a copy of this device, which takes its place: everything is as here, but for the
    /// name of the device.
    #[must_use]
    pub fn copied(&self, device_uuid: Uuid) -> Self {
        let mut copied = self.clone();
        copied.raw.device_uuid = device_uuid.into_bytes();
        copied
    }

    /// The superblock of a spare: the only device of a mirror of one, in which it has no role. md
    /// never starts that array, and knows the device as one that is in use.
    ///
    /// # Panics
    /// For a layout without room for the metadata.
    #[must_use]
    pub fn spare(spare: &NewSpare) -> Self {
        let mut raw = RawSuperblock::new_zeroed();
        raw.magic = U32::new(raw::MAGIC);
        raw.major_version = U32::new(1);
        raw.set_uuid = spare.set_uuid.into_bytes();
        raw.ctime = U64::new(spare.created_unix_seconds & SECONDS_MASK);
        raw.level = I32::new(1);
        raw.size = U64::new(spare.layout.data_sectors);
        raw.raid_disks = U32::new(1);
        raw.data_offset = U64::new(spare.layout.data_offset_sectors);
        raw.data_size = U64::new(spare.layout.data_sectors);
        raw.super_offset = U64::new(SUPERBLOCK_SECTOR);
        raw.device_uuid = spare.device_uuid.into_bytes();
        raw.utime = raw.ctime;
        raw.resync_offset = U64::new(u64::MAX);
        set_bad_blocks_place(&mut raw, &places(&spare.layout));
        let mut superblock = Self {
            raw,
            roles: vec![Role::Spare; NEW_ROLES],
        };
        superblock.set_name(spare.name);
        superblock
    }

    /// Whether this is a spare: a device that its own table gives no role.
    #[must_use]
    pub fn is_spare(&self) -> bool {
        self.role(self.dev_number()) == Role::Spare
    }
}

fn places(layout: &MemberLayout) -> MetadataPlaces {
    MetadataPlaces::of(layout.data_offset_sectors)
        .expect("a layout of ours has room for the metadata")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::CHUNK_SECTORS_DEFAULT;
    use crate::md::{NewMember, Resync};
    use crate::{Geometry, Level};

    fn decoded(superblock: &Superblock) -> Superblock {
        Superblock::decode(&superblock.encode()).unwrap()
    }

    #[test]
    fn a_device_joins_with_nothing_rebuilt_and_a_number_of_its_own() {
        let layout = MemberLayout::new(2048 * 100, CHUNK_SECTORS_DEFAULT).unwrap();
        let geometry = Geometry::new(Level::Raid1, 2, 0, layout.data_sectors).unwrap();
        let mut first = Superblock::new(&NewMember {
            set_uuid: Uuid::from_u128(1),
            device_uuid: Uuid::from_u128(2),
            name: "1:0",
            created_unix_seconds: 5,
            geometry: &geometry,
            layout,
            element: 0,
            resync: Resync::DirtyFrom(0),
        });
        first.set_role(1, Role::Faulty);
        first.set_events(7, 6);
        assert_eq!(first.free_dev_number(&[]), Some(2));
        let larger = MemberLayout::new(2048 * 4000, CHUNK_SECTORS_DEFAULT).unwrap();
        let joined = decoded(&first.join(&JoiningDevice {
            device_uuid: Uuid::from_u128(3),
            dev_number: 2,
            role: 1,
            layout: larger,
        }));
        assert_eq!(joined.recovery(), Some(0));
        assert_eq!(joined.role(2), Role::Active(1));
        assert_eq!(joined.data_offset_sectors(), larger.data_offset_sectors);
        assert_eq!(joined.data_sectors(), larger.data_sectors);
        assert_eq!((joined.dev_number(), joined.events()), (2, 7));
        assert_eq!(joined.geometry(), Ok(geometry));
        assert_eq!(joined.free_dev_number(&[]), Some(3));
        let mut twin = joined.clone();
        twin.set_replacement(true);
        let twin = decoded(&twin);
        assert!(twin.is_replacement() && !joined.is_replacement());
        assert_eq!(twin.feature_bits(), joined.feature_bits() | 16);
        assert_eq!(twin.geometry(), Ok(geometry));
        let next = JoiningDevice {
            device_uuid: Uuid::from_u128(4),
            dev_number: 3,
            role: 1,
            layout: larger,
        };
        assert!(
            !twin.join(&next).is_replacement(),
            "whoever joins beside it"
        );
        let mut done = joined;
        done.set_recovery(None);
        let done = decoded(&done);
        let bits = first.feature_bits();
        assert_eq!((done.recovery(), done.feature_bits()), (None, bits));
    }

    #[test]
    fn numbers_are_used_again_when_all_were_used() {
        let layout = MemberLayout::new(2048, CHUNK_SECTORS_DEFAULT).unwrap();
        let mut superblock = Superblock::spare(&NewSpare {
            set_uuid: Uuid::from_u128(1),
            device_uuid: Uuid::from_u128(2),
            name: "1:spare",
            created_unix_seconds: 5,
            layout,
        });
        let free = |superblock: &Superblock, avoided: &[u32]| superblock.free_dev_number(avoided);
        assert_eq!(
            (free(&superblock, &[]), free(&superblock, &[1])),
            (Some(1), Some(2))
        );
        for device in 1..128 {
            superblock.set_role(device, Role::Faulty);
        }
        assert_eq!(free(&superblock, &[]), Some(128), "the table grows");
        for device in 128..1920 {
            superblock.set_role(device, Role::Faulty);
        }
        superblock.set_events(1919 * 5 + 7, 6);
        let superblock = decoded(&superblock);
        assert_eq!(
            (free(&superblock, &[]), free(&superblock, &[8])),
            (Some(8), Some(14))
        );
        let mut full = superblock;
        for device in 0..1920 {
            full.set_role(device, Role::Active(0));
        }
        assert_eq!(free(&full, &[]), None);
        full.set_role(5, Role::Faulty);
        assert_eq!((free(&full, &[]), free(&full, &[5])), (Some(5), None));
    }

    #[test]
    fn a_spare_has_no_role() {
        let layout = MemberLayout::new(2048, CHUNK_SECTORS_DEFAULT).unwrap();
        let spare = decoded(&Superblock::spare(&NewSpare {
            set_uuid: Uuid::from_u128(1),
            device_uuid: Uuid::from_u128(2),
            name: "1:spare",
            created_unix_seconds: 5,
            layout,
        }));
        assert!(spare.is_spare());
        assert_eq!(spare.name(), "1:spare");
        assert_eq!(spare.resync(), Resync::Clean);
    }
}

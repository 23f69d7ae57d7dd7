//! Where things lie on a member of an array.
//!
//! ```text
//! sector        64 MiB and more                    smaller (from 1 MiB on)
//!      0..7     nothing (a partition table would)  the same
//!      8..15    md superblock                      the same
//!     16..      write-intent bitmap, 256 sectors   8 sectors
//!               bad-block log, 8 sectors at 272    8 sectors at 24
//!               private slots A and B of 64        slots at 64 and 128
//!               sectors at 2048 and 2112
//!   4096..      redo log                           redo log at 256
//!   data_offset data, whole chunks                 data_offset is 768
//! ```
//!
//! Invariants:
//! * the places of everything follow from `data_offset` alone, which the md superblock holds, so that
//!   they are found when the device has grown or was copied to a larger one;
//! * a write of the superblock or of a slot never touches a 4 KiB block of the other.
//!
//! md touches nothing between its own areas and `data_offset`, until somebody reshapes the array.

use crate::geometry::CHUNK_SECTORS_MIN;

/// First sector of the md v1.2 superblock.
pub const SUPERBLOCK_SECTOR: u64 = 8;

/// Sectors that the superblock is read and written in: one 4 KiB block.
pub const SUPERBLOCK_SECTORS: u64 = 8;

/// Sectors of a private slot.
pub const SLOT_SECTORS: u64 = 64;

/// Smallest device that can be a member: 1 MiB, which leaves 10 chunks of 64 KiB.
pub const DEVICE_SECTORS_MIN: u64 = 2048;

/// From this size on (64 MiB) a member has the large layout: there it costs under 5 %.
const LARGE_DEVICE_SECTORS: u64 = 64 * SECTORS_PER_MIB;

/// Where the redo log begins in the large layout; what lies below is fixed.
const LOG_SECTOR: u64 = 4096;

/// `data_offset` of the small layout.
const SMALL_DATA_OFFSET: u64 = SMALL_LOG_SECTOR + 512;

/// Where the redo log begins in the small layout.
const SMALL_LOG_SECTOR: u64 = 256;

/// Longest redo log. With it `data_offset` is 264192, as mdadm's own default for large disks.
const LOG_MIB_MAX: u64 = 127;

const SECTORS_PER_MIB: u64 = 2048;

/// A device too small to be a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{device_sectors} sectors are too few for a member, {DEVICE_SECTORS_MIN} are needed")]
pub struct TooSmall {
    /// Its size.
    pub device_sectors: u64,
}

/// A run of sectors of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Area {
    /// First sector.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
}

/// How a new member divides its device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberLayout {
    /// Sector where data begins.
    pub data_offset_sectors: u64,
    /// Sectors from there to the end of the device, in whole chunks.
    pub data_sectors: u64,
}

impl MemberLayout {
    /// Divides a device. Data is whole chunks for every level, so that the size of a LUN is a
    /// multiple of 4 KiB; a chunk of 0, as md has for levels without chunks, counts as 4 KiB.
    ///
    /// # Errors
    /// When the device has fewer than [`DEVICE_SECTORS_MIN`] sectors, or no room for a chunk.
    pub const fn new(device_sectors: u64, chunk_sectors: u32) -> Result<Self, TooSmall> {
        if device_sectors < DEVICE_SECTORS_MIN {
            return Err(TooSmall { device_sectors });
        }
        let data_offset_sectors = if device_sectors < LARGE_DEVICE_SECTORS {
            SMALL_DATA_OFFSET
        } else {
            let log_mib = (device_sectors / 1024).div_ceil(SECTORS_PER_MIB);
            let log_mib = if log_mib > LOG_MIB_MAX {
                LOG_MIB_MAX
            } else {
                log_mib
            };
            LOG_SECTOR + log_mib * SECTORS_PER_MIB
        };
        let room = device_sectors - data_offset_sectors;
        let chunk_sectors = if chunk_sectors == 0 {
            CHUNK_SECTORS_MIN
        } else {
            chunk_sectors
        };
        let data_sectors = room - room % chunk_sectors as u64;
        if data_sectors == 0 {
            return Err(TooSmall { device_sectors });
        }
        Ok(Self {
            data_offset_sectors,
            data_sectors,
        })
    }
}

/// Where the metadata of a member lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MetadataPlaces {
    /// Room for the write-intent bitmap.
    pub bitmap: Area,
    /// The bad-block log.
    pub bad_blocks: Area,
    /// The two private slots.
    pub slots: [Area; 2],
    /// Room for the redo log; may be empty.
    pub redo_log: Area,
}

impl MetadataPlaces {
    /// The places on a member whose data begins at this sector; `None` when that leaves no room for
    /// ours, as with arrays that others made.
    #[must_use]
    pub const fn of(data_offset_sectors: u64) -> Option<Self> {
        if data_offset_sectors >= LOG_SECTOR {
            Some(Self {
                bitmap: Area {
                    sector: 16,
                    sectors: 256,
                },
                bad_blocks: Area {
                    sector: 272,
                    sectors: 8,
                },
                slots: [slot(2048), slot(2048 + SLOT_SECTORS)],
                redo_log: Area {
                    sector: LOG_SECTOR,
                    sectors: data_offset_sectors - LOG_SECTOR,
                },
            })
        } else if data_offset_sectors >= SMALL_LOG_SECTOR {
            Some(Self {
                bitmap: Area {
                    sector: 16,
                    sectors: 8,
                },
                bad_blocks: Area {
                    sector: 24,
                    sectors: 8,
                },
                slots: [slot(64), slot(64 + SLOT_SECTORS)],
                redo_log: Area {
                    sector: SMALL_LOG_SECTOR,
                    sectors: data_offset_sectors - SMALL_LOG_SECTOR,
                },
            })
        } else {
            None
        }
    }
}

const fn slot(sector: u64) -> Area {
    Area {
        sector,
        sectors: SLOT_SECTORS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn data_begins_where_it_was_decided() {
        let data_offset = |mib: u64| {
            MemberLayout::new(mib * SECTORS_PER_MIB, 128)
                .unwrap()
                .data_offset_sectors
        };
        assert_eq!(data_offset(1), 768);
        assert_eq!(data_offset(63), 768);
        assert_eq!(data_offset(64), 3 * SECTORS_PER_MIB);
        assert_eq!(data_offset(1024), 3 * SECTORS_PER_MIB);
        assert_eq!(data_offset(1025), 4 * SECTORS_PER_MIB);
        assert_eq!(data_offset(126 * 1024), 128 * SECTORS_PER_MIB);
        assert_eq!(data_offset(128 * 1024), 264_192);
        assert_eq!(data_offset(24_000_000), 264_192);
    }

    #[test]
    fn a_device_below_1_mib_is_too_small() {
        let refused = MemberLayout::new(2047, 128);
        assert_eq!(
            refused,
            Err(TooSmall {
                device_sectors: 2047
            })
        );
        assert_eq!(MemberLayout::new(2048, 128).unwrap().data_sectors, 10 * 128);
        // One chunk of 1 MiB does not fit behind the metadata.
        assert!(MemberLayout::new(2048, 2048).is_err());
    }

    #[test]
    fn a_chunk_of_0_is_that_of_a_level_without_chunks() {
        let layout = MemberLayout::new(2048 + 7, 0).unwrap();
        assert_eq!(
            (layout.data_offset_sectors, layout.data_sectors),
            (768, 1280)
        );
    }

    #[test]
    fn others_may_leave_no_room_for_the_slots() {
        assert_eq!(MetadataPlaces::of(255), None);
        let places = MetadataPlaces::of(256).unwrap();
        assert_eq!(places.redo_log.sectors, 0);
        assert_eq!(MetadataPlaces::of(768).unwrap().redo_log.sectors, 512);
    }

    proptest! {
        #[test]
        fn areas_are_apart_and_before_the_data(
            device_sectors in prop_oneof![2048_u64..300_000, 2048_u64..1 << 40],
        ) {
            let layout = MemberLayout::new(device_sectors, 128).unwrap();
            prop_assert!(layout.data_offset_sectors + layout.data_sectors <= device_sectors);
            prop_assert!(device_sectors - layout.data_offset_sectors - layout.data_sectors < 128);
            let places = MetadataPlaces::of(layout.data_offset_sectors).unwrap();
            let mut next = SUPERBLOCK_SECTOR + SUPERBLOCK_SECTORS;
            let [a, b] = places.slots;
            for area in [places.bitmap, places.bad_blocks, a, b, places.redo_log] {
                prop_assert!(area.sector >= next && area.sector % 8 == 0);
                next = area.sector + area.sectors;
            }
            prop_assert!(next <= layout.data_offset_sectors);
        }
    }
}

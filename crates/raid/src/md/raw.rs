//! The md v1.2 superblock as it lies on the disk: field for field, little endian, and its checksum.
//!
//! ```text
//!   0 magic, version, feature map, set UUID, set name     array-wide
//!  64 ctime, level, layout, size, chunk, raid disks       array-wide
//! 100 reshape                                             array-wide, unused here
//! 128 data offset … device UUID … bad-block log           this device
//! 192 utime, events, resync offset, checksum, max_dev     state
//! 256 roles, two bytes a device, by device number
//! ```

use bitflags::bitflags;
use zerocopy::byteorder::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First word of every md superblock.
pub const MAGIC: u32 = 0xa92b_4efc;

/// Bytes of the fixed part; roles follow.
pub const HEADER_BYTES: usize = 256;

/// Bytes of the block that holds a superblock.
pub const BLOCK_BYTES: usize = 4096;

/// Most devices that a superblock has roles for: as many as fit in its block.
pub const DEVICES_MAX: usize = (BLOCK_BYTES - HEADER_BYTES) / 2;

bitflags! {
    /// What else a superblock means. An unknown bit makes an array unusable.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Features: u32 {
        /// There is a write-intent bitmap.
        const BITMAP = 1;
        /// `recovery_offset` is valid: this device is being rebuilt.
        const RECOVERY_OFFSET = 2;
        /// The array is being reshaped.
        const RESHAPE_ACTIVE = 4;
        /// The bad-block log is not empty.
        const BAD_BLOCKS = 8;
        /// This device replaces another of the same role.
        const REPLACEMENT = 16;
        /// `layout` of a RAID 0 is meaningful.
        const RAID0_LAYOUT = 4096;
        /// Ours, on a device that Linux must not use at present: md has no such bit, and takes no device
        /// with one that it does not know.
        const WITHHELD = 1 << 31;
    }
}

/// The fixed part.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawSuperblock {
    /// [`MAGIC`].
    pub magic: U32,
    /// 1.
    pub major_version: U32,
    /// [`Features`].
    pub feature_map: U32,
    /// Zero.
    pub pad0: U32,
    /// Names the array.
    pub set_uuid: [u8; 16],
    /// Padded with NUL.
    pub set_name: [u8; 32],
    /// Creation time: seconds in the low 40 bits, microseconds above.
    pub ctime: U64,
    /// RAID level.
    pub level: I32,
    /// Layout of the level.
    pub layout: U32,
    /// Used sectors per member; 0 for RAID 0.
    pub size: U64,
    /// Sectors.
    pub chunk_sectors: U32,
    /// Number of roles.
    pub raid_disks: U32,
    /// Sectors from the superblock.
    pub bitmap_offset: I32,
    /// Reshape: the level to be.
    pub new_level: U32,
    /// Reshape: how far.
    pub reshape_position: U64,
    /// Reshape: more members.
    pub delta_disks: I32,
    /// Reshape: the layout to be.
    pub new_layout: U32,
    /// Reshape: the chunk to be.
    pub new_chunk: U32,
    /// Reshape: change of the data offset.
    pub new_offset: I32,
    /// Sector of this device where data begins.
    pub data_offset: U64,
    /// Sectors of this device usable from there.
    pub data_size: U64,
    /// Sector of this superblock.
    pub super_offset: U64,
    /// How far this device is rebuilt.
    pub recovery_offset: U64,
    /// Index of this device into the roles.
    pub dev_number: U32,
    /// Statistics.
    pub corrected_reads: U32,
    /// Names the device.
    pub device_uuid: [u8; 16],
    /// Write-mostly, failfast.
    pub device_flags: u8,
    /// Granularity of the bad-block log.
    pub bad_blocks_shift: u8,
    /// Sectors of the bad-block log.
    pub bad_blocks_sectors: U16,
    /// Sectors from the superblock.
    pub bad_blocks_offset: I32,
    /// Time of the last update, as `ctime`.
    pub utime: U64,
    /// Counts updates; tells the freshest member.
    pub events: U64,
    /// How far a resync got; all ones when in sync.
    pub resync_offset: U64,
    /// See [`checksum`].
    pub checksum: U32,
    /// Number of roles that follow.
    pub max_dev: U32,
    /// Zero; Linux 6.19 and later put the logical block size in the first four bytes.
    pub pad3: [u8; 32],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RawSuperblock>() == HEADER_BYTES);
    assert!(offset_of!(RawSuperblock, set_uuid) == 16);
    assert!(offset_of!(RawSuperblock, set_name) == 32);
    assert!(offset_of!(RawSuperblock, ctime) == 64);
    assert!(offset_of!(RawSuperblock, size) == 80);
    assert!(offset_of!(RawSuperblock, bitmap_offset) == 96);
    assert!(offset_of!(RawSuperblock, reshape_position) == 104);
    assert!(offset_of!(RawSuperblock, new_offset) == 124);
    assert!(offset_of!(RawSuperblock, data_offset) == 128);
    assert!(offset_of!(RawSuperblock, recovery_offset) == 152);
    assert!(offset_of!(RawSuperblock, dev_number) == 160);
    assert!(offset_of!(RawSuperblock, device_uuid) == 168);
    assert!(offset_of!(RawSuperblock, bad_blocks_offset) == 188);
    assert!(offset_of!(RawSuperblock, events) == 200);
    assert!(offset_of!(RawSuperblock, checksum) == 216);
    assert!(offset_of!(RawSuperblock, pad3) == 224);
};

/// Offset of the checksum, which counts as zero in its own computation.
const CHECKSUM_OFFSET: usize = 216;

/// The checksum over a header and its roles: 32-bit words added up in 64 bits and folded once.
#[must_use]
pub fn checksum(header_and_roles: &[u8]) -> u32 {
    let words = header_and_roles.chunks_exact(4);
    // An odd number of roles leaves half a word, which is added as it is.
    let half = match words.remainder() {
        &[low, high] => u64::from(u16::from_le_bytes([low, high])),
        _ => 0,
    };
    let sum = words
        .enumerate()
        .filter(|(index, _)| *index != CHECKSUM_OFFSET / 4)
        .map(|(_, word)| u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]])))
        .sum::<u64>()
        + half;
    let [a, b, c, d, e, f, g, h] = sum.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]).wrapping_add(u32::from_le_bytes([e, f, g, h]))
}

//! What the shelf writes on a drive that is in no LUN: that work on the whole of it was begun, and how much
//! of it is to be used.
//!
//! ```text
//!  0 magic   8 format   12 CRC-32C   16 kind   20 zero   24 first number   32 second number   40 zero to 64
//! ```
//!
//! * A [`Mark`] lies where a member has its md superblock ([`crate::layout::SUPERBLOCK_SECTOR`]), and takes
//!   its place in one write: from then on the drive is nobody's member, and says so until the work is done.
//!   The mark of a copy says of which drive it is, so that no other one is taken to go on with it.
//! * A [`Clip`] lies in the last 4 KiB of the drive, which a drive that is used in part has to spare. It
//!   moves with the drive, and nothing that is written to the used part touches it.
//!
//! Invariants:
//! * the checksum covers the whole header, so that what is torn or foreign is no record;
//! * a clip names the size of the drive that it was written on: on another one it is none.

use crate::layout::DEVICE_SECTORS_MIN;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of either record: one sector.
pub const RECORD_BYTES: usize = 512;

/// Sectors at the end of a drive that a [`Clip`] takes: one 4 KiB block, of which it is the first sector.
pub const CLIP_SECTORS: u64 = 8;

const MAGIC: [u8; 8] = *b"LedgeDrv";
const FORMAT: u32 = 1;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRecord {
    magic: [u8; 8],
    format: U32,
    checksum: U32,
    kind: U32,
    reserved: U32,
    first: U64,
    second: U64,
    zero: [u8; 24],
}

const HEADER_BYTES: usize = 64;
const _: () = assert!(size_of::<RawRecord>() == HEADER_BYTES);

/// The kind of a [`Clip`]; those of marks are below.
const CLIP: u32 = 16;

/// Work that destroys what is on a drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Work {
    /// It is overwritten with zeroes.
    Erase = 1,
    /// It is written with a pattern, which is read back.
    WriteTest = 2,
    /// Another drive is copied onto it.
    Extract = 3,
}

/// Says that work on a drive was begun and is not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The work.
    pub work: Work,
    /// When it was begun.
    pub begun_unix_seconds: u64,
    /// Of a copy: what the drive is known by that is copied ([`fingerprint`]); 0 of other work.
    pub source: u64,
}

/// What a drive is known by that is copied: its size, and what its first sectors hold; nothing of them when
/// they cannot be read.
#[must_use]
pub fn fingerprint(drive_sectors: u64, head: &[u8]) -> u64 {
    let size = crc32c::crc32c(&drive_sectors.to_le_bytes());
    u64::from(size) << 32 | u64::from(crc32c::crc32c(head))
}

/// Says how much of a drive is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clip {
    /// Sectors that are used.
    pub used_sectors: u64,
    /// Sectors of the whole drive.
    pub whole_sectors: u64,
}

fn encode(kind: u32, first: u64, second: u64) -> [u8; RECORD_BYTES] {
    let mut raw = RawRecord {
        magic: MAGIC,
        format: FORMAT.into(),
        checksum: 0.into(),
        kind: kind.into(),
        reserved: 0.into(),
        first: first.into(),
        second: second.into(),
        zero: [0; 24],
    };
    raw.checksum = crc32c::crc32c(raw.as_bytes()).into();
    let mut bytes = [0; RECORD_BYTES];
    bytes[..HEADER_BYTES].copy_from_slice(raw.as_bytes());
    bytes
}

/// Kind and numbers of what is a record.
fn decode(bytes: &[u8]) -> Option<(u32, u64, u64)> {
    let (raw, _) = RawRecord::read_from_prefix(bytes).ok()?;
    let unsummed = RawRecord {
        checksum: 0.into(),
        ..raw
    };
    let is_whole = raw.checksum.get() == crc32c::crc32c(unsummed.as_bytes());
    (raw.magic == MAGIC && raw.format.get() == FORMAT && is_whole).then(|| {
        let (kind, first) = (raw.kind.get(), raw.first.get());
        (kind, first, raw.second.get())
    })
}

impl Mark {
    /// As a sector.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        encode(self.work as u32, self.begun_unix_seconds, self.source)
    }

    /// What a sector holds, if it is a mark.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, begun_unix_seconds, source) = decode(bytes)?;
        let work = match kind {
            1 => Work::Erase,
            2 => Work::WriteTest,
            3 => Work::Extract,
            _ => return None,
        };
        Some(Self {
            work,
            begun_unix_seconds,
            source,
        })
    }
}

impl Clip {
    /// Where it lies on a drive of so many sectors; `None` when it is too small to have one.
    #[must_use]
    pub fn sector(whole_sectors: u64) -> Option<u64> {
        (whole_sectors >= DEVICE_SECTORS_MIN + CLIP_SECTORS).then(|| whole_sectors - CLIP_SECTORS)
    }

    /// As a sector.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        encode(CLIP, self.used_sectors, self.whole_sectors)
    }

    /// What a sector holds, if it is the clip of a drive of this size.
    #[must_use]
    pub fn decode(bytes: &[u8], whole_sectors: u64) -> Option<Self> {
        let (kind, used, whole) = decode(bytes)?;
        let room = Self::sector(whole_sectors)?;
        let fits = whole == whole_sectors && (1..=room).contains(&used);
        (kind == CLIP && fits).then_some(Self {
            used_sectors: used,
            whole_sectors: whole,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_nothing_else_is_one() {
        for work in [Work::Erase, Work::WriteTest, Work::Extract] {
            let mark = Mark {
                work,
                begun_unix_seconds: 1_700_000_000,
                source: fingerprint(8192, b"the drive that is copied"),
            };
            let bytes = mark.encode();
            assert_eq!(Mark::decode(&bytes), Some(mark));
            for bit in 0..HEADER_BYTES * 8 {
                let mut wrong = bytes;
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Mark::decode(&wrong), None, "bit {bit}");
            }
        }
        assert_eq!(Mark::decode(&[0; 512]), None);
        assert_eq!(Mark::decode(&[0; 10]), None);
    }

    #[test]
    fn a_drive_is_known_by_its_size_and_its_first_sectors() {
        let own = fingerprint(8192, b"own");
        assert_eq!(own, fingerprint(8192, b"own"));
        for other in [
            fingerprint(8193, b"own"),
            fingerprint(8192, b"other"),
            fingerprint(8192, b""),
        ] {
            assert_ne!(own, other);
        }
    }

    #[test]
    fn a_clip_counts_on_its_own_drive_only() {
        let clip = Clip {
            used_sectors: 4096,
            whole_sectors: 8192,
        };
        let bytes = clip.encode();
        assert_eq!(Clip::decode(&bytes, 8192), Some(clip));
        assert_eq!(Clip::decode(&bytes, 8193), None);
        assert_eq!(Mark::decode(&bytes), None);
        // One that leaves no room for itself is none.
        let too_long = Clip {
            used_sectors: 8185,
            ..clip
        };
        assert_eq!(Clip::decode(&too_long.encode(), 8192), None);
        assert_eq!(Clip::sector(8192), Some(8184));
        assert_eq!(Clip::sector(2048), None);
    }
}

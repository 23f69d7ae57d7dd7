//! The private record of a member: what the shelf knows of a LUN and md has no field for.
//!
//! Two slots of 32 KiB lie before the data. A new record goes to the slot that does not hold the
//! present one, so that a torn write loses nothing.
//!
//! ```text
//!  0 magic   8 format   12 CRC-32C   16 generation   24 set UUID   40 device number
//! 44 payload bytes   48 data offset   56 zero   64 payload: JSON
//! ```
//!
//! Invariants:
//! * of two valid slots the one with the higher generation counts;
//! * a slot that names another set, device or data offset than the md superblock beside it is
//!   ignored: the md superblock is the truth, and others may have moved data over the slots;
//! * the checksum covers header and payload, so that a torn, stale or foreign slot is told, and is
//!   never fatal; header and checksum are the same in every format, so that what a newer version wrote
//!   is told from what is rotten, and is left alone with the rest of the member;
//! * a record that says who may use the LUN is of a format that versions which know nothing of that leave
//!   alone; without such rules it is one that they read.

use crate::Level;
use crate::layout::SLOT_SECTORS;
use crate::log::LogParameters;
use crate::lost::LostRange;
use crate::md::raw::BLOCK_BYTES;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

mod access;
mod text;

pub use access::{AccessRecord, KEYS_MAX, KeyRecord, KeyedRecord, STATIONS_MAX, Station};

/// Bytes of a slot.
pub const SLOT_BYTES: usize = 32 * 1024;

const _: () = assert!(SLOT_BYTES as u64 == SLOT_SECTORS * 512);

/// Format of a record that holds nothing back from anybody.
pub const FORMAT: u32 = 1;

/// Format of one that does: it says who may use the LUN, or which sectors are lost. A program that does not
/// know it would serve what it must not. No other is read.
pub const FORMAT_WITHHOLDING: u32 = 2;

/// Longest AoE config string (AoEr11: 1024 bytes).
pub const CONFIG_STRING_BYTES_MAX: usize = 1024;

const MAGIC: [u8; 8] = *b"LedgeRec";
const HEADER_BYTES: usize = 64;
const CHECKSUM_OFFSET: usize = 12;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    format: U32,
    checksum: U32,
    generation: U64,
    set_uuid: [u8; 16],
    dev_number: U32,
    payload_bytes: U32,
    data_offset: U64,
    reserved: [u8; 8],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RawHeader>() == HEADER_BYTES);
    assert!(offset_of!(RawHeader, checksum) == CHECKSUM_OFFSET);
    assert!(offset_of!(RawHeader, set_uuid) == 24);
    assert!(offset_of!(RawHeader, data_offset) == 48);
};

/// Which member a record belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordOwner {
    /// UUID of the array.
    pub set_uuid: Uuid,
    /// Device number in the array.
    pub dev_number: u32,
    /// Where the device's data begins.
    pub data_offset_sectors: u64,
}

/// How far the LUN is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordState {
    /// Being made: unless some member says `Complete`, there is no LUN yet.
    Making,
    /// An array that others made is being taken over: unless some member says `Complete`, it is not ours
    /// yet.
    Importing,
    /// There.
    Complete,
    /// Being removed: one member that says so suffices, and there is no LUN any more.
    Removing,
}

/// What a record says. All members of a LUN say the same, but for `element`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// How far the LUN is in its life.
    pub state: RecordState,
    /// Number of the shelf.
    pub shelf: u16,
    /// The number that the shelf is about to have, while it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_shelf: Option<u16>,
    /// Number of the LUN.
    pub lun: u8,
    /// Which of the LUN's RAIDs this set is, from 0.
    pub part: u8,
    /// How many RAIDs the LUN has. It counts in its first RAID only, as does all that is said of the LUN
    /// as a whole.
    pub parts: u8,
    /// In the first RAID of a LUN: the others, from part 1 on. A set that is not among them is no part of
    /// the LUN, whatever its own record says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<FurtherRaid>,
    /// While a RAID is made that a LUN is to grow by: the elements of the LUN's first RAID that are to name
    /// it. Without one of them it is not known whether it was named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namers: Vec<u8>,
    /// Which element of the RAID this member is, from 0.
    pub element: u8,
    /// How many elements the RAID has.
    pub elements: u8,
    /// Level.
    #[serde(with = "text::level")]
    pub level: Level,
    /// Label of the LUN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whether the LUN is served, and shall be again after a restart.
    pub online: bool,
    /// Serial number of the LUN.
    pub serial: String,
    /// AoE config string.
    #[serde(with = "text::hex")]
    pub config_string: Vec<u8>,
    /// When the LUN was made.
    pub created_unix_seconds: u64,
    /// How the redo log is divided; for raid5 and raid6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogParameters>,
    /// Parity matches all over, but for what the redo log tells of; for raid5 and raid6. The md superblock
    /// says nothing of it while the LUN is served.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parity_synced: bool,
    /// Sectors that clients are not to be given before they have written them, although their stripes are
    /// consistent. It counts only if nobody else has changed the array since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostRange>,
    /// Elements that the LUN was served without only because their drives were away. They are rebuilt
    /// when their drives are back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<u8>,
    /// How its members are compared from time to time.
    #[serde(default, skip_serializing_if = "ScrubRecord::is_default")]
    pub scrub: ScrubRecord,
    /// Who may use the LUN.
    #[serde(default, skip_serializing_if = "AccessRecord::is_default")]
    pub access: AccessRecord,
}

/// What the first RAID of a LUN remembers of another one: enough to tell its set, and to say what is
/// missing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FurtherRaid {
    /// UUID of the array.
    #[serde(with = "text::uuid")]
    pub set_uuid: Uuid,
    /// Level.
    #[serde(with = "text::level")]
    pub level: Level,
    /// How many elements it has.
    pub elements: u8,
    /// Its usable size.
    pub capacity_sectors: u64,
}

/// What a scrub does about members that do not agree. Sectors that cannot be read are written anew in any
/// case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScrubRepair {
    /// It tells.
    #[default]
    Report,
    /// Where it is certain which member is wrong (RAID 6), that one is written anew.
    Located,
    /// Everything is made to agree: mirrors with the copy that clients read, parity with the data.
    All,
}

/// What a LUN remembers of its scrubs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ScrubRecord {
    /// Days from one scrub to the next; 0 for never, `None` for the default of the shelf.
    pub interval_days: Option<u16>,
    /// When the last one ended.
    pub last_unix_seconds: Option<u64>,
    /// How many sectors the last one found to differ.
    pub last_mismatched_sectors: u64,
    /// How many of them it wrote anew.
    pub last_repaired_sectors: u64,
    /// It met sectors that could not be read or written.
    pub last_is_incomplete: bool,
    /// The sector of the LUN before which the present one is done; `None` when there is none.
    pub done_lba: Option<u64>,
    /// How many sectors the present one found to differ.
    pub mismatched_sectors: u64,
    /// How many of them it wrote anew.
    pub repaired_sectors: u64,
    /// What scrubs do about members that do not agree.
    pub repair: ScrubRepair,
    /// The present one repairs everything, because it was asked to.
    pub is_repair: bool,
    /// The present one waits for the administrator.
    pub is_paused: bool,
}

impl ScrubRecord {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What the record of a spare says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SpareRecord {
    /// Number of the shelf whose spare it is.
    pub spare_of_shelf: u16,
    /// The number that the shelf is about to have, while it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_shelf: Option<u16>,
    /// The only LUN that may take it; `None` for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedicated_to_lun: Option<u8>,
}

/// A record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRecord<R = Record> {
    /// Which slot holds it, 0 or 1.
    pub slot: usize,
    /// Counts changes.
    pub generation: u64,
    /// What it says.
    pub record: R,
}

/// Why a slot holds no record of this member.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// Nothing of ours was ever here.
    #[error("empty slot")]
    Empty,
    /// A format that this version cannot read.
    #[error("record of format {0}; this version reads formats {FORMAT} and {FORMAT_WITHHOLDING}")]
    Format(u32),
    /// A payload longer than the slot.
    #[error("record of {0} bytes, more than a slot holds")]
    Length(u32),
    /// Torn or rotten.
    #[error("record with checksum {found:#010x}, computed {computed:#010x}")]
    Checksum {
        /// As stored.
        found: u32,
        /// As it should be.
        computed: u32,
    },
    /// A record of another member: left over from an earlier use of the disk.
    #[error("record of another member (set {set_uuid}, device {dev_number})")]
    OtherMember {
        /// Its set.
        set_uuid: Uuid,
        /// Its device number.
        dev_number: u32,
    },
    /// A config string that no AoE frame may carry.
    #[error(
        "record with a config string of {0} bytes; there are {CONFIG_STRING_BYTES_MAX} at most"
    )]
    ConfigString(usize),
    /// Rules of access that no frame may ask for.
    #[error("record with lists of stations, keys or a VLAN that are out of bounds")]
    Access,
    /// A payload that is not what it should be, though its checksum is right.
    #[error("record that cannot be understood: {0}")]
    Payload(String),
}

/// The record does not fit into a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("record of {0} bytes does not fit into a slot")]
pub struct RecordTooLong(pub usize);

/// What the two slots of a member hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slots<R = Record> {
    /// The record that counts.
    pub newest: Option<StoredRecord<R>>,
    /// What is wrong with each slot; an empty one is not wrong.
    pub damage: [Option<RecordError>; 2],
}

impl<R> Slots<R> {
    /// The format of a record that another version wrote and this one cannot read. Whatever the other
    /// slot holds, the member is not to be used, nor its record overwritten.
    #[must_use]
    pub fn other_format(&self) -> Option<u32> {
        self.damage.iter().flatten().find_map(|error| match error {
            RecordError::Format(format) => Some(*format),
            _ => None,
        })
    }
}

/// What a slot may hold.
trait Payload: DeserializeOwned + Serialize {
    /// Whether it keeps its limits.
    fn check(&self) -> Result<(), RecordError>;

    /// The format that it needs.
    fn format(&self) -> u32 {
        FORMAT
    }
}

impl Payload for Record {
    fn check(&self) -> Result<(), RecordError> {
        if self.config_string.len() > CONFIG_STRING_BYTES_MAX {
            return Err(RecordError::ConfigString(self.config_string.len()));
        }
        self.access.check()
    }

    fn format(&self) -> u32 {
        if self.access.is_default() && self.lost.is_empty() {
            FORMAT
        } else {
            FORMAT_WITHHOLDING
        }
    }
}

impl Payload for SpareRecord {
    fn check(&self) -> Result<(), RecordError> {
        Ok(())
    }
}

/// Reads both slots of a member.
#[must_use]
pub fn read_slots(slots: [&[u8; SLOT_BYTES]; 2], owner: &RecordOwner) -> Slots {
    read(slots, owner)
}

/// Reads both slots of a spare.
#[must_use]
pub fn read_spare_slots(slots: [&[u8; SLOT_BYTES]; 2], owner: &RecordOwner) -> Slots<SpareRecord> {
    read(slots, owner)
}

fn read<R: Payload>(slots: [&[u8; SLOT_BYTES]; 2], owner: &RecordOwner) -> Slots<R> {
    let mut newest: Option<StoredRecord<R>> = None;
    let mut damage = [None, None];
    for (slot, bytes) in slots.into_iter().enumerate() {
        match decode(bytes, owner) {
            Ok((generation, record)) => {
                if newest
                    .as_ref()
                    .is_none_or(|newest| newest.generation < generation)
                {
                    newest = Some(StoredRecord {
                        slot,
                        generation,
                        record,
                    });
                }
            }
            Err(RecordError::Empty) => {}
            Err(error) => damage[slot] = Some(error),
        }
    }
    Slots { newest, damage }
}

/// The bytes to write at the start of a slot: whole blocks of 4 KiB, as many as needed, so that no drive has
/// to read before it writes.
///
/// # Errors
/// When the record is longer than a slot.
pub fn encode(
    owner: &RecordOwner,
    generation: u64,
    record: &Record,
) -> Result<Vec<u8>, RecordTooLong> {
    encode_payload(owner, generation, record)
}

/// As [`encode`], for a spare.
///
/// # Errors
/// When the record is longer than a slot.
pub fn encode_spare(
    owner: &RecordOwner,
    generation: u64,
    record: &SpareRecord,
) -> Result<Vec<u8>, RecordTooLong> {
    encode_payload(owner, generation, record)
}

fn encode_payload<R: Payload>(
    owner: &RecordOwner,
    generation: u64,
    record: &R,
) -> Result<Vec<u8>, RecordTooLong> {
    // A record is strings and numbers; there is nothing in it that JSON does not have.
    let payload = serde_json::to_vec(record).expect("a record is always JSON");
    let used_bytes = HEADER_BYTES + payload.len();
    let payload_bytes = u32::try_from(payload.len()).map_err(|_| RecordTooLong(used_bytes))?;
    if used_bytes > SLOT_BYTES {
        return Err(RecordTooLong(used_bytes));
    }
    let mut header = RawHeader {
        magic: MAGIC,
        format: U32::new(record.format()),
        checksum: U32::new(0),
        generation: U64::new(generation),
        set_uuid: owner.set_uuid.into_bytes(),
        dev_number: U32::new(owner.dev_number),
        payload_bytes: U32::new(payload_bytes),
        data_offset: U64::new(owner.data_offset_sectors),
        reserved: [0; 8],
    };
    header.checksum = U32::new(checksum(&header, &payload));
    let mut bytes = vec![0; used_bytes.next_multiple_of(BLOCK_BYTES)];
    bytes[..HEADER_BYTES].copy_from_slice(header.as_bytes());
    bytes[HEADER_BYTES..used_bytes].copy_from_slice(&payload);
    Ok(bytes)
}

fn decode<R: Payload>(
    slot: &[u8; SLOT_BYTES],
    owner: &RecordOwner,
) -> Result<(u64, R), RecordError> {
    let Ok((header, rest)) = RawHeader::read_from_prefix(slot) else {
        unreachable!("the header is shorter than a slot")
    };
    if header.magic != MAGIC {
        return Err(RecordError::Empty);
    }
    let payload = usize::try_from(header.payload_bytes.get())
        .ok()
        .and_then(|bytes| rest.get(..bytes))
        .ok_or(RecordError::Length(header.payload_bytes.get()))?;
    let (found, computed) = (header.checksum.get(), checksum(&header, payload));
    if found != computed {
        return Err(RecordError::Checksum { found, computed });
    }
    if !(FORMAT..=FORMAT_WITHHOLDING).contains(&header.format.get()) {
        return Err(RecordError::Format(header.format.get()));
    }
    let written_for = RecordOwner {
        set_uuid: Uuid::from_bytes(header.set_uuid),
        dev_number: header.dev_number.get(),
        data_offset_sectors: header.data_offset.get(),
    };
    if written_for != *owner {
        let RecordOwner {
            set_uuid,
            dev_number,
            ..
        } = written_for;
        return Err(RecordError::OtherMember {
            set_uuid,
            dev_number,
        });
    }
    let record: R =
        serde_json::from_slice(payload).map_err(|error| RecordError::Payload(error.to_string()))?;
    record.check()?;
    Ok((header.generation.get(), record))
}

/// CRC-32C over the header, its own field taken as zero, and the payload.
fn checksum(header: &RawHeader, payload: &[u8]) -> u32 {
    let header = RawHeader {
        checksum: U32::new(0),
        ..*header
    };
    crc32c::crc32c_append(crc32c::crc32c(header.as_bytes()), payload)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

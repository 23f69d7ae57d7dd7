//! Records of the redo log, byte by byte.
//!
//! ```text
//!  0 magic        8 version      12 CRC-32C     16 set UUID     32 epoch       40 group
//! 48 own element  49 members     50 header sectors              52 entries     54 payload sectors
//! 56 zero         64 tags, 4 bytes for each member              then entries of 32 bytes; zero
//!                                                               4096 payload
//! entry:  0 member sector   8 sectors   10 kind   11 zero   12 range start   14 range sectors
//!        16 participants   24 checksum of the content: NH
//! ```
//!
//! Version 1 has another checksum of the content, 4 bytes of CRC-32C and 4 of zeros, and the CRC-32C of its
//! header covers the whole block; records of it are read, so that a shelf may be updated after a crash.
//!
//! Invariants:
//! * the first 64 bytes, and what the CRC-32C of the header covers, are the same in every later version, so
//!   that what a newer program wrote is told from what is torn, and is not passed over;
//! * the CRC-32C of the header covers all that is read of it, up to the last entry: it is there or it is not;
//! * content is checked by the checksum in its entry, so that a header tells what a torn payload was;
//! * a record is whole blocks of 4 KiB, so that no disk has to read before it can write.
//!
//! A member's record holds the entries that the member takes part in, and of each its own part.
//!
//! Budget (`corebench stages log`): 200 ns, 4000 instructions.

use crate::checksum;
use crate::geometry::MEMBERS_MAX;
use crate::stripe::SLICE_SECTORS_MAX;
use uuid::Uuid;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Sectors of a header.
pub const HEADER_SECTORS: u16 = 8;

/// Bytes of a header.
pub const HEADER_BYTES: usize = HEADER_SECTORS as usize * SECTOR_BYTES;

/// Most entries of a record, for every number of members.
pub const ENTRIES_MAX: u16 = 120;

const SECTOR_BYTES: usize = 512;
const MAGIC: [u8; 8] = *b"LEDGELOG";
const VERSION: u32 = 2;
/// The version before, which is read and not written.
const VERSION_BEFORE: u32 = 1;
const TAGS_OFFSET: usize = size_of::<RawHeader>();
const KIND_REDO: u8 = 1;
const KIND_INTENT: u8 = 2;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U32,
    checksum: U32,
    set_uuid: [u8; 16],
    epoch: U64,
    group: U64,
    element: u8,
    members: u8,
    header_sectors: U16,
    entries: U16,
    payload_sectors: U16,
    reserved: [u8; 8],
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawEntry {
    member_sector: U64,
    sectors: U16,
    kind: u8,
    reserved: u8,
    range_start: U16,
    range_sectors: U16,
    participants: U64,
    content_checksum: U64,
}

const CHECKSUM_OFFSET: usize = 12;

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RawHeader>() == 64);
    assert!(offset_of!(RawHeader, checksum) == CHECKSUM_OFFSET);
    assert!(offset_of!(RawHeader, epoch) == 32);
    assert!(offset_of!(RawHeader, element) == 48);
    assert!(offset_of!(RawHeader, payload_sectors) == 54);
    assert!(size_of::<RawEntry>() == 32);
    assert!(offset_of!(RawEntry, range_start) == 12);
    assert!(offset_of!(RawEntry, participants) == 16);
    assert!(
        TAGS_OFFSET + 4 * MEMBERS_MAX as usize + 32 * ENTRIES_MAX as usize <= HEADER_BYTES,
        "the entries fit into the header"
    );
};

/// How an entry makes its content known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// By the content itself, in the payload.
    Redo,
    /// By its checksum only: every present member's whole range is overwritten.
    Intent,
}

/// What a round does to one member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryPlace {
    /// Where this member's home begins, counted from its data offset.
    pub member_sector: u64,
    /// The sectors of the slice whose parity changes: the first, counted from the start of the slice.
    pub range_start: u16,
    /// How many these are.
    pub range_sectors: u16,
    /// The members that get a home write, a bit for each element.
    pub participants: u64,
}

/// Checksum of a content, by the version of the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentChecksum {
    /// [`checksum::nh`].
    Nh(u64),
    /// CRC-32C, of version 1.
    Crc32c(u32),
}

impl ContentChecksum {
    /// Whether it is that of these bytes.
    #[must_use]
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        match *self {
            Self::Nh(sum) => checksum::nh(bytes) == sum,
            Self::Crc32c(sum) => crc32c::crc32c(bytes) == sum,
        }
    }
}

/// An entry that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Whether there is content.
    pub kind: Kind,
    /// What the round does to this member.
    pub place: EntryPlace,
    /// Length of this member's home, at least 1.
    pub sectors: u16,
    /// Checksum of what the home gets.
    pub content_checksum: ContentChecksum,
    /// Where the content begins, in sectors from the start of the record; `None` for an intent.
    pub payload_sector: Option<u16>,
}

impl Entry {
    /// Whether bytes are what the home gets.
    #[must_use]
    pub fn is_content(&self, bytes: &[u8]) -> bool {
        #[cfg(feature = "planted")]
        if crate::planted::is(crate::planted::Bug::TornContentAccepted) {
            return true;
        }
        bytes.len() == usize::from(self.sectors) * SECTOR_BYTES
            && self.content_checksum.is_of(bytes)
    }
}

/// Whose record it is, and which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordIdentity<'a> {
    /// UUID of the array.
    pub set_uuid: Uuid,
    /// Epoch.
    pub epoch: u64,
    /// Group, from 1.
    pub group: u64,
    /// The element that this record is for.
    pub element: u8,
    /// [`super::member_tag`] of each element; 0 for one that is absent.
    pub tags: &'a [u32],
}

/// A record has no room for an entry: begin another group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no room in the log record for an entry with {content_sectors} sectors of content")]
pub struct NoRoom {
    /// Content of the entry.
    pub content_sectors: u16,
}

/// Makes a record in a buffer of the caller, entry by entry.
///
/// The buffer is given to each call, must be the same one, and needs [`LogParameters::slot_sectors`]
/// sectors. Nothing in it counts before [`Self::finish`].
///
/// [`LogParameters::slot_sectors`]: super::LogParameters::slot_sectors
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordWriter {
    members: u8,
    slot_sectors: u16,
    entries: u16,
    payload_sectors: u16,
}

impl RecordWriter {
    /// An empty record of a RAID with `members` elements.
    ///
    /// # Panics
    /// For more than [`MEMBERS_MAX`] members.
    #[must_use]
    pub const fn new(members: u8, slot_sectors: u16) -> Self {
        assert!(members <= MEMBERS_MAX, "no RAID has so many members");
        Self {
            members,
            slot_sectors,
            entries: 0,
            payload_sectors: 0,
        }
    }

    /// Whether it has no entries.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// How many entries it has.
    #[must_use]
    pub const fn entries(&self) -> u16 {
        self.entries
    }

    /// Whether there is room for one more entry with this much content; 0 for an intent.
    #[must_use]
    pub const fn has_room(&self, content_sectors: u16) -> bool {
        let used = HEADER_SECTORS as u32 + self.payload_sectors as u32 + content_sectors as u32;
        self.entries < ENTRIES_MAX && used.next_multiple_of(8) <= self.slot_sectors as u32
    }

    /// Adds what a home gets, with its content: a copy of it goes into the buffer.
    ///
    /// # Errors
    /// When there is no room; then nothing has changed.
    ///
    /// # Panics
    /// When content is not 1 to [`SLICE_SECTORS_MAX`] whole sectors, or the buffer is too short.
    pub fn add_redo(
        &mut self,
        buffer: &mut [u8],
        place: &EntryPlace,
        content: &[u8],
    ) -> Result<(), NoRoom> {
        let content_sectors = sectors_of(content);
        if !self.has_room(content_sectors) {
            return Err(NoRoom { content_sectors });
        }
        let start = usize::from(HEADER_SECTORS + self.payload_sectors) * SECTOR_BYTES;
        buffer[start..start + content.len()].copy_from_slice(content);
        self.add_entry(
            buffer,
            KIND_REDO,
            place,
            content_sectors,
            checksum::nh(content),
        );
        self.payload_sectors += content_sectors;
        Ok(())
    }

    /// Adds what a home gets, by its length and its checksum, which is that of [`checksum::nh`]: for a round
    /// that overwrites the range of every present member.
    ///
    /// # Errors
    /// When there is no room; then nothing has changed.
    ///
    /// # Panics
    /// As [`Self::add_redo`].
    pub fn add_intent(
        &mut self,
        buffer: &mut [u8],
        place: &EntryPlace,
        sectors: u16,
        checksum: u64,
    ) -> Result<(), NoRoom> {
        if !self.has_room(0) {
            return Err(NoRoom { content_sectors: 0 });
        }
        expect_one_slice(usize::from(sectors));
        self.add_entry(buffer, KIND_INTENT, place, sectors, checksum);
        Ok(())
    }

    /// Completes the record and says how many bytes of the buffer are to be written.
    ///
    /// # Panics
    /// When there is not one tag for each member.
    pub fn finish(&self, buffer: &mut [u8], identity: &RecordIdentity<'_>) -> usize {
        assert_eq!(
            identity.tags.len(),
            usize::from(self.members),
            "a tag for each"
        );
        let used_sectors = HEADER_SECTORS + self.payload_sectors;
        let record_bytes = usize::from(used_sectors.next_multiple_of(8)) * SECTOR_BYTES;
        buffer[usize::from(used_sectors) * SECTOR_BYTES..record_bytes].fill(0);
        let header = RawHeader {
            magic: MAGIC,
            version: U32::new(VERSION),
            checksum: U32::new(0),
            set_uuid: identity.set_uuid.into_bytes(),
            epoch: U64::new(identity.epoch),
            group: U64::new(identity.group),
            element: identity.element,
            members: self.members,
            header_sectors: U16::new(HEADER_SECTORS),
            entries: U16::new(self.entries),
            payload_sectors: U16::new(self.payload_sectors),
            reserved: [0; 8],
        };
        let block = &mut buffer[..HEADER_BYTES];
        block[..TAGS_OFFSET].copy_from_slice(header.as_bytes());
        for (bytes, tag) in block[TAGS_OFFSET..].chunks_exact_mut(4).zip(identity.tags) {
            bytes.copy_from_slice(&tag.to_le_bytes());
        }
        let (covered, rest) = block.split_at_mut(entry_offset(self.members, self.entries));
        rest.fill(0);
        let checksum = crc32c::crc32c(covered);
        covered[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 4].copy_from_slice(&checksum.to_le_bytes());
        record_bytes
    }

    fn add_entry(
        &mut self,
        buffer: &mut [u8],
        kind: u8,
        place: &EntryPlace,
        sectors: u16,
        checksum: u64,
    ) {
        let entry = RawEntry {
            member_sector: U64::new(place.member_sector),
            sectors: U16::new(sectors),
            kind,
            reserved: 0,
            range_start: U16::new(place.range_start),
            range_sectors: U16::new(place.range_sectors),
            participants: U64::new(place.participants),
            content_checksum: U64::new(checksum),
        };
        let offset = entry_offset(self.members, self.entries);
        buffer[offset..offset + size_of::<RawEntry>()].copy_from_slice(entry.as_bytes());
        self.entries += 1;
    }
}

fn sectors_of(content: &[u8]) -> u16 {
    let sectors = content.len() / SECTOR_BYTES;
    assert!(content.len().is_multiple_of(SECTOR_BYTES), "whole sectors");
    expect_one_slice(sectors);
    u16::try_from(sectors).unwrap_or(u16::MAX)
}

fn expect_one_slice(sectors: usize) {
    let most = SLICE_SECTORS_MAX as usize;
    assert!((1..=most).contains(&sectors), "content of one slice");
}

const fn entry_offset(members: u8, index: u16) -> usize {
    TAGS_OFFSET + 4 * members as usize + size_of::<RawEntry>() * index as usize
}

/// Why a block is no header of a log record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// Nothing was ever logged here.
    #[error("no log record")]
    Empty,
    /// A version that this one cannot read.
    #[error("log record of version {version}; this program reads up to {VERSION}: use a newer one")]
    Version {
        /// The version.
        version: u32,
        /// UUID of the array.
        set_uuid: Uuid,
        /// Epoch.
        epoch: u64,
    },
    /// Torn or rotten.
    #[error("log record with a wrong checksum")]
    Checksum,
    /// The checksum is right, and what it covers is not.
    #[error("log record whose {0} cannot be")]
    Field(&'static str),
}

/// A header that was read, and is sound in itself. Whether it belongs to a member is for the caller
/// to see.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    raw: RawHeader,
    tags: &'a [U32],
    entries: &'a [RawEntry],
}

impl<'a> Header<'a> {
    /// Reads the header of a record.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(block: &'a [u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        let Ok((raw, rest)) = RawHeader::read_from_prefix(block) else {
            unreachable!("the fixed part is shorter than a block")
        };
        if raw.magic != MAGIC {
            return Err(HeaderError::Empty);
        }
        if header_checksum(&raw, rest) != Some(raw.checksum.get()) {
            return Err(HeaderError::Checksum);
        }
        if ![VERSION, VERSION_BEFORE].contains(&raw.version.get()) {
            return Err(HeaderError::Version {
                version: raw.version.get(),
                set_uuid: Uuid::from_bytes(raw.set_uuid),
                epoch: raw.epoch.get(),
            });
        }
        if raw.header_sectors.get() != HEADER_SECTORS {
            return Err(HeaderError::Field("header length"));
        }
        if raw.members > MEMBERS_MAX || raw.element >= raw.members {
            return Err(HeaderError::Field("element"));
        }
        if raw.entries.get() > ENTRIES_MAX {
            return Err(HeaderError::Field("number of entries"));
        }
        let (tags, rest) = <[U32]>::ref_from_prefix_with_elems(rest, usize::from(raw.members))
            .map_err(|_| HeaderError::Field("number of members"))?;
        let (entries, _) =
            <[RawEntry]>::ref_from_prefix_with_elems(rest, usize::from(raw.entries.get()))
                .map_err(|_| HeaderError::Field("number of entries"))?;
        let header = Self { raw, tags, entries };
        header.check_entries()?;
        Ok(header)
    }

    /// UUID of the array.
    #[must_use]
    pub const fn set_uuid(&self) -> Uuid {
        Uuid::from_bytes(self.raw.set_uuid)
    }

    /// Epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.raw.epoch.get()
    }

    /// Group.
    #[must_use]
    pub const fn group(&self) -> u64 {
        self.raw.group.get()
    }

    /// The element that the record was written for.
    #[must_use]
    pub const fn element(&self) -> u8 {
        self.raw.element
    }

    /// Elements of the RAID.
    #[must_use]
    pub const fn members(&self) -> u8 {
        self.raw.members
    }

    /// The tag of an element; 0 for one that was absent, or that there is not.
    #[must_use]
    pub fn tag(&self, element: u8) -> u32 {
        self.tags
            .get(usize::from(element))
            .map_or(0, |tag| tag.get())
    }

    /// Sectors of content behind the header.
    #[must_use]
    pub const fn payload_sectors(&self) -> u16 {
        self.raw.payload_sectors.get()
    }

    /// The entries, in the order in which they were added.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        let mut payload_sector = HEADER_SECTORS;
        let is_of_before = self.raw.version.get() == VERSION_BEFORE;
        self.entries.iter().map(move |raw| {
            let sectors = raw.sectors.get();
            let sum = raw.content_checksum.get();
            let content_checksum = if is_of_before {
                let [a, b, c, d, ..] = sum.to_le_bytes();
                ContentChecksum::Crc32c(u32::from_le_bytes([a, b, c, d]))
            } else {
                ContentChecksum::Nh(sum)
            };
            let (kind, own) = if raw.kind == KIND_REDO {
                let own = payload_sector;
                payload_sector += sectors;
                (Kind::Redo, Some(own))
            } else {
                (Kind::Intent, None)
            };
            Entry {
                kind,
                place: EntryPlace {
                    member_sector: raw.member_sector.get(),
                    range_start: raw.range_start.get(),
                    range_sectors: raw.range_sectors.get(),
                    participants: raw.participants.get(),
                },
                sectors,
                content_checksum,
                payload_sector: own,
            }
        })
    }

    fn check_entries(&self) -> Result<(), HeaderError> {
        let slice_sectors = SLICE_SECTORS_MAX;
        let mut payload_sectors = 0;
        for entry in self.entries {
            let (sectors, participants) = (entry.sectors.get(), entry.participants.get());
            if sectors == 0 || u32::from(sectors) > slice_sectors {
                return Err(HeaderError::Field("home"));
            }
            let range_end =
                u32::from(entry.range_start.get()) + u32::from(entry.range_sectors.get());
            if range_end > slice_sectors {
                return Err(HeaderError::Field("range"));
            }
            let own = 1 << self.raw.element;
            if participants & own == 0 || participants >> self.raw.members != 0 {
                return Err(HeaderError::Field("participants"));
            }
            match entry.kind {
                KIND_REDO => payload_sectors += u32::from(sectors),
                KIND_INTENT => {}
                _ => return Err(HeaderError::Field("kind of entry")),
            }
        }
        if payload_sectors == u32::from(self.payload_sectors()) {
            Ok(())
        } else {
            Err(HeaderError::Field("payload length"))
        }
    }
}

/// CRC-32C of a header whose own field is taken as zero; `None` when it says that it is longer than a block.
fn header_checksum(raw: &RawHeader, rest: &[u8]) -> Option<u32> {
    let raw = RawHeader {
        checksum: U32::new(0),
        ..*raw
    };
    let end = match raw.version.get() {
        VERSION_BEFORE => HEADER_BYTES,
        _ => entry_offset(raw.members, raw.entries.get()),
    };
    let covered = rest.get(..end - TAGS_OFFSET)?;
    let head = crc32c::crc32c(raw.as_bytes());
    Some(crc32c::crc32c_append(head, covered))
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;

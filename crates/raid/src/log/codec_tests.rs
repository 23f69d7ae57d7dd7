//! Records written and read again, and everything that may be wrong with one.

use super::*;
use proptest::prelude::*;

const SLOT_SECTORS: u16 = 64;
const TAGS: [u32; 4] = [11, 22, 0, 44];

fn identity() -> RecordIdentity<'static> {
    RecordIdentity {
        set_uuid: Uuid::from_u128(7),
        epoch: 3,
        group: 99,
        element: 1,
        tags: &TAGS,
    }
}

fn place(member_sector: u64) -> EntryPlace {
    EntryPlace {
        member_sector,
        range_start: 0,
        range_sectors: 8,
        participants: 0b1010,
    }
}

fn block(buffer: &[u8]) -> &[u8; HEADER_BYTES] {
    buffer[..HEADER_BYTES].try_into().unwrap()
}

/// A record with a redo of three sectors and an intent of two.
fn record() -> (Vec<u8>, usize) {
    let mut buffer = vec![0xee; usize::from(SLOT_SECTORS) * 512];
    let mut writer = RecordWriter::new(4, SLOT_SECTORS);
    assert!(writer.is_empty());
    writer
        .add_redo(&mut buffer, &place(40), &[1; 3 * 512])
        .unwrap();
    writer
        .add_intent(&mut buffer, &place(64), 2, checksum::nh(&[2; 2 * 512]))
        .unwrap();
    let bytes = writer.finish(&mut buffer, &identity());
    (buffer, bytes)
}

/// The record with bytes changed and the checksum made right again.
fn forged(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let (mut buffer, _) = record();
    change(&mut buffer);
    mend(&mut buffer);
    buffer
}

/// Makes the checksum of a header right, if there can be one.
fn mend(buffer: &mut [u8]) {
    let (raw, rest) = RawHeader::read_from_prefix(&buffer[..HEADER_BYTES]).unwrap();
    if let Some(checksum) = header_checksum(&raw, rest) {
        buffer[12..16].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// The record as version 1 wrote it.
fn record_of_before() -> Vec<u8> {
    forged(|buffer| {
        buffer[8..12].copy_from_slice(&1_u32.to_le_bytes());
        for (entry, content) in [(80, vec![1; 3 * 512]), (112, vec![2; 2 * 512])] {
            let sum = u64::from(crc32c::crc32c(&content));
            buffer[entry + 24..entry + 32].copy_from_slice(&sum.to_le_bytes());
        }
    })
}

#[test]
fn a_record_reads_as_written() {
    let (buffer, bytes) = record();
    assert_eq!(bytes, 16 * 512);
    assert!(buffer[11 * 512..bytes].iter().all(|byte| *byte == 0));
    let header = Header::decode(block(&buffer)).unwrap();
    assert_eq!(header.set_uuid(), Uuid::from_u128(7));
    assert_eq!((header.epoch(), header.group()), (3, 99));
    assert_eq!((header.element(), header.members()), (1, 4));
    assert_eq!(
        [0, 1, 2, 3, 4].map(|element| header.tag(element)),
        [11, 22, 0, 44, 0]
    );
    let entries: Vec<_> = header.entries().collect();
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[0].kind, entries[0].sectors), (Kind::Redo, 3));
    assert_eq!(entries[0].place, place(40));
    assert_eq!(entries[0].payload_sector, Some(8));
    assert!(entries[0].is_content(&buffer[8 * 512..11 * 512]));
    assert!(!entries[0].is_content(&buffer[8 * 512..10 * 512]));
    assert_eq!(
        (entries[1].kind, entries[1].payload_sector),
        (Kind::Intent, None)
    );
    assert!(entries[1].is_content(&[2; 2 * 512]));
}

#[test]
fn the_layout_is_what_the_module_says() {
    let (buffer, _) = record();
    assert_eq!(&buffer[..8], b"LEDGELOG");
    assert_eq!(buffer[40], 99, "group");
    assert_eq!(buffer[52], 2, "entries");
    assert_eq!(buffer[54], 3, "payload sectors");
    assert_eq!(buffer[64..68], 11_u32.to_le_bytes(), "first tag");
    assert_eq!(buffer[80], 40, "member sector of the first entry");
    assert_eq!(buffer[80 + 10], 1, "its kind");
    assert_eq!(buffer[80 + 16], 0b1010, "its participants");
    assert_eq!(buffer[112], 64, "member sector of the second entry");
}

#[test]
fn a_record_of_the_version_before_reads() {
    let buffer = record_of_before();
    assert_eq!(
        buffer[12..16],
        {
            let mut block = buffer[..HEADER_BYTES].to_vec();
            block[12..16].fill(0);
            crc32c::crc32c(&block).to_le_bytes()
        },
        "its checksum is of the whole block"
    );
    let header = Header::decode(block(&buffer)).unwrap();
    let entries: Vec<_> = header.entries().collect();
    assert_eq!(entries[0].payload_sector, Some(8));
    assert!(entries[0].is_content(&buffer[8 * 512..11 * 512]));
    assert!(!entries[0].is_content(&[2; 3 * 512]));
    assert!(entries[1].is_content(&[2; 2 * 512]) && !entries[1].is_content(&[1; 2 * 512]));
    let torn = |at: usize| {
        let mut buffer = buffer.clone();
        buffer[at] ^= 1;
        Header::decode(block(&buffer)).unwrap_err()
    };
    assert_eq!(torn(130), HeaderError::Checksum);
    assert_eq!(torn(HEADER_BYTES - 1), HeaderError::Checksum);
}

#[test]
fn an_empty_record_is_a_header() {
    let mut buffer = vec![0xee; HEADER_BYTES];
    let bytes = RecordWriter::new(4, 16).finish(&mut buffer, &identity());
    assert_eq!(bytes, HEADER_BYTES);
    assert_eq!(Header::decode(block(&buffer)).unwrap().entries().count(), 0);
}

#[test]
fn a_full_record_takes_no_more() {
    let mut buffer = vec![0; usize::from(SLOT_SECTORS) * 512];
    let mut writer = RecordWriter::new(36, SLOT_SECTORS);
    for _ in 0..3 {
        assert!(writer.has_room(16));
        let added = writer.add_redo(&mut buffer, &place(0), &[0; 16 * 512]);
        assert_eq!(added, Ok(()));
    }
    assert!(!writer.has_room(16) && writer.has_room(8) && !writer.has_room(9));
    let refused = writer.add_redo(&mut buffer, &place(0), &[0; 9 * 512]);
    assert_eq!(refused, Err(NoRoom { content_sectors: 9 }));
    while writer.has_room(0) {
        writer.add_intent(&mut buffer, &place(0), 1, 0).unwrap();
    }
    assert_eq!(writer.entries(), ENTRIES_MAX);
    let refused = writer.add_intent(&mut buffer, &place(0), 1, 0);
    assert_eq!(refused, Err(NoRoom { content_sectors: 0 }));
}

#[test]
fn what_is_no_header_is_told() {
    let error = |buffer: &[u8]| Header::decode(block(buffer)).unwrap_err();
    assert_eq!(error(&[0; HEADER_BYTES]), HeaderError::Empty);
    let version = |version| HeaderError::Version {
        version,
        set_uuid: Uuid::from_u128(7),
        epoch: 3,
    };
    let (mut torn, _) = record();
    torn[100] ^= 1;
    assert_eq!(error(&torn), HeaderError::Checksum);
    let cases: [(usize, u8, HeaderError); 10] = [
        (8, 3, version(3)),
        (48, 4, HeaderError::Field("element")),
        (49, 37, HeaderError::Field("element")),
        (50, 9, HeaderError::Field("header length")),
        (52, 121, HeaderError::Field("number of entries")),
        (53, 1, HeaderError::Checksum),
        (54, 4, HeaderError::Field("payload length")),
        (80 + 8, 17, HeaderError::Field("home")),
        (80 + 10, 3, HeaderError::Field("kind of entry")),
        (80 + 16, 0b10101, HeaderError::Field("participants")),
    ];
    for (offset, value, expected) in cases {
        assert_eq!(error(&forged(|bytes| bytes[offset] = value)), expected);
    }
    let range = forged(|bytes| bytes[80 + 12] = 9);
    assert_eq!(error(&range), HeaderError::Field("range"));
}

proptest! {
    #[test]
    fn no_bytes_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 300),
        version in 1_u32..3,
        mends in any::<bool>(),
    ) {
        bytes.resize(HEADER_BYTES, 0);
        bytes[..8].copy_from_slice(b"LEDGELOG");
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        if mends {
            mend(&mut bytes);
        }
        if let Ok(header) = Header::decode(block(&bytes)) {
            prop_assert!(header.entries().count() <= usize::from(ENTRIES_MAX));
        }
    }

    #[test]
    fn entries_read_as_written(
        entries in prop::collection::vec((any::<u64>(), 1_usize..=16, any::<bool>(), any::<u8>()), 0..130),
        members in 4_u8..=36,
        slot in 2_u16..=32,
        flipped in any::<u16>(),
    ) {
        let slot_sectors = slot * 8;
        let mut buffer = vec![0xaa; usize::from(slot_sectors) * 512];
        let mut writer = RecordWriter::new(members, slot_sectors);
        let mut written = Vec::new();
        for (sector, sectors, is_redo, byte) in entries {
            let content = vec![byte; sectors * 512];
            let place = place(sector);
            let added = if is_redo {
                writer.add_redo(&mut buffer, &place, &content)
            } else {
                writer.add_intent(&mut buffer, &place, sectors_of(&content), checksum::nh(&content))
            };
            if added.is_ok() {
                written.push((place, is_redo, content));
            }
        }
        let tags: Vec<u32> = (1..=u32::from(members)).collect();
        let identity = RecordIdentity { tags: &tags, ..identity() };
        let bytes = writer.finish(&mut buffer, &identity);
        prop_assert!(bytes <= buffer.len() && bytes.is_multiple_of(4096));
        let header = Header::decode(block(&buffer)).unwrap();
        prop_assert_eq!(header.entries().count(), written.len());
        for (entry, (place, is_redo, content)) in header.entries().zip(&written) {
            prop_assert_eq!(entry.place, *place);
            prop_assert!(entry.is_content(content));
            prop_assert_eq!(entry.payload_sector.is_some(), *is_redo);
            if let Some(sector) = entry.payload_sector {
                let start = usize::from(sector) * 512;
                prop_assert_eq!(&buffer[start..start + content.len()], &content[..]);
            }
        }
        // One bit anywhere in what is read of the header is noticed.
        let bit = usize::from(flipped) % (entry_offset(members, writer.entries()) * 8);
        buffer[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Header::decode(block(&buffer)).is_err());
    }
}

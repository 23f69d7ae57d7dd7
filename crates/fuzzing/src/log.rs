//! What may be found in the redo log of a member: headers and records, and recovery over them.
//!
//! Checked: no bytes panic; what is accepted holds what its rules say; a record that was written is
//! read as written; recovery writes nothing outside the data, and ends.

use arbitrary::Arbitrary;
use raid::checksum::nh;
use raid::layout::Area;
use raid::log::recovery::{LoggedRaid, MemberIo, PresentMember, recover};
use raid::log::{
    ENTRIES_MAX, EntryPlace, HEADER_BYTES, Header, LogParameters, RecordIdentity, RecordWriter,
};
use raid::{Geometry, Level};
use uuid::Uuid;

const SET: Uuid = Uuid::from_bytes([7; 16]);
const MEMBERS: u8 = 4;
const TAGS: [u32; MEMBERS as usize] = [11, 12, 13, 14];
const LOG_SECTORS: u64 = 128;
const DATA_SECTORS: u64 = 64;

/// Where the header holds its version, and what its checksum covers depends on.
const VERSION: usize = 8;
const MEMBERS_BYTE: usize = 49;
const ENTRIES: usize = 52;

/// Where the header holds its checksum.
const CHECKSUM: std::ops::Range<usize> = 12..16;

#[derive(Arbitrary, Debug)]
struct Input {
    /// A header of any bytes.
    bytes: Vec<u8>,
    /// Records that are in themselves good.
    records: Vec<Record>,
    /// What is changed in the logs, as member, place and value.
    changes: Vec<(u8, u16, u8)>,
    /// Whether the checksums of the changed headers are made right again.
    mends_checksums: bool,
    /// A member that is lost.
    lost: Option<u8>,
    is_raid6: bool,
}

#[derive(Arbitrary, Debug)]
struct Record {
    element: u8,
    group: u8,
    entries: Vec<Entry>,
}

#[derive(Arbitrary, Debug)]
struct Entry {
    is_intent: bool,
    member_sector: u8,
    range_start: u8,
    range_sectors: u8,
    sectors: u8,
    participants: u8,
    byte: u8,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some(input) = crate::input::<Input>(data) else {
        return;
    };
    read_any(&input.bytes);
    let parameters = LogParameters::for_areas(LOG_SECTORS).expect("the area is large enough");
    let mut disks = Disks(vec![
        vec![0; ((LOG_SECTORS + DATA_SECTORS) * 512) as usize];
        usize::from(MEMBERS)
    ]);
    for record in &input.records {
        write(&mut disks, &parameters, record);
    }
    for (element, place, value) in &input.changes {
        let log = &mut disks.0[usize::from(element % MEMBERS)][..(LOG_SECTORS * 512) as usize];
        let place = usize::from(*place) % log.len();
        log[place] = *value;
    }
    if input.mends_checksums {
        let place_bytes = usize::from(parameters.slot_sectors()) * 512;
        for disk in &mut disks.0 {
            for place in disk[..(LOG_SECTORS * 512) as usize].chunks_mut(place_bytes) {
                mend(&mut place[..HEADER_BYTES]);
            }
        }
    }
    let level = if input.is_raid6 {
        Level::Raid6
    } else {
        Level::Raid5
    };
    let lost = input.lost.map(|lost| lost % MEMBERS);
    let members: Vec<Option<PresentMember>> = (0..MEMBERS)
        .map(|element| {
            (Some(element) != lost).then(|| PresentMember {
                tag: TAGS[usize::from(element)],
                log_area: Area {
                    sector: 0,
                    sectors: LOG_SECTORS,
                },
                data_offset_sectors: LOG_SECTORS,
                synced_sectors: DATA_SECTORS,
            })
        })
        .collect();
    let raid = LoggedRaid {
        set_uuid: SET,
        geometry: Geometry::new(level, MEMBERS, 32, DATA_SECTORS).expect("a good geometry"),
        parameters,
        members: &members,
        bad_blocks: &[],
    };
    if let Ok(report) = recover(&raid, &mut disks) {
        for range in report.unreadable.iter().chain(&report.bad_parity) {
            assert!(range.member_sector + u64::from(range.sectors) <= DATA_SECTORS);
        }
        let before = disks.0.clone();
        let again = recover(&raid, &mut disks).expect("what was recovered can be again");
        assert_eq!(
            (again.unreadable, again.bad_parity),
            (report.unreadable, report.bad_parity)
        );
        assert!(disks.0 == before, "a second recovery changes nothing");
    }
}

/// Any bytes, as they are and with a good checksum.
fn read_any(bytes: &[u8]) {
    let mut block = [0; HEADER_BYTES];
    let len = bytes.len().min(HEADER_BYTES);
    block[..len].copy_from_slice(&bytes[..len]);
    check(&block);
    block[..8].copy_from_slice(b"LEDGELOG");
    mend(&mut block);
    check(&block);
}

fn check(block: &[u8; HEADER_BYTES]) {
    let Ok(header) = Header::decode(block) else {
        return;
    };
    assert!(header.element() < header.members());
    assert!(header.entries().count() <= usize::from(ENTRIES_MAX));
    for entry in header.entries() {
        assert!((1..=16).contains(&entry.sectors));
        assert_ne!(entry.place.participants & (1 << header.element()), 0);
    }
}

fn mend(block: &mut [u8]) {
    block[CHECKSUM].fill(0);
    let entries = u16::from_le_bytes([block[ENTRIES], block[ENTRIES + 1]]);
    let end = match block[VERSION] {
        1 => HEADER_BYTES,
        _ => 64 + 4 * usize::from(block[MEMBERS_BYTE]) + 32 * usize::from(entries),
    };
    let checksum = crc32c::crc32c(&block[..end.min(HEADER_BYTES)]);
    block[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
}

fn write(disks: &mut Disks, parameters: &LogParameters, record: &Record) {
    let element = record.element % MEMBERS;
    let mut buffer = vec![0; usize::from(parameters.slot_sectors()) * 512];
    let mut writer = RecordWriter::new(MEMBERS, parameters.slot_sectors());
    let mut written = Vec::new();
    for entry in &record.entries {
        let range_start = u16::from(entry.range_start % 16);
        let place = EntryPlace {
            member_sector: u64::from(entry.member_sector),
            range_start,
            range_sectors: u16::from(entry.range_sectors) % (17 - range_start),
            participants: u64::from(entry.participants % (1 << MEMBERS)) | 1 << element,
        };
        let sectors = u16::from(entry.sectors % 16) + 1;
        let content = vec![entry.byte; usize::from(sectors) * 512];
        let added = if entry.is_intent {
            writer.add_intent(&mut buffer, &place, sectors, nh(&content))
        } else {
            writer.add_redo(&mut buffer, &place, &content)
        };
        if added.is_ok() {
            written.push((place, content));
        }
    }
    let identity = RecordIdentity {
        set_uuid: SET,
        epoch: parameters.epoch(),
        group: u64::from(record.group),
        element,
        tags: &TAGS,
    };
    let bytes = writer.finish(&mut buffer, &identity);
    let block = buffer.first_chunk().expect("a record begins with a header");
    let header = Header::decode(block).expect("what was written is read");
    assert_eq!(header.entries().count(), written.len());
    for (entry, (place, content)) in header.entries().zip(&written) {
        assert_eq!(entry.place, *place);
        assert!(entry.is_content(content));
    }
    let area = Area {
        sector: 0,
        sectors: LOG_SECTORS,
    };
    let start = (parameters.record_sector(area, header.group()) * 512) as usize;
    disks.0[usize::from(element)][start..start + bytes].copy_from_slice(&buffer[..bytes]);
}

struct Disks(Vec<Vec<u8>>);

impl MemberIo for Disks {
    type Error = &'static str;

    fn read(&mut self, element: u8, sector: u64, buffer: &mut [u8]) -> Result<(), &'static str> {
        let start = (sector * 512) as usize;
        buffer.copy_from_slice(&self.0[usize::from(element)][start..start + buffer.len()]);
        Ok(())
    }

    fn write(&mut self, element: u8, sector: u64, data: &[u8]) -> Result<(), &'static str> {
        assert!(sector >= LOG_SECTORS, "recovery writes data only");
        let start = (sector * 512) as usize;
        self.0[usize::from(element)][start..start + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn flush(&mut self, _: u8) -> Result<(), &'static str> {
        Ok(())
    }
}

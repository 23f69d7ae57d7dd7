//! What may be found on a disk: md superblocks and the shelf's records.
//!
//! Checked: no bytes panic; a superblock that is accepted keeps what it says when it is written
//! again; the newer of two good records counts.

use arbitrary::Arbitrary;
use raid::Geometry;
use raid::layout::{MemberLayout, MetadataPlaces};
use raid::level::Level;
use raid::log::LogParameters;
use raid::md::raw::{self, BLOCK_BYTES, DEVICES_MAX, HEADER_BYTES};
use raid::md::{NewMember, Resync, Superblock};
use raid::record::{
    self, CONFIG_STRING_BYTES_MAX, Record, RecordOwner, RecordState, SLOT_BYTES, SpareRecord,
};
use uuid::Uuid;

/// Where the header holds its checksum and its number of roles (md v1.2 superblock).
const CHECKSUM: std::ops::Range<usize> = 216..220;
const DEVICES: std::ops::Range<usize> = 220..224;

#[derive(Arbitrary, Debug)]
struct Input {
    /// What the good metadata is made of.
    level: u8,
    members: u8,
    element: u8,
    device_sectors: u32,
    chunk_exponent: u8,
    dirty_from: Option<u64>,
    label: String,
    config_string: Vec<u8>,
    generations: [u64; 2],
    /// What is changed in it, as place and value.
    changes: Vec<(u16, u8)>,
    /// Whether the superblock's checksum is made right again.
    mends_checksum: bool,
    /// What else may be there.
    bytes: Vec<u8>,
}

const OWNER: RecordOwner = RecordOwner {
    set_uuid: Uuid::from_bytes([7; 16]),
    dev_number: 0,
    data_offset_sectors: 2048,
};

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some(input) = crate::input::<Input>(data) else {
        return;
    };
    let mut block = [0; BLOCK_BYTES];
    let bytes = input.bytes.len().min(BLOCK_BYTES);
    block[..bytes].copy_from_slice(&input.bytes[..bytes]);
    read_superblock(&block);
    if let Some(mut block) = good_superblock(&input) {
        change(&mut block, &input.changes);
        if input.mends_checksum {
            mend(&mut block);
        }
        read_superblock(&block);
    }
    read_records(&input);
}

fn good_superblock(input: &Input) -> Option<[u8; BLOCK_BYTES]> {
    let level =
        [Level::Jbod, Level::Raid0, Level::Raid1, Level::Raid10][usize::from(input.level % 4)];
    let chunk_sectors = 1 << (input.chunk_exponent % 16);
    let layout = MemberLayout::new(u64::from(input.device_sectors), chunk_sectors).ok()?;
    let geometry = Geometry::new(level, input.members, chunk_sectors, layout.data_sectors).ok()?;
    let superblock = Superblock::new(&NewMember {
        set_uuid: OWNER.set_uuid,
        device_uuid: Uuid::from_bytes([8; 16]),
        name: &input.label,
        created_unix_seconds: 1_800_000_000,
        geometry: &geometry,
        layout,
        element: input.element % input.members,
        resync: input.dirty_from.map_or(Resync::Clean, Resync::DirtyFrom),
    });
    Some(superblock.encode())
}

fn change(bytes: &mut [u8], changes: &[(u16, u8)]) {
    for (place, value) in changes {
        let place = usize::from(*place) % bytes.len();
        bytes[place] = *value;
    }
}

fn mend(block: &mut [u8; BLOCK_BYTES]) {
    let mut devices = [0; 4];
    devices.copy_from_slice(&block[DEVICES]);
    let devices = usize::try_from(u32::from_le_bytes(devices)).unwrap_or(usize::MAX);
    if devices <= DEVICES_MAX {
        block[CHECKSUM].fill(0);
        let checksum = raw::checksum(&block[..HEADER_BYTES + devices * 2]);
        block[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    }
}

fn read_superblock(block: &[u8; BLOCK_BYTES]) {
    let Ok(superblock) = Superblock::decode(block) else {
        return;
    };
    let _ = superblock.name();
    let _ = MetadataPlaces::of(superblock.data_offset_sectors());
    if let Ok(geometry) = superblock.geometry() {
        let capacity = geometry.capacity_sectors();
        let last = capacity.saturating_sub(1);
        for segment in geometry.segments(last, 1) {
            let end = segment
                .member_sector
                .checked_add(u64::from(segment.sectors));
            assert!(
                end.is_some_and(|end| end <= geometry.member_sectors()),
                "{segment:?}"
            );
        }
    }
    let again = Superblock::decode(&superblock.encode()).expect("what was accepted stays accepted");
    assert_eq!(again.events(), superblock.events());
    assert_eq!(again.set_uuid(), superblock.set_uuid());
    assert_eq!(again.resync(), superblock.resync());
    let number = superblock.dev_number();
    assert_eq!(again.role(number), superblock.role(number));
}

fn read_records(input: &Input) {
    let longest = input.config_string.len().min(CONFIG_STRING_BYTES_MAX);
    let config_string = &input.config_string[..longest];
    let record = Record {
        state: RecordState::Complete,
        shelf: 1,
        next_shelf: None,
        lun: 0,
        part: 0,
        parts: 1,
        element: input.element,
        elements: input.members,
        level: Level::Raid10,
        label: Some(input.label.clone()),
        online: true,
        serial: "1".into(),
        config_string: config_string.to_vec(),
        created_unix_seconds: 1_800_000_000,
        log: LogParameters::for_areas(u64::from(input.device_sectors)),
        parity_synced: false,
        away: Vec::new(),
        scrub: Default::default(),
        further: Vec::new(),
        namers: Vec::new(),
        lost: Vec::new(),
        access: Default::default(),
    };
    let mut slots = [[0; SLOT_BYTES]; 2];
    for (slot, generation) in slots.iter_mut().zip(input.generations) {
        let Ok(bytes) = record::encode(&OWNER, generation, &record) else {
            return;
        };
        slot[..bytes.len()].copy_from_slice(&bytes);
    }
    let found = record::read_slots([&slots[0], &slots[1]], &OWNER);
    let newest = found.newest.expect("both slots are good");
    assert_eq!(
        newest.generation,
        input.generations[0].max(input.generations[1])
    );
    assert_eq!(newest.record, record);
    change(&mut slots[0], &input.changes);
    let bytes = input.bytes.len().min(SLOT_BYTES);
    slots[1][..bytes].copy_from_slice(&input.bytes[..bytes]);
    let found = record::read_slots([&slots[0], &slots[1]], &OWNER);
    assert!(found.newest.is_none_or(|newest| newest.record == record));
    read_spares(input, &slots[1]);
}

fn read_spares(input: &Input, other: &[u8; SLOT_BYTES]) {
    let spare = SpareRecord {
        spare_of_shelf: input.chunk_exponent.into(),
        next_shelf: (input.element > 99).then_some(3),
        dedicated_to_lun: (input.members > 99).then_some(input.members),
    };
    let bytes = record::encode_spare(&OWNER, input.generations[0], &spare).expect("it is short");
    let mut slot = [0; SLOT_BYTES];
    slot[..bytes.len()].copy_from_slice(&bytes);
    let found = record::read_spare_slots([&slot, &[0; SLOT_BYTES]], &OWNER);
    assert_eq!(found.newest.expect("it is good").record, spare);
    change(&mut slot, &input.changes);
    let found = record::read_spare_slots([&slot, other], &OWNER);
    assert!(found.newest.is_none_or(|newest| newest.record == spare));
}

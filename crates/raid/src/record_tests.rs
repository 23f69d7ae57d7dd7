//! Tests of the record codec and of the choice between slots.

use super::*;
use crate::lost::{LOST_MAX, LostRange};
use proptest::prelude::*;

const OWNER: RecordOwner = RecordOwner {
    set_uuid: Uuid::from_u128(7),
    dev_number: 3,
    data_offset_sectors: 264_192,
};

fn record() -> Record {
    Record {
        state: RecordState::Complete,
        shelf: 1,
        next_shelf: None,
        lun: 0,
        part: 0,
        parts: 1,
        further: Vec::new(),
        namers: Vec::new(),
        element: 3,
        elements: 16,
        level: Level::Raid10,
        label: Some("vm1".to_owned()),
        online: true,
        serial: "0123abcd-00-65a1b2c3".to_owned(),
        config_string: b"\x00any bytes\xff".to_vec(),
        created_unix_seconds: 1_700_000_000,
        log: None,
        away: vec![2],
        scrub: ScrubRecord {
            interval_days: Some(7),
            done_lba: Some(4096),
            ..ScrubRecord::default()
        },
        parity_synced: false,
        lost: Vec::new(),
        access: AccessRecord::default(),
    }
}

fn slot(generation: u64, record: &Record) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let bytes = encode(&OWNER, generation, record).unwrap();
    slot[..bytes.len()].copy_from_slice(&bytes);
    slot
}

static EMPTY: [u8; SLOT_BYTES] = [0; SLOT_BYTES];

#[test]
fn the_higher_generation_counts_in_whichever_slot_it_lies() {
    let older = slot(
        4,
        &Record {
            online: false,
            ..record()
        },
    );
    let newer = slot(5, &record());
    for (slots, at) in [([&older, &newer], 1), ([&newer, &older], 0)] {
        let read = read_slots(slots, &OWNER);
        let expected = StoredRecord {
            slot: at,
            generation: 5,
            record: record(),
        };
        assert_eq!(read.newest, Some(expected));
        assert_eq!(read.damage, [None, None]);
    }
}

#[test]
fn empty_slots_are_no_damage() {
    let read = read_slots([&EMPTY, &EMPTY], &OWNER);
    assert_eq!(
        read,
        Slots {
            newest: None,
            damage: [None, None]
        }
    );
}

#[test]
fn a_torn_slot_is_told_and_the_other_counts() {
    let older = slot(4, &record());
    let mut torn = slot(
        5,
        &Record {
            config_string: vec![7; 1024],
            ..record()
        },
    );
    torn[512..].fill(0);
    let read = read_slots([&older, &torn], &OWNER);
    assert_eq!(read.newest.unwrap().generation, 4);
    assert!(matches!(
        read.damage,
        [None, Some(RecordError::Checksum { .. })]
    ));
}

#[test]
fn a_record_of_another_member_is_ignored() {
    let bytes = slot(9, &record());
    for owner in [
        RecordOwner {
            set_uuid: Uuid::from_u128(8),
            ..OWNER
        },
        RecordOwner {
            dev_number: 2,
            ..OWNER
        },
        RecordOwner {
            data_offset_sectors: 256,
            ..OWNER
        },
    ] {
        let read = read_slots([&bytes, &EMPTY], &owner);
        assert_eq!(read.newest, None);
        assert!(matches!(
            read.damage[0],
            Some(RecordError::OtherMember { .. })
        ));
    }
}

#[test]
fn other_formats_and_lengths_are_told() {
    let mut other_format = slot(1, &record());
    other_format[8] = 3;
    let rotten = other_format;
    let (header, rest) = RawHeader::read_from_prefix(&other_format).unwrap();
    let payload = usize::try_from(header.payload_bytes.get()).unwrap();
    let right = checksum(&header, &rest[..payload]);
    other_format[12..16].copy_from_slice(&right.to_le_bytes());
    let mut too_long = slot(1, &record());
    too_long[46] = 0xff;
    let read = read_slots([&other_format, &too_long], &OWNER);
    assert_eq!(read.damage[0], Some(RecordError::Format(3)));
    assert!(matches!(read.damage[1], Some(RecordError::Length(_))));
    assert_eq!(read.other_format(), Some(3));
    let read = read_slots([&slot(1, &record()), &rotten], &OWNER);
    assert!(matches!(read.damage[1], Some(RecordError::Checksum { .. })));
    assert_eq!(read.other_format(), None);
}

#[test]
fn fields_of_later_versions_are_read_over() {
    let mut value = serde_json::to_value(record()).unwrap();
    value["masks"] = serde_json::json!(["001122334455"]);
    assert_eq!(serde_json::from_value::<Record>(value).unwrap(), record());
}

#[test]
fn a_record_that_does_not_fit_is_refused() {
    let long = Record {
        label: Some("x".repeat(SLOT_BYTES)),
        ..record()
    };
    assert!(matches!(encode(&OWNER, 1, &long), Err(RecordTooLong(_))));
}

#[test]
fn wrong_digits_in_the_config_string_are_refused() {
    for digits in ["0", "0g", "é", "+1"] {
        let mut value = serde_json::to_value(record()).unwrap();
        value["config_string"] = digits.into();
        assert!(serde_json::from_value::<Record>(value).is_err(), "{digits}");
    }
}

/// A view with a longer one would make the data path build a frame that no port takes.
#[test]
fn a_config_string_that_no_frame_carries_is_refused() {
    for (bytes, damage) in [(1024, None), (1025, Some(RecordError::ConfigString(1025)))] {
        let long = Record {
            config_string: vec![7; bytes],
            ..record()
        };
        let read = read_slots([&slot(1, &long), &EMPTY], &OWNER);
        assert_eq!(read.newest.is_none(), damage.is_some());
        assert_eq!(read.damage[0], damage);
    }
}

fn any_record() -> impl Strategy<Value = Record> {
    let level = prop::sample::select(vec![Level::Jbod, Level::Raid0, Level::Raid1, Level::Raid10]);
    let state = prop::sample::select(vec![
        RecordState::Making,
        RecordState::Complete,
        RecordState::Removing,
    ]);
    let numbers = (
        any::<u16>(),
        any::<Option<u16>>(),
        any::<[u8; 5]>(),
        any::<u64>(),
    );
    let texts = (
        any::<Option<String>>(),
        ".{0,20}",
        prop::collection::vec(any::<u8>(), 0..1025),
    );
    let all = (level, state, numbers, texts, any::<bool>(), any_access());
    all.prop_map(|(level, state, n, t, online, access)| Record {
        state,
        shelf: n.0,
        next_shelf: n.1,
        lun: n.2[0],
        part: n.2[1],
        parts: n.2[2],
        further: vec![
            FurtherRaid {
                set_uuid: Uuid::from_u128(u128::from(n.3)),
                level,
                elements: n.2[4],
                capacity_sectors: n.3,
            };
            usize::from(n.2[2] % 4)
        ],
        namers: vec![n.2[0]; usize::from(n.2[1] % 3)],
        element: n.2[3],
        elements: n.2[4],
        level,
        label: t.0,
        online,
        serial: t.1,
        config_string: t.2,
        created_unix_seconds: n.3,
        log: LogParameters::for_areas(n.3 % 100_000),
        away: Vec::new(),
        scrub: ScrubRecord::default(),
        parity_synced: online,
        lost: Vec::new(),
        access,
    })
}

fn any_access() -> impl Strategy<Value = AccessRecord> {
    let station = || any::<[u8; 6]>().prop_map(Station);
    let stations = move |count| prop::collection::vec(station(), 0..count);
    let key = (1..=u64::MAX, stations(4)).prop_map(|(key, stations)| KeyRecord { key, stations });
    let keyed = (
        0..6_u8,
        any::<Option<u64>>(),
        any::<u32>(),
        prop::collection::vec(key, 0..64),
    );
    let rules = (
        stations(256),
        stations(256),
        keyed,
        prop::option::of(1..4095_u16),
        any::<bool>(),
    );
    let rules = rules.prop_map(|(masks, reserved, keyed, vlan, read_only)| AccessRecord {
        masks,
        keyed: KeyedRecord {
            kind: keyed.0,
            owner: keyed.1,
            generation: keyed.2,
            keys: if reserved.is_empty() {
                keyed.3
            } else {
                Vec::new()
            },
        },
        reserved,
        vlan,
        read_only,
    });
    prop_oneof![Just(AccessRecord::default()), rules]
}

/// The longest record that there can be.
fn longest() -> Record {
    let stations = |count: usize| vec![Station([0xfe; 6]); count];
    let key = || KeyRecord {
        key: u64::MAX,
        stations: stations(1),
    };
    let further = FurtherRaid {
        set_uuid: Uuid::from_u128(u128::MAX),
        level: Level::Raid10,
        elements: 64,
        capacity_sectors: u64::MAX,
    };
    Record {
        config_string: vec![7; CONFIG_STRING_BYTES_MAX],
        further: vec![further; 3],
        away: vec![63; 64],
        namers: vec![63; 64],
        label: Some("x".repeat(256)),
        lost: vec![
            LostRange {
                element: 35,
                sector: 1 << 48,
                sectors: 1 << 10,
            };
            2 * LOST_MAX
        ],
        access: AccessRecord {
            masks: stations(STATIONS_MAX),
            reserved: Vec::new(),
            keyed: KeyedRecord {
                kind: 5,
                owner: Some(u64::MAX),
                generation: u32::MAX,
                keys: (0..KEYS_MAX).map(|_| key()).collect(),
            },
            vlan: Some(4094),
            read_only: true,
        },
        ..record()
    }
}

#[test]
fn full_lists_fit_a_slot() {
    let longest = longest();
    let read = read_slots([&slot(1, &longest), &EMPTY], &OWNER);
    assert_eq!(read.newest.map(|newest| newest.record), Some(longest));
}

#[test]
fn only_a_record_with_rules_is_of_a_format_that_older_versions_leave_alone() {
    let format = |access: AccessRecord| slot(1, &Record { access, ..record() })[8];
    assert_eq!(format(AccessRecord::default()), 1);
    assert!(!serde_json::to_string(&record()).unwrap().contains("access"));
    let rules = |change: fn(&mut AccessRecord)| {
        let mut access = AccessRecord::default();
        change(&mut access);
        access
    };
    for access in [
        rules(|access| access.masks.push(Station([1; 6]))),
        rules(|access| access.reserved.push(Station([1; 6]))),
        rules(|access| access.keyed.generation = 1),
        rules(|access| access.vlan = Some(1)),
        rules(|access| access.read_only = true),
    ] {
        assert_eq!(format(access), 2);
    }
    let mut torn = record();
    assert!(torn.lost.is_empty());
    torn.lost.push(LostRange {
        element: 1,
        sector: 16,
        sectors: 8,
    });
    assert_eq!(slot(1, &torn)[8], 2);
}

#[test]
fn rules_out_of_bounds_are_refused() {
    let stations = vec![Station([2; 6]); STATIONS_MAX + 1];
    let both = KeyRecord {
        key: 1,
        stations: vec![Station([2; 6])],
    };
    let many_keys = vec![
        KeyRecord {
            key: 1,
            stations: vec![Station([2; 6]); 128]
        };
        2
    ];
    for access in [
        AccessRecord {
            masks: stations.clone(),
            ..AccessRecord::default()
        },
        AccessRecord {
            reserved: stations,
            ..AccessRecord::default()
        },
        AccessRecord {
            keyed: KeyedRecord {
                keys: many_keys,
                ..KeyedRecord::default()
            },
            ..AccessRecord::default()
        },
        AccessRecord {
            reserved: both.stations.clone(),
            keyed: KeyedRecord {
                keys: vec![both],
                ..KeyedRecord::default()
            },
            ..AccessRecord::default()
        },
        AccessRecord {
            vlan: Some(0),
            ..AccessRecord::default()
        },
        AccessRecord {
            vlan: Some(4095),
            ..AccessRecord::default()
        },
    ] {
        let read = read_slots([&slot(1, &Record { access, ..record() }), &EMPTY], &OWNER);
        assert_eq!(
            (read.newest, &read.damage[0]),
            (None, &Some(RecordError::Access))
        );
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(record in any_record(), generation in any::<u64>()) {
        let read = read_slots([&EMPTY, &slot(generation, &record)], &OWNER);
        prop_assert_eq!(read.newest, Some(StoredRecord { slot: 1, generation, record }));
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        patches in prop::collection::vec((0..600_usize, any::<u8>()), 0..8),
        noise in prop::collection::vec(any::<u8>(), 600),
    ) {
        let mut patched = slot(1, &record());
        for (at, byte) in patches {
            patched[at] = byte;
        }
        let mut noisy = EMPTY;
        noisy[..8].copy_from_slice(b"LedgeRec");
        noisy[8..600].copy_from_slice(&noise[8..]);
        let read = read_slots([&patched, &noisy], &OWNER);
        if let Some(newest) = read.newest {
            // A change that the checksum does not see is no change.
            prop_assert_eq!(newest.record, record());
        }
    }
}

#[test]
fn a_spare_is_no_member_and_no_member_a_spare() {
    let owner = RecordOwner {
        set_uuid: Uuid::from_u128(7),
        dev_number: 0,
        data_offset_sectors: 256,
    };
    let record = SpareRecord {
        spare_of_shelf: 1,
        next_shelf: None,
        dedicated_to_lun: Some(3),
    };
    let mut slot = [0; SLOT_BYTES];
    let bytes = encode_spare(&owner, 5, &record).unwrap();
    slot[..bytes.len()].copy_from_slice(&bytes);
    let empty = [0; SLOT_BYTES];
    let spare = read_spare_slots([&empty, &slot], &owner).newest.unwrap();
    assert_eq!((spare.slot, spare.generation), (1, 5));
    assert_eq!(spare.record, record);
    let member = read_slots([&empty, &slot], &owner);
    assert_eq!(member.newest, None);
    assert!(matches!(
        member.damage,
        [None, Some(RecordError::Payload(_))]
    ));
}

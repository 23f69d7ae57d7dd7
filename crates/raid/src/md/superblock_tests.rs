//! Tests of the superblock codec. What mdadm says of the images is tested in `tests/mdadm.rs`.

use super::*;
use crate::geometry::CHUNK_SECTORS_DEFAULT;
use crate::layout::Area;
use proptest::prelude::*;

fn geometry() -> Geometry {
    Geometry::new(Level::Raid10, 4, CHUNK_SECTORS_DEFAULT, 128 * 100).unwrap()
}

fn superblock(element: u8) -> Superblock {
    Superblock::new(&NewMember {
        set_uuid: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        device_uuid: Uuid::from_u128(u128::from(element)),
        name: "1:0",
        created_unix_seconds: 1_700_000_000,
        geometry: &geometry(),
        layout: MemberLayout::new(1 << 17, CHUNK_SECTORS_DEFAULT).unwrap(),
        element,
        resync: Resync::DirtyFrom(0),
    })
}

/// The block of a superblock after a change of its bytes, with the checksum made right again.
fn patched(change: impl FnOnce(&mut [u8; BLOCK_BYTES])) -> [u8; BLOCK_BYTES] {
    let mut block = superblock(0).encode();
    change(&mut block);
    let devices = usize::from(u16::from_le_bytes([block[220], block[221]])).min(DEVICES_MAX);
    let sum = raw::checksum(&block[..HEADER_BYTES + devices * 2]);
    block[216..220].copy_from_slice(&sum.to_le_bytes());
    block
}

#[test]
fn what_was_made_is_read_back() {
    let mut made = superblock(3);
    made.set_events(7, 1_800_000_000);
    made.set_role(0, Role::Faulty);
    let read = Superblock::decode(&made.encode()).unwrap();
    assert_eq!(
        read.set_uuid().to_string(),
        "00112233-4455-6677-8899-aabbccddeeff"
    );
    assert_eq!(read.device_uuid(), Uuid::from_u128(3));
    assert_eq!(read.name(), "1:0");
    assert_eq!(read.created_unix_seconds(), 1_700_000_000);
    assert_eq!(read.dev_number(), 3);
    assert_eq!(read.events(), 7);
    assert_eq!(read.resync(), Resync::DirtyFrom(0));
    let roles: Vec<Role> = (0..5).map(|device| read.role(device)).collect();
    let spare = Role::Spare;
    assert_eq!(roles, [Role::Faulty, spare, spare, Role::Active(3), spare]);
    assert_eq!(read.role(u32::MAX), Role::Spare);
    assert_eq!(read.geometry(), Ok(geometry()));
    assert_eq!(
        (read.data_offset_sectors(), read.data_sectors()),
        (6144, (1 << 17) - 6144)
    );
}

#[test]
fn bytes_lie_where_md_has_them() {
    let block = superblock(2).encode();
    let u32_at = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
    assert_eq!(u32_at(0), 0xa92b_4efc);
    assert_eq!(u32_at(4), 1);
    assert_eq!((u32_at(8), u32_at(96)), (1, 8), "a bitmap at sector 16");
    assert_eq!(
        block[16..32],
        Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff).into_bytes()
    );
    assert_eq!(&block[32..36], b"1:0\0");
    assert_eq!((u32_at(72), u32_at(76)), (10, 0x102));
    assert_eq!((u32_at(80), u32_at(88), u32_at(92)), (12800, 128, 4));
    assert_eq!((u32_at(128), u32_at(144)), (6144, 8));
    assert_eq!(u32_at(160), 1, "element 2 of 4 has md role 1");
    assert_eq!(
        (block[185], u32_at(188)),
        (0, 264),
        "bad-block log at sector 272"
    );
    assert_eq!(u16::from_le_bytes([block[186], block[187]]), 8);
    assert_eq!(u32_at(220), 128);
    assert_eq!(block[224..256], [0; 32]);
    assert!(
        block[512..].iter().all(|&byte| byte == 0),
        "all that counts is in one sector"
    );
}

#[test]
fn areas_of_others_are_found_where_they_can_be() {
    let read = |change: &dyn Fn(&mut [u8; BLOCK_BYTES])| {
        Superblock::decode(&patched(|block| change(block))).unwrap()
    };
    let area = |sector, sectors| Some(Area { sector, sectors });
    let ours = read(&|_| {});
    assert_eq!(ours.bitmap_area(), area(16, 256));
    assert_eq!(ours.bad_blocks_area().map(|(area, _)| area), area(272, 8));
    let without = read(&|b| b[8] = 0);
    assert_eq!((without.has_bitmap(), without.bitmap_area()), (false, None));
    let at = |offset: i32| {
        move |b: &mut [u8; BLOCK_BYTES]| {
            b[96..100].copy_from_slice(&offset.to_le_bytes());
        }
    };
    assert_eq!(read(&at(16)).bitmap_area(), area(24, 248), "up to the log");
    assert_eq!(read(&at(5000)).bitmap_area(), area(5008, 1025));
    assert_eq!(read(&at(6000)).bitmap_area(), area(6008, 6144 - 6008));
    for offset in [0, 7, -8, 6136, i32::MAX, i32::MIN] {
        assert_eq!(read(&at(offset)).bitmap_area(), None, "{offset}");
    }
    for (sectors, found) in [(0, false), (1, true), (8, true), (9, false)] {
        let superblock = read(&|b| b[186] = sectors);
        assert_eq!(superblock.bad_blocks_area().is_some(), found, "{sectors}");
    }
}

#[test]
fn features_come_and_go() {
    let mut made = superblock(0);
    made.set_has_bad_blocks(true);
    assert_eq!((made.feature_bits(), made.has_bad_blocks()), (9, true));
    made.set_has_bad_blocks(false);
    assert_eq!(made.feature_bits(), 1);
    made.set_has_bitmap(false);
    assert_eq!((made.feature_bits(), made.bitmap_area()), (0, None));
    made.set_has_bitmap(true);
    assert!(made.bitmap_area().is_some());
}

#[test]
fn clean_is_all_ones() {
    let mut made = superblock(0);
    made.set_resync(Resync::Clean);
    assert_eq!(made.encode()[208..216], [0xff; 8]);
    assert_eq!(
        Superblock::decode(&made.encode()).unwrap().resync(),
        Resync::Clean
    );
}

#[test]
fn damage_is_told_apart() {
    use SuperblockError as E;
    let refused = |block: &[u8; BLOCK_BYTES]| Superblock::decode(block).unwrap_err();
    assert_eq!(refused(&[0; BLOCK_BYTES]), E::NotMd);
    assert_eq!(refused(&patched(|b| b[4] = 2)), E::Version(2));
    assert_eq!(
        refused(&patched(|b| b[220..224].fill(0xff))),
        E::TooManyDevices(u32::MAX)
    );
    assert_eq!(refused(&patched(|b| b[144] = 0)), E::Misplaced(0));
    assert_eq!(refused(&patched(|b| b[160] = 128)), E::DeviceNumber(128));
    assert_eq!(refused(&patched(|b| b[128..136].fill(0))), E::DataOffset(0));
    let few = E::RaidDisks {
        members: 4,
        roles: 3,
    };
    assert_eq!(refused(&patched(|b| b[220] = 3)), few);
    let mut torn = superblock(0).encode();
    torn[300] ^= 1;
    assert!(matches!(refused(&torn), E::Checksum { .. }));
}

#[test]
fn the_logical_block_size_of_newer_kernels_is_read_over_and_not_written() {
    let block = patched(|b| b[224..228].copy_from_slice(&512_u32.to_le_bytes()));
    let read = Superblock::decode(&block).unwrap();
    assert_eq!(read.encode()[224..228], [0; 4]);
}

#[test]
fn arrays_that_we_do_not_serve_are_named() {
    use UnsupportedArray as U;
    let geometry = |change: &dyn Fn(&mut [u8; BLOCK_BYTES])| {
        Superblock::decode(&patched(|block| change(block)))
            .unwrap()
            .geometry()
            .unwrap_err()
    };
    assert_eq!(geometry(&|b| b[8] = 7), U::Features(4));
    assert_eq!(geometry(&|b| b[11] = 0x80), U::Features(0x8000_0000));
    assert_eq!(
        geometry(&|b| b[72] = 6),
        U::Level {
            level: 6,
            layout: 0x102
        }
    );
    assert_eq!(
        geometry(&|b| b[77] = 2),
        U::Level {
            level: 10,
            layout: 0x202
        }
    );
    assert!(matches!(geometry(&|b| b[92] = 3), U::Geometry(_)));
    assert!(matches!(geometry(&|b| b[88] = 3), U::Geometry(_)));
    assert!(matches!(geometry(&|b| b[136..144].fill(0)), U::Geometry(_)));
}

#[test]
fn an_odd_number_of_roles_has_half_a_word_in_the_checksum() {
    let mut bytes = vec![0; HEADER_BYTES + 2];
    bytes[HEADER_BYTES..].copy_from_slice(&[0xfe, 0xff]);
    assert_eq!(raw::checksum(&bytes), 0xfffe);
    bytes[0..8].fill(0xff);
    // Twice 2^32 - 1 and the half word: the carry is folded in once.
    let sum = 2 * u64::from(u32::MAX) + 0xfffe;
    let folded = u32::try_from(sum & 0xffff_ffff).unwrap() + u32::try_from(sum >> 32).unwrap();
    assert_eq!(raw::checksum(&bytes), folded);
}

#[test]
fn long_names_are_cut() {
    let mut made = superblock(0);
    made.set_name(&"x".repeat(40));
    assert_eq!(made.name(), "x".repeat(32));
    made.set_name("2:7");
    assert_eq!(made.name(), "2:7");
}

/// Linux rebuilt element 0 on device 2: the table calls devices 1 and 2 members.
#[test]
fn whoever_is_no_member_is_failed_over_the_whole_table() {
    let mut made = superblock(0);
    made.set_role(0, Role::Faulty);
    made.set_role(1, Role::Active(1));
    made.set_role(127, Role::Active(0));
    assert_eq!(
        made.active_devices().collect::<Vec<_>>(),
        [(1, 1), (127, 0)]
    );
    made.set_active_devices(&[(1, 1)]);
    assert_eq!(made.active_devices().collect::<Vec<_>>(), [(1, 1)]);
    // Device 2 was to be there from the start, device 126 never was.
    assert_eq!((made.role(127), made.role(2)), (Role::Faulty, Role::Faulty));
    assert_eq!(made.role(126), Role::Spare);
    let mut other = superblock(3);
    other.copy_roles(&made);
    assert_eq!(other.role(127), Role::Faulty);
    assert_eq!(other.role(126), Role::Spare);
}

/// Linux 6.1 and 6.12 do wrong with the replacement of a member of a dirty array, unless it is a raid6: no
/// kernel is to take such a device. The bit that keeps it away is on the disk and nowhere else.
#[test]
fn the_replacement_in_a_dirty_array_is_kept_from_linux() {
    let features = |superblock: &Superblock| {
        let block = superblock.encode();
        u32::from_le_bytes([block[8], block[9], block[10], block[11]])
    };
    let of_level = |level| {
        let geometry = Geometry::new(level, 6, CHUNK_SECTORS_DEFAULT, 128 * 100).unwrap();
        let mut made = Superblock::new(&NewMember {
            set_uuid: Uuid::from_u128(1),
            device_uuid: Uuid::from_u128(2),
            name: "1:0",
            created_unix_seconds: 1_700_000_000,
            geometry: &geometry,
            layout: MemberLayout::new(1 << 17, CHUNK_SECTORS_DEFAULT).unwrap(),
            element: 0,
            resync: Resync::DirtyFrom(0),
        });
        made.set_recovery(Some(128));
        made
    };
    for level in [Level::Raid1, Level::Raid10, Level::Raid5] {
        let mut made = of_level(level);
        assert_eq!(features(&made), 3, "a member that is rebuilt");
        made.set_replacement(true);
        for (resync, on_disk) in [
            (Resync::DirtyFrom(0), 0x8000_0013),
            (Resync::DirtyFrom(256), 0x8000_0013),
            (Resync::Clean, 0x13),
        ] {
            made.set_resync(resync);
            assert_eq!(features(&made), on_disk, "{level} {resync:?}");
            let read = Superblock::decode(&made.encode()).unwrap();
            assert_eq!(read.feature_bits(), 0x13);
            assert_eq!(features(&read), on_disk);
            assert!(read.geometry().is_ok());
        }
    }
    let mut made = of_level(Level::Raid6);
    made.set_replacement(true);
    assert_eq!(features(&made), 0x13, "Linux does it right");
    // On any other device the bit is one that nobody knows.
    let block = patched(|block| block[11] |= 0x80);
    let read = Superblock::decode(&block).unwrap();
    assert_eq!(
        read.geometry(),
        Err(UnsupportedArray::Features(0x8000_0000))
    );
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail_without_panic(
        bytes in prop::collection::vec(any::<u8>(), BLOCK_BYTES),
        patches in prop::collection::vec((0..600_usize, any::<u8>()), 0..8),
        roles in prop::option::of(0_u8..8),
    ) {
        let block: [u8; BLOCK_BYTES] = bytes.try_into().unwrap();
        prop_assert!(Superblock::decode(&block).is_err());
        let block = patched(|block| {
            for (at, byte) in patches {
                block[at] = byte;
            }
            if let Some(roles) = roles {
                block[220..224].copy_from_slice(&[roles, 0, 0, 0]);
            }
        });
        if let Ok(read) = Superblock::decode(&block) {
            if let Ok(geometry) = read.geometry() {
                let mut changed = read.clone();
                for element in 0..geometry.members() {
                    let role = geometry.md_role(element);
                    changed.set_role(u32::from(role), Role::Active(role));
                }
                changed.set_active_devices(&[(0, 0)]);
                changed.copy_roles(&read);
                prop_assert_eq!(changed.encode(), read.encode());
            }
            let again = Superblock::decode(&read.encode()).unwrap();
            prop_assert_eq!(again.encode(), read.encode());
            let mut expected = block;
            expected[224..256].fill(0);
            if read.is_spoilt_by_linux() {
                expected[11] |= 0x80;
            }
            let devices = usize::from(u16::from_le_bytes([block[220], block[221]]));
            prop_assert_eq!(&read.encode()[..216], &expected[..216]);
            prop_assert_eq!(&read.encode()[256..256 + devices * 2], &expected[256..256 + devices * 2]);
        }
    }
}

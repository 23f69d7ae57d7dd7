//! Tests of the bitmap codec. What mdadm says of it is tested in `tests/mdadm.rs`.

use super::*;
use crate::Level;
use crate::layout::{MemberLayout, MetadataPlaces};
use proptest::prelude::*;

const SET: Uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
const CHUNK: u32 = 128;

/// A geometry over members of this size, and the room that they have for its bitmap.
fn array(level: Level, members: u8, device_sectors: u64) -> (Geometry, u64) {
    let layout = MemberLayout::new(device_sectors, CHUNK).unwrap();
    let geometry = Geometry::new(level, members, CHUNK, layout.data_sectors).unwrap();
    let room = MetadataPlaces::of(layout.data_offset_sectors)
        .unwrap()
        .bitmap;
    (geometry, room.sectors)
}

fn bitmap(level: Level, members: u8, device_sectors: u64) -> Bitmap {
    let (geometry, room) = array(level, members, device_sectors);
    Bitmap::new(SET, &geometry, room).unwrap()
}

fn bytes_of(bitmap: &Bitmap) -> Vec<u8> {
    (0..bitmap.pages())
        .flat_map(|page| bitmap.page(page))
        .collect()
}

#[test]
fn regions_are_64_mib_unless_their_bits_need_more_room_than_there_is() {
    const TB: u64 = 1_000_000_000_000 / 512;
    let size = |level, members, sectors| {
        let bitmap = bitmap(level, members, sectors);
        let region_mib = bitmap.map().region_sectors() / 2048;
        (region_mib, bitmap.pages())
    };
    assert_eq!(size(Level::Raid1, 2, 1 << 18), (64, 1));
    assert_eq!(size(Level::Raid5, 36, 24 * TB), (64, 11));
    assert_eq!(size(Level::Raid10, 4, 24 * TB), (64, 22));
    assert_eq!(
        size(Level::Raid10, 24, 24 * TB),
        (512, 17),
        "counted in sectors of the array"
    );
}

#[test]
fn small_members_have_one_page_and_small_regions() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid6, 36), (Level::Raid10, 36)] {
        let bitmap = bitmap(level, members, (1 << 17) - 1);
        assert_eq!(bitmap.pages(), 1, "{level}");
        assert_eq!(bitmap.map().region_sectors(), 128, "{level}");
    }
    let (geometry, _) = array(Level::Raid1, 2, 1 << 32);
    let one_page = Bitmap::new(SET, &geometry, 8).unwrap();
    assert_eq!(one_page.pages(), 1);
    assert!(one_page.map().regions() <= 30_720 && one_page.map().regions() > 15_360);
    assert!(
        Bitmap::new(SET, &geometry, 0).is_none(),
        "no room is no room"
    );
}

#[test]
fn bytes_lie_where_md_has_them() {
    let mut bitmap = bitmap(Level::Raid10, 4, 1 << 26);
    bitmap.set_events(9);
    bitmap.set_events_cleared(7);
    bitmap.insert(RegionIndex(11));
    let page = bitmap.page(0);
    let u32_at = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().unwrap());
    assert_eq!((u32_at(0), u32_at(4)), (0x6d74_6962, 4));
    assert_eq!(page[8..24], SET.into_bytes());
    assert_eq!((u64_at(24), u64_at(32)), (9, 7));
    assert_eq!(u64_at(40), 2 * ((1 << 26) - (32 + 2) * 2048));
    assert_eq!((u32_at(48), u32_at(52)), (0, 64 << 20));
    assert_eq!((u32_at(56), u32_at(60), u32_at(64)), (5, 0, 256));
    assert!(page[68..256].iter().all(|&byte| byte == 0));
    assert_eq!(page[256..259], [0, 8, 0]);
}

#[test]
fn headers_that_md_would_not_take_are_told_apart() {
    let (geometry, room) = array(Level::Raid1, 2, 1 << 26);
    let good = bytes_of(&Bitmap::new(SET, &geometry, room).unwrap());
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Bitmap::decode(&bytes, SET, &geometry, room).map(|_| ())
    };
    assert_eq!(with(0, 0), Err(BitmapError::Magic));
    assert_eq!(with(4, 3), Ok(()));
    for version in [0, 2, 5, 6] {
        let error = with(4, version).unwrap_err();
        assert_eq!(error, BitmapError::Version(version));
        assert!(error.is_unsupported());
    }
    assert!(matches!(with(8, 1), Err(BitmapError::OtherSet(_))));
    for (at, value) in [
        (52, 0),
        (52, 256),
        (52, 3 << 20),
        (56, 0),
        (56, 1 << 31),
        (60, 16_384),
    ] {
        let error = with(at, value).unwrap_err();
        assert!(
            matches!(error, BitmapError::Damaged { .. }),
            "{at} {value}: {error}"
        );
        assert!(!error.is_unsupported());
    }
    assert!(matches!(with(40, 1), Err(BitmapError::SyncSectors { .. })));
    assert_eq!(with(52, 4096), Err(BitmapError::TooLong(4096)));
    assert_eq!(
        Bitmap::decode(&good[..100], SET, &geometry, room).err(),
        Some(BitmapError::Magic)
    );
}

#[test]
fn a_bitmap_is_current_when_it_is_not_behind_nor_called_stale() {
    let (geometry, room) = array(Level::Raid1, 2, 1 << 26);
    let mut bitmap = Bitmap::new(SET, &geometry, room).unwrap();
    bitmap.set_events(5);
    assert!(bitmap.is_current(5) && bitmap.is_current(4) && !bitmap.is_current(6));
    let mut bytes = bytes_of(&bitmap);
    bytes[48] = 2;
    let mut stale = Bitmap::decode(&bytes, SET, &geometry, room).unwrap();
    assert!(!stale.is_current(5));
    stale.set_events(5);
    assert!(stale.is_current(5));
    assert_eq!(stale.take_changed(), [0]);
}

/// Writes the changed pages over what was there.
fn write_changed(disk: &mut [u8], bitmap: &mut Bitmap) {
    for page in bitmap.take_changed() {
        disk[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].copy_from_slice(&bitmap.page(page));
    }
}

proptest! {
    #[test]
    fn pages_that_changed_are_enough_to_read_it_back(
        device_sectors in prop_oneof![2048_u64..1 << 17, 1_u64 << 17..1 << 36],
        steps in prop::collection::vec(
            (any::<bool>(), any::<prop::sample::Index>(), any::<u32>()), 1..60),
    ) {
        let (geometry, room) = array(Level::Raid10, 6, device_sectors);
        let mut bitmap = Bitmap::new(SET, &geometry, room).unwrap();
        let regions = bitmap.map().regions();
        prop_assert!(bitmap.pages() as u64 * PAGE_SECTORS <= room);
        let mut disk = vec![0xaa; bitmap.pages() * PAGE_BYTES];
        for (add, pick, events) in steps {
            let region = RegionIndex(u32::try_from(pick.index(regions as usize)).unwrap());
            if add {
                bitmap.insert(region);
            } else {
                bitmap.remove(region);
            }
            if events % 4 == 0 {
                bitmap.set_events(u64::from(events));
                bitmap.set_events_cleared(u64::from(events / 2));
            }
            if events % 7 == 0 {
                bitmap.replace(&RegionSet::from_bytes(regions, &events.to_le_bytes()));
            }
            write_changed(&mut disk, &mut bitmap);
            let length = Bitmap::length_bytes(&disk, SET, &geometry, room).unwrap();
            prop_assert_eq!(length, disk.len());
            let read = Bitmap::decode(&disk, SET, &geometry, room).unwrap();
            prop_assert_eq!(read.set(), bitmap.set());
            prop_assert_eq!(read.events(), bitmap.events());
            prop_assert_eq!(read.events_cleared(), bitmap.events_cleared());
            prop_assert_eq!(bytes_of(&read), disk.clone());
        }
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..5000),
        changes in prop::collection::vec((0..80_usize, any::<u8>()), 0..4),
    ) {
        let (geometry, room) = array(Level::Raid5, 3, 1 << 20);
        drop(Bitmap::decode(&bytes, SET, &geometry, room));
        let mut good = bytes_of(&Bitmap::new(SET, &geometry, room).unwrap());
        for (at, byte) in changes {
            good[at] = byte;
        }
        if let Ok(read) = Bitmap::decode(&good, SET, &geometry, room) {
            prop_assert!(bytes_of(&read).len() as u64 <= room * 512);
        }
    }
}

//! What md keeps beside its superblock: write-intent bitmaps and bad-block logs.
//!
//! Checked: no bytes panic; a bitmap that is accepted fits where it lies, and is read back as it was;
//! a log that is accepted says the same when it is written again, unless it is longer than a log.

use arbitrary::Arbitrary;
use raid::Geometry;
use raid::bad_blocks::{BadBlocks, BadRange};
use raid::bitmap::Bitmap;
use raid::level::Level;
use raid::regions::RegionIndex;
use uuid::Uuid;

const SET: Uuid = Uuid::from_bytes([7; 16]);

#[derive(Arbitrary, Debug)]
struct Input {
    level: u8,
    members: u8,
    chunk_exponent: u8,
    rows: u32,
    room_sectors: u16,
    /// What is changed in a good bitmap, as place and value.
    changes: Vec<(u16, u8)>,
    /// Bits that are set in it.
    regions: Vec<u32>,
    /// What else may be there.
    bytes: Vec<u8>,
    shift: u8,
    bad: Vec<(bool, u64, u64)>,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some(input) = crate::input::<Input>(data) else {
        return;
    };
    bitmaps(&input);
    bad_blocks(&input);
}

fn bitmaps(input: &Input) {
    let levels = [Level::Raid1, Level::Raid5, Level::Raid6, Level::Raid10];
    let level = levels[usize::from(input.level % 4)];
    let chunk = 8 << (input.chunk_exponent % 12);
    let member_sectors = u64::from(input.rows) * u64::from(chunk);
    let Ok(geometry) = Geometry::new(level, input.members, chunk, member_sectors) else {
        return;
    };
    let room = u64::from(input.room_sectors);
    read(&input.bytes, &geometry, room);
    let Some(mut bitmap) = Bitmap::new(SET, &geometry, room) else {
        return;
    };
    for region in &input.regions {
        bitmap.insert(RegionIndex(region % bitmap.map().regions()));
    }
    let mut bytes = bytes_of(&bitmap);
    let again = read(&bytes, &geometry, room).expect("what was made is accepted");
    assert_eq!(again.set(), bitmap.set());
    for (place, value) in &input.changes {
        let place = usize::from(*place) % bytes.len();
        bytes[place] = *value;
    }
    read(&bytes, &geometry, room);
}

fn read(bytes: &[u8], geometry: &Geometry, room: u64) -> Option<Bitmap> {
    let bitmap = Bitmap::decode(bytes, SET, geometry, room).ok()?;
    let again = bytes_of(&bitmap);
    assert!(again.len() as u64 <= room * 512);
    assert_eq!(
        Bitmap::length_bytes(bytes, SET, geometry, room),
        Ok(again.len())
    );
    let back =
        Bitmap::decode(&again, SET, geometry, room).expect("what was accepted stays accepted");
    assert_eq!(back.set(), bitmap.set());
    let map = bitmap.map();
    let last = geometry.capacity_sectors() - 1;
    assert!(*map.of_range(last, 1).end() < map.regions());
    let mut lba = 0;
    for _ in 0..8 {
        let Some(next) = map.next_lba(bitmap.set(), lba) else {
            break;
        };
        assert!(next >= lba && next <= last);
        if next == last {
            break;
        }
        lba = next + 1;
    }
    Some(bitmap)
}

fn bytes_of(bitmap: &Bitmap) -> Vec<u8> {
    (0..bitmap.pages())
        .flat_map(|page| bitmap.page(page))
        .collect()
}

fn bad_blocks(input: &Input) {
    let mut bad = BadBlocks::decode(&input.bytes, input.shift).unwrap_or_default();
    for &(add, sector, sectors) in &input.bad {
        let range = BadRange { sector, sectors };
        let before = bad.clone();
        let changed = if add {
            bad.add(range).is_ok()
        } else {
            bad.remove(&range).is_ok()
        };
        assert!(changed || bad == before);
        if changed && sectors > 0 && sector.checked_add(sectors).is_some() {
            assert_eq!(bad.overlaps(&range), add);
        }
    }
    assert_eq!(BadBlocks::decode(&bad.encode(), 0), Ok(bad));
}

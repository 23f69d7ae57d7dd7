//! `mdadm --examine` reads images of members that the encoder made, for every level.
//!
//! mdadm examines plain files without the kernel's md driver. It ends with 0 even when the checksum
//! is wrong, so the word "correct" is looked for.

#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

use raid::bad_blocks::{BadBlocks, BadRange};
use raid::bitmap::Bitmap;
use raid::layout::{MemberLayout, MetadataPlaces, SUPERBLOCK_SECTOR};
use raid::md::{EMPTY_BAD_BLOCK_LOG, NewMember, Resync, Role, Superblock};
use raid::regions::RegionIndex;
use raid::{Geometry, Level};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use uuid::Uuid;

const CHUNK_SECTORS: u32 = 128;
const SET_UUID: Uuid = Uuid::from_u128(0x3c5e_d4a1_0b6f_4b8e_9a55_7d21_c0de_cafe);

/// Runs mdadm on a file and gives what it printed.
fn mdadm(option: &str, image: &Path) -> String {
    let output = ["/usr/sbin/mdadm", "/sbin/mdadm", "mdadm"]
        .iter()
        .find_map(|program| Command::new(program).arg(option).arg(image).output().ok())
        .expect("mdadm is not installed; install it with: apt-get install -y mdadm");
    assert!(output.status.success(), "mdadm {option}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A line of `mdadm --examine` without its indentation, found by its name.
fn field<'a>(report: &'a str, name: &str) -> &'a str {
    report
        .lines()
        .filter_map(|line| line.trim().split_once(" : "))
        .find(|(found, _)| *found == name)
        .unwrap_or_else(|| panic!("no {name:?} in:\n{report}"))
        .1
        .trim()
}

/// Writes member `element` of a set, with all roles filled, and examines it.
fn examine(level: Level, members: u8, element: u8, device_sectors: u64, resync: Resync) -> String {
    let layout = MemberLayout::new(device_sectors, CHUNK_SECTORS).unwrap();
    let geometry = Geometry::new(level, members, CHUNK_SECTORS, layout.data_sectors).unwrap();
    let mut superblock = Superblock::new(&NewMember {
        set_uuid: SET_UUID,
        device_uuid: Uuid::from_u128(u128::from(element) + 1),
        name: "1:0",
        created_unix_seconds: 1_700_000_000,
        geometry: &geometry,
        layout,
        element,
        resync,
    });
    for other in 0..members {
        let role = geometry.md_role(other);
        superblock.set_role(u32::from(role), Role::Active(role));
    }
    superblock.set_events(5, 1_700_000_100);
    let image = tempfile::NamedTempFile::new().unwrap();
    let file: &File = image.as_file();
    file.set_len(device_sectors * 512).unwrap();
    file.write_all_at(&superblock.encode(), SUPERBLOCK_SECTOR * 512)
        .unwrap();
    let places = raid::layout::MetadataPlaces::of(layout.data_offset_sectors).unwrap();
    file.write_all_at(&EMPTY_BAD_BLOCK_LOG, places.bad_blocks.sector * 512)
        .unwrap();
    write_bitmap(file, &geometry, &superblock);
    let bad_blocks = mdadm("--examine-badblocks", image.path());
    assert!(
        bad_blocks.contains("Bad-blocks list is empty"),
        "{bad_blocks}"
    );
    mdadm("--examine", image.path())
}

/// Writes the bitmap of a redundant set: without one mdadm disregards the feature, and counts its bit
/// against the checksum.
fn write_bitmap(file: &File, geometry: &Geometry, superblock: &Superblock) {
    if let Some(area) = superblock.bitmap_area() {
        let bitmap = Bitmap::new(SET_UUID, geometry, area.sectors).unwrap();
        file.write_all_at(&bitmap.page(0), area.sector * 512)
            .unwrap();
    }
}

/// What every report must say.
fn check_common(report: &str, level: &str, members: u8) {
    assert!(field(report, "Checksum").ends_with("- correct"), "{report}");
    assert_eq!(field(report, "Magic"), "a92b4efc");
    assert_eq!(field(report, "Version"), "1.2");
    assert_eq!(
        field(report, "Array UUID"),
        "3c5ed4a1:0b6f4b8e:9a557d21:c0decafe"
    );
    assert!(field(report, "Name").starts_with("1:0"), "{report}");
    assert_eq!(field(report, "Raid Level"), level);
    assert_eq!(field(report, "Raid Devices"), members.to_string());
    assert_eq!(field(report, "Events"), "5");
    let state = field(report, "Array State");
    assert!(
        state.starts_with(&"A".repeat(usize::from(members))),
        "{report}"
    );
}

#[test]
fn raid10_members_are_correct_and_pair_as_near_2() {
    for (element, role) in [(0, 0), (2, 4), (4, 1), (7, 7)] {
        let report = examine(Level::Raid10, 8, element, 1 << 18, Resync::DirtyFrom(0));
        check_common(&report, "raid10", 8);
        assert_eq!(field(&report, "Layout"), "near=2");
        assert_eq!(field(&report, "Chunk Size"), "64K");
        assert_eq!(
            field(&report, "Device Role"),
            format!("Active device {role}")
        );
        assert_eq!(field(&report, "State"), "active");
        assert_eq!(field(&report, "Data Offset"), "6144 sectors");
        assert_eq!(field(&report, "Super Offset"), "8 sectors");
        assert_eq!(field(&report, "Feature Map"), "0x1");
        assert_eq!(
            field(&report, "Internal Bitmap"),
            "8 sectors from superblock"
        );
    }
}

#[test]
fn raid0_members_are_correct_and_say_their_layout() {
    let report = examine(Level::Raid0, 3, 2, 1 << 18, Resync::Clean);
    check_common(&report, "raid0", 3);
    assert_eq!(field(&report, "Feature Map"), "0x1000");
    assert_eq!(field(&report, "Layout"), "original");
    assert_eq!(field(&report, "State"), "clean");
    assert_eq!(field(&report, "Device Role"), "Active device 2");
}

#[test]
fn raid1_members_are_correct() {
    let report = examine(Level::Raid1, 2, 1, 1 << 18, Resync::Clean);
    check_common(&report, "raid1", 2);
    assert_eq!(field(&report, "State"), "clean");
    assert_eq!(field(&report, "Device Role"), "Active device 1");
}

#[test]
fn jbod_is_a_correct_raid1_of_one() {
    let report = examine(Level::Jbod, 1, 0, 1 << 18, Resync::Clean);
    check_common(&report, "raid1", 1);
}

#[test]
fn the_smallest_and_very_large_devices_are_correct() {
    let report = examine(Level::Raid1, 2, 0, 2048, Resync::Clean);
    check_common(&report, "raid1", 2);
    assert_eq!(field(&report, "Data Offset"), "768 sectors");
    // 8 TiB, sparse.
    let report = examine(Level::Raid1, 2, 0, 1 << 34, Resync::Clean);
    check_common(&report, "raid1", 2);
    assert_eq!(field(&report, "Data Offset"), "264192 sectors");
}

/// What mdadm says of a bitmap with these regions set, for members of this size.
fn examine_bitmap(level: Level, members: u8, device_sectors: u64, set: &[u32]) -> String {
    let layout = MemberLayout::new(device_sectors, CHUNK_SECTORS).unwrap();
    let geometry = Geometry::new(level, members, CHUNK_SECTORS, layout.data_sectors).unwrap();
    let places = MetadataPlaces::of(layout.data_offset_sectors).unwrap();
    let mut bitmap = Bitmap::new(SET_UUID, &geometry, places.bitmap.sectors).unwrap();
    bitmap.set_events(6);
    bitmap.set_events_cleared(4);
    for region in set {
        bitmap.insert(RegionIndex(*region));
    }
    // mdadm takes a plain file for the bitmap itself.
    let image = tempfile::NamedTempFile::new().unwrap();
    for page in 0..bitmap.pages() {
        let file: &File = image.as_file();
        file.write_all_at(&bitmap.page(page), page as u64 * 4096)
            .unwrap();
    }
    mdadm("--examine-bitmap", image.path())
}

#[test]
fn bitmaps_are_read_as_they_were_meant() {
    let check = |report: &str, chunk: &str, bits: &str| {
        assert_eq!(field(report, "Magic"), "6d746962");
        assert_eq!(field(report, "Version"), "4");
        assert_eq!(field(report, "UUID"), "3c5ed4a1:0b6f4b8e:9a557d21:c0decafe");
        assert_eq!(field(report, "Events"), "6");
        assert_eq!(field(report, "Events Cleared"), "4");
        assert_eq!(field(report, "State"), "OK");
        assert_eq!(field(report, "Chunksize"), chunk);
        assert_eq!(field(report, "Daemon"), "5s flush period");
        assert_eq!(field(report, "Bitmap"), bits, "{report}");
    };
    let report = examine_bitmap(Level::Raid1, 2, 2048, &[0, 9]);
    check(&report, "64 KB", "10 bits (chunks), 2 dirty (20.0%)");
    // 1 TiB members; for RAID 10 the array's sectors count, for RAID 6 a member's.
    let report = examine_bitmap(Level::Raid10, 4, 1 << 31, &[5, 20_000, 32_763]);
    check(&report, "64 MB", "32764 bits (chunks), 3 dirty (0.0%)");
    let report = examine_bitmap(Level::Raid6, 6, 1 << 31, &[16_381]);
    check(&report, "64 MB", "16382 bits (chunks), 1 dirty (0.0%)");
}

#[test]
fn bad_blocks_are_listed() {
    let layout = MemberLayout::new(1 << 18, CHUNK_SECTORS).unwrap();
    let geometry = Geometry::new(Level::Raid1, 2, CHUNK_SECTORS, layout.data_sectors).unwrap();
    let mut superblock = Superblock::new(&NewMember {
        set_uuid: SET_UUID,
        device_uuid: Uuid::from_u128(1),
        name: "1:0",
        created_unix_seconds: 1_700_000_000,
        geometry: &geometry,
        layout,
        element: 0,
        resync: Resync::Clean,
    });
    superblock.set_has_bad_blocks(true);
    let mut bad = BadBlocks::default();
    for (sector, sectors) in [(9000, 8), (20_000, 600)] {
        bad.add(BadRange { sector, sectors }).unwrap();
    }
    let (area, shift) = superblock.bad_blocks_area().unwrap();
    assert_eq!(shift, 0);
    let image = tempfile::NamedTempFile::new().unwrap();
    let file: &File = image.as_file();
    file.set_len((1 << 18) * 512).unwrap();
    file.write_all_at(&superblock.encode(), SUPERBLOCK_SECTOR * 512)
        .unwrap();
    file.write_all_at(&bad.encode(), area.sector * 512).unwrap();
    write_bitmap(file, &geometry, &superblock);
    let report = mdadm("--examine-badblocks", image.path());
    for line in [
        "9000 for 8 sectors",
        "20000 for 512 sectors",
        "20512 for 88 sectors",
    ] {
        assert!(report.contains(line), "no {line:?} in:\n{report}");
    }
    let report = mdadm("--examine", image.path());
    assert!(field(&report, "Checksum").ends_with("- correct"));
    assert_eq!(field(&report, "Feature Map"), "0x9");
    assert!(
        field(&report, "Bad Block Log").ends_with("bad blocks present."),
        "{report}"
    );
}

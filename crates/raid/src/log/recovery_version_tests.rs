//! Logs of programs of before, and of newer ones.

use super::*;

/// The record of a share as another version has it: a redo of one entry.
fn of_version(share: &mut Share, members: u8, version: u32) {
    let header = &mut share.record[..8 * SECTOR];
    header[8..12].copy_from_slice(&version.to_le_bytes());
    header[12..16].fill(0);
    let entry = 64 + 4 * usize::from(members);
    let covered = if version == 1 {
        let sum = u64::from(crc32c::crc32c(&share.content));
        header[entry + 24..entry + 32].copy_from_slice(&sum.to_le_bytes());
        header.len()
    } else {
        entry + 32
    };
    let checksum = crc32c::crc32c(&header[..covered]);
    header[12..16].copy_from_slice(&checksum.to_le_bytes());
}

/// A redo round whose records are of a version, and complete, torn in their content, or of another epoch.
fn round_of_version(version: u32, is_torn: bool, epoch: u64) -> (World, Data, Data) {
    let mut world = World::new(Level::Raid6, 5);
    let old = old_data(3, 0);
    let new = written(&old, &[0, 2], Kind::Redo, 0x55);
    for (number, mut share) in (0..).zip(world.round(1, 0, &[0, 2], Kind::Redo, &new)) {
        share.record[32..40].copy_from_slice(&epoch.to_le_bytes());
        of_version(&mut share, 5, version);
        world.land_record(&share, if is_torn && number == 1 { 1 } else { 2 });
    }
    (world, old, new)
}

#[test]
fn the_log_of_a_program_of_before_is_recovered() {
    for (is_torn, expected) in [(false, Expected::New), (true, Expected::Old)] {
        let (world, old, new) = round_of_version(1, is_torn, 1);
        recover_and_check(world, &old, &new, expected).unwrap();
    }
}

#[test]
fn the_log_of_a_newer_program_is_not_passed_over() {
    let (mut world, ..) = round_of_version(3, false, 1);
    let refused = world.recover(usize::MAX).err().unwrap();
    assert!(refused.contains("element 0 has records of version 3"));
    // Of another time that the LUN was served: void, as all records of it.
    let (world, old, new) = round_of_version(3, false, 9);
    recover_and_check(world, &old, &new, Expected::Old).unwrap();
}

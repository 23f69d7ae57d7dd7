//! Reads that every copy has failed: which of the copies are asked once more.

use super::super::{Action, Operation};
use super::rig::{Rig, ata, outcome, view, write};
use crate::admin::DriveSlot;
use raid::Level;

/// A mirror of which drive 0 cannot read what two reads want, the second of them from drive 1 by now: the
/// first one is repairing drive 0. A seed of the simulator told the story: drive 1 was pulled
/// meanwhile, and the second read was answered with an error.
fn with_a_repair_and_a_read(second: &[u8]) -> Rig {
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    rig.write(0, &[7; 8192]);
    rig.sent.clear();
    rig.bad_sectors = [(0, 256 + 3)].into();
    rig.deliver(0, &ata(0x24, 0x40, 0, 8, &[]));
    rig.deliver(0, second);
    // Both fail, and are asked of drive 1; which gives the first one.
    for _ in 0..3 {
        rig.complete(0);
    }
    let left: Vec<_> = rig
        .pending
        .iter()
        .map(|io| (io.operation, io.drive.0))
        .collect();
    assert_eq!(left, [(Operation::Read, 1), (Operation::Write, 0)]);
    rig
}

#[test]
fn a_read_asks_again_for_what_another_one_has_repaired_meanwhile() {
    for second in [(0, 8), (2, 16), (3, 1), (3, 16)] {
        let mut rig = with_a_repair_and_a_read(&ata(0x24, 0x40, second.0, second.1, &[]));
        rig.complete(1);
        rig.bad_sectors.clear();
        rig.broken_reads = [1].into();
        rig.drain();
        assert_eq!(rig.sent.len(), 2);
        for (_, reply) in &rig.sent {
            assert_eq!(outcome(reply), (0x40, 0), "{second:?}");
        }
        assert_eq!(rig.target.commands_in_flight(), 0);
    }
}

#[test]
fn a_read_asks_only_for_what_was_repaired_and_not_for_ever() {
    // The drive took the repair, and cannot read it.
    let mut rig = with_a_repair_and_a_read(&ata(0x24, 0x40, 2, 4, &[]));
    rig.broken_reads = [1].into();
    rig.complete(1);
    rig.drain();
    assert_eq!(outcome(&rig.sent[1].1), (0x41, 0x40));
    assert_eq!(rig.target.counters().drive_read_errors, 2 + 1 + 2);
    // Nothing of this one was repaired: each copy is asked once.
    rig.sent.clear();
    let before = rig.target.counters().drive_read_errors;
    rig.broken_reads = [0, 1].into();
    assert_eq!(outcome(&rig.read(16, 8)), (0x41, 0x40));
    assert_eq!(rig.target.counters().drive_read_errors - before, 2);
}

#[test]
fn a_read_that_failed_everywhere_asks_the_copies_of_a_new_view() {
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    rig.write(0, &[7; 512]);
    rig.sent.clear();
    rig.broken_reads = [0, 1].into();
    rig.deliver(0, &ata(0x24, 0x40, 0, 1, &[]));
    rig.complete(0);
    // The twin of member 0 takes its place.
    rig.drives[2] = rig.drives[1].clone();
    let mut other = view(0, Level::Raid1, 2);
    other.parts[0].members[0].as_mut().unwrap().drive = DriveSlot(2);
    rig.attach(other);
    rig.drain();
    let (_, reply) = &rig.sent[0];
    assert_eq!(outcome(reply), (0x40, 0));
    assert!(reply[36..].iter().all(|byte| *byte == 7));
    let is_settled = |event: &Action| matches!(event, Action::Settled { .. });
    assert!(rig.events.iter().any(is_settled));
}

#[test]
fn each_half_of_a_read_over_two_chunks_is_asked_of_the_slow_copies() {
    let mut rig = Rig::new([view(0, Level::Raid10, 4)]);
    rig.deliver(0, &write(24, &[7; 8192]));
    rig.drain();
    for slow in [0, 1] {
        rig.target.set_suspect(DriveSlot(slow), true);
    }
    rig.broken_reads = [2, 3].into();
    let reply = rig.read(24, 16);
    assert_eq!(outcome(&reply), (0x40, 0));
    assert!(reply[36..].iter().all(|byte| *byte == 7));
}

//! Members that fail.

use super::super::{Action, Operation, Report};
use super::rig::{Rig, ata, outcome, view, write};
use crate::plane::LunView;
use raid::Level;

fn without(member: usize) -> LunView {
    let mut degraded = view(0, Level::Raid10, 4);
    degraded.parts[0].members[member] = None;
    degraded
}

fn member_errors(rig: &Rig) -> Vec<u8> {
    let member = |event: &Action| match event {
        Action::Report(Report::MemberError { io, .. }) => Some(io.member),
        _ => None,
    };
    rig.events.iter().filter_map(member).collect()
}

#[test]
fn a_read_that_fails_is_read_from_the_mirror() {
    let mut rig = Rig::new([view(0, Level::Raid10, 4)]);
    rig.write(24, &[7; 8192]);
    for broken in 0..4 {
        rig.broken_reads = [broken].into();
        let reply = rig.read(24, 16);
        assert_eq!(outcome(&reply), (0x40, 0), "drive {broken}");
        assert!(reply[36..].iter().all(|byte| *byte == 7));
    }
    assert!(rig.target.counters().drive_read_errors > 0);
}

#[test]
fn what_a_copy_could_not_give_is_written_anew() {
    let mut rig = Rig::new([view(0, Level::Raid10, 4)]);
    rig.write(24, &[7; 8192]);
    let before = rig.drives.clone();
    for broken in 0..4 {
        rig.broken_reads = [broken].into();
        rig.drives[usize::from(broken)].fill(0xdd);
        rig.read(24, 16);
    }
    // Reads go to one copy of each pair, of which sectors 24 to 39 touch both.
    let repaired = |drive: usize, sector: usize, sectors: usize| {
        let place = (256 + sector) * 512..(256 + sector + sectors) * 512;
        rig.drives[drive][place.clone()] == before[drive][place]
    };
    assert!(repaired(0, 24, 8) || repaired(2, 24, 8));
    assert!(repaired(1, 0, 8) || repaired(3, 0, 8));
    assert_eq!(rig.target.counters().blocks_repaired, 2);
}

#[test]
fn a_repair_that_fails_does_not_harm_the_read() {
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    rig.write(0, &[7; 512]);
    rig.broken_reads = [0].into();
    rig.broken_writes = [0].into();
    let reply = rig.read(0, 1);
    assert_eq!(outcome(&reply), (0x40, 0));
    assert_eq!(member_errors(&rig), [0, 0], "the read, and the repair");
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn row_101_data_that_no_copy_gives_is_an_unreadable_sector() {
    let mut rig = Rig::new([view(0, Level::Raid10, 4)]);
    rig.write(0, &[7; 512]);
    rig.broken_reads = [0, 2].into();
    let reply = rig.read(0, 1);
    assert_eq!((reply.len(), outcome(&reply)), (60, (0x41, 0x40)));
    assert_eq!(
        outcome(&rig.read(32, 1)),
        (0x40, 0),
        "the other pair is not concerned"
    );
    assert_eq!(outcome(&rig.write(0, &[8; 512])), (0x40, 0));
}

#[test]
fn a_failed_write_waits_for_the_administration_and_is_then_done_on_the_survivors() {
    let mut rig = Rig::new([view(0, Level::Raid10, 4)]);
    rig.broken_writes = [2].into();
    assert!(
        rig.ask(&write(0, &[9; 512])).is_empty(),
        "no answer before the failure is recorded"
    );
    assert_eq!(member_errors(&rig), [2]);
    rig.events.clear();
    rig.attach(without(2));
    rig.drain();
    let (_, reply) = rig.sent.pop().unwrap();
    assert_eq!(outcome(&reply), (0x40, 0));
    assert!(matches!(rig.events[..], [Action::Settled { .. }]));
    assert!(rig.read(0, 1)[36..].iter().all(|byte| *byte == 9));
    assert_eq!(rig.drives[0][256 * 512], 9);
}

#[test]
fn the_answer_of_the_administration_may_come_before_the_other_mirror_is_done() {
    let mut rig = Rig::new([view(0, Level::Raid10, 4)]);
    rig.broken_writes = [2].into();
    rig.deliver(0, &write(0, &[9; 512]));
    let broken = rig.pending.iter().position(|io| io.drive.0 == 2).unwrap();
    rig.complete(broken);
    rig.attach(without(2));
    assert!(rig.sent.is_empty());
    rig.drain();
    assert_eq!(outcome(&rig.sent.pop().unwrap().1), (0x40, 0));
    let settled = rig
        .events
        .iter()
        .filter(|event| matches!(event, Action::Settled { .. }))
        .count();
    assert_eq!(settled, 1);
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn a_last_copy_that_fails_is_a_write_fault_at_once() {
    let mut rig = Rig::new([without(2)]);
    rig.broken_writes = [0].into();
    rig.deliver(0, &write(0, &[9; 512]));
    rig.drain();
    assert_eq!(outcome(&rig.sent[0].1), (0x61, 0x04));
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn without_redundancy_a_failure_is_answered_at_once() {
    let mut rig = Rig::new([view(0, Level::Raid0, 2)]);
    rig.broken_writes = [1].into();
    rig.broken_reads = [1].into();
    assert_eq!(outcome(&rig.write(32, &[1; 512])), (0x61, 0x04));
    assert_eq!(outcome(&rig.read(32, 1)), (0x41, 0x40));
    assert_eq!(outcome(&rig.write(0, &[1; 512])), (0x40, 0));
    assert_eq!(
        outcome(&rig.ask_one(&ata(0xea, 0, 0, 0, &[]))),
        (0x61, 0x04)
    );
}

/// Conformance row 116: a LUN that has failed answers at once with a fault, so that hosts need not wait for
/// what does not come; one that was removed is silent, as one that is offline (row 115).
#[test]
fn a_set_without_any_member_faults_at_once_and_touches_nothing() {
    let mut gone = without(2);
    gone.parts[0].members[0] = None;
    let mut rig = Rig::new([gone]);
    assert_eq!(outcome(&rig.write(24, &[1; 8192])), (0x61, 0x04));
    assert_eq!(outcome(&rig.read(0, 1)), (0x41, 0x40));
    assert!(
        rig.drives
            .iter()
            .all(|drive| drive.iter().all(|byte| *byte == 0))
    );
    assert_eq!(outcome(&rig.write(32, &[1; 512])), (0x40, 0));
}

#[test]
fn unsynced_mirrors_are_read_from_their_first_present_member_only() {
    let mut unsynced = view(0, Level::Raid10, 4);
    unsynced.parts[0].mirrors_unsynced = true;
    let reads = |rig: &mut Rig| {
        let mut members = std::collections::BTreeSet::new();
        for lba in (0..2048).step_by(16) {
            rig.deliver(0, &ata(0x24, 0x40, lba, 16, &[]));
            let io = &rig.pending[0];
            assert_eq!(io.operation, Operation::Read);
            members.insert(io.member);
            rig.drain();
        }
        members.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(reads(&mut Rig::new([unsynced.clone()])), [0, 1]);
    unsynced.parts[0].members[0] = None;
    assert_eq!(reads(&mut Rig::new([unsynced])), [1, 2]);
}

fn settled(rig: &Rig) -> usize {
    rig.events
        .iter()
        .filter(|event| matches!(event, Action::Settled { .. }))
        .count()
}

#[test]
fn a_change_settles_although_a_write_that_was_running_fails_again_under_it() {
    let mut rig = Rig::new([view(0, Level::Raid10, 4)]);
    rig.broken_writes = [2].into();
    rig.deliver(0, &write(0, &[9; 512]));
    rig.attach(view(0, Level::Raid10, 4));
    rig.drain();
    assert_eq!(settled(&rig), 1, "nothing runs under the old view");
}

#[test]
fn a_detach_does_not_wait_for_the_administration_that_waits_for_it() {
    let mut rig = Rig::new([view(0, Level::Raid10, 4)]);
    rig.broken_writes = [2].into();
    rig.deliver(0, &write(0, &[9; 512]));
    rig.drain();
    rig.detach(0);
    rig.drain();
    assert!(
        rig.sent.is_empty(),
        "the initiator asks again when the LUN is back"
    );
    assert_eq!(rig.target.commands_in_flight(), 0);
    let differ = |event: &Action| {
        matches!(
            event,
            Action::Settled {
                mirrors_differ: true,
                ..
            }
        )
    };
    assert!(rig.events.iter().any(differ), "one mirror holds the write");
}

#[test]
fn a_read_that_fails_after_its_member_was_given_up_is_read_from_the_mirror() {
    let mut rig = Rig::new([view(0, Level::Raid10, 4)]);
    rig.write(0, &[7; 512]);
    rig.broken_writes = [0].into();
    rig.broken_reads = [0].into();
    rig.deliver(0, &ata(0x24, 0x40, 0, 1, &[]));
    assert_eq!(rig.pending[0].drive.0, 0);
    rig.deliver(0, &write(64, &[9; 512]));
    let is_failing = |io: &super::super::Io| (io.operation, io.drive.0) == (Operation::Write, 0);
    let place = rig.pending.iter().position(is_failing).unwrap();
    rig.complete(place);
    rig.attach(without(0));
    rig.sent.clear();
    rig.drain();
    assert_eq!(rig.sent.len(), 2);
    assert!(
        rig.sent
            .iter()
            .all(|(_, reply)| outcome(reply) == (0x40, 0))
    );
}

#[test]
fn a_write_survives_many_answers_to_the_failure_of_another_member() {
    let mut rig = Rig::new([view(0, Level::Raid10, 4)]);
    rig.broken_writes = [0, 1].into();
    for lba in [32, 33, 34, 35] {
        rig.deliver(0, &write(lba, &[1; 512]));
    }
    rig.deliver(0, &write(0, &[2; 512]));
    rig.drain();
    let mut gone = view(0, Level::Raid10, 4);
    for member in member_errors(&rig) {
        gone.parts[0].members[usize::from(member)] = None;
        rig.attach(gone.clone());
        rig.drain();
    }
    assert_eq!(rig.sent.len(), 5);
    assert!(
        rig.sent
            .iter()
            .all(|(_, reply)| outcome(reply) == (0x40, 0))
    );
}

#[test]
fn row_121_a_stalled_lun_leaves_command_slots_to_others() {
    let mut other = view(1, Level::Raid0, 2);
    for (drive, member) in (4u16..).zip(&mut other.parts[0].members) {
        member.as_mut().unwrap().drive = crate::admin::DriveSlot(drive);
    }
    let mut rig = Rig::new([view(0, Level::Raid0, 2), other]);
    for _ in 0..2 * rig.commands {
        rig.deliver(0, &ata(0x24, 0x40, 0, 1, &[]));
    }
    let mut request = ata(0x24, 0x40, 0, 1, &[]);
    request[18] = 1;
    rig.deliver(0, &request);
    assert!(rig.pending.iter().any(|io| io.drive.0 >= 4));
}

//! What is late, what hangs, and what a drive is called meanwhile.

use super::*;
use crate::target::{BufferIndex, IoOwner};

const DRIVE: DriveSlot = DriveSlot(2);

fn io(operation: Operation) -> Io {
    Io {
        owner: IoOwner::Command(0),
        buffer: BufferIndex(0),
        operation,
        drive: DRIVE,
        sector: 0,
        sectors: 1,
        offset_sectors: 0,
        part: 0,
        member: 0,
        attempt: 0,
        purpose: crate::target::Purpose::Member,
    }
}

fn watch(kind: DriveKind) -> Patience {
    Patience::new(&[(DRIVE, kind)], 512, Limits::default())
}

fn look(patience: &mut Patience, now_ns: u64) -> Vec<Overdue> {
    patience.set_now(now_ns);
    let mut out = Vec::with_capacity(16);
    patience.look(&mut out);
    out
}

fn stages(patience: &mut Patience, now_ns: u64) -> Vec<Stage> {
    look(patience, now_ns).iter().map(|due| due.stage).collect()
}

/// From the first I/O until there is none, however many there were at a time.
#[test]
fn a_drive_is_busy_while_it_has_any_io() {
    let mut patience = watch(DriveKind::Rotating);
    let at = |patience: &mut Patience, ms: u64| {
        patience.set_now(ms * MS);
        patience.busy_ns(DRIVE) / MS
    };
    assert_eq!(at(&mut patience, 10), 0);
    let first = patience.begin(&io(Operation::Read));
    assert_eq!(at(&mut patience, 13), 3);
    let second = patience.begin(&io(Operation::Write));
    patience.end(first);
    assert_eq!(at(&mut patience, 15), 5);
    patience.abandon(second, Stage::Suspect);
    patience.end(second);
    assert_eq!(at(&mut patience, 100), 5);
    let third = patience.begin(&io(Operation::Flush));
    assert_eq!(at(&mut patience, 101), 6);
    patience.end(third);
    assert_eq!(at(&mut patience, 200), 6);
    assert_eq!(patience.busy_ns(DriveSlot(9)), 0);
}

#[test]
fn a_read_is_late_after_the_floor_of_its_kind_and_then_after_thrice_the_usual() {
    for (kind, floor_ns) in [(DriveKind::Rotating, 20 * MS), (DriveKind::SolidState, MS)] {
        let mut patience = watch(kind);
        patience.begin(&io(Operation::Read));
        assert_eq!(patience.next_due_ns(), floor_ns);
        assert_eq!(stages(&mut patience, floor_ns - 1), []);
        assert_eq!(stages(&mut patience, floor_ns), [Stage::Late]);
    }
    let mut patience = watch(DriveKind::SolidState);
    for turn in 0..u64::from(ESTIMATE_READS) {
        patience.set_now(turn * SECOND);
        let ticket = patience.begin(&io(Operation::Read));
        patience.set_now(turn * SECOND + 30 * MS);
        patience.end(ticket);
    }
    let begin = 1000 * SECOND;
    patience.set_now(begin);
    patience.begin(&io(Operation::Read));
    assert_eq!(stages(&mut patience, begin + 90 * MS), []);
    assert_eq!(stages(&mut patience, begin + 120 * MS), [Stage::Late]);
}

#[test]
fn what_a_drive_did_in_the_last_seconds_is_known() {
    let mut patience = watch(DriveKind::Rotating);
    for (begin_ms, operation) in [
        (100, Operation::Read),
        (200, Operation::Flush),
        (1300, Operation::Read),
        (1400, Operation::Write),
    ] {
        patience.set_now(begin_ms * MS);
        let ticket = patience.begin(&io(operation));
        patience.set_now((begin_ms + 5) * MS);
        patience.end(ticket);
    }
    patience.set_now(2500 * MS);
    let rates = patience.rates(DRIVE, 1);
    assert_eq!((rates.reads.ops, rates.writes.ops), (1, 1));
    assert_eq!(
        (rates.reads.bytes, rates.writes.latency_max_ns),
        (512, 5 * MS)
    );
    assert_eq!(patience.rates(DRIVE, 32).reads.ops, 2);
    assert_eq!(patience.rates(DriveSlot(0), 32), Rates::default());
}

#[test]
fn a_stage_is_told_once_if_there_is_no_other_way_and_each_has_its_time() {
    let mut patience = watch(DriveKind::Rotating);
    let ticket = patience.begin(&io(Operation::Read));
    let stages = [Stage::Late, Stage::Suspect, Stage::Overdue, Stage::Hopeless];
    let times = [20 * MS, SECOND, 10 * SECOND, 35 * SECOND];
    for (stage, time) in stages.into_iter().zip(times) {
        assert_eq!(patience.next_due_ns(), time, "{stage:?}");
        let due = look(&mut patience, time);
        assert_eq!((due[0].ticket, due[0].stage), (ticket, stage));
        patience.deny(ticket, stage);
        assert_eq!(look(&mut patience, time + 1), []);
    }
}

#[test]
fn writes_are_not_hedged() {
    let mut patience = watch(DriveKind::SolidState);
    patience.begin(&io(Operation::Write));
    assert_eq!(stages(&mut patience, 999 * MS), []);
    assert_eq!(stages(&mut patience, SECOND), [Stage::Suspect]);
}

#[test]
fn one_read_in_twenty_may_be_hedged_but_all_of_a_suspect_drive() {
    let mut patience = watch(DriveKind::Rotating);
    let mut hedged = 0;
    for _ in 0..300 {
        patience.begin(&io(Operation::Read));
    }
    for turn in 0..100 {
        for due in look(&mut patience, 20 * MS + turn) {
            patience.abandon(due.ticket, due.stage);
            hedged += 1;
        }
    }
    assert_eq!(hedged, HEDGES_AT_ONCE);
    assert!(patience.counters().hedges_denied > 0);
    for turn in 0..100 {
        for due in look(&mut patience, SECOND + turn) {
            assert_eq!(due.stage, Stage::Suspect);
            patience.abandon(due.ticket, due.stage);
            hedged += 1;
        }
    }
    assert_eq!(hedged, 300);
    assert_eq!(patience.abandoned_ios(DRIVE), 300);
    let counters = patience.counters();
    assert_eq!(counters.reads_hedged, u64::from(HEDGES_AT_ONCE));
    assert_eq!(counters.ios_abandoned, 300 - u64::from(HEDGES_AT_ONCE));
}

#[test]
fn what_was_abandoned_is_known_until_it_lands() {
    let mut patience = watch(DriveKind::Rotating);
    let tickets = [(); 3].map(|()| patience.begin(&io(Operation::Write)));
    patience.abandon(tickets[1], Stage::Overdue);
    assert_eq!(patience.abandoned_ios(DRIVE), 1);
    patience.end(tickets[0]);
    patience.end(tickets[2]);
    assert_eq!(look(&mut patience, 60 * SECOND), []);
    assert_eq!(patience.health(DRIVE).oldest_ns, 60 * SECOND);
    patience.end(tickets[1]);
    assert_eq!(patience.health(DRIVE), DriveHealth::default());
}

#[test]
fn a_drive_that_hangs_has_nothing_left_to_wait_for_until_it_answers() {
    let mut patience = watch(DriveKind::Rotating);
    let first = patience.begin(&io(Operation::Write));
    patience.set_now(9 * SECOND);
    let second = patience.begin(&io(Operation::Write));
    assert!(!patience.is_hung(DRIVE));
    let due = look(&mut patience, 10 * SECOND);
    assert!(patience.is_hung(DRIVE));
    let due: Vec<_> = due.iter().map(|due| (due.ticket, due.stage)).collect();
    assert_eq!(due, [(first, Stage::Overdue), (second, Stage::Overdue)]);
    patience.abandon(first, Stage::Overdue);
    patience.abandon(second, Stage::Overdue);
    patience.end(second);
    assert!(!patience.is_hung(DRIVE));
}

#[test]
fn one_io_that_is_stuck_does_not_make_a_drive_hang_that_answers_others() {
    let mut patience = watch(DriveKind::Rotating);
    let stuck = patience.begin(&io(Operation::Write));
    for turn in 1..=100 {
        patience.set_now(turn * 100 * MS);
        let other = patience.begin(&io(Operation::Read));
        patience.end(other);
    }
    let due = look(&mut patience, 10 * SECOND);
    assert_eq!((due[0].ticket, due[0].stage), (stuck, Stage::Overdue));
    assert!(!patience.is_hung(DRIVE));
}

#[test]
fn a_suspect_is_told_once_and_so_is_that_it_is_well() {
    let mut patience = watch(DriveKind::Rotating);
    let ticket = patience.begin(&io(Operation::Write));
    patience.set_now(SECOND - 1);
    assert_eq!(patience.next_change(), None);
    patience.set_now(SECOND);
    assert_eq!(patience.next_change(), Some((DRIVE, true)));
    assert_eq!(patience.next_change(), None);
    assert!(patience.health(DRIVE).is_suspect);
    patience.set_now(2 * SECOND);
    patience.end(ticket);
    assert_eq!(patience.next_change(), None);
    patience.set_now(6 * SECOND + 1);
    assert_eq!(patience.next_change(), Some((DRIVE, false)));
    assert_eq!(patience.next_change(), None);
}

#[test]
fn io_without_room_in_the_watch_goes_on_unwatched() {
    let mut patience = Patience::new(&[(DRIVE, DriveKind::Rotating)], 1, Limits::default());
    let first = patience.begin(&io(Operation::Read));
    let second = patience.begin(&io(Operation::Read));
    assert_eq!(second, IoTicket::NONE);
    patience.end(second);
    patience.end(first);
    assert_eq!(patience.counters().unwatched, 1);
}

#[test]
fn nothing_is_written_where_an_abandoned_write_may_land() {
    let mut patience = watch(DriveKind::Rotating);
    let write = |sector, sectors| Io {
        sector,
        sectors,
        ..io(Operation::Write)
    };
    let read = patience.begin(&Io {
        operation: Operation::Read,
        ..write(100, 50)
    });
    let ticket = patience.begin(&write(10, 5));
    assert!(!patience.is_barred(&write(10, 5)));
    patience.abandon(ticket, Stage::Overdue);
    patience.abandon(read, Stage::Suspect);
    for (sector, sectors, is_barred) in [(5, 5, false), (5, 6, true), (14, 1, true), (15, 3, false)]
    {
        assert_eq!(patience.is_barred(&write(sector, sectors)), is_barred);
    }
    assert!(!patience.is_barred(&write(100, 50)));
    assert!(!patience.is_barred(&Io {
        drive: DriveSlot(0),
        ..write(10, 5)
    }));
    patience.end(ticket);
    assert!(!patience.is_barred(&write(10, 5)));
}

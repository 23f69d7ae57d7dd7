//! Drives that come into slots and leave them.

use super::super::tests::{io, is_done, pipe, plan, turn, wait};
use super::*;
use crate::{DriveSpec, Ending};
use shelf::patience::IoTicket;
use shelf::target::{BufferIndex, Operation};
use std::io::Write;

fn file(fill: u8) -> (tempfile::NamedTempFile, Arc<Drive>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![fill; 1 << 20]).unwrap();
    let spec = DriveSpec::Path(file.path().into());
    let drive = Arc::new(Drive::open(&spec).unwrap());
    (file, drive)
}

fn executor(slots: usize, drives: usize) -> Executor {
    let plan = plan(2);
    let pages = Executor::buffer_bytes(plan).div_ceil(crate::page::PAGE_BYTES);
    let memory = Box::new(crate::uring::zeroed(pages).unwrap());
    Executor::with_memory(&[], DriveRoom { slots, drives }, plan, memory).unwrap()
}

/// What a slot's drive holds at its beginning; `None` when it cannot be read.
fn first_byte(executor: &mut Executor, slot: u16) -> Option<u8> {
    executor.submit(IoTicket::NONE, io(Operation::Read, 0, slot, 0, 8));
    let read = is_done(&wait(executor, 1)[0]);
    read.then(|| executor.buffer(BufferIndex(0))[0])
}

fn is_gone(removal: &Removal) -> bool {
    matches!(removal, Removal::Done(Some(_)))
}

#[test]
fn a_slot_has_one_drive_after_another() {
    let mut executor = executor(6, 2);
    assert_eq!(first_byte(&mut executor, 5), None);
    let (path, one) = file(1);
    let (_other, two) = file(2);
    executor.add(NewDrive::new(DriveSlot(5), one)).unwrap();
    assert_eq!(first_byte(&mut executor, 5), Some(1));
    let refused = executor.add(NewDrive::new(DriveSlot(5), Arc::clone(&two)));
    assert!(refused.is_err(), "the slot is taken");
    let removal = executor.remove(DriveSlot(5)).unwrap();
    assert!(is_gone(&removal));
    assert_eq!(first_byte(&mut executor, 5), None);
    // Whoever removed it holds it last: with that it is free for others.
    let spec = DriveSpec::Path(path.path().into());
    assert!(Drive::open(&spec).is_err());
    drop(removal);
    drop(Drive::open(&spec).unwrap());
    executor.add(NewDrive::new(DriveSlot(5), two)).unwrap();
    assert_eq!(first_byte(&mut executor, 5), Some(2));
    let nothing = executor.remove(DriveSlot(0)).unwrap();
    assert!(matches!(nothing, Removal::Done(None)));
}

#[test]
fn there_are_no_more_drives_than_there_is_room_for() {
    let mut executor = executor(4, 1);
    let (_one, one) = file(1);
    let (_two, two) = file(2);
    let beyond = executor.add(NewDrive::new(DriveSlot(4), Arc::clone(&one)));
    assert!(beyond.is_err());
    executor.add(NewDrive::new(DriveSlot(0), one)).unwrap();
    let too_many = executor.add(NewDrive::new(DriveSlot(1), Arc::clone(&two)));
    assert!(too_many.is_err());
    for round in 0..100 {
        let (from, to) = (round % 2, (round + 1) % 2);
        assert!(is_gone(&executor.remove(DriveSlot(from)).unwrap()));
        let new = NewDrive::new(DriveSlot(to), Arc::clone(&two));
        executor.add(new).unwrap();
        assert_eq!(first_byte(&mut executor, to), Some(2));
    }
}

/// What is done with the old drive must not land on the next one, nor in a buffer that another has.
#[test]
fn a_drive_stays_until_the_kernel_is_done_with_it() {
    let (mut into, drive, _out) = pipe();
    let mut executor = executor(1, 1);
    executor.add(NewDrive::new(DriveSlot(0), drive)).unwrap();
    executor.submit(IoTicket(1), io(Operation::Read, 0, 0, 0, 8));
    assert!(turn(&mut executor).is_empty());
    assert!(matches!(
        executor.remove(DriveSlot(0)).unwrap(),
        Removal::Busy
    ));
    // Also when nobody waits for it any more.
    assert!(executor.abandon(IoTicket(1)));
    assert!(matches!(
        executor.remove(DriveSlot(0)).unwrap(),
        Removal::Busy
    ));
    into.write_all(&[9; 4096]).unwrap();
    let over = wait(&mut executor, 1);
    assert_eq!(over[0].ending, Ending::Unwanted);
    assert!(is_gone(&executor.remove(DriveSlot(0)).unwrap()));
}

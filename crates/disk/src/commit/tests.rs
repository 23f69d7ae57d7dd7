//! Group commit by itself, and over a drive that forgets what was not flushed.

use super::*;
use proptest::prelude::*;
use shelf::admin::DriveSlot;
use shelf::target::{BufferIndex, IoOwner, Operation, Purpose};

fn write(command: u16) -> Io {
    Io {
        owner: IoOwner::Command(command),
        buffer: BufferIndex(command),
        operation: Operation::Write,
        drive: DriveSlot(0),
        sector: 0,
        sectors: 1,
        offset_sectors: 0,
        part: 0,
        member: 0,
        purpose: Purpose::Member,
        attempt: 0,
    }
}

fn land(group: &mut GroupCommit, number: u16) {
    let began = group.failures();
    assert!(group.landed(IoTicket(number), write(number), began));
}

/// What a flush gives back, and whether that is durable.
fn end(group: &mut GroupCommit, flush: FlushIndex, ok: bool) -> (bool, Vec<u16>) {
    let (is_durable, ios) = group.flush_ended(flush, ok);
    (is_durable, ios.map(|(_, io)| io.buffer.0).collect())
}

#[test]
fn what_lands_during_a_flush_waits_for_the_next_one() {
    let mut group = GroupCommit::default();
    assert_eq!(group.begin_flush(), None);
    land(&mut group, 1);
    land(&mut group, 2);
    let first = group.begin_flush().unwrap();
    assert_eq!(group.begin_flush(), None, "of nothing");
    land(&mut group, 3);
    let second = group.begin_flush().unwrap();
    land(&mut group, 4);
    assert_eq!(group.begin_flush(), None, "two at a time");
    assert_eq!(end(&mut group, second, true), (true, vec![3]));
    let third = group.begin_flush().unwrap();
    assert_eq!(end(&mut group, first, true), (true, vec![1, 2]));
    assert_eq!(end(&mut group, third, true), (true, vec![4]));
    assert_eq!(group.begin_flush(), None);
}

/// So that groups are large when writes pile up, and nothing waits for a write that hangs.
#[test]
fn a_second_flush_waits_for_half_of_the_writes() {
    let mut group = GroupCommit::default();
    (0..5).for_each(|_| group.begins());
    group.ends();
    land(&mut group, 1);
    let first = group.begin_flush().unwrap();
    group.ends();
    land(&mut group, 2);
    assert_eq!(group.begin_flush(), None, "three are under way");
    group.ends();
    land(&mut group, 3);
    let second = group.begin_flush().unwrap();
    assert_eq!(end(&mut group, second, true), (true, vec![2, 3]));
    assert_eq!(end(&mut group, first, true), (true, vec![1]));
}

#[test]
fn a_write_that_nobody_waits_for_is_not_given_back() {
    let mut group = GroupCommit::default();
    land(&mut group, 1);
    land(&mut group, 2);
    let flush = group.begin_flush().unwrap();
    land(&mut group, 3);
    assert_eq!(group.forget(IoTicket(2)), Some(write(2)));
    assert_eq!(group.forget(IoTicket(3)), Some(write(3)));
    assert_eq!(group.forget(IoTicket(4)), None);
    assert_eq!(end(&mut group, flush, true), (true, vec![1]));
    assert_eq!(group.begin_flush(), None);
}

/// The kernel tells of an error of the page cache once, to the flush that comes first: others succeed.
#[test]
fn a_failure_is_one_of_everything_that_had_begun() {
    let mut group = GroupCommit::default();
    land(&mut group, 1);
    let first = group.begin_flush().unwrap();
    land(&mut group, 2);
    let second = group.begin_flush().unwrap();
    land(&mut group, 3);
    let began = group.failures();
    assert_eq!(end(&mut group, first, false), (false, vec![1, 3]));
    assert!(!group.landed(IoTicket(4), write(4), began));
    land(&mut group, 5);
    assert_eq!(end(&mut group, second, true), (false, vec![2]));
    let third = group.begin_flush().unwrap();
    assert_eq!(end(&mut group, third, true), (true, vec![5]));
}

/// What happens to a drive with a volatile cache, whose kernel tells of lost writes once.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A write begins: from now on it may be in the cache.
    Begin,
    /// One of those that have begun is told to have landed.
    Land(usize),
    /// A flush is submitted, if one is wanted.
    Flush,
    /// The drive has done one of the flushes: what had landed before it was submitted is on the medium, and
    /// more of the cache may be.
    Flushed(usize, usize),
    /// The drive loses something in its cache; the next flush that ends is told so.
    Lose(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Begin),
        4 => any::<usize>().prop_map(Event::Land),
        3 => Just(Event::Flush),
        3 => (any::<usize>(), 0..4_usize).prop_map(|(which, more)| Event::Flushed(which, more)),
        1 => any::<usize>().prop_map(Event::Lose),
    ]
}

/// A drive, its cache and its medium, by the numbers of writes.
#[derive(Default)]
struct Model {
    group: GroupCommit,
    begun: Vec<(u16, Failures)>,
    cached: Vec<u16>,
    landed: Vec<u16>,
    medium: Vec<u16>,
    /// Flushes under way, each with what had landed when it was submitted.
    flushes: Vec<(FlushIndex, Vec<u16>)>,
    has_error: bool,
    acknowledged: Vec<u16>,
    failed: Vec<u16>,
    next: u16,
}

impl Model {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Begin => {
                self.group.begins();
                self.begun.push((self.next, self.group.failures()));
                self.cached.push(self.next);
                self.next += 1;
            }
            Event::Land(which) if !self.begun.is_empty() => {
                let (number, began) = self.begun.swap_remove(which % self.begun.len());
                self.landed.push(number);
                self.group.ends();
                if !self.group.landed(IoTicket(number), write(number), began) {
                    self.failed.push(number);
                }
            }
            Event::Flush => {
                if let Some(flush) = self.group.begin_flush() {
                    self.flushes.push((flush, self.landed.clone()));
                }
            }
            Event::Flushed(which, more) if !self.flushes.is_empty() => {
                let (flush, before) = self.flushes.remove(which % self.flushes.len());
                self.flushed(flush, &before, more);
            }
            Event::Lose(which) if !self.cached.is_empty() => {
                self.cached.swap_remove(which % self.cached.len());
                self.has_error = true;
            }
            _ => {}
        }
    }

    fn flushed(&mut self, flush: FlushIndex, before: &[u16], more: usize) {
        let mut after = 0;
        let medium = &mut self.medium;
        self.cached.retain(|number| {
            let is_flushed = before.contains(number) || after < more;
            after += usize::from(!before.contains(number));
            if is_flushed {
                medium.push(*number);
            }
            !is_flushed
        });
        let ok = !std::mem::take(&mut self.has_error);
        let (is_durable, ios) = end(&mut self.group, flush, ok);
        let told = if is_durable {
            &mut self.acknowledged
        } else {
            &mut self.failed
        };
        told.extend(ios);
    }

    /// The power may go now: what was acknowledged is on the medium.
    fn check(&self) {
        for number in &self.acknowledged {
            assert!(self.medium.contains(number), "write {number} is lost");
        }
    }
}

proptest! {
    #[test]
    fn a_power_cut_loses_nothing_that_was_acknowledged(
        events in proptest::collection::vec(event(), 1..200),
    ) {
        let mut model = Model::default();
        for event in events {
            model.apply(event);
            model.check();
        }
        // Everything is told in the end, and once.
        while !model.begun.is_empty() {
            model.apply(Event::Land(0));
        }
        for _ in 0..=FLUSHES_MAX {
            model.apply(Event::Flush);
            model.apply(Event::Flushed(0, 0));
        }
        while !model.flushes.is_empty() {
            model.apply(Event::Flushed(0, 0));
        }
        model.apply(Event::Flush);
        model.apply(Event::Flushed(0, 0));
        model.check();
        let mut told = [&model.acknowledged[..], &model.failed[..]].concat();
        told.sort_unstable();
        let all: Vec<u16> = (0..model.next).collect();
        prop_assert_eq!(told, all);
    }
}

//! Tests of the rules, and of what becomes of them.

use super::decide::{edit_masks, keyed, reserve};
use super::*;
use crate::target::{ChangeDecision as D, KeyedWish};
use aoe::MaskError;

const A: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xa]);
const B: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xb]);
const C: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xc]);

fn directive(command: u8, mac: MacAddress) -> MaskDirective {
    MaskDirective {
        reserved: 0,
        command,
        mac,
    }
}

/// Who may read and write, of A, B and C.
fn may(record: &AccessRecord) -> String {
    let access = Access::of(record);
    let words = [A, B, C].map(|mac| match access.rights(mac) {
        Rights {
            is_admitted: false, ..
        } => "-",
        Rights {
            may_write: true,
            may_read: true,
            ..
        } => "rw",
        Rights { may_read: true, .. } => "r",
        Rights {
            may_write: true, ..
        } => panic!("whoever writes reads"),
        Rights { .. } => "n",
    });
    words.join(" ")
}

#[test]
fn rows_48_to_51_directives_run_in_order_until_one_cannot() {
    let mut record = AccessRecord::default();
    let add = |mac| directive(1, mac);
    let mut edit = |directives: &[MaskDirective]| edit_masks(&mut record, directives);
    assert_eq!(
        edit(&[add(A), add(B), add(A), directive(2, C), directive(0, C)]),
        D::Stored
    );
    let bad = |error, index| D::BadDirective { error, index };
    assert_eq!(
        edit(&[directive(2, B), directive(7, C)]),
        bad(MaskError::BadDirective, 1)
    );
    let group = MacAddress::BROADCAST;
    assert_eq!(
        edit(&[add(B), add(group), add(C)]),
        bad(MaskError::Unspecified, 1)
    );
    assert_eq!(record.masks, [Station(A.0), Station(B.0)]);
    assert_eq!(may(&record), "rw rw -");
    let many: Vec<_> = (0..=254_u8)
        .map(|last| add(MacAddress([4, 0, 0, 0, 0, last])))
        .collect();
    assert_eq!(
        edit_masks(&mut record, &many),
        bad(MaskError::ListFull, 253)
    );
    assert_eq!(record.masks.len(), 255);
    assert_eq!(
        edit_masks(&mut record, &[add(A), directive(2, A), add(C)]),
        D::Stored
    );
    assert_eq!(may(&record), "- rw rw");
}

#[test]
fn rows_57_to_61_reservations_without_keys() {
    let mut record = AccessRecord::default();
    let mut set = |who, is_forced, macs: &[MacAddress]| reserve(&mut record, who, is_forced, macs);
    assert_eq!(set(A, false, &[A]), D::Stored);
    assert_eq!(set(B, false, &[B]), D::Reserved);
    assert_eq!(set(B, false, &[]), D::Reserved);
    assert_eq!(
        set(B, false, &[A]),
        D::Stored,
        "the same again, from whomever"
    );
    assert_eq!(set(B, true, &[B, C]), D::Stored);
    assert_eq!(set(A, false, &[]), D::Reserved);
    assert_eq!(may(&record), "n rw rw");
    assert_eq!(reserve(&mut record, C, false, &[]), D::Stored);
    assert_eq!(may(&record), "rw rw rw");
}

fn register(key: u64, macs: &[MacAddress]) -> KeyedWish {
    let (key, macs) = (Key(key), macs.into());
    KeyedWish::Register { key, macs }
}

fn set(kind: ReservationKind, key: u64) -> KeyedWish {
    KeyedWish::Set {
        kind,
        key: Key(key),
    }
}

fn preempt(kind: ReservationKind, target: u64, replacement: u64) -> KeyedWish {
    let (target, replacement) = (Key(target), Key(replacement));
    KeyedWish::Preempt {
        kind,
        target,
        replacement,
    }
}

#[test]
fn row_64_what_each_kind_of_reservation_by_key_lets_through() {
    use ReservationKind as K;
    for (kind, wanted) in [
        (K::Exclusive, "rw n n"),
        (K::WriteExclusive, "rw r r"),
        (K::ExclusiveRegistrants, "rw rw n"),
        (K::WriteExclusiveRegistrants, "rw rw r"),
        (K::ExclusiveGroup, "rw rw n"),
        (K::WriteExclusiveGroup, "rw rw r"),
    ] {
        let mut record = AccessRecord::default();
        let mut ask = |who, wish| keyed(&mut record, who, &wish);
        assert_eq!(ask(A, register(1, &[A])), D::Stored);
        assert_eq!(ask(B, register(2, &[B])), D::Stored);
        assert_eq!(ask(A, set(kind, 3)), D::Reserved, "not registered");
        assert_eq!(ask(A, set(kind, 1)), D::Stored);
        assert_eq!(ask(A, set(kind, 1)), D::Stored, "the same again");
        assert_eq!(ask(C, set(kind, 0)), D::Reserved, "not of a holder");
        assert_eq!(may(&record), wanted, "{kind:?}");
        assert_eq!(record.keyed.generation, 2);
        assert_eq!(keyed(&mut record, A, &set(kind, 0)), D::Stored);
        assert_eq!(may(&record), "rw rw rw");
        assert_eq!(record.keyed.keys.len(), 2, "a release keeps the keys");
    }
}

#[test]
fn row_64_registrations_names_and_taking_over() {
    use ReservationKind as K;
    let mut record = AccessRecord::default();
    let mut ask = |who, wish: &KeyedWish| keyed(&mut record, who, wish);
    ask(A, &register(1, &[A, C]));
    ask(B, &register(2, &[B, C, B]));
    ask(A, &set(K::Exclusive, 1));
    let rename = KeyedWish::Rename {
        target: Key(1),
        replacement: Key(9),
    };
    assert_eq!(ask(A, &rename), D::Stored);
    assert_eq!(ask(A, &rename), D::Stored, "the same again");
    let taken = KeyedWish::Rename {
        target: Key(9),
        replacement: Key(2),
    };
    assert_eq!(ask(A, &taken), D::Reserved);
    assert_eq!(ask(B, &set(K::Exclusive, 2)), D::Reserved);
    assert_eq!(
        ask(B, &preempt(K::WriteExclusive, 9, 7)),
        D::Reserved,
        "not registered"
    );
    let take = preempt(K::WriteExclusive, 9, 2);
    assert_eq!(ask(B, &take), D::Stored);
    assert_eq!(ask(B, &take), D::Stored, "the same again");
    assert_eq!(may(&record), "r rw rw");
    let key = |key| record.keyed.keys.iter().find(|known| known.key == key);
    assert_eq!(key(2).unwrap().stations, [Station(B.0), Station(C.0)]);
    assert_eq!(
        (key(9), record.keyed.owner, record.keyed.generation),
        (None, Some(2), 4)
    );
    // Who owned it is not registered any more: it is free.
    assert_eq!(keyed(&mut record, A, &register(0, &[B, C])), D::Stored);
    assert_eq!(
        (may(&record).as_str(), record.keyed.keys.len()),
        ("rw rw rw", 0)
    );
    assert_eq!((record.keyed.kind, record.keyed.owner), (0, None));
}

#[test]
fn row_64_of_a_group_all_others_can_be_thrown_out_at_once() {
    use ReservationKind as K;
    let mut record = AccessRecord::default();
    for (key, mac) in [(1, A), (2, B), (3, C)] {
        keyed(&mut record, mac, &register(key, &[mac]));
    }
    keyed(&mut record, A, &set(K::ExclusiveGroup, 1));
    assert_eq!(may(&record), "rw rw rw");
    assert_eq!(
        keyed(&mut record, B, &preempt(K::ExclusiveGroup, 1, 2)),
        D::Stored
    );
    assert_eq!(may(&record), "n rw rw");
    assert_eq!(
        keyed(&mut record, B, &preempt(K::WriteExclusive, 0, 2)),
        D::Stored
    );
    assert_eq!(may(&record), "r rw r");
    assert_eq!(keyed(&mut record, C, &KeyedWish::Reset), D::Stored);
    assert_eq!(may(&record), "rw rw rw");
}

#[test]
fn row_64_with_and_without_keys_are_not_mixed() {
    let mut record = AccessRecord::default();
    keyed(&mut record, A, &register(1, &[A]));
    assert_eq!(reserve(&mut record, A, true, &[A]), D::Reserved);
    assert_eq!(
        reserve(&mut record, A, false, &[]),
        D::Stored,
        "nothing to release"
    );
    keyed(&mut record, A, &KeyedWish::Reset);
    assert_eq!(reserve(&mut record, A, false, &[A]), D::Stored);
    assert_eq!(keyed(&mut record, A, &register(1, &[A])), D::Reserved);
    assert_eq!(keyed(&mut record, A, &KeyedWish::Reset), D::Stored);
    assert_eq!(may(&record), "rw n n");
}

#[test]
fn more_stations_than_there_is_room_for_are_refused_as_a_whole() {
    let mut record = AccessRecord::default();
    let macs = |first: u8| -> Vec<MacAddress> {
        (0..200)
            .map(|last| MacAddress([first, 0, 0, 0, 0, last]))
            .collect()
    };
    assert_eq!(keyed(&mut record, A, &register(1, &macs(2))), D::Stored);
    let before = record.clone();
    assert_eq!(
        keyed(&mut record, A, &register(2, &macs(4))),
        D::BadArgument
    );
    assert_eq!(record, before);
}

#[test]
fn row_119_tags_that_a_lun_answers() {
    let mut record = AccessRecord::default();
    let answered = |record: &AccessRecord| {
        let access = Access::of(record);
        [None, Some(0), Some(5), Some(6)].map(|tag| access.is_of_vlan(tag))
    };
    assert_eq!(answered(&record), [true, true, false, false]);
    record.vlan = Some(5);
    assert_eq!(answered(&record), [false, false, true, false]);
}

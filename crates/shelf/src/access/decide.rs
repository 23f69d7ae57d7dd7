//! What becomes of the rules when somebody changes them. Pure: whether it becomes durable is decided
//! elsewhere.
//!
//! Invariant: what was asked a second time, because the first answer was lost, succeeds and changes nothing.

use super::{holders, kind};
use crate::target::{ChangeDecision, KeyedWish};
use aoe::{Key, MacAddress, MaskDirective, MaskError, ReservationKind};
use raid::record::{AccessRecord, KEYS_MAX, KeyRecord, KeyedRecord, STATIONS_MAX, Station};

/// Carries out the directives of a mask list in order, until one cannot be (conformance rows 48 to 51).
pub(crate) fn edit_masks(
    record: &mut AccessRecord,
    directives: &[MaskDirective],
) -> ChangeDecision {
    for (index, directive) in (0_u8..).zip(directives) {
        if let Err(error) = edit_mask(&mut record.masks, directive) {
            return ChangeDecision::BadDirective { error, index };
        }
    }
    ChangeDecision::Stored
}

fn edit_mask(masks: &mut Vec<Station>, directive: &MaskDirective) -> Result<(), MaskError> {
    let station = Station(directive.mac.0);
    match directive.command {
        MaskDirective::NONE => Ok(()),
        // No frame comes from a group address: nobody could be meant.
        MaskDirective::ADD if directive.mac.is_multicast() => Err(MaskError::Unspecified),
        MaskDirective::ADD if masks.contains(&station) => Ok(()),
        MaskDirective::ADD if masks.len() >= STATIONS_MAX => Err(MaskError::ListFull),
        MaskDirective::ADD => {
            masks.push(station);
            Ok(())
        }
        MaskDirective::DELETE => {
            masks.retain(|known| *known != station);
            Ok(())
        }
        _ => Err(MaskError::BadDirective),
    }
}

/// Reserves without keys, or releases (conformance rows 57 to 61).
pub(crate) fn reserve(
    record: &mut AccessRecord,
    requester: MacAddress,
    is_forced: bool,
    macs: &[MacAddress],
) -> ChangeDecision {
    let wanted: Vec<Station> = macs.iter().map(|mac| Station(mac.0)).collect();
    if record.reserved == wanted {
        // A set that is sent again because its answer was lost.
        return ChangeDecision::Stored;
    }
    let holds = record.reserved.is_empty() || record.reserved.contains(&Station(requester.0));
    if !record.keyed.keys.is_empty() || !(is_forced || holds) {
        return ChangeDecision::Reserved;
    }
    record.reserved = wanted;
    ChangeDecision::Stored
}

/// Registers, reserves and releases by key (facts of command 4).
pub(crate) fn keyed(
    record: &mut AccessRecord,
    requester: MacAddress,
    wish: &KeyedWish,
) -> ChangeDecision {
    if !record.reserved.is_empty() {
        // Dropping keys that are not there is no mixture.
        return match wish {
            KeyedWish::Reset => ChangeDecision::Stored,
            _ => ChangeDecision::Reserved,
        };
    }
    let requester = Station(requester.0);
    let may_reserve = holders(record).is_none_or(|holders| holders.contains(&requester));
    let before = record.keyed.keys.clone();
    let keyed = &mut record.keyed;
    let is_done = match wish {
        KeyedWish::Register { key, macs } => {
            if !register(keyed, *key, macs) {
                return ChangeDecision::BadArgument;
            }
            true
        }
        KeyedWish::Set { kind, key } => may_reserve && set(keyed, *kind, *key),
        KeyedWish::Rename {
            target,
            replacement,
        } => rename(keyed, requester, target.0, replacement.0),
        KeyedWish::Preempt {
            kind,
            target,
            replacement,
        } => preempt(keyed, *kind, target.0, replacement.0),
        KeyedWish::Reset => {
            keyed.keys.clear();
            true
        }
    };
    if !is_done {
        return ChangeDecision::Reserved;
    }
    prune(keyed);
    if record.keyed.keys != before {
        record.keyed.generation = record.keyed.generation.wrapping_add(1);
    }
    ChangeDecision::Stored
}

/// Registers stations under a key; a station belongs to one key. Whether there is room.
fn register(keyed: &mut KeyedRecord, key: Key, macs: &[MacAddress]) -> bool {
    let stations: Vec<Station> = macs.iter().map(|mac| Station(mac.0)).collect();
    let mut keys = keyed.keys.clone();
    for known in &mut keys {
        if known.key != key.0 {
            known.stations.retain(|station| !stations.contains(station));
        }
    }
    if key != Key::NONE && !stations.is_empty() {
        let of_key = match keys.iter_mut().find(|known| known.key == key.0) {
            Some(known) => known,
            None => {
                keys.push(KeyRecord {
                    key: key.0,
                    stations: Vec::new(),
                });
                let Some(last) = keys.last_mut() else {
                    unreachable!("a key was added")
                };
                last
            }
        };
        for station in stations {
            if !of_key.stations.contains(&station) {
                of_key.stations.push(station);
            }
        }
    }
    let registered: usize = keys.iter().map(|key| key.stations.len()).sum();
    let has_room = registered <= KEYS_MAX;
    if has_room {
        keyed.keys = keys;
    }
    has_room
}

/// Reserves for a key, or releases.
fn set(keyed: &mut KeyedRecord, wanted: ReservationKind, key: Key) -> bool {
    if key == Key::NONE {
        (keyed.kind, keyed.owner) = (0, None);
        return true;
    }
    if !is_registered(keyed, key.0) {
        return false;
    }
    match kind(keyed) {
        None => {
            take(keyed, wanted, key.0);
            true
        }
        Some(present) => present == wanted && (!present.has_owner() || keyed.owner == Some(key.0)),
    }
}

fn take(keyed: &mut KeyedRecord, kind: ReservationKind, key: u64) {
    keyed.kind = kind.code();
    keyed.owner = kind.has_owner().then_some(key);
}

/// Gives a key another name.
fn rename(keyed: &mut KeyedRecord, requester: Station, target: u64, replacement: u64) -> bool {
    if replacement == Key::NONE.0 {
        return false;
    }
    if !is_registered(keyed, target) {
        // Done already, if the requester is registered under the new name.
        let mut keys = keyed.keys.iter();
        return keys.any(|key| key.key == replacement && key.stations.contains(&requester));
    }
    if target == replacement {
        return true;
    }
    if is_registered(keyed, replacement) {
        return false;
    }
    for key in keyed.keys.iter_mut().filter(|key| key.key == target) {
        key.key = replacement;
    }
    if keyed.owner == Some(target) {
        keyed.owner = Some(replacement);
    }
    true
}

/// Unregisters the stations of a key; who does it takes over what the key owned.
fn preempt(
    keyed: &mut KeyedRecord,
    wanted: ReservationKind,
    target: u64,
    replacement: u64,
) -> bool {
    if !is_registered(keyed, replacement) {
        return false;
    }
    let present = kind(keyed);
    let is_of_all = present.is_some_and(|kind| !kind.has_owner());
    if is_of_all && target == Key::NONE.0 {
        keyed.keys.retain(|key| key.key == replacement);
        take(keyed, wanted, replacement);
        return true;
    }
    if !is_registered(keyed, target) {
        // Done already, if what was to be taken over is there.
        return present == Some(wanted)
            && (!wanted.has_owner() || keyed.owner == Some(replacement));
    }
    if keyed.owner == Some(target) {
        take(keyed, wanted, replacement);
    }
    if target != replacement {
        keyed.keys.retain(|key| key.key != target);
    }
    true
}

fn is_registered(keyed: &KeyedRecord, key: u64) -> bool {
    keyed.keys.iter().any(|known| known.key == key)
}

/// Keys without stations are gone, and what they owned is free.
fn prune(keyed: &mut KeyedRecord) {
    keyed.keys.retain(|key| !key.stations.is_empty());
    let is_there = |owner| keyed.keys.iter().any(|key| key.key == owner);
    keyed.owner = keyed.owner.filter(|owner| is_there(*owner));
    if kind(keyed).is_none() {
        (keyed.kind, keyed.owner) = (0, None);
    }
}

//! Who may use a LUN: mask list, reservations with and without keys, VLAN, read-only.
//!
//! [`Access`] is what the data path needs of it: one look at a sorted list for each frame, and the lists as
//! answers tell them. [`decide`] is what becomes of the record when an initiator, or the administrator,
//! changes the rules.
//!
//! Invariants:
//! * a LUN that has no mask list answers everybody, one that has answers nobody else, whatever is asked;
//! * a reservation holds for ATA commands only: mask lists, reservations and config strings stay open to
//!   all that the mask admits, so that no LUN is lost to a host that is gone;
//! * a LUN is never reserved with and without keys at a time.

pub(crate) mod decide;
#[cfg(test)]
mod tests;

use aoe::{Key, KeyedStatus, MacAddress, MaskDirective, ReservationKind, VlanId};
use raid::record::{AccessRecord, KeyedRecord, Station};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U32, U64};

/// What a station may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rights {
    /// It is answered at all.
    pub(crate) is_admitted: bool,
    /// It may read.
    pub(crate) may_read: bool,
    /// It may do all else that ATA commands do, as far as reservations go.
    pub(crate) may_write: bool,
}

/// The rules of a LUN, as the data path needs them. By default there are none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// The rights of stations that a list names, in order of their addresses.
    stations: Box<[(MacAddress, Rights)]>,
    /// Those of all others.
    others: Rights,
    /// Its mask list, as an answer tells it.
    masks: Box<[MaskDirective]>,
    /// Whom it is reserved for without keys, as an answer tells it.
    reserved: Box<[MacAddress]>,
    /// The reservation by key, as an answer tells it.
    keyed: KeyedStatus,
    /// Its keys, as an answer tells them.
    keys: Box<[U64]>,
    /// The only VLAN that it is served in.
    pub(crate) vlan: Option<VlanId>,
    /// It is not written.
    pub(crate) is_read_only: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self::of(&AccessRecord::default())
    }
}

impl Access {
    /// What a record says.
    #[must_use]
    pub fn of(record: &AccessRecord) -> Self {
        let holders = holders(record);
        let mut addresses: Vec<MacAddress> = record.masks.iter().copied().map(mac).collect();
        addresses.extend(holders.iter().flatten().copied().map(mac));
        addresses.sort_unstable();
        addresses.dedup();
        let rights = |address: &MacAddress| {
            let station = Station(address.0);
            let holds = |list: &Vec<Station>| list.contains(&station);
            Rights {
                is_admitted: record.masks.is_empty() || record.masks.contains(&station),
                may_read: is_readable_by_all(record) || holders.as_ref().is_none_or(holds),
                may_write: holders.as_ref().is_none_or(holds),
            }
        };
        Self {
            stations: addresses.iter().map(|mac| (*mac, rights(mac))).collect(),
            others: Rights {
                is_admitted: record.masks.is_empty(),
                may_read: holders.is_none() || is_readable_by_all(record),
                may_write: holders.is_none(),
            },
            masks: record.masks.iter().copied().map(entry).collect(),
            reserved: record.reserved.iter().copied().map(mac).collect(),
            keyed: keyed_status(&record.keyed),
            keys: record
                .keyed
                .keys
                .iter()
                .map(|key| U64::new(key.key))
                .collect(),
            vlan: record.vlan.and_then(VlanId::new),
            is_read_only: record.read_only,
        }
    }

    /// What a station may do.
    pub(crate) fn rights(&self, station: MacAddress) -> Rights {
        if self.stations.is_empty() {
            return self.others;
        }
        match self
            .stations
            .binary_search_by_key(&station, |known| known.0)
        {
            Ok(index) => self.stations[index].1,
            Err(_) => self.others,
        }
    }

    /// Whether it answers frames with such a tag: 0 for one that gives a priority only.
    pub(crate) fn is_of_vlan(&self, tag: Option<u16>) -> bool {
        match self.vlan {
            Some(vlan) => tag == Some(vlan.get()),
            None => tag.is_none_or(|number| number == 0),
        }
    }

    /// The stations on its mask list.
    pub(crate) fn masked_to(&self) -> impl Iterator<Item = MacAddress> {
        self.masks.iter().map(|entry| entry.mac)
    }

    pub(crate) const fn keyed(&self) -> &KeyedStatus {
        &self.keyed
    }

    /// How many entries a list has.
    pub(crate) fn len(&self, list: AccessList) -> usize {
        match list {
            AccessList::Masks => self.masks.len(),
            AccessList::Reserved => self.reserved.len(),
            AccessList::Keys => self.keys.len(),
        }
    }

    /// The first entries of a list, as an answer tells them.
    pub(crate) fn bytes(&self, list: AccessList, entries: u8) -> &[u8] {
        let bytes = match list {
            AccessList::Masks => self.masks.as_bytes(),
            AccessList::Reserved => self.reserved.as_bytes(),
            AccessList::Keys => self.keys.as_bytes(),
        };
        let wanted = usize::from(entries) * list.entry_bytes();
        &bytes[..wanted.min(bytes.len())]
    }
}

/// A list that an answer tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessList {
    /// The mask list.
    Masks,
    /// The stations of a reservation without keys.
    Reserved,
    /// The keys that are registered.
    Keys,
}

impl AccessList {
    /// Length of an entry in an answer.
    pub(crate) const fn entry_bytes(self) -> usize {
        match self {
            Self::Masks => size_of::<MaskDirective>(),
            Self::Reserved => size_of::<MacAddress>(),
            Self::Keys => size_of::<U64>(),
        }
    }
}

const fn mac(station: Station) -> MacAddress {
    MacAddress(station.0)
}

const fn entry(station: Station) -> MaskDirective {
    MaskDirective::entry(mac(station))
}

/// The kind of the reservation by key, if there is one.
fn kind(record: &KeyedRecord) -> Option<ReservationKind> {
    let kind = ReservationKind::from_code(record.kind)?;
    let is_there = if kind.has_owner() {
        record.owner.is_some()
    } else {
        !record.keys.is_empty()
    };
    is_there.then_some(kind)
}

/// Whether there is a reservation by key.
pub(crate) fn is_reserved_by_key(record: &KeyedRecord) -> bool {
    kind(record).is_some()
}

fn is_readable_by_all(record: &AccessRecord) -> bool {
    record.reserved.is_empty()
        && kind(&record.keyed).is_some_and(ReservationKind::is_readable_by_all)
}

/// The stations that hold the reservation; `None` when there is none.
fn holders(record: &AccessRecord) -> Option<Vec<Station>> {
    if !record.reserved.is_empty() {
        return Some(record.reserved.clone());
    }
    let kind = kind(&record.keyed)?;
    let of_owner = |key| kind.is_of_registrants() || Some(key) == record.keyed.owner;
    let keys = record.keyed.keys.iter().filter(|key| of_owner(key.key));
    Some(keys.flat_map(|key| key.stations.iter().copied()).collect())
}

fn keyed_status(record: &KeyedRecord) -> KeyedStatus {
    KeyedStatus {
        command: 0,
        kind: record.kind,
        keys: U16::new(0),
        reserved: U32::new(0),
        generation: U32::new(record.generation),
        owner: U64::new(record.owner.unwrap_or(Key::NONE.0)),
    }
}

//! Who may do what with a LUN, as its administrator sees it.

use super::request::Seen;
use aoe::{Key, MacAddress, ReservationKind};
use shelf::admin::LunStatus;
use shelf::plane::LunView;

/// A LUN, as frames meet it.
pub(super) struct Rules {
    pub(super) number: u8,
    pub(super) online: bool,
    pub(super) capacity_sectors: u64,
    pub(super) vlan: Option<u16>,
    /// The administrator is about to change that.
    pub(super) next_vlan: Option<Option<u16>>,
    pub(super) is_read_only: bool,
    masks: Vec<MacAddress>,
    /// The stations that hold the reservation.
    holders: Option<Vec<MacAddress>>,
    /// Others may read all the same.
    is_readable: bool,
}

impl Rules {
    pub(super) fn of(status: &LunStatus, view: &LunView) -> Self {
        let access = &status.access;
        let kind = access.reservation;
        let owns = |key: Key| {
            kind.is_some_and(ReservationKind::is_of_registrants) || access.owner == Some(key)
        };
        let by_key = || {
            let keys = access.keys.iter().filter(|key| owns(key.key));
            keys.flat_map(|key| key.stations.clone()).collect()
        };
        let holders = if access.reserved.is_empty() {
            kind.map(|_| by_key())
        } else {
            Some(access.reserved.clone())
        };
        Self {
            number: status.lun.get(),
            online: status.online,
            capacity_sectors: view.capacity_sectors,
            vlan: access.vlan.map(aoe::VlanId::get),
            next_vlan: None,
            is_read_only: access.is_read_only,
            masks: access.masks.clone(),
            holders,
            is_readable: access.reserved.is_empty()
                && kind.is_some_and(ReservationKind::is_readable_by_all),
        }
    }

    /// Whether it looks at a request (conformance rows 54, 115, 119).
    pub(super) fn admits(&self, shelf: u16, seen: &Seen<'_>) -> bool {
        let is_of_vlan = match self.vlan {
            Some(number) => seen.vlan == Some(number),
            None => seen.vlan.is_none_or(|number| number == 0),
        };
        let is_masked = !self.masks.is_empty() && !self.masks.contains(&seen.sender);
        self.online && seen.is_for(shelf, self.number) && is_of_vlan && !is_masked
    }

    /// Whether a station is told where it is (conformance row 55).
    pub(super) fn is_advertised_to(&self, station: MacAddress) -> bool {
        let is_broadcast = station == MacAddress::BROADCAST;
        let is_named = self.masks.contains(&station);
        self.online
            && if self.masks.is_empty() {
                is_broadcast
            } else {
                is_named
            }
    }

    /// Whether it may speak with such a tag now.
    pub(super) fn speaks(&self, vlan: Option<u16>) -> bool {
        self.vlan == vlan || self.next_vlan == Some(vlan)
    }

    pub(super) fn may_write(&self, station: MacAddress) -> bool {
        let holders = self.holders.as_ref();
        holders.is_none_or(|holders| holders.contains(&station))
    }

    pub(super) fn may_read(&self, station: MacAddress) -> bool {
        self.is_readable || self.may_write(station)
    }
}

/// What is to come of a request to a LUN that looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    /// Nothing.
    Silence,
    /// A refusal with this AoE error, at once.
    Error(u8),
    /// An answer at once.
    Answer,
    /// An answer, or none, at any time.
    Any,
    /// It is admitted, unless there is no buffer.
    Read,
    Write,
    Flush,
}

/// Sectors that a frame of a port holds.
fn sectors_of(mtu_bytes: usize) -> u64 {
    ((mtu_bytes - 36) / 512).min(24) as u64
}

impl Rules {
    /// What is to come of a request on a port with this MTU.
    pub(super) fn expect(&self, seen: &Seen<'_>, mtu_bytes: usize) -> Expected {
        let Some(ata) = seen.ata() else {
            return expect_other(seen);
        };
        let is_allowed = match ata.opcode {
            0xec | 0xe5 => true,
            // Some of SMART only tells, the rest is not supported.
            0xb0 => {
                return if self.may_write(seen.asker) {
                    Expected::Answer
                } else {
                    Expected::Any
                };
            }
            0x20 | 0x24 => self.may_read(seen.asker),
            _ => self.may_write(seen.asker),
        };
        let count = u64::from(ata.count);
        let end = ata.lba.checked_add(count);
        let fits = count > 0
            && count <= sectors_of(mtu_bytes)
            && end.is_some_and(|end| end <= self.capacity_sectors);
        if !is_allowed {
            Expected::Error(6)
        } else if ata.flushes() {
            Expected::Flush
        } else if ata.manages() {
            Expected::Any
        } else if ata.reads() {
            if fits {
                Expected::Read
            } else {
                Expected::Answer
            }
        } else if ata.writes() && seen.is_wildcard() {
            Expected::Silence
        } else if ata.writes() && !self.is_read_only {
            let is_held = (ata.data.len() / 512) as u64 >= count;
            if fits && is_held {
                Expected::Write
            } else {
                Expected::Answer
            }
        } else {
            Expected::Answer
        }
    }
}

/// Of requests that are no ATA commands.
fn expect_other(seen: &Seen<'_>) -> Expected {
    let code = |at: usize| seen.argument.get(at).copied();
    match seen.command {
        1 => match seen.argument.get(..8).map_or(0, |fixed| fixed[5] & 0xf) {
            0 => Expected::Answer,
            1..=5 => Expected::Any,
            _ => Expected::Error(2),
        },
        2 | 0xf0 => match code(1) {
            Some(0) => Expected::Answer,
            Some(1) => Expected::Any,
            _ => Expected::Error(2),
        },
        3 => match code(0) {
            Some(0) => Expected::Answer,
            Some(1 | 2) => Expected::Any,
            _ => Expected::Error(2),
        },
        4 => match code(0) {
            Some(0) => Expected::Answer,
            Some(1..=4) => Expected::Any,
            _ => Expected::Error(2),
        },
        _ => Expected::Error(1),
    }
}

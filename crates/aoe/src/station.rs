//! The addresses under which one port is several stations.
//!
//! A Linux initiator has a window of 64 commands for each address of a target (facts of its driver,
//! `aoe_maxout`). A port that answers under several addresses is taken for as many paths, and gets as many
//! windows.
//!
//! Invariants:
//! * the first address is the interface's own; the others differ from it in the first byte alone, are locally
//!   administered (IEEE 802, bit 1 of the first byte), and differ from one another;
//! * the same interface always has the same ones, so that initiators find them again after a restart.

use crate::MacAddress;

/// Most addresses of a port: four bits of the first byte tell them apart.
pub const ADDRESSES_MAX: u8 = 16;

/// Where these bits lie: above those that say "group" and "locally administered".
const INDEX_SHIFT: u32 = 2;

/// The addresses of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StationAddresses {
    first: MacAddress,
    count: u8,
}

impl StationAddresses {
    /// The one address of an interface.
    #[must_use]
    pub const fn single(mac: MacAddress) -> Self {
        Self {
            first: mac,
            count: 1,
        }
    }

    /// `count` addresses, from 1 to [`ADDRESSES_MAX`]; `None` if it is another number.
    #[must_use]
    pub const fn several(mac: MacAddress, count: u8) -> Option<Self> {
        if count == 0 || count > ADDRESSES_MAX {
            return None;
        }
        Some(Self { first: mac, count })
    }

    /// The interface's own address.
    #[must_use]
    pub const fn first(&self) -> MacAddress {
        self.first
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u8 {
        self.count
    }

    /// All of them, the interface's own first.
    pub fn iter(&self) -> impl Iterator<Item = MacAddress> + use<> {
        let first = self.first;
        (0..self.count).map(move |index| derived(first, index))
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, mac: MacAddress) -> bool {
        if mac == self.first {
            return true;
        }
        // One comparison for most frames that are for others.
        mac.0[1..] == self.first.0[1..] && self.iter().any(|own| own == mac)
    }
}

fn derived(first: MacAddress, index: u8) -> MacAddress {
    if index == 0 {
        return first;
    }
    let mut bytes = first.0;
    bytes[0] = (bytes[0] | 0x02) ^ (index << INDEX_SHIFT);
    MacAddress(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn addresses_of_a_port_differ_and_are_local_but_the_first() {
        for first in [
            "001004012e81",
            "021004012e81",
            "fe1004012e81",
            "a2ffffffffff",
        ] {
            let first: MacAddress = first.parse().unwrap();
            let all = StationAddresses::several(first, ADDRESSES_MAX).unwrap();
            let set: BTreeSet<MacAddress> = all.iter().collect();
            assert_eq!(set.len(), 16, "{first}");
            assert_eq!(all.iter().next(), Some(first));
            for mac in all.iter().skip(1) {
                assert_eq!(mac.0[0] & 3, 2, "{mac}");
                assert_eq!(mac.0[1..], first.0[1..]);
                assert!(all.contains(mac));
            }
        }
    }

    #[test]
    fn others_are_not_among_them() {
        let first: MacAddress = "001004012e81".parse().unwrap();
        let two = StationAddresses::several(first, 2).unwrap();
        let all = StationAddresses::several(first, 16).unwrap();
        let third = all.iter().nth(2).unwrap();
        assert!(all.contains(third) && !two.contains(third));
        assert!(!all.contains("001004012e82".parse().unwrap()));
        assert!(!StationAddresses::single(first).contains(two.iter().nth(1).unwrap()));
        assert_eq!(StationAddresses::several(first, 0), None);
        assert_eq!(StationAddresses::several(first, 17), None);
    }
}

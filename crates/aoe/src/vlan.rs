//! IEEE 802.1Q tags: four bytes between the source address and the EtherType.

/// EtherType of a tag of a customer's VLAN.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of a tag of a provider's VLAN (802.1ad).
pub const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

/// Length of a tag.
pub const TAG_BYTES: usize = 4;

/// Where a tag lies in a frame.
pub const TAG_OFFSET: usize = 12;

/// The number of a VLAN: 1 to 4094.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct VlanId(u16);

impl VlanId {
    /// The VLAN with this number, if there can be one.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number >= 1 && number <= 4094 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The tag that puts a frame into this VLAN, without priority.
    #[must_use]
    pub const fn tag(self) -> [u8; TAG_BYTES] {
        let [t0, t1] = ETHERTYPE_VLAN.to_be_bytes();
        let [v0, v1] = self.0.to_be_bytes();
        [t0, t1, v0, v1]
    }
}

impl core::fmt::Display for VlanId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// The number in the control word of a tag; 0 in a tag that gives a priority only.
pub(crate) const fn number(control: u16) -> u16 {
    control & 0x0fff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_119_numbers_of_vlans() {
        for (number, is_valid) in [(0, false), (1, true), (4094, true), (4095, false)] {
            assert_eq!(VlanId::new(number).is_some(), is_valid, "{number}");
        }
        assert_eq!(
            VlanId::new(0x123).map(VlanId::tag),
            Some([0x81, 0, 1, 0x23])
        );
    }
}

//! What LUNs, drives and elements are called.

use std::fmt;

/// Number of a LUN, 0 to 254: the AoE minor address it is served at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LunNumber(u8);

impl LunNumber {
    /// The largest LUN number; 255 is the AoE wildcard.
    pub const MAX: u8 = 254;

    /// `None` for 255, which is the wildcard of the protocol.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for LunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Slot of a drive in the shelf, from 0; shown as `<shelf>.<slot>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DriveSlot(pub u16);

impl fmt::Display for DriveSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A RAID of a LUN, written `LUN.part`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PartId {
    /// The LUN.
    pub lun: LunNumber,
    /// Which of the LUN's RAIDs, from 0.
    pub part: u8,
}

impl PartId {
    /// The first RAID of a LUN.
    #[must_use]
    pub const fn first(lun: LunNumber) -> Self {
        Self { lun, part: 0 }
    }

    /// An element of it.
    #[must_use]
    pub const fn element(self, member: u8) -> ElementId {
        ElementId {
            lun: self.lun,
            part: self.part,
            member,
        }
    }
}

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.lun, self.part))
    }
}

/// An element of a LUN, written `LUN.part.member`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ElementId {
    /// The LUN.
    pub lun: LunNumber,
    /// Which of the LUN's RAIDs, from 0.
    pub part: u8,
    /// Which member of that RAID, from 0, in the order in which `make` named them.
    pub member: u8,
}

impl ElementId {
    /// The RAID that it is an element of.
    #[must_use]
    pub const fn raid(self) -> PartId {
        PartId {
            lun: self.lun,
            part: self.part,
        }
    }
}

impl fmt::Display for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}.{}", self.lun, self.part, self.member))
    }
}

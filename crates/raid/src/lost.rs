//! Lost sectors of a RAID with parity: nobody knows what they held, although the rest of their stripes is
//! consistent.
//!
//! When whole stripes were being overwritten, and members are lost in the same crash, what is left may tell
//! neither the old content of these members nor the new. Recovery makes such a stripe consistent all the
//! same: what is lost is *defined* as what the parity that is left says. From then on the stripe is like any
//! other to whoever computes. Only clients are not to be given a lost sector before they have written it.
//!
//! Invariants:
//! * a list is in order, and the ranges of an element are apart and not empty;
//! * a range is taken out after a write of all that is taken out is durable.

use crate::Geometry;
use crate::bad_blocks::BadRange;
use crate::parity::Role;
use serde::{Deserialize, Serialize};

/// Most ranges that are added to a list: half of what the longest record has room for, because a write in
/// the middle of a range makes two of it.
pub const LOST_MAX: usize = 256;

/// A run of sectors of an element, counted from its data offset. It is not empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(from = "(u8, u64, u64)", into = "(u8, u64, u64)")]
pub struct LostRange {
    /// The element.
    pub element: u8,
    /// First sector.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
}

impl From<(u8, u64, u64)> for LostRange {
    fn from((element, sector, sectors): (u8, u64, u64)) -> Self {
        Self {
            element,
            sector,
            sectors,
        }
    }
}

impl From<LostRange> for (u8, u64, u64) {
    fn from(lost: LostRange) -> Self {
        (lost.element, lost.sector, lost.sectors)
    }
}

impl LostRange {
    /// Its sectors.
    #[must_use]
    pub const fn range(&self) -> BadRange {
        BadRange {
            sector: self.sector,
            sectors: self.sectors,
        }
    }
}

/// What two runs share.
#[must_use]
pub fn shared(one: &BadRange, other: &BadRange) -> Option<BadRange> {
    let sector = one.sector.max(other.sector);
    let end = one.end().min(other.end());
    (sector < end).then(|| BadRange {
        sector,
        sectors: end - sector,
    })
}

/// Whether some of these sectors of an element are lost.
#[must_use]
pub fn is_any_lost(lost: &[LostRange], element: u8, range: &BadRange) -> bool {
    lost.iter()
        .any(|lost| lost.element == element && lost.range().overlaps(range))
}

/// Adds a range. False when the list is full; then nothing is changed.
#[must_use]
pub fn add(lost: &mut Vec<LostRange>, range: LostRange) -> bool {
    let touches = |other: &LostRange| {
        let is_near = other.sector <= range.range().end() && range.sector <= other.range().end();
        other.element == range.element && is_near
    };
    let (near, mut all): (Vec<LostRange>, Vec<LostRange>) = lost.iter().partition(|r| touches(r));
    let joined = near.iter().chain([&range]);
    let sector = joined.clone().map(|r| r.sector).min().unwrap_or(0);
    let end = joined.map(|r| r.range().end()).max().unwrap_or(0);
    all.push(LostRange {
        element: range.element,
        sector,
        sectors: end - sector,
    });
    if all.len() > LOST_MAX {
        return false;
    }
    all.sort_unstable();
    *lost = all;
    true
}

/// The list without sectors: of one element, or of all.
#[must_use]
pub fn without(lost: &[LostRange], element: Option<u8>, range: &BadRange) -> Vec<LostRange> {
    let mut left = Vec::with_capacity(lost.len() + 1);
    for own in lost {
        if element.is_some_and(|element| element != own.element) || !own.range().overlaps(range) {
            left.push(*own);
            continue;
        }
        let head = own.sector..range.sector;
        let tail = range.end()..own.range().end();
        for rest in [head, tail].into_iter().filter(|rest| !rest.is_empty()) {
            left.push(LostRange {
                element: own.element,
                sector: rest.start,
                sectors: rest.end - rest.start,
            });
        }
    }
    left
}

/// The sectors of an element that md is told not to read because of lost ones, though they are good to
/// compute with: lost ones of its own, and parity of lost ones of others.
#[must_use]
pub fn set_aside(geometry: &Geometry, lost: &[LostRange], element: u8) -> Vec<BadRange> {
    let mut aside = Vec::new();
    for own in lost {
        let mut sector = own.sector;
        while sector < own.range().end() {
            let row = geometry.row_of(sector);
            let row_end = (row + 1) * u64::from(geometry.chunk_sectors());
            let end = row_end.min(own.range().end());
            let is_parity = geometry
                .row_layout(row)
                .is_some_and(|layout| !matches!(layout.role(element), Role::Data(_)));
            if is_parity || element == own.element {
                let sectors = end - sector;
                aside.push(BadRange { sector, sectors });
            }
            sector = end;
        }
    }
    aside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn sectors(lost: &[LostRange]) -> BTreeSet<(u8, u64)> {
        let all = lost.iter().flat_map(|lost| {
            let range = lost.range();
            (range.sector..range.end()).map(|sector| (lost.element, sector))
        });
        all.collect()
    }

    #[test]
    fn a_full_list_takes_only_what_joins() {
        let mut lost = Vec::new();
        for place in 0..LOST_MAX as u64 {
            assert!(add(&mut lost, (1, place * 10, 5).into()));
        }
        let full = lost.clone();
        assert!(!add(&mut lost, (2, 0, 1).into()));
        assert_eq!(lost, full);
        assert!(add(&mut lost, (1, 5, 5).into()));
        assert_eq!(lost.len(), LOST_MAX - 1);
    }

    #[test]
    fn a_range_is_three_numbers_on_the_disk() {
        let lost: LostRange = (3, 70, 16).into();
        let text = serde_json::to_string(&[lost]).unwrap();
        assert_eq!(text, "[[3,70,16]]");
        assert_eq!(
            serde_json::from_str::<Vec<LostRange>>(&text).unwrap(),
            [lost]
        );
    }

    #[test]
    fn what_is_set_aside_is_the_lost_and_its_parity() {
        let geometry = Geometry::new(Level::Raid5, 4, 32, 1024).unwrap();
        // Rows of 32 sectors: P is element 3, then 2.
        let lost = [(0, 24, 16).into()];
        let range = |sector, sectors| BadRange { sector, sectors };
        assert_eq!(set_aside(&geometry, &lost, 0), [range(24, 8), range(32, 8)]);
        assert_eq!(set_aside(&geometry, &lost, 1), []);
        assert_eq!(set_aside(&geometry, &lost, 2), [range(32, 8)]);
        assert_eq!(set_aside(&geometry, &lost, 3), [range(24, 8)]);
    }

    proptest! {
        #[test]
        fn a_list_is_a_set_of_sectors(
            steps in prop::collection::vec(
                (any::<bool>(), prop::option::of(0_u8..3), 0_u64..200, 1_u64..40), 1..40)
        ) {
            let mut lost = Vec::new();
            let mut model = BTreeSet::new();
            for (adds, element, sector, count) in steps {
                let range = BadRange { sector, sectors: count };
                if adds {
                    let element = element.unwrap_or(0);
                    prop_assert!(add(&mut lost, (element, sector, count).into()));
                    model.extend((sector..range.end()).map(|sector| (element, sector)));
                } else {
                    lost = without(&lost, element, &range);
                    model.retain(|(of, sector)| {
                        element.is_some_and(|element| element != *of)
                            || !(range.sector..range.end()).contains(sector)
                    });
                }
                prop_assert_eq!(&sectors(&lost), &model);
                prop_assert!(lost.is_sorted() && lost.iter().all(|lost| lost.sectors > 0));
                for element in 0..3 {
                    let any = (range.sector..range.end()).any(|s| model.contains(&(element, s)));
                    prop_assert_eq!(is_any_lost(&lost, element, &range), any);
                }
            }
        }
    }
}

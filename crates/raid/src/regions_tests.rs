//! Tests of regions and their sets, against slow models.

use super::*;
use crate::Level;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn geometry() -> impl Strategy<Value = Geometry> {
    let levels = vec![Level::Raid1, Level::Raid5, Level::Raid6, Level::Raid10];
    (prop::sample::select(levels), 2_u8..5, 3_u32..9, 1_u64..40).prop_map(
        |(level, half, exponent, rows)| {
            Geometry::new(level, half * 2, 1 << exponent, rows << exponent).unwrap()
        },
    )
}

/// Every member sector that a write of one array sector may change, in what md counts.
fn touched(geometry: &Geometry, lba: u64) -> Vec<u64> {
    if geometry.parity_count() == 0 {
        return vec![lba];
    }
    let segment = geometry.segments(lba, 1).next().unwrap();
    let chunk = u64::from(geometry.chunk_sectors());
    let row = segment.member_sector / chunk;
    (row * chunk..(row + 1) * chunk).collect()
}

proptest! {
    #[test]
    fn a_write_concerns_the_regions_of_all_that_it_may_change(
        geometry in geometry(),
        shift in 2_u32..10,
        place in any::<prop::sample::Index>(),
        sectors in 1_u64..25,
    ) {
        let map = RegionMap::new(&geometry, shift).unwrap();
        let capacity = geometry.capacity_sectors();
        let lba = place.index(usize::try_from(capacity).unwrap()) as u64;
        let sectors = sectors.min(capacity - lba);
        let regions: BTreeSet<u64> = (lba..lba + sectors)
            .flat_map(|lba| touched(&geometry, lba))
            .map(|sector| sector >> shift)
            .collect();
        let range = map.of_range(lba, sectors);
        let (first, last) = (u64::from(*range.start()), u64::from(*range.end()));
        prop_assert_eq!(regions, (first..=last).collect::<BTreeSet<_>>());
        prop_assert!(*range.end() < map.regions());
        for region in range {
            let region = RegionIndex(region);
            prop_assert!(map.start_lba(region) < lba + sectors);
            prop_assert!(map.end_lba(region) > lba);
            prop_assert!(map.end_lba(region) <= capacity);
        }
    }

    #[test]
    fn a_walk_over_a_set_meets_exactly_what_it_concerns(
        geometry in geometry(),
        shift in 2_u32..10,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let map = RegionMap::new(&geometry, shift).unwrap();
        let mut set = RegionSet::empty(map.regions());
        for pick in picks {
            set.insert(RegionIndex(u32::try_from(pick.index(map.regions() as usize)).unwrap()));
        }
        let capacity = geometry.capacity_sectors();
        let concerned = |lba: &u64| {
            map.of_range(*lba, 1).any(|region| set.contains(RegionIndex(region)))
        };
        let expected: Vec<u64> = (0..capacity).filter(concerned).collect();
        let mut walked = Vec::new();
        let mut lba = 0;
        while lba < capacity && let Some(next) = map.next_lba(&set, lba) {
            prop_assert!(next >= lba);
            walked.push(next);
            lba = next + 1;
        }
        prop_assert_eq!(walked, expected);
    }

    #[test]
    fn a_set_is_a_set(
        regions in 1_u32..70,
        changes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..60),
        other in prop::collection::vec(any::<u8>(), 0..10),
    ) {
        let mut set = RegionSet::empty(regions);
        let mut model = BTreeSet::new();
        for (add, pick) in changes {
            let region = RegionIndex(u32::try_from(pick.index(regions as usize)).unwrap());
            if add {
                prop_assert_eq!(set.insert(region), model.insert(region));
            } else {
                prop_assert_eq!(set.remove(region), model.remove(&region));
            }
        }
        prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), model.clone());
        prop_assert_eq!(set.count() as usize, model.len());
        prop_assert_eq!(set.is_empty(), model.is_empty());
        prop_assert_eq!(&RegionSet::from_bytes(regions, set.as_bytes()), &set);
        let other = RegionSet::from_bytes(regions, &other);
        let others: BTreeSet<_> = other.iter().collect();
        prop_assert!(others.iter().all(|region| region.0 < regions));
        let combined = |change: &dyn Fn(&mut RegionSet)| {
            let mut set = set.clone();
            change(&mut set);
            set.iter().collect::<BTreeSet<_>>()
        };
        prop_assert_eq!(combined(&|set| set.insert_all(&other)), &model | &others);
        prop_assert_eq!(combined(&|set| set.remove_all(&other)), &model - &others);
        prop_assert_eq!(combined(&|set| set.retain_all(&other)), &model & &others);
        prop_assert_eq!(RegionSet::full(regions).count(), regions);
    }
}

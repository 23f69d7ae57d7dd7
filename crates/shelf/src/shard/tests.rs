//! Who owns what, against the sectors one by one.

use super::*;
use crate::access::Access;
use crate::plane::PartView;
use aoe::Shelf;
use proptest::prelude::*;
use raid::{Geometry, Level};

fn part(level: Level, member_sectors: u64) -> PartView {
    let members = match level {
        Level::Raid5 => 3,
        _ => 2,
    };
    PartView {
        geometry: Geometry::new(level, members, 128, member_sectors).unwrap(),
        members: vec![None; usize::from(members)],
        twins: Vec::new(),
        mirrors_unsynced: false,
        sync: None,
        regions: None,
        log: None,
        lost: [].into(),
    }
}

fn view(lun: u8, parts: Vec<PartView>) -> LunView {
    LunView {
        lun: LunNumber::new(lun).unwrap(),
        shelf: Shelf(1),
        online: true,
        capacity_sectors: parts.iter().map(|p| p.geometry.capacity_sectors()).sum(),
        unit: raid::Unit::SECTOR,
        parts,
        identify: Box::new([0; 512]),
        config_string: Vec::new(),
        access: Access::default(),
    }
}

fn levels() -> impl Strategy<Value = Vec<(bool, u64)>> {
    proptest::collection::vec((any::<bool>(), 1_u64..40), 1..4)
}

fn parts(levels: &[(bool, u64)]) -> Vec<PartView> {
    let part_of = |(has_parity, chunks): &(bool, u64)| {
        let level = if *has_parity {
            Level::Raid5
        } else {
            Level::Raid0
        };
        part(level, chunks * 384)
    };
    levels.iter().map(part_of).collect()
}

proptest! {
    /// The owners of a range are those of its sectors, each of which has one, whatever is appended to the
    /// LUN.
    #[test]
    fn a_range_belongs_to_the_owners_of_its_sectors(
        (levels, more) in (levels(), levels()),
        (lun, workers) in (0_u8..=254, 1_u8..=WORKERS_MAX),
        (lba, sectors) in (0_u64..60_000, 1_u64..9000),
    ) {
        let place = Place::among(WorkerIndex(0), workers);
        let small = view(lun, parts(&levels));
        let grown = view(lun, parts(&[levels, more].concat()));
        let home = place.home(small.lun);
        let whole = place.owners(&small, lba, sectors);
        if lba + sectors > small.capacity_sectors {
            prop_assert_eq!(whole.only(), Some(home));
            return Ok(());
        }
        prop_assert_eq!(whole, place.owners(&grown, lba, sectors));
        let mut sum = WorkerSet::default();
        for sector in lba..lba + sectors {
            let one = place.owners(&small, sector, 1);
            prop_assert!(one.only().is_some_and(|owner| owner.0 < workers));
            sum = sum.with(one);
        }
        prop_assert_eq!(sum, whole);
        prop_assert_eq!(place.owners(&small, lba, 0).only(), Some(home));
    }
}

#[test]
fn parts_with_parity_stay_at_home_and_others_are_spread_evenly() {
    let place = Place::among(WorkerIndex(0), 4);
    let (spread, parity) = (part(Level::Raid0, 64 * 1024), part(Level::Raid5, 64 * 1024));
    let start = spread.geometry.capacity_sectors();
    let both = view(6, vec![spread, parity]);
    let mut groups = [0; 4];
    for lba in (0..start).step_by(2048) {
        let owner = place.owners(&both, lba, GROUP_SECTORS).only().unwrap();
        groups[usize::from(owner.0)] += 1;
    }
    assert_eq!(groups, [16; 4]);
    let rest = both.capacity_sectors - start;
    assert_eq!(
        place.owners(&both, start, rest).only(),
        Some(WorkerIndex(2))
    );
    let across = place.owners(&both, start - 1, 2);
    assert!(across.contains(WorkerIndex(2)));
    assert!(Place::ALONE.is_home(both.lun) && Place::ALONE.owners(&both, 0, 1).only().is_some());
}

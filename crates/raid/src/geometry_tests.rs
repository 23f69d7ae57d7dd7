//! Tests of the geometry against a model that shares no arithmetic with it: md's own row-major
//! placement of copies, walked position by position.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Where md puts the sectors of an array, as (role, member sector), one list per copy. Walks the
/// grid of md chunk by chunk: near-`copies` layout, `members` wide.
fn md_near_model(members: u64, copies: u64, chunk: u64, rows: u64) -> Vec<Vec<(u16, u64)>> {
    let mut places = Vec::new();
    let (mut row, mut role) = (0_u64, 0_u64);
    while row < rows {
        let mut chunk_places = Vec::new();
        for _ in 0..copies {
            chunk_places.push((role, row));
            role += 1;
            if role == members {
                role = 0;
                row += 1;
            }
        }
        for within in 0..chunk {
            places.push(
                chunk_places
                    .iter()
                    .map(|&(role, row)| (u16::try_from(role).unwrap(), row * chunk + within))
                    .collect(),
            );
        }
    }
    places
}

/// Where our geometry puts one sector, as (role, member sector), in the order of the mirrors.
fn place(geometry: &Geometry, sector: u64) -> Vec<(u16, u64)> {
    let segments: Vec<_> = geometry.segments(sector, 1).collect();
    assert_eq!(segments.len(), 1);
    segments[0]
        .mirrors
        .into_iter()
        .map(|element| (geometry.md_role(element), segments[0].member_sector))
        .collect()
}

fn striped() -> impl Strategy<Value = (Level, u8, u32, u64)> {
    (any::<bool>(), 1_u8..=18, 3_u32..=5, 1_u64..=6).prop_map(|(mirrored, k, shift, rows)| {
        if mirrored {
            (Level::Raid10, k * 2, 1 << shift, rows)
        } else {
            (Level::Raid0, k, 1 << shift, rows)
        }
    })
}

proptest! {
    #[test]
    fn striped_levels_place_every_sector_where_md_does((level, members, chunk, rows) in striped()) {
        let geometry = Geometry::new(level, members, chunk, rows * u64::from(chunk)).unwrap();
        let copies = if level == Level::Raid10 { 2 } else { 1 };
        let model = md_near_model(u64::from(members), copies, u64::from(chunk), rows);
        prop_assert_eq!(geometry.capacity_sectors(), model.len() as u64);
        for (sector, places) in (0..).zip(&model) {
            prop_assert_eq!(&place(&geometry, sector), places);
        }
    }

    #[test]
    fn every_member_sector_is_used_once((level, members, chunk, rows) in striped()) {
        let geometry = Geometry::new(level, members, chunk, rows * u64::from(chunk)).unwrap();
        let mut seen = BTreeSet::new();
        for sector in 0..geometry.capacity_sectors() {
            for at in place(&geometry, sector) {
                prop_assert!(seen.insert(at), "{:?} holds two sectors", at);
            }
        }
        prop_assert_eq!(seen.len() as u64, u64::from(members) * geometry.member_sectors());
    }

    #[test]
    fn segments_tile_the_request_and_agree_with_single_sectors(
        (level, members, chunk, rows) in striped(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let geometry = Geometry::new(level, members, chunk, rows * u64::from(chunk)).unwrap();
        let size = usize::try_from(geometry.capacity_sectors()).unwrap();
        let (a, b) = (from.index(size + 1), to.index(size + 1));
        let (lba, end) = (a.min(b) as u64, a.max(b) as u64);
        let mut next = 0;
        for segment in geometry.segments(lba, u32::try_from(end - lba).unwrap()) {
            prop_assert_eq!(segment.offset_sectors, next);
            prop_assert!(segment.sectors >= 1 && segment.sectors <= chunk);
            for i in 0..segment.sectors {
                let sector = lba + u64::from(segment.offset_sectors + i);
                let expected: Vec<_> = segment.mirrors.into_iter()
                    .map(|e| (geometry.md_role(e), segment.member_sector + u64::from(i)))
                    .collect();
                prop_assert_eq!(place(&geometry, sector), expected);
            }
            next += segment.sectors;
        }
        prop_assert_eq!(u64::from(next), end - lba);
    }

    #[test]
    fn roles_and_elements_are_a_bijection(k in 1_u8..=18) {
        let geometry = Geometry::new(Level::Raid10, k * 2, 128, 128).unwrap();
        for element in 0..k * 2 {
            let role = geometry.md_role(element);
            prop_assert_eq!(geometry.element_of_md_role(role), Some(element));
            let expected = if element < k { 2 * element } else { 2 * (element - k) + 1 };
            prop_assert_eq!(role, u16::from(expected));
        }
        prop_assert_eq!(geometry.element_of_md_role(u16::from(k) * 2), None);
    }

    #[test]
    fn unstriped_levels_are_one_segment(members in 2_u8..=36, lba in 0_u64..900, count in 1_u32..=100) {
        for (level, n) in [(Level::Raw, 1), (Level::Jbod, 1), (Level::Raid1, members)] {
            let geometry = Geometry::new(level, n, 0, 1000).unwrap();
            let segments: Vec<_> = geometry.segments(lba, count).collect();
            prop_assert_eq!(segments.len(), 1);
            let segment = segments[0];
            prop_assert_eq!((segment.offset_sectors, segment.sectors), (0, count));
            prop_assert_eq!(segment.member_sector, lba);
            let all: Vec<u8> = (0..n).collect();
            prop_assert_eq!(segment.mirrors.into_iter().collect::<Vec<_>>(), all);
            prop_assert_eq!(segment.mirrors.len(), usize::from(n));
        }
    }
}

#[test]
fn sixteen_members_pair_as_coraid_pairs_them() {
    let geometry = Geometry::new(Level::Raid10, 16, 128, 1280).unwrap();
    let pairs: Vec<Vec<u8>> = geometry
        .mirror_sets()
        .map(|set| set.into_iter().collect())
        .collect();
    let expected: Vec<Vec<u8>> = (0..8).map(|i| vec![i, i + 8]).collect();
    assert_eq!(pairs, expected);
}

#[test]
fn a_shelf_of_24_disks_of_24_tb_has_no_overflow() {
    // 24 TB less the metadata, rounded down to chunks of 64 KiB.
    let member_sectors = (24_000_000_000_000_u64 / 512 - 264_192) / 128 * 128;
    let geometry = Geometry::new(Level::Raid0, 24, 128, member_sectors).unwrap();
    assert_eq!(geometry.capacity_sectors(), member_sectors * 24);
    let last = geometry
        .segments(geometry.capacity_sectors() - 1, 1)
        .next()
        .unwrap();
    assert_eq!(last.member_sector, member_sectors - 1);
    assert_eq!(last.mirrors.first, 23);
    let geometry = Geometry::new(Level::Raid10, 24, 128, member_sectors).unwrap();
    let last = geometry
        .segments(geometry.capacity_sectors() - 1, 1)
        .next()
        .unwrap();
    assert_eq!(last.member_sector, member_sectors - 1);
    assert_eq!(last.mirrors.into_iter().collect::<Vec<_>>(), [11, 23]);
}

#[test]
fn worked_example_of_sixteen_4_tb_members() {
    let member_sectors = 4_000_786_939_904 / 512;
    let geometry = Geometry::new(Level::Raid10, 16, 128, member_sectors).unwrap();
    assert_eq!(geometry.capacity_sectors() * 512, 32_006_295_519_232);
}

#[test]
fn numbers_that_a_level_cannot_have_are_refused() {
    use GeometryError as E;
    let new = Geometry::new;
    for (level, members) in [
        (Level::Raw, 0),
        (Level::Raw, 2),
        (Level::Jbod, 2),
        (Level::Raid0, 0),
        (Level::Raid0, 37),
        (Level::Raid1, 1),
        (Level::Raid1, 37),
        (Level::Raid10, 0),
        (Level::Raid10, 3),
        (Level::Raid10, 38),
        (Level::Raid5, 2),
        (Level::Raid5, 37),
        (Level::Raid6, 0),
        (Level::Raid6, 3),
        (Level::Raid6, 37),
    ] {
        let refused = new(level, members, 128, 128);
        assert!(
            matches!(refused, Err(E::MemberCount { .. })),
            "{level} {members}: {refused:?}"
        );
    }
    for chunk in [0, 4, 24, 130] {
        assert_eq!(new(Level::Raid0, 2, chunk, 24 * 130), Err(E::Chunk(chunk)));
    }
    assert_eq!(
        new(Level::Raid0, 2, 128, 200),
        Err(E::MemberSize {
            member_sectors: 200
        })
    );
    assert_eq!(
        new(Level::Raid1, 2, 0, 0),
        Err(E::MemberSize { member_sectors: 0 })
    );
    for huge in [u64::MAX / 128 * 128, 1 << 47] {
        let too_large = E::TooLarge {
            members: 2,
            member_sectors: huge,
        };
        assert_eq!(new(Level::Raid0, 2, 128, huge), Err(too_large));
    }
}

#[test]
#[should_panic(expected = "beyond the end")]
fn a_request_beyond_the_end_is_a_bug_of_the_caller() {
    let geometry = Geometry::new(Level::Raid1, 2, 0, 100).unwrap();
    let _ = geometry.segments(99, 2);
}

#[test]
fn a_set_serves_while_every_mirror_set_has_a_member() {
    let raid10 = Geometry::new(Level::Raid10, 4, 128, 128).unwrap();
    assert!(raid10.can_serve(|element| element < 2));
    assert!(raid10.can_serve(|element| element == 0 || element == 3));
    assert!(!raid10.can_serve(|element| element.is_multiple_of(2)));
    let raid0 = Geometry::new(Level::Raid0, 3, 128, 128).unwrap();
    assert!(!raid0.can_serve(|element| element != 1));
}

/// Where md's left-symmetric layout puts the chunks of an array: parity walks from the last device to
/// the first, one device a row, and data goes on behind it. Walks row by row.
fn left_symmetric_model(members: u16, parities: u16, rows: u64) -> Vec<(u16, u64)> {
    let mut places = Vec::new();
    let mut p = members - 1;
    for row in 0..rows {
        let mut device = p;
        for _ in 0..parities {
            device = if device + 1 == members { 0 } else { device + 1 };
        }
        for _ in 0..members - parities {
            places.push((device, row));
            device = if device + 1 == members { 0 } else { device + 1 };
        }
        p = if p == 0 { members - 1 } else { p - 1 };
    }
    places
}

proptest! {
    #[test]
    fn parity_levels_place_every_chunk_where_md_does(
        double in any::<bool>(), members in 3_u8..=36, shift in 3_u32..=5, rows in 1_u64..80,
    ) {
        let (level, parities) = if double { (Level::Raid6, 2) } else { (Level::Raid5, 1) };
        prop_assume!(members >= 3 + u8::from(double));
        let chunk = 1_u32 << shift;
        let geometry = Geometry::new(level, members, chunk, rows * u64::from(chunk)).unwrap();
        let model = left_symmetric_model(u16::from(members), parities, rows);
        prop_assert_eq!(geometry.capacity_sectors(), model.len() as u64 * u64::from(chunk));
        for (number, (device, row)) in (0_u64..).zip(&model) {
            let first = number * u64::from(chunk);
            for within in [0, u64::from(chunk) - 1] {
                let place = place(&geometry, first + within);
                prop_assert_eq!(place, vec![(*device, row * u64::from(chunk) + within)]);
            }
        }
        for row in 0..rows {
            let layout = geometry.row_layout(row).unwrap();
            let parity: BTreeSet<_> = [Some(layout.p()), layout.q()].into_iter().flatten().collect();
            prop_assert_eq!(parity.len(), usize::from(parities));
            for column in 0..geometry.columns() {
                let element = layout.data(column);
                prop_assert!(!parity.contains(&element));
                prop_assert_eq!(layout.role(element), crate::parity::Role::Data(usize::from(column)));
            }
            prop_assert_eq!(layout.role(layout.p()), crate::parity::Role::P);
        }
    }
}

#[test]
fn with_parity_as_many_members_may_be_absent_as_there_are_parities() {
    let raid5 = Geometry::new(Level::Raid5, 5, 128, 1280).unwrap();
    let raid6 = Geometry::new(Level::Raid6, 5, 128, 1280).unwrap();
    assert!(raid5.can_serve(|element| element != 4));
    assert!(!raid5.can_serve(|element| element > 1));
    assert!(raid6.can_serve(|element| element > 1));
    assert!(!raid6.can_serve(|element| element > 2));
}

#[test]
fn resync_positions_survive_the_way_to_md_and_back() {
    let raid6 = Geometry::new(Level::Raid6, 5, 128, 1280).unwrap();
    assert_eq!(raid6.md_resync_sector(3 * 640), 640);
    assert_eq!(raid6.lba_of_md_resync(640), 3 * 640);
    assert_eq!(raid6.lba_of_md_resync(u64::MAX), raid6.capacity_sectors());
    let raid10 = Geometry::new(Level::Raid10, 4, 128, 1280).unwrap();
    assert_eq!(raid10.md_resync_sector(777), 777);
}

#[test]
fn what_is_done_of_a_member_is_whole_rows() {
    let raid10 = Geometry::new(Level::Raid10, 4, 128, 1280).unwrap();
    assert_eq!(raid10.member_sectors_before(255), 0);
    assert_eq!(raid10.member_sectors_before(256), 128);
    assert_eq!(raid10.member_sectors_before(777), 384);
    assert_eq!(raid10.lba_before(384 + 127), 768);
    let raid6 = Geometry::new(Level::Raid6, 5, 128, 1280).unwrap();
    assert_eq!(raid6.member_sectors_before(3 * 640 + 5), 640);
    assert_eq!(raid6.lba_before(640), 3 * 640);
    let raid1 = Geometry::new(Level::Raid1, 2, 128, 1280).unwrap();
    assert_eq!(raid1.member_sectors_before(777), 777);
    for geometry in [raid10, raid6, raid1] {
        let all = geometry.capacity_sectors();
        assert_eq!(geometry.member_sectors_before(all), 1280);
        assert_eq!(geometry.lba_before(u64::MAX), all);
        for lba in 0..all {
            let member_sectors = geometry.member_sectors_before(lba);
            assert!(geometry.lba_before(member_sectors) <= lba, "{lba}");
        }
    }
}

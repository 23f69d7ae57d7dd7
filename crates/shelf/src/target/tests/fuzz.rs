//! Mostly valid frames in any order: nothing outside the LUN, every reply well formed, every admitted
//! command answered exactly once, and what is read is what was written last.

use super::rig::{Rig, ata, frame, header, outcome, view};
use super::statistics::assert_sums_agree;
use crate::plane::LunView;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use raid::Level;

/// A frame that is nearly right.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let ata_frame = (
        prop_oneof![
            Just(0x20u8),
            Just(0x24),
            Just(0x30),
            Just(0x34),
            Just(0xe7),
            Just(0xec),
            any::<u8>()
        ],
        any::<u8>(),
        prop_oneof![0u64..1100, any::<u64>()],
        prop_oneof![0u8..20, any::<u8>()],
        0usize..9000,
    )
        .prop_map(|(opcode, flags, lba, count, bytes)| {
            ata(opcode, flags, lba, count, &vec![0x77; bytes])
        });
    let other = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..1100))
        .prop_map(|(command, argument)| frame(&header(command), &argument));
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    let mutated = (
        prop_oneof![4 => ata_frame, 2 => other],
        prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
    )
        .prop_map(|(mut frame, change)| {
            if let Some((index, value)) = change {
                let index = index.index(frame.len().min(40));
                frame[index] = value;
            }
            frame
        });
    prop_oneof![8 => mutated, 1 => bytes]
}

/// What every frame that leaves must satisfy.
fn check_reply(frame: &[u8]) {
    assert!(
        frame.len() >= 60 && frame.len() <= 9014,
        "{} bytes",
        frame.len()
    );
    assert_eq!(frame[12..14], [0x88, 0xa2]);
    assert!(frame[14] == 0x18 || frame[14] == 0x1c, "{:#04x}", frame[14]);
    assert!(frame[15] <= 6);
    assert_eq!((&frame[16..18], frame[18]), (&[0, 1][..], 0));
    assert_eq!(frame[6] & 1, 0);
}

proptest! {
    #[test]
    fn row_129_no_frame_reaches_outside_the_lun_or_breaks_the_target(
        frames in prop::collection::vec(any_frame(), 1..60),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 200),
        broken in prop::option::weighted(0.2, 0u16..4),
    ) {
        let mut rig = Rig::new([view(0, Level::Raid10, 4)]);
        rig.broken_reads.extend(broken);
        let mut picks = picks.into_iter().cycle();
        for frame in frames {
            rig.deliver(0, &frame);
            if !rig.pending.is_empty() {
                let pick = picks.next().unwrap().index(rig.pending.len());
                // The rig asserts that no I/O leaves the members' data.
                rig.complete(pick);
            }
        }
        rig.drain();
        prop_assert_eq!(rig.target.commands_in_flight(), 0);
        let counters = *rig.target.counters();
        prop_assert!(rig.sent.len() as u64 <= counters.frames);
        assert_sums_agree(&mut rig, 1);
        for (_, frame) in &rig.sent {
            check_reply(frame);
        }
    }

    #[test]
    fn row_130_lengths_that_a_frame_claims_are_never_believed(
        bytes in 24usize..80, command in 0u8..5, fill in any::<u8>()
    ) {
        let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
        let request = frame(&header(command), &vec![fill; bytes - 24]);
        for reply in rig.ask(&request) {
            check_reply(&reply);
        }
        prop_assert!(rig.drives[0].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn reads_return_what_was_acknowledged_last(
        steps in prop::collection::vec((0u64..240, 1u8..17, any::<u8>(), any::<bool>()), 1..80),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 400),
        level in prop_oneof![
            Just((Level::Raid0, 3)), Just((Level::Raid1, 2)), Just((Level::Raid10, 4)),
            Just((Level::Raid5, 3)), Just((Level::Raid5, 5)), Just((Level::Raid6, 4)), Just((Level::Raid6, 6)),
        ],
        lost in prop::collection::vec(0_usize..6, 0..3),
    ) {
        let mut view = view(0, level.0, level.1);
        for element in lost {
            let part = &mut view.parts[0];
            let mut left = part.members.clone();
            if let Some(member) = left.get_mut(element) {
                *member = None;
            }
            if part.geometry.can_serve(|element| left[usize::from(element)].is_some()) {
                part.members = left;
            }
        }
        run_steps(&mut Rig::new([view]), 0, steps, &picks)?;
    }

    #[test]
    fn reads_return_what_was_acknowledged_last_across_the_boundary_of_two_parts(
        steps in prop::collection::vec((0u64..240, 1u8..17, any::<u8>(), any::<bool>()), 1..80),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 400),
        levels in prop_oneof![
            Just([(Level::Raid1, 2), (Level::Raid5, 3)]), Just([(Level::Raid5, 3), (Level::Raid6, 5)]),
            Just([(Level::Raid6, 4), (Level::Raid0, 3)]), Just([(Level::Jbod, 1), (Level::Raid10, 4)]),
            Just([(Level::Raid5, 4), (Level::Raid5, 3)]),
        ],
        lost in any::<[bool; 2]>(),
    ) {
        let [mut view, other] = levels.map(|(level, members)| view(0, level, members));
        let boundary = view.capacity_sectors;
        join(&mut view, other);
        for (part, lost) in view.parts.iter_mut().zip(lost) {
            if lost && part.geometry.level().is_redundant() {
                part.members[1] = None;
            }
        }
        run_steps(&mut Rig::new([view]), boundary - 128, steps, &picks)?;
    }
}

/// Appends the part of another LUN; its drives are those behind.
fn join(view: &mut LunView, other: LunView) {
    let drives = u16::try_from(view.parts[0].members.len()).unwrap();
    view.capacity_sectors += other.capacity_sectors;
    for mut part in other.parts {
        for member in part.members.iter_mut().flatten() {
            member.drive.0 += drives;
        }
        view.parts.push(part);
    }
}

/// Writes and reads around a sector, each a place in that and a count, a value, and whether it is a write.
fn run_steps(
    rig: &mut Rig,
    base: u64,
    steps: Vec<(u64, u8, u8, bool)>,
    picks: &[prop::sample::Index],
) -> Result<(), TestCaseError> {
    let mut model = vec![0u8; 256];
    let mut picks = picks.iter().cycle();
    for (lba, count, value, writes) in steps {
        let range =
            usize::try_from(lba).unwrap()..usize::try_from(lba).unwrap() + usize::from(count);
        if writes {
            // Left in flight: later commands that overlap must see it all the same.
            rig.deliver(
                0,
                &ata(
                    0x34,
                    0x41,
                    base + lba,
                    count,
                    &vec![value; usize::from(count) * 512],
                ),
            );
            model[range].fill(value);
            if rig.target.commands_in_flight() > 24 {
                rig.drain();
            }
        } else {
            rig.sent.clear();
            rig.deliver(0, &ata(0x24, 0x40, base + lba, count, &[]));
            while rig.step() || !rig.pending.is_empty() {
                if rig.pending.is_empty() {
                    continue;
                }
                let pick = picks.next().unwrap().index(rig.pending.len());
                rig.complete(pick);
            }
            let replies = rig.sent.iter().filter(|(_, frame)| frame.len() > 60);
            let replies: Vec<_> = replies.collect();
            prop_assert_eq!(replies.len(), 1);
            let reply = &replies[0].1;
            prop_assert_eq!(outcome(reply), (0x40, 0));
            for (sector, expected) in reply[36..].chunks(512).zip(&model[range]) {
                prop_assert!(sector.iter().all(|byte| byte == expected));
            }
        }
    }
    Ok(())
}

/// Found by a LUN that grew while its second part was synchronised and written.
#[test]
fn a_part_that_is_appended_stops_nothing() {
    for moment in 0..24 {
        let mut one = view(0, Level::Raid1, 2);
        let start = one.capacity_sectors;
        join(&mut one, view(0, Level::Raid5, 3));
        one.parts[1].mirrors_unsynced = true;
        one.parts[1].sync = Some(crate::plane::SyncView {
            pass: 1,
            start_lba: 0,
            kind: crate::plane::SyncKind::Resync,
            regions: None,
            repair: raid::record::ScrubRepair::Report,
            noted: 0,
        });
        let mut two = one.clone();
        let mut last = view(0, Level::Raid0, 2);
        for member in last.parts[0].members.iter_mut().flatten() {
            member.drive.0 += 5;
        }
        two.capacity_sectors += last.capacity_sectors;
        two.parts.append(&mut last.parts);
        let mut rig = Rig::new([one]);
        for i in 0..16 {
            rig.deliver(0, &ata(0x34, 0x41, start + 512 + i * 8, 8, &[7; 4096]));
        }
        for turn in 0..24 {
            if turn == moment {
                rig.attach(two.clone());
            }
            let mut actions = Vec::new();
            rig.target.sync_step(&mut actions);
            rig.absorb(actions);
            rig.step();
            if !rig.pending.is_empty() {
                rig.complete(0);
            }
        }
        for i in 0..16 {
            assert_eq!(
                rig.read(start + 512 + i * 8, 8)[36..],
                [7; 4096],
                "{moment}"
            );
        }
    }
}

//! Rounds of slices while views change, and while blocks cannot be read.

use super::super::{Action, IoOwner, Operation};
use super::rig::{Rig, ata, outcome, view, write};
use crate::plane::LunView;
use raid::Level;
use raid::geometry::RowLayout;
use raid::log::{HEADER_BYTES, Header, Kind};
use raid::parity::{Verdict, check_parity};

/// Where the members' data begins on their drives.
const DATA_OFFSET: usize = 256;

fn first_row(view: &LunView) -> RowLayout {
    view.parts[0].geometry.row_layout(0).unwrap()
}

fn without(mut view: LunView, elements: &[u8]) -> LunView {
    for element in elements {
        view.parts[0].members[usize::from(*element)] = None;
    }
    view
}

/// A member that is there but holds nothing yet.
fn rebuilding(mut view: LunView, element: u8) -> LunView {
    let member = view.parts[0].members[usize::from(element)].as_mut();
    member.unwrap().in_sync = false;
    view
}

fn sector(rig: &Rig, element: u8, sector: usize) -> &[u8] {
    let start = (DATA_OFFSET + sector) * 512;
    &rig.drives[usize::from(element)][start..start + 512]
}

fn settled(rig: &Rig) -> usize {
    let is_settled = |event: &&Action| matches!(event, Action::Settled { .. });
    rig.events.iter().filter(is_settled).count()
}

/// Does I/O until some of these is pending.
fn run_until(rig: &mut Rig, wanted: impl Fn(&super::super::Io) -> bool) {
    while !rig.pending.iter().any(&wanted) {
        let busy = rig.step();
        if rig.pending.iter().any(&wanted) {
            break;
        }
        assert!(busy || !rig.pending.is_empty(), "it never comes");
        if !rig.pending.is_empty() {
            rig.complete(0);
        }
    }
}

#[test]
fn a_lun_is_let_go_when_its_repairs_are_done() {
    let view = view(0, Level::Raid5, 4);
    let element = first_row(&view).data(0);
    let mut rig = Rig::new([view.clone()]);
    rig.write(0, &[7; 8192]);
    rig.detach(0);
    rig.attach(view.clone());
    rig.events.clear();
    rig.broken_reads = [u16::from(element)].into();
    rig.deliver(0, &ata(0x24, 0x40, 0, 16, &[]));
    run_until(&mut rig, |io| io.operation == Operation::Write);
    assert_eq!(rig.target.commands_in_flight(), 0, "nobody waits for it");
    rig.detach(0);
    assert_eq!(settled(&rig), 0, "a write is on its way to the drive");
    rig.complete(0);
    assert_eq!(settled(&rig), 1);
    // Whatever comes next on these drives is not what was in memory.
    for drive in &mut rig.drives {
        drive.fill(0);
    }
    rig.attach(without(view, &[element]));
    let reply = rig.read(0, 16);
    assert!(reply[36..].iter().all(|byte| *byte == 0));
    rig.drain();
}

#[test]
fn parity_that_was_not_computed_is_not_written() {
    let healthy = view(0, Level::Raid6, 8);
    let layout = first_row(&healthy);
    let q = layout.q().unwrap();
    for (lost, other) in [(q, layout.p()), (layout.p(), q)] {
        let mut rig = Rig::new([without(healthy.clone(), &[lost])]);
        rig.drives[usize::from(lost)].fill(0xdd);
        rig.deliver(0, &write(5, &[7; 512]));
        rig.step();
        assert_eq!(rig.pending.len(), 2, "old data and the other parity");
        // A spare comes for the parity that is lost.
        rig.attach(rebuilding(healthy.clone(), lost));
        rig.drain();
        assert_eq!(rig.sent.len(), 1);
        assert!(sector(&rig, other, 5).iter().any(|byte| *byte != 0));
        let data: Vec<&[u8]> = (0..layout.columns())
            .map(|column| sector(&rig, layout.data(column), 5))
            .collect();
        let [p, q] = [layout.p(), q].map(|element| sector(&rig, element, 5));
        let is_untouched = sector(&rig, lost, 5).iter().all(|byte| *byte == 0xdd);
        let verdict = check_parity(&data, p, Some(q)).unwrap();
        assert!(is_untouched || verdict == Verdict::Consistent);
    }
}

#[test]
fn a_write_whose_members_are_all_lost_meanwhile_is_answered_with_a_fault() {
    let healthy = view(0, Level::Raid5, 3);
    let layout = first_row(&healthy);
    let lost = [layout.data(0), layout.p()];
    for wanted in [Operation::Read, Operation::Write] {
        let mut rig = Rig::new([healthy.clone()]);
        rig.deliver(0, &write(0, &[7; 512]));
        run_until(&mut rig, |io| io.operation == wanted);
        rig.attach(without(healthy.clone(), &lost));
        rig.drain();
        assert_eq!(rig.sent.len(), 1);
        assert_eq!(outcome(&rig.sent[0].1).0 & 0x21, 0x21, "{wanted:?}");
    }
}

#[test]
fn a_bad_block_whose_content_is_in_memory_is_written_anew() {
    let view = view(0, Level::Raid5, 4);
    let element = first_row(&view).data(0);
    let mut rig = Rig::new([view]);
    rig.write(0, &[7; 8192]);
    rig.drives[usize::from(element)].fill(0xdd);
    rig.bad_sectors = [(u16::from(element), 256 + 3)].into();
    let reply = rig.read(0, 16);
    assert!(reply[36..].iter().all(|byte| *byte == 7));
    assert!(sector(&rig, element, 3).iter().all(|byte| *byte == 7));
    assert_eq!(rig.target.counters().blocks_repaired, 1);
}

#[test]
fn while_a_member_is_rebuilt_the_log_has_all_content() {
    let healthy = view(0, Level::Raid5, 3);
    for (wanted, kind) in [
        (healthy.clone(), Kind::Intent),
        (rebuilding(healthy, 0), Kind::Redo),
    ] {
        let mut rig = Rig::new([wanted]);
        // A whole slice: 16 sectors of each of two chunks, as a stream.
        for lba in [0, 16, 32, 48] {
            rig.deliver(0, &write(lba, &[7; 8192]));
        }
        run_until(&mut rig, |io| matches!(io.owner, IoOwner::Group(_)));
        rig.drain();
        let record = |place: usize| {
            let start = place * 32 * 512;
            let block = rig.drives[1][start..start + HEADER_BYTES].first_chunk();
            let header = Header::decode(block.unwrap()).ok()?;
            header.entries().next().map(|entry| entry.kind)
        };
        assert_eq!(record(1), Some(kind));
    }
}

/// Writes the whole of a slice of this number: 16 sectors of each of the chunks of a row.
fn write_whole(rig: &mut Rig, number: u8, chunks: u8) {
    for chunk in 0..chunks {
        let data: Vec<u8> = (0..8192_u32)
            .map(|at| {
                (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0] ^ chunk ^ (number << 4)
            })
            .collect();
        let row = u64::from(chunks) * 32 * u64::from(number / 2);
        let lba = row + 32 * u64::from(chunk) + 16 * u64::from(number % 2);
        rig.deliver(0, &write(lba, &data));
    }
}

/// How many intents the logs of all members have; each with the checksum of what is in its home.
fn checked_intents(rig: &Rig) -> usize {
    let mut intents = 0;
    for drive in &rig.drives {
        for place in drive[..DATA_OFFSET * 512].chunks(32 * 512) {
            let Ok(header) = Header::decode(place.first_chunk().unwrap()) else {
                continue;
            };
            for entry in header.entries().filter(|entry| entry.kind == Kind::Intent) {
                let start = DATA_OFFSET + usize::try_from(entry.place.member_sector).unwrap();
                let home = &drive[start * 512..][..usize::from(entry.sectors) * 512];
                assert!(entry.is_content(home) && home.iter().any(|byte| *byte != 0));
                intents += 1;
            }
        }
    }
    intents
}

#[test]
fn whole_stripes_are_logged_by_the_checksums_of_what_is_written() {
    for (level, members) in [(Level::Raid5, 3), (Level::Raid6, 4), (Level::Raid6, 5)] {
        let view = view(0, level, members);
        let chunks = view.parts[0].geometry.columns();
        let mut rig = Rig::new([view]);
        for number in 0..2 {
            write_whole(&mut rig, number, chunks);
        }
        rig.drain();
        assert_eq!(checked_intents(&rig), 2 * usize::from(members), "{level:?}");
    }
}

/// Such a stripe waits between its computation and its log record.
#[test]
fn whole_stripes_that_wait_for_the_log_are_logged_in_the_same_way() {
    let mut rig = Rig::new([view(0, Level::Raid5, 3)]);
    for number in 0..5 {
        write_whole(&mut rig, number, 2);
        for _ in 0..20 {
            rig.step();
            let is_of_log = |io: &super::super::Io| matches!(io.owner, IoOwner::Group(_));
            while let Some(place) = rig.pending.iter().position(is_of_log) {
                rig.complete(place);
            }
        }
    }
    assert!(
        rig.sent.is_empty() && rig.pending.len() == 4 * 3,
        "the log has four slots"
    );
    rig.drain();
    assert_eq!(rig.sent.len(), 5 * 2);
    assert_eq!(checked_intents(&rig), 5 * 3);
}

#[test]
fn a_block_that_is_lost_fails_only_those_who_want_it() {
    let healthy = view(0, Level::Raid5, 4);
    let layout = first_row(&healthy);
    let (lost, bad) = (layout.data(1), layout.data(0));
    let mut rig = Rig::new([healthy.clone()]);
    rig.write(32, &[7; 8192]);
    rig.detach(0);
    rig.attach(without(healthy, &[lost]));
    rig.bad_sectors = [(u16::from(bad), 256 + 3)].into();
    // Both are in the second chunk, and computed from what the first has at the same place.
    rig.sent.clear();
    rig.deliver(0, &ata(0x24, 0x40, 32, 8, &[]));
    rig.deliver(0, &ata(0x24, 0x40, 40, 8, &[]));
    rig.drain();
    let outcomes: Vec<_> = rig.sent.iter().map(|(_, reply)| outcome(reply)).collect();
    assert_eq!(outcomes, [(0x41, 0x40), (0x40, 0)]);
    rig.sent.clear();
    rig.deliver(0, &write(34, &[1; 1024]));
    rig.deliver(0, &write(44, &[2; 1024]));
    rig.drain();
    let outcomes: Vec<_> = rig
        .sent
        .iter()
        .map(|(_, reply)| outcome(reply).0 & 1)
        .collect();
    assert_eq!(outcomes, [1, 0]);
    assert_eq!(rig.target.commands_in_flight(), 0);
}

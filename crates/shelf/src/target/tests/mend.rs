//! Writes of sectors that are on the list of bad ones: answered when they are off it.

use super::super::{Action, Report};
use super::rig::{Rig, outcome, view, write};
use crate::plane::LunView;
use raid::Level;

fn without(mut view: LunView, member: usize) -> LunView {
    view.parts[0].members[member] = None;
    view
}

/// Levels with drive 0, which holds LBA 0 and is not the only one, and one without any redundancy.
fn views() -> Vec<LunView> {
    vec![
        view(0, Level::Jbod, 1),
        view(0, Level::Raid1, 2),
        without(view(0, Level::Raid10, 4), 2),
        view(0, Level::Raid5, 4),
        without(view(0, Level::Raid6, 5), 1),
        view(0, Level::Raid6, 5),
    ]
}

/// A write of two sectors is done, of which the second one is on the list.
fn with_bad_written(view: LunView) -> Rig {
    let mut rig = Rig::new([view]);
    rig.note_bad(0, &[(3, 2)]);
    rig.deliver(0, &write(2, &[7; 1024]));
    rig.drain();
    rig
}

#[test]
fn a_write_of_a_bad_sector_is_answered_when_it_is_off_the_list() {
    for view in views() {
        let level = view.parts[0].geometry.level();
        let mut rig = with_bad_written(view);
        assert!(
            rig.sent.is_empty(),
            "{level}: nothing says yet that it is good"
        );
        assert_eq!(rig.target.counters().mend_waits, 1);
        // Everybody else goes on.
        rig.deliver(0, &write(16, &[8; 512]));
        rig.drain();
        let (_, reply) = rig.sent.pop().unwrap();
        assert_eq!(outcome(&reply), (0x40, 0), "{level}");
        rig.settle_bad(&[]);
        rig.drain();
        let (_, reply) = rig.sent.pop().unwrap();
        assert_eq!(outcome(&reply), (0x40, 0), "{level}");
        assert!(rig.read(2, 2)[36..].iter().all(|byte| *byte == 7));
        assert_eq!(rig.target.commands_in_flight(), 0);
    }
}

/// The simulator meets this one once in thousands of lives: it takes a cut of the power between the answer
/// and the list. Here it is met each time.
#[cfg(feature = "planted")]
#[test]
fn the_planted_bug_is_found() {
    use raid::planted::{Bug, plant};
    plant(Some(Bug::AckBeforeMended));
    let found =
        std::panic::catch_unwind(a_write_of_a_bad_sector_is_answered_when_it_is_off_the_list);
    plant(None);
    assert!(found.is_err());
}

#[test]
fn a_sector_that_stays_on_the_list_is_a_write_fault() {
    for view in views() {
        let level = view.parts[0].geometry.level();
        let mut rig = with_bad_written(view);
        rig.settle_bad(&[0]);
        rig.drain();
        let (_, reply) = rig.sent.pop().unwrap();
        assert_eq!(outcome(&reply), (0x61, 0x04), "{level}");
        assert_eq!(rig.target.commands_in_flight(), 0);
    }
}

#[test]
fn nobody_waits_for_who_waits_and_an_old_answer_answers_nothing() {
    for view in views() {
        let level = view.parts[0].geometry.level();
        let mut rig = with_bad_written(view.clone());
        let is_settled = |rig: &Rig| {
            let mut events = rig.events.iter();
            events.any(|event| matches!(event, Action::Settled { .. }))
        };
        rig.attach(view.clone());
        assert!(is_settled(&rig), "{level}: a view");
        rig.events
            .retain(|event| !matches!(event, Action::Settled { .. }));
        rig.detach(0);
        rig.drain();
        assert!(is_settled(&rig), "{level}: it goes");
        assert!(rig.sent.is_empty(), "{level}: as if it had not come");
        assert_eq!(rig.target.commands_in_flight(), 0);
        rig.attach(view);
        // The next one waits for its own answer.
        let late = std::mem::take(&mut rig.events);
        rig.deliver(0, &write(2, &[9; 1024]));
        rig.drain();
        let own = std::mem::replace(&mut rig.events, late);
        rig.settle_bad(&[]);
        rig.drain();
        assert!(rig.sent.is_empty(), "{level}");
        rig.events = own;
        rig.settle_bad(&[]);
        rig.drain();
        assert_eq!(rig.sent.len(), 1, "{level}");
    }
}

#[test]
fn a_round_that_waits_keeps_its_place_in_the_log() {
    let mut rig = Rig::new([view(0, Level::Raid5, 4)]);
    rig.note_bad(0, &[(3, 2)]);
    rig.deliver(0, &write(2, &[7; 1024]));
    rig.drain();
    // Many groups later the log has gone round: nobody writes over the record.
    for lba in (64..1024).step_by(32) {
        rig.deliver(0, &write(lba, &[8; 512]));
        rig.drain();
        rig.events
            .retain(|event| matches!(event, Action::Report(Report::BadSectorsWritten { .. })));
    }
    assert!(
        rig.target.commands_in_flight() > 1,
        "others wait for its place"
    );
    rig.settle_bad(&[]);
    rig.drain();
    assert_eq!(rig.target.commands_in_flight(), 0);
}

/// A degraded RAID 5 whose last copy of LBA 0 cannot be written.
fn with_unwritable(view: &LunView) -> Rig {
    let mut rig = Rig::new([view.clone()]);
    rig.bad_writes = [(0, 256)].into();
    rig.deliver(0, &write(0, &[7; 1024]));
    rig.drain();
    let mut events = rig.events.iter();
    assert!(events.any(
        |event| matches!(event, Action::Report(Report::MemberError { io, .. }) if io.member == 0)
    ));
    rig
}

/// Writes elsewhere until the log has gone round, if it can. How many were answered.
fn go_round(rig: &mut Rig) -> usize {
    rig.sent.clear();
    for lba in (256..640).step_by(32) {
        rig.deliver(0, &write(lba, &[8; 512]));
        rig.drain();
    }
    let is_write = |(_, reply): &&(_, Vec<u8>)| outcome(reply) == (0x40, 0);
    rig.sent.iter().filter(is_write).count()
}

#[test]
fn what_the_last_copy_did_not_take_stays_in_the_log_until_it_is_noted() {
    let view = without(view(0, Level::Raid5, 4), 1);
    let mut rig = with_unwritable(&view);
    assert!(rig.sent.is_empty(), "nobody knows yet that it is bad");
    // A view for another reason.
    rig.attach(view.clone());
    rig.drain();
    assert!(rig.sent.is_empty());
    assert!(go_round(&mut rig) < 12, "nobody writes over its record");
    rig.sent.clear();
    rig.note_bad(0, &[(0, 2)]);
    rig.attach(view.clone());
    rig.drain();
    let answers: Vec<_> = rig.sent.iter().map(|(_, reply)| outcome(reply)).collect();
    assert_eq!(answers[0], (0x61, 0x04));
    assert!(answers[1..].iter().all(|answer| *answer == (0x40, 0)));
    assert_eq!(rig.target.commands_in_flight(), 0);
    assert_eq!(go_round(&mut rig), 12);
    assert_eq!(outcome(&rig.read(0, 1)), (0x41, 0x40));
}

#[test]
fn what_the_last_copy_did_not_take_is_recovered_if_the_lun_goes_offline_before_it_is_noted() {
    let view = without(view(0, Level::Raid5, 4), 1);
    let mut rig = with_unwritable(&view);
    rig.events.clear();
    rig.detach(0);
    rig.drain();
    assert!(
        matches!(
            rig.events[..],
            [Action::Settled {
                is_log_pending: true,
                ..
            }]
        ),
        "{:?}",
        rig.events
    );
    assert_eq!(rig.target.commands_in_flight(), 0);
}

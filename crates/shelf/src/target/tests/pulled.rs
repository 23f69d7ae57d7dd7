//! Drives that are pulled while nobody else holds what is on them: nobody is told of an error.

use super::super::{Action, Report};
use super::rig::{Rig, ata, outcome, view, write};
use crate::plane::LunView;
use raid::Level;

fn without(level: Level, members: u8, gone: &[usize]) -> LunView {
    let mut view = view(0, level, members);
    for member in gone {
        view.parts[0].members[*member] = None;
    }
    view
}

/// LUNs that cannot do without any of the drives that they have.
fn last_copies() -> [LunView; 6] {
    [
        without(Level::Jbod, 1, &[]),
        without(Level::Raid0, 2, &[]),
        without(Level::Raid1, 2, &[0]),
        without(Level::Raid10, 4, &[0]),
        without(Level::Raid5, 3, &[0]),
        without(Level::Raid6, 4, &[0, 2]),
    ]
}

fn is_told(rig: &Rig) -> bool {
    let is_report = |event: &Action| {
        matches!(
            event,
            Action::Report(Report::MemberError { .. } | Report::MemberHangs { .. })
        )
    };
    rig.events.iter().any(is_report)
}

/// Lets all I/O that is pending fail, until there is no more.
fn fail_all(rig: &mut Rig) {
    loop {
        let busy = rig.step();
        if rig.pending.is_empty() && !busy {
            return;
        }
        while !rig.pending.is_empty() {
            assert!(!rig.target.is_served(&rig.pending[0]));
            rig.unreached(0);
        }
    }
}

#[test]
fn commands_under_way_are_given_up_without_an_answer_when_the_lun_is_taken_away() {
    let mut wrong: Vec<String> = Vec::new();
    for view in last_copies() {
        let level = view.parts[0].geometry.level();
        let mut rig = Rig::new([view.clone()]);
        rig.deliver(0, &write(0, &[7; 8192]));
        rig.deliver(0, &ata(0x24, 0x40, 64, 8, &[]));
        while rig.step() {}
        assert!(!rig.pending.is_empty(), "{level}");
        let last = rig
            .pending
            .iter()
            .filter(|io| rig.target.may_wait_for_news(io));
        assert!(last.count() > 0, "{level}");
        rig.detach(0);
        fail_all(&mut rig);
        assert!(rig.sent.is_empty(), "{level}: {:?}", rig.sent);
        assert!(!is_told(&rig), "{level}: {:?}", rig.events);
        assert_eq!(rig.target.commands_in_flight(), 0, "{level}");
        let is_settled = |event: &Action| matches!(event, Action::Settled { .. });
        assert!(rig.events.iter().any(is_settled), "{level}");

        // The drive is back, and what is asked for again is done.
        rig.attach(view);
        rig.events.clear();
        let replies = rig.ask(&write(0, &[7; 8192]));
        let done = |reply: &Vec<u8>| outcome(reply) == (0x40, 0);
        if !(replies.len() == 1 && replies.iter().all(done)) {
            wrong.push(format!(
                "{level}: {replies:?} {:?} {:?}",
                rig.events, rig.pending
            ));
            continue;
        }
        let reply = rig.read(0, 16);
        assert!(reply[36..].iter().all(|byte| *byte == 7), "{level}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Where others hold everything the administration is told at once, and the LUN goes on.
#[test]
fn there_is_nothing_to_wait_for_where_others_hold_everything() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid10, 4), (Level::Raid5, 4)] {
        let mut rig = Rig::new([view(0, level, members)]);
        rig.deliver(0, &write(0, &[7; 8192]));
        while rig.step() {}
        let mut pending = rig.pending.iter();
        assert!(
            pending.all(|io| !rig.target.may_wait_for_news(io)),
            "{level}"
        );
    }
}

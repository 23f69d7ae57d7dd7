//! Lost sectors: kept from clients until they are written, and no trouble to anybody else.

use super::super::{Action, MendTicket, Report};
use super::rig::{Rig, outcome, view, write};
use crate::plane::LunView;
use raid::Level;
use raid::bad_blocks::BadRange;
use raid::lost::{LostRange, without as list_without};

/// Sectors 2 to 5 of the first column are lost; its element is away, or was rebuilt since.
fn views() -> Vec<LunView> {
    let mut views = Vec::new();
    for (level, members) in [(Level::Raid5, 4), (Level::Raid6, 5)] {
        for is_away in [true, false] {
            let mut view = view(0, level, members);
            let first = first_of(&view);
            view.parts[0].lost = [LostRange::from((first, 2, 4))].into();
            if is_away {
                view.parts[0].members[usize::from(first)] = None;
            }
            views.push(view);
        }
    }
    views
}

/// The element of the first column.
fn first_of(view: &LunView) -> u8 {
    let segment = view.parts[0].geometry.segments(0, 1).next();
    segment.unwrap().mirrors.first
}

fn reads(rig: &mut Rig, lba: u64, count: u8) -> bool {
    outcome(&rig.read(lba, count)) == (0x40, 0)
}

/// What the target has told to be found again.
fn found(rig: &mut Rig) -> Vec<(u8, BadRange, MendTicket)> {
    let mut found = Vec::new();
    rig.events.retain(|event| match event {
        Action::Report(Report::LostWritten {
            element,
            range,
            ticket,
            ..
        }) => {
            found.push((*element, *range, *ticket));
            false
        }
        _ => true,
    });
    found
}

#[test]
fn lost_sectors_are_errors_and_those_beside_them_are_like_any_other() {
    for view in views() {
        let level = view.parts[0].geometry.level();
        let mut rig = Rig::new([view.clone()]);
        assert!(!reads(&mut rig, 0, 8) && !reads(&mut rig, 5, 1), "{level}");
        assert!(reads(&mut rig, 0, 2) && reads(&mut rig, 6, 2));
        // The same sectors of the next column.
        assert_eq!(outcome(&rig.write(34, &[7; 2048])), (0x40, 0));
        assert!(found(&mut rig).is_empty());
        // They are protected: what is lost is as good as anything to compute with.
        let mut poorer = view.clone();
        let first = usize::from(first_of(&view));
        if level == Level::Raid6 || view.parts[0].members[first].is_some() {
            poorer.parts[0].members[first + 1] = None;
        }
        rig.detach(0);
        rig.attach(poorer);
        assert!(
            rig.read(34, 4)[36..].iter().all(|byte| *byte == 7),
            "{level}"
        );
        assert!(!reads(&mut rig, 2, 1));
    }
}

#[test]
fn a_write_of_lost_sectors_is_answered_when_they_are_found() {
    for view in views() {
        let level = view.parts[0].geometry.level();
        let mut rig = Rig::new([view.clone()]);
        rig.deliver(0, &write(3, &[7; 2048]));
        rig.drain();
        assert!(rig.sent.is_empty(), "{level}: it is lost yet");
        let told = found(&mut rig);
        let [(element, range, ticket)] = told[..] else {
            panic!("{level}: {told:?}");
        };
        assert_eq!(
            (element, range.sector, range.sectors),
            (first_of(&view), 3, 4)
        );
        let mut found_again = view.clone();
        found_again.parts[0].lost = list_without(&view.parts[0].lost, Some(element), &range).into();
        rig.attach(found_again.clone());
        rig.drain();
        assert!(rig.sent.is_empty(), "{level}: a view for whatever reason");
        let mut actions = Vec::new();
        rig.target.bad_sectors_settled(ticket, true, &mut actions);
        rig.absorb(actions);
        let (_, reply) = rig.sent.pop().unwrap();
        assert_eq!(outcome(&reply), (0x40, 0), "{level}");
        assert!(rig.read(3, 4)[36..].iter().all(|byte| *byte == 7));
        assert!(!reads(&mut rig, 2, 1), "one is left");
        rig.detach(0);
        rig.attach(found_again);
        assert!(rig.read(3, 4)[36..].iter().all(|byte| *byte == 7));
        assert_eq!(rig.target.commands_in_flight(), 0);
    }
}

#[test]
fn what_stays_lost_is_a_write_fault_and_what_goes_offline_is_as_if_it_had_not_come() {
    for view in views() {
        let mut rig = Rig::new([view]);
        rig.deliver(0, &write(3, &[7; 512]));
        rig.drain();
        let (_, _, ticket) = found(&mut rig)[0];
        let mut actions = Vec::new();
        rig.target.bad_sectors_settled(ticket, false, &mut actions);
        rig.absorb(actions);
        assert_eq!(outcome(&rig.sent.pop().unwrap().1), (0x61, 0x04));
        rig.deliver(0, &write(3, &[7; 512]));
        rig.drain();
        rig.detach(0);
        assert!(rig.sent.is_empty());
        assert_eq!(rig.target.commands_in_flight(), 0);
    }
}

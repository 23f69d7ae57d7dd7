//! Several targets, to each of which is told what the others say to it, in its order.

use super::rig::{Arena, PORT_MAC, view, write};
use crate::shard::{Place, WorkerIndex};
use crate::target::{Action, BufferPlan, Io, PeerMessage, PortIndex, PortView, Route, Target};
use raid::Level;
use std::sync::Arc;

/// Sectors of a group.
const GROUP: u64 = 16;

const PLAN: BufferPlan = BufferPlan {
    commands: 16,
    pages: 16,
    records: 4,
};

/// I/Os that follow, and what is said to the other worker.
type Following = (Vec<Io>, Vec<PeerMessage>);

/// Two workers with LUN 0, whose home is the first one: even groups are its own.
fn two() -> [Target; 2] {
    [0, 1].map(|own| {
        let place = Place {
            own: WorkerIndex(own),
            workers: 2,
            group_sectors: GROUP,
        };
        let port = PortView::single(PORT_MAC, 9000);
        let mut target = Target::of_worker(&[port], PLAN, place);
        target.attach(Arc::new(view(0, Level::Raid1, 2)), &mut Vec::new());
        target
    })
}

fn to(worker: u8, is_crossing: bool) -> Route {
    Route::To {
        worker: WorkerIndex(worker),
        is_crossing,
    }
}

fn request(lba: u64, sectors: usize) -> Vec<u8> {
    write(lba, &vec![7; sectors * 512])
}

fn take_in(target: &mut Target, frame: &[u8]) -> Following {
    let mut actions = Vec::new();
    let payload = target.receive(PortIndex(0), frame, frame.len(), &mut actions);
    let Some(admitted) = payload else {
        panic!("not admitted")
    };
    let mut memory = Arena::new(PLAN);
    memory.fill(&admitted, &frame[36..]);
    target.filled(admitted.command, &mut memory, &mut actions);
    sorted(&actions)
}

fn sorted(actions: &[Action]) -> Following {
    let ios = actions.iter().filter_map(|action| match action {
        Action::Io(io) => Some(*io),
        _ => None,
    });
    let messages = actions.iter().filter_map(|action| match action {
        Action::Peer { message, .. } => Some(*message),
        _ => None,
    });
    (ios.collect(), messages.collect())
}

/// All of these are done.
fn complete(target: &mut Target, ios: &[Io]) -> Following {
    let mut actions = Vec::new();
    for io in ios {
        target.complete(io, true, &mut actions);
    }
    sorted(&actions)
}

fn tell(target: &mut Target, from: u8, message: PeerMessage) -> Following {
    let mut actions = Vec::new();
    target.hear_peer(WorkerIndex(from), message, &mut actions);
    sorted(&actions)
}

#[test]
fn a_write_across_groups_runs_when_the_other_owner_has_lent_its_sectors() {
    let [mut home, mut other] = two();
    // The other owner is writing where the borrowed sectors are.
    let (own, _) = take_in(&mut other, &request(GROUP + 2, 2));
    assert_eq!(own.len(), 2, "one for each mirror");
    let (begun, said) = take_in(&mut home, &request(GROUP - 4, 8));
    assert!(begun.is_empty(), "it waits");
    let [borrow @ PeerMessage::Borrow { .. }] = said[..] else {
        panic!("{said:?}")
    };
    assert_eq!(tell(&mut other, 0, borrow), (vec![], vec![]), "not yet");
    // What comes to the owner now waits for the loan.
    let late = request(GROUP, 2);
    assert_eq!(take_in(&mut other, &late), (vec![], vec![]));
    let (_, said) = complete(&mut other, &own);
    let [grant @ PeerMessage::Grant { commands: 1, .. }] = said[..] else {
        panic!("{said:?}")
    };
    let (ios, said) = tell(&mut home, 1, grant);
    assert_eq!((ios.len(), said.len()), (2, 0), "it runs");
    let (_, said) = complete(&mut home, &ios);
    let [back @ PeerMessage::Return { .. }] = said[..] else {
        panic!("{said:?}")
    };
    let (ios, _) = tell(&mut other, 0, back);
    assert_eq!(ios.len(), 2, "who waited runs");
}

#[test]
fn nobody_overtakes_a_crossing_write_that_is_not_in_its_place() {
    let [_, mut other] = two();
    let port = PortIndex(0);
    let crossing = request(GROUP - 4, 8);
    assert_eq!(other.route(port, &crossing), to(0, true));
    // What overlaps it is dropped where it would be done here, and keeps its order on the way to the home.
    assert_eq!(other.route(port, &request(GROUP + 3, 1)), Route::Nowhere);
    assert_eq!(other.route(port, &request(GROUP - 4, 1)), to(0, false));
    assert_eq!(other.route(port, &request(GROUP + 4, 1)), Route::Here);
    assert_eq!(other.counters().crossings_dropped, 1);
    other.placed(WorkerIndex(0));
    assert_eq!(other.route(port, &request(GROUP + 3, 1)), Route::Here);
    // One that found no buffer holds up nobody.
    assert_eq!(other.route(port, &crossing), to(0, true));
    other.not_handed_over();
    assert_eq!(other.route(port, &request(GROUP + 3, 1)), Route::Here);
}

/// A frame that was handed on under another view is not done by who does not own its sectors.
#[test]
fn what_another_worker_owns_is_not_done() {
    let [mut home, mut other] = two();
    for lba in [GROUP, 0, GROUP - 1] {
        let target = if lba == GROUP { &mut home } else { &mut other };
        let frame = request(lba, 2);
        let mut actions = Vec::new();
        let admitted = target.receive(PortIndex(0), &frame, frame.len(), &mut actions);
        assert!(admitted.is_none() && actions.is_empty(), "{actions:?}");
    }
    assert_eq!(
        (home.counters().of_others, other.counters().of_others),
        (1, 2)
    );
}

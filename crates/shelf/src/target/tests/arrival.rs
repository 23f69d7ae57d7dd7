//! Workers that share a queue, in every order in which they may take in what lies in their rings.

use super::rig::{Arena, PORT_MAC, lun, view, write};
use crate::shard::{self, Place, WORKERS_MAX, WorkerIndex};
use crate::target::{
    Action, BufferPlan, Io, IoOwner, Operation, PortIndex, PortView, Rounds, Route, Target,
};
use proptest::prelude::*;
use raid::Level;
use std::collections::VecDeque;
use std::sync::Arc;

/// Sectors of a group, and of the LUN that are used.
const GROUP: u64 = 8;
const SECTORS: u64 = 6 * GROUP;
const PORT: PortIndex = PortIndex(0);
const PLAN: BufferPlan = BufferPlan {
    commands: 32,
    pages: 16,
    records: 4,
};

/// A write, by when it came.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    lba: u64,
    sectors: u64,
}

struct Worker {
    target: Target,
    /// Filled by the kernel, and how many of it the last look has found.
    ring: VecDeque<Sent>,
    found: usize,
    /// In the order in which they were sent.
    inbox: VecDeque<(WorkerIndex, crate::target::PeerMessage)>,
    /// Begun and not done; with which write it is of.
    ios: Vec<(Io, u64)>,
    /// By command slot, the write that it holds.
    holds: Vec<u64>,
    /// How many of its rounds the others see to have ended.
    rounds: u64,
}

/// Some workers before one queue, and a LUN whose sectors hold the number of the write that they got last.
struct World {
    workers: Vec<Worker>,
    sectors: Vec<u64>,
    place: Place,
    spread_sectors: u64,
    sent: u64,
    /// Writes that were done.
    done: u64,
}

impl World {
    fn new(workers: u8) -> Self {
        let lun_view = Arc::new(view(0, Level::Jbod, 1));
        let spread_sectors = shard::spread_sectors(&lun_view);
        let place = |own| Place {
            own: WorkerIndex(own),
            workers,
            group_sectors: GROUP,
        };
        let worker = |own| {
            let port = PortView {
                is_shared: true,
                ..PortView::single(PORT_MAC, 9000)
            };
            let mut target = Target::of_worker(&[port], PLAN, place(own));
            target.attach(Arc::clone(&lun_view), &mut Vec::new());
            Worker {
                target,
                ring: VecDeque::new(),
                found: 0,
                inbox: VecDeque::new(),
                ios: Vec::new(),
                holds: vec![0; usize::from(PLAN.commands)],
                rounds: 0,
            }
        };
        Self {
            workers: (0..workers).map(worker).collect(),
            sectors: vec![0; usize::try_from(SECTORS).unwrap()],
            place: place(0),
            spread_sectors,
            sent: 0,
            done: 0,
        }
    }

    /// A write comes, to the ring of its receiver.
    fn arrive(&mut self, lba: u64, sectors: u64) {
        self.sent += 1;
        let receiver = self
            .place
            .receiver(lun(0), self.spread_sectors, lba, sectors);
        self.workers[usize::from(receiver.0)].ring.push_back(Sent {
            number: self.sent,
            lba,
            sectors,
        });
    }

    /// A worker looks at the queue, if it has nothing left of the last look.
    fn look(&mut self, own: usize) {
        let mut rounds: Rounds = [0; WORKERS_MAX as usize];
        for (round, worker) in rounds.iter_mut().zip(&self.workers) {
            *round = worker.rounds;
        }
        let worker = &mut self.workers[own];
        if worker.found == 0 {
            worker.target.looked(PORT, &rounds);
            worker.found = worker.ring.len();
        }
    }

    /// It takes in one frame of what it has found.
    fn take_in(&mut self, own: usize) {
        let worker = &mut self.workers[own];
        if worker.found == 0 {
            return;
        }
        worker.found -= 1;
        let sent = worker.ring.pop_front().unwrap();
        let bytes = vec![0; usize::try_from(sent.sectors).unwrap() * 512];
        // Each is its own, so that none is taken for another one, sent again.
        let mut frame = write(sent.lba, &bytes);
        frame[36..44].copy_from_slice(&sent.number.to_le_bytes());
        match worker.target.route(PORT, &frame) {
            Route::Here => {}
            Route::Nowhere => return,
            other => panic!("{sent:?} came to its receiver, and goes on: {other:?}"),
        }
        let mut actions = Vec::new();
        let admitted = worker
            .target
            .receive(PORT, &frame, frame.len(), &mut actions);
        if let Some(admitted) = admitted {
            let command = admitted.command;
            worker.holds[usize::from(command)] = sent.number;
            let mut memory = Arena::new(PLAN);
            memory.fill(&admitted, &frame[36..]);
            worker.target.filled(command, &mut memory, &mut actions);
        }
        self.follow(own, &actions);
    }

    fn end_round(&mut self, own: usize) {
        let worker = &mut self.workers[own];
        if let Some(rounds) = worker.target.taken_in() {
            worker.rounds = rounds;
        }
    }

    fn hear(&mut self, own: usize) {
        let worker = &mut self.workers[own];
        if let Some((from, message)) = worker.inbox.pop_front() {
            let mut actions = Vec::new();
            worker.target.hear_peer(from, message, &mut actions);
            self.follow(own, &actions);
        }
    }

    /// One of its I/Os is done.
    fn complete(&mut self, own: usize, which: usize) {
        let worker = &mut self.workers[own];
        if worker.ios.is_empty() {
            return;
        }
        let (io, number) = worker.ios.swap_remove(which % worker.ios.len());
        let start = usize::try_from(io.sector - 256).unwrap();
        for sector in &mut self.sectors[start..start + io.sectors as usize] {
            assert!(
                *sector < number,
                "write {number} undoes write {sector} of sector {start}"
            );
            *sector = number;
        }
        self.done += 1;
        let mut actions = Vec::new();
        worker.target.complete(&io, true, &mut actions);
        self.follow(own, &actions);
    }

    fn follow(&mut self, own: usize, actions: &[Action]) {
        let from = WorkerIndex(u8::try_from(own).unwrap());
        for action in actions {
            match action {
                Action::Io(io) => {
                    let IoOwner::Command(command) = io.owner else {
                        panic!("{io:?}")
                    };
                    assert_eq!(io.operation, Operation::Write);
                    let worker = &mut self.workers[own];
                    worker.ios.push((*io, worker.holds[usize::from(command)]));
                }
                Action::Peer { to, message } => {
                    let to = &mut self.workers[usize::from(to.0)];
                    to.inbox.push_back((from, *message));
                }
                Action::Reply(reply) => {
                    if let Some(command) = reply.command {
                        self.workers[own].target.sent(command);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// A whole turn of a worker, in its order.
    fn turn(&mut self, own: usize) {
        while !self.workers[own].inbox.is_empty() {
            self.hear(own);
        }
        self.look(own);
        while self.workers[own].found > 0 {
            self.take_in(own);
        }
        self.end_round(own);
        while !self.workers[own].ios.is_empty() {
            self.complete(own, 0);
        }
    }

    fn stale(&self) -> u64 {
        let of = |worker: &Worker| worker.target.counters().stale_writes;
        self.workers.iter().map(of).sum()
    }
}

/// What happens next: of which worker, and what.
#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive(u64, u64),
    Look(usize),
    TakeIn(usize),
    EndRound(usize),
    Hear(usize),
    Complete(usize, usize),
}

fn step(workers: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..SECTORS - 6, 1u64..7).prop_map(|(lba, sectors)| Step::Arrive(lba, sectors)),
        3 => (0..workers).prop_map(Step::Look),
        5 => (0..workers).prop_map(Step::TakeIn),
        2 => (0..workers).prop_map(Step::EndRound),
        5 => (0..workers).prop_map(Step::Hear),
        4 => (0..workers, 0usize..4).prop_map(|(own, which)| Step::Complete(own, which)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever order workers look, take in and hear in: no sector goes back to an earlier write, and
    /// nothing stays undone.
    #[test]
    fn no_write_undoes_one_that_came_later(
        (workers, steps) in (2usize..5).prop_flat_map(|workers| {
            (Just(workers), proptest::collection::vec(step(workers), 1..300))
        }),
    ) {
        let mut world = World::new(u8::try_from(workers).unwrap());
        for step in steps {
            match step {
                Step::Arrive(lba, sectors) => world.arrive(lba, sectors),
                Step::Look(own) => world.look(own),
                Step::TakeIn(own) => world.take_in(own),
                Step::EndRound(own) => world.end_round(own),
                Step::Hear(own) => world.hear(own),
                Step::Complete(own, which) => world.complete(own, which),
            }
        }
        for _ in 0..20 {
            for own in 0..workers {
                world.turn(own);
            }
        }
        let in_flight = |worker: &Worker| worker.target.commands_in_flight();
        prop_assert_eq!(world.workers.iter().map(in_flight).sum::<usize>(), 0);
        let dropped: u64 = world.workers.iter().map(|worker| worker.target.counters().no_buffer).sum();
        prop_assert_eq!(world.done + world.stale() + dropped, world.sent);
    }
}

/// A write across two groups that was sent twice: its second copy waits in the ring of the home, while a
/// newer write is done by the owner.
#[test]
fn an_old_write_across_groups_does_not_undo_a_newer_one() {
    let mut world = World::new(2);
    (0..4).for_each(|turn| world.turn(turn % 2));
    world.arrive(GROUP - 2, 4);
    world.arrive(GROUP, 1);
    world.turn(1);
    assert_eq!(world.done, 1, "the newer one");
    for _ in 0..3 {
        world.turn(0);
        world.turn(1);
    }
    assert_eq!((world.done, world.stale()), (1, 1));
    assert_eq!(world.sectors[8], 2);
    // Sent again it is the newest.
    world.arrive(GROUP - 2, 4);
    for _ in 0..3 {
        world.turn(0);
        world.turn(1);
    }
    assert_eq!((world.done, world.sectors[8]), (2, 3));
}

/// The other way round: the second copy of a write waits in the ring of an owner, while the home does a newer
/// one that touches its sectors, too.
#[test]
fn an_old_write_does_not_undo_a_newer_one_across_groups() {
    let mut world = World::new(2);
    (0..4).for_each(|turn| world.turn(turn % 2));
    world.arrive(GROUP, 1);
    world.arrive(GROUP - 2, 4);
    world.turn(0);
    world.hear(1);
    world.turn(0);
    assert_eq!((world.done, world.sectors[8]), (1, 2), "the newer one");
    world.turn(1);
    assert_eq!((world.done, world.stale()), (1, 1));
    world.arrive(GROUP, 1);
    world.turn(1);
    world.turn(0);
    assert_eq!((world.done, world.sectors[8]), (2, 3));
}

/// What was done in turns before does not stand against a command that comes after it, nor do old loans.
#[test]
fn writes_that_come_one_after_the_other_are_all_done() {
    let mut world = World::new(4);
    for round in 0..40 {
        let lba = GROUP * (1 + round % 4);
        for (lba, sectors) in [(lba, 2), (lba - 2, 4), (lba, 1), (lba - 1, 2)] {
            (0..8).for_each(|turn| world.turn(turn % 4));
            world.arrive(lba, sectors);
            (0..12).for_each(|turn| world.turn(turn % 4));
        }
    }
    assert_eq!((world.done, world.stale()), (160, 0));
}

/// What is not remembered any more counts as newer; a look later it does not.
#[test]
fn an_owner_that_has_forgotten_does_not_lend() {
    let mut world = World::new(2);
    (0..4).for_each(|turn| world.turn(turn % 2));
    world.arrive(3 * GROUP - 2, 4);
    for _ in 0..=crate::target::arrival::WRITES_MAX {
        world.arrive(GROUP, 1);
        world.turn(1);
    }
    for _ in 0..3 {
        world.turn(0);
        world.turn(1);
    }
    assert_eq!(world.stale(), 1);
    world.arrive(3 * GROUP - 2, 4);
    for _ in 0..3 {
        world.turn(0);
        world.turn(1);
    }
    assert_eq!(world.stale(), 1);
}

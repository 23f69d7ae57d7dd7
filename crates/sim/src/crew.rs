//! The workers: what each has of its own, and what they hand to one another.
//!
//! One acts at a time, and what it has of its own is then in the [`World`] itself. A frame arrives at any of
//! them, as if each had a port; what it hands over lies in the inbox of another one, in its order, until that
//! looks into it.
//!
//! Or they share one queue: then a frame lies in the ring of its receiver until that has looked at it. It has
//! arrived before: what is sent from then on it must not undo, and so the oracle takes the copy for gone.

use crate::content::SECTOR;
use crate::switch::Micros;
use crate::worker::new_target;
use crate::world::{Event, World};
use aoe::Request;
use shelf::admin::LunNumber;
use shelf::shard::{Place, WorkerIndex};
use shelf::target::{Action, BufferPlan, PeerMessage, PortIndex, Rounds, Route, Target};
use std::collections::VecDeque;

/// Longest time that something lies in an inbox.
const POST_DELAY: Micros = 60;

/// Longest time that a frame lies in a ring before the worker looks, and the longest until it takes in a
/// frame that it has found.
const LOOK_DELAY: Micros = 90;
const TAKE_DELAY: Micros = 20;

/// Of a thousand looks, so many come late, because the worker is held up, and by so much at most: long enough
/// that an initiator sends again, has its answer, and goes on.
const HELD_UP: u64 = 60;
const HELD_UP_DELAY: Micros = 30_000;

/// The ring of a worker of a queue that they share.
#[derive(Debug, Default)]
struct Ring {
    frames: VecDeque<Vec<u8>>,
    /// How many of them the last look has found.
    found: usize,
    is_look_queued: bool,
    /// How many of its rounds the others see to have ended.
    rounds: u64,
}

/// What lies in an inbox.
#[derive(Debug)]
enum Post {
    /// A frame, with its value; whether the sender is to hear when it is in its place.
    Request {
        from: WorkerIndex,
        frame: Vec<u8>,
        value: u64,
        is_crossing: bool,
    },
    Placed(WorkerIndex),
    Peer {
        from: WorkerIndex,
        message: PeerMessage,
    },
}

/// What a worker that does not act has of its own.
#[derive(Debug)]
struct Bench {
    target: Option<Target>,
    arena: Vec<u8>,
    actions: Vec<Action>,
    turn_is_queued: bool,
    idle_turns: u32,
}

/// All workers.
#[derive(Debug)]
pub(crate) struct Crew {
    acting: WorkerIndex,
    /// That of the acting one is empty.
    benches: Vec<Bench>,
    inboxes: Vec<VecDeque<Post>>,
    /// Of a queue that they share.
    rings: Option<Vec<Ring>>,
}

impl Crew {
    pub(crate) fn new(workers: u8, shares_queue: bool, plan: BufferPlan) -> Self {
        let bench = |worker| Bench {
            target: None,
            // The first one acts.
            arena: vec![
                0;
                if worker == 0 {
                    0
                } else {
                    plan.total_sectors() * SECTOR
                }
            ],
            actions: Vec::new(),
            turn_is_queued: false,
            idle_turns: 0,
        };
        Self {
            acting: WorkerIndex(0),
            benches: (0..workers).map(bench).collect(),
            inboxes: (0..workers).map(|_| VecDeque::new()).collect(),
            rings: shares_queue.then(|| (0..workers).map(|_| Ring::default()).collect()),
        }
    }

    /// Whether the workers share a queue.
    pub(crate) const fn shares_queue(&self) -> bool {
        self.rings.is_some()
    }

    pub(crate) const fn acting(&self) -> WorkerIndex {
        self.acting
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = WorkerIndex> + use<> {
        let workers = u8::try_from(self.benches.len()).unwrap_or(u8::MAX);
        (0..workers).map(WorkerIndex)
    }
}

impl World {
    /// Another worker acts from now on.
    pub(crate) fn act_as(&mut self, worker: WorkerIndex) {
        if worker == self.crew.acting {
            return;
        }
        self.swap_bench();
        self.crew.acting = worker;
        self.swap_bench();
    }

    fn swap_bench(&mut self) {
        let bench = &mut self.crew.benches[usize::from(self.crew.acting.0)];
        std::mem::swap(&mut self.target, &mut bench.target);
        std::mem::swap(&mut self.arena, &mut bench.arena);
        std::mem::swap(&mut self.actions, &mut bench.actions);
        std::mem::swap(&mut self.turn_is_queued, &mut bench.turn_is_queued);
        std::mem::swap(&mut self.idle_turns, &mut bench.idle_turns);
    }

    pub(crate) fn start_targets(&mut self) {
        for own in self.crew.all() {
            self.act_as(own);
            let place = Place { own, ..self.place };
            let target = new_target(self.plan, place, self.crew.shares_queue());
            self.target = Some(target);
        }
        self.act_as(WorkerIndex(0));
    }

    pub(crate) fn stop_targets(&mut self) {
        for worker in self.crew.all() {
            self.act_as(worker);
            self.target = None;
            self.actions.clear();
            self.turn_is_queued = false;
            if let Some(rings) = &mut self.crew.rings {
                rings[usize::from(worker.0)] = Ring::default();
            }
            for post in std::mem::take(&mut self.crew.inboxes[usize::from(worker.0)]) {
                if let Post::Request { value, .. } = post
                    && value != 0
                {
                    self.oracle.copy_gone(value, self.now);
                }
            }
        }
        self.act_as(WorkerIndex(0));
    }

    /// Tells each worker something.
    pub(crate) fn tell_workers(&mut self, mut tell: impl FnMut(&mut Target)) {
        for worker in self.crew.all() {
            self.act_as(worker);
            if let Some(target) = &mut self.target {
                tell(target);
            }
        }
    }

    /// Tells each worker something, and lets it do what follows.
    pub(crate) fn for_each_worker(&mut self, mut tell: impl FnMut(&mut Target, &mut Vec<Action>)) {
        for worker in self.crew.all() {
            self.act_as(worker);
            if let Some(target) = &mut self.target {
                tell(target, &mut self.actions);
            }
            self.carry_out();
            self.turn();
        }
    }

    /// How many workers have said that a change of a LUN has settled.
    pub(crate) fn settled_count(&self, lun: LunNumber) -> usize {
        let of_lun = self.settled.iter().filter(|(settled, _)| *settled == lun);
        of_lun.count()
    }

    /// Whether some worker has commands or a pass under way, or something in its inbox.
    pub(crate) fn is_any_busy(&self) -> bool {
        let is_busy =
            |target: &Target| !target.sync_progress().is_empty() || target.commands_in_flight() > 0;
        let benches = self.crew.benches.iter().map(|bench| &bench.target);
        let mut targets = benches.chain([&self.target]).flatten();
        let has_post = self.crew.inboxes.iter().any(|inbox| !inbox.is_empty());
        let mut rings = self.crew.rings.iter().flatten();
        let has_frame = rings.any(|ring| !ring.frames.is_empty());
        has_post || has_frame || targets.any(is_busy)
    }

    /// A frame arrives at the port of some worker.
    pub(crate) fn frame_arrives(&mut self, frame: &[u8], value: u64) {
        if self.place.is_alone() || !self.has_power {
            return self.take_in(frame, value);
        }
        if self.crew.shares_queue() {
            return self.frame_comes_to_ring(frame, value);
        }
        let worker = u64::from(self.place.workers - 1);
        let worker = u8::try_from(self.random.between(0..=worker)).unwrap_or(0);
        self.act_as(WorkerIndex(worker));
        let Some(target) = &mut self.target else {
            return;
        };
        match target.route(PortIndex(0), frame) {
            Route::Here => self.take_in(frame, value),
            Route::To {
                worker,
                is_crossing,
            } => {
                let post = Post::Request {
                    from: self.crew.acting,
                    frame: frame.to_vec(),
                    value,
                    is_crossing,
                };
                self.post(worker, post);
            }
            Route::Nowhere => {
                if value != 0 {
                    self.oracle.copy_gone(value, self.now);
                }
            }
            Route::Everywhere => self.fail("nobody sends to all LUNs".to_owned()),
        }
    }

    /// A frame comes to the ring of its receiver.
    fn frame_comes_to_ring(&mut self, frame: &[u8], value: u64) {
        if value != 0 {
            self.oracle.copy_gone(value, self.now);
        }
        let receiver = self.receiver(frame);
        let number = usize::from(receiver.0);
        self.note(|| format!("to the ring of worker {number}: value {value}"));
        let Some(ring) = self.crew.rings.as_mut().map(|rings| &mut rings[number]) else {
            return;
        };
        ring.frames.push_back(frame.to_vec());
        if !std::mem::replace(&mut ring.is_look_queued, true) {
            let delay = self.look_delay(LOOK_DELAY);
            self.at(delay, Event::Ring { worker: receiver });
        }
    }

    /// Who gets a frame, by what was told of its LUN before the workers were.
    fn receiver(&self, frame: &[u8]) -> WorkerIndex {
        let first = WorkerIndex(0);
        let Ok(parsed) = aoe::request::parse(frame) else {
            return first;
        };
        let (Request::Ata(registers), Some(lun)) =
            (&parsed.request, LunNumber::new(parsed.header.slot))
        else {
            return first;
        };
        let Some(spread_sectors) = self.spread_sectors.get(&lun.get()) else {
            return first;
        };
        let (code, feature) = (registers.command_status, registers.feature_error);
        let command = ata::Command::decode(code, feature, registers.lba, registers.count);
        let (lba, sectors) = match command {
            ata::Command::Read { lba, count } | ata::Command::Write { lba, count } => {
                (lba, u64::from(count))
            }
            _ => (0, 0),
        };
        self.place.receiver(lun, *spread_sectors, lba, sectors)
    }

    /// A worker looks at the queue that they share, if it has taken in all of the last look, and takes in one
    /// frame.
    pub(crate) fn look_at_ring(&mut self, worker: WorkerIndex) {
        self.act_as(worker);
        let number = usize::from(worker.0);
        let Some(rings) = &mut self.crew.rings else {
            return;
        };
        let mut rounds = Rounds::default();
        for (round, ring) in rounds.iter_mut().zip(&*rings) {
            *round = ring.rounds;
        }
        let ring = &mut rings[number];
        let Some(target) = &mut self.target else {
            return;
        };
        if ring.found == 0 {
            target.looked(PortIndex(0), &rounds);
            ring.found = ring.frames.len();
        }
        let has_found = ring.found > 0;
        let frame = if has_found {
            ring.frames.pop_front()
        } else {
            None
        };
        ring.found = ring.found.saturating_sub(1);
        let route = frame
            .as_ref()
            .map(|frame| target.route(PortIndex(0), frame));
        match (frame, route) {
            (Some(frame), Some(Route::Here)) => self.take_in(&frame, 0),
            (
                Some(frame),
                Some(Route::To {
                    worker,
                    is_crossing,
                }),
            ) => {
                let post = Post::Request {
                    from: self.crew.acting,
                    frame,
                    value: 0,
                    is_crossing,
                };
                self.post(worker, post);
            }
            (_, Some(Route::Everywhere)) => self.fail("nobody sends to all LUNs".to_owned()),
            (_, Some(Route::Nowhere) | None) | (None, _) => {}
        }
        self.go_on_with_ring(worker, has_found);
    }

    /// A round may end, and what is left in a ring is looked at later; once more when there was something, as
    /// a worker does before it sleeps.
    fn go_on_with_ring(&mut self, worker: WorkerIndex, has_found: bool) {
        self.act_as(worker);
        let ends_round = self.random.between(0..=2) > 0;
        let number = usize::from(worker.0);
        let (Some(rings), Some(target)) = (&mut self.crew.rings, &mut self.target) else {
            return;
        };
        let ring = &mut rings[number];
        if (ends_round || ring.found == 0)
            && let Some(rounds) = target.taken_in()
        {
            ring.rounds = rounds;
        }
        let delay_max = if ring.found > 0 {
            TAKE_DELAY
        } else {
            LOOK_DELAY
        };
        ring.is_look_queued = has_found || !ring.frames.is_empty();
        if ring.is_look_queued {
            let delay = self.look_delay(delay_max);
            self.at(delay, Event::Ring { worker });
        }
    }

    /// When a worker goes on with its ring.
    fn look_delay(&mut self, delay_max: Micros) -> Micros {
        let is_held_up = self.random.chance(HELD_UP);
        let delay_max = if is_held_up { HELD_UP_DELAY } else { delay_max };
        self.random.between(1..=delay_max)
    }

    fn post(&mut self, to: WorkerIndex, post: Post) {
        self.note(|| match &post {
            Post::Request { value, .. } => format!("to worker {}: a frame, value {value}", to.0),
            post => format!("to worker {}: {post:?}", to.0),
        });
        self.crew.inboxes[usize::from(to.0)].push_back(post);
        let delay = self.random.between(1..=POST_DELAY);
        self.at(delay, Event::Post { to });
    }

    pub(crate) fn post_message(&mut self, to: WorkerIndex, message: PeerMessage) {
        let from = self.crew.acting;
        self.post(to, Post::Peer { from, message });
    }

    pub(crate) fn take_post(&mut self, to: WorkerIndex) {
        self.act_as(to);
        let Some(post) = self.crew.inboxes[usize::from(to.0)].pop_front() else {
            return;
        };
        match post {
            Post::Request {
                from,
                frame,
                value,
                is_crossing,
            } => {
                self.take_in(&frame, value);
                if is_crossing {
                    self.act_as(to);
                    self.post(from, Post::Placed(to));
                }
            }
            Post::Placed(home) => {
                if let Some(target) = &mut self.target {
                    target.placed(home);
                }
            }
            Post::Peer { from, message } => {
                if let Some(target) = &mut self.target {
                    target.hear_peer(from, message, &mut self.actions);
                }
                self.carry_out();
                self.turn();
            }
        }
    }
}

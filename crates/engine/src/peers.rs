//! What the workers of a shelf share: an inbox for each, buffers for frames that change hands, and what each
//! is to know of the others at any time.
//!
//! A frame that another worker is to take in ([`shelf::target::Route`]) is copied into a pooled buffer and
//! put into that worker's inbox; the answer comes back the same way, by a [`crate::remote::RemotePort`].
//! What targets say to one another goes through the same inboxes, so that it keeps its order with the
//! frames.
//!
//! Where workers share a receive queue each has a port of its own on it, takes in what comes there, and
//! answers by it; what each has taken in the others see in its count of rounds ([`Target::looked`]).
//!
//! Budget: 300 ns one way when both ends poll, for a frame of 8 KiB as for a short one. `corebench
//! --handover` measures it.
//!
//! Invariants:
//! * nothing is allocated after [`seats`] but for ports that are added, and an inbox never overflows: it has
//!   room for all buffers and for all that targets can have to say to one another;
//! * whoever finds no buffer drops a request, and counts it, or lets a reply wait; nobody waits for another
//!   worker;
//! * a worker that sleeps is woken by whoever puts something into its inbox, at the end of his turn.

use crate::remote::RemotePort;
use crate::wake::Wake;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use port::{Port, PortFacts, ReceivedFrame};
use shelf::shard::{Place, WORKERS_MAX, WorkerIndex, WorkerSet};
use shelf::target::{
    Action, BUFFER_SECTORS, CROSSINGS_MAX, Io, PeerMessage, PortIndex, Rounds, Route, Target,
};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// How many buffers a worker has for replies: of its command slots one of so many. Replies wait for one; for
/// requests there are as many buffers as command slots, so that what initiators may have under way is not
/// lost.
const REPLY_SHARE: usize = 4;

/// The longest frame that a shelf takes or sends, with a tag, in whole cache lines.
const BUFFER_BYTES: usize = (BUFFER_SECTORS * aoe::SECTOR_BYTES + 64).next_multiple_of(64);

/// Messages between targets that are on their way to a worker, for each command slot of the sender: two of a
/// loan of it, and one of a loan that it gives.
const MESSAGES_PER_COMMAND: usize = 3;

/// The most ports that there may ever be: frames name theirs in a byte.
pub(crate) const PORTS_MAX: usize = u8::MAX as usize;

/// Memory for one frame.
#[derive(Debug)]
pub(crate) struct Parcel {
    bytes: Box<[u8]>,
    len_bytes: usize,
    /// The port that it came from, or is to leave by.
    port: u8,
    /// Whose buffer it is.
    from: WorkerIndex,
}

impl Parcel {
    /// The frame.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.bytes[..self.len_bytes]
    }

    pub(crate) const fn port(&self) -> PortIndex {
        PortIndex(self.port)
    }
}

/// What lies in an inbox.
#[derive(Debug)]
pub(crate) enum Post {
    /// A frame to be taken in; `is_crossing` as in [`Route::To`].
    Request { parcel: Parcel, is_crossing: bool },
    /// A frame to be sent.
    Reply(Parcel),
    /// The first crossing write that was handed to this worker is in its place, or was dropped.
    Placed(WorkerIndex),
    /// From target to target.
    Peer {
        from: WorkerIndex,
        message: PeerMessage,
    },
}

/// The end of one worker.
#[derive(Debug)]
struct End {
    inbox: ArrayQueue<Post>,
    is_asleep: AtomicBool,
    wake: Wake,
    requests: Pool,
    replies: Pool,
    /// How many of its rounds have ended.
    rounds: CachePadded<AtomicU64>,
}

/// Buffers of one worker that are not on their way.
#[derive(Debug)]
struct Pool {
    /// Those that came back: they are in some cache, and are taken first.
    used: ArrayQueue<Parcel>,
    /// Those that were not needed so far.
    fresh: ArrayQueue<Parcel>,
}

impl Pool {
    fn new(from: WorkerIndex, buffers: usize) -> Self {
        let fresh = ArrayQueue::new(buffers);
        for _ in 0..buffers {
            let parcel = Parcel {
                bytes: vec![0; BUFFER_BYTES].into(),
                len_bytes: 0,
                port: 0,
                from,
            };
            assert!(fresh.push(parcel).is_ok(), "a pool has room for its own");
        }
        Self {
            used: ArrayQueue::new(buffers),
            fresh,
        }
    }

    fn pop(&self) -> Option<Parcel> {
        self.used.pop().or_else(|| self.fresh.pop())
    }

    fn push(&self, parcel: Parcel) {
        if self.used.push(parcel).is_err() {
            unreachable!("a pool has room for its own");
        }
    }
}

/// What may change of a port.
#[derive(Debug)]
struct LinkState {
    mtu_bytes: AtomicUsize,
    has_link: AtomicBool,
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Exchange {
    ends: Box<[End]>,
    links: Box<[LinkState]>,
    /// For each drive how many writes that were abandoned may still land on it.
    landing: Box<[AtomicU32]>,
}

impl Exchange {
    fn new(workers: u8, facts: &[PortFacts], commands: u16, drives: usize) -> io::Result<Self> {
        let others = usize::from(workers - 1);
        let slots = usize::from(commands);
        // Requests, replies, as many `Placed` as writes may wait for one, and messages.
        let room = others * (slots * (2 + MESSAGES_PER_COMMAND) + CROSSINGS_MAX);
        let end = |index| {
            Ok(End {
                inbox: ArrayQueue::new(room.max(1)),
                is_asleep: AtomicBool::new(false),
                wake: Wake::new()?,
                requests: Pool::new(WorkerIndex(index), slots),
                replies: Pool::new(WorkerIndex(index), slots.div_ceil(REPLY_SHARE)),
                rounds: CachePadded::default(),
            })
        };
        let link = |port: usize| {
            let facts = facts.get(port);
            LinkState {
                mtu_bytes: AtomicUsize::new(facts.map_or(0, |facts| facts.mtu_bytes)),
                has_link: AtomicBool::new(facts.is_some_and(|facts| facts.has_link)),
            }
        };
        Ok(Self {
            ends: (0..workers).map(end).collect::<io::Result<_>>()?,
            // Also of ports to come.
            links: (0..PORTS_MAX).map(link).collect(),
            landing: (0..drives).map(|_| AtomicU32::new(0)).collect(),
        })
    }

    fn end(&self, worker: WorkerIndex) -> &End {
        &self.ends[usize::from(worker.0)]
    }

    fn post(&self, to: WorkerIndex, post: Post) {
        if self.end(to).inbox.push(post).is_err() {
            unreachable!("an inbox has room for all buffers and messages");
        }
    }

    /// Wakes a worker if it sleeps. What was posted before is seen by it, one way or the other.
    pub(crate) fn ring(&self, worker: WorkerIndex) {
        fence(Ordering::SeqCst);
        let end = self.end(worker);
        if end.is_asleep.load(Ordering::Relaxed) && end.is_asleep.swap(false, Ordering::AcqRel) {
            end.wake.ring();
        }
    }

    /// Copies a reply to the worker that owns its port; false when there is no buffer now.
    pub(crate) fn hand_reply(
        &self,
        (from, to): (WorkerIndex, WorkerIndex),
        port: u8,
        frame: &ReceivedFrame<'_>,
    ) -> bool {
        let Some(mut parcel) = self.end(from).replies.pop() else {
            return false;
        };
        parcel.fill(port, frame);
        self.post(to, Post::Reply(parcel));
        true
    }

    /// MTU and link of a port, as its owner knows them.
    pub(crate) fn link(&self, port: u8) -> (usize, bool) {
        let link = &self.links[usize::from(port)];
        let mtu_bytes = link.mtu_bytes.load(Ordering::Acquire);
        (mtu_bytes, link.has_link.load(Ordering::Acquire))
    }
}

impl Parcel {
    fn fill(&mut self, port: u8, frame: &ReceivedFrame<'_>) {
        self.port = port;
        self.len_bytes = frame.copy_to(0, &mut self.bytes);
    }

    /// Whether a frame of so many bytes fits.
    pub(crate) const fn fits(len_bytes: usize) -> bool {
        len_bytes <= BUFFER_BYTES
    }
}

/// The end that a worker holds.
#[derive(Debug)]
pub(crate) struct Peers {
    exchange: Arc<Exchange>,
    place: Place,
    /// For each port the one of ours that is of the same interface, or itself.
    aliases: Vec<u8>,
    /// To be woken at the end of the turn, if they sleep.
    told: WorkerSet,
    /// For each drive how many of our writes were abandoned and may still land.
    landing: Box<[u32]>,
    /// Which ports are of a queue that the workers share.
    shared: Vec<bool>,
    /// For each port the frames of others that wait for room in it.
    waiting: Vec<VecDeque<Parcel>>,
    /// Requests that were handed over, and that were dropped because there was no buffer.
    pub(crate) handed_over: u64,
    pub(crate) dropped: u64,
}

impl Peers {
    /// Which worker this is.
    pub(crate) const fn own(&self) -> WorkerIndex {
        self.place.own
    }

    /// Hands a frame to whoever is to take it in; false if that is this worker.
    pub(crate) fn pass_on(
        &mut self,
        target: &mut Target,
        port: PortIndex,
        frame: &ReceivedFrame<'_>,
    ) -> bool {
        match target.route(port, frame.first) {
            Route::Here => false,
            Route::Nowhere => true,
            Route::To {
                worker,
                is_crossing,
            } => {
                if !self.hand(worker, port, frame, is_crossing) && is_crossing {
                    target.not_handed_over();
                }
                true
            }
            Route::Everywhere => {
                let Place { own, workers, .. } = self.place;
                let others = (0..workers).map(WorkerIndex);
                for worker in others.filter(|worker| *worker != own) {
                    self.hand(worker, port, frame, false);
                }
                false
            }
        }
    }

    /// Looks what has come to a port, if the workers share its queue; else it needs no look.
    pub(crate) fn look(&self, target: &mut Target, port: PortIndex, at: &mut dyn Port) {
        if !self.shared[usize::from(port.0)] {
            return;
        }
        let mut rounds: Rounds = Rounds::default();
        for (round, end) in rounds.iter_mut().zip(&self.exchange.ends) {
            // Before the look: what was taken in by then came before what it finds the next time.
            *round = end.rounds.load(Ordering::Acquire);
        }
        if at.look() {
            target.looked(port, &rounds);
        }
    }

    /// What a look has found is taken in.
    pub(crate) fn taken_in(&self, target: &mut Target) {
        if let Some(rounds) = target.taken_in() {
            let own = self.exchange.end(self.place.own);
            own.rounds.store(rounds, Ordering::Release);
        }
    }

    fn hand(
        &mut self,
        to: WorkerIndex,
        port: PortIndex,
        frame: &ReceivedFrame<'_>,
        is_crossing: bool,
    ) -> bool {
        let own = self.exchange.end(self.place.own);
        let fits = Parcel::fits(frame.len_bytes());
        let parcel = if fits { own.requests.pop() } else { None };
        let Some(mut parcel) = parcel else {
            self.dropped += 1;
            return false;
        };
        self.handed_over += 1;
        parcel.fill(port.0, frame);
        let post = Post::Request {
            parcel,
            is_crossing,
        };
        self.tell(to, post);
        true
    }

    fn tell(&mut self, to: WorkerIndex, post: Post) {
        self.exchange.post(to, post);
        self.told = self.told.with(WorkerSet::of(to));
    }

    /// Carries what a target says to another one.
    pub(crate) fn carry(&mut self, to: WorkerIndex, message: PeerMessage) {
        let from = self.place.own;
        self.tell(to, Post::Peer { from, message });
    }

    /// Carries at once what the actions from a place on say to other workers: before any frame that came
    /// later.
    pub(crate) fn carry_from(&mut self, actions: &mut Vec<Action>, mut place: usize) {
        while let Some(action) = actions.get(place) {
            if let Action::Peer { to, message } = *action {
                self.carry(to, message);
                actions.remove(place);
            } else {
                place += 1;
            }
        }
    }

    /// The next in the inbox.
    pub(crate) fn next(&self) -> Option<Post> {
        self.exchange.end(self.place.own).inbox.pop()
    }

    pub(crate) fn inbox_len(&self) -> usize {
        self.exchange.end(self.place.own).inbox.len()
    }

    /// A request was taken in, or dropped: its buffer goes back, and its sender goes on.
    pub(crate) fn request_done(&mut self, parcel: Parcel, is_crossing: bool) {
        let from = parcel.from;
        if is_crossing {
            self.tell(from, Post::Placed(self.place.own));
        }
        self.exchange.end(from).requests.push(parcel);
    }

    /// The port that a frame counts as having come from: one of ours, if we have one of the interface.
    pub(crate) fn alias(&self, port: PortIndex) -> PortIndex {
        PortIndex(self.aliases[usize::from(port.0)])
    }

    /// Sends a frame of another worker, or lets it wait for room.
    pub(crate) fn send(&mut self, ports: &mut [Box<dyn Port>], parcel: Parcel) {
        let port = usize::from(parcel.port);
        self.waiting[port].push_back(parcel);
        self.send_waiting(ports, port);
    }

    /// Sends what waits for room; whether anything left.
    pub(crate) fn send_all(&mut self, ports: &mut [Box<dyn Port>]) -> bool {
        let mut any = false;
        for port in 0..ports.len() {
            any |= self.send_waiting(ports, port);
        }
        any
    }

    fn send_waiting(&mut self, ports: &mut [Box<dyn Port>], port: usize) -> bool {
        let mut any = false;
        while let Some(parcel) = self.waiting[port].front() {
            // Too long for the interface: counted by the port, and gone.
            if ports[port].transmit(parcel.frame(), &[]) == Err(port::TransmitError::Full) {
                break;
            }
            any = true;
            if let Some(parcel) = self.waiting[port].pop_front() {
                self.exchange.end(parcel.from).replies.push(parcel);
            }
        }
        any
    }

    /// No frame of another worker waits.
    pub(crate) fn all_sent(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// Wakes those who were told something, if they sleep.
    pub(crate) fn ring(&mut self) {
        if !self.told.is_empty() {
            for worker in std::mem::take(&mut self.told).iter() {
                self.exchange.ring(worker);
            }
        }
    }

    /// Says that this worker sleeps from now on; false, and it does not, if its inbox is not empty.
    pub(crate) fn fall_asleep(&self) -> bool {
        let end = self.exchange.end(self.place.own);
        end.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !end.inbox.is_empty() {
            end.is_asleep.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// It sleeps no more.
    pub(crate) fn woke(&self) {
        let end = self.exchange.end(self.place.own);
        end.is_asleep.store(false, Ordering::Relaxed);
    }

    /// A port is new: behind the last one, or in the place of one that was taken out. What is sent by it is
    /// sent by `owner`, if it is none of ours.
    pub(crate) fn put_port(
        &mut self,
        port: PortIndex,
        (facts, owner): (&PortFacts, WorkerIndex),
        alias: u8,
        waiting: VecDeque<Parcel>,
    ) -> RemotePort {
        let index = usize::from(port.0);
        self.link_changed(port, facts);
        let is_shared = facts.sharer.is_some();
        if index == self.aliases.len() {
            self.aliases.push(alias);
            self.shared.push(is_shared);
            self.waiting.push(waiting);
        } else {
            self.aliases[index] = alias;
            self.shared[index] = is_shared;
        }
        let ends = (self.place.own, owner);
        RemotePort::new(facts.clone(), Arc::clone(&self.exchange), ends, port.0)
    }

    /// A port is gone: nothing is looked for there any more.
    pub(crate) fn take_out_port(&mut self, port: PortIndex) {
        self.shared[usize::from(port.0)] = false;
        self.aliases[usize::from(port.0)] = port.0;
    }

    /// Whether frames of other workers wait for room in a port.
    pub(crate) fn has_waiting(&self, port: PortIndex) -> bool {
        !self.waiting[usize::from(port.0)].is_empty()
    }

    /// Tells the others of MTU and link of one of our ports.
    pub(crate) fn link_changed(&self, port: PortIndex, facts: &PortFacts) {
        let link = &self.exchange.links[usize::from(port.0)];
        link.mtu_bytes.store(facts.mtu_bytes, Ordering::Release);
        link.has_link.store(facts.has_link, Ordering::Release);
    }

    /// A write was abandoned, and may still land; or, with `is_over`, has ended after all.
    pub(crate) fn landing_changed(&mut self, io: &Io, is_over: bool) {
        let drive = usize::from(io.drive.0);
        if !io.operation.is_write() || drive >= self.landing.len() {
            return;
        }
        if is_over {
            self.landing[drive] -= 1;
            self.exchange.landing[drive].fetch_sub(1, Ordering::SeqCst);
        } else {
            self.landing[drive] += 1;
            self.exchange.landing[drive].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether a write that another worker has abandoned may still land on the drive of an I/O, and so
    /// perhaps undo it. Where, only that worker knows.
    pub(crate) fn is_barred(&self, io: &Io) -> bool {
        let drive = usize::from(io.drive.0);
        io.operation.is_write()
            && drive < self.landing.len()
            && self.exchange.landing[drive].load(Ordering::SeqCst) > self.landing[drive]
    }
}

/// What a worker is given to work with.
#[derive(Debug)]
pub struct Seat {
    pub(crate) place: Place,
    /// All ports of the shelf; those of other workers only to send by.
    pub(crate) ports: Vec<Box<dyn Port>>,
    /// Which of them are its own: of those that all workers share it is the first one's.
    pub(crate) own: Vec<bool>,
    pub(crate) wake: Wake,
    /// Unless there is only one worker.
    pub(crate) peers: Option<Peers>,
}

impl Seat {
    /// Hands a frame of port 0 to another worker; false when all buffers are on their way, or there is
    /// nobody. Workers do so by themselves: this is for those who measure it.
    pub fn hand(&mut self, to: WorkerIndex, frame: &ReceivedFrame<'_>) -> bool {
        let peers = self.peers.as_mut();
        peers.is_some_and(|peers| {
            let is_handed = peers.hand(to, PortIndex(0), frame, false);
            peers.ring();
            is_handed
        })
    }

    /// Takes the frames that were handed to this worker, and gives each to `sink`; how many. As
    /// [`Seat::hand`].
    pub fn take(&mut self, sink: &mut dyn FnMut(&[u8])) -> u64 {
        let mut taken = 0;
        while let Some(peers) = &mut self.peers
            && let Some(Post::Request { parcel, .. }) = peers.next()
        {
            sink(parcel.frame());
            peers.request_done(parcel, false);
            taken += 1;
        }
        taken
    }
}

/// Shares ports out among `workers` workers with so many command slots each, one after the other. The sockets
/// of a queue that they share are one port, of which each gets its own. `drives` is one more than the highest
/// slot of a drive.
///
/// # Errors
/// When the kernel gives no event descriptor.
///
/// # Panics
/// With no worker, or more than [`WORKERS_MAX`]: the configuration is checked for that.
pub fn seats(
    workers: u8,
    ports: Vec<Box<dyn Port>>,
    commands: u16,
    drives: usize,
) -> io::Result<Vec<Seat>> {
    assert!((1..=WORKERS_MAX).contains(&workers), "{workers} workers");
    if workers == 1 {
        return Ok(vec![Seat {
            place: Place::ALONE,
            own: vec![true; ports.len()],
            ports,
            wake: Wake::new()?,
            peers: None,
        }]);
    }
    let mut queues = queues_of(ports, workers);
    let facts: Vec<PortFacts> = queues.iter().filter_map(Queue::facts).collect();
    let exchange = Arc::new(Exchange::new(workers, &facts, commands, drives)?);
    let owner = |port: u8| owner_of(port, workers);
    let seat = |own: WorkerIndex| {
        let numbered: Vec<(u8, &PortFacts)> = (0u8..).zip(&facts).collect();
        let is_own = |port: u8| owner(port) == own;
        let place = Place::among(own, workers);
        let peers = Peers {
            exchange: Arc::clone(&exchange),
            place,
            aliases: numbered
                .iter()
                .map(|(port, _)| alias_of(*port, &numbered, (own, workers)))
                .collect(),
            told: WorkerSet::default(),
            landing: vec![0; drives].into(),
            shared: facts.iter().map(|facts| facts.sharer.is_some()).collect(),
            waiting: facts
                .iter()
                .map(|_| room_for_others(commands, workers))
                .collect(),
            handed_over: 0,
            dropped: 0,
        };
        let ports = (0u8..).zip(&mut queues).map(|(port, queue)| {
            queue.take(own, owner(port)).unwrap_or_else(|| {
                let facts = facts[usize::from(port)].clone();
                let ends = (own, owner(port));
                Box::new(RemotePort::new(facts, Arc::clone(&exchange), ends, port))
            })
        });
        Seat {
            place,
            ports: ports.collect(),
            own: numbered.iter().map(|(port, _)| is_own(*port)).collect(),
            wake: exchange.end(own).wake.clone(),
            peers: Some(peers),
        }
    };
    Ok((0..workers).map(WorkerIndex).map(seat).collect())
}

/// Room for the frames of other workers that wait for room in a port.
pub(crate) fn room_for_others(commands: u16, workers: u8) -> VecDeque<Parcel> {
    VecDeque::with_capacity(usize::from(commands) * usize::from(workers))
}

/// The worker whose port it is, of so many.
pub(crate) const fn owner_of(port: u8, workers: u8) -> WorkerIndex {
    WorkerIndex(port % workers)
}

/// Which port a frame counts as having come from at a worker that has these ports: one of its own, if it has
/// one of the interface, else itself.
pub(crate) fn alias_of(
    port: u8,
    all: &[(u8, &PortFacts)],
    (own, workers): (WorkerIndex, u8),
) -> u8 {
    let is_here =
        |port: u8, facts: &PortFacts| facts.sharer.is_some() || owner_of(port, workers) == own;
    let Some((_, facts)) = all.iter().find(|(other, _)| *other == port) else {
        return port;
    };
    if is_here(port, facts) {
        return port;
    }
    let mut ours = all.iter().filter(|(other, facts)| is_here(*other, facts));
    let same = ours.find(|(_, other)| other.interface == facts.interface);
    same.map_or(port, |(other, _)| *other)
}

/// The ports of a receive queue: one, or one for each worker.
#[derive(Debug)]
pub(crate) struct Queue(Vec<Option<Box<dyn Port>>>);

impl Queue {
    pub(crate) fn facts(&self) -> Option<PortFacts> {
        let first = self.0.first()?.as_ref()?;
        Some(first.facts().clone())
    }

    /// The port of a worker, if it has one.
    pub(crate) fn take(
        &mut self,
        worker: WorkerIndex,
        owner: WorkerIndex,
    ) -> Option<Box<dyn Port>> {
        match &mut self.0[..] {
            [only] if worker == owner => only.take(),
            [_] => None,
            all => all.get_mut(usize::from(worker.0))?.take(),
        }
    }
}

/// Puts together what is of one queue.
pub(crate) fn queues_of(ports: Vec<Box<dyn Port>>, workers: u8) -> Vec<Queue> {
    let mut queues: Vec<Queue> = Vec::new();
    for port in ports {
        match (port.facts().sharer, queues.last_mut()) {
            (Some(sharer), Some(queue)) if sharer > 0 => queue.0.push(Some(port)),
            _ => queues.push(Queue(vec![Some(port)])),
        }
    }
    for queue in &queues {
        let sockets = queue.0.len();
        assert!(
            sockets == 1 || sockets == usize::from(workers),
            "{sockets} sockets for {workers} workers"
        );
    }
    queues
}

#[cfg(test)]
mod tests;

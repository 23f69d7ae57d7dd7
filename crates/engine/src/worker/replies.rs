//! Replies on their way into the ports.
//!
//! * A port without room holds up its own replies only. When it has room again, what belongs to no command
//!   (config, IDENTIFY, lists) leaves before data: initiators wait longest for it.
//! * With a pace, data for a station waits until its line has room; what belongs to no command does not. The
//!   queues of an interface, and the workers that send by them, share one pace. Data that another worker's
//!   port is to send waits where its command is, and is handed over when its time has come.
//! * Bounded: what belongs to a command by the number of commands, the rest is dropped beyond that, since
//!   initiators ask again.

use super::Worker;
use crate::peers::Peers;
use port::{PortFacts, TransmitError};
use shelf::pacing::Pacer;
use shelf::target::{Body, Reply};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How fast replies are sent by each interface, for all workers of a shelf; clones are of the same.
#[derive(Clone, Debug)]
pub struct Paces {
    /// What the clocks of those who pace together count from.
    epoch: Instant,
    by_interface: Arc<Mutex<BTreeMap<String, Arc<Pacer>>>>,
}

impl Paces {
    /// Interfaces, and how many Mbit/s each of their stations is sent; 0 for as fast as can be, as by those
    /// that are not named.
    #[must_use]
    pub fn new(mbit_per_second: &[(String, u64)]) -> Self {
        let paced = mbit_per_second.iter().filter(|(_, pace)| *pace > 0);
        let pacer =
            |(interface, pace): &(String, u64)| (interface.clone(), Arc::new(Pacer::new(*pace)));
        Self {
            epoch: Instant::now(),
            by_interface: Arc::new(Mutex::new(paced.map(pacer).collect())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Pacer>>> {
        let all = self.by_interface.lock();
        all.unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how many Mbit/s each station of an interface is sent whose ports are opened from now on; 0 for as
    /// fast as can be.
    pub fn name(&self, interface: &str, mbit_per_second: u64) {
        let mut all = self.lock();
        if mbit_per_second > 0 {
            let pacer = Arc::new(Pacer::new(mbit_per_second));
            all.insert(interface.to_owned(), pacer);
        } else {
            all.remove(interface);
        }
    }

    /// Changes how many Mbit/s the stations of an interface are sent; whether it has had a limit. Room for
    /// what waits was made where there was one.
    #[must_use]
    pub fn set(&self, interface: &str, mbit_per_second: u64) -> bool {
        let all = self.lock();
        let pacer = all.get(interface).filter(|_| mbit_per_second > 0);
        pacer.map(|pacer| pacer.set_rate(mbit_per_second)).is_some()
    }

    /// The pacer of the interface of a port, if it has one.
    pub(super) fn of(&self, port: &PortFacts) -> Option<Arc<Pacer>> {
        self.lock().get(&port.interface).cloned()
    }

    pub(super) const fn epoch(&self) -> Instant {
        self.epoch
    }
}

/// What waits for one port.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Found no room, and belongs to no command.
    ahead: VecDeque<Reply>,
    /// Found no room.
    bulk: VecDeque<Reply>,
    /// How fast each station is sent to, if that has a limit.
    pacer: Option<Arc<Pacer>>,
    /// Waits for its time; the earliest on top.
    paced: BinaryHeap<Reverse<Paced>>,
    /// How many were paced: replies of one time leave in order.
    paced_count: u64,
    replies_max: usize,
}

/// A reply that waits for its time.
#[derive(Debug)]
struct Paced {
    departure_ns: u64,
    number: u64,
    reply: Reply,
}

impl Paced {
    const fn key(&self) -> (u64, u64) {
        (self.departure_ns, self.number)
    }
}

impl PartialEq for Paced {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Paced {}

impl PartialOrd for Paced {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Paced {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Waiting {
    /// Room for the replies of all commands, which leave as fast as can be without a pacer.
    pub(super) fn new(commands: u16, pacer: Option<Arc<Pacer>>) -> Self {
        let replies_max = usize::from(commands);
        let paced_max = if pacer.is_some() { replies_max } else { 0 };
        Self {
            ahead: VecDeque::with_capacity(replies_max),
            bulk: VecDeque::with_capacity(replies_max),
            pacer,
            paced: BinaryHeap::with_capacity(paced_max),
            paced_count: 0,
            replies_max,
        }
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.ahead.is_empty() && self.bulk.is_empty() && self.paced.is_empty()
    }

    /// The next that found no room.
    fn pop(&mut self) -> Option<Reply> {
        self.ahead.pop_front().or_else(|| self.bulk.pop_front())
    }

    fn push_front(&mut self, reply: Reply) {
        if reply.command.is_none() {
            self.ahead.push_front(reply);
        } else {
            self.bulk.push_front(reply);
        }
    }

    /// When the reply may leave, if not now.
    fn later(&self, reply: &Reply, now_ns: u64) -> Option<u64> {
        let pacer = self.pacer.as_ref()?;
        let departure_ns = pacer.departure_ns(reply.destination(), reply.frame_bytes(), now_ns);
        (reply.command.is_some() && departure_ns > now_ns).then_some(departure_ns)
    }
}

impl Worker {
    pub(super) fn reply(&mut self, mut reply: Reply) {
        let port = usize::from(reply.port.0);
        let now_ns = self.last_turn_ns;
        if let Some(departure_ns) = self.waiting[port].later(&reply, now_ns) {
            self.counted.paced_replies += 1;
            self.target.keep(&mut reply, &mut self.executor);
            let waiting = &mut self.waiting[port];
            waiting.paced_count += 1;
            waiting.paced.push(Reverse(Paced {
                departure_ns,
                number: waiting.paced_count,
                reply,
            }));
            return;
        }
        self.send_or_keep(reply);
    }

    /// Sends it, or lets it wait until its port has room.
    fn send_or_keep(&mut self, mut reply: Reply) {
        let waiting = &self.waiting[usize::from(reply.port.0)];
        let is_ahead = reply.command.is_none();
        let is_first = waiting.ahead.is_empty() && (is_ahead || waiting.bulk.is_empty());
        if is_first && self.transmit(&reply) {
            return;
        }
        self.counted.transmit_waits += 1;
        self.target.keep(&mut reply, &mut self.executor);
        let waiting = &mut self.waiting[usize::from(reply.port.0)];
        if !is_ahead {
            waiting.bulk.push_back(reply);
        } else if waiting.ahead.len() < waiting.replies_max {
            waiting.ahead.push_back(reply);
        } else {
            self.counted.replies_dropped += 1;
        }
    }

    /// Hands a reply to its port; false when there is no room now.
    fn transmit(&mut self, reply: &Reply) -> bool {
        if let (Body::Data(span), Some(index)) = (&reply.body, reply.command)
            && self.ports[usize::from(reply.port.0)].lends()
        {
            return self.transmit_lent(reply, span, index);
        }
        let body: &[u8] = match &reply.body {
            Body::Data(span) => self.executor.span(span),
            shared => shared.shared(),
        };
        let port = &mut self.ports[usize::from(reply.port.0)];
        match port.transmit(&reply.head[..reply.head_bytes], body) {
            Err(TransmitError::Full) => false,
            // Too long for the interface: counted by the port. The initiator asks again.
            Ok(()) | Err(_) => {
                self.sent(reply);
                true
            }
        }
    }

    fn sent(&mut self, reply: &Reply) {
        if let Some(command) = reply.command {
            self.target.sent(command);
        }
    }

    /// Sends what was waiting for room, or for its time; whether anything left.
    pub(super) fn send_waiting(&mut self) -> bool {
        let mut any = false;
        if let Some(peers) = &mut self.peers {
            any |= peers.send_all(&mut self.ports);
        }
        for port in 0..self.waiting.len() {
            while let Some(reply) = self.waiting[port].pop() {
                if !self.transmit(&reply) {
                    self.waiting[port].push_front(reply);
                    break;
                }
                any = true;
            }
            while let Some(reply) = self.pop_due(port) {
                self.send_or_keep(reply);
                any = true;
            }
        }
        any
    }

    fn pop_due(&mut self, port: usize) -> Option<Reply> {
        let paced = &mut self.waiting[port].paced;
        let is_due = paced.peek()?.0.departure_ns <= self.last_turn_ns;
        is_due.then(|| paced.pop()).flatten().map(|due| due.0.reply)
    }

    /// Some reply waits for its time: the worker does not sleep meanwhile, since it may be a few
    /// microseconds.
    pub(super) fn is_pacing(&self) -> bool {
        self.waiting.iter().any(|port| !port.paced.is_empty())
    }

    pub(super) fn all_sent(&self) -> bool {
        let others = self.peers.as_ref().is_none_or(Peers::all_sent);
        others && self.waiting.iter().all(Waiting::is_empty)
    }

    /// The worker ends: what a port does not take is lost, and the initiator asks again.
    pub(super) fn drop_waiting(&mut self) {
        for port in 0..self.waiting.len() {
            self.drop_waiting_of(port);
        }
    }

    /// The same of one port.
    pub(super) fn drop_waiting_of(&mut self, port: usize) {
        loop {
            let waiting = &mut self.waiting[port];
            let next = waiting.pop();
            let Some(reply) = next.or_else(|| waiting.paced.pop().map(|paced| paced.0.reply))
            else {
                return;
            };
            self.counted.replies_dropped += 1;
            self.sent(&reply);
        }
    }

    pub(super) fn flush_ports(&mut self) {
        self.port_is_full = false;
        for port in &mut self.ports {
            self.port_is_full |= port.flush();
        }
        // Where the kernel copies what it sends it is done with most of it already.
        self.take_back_loans();
    }
}

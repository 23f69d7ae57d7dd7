//! Ports that are added and taken out while the worker runs.
//!
//! The way of a port that is added: first every worker has it, closed, so that each can send by it; then it
//! is opened. One that is taken out goes the other way round: it is closed everywhere; when nothing that came
//! by it is under way any more it leaves all workers, and is closed for good by whoever asked.
//!
//! Invariants:
//! * a port keeps its number for ever: the number of one that was taken out is used again only for the
//!   same queue of the same interface;
//! * what comes to a port that is closed is dropped and counted (`stale_frames`): hosts ask again, and
//!   nothing that has waited there is done later;
//! * the other ports go on meanwhile, and nothing of theirs is dropped.

use super::replies::{Paces, Waiting};
use super::{RECEIVE_BUDGET, Worker, stale, view_of};
use crate::peers::{Parcel, room_for_others};
use crossbeam::channel::Sender;
use port::{Port, PortCounters, PortFacts, ReceivedFrame, TransmitError};
use shelf::shard::WorkerIndex;
use shelf::target::PortIndex;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// What is to be done with some ports, by their numbers.
#[derive(Debug)]
pub enum PortChange {
    /// Take them in, closed. Each has a number that has no port.
    Add(Vec<NewPort>, Sender<Result<(), String>>),
    /// Receive from them, and tell hosts that they are there.
    Open(Arc<[u8]>, Sender<()>),
    /// Receive no more.
    Close(Arc<[u8]>, Sender<()>),
    /// Tell whether nothing that came by them is under way.
    IsIdle(Arc<[u8]>, Sender<bool>),
    /// Give them up.
    TakeOut(Arc<[u8]>, Sender<Vec<Box<dyn Port>>>),
}

/// A port that is added, with the memory that it needs.
#[derive(Debug)]
pub struct NewPort {
    number: u8,
    /// Unless it is another worker's, to send by.
    port: Option<Box<dyn Port>>,
    facts: PortFacts,
    owner: WorkerIndex,
    alias: u8,
    waiting: Waiting,
    parcels: VecDeque<Parcel>,
}

impl NewPort {
    /// For a worker with so many commands, of so many workers.
    pub(crate) fn new(
        (number, alias): (u8, u8),
        port: Option<Box<dyn Port>>,
        (facts, owner): (&PortFacts, WorkerIndex),
        (commands, workers): (u16, u8),
        paces: &Paces,
    ) -> Self {
        Self {
            number,
            port,
            facts: facts.clone(),
            owner,
            alias,
            waiting: Waiting::new(commands, paces.of(facts)),
            parcels: room_for_others(commands, workers),
        }
    }
}

/// Whether frames are taken from a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gate {
    /// They are.
    Open,
    /// They are dropped.
    Closed,
    /// There is no port.
    Absent,
}

impl Worker {
    /// Does it, and tells what came of it. Nobody listens when the administration has given up waiting.
    pub(super) fn change_ports(&mut self, change: PortChange) {
        match change {
            PortChange::Add(new, answer) => drop(answer.try_send(self.add_ports(new))),
            PortChange::Open(ports, answer) => {
                self.open_ports(&ports);
                let _ = answer.try_send(());
            }
            PortChange::Close(ports, answer) => {
                for &port in &*ports {
                    if self.has_port(port) {
                        self.gates[usize::from(port)] = Gate::Closed;
                    }
                }
                let _ = answer.try_send(());
            }
            PortChange::IsIdle(ports, answer) => {
                // What others have handed over before they closed them.
                self.hear_peers(false);
                let is_idle = |port: &u8| !self.has_port(*port) || self.is_idle(*port);
                let is_idle = ports.iter().all(is_idle);
                let _ = answer.try_send(is_idle);
            }
            PortChange::TakeOut(ports, answer) => {
                let mut taken = Vec::new();
                for &port in &*ports {
                    if self.has_port(port) {
                        taken.push(self.take_out(port));
                    }
                }
                drop(answer.try_send(taken));
            }
        }
    }

    fn has_port(&self, number: u8) -> bool {
        let gate = self.gates.get(usize::from(number));
        gate.is_some_and(|gate| *gate != Gate::Absent)
    }

    fn add_ports(&mut self, new: Vec<NewPort>) -> Result<(), String> {
        let mut next = self.ports.len();
        for new in &new {
            let number = usize::from(new.number);
            let is_free = self.gates.get(number) == Some(&Gate::Absent) || number == next;
            let is_had = new.port.is_some() || self.peers.is_some();
            if !is_free || !is_had {
                return Err(format!("a worker cannot take a port as number {number}"));
            }
            next = next.max(number + 1);
        }
        for new in new {
            self.put_port(new);
        }
        self.wait_set.has_changed();
        Ok(())
    }

    fn put_port(&mut self, new: NewPort) {
        let (number, index) = (PortIndex(new.number), usize::from(new.number));
        let mut is_own = true;
        let mut port = new.port;
        if let Some(peers) = &mut self.peers {
            is_own = peers.own() == new.owner;
            let of = (&new.facts, new.owner);
            let remote = peers.put_port(number, of, new.alias, new.parcels);
            port.get_or_insert_with(|| Box::new(remote));
        }
        let Some(port) = port else {
            unreachable!("looked at before: a worker that is alone has all ports")
        };
        self.target.put_port(number, view_of(port.facts(), is_own));
        if index == self.ports.len() {
            self.ports.push(port);
            self.own_ports.push(is_own);
            self.waiting.push(new.waiting);
            self.errors_in_row.push(0);
            self.gates.push(Gate::Closed);
        } else {
            self.ports[index] = port;
            self.own_ports[index] = is_own;
            self.waiting[index] = new.waiting;
            self.errors_in_row[index] = 0;
            self.gates[index] = Gate::Closed;
        }
    }

    fn open_ports(&mut self, ports: &[u8]) {
        for &number in ports {
            let index = usize::from(number);
            if self.gates.get(index) != Some(&Gate::Closed) {
                continue;
            }
            let mut dropped = 0;
            while self.discard(index) && dropped < stale::QUEUED_MAX {
                dropped += RECEIVE_BUDGET;
            }
            let view = view_of(self.ports[index].facts(), self.own_ports[index]);
            self.target.put_port(PortIndex(number), view);
            self.gates[index] = Gate::Open;
        }
        self.target.advertise_all(&mut self.actions);
    }

    /// Drops what has come to a port that is not open; whether there was anything.
    #[cold]
    pub(super) fn discard(&mut self, index: usize) -> bool {
        let port = &mut self.ports[index];
        port.look();
        let frames = port.receive(RECEIVE_BUDGET, &mut |_| {});
        self.counted.stale_frames += frames as u64;
        frames > 0
    }

    fn is_idle(&self, number: u8) -> bool {
        let (index, port) = (usize::from(number), PortIndex(number));
        let others = self.peers.as_ref();
        self.waiting[index].is_empty()
            && !self.loans.has_of(port)
            && !self.target.has_commands_of(port)
            && !others.is_some_and(|peers| peers.has_waiting(port))
    }

    fn take_out(&mut self, number: u8) -> Box<dyn Port> {
        let (index, number) = (usize::from(number), PortIndex(number));
        self.wait_set.forget(&*self.ports[index]);
        self.drop_waiting_of(index);
        self.take_back_all(number);
        self.target.take_out_port(number);
        if let Some(peers) = &mut self.peers {
            peers.take_out_port(number);
        }
        self.own_ports[index] = false;
        self.errors_in_row[index] = 0;
        self.gates[index] = Gate::Absent;
        let absent = Box::new(AbsentPort::in_place_of(self.ports[index].facts()));
        std::mem::replace(&mut self.ports[index], absent)
    }

    /// By port, whether there is one.
    pub(super) fn ports_present(&self) -> Vec<bool> {
        let is_there = |gate: &Gate| *gate != Gate::Absent;
        self.gates.iter().map(is_there).collect()
    }
}

/// What a worker has in the place of a port that was taken out: nothing comes, and nothing leaves.
#[derive(Debug)]
struct AbsentPort(PortFacts);

impl AbsentPort {
    fn in_place_of(facts: &PortFacts) -> Self {
        Self(PortFacts {
            has_link: false,
            ..facts.clone()
        })
    }
}

impl Port for AbsentPort {
    fn facts(&self) -> &PortFacts {
        &self.0
    }

    fn receive(&mut self, _budget: usize, _sink: &mut dyn FnMut(&ReceivedFrame<'_>)) -> usize {
        0
    }

    fn transmit(&mut self, header: &[u8], payload: &[u8]) -> Result<(), TransmitError> {
        // It can never leave.
        Err(TransmitError::TooLong {
            len_bytes: header.len() + payload.len(),
            limit_bytes: 0,
        })
    }

    fn flush(&mut self) -> bool {
        false
    }

    fn refresh(&mut self) -> bool {
        false
    }

    fn take_error(&mut self) {}

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> PortCounters {
        PortCounters::default()
    }
}

//! The ports of all workers as the administration sees them, and how they are added and taken out.
//!
//! Invariants:
//! * all workers have a port, or none has; a port that cannot be had by all is had by none;
//! * an interface whose queues the workers share knows of every LUN that is attached before a frame is taken
//!   from it;
//! * one change at a time: whoever asks for them sees to that.

use crate::message::ToWorker;
use crate::peers::{PORTS_MAX, Queue, alias_of, owner_of, queues_of};
use crate::worker::{NewPort, Paces, PortChange};
use crate::workers::{WorkerHandle, Workers};
use crossbeam::channel::Sender;
use port::{Port, PortFacts, Spreader};
use shelf::admin::LunNumber;
use shelf::shard::WorkerIndex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long what came by a port may take to be answered and sent, before it is taken out: longer than a
/// busy drive takes, and than a queue of frames.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between two looks whether it is.
const PAUSE: Duration = Duration::from_millis(5);

/// For each worker its new ports, and the numbers of all.
type Dealt = (Vec<Vec<NewPort>>, Arc<[u8]>);

/// A port: the queue of an interface.
#[derive(Debug)]
struct Known {
    facts: PortFacts,
    is_there: bool,
}

/// All ports that there are or have been, by number.
#[derive(Debug)]
pub(crate) struct AllPorts {
    known: Vec<Known>,
    /// Of interfaces whose queues the workers share.
    pub(crate) spreaders: Vec<Spreader>,
    /// What these were told of the LUNs that are attached.
    spread: BTreeMap<LunNumber, u64>,
    commands: u16,
    workers: u8,
}

impl AllPorts {
    pub(crate) fn of(workers: &[WorkerHandle]) -> Self {
        let first = workers.first();
        let facts = first.map_or(&[][..], |first| &first.ports);
        let known = |facts: &PortFacts| Known {
            facts: facts.clone(),
            is_there: true,
        };
        Self {
            known: facts.iter().map(known).collect(),
            spreaders: Vec::new(),
            spread: BTreeMap::new(),
            commands: first.map_or(0, |first| first.commands),
            workers: u8::try_from(workers.len()).unwrap_or(u8::MAX),
        }
    }

    /// Tells the interfaces for whom frames of a LUN are from now on.
    pub(crate) fn spread(
        &mut self,
        lun: LunNumber,
        spread_sectors: Option<u64>,
    ) -> Result<(), String> {
        match spread_sectors {
            Some(sectors) => self.spread.insert(lun, sectors),
            None => self.spread.remove(&lun),
        };
        let mut spreaders = self.spreaders.iter();
        spreaders.try_for_each(|spreader| tell(spreader, lun, spread_sectors))
    }

    /// The number of a queue of an interface: the one that it had, or the next.
    fn number_of(&self, interface: &str, queue_index: u32) -> usize {
        let is_it = |known: &Known| {
            known.facts.interface == interface && known.facts.queue_index == queue_index
        };
        let of_interface = |known: &&Known| known.facts.interface == interface;
        let had = self.known.iter().position(is_it);
        // Queues that it had not are behind all, in their order.
        let queues_had = self.known.iter().filter(of_interface).count();
        let ahead = (queue_index as usize).saturating_sub(queues_had);
        had.unwrap_or(self.known.len() + ahead)
    }

    fn numbers_of(&self, interface: &str) -> Arc<[u8]> {
        let numbered = (0u8..).zip(&self.known);
        let present =
            numbered.filter(|(_, known)| known.is_there && known.facts.interface == interface);
        present.map(|(number, _)| number).collect()
    }

    /// For each worker what is to be added, and the numbers.
    fn deal_out(&mut self, mut queues: Vec<Queue>, paces: &Paces) -> Result<Dealt, String> {
        let mut numbers = Vec::new();
        for facts in queues.iter().filter_map(Queue::facts) {
            let number = self.number_of(&facts.interface, facts.queue_index);
            let free = u8::try_from(number).ok().filter(|_| number < PORTS_MAX);
            let Some(number) = free else {
                self.forget(&numbers);
                return Err(format!(
                    "there have been {PORTS_MAX} queues already: needs a restart"
                ));
            };
            numbers.push(number);
            let known = Known {
                facts,
                is_there: true,
            };
            let number = usize::from(number);
            if number == self.known.len() {
                self.known.push(known);
            } else {
                self.known[number] = known;
            }
        }
        let present = (0u8..).zip(&self.known).filter(|(_, known)| known.is_there);
        let present: Vec<(u8, &PortFacts)> = present
            .map(|(number, known)| (number, &known.facts))
            .collect();
        let mut of_workers = Vec::new();
        for own in (0..self.workers).map(WorkerIndex) {
            let new = numbers.iter().zip(&mut queues).map(|(&number, queue)| {
                let owner = owner_of(number, self.workers);
                let alias = alias_of(number, &present, (own, self.workers));
                let facts = &self.known[usize::from(number)].facts;
                NewPort::new(
                    (number, alias),
                    queue.take(own, owner),
                    (facts, owner),
                    (self.commands, self.workers),
                    paces,
                )
            });
            of_workers.push(new.collect());
        }
        Ok((of_workers, numbers.into()))
    }

    /// Interfaces that are new are told of all LUNs, and from now on of what changes.
    fn take_spreaders(&mut self, spreaders: Vec<Spreader>) -> Result<(), String> {
        for spreader in &spreaders {
            for (lun, sectors) in &self.spread {
                tell(spreader, *lun, Some(*sectors))?;
            }
        }
        self.spreaders.extend(spreaders);
        Ok(())
    }

    fn forget(&mut self, numbers: &[u8]) {
        for &number in numbers {
            self.known[usize::from(number)].is_there = false;
        }
    }
}

fn tell(spreader: &Spreader, lun: LunNumber, spread_sectors: Option<u64>) -> Result<(), String> {
    let told = spreader.set(lun.get(), spread_sectors);
    told.map_err(|error| {
        format!(
            "interface {} cannot be told how to spread LUN {lun}: {error}",
            spreader.interface()
        )
    })
}

impl Workers {
    /// Which worker has the queue of an interface, or would have it: over whose memory it is to be opened.
    #[must_use]
    pub fn owner_of_queue(&self, interface: &str, queue_index: u32) -> usize {
        let ports = self.all_ports();
        ports.number_of(interface, queue_index) % usize::from(ports.workers.max(1))
    }

    /// How many interfaces there are ports of.
    #[must_use]
    pub fn interfaces(&self) -> usize {
        let ports = self.all_ports();
        let present = ports.known.iter().filter(|known| known.is_there);
        let mut names: Vec<&str> = present.map(|known| &*known.facts.interface).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    }

    /// Gives the workers the ports of an interface of which they have none, as [`port::open_as`] gave them:
    /// all of them, or none.
    ///
    /// # Errors
    /// What a worker said, or that there are too many.
    pub fn add_ports(&self, ports: Vec<Box<dyn Port>>, paces: &Paces) -> Result<(), String> {
        let spreaders: Vec<Spreader> = ports.iter().filter_map(|port| port.spreader()).collect();
        let (of_workers, numbers) = {
            let mut all = self.all_ports();
            let queues = queues_of(ports, all.workers);
            all.deal_out(queues, paces)?
        };
        let added = self
            .add_to_all(of_workers)
            .and_then(|()| self.all_ports().take_spreaders(spreaders));
        if let Err(reason) = added {
            drop(self.change_ports(&numbers, PortChange::TakeOut));
            self.all_ports().forget(&numbers);
            return Err(reason);
        }
        self.change_ports(&numbers, PortChange::Open).map(drop)
    }

    fn add_to_all(&self, of_workers: Vec<Vec<NewPort>>) -> Result<(), String> {
        let workers = self.lock();
        for (worker, new) in workers.iter().zip(of_workers) {
            let added = worker.ask(|sender| ToWorker::ChangePorts(PortChange::Add(new, sender)));
            added.unwrap_or_else(|| Err(SILENT.to_owned()))?;
        }
        Ok(())
    }

    /// Takes the ports of an interface from the workers, when all that came by it is answered; at once, after
    /// a while, where the interface `is_gone`. The ports are closed when this returns.
    ///
    /// # Errors
    /// Something that came by it is still not answered and sent: then it goes on as before, but for frames
    /// that came meanwhile. Or a worker does not answer.
    pub fn remove_ports(&self, interface: &str, is_gone: bool) -> Result<(), String> {
        // Not locked meanwhile: what is under way may wait for a LUN to be attached anew.
        let numbers = self.all_ports().numbers_of(interface);
        self.change_ports(&numbers, PortChange::Close)?;
        let deadline = Instant::now() + PATIENCE;
        let is_idle = || -> Result<bool, String> {
            let idle = self.change_ports(&numbers, PortChange::IsIdle)?;
            Ok(idle.into_iter().all(|is_idle| is_idle))
        };
        while !is_idle()? {
            if Instant::now() >= deadline {
                if is_gone {
                    break;
                }
                self.change_ports(&numbers, PortChange::Open)?;
                let seconds = PATIENCE.as_secs();
                return Err(format!(
                    "what came by it is not answered and sent within {seconds} s: reload once more"
                ));
            }
            sleep(PAUSE);
        }
        let ports = self.change_ports(&numbers, PortChange::TakeOut)?;
        let mut all = self.all_ports();
        all.spreaders
            .retain(|spreader| spreader.interface() != interface);
        all.forget(&numbers);
        drop(all);
        drop(ports);
        Ok(())
    }

    fn change_ports<T>(
        &self,
        numbers: &Arc<[u8]>,
        change: impl Fn(Arc<[u8]>, Sender<T>) -> PortChange,
    ) -> Result<Vec<T>, String> {
        let workers = self.lock();
        let ask = |worker: &WorkerHandle| {
            let answer =
                worker.ask(|sender| ToWorker::ChangePorts(change(Arc::clone(numbers), sender)));
            answer.ok_or_else(|| SILENT.to_owned())
        };
        workers.iter().map(ask).collect()
    }
}

/// Whoever asked a worker, and waits no longer.
const SILENT: &str = "a worker does not answer";

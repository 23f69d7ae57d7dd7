//! What a worker hears and says.

use super::Worker;
use crate::message::{EngineCounters, FromWorker, Question, ToWorker, WorkerReport};
use aoe::MacAddress;
use crossbeam::channel::TrySendError;
use disk::{NewDrive, Removal};
use shelf::admin::{DriveSlot, LunNumber};
use shelf::observe::WorkerLoad;
use shelf::plane::{Impostor, RunningPass};
use shelf::target::{Change, PortIndex};
use std::time::{Duration, Instant};

/// Config changes that may wait for the administration. More are dropped: the initiator asks again,
/// and whoever floods us gets no memory for it.
const CONFIGS_UNDECIDED_MAX: usize = 16;

/// Foreign answers that are told of between two probes. More are the same trouble, or a flood.
const IMPOSTORS_MAX: usize = 256;

/// How long a worker that ends waits for ports that take nothing.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

impl Worker {
    /// Takes messages from the administration.
    pub(super) fn listen(&mut self) -> bool {
        let mut any = false;
        // In nearly every turn there is none: a look at two counters, without a fence.
        while !self.inbox.is_empty()
            && let Ok(message) = self.inbox.try_recv()
        {
            any = true;
            match message {
                ToWorker::Attach(view) => {
                    // What came before is not answered by a LUN that was not there yet.
                    if view.online && !self.target.serves(view.lun) {
                        self.receive_queued();
                    }
                    self.target.attach(view, &mut self.actions);
                    self.note_passes();
                }
                ToWorker::Detach(lun) => self.target.detach(lun, &mut self.actions),
                ToWorker::Probe(shelf, luns) => {
                    self.impostors.clear();
                    for &lun in &*luns {
                        self.target.probe(shelf, lun, &mut self.actions);
                        self.carry_out();
                    }
                }
                ToWorker::Impostors(answer) => drop(answer.try_send(self.impostors.clone())),
                ToWorker::Advertise(lun) => self.target.advertise(lun, &mut self.actions),
                ToWorker::ChangeDone(change, decision) => {
                    self.configs_undecided = self.configs_undecided.saturating_sub(1);
                    self.target
                        .change_done(&change, decision, &mut self.actions);
                }
                ToWorker::RegionsReady {
                    lun,
                    part,
                    regions,
                    ready,
                } => {
                    let actions = &mut self.actions;
                    self.target
                        .regions_ready(lun, part, regions, ready, actions);
                }
                ToWorker::TakeIdleRegions {
                    lun,
                    part,
                    candidates,
                    answer,
                } => {
                    // Nobody listens when the administration has given up waiting: then they are asked
                    // for again.
                    drop(answer.try_send(self.target.take_idle_regions(lun, part, &candidates)));
                }
                ToWorker::AddDrive(new, to) => drop(to.try_send(self.add_drive(*new))),
                ToWorker::RemoveDrive(slot, to) => drop(to.try_send(self.remove_drive(slot))),
                ToWorker::DriveHealth(drive, answer) => {
                    // Nobody listens when the administration has given up waiting.
                    let _ = answer.try_send(self.patience.health(drive));
                }
                ToWorker::RateLimit(limit) => self.target.set_rate_limit(limit),
                ToWorker::BadBlocks(drive, ranges) => self.target.set_bad_sectors(drive, ranges),
                ToWorker::BadSectorsSettled(ticket, ok) => {
                    self.target
                        .bad_sectors_settled(ticket, ok, &mut self.actions);
                }
                ToWorker::ChangePorts(change) => self.change_ports(change),
                ToWorker::Ask(question) => self.answer(question),
                ToWorker::Stop => self.stopping = Some(Instant::now() + STOP_PATIENCE),
            }
            self.carry_out();
        }
        if self
            .stopping
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            self.drop_waiting();
        }
        any
    }

    fn add_drive(&mut self, new: NewDrive) -> Result<(), String> {
        let (slot, kind) = (new.slot(), new.drive().kind());
        self.executor.add(new).map_err(|error| error.to_string())?;
        self.patience.add(slot, kind);
        self.target.set_suspect(slot, false);
        Ok(())
    }

    fn remove_drive(&mut self, slot: DriveSlot) -> Result<Removal, String> {
        let removal = self.executor.remove(slot);
        let removal = removal.map_err(|error| error.to_string())?;
        if matches!(removal, Removal::Done(_)) {
            self.patience.remove(slot);
        }
        Ok(removal)
    }

    /// Tells what was measured.
    fn answer(&mut self, question: Question) {
        match question {
            Question::Report(answer) => drop(answer.try_send(self.report())),
            Question::LunStatistics(lun, seconds, answer) => {
                let statistics = self.target.lun_statistics(lun, seconds);
                drop(answer.try_send(statistics.map(Box::new)));
            }
            Question::ShutOut(lun, answer) => {
                let _ = answer.try_send(self.target.does_for_shut_out(lun));
            }
            Question::DriveLoad(drive, seconds, answer) => {
                let rates = self.patience.rates(drive, seconds);
                let _ = answer.try_send((rates, self.patience.busy_ns(drive)));
            }
            Question::LunRates(from, seconds, answer) => {
                drop(answer.try_send(self.target.rates_page(from, seconds)));
            }
            Question::Stations(from, answer) => {
                drop(answer.try_send(self.target.station_page(from)));
            }
        }
    }

    /// Another station answers for a LUN of ours.
    pub(super) fn note_impostor(&mut self, lun: LunNumber, port: PortIndex, mac: MacAddress) {
        let facts = self.ports[usize::from(port.0)].facts();
        let impostor = Impostor {
            lun,
            interface: facts.interface.clone(),
            mac,
        };
        if self.impostors.len() < IMPOSTORS_MAX {
            self.impostors.push(impostor.clone());
            self.unsaid.push_back(FromWorker::Impostor(impostor));
        }
    }

    /// Hands a config change to the administration, unless too many are there already.
    pub(super) fn forward(&mut self, change: Change) {
        if self.configs_undecided >= CONFIGS_UNDECIDED_MAX {
            self.counted.configs_dropped += 1;
            return;
        }
        self.configs_undecided += 1;
        self.unsaid.push_back(FromWorker::Change(Box::new(change)));
    }

    /// Says what there is room for; false when nobody listens any more.
    pub(super) fn say(&mut self) -> bool {
        while let Some(message) = self.unsaid.pop_front() {
            match self.outbox.events.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => {
                    self.unsaid.push_front(message);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.unsaid.clear();
                    self.stopping.get_or_insert_with(Instant::now);
                    return false;
                }
            }
        }
        true
    }

    /// Remembers when passes began that were not there before.
    fn note_passes(&mut self) {
        let running = self.target.sync_progress();
        let is = |known: &(LunNumber, u64, Instant), lun, pass| (known.0, known.1) == (lun, pass);
        self.passes
            .retain(|known| running.iter().any(|pass| is(known, pass.lun, pass.pass)));
        for pass in running {
            if !self
                .passes
                .iter()
                .any(|known| is(known, pass.lun, pass.pass))
            {
                self.passes.push((pass.lun, pass.pass, Instant::now()));
            }
        }
    }

    fn running_passes(&self) -> Vec<RunningPass> {
        let running = self.target.sync_progress().into_iter().map(|progress| {
            let same = |known: &&(LunNumber, u64, Instant)| {
                (known.0, known.1) == (progress.lun, progress.pass)
            };
            let began = self.passes.iter().find(same).map(|known| known.2);
            let elapsed = began.map_or(Duration::ZERO, |began| began.elapsed());
            RunningPass { progress, elapsed }
        });
        running.collect()
    }

    /// What its time went to until this turn, and what it did in it.
    fn load(&self) -> WorkerLoad {
        let counters = self.target.counters();
        WorkerLoad {
            index: self.index,
            working_ns: self.spent.working_ns(),
            polling_ns: self.spent.polling_ns(),
            sleeping_ns: self.spent.sleeping_ns(),
            sleeps: self.counted.sleeps,
            frames: counters.frames,
            commands: counters.reads
                + counters.writes
                + counters.flushes
                + counters.trims
                + counters.identifies,
            slots_used: self.target.commands_in_flight(),
            slots: self.target.command_slots(),
        }
    }

    fn report(&mut self) -> WorkerReport {
        WorkerReport {
            target: *self.target.counters(),
            engine: EngineCounters {
                polled_ios: self.executor.polled_ios(),
                handed_over: self.peers.as_ref().map_or(0, |peers| peers.handed_over),
                handovers_dropped: self.peers.as_ref().map_or(0, |peers| peers.dropped),
                ..self.counted
            },
            patience: *self.patience.counters(),
            ports: self
                .ports
                .iter()
                .map(|port| (port.facts().clone(), port.counters()))
                .collect(),
            own_ports: self.own_ports.clone(),
            ports_present: self.ports_present(),
            port_tallies: self.target.port_tallies(),
            passes: self.running_passes(),
            commands_in_flight: self.target.commands_in_flight(),
            ios_in_flight: self.executor.in_flight(),
            load: self.load(),
        }
    }
}

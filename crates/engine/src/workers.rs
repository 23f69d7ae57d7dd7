//! All workers as the administration sees them.

use crate::all_ports::AllPorts;
use crate::message::{FromWorker, Question, ToWorker, WorkerReport};
use crate::ports;
use crate::wake::Wake;
use aoe::{MacAddress, Shelf};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use disk::{Drive, NewDrive, Removal};
use port::{PortFacts, Spreader};
use raid::bad_blocks::BadRange;
use raid::regions::RegionSet;
use shelf::admin::{DriveSlot, LunNumber};
use shelf::observe::{DriveLoad, Initiator, Initiators, Observe, PortStatistics, WorkerLoad};
use shelf::patience::DriveHealth;
use shelf::plane::{CounterGroup, DataPlane, Detached, Impostor, LunView, RateLimit, RunningPass};
use shelf::shard::spread_sectors;
use shelf::statistics::{ForgottenStations, LunStatistics, Rates, StationStatistics};
use shelf::target::{Change, ChangeDecision, MendTicket, Wish};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a worker may take to settle a change: longer than any drive may take for an I/O.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the workers may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a worker may take to answer a question.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long another shelf may take to answer a probe.
const PROBE_WAIT: Duration = Duration::from_millis(250);

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    pub(crate) to_worker: Sender<ToWorker>,
    pub(crate) events: Receiver<FromWorker>,
    pub(crate) settled: Receiver<(LunNumber, Detached)>,
    pub(crate) wake: Wake,
    pub(crate) heartbeat: Arc<AtomicU64>,
    pub(crate) thread: JoinHandle<()>,
    /// The ports of its start, and its command slots.
    pub(crate) ports: Vec<PortFacts>,
    pub(crate) commands: u16,
}

impl WorkerHandle {
    fn say(&self, message: ToWorker) -> Result<(), String> {
        self.to_worker
            .send_timeout(message, SETTLE_TIMEOUT)
            .map_err(|_| "a worker takes no messages any more".to_owned())?;
        self.wake.ring();
        Ok(())
    }

    fn wait_settled(&self, lun: LunNumber, deadline: Instant) -> Result<Detached, String> {
        loop {
            match self.settled.recv_deadline(deadline) {
                Ok((settled, detached)) if settled == lun => return Ok(detached),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "a drive of LUN {lun} does not answer: I/O is still in flight"
                    ));
                }
                Err(RecvTimeoutError::Disconnected) => return Err("a worker has ended".to_owned()),
            }
        }
    }
}

/// What tells whether the workers take turns, without asking any of them.
#[derive(Clone, Debug)]
pub struct Heartbeats(Vec<Arc<AtomicU64>>);

impl Heartbeats {
    /// A number for each worker, that grows at least ten times a second while it sleeps, and with every few
    /// thousand turns while it is busy. It stays when the worker hangs, or has ended.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        let count = |heartbeat: &Arc<AtomicU64>| heartbeat.load(Ordering::Relaxed);
        self.0.iter().map(count).collect()
    }
}

/// All workers. Clones speak to the same ones.
#[derive(Clone, Debug)]
pub struct Workers {
    workers: Arc<Mutex<Vec<WorkerHandle>>>,
    /// Their ports. Locked before the workers are.
    ports: Arc<Mutex<AllPorts>>,
}

impl Workers {
    /// Takes charge of running workers, which all have the same ports.
    #[must_use]
    pub fn new(workers: Vec<WorkerHandle>) -> Self {
        let ports = AllPorts::of(&workers);
        Self {
            workers: Arc::new(Mutex::new(workers)),
            ports: Arc::new(Mutex::new(ports)),
        }
    }

    /// The same, who share the receive queues of some interfaces.
    #[must_use]
    pub fn spreading_by(self, spreaders: Vec<Spreader>) -> Self {
        self.all_ports().spreaders = spreaders;
        self
    }

    /// Tells the interfaces for whom frames of a LUN are from now on.
    fn spread(&self, lun: LunNumber, spread_sectors: Option<u64>) -> Result<(), String> {
        self.all_ports().spread(lun, spread_sectors)
    }

    pub(crate) fn all_ports(&self) -> MutexGuard<'_, AllPorts> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<WorkerHandle>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether they take turns; to look at it waits for nobody.
    #[must_use]
    pub fn heartbeats(&self) -> Heartbeats {
        let workers = self.lock();
        let of_each = workers.iter().map(|worker| Arc::clone(&worker.heartbeat));
        Heartbeats(of_each.collect())
    }

    /// What to receive the events of each worker from.
    #[must_use]
    pub fn event_receivers(&self) -> Vec<Receiver<FromWorker>> {
        self.lock()
            .iter()
            .map(|worker| worker.events.clone())
            .collect()
    }

    /// Answers a config change on the worker that asked, by its place in [`Workers::event_receivers`]. A
    /// reservation is not answered while another worker does something for those that it shuts out: the
    /// initiator asks again.
    pub fn change_done(&self, worker: usize, change: &Change, decision: ChangeDecision) {
        let is_of_reservation = matches!(change.wish, Wish::Reserve { .. } | Wish::Keyed(_));
        let is_awaited = is_of_reservation && self.others_serve_shut_out(worker, change.lun);
        let decision = if is_awaited {
            ChangeDecision::Silence
        } else {
            decision
        };
        let message = ToWorker::ChangeDone(Box::new(change.clone()), decision);
        let said = self.lock().get(worker).map(|worker| worker.say(message));
        if let Some(Err(error)) = said {
            tracing::error!("config reply: {error}");
        }
    }

    /// Whether a worker other than this one does, or may do, something for who a reservation shuts out.
    fn others_serve_shut_out(&self, worker: usize, lun: LunNumber) -> bool {
        let workers = self.lock();
        let mut others = workers.iter().enumerate().filter(|other| other.0 != worker);
        others.any(|(_, other)| {
            let answer = other.ask(|sender| ToWorker::Ask(Question::ShutOut(lun, sender)));
            answer.unwrap_or(true)
        })
    }

    /// The counters of every worker that answers.
    #[must_use]
    pub fn reports(&self) -> Vec<WorkerReport> {
        self.ask(|sender| ToWorker::Ask(Question::Report(sender)))
    }

    /// Stops every worker after what is in flight, and waits for them.
    pub fn stop(&self) {
        let workers: Vec<_> = self.lock().drain(..).collect();
        for worker in &workers {
            drop(worker.say(ToWorker::Stop));
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        for worker in workers {
            // Keep its channel empty while it drains.
            while !worker.thread.is_finished() && Instant::now() < deadline {
                drop(worker.events.recv_timeout(Duration::from_millis(5)));
            }
            if !worker.thread.is_finished() {
                tracing::error!("a worker does not end: a drive does not answer");
            } else if worker.thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }

    fn change(&self, lun: LunNumber, message: impl Fn() -> ToWorker) -> Result<Detached, String> {
        let workers = self.lock();
        for worker in workers.iter() {
            // Answers to a change that was given up.
            while worker.settled.try_recv().is_ok() {}
            worker.say(message())?;
        }
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        let mut detached = Detached::default();
        for worker in workers.iter() {
            let own = worker.wait_settled(lun, deadline)?;
            detached.mirrors_differ |= own.mirrors_differ;
            detached.is_log_pending |= own.is_log_pending;
        }
        Ok(detached)
    }
}

impl WorkerHandle {
    /// Asks; `None` when there is no answer in time.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> ToWorker) -> Option<T> {
        let (sender, receiver) = bounded(1);
        self.say(question(sender)).ok()?;
        receiver.recv_timeout(REPORT_TIMEOUT).ok()
    }

    /// What the LUNs did that it knows, page by page; nothing when it does not answer.
    fn lun_rates(&self, seconds: u64) -> Vec<(LunNumber, Rates)> {
        let (mut rates, mut next) = (Vec::new(), LunNumber::new(0));
        while let Some(from) = next {
            let page = self.ask(|sender| ToWorker::Ask(Question::LunRates(from, seconds, sender)));
            let Some(page) = page else {
                return Vec::new();
            };
            rates.extend(page.luns);
            next = page.next;
        }
        rates
    }

    /// The initiators that it knows, page by page, so that it is never long away from its ports.
    fn initiators(&self) -> Option<Initiators> {
        let ports = self
            .ask(|sender| ToWorker::Ask(Question::Report(sender)))?
            .ports;
        let (mut initiators, mut next) = (Initiators::default(), Some(0));
        while let Some(from) = next {
            let page = self.ask(|sender| ToWorker::Ask(Question::Stations(from, sender)))?;
            let with_port = |statistics: StationStatistics| {
                let port = ports.get(usize::from(statistics.port.0));
                let interface = port.map(|(facts, _)| facts.interface.clone());
                Initiator {
                    interface: interface.unwrap_or_default(),
                    statistics,
                }
            };
            initiators
                .known
                .extend(page.stations.into_iter().map(with_port));
            (next, initiators.forgotten) = (page.next, page.forgotten);
        }
        Some(initiators)
    }
}

impl Workers {
    /// Gives every worker a drive in a slot that none of them has one in; all of them, or none.
    ///
    /// # Errors
    /// What a worker said.
    pub fn add_drive(&self, slot: DriveSlot, drive: &Arc<Drive>) -> Result<(), String> {
        let workers = self.lock();
        for (index, worker) in workers.iter().enumerate() {
            let new = Box::new(NewDrive::new(slot, Arc::clone(drive)));
            let added = worker.ask(|sender| ToWorker::AddDrive(new, sender));
            let added = added.unwrap_or_else(|| Err("a worker does not answer".to_owned()));
            if let Err(reason) = added {
                // Nothing was asked of it yet. Whoever did not answer may have it.
                for worker in &workers[..=index] {
                    drop(worker.ask(|sender| ToWorker::RemoveDrive(slot, sender)));
                }
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Has every worker give up the drive of a slot. False when I/O on it goes on: then it is to be asked
    /// again.
    ///
    /// # Errors
    /// What a worker said.
    pub fn remove_drive(&self, slot: DriveSlot) -> Result<bool, String> {
        let mut is_gone = true;
        for worker in self.lock().iter() {
            let removal = worker.ask(|sender| ToWorker::RemoveDrive(slot, sender));
            let removal = removal.ok_or("a worker does not answer")??;
            is_gone &= matches!(removal, Removal::Done(_));
        }
        Ok(is_gone)
    }

    /// Asks every worker; whoever does not answer in time is left out.
    fn ask<T>(&self, question: impl Fn(Sender<T>) -> ToWorker) -> Vec<T> {
        let workers = self.lock();
        let answers = workers.iter().map(|worker| worker.ask(&question));
        answers.flatten().collect()
    }
}

impl Observe for Workers {
    fn lun_statistics(&self, lun: LunNumber, seconds: u64) -> Option<LunStatistics> {
        let answers =
            self.ask(|sender| ToWorker::Ask(Question::LunStatistics(lun, seconds, sender)));
        let all = answers.into_iter().flatten();
        all.reduce(|mut sum, other| {
            sum.add(&other);
            sum
        })
        .map(|sum| *sum)
    }

    fn lun_rates(&self, seconds: u64) -> Vec<(LunNumber, Rates)> {
        let mut sums: BTreeMap<LunNumber, Rates> = BTreeMap::new();
        for worker in self.lock().iter() {
            for (lun, rates) in worker.lun_rates(seconds) {
                sums.entry(lun).or_default().add(&rates);
            }
        }
        sums.into_iter().collect()
    }

    fn drive_load(&self, drive: DriveSlot, seconds: u64) -> DriveLoad {
        let mut load = DriveLoad::default();
        for (rates, busy_ns) in
            self.ask(|sender| ToWorker::Ask(Question::DriveLoad(drive, seconds, sender)))
        {
            load.rates.add(&rates);
            load.busy_ns.push(busy_ns);
        }
        load
    }

    fn workers(&self) -> Vec<WorkerLoad> {
        let reports = self.reports().into_iter();
        reports.map(|report| report.load).collect()
    }

    fn port_statistics(&self) -> Vec<PortStatistics> {
        ports::statistics(&self.reports())
    }

    fn initiators(&self) -> Initiators {
        let mut known: BTreeMap<MacAddress, Initiator> = BTreeMap::new();
        let mut forgotten = ForgottenStations::default();
        for initiators in self.lock().iter().filter_map(WorkerHandle::initiators) {
            forgotten.add(&initiators.forgotten);
            for initiator in initiators.known {
                match known.entry(initiator.statistics.mac) {
                    Entry::Vacant(entry) => {
                        entry.insert(initiator);
                    }
                    Entry::Occupied(mut entry) => entry.get_mut().add(initiator),
                }
            }
        }
        Initiators {
            known: known.into_values().collect(),
            forgotten,
        }
    }
}

impl DataPlane for Workers {
    /// Frames find their receivers before a worker serves the LUN, and for as long as one does. Where a part
    /// was added, its frames may be dropped until all of them know of it.
    fn attach(&mut self, view: Arc<LunView>) -> Result<(), String> {
        self.spread(view.lun, Some(spread_sectors(&view)))?;
        self.change(view.lun, || ToWorker::Attach(Arc::clone(&view)))
            .map(|_| ())
    }

    fn detach(&mut self, lun: LunNumber) -> Result<Detached, String> {
        let detached = self.change(lun, || ToWorker::Detach(lun))?;
        self.spread(lun, None)?;
        Ok(detached)
    }

    fn regions_ready(
        &mut self,
        lun: LunNumber,
        part: u8,
        regions: Range<u32>,
        ready: bool,
    ) -> Result<(), String> {
        for worker in self.lock().iter() {
            worker.say(ToWorker::RegionsReady {
                lun,
                part,
                regions: regions.clone(),
                ready,
            })?;
        }
        Ok(())
    }

    fn take_idle_regions(
        &mut self,
        lun: LunNumber,
        part: u8,
        candidates: Arc<RegionSet>,
    ) -> Result<RegionSet, String> {
        let mut idle = (*candidates).clone();
        for worker in self.lock().iter() {
            let (answer, receiver) = bounded(1);
            let candidates = Arc::clone(&candidates);
            worker.say(ToWorker::TakeIdleRegions {
                lun,
                part,
                candidates,
                answer,
            })?;
            let own = receiver
                .recv_timeout(REPORT_TIMEOUT)
                .map_err(|_| "a worker does not answer".to_owned())?;
            // What another worker writes stays; this one asks for it again when it writes it.
            idle.retain_all(&own);
        }
        Ok(idle)
    }

    fn set_bad_blocks(&mut self, drive: DriveSlot, ranges: Arc<[BadRange]>) -> Result<(), String> {
        for worker in self.lock().iter() {
            worker.say(ToWorker::BadBlocks(drive, Arc::clone(&ranges)))?;
        }
        Ok(())
    }

    fn bad_sectors_settled(&mut self, ticket: MendTicket, ok: bool) -> Result<(), String> {
        for worker in self.lock().iter() {
            worker.say(ToWorker::BadSectorsSettled(ticket, ok))?;
        }
        Ok(())
    }

    fn set_rate_limit(&mut self, limit: RateLimit) -> Result<(), String> {
        for worker in self.lock().iter() {
            worker.say(ToWorker::RateLimit(limit))?;
        }
        Ok(())
    }

    fn drive_health(&self, drive: DriveSlot) -> Result<DriveHealth, String> {
        let mut health = DriveHealth::default();
        for worker in self.lock().iter() {
            let (answer, receiver) = bounded(1);
            worker.say(ToWorker::DriveHealth(drive, answer))?;
            let own = receiver
                .recv_timeout(REPORT_TIMEOUT)
                .map_err(|_| "a worker does not answer".to_owned())?;
            health.is_suspect |= own.is_suspect;
            health.abandoned_ios += own.abandoned_ios;
            health.oldest_ns = health.oldest_ns.max(own.oldest_ns);
        }
        Ok(health)
    }

    fn advertise(&mut self, lun: LunNumber) {
        for worker in self.lock().iter() {
            if let Err(error) = worker.say(ToWorker::Advertise(lun)) {
                tracing::error!("advertisement of LUN {lun}: {error}");
            }
        }
    }

    fn probe(&mut self, shelf: Shelf, luns: &[LunNumber]) {
        let luns: Arc<[LunNumber]> = luns.into();
        for worker in self.lock().iter() {
            if let Err(error) = worker.say(ToWorker::Probe(shelf, Arc::clone(&luns))) {
                tracing::error!("probe for other shelves: {error}");
            }
        }
    }

    fn find_impostors(&mut self, shelf: Shelf, luns: &[LunNumber]) -> Vec<Impostor> {
        self.probe(shelf, luns);
        std::thread::sleep(PROBE_WAIT);
        self.ask(ToWorker::Impostors)
            .into_iter()
            .flatten()
            .collect()
    }

    fn passes(&self) -> Vec<RunningPass> {
        self.reports()
            .into_iter()
            .flat_map(|report| report.passes)
            .collect()
    }

    fn counters(&self) -> Vec<CounterGroup> {
        let mut sums: Vec<CounterGroup> = Vec::new();
        for group in self.reports().iter().flat_map(WorkerReport::groups) {
            match sums.iter_mut().find(|sum| sum.name == group.name) {
                Some(sum) => {
                    let rows = sum.counters.iter_mut().zip(group.counters);
                    rows.for_each(|((_, sum), (_, more))| *sum += more);
                }
                None => sums.push(group),
            }
        }
        sums
    }
}

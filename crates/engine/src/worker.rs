//! The loop of a worker: receive → admit → submit → complete → reply → flush, then sleep if idle.

mod handover;
mod idle;
mod loans;
mod messages;
mod patience;
mod port_changes;
mod replies;
mod stale;
mod unreached;
mod wait_set;

pub use idle::Spin;
pub use port_changes::{NewPort, PortChange};
pub use replies::Paces;

use handover::take_in;
use idle::{Idle, Spent, Turn};
use loans::Loans;
use port_changes::Gate;
use replies::Waiting;
use unreached::Unreached;
use wait_set::{PORT_ERRORS_MAX, SOURCES_MAX, Source, WaitSet, Watched};

use crate::message::{EngineCounters, FromWorker, ToWorker};
use crate::peers::{Peers, Seat};
use crate::wake::Wake;
use crate::workers::WorkerHandle;
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use disk::{DRIVE_SPIN, Drive, DriveRoom, Ending, Executor};
use port::{BufferMemory, Port, PortFacts, SharedMemory};
use rustix::event::Timespec;
use shelf::admin::{DriveSlot, LunNumber};
use shelf::patience::{Limits, Overdue, Patience};
use shelf::plane::{Detached, Impostor};
use shelf::target::{Action, BufferPlan, PortIndex, PortView, Target};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Frames taken from a port in one turn, so that one port cannot starve another.
const RECEIVE_BUDGET: usize = 64;

/// Longest sleep: a bound on what a lost wake-up could cost.
const SLEEP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How long drives with poll queues are polled without an answer; then once each [`PORT_RETRY`].
const POLLED_SPIN: Duration = Duration::from_millis(10);

/// Sleep while a port is full: nothing tells when it has room again.
const PORT_RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// How often ports are asked for their MTU and link.
const INTERFACE_INTERVAL: Duration = Duration::from_secs(1);

/// Turns between two looks at the clock while the worker is busy.
const TURNS_PER_LOOK: u32 = 1 << 12;

/// Pages for stripes: 32 MiB.
const PAGES: u16 = 4096;

/// Buffers for records of the redo log: 8 MiB.
const RECORDS: u16 = 64;

/// The buffers of a worker with so many commands.
const fn plan(commands: u16) -> BufferPlan {
    BufferPlan {
        commands,
        pages: PAGES,
        records: RECORDS,
    }
}

/// The memories of so many workers, with so many commands each: for [`spawn`], and for the ports that they
/// are to have ([`port::Opening::memory`]), whose receive queues they may share
/// ([`port::Opening::sharing`]).
///
/// # Errors
/// When the kernel gives no memory.
pub fn worker_memories(
    commands: u16,
    workers: u8,
) -> io::Result<Vec<(SharedMemory, BufferMemory)>> {
    SharedMemory::of_workers(Executor::buffer_bytes(plan(commands)), workers)
}

/// How a worker is set up.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Its index, for logs and thread name.
    pub index: usize,
    /// CPU to pin it to.
    pub core: Option<usize>,
    /// How long it polls without work before it sleeps.
    pub spin: Spin,
    /// Command slots: how many commands it holds at a time.
    pub commands: u16,
    /// How long drives may take.
    pub limits: Limits,
    /// How many drives there may be.
    pub room: DriveRoom,
    /// How fast replies are sent; the same for all workers of a shelf.
    pub paces: Paces,
    /// Called on its thread when it has all that it needs, before its first turn: it may give up rights that
    /// a worker has no use for. When it fails the worker does not start.
    pub prepare: fn() -> Result<(), String>,
}

/// The channels that a worker speaks into.
#[derive(Debug)]
struct Outbox {
    events: Sender<FromWorker>,
    settled: Sender<(LunNumber, Detached)>,
}

/// A worker on its own thread.
#[derive(Debug)]
pub struct Worker {
    /// Its number.
    index: usize,
    target: Target,
    executor: Executor,
    ports: Vec<Box<dyn Port>>,
    wait_set: WaitSet,
    /// Which of them are not another worker's.
    own_ports: Vec<bool>,
    /// For each port whether frames are taken from it.
    gates: Vec<Gate>,
    /// The other workers, if there are any.
    peers: Option<Peers>,
    inbox: Receiver<ToWorker>,
    outbox: Outbox,
    wake: Wake,
    /// What the target asked for and is not carried out yet; empty between stages.
    actions: Vec<Action>,
    /// For each port the replies that wait for room in it, or for their time.
    waiting: Vec<Waiting>,
    /// What ports send from the buffers.
    loans: Loans,
    /// For each port how often it reported an error since its last frame.
    errors_in_row: Vec<u32>,
    /// When to ask ports for their MTU and link again.
    interface_check: Instant,
    turns: u32,
    /// Grows as long as it takes turns: [`WorkerHandle::heartbeat`].
    heartbeat: Arc<AtomicU64>,
    /// What its clock counts from, as those of the other workers.
    epoch: Instant,
    /// The clock as it was looked at last: once in a turn, and once more when I/O has ended in it.
    now_ns: u64,
    idle: Idle,
    /// What its time goes to.
    spent: Spent,
    /// A port has not taken everything that was queued in it.
    port_is_full: bool,
    /// Messages that found no room in the channel, in order.
    unsaid: VecDeque<FromWorker>,
    /// Config changes that the administration has not decided.
    configs_undecided: usize,
    counted: EngineCounters,
    /// When the passes over mirrors began.
    passes: Vec<(LunNumber, u64, Instant)>,
    /// The watch over drives that are slow or hang.
    patience: Patience,
    /// What it found; empty between looks.
    overdue: Vec<Overdue>,
    unreached: Unreached,
    /// When to ask next which drives became slow.
    next_change_ns: u64,
    /// Stations that answered for addresses of ours since the last probe.
    impostors: Vec<Impostor>,
    /// When the last turn began.
    last_turn_ns: u64,
    /// Told to end, and when to give up on ports that take nothing.
    stopping: Option<Instant>,
}

/// Starts a worker over its memory ([`worker_memories`]). `pin` is called on its thread with the core to pin
/// it to.
///
/// # Errors
/// When the thread, its io_uring or its wait set cannot be made.
pub fn spawn(
    options: WorkerOptions,
    seat: Seat,
    memory: BufferMemory,
    drives: Vec<(DriveSlot, Arc<Drive>)>,
    pin: fn(usize) -> bool,
) -> Result<WorkerHandle, String> {
    let (to_worker, inbox) = bounded(64);
    let (events, event_receiver) = bounded(1024);
    let (settled, settled_receiver) = unbounded();
    let outbox = Outbox { events, settled };
    let wake = seat.wake.clone();
    let ports = seat.ports.iter().map(|port| port.facts().clone()).collect();
    let commands = options.commands;
    let (started, start) = bounded(1);
    let heartbeat = Arc::<AtomicU64>::default();
    let heart = Arc::clone(&heartbeat);
    let thread = thread::Builder::new()
        .name(format!("worker-{}", options.index))
        .spawn(move || {
            if let Some(core) = options.core
                && !pin(core)
            {
                tracing::warn!(
                    "worker {} could not be pinned to core {core}",
                    options.index
                );
            }
            // The io_uring must be made by the thread that uses it.
            let made = Worker::new(&options, (seat, memory), &drives, inbox, outbox);
            let made = made.and_then(|worker| (options.prepare)().map(|()| worker));
            match made {
                Ok(mut worker) => {
                    worker.heartbeat = heart;
                    // One that is pulled is to be closed.
                    drop(drives);
                    drop(started.send(Ok(())));
                    worker.run();
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })
        .map_err(|error| format!("thread: {error}"))?;
    start
        .recv()
        .map_err(|_| "the worker ended before it started".to_owned())??;
    Ok(WorkerHandle {
        to_worker,
        events: event_receiver,
        settled: settled_receiver,
        wake,
        heartbeat,
        thread,
        ports,
        commands,
    })
}

impl Worker {
    fn new(
        options: &WorkerOptions,
        (seat, memory): (Seat, BufferMemory),
        drives: &[(DriveSlot, Arc<Drive>)],
        inbox: Receiver<ToWorker>,
        outbox: Outbox,
    ) -> Result<Self, String> {
        let Seat {
            place,
            ports,
            own: own_ports,
            wake,
            peers,
        } = seat;
        let views = ports.iter().zip(&own_ports);
        let views: Vec<PortView> = views
            .map(|(port, is_own)| view_of(port.facts(), *is_own))
            .collect();
        let pacers = ports.iter().map(|port| options.paces.of(port.facts()));
        let waiting = pacers
            .map(|pacer| Waiting::new(options.commands, pacer))
            .collect();
        let plan = plan(options.commands);
        let executor = Executor::with_memory(drives, options.room, plan, Box::new(memory))
            .map_err(|error| error.to_string())?;
        let wait_set = WaitSet::new().map_err(|error| format!("epoll: {error}"))?;
        Ok(Self {
            index: options.index,
            target: Target::of_worker(&views, plan, place),
            executor,
            ports,
            wait_set,
            own_ports,
            gates: vec![Gate::Open; views.len()],
            peers,
            inbox,
            outbox,
            wake,
            actions: Vec::with_capacity(
                (7 + usize::from(place.workers)) * usize::from(options.commands),
            ),
            waiting,
            loans: Loans::new(options.commands),
            errors_in_row: vec![0; views.len()],
            port_is_full: false,
            interface_check: Instant::now() + INTERFACE_INTERVAL,
            turns: 0,
            heartbeat: Arc::default(),
            epoch: options.paces.epoch(),
            now_ns: 0,
            idle: Idle::new(options.spin),
            spent: Spent::new(),
            unsaid: VecDeque::new(),
            configs_undecided: 0,
            counted: EngineCounters::default(),
            passes: Vec::new(),
            patience: patience::watch(drives, options.room.slots, options.limits),
            overdue: Vec::with_capacity(patience::OVERDUE_MAX),
            unreached: Unreached::new(),
            next_change_ns: 0,
            impostors: Vec::new(),
            last_turn_ns: 0,
            stopping: None,
        })
    }

    /// Runs until it is told to stop and nothing is in flight, or its ring breaks.
    fn run(&mut self) {
        while !(self.stopping.is_some() && self.is_drained()) {
            match self.turn() {
                Ok(true) => {
                    self.spent.ended(Turn::Work);
                    self.idle.had_work();
                    let (set, watched) = self.wait_set();
                    set.stay_awake(watched);
                }
                Ok(false) if self.idle.had_none(self.last_turn_ns, self.drive_spin()) => {
                    self.spent.ended(Turn::Sleep);
                    self.sleep();
                }
                Ok(false) => {
                    self.spent.ended(Turn::None);
                    std::hint::spin_loop();
                }
                Err(error) => {
                    let text = format!("the io_uring of the worker failed: {error}");
                    self.unsaid.push_back(FromWorker::Broken(text));
                    while self.say() && !self.unsaid.is_empty() {
                        thread::sleep(Duration::from_millis(10));
                    }
                    return;
                }
            }
        }
        self.flush_ports();
    }

    /// How long it polls at least before the next sleep: longer while drives are about to answer, unless it
    /// is not to poll at all. Where nothing but polling finds the answer it always polls, until that is not
    /// worth a CPU.
    fn drive_spin(&self) -> Duration {
        if self.executor.is_polling() {
            POLLED_SPIN
        } else if self.executor.waits_for_drives() && self.idle.polls() {
            DRIVE_SPIN
        } else {
            Duration::ZERO
        }
    }

    /// Whether nothing is left to wait for. A worker that was told to end does not wait for the
    /// administration, nor for ports that take nothing, longer than a while; for the kernel, which
    /// may write its buffers, it always does.
    fn is_drained(&self) -> bool {
        let patience_is_over = self.stopping.is_some_and(|end| Instant::now() >= end);
        let heard_all = self
            .peers
            .as_ref()
            .is_none_or(|peers| peers.inbox_len() == 0);
        let answered = self.target.commands_in_flight() == 0 && self.all_sent() && heard_all;
        self.executor.in_flight() == 0 && self.unsaid.is_empty() && (answered || patience_is_over)
    }

    /// One turn of the loop; whether anything happened.
    fn turn(&mut self) -> io::Result<bool> {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(TURNS_PER_LOOK) {
            self.follow_interfaces();
        }
        let now_ns = self.tell_time();
        self.spent.add(now_ns - self.last_turn_ns);
        self.discard_after_pause(now_ns);
        let mut busy = self.listen();
        busy |= self.take_back_loans();
        busy |= self.send_waiting();
        busy |= self.hear_peers(false);
        busy |= self.complete();
        busy |= self.lose_patience();
        busy |= self.settle_unreached();
        let mut received = false;
        for index in 0..self.ports.len() {
            received |= self.receive(index);
        }
        busy |= received;
        busy |= self.stopping.is_none() && self.target.sync_step(&mut self.actions);
        busy |= self.advance(received)?;
        if busy || self.port_is_full || !self.loans.is_empty() {
            self.flush_ports();
        }
        self.ring_peers();
        self.say();
        // Replies that were sent may have let slices go on.
        Ok(busy || self.target.has_stripe_work() || self.is_pacing())
    }

    /// Goes on with what was begun; whether anything happened.
    fn advance(&mut self, received: bool) -> io::Result<bool> {
        let mut busy = self.work_on_stripes(received);
        self.carry_out();
        self.executor.kick()?;
        if self.executor.has_results() {
            // Else what ends in the turn in which it came would seem to take no time.
            self.tell_time();
        }
        busy |= self.complete();
        busy |= self.work_on_stripes(true);
        self.carry_out();
        Ok(busy)
    }

    /// Lets parts with parity go on, if there is anything to do for them.
    fn work_on_stripes(&mut self, received: bool) -> bool {
        if !self.target.has_stripe_work() {
            return false;
        }
        let (memory, out) = (&mut self.executor, &mut self.actions);
        self.target.stripe_step(self.now_ns, received, memory, out)
    }

    /// Looks at the clock, and tells those who want to know.
    fn tell_time(&mut self) -> u64 {
        let elapsed_ns = self.epoch.elapsed().as_nanos();
        self.now_ns = u64::try_from(elapsed_ns).unwrap_or(u64::MAX);
        self.patience.set_now(self.now_ns);
        self.target.set_now(self.now_ns);
        self.now_ns
    }

    /// Takes a batch of frames from a port and starts what they ask for.
    fn receive(&mut self, index: usize) -> bool {
        let Ok(number) = u8::try_from(index).map(PortIndex) else {
            return false;
        };
        if self.gates[index] != Gate::Open {
            return self.discard(index);
        }
        let Self {
            target,
            executor,
            ports,
            actions,
            peers,
            ..
        } = self;
        if let Some(peers) = peers {
            peers.look(target, number, &mut *ports[index]);
        }
        let frames = ports[index].receive(RECEIVE_BUDGET, &mut |frame| {
            let Some(peers) = peers else {
                return take_in(target, executor, number, frame, actions);
            };
            if !peers.pass_on(target, number, frame) {
                let before = actions.len();
                take_in(target, executor, number, frame, actions);
                peers.carry_from(actions, before);
            }
        });
        if let Some(peers) = peers {
            peers.taken_in(target);
        }
        self.carry_out();
        if frames > 0 {
            self.errors_in_row[index] = 0;
        }
        frames > 0
    }

    /// Takes finished I/O and starts what follows from it.
    fn complete(&mut self) -> bool {
        let mut any = false;
        while let Some(over) = self.executor.next_result() {
            any = true;
            self.patience.end(over.ticket);
            if over.ending == Ending::Unwanted {
                if let Some(peers) = &mut self.peers {
                    peers.landing_changed(&over.io, true);
                }
                continue;
            }
            if over.ending == Ending::Unreached && self.wait_for_news(&over.io) {
                continue;
            }
            let (io, ok) = (over.io, over.ending == Ending::Done);
            self.target.complete(&io, ok, &mut self.actions);
            self.carry_out();
        }
        while let Some((drive, zeroing)) = self.executor.next_fallback() {
            self.unsaid
                .push_back(FromWorker::ZeroingChanged { drive, zeroing });
        }
        any
    }

    fn carry_out(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        while !actions.is_empty() {
            self.carry_out_batch(&mut actions);
            // What follows from reads that failed without being sent.
            actions.append(&mut self.actions);
        }
        self.actions = actions;
    }

    fn carry_out_batch(&mut self, actions: &mut Vec<Action>) {
        for action in actions.drain(..) {
            match action {
                Action::Io(io) if self.target.reads_bad_sector(&io) => {
                    self.target.complete(&io, false, &mut self.actions);
                }
                Action::Io(io) => self.submit(io),
                Action::Reply(reply) => self.reply(reply),
                Action::Change(change) => self.forward(change),
                Action::Peer { to, message } => {
                    if let Some(peers) = &mut self.peers {
                        peers.carry(to, message);
                    }
                }
                Action::Impostor { lun, port, mac } => self.note_impostor(lun, port, mac),
                // Nobody listens any more when the administration has given up waiting.
                Action::Settled {
                    lun,
                    mirrors_differ,
                    is_log_pending,
                } => {
                    let _ = self.outbox.settled.send((
                        lun,
                        Detached {
                            mirrors_differ,
                            is_log_pending,
                        },
                    ));
                }
                Action::Report(report) => self.unsaid.push_back(FromWorker::Report(report)),
            }
        }
    }

    fn sleep(&mut self) {
        let falls_asleep = self.peers.as_ref().is_none_or(Peers::fall_asleep);
        if falls_asleep && !self.executor.has_results() && self.unsaid.is_empty() {
            let waiting = self.port_is_full
                || !self.all_sent()
                || !self.loans.is_empty()
                || self.target.waits_for_time()
                || self.executor.is_polling();
            let limit = if waiting { PORT_RETRY } else { SLEEP };
            let limit = self.until_overdue(limit);
            self.counted.sleeps += 1;
            let mut sources = [None; SOURCES_MAX];
            let (set, watched) = self.wait_set();
            if let Err(error) = set.sleep(watched, &limit, &mut sources) {
                tracing::error!("a worker cannot sleep: {error}");
            }
            for source in sources.into_iter().flatten() {
                match source {
                    Source::Messages => self.wake.clear(),
                    Source::Results => self.executor.woke(),
                    Source::Port { index, has_error } if has_error => self.port_error(index),
                    Source::Port { .. } => {}
                }
            }
        }
        if let Some(peers) = &self.peers {
            peers.woke();
        }
        self.follow_interfaces();
    }

    /// The wait set, and what it is to watch.
    fn wait_set(&mut self) -> (&mut WaitSet, Watched<'_>) {
        let watched = Watched {
            ports: &self.ports,
            errors_in_row: &self.errors_in_row,
            executor: &self.executor,
            wake: &self.wake,
        };
        (&mut self.wait_set, watched)
    }

    /// Follows the MTU and the link of interfaces: Sector Counts change with the MTU, and initiators are told
    /// of both, by all ports (conformance rows 30, 120). One that lost a path hears of those that are left.
    fn follow_interfaces(&mut self) {
        // Here, since it is called every so many turns and at each sleep, and costs a busy turn nothing.
        self.heartbeat.fetch_add(1, Ordering::Relaxed);
        if Instant::now() < self.interface_check {
            return;
        }
        self.interface_check = Instant::now() + INTERFACE_INTERVAL;
        let mut any = false;
        for (index, port) in (0u8..).zip(&mut self.ports) {
            if port.refresh() {
                any = true;
                let facts = port.facts();
                let is_own = self.own_ports[usize::from(index)];
                self.target
                    .set_port(PortIndex(index), view_of(facts, is_own));
                if let Some(peers) = self.peers.as_ref().filter(|_| is_own) {
                    peers.link_changed(PortIndex(index), facts);
                }
                if is_own && facts.queue_index == 0 {
                    self.unsaid.push_back(FromWorker::InterfaceChanged {
                        interface: facts.interface.clone(),
                        mtu_bytes: facts.mtu_bytes,
                        has_link: facts.has_link,
                    });
                }
            }
        }
        if any {
            self.target.advertise_all(&mut self.actions);
            self.carry_out();
            self.flush_ports();
        }
    }

    /// A port reports an error instead of frames: its link went down, or it is gone for good. The
    /// first is over when the error was taken; the second would end every sleep.
    #[cold]
    fn port_error(&mut self, index: usize) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        port.take_error();
        self.errors_in_row[index] += 1;
        if self.errors_in_row[index] == PORT_ERRORS_MAX {
            tracing::error!(
                "port {} is gone; it is no longer waited for",
                port.facts().interface
            );
            self.wait_set.forget(&**port);
            // Commands whose replies it had end: initiators ask again, by another port.
            self.drop_waiting_of(index);
            if let Ok(number) = u8::try_from(index) {
                self.take_back_all(PortIndex(number));
            }
        }
    }
}

/// A port as the target sees it.
fn view_of(facts: &PortFacts, is_own: bool) -> PortView {
    PortView {
        stations: facts.stations,
        mtu_bytes: facts.mtu_bytes,
        announces: is_own && facts.queue_index == 0,
        is_shared: facts.sharer.is_some(),
    }
}

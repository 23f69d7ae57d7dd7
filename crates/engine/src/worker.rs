//! The loop of a worker: receive → admit → submit → complete → reply → flush, then sleep if idle.

use crate::message::{FromWorker, ToWorker, WorkerReport};
use crate::wake::Wake;
use crate::workers::WorkerHandle;
use aoe::{ATA_FRAME_BYTES, SECTOR_BYTES};
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use disk::{Drive, Executor};
use port::{Port, TransmitError};
use rustix::event::{Timespec, epoll};
use shelf::admin::{DriveSlot, LunNumber};
use shelf::plane::{Detached, RunningPass};
use shelf::target::{Action, Body, PortIndex, PortView, Reply, Target};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Frames taken from a port in one turn, so that one port cannot starve another.
const RECEIVE_BUDGET: usize = 64;

/// Longest sleep: a bound on what a lost wake-up could cost.
const SLEEP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How a worker is set up.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Its index, for logs and thread name.
    pub index: usize,
    /// CPU to pin it to.
    pub core: Option<usize>,
    /// How long it polls without work before it sleeps.
    pub spin: Duration,
    /// Command slots: how many commands it holds at a time.
    pub commands: u16,
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
    target: Target,
    executor: Executor,
    ports: Vec<Box<dyn Port>>,
    epoll: rustix::fd::OwnedFd,
    inbox: Receiver<ToWorker>,
    outbox: Outbox,
    wake: Wake,
    /// What the target asked for and is not carried out yet; empty between stages.
    actions: Vec<Action>,
    /// Replies that found no room in their port, in order.
    unsent: VecDeque<Reply>,
    /// Messages that found no room in the channel, in order.
    unsaid: VecDeque<FromWorker>,
    transmit_waits: u64,
    /// When the passes over mirrors began.
    passes: Vec<(LunNumber, u64, Instant)>,
    stopping: bool,
}

/// Starts a worker. `pin` is called on its thread with the core to pin it to.
///
/// # Errors
/// When the thread, its io_uring or its wait set cannot be made.
pub fn spawn(
    options: WorkerOptions,
    ports: Vec<Box<dyn Port>>,
    drives: Vec<(DriveSlot, Arc<Drive>)>,
    pin: fn(usize) -> bool,
) -> Result<WorkerHandle, String> {
    let (to_worker, inbox) = bounded(64);
    let (events, event_receiver) = bounded(1024);
    let (settled, settled_receiver) = unbounded();
    let outbox = Outbox { events, settled };
    let wake = Wake::new().map_err(|error| format!("eventfd: {error}"))?;
    let (started, start) = bounded(1);
    let own_wake = wake.clone();
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
            match Worker::new(&options, ports, &drives, inbox, outbox, own_wake) {
                Ok(mut worker) => {
                    drop(started.send(Ok(())));
                    worker.run(options.spin);
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
        thread,
    })
}

impl Worker {
    fn new(
        options: &WorkerOptions,
        ports: Vec<Box<dyn Port>>,
        drives: &[(DriveSlot, Arc<Drive>)],
        inbox: Receiver<ToWorker>,
        outbox: Outbox,
        wake: Wake,
    ) -> Result<Self, String> {
        let views: Vec<PortView> = ports
            .iter()
            .map(|port| PortView {
                mac: port.facts().mac,
                mtu_bytes: port.facts().mtu_bytes,
            })
            .collect();
        let executor =
            Executor::new(drives, options.commands).map_err(|error| error.to_string())?;
        let epoll =
            wait_set(&ports, &executor, &wake).map_err(|error| format!("epoll: {error}"))?;
        Ok(Self {
            target: Target::new(&views, options.commands),
            executor,
            ports,
            epoll,
            inbox,
            outbox,
            wake,
            actions: Vec::with_capacity(8 * usize::from(options.commands)),
            unsent: VecDeque::with_capacity(usize::from(options.commands)),
            unsaid: VecDeque::new(),
            transmit_waits: 0,
            passes: Vec::new(),
            stopping: false,
        })
    }

    /// Runs until it is told to stop and nothing is in flight, or its ring breaks.
    fn run(&mut self, spin: Duration) {
        let mut idle_since: Option<Instant> = None;
        while !(self.stopping && self.is_drained()) {
            match self.turn() {
                Ok(true) => idle_since = None,
                Ok(false) => {
                    let since = *idle_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= spin {
                        self.sleep();
                        idle_since = None;
                    } else {
                        std::hint::spin_loop();
                    }
                }
                Err(error) => {
                    let text = format!("the io_uring of the worker failed: {error}");
                    self.unsaid.push_back(FromWorker::Broken(text));
                    while !self.unsaid.is_empty() && !self.say() {
                        thread::sleep(Duration::from_millis(10));
                    }
                    return;
                }
            }
        }
        self.flush_ports();
    }

    fn is_drained(&self) -> bool {
        self.target.commands_in_flight() == 0
            && self.executor.in_flight() == 0
            && self.unsent.is_empty()
            && self.unsaid.is_empty()
    }

    /// One turn of the loop; whether anything happened.
    fn turn(&mut self) -> io::Result<bool> {
        let mut busy = self.listen();
        busy |= self.send_unsent();
        for index in 0..self.ports.len() {
            busy |= self.receive(index);
        }
        busy |= !self.stopping && self.target.sync_step(&mut self.actions);
        self.carry_out();
        self.executor.kick()?;
        busy |= self.complete();
        if busy {
            self.flush_ports();
        }
        self.say();
        Ok(busy)
    }

    /// Takes a batch of frames from a port and starts what they ask for.
    fn receive(&mut self, index: usize) -> bool {
        let Ok(number) = u8::try_from(index).map(PortIndex) else {
            return false;
        };
        let Self {
            target,
            executor,
            ports,
            actions,
            ..
        } = self;
        let frames = ports[index].receive(RECEIVE_BUDGET, &mut |frame| {
            let frame_bytes = frame.len_bytes();
            if let Some(command) = target.receive(number, frame.first, frame_bytes, actions) {
                // A write: its payload must be in its buffer before its actions are carried out.
                frame.copy_to(ATA_FRAME_BYTES, executor.buffer_mut(command));
            }
        });
        self.carry_out();
        frames > 0
    }

    /// Takes finished I/O and starts what follows from it.
    fn complete(&mut self) -> bool {
        let mut any = false;
        while let Some((io, ok)) = self.executor.next_result() {
            any = true;
            self.target.complete(&io, ok, &mut self.actions);
            self.carry_out();
        }
        any
    }

    fn carry_out(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Io(io) => self.executor.submit(io),
                Action::Reply(reply) => self.reply(reply),
                Action::SyncReached { lun, pass, lba, .. } => {
                    self.unsaid
                        .push_back(FromWorker::SyncReached { lun, pass, lba });
                }
                Action::SyncEnded {
                    lun,
                    pass,
                    complete,
                    ..
                } => {
                    self.unsaid.push_back(FromWorker::SyncEnded {
                        lun,
                        pass,
                        complete,
                    });
                }
                Action::ConfigChange(change) => {
                    self.unsaid
                        .push_back(FromWorker::ConfigChange(Box::new(change)));
                }
                Action::MemberError { lun, io } => {
                    self.unsaid.push_back(FromWorker::MemberError { lun, io });
                }
                // Nobody listens any more when the administration has given up waiting.
                Action::Settled {
                    lun,
                    mirrors_differ,
                } => {
                    drop(self.outbox.settled.send((lun, Detached { mirrors_differ })));
                }
            }
        }
        self.actions = actions;
    }

    fn reply(&mut self, reply: Reply) {
        if !self.unsent.is_empty() || !self.transmit(&reply) {
            self.transmit_waits += 1;
            self.unsent.push_back(reply);
        }
    }

    /// Hands a reply to its port; false when there is no room now.
    fn transmit(&mut self, reply: &Reply) -> bool {
        let body: &[u8] = match (&reply.body, reply.command) {
            (Body::Data { sectors }, Some(command)) => {
                &self.executor.buffer(command)[..*sectors as usize * SECTOR_BYTES]
            }
            (Body::Identify(view), _) => view.identify.as_slice(),
            (Body::ConfigString(view), _) => &view.config_string,
            (Body::Empty | Body::Data { .. }, _) => &[],
        };
        let port = &mut self.ports[usize::from(reply.port.0)];
        match port.transmit(&reply.head[..reply.head_bytes], body) {
            Err(TransmitError::Full) => false,
            // Too long for the interface: counted by the port. The initiator asks again.
            Ok(()) | Err(_) => {
                if let Some(command) = reply.command {
                    self.target.sent(command);
                }
                true
            }
        }
    }

    fn send_unsent(&mut self) -> bool {
        let mut any = false;
        while let Some(reply) = self.unsent.pop_front() {
            if !self.transmit(&reply) {
                self.unsent.push_front(reply);
                self.flush_ports();
                break;
            }
            any = true;
        }
        any
    }

    fn flush_ports(&mut self) {
        for port in &mut self.ports {
            port.flush();
        }
    }

    /// Takes messages from the administration.
    fn listen(&mut self) -> bool {
        let mut any = false;
        while let Ok(message) = self.inbox.try_recv() {
            any = true;
            match message {
                ToWorker::Attach(view) => {
                    self.target.attach(view, &mut self.actions);
                    self.note_passes();
                }
                ToWorker::Detach(lun) => self.target.detach(lun, &mut self.actions),
                ToWorker::Advertise(lun) => self.target.advertise(lun, &mut self.actions),
                ToWorker::ConfigDone(change, decision) => {
                    self.target
                        .config_done(&change, decision, &mut self.actions);
                }
                ToWorker::Report(sender) => drop(sender.try_send(self.report())),
                ToWorker::Stop => self.stopping = true,
            }
            self.carry_out();
        }
        any
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
            RunningPass {
                progress,
                elapsed: began.map_or(Duration::ZERO, |began| began.elapsed()),
            }
        });
        running.collect()
    }

    fn report(&self) -> WorkerReport {
        WorkerReport {
            target: *self.target.counters(),
            ports: self
                .ports
                .iter()
                .map(|p| (p.facts().clone(), p.counters()))
                .collect(),
            passes: self.running_passes(),
            commands_in_flight: self.target.commands_in_flight(),
            ios_in_flight: self.executor.in_flight(),
            transmit_waits: self.transmit_waits,
        }
    }

    /// Says what there is room for; false when nobody listens any more.
    fn say(&mut self) -> bool {
        while let Some(message) = self.unsaid.pop_front() {
            match self.outbox.events.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => {
                    self.unsaid.push_front(message);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.unsaid.clear();
                    self.stopping = true;
                    return false;
                }
            }
        }
        true
    }

    fn sleep(&mut self) {
        let mut events = [const { core_event() }; 8];
        if !self.executor.has_results() && self.unsent.is_empty() && self.unsaid.is_empty() {
            // Interrupted or not, the next turn looks at everything.
            let _ = epoll::wait(&self.epoll, &mut events, Some(&SLEEP));
        }
        self.wake.clear();
        self.executor.woke();
    }
}

const fn core_event() -> epoll::Event {
    epoll::Event {
        flags: epoll::EventFlags::empty(),
        data: epoll::EventData::new_u64(0),
    }
}

/// Everything that ends a sleep.
fn wait_set(
    ports: &[Box<dyn Port>],
    executor: &Executor,
    wake: &Wake,
) -> io::Result<rustix::fd::OwnedFd> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut fds = vec![executor.poll_fd(), wake.fd()];
    for port in ports {
        port.poll_fds(&mut fds);
    }
    for fd in fds {
        epoll::add(
            &set,
            fd,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN,
        )?;
    }
    Ok(set)
}

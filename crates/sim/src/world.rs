//! The world: clock, queue of events, disks, and all who act in it but the administration.
//!
//! One event is done after the other, in the order of their times; what takes no time is done at once.
//! The administration runs outside and reaches in through [`crate::plane`]: while it waits for a metadata
//! write or for the worker, the world goes on.
//!
//! A power cut stops the target and leaves what the disks make of it. Frames that are under way and the
//! initiators go on.

use crate::content::Content;
use crate::crew::Crew;
use crate::disk::{Delivery, Landing, SimDisk};
use crate::exhaustive::Hand;
use crate::faults::{Fault, Faults};
use crate::initiator::{Initiator, Refusal};
use crate::oracle::Oracle;
use crate::pace::Pace;
use crate::random::Random;
use crate::switch::{Micros, Switch};
use shelf::admin::LunNumber;
use shelf::patience::{IoTicket, Patience};
use shelf::plane::{Detached, LunView, Unit};
use shelf::shard::{Place, WorkerIndex};
use shelf::target::{Action, BufferPlan, Io, Purpose, Reply, Report, Target};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How often the administration is told the time.
const TICK: Micros = 1_500;

/// What a worker says to the administration.
#[derive(Clone, Copy, Debug)]
pub enum Message {
    /// What the target has met.
    Report(Report),
    /// A drive is slow to answer, or well again.
    DriveSuspect {
        /// The drive.
        drive: shelf::admin::DriveSlot,
        /// Whether it is slow.
        is_suspect: bool,
    },
    /// About once a second the administration is told the time.
    Tick {
        /// Since the shelf started.
        uptime: Duration,
    },
}

/// What happens at some time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame arrives at the target; `value` is that of a write, else 0.
    ToTarget { frame: Vec<u8>, value: u64 },
    /// A frame arrives at an initiator.
    ToInitiator { initiator: usize, frame: Vec<u8> },
    /// An initiator thinks of something to do.
    Think { initiator: usize },
    /// A command may be overdue.
    Overdue {
        initiator: usize,
        slot: usize,
        tag: u32,
        sends: u32,
    },
    /// A disk is done.
    IoDone { id: u64 },
    /// A reply that waits for its pace goes to the port.
    Due {
        worker: WorkerIndex,
        reply: Box<Reply>,
    },
    /// A port of a worker sends a reply from where its data lies.
    Leaves {
        worker: WorkerIndex,
        reply: Box<Reply>,
    },
    /// A worker looks for work that nobody told it of.
    Turn { worker: WorkerIndex },
    /// A worker takes the next out of its inbox.
    Post { to: WorkerIndex },
    /// A worker looks at the queue that they share.
    Ring { worker: WorkerIndex },
    /// The worker looks for I/O that is overdue.
    Look,
    /// A message reaches the administration.
    Message(Message),
    /// The administration is to be told the time.
    Tick,
}

impl Event {
    /// Whether it is still to come after a power cut.
    const fn survives_power_cut(&self) -> bool {
        !matches!(
            self,
            Self::IoDone { .. }
                | Self::Due { .. }
                | Self::Leaves { .. }
                | Self::Turn { .. }
                | Self::Post { .. }
                | Self::Ring { .. }
                | Self::Look
                | Self::Message(_)
                | Self::Tick
        )
    }
}

#[derive(Debug)]
struct Queued {
    at: Micros,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// An I/O that a disk is doing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    /// Whose it is.
    pub(crate) worker: WorkerIndex,
    pub(crate) disk: usize,
    /// What the target asked for; nothing for metadata.
    pub(crate) io: Option<Io>,
    pub(crate) ticket: IoTicket,
    /// The target does not wait for it.
    pub(crate) is_abandoned: bool,
    /// Fails, for whatever reason.
    pub(crate) fails: bool,
    pub(crate) delivery: Delivery,
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// TRIMs that were.
    pub trims: u64,
    /// Reads that were checked.
    pub reads: u64,
    /// Faults other than power cuts.
    pub faults: u64,
    /// I/Os that were not waited for.
    pub abandoned: u64,
    /// Errors that were right.
    pub errors: u64,
    /// Replies that waited for their pace.
    pub paced: u64,
    /// Disks that were inserted while the shelf ran.
    pub inserted: u64,
    /// Of these, elements that it took back.
    pub taken_back: u64,
}

impl Counts {
    /// Adds the counts of another run.
    pub const fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.power_cuts += other.power_cuts;
        self.writes += other.writes;
        self.trims += other.trims;
        self.reads += other.reads;
        self.faults += other.faults;
        self.abandoned += other.abandoned;
        self.errors += other.errors;
        self.paced += other.paced;
        self.inserted += other.inserted;
        self.taken_back += other.taken_back;
    }
}

/// Everything but the administration.
#[derive(Debug)]
pub struct World {
    pub(crate) now: Micros,
    queue: BinaryHeap<Queued>,
    next_number: u64,
    /// Chance.
    pub random: Random,
    /// The disks. The first ones in element order of the LUN, as it was made.
    pub disks: Vec<SimDisk>,
    /// Which disk is in which slot; `None` for an empty slot.
    pub slots: Vec<Option<usize>>,
    /// How many workers there are, and how LUNs are spread among them.
    pub(crate) place: Place,
    /// The worker that acts: what it has of its own is here, that of the others in `crew`.
    pub(crate) crew: Crew,
    /// What is told of each LUN to whatever brings frames to workers that share a queue.
    pub(crate) spread_sectors: BTreeMap<u8, u64>,
    /// The data path, while there is power.
    pub(crate) target: Option<Target>,
    pub(crate) plan: BufferPlan,
    pub(crate) arena: Vec<u8>,
    pub(crate) actions: Vec<Action>,
    pub(crate) in_flight: BTreeMap<u64, InFlight>,
    /// The worker's watch over its drives.
    pub(crate) patience: Patience,
    /// When the worker is to look for overdue I/O.
    pub(crate) look_at: Option<Micros>,
    /// For each disk a metadata write that was not waited for to its end.
    pub(crate) owed: BTreeMap<usize, u64>,
    /// The last metadata write that was waited for, and whether it succeeded.
    pub(crate) metadata_done: Option<(u64, bool)>,
    pub(crate) settled: Vec<(LunNumber, Detached)>,
    /// Messages that the administration has not dealt with.
    pub(crate) inbox: VecDeque<Message>,
    pub(crate) turn_is_queued: bool,
    /// Turns since anything came of one.
    pub(crate) idle_turns: u32,
    /// Whether the administration is told the time.
    pub(crate) ticks: bool,
    started_at: Micros,
    /// The view that the target uses.
    pub view: Option<Arc<LunView>>,
    /// The disk of each element and whether it is in sync, as the last view had it, also without power.
    pub(crate) members: Vec<Option<(usize, bool)>>,
    /// The disk that each element was on last.
    pub(crate) placement: Vec<usize>,
    pub(crate) switch: Switch,
    /// How fast replies are sent, if that has a limit.
    pub(crate) pace: Option<Pace>,
    pub(crate) initiators: Vec<Initiator>,
    /// What may be read.
    pub oracle: Oracle,
    pub(crate) faults: Faults,
    /// Events until the power goes.
    pub(crate) cut_after: Option<u64>,
    /// The life is so slow that disks that hang are waited for: nothing ends before that.
    pub(crate) waits: bool,
    /// Until when.
    pub(crate) busy_until: Micros,
    pub(crate) landing: Landing,
    /// The administration is taking the LUN from the target.
    pub(crate) is_detaching: bool,
    /// Commands, by initiator and tag, that the target answered meanwhile. A write that a member fails then
    /// is
    /// answered with a fault: there is no view any more under which it could be done again.
    pub(crate) last_answers: BTreeSet<(usize, u32)>,
    /// When a member went or came last.
    pub(crate) changed_at: Micros,
    /// Whether there is power.
    pub has_power: bool,
    /// Whether what was never written was ever made the same on all members.
    pub initial_agrees: bool,
    /// When the last message reaches the administration.
    pub(crate) message_at: Micros,
    /// Commands that the administrator is to give.
    pub(crate) commands_due: u32,
    /// Sectors that were being overwritten when the power went, since the LUN was served last.
    pub(crate) interrupted: BTreeSet<u64>,
    /// Errors of commands that touched such sectors before the shelf could say what became of them.
    pub(crate) unjudged: Vec<Refusal>,
    /// Sets that were removed, as the state directory has them.
    pub(crate) removed_sets: Vec<uuid::Uuid>,
    /// What was counted.
    pub counts: Counts,
    /// What went wrong first.
    pub violation: Option<String>,
    /// What reads returned, instead of having the oracle look at it.
    pub(crate) captured: Option<Vec<(u64, Content)>>,
    /// Who says what happens next, instead of time and chance.
    pub(crate) hand: Option<Box<Hand>>,
    /// There is one.
    pub(crate) is_by_hand: bool,
    /// Answers to frames that no initiator of the world sent.
    pub(crate) strangers: Vec<Vec<u8>>,
    trace: VecDeque<String>,
    trace_lines: usize,
}

/// Sizes of a world.
#[derive(Clone, Copy, Debug)]
pub struct WorldSpec {
    /// How many disks the LUN is made of, one slot each.
    pub disks: usize,
    /// Sectors of such a disk.
    pub disk_sectors: usize,
    /// Further disks of so many sectors.
    pub further: [usize; 2],
    /// How many of these there are.
    pub further_count: usize,
    /// Disks whose own sectors have 4096 bytes, as bits.
    pub blocks: u32,
    /// Buffers of a worker.
    pub plan: BufferPlan,
    /// How many workers there are, and the sectors of a group.
    pub workers: (u8, u64),
    /// Whether they share a receive queue, of which each has a ring; else each has a port.
    pub shares_queue: bool,
    /// Whether the administration is told the time.
    pub ticks: bool,
    /// So many of the last events are kept as text.
    pub trace_lines: usize,
}

impl WorldSpec {
    fn new_disks(&self) -> Vec<SimDisk> {
        let further = self.further.iter().take(self.further_count);
        let own = std::iter::repeat_n(&self.disk_sectors, self.disks);
        let disk = |(number, sectors): (u32, &usize)| {
            let unit = if self.blocks >> number & 1 == 1 {
                Unit::BLOCK
            } else {
                Unit::SECTOR
            };
            let unit_sectors = unit.sectors() as usize;
            SimDisk::new(sectors / unit_sectors * unit_sectors, unit)
        };
        (0..).zip(own.chain(further)).map(disk).collect()
    }
}

impl World {
    /// A world with power and empty disks.
    #[must_use]
    pub fn new(spec: &WorldSpec, random: Random) -> Self {
        let disks = spec.new_disks();
        let all = disks.len();
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            next_number: 0,
            random,
            disks,
            slots: (0..all).map(Some).collect(),
            place: Place {
                own: WorkerIndex(0),
                workers: spec.workers.0,
                group_sectors: spec.workers.1,
            },
            crew: Crew::new(spec.workers.0, spec.shares_queue, spec.plan),
            spread_sectors: BTreeMap::new(),
            target: None,
            plan: spec.plan,
            arena: vec![0; spec.plan.total_sectors() * crate::content::SECTOR],
            actions: Vec::new(),
            in_flight: BTreeMap::new(),
            patience: crate::worker::new_watch(spec.disks),
            look_at: None,
            owed: BTreeMap::new(),
            metadata_done: None,
            settled: Vec::new(),
            inbox: VecDeque::new(),
            turn_is_queued: false,
            idle_turns: 0,
            ticks: spec.ticks,
            started_at: 0,
            view: None,
            members: Vec::new(),
            placement: (0..spec.disks).collect(),
            switch: Switch::GOOD,
            pace: None,
            initiators: Vec::new(),
            oracle: Oracle::default(),
            faults: Faults::default(),
            cut_after: None,
            waits: false,
            busy_until: 0,
            landing: Landing::Everything,
            is_detaching: false,
            last_answers: BTreeSet::new(),
            changed_at: 0,
            has_power: false,
            initial_agrees: false,
            message_at: 0,
            commands_due: 0,
            interrupted: BTreeSet::new(),
            unjudged: Vec::new(),
            removed_sets: Vec::new(),
            counts: Counts::default(),
            violation: None,
            captured: None,
            hand: None,
            is_by_hand: false,
            strangers: Vec::new(),
            trace: VecDeque::new(),
            trace_lines: spec.trace_lines,
        };
        world.power_on();
        world
    }

    /// The largest sectors that a disk has.
    pub(crate) fn largest_unit(&self) -> Unit {
        let units = self.disks.iter().map(SimDisk::unit);
        units.max().unwrap_or_default()
    }

    /// A disk is asked for something: that is to be whole sectors of its own.
    pub(crate) fn expect_whole(&mut self, disk: usize, sector: u64, sectors: u64) {
        let unit = self.disks[disk].unit();
        if !unit.divides(sector | sectors) {
            self.fail(format!(
                "disk {disk} is asked for {sectors} sectors at {sector}, and its own are of {}",
                unit.sectors()
            ));
        }
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Micros {
        self.now
    }

    /// What happened last, if it was asked for.
    pub fn trace(&self) -> impl Iterator<Item = &str> {
        self.trace.iter().map(String::as_str)
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.trace_lines > 0 {
            if self.trace.len() == self.trace_lines {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("{:>9} {}", self.now, text()));
        }
    }

    /// Something is wrong. The first such thing ends the run.
    pub(crate) fn fail(&mut self, text: String) {
        self.note(|| format!("VIOLATION {text}"));
        self.violation.get_or_insert(text);
    }

    pub(crate) fn at(&mut self, delay: Micros, event: Event) {
        self.next_number += 1;
        self.queue.push(Queued {
            at: self.now + delay,
            number: self.next_number,
            event,
        });
    }

    pub(crate) const fn next_id(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Starts the target.
    pub fn power_on(&mut self) {
        self.has_power = true;
        self.start_targets();
        self.patience = crate::worker::new_watch(self.slots.len());
        self.patience.set_now(self.now * 1000);
        self.oracle.target_restarted(self.now);
        self.cut_after = None;
        self.started_at = self.now;
        if self.ticks {
            self.at(1, Event::Tick);
        }
    }

    /// Forgets everything but the disks and the slots.
    pub(crate) fn begin_anew(&mut self, random: Random) {
        self.power_off();
        self.queue.clear();
        self.random = random;
        self.members.clear();
        for initiator in &mut self.initiators {
            initiator.forget();
        }
        self.power_on();
    }

    /// The same, at the beginning of time: what follows is the same every time.
    pub(crate) fn begin_again(&mut self) {
        (self.now, self.next_number, self.message_at) = (0, 0, 0);
        self.last_answers.clear();
        self.placement = (0..self.disks.len()).collect();
        (self.changed_at, self.initial_agrees, self.idle_turns) = (0, false, 0);
        self.begin_anew(Random::new(1));
    }

    /// Stops the target in the middle of whatever it does; disks keep what was durable and some of what was
    /// not.
    pub fn cut_power(&mut self) {
        if !self.has_power {
            return;
        }
        self.note(|| "power cut".to_owned());
        self.counts.power_cuts += 1;
        let is_repair = |io: Io| io.purpose == Purpose::Repair;
        if self
            .in_flight
            .values()
            .any(|flight| flight.io.is_some_and(is_repair))
        {
            // It may land yet, as one that ends.
            self.redundancy_changes();
        }
        self.power_off();
    }

    /// The target is no more. What it left in flight, as after a stop that a disk held up, lands or does not.
    pub fn power_off(&mut self) {
        let landing = self.landing;
        for disk in &mut self.disks {
            disk.cut_power(landing, &mut self.random);
        }
        self.has_power = false;
        self.interrupted.extend(self.oracle.open_lbas());
        self.unjudged.clear();
        self.stop_targets();
        self.view = None;
        self.in_flight.clear();
        self.look_at = None;
        self.busy_until = 0;
        self.owed.clear();
        self.metadata_done = None;
        self.settled.clear();
        self.inbox.clear();
        self.is_detaching = false;
        self.queue
            .retain(|queued| queued.event.survives_power_cut());
    }

    /// Does the next event, if there is one up to `deadline`. Returns false at the deadline.
    pub fn step(&mut self, deadline: Micros) -> bool {
        if let Some(mut hand) = self.hand.take() {
            let went = hand.step(self);
            self.hand = Some(hand);
            return went;
        }
        if self.queue.peek().is_none_or(|next| next.at > deadline) {
            self.now = self.now.max(deadline);
            return false;
        }
        // Time goes by of itself: that is nothing that happens.
        let is_tick = matches!(self.queue.peek(), Some(next) if matches!(next.event, Event::Tick));
        let counts = !is_tick && self.now >= self.busy_until;
        if let Some(left) = self.cut_after.as_mut().filter(|_| counts) {
            if *left == 0 {
                self.cut_power();
                return true;
            }
            *left -= 1;
        }
        let Some(Queued { at, event, .. }) = self.queue.pop() else {
            return false;
        };
        self.now = at;
        self.counts.events += u64::from(!is_tick);
        if self.has_power
            && let Some(fault) = self.faults.next(self.counts.events)
        {
            self.strike(fault);
        }
        self.happen(event);
        true
    }

    /// Takes all events that are to come, in order.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        let mut queued: Vec<Queued> = std::mem::take(&mut self.queue).into_vec();
        queued.sort_unstable_by_key(|queued| queued.number);
        queued.into_iter().map(|queued| queued.event).collect()
    }

    /// Whether a message is on its way to the administration.
    pub(crate) fn has_messages(&self) -> bool {
        let is_message = |queued: &Queued| matches!(queued.event, Event::Message(_));
        self.queue.iter().any(is_message)
    }

    /// Goes on until something is true, the power is gone, or the time is over. Returns whether it is true.
    pub fn run_until(&mut self, limit: Micros, is_done: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.now + limit;
        loop {
            if is_done(self) {
                return true;
            }
            if !self.has_power || self.violation.is_some() || !self.step(deadline) {
                return is_done(self);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToTarget { frame, value } => self.frame_arrives(&frame, value),
            Event::ToInitiator { initiator, frame } => self.reply_arrives(initiator, &frame),
            Event::Think { initiator } => self.think(initiator),
            Event::Overdue {
                initiator,
                slot,
                tag,
                sends,
            } => self.overdue(initiator, slot, tag, sends),
            Event::IoDone { id } => self.io_done(id),
            Event::Due { worker, reply } => {
                self.act_as(worker);
                self.send(*reply);
                self.turn();
            }
            Event::Leaves { worker, reply } => {
                self.act_as(worker);
                self.leave(&reply);
                self.turn();
            }
            Event::Post { to } => self.take_post(to),
            Event::Ring { worker } => self.look_at_ring(worker),
            Event::Turn { worker } => {
                self.act_as(worker);
                self.turn_is_queued = false;
                self.turn();
            }
            Event::Look => {
                self.look_at = None;
                self.lose_patience();
            }
            Event::Message(message) => self.inbox.push_back(message),
            Event::Tick => self.tick(),
        }
    }

    fn tick(&mut self) {
        let is_tick = |message: &Message| matches!(message, Message::Tick { .. });
        if !self.inbox.iter().any(is_tick) {
            // A microsecond here is a millisecond for the administration: what it does after a minute is to
            // happen in a short run, too.
            let uptime = Duration::from_millis(self.now - self.started_at);
            self.inbox.push_back(Message::Tick { uptime });
        }
        self.at(TICK, Event::Tick);
    }

    fn strike(&mut self, fault: Fault) {
        self.note(|| format!("fault {fault:?}"));
        self.counts.faults += 1;
        self.inflict(fault);
    }
}

//! What the engine does for the target: frames in, I/O out and back, replies, messages.

use crate::content::SECTOR;
use crate::disk::{Delivery, Landing};
use crate::random::Random;
use crate::switch::Micros;
use crate::world::{Event, InFlight, Message, World};
use aoe::{Header, MacAddress};
use shelf::admin::DriveSlot;
use shelf::patience::{DriveKind, IoTicket, Limits, Overdue, Patience, Stage};
use shelf::plane::Detached;
use shelf::shard::Place;
use shelf::target::{
    Action, Body, BufferPlan, Io, Memory, Operation, Payload, PortIndex, PortView, Purpose, Reply,
    Span, Target, Work, compute_in,
};
use zerocopy::FromBytes;

/// The station of the target.
pub const TARGET_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// How often the worker looks for work while a pass runs.
const TURN: Micros = 500;

/// How often it does while slices wait for something.
const STRIPE_TURN: Micros = 20;

/// I/Os that are dealt with in one look.
const OVERDUE_MAX: usize = 8;

/// How long a port may take to send what it was lent: longer than a network card needs.
const LOAN_MAX: Micros = 500;

/// No data lies before this sector of a member, in any layout.
const DATA_SECTOR_MIN: u64 = 256;

/// A target with one port at MTU 9000, of a queue that the workers may share.
pub(crate) fn new_target(plan: BufferPlan, place: Place, is_shared: bool) -> Target {
    let port = PortView {
        is_shared,
        ..PortView::single(TARGET_MAC, 9000)
    };
    Target::of_worker(&[port], plan, place)
}

/// A watch over the drives in so many slots.
pub(crate) fn new_watch(slots: usize) -> Patience {
    let drives: Vec<_> = (0..)
        .map(|slot| (DriveSlot(slot), DriveKind::Rotating))
        .take(slots)
        .collect();
    Patience::new(&drives, 2048, Limits::default())
}

impl World {
    /// The worker that acts takes in a frame.
    pub(crate) fn take_in(&mut self, frame: &[u8], value: u64) {
        if let Some(target) = &mut self.target {
            let admitted = target.receive(PortIndex(0), frame, frame.len(), &mut self.actions);
            if let Some(admitted) = admitted {
                let Payload {
                    command, offset, ..
                } = admitted;
                let payload = &frame[offset.min(frame.len())..];
                let buffer = &mut self.arena[admitted.place(&self.plan)];
                let bytes = payload.len().min(buffer.len());
                buffer[..bytes].copy_from_slice(&payload[..bytes]);
                let mut arena = Arena {
                    bytes: &mut self.arena,
                    plan: self.plan,
                };
                target.filled(command, &mut arena, &mut self.actions);
            }
            self.carry_out();
            self.turn();
        }
        if value != 0 {
            self.oracle.copy_gone(value, self.now);
        }
    }

    /// Does what the target asked for.
    pub(crate) fn carry_out(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Io(io) => self.submit_if_readable(io),
            Action::Reply(reply) => self.reply(reply),
            Action::Report(report) => self.say(Message::Report(report)),
            Action::Peer { to, message } => self.post_message(to, message),
            Action::Settled {
                lun,
                mirrors_differ,
                is_log_pending,
            } => {
                let detached = Detached {
                    mirrors_differ,
                    is_log_pending,
                };
                self.settled.push((lun, detached));
            }
            Action::Change(_) => self.fail("nobody sends config changes".to_owned()),
            Action::Impostor { .. } => self.fail("nobody else answers".to_owned()),
        }
    }

    fn say(&mut self, message: Message) {
        self.note(|| format!("to the administration: {message:?}"));
        let delay = self.random.between(1..=300);
        // They stay in their order.
        self.message_at = self.message_at.max(self.now + delay);
        self.at(self.message_at - self.now, Event::Message(message));
    }

    /// Looks for work as the worker does once a turn: steps of passes, slices of parts with parity.
    pub(crate) fn turn(&mut self) {
        self.follow_slow_drives();
        loop {
            self.work_on_stripes();
            let Some(target) = &mut self.target else {
                return;
            };
            target.set_now(self.now * 1000);
            target.sync_step(&mut self.actions);
            if self.actions.is_empty() {
                break;
            }
            self.idle_turns = 0;
            self.carry_out();
        }
        let Some(target) = &self.target else { return };
        let next = if target.has_stripe_work() {
            // A slice may wait for a disk that hangs: such turns come less and less often.
            let pause = STRIPE_TURN << self.idle_turns.min(8);
            self.idle_turns += 1;
            Some(self.random.between(1..=pause))
        } else {
            (!target.sync_progress().is_empty()).then_some(TURN)
        };
        if let Some(delay) = next.filter(|_| !self.turn_is_queued) {
            self.turn_is_queued = true;
            let worker = self.crew.acting();
            self.at(delay, Event::Turn { worker });
        }
    }

    fn work_on_stripes(&mut self) {
        let Some(target) = &mut self.target else {
            return;
        };
        if !target.has_stripe_work() {
            return;
        }
        let mut memory = Arena {
            bytes: &mut self.arena,
            plan: self.plan,
        };
        let received = !self.is_by_hand && self.random.chance(500);
        target.stripe_step(self.now * 1000, received, &mut memory, &mut self.actions);
    }

    fn submit_if_readable(&mut self, io: Io) {
        match &mut self.target {
            Some(target) if target.reads_bad_sector(&io) => {
                target.complete(&io, false, &mut self.actions);
            }
            _ => self.submit(io),
        }
    }

    fn submit(&mut self, io: Io) {
        let Some(disk) = self.slots.get(usize::from(io.drive.0)).copied().flatten() else {
            self.fail(format!("I/O to a slot without a disk: {io:?}"));
            return;
        };
        let end = io.sector + u64::from(io.sectors);
        let is_data = io.operation != Operation::Flush;
        if is_data && (io.sector < DATA_SECTOR_MIN || end > self.disks[disk].sectors()) {
            self.fail(format!("I/O outside of the data of disk {disk}: {io:?}"));
            return;
        }
        self.expect_whole(disk, io.sector, io.sectors.into());
        if self.refuse(&io) {
            return;
        }
        let id = self.next_id();
        let is_write = io.operation.is_write();
        let mut flight = self.new_flight(disk, is_write);
        flight.io = Some(io);
        flight.ticket = self.patience.begin(&io);
        self.plan_look();
        if is_write {
            let data = if io.operation == Operation::WriteZeroes {
                vec![0; io.sectors as usize * SECTOR]
            } else {
                self.arena[self.plan.bytes_of(&span(&io))].to_vec()
            };
            self.note(|| format!("write {id} disk {disk} sector {}+{}", io.sector, io.sectors));
            let is_cached = !self.is_by_hand && self.random.chance(300);
            self.disks[disk].begin_write(id, io.sector, data, is_cached);
            flight.delivery = self.misdelivery(disk, &io);
        }
        self.start(id, flight);
    }

    /// Does not send an I/O to a drive that hangs if there is another way, nor a write that one that was
    /// abandoned might overwrite.
    fn refuse(&mut self, io: &Io) -> bool {
        self.patience.set_now(self.now * 1000);
        let stage = if self.patience.is_barred(io) {
            Some(Stage::Hopeless)
        } else {
            self.patience.is_hung(io.drive).then_some(Stage::Overdue)
        };
        let Some(target) = &mut self.target else {
            return false;
        };
        let Some(stage) = stage.filter(|stage| target.may_abandon(io, *stage)) else {
            return false;
        };
        self.patience.refused();
        target.abandoned(io, stage, &mut self.actions);
        true
    }

    /// Sees to it that the worker looks when something may be overdue.
    fn plan_look(&mut self) {
        let due = self.patience.next_due_ns();
        if due == u64::MAX {
            return;
        }
        let at = due.div_ceil(1000).max(self.now + 1);
        if self.look_at.is_none_or(|planned| at < planned) {
            self.look_at = Some(at);
            self.at(at - self.now, Event::Look);
        }
    }

    /// Stops waiting for I/O that is overdue, where there is another way.
    pub(crate) fn lose_patience(&mut self) {
        self.patience.set_now(self.now * 1000);
        let mut overdue = Vec::with_capacity(OVERDUE_MAX);
        if self.now * 1000 >= self.patience.next_due_ns() {
            self.patience.look(&mut overdue);
        }
        for Overdue { ticket, io, stage } in overdue {
            let owner = self
                .in_flight
                .values()
                .find(|flight| flight.ticket == ticket);
            if let Some(worker) = owner.map(|flight| flight.worker) {
                self.act_as(worker);
            }
            let Some(target) = &mut self.target else {
                return;
            };
            if !target.may_abandon(&io, stage) {
                self.patience.deny(ticket, stage);
                continue;
            }
            self.patience.abandon(ticket, stage);
            self.counts.abandoned += 1;

            let mut flights = self.in_flight.iter_mut();
            let flight = flights.find(|(_, flight)| flight.ticket == ticket);
            let Some((id, flight)) = flight else {
                self.fail(format!("an I/O is overdue that is over: {io:?}"));
                return;
            };
            flight.is_abandoned = true;
            let id = *id;
            self.note(|| format!("abandoned {stage:?} {id} {io:?}"));
            if let Some(target) = &mut self.target {
                target.abandoned(&io, stage, &mut self.actions);
            }
            self.carry_out();
        }
        self.turn();
        self.plan_look();
    }

    /// Tells of drives that became slow, or are well again.
    fn follow_slow_drives(&mut self) {
        self.patience.set_now(self.now * 1000);
        while let Some((drive, is_suspect)) = self.patience.next_change() {
            for worker in self.crew.all() {
                self.act_as(worker);
                if let Some(target) = &mut self.target {
                    target.set_suspect(drive, is_suspect);
                }
            }
            self.say(Message::DriveSuspect { drive, is_suspect });
        }
    }

    /// An I/O of a disk that fails if the disk is to fail.
    pub(crate) fn new_flight(&mut self, disk: usize, is_write: bool) -> InFlight {
        let state = &mut self.disks[disk];
        let fails = state.is_gone || (is_write && std::mem::take(&mut state.fails_next_write));
        InFlight {
            worker: self.crew.acting(),
            disk,
            io: None,
            ticket: IoTicket::NONE,
            is_abandoned: false,
            fails,
            delivery: Delivery::Right,
        }
    }

    pub(crate) fn start(&mut self, id: u64, mut flight: InFlight) {
        let slowness = self.disks[flight.disk].slowness;
        // A write of metadata has no I/O of the target.
        let is_write = flight.io.is_none_or(|io| io.operation.is_write());
        let latency = latency(&mut self.random) * slowness + self.hang(&mut flight, is_write);
        self.in_flight.insert(id, flight);
        self.at(latency, Event::IoDone { id });
    }

    /// A disk is done with an I/O.
    pub(crate) fn io_done(&mut self, id: u64) {
        let Some(flight) = self.in_flight.remove(&id) else {
            return;
        };
        self.act_as(flight.worker);
        let fails = flight.fails || self.disks[flight.disk].is_gone;
        let Some(io) = flight.io else {
            self.end_write(id, &flight, fails);
            self.metadata_done = Some((id, !fails));
            if self.owed.get(&flight.disk) == Some(&id) {
                self.owed.remove(&flight.disk);
            }
            return;
        };
        self.patience.set_now(self.now * 1000);
        self.patience.end(flight.ticket);
        if flight.is_abandoned {
            self.note(|| format!("abandoned {id} lands: {}", !fails));
            if io.operation.is_write() {
                self.end_write(id, &flight, fails);
            }
            return;
        }
        let disk = &mut self.disks[flight.disk];
        let ok = match io.operation {
            Operation::Flush => !fails,
            Operation::Read => {
                let range = self.plan.bytes_of(&span(&io));
                !fails && disk.read(io.sector, &mut self.arena[range])
            }
            Operation::Write | Operation::WriteZeroes => {
                let is_of_buffer = io.operation == Operation::Write;
                if is_of_buffer
                    && disk.pending_data(id) != Some(&self.arena[self.plan.bytes_of(&span(&io))])
                {
                    self.fail(format!("a buffer changed while it was written: {io:?}"));
                }
                let unreadable = self.disks[flight.disk].unreadable().len();
                self.end_write(id, &flight, fails);
                let is_mended = self.disks[flight.disk].unreadable().len() < unreadable;
                if is_mended || io.purpose == Purpose::Repair {
                    // Who could not read the sector took the other copy of all around it, and that is
                    // everybody's now; also of a slice that had none of the sectors that could not be read.
                    self.redundancy_changes();
                }
                !fails
            }
        };
        self.note(|| {
            let (operation, sector) = (io.operation, io.sector);
            format!(
                "{operation:?} {id} disk {} sector {sector}: {ok}",
                flight.disk
            )
        });
        if fails {
            // Another copy is read from now on, or what parity gives.
            self.redundancy_changes();
        }
        if let Some(target) = &mut self.target {
            target.complete(&io, ok, &mut self.actions);
        }
        self.carry_out();
        self.turn();
    }

    fn end_write(&mut self, id: u64, flight: &InFlight, fails: bool) {
        let disk = &mut self.disks[flight.disk];
        if fails {
            // What a hand lets fail, it lands later.
            let landing = if self.is_by_hand {
                Landing::Nothing
            } else {
                Landing::Each(500)
            };
            disk.fail_write(id, landing, &mut self.random);
        } else {
            disk.finish_write(id, flight.delivery);
        }
    }

    fn reply(&mut self, mut reply: Reply) {
        let wait = self
            .pace
            .as_ref()
            .and_then(|pace| pace.wait(&reply, self.now));
        if let (Some(wait), Some(target)) = (wait, &mut self.target) {
            let mut memory = Arena {
                bytes: &mut self.arena,
                plan: self.plan,
            };
            target.keep(&mut reply, &mut memory);
            self.counts.paced += 1;
            let (worker, reply) = (self.crew.acting(), Box::new(reply));
            self.at(wait, Event::Due { worker, reply });
            return;
        }
        self.send(reply);
    }

    /// Hands a reply to the port.
    pub(crate) fn send(&mut self, mut reply: Reply) {
        self.count_pace(&reply);
        // A port without room: the reply is kept for a while.
        if self.random.chance(100)
            && let Some(target) = &mut self.target
        {
            let mut memory = Arena {
                bytes: &mut self.arena,
                plan: self.plan,
            };
            target.keep(&mut reply, &mut memory);
        }
        // A port that lends: what is sent is what lies there then.
        let is_data = matches!(reply.body, Body::Data(_)) && reply.command.is_some();
        if is_data && !self.is_by_hand && self.random.chance(300) {
            let delay = self.random.below(LOAN_MAX);
            let (worker, reply) = (self.crew.acting(), Box::new(reply));
            self.at(delay, Event::Leaves { worker, reply });
            return;
        }
        self.leave(&reply);
    }

    /// A reply is on its way, and what it was sent from is free again.
    pub(crate) fn leave(&mut self, reply: &Reply) {
        let mut frame = reply.head[..reply.head_bytes].to_vec();
        match &reply.body {
            Body::Data(span) => frame.extend_from_slice(&self.arena[self.plan.bytes_of(span)]),
            shared => frame.extend_from_slice(shared.shared()),
        }
        if let (Some(command), Some(target)) = (reply.command, &mut self.target) {
            target.sent(command);
        }
        let Ok((header, _)) = Header::ref_from_prefix(&frame) else {
            return;
        };
        let Some(initiator) = self.initiator_at(header.destination) else {
            // An advertisement, or the answer to a frame of a hand.
            if self.is_by_hand {
                self.strangers.push(frame);
            }
            return;
        };
        if self.is_detaching {
            self.last_answers.insert((initiator, header.tag.get()));
        }
        for delay in self.switch.deliver(&mut self.random) {
            let frame = frame.clone();
            self.at(delay, Event::ToInitiator { initiator, frame });
        }
    }
}

/// The buffers, as the target computes over them.
pub(crate) struct Arena<'a> {
    pub(crate) bytes: &'a mut [u8],
    pub(crate) plan: BufferPlan,
}

impl Memory for Arena<'_> {
    fn compute(&mut self, inputs: &[Span], outputs: &[Span], work: Work<'_>) {
        compute_in(
            self.bytes,
            |span| self.plan.bytes_of(span),
            inputs,
            outputs,
            work,
        );
    }
}

/// The bytes of an I/O in its buffer.
pub(crate) const fn span(io: &Io) -> Span {
    Span {
        buffer: io.buffer,
        start_sector: io.offset_sectors,
        sectors: io.sectors,
    }
}

/// How long an I/O takes: mostly short, sometimes much longer.
fn latency(random: &mut Random) -> Micros {
    match random.below(100) {
        0..=1 => random.between(2_000..=20_000),
        2..=19 => random.between(400..=2_000),
        _ => random.between(40..=400),
    }
}

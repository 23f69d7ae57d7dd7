//! What is around the data path: ports, drives, the buffers, and messages on their way.
//!
//! The administration runs outside and reaches in through [`super::plane`].

use super::Step;
use super::disk::{Disk, SECTOR};
use super::oracle::Oracle;
use super::reply::{self, Sent};
use super::request::Seen;
use super::rules::{Expected, Rules};
use aoe::MacAddress;
use shelf::admin::{DriveSlot, LunNumber};
use shelf::plane::{Detached, LunView, PartView};
use shelf::target::{
    Action, Body, BufferPlan, Change, Io, IoOwner, Memory, Operation, Payload, PortIndex, PortView,
    Purpose, Reply, Report, Span, Target, Work, compute_in,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Number of the shelf.
pub(super) const SHELF: u16 = 1;

/// Buffers of the worker: few, so that running out of them happens.
const PLAN: BufferPlan = BufferPlan {
    commands: 24,
    pages: 48,
    records: 6,
};

/// The ports: jumbo frames, ordinary ones, and something between.
pub(super) const PORTS: [PortView; 3] = [
    PortView::single(STATIONS[0], 9000),
    PortView::single(STATIONS[1], 1500),
    PortView::single(STATIONS[2], 4200),
];

/// Their addresses.
pub(super) const STATIONS: [MacAddress; 3] = [
    MacAddress([2, 0, 0, 0, 0, 1]),
    MacAddress([2, 0, 0, 0, 0, 2]),
    MacAddress([2, 0, 0, 0, 0, 3]),
];

/// Replies without a command that wait for a port, as in the engine.
const KEPT_MAX: usize = PLAN.commands as usize;

/// Changes that wait for the administration: more are dropped, as in the engine.
const CHANGES_MAX: usize = 16;

/// I/Os after which the data path is in a circle.
const IOS_MAX: u32 = 200_000;

/// What a command may fail to do before it gives up, in nanoseconds of the clock.
const TURN_NS: u64 = 200_000;

/// An I/O that a drive is doing.
struct Flight {
    io: Io,
    /// What is written.
    data: Vec<u8>,
}

impl Flight {
    /// Whether two writes of a sector are under way that are not to be so. Reads may, at a time, write anew
    /// what a drive could not read: the same.
    fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (&self.io, &other.io);
        let start = one.sector.max(two.sector);
        let end = one.range().end().min(two.range().end());
        let are_writes = one.operation.is_write() && two.operation.is_write();
        if one.drive != two.drive || !are_writes || start >= end {
            return false;
        }
        let part = |flight: &Self| {
            let from = usize::try_from(start - flight.io.sector).unwrap_or(0);
            let sectors = usize::try_from(end - start).unwrap_or(0);
            flight.data[from * SECTOR..(from + sectors) * SECTOR].to_vec()
        };
        let are_repairs = one.purpose == Purpose::Repair && two.purpose == Purpose::Repair;
        !are_repairs || part(self) != part(other)
    }
}

/// Where the I/O of a LUN may go on a drive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    lun: LunNumber,
    drive: DriveSlot,
    data: (u64, u64),
    log: (u64, u64),
}

/// The data path and everything around it.
pub(super) struct World {
    pub(super) target: Target,
    pub(super) drives: Vec<Disk>,
    /// What the administration said of who may do what, last.
    pub(super) rules: Vec<Rules>,
    pub(super) views: BTreeMap<LunNumber, Arc<LunView>>,
    pub(super) reports: VecDeque<Report>,
    pub(super) changes: VecDeque<Change>,
    pub(super) settled: Vec<(LunNumber, Detached)>,
    pub(super) oracle: Oracle,
    pub(super) actions: Vec<Action>,
    /// LUNs that are to be advertised.
    pub(super) advertise: Vec<LunNumber>,
    pub(super) port_is_full: [bool; PORTS.len()],
    mtu_bytes: [usize; PORTS.len()],
    kept: [VecDeque<Reply>; PORTS.len()],
    places: BTreeSet<Place>,
    /// Drives that have failed in some way.
    faulty: BTreeSet<DriveSlot>,
    /// LUNs that may give faults for other reasons than their drives: the administrator has failed or
    /// replaced members, or they were not whole.
    pub(super) excused: BTreeSet<u8>,
    in_flight: Vec<Flight>,
    arena: Vec<u8>,
    now_ns: u64,
    /// Commands that were answered.
    answers: u64,
    ios: u32,
}

impl World {
    pub(super) fn new(drives: Vec<Disk>) -> Self {
        Self {
            target: Target::new(&PORTS, PLAN),
            drives,
            rules: Vec::new(),
            views: BTreeMap::new(),
            reports: VecDeque::new(),
            changes: VecDeque::new(),
            settled: Vec::new(),
            oracle: Oracle::new(),
            actions: Vec::new(),
            advertise: Vec::new(),
            port_is_full: [false; PORTS.len()],
            mtu_bytes: PORTS.map(|port| port.mtu_bytes),
            kept: Default::default(),
            places: BTreeSet::new(),
            faulty: BTreeSet::new(),
            excused: BTreeSet::new(),
            in_flight: Vec::new(),
            arena: vec![0xee; PLAN.total_sectors() * SECTOR],
            now_ns: 0,
            answers: 0,
            ios: 0,
        }
    }

    /// A view is in use from now on.
    pub(super) fn note_view(&mut self, view: &Arc<LunView>) {
        for part in &view.parts {
            for member in part.members.iter().chain(&part.twins).flatten() {
                let data = member.data_offset_sectors;
                let log = member.log_area;
                self.places.insert(Place {
                    lun: view.lun,
                    drive: member.drive,
                    data: (data, data + part.geometry.member_sectors()),
                    log: (log.sector, log.sector + log.sectors),
                });
            }
        }
        let is_new = !self.views.contains_key(&view.lun);
        let mut parts = view.parts.iter();
        if parts.any(|part| part.mirrors_unsynced || (is_new && !part.is_whole())) {
            // Who was away from the beginning is not seen, and what does not agree yet makes nothing good.
            self.excused.insert(view.lun.get());
        }
        self.views.insert(view.lun, Arc::clone(view));
    }

    /// A frame arrives.
    pub(super) fn deliver(&mut self, port: u8, frame: &[u8]) {
        let own = STATIONS[usize::from(port)];
        let mtu_bytes = self.mtu_bytes[usize::from(port)];
        let order = self.oracle.next_order();
        let seen = Seen::read(frame, own);
        let mut asked = Vec::new();
        let mut due_before = 0;
        if let Some(seen) = &seen {
            due_before = self.oracle.unanswered(port, seen);
            for rules in self.rules.iter().filter(|rules| rules.admits(SHELF, seen)) {
                let expected = rules.expect(seen, mtu_bytes);
                let address = seen.answer_address(SHELF, rules.number);
                let lun = (rules.number, expected, mtu_bytes);
                self.oracle.ask((port, order, frame), seen, address, lun);
                asked.push((rules.number, expected));
            }
        }
        let before = *self.target.counters();
        // Exactly as long as the frame: what is read beyond it is a panic. Of a long one the rest lies
        // elsewhere.
        let head_bytes = frame.len().min(aoe::request::PARSED_BYTES_MAX);
        let head: Box<[u8]> = frame[..head_bytes].into();
        let target = &mut self.target;
        let payload = target.receive(PortIndex(port), &head, frame.len(), &mut self.actions);
        self.check_admission(order, seen.as_ref(), &asked, payload.is_some());
        if let Some(payload) = payload {
            self.take_payload(frame, payload);
        }
        let after = *self.target.counters();
        self.check_places(&asked);
        self.carry_out();
        let Some(seen) = seen else {
            assert_eq!(after.no_buffer, before.no_buffer);
            return;
        };
        let count = |kind| asked.iter().filter(|lun| lun.1 == kind).count() as u64;
        let [reads, writes, flushes] =
            [Expected::Read, Expected::Write, Expected::Flush].map(count);
        let dropped = after.no_buffer - before.no_buffer;
        if asked.iter().all(|lun| lun.1 != Expected::Any) {
            let admitted = [after.reads, after.writes, after.flushes]
                .iter()
                .sum::<u64>()
                - [before.reads, before.writes, before.flushes]
                    .iter()
                    .sum::<u64>();
            assert_eq!(admitted + dropped, reads + writes + flushes, "{asked:?}");
        }
        if dropped > 0 && dropped == asked.len() as u64 {
            self.oracle.dropped(port, &seen, order);
        }
        let at_once =
            |lun: &&(u8, Expected)| matches!(lun.1, Expected::Answer | Expected::Error(_));
        let is_at_once = !asked.is_empty() && asked.iter().filter(at_once).count() == asked.len();
        if is_at_once && !self.port_is_full[usize::from(port)] {
            let left = self.oracle.unanswered(port, &seen) - due_before;
            assert_eq!(left, 0, "no answer to {frame:02x?} of {asked:?}");
        }
    }

    /// What the oracle is to know of a request that came.
    fn check_admission(
        &mut self,
        order: u64,
        seen: Option<&Seen<'_>>,
        asked: &[(u8, Expected)],
        is_payload: bool,
    ) {
        let ata = seen.and_then(Seen::ata);
        let Some(ata) = ata else {
            assert!(!is_payload, "data of a frame that carries none");
            return;
        };
        let (lba, count) = (ata.lba, usize::from(ata.count));
        if ata.manages() {
            for (lun, _) in asked {
                for range in ata.ranges() {
                    self.oracle.may_zero(*lun, order, range);
                }
            }
        } else if is_payload {
            let write = asked.iter().find(|lun| lun.1 == Expected::Write);
            let (lun, _) = write.unwrap_or_else(|| panic!("a write that must not be: {asked:?}"));
            self.oracle
                .write(*lun, order, lba, &ata.data[..count * SECTOR]);
        }
    }

    /// The data of a write go into its buffer.
    fn take_payload(&mut self, frame: &[u8], admitted: Payload) {
        let Payload {
            command, offset, ..
        } = admitted;
        let payload = &frame[offset.min(frame.len())..];
        let buffer = &mut self.arena[admitted.place(&PLAN)];
        let bytes = payload.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&payload[..bytes]);
        let mut arena = Arena(&mut self.arena);
        self.target.filled(command, &mut arena, &mut self.actions);
    }

    /// What a frame begins at once goes to the drives of those LUNs that had to look at it.
    fn check_places(&self, asked: &[(u8, Expected)]) {
        for action in &self.actions {
            if let Action::Io(io) = action {
                let mut places = self.places.iter().filter(|place| place.drive == io.drive);
                let is_asked = |place: &Place| asked.iter().any(|lun| lun.0 == place.lun.get());
                assert!(places.any(is_asked), "I/O of another LUN: {io:?}");
            }
        }
    }

    /// Does what the data path asked for.
    pub(super) fn carry_out(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Io(io) if self.target.reads_bad_sector(&io) => {
                self.target.complete(&io, false, &mut self.actions);
            }
            Action::Io(io) => self.submit(io),
            Action::Reply(reply) => self.reply(reply),
            Action::Report(report) => self.reports.push_back(report),
            Action::Change(change) => {
                if self.changes.len() < CHANGES_MAX {
                    self.changes.push_back(change);
                }
            }
            Action::Peer { to, message } => panic!("there is no worker {to:?} for {message:?}"),
            Action::Impostor { mac, .. } => {
                assert!(!STATIONS.contains(&mac) && !mac.is_multicast());
            }
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
        }
    }

    fn submit(&mut self, io: Io) {
        self.ios += 1;
        assert!(self.ios < IOS_MAX, "no end of I/O");
        let end = io.sector + u64::from(io.sectors);
        let mut places = self.places.iter().filter(|place| place.drive == io.drive);
        let is_log = matches!(io.owner, IoOwner::Group(_));
        let is_inside = places.any(|place| {
            let (from, to) = if is_log { place.log } else { place.data };
            (from..to).contains(&io.sector) && end <= to
        });
        let is_flush = io.operation == Operation::Flush;
        assert!(
            is_flush || (is_inside && io.sectors > 0),
            "outside of the members: {io:?}"
        );
        let data = if io.operation == Operation::Write {
            self.arena[PLAN.bytes_of(&span(&io))].to_vec()
        } else if io.operation == Operation::WriteZeroes {
            vec![0; io.sectors as usize * SECTOR]
        } else {
            // What a read leaves as it was must not be taken for what it gave.
            if io.operation == Operation::Read {
                self.arena[PLAN.bytes_of(&span(&io))].fill(0xdd);
            }
            Vec::new()
        };
        let flight = Flight { io, data };
        let is_apart = |other: &Flight| !flight.overlaps(other);
        assert!(
            self.in_flight.iter().all(is_apart),
            "two writes of a sector at a time: {io:?}"
        );
        self.in_flight.push(flight);
    }

    /// A drive is done with one of the I/Os, if there are any; a write that fails leaves so much of it.
    pub(super) fn complete(&mut self, pick: u8, left_sectors: u8) -> bool {
        if self.in_flight.is_empty() {
            return false;
        }
        let index = usize::from(pick) % self.in_flight.len();
        let Flight { io, data } = self.in_flight.remove(index);
        let disk = &mut self.drives[usize::from(io.drive.0)];
        let ok = match io.operation {
            Operation::Flush => !disk.is_broken,
            Operation::Read => {
                let is_failing = disk.failing_reads > 0;
                disk.failing_reads = disk.failing_reads.saturating_sub(1);
                !is_failing && disk.read(io.sector, &mut self.arena[PLAN.bytes_of(&span(&io))])
            }
            Operation::Write | Operation::WriteZeroes => {
                let is_same = || data == self.arena[PLAN.bytes_of(&span(&io))];
                let has_buffer = io.operation == Operation::Write;
                assert!(
                    !has_buffer || is_same(),
                    "a buffer changed while it was written: {io:?}"
                );
                let fails = disk.is_broken || disk.failing_writes > 0;
                disk.failing_writes = disk.failing_writes.saturating_sub(1);
                let left = if fails {
                    usize::from(left_sectors) * SECTOR
                } else {
                    data.len()
                };
                disk.write(io.sector, &data[..left.min(data.len())]);
                !fails
            }
        };
        self.target.complete(&io, ok, &mut self.actions);
        self.carry_out();
        true
    }

    /// What the worker does once a turn; whether anything came of it.
    pub(super) fn turn(&mut self, received: bool) -> bool {
        let mut any = false;
        let mut received = received;
        for _ in 0..64 {
            self.now_ns += TURN_NS;
            self.target.set_now(self.now_ns);
            self.target.sync_step(&mut self.actions);
            if self.target.has_stripe_work() {
                let mut arena = Arena(&mut self.arena);
                let (now, actions) = (self.now_ns, &mut self.actions);
                self.target.stripe_step(now, received, &mut arena, actions);
            }
            received = false;
            if self.actions.is_empty() {
                break;
            }
            any = true;
            self.carry_out();
        }
        any
    }

    /// Time goes by.
    pub(super) fn wait(&mut self, milliseconds: u64) {
        self.now_ns += milliseconds * 1_000_000;
    }

    /// Lets I/O and replies come to their end until something is true; false when nothing goes on any more.
    pub(super) fn run_until(&mut self, is_done: impl Fn(&Self) -> bool) -> bool {
        let mut idle_turns = 0;
        loop {
            if is_done(self) {
                return true;
            }
            let any = self.turn(false) | self.complete(0, 0) | self.send_kept();
            // Slices hold streams, passes go at a pace: for that time must go by.
            idle_turns = if any { 0 } else { idle_turns + 1 };
            if idle_turns > 200 {
                return false;
            }
            self.wait(if any { 0 } else { 1 });
        }
    }

    /// Whether I/O, or a reply, is on its way.
    pub(super) fn is_busy(&self) -> bool {
        !self.in_flight.is_empty() || self.kept.iter().any(|kept| !kept.is_empty())
    }

    fn reply(&mut self, mut reply: Reply) {
        let port = usize::from(reply.port.0);
        if !self.port_is_full[port] && self.kept[port].is_empty() {
            return self.send(&reply, false);
        }
        if reply.command.is_none() && self.kept[port].len() >= KEPT_MAX {
            return;
        }
        let mut arena = Arena(&mut self.arena);
        self.target.keep(&mut reply, &mut arena);
        self.kept[port].push_back(reply);
        assert!(
            self.kept[port].len() <= 2 * KEPT_MAX,
            "replies without bound"
        );
    }

    /// Ports have room again.
    pub(super) fn send_kept(&mut self) -> bool {
        let mut any = false;
        for port in 0..PORTS.len() {
            self.port_is_full[port] = false;
            while let Some(reply) = self.kept[port].pop_front() {
                any = true;
                self.send(&reply, true);
            }
        }
        any
    }

    fn send(&mut self, reply: &Reply, was_kept: bool) {
        let mut frame = reply.head[..reply.head_bytes].to_vec();
        match &reply.body {
            Body::Data(span) => frame.extend_from_slice(&self.arena[PLAN.bytes_of(span)]),
            shared => frame.extend_from_slice(shared.shared()),
        }
        let port = usize::from(reply.port.0);
        let mut oracle = std::mem::take(&mut self.oracle);
        let sent = Sent {
            port: reply.port.0,
            own: STATIONS[port],
            mtu_bytes: self.mtu_bytes[port],
            frame: &frame,
            answers_command: reply.command.is_some(),
            was_kept,
            sound: &|lun| self.is_sound(lun),
        };
        reply::check(&sent, SHELF, &self.rules, &mut oracle);
        self.oracle = oracle;
        if let Some(command) = reply.command {
            self.answers += 1;
            self.target.sent(command);
        }
    }

    /// Drives and ports do something.
    pub(super) fn act_on(&mut self, step: &Step) {
        let drives = self.drives.len();
        if let Step::Fail { drive, .. } | Step::Break { drive, .. } | Step::Spoil { drive, .. } =
            *step
        {
            let slot = usize::from(drive) % drives;
            self.faulty
                .insert(DriveSlot(u16::try_from(slot).unwrap_or(0)));
        }
        let disk = |drive: u8| usize::from(drive) % drives;
        let port_of = |port: u8| usize::from(port) % PORTS.len();
        match *step {
            Step::Complete { count, pick, left } => {
                for turn in 0..count % 16 {
                    self.complete(pick.wrapping_add(turn.wrapping_mul(7)), left % 8);
                }
            }
            Step::Fail {
                drive,
                reads,
                writes,
            } => {
                let disk = &mut self.drives[disk(drive)];
                (disk.failing_reads, disk.failing_writes) = (reads % 4, writes % 4);
            }
            Step::Break { drive, is_broken } => self.drives[disk(drive)].is_broken = is_broken,
            Step::Spoil { drive, sector } => {
                let disk = &mut self.drives[disk(drive)];
                let sector = u64::from(sector) % disk.sectors;
                disk.unreadable.insert(sector);
            }
            Step::Suspect { drive, is_suspect } => {
                let drive = DriveSlot(u16::try_from(disk(drive)).unwrap_or(0));
                self.target.set_suspect(drive, is_suspect);
            }
            Step::Wait { milliseconds } => self.wait(u64::from(milliseconds)),
            Step::Port {
                port,
                is_full: true,
            } => self.port_is_full[port_of(port)] = true,
            Step::Port { .. } => {
                self.send_kept();
            }
            Step::Mtu { port, mtu } => {
                let port = port_of(port);
                let mtu = [1500, 9000, 4200, 2000, 9018][usize::from(mtu) % 5];
                self.set_mtu(port, mtu);
            }
            Step::Advertise => {
                self.target.advertise_all(&mut self.actions);
                self.carry_out();
            }
            _ => unreachable!("nothing that drives and ports do: {step:?}"),
        }
    }

    /// Whether no fault of drives is a reason for an error of a LUN: it is redundant, and one has failed at
    /// most, ever.
    fn is_sound(&self, lun: u8) -> bool {
        let views = &mut self.views.iter();
        let Some((_, view)) = views.find(|(number, _)| number.get() == lun) else {
            return false;
        };
        let is_synced = |part: &PartView| {
            part.geometry.level().is_redundant() && !part.mirrors_unsynced && part.sync.is_none()
        };
        let of = self.places.iter().filter(|place| place.lun == view.lun);
        let drives: BTreeSet<_> = of.map(|place| place.drive).collect();
        let is_untouched = !self.excused.contains(&lun);
        is_untouched
            && view.parts.iter().all(is_synced)
            && drives.intersection(&self.faulty).count() <= 1
    }

    /// A port serves another MTU from now on.
    fn set_mtu(&mut self, port: usize, mtu_bytes: usize) {
        self.mtu_bytes[port] = mtu_bytes;
        let view = PortView::single(STATIONS[port], mtu_bytes);
        let index = PortIndex(u8::try_from(port).unwrap_or(0));
        self.target.set_port(index, view);
        self.target.advertise_all(&mut self.actions);
        self.carry_out();
    }

    /// Nothing is left of any command, and each was answered, or not begun.
    pub(super) fn check_end(&self) {
        assert_eq!(self.target.commands_in_flight(), 0);
        let counters = self.target.counters();
        let admitted = counters.reads + counters.writes + counters.flushes + counters.trims;
        let ended = self.answers + counters.commands_dropped + counters.duplicates;
        assert_eq!(ended, admitted, "{counters:?}");
    }
}

/// The buffers, as the target computes over them.
struct Arena<'a>(&'a mut [u8]);

impl Memory for Arena<'_> {
    fn compute(&mut self, inputs: &[Span], outputs: &[Span], work: Work<'_>) {
        compute_in(self.0, |span| PLAN.bytes_of(span), inputs, outputs, work);
    }
}

/// The bytes of an I/O in its buffer.
const fn span(io: &Io) -> Span {
    Span {
        buffer: io.buffer,
        start_sector: io.offset_sectors,
        sectors: io.sectors,
    }
}

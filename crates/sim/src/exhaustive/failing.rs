//! The states of a target and its administration while one I/O fails: every order in which I/O is
//! completed and messages are dealt with, and every I/O as the one that fails, be it of data, of the redo
//! log or of metadata.
//!
//! The administration is not explored as the target is: it runs, and waits for its I/O, in the middle of
//! a step. So a course is begun anew for each choice that was not made yet, up to a state where one was
//! before. Until something has failed, the I/Os of one owner are completed together, as in
//! [`super::states`]; from then on each on its own.
//!
//! A failed write may have landed in any part. A member that failed one counts as lost from then on.

use super::crash::{Landed, Open, Pieces, State, States, ways_of_record};
use super::recovery::oracle;
use super::{Base, Case, Known, frame_of, serve, slots, tell, world};
use crate::content::{self, SECTOR};
use crate::disk::SimDisk;
use crate::plane::Shared;
use crate::world::{Event, World};
use aoe::{ATA_FRAME_BYTES, AtaRegisters, Header};
use raid::Geometry;
use shelf::target::{Io, IoOwner, Operation};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use zerocopy::FromBytes;

/// Every state, of all courses.
pub(super) fn states(base: &Base) -> Result<States, String> {
    let notes = Arc::new(Mutex::new(Notes {
        disks: base.disks.clone(),
        states: States::default(),
        seen: HashSet::new(),
        open: vec![Vec::new()],
    }));
    let mut world = world(&base.case);
    world.disks = base.disks.clone();
    for disk in &mut world.disks {
        disk.remember();
    }
    let world = Shared::new(world);
    loop {
        let Some(path) = lock(&notes).open.pop() else {
            break;
        };
        let text = path.clone();
        course(base, &world, &notes, path).map_err(|error| format!("{error}; choices {text:?}"))?;
    }
    let mut notes = lock(&notes);
    let mut states = std::mem::take(&mut notes.states);
    states.count = notes.seen.len() as u64;
    Ok(states)
}

fn lock(notes: &Mutex<Notes>) -> std::sync::MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Goes one course, from the start of the shelf to where nothing is left to happen.
fn course(
    base: &Base,
    world: &Shared,
    notes: &Arc<Mutex<Notes>>,
    path: Vec<u8>,
) -> Result<(), String> {
    {
        let mut world = world.lock();
        (world.is_by_hand, world.violation) = (false, None);
        for (disk, base) in world.disks.iter_mut().zip(&base.disks) {
            disk.restore(base);
        }
        world.slots = slots(&base.case, base.case.away);
        world.begin_again();
    }
    let mut manager = world.start_manager();
    serve(world, &mut manager, World::is_quiet);
    {
        let mut world = world.lock();
        world.is_by_hand = true;
        world.hand = Some(Box::new(Hand::new(base, Arc::clone(notes), path)));
    }
    loop {
        let message = {
            let mut world = world.lock();
            if !world.step(0) {
                break;
            }
            let wants_to_tell = world.hand.as_mut().is_some_and(|hand| hand.is_telling);
            wants_to_tell.then(|| world.inbox.pop_front()).flatten()
        };
        if let Some(message) = message {
            tell(&mut manager, message);
            if let Some(hand) = &mut world.lock().hand {
                hand.is_telling = false;
            }
        }
    }
    let mut world = world.lock();
    let text = world.violation.take();
    let hand = world.hand.take();
    let is_all_answered = hand.is_some_and(|hand| hand.is_pruned || hand.is_all_answered());
    match text {
        Some(text) => Err(text),
        None if !is_all_answered => Err("a command is never answered".to_owned()),
        None => Ok(()),
    }
}

/// What was found on all courses.
#[derive(Debug)]
struct Notes {
    disks: Vec<SimDisk>,
    states: States,
    seen: HashSet<u64>,
    /// Choices that nobody made yet.
    open: Vec<Vec<u8>>,
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Choice {
    /// The next frame arrives.
    Deliver,
    /// The administration deals with the next message.
    Tell,
    /// These I/Os are done.
    Complete(Vec<u64>),
    /// This I/O fails.
    Fail(u64),
}

/// A write that failed: what it was to bring to a disk.
#[derive(Hash, Debug)]
struct Limbo {
    disk: usize,
    sectors: Vec<(u64, [u8; SECTOR])>,
    /// All of it is covered by a checksum.
    is_whole: bool,
}

/// Makes the choices.
#[derive(Debug)]
pub(crate) struct Hand {
    case: Case,
    geometry: Geometry,
    notes: Arc<Mutex<Notes>>,
    path: Vec<u8>,
    taken: usize,
    is_pruned: bool,
    /// The administration is at it.
    is_telling: bool,
    /// I/O that was begun and is not done.
    flights: Vec<u64>,
    known: Known,
    /// An I/O failed; the disk, if it was a write.
    has_failed: bool,
    failed: u8,
    /// The write that failed, if it was one.
    limbo: Option<Limbo>,
    /// Everything that the administration has been told.
    history: DefaultHasher,
}

impl Hand {
    fn new(base: &Base, notes: Arc<Mutex<Notes>>, path: Vec<u8>) -> Self {
        Self {
            case: base.case.clone(),
            geometry: base.geometry,
            notes,
            path,
            taken: 0,
            is_pruned: false,
            is_telling: false,
            flights: Vec::new(),
            known: Known::default(),
            has_failed: false,
            failed: 0,
            limbo: None,
            history: DefaultHasher::new(),
        }
    }

    fn is_all_answered(&self) -> bool {
        (0..self.case.commands()).all(|number| self.known.is_answered(number))
    }

    /// Does the next step. False when nothing is left to do, or somebody was here before.
    pub(crate) fn step(&mut self, world: &mut World) -> bool {
        self.collect(world);
        let mut choices = self.choices(world);
        while choices.is_empty() && world.target.as_ref().is_some_and(|t| t.has_stripe_work()) {
            world.now += 10_000;
            world.turn();
            self.collect(world);
            choices = self.choices(world);
        }
        if choices.is_empty() || !world.has_power || world.violation.is_some() {
            return false;
        }
        let Some(choice) = self.choose(world, choices.len()) else {
            self.is_pruned = true;
            world.cut_power();
            return false;
        };
        self.carry_out(world, choices.swap_remove(choice));
        self.collect(world);
        true
    }

    /// Takes what is to come from the world, and the answers.
    fn collect(&mut self, world: &mut World) {
        world.turn_is_queued = false;
        for event in world.take_events() {
            match event {
                Event::IoDone { id } => self.flights.push(id),
                Event::Message(message) => world.inbox.push_back(message),
                _ => {}
            }
        }
        for frame in std::mem::take(&mut world.strangers) {
            if let Err(text) = self.hear(&frame) {
                world.fail(text);
            }
        }
    }

    /// A command was answered.
    fn hear(&mut self, frame: &[u8]) -> Result<(), String> {
        let (header, rest) = Header::ref_from_prefix(frame).map_err(|_| "a short answer")?;
        let (registers, _) = AtaRegisters::ref_from_prefix(rest).map_err(|_| "a short answer")?;
        if registers.command_status & ata::status::FAILURE_BITS != 0 {
            return Err(format!("a command failed: {registers:?}"));
        }
        let number = usize::try_from(header.tag.get()).map_err(|_| "a strange tag")?;
        self.known.answered |= 1 << number;
        if let Some(read) = number.checked_sub(self.case.writes.len()) {
            return self.check_read(number, self.case.reads[read].0, &frame[ATA_FRAME_BYTES..]);
        }
        Ok(())
    }

    /// Whether a read returned what it may: writes that were answered before it was sent, or others.
    fn check_read(&self, number: usize, lba: u64, data: &[u8]) -> Result<(), String> {
        let mut known = self.known;
        known.answered = (0..self.case.writes.len())
            .filter(|write| known.is_before(*write, number))
            .fold(0, |bits, write| bits | 1 << write);
        let mut oracle = oracle(&self.case, &known);
        for (lba, sector) in (lba..).zip(data.as_chunks::<SECTOR>().0) {
            oracle.check(lba, content::read(lba, sector), 1000, 1000, false)?;
        }
        Ok(())
    }

    fn choices(&self, world: &World) -> Vec<Choice> {
        let mut choices: Vec<Choice> = self.groups(world).map(Choice::Complete).collect();
        if usize::from(self.known.sent) < self.case.commands() {
            choices.push(Choice::Deliver);
        }
        if !self.is_telling && !world.inbox.is_empty() {
            choices.push(Choice::Tell);
        }
        if !self.has_failed {
            let fails = self.flights.iter().filter(|id| self.may_fail(world, **id));
            choices.extend(fails.map(|id| Choice::Fail(*id)));
        }
        choices
    }

    /// I/O that is completed together.
    fn groups(&self, world: &World) -> impl Iterator<Item = Vec<u64>> {
        let mut groups: Vec<(Option<IoOwner>, Vec<u64>)> = Vec::new();
        for &id in &self.flights {
            let owner = world.in_flight.get(&id).and_then(|flight| flight.io);
            let owner = owner.map(|io| io.owner).filter(|_| !self.has_failed);
            match groups
                .iter_mut()
                .find(|(known, _)| owner.is_some() && *known == owner)
            {
                Some((_, group)) => group.push(id),
                None => groups.push((owner, vec![id])),
            }
        }
        groups.into_iter().map(|(_, group)| group)
    }

    /// Whether the LUN can do without the disk.
    fn may_fail(&self, world: &World, id: u64) -> bool {
        let Some(flight) = world.in_flight.get(&id) else {
            return false;
        };
        let gone = self.case.away | 1 << flight.disk;
        self.case.level.is_redundant() && self.geometry.can_serve(|e| gone >> e & 1 == 0)
    }

    /// The next choice of so many; nothing if somebody made all of them in this state.
    fn choose(&mut self, world: &World, count: usize) -> Option<usize> {
        let choice = match self.path.get(self.taken) {
            Some(choice) => usize::from(*choice),
            None => {
                let mut notes = lock(&self.notes);
                let fingerprint = self.fingerprint(world);
                if !notes.seen.insert(fingerprint) {
                    return None;
                }
                let Notes { disks, states, .. } = &mut *notes;
                let state = self.state(world, disks, &mut states.pieces);
                states.add(state, self.known);
                for other in 1..u8::try_from(count).unwrap_or(u8::MAX) {
                    let mut path = self.path.clone();
                    path.push(other);
                    notes.open.push(path);
                }
                drop(notes);
                self.path.push(0);
                0
            }
        };
        self.taken += 1;
        Some(choice)
    }

    fn carry_out(&mut self, world: &mut World, choice: Choice) {
        match choice {
            Choice::Deliver => {
                let frame = frame_of(&self.case, self.known.sent);
                self.known.send();
                world.frame_arrives(&frame, 0);
            }
            Choice::Tell => {
                format!("{:?}", world.inbox.front()).hash(&mut self.history);
                self.is_telling = true;
            }
            Choice::Complete(ids) => ids.into_iter().for_each(|id| self.complete(world, id)),
            Choice::Fail(id) => {
                self.has_failed = true;
                if let Some(flight) = world.in_flight.get_mut(&id) {
                    flight.fails = true;
                    let is_read = flight.io.is_some_and(|io| io.operation == Operation::Read);
                    self.failed |= u8::from(!is_read) << flight.disk;
                    let disk = flight.disk;
                    let is_whole = is_whole(flight.io.as_ref());
                    let pending = world.disks[disk].pending();
                    self.limbo = pending.filter(|(other, ..)| *other == id).last().map(
                        |(_, first, data)| Limbo {
                            disk,
                            sectors: (first..).zip(data.as_chunks().0.iter().copied()).collect(),
                            is_whole,
                        },
                    );
                }
                self.complete(world, id);
            }
        }
    }

    fn complete(&mut self, world: &mut World, id: u64) {
        self.flights.retain(|other| *other != id);
        if let Some(flight) = world.in_flight.get(&id) {
            let disk = flight.disk;
            let pending = world.disks[disk].pending().find(|(other, ..)| *other == id);
            if let Some((_, first, data)) = pending.filter(|_| !flight.fails) {
                let written = first..first + (data.len() / SECTOR) as u64;
                if let Some(limbo) = self.limbo.as_mut().filter(|limbo| limbo.disk == disk) {
                    limbo
                        .sectors
                        .retain(|(sector, _)| !written.contains(sector));
                }
            }
            if flight.io.is_none() {
                (disk, flight.fails).hash(&mut self.history);
                pending
                    .map(|(_, first, data)| (first, data))
                    .hash(&mut self.history);
            }
        }
        world.io_done(id);
    }

    /// Tells states apart: by everything that is known, in flight or durable.
    fn fingerprint(&self, world: &World) -> u64 {
        let mut hasher = self.history.clone();
        format!("{:?}", world.target).hash(&mut hasher);
        format!("{:?} {:?}", world.inbox, world.settled).hash(&mut hasher);
        for id in &self.flights {
            let flight = world.in_flight.get(id);
            format!("{:?}", flight.map(|flight| (flight.disk, flight.io))).hash(&mut hasher);
        }
        for disk in &world.disks {
            let changed: BTreeSet<u64> = disk.changed().iter().copied().collect();
            for sector in changed {
                (sector, disk.get(sector)).hash(&mut hasher);
            }
            let pending = disk.pending().map(|(_, sector, data)| (sector, data));
            pending.collect::<Vec<_>>().hash(&mut hasher);
        }
        (
            &self.limbo,
            self.known,
            self.has_failed,
            self.failed,
            self.is_telling,
        )
            .hash(&mut hasher);
        hasher.finish()
    }

    /// What the disks hold and may hold.
    fn state(&self, world: &World, base: &[SimDisk], pieces: &mut Pieces) -> State {
        let mut state = State {
            durable: Vec::new(),
            open: Vec::new(),
            failed: self.failed,
        };
        if let Some(limbo) = &self.limbo {
            let disk = limbo.disk;
            let sectors = limbo.sectors.iter();
            let all = sectors
                .map(|(sector, data)| ((disk, *sector), pieces.number((disk, *sector, *data))));
            let all: Vec<Landed> = all.collect();
            state.open.extend(ways(&all, limbo.is_whole));
        }
        for (number, disk) in world.disks.iter().enumerate() {
            let mut piece = |sector: u64, data: &[u8; SECTOR]| -> Landed {
                ((number, sector), pieces.number((number, sector, *data)))
            };
            let changed: BTreeSet<u64> = disk.changed().iter().copied().collect();
            for sector in changed {
                let data = disk.get(sector).as_chunks::<SECTOR>().0[0];
                if data != base[number].get(sector) {
                    state.durable.push(piece(sector, &data));
                }
            }
            for (id, first, data) in disk.pending() {
                let sectors = (first..).zip(data.as_chunks::<SECTOR>().0);
                let all: Vec<Landed> = sectors.map(|(sector, data)| piece(sector, data)).collect();
                let io = world.in_flight.get(&id).and_then(|flight| flight.io);
                state.open.extend(ways(&all, is_whole(io.as_ref())));
            }
        }
        state
    }
}

/// Whether a checksum covers all of a write: metadata, and records of the log.
fn is_whole(io: Option<&Io>) -> bool {
    io.is_none_or(super::states::is_record)
}

/// The ways in which a write may have landed.
fn ways(all: &[Landed], is_whole: bool) -> Vec<Open> {
    if is_whole {
        return vec![ways_of_record(all, false)];
    }
    let one = |one: &Landed| -> Open { vec![Vec::new(), vec![*one]] };
    all.iter().map(one).collect()
}

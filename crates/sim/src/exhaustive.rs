//! Everything that may happen to a few writes: every point at which the power may go, every set of sectors
//! of the writes in flight that may have landed, every set of members that may be lost in the same crash.
//!
//! It goes in two halves.
//! 1. The states of the *target*: from a LUN that is served, frames are delivered in order and what is in
//!    flight is completed, in every order. The I/Os of one owner (a command, a slice, a group of the log)
//!    are completed together: nothing follows from any of them before the last, which is checked, so what
//!    the disks may hold in between is among what they may hold before. In every state, for every set of
//!    losses, every subset of the sectors in flight on the survivors makes a *crash*; of a record of the
//!    redo log none, all, and all but one of its sectors. Crashes with the same sectors on the same
//!    survivors are one, whatever led to them; what clients had been told by then is kept for each.
//! 2. The *recovery* of every crash: the shelf starts on what is left, sectors are read before and after
//!    the pass has gone over them, and both must be what each client may see; then what the members hold
//!    there must agree. On demand the power goes again at every event of the recovery, with nothing and
//!    with everything of what was in flight then, and the next recovery is checked in the same way.
//!
//! What it does not do: other orders within a recovery than one, more than two crashes in a row, LUNs that
//! were degraded before, I/O that fails.

use crate::content::{self, Content, SECTOR};
use crate::disk::{Landing, SimDisk};
use crate::initiator::{Initiator, Workload};
use crate::oracle::Oracle;
use crate::plane::Shared;
use crate::random::Random;
use crate::run::{make, tell, the_lun};
use crate::worker::{self, TARGET_MAC};
use crate::world::{World, WorldSpec};
use aoe::{AtaRegisters, Header, MacAddress, Shelf, Slot, Tag};
use raid::regions::{REGION_GROUP, RegionIndex};
use raid::{Geometry, Level};
use shelf::admin::Admin;
use shelf::manager::Manager;
use shelf::plane::LunView;
use shelf::target::{Action, BufferIndex, BufferPlan, Io, IoOwner, Operation, PortIndex, Target};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// Buffers: enough for a few commands and whatever they need.
const PLAN: BufferPlan = BufferPlan {
    commands: 16,
    pages: 96,
    records: 16,
};
/// Sectors of a disk: the smallest that can be a member.
const DISK_SECTORS: usize = 2048;
/// More ways than this for what is in flight to land are too many.
const WAYS_MAX: u64 = 1 << 20;
/// The smallest member has no more regions.
const REGIONS_MAX: u32 = 1024;
/// A recovery takes no longer.
const PATIENCE: u64 = 60_000_000;

/// A case: a level, how many disks, what is written.
#[derive(Clone, Debug)]
pub struct Case {
    /// The level.
    pub level: Level,
    /// How many members.
    pub disks: usize,
    /// First sector and number of sectors of each write, in the order in which they are sent.
    pub writes: Vec<(u64, u32)>,
    /// The power goes again in the recovery.
    pub crashes_again: bool,
}

/// What a case came to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Coverage {
    /// States of the target.
    pub states: u64,
    /// Crashes that differ.
    pub crashes: u64,
    /// Recoveries, also of crashes in a recovery.
    pub recoveries: u64,
}

/// What clients knew when the power went: which writes were answered, and which of these answers came before
/// which writes were sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
struct Known {
    sent: u8,
    answered: u8,
    /// Bit 8 i + j: write i was answered before write j was sent.
    before: u64,
}

/// A sector on a disk, by its number among all of the case.
type Piece = u16;

/// The sectors that differ from the base, and the lost disks.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Crash {
    lost: u8,
    pieces: Box<[Piece]>,
}

/// A LUN that is served, and nothing has been written to it.
struct Base {
    case: Case,
    geometry: Geometry,
    view: Arc<LunView>,
    disks: Vec<SimDisk>,
}

/// All sectors that are written anywhere in a case.
#[derive(Default)]
struct Pieces {
    list: Vec<(usize, u64, [u8; SECTOR])>,
    numbers: HashMap<(usize, u64, [u8; SECTOR]), Piece>,
}

impl Pieces {
    fn number(&mut self, piece: (usize, u64, [u8; SECTOR])) -> Piece {
        *self.numbers.entry(piece).or_insert_with(|| {
            self.list.push(piece);
            Piece::try_from(self.list.len() - 1).expect("a case writes few sectors")
        })
    }
}

/// A target whose I/O is completed by hand.
struct Bench<'a> {
    base: &'a Base,
    target: Target,
    arena: Vec<u8>,
    pending: Vec<(Io, Vec<u8>)>,
    /// What is durable beyond the base.
    durable: BTreeMap<(usize, u64), [u8; SECTOR]>,
    known: Known,
    now_ns: u64,
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// The next write arrives.
    Deliver,
    /// Everything in flight of an owner, the n-th that has something, is done.
    Complete(usize),
}

/// Goes through a case.
///
/// # Errors
/// What is wrong, with the crash that shows it.
pub fn explore(case: &Case) -> Result<Coverage, String> {
    let base = Base::new(case);
    let mut pieces = Pieces::default();
    let (states, crashes) = crashes(&base, &mut pieces)?;
    let mut coverage = Coverage {
        states,
        crashes: crashes.len() as u64,
        recoveries: 0,
    };
    let mut recovery = Recovery::new(&base);
    for (crash, known) in &crashes {
        recovery
            .check(crash, known, &pieces)
            .map_err(|text| format!("{case:?}, {crash:?}, {known:?}: {text}"))?;
    }
    coverage.recoveries = recovery.count;
    Ok(coverage)
}

impl Base {
    fn new(case: &Case) -> Self {
        let world = Shared::new(world(case));
        let (mut manager, geometry) = make(&world, case.level, case.disks, true);
        // The bits of all regions are set, as they are when something was written there not long ago.
        for group in (0..REGIONS_MAX).step_by(REGION_GROUP as usize) {
            manager.want_regions(the_lun(), 0, &[RegionIndex(group)]);
        }
        drop(manager);
        world.lock().begin_anew(Random::new(1));
        let mut manager = world.start_manager();
        serve(&world, &mut manager, World::is_quiet);
        drop(manager);
        let world = world.lock();
        Self {
            case: case.clone(),
            geometry,
            view: world.view.clone().expect("an online LUN has a view"),
            disks: world.disks.clone(),
        }
    }

    /// The sets of disks that may be lost, as bits.
    fn losses(&self) -> Vec<u8> {
        let can_serve = |lost: &u8| {
            let is_left = |element: u8| lost >> element & 1 == 0;
            *lost == 0 || (self.case.level.is_redundant() && self.geometry.can_serve(is_left))
        };
        let end = 1u8 << self.case.disks;
        (0..end).filter(can_serve).collect()
    }
}

fn world(case: &Case) -> World {
    let spec = WorldSpec {
        disks: case.disks,
        disk_sectors: DISK_SECTORS,
        plan: PLAN,
        ticks: false,
        traces: false,
    };
    World::new(&spec, Random::new(1))
}

/// Every crash that may happen, with what clients may have known then.
fn crashes(
    base: &Base,
    pieces: &mut Pieces,
) -> Result<(u64, BTreeMap<Crash, BTreeSet<Known>>), String> {
    let mut seen = HashSet::new();
    let mut crashes: BTreeMap<Crash, BTreeSet<Known>> = BTreeMap::new();
    let losses = base.losses();
    let mut paths: Vec<Vec<Choice>> = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let bench = Bench::replay(base, &path)?;
        if !seen.insert(bench.fingerprint()) {
            continue;
        }
        for &lost in &losses {
            bench.add_crashes(lost, pieces, &mut crashes)?;
        }
        for choice in bench.choices() {
            let mut next = path.clone();
            next.push(choice);
            paths.push(next);
        }
    }
    Ok((seen.len() as u64, crashes))
}

impl<'a> Bench<'a> {
    fn replay(base: &'a Base, path: &[Choice]) -> Result<Self, String> {
        let mut bench = Self {
            base,
            target: worker::new_target(PLAN),
            arena: vec![0; PLAN.total_sectors() * SECTOR],
            pending: Vec::new(),
            durable: BTreeMap::new(),
            known: Known::default(),
            now_ns: 0,
        };
        let mut actions = Vec::new();
        bench.target.attach(Arc::clone(&base.view), &mut actions);
        bench.carry_out(actions)?;
        for choice in path {
            match *choice {
                Choice::Deliver => bench.deliver()?,
                Choice::Complete(owner) => bench.complete(owner)?,
            }
        }
        Ok(bench)
    }

    fn owners(&self) -> Vec<IoOwner> {
        let mut owners = Vec::new();
        for (io, _) in &self.pending {
            if !owners.contains(&io.owner) {
                owners.push(io.owner);
            }
        }
        owners
    }

    fn choices(&self) -> Vec<Choice> {
        let mut choices: Vec<Choice> = (0..self.owners().len()).map(Choice::Complete).collect();
        if usize::from(self.known.sent) < self.base.case.writes.len() {
            choices.push(Choice::Deliver);
        }
        choices
    }

    fn deliver(&mut self) -> Result<(), String> {
        let number = self.known.sent;
        for write in 0..number {
            if self.known.answered >> write & 1 == 1 {
                self.known.before |= 1 << (8 * u64::from(write) + u64::from(number));
            }
        }
        self.known.sent += 1;
        let (lba, sectors) = self.base.case.writes[usize::from(number)];
        let frame = write_frame(number, lba, sectors);
        let mut actions = Vec::new();
        let port = PortIndex(0);
        let command = self.target.receive(port, &frame, frame.len(), &mut actions);
        let command = command.ok_or("a write was not admitted")?;
        let start = PLAN.sectors_of(BufferIndex::of_command(command)).start * SECTOR;
        let payload = &frame[aoe::ATA_FRAME_BYTES..];
        self.arena[start..start + payload.len()].copy_from_slice(payload);
        self.carry_out(actions)
    }

    /// Completes everything of an owner.
    fn complete(&mut self, owner: usize) -> Result<(), String> {
        let owner = self.owners()[owner];
        let is_its = |(io, _): &(Io, Vec<u8>)| io.owner == owner;
        let mut its: Vec<(Io, Vec<u8>)> = Vec::new();
        while let Some(index) = self.pending.iter().position(is_its) {
            its.push(self.pending.remove(index));
        }
        let last = its.len() - 1;
        for (index, (io, data)) in its.iter().enumerate() {
            self.land(io, data);
            let mut actions = Vec::new();
            self.target.complete(io, true, &mut actions);
            if index < last && !actions.is_empty() {
                return Err(format!(
                    "something follows from one of several I/Os: {io:?}, {actions:?}"
                ));
            }
            self.carry_out(actions)?;
        }
        Ok(())
    }

    fn land(&mut self, io: &Io, data: &[u8]) {
        let disk = usize::from(io.drive.0);
        match io.operation {
            Operation::Flush => {}
            Operation::Write => {
                for (sector, bytes) in (io.sector..).zip(data.as_chunks::<SECTOR>().0) {
                    self.durable.insert((disk, sector), *bytes);
                }
            }
            Operation::Read => {
                let range = PLAN.bytes_of(&worker::span(io));
                let out = &mut self.arena[range];
                for (sector, bytes) in (io.sector..).zip(out.as_chunks_mut::<SECTOR>().0) {
                    match self.durable.get(&(disk, sector)) {
                        Some(durable) => *bytes = *durable,
                        None => bytes.copy_from_slice(self.base.disks[disk].get(sector)),
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, mut actions: Vec<Action>) -> Result<(), String> {
        loop {
            for action in std::mem::take(&mut actions) {
                self.act(action)?;
            }
            if self.target.has_stripe_work() {
                // Nothing waits for more of its stripe.
                self.now_ns += 10_000_000;
                let mut memory = worker::Arena {
                    bytes: &mut self.arena,
                    plan: PLAN,
                };
                self.target
                    .stripe_step(self.now_ns, false, &mut memory, &mut actions);
            } else if actions.is_empty() {
                return Ok(());
            }
        }
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Io(io) => {
                let data = if io.operation == Operation::Write {
                    self.arena[PLAN.bytes_of(&worker::span(&io))].to_vec()
                } else {
                    Vec::new()
                };
                self.pending.push((io, data));
            }
            Action::Reply(reply) => {
                if let Some(command) = reply.command {
                    self.target.sent(command);
                }
                let (header, registers) = parse(&reply.head);
                if registers.command_status & ata::status::FAILURE_BITS != 0 {
                    return Err(format!("a write failed: {registers:?}"));
                }
                self.known.answered |= 1 << header.tag.get();
            }
            Action::Settled { .. } => {}
            other => return Err(format!("nobody asked for {other:?}")),
        }
        Ok(())
    }

    /// Tells states apart: by everything that the target knows and that is in flight or durable.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.target).hash(&mut hasher);
        for (io, data) in &self.pending {
            format!("{io:?}").hash(&mut hasher);
            data.hash(&mut hasher);
        }
        (&self.durable, self.known).hash(&mut hasher);
        hasher.finish()
    }

    /// Adds every crash of this state in which these disks are lost.
    fn add_crashes(
        &self,
        lost: u8,
        pieces: &mut Pieces,
        crashes: &mut BTreeMap<Crash, BTreeSet<Known>>,
    ) -> Result<(), String> {
        let is_left = |disk: usize| lost >> disk & 1 == 0;
        let mut fixed = BTreeMap::new();
        for (&(disk, sector), data) in self.durable.iter().filter(|((disk, _), _)| is_left(*disk)) {
            fixed.insert((disk, sector), pieces.number((disk, sector, *data)));
        }
        let records = self.pending.iter().filter(|(io, _)| is_record(io)).count();
        // What is open, and for each such thing the ways in which it may have landed.
        let mut open: Vec<Vec<Vec<Landed>>> = Vec::new();
        for (io, data) in &self.pending {
            let disk = usize::from(io.drive.0);
            let sectors = data.as_chunks::<SECTOR>().0;
            let mut all = Vec::new();
            for (sector, data) in (io.sector..).zip(sectors).filter(|_| is_left(disk)) {
                all.push(((disk, sector), pieces.number((disk, sector, *data))));
            }
            if is_record(io) {
                open.push(ways_of_record(&all, records));
            } else {
                open.extend(all.into_iter().map(|one| vec![Vec::new(), vec![one]]));
            }
        }
        let count: u64 = open.iter().map(|ways| ways.len() as u64).product();
        if count > WAYS_MAX {
            return Err(format!("{count} ways to land are too many"));
        }
        for number in 0..count {
            let (mut all, mut rest) = (fixed.clone(), number);
            for ways in &open {
                let len = ways.len() as u64;
                all.extend(
                    ways[usize::try_from(rest % len).unwrap_or(0)]
                        .iter()
                        .copied(),
                );
                rest /= len;
            }
            let crash = Crash {
                lost,
                pieces: all.into_values().collect(),
            };
            crashes.entry(crash).or_default().insert(self.known);
        }
        Ok(())
    }
}

/// A sector of a disk, and what is there.
type Landed = ((usize, u64), Piece);

/// Whether an I/O writes a record of the redo log.
const fn is_record(io: &Io) -> bool {
    matches!(
        (io.owner, io.operation),
        (IoOwner::Group(_), Operation::Write)
    )
}

/// The ways in which a record may have landed. Checksums cover all of it, so that whatever lacks a sector
/// is the
/// same to who reads it: nothing, everything, and each sector missing, or, with many records in flight, the
/// first or
/// the last.
fn ways_of_record(all: &[Landed], records: usize) -> Vec<Vec<Landed>> {
    let mut ways = vec![Vec::new(), all.to_vec()];
    for missing in 0..all.len() {
        if records <= 2 || missing == 0 || missing + 1 == all.len() {
            let mut way = all.to_vec();
            way.remove(missing);
            ways.push(way);
        }
    }
    if all.is_empty() {
        ways.truncate(1);
    }
    ways
}

/// Recovers crashes, one after the other, in one world.
struct Recovery<'a> {
    base: &'a Base,
    world: Shared,
    count: u64,
}

impl<'a> Recovery<'a> {
    fn new(base: &'a Base) -> Self {
        let mut world = world(&base.case);
        world.disks = base.disks.clone();
        for disk in &mut world.disks {
            disk.remember();
        }
        let workload = Workload {
            zones: Vec::new(),
            writes: 0,
            pause: 0,
        };
        world.initiators = vec![Initiator::new(0, workload)];
        Self {
            base,
            world: Shared::new(world),
            count: 0,
        }
    }

    fn check(
        &mut self,
        crash: &Crash,
        known: &BTreeSet<Known>,
        pieces: &Pieces,
    ) -> Result<(), String> {
        self.set_up(crash, pieces);
        let before = self.world.lock().counts.events;
        let reads = self.recover(None)?;
        let events = self.world.lock().counts.events - before;
        self.judge(&reads, known)?;
        if !self.base.case.crashes_again {
            return Ok(());
        }
        for landing in [Landing::Nothing, Landing::Everything] {
            for at in 0..events {
                self.set_up(crash, pieces);
                let mut reads = self
                    .recover(Some((at, landing)))
                    .map_err(|text| format!("cut after {at} events, {landing:?}: {text}"))?;
                self.world.lock().begin_anew(Random::new(2));
                reads.extend(self.recover(None)?);
                self.judge(&reads, known)
                    .map_err(|text| format!("cut after {at} events, {landing:?}: {text}"))?;
            }
        }
        Ok(())
    }

    /// Puts on the disks what a crash left.
    fn set_up(&mut self, crash: &Crash, pieces: &Pieces) {
        let mut world = self.world.lock();
        for (disk, base) in world.disks.iter_mut().zip(&self.base.disks) {
            disk.restore(base);
        }
        for &piece in &crash.pieces {
            let (disk, sector, data) = &pieces.list[usize::from(piece)];
            world.disks[*disk].put(*sector, data);
        }
        let slot = |disk: usize| (crash.lost >> disk & 1 == 0).then_some(disk);
        world.slots = (0..self.base.case.disks).map(slot).collect();
        world.begin_anew(Random::new(1));
    }

    /// Starts the shelf, reads what was written, lets the pass go over it, and reads again. Gives what was
    /// read,
    /// in order; fewer when the power went.
    fn recover(&mut self, cut: Option<(u64, Landing)>) -> Result<Vec<(u64, Content)>, String> {
        self.count += 1;
        {
            let mut world = self.world.lock();
            world.captured = Some(Vec::new());
            world.cut_after = cut.map(|(at, _)| at);
            world.landing = cut.map_or(Landing::Nothing, |(_, landing)| landing);
        }
        let mut manager = self.world.start_manager();
        let is_online = manager
            .luns()
            .iter()
            .any(|l| l.lun == the_lun() && l.online);
        if self.world.lock().has_power && !is_online {
            return Err(format!("the LUN is not served: {:?}", manager.luns()));
        }
        self.read_all(&mut manager);
        let end = self.last_sector();
        serve(&self.world, &mut manager, |world| world.pass_is_beyond(end));
        self.read_all(&mut manager);
        drop(manager);
        let mut world = self.world.lock();
        if let Some(text) = world.violation.take() {
            return Err(text);
        }
        let agrees = world.has_power && cut.is_none();
        world.cut_power();
        let reads = world.captured.take().unwrap_or_default();
        drop(world);
        if agrees {
            self.members_agree()?;
            let expected: u64 = self.written().iter().map(|(_, n)| 2 * u64::from(*n)).sum();
            if reads.len() as u64 != expected {
                return Err(format!("{} of {expected} sectors were read", reads.len()));
            }
        }
        Ok(reads)
    }

    /// The written ranges, each once.
    fn written(&self) -> BTreeSet<(u64, u32)> {
        self.base.case.writes.iter().copied().collect()
    }

    fn last_sector(&self) -> u64 {
        let ends = self.written().into_iter();
        ends.map(|(lba, sectors)| lba + u64::from(sectors))
            .max()
            .unwrap_or(0)
    }

    fn read_all(&self, manager: &mut Manager) {
        self.world.lock().want_reads(self.written());
        serve(&self.world, manager, World::is_all_answered);
    }

    /// Whether the members hold the same where anything was written.
    fn members_agree(&self) -> Result<(), String> {
        let world = self.world.lock();
        let view = &self.base.view.parts[0];
        let mut rows = BTreeSet::new();
        for (lba, sectors) in self.written() {
            for segment in self.base.geometry.segments(lba, sectors) {
                for sector in 0..u64::from(segment.sectors) {
                    rows.insert((segment.mirrors.first, segment.member_sector + sector));
                }
            }
        }
        for (first, sector) in rows {
            let is_present = |element: &u8| world.slots[usize::from(*element)].is_some();
            let block = |element: u8| {
                let offset = view.members[usize::from(element)].map(|m| m.data_offset_sectors);
                world.disks[usize::from(element)].get(offset.unwrap_or(0) + sector)
            };
            let geometry = &self.base.geometry;
            let agrees = match geometry.parity_count() {
                0 => {
                    let sets = geometry.mirror_sets();
                    let set = sets.into_iter().find(|set| set.first == first);
                    let mut present = set.into_iter().flatten().filter(is_present).map(block);
                    present
                        .next()
                        .is_none_or(|one| present.all(|other| other == one))
                }
                _ if !(0..geometry.members()).all(|element| is_present(&element)) => true,
                _ => crate::audit::is_parity_right(geometry, sector, &block),
            };
            if !agrees {
                return Err(format!("members differ in sector {sector} after the pass"));
            }
        }
        Ok(())
    }

    /// Whether what was read is right for all that clients may have known.
    fn judge(&self, reads: &[(u64, Content)], known: &BTreeSet<Known>) -> Result<(), String> {
        for known in known {
            let mut oracle = self.oracle(known);
            for (time, (lba, content)) in (1000..).zip(reads) {
                oracle
                    .check(*lba, *content, time, time, true)
                    .map_err(|text| format!("{text}; {known:?}"))?;
            }
        }
        Ok(())
    }

    /// An oracle that knows what clients knew: writes are sent at 10, 20 …, or after the answers that came
    /// before.
    fn oracle(&self, known: &Known) -> Oracle {
        let mut oracle = Oracle::default();
        let is_before = |one: usize, other: usize| known.before >> (8 * one + other) & 1 == 1;
        let sent = usize::from(known.sent);
        let mut answered = vec![false; sent];
        for number in 0..sent {
            for (earlier, is_known) in answered.iter_mut().enumerate().take(number) {
                if is_before(earlier, number) && !std::mem::replace(is_known, true) {
                    oracle.acknowledge(earlier as u64 + 1, 10 * number as u64 + 5, u64::MAX);
                }
            }
            let (lba, sectors) = self.base.case.writes[number];
            oracle.begin_write(lba, sectors, 10 * number as u64 + 10);
        }
        for (number, is_answered) in answered.iter().enumerate() {
            if !is_answered && known.answered >> number & 1 == 1 {
                oracle.acknowledge(number as u64 + 1, 500, u64::MAX);
            }
        }
        for number in 0..sent {
            if known.answered >> number & 1 == 0 {
                oracle.abandon(number as u64 + 1);
            }
        }
        oracle.target_restarted(600);
        oracle
    }
}

/// Goes on until something is true, the power is gone, or it takes too long.
fn serve(world: &Shared, manager: &mut Manager, is_done: impl Fn(&World) -> bool) {
    let deadline = world.lock().now() + PATIENCE;
    loop {
        let message = {
            let mut world = world.lock();
            if !world.has_power || world.violation.is_some() || is_done(&world) {
                return;
            }
            let message = world.inbox.pop_front();
            if message.is_none() && !world.step(deadline) {
                return;
            }
            message
        };
        if let Some(message) = message {
            tell(manager, message);
        }
    }
}

impl World {
    /// Whether no pass runs, or it has gone over the first sectors.
    fn pass_is_beyond(&self, sectors: u64) -> bool {
        let passes = self.target.as_ref().map(Target::sync_progress);
        let mut passes = passes.into_iter().flatten();
        passes.all(|pass| pass.done_sectors >= sectors)
    }
}

fn write_frame(number: u8, lba: u64, sectors: u32) -> Vec<u8> {
    let source = MacAddress([2, 0, 0, 0, 2, 1]);
    let tag = Tag(u32::from(number));
    let code = aoe::ata::COMMAND_ATA;
    let header = Header::request(TARGET_MAC, source, Shelf(1), Slot(0), code, tag);
    let count = u8::try_from(sectors).expect("a command is short");
    let registers = AtaRegisters::extended(ata::opcode::WRITE_EXT, true, lba, count);
    let mut frame = header.as_bytes().to_vec();
    frame.extend_from_slice(registers.as_bytes());
    let start = frame.len();
    frame.resize(start + sectors as usize * SECTOR, 0);
    content::fill(lba, u64::from(number) + 1, &mut frame[start..]);
    frame
}

fn parse(head: &[u8]) -> (&Header, &AtaRegisters) {
    let (header, rest) = Header::ref_from_prefix(head).expect("a reply has a header");
    let (registers, _) = AtaRegisters::ref_from_prefix(rest).expect("a reply has registers");
    (header, registers)
}

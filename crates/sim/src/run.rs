//! A whole life of a shelf from one seed: a LUN is made and served, the power goes again and again, things
//! fail, and in the end everything is read back.

use crate::disk::Landing;
use crate::faults::{FaultClass, Faults};
use crate::initiator::{Initiator, Workload};
use crate::operator::{FAILS, Operator, operate};
use crate::plane::{Shared, superblock};
use crate::plugger::Plugger;
use crate::random::Random;
use crate::switch::{Micros, Switch};
use crate::world::{Counts, Message, World, WorldSpec};
use raid::md::Resync;
use raid::{Geometry, Level};
use shelf::admin::{Admin, AdminError, DriveSlot, LunNumber, LunStatus, MakeRequest, MemberChoice};
use shelf::manager::Manager;
use shelf::target::BufferPlan;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The levels that the data path serves.
pub const LEVELS: [Level; 6] = [
    Level::Raid1,
    Level::Raid10,
    Level::Raid5,
    Level::Raid6,
    Level::Raid0,
    Level::Jbod,
];

/// Buffers of the worker: few, so that running out of them happens.
const PLAN: BufferPlan = BufferPlan {
    commands: 48,
    pages: 128,
    records: 8,
};

/// What the administration says of a LUN that waits for a disk which has part of what was being overwritten.
const AWAITED: &str = "were being overwritten when it stopped";

/// What it says when stripes of it can be written as a whole only.
const WHOLE_ONLY: &str = "writes to the other sectors beside them fail";

/// What it says when it does without.
const TORN: &str = "were being overwritten at an unclean stop cannot be computed";

/// Pause of initiators that have time: 100 milliseconds.
const SLOW_PAUSE: Micros = 100_000;

/// Tells the random source of the administrator from that of the rest of a run.
const OPERATOR: u64 = 0x6f70_6572_6174_6f72;

/// Tells the random source of whoever pulls and inserts disks from the others.
const PLUGS: u64 = 0x706c_7567_7300_0000;

/// Tells the random source of streams from the others.
const STREAMS: u64 = 0x0073_7472_6561_6d73;

/// Tells the random source of TRIMs from the others.
const TRIMS: u64 = 0x7472_696d_0000_0000;

/// Chunks of LUNs that get streams: the smallest.
const STREAM_CHUNK_KIB: u32 = 16;

/// Sectors of which one worker is the owner: few, so that commands cross from one to another.
const GROUP_SECTORS: u64 = 12;

/// The same where disks have sectors of 4096 bytes: whole ones.
const BLOCK_GROUP_SECTORS: u64 = 16;

/// Tells the random source of the sectors of disks from the others.
const BLOCKS: u64 = 0x626c_6f63_6b73_0000;

/// Within this time everything must be answered when nothing fails any more.
const PATIENCE: Micros = 900_000_000;

/// What a run is asked to be. What is not given follows from the seed.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// Levels to choose from; empty for all.
    pub levels: Vec<Level>,
    /// Faults to choose from; nothing for all but the silent ones.
    pub faults: Option<Vec<FaultClass>>,
    /// So many of the last events are kept as text.
    pub trace_lines: usize,
    /// Nobody replaces members that work, and nobody trims.
    pub keeps_members: bool,
    /// Somebody may pull and insert disks while the shelf runs.
    pub plugs: bool,
    /// What happens more often than it would.
    pub stress: Option<Stress>,
    /// How many workers there are; 0 is one, too. Of every second seed they share a receive queue.
    pub workers: u8,
    /// Mbit/s that each initiator is sent; 0 for as fast as can be.
    pub pace: u64,
    /// Some of the disks, or all, have sectors of 4096 bytes.
    pub blocks: bool,
}

/// What is seldom of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stress {
    /// Disks that hang do so with single writes, and lives are slow enough for what comes of that.
    StuckWrites,
    /// Whole stripes are being overwritten when the power goes, and a disk is away afterwards.
    TornStripes,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The level.
    pub level: Level,
    /// How many members.
    pub members: usize,
    /// What was counted.
    pub counts: Counts,
    /// What was wrong, if anything.
    pub violation: Option<String>,
    /// The last events, if they were asked for.
    pub trace: Vec<String>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Report {
    let mut random = Random::new(seed);
    let levels: &[Level] = if options.levels.is_empty() {
        &LEVELS
    } else {
        &options.levels
    };
    let level = random.pick(levels);
    let members = member_count(level, &mut random);
    let mut other = Random::new(seed ^ OPERATOR);
    let has_operator = !options.keeps_members && level.is_redundant() && other.chance(400);
    let mut plugs = Random::new(seed ^ PLUGS);
    let has_plugs = options.plugs && level.is_redundant() && plugs.chance(300);
    let mut streams = Random::new(seed ^ STREAMS);
    let are_streams_due = streams.chance(350) || options.stress == Some(Stress::TornStripes);
    let has_streams = !options.keeps_members && level.parity_count() > 0 && are_streams_due;
    let streams = has_streams.then_some(streams);
    let mut trims = Random::new(seed ^ TRIMS);
    let has_trims = !options.keeps_members && level.parity_count() == 0 && trims.chance(250);
    let trims = has_trims.then_some(trims);
    let disk_sectors = random.pick(&[2048, 2048, 6200, 3000, 4800]);
    // Spares: too small, as large as members, and larger. Who replaces members that work finds one that fits.
    let mut further =
        [0, 1].map(|_| disk_sectors + random.pick(&[0, 0, 700]) - random.pick(&[0, 0, 0, 400]));
    let mut further_count = random.pick(&[0, 1, 2, 2]);
    if has_operator {
        further[0] = disk_sectors;
        further_count = further_count.max(1);
    }
    let spec = WorldSpec {
        disks: members,
        disk_sectors,
        further,
        further_count,
        plan: PLAN,
        blocks: some_with_blocks(seed, members, options),
        workers: workers_of(options),
        shares_queue: options.workers > 1 && seed.is_multiple_of(2),
        ticks: true,
        trace_lines: options.trace_lines,
    };
    let world = Shared::new(World::new(&spec, random.clone()));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let start = (level, members, has_operator);
        let mut life = Life::begin(&world, start, (streams, trims), options, random);
        life.operator = has_operator.then(|| Operator::new(other, members));
        life.plugger = has_plugs.then(|| Plugger::new(plugs));
        life.live();
    }));
    let mut world = world.lock();
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.fail(format!("panic: {}", text.unwrap_or_default()));
    }
    Report {
        seed,
        level,
        members,
        counts: world.counts,
        violation: world.violation.clone(),
        trace: world.trace().map(str::to_owned).collect(),
    }
}

/// Disks with sectors of 4096 bytes, as bits: all, some, or only those that are no members at first.
fn some_with_blocks(seed: u64, members: usize, options: &Options) -> u32 {
    if !options.blocks {
        return 0;
    }
    let mut random = Random::new(seed ^ BLOCKS);
    match random.below(4) {
        0 => u32::MAX,
        1 => u32::MAX << members,
        _ => (0..u32::BITS).fold(0, |bits, disk| bits | u32::from(random.chance(500)) << disk),
    }
}

/// How many workers there are, and the sectors of a group.
fn workers_of(options: &Options) -> (u8, u64) {
    let group_sectors = if options.blocks {
        BLOCK_GROUP_SECTORS
    } else {
        GROUP_SECTORS
    };
    (options.workers.max(1), group_sectors)
}

fn member_count(level: Level, random: &mut Random) -> usize {
    match level {
        Level::Raw | Level::Jbod => 1,
        Level::Raid0 => random.pick(&[2, 3]),
        Level::Raid1 => random.pick(&[2, 2, 3, 4]),
        Level::Raid10 => random.pick(&[4, 4, 6]),
        Level::Raid5 => random.pick(&[3, 4, 5]),
        Level::Raid6 => random.pick(&[4, 5, 6]),
    }
}

/// The number of the only LUN.
pub(crate) fn the_lun() -> LunNumber {
    LunNumber::new(0).expect("0 is a LUN number")
}

/// A shelf that is there, with or without power.
pub(crate) struct Life {
    pub(crate) world: Shared,
    pub(crate) manager: Option<Manager>,
    pub(crate) geometry: Geometry,
    zones: Vec<(u64, u64)>,
    has_power_cuts: bool,
    pub(crate) random: Random,
    operator: Option<Operator>,
    plugger: Option<Plugger>,
    /// The administrator took the LUN offline, and has not brought it back.
    pub(crate) is_offline: bool,
    /// Notices since a scrub began.
    pub(crate) heard: Vec<String>,
}

impl Life {
    /// Makes the LUN and brings it online.
    fn begin(
        world: &Shared,
        (level, members, has_operator): (Level, usize, bool),
        (mut streams, mut trims): (Option<Random>, Option<Random>),
        options: &Options,
        mut random: Random,
    ) -> Self {
        let is_clean = random.chance(400);
        if !is_clean {
            let mut world = world.lock();
            for disk in &mut world.disks {
                litter(disk.medium_mut(), &mut random);
            }
        }
        // Whole stripes are small, and often written.
        let chunk_kib = streams.as_ref().map(|_| STREAM_CHUNK_KIB);
        let (manager, geometry) = make(world, level, members, is_clean, chunk_kib);
        let zones = choose_zones(&geometry, &mut random);
        let all = options.faults.clone();
        let all = all.unwrap_or_else(|| FaultClass::LOUD.to_vec());
        // Each run has some of them: a fault that is always there hides others.
        let classes: Vec<FaultClass> = if options.faults.is_some() {
            all
        } else {
            let is_chosen = |class: &FaultClass| *class == FaultClass::Power || random.chance(450);
            all.into_iter().filter(is_chosen).collect()
        };
        // Two who give commands would be in each other's way.
        let is_alone = !options.keeps_members && !has_operator;
        let classes: Vec<FaultClass> = classes
            .into_iter()
            .filter(|class| *class != FaultClass::Command || is_alone)
            .collect();
        let initiators = random.pick(&[1, 1, 2, 3]);
        // With fast clients no life is so long that a disk is given up for hanging.
        let is_slow = classes.contains(&FaultClass::Hang)
            && (random.chance(400) || options.stress == Some(Stress::StuckWrites));
        {
            let mut world = world.lock();
            let workload = Workload {
                zones: zones.clone(),
                writes: random.pick(&[300, 500, 800]),
                pause: if is_slow {
                    SLOW_PAUSE
                } else {
                    random.pick(&[20, 300, 3000])
                },
                trims: None,
                stream: None,
            };
            let initiator = |number| {
                let mut workload = workload.clone();
                workload.trims = trims.as_mut().map(|random| Random::new(random.next()));
                workload.stream = streams.as_mut().map(|random| stream(&geometry, random));
                Initiator::new(number, workload)
            };
            world.initiators = (0..initiators).map(initiator).collect();
            world.faults = Faults::new(classes.iter().copied(), geometry);
            world.faults.stress = options.stress;
            // Who is no member yet, such as spares.
            world.members_change();
            if classes.contains(&FaultClass::Network) {
                world.switch = Switch::random(&mut random);
            }
            world.waits = is_slow;
            if options.pace > 0 {
                world.set_pace(options.pace);
            }
            world.set_working(true);
        }
        Self {
            world: world.clone(),
            manager: Some(manager),
            geometry,
            zones,
            has_power_cuts: classes.contains(&FaultClass::Power),
            random,
            operator: None,
            plugger: None,
            is_offline: false,
            heard: Vec::new(),
        }
    }

    fn live(&mut self) {
        for _ in 0..self.random.between(3..=12) {
            let events = self.arm();
            self.serve_for(events);
            if self.is_over() {
                return;
            }
            self.world.lock().cut_power();
            self.restart();
        }
        self.finish();
    }

    fn is_over(&self) -> bool {
        self.world.lock().violation.is_some()
    }

    /// Chooses what happens next: faults, and the power cut or, seldom, an orderly stop.
    fn arm(&mut self) -> u64 {
        let random = &mut self.random;
        let most = random.pick(&[60, 300, 1200]);
        let events = random.between(0..=most);
        let mut world = self.world.lock();
        let world = &mut *world;
        let (from, disks) = (world.counts.events, world.disks.len());
        world.faults.schedule(random, from, &self.zones, disks);
        world.landing = match random.below(5) {
            0 => Landing::Nothing,
            1 => Landing::Everything,
            2 => Landing::Prefix,
            _ => Landing::Each(random.pick(&[100, 500, 900])),
        };
        if !self.has_power_cuts || random.chance(120) {
            return events;
        }
        world.cut_after = Some(events);
        u64::MAX
    }

    /// Serves until so many events have happened, then stops in good order; or until the power is gone.
    fn serve_for(&mut self, events: u64) {
        let end = self.world.lock().counts.events.saturating_add(events);
        self.serve(Micros::MAX, |world| {
            world.counts.events >= end && world.now >= world.busy_until
        });
        if self.world.lock().has_power
            && let Some(manager) = &mut self.manager
        {
            manager.shutdown();
            self.manager = None;
            let mut world = self.world.lock();
            world.note(|| "stopped in good order".to_owned());
            let is_stopped = world.has_power;
            if is_stopped {
                world.power_off();
            }
        }
    }

    /// Goes on until something is true, the power is gone or something is wrong; without commands.
    pub(crate) fn serve_quietly(&mut self, is_done: impl Fn(&World) -> bool) -> bool {
        self.serve_quietly_for(PATIENCE, is_done)
    }

    /// Goes on until something is true, the power is gone, something is wrong, or the time is over; the
    /// administrator gives commands.
    pub(crate) fn serve(&mut self, limit: Micros, is_done: impl Fn(&World) -> bool) -> bool {
        loop {
            let is_over = |world: &World| is_done(world) || world.commands_due > 0;
            if !self.serve_quietly_for(limit, is_over) {
                return false;
            }
            {
                let mut world = self.world.lock();
                if is_done(&world) {
                    return true;
                }
                world.commands_due -= 1;
            }
            self.command();
        }
    }

    /// The same for so long, without commands.
    pub(crate) fn serve_quietly_for(
        &mut self,
        limit: Micros,
        is_done: impl Fn(&World) -> bool,
    ) -> bool {
        let deadline = self.world.lock().now().saturating_add(limit);
        loop {
            let message = {
                let mut world = self.world.lock();
                if !world.has_power || world.violation.is_some() {
                    return false;
                }
                if is_done(&world) {
                    return true;
                }
                let message = world.inbox.pop_front();
                if message.is_none() && !world.step(deadline) {
                    return is_done(&world);
                }
                message
            };
            if let (Some(message), Some(manager)) = (message, &mut self.manager) {
                tell(manager, message);
                self.note_notices();
            }
            self.let_operate();
            self.let_plug();
        }
    }

    /// Lets the administrator do something, if it is time.
    fn let_operate(&mut self) {
        let (Some(operator), Some(manager)) = (&mut self.operator, &mut self.manager) else {
            return;
        };
        let (element, dice) = {
            let mut world = self.world.lock();
            if !world.has_power || !operator.is_due(world.counts.events) {
                return;
            }
            let (element, dice) = operator.decide(world.counts.events);
            if dice == FAILS && !world.may_lose_element(element) {
                return;
            }
            (element, dice)
        };
        let done = operate(manager, element, dice);
        let mut world = self.world.lock();
        // What was begun and not done may be found half done.
        let is_refused = matches!(&done, Err(error) if !matches!(error, AdminError::Io(_)));
        if dice == FAILS && is_refused {
            world.keep_element(element);
        }
        let word = done.unwrap_or("is refused for");
        world.note(|| format!("the administrator {word} element {element}"));
        drop(world);
        self.note_notices();
    }

    /// Lets disks be pulled and inserted, if it is time.
    fn let_plug(&mut self) {
        if let (Some(plugger), Some(manager)) = (&mut self.plugger, &mut self.manager) {
            plugger.act(&self.world, manager);
            self.note_notices();
        }
    }

    fn note_notices(&mut self) {
        if let Some(manager) = &mut self.manager {
            let notices = manager.take_notices();
            let mut world = self.world.lock();
            for notice in &notices {
                world.note(|| format!("notice: {notice}"));
                if notice.contains(TORN) {
                    world.tear_interrupted(notice.contains(WHOLE_ONLY));
                }
            }
            drop(world);
            self.heard.extend(notices);
        }
    }

    /// The power comes back, until the shelf has started.
    pub(crate) fn restart(&mut self) {
        self.power_up(World::rearrange_disks);
    }

    /// The same with something done to the disks before.
    fn power_up(&mut self, prepare: impl FnOnce(&mut World)) {
        self.manager = None;
        {
            let mut world = self.world.lock();
            world.power_off();
            world.audit_clean_marks(&self.geometry);
            world.reboot_initiators();
            prepare(&mut world);
            world.power_on();
            world.note(|| "power on".to_owned());
            // Now and then it goes again before the start is over.
            if self.has_power_cuts && self.random.chance(250) {
                world.cut_after = Some(self.random.below(60));
            }
        }
        if let Some(plugger) = &mut self.plugger {
            plugger.starts_anew();
        }
        self.manager = Some(self.world.start_manager());
        self.note_notices();
        if !self.world.lock().has_power {
            self.restart();
            return;
        }
        self.world.lock().cut_after = None;
        self.check_served();
    }

    fn check_served(&mut self) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        let is_served = |manager: &Manager| {
            let luns = manager.luns();
            luns.iter().any(|lun| lun.lun == the_lun() && lun.online)
        };
        let was_taken_offline = std::mem::take(&mut self.is_offline);
        if !is_served(manager) {
            // What was being overwritten may need a disk that is away: the administrator brings it back, or
            // does without.
            let is_torn =
                |lun: &LunStatus| lun.trouble.as_ref().is_some_and(|t| t.contains(AWAITED));
            let may_be_torn = {
                let world = self.world.lock();
                !world.interrupted.is_empty() && world.has_absent_disk()
            };
            if may_be_torn && manager.luns().iter().any(is_torn) {
                if self.random.chance(500) {
                    self.bring_disks_back();
                    return;
                }
                drop(manager.online(the_lun()));
            } else if was_taken_offline || self.world.lock().has_returned_disk() {
                // A disk that came back may deny the others: then the administration asks which half to
                // serve. It proposes the right one.
                drop(manager.online(the_lun()));
            }
        }
        let (is_served, luns) = (is_served(manager), manager.luns());
        self.note_notices();
        if is_served {
            let mut world = self.world.lock();
            world.judge_refusals();
            world.interrupted.clear();
            return;
        }
        let mut world = self.world.lock();
        if world.has_power {
            world.fail(format!(
                "the LUN is not served although it could be: {luns:?}"
            ));
        }
    }

    /// Switches the shelf off, puts the disk that is away into its slot, and switches it on again.
    fn bring_disks_back(&mut self) {
        if let Some(manager) = &mut self.manager {
            manager.shutdown();
        }
        self.power_up(World::put_disks_back);
    }

    /// Nothing fails any more: everything is answered, made equal, read back, stopped, and read once more.
    fn finish(&mut self) {
        {
            let mut world = self.world.lock();
            world.switch = Switch::GOOD;
            world.faults.stop();
            world.commands_due = 0;
            world.set_working(false);
        }
        self.operator = None;
        self.plugger = None;
        for is_last in [false, true] {
            if self.is_over() {
                return;
            }
            self.expect(World::is_all_answered, "something is never answered");
            self.expect(World::is_quiet, "a pass does not end");
            self.read_back();
            self.expect(World::is_all_answered, "a read is never answered");
            self.expect(World::is_quiet, "a pass does not end");
            let is_synced = {
                let mut world = self.world.lock();
                let is_synced = world.is_synced();
                if is_synced {
                    world.audit_members();
                }
                is_synced
            };
            if is_last {
                self.check_scrub();
            }
            self.stop(is_synced);
            if !is_last && !self.is_over() {
                self.restart();
            }
        }
    }

    fn expect(&mut self, is_done: impl Fn(&World) -> bool, otherwise: &str) {
        if self.is_over() {
            return;
        }
        if !self.serve(PATIENCE, is_done) {
            let mut world = self.world.lock();
            let unanswered = world.describe_unanswered();
            world.fail(format!("{otherwise}: {unanswered}"));
        }
    }

    fn read_back(&mut self) {
        let mut world = self.world.lock();
        let mut ranges: Vec<(u64, u32)> = Vec::new();
        for lba in world.oracle.touched() {
            match ranges.last_mut() {
                Some((start, sectors)) if *start + u64::from(*sectors) == lba && *sectors < 16 => {
                    *sectors += 1;
                }
                _ => ranges.push((lba, 1)),
            }
        }
        for _ in 0..8 {
            ranges.push((self.random.below(self.geometry.capacity_sectors()), 1));
        }
        world.want_reads(ranges);
    }

    fn stop(&mut self, is_synced: bool) {
        if self.is_over() {
            return;
        }
        if let Some(manager) = &mut self.manager {
            manager.shutdown();
        }
        self.manager = None;
        let mut world = self.world.lock();
        world.power_off();
        world.audit_clean_marks(&self.geometry);
        let blocks: Vec<_> = world.disks.iter().map(superblock).collect();
        let freshest = crate::audit::freshest(&blocks);
        let is_clean = freshest.is_some_and(|block| block.resync() == Resync::Clean);
        // After a write that was answered with an error members may differ.
        let is_sure = is_synced && world.counts.errors == 0;
        if is_sure && !is_clean && self.geometry.level().is_redundant() {
            let texts: Vec<String> = blocks
                .iter()
                .flatten()
                .map(|b| format!("{} {:?} {:?}", b.events(), b.resync(), b.recovery()))
                .collect();
            world.fail(format!(
                "stopped in good order with equal members, but not marked clean: {texts:?}"
            ));
        }
    }
}

impl World {
    /// Whether no pass runs and the administration has heard everything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.inbox.is_empty()
            && self.in_flight.is_empty()
            && !self.has_messages()
            && !self.is_any_busy()
    }
}

/// Makes the LUN on the first disks, in their order, and brings it online.
pub(crate) fn make(
    world: &Shared,
    level: Level,
    disks: usize,
    clean: bool,
    chunk_kib: Option<u32>,
) -> (Manager, Geometry) {
    let mut manager = world.start_manager();
    let member = |slot| MemberChoice::Drive(DriveSlot(slot));
    let members = (0..).map(member).take(disks).collect();
    manager
        .make(&MakeRequest {
            lun: the_lun(),
            level,
            members,
            force: true,
            clean,
            chunk_kib,
            label: None,
        })
        .expect("a LUN can be made of empty disks");
    manager
        .online(the_lun())
        .expect("a new LUN can be brought online");
    let view = world.lock().view.clone();
    let view = view.expect("an online LUN has a view");
    (manager, view.parts[0].geometry)
}

/// Carries a message of the worker to the administration, as the daemon does.
pub(crate) fn tell(manager: &mut Manager, message: Message) {
    match message {
        // What could not be done is in the notices; commands that wait for a view get one in any case.
        Message::Report(report) => drop(manager.hear(&report)),
        Message::DriveSuspect { drive, is_suspect } => manager.drive_suspect(drive, is_suspect),
        Message::Tick { uptime } => manager.tick(uptime),
    }
}

/// Some short runs of sectors: at both ends, across chunks, and anywhere.
fn choose_zones(geometry: &Geometry, random: &mut Random) -> Vec<(u64, u64)> {
    let capacity = geometry.capacity_sectors();
    let len = random.pick(&[16, 24, 48]);
    let chunk = u64::from(geometry.chunk_sectors()).max(16);
    let chunks = (capacity / chunk).max(2);
    let mut zones = vec![(0, len), (capacity - len, len)];
    for _ in 0..random.between(1..=3) {
        let edge = random.between(1..=chunks - 1) * chunk;
        zones.push((edge - 8, len.min(capacity - edge)));
        zones.push((random.below(capacity - len), len));
    }
    zones.retain(|(start, len)| *len > 0 && start + len <= capacity);
    zones
}

/// One to three whole stripes.
fn stream(geometry: &Geometry, random: &mut Random) -> (u64, u64) {
    let row = u64::from(geometry.chunk_sectors()) * u64::from(geometry.columns());
    let rows = geometry.capacity_sectors() / row;
    let length = random.between(1..=3).min(rows);
    let start = random.between(0..=rows - length);
    (start * row, length * row)
}

/// Fills the data area with what somebody left there.
fn litter(medium: &mut [u8], random: &mut Random) {
    let start = 256 * crate::content::SECTOR;
    for word in medium[start..].as_chunks_mut::<8>().0 {
        *word = random.next().to_le_bytes();
    }
}

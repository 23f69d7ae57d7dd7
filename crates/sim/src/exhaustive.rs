//! Everything that may happen to a few writes: every point at which the power may go, every set of sectors
//! of the writes in flight that may have landed, every set of members that may be lost in the same crash.
//!
//! It goes in two halves.
//! 1. The *states*. In [`states`]: from a LUN that is served, whole or without some members, frames are
//!    delivered in order and what is in flight is completed, in every order. The I/Os of one owner (a
//!    command, a slice, a group of the log) are completed together: nothing follows from any of them
//!    before the last, which is checked, so what the disks may hold in between is among what they may
//!    hold before. In [`failing`]: the same with the administration, while one I/O, whichever it is, of
//!    the data or of the metadata, fails; each write of metadata that follows is a state, and what a
//!    member failed may have landed in any part.
//! 2. The *recovery* of every crash: for every set of losses that the level can bear, and every subset of the
//!    sectors in flight on the survivors, the shelf starts on what is left, sectors are read before and after
//!    the pass has gone over them, and both must be what each client may see; then what the members hold
//!    there must agree. Of a record of the redo log or of metadata that spans several sectors, and is
//!    checksummed, none, all, and all but one of its sectors may have landed. Members that were away when the
//!    writes were made stay away, or are back with what they had. On demand the power goes again at every
//!    event of the recovery, with nothing and with everything of what was in flight then, and the next
//!    recovery is checked in the same way.
//!
//! Not every crash is recovered, but for every crash one that takes the same course. A recovery, with all
//! that is checked of it, is deterministic: it depends on the disks only through the sectors that it, or
//! the check, looks at before anything was written there ([`crate::disk::Footprint`]). So what is on a
//! sector is decided when it is looked at ([`crash`]): a crash that agrees with another one in what that
//! one's recovery looked at need not be recovered itself. That loses nothing, for it has nothing to do
//! with levels or symmetry; that two courses never part without having looked at different contents is
//! checked in each run, and a test recovers every crash of small cases on its own and compares.
//!
//! What it does not do: other orders within a recovery than one, more than two crashes in a row, more
//! than one I/O that fails.

use crate::content::{self, SECTOR};
use crate::disk::SimDisk;
use crate::plane::Shared;
use crate::random::Random;
use crate::run::{make, tell, the_lun};
use crate::worker::TARGET_MAC;
use crate::world::{World, WorldSpec};
use aoe::{AtaRegisters, Header, MacAddress, Shelf, Slot, Tag};
use raid::regions::{REGION_GROUP, RegionIndex};
use raid::{Geometry, Level};
use shelf::manager::Manager;
use shelf::plane::LunView;
use shelf::shard::GROUP_SECTORS;
use shelf::target::{BufferPlan, Target};
use std::sync::Arc;
use zerocopy::IntoBytes;

mod crash;
mod failing;
mod recovery;
mod states;

pub(crate) use failing::Hand;

/// Buffers: enough for a few commands and whatever they need.
const PLAN: BufferPlan = BufferPlan {
    commands: 16,
    pages: 96,
    records: 16,
};
/// Sectors of a disk: the smallest that can be a member.
const DISK_SECTORS: usize = 2048;
/// The smallest member has no more regions.
const REGIONS_MAX: u32 = 1024;
/// A recovery takes no longer.
const PATIENCE: u64 = 60_000_000;

/// A case: a level, how many disks, what is written, what goes wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// The level.
    pub level: Level,
    /// How many members.
    pub disks: usize,
    /// Members that are away from the beginning, as bits.
    pub away: u8,
    /// First sector and number of sectors of each write, in the order in which they are sent.
    pub writes: Vec<(u64, u32)>,
    /// What is read after that.
    pub reads: Vec<(u64, u32)>,
    /// One I/O fails.
    pub fails: bool,
    /// The power goes again in the recovery.
    pub crashes_again: bool,
}

impl Case {
    /// Some writes to a LUN whose members are all there; nothing fails but the power, once.
    #[must_use]
    pub fn new(level: Level, disks: usize, writes: &[(u64, u32)]) -> Self {
        Self {
            level,
            disks,
            away: 0,
            writes: writes.to_vec(),
            reads: Vec::new(),
            fails: false,
            crashes_again: false,
        }
    }

    fn commands(&self) -> usize {
        self.writes.len() + self.reads.len()
    }
}

/// What a case came to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Coverage {
    /// States.
    pub states: u64,
    /// Crashes of them: sets of losses and sectors that landed.
    pub crashes: u64,
    /// Courses that recoveries took.
    pub courses: u64,
    /// Recoveries, also of crashes in a recovery.
    pub recoveries: u64,
}

/// What clients knew when the power went: which writes were answered, and which of these answers came before
/// which commands were sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
struct Known {
    sent: u8,
    answered: u8,
    /// Bit 8 i + j: write i was answered before command j was sent.
    before: u64,
}

impl Known {
    /// The next command is sent.
    fn send(&mut self) {
        for write in 0..self.sent {
            if self.answered >> write & 1 == 1 {
                self.before |= 1 << (8 * u64::from(write) + u64::from(self.sent));
            }
        }
        self.sent += 1;
    }

    const fn is_answered(&self, number: usize) -> bool {
        self.answered >> number & 1 == 1
    }

    const fn is_before(&self, one: usize, other: usize) -> bool {
        self.before >> (8 * one + other) & 1 == 1
    }
}

/// A LUN that is served, and nothing has been written to it.
struct Base {
    case: Case,
    geometry: Geometry,
    view: Arc<LunView>,
    disks: Vec<SimDisk>,
}

/// Goes through a case.
///
/// # Errors
/// What is wrong, with the crash that shows it.
pub fn explore(case: &Case) -> Result<Coverage, String> {
    let base = Base::new(case);
    let found = if case.fails {
        failing::states(&base)
    } else {
        states::states(&base)
    };
    found
        .and_then(|states| crash::recover_all(&base, &states))
        .map_err(|text| format!("{case:?}: {text}"))
}

impl Base {
    fn new(case: &Case) -> Self {
        let world = Shared::new(world(case));
        let (mut manager, geometry) = make(&world, case.level, case.disks, true, None);
        // The bits of all regions are set, as they are when something was written there not long ago.
        for group in (0..REGIONS_MAX).step_by(REGION_GROUP as usize) {
            manager.want_regions(the_lun(), 0, &[RegionIndex(group)]);
        }
        drop(manager);
        {
            let mut world = world.lock();
            world.slots = slots(case, case.away);
            world.begin_anew(Random::new(1));
        }
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

    /// The sets of disks, as bits, that may be lost when these cannot give what is needed anyway.
    fn losses(&self, failed: u8) -> Vec<u8> {
        let gone = failed | self.case.away;
        let can_serve = |lost: &u8| {
            let is_left = |element: u8| (lost | gone) >> element & 1 == 0;
            lost | gone == 0 || (self.case.level.is_redundant() && self.geometry.can_serve(is_left))
        };
        let end = 1u8 << self.case.disks;
        (0..end).filter(can_serve).collect()
    }
}

/// Which disk is in which slot, without those that are lost.
fn slots(case: &Case, lost: u8) -> Vec<Option<usize>> {
    let slot = |disk: usize| (lost >> disk & 1 == 0).then_some(disk);
    (0..case.disks).map(slot).collect()
}

fn world(case: &Case) -> World {
    let spec = WorldSpec {
        disks: case.disks,
        disk_sectors: DISK_SECTORS,
        further: [0; 2],
        further_count: 0,
        blocks: 0,
        plan: PLAN,
        workers: (1, GROUP_SECTORS),
        shares_queue: false,
        ticks: false,
        trace_lines: 0,
    };
    World::new(&spec, Random::new(1))
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

/// The frame of a command of the case.
fn frame_of(case: &Case, number: u8) -> Vec<u8> {
    let index = usize::from(number);
    match case.writes.get(index) {
        Some(&(lba, sectors)) => write_frame(number, lba, sectors),
        None => {
            let (lba, sectors) = case.reads[index - case.writes.len()];
            command_frame(number, false, lba, sectors)
        }
    }
}

fn write_frame(number: u8, lba: u64, sectors: u32) -> Vec<u8> {
    let mut frame = command_frame(number, true, lba, sectors);
    let start = frame.len();
    frame.resize(start + sectors as usize * SECTOR, 0);
    content::fill(lba, u64::from(number) + 1, &mut frame[start..]);
    frame
}

fn command_frame(number: u8, writes: bool, lba: u64, sectors: u32) -> Vec<u8> {
    let source = MacAddress([2, 0, 0, 0, 2, 1]);
    let tag = Tag(u32::from(number));
    let code = aoe::ata::COMMAND_ATA;
    let header = Header::request(TARGET_MAC, source, Shelf(1), Slot(0), code, tag);
    let count = u8::try_from(sectors).expect("a command is short");
    let opcode = if writes {
        ata::opcode::WRITE_EXT
    } else {
        ata::opcode::READ_EXT
    };
    let registers = AtaRegisters::extended(opcode, writes, lba, count);
    let mut frame = header.as_bytes().to_vec();
    frame.extend_from_slice(registers.as_bytes());
    frame
}

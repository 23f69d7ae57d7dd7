//! The data path of one worker: frames in, I/O and replies out. Sans-I/O and deterministic.
//!
//! One request: [`Target::receive`] decodes and admits it; an I/O command takes one of a fixed number
//! of command slots, each with a buffer that the surroundings own under the same index; [`Order`]
//! lets it run when no earlier overlapping command is left; [`run`] maps it onto drives;
//! [`Target::complete`] collects the I/Os and answers; [`Target::sent`] frees the slot.
//!
//! Invariants:
//! * what holds of a write holds of each step of a TRIM;
//! * a write is answered with success only after every present member of each mirror set that it
//!   touches completed it durably;
//! * a write that a member failed is answered with success only after the administration has recorded
//!   the failure durably on the survivors;
//! * overlapping commands run in arrival order, one at a time;
//! * a write of a sector that is on the list of bad ones is answered with success only after the sector is
//!   off it durably;
//! * no sector is written before the bit of its region is durable in the write-intent bitmap;
//! * every admitted command is answered exactly once, but those that waited for the administration when
//!   their LUN went offline: it is as if they had not come, and the initiator sends them again;
//! * a LUN that has failed answers with a fault, at once, what no member is left for; one that is offline, or
//!   was removed, is silent, and initiators wait for it as long as they do (conformance rows 115, 116);
//! * a station that the mask list does not name gets no answer; one that a reservation shuts out has nothing
//!   done for it any more once the reservation is answered;
//! * nothing is asked of a drive but whole units of the LUN ([`raid::Unit`]);
//! * bounded memory: nothing is allocated for a frame after [`Target::new`], but what a change of a config
//!   string, a mask list or a reservation says, and of those the surroundings let only a few wait.
//!
//! What it does not do: touch payload bytes, know time, or log.

mod access;
mod action;
mod admit;
mod answer;
mod arrival;
mod count;
mod counters;
mod edges;
mod impostor;
mod loan;
mod memory;
mod mend;
mod pace;
mod patience;
mod regions;
mod reply;
mod run;
mod stripe;
mod sync;
mod trim;

#[cfg(test)]
mod tests;

pub use action::{
    Action, Body, Change, ChangeDecision, Io, IoOwner, KeyedWish, Lacking, MendTicket, Operation,
    PassEvent, PortIndex, PortView, Purpose, REPLY_HEAD_BYTES, Reply, Report, ScrubFinding, Wish,
};
pub use admit::Payload;
pub use arrival::Rounds;
pub use counters::Counters;
pub use loan::{CROSSINGS_MAX, PeerMessage, Route};
pub use memory::{
    BufferIndex, BufferPlan, INPUTS_MAX, Memory, OUTPUTS_MAX, PAGE_SECTORS, RECORD_SECTORS, Span,
    Work, compute_in,
};
use reply::Asked;
pub use trim::can_trim;

use crate::bad_sectors::BadSectors;
use crate::ids::{DriveSlot, LunNumber};
use crate::order::{BLOCK_SECTORS, CommandIndex, Extent, Order};
use crate::plane::LunView;
use crate::shard::{Place, WorkerSet};
use crate::statistics::{LunStatistics, PortTally, RatesPage, StationPage, Statistics};
use aoe::ATA_FRAME_BYTES;
use ata::trim::ENTRIES_MAX;
use raid::stripe::SectorMask;
use std::sync::Arc;

/// Sectors that the buffer of a command holds: what fits a frame at MTU 9000 is 17, rounded up to
/// whole pages.
pub const BUFFER_SECTORS: usize = 24;

const _: () = assert!(BUFFER_SECTORS as u64 <= BLOCK_SECTORS);

/// The Buffer Count that is advertised: what Linux uses at most (conformance row 28).
pub const BUFFER_COUNT: u16 = 64;

/// The firmware word of config replies: constant per release.
pub const FIRMWARE_VERSION: u16 = 0x0001;

/// How often a write is planned anew after members failed it, before it is answered with a fault: more
/// often than there are members to fail.
const REPLANS_MAX: u8 = 40;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    /// Behind an overlapping command.
    Waiting,
    /// I/O is in flight.
    Running,
    /// A member failed; the next view decides.
    AwaitingView,
    /// A write to a region whose bit is not durable.
    AwaitingRegion,
    /// A write that is done, of sectors that are on the list of bad ones yet.
    AwaitingMend,
    /// Answered; the frame is not sent yet.
    Replying,
    /// Its buffer has the payload of another command ([`edges`]).
    Holding,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Read,
    Write,
    /// Writes zeroes; what is being done of it is its range.
    Trim,
    Flush,
    /// A step of a pass over the mirrors: read, then write.
    Sync(sync::Phase),
}

impl Kind {
    /// Whether it changes what an initiator reads.
    const fn is_write(self) -> bool {
        matches!(self, Self::Write | Self::Trim)
    }
}

#[derive(Clone, Debug)]
struct Command {
    state: State,
    kind: Kind,
    lun: LunNumber,
    port: PortIndex,
    /// View generation that it was planned under.
    epoch: u32,
    lba: u64,
    sectors: u32,
    /// What of that the initiator asked for, where that is not all of it ([`edges`]).
    cut: Option<edges::Cut>,
    /// What is being done about the rest.
    edges: Option<edges::Edges>,
    /// The first 36 bytes of the request; the reply is made in place.
    head: [u8; ATA_FRAME_BYTES],
    /// I/Os in flight that are the command's own.
    outstanding: u16,
    /// Pieces that slices have not done, and how many there have been.
    pieces: u8,
    pieces_used: u8,
    /// The data of a read, if it is answered from the page of a slice.
    given: Option<Given>,
    /// A read of a copy that failed, while another copy gave the data: it is written anew.
    repair: Option<Io>,
    /// A drive does not answer what only the administration can do without: the next view decides.
    awaits_view: bool,
    /// A drive was pulled that the LUN cannot do without: nobody is answered.
    is_unreached: bool,
    /// Copies on slow drives were passed over.
    passed_over: bool,
    /// Sectors of a read that all copies were asked for anew, because none could give them.
    asked_again: u32,
    /// Sectors that another read has written anew on a copy since they were asked for.
    mended: u32,
    /// How often copies were asked anew.
    rounds: u8,
    /// It counts among those that run under a view: while it has I/O of its own.
    is_counted: bool,
    /// It stands in the order.
    is_ordered: bool,
    /// Workers that it borrows sectors from, and those of them that have not granted it.
    lenders: WorkerSet,
    awaits: WorkerSet,
    /// Its own order lets it run; it waits for them.
    is_due: bool,
    /// One of them cannot tell whether it has done a newer write of these sectors.
    is_stale: bool,
    /// A write that waits for an earlier command: it may be that one, sent again.
    may_repeat: bool,
    /// An I/O of this plan failed for good.
    failed: bool,
    /// A segment has no present member at all.
    unmapped: bool,
    /// The LUN was taken offline before slices could do what they were asked for.
    is_cut: bool,
    replans: u8,
    /// Its I/Os whose sectors are on the list of bad ones yet, and what its tickets say.
    mends: u16,
    mend_stamp: u64,
    /// It has told that it wrote lost sectors.
    has_told_lost: bool,
    /// The pass that a sync step belongs to.
    pass: u64,
    /// When it came.
    since_ns: u64,
    /// Sectors whose copies a step of a scrub found to differ, and writes anew.
    differing: u64,
    /// Sectors of a sync step that no copy could give.
    lost: SectorMask,
    /// The number of its report of them.
    report: u64,
}

/// Data in a page of a slice.
#[derive(Clone, Copy, Debug)]
struct Given {
    slice: u16,
    span: Span,
}

impl Command {
    /// An empty slot.
    fn free() -> Self {
        let Some(lun) = LunNumber::new(0) else {
            unreachable!("0 is a LUN number")
        };
        Self {
            state: State::Free,
            kind: Kind::Read,
            lun,
            port: PortIndex(0),
            epoch: 0,
            lba: 0,
            sectors: 0,
            cut: None,
            edges: None,
            head: [0; ATA_FRAME_BYTES],
            outstanding: 0,
            pieces: 0,
            pieces_used: 0,
            given: None,
            repair: None,
            awaits_view: false,
            is_unreached: false,
            passed_over: false,
            asked_again: 0,
            mended: 0,
            rounds: 0,
            is_counted: false,
            is_ordered: false,
            lenders: WorkerSet::default(),
            awaits: WorkerSet::default(),
            is_due: false,
            is_stale: false,
            may_repeat: false,
            failed: false,
            unmapped: false,
            is_cut: false,
            replans: 0,
            mends: 0,
            mend_stamp: 0,
            has_told_lost: false,
            pass: 0,
            since_ns: 0,
            differing: 0,
            lost: 0,
            report: 0,
        }
    }
}

#[derive(Clone, Debug)]
struct Lun {
    view: Arc<LunView>,
    /// Incremented with each view.
    epoch: u32,
    /// Commands admitted and not answered.
    commands: u32,
    /// How many another worker had, when it was asked last.
    commands_elsewhere: u32,
    /// Of these, how many were planned under an older view and are still running.
    running_old: u32,
    running: u32,
    /// An attach or detach waits to be reported.
    settling: bool,
    detaching: bool,
    /// A write to mirrors was answered with a fault.
    mirrors_differ: bool,
    /// Rounds were cut that had begun to write home: what they wrote is in the redo log.
    is_log_pending: bool,
    /// The pass over the mirrors that is running.
    sync: Option<sync::Job>,
    /// For each part which regions may be written.
    regions: Vec<Option<regions::RegionTable>>,
}

/// The data path of one worker.
#[derive(Debug)]
pub struct Target {
    /// Which of the workers it is.
    place: Place,
    loans: loan::Loans,
    /// Of writes that came by queues that the workers share.
    arrivals: arrival::Arrivals,
    ports: Vec<PortView>,
    luns: Box<[Option<Lun>]>,
    commands: Box<[Command]>,
    free: Vec<CommandIndex>,
    order: Order,
    /// Commands that may run now; empty between calls.
    ready: Vec<CommandIndex>,
    counters: Counters,
    /// The same by port, LUN and initiator.
    statistics: Statistics,
    stripes: stripe::Stripes,
    /// Steps of scrubs whose copies are to be compared.
    compares: Vec<CommandIndex>,
    /// Commands whose edges were read.
    merges: Vec<CommandIndex>,
    /// What a TRIM asks for, while it is decoded.
    extents: Vec<Extent>,
    /// Drives that are slow to answer: reads go elsewhere while they can.
    suspects: Vec<DriveSlot>,
    /// Sectors that are not to be read.
    bad_sectors: BadSectors,
    /// The last stamp that a write got.
    mend_stamp: u64,
    /// How fast passes go.
    pace: pace::Pace,
    /// By LUN, who else has its address.
    claims: Box<[impostor::Claim]>,
    /// Some LUN may have a pass to run: saves the look at each of them in every turn.
    has_passes: bool,
}

impl Target {
    /// A target for these ports with buffers as planned.
    #[must_use]
    pub fn new(ports: &[PortView], plan: BufferPlan) -> Self {
        Self::of_worker(ports, plan, Place::ALONE)
    }

    /// The target of one of several workers, which all have the same ports and plan. Each knows of all ports;
    /// announcements leave by those that are its own.
    #[must_use]
    pub fn of_worker(ports: &[PortView], plan: BufferPlan, place: Place) -> Self {
        let commands = plan.commands;
        let others = place.workers - 1;
        Self {
            place,
            loans: loan::Loans::new(commands, others),
            arrivals: arrival::Arrivals::new(ports.len(), ports.iter().any(|port| port.is_shared)),
            ports: ports.to_vec(),
            luns: vec![None; usize::from(LunNumber::MAX) + 1].into(),
            commands: vec![Command::free(); usize::from(commands)].into(),
            free: (0..commands).rev().collect(),
            order: Order::with_loans(commands, others),
            ready: Vec::with_capacity(usize::from(commands) * usize::from(place.workers)),
            counters: Counters::default(),
            statistics: Statistics::new(ports.len()),
            stripes: stripe::Stripes::new(plan),
            compares: Vec::with_capacity(usize::from(commands)),
            merges: Vec::with_capacity(usize::from(commands)),
            extents: Vec::with_capacity(ENTRIES_MAX),
            suspects: Vec::with_capacity(patience::SUSPECTS_MAX),
            bad_sectors: BadSectors::default(),
            mend_stamp: 0,
            pace: pace::Pace::new(),
            claims: vec![impostor::Claim::default(); usize::from(LunNumber::MAX) + 1].into(),
            has_passes: false,
        }
    }

    /// What was counted since the start.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What came in on each port.
    #[must_use]
    pub fn port_tallies(&mut self) -> Vec<PortTally> {
        self.statistics.ports()
    }

    /// What was counted of a LUN that is or was attached, with its rates over the last whole seconds, as
    /// many as [`crate::statistics::WINDOW_SECONDS_MAX`].
    #[must_use]
    pub fn lun_statistics(&mut self, lun: LunNumber, seconds: u64) -> Option<LunStatistics> {
        self.statistics.lun(lun, seconds)
    }

    /// What LUNs did in the last whole seconds: a few of them, from this one on, then from where the page
    /// says.
    #[must_use]
    pub fn rates_page(&mut self, from: LunNumber, seconds: u64) -> RatesPage {
        self.statistics.rates_page(from, seconds)
    }

    /// A few of the initiators that are known: from place 0 on, then from where the page says.
    #[must_use]
    pub fn station_page(&mut self, from: usize) -> StationPage {
        self.statistics.station_page(from)
    }

    /// Whether a LUN is answered for.
    #[must_use]
    pub fn serves(&self, number: LunNumber) -> bool {
        let lun = &self.luns[usize::from(number.get())];
        lun.as_ref().is_some_and(|lun| lun.view.online)
    }

    /// How many commands are admitted and not answered and sent.
    #[must_use]
    pub fn commands_in_flight(&self) -> usize {
        self.commands.len() - self.free.len()
    }

    /// How many commands can be.
    #[must_use]
    pub const fn command_slots(&self) -> usize {
        self.commands.len()
    }

    /// The MTU of a port changed: it bounds what is advertised from now on.
    pub fn set_port(&mut self, port: PortIndex, view: PortView) {
        self.ports[usize::from(port.0)] = view;
    }

    /// A port is new: behind the last one, or in the place of one that was taken out.
    ///
    /// # Panics
    /// If a place would be left out.
    pub fn put_port(&mut self, port: PortIndex, view: PortView) {
        let index = usize::from(port.0);
        if index == self.ports.len() {
            self.ports.push(view);
            self.statistics.add_port();
        } else {
            self.ports[index] = view;
        }
        self.arrivals.begin_anew(port);
    }

    /// A port is gone. What is counted of it stays.
    pub fn take_out_port(&mut self, port: PortIndex) {
        // Of the same kind as before: no command changes its way.
        let is_shared = self.ports[usize::from(port.0)].is_shared;
        self.ports[usize::from(port.0)] = PortView {
            is_shared,
            ..PortView::ABSENT
        };
        self.arrivals.begin_anew(port);
    }

    /// Whether a command that came by a port is not answered and sent.
    #[must_use]
    pub fn has_commands_of(&self, port: PortIndex) -> bool {
        let mut commands = self.commands.iter();
        commands.any(|command| {
            // Steps of passes are nobody's, and a buffer that is held is that of another command.
            let is_own = !matches!(command.state, State::Free | State::Holding)
                && !matches!(command.kind, Kind::Sync(_));
            is_own && command.port == port
        })
    }

    /// Uses `view` from now on. Reports [`Action::Settled`] when nothing runs under an older one;
    /// for an offline view when no command of the LUN is left.
    pub fn attach(&mut self, view: Arc<LunView>, out: &mut Vec<Action>) {
        let number = view.lun;
        debug_assert!(
            self.keeps_unit(&view),
            "the unit of LUN {number} changes while it is attached"
        );
        self.statistics.attach(&view);
        let slot = &mut self.luns[usize::from(number.get())];
        match slot {
            None => {
                *slot = Some(Lun {
                    view,
                    epoch: 0,
                    commands: 0,
                    commands_elsewhere: 0,
                    running_old: 0,
                    running: 0,
                    settling: true,
                    detaching: false,
                    mirrors_differ: false,
                    is_log_pending: false,
                    sync: None,
                    regions: Vec::new(),
                });
            }
            Some(lun) => {
                lun.view = view;
                lun.epoch = lun.epoch.wrapping_add(1);
                lun.running_old += lun.running;
                lun.running = 0;
                lun.settling = true;
                lun.detaching = false;
                lun.is_log_pending = false;
            }
        }
        if let Some(lun) = slot {
            self.stripes.prepare(&lun.view);
            regions::follow(&mut lun.regions, &lun.view);
            if self.place.is_home(number) {
                lun.sync = sync::Job::for_view(&lun.view, lun.sync.take());
            }
            self.has_passes |= lun.sync.is_some();
        }
        self.replan_waiting(number, out);
        self.resume_slices(number, out);
        self.settle(number, out);
    }

    /// Whether a view has the unit of the one that is attached: what was admitted under that keeps to it.
    fn keeps_unit(&self, view: &LunView) -> bool {
        let lun = self.luns[usize::from(view.lun.get())].as_ref();
        lun.is_none_or(|lun| lun.view.unit == view.unit)
    }

    /// Forgets a LUN. Reports [`Action::Settled`] when none of its commands is left.
    pub fn detach(&mut self, number: LunNumber, out: &mut Vec<Action>) {
        match &self.luns[usize::from(number.get())] {
            None => out.push(Action::Settled {
                lun: number,
                mirrors_differ: false,
                is_log_pending: false,
            }),
            Some(lun) => {
                let offline = LunView {
                    online: false,
                    ..(*lun.view).clone()
                };
                self.attach_for_detach(number, Arc::new(offline), out);
            }
        }
    }

    fn attach_for_detach(&mut self, number: LunNumber, view: Arc<LunView>, out: &mut Vec<Action>) {
        if let Some(lun) = &mut self.luns[usize::from(number.get())] {
            lun.view = view;
            lun.settling = true;
            lun.detaching = true;
            lun.sync = None;
        }
        self.replan_waiting(number, out);
        self.resume_slices(number, out);
        self.settle(number, out);
    }

    /// Commands that met a member failure go on under the present view, those that wait for regions look
    /// whether it has them, and those that wait for bad sectors whether anybody will tell.
    fn replan_waiting(&mut self, number: LunNumber, out: &mut Vec<Action>) {
        self.wake_region_waits(number);
        self.drop_mend_waits(number, out);
        for index in 0..self.commands.len() {
            let command = &self.commands[index];
            if command.lun == number && command.state == State::AwaitingView {
                let Ok(index) = CommandIndex::try_from(index) else {
                    unreachable!("commands are counted in 16 bits")
                };
                self.uncount(index);
                self.ready.push(index);
            }
        }
        self.run_ready(out);
    }

    /// A command has no I/O of its own under a view any more.
    fn uncount(&mut self, index: CommandIndex) {
        let command = &mut self.commands[usize::from(index)];
        if !std::mem::take(&mut command.is_counted) {
            return;
        }
        if let Some(lun) = &mut self.luns[usize::from(command.lun.get())] {
            lun.running_old -= u32::from(command.epoch != lun.epoch);
            lun.running -= u32::from(command.epoch == lun.epoch);
        }
    }

    /// Reports a change of view that has taken effect.
    fn settle(&mut self, number: LunNumber, out: &mut Vec<Action>) {
        let slot = &mut self.luns[usize::from(number.get())];
        let Some(lun) = slot else { return };
        let settled = if lun.view.online {
            lun.running_old == 0
        } else {
            // Repairs go on when everybody is answered.
            lun.commands == 0 && lun.running == 0 && lun.running_old == 0
        };
        if lun.settling && settled {
            lun.settling = false;
            let (mirrors_differ, is_log_pending) = (lun.mirrors_differ, lun.is_log_pending);
            if lun.detaching {
                *slot = None;
                self.forget_slices(number);
            }
            out.push(Action::Settled {
                lun: number,
                mirrors_differ,
                is_log_pending,
            });
        }
    }
}

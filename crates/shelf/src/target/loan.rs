//! Several workers: commands that touch sectors of more than one.
//!
//! Such a command is done by the home of its LUN ([`crate::shard`]), which *borrows* the sectors of each
//! other owner: there a loan takes a place in the order, as a write would; when nothing before it is left it
//! is granted, and the command runs when its own order lets it and everybody has granted. When it is done
//! the loans are given back. TRIMs borrow all from their first sector to their last.
//!
//! Invariants:
//! * only the home borrows sectors of a LUN, all in one step, and messages from one worker to another arrive
//!   in their order: so loans of one LUN stand in the same order everywhere, and nobody waits in a circle;
//! * a loan is given back only after it was granted, so that of each command slot at most two messages are on
//!   their way to a worker, and one back;
//! * a loan always finds room: the order has a place for each command slot of each other worker;
//! * a write that the home has not put in its place yet ([`Target::placed`]) is overtaken by no conflicting
//!   write of the same port: that one is dropped, and the initiator sends it again. Where frames of a port
//!   come in at several workers the same is kept in another way (`super::arrival`).

use super::{Action, CommandIndex, PortIndex, Rounds, Target};
use crate::ids::LunNumber;
use crate::order::{BLOCK_SECTORS, Extent, Range};
use crate::plane::LunView;
use crate::shard::{self, WorkerIndex, WorkerSet};
use aoe::{MacAddress, Request, Slot};
use raid::Unit;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};

/// Writes that this worker handed to homes, and that are not in their place yet: more are dropped.
pub const CROSSINGS_MAX: usize = 64;

/// What workers say to one another about commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerMessage {
    /// The home wants sectors of a LUN for a command.
    Borrow {
        /// The slot of the command, at the home.
        command: CommandIndex,
        /// The LUN.
        lun: LunNumber,
        /// The sectors.
        extent: Extent,
        /// For a write that came by a shared queue: how many rounds of the owner had surely ended by then.
        since: Option<u64>,
    },
    /// It has them.
    Grant {
        /// The slot of the command, at the home.
        command: CommandIndex,
        /// Commands of the LUN that the owner has under way.
        commands: u32,
        /// A write to mirrors was answered with a fault there.
        mirrors_differ: bool,
        /// A write of these sectors that was done there may be newer than the command, which is to be
        /// dropped.
        is_stale: bool,
    },
    /// It does not need them any more.
    Return {
        /// The slot of the command, at the home.
        command: CommandIndex,
    },
}

/// Where a frame is to be taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Where it came in.
    Here,
    /// By another worker.
    To {
        /// Which.
        worker: WorkerIndex,
        /// It is the home, and is to say when the command is in its place: [`Target::placed`].
        is_crossing: bool,
    },
    /// By every worker, each for what it owns.
    Everywhere,
    /// Nowhere: it is dropped, and the initiator sends it again.
    Nowhere,
}

/// A write that a home has not put in its place yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossing {
    home: WorkerIndex,
    lun: LunNumber,
    lba: u64,
    end: u64,
}

/// What a target with others beside it needs for that.
#[derive(Debug)]
pub(super) struct Loans {
    /// For each place of a loan in the order, whose LUN it is of.
    luns: Box<[LunNumber]>,
    /// In the order in which they were handed over.
    crossings: Vec<Crossing>,
    /// By place in the order: the loan is not to be used.
    stale: Box<[bool]>,
}

impl Loans {
    /// For so many command slots of each of so many other workers.
    pub(super) fn new(commands: u16, others: u8) -> Self {
        let Some(lun) = LunNumber::new(0) else {
            unreachable!("0 is a LUN number")
        };
        let count = usize::from(commands) * usize::from(others);
        Self {
            luns: vec![lun; count].into(),
            stale: vec![false; count].into(),
            crossings: Vec::with_capacity(if others > 0 { CROSSINGS_MAX } else { 0 }),
        }
    }
}

impl Target {
    /// The worker that does a command, unless any may.
    fn doer(&self, view: &LunView, command: &ata::Command) -> Option<WorkerIndex> {
        let home = self.place.home(view.lun);
        match *command {
            ata::Command::Read { lba, count } | ata::Command::Write { lba, count } => {
                let owners = self.place.owners(view, lba, u64::from(count));
                Some(owners.only().unwrap_or(home))
            }
            ata::Command::Flush | ata::Command::Trim { .. } => Some(home),
            ata::Command::Identify
            | ata::Command::Smart(_)
            | ata::Command::CheckPowerMode
            | ata::Command::Unsupported(_) => None,
        }
    }

    /// Whether a command is another worker's to do.
    pub(super) fn is_of_other(&self, view: &LunView, command: &ata::Command) -> bool {
        let doer = self.doer(view, command);
        doer.is_some_and(|doer| doer != self.place.own)
    }

    /// From whom a command of these sectors has to borrow some.
    pub(super) fn lenders(&self, view: &LunView, extent: Extent) -> WorkerSet {
        let owners = self.place.owners(view, extent.lba, extent.sectors);
        owners.without(self.place.own)
    }

    /// Who is to take in a frame that came in here. `head` is as for [`Target::receive`].
    pub fn route(&mut self, port: PortIndex, head: &[u8]) -> Route {
        let Ok(frame) = aoe::request::parse(head) else {
            return Route::Here;
        };
        let header = &frame.header;
        let Request::Ata(registers) = &frame.request else {
            return Route::Here;
        };
        let own = &self.ports[usize::from(port.0)].stations;
        if !own.contains(header.destination) && header.destination != MacAddress::BROADCAST {
            return Route::Here;
        }
        let (code, feature) = (registers.command_status, registers.feature_error);
        let command = ata::Command::decode(code, feature, registers.lba, registers.count);
        if header.slot == Slot::ANY.0 {
            let is_io = matches!(command, ata::Command::Read { .. } | ata::Command::Flush);
            return if is_io {
                Route::Everywhere
            } else {
                Route::Here
            };
        }
        let Some(view) = self.online_view(header.slot, header) else {
            return Route::Here;
        };
        let Some(worker) = self.doer(&view, &command) else {
            return Route::Here;
        };
        if self.ports[usize::from(port.0)].is_shared
            && let Some(route) = self.route_shared(port, &view, &command)
        {
            return route;
        }
        self.route_to(worker, &view, &command)
    }

    /// The same of a command that came by a queue that the workers share, if it is not as for any other
    /// queue.
    fn route_shared(
        &mut self,
        port: PortIndex,
        view: &LunView,
        command: &ata::Command,
    ) -> Option<Route> {
        let home = self.place.home(view.lun);
        let (lba, sectors) = match *command {
            ata::Command::Read { lba, count } | ata::Command::Write { lba, count } => {
                (lba, u64::from(count))
            }
            _ => (0, 0),
        };
        let spread_sectors = shard::spread_sectors(view);
        let receiver = self.place.receiver(view.lun, spread_sectors, lba, sectors);
        if receiver != self.place.own {
            self.counters.misdirected += 1;
            return Some(Route::Nowhere);
        }
        let is_write = matches!(command, ata::Command::Write { .. });
        if receiver == home {
            return None;
        }
        if is_write && !self.arrivals.take_in(port, view.lun, lba, lba + sectors) {
            self.counters.stale_writes += 1;
            return Some(Route::Nowhere);
        }
        Some(Route::Here)
    }

    fn route_to(&mut self, worker: WorkerIndex, view: &LunView, command: &ata::Command) -> Route {
        let (lba, end) = match *command {
            ata::Command::Write { lba, count } => (lba, lba.saturating_add(u64::from(count))),
            ata::Command::Trim { .. } => (0, u64::MAX),
            _ => (0, 0),
        };
        let home = self.place.home(view.lun);
        let owners = self.place.owners(view, lba, end - lba);
        let is_trim = matches!(command, ata::Command::Trim { .. });
        let is_crossing = end > 0 && (is_trim || owners.only().is_none());
        if is_crossing && home != self.place.own {
            if self.loans.crossings.len() == CROSSINGS_MAX {
                self.counters.crossings_dropped += 1;
                return Route::Nowhere;
            }
            let lun = view.lun;
            self.loans.crossings.push(Crossing {
                home,
                lun,
                lba,
                end,
            });
            return Route::To {
                worker,
                is_crossing,
            };
        }
        let overtakes = |crossing: &Crossing| {
            crossing.lun == view.lun && crossing.lba < end && lba < crossing.end
        };
        if worker != home && self.loans.crossings.iter().any(overtakes) {
            self.counters.crossings_dropped += 1;
            return Route::Nowhere;
        }
        if worker == self.place.own {
            return Route::Here;
        }
        Route::To {
            worker,
            is_crossing: false,
        }
    }

    /// A home has taken in the first of the writes that were handed to it as crossing, or it was not handed
    /// over after all.
    pub fn placed(&mut self, home: WorkerIndex) {
        let crossings = &mut self.loans.crossings;
        let first = crossings.iter().position(|crossing| crossing.home == home);
        if let Some(first) = first {
            crossings.remove(first);
        }
    }

    /// The last write that was to be handed to a home was not: there was no room.
    pub fn not_handed_over(&mut self) {
        self.loans.crossings.pop();
    }

    /// A worker looks at a queue that it shares ([`PortView::is_shared`]), and these rounds were read before.
    ///
    /// [`PortView::is_shared`]: super::PortView::is_shared
    pub fn looked(&mut self, port: PortIndex, rounds: &Rounds) {
        self.arrivals.looked(port, rounds);
    }

    /// What a look has found is taken in; how many rounds that makes, if the others are to be told.
    pub fn taken_in(&mut self) -> Option<u64> {
        self.arrivals.end_round()
    }

    /// Asks for what a command has to borrow.
    #[inline]
    pub(super) fn borrow(&mut self, index: CommandIndex, extent: Extent, out: &mut Vec<Action>) {
        let command = &self.commands[usize::from(index)];
        let (lun, lenders, port) = (command.lun, command.lenders, command.port);
        if lenders.is_empty() {
            return;
        }
        let is_of_shared = command.kind.is_write() && self.ports[usize::from(port.0)].is_shared;
        for to in lenders.iter() {
            self.counters.loans += 1;
            let message = PeerMessage::Borrow {
                command: index,
                lun,
                extent,
                since: is_of_shared.then(|| self.arrivals.since(port, to)),
            };
            out.push(Action::Peer { to, message });
        }
    }

    /// A command leaves the order, here and where it has borrowed.
    pub(super) fn leave_order(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        let ready = &mut self.ready;
        self.order.leave(index, &mut |next| ready.push(next));
        let lenders = &mut self.commands[usize::from(index)].lenders;
        if !lenders.is_empty() {
            for to in std::mem::take(lenders).iter() {
                let message = PeerMessage::Return { command: index };
                out.push(Action::Peer { to, message });
            }
        }
    }

    /// Whether what may run by the order of this worker is a loan, which is granted, or a command that waits
    /// for some.
    #[inline]
    pub(super) fn awaits_loans(&mut self, index: CommandIndex, out: &mut Vec<Action>) -> bool {
        let Some(command) = self.commands.get_mut(usize::from(index)) else {
            self.grant(index, out);
            return true;
        };
        #[cfg(feature = "planted")]
        if planted::is(Bug::LoanNotAwaited) {
            return false;
        }
        command.is_due = !command.awaits.is_empty();
        command.is_due
    }

    /// Where a loan stands in the order: behind the commands, by worker and slot.
    fn loan_index(&self, from: WorkerIndex, command: CommandIndex) -> CommandIndex {
        let rank = usize::from(from.0) - usize::from(from.0 > self.place.own.0);
        let index = self.commands.len() * (rank + 1) + usize::from(command);
        match CommandIndex::try_from(index) {
            Ok(index) => index,
            Err(_) => unreachable!("places in the order are counted in 16 bits"),
        }
    }

    /// Takes a message of another worker.
    pub fn hear_peer(&mut self, from: WorkerIndex, message: PeerMessage, out: &mut Vec<Action>) {
        match message {
            PeerMessage::Borrow {
                command,
                lun,
                extent,
                since,
            } => {
                let index = self.loan_index(from, command);
                let place = usize::from(index) - self.commands.len();
                self.loans.luns[place] = lun;
                let is_lent = since.is_none_or(|since| self.arrivals.lend(lun, &extent, since));
                self.loans.stale[place] = !is_lent;
                // Two TRIMs of one unit wait for one another at the home.
                let may_run = if extent.sectors > BLOCK_SECTORS {
                    match self.order.enter_wide(index, (lun, Unit::SECTOR), &[extent]) {
                        Some(may_run) => may_run,
                        None => unreachable!("there is room for the wide commands of all workers"),
                    }
                } else {
                    let Extent { lba, sectors } = extent;
                    let writes = true;
                    self.order.enter(
                        index,
                        Range {
                            lun,
                            lba,
                            sectors,
                            writes,
                        },
                    )
                };
                if may_run {
                    self.grant(index, out);
                }
            }
            PeerMessage::Grant {
                command,
                commands,
                mirrors_differ,
                is_stale,
            } => {
                self.commands[usize::from(command)].is_stale |= is_stale;
                self.granted(from, command, (commands, mirrors_differ), out);
            }
            PeerMessage::Return { command } => {
                let index = self.loan_index(from, command);
                let ready = &mut self.ready;
                self.order.leave(index, &mut |next| ready.push(next));
                self.run_ready(out);
            }
        }
    }

    /// Nothing before a loan is left.
    #[cold]
    pub(super) fn grant(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        let slots = self.commands.len();
        let (rank, slot) = (usize::from(index) / slots - 1, usize::from(index) % slots);
        let number = self.loans.luns[usize::from(index) - slots];
        let lun = self.luns[usize::from(number.get())].as_ref();
        let (Ok(rank), Ok(command)) = (u8::try_from(rank), CommandIndex::try_from(slot)) else {
            unreachable!("as many workers and slots as there are")
        };
        let message = PeerMessage::Grant {
            command,
            commands: lun.map_or(0, |lun| lun.commands),
            mirrors_differ: lun.is_some_and(|lun| lun.mirrors_differ),
            is_stale: self.loans.stale[usize::from(index) - slots],
        };
        let to = WorkerIndex(rank + u8::from(rank >= self.place.own.0));
        out.push(Action::Peer { to, message });
    }

    fn granted(
        &mut self,
        from: WorkerIndex,
        index: CommandIndex,
        (commands, mirrors_differ): (u32, bool),
        out: &mut Vec<Action>,
    ) {
        let command = &mut self.commands[usize::from(index)];
        command.awaits = command.awaits.without(from);
        let is_ready = command.awaits.is_empty() && std::mem::take(&mut command.is_due);
        if let Some(lun) = &mut self.luns[usize::from(command.lun.get())] {
            lun.mirrors_differ |= mirrors_differ;
            lun.commands_elsewhere = commands;
        }
        if is_ready {
            self.ready.push(index);
            self.run_ready(out);
        }
    }
}

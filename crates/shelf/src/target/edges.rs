//! Commands that begin or end inside a unit of a LUN whose drives have larger sectors ([`raid::Unit`]).
//!
//! Such a command is *widened* to whole units when it arrives, and stands in the order with these. Of a read,
//! only the answer is cut from what was read. A write lies in the buffer of a second command slot, at its
//! place among the sectors of its units, and goes this way before it is planned as a write:
//!
//! ```text
//! read the unit at one end ─ its sectors outside the write go beside the payload ─ the same at the other end
//!   └─ all of it goes to the buffer of the command, the second slot is free ─ an ordinary write of units
//! ```
//!
//! A step of a TRIM that covers a unit in part reads that into its buffer, zeroes its own sectors there, and
//! writes the unit.
//!
//! Invariants:
//! * from the first read of an edge to the end of the write nobody else writes, or reads, its units;
//! * an edge is read as a client would be given it; while it cannot be had nothing is written, and the answer
//!   is a fault;
//! * sectors of the units that are not of the command are written only with what was read of them;
//! * what was cut before it is planned as a write has written nothing: it is as if it had not come;
//! * a second slot is taken with the first or not at all, and does nothing of its own.

use super::{
    Action, Asked, BUFFER_SECTORS, BufferIndex, Command, Kind, Memory, Span, State, Target,
};
use crate::order::CommandIndex;
use aoe::sectors_per_frame;
use raid::Unit;

/// What of the units of a command is its own: the first sector, counted from the first of them, and how many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    skip: u8,
    own: u8,
}

/// What a command wants of the units that it was widened to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Widened {
    /// The first of its own sectors, counted from the first of its units, and how many its own are.
    pub(super) skip: u8,
    pub(super) own: u8,
    /// The first of its units, and how many sectors all of them are.
    pub(super) lba: u64,
    pub(super) sectors: u32,
}

impl Widened {
    /// A command of so many sectors, at most 255.
    fn new(unit: Unit, lba: u64, count: u8) -> Self {
        let (start, sectors) = unit.around(lba, u32::from(count));
        Self {
            skip: u8::try_from(lba - start).unwrap_or(0),
            own: count,
            lba: start,
            sectors,
        }
    }

    /// Whether it has sectors that are not its own.
    const fn is_partial(&self) -> bool {
        self.own as u32 != self.sectors
    }

    /// Whether a sector, counted from the first of its units, is its own.
    const fn is_own(&self, sector: u32) -> bool {
        let skip = self.skip as u32;
        skip <= sector && sector < skip + self.own as u32
    }
}

/// What is being done about the edges of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edges {
    /// A write: edges are being read.
    Write {
        /// The slot whose buffer has the payload, and the edges that were read.
        payload: CommandIndex,
        /// All of the write.
        whole: Widened,
        /// The unit that is being read, by its first sector, counted from the first unit.
        at: u8,
    },
    /// A step of a TRIM inside one unit: that is read, and then written.
    Trim {
        /// Its sectors.
        lba: u64,
        sectors: u32,
        /// The unit has been read.
        is_read: bool,
    },
}

/// Sectors of a unit that has edges.
const UNIT_SECTORS: u32 = Unit::BLOCK.sectors();

/// The first edge of a write from a unit on that is not all its own, by its first sector: of those that are
/// left only the first and the last can be one.
fn edge_from(whole: &Widened, from: u32) -> Option<u8> {
    let mut units = (from..whole.sectors).step_by(UNIT_SECTORS as usize);
    let edge = units.find(|first| {
        let mut sectors = *first..*first + UNIT_SECTORS;
        sectors.any(|sector| !whole.is_own(sector))
    });
    edge.and_then(|edge| u8::try_from(edge).ok())
}

/// The most sectors of a command to a LUN, in frames of a port: widened it is to fit into a buffer. What is
/// advertised is never more (conformance row 29).
pub(super) fn sectors_max(unit: Unit, mtu_bytes: usize) -> usize {
    let beside = unit.sectors() as usize - 1;
    sectors_per_frame(mtu_bytes).min(BUFFER_SECTORS - beside)
}

impl Target {
    /// A command has its slot, and was widened to the unit of its LUN: notes what of that is its own. False
    /// when it needs a second slot, and all are taken: then its own was given back.
    #[cold]
    pub(super) fn note_cut(
        &mut self,
        asked: Asked<'_>,
        index: CommandIndex,
        (lba, count): (u64, u8),
    ) -> bool {
        let widened = Widened::new(asked.view.unit, lba, count);
        if !widened.is_partial() {
            return true;
        }
        let Widened { skip, own, .. } = widened;
        self.commands[usize::from(index)].cut = Some(Cut { skip, own });
        if self.commands[usize::from(index)].kind != Kind::Write {
            return true;
        }
        let Some(payload) = self.take_payload_slot(asked, index) else {
            return false;
        };
        let Some(edges) = begin(widened, payload) else {
            unreachable!("a write that has sectors of others has an edge");
        };
        self.commands[usize::from(index)].edges = Some(edges);
        true
    }

    /// The second slot of a write with edges; `None` when all are taken: then its own was given back.
    fn take_payload_slot(&mut self, asked: Asked<'_>, index: CommandIndex) -> Option<CommandIndex> {
        let Some((payload, _)) = self.take_slot(asked) else {
            self.release(index);
            return None;
        };
        self.counters.partial_writes += 1;
        self.commands[usize::from(payload)] = Command {
            state: State::Holding,
            lun: asked.view.lun,
            ..Command::free()
        };
        Some(payload)
    }

    /// Where the payload of a write lies.
    pub(super) fn payload_span(&self, index: CommandIndex) -> Span {
        let command = &self.commands[usize::from(index)];
        let holder = match self.commands[usize::from(index)].edges {
            Some(Edges::Write { payload, .. }) => payload,
            _ => index,
        };
        Span {
            buffer: BufferIndex::of_command(holder),
            start_sector: command.skip(),
            sectors: command.own_sectors(),
        }
    }

    /// A command that has edges is to be planned: its range and kind are those of what is to be done next.
    #[cold]
    pub(super) fn aim_at_edge(&mut self, index: CommandIndex) {
        let edges = self.commands[usize::from(index)].edges;
        let command = &mut self.commands[usize::from(index)];
        match edges {
            Some(Edges::Write { whole, at, .. }) => {
                command.kind = Kind::Read;
                (command.lba, command.sectors) = (whole.lba + u64::from(at), UNIT_SECTORS);
            }
            Some(Edges::Trim { lba, is_read, .. }) => {
                command.kind = if is_read { Kind::Write } else { Kind::Read };
                (command.lba, command.sectors) = (Unit::BLOCK.floor(lba), UNIT_SECTORS);
            }
            None => {}
        }
    }

    /// Sets what a TRIM does next. A step that does not cover whole units goes by its edge.
    pub(super) fn set_trim_step(
        &mut self,
        index: CommandIndex,
        unit: Unit,
        (lba, sectors): (u64, u32),
    ) {
        let command = &mut self.commands[usize::from(index)];
        (command.lba, command.sectors) = (lba, sectors);
        if unit.divides(lba | u64::from(sectors)) {
            return;
        }
        self.counters.partial_writes += 1;
        command.edges = Some(Edges::Trim {
            lba,
            sectors,
            is_read: false,
        });
    }

    /// All of the I/O of a command with edges is done, well or not; false if the command ends with that.
    #[cold]
    pub(super) fn edge_done(&mut self, index: CommandIndex, out: &mut Vec<Action>) -> bool {
        let command = &self.commands[usize::from(index)];
        let is_well = !command.failed && !command.unmapped;
        match self.commands[usize::from(index)].edges {
            Some(Edges::Trim {
                lba,
                sectors,
                is_read: true,
            }) => {
                self.forget_edges(index);
                let command = &mut self.commands[usize::from(index)];
                (command.lba, command.sectors) = (lba, sectors);
                is_well && self.next_trim_step(index, out)
            }
            Some(_) if is_well => {
                // Its bytes are put together when memory is at hand.
                let number = self.commands[usize::from(index)].lun;
                self.uncount(index);
                self.merges.push(index);
                self.settle(number, out);
                true
            }
            _ => {
                self.forget_edges(index);
                false
            }
        }
    }

    /// Nothing more is to be done about the edges of a command: it is what it was when it came.
    #[cold]
    pub(super) fn forget_edges(&mut self, index: CommandIndex) {
        let edges = self.commands[usize::from(index)].edges;
        let command = &mut self.commands[usize::from(index)];
        command.edges = None;
        match edges {
            Some(Edges::Write { payload, whole, .. }) => {
                command.kind = Kind::Write;
                (command.lba, command.sectors) = (whole.lba, whole.sectors);
                self.release(payload);
            }
            Some(Edges::Trim { .. }) => command.kind = Kind::Trim,
            None => {}
        }
    }

    /// Puts edges that were read beside what is to be written, and goes on with their commands.
    pub(super) fn merge_edges(&mut self, memory: &mut impl Memory, out: &mut Vec<Action>) {
        while let Some(index) = self.merges.pop() {
            match self.commands[usize::from(index)].edges {
                Some(Edges::Write { payload, whole, at }) => {
                    self.merge_write(index, (payload, whole, at), memory);
                }
                Some(Edges::Trim { lba, sectors, .. }) => {
                    self.merge_trim(index, (lba, sectors), memory);
                }
                None => unreachable!("only commands with edges are merged"),
            }
            if self.is_offline(self.commands[usize::from(index)].lun) {
                // It has written nothing.
                self.drop_command(index, out);
            } else {
                self.ready.push(index);
            }
            self.run_ready(out);
        }
    }

    /// Where the edge that a command has read lies: in its own buffer, or in the page of a slice.
    fn edge_span(&self, index: CommandIndex) -> Span {
        let own = Span {
            buffer: BufferIndex::of_command(index),
            start_sector: 0,
            sectors: UNIT_SECTORS,
        };
        let given = self.commands[usize::from(index)].given;
        given.map_or(own, |given| given.span)
    }

    /// The page that an edge was given in is needed no more.
    fn return_edge(&mut self, index: CommandIndex) {
        if let Some(given) = self.commands[usize::from(index)].given.take() {
            self.given_back(given.slice);
        }
    }

    fn merge_write(
        &mut self,
        index: CommandIndex,
        (payload, whole, at): (CommandIndex, Widened, u8),
        memory: &mut impl Memory,
    ) {
        let edge = self.edge_span(index);
        let first = u32::from(at);
        for sector in (0..UNIT_SECTORS).filter(|sector| !whole.is_own(first + sector)) {
            let from = Span {
                start_sector: edge.start_sector + sector,
                sectors: 1,
                ..edge
            };
            let to = Span {
                buffer: BufferIndex::of_command(payload),
                start_sector: first + sector,
                sectors: 1,
            };
            copy(from, to, memory);
        }
        self.return_edge(index);
        if let Some(at) = edge_from(&whole, first + UNIT_SECTORS) {
            let next = Edges::Write { payload, whole, at };
            self.commands[usize::from(index)].edges = Some(next);
            return;
        }
        let all = |command| Span {
            buffer: BufferIndex::of_command(command),
            start_sector: 0,
            sectors: whole.sectors,
        };
        copy(all(payload), all(index), memory);
        self.forget_edges(index);
    }

    fn merge_trim(
        &mut self,
        index: CommandIndex,
        (lba, sectors): (u64, u32),
        memory: &mut impl Memory,
    ) {
        debug_assert!(self.commands[usize::from(index)].given.is_none());
        let zeroed = Span {
            buffer: BufferIndex::of_command(index),
            start_sector: u32::try_from(lba - Unit::BLOCK.floor(lba)).unwrap_or(0),
            sectors,
        };
        memory.compute(&[], &[zeroed], &mut |_, written| written[0].fill(0));
        let edges = Edges::Trim {
            lba,
            sectors,
            is_read: true,
        };
        self.commands[usize::from(index)].edges = Some(edges);
    }
}

fn copy(from: Span, to: Span, memory: &mut impl Memory) {
    memory.compute(&[from], &[to], &mut |read, written| {
        written[0].copy_from_slice(read[0]);
    });
}

impl Command {
    /// The first sector that the initiator asked for, counted from the first of its units.
    pub(super) fn skip(&self) -> u32 {
        self.cut.map_or(0, |cut| u32::from(cut.skip))
    }

    /// How many sectors the initiator asked for.
    pub(super) fn own_sectors(&self) -> u32 {
        self.cut.map_or(self.sectors, |cut| u32::from(cut.own))
    }

    /// Whether all that it writes is what an initiator asked for.
    pub(super) fn is_whole_write(&self) -> bool {
        self.kind == Kind::Write && self.cut.is_none() && self.edges.is_none()
    }

    /// What of the data that was read is the answer.
    pub(super) fn answer_in(&self, all: Span) -> Span {
        let Some(cut) = self.cut else {
            return all;
        };
        Span {
            buffer: all.buffer,
            start_sector: all.start_sector + u32::from(cut.skip),
            sectors: cut.own.into(),
        }
    }

    /// What the initiator asked for, whatever is being done for it.
    pub(super) const fn asked_kind(&self) -> Kind {
        match self.edges {
            None => self.kind,
            Some(Edges::Write { .. }) => Kind::Write,
            Some(Edges::Trim { .. }) => Kind::Trim,
        }
    }
}

/// The first edge of a write that is to begin.
fn begin(whole: Widened, payload: CommandIndex) -> Option<Edges> {
    let at = edge_from(&whole, 0)?;
    Some(Edges::Write { payload, whole, at })
}

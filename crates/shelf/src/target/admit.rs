//! From a received frame to an answer or an admitted command.
//!
//! Budget (`corebench stages admit`): 100 ns, 1400 instructions.

use super::edges;
use super::{
    Action, Asked, Body, BufferIndex, BufferPlan, Change, Command, Kind, Memory, PortIndex, State,
    Target, Wish,
};
use crate::access::Rights;
use crate::ids::LunNumber;
use crate::order::{CommandIndex, Extent, Range};
use crate::plane::{LunView, PartView};
use crate::shard::WorkerSet;
use crate::statistics::Who;
use aoe::{
    ATA_FRAME_BYTES, AtaRegisters, ConfigCommand, ErrorCode, Frame, Header, MacAddress, Request,
    RequestError, SECTOR_BYTES, Shelf, Slot,
};
use ata::{Effect, Outcome};
use raid::Unit;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use std::sync::Arc;
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U16;

/// The data of an admitted write or TRIM, in the frame that it came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payload {
    /// The command whose buffer must be filled with it.
    pub command: CommandIndex,
    /// Where it begins.
    pub offset: usize,
    /// The buffer that it goes to.
    pub buffer: BufferIndex,
    /// The first sector of that.
    pub start_sector: u32,
}

impl Payload {
    /// Where it goes, in bytes of all buffers: as much as there is room for.
    #[must_use]
    pub fn place(&self, plan: &BufferPlan) -> std::ops::Range<usize> {
        let buffer = plan.sectors_of(self.buffer);
        (buffer.start + self.start_sector as usize) * SECTOR_BYTES..buffer.end * SECTOR_BYTES
    }
}

/// How a request came.
#[derive(Clone, Copy)]
struct Arrival {
    /// Its address may mean several LUNs.
    is_wildcard: bool,
    /// Bytes of data that came with an ATA command.
    data_bytes: usize,
    /// What the sender may do.
    rights: Rights,
}

impl Target {
    /// Takes one frame. `head` is the frame, or at least its first [`aoe::request::PARSED_BYTES_MAX`] bytes;
    /// `frame_bytes` the length of all of it.
    ///
    /// When the frame was an admitted write or TRIM, returns where its data are to go, and [`Self::filled`]
    /// must then be told, before the actions are carried out.
    pub fn receive(
        &mut self,
        port: PortIndex,
        head: &[u8],
        frame_bytes: usize,
        out: &mut Vec<Action>,
    ) -> Option<Payload> {
        self.counters.frames += 1;
        let frame = match aoe::request::parse(head) {
            Ok(frame) => frame,
            Err(error) => {
                if error == RequestError::Response {
                    self.hear_response(port, head, out);
                }
                self.count_refused(error);
                self.statistics.refused(port, head, error);
                return None;
            }
        };
        let header = &frame.header;
        let own = &self.ports[usize::from(port.0)].stations;
        if !own.contains(header.destination) && header.destination != MacAddress::BROADCAST {
            self.counters.not_ours += 1;
            self.statistics.frames(port).not_ours += 1;
            return None;
        }
        self.counters.redirected += u64::from(frame.inner.is_some());
        let mut write = None;
        let mut served = false;
        let numbers = if header.slot == Slot::ANY.0 {
            0..=LunNumber::MAX
        } else {
            header.slot..=header.slot
        };
        for number in numbers {
            let Some(view) = self.online_view(number, header) else {
                continue;
            };
            served = true;
            let Some(rights) = self.admitted(port, &view, &frame) else {
                continue;
            };
            let arrival = Arrival {
                is_wildcard: header.is_wildcard(),
                data_bytes: frame_bytes.saturating_sub(frame.data_offset),
                rights,
            };
            let header = &answering(&frame, &view);
            let view = &view;
            let asked = Asked { port, header, view };
            write = write.or(self.dispatch(asked, &frame.request, arrival, out));
        }
        self.counters.no_lun += u64::from(!served);
        if served {
            self.statistics.frames(port).to_luns += 1;
        } else {
            self.statistics.frames(port).no_lun += 1;
        }
        let offset = frame.data_offset;
        write.map(|command| {
            let place = self.payload_span(command);
            Payload {
                command,
                offset,
                buffer: place.buffer,
                start_sector: place.start_sector,
            }
        })
    }

    /// What the sender of a frame may do, if the LUN answers it at all (conformance rows 54, 119). For a
    /// message that was redirected its own sender counts, once the one who sent it on is admitted.
    fn admitted(&mut self, port: PortIndex, view: &LunView, frame: &Frame<'_>) -> Option<Rights> {
        let who = Who {
            port,
            lun: view.lun,
            mac: frame.header.source,
        };
        if !view.access.is_of_vlan(frame.vlan) {
            self.counters.wrong_vlan += 1;
            self.statistics.count(who, |tally| tally.wrong_vlan += 1);
            return None;
        }
        let rights = view.access.rights(frame.header.source);
        if !rights.is_admitted {
            self.counters.masked += 1;
            self.statistics.count(who, |tally| tally.masked += 1);
            return None;
        }
        let of_inner = frame.inner.map(|inner| view.access.rights(inner.source));
        Some(of_inner.unwrap_or(rights))
    }

    #[cold]
    fn count_refused(&mut self, error: RequestError) {
        let counter = match error {
            RequestError::Runt => &mut self.counters.runts,
            RequestError::NotAoe => &mut self.counters.not_aoe,
            RequestError::Response => &mut self.counters.responses,
            RequestError::Version => &mut self.counters.bad_version,
            RequestError::MulticastSource => &mut self.counters.multicast_source,
        };
        *counter += 1;
    }

    /// The LUN with this number, if it is online and the header means it.
    pub(super) fn online_view(&self, number: u8, header: &Header) -> Option<Arc<LunView>> {
        let lun = self.luns.get(usize::from(number))?.as_ref()?;
        let view = &lun.view;
        (view.online && header.addresses(view.shelf, Slot(number))).then(|| Arc::clone(view))
    }

    fn dispatch(
        &mut self,
        asked: Asked<'_>,
        request: &Request<'_>,
        arrival: Arrival,
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        match *request {
            Request::Ata(registers) => return self.ata(asked, registers, arrival, out),
            Request::Config {
                command,
                string,
                replacement,
            } => self.config(asked, command, (string, replacement), out),
            Request::Mask {
                command,
                directives,
            } => self.mask(asked, command, directives, out),
            Request::Reserve { command, macs } => self.reserve(asked, command, macs, out),
            Request::Keyed(command) => self.keyed(asked, command, out),
            Request::Other(_) => {
                self.statistics
                    .count(asked.who(), |tally| tally.unknown_commands += 1);
                self.reply_error(asked, ErrorCode::UnrecognizedCommand, out);
            }
        }
        None
    }

    /// Hands a change on to the administration.
    pub(super) fn ask_for(asked: Asked<'_>, wish: Wish, out: &mut Vec<Action>) {
        out.push(Action::Change(Change {
            port: asked.port,
            request: *asked.header,
            lun: asked.view.lun,
            wish,
        }));
    }

    /// Query Config (conformance rows 25 to 46).
    fn config(
        &mut self,
        asked: Asked<'_>,
        command: ConfigCommand,
        (string, replacement): (Option<&[u8]>, Option<&[u8]>),
        out: &mut Vec<Action>,
    ) {
        self.counters.configs += 1;
        self.statistics
            .count(asked.who(), |tally| tally.configs += 1);
        let present = asked.view.config_string.as_slice();
        let replacement = match command {
            ConfigCommand::TestAndReplace => replacement,
            _ => Some(&[][..]),
        };
        let answers = match (command, string, replacement) {
            (ConfigCommand::Read, _, _) => true,
            (ConfigCommand::TestExact, string, _) => string == Some(present),
            (ConfigCommand::TestPrefix, string, _) => {
                string.is_some_and(|prefix| present.starts_with(prefix))
            }
            (
                ConfigCommand::SetIfEmpty | ConfigCommand::ForceSet | ConfigCommand::TestAndReplace,
                Some(string),
                Some(replacement),
            ) => {
                let wish = Wish::Config {
                    command,
                    string: string.into(),
                    replacement: replacement.into(),
                };
                return Self::ask_for(asked, wish, out);
            }
            (_, _, _) => {
                self.reply_config(asked, command, Some(ErrorCode::BadArgument), out);
                return;
            }
        };
        if answers {
            self.tell_config(asked, command, out);
        } else {
            self.counters.config_silent += 1;
        }
    }

    /// ATA commands (conformance rows 68 to 100).
    fn ata(
        &mut self,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        arrival: Arrival,
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        let (code, feature) = (registers.command_status, registers.feature_error);
        let command = ata::Command::decode(code, feature, registers.lba, registers.count);
        if !self.place.is_alone() && self.is_of_other(asked.view, &command) {
            self.counters.of_others += 1;
            return None;
        }
        if !is_allowed(arrival.rights, command.effect()) {
            self.counters.reserved += 1;
            self.statistics
                .count(asked.who(), |tally| tally.reserved += 1);
            self.reply_error(asked, ErrorCode::TargetReserved, out);
            return None;
        }
        match command {
            ata::Command::Identify => {
                self.counters.identifies += 1;
                self.statistics
                    .count(asked.who(), |tally| tally.identifies += 1);
                let body = Body::Identify(Arc::clone(asked.view));
                self.reply_ata(asked, registers, Outcome::Success, body, out);
            }
            ata::Command::Smart(smart) => {
                self.count_other_ata(asked);
                self.reply_smart(asked, registers, smart, out);
            }
            ata::Command::CheckPowerMode => {
                self.count_other_ata(asked);
                self.reply_power_mode(asked, registers, out);
            }
            ata::Command::Unsupported(code) => {
                self.count_other_ata(asked);
                // aoeping tells what became of a SMART command only if the answer has a page (row 127).
                let body = if code == ata::opcode::SMART {
                    Body::Page(&ata::smart::EMPTY_PAGE)
                } else {
                    Body::Empty
                };
                self.reply_ata(asked, registers, Outcome::Aborted, body, out);
            }
            ata::Command::Flush => {
                self.admit(asked, registers, Kind::Flush, (0, 0), out);
            }
            ata::Command::Read { lba, count } => {
                let fit = self.check(asked, lba, count, None);
                self.admit_if(fit, asked, registers, (Kind::Read, lba, count), out);
            }
            ata::Command::Write { .. } | ata::Command::Trim { .. } if arrival.is_wildcard => {
                // One frame must not hit every LUN (row 16).
                self.counters.wildcard_writes += 1;
                self.statistics
                    .count(asked.who(), |tally| tally.wildcard_writes += 1);
            }
            ata::Command::Write { .. } | ata::Command::Trim { .. }
                if asked.view.access.is_read_only =>
            {
                self.count_refused_ata(asked);
                self.reply_ata(asked, registers, Outcome::Aborted, Body::Empty, out); // row 96
            }
            ata::Command::Write { lba, count } => {
                let held = arrival.data_bytes / SECTOR_BYTES;
                let fit = self.check(asked, lba, count, Some(held));
                return self.admit_if(fit, asked, registers, (Kind::Write, lba, count), out);
            }
            ata::Command::Trim { blocks } => {
                let held = (blocks, arrival.data_bytes);
                return self.admit_trim(asked, registers, held, out);
            }
        }
        None
    }

    /// Whether a transfer can be done. `held` is how many sectors of data came with a write.
    fn check(&self, asked: Asked<'_>, lba: u64, count: u8, held: Option<usize>) -> Outcome {
        let sectors = usize::from(count);
        let mtu_bytes = self.ports[usize::from(asked.port.0)].mtu_bytes;
        let fits = edges::sectors_max(asked.view.unit, mtu_bytes);
        let end = lba.checked_add(u64::from(count));
        if sectors == 0 || sectors > fits || held.is_some_and(|held| held < sectors) {
            Outcome::Aborted // rows 85, 86, 92
        } else if end.is_none_or(|end| end > asked.view.capacity_sectors) {
            Outcome::OutOfRange // rows 87, 88
        } else {
            Outcome::Success
        }
    }

    fn admit_if(
        &mut self,
        fit: Outcome,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        (kind, lba, count): (Kind, u64, u8),
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        if fit == Outcome::Success {
            self.admit(asked, registers, kind, (lba, count), out)
        } else {
            self.count_refused_ata(asked);
            self.reply_ata(asked, registers, fit, Body::Empty, out);
            None
        }
    }

    /// Takes a command slot and runs the command, or lets it wait for those before it.
    fn admit(
        &mut self,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        kind: Kind,
        range: (u64, u8),
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        if asked.view.unit == Unit::SECTOR {
            self.admit_as::<false>(asked, registers, kind, range, out)
        } else {
            self.admit_as::<true>(asked, registers, kind, range, out)
        }
    }

    /// As [`Target::admit`], for a LUN whose commands are widened or not.
    #[inline]
    fn admit_as<const WIDENS: bool>(
        &mut self,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        kind: Kind,
        (lba, count): (u64, u8),
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        let (index, epoch) = self.take_slot(asked)?;
        let own = (lba, count);
        let (lba, sectors) = if WIDENS {
            asked.view.unit.around(lba, count.into())
        } else {
            (lba, u32::from(count))
        };
        let lun = asked.view.lun;
        let extent = Extent {
            lba,
            sectors: u64::from(sectors),
        };
        let lenders = if self.place.is_alone() || kind == Kind::Flush {
            WorkerSet::default()
        } else {
            self.lenders(asked.view, extent)
        };
        self.commands[usize::from(index)] = Command {
            state: State::Waiting,
            kind,
            lun,
            port: asked.port,
            lba,
            sectors,
            head: head_bytes(asked.header, registers),
            is_ordered: kind != Kind::Flush,
            lenders,
            awaits: lenders,
            since_ns: self.pace.now_ns(),
            epoch,
            ..Command::free()
        };
        if WIDENS && !self.note_cut(asked, index, own) {
            return None;
        }
        match kind {
            Kind::Read => self.counters.reads += 1,
            Kind::Write => self.counters.writes += 1,
            Kind::Flush => self.counters.flushes += 1,
            Kind::Trim | Kind::Sync(_) => unreachable!("they have ways of their own"),
        }
        let writes = kind == Kind::Write;
        let may_run = kind == Kind::Flush || self.enter_order(index, (lun, extent), writes);
        if kind == Kind::Read {
            self.borrow(index, extent, out);
        }
        if may_run {
            self.ready.push(index);
            self.run_ready(out);
        } else {
            self.counters.overlaps += 1;
            self.statistics
                .count(asked.who(), |tally| tally.overlaps += 1);
            self.commands[usize::from(index)].may_repeat = writes;
        }
        Some(index)
    }

    /// Puts a command behind those of its units that came before. Returns whether it may run at once.
    #[inline]
    fn enter_order(
        &mut self,
        index: CommandIndex,
        (lun, extent): (LunNumber, Extent),
        writes: bool,
    ) -> bool {
        let Extent { lba, sectors } = extent;
        #[cfg(feature = "planted")]
        let (lba, sectors) = if planted::is(Bug::EdgesUnlocked) {
            let command = &self.commands[usize::from(index)];
            (
                lba + u64::from(command.skip()),
                command.own_sectors().into(),
            )
        } else {
            (lba, sectors)
        };
        #[cfg(feature = "planted")]
        let lba = if planted::is(Bug::OverlapIgnored) {
            u64::from(index) << 32
        } else {
            lba
        };
        let range = Range {
            lun,
            lba,
            sectors,
            writes,
        };
        self.order.enter(index, range)
    }

    /// The payload of a write is in its buffer. If an earlier write that is not answered is the same, byte
    /// for byte, this one is that write, sent again: it is not done again, which would be late, and the
    /// answer goes to where it came from last (conformance rows 104 and 105).
    pub fn filled(&mut self, index: CommandIndex, memory: &mut impl Memory, out: &mut Vec<Action>) {
        let command = &self.commands[usize::from(index)];
        if command.kind == Kind::Trim {
            return self.begin_trim(index, memory, out);
        }
        if !command.may_repeat {
            return self.borrow_for_write(index, out);
        }
        let (head, port, own) = (command.head, command.port, self.payload_span(index));
        let commands = &self.commands;
        let original = self.order.find_same_before(index, &mut |other| {
            let mut is_same = false;
            // Steps of passes stand in the order as writes, too, and so do loans.
            let kind = commands.get(usize::from(other)).map(Command::asked_kind);
            if kind != Some(Kind::Write) {
                return false;
            }
            // They may have the same units, and other sectors of them.
            let payload = self.payload_span(other);
            if (payload.start_sector, payload.sectors) != (own.start_sector, own.sectors) {
                return false;
            }
            memory.compute(&[payload, own], &[], &mut |read, _| {
                is_same = read[0] == read[1];
            });
            is_same
        });
        let Some(original) = original else {
            return self.borrow_for_write(index, out);
        };
        self.count_duplicate(index, original);
        let first = &mut self.commands[usize::from(original)];
        (first.head, first.port) = (head, port);
        // Nothing can be behind it yet.
        self.order.leave(index, &mut |_| {});
        self.forget_edges(index);
        self.release(index);
    }

    /// A write takes its places with those that it borrows sectors from, if there are any.
    fn borrow_for_write(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        let command = &self.commands[usize::from(index)];
        if !command.lenders.is_empty() {
            let (lba, sectors) = (command.lba, u64::from(command.sectors));
            self.borrow(index, Extent { lba, sectors }, out);
        }
    }

    /// Frees the slot of a command that was not begun, and stands in no order.
    pub(super) fn release(&mut self, index: CommandIndex) {
        let command = &mut self.commands[usize::from(index)];
        command.state = State::Free;
        self.free.push(index);
        if let Some(lun) = &mut self.luns[usize::from(command.lun.get())] {
            lun.commands -= 1;
        }
    }

    /// A command slot for a LUN, and the generation of its view. The last eighth of them is kept: half of it
    /// for LUNs that hold less than that, so that one whose drives stall cannot take them all (conformance
    /// row 121); the other half also for stations that hold little, so that one that sends beyond every
    /// window does not shut out those that have just begun, whose first commands cost most when they are
    /// lost.
    pub(super) fn take_slot(&mut self, asked: Asked<'_>) -> Option<(CommandIndex, u32)> {
        let kept = self.commands.len() / 8;
        let free = self.free.len();
        let number = asked.view.lun;
        let is_fair = free > kept
            || self.commands_of(number) < kept / 2
            || (free > kept / 2 && self.has_little(asked.header.source, kept / 8));
        let index = if is_fair { self.free.pop() } else { None };
        if index.is_none() {
            self.count_no_buffer(asked);
        }
        let lun = self.luns[usize::from(number.get())].as_mut()?;
        index.map(|index| {
            lun.commands += 1;
            (index, lun.epoch)
        })
    }

    fn commands_of(&self, lun: LunNumber) -> usize {
        let lun = self.luns[usize::from(lun.get())].as_ref();
        lun.map_or(0, |lun| lun.commands as usize)
    }

    /// Whether a station holds fewer than so many commands, of all LUNs. Looks at every slot: only for when
    /// they are short.
    #[cold]
    fn has_little(&self, station: MacAddress, limit: usize) -> bool {
        let source = aoe::header::SOURCE_OFFSET;
        let is_own = |command: &&Command| {
            command.state != State::Free
                && !matches!(command.kind, Kind::Sync(_))
                && command.head[source..].starts_with(&station.0)
        };
        let own = self.commands.iter().filter(is_own).take(limit);
        own.count() < limit
    }

    pub(super) fn reply_ata(
        &mut self,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        outcome: Outcome,
        body: Body,
        out: &mut Vec<Action>,
    ) {
        if outcome != Outcome::Success {
            self.count_ata_error(asked.who());
        }
        let registers = registers.response(outcome.status(), outcome.error());
        self.push_ata_reply(asked, &registers, body, None, out);
    }

    /// SMART: a LUN that lacks redundancy may fail (row 102).
    fn reply_smart(
        &self,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        smart: ata::Smart,
        out: &mut Vec<Action>,
    ) {
        let done = Outcome::Success;
        let is_well = asked.view.parts.iter().all(PartView::is_whole);
        let mut registers = registers.response(done.status(), done.error());
        registers.lba = smart.answer(registers.lba, is_well);
        self.push_ata_reply(asked, &registers, Body::Page(smart.page()), None, out);
    }

    /// CHECK POWER MODE: active or idle, told in the count register (row 98).
    fn reply_power_mode(
        &mut self,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        out: &mut Vec<Action>,
    ) {
        let done = Outcome::Success;
        let mut registers = registers.response(done.status(), done.error());
        registers.count = 0xff;
        self.push_ata_reply(asked, &registers, Body::Empty, None, out);
    }
}

const fn is_allowed(rights: Rights, effect: Effect) -> bool {
    match effect {
        Effect::Tells => true,
        Effect::Reads => rights.may_read,
        Effect::Changes => rights.may_write,
    }
}

/// The header of a request as it is answered: from the LUN where the address has a wildcard, else from the
/// address that was asked. That is the LUN's own, but for a message that was redirected.
fn answering(frame: &Frame<'_>, view: &LunView) -> Header {
    let mut header = frame.inner.unwrap_or(frame.header);
    // The station that was asked, of those that the port has, is the one that sent it on.
    header.destination = frame.header.destination;
    if header.shelf.get() == Shelf::ANY.0 {
        header.shelf = U16::new(view.shelf.0);
    }
    if header.slot == Slot::ANY.0 {
        header.slot = view.lun.get();
    }
    header
}

pub(super) fn head_bytes(header: &Header, registers: &AtaRegisters) -> [u8; ATA_FRAME_BYTES] {
    let mut head = [0; ATA_FRAME_BYTES];
    let (first, second) = head.split_at_mut(aoe::HEADER_BYTES);
    first.copy_from_slice(header.as_bytes());
    second.copy_from_slice(registers.as_bytes());
    head
}

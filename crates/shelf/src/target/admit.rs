//! From a received frame to an answer or an admitted command.

use super::{
    Action, Asked, BUFFER_SECTORS, Body, BufferIndex, Command, ConfigChange, Kind, Memory,
    PortIndex, Span, State, Target,
};
use crate::ids::LunNumber;
use crate::order::{CommandIndex, Range};
use crate::plane::LunView;
use aoe::{
    ATA_FRAME_BYTES, AtaRegisters, ConfigCommand, ErrorCode, Header, MacAddress, Request,
    RequestError, SECTOR_BYTES, Slot, sectors_per_frame,
};
use ata::Outcome;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use std::sync::Arc;
use zerocopy::IntoBytes;

impl Target {
    /// Takes one frame. `head` is the frame, or its first 1056 bytes or more; `frame_bytes` the
    /// length of all of it.
    ///
    /// Returns the command whose buffer must be filled with the payload, bytes 36 and on, and
    /// [`Self::filled`] then be told, before the actions are carried out: the frame was an admitted write.
    pub fn receive(
        &mut self,
        port: PortIndex,
        head: &[u8],
        frame_bytes: usize,
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        self.counters.frames += 1;
        let (header, request) = match aoe::request::parse(head) {
            Ok(parsed) => parsed,
            Err(error) => {
                if error == RequestError::Response {
                    self.hear_response(port, head, out);
                }
                self.count_refused(error);
                return None;
            }
        };
        let own = self.ports[usize::from(port.0)].mac;
        if header.destination != own && header.destination != MacAddress::BROADCAST {
            self.counters.not_ours += 1;
            return None;
        }
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
            let asked = Asked {
                port,
                header,
                view: &view,
            };
            write = write.or(self.dispatch(asked, &request, frame_bytes, out));
        }
        self.counters.no_lun += u64::from(!served);
        write
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
    fn online_view(&self, number: u8, header: &Header) -> Option<Arc<LunView>> {
        let lun = self.luns.get(usize::from(number))?.as_ref()?;
        let view = &lun.view;
        (view.online && header.addresses(view.shelf, Slot(number))).then(|| Arc::clone(view))
    }

    fn dispatch(
        &mut self,
        asked: Asked<'_>,
        request: &Request<'_>,
        frame_bytes: usize,
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        match request {
            Request::Ata(registers) => self.ata(asked, registers, frame_bytes, out),
            Request::Config { command, string } => {
                self.config(asked, *command, *string, out);
                None
            }
            Request::Other(_) => {
                self.reply_error(asked, ErrorCode::UnrecognizedCommand, out);
                None
            }
        }
    }

    /// Query Config (conformance rows 25 to 46).
    fn config(
        &mut self,
        asked: Asked<'_>,
        command: ConfigCommand,
        string: Option<&[u8]>,
        out: &mut Vec<Action>,
    ) {
        self.counters.configs += 1;
        let present = asked.view.config_string.as_slice();
        let answers = match (command, string) {
            (ConfigCommand::Read, _) => true,
            (ConfigCommand::TestExact, string) => string == Some(present),
            (ConfigCommand::TestPrefix, string) => string.is_some_and(|s| present.starts_with(s)),
            (
                ConfigCommand::SetIfEmpty | ConfigCommand::ForceSet | ConfigCommand::TestAndReplace,
                Some(string),
            ) => {
                out.push(Action::ConfigChange(ConfigChange {
                    port: asked.port,
                    request: *asked.header,
                    lun: asked.view.lun,
                    command,
                    string: string.into(),
                }));
                return;
            }
            (_, _) => {
                self.reply_config(asked, command, Some(ErrorCode::BadArgument), out);
                return;
            }
        };
        if answers {
            self.reply_config(asked, command, None, out);
        } else {
            self.counters.config_silent += 1;
        }
    }

    /// ATA commands (conformance rows 68 to 100).
    fn ata(
        &mut self,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        frame_bytes: usize,
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        let (lba28, lba48) = (registers.lba28(), registers.lba48());
        let code = registers.command_status;
        match ata::Command::decode(code, lba28, lba48, registers.count) {
            ata::Command::Identify => {
                self.counters.identifies += 1;
                let body = Body::Identify(Arc::clone(asked.view));
                self.reply_ata(asked, registers, Outcome::Success, body, out);
            }
            ata::Command::CheckPowerMode => self.reply_power_mode(asked, registers, out),
            ata::Command::Unsupported(_) => {
                self.reply_ata(asked, registers, Outcome::Aborted, Body::Empty, out);
            }
            ata::Command::Flush => {
                self.admit(asked, registers, Kind::Flush, (0, 0), out);
            }
            ata::Command::Read { lba, count } => {
                let fit = self.check(asked, lba, count, None);
                self.admit_if(fit, asked, registers, (Kind::Read, lba, count), out);
            }
            ata::Command::Write { .. } if asked.header.is_wildcard() => {
                // One frame must not hit every LUN (row 16).
                self.counters.wildcard_writes += 1;
            }
            ata::Command::Write { lba, count } => {
                let held = frame_bytes.saturating_sub(ATA_FRAME_BYTES) / SECTOR_BYTES;
                let fit = self.check(asked, lba, count, Some(held));
                return self.admit_if(fit, asked, registers, (Kind::Write, lba, count), out);
            }
        }
        None
    }

    /// Whether a transfer can be done. `held` is how many sectors of data came with a write.
    fn check(&self, asked: Asked<'_>, lba: u64, count: u8, held: Option<usize>) -> Outcome {
        let sectors = usize::from(count);
        let mtu_bytes = self.ports[usize::from(asked.port.0)].mtu_bytes;
        let fits = sectors_per_frame(mtu_bytes).min(BUFFER_SECTORS);
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
        (lba, count): (u64, u8),
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        let index = self.take_slot(asked.view)?;
        match kind {
            Kind::Read => self.counters.reads += 1,
            Kind::Write => self.counters.writes += 1,
            Kind::Flush | Kind::Sync(_) => self.counters.flushes += 1,
        }
        let lun = asked.view.lun;
        self.commands[usize::from(index)] = Command {
            state: State::Waiting,
            kind,
            lun,
            port: asked.port,
            lba,
            sectors: u32::from(count),
            head: head_bytes(asked.header, registers),
            is_ordered: kind != Kind::Flush,
            since_ns: self.pace.now_ns(),
            ..Command::free()
        };
        let (sectors, writes) = (u64::from(count), kind == Kind::Write);
        #[cfg(feature = "planted")]
        let lba = if planted::is(Bug::OverlapIgnored) {
            u64::from(index) << 32
        } else {
            lba
        };
        let may_run = kind == Kind::Flush
            || self.order.enter(
                index,
                Range {
                    lun,
                    lba,
                    sectors,
                    writes,
                },
            );
        if may_run {
            self.ready.push(index);
            self.run_ready(out);
        } else {
            self.counters.overlaps += 1;
            self.commands[usize::from(index)].may_repeat = writes;
        }
        Some(index)
    }

    /// The payload of a write is in its buffer. If an earlier write that is not answered is the same, byte
    /// for byte, this one is that write, sent again: it is not done again, which would be late, and the
    /// answer goes to where it came from last (conformance rows 104 and 105).
    pub fn filled(&mut self, index: CommandIndex, memory: &mut impl Memory) {
        let command = &self.commands[usize::from(index)];
        if !command.may_repeat {
            return;
        }
        let (lun, head, port, sectors) = (command.lun, command.head, command.port, command.sectors);
        let payload = |command| Span {
            buffer: BufferIndex::of_command(command),
            start_sector: 0,
            sectors,
        };
        let original = self.order.find_same_before(index, &mut |other| {
            let mut is_same = false;
            memory.compute(&[payload(other), payload(index)], &[], &mut |read, _| {
                is_same = read[0] == read[1];
            });
            is_same
        });
        let Some(original) = original else {
            return;
        };
        self.counters.duplicates += 1;
        let first = &mut self.commands[usize::from(original)];
        (first.head, first.port) = (head, port);
        // Nothing can be behind it yet.
        self.order.leave(index, &mut |_| {});
        self.commands[usize::from(index)].state = State::Free;
        self.free.push(index);
        if let Some(lun) = &mut self.luns[usize::from(lun.get())] {
            lun.commands -= 1;
        }
    }

    /// A command slot for a LUN. The last eighth of them is for LUNs that hold less than that, so that
    /// one whose drives stall cannot take them all (conformance row 121).
    fn take_slot(&mut self, view: &LunView) -> Option<CommandIndex> {
        let reserve = self.commands.len() / 8;
        let lun = self.luns[usize::from(view.lun.get())].as_mut()?;
        let fair = self.free.len() > reserve || (lun.commands as usize) < reserve;
        let index = if fair { self.free.pop() } else { None };
        match index {
            Some(_) => lun.commands += 1,
            None => self.counters.no_buffer += 1,
        }
        index
    }

    fn reply_ata(
        &mut self,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        outcome: Outcome,
        body: Body,
        out: &mut Vec<Action>,
    ) {
        self.counters.ata_errors += u64::from(outcome != Outcome::Success);
        let registers = registers.response(outcome.status(), outcome.error());
        self.push_ata_reply(asked, &registers, body, None, out);
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

fn head_bytes(header: &Header, registers: &AtaRegisters) -> [u8; ATA_FRAME_BYTES] {
    let mut head = [0; ATA_FRAME_BYTES];
    let (first, second) = head.split_at_mut(aoe::HEADER_BYTES);
    first.copy_from_slice(header.as_bytes());
    second.copy_from_slice(registers.as_bytes());
    head
}

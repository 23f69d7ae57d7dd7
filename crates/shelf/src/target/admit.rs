//! From a received frame to an answer or an admitted command.

use super::{Action, BUFFER_SECTORS, Body, Command, ConfigChange, Kind, PortIndex, State, Target};
use crate::admin::LunNumber;
use crate::order::{CommandIndex, Range};
use crate::plane::LunView;
use aoe::{
    ATA_FRAME_BYTES, AtaRegisters, ConfigCommand, ErrorCode, Header, MacAddress, Request,
    RequestError, SECTOR_BYTES, Slot, sectors_per_frame,
};
use ata::Outcome;
use std::sync::Arc;

/// A frame that is being admitted.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    port: PortIndex,
    header: &'a Header,
    /// Length of the whole frame.
    frame_bytes: usize,
}

impl Target {
    /// Takes one frame. `head` is the frame, or its first 1056 bytes or more; `frame_bytes` the
    /// length of all of it.
    ///
    /// Returns the command whose buffer must be filled with the payload, bytes 36 and on, before the
    /// actions are carried out: the frame was an admitted write.
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
                self.count_refused(error);
                return None;
            }
        };
        let own = self.ports[usize::from(port.0)].mac;
        if header.destination != own && header.destination != MacAddress::BROADCAST {
            self.counters.not_ours += 1;
            return None;
        }
        let incoming = Incoming {
            port,
            header,
            frame_bytes,
        };
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
            write = write.or(self.dispatch(incoming, &request, &view, out));
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
        incoming: Incoming<'_>,
        request: &Request<'_>,
        view: &Arc<LunView>,
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        match request {
            Request::Ata(registers) => self.ata(incoming, registers, view, out),
            Request::Config { command, string } => {
                self.config(incoming, *command, *string, view, out);
                None
            }
            Request::Other(_) => {
                let code = ErrorCode::UnrecognizedCommand;
                self.reply_error(incoming.port, incoming.header, view, code, out);
                None
            }
        }
    }

    /// Query Config (conformance rows 25 to 46).
    fn config(
        &mut self,
        incoming: Incoming<'_>,
        command: ConfigCommand,
        string: Option<&[u8]>,
        view: &Arc<LunView>,
        out: &mut Vec<Action>,
    ) {
        self.counters.configs += 1;
        let present = view.config_string.as_slice();
        let answer = match command {
            ConfigCommand::Read => true,
            ConfigCommand::TestExact => string == Some(present),
            ConfigCommand::TestPrefix => string.is_some_and(|s| present.starts_with(s)),
            ConfigCommand::SetIfEmpty | ConfigCommand::ForceSet | ConfigCommand::TestAndReplace => {
                if let Some(string) = string {
                    out.push(Action::ConfigChange(ConfigChange {
                        port: incoming.port,
                        request: *incoming.header,
                        lun: view.lun,
                        command,
                        string: string.into(),
                    }));
                } else {
                    let code = ErrorCode::BadArgument;
                    self.reply_config(
                        incoming.port,
                        incoming.header,
                        view,
                        command,
                        Some(code),
                        out,
                    );
                }
                return;
            }
            ConfigCommand::Unknown(_) => {
                let code = ErrorCode::BadArgument;
                self.reply_config(
                    incoming.port,
                    incoming.header,
                    view,
                    command,
                    Some(code),
                    out,
                );
                return;
            }
        };
        if answer {
            self.reply_config(incoming.port, incoming.header, view, command, None, out);
        } else {
            self.counters.config_silent += 1;
        }
    }

    /// ATA commands (conformance rows 68 to 100).
    fn ata(
        &mut self,
        incoming: Incoming<'_>,
        registers: &AtaRegisters,
        view: &Arc<LunView>,
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        let (lba28, lba48) = (registers.lba28(), registers.lba48());
        let code = registers.command_status;
        match ata::Command::decode(code, lba28, lba48, registers.count) {
            ata::Command::Identify => {
                self.counters.identifies += 1;
                let body = Body::Identify(Arc::clone(view));
                self.reply_ata(incoming, registers, view, Outcome::Success, body, out);
                None
            }
            ata::Command::CheckPowerMode => {
                self.reply_power_mode(incoming, registers, view, out);
                None
            }
            ata::Command::Unsupported(_) => {
                self.reply_ata(
                    incoming,
                    registers,
                    view,
                    Outcome::Aborted,
                    Body::Empty,
                    out,
                );
                None
            }
            ata::Command::Flush => {
                self.admit(incoming, registers, view, Kind::Flush, 0, 0, out);
                None
            }
            ata::Command::Read { lba, count } => {
                self.transfer(incoming, registers, view, Kind::Read, lba, count, out)
            }
            ata::Command::Write { lba, count } => {
                if incoming.header.is_wildcard() {
                    // One frame must not hit every LUN (row 16).
                    self.counters.wildcard_writes += 1;
                    return None;
                }
                self.transfer(incoming, registers, view, Kind::Write, lba, count, out)
            }
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of one request, all of them small"
    )]
    fn transfer(
        &mut self,
        incoming: Incoming<'_>,
        registers: &AtaRegisters,
        view: &Arc<LunView>,
        kind: Kind,
        lba: u64,
        count: u8,
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        let sectors = usize::from(count);
        let mtu_bytes = self.ports[usize::from(incoming.port.0)].mtu_bytes;
        let fits = sectors_per_frame(mtu_bytes).min(BUFFER_SECTORS);
        let held = incoming.frame_bytes.saturating_sub(ATA_FRAME_BYTES) / SECTOR_BYTES;
        let short = kind == Kind::Write && held < sectors;
        let outcome = if sectors == 0 || sectors > fits || short {
            Outcome::Aborted // rows 85, 86, 92
        } else if lba
            .checked_add(u64::from(count))
            .is_none_or(|end| end > view.capacity_sectors)
        {
            Outcome::OutOfRange // rows 87, 88
        } else {
            let command = self.admit(incoming, registers, view, kind, lba, count, out);
            return if kind == Kind::Write { command } else { None };
        };
        self.reply_ata(incoming, registers, view, outcome, Body::Empty, out);
        None
    }

    /// Takes a command slot and runs the command, or lets it wait for those before it.
    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of one request, all of them small"
    )]
    fn admit(
        &mut self,
        incoming: Incoming<'_>,
        registers: &AtaRegisters,
        view: &Arc<LunView>,
        kind: Kind,
        lba: u64,
        count: u8,
        out: &mut Vec<Action>,
    ) -> Option<CommandIndex> {
        let index = self.take_slot(view)?;
        match kind {
            Kind::Read => self.counters.reads += 1,
            Kind::Write => self.counters.writes += 1,
            Kind::Flush | Kind::Sync(_) => self.counters.flushes += 1,
        }
        let command = &mut self.commands[usize::from(index)];
        *command = Command {
            state: State::Waiting,
            kind,
            lun: view.lun,
            port: incoming.port,
            epoch: 0,
            lba,
            sectors: u32::from(count),
            head: head_bytes(incoming.header, registers),
            outstanding: 0,
            failed: false,
            unmapped: false,
            replans: 0,
            pass: 0,
        };
        let may_run = kind == Kind::Flush
            || self.order.enter(
                index,
                Range {
                    lun: view.lun,
                    lba,
                    sectors: u64::from(count),
                    writes: kind == Kind::Write,
                },
            );
        if may_run {
            self.ready.push(index);
            self.run_ready(out);
        } else {
            self.counters.overlaps += 1;
        }
        Some(index)
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
        incoming: Incoming<'_>,
        registers: &AtaRegisters,
        view: &LunView,
        outcome: Outcome,
        body: Body,
        out: &mut Vec<Action>,
    ) {
        self.counters.ata_errors += u64::from(outcome != Outcome::Success);
        let registers = registers.response(outcome.status(), outcome.error());
        self.push_ata_reply(
            incoming.port,
            incoming.header,
            &registers,
            view,
            body,
            None,
            out,
        );
    }

    /// CHECK POWER MODE: active or idle, told in the count register (row 98).
    fn reply_power_mode(
        &mut self,
        incoming: Incoming<'_>,
        registers: &AtaRegisters,
        view: &LunView,
        out: &mut Vec<Action>,
    ) {
        let done = Outcome::Success;
        let mut registers = registers.response(done.status(), done.error());
        registers.count = 0xff;
        self.push_ata_reply(
            incoming.port,
            incoming.header,
            &registers,
            view,
            Body::Empty,
            None,
            out,
        );
    }
}

fn head_bytes(header: &Header, registers: &AtaRegisters) -> [u8; ATA_FRAME_BYTES] {
    use zerocopy::IntoBytes;
    let mut head = [0; ATA_FRAME_BYTES];
    let (first, second) = head.split_at_mut(aoe::HEADER_BYTES);
    first.copy_from_slice(header.as_bytes());
    second.copy_from_slice(registers.as_bytes());
    head
}

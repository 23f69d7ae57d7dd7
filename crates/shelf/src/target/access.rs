//! Mask lists, reservations and redirected messages, as initiators see them; and the answers to changes.
//!
//! Who may do what is one look at the view ([`crate::access::Access`]). A change is decided by the
//! administration. A reservation is answered only when nothing is under way any more for those that it
//! shuts out: what they sent before and was not begun is refused ([`Target::is_shut_out`]), and while
//! something that was begun is not done there is no answer, so that the initiator asks again.

use super::{
    Action, Asked, Body, Change, ChangeDecision, Command, KeyedWish, Kind, State, Target, Wish,
};
use crate::access::AccessList;
use crate::ids::LunNumber;
use crate::order::CommandIndex;
use crate::plane::LunView;
use aoe::{
    AtaRegisters, ETHERNET_HEADER_BYTES, ErrorCode, Header, KeyedCommand, KeyedStatus, MacAddress,
    MaskArgument, MaskCommand, MaskDirective, ReserveArgument, ReserveCommand,
};
use ata::Outcome;
use std::sync::Arc;
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

/// Why a command is not begun.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ShutOut {
    /// The sender is not on the mask list any more.
    Masked,
    /// The LUN is reserved by others.
    Reserved,
    /// A write, and the LUN is not written any more.
    ReadOnly,
}

impl Target {
    /// MAC Mask List (conformance rows 47 to 53).
    pub(super) fn mask(
        &mut self,
        asked: Asked<'_>,
        command: MaskCommand,
        directives: Option<&[MaskDirective]>,
        out: &mut Vec<Action>,
    ) {
        self.count_access_request(asked);
        match (command, directives) {
            (MaskCommand::Read, _) => self.reply_masks(asked, command, None, out),
            (MaskCommand::Edit, Some(directives)) => {
                Self::ask_for(asked, Wish::Masks(directives.into()), out);
            }
            (_, _) => self.reply_masks(asked, command, Some(ChangeDecision::BadArgument), out),
        }
    }

    /// Reserve/Release (conformance rows 56 to 62).
    pub(super) fn reserve(
        &mut self,
        asked: Asked<'_>,
        command: ReserveCommand,
        macs: Option<&[MacAddress]>,
        out: &mut Vec<Action>,
    ) {
        self.count_access_request(asked);
        match (command, macs) {
            (ReserveCommand::Read, _) => self.reply_reserve(asked, command, None, out),
            (ReserveCommand::Set | ReserveCommand::ForceSet, Some(macs)) => {
                let wish = Wish::Reserve {
                    is_forced: command == ReserveCommand::ForceSet,
                    macs: macs.into(),
                };
                Self::ask_for(asked, wish, out);
            }
            (_, _) => self.reply_reserve(asked, command, Some(ErrorCode::BadArgument), out),
        }
    }

    /// Keyed Reserve/Release (conformance row 64).
    pub(super) fn keyed(
        &mut self,
        asked: Asked<'_>,
        command: KeyedCommand<'_>,
        out: &mut Vec<Action>,
    ) {
        self.count_access_request(asked);
        match command {
            KeyedCommand::Status => self.reply_keyed(asked, None, None, out),
            KeyedCommand::Change(change) => {
                Self::ask_for(asked, Wish::Keyed(change.map(Box::from)), out);
            }
            KeyedCommand::Malformed => {
                self.reply_keyed(asked, None, Some(ErrorCode::BadArgument), out);
            }
        }
    }

    /// Answers a change that was decided.
    pub fn change_done(
        &mut self,
        change: &Change,
        decision: ChangeDecision,
        out: &mut Vec<Action>,
    ) {
        let Some(lun) = &self.luns[usize::from(change.lun.get())] else {
            return;
        };
        if !lun.view.online {
            return;
        }
        let view = Arc::clone(&lun.view);
        let error = match decision {
            ChangeDecision::Stored | ChangeDecision::BadDirective { .. } => None,
            ChangeDecision::Present => Some(ErrorCode::ConfigStringPresent),
            ChangeDecision::Reserved => Some(ErrorCode::TargetReserved),
            ChangeDecision::BadArgument => Some(ErrorCode::BadArgument),
            ChangeDecision::Silence => {
                self.counters.config_silent += 1;
                return;
            }
        };
        let asked = Asked {
            port: change.port,
            header: &change.request,
            view: &view,
        };
        match &change.wish {
            Wish::Config { command, .. } => self.reply_config(asked, *command, error, out),
            Wish::Masks(_) => self.reply_masks(asked, MaskCommand::Edit, Some(decision), out),
            Wish::Reserve { .. } | Wish::Keyed(_) if self.has_shut_out(&view) => {
                self.counters.reserve_waits += 1;
            }
            Wish::Reserve { is_forced, .. } => {
                let command = if *is_forced {
                    ReserveCommand::ForceSet
                } else {
                    ReserveCommand::Set
                };
                self.reply_reserve(asked, command, error, out);
            }
            Wish::Keyed(wish) => self.reply_keyed(asked, Some(wish), error, out),
        }
    }

    /// Why a command is not to be begun under a view.
    fn shut_out(view: &LunView, command: &Command) -> Option<ShutOut> {
        let (header, _) = Header::ref_from_prefix(&command.head).ok()?;
        let rights = view.access.rights(header.source);
        match command.asked_kind() {
            Kind::Sync(_) => None,
            _ if !rights.is_admitted => Some(ShutOut::Masked),
            Kind::Read if !rights.may_read => Some(ShutOut::Reserved),
            Kind::Write | Kind::Trim | Kind::Flush if !rights.may_write => Some(ShutOut::Reserved),
            Kind::Write | Kind::Trim if view.access.is_read_only => Some(ShutOut::ReadOnly),
            Kind::Read | Kind::Write | Kind::Trim | Kind::Flush => None,
        }
    }

    /// Ends a command that was admitted under an older view and not begun, if its sender may not do it any
    /// more. One that was begun goes on: what is half written must come to its end.
    pub(super) fn is_shut_out(&mut self, index: CommandIndex, out: &mut Vec<Action>) -> bool {
        let command = &self.commands[usize::from(index)];
        let Some(lun) = &self.luns[usize::from(command.lun.get())] else {
            unreachable!("a LUN is kept while it has commands")
        };
        let is_new = matches!(command.state, State::Waiting | State::AwaitingRegion);
        if !is_new || command.epoch == lun.epoch {
            return false;
        }
        let Some(why) = Self::shut_out(&lun.view, command) else {
            return false;
        };
        let (view, head, port) = (Arc::clone(&lun.view), command.head, command.port);
        self.counters.commands_dropped += 1;
        self.release_command(index, out);
        let Ok((header, registers)) = Header::ref_from_prefix(&head) else {
            return true;
        };
        let view = &view;
        let asked = Asked { port, header, view };
        match why {
            ShutOut::Masked => {
                self.counters.masked += 1;
                self.statistics
                    .count(asked.who(), |tally| tally.masked += 1);
            }
            ShutOut::Reserved => {
                self.counters.reserved += 1;
                self.statistics
                    .count(asked.who(), |tally| tally.reserved += 1);
                self.reply_error(asked, ErrorCode::TargetReserved, out);
            }
            ShutOut::ReadOnly => {
                self.count_refused_ata(asked);
                if let Ok((registers, _)) = AtaRegisters::ref_from_prefix(registers) {
                    self.reply_ata(asked, registers, Outcome::Aborted, Body::Empty, out);
                }
            }
        }
        true
    }

    /// Whether something is under way in this worker that a reservation of a LUN shuts out: while there is,
    /// the reservation is not answered by any worker.
    #[must_use]
    pub fn does_for_shut_out(&self, number: LunNumber) -> bool {
        let lun = self.luns[usize::from(number.get())].as_ref();
        lun.is_some_and(|lun| self.has_shut_out(&lun.view))
    }

    /// Whether something is under way that a reservation shuts out.
    fn has_shut_out(&self, view: &LunView) -> bool {
        let is_under_way = |command: &&Command| {
            let is_over = matches!(
                command.state,
                State::Free | State::Replying | State::Holding
            );
            command.lun == view.lun && !is_over
        };
        let mut commands = self.commands.iter().filter(is_under_way);
        commands.any(|command| Self::shut_out(view, command) == Some(ShutOut::Reserved))
    }

    /// As many entries of a list as one frame of a port holds behind so many bytes.
    fn fitting(&self, asked: Asked<'_>, list: AccessList, fixed_bytes: usize) -> u8 {
        let frame_bytes = self.ports[usize::from(asked.port.0)].mtu_bytes + ETHERNET_HEADER_BYTES;
        let room = frame_bytes.saturating_sub(fixed_bytes) / list.entry_bytes();
        let entries = asked.view.access.len(list).min(room);
        u8::try_from(entries).unwrap_or(u8::MAX)
    }

    fn reply_masks(
        &mut self,
        asked: Asked<'_>,
        command: MaskCommand,
        decision: Option<ChangeDecision>,
        out: &mut Vec<Action>,
    ) {
        let entries = self.fitting(asked, AccessList::Masks, aoe::mask::MASK_FRAME_BYTES);
        let mut header = self.reply_header(asked);
        let (error, count, told) = match decision {
            Some(ChangeDecision::BadDirective { error, index }) => (error as u8, index, 0),
            Some(ChangeDecision::BadArgument) => {
                self.count_aoe_error(asked);
                header.set_error(ErrorCode::BadArgument);
                (0, 0, 0)
            }
            _ => (0, entries, entries),
        };
        let argument = MaskArgument {
            reserved: 0,
            command: command.code(),
            error,
            count,
        };
        let parts = [header.as_bytes(), argument.as_bytes()];
        let body = Body::Access(Arc::clone(asked.view), AccessList::Masks, told);
        Self::push_reply(asked, parts, body, None, out);
    }

    fn reply_reserve(
        &mut self,
        asked: Asked<'_>,
        command: ReserveCommand,
        error: Option<ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let list = AccessList::Reserved;
        let count = self.fitting(asked, list, aoe::reserve::RESERVE_FRAME_BYTES);
        let header = self.header_with(asked, error);
        let command = command.code();
        let argument = ReserveArgument { command, count };
        let parts = [header.as_bytes(), argument.as_bytes()];
        let body = Body::Access(Arc::clone(asked.view), list, count);
        Self::push_reply(asked, parts, body, None, out);
    }

    /// `wish` is what was asked for, if it was more than to tell.
    fn reply_keyed(
        &mut self,
        asked: Asked<'_>,
        wish: Option<&KeyedWish>,
        error: Option<ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let list = AccessList::Keys;
        let count = self.fitting(asked, list, aoe::keyed::KEYED_FRAME_BYTES);
        let header = self.header_with(asked, error);
        let argument = KeyedStatus {
            command: wish.map_or(0, KeyedWish::code),
            keys: U16::new(u16::from(count)),
            ..*asked.view.access.keyed()
        };
        let parts = [header.as_bytes(), argument.as_bytes()];
        let body = Body::Access(Arc::clone(asked.view), list, count);
        Self::push_reply(asked, parts, body, None, out);
    }

    fn header_with(&mut self, asked: Asked<'_>, error: Option<ErrorCode>) -> Header {
        let mut header = self.reply_header(asked);
        if let Some(code) = error {
            self.count_aoe_error(asked);
            header.set_error(code);
        }
        header
    }
}

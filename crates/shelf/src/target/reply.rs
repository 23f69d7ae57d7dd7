//! Encoding of replies and advertisements.

use super::{
    Action, BUFFER_COUNT, Body, ConfigChange, ConfigDecision, FIRMWARE_VERSION, PortIndex, Reply,
    Target,
};
use crate::admin::LunNumber;
use crate::order::CommandIndex;
use crate::plane::LunView;
use aoe::{
    ATA_FRAME_BYTES, AtaRegisters, CONFIG_FRAME_BYTES, ConfigArgument, ConfigCommand, ErrorCode,
    HEADER_BYTES, Header, MacAddress, Slot, Tag, VERSION, advertised_sector_count,
};
use std::sync::Arc;
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U16;

impl Target {
    /// The header of a reply to `request` from `view` on `port`.
    fn reply_header(&self, port: PortIndex, request: &Header, view: &LunView) -> Header {
        request.reply(
            self.ports[usize::from(port.0)].mac,
            view.shelf,
            Slot(view.lun.get()),
        )
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one frame")]
    pub(super) fn push_ata_reply(
        &self,
        port: PortIndex,
        request: &Header,
        registers: &AtaRegisters,
        view: &LunView,
        body: Body,
        command: Option<CommandIndex>,
        out: &mut Vec<Action>,
    ) {
        let header = self.reply_header(port, request, view);
        let mut head = [0; ATA_FRAME_BYTES];
        head[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        head[HEADER_BYTES..].copy_from_slice(registers.as_bytes());
        out.push(Action::Reply(Reply {
            port,
            head,
            head_bytes: ATA_FRAME_BYTES,
            body,
            command,
        }));
    }

    /// A refusal of a command without an argument of its own: header, E, zeros (row 63).
    pub(super) fn reply_error(
        &mut self,
        port: PortIndex,
        request: &Header,
        view: &LunView,
        code: ErrorCode,
        out: &mut Vec<Action>,
    ) {
        self.counters.aoe_errors += 1;
        let mut header = self.reply_header(port, request, view);
        header.set_error(code);
        let mut head = [0; ATA_FRAME_BYTES];
        head[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        let head_bytes = HEADER_BYTES;
        out.push(Action::Reply(Reply {
            port,
            head,
            head_bytes,
            body: Body::Empty,
            command: None,
        }));
    }

    pub(super) fn reply_config(
        &mut self,
        port: PortIndex,
        request: &Header,
        view: &Arc<LunView>,
        command: ConfigCommand,
        error: Option<ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let mut header = self.reply_header(port, request, view);
        if let Some(code) = error {
            self.counters.aoe_errors += 1;
            header.set_error(code);
        }
        self.push_config(port, &header, view, command, out);
    }

    fn push_config(
        &self,
        port: PortIndex,
        header: &Header,
        view: &Arc<LunView>,
        command: ConfigCommand,
        out: &mut Vec<Action>,
    ) {
        let string_bytes = u16::try_from(view.config_string.len()).unwrap_or(0);
        let argument = ConfigArgument {
            buffer_count: U16::new(BUFFER_COUNT),
            firmware: U16::new(FIRMWARE_VERSION),
            sector_count: advertised_sector_count(self.ports[usize::from(port.0)].mtu_bytes),
            version_command: (VERSION << 4) | command.nibble(),
            string_bytes: U16::new(string_bytes),
        };
        let mut head = [0; ATA_FRAME_BYTES];
        head[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        head[HEADER_BYTES..CONFIG_FRAME_BYTES].copy_from_slice(argument.as_bytes());
        out.push(Action::Reply(Reply {
            port,
            head,
            head_bytes: CONFIG_FRAME_BYTES,
            body: Body::ConfigString(Arc::clone(view)),
            command: None,
        }));
    }

    /// Answers a config change that was decided.
    pub fn config_done(
        &mut self,
        change: &ConfigChange,
        decision: ConfigDecision,
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
            ConfigDecision::Stored => None,
            ConfigDecision::Present => Some(ErrorCode::ConfigStringPresent),
            ConfigDecision::BadArgument => Some(ErrorCode::BadArgument),
            ConfigDecision::Silence => {
                self.counters.config_silent += 1;
                return;
            }
        };
        self.reply_config(
            change.port,
            &change.request,
            &view,
            change.command,
            error,
            out,
        );
    }

    /// Broadcasts the advertisement of an online LUN on every port: a config response that nobody
    /// asked for, with tag 0 (conformance row 113).
    pub fn advertise(&mut self, lun: LunNumber, out: &mut Vec<Action>) {
        let Some(lun) = &self.luns[usize::from(lun.get())] else {
            return;
        };
        let view = Arc::clone(&lun.view);
        if !view.online {
            return;
        }
        let slot = Slot(view.lun.get());
        for index in 0..self.ports.len() {
            let Ok(port) = u8::try_from(index).map(PortIndex) else {
                return;
            };
            let broadcast = MacAddress::BROADCAST;
            let code = aoe::config::COMMAND_CONFIG;
            let asked = Header::request(broadcast, broadcast, view.shelf, slot, code, Tag(0));
            let header = self.reply_header(port, &asked, &view);
            self.push_config(port, &header, &view, ConfigCommand::Read, out);
        }
    }
}

//! Encoding of replies and advertisements.

use super::{
    Action, BUFFER_COUNT, Body, ConfigChange, ConfigDecision, FIRMWARE_VERSION, PortIndex, Reply,
    Target,
};
use crate::ids::LunNumber;
use crate::order::CommandIndex;
use crate::plane::LunView;
use aoe::{
    ATA_FRAME_BYTES, AtaRegisters, CONFIG_FRAME_BYTES, ConfigArgument, ConfigCommand, ErrorCode,
    HEADER_BYTES, Header, MacAddress, Slot, Tag, VERSION, advertised_sector_count,
};
use std::sync::Arc;
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U16;

/// A request and who answers it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Port that it came in on.
    pub(super) port: PortIndex,
    /// Its header.
    pub(super) header: &'a Header,
    /// The LUN that it means, or one of them.
    pub(super) view: &'a Arc<LunView>,
}

impl Target {
    fn reply_header(&self, asked: Asked<'_>) -> Header {
        let mac = self.ports[usize::from(asked.port.0)].mac;
        asked
            .header
            .reply(mac, asked.view.shelf, Slot(asked.view.lun.get()))
    }

    pub(super) fn push_ata_reply(
        &self,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        body: Body,
        command: Option<CommandIndex>,
        out: &mut Vec<Action>,
    ) {
        let mut head = [0; ATA_FRAME_BYTES];
        head[..HEADER_BYTES].copy_from_slice(self.reply_header(asked).as_bytes());
        head[HEADER_BYTES..].copy_from_slice(registers.as_bytes());
        let (port, head_bytes) = (asked.port, ATA_FRAME_BYTES);
        out.push(Action::Reply(Reply {
            port,
            head,
            head_bytes,
            body,
            command,
        }));
    }

    /// A refusal of a command without an argument of its own: header, E, zeros (row 63).
    pub(super) fn reply_error(&mut self, asked: Asked<'_>, code: ErrorCode, out: &mut Vec<Action>) {
        self.counters.aoe_errors += 1;
        let mut header = self.reply_header(asked);
        header.set_error(code);
        let mut head = [0; ATA_FRAME_BYTES];
        head[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        let (port, head_bytes, body) = (asked.port, HEADER_BYTES, Body::Empty);
        out.push(Action::Reply(Reply {
            port,
            head,
            head_bytes,
            body,
            command: None,
        }));
    }

    pub(super) fn reply_config(
        &mut self,
        asked: Asked<'_>,
        command: ConfigCommand,
        error: Option<ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let mut header = self.reply_header(asked);
        if let Some(code) = error {
            self.counters.aoe_errors += 1;
            header.set_error(code);
        }
        self.push_config(asked, &header, command, out);
    }

    fn push_config(
        &self,
        asked: Asked<'_>,
        header: &Header,
        command: ConfigCommand,
        out: &mut Vec<Action>,
    ) {
        let Asked { port, view, .. } = asked;
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
        let asked = Asked {
            port: change.port,
            header: &change.request,
            view: &view,
        };
        self.reply_config(asked, change.command, error, out);
    }

    /// Broadcasts the advertisements of all online LUNs.
    pub fn advertise_all(&mut self, out: &mut Vec<Action>) {
        for number in 0..=LunNumber::MAX {
            if let Some(lun) = LunNumber::new(number) {
                self.advertise(lun, out);
            }
        }
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
            let header = Header::request(broadcast, broadcast, view.shelf, slot, code, Tag(0));
            let asked = Asked {
                port,
                header: &header,
                view: &view,
            };
            let header = self.reply_header(asked);
            self.push_config(asked, &header, ConfigCommand::Read, out);
        }
    }
}

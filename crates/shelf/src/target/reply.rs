//! Encoding of replies and advertisements.

use super::{
    Action, BUFFER_COUNT, Body, FIRMWARE_VERSION, PortIndex, REPLY_HEAD_BYTES, Reply, Target,
};
use crate::ids::LunNumber;
use crate::order::CommandIndex;
use crate::plane::LunView;
use crate::statistics::Who;
use aoe::vlan::{TAG_BYTES, TAG_OFFSET};
use aoe::{
    AtaRegisters, ConfigArgument, ConfigCommand, ErrorCode, Header, MacAddress, Shelf, Slot, Tag,
    VERSION, VlanId, advertised_sector_count,
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

impl Asked<'_> {
    /// Whom to count it for.
    pub(super) fn who(&self) -> Who {
        Who {
            port: self.port,
            lun: self.view.lun,
            mac: self.header.source,
        }
    }
}

impl Target {
    /// The header of an answer: from the station that was asked (row 7).
    pub(super) fn reply_header(&self, asked: Asked<'_>) -> Header {
        let stations = &self.ports[usize::from(asked.port.0)].stations;
        let asked_one = asked.header.destination;
        let mac = if stations.contains(asked_one) {
            asked_one
        } else {
            stations.first()
        };
        let shelf = Shelf(asked.header.shelf.get());
        asked.header.reply(mac, shelf, Slot(asked.header.slot))
    }

    /// Sends header, fixed argument and body; with the tag of the LUN's VLAN, if it is of one (row 119).
    pub(super) fn push_reply(
        asked: Asked<'_>,
        parts: [&[u8]; 2],
        body: Body,
        command: Option<CommandIndex>,
        out: &mut Vec<Action>,
    ) {
        let mut head = [0; REPLY_HEAD_BYTES];
        let mut head_bytes = 0;
        for part in parts {
            head[head_bytes..head_bytes + part.len()].copy_from_slice(part);
            head_bytes += part.len();
        }
        let mut reply = Reply {
            port: asked.port,
            head,
            head_bytes,
            body,
            command,
        };
        if let Some(vlan) = asked.view.access.vlan {
            tag(&mut reply, vlan);
        }
        out.push(Action::Reply(reply));
    }

    pub(super) fn push_ata_reply(
        &self,
        asked: Asked<'_>,
        registers: &AtaRegisters,
        body: Body,
        command: Option<CommandIndex>,
        out: &mut Vec<Action>,
    ) {
        let header = self.reply_header(asked);
        let parts = [header.as_bytes(), registers.as_bytes()];
        Self::push_reply(asked, parts, body, command, out);
    }

    /// A refusal of a command without an argument of its own: header, E, zeros (row 63).
    pub(super) fn reply_error(&mut self, asked: Asked<'_>, code: ErrorCode, out: &mut Vec<Action>) {
        self.count_aoe_error(asked);
        let mut header = self.reply_header(asked);
        header.set_error(code);
        Self::push_reply(asked, [header.as_bytes(), &[]], Body::Empty, None, out);
    }

    /// Tells the configuration. Whoever asks everybody gets an answer from each station that the port is:
    /// so a Linux initiator finds all of them.
    pub(super) fn tell_config(
        &mut self,
        asked: Asked<'_>,
        command: ConfigCommand,
        out: &mut Vec<Action>,
    ) {
        if asked.header.destination != MacAddress::BROADCAST {
            return self.reply_config(asked, command, None, out);
        }
        let stations = self.ports[usize::from(asked.port.0)].stations;
        for station in stations.iter() {
            let header = Header {
                destination: station,
                ..*asked.header
            };
            let asked = Asked {
                header: &header,
                ..asked
            };
            self.reply_config(asked, command, None, out);
        }
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
            self.count_aoe_error(asked);
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
        let view = asked.view;
        let string_bytes = u16::try_from(view.config_string.len()).unwrap_or(0);
        let argument = ConfigArgument {
            buffer_count: U16::new(BUFFER_COUNT),
            firmware: U16::new(FIRMWARE_VERSION),
            sector_count: self.sector_count(),
            version_command: (VERSION << 4) | command.nibble(),
            string_bytes: U16::new(string_bytes),
        };
        let parts = [header.as_bytes(), argument.as_bytes()];
        let body = Body::ConfigString(Arc::clone(view));
        Self::push_reply(asked, parts, body, None, out);
    }

    /// The Sector Count: that of the port with the smallest MTU, since an initiator that reaches a LUN by
    /// several ports has one size for all of them (row 29).
    fn sector_count(&self) -> u8 {
        let mtus_bytes = self.ports.iter().map(|port| port.mtu_bytes);
        mtus_bytes.min().map_or(0, advertised_sector_count)
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
    /// asked for, with tag 0 (conformance row 113). One with a mask list tells only those on it (row 55).
    pub fn advertise(&mut self, lun: LunNumber, out: &mut Vec<Action>) {
        let Some(lun) = &self.luns[usize::from(lun.get())] else {
            return;
        };
        let view = Arc::clone(&lun.view);
        if !view.online {
            return;
        }
        for (index, port) in (0..).map(PortIndex).zip(&self.ports) {
            if port.announces {
                for station in port.stations.iter() {
                    self.advertise_from(&view, (index, station), out);
                }
            }
        }
    }

    fn advertise_from(
        &self,
        view: &Arc<LunView>,
        (port, station): (PortIndex, MacAddress),
        out: &mut Vec<Action>,
    ) {
        let everybody = view.access.masked_to().next().is_none();
        let broadcast = everybody.then_some(MacAddress::BROADCAST);
        for listener in broadcast.into_iter().chain(view.access.masked_to()) {
            let (slot, code) = (Slot(view.lun.get()), aoe::config::COMMAND_CONFIG);
            // As if the listener had asked this station.
            let header = Header::request(station, listener, view.shelf, slot, code, Tag(0));
            let header = &header;
            let asked = Asked { port, header, view };
            let header = self.reply_header(asked);
            self.push_config(asked, &header, ConfigCommand::Read, out);
        }
    }
}

/// Puts a tag into a reply. A short frame is made so long that it is long enough without it, too: whoever
/// takes the tag off gives the rest to programs that expect 60 bytes.
fn tag(reply: &mut Reply, vlan: VlanId) {
    let head = &mut reply.head;
    let end = reply.head_bytes + TAG_BYTES;
    head.copy_within(TAG_OFFSET..reply.head_bytes, TAG_OFFSET + TAG_BYTES);
    head[TAG_OFFSET..TAG_OFFSET + TAG_BYTES].copy_from_slice(&vlan.tag());
    reply.head_bytes = end;
    let body = reply.body.shared();
    let is_short = end + body.len() <= REPLY_HEAD_BYTES && !matches!(reply.body, Body::Data(_));
    if is_short {
        head[end..end + body.len()].copy_from_slice(body);
        reply.head_bytes = REPLY_HEAD_BYTES;
        reply.body = Body::Empty;
    }
}

//! The guard against another shelf of the same number.
//!
//! Two targets with one address are two disks under one name: a Linux initiator takes them for two paths, and
//! reads and writes either one (conformance row 117). Initiators cannot tell; whoever has the address can:
//! the answers of the other one arrive here, too, when it advertises itself, and when it is asked.
//!
//! * A probe is a Query Config request to one LUN of our own, broadcast on each port. Our own LUN does not
//!   hear it, and nobody else should answer.
//! * Of each LUN a foreign station is told once after each probe.

use super::{Action, Body, PortIndex, REPLY_HEAD_BYTES, Reply, Target};
use crate::ids::LunNumber;
use aoe::{
    CONFIG_FRAME_BYTES, ConfigArgument, ETHERTYPE, HEADER_BYTES, Header, MacAddress, Shelf, Slot,
    Tag, VERSION,
};
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

/// Tag of probes. With its highest bit set the Linux driver leaves the answers to programs.
const PROBE_TAG: Tag = Tag(0x8000_0117);

/// What is known of the address of a LUN.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Claim {
    /// The shelf that it was asked for.
    probed: Option<Shelf>,
    /// Who else answers for it, as far as it was told.
    told: Option<MacAddress>,
}

impl Target {
    /// Asks on every port who else has the address of a LUN of this shelf.
    pub fn probe(&mut self, shelf: Shelf, lun: LunNumber, out: &mut Vec<Action>) {
        self.claims[usize::from(lun.get())] = Claim {
            probed: Some(shelf),
            told: None,
        };
        let argument = ConfigArgument {
            buffer_count: U16::new(0),
            firmware: U16::new(0),
            sector_count: 0,
            version_command: VERSION << 4,
            string_bytes: U16::new(0),
        };
        for (port, view) in (0..).map(PortIndex).zip(&self.ports) {
            if !view.announces {
                continue;
            }
            let (everybody, code) = (MacAddress::BROADCAST, aoe::config::COMMAND_CONFIG);
            let slot = Slot(lun.get());
            let header = Header::request(
                everybody,
                view.stations.first(),
                shelf,
                slot,
                code,
                PROBE_TAG,
            );
            let mut head = [0; REPLY_HEAD_BYTES];
            head[..HEADER_BYTES].copy_from_slice(header.as_bytes());
            head[HEADER_BYTES..CONFIG_FRAME_BYTES].copy_from_slice(argument.as_bytes());
            out.push(Action::Reply(Reply {
                port,
                head,
                head_bytes: CONFIG_FRAME_BYTES,
                body: Body::Empty,
                command: None,
            }));
        }
    }

    /// Somebody answered somebody, or advertises a LUN.
    #[cold]
    pub(super) fn hear_response(&mut self, port: PortIndex, head: &[u8], out: &mut Vec<Action>) {
        let Ok((header, _)) = Header::ref_from_prefix(head) else {
            return;
        };
        if header.ethertype.get() != ETHERTYPE || !header.is_response() {
            // With a tag, or redirected: of another world.
            return;
        }
        let mac = header.source;
        let Some(lun) = LunNumber::new(header.slot) else {
            return;
        };
        if self.ports.iter().any(|own| own.stations.contains(mac)) || mac.is_multicast() {
            return;
        }
        let index = usize::from(lun.get());
        let served = self.luns[index].as_ref().map(|lun| &lun.view);
        let served = served.filter(|view| view.online).map(|view| view.shelf);
        let claim = &mut self.claims[index];
        let shelf = Shelf(header.shelf.get());
        let is_ours = served == Some(shelf) || claim.probed == Some(shelf);
        if is_ours && claim.told != Some(mac) {
            claim.told = Some(mac);
            out.push(Action::Impostor { lun, port, mac });
        }
    }
}

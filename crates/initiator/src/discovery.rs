//! Who is there: a broadcast Query Config and its answers (AoEr11, Query Config Information).
//!
//! Invariant: targets are told apart by their shelf and slot. Two stations that answer for the same
//! address are two ways to one target, as every initiator sees it; whether they are is not checked
//! here.

use aoe::config::COMMAND_CONFIG;
use aoe::{
    CONFIG_FRAME_BYTES, CONFIG_STRING_BYTES_MAX, ConfigArgument, ConfigCommand, ETHERTYPE,
    HEADER_BYTES, Header, MacAddress, Shelf, Slot, Tag,
};
use port::ReceivedFrame;
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

/// What a target told about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Major address.
    pub shelf: Shelf,
    /// Minor address.
    pub slot: Slot,
    /// The stations that answered for it, in the order in which they did.
    pub macs: Vec<MacAddress>,
    /// How many messages it can queue.
    pub buffer_count: u16,
    /// Its firmware version, opaque.
    pub firmware: u16,
    /// The largest sector count per command that it accepts on this path: at least 1. The smallest
    /// one, if its stations differ.
    pub sector_count: u8,
    /// Its config string.
    pub config_string: Vec<u8>,
}

/// One search for targets.
#[derive(Debug)]
pub struct Discovery {
    tag: Tag,
    shelf: Shelf,
    slot: Slot,
    targets: Vec<Target>,
}

/// What Sector Count 0 stands for: two sectors, the servers of the time before jumbo frames.
const SECTOR_COUNT_UNTOLD: u8 = 2;

impl Discovery {
    /// A search for `shelf.slot`, each of which may be the wildcard. `tag` marks its requests.
    #[must_use]
    pub fn new(shelf: Shelf, slot: Slot, tag: Tag) -> Self {
        Self {
            tag,
            shelf,
            slot,
            targets: Vec::new(),
        }
    }

    /// The request, to be broadcast from the station `source`. It may be sent any number of times.
    #[must_use]
    pub fn request(&self, source: MacAddress) -> [u8; CONFIG_FRAME_BYTES] {
        let header = Header::request(
            MacAddress::BROADCAST,
            source,
            self.shelf,
            self.slot,
            COMMAND_CONFIG,
            self.tag,
        );
        let argument = ConfigArgument {
            buffer_count: U16::ZERO,
            firmware: U16::ZERO,
            sector_count: 0,
            version_command: (aoe::VERSION << 4) | ConfigCommand::Read.nibble(),
            string_bytes: U16::ZERO,
        };
        let mut frame = [0; CONFIG_FRAME_BYTES];
        frame[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        frame[HEADER_BYTES..].copy_from_slice(argument.as_bytes());
        frame
    }

    /// Takes in a received frame. Answers to the request and unsolicited advertisements (tag 0) of
    /// targets that are looked for are kept; whatever else it is, it is not for us. The version
    /// nibble is not looked at: vblade advertises with version 0.
    ///
    /// Returns whether the frame was one of those.
    pub fn receive(&mut self, frame: &ReceivedFrame<'_>) -> bool {
        let Some((header, argument)) = parse(frame) else {
            return false;
        };
        let tag = header.tag.get();
        let (shelf, slot) = (Shelf(header.shelf.get()), Slot(header.slot));
        let ours = (tag == self.tag.0 || tag == 0)
            && matches(self.shelf.0, shelf.0, Shelf::ANY.0)
            && matches(self.slot.0, slot.0, Slot::ANY.0)
            && !header.is_wildcard();
        let string_bytes = usize::from(argument.string_bytes.get());
        if !ours || string_bytes > CONFIG_STRING_BYTES_MAX {
            return false;
        }
        let mut config_string = vec![0; string_bytes];
        if frame.copy_to(CONFIG_FRAME_BYTES, &mut config_string) != string_bytes {
            return false;
        }
        let sector_count = match argument.sector_count {
            0 => SECTOR_COUNT_UNTOLD,
            count => count,
        };
        self.insert(Target {
            shelf,
            slot,
            macs: vec![header.source],
            buffer_count: argument.buffer_count.get(),
            firmware: argument.firmware.get(),
            sector_count,
            config_string,
        });
        true
    }

    fn insert(&mut self, answer: Target) {
        let address = (answer.shelf, answer.slot);
        let position = self
            .targets
            .binary_search_by_key(&address, |target| (target.shelf, target.slot));
        match position {
            Err(position) => self.targets.insert(position, answer),
            Ok(position) => {
                let known = &mut self.targets[position];
                for mac in answer.macs {
                    if !known.macs.contains(&mac) {
                        known.macs.push(mac);
                    }
                }
                known.sector_count = known.sector_count.min(answer.sector_count);
            }
        }
    }

    /// The targets found, by shelf and slot.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }
}

/// Header and fixed argument of a Query Config response without error.
fn parse<'a>(frame: &ReceivedFrame<'a>) -> Option<(&'a Header, &'a ConfigArgument)> {
    let (header, rest) = Header::ref_from_prefix(frame.first).ok()?;
    let (argument, _) = ConfigArgument::ref_from_prefix(rest).ok()?;
    let answer = header.ethertype.get() == ETHERTYPE
        && header.is_response()
        && header.error_code().is_none()
        && header.command == COMMAND_CONFIG;
    answer.then_some((header, argument))
}

fn matches<T: PartialEq + Copy>(asked: T, found: T, any: T) -> bool {
    asked == any || asked == found
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn answer(discovery: &Discovery, address: (u16, u8), mac: u8, string: &[u8]) -> Vec<u8> {
        let request = discovery.request(US);
        let (header, _) = Header::ref_from_prefix(&request).unwrap();
        let reply = header.reply(
            MacAddress([4, 0, 0, 0, 0, mac]),
            Shelf(address.0),
            Slot(address.1),
        );
        let mut bytes = reply.as_bytes().to_vec();
        bytes.extend_from_slice(&[0, 64, 0x40, 1, 16, 0x10]);
        bytes.extend_from_slice(&u16::try_from(string.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(string);
        bytes.resize(bytes.len().max(60), 0);
        bytes
    }

    fn whole(bytes: &[u8]) -> ReceivedFrame<'_> {
        ReceivedFrame {
            first: bytes,
            rest: &[],
        }
    }

    fn everything() -> Discovery {
        Discovery::new(Shelf::ANY, Slot::ANY, Tag(0x1234_5678))
    }

    #[test]
    fn the_request_is_the_golden_one_with_our_tag() {
        let mut expected = vec![0xff; 6];
        expected.extend_from_slice(&[2, 0, 0, 0, 0, 1, 0x88, 0xa2, 0x10, 0, 0xff, 0xff, 0xff, 1]);
        expected.extend_from_slice(&[0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0, 0x10, 0, 0]);
        assert_eq!(everything().request(US).as_slice(), expected);
    }

    #[test]
    fn answers_are_collected_by_address_with_all_their_stations() {
        let mut discovery = everything();
        for (address, mac) in [((2, 0), 1), ((1, 3), 1), ((1, 3), 2), ((1, 3), 1)] {
            let bytes = answer(&discovery, address, mac, b"hello");
            assert!(discovery.receive(&whole(&bytes)));
        }
        let found: Vec<_> = discovery
            .targets()
            .iter()
            .map(|target| (target.shelf.0, target.slot.0, target.macs.len()))
            .collect();
        assert_eq!(found, [(1, 3, 2), (2, 0, 1)]);
        let target = &discovery.targets()[0];
        assert_eq!(target.config_string, b"hello");
        assert_eq!((target.buffer_count, target.firmware), (64, 0x4001));
    }

    #[test]
    fn a_string_across_segments_is_joined() {
        let mut discovery = everything();
        let bytes = answer(&discovery, (1, 0), 1, &[b'x'; 1000]);
        let frame = ReceivedFrame {
            first: &bytes[..60],
            rest: &[&bytes[60..600], &bytes[600..]],
        };
        assert!(discovery.receive(&frame));
        assert_eq!(discovery.targets()[0].config_string, [b'x'; 1000]);
    }

    #[test]
    fn sector_count_zero_stands_for_two() {
        let mut discovery = everything();
        let mut bytes = answer(&discovery, (1, 0), 1, b"");
        bytes[28] = 0;
        assert!(discovery.receive(&whole(&bytes)));
        assert_eq!(discovery.targets()[0].sector_count, 2);
    }

    #[test]
    fn what_is_no_answer_of_a_target_looked_for_is_left_alone() {
        let mut discovery = Discovery::new(Shelf(1), Slot::ANY, Tag(5));
        let good = answer(&discovery, (1, 0), 1, b"abc");
        let with = |index: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[index] = value;
            bytes
        };
        for (bad, why) in [
            (with(12, 8), "EtherType"),
            (with(14, 0x10), "a request"),
            (with(14, 0x1c), "an error"),
            (with(17, 2), "another shelf"),
            (with(18, 0xff), "a wildcard"),
            (with(19, 0), "another command"),
            (with(23, 6), "another tag"),
            (with(30, 4), "a string beyond the frame"),
            (good[..31].to_vec(), "a runt"),
        ] {
            assert!(!discovery.receive(&whole(&bad)), "{why}");
        }
        assert!(discovery.targets().is_empty());
        assert!(discovery.receive(&whole(&good)));
    }

    #[test]
    fn an_unsolicited_advertisement_counts() {
        let mut discovery = everything();
        let mut bytes = answer(&discovery, (1, 0), 1, b"");
        bytes[20..24].fill(0);
        bytes[14] = 0x08;
        assert!(discovery.receive(&whole(&bytes)));
    }
}

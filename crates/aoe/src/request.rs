//! What a target makes of a received frame.
//!
//! Invariant: a [`Request`] is only made of bytes that the frame really holds; lengths that the
//! frame claims are checked against its own (conformance rows 43, 44, 53, 62, 130).
//!
//! Budget (`corebench stages parse`): 20 ns, 170 instructions.

use crate::ata::COMMAND_ATA;
use crate::config::COMMAND_CONFIG;
use crate::keyed::{COMMAND_KEYED, entries};
use crate::mask::{COMMAND_MASK, COMMAND_MASK_VENDOR, MASK_FRAME_BYTES};
use crate::reserve::COMMAND_RESERVE;
use crate::vlan::{self, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, TAG_BYTES, TAG_OFFSET};
use crate::{
    ATA_FRAME_BYTES, AtaRegisters, CONFIG_FRAME_BYTES, ConfigArgument, ConfigCommand, ETHERTYPE,
    HEADER_BYTES, Header, KeyedCommand, MacAddress, MaskArgument, MaskCommand, MaskDirective,
    ReserveArgument, ReserveCommand, VERSION,
};
use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::U16;

/// Command code of a redirected message: the argument is a message of its own, header and all
/// (Coraid's extension; conformance row 65).
pub const COMMAND_REDIRECT: u8 = 0xf1;

/// How much of the start of a frame [`parse`] needs: the longest argument but the data of ATA
/// commands, redirected, with a tag.
pub const PARSED_BYTES_MAX: usize =
    TAG_BYTES + HEADER_BYTES + MASK_FRAME_BYTES + 255 * size_of::<MaskDirective>();

/// Why a frame is no request: each one a counter of the port, none an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// Shorter than the header (row 2), or than the argument of its command (row 24).
    Runt,
    /// Another EtherType (row 1).
    NotAoe,
    /// A response: some other target's, or an advertisement (row 3).
    Response,
    /// A version other than 1 (row 4): never executed, never answered.
    Version,
    /// The sender is a group address (row 18).
    MulticastSource,
}

/// A received request.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its header, as if there were no tag.
    pub header: Header,
    /// The number of the VLAN in its tag: 0 when it gives a priority only, `None` without a tag.
    pub vlan: Option<u16>,
    /// The header of the redirected message, if it carries one: whom the answer is for, and the
    /// address that it is to come from.
    pub inner: Option<Header>,
    /// What is asked, in the redirected message if there is one.
    pub request: Request<'a>,
    /// Where the data of an ATA command begins in the frame.
    pub data_offset: usize,
}

/// The argument of a request.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Command 0 with its registers. The data, if any, begins at [`Frame::data_offset`].
    Ata(&'a AtaRegisters),
    /// Command 1. `string` is `None` when the claimed length exceeds the frame or the limit of 1024.
    Config {
        /// What is asked.
        command: ConfigCommand,
        /// The string of the request.
        string: Option<&'a [u8]>,
        /// The second string of test-and-replace; `None` when the frame does not hold it.
        replacement: Option<&'a [u8]>,
    },
    /// Command 2, or its vendor alias. `directives` is `None` when there are fewer than claimed.
    Mask {
        /// What is asked.
        command: MaskCommand,
        /// The directives.
        directives: Option<&'a [MaskDirective]>,
    },
    /// Command 3. `macs` is `None` when there are fewer than claimed.
    Reserve {
        /// What is asked.
        command: ReserveCommand,
        /// The list.
        macs: Option<&'a [MacAddress]>,
    },
    /// Command 4.
    Keyed(KeyedCommand<'a>),
    /// Any other command, with its code.
    Other(u8),
}

/// Splits a received frame into header and request.
///
/// `head` is the frame, or at least its first [`PARSED_BYTES_MAX`] bytes where it is longer.
///
/// # Errors
/// A [`RequestError`] for every frame that a target must leave unanswered.
pub fn parse(head: &[u8]) -> Result<Frame<'_>, RequestError> {
    let vlan = vlan_of(head);
    let tag_bytes = if vlan.is_some() { TAG_BYTES } else { 0 };
    let untagged = head.get(tag_bytes..).ok_or(RequestError::Runt)?;
    let (header, argument) = Header::ref_from_prefix(untagged).map_err(|_| RequestError::Runt)?;
    let mut header = *header;
    if vlan.is_some() {
        // A tag stands between the addresses and the rest.
        let (addresses, _) =
            <[MacAddress; 2]>::read_from_prefix(head).map_err(|_| RequestError::Runt)?;
        [header.destination, header.source] = addresses;
    }
    check(&header)?;
    let data_offset = tag_bytes + ATA_FRAME_BYTES;
    if header.command != COMMAND_REDIRECT {
        return Ok(Frame {
            request: parse_argument(header.command, argument)?,
            header,
            vlan,
            inner: None,
            data_offset,
        });
    }
    let (inner, argument) = Header::ref_from_prefix(argument).map_err(|_| RequestError::Runt)?;
    check(inner)?;
    // One that is redirected again is refused as a command that is not known.
    Ok(Frame {
        request: parse_argument(inner.command, argument)?,
        header,
        vlan,
        inner: Some(*inner),
        data_offset: data_offset + HEADER_BYTES,
    })
}

/// The number in the tag of a frame that has one.
fn vlan_of(head: &[u8]) -> Option<u16> {
    let tag = head.get(TAG_OFFSET..TAG_OFFSET + TAG_BYTES)?;
    let word = |at: usize| u16::from_be_bytes([tag[at], tag[at + 1]]);
    let is_tag = word(0) == ETHERTYPE_VLAN || word(0) == ETHERTYPE_SERVICE_VLAN;
    is_tag.then(|| vlan::number(word(2)))
}

/// Whether a header is that of a request.
fn check(header: &Header) -> Result<(), RequestError> {
    if header.ethertype.get() != ETHERTYPE {
        return Err(RequestError::NotAoe);
    }
    if header.is_response() {
        return Err(RequestError::Response);
    }
    if header.version() != VERSION {
        return Err(RequestError::Version);
    }
    if header.source.is_multicast() {
        return Err(RequestError::MulticastSource);
    }
    Ok(())
}

fn parse_argument(command: u8, argument: &[u8]) -> Result<Request<'_>, RequestError> {
    Ok(match command {
        COMMAND_ATA => {
            let (registers, _) =
                AtaRegisters::ref_from_prefix(argument).map_err(|_| RequestError::Runt)?;
            Request::Ata(registers)
        }
        COMMAND_CONFIG => parse_config(argument),
        COMMAND_MASK | COMMAND_MASK_VENDOR => {
            let (fixed, rest) =
                MaskArgument::ref_from_prefix(argument).map_err(|_| RequestError::Runt)?;
            Request::Mask {
                command: MaskCommand::from_code(fixed.command),
                directives: entries(rest, fixed.count),
            }
        }
        COMMAND_RESERVE => {
            let (fixed, rest) =
                ReserveArgument::ref_from_prefix(argument).map_err(|_| RequestError::Runt)?;
            Request::Reserve {
                command: ReserveCommand::from_code(fixed.command),
                macs: entries(rest, fixed.count),
            }
        }
        COMMAND_KEYED if argument.is_empty() => return Err(RequestError::Runt),
        COMMAND_KEYED => Request::Keyed(KeyedCommand::parse(argument)),
        other => Request::Other(other),
    })
}

/// A Query Config argument; one shorter than its fixed part is a plain read (row 22).
fn parse_config(argument: &[u8]) -> Request<'_> {
    let Ok((fixed, rest)) = ConfigArgument::ref_from_prefix(argument) else {
        return Request::Config {
            command: ConfigCommand::Read,
            string: Some(&[]),
            replacement: None,
        };
    };
    let command = ConfigCommand::from_nibble(fixed.version_command);
    let split = split_string(rest, fixed.string_bytes.get());
    let replacement = match (command, split) {
        (ConfigCommand::TestAndReplace, Some((_, rest))) => parse_replacement(rest),
        _ => None,
    };
    Request::Config {
        command,
        string: split.map(|(string, _)| string),
        replacement,
    }
}

/// A string of the claimed length, and what follows it.
fn split_string(bytes: &[u8], claimed: u16) -> Option<(&[u8], &[u8])> {
    let claimed = usize::from(claimed);
    (claimed <= crate::CONFIG_STRING_BYTES_MAX)
        .then(|| bytes.split_at_checked(claimed))
        .flatten()
}

/// The second string of test-and-replace: behind the first, with a length of its own.
fn parse_replacement(bytes: &[u8]) -> Option<&[u8]> {
    let (claimed, rest) = U16::read_from_prefix(bytes).ok()?;
    split_string(rest, claimed.get()).map(|(string, _)| string)
}

const _: () = assert!(HEADER_BYTES < CONFIG_FRAME_BYTES && CONFIG_FRAME_BYTES < ATA_FRAME_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyedChange, MacAddress, Shelf, Slot, Tag};
    use std::vec::Vec;
    use zerocopy::IntoBytes;

    fn frame(command: u8, argument: &[u8]) -> Vec<u8> {
        let header = Header::request(
            MacAddress::BROADCAST,
            MacAddress([2; 6]),
            Shelf::ANY,
            Slot::ANY,
            command,
            Tag(7),
        );
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(argument);
        bytes
    }

    #[test]
    fn rows_1_to_4_and_18_frames_that_are_no_requests() {
        let good = frame(1, &[0; 8]);
        let with = |index: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[index] = value;
            parse(&bytes).err()
        };
        assert_eq!(with(12, 0x08), Some(RequestError::NotAoe));
        assert_eq!(with(14, 0x18), Some(RequestError::Response));
        for version in [0x00, 0x20, 0xf0] {
            assert_eq!(with(14, version), Some(RequestError::Version));
        }
        assert_eq!(with(6, 0x01), Some(RequestError::MulticastSource));
        for length in 0..24 {
            assert_eq!(parse(&good[..length]).err(), Some(RequestError::Runt));
        }
    }

    #[test]
    fn row_22_a_bare_header_is_a_config_read() {
        let bytes = frame(1, &[]);
        let request = parse(&bytes).unwrap().request;
        assert!(matches!(
            request,
            Request::Config {
                command: ConfigCommand::Read,
                string: Some(&[]),
                ..
            }
        ));
    }

    #[test]
    fn row_24_an_ata_request_without_all_registers_is_a_runt() {
        for length in 0..12 {
            assert_eq!(
                parse(&frame(0, &[0; 12])[..24 + length]).err(),
                Some(RequestError::Runt)
            );
        }
        assert!(parse(&frame(0, &[0; 12])).is_ok());
    }

    #[test]
    fn rows_43_and_44_a_string_longer_than_limit_or_frame_is_none() {
        for (claimed, held) in [(1025u16, 1025usize), (100, 28), (u16::MAX, 0)] {
            let mut argument = std::vec![0, 0, 0, 0, 0, 0x14];
            argument.extend_from_slice(&claimed.to_be_bytes());
            argument.resize(8 + held, b'x');
            let bytes = frame(1, &argument);
            let request = parse(&bytes).unwrap().request;
            assert!(matches!(
                request,
                Request::Config {
                    command: ConfigCommand::ForceSet,
                    string: None,
                    ..
                }
            ));
        }
    }

    /// A tagged frame.
    fn tagged(ethertype: u16, control: u16, frame: &[u8]) -> Vec<u8> {
        let mut bytes = frame[..12].to_vec();
        bytes.extend_from_slice(&ethertype.to_be_bytes());
        bytes.extend_from_slice(&control.to_be_bytes());
        bytes.extend_from_slice(&frame[12..]);
        bytes
    }

    #[test]
    fn row_119_a_tag_is_taken_off() {
        let plain = frame(0, &[0x40, 0, 1, 0x24, 7, 0, 0, 0, 0, 0, 0, 0]);
        for ethertype in [0x8100, 0x88a8] {
            let bytes = tagged(ethertype, 0xe123, &plain);
            let parsed = parse(&bytes).unwrap();
            assert_eq!(parsed.vlan, Some(0x123));
            assert_eq!(parsed.header.as_bytes(), &plain[..24]);
            assert_eq!(parsed.data_offset, 40);
            assert!(matches!(parsed.request, Request::Ata(registers) if registers.lba48() == 7));
            assert_eq!(parse(&bytes[..27]).err(), Some(RequestError::Runt));
        }
        assert_eq!(parse(&plain).unwrap().vlan, None);
        let twice = tagged(0x8100, 1, &tagged(0x8100, 1, &plain));
        assert_eq!(parse(&twice).err(), Some(RequestError::NotAoe));
    }

    #[test]
    fn row_65_a_redirected_message_is_the_request() {
        let mut inner = frame(0, &[0x40, 0, 1, 0x24, 9, 0, 0, 0, 0, 0, 0, 0]);
        inner[16..19].copy_from_slice(&[0, 7, 8]);
        let bytes = frame(COMMAND_REDIRECT, &inner);
        let parsed = parse(&bytes).unwrap();
        let address = parsed.inner.map(|inner| (inner.shelf.get(), inner.slot));
        assert_eq!((address, parsed.data_offset), (Some((7, 8)), 60));
        assert_eq!(parsed.header.command, COMMAND_REDIRECT);
        assert!(matches!(parsed.request, Request::Ata(registers) if registers.lba48() == 9));
        for length in 24..60 {
            assert_eq!(parse(&bytes[..length]).err(), Some(RequestError::Runt));
        }
        let again = frame(COMMAND_REDIRECT, &bytes);
        let parsed = parse(&again).unwrap();
        assert!(matches!(parsed.request, Request::Other(COMMAND_REDIRECT)));
        let mut response = bytes.clone();
        response[24 + 14] |= 0x08;
        assert_eq!(parse(&response).err(), Some(RequestError::Response));
    }

    #[test]
    fn row_41_test_and_replace_has_two_strings() {
        let with = |old: &[u8], claimed: u16, new: &[u8]| {
            let old_bytes = u16::try_from(old.len()).unwrap().to_be_bytes();
            let mut argument = std::vec![0, 0, 0, 0, 0, 0x15, old_bytes[0], old_bytes[1]];
            argument.extend_from_slice(old);
            argument.extend_from_slice(&claimed.to_be_bytes());
            argument.extend_from_slice(new);
            let bytes = frame(1, &argument);
            match parse(&bytes).unwrap().request {
                Request::Config {
                    string,
                    replacement,
                    ..
                } => (string.map(<[u8]>::to_vec), replacement.map(<[u8]>::to_vec)),
                other => panic!("{other:?}"),
            }
        };
        let strings = |old: &[u8], new: &[u8]| (Some(old.to_vec()), Some(new.to_vec()));
        assert_eq!(with(b"old", 4, b"newer"), strings(b"old", b"newe"));
        assert_eq!(with(b"", 0, b""), strings(b"", b""));
        assert_eq!(with(b"old", 6, b"newer").1, None);
        assert_eq!(with(b"old", 1025, &[7; 1025]).1, None);
    }

    #[test]
    fn rows_53_62_and_130_lists_that_the_frame_does_not_hold_are_none() {
        let list = |command, fixed: &[u8], held: usize| {
            let mut argument = fixed.to_vec();
            argument.resize(fixed.len() + held, 0x02);
            frame(command, &argument)
        };
        for command in [2, 0xf0] {
            for (count, held, is_there) in [
                (0, 0, true),
                (2, 16, true),
                (2, 15, false),
                (255, 28, false),
            ] {
                let bytes = list(command, &[9, 1, 0, count], held);
                let Request::Mask {
                    command,
                    directives,
                } = parse(&bytes).unwrap().request
                else {
                    panic!("a mask list")
                };
                assert_eq!(command, MaskCommand::Edit);
                let found = directives.map(<[_]>::len);
                assert_eq!(found, is_there.then_some(usize::from(count)));
            }
        }
        for (count, held, is_there) in [
            (0, 0, true),
            (3, 30, true),
            (3, 17, false),
            (255, 34, false),
        ] {
            let bytes = list(3, &[1, count], held);
            let Request::Reserve { command, macs } = parse(&bytes).unwrap().request else {
                panic!("a reservation")
            };
            assert_eq!(command, ReserveCommand::Set);
            assert_eq!(macs.map(<[_]>::len), is_there.then_some(usize::from(count)));
        }
        assert_eq!(parse(&frame(2, &[0; 3])).err(), Some(RequestError::Runt));
        assert_eq!(parse(&frame(3, &[0])).err(), Some(RequestError::Runt));
        assert_eq!(parse(&frame(4, &[])).err(), Some(RequestError::Runt));
    }

    #[test]
    fn row_64_keyed_reservations() {
        let parsed = |argument: &[u8]| {
            let bytes = frame(4, argument);
            match parse(&bytes).unwrap().request {
                Request::Keyed(KeyedCommand::Change(KeyedChange::Register { key, macs })) => {
                    std::format!("register {:x} {macs:?}", key.0)
                }
                Request::Keyed(KeyedCommand::Change(change)) => std::format!("{change:?}"),
                Request::Keyed(other) => std::format!("{other:?}"),
                other => panic!("{other:?}"),
            }
        };
        let key = |low: u8| [0, 0, 0, 0, 0, 0, 1, low];
        assert_eq!(parsed(&[0]), "Status");
        assert_eq!(parsed(&[4, 9]), "Reset");
        let mut register = std::vec![1, 1, 0, 0];
        register.extend_from_slice(&key(5));
        register.extend_from_slice(&[2, 0, 0, 0, 0, 9]);
        assert_eq!(parsed(&register), "register 105 [020000000009]");
        register[1] = 2;
        assert_eq!(parsed(&register), "Malformed");
        let mut set = std::vec![2, 5, 0, 0];
        set.extend_from_slice(&key(5));
        assert_eq!(
            parsed(&set),
            "Set { kind: WriteExclusiveGroup, key: Key(261) }"
        );
        assert_eq!(parsed(&set[..11]), "Malformed");
        set[1] = 6;
        assert_eq!(parsed(&set), "Malformed");
        let mut replace = std::vec![3, 0, 0, 0];
        replace.extend_from_slice(&key(1));
        replace.extend_from_slice(&key(2));
        let preempt = "Preempt { kind: Exclusive, target: Key(257), replacement: Key(258) }";
        assert_eq!(parsed(&replace), preempt);
        replace[2] = 1;
        assert_eq!(
            parsed(&replace),
            "Rename { target: Key(257), replacement: Key(258) }"
        );
        assert_eq!(parsed(&[9]), "Malformed");
    }

    proptest::proptest! {
        #[test]
        fn row_129_no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(0u8.., 0..2000)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn row_129_no_argument_makes_the_parser_panic(
            command in 0u8.., argument in proptest::collection::vec(0u8.., 0..1200)
        ) {
            let _ = parse(&frame(command, &argument));
        }

        #[test]
        fn row_130_what_is_made_of_a_frame_lies_in_it(
            command in proptest::prop_oneof![0u8..6, 0xf0u8..0xf3],
            argument in proptest::collection::vec(0u8..6, 0..2100),
            redirected in proptest::bool::ANY,
            is_tagged in proptest::bool::ANY,
        ) {
            let mut bytes = frame(command, &argument);
            if redirected {
                bytes = frame(COMMAND_REDIRECT, &bytes);
            }
            if is_tagged {
                bytes = tagged(ETHERTYPE_VLAN, 5, &bytes);
            }
            if let Ok(parsed) = parse(&bytes) {
                let held = bytes.len() - (parsed.data_offset - 12);
                let used = match parsed.request {
                    Request::Ata(_) => 12,
                    Request::Config { string, .. } => string.map_or(0, <[u8]>::len),
                    Request::Mask { directives, .. } => 4 + 8 * directives.map_or(0, <[_]>::len),
                    Request::Reserve { macs, .. } => 2 + 6 * macs.map_or(0, <[_]>::len),
                    Request::Keyed(KeyedCommand::Change(KeyedChange::Register { macs, .. })) => 12 + 6 * macs.len(),
                    Request::Keyed(_) | Request::Other(_) => 0,
                };
                proptest::prop_assert!(used <= held, "{used} of {held}");
                proptest::prop_assert_eq!(parsed.vlan, is_tagged.then_some(5));
            }
        }
    }
}

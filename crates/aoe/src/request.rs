//! What a target makes of a received frame.
//!
//! Invariant: a [`Request`] is only made of bytes that the frame really holds; lengths that the
//! frame claims are checked against its own (conformance rows 43, 44, 53, 130).

use crate::ata::COMMAND_ATA;
use crate::config::COMMAND_CONFIG;
use crate::{
    ATA_FRAME_BYTES, AtaRegisters, CONFIG_FRAME_BYTES, ConfigArgument, ConfigCommand, ETHERTYPE,
    HEADER_BYTES, Header, VERSION,
};
use zerocopy::FromBytes;

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

/// The argument of a request.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Command 0 with its registers. The data, if any, begins at byte 36 of the frame.
    Ata(&'a AtaRegisters),
    /// Command 1. `string` is `None` when the claimed length exceeds the frame or the limit of 1024.
    Config {
        /// What is asked.
        command: ConfigCommand,
        /// The string of the request.
        string: Option<&'a [u8]>,
    },
    /// Any other command, with its code.
    Other(u8),
}

/// Splits a received frame into header and request.
///
/// `head` is the frame, or at least its first 1056 bytes where it is longer.
///
/// # Errors
/// A [`RequestError`] for every frame that a target must leave unanswered.
pub fn parse(head: &[u8]) -> Result<(&Header, Request<'_>), RequestError> {
    let (header, argument) = Header::ref_from_prefix(head).map_err(|_| RequestError::Runt)?;
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
    let request = match header.command {
        COMMAND_ATA => {
            let (registers, _) =
                AtaRegisters::ref_from_prefix(argument).map_err(|_| RequestError::Runt)?;
            Request::Ata(registers)
        }
        COMMAND_CONFIG => parse_config(argument),
        other => Request::Other(other),
    };
    Ok((header, request))
}

/// A Query Config argument; one shorter than its fixed part is a plain read (row 22).
fn parse_config(argument: &[u8]) -> Request<'_> {
    let Ok((fixed, rest)) = ConfigArgument::ref_from_prefix(argument) else {
        return Request::Config {
            command: ConfigCommand::Read,
            string: Some(&[]),
        };
    };
    let command = ConfigCommand::from_nibble(fixed.version_command);
    let string_bytes = usize::from(fixed.string_bytes.get());
    let string = if string_bytes > crate::CONFIG_STRING_BYTES_MAX {
        None
    } else {
        rest.get(..string_bytes)
    };
    Request::Config { command, string }
}

const _: () = assert!(HEADER_BYTES < CONFIG_FRAME_BYTES && CONFIG_FRAME_BYTES < ATA_FRAME_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MacAddress, Shelf, Slot, Tag};
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
        let (_, request) = parse(&bytes).unwrap();
        assert!(matches!(
            request,
            Request::Config {
                command: ConfigCommand::Read,
                string: Some(&[])
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
            let (_, request) = parse(&bytes).unwrap();
            assert!(matches!(
                request,
                Request::Config {
                    command: ConfigCommand::ForceSet,
                    string: None
                }
            ));
        }
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
    }
}

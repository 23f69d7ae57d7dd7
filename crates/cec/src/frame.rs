//! Frames of the Ethernet console, byte for byte.
//!
//! ```text
//!  0  destination MAC   6
//!  6  source MAC        6
//! 12  EtherType BC BC   2
//! 14  kind              1
//! 15  connection tag    1   chosen by the client, 0 in Discover and Offer
//! 16  sequence          1   wraps from 255 to 0
//! 17  payload length    1
//! 18  payload           0..=255, then zeros up to 60 bytes
//! ```
//!
//! Invariants:
//! * parsing never panics and never reads outside the bytes given, whatever they hold;
//! * an encoded frame has at least [`FRAME_BYTES_MIN`] and at most [`FRAME_BYTES_MAX`] bytes.

use aoe::MacAddress;
use core::fmt;
use thiserror::Error;
use zerocopy::byteorder::{BigEndian, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// EtherType of the Ethernet console.
pub const ETHERTYPE: u16 = 0xbcbc;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 18;

/// Smallest frame that is sent, in bytes. The Unix client drops shorter ones, and not every
/// interface pads by itself.
pub const FRAME_BYTES_MIN: usize = 60;

/// Largest payload, in bytes: the length field has one byte.
pub const PAYLOAD_BYTES_MAX: usize = 255;

/// Largest frame, in bytes.
pub const FRAME_BYTES_MAX: usize = HEADER_BYTES + PAYLOAD_BYTES_MAX;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// First step of the handshake, client to server.
    InitA,
    /// Second step of the handshake, server to client.
    InitB,
    /// Third step of the handshake, client to server.
    InitC,
    /// Bytes of the console, either way.
    Data,
    /// Acknowledges the data of the same sequence number.
    Ack,
    /// A client looks for shelves.
    Discover,
    /// A shelf introduces itself; towards an open session it means "please connect again".
    Offer,
    /// Ends a session, either way; has no answer.
    Reset,
    /// A code that the protocol does not define.
    Unknown(u8),
}

impl Kind {
    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::InitA,
            1 => Self::InitB,
            2 => Self::InitC,
            3 => Self::Data,
            4 => Self::Ack,
            5 => Self::Discover,
            6 => Self::Offer,
            7 => Self::Reset,
            other => Self::Unknown(other),
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::InitA => 0,
            Self::InitB => 1,
            Self::InitC => 2,
            Self::Data => 3,
            Self::Ack => 4,
            Self::Discover => 5,
            Self::Offer => 6,
            Self::Reset => 7,
            Self::Unknown(code) => code,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::InitA => "Tinita",
            Self::InitB => "Tinitb",
            Self::InitC => "Tinitc",
            Self::Data => "Tdata",
            Self::Ack => "Tack",
            Self::Discover => "Tdiscover",
            Self::Offer => "Toffer",
            Self::Reset => "Treset",
            Self::Unknown(code) => return write!(f, "kind {code}"),
        };
        f.write_str(name)
    }
}

/// The client's one-byte name for one of its sessions. Two clients of one host can collide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionTag(pub u8);

/// At most [`PAYLOAD_BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a>(&'a [u8]);

impl<'a> Payload<'a> {
    /// No bytes.
    pub const EMPTY: Self = Self(&[]);

    /// As many of the first of `bytes` as one frame can carry.
    #[must_use]
    pub fn prefix_of(bytes: &'a [u8]) -> Self {
        Self(&bytes[..bytes.len().min(PAYLOAD_BYTES_MAX)])
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// One frame, its payload borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Receiver.
    pub destination: MacAddress,
    /// Sender.
    pub source: MacAddress,
    /// What the frame is for.
    pub kind: Kind,
    /// Session of the client.
    pub tag: ConnectionTag,
    /// Number of the data packet; garbage in some frames of old clients.
    pub sequence: u8,
    /// Console bytes, or the text of an offer.
    pub payload: Payload<'a>,
}

/// Why bytes are not a console frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Shorter than the header.
    #[error("console frame of {bytes} bytes: the header alone has {HEADER_BYTES}")]
    Short {
        /// Length of the frame in bytes.
        bytes: usize,
    },
    /// Another protocol.
    #[error("EtherType {0:#06x} is not that of the console, {ETHERTYPE:#06x}")]
    OtherProtocol(u16),
    /// The length field points behind the end of the frame.
    #[error("console frame announces {announced} payload bytes but carries {carried}")]
    Truncated {
        /// The length field.
        announced: usize,
        /// Bytes after the header.
        carried: usize,
    },
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    destination: MacAddress,
    source: MacAddress,
    ether_type: U16<BigEndian>,
    kind: u8,
    tag: u8,
    sequence: u8,
    payload_bytes: u8,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

impl<'a> Frame<'a> {
    /// Reads a whole Ethernet frame without its checksum. Padding is ignored and may be missing,
    /// because some virtual interfaces do not pad.
    ///
    /// # Errors
    /// When the bytes are not a complete console frame.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (header, rest) =
            Header::ref_from_prefix(bytes).map_err(|_| ParseError::Short { bytes: bytes.len() })?;
        if header.ether_type.get() != ETHERTYPE {
            return Err(ParseError::OtherProtocol(header.ether_type.get()));
        }
        let announced = usize::from(header.payload_bytes);
        let payload = rest.get(..announced).ok_or(ParseError::Truncated {
            announced,
            carried: rest.len(),
        })?;
        Ok(Self {
            destination: header.destination,
            source: header.source,
            kind: Kind::from_code(header.kind),
            tag: ConnectionTag(header.tag),
            sequence: header.sequence,
            payload: Payload(payload),
        })
    }

    /// The bytes for the wire, padded with zeros to [`FRAME_BYTES_MIN`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let payload = self.payload.bytes();
        let header = Header {
            destination: self.destination,
            source: self.source,
            ether_type: U16::new(ETHERTYPE),
            kind: self.kind.code(),
            tag: self.tag.0,
            sequence: self.sequence,
            // A payload has at most 255 bytes by construction.
            payload_bytes: payload.len() as u8,
        };
        let mut bytes = Vec::with_capacity(FRAME_BYTES_MIN.max(HEADER_BYTES + payload.len()));
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(payload);
        if bytes.len() < FRAME_BYTES_MIN {
            bytes.resize(FRAME_BYTES_MIN, 0);
        }
        bytes
    }
}

impl fmt::Display for Frame<'_> {
    /// One line, like `020000000001 > 020000000002 Tdata tag 5 seq 1 len 3 "ls\r"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} > {} {} tag {} seq {} len {}",
            self.source,
            self.destination,
            self.kind,
            self.tag.0,
            self.sequence,
            self.payload.bytes().len(),
        )?;
        if !self.payload.bytes().is_empty() {
            write!(f, " \"{}\"", self.payload.bytes().escape_ascii())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const SHELF: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    #[test]
    fn every_byte_has_its_place() {
        let frame = Frame {
            destination: SHELF,
            source: CLIENT,
            kind: Kind::Data,
            tag: ConnectionTag(5),
            sequence: 1,
            payload: Payload::prefix_of(b"ls\r"),
        };
        let mut expected = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0xbc, 0xbc, 3, 5, 1, 3];
        expected.extend_from_slice(b"ls\r");
        expected.resize(60, 0);
        assert_eq!(frame.encode(), expected);
        assert_eq!(
            frame.to_string(),
            r#"020000000001 > 020000000002 Tdata tag 5 seq 1 len 3 "ls\r""#
        );
    }

    #[test]
    fn what_is_too_short_or_foreign_is_refused_with_the_reason() {
        assert_eq!(Frame::parse(&[0; 17]), Err(ParseError::Short { bytes: 17 }));
        assert_eq!(Frame::parse(&[0; 60]), Err(ParseError::OtherProtocol(0)));
        let mut bytes = vec![0; 20];
        bytes[12..14].fill(0xbc);
        bytes[17] = 3;
        let error = Frame::parse(&bytes);
        assert_eq!(
            error,
            Err(ParseError::Truncated {
                announced: 3,
                carried: 2
            })
        );
        bytes[17] = 2;
        assert!(Frame::parse(&bytes).is_ok(), "missing padding is no error");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
                                ours in any::<bool>()) {
            if ours && bytes.len() >= 14 {
                bytes[12..14].fill(0xbc);
            }
            if let Ok(frame) = Frame::parse(&bytes) {
                prop_assert!(frame.payload.bytes().len() <= PAYLOAD_BYTES_MAX);
            }
        }

        #[test]
        fn what_was_encoded_parses_to_the_same(
            kind in any::<u8>(), tag in any::<u8>(), sequence in any::<u8>(),
            payload in proptest::collection::vec(any::<u8>(), 0..=PAYLOAD_BYTES_MAX),
        ) {
            let frame = Frame {
                destination: SHELF, source: CLIENT, kind: Kind::from_code(kind),
                tag: ConnectionTag(tag), sequence, payload: Payload::prefix_of(&payload),
            };
            let bytes = frame.encode();
            prop_assert!((FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&bytes.len()));
            prop_assert_eq!(Frame::parse(&bytes), Ok(frame));
        }
    }
}

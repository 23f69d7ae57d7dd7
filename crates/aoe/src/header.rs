//! The common header: the 24 bytes that open every AoE frame (AoEr11, header format).
//!
//! ```text
//!  0 destination MAC   6 source MAC   12 EtherType 0x88A2
//! 14 version·flags    15 error        16 major (shelf)   18 minor (slot)   19 command   20 tag
//! ```

use crate::{ETHERTYPE, MacAddress, VERSION};
use core::fmt;
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of [`Header`], Ethernet header included.
pub const HEADER_BYTES: usize = 24;

/// Flag R: the frame is a response.
pub const FLAG_RESPONSE: u8 = 0x08;
/// Flag E: the response reports an error.
pub const FLAG_ERROR: u8 = 0x04;

/// The AoE major address of a target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Shelf(pub u16);

impl Shelf {
    /// In a request: any shelf.
    pub const ANY: Self = Self(0xffff);

    /// Whether a target may have this address: 0 to 65534, except 4095, which the Linux initiator
    /// refuses (conformance row 118).
    #[must_use]
    pub const fn is_valid_target(self) -> bool {
        self.0 != 0xffff && self.0 != 0x0fff
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The AoE minor address of a target; on a shelf, the number of the LUN.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Slot(pub u8);

impl Slot {
    /// In a request: any slot.
    pub const ANY: Self = Self(0xff);
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The initiator's mark of a request, echoed bit for bit and never interpreted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tag(pub u32);

/// Why a request was refused (AoEr11, error codes). No code above 6 is ever sent: some initiators
/// index a table with it (conformance row 67).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ErrorCode {
    /// The command byte is not supported.
    UnrecognizedCommand = 1,
    /// An argument is malformed or unacceptable.
    BadArgument = 2,
    /// The target exists but cannot take ATA commands.
    DeviceUnavailable = 3,
    /// A different config string is present.
    ConfigStringPresent = 4,
    /// The version nibble is not 1.
    UnsupportedVersion = 5,
    /// The target is reserved by others.
    TargetReserved = 6,
}

/// Where the sender's address lies in a frame.
pub const SOURCE_OFFSET: usize = 6;

const _: () = assert!(core::mem::offset_of!(Header, source) == SOURCE_OFFSET);

/// The common header as it lies on the wire.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Receiving station.
    pub destination: MacAddress,
    /// Sending station.
    pub source: MacAddress,
    /// Always [`ETHERTYPE`].
    pub ethertype: U16,
    /// Version in the high nibble, flags in the low one.
    pub version_flags: u8,
    /// Error code; meaningful only with flag E.
    pub error: u8,
    /// Major address; 0xFFFF is any.
    pub shelf: U16,
    /// Minor address; 0xFF is any.
    pub slot: u8,
    /// Command code.
    pub command: u8,
    /// Tag.
    pub tag: U32,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES && align_of::<Header>() == 1);

impl Header {
    /// A request header as an initiator sends it.
    #[must_use]
    pub fn request(
        destination: MacAddress,
        source: MacAddress,
        shelf: Shelf,
        slot: Slot,
        command: u8,
        tag: Tag,
    ) -> Self {
        Self {
            destination,
            source,
            ethertype: U16::new(ETHERTYPE),
            version_flags: VERSION << 4,
            error: 0,
            shelf: U16::new(shelf.0),
            slot: slot.0,
            command,
            tag: U32::new(tag.0),
        }
    }

    /// The header of the reply to `self` from the target `shelf.slot` on the port with address
    /// `port`: to the sender of the request, from the port it came in on, with the real address
    /// and the same tag (conformance rows 5 to 10).
    #[must_use]
    pub fn reply(&self, port: MacAddress, shelf: Shelf, slot: Slot) -> Self {
        Self {
            destination: self.source,
            source: port,
            version_flags: (VERSION << 4) | FLAG_RESPONSE,
            error: 0,
            shelf: U16::new(shelf.0),
            slot: slot.0,
            ..*self
        }
    }

    /// Turns a reply into one that reports `code`.
    pub fn set_error(&mut self, code: ErrorCode) {
        self.version_flags |= FLAG_ERROR;
        self.error = code as u8;
    }

    /// The protocol version of the frame.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version_flags >> 4
    }

    /// Whether the frame is a response.
    #[must_use]
    pub const fn is_response(&self) -> bool {
        self.version_flags & FLAG_RESPONSE != 0
    }

    /// The error code of a response with flag E.
    #[must_use]
    pub const fn error_code(&self) -> Option<u8> {
        if self.version_flags & FLAG_ERROR != 0 {
            Some(self.error)
        } else {
            None
        }
    }

    /// Whether a request with this header is meant for the target `shelf.slot`: each field matches
    /// by itself or is the wildcard (conformance rows 10 to 12).
    #[must_use]
    pub fn addresses(&self, shelf: Shelf, slot: Slot) -> bool {
        (self.shelf.get() == shelf.0 || self.shelf.get() == Shelf::ANY.0)
            && (self.slot == slot.0 || self.slot == Slot::ANY.0)
    }

    /// Whether the address holds a wildcard, so that the frame may be meant for several targets.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.shelf.get() == Shelf::ANY.0 || self.slot == Slot::ANY.0
    }
}

impl fmt::Display for Header {
    /// One line in the manner of tcpdump.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} > {} AoE v{} {}{} e{}.{} cmd {} tag {:#010x}",
            self.source,
            self.destination,
            self.version(),
            if self.is_response() {
                "response"
            } else {
                "request"
            },
            self.error_code().map_or("", |_| " error"),
            self.shelf,
            self.slot,
            self.command,
            self.tag,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(shelf: u16, slot: u8) -> Header {
        Header::request(
            MacAddress::BROADCAST,
            MacAddress([2; 6]),
            Shelf(shelf),
            Slot(slot),
            1,
            Tag(0x8000_0001),
        )
    }

    #[test]
    fn rows_10_to_12_address_fields_match_by_themselves() {
        for (shelf, slot, matches) in [
            (1, 2, true),
            (0xffff, 2, true),
            (1, 0xff, true),
            (0xffff, 0xff, true),
            (1, 3, false),
            (2, 2, false),
            (0xffff, 3, false),
            (2, 0xff, false),
        ] {
            assert_eq!(
                request(shelf, slot).addresses(Shelf(1), Slot(2)),
                matches,
                "{shelf}.{slot}"
            );
        }
    }

    #[test]
    fn rows_5_6_7_9_10_reply_header() {
        let mut ask = request(0xffff, 0xff);
        ask.version_flags |= 0x03;
        let reply = ask.reply(MacAddress([4; 6]), Shelf(1), Slot(2));
        assert_eq!(reply.destination, MacAddress([2; 6]));
        assert_eq!(reply.source, MacAddress([4; 6]));
        assert_eq!(reply.version_flags, 0x18);
        assert_eq!(
            (reply.shelf.get(), reply.slot, reply.tag.get()),
            (1, 2, 0x8000_0001)
        );
    }

    #[test]
    fn row_118_addresses_that_no_target_may_have() {
        assert!(Shelf(0).is_valid_target() && Shelf(65534).is_valid_target());
        assert!(!Shelf(4095).is_valid_target() && !Shelf(65535).is_valid_target());
    }
}

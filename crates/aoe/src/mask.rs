//! The argument of command 2, MAC Mask List (AoEr11), and of its vendor alias 0xF0.
//!
//! ```text
//! 24 zero   25 MCmd   26 MError   27 Dir Count   28 directives: zero, DCmd, MAC
//! ```

use crate::MacAddress;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Command code of MAC Mask List.
pub const COMMAND_MASK: u8 = 2;
/// The same command as Coraid's shelves knew it before it had a number of its own.
pub const COMMAND_MASK_VENDOR: u8 = 0xf0;

/// Length of the header and the fixed part of the argument: where the directives begin.
pub const MASK_FRAME_BYTES: usize = crate::HEADER_BYTES + size_of::<MaskArgument>();

/// The fixed part of a MAC Mask List argument.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MaskArgument {
    /// Zero; not looked at in a request.
    pub reserved: u8,
    /// MCmd.
    pub command: u8,
    /// In a response: what was wrong with a directive.
    pub error: u8,
    /// How many directives follow; with an error, the index of the one that failed.
    pub count: u8,
}

/// One entry of the list, or one change of it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct MaskDirective {
    /// Zero.
    pub reserved: u8,
    /// DCmd.
    pub command: u8,
    /// The station.
    pub mac: MacAddress,
}

const _: () = assert!(size_of::<MaskArgument>() == 4 && MASK_FRAME_BYTES == 28);
const _: () = assert!(size_of::<MaskDirective>() == 8);

impl MaskDirective {
    /// DCmd: nothing; in a response, an entry.
    pub const NONE: u8 = 0;
    /// DCmd: add the station.
    pub const ADD: u8 = 1;
    /// DCmd: delete the station.
    pub const DELETE: u8 = 2;

    /// An entry of the list, as a response tells it.
    #[must_use]
    pub const fn entry(mac: MacAddress) -> Self {
        Self {
            reserved: 0,
            command: Self::NONE,
            mac,
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MaskCommand {
    /// Tell the list.
    Read,
    /// Carry out the directives in order.
    Edit,
    /// A code that nobody defined.
    Unknown(u8),
}

impl MaskCommand {
    /// Decodes MCmd.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Read,
            1 => Self::Edit,
            other => Self::Unknown(other),
        }
    }

    /// MCmd of this command.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::Edit => 1,
            Self::Unknown(other) => other,
        }
    }
}

/// Why a directive was not carried out. Told in MError, without flag E.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MaskError {
    /// Something else.
    Unspecified = 1,
    /// A DCmd that nobody defined.
    BadDirective = 2,
    /// The list is full.
    ListFull = 3,
}

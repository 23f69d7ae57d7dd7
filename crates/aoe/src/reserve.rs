//! The argument of command 3, Reserve/Release (AoEr11): reservations without keys.
//!
//! ```text
//! 24 RCmd   25 NMacs   26 MACs
//! ```

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Command code of Reserve/Release.
pub const COMMAND_RESERVE: u8 = 3;

/// Length of the header and the fixed part of the argument: where the list begins.
pub const RESERVE_FRAME_BYTES: usize = crate::HEADER_BYTES + size_of::<ReserveArgument>();

/// The fixed part of a Reserve/Release argument.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ReserveArgument {
    /// RCmd.
    pub command: u8,
    /// How many stations follow.
    pub count: u8,
}

const _: () = assert!(size_of::<ReserveArgument>() == 2 && RESERVE_FRAME_BYTES == 26);

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReserveCommand {
    /// Tell the list.
    Read,
    /// Set the list, if there is none or the requester is on it.
    Set,
    /// Set the list.
    ForceSet,
    /// A code that nobody defined.
    Unknown(u8),
}

impl ReserveCommand {
    /// Decodes RCmd.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Read,
            1 => Self::Set,
            2 => Self::ForceSet,
            other => Self::Unknown(other),
        }
    }

    /// RCmd of this command.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::Set => 1,
            Self::ForceSet => 2,
            Self::Unknown(other) => other,
        }
    }
}

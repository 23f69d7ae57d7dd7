//! The argument of command 1, Query Config Information (AoEr11).
//!
//! ```text
//! 24 Buffer Count   26 Firmware Version   28 Sector Count   29 version·CCmd   30 length   32 string
//! ```

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Command code of Query Config Information.
pub const COMMAND_CONFIG: u8 = 1;

/// Length of the header and the fixed part of the argument: where the string begins.
pub const CONFIG_FRAME_BYTES: usize = crate::HEADER_BYTES + size_of::<ConfigArgument>();

/// Longest config string (AoEr11).
pub const CONFIG_STRING_BYTES_MAX: usize = 1024;

/// The fixed part of a Query Config argument.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConfigArgument {
    /// How many messages the target can queue.
    pub buffer_count: U16,
    /// Firmware version, opaque.
    pub firmware: U16,
    /// Largest sector count per ATA command on this path; 0 stands for 2.
    pub sector_count: u8,
    /// AoE version in the high nibble, CCmd in the low one.
    pub version_command: u8,
    /// Length of the config string in bytes.
    pub string_bytes: U16,
}

const _: () = assert!(size_of::<ConfigArgument>() == 8 && CONFIG_FRAME_BYTES == 32);

/// What a Query Config request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigCommand {
    /// Read the string.
    Read,
    /// Reply only if the string is exactly this one.
    TestExact,
    /// Reply only if the string begins with this one.
    TestPrefix,
    /// Set the string if there is none.
    SetIfEmpty,
    /// Set the string.
    ForceSet,
    /// Set a new string if the old one is exactly as given (Coraid's extension).
    TestAndReplace,
    /// A code that nobody defined.
    Unknown(u8),
}

impl ConfigCommand {
    /// Decodes the low nibble of byte 29.
    #[must_use]
    pub const fn from_nibble(nibble: u8) -> Self {
        match nibble & 0x0f {
            0 => Self::Read,
            1 => Self::TestExact,
            2 => Self::TestPrefix,
            3 => Self::SetIfEmpty,
            4 => Self::ForceSet,
            5 => Self::TestAndReplace,
            other => Self::Unknown(other),
        }
    }

    /// The nibble of this command.
    #[must_use]
    pub const fn nibble(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::TestExact => 1,
            Self::TestPrefix => 2,
            Self::SetIfEmpty => 3,
            Self::ForceSet => 4,
            Self::TestAndReplace => 5,
            Self::Unknown(other) => other & 0x0f,
        }
    }
}

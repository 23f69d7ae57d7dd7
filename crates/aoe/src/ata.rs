//! The argument of command 0, Issue ATA Command (AoEr11): twelve bytes of registers.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Command code of Issue ATA Command.
pub const COMMAND_ATA: u8 = 0;

/// Length of the header and the registers: where the data of a frame begins.
pub const ATA_FRAME_BYTES: usize = crate::HEADER_BYTES + size_of::<AtaRegisters>();

/// AFlags bit E: the command is a 48-bit one. Set by initiators, not consulted by targets, which go
/// by the opcode.
pub const AFLAG_EXTENDED: u8 = 0x40;
/// AFlags bit W: the request carries data for the device. Not consulted for direction either.
pub const AFLAG_WRITE: u8 = 0x01;

/// The ATA registers of a request or a response.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AtaRegisters {
    /// AFlags.
    pub flags: u8,
    /// Request: Features. Response: Error.
    pub feature_error: u8,
    /// Sector Count.
    pub count: u8,
    /// Request: Command. Response: Status.
    pub command_status: u8,
    /// LBA0 to LBA5, least significant byte first.
    pub lba: [u8; 6],
    /// Zero.
    pub reserved: [u8; 2],
}

const _: () = assert!(size_of::<AtaRegisters>() == 12 && ATA_FRAME_BYTES == 36);

impl AtaRegisters {
    /// The registers of a 48-bit read or write of `count` sectors at `lba`.
    #[must_use]
    pub fn extended(opcode: u8, write: bool, lba: u64, count: u8) -> Self {
        let [l0, l1, l2, l3, l4, l5, ..] = lba.to_le_bytes();
        Self {
            flags: AFLAG_EXTENDED | if write { AFLAG_WRITE } else { 0 },
            feature_error: 0,
            count,
            command_status: opcode,
            lba: [l0, l1, l2, l3, l4, l5],
            reserved: [0; 2],
        }
    }

    /// The 48-bit LBA.
    #[must_use]
    pub fn lba48(&self) -> u64 {
        let [l0, l1, l2, l3, l4, l5] = self.lba;
        u64::from_le_bytes([l0, l1, l2, l3, l4, l5, 0, 0])
    }

    /// The 28-bit LBA: LBA3 gives its low nibble only, LBA4 and LBA5 nothing (conformance row 89).
    #[must_use]
    pub fn lba28(&self) -> u64 {
        self.lba48() & 0x0fff_ffff
    }

    /// The registers of the response: status and error as given, no sector remaining, the LBA and
    /// the flags of the request.
    #[must_use]
    pub fn response(&self, status: u8, error: u8) -> Self {
        Self {
            feature_error: error,
            count: 0,
            command_status: status,
            reserved: [0; 2],
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_89_28_bit_addresses_ignore_the_high_bytes() {
        let registers = AtaRegisters {
            lba: [1, 2, 3, 0xe4, 0x55, 0x66],
            ..AtaRegisters::extended(0x20, false, 0, 1)
        };
        assert_eq!(registers.lba28(), 0x0403_0201);
        assert_eq!(registers.lba48(), 0x6655_e403_0201);
    }

    #[test]
    fn golden_linux_write_registers() {
        let registers = AtaRegisters::extended(0x34, true, 0x4100, 16);
        assert_eq!(
            registers.as_bytes(),
            [0x41, 0, 0x10, 0x34, 0, 0x41, 0, 0, 0, 0, 0, 0]
        );
    }
}

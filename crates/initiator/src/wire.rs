//! Frames of one initiator and one target: the addresses that they carry, the requests, and the
//! checks that every answer has to pass (AoEr11, Issue ATA Command).

use aoe::ata::COMMAND_ATA;
use aoe::{
    ATA_FRAME_BYTES, AtaRegisters, ETHERTYPE, HEADER_BYTES, Header, MacAddress, SECTOR_BYTES,
    Shelf, Slot, Tag,
};
use ata::opcode;
use port::ReceivedFrame;
use zerocopy::{FromBytes, IntoBytes};

/// Whose commands go where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Our station.
    pub source: MacAddress,
    /// The station of the target.
    pub destination: MacAddress,
    /// The target's shelf.
    pub shelf: Shelf,
    /// The target's slot.
    pub slot: Slot,
}

impl Route {
    /// The header of a request along this route.
    pub(crate) fn header(&self, command: u8, tag: Tag) -> Header {
        Header::request(
            self.destination,
            self.source,
            self.shelf,
            self.slot,
            command,
            tag,
        )
    }

    /// Whether a response comes from the target and is meant for us.
    pub(crate) fn is_from(&self, header: &Header) -> bool {
        header.shelf.get() == self.shelf.0
            && header.slot == self.slot.0
            && header.source == self.destination
            && header.destination == self.source
    }
}

/// What a command does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Data come from the target.
    Read,
    /// Data go to the target.
    Write,
}

/// Which sectors a command is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub(crate) lba: u64,
    pub(crate) sectors: u8,
}

/// First 28-bit LBA that does not exist.
const LBA28_END: u64 = 1 << 28;
/// Device bits of a 28-bit command, in the high nibble of LBA3.
const DEVICE_LBA: u8 = 0xe0;

/// The registers of a read or write, 48-bit where the target takes that.
pub(crate) fn registers(operation: Operation, extent: Extent, lba48: bool) -> AtaRegisters {
    let write = operation == Operation::Write;
    let Extent { lba, sectors } = extent;
    if lba48 {
        let code = if write {
            opcode::WRITE_EXT
        } else {
            opcode::READ_EXT
        };
        return AtaRegisters::extended(code, write, lba, sectors);
    }
    debug_assert!(lba < LBA28_END);
    let code = if write { opcode::WRITE } else { opcode::READ };
    let mut registers = AtaRegisters::extended(code, write, lba % LBA28_END, sectors);
    registers.flags &= !aoe::ata::AFLAG_EXTENDED;
    registers.lba[3] |= DEVICE_LBA;
    registers
}

/// Header and registers of a request; a write's data follow them.
pub(crate) fn request(route: &Route, tag: Tag, registers: &AtaRegisters) -> [u8; ATA_FRAME_BYTES] {
    let mut bytes = [0; ATA_FRAME_BYTES];
    bytes[..HEADER_BYTES].copy_from_slice(route.header(COMMAND_ATA, tag).as_bytes());
    bytes[HEADER_BYTES..].copy_from_slice(registers.as_bytes());
    bytes
}

/// Why a command was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// The target answered with an AoE error.
    #[error("AoE error {0} ({name})", name = error_name(*.0))]
    Refused(u8),
    /// The target answered with a failed ATA status.
    #[error("ATA status {status:#04x}, error {error:#04x}")]
    Failed {
        /// Status register.
        status: u8,
        /// Error register.
        error: u8,
    },
    /// The answer to a read is not exactly header and data, or that to a write has no registers.
    #[error("an answer of {len_bytes} bytes where {expected_bytes} are due")]
    Length {
        /// Length of the answer.
        len_bytes: usize,
        /// What a correct answer has; at least, for a write.
        expected_bytes: usize,
    },
    /// No answer came before the deadline.
    #[error("no answer")]
    Lost,
}

/// The name of an AoE error code (AoEr11).
fn error_name(code: u8) -> &'static str {
    match code {
        1 => "unrecognized command",
        2 => "bad argument",
        3 => "device unavailable",
        4 => "config string present",
        5 => "unsupported version",
        6 => "target is reserved",
        _ => "no such code",
    }
}

/// The header of a frame that answers an ATA command, whoever's.
pub(crate) fn ata_answer<'a>(frame: &ReceivedFrame<'a>) -> Option<&'a Header> {
    let (header, _) = Header::ref_from_prefix(frame.first).ok()?;
    let answer = header.ethertype.get() == ETHERTYPE
        && header.is_response()
        && header.version() == aoe::VERSION
        && header.command == COMMAND_ATA;
    answer.then_some(header)
}

/// Whether an answer says that the command was done, and holds what it must.
pub(crate) fn outcome(
    operation: Operation,
    sectors: u8,
    header: &Header,
    frame: &ReceivedFrame<'_>,
) -> Result<(), CommandError> {
    if let Some(code) = header.error_code() {
        return Err(CommandError::Refused(code));
    }
    let len_bytes = frame.len_bytes();
    let argument = frame.first.get(HEADER_BYTES..).unwrap_or(&[]);
    let Ok((registers, _)) = AtaRegisters::ref_from_prefix(argument) else {
        return Err(CommandError::Length {
            len_bytes,
            expected_bytes: ATA_FRAME_BYTES,
        });
    };
    let (status, error) = (registers.command_status, registers.feature_error);
    if status & ata::status::FAILURE_BITS != 0 {
        return Err(CommandError::Failed { status, error });
    }
    let expected_bytes = ATA_FRAME_BYTES + SECTOR_BYTES * usize::from(sectors);
    if operation == Operation::Read && len_bytes != expected_bytes {
        return Err(CommandError::Length {
            len_bytes,
            expected_bytes,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_linux_commands() {
        let extent = Extent {
            lba: 0x4100,
            sectors: 16,
        };
        assert_eq!(
            registers(Operation::Write, extent, true).as_bytes(),
            [0x41, 0, 0x10, 0x34, 0, 0x41, 0, 0, 0, 0, 0, 0]
        );
        let extent = Extent {
            lba: 0x0abc_def1,
            sectors: 2,
        };
        assert_eq!(
            registers(Operation::Read, extent, false).as_bytes(),
            [0, 0, 2, 0x20, 0xf1, 0xde, 0xbc, 0xea, 0, 0, 0, 0]
        );
    }

    #[test]
    fn errors_name_the_code() {
        assert_eq!(
            CommandError::Refused(2).to_string(),
            "AoE error 2 (bad argument)"
        );
    }
}

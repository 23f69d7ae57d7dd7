//! Decoding of a command from the registers of a request.

use crate::{Smart, opcode, trim};

/// What the registers ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Read `count` sectors at `lba`. A count of 0 is left to the target to refuse.
    Read {
        /// First sector.
        lba: u64,
        /// Sectors.
        count: u8,
    },
    /// Write `count` sectors at `lba`.
    Write {
        /// First sector.
        lba: u64,
        /// Sectors.
        count: u8,
    },
    /// Deallocate ranges, so that they read as zeroes: DATA SET MANAGEMENT with the TRIM bit. A count that is
    /// not acceptable is left to the target to refuse.
    Trim {
        /// Blocks of [`trim::Entry`] that come with it.
        blocks: u8,
    },
    /// Make everything acknowledged durable.
    Flush,
    /// Tell the power mode.
    CheckPowerMode,
    /// Tell what the device is.
    Identify,
    /// Tell how the device is.
    Smart(Smart),
    /// An opcode that the device does not have.
    Unsupported(u8),
}

/// What of the LBA registers is an address of 28 bits.
const LBA28_MASK: u64 = 0x0fff_ffff;

/// What a command does, as far as it matters who may do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Tells about the device; harms nobody.
    Tells,
    /// Reads data.
    Reads,
    /// Anything else.
    Changes,
}

impl Command {
    /// What it does (conformance row 60).
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self {
            Self::Identify | Self::CheckPowerMode | Self::Smart(_) => Effect::Tells,
            Self::Read { .. } => Effect::Reads,
            Self::Write { .. } | Self::Trim { .. } | Self::Flush | Self::Unsupported(_) => {
                Effect::Changes
            }
        }
    }

    /// Decodes the registers of a request. The opcode decides whether the address has 28 bits or 48
    /// (conformance rows 82, 89, 91).
    #[must_use]
    pub fn decode(code: u8, feature: u8, lba: [u8; 6], count: u8) -> Self {
        let [l0, l1, l2, l3, l4, l5] = lba;
        let lba48 = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, 0, 0]);
        let lba28 = lba48 & LBA28_MASK;
        match code {
            opcode::READ => Self::Read { lba: lba28, count },
            opcode::READ_EXT => Self::Read { lba: lba48, count },
            opcode::WRITE => Self::Write { lba: lba28, count },
            opcode::WRITE_EXT => Self::Write { lba: lba48, count },
            // Other bits of the feature would make it another command.
            opcode::DATA_SET_MANAGEMENT if feature == trim::FEATURE => Self::Trim { blocks: count },
            opcode::FLUSH | opcode::FLUSH_EXT => Self::Flush,
            opcode::CHECK_POWER_MODE => Self::CheckPowerMode,
            opcode::IDENTIFY => Self::Identify,
            opcode::SMART => match Smart::decode(feature, lba) {
                Some(smart) => Self::Smart(smart),
                None => Self::Unsupported(code),
            },
            other => Self::Unsupported(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_82_and_89_the_opcode_chooses_the_address() {
        let (lba28, lba48) = (0x0100_0005, 0x0007_e100_0005);
        for (code, lba, writes) in [
            (0x20, lba28, false),
            (0x24, lba48, false),
            (0x30, lba28, true),
            (0x34, lba48, true),
        ] {
            let expected = if writes {
                Command::Write { lba, count: 2 }
            } else {
                Command::Read { lba, count: 2 }
            };
            assert_eq!(Command::decode(code, 0, [5, 0, 0, 0xe1, 7, 0], 2), expected);
        }
    }

    #[test]
    fn row_99_everything_else_is_unsupported() {
        let served = [0x20, 0x24, 0x30, 0x34, 0xb0, 0xe5, 0xe7, 0xea, 0xec];
        for code in 0..=255u8 {
            let command = Command::decode(code, 0xd0, [0, 0x4f, 0xc2, 0, 0, 0], 1);
            let known = !matches!(command, Command::Unsupported(_));
            assert_eq!(known, served.contains(&code), "{code:#04x}");
        }
        for feature in 0..=255 {
            let command = Command::decode(0x06, feature, [0; 6], 1);
            let is_trim = command == Command::Trim { blocks: 1 };
            assert_eq!(is_trim, feature == 1);
            assert_eq!(!is_trim, command == Command::Unsupported(0x06));
        }
        let unknown = Command::decode(0xb0, 0xd9, [0, 0x4f, 0xc2, 0, 0, 0], 1);
        assert_eq!(unknown, Command::Unsupported(0xb0));
    }
}

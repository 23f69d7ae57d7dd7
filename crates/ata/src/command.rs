//! Decoding of a command from the registers of a request.

use crate::opcode;

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
    /// Make everything acknowledged durable.
    Flush,
    /// Tell the power mode.
    CheckPowerMode,
    /// Tell what the device is.
    Identify,
    /// An opcode that the device does not have.
    Unsupported(u8),
}

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
            Self::Identify | Self::CheckPowerMode => Effect::Tells,
            Self::Read { .. } => Effect::Reads,
            Self::Write { .. } | Self::Flush | Self::Unsupported(_) => Effect::Changes,
        }
    }

    /// Decodes an opcode. `lba28` and `lba48` are the two readings of the LBA registers; the opcode
    /// decides between them (conformance rows 82, 89, 91).
    #[must_use]
    pub const fn decode(code: u8, lba28: u64, lba48: u64, count: u8) -> Self {
        match code {
            opcode::READ => Self::Read { lba: lba28, count },
            opcode::READ_EXT => Self::Read { lba: lba48, count },
            opcode::WRITE => Self::Write { lba: lba28, count },
            opcode::WRITE_EXT => Self::Write { lba: lba48, count },
            opcode::FLUSH | opcode::FLUSH_EXT => Self::Flush,
            opcode::CHECK_POWER_MODE => Self::CheckPowerMode,
            opcode::IDENTIFY => Self::Identify,
            other => Self::Unsupported(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_82_and_89_the_opcode_chooses_the_address() {
        assert_eq!(
            Command::decode(0x20, 5, 9, 1),
            Command::Read { lba: 5, count: 1 }
        );
        assert_eq!(
            Command::decode(0x24, 5, 9, 1),
            Command::Read { lba: 9, count: 1 }
        );
        assert_eq!(
            Command::decode(0x30, 5, 9, 2),
            Command::Write { lba: 5, count: 2 }
        );
        assert_eq!(
            Command::decode(0x34, 5, 9, 2),
            Command::Write { lba: 9, count: 2 }
        );
    }

    #[test]
    fn row_99_everything_else_is_unsupported() {
        let served = [0x20, 0x24, 0x30, 0x34, 0xe5, 0xe7, 0xea, 0xec];
        for code in 0..=255u8 {
            let known = !matches!(Command::decode(code, 0, 0, 1), Command::Unsupported(_));
            assert_eq!(known, served.contains(&code), "{code:#04x}");
        }
    }
}

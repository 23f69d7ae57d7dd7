//! How a command ended: the Status and Error registers of the response.

/// An outcome, as the two registers tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done.
    Success,
    /// The range is not inside the device (rows 87, 88).
    OutOfRange,
    /// The command is not supported or its arguments are not acceptable (rows 85, 86, 92, 99).
    Aborted,
    /// The data cannot be read (row 101).
    Unreadable,
    /// The data could not be made durable: device fault.
    WriteFault,
}

impl Outcome {
    /// The Status register.
    #[must_use]
    pub const fn status(self) -> u8 {
        match self {
            Self::Success => DRDY,
            Self::OutOfRange | Self::Aborted | Self::Unreadable => DRDY | ERR,
            Self::WriteFault => DRDY | DF | ERR,
        }
    }

    /// The Error register.
    #[must_use]
    pub const fn error(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::OutOfRange => IDNF,
            Self::Aborted | Self::WriteFault => ABRT,
            Self::Unreadable => UNC,
        }
    }
}

const DRDY: u8 = 0x40;
const DF: u8 = 0x20;
const ERR: u8 = 0x01;
const UNC: u8 = 0x40;
const IDNF: u8 = 0x10;
const ABRT: u8 = 0x04;

/// Status bits that initiators take for a failure: BSY, DF, DRQ, ERR.
pub const FAILURE_BITS: u8 = 0xa9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_100_only_success_has_none_of_the_failure_bits() {
        for outcome in [
            Outcome::Success,
            Outcome::OutOfRange,
            Outcome::Aborted,
            Outcome::Unreadable,
            Outcome::WriteFault,
        ] {
            assert_eq!(
                outcome.status() & FAILURE_BITS == 0,
                outcome == Outcome::Success
            );
            assert_ne!(outcome.status() & DRDY, 0);
        }
    }
}

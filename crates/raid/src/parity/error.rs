//! What can be wrong with the blocks that a function is given.

use super::{DATA_BLOCKS_MAX, Role};

/// Blocks that make no stripe, or one that cannot be recovered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParityError {
    /// None or too many.
    #[error("a stripe of {0} data blocks: use 1 to {DATA_BLOCKS_MAX}")]
    DataBlocks(usize),
    /// All blocks of a stripe must be equally long.
    #[error("{role} has {len_bytes} bytes where others have {others_bytes}: make them equal")]
    Length {
        /// The first block that differs.
        role: Role,
        /// Its length.
        len_bytes: usize,
        /// The length that the others have.
        others_bytes: usize,
    },
    /// A data block of an index that the stripe does not have.
    #[error("the stripe has no {0}")]
    NoSuchBlock(Role),
    /// A block is wanted that is there, or wanted twice.
    #[error("{0} is wanted, but it is not lost or is wanted already")]
    NotLost(Role),
    /// More is lost than parity can give back.
    #[error(
        "{lost} blocks of the stripe are missing, P and Q among them: at most 2 can be computed"
    )]
    TooManyLost {
        /// How many of data, P and Q; in RAID 5 Q is always one of them.
        lost: usize,
    },
}

/// Checks the number of data blocks.
pub(super) fn expect_count(blocks: usize) -> Result<(), ParityError> {
    match blocks {
        1..=DATA_BLOCKS_MAX => Ok(()),
        _ => Err(ParityError::DataBlocks(blocks)),
    }
}

/// Checks the length of a block.
pub(super) fn expect_len(role: Role, block: &[u8], others: usize) -> Result<(), ParityError> {
    if block.len() == others {
        return Ok(());
    }
    Err(ParityError::Length {
        role,
        len_bytes: block.len(),
        others_bytes: others,
    })
}

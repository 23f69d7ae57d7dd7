//! P and Q of RAID 5 and 6: computing, updating, recovering and checking them.
//!
//! With the k data blocks of a stripe in the order of their data, D_0 .. D_(k-1):
//!
//! * P = D_0 + D_1 + .. (RAID 5 has just this);
//! * Q = 2^0 D_0 + 2^1 D_1 + .., in GF(2^8) with the polynomial 0x11d, byte by byte.
//!
//! These are the P and Q that Linux md writes and checks. Addition is XOR, so it is its own inverse.
//!
//! Invariants:
//! * every function checks the number of blocks and that they are equally long before it writes a
//!   byte; any length will do, and multiples of 512 bytes are done by vectors alone;
//! * every [`Kernel`] gives the same bytes; the free functions use the best of this machine.
//!
//! Blocks may begin anywhere, but those that begin at a multiple of 64 bytes are a third faster: P
//! and Q of 8 + 2 in L2 at 86 instead of 64 GB/s.
//!
//! Apart from the list of kernels nothing here allocates. Which member holds which block is not known
//! here: [`crate::Geometry`] knows.
//!
//! Budget (`corebench stages parity`): 150 ns, 5100 instructions.

mod check;
mod error;
pub(crate) mod field;
pub(crate) mod kernel;
mod recover;
mod scalar;
#[cfg(test)]
mod tests;

pub use check::Verdict;
pub use error::ParityError;
pub use kernel::Kernel;
pub use recover::Wanted;

use crate::checksum;
use crate::geometry::MEMBERS_MAX;
use error::expect_len;
use field::{factor, power_of_2};
use std::fmt;

/// The most data blocks that a stripe can have: after as many powers, 2 repeats in GF(2^8).
pub const DATA_BLOCKS_MAX: usize = field::ORDER;

/// What a block of a stripe is to the others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The data block of this index, from 0.
    Data(usize),
    /// The sum of the data blocks.
    P,
    /// The sum of the data blocks with their powers of 2.
    Q,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(index) => write!(f, "data block {index}"),
            Self::P => f.write_str("P"),
            Self::Q => f.write_str("Q"),
        }
    }
}

/// Computes P of RAID 5.
///
/// # Errors
/// [`ParityError::DataBlocks`], [`ParityError::Length`].
pub fn xor_parity(data: &[&[u8]], p: &mut [u8]) -> Result<(), ParityError> {
    Kernel::best().xor_parity(data, p)
}

/// Computes P and Q of RAID 6.
///
/// # Errors
/// [`ParityError::DataBlocks`], [`ParityError::Length`].
pub fn pq_parity(data: &[&[u8]], p: &mut [u8], q: &mut [u8]) -> Result<(), ParityError> {
    Kernel::best().pq_parity(data, p, q)
}

/// Computes P, and Q where there is one, and in the same pass over the data the [`checksum`]s of all
/// blocks: those of the data, of P, and of Q.
///
/// # Errors
/// [`ParityError::DataBlocks`], [`ParityError::Length`].
///
/// # Panics
/// When there is not one checksum for each block, there are more than a RAID has members, or they are no
/// contents of the redo log by their length.
pub fn parity_and_checksums(
    data: &[&[u8]],
    p: &mut [u8],
    q: Option<&mut [u8]>,
    checksums: &mut [u64],
) -> Result<(), ParityError> {
    expect_data(data, p.len())?;
    let mut blocks = data.len() + 1;
    if let Some(q) = &q {
        expect_len(Role::Q, q, p.len())?;
        blocks += 1;
    }
    assert_eq!(checksums.len(), blocks, "a checksum for each");
    assert!(blocks <= usize::from(MEMBERS_MAX), "the stripe of a RAID");
    let key = checksum::key(p.len());
    Kernel::best().parity_and_checksums(data, p, q, key, checksums);
    Ok(())
}

/// Brings P and Q up to date after the data block `index` changed from `old` to `new`. P or Q is left
/// out where there is none: in RAID 5, or because it is lost.
///
/// # Errors
/// [`ParityError::NoSuchBlock`], [`ParityError::Length`].
pub fn update_parity(
    index: usize,
    old: &[u8],
    new: &[u8],
    p: Option<&mut [u8]>,
    q: Option<&mut [u8]>,
) -> Result<(), ParityError> {
    Kernel::best().update_parity(index, old, new, p, q)
}

/// Computes lost blocks from the ones that are left: every loss of one or two blocks of RAID 6, or
/// of one of RAID 5.
///
/// `None` is what is lost; RAID 5 is RAID 6 without Q. Not everything that is lost must be wanted.
///
/// # Errors
/// All of [`ParityError`].
pub fn recover(
    data: &[Option<&[u8]>],
    p: Option<&[u8]>,
    q: Option<&[u8]>,
    wanted: &mut [Wanted<'_>],
) -> Result<(), ParityError> {
    Kernel::best().recover(data, p, q, wanted)
}

/// Whether the blocks of a stripe agree, and which one is wrong if not. Without Q (RAID 5) a wrong
/// block cannot be named.
///
/// The verdict is on the bytes given as a whole, so a range in which two blocks are wrong in
/// different places cannot be told; a scrub asks again for each sector of such a range.
///
/// # Errors
/// [`ParityError::DataBlocks`], [`ParityError::Length`].
pub fn check_parity(data: &[&[u8]], p: &[u8], q: Option<&[u8]>) -> Result<Verdict, ParityError> {
    Kernel::best().check_parity(data, p, q)
}

impl Kernel {
    /// [`xor_parity`] by this kernel.
    ///
    /// # Errors
    /// As there.
    pub fn xor_parity(self, data: &[&[u8]], p: &mut [u8]) -> Result<(), ParityError> {
        expect_data(data, p.len())?;
        self.sum(data, None, 0, p);
        Ok(())
    }

    /// [`pq_parity`] by this kernel.
    ///
    /// # Errors
    /// As there.
    pub fn pq_parity(self, data: &[&[u8]], p: &mut [u8], q: &mut [u8]) -> Result<(), ParityError> {
        expect_data(data, p.len())?;
        expect_len(Role::Q, q, p.len())?;
        self.pq(data, p, q);
        Ok(())
    }

    /// [`update_parity`] by this kernel.
    ///
    /// # Errors
    /// As there.
    pub fn update_parity(
        self,
        index: usize,
        old: &[u8],
        new: &[u8],
        p: Option<&mut [u8]>,
        q: Option<&mut [u8]>,
    ) -> Result<(), ParityError> {
        if index >= DATA_BLOCKS_MAX {
            return Err(ParityError::NoSuchBlock(Role::Data(index)));
        }
        expect_len(Role::Data(index), old, new.len())?;
        if let Some(p) = p.as_deref() {
            expect_len(Role::P, p, new.len())?;
        }
        if let Some(q) = q.as_deref() {
            expect_len(Role::Q, q, new.len())?;
        }
        self.delta(old, new, factor(power_of_2(index)), p, q);
        Ok(())
    }
}

/// Checks the data blocks of a whole stripe.
fn expect_data(data: &[&[u8]], len: usize) -> Result<(), ParityError> {
    error::expect_count(data.len())?;
    for (index, block) in data.iter().enumerate() {
        expect_len(Role::Data(index), block, len)?;
    }
    Ok(())
}

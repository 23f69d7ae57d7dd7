//! Which block of a stripe is silently wrong.
//!
//! Let dP and dQ be the differences between the parity that is there and the one that the data have.
//! If only D_z is wrong, by e, then dP = e and dQ = 2^z e in every byte; a wrong P shows in dP only,
//! a wrong Q in dQ only.

use super::error::expect_len;
use super::field::{ORDER, factor, logarithm};
use super::kernel::Output;
use super::{Kernel, ParityError, Role, expect_data};
use std::ops::Range;

/// Bytes of differences that are computed at a time: they fit into L1 beside the blocks.
const PIECE_BYTES: usize = 4096;

/// What parity says about a stripe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All blocks agree.
    Consistent,
    /// One block does not fit the others.
    Wrong(Role),
    /// Blocks disagree, and it cannot be told which is wrong: more than one is, or there is no Q.
    Inconsistent,
}

impl Verdict {
    /// The verdict on two ranges together.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (one, Self::Consistent) | (Self::Consistent, one) => one,
            (one, two) if one == two => one,
            _ => Self::Inconsistent,
        }
    }

    /// The verdict on one byte.
    fn of(p: u8, q: u8, data_count: usize) -> Self {
        match (p, q) {
            (0, 0) => Self::Consistent,
            (_, 0) => Self::Wrong(Role::P),
            (0, _) => Self::Wrong(Role::Q),
            _ => match (logarithm(q) + ORDER - logarithm(p)) % ORDER {
                index if index < data_count => Self::Wrong(Role::Data(index)),
                _ => Self::Inconsistent,
            },
        }
    }
}

impl Kernel {
    /// [`super::check_parity`] by this kernel.
    ///
    /// # Errors
    /// As there.
    pub fn check_parity(
        self,
        data: &[&[u8]],
        p: &[u8],
        q: Option<&[u8]>,
    ) -> Result<Verdict, ParityError> {
        expect_data(data, p.len())?;
        if let Some(q) = q {
            expect_len(Role::Q, q, p.len())?;
        }
        let mut verdict = Verdict::Consistent;
        for start in (0..p.len()).step_by(PIECE_BYTES) {
            let len = PIECE_BYTES.min(p.len() - start);
            let piece = match q {
                Some(q) => self.check_pq(data, p, q, start..start + len),
                None => self.check_p(data, p, start..start + len),
            };
            verdict = verdict.and(piece);
            if verdict == Verdict::Inconsistent {
                break;
            }
        }
        Ok(verdict)
    }

    fn check_pq(self, data: &[&[u8]], p: &[u8], q: &[u8], range: Range<usize>) -> Verdict {
        let (mut dp, mut dq) = ([0; PIECE_BYTES], [0; PIECE_BYTES]);
        let (dp, dq) = (&mut dp[..range.len()], &mut dq[..range.len()]);
        let outputs = &mut [
            Output {
                bytes: &mut *dp,
                p_factor: factor(1),
                q_factor: factor(0),
            },
            Output {
                bytes: &mut *dq,
                p_factor: factor(0),
                q_factor: factor(1),
            },
        ];
        self.solve(data, Some(p), Some(q), range.start, outputs);
        if is_zero(dp) && is_zero(dq) {
            return Verdict::Consistent;
        }
        let bytes = dp.iter().zip(&*dq);
        let verdicts = bytes.map(|(p, q)| Verdict::of(*p, *q, data.len()));
        verdicts.fold(Verdict::Consistent, Verdict::and)
    }

    fn check_p(self, data: &[&[u8]], p: &[u8], range: Range<usize>) -> Verdict {
        let mut dp = [0; PIECE_BYTES];
        let dp = &mut dp[..range.len()];
        self.sum(data, Some(p), range.start, dp);
        if is_zero(dp) {
            Verdict::Consistent
        } else {
            Verdict::Inconsistent
        }
    }
}

/// Whether all bytes are 0; without a branch for each, so that it is compiled to vectors.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}

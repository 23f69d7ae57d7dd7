//! Every loss that P and Q can make good.
//!
//! With P' and Q' computed as if lost data were 0, dP = P + P' and dQ = Q + Q' (a lost P or Q counts
//! as 0 too), each lost block is a·dP + b·dQ:
//!
//! | lost | a, b |
//! | --- | --- |
//! | P, Q, or both | P = dP, Q = dQ |
//! | D_x, perhaps Q | D_x = dP, Q = dQ + 2^x dP |
//! | D_x, P | D_x = 2^-x dQ, P = dP + 2^-x dQ |
//! | D_x, D_y | D_x = (2^y dP + dQ) / (2^x + 2^y), D_y = dP + D_x |

use super::error::{expect_count, expect_len};
use super::field::{divide, factor, power_of_2};
use super::kernel::Output;
use super::{Kernel, ParityError, Role};

/// A lost block that is to be computed.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Which.
    pub role: Role,
    /// Where its content goes; as long as the other blocks.
    pub out: &'a mut [u8],
}

/// What is lost of a stripe, in the order data, P, Q.
#[derive(Clone, Copy)]
struct Lost {
    first: Option<Role>,
    second: Option<Role>,
}

impl Lost {
    fn of(data: &[Option<&[u8]>], p: Option<&[u8]>, q: Option<&[u8]>) -> Result<Self, ParityError> {
        let data = data.iter().enumerate();
        let data = data.map(|(index, block)| (Role::Data(index), block.is_none()));
        let parity = [(Role::P, p.is_none()), (Role::Q, q.is_none())];
        let mut lost = data
            .chain(parity)
            .filter_map(|(role, is_lost)| is_lost.then_some(role));
        let (first, second) = (lost.next(), lost.next());
        match lost.count() {
            0 => Ok(Self { first, second }),
            more => Err(ParityError::TooManyLost { lost: more + 2 }),
        }
    }

    fn contains(self, role: Role) -> bool {
        self.first == Some(role) || self.second == Some(role)
    }

    /// The factors of dP and dQ that give a block that is lost.
    fn factors(self, role: Role) -> (u8, u8) {
        match (self.first, self.second, role) {
            (Some(Role::Data(x)), Some(Role::Data(y)), _) => {
                let (of_x, of_y) = (power_of_2(x), power_of_2(y));
                let (a, b) = (divide(of_y, of_x ^ of_y), divide(1, of_x ^ of_y));
                match role {
                    Role::Data(z) if z == x => (a, b),
                    _ => (a ^ 1, b),
                }
            }
            (Some(Role::Data(x)), Some(Role::P), Role::Data(_)) => (0, divide(1, power_of_2(x))),
            (Some(Role::Data(x)), Some(Role::P), _) => (1, divide(1, power_of_2(x))),
            (Some(Role::Data(x)), _, Role::Q) => (power_of_2(x), 1),
            (_, _, Role::Q) => (0, 1),
            _ => (1, 0),
        }
    }
}

impl Kernel {
    /// [`super::recover`] by this kernel.
    ///
    /// # Errors
    /// As there.
    pub fn recover(
        self,
        data: &[Option<&[u8]>],
        p: Option<&[u8]>,
        q: Option<&[u8]>,
        wanted: &mut [Wanted<'_>],
    ) -> Result<(), ParityError> {
        let lost = expect_recoverable(data, p, q, wanted)?;
        match wanted {
            [] => {}
            // The sum of what is left, for which Q is not needed.
            [one] if lost.factors(one.role) == (1, 0) => self.sum(data, p, 0, one.out),
            [one] => self.solve(data, p, q, 0, &mut [one.output(lost)]),
            [one, two, ..] => {
                let outputs = &mut [one.output(lost), two.output(lost)];
                self.solve(data, p, q, 0, outputs);
            }
        }
        Ok(())
    }
}

impl Wanted<'_> {
    fn output(&mut self, lost: Lost) -> Output<'_> {
        let (p, q) = lost.factors(self.role);
        Output {
            bytes: self.out,
            p_factor: factor(p),
            q_factor: factor(q),
        }
    }
}

/// Checks everything that a caller can get wrong, and says what is lost.
fn expect_recoverable(
    data: &[Option<&[u8]>],
    p: Option<&[u8]>,
    q: Option<&[u8]>,
    wanted: &[Wanted<'_>],
) -> Result<Lost, ParityError> {
    let data_count = data.len();
    expect_count(data_count)?;
    let lost = Lost::of(data, p, q)?;
    let data = data.iter().enumerate();
    let data = data.filter_map(|(index, block)| Some((Role::Data(index), (*block)?)));
    let parity = [(Role::P, p), (Role::Q, q)];
    let parity = parity
        .into_iter()
        .filter_map(|(role, block)| Some((role, block?)));
    let outputs = wanted.iter().map(|wanted| (wanted.role, &*wanted.out));
    let mut others = None;
    for (role, block) in data.chain(parity).chain(outputs) {
        expect_len(role, block, *others.get_or_insert(block.len()))?;
    }
    for (index, Wanted { role, .. }) in wanted.iter().enumerate() {
        let again = wanted[..index].iter().any(|other| other.role == *role);
        match role {
            Role::Data(index) if *index >= data_count => {
                return Err(ParityError::NoSuchBlock(*role));
            }
            _ if again || !lost.contains(*role) => return Err(ParityError::NotLost(*role)),
            _ => {}
        }
    }
    Ok(lost)
}

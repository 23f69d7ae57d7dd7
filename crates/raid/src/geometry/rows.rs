//! Which element of a row holds what, for the levels with parity.

use super::Geometry;
use crate::Level;
use crate::parity::Role;

/// The places of data and parity in one row of chunks of a raid5 or raid6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowLayout {
    members: u8,
    columns: u8,
    p: u8,
}

impl RowLayout {
    /// Elements of the RAID.
    #[must_use]
    pub const fn members(&self) -> u8 {
        self.members
    }

    /// Data columns.
    #[must_use]
    pub const fn columns(&self) -> u8 {
        self.columns
    }

    /// The element that holds P.
    #[must_use]
    pub const fn p(&self) -> u8 {
        self.p
    }

    /// The element that holds Q; `None` for raid5.
    #[must_use]
    pub const fn q(&self) -> Option<u8> {
        if self.members - self.columns == 2 {
            Some((self.p + 1) % self.members)
        } else {
            None
        }
    }

    /// The element that holds a data column, counted from 0 to k - 1.
    #[must_use]
    pub const fn data(&self, column: u8) -> u8 {
        let after_parity = self.p + (self.members - self.columns);
        (after_parity + column) % self.members
    }

    /// What an element holds.
    #[must_use]
    pub const fn role(&self, element: u8) -> Role {
        let after_p = (element + self.members - self.p) % self.members;
        let parities = self.members - self.columns;
        match after_p {
            0 => Role::P,
            1 if parities == 2 => Role::Q,
            _ => Role::Data((after_p - parities) as usize),
        }
    }
}

impl Geometry {
    /// The row in which a member sector lies.
    ///
    /// # Panics
    /// For a level without chunks.
    #[must_use]
    pub const fn row_of(&self, member_sector: u64) -> u64 {
        member_sector / self.chunk_sectors as u64
    }

    /// Where data and parity lie in a row; `None` for levels without parity.
    #[must_use]
    pub fn row_layout(&self, row: u64) -> Option<RowLayout> {
        if !matches!(self.level, Level::Raid5 | Level::Raid6) {
            return None;
        }
        let turn = row % u64::from(self.members);
        let Ok(turn) = u8::try_from(turn) else {
            unreachable!("it is below the number of members")
        };
        Some(RowLayout {
            members: self.members,
            columns: self.columns(),
            p: self.members - 1 - turn,
        })
    }
}

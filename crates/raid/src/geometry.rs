//! Where the sectors of a RAID lie on its members: pure arithmetic in 64 bits, no allocation.
//!
//! ```text
//! array chunk c, k data columns:   column = c mod k     row = c div k
//!                                  member sector = row * chunk + offset in the chunk
//!
//! raid0   k = n      column i is element i
//! raid10  k = n / 2  column i is the pair of elements i and i + n/2
//! raid5   k = n - 1  P on element n - 1 - (row mod n), column i on the i-th element after it
//! raid6   k = n - 2  P as in raid5, Q on the element after it, column i on the i-th after Q
//! raw, jbod, raid1   no chunks: the member sector is the array sector
//! ```
//!
//! Elements are counted round: after the last comes the first (md's left-symmetric layout, 2).
//!
//! Invariants:
//! * the map from array sectors to (mirror set, member sector) is a bijection onto
//!   `0..member_sectors` of every mirror set;
//! * with parity, the map to (element, member sector) is one to one, and the n - k elements of a row
//!   that it leaves out hold the parity of the row;
//! * a [`Segment`] never crosses a chunk border, and the segments of a request tile it in order.
//!
//! Elements are counted as `make` named them. md counts its *roles* differently for RAID 10, because
//! its near-2 layout mirrors neighbours: [`Geometry::md_role`] tells them apart.
//!
//! Source: md v1.2, RAID 0 layout 1 (equal members, hence one zone), RAID 10 layout 0x102, RAID 5 and
//! RAID 6 layout 2.
//!
//! Budget (`corebench stages map`): 15 ns, 150 instructions.

use crate::Level;

mod rows;
mod segments;

pub use rows::RowLayout;
pub use segments::{Mirrors, MirrorsIter, Segment, Segments};

/// Most members that a RAID has; the limit of Coraid's shelves.
pub const MEMBERS_MAX: u8 = 36;

/// Smallest chunk: 4 KiB, the least that md takes for RAID 10.
pub const CHUNK_SECTORS_MIN: u32 = 8;

/// Sectors that no capacity reaches: 48 bits address less.
pub const CAPACITY_SECTORS_LIMIT: u64 = 1 << 48;

/// Default chunk: 64 KiB, the fixed stripe unit of Coraid's shelves.
pub const CHUNK_SECTORS_DEFAULT: u32 = 128;

/// Why there is no such geometry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GeometryError {
    /// A member count that the level cannot have.
    #[error("{level} takes {takes} members, not {members}")]
    MemberCount {
        /// The level.
        level: Level,
        /// What it takes, in words.
        takes: &'static str,
        /// What was given.
        members: u8,
    },
    /// A chunk that is no power of two, or less than 4 KiB.
    #[error("a chunk of {0} sectors is not a power of two of at least 8 sectors")]
    Chunk(u32),
    /// No room for data, or not a whole number of chunks.
    #[error("{member_sectors} sectors per member are not a positive number of whole chunks")]
    MemberSize {
        /// What was given.
        member_sectors: u64,
    },
    /// 48 bits, which is what ATA has, do not address the capacity.
    #[error("{members} members of {member_sectors} sectors are more than 48-bit addresses reach")]
    TooLarge {
        /// Members.
        members: u8,
        /// Sectors of each.
        member_sectors: u64,
    },
}

/// Where the data of one RAID lies. Small and immutable: copy it into every worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    level: Level,
    members: u8,
    chunk_sectors: u32,
    member_sectors: u64,
    capacity_sectors: u64,
}

impl Geometry {
    /// A geometry of `members` members with `member_sectors` used sectors each. `chunk_sectors`
    /// concerns raid0, raid10, raid5 and raid6 only.
    ///
    /// # Errors
    /// When a number is not one that the level can have.
    pub fn new(
        level: Level,
        members: u8,
        chunk_sectors: u32,
        member_sectors: u64,
    ) -> Result<Self, GeometryError> {
        let columns = data_columns(level, members)?;
        if member_sectors == 0 {
            return Err(GeometryError::MemberSize { member_sectors });
        }
        if is_striped(level) {
            if !chunk_sectors.is_power_of_two() || chunk_sectors < CHUNK_SECTORS_MIN {
                return Err(GeometryError::Chunk(chunk_sectors));
            }
            if !member_sectors.is_multiple_of(u64::from(chunk_sectors)) {
                return Err(GeometryError::MemberSize { member_sectors });
            }
        }
        let capacity_sectors = member_sectors
            .checked_mul(u64::from(columns))
            .filter(|&sectors| sectors < CAPACITY_SECTORS_LIMIT)
            .ok_or(GeometryError::TooLarge {
                members,
                member_sectors,
            })?;
        Ok(Self {
            level,
            members,
            chunk_sectors,
            member_sectors,
            capacity_sectors,
        })
    }

    /// The level.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Number of members, missing ones included.
    #[must_use]
    pub const fn members(&self) -> u8 {
        self.members
    }

    /// Sectors of a chunk; without meaning for raw, jbod and raid1.
    #[must_use]
    pub const fn chunk_sectors(&self) -> u32 {
        self.chunk_sectors
    }

    /// Used sectors of every member.
    #[must_use]
    pub const fn member_sectors(&self) -> u64 {
        self.member_sectors
    }

    /// Usable sectors.
    #[must_use]
    pub const fn capacity_sectors(&self) -> u64 {
        self.capacity_sectors
    }

    /// Splits `[lba, lba + count)` at chunk borders, in ascending order.
    ///
    /// # Panics
    /// When the range does not lie inside the capacity: callers check that before anything else.
    #[must_use]
    pub fn segments(&self, lba: u64, count: u32) -> Segments {
        assert!(
            lba.checked_add(u64::from(count))
                .is_some_and(|end| end <= self.capacity_sectors),
            "request beyond the end of the RAID"
        );
        Segments::new(*self, lba, count)
    }

    /// Every mirror set, by its column. Levels with parity have none: their elements are counted as
    /// sets of one.
    pub fn mirror_sets(&self) -> impl Iterator<Item = Mirrors> + use<> {
        let geometry = *self;
        let sets = if self.parity_count() > 0 {
            self.members
        } else {
            self.columns()
        };
        (0..sets).map(move |column| geometry.mirrors(column))
    }

    /// md's role number of an element. Only in RAID 10 do the two differ.
    ///
    /// # Panics
    /// When there is no such element.
    #[must_use]
    pub fn md_role(&self, element: u8) -> u16 {
        assert!(element < self.members, "no such element");
        if !matches!(self.level, Level::Raid10) {
            return u16::from(element);
        }
        let half = self.members / 2;
        if element < half {
            u16::from(element) * 2
        } else {
            u16::from(element - half) * 2 + 1
        }
    }

    /// The element that md knows by this role number; `None` when there is no such role.
    #[must_use]
    pub fn element_of_md_role(&self, role: u16) -> Option<u8> {
        let role = u8::try_from(role)
            .ok()
            .filter(|&role| role < self.members)?;
        if !matches!(self.level, Level::Raid10) {
            return Some(role);
        }
        Some(role / 2 + (role % 2) * (self.members / 2))
    }

    /// Whether these members, in element order, hold all data at least once.
    #[must_use]
    pub fn can_serve(&self, is_present: impl Fn(u8) -> bool) -> bool {
        if self.parity_count() > 0 {
            let absent = (0..self.members).filter(|element| !is_present(*element));
            return absent.count() <= usize::from(self.parity_count());
        }
        self.mirror_sets()
            .all(|set| set.into_iter().any(&is_present))
    }

    /// Where md's resync of the RAID stands when everything before a sector of it is synchronised: md
    /// counts member sectors for RAID 1, 5 and 6, and array sectors for RAID 10.
    #[must_use]
    pub fn md_resync_sector(&self, lba: u64) -> u64 {
        if self.parity_count() > 0 {
            lba / u64::from(self.columns())
        } else {
            lba
        }
    }

    /// The sector of the RAID before which everything is synchronised, from md's count; the inverse of
    /// [`Self::md_resync_sector`], but for what that rounds off. At most the capacity.
    #[must_use]
    pub fn lba_of_md_resync(&self, md_sector: u64) -> u64 {
        let factor = if self.parity_count() > 0 {
            u64::from(self.columns())
        } else {
            1
        };
        md_sector.saturating_mul(factor).min(self.capacity_sectors)
    }

    /// How much of every member is done when everything before a sector of the RAID is: its sectors
    /// from the start of its data, in whole rows of chunks. What md's `recovery_offset` counts.
    #[must_use]
    pub fn member_sectors_before(&self, lba: u64) -> u64 {
        if !is_striped(self.level) {
            return lba.min(self.member_sectors);
        }
        let chunk = u64::from(self.chunk_sectors);
        let row = lba / (chunk * u64::from(self.columns()));
        (row * chunk).min(self.member_sectors)
    }

    /// The sector of the RAID before which everything is done when this many sectors of a member are;
    /// the inverse of [`Self::member_sectors_before`], but for what that rounds off. At most the
    /// capacity.
    #[must_use]
    pub fn lba_before(&self, member_sectors: u64) -> u64 {
        let done = member_sectors.min(self.member_sectors);
        if !is_striped(self.level) {
            return done;
        }
        let chunk = u64::from(self.chunk_sectors);
        done / chunk * chunk * u64::from(self.columns())
    }

    /// How many elements of each row hold parity: 1 for raid5, 2 for raid6, else 0.
    #[must_use]
    pub const fn parity_count(&self) -> u8 {
        self.level.parity_count()
    }

    /// Data columns: k of the module's table.
    #[must_use]
    pub const fn columns(&self) -> u8 {
        match self.level {
            Level::Raid0 => self.members,
            Level::Raid10 => self.members / 2,
            Level::Raid5 | Level::Raid6 => self.members - self.parity_count(),
            Level::Raw | Level::Jbod | Level::Raid1 => 1,
        }
    }

    const fn mirrors(&self, column: u8) -> Mirrors {
        match self.level {
            Level::Raid1 => Mirrors {
                first: 0,
                stride: 1,
                copies: self.members,
            },
            Level::Raid10 => Mirrors {
                first: column,
                stride: self.members / 2,
                copies: 2,
            },
            _ => Mirrors {
                first: column,
                stride: 1,
                copies: 1,
            },
        }
    }
}

/// Whether the level has chunks.
#[must_use]
pub const fn is_striped(level: Level) -> bool {
    matches!(
        level,
        Level::Raid0 | Level::Raid10 | Level::Raid5 | Level::Raid6
    )
}

/// Member counts that a level takes, in words; what `make` says when it is given another.
#[must_use]
pub const fn member_count_rule(level: Level) -> &'static str {
    match level {
        Level::Raw | Level::Jbod => "exactly 1",
        Level::Raid0 => "1 to 36",
        Level::Raid1 => "2 to 36",
        Level::Raid10 => "an even number from 2 to 36",
        Level::Raid5 => "3 to 36",
        Level::Raid6 => "4 to 36",
    }
}

/// Number of data columns of a level with a member count that it takes.
fn data_columns(level: Level, members: u8) -> Result<u8, GeometryError> {
    let (is_taken, columns) = match level {
        Level::Raw | Level::Jbod => (members == 1, 1),
        Level::Raid0 => ((1..=MEMBERS_MAX).contains(&members), members),
        Level::Raid1 => ((2..=MEMBERS_MAX).contains(&members), 1),
        Level::Raid10 => (
            (2..=MEMBERS_MAX).contains(&members) && members.is_multiple_of(2),
            members / 2,
        ),
        Level::Raid5 => (
            (3..=MEMBERS_MAX).contains(&members),
            members.saturating_sub(1),
        ),
        Level::Raid6 => (
            (4..=MEMBERS_MAX).contains(&members),
            members.saturating_sub(2),
        ),
    };
    if is_taken {
        Ok(columns)
    } else {
        Err(GeometryError::MemberCount {
            level,
            takes: member_count_rule(level),
            members,
        })
    }
}

#[cfg(test)]
#[path = "geometry_tests.rs"]
mod tests;

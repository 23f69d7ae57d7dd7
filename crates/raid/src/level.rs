//! RAID levels by their names.

use std::fmt;
use std::str::FromStr;

/// How the members of a RAID hold its data. The words are those of Coraid's `make` command.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Level {
    /// One whole disk without any metadata of ours; the LUN is not remembered over a restart.
    Raw,
    /// One disk with metadata; on disk a one-member md RAID 1.
    Jbod,
    /// Striping without redundancy.
    Raid0,
    /// Mirroring over all members.
    Raid1,
    /// Striping over mirrored pairs; element i mirrors element i + n/2.
    Raid10,
    /// Striping with one rotating parity.
    Raid5,
    /// Striping with two rotating parities; alias `raid6rs`.
    Raid6,
}

impl Level {
    /// The word for this level.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Jbod => "jbod",
            Self::Raid0 => "raid0",
            Self::Raid1 => "raid1",
            Self::Raid10 => "raid10",
            Self::Raid5 => "raid5",
            Self::Raid6 => "raid6",
        }
    }

    /// Whether a LUN of this level survives the loss of a member.
    #[must_use]
    pub const fn is_redundant(self) -> bool {
        matches!(self, Self::Raid1 | Self::Raid10 | Self::Raid5 | Self::Raid6)
    }

    /// Parity blocks in each stripe: 1 for raid5, 2 for raid6, else 0.
    #[must_use]
    pub const fn parity_count(self) -> u8 {
        match self {
            Self::Raid5 => 1,
            Self::Raid6 => 2,
            _ => 0,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no RAID level.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unsupported raid type {0}; types: raw jbod raid0 raid1 raid5 raid6 raid10")]
pub struct UnknownLevel(pub String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(word: &str) -> Result<Self, UnknownLevel> {
        Ok(match word {
            "raw" => Self::Raw,
            "jbod" => Self::Jbod,
            "raid0" => Self::Raid0,
            "raid1" => Self::Raid1,
            "raid10" => Self::Raid10,
            "raid5" => Self::Raid5,
            "raid6" | "raid6rs" => Self::Raid6,
            _ => return Err(UnknownLevel(word.to_owned())),
        })
    }
}

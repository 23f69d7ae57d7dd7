//! The levels that are tried, with as many members as show what is special about each.

/// A level with a number of members.
#[derive(Debug)]
pub(crate) struct Level {
    /// For messages.
    pub(crate) name: &'static str,
    /// The word for the console's `make`.
    pub(crate) make: &'static str,
    /// What mdadm calls it.
    pub(crate) md: &'static str,
    pub(crate) members: u8,
    /// How many of the first members may be lost.
    pub(crate) lost_max: u8,
}

/// All levels that the shelf makes and md knows.
pub(crate) const LEVELS: &[Level] = &[
    Level {
        name: "jbod",
        make: "jbod",
        md: "raid1",
        members: 1,
        lost_max: 0,
    },
    Level {
        name: "raid0",
        make: "raid0",
        md: "raid0",
        members: 3,
        lost_max: 0,
    },
    Level {
        name: "raid1",
        make: "raid1",
        md: "raid1",
        members: 3,
        lost_max: 2,
    },
    // Elements 0 and 1 of 4 are halves of different mirrors.
    Level {
        name: "raid10",
        make: "raid10",
        md: "raid10",
        members: 4,
        lost_max: 2,
    },
];

/// The levels that survive the loss of so many members.
pub(crate) fn surviving(lost: u8) -> Vec<&'static Level> {
    LEVELS
        .iter()
        .filter(|level| level.lost_max >= lost)
        .collect()
}

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
    /// Whether md refuses an array that is dirty and lacks a member.
    pub(crate) has_parity: bool,
}

/// All levels that the shelf makes and md knows.
pub(crate) const LEVELS: &[Level] = &[
    Level {
        name: "jbod",
        make: "jbod",
        md: "raid1",
        members: 1,
        lost_max: 0,
        has_parity: false,
    },
    Level {
        name: "raid0",
        make: "raid0",
        md: "raid0",
        members: 3,
        lost_max: 0,
        has_parity: false,
    },
    Level {
        name: "raid1",
        make: "raid1",
        md: "raid1",
        members: 3,
        lost_max: 2,
        has_parity: false,
    },
    // Elements 0 and 1 of 4 are halves of different mirrors.
    Level {
        name: "raid10",
        make: "raid10",
        md: "raid10",
        members: 4,
        lost_max: 2,
        has_parity: false,
    },
    Level {
        name: "raid5",
        make: "raid5",
        md: "raid5",
        members: 4,
        lost_max: 1,
        has_parity: true,
    },
    Level {
        name: "raid6",
        make: "raid6",
        md: "raid6",
        members: 5,
        lost_max: 2,
        has_parity: true,
    },
];

//! The LEDs of the slots that drives sit in.

/// What the LED of a slot shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum LedState {
    /// Nothing.
    #[default]
    Off,
    /// Here it is.
    Locate,
    /// The drive is bad.
    Fault,
    /// The drive is being filled.
    Rebuild,
    /// The drive is a spare.
    Spare,
}

impl LedState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Locate,
        Self::Fault,
        Self::Rebuild,
        Self::Off,
        Self::Spare,
    ];

    /// The word for it. That for nothing is what sets it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "reset",
            Self::Locate => "locate",
            Self::Fault => "fault",
            Self::Rebuild => "rebuild",
            Self::Spare => "spare",
        }
    }
}

//! What differs between consoles.

/// What differs between consoles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionOptions {
    /// Version that `release` tells.
    pub version: String,
}

/// What commands have switched in a session.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Modes {
    /// Each command ends with `OK` or `FAIL n` on a line of its own.
    pub(crate) batch: bool,
    /// Expert mode, as Coraid's shelves have it: another prompt.
    pub(crate) expert: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

//! What differs between consoles.

/// What differs between consoles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionOptions {
    /// Version that `release` tells.
    pub version: String,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

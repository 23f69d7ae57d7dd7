//! What differs between consoles.

/// What differs between consoles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionOptions {
    /// First word of the prompt. Scripts look for `SR` or `SRX`.
    pub product: String,
    /// Version that `release` tells.
    pub version: String,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            product: "SR".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

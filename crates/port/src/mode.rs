//! Which way frames take between the kernel and this process: asked for, and in use.

use std::fmt;
use std::str::FromStr;

/// The mode asked for, as `mode = "…"` of a port in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RequestedMode {
    /// The fastest that works: native XDP (zero copy where the driver offers it), generic XDP,
    /// AF_PACKET, in this order; AF_PACKET first where XDP would copy every frame (`open.rs` has the rule).
    #[default]
    Auto,
    /// AF_XDP with the card writing into our memory; an error if the driver cannot.
    Zerocopy,
    /// AF_XDP with the program in the driver and one copy in the kernel.
    Native,
    /// AF_XDP with the program after the driver: works on every interface.
    Generic,
    /// An AF_PACKET socket with mapped rings: no XDP at all.
    Packet,
}

impl fmt::Display for RequestedMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Zerocopy => "zerocopy",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Packet => "packet",
        })
    }
}

/// Text that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown mode {0:?}: expected auto, zerocopy, native, generic or packet")]
pub struct ParseModeError(pub String);

impl FromStr for RequestedMode {
    type Err = ParseModeError;

    fn from_str(text: &str) -> Result<Self, ParseModeError> {
        match text {
            "auto" => Ok(Self::Auto),
            "zerocopy" => Ok(Self::Zerocopy),
            "native" => Ok(Self::Native),
            "generic" => Ok(Self::Generic),
            "packet" => Ok(Self::Packet),
            _ => Err(ParseModeError(text.to_owned())),
        }
    }
}

/// The mode in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// AF_XDP, native program, zero copy.
    Zerocopy,
    /// AF_XDP, native program, one copy in the kernel.
    Native,
    /// AF_XDP, generic program, one copy in the kernel.
    Generic,
    /// AF_PACKET with mapped rings.
    Packet,
    /// Two ports joined in memory, for tests.
    Memory,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zerocopy => "zerocopy",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Packet => "packet",
            Self::Memory => "memory",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requested_mode_reads_back_what_it_prints() {
        for mode in [
            RequestedMode::Auto,
            RequestedMode::Zerocopy,
            RequestedMode::Native,
            RequestedMode::Generic,
            RequestedMode::Packet,
        ] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
    }

    #[test]
    fn unknown_modes_are_refused_with_the_choices() {
        let error = "Native".parse::<RequestedMode>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown mode \"Native\": expected auto, zerocopy, native, generic or packet"
        );
    }
}

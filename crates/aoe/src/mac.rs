//! MAC addresses.

use core::fmt;
use core::str::FromStr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A 48-bit Ethernet station address, in wire order.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address that every station listens to.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether this is a group address (which includes broadcast): it can never be a sender.
    #[must_use]
    pub const fn is_multicast(&self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddress {
    /// Twelve lower-case hex digits without separators, the form of Coraid's console.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseMacError;

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address: expected 12 hex digits, with or without colons")
    }
}

impl core::error::Error for ParseMacError {}

impl FromStr for MacAddress {
    type Err = ParseMacError;

    /// Accepts `001004012e81` and `00:10:04:01:2e:81`, in either case.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let mut bytes = [0u8; 6];
        let mut digits = 0usize;
        for (index, c) in text.chars().enumerate() {
            if c == ':' && index % 3 == 2 {
                continue;
            }
            let digit = c
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
                .ok_or(ParseMacError)?;
            let byte = bytes.get_mut(digits / 2).ok_or(ParseMacError)?;
            *byte = (*byte << 4) | digit;
            digits += 1;
        }
        let separators = text.len() - digits;
        if digits == 12 && (separators == 0 || separators == 5) {
            Ok(Self(bytes))
        } else {
            Err(ParseMacError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn both_spellings_parse_and_print_without_colons() {
        let mac: MacAddress = "00:10:04:01:2E:81".parse().unwrap();
        assert_eq!(mac, "001004012e81".parse().unwrap());
        assert_eq!(mac.to_string(), "001004012e81");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "0010",
            "001004012e8",
            "001004012e811",
            "00:10:04:01:2e:8g",
            "0:0:1:0:04012e81",
            "001004:012e81",
            ":::::",
            "00-10-04-01-2e-81",
        ] {
            assert_eq!(text.parse::<MacAddress>(), Err(ParseMacError), "{text}");
        }
    }

    #[test]
    fn group_addresses_are_recognised() {
        assert!(MacAddress::BROADCAST.is_multicast());
        assert!(!MacAddress([2, 0, 0, 0, 0, 1]).is_multicast());
    }
}

//! What a configuration names as a drive.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A drive by name: a path, `ram:SIZE`, or `null:SIZE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DriveSpec {
    /// A block device or a regular file.
    Path(PathBuf),
    /// Volatile memory of so many bytes, for tests and network load tests.
    Ram {
        /// Size; a multiple of 512.
        size_bytes: u64,
    },
    /// Nothing of so many bytes: writes are dropped, and reads give whatever lies in memory. For load tests
    /// of the network alone.
    Null {
        /// Size; a multiple of 512.
        size_bytes: u64,
    },
}

impl DriveSpec {
    /// Whether nothing that is written to such a drive is ever kept.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null { .. })
    }
}

/// A size that is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} is not a size: expected a number of bytes with an optional K, M, G or T (powers of 1024), a multiple of 512"
)]
pub struct ParseSizeError(String);

impl FromStr for DriveSpec {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        if let Some(size) = text.strip_prefix("ram:") {
            let size_bytes = parse_size(size)?;
            Ok(Self::Ram { size_bytes })
        } else if let Some(size) = text.strip_prefix("null:") {
            let size_bytes = parse_size(size)?;
            Ok(Self::Null { size_bytes })
        } else {
            Ok(Self::Path(PathBuf::from(text)))
        }
    }
}

impl fmt::Display for DriveSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Ram { size_bytes } => write!(f, "ram:{size_bytes}"),
            Self::Null { size_bytes } => write!(f, "null:{size_bytes}"),
        }
    }
}

fn parse_size(text: &str) -> Result<u64, ParseSizeError> {
    let refused = || ParseSizeError(text.to_owned());
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        Some(b'T' | b't') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| refused())?;
    let size = number.checked_mul(1 << shift).ok_or_else(refused)?;
    if size == 0 || !size.is_multiple_of(512) {
        Err(refused())
    } else {
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_and_whole_sectors() {
        assert_eq!(
            "ram:256M".parse(),
            Ok(DriveSpec::Ram {
                size_bytes: 256 << 20
            })
        );
        assert_eq!("ram:1024".parse(), Ok(DriveSpec::Ram { size_bytes: 1024 }));
        assert_eq!(
            "null:1G".parse(),
            Ok(DriveSpec::Null {
                size_bytes: 1 << 30
            })
        );
        for bad in [
            "null:",
            "null:1000",
            "ram:",
            "ram:0",
            "ram:1000",
            "ram:-1M",
            "ram:1X",
            "ram:99999999999T",
            "ram:1.5G",
        ] {
            assert!(bad.parse::<DriveSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn anything_else_is_a_path() {
        assert_eq!("/dev/sda".parse(), Ok(DriveSpec::Path("/dev/sda".into())));
    }
}

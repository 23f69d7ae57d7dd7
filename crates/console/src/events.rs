//! Events: what happens to the shelf by itself, or by somebody else's command, and every console is told.
//!
//! [`Watcher`] finds them by comparing the shelf with what it was when it looked last; the daemon lets it
//! look once a second, and hands each [`Event`] to every console and to the log. The texts are those that
//! tools for Coraid's shelves know.

mod watch;

pub use watch::Watcher;

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad it is. The codes are those of syslog, as Coraid's shelves used them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something failed: data is at risk, or not served.
    Alert,
    /// Redundancy is being restored, or could not be.
    Critical,
    /// Worth to be known soon.
    Warning,
    /// It happened.
    Notice,
}

impl Severity {
    /// The code of syslog.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Alert => 1,
            Self::Critical => 2,
            Self::Warning => 4,
            Self::Notice => 5,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When it was noticed, in seconds since 1970, UTC.
    pub unix_seconds: u64,
    /// How bad it is.
    pub severity: Severity,
    /// A word for programs, such as `DRIVE_FAILURE`.
    pub tag: String,
    /// One line, without its end and without control characters.
    pub text: String,
}

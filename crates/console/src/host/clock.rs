//! The clock of the machine, and who keeps it.

use super::HostError;
use serde::{Deserialize, Serialize};

/// Where the time comes from, as it was set on a console.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeSource {
    /// Nobody has set it here: as the system of the box has it. Asked for, it is the time service of that
    /// system with its own servers.
    #[default]
    Default,
    /// No time service: the clock goes as it goes.
    Off,
    /// From these servers, by name or address.
    Servers(Vec<String>),
}

/// Most characters of the name of a server: what DNS has.
const NAME_CHARACTERS_MAX: usize = 253;

impl TimeSource {
    /// Whether a word can be the name of a server, or an address. What is none is not handed to the time
    /// service: a blank would make it two.
    #[must_use]
    pub fn is_server(word: &str) -> bool {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
        let begins = word.bytes().next();
        (1..=NAME_CHARACTERS_MAX).contains(&word.len())
            && word.bytes().all(is_plain)
            && begins.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b':')
    }
}

/// How the clock is kept.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ClockStatus {
    /// The time service that runs, by the name of its unit; `None` if none does.
    pub service: Option<String>,
    /// Whether a time service is switched on.
    pub is_enabled: bool,
    /// Whether the kernel says that the clock is right.
    pub is_synchronized: bool,
    /// The servers that the service asks, as far as it tells.
    pub servers: Vec<String>,
}

/// The clock. Its calls ask the system of the box, for a few seconds at most.
pub trait Clock {
    /// How it is kept.
    ///
    /// # Errors
    /// There is no systemd, or it does not answer.
    fn clock(&self) -> Result<ClockStatus, HostError>;

    /// A time as people write it, `2026-11-27 01:10:03`, in a zone; or with an offset,
    /// `2026-11-27T01:10:03Z`. In seconds since 1970.
    ///
    /// # Errors
    /// It is no time, or no time at which a shelf can be, or there is no such zone.
    fn parse_time(&self, text: &str, zone: Option<&str>) -> Result<u64, HostError>;

    /// Sets it.
    ///
    /// # Errors
    /// A time service keeps it, and would set it back; or nobody is there who could.
    fn set_clock(&mut self, unix_seconds: u64) -> Result<(), HostError>;

    /// Has it kept from this source from now on, also after a restart.
    ///
    /// # Errors
    /// There is no time service that can be told so, or the source could not be stored; then it is as it was.
    fn set_time_source(&mut self, source: &TimeSource) -> Result<(), HostError>;
}

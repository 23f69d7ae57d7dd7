//! What is set on a console and is no property of a LUN.
//!
//! The daemon keeps it in one file, replaced as a whole. A field that a file lacks has its default; what this
//! version does not know, the daemon keeps beside it: an older version, to which a box has fallen back, loses
//! nothing of it.

use super::TimeSource;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// What is set on a console and is no property of a LUN.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// First word of the prompt. Scripts look for `SR` or `SRX`.
    pub product: String,
    /// What every session begins with.
    pub motd: String,
    /// Where the log is sent, beside where it goes anyway: address and port.
    pub syslog: Option<SocketAddr>,
    /// IANA name of the time zone of dates; `None` for that of the machine.
    pub timezone: Option<String>,
    /// Whether LEDs show which drives are spares. Left out unless it is so, for versions that do not know it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub spare_leds: bool,
    /// Where the time comes from; see [`super::Clock::set_time_source`].
    pub ntp: TimeSource,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            product: "SR".to_owned(),
            motd: String::new(),
            syslog: None,
            timezone: None,
            spare_leds: false,
            ntp: TimeSource::Default,
        }
    }
}

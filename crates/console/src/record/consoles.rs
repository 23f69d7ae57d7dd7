//! Records of consoles and those who use them.

use serde::Serialize;

/// An open console.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct ConsoleRecord {
    pub(crate) id: u64,
    /// `socket` or `cec`.
    pub(crate) door: &'static str,
    /// `null` until somebody has logged in.
    pub(crate) user: Option<String>,
    /// `admin` or `read-only`.
    pub(crate) role: Option<&'static str>,
    pub(crate) address: String,
    pub(crate) since_unix_seconds: u64,
    pub(crate) idle_seconds: u64,
    /// The command that is not over.
    pub(crate) running: Option<String>,
}

/// Somebody who may log in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct UserRecord {
    pub(crate) user: String,
    pub(crate) role: &'static str,
    pub(crate) has_password: bool,
}

/// The Ethernet console on a port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct CecRecord {
    pub(crate) name: String,
    pub(crate) enabled: bool,
    /// Empty for everybody.
    pub(crate) admitted: Vec<String>,
    pub(crate) sessions: Vec<CecSessionRecord>,
}

/// A session of the Ethernet console.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct CecSessionRecord {
    pub(crate) id: u64,
    pub(crate) mac: String,
    pub(crate) tag: u8,
    #[serde(serialize_with = "as_map")]
    pub(crate) counters: Vec<(&'static str, u64)>,
}

/// A problem that is open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct AlertRecord {
    pub(crate) id: u64,
    pub(crate) since_unix_seconds: u64,
    pub(crate) subject: String,
    pub(crate) problem: String,
    pub(crate) advice: String,
    /// `null` until somebody has.
    pub(crate) acknowledged_by: Option<String>,
}

fn as_map<S: serde::Serializer>(
    pairs: &[(&'static str, u64)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

//! Consoles and those who use them, as commands see them.

use super::{Caller, DoorKind, HostError, Role};
use aoe::MacAddress;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An open console.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsoleStatus {
    /// Its number, never used again while the daemon runs.
    pub id: u64,
    /// The door.
    pub door: DoorKind,
    /// Who has logged in, with which role; `None` until somebody has.
    pub user: Option<(String, Role)>,
    /// Where the caller is, as the door knows it.
    pub address: String,
    /// When it was opened, in seconds since 1970, UTC.
    pub since_unix_seconds: u64,
    /// Time since something was typed.
    pub idle: Duration,
    /// The command that is not over.
    pub running: Option<String>,
}

/// Somebody who may log in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserStatus {
    /// Name.
    pub name: String,
    /// What that user may do.
    pub role: Role,
    /// Whether there is a password; without one a user cannot log in while others have one.
    pub has_password: bool,
}

/// The Ethernet console on a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CecStatus {
    /// The interface.
    pub interface: String,
    /// Whether the console answers there.
    pub is_enabled: bool,
    /// The only stations that it answers; everybody if there are none.
    pub admitted: Vec<MacAddress>,
    /// Its sessions.
    pub sessions: Vec<CecSession>,
}

/// A session of the Ethernet console, and what has passed in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CecSession {
    /// The number of its console.
    pub id: u64,
    /// The client's host.
    pub mac: MacAddress,
    /// The client's own name for the session.
    pub tag: u8,
    /// Counters, with the words for them.
    pub counters: Vec<(&'static str, u64)>,
}

/// What a line of the log tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A command, with its answers.
    Command,
    /// Somebody came in, or did not get in.
    Login,
    /// Somebody left, or was made to.
    Logout,
    /// Something happened.
    Event,
}

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    /// When, as `2026-11-27T01:02:03Z`.
    pub time: String,
    /// What of.
    pub kind: EntryKind,
    /// The console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// With which role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Through which door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The command line, or what happened.
    pub text: String,
    /// The answers that were given to its questions; secrets are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
    /// Whether it was done.
    pub ok: bool,
    /// Why not, or how bad it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub result: String,
}

/// A problem that is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlertStatus {
    /// Its number, never used again.
    pub id: u64,
    /// Since when it is known, in seconds since 1970, UTC.
    pub since_unix_seconds: u64,
    /// What it is about.
    pub subject: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub advice: String,
    /// Who has acknowledged it.
    pub acknowledged_by: Option<String>,
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// What it is about.
    pub subject: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub advice: String,
}

/// Consoles and those who use them.
pub trait Consoles {
    /// The open consoles.
    fn consoles(&self) -> Vec<ConsoleStatus>;

    /// Ends a console; its user is told by whom.
    ///
    /// # Errors
    /// There is none of this number.
    fn kick(&mut self, id: u64, by: &Caller) -> Result<(), HostError>;

    /// Who may log in.
    ///
    /// # Errors
    /// What is stored cannot be used.
    fn users(&self) -> Result<Vec<UserStatus>, HostError>;

    /// Adds a user without a password.
    ///
    /// # Errors
    /// Not a name, there is one already, or it could not be stored.
    fn add_user(&mut self, name: &str, role: Role) -> Result<(), HostError>;

    /// Removes a user, and ends the consoles of that user.
    ///
    /// # Errors
    /// There is none, nobody could administer, or it could not be stored.
    fn remove_user(&mut self, name: &str) -> Result<(), HostError>;

    /// Gives a user another role, and ends the consoles of that user.
    ///
    /// # Errors
    /// As [`Consoles::remove_user`].
    fn set_role(&mut self, name: &str, role: Role) -> Result<(), HostError>;

    /// Whether this is the password of the user.
    fn is_password(&self, name: &str, password: &str) -> bool;

    /// Sets a password. Other consoles that were let in by an older one, or without any, are ended.
    ///
    /// # Errors
    /// There is no such user, the password is too short, or it could not be stored.
    fn set_password(&mut self, name: &str, password: &str, by: &Caller) -> Result<(), HostError>;

    /// The Ethernet console, port by port.
    fn cec(&self) -> Vec<CecStatus>;

    /// Switches the Ethernet console of a port on or off, for good.
    ///
    /// # Errors
    /// No such port, it cannot be opened, or it could not be stored.
    fn set_cec(&mut self, interface: &str, is_enabled: bool) -> Result<(), HostError>;

    /// The last lines of the log, oldest first, and where the log goes on.
    fn log(&self, count: usize) -> (Vec<LogEntry>, u64);

    /// The lines of the log from there on, and where it goes on.
    fn log_from(&self, position: u64) -> (Vec<LogEntry>, u64);

    /// The problems that are open, by those that the shelf has.
    fn alerts(&mut self, troubles: &[Trouble]) -> Vec<AlertStatus>;

    /// Notes that somebody knows of a problem, for as long as it is open.
    ///
    /// # Errors
    /// There is none of this number, or it could not be stored.
    fn acknowledge(&mut self, id: u64, by: &Caller) -> Result<(), HostError>;

    /// What is wrong with the consoles themselves, such as a log that cannot be written.
    fn troubles(&self) -> Vec<Trouble>;
}

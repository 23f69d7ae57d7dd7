//! What a console may ask of the box beside the shelf: settings, consoles, the machine itself.
//!
//! [`World`] is all that a command acts on: the shelf ([`Admin`]), the box ([`Host`]), and on whose behalf.
//! The daemon implements [`Host`], the tests have one in memory.
//!
//! Invariants:
//! * Sans-I/O for the console: whatever touches a file, a socket or a clock is behind [`Host`].
//! * Calls return soon: whoever calls holds the administration. What takes long is begun here and asked after
//!   later on ([`crate::Next::Later`]).
//! * What a call changed is durable when it returns, or it has not happened.

mod caller;
mod clock;
mod consoles;
mod deed;
mod hardware;
mod machine;
mod settings;

pub use caller::{Caller, DoorKind, Role};
pub use clock::{Clock, ClockStatus, TimeSource};
pub use consoles::{
    AlertStatus, CecSession, CecStatus, ConsoleStatus, Consoles, EntryKind, LogEntry, Trouble,
    UserStatus,
};
pub use deed::{Checks, Deed};
pub use hardware::{Fan, Hardware, LedState, PowerSupply, Sensors, SlotLed, Task, Temperature};
pub use machine::{
    BoxFacts, CpuTimes, DriveFacts, ImageVersions, Machine, Power, UpdateId, UpdateState, UpdateTo,
};
pub use settings::Settings;

use shelf::admin::Admin;
use std::fmt;

/// All that a command acts on.
pub struct World<'a> {
    /// The shelf.
    pub admin: &'a mut dyn Admin,
    /// The box.
    pub host: &'a mut dyn Host,
    /// On whose behalf.
    pub who: &'a Caller,
}

impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("who", self.who)
            .finish_non_exhaustive()
    }
}

/// The box, and what the daemon keeps for its consoles.
pub trait Host: SettingsStore + Machine + Clock + Consoles + Checks + Hardware {}

impl<T: SettingsStore + Machine + Clock + Consoles + Checks + Hardware> Host for T {}

/// Settings that outlive the daemon.
pub trait SettingsStore {
    /// As they are.
    fn settings(&self) -> &Settings;

    /// Replaces them.
    ///
    /// # Errors
    /// They could not be stored; then the old ones hold.
    fn change_settings(&mut self, settings: Settings) -> Result<(), HostError>;
}

/// Why the box did not do what was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostError {
    /// It cannot do that, or not in this state. Says why, and what to do.
    #[error("{0}")]
    Refused(String),
    /// A file or a system call failed. Says which, and why.
    #[error("{0}")]
    Io(String),
}

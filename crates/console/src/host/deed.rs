//! What commands do to the box, and whether it would be done.

use super::{HostError, Power, Role, Settings, TimeSource, UpdateTo};

/// A change of the box, or something that it is to do: each is a call of [`super::Host`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed<'a> {
    /// [`super::SettingsStore::change_settings`].
    Settings(&'a Settings),
    /// [`super::Clock::set_clock`].
    SetClock(u64),
    /// [`super::Clock::set_time_source`].
    TimeSource(&'a TimeSource),
    /// [`super::Machine::power`].
    Power(Power),
    /// [`super::Machine::begin_update`].
    Update(UpdateTo<'a>),
    /// [`super::Machine::set_debugging`].
    Debugging(bool),
    /// [`super::Machine::send_syslog`].
    Syslog,
    /// [`super::Machine::write_bundle`].
    Bundle,
    /// [`super::Machine::save`].
    Save(&'a str),
    /// [`super::Consoles::kick`].
    Kick(u64),
    /// [`super::Consoles::add_user`].
    AddUser(&'a str, Role),
    /// [`super::Consoles::remove_user`].
    RemoveUser(&'a str),
    /// [`super::Consoles::set_role`].
    SetRole(&'a str, Role),
    /// [`super::Consoles::set_cec`].
    SetCec(&'a str, bool),
    /// [`super::Consoles::acknowledge`].
    Acknowledge(u64),
}

/// Looks before something is done.
pub trait Checks {
    /// Whether it would be done. The call itself begins with this check, so that what is refused here is
    /// refused there, and the other way round unless a file or a system call fails.
    ///
    /// # Errors
    /// Those of the call.
    fn check(&self, deed: &Deed<'_>) -> Result<(), HostError>;
}

//! A box that exists in memory only, for tests of consoles.

use console::host::{
    Caller, Consoles, DoorKind, HostError, Machine, Role, Settings, SettingsStore,
};
use std::time::Duration;

/// The box. Its time stands still until a test moves it.
#[derive(Debug, Default)]
pub(crate) struct FakeHost {
    pub(crate) settings: Settings,
    /// Why settings cannot be stored.
    pub(crate) store_fault: Option<String>,
    pub(crate) now: Duration,
}

/// Somebody who may do everything.
pub(crate) fn administrator() -> Caller {
    Caller {
        user: "root".to_owned(),
        role: Role::Admin,
        door: DoorKind::Socket,
        address: String::new(),
    }
}

impl SettingsStore for FakeHost {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn change_settings(&mut self, settings: Settings) -> Result<(), HostError> {
        if let Some(fault) = &self.store_fault {
            return Err(HostError::Io(fault.clone()));
        }
        self.settings = settings;
        Ok(())
    }
}

impl Machine for FakeHost {
    fn now(&self) -> Duration {
        self.now
    }

    fn unix_seconds(&self) -> u64 {
        1_800_000_000 + self.now.as_secs()
    }
}

impl Consoles for FakeHost {}

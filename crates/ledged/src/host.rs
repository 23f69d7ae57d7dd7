//! The box as the consoles see it: [`console::host::Host`].

use crate::administration::Administration;
use crate::store::StateDir;
use console::host::{Caller, Consoles, HostError, Machine, Settings, SettingsStore, World};
use shelf::manager::Manager;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What all doors share: the shelf and the box.
#[derive(Clone)]
pub(crate) struct Premises {
    administration: Administration,
    host: Arc<Mutex<Machinery>>,
}

/// Both of them, locked.
pub(crate) struct Entered<'a> {
    // The order of the fields is that of the locks, backwards.
    host: MutexGuard<'a, Machinery>,
    manager: crate::administration::Guard<'a>,
}

impl Premises {
    /// Shares the shelf and the box.
    pub(crate) fn new(administration: Administration, host: Machinery) -> Self {
        Self {
            administration,
            host: Arc::new(Mutex::new(host)),
        }
    }

    /// Locks the shelf, then the box: nobody does it the other way round.
    pub(crate) fn enter(&self) -> Entered<'_> {
        let manager = self.administration.lock();
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        Entered { host, manager }
    }
}

impl Entered<'_> {
    /// What commands of a caller act on.
    pub(crate) fn world<'a>(&'a mut self, who: &'a Caller) -> World<'a> {
        World {
            admin: &mut *self.manager,
            host: &mut *self.host,
            who,
        }
    }

    /// The shelf.
    pub(crate) fn manager(&self) -> &Manager {
        &self.manager
    }
}

/// The box.
pub(crate) struct Machinery {
    state: StateDir,
    settings: Settings,
    /// Why the settings that are stored cannot be used. They are not written over.
    damage: Option<String>,
    start: Instant,
}

impl Machinery {
    /// Reads the settings. Damaged ones are told of, and do not keep the shelf from serving.
    pub(crate) fn new(state: StateDir) -> Self {
        let (settings, damage) = match state.settings() {
            Ok(settings) => (settings, None),
            Err(reason) => {
                tracing::error!("{reason}; the defaults hold until then");
                (Settings::default(), Some(reason))
            }
        };
        Self {
            state,
            settings,
            damage,
            start: Instant::now(),
        }
    }
}

impl SettingsStore for Machinery {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn change_settings(&mut self, settings: Settings) -> Result<(), HostError> {
        if let Some(reason) = &self.damage {
            return Err(HostError::Io(reason.clone()));
        }
        self.state.save_settings(&settings).map_err(HostError::Io)?;
        self.settings = settings;
        Ok(())
    }
}

impl Machine for Machinery {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix_seconds(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }
}

impl Consoles for Machinery {}

//! The administration, shared by all threads but the worker.

use shelf::manager::Manager;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The administration, shared by all doors.
#[derive(Clone)]
pub(crate) struct Administration(Arc<Mutex<Manager>>);

impl Administration {
    /// Shares a manager.
    pub(crate) fn new(manager: Manager) -> Self {
        Self(Arc::new(Mutex::new(manager)))
    }

    /// The only way in. Whoever holds it may write drives and wait for workers.
    pub(crate) fn lock(&self) -> Guard<'_> {
        Guard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The locked administration. What happened while it was held goes to the log when it is released.
pub(crate) struct Guard<'a>(MutexGuard<'a, Manager>);

impl std::ops::Deref for Guard<'_> {
    type Target = Manager;

    fn deref(&self) -> &Manager {
        &self.0
    }
}

impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Manager {
        &mut self.0
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        for notice in self.0.take_notices() {
            tracing::warn!("{notice}");
        }
    }
}

//! The doors of the shelf: where administrators come in. All of them lead to the same command engine.

pub(crate) mod ethernet;
pub(crate) mod socket;

use console::SessionOptions;

/// What every console is set up with.
pub(crate) fn session_options() -> SessionOptions {
    SessionOptions::default()
}

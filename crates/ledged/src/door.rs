//! The doors of the shelf: where administrators come in. All of them lead to the same command engine.

mod accounts;
mod alerts;
mod attended;
mod audit;
pub(crate) mod cec_ports;
mod consoles;
pub(crate) mod ethernet;
pub(crate) mod peer;
pub(crate) mod reception;
mod registry;
pub(crate) mod socket;

use console::SessionOptions;

/// What every console is set up with.
pub(crate) fn session_options() -> SessionOptions {
    SessionOptions::default()
}

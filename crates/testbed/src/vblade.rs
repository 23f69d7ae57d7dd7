//! Debian's `vblade`: the target that the rig proves itself with, and the yardstick for ours.

use std::path::Path;

use anyhow::Result;

use crate::daemon::Daemon;
use crate::netns::Namespace;
use crate::requirements;

/// Starts `vblade SHELF SLOT INTERFACE FILE` in a namespace. It serves as soon as it runs; a client
/// discovers it by asking again.
///
/// # Errors
/// vblade is missing, or cannot be started.
pub fn start(
    namespace: &Namespace,
    interface: &str,
    shelf: u16,
    slot: u8,
    file: &Path,
) -> Result<Daemon> {
    let mut command = namespace.command(requirements::program("vblade")?);
    command
        .arg(shelf.to_string())
        .arg(slot.to_string())
        .arg(interface)
        .arg(file);
    Daemon::start("vblade", command)
}

//! One port of several addresses: to the driver as many paths, each with a window of its own.

use anyhow::{Context, Result, ensure};
use testbed::{Client, Ledge, LedgeOptions, Vm, VmNetwork, VmOptions, lock_vm, transcript};

use super::{DEVICE, MTU, RECOVERY};

/// Addresses of the shelf's port.
const ADDRESSES: usize = 3;

/// Commands that the driver has under way on each path at most: its own limit, and our Buffer Count.
const WINDOW_MAX: u32 = 64;

/// The driver finds all addresses by one question and uses all of them; what is written by any, all read.
pub(crate) fn stations() -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::new(MTU)?;
    let options = LedgeOptions {
        port_lines: format!("addresses = {ADDRESSES}\n"),
        ..LedgeOptions::default()
    };
    let ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make -c 0 raid10 1.0-3")?;
    ledge.console_ok("online 0")?;
    let mut client = Client::new(Vm::boot(&network, &VmOptions::default())?, DEVICE);
    client.discover(RECOVERY)?;
    client.make_file_system()?;
    client.mount()?;
    let checksums = client.write_files("files", 20, 2048)?;
    client.unmount()?;
    client.mount()?;
    client.verify_files("files", &checksums)?;
    client.unmount()?;
    let state = client.driver_state()?;
    transcript::note(&format!("{state:?}"));
    ensure!(state.paths.len() == ADDRESSES, "{state:?}");
    for path in &state.paths {
        ensure!(path.reads > 0 && path.writes > 0, "{path:?} is not used");
        ensure!((1..=WINDOW_MAX).contains(&path.window), "{path:?}");
        ensure!(path.interfaces == ["eth0"], "{path:?}");
    }
    let told = ledge.console_ok("ifstat")?;
    for path in &state.paths {
        ensure!(told.contains(&path.mac), "{} is not in:\n{told}", path.mac);
    }
    client.check_kernel_log().with_context(|| ledge.log())
}

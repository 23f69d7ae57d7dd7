//! Linux' AoE driver and our shelf on a wire that loses frames, that is cut, and that somebody restarts the
//! shelf on. `linux_short` has the short of it, `linux_full` the long.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod growth;
pub(crate) mod lossy;
pub(crate) mod paths;
pub(crate) mod quiet;
pub(crate) mod restart;
pub(crate) mod stations;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testbed::{
    Client, Direction, Faults, Ledge, LedgeOptions, LoadReport, Vm, VmNetwork, VmOptions,
    transcript,
};

pub(crate) const MTU: u16 = 9000;
pub(crate) const DEVICE: &str = "e1.0";

/// The driver gives up after 180 s. An IDENTIFY that is lost is sent again after 16.5 s.
pub(crate) const RECOVERY: Duration = Duration::from_secs(170);

/// For a load to come to its end: emulated, on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);

/// What each job of a load writes in a round; the LUN has at least four times that.
pub(crate) const JOB_MIB: u32 = 8;

/// A shelf of eight disks on all paths of a network, with a LUN that is online.
pub(crate) fn shelf<'a>(network: &'a VmNetwork, lun: &str) -> Result<Ledge<'a>> {
    let interfaces = network.target_interfaces();
    let options = LedgeOptions {
        interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
        ..LedgeOptions::default()
    };
    let ledge = Ledge::start(&network.target, options)?;
    // The disks are new files: they agree, as all of them read as zeroes.
    ledge.console_ok(&format!("make -c 0 {lun}"))?;
    ledge.console_ok("online 0")?;
    Ok(ledge)
}

/// A client with fio that has found the LUN by all paths of the network.
pub(crate) fn client(network: &VmNetwork) -> Result<Client> {
    let options = VmOptions {
        fio: true,
        memory_mib: 1024,
        ..VmOptions::default()
    };
    let mut client = Client::new(Vm::boot(network, &options)?, DEVICE);
    client.keep_driver_messages()?;
    let paths = network.target_interfaces().len();
    let deadline = Instant::now() + RECOVERY;
    let mut device = client.discover(RECOVERY)?;
    // They are listed in the order in which they answered. The second is there when neither a question nor
    // its answer was lost.
    while device.interfaces.split(',').count() < paths {
        ensure!(Instant::now() < deadline, "not {paths} paths: {device:?}");
        device = client.discover(RECOVERY)?;
    }
    ensure!(device.payload_bytes == 8192, "{device:?}");
    client.shell("uname -r")?;
    Ok(client)
}

/// Nothing is under way any more, and no I/O has failed since the client booted.
pub(crate) fn check_end(client: &mut Client, report: LoadReport) -> Result<()> {
    client.check_kernel_log()?;
    let state = client.driver_state()?;
    ensure!(
        state.paths.iter().all(|path| path.outstanding == 0),
        "frames are outstanding: {state:?}"
    );
    transcript::note(&format!(
        "{} MiB written and verified in {} rounds, {} commands, the slowest {} ms",
        report.verified_bytes >> 20,
        report.rounds,
        report.commands,
        report.slowest.as_millis()
    ));
    Ok(())
}

/// Prints what the relays have done, and checks that they did what `faults` say.
pub(crate) fn check_wires(network: &VmNetwork, faults: &[Faults]) -> Result<()> {
    for (path, (relay, &faults)) in network.relays.iter().zip(faults).enumerate() {
        for direction in [Direction::ToTarget, Direction::ToClient] {
            let tally = relay.tally(direction);
            transcript::note(&format!("path {path} {direction:?}: {tally:?}"));
            let kinds = [tally.dropped, tally.duplicated, tally.delayed];
            let as_told = |&count: &u64| (count > 0) == (faults != Faults::NONE);
            ensure!(kinds.iter().all(as_told), "{faults:?}: {tally:?}");
        }
    }
    Ok(())
}

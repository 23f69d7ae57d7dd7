//! A LUN that grows under a mounted file system, and while it is closed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testbed::client::MOUNT_POINT;
use testbed::{Client, Faults, Ledge, LedgeOptions, Vm, VmNetwork, VmOptions, lock_vm, transcript};

use super::{DEVICE, MTU, RECOVERY};

/// On line through `aoe-revalidate` and `resize2fs`; closed, by the shelf's advertisement alone.
pub(crate) fn growth() -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::relayed(MTU, &[Faults::NONE])?;
    let options = LedgeOptions {
        disk_bytes: 32 << 20,
        ..LedgeOptions::default()
    };
    let ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make -c 0 raid10 1.0-3")?;
    ledge.console_ok("online 0")?;
    let mut client = Client::new(Vm::boot(&network, &VmOptions::default())?, DEVICE);
    client.discover(Duration::from_secs(60))?;
    client.make_file_system()?;
    client.mount()?;
    let checksums = client.write_files("before", 20, 2048)?;
    grow_on_line(&ledge, &mut client, &checksums).with_context(|| ledge.log())?;
    client.unmount()?;
    client.check_file_system()?;
    grow_closed(&network, &ledge, &mut client).with_context(|| ledge.log())?;
    client.mount()?;
    client.verify_files("before", &checksums)?;
    client.check_kernel_log()?;
    Ok(())
}

fn grow_on_line(ledge: &Ledge<'_>, client: &mut Client, checksums: &str) -> Result<()> {
    let (size, room) = (device_bytes(client)?, file_system_kib(client)?);
    client.start_writers("during")?;
    client.wait_for_acknowledged(5, RECOVERY)?;
    ledge.console_ok("grow -yc 0 raid10 1.4-7")?;
    client.wait_for_acknowledged(10, RECOVERY)?;
    ensure!(
        device_bytes(client)? == size,
        "an open device grew by itself"
    );
    client.shell(&format!("aoe-revalidate {DEVICE}"))?;
    let grown = wait_for_size(client, size)?;
    ensure!(grown > size * 19 / 10, "{size} bytes have become {grown}");
    client.shell(&format!("resize2fs /dev/etherd/{DEVICE}"))?;
    let acknowledged = client.stop_writers()?;
    let grown_room = file_system_kib(client)?;
    ensure!(
        grown_room > room * 18 / 10,
        "{room} KiB have become {grown_room}"
    );
    // More than had room before, so that what has grown holds some of it.
    let files = u32::try_from(room / 4096)? + 5;
    let command = format!(
        "for i in $(seq 1 {files}); do head -c 4194304 /dev/urandom > {MOUNT_POINT}/large$i || exit 1; done; sync; \
         cd {MOUNT_POINT} && sha256sum large* > /run/large"
    );
    client.shell(&command)?;
    client.unmount()?;
    client.mount()?;
    client.verify_files("before", checksums)?;
    client.verify_files("during", &acknowledged)?;
    client.shell(&format!("cd {MOUNT_POINT} && sha256sum -c /run/large"))?;
    Ok(())
}

/// The driver looks for targets once a minute itself. So the size has to change while it does not, and the
/// shelf speak unasked: when the driver has just looked in between, the LUN grows once more, with a minute
/// ahead.
fn grow_closed(network: &VmNetwork, ledge: &Ledge<'_>, client: &mut Client) -> Result<()> {
    let ledger = || network.relays[0].ledger();
    // What the last close has asked for is over.
    thread::sleep(Duration::from_secs(1));
    for drives in ["1.8-11", "1.12-15"] {
        let (size, before) = (device_bytes(client)?, ledger());
        ledge.console_ok(&format!("grow -yc 0 raid10 {drives}"))?;
        wait_for_size(client, size)?;
        let after = ledger();
        ensure!(
            after.advertisements() > before.advertisements(),
            "the shelf did not advertise"
        );
        if after.config_requests() == before.config_requests() {
            transcript::note("the closed device grew by the advertisement");
            return Ok(());
        }
        transcript::note("the driver has asked in between; once more");
    }
    bail!("the driver has asked twice before the advertisement was taken")
}

fn device_bytes(client: &mut Client) -> Result<u64> {
    let sectors = client.shell(&format!("cat '/sys/block/etherd!{DEVICE}/size'"))?;
    Ok(sectors.trim().parse::<u64>().context("size in sysfs")? * 512)
}

fn file_system_kib(client: &mut Client) -> Result<u64> {
    let line = client.shell(&format!("df -k {MOUNT_POINT} | tail -n 1"))?;
    let kib = line.split_whitespace().nth(1).context("df")?;
    kib.parse().with_context(|| line.clone())
}

fn wait_for_size(client: &mut Client, before: u64) -> Result<u64> {
    let deadline = Instant::now() + RECOVERY;
    loop {
        let size = device_bytes(client)?;
        if size != before {
            return Ok(size);
        }
        ensure!(Instant::now() < deadline, "still {before} bytes");
        thread::sleep(Duration::from_millis(300));
    }
}

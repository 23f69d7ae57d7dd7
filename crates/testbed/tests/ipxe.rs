//! A machine without a disk starts from a LUN: iPXE reads it for the loader, the loader reads the kernel
//! through iPXE, and the kernel finds the LUN by its own driver.

mod lun;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lun::Lun;
use testbed::{
    Client, Ledge, LedgeOptions, Vm, VmNetwork, VmOptions, boot_image, guest, lock_vm, transcript,
    vm,
};

const DEVICE: &str = "e1.0";

/// Conformance row 128.
#[test]
fn row_128_a_machine_boots_from_a_lun() -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::new(9000)?;
    let options = LedgeOptions {
        disks: 2,
        disk_bytes: 96 << 20,
        memory_disks: true,
        ..LedgeOptions::default()
    };
    let ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make 0 raid1 1.0-1")?;
    ledge.console_ok("online 0")?;

    // What no other disk and no other command line has.
    let marker = format!("san-{}", std::process::id());
    let directory = tempfile::tempdir()?;
    let image = directory.path().join("image");
    let parameters = format!(
        "{} guest.marker={marker}",
        vm::client_parameters(network.mtu)
    );
    boot_image::build(&image, &guest::prepare()?, &parameters, &marker)?;
    let mut lun = Lun::open(&network.client, "br0", (1, 0))?;
    lun.write(&std::fs::read(&image)?)?;

    let started = Instant::now();
    let vm =
        Vm::boot_from_lun(&network, DEVICE, &VmOptions::default()).with_context(|| ledge.log())?;
    transcript::note(&format!("booted in {} s", started.elapsed().as_secs()));
    let mut client = Client::new(vm, DEVICE);
    let told = client.shell("cat /proc/cmdline")?;
    ensure!(told.contains(&format!("guest.marker={marker}")), "{told}");
    client.discover(Duration::from_secs(60))?;
    let (number, file) = (boot_image::FILE_PARTITION, boot_image::FILE);
    let content = client.shell(&format!(
        "mkdir -p /mnt/san && mount -t ext4 /dev/etherd/{DEVICE}p{number} /mnt/san && \
         cat /mnt/san/{file} && umount /mnt/san"
    ))?;
    ensure!(content == marker, "{content:?} instead of {marker:?}");
    client.check_kernel_log()?;
    Ok(())
}

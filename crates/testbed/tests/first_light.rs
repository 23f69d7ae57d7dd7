//! First light: the Linux kernel's own AoE driver discovers, formats and mounts a LUN of our shelf,
//! and loses nothing that was acknowledged when the shelf restarts, dies, or dies together with
//! the client.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::client::AoeDevice;
use testbed::{Client, Ledge, LedgeOptions, Vm, VmNetwork, VmOptions, lock_vm, transcript};

const DISKS: usize = 16;
const DEVICE: &str = "e1.0";

/// The initiator's first retransmission comes after 16.5 s, and it gives up after 180 s.
const RECOVERY: Duration = Duration::from_secs(170);

/// Conformance rows 122 and 125.
#[test]
fn a_linux_host_uses_a_lun_at_mtu_9000() -> Result<()> {
    first_light(9000, 8192)
}

#[test]
fn a_linux_host_uses_a_lun_at_mtu_1500() -> Result<()> {
    first_light(1500, 1024)
}

fn first_light(mtu: u16, payload_bytes: u32) -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::new(mtu)?;
    let mut ledge = Ledge::start(&network.target, LedgeOptions::default())?;
    let lun_gb = make_lun(&ledge)?;

    let mut client = Client::new(Vm::boot(&network, &VmOptions::default())?, DEVICE);
    let device = client.discover(Duration::from_secs(60))?;
    check_device(&device, payload_bytes, lun_gb)?;
    check_tools(&mut client, payload_bytes)?;

    let checksums = format_and_write(&mut client).with_context(|| ledge.log())?;
    restart(&mut ledge, &mut client, &checksums).with_context(|| ledge.log())?;
    die_while_writing(&mut ledge, &mut client).with_context(|| ledge.log())?;
    client.verify_files("files", &checksums)?;
    client.shell(&format!("cat /sys/kernel/debug/aoe/{DEVICE}"))?;
    let acknowledged = die_together(&mut ledge, client).with_context(|| ledge.log())?;

    ledge.start_again()?;
    let mut client = Client::new(Vm::boot(&network, &VmOptions::default())?, DEVICE);
    check_device(&client.discover(RECOVERY)?, payload_bytes, lun_gb)?;
    replay_journal(&mut client, &checksums, &acknowledged).with_context(|| ledge.log())?;
    ledge.stop()
}

/// The console session: 16 disks become LUN 0. Returns the LUN's size in decimal gigabytes.
fn make_lun(ledge: &Ledge<'_>) -> Result<f64> {
    let shown = rows(&ledge.console_ok("show -l")?);
    ensure!(shown.len() == DISKS, "show -l has {} rows", shown.len());
    for (slot, row) in shown.iter().enumerate() {
        ensure!(
            row.len() >= 3 && row[0] == format!("1.{slot}"),
            "row {slot} is {row:?}"
        );
        ensure!(
            row[1] == "0.268GB" && row[2] == "up",
            "row {slot} is {row:?}"
        );
    }
    ledge.console_ok("make 0 raid10 1.0-15")?;

    let listed = rows(&ledge.console_ok("list -l")?);
    ensure!(
        listed.len() == 2 + DISKS,
        "list -l has {} rows",
        listed.len()
    );
    let lun = &listed[0];
    ensure!(
        lun.len() >= 3 && lun[0] == "0" && lun[2] == "offline",
        "the LUN's row is {lun:?}"
    );
    let raid = &listed[1];
    ensure!(
        raid[0] == "0.0" && has(raid, "raid10") && has(raid, "normal"),
        "its RAID is {raid:?}"
    );
    for (element, row) in listed[2..].iter().enumerate() {
        ensure!(
            row[0] == format!("0.0.{element}"),
            "element {element} is {row:?}"
        );
        let disk = format!("1.{element}");
        ensure!(
            has(row, "normal") && has(row, &disk),
            "element {element} is {row:?}"
        );
    }

    let size = lun[1].strip_suffix("GB").context("size without GB")?;
    let size_gb: f64 = size.parse().context("size of the LUN")?;
    // Half of 16 disks of 256 MiB, less what the members keep for themselves.
    ensure!(size_gb > 1.5 && size_gb < 2.148, "the LUN has {size_gb} GB");
    ledge.console_ok("online 0")?;
    check_online(ledge)?;
    Ok(size_gb)
}

fn check_online(ledge: &Ledge<'_>) -> Result<()> {
    let listed = rows(&ledge.console_ok("list")?);
    ensure!(
        listed.len() == 1 && has(&listed[0], "online"),
        "list says {listed:?}"
    );
    Ok(())
}

fn check_device(device: &AoeDevice, payload_bytes: u32, lun_gb: f64) -> Result<()> {
    ensure!(
        device.payload_bytes == payload_bytes,
        "payload {} bytes",
        device.payload_bytes
    );
    ensure!(
        device.interfaces == "eth0",
        "interfaces {}",
        device.interfaces
    );
    // One tool rounds, the other cuts off.
    let difference_gb = (device.size_gb - lun_gb).abs();
    ensure!(
        difference_gb < 0.0015,
        "aoe-stat has {} GB, list {lun_gb} GB",
        device.size_gb
    );
    Ok(())
}

/// The other tools that an administrator uses on the client.
fn check_tools(client: &mut Client, payload_bytes: u32) -> Result<()> {
    client.shell("aoeping -s 10 1 0 eth0")?;
    let checked = client.shell("aoe-sancheck eth0")?;
    let row = rows(&checked)
        .into_iter()
        .find(|row| row.first().is_some_and(|w| w == DEVICE));
    let row = row.context("aoe-sancheck does not list the device")?;
    ensure!(
        row[1..] == ["1", &payload_bytes.to_string(), "eth0"],
        "aoe-sancheck says {row:?}"
    );
    Ok(())
}

/// mkfs, mount, write, and read back after a remount. Returns the files' checksums.
fn format_and_write(client: &mut Client) -> Result<String> {
    client.make_file_system()?;
    client.mount()?;
    let checksums = client.write_files("files", 40, 1024)?;
    client.unmount()?;
    client.mount()?;
    client.verify_files("files", &checksums)?;
    client.check_kernel_log()?;
    Ok(checksums)
}

/// A clean restart of the shelf: the LUN comes back online with everything on it.
fn restart(ledge: &mut Ledge<'_>, client: &mut Client, checksums: &str) -> Result<()> {
    client.unmount()?;
    ledge.stop()?;
    ledge.start_again()?;
    check_online(ledge)?;
    client.mount()?;
    client.verify_files("files", checksums)
}

/// `kill -9` of the shelf while the client writes: its I/O waits, continues by itself when the shelf
/// is back, and every acknowledged file is there.
fn die_while_writing(ledge: &mut Ledge<'_>, client: &mut Client) -> Result<()> {
    client.start_writers("writing")?;
    client.wait_for_acknowledged(15, RECOVERY)?;
    ledge.kill()?;
    let before = client.check_stalled()?;
    ledge.start_again()?;
    let after = client.wait_for_acknowledged(before + 20, RECOVERY)?;
    transcript::note(&format!(
        "the client continued by itself: {after} files acknowledged"
    ));
    let acknowledged = client.stop_writers()?;

    client.unmount()?;
    client.check_file_system()?;
    client.mount()?;
    client.verify_files("writing", &acknowledged)?;
    client.check_kernel_log()
}

/// The shelf is killed while the client writes, and the client loses its power before the shelf is
/// back. Returns the checksums of what had been acknowledged.
fn die_together(ledge: &mut Ledge<'_>, mut client: Client) -> Result<String> {
    client.start_writers("lost")?;
    client.wait_for_acknowledged(15, RECOVERY)?;
    ledge.kill()?;
    client.check_stalled()?;
    let acknowledged = client.acknowledged()?;
    transcript::note("power cut of the client");
    drop(client);
    Ok(acknowledged)
}

/// The next client replays the journal by mounting; then the file system is clean and holds all
/// that was acknowledged.
fn replay_journal(client: &mut Client, checksums: &str, acknowledged: &str) -> Result<()> {
    client.mount()?;
    let log = client.shell("dmesg | grep EXT4-fs")?;
    ensure!(
        log.contains("recovery complete"),
        "the journal was not replayed: {log}"
    );
    client.unmount()?;
    client.check_file_system()?;
    client.mount()?;
    client.verify_files("files", checksums)?;
    client.verify_files("lost", acknowledged)?;
    client.unmount()?;
    client.check_kernel_log()
}

/// The words of each line that is not empty.
fn rows(output: &str) -> Vec<Vec<String>> {
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    output
        .lines()
        .map(words)
        .filter(|row| !row.is_empty())
        .collect()
}

fn has(row: &[String], word: &str) -> bool {
    row.iter().any(|found| found == word)
}

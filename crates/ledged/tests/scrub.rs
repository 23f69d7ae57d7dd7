//! Scrubs with the real program: what went wrong on a disk behind the shelf's back is found, told, and
//! repaired when somebody asks for it or the policy of the LUN says so.

mod support;

use anyhow::{Result, bail, ensure};
use aoe::{MacAddress, SECTOR_BYTES};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;
use support::shelf::check_log;
use support::wire::Wire;
use testbed::{Ledge, LedgeOptions, PairNetwork};

/// What is written: sectors of the LUN from 0 on.
const SECTORS: u64 = 1024;

/// A pattern that is nowhere else on the disk.
fn content(lba: u64) -> Vec<u8> {
    let mut bytes = vec![0xa5; SECTOR_BYTES];
    bytes[..8].copy_from_slice(&lba.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    bytes
}

fn fill(wire: &mut Wire, to: MacAddress, lun: u8) -> Result<()> {
    for lba in (0..SECTORS).step_by(8) {
        let bytes: Vec<u8> = (lba..lba + 8).flat_map(content).collect();
        wire.write(to, (1, lun), lba, &bytes)?;
    }
    Ok(())
}

/// Spoils a sector of a disk that holds data of the LUN.
fn spoil(ledge: &Ledge, slot: u8) -> Result<()> {
    let disk = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(ledge.disk_path(slot))?;
    let bytes = std::fs::read(ledge.disk_path(slot))?;
    let sectors = (0_u64..).zip(bytes.chunks(SECTOR_BYTES));
    let is_data = |sector: &[u8]| sector[8..].iter().all(|byte| *byte == 0xa5);
    // The last: the redo log, which may hold data too, lies before.
    let Some((sector, _)) = sectors.filter(|(_, sector)| is_data(sector)).last() else {
        bail!("no data on slot {slot}")
    };
    let wrong: Vec<u8> = (0..SECTOR_BYTES)
        .map(|i| (i * 7 % 251).to_le_bytes()[0])
        .collect();
    disk.write_all_at(&wrong, sector * SECTOR_BYTES as u64)?;
    disk.sync_all()?;
    Ok(())
}

/// Waits for the end of a scrub; what `scrub` then says.
fn await_scrub(ledge: &Ledge, lun: u8) -> Result<String> {
    for _ in 0..600 {
        let told = ledge.console_ok(&format!("scrub {lun}"))?;
        if told.contains(" idle;") {
            return Ok(told);
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("the scrub does not end: {}", ledge.console_ok("scrub")?)
}

#[test]
fn what_differs_is_told_and_repaired_on_request_or_by_policy() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = Ledge::start(
        &network.target,
        LedgeOptions {
            disks: 7,
            disk_bytes: 4 << 20,
            ..LedgeOptions::default()
        },
    )?;
    ledge.console_ok("make -c 0 raid1 1.0-1")?;
    ledge.console_ok("make -c 1 raid6 1.2-6")?;
    for lun in [0, 1] {
        ledge.console_ok(&format!("online {lun}"))?;
        let to = wire.discover((1, lun))?;
        fill(&mut wire, to, lun)?;
    }
    ledge.console_ok("scrub policy located 1")?;
    ledge.stop()?;
    spoil(&ledge, 1)?;
    spoil(&ledge, 4)?;
    ledge.start_again()?;
    // A mirror: nobody knows which copy is right.
    ledge.console_ok("scrub start 0")?;
    let told = await_scrub(&ledge, 0)?;
    ensure!(told.contains(" 1 differ;"), "{told}");
    let health = ledge.console_ok("health")?;
    ensure!(
        health.starts_with("LUN 0 has 1 sectors that differ"),
        "{health}"
    );
    let to = wire.discover((1, 0))?;
    let read = |wire: &mut Wire| -> Result<Vec<Vec<u8>>> {
        (0..SECTORS)
            .step_by(8)
            .map(|lba| wire.read(to, (1, 0), lba, 8))
            .collect()
    };
    let before = read(&mut wire)?;
    ledge.console_ok("scrub repair 0")?;
    let told = await_scrub(&ledge, 0)?;
    ensure!(told.contains(" 1 differ, 1 repaired"), "{told}");
    ensure!(
        read(&mut wire)? == before,
        "clients read something else now"
    );
    ledge.console_ok("scrub start 0")?;
    let told = await_scrub(&ledge, 0)?;
    ensure!(told.contains(" 0 differ"), "{told}");
    // RAID 6 knows, and the policy says that it may.
    ledge.console_ok("scrub start 1")?;
    let told = await_scrub(&ledge, 1)?;
    ensure!(told.contains(" 1 differ, 1 repaired"), "{told}");
    let to = wire.discover((1, 1))?;
    for lba in (0..SECTORS).step_by(8) {
        let right: Vec<u8> = (lba..lba + 8).flat_map(content).collect();
        ensure!(
            wire.read(to, (1, 1), lba, 8)? == right,
            "wrong bytes at {lba}"
        );
    }
    ensure!(ledge.console_ok("health")? == "ok\n", "not well");
    ledge.stop()?;
    ledge.start_again()?;
    ledge.console_ok("scrub start 1")?;
    let told = await_scrub(&ledge, 1)?;
    ensure!(told.contains(" 0 differ"), "{told}");
    check_log(&ledge.log())
}

//! The memory of the daemon is fixed: with default settings, 16 disks and LUNs of all levels no more than
//! 256 MiB are resident, and no load makes that grow.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::{MacAddress, SECTOR_BYTES};
use ata::opcode;
use serde_json::Value;
use std::fs;
use std::time::Duration;
use support::shelf::check_log;
use support::wire::{Ata, Wire};
use testbed::{Ledge, LedgeOptions, PairNetwork};

/// What the daemon may have resident.
const RESIDENT_KIB_MAX: u64 = 256 << 10;

/// What it may have grown by since it had served everything once: the allocator's and the console's.
const GROWTH_KIB_MAX: u64 = 8 << 10;

/// LUNs on all 16 disks.
const LUNS: [&str; 6] = [
    "raid5 1.0-2",
    "raid6 1.3-6",
    "raid10 1.7-10",
    "raid1 1.11-12",
    "raid0 1.13-14",
    "jbod 1.15",
];

/// Bursts of each load, frames of each burst: far more than the shelf has slots for.
const BURSTS: u32 = 40;
const FRAMES: u32 = 1500;

/// The most that was ever resident, as the kernel tells.
fn resident_kib(ledge: &mut Ledge) -> Result<u64> {
    let id = ledge.daemon().context("no daemon")?.id();
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmHWM")?.parse()?)
}

/// Reads and writes of all LUNs, each from another host, and nobody waits for an answer. What is not served
/// is dropped, but not all of it.
fn flood(wire: &mut Wire, ledge: &Ledge, to: MacAddress) -> Result<()> {
    let before = served(ledge)?;
    let payload = [0x5a; 16 * SECTOR_BYTES];
    for number in 0..BURSTS * FRAMES {
        let lun = u8::try_from(number % 6)?;
        let lba = u64::from(number.wrapping_mul(2_654_435_761) % 4096) * 16;
        let is_write = number / 6 % 3 != 0;
        let opcode = if is_write {
            opcode::WRITE_EXT
        } else {
            opcode::READ_EXT
        };
        let ata = Ata {
            opcode,
            lba,
            count: 16,
        };
        let payload = if is_write { &payload[..] } else { &[] };
        let mut frame = wire.ata_frame(to, (1, lun), ata, payload);
        let [_, host @ ..] = number.to_be_bytes();
        frame[6..12].copy_from_slice(&[&[2, 0, 0], &host[..]].concat());
        wire.send(&frame)?;
        if number % FRAMES == 0 {
            while wire.receive(Duration::ZERO)?.is_some() {}
        }
    }
    wire.drain()?;
    let answered = served(ledge)? - before;
    ensure!(answered >= u64::from(FRAMES), "{answered} were answered");
    Ok(())
}

/// Reads and writes of all LUNs that were answered.
fn served(ledge: &Ledge) -> Result<u64> {
    let document: Value = serde_json::from_str(&ledge.console_ok("aoestats -a -j")?)?;
    let rows = document["data"].as_array().context("no data")?;
    let is_command = |row: &&Value| row["name"] == "reads" || row["name"] == "writes";
    let values = rows.iter().filter(is_command);
    Ok(values.filter_map(|row| row["value"].as_u64()).sum())
}

#[test]
fn no_load_makes_the_daemon_larger_than_it_may_be() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = Ledge::start(&network.target, LedgeOptions::default())?;
    for (lun, members) in LUNS.iter().enumerate() {
        ledge.console_ok(&format!("make {lun} {members}"))?;
        ledge.console_ok(&format!("online {lun}"))?;
    }
    let to = wire.discover((1, 0))?;
    flood(&mut wire, &ledge, to)?;
    let warm = resident_kib(&mut ledge)?;
    ensure!(warm <= RESIDENT_KIB_MAX, "{warm} KiB resident");
    // A rebuild and scrubs beside the next one, and a console that asks for everything.
    for line in [
        "fail 0.0.1",
        "unfail 0.0.1",
        "scrub start 1",
        "scrub start 2",
    ] {
        ledge.console_ok(line)?;
    }
    flood(&mut wire, &ledge, to)?;
    for line in [
        "aoestats -a",
        "initiators",
        "iostats",
        "ifstat -a",
        "list -l",
    ] {
        ledge.console_ok(line)?;
    }
    flood(&mut wire, &ledge, to)?;
    let after = resident_kib(&mut ledge)?;
    ensure!(after <= RESIDENT_KIB_MAX, "{after} KiB resident");
    ensure!(after <= warm + GROWTH_KIB_MAX, "{warm} KiB became {after}");
    wire.discover((1, 5))?;
    testbed::transcript::note(&format!("{warm} KiB resident, then {after}"));
    check_log(&ledge.log())?;
    ledge.stop()
}

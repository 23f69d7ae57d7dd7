//! A LUN that grows while it is served, over the wire, and what becomes of its parts through kills and
//! losses.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::{ATA_FRAME_BYTES, MacAddress, SECTOR_BYTES};
use ata::opcode;
use std::fs;
use support::shelf::check_log;
use support::wire::{Ata, Wire};
use testbed::{Ledge, LedgeOptions, PairNetwork};

/// Sectors of a request.
const RUN: u64 = 8;

fn options() -> LedgeOptions {
    LedgeOptions {
        disks: 9,
        disk_bytes: 4 << 20,
        ..LedgeOptions::default()
    }
}

/// The size that IDENTIFY tells, in sectors.
fn capacity(wire: &mut Wire, to: MacAddress) -> Result<u64> {
    let ata = Ata {
        opcode: opcode::IDENTIFY,
        lba: 0,
        count: 1,
    };
    let request = wire.ata_frame(to, (1, 0), ata, &[]);
    let reply = wire.ask(&request)?;
    reply.ata_success()?;
    let words = reply.0.get(ATA_FRAME_BYTES + 200..ATA_FRAME_BYTES + 208);
    let words = words.context("IDENTIFY is 512 bytes")?;
    Ok(u64::from_le_bytes(words.try_into()?))
}

fn run_of(lba: u64, generation: u8) -> Vec<u8> {
    let sector = |lba: u64| {
        let mut bytes = [generation; SECTOR_BYTES];
        bytes[..8].copy_from_slice(&lba.to_be_bytes());
        bytes
    };
    (lba..lba + RUN).flat_map(sector).collect()
}

/// Where a LUN of this size is written: all over, and across each of these boundaries.
fn places(capacity: u64, boundaries: &[u64]) -> Vec<u64> {
    let all = (0..capacity - RUN).step_by(211);
    all.chain(boundaries.iter().map(|end| end - RUN / 2))
        .collect()
}

fn fill(wire: &mut Wire, to: MacAddress, places: &[u64], generation: u8) -> Result<()> {
    for &lba in places {
        wire.write(to, (1, 0), lba, &run_of(lba, generation))?;
    }
    Ok(())
}

fn verify(wire: &mut Wire, to: MacAddress, places: &[u64], generation: u8) -> Result<()> {
    for &lba in places {
        let read = wire.read(to, (1, 0), lba, 8)?;
        // A later run may lie over the end of an earlier one.
        let own = |at: usize| {
            read[at..at + SECTOR_BYTES] == run_of(lba, generation)[at..at + SECTOR_BYTES]
        };
        ensure!(own(0), "wrong bytes at {lba}");
    }
    Ok(())
}

fn move_disks(ledge: &Ledge, slots: &[u8], away: bool) -> Result<()> {
    for &slot in slots {
        let (here, there) = (
            ledge.disk_path(slot),
            ledge.disk_path(slot).with_extension("away"),
        );
        if away {
            fs::rename(&here, &there)?;
        } else {
            fs::rename(&there, &here)?;
        }
    }
    Ok(())
}

/// Grows the LUN three times, each time with writes under way. Gives its size before, between and after.
fn grow(wire: &mut Wire, ledge: &Ledge, to: MacAddress, first: u64) -> Result<Vec<u64>> {
    let mut sizes = vec![first];
    for line in [
        "grow 0 raid5 1.2-4",
        "grow 0 raid0 1.5-6",
        "grow -y 0 jbod 1.7",
    ] {
        // Writes that are under way while it grows are answered.
        let before = sizes[sizes.len() - 1];
        let frames: Vec<_> = (0..16)
            .map(|i| {
                let lba = before / 2 + i * RUN;
                let ata = Ata {
                    opcode: opcode::WRITE_EXT,
                    lba,
                    count: 8,
                };
                (lba, wire.ata_frame(to, (1, 0), ata, &run_of(lba, 1)))
            })
            .collect();
        for (_, frame) in &frames {
            wire.send(frame)?;
        }
        ledge.console_ok(line)?;
        wire.drain()?;
        for (lba, _) in &frames {
            ensure!(
                wire.read(to, (1, 0), *lba, 8)? == run_of(*lba, 1),
                "at {lba}"
            );
        }
        let after = capacity(wire, to)?;
        ensure!(after > before, "{line}: {before}, then {after} sectors");
        sizes.push(after);
    }
    Ok(sizes)
}

/// Without a part it is not served, and says so; with it, it is as it was.
fn lose_a_part(wire: &mut Wire, ledge: &mut Ledge, places: &[u64]) -> Result<()> {
    ledge.stop()?;
    move_disks(ledge, &[5, 6], true)?;
    ledge.start_again()?;
    let health = ledge.console_ok("health")?;
    let reason = "raid 0.2 is missing: none of its drives is here (raid0 of 2)";
    ensure!(health.contains(reason), "{health}");
    ensure!(
        ledge.console_ok("list -l 0")?.contains("raid0 failed"),
        "not failed"
    );
    ledge.stop()?;
    move_disks(ledge, &[5, 6], false)?;
    ledge.start_again()?;
    let to = wire.discover((1, 0))?;
    verify(wire, to, places, 2)
}

/// A member of a further part fails, and is rebuilt on a spare.
fn rebuild_a_member(wire: &mut Wire, ledge: &Ledge, places: &[u64]) -> Result<()> {
    let to = wire.discover((1, 0))?;
    ledge.console_ok("spare 1.8")?;
    ledge.console_ok("fail 0.1.1")?;
    verify(wire, to, places, 2)?;
    for _ in 0..300 {
        let listed = ledge.console_ok("list -l 0")?;
        if listed.contains("0.1.1  normal") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let listed = ledge.console_ok("list -l 0")?;
    ensure!(listed.contains("0.1.1  normal"), "not rebuilt: {listed}");
    verify(wire, to, places, 2)
}

#[test]
fn a_lun_grows_under_load_and_keeps_everything() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = Ledge::start(&network.target, options())?;
    ledge.console_ok("make 0 raid1 1.0-1")?;
    ledge.console_ok("online 0")?;
    let to = wire.discover((1, 0))?;
    let first = capacity(&mut wire, to)?;
    fill(&mut wire, to, &places(first, &[]), 1)?;
    let sizes = grow(&mut wire, &ledge, to, first)?;
    let (boundaries, size) = (&sizes[..3], sizes[3]);
    let places = places(size, boundaries);
    fill(&mut wire, to, &places, 2)?;
    verify(&mut wire, to, &places, 2)?;
    let refused = ledge.console("grow -y 0 jbod 1.8")?;
    ensure!(
        refused.status == 1 && refused.output.contains("it has 4 RAIDs"),
        "{refused:?}"
    );
    ledge.kill()?;
    ledge.start_again()?;
    let to = wire.discover((1, 0))?;
    ensure!(
        capacity(&mut wire, to)? == size,
        "another size after a kill"
    );
    verify(&mut wire, to, &places, 2)?;
    lose_a_part(&mut wire, &mut ledge, &places)?;
    rebuild_a_member(&mut wire, &ledge, &places)?;
    ledge.console_ok("remove -f 0")?;
    ensure!(ledge.console_ok("list")?.is_empty(), "it is still there");
    check_log(&ledge.log())
}

//! Disks that are pulled and inserted while the shelf serves: here files, whose paths lead nowhere for a
//! while.

mod support;

use anyhow::{Result, ensure};
use std::fs;
use support::shelf::{check_log, wait_until};
use support::wire::Wire;
use testbed::{Ledge, LedgeOptions, PairNetwork};

const LUN: (u16, u8) = (1, 0);

fn options(disks: u8) -> LedgeOptions {
    LedgeOptions {
        disks,
        disk_bytes: 4 << 20,
        ..LedgeOptions::default()
    }
}

fn pull(ledge: &Ledge, slot: u8) -> Result<()> {
    let path = ledge.disk_path(slot);
    fs::rename(&path, path.with_extension("pulled"))?;
    Ok(())
}

/// The disk that was pulled from one slot comes into another.
fn insert(ledge: &Ledge, from: u8, slot: u8) -> Result<()> {
    let away = ledge.disk_path(from).with_extension("pulled");
    fs::rename(away, ledge.disk_path(slot))?;
    Ok(())
}

/// Waits until the elements of LUN 0 are in these states.
fn wait_for_elements(ledge: &Ledge, states: &[&str]) -> Result<()> {
    let listed = |text: &str| -> Vec<String> {
        let rows = text
            .lines()
            .filter(|line| line.trim_start().starts_with("0.0."));
        let states = rows.filter_map(|row| row.split_whitespace().nth(1));
        states.map(str::to_owned).collect()
    };
    wait_until(ledge, "list -l 0", |text| listed(text) == states).map(drop)
}

fn sectors(generation: u8) -> Vec<u8> {
    (0..16 * 512_u32)
        .map(|at| (at / 7).to_le_bytes()[0] ^ generation)
        .collect()
}

fn write(wire: &mut Wire, generation: u8) -> Result<()> {
    let to = wire.discover(LUN)?;
    for lba in (0..1024).step_by(64) {
        wire.write(to, LUN, lba, &sectors(generation))?;
    }
    Ok(())
}

fn verify(wire: &mut Wire, generation: u8) -> Result<()> {
    let to = wire.discover(LUN)?;
    for lba in (0..1024).step_by(64) {
        let read = wire.read(to, LUN, lba, 16)?;
        ensure!(read == sectors(generation), "wrong bytes at {lba}");
    }
    Ok(())
}

#[test]
fn a_member_that_is_pulled_is_missed_and_rebuilt_when_it_is_back_in_whichever_slot() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = Ledge::start(&network.target, options(4))?;
    ledge.console_ok("make 0 raid1 1.0-1")?;
    ledge.console_ok("online 0")?;
    write(&mut wire, 1)?;
    pull(&ledge, 1)?;
    wait_for_elements(&ledge, &["normal", "missing"])?;
    wait_until(&ledge, "show -l 1.1", |text| text.contains("missing"))?;
    write(&mut wire, 2)?;
    pull(&ledge, 3)?;
    wait_until(&ledge, "show -l 1.3", |text| text.contains("missing"))?;
    insert(&ledge, 1, 3)?;
    wait_for_elements(&ledge, &["normal", "normal"])?;
    // The one that was away holds everything: it alone gives all that was written.
    pull(&ledge, 0)?;
    wait_for_elements(&ledge, &["missing", "normal"])?;
    verify(&mut wire, 2)?;
    write(&mut wire, 3)?;
    insert(&ledge, 0, 0)?;
    wait_for_elements(&ledge, &["normal", "normal"])?;
    verify(&mut wire, 3)?;
    // What nobody knows stays free.
    insert(&ledge, 3, 1)?;
    wait_until(&ledge, "show -l 1.1", |text| text.contains("up"))?;
    ledge.console_ok("spare 1.1")?;
    ledge.stop()?;
    check_log(&ledge.log())?;
    Ok(())
}

/// It is not answered for while it lacks a disk, and goes on where it was.
#[test]
fn a_lun_without_redundancy_waits_for_its_disk() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = Ledge::start(&network.target, options(3))?;
    ledge.console_ok("make 0 raid0 1.0-2")?;
    ledge.console_ok("online 0")?;
    write(&mut wire, 1)?;
    for _ in 0..2 {
        pull(&ledge, 2)?;
        wait_for_elements(&ledge, &["normal", "normal", "missing"])?;
        ensure!(wire.discover(LUN).is_err(), "it is served without a disk");
        insert(&ledge, 2, 2)?;
        wait_for_elements(&ledge, &["normal"; 3])?;
        wait_until(&ledge, "list 0", |text| text.contains("online"))?;
        verify(&mut wire, 1)?;
    }
    // All at once, and back in each other's slots.
    for slot in 0..3 {
        pull(&ledge, slot)?;
    }
    wait_until(&ledge, "list", |text| !text.contains("raid0"))?;
    for slot in 0..3 {
        insert(&ledge, slot, (slot + 1) % 3)?;
    }
    wait_until(&ledge, "list", |text| text.contains("online"))?;
    verify(&mut wire, 1)?;
    write(&mut wire, 2)?;
    ledge.stop()?;
    check_log(&ledge.log())?;
    Ok(())
}

#[test]
fn a_copy_of_a_member_is_not_taken_beside_it() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = Ledge::start(&network.target, options(3))?;
    ledge.console_ok("make 0 raid1 1.0-1")?;
    ledge.console_ok("online 0")?;
    pull(&ledge, 2)?;
    wait_until(&ledge, "show -l 1.2", |text| text.contains("missing"))?;
    fs::copy(ledge.disk_path(1), ledge.disk_path(2).with_extension("new"))?;
    fs::rename(ledge.disk_path(2).with_extension("new"), ledge.disk_path(2))?;
    wait_until(&ledge, "show -l 1.2", |text| text.contains("up"))?;
    wait_for_elements(&ledge, &["normal", "normal"])?;
    let refused = ledge.console("spare 1.2")?;
    ensure!(refused.status == 1, "{}", refused.output);
    ensure!(
        refused.output.contains("a former element"),
        "{}",
        refused.output
    );
    ledge.stop()?;
    check_log(&ledge.log())?;
    Ok(())
}

//! A configuration that is read again while the shelf serves (SIGHUP, `systemctl reload`).

mod support;

use anyhow::{Context, Result, ensure};
use std::fs;
use support::load::{Load, SECOND, SECOND_CLIENT, prefer_workers, reload, serves, wire_second};
use support::shelf::{check_log, counted, lost_nothing, wait_until};
use support::wire::Wire;
use support::{file_disks, memory_disks, with_lun};
use testbed::{Ledge, LedgeOptions, PairNetwork};

const LUN: (u16, u8) = (1, 0);

fn config(ledge: &Ledge<'_>) -> Result<String> {
    Ok(fs::read_to_string(ledge.config_path())?)
}

/// The text without the `[[disk]]` of a slot.
fn without_disk(text: &str, slot: u8) -> String {
    let parts = text.split("[[disk]]");
    let is_kept = |part: &&str| !part.contains(&format!("slot = {slot}\n"));
    parts.filter(is_kept).collect::<Vec<_>>().join("[[disk]]")
}

fn with_disk(text: &str, slot: u16, path: &str) -> String {
    format!("{text}\n[[disk]]\nslot = {slot}\npath = \"{path}\"\n")
}

fn is_up(said: &str) -> bool {
    said.contains("up")
}

#[test]
fn disks_come_and_go_with_the_configuration_and_one_that_is_used_stays() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let options = LedgeOptions {
        disks: 3,
        disk_bytes: 8 << 20,
        ..LedgeOptions::default()
    };
    let mut ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make 0 raid1 1.0-1")?;
    ledge.console_ok("online 0")?;
    let first = config(&ledge)?;

    // One that is used stays, by itself: what else is asked for is done.
    let fourth = ledge.disk_path(2).with_file_name("another");
    fs::File::create(&fourth)?.set_len(8 << 20)?;
    let fourth = fourth.display().to_string();
    let text = with_disk(&without_disk(&first, 1), 7, &fourth);
    reload(&mut ledge, &text, "taken over: disk of slot 7 (new)")?;
    let refused = "not taken over: disk of slot 1 (removed): drive 1.1 is element 0.0.1";
    ensure!(ledge.log().contains(refused), "{}", ledge.log());
    wait_until(&ledge, "show -l 1.7", is_up)?;
    wait_until(&ledge, "show -l 1.1", is_up)?;

    // The new one is a drive like any other, and is used; the free one goes, and may come elsewhere.
    ledge.console_ok("make 1 raid0 1.7")?;
    ledge.console_ok("online 1")?;
    let third = ledge.disk_path(2).display().to_string();
    let moved = with_disk(&without_disk(&text, 2), 9, &third);
    reload(&mut ledge, &moved, "taken over: disk of slot 9 (new)")?;
    let log = ledge.log();
    ensure!(
        log.contains("taken over: disk of slot 2 (removed)"),
        "{log}"
    );
    wait_until(&ledge, "show -l 1.9", is_up)?;
    let gone = ledge.console("show -l 1.2")?.success("show");
    ensure!(gone.is_err(), "slot 2 is still there");
    for lun in [LUN, (1, 1)] {
        let to = wire.discover(lun)?;
        wire.write(to, lun, 64, &[7; 8192])?;
        ensure!(wire.read(to, lun, 64, 16)? == [7; 8192], "LUN {lun:?}");
    }

    check_log(&ledge.log())?;

    // All of it holds after a restart.
    ledge.stop()?;
    ledge.start_again()?;
    let to = wire.discover((1, 1))?;
    ensure!(
        wire.read(to, (1, 1), 64, 16)? == [7; 8192],
        "LUN 1 after a restart"
    );
    ledge.stop()
}

#[test]
fn paths_lead_elsewhere_and_what_has_no_room_needs_a_restart() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = with_lun(&network, file_disks("native"))?;
    serves(&mut wire, 7)?;
    let moved = config(&ledge)?;
    let third = ledge.disk_path(2).display().to_string();

    // A path that leads nowhere is waited for; memory is made at once; what has no room needs a restart.
    let later = ledge.disk_path(2).with_file_name("later");
    let waits = with_disk(&moved, 5, &later.display().to_string());
    let waits = with_disk(&with_disk(&waits, 6, "ram:8M"), 1000, "ram:8M");
    reload(
        &mut ledge,
        &waits,
        "not taken over: disk of slot 1000 (new): room was made for slots 0 to",
    )?;
    wait_until(&ledge, "show -l 1.5", |said| said.contains("missing"))?;
    wait_until(&ledge, "show -l 1.6", is_up)?;
    fs::File::create(&later)?.set_len(8 << 20)?;
    wait_until(&ledge, "show -l 1.5", is_up)?;

    // The paths of two free slots are exchanged, and another name of a disk in use changes nothing.
    let name = ledge.disk_path(0).with_file_name("by-name");
    std::os::unix::fs::symlink(ledge.disk_path(0), &name)?;
    let later = later.display().to_string();
    let exchanged = waits.replace(&later, "…").replace(&third, &later);
    let exchanged = exchanged.replace('…', &third);
    let own = format!("\"{}\"", ledge.disk_path(0).display());
    let exchanged = exchanged.replace(&own, &format!("\"{}\"", name.display()));
    reload(&mut ledge, &exchanged, "taken over: path of slot 5")?;
    for slot in ["1.0", "1.2", "1.5"] {
        wait_until(&ledge, &format!("show -l {slot}"), is_up)?;
    }
    ensure!(
        ledge.log().contains("taken over: path of slot 0"),
        "{}",
        ledge.log()
    );
    let to = wire.discover(LUN)?;
    ensure!(
        wire.read(to, LUN, 64, 16)? == [7; 8192],
        "LUN 0 has lost data"
    );

    check_log(&ledge.log())?;

    // All of it holds after a restart.
    ledge.stop()?;
    ledge.start_again()?;
    let to = wire.discover(LUN)?;
    ensure!(
        wire.read(to, LUN, 64, 16)? == [7; 8192],
        "LUN 0 after a restart"
    );
    ledge.stop()
}

fn with_port(text: &str, interface: &str, mode: &str) -> String {
    format!("{text}\n[[port]]\ninterface = \"{interface}\"\nmode = \"{mode}\"\ncec = true\n")
}

/// The text without the `[[port]]` of an interface; ports come before disks.
fn without_port(text: &str, interface: &str) -> String {
    let parts = text.split("\n[[");
    let is_kept = |part: &&str| !part.contains(&format!("interface = \"{interface}\""));
    parts.filter(is_kept).collect::<Vec<_>>().join("\n[[")
}

#[test]
fn ports_come_and_go_with_the_configuration_and_with_their_interfaces() -> Result<()> {
    for (mode, workers) in [("native", 1), ("packet", 1), ("native", 2), ("packet", 2)] {
        ports_come_and_go(mode, workers).with_context(|| format!("{mode}, {workers} workers"))?;
    }
    Ok(())
}

fn ports_come_and_go(mode: &str, workers: u16) -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let options = LedgeOptions {
        workers,
        ..file_disks(mode)
    };
    let mut ledge = with_lun(&network, options)?;
    let mut first = Wire::open(&network)?;
    serves(&mut first, 1)?;
    let one = config(&ledge)?;

    // An interface that is not there is waited for.
    let both = with_port(&one, SECOND, mode);
    reload(&mut ledge, &both, "taken over: port eth2 (new)")?;
    let log = ledge.log();
    ensure!(
        log.contains("interface eth2 does not exist; it is opened when it can be"),
        "{log}"
    );
    wire_second(&network)?;
    let open = |text: &str| text.contains("eth2");
    wait_until(&ledge, "ifstat", open)?;
    let mut second = Wire::open_on(&network, SECOND_CLIENT)?;
    serves(&mut second, 2)?;
    serves(&mut first, 3)?;

    // The first one goes, and the second one, which is then the only one, stays.
    let other = without_port(&both, "eth1");
    reload(&mut ledge, &other, "taken over: port eth1 (removed)")?;
    ensure!(first.discover(LUN).is_err(), "eth1 still answers");
    serves(&mut second, 4)?;
    let text = ledge.console_ok("ifstat")?;
    ensure!(!text.contains("eth1") && open(&text), "{text}");
    let third = with_port(&without_port(&other, SECOND), "eth9", mode);
    reload(
        &mut ledge,
        &third,
        "not taken over: port eth2 (removed): it is the only one that is open",
    )?;
    serves(&mut second, 5)?;

    // It comes back under its number; an interface that vanishes is opened anew when it is back.
    reload(&mut ledge, &both, "taken over: port eth1 (new)")?;
    serves(&mut first, 6)?;
    serves(&mut second, 7)?;
    for round in 0..2 {
        drop(second);
        network.target.ip(&["link", "del", SECOND])?;
        wait_until(&ledge, "ifstat", |text| !open(text))?;
        serves(&mut first, 10 + round)?;
        wire_second(&network)?;
        wait_until(&ledge, "ifstat", open)?;
        second = Wire::open_on(&network, SECOND_CLIENT)?;
        serves(&mut second, 20 + round)?;
    }
    ensure!(
        !ledge.log().contains("WARNING: another shelf"),
        "{}",
        ledge.log()
    );
    check_log(&ledge.log())?;
    ledge.stop()
}

/// A port that is down at the start is no reason to do without it until a restart.
#[test]
fn a_port_that_is_down_at_the_start_is_opened_when_it_is_up() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    wire_second(&network)?;
    network.target.set_link(SECOND, false)?;
    let options = LedgeOptions {
        interfaces: ["eth1", SECOND].map(str::to_owned).into(),
        ..memory_disks("native")
    };
    let mut ledge = with_lun(&network, options)?;
    ensure!(!ledge.console_ok("ifstat")?.contains(SECOND));
    network.target.set_link(SECOND, true)?;
    wait_until(&ledge, "ifstat", |text| text.contains(SECOND))?;
    serves(&mut Wire::open_on(&network, SECOND_CLIENT)?, 1)?;
    ledge.stop()
}

#[test]
fn no_frame_is_lost_or_sent_again_through_reloads() -> Result<()> {
    for (mode, workers) in [("native", 1), ("generic", 1), ("packet", 1), ("generic", 2)] {
        reloads_under_load(mode, workers).with_context(|| format!("{mode}, {workers} workers"))?;
    }
    Ok(())
}

fn reloads_under_load(mode: &str, workers: u16) -> Result<()> {
    let network = PairNetwork::new(9000)?;
    wire_second(&network)?;
    let options = LedgeOptions {
        workers,
        port_lines: "pace_mbit_per_second = 100000\n".to_owned(),
        disk_bytes: 64 << 20,
        ..memory_disks(mode)
    };
    let mut ledge = with_lun(&network, options)?;
    let first = config(&ledge)?;
    prefer_workers(&mut ledge, workers)?;
    let load = Load::start(&network)?;
    let disk = with_disk(&first, 40, "ram:8M");
    let port = with_port(&disk, SECOND, mode);
    let steps = [
        (first.clone(), "nothing has changed"),
        (
            first.replace("shelf = 1", "shelf = no"),
            "the configuration is not taken over",
        ),
        (
            first.replace("cec = true", "cec = false"),
            "taken over: cec of port",
        ),
        (
            first.replace("100000", "200000"),
            "taken over: pace_mbit_per_second of port",
        ),
        (
            first.replace("shelf = 1", "shelf = 2"),
            "needs a restart, and is as it was until then: shelf",
        ),
        (disk.clone(), "taken over: disk of slot 40 (new)"),
        (port.clone(), "taken over: port eth2 (new)"),
        (disk, "taken over: port eth2 (removed)"),
        (port, "taken over: port eth2 (new)"),
        (first.clone(), "taken over: disk of slot 40 (removed)"),
    ];
    for round in 0..3 {
        for (text, says) in &steps {
            reload(&mut ledge, text, says).with_context(|| format!("round {round}"))?;
        }
    }
    let commands = load
        .end()
        .with_context(|| format!("{:?}", counted(&ledge)))?;
    ensure!(commands > 1000, "only {commands} commands were under way");
    lost_nothing(&ledge)?;
    // Each frame of the load was taken in once; the others are of who looked for the LUN.
    let taken_in = counted(&ledge)?.get("frames").copied().unwrap_or(0);
    let others = taken_in.checked_sub(u64::from(commands));
    ensure!(
        others.is_some_and(|others| others < 16),
        "{commands} commands, and {taken_in} frames"
    );
    check_log(&ledge.log())?;
    ledge.stop()
}

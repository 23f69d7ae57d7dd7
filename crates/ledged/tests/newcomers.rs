//! Interfaces that come while the shelf serves, and that a pattern or an address of the configuration is for:
//! each becomes a port by itself, and nothing is lost on the others.

mod support;

use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::Duration;
use support::load::{
    BESIDE, Load, SECOND, SECOND_CLIENT, prefer_workers, reload, serves, serves_at, wire_another,
    wire_second,
};
use support::shelf::{check_log, counted, lost_nothing, wait_until};
use support::wire::Wire;
use support::{file_disks, memory_disks, with_lun};
use testbed::{LedgeOptions, PairNetwork};

/// Longer than several looks for what has come.
const LOOKS: Duration = Duration::from_secs(4);

/// What the interface that is for an address has.
const ADDRESS: &str = "52:54:00:01:00:0b";

fn lists(text: &str, interface: &str) -> bool {
    text.contains(interface)
}

#[test]
fn an_interface_that_comes_and_matches_a_pattern_gets_a_port() -> Result<()> {
    for mode in ["native", "generic", "packet"] {
        for workers in [1, 2] {
            comes(mode, workers).with_context(|| format!("{mode}, {workers} workers"))?;
        }
    }
    Ok(())
}

fn comes(mode: &str, workers: u16) -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let options = LedgeOptions {
        workers,
        interfaces: vec!["eth?".to_owned()],
        disk_bytes: 64 << 20,
        ..memory_disks(mode)
    };
    let mut ledge = with_lun(&network, options)?;
    let text = fs::read_to_string(ledge.config_path())?;
    prefer_workers(&mut ledge, workers)?;
    let load = Load::start(&network)?;

    // One that the pattern is not for is there before.
    wire_another(&network, "wan0", "wan1")?;
    for round in 0..2 {
        wire_second(&network)?;
        wait_until(&ledge, "ifstat", |text| lists(text, SECOND))?;
        let mut second = Wire::open_on(&network, SECOND_CLIENT)?;
        serves_at(&mut second, round, BESIDE)?;
        // It is in no file, and is what the pattern stands for: a reload leaves it.
        reload(&mut ledge, &text, "nothing has changed")?;
        serves_at(&mut second, 10 + round, BESIDE)?;
        drop(second);
        network.target.ip(&["link", "del", SECOND])?;
        wait_until(&ledge, "ifstat", |text| !lists(text, SECOND))?;
    }
    // A reload while it is away forgets it, until it comes again.
    reload(&mut ledge, &text, "taken over: port eth2 (removed)")?;
    wire_second(&network)?;
    wait_until(&ledge, "ifstat", |text| lists(text, SECOND))?;
    serves_at(&mut Wire::open_on(&network, SECOND_CLIENT)?, 20, BESIDE)?;

    let commands = load
        .end()
        .with_context(|| format!("{:?}\n{}", counted(&ledge), ledge.log()))?;
    ensure!(commands > 1000, "only {commands} commands were under way");
    lost_nothing(&ledge)?;
    let log = ledge.log();
    let has_come = "interface eth2 has come, and is a port";
    ensure!(log.matches(has_come).count() == 2, "{log}");
    ensure!(log.contains("port eth2 is open"), "no event: {log}");
    ensure!(!log.contains("wan0"), "{log}");
    check_log(&log)?;
    ledge.stop()
}

#[test]
fn what_comes_is_that_of_the_configuration_that_was_taken_over_last() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = with_lun(&network, file_disks("native"))?;
    let one = fs::read_to_string(ledge.config_path())?;

    // A name alone is for no other interface.
    wire_second(&network)?;
    std::thread::sleep(LOOKS);
    ensure!(!ledge.console_ok("ifstat")?.contains(SECOND));

    let port = |interface: &str| {
        format!("{one}\n[[port]]\ninterface = \"{interface}\"\nmode = \"packet\"\n")
    };
    let later = "taken over: patterns and addresses of ports, for what comes later";
    reload(&mut ledge, &port(ADDRESS), later)?;
    let stands = format!("interface = \"{ADDRESS}\" stands for no interface of this machine");
    ensure!(ledge.log().contains(&stands), "{}", ledge.log());
    std::thread::sleep(LOOKS);
    ensure!(ledge.log().matches(&stands).count() == 1, "{}", ledge.log());
    network.target.set_address(SECOND, ADDRESS)?;
    wait_until(&ledge, "ifstat", |text| lists(text, SECOND))?;
    ensure!(ledge.console_ok("ifstat -a")?.contains("packet"));
    serves(&mut Wire::open_on(&network, SECOND_CLIENT)?, 1)?;

    // Another has it, too, and which is meant is not known: it gets none, and the first one keeps its port.
    wire_another(&network, "eth4", "eth5")?;
    network.target.set_address("eth4", ADDRESS)?;
    let said = "is the address of eth2 and eth4: name one of them";
    let daemon = ledge.daemon().context("it does not run")?;
    daemon.wait_for_line(said, support::LIMIT)?;
    serves(&mut Wire::open_on(&network, SECOND_CLIENT)?, 2)?;
    ensure!(!ledge.console_ok("ifstat")?.contains("eth4"));

    // With the pattern gone what it was for is gone, and what comes is nobody.
    reload(&mut ledge, &port("eth?"), "taken over: port eth4 (new)")?;
    reload(&mut ledge, &one, later)?;
    wait_until(&ledge, "ifstat", |text| !lists(text, "eth4"))?;
    wire_another(&network, "eth6", "eth7")?;
    std::thread::sleep(LOOKS);
    ensure!(!ledge.console_ok("ifstat")?.contains("eth6"));
    check_log(&ledge.log())?;
    ledge.stop()
}

/// What `cecdisable` has said of a port holds when it comes back, whatever was said of others meanwhile.
#[test]
fn the_ethernet_console_stays_disabled_on_a_port_that_was_away() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    wire_second(&network)?;
    let options = LedgeOptions {
        interfaces: vec!["eth?".to_owned()],
        ..file_disks("native")
    };
    let mut ledge = with_lun(&network, options)?;
    ledge.console_ok("cecdisable eth2")?;
    ledge.stop()?;
    network.target.ip(&["link", "del", SECOND])?;
    ledge.start_again()?;
    ledge.console_ok("cecdisable eth1")?;
    ledge.console_ok("cecenable eth1")?;
    wire_second(&network)?;
    wait_until(&ledge, "ifstat", |text| lists(text, SECOND))?;
    let rows = ledge.console_ok("cecstat")?;
    let row = rows.lines().find(|row| lists(row, SECOND));
    let row = row.with_context(|| format!("no row of eth2: {rows}"))?;
    ensure!(row.contains("disabled"), "{rows}");
    check_log(&ledge.log())?;
    ledge.stop()
}

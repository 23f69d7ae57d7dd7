//! The shelf as the target: what it has counted itself is part of the account of losses.

#![allow(
    clippy::unwrap_used,
    reason = "the functions around the tests are tests, too"
)]

use crate::bench::{report, text};
use crate::losses::{TARGET, TARGET_RECEIVES, lost, seen, way};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;
use testbed::network::{CLIENT_INTERFACE, TARGET_INTERFACE};
use testbed::{Ledge, LedgeOptions, PairNetwork};

/// Runs `aoeload` at the client's end.
fn aoeload(network: &PairNetwork, socket: &Path, options: &str) -> Command {
    let mut command = network.client.command(env!("CARGO_BIN_EXE_aoeload"));
    command
        .args(options.split_whitespace())
        .args(["--interface", CLIENT_INTERFACE, "--target", "1.0"])
        .arg("--shelf-socket")
        .arg(socket);
    command
}

fn shelf<'a>(network: &'a PairNetwork, mode: &str) -> Ledge<'a> {
    let options = LedgeOptions {
        mode: mode.to_owned(),
        disks: 2,
        disk_bytes: 64 << 20,
        memory_disks: true,
        cec: false,
        ..LedgeOptions::default()
    };
    let ledge = Ledge::start(&network.target, options).unwrap();
    ledge.console_ok("make 0 raid0 1.0-1").unwrap();
    ledge.console_ok("online 0").unwrap();
    ledge
}

fn network() -> PairNetwork {
    let network = PairNetwork::new(9000).unwrap();
    // Nothing but AoE: interfaces count frames of every protocol.
    for namespace in [&network.target, &network.client] {
        for scope in ["all", "default"] {
            let off = format!("net.ipv6.conf.{scope}.disable_ipv6=1");
            namespace.run("sysctl", &["-qw", &off]).unwrap();
        }
    }
    network
}

fn output(mut command: Command) -> Output {
    command.output().unwrap()
}

fn peer(network: &PairNetwork) -> String {
    let name = network.target.name();
    format!("--peer-interface {name}:{TARGET_INTERFACE}")
}

/// A load in which nothing was sent again: on a machine that has much else to do an answer may come so late
/// that it is, and a write that came twice is answered once.
fn undisturbed(network: &PairNetwork, ledge: &Ledge<'_>, options: &str) -> Value {
    for _ in 0..10 {
        let command = aoeload(network, &ledge.control_socket(), options);
        let (code, report) = report(&output(command), options);
        assert_eq!(code, 0, "{report}");
        if report["retransmissions"] == 0 {
            return report;
        }
    }
    panic!("no load without a command that was sent again");
}

#[test]
fn what_the_shelf_has_received_and_sent_is_part_of_the_account() {
    let network = network();
    for mode in ["native", "packet"] {
        let ledge = shelf(&network, mode);
        for more in [String::new(), peer(&network)] {
            let options = format!("--op mixed --depth 16 --seconds 0.5 --probes off --json {more}");
            let report = undisturbed(&network, &ledge, &options);
            let way = way(&report);
            assert_eq!(lost(way), [], "{way:#}");
            let frames = way["frames"].as_object().unwrap();
            let sent = &frames["sent"];
            assert_eq!(&frames["target_received"], sent, "{way:#}");
            assert_eq!(&frames["target_sent"], sent, "{way:#}");
            assert_eq!(
                way["layers"].as_array().unwrap().len(),
                if more.is_empty() { 6 } else { 8 }
            );
        }
    }
}

/// The daemon is stopped for two seconds in the middle of an open loop: its rings fill, the kernel drops what
/// finds no room, and what had room is too old when it goes on.
#[test]
fn what_the_shelf_drops_itself_is_told_by_the_name_of_its_counter() {
    let network = network();
    let mut ledge = shelf(&network, "native");
    let options = format!(
        "--op write --depth 4096 --rate 8000 --seconds 4 --retransmit never --deadline 1 --probes off --json {}",
        peer(&network)
    );
    let mut command = aoeload(&network, &ledge.control_socket(), &options);
    let load = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let frames = || {
        let statistics = network
            .target
            .enter(|| Ok(port::link(TARGET_INTERFACE)?))
            .unwrap();
        let received = statistics
            .counters
            .iter()
            .find(|(name, _)| *name == "rx_packets");
        received.unwrap().1
    };
    while frames() < 4000 {
        thread::sleep(Duration::from_millis(20));
    }
    let daemon = ledge.daemon().unwrap().id().to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &daemon]).status();
        assert!(sent.unwrap().success());
    };
    signal("-STOP");
    thread::sleep(Duration::from_secs(2));
    signal("-CONT");
    let (code, report) = report(&load.wait_with_output().unwrap(), &options);
    assert_eq!(code, 1, "{report}");
    let ways = report["losses"]["ways"].as_array().unwrap();
    let way = &ways[0];
    let lost = lost(way);
    let count = |layer: &str| {
        lost.iter()
            .find(|(name, _)| *name == layer)
            .map_or(0, |(_, frames)| *frames)
    };
    let stale = seen(way, TARGET, "shelf's stale_frames");
    assert!(stale > 0 && count(TARGET) == stale, "{way:#}");
    let dropped = seen(way, TARGET_RECEIVES, "shelf's ring ");
    assert!(dropped > 0 && count(TARGET_RECEIVES) >= dropped, "{way:#}");
}

#[test]
fn a_socket_that_does_not_answer_or_is_another_shelf_s_is_refused() {
    let network = network();
    let ledge = shelf(&network, "packet");
    let options = "--seconds 0.2 --probes off";
    let refused = |socket: &Path, reason: &str| {
        let output = output(aoeload(&network, socket, options));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let stderr = text(&output.stderr);
        assert!(
            stderr.contains("error: --shelf-socket: ") && stderr.contains(reason),
            "{stderr}"
        );
    };
    refused(
        Path::new("/nowhere/control.sock"),
        "no ledged answers at /nowhere/control.sock",
    );
    let elsewhere = PairNetwork::new(9000).unwrap();
    let other = shelf(&elsewhere, "packet");
    refused(&other.control_socket(), "it is not the target");
    drop(ledge);
}

/// `search` has the account of the trial above the highest rate.
#[test]
fn a_search_tells_where_the_frames_stayed_above_the_rate_that_it_found() {
    let network = network();
    let ledge = shelf(&network, "packet");
    let options = format!(
        "search --seconds 0.3 --warmup 0.1 --resolution 30 --depth 8 --json {}",
        peer(&network)
    );
    let command = aoeload(&network, &ledge.control_socket(), &options);
    let (_, value) = report(&output(command), &options);
    let above = &value["above"];
    let trials = value["trials"].as_array().unwrap();
    let failed = trials.iter().filter(|trial| trial["passed"] == false);
    let lowest = failed
        .filter_map(|trial| trial["rate"].as_f64())
        .fold(f64::INFINITY, f64::min);
    assert_eq!(above["rate"].as_f64(), Some(lowest), "{value}");
    assert!(
        above["lost"].as_u64().unwrap() + above["overdue"].as_u64().unwrap() > 0,
        "{above}"
    );
    assert_eq!(above["losses"]["probes"], "off");
    assert_eq!(above["losses"]["never_sent"], above["overdue"]);
    let way = way(above);
    assert!(way["frames"]["target_received"].is_i64(), "{way:#}");
    if let Some(best) = value["best"].as_object() {
        assert_eq!(lost(&best["losses"]["ways"][0]), [], "{value}");
    }
    let output = output(aoeload(
        &network,
        &ledge.control_socket(),
        &options.replace("--json", ""),
    ));
    let stdout = text(&output.stdout);
    assert!(
        stdout.contains("the lowest rate that failed, and where its frames were lost:"),
        "{stdout}"
    );
    assert!(stdout.contains(" received by the shelf "), "{stdout}");
    assert_ne!(value["above"], Value::Null);
}

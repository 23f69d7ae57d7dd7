//! Frames that nobody should send (conformance rows 129 and 130): the daemon survives them in every
//! mode, and accounts for each.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::config::COMMAND_CONFIG;
use aoe::{ConfigCommand, MacAddress, SECTOR_BYTES};
use ata::opcode;
use support::shelf::check_log;
use support::wire::Wire;
use support::{ANY, E10, memory_disks, with_lun};
use testbed::{Ledge, PairNetwork};

/// Fills a frame of `length` bytes behind the addresses and the EtherType.
fn malformed(wire: &Wire, to: MacAddress, length: usize, fill: Fill) -> Vec<u8> {
    let mut frame = Vec::with_capacity(length);
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(&wire.mac().0);
    frame.extend_from_slice(&aoe::ETHERTYPE.to_be_bytes());
    let head: &[u8] = match fill {
        Fill::Bytes(_) => &[],
        // To LUN 0, or whoever it concerns, with an argument of all ones: lengths and counts that no
        // frame holds (row 130).
        Fill::Command(command) => &[0x10, 0, 0, 1, 0, command, 0xff, 0xff, 0xff, 0xfe],
        Fill::Write => &[
            0x10,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            1,
            0x41,
            0,
            0xff,
            opcode::WRITE_EXT,
        ],
    };
    frame.extend_from_slice(head);
    let rest = if let Fill::Bytes(byte) = fill {
        byte
    } else {
        0xff
    };
    frame.resize(length.max(frame.len()), rest);
    frame.truncate(length);
    frame
}

#[derive(Clone, Copy, Debug)]
enum Fill {
    /// This byte everywhere.
    Bytes(u8),
    /// A good header of this command, then ones.
    Command(u8),
    /// A write of 255 sectors at the end of the address space.
    Write,
}

#[test]
fn rows_129_130_malformed_frames_of_every_length_native() -> Result<()> {
    survives_malformed_frames("native")
}

#[test]
fn rows_129_130_malformed_frames_of_every_length_generic() -> Result<()> {
    survives_malformed_frames("generic")
}

#[test]
fn rows_129_130_malformed_frames_of_every_length_packet() -> Result<()> {
    survives_malformed_frames("packet")
}

/// Every length from a bare Ethernet header to the MTU, in several fills. Shorter ones cannot be put
/// on an Ethernet.
fn survives_malformed_frames(mode: &str) -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = with_lun(&network, memory_disks(mode))?;
    let to = wire.discover(E10)?;
    let marked: Vec<u8> = (0..8 * SECTOR_BYTES).map(|at| (at % 251) as u8).collect();
    wire.write(to, E10, 0, &marked)?;
    let fills = [
        Fill::Bytes(0),
        Fill::Bytes(0xff),
        Fill::Bytes(0x10),
        Fill::Bytes(0xa5),
        Fill::Command(0),
        Fill::Command(COMMAND_CONFIG),
        Fill::Command(2),
        Fill::Command(3),
        Fill::Write,
    ];
    for fill in fills {
        for length in 14..=9014 {
            wire.send(&malformed(&wire, to, length, fill))?;
            // Wait for the shelf now and then, so that no ring overflows.
            if length % 32 == 0 {
                wire.discover(E10)
                    .with_context(|| format!("{mode} {fill:?} {length}: {}", ledge.log()))?;
            }
        }
        ensure!(
            wire.read(to, E10, 0, 8)? == marked,
            "{fill:?}: sectors were overwritten"
        );
    }
    wire.drain()?;
    let request = wire.config_frame(MacAddress::BROADCAST, ANY, ConfigCommand::Read, &[]);
    wire.send(&request)?;
    let answers = wire.drain()?;
    ensure!(answers.len() == 1, "{} answers", answers.len());
    answers[0].check_config(wire.mac(), E10, ConfigCommand::Read, 16)?;
    check_accounts(&network, &ledge).with_context(|| mode.to_owned())?;
    check_log(&ledge.log())?;
    ledge.stop()
}

/// Every frame that the interface has received is in exactly one counter of the port, and every one
/// that came to the target in one of its own.
fn check_accounts(network: &PairNetwork, ledge: &Ledge) -> Result<()> {
    let text = ledge.console_ok("aoestats -a")?;
    let count = |group: &str, name: &str| -> Result<u64> {
        let rows = text.lines().filter(|row| row.starts_with(group));
        let value = |row: &str| {
            row.split_whitespace()
                .rev()
                .take(2)
                .map(str::to_owned)
                .collect()
        };
        let mut named = rows
            .map(value)
            .filter(|words: &Vec<String>| words[1] == name);
        let words = named
            .next()
            .with_context(|| format!("no {group} {name} in {text}"))?;
        Ok(words[0].parse()?)
    };
    let sum = |group: &str, names: &[&str]| -> Result<u64> {
        names.iter().map(|name| count(group, name)).sum()
    };
    let dropped = ["rx_dropped", "rx_ring_full", "rx_invalid", "rx_other_host"];
    let left_alone = ["aoe_to_kernel", "passed_to_kernel"];
    let handed = count("port", "rx_frames")?;
    let counted = handed + sum("port", &dropped)? + sum("port", &left_alone)?;
    let seen = received(network)?;
    ensure!(seen >= 9 * 9001, "the interface saw {seen} frames");
    ensure!(
        counted == seen,
        "{counted} of {seen} frames are counted: {text}"
    );
    let frames = count("target", "frames")?;
    ensure!(frames == handed, "{text}");
    let silent = [
        "not_ours",
        "runts",
        "not_aoe",
        "responses",
        "bad_version",
        "multicast_source",
        "no_lun",
        "wildcard_writes",
        "no_buffer",
        "config_silent",
    ];
    let served = [
        "configs",
        "identifies",
        "reads",
        "writes",
        "flushes",
        "ata_errors",
        "aoe_errors",
    ];
    let told = sum("target", &silent)? + sum("target", &served)?;
    ensure!(
        told >= frames,
        "{told} of {frames} frames have a reason: {text}"
    );
    Ok(())
}

/// Frames that the target's interface has received.
fn received(network: &PairNetwork) -> Result<u64> {
    let text = network.target.ip(&["-s", "link", "show", "eth1"])?;
    let mut lines = text
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("RX:"));
    let numbers = lines.nth(1).context("no RX line")?;
    let packets = numbers
        .split_whitespace()
        .nth(1)
        .context("no packet count")?;
    Ok(packets.parse()?)
}

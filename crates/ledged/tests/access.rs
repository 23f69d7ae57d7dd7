//! Who may use a LUN, through the daemon: mask lists, reservations and VLANs on the wire and on the console.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::{ConfigCommand, MacAddress, VlanId};
use ata::opcode;
use port::{Port, RequestedMode};
use std::time::{Duration, Instant};
use support::shelf::check_log;
use support::wire::{Ata, Wire};
use support::{E10, LIMIT, SILENCE, file_disks, memory_disks, with_lun};
use testbed::PairNetwork;
use testbed::network::CLIENT_INTERFACE;
use zerocopy::IntoBytes;

/// A host that is not on the network.
const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x77]);

/// A request of a command other than 0 and 1.
fn request(wire: &mut Wire, to: MacAddress, command: u8, argument: &[u8]) -> Vec<u8> {
    let mut frame = wire.config_frame(to, E10, ConfigCommand::Read, &[]);
    frame[19] = command;
    frame.truncate(aoe::HEADER_BYTES);
    frame.extend_from_slice(argument);
    frame
}

/// One sector read.
fn read(wire: &mut Wire, to: MacAddress) -> Vec<u8> {
    let ata = Ata {
        opcode: opcode::READ_EXT,
        lba: 0,
        count: 1,
    };
    wire.ata_frame(to, E10, ata, &[])
}

#[test]
fn rows_54_57_60_what_was_answered_holds_after_a_kill() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = with_lun(&network, file_disks("native"))?;
    let to = wire.discover(E10)?;
    let wire = &mut wire;

    let reserve = request(wire, to, 3, &[&[2, 1], OTHER.as_bytes()].concat());
    let answer = wire.ask(&reserve)?;
    ensure!(answer.0[14] == 0x18, "{}", answer.describe());
    ledge.kill()?;
    ledge.start_again()?;
    ensure!(wire.discover(E10)? == to, "another station");
    let frame = read(wire, to);
    let refused = wire.ask(&frame)?;
    ensure!(
        refused.header()?.error_code() == Some(6),
        "{}",
        refused.describe()
    );
    let listed = ledge.console_ok("reservations")?;
    ensure!(listed.contains("020000000077"), "{listed}");
    ledge.console_ok("reservations -cf 0")?;
    let frame = read(wire, to);
    wire.ask(&frame)?.ata_success()?;

    // The mask list lets only the other one in; the console lets everybody in again.
    let edit = [&[0, 1, 0, 1, 0, 1], OTHER.as_bytes()].concat();
    let edit = request(wire, to, 2, &edit);
    let answer = wire.ask(&edit)?;
    ensure!(answer.0[24..28] == [0, 1, 0, 1], "{}", answer.describe());
    ledge.kill()?;
    ledge.start_again()?;
    let frame = read(wire, to);
    ensure!(wire.ask_within(&frame, SILENCE)?.is_none(), "answered");
    let listed = ledge.console_ok("mask")?;
    ensure!(listed.contains("020000000077"), "{listed}");
    ledge.console_ok("mask clear 0")?;
    let frame = read(wire, to);
    wire.ask(&frame)?.ata_success()?;
    check_log(&ledge.log())
}

/// What comes within a time, if anything.
fn next(port: &mut dyn Port, limit: Duration) -> Option<Vec<u8>> {
    let deadline = Instant::now() + limit;
    let mut received = None;
    while received.is_none() && Instant::now() < deadline {
        port.receive(1, &mut |frame| {
            let mut bytes = vec![0; frame.len_bytes()];
            frame.copy_to(0, &mut bytes);
            received = Some(bytes);
        });
    }
    received
}

/// The initiator's end is an AF_XDP port, too: a packet socket would not see the tag.
#[test]
fn row_119_a_lun_of_a_vlan_on_the_wire() -> Result<()> {
    for mode in ["native", "generic", "packet"] {
        let network = PairNetwork::new(9000)?;
        let mut wire = Wire::open(&network)?;
        let ledge = with_lun(&network, memory_disks(mode))?;
        let to = wire.discover(E10)?;
        ledge.console_ok("setvlan 291 0")?;
        let untagged = read(&mut wire, to);
        ensure!(
            wire.ask_within(&untagged, SILENCE)?.is_none(),
            "{mode}: answered"
        );

        let open = || Ok(port::open(CLIENT_INTERFACE, RequestedMode::Generic)?.remove(0));
        let mut port = network.client.enter(open)?;
        while next(&mut *port, SILENCE).is_some() {}
        let tag = VlanId::new(291).context("a VLAN")?.tag();
        for opcode in [opcode::READ_EXT, opcode::IDENTIFY] {
            let ata = Ata {
                opcode,
                lba: 0,
                count: 16,
            };
            let mut frame = wire.ata_frame(to, E10, ata, &[]);
            frame.splice(12..12, tag);
            port.transmit(&frame, &[])?;
            port.flush();
            let answer = next(&mut *port, LIMIT).with_context(|| format!("{mode}: silence"))?;
            let bytes = if opcode == opcode::IDENTIFY {
                512
            } else {
                8192
            };
            ensure!(answer.len() == 40 + bytes, "{mode}: {} bytes", answer.len());
            ensure!(
                answer[12..16] == tag && answer[31] == 0x40,
                "{mode}: {:02x?}",
                &answer[..40]
            );
        }
        drop(port);
        ledge.console_ok("clrvlan 0")?;
        let untagged = read(&mut wire, to);
        wire.ask(&untagged)?.ata_success()?;
        check_log(&ledge.log())?;
    }
    Ok(())
}

//! The relay between two veth pairs, without a machine behind it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use aoe::{Header, MacAddress, Shelf, Slot, Tag};
use zerocopy::IntoBytes;

use super::*;
use crate::netns::{Namespace, VethEnd, veth_pair};

const LIMIT: Duration = Duration::from_secs(20);

/// Both stations, and the wire between them.
struct Rig {
    // Fields drop in order: the relay before the namespace of its interfaces.
    relay: Relay,
    client: RawSocket,
    target: RawSocket,
    namespaces: [Namespace; 3],
}

fn rig(faults: Faults) -> Result<Rig> {
    let namespaces = ["client", "wire", "target"].map(Namespace::new);
    let [client, wire, target] = namespaces;
    let namespaces = [client?, wire?, target?];
    let [client, wire, target] = &namespaces;
    for (station, far) in [(client, "near"), (target, "far")] {
        let end = VethEnd {
            namespace: station,
            interface: "eth0",
        };
        veth_pair(
            end,
            VethEnd {
                namespace: wire,
                interface: far,
            },
            9000,
        )?;
    }
    let addresses = ["52:54:00:00:00:01", "52:54:00:00:00:02"];
    client.set_address("eth0", addresses[0])?;
    wire.set_address("near", addresses[1])?;
    target.set_address("eth0", addresses[1])?;
    wire.set_address("far", addresses[0])?;
    let relay = Relay::start(wire, "far", "near", faults)?;
    let client = client.enter(|| open("eth0"))?;
    let target = target.enter(|| open("eth0"))?;
    Ok(Rig {
        relay,
        client,
        target,
        namespaces,
    })
}

fn frame(from: &RawSocket, to: &RawSocket, number: u32) -> Vec<u8> {
    let header = Header::request(to.mac(), from.mac(), Shelf(1), Slot(0), 0, Tag(number));
    let mut frame = header.as_bytes().to_vec();
    frame.resize(9000, 0);
    frame
}

fn tag(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[20..24].try_into().unwrap())
}

/// Numbers of the frames that arrive until `count` have come, or nothing comes for half a second.
fn numbers(socket: &mut RawSocket, count: usize) -> Result<Vec<u32>> {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    let (mut numbers, mut last) = (Vec::new(), Instant::now());
    while numbers.len() < count && last.elapsed() < Duration::from_millis(500) {
        match socket.receive(&mut buffer)? {
            Some(length) => {
                ensure!(length == 9000, "{length} bytes");
                numbers.push(tag(&buffer));
                last = Instant::now();
            }
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok(numbers)
}

fn send(from: &mut RawSocket, to: &RawSocket, numbers: std::ops::Range<u32>) -> Result<()> {
    for number in numbers {
        let frame = frame(from, to, number);
        while !sent(from.send(&frame))? {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

#[test]
fn a_wire_without_faults_carries_everything_in_order_both_ways() -> Result<()> {
    let mut rig = rig(Faults::NONE)?;
    let all: Vec<u32> = (0..500).collect();
    send(&mut rig.client, &rig.target, 0..500)?;
    ensure!(numbers(&mut rig.target, 501)? == all, "to the target");
    send(&mut rig.target, &rig.client, 0..500)?;
    ensure!(numbers(&mut rig.client, 501)? == all, "to the client");
    let whole = Tally {
        received: 500,
        forwarded: 500,
        ..Tally::default()
    };
    ensure!(rig.relay.tally(Direction::ToTarget) == whole);
    ensure!(rig.relay.tally(Direction::ToClient) == whole);
    rig.relay.stop()
}

#[test]
fn frames_are_lost_repeated_and_overtaken_as_counted() -> Result<()> {
    let mut rig = rig(Faults::one_in(20, 3))?;
    send(&mut rig.client, &rig.target, 0..2000)?;
    let arrived = numbers(&mut rig.target, usize::MAX)?;
    let tally = rig.relay.tally(Direction::ToTarget);
    ensure!(tally.received == 2000 && tally.unsendable == 0, "{tally:?}");
    for faults in [tally.dropped, tally.duplicated, tally.delayed] {
        ensure!((60..150).contains(&faults), "{tally:?}");
    }
    let expected = 2000 - tally.dropped + tally.duplicated;
    ensure!(
        arrived.len() as u64 == expected,
        "{} arrived, {tally:?}",
        arrived.len()
    );
    let overtaken = arrived.windows(2).filter(|pair| pair[1] < pair[0]).count();
    ensure!(overtaken > 0, "no frame was overtaken");
    let mut different = arrived;
    different.sort_unstable();
    different.dedup();
    ensure!(different.len() as u64 == 2000 - tally.dropped, "{tally:?}");
    Ok(())
}

#[test]
fn a_wire_swallows_everything_until_told_otherwise_and_outlives_a_link_that_is_down() -> Result<()>
{
    let mut rig = rig(Faults::NONE)?;
    rig.relay.swallow(true);
    send(&mut rig.client, &rig.target, 0..10)?;
    ensure!(numbers(&mut rig.target, 1)?.is_empty());
    rig.relay.swallow(false);
    send(&mut rig.client, &rig.target, 10..20)?;
    ensure!(numbers(&mut rig.target, 10)?.len() == 10);
    ensure!(rig.relay.tally(Direction::ToTarget).swallowed == 10);

    let [_, wire, target] = &rig.namespaces;
    target.set_link("eth0", false)?;
    send(&mut rig.client, &rig.target, 20..30)?;
    wire.set_link("far", false)?;
    send(&mut rig.client, &rig.target, 30..40)?;
    let deadline = Instant::now() + LIMIT;
    while rig.relay.tally(Direction::ToTarget).received < 40 {
        ensure!(
            Instant::now() < deadline,
            "{:?}",
            rig.relay.tally(Direction::ToTarget)
        );
        thread::sleep(Duration::from_millis(5));
    }
    ensure!(rig.relay.tally(Direction::ToTarget).unsendable >= 10);
    wire.set_link("far", true)?;
    target.set_link("eth0", true)?;
    // What was sent while the link was down is gone.
    numbers(&mut rig.target, usize::MAX)?;
    send(&mut rig.client, &rig.target, 40..50)?;
    ensure!(numbers(&mut rig.target, 10)? == (40..50).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn frames_for_other_stations_are_not_carried() -> Result<()> {
    let mut rig = rig(Faults::NONE)?;
    let mut other = frame(&rig.client, &rig.target, 1);
    other[..6].copy_from_slice(&MacAddress([2; 6]).0);
    ensure!(sent(rig.client.send(&other))?);
    send(&mut rig.client, &rig.target, 2..3)?;
    ensure!(numbers(&mut rig.target, 2)? == [2]);
    Ok(())
}

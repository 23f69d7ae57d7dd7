//! Several ports, several addresses of one, and as many commands at once as initiators may have under way.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::{AtaRegisters, ConfigCommand, Header, MacAddress, Shelf, Slot, Tag};
use ata::opcode;
use port::{Opening, Port, RequestedMode, TransmitError};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use support::shelf::{check_log, lost_nothing};
use support::wire::{Ata, Wire};
use support::{E10, LIMIT, MODES, SILENCE, file_disks, memory_disks, with_lun};
use testbed::netns::{VethEnd, veth_pair};
use testbed::network::CLIENT_INTERFACE;
use testbed::{Ledge, LedgeOptions, PairNetwork};
use zerocopy::IntoBytes;

/// The second port of the shelf, and what it is wired to.
const SECOND: &str = "eth2";
const SECOND_CLIENT: &str = "eth3";

fn two_ports() -> Result<PairNetwork> {
    let network = PairNetwork::new(9000)?;
    let end = |namespace, interface| VethEnd {
        namespace,
        interface,
    };
    let (ours, theirs) = (
        end(&network.target, SECOND),
        end(&network.client, SECOND_CLIENT),
    );
    veth_pair(ours, theirs, 9000)?;
    Ok(network)
}

fn on_both(options: LedgeOptions) -> LedgeOptions {
    let interfaces = ["eth1", SECOND].map(str::to_owned).into();
    LedgeOptions {
        interfaces,
        ..options
    }
}

/// The Sector Count that one port answers with.
fn sector_count(wire: &mut Wire) -> Result<u8> {
    let to = MacAddress::BROADCAST;
    let request = wire.config_frame(to, E10, ConfigCommand::Read, &[]);
    Ok(wire.ask(&request)?.config()?.0.sector_count)
}

/// Conformance rows 29 and 107.
#[test]
fn a_lun_is_one_on_all_ports() -> Result<()> {
    for mode in MODES {
        let network = two_ports()?;
        let ledge = with_lun(&network, on_both(memory_disks(mode)))?;
        let mut wires = [CLIENT_INTERFACE, SECOND_CLIENT].map(|interface| {
            Wire::open_on(&network, interface).unwrap_or_else(|e| panic!("{e:#}"))
        });
        let mut stations = Vec::new();
        for wire in &mut wires {
            ensure!(sector_count(wire)? == 16, "{mode}");
            stations.push(wire.discover(E10)?);
        }
        ensure!(stations[0] != stations[1], "{mode}: {stations:?}");
        for round in 0..50 {
            let (by, other) = (round % 2, 1 - round % 2);
            let data = vec![u8::try_from(round)?; 8192];
            wires[by].write(stations[by], E10, 32, &data)?;
            let read = wires[other].read(stations[other], E10, 32, 16)?;
            ensure!(read == data, "{mode}: old data after round {round}");
        }
        // The port with the smaller MTU counts for both.
        network.target.ip(&["link", "set", SECOND, "mtu", "1500"])?;
        network
            .client
            .ip(&["link", "set", SECOND_CLIENT, "mtu", "1500"])?;
        wait_for_count(&mut wires, 2).context(mode)?;
        network.target.ip(&["link", "set", SECOND, "mtu", "9000"])?;
        network
            .client
            .ip(&["link", "set", SECOND_CLIENT, "mtu", "9000"])?;
        wait_for_count(&mut wires, 16).context(mode)?;
        check_log(&ledge.log())?;
    }
    Ok(())
}

fn wait_for_count(wires: &mut [Wire; 2], count: u8) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut counts = [0; 2];
        for (wire, own) in wires.iter_mut().zip(&mut counts) {
            *own = sector_count(wire)?;
        }
        if counts == [count; 2] {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "Sector Counts {counts:?}, not {count}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A port that nobody reaches any more does not hold up the other one.
#[test]
fn a_lun_is_served_by_one_port_while_the_other_is_down() -> Result<()> {
    for mode in MODES {
        let network = two_ports()?;
        let ledge = with_lun(&network, on_both(file_disks(mode)))?;
        let mut first = Wire::open(&network)?;
        let mut second = Wire::open_on(&network, SECOND_CLIENT)?;
        let stations = [first.discover(E10)?, second.discover(E10)?];
        second.drain()?;
        network.target.set_link("eth1", false)?;
        // Hosts hear at once of the path that is left, and of the other one when it is back.
        advertised(&mut second).context(mode)?;
        wait_for_health(&ledge, "port eth1 has no link").context(mode)?;
        for round in 0..20u8 {
            let data = vec![round; 8192];
            second.write(stations[1], E10, 64, &data)?;
            ensure!(second.read(stations[1], E10, 64, 16)? == data, "{mode}");
        }
        first.drain()?;
        network.target.set_link("eth1", true)?;
        advertised(&mut first).context(mode)?;
        ensure!(first.discover(E10)? == stations[0], "{mode}");
        let read = first.read(stations[0], E10, 64, 16)?;
        ensure!(read == vec![19; 8192], "{mode}: not what was written last");
        check_log(&ledge.log())?;
    }
    Ok(())
}

/// Waits until the console tells of a problem: it hears of it after the initiators.
fn wait_for_health(ledge: &Ledge<'_>, problem: &str) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let health = ledge.console_ok("health")?;
        if health.contains(problem) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "health tells: {health}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for an answer that nobody asked for.
fn advertised(wire: &mut Wire) -> Result<()> {
    let frame = wire.receive(LIMIT)?.context("no advertisement")?;
    ensure!(frame.header()?.tag.get() == 0, "{}", frame.describe());
    Ok(())
}

#[test]
fn a_port_of_several_addresses_is_several_paths() -> Result<()> {
    for mode in MODES {
        let network = PairNetwork::new(9000)?;
        let mut wire = Wire::open(&network)?;
        let options = LedgeOptions {
            port_lines: "addresses = 3\n".to_owned(),
            ..memory_disks(mode)
        };
        let ledge = with_lun(&network, options)?;
        wire.drain()?;
        let request = wire.config_frame(MacAddress::BROADCAST, E10, ConfigCommand::Read, &[]);
        wire.send(&request)?;
        let mut stations = Vec::new();
        for answer in wire.drain()? {
            stations.push(answer.header()?.source);
        }
        ensure!(stations.len() == 3, "{mode}: {stations:?}");
        for (number, &station) in (1u8..).zip(&stations) {
            wire.write(station, E10, 0, &[number; 512])?;
            for &other in &stations {
                ensure!(wire.read(other, E10, 0, 1)? == [number; 512], "{mode}");
            }
            let identify = Ata {
                opcode: opcode::IDENTIFY,
                lba: 0,
                count: 1,
            };
            let identify = wire.ata_frame(station, E10, identify, &[]);
            ensure!(wire.ask(&identify)?.header()?.source == station, "{mode}");
        }
        // A station that was never given to it.
        let stranger = MacAddress([stations[0].0[0] ^ 0x20, 1, 2, 3, 4, 5]);
        let request = wire.config_frame(stranger, E10, ConfigCommand::Read, &[]);
        ensure!(wire.ask_within(&request, SILENCE)?.is_none(), "{mode}");
        check_log(&ledge.log())?;
    }
    Ok(())
}

/// Initiators with a full window each.
const INITIATORS: u8 = 16;
const WINDOW: usize = 64;

/// Commands of each.
const COMMANDS: usize = 10 * WINDOW;

/// Sixteen initiators on one interface, each with its own station address.
struct Hosts {
    port: Box<dyn Port>,
    stations: Vec<MacAddress>,
    to: MacAddress,
}

impl Hosts {
    /// A write of 8 KiB, of sectors that nobody else writes; the tag tells which.
    fn send(&mut self, host: usize, number: usize) -> Result<()> {
        let place = host * COMMANDS + number;
        let tag = Tag(u32::try_from(place)?);
        let header = Header::request(self.to, self.stations[host], Shelf(1), Slot(0), 0, tag);
        let lba = 16 * (u64::try_from(host * WINDOW + number % WINDOW)?);
        let registers = AtaRegisters::extended(opcode::WRITE_EXT, true, lba, 16);
        let head = [header.as_bytes(), registers.as_bytes()].concat();
        let data = [u8::try_from(place % 251)?; 8192];
        let deadline = Instant::now() + LIMIT;
        while self.port.transmit(&head, &data) == Err(TransmitError::Full) {
            self.port.flush();
            ensure!(Instant::now() < deadline, "the port takes nothing");
        }
        Ok(())
    }

    fn answers(&mut self) -> VecDeque<(MacAddress, usize, u8)> {
        self.port.flush();
        let mut answers = VecDeque::new();
        self.port.receive(256, &mut |frame| {
            let head = frame.first;
            if head.len() >= 28 && head[14] == 0x18 && head[19] == 0 {
                let tag = u32::from_be_bytes([head[20], head[21], head[22], head[23]]);
                let to = MacAddress([head[0], head[1], head[2], head[3], head[4], head[5]]);
                answers.push_back((to, tag as usize, head[27]));
            }
        });
        answers
    }
}

/// Nothing is lost of what 16 initiators have under way within their windows, although nothing is ever sent
/// again: each command is answered.
#[test]
fn row_111_sixteen_full_windows_of_writes_lose_nothing() -> Result<()> {
    for mode in ["generic", "packet"] {
        let network = PairNetwork::new(9000)?;
        let options = LedgeOptions {
            disk_bytes: 64 << 20,
            ..memory_disks(mode)
        };
        let ledge = with_lun(&network, options)?;
        let to = Wire::open(&network)?.discover(E10)?;
        let open = || {
            let opening = Opening {
                mode: RequestedMode::Packet,
                addresses: INITIATORS,
                ..Opening::default()
            };
            let mut ports = port::open_as(CLIENT_INTERFACE, &opening)?;
            Ok(ports.remove(0))
        };
        let port = network.client.enter(open)?;
        let stations = port.facts().stations.iter().collect();
        let mut hosts = Hosts { port, stations, to };
        run(&mut hosts)
            .with_context(|| format!("{mode}: {:?}", ledge.console_ok("aoestats -a")))?;
        lost_nothing(&ledge).context(mode)?;
        check_log(&ledge.log())?;
    }
    Ok(())
}

fn run(hosts: &mut Hosts) -> Result<()> {
    let mut sent = [WINDOW; INITIATORS as usize];
    for number in 0..WINDOW {
        for host in 0..sent.len() {
            hosts.send(host, number)?;
        }
    }
    let all = COMMANDS * sent.len();
    let mut answered = vec![false; all];
    let mut count = 0;
    let mut deadline = Instant::now() + LIMIT;
    while count < all {
        ensure!(
            Instant::now() < deadline,
            "{count} of {all} commands were answered"
        );
        for (station, place, status) in hosts.answers() {
            let host = place / COMMANDS;
            ensure!(
                hosts.stations.get(host) == Some(&station),
                "another's answer"
            );
            ensure!(status == 0x40, "status {status:#x}");
            ensure!(
                !std::mem::replace(&mut answered[place], true),
                "answered twice"
            );
            count += 1;
            deadline = Instant::now() + LIMIT;
            if sent[host] < COMMANDS {
                hosts.send(host, sent[host])?;
                sent[host] += 1;
            }
        }
    }
    Ok(())
}

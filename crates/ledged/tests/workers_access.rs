//! Two and four workers answer as one does, whichever of them a frame comes to: wildcard addresses, config
//! strings, mask lists, reservations without and with keys. And a reservation that was answered holds for all
//! of them, also while they write for those that it shuts out.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::ata::COMMAND_ATA;
use aoe::keyed::COMMAND_KEYED;
use aoe::mask::COMMAND_MASK;
use aoe::reserve::COMMAND_RESERVE;
use aoe::{ConfigCommand, MacAddress};
use ata::opcode;
use std::ops::Range;
use std::time::{Duration, Instant};
use support::mix::wire;
use support::shelf::check_log;
use support::wire::{Ata, Frame, Wire};
use support::{ANY, LIMIT, SILENCE, memory_disks};
use testbed::{Ledge, LedgeOptions, PairNetwork};
use zerocopy::IntoBytes;

/// A host that is not on the network.
const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x77]);

/// What stands for a station that has another address in each run, but for its last byte.
const STATION: [u8; 5] = [0xee; 5];

/// An answer with the data of IDENTIFY, behind the addresses, and what each LUN has of its own in it: serial
/// number, world wide name, checksum.
const IDENTIFY_BYTES: usize = 24 + 512;
const IDENTITY: [Range<usize>; 3] = [24 + 20..24 + 40, 24 + 216..24 + 224, 24 + 511..24 + 512];

/// Sectors of a group: the next one is of another owner.
const GROUP: u64 = shelf::shard::GROUP_SECTORS;

/// Two LUNs with homes of their own, and a host on each of two ports, which are of two workers.
struct Rig<'a> {
    ledge: Ledge<'a>,
    wires: Vec<Wire>,
    /// The shelf's station of each port.
    to: Vec<MacAddress>,
}

/// So many workers on both ports.
fn rig(network: &PairNetwork, workers: u16) -> Result<Rig<'_>> {
    let (interfaces, theirs) = wire(network, 2, 1)?;
    let options = LedgeOptions {
        workers,
        interfaces,
        disks: 8,
        disk_bytes: 12 << 20,
        cec: false,
        ..memory_disks("native")
    };
    let ledge = Ledge::start(&network.target, options)?;
    for command in ["make 0 raid10 1.0-3", "make 1 raid10 1.4-7"] {
        ledge.console_ok(command)?;
    }
    ledge.console_ok("online 0")?;
    ledge.console_ok("online 1")?;
    let mut wires = Vec::new();
    let mut to = Vec::new();
    for interface in &theirs {
        let mut wire = Wire::open_on(network, interface)?;
        to.push(wire.discover((1, 0))?);
        wire.drain()?;
        wires.push(wire);
    }
    Ok(Rig { ledge, wires, to })
}

impl Rig<'_> {
    /// A request by a port of a command that has neither registers nor a string.
    fn request(&mut self, port: usize, at: (u16, u8), command: u8, argument: &[u8]) -> Vec<u8> {
        let header = self.wires[port].header(self.to[port], at, command);
        [header.as_bytes(), argument].concat()
    }

    fn ata(&mut self, port: usize, at: (u16, u8), opcode: u8, payload: &[u8]) -> Vec<u8> {
        let ata = Ata {
            opcode,
            lba: 0,
            count: 1,
        };
        self.wires[port].ata_frame(self.to[port], at, ata, payload)
    }

    /// Asks until there is an answer: one that would have to wait is not given.
    fn ask(&mut self, port: usize, at: (u16, u8), command: u8, argument: &[u8]) -> Result<Frame> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            let request = self.request(port, at, command, argument);
            let answer = self.wires[port].ask_within(&request, Duration::from_millis(300))?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        anyhow::bail!("no answer to command {command} {argument:02x?}")
    }

    /// What is the same in all runs of an answer.
    fn normal(&self, frame: &Frame) -> Vec<u8> {
        let mut bytes = frame.0[12..].to_vec();
        // The tag.
        bytes[8..12].fill(0);
        if bytes.len() == IDENTIFY_BYTES {
            for own in IDENTITY {
                bytes[own].fill(0);
            }
        }
        for (number, wire) in (0..).zip(&self.wires) {
            let mac = wire.mac().0;
            for at in 0..bytes.len().saturating_sub(mac.len() - 1) {
                if bytes[at..].starts_with(&mac) {
                    bytes[at..at + STATION.len()].copy_from_slice(&STATION);
                    bytes[at + STATION.len()] = number;
                }
            }
        }
        bytes
    }
}

/// What was asked, and the answers.
type Told = Vec<(String, Vec<Vec<u8>>)>;

/// Everything that may be asked of all LUNs, of one, and of none, without changing anything. Each question
/// with its answers in any order.
fn ask_wide(rig: &mut Rig<'_>, port: usize) -> Result<Told> {
    let places = [
        ANY,
        (1, 0xff),
        (0xffff, 0),
        (0xffff, 1),
        (1, 0),
        (1, 1),
        (1, 9),
        (2, 0xff),
    ];
    let mut told: Told = Vec::new();
    let mut tags = Vec::new();
    for at in places {
        let read = ConfigCommand::Read;
        let mut requests = vec![rig.wires[port].config_frame(rig.to[port], at, read, &[])];
        for string in ["", "no such string"] {
            let command = ConfigCommand::TestPrefix;
            let to = rig.to[port];
            let frame = rig.wires[port].config_frame(to, at, command, string.as_bytes());
            requests.push(frame);
        }
        for (command, argument) in [
            (COMMAND_MASK, &[0; 4][..]),
            (COMMAND_RESERVE, &[0, 0]),
            (COMMAND_KEYED, &[0]),
        ] {
            requests.push(rig.request(port, at, command, argument));
        }
        // Of a wildcard address none of these may be done.
        for opcode in [opcode::READ_EXT, opcode::IDENTIFY, opcode::FLUSH_EXT] {
            requests.push(rig.ata(port, at, opcode, &[]));
        }
        if at.0 == 0xffff || at.1 == 0xff {
            requests.push(rig.ata(port, at, opcode::WRITE_EXT, &[0xa5; 512]));
        }
        for request in requests {
            let what = format!("{at:?} {:02x?}", &request[14..20]);
            tags.push(Frame(request.clone()).header()?.tag);
            told.push((format!("{what} {:02x?}", &request[24..]), Vec::new()));
            rig.wires[port].send(&request)?;
        }
    }
    for answer in rig.wires[port].drain()? {
        let tag = answer.header()?.tag;
        if let Some(place) = tags.iter().position(|other| *other == tag) {
            let bytes = rig.normal(&answer);
            told[place].1.push(bytes);
        }
    }
    for (_, answers) in &mut told {
        answers.sort();
    }
    Ok(told)
}

/// Commands that change who may use a LUN, by both hosts in turn, each with what each may do then.
fn change_rights(rig: &mut Rig<'_>, lun: u8) -> Result<Told> {
    let key = |number: u8| [0, 0, 0, 0, 0, 0, 0, number];
    let [first, second] = [0, 1].map(|host: usize| rig.wires[host].mac().0);
    let keyed = |fixed: [u8; 4], number: u8, rest: &[u8]| [&fixed[..], &key(number), rest].concat();
    let steps: Vec<(usize, u8, Vec<u8>)> = vec![
        (0, COMMAND_RESERVE, [&[1, 1][..], &first].concat()),
        (1, COMMAND_RESERVE, [&[1, 1][..], &second].concat()),
        (1, COMMAND_RESERVE, vec![1, 0]),
        (1, COMMAND_RESERVE, [&[2, 1][..], &second].concat()),
        (0, COMMAND_RESERVE, vec![1, 0]),
        (
            1,
            COMMAND_RESERVE,
            [&[1, 2][..], &second, &OTHER.0].concat(),
        ),
        (1, COMMAND_RESERVE, vec![1, 0]),
        (0, COMMAND_KEYED, keyed([1, 1, 0, 0], 5, &first)),
        (1, COMMAND_KEYED, keyed([1, 1, 0, 0], 6, &second)),
        (0, COMMAND_KEYED, keyed([2, 0, 0, 0], 5, &[])),
        (1, COMMAND_KEYED, keyed([2, 1, 0, 0], 6, &[])),
        (0, COMMAND_KEYED, keyed([2, 1, 0, 0], 5, &[])),
        (0, COMMAND_KEYED, keyed([2, 3, 0, 0], 5, &[])),
        (1, COMMAND_KEYED, keyed([3, 0, 0, 0], 5, &key(6))),
        (1, COMMAND_KEYED, keyed([3, 0, 1, 0], 6, &key(7))),
        (1, COMMAND_KEYED, keyed([2, 0, 0, 0], 0, &[])),
        (0, COMMAND_KEYED, vec![4]),
    ];
    let mut told = Vec::new();
    for (number, (host, command, argument)) in steps.into_iter().enumerate() {
        let answer = rig.ask(host, (1, lun), command, &argument)?;
        let mut answers = vec![rig.normal(&answer)];
        for port in [0, 1] {
            for (status, argument) in [(COMMAND_RESERVE, vec![0, 0]), (COMMAND_KEYED, vec![0])] {
                let answer = rig.ask(port, (1, lun), status, &argument)?;
                answers.push(rig.normal(&answer));
            }
            let requests = [
                rig.ata(port, (1, lun), opcode::READ_EXT, &[]),
                rig.ata(port, (1, lun), opcode::WRITE_EXT, &[port as u8; 512]),
                rig.ata(port, (1, lun), opcode::FLUSH_EXT, &[]),
            ];
            for request in requests {
                let answer = rig.wires[port].ask(&request)?;
                answers.push(rig.normal(&answer));
            }
        }
        told.push((format!("step {number}: {command} {argument:02x?}"), answers));
    }
    Ok(told)
}

/// Everything, and what the LUNs hold in the end.
fn run(workers: u16) -> Result<Told> {
    let network = PairNetwork::new(9000)?;
    let mut rig = rig(&network, workers)?;
    let mut told = Vec::new();
    for port in [0, 1] {
        told.extend(ask_wide(&mut rig, port)?);
    }
    for lun in [0, 1] {
        for port in [0, 1] {
            let to = rig.to[port];
            let read = rig.wires[port].read(to, (1, lun), 0, 16)?;
            ensure!(read.iter().all(|byte| *byte == 0), "a wildcard write");
        }
    }
    for lun in [0, 1] {
        told.extend(change_rights(&mut rig, lun)?);
    }
    // Wildcard config commands that change something, as whoever answers them does.
    for (at, command, string) in [
        ((1, 0xff), ConfigCommand::SetIfEmpty, "one"),
        (ANY, ConfigCommand::ForceSet, "two"),
        ((1, 0), ConfigCommand::SetIfEmpty, "three"),
        ((1, 1), ConfigCommand::ForceSet, "four"),
    ] {
        let to = rig.to[0];
        let request = rig.wires[0].config_frame(to, at, command, string.as_bytes());
        rig.wires[0].send(&request)?;
        let answers = rig.wires[0].drain()?;
        let mut answers: Vec<_> = answers.iter().map(|frame| rig.normal(frame)).collect();
        answers.sort();
        told.push((format!("{command:?} {at:?}"), answers));
        told.extend(ask_wide(&mut rig, 1)?);
    }
    check_log(&rig.ledge.log())?;
    Ok(told)
}

#[test]
fn several_workers_answer_as_one_does() -> Result<()> {
    let expected = run(1)?;
    // The questions are real ones: both LUNs answer to all, and nobody to another shelf.
    let answers = |what: &str| {
        let own = expected.iter().find(|(asked, _)| asked.starts_with(what));
        own.map(|(_, answers)| answers.len())
    };
    ensure!(answers("(65535, 255)") == Some(2), "{:?}", expected[0]);
    ensure!(answers("(2, 255)") == Some(0), "another shelf");
    for workers in [2, 4] {
        let told = run(workers).with_context(|| format!("{workers} workers"))?;
        ensure!(told.len() == expected.len(), "{workers} workers");
        for (own, other) in told.iter().zip(&expected) {
            let both = own.1.iter().zip(&other.1).enumerate();
            for (number, (own, expected)) in both {
                ensure!(
                    own == expected,
                    "{workers} workers: {}, answer {number}:\n{own:02x?}\nand not\n{expected:02x?}",
                    other.0
                );
            }
            let counts = (own.1.len(), other.1.len());
            ensure!(
                counts.0 == counts.1,
                "{workers} workers: {}: {counts:?} answers",
                other.0
            );
        }
    }
    Ok(())
}

/// Writes of the one who is shut out before the reservation is asked for and after it is answered; meanwhile
/// it goes on. As many places are written.
const WRITES: u64 = 24;
/// Rounds in which the hosts change their parts.
const ROUNDS: usize = 12;

/// The sectors of a write: every other one crosses from a group to the next.
const fn place(number: u64) -> u64 {
    let group = 1 + number / 2 % 6;
    if number.is_multiple_of(2) {
        group * GROUP - 8
    } else {
        group * GROUP + 16 * (1 + number / 12)
    }
}

/// Writes of a host that waits for no answer, and how many were done and refused.
struct Flood {
    port: usize,
    sent: u64,
    counts: [usize; 2],
}

impl Flood {
    fn send(&mut self, rig: &mut Rig<'_>, writes: u64) -> Result<()> {
        for _ in 0..writes {
            self.sent += 1;
            let ata = Ata {
                opcode: opcode::WRITE_EXT,
                lba: place(self.sent % WRITES),
                count: 16,
            };
            let mut data = [1; 8192];
            data[..8].copy_from_slice(&self.sent.to_le_bytes());
            let to = rig.to[self.port];
            let frame = rig.wires[self.port].ata_frame(to, (1, 0), ata, &data);
            rig.wires[self.port].send(&frame)?;
        }
        Ok(())
    }

    /// Counts the answers that come within a time.
    fn hear(&mut self, rig: &mut Rig<'_>, limit: Duration) -> Result<()> {
        while let Some(answer) = rig.wires[self.port].receive(limit)? {
            match answer.header()?.error_code() {
                _ if answer.header()?.command != COMMAND_ATA => {}
                None => self.counts[0] += 1,
                Some(6) => self.counts[1] += 1,
                Some(code) => anyhow::bail!("error {code}: {}", answer.describe()),
            }
        }
        Ok(())
    }
}

/// One host writes, the other one shuts it out meanwhile and then writes the same sectors; how many writes of
/// the first were done, and how many refused.
fn shut_out(rig: &mut Rig<'_>, owner: usize, is_keyed: bool) -> Result<[usize; 2]> {
    let other = 1 - owner;
    let own = rig.wires[owner].mac().0;
    let key = [0, 0, 0, 0, 0, 0, 0, 9];
    if is_keyed {
        let register = [&[1, 1, 0, 0][..], &key, &own].concat();
        rig.ask(owner, (1, 0), COMMAND_KEYED, &register)?;
    }
    let (command, reserve, release) = if is_keyed {
        let of = |key: [u8; 8]| [&[2, 0, 0, 0][..], &key].concat();
        (COMMAND_KEYED, of(key), vec![4])
    } else {
        (COMMAND_RESERVE, [&[1, 1][..], &own].concat(), vec![1, 0])
    };
    let mut flood = Flood {
        port: other,
        sent: 0,
        counts: [0; 2],
    };
    flood.send(rig, WRITES)?;
    let deadline = Instant::now() + LIMIT;
    let mut answer = None;
    while answer.is_none() {
        // It asks again, as hosts do, while the other one goes on.
        let request = rig.request(owner, (1, 0), command, &reserve);
        rig.wires[owner].send(&request)?;
        let again = Instant::now() + Duration::from_millis(300);
        while answer.is_none() && Instant::now() < again {
            flood.send(rig, 4)?;
            flood.hear(rig, Duration::ZERO)?;
            answer = rig.wires[owner].receive(Duration::ZERO)?;
        }
        ensure!(Instant::now() < deadline, "it is not reserved");
    }
    flood.send(rig, WRITES)?;
    let answer = answer.context("it is answered")?;
    let code = answer.header()?.error_code();
    ensure!(code.is_none(), "{}", answer.describe());
    let to = rig.to[owner];
    for number in 0..WRITES {
        rig.wires[owner].write(to, (1, 0), place(number), &[0xcc; 8192])?;
    }
    flood.hear(rig, SILENCE)?;
    for number in 0..WRITES {
        let read = rig.wires[owner].read(to, (1, 0), place(number), 16)?;
        ensure!(
            read == [0xcc; 8192],
            "a write of who was shut out came after the reservation: {:02x?} at {}",
            &read[..16],
            place(number)
        );
    }
    for opcode in [opcode::READ_EXT, opcode::WRITE_EXT] {
        let payload: &[u8] = if opcode == opcode::READ_EXT {
            &[]
        } else {
            &[1; 512]
        };
        let request = rig.ata(other, (1, 0), opcode, payload);
        let answer = rig.wires[other].ask(&request)?;
        ensure!(
            answer.header()?.error_code() == Some(6),
            "{}",
            answer.describe()
        );
    }
    rig.ask(owner, (1, 0), command, &release)?;
    Ok(flood.counts)
}

#[test]
fn a_reservation_holds_for_all_workers_once_it_is_answered() -> Result<()> {
    for workers in [1, 2, 4] {
        let network = PairNetwork::new(9000)?;
        let mut rig = rig(&network, workers)?;
        let mut counts = [0; 2];
        for round in 0..ROUNDS {
            let own = shut_out(&mut rig, round % 2, round % 4 < 2)
                .with_context(|| format!("{workers} workers, round {round}"))?;
            counts[0] += own[0];
            counts[1] += own[1];
        }
        ensure!(
            counts[0] > 0 && counts[1] > 0,
            "{workers} workers: {counts:?} done and refused"
        );
        check_log(&rig.ledge.log())?;
    }
    Ok(())
}

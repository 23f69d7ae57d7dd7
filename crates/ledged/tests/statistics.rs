//! What the console tells of a shelf that two hosts use, and of what they do wrong: each event with the right
//! LUN, port and initiator, and every frame in one counter of each layer.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::{ConfigCommand, MacAddress, SECTOR_BYTES};
use ata::opcode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};
use support::shelf::check_log;
use support::wire::{Ata, Wire};
use support::{E10, LIMIT, MODES, memory_disks, with_lun};
use testbed::network::TARGET_INTERFACE;
use testbed::pty::Pty;
use testbed::{Ledge, PairNetwork, paths};
use zerocopy::IntoBytes;

/// The other host: its frames are sent by the same socket.
const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x77]);

/// Reads after which what may have been sent again is judged.
const JUDGED: u64 = 128;

/// The rows of a command in JSON.
fn rows(ledge: &Ledge, command: &str) -> Result<Vec<Value>> {
    let text = ledge.console_ok(command)?;
    let document: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let data = document["data"].as_array().context("no data")?;
    Ok(data.clone())
}

/// The row whose field has a value.
fn row(ledge: &Ledge, command: &str, field: &str, value: &str) -> Result<Value> {
    let rows = rows(ledge, command)?;
    let found = rows.iter().find(|row| row[field] == value);
    found
        .cloned()
        .with_context(|| format!("{command}: no {field} {value} in {rows:?}"))
}

/// A counter of a LUN.
fn of_lun(ledge: &Ledge, lun: u8, name: &str) -> Result<u64> {
    let rows = rows(ledge, "aoestats -a -j")?;
    let found = rows
        .iter()
        .find(|row| row["lun"] == lun && row["name"] == name);
    let found = found.with_context(|| format!("LUN {lun} has no {name}"))?;
    found["value"].as_u64().context("no number")
}

/// A counter of an initiator.
fn of_initiator(ledge: &Ledge, mac: MacAddress, name: &str) -> Result<u64> {
    let row = row(ledge, "initiators -j", "mac", &mac.to_string())?;
    let value = row["counters"].get(name).unwrap_or(&row[name]);
    value
        .as_u64()
        .with_context(|| format!("no {name} in {row}"))
}

/// A counter of a layer of the port.
fn of_port(ledge: &Ledge, layer: &str, name: &str) -> Result<u64> {
    let row = row(ledge, "ifstat -a -j", "name", TARGET_INTERFACE)?;
    let value = row["counters"][layer][name].as_u64();
    value.with_context(|| format!("no {layer} {name} in {row}"))
}

/// Sends frames so that the shelf finds them all at once.
fn send_together(wire: &Wire, ledge: &mut Ledge, frames: &[Vec<u8>]) -> Result<()> {
    let id = ledge.daemon().context("no daemon")?.id();
    let pid = Pid::from_raw(i32::try_from(id)?).context("no process")?;
    kill_process(pid, Signal::STOP)?;
    let sent = frames.iter().try_for_each(|frame| wire.send(frame));
    kill_process(pid, Signal::CONT)?;
    sent
}

/// The frame, as if the other host had sent it.
fn from_other(mut frame: Vec<u8>) -> Vec<u8> {
    frame[6..12].copy_from_slice(&OTHER.0);
    frame
}

const fn ata(opcode: u8, lba: u64, count: u8) -> Ata {
    Ata { opcode, lba, count }
}

/// LUN 0 is for all, LUN 1 answers us only, LUN 2 is reserved for us.
fn three_luns<'a>(network: &'a PairNetwork, wire: &mut Wire, mode: &str) -> Result<Ledge<'a>> {
    let ledge = with_lun(network, memory_disks(mode))?;
    for line in ["make 1 jbod 1.2", "make 2 jbod 1.3"] {
        ledge.console_ok(line)?;
    }
    ledge.console_ok(&format!("mask 1 +{}", wire.mac()))?;
    ledge.console_ok("online 1 2")?;
    let to = wire.discover((1, 2))?;
    let mut frame = wire.config_frame(to, (1, 2), ConfigCommand::Read, &[]);
    frame[19] = 3;
    frame.truncate(aoe::HEADER_BYTES);
    frame.extend_from_slice(&[&[1, 1], wire.mac().as_bytes()].concat());
    let answer = wire.ask(&frame)?;
    ensure!(answer.0[14] == 0x18, "{}", answer.describe());
    Ok(ledge)
}

/// The same write twice while it is in flight, and another over it.
fn duplicate_and_overlap(wire: &mut Wire, ledge: &mut Ledge, to: MacAddress) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    // A shelf that was stopped for longer than a second drops what waits: then once more.
    while of_lun(ledge, 0, "duplicates")? == 0 || of_lun(ledge, 0, "overlaps")? < 2 {
        ensure!(
            Instant::now() < deadline,
            "no write came while it was in flight"
        );
        let mut write = |fill: u8| {
            wire.ata_frame(
                to,
                E10,
                ata(opcode::WRITE_EXT, 64, 8),
                &[fill; 8 * SECTOR_BYTES],
            )
        };
        let (first, again, over) = (write(1), write(1), write(2));
        send_together(wire, ledge, &[first, again, over])?;
        wire.drain()?;
    }
    Ok(())
}

/// What the other host does wrong.
fn offend(wire: &mut Wire, to: MacAddress) -> Result<()> {
    for address in [(1, 1), (1, 2)] {
        let frame = wire.ata_frame(to, address, ata(opcode::READ_EXT, 0, 1), &[]);
        wire.send(&from_other(frame))?;
    }
    let mut runt = wire.ata_frame(to, E10, ata(opcode::READ_EXT, 0, 1), &[]);
    runt.truncate(30);
    wire.send(&from_other(runt))?;
    let mut new = wire.ata_frame(to, E10, ata(opcode::READ_EXT, 0, 1), &[]);
    new[14] = 0x20;
    wire.send(&from_other(new))
}

#[test]
fn each_event_is_told_of_its_lun_its_port_and_its_initiator() -> Result<()> {
    for mode in MODES {
        let network = PairNetwork::new(9000)?;
        let mut wire = Wire::open(&network)?;
        let mut ledge = three_luns(&network, &mut wire, mode)?;
        let (me, to) = (wire.mac(), wire.discover(E10)?);
        duplicate_and_overlap(&mut wire, &mut ledge, to)?;
        offend(&mut wire, to)?;
        // The same tag again; and a read whose answer was lost, among others.
        let resent = of_lun(&ledge, 0, "retransmissions")?;
        let frame = wire.ata_frame(to, E10, ata(opcode::READ_EXT, 8, 8), &[]);
        for _ in 0..2 {
            wire.ask(&frame)?.ata_success()?;
        }
        for lba in 0..2 * JUDGED {
            wire.read(to, E10, 1000 + lba, 1)?;
            if lba == 50 {
                wire.read(to, E10, 1010, 1)?;
            }
        }
        for (lun, name, count) in [
            (1, "masked", 1),
            (2, "reserved", 1),
            (2, "access_requests", 1),
            (0, "retransmissions", resent + 2),
        ] {
            ensure!(
                of_lun(&ledge, lun, name)? == count,
                "{mode}: LUN {lun}: {name}"
            );
        }
        for (mac, name, count) in [
            (OTHER, "masked", 1),
            (OTHER, "reserved", 1),
            (OTHER, "runts", 1),
            (OTHER, "bad_version", 1),
            (OTHER, "duplicates", 0),
            (me, "masked", 0),
            (me, "runts", 0),
            (me, "duplicates", of_lun(&ledge, 0, "duplicates")?),
            (me, "overlaps", of_lun(&ledge, 0, "overlaps")?),
            (me, "retransmissions", resent + 2),
        ] {
            let told = of_initiator(&ledge, mac, name)?;
            ensure!(told == count, "{mode}: {mac}: {name} {told}, not {count}");
        }
        let other = row(&ledge, "initiators -j 1", "mac", &OTHER.to_string())?;
        ensure!(other["port"] == TARGET_INTERFACE && other["luns"] == serde_json::json!([1, 2]));
        for (layer, name) in [
            ("shelf", "runts"),
            ("shelf", "bad_version"),
            ("requests", "masked"),
        ] {
            ensure!(of_port(&ledge, layer, name)? == 1, "{mode}: {layer} {name}");
        }
        check_sums(&ledge).with_context(|| mode.to_owned())?;
        check_log(&ledge.log())?;
    }
    Ok(())
}

/// Every frame that the ring handed over is in one counter of the shelf, every request in one of its kind,
/// and LUNs and initiators come to the same as the port.
fn check_sums(ledge: &Ledge) -> Result<()> {
    let port = row(ledge, "ifstat -a -j", "name", TARGET_INTERFACE)?;
    let counters = &port["counters"];
    let frames = counters["shelf"].as_object().context("no shelf")?;
    let of = |name: &str| frames[name].as_u64().unwrap_or(u64::MAX);
    let reasons: u64 = frames
        .iter()
        .filter(|(name, _)| *name != "frames")
        .filter_map(|(_, count)| count.as_u64())
        .sum();
    ensure!(of("frames") == reasons, "{frames:?}");
    let totals = rows(ledge, "aoestats -a -j")?;
    let total = |name: &str| {
        let mut rows = totals.iter();
        let row = rows.find(|row| row["group"] == "target" && row["name"] == name);
        row.and_then(|row| row["value"].as_u64())
            .context("no total")
    };
    ensure!(of("frames") == total("frames")?);
    let handed = counters["ring"]["rx_frames"].as_u64().context("no ring")?;
    ensure!(
        handed == of("frames") + total("stale_frames")?,
        "{counters}"
    );
    ensure!(
        counters["nic"]["rx_packets"].as_u64().is_some(),
        "{counters}"
    );
    ensure!(port["link"]["up"] == true, "{port}");
    ensure!(
        port["link"]["speed_mbps"] == 10_000,
        "a veth pair says so: {port}"
    );
    let initiators = rows(ledge, "initiators -j")?;
    for (name, count) in counters["requests"].as_object().context("no requests")? {
        let count = count.as_u64().unwrap_or(u64::MAX);
        let of_luns = (0..3)
            .map(|lun| of_lun(ledge, lun, name))
            .sum::<Result<u64>>()?;
        let hosts = initiators
            .iter()
            .filter_map(|row| row["counters"][name].as_u64());
        let of_hosts: u64 = hosts.sum();
        ensure!(
            (of_luns, of_hosts) == (count, count),
            "{name}: {count} {of_luns} {of_hosts}"
        );
    }
    Ok(())
}

/// `ledge offline 0` at a keyboard.
fn go_offline(ledge: &Ledge) -> Result<Pty> {
    let mut command = Command::new(paths::binary("ledge")?);
    command
        .arg("--socket")
        .arg(ledge.control_socket())
        .args(["offline", "0"]);
    Pty::start(command)
}

/// Who takes a LUN away from a host is asked, with its name; not when it only looked who is there.
#[test]
fn offline_asks_when_a_host_uses_the_lun() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = with_lun(&network, memory_disks("packet"))?;
    let to = wire.discover(E10)?;
    let mut user = go_offline(&ledge)?;
    ensure!(user.exit_code()? == Some(0), "{}", user.heard());
    ledge.console_ok("online 0")?;

    wire.read(to, E10, 0, 8)?;
    for (answer, word) in [("n", "online"), ("y", "offline")] {
        let mut user = go_offline(&ledge)?;
        user.expect(&format!("in use by {} ({TARGET_INTERFACE}, ", wire.mac()))?;
        user.expect("[n]: ")?;
        user.type_text(&format!("{answer}\r"))?;
        let is_done = user.exit_code()? == Some(0);
        ensure!(is_done == (answer == "y"), "{}", user.heard());
        let listed = ledge.console_ok("list 0")?;
        ensure!(listed.trim_end().ends_with(word), "{answer}: {listed}");
    }
    ledge.console_ok("online 0")?;
    wire.read(to, E10, 0, 8)?;
    // A script has no keyboard.
    ledge.console_ok("offline 0")?;
    check_log(&ledge.log())?;
    ledge.stop()
}

#[test]
fn iostats_tells_the_rates_of_luns_and_their_members() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let ledge = with_lun(&network, memory_disks("native"))?;
    let to = wire.discover(E10)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        for lba in 0..200 {
            wire.read(to, E10, 8 * lba, 8)?;
        }
        wire.write(to, E10, 0, &[7; 8 * SECTOR_BYTES])?;
        let rows = rows(&ledge, "iostats -l -s 32 -j 0")?;
        let [lun, first, second] = &rows[..] else {
            anyhow::bail!("{rows:?}");
        };
        let busy = |row: &Value, kind: &str| row[kind]["bytes_per_s"].as_u64() > Some(0);
        let all_busy = busy(lun, "read")
            && busy(lun, "write")
            && busy(second, "write")
            && (busy(first, "read") || busy(second, "read"));
        if all_busy {
            ensure!(lun["read"]["max_us"].as_u64() >= lun["read"]["mean_us"].as_u64());
            ensure!(lun["read_latency"]["count"].as_u64() >= Some(200), "{lun}");
            let octaves = lun["read_latency"]["histogram"].as_array();
            let octaves = octaves.context("no histogram")?.iter();
            let counted: u64 = octaves.filter_map(|octave| octave["count"].as_u64()).sum();
            ensure!(lun["read_latency"]["count"] == counted, "{lun}");
            ensure!(
                second["member"] == 1 && second["drive"] == "1.1",
                "{second}"
            );
            break;
        }
        ensure!(Instant::now() < deadline, "{rows:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    ledge.console_ok("iostats -d")?;
    check_log(&ledge.log())
}

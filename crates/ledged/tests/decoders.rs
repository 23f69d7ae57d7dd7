//! What other people's decoders make of every kind of frame that the daemon puts on a wire: tshark and
//! tcpdump, which know the protocol from its documents, and nmap's discovery script.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::ata::COMMAND_ATA;
use aoe::keyed::COMMAND_KEYED;
use aoe::mask::{COMMAND_MASK, COMMAND_MASK_VENDOR};
use aoe::request::COMMAND_REDIRECT;
use aoe::reserve::COMMAND_RESERVE;
use aoe::{AtaRegisters, ConfigCommand, ErrorCode, MacAddress, SECTOR_BYTES, VlanId};
use ata::opcode;
use support::capture::{Capture, Record};
use support::shelf::check_log;
use support::wire::{Ata, Frame, Wire};
use support::{E10, LIMIT, MODES, memory_disks, with_lun};
use testbed::network::CLIENT_INTERFACE;
use testbed::process::run;
use testbed::requirements::program;
use testbed::{Ledge, PairNetwork};
use zerocopy::IntoBytes;

/// A host that is not on the network.
const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x77]);

/// The VLAN that the LUN is in for a while.
const VLAN: u16 = 291;

/// The initiator and whom it talks to.
struct Talk<'a> {
    wire: &'a mut Wire,
    to: MacAddress,
}

impl Talk<'_> {
    /// Sends a command with an argument; it must be answered, with this error or none.
    fn command(&mut self, command: u8, argument: &[u8], error: Option<ErrorCode>) -> Result<Frame> {
        let header = self.wire.header(self.to, E10, command);
        let request = [header.as_bytes(), argument].concat();
        self.ask(&request, error)
    }

    /// As [`Talk::command`], for a frame.
    fn ask(&mut self, request: &[u8], error: Option<ErrorCode>) -> Result<Frame> {
        let answer = self.wire.ask(request)?;
        let code = answer.header()?.error_code();
        ensure!(
            code == error.map(|error| error as u8),
            "error {code:?} instead of {error:?}: {}",
            answer.describe()
        );
        Ok(answer)
    }

    /// A command to the drive, which must end with this status.
    fn ata(&mut self, ata: Ata, payload: &[u8], status: u8) -> Result<()> {
        let request = self.wire.ata_frame(self.to, E10, ata, payload);
        let answer = self.ask(&request, None)?;
        check_status(&answer, status)
    }

    /// SMART with a subcommand and the address of a log, which must end with this status.
    fn smart(&mut self, feature: u8, log: u8, status: u8) -> Result<()> {
        let mut registers = AtaRegisters::extended(opcode::SMART, false, 0xc2_4f00, 1);
        registers.feature_error = feature;
        registers.lba[0] = log;
        let answer = self.command(COMMAND_ATA, registers.as_bytes(), None)?;
        check_status(&answer, status)
    }

    /// A config command with its string.
    fn config(
        &mut self,
        command: ConfigCommand,
        string: &[u8],
        error: Option<ErrorCode>,
    ) -> Result<()> {
        let request = self.wire.config_frame(self.to, E10, command, string);
        self.ask(&request, error)?;
        Ok(())
    }
}

fn check_status(answer: &Frame, status: u8) -> Result<()> {
    let found = answer.registers()?.command_status;
    ensure!(
        found == status,
        "status {found:#04x}: {}",
        answer.describe()
    );
    Ok(())
}

/// All config commands, and both of their errors; changes are advertised.
fn provoke_config(talk: &mut Talk<'_>) -> Result<()> {
    use ConfigCommand::{
        ForceSet, Read, SetIfEmpty, TestAndReplace, TestExact, TestPrefix, Unknown,
    };
    talk.config(Read, b"", None)?;
    talk.config(SetIfEmpty, b"first", None)?;
    talk.config(SetIfEmpty, b"second", Some(ErrorCode::ConfigStringPresent))?;
    talk.config(TestExact, b"first", None)?;
    talk.config(TestPrefix, b"fir", None)?;
    talk.config(ForceSet, &[b'x'; 1024], None)?;
    talk.config(ForceSet, b"first", None)?;
    let request = talk
        .wire
        .config_frame(talk.to, E10, TestAndReplace, b"first");
    talk.ask(&[&request[..], &[0, 3], b"new"].concat(), None)?;
    talk.config(Unknown(9), b"", Some(ErrorCode::BadArgument))
}

/// Data both ways, everything else that a drive does, and both kinds of failure.
fn provoke_ata(talk: &mut Talk<'_>) -> Result<()> {
    let ata = |opcode, lba, count| Ata { opcode, lba, count };
    let done = 0x40;
    talk.ata(ata(opcode::IDENTIFY, 0, 1), &[], done)?;
    for count in [1_u8, 16] {
        let data = vec![0x5a; SECTOR_BYTES * usize::from(count)];
        talk.ata(ata(opcode::WRITE_EXT, 8, count), &data, done)?;
        talk.ata(ata(opcode::READ_EXT, 8, count), &[], done)?;
    }
    talk.ata(ata(opcode::WRITE, 1, 1), &[1; SECTOR_BYTES], done)?;
    talk.ata(ata(opcode::READ, 1, 1), &[], done)?;
    talk.ata(ata(opcode::FLUSH, 0, 0), &[], done)?;
    talk.ata(ata(opcode::FLUSH_EXT, 0, 0), &[], done)?;
    talk.ata(ata(opcode::CHECK_POWER_MODE, 0, 0), &[], done)?;
    for (feature, log) in [(0xd0, 0), (0xd1, 0), (0xd5, 0), (0xd8, 0), (0xda, 0)] {
        talk.smart(feature, log, done)?;
    }
    let failed = 0x41;
    talk.smart(0xd9, 0, failed)?;
    talk.ata(ata(opcode::READ_EXT, (1 << 48) - 1, 1), &[], failed)?;
    talk.ata(ata(0x99, 0, 0), &[], failed)
}

/// Mask list and reservations: reads, changes, refusals, with one and with two addresses.
fn provoke_access(talk: &mut Talk<'_>) -> Result<()> {
    let me = talk.wire.mac();
    let (me, other) = (me.as_bytes(), OTHER.as_bytes());
    let bad = Some(ErrorCode::BadArgument);
    talk.command(COMMAND_MASK, &[0, 0, 0, 0], None)?;
    let add = [&[0, 1, 0, 2, 0, 1], me, &[0, 1], other].concat();
    talk.command(COMMAND_MASK, &add, None)?;
    // An advertisement to those on the list alone.
    talk.config(ConfigCommand::ForceSet, b"for members", None)?;
    talk.command(COMMAND_MASK_VENDOR, &[0, 0, 0, 0], None)?;
    let unknown = [&[0, 1, 0, 1, 0, 7], me].concat();
    let refused = talk.command(COMMAND_MASK, &unknown, None)?;
    ensure!(refused.0[26] == 2, "no MError: {}", refused.describe());
    talk.command(COMMAND_MASK, &[0, 9, 0, 0], bad)?;
    let remove = [&[0, 1, 0, 2, 0, 2], me, &[0, 2], other].concat();
    talk.command(COMMAND_MASK, &remove, None)?;

    talk.command(COMMAND_RESERVE, &[0, 0], None)?;
    let both = [&[1, 2], me, other].concat();
    talk.command(COMMAND_RESERVE, &both, None)?;
    let reserved = Some(ErrorCode::TargetReserved);
    talk.command(COMMAND_RESERVE, &[&[2, 1], other].concat(), None)?;
    talk.command(COMMAND_RESERVE, &[&[1, 1], me].concat(), reserved)?;
    let registers = AtaRegisters::extended(opcode::READ_EXT, false, 0, 1);
    talk.command(COMMAND_ATA, registers.as_bytes(), reserved)?;
    talk.command(COMMAND_RESERVE, &[9, 0], bad)?;
    let eight = [&[2, 8], me, &other.repeat(7)[..]].concat();
    talk.command(COMMAND_RESERVE, &eight, None)?;
    talk.command(COMMAND_RESERVE, &[2, 0], None)?;

    let key = [0, 0, 0, 0, 0, 0, 0, 7];
    talk.command(COMMAND_KEYED, &[0], None)?;
    talk.command(COMMAND_KEYED, &[&[1, 1, 0, 0], &key[..], me].concat(), None)?;
    talk.command(COMMAND_KEYED, &[&[2, 0, 0, 0], &key[..]].concat(), None)?;
    talk.command(COMMAND_KEYED, &[9], bad)?;
    talk.command(COMMAND_KEYED, &[4], None)?;
    Ok(())
}

/// Commands that nobody knows, and a redirected one.
fn provoke_others(talk: &mut Talk<'_>) -> Result<()> {
    let unknown = Some(ErrorCode::UnrecognizedCommand);
    talk.command(5, &[0; 36], unknown)?;
    talk.command(0xff, &[0; 36], unknown)?;
    let ata = Ata {
        opcode: opcode::READ_EXT,
        lba: 0,
        count: 1,
    };
    let (to, wire) = (talk.to, &mut *talk.wire);
    let inner = wire.ata_frame(to, E10, ata, &[]);
    let mut outer = wire.header(to, E10, COMMAND_REDIRECT);
    outer.tag = Frame(inner.clone()).header()?.tag;
    talk.ask(&[outer.as_bytes(), &inner].concat(), None)?;
    Ok(())
}

/// The LUN in a VLAN. Answers have the tag, which a packet socket does not see: they are seen in the
/// capture.
fn provoke_tagged(talk: &mut Talk<'_>, ledge: &Ledge<'_>, capture: &Capture) -> Result<()> {
    ledge.console_ok(&format!("setvlan {VLAN} 0"))?;
    let tag = VlanId::new(VLAN).context("a VLAN")?.tag();
    let ata = |opcode, lba| Ata {
        opcode,
        lba,
        count: 16,
    };
    let (to, wire) = (talk.to, &mut *talk.wire);
    let requests = [
        wire.config_frame(to, E10, ConfigCommand::ForceSet, b"of a VLAN"),
        wire.ata_frame(to, E10, ata(opcode::IDENTIFY, 0), &[]),
        wire.ata_frame(to, E10, ata(opcode::WRITE_EXT, 0), &[7; 16 * SECTOR_BYTES]),
        wire.ata_frame(to, E10, ata(opcode::READ_EXT, 0), &[]),
        wire.ata_frame(to, E10, ata(opcode::READ_EXT, (1 << 48) - 1), &[]),
    ];
    for request in requests {
        let mut tagged = request.clone();
        tagged.splice(12..12, tag);
        talk.wire.send(&tagged)?;
        let own_tag = request[20..24].to_vec();
        capture.wait_for(|frame| {
            frame[6..12] == to.0 && frame[12..16] == tag && frame[24..28] == own_tag
        })?;
    }
    ledge.console_ok("clrvlan 0")?;
    Ok(())
}

/// Everything that a shelf sends, as it was on the wire, in the order of arrival.
fn provoke_everything(mode: &str) -> Result<(MacAddress, Record)> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let capture = Capture::start(&network, CLIENT_INTERFACE)?;
    // A probe for others with its address, and an advertisement.
    let ledge = with_lun(&network, memory_disks(mode))?;
    let to = wire.discover(E10)?;
    let wire = &mut wire;
    let mut talk = Talk { wire, to };
    provoke_config(&mut talk)?;
    provoke_ata(&mut talk)?;
    provoke_access(&mut talk)?;
    provoke_others(&mut talk)?;
    provoke_tagged(&mut talk, &ledge, &capture)?;
    // The last answer is in the record, and so is all that came before it.
    let request = talk.wire.config_frame(to, E10, ConfigCommand::Read, &[]);
    let last = talk.ask(&request, None)?;
    capture.wait_for(|frame| frame == last.0)?;
    check_log(&ledge.log())?;
    Ok((to, capture.stop()?))
}

/// What tshark makes of one frame.
#[derive(Debug)]
struct Decoded {
    command: u8,
    is_response: bool,
    error: Option<u8>,
    vlan: Option<u16>,
    /// Opcode and status, as far as there are both.
    ata: (String, String),
}

/// The columns that are asked of tshark; the last two are its complaints.
const FIELDS: [&str; 13] = [
    "frame.number",
    "aoe.version",
    "aoe.response",
    "aoe.flags_error",
    "aoe.error",
    "aoe.major",
    "aoe.minor",
    "aoe.cmd",
    "aoe.ata.cmd",
    "aoe.ata.status",
    "vlan.id",
    "_ws.malformed",
    "_ws.expert",
];

/// Reads one line of tshark's; it must be of a whole frame from shelf 1, LUN 0.
fn decoded(columns: &[&str]) -> Result<Decoded> {
    let [
        _,
        version,
        response,
        is_error,
        error,
        major,
        minor,
        command,
        opcode,
        status,
        vlan,
        complaints @ ..,
    ] = columns
    else {
        anyhow::bail!("{} columns", columns.len());
    };
    ensure!(complaints == ["", ""], "tshark complains");
    ensure!(
        (*version, *major, *minor) == ("1", "0x0001", "0x00"),
        "not from e1.0"
    );
    // Those that are set are "1" or "True", after the version.
    let is_set = |flag: &str| flag == "1" || flag == "True";
    Ok(Decoded {
        command: command.parse()?,
        is_response: is_set(response),
        error: is_set(is_error).then(|| error.parse()).transpose()?,
        vlan: (!vlan.is_empty()).then(|| vlan.parse()).transpose()?,
        ata: ((*opcode).to_owned(), (*status).to_owned()),
    })
}

/// Has tshark decode the frames of a station.
fn tshark(from: MacAddress, record: &Record) -> Result<Vec<Decoded>> {
    let mut command = std::process::Command::new(program("tshark")?);
    let filter = format!("eth.src == {}", with_colons(from));
    command.args(["-n", "-T", "fields", "-Y", &filter]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    command.arg("-r").arg(record.path());
    let output = run(command, LIMIT)?.success("tshark")?;
    // It also says that it should not be run as root.
    let rows = output
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|columns| columns[0].parse::<u32>().is_ok());
    rows.map(|columns| decoded(&columns).with_context(|| format!("{columns:?}")))
        .collect()
}

/// Has tcpdump print the frames of a station in full: a paragraph for each.
fn tcpdump(from: MacAddress, file: &std::path::Path) -> Result<Vec<String>> {
    let mut command = std::process::Command::new(program("tcpdump")?);
    command.args(["-t", "-nn", "-e", "-vv", "-r"]).arg(file);
    command.args(["ether", "src", &with_colons(from)]);
    let output = run(command, LIMIT)?.success("tcpdump")?;
    let mut frames: Vec<String> = Vec::new();
    for line in output.lines().filter(|line| !line.starts_with("reading ")) {
        match frames.last_mut() {
            Some(frame) if line.starts_with('\t') => *frame += &format!("\n{line}"),
            _ => frames.push(line.to_owned()),
        }
    }
    Ok(frames)
}

fn with_colons(mac: MacAddress) -> String {
    mac.0.map(|byte| format!("{byte:02x}")).join(":")
}

/// How tcpdump says that a frame is not as it should be.
fn is_complaint(printed: &str) -> bool {
    ["invalid", "[|", "truncated", "missing"]
        .iter()
        .any(|word| printed.contains(word))
}

#[test]
fn tshark_and_tcpdump_decode_every_kind_of_frame() -> Result<()> {
    for mode in MODES {
        let (from, record) = provoke_everything(mode)?;
        judge(from, &record).context(mode)?;
    }
    Ok(())
}

/// Both decoders read all that a station has sent.
fn judge(from: MacAddress, record: &Record) -> Result<()> {
    let mut frames = record.frames()?;
    frames.retain(|frame| frame[6..12] == from.0);

    let decoded = tshark(from, record)?;
    ensure!(decoded.len() == frames.len(), "tshark: {}", decoded.len());
    check_kinds(&decoded)?;
    for (frame, found) in frames.iter().zip(&decoded) {
        let aoe = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
        let flags = (frame[aoe] & 0x08 != 0, frame[aoe] & 0x04 != 0);
        ensure!(
            (found.command, found.is_response, found.error.is_some())
                == (frame[aoe + 5], flags.0, flags.1)
                && found.error.is_none_or(|error| error == frame[aoe + 1]),
            "{found:?} of {}",
            Frame(frame.clone()).describe()
        );
    }

    let printed = tcpdump(from, &record.path())?;
    ensure!(printed.len() == frames.len(), "tcpdump: {}", printed.len());
    check_names(&printed, &NAMES)?;
    let mut unpadded = Vec::new();
    for (frame, printed) in frames.into_iter().zip(printed) {
        // tcpdump wants a list of reservations to fill its frame, which one of up to five addresses
        // cannot: it is padded to what an Ethernet frame has at least.
        let list_bytes = 26 + 6 * usize::from(frame[25]);
        let is_padded_list = frame[19] == COMMAND_RESERVE && list_bytes < frame.len();
        ensure!(is_complaint(&printed) == is_padded_list, "{printed}");
        if is_padded_list {
            ensure!(
                frame.len() == 60 && printed.ends_with(" (invalid)"),
                "{printed}"
            );
            Frame(frame.clone()).check_padding(list_bytes)?;
            unpadded.push(frame[..list_bytes].to_vec());
        }
    }
    // Without the padding there is nothing to complain of.
    ensure!(unpadded.len() > 5, "{} padded lists", unpadded.len());
    let printed = tcpdump(from, &record.of_frames(&unpadded)?.path())?;
    ensure!(printed.len() == unpadded.len(), "{} frames", printed.len());
    ensure!(!printed.iter().any(|printed| is_complaint(printed)));
    let names = [
        "RCmd: Read reserve list, NMacs: 0",
        "RCmd: Set reserve list, NMacs: 2",
    ];
    check_names(&printed, &names)
}

/// Every kind of frame is among them, told by tshark's own columns.
fn check_kinds(decoded: &[Decoded]) -> Result<()> {
    // Commands and errors in answers.
    for (command, error) in [
        (0, None),
        (0, Some(6)),
        (1, None),
        (1, Some(2)),
        (1, Some(4)),
        (2, None),
        (2, Some(2)),
        (3, None),
        (3, Some(2)),
        (3, Some(6)),
        (4, None),
        (4, Some(2)),
        (5, Some(1)),
        (0xf0, None),
        (0xff, Some(1)),
    ] {
        let is_it = |d: &Decoded| d.is_response && d.command == command && d.error == error;
        ensure!(decoded.iter().any(is_it), "no {command} with {error:?}");
    }
    let is_probe = |d: &Decoded| !d.is_response && d.command == 1;
    ensure!(decoded.iter().any(is_probe), "no probe");
    // Opcodes and how they ended, with a tag and without. tshark finds the opcode in the request, but not in
    // one that is redirected.
    for (opcode, status, vlan) in [
        ("", "0x40", None),
        ("0xec", "0x40", None),
        ("0x20", "0x40", None),
        ("0x24", "0x40", None),
        ("0x30", "0x40", None),
        ("0x34", "0x40", None),
        ("0xe7", "0x40", None),
        ("0xea", "0x40", None),
        ("0xe5", "0x40", None),
        ("0xb0", "0x40", None),
        ("0x24", "0x41", None),
        ("0xb0", "0x41", None),
        ("0x99", "0x41", None),
        ("0xec", "0x40", Some(VLAN)),
        ("0x24", "0x40", Some(VLAN)),
        ("0x34", "0x40", Some(VLAN)),
        ("0x24", "0x41", Some(VLAN)),
    ] {
        let is_it =
            |d: &Decoded| (d.ata.0.as_str(), d.ata.1.as_str(), d.vlan) == (opcode, status, vlan);
        ensure!(
            decoded.iter().any(is_it),
            "no {opcode} with {status}, {vlan:?}"
        );
    }
    let is_config = |d: &Decoded| (d.command, d.vlan) == (1, Some(VLAN));
    ensure!(decoded.iter().any(is_config), "no config answer with a tag");
    Ok(())
}

/// tcpdump names what tshark does not know.
const NAMES: [&str; 13] = [
    "CCmd: read config string",
    "CCmd: test config string",
    "CCmd: test config string prefix",
    "CCmd: set config string",
    "CCmd: force set config string",
    "Config String (length 1024): xxx",
    "MCmd: Read Mac Mask List",
    "MCmd: Edit Mac Mask List",
    "MError: Bad DCmd directive",
    "RCmd: Force set reserve list, NMacs: 8",
    "Error: Target is reserved",
    "Error: Unrecognized command code",
    "vlan 291",
];

fn check_names(printed: &[String], names: &[&str]) -> Result<()> {
    for name in names {
        let has = |printed: &String| printed.contains(name);
        ensure!(
            printed.iter().any(has),
            "tcpdump prints no {name:?}:\n{}",
            printed.join("\n")
        );
    }
    Ok(())
}

/// Its request is a bare header (conformance row 22).
#[test]
fn nmap_discovers_every_lun() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    // Its library takes an interface without an address for none.
    network
        .client
        .ip(&["address", "add", "192.0.2.2/24", "dev", CLIENT_INTERFACE])?;
    let mut wire = Wire::open(&network)?;
    let ledge = with_lun(&network, memory_disks("native"))?;
    ledge.console_ok("make 7 jbod 1.2")?;
    ledge.console_ok("online 7")?;
    let station = wire.discover(E10)?;
    let mut command = network.client.command(program("nmap")?);
    let script = "broadcast-ataoe-discover";
    command.args(["--script", script, "-e", CLIENT_INTERFACE]);
    let output = run(command, LIMIT)?.success("nmap")?;
    for lun in [0, 7] {
        let line = format!("Server: {station}; Version: 1; Major: 1; Minor: {lun}");
        let found = output.to_lowercase().matches(&line.to_lowercase()).count();
        ensure!(found == 1, "{found} times {line:?} in:\n{output}");
    }
    Ok(())
}

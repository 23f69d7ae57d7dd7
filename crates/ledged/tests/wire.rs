//! The daemon on the wire: what every initiator and tool relies on. Rows are those of the conformance
//! checklist.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::{ConfigCommand, MacAddress, SECTOR_BYTES};
use ata::opcode;
use support::shelf::check_log;
use support::wire::{Ata, Frame, Wire};
use support::{ANY, E10, LIMIT, MODES, SILENCE, file_disks, memory_disks, with_lun};
use testbed::PairNetwork;

/// The first advertisement of LUN 0 that comes.
fn advertisement(wire: &mut Wire) -> Result<Frame> {
    loop {
        let frame = wire.receive(LIMIT)?.context("no advertisement")?;
        if frame.header()?.destination == MacAddress::BROADCAST {
            return Ok(frame);
        }
    }
}

#[test]
fn rows_13_19_20_113_115_discovery_and_advertisement_in_every_mode() -> Result<()> {
    for mode in MODES {
        let network = PairNetwork::new(9000)?;
        let mut wire = Wire::open(&network)?;
        let mut ledge = with_lun(&network, memory_disks(mode))?;
        let frame = advertisement(&mut wire)?;
        ensure!(frame.header()?.tag.get() == 0, "{}", frame.describe());
        frame.check_config(MacAddress::BROADCAST, E10, ConfigCommand::Read, 16)?;

        // Every LUN that is online answers a broadcast once; those that are not, never.
        ledge.console_ok("make 7 jbod 1.2")?;
        ledge.console_ok("make 9 jbod 1.3")?;
        ledge.console_ok("online 7")?;
        wire.drain()?;
        let request = wire.config_frame(MacAddress::BROADCAST, ANY, ConfigCommand::Read, &[]);
        wire.send(&request)?;
        let mut answers = wire.drain()?;
        answers.sort_by_key(|frame| frame.0[18]);
        ensure!(answers.len() == 2, "{mode}: {} answers", answers.len());
        for (frame, lun) in answers.iter().zip([0, 7]) {
            let me = wire.mac();
            let string = frame.check_config(me, (1, lun), ConfigCommand::Read, 16)?;
            ensure!(string.is_empty(), "{string:?}");
        }

        let to = wire.discover((1, 7))?;
        ledge.console_ok("offline 7")?;
        wire.drain()?;
        for request in requests(&mut wire, to, (1, 7)) {
            wire.send(&request)?;
        }
        let answers = wire.drain()?;
        ensure!(
            answers.is_empty(),
            "{mode}: {} frames after offline",
            answers.len()
        );
        wire.discover(E10)?;
        check_log(&ledge.log())?;
        ledge.stop()?;
        ensure!(wire.drain()?.is_empty(), "{mode}: frames after the end");
    }
    Ok(())
}

/// One request of every kind.
fn requests(wire: &mut Wire, to: MacAddress, address: (u16, u8)) -> Vec<Vec<u8>> {
    let ata = |opcode, count| Ata {
        opcode,
        lba: 0,
        count,
    };
    vec![
        wire.config_frame(to, address, ConfigCommand::Read, &[]),
        wire.config_frame(to, address, ConfigCommand::ForceSet, b"x"),
        wire.ata_frame(to, address, ata(opcode::IDENTIFY, 1), &[]),
        wire.ata_frame(to, address, ata(opcode::READ_EXT, 1), &[]),
        wire.ata_frame(to, address, ata(opcode::WRITE_EXT, 1), &[7; SECTOR_BYTES]),
        wire.ata_frame(to, address, ata(opcode::FLUSH_EXT, 0), &[]),
        wire.ata_frame(to, address, ata(opcode::CHECK_POWER_MODE, 0), &[]),
    ]
}

#[test]
fn row_113_a_restart_advertises_what_was_online() -> Result<()> {
    for mode in MODES {
        let network = PairNetwork::new(1500)?;
        let mut wire = Wire::open(&network)?;
        let mut ledge = with_lun(&network, file_disks(mode))?;
        advertisement(&mut wire)?;
        for clean in [true, false] {
            if clean {
                ledge.stop()?;
            } else {
                ledge.kill()?;
            }
            wire.drain()?;
            ledge.start_again()?;
            // MTU 1500 carries two sectors (row 29).
            let frame = advertisement(&mut wire)?;
            frame.check_config(MacAddress::BROADCAST, E10, ConfigCommand::Read, 2)?;
        }
    }
    Ok(())
}

/// Sends a config command to LUN 0; `None` for silence.
fn config(
    wire: &mut Wire,
    to: MacAddress,
    command: ConfigCommand,
    string: &[u8],
) -> Result<Option<Frame>> {
    let request = wire.config_frame(to, E10, command, string);
    let quiet = matches!(
        command,
        ConfigCommand::TestExact | ConfigCommand::TestPrefix
    );
    wire.ask_within(&request, if quiet { SILENCE } else { LIMIT })
}

/// Sends a config command that must be answered without an error, and gives the string.
fn config_ok(
    wire: &mut Wire,
    to: MacAddress,
    command: ConfigCommand,
    string: &[u8],
) -> Result<Vec<u8>> {
    let frame =
        config(wire, to, command, string)?.with_context(|| format!("{command:?}: silence"))?;
    let me = wire.mac();
    Ok(frame.check_config(me, E10, command, 16)?.to_vec())
}

#[test]
fn rows_33_to_45_the_config_string_and_its_five_commands() -> Result<()> {
    use ConfigCommand::{ForceSet, Read, SetIfEmpty, TestExact, TestPrefix};
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = with_lun(&network, file_disks("native"))?;
    let to = wire.discover(E10)?;
    let wire = &mut wire;
    ensure!(config_ok(wire, to, Read, &[])?.is_empty());
    ensure!(config_ok(wire, to, TestPrefix, &[])?.is_empty());
    ensure!(config_ok(wire, to, SetIfEmpty, b"one\0two")? == b"one\0two");
    ensure!(
        config_ok(wire, to, SetIfEmpty, b"one\0two")? == b"one\0two",
        "row 36"
    );
    let refused = config(wire, to, SetIfEmpty, b"other")?.context("row 37: silence")?;
    ensure!(
        refused.header()?.error_code() == Some(4),
        "{}",
        refused.describe()
    );
    ensure!(refused.config()?.1 == b"one\0two", "{}", refused.describe());
    ensure!(config_ok(wire, to, TestExact, b"one\0two")? == b"one\0two");
    ensure!(config_ok(wire, to, TestPrefix, b"one")? == b"one\0two");
    for (command, string) in [
        (TestExact, &b"one"[..]),
        (TestExact, b""),
        (TestPrefix, b"two"),
        (TestPrefix, b"one\0two3"),
    ] {
        let answer = config(wire, to, command, string)?;
        ensure!(answer.is_none(), "{command:?} {string:?}: answered");
    }
    // Row 26: what is behind a read is not looked at.
    ensure!(config_ok(wire, to, Read, &[0xed; 1024])? == b"one\0two");
    let longest: Vec<u8> = (0..=255).cycle().take(1024).collect();
    for string in [&longest[..], b"", b"last"] {
        ensure!(config_ok(wire, to, ForceSet, string)? == string);
        // Acknowledged is durable, however the daemon ends.
        ledge.kill()?;
        ledge.start_again()?;
        ensure!(wire.discover(E10)? == to, "another station");
        ensure!(config_ok(wire, to, Read, &[])? == string, "not kept");
    }
    for nibble in 6..16 {
        let frame = config(wire, to, ConfigCommand::Unknown(nibble), &[])?;
        let frame = frame.with_context(|| format!("ccmd {nibble}: silence"))?;
        ensure!(
            frame.header()?.error_code() == Some(2),
            "{}",
            frame.describe()
        );
    }
    malformed_strings_store_nothing(wire, to)?;
    check_log(&ledge.log())
}

/// Rows 43 and 44: a string longer than the limit, and one longer than its frame.
fn malformed_strings_store_nothing(wire: &mut Wire, to: MacAddress) -> Result<()> {
    for (claimed, held) in [(1025, 1025), (100, 28), (u16::MAX, 8000)] {
        for command in [ConfigCommand::SetIfEmpty, ConfigCommand::ForceSet] {
            let mut frame = wire.config_frame(to, E10, command, &vec![b'x'; held]);
            frame[30..32].copy_from_slice(&claimed.to_be_bytes());
            wire.ask_within(&frame, SILENCE)?;
            ensure!(config_ok(wire, to, ConfigCommand::Read, &[])? == b"last");
        }
    }
    Ok(())
}

#[test]
fn row_40_a_changed_string_is_advertised() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let _ledge = with_lun(&network, memory_disks("native"))?;
    let to = wire.discover(E10)?;
    wire.drain()?;
    let request = wire.config_frame(to, E10, ConfigCommand::ForceSet, b"fresh");
    wire.send(&request)?;
    let frames = wire.drain()?;
    let advertised = frames.iter().find(|frame| frame.0[..6] == [0xff; 6]);
    let advertised = advertised.context("no advertisement")?;
    let string = advertised.check_config(MacAddress::BROADCAST, E10, ConfigCommand::Read, 16)?;
    ensure!(
        string == b"fresh" && frames.len() == 2,
        "{} frames",
        frames.len()
    );
    Ok(())
}

#[test]
fn rows_68_to_93_identify_and_data_in_every_mode_and_mtu() -> Result<()> {
    for mode in MODES {
        for (mtu, most) in [(9000, 17), (1500, 2)] {
            let network = PairNetwork::new(mtu)?;
            let mut wire = Wire::open(&network)?;
            let ledge = with_lun(&network, memory_disks(mode))?;
            let to = wire.discover(E10)?;
            let sectors = identify(&mut wire, to)?;
            for count in 1..=most {
                let data: Vec<u8> = (0..usize::from(count) * SECTOR_BYTES)
                    .map(|at| (at / SECTOR_BYTES + at) as u8 ^ count)
                    .collect();
                for lba in [0, 120, sectors - u64::from(count)] {
                    wire.write(to, E10, lba, &data)?;
                    ensure!(
                        wire.read(to, E10, lba, count)? == data,
                        "{mode} {mtu} {lba}"
                    );
                }
            }
            rows_85_to_88(&mut wire, to, sectors, most)?;
            check_log(&ledge.log())?;
        }
    }
    Ok(())
}

/// IDENTIFY, with and without trailing bytes (row 70); gives the number of sectors.
fn identify(wire: &mut Wire, to: MacAddress) -> Result<u64> {
    let ata = Ata {
        opcode: opcode::IDENTIFY,
        lba: 0,
        count: 1,
    };
    let request = wire.ata_frame(to, E10, ata, &[]);
    let plain = wire.ask(&request)?;
    plain.ata_success()?;
    ensure!(plain.0.len() == 548, "{}", plain.describe());
    for trailing in [512, 1024] {
        let request = wire.ata_frame(to, E10, ata, &vec![0xed; trailing]);
        ensure!(
            wire.ask(&request)?.0[36..] == plain.0[36..],
            "{trailing} trailing bytes"
        );
    }
    let word =
        |index: usize| u16::from_le_bytes([plain.0[36 + 2 * index], plain.0[37 + 2 * index]]);
    ensure!(word(49) & 0x0200 != 0 && word(83) & 0xc400 == 0x4400 && word(86) & 0x0400 != 0);
    let sectors = (0..4).fold(0, |sum, index| {
        sum | u64::from(word(100 + index)) << (16 * index)
    });
    ensure!(
        u64::from(word(60)) | u64::from(word(61)) << 16 == sectors,
        "words 60 and 100 differ"
    );
    Ok(sectors)
}

/// Commands that must fail, and must not do anything.
fn rows_85_to_88(wire: &mut Wire, to: MacAddress, sectors: u64, most: u8) -> Result<()> {
    let cases = [
        (sectors, 1),
        (sectors - 1, 2),
        ((1 << 48) - 1, 1),
        (0, most + 1),
        (0, 255),
        (0, 0),
    ];
    for (lba, count) in cases {
        let ata = Ata {
            opcode: opcode::READ_EXT,
            lba,
            count,
        };
        let request = wire.ata_frame(to, E10, ata, &[]);
        let answer = wire.ask(&request)?;
        let failed = answer.header()?.error_code() == Some(2)
            || answer.registers()?.command_status & 0x01 != 0;
        ensure!(failed, "read of {count} at {lba}: {}", answer.describe());
    }
    // Row 92: less payload than sectors.
    let before = wire.read(to, E10, 0, 2)?;
    let ata = Ata {
        opcode: opcode::WRITE_EXT,
        lba: 0,
        count: 2,
    };
    let request = wire.ata_frame(to, E10, ata, &[0x5a; SECTOR_BYTES + 511]);
    let answer = wire.ask_within(&request, SILENCE)?;
    ensure!(
        answer.is_none_or(|frame| frame.ata_success().is_err()),
        "row 92"
    );
    ensure!(
        wire.read(to, E10, 0, 2)? == before,
        "row 92: something was written"
    );
    Ok(())
}

#[test]
fn row_117_a_lun_is_not_served_while_another_shelf_answers_for_it() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let ledge = with_lun(&network, memory_disks(MODES[0]))?;
    ledge.console_ok("make 7 jbod 1.2")?;
    wire.drain()?;
    let other = MacAddress([2, 0, 0, 0, 0, 0x77]);
    let answer_probe = |wire: &mut Wire| -> Result<()> {
        let probe = wire
            .receive_where(LIMIT, |frame| !frame.is_response() && frame.0[18] == 7)?
            .context("the shelf does not ask who else is 1.7")?;
        let mut answer = probe.0.clone();
        answer[..6].copy_from_slice(&probe.0[6..12]);
        answer[6..12].copy_from_slice(&other.0);
        answer[14] = 0x18;
        answer.resize(60, 0);
        wire.send(&answer)
    };
    let refused = std::thread::scope(|scope| {
        let online = scope.spawn(|| ledge.console("online 7"));
        answer_probe(&mut wire)?;
        online
            .join()
            .map_err(|_| anyhow::anyhow!("the console panicked"))?
    })?;
    let text = &refused.output;
    ensure!(
        text.contains("020000000077") && text.contains("answers for 1.7, too"),
        "{text}"
    );
    let health = ledge.console("health")?;
    ensure!(
        health.output.contains("answers for 1.7, too"),
        "{}",
        health.output
    );
    // Nobody else is there any more.
    ledge.console_ok("online 7")?;
    wire.discover((1, 7))?;
    // Another shelf begins to advertise our number: it is told.
    let mut advertisement = wire.config_frame(MacAddress::BROADCAST, E10, ConfigCommand::Read, &[]);
    advertisement[6..12].copy_from_slice(&other.0);
    advertisement[14] = 0x18;
    wire.send(&advertisement)?;
    let deadline = std::time::Instant::now() + LIMIT;
    while !ledge
        .console("health")?
        .output
        .contains("answers for 1.0, too")
    {
        ensure!(std::time::Instant::now() < deadline, "nothing is told");
    }
    check_log(&ledge.log())
}

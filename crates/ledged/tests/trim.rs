//! TRIM on files, block devices and memory: conformance row 103.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::{ATA_FRAME_BYTES, MacAddress, SECTOR_BYTES};
use ata::opcode;
use ata::trim::{Entry, FEATURE};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use support::shelf::{Loop, Setup, check_log};
use support::wire::{Ata, Wire};
use support::{E10, file_disks, memory_disks, with_lun};
use testbed::{Ledge, PairNetwork};

/// A TRIM of these ranges.
fn trim_frame(wire: &mut Wire, to: MacAddress, ranges: &[(u64, u16)]) -> Vec<u8> {
    let entries = ranges.iter().map(|&(lba, sectors)| Entry { lba, sectors });
    let mut data: Vec<u8> = entries.flat_map(Entry::encode).collect();
    data.resize(SECTOR_BYTES, 0);
    let ata = Ata {
        opcode: opcode::DATA_SET_MANAGEMENT,
        lba: 0,
        count: 1,
    };
    let mut frame = wire.ata_frame(to, E10, ata, &data);
    frame[25] = FEATURE;
    frame
}

/// Blocks of 512 bytes that files take.
fn blocks(files: &[PathBuf]) -> Result<u64> {
    let blocks = |file: &PathBuf| Ok(std::fs::metadata(file)?.blocks());
    files.iter().map(blocks).sum()
}

/// The first sectors of the LUN, byte for byte.
fn check_content(wire: &mut Wire, to: MacAddress, expected: &[u8]) -> Result<()> {
    for (lba, data) in (0..).step_by(16).zip(expected.chunks(16 * SECTOR_BYTES)) {
        ensure!(
            wire.read(to, E10, lba, 16)? == data,
            "sectors from {lba} on"
        );
    }
    Ok(())
}

/// Fills the first sectors of the LUN, trims some, and checks that they are zero, no others, and that they
/// are holes of the files, of which there are so many copies. Gives what the LUN holds then.
fn fill_and_trim(
    wire: &mut Wire,
    to: MacAddress,
    files: &[PathBuf],
    copies: u64,
) -> Result<Vec<u8>> {
    let words = identity_words(wire, to)?;
    let told = [69, 105, 169].map(|at| words[at]);
    ensure!(told == [0x4020, 2, 1], "IDENTIFY tells {told:04x?}");
    let mut expected = vec![0; 2048 * SECTOR_BYTES];
    for (lba, sector) in (0_usize..).zip(expected.chunks_mut(SECTOR_BYTES)) {
        sector.fill(lba.to_le_bytes()[0] | 1);
    }
    for (lba, data) in (0..).step_by(16).zip(expected.chunks(16 * SECTOR_BYTES)) {
        wire.write(to, E10, lba, data)?;
    }
    let full = blocks(files)?;
    let ranges = [(8, 1024), (1029, 1), (2047, 1), (1500, 300)];
    let request = trim_frame(wire, to, &ranges);
    let answer = wire.ask(&request)?;
    answer.ata_success()?;
    answer.check_padding(ATA_FRAME_BYTES)?;
    let left = blocks(files)?;
    // Blocks of the file system of which only a part was trimmed stay.
    ensure!(
        left + copies * 1200 <= full,
        "{full} blocks before, {left} after it"
    );
    for (lba, sectors) in ranges {
        let start = usize::try_from(lba)? * SECTOR_BYTES;
        expected[start..start + usize::from(sectors) * SECTOR_BYTES].fill(0);
    }
    check_content(wire, to, &expected)?;
    let beyond = trim_frame(wire, to, &[(0, 8), (1 << 40, 1)]);
    let registers = wire.ask(&beyond)?.registers()?;
    ensure!((registers.command_status, registers.feature_error) == (0x41, 0x10));
    check_content(wire, to, &expected)?;
    Ok(expected)
}

/// Files with O_DIRECT: what is trimmed are holes, and zero also after the shelf was killed, and stopped.
#[test]
fn row_103_what_is_trimmed_reads_as_zeroes_and_is_deallocated() -> Result<()> {
    for (make, copies) in [
        ("raid1 1.0-1", 2),
        ("raid10 1.0-3", 2),
        ("raid0 1.0-3", 1),
        ("jbod 1.0", 1),
    ] {
        let network = PairNetwork::new(9000)?;
        let mut wire = Wire::open(&network)?;
        let mut ledge = Ledge::start(&network.target, file_disks("packet"))?;
        ledge.console_ok(&format!("make 0 {make}"))?;
        ledge.console_ok("online 0")?;
        ledge.console_ok("wait 0")?;
        let files: Vec<PathBuf> = (0..4).map(|slot| ledge.disk_path(slot)).collect();
        let to = wire.discover(E10)?;
        let expected = fill_and_trim(&mut wire, to, &files, copies).context(make)?;
        for is_killed in [true, false] {
            if is_killed {
                ledge.kill()?;
            } else {
                ledge.stop()?;
            }
            ledge.start_again()?;
            let to = wire.discover(E10)?;
            check_content(&mut wire, to, &expected).context(make)?;
        }
        let log = ledge.log();
        ensure!(log.contains("what is trimmed is deallocated"), "{log}");
        check_log(&log)?;
    }
    Ok(())
}

/// Block devices: WRITE ZEROES, which loop devices make holes of.
#[test]
fn row_103_block_devices_deallocate() -> Result<()> {
    let setup = Setup::new()?;
    let disk = |name: &str| setup.disk(name, 4 << 20);
    let files = [disk("one")?, disk("two")?];
    let devices = [
        Loop::attach(&files[0], false)?,
        Loop::attach(&files[1], false)?,
    ];
    setup.write_config(&[Path::new(&devices[0].0), Path::new(&devices[1].0)])?;
    let mut wire = Wire::open(&setup.network)?;
    let daemon = setup.start()?;
    // A resynchronisation takes blocks of the files.
    for line in ["make 0 raid1 1.0-1", "online 0", "wait 0"] {
        setup.console(line)?.success(line)?;
    }
    let to = wire.discover(E10)?;
    let expected = fill_and_trim(&mut wire, to, &files, 2)?;
    daemon.kill()?;
    let daemon = setup.start()?;
    let to = wire.discover(E10)?;
    check_content(&mut wire, to, &expected)?;
    check_log(&daemon.log())
}

/// Memory is zeroed, too; with parity it is refused and not offered.
#[test]
fn row_103_memory_disks_and_parity() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let ledge = with_lun(&network, memory_disks("packet"))?;
    let to = wire.discover(E10)?;
    wire.write(to, E10, 0, &[7; 16 * SECTOR_BYTES])?;
    let request = trim_frame(&mut wire, to, &[(1, 14)]);
    wire.ask(&request)?.ata_success()?;
    let data = wire.read(to, E10, 0, 16)?;
    for (lba, sector) in data.chunks(SECTOR_BYTES).enumerate() {
        let byte = if (1..15).contains(&lba) { 0 } else { 7 };
        ensure!(sector.iter().all(|own| *own == byte), "sector {lba}");
    }
    ledge.console_ok("offline 0")?;
    ledge.console_ok("remove -f 0")?;
    ledge.console_ok("make 0 raid5 1.0-2")?;
    ledge.console_ok("online 0")?;
    let to = wire.discover(E10)?;
    let identity = identity_words(&mut wire, to)?;
    ensure!([69, 105, 169].map(|at| identity[at]) == [0; 3]);
    let request = trim_frame(&mut wire, to, &[(0, 8)]);
    let registers = wire.ask(&request)?.registers()?;
    ensure!((registers.command_status, registers.feature_error) == (0x41, 0x04));
    check_log(&ledge.log())
}

/// The words of IDENTIFY.
fn identity_words(wire: &mut Wire, to: MacAddress) -> Result<Vec<u16>> {
    let ata = Ata {
        opcode: opcode::IDENTIFY,
        lba: 0,
        count: 1,
    };
    let request = wire.ata_frame(to, E10, ata, &[]);
    let answer = wire.ask(&request)?;
    answer.ata_success()?;
    let words = answer.0[36..].as_chunks::<2>().0.iter();
    Ok(words.map(|word| u16::from_le_bytes(*word)).collect())
}

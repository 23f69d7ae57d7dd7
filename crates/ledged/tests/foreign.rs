//! Disks that belong to others: shown as what they are, and refused until somebody insists.

mod support;

use anyhow::{Result, ensure};
use raid::layout::{MemberLayout, SUPERBLOCK_SECTOR};
use raid::md::{NewMember, Resync, Superblock};
use raid::{Geometry, Level};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::LIMIT;
use support::shelf::{Setup, check_log};
use testbed::process::{run, run_ok};
use testbed::requirements::program;
use uuid::Uuid;

const DISK_BYTES: u64 = 4 << 20;

/// CRC-32 as in Ethernet, which GPT uses.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// A GUID partition table without partitions, with its protective MBR (UEFI, chapter 5).
fn write_gpt(path: &Path) -> Result<()> {
    let file = File::options().write(true).open(path)?;
    let last = DISK_BYTES / 512 - 1;
    let mut mbr = [0; 512];
    mbr[446..462].copy_from_slice(&[
        0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0x1f, 0, 0,
    ]);
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    let entries = [0; 128 * 128];
    let mut header = [0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..16].copy_from_slice(&[0, 0, 1, 0, 92, 0, 0, 0]);
    let mut put =
        |at: usize, number: u64| header[at..at + 8].copy_from_slice(&number.to_le_bytes());
    put(24, 1);
    put(32, last);
    put(40, 34);
    put(48, last - 33);
    put(56, 0x0123_4567_89ab_cdef);
    put(72, 2);
    put(80, 128 | 128 << 32);
    header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
    let crc = crc32(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&mbr, 0)?;
    file.write_all_at(&header, 512)?;
    file.write_all_at(&entries, 1024)?;
    Ok(())
}

/// A member of an array that Linux made: a superblock without a record of ours.
fn write_md(path: &Path) -> Result<()> {
    let layout = MemberLayout::new(DISK_BYTES / 512, 128)?;
    let geometry = Geometry::new(Level::Raid1, 2, 128, layout.data_sectors)?;
    let superblock = Superblock::new(&NewMember {
        set_uuid: Uuid::from_u128(0x1234),
        device_uuid: Uuid::from_u128(0x5678),
        name: "elsewhere:home",
        created_unix_seconds: 1_700_000_000,
        geometry: &geometry,
        layout,
        element: 0,
        resync: Resync::Clean,
    });
    let file = File::options().write(true).open(path)?;
    Ok(file.write_all_at(&superblock.encode(), SUPERBLOCK_SECTOR * 512)?)
}

#[test]
fn what_belongs_to_others_is_shown_and_refused_until_forced() -> Result<()> {
    let setup = Setup::new()?;
    let names = ["ext4", "gpt", "md", "clean"];
    let mut disks = Vec::new();
    for name in names {
        disks.push(setup.disk(name, DISK_BYTES)?);
    }
    let mut mkfs = Command::new(program("mkfs.ext4")?);
    mkfs.args(["-q", "-F", "-L", "holiday"]).arg(&disks[0]);
    run_ok(mkfs)?;
    write_gpt(&disks[1])?;
    write_md(&disks[2])?;
    let paths: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    setup.write_config(&paths)?;
    let daemon = setup.start()?;
    let carries = [
        "ext4 file system",
        "gpt partition table",
        "md array 'elsewhere:home'",
    ];
    for (slot, what) in carries.iter().enumerate() {
        let row = setup.row(slot)?;
        ensure!(row.contains(" up foreign: ") && row.contains(what), "{row}");
        let before = fs::read(&disks[slot])?;
        for line in [
            format!("make 0 jbod 1.{slot}"),
            format!("make 0 raw 1.{slot}"),
            format!("make 0 raid1 1.3 1.{slot}"),
        ] {
            let error = setup.console_refused(&line)?;
            let told = error.contains(&format!("1.{slot} carries")) && error.contains("use -f");
            ensure!(told && error.contains(what), "{line}: {error}");
        }
        ensure!(
            fs::read(&disks[slot])? == before,
            "a refused make wrote to {what}"
        );
    }
    ensure!(!setup.row(3)?.contains("foreign"), "{}", setup.row(3)?);
    for slot in 0..3 {
        setup
            .console(&format!("make -f {slot} jbod 1.{slot}"))?
            .success("make -f")?;
    }
    check_log(&daemon.log())?;
    daemon.terminate(LIMIT)?;
    ours_and_free_again(&setup, &disks[..3])
}

/// The disks are ours now, also for those who look for signatures; removed, they are free, and stay
/// free over a restart.
fn ours_and_free_again(setup: &Setup, disks: &[PathBuf]) -> Result<()> {
    let daemon = setup.start()?;
    for (slot, disk) in disks.iter().enumerate() {
        let row = setup.row(slot)?;
        ensure!(row.contains(&format!("up {slot}.0.0")), "{row}");
        let mut blkid = Command::new(program("blkid")?);
        blkid.args(["-p", "-o", "value", "-s", "TYPE"]).arg(disk);
        let found = run(blkid, LIMIT)?;
        let is_md = found.output.trim() == "linux_raid_member";
        ensure!(is_md, "slot {slot}: {found:?}");
        setup
            .console(&format!("remove -f {slot}"))?
            .success("remove")?;
        let row = setup.row(slot)?;
        ensure!(!row.contains("foreign"), "{row}");
    }
    daemon.terminate(LIMIT)?;
    let daemon = setup.start()?;
    for slot in 0..disks.len() {
        let row = setup.row(slot)?;
        ensure!(!row.contains("foreign"), "after a restart: {row}");
        setup
            .console(&format!("make {slot} jbod 1.{slot}"))?
            .success("make")?;
    }
    daemon.terminate(LIMIT)
}

#[test]
fn a_lun_of_another_shelf_is_shown_as_such_and_left_alone() -> Result<()> {
    let setup = Setup::new()?;
    let disk = setup.disk("disk", DISK_BYTES)?;
    setup.write_config(&[&disk])?;
    let daemon = setup.start()?;
    setup.console("make 3 jbod 1.0")?.success("make")?;
    setup.console("online 3")?.success("online")?;
    daemon.terminate(LIMIT)?;
    let text = fs::read_to_string(setup.path("ledge.toml"))?;
    setup.write_text(&text.replacen("shelf = 1", "shelf = 2", 1))?;
    let before = fs::read(&disk)?;
    let daemon = setup.start()?;
    let row = setup.row(0)?;
    ensure!(row.contains("foreign: LUN 3 of shelf 1"), "{row}");
    let error = setup.console_refused("make 0 jbod 2.0")?;
    ensure!(
        error.contains("LUN 3 of shelf 1") && error.contains("use -f"),
        "{error}"
    );
    daemon.terminate(LIMIT)?;
    ensure!(fs::read(&disk)? == before, "it was written to");
    setup.write_text(&text)?;
    let daemon = setup.start()?;
    let listed = setup.console("list 3")?.success("list")?;
    ensure!(listed.trim_end().ends_with("online"), "{listed}");
    daemon.terminate(LIMIT)?;
    // Until somebody asks for it: then it is ours.
    setup.write_text(&text.replacen("shelf = 1", "shelf = 2", 1))?;
    let daemon = setup.start()?;
    let found = setup.console("restore -l 1 3 5")?.success("restore -l")?;
    ensure!(found.starts_with("shelf 1 LUN 3 jbod "), "{found}");
    setup.console("restore 1 3 5")?.success("restore")?;
    daemon.terminate(LIMIT)?;
    let daemon = setup.start()?;
    let listed = setup.console("list")?.success("list")?;
    ensure!(
        listed.starts_with(" 5") && listed.trim_end().ends_with("online"),
        "{listed}"
    );
    daemon.terminate(LIMIT)
}

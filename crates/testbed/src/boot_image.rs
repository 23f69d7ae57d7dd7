//! An image of a disk that a PC starts from: the guest's kernel and initramfs, and a file to be read.
//!
//! ```text
//! 0       syslinux's first sector, and the table of partitions
//! 1 MiB   FAT: syslinux, its configuration, kernel, initramfs
//! 49 MiB  ext4: the file
//! ```

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::guest::GuestImage;
use crate::process::run_ok;
use crate::requirements::program;

/// Length of the image.
pub const IMAGE_BYTES: u64 = 64 << 20;

/// The partition with [`FILE`], as Linux numbers them.
pub const FILE_PARTITION: u8 = 2;

/// The name of the file.
pub const FILE: &str = "file";

const SECTOR_BYTES: u64 = 512;

/// Where the partitions begin.
const STARTS_BYTES: [u64; 2] = [1 << 20, 49 << 20];

/// Code before the table of partitions.
const CODE_BYTES: usize = 440;

/// Where syslinux' package has that code.
const CODE: &str = "/usr/lib/syslinux/mbr/mbr.bin";

/// Builds the image from a guest, which is started with these parameters, and the content of the file.
///
/// # Errors
/// A package is missing, or what is to go into a partition does not fit.
pub fn build(image: &Path, guest: &GuestImage, parameters: &str, content: &str) -> Result<()> {
    let file = File::create(image).with_context(|| image.display().to_string())?;
    file.set_len(IMAGE_BYTES)?;
    file.write_all_at(&first_sector()?, 0)?;
    let staging = tempfile::tempdir().context("staging directory")?;
    fill_fat(image, guest, parameters, staging.path())?;
    let tree = staging.path().join("tree");
    fs::create_dir(&tree)?;
    fs::write(tree.join(FILE), content)?;
    let [_, start] = STARTS_BYTES;
    let mut command = Command::new(program("mke2fs")?);
    command.args(["-q", "-F", "-t", "ext4", "-d"]).arg(&tree);
    command.args(["-E", &format!("offset={start}")]);
    command
        .arg(image)
        .arg(format!("{}k", (IMAGE_BYTES - start) >> 10));
    run_ok(command)?;
    Ok(())
}

/// Code, and a table of both partitions, of which the first is the active one.
fn first_sector() -> Result<[u8; SECTOR_BYTES as usize]> {
    let code = fs::read(CODE).with_context(|| format!("{CODE} (package syslinux-common)"))?;
    ensure!(code.len() <= CODE_BYTES, "{CODE} is too long");
    let mut sector = [0; SECTOR_BYTES as usize];
    sector[..code.len()].copy_from_slice(&code);
    let [first, second] = STARTS_BYTES;
    // FAT16 with addresses of sectors; Linux.
    for (index, (kind, start, end)) in [(0x0e, first, second), (0x83, second, IMAGE_BYTES)]
        .into_iter()
        .enumerate()
    {
        let entry = &mut sector[446 + 16 * index..][..16];
        entry[0] = if index == 0 { 0x80 } else { 0 };
        // Cylinders, heads and sectors: none, as the address is beyond what they can say.
        entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
        entry[4] = kind;
        entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
        entry[8..12].copy_from_slice(&u32::try_from(start / SECTOR_BYTES)?.to_le_bytes());
        entry[12..].copy_from_slice(&u32::try_from((end - start) / SECTOR_BYTES)?.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    Ok(sector)
}

/// The partition that is started from.
fn fill_fat(image: &Path, guest: &GuestImage, parameters: &str, staging: &Path) -> Result<()> {
    let [start, end] = STARTS_BYTES;
    let configuration = staging.join("syslinux.cfg");
    let text = format!(
        "SERIAL 0 115200\nDEFAULT guest\nLABEL guest\n  KERNEL vmlinuz\n  APPEND initrd=initrd.gz {parameters}\n"
    );
    fs::write(&configuration, text)?;
    let partition = format!("{}@@{start}", image.display());
    let mut command = Command::new(program("mformat")?);
    command.args(["-i", &partition, "-h", "255", "-s", "63"]);
    // What the boot sector adds to its own addresses.
    command.args(["-H", &(start / SECTOR_BYTES).to_string()]);
    command.args(["-T", &((end - start) / SECTOR_BYTES).to_string(), "::"]);
    run_ok(command)?;
    for (source, name) in [
        (guest.kernel.as_path(), "::vmlinuz"),
        (&guest.initramfs, "::initrd.gz"),
        (&configuration, "::syslinux.cfg"),
    ] {
        let mut command = Command::new(program("mcopy")?);
        command.args(["-i", &partition]).arg(source).arg(name);
        run_ok(command)?;
    }
    let mut command = Command::new(program("syslinux")?);
    command.args(["--install", "--offset", &start.to_string()]);
    run_ok({
        command.arg(image);
        command
    })?;
    Ok(())
}

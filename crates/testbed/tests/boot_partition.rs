//! What the image does about its boot partition after a power cut, over files: room that no file has is found
//! again (`update` removes the files that have it then), what is needed is never touched, and what cannot be
//! repaired by itself is told.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use testbed::process::{CommandOutput, run};

const LIMIT: Duration = Duration::from_secs(120);

/// The kernel of the version that runs.
const RUNNING: &str = "ledge_1.2.efi";

/// A kernel that was being written.
const UNFINISHED: &str = "ledge_1.3+3.efi.new";

/// Bytes of a kernel: more clusters than a sector of the table describes.
const KERNEL_BYTES: usize = 300_000;

/// Bytes of a sector, which is a cluster, too.
const SECTOR_BYTES: usize = 512;

/// Bytes of an entry of a directory.
const ENTRY_BYTES: usize = 32;

/// A boot partition in a file.
struct BootPartition {
    directory: TempDir,
}

impl BootPartition {
    fn new() -> Result<Self> {
        let made = Self {
            directory: tempfile::tempdir()?,
        };
        fs::create_dir_all(made.path("run"))?;
        fs::create_dir_all(made.path("lib"))?;
        let image = "product=ledge\narchitecture=x86_64\nversion=1.2\n";
        fs::write(made.path("lib/image"), image)?;
        fs::File::create(made.path("esp"))?.set_len(40 << 20)?;
        made.tool("/usr/sbin/mkfs.vfat", &["-F", "32", "-s", "1"], &[])?
            .success("mkfs.vfat")?;
        made.tool("mmd", &["-i"], &["::/EFI", "::/EFI/Linux"])?
            .success("mmd")?;
        for name in [RUNNING, UNFINISHED] {
            made.add(name)?;
        }
        Ok(made)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn tool(&self, program: &str, before: &[&str], after: &[&str]) -> Result<CommandOutput> {
        let mut command = Command::new(program);
        command.env("MTOOLS_SKIP_CHECK", "1").args(before);
        command.arg(self.path("esp")).args(after);
        run(command, LIMIT)
    }

    /// Writes a kernel of bytes of its own.
    fn add(&self, name: &str) -> Result<()> {
        let content: Vec<u8> = (0..KERNEL_BYTES)
            .map(|at| ((at * (name.len() + 3)) >> 4) as u8)
            .collect();
        let file = self.path("kernel");
        fs::write(&file, content)?;
        let file = file.to_str().context("path")?;
        self.tool("mcopy", &["-i"], &[file, &format!("::/EFI/Linux/{name}")])?
            .success("mcopy")
            .map(drop)
    }

    /// What is in the kernel that runs.
    fn running(&self) -> Result<String> {
        let path = format!("::/EFI/Linux/{RUNNING}");
        self.tool("mtype", &["-i"], &[&path])?.success("mtype")
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.path("esp"))?)
    }

    fn write(&self, bytes: &[u8], offset: usize) -> Result<()> {
        let file = fs::File::options().write(true).open(self.path("esp"))?;
        Ok(file.write_all_at(bytes, offset as u64)?)
    }

    /// Where the entry of a file is, which has the short name of the so many-th kernel.
    fn entry(&self, number: usize) -> Result<usize> {
        let bytes = self.bytes()?;
        let is_kernel = |entry: &[u8]| entry.starts_with(b"LEDGE_") && entry[11] != 0x0f;
        bytes
            .chunks(ENTRY_BYTES)
            .enumerate()
            .filter(|(_, entry)| is_kernel(entry))
            .nth(number)
            .map(|(at, _)| at * ENTRY_BYTES)
            .context("entry of a kernel")
    }

    /// Frees the room of a file, which keeps its entry.
    fn free(&self, number: usize) -> Result<()> {
        let bytes = self.bytes()?;
        let of = |offset: usize, length: usize| {
            let part = &bytes[offset..offset + length];
            part.iter()
                .rev()
                .fold(0, |all, byte| all << 8 | usize::from(*byte))
        };
        let entry = self.entry(number)?;
        let first = of(entry + 20, 2) << 16 | of(entry + 26, 2);
        let (reserved, table_sectors) = (of(14, 2), of(36, 4));
        let clusters = KERNEL_BYTES.div_ceil(SECTOR_BYTES);
        for table in 0..2 {
            let start = (reserved + table * table_sectors) * SECTOR_BYTES;
            self.write(&vec![0; clusters * 4], start + first * 4)?;
        }
        Ok(())
    }

    /// Takes away the entry of a file, which keeps its room.
    fn lose(&self, number: usize) -> Result<()> {
        self.write(&[0xe5], self.entry(number)?)
    }

    fn starts(&self) -> Result<()> {
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/image/root");
        let mut command = Command::new(recipe.join("usr/lib/ledge/boot-partition"));
        for name in ["run", "lib"] {
            command.arg(format!("--{name}")).arg(self.path(name));
        }
        command.arg(self.path("esp"));
        run(command, LIMIT)?.success("boot-partition").map(drop)
    }

    fn is_clean(&self) -> Result<bool> {
        Ok(self.tool("/usr/sbin/fsck.fat", &["-n"], &[])?.status == 0)
    }

    /// It was damaged, is whole again, and nothing needs to be told.
    fn is_repaired(&self) -> Result<()> {
        let before = self.running()?;
        ensure!(!self.is_clean()?, "there is nothing to repair");
        self.starts()?;
        ensure!(self.is_clean()?, "it is not repaired");
        ensure!(self.running()? == before, "the kernel that runs is changed");
        ensure!(!self.path("run/troubles").exists(), "it is told");
        ensure!(!self.path("run/esp-damaged").exists(), "updates are off");
        Ok(())
    }

    /// It is left as it is, that is told with the reason, and there are no updates.
    fn is_left(&self, reason: &str) -> Result<()> {
        let before = self.bytes()?;
        self.starts()?;
        ensure!(self.bytes()? == before, "it is changed");
        let troubles = fs::read_to_string(self.path("run/troubles"))?;
        let fields: Vec<&str> = troubles.trim_end().split('\t').collect();
        ensure!(
            fields.len() == 3
                && fields[0] == "the boot partition"
                && fields[1].starts_with("is damaged and is left as it is: ")
                && fields[1].contains(reason),
            "{troubles}"
        );
        ensure!(self.path("run/esp-damaged").exists(), "updates are on");
        Ok(())
    }
}

#[test]
fn one_that_is_whole_is_left_as_it_is() -> Result<()> {
    let whole = BootPartition::new()?;
    // Of a start before.
    fs::write(whole.path("run/esp-damaged"), "")?;
    let before = whole.bytes()?;
    whole.starts()?;
    ensure!(whole.bytes()? == before, "it is changed");
    ensure!(!whole.path("run/troubles").exists(), "it is told");
    ensure!(!whole.path("run/esp-damaged").exists(), "updates are off");
    Ok(())
}

#[test]
fn room_that_no_file_has_is_found_again() -> Result<()> {
    let cut = BootPartition::new()?;
    cut.lose(1)?;
    cut.is_repaired()?;
    // By this name `update` removes it.
    let files = cut.tool("mdir", &["-b", "-i"], &["::/"])?;
    let files = files.success("mdir")?;
    ensure!(files.contains("::/FSCK0000.REC"), "{files}");
    Ok(())
}

#[test]
fn a_kernel_that_was_being_removed_is_no_obstacle() -> Result<()> {
    let cut = BootPartition::new()?;
    cut.free(1)?;
    cut.is_repaired()?;
    let cut = BootPartition::new()?;
    cut.add("ledge_1.1.efi")?;
    cut.free(2)?;
    cut.is_repaired()
}

#[test]
fn what_is_needed_is_not_touched() -> Result<()> {
    let damaged = BootPartition::new()?;
    damaged.free(0)?;
    damaged.is_left(&format!("/EFI/Linux/{RUNNING} is not whole"))?;

    // Two names for one file, as when a name has come and the one before has not gone.
    let damaged = BootPartition::new()?;
    let [from, to] = [damaged.entry(0)?, damaged.entry(1)?];
    let bytes = damaged.bytes()?;
    for field in [20, 26] {
        damaged.write(&bytes[from + field..from + field + 2], to + field)?;
    }
    damaged.is_left("share their room")?;

    let damaged = BootPartition::new()?;
    damaged.write(&[0; SECTOR_BYTES], 0)?;
    damaged.is_left("")
}

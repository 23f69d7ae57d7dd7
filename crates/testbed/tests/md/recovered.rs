//! What becomes of raid5 and raid6 arrays that a shelf left in the middle of writes: by way of
//! `ledge-recover` Linux assembles them, also without members; and arrays that Linux went on with by itself a
//! shelf takes back without its redo log.

use super::client::Client;
use super::content::{BLOCK_BYTES, Content};
use super::judge::check_running;
use super::members::Members;
use super::shelf_made::Array;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use testbed::linux_md::{ARRAY, examine, reported};
use testbed::paths::binary;
use testbed::process::run_ok;
use testbed::{Ledge, LedgeOptions, LinuxMd, PairNetwork, transcript};

/// A crashed array, and how many of its members are lost with the shelf.
pub(crate) struct Casualty {
    pub(crate) array: Array,
    pub(crate) lost: u8,
}

impl Casualty {
    fn name(&self) -> String {
        format!("{}, {} lost", self.array.name(), self.lost)
    }

    /// The members that are left.
    fn images(&self) -> &[PathBuf] {
        &self.array.images[usize::from(self.lost)..]
    }
}

/// Linux refuses what lacks members and was being written; `ledge-recover` makes it assemble, right in every
/// sector.
pub(crate) fn recover_and_judge(casualties: &[Casualty]) -> Result<()> {
    each_in_a_guest(casualties, &mut |linux, casualty, disks| {
        if casualty.lost == 0 {
            return Ok(());
        }
        let refused = linux.try_assemble(disks, "--run")?;
        ensure!(
            refused.status != 0,
            "Linux trusts parity: {}",
            refused.output
        );
        let log = linux.kernel_log()?;
        ensure!(
            log.contains("dirty degraded"),
            "refused for another reason: {log}"
        );
        Ok(())
    })?;
    for casualty in casualties {
        let mut command = Command::new(binary("ledge-recover")?);
        if casualty.lost > 0 {
            command.arg("--degraded");
        }
        command.args(casualty.images());
        let told = run_ok(command).with_context(|| casualty.name())?;
        transcript::record("host#", "ledge-recover", &told);
        ensure!(
            told.contains("redo log") && told.contains("; clean"),
            "{told}"
        );
        for image in casualty.images() {
            let report = examine(image)?;
            ensure!(reported(&report, "State") == "clean", "{report}");
        }
    }
    each_in_a_guest(casualties, &mut |linux, casualty, disks| {
        let options = if casualty.lost > 0 { "--run" } else { "" };
        linux.assemble(disks, options)?;
        check_running(linux, &casualty.array.content, Some(casualty.lost))?;
        linux.stop()
    })
}

type InGuest<'a> = &'a mut dyn FnMut(&mut LinuxMd, &Casualty, &[usize]) -> Result<()>;

fn each_in_a_guest(casualties: &[Casualty], act: InGuest<'_>) -> Result<()> {
    let disks: Vec<PathBuf> = casualties
        .iter()
        .flat_map(|c| c.images().to_vec())
        .collect();
    let largest = casualties.iter().map(|c| c.array.content.sectors()).max();
    let mut linux = LinuxMd::boot(&disks, largest.context("no arrays")? * 512 + (64 << 20))?;
    let mut first = 0;
    for casualty in casualties {
        transcript::note(&casualty.name());
        let end = first + casualty.images().len();
        let disks: Vec<usize> = (first..end).collect();
        act(&mut linux, casualty, &disks).with_context(|| casualty.name())?;
        first = end;
    }
    Ok(())
}

/// How Linux leaves an array that it took over from a dead shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// `mdadm --stop`.
    Stopped,
    /// The power fails, a moment after a write.
    Dirty,
}

/// Blocks that Linux writes.
const BLOCKS: usize = 64;

/// Linux assembles a crashed array by itself, resynchronises it, and writes to it.
pub(crate) fn use_in_linux(array: &mut Array, leaves: Leaves) -> Result<()> {
    let pattern = tempfile::NamedTempFile::new()?;
    let first = write_pattern(&mut array.content, &pattern)?;
    let mut disks = array.images.clone();
    disks.push(pattern.path().to_owned());
    let members: Vec<usize> = (0..array.images.len()).collect();
    let mut linux = LinuxMd::boot(&disks, array.content.sectors() * 512 + (64 << 20))?;
    linux.assemble(&members, "")?;
    linux.wait_idle()?;
    if leaves == Leaves::Dirty {
        // Linux calls an array clean when nothing was written for 200 ms; not this one.
        linux.shell("echo 600 > /sys/block/md0/md/safe_mode_delay")?;
    }
    let source = members.len();
    linux.shell(&format!(
        "dd if=/dev/disk/{source} of={ARRAY} bs={BLOCK_BYTES} seek={first} conv=fsync 2>&1"
    ))?;
    // Else the machine ends here, with the guest.
    if leaves == Leaves::Stopped {
        linux.stop()?;
    }
    Ok(())
}

/// Puts the next generation of some blocks into a file. Gives the first of them.
fn write_pattern(content: &mut Content, pattern: &tempfile::NamedTempFile) -> Result<usize> {
    let blocks = content.certain(BLOCKS).context("everything is in doubt")?;
    let mut bytes = Vec::new();
    for block in blocks.clone() {
        bytes.extend(content.begin(block).context("a block in doubt")?.bytes);
        content.settle(block);
    }
    fs::write(pattern.path(), bytes)?;
    Ok(blocks.start)
}

/// The array is served again by a shelf: what Linux wrote is there, and the redo log of the shelf's former
/// life, which knows nothing of that, was not replayed.
pub(crate) fn take_back(array: &Array, leaves: Leaves) -> Result<()> {
    let report = examine(&array.images[0])?;
    let expected = match leaves {
        Leaves::Stopped => "clean",
        Leaves::Dirty => "active",
    };
    ensure!(
        reported(&report, "State") == expected,
        "not {expected}:\n{report}"
    );
    let network = PairNetwork::new(9000)?;
    let options = LedgeOptions {
        disks: u8::try_from(array.images.len())?,
        disk_bytes: fs::metadata(&array.images[0])?.len(),
        mode: "packet".to_owned(),
        cec: false,
        ..LedgeOptions::default()
    };
    let mut ledge = Ledge::start(&network.target, options)?;
    ledge.stop()?;
    for (slot, image) in (0..).zip(&array.images) {
        fs::rename(image, ledge.disk_path(slot))?;
    }
    ledge.start_again()?;
    let lun = ledge.console_ok("list")?;
    let number: u8 = lun
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no LUN: {lun}\n{}", ledge.log()))?;
    let written = Client::open(&network, number)?.check(&array.content);
    let written = written.with_context(|| ledge.log())?;
    let log = ledge.log();
    let is_void = log.contains("its redo log is not replayed");
    ensure!(is_void == (leaves == Leaves::Dirty), "{log}");
    ensure!(!log.contains("slices from the redo log"), "{log}");
    transcript::note(&format!("{written} sectors are right"));
    while !ledge.console_ok("when")?.trim().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    ledge.stop()?;
    for (slot, image) in (0..).zip(&array.images) {
        fs::rename(ledge.disk_path(slot), image)?;
    }
    let members = Members::open(&array.images)?;
    members.check_mirrors()?;
    let rows = members.check_parity()?;
    ensure!(rows > 0 || !array.level.has_parity, "a member is missing");
    Ok(())
}

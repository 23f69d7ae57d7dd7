//! Linux md as the judge of arrays: what mdadm says of an image on this machine, and what the
//! kernel of a guest makes of the disks.
//!
//! **Invariants**
//! - One array runs at a time, as [`ARRAY`].
//! - The guest's own judgement is asked for, not presumed: each step fails with what mdadm and the
//!   kernel said.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::process::{CommandOutput, run_ok};
use crate::vm::{Vm, VmOptions};
use crate::{requirements, transcript};

/// The array that runs in the guest.
pub const ARRAY: &str = "/dev/md0";

/// Where the kernel describes it.
const SYSFS: &str = "/sys/block/md0/md";

/// Limit for one step: arrays of this rig are made or copied in seconds.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);

/// Limit for a resync, rebuild or check.
const SYNC_TIMEOUT: Duration = Duration::from_secs(240);

/// How often md must say in a row that it is idle: a resync begins a moment after the array.
const IDLE_LOOKS: u32 = 3;

/// `mdadm --examine` of an image on this machine, whose checksum must be right: mdadm itself ends
/// with success when it is wrong.
///
/// # Errors
/// mdadm is missing, finds no superblock, or finds a wrong checksum; quotes it.
pub fn examine(image: &Path) -> Result<String> {
    let mut command = Command::new(requirements::program("mdadm")?);
    command.arg("--examine").arg(image).env("LC_ALL", "C");
    let report = run_ok(command)?;
    let is_correct = |line: &str| line.contains("Checksum : ") && line.ends_with("- correct");
    ensure!(
        report.lines().any(is_correct),
        "{}: no correct checksum:\n{report}",
        image.display()
    );
    Ok(report)
}

/// What mdadm reports under a name, e.g. `Raid Level`; empty when it does not.
#[must_use]
pub fn reported<'a>(report: &'a str, name: &str) -> &'a str {
    let mut lines = report.lines().filter_map(|line| line.split_once(" : "));
    let found = lines.find(|(found, _)| found.trim() == name);
    found.map_or("", |(_, value)| value.trim())
}

/// A Linux host with the disks of arrays, and one more disk to copy contents to.
#[derive(Debug)]
pub struct LinuxMd {
    // Fields drop in order: the machine before the image that it writes.
    vm: Vm,
    copy_number: usize,
    copy: PathBuf,
    _directory: TempDir,
}

impl LinuxMd {
    /// Boots a guest with these disks, known as their places in the slice. No array is larger than
    /// `array_bytes_max`.
    ///
    /// # Errors
    /// The machine does not boot; see [`Vm::boot_with_disks`].
    pub fn boot(disks: &[PathBuf], array_bytes_max: u64) -> Result<Self> {
        let directory = tempfile::tempdir().context("directory for the copy")?;
        let copy = directory.path().join("copy");
        File::create(&copy)?.set_len(array_bytes_max)?;
        let mut attached = disks.to_vec();
        attached.push(copy.clone());
        let mut vm = Vm::boot_with_disks(&attached, &VmOptions::default())?;
        let release = vm.run_ok("uname -r", STEP_TIMEOUT)?;
        transcript::note(&format!(
            "Linux {} with {} disks",
            release.trim(),
            disks.len()
        ));
        // No udev makes the nodes here, and a resync need not leave room for others.
        vm.run_ok(
            "echo 1000000 > /proc/sys/dev/raid/speed_limit_min",
            STEP_TIMEOUT,
        )?;
        Ok(Self {
            vm,
            copy_number: disks.len(),
            copy,
            _directory: directory,
        })
    }

    /// Runs a command that must succeed, with `MDADM_NO_UDEV` set, and writes it to the transcript.
    ///
    /// # Errors
    /// It fails or takes too long; quotes it and the kernel's last words.
    pub fn shell(&mut self, command: &str) -> Result<String> {
        let output = self.try_shell(command)?;
        if output.status != 0 {
            let log = self.vm.run("dmesg | tail -n 20", STEP_TIMEOUT)?.output;
            bail!(
                "`{command}` ended with {}:\n{}\n--- kernel:\n{log}",
                output.status,
                output.output
            );
        }
        Ok(output.output)
    }

    /// As [`LinuxMd::shell`], for a command that may fail.
    ///
    /// # Errors
    /// It takes too long.
    pub fn try_shell(&mut self, command: &str) -> Result<CommandOutput> {
        let line = format!("export MDADM_NO_UDEV=1\n{command}");
        let output = self.vm.run(&line, STEP_TIMEOUT)?;
        transcript::record("linux#", command, &output.output);
        Ok(output)
    }

    /// `mdadm --assemble` of some of the disks, with options such as `--run`.
    ///
    /// # Errors
    /// The array does not start.
    pub fn assemble(&mut self, disks: &[usize], options: &str) -> Result<()> {
        let output = self.try_assemble(disks, options)?;
        ensure!(
            output.status == 0,
            "mdadm --assemble {options} of {disks:?} ended with {}:\n{}",
            output.status,
            output.output
        );
        Ok(())
    }

    /// As [`LinuxMd::assemble`], when mdadm may refuse; what it has half assembled is stopped then.
    ///
    /// # Errors
    /// mdadm does not end.
    pub fn try_assemble(&mut self, disks: &[usize], options: &str) -> Result<CommandOutput> {
        let devices = devices(disks);
        let output = self.try_shell(&format!(
            "mdadm --assemble --config=none {options} {ARRAY} {devices}"
        ))?;
        if output.status != 0 {
            self.shell(&format!("[ ! -e {SYSFS} ] || mdadm --stop {ARRAY}"))?;
        }
        Ok(output)
    }

    /// An attribute of the running array, such as `degraded`; empty for levels without it.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn attribute(&mut self, name: &str) -> Result<String> {
        attribute(&mut self.vm, name)
    }

    /// Waits until md neither resynchronises nor rebuilds nor checks; levels without redundancy
    /// never do.
    ///
    /// # Errors
    /// It is still at it after four minutes.
    pub fn wait_idle(&mut self) -> Result<()> {
        wait_idle(&mut self.vm)
    }

    /// Lets md compare all copies and parity, and gives the sectors that it counts as different.
    /// `None` for a level that has nothing to compare.
    ///
    /// # Errors
    /// The check does not begin or does not end, or a resync is still due.
    pub fn mismatched_sectors(&mut self) -> Result<Option<u64>> {
        mismatched_sectors(&mut self.vm)
    }

    /// Copies the whole running array to an image on this machine, which the next call overwrites.
    /// Gives its path and the array's size in bytes.
    ///
    /// # Errors
    /// A read error, or the array is larger than was said at boot.
    pub fn copy_out(&mut self) -> Result<(PathBuf, u64)> {
        let number = self.copy_number;
        let size = self.shell("cat /sys/block/md0/size")?;
        let sectors: u64 = size.trim().parse().context("size of the array")?;
        self.shell(&format!(
            "dd if={ARRAY} of=/dev/disk/{number} bs=1M conv=fsync 2>/run/dd || {{ cat /run/dd; false; }}"
        ))?;
        Ok((self.copy.clone(), sectors * 512))
    }

    /// `mdadm --stop`.
    ///
    /// # Errors
    /// The array is in use.
    pub fn stop(&mut self) -> Result<()> {
        // mdadm waits for udev to remove the node, and fails when nobody is there to do so.
        self.try_shell(&format!("mdadm --stop {ARRAY}"))?;
        self.shell(&format!("[ ! -e {SYSFS} ]"))?;
        Ok(())
    }

    /// Everything that the guest's kernel has complained of: level "warning" and above.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn kernel_log(&mut self) -> Result<String> {
        self.vm.run_ok("dmesg", STEP_TIMEOUT)
    }
}

/// An attribute of the array that runs in a machine, such as `degraded`; empty for levels without it.
///
/// # Errors
/// The guest does not answer.
pub fn attribute(vm: &mut Vm, name: &str) -> Result<String> {
    let command = format!("cat {SYSFS}/{name} 2>/dev/null");
    let output = vm.run(&command, STEP_TIMEOUT)?.output;
    Ok(output.trim().to_owned())
}

/// Waits until md neither resynchronises nor rebuilds nor checks; levels without redundancy never do.
///
/// # Errors
/// It is still at it after four minutes.
pub fn wait_idle(vm: &mut Vm) -> Result<()> {
    let deadline = Instant::now() + SYNC_TIMEOUT;
    let mut idle_looks = 0;
    while idle_looks < IDLE_LOOKS {
        let action = attribute(vm, "sync_action")?;
        idle_looks = match action.as_str() {
            "" => return Ok(()),
            "idle" => idle_looks + 1,
            _ => 0,
        };
        ensure!(Instant::now() < deadline, "md does not end its {action}");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Lets md compare all copies and parity, and gives the sectors that it counts as different. `None` for a
/// level that has nothing to compare.
///
/// # Errors
/// The check does not begin or does not end, or a resync is still due.
pub fn mismatched_sectors(vm: &mut Vm) -> Result<Option<u64>> {
    wait_idle(vm)?;
    if attribute(vm, "sync_action")?.is_empty() {
        return Ok(None);
    }
    let resync_start = attribute(vm, "resync_start")?;
    ensure!(
        resync_start == "none",
        "md has yet to resync from {resync_start}"
    );
    vm.run_ok(&format!("echo check > {SYSFS}/sync_action"), STEP_TIMEOUT)?;
    wait_idle(vm)?;
    let last = attribute(vm, "last_sync_action")?;
    ensure!(last == "check", "md's last action is {last}, not a check");
    let count = attribute(vm, "mismatch_cnt")?;
    Ok(Some(count.parse().context(count)?))
}

/// The names of disks in the guest.
#[must_use]
pub fn devices(disks: &[usize]) -> String {
    let names: Vec<String> = disks.iter().map(|n| format!("/dev/disk/{n}")).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_by_name() {
        let report = "/x:\n     Raid Level : raid6\n   Device Role : Active device 3\n";
        assert_eq!(reported(report, "Raid Level"), "raid6");
        assert_eq!(reported(report, "Device Role"), "Active device 3");
        assert_eq!(reported(report, "Level"), "");
    }

    #[test]
    fn disks_are_named_by_their_places() {
        assert_eq!(devices(&[3, 10]), "/dev/disk/3 /dev/disk/10");
    }
}

//! The client of a shelf: a virtual machine with Debian's tools, each step one call that is written
//! to the transcript.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process::CommandOutput;
use crate::transcript;
use crate::vm::Vm;

/// Limit for one step. The initiator's retransmission timer starts at 16.5 s after every open, and
/// an unanswered command fails after 180 s: a step may have to sit out several retransmissions.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(150);

/// Where the guest mounts the file system under test.
pub const MOUNT_POINT: &str = "/mnt/aoe";

/// One line of `aoe-stat`.
#[derive(Debug, Clone, PartialEq)]
pub struct AoeDevice {
    /// `e<shelf>.<slot>`.
    pub name: String,
    /// Size in decimal gigabytes, three decimals.
    pub size_gb: f64,
    /// The client's interfaces that reach it, comma separated.
    pub interfaces: String,
    /// Payload bytes per frame.
    pub payload_bytes: u32,
    /// `up`, `down`, or with a suffix.
    pub state: String,
}

/// Reads the output of `aoe-stat`.
///
/// # Errors
/// A line has not the five words that the tool prints.
pub fn parse_aoe_stat(output: &str) -> Result<Vec<AoeDevice>> {
    output
        .lines()
        .map(|line| parse_line(line).with_context(|| format!("{line:?}")))
        .collect()
}

fn parse_line(line: &str) -> Result<AoeDevice> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, size, interfaces, payload, state] = words[..] else {
        bail!("aoe-stat printed a line without five words");
    };
    Ok(AoeDevice {
        name: name.to_owned(),
        size_gb: size
            .strip_suffix("GB")
            .context("size without GB")?
            .parse()?,
        interfaces: interfaces.to_owned(),
        payload_bytes: payload.parse().context("payload")?,
        state: state.to_owned(),
    })
}

/// A machine that uses one AoE device with an ext4 file system on it.
#[derive(Debug)]
pub struct Client {
    pub(crate) vm: Vm,
    device: String,
    node: String,
}

impl Client {
    /// A client for `device`, e.g. `e1.0`.
    #[must_use]
    pub fn new(vm: Vm, device: &str) -> Self {
        Self {
            vm,
            device: device.to_owned(),
            node: format!("/dev/etherd/{device}"),
        }
    }

    /// Has the file system on another block device, which is made of LUNs.
    #[must_use]
    pub fn with_node(self, node: &str) -> Self {
        Self {
            node: node.to_owned(),
            ..self
        }
    }

    /// The device's name.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// The device's file.
    pub(crate) fn device_path(&self) -> String {
        format!("/dev/etherd/{}", self.device)
    }

    /// The machine itself.
    pub fn vm(&mut self) -> &mut Vm {
        &mut self.vm
    }

    /// Runs a command that must succeed, and writes it to the transcript.
    ///
    /// # Errors
    /// It fails, or takes longer than [`STEP_TIMEOUT`].
    pub fn shell(&mut self, command: &str) -> Result<String> {
        let CommandOutput { output, status } = self.vm.run(command, STEP_TIMEOUT)?;
        transcript::record("client#", command, &output);
        CommandOutput { output, status }.success(command)
    }

    /// Runs `aoe-discover` until `aoe-stat` lists the device as `up`.
    ///
    /// # Errors
    /// It is not up within `timeout`; quotes the last list.
    pub fn discover(&mut self, timeout: Duration) -> Result<AoeDevice> {
        self.discover_device(&self.device.clone(), timeout)
    }

    /// As [`Client::discover`], for another device.
    ///
    /// # Errors
    /// As [`Client::discover`].
    pub fn discover_device(&mut self, name: &str, timeout: Duration) -> Result<AoeDevice> {
        let deadline = Instant::now() + timeout;
        self.shell("aoe-discover")?;
        loop {
            // With nothing to list, aoe-stat's status is that of its last grep: 1.
            let listed = self.vm.run("aoe-stat", STEP_TIMEOUT)?;
            let devices = parse_aoe_stat(&listed.output)?;
            let found = devices.into_iter().find(|device| device.name == name);
            match found {
                Some(device) if device.state == "up" => {
                    transcript::record("client#", "aoe-stat", &listed.output);
                    return Ok(device);
                }
                _ if Instant::now() >= deadline => {
                    let kernel_log = self.vm.run("dmesg | tail -n 20", STEP_TIMEOUT)?.output;
                    bail!(
                        "{name} did not come up; aoe-stat: {:?}\n{kernel_log}",
                        listed.output
                    );
                }
                _ => thread::sleep(Duration::from_millis(500)),
            }
            self.vm.run_ok("aoe-discover", STEP_TIMEOUT)?;
        }
    }

    /// Makes an ext4 file system on the device.
    ///
    /// # Errors
    /// mkfs fails.
    pub fn make_file_system(&mut self) -> Result<()> {
        self.shell(&format!("mkfs.ext4 -F {}", self.node))?;
        Ok(())
    }

    /// Mounts the file system.
    ///
    /// # Errors
    /// mount fails.
    pub fn mount(&mut self) -> Result<()> {
        let node = &self.node;
        self.shell(&format!(
            "mkdir -p {MOUNT_POINT} && mount -t ext4 {node} {MOUNT_POINT}"
        ))?;
        Ok(())
    }

    /// Unmounts the file system; the kernel then forgets what it has cached of the device.
    ///
    /// # Errors
    /// umount fails.
    pub fn unmount(&mut self) -> Result<()> {
        self.shell(&format!(
            "umount {MOUNT_POINT} && echo 3 > /proc/sys/vm/drop_caches"
        ))?;
        Ok(())
    }

    /// Checks the unmounted file system without changing it; it must be clean.
    ///
    /// # Errors
    /// e2fsck finds anything wrong.
    pub fn check_file_system(&mut self) -> Result<()> {
        self.shell(&format!("e2fsck -fn {}", self.node))?;
        Ok(())
    }

    /// Writes `count` files of random bytes, of growing length up to `kib_max`, into a new
    /// `directory` below the mount point and syncs. Returns their checksums.
    ///
    /// # Errors
    /// Writing fails.
    pub fn write_files(&mut self, directory: &str, count: u32, kib_max: u32) -> Result<String> {
        let path = format!("{MOUNT_POINT}/{directory}");
        // Odd lengths as well, so that the last block of a file is a partial one.
        let command = format!(
            "mkdir {path} && for i in $(seq 1 {count}); do \
             head -c $((i * {kib_max} * 1024 / {count} - i)) /dev/urandom > {path}/$i || exit 1; \
             done && sync"
        );
        self.shell(&command)?;
        self.vm
            .run_ok(&format!("cd {path} && sha256sum *"), STEP_TIMEOUT)
    }

    /// Reads the files of `directory` back and compares them with checksums in the format of
    /// `sha256sum`, which come from [`Client::write_files`] or [`Client::acknowledged`].
    ///
    /// # Errors
    /// A file is missing or differs; names each.
    pub fn verify_files(&mut self, directory: &str, checksums: &str) -> Result<()> {
        let count = checksums.lines().count();
        ensure!(count > 0, "no checksums to compare {directory} with");
        let upload = format!(
            "cat > /run/expected <<'END'\n{}\nEND\n",
            checksums.trim_end()
        );
        self.vm.run_ok(&upload, STEP_TIMEOUT)?;
        let command = format!("cd {MOUNT_POINT}/{directory} && sha256sum -c /run/expected");
        let compared = self.vm.run(&command, STEP_TIMEOUT)?;
        let good = compared
            .output
            .lines()
            .filter(|line| line.ends_with(": OK"))
            .count();
        transcript::record("client#", &command, &format!("{good} of {count} files OK"));
        if compared.status != 0 || good != count {
            let bad = |line: &&str| !line.ends_with(": OK");
            let lines: Vec<&str> = compared.output.lines().filter(bad).collect();
            bail!(
                "{directory}: {good} of {count} files are as acknowledged\n{}",
                lines.join("\n")
            );
        }
        Ok(())
    }

    /// Checks that the guest's kernel has reported no failed I/O since it booted.
    ///
    /// # Errors
    /// Quotes the reports.
    pub fn check_kernel_log(&mut self) -> Result<()> {
        let pattern = "I/O error|EXT4-fs error|EXT4-fs warning|JBD2: Error|ata error|error packet";
        let found = self
            .vm
            .run(&format!("dmesg | grep -E '{pattern}'"), STEP_TIMEOUT)?;
        ensure!(
            found.status == 1,
            "the guest's kernel reported:\n{}",
            found.output
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aoe_stat_lines_are_read_by_their_words() {
        let devices = parse_aoe_stat(
            "      e1.0         2.147GB       eth0 8192  up            \n\
                   e1.1         0.067GB  eth0,eth1 1024  down,kickme\n",
        )
        .unwrap();
        assert_eq!(devices.len(), 2);
        assert_eq!(devices[0].name, "e1.0");
        assert!((devices[0].size_gb - 2.147).abs() < 1e-9);
        assert_eq!(devices[0].payload_bytes, 8192);
        assert_eq!(devices[0].state, "up");
        assert_eq!(devices[1].interfaces, "eth0,eth1");
        assert!(parse_aoe_stat("aoe-stat Error: sysfs is not mounted").is_err());
    }
}

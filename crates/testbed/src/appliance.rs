//! The image in an emulated machine: firmware, boot disk, six data disks of three kinds, a port and a
//! serial line.
//!
//! **Invariants**
//! - The image itself is not changed: each machine has a copy of its own, which lasts over power cuts.
//! - Every wait has a limit, and its error quotes what came over the serial line.

use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use serde_json::json;

use crate::daemon::Daemon;
use crate::monitor::Monitor;
use crate::netns::Namespace;
use crate::network::GuestEnd;
use crate::paths;
use crate::process::{CommandOutput, run};
use crate::requirements;
use crate::transcript;
use crate::vm;

/// Firmware for UEFI, and the store of its variables.
const FIRMWARE: [&str; 2] = [
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.fd",
];

/// The data disks: two each of NVMe, SATA and SAS.
pub const DISKS: [&str; 6] = ["nvme0", "nvme1", "sata0", "sata1", "sas0", "sas1"];

/// Disks that are in the machine when there is a file of this name: on further ports of its SATA controller.
pub const MORE_DISKS: [&str; 2] = ["more0", "more1"];

/// The bays of the machine, in which whatever is there can be pulled: the NVMe disks, the controllers of the
/// others, and none.
const BAYS: [&str; 5] = ["nvme0", "nvme1", "sata", "sas", "free"];

/// Bytes of each of them.
const DISK_BYTES: u64 = 256 << 20;

/// Bytes of the boot disk: what is beyond the image becomes the state partition.
const BOOT_BYTES: u64 = 2 << 30;

/// Bytes of a USB stick.
const STICK_BYTES: u64 = 1 << 30;

/// One for which the kernel has no page tables of its own, as it does where Meltdown is a danger: the
/// emulator forgets all that it knows of memory at each change of them, and a boot costs a third more.
const PROCESSOR: &str = "EPYC,-svm,-xsavec";

/// How long the machine may take to let go of a disk.
const GONE: Duration = Duration::from_secs(300);

/// The longest pause between looks at the clock.
const POLL: Duration = Duration::from_millis(100);

/// The version of this tree, which `make image` makes.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version after it, which `make test-appliance` makes, too.
#[must_use]
pub fn next_version() -> String {
    format!("{VERSION}.1")
}

/// Something in the directory of `make image`: `ledge-VERSION.img`, `ledge-VERSION.update`, `keys`.
///
/// # Errors
/// It is not there.
pub fn artifact(name: &str) -> Result<PathBuf> {
    let directory = match env::var_os("LEDGE_IMAGE_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => paths::target_dir()?.join("image"),
    };
    let path = directory.join(name);
    ensure!(
        path.exists(),
        "{} is not there: make test-appliance makes it",
        path.display()
    );
    Ok(path)
}

/// A partition of the boot disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its first byte.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
    /// Its UUID, in lower case.
    pub uuid: String,
}

/// A machine with its disks, on or off.
#[derive(Debug)]
pub struct Machine {
    directory: TempDir,
    clock: Option<String>,
}

impl Machine {
    /// A machine whose boot disk holds the image, and whose data disks are empty.
    ///
    /// # Errors
    /// The files cannot be made.
    pub fn new(image: &Path) -> Result<Self> {
        let directory = tempfile::tempdir().context("directory of the machine")?;
        let machine = Self {
            directory,
            clock: None,
        };
        copy(image, &machine.path("boot"))?;
        grow(&machine.path("boot"), BOOT_BYTES)?;
        for disk in DISKS {
            File::create(machine.path(disk))?.set_len(DISK_BYTES)?;
        }
        fs::copy(FIRMWARE[1], machine.path("variables"))
            .context("OVMF: deploy/packages.sh image")?;
        Ok(machine)
    }

    /// Another machine, off, with what is on the disks of this one, and what its firmware keeps: this one as
    /// it is after a power cut, if it is on and held ([`Appliance::hold`]). There is no USB stick in it.
    ///
    /// # Errors
    /// The files cannot be made.
    pub fn cut(&self) -> Result<Self> {
        let directory = tempfile::tempdir().context("directory of the machine")?;
        let machine = Self {
            directory,
            clock: self.clock.clone(),
        };
        let names = ["boot", "variables"].into_iter().chain(DISKS);
        for name in names.filter(|name| self.path(name).exists()) {
            copy(&self.path(name), &machine.path(name))?;
        }
        Ok(machine)
    }

    /// A machine with two empty data disks and no boot disk.
    ///
    /// # Errors
    /// The files cannot be made.
    pub fn without_boot_disk() -> Result<Self> {
        let directory = TempDir::new().context("directory of the machine")?;
        let machine = Self {
            directory,
            clock: None,
        };
        for disk in &DISKS[..2] {
            File::create(machine.path(disk))?.set_len(DISK_BYTES)?;
        }
        fs::copy(FIRMWARE[1], machine.path("variables"))
            .context("OVMF: deploy/packages.sh image")?;
        Ok(machine)
    }

    /// Switches on a machine without a boot disk, whose firmware fetches `file` by TFTP from the emulator,
    /// which answers DHCP on a network of its own; beside that it has its port at `end`.
    ///
    /// # Errors
    /// The emulator does not start.
    pub fn switch_on_from_network(
        &self,
        file: &Path,
        (namespace, end, mtu): (&Namespace, GuestEnd, u16),
    ) -> Result<Appliance> {
        let directory = file.parent().context("directory of the file")?.display();
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.context("name of the file")?;
        let mut command = self.with_firmware(namespace, 2048)?;
        command.arg("-netdev").arg(format!(
            "user,id=boot,restrict=on,tftp={directory},bootfile={name}"
        ));
        command.args(["-device", "virtio-net-pci,netdev=boot,romfile=,bootindex=0"]);
        for disk in &DISKS[..2] {
            vm::attach_image(&mut command, disk, &self.path(disk));
            command.args(["-device", &format!("nvme,drive={disk},serial={disk}")]);
        }
        vm::attach_network(&mut command, 0, end, mtu);
        Appliance::start(command)
    }

    /// An emulator with firmware for UEFI, and nothing to start from yet.
    fn with_firmware(
        &self,
        namespace: &Namespace,
        memory_mib: u32,
    ) -> Result<std::process::Command> {
        let mut command = namespace.command(requirements::program(vm::EMULATOR)?);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-machine", "q35", "-accel", "tcg", "-cpu", PROCESSOR]);
        command.args(["-smp", "2", "-m", &memory_mib.to_string()]);
        for (file, options) in [
            (PathBuf::from(FIRMWARE[0]), ",readonly=on"),
            (self.path("variables"), ""),
        ] {
            let file = file.display();
            command.args([
                "-drive",
                &format!("if=pflash,format=raw{options},file={file}"),
            ]);
        }
        Ok(command)
    }

    /// The file behind a disk: `boot`, or one of [`DISKS`].
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where a partition of the boot disk is, if there is one of this name.
    ///
    /// # Errors
    /// The disk has no table.
    pub fn partition(&self, name: &str) -> Result<Option<Partition>> {
        let mut list = std::process::Command::new("/usr/sbin/sfdisk");
        list.arg("--json").arg(self.path("boot"));
        let list = run(list, Duration::from_secs(60))?;
        // Whatever it has to say of a table that is being written comes after it.
        let end = list.output.rfind('}').map_or(0, |at| at + 1);
        let table: serde_json::Value = serde_json::from_str(&list.output[..end])
            .with_context(|| format!("sfdisk: {}", list.output))?;
        let partitions = table["partitiontable"]["partitions"].as_array();
        let mut partitions = partitions.context("partitions")?.iter();
        let Some(found) = partitions.find(|found| found["name"] == name) else {
            return Ok(None);
        };
        let of = |name: &str| found[name].as_u64().context("sfdisk").map(|n| n * 512);
        Ok(Some(Partition {
            start: of("start")?,
            size: of("size")?,
            uuid: found["uuid"].as_str().context("uuid")?.to_lowercase(),
        }))
    }

    /// The kernels on the boot partition, by the names that the boot loader counts their tries in.
    ///
    /// # Errors
    /// mtools is missing, or the partition is damaged.
    pub fn kernels(&self) -> Result<Vec<String>> {
        let esp = self.partition("ledge-esp")?.context("no boot partition")?;
        let mut list = std::process::Command::new("mdir");
        list.env("MTOOLS_SKIP_CHECK", "1");
        list.args(["-b", "-i"]);
        list.arg(format!("{}@@{}", self.path("boot").display(), esp.start));
        list.arg("::/EFI/Linux");
        let said = run(list, Duration::from_secs(60))?.success("mdir")?;
        let name = |line: &str| line.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(said.lines().map(name).collect())
    }

    /// Checks that the file system of the boot partition is whole and was left in order, as it is after a
    /// reboot, however often the power was cut before.
    ///
    /// # Errors
    /// It is not.
    pub fn check_boot_partition(&self) -> Result<()> {
        let esp = self.partition("ledge-esp")?.context("no boot partition")?;
        let Partition { start, size, .. } = esp;
        let (boot, esp) = (self.path("boot"), self.path("esp"));
        let line = format!(
            "dd if={} of={} bs=1M iflag=skip_bytes,count_bytes skip={start} count={size} conv=sparse status=none\n\
             /usr/sbin/fsck.fat -n {1}",
            boot.display(),
            esp.display()
        );
        let mut command = std::process::Command::new("bash");
        command.args(["-ec", &line]);
        run(command, Duration::from_secs(300))?
            .success("fsck.fat")
            .map(drop)
    }

    /// What the clock of the machine shows when it is switched on, e.g. `1970-01-01`; else it goes right.
    pub fn set_clock(&mut self, start: Option<&str>) {
        self.clock = start.map(str::to_owned);
    }

    /// Changes the state partition of a machine that is off: a script for bash, to which it is the file `$1`.
    ///
    /// # Errors
    /// There is none, or the script fails.
    pub fn change_state(&self, script: &str) -> Result<()> {
        let boot = self.path("boot");
        let state = self.partition("ledge-state")?;
        let state = state.context("no state partition: it is made at the first start")?;
        let Partition { start, size, .. } = state;
        let (boot, copy) = (boot.display(), self.path("state"));
        let copy = copy.display();
        let line = format!(
            "set -euo pipefail; PATH=$PATH:/usr/sbin:/sbin\n\
             dd if={boot} of={copy} bs=1M iflag=skip_bytes,count_bytes skip={start} count={size} status=none\n\
             set -- {copy}\n{script}\n\
             dd if={copy} of={boot} bs=1M oflag=seek_bytes seek={start} conv=notrunc status=none"
        );
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &line]);
        run(command, Duration::from_secs(600))?
            .success(script)
            .map(drop)
    }

    /// Switches on a machine of the same boot disk whose firmware knows no UEFI.
    ///
    /// # Errors
    /// The emulator does not start.
    pub fn switch_on_without_uefi(&self) -> Result<Appliance> {
        let mut command = std::process::Command::new(requirements::program(vm::EMULATOR)?);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        // What it says on the screen goes to the serial line.
        command.args(["-machine", "q35,graphics=off", "-accel", "tcg", "-m", "512"]);
        vm::attach_image(&mut command, "boot", &self.path("boot"));
        command.args(["-device", "virtio-blk-pci,drive=boot,bootindex=0"]);
        Appliance::start(command)
    }

    /// Puts files on a USB stick, which the machine has from the next start on.
    ///
    /// # Errors
    /// They do not fit, or mtools is missing.
    pub fn fill_stick(&self, files: &[&Path]) -> Result<()> {
        let stick = self.path("stick");
        File::create(&stick)?.set_len(STICK_BYTES)?;
        let mut format = std::process::Command::new("/usr/sbin/mkfs.vfat");
        format.args(["-n", "STICK"]).arg(&stick);
        run(format, Duration::from_secs(60))?.success("mkfs.vfat")?;
        let mut copy = std::process::Command::new("mcopy");
        copy.arg("-i").arg(&stick).args(files).arg("::");
        run(copy, Duration::from_secs(300))?
            .success("mcopy")
            .map(drop)
    }

    /// Switches the machine on, with its port at `end`, and those of its disks of which there is a file.
    ///
    /// # Errors
    /// The emulator does not start.
    pub fn switch_on(&self, namespace: &Namespace, end: GuestEnd, mtu: u16) -> Result<Appliance> {
        let mut command = self.with_firmware(namespace, 1024)?;
        vm::attach_image(&mut command, "boot", &self.path("boot"));
        command.args(["-device", "virtio-blk-pci,drive=boot,bootindex=0"]);
        for (number, bay) in (1..).zip(BAYS) {
            let port = format!("pcie-root-port,id=bay-{bay},chassis={number},slot={number}");
            command.args(["-device", &port]);
        }
        command.args(["-device", "ahci,id=sata,bus=bay-sata"]);
        command.args(["-device", "megasas-gen2,id=sas,bus=bay-sas"]);
        if let Some(start) = &self.clock {
            command.args(["-rtc", &format!("base={start}")]);
        }
        let disks = DISKS.into_iter().chain(MORE_DISKS).enumerate();
        for (number, disk) in disks.filter(|(_, disk)| self.path(disk).exists()) {
            vm::attach_image(&mut command, disk, &self.path(disk));
            let place = match number {
                0 | 1 => format!("nvme,bus=bay-{disk}"),
                2 | 3 => format!("ide-hd,bus=sata.{}", number - 2),
                4 | 5 => format!("scsi-hd,bus=sas.0,scsi-id={number}"),
                _ => format!("ide-hd,bus=sata.{}", number - 4),
            };
            let device = format!("{place},id={disk},drive={disk},serial={disk}");
            command.args(["-device", &device]);
        }
        if self.path("stick").exists() {
            vm::attach_image(&mut command, "stick", &self.path("stick"));
            command.args(["-device", "qemu-xhci,id=usb"]);
            command.args(["-device", "usb-storage,bus=usb.0,drive=stick"]);
        }
        vm::attach_network(&mut command, 0, end, mtu);
        Appliance::start(command)
    }
}

/// Copies a file with its holes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copy = std::process::Command::new("cp");
    copy.arg("--sparse=always").args([from, to]);
    run(copy, Duration::from_secs(300))?.success("cp").map(drop)
}

/// Makes a file longer.
fn grow(path: &Path, bytes: u64) -> Result<()> {
    let file = File::options().write(true).open(path)?;
    ensure!(
        file.metadata()?.len() <= bytes,
        "{} is too large",
        path.display()
    );
    Ok(file.set_len(bytes)?)
}

/// A machine that is on; dropping it is a power cut.
#[derive(Debug)]
pub struct Appliance {
    // Fields drop in order: the emulator before the directory of its socket.
    emulator: Daemon,
    monitor: Monitor,
    serial: UnixStream,
    heard: Vec<u8>,
    _socket: TempDir,
}

impl Appliance {
    fn start(mut command: std::process::Command) -> Result<Self> {
        let socket = tempfile::tempdir().context("directory for the serial line")?;
        let path = socket.path().join("serial");
        let listener = vm::listen(&path)?;
        command.args([
            "-chardev",
            &format!("socket,id=serial,path={}", path.display()),
        ]);
        command.args(["-serial", "chardev:serial"]);
        // What would start again ends: an emulator that goes on keeps what it has translated of the kernel,
        // and takes minutes to unlearn it while the firmware unpacks itself over that.
        command.arg("-no-reboot");
        let monitor_path = socket.path().join("monitor");
        let monitor_listener = vm::listen(&monitor_path)?;
        command.arg("-qmp");
        command.arg(format!("unix:{}", monitor_path.display()));
        let mut emulator = Daemon::start("the emulator", command)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        let serial = vm::accept(&listener, &mut emulator, deadline)?;
        serial.set_read_timeout(Some(POLL))?;
        let monitor = vm::accept(&monitor_listener, &mut emulator, deadline)?;
        Ok(Self {
            monitor: Monitor::new(monitor)?,
            emulator,
            serial,
            heard: Vec::new(),
            _socket: socket,
        })
    }

    /// Waits until the serial line says `text`, in whatever colours, and forgets all up to there. Returns
    /// what came before.
    ///
    /// # Errors
    /// It does not within the limit, or the machine is off.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let found = self
                .heard
                .windows(text.len())
                .position(|window| window == text.as_bytes());
            if let Some(position) = found {
                let before = String::from_utf8_lossy(&self.heard[..position]).into_owned();
                self.heard.drain(..position + text.len());
                return Ok(before);
            }
            let mut buffer = [0; 4096];
            match self.serial.read(&mut buffer) {
                Ok(0) => bail!("the machine is off; {:?} was awaited{}", text, self.quote()),
                Ok(count) => {
                    self.heard.extend_from_slice(&buffer[..count]);
                    take_colors_away(&mut self.heard);
                }
                Err(error) if vm::is_timeout(error.kind()) => {}
                Err(error) => bail!("serial line: {error}"),
            }
            ensure!(
                Instant::now() < deadline,
                "{text:?} does not come over the serial line{}",
                self.quote()
            );
        }
    }

    /// Types a line on the console.
    ///
    /// # Errors
    /// The machine is off.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        transcript::note(&format!("serial line> {line}"));
        self.serial
            .write_all(format!("{line}\r").as_bytes())
            .context("serial line")
    }

    /// Holds the machine: it does nothing more, and what it has written to its disks is in their files.
    ///
    /// # Errors
    /// The emulator does not.
    pub fn hold(&mut self) -> Result<()> {
        self.monitor.execute("stop", &json!({})).map(drop)
    }

    /// Lets a machine that is held go on.
    ///
    /// # Errors
    /// The emulator does not.
    pub fn go_on(&mut self) -> Result<()> {
        self.monitor.execute("cont", &json!({})).map(drop)
    }

    /// Bytes that the machine has read of a disk since it was switched on.
    ///
    /// # Errors
    /// It has none of this name.
    pub fn bytes_read(&mut self, disk: &str) -> Result<u64> {
        let all = self.monitor.execute("query-blockstats", &json!({}))?;
        let mut all = all.as_array().into_iter().flatten();
        let found = all.find(|found| found["device"] == disk);
        let found = found.with_context(|| format!("no disk {disk}"))?;
        found["stats"]["rd_bytes"].as_u64().context("rd_bytes")
    }

    /// The day that the clock of the hardware shows, which goes on when the machine is off: `2031-05-06`.
    ///
    /// # Errors
    /// The emulator does not tell it.
    pub fn day_of_hardware_clock(&mut self) -> Result<String> {
        let arguments = json!({ "path": "/machine", "property": "rtc-time" });
        let time = self.monitor.execute("qom-get", &arguments)?;
        // As of the C library: years since 1900, months from 0 on.
        let of = |name: &str| time[name].as_i64().with_context(|| format!("{time}"));
        let (year, month, day) = (of("tm_year")? + 1900, of("tm_mon")? + 1, of("tm_mday")?);
        Ok(format!("{year}-{month:02}-{day:02}"))
    }

    /// Pulls an NVMe disk out of its bay, and waits until it is gone.
    ///
    /// # Errors
    /// It stays.
    pub fn pull(&mut self, disk: &str) -> Result<()> {
        transcript::note(&format!("{disk} is pulled"));
        self.monitor.pull(disk, GONE)
    }

    /// Puts an NVMe disk into a bay: the one that it was in, or `free`.
    ///
    /// # Errors
    /// There is something in it.
    pub fn insert(&mut self, disk: &str, bay: &str, file: &Path) -> Result<()> {
        transcript::note(&format!("{disk} is put into {bay}"));
        let node = json!({
            "driver": "raw",
            "node-name": format!("again-{disk}"),
            "file": { "driver": "file", "filename": file },
        });
        self.monitor.execute("blockdev-add", &node)?;
        let device = json!({
            "driver": "nvme",
            "id": disk,
            "bus": format!("bay-{bay}"),
            "drive": format!("again-{disk}"),
            "serial": disk,
        });
        self.monitor.execute("device_add", &device).map(drop)
    }

    /// Waits until the machine switches itself off, or would start again.
    ///
    /// # Errors
    /// It does not within the limit.
    pub fn wait_for_end(mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.emulator.exit_status()?.is_none() {
            let mut buffer = [0; 4096];
            match self.serial.read(&mut buffer) {
                Ok(count) => self.heard.extend_from_slice(&buffer[..count]),
                Err(error) if vm::is_timeout(error.kind()) => {}
                Err(error) => bail!("serial line: {error}"),
            }
            ensure!(
                Instant::now() < deadline,
                "the machine stays on{}",
                self.quote()
            );
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn quote(&self) -> String {
        let start = self.heard.len().saturating_sub(4000);
        let heard = String::from_utf8_lossy(&self.heard[start..]);
        format!(
            "\n--- serial line:\n{heard}\n--- emulator:\n{}",
            self.emulator.log()
        )
    }
}

/// Takes out what sets colours: a word for a state may have its own in the middle of a sentence. What is not
/// whole yet stays until the rest of it has come.
fn take_colors_away(heard: &mut Vec<u8>) {
    let mut from = 0;
    while let Some(found) = heard[from..].windows(2).position(|two| two == b"\x1b[") {
        let start = from + found;
        let parameters = heard[start + 2..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit() || **byte == b';')
            .count();
        let end = start + 2 + parameters;
        if heard.get(end) == Some(&b'm') {
            heard.drain(start..=end);
            from = start;
        } else {
            from = end;
        }
    }
}

/// One command of the Ethernet console of a shelf, from an interface of a namespace.
///
/// # Errors
/// The console does not answer.
pub fn cec(
    namespace: &Namespace,
    interface: &str,
    shelf: u16,
    line: &str,
) -> Result<CommandOutput> {
    let mut command = namespace.command(paths::binary("cec")?);
    command.args(["-q", "-s", &shelf.to_string(), interface]);
    let output = crate::process::feed(command, format!("{line}\r").as_bytes())?;
    let text = [output.stdout, output.stderr].concat();
    let output = CommandOutput {
        output: String::from_utf8_lossy(&text).into_owned(),
        status: output.status.code().unwrap_or(-1),
    };
    transcript::record("cec>", line, &output.output);
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_same_in_all_colors() {
        let said = "are \x1b[31mmissing\x1b[0m or \x1b[1;33mfailed\x1b[0m\x1b[K: \x1b[H3\r\n";
        for split in 0..said.len() {
            let (first, second) = said.as_bytes().split_at(split);
            let mut heard = first.to_vec();
            take_colors_away(&mut heard);
            heard.extend_from_slice(second);
            take_colors_away(&mut heard);
            assert_eq!(
                String::from_utf8_lossy(&heard),
                "are missing or failed\x1b[K: \x1b[H3\r\n"
            );
        }
    }
}

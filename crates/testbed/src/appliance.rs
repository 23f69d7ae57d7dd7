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
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::daemon::Daemon;
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

/// Bytes of each of them.
const DISK_BYTES: u64 = 256 << 20;

/// Bytes of the boot disk: what is beyond the image becomes the state partition.
const BOOT_BYTES: u64 = 2 << 30;

/// The longest pause between looks at the clock.
const POLL: Duration = Duration::from_millis(100);

/// What `make image` has made of a version, or of the only one there is: `ledge-VERSION.EXTENSION`.
///
/// # Errors
/// There is none, or more than one.
pub fn artifact(version: Option<&str>, extension: &str) -> Result<PathBuf> {
    let directory = match env::var_os("LEDGE_IMAGE_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => paths::target_dir()?.join("image"),
    };
    let wanted = version.map(|version| format!("ledge-{version}.{extension}"));
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let name = paths::base_name(&path);
        let fits = wanted
            .as_ref()
            .map_or(name.ends_with(&format!(".{extension}")), |wanted| {
                *wanted == name
            });
        if fits {
            found.push(path);
        }
    }
    match found.as_slice() {
        [path] => Ok(path.clone()),
        _ => bail!(
            "{} files *.{extension} in {}, and one is needed: make image",
            found.len(),
            directory.display()
        ),
    }
}

/// A machine with its disks, on or off.
#[derive(Debug)]
pub struct Machine {
    directory: TempDir,
}

impl Machine {
    /// A machine whose boot disk holds the image, and whose data disks are empty.
    ///
    /// # Errors
    /// The files cannot be made.
    pub fn new(image: &Path) -> Result<Self> {
        let directory = tempfile::tempdir().context("directory of the machine")?;
        let machine = Self { directory };
        let mut copy = std::process::Command::new("cp");
        copy.arg("--sparse=always")
            .args([image, &machine.path("boot")]);
        run(copy, Duration::from_secs(300))?.success("cp")?;
        grow(&machine.path("boot"), BOOT_BYTES)?;
        for disk in DISKS {
            File::create(machine.path(disk))?.set_len(DISK_BYTES)?;
        }
        fs::copy(FIRMWARE[1], machine.path("variables"))
            .context("OVMF: deploy/packages.sh image")?;
        Ok(machine)
    }

    /// The file behind a disk: `boot`, or one of [`DISKS`].
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Switches the machine on, with its port at `end`.
    ///
    /// # Errors
    /// The emulator does not start.
    pub fn switch_on(&self, namespace: &Namespace, end: GuestEnd, mtu: u16) -> Result<Appliance> {
        let mut command = namespace.command(requirements::program(vm::EMULATOR)?);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        command.args([
            "-machine", "q35", "-accel", "tcg", "-cpu", "Nehalem", "-smp", "2", "-m", "1024",
        ]);
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
        vm::attach_image(&mut command, "boot", &self.path("boot"));
        command.args(["-device", "virtio-blk-pci,drive=boot,bootindex=0"]);
        command.args(["-device", "megasas-gen2,id=sas"]);
        for (number, disk) in DISKS.into_iter().enumerate() {
            vm::attach_image(&mut command, disk, &self.path(disk));
            let place = match number {
                0 | 1 => "nvme".to_owned(),
                2 | 3 => format!("ide-hd,bus=ide.{number}"),
                _ => format!("scsi-hd,bus=sas.0,scsi-id={number}"),
            };
            command.args(["-device", &format!("{place},drive={disk},serial={disk}")]);
        }
        vm::attach_network(&mut command, 0, end, mtu);
        Appliance::start(command)
    }
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
        let mut emulator = Daemon::start("the emulator", command)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        let serial = vm::accept(&listener, &mut emulator, deadline)?;
        serial.set_read_timeout(Some(POLL))?;
        Ok(Self {
            emulator,
            serial,
            heard: Vec::new(),
            _socket: socket,
        })
    }

    /// Waits until the serial line says `text`, and forgets all up to there. Returns what came before.
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
                Ok(count) => self.heard.extend_from_slice(&buffer[..count]),
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

    /// Whether the machine has switched itself off.
    ///
    /// # Errors
    /// Its state cannot be had.
    pub fn is_off(&mut self) -> Result<bool> {
        Ok(self.emulator.exit_status()?.is_some())
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

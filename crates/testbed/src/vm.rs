//! A virtual machine in software emulation that runs one shell command at a time.
//!
//! The guest's kernel log comes over its first serial line and is kept; commands and answers go
//! over the second ("guest-init.sh" has the format). Hardware acceleration is never used: the
//! same run must be possible in a cloud machine or a container without it.
//!
//! **Invariants**
//! - An answer belongs to the command it carries the number of: after a time-out, the late answer
//!   is dropped.
//! - Every error quotes the last lines of the guest's console.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::daemon::{Daemon, Log};
use crate::guest;
use crate::initramfs::Role;
use crate::monitor::Monitor;
use crate::netns::Namespace;
use crate::network::{FIRST_GUEST, GuestEnd, VmNetwork};
use crate::process::{CommandOutput, to_text};
use crate::requirements;

/// The byte that begins an answer.
const ANSWER: u8 = 1;

/// The longest pause between looks at the clock.
const POLL: Duration = Duration::from_millis(100);

/// What every guest's kernel is told. Its check of the timer counts on an emulator that is given time at
/// once, and ends in a panic where it is not.
const KERNEL_PARAMETERS: &str = "console=ttyS0 panic=-1 mitigations=off no_timer_check";

pub(crate) const EMULATOR: &str = "qemu-system-x86_64";

/// SCSI targets that the disks of a guest are spread over; "guest-init.sh" has the same number.
const TARGETS: usize = 128;

/// The most disks of a guest: two on every target.
pub const DISKS_MAX: usize = 2 * TARGETS;

/// How a machine is built.
#[derive(Debug, Clone)]
pub struct VmOptions {
    /// Emulated CPUs; the emulator gives each a thread.
    pub processors: u8,
    /// Memory in MiB; files in the guest's `/run` and `/tmp` live there too.
    pub memory_mib: u32,
    /// Whether the guest has `fio`, which with its libraries needs 100 MiB of the memory.
    pub fio: bool,
    /// Time until the guest must answer. Emulated boots take 3 to 20 s on an idle machine.
    pub boot_timeout: Duration,
}

impl Default for VmOptions {
    fn default() -> Self {
        Self {
            processors: 1,
            memory_mib: 512,
            fio: false,
            boot_timeout: Duration::from_secs(180),
        }
    }
}

/// What a machine with bays has beside its board.
#[derive(Debug, Clone, Default)]
pub struct Hardware {
    /// Images of disks, raw, each with the name by which the `drive` of a device calls it. What is on one
    /// stays when its device is pulled; no two devices have the same.
    pub media: Vec<(String, PathBuf)>,
    /// What else is behind devices, in the emulator's words.
    pub block_devices: Vec<String>,
    /// Devices, in the emulator's words, in the order in which it makes them.
    pub devices: Vec<String>,
    /// MTU of the network, in bytes.
    pub mtu: u16,
}

/// A running machine; dropping it is a power cut.
#[derive(Debug)]
pub struct Vm {
    // Fields drop in order: the emulator before the directory of its sockets.
    emulator: Daemon,
    console: Log,
    commands: UnixStream,
    received: Vec<u8>,
    next_id: u64,
    _sockets: TempDir,
}

impl Vm {
    /// Boots an AoE client with an interface on each path of the network, `eth0` on the first, and waits
    /// until it takes commands.
    ///
    /// # Errors
    /// A package is missing, the guest cannot be built, or it does not come up in time.
    pub fn boot(network: &VmNetwork, options: &VmOptions) -> Result<Self> {
        Self::boot_on(network, network.guest_ends(), options)
    }

    /// As [`Vm::boot`], at another end of the network.
    ///
    /// # Errors
    /// As [`Vm::boot`].
    pub fn boot_at(network: &VmNetwork, end: GuestEnd, options: &VmOptions) -> Result<Self> {
        Self::boot_on(network, &[end], options)
    }

    fn boot_on(network: &VmNetwork, ends: &[GuestEnd], options: &VmOptions) -> Result<Self> {
        let qemu = requirements::program(EMULATOR)?;
        let mut command = network.client.command(qemu);
        let mtu = network.mtu;
        for (number, &end) in ends.iter().enumerate() {
            attach_network(&mut command, number, end, mtu);
        }
        Self::start(command, &client_parameters(mtu), options)
    }

    /// Boots a host of disks with Linux md and without a network. Each path is a disk image, raw;
    /// the guest knows the N-th as `/dev/disk/N`. What the guest has written is in the image at
    /// once, so dropping the machine loses only what the guest itself still held back.
    ///
    /// # Errors
    /// As [`Vm::boot`], or more disks than [`DISKS_MAX`].
    pub fn boot_with_disks(disks: &[PathBuf], options: &VmOptions) -> Result<Self> {
        let count = disks.len();
        ensure!(
            count <= DISKS_MAX,
            "{count} disks for a guest, at most {DISKS_MAX}"
        );
        let mut command = Command::new(requirements::program(EMULATOR)?);
        attach_disks(&mut command, disks);
        let role = Role::Storage.name();
        // What hangs is worth a trace of its stack on the console.
        let parameters = format!(
            "{KERNEL_PARAMETERS} loglevel=7 sysctl.kernel.hung_task_timeout_secs=30 guest.role={role} guest.disks={count}"
        );
        Self::start(command, &parameters, options)
    }

    /// Boots a host for a shelf: NVMe drives with a poll queue each, of which the guest knows the N-th as
    /// `/dev/nvmeNn1`, disks as those of [`Vm::boot_with_disks`], which have none, and programs of ours.
    ///
    /// # Errors
    /// As [`Vm::boot_with_disks`].
    pub fn boot_shelf(
        drives: &[PathBuf],
        disks: &[PathBuf],
        programs: &[PathBuf],
        options: &VmOptions,
    ) -> Result<Self> {
        let image = guest::prepare()?;
        let directory = tempfile::tempdir().context("directory for the guest's image")?;
        let initramfs = directory.path().join("initramfs");
        guest::with_programs(&image, programs, &initramfs)?;
        let mut command = Command::new(requirements::program(EMULATOR)?);
        attach_disks(&mut command, disks);
        attach_drives(&mut command, drives);
        attach_machine(&mut command, "pc", options);
        let (role, count) = (Role::Shelf.name(), disks.len());
        let parameters = format!(
            "{KERNEL_PARAMETERS} loglevel=5 guest.role={role} guest.disks={count} guest.poll_queues=1"
        );
        attach_guest(&mut command, (&image.kernel, &initramfs), &parameters);
        Self::start_emulator(command, options)
    }

    /// Boots a host for a shelf with disks of every kind, which can be pulled and inserted while it runs, and
    /// with programs of ours; `eth0` is at the tap.
    ///
    /// # Errors
    /// As [`Vm::boot`], or the emulator does not take the hardware.
    pub fn boot_bays(
        (namespace, end): (&Namespace, GuestEnd),
        hardware: &Hardware,
        programs: &[PathBuf],
        options: &VmOptions,
    ) -> Result<(Self, Monitor)> {
        let series = guest::chosen_series();
        // The first of Debian's with multi-buffer AF_XDP, which jumbo frames need.
        let image = guest::prepare_series(series.as_deref().or(Some("6.12")))?;
        let directory = tempfile::tempdir().context("directory for the guest's image")?;
        let initramfs = directory.path().join("initramfs");
        guest::with_programs(&image, programs, &initramfs)?;
        let mut command = namespace.command(requirements::program(EMULATOR)?);
        attach_machine(&mut command, "q35", options);
        for (name, path) in &hardware.media {
            attach_medium(&mut command, name, path);
        }
        for block_device in &hardware.block_devices {
            command.arg("-blockdev").arg(block_device);
        }
        for device in &hardware.devices {
            command.arg("-device").arg(device);
        }
        attach_network(&mut command, 0, end, hardware.mtu);
        let monitor = directory.path().join("monitor");
        let listener = listen(&monitor)?;
        command
            .arg("-chardev")
            .arg(format!("socket,id=monitor,path={}", monitor.display()));
        command.args(["-mon", "chardev=monitor,mode=control"]);
        let (role, mtu) = (Role::Bays.name(), hardware.mtu);
        let parameters = format!(
            "{KERNEL_PARAMETERS} loglevel=5 guest.role={role} guest.mtu={mtu} guest.poll_queues=1"
        );
        attach_guest(&mut command, (&image.kernel, &initramfs), &parameters);
        let mut vm = Self::start_emulator(command, options)?;
        let deadline = Instant::now() + options.boot_timeout;
        let monitor = accept(&listener, &mut vm.emulator, deadline)?;
        Ok((vm, Monitor::new(monitor)?))
    }

    /// Boots a machine without a disk from a LUN, e.g. `e1.0`: iPXE takes the LUN for a disk, and what is on
    /// it decides what runs ([`crate::boot_image`] has the guest on it).
    ///
    /// # Errors
    /// As [`Vm::boot`]; iPXE is missing; or the guest on the LUN does not come up in time.
    pub fn boot_from_lun(network: &VmNetwork, device: &str, options: &VmOptions) -> Result<Self> {
        requirements::check_vm()?;
        let directory = tempfile::tempdir().context("directory for the script")?;
        let script = directory.path().join("boot.ipxe");
        // Without a LUN there is nothing to wait for: the emulator ends instead of starting again.
        let text = format!("#!ipxe\nifopen net0\nsanboot aoe:{device} || reboot\n");
        fs::write(&script, text).context("script for iPXE")?;
        let mut command = network.client.command(requirements::program(EMULATOR)?);
        attach_network(&mut command, 0, FIRST_GUEST, network.mtu);
        attach_machine(&mut command, "pc", options);
        // What firmware and loaders say goes to the serial line, too.
        command.args(["-machine", "graphics=off"]);
        command.arg("-kernel").arg(requirements::ipxe()?);
        command.arg("-initrd").arg(&script);
        Self::start_emulator(command, options)
    }

    fn start(mut command: Command, parameters: &str, options: &VmOptions) -> Result<Self> {
        let image = guest::prepare()?;
        attach_machine(&mut command, "pc", options);
        let initramfs = if options.fio {
            &image.initramfs_with_fio
        } else {
            &image.initramfs
        };
        attach_guest(&mut command, (&image.kernel, initramfs), parameters);
        Self::start_emulator(command, options)
    }

    /// Starts a machine and waits until the guest in it takes commands.
    fn start_emulator(mut command: Command, options: &VmOptions) -> Result<Self> {
        let sockets = tempfile::tempdir().context("directory for the serial lines")?;
        let console_path = sockets.path().join("console");
        let commands_path = sockets.path().join("commands");
        let console_listener = listen(&console_path)?;
        let commands_listener = listen(&commands_path)?;

        attach_serial_lines(&mut command, &console_path, &commands_path);
        let mut emulator = Daemon::start("the emulator", command)?;
        let deadline = Instant::now() + options.boot_timeout;
        let console = Log::default();
        console.follow(accept(&console_listener, &mut emulator, deadline)?);
        let commands = accept(&commands_listener, &mut emulator, deadline)?;
        commands
            .set_read_timeout(Some(POLL))
            .context("serial line")?;

        let received = Vec::new();
        let mut vm = Self {
            emulator,
            console,
            commands,
            received,
            next_id: 0,
            _sockets: sockets,
        };
        vm.answer("ready", deadline)
            .context("the guest did not boot")?;
        Ok(vm)
    }

    /// Runs a shell command (busybox `sh`; may have several lines) to its end in the guest.
    /// Background work is started with `… >FILE 2>&1 &`.
    ///
    /// # Errors
    /// The guest has died, or does not answer within `timeout`.
    pub fn run(&mut self, command: &str, timeout: Duration) -> Result<CommandOutput> {
        let deadline = Instant::now() + timeout;
        self.next_id += 1;
        let id = self.next_id.to_string();
        let escaped = command.replace('\\', "\\\\").replace('\n', "\\n");
        self.commands
            .write_all(format!("{id} {escaped}\n").as_bytes())
            .with_context(|| format!("cannot send a command to the guest{}", self.quote()))?;
        let seconds = timeout.as_secs();
        self.answer(&id, deadline)
            .with_context(|| format!("in the guest, `{command}` (time limit {seconds} s)"))
    }

    /// Runs a shell command that must succeed, and returns its output.
    ///
    /// # Errors
    /// As [`Vm::run`], or its exit status is not 0.
    pub fn run_ok(&mut self, command: &str, timeout: Duration) -> Result<String> {
        self.run(command, timeout)?.success(command)
    }

    /// Everything the guest's kernel and init have said so far.
    #[must_use]
    pub fn console(&self) -> String {
        self.console.lines().join("\n")
    }

    /// Waits for the answer to the command with this number.
    fn answer(&mut self, id: &str, deadline: Instant) -> Result<CommandOutput> {
        loop {
            while let Some((answered, output)) = take_answer(&mut self.received)? {
                if answered == id {
                    return Ok(output);
                }
            }
            let mut buffer = [0; 65536];
            match self.commands.read(&mut buffer) {
                Ok(0) => bail!("the guest has ended{}", self.quote()),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if is_timeout(error.kind()) => {}
                Err(error) => bail!("the guest's serial line: {error}{}", self.quote()),
            }
            if Instant::now() >= deadline {
                bail!("no answer in time{}", self.quote());
            }
        }
    }

    fn quote(&self) -> String {
        let emulator = self.emulator.log();
        format!(
            "\n--- guest console:\n{}\n--- emulator:\n{emulator}",
            self.console.tail()
        )
    }
}

/// What the kernel of an AoE client is told, however it is started.
#[must_use]
pub fn client_parameters(mtu: u16) -> String {
    let role = Role::Client.name();
    format!("{KERNEL_PARAMETERS} loglevel=5 guest.role={role} guest.mtu={mtu}")
}

pub(crate) fn is_timeout(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Takes the first complete answer off the received bytes.
fn take_answer(received: &mut Vec<u8>) -> Result<Option<(String, CommandOutput)>> {
    let Some(start) = received.iter().position(|byte| *byte == ANSWER) else {
        return Ok(None);
    };
    let Some(header_len) = received[start..].iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let header = to_text(&received[start + 1..start + header_len]);
    let words: Vec<&str> = header.split(' ').collect();
    let [id, status, len_bytes] = words[..] else {
        bail!("the guest answered with the header {header:?}");
    };
    let status = status
        .parse()
        .with_context(|| format!("answer header {header:?}"))?;
    let len_bytes: usize = len_bytes
        .parse()
        .with_context(|| format!("answer header {header:?}"))?;
    let body = start + header_len + 1;
    if received.len() < body + len_bytes {
        return Ok(None);
    }
    let output = to_text(&received[body..body + len_bytes]);
    let answer = (id.to_owned(), CommandOutput { output, status });
    received.drain(..body + len_bytes);
    Ok(Some(answer))
}

pub(crate) fn listen(path: &Path) -> Result<UnixListener> {
    let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
    listener.set_nonblocking(true).context("serial line")?;
    Ok(listener)
}

/// Waits for the emulator to connect one of its serial lines.
pub(crate) fn accept(
    listener: &UnixListener,
    emulator: &mut Daemon,
    deadline: Instant,
) -> Result<UnixStream> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).context("serial line")?;
                return Ok(stream);
            }
            Err(error) if is_timeout(error.kind()) => {}
            Err(error) => return Err(error).context("serial line"),
        }
        if let Some(status) = emulator.exit_status()? {
            bail!(
                "the emulator ended with status {status}:\n{}",
                emulator.log()
            );
        }
        if Instant::now() >= deadline {
            bail!(
                "the emulator does not connect its serial lines:\n{}",
                emulator.log()
            );
        }
        thread::sleep(POLL);
    }
}

/// Processor and memory.
fn attach_machine(command: &mut Command, board: &str, options: &VmOptions) {
    command.args([
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
    ]);
    command.args(["-machine", board, "-accel", "tcg", "-cpu", "Nehalem"]);
    command.arg("-smp").arg(options.processors.to_string());
    command.arg("-m").arg(options.memory_mib.to_string());
}

/// Kernel and initramfs.
fn attach_guest(command: &mut Command, (kernel, initramfs): (&Path, &Path), parameters: &str) {
    command
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs);
    command.arg("-append").arg(parameters);
}

fn attach_serial_lines(command: &mut Command, console: &Path, commands: &Path) {
    for (name, path) in [("console", console), ("commands", commands)] {
        command
            .arg("-chardev")
            .arg(format!("socket,id={name},path={}", path.display()));
        command.arg("-serial").arg(format!("chardev:{name}"));
    }
}

pub(crate) fn attach_network(command: &mut Command, number: usize, end: GuestEnd, mtu: u16) {
    let GuestEnd { tap, address } = end;
    command.arg("-netdev").arg(format!(
        "tap,id=net{number},ifname={tap},script=no,downscript=no"
    ));
    command.arg("-device").arg(format!(
        "virtio-net-pci,netdev=net{number},mac={address},host_mtu={mtu},mrg_rxbuf=on,romfile="
    ));
}

fn attach_disks(command: &mut Command, disks: &[PathBuf]) {
    command.args(["-device", "virtio-scsi-pci,id=scsi0"]);
    for (number, path) in disks.iter().enumerate() {
        attach_image(command, &format!("disk{number}"), path);
        let (target, lun) = (number % TARGETS, number / TARGETS);
        command.arg("-device").arg(format!(
            "scsi-hd,bus=scsi0.0,scsi-id={target},lun={lun},drive=disk{number}"
        ));
    }
}

fn attach_drives(command: &mut Command, drives: &[PathBuf]) {
    for (number, path) in drives.iter().enumerate() {
        let name = format!("nvme{number}");
        attach_image(command, &name, path);
        command
            .arg("-device")
            .arg(format!("nvme,drive={name},serial=ledge{number}"));
    }
}

/// As [`attach_image`], but the image outlives its device.
fn attach_medium(command: &mut Command, name: &str, path: &Path) {
    let path = path.display().to_string().replace(',', ",,");
    command.arg("-blockdev").arg(format!(
        "driver=raw,node-name={name},cache.no-flush=on,file.driver=file,file.filename={path}"
    ));
}

pub(crate) fn attach_image(command: &mut Command, name: &str, path: &Path) {
    // A comma in a name is doubled. "unsafe" leaves out the flushes to the host's disk: the host
    // does not lose power in a test.
    let path = path.display().to_string().replace(',', ",,");
    command.arg("-drive").arg(format!(
        "if=none,id={name},format=raw,cache=unsafe,file={path}"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_all_of_it_has_arrived() {
        let mut received = b"noise\x017 1 6\nab\ncd".to_vec();
        assert_eq!(take_answer(&mut received).unwrap(), None);
        received.extend(b"\n\x018 0 0\n");
        let expected = CommandOutput {
            output: "ab\ncd\n".into(),
            status: 1,
        };
        assert_eq!(
            take_answer(&mut received).unwrap(),
            Some(("7".into(), expected))
        );
        let empty = CommandOutput {
            output: String::new(),
            status: 0,
        };
        assert_eq!(
            take_answer(&mut received).unwrap(),
            Some(("8".into(), empty))
        );
        assert_eq!(take_answer(&mut received).unwrap(), None);
    }

    #[test]
    fn a_broken_header_is_an_error() {
        assert!(take_answer(&mut b"\x01what\n".to_vec()).is_err());
        assert!(take_answer(&mut b"\x011 zero 0\n".to_vec()).is_err());
    }
}

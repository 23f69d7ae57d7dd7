//! Our shelf under test: a directory with its configuration and sparse disks, the daemon, and its
//! console.
//!
//! The disks outlive the daemon, so a test can stop, kill and start it again over the same data.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::netns::Namespace;
use crate::network::TARGET_INTERFACE;
use crate::process::{CommandOutput, run};
use crate::{paths, transcript};

/// Limit for the daemon's start and clean end, and for one console command. Claiming disks and
/// loading the XDP program take well under a second; the rest is for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A line of every configuration of ours: a system call that the daemon, or a program that it runs, makes
/// and may not make is not an error that somebody may get over without a word, but its end.
pub const SANDBOX: &str = "sandbox = \"kill\"\n";

/// How a shelf is configured.
#[derive(Debug, Clone)]
pub struct LedgeOptions {
    /// AoE major address; `None` leaves it unset, as on a new box.
    pub shelf: Option<u16>,
    /// Interfaces of the namespace to serve on.
    pub interfaces: Vec<String>,
    /// `auto`, `zerocopy`, `native`, `generic` or `packet`.
    pub mode: String,
    /// Whether the Ethernet console answers on the interfaces.
    pub cec: bool,
    /// Further lines before the first `[[port]]`.
    pub lines: String,
    /// Further lines of each `[[port]]`.
    pub port_lines: String,
    /// Number of disks, in slots from 0.
    pub disks: u8,
    /// Size of each disk, a sparse file, in bytes.
    pub disk_bytes: u64,
    /// Volatile memory disks (`ram:`) instead of files.
    pub memory_disks: bool,
    /// Data-path threads.
    pub workers: u16,
}

impl Default for LedgeOptions {
    /// Shelf 1 with 16 disks of 256 MiB on [`TARGET_INTERFACE`], with a console; in the mode that cards have,
    /// which `auto` does not choose on a veth.
    fn default() -> Self {
        Self {
            shelf: Some(1),
            interfaces: vec![TARGET_INTERFACE.to_owned()],
            mode: "native".to_owned(),
            cec: true,
            lines: String::new(),
            port_lines: String::new(),
            disks: 16,
            disk_bytes: 256 << 20,
            memory_disks: false,
            workers: default_workers(),
        }
    }
}

/// `LEDGE_TEST_WORKERS`, so that every test can be run with several; else one.
fn default_workers() -> u16 {
    let given = std::env::var("LEDGE_TEST_WORKERS").ok();
    given.map_or(1, |count| {
        let count = count.parse();
        count.unwrap_or_else(|error| panic!("LEDGE_TEST_WORKERS: {error}"))
    })
}

/// A shelf: its disks always, its daemon while it runs.
#[derive(Debug)]
pub struct Ledge<'a> {
    // Fields drop in order: the daemon before its directory.
    daemon: Option<Daemon>,
    namespace: &'a Namespace,
    options: LedgeOptions,
    directory: TempDir,
}

impl<'a> Ledge<'a> {
    /// Makes the disks and the configuration, and starts the daemon in the namespace.
    ///
    /// # Errors
    /// The binaries are not built, the disk files cannot be made, or the daemon does not get ready.
    pub fn start(namespace: &'a Namespace, options: LedgeOptions) -> Result<Self> {
        // Missing binaries are reported before anything is made.
        paths::binary("ledged")?;
        paths::binary("ledge")?;
        let directory = tempfile::Builder::new()
            .prefix("ledge-")
            .tempdir()
            .context("directory")?;
        let mut ledge = Self {
            daemon: None,
            namespace,
            options,
            directory,
        };
        if !ledge.options.memory_disks {
            for slot in 0..ledge.options.disks {
                let path = ledge.disk_path(slot);
                let file = File::create(&path).with_context(|| path.display().to_string())?;
                file.set_len(ledge.options.disk_bytes)
                    .context("size of a disk file")?;
            }
        }
        fs::create_dir(ledge.path("state")).context("state directory")?;
        fs::write(ledge.config_path(), ledge.config()).context("configuration")?;
        ledge.start_again()?;
        Ok(ledge)
    }

    /// Starts the daemon over the same disks after [`Ledge::stop`] or [`Ledge::kill`].
    ///
    /// # Errors
    /// It is running, or does not get ready; quotes its last lines.
    pub fn start_again(&mut self) -> Result<()> {
        if self.daemon.is_some() {
            bail!("ledged is running already");
        }
        let mut command = self.namespace.command(paths::binary("ledged")?);
        command.arg("--config").arg(self.config_path());
        let mut daemon = Daemon::start("ledged", command)?;
        let line = daemon.wait_for_line("ready", TIMEOUT)?;
        transcript::note(&format!("ledged: {line}"));
        self.daemon = Some(daemon);
        Ok(())
    }

    /// SIGTERM, and waits for the clean end.
    ///
    /// # Errors
    /// It is not running, or does not end with status 0; quotes its last lines.
    pub fn stop(&mut self) -> Result<()> {
        transcript::note("SIGTERM to ledged");
        self.take_daemon()?.terminate(TIMEOUT)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&mut self) -> Result<()> {
        transcript::note("kill -9 of ledged");
        self.take_daemon()?.kill()
    }

    /// Runs one console command, e.g. `make 0 raid10 1.0-15`, and writes it to the transcript.
    ///
    /// # Errors
    /// The control program cannot be run or does not end. A command that the shelf refuses is no
    /// error here: see [`CommandOutput::status`].
    pub fn console(&self, command_line: &str) -> Result<CommandOutput> {
        let mut command = Command::new(paths::binary("ledge")?);
        command
            .arg("--socket")
            .arg(self.control_socket())
            .args(command_line.split_whitespace());
        let output = run(command, TIMEOUT).with_context(|| self.log())?;
        transcript::record(&self.prompt(), command_line, &output.output);
        Ok(output)
    }

    /// Runs one console command that must succeed, and returns its output.
    ///
    /// # Errors
    /// As [`Ledge::console`], or the shelf refuses; quotes its answer and the daemon's last lines.
    pub fn console_ok(&self, command_line: &str) -> Result<String> {
        self.console(command_line)?
            .success(command_line)
            .with_context(|| self.log())
    }

    /// The daemon, e.g. to wait for a line of its log.
    pub fn daemon(&mut self) -> Option<&mut Daemon> {
        self.daemon.as_mut()
    }

    /// What the running daemon has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        match &self.daemon {
            Some(daemon) => format!("--- ledged:\n{}", daemon.log()),
            None => "--- ledged is not running".to_owned(),
        }
    }

    /// The file that backs a disk.
    #[must_use]
    pub fn disk_path(&self, slot: u8) -> PathBuf {
        self.path(&format!("disk{slot}"))
    }

    /// The configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.path("ledge.toml")
    }

    /// The control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.path("control.sock")
    }

    /// The directory of the shelf's own state.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.path("state")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn prompt(&self) -> String {
        let shelf = self
            .options
            .shelf
            .map_or_else(|| "unset".to_owned(), |s| s.to_string());
        format!("SR shelf {shelf}>")
    }

    fn take_daemon(&mut self) -> Result<Daemon> {
        self.daemon.take().context("ledged is not running")
    }

    fn config(&self) -> String {
        config(&self.options, self.directory.path())
    }
}

/// The configuration file's text; paths in it lie in `directory`.
fn config(options: &LedgeOptions, directory: &Path) -> String {
    let directory = directory.display();
    let mut text = String::new();
    if let Some(shelf) = options.shelf {
        text += &format!("shelf = {shelf}\n");
    }
    text += &format!("state_dir = \"{directory}/state\"\n");
    text += &format!("control_socket = \"{directory}/control.sock\"\n");
    text += &format!("workers = {}\n", options.workers);
    text += SANDBOX;
    text += &options.lines;
    for interface in &options.interfaces {
        let (mode, cec) = (&options.mode, options.cec);
        text +=
            &format!("\n[[port]]\ninterface = \"{interface}\"\nmode = \"{mode}\"\ncec = {cec}\n");
        text += &options.port_lines;
    }
    for slot in 0..options.disks {
        let path = if options.memory_disks {
            format!("ram:{}M", options.disk_bytes >> 20)
        } else {
            format!("{directory}/disk{slot}")
        };
        text += &format!("\n[[disk]]\nslot = {slot}\npath = \"{path}\"\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_lists_ports_and_disks() {
        let options = LedgeOptions {
            disks: 2,
            mode: "packet".into(),
            ..LedgeOptions::default()
        };
        let expected = "shelf = 1\nstate_dir = \"/d/state\"\ncontrol_socket = \"/d/control.sock\"\n\
                        workers = 1\nsandbox = \"kill\"\n\n[[port]]\ninterface = \"eth1\"\nmode = \"packet\"\n\
                        cec = true\n\n[[disk]]\nslot = 0\npath = \"/d/disk0\"\n\n[[disk]]\n\
                        slot = 1\npath = \"/d/disk1\"\n";
        assert_eq!(config(&options, Path::new("/d")), expected);
    }

    #[test]
    fn memory_disks_and_an_unset_shelf_are_said_so() {
        let options = LedgeOptions {
            shelf: None,
            disks: 1,
            memory_disks: true,
            interfaces: vec![],
            ..LedgeOptions::default()
        };
        let text = config(&options, Path::new("/d"));
        assert!(!text.contains("shelf ="), "{text}");
        assert!(
            text.ends_with("[[disk]]\nslot = 0\npath = \"ram:256M\"\n"),
            "{text}"
        );
    }
}

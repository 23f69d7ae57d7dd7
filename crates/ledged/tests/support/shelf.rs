//! A daemon with a configuration that the test writes itself, for what must not start and for what
//! starts crippled; and what tests ask of a shelf that serves.

use super::LIMIT;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::ledge::SANDBOX;
use testbed::process::{CommandOutput, run, run_ok};
use testbed::{Daemon, Ledge, Namespace, PairNetwork, paths};

/// `[[port]]` of the interface that every [`Setup`] has.
pub(crate) const PORT: &str = "[[port]]\ninterface = \"eth1\"\nmode = \"packet\"\n";

/// A directory and a network for a daemon.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) directory: TempDir,
    pub(crate) network: PairNetwork,
}

impl Setup {
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ledge-").tempdir()?;
        Ok(Self {
            directory,
            network: PairNetwork::new(9000)?,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a sparse file for a disk.
    pub(crate) fn disk(&self, name: &str, size_bytes: u64) -> Result<PathBuf> {
        let path = self.path(name);
        fs::File::create(&path)?.set_len(size_bytes)?;
        Ok(path)
    }

    /// Shelf 1 with its paths in the directory and [`PORT`], then `[[disk]]` for each path in slots
    /// from 0.
    pub(crate) fn write_config(&self, disks: &[&Path]) -> Result<()> {
        let mut text = format!("shelf = 1\n{}{PORT}", self.paths());
        for (slot, path) in disks.iter().enumerate() {
            text += &disk(slot, path);
        }
        self.write_text(&text)
    }

    /// The keys that keep a daemon inside the directory, and to what it may do.
    pub(crate) fn paths(&self) -> String {
        let directory = self.directory.path().display();
        format!(
            "state_dir = \"{directory}/state\"\ncontrol_socket = \"{directory}/control.sock\"\n{SANDBOX}"
        )
    }

    pub(crate) fn write_text(&self, text: &str) -> Result<()> {
        fs::write(self.path("ledge.toml"), text).context("configuration")
    }

    /// The daemon's command line.
    pub(crate) fn command(&self) -> Result<Command> {
        ledged_in(&self.network.target, &self.path("ledge.toml"))
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) fn start(&self) -> Result<Daemon> {
        let mut daemon = Daemon::start("ledged", self.command()?)?;
        daemon.wait_for_line("ready", LIMIT)?;
        Ok(daemon)
    }

    /// Runs a daemon that must not start: it ends with status 1, and says exactly one error, on
    /// standard error. Gives that line.
    pub(crate) fn refused(&self) -> Result<String> {
        refusal(&self.command()?)
    }

    /// As [`Setup::refused`], for a configuration of this text.
    pub(crate) fn refused_text(&self, text: &str) -> Result<String> {
        self.write_text(text)?;
        self.refused()
    }

    /// One console command.
    pub(crate) fn console(&self, line: &str) -> Result<CommandOutput> {
        let mut command = Command::new(paths::binary("ledge")?);
        command.arg("--socket").arg(self.path("control.sock"));
        command.args(line.split_whitespace());
        run(command, LIMIT)
    }

    /// The row of a slot in `show -l`.
    pub(crate) fn row(&self, slot: usize) -> Result<String> {
        let shown = self.console("show -l")?.success("show -l")?;
        let row = shown.lines().nth(slot).map(str::to_owned);
        row.with_context(|| format!("no row {slot} in:\n{shown}"))
    }

    /// A command that the shelf must refuse; gives what it says.
    pub(crate) fn console_refused(&self, line: &str) -> Result<String> {
        let output = self.console(line)?;
        ensure!(
            output.status == 1,
            "{line}: status {}: {}",
            output.status,
            output.output
        );
        let error = output.output.trim_end().to_owned();
        ensure!(error.starts_with("error: "), "{line}: {error}");
        Ok(error)
    }
}

/// A loop device, detached at the end.
#[derive(Debug)]
pub(crate) struct Loop(pub(crate) String);

impl Loop {
    pub(crate) fn attach(file: &Path, read_only: bool) -> Result<Self> {
        let mut command = Command::new("losetup");
        command.args(["--find", "--show"]);
        if read_only {
            command.arg("--read-only");
        }
        command.arg(file);
        Ok(Self(run_ok(command)?.trim().to_owned()))
    }

    /// One whose sectors have 4096 bytes, with direct I/O. An error where the kernel has none.
    pub(crate) fn attach_with_blocks(file: &Path) -> Result<Self> {
        let mut command = Command::new("losetup");
        command.args([
            "--find",
            "--show",
            "--sector-size",
            "4096",
            "--direct-io=on",
        ]);
        command.arg(file);
        let device = Self(run_ok(command)?.trim().to_owned());
        let name = device.0.trim_start_matches("/dev/");
        let size = fs::read_to_string(format!("/sys/block/{name}/queue/logical_block_size"))?;
        ensure!(size.trim() == "4096", "{name} has sectors of {size}");
        Ok(device)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let mut detach = Command::new("losetup");
        detach.args(["--detach", &self.0]);
        // It fails when the set-up failed, which the test has told.
        drop(run_ok(detach));
    }
}

/// `[[disk]]`.
pub(crate) fn disk(slot: usize, path: &Path) -> String {
    format!("[[disk]]\nslot = {slot}\npath = \"{}\"\n", path.display())
}

/// `ledged` with a configuration in a namespace.
pub(crate) fn ledged_in(namespace: &Namespace, config: &Path) -> Result<Command> {
    let mut command = namespace.command(paths::binary("ledged")?);
    command.arg("--config").arg(config);
    Ok(command)
}

/// Runs a daemon that must end by itself with status 1 and exactly one error.
pub(crate) fn refusal(command: &Command) -> Result<String> {
    let output = limited(command)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(1),
        "{}: {stderr}",
        output.status
    );
    ensure!(output.stdout.is_empty(), "on standard output: {output:?}");
    ensure!(!stderr.contains("panicked"), "{stderr}");
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|line| line.contains("ERROR"))
        .collect();
    let [error] = errors[..] else {
        anyhow::bail!("{} errors instead of one:\n{stderr}", errors.len());
    };
    Ok(error.to_owned())
}

/// Runs a command that is killed when it does not end.
fn limited(command: &Command) -> Result<Output> {
    let mut timeout = Command::new("timeout");
    timeout.args(["--signal=KILL", &LIMIT.as_secs().to_string()]);
    timeout.arg(command.get_program()).args(command.get_args());
    timeout.output().context("timeout")
}

/// The daemon's log never holds the text of a panic.
pub(crate) fn check_log(log: &str) -> Result<()> {
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// Waits until a command says something.
pub(crate) fn wait_until(
    ledge: &Ledge<'_>,
    line: &str,
    is_it: impl Fn(&str) -> bool,
) -> Result<String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let said = ledge.console_ok(line)?;
        if is_it(&said) {
            return Ok(said);
        }
        if Instant::now() > deadline {
            bail!("{line}: {said}\n{}", ledge.log());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The counters of the shelf; of several of a name the highest.
pub(crate) fn counted(ledge: &Ledge<'_>) -> Result<BTreeMap<String, u64>> {
    let text = ledge.console_ok("aoestats -a")?;
    let mut counted = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace().rev();
        if let Some(Ok(count)) = words.next().map(str::parse::<u64>)
            && let Some(name) = words.next()
        {
            let highest: &mut u64 = counted.entry(name.to_owned()).or_default();
            *highest = (*highest).max(count);
        }
    }
    Ok(counted)
}

/// What the shelf counts of frames that it did not take, or lost, or saw twice.
pub(crate) fn lost_nothing(ledge: &Ledge<'_>) -> Result<()> {
    let names = [
        "no_buffer",
        "rx_dropped",
        "rx_ring_full",
        "fill_ring_empty",
        "rx_invalid",
        "replies_dropped",
        "stale_frames",
        "handovers_dropped",
    ];
    let counted = counted(ledge)?;
    for name in names {
        let count = counted
            .get(name)
            .with_context(|| format!("no counter {name}"))?;
        ensure!(*count == 0, "{name} is {count}");
    }
    Ok(())
}

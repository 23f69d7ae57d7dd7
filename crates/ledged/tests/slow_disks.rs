//! Disks that are slow, hang, vanish or fail, with the real program under load: no command of a client
//! fails, nothing that was acknowledged is lost, the console answers throughout, and a member whose disk
//! comes back is taken back.

mod support;

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::shelf::{Setup, check_log, disk};
use testbed::network::CLIENT_INTERFACE;
use testbed::process::run;
use testbed::{Behaviour, Daemon, FaultyDisks, PairNetwork, paths};

const DISK_BYTES: u64 = 16 << 20;

/// The disk that things happen to.
const VICTIM: usize = 1;

/// How long a state may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A shelf on faulty disks with LUN 0 online.
struct Shelf {
    // Dropped in this order: nobody may use the disks when they are unmounted.
    daemon: Option<Daemon>,
    disks: FaultyDisks,
    setup: Setup,
}

impl Shelf {
    fn start(level: &str, members: usize) -> Result<Self> {
        let setup = Setup::new()?;
        let files: Vec<PathBuf> = (0..members)
            .map(|index| setup.disk(&format!("file{index}"), DISK_BYTES))
            .collect::<Result<_>>()?;
        let directory = setup.path("disks");
        std::fs::create_dir(&directory)?;
        let disks = FaultyDisks::mount(&directory, &files)?;
        let mut text = format!(
            "shelf = 1\ndisk_timeout_seconds = 2\n{}{}",
            setup.paths(),
            support::shelf::PORT
        );
        for slot in 0..members {
            text += &disk(slot, &disks.path(slot));
        }
        setup.write_text(&text)?;
        let daemon = Some(setup.start()?);
        let shelf = Self {
            daemon,
            disks,
            setup,
        };
        let last = members - 1;
        shelf.console(&format!("make -c 0 {level} 1.0-{last}"))?;
        shelf.console("online 0")?;
        Ok(shelf)
    }

    fn console(&self, line: &str) -> Result<String> {
        self.setup.console(line)?.success(line)
    }

    /// The state of the victim's element.
    fn state(&self) -> Result<String> {
        let listed = self.console("list -l 0")?;
        let row = listed
            .lines()
            .find(|line| line.split_whitespace().next() == Some("0.0.1"))
            .with_context(|| format!("no element 0.0.1 in:\n{listed}"))?;
        let states = ["normal", "failed", "replaced", "missing"];
        let word = row.split_whitespace().find(|word| states.contains(word));
        word.map(str::to_owned)
            .with_context(|| format!("no state in {row}"))
    }

    fn wait_for(&self, state: &str) -> Result<()> {
        let begun = Instant::now();
        while self.state()? != state {
            ensure!(
                begun.elapsed() < PATIENCE,
                "the element is {} and not {state}",
                self.state()?
            );
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// What a counter of the data path says.
    fn counter(&self, name: &str) -> Result<u64> {
        let shown = self.console("aoestats -a")?;
        let mut words = shown.split_whitespace();
        words.find(|word| *word == name);
        let value = words.next().and_then(|word| word.parse().ok());
        value.with_context(|| format!("no counter {name} in:\n{shown}"))
    }

    /// What the daemon has logged and counted.
    fn told(&self) -> String {
        let log = self.daemon.as_ref().map(Daemon::log).unwrap_or_default();
        let counters = self.console("aoestats").unwrap_or_default();
        let elements = self.console("list -l 0").unwrap_or_default();
        format!("{log}\n{counters}\n{elements}")
    }

    fn stop(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("a daemon that runs")?;
        check_log(&daemon.log())?;
        daemon.terminate(PATIENCE)?;
        Ok(())
    }
}

fn aoeload(network: &PairNetwork, options: &str) -> Result<()> {
    let mut command = network.client.command(paths::binary("aoeload")?);
    command.args(["--interface", CLIENT_INTERFACE, "--target", "1.0"]);
    command.args(["--verify", "--deadline", "90", "--range", "4194304"]);
    command.args(options.split_whitespace());
    run(command, PATIENCE + PATIENCE)?.success(options)?;
    Ok(())
}

/// Runs `act` while clients read and write, and check what they read.
fn under_load(shelf: &Shelf, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let options = "--op mixed --seconds 2 --warmup 0 --depth 16 --random";
                aoeload(&shelf.setup.network, options)?;
            }
            Ok(())
        });
        let acted = act();
        is_over.store(true, Ordering::Relaxed);
        let loaded: Result<()> = load.join().expect("the load does not panic");
        loaded.with_context(|| format!("the load; the daemon:\n{}", shelf.told()))?;
        acted.with_context(|| shelf.told())
    })
}

/// A life with every kind of trouble, one after the other.
#[allow(clippy::print_stderr, reason = "a skipped test must say so")]
fn live(level: &str, members: usize) -> Result<()> {
    if let Some(reason) = FaultyDisks::unavailable() {
        eprintln!("SKIPPED: {reason}");
        return Ok(());
    }
    let mut shelf = Shelf::start(level, members)?;
    under_load(&shelf, || {
        thread::sleep(Duration::from_secs(2));
        shelf
            .disks
            .set(VICTIM, Behaviour::Slow(Duration::from_millis(200)));
        thread::sleep(Duration::from_secs(3));
        ensure!(shelf.state()? == "normal", "a slow disk is no failed one");
        shelf.disks.set(VICTIM, Behaviour::Hanging);
        shelf.wait_for("failed").context("hanging")?;
        for line in ["show -l", "list -l", "health", "when"] {
            shelf.console(line)?;
        }
        let refused = shelf.setup.console_refused("unfail 0.0.1")?;
        ensure!(
            refused.contains("outstanding") || refused.contains("answer"),
            "{refused}"
        );
        thread::sleep(Duration::from_secs(8));
        ensure!(shelf.state()? == "failed", "it still hangs");
        shelf.disks.set(VICTIM, Behaviour::Well);
        shelf.wait_for("normal").context("taken back")?;
        for trouble in [Behaviour::Gone, Behaviour::Failing] {
            shelf.disks.set(VICTIM, trouble);
            shelf
                .wait_for("failed")
                .with_context(|| format!("{trouble:?}"))?;
            shelf.disks.set(VICTIM, Behaviour::Well);
            shelf.console("unfail 0.0.1")?;
            shelf
                .wait_for("normal")
                .with_context(|| format!("after {trouble:?}"))?;
        }
        Ok(())
    })?;
    aoeload(&shelf.setup.network, "--op read --seconds 1 --sequential")?;
    scrub(&shelf)?;
    ensure!(shelf.counter("ata_errors")? == 0);
    ensure!(shelf.counter("ios_abandoned")? > 0);
    shelf.stop()
}

/// All members agree.
fn scrub(shelf: &Shelf) -> Result<()> {
    shelf.console("scrub start 0")?;
    let begun = Instant::now();
    loop {
        let shown = shelf.console("scrub 0")?;
        if shown.contains("idle; last") {
            ensure!(shown.contains(" 0 differ"), "{shown}");
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "{shown}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_mirror_outlives_its_disks_moods() -> Result<()> {
    live("raid1", 2)
}

#[test]
fn striped_mirrors_outlive_their_disks_moods() -> Result<()> {
    live("raid10", 4)
}

#[test]
fn parity_outlives_its_disks_moods() -> Result<()> {
    live("raid5", 3)
}

#[test]
fn double_parity_outlives_its_disks_moods() -> Result<()> {
    live("raid6", 4)
}

//! A person at a terminal: completion, history, editing, and an event that arrives in mid-line, seen on the
//! screen of a real terminal (tmux), once through `ledge` on the box and once through `cec` over the wire.

#[path = "terminal/top.rs"]
mod top;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testbed::{Ledge, LedgeOptions, Namespace, PairNetwork, paths};

/// The machine may be busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);

const COLUMNS: usize = 80;

/// A terminal of 24 rows and 80 columns, in a tmux of its own.
struct Terminal {
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Terminal {
    /// Runs a program in it, in a namespace.
    fn start(namespace: &Namespace, program: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("tmux");
        let terminal = Self {
            socket,
            _directory: directory,
        };
        let network = format!("--net={}", namespace.path().display());
        let size = ["-x", "80", "-y", "24"];
        let mut arguments = vec!["-f", "/dev/null", "new-session", "-d"];
        arguments.extend(size);
        arguments.extend(["nsenter", network.as_str(), "--"]);
        // tmux does not always learn how a program has ended; a shell does, and outlives Ctrl-C.
        arguments.extend([
            "sh",
            "-c",
            "trap : INT; \"$@\"; echo ended with $?; exec sleep 600",
            "sh",
        ]);
        arguments.extend(program);
        terminal.tmux(&arguments)?;
        terminal.tmux(&["set-option", "-g", "status", "off"])?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(arguments);
        let output = command
            .env("TERM", "xterm")
            .env_remove("TMUX")
            .env_remove("NO_COLOR")
            .output();
        let output = output.context("tmux: deploy/packages.sh test installs it")?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "tmux {arguments:?}: {complaint}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Presses keys, in tmux's words: `Tab`, `Up`, `C-a`.
    fn press(&self, keys: &[&str]) -> Result<()> {
        let mut arguments = vec!["send-keys"];
        arguments.extend(keys);
        self.tmux(&arguments).map(drop)
    }

    /// Types text as it is.
    fn write(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// The rows of the screen, without the empty ones at its end.
    fn screen(&self) -> Result<Vec<String>> {
        let text = self.tmux(&["capture-pane", "-p"])?;
        let rows = text.trim_end().lines().map(|row| row.trim_end().to_owned());
        Ok(rows.collect())
    }

    /// Waits until the last rows of the screen are these.
    fn see(&self, rows: &[&str]) -> Result<()> {
        let end = Instant::now() + LIMIT;
        loop {
            let screen = self.screen()?;
            if screen.ends_with(&rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>()) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!(
                    "wanted at the end:\n{}\n\nthe screen:\n{}",
                    rows.join("\n"),
                    screen.join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a text is somewhere on the screen.
    fn see_somewhere(&self, text: &str) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while !self.screen()?.iter().any(|row| row.contains(text)) {
            ensure!(
                Instant::now() < end,
                "no {text}:\n{}",
                self.screen()?.join("\n")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Gives the window another size.
    fn resize(&self, columns: usize, rows: usize) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows])
            .map(drop)
    }

    /// Column and row of the cursor.
    fn cursor(&self) -> Result<(usize, usize)> {
        let text = self.tmux(&["display-message", "-p", "#{cursor_x} #{cursor_y}"])?;
        let (column, row) = text.trim().split_once(' ').context("two numbers")?;
        Ok((column.parse()?, row.parse()?))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.tmux(&["kill-server"]));
    }
}

fn shelf(network: &PairNetwork) -> Result<Ledge<'_>> {
    let options = LedgeOptions {
        disks: 12,
        disk_bytes: 64 << 20,
        memory_disks: true,
        mode: "packet".to_owned(),
        ..LedgeOptions::default()
    };
    Ledge::start(&network.target, options)
}

#[test]
fn a_person_at_ledge() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let ledge = shelf(&network)?;
    let program = paths::binary("ledge")?.display().to_string();
    let socket = ledge.control_socket().display().to_string();
    let terminal = Terminal::start(&network.target, &[&program, "--socket", &socket])?;
    terminal.see(&["SR shelf 1>"])?;
    session(&terminal, &ledge)
}

#[test]
fn a_person_at_cec() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let ledge = shelf(&network)?;
    let program = paths::binary("cec")?.display().to_string();
    let terminal = Terminal::start(&network.client, &[&program, "-s", "1", "eth0"])?;
    terminal.see(&["SR shelf 1>"])?;
    session(&terminal, &ledge)
}

/// What a person does, and what is to be seen.
fn session(terminal: &Terminal, ledge: &Ledge<'_>) -> Result<()> {
    complete(terminal)?;
    edit_and_remember(terminal)?;
    be_told_in_mid_line(terminal, ledge)?;
    ask(terminal)?;
    watch(terminal)
}

/// Tab: a command, the first LUN number that is free, a type, drives as a series.
fn complete(terminal: &Terminal) -> Result<()> {
    terminal.write("mak")?;
    terminal.press(&["Tab"])?;
    terminal.see(&["SR shelf 1> make"])?;
    terminal.press(&["Tab"])?;
    terminal.see(&["SR shelf 1> make 0"])?;
    terminal.write("ra")?;
    terminal.press(&["Tab"])?;
    terminal.press(&["Tab"])?;
    terminal.see(&[
        "raw     raid0   raid1   raid5   raid6   raid10",
        "SR shelf 1> make 0 ra",
    ])?;
    terminal.write("id10")?;
    terminal.press(&["Tab"])?;
    terminal.write("1.0-")?;
    terminal.press(&["Tab", "Tab"])?;
    terminal.see(&[
        "1.0-1   1.0-3   1.0-5   1.0-7   1.0-9   1.0-11",
        "1.0-2   1.0-4   1.0-6   1.0-8   1.0-10",
        "SR shelf 1> make 0 raid10 1.0-",
    ])?;
    terminal.write("3")?;
    terminal.press(&["Enter"])?;
    terminal.write("onl")?;
    terminal.press(&["Tab", "Tab"])?;
    terminal.see(&["SR shelf 1> online 0"])?;
    terminal.press(&["Enter"])
}

/// Older lines, words, and a line that is longer than the screen is wide.
fn edit_and_remember(terminal: &Terminal) -> Result<()> {
    // What was done is an event, too.
    terminal.see_somewhere("LUN 1.0 online")?;
    // So is what follows from it, unless it is over before anybody looks.
    terminal.see(&["SR shelf 1>"])?;
    terminal.press(&["Up", "Up"])?;
    terminal.see(&["SR shelf 1> make 0 raid10 1.0-3"])?;
    terminal.press(&["C-a", "M-f", "M-f", "C-w"])?;
    terminal.write("1 ")?;
    terminal.press(&["C-e", "C-w"])?;
    terminal.see(&["SR shelf 1> make 1 raid10"])?;
    terminal.press(&["C-u"])?;
    terminal.see(&["SR shelf 1>"])?;
    let names: Vec<String> = (0..12).map(|slot| format!("1.{slot}")).collect();
    let line = format!("show -l {} {}", names.join(" "), "1.0 1.1 1.2");
    terminal.write(&line)?;
    let shown = format!("SR shelf 1> {line}");
    let (first, second) = shown.split_at(COLUMNS);
    terminal.see(&[first.trim_end(), second])?;
    // From the beginning of the first row to the end of the second one.
    terminal.press(&["C-a"])?;
    terminal.write("x")?;
    let shown = format!("SR shelf 1> x{line}");
    let (first, second) = shown.split_at(COLUMNS);
    terminal.see(&[first.trim_end(), second])?;
    terminal.press(&["C-e", "C-c"])?;
    terminal.see(&["SR shelf 1>"])
}

/// An event goes above the line; the line is back below it, with the cursor where it was.
fn be_told_in_mid_line(terminal: &Terminal, ledge: &Ledge<'_>) -> Result<()> {
    terminal.write("offline 0")?;
    terminal.press(&["Left", "Left"])?;
    terminal.see(&["SR shelf 1> offline 0"])?;
    ledge.console_ok("fail 0.0.3")?;
    terminal.see(&[
        "drive 1.3 (device 0.0.3) has failed",
        "SR shelf 1> offline 0",
    ])?;
    let (column, row) = terminal.cursor()?;
    ensure!(
        column == "SR shelf 1> offline 0".len() - 2,
        "cursor at {column}"
    );
    ensure!(
        row + 1 == terminal.screen()?.len(),
        "the cursor is in row {row}"
    );
    // What is typed goes on where it was.
    terminal.press(&["C-u"])?;
    terminal.write("list -l")?;
    terminal.press(&["C-k", "Enter"])?;
    terminal.see(&[
        "     0.0.2  normal        0.067GB 1.2",
        "     0.0.3  failed        0.067GB 1.3",
        "SR shelf 1>",
    ])?;
    terminal.write("events off")?;
    terminal.press(&["Enter"])?;
    terminal.see(&["SR shelf 1> events off", "SR shelf 1>"])?;
    ledge.console_ok("offline 0")?;
    // In the log it is when it has been told to everybody.
    let end = Instant::now() + LIMIT;
    while !ledge.console_ok("log -n 5")?.contains("LUN 1.0 offline") {
        ensure!(Instant::now() < end, "nothing of it in the log");
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(1));
    terminal.see(&["SR shelf 1> events off", "SR shelf 1>"])
}

/// `?` in the middle of a line.
fn ask(terminal: &Terminal) -> Result<()> {
    terminal.write("scrub policy ?")?;
    terminal.see(&["  scrub repair 0", "SR shelf 1> scrub policy"])?;
    let screen = terminal.screen()?.join("\n");
    ensure!(
        screen.contains("here: all; or located; or report"),
        "{screen}"
    );
    terminal.press(&["C-u"])
}

/// A live view, a window that gets another size meanwhile, and its end by any key.
fn watch(terminal: &Terminal) -> Result<()> {
    terminal.write("when -w")?;
    terminal.press(&["Enter"])?;
    terminal.see(&["nothing is going on", "any key ends this"])?;
    ensure!(
        terminal.screen()?.len() == 2,
        "a view has the screen for itself"
    );
    for (columns, rows) in [(100, 30), (60, 15), (COLUMNS, 24)] {
        terminal.resize(columns, rows)?;
        // Twice the time in which it is shown anew, and in which a client looks at its window.
        std::thread::sleep(Duration::from_secs(4));
        terminal.see(&["nothing is going on", "any key ends this"])?;
        let screen = terminal.screen()?;
        ensure!(
            screen.len() == 2,
            "the view has ended:\n{}",
            screen.join("\n")
        );
    }
    terminal.press(&["x"])?;
    terminal.see(&["any key ends this", "SR shelf 1>"])?;
    terminal.press(&["C-d"])?;
    terminal.see_somewhere("ended with 0")
}

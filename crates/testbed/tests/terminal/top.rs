//! `top` on a terminal: the whole screen, keys, another size, and that the terminal is as it was before
//! however it ends.

use super::{LIMIT, Terminal, shelf};
use anyhow::{Context, Result, bail, ensure};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use testbed::{Ledge, LedgeOptions, PairNetwork, paths};

/// A load that is ended with the test.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Reads all the time.
fn load(network: &PairNetwork) -> Result<Load> {
    let mut command = network.client.command(paths::binary("aoeload")?);
    let line = "--interface eth0 --target 1.0 --op read --random --depth 4 --rate 200 --seconds 600 \
                --backend packet";
    command.args(line.split_whitespace());
    command.stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null());
    Ok(Load(command.spawn().context("aoeload")?))
}

impl Terminal {
    /// Whether it is the other screen, and whether there is a cursor.
    fn modes(&self) -> Result<(bool, bool)> {
        let text = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"])?;
        Ok(match text.trim() {
            "1 0" => (true, false),
            "0 1" => (false, true),
            "1 1" => (true, true),
            "0 0" => (false, false),
            other => bail!("{other}"),
        })
    }

    /// Waits until the screen is as wanted, and gives it.
    fn see_screen(&self, what: &str, is_it: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        let end = Instant::now() + LIMIT;
        loop {
            let screen = self.screen()?;
            if is_it(&screen) {
                return Ok(screen);
            }
            ensure!(Instant::now() < end, "no {what}:\n{}", screen.join("\n"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The terminal is as it was: its own screen with a cursor, and lines that are echoed.
    fn is_as_before(&self) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while self.modes()? != (false, true) {
            ensure!(Instant::now() < end, "it is still the other screen");
            std::thread::sleep(Duration::from_millis(50));
        }
        let tty = self.tmux(&["display-message", "-p", "#{pane_tty}"])?;
        let settings = Command::new("stty")
            .args(["-a", "-F", tty.trim()])
            .output()?;
        let settings = String::from_utf8(settings.stdout)?;
        let words: Vec<&str> = settings.split([' ', ';', '\n']).collect();
        for setting in ["icanon", "echo", "isig", "opost", "icrnl", "^\\", "^Z"] {
            ensure!(words.contains(&setting), "no {setting}: {settings}");
        }
        Ok(())
    }
}

fn begins(screen: &[String], title: &str) -> bool {
    screen.iter().any(|row| row.starts_with(title))
}

/// The row below the one that begins with a title.
fn first_below<'a>(screen: &'a [String], title: &str) -> Result<&'a str> {
    let at = screen.iter().position(|row| row.starts_with(title));
    let at = at.with_context(|| format!("no {title}"))?;
    Ok(screen.get(at + 1).map_or("", String::as_str))
}

fn busy_shelf(network: &PairNetwork) -> Result<Ledge<'_>> {
    let ledge = shelf(network)?;
    ledge.console_ok("make 0 raid10 1.0-3")?;
    ledge.console_ok("make 1 jbod 1.4")?;
    ledge.console_ok("online 0-1")?;
    Ok(ledge)
}

#[test]
fn somebody_looks_at_top() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let ledge = busy_shelf(&network)?;
    let _load = load(&network)?;
    let program = paths::binary("ledge")?.display().to_string();
    let socket = ledge.control_socket().display().to_string();
    let terminal = Terminal::start(&network.target, &[&program, "--socket", &socket])?;
    terminal.see(&["SR shelf 1>"])?;
    terminal.write("top")?;
    terminal.press(&["Enter"])?;
    let screen = terminal.see_screen("initiator that reads", |screen| {
        let is_active = |title: &str, column: usize| {
            let row = first_below(screen, title).unwrap_or_default();
            let word = row.split_whitespace().nth(column).unwrap_or("0");
            word.parse::<u64>().is_ok_and(|rate| rate > 20)
        };
        is_active("INITIATOR", 1) && is_active("LUN ", 2) && is_active("WORKER", 4)
    })?;
    looks_right(&screen, 24)?;
    ensure!(
        terminal.modes()? == (true, false),
        "{:?}",
        terminal.modes()?
    );
    let colored = terminal.tmux(&["capture-pane", "-p", "-e"])?;
    ensure!(colored.contains("\u{1b}[32monline"), "{colored:?}");
    // Another size, twice.
    terminal.resize(60, 15)?;
    let screen = terminal.see_screen("small screen", |screen| {
        screen.len() == 14 && screen[0].starts_with("shelf 1") && screen[13].starts_with("q end")
    })?;
    looks_right(&screen, 15)?;
    terminal.resize(120, 40)?;
    terminal.see_screen("large screen", |screen| {
        screen.len() == 39 && screen[0].starts_with("shelf 1") && screen[38].starts_with("q end")
    })?;
    terminal.resize(80, 24)?;
    terminal.see_screen("screen of before", |screen| {
        screen.len() == 23 && screen[0].starts_with("shelf 1")
    })?;
    // One table, help, a pause.
    terminal.press(&["d"])?;
    terminal.see_screen("table of disks alone", |screen| {
        begins(screen, "DISK") && !begins(screen, "LUN STATUS")
    })?;
    terminal.press(&["h"])?;
    terminal.see_screen("help", |screen| begins(screen, "q Ctrl-C    end"))?;
    terminal.press(&["a", "a"])?;
    terminal.press(&["Space"])?;
    let still = terminal.see_screen("pause", |screen| {
        screen.last().is_some_and(|row| row.starts_with("PAUSED")) && begins(screen, "LUN STATUS")
    })?;
    std::thread::sleep(Duration::from_millis(2500));
    ensure!(terminal.screen()? == still, "it goes on in a pause");
    // The end: what was there before is there again.
    terminal.press(&["q"])?;
    terminal.see(&["SR shelf 1> top", "SR shelf 1>"])?;
    terminal.write("shelf")?;
    terminal.press(&["Enter"])?;
    terminal.see(&["SR shelf 1> shelf", "1", "SR shelf 1>"])?;
    terminal.press(&["C-d"])?;
    terminal.see_somewhere("ended with 0")?;
    terminal.is_as_before()
}

/// All five tables, and nothing wraps.
fn looks_right(screen: &[String], rows: usize) -> Result<()> {
    let text = screen.join("\n");
    ensure!(screen.len() == rows - 1, "{} rows:\n{text}", screen.len());
    ensure!(screen[0].starts_with("shelf 1  "), "{text}");
    ensure!(screen[1].starts_with("2 of 2 LUNs online"), "{text}");
    ensure!(first_below(screen, "LUN ")?.starts_with("0 "), "{text}");
    for title in ["WORKER", "INITIATOR", "DISK", "PORT"] {
        ensure!(begins(screen, title), "no {title}:\n{text}");
    }
    Ok(())
}

/// However it ends: Ctrl-C, a signal, the end of the daemon.
#[test]
fn top_leaves_the_terminal_as_it_was() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = busy_shelf(&network)?;
    let program = paths::binary("ledge")?.display().to_string();
    let socket = ledge.control_socket().display().to_string();
    let top = [program.as_str(), "--socket", &socket, "top"];
    let ends: [(&str, &str); 3] = [
        ("Ctrl-C", "ended with 0"),
        ("SIGTERM", "ended with 143"),
        ("the end of the daemon", "ended with 1"),
    ];
    for (end, told) in ends {
        let terminal = Terminal::start(&network.target, &top)?;
        terminal.see_screen("page", |screen| begins(screen, "LUN "))?;
        ensure!(
            terminal.modes()? == (true, false),
            "{end}: not the other screen"
        );
        match end {
            "Ctrl-C" => terminal.press(&["C-c"])?,
            "SIGTERM" => {
                let pattern = format!("{program} --socket {socket} top");
                let output = Command::new("pgrep")
                    .args(["-n", "-x", "-f", &pattern])
                    .output()?;
                let pid = String::from_utf8(output.stdout)?;
                let status = Command::new("kill").arg(pid.trim()).status()?;
                ensure!(status.success(), "no process {pattern}");
            }
            _ => ledge.kill()?,
        }
        terminal.see_somewhere(told).context(end)?;
        terminal.is_as_before().context(end)?;
        if end == "the end of the daemon" {
            terminal.see_somewhere("error: ")?;
        }
    }
    Ok(())
}

/// A shelf that does not answer: Ctrl-C ends the program, and the terminal is as it was.
#[test]
fn top_of_a_shelf_that_hangs_ends_by_control_c() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = busy_shelf(&network)?;
    let program = paths::binary("ledge")?.display().to_string();
    let socket = ledge.control_socket().display().to_string();
    let terminal = Terminal::start(&network.target, &[&program, "--socket", &socket, "top"])?;
    terminal.see_screen("page", |screen| begins(screen, "LUN "))?;
    let pid = ledge.daemon().context("it runs")?.id();
    let signal = |name: &str| Command::new("kill").args([name, &pid.to_string()]).status();
    ensure!(signal("-STOP")?.success());
    // It is asked within a second, and from then on nothing is heard.
    std::thread::sleep(Duration::from_secs(3));
    terminal.press(&["C-c"])?;
    terminal.see_somewhere("ended with 130")?;
    terminal.is_as_before()?;
    ensure!(signal("-CONT")?.success());
    Ok(())
}

/// Without a LUN, and over the Ethernet, where nobody tells how large the terminal is.
#[test]
fn somebody_looks_at_top_over_the_wire() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let options = LedgeOptions {
        disks: 2,
        memory_disks: true,
        mode: "packet".to_owned(),
        ..LedgeOptions::default()
    };
    let ledge = Ledge::start(&network.target, options)?;
    let program = paths::binary("cec")?.display().to_string();
    let terminal = Terminal::start(&network.client, &[&program, "-s", "1", "eth0"])?;
    terminal.see(&["SR shelf 1>"])?;
    terminal.write("top")?;
    terminal.press(&["Enter"])?;
    let screen = terminal.see_screen("page", |screen| begins(screen, "WORKER"))?;
    ensure!(screen.len() == 23 && !begins(&screen, "LUN "), "{screen:?}");
    ensure!(screen[1].starts_with("0 of 0 LUNs online"), "{screen:?}");
    ensure!(screen[22].starts_with("q end"), "{screen:?}");
    ledge.console_ok("make 0 jbod 1.0")?;
    terminal.see_screen("new LUN", |screen| begins(screen, "LUN "))?;
    terminal.press(&["l"])?;
    terminal.see_screen("LUNs alone", |screen| {
        begins(screen, "LUN ") && !begins(screen, "WORKER")
    })?;
    terminal.press(&["q"])?;
    terminal.see_screen("prompt", |screen| {
        screen
            .last()
            .is_some_and(|row| row.ends_with("SR shelf 1>"))
    })?;
    terminal.write("shelf")?;
    terminal.press(&["Enter"])?;
    terminal.see(&["1", "SR shelf 1>"])?;
    terminal.press(&["C-d"])?;
    terminal.see_somewhere("ended with 0")
}

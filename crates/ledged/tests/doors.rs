//! Who comes in, over what, with which rights, and what is remembered of it: a shelf with its doors, our
//! client on a terminal, and the acceptance tests of the Ethernet console.

mod support;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::{LIMIT, memory_disks};
use testbed::process::{feed, run_ok};
use testbed::pty::Pty;
use testbed::{Ledge, LedgeOptions, PairNetwork, paths};

const PROMPT: &str = "SR shelf 1> ";

/// What is said at each log-in while there is no password.
const OPEN: &str = "no password is set";

const SECRET: &str = "correct horse";

fn cec(network: &PairNetwork, options: &str) -> Result<Command> {
    let mut command = network.client.command(paths::binary("cec")?);
    command.args(options.split_whitespace()).arg("eth0");
    Ok(command)
}

/// Somebody at a terminal who has reached the shelf.
fn user(network: &PairNetwork) -> Result<Pty> {
    let mut user = Pty::start(cec(network, "-s 1")?)?;
    user.expect("Escape is Ctrl-\\")?;
    Ok(user)
}

/// Somebody who has logged in.
fn logged_in(network: &PairNetwork, password: &str) -> Result<Pty> {
    let mut user = user(network)?;
    user.expect("Password: ")?;
    user.type_text(&format!("{password}\r"))?;
    user.expect(PROMPT)?;
    Ok(user)
}

/// A command on a terminal; what came before the next prompt.
fn ask(user: &mut Pty, line: &str) -> Result<String> {
    user.type_text(&format!("{line}\r"))?;
    user.expect(&format!("{line}\r\n")).context("echo")?;
    user.expect(PROMPT).with_context(|| line.to_owned())
}

/// The client with its input from a pipe.
fn pipe(network: &PairNetwork, input: &str) -> Result<Output> {
    feed(cec(network, "-q -s 1")?, input.as_bytes())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Sets the password of the administrator from the box, as somebody who sits there.
fn set_password(ledge: &Ledge<'_>, password: &str) -> Result<()> {
    let mut command = Command::new(paths::binary("ledge")?);
    command
        .arg("--socket")
        .arg(ledge.control_socket())
        .arg("passwd");
    let mut user = Pty::start(command)?;
    user.expect("New Password of admin: ")?;
    user.type_text(&format!("{password}\r"))?;
    let shown = user.expect("New Password of admin again: ")?;
    ensure!(!shown.contains(password), "{shown:?}");
    user.type_text(&format!("{password}\r"))?;
    ensure!(user.exit_code()? == Some(0), "{}", user.heard());
    ensure!(!user.heard().contains(password));
    Ok(())
}

/// Nothing that was typed unseen is on the shelf's disk or in its log; what was done is.
fn check_secrets(ledge: &Ledge<'_>) -> Result<()> {
    let users = fs::metadata(ledge.state_path().join("users"))?.permissions();
    ensure!(users.mode() & 0o777 == 0o600, "{:o}", users.mode());
    let log = fs::read_to_string(ledge.state_path().join("audit.log"))?;
    for word in ["horse", "battery"] {
        ensure!(!log.contains(word) && !ledge.log().contains(word), "{log}");
    }
    for line in [
        "\"text\":\"passwd ann\"",
        "wrong name or password",
        "\"text\":\"log-in\"",
    ] {
        ensure!(log.contains(line), "no {line} in {log}");
    }
    Ok(())
}

/// The number of the only console that comes by this door.
fn console_of(ledge: &Ledge<'_>, door: &str) -> Result<String> {
    let rows = ledge.console_ok("sessions")?;
    let of_door = |row: &&str| row.split_whitespace().nth(1) == Some(door);
    let row = rows.lines().find(of_door).with_context(|| rows.clone())?;
    Ok(row.split_whitespace().next().unwrap_or_default().to_owned())
}

/// A new box gets its number on its own console. A probe from outside was then answered with the number that
/// it had at the start, until somebody opened a session.
#[test]
fn a_number_that_is_set_on_the_box_is_answered_outside() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let options = LedgeOptions {
        shelf: None,
        ..memory_disks("packet")
    };
    let ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("shelf 7")?;
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let mut probe = network.client.command(paths::binary("cec")?);
        probe.args(["-p", "-w", "1", "eth0"]);
        let row = run_ok(probe)?;
        if row.starts_with("7 ") {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{row:?}");
    }
}

#[test]
fn acceptance_1_2_5_7_a_probe_a_session_and_a_batch() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    let mut probe = network.client.command(paths::binary("cec")?);
    probe.args(["-p", "-w", "1", "eth0"]);
    let row = run_ok(probe)?;
    ensure!(
        row.starts_with("1       ") && row.trim_end().len() == 20,
        "{row:?}"
    );

    let mut user = user(&network)?;
    let banner = user.expect(PROMPT)?;
    ensure!(banner.contains(OPEN), "{banner:?}");
    let rows = ask(&mut user, "show")?;
    ensure!(
        rows.contains("1.0\r\n") && !rows.replace("\r\n", "").contains('\n'),
        "{rows:?}"
    );
    // Probes of the same host reach the session, too.
    for number in 0..5 {
        let mut probe = network.client.command(paths::binary("cec")?);
        probe.args(["-p", "-w", "1", "eth0"]);
        run_ok(probe)?;
        let line = format!("nonsense{number}");
        let answer = ask(&mut user, &line)?;
        ensure!(
            answer == format!("error: unknown command {line}\r\n"),
            "{answer:?}"
        );
    }
    let output = pipe(&network, "list\rshow -l\r")?;
    ensure!(output.status.code() == Some(0), "{}", output.status);
    ensure!(
        text(&output).matches(PROMPT).count() == 3,
        "{}",
        text(&output)
    );
    ensure!(text(&output).contains("1.3") && output.stderr.is_empty());
    user.type_text("\x1cq")?;
    ensure!(user.exit_code()? == Some(0));
    ensure!(ledge.console_ok("history")?.contains("show -l"));
    Ok(())
}

#[test]
fn acceptance_3_a_long_output_is_intact_and_its_rate_is_printed() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let mut ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    ledge.stop()?;
    let rows: Vec<String> = (0..4000)
        .map(|number| format!("{number:04} {}", "0123456789".repeat(26)))
        .collect();
    let entry = |row: &String| {
        format!(
            "{{\"time\":\"2026-11-27T00:00:00Z\",\"kind\":\"event\",\"text\":\"{row}\",\"ok\":true,\"result\":\"notice\"}}\n"
        )
    };
    let log: String = rows.iter().map(entry).collect();
    fs::write(ledge.state_path().join("audit.log"), log)?;
    ledge.start_again()?;
    let begun = Instant::now();
    let output = pipe(&network, "log -n 4001\r")?;
    let elapsed = begun.elapsed();
    let text = text(&output);
    ensure!(output.status.code() == Some(0));
    let shown: Vec<&str> = text
        .split("\r\n")
        .filter(|line| line.ends_with("(notice)"))
        .collect();
    let expected: Vec<String> = rows
        .iter()
        .map(|row| format!("2026-11-27T00:00:00Z {row} (notice)"))
        .collect();
    ensure!(
        shown == expected,
        "{} of {} rows came",
        shown.len(),
        rows.len()
    );
    ensure!(text.len() > 1_000_000, "{} bytes", text.len());
    // The machine decides how fast; the figure is for whoever looks.
    let rate = text.len() as f64 / elapsed.as_secs_f64() / 1e6;
    testbed::transcript::note(&format!(
        "{} bytes of console output in {elapsed:?}: {rate:.2} MB/s",
        text.len()
    ));
    Ok(())
}

#[test]
fn acceptance_6_8_9_clients_and_shelves_are_killed_and_come_again() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let mut ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    let mut first = user(&network)?;
    first.expect(PROMPT)?;
    let mut second = user(&network)?;
    second.expect(PROMPT)?;
    first.type_text("sho")?;
    first.expect("sho")?;
    ensure!(ask(&mut second, "show")?.contains("1.0"));
    first.type_text("w\r")?;
    first.expect(PROMPT)?;
    second.signal(Signal::KILL)?;
    second.exit_code()?;
    ensure!(
        ask(&mut first, "list")?.is_empty(),
        "it is none of its business"
    );
    let mut third = user(&network)?;
    third.expect(PROMPT)?;
    // Beside another session of its host it is told nothing, since Unix clients take every Treset for theirs.
    third.type_text("exit\r")?;
    third.expect("exit\r\n")?;
    // What is typed before the shelf has ended the session is acknowledged, and dropped.
    let deadline = Instant::now() + LIMIT;
    while !third.heard().contains("Connection timed out") {
        ensure!(Instant::now() < deadline, "it goes on: {}", third.heard());
        drop(third.type_text("x"));
        sleep(Duration::from_secs(1));
    }
    third.expect("Connection timed out")?;
    ensure!(third.exit_code()? == Some(0));
    ensure!(ask(&mut first, "list")?.is_empty());

    ledge.kill()?;
    ledge.start_again()?;
    first.type_text("show\r")?;
    first.expect(OPEN)?;
    first.expect(PROMPT)?;
    first.expect("show\r\n")?;
    ensure!(
        first.expect(PROMPT)?.contains("1.0"),
        "what was typed has arrived once"
    );
    Ok(())
}

/// The rules by which plug-ins read: the dots in the first word say what kind of row it is.
#[test]
fn acceptance_10_what_monitoring_reads_has_its_shape() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    for line in ["make 0 raid1 1.0-1", "online 0", "spare 1.3"] {
        ledge.console_ok(line)?;
    }
    let output = text(&pipe(&network, "list -l\rspare\rshow -l\r")?);
    let rows: Vec<Vec<&str>> = output
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let first = |word: &str| rows.iter().find(|row| row.first() == Some(&word));
    let lun = first("0").with_context(|| output.clone())?;
    ensure!(lun[1].ends_with("GB") && lun[2] == "online", "{lun:?}");
    let raid = first("0.0").with_context(|| output.clone())?;
    ensure!(raid[2] == "raid1", "{raid:?}");
    let states = ["initing", "recovering", "degraded", "failed", "normal"];
    ensure!(
        raid[3].split(',').all(|state| states.contains(&state)),
        "{raid:?}"
    );
    for (element, drive) in [("0.0.0", "1.0"), ("0.0.1", "1.1")] {
        let element = first(element).with_context(|| output.clone())?;
        ensure!(element[1] == "normal" && element[3] == drive, "{element:?}");
    }
    let spare = first("1.3").with_context(|| output.clone())?;
    ensure!(spare[1].ends_with("GB"), "{spare:?}");
    Ok(())
}

#[test]
fn a_password_lets_in_and_is_seen_nowhere() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let mut ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    let mut early = user(&network)?;
    early.expect(PROMPT)?;
    set_password(&ledge, SECRET)?;
    early.expect("the password has changed: log in again")?;
    ensure!(
        early.exit_code()? == Some(0),
        "whoever came in without one is out"
    );

    let mut admin = user(&network)?;
    admin.expect("Password: ")?;
    admin.type_text("wrong horse\r")?;
    admin.expect("wrong name or password")?;
    admin.expect("Password: ")?;
    // It has to wait for a second now; what is typed meanwhile is not even looked at.
    std::thread::sleep(Duration::from_millis(1100));
    admin.type_text(&format!("{SECRET}\r"))?;
    let shown = admin.expect(PROMPT)?;
    ensure!(
        !shown.contains(SECRET) && !shown.contains(OPEN),
        "{shown:?}"
    );
    let sessions = ask(&mut admin, "sessions")?;
    ensure!(sessions.contains("cec    admin        admin"), "{sessions}");
    for line in ["users add ann read-only", "list"] {
        ensure!(ask(&mut admin, line)?.is_empty(), "{line}");
    }
    admin.type_text("passwd ann\r")?;
    for question in ["New Password of ann: ", "New Password of ann again: "] {
        admin.expect(question)?;
        admin.type_text("battery staple\r")?;
    }
    let shown = admin.expect(PROMPT)?;
    ensure!(!shown.contains("battery"), "{shown:?}");
    admin.type_text("\x1b[A\x1b[A")?;
    admin.expect("list")?;
    admin.type_text("\x03")?;
    admin.expect(PROMPT)?;

    check_secrets(&ledge)?;
    ledge.stop()?;
    ledge.start_again()?;
    ensure!(
        ledge.console_ok("history")?.contains("users add ann"),
        "it survives a restart"
    );

    a_reader_looks_and_changes_nothing(&network, &ledge)
}

fn a_reader_looks_and_changes_nothing(network: &PairNetwork, ledge: &Ledge<'_>) -> Result<()> {
    // Two users now: a name is asked for, and nothing typed there means the administrator.
    let mut ann = user(network)?;
    ann.expect("User [admin]: ")?;
    ann.type_text("ann\r")?;
    ann.expect("Password: ")?;
    ann.type_text("battery staple\r")?;
    ann.expect(PROMPT)?;
    ensure!(ask(&mut ann, "show")?.contains("1.0"));
    for line in [
        "make 0 jbod 1.0",
        "users add eve admin",
        "kick 1",
        "cecdisable eth1",
    ] {
        let refused = ask(&mut ann, line)?;
        ensure!(refused.contains("ann may only look"), "{line}: {refused}");
    }
    ensure!(ledge.console_ok("list")?.is_empty());
    ledge.console_ok("users role ann admin")?;
    ann.expect("your role has changed")?;
    ensure!(ann.exit_code()? == Some(0));
    Ok(())
}

#[test]
fn whoever_guesses_waits_longer_each_time_on_whatever_connection() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    set_password(&ledge, SECRET)?;
    // One after the other, as fast as they come: each is told to wait before it is looked at.
    let guesses = "guess one\r".repeat(12);
    let mut waits = 0;
    for _ in 0..3 {
        let output = text(&pipe(&network, &guesses)?);
        ensure!(!output.contains(PROMPT), "{output}");
        waits += output.matches("wait ").count();
    }
    ensure!(waits >= 20, "{waits}");
    let log = ledge.console_ok("log -n 100")?;
    let refusals = log.matches("log-in refused").count();
    ensure!(
        (1..=8).contains(&refusals),
        "{refusals} passwords were looked at: {log}"
    );
    // The right one has to wait, too, and the local door is open.
    let output = text(&pipe(&network, &format!("{SECRET}\r"))?);
    ensure!(output.contains("wait "), "{output}");
    Ok(())
}

#[test]
fn an_idle_console_is_logged_out_and_its_connection_stays() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let options = LedgeOptions {
        lines: "cec_idle_minutes = 1\n".to_owned(),
        ..memory_disks("packet")
    };
    let ledge = Ledge::start(&network.target, options)?;
    set_password(&ledge, SECRET)?;
    let mut admin = logged_in(&network, SECRET)?;
    admin.type_text("rem")?;
    admin.expect("rem")?;
    let begun = Instant::now();
    while !admin.heard().contains("idle for too long: logged out") {
        ensure!(
            begun.elapsed() < Duration::from_secs(120),
            "{}",
            admin.heard()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    admin.expect("Password: ")?;
    admin.type_text(&format!("{SECRET}\r"))?;
    admin.expect(PROMPT)?;
    ensure!(
        ask(&mut admin, "list")?.is_empty(),
        "what had been typed is gone"
    );
    ensure!(ledge.console_ok("log")?.contains("idle for too long"));
    Ok(())
}

#[test]
fn the_console_is_switched_by_port_for_good_and_admits_whom_it_should() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let options = LedgeOptions {
        cec: false,
        ..memory_disks("packet")
    };
    let mut ledge = Ledge::start(&network.target, options)?;
    let is_there = || -> Result<bool> {
        let mut probe = cec(&network, "-p -w 1")?;
        Ok(probe.output()?.status.success())
    };
    ensure!(!is_there()?, "off unless somebody says otherwise");
    ensure!(ledge.console_ok("cecstat")?.contains("disabled"));
    ledge.console_ok("cecenable eth1")?;
    ensure!(is_there()?);
    let mut admin = user(&network)?;
    admin.expect(PROMPT)?;
    let long = ledge.console_ok("cecstat -l")?;
    ensure!(
        long.contains("enabled") && long.contains("handshakes 1"),
        "{long}"
    );
    ensure!(
        ledge
            .console_ok("cecstat -j")?
            .contains("\"received_bytes\"")
    );
    ledge.stop()?;
    ledge.start_again()?;
    ensure!(is_there()?, "for good");
    admin.type_text("list\r")?;
    admin.expect(PROMPT)?;
    ledge.console_ok("cecoff eth1")?;
    ensure!(admin.exit_code()? == Some(0), "its sessions end");
    ensure!(!is_there()?);
    ensure!(!ledge.console("cecenable eth7")?.status.eq(&0));

    let others = "cec_allow = [\"02:00:00:00:00:99\"]\n";
    let options = LedgeOptions {
        port_lines: others.to_owned(),
        ..memory_disks("packet")
    };
    drop(ledge);
    let ledge = Ledge::start(&network.target, options)?;
    ensure!(!is_there()?, "this host is not on the list");
    ensure!(
        ledge
            .console_ok("cecstat -l")?
            .contains("answers only 020000000099")
    );
    Ok(())
}

#[test]
fn consoles_are_ended_and_told_what_happens() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    let mut admin = user(&network)?;
    admin.expect(PROMPT)?;
    admin.type_text("lis")?;
    admin.expect("lis")?;
    ledge.console_ok("make 0 jbod 1.0")?;
    admin.expect("LUN 1.0 created\r\n")?;
    admin.expect(&format!("{PROMPT}lis"))?;
    admin.type_text("t\r")?;
    ensure!(
        admin.expect(PROMPT)?.contains("GB offline"),
        "the line was not disturbed"
    );
    let id = console_of(&ledge, "cec")?;
    ledge.console_ok(&format!("kick {id}"))?;
    let user = rustix::process::getuid();
    ensure!(user.is_root(), "these tests need root");
    admin.expect("ended by root")?;
    ensure!(admin.exit_code()? == Some(0));
    ensure!(!ledge.console(&format!("kick {id}"))?.status.eq(&0));
    Ok(())
}

#[test]
fn of_two_administrators_the_second_is_told_what_has_changed() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    ledge.console_ok("make 0 jbod 1.0")?;
    let mut first = user(&network)?;
    first.expect(PROMPT)?;
    let mut second = user(&network)?;
    second.expect(PROMPT)?;
    for user in [&mut first, &mut second] {
        user.type_text("remove 0\r")?;
        user.expect("[n]: ")?;
    }
    first.type_text("0\r")?;
    first.expect(PROMPT)?;
    ensure!(ask(&mut first, "make 0 jbod 1.1")?.is_empty());
    second.type_text("0\r")?;
    let refused = second.expect(PROMPT)?;
    let said = "error: LUN 0 became another one, which only has its number, since you were asked; \
                action canceled";
    ensure!(refused.contains(said), "{refused}");
    ensure!(
        ledge.console_ok("list -l")?.contains("1.1"),
        "it is the new one, whole"
    );
    // Both make the same LUN: one has it, the other is told.
    second.type_text("make 1 jbod 1.2\r")?;
    second.expect("make 1 jbod 1.2\r\n")?;
    second.expect(PROMPT)?;
    ensure!(ask(&mut first, "make 1 jbod 1.3")?.contains("error: lun already exists"));
    ensure!(!ledge.console_ok("show -l")?.contains("1.3.0"));
    let history = ledge.console_ok("history")?;
    ensure!(
        history.contains("remove 0 [0] -> error: LUN 0 became another one"),
        "{history}"
    );
    Ok(())
}

/// `ledge`, copied to where everybody may run it, as a user of the box.
fn as_user(ledge: &Ledge<'_>, user: &str, group: &str, words: &[&str]) -> Result<Output> {
    let place = ledge.control_socket();
    let place = place.parent().context("directory")?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    let copy = place.join("ledge");
    if !copy.exists() {
        fs::copy(paths::binary("ledge")?, &copy)?;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", group, "--clear-groups"]);
    command
        .arg(&copy)
        .arg("--socket")
        .arg(ledge.control_socket())
        .args(words);
    Ok(command.output()?)
}

#[test]
fn users_of_the_box_have_the_rights_of_their_groups() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let options = LedgeOptions {
        lines: "admin_group = \"daemon\"\nreader_group = \"nogroup\"\n".to_owned(),
        ..memory_disks("packet")
    };
    let ledge = Ledge::start(&network.target, options)?;
    let nobody = |words: &[&str]| as_user(&ledge, "nobody", "nogroup", words);
    ensure!(text(&nobody(&["show"])?).contains("1.0"));
    let refused = nobody(&["make", "0", "jbod", "1.0"])?;
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(complaint.contains("nobody may only look"), "{complaint}");
    ensure!(refused.status.code() == Some(1));
    let daemon = as_user(&ledge, "daemon", "daemon", &["make", "0", "jbod", "1.0"])?;
    ensure!(daemon.status.success(), "{daemon:?}");
    let stranger = as_user(&ledge, "bin", "bin", &["show"])?;
    let complaint = String::from_utf8_lossy(&stranger.stderr).into_owned();
    ensure!(
        complaint.contains("user bin may not use the console"),
        "{complaint}"
    );
    ensure!(stranger.stdout.is_empty() && stranger.status.code() == Some(1));
    let history = ledge.console_ok("history")?;
    ensure!(history.contains("daemon by socket"), "{history}");
    ensure!(
        history.contains("nobody by socket") && !history.contains("bin by"),
        "{history}"
    );
    Ok(())
}

#[test]
fn a_full_disk_is_told_of_and_keeps_nobody_from_working() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let mut ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    ledge.stop()?;
    let state = ledge.state_path();
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=64k", "none"])
        .arg(&state);
    run_ok(mount)?;
    let tried = with_full_state(&mut ledge);
    drop(ledge);
    let mut unmount = Command::new("umount");
    unmount.arg("-l").arg(&state);
    run_ok(unmount)?;
    tried
}

fn with_full_state(ledge: &mut Ledge<'_>) -> Result<()> {
    ledge.start_again()?;
    ledge.console_ok("make 0 jbod 1.0")?;
    let filler = ledge.state_path().join("filler");
    let mut full = fs::File::create(&filler)?;
    while full.write_all(&[0; 4096]).is_ok() {}
    drop(full);
    // What is left of the last page is soon filled by the log itself.
    for _ in 0..64 {
        ensure!(ledge.console_ok("list")?.contains("offline"));
    }
    ledge.console_ok("online 0")?;
    let health = ledge.console_ok("health")?;
    ensure!(
        health.contains("audit.log") && health.contains("make room"),
        "{health}"
    );
    ensure!(ledge.console_ok("alerts")?.contains("audit.log"));
    fs::remove_file(&filler)?;
    ledge.console_ok("offline 0")?;
    ensure!(!ledge.console_ok("health")?.contains("audit.log"));
    let log = fs::read_to_string(ledge.state_path().join("audit.log"))?;
    let whole = |line: &str| line.starts_with('{') && line.ends_with('}');
    ensure!(log.lines().all(whole), "a torn line: {log}");
    ensure!(log.contains("\"text\":\"offline 0\""));
    Ok(())
}

/// A login shell: its name begins with `-`, or it is given a command by `-c`; where the socket is it cannot
/// be told, so this one is run where that is the usual one.
#[test]
fn ledge_is_a_login_shell_without_a_way_out() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    let shell = paths::binary("ledge")?.display().to_string();
    let socket = ledge.control_socket().display().to_string();
    let run = |script: &str| -> Result<Output> {
        let setup = format!(
            "mkdir -p /run/ledge && mount -t tmpfs none /run/ledge && ln -s {socket} /run/ledge/control.sock && {script}"
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "bash", "-c", &setup]);
        feed(command, b"show\n!sh\nexit\n")
    };
    let one = run(&format!("exec {shell} -c 'show 1.0'"))?;
    ensure!(text(&one) == "1.0\n" && one.status.success(), "{one:?}");
    let failed = run(&format!("exec {shell} -c 'sh; id'"))?;
    ensure!(
        failed.status.code() == Some(1) && text(&failed).is_empty(),
        "{failed:?}"
    );
    let login = run(&format!("exec -a -ledge {shell} --socket /nowhere"))?;
    ensure!(text(&login).contains("1.3\n"), "{login:?}");
    let complaint = String::from_utf8_lossy(&login.stderr).into_owned();
    ensure!(complaint.contains("unknown command !sh"), "{complaint}");
    Ok(())
}

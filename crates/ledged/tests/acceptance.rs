//! The acceptance tests of the Ethernet console that need a wire which loses frames, a client that does what
//! ours never does, or much time. The others are in `doors.rs`.

#[path = "../../console/tests/rules/mod.rs"]
mod rules;
mod support;

use anyhow::{Context, Result, ensure};
use cec::Kind;
use rustix::process::Signal;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use support::censor::{CensoredNetwork, Loss};
use support::memory_disks;
use support::script::Script;
use testbed::process::feed;
use testbed::pty::Pty;
use testbed::{Ledge, LedgeOptions, Namespace, PairNetwork, paths};

const PROMPT: &str = "SR shelf 1> ";

/// What our client says while it waits for something: a resend takes a second.
const SECOND: Duration = Duration::from_secs(1);

fn cec(client: &Namespace, options: &str) -> Result<Command> {
    let mut command = client.command(paths::binary("cec")?);
    command.args(options.split_whitespace()).arg("eth0");
    Ok(command)
}

/// The client with its input from a pipe.
fn pipe(client: &Namespace, input: &str) -> Result<Output> {
    feed(cec(client, "-q -s 1 -w 3")?, input.as_bytes())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Rows of `sessions` that are Ethernet consoles.
fn consoles(ledge: &Ledge<'_>) -> Result<usize> {
    let rows = ledge.console_ok("sessions")?;
    let is_cec = |row: &&str| row.split_whitespace().nth(1) == Some("cec");
    Ok(rows.lines().filter(is_cec).count())
}

/// Which frames are lost in turn: each kind in each direction, of those that come often the first three.
fn losses() -> Vec<Loss> {
    let loss = |kind, is_to_shelf, after| Loss {
        kind,
        is_to_shelf,
        after,
    };
    let mut losses = Vec::new();
    for kind in [Kind::Discover, Kind::InitA, Kind::InitC] {
        losses.push(loss(kind, true, 0));
    }
    for kind in [Kind::Offer, Kind::InitB, Kind::Reset] {
        losses.push(loss(kind, false, 0));
    }
    for after in 0..3 {
        for kind in [Kind::Data, Kind::Ack] {
            losses.push(loss(kind, true, after));
            losses.push(loss(kind, false, after));
        }
    }
    losses
}

/// A script of commands through our client: whatever is lost on the wire, it reads the same.
#[test]
fn acceptance_4_each_kind_of_frame_lost_once_costs_a_batch_nothing() -> Result<()> {
    let network = CensoredNetwork::new()?;
    let ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    let input = "help\rshow -l\rlist\r";
    let undisturbed = text(&pipe(&network.client, input)?);
    ensure!(undisturbed.matches(PROMPT).count() == 4, "{undisturbed}");
    ensure!(undisturbed.len() > 4000 && undisturbed.contains("1.3"));
    for loss in losses() {
        network.lose(loss);
        let output = pipe(&network.client, input)?;
        ensure!(network.has_lost(), "{loss:?} never came");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(0),
            "{loss:?}: {} {complaint}",
            output.status
        );
        ensure!(text(&output) == undisturbed, "{loss:?}: {}", text(&output));
    }
    ensure!(consoles(&ledge)? == 0, "all of them have ended");
    Ok(())
}

/// Somebody at a terminal: each key is echoed once, each answer read once, and both ends may leave.
#[test]
fn acceptance_4_each_kind_of_frame_lost_once_costs_a_user_nothing() -> Result<()> {
    let network = CensoredNetwork::new()?;
    let ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    let mut user = Pty::start(cec(&network.client, "-s 1")?)?;
    user.expect("is an administrator; set one with: passwd\r\n")?;
    user.expect(PROMPT)?;
    let mut number = 0;
    for kind in [Kind::Data, Kind::Ack] {
        for (is_to_shelf, after) in [(true, 0), (false, 0), (true, 4), (false, 4)] {
            let loss = Loss {
                kind,
                is_to_shelf,
                after,
            };
            number += 1;
            network.lose(loss);
            for key in format!("nonsense{number}\r").chars() {
                user.type_text(&key.to_string())?;
            }
            let shown = user.expect(PROMPT)?;
            let expected =
                format!("nonsense{number}\r\nerror: unknown command nonsense{number}\r\n");
            ensure!(shown == expected, "{loss:?}: {shown:?}");
            // Lines that are short use few packets.
            while !network.has_lost() {
                network.lose(Loss { after: 0, ..loss });
                user.type_text("x\x08")?;
                user.expect("x\x08 \x08")?;
            }
        }
    }
    // The shelf ends it, and that gets lost: the next key brings it.
    let is_to_shelf = false;
    let reset = Loss {
        kind: Kind::Reset,
        is_to_shelf,
        after: 0,
    };
    network.lose(reset);
    user.type_text("\x15exit\r")?;
    user.expect("exit\r\n")?;
    await_so(|| Ok(consoles(&ledge)? == 0))?;
    ensure!(network.has_lost(), "no {reset:?} came");
    user.type_text("x")?;
    ensure!(user.exit_code()? == Some(0), "{}", user.heard());
    // The user ends it, and the first word of that gets lost.
    let mut user = Pty::start(cec(&network.client, "-s 1")?)?;
    user.expect(PROMPT)?;
    network.lose(Loss {
        is_to_shelf: true,
        ..reset
    });
    user.type_text("\x1cq")?;
    ensure!(user.exit_code()? == Some(0) && network.has_lost());
    await_so(|| Ok(consoles(&ledge)? == 0))
}

fn await_so(is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + support::LIMIT;
    while !is_so()? {
        ensure!(Instant::now() < end, "it never is so");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// T8, T11, T15 and T17 on a wire: a client that says no third word of the handshake, never acknowledges
/// twice, sends 255 bytes at once, and whose memory begins with 255.
#[test]
fn acceptance_4_a_client_that_repeats_nothing() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let _ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    let mut script = Script::new(&network.client, 5)?;
    script.say(Kind::InitA, 0, b"")?;
    script.await_kind(Kind::InitB)?;
    // T17: data in the place of Tinitc. What it says counts.
    script.typed(b"l")?;
    script.see(&format!("{PROMPT}l"))?;
    // What comes again is acknowledged again, and not typed twice.
    script.data_again(b"l")?;
    script.await_kind(Kind::Ack)?;
    script.typed(b"x")?;
    script.see("x")?;

    // T11: an acknowledgement that is lost. The packet comes twice more, then the next one.
    let sequence = script.data(b"y")?;
    let mut copies = 0;
    let next = loop {
        let heard = script.hear(support::LIMIT)?.context("silence")?;
        match heard.kind {
            Kind::Ack if heard.sequence == sequence => drop(script.data(b"z")?),
            Kind::Data if heard.payload == b"y" => copies += 1,
            Kind::Data => break heard,
            _ => {}
        }
    };
    ensure!(copies == 3 && next.payload == b"z", "{copies} {next:?}");
    script.take(&next)?;
    script.typed(b"\r")?;
    let shown = script.see(PROMPT)?;
    ensure!(
        shown.ends_with("error: unknown command lxyz\r\n"),
        "{shown:?}"
    );

    // T15: as much as fits a packet.
    let long = "w".repeat(255);
    script.typed(long.as_bytes())?;
    script.typed(b"\r")?;
    let shown = script.see(PROMPT)?;
    let error = format!("error: unknown command {long}\r\n");
    ensure!(shown.ends_with(&error), "{shown:?}");

    // T8: up to number 254, then another handshake: the next number is not 255.
    for key in [b"a", b"\x08"].into_iter().cycle() {
        script.typed(key)?;
        if script.await_kind(Kind::Data)?.sequence == 254 {
            break;
        }
    }
    script.say(Kind::InitA, 0x77, b"")?;
    script.await_kind(Kind::InitB)?;
    script.say(Kind::InitC, 0, b"")?;
    script.typed(b"b")?;
    let echo = script.await_kind(Kind::Data)?;
    ensure!(echo.sequence == 0, "{echo:?}");
    Ok(())
}

/// T9, T10 and T12 on a wire: a shelf that restarts invites, a second session of a host dies of silence, and
/// a flood of empty packets is the end of input.
#[test]
fn acceptance_4_restart_silence_and_the_end_of_input() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let mut ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    let mut script = Script::connected(&network.client, 5)?;
    script.see(PROMPT)?;
    script.typed(b"a")?;
    script.see("a")?;
    ledge.kill()?;
    ledge.start_again()?;
    // T12: the byte that nobody acknowledges arrives after the invitation, once.
    script.data(b"b")?;
    let invited = script.hear(support::LIMIT)?.context("silence")?;
    ensure!(
        invited.kind == Kind::Offer && invited.sequence == 0,
        "{invited:?}"
    );
    script.say(Kind::InitA, 0x99, b"")?;
    script.await_kind(Kind::InitB)?;
    script.say(Kind::InitC, 0x99, b"")?;
    script.data_again(b"b")?;
    script.see(&format!("{PROMPT}b"))?;
    script.typed(b"\x15")?;
    script.see("\x08 \x08")?;

    // T9: the other session of this host is told nothing when it ends, and this one goes on.
    let mut other = Script::connected(&network.client, 6)?;
    other.see(PROMPT)?;
    other.typed(b"exit\r")?;
    other.see("exit\r\n")?;
    await_so(|| Ok(consoles(&ledge)? == 1))?;
    let begun = Instant::now();
    other.data(b"x")?;
    while begun.elapsed() < 3 * SECOND {
        let heard = other.hear(SECOND)?;
        ensure!(heard.is_none(), "{heard:?}");
    }
    script.typed(b"list\r")?;
    script.see(&format!("list\r\n{PROMPT}"))?;

    // T10: the end of input.
    for _ in 0..8 {
        script.typed(b"")?;
    }
    script.await_kind(Kind::Reset)?;
    await_so(|| Ok(consoles(&ledge)? == 0))
}

/// A client that is killed says nothing: the shelf notices by itself, and meanwhile a new one works.
#[test]
fn acceptance_6_a_client_that_was_killed_is_forgotten() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    let mut first = Pty::start(cec(&network.client, "-s 1")?)?;
    first.expect(PROMPT)?;
    first.signal(Signal::KILL)?;
    first.exit_code()?;
    let mut second = Pty::start(cec(&network.client, "-s 1")?)?;
    second.expect(PROMPT)?;
    ensure!(consoles(&ledge)? == 2, "it is not known yet");
    second.type_text("show\r")?;
    second.expect("1.3\r\n")?;
    second.expect(PROMPT)?;
    // It is asked for a sign of life after a minute of silence, and given up after ten packets without any.
    let begun = Instant::now();
    while consoles(&ledge)? > 1 {
        let limit = Duration::from_secs(240);
        ensure!(begun.elapsed() < limit, "it is never forgotten");
        std::thread::sleep(SECOND);
    }
    second.type_text("show\r")?;
    second.expect("1.3\r\n")?;
    second.expect(PROMPT)?;
    Ok(())
}

/// The whole shelf as plug-ins read it over the wire, by their rules alone: whole, degraded, rebuilding,
/// without a drive, with a label of several words.
#[test]
fn acceptance_10_monitoring_reads_a_shelf_in_trouble() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let options = LedgeOptions {
        disks: 6,
        disk_bytes: 96 << 20,
        ..memory_disks("packet")
    };
    let ledge = Ledge::start(&network.target, options)?;
    let read = |command: &str| -> Result<String> {
        let output = text(&pipe(&network.client, &format!("events off\r{command}\r"))?);
        let echo = format!("{PROMPT}{command}\r\n");
        let (_, answer) = output.split_once(&echo).with_context(|| output.clone())?;
        let (answer, _) = answer.split_once(PROMPT).with_context(|| output.clone())?;
        Ok(answer.replace("\r\n", "\n"))
    };
    let wrong = |error: String| anyhow::anyhow!(error);
    let luns = || rules::list(&read("list -l")?).map_err(wrong);
    ensure!(luns()?.is_empty() && rules::when(&read("when")?).map_err(wrong)?.is_empty());
    ensure!(rules::spare(&read("spare")?).map_err(wrong)?.is_empty());
    for line in [
        "make -c 0 raid1 1.0-1",
        "make -c 7 raid5 1.2-4",
        "online 0 7",
        "ratelimit 1M",
    ] {
        ledge.console_ok(line)?;
    }
    ensure!(read("label 'bob''s vm store' 7")?.is_empty());
    let whole = luns()?;
    ensure!(whole.len() == 2 && whole[1].number == 7 && whole[1].online);
    ensure!(
        whole[1].label.as_deref() == Some("bob's vm store"),
        "{whole:?}"
    );
    let normal = |lun: &rules::Lun| lun.raids[0].elements.iter().all(|e| e.state == "normal");
    ensure!(whole.iter().all(normal), "{whole:?}");
    ensure!(whole[0].raids[0].level == "raid1" && whole[0].raids[0].name == "0.0");

    ledge.console_ok("fail 7.0.1")?;
    let degraded = luns()?;
    ensure!(degraded[1].raids[0].states == ["degraded"], "{degraded:?}");
    ensure!(degraded[1].raids[0].elements[1].state == "failed");
    ledge.console_ok("spare 1.5")?;
    await_so(|| Ok(!rules::when(&read("when")?).map_err(wrong)?.is_empty()))?;
    let progress = rules::when(&read("when")?).map_err(wrong)?;
    ensure!(progress[0].name == "7.0.1" && progress[0].percent < 100.0);
    let rebuilding = luns()?;
    let element = &rebuilding[1].raids[0].elements[1];
    ensure!(
        (element.state.as_str(), element.drive.as_str()) == ("replaced", "1.5"),
        "{rebuilding:?}"
    );
    ensure!(
        rebuilding[1].raids[0]
            .states
            .contains(&"recovering".to_owned())
    );

    let drives = rules::show(&read("show -l")?).map_err(wrong)?;
    ensure!(
        drives.len() == 6 && drives.iter().all(|row| row.2 == "up"),
        "{drives:?}"
    );
    ensure!(rules::disks(&read("disks")?).map_err(wrong)?.len() == 6);
    let ports = rules::ifstat(&read("ifstat")?).map_err(wrong)?;
    ensure!(ports.len() == 1 && ports[0].0 == "eth1", "{ports:?}");
    let rates = rules::iostats(&read("iostats -l")?).map_err(wrong)?;
    ensure!(rates.iter().any(|row| row.0 == "7.0.1"), "{rates:?}");
    ensure!(rules::iostats(&read("iostats")?).map_err(wrong)?.len() == 2);
    Ok(())
}

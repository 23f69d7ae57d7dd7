//! `-n`: every command that changes something tells what it would do, and does not.
//!
//! What would be done is known by doing it to a copy, so that a plan is refused exactly when the command is,
//! in the same words.

use super::{Bench, arguments};
use console::command::COMMANDS;
use console::host::LedState;
use console::host::{CecStatus, ConsoleStatus, DoorKind, Role};
use console::{Next, Reply};
use shelf::admin::DriveSlot;
use shelf::smart::{RecoveryTimers, Smart};
use std::sync::Arc;
use std::time::Duration;

/// What can be typed of each command, on a shelf with LUNs, and what that would do.
const LINES: [(&str, &str); 78] = [
    (
        "make 9 raid10 1.8-11",
        "make LUN 9, raid10 of 4 drives (1.8-11), 8001.573GB, offline",
    ),
    (
        "make -s web 9 jbod 1.8",
        "make LUN 9, jbod of 1 drive (1.8), 4000.786GB, offline, labelled 'web'",
    ),
    (
        "jbod 1.8",
        "make LUN 8, jbod of 1 drive (1.8), 4000.786GB, offline",
    ),
    (
        "grow 0 raid1 1.8-9",
        "grow LUN 0 by a raid1 of 2 drives (1.8-9), to 8001.573GB",
    ),
    ("online 1", "bring LUN 1 online"),
    ("online 0", "change nothing"),
    ("offline 0", "take LUN 0 offline"),
    ("offline -f 0", "take LUN 0 offline"),
    (
        "remove 1",
        "erase configuration of 1 drive (1.4), 4000.786GB of data on LUN 1",
    ),
    (
        "remove -f 0",
        "erase configuration of 2 drives (1.0-1), 4000.786GB of data on LUN 0",
    ),
    ("eject 1", "let go of LUN 1 and its 1 drive (1.4)"),
    ("shelf -f 1", "change nothing"),
    (
        "mask 0 +001004012e81",
        "add 1 to the mask list of LUN 0 and take 0 from it",
    ),
    ("mask 0 -001004012e81", "change nothing"),
    ("rmmask 2", "have LUN 2 answer everybody"),
    ("reservations -c 2", "clear the reservations of LUN 2"),
    ("setvlan 5 0", "serve LUN 0 in VLAN 5"),
    ("clrvlan 2", "serve LUN 2 without tags"),
    ("clrvlan 0", "change nothing"),
    ("readonly on 0", "refuse writes of LUN 0"),
    ("confstr 0 abc", "set the config string of LUN 0, 3 bytes"),
    ("ratelimit 0", "let passes go without a limit"),
    ("fail 0.0.1", "fail 0.0.1"),
    ("fail -y 0.0.1", "fail 0.0.1"),
    ("unfail 3.0.1", "rebuild 3.0.1 on its own drive"),
    ("replace 0.0.1 1.9", "rebuild 0.0.1 on 1.9"),
    ("spare -l 0 1.9", "make 1.9 a spare of LUN 0"),
    ("rmspare 1.15", "take 1.15 out of the spares"),
    ("scrub start 0", "scrub LUN 0"),
    ("restore", "look at all drives that are in no LUN"),
    ("label web 0", "label LUN 0 'web'"),
    ("unlabel 2", "take the label of LUN 2 away"),
    ("scan", "look at all drives that are in no LUN"),
    ("erase 1.8", "erase 1.8, 4000.787GB"),
    (
        "disktest -w 1.8",
        "overwrite 1.8, 4000.787GB, and read it back",
    ),
    (
        "condition 1.8",
        "read 1.8, 4000.787GB, and write zeroes over what cannot be read",
    ),
    ("extract 1.8 1.9", "copy 1.8, 4000.787GB, onto 1.9"),
    (
        "extract -f -y -s 4096 1.8 1.9",
        "copy 1.8, 4000.787GB from sector 4096, onto 1.9, with zeroes where it cannot be read",
    ),
    ("setsize 1000G 1.8", "use 1000.000GB of 1.8"),
    ("setiomode random 0", "change nothing"),
    ("flushcacheenable 0", "change nothing"),
    ("lunfailguardenable 0", "change nothing"),
    (
        "date 2026-11-27 01:10:03",
        "set the clock to second 1795741803 UTC",
    ),
    (
        "ntp 10.0.0.1 time.example.org",
        "have the time service keep the clock, with the servers 10.0.0.1 time.example.org",
    ),
    (
        "ntp default",
        "have the time service keep the clock, with the servers that the box has",
    ),
    ("ntp off", "change nothing"),
    ("timezone UTC", "tell dates in the time zone UTC"),
    ("timezone local", "change nothing"),
    ("motd hello", "begin every session with 'hello'"),
    ("syslog off", "send the log nowhere else any more"),
    ("syslog 10.0.0.2", "send the log to 10.0.0.2:514, too"),
    ("syslogtest hello", "send that text to the syslog target"),
    ("debug on", "have the log tell everything"),
    ("debug off", "change nothing"),
    ("saveconfig b", "save the configuration as b"),
    (
        "saveconfig a",
        "save the configuration as a, over the present one",
    ),
    ("restoreconfig a", "readonly on 1"),
    ("sos", "write a bundle for those who are to help"),
    (
        "reboot",
        "stop the shelf in good order, and start the machine anew",
    ),
    (
        "halt -f",
        "stop the shelf in good order, and switch the machine off",
    ),
    ("set product SRX", "begin prompts with SRX"),
    ("set batch on", "change how commands of this session end"),
    ("cecenable eth2", "let the Ethernet console answer on eth2"),
    (
        "cecdisable eth1",
        "end the Ethernet console on eth1, and its sessions there",
    ),
    ("kick 3", "end console 3"),
    ("passwd ann", "ask for a new password of ann"),
    (
        "users add bob admin",
        "add user bob, admin, without a password",
    ),
    (
        "users role ann admin",
        "make user ann admin, and end the Ethernet consoles of that user",
    ),
    (
        "users remove ann",
        "remove user ann and end the Ethernet consoles of that user",
    ),
    ("alerts ack 1", "note that you know of alert 1"),
    (
        "smartenable 1.8",
        "let the drive in slot 8 keep count of its health",
    ),
    (
        "smartdisable 1.8",
        "keep the drive in slot 8 from keeping count of its health",
    ),
    (
        "erctimers -r 7000 1.8",
        "let the drive in slot 8 try 7000 ms to read and 0 ms to write",
    ),
    ("selftest short 1.8", "let the drive in slot 8 test itself"),
    (
        "selftest abort 1.8",
        "let the drive in slot 8 end its self-test",
    ),
    ("setslotled fault 8", "let slot 8 show fault"),
    ("spareled enable", "let LEDs show which drives are spares"),
    ("locate on 1.8", "let slot 8 show locate"),
];

/// Something for every command to work on: LUN 2 has all that a LUN can have, LUN 3 lacks a member.
pub(crate) fn bench() -> Bench {
    let mut bench = Bench::with_luns();
    for line in [
        "spare 1.15",
        "remove -f 3",
        "make 3 raid1 1.6-7",
        "fail 3.0.1",
        "label data 2",
        "mask 2 +001004012e85",
        "setvlan 7 2",
        "ratelimit 1M",
        "syslog 10.0.0.1",
        "ntp off",
    ] {
        bench.silent(line);
    }
    let mac = "001004012e81".parse().expect("an address");
    bench.shelf.luns[2].access.reserved.push(mac);
    for (interface, is_enabled) in [("eth1", true), ("eth2", false)] {
        bench.host.cec.push(CecStatus {
            interface: interface.to_owned(),
            is_enabled,
            admitted: Vec::new(),
            sessions: Vec::new(),
        });
    }
    bench.host.consoles.push(ConsoleStatus {
        id: 3,
        door: DoorKind::Ethernet,
        user: None,
        address: String::new(),
        since_unix_seconds: 0,
        idle: Duration::ZERO,
        running: None,
    });
    for drive in &mut bench.shelf.drives {
        drive.smart = Some(Arc::new(Smart {
            recovery: Some(RecoveryTimers {
                read_ms: 0,
                write_ms: 0,
            }),
            ..Smart::default()
        }));
    }
    bench.host.leds = (0..16)
        .map(|slot| (DriveSlot(slot), LedState::Off))
        .collect();
    for name in ["admin", "ann"] {
        let password = Some("correct horse".to_owned());
        bench
            .host
            .users
            .insert(name.to_owned(), (Role::Reader, password));
    }
    bench
        .host
        .saved
        .insert("a".to_owned(), "readonly on 1\n".to_owned());
    bench
}

pub(crate) fn state(bench: &Bench) -> String {
    // How problems are numbered is no change.
    let mut host = bench.host.clone();
    host.alerts_open = 0;
    format!("{:?} {host:?}", bench.shelf)
}

/// The line with `-n`.
fn plan(line: &str) -> String {
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    format!("{name} -n {rest}")
}

#[test]
fn plans_are_told_and_nothing_is_done() {
    let mut wrong = Vec::new();
    for (line, step) in LINES {
        let mut bench = bench();
        let before = state(&bench);
        let told = bench.line(&plan(line));
        if told.output != format!("would {step}\n") || !told.ok {
            wrong.push((line, told.output));
        }
        assert_eq!(told.next, Next::Command, "{line}");
        let json = bench.line(&plan(line).replacen("-n", "-nj", 1)).output;
        let data = format!("{{\"would\":\"{step}\"}}");
        if !json.starts_with("{\"schema\":1,\"ok\":true,") || !json.contains(&data) {
            wrong.push((line, json));
        }
        assert_eq!(before, state(&bench), "{line} has changed something");
        // What would be done is done.
        let done = consented(&mut bench, line);
        assert!(done.ok, "{line}: {}", done.output);
        let keeps = [
            "change nothing",
            "look at",
            "ask for",
            "send that",
            "change how",
        ];
        if !keeps.iter().any(|word| step.starts_with(word)) {
            assert_ne!(before, state(&bench), "{line} has changed nothing");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_command_that_changes_something_is_in_the_list() {
    // What they ask for cannot be had.
    let refused = ["flushcachedisable", "lunfailguarddisable"];
    for command in COMMANDS.iter().filter(|command| command.is_planned()) {
        let is_there = LINES
            .iter()
            .any(|(line, _)| line.split(' ').next() == Some(command.name));
        assert!(
            is_there || refused.contains(&command.name),
            "{}",
            command.name
        );
    }
}

/// Types a line and consents to all that it asks.
pub(crate) fn consented(bench: &mut Bench, line: &str) -> Reply {
    let mut reply = bench.line(line);
    let mut output = reply.output.clone();
    while let Next::Answer { prompt, is_secret } = &reply.next {
        let typed = prompt.split_once("type ").map(|(_, rest)| rest);
        let typed = typed.and_then(|rest| rest.split([' ', ',']).next());
        let answer = if *is_secret {
            "battery staple"
        } else {
            typed.unwrap_or("y")
        };
        reply = bench.line(answer);
        output.push_str(&reply.output);
    }
    Reply { output, ..reply }
}

/// What a reply says of what is wrong.
fn problems(reply: &Reply) -> Vec<String> {
    let says = |line: &&str| {
        ["error: ", "usage: ", "skipping: "]
            .iter()
            .any(|word| line.starts_with(word))
    };
    reply
        .output
        .lines()
        .filter(says)
        .map(str::to_owned)
        .collect()
}

/// For every line that is right, nearly right or wrong.
#[test]
fn a_plan_is_refused_exactly_when_the_command_is() {
    let mut lines: Vec<String> = LINES.iter().map(|(line, _)| (*line).to_owned()).collect();
    for command in COMMANDS.iter().filter(|command| command.is_planned()) {
        lines.extend(command.examples.iter().map(|line| (*line).to_owned()));
        lines.extend(arguments::wrong_lines(command));
    }
    let words = ["0", "1", "9", "1.8", "1.0", "0.0.1", "on", "x", "7"];
    for (line, _) in LINES {
        lines.extend(words.iter().map(|word| format!("{line} {word}")));
        if let Some((start, _)) = line.rsplit_once(' ') {
            lines.extend(words.iter().map(|word| format!("{start} {word}")));
        }
    }
    let mut refused = 0;
    for line in &lines {
        // Those of the examples that have it.
        let line = line.replacen(" -n", "", 1);
        let (mut real, mut other) = (bench(), bench());
        let before = state(&other);
        let done = consented(&mut real, &line);
        let told = other.line(&plan(&line));
        assert_eq!(state(&other), before, "{line}: its plan changed something");
        assert_eq!(told.ok, done.ok, "{line}: {} {}", told.output, done.output);
        assert_eq!(problems(&told), problems(&done), "{line}");
        assert_eq!(told.next, Next::Command, "{line}");
        if told.output == "would change nothing\n" {
            assert_eq!(state(&real), before, "{line}");
        }
        if state(&real) != before {
            assert!(told.output.contains("would "), "{line}: {}", told.output);
        }
        refused += usize::from(!told.ok);
    }
    assert!(refused > 300 && lines.len() - refused > 100);
}

/// A box that cannot store anything, and one that nobody can stop.
#[test]
fn a_plan_knows_what_the_box_refuses() {
    for line in [
        "motd x",
        "syslog off",
        "set product X",
        "reboot",
        "halt -f",
        "users remove nobody",
    ] {
        let weak = || {
            let mut bench = bench();
            bench.host.store_fault = Some("the file system is read-only".to_owned());
            bench.host.has_power = false;
            bench
        };
        let (mut real, mut other) = (weak(), weak());
        let done = consented(&mut real, line);
        let told = other.line(&plan(line));
        assert!(!told.ok && !done.ok, "{line}: {}", told.output);
        assert_eq!(problems(&told), problems(&done), "{line}");
    }
}

/// Steps of one command see one another.
#[test]
fn a_plan_goes_on_from_its_own_steps() {
    let mut bench = bench();
    bench.host.saved.insert(
        "b".to_owned(),
        "make 9 raid1 1.8 1.9\nlabel web 9\nonline 9\nmake 10 jbod 1.9\n".to_owned(),
    );
    assert_eq!(
        bench.bad("restoreconfig -n b"),
        "would make 9 raid1 1.8 1.9\nwould label web 9\nwould online 9\nwould make 10 jbod 1.9\n\
         error: 1.9 already in use\n"
    );
    assert_eq!(bench.luns(), [0, 1, 2, 3]);
}

#[test]
fn a_plan_that_would_fail_says_so() {
    let mut bench = bench();
    for (line, output) in [
        ("make -n 0 jbod 1.8", "error: lun already exists\n"),
        (
            "make -n 9 raid5 1.8-9",
            "error: wrong number of devices: raid5 takes 3 to 36, 2 given\n",
        ),
        (
            "remove -n 0",
            "error: LUN 0 needs to be offline before removal\n",
        ),
        (
            "online -n 1 9",
            "would bring LUN 1 online\nerror: LUN 9 does not exist\n",
        ),
        ("spare -n 1.0", "error: 1.0 already in use\n"),
        ("list -n", "usage: list [-l] [-j] [LUN ...]\n"),
    ] {
        let said = bench.bad(line);
        let lines: Vec<&str> = output.lines().collect();
        assert!(
            lines.iter().all(|line| said.contains(line)),
            "{line}: {said}"
        );
    }
    bench.silent("offline 0");
    assert_eq!(
        bench.good("shelf -n 2"),
        "would change shelf 1 to 2 with 4 LUNs\n"
    );
    assert_eq!(bench.good("shelf"), "1\n");
}

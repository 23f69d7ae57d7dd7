//! Whatever is accepted can be undone by another command, or was confirmed, or changes nothing of anybody.
//!
//! Every command that changes something is in one of these lists. Random sequences, on a real administration,
//! are the business of the model test.

use super::Bench;
use super::plans::{bench, consented, state};
use console::Next;
use console::command::COMMANDS;

/// Commands, and what undoes them.
const UNDONE: [(&str, &[&str]); 26] = [
    ("make 9 raid1 1.8-9", &["remove -f 9"]),
    ("make -s web 9 jbod 1.8", &["remove -f 9"]),
    ("jbod 1.8", &["remove -f 8"]),
    ("online 1", &["offline 1"]),
    ("offline 0", &["online 0"]),
    ("offline -f 0", &["online 0"]),
    ("mask 0 +001004012e81", &["mask 0 -001004012e81"]),
    ("rmmask 2", &["mask 2 +001004012e85"]),
    ("setvlan 5 2", &["setvlan 7 2"]),
    ("clrvlan 2", &["setvlan 7 2"]),
    ("readonly on 0", &["readonly off 0"]),
    ("confstr 0 abc", &["confstr -c 0"]),
    ("ratelimit 0", &["ratelimit 1M"]),
    ("spare 1.9", &["rmspare 1.9"]),
    ("rmspare 1.15", &["spare 1.15"]),
    ("setsize 1000G 1.8", &["setsize -c 1.8"]),
    ("label web 2", &["label data 2"]),
    ("unlabel 2", &["label data 2"]),
    ("timezone UTC", &["timezone local"]),
    ("motd hello", &["motd -c"]),
    ("syslog off", &["syslog 10.0.0.1"]),
    ("ntp 10.0.0.1", &["ntp off"]),
    ("debug on", &["debug off"]),
    ("set product SRX", &["set product SR"]),
    ("cecenable eth2", &["cecdisable eth2"]),
    ("cecdisable eth1", &["cecenable eth1"]),
];

/// Commands that ask, or were told not to.
const ASKING: [&str; 12] = [
    "remove 1",
    "eject 1",
    "erase 1.8",
    "disktest -w 1.8",
    "condition 1.8",
    "extract 1.8 1.9",
    "grow 0 raid1 1.8-9",
    "reservations -c 2",
    "reboot",
    "halt",
    "passwd ann",
    "shelf 2",
];

/// Commands that neither ask nor can be undone, and why that may be.
const ONE_WAY: [(&str, &str); 24] = [
    (
        "fail",
        "unfail undoes it when the element is rebuilt; what it held is what the others hold",
    ),
    (
        "unfail",
        "fail undoes it; a failed element held nothing of use",
    ),
    (
        "replace",
        "fail -r undoes it; the drive must be free, or -f",
    ),
    ("scrub", "what a scrub has read it can read again"),
    ("restore", "eject undoes it"),
    ("scan", "eject undoes it"),
    ("setiomode", "changes nothing"),
    ("flushcacheenable", "changes nothing"),
    ("flushcachedisable", "always refused"),
    ("lunfailguardenable", "changes nothing"),
    ("lunfailguarddisable", "always refused"),
    ("syslogtest", "sends a text"),
    (
        "date",
        "sets a clock that nobody keeps, which goes on; date sets it again",
    ),
    ("sos", "writes a new file"),
    ("kick", "whoever was there may log in again"),
    ("alerts", "notes that somebody knows"),
    ("restoreconfig", "runs commands that are in these lists"),
    ("smartenable", "smartdisable undoes it"),
    ("smartdisable", "smartenable undoes it"),
    (
        "erctimers",
        "so it does itself, with the times that it listed",
    ),
    ("selftest", "changes nothing of what a drive holds"),
    ("setslotled", "setslotled reset undoes it"),
    ("spareled", "so it does itself"),
    ("locate", "locate off undoes it"),
];

fn name(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

#[test]
fn every_command_that_changes_something_can_be_undone_or_asks() {
    let undone = UNDONE.iter().map(|(line, _)| name(line));
    let one_way = ONE_WAY.iter().map(|(name, _)| *name);
    let asking = ASKING.iter().map(|line| name(line));
    // Those that can be undone in one form and ask in the other.
    let both = ["users", "saveconfig"];
    let known: Vec<&str> = undone.chain(one_way).chain(asking).chain(both).collect();
    for command in COMMANDS.iter().filter(|command| command.is_planned()) {
        assert!(known.contains(&command.name), "{}", command.name);
    }
}

/// As people see it: LUNs that were made anew have another serial number.
fn seen(bench: &mut Bench) -> Vec<String> {
    let lines = [
        "list -l",
        "show -l",
        "spares",
        "mask",
        "vlans",
        "readonly",
        "ratelimit",
        "timezone",
        "motd",
        "syslog",
        "ntp",
        "debug",
        "set",
        "cecstat",
        "users",
        "confstr 0",
    ];
    lines.iter().map(|line| bench.line(line).output).collect()
}

#[test]
fn what_is_undone_is_as_before() {
    let users: [(&str, &[&str]); 2] = [
        ("users add bob admin", &["users remove bob"]),
        ("users role ann admin", &["users role ann read-only"]),
    ];
    for (line, undo) in UNDONE.iter().chain(&users) {
        let mut bench = bench();
        let before = seen(&mut bench);
        let reply = bench.line(line);
        assert!(reply.ok && reply.next == Next::Command, "{line}");
        assert_ne!(seen(&mut bench), before, "{line} has changed nothing");
        for undo in *undo {
            assert!(consented(&mut bench, undo).ok, "{undo}");
        }
        assert_eq!(seen(&mut bench), before, "{line}, undone by {undo:?}");
    }
}

#[test]
fn what_cannot_be_undone_asks() {
    let more = ["users remove ann", "saveconfig a"];
    for line in ASKING.iter().chain(&more) {
        let mut bench = bench();
        if *line == "shelf 2" {
            bench.silent("offline 0");
        }
        let before = state(&bench);
        let reply = bench.line(line);
        assert!(
            matches!(reply.next, Next::Answer { .. }),
            "{line} does not ask: {}",
            reply.output
        );
        assert_eq!(
            state(&bench),
            before,
            "{line} did something before it asked"
        );
        assert!(!bench.line("").ok, "{line}");
        assert_eq!(
            state(&bench),
            before,
            "{line} did something without consent"
        );
    }
}

/// A script has been written by somebody who knew: it is asked only before something is destroyed.
#[test]
fn scripts_are_asked_only_before_data_is_lost() {
    let milder = [
        "grow 0 raid1 1.8-9",
        "reservations -c 2",
        "users remove ann",
        "saveconfig a",
    ];
    for line in milder {
        let mut bench = bench();
        bench.line("set batch on");
        let before = state(&bench);
        let reply = bench.line(line);
        assert!(
            reply.ok && reply.output.ends_with("OK\n"),
            "{line}: {}",
            reply.output
        );
        assert_ne!(state(&bench), before, "{line}");
    }
    for line in ["remove 1", "eject 1", "erase 1.8", "reboot"] {
        let mut bench = bench();
        bench.line("set batch on");
        let reply = bench.line(line);
        assert!(matches!(reply.next, Next::Answer { .. }), "{line}");
    }
}

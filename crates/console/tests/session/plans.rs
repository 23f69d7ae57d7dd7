//! `-n`: every command that changes the shelf tells what it would do, and does not.

use super::Bench;
use console::command::COMMANDS;

/// What can be typed of each command, on a shelf with LUNs.
const LINES: [(&str, &str); 29] = [
    (
        "make 9 raid10 1.8-11",
        "make LUN 9, raid10 of 4 drives (1.8-11), 8001.573GB, offline",
    ),
    (
        "jbod 1.8",
        "make LUN 8, jbod of 1 drive (1.8), 4000.786GB, offline",
    ),
    (
        "grow 0 raid1 1.8-9",
        "grow LUN 0 by a raid1 of 2 drives (1.8-9)",
    ),
    ("online 1", "bring LUN 1 online"),
    ("offline 0", "take LUN 0 offline"),
    (
        "remove 1",
        "erase configuration of 1 drive (1.4), 4000.786GB of data on LUN 1",
    ),
    (
        "remove -f 0",
        "erase configuration of 2 drives (1.0-1), 4000.786GB of data on LUN 0",
    ),
    ("eject 1", "let go of LUN 1 and its 1 drive (1.4)"),
    (
        "mask 0 +001004012e81",
        "add 1 to the mask list of LUN 0 and take 0 from it",
    ),
    ("rmmask 0", "have LUN 0 answer everybody"),
    ("reservations -c 0", "clear the reservations of LUN 0"),
    ("setvlan 5 0", "serve LUN 0 in VLAN 5"),
    ("clrvlan 0", "serve LUN 0 without tags"),
    ("readonly on 0", "refuse writes of LUN 0"),
    ("confstr 0 abc", "set the config string of LUN 0, 3 bytes"),
    ("ratelimit 0", "let passes go without a limit"),
    ("fail 0.0.1", "fail 0.0.1"),
    ("unfail 0.0.1", "rebuild 0.0.1 on its own drive"),
    ("replace 0.0.1 1.9", "rebuild 0.0.1 on 1.9"),
    ("spare -l 0 1.9", "make 1.9 a spare of LUN 0"),
    ("rmspare 1.15", "take 1.15 out of the spares"),
    ("scrub start 0", "scrub LUN 0"),
    ("restore", "look at all drives that are in no LUN"),
    ("label web 0", "label LUN 0 'web'"),
    ("unlabel 0", "take the label of LUN 0 away"),
    ("scan", "look at all drives that are in no LUN"),
    ("erase 1.8", "erase 1.8, 4000.787GB"),
    (
        "disktest -w 1.8",
        "overwrite 1.8, 4000.787GB, and read it back",
    ),
    ("setsize 1000G 1.8", "use 1000.000GB of 1.8"),
];

fn bench() -> Bench {
    let mut bench = Bench::with_luns();
    bench.silent("spare 1.15");
    bench
}

#[test]
fn plans_are_told_and_nothing_is_done() {
    for (line, step) in LINES {
        let mut bench = bench();
        let before = format!("{:?}", bench.shelf);
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        assert_eq!(
            bench.good(&format!("{name} -n {rest}")),
            format!("would {step}\n")
        );
        let json = bench.good(&format!("{name} -nj {rest}"));
        let data = format!("{{\"would\":\"{step}\"}}");
        assert!(
            json.starts_with("{\"schema\":1,\"ok\":true,") && json.contains(&data),
            "{json}"
        );
        assert_eq!(
            before,
            format!("{:?}", bench.shelf),
            "{line} has changed something"
        );
    }
}

#[test]
fn every_command_with_a_plan_is_in_the_list() {
    for command in COMMANDS.iter().filter(|command| command.is_planned()) {
        let is_there = LINES
            .iter()
            .any(|(line, _)| line.split(' ').next() == Some(command.name));
        assert!(is_there || command.name == "shelf", "{}", command.name);
    }
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

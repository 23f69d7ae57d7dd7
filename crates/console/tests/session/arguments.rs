//! Wrong arguments, made for every command from its row of the table: too few, too many, unknown options,
//! options without their value, values that are out of range, no number or of something else, twice the same.
//!
//! Whatever they are, the answer is an error that says something, in both forms, and nothing has changed.

use super::Bench;
use console::command::{COMMANDS, Command};
use console::{Next, Reply};

/// What is no LUN, or none that is there.
const NO_LUNS: [&str; 9] = [
    "255",
    "99999999999999999999",
    "00",
    "0x0",
    "1.0",
    "zero",
    "''",
    "1.0.0",
    "200",
];

/// What is no drive, or none that is there.
const NO_DRIVES: [&str; 9] = [
    "1.16", "1.99999", "2.0", "1", "1.", "01.0", "1.0.0", "eth1", "''",
];

/// What is no element, or none that is there.
const NO_ELEMENTS: [&str; 7] = ["0", "0.0", "0.0.99", "0.9.0", "9.0.0", "0.0.0.0", "a.b.c"];

/// What no row takes where a word, a number or a name stands.
const NO_WORDS: [&str; 3] = ["''", "\u{1b}", "99999999999999999999999"];

/// Rows of which an operand may be any text.
const FREE_TEXT: [&str; 2] = ["confstr", "help"];

fn bad_words(kind: &str) -> &'static [&'static str] {
    match kind {
        "LUN" => &NO_LUNS,
        "drive" => &NO_DRIVES,
        "LUN.part.drive" => &NO_ELEMENTS,
        _ => &NO_WORDS,
    }
}

fn good_word(kind: &str) -> &'static str {
    match kind {
        "LUN" => "1",
        "drive" => "1.8",
        "LUN.part.drive" => "0.0.1",
        "type" => "jbod",
        "id" => "100",
        "secs" => "3",
        _ => "2",
    }
}

/// The operands that a usage asks for, in the first of its forms; those in brackets are left out.
fn operands(command: &Command) -> Vec<&'static str> {
    let form = command.usage.split(" | ").next().unwrap_or_default();
    let (mut words, mut depth) = (Vec::new(), 0_usize);
    for word in form.split_whitespace().skip(1) {
        depth += word.matches('[').count();
        if depth == 0 && word != "..." {
            words.push(word);
        }
        depth -= word.matches(']').count().min(depth);
    }
    words
}

/// All wrong lines of a command.
pub(crate) fn wrong_lines(command: &Command) -> Vec<String> {
    let name = command.name;
    let kinds = operands(command);
    let good: Vec<&str> = kinds.iter().map(|kind| good_word(kind)).collect();
    let mut lines = vec![
        format!("{name} -Z {}", good.join(" ")),
        format!("{name} -: {}", good.join(" ")),
    ];
    for letter in command.value_options() {
        lines.push(format!("{name} {} -{letter}", good.join(" ")));
    }
    for count in 0..*command.operands().start() {
        lines.push(format!(
            "{name} {}",
            good[..count.min(good.len())].join(" ")
        ));
    }
    let most = *command.operands().end();
    if most < 16 {
        let many: Vec<&str> = good
            .iter()
            .copied()
            .chain(["2"; 16])
            .take(most + 1)
            .collect();
        lines.push(format!("{name} {}", many.join(" ")));
    }
    if !FREE_TEXT.contains(&name) {
        for (place, kind) in kinds.iter().enumerate() {
            for bad in bad_words(kind) {
                // A new LUN may have any number, and drives are waited for, too.
                if matches!((name, *bad), ("make", "200") | ("wait", "1.0")) {
                    continue;
                }
                let mut words = good.clone();
                words[place] = bad;
                lines.push(format!("{name} {}", words.join(" ")));
            }
        }
    }
    lines
}

/// LUN 0 is a mirror, LUNs 1 to 3 are single drives; one of them is online.
fn bench() -> Bench {
    Bench::with_luns()
}

fn check_error(line: &str, reply: &Reply) {
    assert!(!reply.ok, "{line} is done: {:?}", reply.output);
    assert_eq!(reply.next, Next::Command, "{line}");
    let says = |line: &str| line.starts_with("error: ") || line.starts_with("usage: ");
    assert!(reply.output.lines().any(says), "{line}: {:?}", reply.output);
}

#[test]
fn wrong_arguments_are_told_and_change_nothing() {
    let mut count = 0;
    for command in COMMANDS {
        for line in wrong_lines(command) {
            let mut bench = bench();
            let before = format!("{:?} {:?}", bench.shelf, bench.host);
            check_error(&line, &bench.line(&line));
            let json = line.replacen(command.name, &format!("{} -j", command.name), 1);
            let reply = bench.line(&json);
            assert!(!reply.ok, "{json}: {}", reply.output);
            check_json(&json, &reply.output);
            let after = format!("{:?} {:?}", bench.shelf, bench.host);
            assert_eq!(before, after, "{line} has changed something");
            count += 1;
        }
    }
    assert!(count > 200, "{count} lines");
}

fn check_json(line: &str, output: &str) {
    let document: serde_json::Value = serde_json::from_str(output).expect(line);
    assert_eq!(document["ok"], false, "{line}: {output}");
    let errors = document["errors"].as_array().expect(line);
    assert!(!errors.is_empty(), "{line}: {output}");
    for error in errors {
        for field in ["code", "text"] {
            let text = error[field].as_str().expect(line);
            assert!(!text.is_empty(), "{line}: {output}");
        }
    }
}

/// Lines whose arguments contradict one another, or one of them the command.
const CONTRADICTIONS: [&str; 105] = [
    "erase -f",
    "erase stop",
    "erase -f stop 1.8",
    "erase -f 1.8 1.8",
    "disktest -rw 1.8",
    "disktest -r",
    "disktest -r stop 1.8",
    "condition stop",
    "condition -f stop 1.8",
    "condition -s 8 stop 1.8",
    "condition -s 8",
    "condition -s x 1.8",
    "condition -f 1.8 1.8",
    "extract stop",
    "extract -f stop 1.8",
    "extract 1.8",
    "extract -y",
    "extract 1.8 1.8",
    "extract 1.8 1.9 1.10",
    "extract -s 1.8 1.9",
    "extract -s 8 stop 1.8",
    "extract -s x 1.8 1.9",
    "setsize -c",
    "setsize 1G",
    "setsize 1G 1.8 1.8",
    "readonly on off 0",
    "readonly on",
    "confstr -c 0 text",
    "mask clear 0 +001004012e81",
    "mask 0 +001004012e81 -001004012e81",
    "spare -l 0",
    "spare -f",
    "scrub start stop 0",
    "scrub every 7 monthly 0",
    "make 4 raid1 1.8 1.8",
    "make -k 64 4 raid1 1.8-9",
    "make 4 jbod 1.8 1.9",
    "make -s '' 4 jbod 1.8",
    "make -s 0123456789abcdefg 4 jbod 1.8",
    "make -s 4 jbod 1.8",
    "make -s a -s b 4 jbod 1.8",
    "make -s web 4 raw 1.8",
    "make -V 1.2 4 raw 1.8",
    "make -V 0 4 jbod 1.8",
    "make -V 1 4 jbod 1.8",
    "make 4 nil",
    "make 4 raidl 1.8-9",
    "offline -f",
    "drives -sr 100 1.8",
    "drives -sw 1.8",
    "drives -x erase 1.8",
    "drives -l 1.8",
    "replace 0.0.1 1.0",
    "remove 1 1",
    "remove -f 1 1",
    "eject -f 1 1",
    "jbod 1.8 1.8",
    "rmspare -f 1.8 1.8",
    "spare 1.8 1.8",
    "shelf -f 2 3",
    "users add ann admin read-only",
    "users add remove ann",
    "users remove ann read-only",
    "users role ann",
    "scrub start stop",
    "scrub stop start",
    "scrub pause resume 0",
    "scrub policy report all 0",
    "scrub schedule weekly monthly 0",
    "scrub status start",
    "mask 0 clear",
    "mask clear clear 0",
    "mask clear",
    "readonly on off",
    "readonly on off 0",
    "readonly 0 on off",
    "readonly off 0 on",
    "events on off",
    "debug on off",
    "terminal color on off",
    "terminal rows columns",
    "set batch on off",
    "set batch product",
    "motd -c text",
    "date 2026-11-27",
    "date 1 2 3",
    "ntp off default",
    "ntp off 10.0.0.1",
    "ntp default 10.0.0.1",
    "ntp 10.0.0.1 10.0.0.1",
    "ntp 1 2 3 4 5 6 7 8 9",
    "timezone -l UTC",
    "syslog 10.0.0.1 off",
    "setiomode random sequential 0",
    "alerts ack ack",
    "restore 2 0 7 8",
    "restoreconfig -n a b",
    "reservations -c",
    "reservations -f",
    "ratelimit 0 1M",
    "ratelimit -p",
    "shelf -f",
    "cecstat eth1 eth9",
    "fail 0.0.0 0.0.1",
    "unfail -r 0.0.0",
];

#[test]
fn arguments_that_contradict_one_another_are_told_and_change_nothing() {
    let mut done = Vec::new();
    for line in CONTRADICTIONS {
        let mut bench = bench();
        let before = format!("{:?} {:?}", bench.shelf, bench.host);
        let reply = bench.line(line);
        let after = format!("{:?} {:?}", bench.shelf, bench.host);
        if reply.ok || before != after {
            done.push((line, reply.output));
        } else {
            check_error(line, &reply);
        }
    }
    assert!(done.is_empty(), "{done:#?}");
}

/// What the list at the end of a usage is of, and the good words before it.
fn list_of(command: &Command) -> Option<(Vec<&'static str>, &'static str)> {
    let form = command.usage.split(" | ").next().unwrap_or_default();
    let (before, _) = form.split_once(" ...")?;
    let kind = before.rsplit([' ', '[']).next()?;
    let mut words = operands(command);
    words.retain(|word| *word != kind);
    let good = words.iter().map(|word| good_word(word)).collect();
    ["LUN", "drive", "LUN.part.drive", "port", "id"]
        .contains(&kind)
        .then_some((good, kind))
}

/// One rule for all lists: a command that changes something refuses what is named twice, and one that only
/// lists lists it.
#[test]
fn what_is_named_twice_is_refused_or_harmless() {
    let mut refused = 0;
    for command in COMMANDS {
        let Some((before, kind)) = list_of(command) else {
            continue;
        };
        let word = match kind {
            "port" => "eth1",
            kind => good_word(kind),
        };
        let line = format!("{} {} {word} {word}", command.name, before.join(" "));
        let mut bench = bench();
        let before = format!("{:?} {:?}", bench.shelf, bench.host);
        let reply = bench.line(&line);
        if command.is_planned() {
            let told = format!("error: {word} is named twice\n");
            assert_eq!(reply.output, told, "{line}");
            let plan = line.replacen(' ', " -n ", 1);
            assert_eq!(bench.bad(&plan), told, "{plan}");
            refused += 1;
        }
        let after = format!("{:?} {:?}", bench.shelf, bench.host);
        assert_eq!(before, after, "{line} has changed something");
    }
    assert!(refused > 20, "{refused} commands");
}

#[test]
fn only_what_is_in_the_list_counts_as_named_twice() {
    for line in [
        "setvlan 1 1",
        "label 1 1",
        "confstr 1 1",
        "scrub every 0 0",
        "make 8 jbod 1.8",
        "motd a a",
        "list 1 1",
        "show 1.0 1.0",
    ] {
        let reply = bench().line(line);
        assert!(reply.ok, "{line}: {}", reply.output);
    }
    for line in ["mask 0 +001004012e81 +00:10:04:01:2E:81", "setvlan 5 1 1"] {
        let told = bench().bad(line);
        assert!(told.contains("is named twice"), "{line}: {told}");
    }
}

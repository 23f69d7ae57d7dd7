//! `top`: two looks at what is counted, a page that keys change, and what is left of it on a small screen.

use super::Bench;
use super::statistics::{heard, layer, rates};
use crate::fake::FakeShelf;
use console::protocol::{Prompt, PromptKind, Request};
use console::session::PAGE;
use console::{Next, Reply};
use shelf::admin::{DriveSlot, LunNumber, LunStatus};
use shelf::observe::WorkerLoad;
use std::time::Duration;

const MS: u64 = 1_000_000;

/// LUNs, initiators, drives and a port that do something, and two workers.
pub(super) fn loaded() -> Bench {
    let mut bench = heard();
    let lun = |number| LunNumber::new(number).expect("a LUN number");
    bench.shelf.lun_rates = vec![(lun(0), rates(30_000)), (lun(2), rates(300_000))];
    bench.shelf.drive_rates.insert(DriveSlot(1), rates(30_000));
    bench.shelf.drive_rates.insert(DriveSlot(5), rates(300));
    let worker = |index| WorkerLoad {
        index,
        slots: 512,
        ..WorkerLoad::default()
    };
    bench.shelf.workers = vec![worker(0), worker(1)];
    bench.shelf.port_statistics[0].layers = vec![
        layer("nic", &[("rx_packets", 120), ("rx_missed_errors", 3)]),
        layer(
            "ring",
            &[("rx_bytes", 0), ("tx_bytes", 0), ("rx_dropped", 0)],
        ),
    ];
    bench
}

/// A second of work.
pub(super) fn work(shelf: &mut FakeShelf) {
    for (worker, share) in shelf.workers.iter_mut().zip([300, 800]) {
        worker.working_ns += share * MS;
        worker.polling_ns += 50 * MS;
        worker.sleeping_ns += (950 - share) * MS;
        worker.sleeps += 20;
        worker.frames += 100 * share;
        worker.commands += 99 * share;
        worker.slots_used = 17;
    }
    shelf.busy_ns += 455 * MS;
    for (_, value) in &mut shelf.port_statistics[0].layers[1].counters {
        *value += 125_000_000;
    }
    shelf.port_statistics[0].layers[1].counters[2].1 -= 125_000_000 - 7;
}

/// With somebody at a terminal of this size.
fn seated(mut bench: Bench, rows: usize, columns: usize) -> Bench {
    sized(&mut bench, rows, columns);
    bench
}

fn sized(bench: &mut Bench, rows: usize, columns: usize) -> Prompt {
    let request = Request::Terminal {
        rows,
        columns,
        color: false,
        keyboard: true,
    };
    bench.request(&request).prompt
}

/// The lines of a page.
fn page(reply: &Reply) -> Vec<&str> {
    assert!(matches!(reply.next, Next::Keys { .. }), "{reply:?}");
    let page = reply.output.strip_prefix(PAGE).expect("a page");
    page.lines().collect()
}

fn keys(bench: &mut Bench, keys: &str) -> Reply {
    bench.session.keys(&mut world!(bench), keys)
}

/// A second goes by.
fn second(bench: &mut Bench) -> Reply {
    work(&mut bench.shelf);
    bench.host.now += Duration::from_secs(1);
    bench.go_on()
}

/// The names in the first column of the table that begins with this title.
fn names<'a>(lines: &[&'a str], title: &str) -> Vec<&'a str> {
    let begin = lines.iter().position(|line| line.starts_with(title));
    let begin = begin.unwrap_or_else(|| panic!("no {title}: {lines:#?}"));
    let rows = lines[begin + 1..].iter();
    let is_row = |line: &&&str| {
        let is_name = line.starts_with(|c: char| c.is_ascii_digit() || c.is_lowercase());
        is_name && !line.starts_with("q end")
    };
    rows.take_while(is_row)
        .map(|line| line.split_whitespace().next().expect("a row has a name"))
        .collect()
}

#[test]
fn what_is_most_active_is_first_and_keys_say_otherwise() {
    let mut bench = seated(loaded(), 40, 120);
    let reply = bench.line("top");
    assert!(
        page(&reply)
            .iter()
            .any(|line| line.starts_with("0           -")),
        "{reply:?}"
    );
    let reply = second(&mut bench);
    let lines = page(&reply);
    assert_eq!(lines.len(), 39);
    assert_eq!(names(&lines, "WORKER"), ["1", "0"]);
    assert_eq!(names(&lines, "LUN "), ["2", "0", "1", "3"]);
    assert_eq!(names(&lines, "DISK")[..3], ["1.1", "1.5", "1.0"]);
    let text = lines.join("\n");
    assert!(
        text.contains("\n1       80.0%   5.0%  15.0%     80000    79200       20    17/512\n"),
        "{text}"
    );
    // One table; other orders; the other way round.
    let reply = keys(&mut bench, "l");
    assert!(!reply.output.contains("WORKER"), "{reply:?}");
    assert_eq!(names(&page(&reply), "LUN "), ["2", "0", "1", "3"]);
    let reply = keys(&mut bench, "sss");
    assert_eq!(names(&page(&reply), "LUN "), ["0", "1", "2", "3"]);
    let reply = keys(&mut bench, "r");
    assert_eq!(names(&page(&reply), "LUN "), ["3", "2", "1", "0"]);
    assert!(page(&reply)[38].contains("s by name reversed"), "{reply:?}");
    for (key, title) in [
        ("w", "WORKER"),
        ("i", "INITIATOR"),
        ("d", "DISK"),
        ("p", "PORT"),
    ] {
        assert!(
            keys(&mut bench, key)
                .output
                .contains(&format!("\n{title} ")),
            "{title}"
        );
    }
    assert!(keys(&mut bench, "a").output.contains("\nLUN "));
    // Keys tell what they do, and the next one goes back to what was there.
    assert!(keys(&mut bench, "?").output.contains("q Ctrl-C    end"));
    assert!(keys(&mut bench, "x").output.contains("\nLUN "));
}

#[test]
fn it_stands_still_and_ends_by_a_key() {
    let mut bench = seated(loaded(), 40, 120);
    bench.line("top");
    let before = keys(&mut bench, " ");
    assert!(before.output.contains("\nPAUSED"), "{before:?}");
    assert_eq!(second(&mut bench).output, before.output);
    let reply = keys(&mut bench, " ");
    assert!(matches!(reply.next, Next::Keys { after } if after < Duration::from_millis(50)));
    assert_ne!(second(&mut bench).output, before.output);
    for end in ["q", "\u{3}", "\u{4}", "lxq"] {
        bench.line("top");
        let reply = keys(&mut bench, end);
        assert_eq!(
            (reply.output.as_str(), reply.ok, reply.next),
            ("", true, Next::Command)
        );
    }
    // So does the end of the connection, and another line.
    bench.line("top");
    assert_eq!(bench.session.cancel().output, "");
    bench.line("top");
    assert_eq!(bench.good("show 1.0"), "1.0\n");
    // A key ends anything else.
    bench.line("when -w");
    assert_eq!(keys(&mut bench, "l").next, Next::Command);
}

/// A key does not put off the next look.
#[test]
fn the_next_look_is_when_it_would_have_been() {
    let mut bench = seated(loaded(), 24, 80);
    bench.line("top -s 5");
    bench.host.now += Duration::from_secs(2);
    let Next::Keys { after } = keys(&mut bench, "s").next else {
        panic!("it is not over");
    };
    assert_eq!(after, Duration::from_secs(3));
}

#[test]
fn it_fits_every_screen() {
    for (rows, columns) in [
        (24, 80),
        (15, 60),
        (5, 20),
        (2, 20),
        (60, 200),
        (1000, 1000),
    ] {
        let mut bench = seated(loaded(), rows, columns);
        bench.line("top");
        for key in ["", "l", "d", "\u{1b}[B", "\u{1b}[F", "h", "q"] {
            second(&mut bench);
            let reply = keys(&mut bench, key);
            if key == "q" {
                break;
            }
            let lines = page(&reply);
            assert_eq!(lines.len(), rows - 1, "{rows}x{columns}: {lines:#?}");
            let widest = lines.iter().map(|line| line.chars().count()).max();
            assert!(widest < Some(columns), "{rows}x{columns}: {lines:#?}");
        }
    }
    // All five tables, with what is most active of each.
    let mut bench = seated(loaded(), 15, 60);
    bench.line("top");
    let reply = second(&mut bench);
    let lines = page(&reply);
    for (title, first) in [
        ("WORKER", "1"),
        ("LUN ", "2"),
        ("INITIATOR", "020000000001"),
        ("DISK", "1.1"),
        ("PORT", "eth1"),
    ] {
        assert_eq!(names(&lines, title)[0], first, "{lines:#?}");
    }
}

#[test]
fn a_screen_that_changes_its_size_is_shown_anew() {
    let mut bench = seated(loaded(), 24, 80);
    bench.line("top");
    let prompt = sized(&mut bench, 15, 60);
    assert_eq!(prompt.kind, PromptKind::Keys);
    let response = bench.request(&Request::Keys(String::new()));
    assert_eq!(response.output.lines().count(), 14);
    assert_eq!(response.prompt.kind, PromptKind::Keys);
    // As `cec` tells it.
    let reply = keys(&mut bench, "\u{1b}[8;30;100t");
    assert_eq!(page(&reply).len(), 29);
}

#[test]
fn of_many_luns_those_are_shown_that_there_is_room_for() {
    let mut bench = seated(Bench::with_luns(), 24, 80);
    let first = bench.shelf.luns[0].clone();
    bench.shelf.luns = (0..=LunNumber::MAX)
        .map(|number| LunStatus {
            lun: LunNumber::new(number).expect("a LUN number"),
            ..first.clone()
        })
        .collect();
    let lun = |number| LunNumber::new(number).expect("a LUN number");
    bench.shelf.lun_rates = vec![(lun(200), rates(3000))];
    let reply = bench.line("top");
    let lines = page(&reply);
    assert_eq!(names(&lines, "LUN ")[..2], ["200", "0"]);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("LUN ") && line.ends_with(" of 255"))
    );
    assert!(
        lines[1].starts_with("255 of 255 LUNs online"),
        "{}",
        lines[1]
    );
    // The end of one table, and beyond.
    let reply = keys(&mut bench, "l\u{1b}[F\u{1b}[B");
    assert_eq!(names(&page(&reply), "LUN ").last(), Some(&"254"));
    let reply = keys(&mut bench, "\u{1b}[A");
    assert_eq!(names(&page(&reply), "LUN ").last(), Some(&"253"));
}

/// Whoever has no keyboard, or wants it once, is told once, after a second.
#[test]
fn where_nobody_looks_it_is_told_once() {
    let mut bench = loaded();
    let (mut told, mut json) = (String::new(), String::new());
    for (line, output) in [("top", &mut told), ("top -j", &mut json)] {
        let reply = bench.line(line);
        let after = Duration::from_secs(1);
        assert_eq!(
            (reply.output.as_str(), reply.next),
            ("", Next::Later { after })
        );
        let reply = second(&mut bench);
        assert!(reply.ok && reply.next == Next::Command);
        *output = reply.output;
    }
    assert!(told.contains("eth1         1000.0     1000.0"), "{told}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let data = &json["data"][0];
    assert_eq!(data["workers"][1]["busy_permille"], 800);
    assert_eq!(data["drives"][0]["busy_permille"], 455);
    // 10 000 reads in a second, of 300 us each.
    assert_eq!(data["drives"][1]["queue_hundredths"], 300);
    assert_eq!(data["ports"][0]["drops_per_s"], 7);
    assert!(data["luns"].as_array().unwrap().len() == 4);
    sized(&mut bench, 24, 80);
    assert!(matches!(bench.line("top -b").next, Next::Later { .. }));
    assert!(matches!(bench.line("top -j").next, Next::Later { .. }));
}

/// Colours are added, and nothing else is another.
#[test]
fn titles_and_states_are_told_apart_by_colour() {
    let mut bench = seated(loaded(), 24, 80);
    bench.line("top");
    let plain = second(&mut bench).output;
    bench.good("terminal color on");
    bench.line("top");
    work(&mut bench.shelf);
    let colored = second(&mut bench).output;
    assert!(colored.contains("\u{1b}[7mWORKER"), "{colored:?}");
    assert!(colored.contains("\u{1b}[32monline\u{1b}[0m"), "{colored:?}");
    let mut bare = colored;
    for code in ["\u{1b}[7m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[0m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare.lines().count(), plain.lines().count());
    assert!(!bare.contains('\u{1b}'), "{bare:?}");
}

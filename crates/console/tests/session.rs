//! Whole sessions, character for character: what an administrator types and reads, as text and as
//! JSON. Monitoring plug-ins and scripts take these forms apart.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

/// What commands act on, of a bench.
macro_rules! world {
    ($bench:expr) => {
        console::host::World {
            admin: &mut $bench.shelf,
            host: &mut $bench.host,
            who: &$bench.who,
        }
    };
}

#[path = "session/access.rs"]
mod access;
#[path = "session/arguments.rs"]
mod arguments;
#[path = "session/consoles.rs"]
mod consoles;
#[path = "session/drives.rs"]
mod drives;
#[path = "session/events.rs"]
mod events;
mod fake;
#[path = "session/golden.rs"]
mod golden;
#[path = "session/grow.rs"]
mod grow;
#[path = "session/hardware.rs"]
mod hardware;
#[path = "session/offline.rs"]
mod offline;
#[path = "session/plans.rs"]
mod plans;
#[path = "session/plugins.rs"]
mod plugins;
#[path = "session/protection.rs"]
mod protection;
#[path = "session/reversible.rs"]
mod reversible;
mod rules;
#[path = "session/schema.rs"]
mod schema;
#[path = "session/statistics.rs"]
mod statistics;
#[path = "session/top.rs"]
mod top;
#[path = "session/views.rs"]
mod views;

use console::host::{Caller, Role};
use console::protocol::{PromptKind, Request};
use console::{Next, Reply, Session, SessionOptions};
use fake::{FakeHost, FakeShelf, administrator};
use proptest::prelude::*;
use shelf::admin::{Admin, LunNumber};
use std::time::Duration;

/// A shelf and one console of it.
struct Bench {
    shelf: FakeShelf,
    host: FakeHost,
    who: Caller,
    session: Session,
}

impl Bench {
    fn new() -> Self {
        let options = SessionOptions {
            version: "9.8.7".to_owned(),
        };
        Self {
            shelf: FakeShelf::new(),
            host: FakeHost::default(),
            who: administrator(),
            session: Session::new(options),
        }
    }

    /// With LUN 0 online and LUNs 1 to 3 offline.
    fn with_luns() -> Self {
        let mut bench = Self::new();
        for line in [
            "make 0 raid1 1.0-1",
            "make 1 jbod 1.4",
            "make 2 jbod 1.5",
            "make 3 jbod 1.6",
        ] {
            bench.silent(line);
        }
        bench.silent("online 0");
        bench
    }

    fn line(&mut self, line: &str) -> Reply {
        self.session.line(&mut world!(self), line)
    }

    /// The output of a command that succeeds.
    fn good(&mut self, line: &str) -> String {
        let reply = self.line(line);
        assert!(reply.ok, "{line}: {}", reply.output);
        assert_eq!(reply.next, Next::Command, "{line}");
        reply.output
    }

    /// The output of a command that fails.
    fn bad(&mut self, line: &str) -> String {
        let reply = self.line(line);
        assert!(!reply.ok, "{line}: {}", reply.output);
        assert_eq!(reply.next, Next::Command, "{line}");
        reply.output
    }

    /// A change that succeeds, of which nothing is said.
    fn silent(&mut self, line: &str) {
        assert_eq!(self.good(line), "", "{line}");
    }

    /// The output and the question of a command that asks.
    fn asks(&mut self, line: &str) -> (String, String) {
        let reply = self.line(line);
        assert!(reply.ok, "{line}: {}", reply.output);
        let Next::Answer { prompt, .. } = reply.next else {
            panic!("{line} does not ask")
        };
        assert_eq!(self.prompt(), prompt);
        (reply.output, prompt)
    }

    fn prompt(&mut self) -> String {
        self.session.prompt(&world!(self))
    }

    fn go_on(&mut self) -> Reply {
        self.session.go_on(&mut world!(self))
    }

    fn request(&mut self, request: &Request) -> console::protocol::Response {
        self.session.request(&mut world!(self), request)
    }

    fn luns(&self) -> Vec<u8> {
        self.shelf.luns().iter().map(|lun| lun.lun.get()).collect()
    }
}

const SHOW_16: &str = "\
1.0  4000.787GB up
1.1  4000.787GB up
1.2  4000.787GB up
1.3  4000.787GB up
1.4  4000.787GB up
1.5  4000.787GB up
1.6  4000.787GB up
1.7  4000.787GB up
1.8  4000.787GB up
1.9  4000.787GB up
1.10 4000.787GB up
1.11 4000.787GB up
1.12 4000.787GB up
1.13 4000.787GB up
1.14 4000.787GB up
1.15 4000.787GB up
";

const LIST_RAID10: &str = " 0 32006.295GB offline
   0.0   32006.295GB raid10 normal
     0.0.0  normal     4000.787GB 1.0
     0.0.1  normal     4000.787GB 1.1
     0.0.2  normal     4000.787GB 1.2
     0.0.3  normal     4000.787GB 1.3
     0.0.4  normal     4000.787GB 1.4
     0.0.5  normal     4000.787GB 1.5
     0.0.6  normal     4000.787GB 1.6
     0.0.7  normal     4000.787GB 1.7
     0.0.8  normal     4000.787GB 1.8
     0.0.9  normal     4000.787GB 1.9
     0.0.10 normal     4000.787GB 1.10
     0.0.11 normal     4000.787GB 1.11
     0.0.12 normal     4000.787GB 1.12
     0.0.13 normal     4000.787GB 1.13
     0.0.14 normal     4000.787GB 1.14
     0.0.15 normal     4000.787GB 1.15
";

#[test]
fn the_first_session() {
    let mut bench = Bench::new();
    assert_eq!(bench.prompt(), "SR shelf 1> ");
    assert_eq!(bench.good("show -l"), SHOW_16);
    bench.silent("make 0 raid10 1.0-15");
    assert_eq!(bench.good("list -l"), LIST_RAID10);
    bench.silent("online 0");
    assert_eq!(bench.good("list"), " 0 32006.295GB online\n");
    assert_eq!(bench.good("show -l 1.0 1.15"), {
        "1.0  4000.787GB up 0.0.0\n1.15 4000.787GB up 0.0.15\n"
    });
    assert_eq!(
        bench.bad("make 0 raid1 1.0-1"),
        "error: lun already exists\n"
    );
    assert_eq!(
        bench.bad("make 1 raid1 1.14-15"),
        "error: 1.14 already in use\n"
    );
}

#[test]
fn make_refuses_wrong_arguments() {
    let mut bench = Bench::new();
    for (line, output) in [
        (
            "make",
            "usage: make [-c] [-f] [-k KiB] [-s label] [-V format] LUN type drive ...\n",
        ),
        (
            "make 0 raid1",
            "usage: make [-c] [-f] [-k KiB] [-s label] [-V format] LUN type drive ...\n",
        ),
        (
            "make -x 0 raid1 1.0-1",
            "usage: make [-c] [-f] [-k KiB] [-s label] [-V format] LUN type drive ...\n",
        ),
        (
            "make 255 jbod 1.0",
            "error: LUN must be an integer between 0 and 254 inclusive\n",
        ),
        (
            "make 0 raid7 1.0-3",
            "error: unsupported raid type raid7; types: raw jbod raid0 raid1 raid5 raid6 raid10\n",
        ),
        ("make -k 100 0 raid5 1.0-3", {
            "error: invalid chunk size 100: a power of two from 16 to 512, in KiB\n"
        }),
        ("make -k x 0 raid5 1.0-3", {
            "error: invalid chunk size x: a power of two from 16 to 512, in KiB\n"
        }),
        (
            "make -k 64 0 raid1 1.0-1",
            "error: raid type raid1 has no chunks\n",
        ),
        ("make 0 raid10 1.0-2", {
            "error: wrong number of devices: raid10 takes an even number of drives, 3 given\n"
        }),
        ("make 0 jbod 1.16", "error: drive 1.16 does not exist\n"),
        ("make 0 jbod 7.1", "error: wrong shelf id 7\n"),
    ] {
        assert_eq!(bench.bad(line), output, "{line}");
    }
    assert!(bench.luns().is_empty());
}

#[test]
fn a_degraded_lun_shows_its_hole() {
    let mut bench = Bench::new();
    bench.silent("mklun -c 12 raid1 1.0 missing");
    bench.shelf.luns[0].label = Some("bob's\x1b[0m".to_owned());
    assert_eq!(
        bench.good("list -l"),
        "\
12 4000.786GB offline 'bob''s?[0m'
   12.0  4000.786GB raid1 degraded
     12.0.0 normal     4000.787GB 1.0
     12.0.1 missing       0.000GB missing
"
    );
    bench.shelf.luns[0].parts[0].state.failed = true;
    assert_eq!(bench.bad("online 12"), {
        "error: LUN 12 cannot go online: both halves of a mirror are missing\n"
    });
}

#[test]
fn jbod_numbers_luns_as_their_slots() {
    let mut bench = Bench::new();
    bench.silent("jbod 1.3-4");
    assert_eq!(bench.luns(), [3, 4]);
    assert_eq!(
        bench.bad("mkjbod 1.2 1.3 1.5-6"),
        "error: lun already exists\nskipping: 1.5 1.6\n"
    );
    assert_eq!(bench.luns(), [2, 3, 4]);
    assert_eq!(bench.bad("jbod"), "usage: jbod [-f] drive ...\n");
    assert_eq!(bench.bad("jbod 1.300"), {
        "error: LUN must be an integer between 0 and 254 inclusive\n"
    });
}

#[test]
fn list_online_and_offline_stop_at_the_first_failure() {
    let mut bench = Bench::with_luns();
    bench.silent("online 1-2");
    bench.silent("offline 1");
    assert_eq!(
        bench.good("list"),
        " 0 4000.786GB online
 1 4000.786GB offline
 2 4000.786GB online
 3 4000.786GB offline
"
    );
    assert_eq!(
        bench.bad("online 3 9 0 1"),
        "error: LUN 9 does not exist\nskipping: 0 1\n"
    );
    assert_eq!(bench.bad("offline 0 x 2"), {
        "error: LUN must be an integer between 0 and 254 inclusive\nskipping: 2\n"
    });
    assert_eq!(bench.bad("list 3 4 0"), {
        " 3 4000.786GB online\nerror: LUN 4 does not exist\nskipping: 0\n"
    });
    assert_eq!(bench.good("online"), bench.good("list 2-3"));
    assert_eq!(bench.good("offline"), bench.good("list 0-1"));
    assert_eq!(Bench::new().good("list -l"), "");
}

#[test]
fn remove_asks_with_coraids_texts() {
    let mut bench = Bench::with_luns();
    let (output, question) = bench.asks("rmlun 3");
    assert_eq!(output, "Request to rmlun 1 lun: 3\n");
    assert_eq!(
        question,
        "'n' to cancel, 'a' for all, or 'y' to rmlun 3 [n]: "
    );
    bench.silent("y");
    assert_eq!(bench.luns(), [0, 1, 2]);

    let (output, question) = bench.asks("rmlun 1 2");
    assert_eq!(output, "Request to rmlun 2 luns: 1 and 2\n");
    assert_eq!(
        question,
        "'n' to cancel, 'a' for all, or 'y' to rmlun 1 [n]: "
    );
    let (output, question) = bench.asks(" Y ");
    assert_eq!((output.as_str(), bench.luns()), ("", vec![0, 2]));
    assert_eq!(
        question,
        "'n' to cancel, 'a' for all, or 'y' to rmlun 2 [n]: "
    );
    assert_eq!(bench.bad(""), "action canceled\n");
    assert_eq!(bench.luns(), [0, 2]);
    assert_eq!(bench.bad("remove"), "usage: remove [-f] LUN ...\n");
}

/// By its own name it wants to be told which LUN, as what is removed is lost.
#[test]
fn remove_wants_the_number_or_the_label() {
    let mut bench = Bench::with_luns();
    bench.silent("label 'vm store' 2");
    bench.silent("label n 3");
    for answer in ["y", "a", "Y", "", "n", "2", "vm store", "01", "remove 1"] {
        let (output, question) = bench.asks("remove 1");
        assert_eq!(output, "Request to remove 1 LUN: 1\n");
        assert_eq!(question, "'n' to cancel, or type 1 to remove LUN 1 [n]: ");
        assert_eq!(bench.bad(answer), "action canceled\n", "{answer}");
    }
    assert_eq!(bench.asks("remove 3").1, {
        "'n' to cancel, or type 3 or n to remove LUN 3 [n]: "
    });
    assert_eq!(bench.bad("n"), "action canceled\n");
    bench.asks("remove 1 2");
    assert_eq!(bench.asks(" 1 ").1, {
        "'n' to cancel, or type 2 or vm store to remove LUN 2 [n]: "
    });
    bench.silent("vm store");
    assert_eq!(bench.luns(), [0, 3]);
}

#[test]
fn remove_takes_all_after_one_answer() {
    let mut bench = Bench::with_luns();
    assert_eq!(
        bench.asks("rmlun 1-3").0,
        "Request to rmlun 3 luns: 1 ... 3\n"
    );
    bench.silent("a");
    assert_eq!(bench.luns(), [0]);
}

#[test]
fn everything_but_y_and_a_cancels_a_removal() {
    for answer in ["n", "yes", "all", "", "remove 1", "\u{1b}", "ja"] {
        let mut bench = Bench::with_luns();
        bench.asks("rmlun 1");
        assert_eq!(bench.bad(answer), "action canceled\n");
        assert_eq!(bench.luns(), [0, 1, 2, 3]);
    }
    let mut bench = Bench::with_luns();
    bench.asks("rmlun 1");
    assert_eq!(bench.session.cancel().output, "action canceled\n");
    assert_eq!(bench.session.cancel().output, "");
    assert_eq!(bench.prompt(), "SR shelf 1> ");
}

#[test]
fn remove_refuses_online_and_unknown_luns() {
    let mut bench = Bench::with_luns();
    assert_eq!(bench.bad("remove 0 1"), {
        "Request to remove 2 LUNs: 0 and 1\n\
         error: LUN 0 needs to be offline before removal\nskipping: 1\n"
    });
    assert_eq!(bench.bad("remove 9"), {
        "Request to remove 1 LUN: 9\nerror: LUN 9 does not exist\n"
    });
    assert_eq!(bench.bad("remove 1 x 2"), {
        "error: LUN must be an integer between 0 and 254 inclusive\nskipping: 1 2\n"
    });
    bench.asks("rmlun 1 0 2");
    assert_eq!(
        bench.bad("a"),
        "error: LUN 0 needs to be offline before removal\nskipping: 2\n"
    );
    assert_eq!(bench.luns(), [0, 2, 3]);
}

#[test]
fn forced_removal_does_not_ask() {
    let mut bench = Bench::with_luns();
    bench.silent("remove -f 0 1");
    assert_eq!(
        bench.bad("rmlun -f 2 9 3"),
        "error: LUN 9 does not exist\nskipping: 3\n"
    );
    assert_eq!(bench.luns(), [3]);
}

#[test]
fn an_answer_does_not_reach_a_lun_that_changed_meanwhile() {
    let mut bench = Bench::with_luns();
    bench.asks("rmlun 1");
    let one = LunNumber::new(1).unwrap();
    bench.shelf.remove(one, false).unwrap();
    let mut other = Session::new(SessionOptions::default());
    assert!(other.line(&mut world!(bench), "make 1 jbod 1.4").ok);
    assert_eq!(
        bench.bad("y"),
        "error: LUN 1 became another one, which only has its number, since you were asked; action canceled\n"
    );
    bench.asks("rmlun 1");
    bench.shelf.online(one).unwrap();
    assert_eq!(
        bench.bad("y"),
        "error: LUN 1 has gone online since you were asked; action canceled\n"
    );
    assert_eq!(
        bench.bad("rmlun 1"),
        "Request to rmlun 1 lun: 1\nerror: LUN 1 needs to be offline before removal\n"
    );
    bench.shelf.remove(one, true).unwrap();
    assert_eq!(bench.luns(), [0, 2, 3]);
}

#[test]
fn shelf_shows_and_sets_the_number() {
    let mut bench = Bench::new();
    assert_eq!(bench.good("shelf"), "1\n");
    bench.silent("shelf 2");
    assert_eq!(bench.prompt(), "SR shelf 2> ");
    for word in ["65535", "4095", "x", "-1", "01", "70000", "99999999999"] {
        let line = format!("shelf -- {word}");
        let output = format!("error: invalid shelf number {word} [0-65534, not 4095]\n");
        assert_eq!(bench.bad(&line), output);
    }
    assert_eq!(bench.bad("shelf 1 2"), "usage: shelf [-f] [number]\n");
}

#[test]
fn ratelimit_shows_and_sets_the_limit() {
    let mut bench = Bench::new();
    assert_eq!(bench.good("ratelimit"), "none\n");
    for (line, shown) in [
        ("ratelimit 128M", "128M\n"),
        ("ratelimit -p 50m", "50M per drive\n"),
        ("ratelimit 1000", "1000\n"),
        ("ratelimit -p 0", "none\n"),
    ] {
        bench.silent(line);
        assert_eq!(bench.good("ratelimit"), shown);
    }
    for word in ["3G", "x", "-1", "1.5M"] {
        assert_eq!(
            bench.bad(&format!("ratelimit -- {word}")),
            format!(
                "error: invalid rate {word}: bytes a second, with K, M or G in units of 1024; 2G at most, 0 for no limit\n"
            )
        );
    }
    assert!(bench.bad("ratelimit 1 2").starts_with("usage: ratelimit"));
    bench.silent("ratelimit -p 8K");
    let json = bench.good("ratelimit -j");
    assert!(
        json.contains("8192") && json.contains("is_per_drive"),
        "{json}"
    );
}

#[test]
fn shelf_asks_when_there_are_luns() {
    let mut bench = Bench::with_luns();
    assert_eq!(
        bench.bad("shelf 2"),
        "error: cannot change shelf address with online LUNs\n"
    );
    bench.silent("shelf 1");
    bench.silent("offline 0");
    let (output, question) = bench.asks("shelf 2");
    assert_eq!(output, "Request to change shelf 1 to 2 with 4 LUNs\n");
    assert_eq!(question, "'n' to cancel, or 'y' to change [N]:");
    assert_eq!(bench.bad("a"), "action canceled\n");
    bench.asks("shelf 2");
    bench.silent("y");
    assert_eq!(bench.good("shelf"), "2\n");
    bench.silent("shelf -f 3");
    bench.asks("shelf 4");
    bench.shelf.set_shelf(9).unwrap();
    assert_eq!(bench.bad("y"), {
        "error: shelf address changed from 3 to 9 since you were asked; action canceled\n"
    });
    bench.asks("shelf 4");
    bench.silent("Y");
}

#[test]
fn an_unset_shelf_shows_its_drives_and_makes_nothing() {
    let mut bench = Bench::new();
    bench.shelf.shelf = None;
    assert_eq!(bench.prompt(), "SR shelf unset> ");
    assert_eq!(bench.good("shelf"), "unset\n");
    assert_eq!(bench.good("show -l unset.3"), "unset.3 4000.787GB up\n");
    let unset = "error: shelf address is unset; set it with: shelf N\n";
    for line in ["show 1.0", "make 0 jbod unset.0", "jbod unset.0"] {
        assert_eq!(bench.bad(line), unset, "{line}");
    }
    bench.silent("shelf 7");
    bench.silent("make 0 jbod 7.0");
}

#[test]
fn ifstat_and_release() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.good("ifstat"),
        "\
NAME            ADDR           LINK (Mbps)   MTU MODE
eth1            001004012e81             -  9000 native
"
    );
    assert_eq!(bench.good("ifstat -j"), {
        "{\"schema\":1,\"ok\":true,\"data\":[{\"name\":\"eth1\",\"mac\":\"001004012e81\",\
         \"addresses\":[\"001004012e81\"],\"mtu_bytes\":9000,\"mode\":\"native\",\"link\":null}]}\n"
    });
    let first = bench.shelf.ports[0].stations.first();
    bench.shelf.ports[0].stations = aoe::StationAddresses::several(first, 2).unwrap();
    assert_eq!(
        bench.good("ifstat"),
        "\
NAME            ADDR           LINK (Mbps)   MTU MODE
eth1            001004012e81             -  9000 native
eth1            061004012e81             -  9000 native
"
    );
    bench.shelf.ports.clear();
    assert_eq!(bench.good("ifstat"), "");
    assert_eq!(bench.good("release"), "ledge 9.8.7\n");
    assert_eq!(bench.good("version -j"), {
        "{\"schema\":1,\"ok\":true,\"data\":[{\"product\":\"ledge\",\"version\":\"9.8.7\",\"image\":null,\
         \"other_image\":null,\"next_image\":null}]}\n"
    });
}

#[test]
fn when_tells_how_far_long_jobs_are() {
    let mut bench = Bench::new();
    assert_eq!(bench.good("when"), "");
    let progress = shelf::plane::SyncProgress {
        lun: shelf::admin::LunNumber::new(3).unwrap(),
        part: 0,
        pass: 1,
        begun_sectors: 1_000_000,
        done_sectors: 3_000_000,
        total_sectors: 8_000_000,
        kind: shelf::plane::SyncKind::Resync,
    };
    let elapsed = std::time::Duration::from_secs(10);
    bench.shelf.passes = vec![shelf::plane::RunningPass { progress, elapsed }];
    assert_eq!(
        bench.good("when"),
        "3.0 37.50% 102400.00 KBps 0:00:25 left\n"
    );
    assert_eq!(
        bench.good("when -j"),
        "{\"schema\":1,\"ok\":true,\"data\":[{\"lun\":3,\"part\":0,\"member\":null,\"job\":\"resync\",\
         \"done_bytes\":1536000000,\"total_bytes\":4096000000,\"percent\":\"37.50\",\
         \"bytes_per_s\":102400000,\"seconds_left\":25}]}\n"
    );
    bench.shelf.passes[0].progress.done_sectors = 1_000_000;
    assert_eq!(bench.good("when"), "3.0 12.50% 0.00 KBps ?:??:?? left\n");
}

#[test]
fn aoestats_shows_what_was_counted() {
    let mut bench = Bench::new();
    let line =
        |group: &str, name: &str, value: u64| format!("{group:<20} {name:<22} {value:>16}\n");
    let counted = [
        line("target", "frames", 12),
        line("target", "reads", 7),
        line("port eth1", "rx_frames", 12),
        line("port eth1", "rx_dropped", 1),
    ];
    assert_eq!(bench.good("aoestats"), counted.concat());
    let all = bench.good("aoestats -a");
    assert!(all.contains(&line("target", "bad_version", 0)), "{all}");
    let json = bench.good("aoestats -j");
    assert!(
        json.contains("{\"group\":\"target\",\"name\":\"reads\",\"value\":7}"),
        "{json}"
    );
}

#[test]
fn help_tells_of_every_command() {
    let mut bench = Bench::new();
    let all = bench.good("help");
    assert!(
        all.starts_with("show     list drives; -l with size, state and use; "),
        "{all}"
    );
    for command in console::command::COMMANDS {
        assert!(
            all.lines().any(|line| line.starts_with(command.name)),
            "{}",
            command.name
        );
        for name in command.names() {
            let one = bench.good(&format!("help {name}"));
            assert!(
                one.starts_with(&format!("usage: {}\n", command.usage)),
                "{one}"
            );
        }
    }
    assert_eq!(
        bench.good("help remove"),
        "\
usage: remove [-f] LUN ...
forget LUNs and free their drives; asks; -f does not ask, and takes online LUNs too
-n only tells what would be done
other names: rmlun
examples:
  remove 0
  remove -f 0-3
"
    );
    assert!(
        bench
            .good("help series")
            .contains("1.0-3      1.0 1.1 1.2 1.3")
    );
    let told = bench.bad("help sigcheck");
    assert!(
        told.starts_with(
            "error: sigcheck is not available: there is no signed flash in this box: "
        )
    );
    assert_eq!(
        bench.bad("help shwo"),
        "error: unknown command shwo; did you mean show?\n"
    );
}

#[test]
fn commands_that_are_not_there_are_told_apart() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.bad("frobnicate 1"),
        "error: unknown command frobnicate\n"
    );
    assert_eq!(
        bench.bad("lsit -l"),
        "error: unknown command lsit; did you mean list?\n"
    );
    for name in ["sigcheck", "cmstat", "/fclun", "ipgateway"] {
        let name_shown = name.trim_start_matches('/');
        let output = format!("error: {name_shown} is not available: ");
        let told = bench.bad(&format!("{name} 1.0"));
        assert!(told.starts_with(&output), "{told}");
    }
    assert_eq!(bench.good("   "), "");
}

#[test]
fn exit_ends_the_session() {
    let mut bench = Bench::new();
    let reply = bench.line("exit");
    assert_eq!(
        reply,
        Reply {
            output: String::new(),
            ok: true,
            next: Next::End
        }
    );
}

#[test]
fn listings_come_as_json() {
    let mut bench = Bench::with_luns();
    bench.shelf.luns[0].config_string = b"ab\xff".to_vec();
    assert_eq!(bench.good("show -j 1.0"), {
        "{\"schema\":1,\"ok\":true,\"data\":[{\"drive\":\"1.0\",\"slot\":0,\
         \"size_bytes\":4000787030016,\"state\":\"up\",\"role\":\"element\",\
         \"element\":{\"lun\":0,\"part\":0,\"member\":0},\"carries\":null,\
         \"model\":\"ST4000NM0033\",\"path\":\"/dev/disk0\",\"note\":null,\"whole_bytes\":4000787030016}]}\n"
    });
    assert_eq!(bench.good("list -lj 0"), {
        "{\"schema\":1,\"ok\":true,\"data\":[{\"lun\":0,\"status\":\"online\",\
         \"size_bytes\":4000786939904,\"label\":null,\"serial\":\"serial01\",\
         \"config_string\":null,\"config_string_hex\":\"6162ff\",\
         \"masks\":[],\"reserved\":false,\"vlan\":null,\"read_only\":false,\
         \"trouble\":null,\"raids\":[{\"part\":0,\"size_bytes\":4000786939904,\"level\":\"raid1\",\"chunk_bytes\":null,\
         \"state\":\"normal\",\"failed\":false,\"initing\":false,\"recovering\":false,\"degraded\":false,\"stalled\":false,\"elements\":[\
         {\"lun\":0,\"part\":0,\"member\":0,\"state\":\"normal\",\"size_bytes\":4000787030016,\
         \"drive\":\"1.0\",\"replacement\":false,\"read_errors\":0},\
         {\"lun\":0,\"part\":0,\"member\":1,\"state\":\"normal\",\"size_bytes\":4000787030016,\
         \"drive\":\"1.1\",\"replacement\":false,\"read_errors\":0}]}]}]}\n"
    });
    assert_eq!(bench.good("shelf -j"), {
        "{\"schema\":1,\"ok\":true,\"data\":[{\"shelf\":1}]}\n"
    });
    let empty = "{\"schema\":1,\"ok\":true,\"data\":[]}\n";
    assert_eq!(bench.good("offline -j 0"), empty);
    assert_eq!(Bench::new().good("list -j"), empty);
    assert!(bench.good("help -j show").contains("\"command\":\"show\""));
}

#[test]
fn errors_come_as_json() {
    let mut bench = Bench::new();
    assert_eq!(bench.bad("online -j 9 1"), {
        "{\"schema\":1,\"ok\":false,\"errors\":[\
         {\"code\":\"no_such_lun\",\"arg\":\"9\",\"text\":\"LUN 9 does not exist\"},\
         {\"code\":\"skipped\",\"arg\":\"1\",\"text\":\"skipping: 1\"}]}\n"
    });
    for (line, code) in [
        ("show -jx", "usage"),
        ("frobnicate -j", "unknown_command"),
        ("sigcheck -j", "not_available"),
        ("show -j '", "unbalanced_quote"),
        ("show -j 1.9-3", "series"),
        ("show -j 2.0", "wrong_shelf"),
        ("make -j 0 jbod 1.99", "no_such_drive"),
        ("make -j 0 raid5 1.0-1", "wrong_member_count"),
    ] {
        let output = bench.bad(line);
        let start = format!("{{\"schema\":1,\"ok\":false,\"errors\":[{{\"code\":\"{code}\",");
        assert!(output.starts_with(&start), "{line}: {output}");
        assert_eq!(output.matches('\n').count(), 1, "{line}");
    }
}

#[test]
fn a_question_in_json_keeps_to_one_document() {
    let mut bench = Bench::with_luns();
    let (output, question) = bench.asks("rmlun -j 1-2");
    assert_eq!(output, "");
    assert!(question.ends_with("[n]: "));
    assert_eq!(bench.asks("y").0, "");
    assert_eq!(bench.bad("n"), {
        "{\"schema\":1,\"ok\":false,\"errors\":[\
         {\"code\":\"canceled\",\"arg\":null,\"text\":\"action canceled\"}]}\n"
    });
}

#[test]
fn the_control_socket_tells_commands_from_answers() {
    let mut bench = Bench::with_luns();
    let mut request = |request: Request| bench.session.request(&mut world!(bench), &request);
    let line = |line: &str| Request::Line(line.to_owned());
    let answer = |answer: &str| Request::Answer(answer.to_owned());

    let response = request(answer("y"));
    assert_eq!(response.output, "error: no question is open\n");
    let response = request(line("remove 1"));
    assert_eq!(response.prompt.kind, PromptKind::Answer);
    let response = request(line("y"));
    assert!(!response.ok);
    assert_eq!(response.prompt.text, "SR shelf 1> ");
    assert_eq!(request(line("list 1")).output, " 1 4000.786GB offline\n");
    request(line("remove 1"));
    let response = request(answer("1"));
    assert!(response.ok && response.prompt.kind == PromptKind::Command);
    assert_eq!(
        request(line("list 1")).output,
        "error: LUN 1 does not exist\n"
    );
    assert_eq!(request(line("exit")).prompt.kind, PromptKind::End);
}

/// Lines that get far: words of the language, in any order.
fn likely_line() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "show", "make", "list", "online", "offline", "remove", "rmlun", "shelf", "help", "jbod",
        "-l", "-f", "-j", "--", "0", "1", "0-3", "254", "255", "raid1", "raid10", "jbod", "raid0",
        "1.0", "1.1", "1.0-15", "1.2-1.3", "missing", "2.0", "'", "''", "y", "a", "n", "series",
    ]);
    prop::collection::vec(words, 0..7).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn no_line_panics_and_failures_are_told(
        lines in prop::collection::vec(prop_oneof![likely_line(), "\\PC{0,40}", any::<String>()], 1..12),
    ) {
        let mut bench = Bench::new();
        for line in &lines {
            let reply = bench.line(line);
            prop_assert!(reply.ok || !reply.output.is_empty(), "{line}");
            prop_assert!(reply.output.is_empty() || reply.output.ends_with('\n'));
            prop_assert!(!reply.output.contains(|c: char| c.is_control() && c != '\n'));
            prop_assert!(!bench.prompt().is_empty());
        }
    }

    #[test]
    fn no_bytes_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        Bench::new().line(&String::from_utf8_lossy(&line));
    }
}

#[test]
fn a_reader_looks_and_changes_nothing() {
    let mut bench = Bench::with_luns();
    bench.who.role = Role::Reader;
    bench.who.user = "eve".to_owned();
    assert_eq!(bench.good("list 1"), " 1 4000.786GB offline\n");
    assert_eq!(bench.good("shelf"), "1\n");
    for line in ["remove -f 1", "shelf 2", "make 4 jbod 1.7", "online 1"] {
        let name = line.split_whitespace().next().unwrap();
        let output = format!("error: {name} changes something, and eve may only look\n");
        assert_eq!(bench.bad(line), output);
    }
    assert_eq!(bench.luns(), [0, 1, 2, 3]);
    // Nor does an answer to a question that was put to somebody else.
    bench.who.role = Role::Admin;
    bench.asks("remove 1");
    bench.who.role = Role::Reader;
    bench.bad("y");
    assert_eq!(bench.luns(), [0, 1, 2, 3]);
}

#[test]
fn wait_ends_when_all_is_done_or_the_time_is_over() {
    let mut bench = Bench::with_luns();
    bench.silent("wait 0-3");
    bench.shelf.luns[1].parts[0].state.initing = true;
    let reply = bench.line("wait -t 5 0 1");
    let second = Duration::from_secs(1);
    assert_eq!(reply.next, Next::Later { after: second });
    assert_eq!((reply.output.as_str(), bench.prompt().as_str()), ("", ""));
    bench.host.now += Duration::from_secs(4);
    let reply = bench.session.go_on(&mut world!(bench));
    assert_eq!(reply.next, Next::Later { after: second });
    bench.shelf.luns[1].parts[0].state.initing = false;
    let reply = bench.session.go_on(&mut world!(bench));
    assert_eq!((reply.ok, reply.next), (true, Next::Command));

    bench.shelf.luns[0].parts[0].state.recovering = true;
    bench.line("wait -t 5 0 1");
    bench.host.now += Duration::from_secs(5);
    let reply = bench.session.go_on(&mut world!(bench));
    assert_eq!(
        reply.output,
        "error: LUN 0 is not done yet; when tells how far it is\n"
    );
    bench.line("wait 0");
    assert_eq!(bench.session.cancel().output, "action canceled\n");
    assert_eq!(bench.prompt(), "SR shelf 1> ");
    assert_eq!(
        bench.bad("wait -t x 0"),
        "error: seconds to wait must be an integer between 0 and 31622400 inclusive\n"
    );
    assert_eq!(bench.bad("wait 9"), "error: LUN 9 does not exist\n");
}

#[test]
fn sos_collects_what_helpers_ask_for_and_no_passwords() {
    let mut bench = Bench::with_luns();
    bench.good("sos");
    let files = &bench.host.bundle;
    let text = |name: &str| {
        let file = files.iter().find(|(known, _)| known == name);
        &file.unwrap_or_else(|| panic!("no {name}")).1
    };
    assert!(text("list-l.txt").contains("0.0.1  normal"));
    assert!(text("saveconfig.txt").contains("make 0 raid1 1.0 1.1"));
    for name in [
        "show-l",
        "health",
        "ifstat-a",
        "aoestats-a",
        "sysstat",
        "release",
    ] {
        let json = text(&format!("{name}.json"));
        assert!(
            json.starts_with("{\"schema\":1,\"ok\":true"),
            "{name}: {json}"
        );
    }
    for (name, text) in files {
        assert!(!text.to_lowercase().contains("password"), "{name}");
    }
}

//! `show`, `disks`, `drives`: what is in the slots, and what is not.

use super::Bench;
use shelf::admin::{DriveRole, DriveState};

#[test]
fn show_tells_what_a_drive_carries_and_why_it_is_down() {
    let mut bench = Bench::new();
    bench.shelf.drives.truncate(4);
    let drives = &mut bench.shelf.drives;
    drives[1].role = DriveRole::Foreign("an ext4 file system".to_owned());
    (drives[2].state, drives[2].size_bytes) = (DriveState::Down, 0);
    drives[2].note = Some("cannot open: permission denied".to_owned());
    (drives[3].state, drives[3].size_bytes) = (DriveState::Missing, 0);
    assert_eq!(bench.good("show"), "1.0\n1.1\n1.2\n1.3\n");
    let long = "\
1.0  4000.787GB up
1.1  4000.787GB up foreign: an ext4 file system
1.2     0.000GB down cannot open: permission denied
1.3     0.000GB missing
";
    for name in ["show -l", "show -lp", "/show -l"] {
        let wanted = if name == "show -lp" {
            long.trim_end_matches("1.3     0.000GB missing\n")
        } else {
            long
        };
        assert_eq!(bench.good(name), wanted, "{name}");
    }
    // A slot without a drive is its name and the word, and so is in place of the size why there is none.
    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    for name in ["disks", "drives", "/disks", "disks -l"] {
        let listed = bench.good(name);
        let rows: Vec<Vec<String>> = listed.lines().skip(1).map(words).collect();
        assert_eq!(rows[3], ["1.3", "missing"], "{name}");
        assert_eq!(rows[2][..2], ["1.2", "down"], "{name}");
        assert!(rows[0][1].starts_with("4000.787"), "{name}");
    }
    // That was the error log of SRX 7, which had sizes without it.
    let told = "smartlog shows what drives tell of their health, errors too";
    assert_eq!(
        bench.bad("drives -pl"),
        format!("error: drives has no -pl here; {told}\n")
    );
    assert_eq!(bench.bad("make 0 jbod 1.1"), {
        "error: 1.1 carries an ext4 file system; use -f to overwrite it\n"
    });
    assert_eq!(bench.bad("make 0 jbod 1.2"), {
        "error: drive 1.2 is down: cannot open: permission denied\n"
    });
    bench.silent("make -f 0 jbod 1.1");
    assert_eq!(bench.good("show 1.1"), "1.1\n");
}

/// The kernel may have given the name of a disk that was pulled to another one, or to the same in another
/// slot.
#[test]
fn nothing_is_told_of_what_has_the_name_of_a_drive_that_is_not_there() {
    let mut bench = Bench::new();
    let about = [
        "disks -a 1.0",
        "drives -a 1.0",
        "disks -aj 1.0",
        "drivetemp 1.0",
    ];
    let words = ["JK1101YAH0ZZZZ", "Hitachi", "34C"];
    let told = |bench: &mut Bench| -> Vec<String> {
        let all: String = about.iter().map(|line| bench.good(line)).collect();
        let found = words.iter().filter(|word| all.contains(**word));
        found.map(|word| (*word).to_owned()).collect()
    };
    assert_eq!(told(&mut bench), words);
    bench.shelf.drives[0].state = DriveState::Missing;
    bench.shelf.drives[0].model.clear();
    assert_eq!(told(&mut bench), [""; 0]);
}

#[test]
fn show_without_drives_says_nothing() {
    let mut bench = Bench::new();
    bench.shelf.drives.clear();
    assert_eq!(bench.good("show -l"), "");
    assert_eq!(
        bench.good("show -j"),
        "{\"schema\":1,\"ok\":true,\"data\":[]}\n"
    );
}

#[test]
fn show_refuses_what_is_not_there_and_lists_what_it_skipped() {
    let mut bench = Bench::new();
    assert_eq!(bench.bad("show 1.15-18"), {
        "1.15\nerror: drive 1.16 does not exist\nskipping: 1.17 1.18\n"
    });
    assert_eq!(bench.bad("show 2.0"), "error: wrong shelf id 2\n");
    assert_eq!(bench.bad("show x"), {
        "error: drive x does not exist: a drive is named shelf.slot, as 1.0\n"
    });
    assert!(bench.bad("show -x").starts_with("usage: show [-l] [-a] "));
    assert_eq!(bench.bad("show 1.3-1"), {
        "error: series 3-1 runs backwards; quote it if it is not a series\n"
    });
    assert_eq!(
        bench.bad("show '1.0"),
        "error: unbalanced quote: a ' is missing at the end\n"
    );
}

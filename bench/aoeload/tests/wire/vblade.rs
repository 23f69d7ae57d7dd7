//! `aoeload` against vblade, a target by the authors of the protocol.

use crate::bench::{Bench, INSTALL, LUN_BYTES, report, text};
use serde_json::Value;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

#[test]
fn discover_tells_what_vblade_advertises() {
    let bench = Bench::serving(1500);
    let found = bench.aoeload("discover --interface c0 --json");
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    let target = &report["targets"][0];
    assert_eq!(target["target"], "1.0");
    assert_eq!(target["buffer_count"], 64);
    assert_eq!(target["sector_count"], 2);
    let table = bench.aoeload("discover --interface c0");
    assert!(
        text(&table.stdout).contains("1.0 "),
        "{}",
        text(&table.stdout)
    );
}

#[test]
fn every_verified_load_is_right_at_both_mtus_and_with_both_back_ends() {
    for (mtu_bytes, size_bytes) in [(1500, 1024), (9000, 8704)] {
        let bench = Bench::serving(mtu_bytes);
        for backend in ["packet", "xdp"] {
            for shape in [
                "--op mixed --random --depth 32",
                "--op write --sequential --depth 64",
                "--op read --sequential --depth 16",
                "--op mixed --mix 20 --size 512 --depth 1",
                "--op mixed --random --rate 2000",
            ] {
                let options =
                    format!("--verify --seconds 0.3 --warmup 0.1 --backend {backend} {shape}");
                let (code, report) = bench.load(&options);
                assert_eq!(
                    (code, &report["ok"]),
                    (0, &Value::Bool(true)),
                    "{options}: {report}"
                );
                assert_eq!(report["verify"]["faults"], 0, "{options}: {report}");
                // A veth tells a speed of 10 Gb/s.
                let lines = &report["line_rate"];
                assert_eq!(lines[0]["of"], "10GbE", "{report}");
                assert_eq!(lines[1]["of"], "interface", "{report}");
                assert_eq!(lines[1]["mbit_per_s"], 10_000.0, "{report}");
                let packet = report["mode"] == "packet";
                assert_eq!(packet, backend == "packet", "{options}: {report}");
                if !shape.contains("--size") {
                    assert_eq!(report["size_bytes"], size_bytes, "{options}");
                }
            }
        }
    }
}

#[test]
fn a_damaged_lun_is_found_by_a_later_run() {
    let bench = Bench::serving(9000);
    let (code, report) = bench.load("--op write --sequential --size 8192 --seconds 2 --verify");
    assert_eq!(code, 0, "{report}");
    let range = report["write"]["commands"].as_u64().unwrap() * 8192;
    assert!(
        range > LUN_BYTES / 2,
        "too slow to have written half the LUN: {report}"
    );

    let reads = "--op read --sequential --size 4096 --seconds 2 --verify --range 4M";
    let (code, report) = bench.load(reads);
    assert_eq!(code, 0, "{report}");

    let lun = OpenOptions::new()
        .read(true)
        .write(true)
        .open(bench.lun())
        .unwrap();
    let mut sector = [0; 512];
    lun.read_exact_at(&mut sector, 4096).unwrap();
    lun.write_all_at(&sector, 512 * 100).unwrap();
    lun.write_all_at(b"damage", 512 * 50 + 200).unwrap();
    lun.write_all_at(&[0; 512], 512 * 33).unwrap();
    let (code, report) = bench.load(reads);
    assert_eq!(code, 1, "{report}");
    for kind in ["wrong_lba", "corrupt", "torn_reads"] {
        assert_ne!(report["verify"][kind], 0, "{kind}: {report}");
    }
}

#[test]
fn a_target_that_comes_back_loses_nothing_and_one_that_does_not_is_told() {
    let mut bench = Bench::serving(9000);
    let options =
        "--interface c0 --target 1.0 --json --op mixed --verify --seconds 4 --deadline 60";
    let running = bench
        .command(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    bench.wait_for_writes();
    bench.stop();
    bench.start();
    let output = running.wait_with_output().unwrap();
    let (code, value) = report(&output, options);
    assert_eq!(code, 0, "{value}");
    assert_ne!(value["retransmissions"], 0, "{value}");

    let options = "--interface c0 --target 1.0 --json --op write --seconds 4 --retransmit never --deadline 0.5";
    let running = bench
        .command(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    bench.wait_for_writes();
    bench.stop();
    let output = running.wait_with_output().unwrap();
    let (code, value) = report(&output, options);
    assert_eq!(code, 1, "{value}");
    assert_ne!(value["lost"], 0, "{value}");
    assert!(text(&output.stderr).contains("no answer"));
}

#[test]
fn two_targets_are_loaded_at_once() {
    let mut bench = Bench::serving(9000);
    bench.start_second();
    let log = bench.directory.path().join("latency.hlog");
    let log = log.display();
    for backend in ["packet", "xdp"] {
        let options = format!(
            "--target 1.1 --op mixed --verify --seconds 1 --depth 16 --backend {backend} --histogram {log}"
        );
        let (code, report) = bench.load(&options);
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["target"], "1.0,1.1");
        for index in 0..2 {
            let part = &report["targets"][index];
            assert_ne!(part["read"]["commands"], 0, "{report}");
            assert_ne!(part["verify"]["sectors"], 0, "{report}");
        }
        let written = std::fs::read_to_string(bench.directory.path().join("latency.hlog")).unwrap();
        assert!(written.contains("\nTag=read,") && written.contains("\nTag=write,"));
    }
}

/// `script` gives a program a terminal of its own.
#[test]
fn a_bar_is_shown_on_a_terminal_alone_and_never_beside_json() {
    const BAR: &str = " IOPS, ";
    let bench = Bench::serving(9000);
    let options = "--interface c0 --target 1.0 --seconds 1.5";
    let on_terminal = |options: &str| {
        let line = format!("{} {options}", env!("CARGO_BIN_EXE_aoeload"));
        let output = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", bench.namespace('c')))
            .args([
                "script",
                "--quiet",
                "--return",
                "--command",
                &line,
                "/dev/null",
            ])
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .output()
            .expect(INSTALL);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let shown = on_terminal(options);
    assert!(shown.contains(BAR) && shown.contains("read "), "{shown:?}");
    let json = on_terminal(&format!("{options} --json"));
    let value: Value = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json:?}"));
    assert_eq!(value["series"].as_array().unwrap().len(), 2, "{value}");
    let output = bench.aoeload(options);
    assert_eq!(text(&output.stderr), "");
    assert!(!text(&output.stdout).contains(BAR));
}

#[test]
fn search_tries_rates_and_reports_one_that_passed() {
    let bench = Bench::serving(9000);
    let options =
        "search --interface c0 --target 1.0 --seconds 0.3 --warmup 0.1 --resolution 20 --json";
    let output = bench.aoeload(options);
    let (code, value) = report(&output, options);
    let trials = value["trials"].as_array().unwrap();
    assert!(!trials.is_empty());
    let passed = trials.iter().filter(|trial| trial["passed"] == true);
    let best = passed
        .filter_map(|trial| trial["rate"].as_f64())
        .fold(0.0, f64::max);
    assert_eq!(value["rate"].as_f64(), Some(best), "{value}");
    assert_eq!(code == 0, best > 0.0, "{value}");
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let bench = Bench::serving(1500);
    for (options, code, reason) in [
        ("--interface c0 --target 1.0 --size 8192", 2, "--size 8192"),
        ("--interface c0 --target 1.0 --range 1T", 2, "--range"),
        ("--interface c0", 2, "--target"),
        ("--interface c0 --target 1.0 --target e1.0", 2, "twice"),
        ("--interface c0 --interface c0 --target 1.0", 2, "twice"),
        (
            "--interface c0 --target 1.0 --peer-interface a:b --peer-interface c:d",
            2,
            "--peer-interface is there 2 times",
        ),
        (
            "--interface c0 --target 1.0 --peer-interface nowhere:t0",
            1,
            "--peer-interface nowhere:t0",
        ),
        ("--interface c9 --target 1.0", 1, "c9"),
        (
            "--interface c0 --target 1.7",
            1,
            "no answer to Query Config",
        ),
    ] {
        let output = bench.aoeload(options);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{options}: {stderr}");
        assert!(stderr.contains(reason), "{options}: {stderr}");
        assert!(output.stdout.is_empty(), "{options}");
    }
}

//! Several interfaces, and several queues of one.

#![allow(
    clippy::unwrap_used,
    reason = "the functions around the tests are tests, too"
)]

use crate::bench::Bench;
use serde_json::Value;

/// Frames sent through each queue of each interface.
fn sent(report: &Value) -> Vec<(String, u64)> {
    let ports = report["ports"].as_array().unwrap();
    ports
        .iter()
        .map(|port| {
            let name = format!("{}/{}", port["interface"].as_str().unwrap(), port["queue"]);
            (name, port["sent_frames"].as_u64().unwrap())
        })
        .collect()
}

/// Whether these parts of a whole are alike.
fn alike(parts: &[(String, u64)]) -> bool {
    let counts = || parts.iter().map(|part| part.1);
    let (least, most) = (counts().min().unwrap(), counts().max().unwrap());
    least > 0 && most - least <= 1 + most / 10
}

/// Writes, which are read when all are done: two vblades over one file tear a read that meets a write of the
/// other.
#[test]
fn a_lun_on_two_interfaces_is_loaded_over_both_in_turn() {
    let mut bench = Bench::serving(9000);
    bench.start_on_second_wire(1);
    for backend in ["packet", "xdp"] {
        let options = format!(
            "--interface c1 --op write --verify --seconds 0.5 --depth 16 --backend {backend}"
        );
        let (code, report) = bench.load(&options);
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["interface"], "c0,c1");
        let sent = sent(&report);
        let names: Vec<_> = sent.iter().map(|part| part.0.as_str()).collect();
        assert_eq!(names, ["c0/0", "c1/0"]);
        assert!(alike(&sent), "{sent:?}");
        for way in report["losses"]["ways"].as_array().unwrap() {
            assert_ne!(way["frames"]["answers"], 0, "{way}");
        }
    }
}

#[test]
fn what_a_cut_interface_loses_is_sent_again_over_the_other() {
    let mut bench = Bench::serving(9000);
    bench.start_on_second_wire(1);
    let load = bench.running("--interface c1 --op write --verify --seconds 3 --depth 16");
    bench.wait_for_writes();
    bench.cut("t1");
    let (code, report) = load.result();
    assert_eq!(code, 0, "{report}");
    assert_ne!(report["retransmissions"], 0, "{report}");
}

#[test]
fn the_queues_of_an_interface_are_sent_through_in_turn() {
    let mut bench = Bench::new(9000);
    bench.start_on_second_wire(2);
    let options = "--interface c1 --target 1.0 --op mixed --verify --seconds 0.5 --json";
    let load = |more: &str| bench.report_of(&format!("{options} {more}"));
    let (code, report) = load("--backend xdp --queues 2");
    assert_eq!(code, 0, "{report}");
    let two = sent(&report);
    assert!(two.len() == 2 && alike(&two), "{two:?}");
    let (code, report) = load("--backend xdp");
    assert_eq!(code, 0, "{report}");
    let one = sent(&report);
    assert!(one[0].1 > 0, "{one:?}");
    assert!(one[1..].iter().all(|part| part.1 == 0), "{one:?}");
    for refused in ["--backend xdp --queues 3", "--queues 2"] {
        let output = bench.aoeload(&format!("{options} {refused}"));
        assert_eq!(output.status.code(), Some(2), "{refused}");
    }
}

//! Where frames are lost on the way: with a target that stands still, with programs that drop frames, and
//! with nothing wrong. What is counted must add up, and name the layer.
//!
//! Skipped, with a line that says so, only where the kernel has no BTF and so no probes.

#![allow(
    clippy::unwrap_used,
    reason = "the functions around the tests are tests, too"
)]

use crate::bench::{Bench, INSTALL};
use aya::Ebpf;
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode};
use probes::NamespacePath;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Programs that drop one frame in eight, or have XDP fail with it.
const DROPPER: &str = r#"
#define SECTION(name) __attribute__((section(name), used))
static unsigned (*random)(void) = (void *)7;
SECTION("classifier") int drop(void *frame) { return random() % 8 ? 0 : 2; }
SECTION("xdp.frags") int fail(void *frame) { return random() % 8 ? 2 : 0; }
SECTION("license") char name[] = "Dual MIT/GPL";
"#;

pub(crate) const TARGET_RECEIVES: &str = "target's kernel, receiving";
const WE_RECEIVE: &str = "our kernel, receiving";
pub(crate) const TARGET: &str = "target, which got them and did not answer";

pub(crate) fn can_probe() -> bool {
    let can = Path::new("/sys/kernel/btf/vmlinux").exists();
    if !can {
        writeln!(std::io::stderr(), "skipped: this kernel has no BTF").ok();
    }
    can
}

/// What the probes and the other end add to a load.
pub(crate) fn watched(bench: &Bench, options: &str) -> String {
    let peer = bench.namespace('t');
    format!("--probes on --peer-interface {peer}:t0 {options}")
}

/// The only way of a load, whose layers add up to what is missing, and to what was sent again for it.
pub(crate) fn way(report: &Value) -> &Value {
    let ways = report["losses"]["ways"].as_array().unwrap();
    let [way] = ways.as_slice() else {
        panic!("one way: {report}");
    };
    let layers = way["layers"].as_array().unwrap();
    let lost = layers.iter().map(|layer| layer["lost"].as_i64().unwrap());
    let missing = way["missing"].as_i64().unwrap();
    assert_eq!(lost.sum::<i64>(), missing, "{way:#}");
    let count = |name: &str| report[name].as_i64().unwrap();
    let unanswered = count("retransmissions") + count("lost") - count("duplicates");
    assert_eq!(unanswered, missing, "{report:#}");
    assert_eq!(report["losses"]["uncounted"], 0, "{report}");
    way
}

/// The layers in which something was lost, and how much.
pub(crate) fn lost(way: &Value) -> Vec<(&str, i64)> {
    let layers = way["layers"].as_array().unwrap().iter();
    let lost = layers.map(|layer| {
        let frames = layer["lost"].as_i64().unwrap();
        (layer["layer"].as_str().unwrap(), frames)
    });
    lost.filter(|(_, frames)| *frames != 0).collect()
}

/// How much of the losses of a layer has been seen as what contains `name`.
pub(crate) fn seen(way: &Value, layer: &str, name: &str) -> i64 {
    let layers = way["layers"].as_array().unwrap();
    let found = layers.iter().find(|one| one["layer"] == layer).unwrap();
    let sights = found["seen"].as_array().unwrap().iter();
    let named = sights.filter(|sight| sight["what"].as_str().unwrap().contains(name));
    named.map(|sight| sight["frames"].as_i64().unwrap()).sum()
}

/// The dropping programs, loaded; what is attached stays until they are dropped.
fn dropper(bench: &Bench) -> Ebpf {
    let source = bench.directory.path().join("dropper.c");
    let object = bench.directory.path().join("dropper.o");
    std::fs::write(&source, DROPPER).unwrap();
    let compiled = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", "-c"])
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .status();
    assert!(compiled.expect(INSTALL).success());
    Ebpf::load_file(object).unwrap()
}

/// Drops frames that come in at the target's end of the wire, once XDP is through with them.
fn drop_frames(bench: &Bench) -> Ebpf {
    let mut loaded = dropper(bench);
    let program: &mut SchedClassifier = loaded.program_mut("drop").unwrap().try_into().unwrap();
    program.load().unwrap();
    let attach = || {
        let attached = program.attach("t0", TcAttachType::Ingress);
        attached.map_err(std::io::Error::other)
    };
    NamespacePath::named(&bench.namespace('t'))
        .within(attach)
        .unwrap();
    loaded
}

/// Has XDP fail with frames that come in at one end of the wire.
fn fail_frames(bench: &Bench, end: char, mode: XdpMode) -> Ebpf {
    let mut loaded = dropper(bench);
    let program: &mut Xdp = loaded.program_mut("fail").unwrap().try_into().unwrap();
    program.load().unwrap();
    let attach = || {
        let attached = program.attach(&format!("{end}0"), mode);
        attached.map_err(std::io::Error::other)
    };
    NamespacePath::named(&bench.namespace(end))
        .within(attach)
        .unwrap();
    loaded
}

#[test]
fn nothing_is_lost_where_nothing_is_wrong() {
    if !can_probe() {
        return;
    }
    let bench = Bench::serving(9000);
    for backend in ["packet", "xdp"] {
        let options = format!("--op mixed --seconds 0.5 --depth 16 --backend {backend}");
        let (code, report) = bench.load(&watched(&bench, &options));
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["losses"]["probes"], "attached");
        let way = way(&report);
        assert_eq!(lost(way), [], "{way:#}");
        let frames = way["frames"].as_object().unwrap();
        assert_eq!(frames.len(), 7);
        assert!(
            frames.values().all(|count| *count == frames["sent"]),
            "{way:#}"
        );
    }
}

#[test]
fn a_target_that_stands_still_is_told_from_its_full_socket() {
    if !can_probe() {
        return;
    }
    let bench = Bench::serving(9000);
    let options = "--op write --seconds 2 --depth 512 --retransmit never --deadline 1";
    let load = bench.running(&watched(&bench, options));
    bench.wait_for_frames(1000);
    bench.signal("-STOP");
    let (code, report) = load.result();
    bench.signal("-CONT");
    assert_eq!(code, 1, "{report}");
    let way = way(&report);
    let lost = lost(way);
    let [(TARGET_RECEIVES, dropped), (TARGET, kept)] = lost.as_slice() else {
        panic!("{way:#}");
    };
    // The probe sees each frame that did not fit the socket.
    assert_eq!(seen(way, TARGET_RECEIVES, " in "), *dropped, "{way:#}");
    assert!(*dropped > 0 && *kept > 0, "{way:#}");
}

/// Loads a target on whose way something drops frames: they are all in one layer, and have been seen as what
/// contains `reason`.
fn load_and_find(bench: &Bench, backend: &str, layer: &str, reason: &str) {
    let options = format!("--op mixed --seconds 1 --retransmit 20 --backend {backend}");
    let (code, report) = bench.load(&watched(bench, &options));
    assert_eq!(code, 0, "{report}");
    let way = way(&report);
    let missing = way["missing"].as_i64().unwrap();
    assert!(missing > 0, "{way:#}");
    assert_eq!(lost(way), [(layer, missing)], "{way:#}");
    assert_eq!(seen(way, layer, reason), missing, "{way:#}");
}

#[test]
fn frames_that_the_target_s_kernel_drops_are_named() {
    if !can_probe() {
        return;
    }
    let bench = Bench::serving(9000);
    let _dropper = drop_frames(&bench);
    for backend in ["packet", "xdp"] {
        load_and_find(&bench, backend, TARGET_RECEIVES, "TC_INGRESS in ");
    }
}

#[test]
fn exceptions_of_xdp_are_counted_once_at_each_end_and_in_each_mode() {
    if !can_probe() {
        return;
    }
    let bench = Bench::serving(9000);
    for (end, layer) in [('t', TARGET_RECEIVES), ('c', WE_RECEIVE)] {
        for mode in [XdpMode::Skb, XdpMode::Driver] {
            let dropper = fail_frames(&bench, end, mode);
            load_and_find(&bench, "packet", layer, "XDP exception: XDP_ABORTED");
            drop(dropper);
            // The kernel takes the program off when it can.
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn without_root_probes_are_done_without_or_refused() {
    let bench = Bench::serving(9000);
    // Without CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN.
    let load = |probes: &str| {
        let words = format!("--interface c0 --target 1.0 --json --seconds 0.2 --probes {probes}");
        let words: Vec<_> = words.split_whitespace().collect();
        let fewer = "--bounding-set=-bpf,-perfmon,-sys_admin";
        let program = ["--inh-caps=-all", fewer, "--"];
        let aoeload = [env!("CARGO_BIN_EXE_aoeload")];
        let arguments = [&program[..], &aoeload, &words].concat();
        let output = bench.inside('c', "setpriv", &arguments).output();
        output.expect(INSTALL)
    };
    let done = load("auto");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let why = report["losses"]["probes"].as_str().unwrap();
    assert!(why != "attached" && !why.contains('\n'), "{why:?}");
    let refused = load("on");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.starts_with("error: --probes on: "), "{stderr}");
}

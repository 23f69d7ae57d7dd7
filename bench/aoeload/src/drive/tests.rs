//! Whole loads against a target in memory that can be told to misbehave.

use super::*;
use crate::cli::{LoadArgs, OperationArg};
use crate::connect;
use crate::histogram::tests::read_log;
use crate::interfaces::Interface;
use crate::losses::watch::Watch;
use crate::report::Report;
use aoe::ata::AFLAG_WRITE;
use aoe::{ATA_FRAME_BYTES, AtaRegisters, MacAddress, Request, Shelf, Slot};
use ata::{Command, IdentifySpec, Outcome};
use port::{MemoryPort, Port, TransmitError, memory_pair};
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use std::thread;
use zerocopy::IntoBytes;

const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THEM: MacAddress = MacAddress([4, 0, 0, 0, 0, 1]);
/// The ends of a second wire.
const US_TOO: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const THEM_TOO: MacAddress = MacAddress([4, 0, 0, 0, 0, 2]);
const DISK_SECTORS: usize = 1024;
const DISK_BYTES: usize = DISK_SECTORS * 512;

/// How many commands of a kind a fault is in: few, so that a short load on a busy machine meets it.
const FAULT_EVERY: u64 = 10;

/// What the target does wrong, once in [`FAULT_EVERY`] commands of the kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// Acknowledges a write and forgets it.
    LoseWrite,
    /// Does the first half of a write.
    TearWrite,
    /// Writes to another block.
    Misdirect,
    /// Writes to the first LUN.
    OtherLun,
    /// Damages a byte of a read's answer.
    Damage,
    /// Does not answer.
    Drop,
    /// Answers writes, but no read.
    NoReads,
    /// Answers twice.
    Repeat,
    /// Fails a write.
    Fail,
    /// Sends a byte too much with a read's answer.
    Lengthen,
}

/// One shelf with LUNs 1.2, 1.3 and so on. The fault is that of the last one.
struct FakeTarget {
    ports: Vec<MemoryPort>,
    /// Which one the request came from, and goes back to.
    port: usize,
    disks: Vec<Vec<u8>>,
    /// Which one the request is for.
    lun: usize,
    fault: Fault,
    reads: u64,
    writes: u64,
}

impl FakeTarget {
    fn serve(&mut self, stop: &AtomicBool) {
        let mut frames: Vec<Vec<u8>> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let mut received = 0;
            for port in 0..self.ports.len() {
                self.port = port;
                received += self.ports[port].receive(16, &mut |frame| {
                    let mut bytes = vec![0; frame.len_bytes()];
                    frame.copy_to(0, &mut bytes);
                    frames.push(bytes);
                });
                for frame in frames.drain(..) {
                    self.answer(&frame, stop);
                }
                self.ports[port].flush();
            }
            if received == 0 {
                thread::yield_now();
            }
        }
    }

    /// Sends an answer, when there is room for it.
    fn transmit(&mut self, header: &[u8], data: &[u8], stop: &AtomicBool) {
        while let Err(error) = self.ports[self.port].transmit(header, data) {
            assert_eq!(error, TransmitError::Full);
            self.ports[self.port].flush();
            thread::yield_now();
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn answer(&mut self, frame: &[u8], stop: &AtomicBool) {
        let Ok(parsed) = aoe::request::parse(frame) else {
            return;
        };
        let (header, request) = (parsed.header, parsed.request);
        let luns = 0..self.disks.len();
        let slot = |lun: usize| Slot(lun as u8 + 2);
        let mut asked = luns.filter(|lun| header.addresses(Shelf(1), slot(*lun)));
        let Some(lun) = asked.next() else {
            return;
        };
        self.lun = lun;
        let reply = header.reply([THEM, THEM_TOO][self.port], Shelf(1), slot(lun));
        match request {
            Request::Config { .. } => {
                let mut bytes = reply.as_bytes().to_vec();
                bytes.extend_from_slice(&[0, 16, 0, 1, 16, 0x10, 0, 0]);
                self.transmit(&bytes, &[], stop);
            }
            Request::Ata(registers) => {
                let (outcome, data) = self.execute(registers, &frame[ATA_FRAME_BYTES..]);
                let mut bytes = reply.as_bytes().to_vec();
                let response = registers.response(outcome.status(), outcome.error());
                bytes.extend_from_slice(response.as_bytes());
                let write = registers.flags & AFLAG_WRITE != 0;
                let nth = if write { self.writes } else { self.reads };
                let wrong = self.is_faulty() && nth % FAULT_EVERY == FAULT_EVERY - 1;
                let dropped = self.is_faulty()
                    && match self.fault {
                        Fault::Drop => wrong,
                        Fault::NoReads => registers.command_status == ata::opcode::READ_EXT,
                        _ => false,
                    };
                if dropped {
                    return;
                }
                self.transmit(&bytes, &data, stop);
                if wrong && self.fault == Fault::Repeat {
                    self.transmit(&bytes, &data, stop);
                }
            }
            _ => {}
        }
    }

    fn is_faulty(&self) -> bool {
        self.lun + 1 == self.disks.len()
    }

    fn execute(&mut self, registers: &AtaRegisters, data: &[u8]) -> (Outcome, Vec<u8>) {
        let code = registers.command_status;
        let lba = registers.lba;
        match Command::decode(code, registers.feature_error, lba, registers.count) {
            Command::Identify => {
                let spec = IdentifySpec {
                    sectors: DISK_SECTORS as u64,
                    serial: "FAKE",
                    firmware: "1",
                    model: "In memory",
                    solid_state: true,
                    wwn: None,
                    is_aligned: true,
                    trims: false,
                };
                (Outcome::Success, spec.build().to_vec())
            }
            Command::Read { lba, count } => {
                self.reads += 1;
                let wrong = self.is_faulty() && self.reads % FAULT_EVERY == FAULT_EVERY - 1;
                let start = lba as usize * 512;
                let mut data =
                    self.disks[self.lun][start..start + usize::from(count) * 512].to_vec();
                if wrong && self.fault == Fault::Damage {
                    data[100] ^= 1;
                }
                if wrong && self.fault == Fault::Lengthen {
                    data.push(0);
                }
                (Outcome::Success, data)
            }
            Command::Write { lba, count } => {
                self.writes += 1;
                let outcome = self.write(lba, &data[..usize::from(count) * 512]);
                (outcome, Vec::new())
            }
            other => panic!("a load does not send {other:?}"),
        }
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Outcome {
        let wrong = self.is_faulty() && self.writes % FAULT_EVERY == FAULT_EVERY - 1;
        let mut lun = self.lun;
        let mut start = lba as usize * 512;
        let mut data = data;
        if wrong {
            match self.fault {
                Fault::Fail => return Outcome::WriteFault,
                Fault::LoseWrite => data = &[],
                Fault::TearWrite => data = &data[..data.len() / 2],
                Fault::OtherLun => lun = 0,
                Fault::Misdirect => start = (start + data.len()) % DISK_BYTES,
                _ => {}
            }
        }
        self.disks[lun][start..start + data.len()].copy_from_slice(data);
        Outcome::Success
    }
}

fn arguments(line: &str) -> LoadArgs {
    match crate::cli::Request::parse(line.split_whitespace()) {
        Ok(crate::cli::Request::Load(args)) => args,
        other => panic!("{line}: {other:?}"),
    }
}

/// Runs `aoeload` with these options against LUN 1.2 with a fault and the given disk.
fn load_on(disk: Vec<u8>, fault: Fault, options: &str) -> (Report, Summary, Vec<u8>) {
    let options = format!("--target 1.2 {options}");
    let (report, summary, mut disks) = load_on_all(vec![disk], fault, &options);
    (report, summary, disks.remove(0))
}

/// Runs `aoeload` with these options against as many LUNs as there are disks.
fn load_on_all(
    disks: Vec<Vec<u8>>,
    fault: Fault,
    options: &str,
) -> (Report, Summary, Vec<Vec<u8>>) {
    load_over(1, disks, fault, options)
}

/// The same over one wire or two.
fn load_over(
    wires: usize,
    disks: Vec<Vec<u8>>,
    fault: Fault,
    options: &str,
) -> (Report, Summary, Vec<Vec<u8>>) {
    // Both ends poll: several loads at once would take the processors from one another.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut interfaces = Vec::new();
    let mut ports = Vec::new();
    for (us, them) in [(US, THEM), (US_TOO, THEM_TOO)].into_iter().take(wires) {
        let (ours, theirs) = memory_pair(us, them, 9000, 256).unwrap();
        interfaces.push(Interface::new(vec![Box::new(ours)], 1).unwrap());
        ports.push(theirs);
    }
    let mut target = FakeTarget {
        ports,
        port: 0,
        disks,
        lun: 0,
        fault,
        reads: 0,
        writes: 0,
    };
    let line = format!("aoeload --interface memory --warmup 0.01 --probes off {options}");
    let args = arguments(&line);
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            target.serve(&done);
            target.disks
        });
        let interfaces = Interfaces::of(interfaces);
        let mut connection =
            Connection::establish(interfaces, Clock::start(), &args.target).unwrap();
        let plan = Plan::new(&args, &connection).unwrap();
        let log = args.histogram.as_deref().map(|path| {
            HistogramLog::create(path, plan.is_mixed(), connection.clock.now_ns()).unwrap()
        });
        let watch = Watch::begin(&connection, &args.watch, args.probes).unwrap();
        let mut summary = run(&mut connection, &plan, log, &stop).unwrap();
        let watched = watch.end(&connection, &summary.total).unwrap();
        let report = Report::new(&connection, &plan, &summary).with(watched);
        if let Some(log) = summary.log.take() {
            log.finish().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        (report, summary, server.join().unwrap())
    })
}

fn load(fault: Fault, options: &str) -> (Report, Summary) {
    let (report, summary, _) = load_on(vec![0; DISK_BYTES], fault, options);
    (report, summary)
}

#[test]
fn a_target_without_fault_passes_every_kind_of_verified_load() {
    for options in [
        "--op write --verify --seconds 0.1",
        "--op mixed --verify --seconds 0.1",
        "--op mixed --verify --seconds 0.1 --sequential --size 512 --depth 100",
        "--op mixed --mix 10 --verify --seconds 0.1 --range 8K --depth 64",
        "--op write --verify --seconds 0.1 --rate 2000",
    ] {
        let (report, summary) = load(Fault::None, &format!("{options} --retransmit never"));
        assert!(
            report.ok,
            "{options}: {report}\n{:?}",
            summary.total.samples
        );
        let check = summary.total.check.unwrap();
        assert!(check.sectors > check.unknown, "{options}: {check:?}");
    }
}

#[test]
fn wrong_data_are_found_and_named() {
    type Count = fn(&initiator::CheckCounters) -> u64;
    let cases: [(Fault, Count); 4] = [
        (Fault::LoseWrite, |c| c.stale + c.foreign),
        (Fault::TearWrite, |c| c.torn_reads),
        (Fault::Misdirect, |c| c.wrong_lba),
        (Fault::Damage, |c| c.corrupt),
    ];
    for (fault, count) in cases {
        let options = |seconds| format!("--op mixed --verify --seconds {seconds} --size 2048");
        let mut outcome = load(fault, &options(0.2));
        // On a busy machine a short load may do too little for the fault to show.
        for seconds in [1.0, 5.0] {
            if outcome.1.total.check.is_none_or(|check| count(&check) == 0) {
                outcome = load(fault, &options(seconds));
            }
        }
        let (report, summary) = outcome;
        assert!(!report.ok, "{fault:?}: {report}");
        let check = summary.total.check.unwrap();
        assert!(count(&check) > 0, "{fault:?}: {check:?}");
        assert!(!summary.total.samples.is_empty());
    }
}

#[test]
fn lost_frames_are_sent_again_and_the_data_stay_right() {
    let options = "--op mixed --verify --seconds 0.3 --retransmit 5";
    let (report, summary) = load(Fault::Drop, options);
    assert!(report.ok, "{report}\n{:?}", summary.total.samples);
    assert!(summary.total.counters.retransmissions > 0);
}

#[test]
fn without_retransmission_a_lost_frame_is_a_lost_command() {
    let options = "--op mixed --verify --seconds 0.2 --retransmit never --deadline 0.05";
    let (report, summary) = load(Fault::Drop, options);
    assert!(!report.ok);
    assert!(summary.total.counters.lost > 0);
    assert_eq!(
        summary.total.check.unwrap().faults(),
        0,
        "{:?}",
        summary.total.samples
    );
}

#[test]
fn reading_back_from_a_target_that_is_gone_is_given_up() {
    let options = "--op write --verify --seconds 0.1 --depth 4 --deadline 0.05";
    let (report, summary) = load(Fault::NoReads, options);
    assert!(!report.ok);
    assert!((4..=8).contains(&summary.total.counters.lost), "{report}");
    assert!(
        summary
            .total
            .samples
            .iter()
            .any(|line| line.contains("is gone"))
    );
}

#[test]
fn repeated_answers_are_counted_and_harmless() {
    let (report, summary) = load(Fault::Repeat, "--op read --seconds 0.1");
    assert!(report.ok, "{report}");
    assert!(summary.total.counters.duplicates > 0);
}

#[test]
fn failures_and_answers_of_a_wrong_length_are_errors() {
    for fault in [Fault::Fail, Fault::Lengthen] {
        let (report, summary) = load(fault, "--op mixed --verify --seconds 0.5");
        assert!(!report.ok, "{fault:?}: {report}");
        assert!(summary.total.counters.failed > 0);
        assert_eq!(
            summary.total.check.unwrap().faults(),
            0,
            "{:?}",
            summary.total.samples
        );
    }
}

#[test]
fn a_later_run_checks_what_an_earlier_one_left() {
    let empty = vec![0; DISK_BYTES];
    let reads = "--op read --verify --seconds 0.1 --sequential";
    let (report, _, _) = load_on(empty.clone(), Fault::None, reads);
    assert!(!report.ok, "nothing is stamped: {report}");

    let writes = "--op write --verify --seconds 0.1 --sequential";
    let (report, _, mut disk) = load_on(empty, Fault::None, writes);
    assert!(report.ok, "{report}");
    let (report, summary, _) = load_on(disk.clone(), Fault::None, reads);
    assert!(report.ok, "{report}\n{:?}", summary.total.samples);
    disk.copy_within(0..512, 512 * 20);
    let (report, summary, _) = load_on(disk, Fault::None, reads);
    assert!(!report.ok, "{report}");
    assert!(summary.total.check.unwrap().wrong_lba > 0);
}

#[test]
fn an_open_loop_starts_what_is_due_and_counts_the_rest() {
    let (report, summary) = load(Fault::None, "--op read --seconds 0.5 --rate 200");
    assert!(report.ok, "{report}");
    let due = summary.total.counters.started + summary.total.overdue;
    assert!((101..=103).contains(&due), "{due}");
    // Depth 1 and a dropped answer: while the window waits, commands fall due and are not started.
    let options = "--op read --seconds 0.3 --rate 1000 --depth 1 --retransmit 200";
    let (_, summary) = load(Fault::Drop, options);
    assert!(summary.total.overdue > 0);
}

#[test]
fn unverified_reads_look_at_no_data() {
    let (report, summary) = load(Fault::Damage, "--op read --seconds 0.1");
    assert!(report.ok && summary.total.check.is_none());
    let text = report.to_string();
    assert_eq!(text.lines().count(), 7);
    assert!(text.ends_with("; none lost"), "{text}");
    assert!(text.contains("% of 10GbE)"), "{text}");
    assert!(
        text.contains("10GbE carries 151478 such frames/s each way"),
        "{text}"
    );
}

#[test]
fn line_rates_are_part_of_the_result_and_of_every_figure_in_it() {
    let (report, _) = load(Fault::None, "--op mixed --seconds 0.1 --line-rate 1000");
    let value = serde_json::to_value(&report).unwrap();
    for figure in [&value, &value["read"], &value["write"]] {
        let shares = figure["line_rate"].as_array().unwrap();
        let names: Vec<_> = shares.iter().map(|share| share["of"].as_str()).collect();
        assert_eq!(names, [Some("10GbE"), Some("--line-rate")]);
        for share in shares {
            let carried = share["frames_per_s_max"].as_f64().unwrap();
            let percent = figure["iops"].as_f64().unwrap() / carried * 100.0;
            let busier = share["percent"].as_f64().unwrap();
            assert!(
                busier > 0.0 && busier <= percent * 1.02,
                "{percent}: {share}"
            );
        }
    }
    assert!(value["iops"].is_f64() && value["mb_per_s"].is_f64());
}

#[test]
fn the_seconds_add_up_to_the_whole() {
    let options = "--op mixed --seconds 2.2 --retransmit 50 --depth 8";
    let (report, summary) = load(Fault::Drop, options);
    assert!(report.ok, "{report}");
    let value = serde_json::to_value(&report).unwrap();
    let rows = value["series"].as_array().unwrap();
    let seconds: Vec<_> = rows.iter().map(|row| row["second"].as_u64()).collect();
    assert_eq!(seconds, [Some(0), Some(1), Some(2)]);
    let sum = |key: &str| {
        rows.iter()
            .map(|row| row[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(sum("commands"), summary.total.tally.done_count());
    // Those of the warm-up, and of the drain at the end, are in no second.
    assert!(sum("retransmissions") > 0);
    assert!(sum("retransmissions") <= summary.total.counters.retransmissions);
    assert_eq!(sum("lost"), 0);
    for row in rows.iter().filter(|row| row["commands"] != 0) {
        let latency = |key: &str| row["latency_us"][key].as_f64().unwrap();
        assert!(latency("p50") <= latency("p99") && latency("p99") <= latency("max"));
        let (iops, bytes) = (row["iops"].as_f64(), row["bytes_per_s"].as_f64());
        assert!(
            (iops.unwrap() * 8192.0 - bytes.unwrap()).abs() < 1.0,
            "{row}"
        );
    }
}

#[test]
fn lost_commands_are_in_the_second_in_which_they_were_given_up() {
    let options = "--op read --seconds 1.5 --retransmit never --deadline 0.1 --depth 2";
    let (_, summary) = load(Fault::NoReads, options);
    let lost: Vec<u64> = summary.series.iter().map(|row| row.lost).collect();
    assert_eq!(lost.len(), 2);
    assert!(lost.iter().sum::<u64>() > 0, "{lost:?}");
    assert!(summary.series.iter().all(|row| row.commands == 0));
}

#[test]
fn histogram_files_hold_the_latencies_that_the_result_tells_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("latency.hlog");
    let file = path.display();
    // Answers that are late for having been dropped, and reading back, which does not count.
    let options = format!("--op mixed --verify --seconds 2.5 --retransmit 200 --histogram {file}");
    let (report, summary) = load(Fault::Drop, &options);
    assert!(report.ok, "{report}");
    let bytes = std::fs::read(&path).unwrap();
    let (reads, writes) = (
        &summary.total.tally.reads.latency,
        &summary.total.tally.writes.latency,
    );
    let (all, intervals) = read_log(&bytes, None);
    assert!(intervals > 0);
    assert_eq!(all.len(), reads.len() + writes.len());
    assert_eq!(read_log(&bytes, Some("read")), (reads.clone(), intervals));
    assert_eq!(read_log(&bytes, Some("write")), (writes.clone(), intervals));
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        text.starts_with("#[Histogram log format version 1.3]\n"),
        "{text}"
    );
    assert!(text.contains("\n#[StartTime: ") && text.contains("\n#[BaseTime: "));

    let options = format!("--op read --seconds 0.1 --histogram {file}");
    let (_, summary) = load(Fault::None, &options);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(
        read_log(&bytes, None),
        (summary.total.tally.reads.latency, 1)
    );
    assert_eq!(read_log(&bytes, Some("read")).1, 0);
}

const THREE: &str = "--target 1.3 --target 1.2 --target 1.4";

fn load_three(fault: Fault, options: &str) -> (Report, Summary) {
    let disks = vec![vec![0; DISK_BYTES]; 3];
    let (report, summary, _) = load_on_all(disks, fault, &format!("{THREE} {options}"));
    (report, summary)
}

#[test]
fn several_targets_are_loaded_and_verified_together() {
    let options = "--op mixed --verify --seconds 0.3 --depth 8 --retransmit never";
    let (report, summary) = load_three(Fault::None, options);
    assert!(report.ok, "{report}\n{:?}", summary.total.samples);
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(value["target"], "1.3,1.2,1.4");
    assert_eq!(
        (&value["lun"], &value["depth"]),
        (&Value::Null, &Value::from(24))
    );
    assert_eq!(value["range_bytes"], 3 * DISK_BYTES);
    let targets = value["targets"].as_array().unwrap();
    let names: Vec<_> = targets.iter().map(|part| part["target"].as_str()).collect();
    assert_eq!(names, [Some("1.3"), Some("1.2"), Some("1.4")]);
    for path in ["/read/commands", "/write/commands", "/verify/sectors"] {
        let number = |value: &Value| value.pointer(path).unwrap().as_u64().unwrap();
        assert!(
            targets.iter().all(|part| number(part) > 0),
            "{path}: {value}"
        );
        assert_eq!(
            targets.iter().map(number).sum::<u64>(),
            number(&value),
            "{path}"
        );
    }
    let (iops, of_all) = ("/iops", value["iops"].as_f64().unwrap());
    let parts = targets
        .iter()
        .map(|part| part.pointer(iops).unwrap().as_f64().unwrap());
    assert!(
        (parts.sum::<f64>() - of_all).abs() < 1e-6 * of_all,
        "{value}"
    );
    let latency = &summary.total.tally.reads.latency;
    let counts = summary
        .targets
        .iter()
        .map(|part| part.tally.reads.latency.len());
    assert_eq!(counts.sum::<u64>(), latency.len());
    let rows = summary.series.iter().map(|row| row.commands);
    assert_eq!(rows.sum::<u64>(), summary.total.tally.done_count());
    let text = report.to_string();
    assert!(
        text.starts_with("e1.3, e1.2, e1.4 on memory0 (memory): 3 targets\n"),
        "{text}"
    );
    assert!(
        text.contains("\ne1.2: In memory, 1024 sectors, depth 8\n"),
        "{text}"
    );
}

#[test]
fn a_single_target_is_told_as_ever() {
    let (report, _) = load(Fault::None, "--op read --seconds 0.1 --depth 4");
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(value["target"], "1.2");
    assert_eq!(value["lun"]["model"], "In memory");
    assert_eq!(
        (&value["depth"], &value["write"]),
        (&Value::from(4), &Value::Null)
    );
    for key in [
        "interface",
        "mode",
        "operation",
        "pattern",
        "size_bytes",
        "range_bytes",
        "rate",
        "seed",
        "seconds",
        "iops",
        "mb_per_s",
        "retransmissions",
        "lost",
        "errors",
        "duplicates",
        "unexpected",
        "overdue",
        "verify",
        "interrupted",
        "ok",
    ] {
        assert!(value.get(key).is_some(), "{key}");
    }
    assert_eq!(value["targets"][0]["iops"], value["iops"]);
    assert_eq!(value["targets"].as_array().unwrap().len(), 1);
}

#[test]
fn what_goes_wrong_with_one_target_of_several_is_told_of_that_one() {
    let options = "--op mixed --verify --seconds 0.5 --size 2048";
    let (report, summary) = load_three(Fault::Fail, options);
    assert!(!report.ok, "{report}");
    let value = serde_json::to_value(&report).unwrap();
    let ok: Vec<_> = (0..3)
        .map(|index| value["targets"][index]["ok"].as_bool())
        .collect();
    assert_eq!(ok, [Some(true), Some(true), Some(false)], "{value}");
    assert!(!summary.total.samples.is_empty());
    let samples = &summary.total.samples;
    assert!(
        samples
            .iter()
            .all(|line| line.starts_with("e1.4: write of ")),
        "{samples:?}"
    );
}

#[test]
fn data_in_the_wrong_lun_are_found() {
    // Long enough to write every block, so that what was written elsewhere is missed or found there.
    let mut faults = 0;
    for seconds in [0.5, 2.0, 8.0] {
        let options = format!("--op mixed --verify --seconds {seconds} --range 64K --size 2048");
        let (report, summary) = load_three(Fault::OtherLun, &options);
        faults += summary.targets[1].check.unwrap().foreign;
        if faults > 0 {
            assert!(!report.ok, "{report}");
            break;
        }
    }
    assert!(faults > 0);
}

#[test]
fn targets_take_turns_in_one_schedule() {
    let (report, summary) = load_three(Fault::None, "--op read --seconds 0.5 --rate 600");
    assert!(report.ok, "{report}");
    for part in &summary.targets {
        let due = part.counters.started + part.overdue;
        assert!((101..=103).contains(&due), "{due}");
    }
}

#[test]
fn a_silent_target_holds_up_no_other_and_fails_the_load() {
    let options = "--op read --seconds 0.5 --depth 4 --retransmit never --deadline 0.1";
    let (report, summary) = load_three(Fault::NoReads, options);
    assert!(!report.ok, "{report}");
    let done: Vec<u64> = summary
        .targets
        .iter()
        .map(|part| part.counters.done)
        .collect();
    assert!(done[0] > 0 && done[1] > 0 && done[2] == 0, "{done:?}");
    assert_eq!(
        summary.targets[0].counters.lost + summary.targets[1].counters.lost,
        0
    );
}

#[test]
fn a_port_that_takes_little_serves_every_target() {
    // 256 frames fit the wire, 3 x 200 are outstanding.
    let options = "--op mixed --verify --seconds 0.5 --size 512 --depth 200 --retransmit never";
    let (report, summary) = load_three(Fault::None, options);
    assert!(report.ok, "{report}\n{:?}", summary.total.samples);
    assert!(
        summary
            .targets
            .iter()
            .all(|part| part.tally.done_count() > 0)
    );
}

#[test]
fn a_target_on_two_interfaces_is_loaded_over_both() {
    let options = "--target 1.2 --op mixed --verify --seconds 0.3 --depth 8 --retransmit never";
    let (report, summary, _) = load_over(2, vec![vec![0; DISK_BYTES]], Fault::None, options);
    assert!(report.ok, "{report}\n{:?}", summary.total.samples);
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(value["interface"], "memory0,memory0");
    let ports = value["ports"].as_array().unwrap();
    let sent: Vec<_> = ports
        .iter()
        .map(|port| port["sent_frames"].as_u64().unwrap())
        .collect();
    let started = summary.total.counters.started;
    assert_eq!(sent.iter().sum::<u64>(), started);
    assert_eq!(sent[0].abs_diff(sent[1]), started % 2, "in turn: {sent:?}");
    for way in value["losses"]["ways"].as_array().unwrap() {
        assert_eq!(way["missing"], 0, "{way}");
        assert_eq!(way["frames"]["sent"], way["frames"]["answers"], "{way}");
    }
}

#[test]
fn what_a_target_drops_is_missing_beyond_the_port() {
    let options = "--op read --seconds 0.3 --retransmit 5";
    let (report, summary) = load(Fault::Drop, options);
    let way = &serde_json::to_value(&report).unwrap()["losses"]["ways"][0];
    let counters = &summary.total.counters;
    let lost = counters.retransmissions - counters.superseded - counters.duplicates;
    assert!(lost > 0 && way["missing"] == lost, "{report}");
    let sums = &serde_json::to_value(&report).unwrap()["losses"];
    assert_eq!(sums["never_answered"], lost, "{report}");
    assert_eq!(way["layers"][0]["layer"], "beyond the port");
    assert_eq!(way["layers"][0]["lost"], lost, "{way}");
}

#[test]
fn there_is_no_bar_beside_json() {
    let (mut ours, _theirs) = memory_pair(US, THEM, 9000, 4).unwrap();
    ours.flush();
    let connection = fake_connection(Box::new(ours));
    for (options, progress) in [("", true), ("--json", false)] {
        let line = format!("aoeload --interface memory --target 1.2 {options}");
        let plan = Plan::new(&arguments(&line), &connection).unwrap();
        assert_eq!(plan.progress, progress);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (mut ours, _theirs) = memory_pair(US, THEM, 1500, 4).unwrap();
    ours.flush();
    let mut connection = fake_connection(Box::new(ours));
    for (options, message) in [
        ("--size 1000", "--size 1000 is not a multiple of 512"),
        ("--size 2048", "MTU 1500"),
        ("--range 1T", "more than the 524288 bytes of the LUN"),
        ("--range 512 --size 1024", "not even one command"),
        ("--seconds 0", "--seconds 0"),
        ("--deadline 0", "--deadline 0"),
    ] {
        let error = refusal(options, &connection);
        assert!(error.contains(message), "{options}: {error}");
    }
    let same = connection.endpoints[0].clone();
    connection.endpoints.push(same);
    assert!(refusal("", &connection).contains("--target 1.2 is there twice"));
    connection.endpoints.pop();
    connection.endpoints[0].target.sector_count = 1;
    assert!(refusal("--size 1024", &connection).contains("Sector Count 1"));
    connection.endpoints[0].identity.sectors = 1 << 40;
    let error = refusal("--op write --verify", &connection);
    assert!(error.contains("use a smaller --range"), "{error}");
}

fn fake_connection(port: Box<dyn Port>) -> Connection {
    let data = IdentifySpec {
        sectors: DISK_SECTORS as u64,
        serial: "FAKE",
        firmware: "1",
        model: "In memory",
        solid_state: true,
        wwn: None,
        is_aligned: true,
        trims: false,
    };
    let endpoint = connect::Endpoint {
        ways: vec![connect::Way {
            interface: 0,
            route: initiator::Route {
                source: US,
                destination: THEM,
                shelf: Shelf(1),
                slot: Slot(2),
            },
        }],
        silent: Vec::new(),
        target: initiator::Target {
            shelf: Shelf(1),
            slot: Slot(2),
            macs: vec![THEM],
            buffer_count: 16,
            firmware: 0,
            sector_count: 16,
            config_string: Vec::new(),
        },
        identity: initiator::Identity::parse(&data.build()),
    };
    Connection {
        interfaces: Interfaces::of(vec![Interface::new(vec![port], 1).unwrap()]),
        clock: Clock::start(),
        endpoints: vec![endpoint],
    }
}

fn refusal(options: &str, connection: &Connection) -> String {
    let line = format!("aoeload --interface memory --target 1.2 {options}");
    let error = Plan::new(&arguments(&line), connection).unwrap_err();
    assert!(error.downcast_ref::<crate::plan::UsageError>().is_some());
    error.to_string()
}

#[test]
fn the_shape_of_the_bar_is_accepted() {
    assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
}

#[test]
fn nothing_is_written_unless_asked_for() {
    let args = arguments("aoeload --interface x --target 1.2");
    assert_eq!(args.shape.op, OperationArg::Read);
}

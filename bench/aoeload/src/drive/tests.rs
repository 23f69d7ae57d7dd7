//! Whole loads against a target in memory that can be told to misbehave.

use super::*;
use crate::cli::{LoadArgs, OperationArg};
use crate::histogram::tests::read_log;
use crate::report::Report;
use aoe::ata::AFLAG_WRITE;
use aoe::{ATA_FRAME_BYTES, AtaRegisters, MacAddress, Request, Shelf, Slot};
use ata::{Command, IdentifySpec, Outcome};
use port::{MemoryPort, memory_pair};
use std::thread;
use zerocopy::IntoBytes;

const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THEM: MacAddress = MacAddress([4, 0, 0, 0, 0, 1]);
const DISK_SECTORS: usize = 1024;

/// What the target does wrong, once in every 50 commands of the kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// Acknowledges a write and forgets it.
    LoseWrite,
    /// Does the first half of a write.
    TearWrite,
    /// Writes to another block.
    Misdirect,
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

struct FakeTarget {
    port: MemoryPort,
    disk: Vec<u8>,
    fault: Fault,
    reads: u64,
    writes: u64,
}

impl FakeTarget {
    fn serve(&mut self, stop: &AtomicBool) {
        let mut frames: Vec<Vec<u8>> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let received = self.port.receive(16, &mut |frame| {
                let mut bytes = vec![0; frame.len_bytes()];
                frame.copy_to(0, &mut bytes);
                frames.push(bytes);
            });
            for frame in frames.drain(..) {
                self.answer(&frame);
            }
            self.port.flush();
            if received == 0 {
                thread::yield_now();
            }
        }
    }

    fn answer(&mut self, frame: &[u8]) {
        let Ok(parsed) = aoe::request::parse(frame) else {
            return;
        };
        let (header, request) = (parsed.header, parsed.request);
        if !header.addresses(Shelf(1), Slot(2)) {
            return;
        }
        let reply = header.reply(THEM, Shelf(1), Slot(2));
        match request {
            Request::Config { .. } => {
                let mut bytes = reply.as_bytes().to_vec();
                bytes.extend_from_slice(&[0, 16, 0, 1, 16, 0x10, 0, 0]);
                self.port.transmit(&bytes, &[]).unwrap();
            }
            Request::Ata(registers) => {
                let (outcome, data) = self.execute(registers, &frame[ATA_FRAME_BYTES..]);
                let mut bytes = reply.as_bytes().to_vec();
                let response = registers.response(outcome.status(), outcome.error());
                bytes.extend_from_slice(response.as_bytes());
                let write = registers.flags & AFLAG_WRITE != 0;
                let nth = if write { self.writes } else { self.reads };
                let wrong = nth % 50 == 49;
                let dropped = match self.fault {
                    Fault::Drop => wrong,
                    Fault::NoReads => registers.command_status == ata::opcode::READ_EXT,
                    _ => false,
                };
                if dropped {
                    return;
                }
                self.port.transmit(&bytes, &data).unwrap();
                if wrong && self.fault == Fault::Repeat {
                    self.port.transmit(&bytes, &data).unwrap();
                }
            }
            _ => {}
        }
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
                    trims: false,
                };
                (Outcome::Success, spec.build().to_vec())
            }
            Command::Read { lba, count } => {
                self.reads += 1;
                let wrong = self.reads % 50 == 49;
                let start = lba as usize * 512;
                let mut data = self.disk[start..start + usize::from(count) * 512].to_vec();
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
        let wrong = self.writes % 50 == 49;
        let mut start = lba as usize * 512;
        let mut data = data;
        if wrong {
            match self.fault {
                Fault::Fail => return Outcome::WriteFault,
                Fault::LoseWrite => data = &[],
                Fault::TearWrite => data = &data[..data.len() / 2],
                Fault::Misdirect => start = (start + data.len()) % self.disk.len(),
                _ => {}
            }
        }
        self.disk[start..start + data.len()].copy_from_slice(data);
        Outcome::Success
    }
}

fn arguments(line: &str) -> LoadArgs {
    match crate::cli::Request::parse(line.split_whitespace()) {
        Ok(crate::cli::Request::Load(args)) => args,
        other => panic!("{line}: {other:?}"),
    }
}

/// Runs `aoeload` with these options against a target with a fault and the given disk.
fn load_on(disk: Vec<u8>, fault: Fault, options: &str) -> (Report, Summary, Vec<u8>) {
    let (ours, port) = memory_pair(US, THEM, 9000, 256).unwrap();
    let mut target = FakeTarget {
        port,
        disk,
        fault,
        reads: 0,
        writes: 0,
    };
    let line = format!("aoeload --interface memory --target 1.2 --warmup 0.01 {options}");
    let args = arguments(&line);
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            target.serve(&done);
            target.disk
        });
        let ports: Vec<Box<dyn Port>> = vec![Box::new(ours)];
        let mut connection = Connection::establish(ports, Clock::start(), args.target).unwrap();
        let plan = Plan::new(&args, &connection).unwrap();
        let log = args.histogram.as_deref().map(|path| {
            HistogramLog::create(path, plan.is_mixed(), connection.clock.now_ns()).unwrap()
        });
        let mut summary = run(&mut connection, &plan, log, &stop).unwrap();
        let report = Report::new(&connection, &plan, &summary);
        if let Some(log) = summary.log.take() {
            log.finish().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        (report, summary, server.join().unwrap())
    })
}

fn load(fault: Fault, options: &str) -> (Report, Summary) {
    let (report, summary, _) = load_on(vec![0; DISK_SECTORS * 512], fault, options);
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
        assert!(report.ok, "{options}: {report}\n{:?}", summary.samples);
        let check = summary.check.unwrap();
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
            if outcome.0.ok {
                outcome = load(fault, &options(seconds));
            }
        }
        let (report, summary) = outcome;
        assert!(!report.ok, "{fault:?}: {report}");
        let check = summary.check.unwrap();
        assert!(count(&check) > 0, "{fault:?}: {check:?}");
        assert!(!summary.samples.is_empty());
    }
}

#[test]
fn lost_frames_are_sent_again_and_the_data_stay_right() {
    let options = "--op mixed --verify --seconds 0.3 --retransmit 5";
    let (report, summary) = load(Fault::Drop, options);
    assert!(report.ok, "{report}\n{:?}", summary.samples);
    assert!(summary.counters.retransmissions > 0);
}

#[test]
fn without_retransmission_a_lost_frame_is_a_lost_command() {
    let options = "--op mixed --verify --seconds 0.2 --retransmit never --deadline 0.05";
    let (report, summary) = load(Fault::Drop, options);
    assert!(!report.ok);
    assert!(summary.counters.lost > 0);
    assert_eq!(summary.check.unwrap().faults(), 0, "{:?}", summary.samples);
}

#[test]
fn reading_back_from_a_target_that_is_gone_is_given_up() {
    let options = "--op write --verify --seconds 0.1 --depth 4 --deadline 0.05";
    let (report, summary) = load(Fault::NoReads, options);
    assert!(!report.ok);
    assert!((4..=8).contains(&summary.counters.lost), "{report}");
    assert!(summary.samples.iter().any(|line| line.contains("is gone")));
}

#[test]
fn repeated_answers_are_counted_and_harmless() {
    let (report, summary) = load(Fault::Repeat, "--op read --seconds 0.1");
    assert!(report.ok, "{report}");
    assert!(summary.counters.duplicates > 0);
}

#[test]
fn failures_and_answers_of_a_wrong_length_are_errors() {
    for fault in [Fault::Fail, Fault::Lengthen] {
        let (report, summary) = load(fault, "--op mixed --verify --seconds 0.1");
        assert!(!report.ok, "{fault:?}: {report}");
        assert!(summary.counters.failed > 0);
        assert_eq!(summary.check.unwrap().faults(), 0, "{:?}", summary.samples);
    }
}

#[test]
fn a_later_run_checks_what_an_earlier_one_left() {
    let empty = vec![0; DISK_SECTORS * 512];
    let reads = "--op read --verify --seconds 0.1 --sequential";
    let (report, _, _) = load_on(empty.clone(), Fault::None, reads);
    assert!(!report.ok, "nothing is stamped: {report}");

    let writes = "--op write --verify --seconds 0.1 --sequential";
    let (report, _, mut disk) = load_on(empty, Fault::None, writes);
    assert!(report.ok, "{report}");
    let (report, summary, _) = load_on(disk.clone(), Fault::None, reads);
    assert!(report.ok, "{report}\n{:?}", summary.samples);
    disk.copy_within(0..512, 512 * 20);
    let (report, summary, _) = load_on(disk, Fault::None, reads);
    assert!(!report.ok, "{report}");
    assert!(summary.check.unwrap().wrong_lba > 0);
}

#[test]
fn an_open_loop_starts_what_is_due_and_counts_the_rest() {
    let (report, summary) = load(Fault::None, "--op read --seconds 0.5 --rate 200");
    assert!(report.ok, "{report}");
    let due = summary.counters.started + summary.overdue;
    assert!((101..=103).contains(&due), "{due}");
    // Depth 1 and a dropped answer: while the window waits, commands fall due and are not started.
    let options = "--op read --seconds 0.3 --rate 1000 --depth 1 --retransmit 200";
    let (_, summary) = load(Fault::Drop, options);
    assert!(summary.overdue > 0);
}

#[test]
fn unverified_reads_look_at_no_data() {
    let (report, summary) = load(Fault::Damage, "--op read --seconds 0.1");
    assert!(report.ok && summary.check.is_none());
    let text = report.to_string();
    assert_eq!(text.lines().count(), 5);
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
    assert_eq!(sum("commands"), summary.tally.done_count());
    // Those of the warm-up, and of the drain at the end, are in no second.
    assert!(sum("retransmissions") > 0);
    assert!(sum("retransmissions") <= summary.counters.retransmissions);
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
    let (reads, writes) = (&summary.tally.reads.latency, &summary.tally.writes.latency);
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
    assert_eq!(read_log(&bytes, None), (summary.tally.reads.latency, 1));
    assert_eq!(read_log(&bytes, Some("read")).1, 0);
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
    connection.target.sector_count = 1;
    assert!(refusal("--size 1024", &connection).contains("Sector Count 1"));
    connection.identity.sectors = 1 << 40;
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
        trims: false,
    };
    Connection {
        ports: vec![port],
        clock: Clock::start(),
        route: initiator::Route {
            source: US,
            destination: THEM,
            shelf: Shelf(1),
            slot: Slot(2),
        },
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
        speed_mbit: None,
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

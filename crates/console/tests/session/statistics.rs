//! Who does what, how fast, and what was lost where.

use super::Bench;
use aoe::MacAddress;
use shelf::admin::{DriveSlot, LunNumber};
use shelf::observe::{Initiator, Initiators, LinkStatus, PortStatistics};
use shelf::plane::CounterGroup;
use shelf::statistics::{
    Delay, ForgottenStations, Latency, LunStatistics, Rates, StationStatistics, Sums, Tally,
};
use shelf::target::PortIndex;
use std::time::Duration;

const MS: u64 = 1_000_000;

fn lun(number: u8) -> LunNumber {
    LunNumber::new(number).expect("a LUN number")
}

/// 3 s of reads, of 8 KiB and 300 us each on average, the slowest 41 ms; no writes.
pub(super) fn rates(reads: u64) -> Rates {
    Rates {
        seconds: 3,
        reads: Sums {
            ops: reads,
            bytes: 8192 * reads,
            latency_ns: 3 * MS * reads / 10,
            latency_max_ns: 41 * MS,
        },
        writes: Sums::default(),
    }
}

/// With LUN 0 measured, and one of its members.
pub(super) fn measured() -> Bench {
    let mut bench = Bench::with_luns();
    let (mut reads, tally) = (
        Latency::new(),
        Tally {
            reads: 2,
            masked: 1,
            ..Tally::default()
        },
    );
    reads.record(3 * MS);
    reads.record(100 * MS);
    let statistics = LunStatistics {
        tally,
        reads,
        writes: Latency::new(),
        rates: rates(300_000),
    };
    bench.shelf.lun_statistics.insert(lun(0), statistics);
    bench.shelf.drive_rates.insert(DriveSlot(1), rates(30_000));
    bench
}

#[test]
fn iostats_has_the_columns_of_coraid() {
    let mut bench = measured();
    let title = "LUN    ELEMENT       READ    AVG    MAX      WRITE    AVG    MAX\n";
    assert_eq!(
        bench.good("iostats 0-1"),
        format!(
            "{title}\
             0               819.200MB  300us   41ms    0.000MB    0ms    0ms\n\
             1                 0.000MB    0ms    0ms    0.000MB    0ms    0ms\n"
        )
    );
    let long = "
0               819.200MB  300us   41ms    0.000MB    0ms    0ms
         0.0.0    0.000MB    0ms    0ms    0.000MB    0ms    0ms
         0.0.1   81.920MB  300us   41ms    0.000MB    0ms    0ms
";
    assert_eq!(
        bench.good("iostats -l 0"),
        format!("{}{long}", title.trim_end())
    );
    let nothing = "0.000MB    0ms    0ms    0.000MB    0ms    0ms\n";
    let drives = bench.good("iostats -d -s 32 0");
    assert!(
        drives.starts_with(&format!("{title}           1.0    {nothing}")),
        "{drives}"
    );
    assert_eq!(drives.lines().count(), 3);
    assert_eq!(bench.good("iostats -d").lines().count(), 17);
    let empty = Bench::new().good("iostats");
    assert_eq!(empty, "");
}

#[test]
fn iostats_in_json_has_the_histogram_of_each_lun() {
    let mut bench = measured();
    let json = bench.good("iostats -j 0-1");
    let read = "\"seconds\":3,\"read\":{\"ops_per_s\":100000,\"bytes_per_s\":819200000,\"mean_us\":300,\
                \"max_us\":41000},\"write\":{\"ops_per_s\":0,";
    assert!(json.contains(&format!("{{\"lun\":0,{read}")), "{json}");
    for part in [
        "\"read_latency\":{\"count\":2,\"p50_us\":30",
        "{\"below_us\":4096,\"count\":1}",
        "\"write_latency\":{\"count\":0,",
        "{\"lun\":1,\"seconds\":0,",
        "\"read_latency\":null,\"write_latency\":null}",
    ] {
        assert!(json.contains(part), "{part} is not in {json}");
    }
    let json = bench.good("iostats -l -j 0");
    let member = "{\"lun\":0,\"part\":0,\"member\":1,\"drive\":\"1.1\",\"seconds\":3,";
    assert!(json.contains(member), "{json}");
    let json = bench.good("iostats -d -j 0");
    assert!(json.contains("{\"drive\":\"1.1\",\"seconds\":3,"), "{json}");
}

#[test]
fn iostats_refuses_what_it_cannot_tell() {
    let mut bench = measured();
    for word in ["0", "33", "x"] {
        assert_eq!(
            bench.bad(&format!("iostats -s {word}")),
            "error: seconds must be an integer between 1 and 32 inclusive\n"
        );
    }
    assert_eq!(
        bench.bad("iostats 9 0"),
        "error: LUN 9 does not exist\nskipping: 0\n"
    );
    assert!(bench.bad("iostats -s").starts_with("usage: iostats"));
    let json = bench.bad("iostats -j -s 33");
    assert!(
        json.contains("{\"code\":\"invalid_seconds\",\"arg\":\"33\""),
        "{json}"
    );
}

pub(super) fn layer(name: &str, counters: &[(&'static str, u64)]) -> CounterGroup {
    CounterGroup {
        name: name.to_owned(),
        counters: counters.to_vec(),
    }
}

#[test]
fn ifstat_tells_the_link_and_with_a_every_layer() {
    let mut bench = Bench::new();
    let link = |has_carrier, speed_mbps, speed_max_mbps| LinkStatus {
        has_carrier,
        speed_mbps,
        speed_max_mbps,
    };
    let title = "NAME            ADDR           LINK (Mbps)   MTU MODE\n";
    for (link, told) in [
        (link(true, Some(10_000), Some(25_000)), "  10000/25000"),
        (link(true, Some(10_000), None), "      10000/-"),
        (link(false, None, Some(25_000)), "         down"),
    ] {
        bench.shelf.port_statistics = vec![PortStatistics {
            interface: "eth1".to_owned(),
            link: Some(link),
            layers: vec![
                layer("nic", &[("rx_packets", 120), ("rx_missed_errors", 0)]),
                layer("shelf", &[("frames", 12)]),
            ],
        }];
        let line = format!("eth1            001004012e81 {told}  9000 native\n");
        assert_eq!(bench.good("ifstat"), format!("{title}{line}"));
        let counters = "    nic        rx_packets                          120\n    \
                        nic        rx_missed_errors                      0\n    \
                        shelf      frames                               12\n";
        assert_eq!(bench.good("ifstat -a"), format!("{title}{line}{counters}"));
    }
    assert_eq!(
        bench.good("ifstat -a -j"),
        "{\"schema\":1,\"ok\":true,\"data\":[{\"name\":\"eth1\",\"mac\":\"001004012e81\",\
         \"addresses\":[\"001004012e81\"],\"mtu_bytes\":9000,\"mode\":\"native\",\"link\":{\"up\":false,\"speed_mbps\":null,\
         \"max_mbps\":25000},\"counters\":{\"nic\":{\"rx_packets\":120,\"rx_missed_errors\":0},\
         \"shelf\":{\"frames\":12}}}]}\n"
    );
    assert!(!bench.good("ifstat -j").contains("counters"));
}

#[test]
fn aoestats_tells_the_sums_then_by_lun_and_port() {
    let mut bench = measured();
    bench.shelf.port_statistics = vec![PortStatistics {
        interface: "eth1".to_owned(),
        link: None,
        layers: vec![
            layer("nic", &[("rx_packets", 1)]),
            layer("shelf", &[("frames", 12), ("runts", 0)]),
        ],
    }];
    let line =
        |group: &str, name: &str, value: u64| format!("{group:<20} {name:<22} {value:>16}\n");
    let told = bench.good("aoestats");
    for line in [
        line("LUN 0", "reads", 2),
        line("LUN 0", "masked", 1),
        line("shelf eth1", "frames", 12),
    ] {
        assert!(told.contains(&line), "{told}");
    }
    assert!(
        !told.contains("rx_packets") && !told.contains("runts"),
        "{told}"
    );
    assert!(
        bench
            .good("aoestats -a")
            .contains(&line("shelf eth1", "runts", 0))
    );
    let json = bench.good("aoestats -j");
    for part in [
        "{\"group\":\"LUN 0\",\"lun\":0,\"name\":\"masked\",\"value\":1}",
        "{\"group\":\"shelf eth1\",\"port\":\"eth1\",\"name\":\"frames\",\"value\":12}",
    ] {
        assert!(json.contains(part), "{json}");
    }
}

fn initiator(last: u8, luns: &[u8]) -> Initiator {
    Initiator {
        interface: "eth1".to_owned(),
        statistics: StationStatistics {
            mac: MacAddress([2, 0, 0, 0, 0, last]),
            port: PortIndex(0),
            first_seen: Duration::from_secs(3600),
            last_seen: Duration::from_millis(2900),
            luns: luns.iter().copied().map(lun).collect(),
            tally: Tally {
                reads: 1000,
                writes: 10,
                retransmissions: 5,
                masked: 1,
                reserved: 2,
                ..Tally::default()
            },
            runts: 7,
            bad_version: 0,
            ops_per_second: 100,
            bytes_per_second: 819_200,
            reads: Delay {
                p50_us: 100,
                p99_us: 900,
                max_us: 4000,
            },
            writes: Delay::default(),
        },
    }
}

/// With two initiators, and a port that was measured.
pub(super) fn heard() -> Bench {
    let mut bench = Bench::with_luns();
    bench.shelf.initiators = Initiators {
        known: vec![initiator(1, &[0, 1, 2]), initiator(2, &[3])],
        forgotten: ForgottenStations::default(),
    };
    bench.shelf.port_statistics = vec![PortStatistics {
        interface: "eth1".to_owned(),
        link: Some(LinkStatus {
            has_carrier: true,
            speed_mbps: Some(10_000),
            speed_max_mbps: Some(25_000),
        }),
        layers: vec![
            layer("nic", &[("rx_packets", 120), ("rx_missed_errors", 0)]),
            layer("shelf", &[("frames", 12)]),
        ],
    }];
    bench
}

#[test]
fn initiators_are_listed_with_what_they_do() {
    assert_eq!(Bench::with_luns().good("initiators"), "");
    let mut bench = heard();
    let title = "MAC          PORT       SEEN(s)        READS       WRITES     IO/s        MB/s  RESENT REFUSED LUNS\n";
    let row = |mac: &str, luns: &str| {
        format!(
            "{mac} eth1             2         1000           10      100     0.819MB       5       3 {luns}\n"
        )
    };
    let (first, second) = (row("020000000001", "0-2"), row("020000000002", "3"));
    assert_eq!(bench.good("initiators"), format!("{title}{first}{second}"));
    assert_eq!(bench.good("initiators 1-2"), format!("{title}{first}"));
    let long = bench.good("initiators -l 3");
    assert!(long.starts_with(&format!("{title}{second}")), "{long}");
    assert!(
        long.contains("    retransmissions                       5\n"),
        "{long}"
    );
    assert!(
        long.contains("    read_p99_us                         900\n"),
        "{long}"
    );
    assert!(!long.contains("bad_version"), "{long}");
    let json = bench.good("initiators -j 3");
    let head = "{\"mac\":\"020000000002\",\"port\":\"eth1\",\"luns\":[3],\"first_seen_s\":3600,\
                \"last_seen_s\":2,\"ops_per_s\":100,\"bytes_per_s\":819200,\
                \"read_latency\":{\"p50_us\":100,\"p99_us\":900,\"max_us\":4000},";
    assert!(json.contains(head), "{json}");
    assert!(json.contains("\"counters\":{\"configs\":0,"), "{json}");
    assert_eq!(bench.bad("initiators 9"), "error: LUN 9 does not exist\n");
    bench.shelf.initiators.forgotten.stations = 4;
    bench.shelf.initiators.forgotten.tally.reads = 9;
    let told = bench.good("initiators");
    assert!(
        told.ends_with("4 made room for others: 9 requests, 0 runts\n"),
        "{told}"
    );
    assert!(bench.good("initiators -j").contains("{\"forgotten\":4,"));
}

//! `iostats`, `ifstat`, `aoestats`, `initiators`: who does what, how fast, and what was lost where.

use super::luns::named;
use crate::command::Options;
use crate::names::{decimal, drive_name};
use crate::problem::Problem;
use crate::record::Record;
use crate::record::statistics::{Counts, Layers};
use crate::report::Report;
use aoe::MacAddress;
use shelf::admin::{Admin, DriveSlot, ElementId, LunNumber, LunStatus, PortStatus};
use shelf::observe::{Initiator, LinkStatus, PortStatistics};
use shelf::statistics::{Delay, Latency, LunStatistics, Rates, Sums, WINDOW_SECONDS_MAX};

/// Seconds that `iostats` tells the rates of, as Coraid's shelves did.
const SECONDS: u64 = 3;

/// What stands for a value that is not known.
pub(super) const UNKNOWN: &str = "-";

/// The LUNs that words name; all when there are none.
fn chosen(admin: &dyn Admin, words: &[String]) -> Result<Vec<LunStatus>, (Problem, usize)> {
    let luns = admin.luns();
    if words.is_empty() {
        return Ok(luns);
    }
    let find = |(index, word): (usize, &String)| match named(&luns, word) {
        Ok(lun) => Ok(lun.clone()),
        Err(problem) => Err((problem, index + 1)),
    };
    words.iter().enumerate().map(find).collect()
}

/// Tells how much LUNs, their members, or drives read and write a second, and how long that takes.
pub(super) fn iostats(report: &mut Report, admin: &dyn Admin, options: &Options, words: &[String]) {
    let Some(seconds) = seconds(options.value.as_deref()) else {
        let word = options.value.clone().unwrap_or_default();
        return report.fail(Problem::InvalidSeconds(word), &[]);
    };
    let luns = match chosen(admin, words) {
        Ok(luns) => luns,
        Err((problem, rest)) => return report.fail(problem, &words[rest..]),
    };
    let mut rows = Vec::new();
    if options.drives && words.is_empty() {
        let drives = admin.drives().into_iter();
        rows.extend(drives.map(|drive| drive_row(admin, None, drive.slot, seconds)));
    } else if options.drives {
        let drives = luns.iter().flat_map(members);
        rows.extend(drives.map(|(_, slot)| drive_row(admin, None, slot, seconds)));
    } else {
        for lun in &luns {
            rows.push(lun_row(admin, lun.lun, seconds));
            if options.long {
                let members = members(lun).into_iter();
                rows.extend(members.map(|(id, slot)| drive_row(admin, Some(id), slot, seconds)));
            }
        }
    }
    if !rows.is_empty() {
        let titles = ["ELEMENT", "READ", "AVG", "MAX", "WRITE", "AVG", "MAX"];
        report.line(columns("LUN", titles.map(str::to_owned)));
    }
    for (line, record) in rows {
        report.row(line, record);
    }
}

/// Reads the number of seconds.
fn seconds(word: Option<&str>) -> Option<u64> {
    let Some(word) = word else {
        return Some(SECONDS);
    };
    decimal(word).filter(|seconds| (1..=WINDOW_SECONDS_MAX).contains(seconds))
}

/// The drives of a LUN, by element.
fn members(lun: &LunStatus) -> Vec<(ElementId, DriveSlot)> {
    let elements = lun.parts.iter().flat_map(|part| &part.elements);
    let with_drive = elements.filter_map(|element| Some((element.id, element.drive?)));
    with_drive.collect()
}

fn lun_row(admin: &dyn Admin, lun: LunNumber, seconds: u64) -> (String, Record) {
    let statistics = admin.lun_statistics(lun, seconds);
    let rates = statistics
        .as_ref()
        .map_or_else(Rates::default, |of| of.rates);
    let record = Record::LunRates {
        lun: lun.get(),
        rates: (&rates).into(),
        read_latency: statistics.as_ref().map(|of| (&of.reads).into()),
        write_latency: statistics.as_ref().map(|of| (&of.writes).into()),
    };
    (rates_line(&lun.to_string(), "", &rates), record)
}

/// A drive by its own name, or by that of the element that it is.
fn drive_row(
    admin: &dyn Admin,
    element: Option<ElementId>,
    slot: DriveSlot,
    seconds: u64,
) -> (String, Record) {
    let rates = admin.drive_rates(slot, seconds);
    let drive = drive_name(admin.shelf(), slot);
    let name = element.map_or_else(|| drive.clone(), |id| id.to_string());
    let line = rates_line("", &name, &rates);
    (line, Record::drive_rates(element, drive, &rates))
}

/// The columns of `iostats` of Coraid's shelves.
fn columns(
    lun: &str,
    [element, read, avg, max, write, write_avg, write_max]: [String; 7],
) -> String {
    let line = format!(
        "{lun:<3} {element:>10} {read:>10} {avg:>6} {max:>6} {write:>10} {write_avg:>6} {write_max:>6}"
    );
    line.trim_end().to_owned()
}

fn rates_line(lun: &str, element: &str, rates: &Rates) -> String {
    let rate = |sums: &Sums| megabytes(rates.per_second(sums.bytes));
    let mean = |sums: &Sums| duration(sums.latency_mean_ns());
    let max = |sums: &Sums| duration(sums.latency_max_ns);
    let Rates { reads, writes, .. } = rates;
    columns(
        lun,
        [
            element.to_owned(),
            rate(reads),
            mean(reads),
            max(reads),
            rate(writes),
            mean(writes),
            max(writes),
        ],
    )
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{:03}MB", bytes / 1_000_000, bytes / 1000 % 1000)
}

/// Milliseconds, as Coraid's shelves told them; microseconds where those would say nothing.
pub(super) fn duration(ns: u64) -> String {
    match ns / 1000 {
        0 => "0ms".to_owned(),
        us @ 1..10_000 => format!("{us}us"),
        us => format!("{}ms", us / 1000),
    }
}

/// Lists the network ports; with `all` also what every layer of each has counted.
pub(super) fn ifstat(report: &mut Report, admin: &dyn Admin, all: bool) {
    let ports = admin.ports();
    if !ports.is_empty() {
        report.line(format!(
            "{:<15} {:<12} {:>13} {:>5} {}",
            "NAME", "ADDR", "LINK (Mbps)", "MTU", "MODE"
        ));
    }
    let statistics = admin.port_statistics();
    for port in &ports {
        let known = |of: &&PortStatistics| of.interface == port.interface;
        let of = statistics.iter().find(known);
        let link = of.and_then(|of| of.link);
        let mut lines: Vec<String> = port
            .stations
            .iter()
            .map(|mac| port_line(port, mac, link))
            .collect();
        let layers = of.filter(|_| all).map(|of| of.layers.as_slice());
        for layer in layers.unwrap_or_default() {
            let line = |(name, value): &(&str, u64)| {
                format!("    {:<10} {name:<22} {value:>16}", layer.name)
            };
            lines.extend(layer.counters.iter().map(line));
        }
        let counters = layers.map(|layers| {
            let counts = layers.iter();
            Layers(
                counts
                    .map(|layer| (layer.name.clone(), Counts(layer.counters.clone())))
                    .collect(),
            )
        });
        report.rows(lines, Record::port(port, link, counters));
    }
}

/// A port under one of its addresses.
fn port_line(port: &PortStatus, mac: MacAddress, link: Option<LinkStatus>) -> String {
    let mac = mac.to_string();
    let speed =
        |mbps: Option<u32>| mbps.map_or_else(|| UNKNOWN.to_owned(), |mbps| mbps.to_string());
    let link = match link {
        Some(link) if link.has_carrier => {
            format!("{}/{}", speed(link.speed_mbps), speed(link.speed_max_mbps))
        }
        Some(_) => "down".to_owned(),
        None => UNKNOWN.to_owned(),
    };
    format!(
        "{:<15} {mac:<12} {link:>13} {:>5} {}",
        port.interface, port.mtu_bytes, port.mode
    )
}

/// Lists what was counted: the sums, then by LUN and by port; without `all` only what is not zero.
pub(super) fn aoestats(report: &mut Report, admin: &dyn Admin, all: bool) {
    let mut rows = |group: &str, lun: Option<u8>, port: Option<&str>, counters: Counters| {
        for (name, value) in counters {
            if all || value > 0 {
                let line = format!("{group:<20} {name:<22} {value:>16}");
                let record = Record::Counter {
                    group: group.to_owned(),
                    lun,
                    port: port.map(str::to_owned),
                    name,
                    value,
                };
                report.row(line, record);
            }
        }
    };
    for group in admin.counters() {
        rows(&group.name, None, None, group.counters);
    }
    for lun in admin.luns() {
        if let Some(statistics) = admin.lun_statistics(lun.lun, 1) {
            let number = lun.lun.get();
            let group = format!("LUN {number}");
            rows(&group, Some(number), None, lun_counters(&statistics));
        }
    }
    for port in admin.port_statistics() {
        for layer in port.layers {
            // Those of the ring are among the sums, queue by queue.
            if layer.name == "shelf" || layer.name == "requests" {
                let group = format!("{} {}", layer.name, port.interface);
                rows(&group, None, Some(&port.interface), layer.counters);
            }
        }
    }
}

type Counters = Vec<(&'static str, u64)>;

/// The counters of a LUN, and how long its commands took.
fn lun_counters(of: &LunStatistics) -> Counters {
    let mut counters = of.tally.rows();
    let quantiles = |latency: &Latency| {
        [
            latency.quantile_us(500),
            latency.quantile_us(990),
            latency.max_us(),
        ]
    };
    let [p50, p99, max] = quantiles(&of.reads);
    counters.extend([
        ("read_p50_us", p50),
        ("read_p99_us", p99),
        ("read_max_us", max),
    ]);
    let [p50, p99, max] = quantiles(&of.writes);
    counters.extend([
        ("write_p50_us", p50),
        ("write_p99_us", p99),
        ("write_max_us", max),
    ]);
    counters
}

/// Lists the initiators, or those that asked some LUNs for something.
pub(super) fn initiators(report: &mut Report, admin: &dyn Admin, long: bool, words: &[String]) {
    let wanted = match chosen(admin, words) {
        Ok(luns) => luns,
        Err((problem, rest)) => return report.fail(problem, &words[rest..]),
    };
    let is_wanted = |initiator: &&Initiator| {
        let asked = &initiator.statistics.luns;
        words.is_empty() || wanted.iter().any(|lun| asked.contains(&lun.lun))
    };
    let all = admin.initiators();
    let known: Vec<&Initiator> = all.known.iter().filter(is_wanted).collect();
    if !known.is_empty() {
        report.line(format!(
            "{:<12} {:<10} {:>7} {:>12} {:>12} {:>8} {:>11} {:>7} {:>7} {}",
            "MAC",
            "PORT",
            "SEEN(s)",
            "READS",
            "WRITES",
            "IO/s",
            "MB/s",
            "RESENT",
            "REFUSED",
            "LUNS"
        ));
    }
    for initiator in known {
        let mut lines = vec![initiator_line(initiator)];
        if long {
            let counters = initiator_counters(initiator);
            let line = |(name, value)| format!("    {name:<22} {value:>16}");
            lines.extend(
                counters
                    .into_iter()
                    .filter(|(_, value)| *value > 0)
                    .map(line),
            );
        }
        report.rows(lines, Record::Initiator(initiator.into()));
    }
    let forgotten = &all.forgotten;
    if forgotten.stations > 0 && words.is_empty() {
        let line = format!(
            "{} made room for others: {} requests, {} runts",
            forgotten.stations,
            forgotten.tally.requests(),
            forgotten.runts
        );
        report.row(line, Record::ForgottenInitiators(forgotten.into()));
    }
}

fn initiator_line(initiator: &Initiator) -> String {
    let of = &initiator.statistics;
    let luns: Vec<u8> = of.luns.iter().map(|lun| lun.get()).collect();
    let (mac, tally) = (of.mac.to_string(), &of.tally);
    let rate = megabytes(of.bytes_per_second);
    format!(
        "{mac:<12} {:<10} {:>7} {:>12} {:>12} {:>8} {rate:>11} {:>7} {:>7} {}",
        initiator.interface,
        of.last_seen.as_secs(),
        tally.reads,
        tally.writes,
        of.ops_per_second,
        tally.retransmissions,
        tally.refusals(),
        series(&luns)
    )
}

/// The counters of an initiator, and how long its commands take.
fn initiator_counters(initiator: &Initiator) -> Counters {
    let of = &initiator.statistics;
    let mut counters = of.tally.rows();
    counters.extend([("runts", of.runts), ("bad_version", of.bad_version)]);
    let Delay {
        p50_us,
        p99_us,
        max_us,
    } = of.reads;
    counters.extend([
        ("read_p50_us", p50_us),
        ("read_p99_us", p99_us),
        ("read_max_us", max_us),
    ]);
    let Delay {
        p50_us,
        p99_us,
        max_us,
    } = of.writes;
    counters.extend([
        ("write_p50_us", p50_us),
        ("write_p99_us", p99_us),
        ("write_max_us", max_us),
    ]);
    counters
}

/// Numbers in order, as the console takes them: `0-3,7`.
pub(super) fn series(numbers: &[u8]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let run = |run: &[u8]| match run {
        [first, .., last] => format!("{first}-{last}"),
        [one] => one.to_string(),
        [] => String::new(),
    };
    let runs: Vec<String> = runs.map(run).collect();
    if runs.is_empty() {
        UNKNOWN.to_owned()
    } else {
        runs.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_series_and_times_in_units_that_say_something() {
        assert_eq!(series(&[0, 1, 2, 3, 7, 9, 10]), "0-3,7,9-10");
        assert_eq!(series(&[]), "-");
        assert_eq!(series(&[254]), "254");
        let told = [0, 999, 1000, 350_000, 9_999_999, 10_000_000, 41_000_000].map(duration);
        assert_eq!(
            told,
            ["0ms", "0ms", "1us", "350us", "9999us", "10ms", "41ms"]
        );
        assert_eq!(megabytes(812_004_999), "812.004MB");
        assert_eq!(seconds(None), Some(3));
        for word in ["0", "33", "x", "-1", "1.5", ""] {
            assert_eq!(seconds(Some(word)), None, "{word}");
        }
    }
}

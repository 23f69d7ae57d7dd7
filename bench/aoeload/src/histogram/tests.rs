//! What is written is read back.

use super::*;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

/// What an interval log holds under a tag: all intervals together, and how many there are.
pub(crate) fn read_log(bytes: &[u8], tag: Option<&str>) -> (Histogram<u64>, usize) {
    let mut sum = new_latency_histogram().unwrap();
    let (mut count, mut end) = (0, Duration::ZERO);
    for entry in IntervalLogIterator::new(bytes) {
        let LogEntry::Interval(interval) = entry.unwrap() else {
            continue;
        };
        if interval.tag().map(|tag| tag.as_str()) == tag {
            let encoded = BASE64_STANDARD
                .decode(interval.encoded_histogram())
                .unwrap();
            let latency: Histogram<u64> = Deserializer::new()
                .deserialize(&mut encoded.as_slice())
                .unwrap();
            let max_ms = latency.max() as f64 / 1e6;
            assert!((interval.max() - max_ms).abs() < 0.001, "{interval:?}");
            assert!(interval.start_timestamp() + Duration::from_millis(1) >= end);
            end = interval.start_timestamp() + interval.duration();
            sum.add(latency).unwrap();
            count += 1;
        }
    }
    (sum, count)
}

#[test]
fn every_latency_is_in_the_interval_in_which_it_ended() {
    const SECOND_NS: u64 = 1_000_000_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut log = HistogramLog::create(&path, true, 7).unwrap();
    let begin_ns = 7 + SECOND_NS / 2;
    log.begin(begin_ns);
    log.record(Operation::Read, 1000);
    log.advance(begin_ns + SECOND_NS - 1);
    log.record(Operation::Write, 2000);
    log.advance(begin_ns + SECOND_NS);
    log.record(Operation::Read, 3_000_000);
    log.advance(begin_ns + 2 * SECOND_NS);
    log.end(begin_ns + 5 * SECOND_NS / 2).unwrap();
    log.finish().unwrap();

    let bytes = std::fs::read(&path).unwrap();
    let of_all: Vec<_> = IntervalLogIterator::new(&bytes)
        .filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(interval) if interval.tag().is_none() => Some((
                interval.start_timestamp().as_millis(),
                interval.duration().as_millis(),
                interval.max(),
            )),
            _ => None,
        })
        .collect();
    let longest = |ns: u64| {
        let mut latency = new_latency_histogram().unwrap();
        latency.record(ns).unwrap();
        (latency.max() as f64 / 1e3).round() / 1e3
    };
    let expected = [
        (500, 1000, longest(2000)),
        (1500, 1000, longest(3_000_000)),
        (2500, 500, 0.0),
    ];
    assert_eq!(of_all, expected);
    for (tag, count) in [(None, 3), (Some("read"), 2), (Some("write"), 1)] {
        let (sum, intervals) = read_log(&bytes, tag);
        assert_eq!((sum.len(), intervals), (count, 3), "{tag:?}");
    }
}

#[test]
fn a_histogram_file_that_cannot_be_written_is_an_error() {
    let missing = Path::new("/nonexistent/latency.hlog");
    let error = HistogramLog::create(missing, false, 0).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/latency.hlog"));
    let mut log = HistogramLog::create(Path::new("/dev/full"), false, 0).unwrap();
    for second in 1..10 {
        log.record(Operation::Read, 1000);
        log.advance(second * 1_000_000_000);
    }
    log.end(10_000_000_000).unwrap();
    let error = log.finish().unwrap_err();
    assert!(
        error.to_string().contains("cannot write /dev/full"),
        "{error:#}"
    );
}

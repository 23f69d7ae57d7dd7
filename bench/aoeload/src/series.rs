//! What happened second by second.
//!
//! Invariants:
//! * rows follow one another without a gap, from the beginning of measuring to its end; the last one may
//!   be shorter. A second in which nothing ended has a row, too;
//! * a command belongs to the row in which it ended, so the commands of all rows are those that count for
//!   throughput; its latency is told there, whenever it began;
//! * nothing is allocated after [`Series::new`].

use crate::tally::LATENCY_NS_MAX;
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

/// Digits of a latency that are kept: few, so that ending a row takes microseconds.
const LATENCY_DIGITS: u8 = 2;
/// No more rows than the seconds of a day: those of a longer load cover several seconds.
const ROWS_MAX: u64 = 86_400;
const SECOND_NS: u64 = 1_000_000_000;

/// One row. Field names are part of the interface of `--json`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Row {
    /// Which second of the time of measurement it begins with.
    pub(crate) second: u64,
    /// How long it is.
    seconds: f64,
    /// Commands that ended well in it.
    pub(crate) commands: u64,
    iops: f64,
    bytes_per_s: f64,
    /// Of these commands; `null` when there are none.
    latency_us: Option<RowLatency>,
    /// Commands that were sent again.
    pub(crate) retransmissions: u64,
    /// Commands that were given up.
    pub(crate) lost: u64,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
struct RowLatency {
    p50: f64,
    p99: f64,
    max: f64,
}

/// What has been counted in a row that has not ended.
#[derive(Clone, Copy, Default, Debug)]
struct Counted {
    commands: u64,
    latency_ns_max: u64,
    retransmissions: u64,
    lost: u64,
}

/// The rows of a load.
#[derive(Debug)]
pub(crate) struct Series {
    size_bytes: usize,
    begin_ns: u64,
    end_ns: u64,
    step_ns: u64,
    rows: Vec<Row>,
    counted: Counted,
    latency: Histogram<u32>,
}

impl Series {
    /// Rows for commands of `size_bytes`, measured from `begin_ns` for `measure_ns`.
    pub(crate) fn new(size_bytes: usize, begin_ns: u64, measure_ns: u64) -> Result<Self> {
        let step_ns = measure_ns.div_ceil(ROWS_MAX).div_ceil(SECOND_NS).max(1) * SECOND_NS;
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS)
            .context("cannot make a histogram")?;
        Ok(Self {
            size_bytes,
            begin_ns,
            end_ns: begin_ns + measure_ns,
            step_ns,
            rows: Vec::with_capacity(measure_ns.div_ceil(step_ns) as usize),
            counted: Counted::default(),
            latency,
        })
    }

    /// Measuring ends at `now_ns`, if it has not ended before.
    pub(crate) fn stop(&mut self, now_ns: u64) {
        self.advance(now_ns);
        self.end_ns = self.end_ns.min(now_ns);
    }

    /// A command that was due at `due_ns` was done at `now_ns`.
    pub(crate) fn done(&mut self, due_ns: u64, now_ns: u64) {
        if let Some(counted) = self.advance(now_ns) {
            let latency_ns = now_ns.saturating_sub(due_ns).max(1);
            counted.commands += 1;
            counted.latency_ns_max = counted.latency_ns_max.max(latency_ns);
            self.latency.saturating_record(latency_ns);
        }
    }

    /// A command was sent again.
    pub(crate) fn sent_again(&mut self, now_ns: u64) {
        if let Some(counted) = self.advance(now_ns) {
            counted.retransmissions += 1;
        }
    }

    /// A command was given up.
    pub(crate) fn lost(&mut self, now_ns: u64) {
        if let Some(counted) = self.advance(now_ns) {
            counted.lost += 1;
        }
    }

    /// Ends the rows that end by `now_ns`; what is counted in the one of now, if that is being measured.
    fn advance(&mut self, now_ns: u64) -> Option<&mut Counted> {
        while self.row_begin_ns() < self.end_ns && self.row_end_ns() <= now_ns {
            self.end_row();
        }
        let measured = (self.begin_ns..self.end_ns).contains(&now_ns);
        measured.then_some(&mut self.counted)
    }

    fn row_begin_ns(&self) -> u64 {
        self.begin_ns + self.rows.len() as u64 * self.step_ns
    }

    fn row_end_ns(&self) -> u64 {
        (self.row_begin_ns() + self.step_ns).min(self.end_ns)
    }

    fn end_row(&mut self) {
        let seconds = (self.row_end_ns() - self.row_begin_ns()) as f64 / 1e9;
        let counted = std::mem::take(&mut self.counted);
        let iops = counted.commands as f64 / seconds;
        // The value of a quantile is the highest that its digits stand for: no more than there was.
        let us = |nanoseconds: u64| nanoseconds.min(counted.latency_ns_max) as f64 / 1e3;
        let at = |quantile: f64| us(self.latency.value_at_quantile(quantile));
        let latency_us = (counted.commands > 0).then(|| RowLatency {
            p50: at(0.5),
            p99: at(0.99),
            max: us(counted.latency_ns_max),
        });
        self.rows.push(Row {
            second: self.rows.len() as u64 * self.step_ns / SECOND_NS,
            seconds,
            commands: counted.commands,
            iops,
            bytes_per_s: iops * self.size_bytes as f64,
            latency_us,
            retransmissions: counted.retransmissions,
            lost: counted.lost,
        });
        if counted.commands > 0 {
            self.latency.reset();
        }
    }

    /// All rows.
    pub(crate) fn into_rows(mut self) -> Vec<Row> {
        self.advance(u64::MAX);
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN_NS: u64 = 500_000_000;

    fn series(seconds: f64) -> Series {
        Series::new(1024, BEGIN_NS, (seconds * 1e9) as u64).unwrap()
    }

    fn counts(rows: &[Row]) -> Vec<(u64, u64, u64, u64)> {
        rows.iter()
            .map(|row| (row.second, row.commands, row.retransmissions, row.lost))
            .collect()
    }

    #[test]
    fn every_command_is_in_the_second_in_which_it_ended() {
        let mut series = series(3.5);
        let at = |seconds: f64| BEGIN_NS + (seconds * 1e9) as u64;
        // The last of the warm-up, and what ended after measuring, are in none.
        series.done(0, BEGIN_NS - 1);
        series.done(0, BEGIN_NS);
        series.done(at(0.5), at(0.5) + 2000);
        series.done(at(0.999), at(1.0) - 1);
        // Nothing for a second and a half: there is a row all the same.
        series.sent_again(at(2.0) - 1);
        series.lost(at(2.0));
        series.done(at(0.7), at(3.25));
        series.done(at(3.25), at(3.5));
        series.lost(at(3.6));
        let rows = series.into_rows();
        assert_eq!(
            counts(&rows),
            [(0, 3, 0, 0), (1, 0, 1, 0), (2, 0, 0, 1), (3, 1, 0, 0)]
        );
        assert_eq!(rows[0].latency_us.unwrap().max, BEGIN_NS as f64 / 1e3);
        assert!(rows[1].latency_us.is_none());
        let last = rows[3];
        assert!((last.seconds - 0.5).abs() < 1e-9 && (last.iops - 2.0).abs() < 1e-9);
        assert!((last.bytes_per_s - 2048.0).abs() < 1e-6);
        // What is told of a second is of that second alone.
        let p50 = last.latency_us.unwrap().p50;
        assert!((p50 / 2_550_000.0 - 1.0).abs() < 0.01, "{p50}");
    }

    #[test]
    fn a_load_that_is_stopped_has_rows_to_that_time() {
        let mut early = series(10.0);
        early.done(BEGIN_NS, BEGIN_NS + 1_200_000_000);
        early.stop(BEGIN_NS + 1_500_000_000);
        early.done(BEGIN_NS, BEGIN_NS + 1_600_000_000);
        assert_eq!(counts(&early.into_rows()), [(0, 0, 0, 0), (1, 1, 0, 0)]);

        let mut before_it_began = series(10.0);
        before_it_began.stop(BEGIN_NS / 2);
        assert!(before_it_began.into_rows().is_empty());
    }

    #[test]
    fn rows_take_the_memory_they_were_given_however_long_the_load() {
        let mut week = series(7.0 * 86_400.0);
        let capacity = week.rows.capacity();
        week.lost(BEGIN_NS + 6 * 86_400 * SECOND_NS);
        let rows = week.into_rows();
        assert_eq!(rows.len() as u64, ROWS_MAX);
        assert!(rows.len() <= capacity && rows.capacity() == capacity);
        assert_eq!(
            (rows[1].second, rows.last().unwrap().second),
            (7, 7 * 86_399)
        );
        assert_eq!(rows.iter().map(|row| row.lost).sum::<u64>(), 1);
    }
}

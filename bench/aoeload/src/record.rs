//! What is recorded of the commands of all targets together, in the order in which they end.

use crate::histogram::HistogramLog;
use crate::series::{Row, Series};
use anyhow::Result;
use initiator::Operation;

/// A command that was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) operation: Operation,
    pub(crate) due_ns: u64,
    pub(crate) now_ns: u64,
    /// If it began inside the time of measurement.
    pub(crate) latency_ns: Option<u64>,
}

/// The series, and the log of latencies if there is one.
#[derive(Debug)]
pub(crate) struct Record {
    series: Series,
    log: Option<HistogramLog>,
}

impl Record {
    /// Measuring begins at `begin_ns`.
    pub(crate) fn new(series: Series, mut log: Option<HistogramLog>, begin_ns: u64) -> Self {
        if let Some(log) = &mut log {
            log.begin(begin_ns);
        }
        Self { series, log }
    }

    pub(crate) fn done(&mut self, done: Done) {
        self.series.done(done.due_ns, done.now_ns);
        if let (Some(latency_ns), Some(log)) = (done.latency_ns, &mut self.log) {
            log.record(done.operation, latency_ns);
        }
    }

    /// A command was sent again.
    pub(crate) fn sent_again(&mut self, now_ns: u64) {
        self.series.sent_again(now_ns);
    }

    /// A command was given up.
    pub(crate) fn lost(&mut self, now_ns: u64) {
        self.series.lost(now_ns);
    }

    /// To be called several times a second while measuring.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        if let Some(log) = &mut self.log {
            log.advance(now_ns);
        }
    }

    /// Measuring ends ahead of time.
    pub(crate) fn stop(&mut self, now_ns: u64) {
        self.series.stop(now_ns);
    }

    /// All commands that were measured have ended.
    pub(crate) fn end(&mut self, now_ns: u64) -> Result<()> {
        self.log.as_mut().map_or(Ok(()), |log| log.end(now_ns))
    }

    pub(crate) fn into_parts(self) -> (Vec<Row>, Option<HistogramLog>) {
        (self.series.into_rows(), self.log)
    }
}

//! The result for people.

use super::{
    Counts, Figures, KindReport, LatencyReport, LunReport, Report, TargetReport, VerifyReport,
};
use crate::line_rate;
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self
            .targets
            .iter()
            .map(|part| format!("e{}", part.target))
            .collect();
        write!(
            f,
            "{} on {} ({}): ",
            names.join(", "),
            self.interface,
            self.mode
        )?;
        match &self.lun {
            Some(lun) => writeln!(f, "{lun}")?,
            None => writeln!(f, "{} targets", self.targets.len())?,
        }
        write!(
            f,
            "{} {}, {} bytes, depth {}",
            self.pattern, self.operation, self.size_bytes, self.depth
        )?;
        if let Some(rate) = self.rate {
            // Whole numbers, but of the slowest.
            let digits = if rate < 100.0 { 2 } else { 0 };
            write!(f, ", {rate:.digits$} commands/s asked for")?;
        }
        writeln!(f, ", {:.2} s, seed {}", self.seconds, self.seed)?;
        self.figures.lines(f)?;
        for share in line_rate::distinct(&self.figures.line_rate) {
            writeln!(f, "{share}")?;
        }
        self.counts.lines(f, self.rate.is_some())?;
        if self.targets.len() > 1 {
            for part in &self.targets {
                part.lines(f, self.rate.is_some())?;
            }
        }
        if let Some(watched) = &self.watched {
            write!(f, "{watched}")?;
        }
        if self.interrupted {
            write!(f, "\ninterrupted before the end")?;
        }
        Ok(())
    }
}

impl TargetReport {
    fn lines(&self, f: &mut fmt::Formatter<'_>, open_loop: bool) -> fmt::Result {
        writeln!(f, "\ne{}: {}, depth {}", self.target, self.lun, self.depth)?;
        self.figures.lines(f)?;
        self.counts.lines(f, open_loop)
    }
}

impl fmt::Display for LunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} sectors", self.model, self.sectors)
    }
}

impl Counts {
    fn lines(&self, f: &mut fmt::Formatter<'_>, open_loop: bool) -> fmt::Result {
        write!(
            f,
            "retransmissions {}, lost {}, errors {}, duplicates {}, unexpected {}",
            self.retransmissions, self.lost, self.errors, self.duplicates, self.unexpected
        )?;
        if open_loop {
            write!(f, ", due but never started {}", self.overdue)?;
        }
        if let Some(verify) = &self.verify {
            writeln!(f)?;
            verify.line(f)?;
        }
        Ok(())
    }
}

impl Figures {
    fn lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, kind) in [("read", &self.read), ("write", &self.write)] {
            if let Some(kind) = kind {
                kind.line(f, name)?;
            }
        }
        Ok(())
    }
}

impl KindReport {
    fn line(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let LatencyReport {
            p50,
            p90,
            p99,
            p999,
            max,
            ..
        } = self.latency_us;
        writeln!(
            f,
            "{name:<5} {:>9.0} IOPS {:>8.1} MB/s ({})   latency us: \
             p50 {p50:.1}  p90 {p90:.1}  p99 {p99:.1}  p99.9 {p999:.1}  max {max:.1}",
            self.iops,
            self.mb_per_s,
            line_rate::short(&self.line_rate)
        )
    }
}

impl VerifyReport {
    fn line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "verified {} sectors ({} of them never stamped): ",
            self.sectors, self.unknown
        )?;
        if self.faults > 0 {
            return write!(
                f,
                "WRONG DATA: {} at a wrong LBA, {} stale, {} never issued, {} foreign, {} corrupt; {} torn reads",
                self.wrong_lba,
                self.stale,
                self.unissued,
                self.foreign,
                self.corrupt,
                self.torn_reads
            );
        }
        if self.sectors == self.unknown {
            return write!(f, "NOTHING TO CHECK, no sector has a stamp");
        }
        write!(f, "all correct")
    }
}

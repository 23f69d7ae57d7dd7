//! How long a CPU is taken away from a program that never gives it up: `corebench stalls`.
//!
//! The program reads the clock without a pause. Between two readings lie some tens of nanoseconds; a *gap*
//! is a distance of more than 20 µs. In a gap the CPU did something else: an interrupt, another program of
//! this machine, or, on a virtual machine, whatever the host did meanwhile, which no clock of the guest tells
//! of. The kernel does tell how long the program waited for others of the same machine (`waited_part`): what
//! is left of the gaps is interrupts and the host.
//!
//! A program that answers requests is stopped in the same way, so whoever asks in a gap waits for its end:
//! `late_part` is the part of the time in which a request that comes is late however fast it is served.

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Shorter distances are caches and interrupts of the timer.
const GAP_NS_MIN: u64 = 20_000;
/// Powers of two from [`GAP_NS_MIN`] on; the last octave begins with more than five seconds.
const OCTAVES: usize = 19;

/// What to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// For how long
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// CPU to which the program is pinned; without it, whichever it is given
    #[arg(long)]
    cpu: Option<usize>,
    /// From which time on a request counts as late, in microseconds
    #[arg(long, default_value_t = 423)]
    late_us: u64,
}

/// What was seen.
#[derive(Serialize, Debug)]
struct Report {
    cpu: Option<usize>,
    seconds: f64,
    gaps: u64,
    /// Gaps together, as part of the time.
    gaps_part: f64,
    /// How long the program was ready to run and others of this machine ran, as part of the time. These are
    /// gaps, too.
    waited_part: f64,
    longest_us: f64,
    late_us: u64,
    /// Part of the time in which what comes has to wait for longer than `late_us`.
    late_part: f64,
    /// Octaves of gaps that there were.
    histogram: Vec<Octave>,
}

/// Gaps of at least `from_us`, and of less than twice that.
#[derive(Serialize, PartialEq, Debug)]
struct Octave {
    from_us: u64,
    gaps: u64,
    /// Together, as part of the time.
    part: f64,
}

/// Gaps so far.
#[derive(Clone, Copy, Default, Debug)]
struct Gaps {
    counts: [u64; OCTAVES],
    sums_ns: [u64; OCTAVES],
    longest_ns: u64,
    late_ns: u64,
}

impl Gaps {
    /// A distance of two readings of the clock.
    fn note(&mut self, distance_ns: u64, late_ns: u64) {
        if distance_ns <= GAP_NS_MIN {
            return;
        }
        let octave = ((distance_ns / GAP_NS_MIN).ilog2() as usize).min(OCTAVES - 1);
        self.counts[octave] += 1;
        self.sums_ns[octave] += distance_ns;
        self.longest_ns = self.longest_ns.max(distance_ns);
        self.late_ns += distance_ns.saturating_sub(late_ns);
    }

    fn report(&self, arguments: &Arguments, elapsed_ns: u64, waited_ns: u64) -> Report {
        let part = |ns: u64| ns as f64 / elapsed_ns as f64;
        let octave = |(index, gaps): (usize, &u64)| Octave {
            from_us: (GAP_NS_MIN << index) / 1000,
            gaps: *gaps,
            part: part(self.sums_ns[index]),
        };
        let octaves = self.counts.iter().enumerate().map(octave);
        Report {
            cpu: arguments.cpu,
            seconds: elapsed_ns as f64 / 1e9,
            gaps: self.counts.iter().sum(),
            gaps_part: part(self.sums_ns.iter().sum()),
            waited_part: part(waited_ns),
            longest_us: self.longest_ns as f64 / 1e3,
            late_us: arguments.late_us,
            late_part: part(self.late_ns),
            histogram: octaves.filter(|octave| octave.gaps > 0).collect(),
        }
    }
}

/// Measures, and prints one JSON object.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.seconds > 0.0 && arguments.seconds < 1e6,
        "--seconds {}: expected a time",
        arguments.seconds
    );
    if let Some(cpu) = arguments.cpu {
        let mut cpus = CpuSet::new();
        ensure!(cpu < CpuSet::MAX_CPU, "--cpu {cpu}: there is no such CPU");
        cpus.set(cpu);
        sched_setaffinity(None, &cpus).with_context(|| format!("--cpu {cpu}"))?;
    }
    let (elapsed_ns, gaps, waited_ns) = spin(arguments)?;
    let report = gaps.report(arguments, elapsed_ns, waited_ns);
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// How long it took, the gaps, and how long others of this machine ran instead.
fn spin(arguments: &Arguments) -> Result<(u64, Gaps, u64)> {
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let limit = ns(Duration::from_secs_f64(arguments.seconds));
    let late_ns = arguments.late_us.saturating_mul(1000);
    let mut gaps = Gaps::default();
    let waited_before = waited_ns()?;
    let begun = Instant::now();
    let mut last_ns = 0;
    while last_ns < limit {
        let now_ns = ns(begun.elapsed());
        gaps.note(now_ns - last_ns, late_ns);
        last_ns = now_ns;
    }
    Ok((last_ns, gaps, waited_ns()? - waited_before))
}

/// How long this thread has been ready to run and did not, since its start.
fn waited_ns() -> Result<u64> {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path).context(path)?;
    let waited = text.split_whitespace().nth(1);
    let waited = waited.with_context(|| format!("{path}: {text:?}"))?;
    waited.parse().with_context(|| format!("{path}: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGUMENTS: Arguments = Arguments {
        seconds: 1.0,
        cpu: Some(1),
        late_us: 423,
    };

    #[test]
    fn gaps_are_told_by_octave_and_what_comes_in_them_is_late_but_for_their_end() {
        let mut gaps = Gaps::default();
        for distance_us in [19, 20, 21, 39, 40, 1423, 60_000_000] {
            gaps.note(distance_us * 1000, 423_000);
        }
        let report = gaps.report(&ARGUMENTS, 100_000_000_000, 50_000_000);
        assert_eq!((report.gaps, report.longest_us), (5, 6e7));
        assert!((report.gaps_part - 0.600_015_23).abs() < 1e-9, "{report:?}");
        // 1000 µs of one, all but 423 µs of the other.
        assert!((report.late_part - 0.600_005_77).abs() < 1e-9, "{report:?}");
        assert!((report.waited_part - 0.0005).abs() < 1e-12, "{report:?}");
        let octaves: Vec<_> = report
            .histogram
            .iter()
            .map(|o| (o.from_us, o.gaps))
            .collect();
        assert_eq!(octaves, [(20, 2), (40, 1), (1280, 1), (5_242_880, 1)]);
    }

    #[test]
    fn a_spinning_program_takes_its_time_and_tells_of_it() {
        let arguments = Arguments {
            seconds: 0.05,
            ..ARGUMENTS
        };
        let (elapsed_ns, gaps, waited_ns) = spin(&arguments).unwrap();
        assert!(elapsed_ns >= 50_000_000);
        assert!(gaps.sums_ns.iter().sum::<u64>() <= elapsed_ns);
        // A stop by others of this machine is a gap, unless it is shorter than one.
        assert!(waited_ns <= elapsed_ns + GAP_NS_MIN, "{waited_ns}");
    }
}

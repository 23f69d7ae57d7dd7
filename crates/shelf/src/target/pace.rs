//! How fast passes go beside clients.
//!
//! While clients are idle a pass has as many steps in flight as keep its drives busy. Beside clients
//! their number follows the latency that clients see: a little more while the slowest hundredth of the
//! commands takes no more than twice as long as without a pass, half as many when it takes longer. What
//! it takes without one is seen in short pauses. What a pass gets done grows with its steps in flight,
//! but ever less, so that an eighth of them ([`STEPS_BUSY`] of [`STEPS_IDLE`]) gets more than a tenth of
//! it done: that is the floor.
//!
//! An administrator may set a ceiling besides, [`RateLimit`], for each pass.
//!
//! Without a clock ([`super::Target::set_now`]) nothing is learned: passes stay at the floor while
//! clients are busy.

use crate::latency::Latencies;
use crate::plane::RateLimit;

/// Steps in flight while clients are idle: enough to keep both ends of a mirror busy.
pub(super) const STEPS_IDLE: usize = 32;
/// Least steps in flight while clients have commands of their own.
pub(super) const STEPS_BUSY: usize = 4;

const MS: u64 = 1_000_000;
/// From one pause to the next.
const PAUSE_INTERVAL_NS: u64 = 1000 * MS;
/// How long a pause is, if enough commands end in it.
const PAUSE_NS: u64 = 40 * MS;
/// How long it is at most.
const PAUSE_MAX_NS: u64 = 200 * MS;
/// How often the number of steps changes.
const INTERVAL_NS: u64 = 100 * MS;
/// Commands that tell enough.
const SAMPLES_MIN: u32 = 30;
/// Clients that did nothing for so long are idle.
const IDLE_NS: u64 = 200 * MS;
/// So much more latency is never too much: what a drive needs for one more I/O.
const SLACK_NS: u64 = MS / 5;
/// A pass may make up for so much time in which it did nothing.
const BURST_NS: u64 = 50 * MS;

/// The pace of the passes of a worker.
#[derive(Debug)]
pub(super) struct Pace {
    now_ns: u64,
    steps: usize,
    /// What the slowest hundredth of the clients' commands takes without passes; 0 before it is known.
    usual_ns: u64,
    seen: Latencies,
    /// When the present interval or pause began.
    since_ns: u64,
    is_pause: bool,
    next_pause_ns: u64,
    last_command_ns: u64,
    limit: RateLimit,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self {
            now_ns: 0,
            steps: STEPS_BUSY,
            usual_ns: 0,
            seen: Latencies::new(),
            since_ns: 0,
            is_pause: false,
            next_pause_ns: 0,
            last_command_ns: 0,
            limit: RateLimit::NONE,
        }
    }

    pub(super) const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    pub(super) const fn limit(&self) -> RateLimit {
        self.limit
    }

    pub(super) const fn set_limit(&mut self, limit: RateLimit) {
        self.limit = limit;
    }

    pub(super) const fn set_now(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// A client's command that came at `since_ns` is answered.
    pub(super) fn answered(&mut self, since_ns: u64) {
        self.last_command_ns = self.now_ns;
        // What began before a pause, or in it and ended behind it, tells of neither.
        if since_ns >= self.since_ns {
            self.seen.record(self.now_ns - since_ns);
        }
    }

    /// Whether no step is to begin: what clients see without them is being measured.
    pub(super) const fn is_pause(&self) -> bool {
        self.is_pause
    }

    /// How many steps may be in flight beside clients.
    pub(super) const fn steps(&self) -> usize {
        self.steps
    }

    /// Follows the clients. To be called while a pass runs.
    pub(super) fn follow(&mut self) {
        if self.now_ns == 0 {
            return;
        }
        let age_ns = self.now_ns.saturating_sub(self.since_ns);
        let is_idle = self.now_ns >= self.last_command_ns + IDLE_NS;
        if is_idle {
            self.is_pause = false;
            self.next_pause_ns = self.now_ns;
        } else if self.is_pause {
            let is_enough = age_ns >= PAUSE_NS && self.seen.total() >= SAMPLES_MIN;
            if is_enough || age_ns >= PAUSE_MAX_NS {
                if let Some(p99_ns) = self.seen.p99_of(1) {
                    // One pause may have been unlucky.
                    let known = if self.usual_ns == 0 {
                        p99_ns
                    } else {
                        self.usual_ns
                    };
                    self.usual_ns = (3 * known + p99_ns) / 4;
                }
                self.is_pause = false;
                self.next_pause_ns = self.now_ns + PAUSE_INTERVAL_NS;
                self.begin();
            }
        } else if self.now_ns >= self.next_pause_ns {
            self.is_pause = true;
            self.begin();
        } else if age_ns >= INTERVAL_NS {
            if let Some(p99_ns) = self.seen.p99_of(SAMPLES_MIN) {
                self.steps = if p99_ns > 2 * self.usual_ns + SLACK_NS {
                    (self.steps / 2).max(STEPS_BUSY)
                } else {
                    (self.steps + 1).min(STEPS_IDLE)
                };
            }
            self.begin();
        }
    }

    fn begin(&mut self) {
        self.since_ns = self.now_ns;
        self.seen = Latencies::new();
    }
}

/// What a pass may go over now, by the ceiling that is set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Allowance {
    bytes: u64,
    since_ns: u64,
}

impl Allowance {
    /// Whether a step that goes over so many bytes of each of the drives may begin. If so, it has.
    pub(super) fn take(&mut self, pace: &Pace, drive_bytes: u64, drives: u64) -> bool {
        let (limit, cost) = match pace.limit {
            RateLimit {
                bytes_per_second: 0,
                ..
            } => return true,
            RateLimit {
                bytes_per_second,
                is_per_drive: true,
            } => (bytes_per_second, drive_bytes),
            RateLimit {
                bytes_per_second,
                is_per_drive: false,
            } => (bytes_per_second, drive_bytes * drives),
        };
        let elapsed_ns = pace.now_ns.saturating_sub(self.since_ns).min(BURST_NS);
        let earned = u128::from(limit) * u128::from(elapsed_ns) / 1_000_000_000;
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        if earned > 0 {
            self.since_ns = pace.now_ns;
            // Even the slowest pass saves up for one step.
            let most = u64::try_from(u128::from(limit) * u128::from(BURST_NS) / 1_000_000_000);
            self.bytes = (self.bytes + earned).min(most.unwrap_or(u64::MAX).max(cost));
        }
        let is_enough = self.bytes >= cost;
        self.bytes -= if is_enough { cost } else { 0 };
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands of this latency for so long, a thousand a second.
    fn serve(pace: &mut Pace, ms: u64, latency_us: impl Fn(&Pace) -> u64) {
        for _ in 0..ms {
            let now_ns = pace.now_ns() + MS;
            pace.set_now(now_ns);
            let latency_ns = latency_us(pace) * 1000;
            pace.answered(now_ns.saturating_sub(latency_ns));
            pace.follow();
        }
    }

    #[test]
    fn steps_grow_while_clients_do_not_feel_them_and_halve_when_they_do() {
        let mut pace = Pace::new();
        serve(&mut pace, 8000, |_| 400);
        assert_eq!(pace.steps(), STEPS_IDLE);
        // 400 us without steps, and 100 us more for each: less than 9 are not twice as slow.
        let felt = |pace: &Pace| {
            if pace.is_pause() {
                400
            } else {
                400 + 100 * pace.steps() as u64
            }
        };
        serve(&mut pace, 2000, felt);
        for _ in 0..50 {
            serve(&mut pace, 100, felt);
            assert!((STEPS_BUSY..=9).contains(&pace.steps()), "{}", pace.steps());
        }
        serve(
            &mut pace,
            3000,
            |pace| if pace.is_pause() { 400 } else { 50_000 },
        );
        assert_eq!(pace.steps(), STEPS_BUSY, "the floor");
    }

    #[test]
    fn pauses_are_a_small_part_of_the_time_and_none_for_idle_clients() {
        let mut pace = Pace::new();
        let mut paused = 0;
        for _ in 0..10_000 {
            serve(&mut pace, 1, |_| 300);
            paused += u64::from(pace.is_pause());
        }
        assert!((100..=600).contains(&paused), "{paused} ms of 10 s");
        for ms in 0..1000 {
            pace.set_now(pace.now_ns() + MS);
            pace.follow();
            assert!(ms < 250 || !pace.is_pause());
        }
    }

    #[test]
    fn without_a_clock_passes_stay_at_the_floor() {
        let mut pace = Pace::new();
        for _ in 0..1000 {
            pace.answered(0);
            pace.follow();
            assert!(!pace.is_pause());
        }
        assert_eq!(pace.steps(), STEPS_BUSY);
    }

    #[test]
    fn a_ceiling_holds_for_each_pass_and_is_made_use_of() {
        for (is_per_drive, drives, expected) in [(true, 5, 100), (false, 4, 25), (false, 1, 100)] {
            let mut pace = Pace::new();
            pace.set_limit(RateLimit {
                bytes_per_second: 100 * 8192,
                is_per_drive,
            });
            let mut allowance = Allowance::default();
            let mut begun = 0;
            for _ in 0..1000 {
                pace.set_now(pace.now_ns() + MS);
                while allowance.take(&pace, 8192, drives) {
                    begun += 1;
                }
            }
            assert!(
                (expected - 2..=expected + 2).contains(&begun),
                "{begun} of {expected}"
            );
        }
        let pace = Pace::new();
        assert!((0..1000).all(|_| Allowance::default().take(&pace, 1 << 40, 36)));
    }
}

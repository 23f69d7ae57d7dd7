//! What a worker does when there is nothing to do: it polls for a while, then sleeps.
//!
//! A sleep and its end cost a round trip some 25 to 60 microseconds on a virtual machine, and less on iron. A
//! worker that polls for about as long before it sleeps loses at most as much again as one that knew what
//! comes: hence the 50 microseconds of the daemon's default, the budget of idling. Under load there is always
//! work within it, and no turn ends in a sleep.
//!
//! Invariants:
//! * between a turn that found work and a sleep lie a turn that found none, and as long as is polled for;
//! * with [`Spin::Always`] there is no sleep.

use std::time::Duration;

/// How long a worker polls without work before it sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spin {
    /// So long; zero for not at all.
    For(Duration),
    /// It never sleeps: busy polling, for a CPU that nobody else wants.
    Always,
}

/// Since when there is nothing to do.
#[derive(Debug)]
pub(super) struct Idle {
    /// `None` for ever.
    spin_ns: Option<u64>,
    since_ns: Option<u64>,
}

impl Idle {
    pub(super) fn new(spin: Spin) -> Self {
        let spin_ns = match spin {
            Spin::For(time) => Some(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            Spin::Always => None,
        };
        Self {
            spin_ns,
            since_ns: None,
        }
    }

    /// A turn found work.
    pub(super) const fn had_work(&mut self) {
        self.since_ns = None;
    }

    /// Whether it polls at all before it sleeps.
    pub(super) const fn polls(&self) -> bool {
        !matches!(self.spin_ns, Some(0))
    }

    /// A turn that began at `now_ns` found no work: whether to sleep, after it has polled for `at_least` so
    /// long. The count begins anew after that.
    pub(super) fn had_none(&mut self, now_ns: u64, at_least: Duration) -> bool {
        let since_ns = *self.since_ns.get_or_insert(now_ns);
        let at_least_ns = u64::try_from(at_least.as_nanos()).unwrap_or(u64::MAX);
        let is_over = |spin_ns: u64| now_ns.saturating_sub(since_ns) >= spin_ns.max(at_least_ns);
        let sleeps = self.spin_ns.is_some_and(is_over);
        if sleeps {
            self.since_ns = None;
        }
        sleeps
    }
}

/// What a turn of the loop came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// It found work.
    Work,
    /// It found none, and the next one began at once.
    None,
    /// It found none, and the worker slept.
    Sleep,
}

/// What the time of a worker went to: each turn, until the next one begins, is of the kind that it came to.
/// The clock is not looked at for it.
#[derive(Debug)]
pub(super) struct Spent {
    /// The turn that is not added up yet.
    last: Turn,
    sums_ns: [u64; 3],
}

impl Spent {
    pub(super) const fn new() -> Self {
        Self {
            last: Turn::None,
            sums_ns: [0; 3],
        }
    }

    /// The turn came to this.
    pub(super) const fn ended(&mut self, turn: Turn) {
        self.last = turn;
    }

    /// The next turn begins, so long after it.
    pub(super) const fn add(&mut self, ns: u64) {
        self.sums_ns[self.last as usize] += ns;
    }

    pub(super) const fn working_ns(&self) -> u64 {
        self.sums_ns[Turn::Work as usize]
    }

    pub(super) const fn polling_ns(&self) -> u64 {
        self.sums_ns[Turn::None as usize]
    }

    pub(super) const fn sleeping_ns(&self) -> u64 {
        self.sums_ns[Turn::Sleep as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;

    #[test]
    fn it_polls_as_long_as_it_is_told_after_the_last_work() {
        let mut idle = Idle::new(Spin::For(Duration::from_micros(50)));
        let asked = [0, 10_000, 49_999].map(|now_ns| idle.had_none(now_ns, NONE));
        assert_eq!(asked, [false; 3]);
        idle.had_work();
        let asked = [60_000, 100_000, 110_000].map(|now_ns| idle.had_none(now_ns, NONE));
        assert_eq!(asked, [false, false, true]);
        assert!(
            !idle.had_none(110_001, NONE),
            "after a sleep it polls again"
        );
    }

    #[test]
    fn time_is_of_what_its_turn_came_to() {
        let mut spent = Spent::new();
        for (turn, ns) in [
            (Turn::Work, 5),
            (Turn::None, 1),
            (Turn::None, 2),
            (Turn::Sleep, 100),
            (Turn::Work, 7),
        ] {
            spent.ended(turn);
            spent.add(ns);
        }
        let sums = (spent.working_ns(), spent.polling_ns(), spent.sleeping_ns());
        assert_eq!(sums, (12, 3, 100));
    }

    #[test]
    fn while_drives_have_io_it_polls_longer() {
        let mut idle = Idle::new(Spin::For(Duration::from_micros(50)));
        let long = Duration::from_micros(250);
        let asked = [0, 60_000, 249_999, 250_000].map(|now_ns| idle.had_none(now_ns, long));
        assert_eq!(asked, [false, false, false, true]);
    }

    #[test]
    fn without_a_spin_the_first_idle_turn_ends_in_a_sleep() {
        let mut idle = Idle::new(Spin::For(Duration::ZERO));
        assert!(idle.had_none(5, NONE));
        assert!(idle.had_none(6, NONE));
        assert!(!idle.polls());
    }

    #[test]
    fn busy_polling_never_ends_in_a_sleep() {
        let mut idle = Idle::new(Spin::Always);
        assert!(!idle.had_none(0, NONE));
        assert!(!idle.had_none(u64::MAX, NONE));
    }
}

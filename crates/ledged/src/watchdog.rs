//! The watchdog of systemd: fed only while every worker takes turns.
//!
//! * A worker that hangs is not fed for, and systemd starts the daemon anew: initiators wait meanwhile.
//! * A drive that hangs is none of this: workers go on without it. So the administration, which may wait for
//!   drives, is not asked; to look at a worker waits for nobody.

use crate::threads::spawn;
use engine::Heartbeats;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often it is fed within the time that systemd gives: as its manual wants.
const MEALS: u32 = 2;

/// That the daemon is about to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending(Arc<AtomicBool>);

impl Ending {
    /// From now on workers may end. How long that takes is limited by systemd's `TimeoutStopSec`.
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Feeds from now on, if systemd waits for it.
pub(crate) fn start(heartbeats: Heartbeats, ending: Ending) -> anyhow::Result<()> {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return Ok(());
    };
    let pause = limit / MEALS;
    tracing::info!("watchdog: systemd is told every {pause:?} that the workers take turns");
    spawn("watchdog", move || feed(&heartbeats, &ending, pause))
}

fn feed(heartbeats: &Heartbeats, ending: &Ending, pause: Duration) {
    let mut before = heartbeats.counts();
    loop {
        std::thread::sleep(pause);
        let now = heartbeats.counts();
        let still = still(&before, &now);
        if still.is_empty() || ending.has_begun() {
            drop(sd_notify::notify(&[sd_notify::NotifyState::Watchdog]));
        } else {
            tracing::error!(
                "workers {still:?} have taken no turn for {pause:?}: systemd starts the shelf anew if that lasts"
            );
        }
        before = now;
    }
}

/// Which have not moved.
fn still(before: &[u64], now: &[u64]) -> Vec<usize> {
    let pairs = before.iter().zip(now).enumerate();
    let still = pairs.filter(|(_, (before, now))| before == now);
    still.map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_that_stands_still_is_enough() {
        assert_eq!(still(&[1, 2], &[2, 3]), [0; 0]);
        assert_eq!(still(&[1, 2], &[1, 3]), [0]);
        // A count that wraps has moved, too.
        assert_eq!(still(&[u64::MAX, 2], &[0, 2]), [1]);
    }
}

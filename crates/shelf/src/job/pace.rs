//! How fast a job may go.

use std::time::Duration;

/// Of the time of a drive that clients use, a job takes one part in this many.
const GENTLE_PARTS: u32 = 4;

/// How fast a job may go.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Pace {
    /// The most bytes that it goes over in a second; 0 for as many as can be.
    pub bytes_per_second: u64,
    /// Clients use the drive, too: it leaves them most of its time.
    pub is_gentle: bool,
}

impl Pace {
    /// How long to do nothing after a step over so many bytes that took so long.
    #[must_use]
    pub fn pause(&self, bytes: u64, took: Duration) -> Duration {
        let gentle = if self.is_gentle {
            took * (GENTLE_PARTS - 1)
        } else {
            Duration::ZERO
        };
        let due = u128::from(bytes) * 1_000_000_000;
        let due = due.checked_div(u128::from(self.bytes_per_second));
        let due = due.map_or(Duration::ZERO, |nanos| {
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        });
        gentle.max(due.saturating_sub(took))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_and_clients_get_most_of_a_drive() {
        let ms = Duration::from_millis;
        let mib = 1 << 20;
        assert_eq!(Pace::default().pause(mib, ms(5)), Duration::ZERO);
        let limited = Pace {
            bytes_per_second: 10 * mib,
            is_gentle: false,
        };
        assert_eq!(limited.pause(mib, ms(40)), ms(60));
        assert_eq!(limited.pause(mib, ms(140)), Duration::ZERO);
        let gentle = Pace {
            is_gentle: true,
            ..Pace::default()
        };
        assert_eq!(gentle.pause(mib, ms(5)), ms(15));
        let both = Pace {
            is_gentle: true,
            ..limited
        };
        assert_eq!(both.pause(mib, ms(5)), ms(95));
        assert_eq!(both.pause(mib, ms(50)), ms(150));
        let crawling = Pace {
            bytes_per_second: 1,
            is_gentle: false,
        };
        assert_eq!(
            crawling.pause(mib, ms(0)),
            Duration::from_secs(mib),
            "however long"
        );
    }
}

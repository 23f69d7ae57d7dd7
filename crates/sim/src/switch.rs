//! The switch: frames are lost, doubled, late and out of order, in both directions.

use crate::random::Random;

/// Microseconds of the virtual clock.
pub type Micros = u64;

/// How frames fare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switch {
    /// Of a thousand frames, so many are lost.
    pub lost: u64,
    /// So many arrive twice.
    pub doubled: u64,
    /// So many are late, and are overtaken.
    pub late: u64,
}

/// Longest time that a late frame is under way.
const LATE_MAX: Micros = 8_000;

impl Switch {
    /// A switch that does no harm.
    pub const GOOD: Self = Self {
        lost: 0,
        doubled: 0,
        late: 0,
    };

    /// A switch of some run.
    pub fn random(random: &mut Random) -> Self {
        let mut rate = |rates: &[u64]| random.pick(rates);
        Self {
            lost: rate(&[0, 0, 5, 30]),
            doubled: rate(&[0, 0, 10, 40]),
            late: rate(&[0, 20, 100]),
        }
    }

    /// When the copies of a frame arrive: none, one or two delays.
    pub fn deliver(&self, random: &mut Random) -> Vec<Micros> {
        let copies = if random.chance(self.lost) {
            0
        } else {
            1 + usize::from(random.chance(self.doubled))
        };
        let mut delays = Vec::with_capacity(copies);
        for _ in 0..copies {
            let late = random.chance(self.late);
            delays.push(if late {
                random.between(200..=LATE_MAX)
            } else {
                random.between(10..=30)
            });
        }
        delays
    }
}

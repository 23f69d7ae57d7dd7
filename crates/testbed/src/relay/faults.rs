//! Which frames a wire loses, repeats and delays: a function of a seed, the direction and the number
//! of the frame.

use std::time::Duration;

use super::Direction;

/// The longest delay. Longer than what dozens of frames take, so that a delayed one is overtaken; so
/// short that an initiator is not through with its command and has written the same place again, which
/// no target can survive: AoE has nothing by which a write could be known to be an old one.
const DELAY_MS_MAX: u64 = 10;

/// How a wire misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    seed: u64,
    /// One frame in so many is lost, another one repeated, and a third one delayed; 0: none.
    one_in: u64,
}

/// What happens to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    Forward,
    Drop,
    Duplicate,
    Delay(Duration),
}

impl Faults {
    /// A wire that carries everything.
    pub const NONE: Self = Self { seed: 0, one_in: 0 };

    /// In each direction, on average, one frame in `one_in` is dropped, one sent twice, and one
    /// delayed by 1 to 10 ms.
    ///
    /// # Panics
    /// `one_in` is less than 3: there is no room for the three kinds.
    #[must_use]
    pub const fn one_in(one_in: u64, seed: u64) -> Self {
        assert!(one_in >= 3, "each kind of fault takes one frame");
        Self { seed, one_in }
    }

    pub(super) fn treatment(self, direction: Direction, number: u64) -> Treatment {
        if self.one_in == 0 {
            return Treatment::Forward;
        }
        let dice = mix(mix(self.seed ^ ((direction as u64) << 63)) ^ number);
        match dice % self.one_in {
            0 => Treatment::Drop,
            1 => Treatment::Duplicate,
            2 => {
                let ms = 1 + (dice >> 32) % DELAY_MS_MAX;
                Treatment::Delay(Duration::from_millis(ms))
            }
            _ => Treatment::Forward,
        }
    }
}

/// A bijection that leaves no trace of the order of its arguments (the finaliser of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(faults: Faults, direction: Direction) -> [u32; 4] {
        let mut counts = [0; 4];
        for number in 0..1_000_000 {
            let kind = match faults.treatment(direction, number) {
                Treatment::Forward => 0,
                Treatment::Drop => 1,
                Treatment::Duplicate => 2,
                Treatment::Delay(delay) => {
                    assert!((1..=10).contains(&delay.as_millis()));
                    3
                }
            };
            counts[kind] += 1;
        }
        counts
    }

    #[test]
    fn each_kind_of_fault_meets_one_frame_in_a_thousand() {
        for direction in [Direction::ToTarget, Direction::ToClient] {
            let [_, faults @ ..] = counts(Faults::one_in(1000, 7), direction);
            assert!(
                faults.iter().all(|count| (850..1150).contains(count)),
                "{faults:?}"
            );
        }
        assert_eq!(
            counts(Faults::NONE, Direction::ToTarget),
            [1_000_000, 0, 0, 0]
        );
    }

    #[test]
    fn seeds_and_directions_meet_other_frames() {
        let dropped = |seed, direction| -> Vec<u64> {
            let faults = Faults::one_in(1000, seed);
            let lost = |number: &u64| faults.treatment(direction, *number) == Treatment::Drop;
            (0..100_000).filter(lost).collect()
        };
        let first = dropped(1, Direction::ToTarget);
        assert_eq!(first, dropped(1, Direction::ToTarget));
        assert_ne!(first, dropped(1, Direction::ToClient));
        assert_ne!(first, dropped(2, Direction::ToTarget));
    }
}

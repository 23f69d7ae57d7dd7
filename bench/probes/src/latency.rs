//! How long drives take, in powers of two of nanoseconds.

use crate::names;
use std::collections::BTreeMap;

/// A key of the map `latencies`: device, operation, bucket.
pub(crate) type Key = [u32; 3];

/// Bits of the minor number in the kernel's number of a device.
const MINOR_BITS: u32 = 20;
/// Buckets: every time that 64 bits can hold.
const BUCKETS: usize = 64;

/// The requests of one kind to one drive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriveLatency {
    /// The name of the drive, such as `nvme0n1`.
    pub drive: String,
    /// What was done: `read`, `write`, `flush` and so on.
    pub operation: &'static str,
    /// How many requests took 2^n nanoseconds or more, and less than twice as many, for every n.
    pub buckets: [u64; BUCKETS],
}

impl DriveLatency {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Nanoseconds below which this part of the requests stayed: the upper end of a bucket, so at most twice
    /// too long.
    #[must_use]
    pub fn below_ns(&self, part: f64) -> u64 {
        let wanted = (self.count() as f64 * part).ceil() as u64;
        let mut so_far = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            so_far += count;
            if so_far >= wanted && so_far > 0 {
                return 1u64.checked_shl(bucket as u32 + 1).unwrap_or(u64::MAX);
            }
        }
        0
    }
}

/// The kernel's `enum req_op`.
const fn operation(code: u32) -> &'static str {
    match code {
        0 => "read",
        1 => "write",
        2 => "flush",
        3 => "discard",
        9 => "write zeroes",
        _ => "other",
    }
}

/// The counts by drive and operation.
pub(crate) fn drives(counted: &[(Key, u64)]) -> Vec<DriveLatency> {
    let mut by_kind: BTreeMap<(u32, &str), [u64; BUCKETS]> = BTreeMap::new();
    for &([device, code, bucket], count) in counted {
        let buckets = by_kind
            .entry((device, operation(code)))
            .or_insert([0; BUCKETS]);
        if let Some(sum) = buckets.get_mut(bucket as usize) {
            *sum += count;
        }
    }
    let each = by_kind.into_iter();
    each.map(|((device, operation), buckets)| DriveLatency {
        drive: names::drive(device >> MINOR_BITS, device & ((1 << MINOR_BITS) - 1)),
        operation,
        buckets,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_requests_stays_below_the_end_of_its_bucket() {
        let counted = [
            ([259 << 20, 0, 10], 98),
            ([259 << 20, 0, 12], 1),
            ([259 << 20, 0, 20], 1),
            ([259 << 20, 1, 63], 2),
        ];
        let drives = drives(&counted);
        let [reads, writes] = drives.as_slice() else {
            panic!("reads and writes: {drives:?}");
        };
        assert_eq!((reads.operation, reads.count()), ("read", 100));
        assert_eq!(reads.below_ns(0.5), 2048);
        assert_eq!(reads.below_ns(0.99), 8192);
        assert_eq!(reads.below_ns(1.0), 2 << 20);
        assert_eq!((writes.operation, writes.count()), ("write", 2));
        assert_eq!(writes.below_ns(0.5), u64::MAX);
    }
}

//! The data path allocates nothing after it has warmed up: every level and kind of request, counted.

use crate::lap::{Bench, Load};
use crate::luns::{self, Shape};
use crate::{RANDOM_WRITE, STREAM_READ, STREAM_WRITE};
use raid::Level;

const DISK_BYTES: u64 = 48 << 20;

/// More than all commands, pages and records that there are.
const REQUESTS: u64 = 8_000;

#[test]
fn nothing_is_allocated_for_a_request() {
    let one = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(one.count_total, 1, "allocations are counted at all");
    let mut bench = Bench::new(10, DISK_BYTES).unwrap();
    let levels = [
        (Level::Raid0, 0),
        (Level::Raid10, 0),
        (Level::Raid5, 0),
        (Level::Raid6, 0),
        (Level::Raid6, 2),
    ];
    let random_read = Load {
        is_random: true,
        ..STREAM_READ
    };
    for (number, (level, lost)) in (0u8..).zip(levels) {
        let shape = Shape {
            level,
            members: 10,
            lost,
            is_protected: true,
        };
        let (place, view) = luns::view(number, shape, DISK_BYTES).unwrap();
        bench.attach(view);
        // What one LUN leaves on the disks is no parity of the next: all of it is written first.
        let fill = place.capacity_sectors / 16;
        bench.lap(&place, STREAM_WRITE, fill).unwrap();
        for load in [STREAM_WRITE, RANDOM_WRITE, STREAM_READ, random_read] {
            bench.lap(&place, load, REQUESTS).unwrap();
            let counted = allocation_counter::measure(|| {
                bench.lap(&place, load, REQUESTS).unwrap();
            });
            assert_eq!(
                counted.count_total, 0,
                "{level:?}, {lost} lost, {load:?}: {counted:?}"
            );
        }
    }
}

//! Replies that are paced: by one worker and by several, which send by one and by two queues of an interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what went wrong by panicking"
)]

mod rig;

use port::{MemoryPort, Port, memory_pair};
use rig::{CLIENT, LIMIT, PORT, Start, counter, next_answer, read_of, send, whole_drive};
use shelf::pacing::BURST_BYTES;
use std::time::Instant;

/// Queues of an interface, and their other ends.
fn wire(queues: u8) -> (Vec<Box<dyn Port>>, Vec<MemoryPort>) {
    let (mut ours, mut theirs) = (Vec::<Box<dyn Port>>::new(), Vec::new());
    for _ in 0..queues {
        let (own, their) = memory_pair(PORT, CLIENT, 9000, 64).unwrap();
        ours.push(Box::new(own));
        theirs.push(their);
    }
    (ours, theirs)
}

#[test]
fn paced_data_of_one_owner_leaves_in_order() {
    for workers in [1, 2, 4] {
        let (ours, mut theirs) = wire(1);
        let start = Start {
            workers,
            pace: 10,
            commands: 64,
            view: whole_drive(),
            ..Start::default()
        };
        let workers = start.start(ours);
        // Sectors of the second worker, if there is one, while the first has the port.
        let first = shelf::shard::GROUP_SECTORS;
        for round in 0..2 {
            // 8 KiB each: a window is four times a burst.
            let places = (32 * round..32 * (round + 1)).map(|number| 4 * number);
            for place in places.clone() {
                send(&mut theirs[0], &read_of(first + place, 16));
            }
            for place in places {
                let (command, lba) = next_answer(&mut theirs[0]);
                assert_eq!((command, u64::from(lba)), (0, place));
            }
        }
        assert!(counter(&workers, "paced_replies") > 0);
        workers.stop();
    }
}

/// Mbit/s, and the reads of a station, 8 KiB each: they take 190 ms.
const PACE: u64 = 50;
const READS: u64 = 150;
/// With the header and what Ethernet adds.
const REPLY_BYTES: u64 = 36 + 8192 + 24;

/// Reads from all queues in turn, of sectors of all owners, and takes the time until all have come.
fn read_all(theirs: &mut [MemoryPort]) -> u64 {
    let begun = Instant::now();
    let (mut asked, mut answered) = (0, 0);
    while answered < READS {
        while asked < READS && asked - answered < 32 {
            let queue = usize::try_from(asked).unwrap() % theirs.len();
            // The next group each time: of another owner.
            let group = asked % 8;
            let lba = group * shelf::shard::GROUP_SECTORS + 16 * (asked / 8);
            send(&mut theirs[queue], &read_of(lba, 16));
            asked += 1;
        }
        for queue in &mut *theirs {
            queue.receive(64, &mut |frame| {
                assert_eq!(frame.len_bytes(), 36 + 8192);
                answered += 1;
            });
        }
        assert!(begun.elapsed() < LIMIT, "{answered} answers of {asked}");
    }
    u64::try_from(begun.elapsed().as_nanos()).unwrap()
}

#[test]
fn a_station_is_sent_no_faster_than_its_pace_whoever_sends_by_whichever_queue() {
    for workers in [1, 2, 4] {
        for queues in [1, 2] {
            let (ours, mut theirs) = wire(queues);
            let start = Start {
                workers,
                pace: PACE,
                commands: 64,
                view: whole_drive(),
                ..Start::default()
            };
            let workers = start.start(ours);
            let taken_ns = read_all(&mut theirs);
            let least_ns = (READS * REPLY_BYTES - BURST_BYTES) * 8000 / PACE;
            assert!(
                taken_ns >= least_ns,
                "{queues} queues: {taken_ns} ns, not {least_ns}"
            );
            assert!(counter(&workers, "paced_replies") > 0);
            workers.stop();
        }
    }
}

//! Workers that share a receive queue, each with a socket of its own on it, on a veth pair.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "the helpers are for other tests, too")]

mod net;

use net::{NEAR, Net, inside, next_frame};
use port::{BufferMemory, Mode, Opening, Port, RequestedMode, SharedMemory, Sharing};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

const MODES: [RequestedMode; 2] = [RequestedMode::Native, RequestedMode::Generic];
const GROUP: u64 = 2048;
const PAGE_BYTES: usize = 4096;
/// Replies of a worker that lend at a time, three pages each.
const SLOTS: usize = 8;
/// Frames at a time, few enough that the socket of the peer has room for all of them.
const WINDOW: usize = 8;

struct Shared {
    net: Net,
    buffers: Vec<BufferMemory>,
    ports: Vec<Box<dyn Port>>,
}

/// Opens an interface with so many queues for so many workers, and spreads LUN 0 among them.
fn open(mode: RequestedMode, queues: u32, workers: u8, first: u8) -> Shared {
    let net = Net::with_queues(9000, queues, queues);
    let all = SharedMemory::of_workers(SLOTS * 3 * PAGE_BYTES, workers).unwrap();
    let (memories, buffers): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let open = || {
        let opening = Opening {
            mode,
            memory: &|_| memories.first(),
            sharing: Some(Sharing {
                memories: &memories,
                first,
                group_sectors: GROUP,
            }),
            ..Opening::default()
        };
        port::open_as(NEAR, &opening)
    };
    let ports = inside(&net.near, open).unwrap();
    let spreaders: Vec<_> = ports.iter().filter_map(|port| port.spreader()).collect();
    for spreader in &spreaders {
        spreader.set(0, Some(1 << 40)).unwrap();
    }
    let is_shared = queues < u32::from(workers);
    assert_eq!(spreaders.len(), usize::from(is_shared));
    Shared {
        net,
        buffers,
        ports,
    }
}

/// A write of a sector of LUN 0, so many bytes long, with its number for a tag.
fn request(number: u32, group: u64, len: usize) -> Vec<u8> {
    let mut frame = net::frame(len, number as usize);
    frame[14] = 0x10;
    (frame[18], frame[19]) = (0, 0);
    frame[20..24].copy_from_slice(&number.to_be_bytes());
    frame[24..36].fill(0);
    (frame[26], frame[27]) = (1, 0x34);
    frame[28..34].copy_from_slice(&(group * GROUP).to_le_bytes()[..6]);
    frame
}

/// Takes what has come; how many frames.
fn look(port: &mut dyn Port, frames: &mut Vec<Vec<u8>>) -> usize {
    port.look();
    port.receive(64, &mut |frame| {
        let mut bytes = vec![0; frame.len_bytes()];
        frame.copy_to(0, &mut bytes);
        frames.push(bytes);
    })
}

/// Sends every frame back, by turns as a copy and from the buffers of the worker, until it is told to end.
/// How many it had.
fn echo(port: &mut dyn Port, buffers: &mut BufferMemory, is_over: &AtomicBool) -> u32 {
    let mut free: Vec<u16> = (0..SLOTS as u16).collect();
    let (mut count, mut frames) = (0, Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        if look(port, &mut frames) == 0 {
            std::thread::yield_now();
        }
        for frame in frames.drain(..) {
            count += 1;
            let (header, payload) = frame.split_at(36);
            let slot = if port.lends() && count % 2 == 0 {
                free.pop()
            } else {
                None
            };
            let Some(slot) = slot else {
                while port.transmit(header, payload).is_err() {
                    port.flush();
                }
                continue;
            };
            let start = usize::from(slot) * 3 * PAGE_BYTES;
            let range = start..start + payload.len();
            buffers[range.clone()].copy_from_slice(payload);
            while port.transmit_lent(header, range.clone(), slot).is_err() {
                port.flush();
            }
        }
        port.flush();
        while let Some(slot) = port.next_returned() {
            assert!(
                !free.contains(&slot),
                "{slot} came back twice, or to another worker"
            );
            free.push(slot);
        }
    }
    for _ in 0..1000 {
        port.flush();
        while let Some(slot) = port.next_returned() {
            free.push(slot);
        }
        if free.len() == SLOTS {
            return count;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("what was lent does not come back: {free:?} are free");
}

/// Ends the workers, also when the test fails.
struct EndAll<'a>(&'a AtomicBool);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// With one worker it is packet on such a veth: the rule is in `open.rs`.
#[test]
fn auto_takes_the_mode_that_spreads_frames_among_several_workers() {
    for (queues, workers) in [(1, 2), (2, 2), (1, 1)] {
        let shared = open(RequestedMode::Auto, queues, workers, 0);
        let mode = if workers == 1 {
            Mode::Packet
        } else {
            Mode::Native
        };
        for port in &shared.ports {
            assert_eq!(
                port.facts().mode,
                mode,
                "{queues} queues, {workers} workers"
            );
        }
    }
}

/// More frames than there are chunks, to all workers at once, each of which sends back what it has had.
fn run(mode: RequestedMode, workers: u8, frames: u32) {
    let Shared {
        net,
        mut buffers,
        mut ports,
    } = open(mode, 1, workers, 1);
    assert_eq!(
        ports.len(),
        usize::from(workers),
        "{mode}: the kernel lets them share"
    );
    let sharers: Vec<_> = ports.iter().map(|port| port.facts().sharer).collect();
    assert_eq!(sharers, (0..workers).map(Some).collect::<Vec<_>>());
    let is_over = AtomicBool::new(false);
    let is_over = &is_over;
    let mut peer = net.peer();
    let (mut sent, mut open) = (0, BTreeMap::new());
    let counts: Vec<u32> = std::thread::scope(|scope| {
        let echoes = ports.iter_mut().zip(&mut buffers);
        let threads: Vec<_> = echoes
            .map(|(port, buffers)| scope.spawn(|| echo(&mut **port, buffers, is_over)))
            .collect();
        let end = EndAll(is_over);
        while sent < frames || !open.is_empty() {
            while sent < frames && open.len() < WINDOW {
                let len = [60, 1060, 8228, 9014][(sent / u32::from(workers)) as usize % 4];
                let frame = request(sent, u64::from(sent), len);
                peer.send(&frame).unwrap();
                open.insert(sent, frame);
                sent += 1;
            }
            let back = next_frame(&mut peer);
            let number = u32::from_be_bytes(back[20..24].try_into().unwrap());
            let expected = open.remove(&number).unwrap();
            assert!(back == expected, "frame {number} has changed");
        }
        drop(end);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let share = frames / u32::from(workers);
    assert!(
        counts.iter().all(|count| *count == share),
        "{counts:?} of {frames}"
    );
    let counters: Vec<_> = ports.iter().map(|port| port.counters()).collect();
    for counters in &counters {
        assert_eq!(counters.rx_frames, u64::from(share));
        assert_eq!(counters.aoe_spread, u64::from(frames - share));
        assert_eq!((counters.rx_dropped, counters.kernel_errors), (0, 0));
    }
}

#[test]
fn frames_come_to_the_socket_of_their_worker_and_leave_by_it() {
    for mode in MODES {
        run(mode, 2, 16_000);
        run(mode, 4, 16_000);
    }
}

/// The sockets of the others go on, however long one of them is not looked at.
#[test]
fn a_worker_that_is_held_up_takes_no_chunks_from_the_others() {
    for mode in MODES {
        let Shared { net, mut ports, .. } = open(mode, 1, 2, 0);
        let mut peer = net.peer();
        let (mut taken, mut number) = (Vec::new(), 0);
        let mut sent_to_other = 0;
        while sent_to_other < 6000 {
            for _ in 0..8 {
                peer.send(&request(number, 1, 9014)).unwrap();
                (number, sent_to_other) = (number + 1, sent_to_other + 1);
            }
            peer.send(&request(number, 0, 9014)).unwrap();
            number += 1;
            while look(&mut *ports[0], &mut taken) == 0 {}
            assert_eq!(taken.drain(..).len(), 1, "each is there at once");
        }
        let dropped = ports[1].counters().rx_ring_full;
        assert!(dropped > 0, "the other one's ring is full");
        assert_eq!(ports[0].counters().rx_ring_full, 0);
        // What it had waits for it, unchanged and in order.
        while look(&mut *ports[1], &mut taken) > 0 {}
        assert!(taken.len() > 1000, "{} frames", taken.len());
        let numbers = taken
            .iter()
            .map(|frame| u32::from_be_bytes(frame[20..24].try_into().unwrap()));
        assert!(numbers.is_sorted());
        for frame in taken.drain(..) {
            let number = u32::from_be_bytes(frame[20..24].try_into().unwrap());
            assert!(frame == request(number, 1, 9014));
        }
        // And its chunks are used again.
        for _ in 0..3000 {
            peer.send(&request(number, 1, 9014)).unwrap();
            while look(&mut *ports[1], &mut taken) == 0 {}
            assert_eq!(taken.drain(..).len(), 1);
        }
    }
}

/// Only what a look has found is received.
#[test]
fn nothing_is_received_that_came_after_the_look() {
    let Shared { net, mut ports, .. } = open(RequestedMode::Native, 1, 2, 0);
    let mut peer = net.peer();
    peer.send(&request(1, 0, 60)).unwrap();
    let port = &mut *ports[0];
    let count = |port: &mut dyn Port| port.receive(1, &mut |_| {});
    assert_eq!(count(port), 0);
    assert!(port.look());
    peer.send(&request(2, 0, 60)).unwrap();
    assert_eq!((count(port), count(port)), (1, 0));
    assert!(port.look());
    assert!(!port.look(), "it has a frame yet");
    assert_eq!((count(port), count(port)), (1, 0));
}

#[test]
fn with_a_queue_for_each_worker_none_is_shared() {
    let Shared { ports, .. } = open(RequestedMode::Native, 2, 2, 0);
    let places: Vec<_> = ports
        .iter()
        .map(|port| (port.facts().queue_index, port.facts().sharer))
        .collect();
    assert_eq!(places, [(0, None), (1, None)]);
    let Shared { ports, .. } = open(RequestedMode::Native, 2, 3, 0);
    let places: Vec<_> = ports
        .iter()
        .map(|port| (port.facts().queue_index, port.facts().sharer))
        .collect();
    let expected: Vec<_> = (0..2)
        .flat_map(|queue| (0..3).map(move |sharer| (queue, Some(sharer))))
        .collect();
    assert_eq!(places, expected);
}

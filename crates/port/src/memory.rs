//! Two ports joined in memory, for tests of what sits on top of a port.
//!
//! Invariants:
//! - A frame becomes visible to the other end when its sender flushes, not before, as with a real
//!   interface.
//! - Each direction holds at most the number of frames that the pair was made with; beyond that
//!   the sender gets [`TransmitError::Full`]. Nothing is ever lost.
//! - Frame memory is made once and then recycled.

use crate::frame::ReceivedFrame;
use crate::{Mode, Port, PortCounters, PortFacts, TransmitError};
use aoe::vlan::TAG_BYTES;
use aoe::{MacAddress, StationAddresses};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What makes an event descriptor readable: the number one in the host's order.
#[expect(
    clippy::host_endian_bytes,
    reason = "the kernel counts in the host's order"
)]
const RING: [u8; 8] = 1u64.to_ne_bytes();

/// The frames on their way in one direction.
#[derive(Debug)]
struct Wire {
    queues: Mutex<Queues>,
    /// Readable while frames wait, so that the receiver can poll.
    bell: OwnedFd,
}

#[derive(Debug)]
struct Queues {
    arrived: VecDeque<Vec<u8>>,
    free: Vec<Vec<u8>>,
}

impl Wire {
    fn new(frames_max: usize, frame_bytes_max: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            queues: Mutex::new(Queues {
                arrived: VecDeque::with_capacity(frames_max),
                free: (0..frames_max)
                    .map(|_| Vec::with_capacity(frame_bytes_max))
                    .collect(),
            }),
            bell: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        }))
    }

    /// A test that panics elsewhere while it holds the lock leaves the queues whole.
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One end of an in-memory pair.
#[derive(Debug)]
pub struct MemoryPort {
    facts: PortFacts,
    incoming: Arc<Wire>,
    outgoing: Arc<Wire>,
    /// Frames transmitted but not yet flushed.
    pending: VecDeque<Vec<u8>>,
    counted: PortCounters,
}

/// Makes two ports, each of which receives what the other sends. `frames_max` frames fit each
/// direction, those not yet flushed included.
///
/// # Errors
/// When the kernel gives no event descriptor.
pub fn memory_pair(
    first: MacAddress,
    second: MacAddress,
    mtu_bytes: usize,
    frames_max: usize,
) -> io::Result<(MemoryPort, MemoryPort)> {
    let frame_bytes_max = mtu_bytes + crate::ETHERNET_HEADER_BYTES + TAG_BYTES;
    let there = Wire::new(frames_max, frame_bytes_max)?;
    let back = Wire::new(frames_max, frame_bytes_max)?;
    let end = |interface: &str, mac, incoming: &Arc<Wire>, outgoing: &Arc<Wire>| MemoryPort {
        facts: PortFacts {
            interface: interface.to_owned(),
            queue_index: 0,
            sharer: None,
            stations: StationAddresses::single(mac),
            mtu_bytes,
            has_link: true,
            mode: Mode::Memory,
            reason: "in memory".to_owned(),
        },
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        pending: VecDeque::with_capacity(frames_max),
        counted: PortCounters::default(),
    };
    Ok((
        end("memory0", first, &back, &there),
        end("memory1", second, &there, &back),
    ))
}

impl Port for MemoryPort {
    fn facts(&self) -> &PortFacts {
        &self.facts
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&ReceivedFrame<'_>)) -> usize {
        for done in 0..budget {
            let Some(frame) = self.incoming.lock().arrived.pop_front() else {
                return done;
            };
            self.counted.rx_frames += 1;
            self.counted.rx_bytes += frame.len() as u64;
            sink(&ReceivedFrame {
                first: &frame,
                rest: &[],
            });
            let mut queues = self.incoming.lock();
            queues.free.push(frame);
            if queues.arrived.is_empty() {
                let mut rung = [0; 8];
                // The bell may be silent already: then there is nothing to take.
                let taken = rustix::io::read(&self.incoming.bell, &mut rung);
                debug_assert!(
                    matches!(taken, Ok(8) | Err(rustix::io::Errno::AGAIN)),
                    "{taken:?}"
                );
            }
        }
        budget
    }

    fn transmit(&mut self, header: &[u8], payload: &[u8]) -> Result<(), TransmitError> {
        let outgoing = &self.outgoing;
        let pending = &mut self.pending;
        self.counted
            .transmit(&self.facts, header, payload, |frame| {
                let Some(mut bytes) = outgoing.lock().free.pop() else {
                    return false;
                };
                bytes.clear();
                bytes.resize(frame.len_bytes(), 0);
                frame.copy_to(0, &mut bytes);
                pending.push_back(bytes);
                true
            })
    }

    fn flush(&mut self) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        // The bell rings under the lock, so that it is never heard after the frames are gone.
        let mut queues = self.outgoing.lock();
        queues.arrived.append(&mut self.pending);
        if let Err(error) = rustix::io::write(&self.outgoing.bell, &RING) {
            self.counted.kernel_errors += 1;
            tracing::debug!("{}: ringing the bell: {error}", self.facts.interface);
        }
        false
    }

    fn refresh(&mut self) -> bool {
        false
    }

    fn take_error(&mut self) {}

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.incoming.bell.as_fd())
    }

    fn counters(&self) -> PortCounters {
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(frames_max: usize) -> (MemoryPort, MemoryPort) {
        let mac = |last| MacAddress([2, 0, 0, 0, 0, last]);
        memory_pair(mac(1), mac(2), 1500, frames_max).unwrap()
    }

    fn drain(port: &mut MemoryPort, budget: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        port.receive(budget, &mut |frame| {
            let mut bytes = vec![0; frame.len_bytes()];
            frame.copy_to(0, &mut bytes);
            frames.push(bytes);
        });
        frames
    }

    #[test]
    fn frames_arrive_padded_in_order_and_only_after_a_flush() {
        let (mut one, mut two) = pair(4);
        one.transmit(b"header", b"payload").unwrap();
        one.transmit(&[7; 100], &[]).unwrap();
        assert!(drain(&mut two, 10).is_empty());
        one.flush();
        let frames = drain(&mut two, 10);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].len(), 60);
        assert_eq!(&frames[0][..13], b"headerpayload");
        assert!(frames[0][13..].iter().all(|&byte| byte == 0));
        assert_eq!(frames[1], [7; 100]);
        assert_eq!(one.counters().tx_bytes, 160);
        assert_eq!(two.counters().rx_bytes, 160);
    }

    #[test]
    fn a_full_direction_refuses_and_recovers_when_the_other_end_drains() {
        let (mut one, mut two) = pair(2);
        one.transmit(&[1; 60], &[]).unwrap();
        one.transmit(&[2; 60], &[]).unwrap();
        assert_eq!(one.transmit(&[3; 60], &[]), Err(TransmitError::Full));
        one.flush();
        assert_eq!(one.transmit(&[3; 60], &[]), Err(TransmitError::Full));
        assert_eq!(drain(&mut two, 1), [vec![1; 60]]);
        one.transmit(&[3; 60], &[]).unwrap();
        one.flush();
        assert_eq!(drain(&mut two, 9), [vec![2; 60], vec![3; 60]]);
        assert_eq!(one.counters().tx_full, 2);
    }

    #[test]
    fn frames_beyond_the_mtu_are_refused_for_good() {
        let (mut one, _two) = pair(2);
        one.transmit(&[0; 14], &[0; 1500]).unwrap();
        let error = one.transmit(&[0; 14], &[0; 1501]).unwrap_err();
        assert_eq!(
            error,
            TransmitError::TooLong {
                len_bytes: 1515,
                limit_bytes: 1514
            }
        );
    }

    #[test]
    fn the_poll_descriptor_is_readable_exactly_while_frames_wait() {
        let (mut one, mut two) = pair(2);
        let readable = |port: &MemoryPort| {
            let fd = port.poll_fd().unwrap();
            let mut polls = [rustix::event::PollFd::new(
                &fd,
                rustix::event::PollFlags::IN,
            )];
            let none = rustix::event::Timespec::default();
            rustix::event::poll(&mut polls, Some(&none)).unwrap() == 1
        };
        assert!(!readable(&two));
        one.transmit(&[1; 60], &[]).unwrap();
        one.transmit(&[1; 60], &[]).unwrap();
        one.flush();
        assert!(readable(&two));
        drain(&mut two, 1);
        assert!(readable(&two));
        drain(&mut two, 1);
        assert!(!readable(&two));
    }
}

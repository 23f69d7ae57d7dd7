//! What comes from the other workers.

use super::Worker;
use crate::peers::{Parcel, Post};
use aoe::SECTOR_BYTES;
use disk::Executor;
use port::ReceivedFrame;
use shelf::target::{Action, PortIndex, Target};

/// Takes in a frame. A write or TRIM has its payload in its buffer before its actions are carried out.
pub(super) fn take_in(
    target: &mut Target,
    executor: &mut Executor,
    port: PortIndex,
    frame: &ReceivedFrame<'_>,
    actions: &mut Vec<Action>,
) {
    let frame_bytes = frame.len_bytes();
    if let Some(payload) = target.receive(port, frame.first, frame_bytes, actions) {
        let start = payload.start_sector as usize * SECTOR_BYTES;
        let buffer = &mut executor.buffer_mut(payload.buffer)[start..];
        frame.copy_to(payload.offset, buffer);
        target.filled(payload.command, executor, actions);
    }
}

impl Worker {
    /// Takes what lies in the inbox by now; with `is_stale`, drops the requests among it. Whether there was
    /// anything.
    pub(super) fn hear_peers(&mut self, is_stale: bool) -> bool {
        let count = self.peers.as_ref().map_or(0, |peers| peers.inbox_len());
        for _ in 0..count {
            let Some(post) = self.peers.as_ref().and_then(|peers| peers.next()) else {
                break;
            };
            match post {
                Post::Request {
                    parcel,
                    is_crossing,
                } => self.take_request(parcel, is_crossing, is_stale),
                Post::Reply(parcel) => {
                    if let Some(peers) = &mut self.peers {
                        peers.send(&mut self.ports, parcel);
                    }
                }
                Post::Placed(home) => self.target.placed(home),
                Post::Peer { from, message } => {
                    self.target.hear_peer(from, message, &mut self.actions);
                    self.carry_out();
                }
            }
        }
        count > 0
    }

    fn take_request(&mut self, parcel: Parcel, is_crossing: bool, is_stale: bool) {
        let Some(port) = self.peers.as_ref().map(|peers| peers.alias(parcel.port())) else {
            return;
        };
        if is_stale {
            self.counted.stale_frames += 1;
        } else {
            let frame = ReceivedFrame {
                first: parcel.frame(),
                rest: &[],
            };
            let (target, executor) = (&mut self.target, &mut self.executor);
            take_in(target, executor, port, &frame, &mut self.actions);
            // Whatever it borrows is asked for before its sender hears that it is in its place.
            self.carry_out();
        }
        if let Some(peers) = &mut self.peers {
            peers.request_done(parcel, is_crossing);
        }
    }

    /// Wakes those who were told something, if they sleep.
    pub(super) fn ring_peers(&mut self) {
        if let Some(peers) = &mut self.peers {
            peers.ring();
        }
    }
}

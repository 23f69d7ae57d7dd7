//! Frames that wait in the ports for too long.
//!
//! * After a pause of the worker nothing is done that arrived in it (conformance row 109): initiators have
//!   sent it again, and what is late may undo what came later.
//! * Nothing that arrived before a LUN went online is done by it.

use super::{RECEIVE_BUDGET, Worker};

/// A worker that has not looked at its ports for so long was paused: a second. It never sleeps that long by
/// itself, and initiators with a measured round trip have sent again by then.
const PAUSE_NS: u64 = 1_000_000_000;

/// Most frames of a port that are looked at at once: more than its rings hold.
pub(super) const QUEUED_MAX: usize = 1 << 15;

impl Worker {
    /// Drops what has waited while the worker was stopped, or slept with the machine.
    pub(super) fn discard_after_pause(&mut self, now_ns: u64) {
        let last_ns = std::mem::replace(&mut self.last_turn_ns, now_ns);
        if now_ns.saturating_sub(last_ns) < PAUSE_NS {
            return;
        }
        self.hear_peers(true);
        for port in &mut self.ports {
            let mut dropped = 0;
            while dropped < QUEUED_MAX {
                // Of none of it is the order of any interest.
                port.look();
                match port.receive(RECEIVE_BUDGET, &mut |_| {}) {
                    0 => break,
                    frames => dropped += frames,
                }
            }
            self.counted.stale_frames += dropped as u64;
        }
    }

    /// Takes what is in the ports, and goes on with it as in turns: it may be more than there are commands.
    pub(super) fn receive_queued(&mut self) {
        self.hear_peers(false);
        for index in 0..self.ports.len() {
            for _ in 0..QUEUED_MAX / RECEIVE_BUDGET {
                // A ring that is broken is met by the next turn, too.
                if !self.receive(index) || self.advance(true).is_err() {
                    break;
                }
                self.flush_ports();
            }
        }
    }
}

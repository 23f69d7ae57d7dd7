//! A port of another worker, to send by: frames are copied into that worker's inbox.

use crate::peers::{Exchange, Parcel};
use aoe::vlan::TAG_BYTES;
use port::{Port, PortCounters, PortFacts, ReceivedFrame, TransmitError};
use shelf::shard::WorkerIndex;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// What a worker has in the place of a port that is another's. What is received by that port comes through
/// the inbox, and what is sent is counted where it leaves.
#[derive(Debug)]
pub(crate) struct RemotePort {
    facts: PortFacts,
    exchange: Arc<Exchange>,
    /// This worker, and the owner.
    ends: (WorkerIndex, WorkerIndex),
    port: u8,
    /// Something was sent since the owner was woken.
    is_told: bool,
}

impl RemotePort {
    pub(crate) const fn new(
        facts: PortFacts,
        exchange: Arc<Exchange>,
        ends: (WorkerIndex, WorkerIndex),
        port: u8,
    ) -> Self {
        Self {
            facts,
            exchange,
            ends,
            port,
            is_told: false,
        }
    }
}

impl Port for RemotePort {
    fn facts(&self) -> &PortFacts {
        &self.facts
    }

    fn receive(&mut self, _budget: usize, _sink: &mut dyn FnMut(&ReceivedFrame<'_>)) -> usize {
        0
    }

    fn transmit(&mut self, header: &[u8], payload: &[u8]) -> Result<(), TransmitError> {
        let frame = ReceivedFrame {
            first: header,
            rest: &[payload],
        };
        let len_bytes = frame.len_bytes();
        let limit_bytes = self.facts.frame_bytes_max() + TAG_BYTES;
        if !Parcel::fits(len_bytes) {
            return Err(TransmitError::TooLong {
                len_bytes,
                limit_bytes,
            });
        }
        if !self.exchange.hand_reply(self.ends, self.port, &frame) {
            return Err(TransmitError::Full);
        }
        self.is_told = true;
        Ok(())
    }

    fn flush(&mut self) -> bool {
        if std::mem::take(&mut self.is_told) {
            self.exchange.ring(self.ends.1);
        }
        false
    }

    fn refresh(&mut self) -> bool {
        let now = self.exchange.link(self.port);
        let before = (self.facts.mtu_bytes, self.facts.has_link);
        (self.facts.mtu_bytes, self.facts.has_link) = now;
        now != before
    }

    fn take_error(&mut self) {}

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> PortCounters {
        PortCounters::default()
    }
}

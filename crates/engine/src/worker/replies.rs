//! Replies on their way into the ports. A port without room holds up its own replies only.

use super::Worker;
use port::TransmitError;
use shelf::target::{Body, Reply};

impl Worker {
    pub(super) fn reply(&mut self, mut reply: Reply) {
        let port = usize::from(reply.port.0);
        if self.unsent[port].is_empty() && self.transmit(&reply) {
            return;
        }
        // A reply to a command is bounded by the command slots; others the initiator asks for again.
        if reply.command.is_none() && self.unsent[port].len() >= self.unsent[port].capacity() {
            self.counted.replies_dropped += 1;
            return;
        }
        self.counted.transmit_waits += 1;
        self.target.keep(&mut reply, &mut self.executor);
        self.unsent[port].push_back(reply);
    }

    /// Hands a reply to its port; false when there is no room now.
    fn transmit(&mut self, reply: &Reply) -> bool {
        let body: &[u8] = match &reply.body {
            Body::Data(span) => self.executor.span(span),
            shared => shared.shared(),
        };
        let port = &mut self.ports[usize::from(reply.port.0)];
        match port.transmit(&reply.head[..reply.head_bytes], body) {
            Err(TransmitError::Full) => false,
            // Too long for the interface: counted by the port. The initiator asks again.
            Ok(()) | Err(_) => {
                self.sent(reply);
                true
            }
        }
    }

    fn sent(&mut self, reply: &Reply) {
        if let Some(command) = reply.command {
            self.target.sent(command);
        }
    }

    /// Tries again what found no room; whether anything left.
    pub(super) fn send_unsent(&mut self) -> bool {
        let mut any = false;
        for port in 0..self.unsent.len() {
            while let Some(reply) = self.unsent[port].pop_front() {
                if !self.transmit(&reply) {
                    self.unsent[port].push_front(reply);
                    break;
                }
                any = true;
            }
        }
        any
    }

    pub(super) fn all_sent(&self) -> bool {
        self.unsent.iter().all(std::collections::VecDeque::is_empty)
    }

    /// The worker ends: what a port does not take is lost, and the initiator asks again.
    pub(super) fn drop_unsent(&mut self) {
        for port in 0..self.unsent.len() {
            while let Some(reply) = self.unsent[port].pop_front() {
                self.counted.replies_dropped += 1;
                self.sent(&reply);
            }
        }
    }

    pub(super) fn flush_ports(&mut self) {
        self.port_is_full = false;
        for port in &mut self.ports {
            self.port_is_full |= port.flush();
        }
    }
}

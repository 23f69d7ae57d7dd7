//! Data that ports send from where it lies in the buffers.
//!
//! * A command whose reply a port sends like that is sent when the port says so, not before: until then
//!   neither its buffer nor the slice that its data lies in is used for anything else.
//! * One reply of a command is under way at a time, so that its index names the loan.

use super::Worker;
use disk::Loan;
use port::TransmitError;
use shelf::order::CommandIndex;
use shelf::target::{PortIndex, Reply, Span};

/// What ports have of the buffers.
#[derive(Debug)]
pub(super) struct Loans {
    by_command: Box<[Option<(PortIndex, Loan)>]>,
    count: usize,
}

impl Loans {
    /// None yet, of so many commands.
    pub(super) fn new(commands: u16) -> Self {
        Self {
            by_command: vec![None; usize::from(commands)].into(),
            count: 0,
        }
    }

    /// Whether a port has something.
    pub(super) fn has_of(&self, port: PortIndex) -> bool {
        let lent = &mut self.by_command.iter().flatten();
        self.count > 0 && lent.any(|(of, _)| *of == port)
    }

    /// Nothing is lent.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Worker {
    /// Hands a reply to its port, which sends its data from where they lie; false when there is no room now.
    pub(super) fn transmit_lent(
        &mut self,
        reply: &Reply,
        span: &Span,
        index: CommandIndex,
    ) -> bool {
        let port = &mut self.ports[usize::from(reply.port.0)];
        let loan = self.executor.lend(span);
        let header = &reply.head[..reply.head_bytes];
        match port.transmit_lent(header, loan.bytes.clone(), index) {
            Ok(()) => {
                let place = &mut self.loans.by_command[usize::from(index)];
                debug_assert_eq!(*place, None, "two replies of one command");
                *place = Some((reply.port, loan));
                self.loans.count += 1;
                true
            }
            Err(error) => {
                self.executor.take_back(&loan);
                let is_full = error == TransmitError::Full;
                if !is_full {
                    // Too long for the interface: counted by the port. The initiator asks again.
                    self.target.sent(index);
                }
                !is_full
            }
        }
    }

    /// Takes back what ports have sent; whether there was anything.
    pub(super) fn take_back_loans(&mut self) -> bool {
        if self.loans.is_empty() {
            return false;
        }
        let before = self.loans.count;
        for port in 0..self.ports.len() {
            while let Some(index) = self.ports[port].next_returned() {
                self.take_back(index);
            }
        }
        self.loans.count < before
    }

    fn take_back(&mut self, index: CommandIndex) {
        if let Some((_, loan)) = self.loans.by_command[usize::from(index)].take() {
            self.loans.count -= 1;
            self.executor.take_back(&loan);
            self.target.sent(index);
        }
    }

    /// A port is gone, and the kernel with it: nothing that it had is sent any more.
    pub(super) fn take_back_all(&mut self, port: PortIndex) {
        for index in 0..self.loans.by_command.len() {
            let lent = &self.loans.by_command[index];
            if lent.as_ref().is_some_and(|(of, _)| *of == port)
                && let Ok(index) = CommandIndex::try_from(index)
            {
                self.take_back(index);
            }
        }
    }
}

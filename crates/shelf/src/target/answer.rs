//! From a command that is done to its reply, and to a slot that is free again.
//!
//! Budget (`corebench stages reply`): 100 ns, 1100 instructions.

use super::trim::bytes_of;
use super::{Action, Asked, Body, BufferIndex, Kind, Memory, Reply, Span, State, Target};
use crate::order::CommandIndex;
use aoe::{AtaRegisters, Header, SECTOR_BYTES};
use ata::Outcome;
use zerocopy::FromBytes;

impl Target {
    pub(super) fn answer(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        let command = &mut self.commands[usize::from(index)];
        command.state = State::Replying;
        if command.kind != Kind::Trim {
            // A TRIM is long by itself, and says nothing of how busy drives are.
            self.pace.answered(command.since_ns);
        }
        let bytes = u64::from(command.own_sectors()) * SECTOR_BYTES as u64;
        let failed = command.failed || command.unmapped;
        let (outcome, body) = match (command.kind, failed) {
            (Kind::Read, true) => (Outcome::Unreadable, Body::Empty),
            (Kind::Write | Kind::Trim | Kind::Flush, true) => (Outcome::WriteFault, Body::Empty),
            (Kind::Read, false) => {
                self.counters.read_bytes += bytes;
                let own = Span {
                    buffer: BufferIndex::of_command(index),
                    start_sector: 0,
                    sectors: command.sectors,
                };
                let all = command.given.map_or(own, |given| given.span);
                let data = command.answer_in(all);
                (Outcome::Success, Body::Data(data))
            }
            (Kind::Write, false) => {
                self.counters.write_bytes += bytes;
                (Outcome::Success, Body::Empty)
            }
            (Kind::Trim, false) => {
                self.counters.trimmed_bytes += bytes_of(self.order.extents(index));
                (Outcome::Success, Body::Empty)
            }
            (Kind::Flush, false) => (Outcome::Success, Body::Empty),
            (Kind::Sync(_), _) => unreachable!("a step has nobody to answer"),
        };
        self.count_answered(index, outcome == Outcome::Success);
        let command = &self.commands[usize::from(index)];
        let Ok((header, rest)) = Header::ref_from_prefix(&command.head) else {
            return;
        };
        let Ok((registers, _)) = AtaRegisters::ref_from_prefix(rest) else {
            return;
        };
        let registers = registers.response(outcome.status(), outcome.error());
        let (port, view) = (command.port, self.own_view(index));
        let asked = Asked { port, header, view };
        self.push_ata_reply(asked, &registers, body, Some(index), out);
    }

    /// Tells the initiator that its write is done, although it is not.
    #[cfg(feature = "planted")]
    pub(super) fn answer_early(&mut self, index: CommandIndex, out: &mut Vec<Action>) {
        let command = &self.commands[usize::from(index)];
        if command.kind.is_write() {
            let (before, state) = (out.len(), command.state);
            self.answer(index, out);
            self.commands[usize::from(index)].state = state;
            for action in &mut out[before..] {
                if let Action::Reply(reply) = action {
                    reply.command = None;
                }
            }
        }
    }

    /// The reply to a command is on its way: its slot and buffer may be used again.
    pub fn sent(&mut self, index: CommandIndex) {
        let command = &mut self.commands[usize::from(index)];
        debug_assert_eq!(command.state, State::Replying);
        command.state = State::Free;
        self.free.push(index);
        if let Some(given) = command.given.take() {
            self.given_back(given.slice);
        }
    }

    /// A reply cannot be sent now: its data is moved to where it is in nobody's way.
    pub fn keep(&mut self, reply: &mut Reply, memory: &mut impl Memory) {
        let Some(index) = reply.command else { return };
        let Some(given) = self.commands[usize::from(index)].given.take() else {
            return;
        };
        let own = Span {
            buffer: BufferIndex::of_command(index),
            start_sector: 0,
            sectors: given.span.sectors,
        };
        memory.compute(&[given.span], &[own], &mut |read, written| {
            written[0].copy_from_slice(read[0]);
        });
        if matches!(reply.body, Body::Data(_)) {
            reply.body = Body::Data(self.commands[usize::from(index)].answer_in(own));
        }
        self.given_back(given.slice);
    }
}

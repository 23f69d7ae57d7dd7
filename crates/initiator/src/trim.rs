//! One TRIM exchange with one target (DATA SET MANAGEMENT, conformance row 103).
//!
//! Whether the target has it, and how many blocks of ranges it takes, is told by IDENTIFY
//! ([`crate::Identity::trim_blocks_max`]). A TRIM may take long: whoever sends it again uses the same tag, or
//! takes in the answer to any of its own.

use crate::wire::{self, CommandError, Operation, Route};
use aoe::{AtaRegisters, SECTOR_BYTES, Tag};
use ata::opcode;
use ata::trim::{ENTRIES_PER_BLOCK, Entry, FEATURE};
use port::ReceivedFrame;

/// A TRIM of some ranges.
#[derive(Clone, Debug)]
pub struct TrimQuery {
    route: Route,
    tag: Tag,
    blocks: u8,
    data: Vec<u8>,
}

impl TrimQuery {
    /// Asks the target at the end of `route` to deallocate these ranges; `tag` marks the request. `None` for
    /// more ranges than a frame can count.
    #[must_use]
    pub fn new(route: Route, tag: Tag, ranges: &[Entry]) -> Option<Self> {
        let blocks = ranges.len().div_ceil(ENTRIES_PER_BLOCK).max(1);
        let mut data: Vec<u8> = ranges.iter().copied().flat_map(Entry::encode).collect();
        data.resize(blocks * SECTOR_BYTES, 0);
        Some(Self {
            route,
            tag,
            blocks: u8::try_from(blocks).ok()?,
            data,
        })
    }

    /// The request. It may be sent any number of times.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let registers = AtaRegisters {
            feature_error: FEATURE,
            ..AtaRegisters::extended(opcode::DATA_SET_MANAGEMENT, true, 0, self.blocks)
        };
        let mut frame = wire::request(&self.route, self.tag, &registers).to_vec();
        frame.extend_from_slice(&self.data);
        frame
    }

    /// Takes in a received frame; `None` when it is not the answer.
    ///
    /// # Errors
    /// The target refuses the command, or fails it: any of the ranges may have been deallocated, or not.
    pub fn receive(&self, frame: &ReceivedFrame<'_>) -> Option<Result<(), CommandError>> {
        let header = wire::ata_answer(frame)?;
        let is_ours = header.tag.get() == self.tag.0 && self.route.is_from(header);
        is_ours.then(|| wire::outcome(Operation::Write, 0, header, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aoe::{Header, MacAddress, Shelf, Slot};
    use zerocopy::{FromBytes, IntoBytes};

    const ROUTE: Route = Route {
        source: MacAddress([2, 0, 0, 0, 0, 1]),
        destination: MacAddress([4, 0, 0, 0, 0, 1]),
        shelf: Shelf(1),
        slot: Slot(2),
    };

    fn query(ranges: usize) -> Option<TrimQuery> {
        let entry = |lba| Entry { lba, sectors: 8 };
        let ranges: Vec<Entry> = (0..ranges as u64).map(entry).collect();
        TrimQuery::new(ROUTE, Tag(5), &ranges)
    }

    #[test]
    fn row_103_a_request_has_whole_blocks_of_ranges() {
        for (ranges, blocks) in [(0, 1), (1, 1), (64, 1), (65, 2)] {
            let request = query(ranges).unwrap().request();
            assert_eq!(request[24..28], [0x41, 0x01, blocks, 0x06]);
            assert_eq!(request.len(), 36 + 512 * usize::from(blocks));
            let entries = request[36..].chunks(8).filter(|entry| entry[6] == 8);
            assert_eq!(entries.count(), ranges);
        }
        assert!(query(255 * 64).is_some() && query(255 * 64 + 1).is_none());
    }

    #[test]
    fn row_103_only_its_own_answer_counts() {
        let query = query(1).unwrap();
        let request = query.request();
        let (header, rest) = Header::ref_from_prefix(&request).unwrap();
        let reply = |tag: u32, status: u8, error: u8| {
            let mut header = header.reply(ROUTE.destination, ROUTE.shelf, ROUTE.slot);
            header.tag.set(tag);
            let (registers, _) = AtaRegisters::ref_from_prefix(rest).unwrap();
            let registers = registers.response(status, error);
            let mut frame = [header.as_bytes(), registers.as_bytes()].concat();
            frame.resize(60, 0);
            let received = ReceivedFrame {
                first: &frame,
                rest: &[],
            };
            query.receive(&received)
        };
        assert_eq!(reply(5, 0x40, 0), Some(Ok(())));
        assert_eq!(reply(6, 0x40, 0), None);
        let (status, error) = (0x41, 0x04);
        let refused = CommandError::Failed { status, error };
        assert_eq!(reply(5, 0x41, 0x04), Some(Err(refused)));
    }
}

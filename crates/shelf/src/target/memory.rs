//! The buffers of a worker: what is where in them, and how the target computes over them.
//!
//! The surroundings own the bytes, because the kernel reads and writes them; the target names them by
//! [`BufferIndex`] and knows which of them are in use. Only parity and the redo log look at bytes at
//! all, through [`Memory`].

use super::BUFFER_SECTORS;
use crate::order::CommandIndex;
use aoe::SECTOR_BYTES;
use raid::geometry::MEMBERS_MAX;
use std::ops::Range;

/// Sectors of a page of a stripe: 8 KiB, what Linux sends in a frame at MTU 9000.
pub const PAGE_SECTORS: usize = 16;

/// Sectors of a record of the redo log.
pub const RECORD_SECTORS: usize = 256;

/// Most blocks that are written by one computation: the log records of all members.
pub const OUTPUTS_MAX: usize = MEMBERS_MAX as usize;

/// A buffer. The first ones are those of the commands, by [`CommandIndex`]; then come pages and records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BufferIndex(pub u16);

impl BufferIndex {
    /// The buffer of a command.
    #[must_use]
    pub const fn of_command(command: CommandIndex) -> Self {
        Self(command)
    }
}

/// How many buffers there are of each kind. They lie one after the other in one run of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferPlan {
    /// Command slots, each with a buffer of [`BUFFER_SECTORS`].
    pub commands: u16,
    /// Pages of stripes, each of [`PAGE_SECTORS`].
    pub pages: u16,
    /// Records of the redo log, each of [`RECORD_SECTORS`].
    pub records: u16,
}

impl BufferPlan {
    /// How many buffers there are.
    ///
    /// # Panics
    /// When they are more than indices go: a plan is a constant of a program.
    #[must_use]
    pub fn buffers(&self) -> u16 {
        let sum = self.commands.checked_add(self.pages);
        match sum.and_then(|sum| sum.checked_add(self.records)) {
            Some(buffers) => buffers,
            None => panic!("more buffers than 16 bits count"),
        }
    }

    /// The page of this number, counted from 0.
    #[must_use]
    pub const fn page(&self, number: u16) -> BufferIndex {
        BufferIndex(self.commands + number)
    }

    /// The record of this number, counted from 0.
    #[must_use]
    pub const fn record(&self, number: u16) -> BufferIndex {
        BufferIndex(self.commands + self.pages + number)
    }

    /// Where a buffer lies, in sectors.
    ///
    /// # Panics
    /// When there is no such buffer.
    #[must_use]
    pub fn sectors_of(&self, buffer: BufferIndex) -> Range<usize> {
        let [commands, pages, records] = [self.commands, self.pages, self.records].map(usize::from);
        let index = usize::from(buffer.0);
        let pages_start = commands * BUFFER_SECTORS;
        let records_start = pages_start + pages * PAGE_SECTORS;
        let (start, sectors) = if index < commands {
            (index * BUFFER_SECTORS, BUFFER_SECTORS)
        } else if index < commands + pages {
            (
                pages_start + (index - commands) * PAGE_SECTORS,
                PAGE_SECTORS,
            )
        } else {
            assert!(index < commands + pages + records, "no such buffer");
            let record = index - commands - pages;
            (records_start + record * RECORD_SECTORS, RECORD_SECTORS)
        };
        start..start + sectors
    }

    /// Where a span lies, in bytes.
    ///
    /// # Panics
    /// When it leaves its buffer.
    #[must_use]
    pub fn bytes_of(&self, span: &Span) -> Range<usize> {
        let buffer = self.sectors_of(span.buffer);
        let start = buffer.start + span.start_sector as usize;
        let end = start + span.sectors as usize;
        assert!(end <= buffer.end, "{span:?} leaves its buffer");
        start * SECTOR_BYTES..end * SECTOR_BYTES
    }

    /// Sectors of all buffers together.
    #[must_use]
    pub fn total_sectors(&self) -> usize {
        usize::from(self.commands) * BUFFER_SECTORS
            + usize::from(self.pages) * PAGE_SECTORS
            + usize::from(self.records) * RECORD_SECTORS
    }
}

/// A run of sectors of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The buffer.
    pub buffer: BufferIndex,
    /// Where in it.
    pub start_sector: u32,
    /// How many.
    pub sectors: u32,
}

/// What a computation does: inputs, outputs.
pub type Work<'w> = &'w mut dyn FnMut(&[&[u8]], &mut [&mut [u8]]);

/// The bytes of the buffers.
pub trait Memory {
    /// Calls `work` with the bytes of `inputs`, at most [`INPUTS_MAX`], and of `outputs`, at most
    /// [`OUTPUTS_MAX`].
    ///
    /// # Panics
    /// When an output overlaps anything else, or the kernel is using what is asked for: the target
    /// never asks for such a thing.
    fn compute(&mut self, inputs: &[Span], outputs: &[Span], work: Work<'_>);
}

/// Most blocks that a computation reads: a whole stripe and the new content of one block.
pub const INPUTS_MAX: usize = 40;

/// Carries out a computation over buffers in `arena`; `place` says which bytes of it a span is.
///
/// # Panics
/// As [`Memory::compute`].
pub fn compute_in(
    arena: &mut [u8],
    place: impl Fn(&Span) -> Range<usize>,
    inputs: &[Span],
    outputs: &[Span],
    work: Work<'_>,
) {
    // Most have few: lists of all that there could be cost more than they do.
    let blocks = inputs.len().max(outputs.len());
    if blocks <= 2 {
        compute_few::<2>(arena, place, inputs, outputs, work);
    } else if blocks <= 12 {
        compute_few::<12>(arena, place, inputs, outputs, work);
    } else {
        compute_few::<INPUTS_MAX>(arena, place, inputs, outputs, work);
    }
}

const _: () = assert!(OUTPUTS_MAX <= INPUTS_MAX);

/// The same for so many inputs and so many outputs at most.
fn compute_few<const FEW: usize>(
    arena: &mut [u8],
    place: impl Fn(&Span) -> Range<usize>,
    inputs: &[Span],
    outputs: &[Span],
    work: Work<'_>,
) {
    assert!(outputs.len() <= FEW && inputs.len() <= FEW);
    let mut ranges = [const { (0..0, 0) }; FEW];
    for (number, (range, span)) in ranges.iter_mut().zip(outputs).enumerate() {
        *range = (place(span), number);
    }
    let ranges = &mut ranges[..outputs.len()];
    ranges.sort_unstable_by_key(|(range, _)| range.start);
    // The arena falls apart into what lies before and between the outputs, and what lies behind them.
    let mut around: [(usize, &[u8]); FEW] = [(0, &[]); FEW];
    let mut out: [&mut [u8]; FEW] = std::array::from_fn(|_| Default::default());
    let (mut rest, mut at) = (arena, 0);
    for ((range, number), around) in ranges.iter().zip(&mut around) {
        assert!(range.start >= at, "outputs overlap");
        let (before, behind) = rest.split_at_mut(range.start - at);
        let (output, behind) = behind.split_at_mut(range.len());
        *around = (at, before);
        out[*number] = output;
        (rest, at) = (behind, range.end);
    }
    let behind = (at, &*rest);
    let mut read: [&[u8]; FEW] = [&[]; FEW];
    for (input, span) in read.iter_mut().zip(inputs) {
        let range = place(span);
        let pieces = around[..outputs.len()].iter().chain([&behind]);
        let found = pieces.into_iter().find_map(|(start, piece)| {
            let from = range.start.checked_sub(*start)?;
            piece.get(from..from + range.len())
        });
        *input = found.expect("an input overlaps an output");
    }
    work(&read[..inputs.len()], &mut out[..outputs.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: BufferPlan = BufferPlan {
        commands: 3,
        pages: 4,
        records: 1,
    };

    fn span(buffer: BufferIndex, start_sector: u32, sectors: u32) -> Span {
        Span {
            buffer,
            start_sector,
            sectors,
        }
    }

    #[test]
    fn buffers_lie_one_after_the_other() {
        let mut at = 0;
        for index in 0..PLAN.buffers() {
            let place = PLAN.sectors_of(BufferIndex(index));
            assert_eq!(place.start, at);
            at = place.end;
        }
        assert_eq!(at, PLAN.total_sectors());
        assert_eq!(PLAN.sectors_of(PLAN.page(0)).len(), PAGE_SECTORS);
        assert_eq!(PLAN.sectors_of(PLAN.record(0)).len(), RECORD_SECTORS);
    }

    #[test]
    fn a_computation_sees_the_spans_it_names_in_their_order() {
        let mut arena: Vec<u8> = (0..PLAN.total_sectors())
            .flat_map(|sector| [sector.to_le_bytes()[0]; SECTOR_BYTES])
            .collect();
        let first = |span: &Span| PLAN.sectors_of(span.buffer).start + span.start_sector as usize;
        let inputs = [
            span(PLAN.page(3), 4, 2),
            span(BufferIndex(0), 23, 1),
            span(PLAN.page(1), 0, 1),
        ];
        let outputs = [span(PLAN.page(2), 1, 3), span(PLAN.page(0), 15, 1)];
        let before = arena.clone();
        compute_in(
            &mut arena,
            |span| PLAN.bytes_of(span),
            &inputs,
            &outputs,
            &mut |read, out| {
                for (bytes, span) in read.iter().zip(&inputs) {
                    assert_eq!(usize::from(bytes[0]), first(span));
                    assert_eq!(bytes.len(), span.sectors as usize * SECTOR_BYTES);
                }
                for (bytes, span) in out.iter_mut().zip(&outputs) {
                    assert_eq!(usize::from(bytes[0]), first(span));
                    assert_eq!(bytes.len(), span.sectors as usize * SECTOR_BYTES);
                    bytes.fill(255);
                }
            },
        );
        let changed = arena.iter().zip(&before).filter(|(now, was)| now != was);
        assert_eq!(changed.count(), 4 * SECTOR_BYTES);
    }

    #[test]
    #[should_panic(expected = "an input overlaps an output")]
    fn an_input_that_is_written_is_a_bug() {
        let mut arena = vec![0; PLAN.total_sectors() * SECTOR_BYTES];
        let page = PLAN.page(1);
        let (inputs, outputs) = ([span(page, 3, 2)], [span(page, 0, 4)]);
        compute_in(
            &mut arena,
            |span| PLAN.bytes_of(span),
            &inputs,
            &outputs,
            &mut |_, _| {},
        );
    }
}

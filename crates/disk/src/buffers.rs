//! Where the buffers of a worker lie, and what the kernel is doing with them.
//!
//! The target names a buffer by its index; where it lies is the matter of a table. So the buffer of an
//! I/O that is not waited for any longer can be left to the kernel: its index moves to a spare *place*,
//! and the old place is used again when the kernel is done with it.
//!
//! Invariants:
//! * an index has one place, and a place at most one index;
//! * a place that no index has and that the kernel uses is no spare;
//! * places are of the size of their index's kind.

use shelf::target::{BufferIndex, BufferPlan, Span};

/// Where a buffer lies: a buffer of a plan that has more than there are indices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place(u16);

/// I/O in flight on a place.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct InFlight {
    pub(crate) reads: u16,
    pub(crate) writes: u16,
}

/// The table of places.
pub(crate) struct Buffers {
    /// Of the indices.
    plan: BufferPlan,
    /// Of the places.
    places_plan: BufferPlan,
    place_of: Box<[Place]>,
    is_taken: Box<[bool]>,
    in_flight: Box<[InFlight]>,
    /// Commands, pages, records.
    spares: [Vec<Place>; 3],
}

impl Buffers {
    /// The buffers of a plan, and spares: as many as there are commands and records, and half as many as
    /// there are pages. A drive that hangs has no more I/O than its commands have, and is not asked for
    /// long.
    pub(crate) fn new(plan: BufferPlan) -> Self {
        let places_plan = Self::places_plan(plan);
        let count = usize::from(places_plan.buffers());
        let mut buffers = Self {
            plan,
            places_plan,
            place_of: vec![Place(0); usize::from(plan.buffers())].into(),
            is_taken: vec![false; count].into(),
            in_flight: vec![InFlight::default(); count].into(),
            spares: [const { Vec::new() }; 3],
        };
        for place in (0..places_plan.buffers()).rev().map(Place) {
            buffers.spares[buffers.kind_of(place)].push(place);
        }
        for index in (0..plan.buffers()).map(BufferIndex) {
            let kind = Self::kind(&plan, index);
            let Some(place) = buffers.spares[kind].pop() else {
                unreachable!("there are more places than buffers")
            };
            buffers.take(index, place);
        }
        buffers
    }

    const fn places_plan(plan: BufferPlan) -> BufferPlan {
        BufferPlan {
            commands: plan.commands * 2,
            pages: plan.pages + plan.pages.div_ceil(2),
            records: plan.records * 2,
        }
    }

    /// Sectors of all places that a plan takes.
    pub(crate) fn total_sectors_of(plan: BufferPlan) -> usize {
        Self::places_plan(plan).total_sectors()
    }

    /// 0 for a command, 1 for a page, 2 for a record.
    const fn kind(plan: &BufferPlan, index: BufferIndex) -> usize {
        if index.0 < plan.commands {
            0
        } else if index.0 < plan.commands + plan.pages {
            1
        } else {
            2
        }
    }

    const fn kind_of(&self, place: Place) -> usize {
        Self::kind(&self.places_plan, BufferIndex(place.0))
    }

    fn take(&mut self, index: BufferIndex, place: Place) {
        self.place_of[usize::from(index.0)] = place;
        self.is_taken[usize::from(place.0)] = true;
    }

    /// The bytes of a span in the memory.
    pub(crate) fn bytes_of(&self, span: &Span) -> std::ops::Range<usize> {
        self.places_plan.bytes_of(&Span {
            buffer: BufferIndex(self.place(span.buffer).0),
            ..*span
        })
    }

    /// Where a buffer lies now.
    pub(crate) fn place(&self, buffer: BufferIndex) -> Place {
        self.place_of[usize::from(buffer.0)]
    }

    /// The sectors of a place in the memory.
    pub(crate) fn sectors_of(&self, place: Place) -> std::ops::Range<usize> {
        self.places_plan.sectors_of(BufferIndex(place.0))
    }

    /// What the kernel does with a place.
    pub(crate) fn in_flight(&self, place: Place) -> InFlight {
        self.in_flight[usize::from(place.0)]
    }

    /// The same, to be counted.
    pub(crate) fn in_flight_mut(&mut self, place: Place) -> &mut InFlight {
        &mut self.in_flight[usize::from(place.0)]
    }

    /// The kernel may be done with a place: it is a spare if no index has it.
    pub(crate) fn release(&mut self, place: Place) {
        let InFlight { reads, writes } = self.in_flight(place);
        if reads == 0 && writes == 0 && !self.is_taken[usize::from(place.0)] {
            self.spares[self.kind_of(place)].push(place);
        }
    }

    /// Gives a buffer another place, and tells the old and the new one; `None` when there is no spare.
    pub(crate) fn move_away(&mut self, buffer: BufferIndex) -> Option<(Place, Place)> {
        let new = self.spares[Self::kind(&self.plan, buffer)].pop()?;
        let old = self.place(buffer);
        self.is_taken[usize::from(old.0)] = false;
        self.take(buffer, new);
        Some((old, new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: BufferPlan = BufferPlan {
        commands: 2,
        pages: 3,
        records: 1,
    };

    #[test]
    fn a_place_is_a_spare_again_when_the_kernel_is_done_with_it() {
        let mut buffers = Buffers::new(PLAN);
        for index in (0..PLAN.buffers()).map(BufferIndex) {
            let size = |buffers: &Buffers, place| buffers.sectors_of(place).len();
            let place = buffers.place(index);
            assert_eq!(size(&buffers, place), PLAN.sectors_of(index).len());
            buffers.in_flight_mut(place).writes = 1;
            let (old, new) = buffers.move_away(index).unwrap();
            assert_eq!((old, buffers.place(index)), (place, new));
            assert_eq!(size(&buffers, new), PLAN.sectors_of(index).len());
            buffers.release(old);
            buffers.in_flight_mut(old).writes = 0;
            buffers.release(old);
        }
        // All the spares there were are there again.
        let spares: Vec<usize> = buffers.spares.iter().map(Vec::len).collect();
        assert_eq!(spares, [2, 2, 1]);
    }

    #[test]
    fn without_a_spare_a_buffer_stays() {
        let mut buffers = Buffers::new(PLAN);
        let record = PLAN.record(0);
        let (old, new) = buffers.move_away(record).unwrap();
        buffers.in_flight_mut(old).writes = 1;
        buffers.release(old);
        assert_eq!(buffers.move_away(record), None);
        assert_eq!(buffers.place(record), new);
    }
}

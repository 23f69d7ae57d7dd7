//! How a request falls apart into runs that lie together on the members of one mirror set.

use super::{Geometry, is_striped};

/// A run of sectors that lies together on every member of one mirror set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Where it begins, counted from the start of the request.
    pub offset_sectors: u32,
    /// Its length.
    pub sectors: u32,
    /// Where it begins on each member, counted from the member's data offset.
    pub member_sector: u64,
    /// The members that hold it.
    pub mirrors: Mirrors,
}

/// The members, in element order, that hold the same data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mirrors {
    /// The first of them.
    pub first: u8,
    /// Distance from each to the next.
    pub stride: u8,
    /// How many there are; at least one.
    pub copies: u8,
}

impl Mirrors {
    /// How many there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mirror set is never empty")]
    pub const fn len(self) -> usize {
        self.copies as usize
    }
}

impl IntoIterator for Mirrors {
    type Item = u8;
    type IntoIter = MirrorsIter;

    fn into_iter(self) -> MirrorsIter {
        MirrorsIter {
            mirrors: self,
            given: 0,
        }
    }
}

/// Iterator over the members of a mirror set, the primary first.
#[derive(Clone, Debug)]
pub struct MirrorsIter {
    mirrors: Mirrors,
    given: u8,
}

impl Iterator for MirrorsIter {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.given == self.mirrors.copies {
            return None;
        }
        let element = self.mirrors.first + self.given * self.mirrors.stride;
        self.given += 1;
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.mirrors.copies - self.given);
        (left, Some(left))
    }
}

impl ExactSizeIterator for MirrorsIter {}

/// Iterator over the segments of a request.
#[derive(Clone, Debug)]
pub struct Segments {
    geometry: Geometry,
    lba: u64,
    done_sectors: u32,
    count: u32,
}

impl Segments {
    /// The segments of a range inside the capacity.
    pub(super) const fn new(geometry: Geometry, lba: u64, count: u32) -> Self {
        Self {
            geometry,
            lba,
            done_sectors: 0,
            count,
        }
    }
}

impl Iterator for Segments {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        let left = self.count - self.done_sectors;
        if left == 0 {
            return None;
        }
        let geometry = &self.geometry;
        let sector = self.lba + u64::from(self.done_sectors);
        let offset_sectors = self.done_sectors;
        if !is_striped(geometry.level) {
            self.done_sectors = self.count;
            let mirrors = geometry.mirrors(0);
            return Some(Segment {
                offset_sectors,
                sectors: left,
                member_sector: sector,
                mirrors,
            });
        }
        let chunk_sectors = u64::from(geometry.chunk_sectors);
        // A power of two: a shift is cheaper than a division.
        let chunk_shift = chunk_sectors.trailing_zeros();
        let (chunk, within) = (sector >> chunk_shift, sector & (chunk_sectors - 1));
        let columns = geometry.columns();
        let (row, column) = (chunk / u64::from(columns), chunk % u64::from(columns));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "both are below a chunk or columns"
        )]
        let (room, column) = ((chunk_sectors - within) as u32, column as u8);
        let sectors = left.min(room);
        self.done_sectors += sectors;
        let member_sector = row * chunk_sectors + within;
        let element = geometry
            .row_layout(row)
            .map_or(column, |layout| layout.data(column));
        let mirrors = geometry.mirrors(element);
        Some(Segment {
            offset_sectors,
            sectors,
            member_sector,
            mirrors,
        })
    }
}

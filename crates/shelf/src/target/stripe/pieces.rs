//! What commands want of slices.
//!
//! Invariants:
//! * a piece belongs to one command and stands in one list of one slice;
//! * a command has at most [`PIECES_MAX`] pieces, and is answered when none is left.

use super::{NONE, Slice};
use crate::order::CommandIndex;
use raid::stripe::{SectorMask, sector_mask};

/// Most pieces of a command: 24 sectors over slices of 8.
pub(in crate::target) const PIECES_MAX: usize = 4;

/// What a piece wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::target) enum PieceKind {
    Read,
    Write,
    /// A step of a pass, over all of the slice.
    Sync,
}

/// A piece that is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::target) struct Wish {
    pub(in crate::target) kind: PieceKind,
    /// The element that holds the data.
    pub(in crate::target) element: u8,
    /// Where, in member sectors.
    pub(in crate::target) member_sector: u64,
    pub(in crate::target) sectors: u32,
    /// Where in the buffer of the command.
    pub(in crate::target) buffer_sector: u32,
    /// The element was tried, and could not be read.
    pub(in crate::target) is_unreadable: bool,
    /// It is only slow.
    pub(in crate::target) is_late: bool,
}

/// What a command wants of a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) kind: PieceKind,
    pub(super) element: u8,
    pub(super) mask: SectorMask,
    pub(super) buffer_sector: u32,
    pub(super) is_unreadable: bool,
    pub(super) is_late: bool,
    pub(super) next: u16,
}

/// All pieces: those of command c are [`PIECES_MAX`] · c and following.
#[derive(Debug)]
pub(super) struct Pieces(Box<[Piece]>);

impl Pieces {
    pub(super) fn new(commands: u16) -> Self {
        let none = Piece {
            kind: PieceKind::Read,
            element: 0,
            mask: 0,
            buffer_sector: 0,
            is_unreadable: false,
            is_late: false,
            next: NONE,
        };
        Self(vec![none; usize::from(commands) * PIECES_MAX].into())
    }

    pub(super) fn get(&self, index: u16) -> &Piece {
        &self.0[usize::from(index)]
    }

    /// Sets a piece of a command and gives its index.
    pub(super) fn set(
        &mut self,
        command: CommandIndex,
        number: u8,
        wish: &Wish,
        start: u32,
    ) -> u16 {
        assert!(usize::from(number) < PIECES_MAX, "a command has few pieces");
        let index = usize::from(command) * PIECES_MAX + usize::from(number);
        self.0[index] = Piece {
            kind: wish.kind,
            element: wish.element,
            mask: sector_mask(start, wish.sectors),
            buffer_sector: wish.buffer_sector,
            is_unreadable: wish.is_unreadable,
            is_late: wish.is_late,
            next: NONE,
        };
        u16::try_from(index).unwrap_or(NONE)
    }

    /// The command of a piece.
    pub(super) fn command(index: u16) -> CommandIndex {
        index / u16::try_from(PIECES_MAX).unwrap_or(1)
    }

    /// Adds a piece behind those that wait for a slice.
    pub(super) fn wait(&mut self, slice: &mut Slice, piece: u16) {
        if slice.waiting_first == NONE {
            slice.waiting_first = piece;
        } else {
            self.0[usize::from(slice.waiting_last)].next = piece;
        }
        slice.waiting_last = piece;
    }

    /// Moves the pieces that wait first and want the same into the round of a slice; a step of a pass
    /// goes alone. What they want; `None` when none waits.
    pub(super) fn take_round(&mut self, slice: &mut Slice) -> Option<PieceKind> {
        let first = slice.waiting_first;
        if first == NONE {
            return None;
        }
        let kind = self.get(first).kind;
        let mut last = first;
        loop {
            let next = self.get(last).next;
            if kind == PieceKind::Sync || next == NONE || self.get(next).kind != kind {
                slice.waiting_first = next;
                break;
            }
            last = next;
        }
        if slice.waiting_first == NONE {
            slice.waiting_last = NONE;
        }
        self.0[usize::from(last)].next = NONE;
        slice.pieces = first;
        Some(kind)
    }

    /// Leaves only the first piece in the round of a slice, and lets the others wait before all that
    /// do. False when there are no others.
    pub(super) fn split_round(&mut self, slice: &mut Slice) -> bool {
        let rest = std::mem::replace(&mut self.0[usize::from(slice.pieces)].next, NONE);
        let Some((last, _)) = self.list(rest).last() else {
            return false;
        };
        self.0[usize::from(last)].next = slice.waiting_first;
        if slice.waiting_first == NONE {
            slice.waiting_last = last;
        }
        slice.waiting_first = rest;
        true
    }

    /// The elements of which pieces of a list say that they could not be read.
    pub(super) fn unreadable(&self, first: u16) -> u64 {
        let unreadable = self.list(first).filter(|(_, piece)| piece.is_unreadable);
        unreadable.fold(0, |bits, (_, piece)| bits | 1_u64 << piece.element)
    }

    /// The elements of which pieces of a list say that they are only slow.
    pub(super) fn late(&self, first: u16) -> u64 {
        let late = self.list(first).filter(|(_, piece)| piece.is_late);
        late.fold(0, |bits, (_, piece)| bits | 1_u64 << piece.element)
    }

    /// The pieces of a list.
    pub(super) fn list(&self, first: u16) -> impl Iterator<Item = (u16, &Piece)> {
        let mut next = first;
        std::iter::from_fn(move || {
            let index = next;
            let piece = self.0.get(usize::from(index))?;
            next = piece.next;
            Some((index, piece))
        })
    }
}

//! Page-aligned memory without unsafe code: what O_DIRECT wants.

use std::ops::{Deref, DerefMut};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Size and alignment of a page.
pub(crate) const PAGE_BYTES: usize = 4096;

#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

/// A page-aligned run of bytes of fixed length.
pub(crate) struct Pages(Box<[Page]>);

impl Pages {
    /// Zeroed memory of `pages` pages; `None` when there is not so much of it.
    pub(crate) fn new_zeroed(pages: usize) -> Option<Self> {
        <[Page]>::new_box_zeroed_with_elems(pages).ok().map(Self)
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_bytes()
    }
}

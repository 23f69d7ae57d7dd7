//! How a drive is made to hold zeroes.
//!
//! Deallocation frees space, and the kernel guarantees that what was deallocated in this way reads as zeroes:
//! holes of a file, and WRITE ZEROES of a device. A plain discard guarantees nothing, and is not used. A
//! drive that cannot deallocate is zeroed by the kernel, and one that cannot do that either is written.
//!
//! Invariant: a drive only ever goes from one way to the next, so that each is tried once.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};

/// A way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Zeroing {
    /// `FALLOC_FL_PUNCH_HOLE`: deallocates.
    Deallocate,
    /// `FALLOC_FL_ZERO_RANGE`: the kernel zeroes, and space stays allocated.
    ZeroRange,
    /// Zeroes are written.
    Write,
}

impl Zeroing {
    const ALL: [Self; 3] = [Self::Deallocate, Self::ZeroRange, Self::Write];

    /// The next one; `None` after the last.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        let mut after = Self::ALL.into_iter().filter(|way| *way > self);
        after.next()
    }

    /// The mode of `fallocate(2)`, if it is done with that. The size of a file never changes.
    pub(crate) const fn fallocate_mode(self) -> Option<i32> {
        match self {
            Self::Deallocate => Some(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE),
            Self::ZeroRange => Some(libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE),
            Self::Write => None,
        }
    }
}

impl fmt::Display for Zeroing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deallocate => "what is trimmed is deallocated",
            Self::ZeroRange => "what is trimmed is zeroed by the kernel, not deallocated",
            Self::Write => "what is trimmed is written with zeroes",
        })
    }
}

/// The way of a drive, which its users share.
#[derive(Debug)]
pub(crate) struct Way(AtomicU8);

impl Way {
    pub(crate) const fn new(way: Zeroing) -> Self {
        Self(AtomicU8::new(way as u8))
    }

    pub(crate) fn get(&self) -> Zeroing {
        let number = self.0.load(Ordering::Relaxed);
        Zeroing::ALL[usize::from(number).min(Zeroing::ALL.len() - 1)]
    }

    /// This way does not work. Whether anything changes by that.
    pub(crate) fn give_up(&self, way: Zeroing) -> bool {
        let next = way.next().unwrap_or(Zeroing::Write) as u8;
        self.0.fetch_max(next, Ordering::Relaxed) < next
    }
}

/// The way of a file: asks for a hole behind its end, where there is nothing to lose.
pub(crate) fn of_file(file: &File, size_bytes: u64) -> Zeroing {
    use rustix::fs::{FallocateFlags, fallocate};
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let behind = size_bytes.next_multiple_of(4096);
    match fallocate(file.as_fd(), flags, behind, 4096) {
        Ok(()) => Zeroing::Deallocate,
        // It is seen whether this works when it is asked for: behind the end it would allocate.
        Err(_) => Zeroing::ZeroRange,
    }
}

/// The way of a device, by the largest WRITE ZEROES that the kernel tells. Without any the kernel writes.
pub(crate) fn of_device(write_zeroes_max_bytes: Option<&str>) -> Zeroing {
    let bytes = write_zeroes_max_bytes.and_then(|text| text.trim().parse::<u64>().ok());
    if bytes.unwrap_or(0) > 0 {
        Zeroing::Deallocate
    } else {
        Zeroing::ZeroRange
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_does_not_work_is_not_gone_back_to() {
        let way = Way::new(Zeroing::Deallocate);
        assert!(way.give_up(Zeroing::Deallocate));
        assert_eq!(way.get(), Zeroing::ZeroRange);
        assert!(!way.give_up(Zeroing::Deallocate), "known");
        assert!(way.give_up(Zeroing::ZeroRange));
        assert!(!way.give_up(Zeroing::ZeroRange));
        assert_eq!(way.get(), Zeroing::Write);
        assert_eq!(Zeroing::Write.next(), None);
    }

    #[test]
    fn devices_tell_whether_they_deallocate() {
        assert_eq!(of_device(Some("2199023255040\n")), Zeroing::Deallocate);
        assert_eq!(of_device(Some("0\n")), Zeroing::ZeroRange);
        assert_eq!(of_device(None), Zeroing::ZeroRange);
    }
}

//! Memory that the drives and the ports of a worker share: what a drive has read leaves from where it lies.
//!
//! One mapping holds the buffers of the worker's commands and, before them, an area for each of its AF_XDP
//! ports. The umem of a port is everything from its own area to the end of the buffers, so that it may
//! receive into the one and send from the other.
//!
//! Invariants:
//! - an area has one owner, and so have the buffers: no two of them overlap;
//! - the mapping stays where it is, and readable and writable wherever it was given out, until nobody has any
//!   of it;
//! - areas are given out from the buffers down, so that a umem covers nothing that was never given out.

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use stable_deref_trait::StableDeref;
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// What kernel and processor divide memory into.
const PAGE_BYTES: usize = 4096;

/// How many areas there can be: address space only, until they are taken.
const AREAS_MAX: usize = 64;

/// Memory of a worker; clones are of the same.
#[derive(Clone, Debug)]
pub struct SharedMemory(Arc<Mapping>);

/// The buffers of a worker's commands; whoever has them is their only owner.
#[derive(Debug)]
pub struct BufferMemory {
    mapping: Arc<Mapping>,
}

/// The area of a port.
#[derive(Debug)]
pub(crate) struct PortArea {
    mapping: Arc<Mapping>,
    index: usize,
}

#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    area_bytes: usize,
    buffer_bytes: usize,
    areas: Mutex<Areas>,
}

// SAFETY: a mapping is an address and two lengths, which never change, and a list behind a lock; the bytes
// belong to the owners of areas and buffers, each to one.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

#[derive(Debug)]
struct Areas {
    /// How many were given out ever: these are readable and writable.
    opened: usize,
    /// Of these, the ones that were given back.
    free: Vec<usize>,
}

/// Rounds up to whole pages.
const fn whole_pages(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES) * PAGE_BYTES
}

impl SharedMemory {
    /// Memory with so many bytes of buffers, zeroed; they begin at a page.
    ///
    /// # Errors
    /// When the kernel gives no memory.
    pub fn new(buffer_bytes: usize) -> io::Result<(Self, BufferMemory)> {
        let mapping = Mapping::new(whole_pages(buffer_bytes), super::umem::AREA_BYTES)?;
        let mapping = Arc::new(mapping);
        let buffers = BufferMemory {
            mapping: Arc::clone(&mapping),
        };
        Ok((Self(mapping), buffers))
    }

    /// An area for a port.
    pub(crate) fn area(&self) -> io::Result<PortArea> {
        let index = self.0.open_area()?;
        Ok(PortArea {
            mapping: Arc::clone(&self.0),
            index,
        })
    }
}

impl Mapping {
    fn new(buffer_bytes: usize, area_bytes: usize) -> io::Result<Self> {
        let areas_bytes = AREAS_MAX * area_bytes;
        let len_bytes = areas_bytes + buffer_bytes;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let address = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), len_bytes, ProtFlags::empty(), flags)
        }?;
        let base = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mapping = Self {
            base,
            area_bytes,
            buffer_bytes,
            areas: Mutex::new(Areas {
                opened: 0,
                free: Vec::new(),
            }),
        };
        mapping.open(areas_bytes..len_bytes)?;
        Ok(mapping)
    }

    const fn len_bytes(&self) -> usize {
        AREAS_MAX * self.area_bytes + self.buffer_bytes
    }

    /// Makes a part readable and writable.
    fn open(&self, part: Range<usize>) -> io::Result<()> {
        let both = MprotectFlags::READ | MprotectFlags::WRITE;
        let start = self.at(part.start);
        // SAFETY: the part lies inside the mapping, and nobody has any of it yet.
        unsafe { rustix::mm::mprotect(start.as_ptr().cast(), part.len(), both) }?;
        Ok(())
    }

    /// The address of a place.
    fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.len_bytes(), "{offset} is outside");
        // SAFETY: the assertion keeps it inside the mapping.
        unsafe { self.base.add(offset) }
    }

    /// Where an area begins: the first lies next to the buffers.
    const fn area_start(&self, index: usize) -> usize {
        (AREAS_MAX - 1 - index) * self.area_bytes
    }

    fn open_area(&self) -> io::Result<usize> {
        let mut areas = self.areas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = areas.free.pop() {
            return Ok(index);
        }
        let index = areas.opened;
        if index == AREAS_MAX {
            let text = format!("a worker has at most {AREAS_MAX} receive queues of AF_XDP");
            return Err(io::Error::other(text));
        }
        let start = self.area_start(index);
        self.open(start..start + self.area_bytes)?;
        areas.opened += 1;
        Ok(index)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is whole and ours, and nobody has any of it any more: every owner holds it.
        let result = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len_bytes()) };
        debug_assert!(result.is_ok(), "unmapping shared memory: {result:?}");
    }
}

impl Deref for BufferMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.mapping.at(AREAS_MAX * self.mapping.area_bytes);
        // SAFETY: the buffers lie inside the mapping, which lives as long as `self`, the only owner of them.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.mapping.buffer_bytes) }
    }
}

impl DerefMut for BufferMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.mapping.at(AREAS_MAX * self.mapping.area_bytes);
        // SAFETY: as for `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.mapping.buffer_bytes) }
    }
}

// SAFETY: the bytes lie in the mapping, which does not move when its owner does.
unsafe impl StableDeref for BufferMemory {}

impl PortArea {
    /// Where the umem begins.
    pub(crate) fn address(&self) -> NonNull<u8> {
        self.mapping.at(self.mapping.area_start(self.index))
    }

    /// Bytes of the umem: the area, those of earlier ports, the buffers.
    pub(crate) fn umem_bytes(&self) -> usize {
        self.mapping.len_bytes() - self.mapping.area_start(self.index)
    }

    /// Where in the umem the buffers lie.
    pub(crate) fn buffers(&self) -> Range<usize> {
        let end = self.umem_bytes();
        end - self.mapping.buffer_bytes..end
    }

    /// Some bytes of the area.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        let start = self.part(&range);
        // SAFETY: the range lies inside the area, which is `self`'s alone and lives as long. Of what the
        // kernel may be writing nobody asks (`UmemRings`).
        unsafe { std::slice::from_raw_parts(start.as_ptr(), range.len()) }
    }

    /// Some bytes of the area, to be written.
    pub(crate) fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        let start = self.part(&range);
        // SAFETY: as for `bytes`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), range.len()) }
    }

    fn part(&self, range: &Range<usize>) -> NonNull<u8> {
        let area_bytes = self.mapping.area_bytes;
        assert!(
            range.start <= range.end && range.end <= area_bytes,
            "{range:?} leaves its area"
        );
        self.mapping
            .at(self.mapping.area_start(self.index) + range.start)
    }
}

impl Drop for PortArea {
    fn drop(&mut self) {
        let bytes = self.mapping.area_bytes;
        let start = self.address();
        // SAFETY: the area is inside the mapping and nobody's any more: what it holds may be forgotten.
        let result =
            unsafe { rustix::mm::madvise(start.as_ptr().cast(), bytes, Advice::LinuxDontNeed) };
        debug_assert!(result.is_ok(), "giving back an area: {result:?}");
        let areas = &self.mapping.areas;
        let mut areas = areas.lock().unwrap_or_else(PoisonError::into_inner);
        areas.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_lie_below_the_buffers_and_are_used_again() {
        let (memory, mut buffers) = SharedMemory::new(3 * PAGE_BYTES + 1).unwrap();
        assert_eq!(buffers.len(), 4 * PAGE_BYTES);
        let base = buffers.as_ptr().addr();
        assert!(base.is_multiple_of(PAGE_BYTES));
        let mut first = memory.area().unwrap();
        let second = memory.area().unwrap();
        for (area, distance) in [(&first, 1), (&second, 2)] {
            let umem = area.address().addr().get();
            assert_eq!(base - umem, distance * super::super::umem::AREA_BYTES);
            assert_eq!(umem + area.buffers().start, base);
            assert_eq!(area.buffers().len(), buffers.len());
            assert_eq!(area.umem_bytes(), area.buffers().end);
        }
        buffers.fill(1);
        first.bytes_mut(0..9).fill(2);
        assert_eq!(second.bytes(0..9), [0; 9]);
        assert!(buffers.iter().all(|&byte| byte == 1));
        let index = first.index;
        drop(first);
        let again = memory.area().unwrap();
        assert_eq!((again.index, again.bytes(0..9)), (index, &[0; 9][..]));
        drop((memory, second, again));
        assert_eq!(buffers[5], 1);
    }

    #[test]
    #[should_panic(expected = "leaves its area")]
    fn an_area_ends_where_it_ends() {
        let (memory, _buffers) = SharedMemory::new(1).unwrap();
        let bytes = super::super::umem::AREA_BYTES;
        memory.area().unwrap().bytes(bytes - 1..bytes + 1);
    }
}

//! Memory that the drives and the ports of a worker share: what a drive has read leaves from where it lies.
//!
//! One mapping holds the buffers of the worker's commands and, before them, an area for each of its AF_XDP
//! ports. The umem of a port is everything from its own area to the end of the buffers, so that it may
//! receive into the one and send from the other. Where several workers have sockets on one receive queue, all
//! these are over one umem: then one mapping holds the buffers of all of them, and each socket has an area.
//!
//! Invariants:
//! - an area has one owner, and so have the buffers of a worker: no two of them overlap. But chunks that
//!   receive belong to whichever socket of their umem the kernel has given them to;
//! - the mapping stays where it is, and readable and writable wherever it was given out, until nobody has any
//!   of it;
//! - areas are given out from the buffers down, so that a umem covers nothing that was never given out.

use rustix::io::Errno;
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
pub struct SharedMemory {
    mapping: Arc<Mapping>,
    /// Which of the workers.
    worker: usize,
}

/// The buffers of a worker's commands; whoever has them is their only owner.
#[derive(Debug)]
pub struct BufferMemory {
    mapping: Arc<Mapping>,
    worker: usize,
}

/// The areas of the sockets of a queue, and all memory behind the first of them.
#[derive(Debug)]
pub(crate) struct Umem {
    mapping: Arc<Mapping>,
    /// Their indices: of each socket its own.
    areas: Box<[usize]>,
}

/// What a socket sees of its umem.
#[derive(Debug)]
pub(crate) struct PortArea {
    umem: Arc<Umem>,
    /// Where in the umem the buffers of its worker lie, and its own area.
    buffers: Range<usize>,
    own: usize,
    /// Where in the mapping the umem begins.
    start: usize,
}

#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    area_bytes: usize,
    /// Of each worker.
    buffer_bytes: usize,
    /// Of all areas that there can be, and of these and all buffers: known, since frame by frame is checked
    /// against them.
    areas_bytes: usize,
    len_bytes: usize,
    areas: Mutex<Areas>,
}

// SAFETY: a mapping is an address and some lengths, which never change, and a list behind a lock; the bytes
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
        let mut all = Self::of_workers(buffer_bytes, 1)?;
        all.pop().ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// The same for each of some workers, who may share receive queues then.
    ///
    /// # Errors
    /// When the kernel gives no memory.
    pub fn of_workers(buffer_bytes: usize, workers: u8) -> io::Result<Vec<(Self, BufferMemory)>> {
        let workers = usize::from(workers);
        let area_bytes = super::umem::AREA_BYTES;
        let mapping = Mapping::new(whole_pages(buffer_bytes), area_bytes, workers)?;
        let mapping = Arc::new(mapping);
        let of = |worker| {
            let memory = Self {
                mapping: Arc::clone(&mapping),
                worker,
            };
            let buffers = BufferMemory {
                mapping: Arc::clone(&mapping),
                worker,
            };
            (memory, buffers)
        };
        Ok((0..workers).map(of).collect())
    }

    /// A umem for a queue that these workers share; for each of them what it sees of it.
    pub(crate) fn areas(sharers: &[Self]) -> io::Result<Vec<PortArea>> {
        let Some(mapping) = sharers.first().map(|first| &first.mapping) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if !sharers
            .iter()
            .all(|other| Arc::ptr_eq(mapping, &other.mapping))
        {
            return Err(io::Error::other("the workers have no memory in common"));
        }
        let mut umem = Umem {
            mapping: Arc::clone(mapping),
            areas: Box::default(),
        };
        let mut areas = Vec::with_capacity(sharers.len());
        for _ in sharers {
            match mapping.open_area() {
                Ok(area) => areas.push(area),
                Err(error) => {
                    // Gives back those that there were.
                    umem.areas = areas.into();
                    return Err(error);
                }
            }
        }
        umem.areas = areas.into();
        let umem = Arc::new(umem);
        let area = |(socket, memory): (usize, &Self)| PortArea {
            umem: Arc::clone(&umem),
            buffers: umem.buffers(memory.worker),
            own: umem.area_start(socket),
            start: umem.start(),
        };
        Ok(sharers.iter().enumerate().map(area).collect())
    }
}

impl Umem {
    /// Where it begins in the mapping: at the lowest area.
    fn start(&self) -> usize {
        let starts = self
            .areas
            .iter()
            .map(|index| self.mapping.area_start(*index));
        starts.min().unwrap_or(0)
    }

    /// Where in the umem an area begins.
    fn area_start(&self, socket: usize) -> usize {
        self.mapping.area_start(self.areas[socket]) - self.start()
    }

    fn buffers(&self, worker: usize) -> Range<usize> {
        let start = self.mapping.buffers_start(worker) - self.start();
        start..start + self.mapping.buffer_bytes
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        for index in &self.areas {
            self.mapping.close_area(*index);
        }
    }
}

impl Mapping {
    fn new(buffer_bytes: usize, area_bytes: usize, workers: usize) -> io::Result<Self> {
        let areas_bytes = AREAS_MAX * workers * area_bytes;
        let len_bytes = areas_bytes + workers * buffer_bytes;
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
            areas_bytes,
            len_bytes,
            areas: Mutex::new(Areas {
                opened: 0,
                free: Vec::new(),
            }),
        };
        mapping.open(areas_bytes..len_bytes)?;
        Ok(mapping)
    }

    /// How many areas there can be.
    const fn areas_max(&self) -> usize {
        self.areas_bytes / self.area_bytes
    }

    /// Where the buffers of a worker begin.
    const fn buffers_start(&self, worker: usize) -> usize {
        self.areas_bytes + worker * self.buffer_bytes
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
        assert!(offset <= self.len_bytes, "{offset} is outside");
        // SAFETY: the assertion keeps it inside the mapping.
        unsafe { self.base.add(offset) }
    }

    /// Where an area begins: the first lies next to the buffers.
    const fn area_start(&self, index: usize) -> usize {
        (self.areas_max() - 1 - index) * self.area_bytes
    }

    fn open_area(&self) -> io::Result<usize> {
        let mut areas = self.areas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = areas.free.pop() {
            return Ok(index);
        }
        let index = areas.opened;
        let areas_max = self.areas_max();
        if index == areas_max {
            let text = format!("there are at most {areas_max} sockets of AF_XDP");
            return Err(io::Error::other(text));
        }
        let start = self.area_start(index);
        self.open(start..start + self.area_bytes)?;
        areas.opened += 1;
        Ok(index)
    }

    /// An area is nobody's any more.
    fn close_area(&self, index: usize) {
        let start = self.at(self.area_start(index)).as_ptr().cast();
        // SAFETY: the area is inside the mapping and nobody's any more: what it holds may be forgotten.
        let result = unsafe { rustix::mm::madvise(start, self.area_bytes, Advice::LinuxDontNeed) };
        // What is locked in memory stays there, for the next one.
        let is_fine = matches!(result, Ok(()) | Err(Errno::INVAL));
        debug_assert!(is_fine, "giving back an area: {result:?}");
        let mut areas = self.areas.lock().unwrap_or_else(PoisonError::into_inner);
        areas.free.push(index);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is whole and ours, and nobody has any of it any more: every owner holds it.
        let result = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len_bytes) };
        debug_assert!(result.is_ok(), "unmapping shared memory: {result:?}");
    }
}

impl Deref for BufferMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.mapping.at(self.mapping.buffers_start(self.worker));
        // SAFETY: the buffers lie inside the mapping, which lives as long as `self`, the only owner of them.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.mapping.buffer_bytes) }
    }
}

impl DerefMut for BufferMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.mapping.at(self.mapping.buffers_start(self.worker));
        // SAFETY: as for `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.mapping.buffer_bytes) }
    }
}

// SAFETY: the bytes lie in the mapping, which does not move when its owner does.
unsafe impl StableDeref for BufferMemory {}

impl PortArea {
    /// Where the umem begins.
    pub(crate) fn address(&self) -> NonNull<u8> {
        self.umem.mapping.at(self.start)
    }

    /// Bytes of the umem: the areas, those of earlier ports, the buffers.
    pub(crate) fn umem_bytes(&self) -> usize {
        self.umem.mapping.len_bytes - self.start
    }

    /// Where in the umem the buffers of the worker lie.
    pub(crate) fn buffers(&self) -> Range<usize> {
        self.buffers.clone()
    }

    /// Where in the umem its own area begins.
    pub(crate) const fn own_start(&self) -> usize {
        self.own
    }

    /// Which of the sockets of the queue a place of the umem belongs to: by its area, or the buffers of its
    /// worker.
    pub(crate) fn socket_of(&self, place: usize) -> usize {
        let mapping = &self.umem.mapping;
        let place = place.saturating_add(self.start);
        if let Some(offset) = place.checked_sub(mapping.buffers_start(0)) {
            return offset / mapping.buffer_bytes.max(1);
        }
        let index = mapping.areas_max() - 1 - place / mapping.area_bytes;
        let areas = &self.umem.areas;
        areas.iter().position(|area| *area == index).unwrap_or(0)
    }

    /// Some bytes of a chunk that the kernel has received into, and given to the socket.
    pub(crate) fn received(&self, range: Range<usize>) -> &[u8] {
        let mapping = &self.umem.mapping;
        let start = range.start + self.start;
        // Mostly in its own area, where there is nothing to divide.
        let in_own = range.start.wrapping_sub(self.own);
        let is_own = in_own < super::umem::TX_START;
        let within = if is_own {
            in_own
        } else {
            start % super::umem::AREA_BYTES
        };
        assert!(
            range.start <= range.end
                && within + range.len() <= super::umem::TX_START
                && (is_own || start < mapping.areas_bytes),
            "{range:?} is not where frames are received"
        );
        let start = mapping.at(start);
        // SAFETY: the range lies where an area receives. The kernel gave its chunk to this socket, whose
        // alone it is until it goes back to the fill ring, which takes `&mut UmemRings`.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), range.len()) }
    }

    /// Some bytes of its own area, to be written: of what it sends.
    pub(crate) fn sent_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        let own = self.own;
        let (first, end) = (own + super::umem::TX_START, own + super::umem::AREA_BYTES);
        assert!(
            first <= range.start && range.start <= range.end && range.end <= end,
            "{range:?} leaves its area"
        );
        let start = self.umem.mapping.at(self.start + range.start);
        // SAFETY: the range lies where the socket's own area sends, which is `self`'s alone and lives as
        // long, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::umem::{AREA_BYTES, TX_START};
    use super::*;

    fn area(memory: &SharedMemory) -> PortArea {
        let areas = SharedMemory::areas(std::slice::from_ref(memory));
        areas.unwrap().pop().unwrap()
    }

    #[test]
    fn areas_lie_below_the_buffers_and_are_used_again() {
        let (memory, mut buffers) = SharedMemory::new(3 * PAGE_BYTES + 1).unwrap();
        assert_eq!(buffers.len(), 4 * PAGE_BYTES);
        let base = buffers.as_ptr().addr();
        assert!(base.is_multiple_of(PAGE_BYTES));
        let mut first = area(&memory);
        let second = area(&memory);
        for (area, distance) in [(&first, 1), (&second, 2)] {
            let umem = area.address().addr().get();
            assert_eq!(base - umem, distance * AREA_BYTES);
            assert_eq!(umem + area.buffers().start, base);
            assert_eq!(area.buffers().len(), buffers.len());
            assert_eq!(area.umem_bytes(), area.buffers().end);
            assert_eq!(area.own_start(), 0);
        }
        buffers.fill(1);
        first.sent_mut(TX_START..TX_START + 9).fill(2);
        assert_eq!(second.received(0..9), [0; 9]);
        assert!(buffers.iter().all(|&byte| byte == 1));
        let place = first.address();
        drop(first);
        let mut again = area(&memory);
        assert_eq!(again.address(), place);
        assert_eq!(again.sent_mut(TX_START..TX_START + 9), [0; 9]);
        drop((memory, second, again));
        assert_eq!(buffers[5], 1);
    }

    #[test]
    fn workers_that_share_a_queue_have_one_umem_with_areas_and_buffers_of_their_own() {
        let all = SharedMemory::of_workers(PAGE_BYTES, 3).unwrap();
        let (memories, buffers): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let _other = area(&memories[1]);
        let areas = SharedMemory::areas(&memories).unwrap();
        let base = areas[0].address().addr().get();
        for (socket, area) in areas.iter().enumerate() {
            assert_eq!(area.address().addr().get(), base);
            assert_eq!(area.umem_bytes(), areas[0].umem_bytes());
            let own = buffers[socket].as_ptr().addr();
            assert_eq!(base + area.buffers().start, own);
            for place in [
                area.own_start(),
                area.own_start() + AREA_BYTES - 1,
                area.buffers().start,
            ] {
                assert!(areas.iter().all(|other| other.socket_of(place) == socket));
            }
        }
        let starts: std::collections::BTreeSet<_> = areas.iter().map(PortArea::own_start).collect();
        assert_eq!(starts.len(), 3);
        let strangers = [memories[0].clone(), SharedMemory::new(1).unwrap().0];
        assert!(SharedMemory::areas(&strangers).is_err());
    }

    #[test]
    #[should_panic(expected = "is not where frames are received")]
    fn nothing_is_received_where_frames_are_sent() {
        let (memory, _buffers) = SharedMemory::new(1).unwrap();
        area(&memory).received(TX_START - 1..TX_START + 1);
    }

    #[test]
    #[should_panic(expected = "leaves its area")]
    fn an_area_ends_where_it_ends() {
        let (memory, _buffers) = SharedMemory::new(1).unwrap();
        area(&memory).sent_mut(AREA_BYTES - 1..AREA_BYTES + 1);
    }
}

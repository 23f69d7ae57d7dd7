//! An AF_XDP socket over memory that its worker's drives share: replies leave from where the data lies.
//!
//! xsk-rs makes the memory of its sockets itself, and fixes where in a chunk a frame begins; this needs the
//! worker's memory, and descriptors of any page of it. So it speaks to the kernel itself.
//!
//! Invariants:
//! - a chunk of the area is in exactly one place: the fill ring or the kernel's hands, the run of the frame
//!   being received, the list going back to the fill ring, the list of free transmit chunks, or in flight.
//!   Receive chunks and transmit chunks never mix. The fill ring has a place for every receive chunk;
//! - sockets that share a queue have one fill ring and one completion ring, which one of them uses at a time
//!   ([`super::supply`]). What is received goes back to the fill ring wherever it was taken from; what is
//!   sent comes back to the socket that sent it, in its order;
//! - *lent* are bytes of the buffers that a frame in flight sends. Their owner neither writes them nor lets
//!   a drive write them until the frame's token has come back;
//! - the completion ring has a place for every entry of the transmit ring;
//! - the kernel is trusted to name only memory that we gave it, and to complete the pieces of a frame one
//!   right after the other ([`tells_the_truth`]).

use super::shared::PortArea;
use super::supply::Supply;
use super::{
    BATCH, CHUNK_BYTES, FRAME_CONTINUES, HEADROOM_BYTES, RX_RUN_MAX, ReceiveTally, checked,
    get_option, kernel_len, raise_send_budget, set_option,
};
use crate::SharedMemory;
use crate::frame::ReceivedFrame;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{RecvFlags, SendFlags};
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Chunks that receive, and entries of the fill ring: more than 1,300 frames of 9014 bytes, some 9 ms of
/// 10 Gb/s, which is longer than a scheduler tick.
const RX_CHUNKS: u32 = 4096;

/// Entries of the receive ring: as many as a socket has chunks, so that one whose worker is held up takes no
/// more than those from the others of its queue.
const RX_RING_ENTRIES: u32 = 4096;

/// Chunks that send headers, and whole frames whose bytes lie in no buffer.
const TX_CHUNKS: u32 = 2048;

/// Entries of the transmit and completion rings: a header and three pages for more frames than a worker has
/// commands.
const TX_RING_ENTRIES: u32 = 8192;

/// How long a system call of a socket that polls busily may look for frames, and how many it may take: what
/// drivers take at a time themselves.
const BUSY_POLL_US: libc::c_int = 20;
const BUSY_POLL_FRAMES: libc::c_int = 64;

const PAGE: usize = CHUNK_BYTES as usize;

/// What a port has of its own: receive chunks, then transmit chunks.
pub(super) const AREA_BYTES: usize = (RX_CHUNKS + TX_CHUNKS) as usize * PAGE;

/// Where transmit chunks begin.
pub(super) const TX_START: usize = RX_CHUNKS as usize * PAGE;

/// The most pieces of a frame: a header and the pages that 9 KiB can touch, which every driver with zero copy
/// for jumbo frames takes (eight).
const TX_RUN_MAX: usize = 4;

/// The longest frame that is sent by copies.
pub(crate) const UMEM_FRAME_BYTES_MAX: usize = TX_RUN_MAX * PAGE;

/// What the kernel makes for sockets that send by copies since it says truly which frames it is done with.
const TRUTHFUL_COMPLETIONS: &str = "/sys/kernel/slab/xsk_generic_xmit_cache";

/// Whether the completion ring says truly which frames are sent. With zero copy it always does. Where the
/// kernel copies it has done so only since 6.18: before, it names frames in the order in which they were
/// handed over, though another one was sent.
pub(crate) fn tells_the_truth(is_zero_copy: bool) -> bool {
    is_zero_copy || Path::new(TRUTHFUL_COMPLETIONS).exists()
}

// --- Rings ---------------------------------------------------------------------------------------

/// One of the four rings, mapped.
pub(super) struct Ring<T> {
    base: NonNull<u8>,
    len_bytes: usize,
    offsets: libc::xdp_ring_offset,
    entries: u32,
    /// Our own place: the next entry that we write, or read.
    own: u32,
    /// What we saw last of the kernel's place.
    seen: u32,
    _entries: PhantomData<T>,
}

// SAFETY: a ring is memory that the kernel shares with one owner; which thread that is does not matter.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// Maps a ring of a socket that was told its size.
    fn map(
        socket: BorrowedFd<'_>,
        offsets: libc::xdp_ring_offset,
        entries: u32,
        at: u64,
    ) -> io::Result<Self> {
        let len_bytes = usize::try_from(offsets.desc).map_err(io::Error::other)?
            + entries as usize * size_of::<T>();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len_bytes,
                protection,
                flags,
                socket,
                at,
            )
        }?;
        let base = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self {
            base,
            len_bytes,
            offsets,
            entries,
            own: 0,
            seen: 0,
            _entries: PhantomData,
        })
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        let offset = offset as usize;
        assert!(
            offset + size_of::<u32>() <= self.len_bytes && offset.is_multiple_of(align_of::<u32>()),
            "no word at {offset}"
        );
        // SAFETY: the assertion keeps it inside the mapping.
        let word = unsafe { self.base.add(offset) };
        // SAFETY: the kernel said that a word of the ring lies there; it is aligned and lives as long as
        // `self`, and the kernel accesses it atomically.
        unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) }
    }

    fn producer(&self) -> &AtomicU32 {
        self.word(self.offsets.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.word(self.offsets.consumer)
    }

    /// Whether the kernel waits for a call.
    pub(super) fn needs_wakeup(&self) -> bool {
        self.word(self.offsets.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn entry(&self, number: u32) -> NonNull<T> {
        let index = (number & (self.entries - 1)) as usize;
        let offset = self.offsets.desc as usize + index * size_of::<T>();
        // SAFETY: the index is below the number of entries, all of which lie in the mapping, aligned.
        unsafe { self.base.add(offset).cast() }
    }

    /// How many entries we may write.
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        if self.entries - self.own.wrapping_sub(self.seen) < wanted {
            self.seen = self.consumer().load(Ordering::Acquire);
        }
        self.entries - self.own.wrapping_sub(self.seen)
    }

    /// Writes the next entry; the kernel sees it after [`Ring::publish`].
    pub(super) fn write(&mut self, value: T) {
        debug_assert!(self.own.wrapping_sub(self.seen) < self.entries, "no room");
        // SAFETY: entries from the consumer's place on are ours (`room`), and this is the next of them.
        unsafe { self.entry(self.own).write(value) };
        self.own = self.own.wrapping_add(1);
    }

    pub(super) fn publish(&self) {
        self.producer().store(self.own, Ordering::Release);
    }

    /// How many that we wrote the kernel has not taken yet.
    fn untaken(&self) -> u32 {
        self.own
            .wrapping_sub(self.consumer().load(Ordering::Acquire))
    }

    /// Asks the kernel how far it is filled, if everything was read that it said last; whether it was asked.
    fn look(&mut self) -> bool {
        let is_read = self.own == self.seen;
        if is_read {
            self.seen = self.producer().load(Ordering::Acquire);
        }
        is_read
    }

    /// Reads the next entry that was seen by [`Ring::look`].
    fn read_seen(&mut self) -> Option<T> {
        if self.own == self.seen {
            None
        } else {
            self.read()
        }
    }

    /// Whether there is an entry to read.
    fn has_entry(&mut self) -> bool {
        if self.own == self.seen {
            self.seen = self.producer().load(Ordering::Acquire);
        }
        self.own != self.seen
    }

    /// Reads the next entry, if there is one; the kernel may use its place after [`Ring::release`].
    pub(super) fn read(&mut self) -> Option<T> {
        if !self.has_entry() {
            return None;
        }
        // SAFETY: entries before the producer's place were written by the kernel, and are ours until then.
        let value = unsafe { self.entry(self.own).read() };
        self.own = self.own.wrapping_add(1);
        Some(value)
    }

    pub(super) fn release(&self) {
        self.consumer().store(self.own, Ordering::Release);
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is whole, ours, and no reference into it outlives `self`.
        let result = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len_bytes) };
        debug_assert!(result.is_ok(), "unmapping a ring: {result:?}");
    }
}

/// The rings that a socket has for itself.
struct Rings {
    rx: Ring<libc::xdp_desc>,
    tx: Ring<libc::xdp_desc>,
}

fn offsets_of(socket: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    get_option(socket, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)
}

/// Tells the first socket of a queue the sizes of the rings that so many share, and maps them.
fn map_supply(socket: &OwnedFd, sockets: u32) -> io::Result<(Ring<u64>, Ring<u64>)> {
    let fill_entries = (RX_CHUNKS * sockets).next_power_of_two();
    let completion_entries = (TX_RING_ENTRIES * sockets).next_power_of_two();
    let level = libc::SOL_XDP;
    set_option(socket, level, libc::XDP_UMEM_FILL_RING, &fill_entries)?;
    set_option(
        socket,
        level,
        libc::XDP_UMEM_COMPLETION_RING,
        &completion_entries,
    )?;
    let offsets = offsets_of(socket)?;
    let (fd, place) = (socket.as_fd(), libc::XDP_UMEM_PGOFF_COMPLETION_RING);
    let fill_place = libc::XDP_UMEM_PGOFF_FILL_RING;
    Ok((
        Ring::map(fd, offsets.fr, fill_entries, fill_place)?,
        Ring::map(fd, offsets.cr, completion_entries, place)?,
    ))
}

impl Rings {
    /// Tells a socket the sizes of its rings, and maps them.
    fn map(socket: &OwnedFd) -> io::Result<Self> {
        let sizes = [
            (libc::XDP_RX_RING, RX_RING_ENTRIES),
            (libc::XDP_TX_RING, TX_RING_ENTRIES),
        ];
        for (name, entries) in sizes {
            set_option(socket, libc::SOL_XDP, name, &entries)?;
        }
        let offsets = offsets_of(socket)?;
        let fd = socket.as_fd();
        let place = |offset: libc::off_t| offset.cast_unsigned();
        Ok(Self {
            rx: Ring::map(
                fd,
                offsets.rx,
                RX_RING_ENTRIES,
                place(libc::XDP_PGOFF_RX_RING),
            )?,
            tx: Ring::map(
                fd,
                offsets.tx,
                TX_RING_ENTRIES,
                place(libc::XDP_PGOFF_TX_RING),
            )?,
        })
    }
}

// --- Socket --------------------------------------------------------------------------------------

/// A transmit chunk that is in flight.
#[derive(Clone, Copy, Default)]
struct InFlight {
    is_it: bool,
    /// The first of a frame with lent pieces: their number, and the frame's token.
    lent: u8,
    token: u16,
}

/// One AF_XDP socket with its rings, over shared memory.
pub(crate) struct UmemRings {
    // Fields drop in order: the rings and the socket before the memory that the kernel has through it.
    rings: Rings,
    supply: Supply,
    socket: OwnedFd,
    /// The pieces of the frame being received. It may end in a later batch.
    run: Vec<libc::xdp_desc>,
    /// Whether the frame being received has had more pieces than `run` holds.
    run_overflows: bool,
    /// Receive chunks on their way back to the fill ring.
    returning: Vec<u64>,
    /// By transmit chunk.
    in_flight: Box<[InFlight]>,
    /// The transmit chunks that are free.
    tx_free: Vec<u16>,
    /// The frame whose pieces the kernel is giving back: how many are to come, and its token.
    completing: Option<(u8, u16)>,
    /// Tokens that have come back and were not fetched.
    returned: VecDeque<u16>,
    /// Whether whoever receives drives the NIC.
    polls_busily: bool,
    /// Where in the umem the buffers lie, and the first transmit chunk.
    buffers: Range<usize>,
    tx_start: usize,
    area: PortArea,
}

impl std::fmt::Debug for UmemRings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UmemRings")
            .field("tx_free", &self.tx_free.len())
            .finish_non_exhaustive()
    }
}

/// A free place that the index of a chunk names.
fn chunk_number(count: u32) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

impl UmemRings {
    /// Registers the umem and binds a socket to one receive queue. `copy` is `Some(true)` to insist on copy
    /// mode, `Some(false)` to insist on zero copy, `None` to leave it to the driver.
    pub(crate) fn bind(
        interface_index: u32,
        queue_index: u32,
        copy: Option<bool>,
        memory: &SharedMemory,
    ) -> io::Result<Self> {
        let memories = std::slice::from_ref(memory);
        let mut all = Self::bind_all(interface_index, queue_index, copy, memories)?;
        all.pop().ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// The same with a socket for each of several workers, over one umem. Frames come to none of them by
    /// itself: the XDP program has to choose.
    pub(crate) fn bind_all(
        interface_index: u32,
        queue_index: u32,
        copy: Option<bool>,
        memories: &[SharedMemory],
    ) -> io::Result<Vec<Self>> {
        let areas = SharedMemory::areas(memories)?;
        let sockets: Vec<OwnedFd> = areas
            .iter()
            .map(|_| new_socket())
            .collect::<io::Result<_>>()?;
        let (Some(first), Some(area)) = (sockets.first(), areas.first()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        register(first, area)?;
        let count = u32::try_from(areas.len()).map_err(io::Error::other)?;
        let (fill, completion) = map_supply(first, count)?;
        let first = first.try_clone()?;
        let mut flags = libc::XDP_USE_SG | libc::XDP_USE_NEED_WAKEUP;
        match copy {
            Some(true) => flags |= libc::XDP_COPY,
            Some(false) => flags |= libc::XDP_ZEROCOPY,
            None => {}
        }
        let supplies = Supply::among(fill, completion, areas.len(), TX_RING_ENTRIES as usize);
        let parts = sockets.into_iter().zip(areas).zip(supplies);
        let mut all: Vec<Self> = parts
            .map(|((socket, area), supply)| Self::new(socket, area, supply, count))
            .collect::<io::Result<_>>()?;
        // Before the first socket is bound: some drivers take their receive chunks then, and never again.
        all.iter_mut().for_each(Self::refill);
        for (index, rings) in all.iter().enumerate() {
            let (flags, shared) = match index {
                0 => (flags, 0),
                _ => (libc::XDP_SHARED_UMEM, first.as_raw_fd().cast_unsigned()),
            };
            bind_xdp(&rings.socket, (interface_index, queue_index), flags, shared)?;
            raise_send_budget(&rings.socket, TX_RING_ENTRIES);
        }
        Ok(all)
    }

    /// A socket that is not bound, with its chunks. `sockets` share its queue.
    fn new(socket: OwnedFd, area: PortArea, supply: Supply, sockets: u32) -> io::Result<Self> {
        let rings = Rings::map(&socket)?;
        let start = area.start() as u64;
        let chunks = 0..u64::from(RX_CHUNKS);
        // Whoever finds the fill ring in use may have them all for a while.
        let mut returning = Vec::with_capacity((RX_CHUNKS * sockets) as usize);
        returning.extend(chunks.map(|chunk| start + chunk * PAGE as u64));
        Ok(Self {
            rings,
            supply,
            socket,
            run: Vec::with_capacity(RX_RUN_MAX),
            run_overflows: false,
            returning,
            in_flight: vec![InFlight::default(); TX_CHUNKS as usize].into(),
            tx_free: (0..chunk_number(TX_CHUNKS)).rev().collect(),
            completing: None,
            returned: VecDeque::with_capacity(TX_CHUNKS as usize),
            polls_busily: false,
            buffers: area.buffers(),
            tx_start: area.start() + TX_START,
            area,
        })
    }

    /// Looks how far the receive ring of a shared queue is filled, if everything was taken that it had at the
    /// last look: only that much is received then. Whether it was looked at.
    pub(crate) fn look(&mut self) -> bool {
        let rx = &self.rings.rx;
        if self.polls_busily && rx.own == rx.seen {
            // As in `receive`.
            let _ = self.drive_receive();
        }
        self.rings.rx.look()
    }

    /// From now on a receive call that finds nothing has the kernel look into the NIC's own queue.
    pub(crate) fn poll_busily(&mut self) -> io::Result<()> {
        let level = libc::SOL_SOCKET;
        set_option(&self.socket, level, libc::SO_PREFER_BUSY_POLL, &1)?;
        set_option(&self.socket, level, libc::SO_BUSY_POLL, &BUSY_POLL_US)?;
        set_option(
            &self.socket,
            level,
            libc::SO_BUSY_POLL_BUDGET,
            &BUSY_POLL_FRAMES,
        )?;
        self.polls_busily = true;
        Ok(())
    }

    /// The socket, for polling.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Hands up to `budget` frames to `sink` and their chunks back to the kernel.
    pub(crate) fn receive(
        &mut self,
        budget: usize,
        sink: &mut dyn FnMut(&ReceivedFrame<'_>),
    ) -> ReceiveTally {
        let mut tally = ReceiveTally::default();
        let is_shared = self.supply.is_shared();
        if !is_shared && self.polls_busily && !self.rings.rx.has_entry() {
            // It fails only in ways that the next call meets, too, and that `kick` tells of.
            let _ = self.drive_receive();
        }
        let mut ended = 0;
        while ended < budget {
            let rx = &mut self.rings.rx;
            let piece = if is_shared { rx.read_seen() } else { rx.read() };
            let Some(piece) = piece else {
                break;
            };
            ended += usize::from(self.accept(piece, &mut tally, sink));
            if self.returning.len() >= BATCH {
                self.give_back_chunks();
            }
        }
        if !self.returning.is_empty() || ended > 0 {
            self.give_back_chunks();
        }
        tally
    }

    /// The kernel may use the places in the receive ring, and chunks whose frames were delivered.
    fn give_back_chunks(&mut self) {
        self.rings.rx.release();
        self.refill();
    }

    /// Takes one piece of a frame. Returns whether it was the last one.
    fn accept(
        &mut self,
        piece: libc::xdp_desc,
        tally: &mut ReceiveTally,
        sink: &mut dyn FnMut(&ReceivedFrame<'_>),
    ) -> bool {
        if self.run.len() < RX_RUN_MAX {
            self.run.push(piece);
        } else {
            self.run_overflows = true;
            self.returning.push(chunk_of(&piece));
        }
        if piece.options & FRAME_CONTINUES != 0 {
            return false;
        }
        if self.run_overflows {
            tally.invalid += 1;
        } else {
            tally.bytes += self.deliver(sink);
            tally.frames += 1;
        }
        self.run_overflows = false;
        self.returning
            .extend(self.run.drain(..).map(|piece| chunk_of(&piece)));
        true
    }

    /// Shows the frame in `run` to the sink. Returns its length.
    fn deliver(&self, sink: &mut dyn FnMut(&ReceivedFrame<'_>)) -> u64 {
        let mut segments: [&[u8]; RX_RUN_MAX] = [&[]; RX_RUN_MAX];
        for (segment, piece) in segments.iter_mut().zip(&self.run) {
            // The chunk is ours until `refill`, which needs `&mut self`.
            let start = usize::try_from(piece.addr).unwrap_or(usize::MAX);
            *segment = self
                .area
                .received(start..start.saturating_add(piece.len as usize));
        }
        let frame = ReceivedFrame {
            first: segments[0],
            rest: &segments[1..self.run.len()],
        };
        sink(&frame);
        frame.len_bytes() as u64
    }

    /// Puts the chunks of delivered frames on the fill ring, which has room for all of them; unless it is
    /// being used by another socket: then the next time.
    fn refill(&mut self) {
        self.supply.refill(&mut self.returning);
    }

    /// Tells a driver that ran out of receive chunks that there are some again. Only drivers with zero copy
    /// ever ask for it.
    pub(crate) fn wake_fill(&self) -> io::Result<()> {
        if self.supply.fill_needs_wakeup() {
            return self.drive_receive();
        }
        Ok(())
    }

    /// Lets the kernel do for the receive queue what it would do later.
    fn drive_receive(&self) -> io::Result<()> {
        match rustix::net::recv(&self.socket, &mut [0_u8; 0], RecvFlags::DONTWAIT) {
            Ok(_) => Ok(()),
            Err(error) => expected(error),
        }
    }

    /// A frame's pieces fit the transmit ring, and there are chunks for those that are not lent.
    fn has_room(&mut self, chunks: usize, pieces: u32) -> bool {
        if self.tx_free.len() < chunks {
            self.reclaim();
        }
        self.tx_free.len() >= chunks && self.rings.tx.room(pieces) >= pieces
    }

    /// Copies a frame into free transmit chunks and queues it. Returns whether there was room.
    pub(crate) fn queue(&mut self, frame: &ReceivedFrame<'_>) -> bool {
        let len = frame.len_bytes();
        let pieces = len.div_ceil(PAGE);
        if pieces == 0 || pieces > TX_RUN_MAX || !self.has_room(pieces, TX_RUN_MAX as u32) {
            return false;
        }
        for piece in 0..pieces {
            let offset = piece * PAGE;
            let bytes = (len - offset).min(PAGE);
            let Some(start) = self.take_chunk(0, 0) else {
                unreachable!("counted before")
            };
            frame.copy_to(offset, self.area.sent_mut(start..start + bytes));
            self.push(start, bytes, piece + 1 < pieces);
        }
        self.rings.tx.publish();
        true
    }

    /// Queues a frame that begins with `header` and goes on with these bytes of the buffers, which are lent
    /// until [`UmemRings::next_returned`] says `token`. Returns whether there was room.
    ///
    /// # Panics
    /// If the range leaves the buffers, or is of more pages than a frame can have.
    pub(crate) fn queue_lent(&mut self, header: &[u8], range: Range<usize>, token: u16) -> bool {
        assert!(
            !range.is_empty() && range.end <= self.buffers.len(),
            "{range:?} leaves the buffers"
        );
        let pages = range.start / PAGE..range.end.div_ceil(PAGE);
        assert!(
            pages.len() < TX_RUN_MAX,
            "{range:?} is too long for a frame"
        );
        if !self.has_room(1, TX_RUN_MAX as u32) {
            return false;
        }
        let Ok(lent) = u8::try_from(pages.len()) else {
            unreachable!("few pages")
        };
        let Some(start) = self.take_chunk(lent, token) else {
            unreachable!("counted before")
        };
        self.area
            .sent_mut(start..start + header.len())
            .copy_from_slice(header);
        self.push(start, header.len(), true);
        for page in pages.clone() {
            let first = (page * PAGE).max(range.start);
            let end = ((page + 1) * PAGE).min(range.end);
            self.push(
                self.buffers.start + first,
                end - first,
                page + 1 < pages.end,
            );
        }
        self.rings.tx.publish();
        true
    }

    /// Takes a free transmit chunk; where it begins in the umem.
    fn take_chunk(&mut self, lent: u8, token: u16) -> Option<usize> {
        let chunk = usize::from(self.tx_free.pop()?);
        self.in_flight[chunk] = InFlight {
            is_it: true,
            lent,
            token,
        };
        Some(self.tx_start + chunk * PAGE)
    }

    /// Puts a piece on the transmit ring, where there is room for it.
    fn push(&mut self, start: usize, bytes: usize, continues: bool) {
        self.rings.tx.write(libc::xdp_desc {
            addr: start as u64,
            len: u32::try_from(bytes).unwrap_or(u32::MAX),
            options: if continues { FRAME_CONTINUES } else { 0 },
        });
    }

    /// Takes back what the kernel has sent.
    pub(crate) fn reclaim(&mut self) {
        if self.supply.is_shared() {
            return self.reclaim_shared();
        }
        let mut any = false;
        while let Some(address) = self.supply.next_sent() {
            any = true;
            self.completed(usize::try_from(address).unwrap_or(usize::MAX));
        }
        if any {
            self.supply.release_sent();
        }
    }

    fn reclaim_shared(&mut self) {
        let mut addresses = [0; BATCH];
        loop {
            let count = self.supply.reclaim(&self.area, &mut addresses);
            for address in &addresses[..count] {
                self.completed(usize::try_from(*address).unwrap_or(usize::MAX));
            }
            if count < BATCH {
                return;
            }
        }
    }

    fn completed(&mut self, address: usize) {
        let chunk = address
            .checked_sub(self.tx_start)
            .map(|offset| offset / PAGE);
        if let Some(chunk) = chunk.filter(|chunk| *chunk < self.in_flight.len()) {
            let InFlight { is_it, lent, token } = std::mem::take(&mut self.in_flight[chunk]);
            if is_it {
                self.tx_free.push(u16::try_from(chunk).unwrap_or(u16::MAX));
                self.completing = (lent > 0).then_some((lent, token));
            }
            return;
        }
        // A lent piece, of the frame whose header came just before.
        if let Some((left, token)) = self.completing {
            self.completing = (left > 1).then(|| (left - 1, token));
            if self.completing.is_none() {
                self.returned.push_back(token);
            }
        }
    }

    /// A token whose frame is sent, if there is one.
    pub(crate) fn next_returned(&mut self) -> Option<u16> {
        self.returned.pop_front()
    }

    /// Descriptors that the kernel has not taken from the transmit ring yet.
    pub(crate) fn unsent(&self) -> u32 {
        self.rings.tx.untaken()
    }

    /// Whether chunks wait for the fill ring, which another socket was using.
    pub(crate) const fn has_chunks_waiting(&self) -> bool {
        !self.returning.is_empty()
    }

    /// Tells the kernel to send what is queued, as far as the interface takes it now.
    pub(crate) fn kick(&self) -> io::Result<()> {
        let mut waiting = self.unsent();
        while waiting > 0 && self.rings.tx.needs_wakeup() {
            match rustix::net::send(&self.socket, &[], SendFlags::DONTWAIT) {
                Ok(_) => {}
                Err(error) => expected(error)?,
            }
            let left = self.unsent();
            if left >= waiting {
                break;
            }
            waiting = left;
        }
        Ok(())
    }
}

/// Errors of a wake-up that say no more than that the kernel has enough to do.
fn expected(error: rustix::io::Errno) -> io::Result<()> {
    use rustix::io::Errno;
    match error {
        Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::NETDOWN => Ok(()),
        _ => Err(error.into()),
    }
}

/// Where the chunk of a received piece begins.
const fn chunk_of(piece: &libc::xdp_desc) -> u64 {
    piece.addr & !(PAGE as u64 - 1)
}

fn new_socket() -> io::Result<OwnedFd> {
    let (family, kind) = (
        rustix::net::AddressFamily::XDP,
        rustix::net::SocketType::RAW,
    );
    let flags = rustix::net::SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

/// Registers the umem of a port.
fn register(socket: &OwnedFd, area: &PortArea) -> io::Result<()> {
    let umem = libc::xdp_umem_reg {
        addr: area.address().addr().get() as u64,
        len: area.umem_bytes() as u64,
        chunk_size: CHUNK_BYTES,
        headroom: HEADROOM_BYTES,
        flags: 0,
        tx_metadata_len: 0,
    };
    set_option(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &umem)
}

fn bind_xdp(
    socket: &OwnedFd,
    (interface_index, queue_index): (u32, u32),
    flags: libc::__u16,
    shared_umem_fd: u32,
) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: u16::try_from(libc::AF_XDP).unwrap_or_default(),
        sxdp_flags: flags,
        sxdp_ifindex: interface_index,
        sxdp_queue_id: queue_index,
        sxdp_shared_umem_fd: shared_umem_fd,
    };
    let fd = socket.as_raw_fd();
    let len = kernel_len::<libc::sockaddr_xdp>();
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    let result = unsafe { libc::bind(fd, (&raw const address).cast(), len) };
    checked(result).map(drop)
}

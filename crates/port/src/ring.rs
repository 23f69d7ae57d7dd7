//! Every `unsafe` line of this crate, here and in the submodules: system calls without a safe wrapper, and
//! the memory that is shared with the kernel, and by [`shared`] with the drives of a worker.
//!
//! Invariants, each kept by private fields and by `&mut self` on whatever changes an owner:
//! - **[`PacketRings`]**: a slot belongs to the kernel or to us, as its status word says. The word
//!   is read with acquire and written with release ordering; slot memory is touched only while it
//!   is ours. Every offset read from a slot is checked against the slot's end.
//! - **[`XskRings`]**: a umem chunk is in exactly one place: the fill ring or the kernel's hands,
//!   the run of the frame being received, the list going back to the fill ring, the list of free
//!   transmit chunks, or in flight. Receive chunks and transmit chunks never mix. The fill ring has
//!   a place for every receive chunk, transmit and completion ring for every transmit chunk, so
//!   handing a chunk over cannot fail.
//! - Slices of received memory borrow the ring, and giving the memory back needs the ring
//!   exclusively: the compiler sees to it that no slice outlives its chunk.
//! - The kernel is trusted to name only memory that we gave it.
//!
//! Policy (which mode, which frames, what is counted) is not here: see `xdp.rs` and `packet.rs`.

#![allow(unsafe_code)]

mod shared;
mod supply;
mod umem;

pub use shared::{BufferMemory, SharedMemory};
pub(crate) use umem::{UMEM_FRAME_BYTES_MAX, UmemRings, tells_the_truth};

use crate::frame::ReceivedFrame;
use aoe::vlan::{ETHERTYPE_VLAN, TAG_BYTES, TAG_OFFSET};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::sockopt::set_socket_send_buffer_size_force;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use xsk_rs::config::{
    BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig,
};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

pub(crate) use libc::{
    PACKET_IGNORE_OUTGOING, PACKET_LOSS, PACKET_QDISC_BYPASS, PACKET_RESERVE, PACKET_RX_RING,
    PACKET_TX_RING, PACKET_VERSION,
};

/// The kernel's verdict on a system call that returns a negative number on failure.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Length of a kernel structure as the kernel wants it.
fn kernel_len<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

// --- Socket options ------------------------------------------------------------------------------

fn set_option<T: Copy>(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the pointer and the length describe `value`, which outlives the call; the kernel only
    // reads it.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const *value).cast(),
            kernel_len::<T>(),
        )
    };
    checked(result).map(drop)
}

/// Reads a socket option. `T` must be made of integers only, so that every bit pattern is a value.
fn get_option<T: Copy>(socket: &impl AsFd, level: libc::c_int, name: libc::c_int) -> io::Result<T> {
    let fd = socket.as_fd().as_raw_fd();
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = kernel_len::<T>();
    // SAFETY: the pointer and the length describe `value`, which outlives the call; the kernel
    // writes no more than `len` bytes.
    let result =
        unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &raw mut len) };
    checked(result)?;
    // SAFETY: the value was zeroed and then partly or wholly written; callers of this private
    // function use structures of integers only, for which every bit pattern is a value.
    Ok(unsafe { value.assume_init() })
}

/// Sets an option of an AF_PACKET socket.
pub(crate) fn set_packet_option<T: Copy>(
    socket: &impl AsFd,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, name, value)
}

/// Lets frames for a station address through the filter of an interface, until the socket is closed.
pub(crate) fn add_unicast(
    socket: &impl AsFd,
    interface_index: u32,
    mac: [u8; 6],
) -> io::Result<()> {
    let mut request = libc::packet_mreq {
        mr_ifindex: interface_index.try_into().map_err(io::Error::other)?,
        mr_type: u16::try_from(PACKET_MR_UNICAST).map_err(io::Error::other)?,
        mr_alen: 6,
        mr_address: [0; 8],
    };
    request.mr_address[..6].copy_from_slice(&mac);
    set_packet_option(socket, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// `PACKET_MR_UNICAST` of the kernel, which the C library does not name.
const PACKET_MR_UNICAST: libc::c_int = 3;

/// Reads an AF_PACKET socket's statistics, which resets them.
pub(crate) fn take_packet_statistics(socket: &impl AsFd) -> io::Result<libc::tpacket_stats> {
    get_option(socket, libc::SOL_PACKET, libc::PACKET_STATISTICS)
}

/// Binds a packet socket to an interface and an EtherType; from here on it receives.
pub(crate) fn bind_packet(
    socket: &impl AsFd,
    interface_index: u32,
    ethertype: u16,
) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: ethertype.to_be(),
        sll_ifindex: interface_index.try_into().map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    let result = unsafe {
        libc::bind(
            fd,
            (&raw const address).cast(),
            kernel_len::<libc::sockaddr_ll>(),
        )
    };
    checked(result).map(drop)
}

/// Makes a packet socket refuse frames that are not for this station: those addressed to another
/// one, and those of a VLAN. The kernel has taken the tag off by the time that a socket for one
/// EtherType sees a frame, and marks it as another host's if the VLAN is not one of its own.
pub(crate) fn refuse_other_hosts_frames(socket: &impl AsFd) -> io::Result<()> {
    let other_host = u32::from(libc::PACKET_OTHERHOST);
    filter_frames(socket, libc::SKF_AD_PKTTYPE, other_host, (0, u32::MAX))
}

/// Makes a packet socket for all EtherTypes refuse all but one, whether it stands in the frame or behind a
/// VLAN tag. A socket for that EtherType alone would not be told the tag.
pub(crate) fn accept_ethertype(socket: &impl AsFd, ethertype: u16) -> io::Result<()> {
    let wanted = u32::from(ethertype);
    filter_frames(socket, libc::SKF_AD_PROTOCOL, wanted, (u32::MAX, 0))
}

/// Lets pass so many bytes of frames of which the kernel says `value`, and so many of the others.
fn filter_frames(
    socket: &impl AsFd,
    field: libc::c_int,
    value: u32,
    (bytes_if_equal, bytes_if_not): (u32, u32),
) -> io::Result<()> {
    // A negative offset is how a filter asks for what is not in the frame.
    let field = (libc::SKF_AD_OFF + field).cast_unsigned();
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let compare = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let mut steps = [
        step(load, 0, 0, field),
        step(compare, 1, 0, value),
        step(end, 0, 0, bytes_if_not),
        step(end, 0, 0, bytes_if_equal),
    ];
    // The kernel copies the steps during the call, so the pointer in here may end with it.
    let program = libc::sock_fprog {
        len: u16::try_from(steps.len()).unwrap_or_default(),
        filter: steps.as_mut_ptr(),
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

// --- Interface requests --------------------------------------------------------------------------

/// `ETHTOOL_GCHANNELS`: how many queues an interface has.
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `ETHTOOL_GFLAGS` and `ETHTOOL_SFLAGS`: get and set offloads, as bits.
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;

/// `ETHTOOL_GDRVINFO`: who drives an interface.
const ETHTOOL_GDRVINFO: u32 = 0x3;

/// The network card takes VLAN tags off.
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// `struct ethtool_channels` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EthtoolChannels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    /// Queues that only receive.
    pub(crate) rx_count: u32,
    tx_count: u32,
    other_count: u32,
    /// Queues that receive and send.
    pub(crate) combined_count: u32,
}

/// `struct ethtool_drvinfo` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct EthtoolDriver {
    command: u32,
    driver: [u8; 32],
    /// Versions, bus, reserved, lengths of tables.
    rest: [[u8; 32]; 5],
}

const _: () = assert!(size_of::<EthtoolDriver>() == 196);

/// Questions to the kernel about one interface, asked through any socket of its namespace.
#[derive(Debug)]
pub(crate) struct InterfaceRequest<'a> {
    name: &'a str,
    kernel_name: [libc::c_char; libc::IFNAMSIZ],
}

impl<'a> InterfaceRequest<'a> {
    /// `None` if no interface can have this name.
    pub(crate) fn new(name: &'a str) -> Option<Self> {
        let mut kernel_name = [0; libc::IFNAMSIZ];
        if name.is_empty() || name.len() >= kernel_name.len() || name.contains('\0') {
            return None;
        }
        for (target, byte) in kernel_name.iter_mut().zip(name.bytes()) {
            *target = byte.cast_signed();
        }
        Some(Self { name, kernel_name })
    }

    /// The interface's number.
    pub(crate) fn index(&self, socket: &OwnedFd) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(socket, self.name)?)
    }

    /// Asks one `SIOCGIF…` question.
    fn ask(&self, socket: &OwnedFd, code: libc::Ioctl) -> io::Result<libc::ifreq> {
        let mut request = libc::ifreq {
            ifr_name: self.kernel_name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
        };
        // SAFETY: `request` is a whole `ifreq` with a terminated name, which the SIOCGIF… calls of
        // this module read and write in place; it outlives the call.
        checked(unsafe { libc::ioctl(socket.as_raw_fd(), code, &raw mut request) })?;
        Ok(request)
    }

    /// Hardware type (`ARPHRD_…`) and station address.
    pub(crate) fn hardware_address(&self, socket: &OwnedFd) -> io::Result<(u16, [u8; 6])> {
        let request = self.ask(socket, libc::SIOCGIFHWADDR)?;
        // SAFETY: SIOCGIFHWADDR fills this member of the union.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        let mut mac = [0; 6];
        for (target, byte) in mac.iter_mut().zip(address.sa_data) {
            *target = byte.cast_unsigned();
        }
        Ok((address.sa_family, mac))
    }

    /// Whether the interface is switched on.
    pub(crate) fn is_up(&self, socket: &OwnedFd) -> io::Result<bool> {
        let request = self.ask(socket, libc::SIOCGIFFLAGS)?;
        // SAFETY: SIOCGIFFLAGS fills this member of the union.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        Ok(libc::c_int::from(flags) & libc::IFF_UP != 0)
    }

    /// Whether the interface is switched on and has a link.
    pub(crate) fn has_link(&self, socket: &OwnedFd) -> io::Result<bool> {
        let request = self.ask(socket, libc::SIOCGIFFLAGS)?;
        // SAFETY: SIOCGIFFLAGS fills this member of the union.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        let both = libc::IFF_UP | libc::IFF_RUNNING;
        Ok(flags & both == both)
    }

    /// Bytes that fit a frame after its Ethernet header.
    pub(crate) fn mtu_bytes(&self, socket: &OwnedFd) -> io::Result<usize> {
        let request = self.ask(socket, libc::SIOCGIFMTU)?;
        // SAFETY: SIOCGIFMTU fills this member of the union.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        usize::try_from(mtu).map_err(io::Error::other)
    }

    /// How many queues the interface has. EOPNOTSUPP where the driver cannot say.
    pub(crate) fn channels(&self, socket: &OwnedFd) -> io::Result<EthtoolChannels> {
        let mut channels = EthtoolChannels {
            command: ETHTOOL_GCHANNELS,
            ..EthtoolChannels::default()
        };
        let mut request = libc::ifreq {
            ifr_name: self.kernel_name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: (&raw mut channels).cast(),
            },
        };
        // SAFETY: the request carries a pointer to a whole `ethtool_channels`, which the kernel
        // reads and writes for this command; both outlive the call.
        checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })?;
        Ok(channels)
    }

    /// Name of the driver, such as `veth`. EOPNOTSUPP where there is none that says so.
    pub(crate) fn driver(&self, socket: &OwnedFd) -> io::Result<String> {
        let mut driver = EthtoolDriver {
            command: ETHTOOL_GDRVINFO,
            driver: [0; 32],
            rest: [[0; 32]; 5],
        };
        let mut request = libc::ifreq {
            ifr_name: self.kernel_name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: (&raw mut driver).cast(),
            },
        };
        // SAFETY: the request carries a pointer to a whole `ethtool_drvinfo`, whose size is asserted above,
        // and which the kernel reads and writes for this command; both outlive the call.
        checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })?;
        let name = driver.driver.split(|byte| *byte == 0).next();
        Ok(String::from_utf8_lossy(name.unwrap_or_default()).into_owned())
    }

    /// Makes the interface leave VLAN tags in received frames; whether it took them off before. EOPNOTSUPP
    /// where the driver cannot be told.
    pub(crate) fn leave_vlan_tags(&self, socket: &OwnedFd) -> io::Result<bool> {
        let flags = self.ethtool_value(socket, ETHTOOL_GFLAGS, 0)?;
        let strips = flags & ETH_FLAG_RXVLAN != 0;
        if strips {
            self.ethtool_value(socket, ETHTOOL_SFLAGS, flags & !ETH_FLAG_RXVLAN)?;
        }
        Ok(strips)
    }

    /// An ethtool command that takes and gives one number.
    fn ethtool_value(&self, socket: &OwnedFd, command: u32, data: u32) -> io::Result<u32> {
        let mut value = [command, data];
        let mut request = libc::ifreq {
            ifr_name: self.kernel_name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: (&raw mut value).cast(),
            },
        };
        // SAFETY: the request carries a pointer to a `struct ethtool_value`, which is two such numbers and
        // which the kernel reads and writes for these commands; both outlive the call.
        checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })?;
        Ok(value[1])
    }
}

// --- AF_PACKET rings -----------------------------------------------------------------------------

/// Where the bytes of a frame to be sent start in a slot: after the header, without the address
/// that follows it in received slots.
const TX_DATA_OFFSET: usize = libc::TPACKET2_HDRLEN - size_of::<libc::sockaddr_ll>();

/// Shape of a pair of mapped TPACKET_V2 rings. Receive blocks lie before transmit blocks; slots of
/// one size fill each block from its start and never cross into the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketRingShape {
    pub(crate) slot_bytes: usize,
    pub(crate) block_bytes: usize,
    pub(crate) rx_blocks: usize,
    pub(crate) tx_blocks: usize,
}

impl PacketRingShape {
    fn slots_per_block(&self) -> usize {
        self.block_bytes / self.slot_bytes
    }

    /// Slots of the receive ring.
    pub(crate) fn rx_slots(&self) -> usize {
        self.rx_blocks * self.slots_per_block()
    }

    /// Slots of the transmit ring.
    pub(crate) fn tx_slots(&self) -> usize {
        self.tx_blocks * self.slots_per_block()
    }

    /// The longest frame that a transmit slot holds.
    pub(crate) fn tx_frame_bytes_max(&self) -> usize {
        self.slot_bytes - TX_DATA_OFFSET
    }

    /// What the kernel is told about one of the two rings.
    fn request(&self, blocks: usize) -> io::Result<libc::tpacket_req> {
        let number = |value: usize| libc::c_uint::try_from(value).map_err(io::Error::other);
        Ok(libc::tpacket_req {
            tp_block_size: number(self.block_bytes)?,
            tp_block_nr: number(blocks)?,
            tp_frame_size: number(self.slot_bytes)?,
            tp_frame_nr: number(blocks * self.slots_per_block())?,
        })
    }
}

/// Room that the kernel is asked to leave before each received frame.
const TAG_BYTES_RESERVED: u32 = 4;

const _: () = assert!(TAG_BYTES_RESERVED as usize == TAG_BYTES);

/// The VLAN tag that the kernel took off a frame, as it was in it.
fn vlan_tag(header: &libc::tpacket2_hdr) -> Option<[u8; TAG_BYTES]> {
    if header.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let has_kind = header.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let kind = if has_kind {
        header.tp_vlan_tpid
    } else {
        ETHERTYPE_VLAN
    };
    let ([k0, k1], [t0, t1]) = (kind.to_be_bytes(), header.tp_vlan_tci.to_be_bytes());
    Some([k0, k1, t0, t1])
}

/// A received frame in its slot.
#[derive(Debug)]
pub(crate) struct ReceivedSlot<'a> {
    /// The bytes that fitted the slot.
    pub(crate) bytes: &'a [u8],
    /// Whether those are all bytes of the frame.
    pub(crate) complete: bool,
}

/// The mapped receive and transmit ring of one AF_PACKET socket.
#[derive(Debug)]
pub(crate) struct PacketRings {
    base: NonNull<u8>,
    len_bytes: usize,
    shape: PacketRingShape,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for PacketRings {}

impl PacketRings {
    /// Asks the kernel for both rings and maps them. The socket must be TPACKET_V2 and unbound.
    pub(crate) fn map(socket: &OwnedFd, shape: PacketRingShape) -> io::Result<Self> {
        assert!(
            shape.slot_bytes >= libc::TPACKET2_HDRLEN && shape.slot_bytes <= shape.block_bytes,
            "no room for a header in {shape:?}"
        );
        // Room before each frame, for the tag that the kernel tells beside it.
        set_packet_option(socket, PACKET_RESERVE, &TAG_BYTES_RESERVED)?;
        set_packet_option(socket, PACKET_RX_RING, &shape.request(shape.rx_blocks)?)?;
        set_packet_option(socket, PACKET_TX_RING, &shape.request(shape.tx_blocks)?)?;
        let len_bytes = (shape.rx_blocks + shape.tx_blocks) * shape.block_bytes;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                socket,
                0,
            )
        }?;
        let base = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self {
            base,
            len_bytes,
            shape,
        })
    }

    /// The start of a slot, counted over both rings.
    fn slot(&self, block: usize, slot_in_block: usize) -> NonNull<u8> {
        let offset = block * self.shape.block_bytes + slot_in_block * self.shape.slot_bytes;
        assert!(
            offset + self.shape.slot_bytes <= self.len_bytes,
            "slot {slot_in_block} of block {block} lies outside the mapped rings"
        );
        // SAFETY: the assertion keeps the offset inside the mapping.
        unsafe { self.base.add(offset) }
    }

    fn rx_slot(&self, index: usize) -> NonNull<u8> {
        assert!(index < self.shape.rx_slots(), "no receive slot {index}");
        let per_block = self.shape.slots_per_block();
        self.slot(index / per_block, index % per_block)
    }

    fn tx_slot(&self, index: usize) -> NonNull<u8> {
        assert!(index < self.shape.tx_slots(), "no transmit slot {index}");
        let per_block = self.shape.slots_per_block();
        self.slot(self.shape.rx_blocks + index / per_block, index % per_block)
    }

    /// The word that says who owns a slot.
    fn status(&self, slot: NonNull<u8>) -> &AtomicU32 {
        // SAFETY: a slot starts with a `tpacket2_hdr`, whose first word is the status; slots are
        // aligned to 16 bytes and live as long as `self`; the kernel accesses the word atomically.
        unsafe { AtomicU32::from_ptr(slot.as_ptr().cast()) }
    }

    /// The frame in a receive slot, if the kernel has put one there; with its VLAN tag, if it has one.
    pub(crate) fn received(&mut self, index: usize) -> Option<ReceivedSlot<'_>> {
        let slot = self.rx_slot(index);
        let status = self.status(slot).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the status says that the slot is ours; it starts with this header.
        let header = unsafe { slot.cast::<libc::tpacket2_hdr>().read() };
        let start = usize::from(header.tp_mac).min(self.shape.slot_bytes);
        let snapped = usize::try_from(header.tp_snaplen).unwrap_or(usize::MAX);
        let len = snapped.min(self.shape.slot_bytes - start);
        let complete = usize::try_from(header.tp_len) == Ok(len);
        let tag = vlan_tag(&header);
        let room = if tag.is_some() { TAG_BYTES } else { 0 };
        // The kernel leaves so much room; without it the frame cannot be told as it was sent.
        let has_room = start >= libc::TPACKET2_HDRLEN + room && len >= TAG_OFFSET;
        let room = if has_room { room } else { 0 };
        // SAFETY: `start` is at most the slot's length, and `room` at most `start`.
        let data = unsafe { slot.add(start - room) };
        // SAFETY: `start + len` ends inside the slot, which stays ours until `give_back`, which
        // needs `&mut self` and so ends this borrow. What lies before `start` is room that the kernel
        // leaves: the slot's header and the sender's address end before it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(data.as_ptr(), room + len) };
        if let Some(tag) = tag.filter(|_| has_room) {
            bytes.copy_within(room..room + TAG_OFFSET, 0);
            bytes[TAG_OFFSET..TAG_OFFSET + TAG_BYTES].copy_from_slice(&tag);
        }
        Some(ReceivedSlot {
            bytes,
            complete: complete && (has_room || tag.is_none()),
        })
    }

    /// Gives a receive slot back to the kernel.
    pub(crate) fn give_back(&mut self, index: usize) {
        let slot = self.rx_slot(index);
        self.status(slot)
            .store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }

    /// Whether a transmit slot is ours to write.
    pub(crate) fn is_free(&self, index: usize) -> bool {
        self.status(self.tx_slot(index)).load(Ordering::Acquire) == libc::TP_STATUS_AVAILABLE
    }

    /// Copies a frame into a free transmit slot and marks it to be sent. Returns whether it did:
    /// not if the slot is in use or too small.
    pub(crate) fn fill(&mut self, index: usize, frame: &ReceivedFrame<'_>) -> bool {
        let len = frame.len_bytes();
        let (Ok(kernel_len), true) = (u32::try_from(len), self.is_free(index)) else {
            return false;
        };
        if len > self.shape.tx_frame_bytes_max() {
            return false;
        }
        let slot = self.tx_slot(index);
        // SAFETY: the data of a transmit slot starts inside the slot.
        let data = unsafe { slot.add(TX_DATA_OFFSET) };
        // SAFETY: `len` bytes from there end inside the slot, which is ours (its status says so)
        // and borrowed through `&mut self`.
        let target = unsafe { std::slice::from_raw_parts_mut(data.as_ptr(), len) };
        frame.copy_to(0, target);
        // SAFETY: the slot starts with this header.
        let length = unsafe { slot.add(std::mem::offset_of!(libc::tpacket2_hdr, tp_len)) };
        // SAFETY: the slot is ours, and this is the header's length, a `u32` in its place.
        unsafe { length.cast::<u32>().write(kernel_len) };
        self.status(slot)
            .store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
        true
    }
}

impl Drop for PacketRings {
    fn drop(&mut self) {
        // SAFETY: the mapping is whole, ours, and no slice of it outlives `self`.
        let result = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len_bytes) };
        debug_assert!(result.is_ok(), "unmapping the packet rings: {result:?}");
    }
}

// --- XDP program ---------------------------------------------------------------------------------

/// Attaches an XDP program to an interface through a BPF link with explicit mode flags
/// (`XDP_FLAGS_…`). The program leaves the interface when the returned descriptor closes, so also
/// when this process is killed.
pub(crate) fn attach_xdp(
    program: BorrowedFd<'_>,
    interface_index: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        flags,
        ..libbpf_sys::bpf_link_create_opts::default()
    };
    let index = libc::c_int::try_from(interface_index).map_err(io::Error::other)?;
    let program = program.as_raw_fd();
    // SAFETY: `options` is whole, carries its own size and outlives the call; the rest are numbers.
    let fd = unsafe {
        libbpf_sys::bpf_link_create(program, index, libbpf_sys::BPF_XDP, &raw const options)
    };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

// --- AF_XDP rings --------------------------------------------------------------------------------

/// Size of a umem chunk: the largest that the kernel takes, one page.
const CHUNK_BYTES: u32 = 4096;

/// Room that we ask the kernel to leave before a frame, besides the 256 bytes that XDP always
/// reserves. With it the data of a chunk starts at 512 and is seven sectors long.
const HEADROOM_BYTES: u32 = 256;

/// Bytes of a frame that one chunk carries.
pub(crate) const CHUNK_DATA_BYTES: usize = 4096 - 256 - 256;

/// Chunks that receive: a fill ring of this size holds more than 1,300 frames of 9014 bytes, some
/// 9 ms of 10 Gb/s, which is longer than a scheduler tick.
const RX_CHUNKS: u32 = 4096;

/// Chunks that send, and entries of the transmit and completion rings.
const TX_CHUNKS: u32 = 2048;

/// Entries of the receive ring: as many as there are chunks, so that it is never what is full.
const RX_RING_ENTRIES: u32 = 4096;

/// Descriptors taken from a ring at a time.
const BATCH: usize = 64;

/// The most descriptors that one received frame may have, and more than any frame has that the
/// kernel builds from one socket buffer with 17 page fragments.
const RX_RUN_MAX: usize = 32;

/// The most descriptors that one transmitted frame may have: what the kernel takes in copy mode.
const TX_RUN_MAX: usize = 17;

/// The longest frame that can be sent.
pub(crate) const XSK_FRAME_BYTES_MAX: usize = TX_RUN_MAX * CHUNK_DATA_BYTES;

/// `XDP_PKT_CONTD`: the frame goes on in the next descriptor.
const FRAME_CONTINUES: u32 = 1;

/// `XDP_MAX_TX_SKB_BUDGET`: descriptors that the kernel sends per wake-up in copy mode.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// What a receive call did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReceiveTally {
    /// Frames handed to the sink.
    pub(crate) frames: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Frames dropped because they came in too many pieces.
    pub(crate) invalid: u64,
}

/// Lets one wake-up of an AF_XDP socket send a whole ring: as many descriptors, and as many bytes on their
/// way (by default some 17 jumbo frames). Older kernels do not know the first option; they send 32
/// descriptors per call, and `kick` calls again.
fn raise_send_budget(socket: &impl AsFd, tx_ring_entries: u32) {
    if let Err(error) = set_option(
        socket,
        libc::SOL_XDP,
        XDP_MAX_TX_SKB_BUDGET,
        &tx_ring_entries,
    ) {
        tracing::debug!("the kernel keeps its own AF_XDP send budget: {error}");
    }
    let bytes = 2 * (tx_ring_entries * CHUNK_BYTES) as usize;
    if let Err(error) = set_socket_send_buffer_size_force(socket, bytes) {
        tracing::debug!("the kernel keeps its own AF_XDP send buffer: {error}");
    }
}

/// Whether the driver of an AF_XDP socket reads and writes its umem directly.
pub(crate) fn is_zero_copy(socket: &impl AsFd) -> io::Result<bool> {
    let options: libc::xdp_options = get_option(socket, libc::SOL_XDP, libc::XDP_OPTIONS)?;
    Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// What the kernel counted on an AF_XDP socket.
pub(crate) fn xdp_statistics(socket: &impl AsFd) -> io::Result<libc::xdp_statistics> {
    get_option(socket, libc::SOL_XDP, libc::XDP_STATISTICS)
}

/// One AF_XDP socket with its umem and its four rings, which xsk-rs makes: for whoever copies payloads.
pub(crate) struct XskRings {
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
    /// Descriptors as they come from the receive or the completion ring.
    batch: Box<[FrameDesc; BATCH]>,
    /// The descriptors of the frame being received. It may end in a later batch.
    run: Vec<FrameDesc>,
    /// Whether the frame being received has had more pieces than `run` holds.
    run_overflows: bool,
    /// Receive chunks on their way back to the fill ring.
    returning: Vec<FrameDesc>,
    /// The transmit chunks, in the order of their addresses.
    tx_chunks: Box<[FrameDesc]>,
    /// Which of the transmit chunks are with the kernel.
    in_flight: Box<[bool]>,
    /// Indices of the transmit chunks that are free.
    tx_free: Vec<usize>,
    umem: Umem,
}

impl std::fmt::Debug for XskRings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XskRings")
            .field("rx", &self.rx)
            .field("tx_free", &self.tx_free.len())
            .finish_non_exhaustive()
    }
}

impl XskRings {
    /// Creates the umem and binds a socket to one receive queue. `copy` is `Some(true)` to insist
    /// on copy mode, `Some(false)` to insist on zero copy, `None` to leave it to the driver.
    pub(crate) fn bind(interface: &str, queue_index: u32, copy: Option<bool>) -> io::Result<Self> {
        let size = |entries| QueueSize::new(entries).map_err(io::Error::other);
        let umem_config = UmemConfig::builder()
            .frame_size(FrameSize::new(CHUNK_BYTES).map_err(io::Error::other)?)
            .frame_headroom(HEADROOM_BYTES)
            .fill_queue_size(size(RX_CHUNKS)?)
            .comp_queue_size(size(TX_CHUNKS)?)
            .build()
            .map_err(io::Error::other)?;
        let mut bind_flags = BindFlags::XDP_USE_SG | BindFlags::XDP_USE_NEED_WAKEUP;
        match copy {
            Some(true) => bind_flags |= BindFlags::XDP_COPY,
            Some(false) => bind_flags |= BindFlags::XDP_ZEROCOPY,
            None => {}
        }
        let socket_config = SocketConfig::builder()
            .rx_queue_size(size(RX_RING_ENTRIES)?)
            .tx_queue_size(size(TX_CHUNKS)?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(bind_flags)
            .build();
        let name: Interface = interface.parse().map_err(io::Error::other)?;
        let count = NonZeroU32::new(RX_CHUNKS + TX_CHUNKS).ok_or(io::ErrorKind::InvalidInput)?;

        let (umem, mut chunks) = Umem::new(umem_config, count, false).map_err(os_error)?;
        // SAFETY: the umem is new, so no other socket shares it or its queues.
        let (tx, rx, rings) =
            unsafe { Socket::new(socket_config, &umem, &name, queue_index) }.map_err(os_error)?;
        let (fill, completion) = rings.ok_or(io::ErrorKind::InvalidData)?;
        let tx_chunks = chunks.split_off(RX_CHUNKS as usize).into_boxed_slice();
        let mut rings = Self {
            rx,
            tx,
            fill,
            completion,
            batch: Box::new([FrameDesc::default(); BATCH]),
            run: Vec::with_capacity(RX_RUN_MAX),
            run_overflows: false,
            returning: chunks,
            in_flight: vec![false; tx_chunks.len()].into_boxed_slice(),
            tx_free: (0..tx_chunks.len()).rev().collect(),
            tx_chunks,
            umem,
        };
        rings.refill();
        raise_send_budget(&rings.descriptor(), TX_CHUNKS);
        Ok(rings)
    }

    /// The socket, for polling.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket stays open as long as `self.rx` lives, and this borrow cannot outlast it.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }

    /// Hands up to `budget` frames to `sink` and their chunks back to the kernel.
    pub(crate) fn receive(
        &mut self,
        budget: usize,
        sink: &mut dyn FnMut(&ReceivedFrame<'_>),
    ) -> ReceiveTally {
        let mut tally = ReceiveTally::default();
        let mut ended = 0;
        while ended < budget {
            // A frame has at least one descriptor, so this many never end too many frames.
            let room = (budget - ended).min(BATCH);
            // SAFETY: the descriptors are overwritten with chunks of this socket's own umem.
            let count = unsafe { self.rx.consume(&mut self.batch[..room]) };
            if count == 0 {
                break;
            }
            for index in 0..count {
                let piece = self.batch[index];
                ended += usize::from(self.accept(piece, &mut tally, sink));
            }
            self.refill();
        }
        tally
    }

    /// Tells a driver that ran out of receive chunks that there are some again. Only zero-copy
    /// drivers ever ask for it.
    pub(crate) fn wake_fill(&mut self) -> io::Result<()> {
        if self.fill.needs_wakeup() {
            self.fill.wakeup(self.rx.fd_mut(), 0)?;
        }
        Ok(())
    }

    /// Takes one piece of a frame. Returns whether it was the last one.
    fn accept(
        &mut self,
        piece: FrameDesc,
        tally: &mut ReceiveTally,
        sink: &mut dyn FnMut(&ReceivedFrame<'_>),
    ) -> bool {
        if self.run.len() < RX_RUN_MAX {
            self.run.push(piece);
        } else {
            self.run_overflows = true;
            self.returning.push(piece);
        }
        if piece.has_more_frames() {
            return false;
        }
        if self.run_overflows {
            tally.invalid += 1;
        } else {
            tally.bytes += self.deliver(sink);
            tally.frames += 1;
        }
        self.run_overflows = false;
        self.returning.append(&mut self.run);
        true
    }

    /// Shows the frame in `run` to the sink. Returns its length.
    fn deliver(&self, sink: &mut dyn FnMut(&ReceivedFrame<'_>)) -> u64 {
        let mut segments: [&[u8]; RX_RUN_MAX] = [&[]; RX_RUN_MAX];
        for (segment, piece) in segments.iter_mut().zip(&self.run) {
            // SAFETY: the kernel gave us this chunk through the receive ring, and it goes back only
            // after the sink has returned, through `refill`, which needs `&mut self`.
            *segment = unsafe { self.umem.data(piece) }.contents();
        }
        let frame = ReceivedFrame {
            first: segments[0],
            rest: &segments[1..self.run.len()],
        };
        sink(&frame);
        frame.len_bytes() as u64
    }

    /// Puts the chunks of delivered frames back on the fill ring, which has room for all of them.
    fn refill(&mut self) {
        // SAFETY: the chunks belong to this umem, came out of the receive ring (or are new), and no
        // slice of them is left: slices borrow `self`.
        let produced = unsafe { self.fill.produce(&self.returning) };
        self.returning.drain(..produced);
    }

    /// Copies a frame into free transmit chunks and queues it. Returns whether there was room.
    pub(crate) fn queue(&mut self, frame: &ReceivedFrame<'_>) -> bool {
        let len = frame.len_bytes();
        let pieces = len.div_ceil(CHUNK_DATA_BYTES);
        if pieces == 0 || pieces > TX_RUN_MAX {
            return false;
        }
        if self.tx_free.len() < pieces {
            self.reclaim();
        }
        let Some(first_free) = self.tx_free.len().checked_sub(pieces) else {
            return false;
        };
        let mut run = [FrameDesc::default(); TX_RUN_MAX];
        for (piece, &chunk) in self.tx_free[first_free..].iter().rev().enumerate() {
            let offset = piece * CHUNK_DATA_BYTES;
            let piece_len = (len - offset).min(CHUNK_DATA_BYTES);
            let desc = &mut self.tx_chunks[chunk];
            // SAFETY: the chunk is on the free list, so neither the kernel nor a slice of ours has
            // it; `desc` is the descriptor that the umem made for it.
            let mut data = unsafe { self.umem.data_mut(desc) };
            data.cursor().set_pos(piece_len);
            frame.copy_to(offset, &mut data.contents_mut()[..piece_len]);
            let last = piece + 1 == pieces;
            desc.set_options(if last { 0 } else { FRAME_CONTINUES });
            run[piece] = *desc;
        }
        // SAFETY: the chunks belong to this umem and are on no other ring; from here on they count
        // as in flight until the completion ring gives them back.
        if unsafe { self.tx.produce(&run[..pieces]) } == 0 {
            return false;
        }
        for chunk in self.tx_free.drain(first_free..) {
            self.in_flight[chunk] = true;
        }
        true
    }

    /// Takes back the chunks that the kernel has sent.
    pub(crate) fn reclaim(&mut self) {
        loop {
            // SAFETY: the descriptors are overwritten with chunks of this socket's own umem.
            let count = unsafe { self.completion.consume(&mut self.batch[..]) };
            for desc in &self.batch[..count] {
                let chunk = (desc.addr() / CHUNK_BYTES as usize).checked_sub(RX_CHUNKS as usize);
                if let Some(chunk) = chunk
                    && let Some(in_flight) = self.in_flight.get_mut(chunk)
                    && std::mem::take(in_flight)
                {
                    self.tx_free.push(chunk);
                }
            }
            if count < BATCH {
                return;
            }
        }
    }

    /// Descriptors that the kernel has not taken from the transmit ring yet.
    pub(crate) fn unsent(&mut self) -> u32 {
        TX_CHUNKS - self.tx.nb_free_exact()
    }

    /// Tells the kernel to send what is queued, as far as the interface takes it now.
    pub(crate) fn kick(&mut self) -> io::Result<()> {
        let mut waiting = self.unsent();
        while waiting > 0 && self.tx.needs_wakeup() {
            self.tx.wakeup()?;
            let left = self.unsent();
            if left >= waiting {
                break;
            }
            waiting = left;
        }
        Ok(())
    }
}

/// The system error below one of xsk-rs, or the error itself in words.
fn os_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let code = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error);
    match code {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error),
    }
}

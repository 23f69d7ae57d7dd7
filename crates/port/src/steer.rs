//! The XDP program of one interface: loading it, attaching it, giving it sockets, reading its
//! counters.
//!
//! Invariants:
//! - The program is attached through a BPF link that only this process holds. When the last
//!   [`Steering`] of an interface is dropped, or the process dies, the interface is as before.
//! - Where the workers share queues, frames go to the worker that [`Spreader::set`] makes their receiver,
//!   which is the same for as long as a LUN is served.
//! - A queue without a socket passes its AoE frames to the kernel; nothing is dropped.

use crate::interface::Interface;
use crate::patience::patiently;
use crate::ring;
use crate::{OpenError, Sharing};
use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle, Object, ObjectBuilder, PrintLevel};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use zerocopy::{Immutable, IntoBytes};

/// The compiled `bpf/steer.bpf.c`, aligned as an ELF reader likes it.
static PROGRAM: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/steer.bpf.o")));

#[repr(C, align(16))]
struct Aligned<Bytes: ?Sized>(Bytes);

/// Name of the program in the object.
const PROGRAM_NAME: &str = "steer";
/// Name of the map from receive queue to AF_XDP socket.
const SOCKETS_MAP: &str = "sockets";
/// Name of the map from LUN to how its frames are spread.
const LUNS_MAP: &str = "luns";
/// How the name of the map of constants ends.
const CONSTANTS_MAP: &str = ".rodata";
/// Name of the map from outcome to frame count.
const OUTCOMES_MAP: &str = "outcomes";

/// What happened to a frame, numbered as in `bpf/steer.bpf.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Outcome {
    AoeToSocket,
    AoeToKernel,
    Console,
    Tagged,
    Other,
    Short,
    AoeSpread,
}

/// Frames that the XDP program of an interface has seen since it was attached, by what became of
/// them. All queues together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SteerCounters {
    /// AoE frames handed to an AF_XDP socket.
    pub(crate) aoe_to_socket: u64,
    /// Of these, those to the socket of another worker than the queue's own.
    pub(crate) aoe_spread: u64,
    /// AoE frames passed to the kernel because their queue had no socket.
    pub(crate) aoe_to_kernel: u64,
    /// Frames of the Ethernet console, passed to the kernel.
    pub(crate) console: u64,
    /// VLAN-tagged frames, passed to the kernel.
    pub(crate) tagged: u64,
    /// Frames of other EtherTypes, passed to the kernel.
    pub(crate) other: u64,
    /// Frames too short for an Ethernet header, passed to the kernel.
    pub(crate) short: u64,
}

/// In which place the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// In the driver, before a socket buffer exists.
    Native,
    /// In the network stack, on every interface.
    Generic,
}

impl Hook {
    fn flags(self) -> u32 {
        match self {
            Self::Native => libbpf_sys::XDP_FLAGS_DRV_MODE,
            Self::Generic => libbpf_sys::XDP_FLAGS_SKB_MODE,
        }
    }
}

/// The program, attached to an interface.
#[derive(Debug)]
pub(crate) struct Steering {
    /// Detaches the program when it closes.
    _link: OwnedFd,
    sockets: MapHandle,
    luns: MapHandle,
    outcomes: MapHandle,
    workers: u32,
}

/// How the program spreads frames among the workers that share each queue. Laid out as in
/// `bpf/steer.bpf.c`.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Spreading {
    workers: u32,
    first: u32,
    group_shift: u32,
}

impl Spreading {
    /// One worker for each queue.
    const NONE: Self = Self {
        workers: 1,
        first: 0,
        group_shift: 0,
    };

    pub(crate) fn among(sharing: &Sharing<'_>) -> Self {
        assert!(sharing.group_sectors.is_power_of_two(), "{sharing:?}");
        Self {
            workers: u32::try_from(sharing.memories.len()).unwrap_or(u32::MAX),
            first: u32::from(sharing.first),
            group_shift: sharing.group_sectors.trailing_zeros(),
        }
    }
}

/// Tells an interface which frames are for which worker.
#[derive(Clone, Debug)]
pub struct Spreader {
    interface: String,
    steering: Arc<Steering>,
}

impl Spreader {
    pub(crate) fn new(interface: &str, steering: &Arc<Steering>) -> Self {
        Self {
            interface: interface.to_owned(),
            steering: Arc::clone(steering),
        }
    }

    /// From now on commands of a LUN go to the owner of their group, if they lie in one of its first so many
    /// sectors, and else to its home; with `None`, to the queue's own worker.
    ///
    /// # Errors
    /// When the kernel refuses: then nothing has changed.
    pub fn set(&self, slot: u8, spread_sectors: Option<u64>) -> io::Result<()> {
        set_lun(&self.steering.luns, slot, spread_sectors)
    }

    /// The interface.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }
}

impl Steering {
    /// Loads the program and attaches it to the interface.
    pub(crate) fn attach(
        interface: &Interface,
        hook: Hook,
        spreading: Option<Spreading>,
    ) -> Result<Self, AttachError> {
        let spreading = spreading.unwrap_or(Spreading::NONE);
        let object = load(interface.rx_queue_count, spreading).map_err(AttachError::Load)?;
        let program = object
            .progs()
            .find(|program| program.name() == PROGRAM_NAME)
            .ok_or_else(|| AttachError::Load(io::Error::other("no program in the object")))?;
        let (program, flags) = (program.as_fd(), hook.flags());
        let link = patiently(|| ring::attach_xdp(program, interface.index, flags))
            .map_err(AttachError::Attach)?;
        let steering = Self {
            _link: link,
            sockets: map(&object, SOCKETS_MAP).map_err(AttachError::Load)?,
            luns: map(&object, LUNS_MAP).map_err(AttachError::Load)?,
            outcomes: map(&object, OUTCOMES_MAP).map_err(AttachError::Load)?,
            workers: spreading.workers,
        };
        // The library looks up in a file how many CPUs there may be, once: workers may not open files.
        steering.counters().map_err(AttachError::Load)?;
        Ok(steering)
    }

    /// From now on AoE frames of this receive queue, or those for one of the workers that share it, go to
    /// this AF_XDP socket. When the socket closes, the kernel takes it out again.
    pub(crate) fn add_socket(
        &self,
        queue_index: u32,
        sharer: u8,
        socket: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let key = queue_index * self.workers + u32::from(sharer);
        insert_socket(&self.sockets, key, socket)
    }

    /// What the program has counted.
    pub(crate) fn counters(&self) -> io::Result<SteerCounters> {
        read_counters(&self.outcomes)
    }
}

/// Which step of attaching failed.
#[derive(Debug)]
pub(crate) enum AttachError {
    /// The kernel did not take the program.
    Load(io::Error),
    /// The interface did not take it.
    Attach(io::Error),
}

impl AttachError {
    /// The error of a forced mode.
    pub(crate) fn into_open_error(
        self,
        interface: &Interface,
        mode: crate::RequestedMode,
    ) -> OpenError {
        let name = interface.name.clone();
        let permission = io::ErrorKind::PermissionDenied;
        match self {
            Self::Load(error) | Self::Attach(error) if error.kind() == permission => {
                OpenError::from_call(&name, "load and attach the XDP program", error)
            }
            Self::Load(source) => OpenError::ProgramRefused {
                interface: name,
                source,
            },
            Self::Attach(source) => match source.raw_os_error() {
                Some(libc::EBUSY | libc::EEXIST) => OpenError::OtherProgram {
                    interface: name,
                    source,
                },
                _ => OpenError::ModeRefused {
                    interface: name,
                    mode,
                    mtu_bytes: interface.mtu_bytes,
                    source,
                },
            },
        }
    }
}

/// Loads the program with room for a socket for each receive queue and worker.
fn load(queue_count: u32, spreading: Spreading) -> io::Result<Object> {
    // libbpf prints to stderr by itself otherwise. Whatever goes wrong comes back as an error too.
    libbpf_rs::set_print(Some((PrintLevel::Debug, |level, text| {
        let text = text.trim_end();
        match level {
            PrintLevel::Warn => tracing::debug!(target: "libbpf", "{text}"),
            PrintLevel::Info | PrintLevel::Debug => tracing::trace!(target: "libbpf", "{text}"),
        }
    })));
    let mut open = ObjectBuilder::default()
        .name("ledge_steer")
        .and_then(|builder| builder.open_memory(&PROGRAM.0))
        .map_err(plain)?;
    for mut map in open.maps_mut() {
        if map.name() == SOCKETS_MAP {
            map.set_max_entries(queue_count * spreading.workers)
                .map_err(plain)?;
        }
        if map.name().to_string_lossy().ends_with(CONSTANTS_MAP) {
            map.set_initial_value(spreading.as_bytes()).map_err(plain)?;
        }
    }
    open.load().map_err(plain)
}

/// A handle to one of the program's maps that lives on its own.
fn map(object: &Object, name: &str) -> io::Result<MapHandle> {
    let map = object
        .maps()
        .find(|map| map.name() == name)
        .ok_or_else(|| io::Error::other(format!("no map {name} in the object")))?;
    MapHandle::try_from(&map).map_err(plain)
}

/// The loader's error as one of the system, with its words and the kind that matters to us.
fn plain(error: libbpf_rs::Error) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

#[expect(clippy::host_endian_bytes, reason = "BPF maps hold host integers")]
fn insert_socket(sockets: &impl MapCore, key: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let key = key.to_ne_bytes();
    let value = socket.as_raw_fd().to_ne_bytes();
    sockets.update(&key, &value, MapFlags::ANY).map_err(plain)
}

#[expect(clippy::host_endian_bytes, reason = "BPF maps hold host integers")]
fn set_lun(luns: &impl MapCore, slot: u8, spread_sectors: Option<u64>) -> io::Result<()> {
    let key = u32::from(slot).to_ne_bytes();
    // Nothing, or one more: a single word, which the program finds whole.
    let value = spread_sectors.map_or(0, |sectors| sectors.saturating_add(1));
    let value = value.to_ne_bytes();
    luns.update(&key, &value, MapFlags::ANY).map_err(plain)
}

#[expect(clippy::host_endian_bytes, reason = "BPF maps hold host integers")]
fn read_counter(outcomes: &impl MapCore, outcome: Outcome) -> io::Result<u64> {
    let key = (outcome as u32).to_ne_bytes();
    let per_cpu = outcomes
        .lookup_percpu(&key, MapFlags::ANY)
        .map_err(plain)?
        .ok_or(io::ErrorKind::NotFound)?;
    Ok(per_cpu
        .iter()
        .filter_map(|bytes| bytes.as_slice().try_into().ok())
        .map(u64::from_ne_bytes)
        .sum())
}

fn read_counters(outcomes: &impl MapCore) -> io::Result<SteerCounters> {
    Ok(SteerCounters {
        aoe_to_socket: read_counter(outcomes, Outcome::AoeToSocket)?,
        aoe_to_kernel: read_counter(outcomes, Outcome::AoeToKernel)?,
        console: read_counter(outcomes, Outcome::Console)?,
        tagged: read_counter(outcomes, Outcome::Tagged)?,
        other: read_counter(outcomes, Outcome::Other)?,
        short: read_counter(outcomes, Outcome::Short)?,
        aoe_spread: read_counter(outcomes, Outcome::AoeSpread)?,
    })
}

#[cfg(test)]
#[path = "steer_tests.rs"]
mod tests;

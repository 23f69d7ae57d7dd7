//! A port on an AF_XDP socket.
//!
//! Invariants:
//! - Frames of more than one chunk arrive and leave as runs of descriptors; a run may end in a
//!   later batch.
//! - Received chunks go back to the fill ring as soon as the sink has returned. Payloads to be sent
//!   are copied into transmit chunks, which come back through the completion ring; or they are lent from
//!   memory that the port shares with its worker's drives, until the completion ring says that they are sent.
//! - The sockets of one interface share one XDP program, which leaves with the last of them. It has one
//!   socket for each queue, or one for each queue and worker, among which it spreads frames.
//!
//! Budget (`corebench stages receive`): 60 ns, 280 instructions.
//! Budget (`corebench stages transmit`): 3000 ns, 480 instructions.

use crate::frame::ReceivedFrame;
use crate::interface::Interface;
use crate::patience::patiently;
use crate::ring::{
    ReceiveTally, UMEM_FRAME_BYTES_MAX, UmemRings, XSK_FRAME_BYTES_MAX, XskRings, is_zero_copy,
    tells_the_truth, xdp_statistics,
};
use crate::steer::{AttachError, Hook, Spreader, Spreading, Steering};
use crate::{
    ETHERNET_HEADER_BYTES, Mode, OpenError, Opening, Port, PortCounters, PortFacts, RequestedMode,
    Sharing, TransmitError,
};
use aoe::vlan::TAG_BYTES;
use std::io;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Which step of opening an interface with XDP failed.
#[derive(Debug)]
pub(crate) enum XdpError {
    /// Loading or attaching the program.
    Attach(AttachError),
    /// Creating or binding the socket of this queue.
    Bind(u32, io::Error),
}

impl XdpError {
    /// The error of a forced mode, with what to do about it.
    pub(crate) fn into_open_error(self, interface: &Interface, mode: RequestedMode) -> OpenError {
        let (queue_index, source) = match self {
            Self::Attach(error) => return error.into_open_error(interface, mode),
            Self::Bind(queue_index, source) => (queue_index, source),
        };
        let name = interface.name.clone();
        match source.raw_os_error() {
            Some(libc::EBUSY) => OpenError::QueueBusy {
                interface: name,
                queue_index,
            },
            // ENOBUFS is the answer when the memory would exceed the limit on locked memory.
            Some(libc::EPERM | libc::EACCES | libc::ENOBUFS) => OpenError::NotPermitted {
                interface: name,
                operation: "open an AF_XDP socket",
                source,
            },
            Some(libc::EAFNOSUPPORT | libc::ENOPROTOOPT) => OpenError::NoMultiBuffer {
                interface: name,
                mode,
                source,
            },
            // Kernels before 6.6 answer the flag XDP_USE_SG with EINVAL.
            Some(libc::EINVAL) if mode != RequestedMode::Zerocopy => OpenError::NoMultiBuffer {
                interface: name,
                mode,
                source,
            },
            _ => OpenError::ModeRefused {
                interface: name,
                mode,
                mtu_bytes: interface.mtu_bytes,
                source,
            },
        }
    }
}

impl std::fmt::Display for XdpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Attach(AttachError::Load(error)) => write!(f, "loading the program: {error}"),
            Self::Attach(AttachError::Attach(error)) => {
                write!(f, "attaching the program: {error}")
            }
            Self::Bind(queue, error) => write!(f, "binding a socket to queue {queue}: {error}"),
        }
    }
}

/// The socket of a queue.
#[derive(Debug)]
enum Rings {
    /// With memory of its own: it copies what it sends.
    Own(XskRings),
    /// Over the memory of its worker; and whether that can be lent.
    Shared(UmemRings, bool),
}

/// Calls a method that both kinds have.
macro_rules! either {
    ($rings:expr, $ring:ident => $call:expr) => {
        match $rings {
            Rings::Own($ring) => $call,
            Rings::Shared($ring, _) => $call,
        }
    };
}

impl Rings {
    fn bind(
        interface: &Interface,
        queue_index: u32,
        copy: Option<bool>,
        opening: &Opening<'_>,
    ) -> io::Result<Self> {
        let Some(memory) = (opening.memory)(queue_index) else {
            return XskRings::bind(&interface.name, queue_index, copy).map(Self::Own);
        };
        let rings = UmemRings::bind(interface.index, queue_index, copy, memory)?;
        Self::over_shared(rings, opening)
    }

    fn over_shared(mut rings: UmemRings, opening: &Opening<'_>) -> io::Result<Self> {
        if opening.busy_poll {
            rings.poll_busily()?;
        }
        let can_lend = tells_the_truth(is_zero_copy(&rings.descriptor())?);
        Ok(Self::Shared(rings, can_lend))
    }

    /// A socket of one queue for each worker.
    fn bind_all(
        interface: &Interface,
        queue_index: u32,
        copy: Option<bool>,
        opening: &Opening<'_>,
        sharing: &Sharing<'_>,
    ) -> io::Result<Vec<Self>> {
        let memories = sharing.memories;
        let all = UmemRings::bind_all(interface.index, queue_index, copy, memories)?;
        let over = |rings| Self::over_shared(rings, opening);
        all.into_iter().map(over).collect()
    }

    fn look(&mut self) -> bool {
        match self {
            Self::Own(_) => false,
            Self::Shared(rings, _) => rings.look(),
        }
    }

    fn has_chunks_waiting(&self) -> bool {
        match self {
            Self::Own(_) => false,
            Self::Shared(rings, _) => rings.has_chunks_waiting(),
        }
    }

    /// The longest frame that can be sent.
    const fn frame_bytes_max(&self) -> usize {
        match self {
            Self::Own(_) => XSK_FRAME_BYTES_MAX,
            Self::Shared(..) => UMEM_FRAME_BYTES_MAX,
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        either!(self, rings => rings.descriptor())
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&ReceivedFrame<'_>)) -> ReceiveTally {
        either!(self, rings => rings.receive(budget, sink))
    }

    fn wake_fill(&mut self) -> io::Result<()> {
        either!(self, rings => rings.wake_fill())
    }

    fn queue(&mut self, frame: &ReceivedFrame<'_>) -> bool {
        either!(self, rings => rings.queue(frame))
    }

    fn reclaim(&mut self) {
        either!(self, rings => rings.reclaim());
    }

    fn unsent(&mut self) -> u32 {
        either!(self, rings => rings.unsent())
    }

    fn kick(&mut self) -> io::Result<()> {
        either!(self, rings => rings.kick())
    }
}

/// One receive queue of an interface, through AF_XDP.
#[derive(Debug)]
pub struct XdpPort {
    facts: PortFacts,
    rings: Rings,
    steering: Arc<Steering>,
    counted: PortCounters,
    /// Keeps the interface's filter open for the other addresses of the port.
    _membership: Option<Arc<OwnedFd>>,
}

impl XdpPort {
    /// Attaches the program and binds a socket to every receive queue. `copy` is `Some(true)` to
    /// insist on the kernel's copy, `Some(false)` to insist on zero copy, `None` to take what the
    /// driver offers. Nothing stays attached when this fails.
    pub(crate) fn open_all(
        interface: &Interface,
        hook: Hook,
        copy: Option<bool>,
        reason: &str,
        opening: &Opening<'_>,
    ) -> Result<Vec<Self>, XdpError> {
        if let Some(sharing) = opening.sharing_of(interface.rx_queue_count) {
            match Self::open_shared(interface, (hook, copy), reason, opening, sharing) {
                Ok(ports) => return Ok(ports),
                Err(error) => tracing::info!(
                    interface = interface.name,
                    "workers cannot share receive queues here, frames are handed on: {error}"
                ),
            }
        }
        let steering = Steering::attach(interface, hook, None).map_err(XdpError::Attach)?;
        let steering = Arc::new(steering);
        (0..interface.rx_queue_count)
            .map(|queue_index| {
                let rings = patiently(|| Rings::bind(interface, queue_index, copy, opening));
                rings
                    .and_then(|rings| {
                        let place = (queue_index, None);
                        Self::new(interface, place, hook, reason, &steering, rings)
                    })
                    .map_err(|error| XdpError::Bind(queue_index, error))
            })
            .collect()
    }

    /// The same with a socket for each worker on every receive queue: queue by queue.
    fn open_shared(
        interface: &Interface,
        (hook, copy): (Hook, Option<bool>),
        reason: &str,
        opening: &Opening<'_>,
        sharing: &Sharing<'_>,
    ) -> Result<Vec<Self>, XdpError> {
        let spreading = Spreading::among(sharing);
        let steering = Steering::attach(interface, hook, Some(spreading));
        let steering = Arc::new(steering.map_err(XdpError::Attach)?);
        let mut ports = Vec::new();
        for queue_index in 0..interface.rx_queue_count {
            let refused = |error| XdpError::Bind(queue_index, error);
            let all = patiently(|| Rings::bind_all(interface, queue_index, copy, opening, sharing));
            for (sharer, rings) in (0..).zip(all.map_err(refused)?) {
                let place = (queue_index, Some(sharer));
                let port = Self::new(interface, place, hook, reason, &steering, rings);
                ports.push(port.map_err(refused)?);
            }
        }
        Ok(ports)
    }

    fn new(
        interface: &Interface,
        (queue_index, sharer): (u32, Option<u8>),
        hook: Hook,
        reason: &str,
        steering: &Arc<Steering>,
        rings: Rings,
    ) -> io::Result<Self> {
        let frame_bytes_max = rings.frame_bytes_max();
        if interface.mtu_bytes + ETHERNET_HEADER_BYTES + TAG_BYTES > frame_bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("AF_XDP sends frames of at most {frame_bytes_max} bytes"),
            ));
        }
        let mode = match hook {
            Hook::Native if is_zero_copy(&rings.descriptor())? => Mode::Zerocopy,
            Hook::Native => Mode::Native,
            Hook::Generic => Mode::Generic,
        };
        steering.add_socket(queue_index, sharer.unwrap_or(0), rings.descriptor())?;
        Ok(Self {
            facts: PortFacts {
                interface: interface.name.clone(),
                queue_index,
                sharer,
                stations: interface.stations,
                mtu_bytes: interface.mtu_bytes,
                has_link: interface.has_link,
                mode,
                reason: reason.to_owned(),
            },
            rings,
            steering: Arc::clone(steering),
            counted: PortCounters::default(),
            _membership: interface.membership.clone(),
        })
    }

    /// Says why this port is in this mode, where that is known only afterwards.
    pub(crate) fn set_reason(&mut self, reason: &str) {
        reason.clone_into(&mut self.facts.reason);
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.counted.kernel_errors += 1;
            tracing::debug!("{}: {error}", self.facts.interface);
        }
    }
}

impl Port for XdpPort {
    fn facts(&self) -> &PortFacts {
        &self.facts
    }

    fn look(&mut self) -> bool {
        self.facts.sharer.is_some() && self.rings.look()
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&ReceivedFrame<'_>)) -> usize {
        let tally = self.rings.receive(budget, sink);
        self.counted.rx_frames += tally.frames as u64;
        self.counted.rx_bytes += tally.bytes;
        self.counted.rx_invalid += tally.invalid;
        let woken = self.rings.wake_fill();
        self.note(woken);
        tally.frames
    }

    fn transmit(&mut self, header: &[u8], payload: &[u8]) -> Result<(), TransmitError> {
        let counted = &mut self.counted;
        let rings = &mut self.rings;
        counted.transmit(&self.facts, header, payload, |frame| rings.queue(frame))
    }

    fn lends(&self) -> bool {
        matches!(self.rings, Rings::Shared(_, true))
    }

    fn transmit_lent(
        &mut self,
        header: &[u8],
        payload: Range<usize>,
        token: u16,
    ) -> Result<(), TransmitError> {
        let Rings::Shared(rings, true) = &mut self.rings else {
            unreachable!("asked before: `lends`")
        };
        let bytes = header.len() + payload.len();
        self.counted.check_length(&self.facts, header, bytes)?;
        let is_queued = rings.queue_lent(header, payload, token);
        self.counted.queued(is_queued, bytes)
    }

    fn next_returned(&mut self) -> Option<u16> {
        match &mut self.rings {
            Rings::Own(_) => None,
            Rings::Shared(rings, _) => rings.next_returned(),
        }
    }

    fn flush(&mut self) -> bool {
        let sent = self.rings.kick();
        self.note(sent);
        self.rings.reclaim();
        self.rings.unsent() > 0 || self.rings.has_chunks_waiting()
    }

    fn refresh(&mut self) -> bool {
        self.facts.refresh(self.rings.frame_bytes_max())
    }

    fn take_error(&mut self) {
        let pending = rustix::net::sockopt::socket_error(self.rings.descriptor());
        self.note(
            pending
                .map_err(Into::into)
                .and_then(|error| error.map_err(Into::into)),
        );
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.rings.descriptor())
    }

    fn spreader(&self) -> Option<Spreader> {
        let is_first = self.facts.queue_index == 0 && self.facts.sharer == Some(0);
        is_first.then(|| Spreader::new(&self.facts.interface, &self.steering))
    }

    fn counters(&self) -> PortCounters {
        let mut counters = self.counted;
        match xdp_statistics(&self.rings.descriptor()) {
            Ok(kernel) => {
                counters.rx_dropped = kernel.rx_dropped;
                counters.rx_ring_full = kernel.rx_ring_full;
                // Sockets that share a queue have one fill ring, and each tells of all of it.
                if self.facts.sharer.is_none_or(|sharer| sharer == 0) {
                    counters.fill_ring_empty = kernel.rx_fill_ring_empty_descs;
                }
                counters.tx_invalid = kernel.tx_invalid_descs;
            }
            Err(error) => {
                counters.kernel_errors += 1;
                tracing::debug!("{}: AF_XDP statistics: {error}", self.facts.interface);
            }
        }
        match self.steering.counters() {
            Ok(steered) => {
                counters.aoe_to_kernel = steered.aoe_to_kernel;
                counters.aoe_spread = steered.aoe_spread;
                counters.passed_to_kernel =
                    steered.console + steered.tagged + steered.other + steered.short;
            }
            Err(error) => {
                counters.kernel_errors += 1;
                tracing::debug!("{}: XDP counters: {error}", self.facts.interface);
            }
        }
        counters
    }
}

//! What can go wrong with a port: opening it, and sending through it.

use crate::RequestedMode;
use std::io;

/// Why an interface could not be opened. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no interface of this name in this network namespace.
    #[error("{interface}: no such network interface; `ip link` lists those that exist")]
    InterfaceMissing {
        /// The name as it was asked for.
        interface: String,
    },
    /// The interface exists but is switched off.
    #[error("{interface}: the interface is down; bring it up with `ip link set {interface} up`")]
    InterfaceDown {
        /// The interface.
        interface: String,
    },
    /// The interface is not an Ethernet interface, so it has no station address.
    #[error(
        "{interface}: not an Ethernet interface (ARP hardware type {hardware_type}); AoE needs Ethernet"
    )]
    NotEthernet {
        /// The interface.
        interface: String,
        /// The kernel's `ARPHRD_` number.
        hardware_type: u16,
    },
    /// So many addresses cannot be.
    #[error("{interface}: {addresses} addresses: must be 1 to {max}", max = aoe::ADDRESSES_MAX)]
    Addresses {
        /// The interface.
        interface: String,
        /// How many were asked for.
        addresses: u8,
    },
    /// The MTU leaves no room for two sectors.
    #[error(
        "{interface}: MTU {mtu_bytes} is too small, two sectors need {mtu_bytes_min}; \
         use `ip link set {interface} mtu 1500`, or 9000 where the switch allows it"
    )]
    MtuTooSmall {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu_bytes: usize,
        /// The least that would do.
        mtu_bytes_min: usize,
    },
    /// The process lacks a capability.
    #[error(
        "{interface}: not permitted to {operation}: {source}; \
         run as root or with CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and a large LimitMEMLOCK"
    )]
    NotPermitted {
        /// The interface.
        interface: String,
        /// What was being done.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel has no AF_XDP, or none that carries frames of several buffers.
    #[error(
        "{interface}: mode {mode} needs AF_XDP with multi-buffer frames (XDP_USE_SG, Linux 6.6 or later): {source}; \
         use mode \"packet\" or a newer kernel"
    )]
    NoMultiBuffer {
        /// The interface.
        interface: String,
        /// The mode that was asked for.
        mode: RequestedMode,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody else's XDP program is on the interface.
    #[error(
        "{interface}: another XDP program is attached ({source}); \
         `ip link show {interface}` names it, `ip link set {interface} xdp off` removes it, mode \"packet\" works beside it"
    )]
    OtherProgram {
        /// The interface.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another AF_XDP socket holds the receive queue.
    #[error(
        "{interface}: queue {queue_index} is held by another AF_XDP socket; is another shelf running on this interface?"
    )]
    QueueBusy {
        /// The interface.
        interface: String,
        /// The receive queue.
        queue_index: u32,
    },
    /// The driver refuses this mode on this interface.
    #[error(
        "{interface}: the driver refuses mode {mode} at MTU {mtu_bytes}: {source}; \
         use mode \"auto\", or a smaller MTU on this end and the other"
    )]
    ModeRefused {
        /// The interface.
        interface: String,
        /// The mode that was asked for.
        mode: RequestedMode,
        /// The MTU at which it was tried.
        mtu_bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel would not load the XDP program.
    #[error(
        "{interface}: the kernel does not load the XDP program: {source}; use mode \"packet\" or a newer kernel"
    )]
    ProgramRefused {
        /// The interface.
        interface: String,
        /// The loader's answer.
        source: io::Error,
    },
    /// A system call failed that normally does not.
    #[error("{interface}: cannot {operation}: {source}")]
    System {
        /// The interface.
        interface: String,
        /// What was being done.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl OpenError {
    /// Sorts a failed system call: missing privileges get their own message.
    pub(crate) fn from_call(interface: &str, operation: &'static str, source: io::Error) -> Self {
        let interface = interface.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::NotPermitted {
                interface,
                operation,
                source,
            }
        } else {
            Self::System {
                interface,
                operation,
                source,
            }
        }
    }
}

/// Why a frame was not queued for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransmitError {
    /// Every transmit buffer is in use. Flush, and try again later.
    #[error("every transmit buffer is in use")]
    Full,
    /// The frame is longer than the interface's MTU allows. Trying again is of no use.
    #[error(
        "a frame of {len_bytes} bytes is longer than the {limit_bytes} that the interface takes"
    )]
    TooLong {
        /// Length of the frame, Ethernet header included.
        len_bytes: usize,
        /// The longest frame that this port sends.
        limit_bytes: usize,
    },
}

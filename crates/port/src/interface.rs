//! What the kernel says about a network interface before it is opened.
//!
//! Everything is asked through sockets, never through `/sys`: the `/sys` of a process shows the
//! interfaces of the namespace in which it was mounted, which need not be ours.

use crate::OpenError;
use crate::ring::{self, InterfaceRequest};
use aoe::{MacAddress, StationAddresses};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// `ARPHRD_ETHER`: the hardware type of Ethernet interfaces.
const HARDWARE_TYPE_ETHERNET: u16 = libc::ARPHRD_ETHER;

/// Family of the sockets by which interfaces are asked: any will do, and whoever may not make others may make
/// these.
const CONTROL: AddressFamily = AddressFamily::UNIX;

/// One Ethernet interface that is there and up.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) stations: StationAddresses,
    /// What lets frames to the addresses beside its own through its filter, while it is open.
    pub(crate) membership: Option<Arc<OwnedFd>>,
    pub(crate) mtu_bytes: usize,
    pub(crate) has_link: bool,
    pub(crate) rx_queue_count: u32,
    /// Empty where nobody says.
    pub(crate) driver: String,
}

impl Interface {
    /// Looks the interface up and refuses it if it is missing, down, or not Ethernet.
    pub(crate) fn find(name: &str) -> Result<Self, OpenError> {
        let fail = |operation| move |error| OpenError::from_call(name, operation, error);
        let missing = || OpenError::InterfaceMissing {
            interface: name.to_owned(),
        };
        let socket = socket_with(CONTROL, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| fail("open a control socket")(error.into()))?;
        let request = InterfaceRequest::new(name).ok_or_else(missing)?;
        let index = request.index(&socket).map_err(|error| {
            if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) {
                missing()
            } else {
                fail("look up the interface")(error)
            }
        })?;
        let (hardware_type, mac) = request
            .hardware_address(&socket)
            .map_err(fail("read the hardware address"))?;
        if hardware_type != HARDWARE_TYPE_ETHERNET {
            return Err(OpenError::NotEthernet {
                interface: name.to_owned(),
                hardware_type,
            });
        }
        let up = request
            .is_up(&socket)
            .map_err(fail("read the interface flags"))?;
        if !up {
            return Err(OpenError::InterfaceDown {
                interface: name.to_owned(),
            });
        }
        let mtu_bytes = request.mtu_bytes(&socket).map_err(fail("read the MTU"))?;
        let has_link = request
            .has_link(&socket)
            .map_err(fail("read the interface flags"))?;
        let rx_queue_count =
            rx_queue_count(&request, &socket).map_err(fail("read the queue count"))?;
        let driver = driver(&request, &socket).map_err(fail("ask for the driver"))?;
        Ok(Self {
            name: name.to_owned(),
            index,
            stations: StationAddresses::single(MacAddress(mac)),
            membership: None,
            mtu_bytes,
            has_link,
            rx_queue_count,
            driver,
        })
    }
}

impl Interface {
    /// Gives the interface so many addresses. A network card without a filter that has room for them receives
    /// every frame on the wire from now on (promiscuous mode, which the kernel turns on by itself).
    pub(crate) fn answer_as(&mut self, addresses: u8) -> Result<(), OpenError> {
        let own = self.stations.first();
        let Some(stations) = StationAddresses::several(own, addresses) else {
            return Err(OpenError::Addresses {
                interface: self.name.clone(),
                addresses,
            });
        };
        self.stations = stations;
        if addresses > 1 {
            let socket = packet_socket(&self.name)?;
            for mac in stations.iter().skip(1) {
                ring::add_unicast(&socket, self.index, mac.0).map_err(|error| {
                    OpenError::from_call(&self.name, "add a station address", error)
                })?;
            }
            self.membership = Some(Arc::new(socket));
        }
        Ok(())
    }
}

/// Makes an interface leave VLAN tags in received frames, where an XDP program is to see them. It stays so
/// when we end; the kernel takes them off instead, for whoever wants that.
pub(crate) fn leave_vlan_tags(name: &str) {
    let flags = SocketFlags::CLOEXEC;
    let left = socket_with(CONTROL, SocketType::DGRAM, flags, None)
        .map_err(io::Error::from)
        .and_then(|socket| {
            let request = InterfaceRequest::new(name).ok_or(io::ErrorKind::InvalidInput)?;
            request.leave_vlan_tags(&socket)
        });
    match left {
        Ok(true) => tracing::info!(interface = name, "receive VLAN offload turned off"),
        Ok(false) => {}
        // Such drivers have no offloads.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => tracing::warn!(
            interface = name,
            "receive VLAN offload cannot be turned off: LUNs that are bound to a VLAN are not reached \
             through this port unless it is off: {error}"
        ),
    }
}

/// The MTU of an interface now, in bytes, and whether it has a link.
///
/// # Errors
/// When there is no such interface, or the kernel does not tell.
pub fn mtu_and_link(name: &str) -> io::Result<(usize, bool)> {
    let socket = socket_with(CONTROL, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let request = InterfaceRequest::new(name).ok_or(io::ErrorKind::InvalidInput)?;
    Ok((request.mtu_bytes(&socket)?, request.has_link(&socket)?))
}

/// The kernel's number of an interface now: another one of the same name has another number.
///
/// # Errors
/// When there is no such interface.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let socket = socket_with(CONTROL, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let request = InterfaceRequest::new(name).ok_or(io::ErrorKind::InvalidInput)?;
    request.index(&socket)
}

/// Who drives the interface; empty where nobody says.
fn driver(request: &InterfaceRequest<'_>, socket: &OwnedFd) -> io::Result<String> {
    match request.driver(socket) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(String::new()),
        driver => driver,
    }
}

/// Receive queues of the interface. Drivers that cannot say so have one.
fn rx_queue_count(request: &InterfaceRequest, socket: &OwnedFd) -> io::Result<u32> {
    match request.channels(socket) {
        Ok(channels) => Ok((channels.rx_count + channels.combined_count).max(1)),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(1),
        Err(error) => Err(error),
    }
}

/// Opens an AF_PACKET socket that receives nothing until it is bound.
pub(crate) fn packet_socket(interface: &str) -> Result<OwnedFd, OpenError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
        .map_err(|error| OpenError::from_call(interface, "open a packet socket", error.into()))
}

/// Takes our own frames off a packet socket: it shall see what came from the wire, no more.
pub(crate) fn ignore_outgoing(interface: &str, socket: &OwnedFd) -> Result<(), OpenError> {
    ring::set_packet_option(socket, ring::PACKET_IGNORE_OUTGOING, &1i32)
        .map_err(|error| OpenError::from_call(interface, "ignore outgoing frames", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interface_is_named() {
        for name in [
            "lp-no-such",
            "",
            "a-name-that-is-far-too-long",
            "nul\0inside",
        ] {
            let error = Interface::find(name).unwrap_err();
            assert!(
                matches!(&error, OpenError::InterfaceMissing { interface } if interface == name),
                "{name:?}: {error}"
            );
        }
    }

    #[test]
    fn the_loopback_interface_is_not_ethernet() {
        let error = Interface::find("lo").unwrap_err();
        assert!(matches!(error, OpenError::NotEthernet { .. }), "{error}");
    }
}

//! What the kernel knows of the link of an interface: carrier, speed, and what its driver counts.
//!
//! Asked over netlink, in the namespace of the caller, never of `/sys` (see [`super::interface`]). Whatever a
//! driver does not tell is left out: it is not zero.

use crate::netlink::{Attributes, Netlink, attribute, number};
use rustix::net::netlink::GENERIC;
use std::io;
use zerocopy::{Immutable, IntoBytes};

/// `RTM_GETLINK` and its attributes.
const GET_LINK: u16 = 18;
const LINK_NAME: u16 = 3;
const LINK_STATISTICS: u16 = 23;
const LINK_CARRIER: u16 = 33;
const LINK_CARRIER_CHANGES: u16 = 35;

/// Families of generic netlink are asked for by name.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// Of ethtool: requests, the header of each, and what answers hold.
const GET_LINK_MODES: u8 = 4;
const GET_PAUSE: u8 = 21;
const HEADER: u16 = 1;
const HEADER_DEVICE: u16 = 2;
const HEADER_FLAGS: u16 = 3;
const COMPACT_BITS: u32 = 1;
const WITH_STATISTICS: u32 = 4;
const MODES_OURS: u16 = 3;
const MODES_SPEED: u16 = 5;
const BITS_MASK: u16 = 5;
const PAUSE_STATISTICS: u16 = 5;
const PAUSE_TX_FRAMES: u16 = 2;
const PAUSE_RX_FRAMES: u16 = 3;

/// The speed that says that there is none.
const SPEED_UNKNOWN: u32 = u32::MAX;

/// What `rtnl_link_stats64` holds, in its order. What came later is behind it.
const STATISTICS: [&str; 23] = [
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "collisions",
    "rx_length_errors",
    "rx_over_errors",
    "rx_crc_errors",
    "rx_frame_errors",
    "rx_fifo_errors",
    "rx_missed_errors",
    "tx_aborted_errors",
    "tx_carrier_errors",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_window_errors",
    "rx_compressed",
    "tx_compressed",
];

/// Link modes by number, from one to another, and their speed in Mb/s (`ethtool_link_mode_bit_indices`).
const MODES: [(usize, usize, u32); 27] = [
    (0, 1, 10),
    (2, 3, 100),
    (4, 5, 1000),
    (12, 12, 10_000),
    (15, 15, 2500),
    (17, 17, 1000),
    (18, 20, 10_000),
    (21, 22, 20_000),
    (23, 26, 40_000),
    (27, 30, 56_000),
    (31, 33, 25_000),
    (34, 35, 50_000),
    (36, 39, 100_000),
    (40, 40, 50_000),
    (41, 41, 1000),
    (42, 46, 10_000),
    (47, 47, 2500),
    (48, 48, 5000),
    (52, 56, 50_000),
    (57, 61, 100_000),
    (62, 66, 200_000),
    (67, 67, 100),
    (68, 68, 1000),
    (69, 73, 400_000),
    (75, 79, 100_000),
    (80, 84, 200_000),
    (85, 89, 400_000),
];

/// The link of an interface.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Link {
    /// Whether there is a carrier.
    pub has_carrier: bool,
    /// Mb/s of now, if the driver tells.
    pub speed_mbps: Option<u32>,
    /// The fastest that it can be, if the driver tells.
    pub speed_max_mbps: Option<u32>,
    /// What the kernel and the driver have counted, by the names of `/sys/class/net/…/statistics`.
    pub counters: Vec<(&'static str, u64)>,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct InterfaceMessage {
    family: u8,
    padding: u8,
    kind: u16,
    index: i32,
    flags: u32,
    change: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct GenericHeader {
    command: u8,
    version: u8,
    reserved: u16,
}

/// The link of an interface of the caller's namespace, as it is now.
///
/// # Errors
/// When there is no such interface, or the kernel does not answer.
pub fn link(interface: &str) -> io::Result<Link> {
    let fixed = InterfaceMessage {
        family: 0,
        padding: 0,
        kind: 0,
        index: 0,
        flags: 0,
        change: 0,
    };
    let named = Attributes::default().with_name(LINK_NAME, interface);
    let answer = Netlink::open(None)?.ask(GET_LINK, fixed.as_bytes(), &named)?;
    let mut link = Link {
        has_carrier: number::<u8>(&answer, LINK_CARRIER) == Some(1),
        ..Link::default()
    };
    if let Some(values) = number::<[u64; STATISTICS.len()]>(&answer, LINK_STATISTICS) {
        link.counters.extend(STATISTICS.into_iter().zip(values));
    }
    if let Some(changes) = number::<u32>(&answer, LINK_CARRIER_CHANGES) {
        link.counters.push(("carrier_changes", changes.into()));
    }
    // A kernel or a driver without ethtool tells no more.
    if let Ok(ethtool) = Ethtool::open() {
        ethtool.tell(interface, &mut link);
    }
    Ok(link)
}

/// The kernel's ethtool.
struct Ethtool {
    socket: Netlink,
    family: u16,
}

impl Ethtool {
    fn open() -> io::Result<Self> {
        let socket = Netlink::open(Some(GENERIC))?;
        let named = Attributes::default().with_name(FAMILY_NAME, "ethtool");
        let answer = socket.ask(CONTROL, generic(GET_FAMILY).as_bytes(), &named)?;
        let family = number(&answer, FAMILY_ID);
        let family = family.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { socket, family })
    }

    fn ask(&self, command: u8, interface: &str, flags: u32) -> io::Result<Vec<u8>> {
        let header = Attributes::default()
            .with_name(HEADER_DEVICE, interface)
            .with(HEADER_FLAGS, flags.as_bytes());
        let attributes = Attributes::default().with_nested(HEADER, &header);
        self.socket
            .ask(self.family, generic(command).as_bytes(), &attributes)
    }

    /// Adds what the driver tells: each question fails where it does not.
    fn tell(&self, interface: &str, link: &mut Link) {
        if let Ok(modes) = self.ask(GET_LINK_MODES, interface, COMPACT_BITS) {
            let speed = number::<u32>(&modes, MODES_SPEED);
            link.speed_mbps = speed.filter(|speed| *speed != SPEED_UNKNOWN && *speed != 0);
            let ours = attribute(&modes, MODES_OURS);
            let supported = ours.and_then(|ours| attribute(ours, BITS_MASK));
            link.speed_max_mbps = supported.and_then(fastest);
        }
        if let Ok(pause) = self.ask(GET_PAUSE, interface, WITH_STATISTICS)
            && let Some(counted) = attribute(&pause, PAUSE_STATISTICS)
        {
            let frames = [
                ("rx_pause", number(counted, PAUSE_RX_FRAMES)),
                ("tx_pause", number(counted, PAUSE_TX_FRAMES)),
            ];
            let told = frames.into_iter();
            link.counters
                .extend(told.filter_map(|(name, count)| Some((name, count?))));
        }
    }
}

const fn generic(command: u8) -> GenericHeader {
    GenericHeader {
        command,
        version: 1,
        reserved: 0,
    }
}

/// The fastest of the modes whose bits are set. The bits lie in words of 32, the byte order of which is that
/// of the machine.
fn fastest(bits: &[u8]) -> Option<u32> {
    use zerocopy::FromBytes;
    let words: Vec<u32> = bits
        .chunks_exact(4)
        .filter_map(|word| u32::read_from_bytes(word).ok())
        .collect();
    let is_set = |bit: usize| {
        words
            .get(bit / 32)
            .is_some_and(|word| word >> (bit % 32) & 1 == 1)
    };
    let able = MODES
        .into_iter()
        .filter(|(first, last, _)| (*first..=*last).any(is_set));
    able.map(|(_, _, speed)| speed).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_a_carrier_and_counters_and_one_that_is_missing_is_an_error() {
        let link = link("lo").unwrap();
        assert_eq!(link.counters[0].0, "rx_packets");
        assert!(
            link.counters
                .iter()
                .any(|(name, _)| *name == "rx_missed_errors")
        );
        assert_eq!((link.speed_mbps, link.speed_max_mbps), (None, None));
        assert!(super::link("lp-no-such").is_err());
    }

    #[test]
    fn the_fastest_mode_counts() {
        let bits = |bits: &[u32]| {
            let mut words = [0_u32; 4];
            for bit in bits {
                words[*bit as usize / 32] |= 1 << (bit % 32);
            }
            fastest(words.as_bytes())
        };
        // 1000baseT, 10000baseSR, 25000baseCR; autonegotiation (6) and ports (7, 10) are no speeds.
        assert_eq!(bits(&[5, 43, 6, 7, 10]), Some(10_000));
        assert_eq!(bits(&[5, 31, 43]), Some(25_000));
        assert_eq!(bits(&[6, 7, 10]), None);
        assert_eq!(fastest(&[]), None);
    }
}

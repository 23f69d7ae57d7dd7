//! ATA over Ethernet frames, byte for byte.
//!
//! One file per format: [`mac`] (addresses of stations), [`header`] (the 24 bytes that open every
//! frame), [`vlan`] (tags), [`ata`] (command 0), [`config`] (command 1), [`mask`] (command 2),
//! [`reserve`] (command 3), [`keyed`] (command 4), [`request`] (what a target makes of a received
//! frame), [`size`] (how large frames may be) and [`station`] (several addresses of one port).
//!
//! Invariants:
//! * parsing never panics and never reads outside the bytes given, whatever they hold;
//! * layouts have no padding and alignment 1 (asserted at compile time);
//! * unknown codes are representable, because unknown traffic must still be counted and answered.
//!
//! What it does not do: decide. It neither knows LUNs nor whether a request is admitted.
//!
//! Sources: AoEr11, what Coraid's shelves do where it ends, and the conformance rows that the tests name.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::cast_possible_truncation)]

#[cfg(test)]
extern crate std;

pub mod ata;
pub mod config;
pub mod header;
pub mod keyed;
pub mod mac;
pub mod mask;
pub mod request;
pub mod reserve;
pub mod size;
pub mod station;
pub mod vlan;

pub use ata::{ATA_FRAME_BYTES, AtaRegisters};
pub use config::{CONFIG_FRAME_BYTES, CONFIG_STRING_BYTES_MAX, ConfigArgument, ConfigCommand};
pub use header::{ErrorCode, HEADER_BYTES, Header, Shelf, Slot, Tag};
pub use keyed::{Key, KeyedChange, KeyedCommand, KeyedStatus, ReservationKind};
pub use mac::{MacAddress, ParseMacError};
pub use mask::{MaskArgument, MaskCommand, MaskDirective, MaskError};
pub use request::{Frame, Request, RequestError};
pub use reserve::{ReserveArgument, ReserveCommand};
pub use size::{
    ETHERNET_HEADER_BYTES, FRAME_BYTES_MIN, SECTOR_BYTES, advertised_sector_count,
    sectors_per_frame,
};
pub use station::{ADDRESSES_MAX, StationAddresses};
pub use vlan::VlanId;

/// EtherType of ATA over Ethernet, registered with the IEEE.
pub const ETHERTYPE: u16 = 0x88a2;

/// The protocol version that this crate speaks (high nibble of byte 14).
pub const VERSION: u8 = 1;

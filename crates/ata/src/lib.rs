//! The ATA device that a LUN is: which commands it knows, what it answers.
//!
//! [`command`] decodes registers into a [`Command`], [`status`] names outcomes, [`identify`] builds
//! the answer to IDENTIFY DEVICE, [`smart`] tells of the health, [`trim`] is about ranges that are to be
//! deallocated.
//!
//! Invariants:
//! * direction and address size follow from the opcode, never from the AFlags;
//! * no status of a success has a bit that initiators take for a failure (0xA9), and every one has
//!   DRDY (conformance row 100).
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::cast_possible_truncation)]

#[cfg(test)]
extern crate std;

pub mod command;
pub mod identify;
pub mod smart;
pub mod status;
pub mod trim;

pub use command::{Command, Effect};
pub use identify::IdentifySpec;
pub use smart::Smart;
pub use status::Outcome;

/// Opcodes of the commands that are served or sent (ATA8-ACS).
pub mod opcode {
    /// DATA SET MANAGEMENT.
    pub const DATA_SET_MANAGEMENT: u8 = 0x06;
    /// READ SECTORS, 28-bit.
    pub const READ: u8 = 0x20;
    /// READ SECTORS EXT, 48-bit.
    pub const READ_EXT: u8 = 0x24;
    /// WRITE SECTORS, 28-bit.
    pub const WRITE: u8 = 0x30;
    /// WRITE SECTORS EXT, 48-bit.
    pub const WRITE_EXT: u8 = 0x34;
    /// CHECK POWER MODE.
    pub const CHECK_POWER_MODE: u8 = 0xe5;
    /// SMART.
    pub const SMART: u8 = 0xb0;
    /// FLUSH CACHE.
    pub const FLUSH: u8 = 0xe7;
    /// FLUSH CACHE EXT.
    pub const FLUSH_EXT: u8 = 0xea;
    /// IDENTIFY DEVICE.
    pub const IDENTIFY: u8 = 0xec;
}

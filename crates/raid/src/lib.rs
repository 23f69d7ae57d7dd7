//! RAID geometry, parity, and the md v1.2 on-disk format.
//!
//! [`level`] names the levels, [`geometry`] says where data lies, [`parity`] computes what makes lost
//! data good, [`layout`] says where metadata lies, [`md`] is the superblock that Linux knows,
//! [`unit`] is what a drive writes at once,
//! [`bitmap`] (of [`regions`]) and [`bad_blocks`] are what it keeps beside it, [`record`] is what the
//! shelf adds, [`drive_record`] what it writes on a drive in no LUN, and [`log`] the redo log that closes the
//! write hole, with its [`checksum`]. Nothing here reads or writes a disk.
#![deny(unsafe_code)]
#![deny(clippy::cast_possible_truncation)]

pub mod bad_blocks;
pub mod bitmap;
pub mod checksum;
pub mod drive_record;
pub mod geometry;
pub mod layout;
pub mod level;
pub mod log;
pub mod lost;
pub mod md;
pub mod parity;
#[cfg(feature = "planted")]
pub mod planted;
pub mod record;
pub mod regions;
#[cfg(target_arch = "x86_64")]
mod simd;
pub mod stripe;
pub mod unit;

pub use geometry::{Geometry, GeometryError, Mirrors, Segment, Segments};
pub use level::{Level, UnknownLevel};
pub use unit::Unit;

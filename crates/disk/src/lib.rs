//! Drives: block devices, regular files and memory, and the executor of their I/O.
//!
//! [`facts`] is what the kernel tells of a disk; [`Drive`] opens and claims; [`MetadataHandle`] is a drive
//! as the administration uses it, slow and exact; [`Executor`] is all drives as a worker uses them, through
//! one io_uring. [`discover`] finds disks and numbers their slots; [`signature`] tells what a drive carries
//! that is not ours, [`smart`] how well it is. [`leds`] are those of slots, [`sensors`] those of the box.
//!
//! Invariants:
//! * a drive is claimed for as long as it is open: no other program, and no second slot, has it;
//! * a write is reported complete only when it is on stable storage (memory drives are volatile and
//!   say so);
//! * `unsafe` code lives in `uring.rs` alone.
//!
//! What it does not do: know LUNs, retry on other members, or decide what a failure means.
#![deny(clippy::cast_possible_truncation)]

mod buffers;
mod commit;
pub mod discover;
mod drive;
mod executor;
pub mod facts;
mod helper;
mod job;
pub mod leds;
mod metadata;
mod page;
mod presence;
mod program;
mod ram;
pub mod sensors;
pub mod signature;
pub mod smart;
mod spec;
mod uevents;
mod uring;
mod zeroing;

pub use drive::{Drive, OpenError};
pub use executor::{
    DRIVE_SPIN, DriveRoom, Ending, Executor, ExecutorError, Finished, NewDrive, Removal,
    RemovedDrive,
};
pub use metadata::MetadataHandle;
pub use presence::Presence;
pub use program::{ask_by, ends};
pub use spec::{DriveSpec, ParseSizeError};
pub use uevents::Uevents;
pub use uring::{Loan, StableMemory};
pub use zeroing::Zeroing;

/// The unit of addresses and lengths.
pub const SECTOR_BYTES: usize = 512;

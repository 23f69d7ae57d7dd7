//! The shelf: LUN table, config strings, command ordering, disk and LUN administration; sans-I/O.
//!
//! Two halves that share only immutable views ([`plane`]):
//! * the data path of a worker: [`target`] with [`order`];
//! * the administration: the trait [`admin`] that the console speaks to, with [`job`]s on whole drives.
//!
//! Neither sees a file descriptor, a thread, a clock or a logger.
#![forbid(unsafe_code)]
#![deny(clippy::cast_possible_truncation)]

pub mod access;
pub mod admin;
mod bad_sectors;
pub mod ids;
pub mod job;
mod latency;
pub mod led;
pub mod manager;
pub mod observe;
pub mod order;
pub mod pacing;
pub mod patience;
pub mod plane;
pub mod shard;
pub mod smart;
pub mod statistics;
pub mod target;

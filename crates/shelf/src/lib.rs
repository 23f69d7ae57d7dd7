//! The shelf: LUN table, config strings, command ordering, disk and LUN administration; sans-I/O.
#![forbid(unsafe_code)]
#![deny(clippy::cast_possible_truncation)]

pub mod admin;
pub mod plane;

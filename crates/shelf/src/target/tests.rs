//! The target against drives in memory: conformance rows, order, failures, and any bytes at all.

mod access;
mod again;
mod arrival;
mod ata;
mod config;
mod edges;
mod failure;
mod fuzz;
mod loan;
mod lost;
mod mend;
mod parity;
mod ports;
mod pulled;
mod regions;
mod rig;
mod rounds;
mod scrub;
mod slow;
mod statistics;
mod sync;
mod trim;
mod twin;

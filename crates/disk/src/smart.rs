//! What drives tell of their health, asked through smartmontools, which knows thousands of them.
//!
//! Invariants:
//! * no log of ATA, SCSI or NVMe is read here: `smartctl` does it, and answers in JSON;
//! * a disk that sleeps is not woken up;
//! * nobody waits for `smartctl` longer than a deadline: it is killed then, and a disk whose `smartctl`
//!   cannot even be killed is not asked again before that has ended.

mod parse;
mod run;

pub use parse::{ParseError, parse};
pub use run::{SmartError, Smartctl};

#[cfg(test)]
mod tests;

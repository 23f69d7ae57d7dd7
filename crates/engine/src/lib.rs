//! The engine: one polled worker thread joins ports, target and drives.
//!
//! [`Worker`] is the loop; [`spawn`] starts it on a thread of its own; [`Workers`] is all of them as
//! the administration sees them; [`message`] is what they say to one another.
//!
//! Invariants:
//! * a worker owns its ports, its target and its executor; it shares only messages, and with other workers
//!   frames that they are to take in or to send ([`seats`]);
//! * a worker never blocks but in its idle wait, which every port, drive and message ends;
//! * a message to the administration is never lost: what its channel has no room for waits here.
//!
//! What it does not do: decide anything. That is the target's, and the administration's.
#![forbid(unsafe_code)]
#![deny(clippy::cast_possible_truncation)]

mod all_ports;
pub mod message;
mod peers;
mod ports;
mod remote;
mod wake;
mod worker;
mod workers;

pub use message::{EngineCounters, FromWorker, Question, ToWorker, WorkerReport};
pub use peers::{Seat, seats};
pub use worker::{NewPort, Paces, PortChange, Spin, Worker, WorkerOptions, spawn, worker_memories};
pub use workers::{Heartbeats, WorkerHandle, Workers};

//! The simulator: the production core of the shelf, its data path and its administration, with disks, a
//! switch and initiators that live under a virtual clock, in one thread, from one seed.
//!
//! * [`world`] joins everything and knows the time; [`disk`] and [`switch`] are what fails;
//! * [`worker`] does for [`shelf::target::Target`] what the engine does, [`plane`] for
//!   [`shelf::manager::Manager`] what the daemon does;
//! * [`initiator`] reads and writes, [`oracle`] knows what may be read, [`audit`] what the disks may hold;
//! * `commands` is the administrator, `operator` one who replaces members that work; [`faults`] chooses what
//!   goes wrong, [`run`] is a whole life from a seed, [`exhaustive`] goes through everything that may happen
//!   to a few writes.
//!
//! Invariants:
//! * a run follows from its seed and options alone;
//! * faults stay within the redundancy of the level, so that no error and no loss is ever right, except
//!   where the oracle was told.
#![forbid(unsafe_code)]

pub mod audit;
pub(crate) mod commands;
pub mod content;
mod crew;
pub mod disk;
pub mod exhaustive;
pub mod faults;
pub mod initiator;
mod operator;
pub mod oracle;
mod pace;
pub mod plane;
mod plugger;
pub mod random;
pub mod run;
pub mod switch;
pub mod worker;
pub mod world;

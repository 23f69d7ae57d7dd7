//! Tests of the manager over drives in memory.

mod assembly;
mod changes;
mod crash;
mod failures;
mod linux;
mod making;
mod memory;
mod random;
mod regions;
mod returning;
mod sync;
mod world;

//! Tests of the manager over drives in memory.

mod assembly;
mod changes;
mod crash;
mod failures;
mod making;
mod world;

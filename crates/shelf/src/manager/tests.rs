//! Tests of the manager over drives in memory.

mod adopt;
mod assembly;
mod bad_blocks;
mod changes;
mod crash;
mod failures;
mod grow;
mod huge;
mod import;
mod impostor;
mod linux;
mod making;
mod members;
mod memory;
mod missed;
mod random;
mod recovery;
mod regions;
mod retire;
mod returning;
mod scrub;
mod silence;
mod spares;
mod sync;
mod twin;
mod world;

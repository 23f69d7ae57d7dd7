//! The load generator: closed-loop reads and writes against any AoE target, with verification

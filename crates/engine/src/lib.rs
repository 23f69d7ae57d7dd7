//! The worker loop that joins port, shelf, raid and disk on each core

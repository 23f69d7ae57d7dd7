//! Everything that may happen to a few writes.

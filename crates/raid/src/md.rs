//! The on-disk format of Linux md, metadata version 1.2, as far as Ledge writes and reads it.

pub mod raw;
pub mod superblock;

pub use raw::Features;
pub use superblock::{
    JoiningDevice, NewMember, NewSpare, Resync, Role, Superblock, SuperblockError, UnsupportedArray,
};

/// An empty bad-block log: all ones end the list. 8 sectors, one 4 KiB block.
pub const EMPTY_BAD_BLOCK_LOG: [u8; 4096] = [0xff; 4096];

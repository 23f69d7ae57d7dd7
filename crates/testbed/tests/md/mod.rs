//! Linux md and the shelf agree about arrays: what one made and used, in whatever state it was left, the
//! other reads, with every acknowledged sector and with copies and parity that agree.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod client;
pub(crate) mod content;
pub(crate) mod import;
pub(crate) mod joined;
pub(crate) mod judge;
pub(crate) mod level;
pub(crate) mod linux_made;
#[path = "../lun/mod.rs"]
pub(crate) mod lun;
pub(crate) mod members;
pub(crate) mod recovered;
pub(crate) mod shelf_made;

use anyhow::Result;
use shelf_made::{Array, Story, live};
use testbed::lock_vm;

/// Disks that small have the shelf's small layout.
pub(crate) const SMALL_BYTES: u64 = 16 << 20;

/// Lives the stories with all levels that survive them, and lets Linux judge.
pub(crate) fn agree(stories: &[Story], disk_bytes: u64) -> Result<()> {
    let _lock = lock_vm()?;
    let directory = tempfile::tempdir()?;
    let mut arrays: Vec<Array> = Vec::new();
    for story in stories {
        arrays.extend(live(*story, disk_bytes, directory.path())?);
    }
    judge::judge(&arrays)
}

//! Linux md and the shelf agree about arrays: what one made and used, in whatever state it was left,
//! the other reads, with every acknowledged sector and with copies and parity that agree.
//!
//! `make test` runs the short tests; `make test-md` runs all of them, with the kernels of Debian 12
//! and 13.

#[path = "md/client.rs"]
mod client;
#[path = "md/content.rs"]
mod content;
#[path = "md/judge.rs"]
mod judge;
#[path = "md/level.rs"]
mod level;
#[path = "md/shelf_made.rs"]
mod shelf_made;

use anyhow::Result;
use level::surviving;
use shelf_made::{Array, Story, live};
use testbed::lock_vm;

/// Disks that small have the shelf's small layout.
const SMALL_BYTES: u64 = 16 << 20;

/// And these the large one.
const LARGE_BYTES: u64 = 64 << 20;

/// Lives the stories with all levels that survive them, and lets Linux judge.
fn agree(stories: &[Story], disk_bytes: u64) -> Result<()> {
    let _lock = lock_vm()?;
    let directory = tempfile::tempdir()?;
    let mut arrays: Vec<Array> = Vec::new();
    for story in stories {
        let levels = surviving(story.lost());
        arrays.extend(live(*story, &levels, disk_bytes, directory.path())?);
    }
    judge::judge(&arrays)
}

#[test]
fn linux_reads_what_the_shelf_left_whole_and_degraded() -> Result<()> {
    agree(&[Story::Clean, Story::Lost(1)], SMALL_BYTES)
}

#[test]
#[ignore = "of the full set: make test-md"]
fn linux_reads_what_the_shelf_left_after_every_story() -> Result<()> {
    let stories = [
        Story::Clean,
        Story::Killed,
        Story::CrashMidWrite,
        Story::Lost(1),
        Story::Lost(2),
        Story::LostAndCrash(1),
        Story::LostAndCrash(2),
    ];
    agree(&stories, LARGE_BYTES)
}

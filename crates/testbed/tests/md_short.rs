//! Linux md reads what a shelf left: each level whole and degraded, in one guest. The full set is
//! `make test-md`.

mod md;

use anyhow::Result;
use md::shelf_made::{End, Story};
use md::{SMALL_BYTES, agree};

#[test]
fn linux_reads_what_the_shelf_left_whole_and_degraded() -> Result<()> {
    let stories = [Story::whole(End::Stop), Story::lost(1, End::Stop)];
    agree(&stories, SMALL_BYTES)
}

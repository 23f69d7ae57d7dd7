//! Linux md and the shelf agree about arrays: every level in every state in which it can be left, and both
//! ways. `make test-md` runs this with the kernels of Debian 12 and 13; `make test` has the short set.

mod md;

use anyhow::{Context, Result, bail, ensure};
use md::linux_made::{Fate, make, recipes};
use md::members::{Members, data_start};
use md::recovered::{Casualty, Leaves, recover_and_judge, take_back, use_in_linux};
use md::shelf_made::{End, Rebuild, Story, live, live_with_parity};
use md::{SMALL_BYTES, agree, import, judge};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use testbed::linux_md::{examine, reported};
use testbed::{lock_vm, transcript};

/// Disks that large have the shelf's large layout.
const LARGE_BYTES: u64 = 64 << 20;

/// And on these a rebuild takes long enough to be noted in the superblocks before it is over.
const REBUILD_BYTES: u64 = 160 << 20;

#[test]
fn linux_reads_what_the_shelf_left_whole() -> Result<()> {
    let ends = [End::Stop, End::Kill, End::Crash, End::Recovery];
    agree(&ends.map(Story::whole), LARGE_BYTES)
}

#[test]
fn linux_reads_what_the_shelf_left_degraded() -> Result<()> {
    let ends = [End::Stop, End::Crash, End::Recovery];
    let stories = [1, 2].map(|lost| ends.map(|end| Story::lost(lost, end)));
    agree(&stories.concat(), LARGE_BYTES)
}

#[test]
fn linux_reads_what_the_shelf_left_with_failed_members() -> Result<()> {
    let ends = [End::Stop, End::Crash, End::Recovery];
    let stories = [1, 2].map(|lost| ends.map(|end| Story::failed(lost, end)));
    agree(&stories.concat(), SMALL_BYTES)
}

#[test]
fn linux_reads_what_the_shelf_left_after_a_rebuild() -> Result<()> {
    let stories = [
        Story::rebuilt(1, Rebuild::Complete, End::Stop),
        Story::rebuilt(1, Rebuild::Complete, End::Recovery),
        Story::rebuilt(2, Rebuild::Complete, End::Stop),
    ];
    agree(&stories, LARGE_BYTES)
}

#[test]
fn linux_completes_a_rebuild_that_the_shelf_left_half_done() -> Result<()> {
    let stories = [1, 2].map(|lost| Story::rebuilt(lost, Rebuild::Begun, End::Stop));
    agree(&stories, REBUILD_BYTES)
}

#[test]
fn linux_completes_a_replacement_that_the_shelf_left_half_done() -> Result<()> {
    agree(&[Story::replaced(Rebuild::Begun, End::Stop)], REBUILD_BYTES)
}

/// But for a raid6 it gets the array without the replacement then, and only when it is told to: with it,
/// parity or copies would not agree. A shelf that gets it back goes on without it, too.
#[test]
fn linux_completes_a_replacement_that_a_killed_shelf_left_half_done() -> Result<()> {
    let _lock = lock_vm()?;
    let directory = tempfile::tempdir()?;
    let mut arrays = Vec::new();
    for end in [End::Kill, End::Crash] {
        let story = Story::replaced(Rebuild::Begun, end);
        arrays.extend(live(story, REBUILD_BYTES, directory.path())?);
    }
    // As a write leaves it that one of the copies was still to get.
    for array in arrays.iter().filter(|array| !array.level.has_parity) {
        let last = &array.images[usize::from(array.level.members) - 1];
        flip(last, data_start(last)? + REBUILD_BYTES / 4 * 3)?;
    }
    judge::judge(&arrays)?;
    for array in arrays
        .iter()
        .filter(|array| array.is_replacement_withheld())
    {
        take_back(array, Leaves::Stopped).with_context(|| array.name())?;
    }
    Ok(())
}

/// After `ledge-recover` parity is right, and Linux completes the replacement.
#[test]
fn linux_completes_a_replacement_after_ledge_recover() -> Result<()> {
    let _lock = lock_vm()?;
    let directory = tempfile::tempdir()?;
    let story = Story::replaced(Rebuild::Begun, End::Crash);
    let arrays = live_with_parity(story, REBUILD_BYTES, directory.path())?;
    let casualties: Vec<Casualty> = arrays
        .into_iter()
        .map(|array| Casualty { array, lost: 0 })
        .collect();
    recover_and_judge(&casualties)?;
    for Casualty { array, .. } in &casualties {
        let replacement = array.images.last().context("no images")?;
        let report = examine(replacement)?;
        let role = reported(&report, "Device Role");
        ensure!(role == "Active device 0", "{}: {role}", array.name());
    }
    Ok(())
}

#[test]
fn linux_reads_what_the_shelf_left_after_a_replacement() -> Result<()> {
    let ends = [End::Stop, End::Crash];
    let stories = ends.map(|end| Story::replaced(Rebuild::Complete, end));
    agree(&stories, LARGE_BYTES)
}

/// Killed in mid-write, with members lost in the same moment: Linux refuses such arrays, and takes them once
/// `ledge-recover` has replayed their redo log.
#[test]
fn linux_assembles_what_ledge_recover_made_of_a_crash() -> Result<()> {
    let _lock = lock_vm()?;
    let mut casualties = Vec::new();
    let mut directories = Vec::new();
    for lost in 0..=2 {
        let directory = tempfile::tempdir()?;
        let arrays = live_with_parity(Story::whole(End::Crash), SMALL_BYTES, directory.path())?;
        directories.push(directory);
        let bearing = arrays.into_iter().filter(|a| a.level.lost_max >= lost);
        casualties.extend(bearing.map(|array| Casualty { array, lost }));
    }
    recover_and_judge(&casualties)
}

#[test]
fn linux_reads_a_lun_of_several_arrays_joined_as_ledge_recover_says() -> Result<()> {
    let _lock = lock_vm()?;
    md::joined::join_and_judge()
}

/// A shelf that gets an array back which Linux used in the meantime does not replay its redo log over that.
#[test]
fn the_shelf_drops_its_log_when_linux_was_there_since() -> Result<()> {
    let _lock = lock_vm()?;
    for leaves in [Leaves::Stopped, Leaves::Dirty] {
        let directory = tempfile::tempdir()?;
        let story = Story::whole(End::Crash);
        for mut array in live_with_parity(story, SMALL_BYTES, directory.path())? {
            transcript::note(&format!("{} {leaves:?}", array.name()));
            use_in_linux(&mut array, leaves).with_context(|| array.name())?;
            take_back(&array, leaves).with_context(|| array.name())?;
        }
    }
    Ok(())
}

/// The judge is not lenient: a wrong byte on one member is noticed at every level, and so is one in a
/// superblock.
#[test]
fn damage_is_noticed() -> Result<()> {
    let _lock = lock_vm()?;
    let directory = tempfile::tempdir()?;
    let arrays = live(Story::whole(End::Stop), SMALL_BYTES, directory.path())?;
    for array in &arrays {
        let image = &array.images[0];
        flip(image, data_start(image)? + 100)?;
    }
    for (verdict, array) in judge::verdicts(&arrays)?.iter().zip(&arrays) {
        let Err(error) = verdict else {
            bail!("nobody noticed the damage of {}", array.name());
        };
        transcript::note(&format!("{error:#}"));
    }
    for array in &arrays {
        flip(&array.images[0], 4096 + 90)?;
        let examined = judge::examine_members(array);
        ensure!(examined.is_err(), "{}: a wrong checksum", array.name());
    }
    Ok(())
}

/// Changes one byte of an image.
fn flip(image: &Path, at: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(image)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    Ok(file.write_all_at(&[byte[0] ^ 0x40], at)?)
}

/// The shelf's geometry and parity find every sector of arrays that Linux made.
#[test]
fn our_geometry_reads_what_linux_left_in_every_state() -> Result<()> {
    let _lock = lock_vm()?;
    let directory = tempfile::tempdir()?;
    for array in make(&recipes(), directory.path())? {
        let name = array.recipe.name();
        let members = Members::open(&array.images).with_context(|| name.clone())?;
        let written = members.check_content(&array.content);
        let written = written.with_context(|| name.clone())?;
        let mut rows = 0;
        // After a power cut parity and copies may differ until a resync.
        if array.recipe.fate != Fate::PowerCut {
            rows = members.check_parity().with_context(|| name.clone())?;
            members.check_mirrors().with_context(|| name.clone())?;
        }
        transcript::note(&format!(
            "{name}: {written} sectors written and right, parity of {rows} rows right"
        ));
    }
    Ok(())
}

/// Linux, the shelf, Linux: nothing is lost on the way.
#[test]
fn the_shelf_takes_over_what_linux_left_and_gives_it_back() -> Result<()> {
    let _lock = lock_vm()?;
    let directory = tempfile::tempdir()?;
    let made = make(&recipes(), directory.path())?;
    let imported = import::import(made)?;
    import::give_back(&imported)
}

//! What Linux must find in the arrays that a shelf left: right checksums, an array that assembles,
//! every acknowledged sector, and copies and parity that agree.

use super::content::Content;
use super::members::data_start;
use super::shelf_made::{Array, End, Rebuild};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use testbed::linux_md::{examine, reported};
use testbed::{LinuxMd, transcript};

/// Judges all arrays in one guest; all must be right.
pub(crate) fn judge(arrays: &[Array]) -> Result<()> {
    for array in arrays {
        examine_members(array).with_context(|| array.name())?;
    }
    verdicts(arrays)?.into_iter().collect()
}

/// What the kernel makes of each array, in one guest.
pub(crate) fn verdicts(arrays: &[Array]) -> Result<Vec<Result<()>>> {
    let disks: Vec<PathBuf> = arrays.iter().flat_map(|a| a.images.clone()).collect();
    let largest = arrays.iter().map(|a| a.content.sectors()).max();
    // md's array is as large as the members allow; a LUN may leave some of it unused.
    let copy_bytes = largest.context("no arrays")? * 512 + (64 << 20);
    let mut linux = LinuxMd::boot(&disks, copy_bytes)?;
    let mut first_disk = 0;
    let mut verdicts = Vec::new();
    for array in arrays {
        transcript::note(&array.name());
        let mut trial = Trial {
            linux: &mut linux,
            array,
            first_disk,
        };
        let verdict = trial.run();
        if verdict.is_err() {
            linux.stop()?;
        }
        verdicts.push(verdict.with_context(|| array.name()));
        first_disk += array.images.len();
    }
    Ok(verdicts)
}

/// What mdadm says of each image on this machine.
pub(crate) fn examine_members(array: &Array) -> Result<()> {
    let story = &array.story;
    let members = usize::from(array.level.members);
    for (element, image) in array.images.iter().enumerate() {
        let report = examine(image)?;
        let level = reported(&report, "Raid Level");
        ensure!(level == array.level.md, "level {level}:\n{report}");
        if element < usize::from(story.gone()) {
            continue;
        }
        let state = reported(&report, "State");
        ensure!(
            allowed_states(array).contains(&state),
            "element {element} is {state}:\n{report}"
        );
        let rebuilt = reported(&report, "Recovery Offset");
        let begun = element == members && story.rebuild == Rebuild::Begun;
        ensure!(
            rebuilt.is_empty() != begun && rebuilt != "0 sectors",
            "element {element} is rebuilt up to {rebuilt:?}:\n{report}"
        );
        // After a crash it lacks what was being written.
        if begun && story.lost == 0 && story.end != End::Crash {
            let sectors = rebuilt.trim_end_matches(" sectors").parse()?;
            equal_before(&array.images[0], image, sectors)?;
        }
    }
    Ok(())
}

/// A replacement holds what its member holds, as far as it says that it is filled.
fn equal_before(member: &Path, replacement: &Path, sectors: u64) -> Result<()> {
    let files = [File::open(member)?, File::open(replacement)?];
    let starts = [data_start(member)?, data_start(replacement)?];
    let mut differing = Vec::new();
    for sector in (0..sectors).step_by(8) {
        let mut blocks = [[0; 4096]; 2];
        for ((file, start), block) in files.iter().zip(starts).zip(&mut blocks) {
            file.read_exact_at(block, start + sector * 512)?;
        }
        if blocks[0] != blocks[1] {
            differing.push(sector);
        }
    }
    ensure!(
        differing.is_empty(),
        "{} blocks of a replacement that is filled up to sector {sectors} differ, the first at {:?}, the last at {:?}",
        differing.len(),
        differing.first(),
        differing.last()
    );
    Ok(())
}

/// The running array: copies and parity agree, `degraded` members are lacking, if its level can lack
/// any, and every sector is right.
pub(crate) fn check_running(
    linux: &mut LinuxMd,
    content: &Content,
    degraded: Option<u8>,
) -> Result<()> {
    let mismatches = linux.mismatched_sectors()?;
    ensure!(
        matches!(mismatches, None | Some(0)),
        "mismatch_cnt is {mismatches:?}"
    );
    if let Some(degraded) = degraded {
        let found = linux.attribute("degraded")?;
        ensure!(
            found == degraded.to_string(),
            "md lacks {found} members instead of {degraded}"
        );
    }
    let (copy, size_bytes) = linux.copy_out()?;
    let sectors = content.sectors();
    ensure!(
        size_bytes / 512 >= sectors,
        "md's array has {size_bytes} bytes, the LUN {sectors} sectors"
    );
    let written = content.check_copy(&copy)?;
    transcript::note(&format!(
        "{written} of {sectors} sectors written and right, {degraded:?} members lacking, \
         mismatches {mismatches:?}"
    ));
    Ok(())
}

/// What the superblocks may say of an array's consistency.
fn allowed_states(array: &Array) -> &'static [&'static str] {
    let Array { story, level, .. } = array;
    if level.lost_max == 0 {
        // md has no dirty state for levels without redundancy.
        &["clean"]
    } else if story.is_dirty() {
        &["active"]
    } else if story.end == End::Recovery && story.degraded() > 0 && !level.has_parity {
        // A mirror that lost all its copies has nothing to be made equal with, and may stay dirty.
        &["clean", "active"]
    } else {
        &["clean"]
    }
}

/// One array in the guest.
struct Trial<'a> {
    linux: &'a mut LinuxMd,
    array: &'a Array,
    first_disk: usize,
}

impl Trial<'_> {
    fn run(&mut self) -> Result<()> {
        let story = &self.array.story;
        if self.array.is_replacement_withheld() {
            self.refuse_without_run(0)?;
            return self.assemble_and_check(0, 0, "--run");
        }
        // The lost members are offered too: md must see for itself that they are of yesterday.
        self.assemble_and_check(0, story.degraded(), "")?;
        if story.lost == 0 && story.rebuild == Rebuild::No && !story.is_dirty() {
            for missing in 1..=self.array.level.lost_max {
                self.refuse_without_run(missing)?;
                self.assemble_and_check(missing, missing, "--run")?;
            }
        }
        Ok(())
    }

    /// The members from `first` on; in the end md must lack `degraded` of them.
    fn assemble_and_check(&mut self, first: u8, degraded: u8, options: &str) -> Result<()> {
        self.linux.assemble(&self.disks(first), options)?;
        let redundant = self.array.level.lost_max > 0;
        check_running(
            self.linux,
            &self.array.content,
            redundant.then_some(degraded),
        )?;
        self.linux.stop()
    }

    /// Members left out that the superblocks count as present: md wants to be told.
    fn refuse_without_run(&mut self, first: u8) -> Result<()> {
        let refused = self.linux.try_assemble(&self.disks(first), "")?;
        ensure!(
            refused.status != 0 && refused.output.contains("--run"),
            "md starts without {first} members unasked: {}",
            refused.output
        );
        Ok(())
    }

    fn disks(&self, first: u8) -> Vec<usize> {
        let end = self.first_disk + self.array.images.len();
        (self.first_disk + usize::from(first)..end).collect()
    }
}

//! What Linux must find in the arrays that a shelf left: right checksums, an array that assembles,
//! every acknowledged sector, and copies and parity that agree.

use super::shelf_made::Array;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use testbed::linux_md::{examine, reported};
use testbed::{LinuxMd, transcript};

/// Judges all arrays in one guest.
pub(crate) fn judge(arrays: &[Array]) -> Result<()> {
    for array in arrays {
        examine_members(array).with_context(|| array.name())?;
    }
    let disks: Vec<PathBuf> = arrays.iter().flat_map(|a| a.images.clone()).collect();
    let largest = arrays.iter().map(|a| a.content.sectors()).max();
    let copy_bytes = largest.context("no arrays")? * 512 + (64 << 20);
    let mut linux = LinuxMd::boot(&disks, copy_bytes)?;
    let mut first_disk = 0;
    for array in arrays {
        transcript::note(&array.name());
        let mut trial = Trial {
            linux: &mut linux,
            array,
            first_disk,
        };
        trial.run().with_context(|| array.name())?;
        first_disk += array.images.len();
    }
    Ok(())
}

/// What mdadm says of each image on this machine.
fn examine_members(array: &Array) -> Result<()> {
    for (element, image) in array.images.iter().enumerate() {
        let report = examine(image)?;
        let level = reported(&report, "Raid Level");
        ensure!(level == array.level.md, "level {level}:\n{report}");
        let state = reported(&report, "State");
        // md has no dirty state for levels without redundancy.
        let dirty = array.story.is_dirty() && array.level.lost_max > 0;
        if !array.is_lost(element) {
            let expected = if dirty { "active" } else { "clean" };
            ensure!(state == expected, "element {element} is {state}:\n{report}");
        }
    }
    Ok(())
}

/// One array in the guest.
struct Trial<'a> {
    linux: &'a mut LinuxMd,
    array: &'a Array,
    first_disk: usize,
}

impl Trial<'_> {
    fn run(&mut self) -> Result<()> {
        let members = self.array.images.len();
        let lost = usize::from(self.array.story.lost());
        // The lost members are offered too: md must see for itself that they are of yesterday.
        self.assemble_and_check(0, lost, "")?;
        if lost == 0 && !self.array.story.is_dirty() {
            for missing in 1..=usize::from(self.array.level.lost_max) {
                self.refuse_without_run(missing)?;
                self.assemble_and_check(missing, missing, "--run")?;
            }
        }
        ensure!(members > lost, "an array without members");
        Ok(())
    }

    /// The members from `first` on, with `degraded` fewer than the array has at work.
    fn assemble_and_check(&mut self, first: usize, degraded: usize, options: &str) -> Result<()> {
        self.linux.assemble(&self.disks(first), options)?;
        let found = self.linux.attribute("degraded")?;
        let expected = if self.array.level.lost_max > 0 {
            degraded.to_string()
        } else {
            found.clone()
        };
        ensure!(
            found == expected,
            "md lacks {found} members instead of {expected}"
        );
        let mismatches = self.linux.mismatched_sectors()?;
        ensure!(
            matches!(mismatches, None | Some(0)),
            "mismatch_cnt is {mismatches:?}"
        );
        let (copy, size_bytes) = self.linux.copy_out()?;
        let sectors = self.array.content.sectors();
        ensure!(
            size_bytes / 512 >= sectors,
            "md's array has {size_bytes} bytes, the LUN {sectors} sectors"
        );
        let written = self.array.content.check_copy(&copy)?;
        transcript::note(&format!(
            "{written} of {sectors} sectors written and right, {degraded} members lost, mismatches {mismatches:?}"
        ));
        self.linux.stop()
    }

    /// Members left out that the superblocks count as present: md wants to be told.
    fn refuse_without_run(&mut self, first: usize) -> Result<()> {
        let refused = self.linux.try_assemble(&self.disks(first), "")?;
        ensure!(
            refused.status != 0 && refused.output.contains("--run"),
            "md starts without {first} members unasked: {}",
            refused.output
        );
        Ok(())
    }

    fn disks(&self, first: usize) -> Vec<usize> {
        let end = self.first_disk + self.array.images.len();
        (self.first_disk + first..end).collect()
    }
}

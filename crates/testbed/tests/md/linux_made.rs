//! Arrays that Linux made with mdadm and used, left behind in the states in which a shelf may be
//! handed them.

use super::content::{BLOCK_SECTORS, Content};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use testbed::linux_md::{devices, examine, reported};
use testbed::{LinuxMd, transcript};

/// What Linux does to an array after it has filled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// `mdadm --stop`.
    Clean,
    /// The machine's power fails while it writes.
    PowerCut,
    /// This many members fail, it goes on, and is stopped.
    Degraded(usize),
    /// A member fails, a spare takes its place, and half-way through the array is stopped.
    MidRebuild,
}

/// How an array is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    /// Level for mdadm.
    pub(crate) level: u8,
    pub(crate) members: usize,
    /// More for `mdadm --create`.
    pub(crate) options: &'static str,
    pub(crate) fate: Fate,
}

impl Recipe {
    /// For messages.
    pub(crate) fn name(&self) -> String {
        let Self {
            level,
            options,
            fate,
            ..
        } = self;
        format!("raid{level} {options} {fate:?}")
    }

    /// Which of the disks fail.
    pub(crate) fn failed(&self) -> Vec<usize> {
        let count = match self.fate {
            Fate::Degraded(count) => count,
            Fate::MidRebuild => 1,
            Fate::Clean | Fate::PowerCut => 0,
        };
        // Neighbours are copies of one another in md's RAID 10.
        let stride = if self.level == 10 { 2 } else { 1 };
        (0..self.members).step_by(stride).take(count).collect()
    }

    /// Disks that it takes: the members, and for a rebuild the one that joins.
    fn disks(&self) -> usize {
        self.members + usize::from(self.fate == Fate::MidRebuild)
    }
}

/// Smaller chunks than mdadm's 512 KiB, and a write-intent bitmap, which mdadm adds to large arrays
/// without being asked.
const OTHER_OPTIONS: &str = "--chunk=64 --bitmap=internal";

/// Every level with mdadm's own parameters and others, in every state that it has.
pub(crate) fn recipes() -> Vec<Recipe> {
    let mut recipes = Vec::new();
    for (level, members, lost_max) in [(0, 3, 0), (1, 2, 1), (5, 4, 1), (6, 5, 2), (10, 4, 2)] {
        let all_options = match level {
            0 => ["", "--chunk=64"],
            1 => ["", "--bitmap=internal"],
            _ => ["", OTHER_OPTIONS],
        };
        let mut fates = vec![Fate::Clean];
        if lost_max > 0 {
            fates.extend([Fate::PowerCut, Fate::MidRebuild]);
        }
        fates.extend((1..=lost_max).map(Fate::Degraded));
        for options in all_options {
            recipes.extend(fates.iter().map(|fate| Recipe {
                level,
                members,
                options,
                fate: *fate,
            }));
        }
    }
    recipes
}

/// What Linux left of one array.
#[derive(Debug)]
pub(crate) struct LinuxArray {
    pub(crate) recipe: Recipe,
    pub(crate) content: Content,
    /// The images of all disks that were ever in it.
    pub(crate) images: Vec<PathBuf>,
}

/// Size of each member.
pub(crate) const DISK_BYTES: u64 = 16 << 20;

/// Marks the sectors that Linux wrote.
const RUN: u64 = 0x11_6e_75_78;

/// What the guest copies at a time: 8 blocks.
const UNIT_SECTORS: u64 = 128;

const BLOCKS_PER_UNIT: u64 = UNIT_SECTORS / BLOCK_SECTORS as u64;

/// Limit for a resync of such an array.
const SYNC_LIMIT: Duration = Duration::from_secs(120);

/// How long all arrays are written to before the power fails.
const WRITING: Duration = Duration::from_millis(300);

/// Makes the arrays in one guest, and leaves the images in `directory`.
pub(crate) fn make(recipes: &[Recipe], directory: &Path) -> Result<Vec<LinuxArray>> {
    let members_max = recipes.iter().map(|recipe| recipe.members).max();
    let array_bytes_max = members_max.context("no recipes")? as u64 * DISK_BYTES;
    let mut attached = patterns(array_bytes_max, directory)?;
    let mut all_disks = Vec::new();
    for (number, recipe) in recipes.iter().enumerate() {
        let first_disk = attached.len();
        for disk in 0..recipe.disks() {
            let image = directory.join(format!("linux-{number}-{disk}"));
            File::create(&image)?.set_len(DISK_BYTES)?;
            attached.push(image);
        }
        all_disks.push(first_disk..attached.len());
    }
    let mut linux = LinuxMd::boot(&attached, array_bytes_max)?;

    let mut arrays = Vec::new();
    for (number, (recipe, disks)) in recipes.iter().zip(all_disks).enumerate() {
        transcript::note(&recipe.name());
        let mut maker = Maker {
            linux: &mut linux,
            number,
            disks: disks.clone().collect(),
        };
        let content = maker.make(recipe).with_context(|| recipe.name())?;
        arrays.push(LinuxArray {
            recipe: *recipe,
            content,
            images: attached[disks].to_vec(),
        });
    }
    cut_power(linux, &mut arrays)?;
    for array in &arrays {
        array.check_state().with_context(|| array.recipe.name())?;
    }
    Ok(arrays)
}

/// Two images, each with the next generation of every block of the largest array: what the guest
/// writes it copies from them. They are its first disks.
fn patterns(array_bytes: u64, directory: &Path) -> Result<Vec<PathBuf>> {
    let mut content = Content::new(RUN, array_bytes / 512)?;
    let paths = [1, 2].map(|generation| directory.join(format!("pattern-{generation}")));
    for path in &paths {
        content.write_image(path)?;
    }
    Ok(paths.to_vec())
}

/// The machine's end, while it writes to all arrays that are to see it.
fn cut_power(mut linux: LinuxMd, arrays: &mut [LinuxArray]) -> Result<()> {
    let mut writers = String::new();
    for (number, array) in arrays.iter_mut().enumerate() {
        if array.recipe.fate == Fate::PowerCut {
            writers += &array.write_the_rest(number)?;
        }
    }
    linux.shell(&writers)?;
    thread::sleep(WRITING);
    linux
        .shell("pidof dd")
        .context("the guest has done all its writing before the power fails")?;
    transcript::note("the power fails");
    Ok(())
}

/// One array in the guest.
struct Maker<'a> {
    linux: &'a mut LinuxMd,
    number: usize,
    disks: Vec<usize>,
}

impl Maker<'_> {
    fn make(&mut self, recipe: &Recipe) -> Result<Content> {
        let mut content = self.create(recipe)?;
        let units = content.sectors() / UNIT_SECTORS;
        self.write(&mut content, 1, 0, units)?;
        if recipe.level > 0 {
            self.wait_until_consistent()?;
        }
        match recipe.fate {
            Fate::Clean => self.write(&mut content, 2, 0, units / 4)?,
            Fate::PowerCut => {
                // Linux calls an array clean when nothing was written for 200 ms; not this one.
                self.set("safe_mode_delay", "600")?;
                self.write(&mut content, 2, 0, units / 4)?;
                return Ok(content);
            }
            Fate::Degraded(_) => {
                for index in recipe.failed() {
                    self.mdadm(&format!("--fail /dev/disk/{}", self.disks[index]))?;
                }
                self.write(&mut content, 2, 0, units / 4)?;
            }
            Fate::MidRebuild => {
                self.mdadm(&format!("--fail /dev/disk/{}", self.disks[0]))?;
                self.write(&mut content, 2, 0, units / 4)?;
                self.rebuild_half(recipe)?;
            }
        }
        let array = self.array();
        self.linux.try_shell(&format!("mdadm --stop {array}"))?;
        self.linux.shell(&format!("[ ! -e {} ]", self.sysfs()))?;
        Ok(content)
    }

    /// `mdadm --create`; md makes copies and parity agree while the array is filled.
    fn create(&mut self, recipe: &Recipe) -> Result<Content> {
        let Recipe {
            level,
            members,
            options,
            ..
        } = recipe;
        let (array, sysfs) = (self.array(), self.sysfs());
        let devices = devices(&self.disks[..*members]);
        self.linux.shell(&format!(
            "mdadm --create {array} --config=none --run --level={level} --raid-devices={members} \
             {options} {devices} 2>&1"
        ))?;
        let size = self.linux.shell(&format!("cat {sysfs}/../size"))?;
        Content::new(RUN, size.trim().parse().context("size of the array")?)
    }

    /// Copies units of a pattern to the array, durably.
    fn write(
        &mut self,
        content: &mut Content,
        generation: usize,
        first: u64,
        end: u64,
    ) -> Result<()> {
        let (array, pattern, count) = (self.array(), generation - 1, end - first);
        self.linux.shell(&format!(
            "dd if=/dev/disk/{pattern} of={array} bs=64k skip={first} seek={first} count={count} \
             conv=fsync 2>&1"
        ))?;
        for block in blocks(first, end)? {
            content.begin(block).context("a block in doubt")?;
            content.settle(block);
        }
        Ok(())
    }

    /// Adds the last disk, lets md rebuild it slowly, and stops that in the middle.
    fn rebuild_half(&mut self, recipe: &Recipe) -> Result<()> {
        let sysfs = self.sysfs();
        self.set("sync_speed_min", "1000")?;
        self.set("sync_speed_max", "2000")?;
        let spare = self.disks[recipe.members];
        self.mdadm(&format!("--add /dev/disk/{spare}"))?;
        // Sectors of one member that are done, of so many.
        self.wait_for(&format!(
            "done=$(cat {sysfs}/sync_completed); [ \"${{done%% *}}\" != none ] && \
             [ \"${{done%% *}}\" -gt 6000 ]"
        ))?;
        self.set("sync_action", "frozen")
    }

    fn wait_until_consistent(&mut self) -> Result<()> {
        let sysfs = self.sysfs();
        self.wait_for(&format!(
            "[ $(cat {sysfs}/resync_start) = none ] && [ $(cat {sysfs}/degraded) = 0 ] && \
             [ $(cat {sysfs}/sync_action) = idle ]"
        ))
    }

    fn wait_for(&mut self, condition: &str) -> Result<()> {
        let deadline = Instant::now() + SYNC_LIMIT;
        while self.linux.try_shell(condition)?.status != 0 {
            if Instant::now() > deadline {
                let state = self.linux.shell("cat /proc/mdstat; dmesg | tail -n 20")?;
                bail!("md does not get there: {condition}\n{state}");
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn mdadm(&mut self, arguments: &str) -> Result<()> {
        let array = self.array();
        self.linux
            .shell(&format!("mdadm {array} {arguments} 2>&1"))?;
        Ok(())
    }

    fn set(&mut self, attribute: &str, value: &str) -> Result<()> {
        let sysfs = self.sysfs();
        self.linux
            .shell(&format!("echo {value} > {sysfs}/{attribute}"))?;
        Ok(())
    }

    fn array(&self) -> String {
        format!("/dev/md{}", self.number)
    }

    fn sysfs(&self) -> String {
        format!("/sys/block/md{}/md", self.number)
    }
}

impl LinuxArray {
    /// The command that goes on to write the second pattern in the background, a page at a time. All
    /// that it writes is in doubt.
    fn write_the_rest(&mut self, number: usize) -> Result<String> {
        let units = self.content.sectors() / UNIT_SECTORS;
        for block in blocks(units / 4, units)? {
            self.content.begin(block).context("a block in doubt")?;
            self.content.doubt(block);
        }
        let first = units / 4 * UNIT_SECTORS / 8;
        let count = units * UNIT_SECTORS / 8 - first;
        Ok(format!(
            "dd if=/dev/disk/1 of=/dev/md{number} bs=4k skip={first} seek={first} count={count} \
             oflag=direct >/run/dd.{number} 2>&1 &\n"
        ))
    }

    /// A shelf must not take over parity that may not match.
    pub(crate) fn must_be_refused(&self) -> bool {
        let has_parity = matches!(self.recipe.level, 5 | 6);
        has_parity && self.recipe.fate == Fate::PowerCut
    }

    /// The superblocks say what the recipe wanted.
    fn check_state(&self) -> Result<()> {
        let Recipe {
            level,
            members,
            fate,
            ..
        } = self.recipe;
        let last = examine(&self.images[members - 1])?;
        ensure!(
            reported(&last, "Raid Level") == format!("raid{level}"),
            "{last}"
        );
        let expected = if fate == Fate::PowerCut {
            "active"
        } else {
            "clean"
        };
        ensure!(
            reported(&last, "State") == expected,
            "not {expected}:\n{last}"
        );
        if fate == Fate::MidRebuild {
            let joined = examine(&self.images[members])?;
            let offset = reported(&joined, "Recovery Offset");
            let sectors: u64 = offset.trim_end_matches(" sectors").parse().unwrap_or(0);
            ensure!(sectors > 0, "no rebuild under way:\n{joined}");
        }
        Ok(())
    }
}

/// The blocks of a range of units.
fn blocks(first: u64, end: u64) -> Result<std::ops::Range<usize>> {
    let block = |unit: u64| usize::try_from(unit * BLOCKS_PER_UNIT);
    Ok(block(first)?..block(end)?)
}

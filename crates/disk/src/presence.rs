//! Whether a drive that was opened is still there.
//!
//! A file that is open stays so when its device is pulled or its name is removed: nothing tells of it but the
//! next I/O. So a block device is known by its number and by the kernel's count of disks since boot, which no
//! other disk has under the same number; a regular file by its inode, at its path.
//!
//! Invariant: a drive is gone only when the kernel says so. What cannot be looked at, for want of file
//! descriptors or of `/sys`, is where it was: taking it for gone would take LUNs away.

use crate::facts::System;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Which drive it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Presence {
    /// A block device.
    Device {
        /// Major and minor number.
        number: (u32, u32),
        /// The count of disks; [`None`] where the kernel has none (before Linux 5.15).
        sequence: Option<u64>,
    },
    /// A regular file.
    File {
        /// Where it was opened.
        path: PathBuf,
        /// Device and inode.
        inode: (u64, u64),
    },
    /// Memory, which goes nowhere.
    Memory,
}

impl Presence {
    /// Of a file that was opened at a path.
    pub(crate) fn of_file(path: &Path, file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        if metadata.file_type().is_block_device() {
            return Ok(Self::of_number(metadata.rdev()));
        }
        Ok(Self::File {
            path: path.to_owned(),
            inode: (metadata.dev(), metadata.ino()),
        })
    }

    /// Of whatever is at a path now; `None` for nothing, or nothing that could be a drive.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        if metadata.file_type().is_block_device() {
            let found = Self::of_number(metadata.rdev());
            // The node may outlive its device.
            return found.is_there().then_some(found);
        }
        metadata.is_file().then(|| Self::File {
            path: path.to_owned(),
            inode: (metadata.dev(), metadata.ino()),
        })
    }

    fn of_number(device: u64) -> Self {
        let number = (rustix::fs::major(device), rustix::fs::minor(device));
        let sequence = match Disk::look(&System::default(), number) {
            Disk::Here(sequence) => sequence,
            Disk::Gone | Disk::Unknown => None,
        };
        Self::Device { number, sequence }
    }

    /// Whether it is still there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        match self {
            Self::Device { number, sequence } => {
                Disk::look(&System::default(), *number).is(*sequence)
            }
            Self::File { path, inode } => match fs::metadata(path) {
                Ok(metadata) => (metadata.dev(), metadata.ino()) == *inode,
                Err(error) => !is_absence(error.kind()),
            },
            Self::Memory => true,
        }
    }
}

/// What the kernel says of a disk with a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Disk {
    /// There is one, with this count, if the kernel counts.
    Here(Option<u64>),
    /// There is none.
    Gone,
    /// It cannot be asked.
    Unknown,
}

impl Disk {
    fn look(system: &System, (major, minor): (u32, u32)) -> Self {
        let all = system.path("sys/dev/block");
        let device = all.join(format!("{major}:{minor}"));
        // A partition has the count of its disk.
        for file in ["diskseq", "../diskseq"] {
            match fs::read_to_string(device.join(file)) {
                Ok(text) => return Self::Here(text.trim().parse().ok()),
                Err(error) if is_absence(error.kind()) => {}
                Err(_) => return Self::Unknown,
            }
        }
        match fs::symlink_metadata(&device) {
            Ok(_) => Self::Here(None),
            Err(error) if is_absence(error.kind()) && all.is_dir() => Self::Gone,
            Err(_) => Self::Unknown,
        }
    }

    /// Whether it is, for all that is known, the one that had this count.
    fn is(self, sequence: Option<u64>) -> bool {
        match self {
            Self::Gone => false,
            Self::Here(found) => found.is_none() || sequence.is_none() || found == sequence,
            Self::Unknown => true,
        }
    }
}

/// Whether that means that nothing is there.
const fn is_absence(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fake::FakeSystem;

    #[test]
    fn a_file_is_there_as_long_as_its_path_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = File::create(&path).unwrap();
        let presence = Presence::of_file(&path, &file).unwrap();
        assert_eq!(Presence::at(&path), Some(presence.clone()));
        assert!(presence.is_there());
        let moved = folder.path().join("away");
        fs::rename(&path, &moved).unwrap();
        assert!(!presence.is_there());
        // Another one of that name.
        File::create(&path).unwrap();
        assert!(!presence.is_there());
        fs::rename(&moved, &path).unwrap();
        assert!(presence.is_there());
        assert_eq!(Presence::at(folder.path()), None);
        assert!(Presence::Memory.is_there());
    }

    #[test]
    fn another_disk_with_the_same_number_is_another_disk() {
        let fake = FakeSystem::new();
        fake.nvme(0, "0000:00:04.0", 8);
        let look = || Disk::look(&fake.system(), (259, 0));
        assert_eq!(look(), Disk::Here(Some(7)));
        let disk = "sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1";
        fake.write(&format!("{disk}/diskseq"), "8\n");
        assert_eq!(look(), Disk::Here(Some(8)));
        assert!(look().is(Some(8)) && !look().is(Some(7)));
        // An old kernel does not count.
        fake.remove(&format!("{disk}/diskseq"));
        assert_eq!(look(), Disk::Here(None));
        assert!(look().is(None));
        fake.remove("sys/dev/block/259:0");
        assert_eq!(look(), Disk::Gone);
        assert!(!look().is(None));
    }

    #[test]
    fn what_cannot_be_looked_at_is_where_it_was() {
        // No /sys.
        let look = |fake: &FakeSystem| Disk::look(&fake.system(), (259, 0));
        let fake = FakeSystem::new();
        assert_eq!(look(&fake), Disk::Unknown);
        assert!(look(&fake).is(Some(7)) && look(&fake).is(None));
        // A count that cannot be read.
        fake.nvme(0, "0000:00:04.0", 8);
        let count = "sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1/diskseq";
        fake.remove(count);
        fake.write(&format!("{count}/directory"), "");
        assert_eq!(look(&fake), Disk::Unknown);
    }

    /// The kernel counts the disks of this machine.
    #[test]
    fn a_device_that_is_here_is_there() {
        let system = System::default();
        for name in system.block_devices() {
            let path = Path::new("/dev").join(&name);
            if let Some(presence) = Presence::at(&path) {
                assert!(presence.is_there(), "{name}");
            }
        }
    }
}

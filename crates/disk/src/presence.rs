//! Whether a drive that was opened is still there.
//!
//! A file that is open stays so when its device is pulled or its name is removed: nothing tells of it but the
//! next I/O. So a block device is known by its number and by the kernel's count of disks since boot, which no
//! other disk has under the same number; a regular file by its inode, at its path.

use crate::facts::{Facts, System};
use std::fs::{self, File};
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
        let sequence = sequence_of(&System::default(), number).flatten();
        Self::Device { number, sequence }
    }

    /// Whether it is still there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        match self {
            Self::Device { number, sequence } => {
                sequence_of(&System::default(), *number) == Some(*sequence)
            }
            Self::File { path, inode } => {
                fs::metadata(path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == *inode)
            }
            Self::Memory => true,
        }
    }
}

/// The count of the disk with this number, if there is such a disk, and it has one.
fn sequence_of(system: &System, (major, minor): (u32, u32)) -> Option<Option<u64>> {
    let name = system.name_of(major, minor)?;
    Facts::sequence_of(system, &name)
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
        let of = || sequence_of(&fake.system(), (259, 0));
        assert_eq!(of(), Some(Some(7)));
        let disk = "sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1";
        fake.write(&format!("{disk}/diskseq"), "8\n");
        assert_eq!(of(), Some(Some(8)));
        fake.remove("sys/dev/block/259:0");
        assert_eq!(of(), None);
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

//! Opening and claiming a drive.

use crate::SECTOR_BYTES;
use crate::presence::Presence;
use crate::ram::RamDisk;
use crate::spec::DriveSpec;
use crate::zeroing::{self, Way, Zeroing};
use rustix::fs::{AtFlags, FileType, FlockOperation, OFlags, StatxFlags};
use shelf::patience::DriveKind;
use shelf::plane::Unit;
use std::fmt;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why a drive was not opened. Each text names the path.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there.
    #[error("{path} does not exist")]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Neither a block device nor a regular file.
    #[error("{path} is a {what}; a drive is a block device or a regular file")]
    NotADrive {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Somebody else has it.
    #[error(
        "{path} is in use: mounted, part of another array, or claimed by another program or slot"
    )]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("{path} is read-only")]
    ReadOnly {
        /// The path.
        path: PathBuf,
    },
    /// It may not be opened by this user.
    #[error("{path} may not be opened for writing by this user")]
    Permission {
        /// The path.
        path: PathBuf,
    },
    /// It holds less than one sector.
    #[error("{path} is empty: {size_bytes} bytes")]
    TooSmall {
        /// The path.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
    },
    /// Its sectors have neither 512 nor 4096 bytes.
    #[error(
        "{path} has sectors of {sector_bytes} bytes; drives with sectors of 512 (512n, 512e) or 4096 bytes (4Kn) are served"
    )]
    SectorSize {
        /// The path.
        path: PathBuf,
        /// Logical sector size.
        sector_bytes: u32,
    },
    /// There is not so much memory.
    #[error("{size_bytes} bytes of memory are not to be had")]
    NoMemory {
        /// What was asked for.
        size_bytes: u64,
    },
    /// Anything else.
    #[error("{path} cannot be opened: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

pub(crate) enum Medium {
    File(File),
    Ram(RamDisk),
    /// Writes are dropped, and reads leave the buffer as it is.
    Null,
}

/// An open, claimed drive.
pub struct Drive {
    path: String,
    medium: Medium,
    size_sectors: u64,
    unit: Unit,
    model: String,
    note: Option<String>,
    kind: DriveKind,
    writes_durably: bool,
    is_polled: bool,
    zeroing: Way,
    presence: Presence,
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Drive {
    /// Opens and claims a drive: block devices exclusively (`O_EXCL`), files by an exclusive lock.
    /// `O_DIRECT` where the file system offers it; otherwise [`Drive::note`] says so.
    ///
    /// # Errors
    /// An [`OpenError`] that names the path and the reason.
    pub fn open(spec: &DriveSpec) -> Result<Self, OpenError> {
        match spec {
            DriveSpec::Path(path) => open_path(path),
            DriveSpec::Ram { size_bytes } => {
                let no_memory = OpenError::NoMemory {
                    size_bytes: *size_bytes,
                };
                let ram = RamDisk::new(*size_bytes).ok_or(no_memory)?;
                let note = "volatile memory: its contents end with ledged";
                Ok(Self::of_no_device(
                    spec,
                    Medium::Ram(ram),
                    *size_bytes,
                    "ram",
                    note,
                ))
            }
            DriveSpec::Null { size_bytes } => {
                let note =
                    "null drive, for load tests of the network only: what is written is dropped";
                Ok(Self::of_no_device(
                    spec,
                    Medium::Null,
                    *size_bytes,
                    "null",
                    note,
                ))
            }
        }
    }

    fn of_no_device(
        spec: &DriveSpec,
        medium: Medium,
        size_bytes: u64,
        model: &str,
        note: &str,
    ) -> Self {
        Self {
            path: spec.to_string(),
            medium,
            size_sectors: size_bytes / SECTOR_BYTES as u64,
            unit: Unit::SECTOR,
            model: model.to_owned(),
            note: Some(note.to_owned()),
            kind: DriveKind::SolidState,
            writes_durably: true,
            is_polled: false,
            zeroing: Way::new(Zeroing::Deallocate),
            presence: Presence::Memory,
        }
    }

    /// A drive that is any file: a pipe answers when the test wants it to.
    #[cfg(test)]
    pub(crate) fn of_file(file: File, size_sectors: u64, zeroing: Zeroing) -> Self {
        Self {
            path: "test".to_owned(),
            medium: Medium::File(file),
            size_sectors,
            unit: Unit::SECTOR,
            model: "test".to_owned(),
            note: None,
            kind: DriveKind::Rotating,
            writes_durably: true,
            is_polled: false,
            zeroing: Way::new(zeroing),
            presence: Presence::Memory,
        }
    }

    /// Whether it is a block device, which can be pulled while it is open.
    #[must_use]
    pub const fn is_device(&self) -> bool {
        matches!(self.presence, Presence::Device { .. })
    }

    /// By which it is known whether it is still there.
    #[must_use]
    pub const fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Where it was opened from.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Size.
    #[must_use]
    pub const fn size_sectors(&self) -> u64 {
        self.size_sectors
    }

    /// What it reads and writes at once: its logical sectors. A file takes single ones of 512 bytes.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// The model of a block device, `file`, `ram`, or `null`.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// A remark that an administrator should see.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Whether a write with RWF_DSYNC costs no flush of the whole drive: it has FUA, or no volatile
    /// cache. Of files nothing is known, so no.
    #[must_use]
    pub const fn writes_durably(&self) -> bool {
        self.writes_durably
    }

    /// Whether its reads and writes are polled for, instead of waiting for interrupts: it has poll queues,
    /// and nobody has turned that off.
    #[must_use]
    pub const fn is_polled(&self) -> bool {
        self.is_polled
    }

    /// The same drive, with interrupts.
    #[must_use]
    pub fn without_polling(self) -> Self {
        Self {
            is_polled: false,
            ..self
        }
    }

    /// Whether it has moving parts: for how long a read may take. Of files nothing is known.
    #[must_use]
    pub const fn kind(&self) -> DriveKind {
        self.kind
    }

    /// How it is made to hold zeroes. It may turn out later that this does not work: then it is another way.
    #[must_use]
    pub fn zeroing(&self) -> Zeroing {
        self.zeroing.get()
    }

    /// This way does not work. Whether that is news.
    pub(crate) fn give_up_zeroing(&self, way: Zeroing) -> bool {
        self.zeroing.give_up(way)
    }

    /// Whether its contents end with the process.
    #[must_use]
    pub const fn is_volatile(&self) -> bool {
        matches!(self.medium, Medium::Ram(_) | Medium::Null)
    }

    pub(crate) const fn medium(&self) -> &Medium {
        &self.medium
    }
}

fn open_path(path: &Path) -> Result<Drive, OpenError> {
    let metadata = std::fs::metadata(path).map_err(|source| io_error(path, source))?;
    let kind = FileType::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&metadata));
    let block = match kind {
        FileType::BlockDevice => true,
        FileType::RegularFile => false,
        other => {
            return Err(OpenError::NotADrive {
                path: path.into(),
                what: file_type_name(other),
            });
        }
    };
    if block && is_read_only_device(path) {
        return Err(OpenError::ReadOnly { path: path.into() });
    }
    let (mut file, unit, note) = open_direct(path, block)?;
    if !block {
        claim_file(path, &file)?;
    }
    let size_bytes = file
        .seek(SeekFrom::End(0))
        .map_err(|source| io_error(path, source))?;
    if size_bytes < SECTOR_BYTES as u64 {
        return Err(OpenError::TooSmall {
            path: path.into(),
            size_bytes,
        });
    }
    let model = if block {
        block_model(path)
    } else {
        "file".to_owned()
    };
    let zeroing = if block {
        zeroing::of_device(queue_fact(path, "write_zeroes_max_bytes").as_deref())
    } else {
        zeroing::of_file(&file, size_bytes)
    };
    // Buffered I/O cannot be polled.
    let is_polled = note.is_none() && block && has_poll_queues(queue_fact(path, "io_poll"));
    let presence = Presence::of_file(path, &file).map_err(|source| io_error(path, source))?;
    Ok(Drive {
        path: path.display().to_string(),
        presence,
        zeroing: Way::new(zeroing),
        medium: Medium::File(file),
        size_sectors: unit.floor(size_bytes / SECTOR_BYTES as u64),
        unit,
        model,
        note,
        kind: if block && has_no_moving_parts(path) {
            DriveKind::SolidState
        } else {
            DriveKind::Rotating
        },
        writes_durably: block && has_durable_writes(path),
        is_polled,
    })
}

/// Opens with `O_DIRECT`; without it where the file system refuses it or wants more than sectors. Gives what
/// is read and written at once, too.
fn open_direct(path: &Path, block: bool) -> Result<(File, Unit, Option<String>), OpenError> {
    let exclusive = if block { OFlags::EXCL } else { OFlags::empty() };
    let open = |flags: OFlags| {
        let custom = i32::try_from((flags | OFlags::CLOEXEC).bits()).unwrap_or(0);
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(custom)
            .open(path)
    };
    let buffered = |reason: &str| {
        let file = open(exclusive).map_err(|source| io_error(path, source))?;
        let unit = unit_of(path, block, &file)?;
        Ok((file, unit, Some(format!("buffered: {reason}"))))
    };
    let file = match open(exclusive | OFlags::DIRECT) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            return buffered("the file system does not offer O_DIRECT");
        }
        Err(source) => return Err(io_error(path, source)),
    };
    let unit = unit_of(path, block, &file)?;
    if direct_io_align(&file).is_none_or(|align| align <= unit.bytes()) {
        Ok((file, unit, None))
    } else {
        drop(file);
        buffered(&format!(
            "O_DIRECT wants more than the {} bytes of a sector as alignment",
            unit.bytes()
        ))
    }
}

/// The alignment that direct I/O needs of offsets and of memory, where the kernel tells it.
fn direct_io_align(file: &File) -> Option<u32> {
    let wanted = StatxFlags::from_bits_retain(rustix::fs::StatxFlags::DIOALIGN.bits());
    let statx = rustix::fs::statx(file.as_fd(), "", AtFlags::EMPTY_PATH, wanted).ok()?;
    let align = statx.stx_dio_offset_align.max(statx.stx_dio_mem_align);
    (statx.stx_mask & wanted.bits() != 0).then_some(align)
}

fn claim_file(path: &Path, file: &File) -> Result<(), OpenError> {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
        if errno == rustix::io::Errno::WOULDBLOCK {
            OpenError::InUse { path: path.into() }
        } else {
            io_error(path, errno.into())
        }
    })
}

fn unit_of(path: &Path, block: bool, file: &File) -> Result<Unit, OpenError> {
    if !block {
        return Ok(Unit::SECTOR);
    }
    let sector_bytes =
        rustix::fs::ioctl_blksszget(file).map_err(|errno| io_error(path, errno.into()))?;
    Unit::of_sector_bytes(sector_bytes).ok_or_else(|| OpenError::SectorSize {
        path: path.into(),
        sector_bytes,
    })
}

/// Whether a block device has FUA or no volatile cache.
fn has_durable_writes(path: &Path) -> bool {
    queue_fact(path, "write_cache").is_some_and(|cache| cache.trim() == "write through")
        || queue_fact(path, "fua").is_some_and(|fua| fua.trim() == "1")
}

/// Whether a block device has queues that are polled, by what the kernel tells of it (NVMe with
/// `nvme.poll_queues`).
fn has_poll_queues(io_poll: Option<String>) -> bool {
    io_poll.is_some_and(|fact| fact.trim() == "1")
}

/// Whether the kernel knows a block device for one without moving parts.
fn has_no_moving_parts(path: &Path) -> bool {
    queue_fact(path, "rotational").is_some_and(|rotational| rotational.trim() == "0")
}

/// What the kernel tells of the queue of a block device. A partition asks its disk.
fn queue_fact(path: &Path, name: &str) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    let (major, minor) = (
        rustix::fs::major(metadata.rdev()),
        rustix::fs::minor(metadata.rdev()),
    );
    let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let mut queues = [device.join("queue"), device.join("../queue")].into_iter();
    let queue = queues.find(|queue| queue.is_dir())?;
    std::fs::read_to_string(queue.join(name)).ok()
}

/// The model that the kernel tells for a disk; its kernel name where it tells none.
fn block_model(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = real
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let model = std::fs::read_to_string(format!("/sys/class/block/{name}/device/model"));
    model.map_or(name, |model| model.trim().to_owned())
}

fn io_error(path: &Path, source: std::io::Error) -> OpenError {
    use rustix::io::Errno;
    let path = path.to_owned();
    match Errno::from_io_error(&source) {
        Some(Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::NOMEDIUM) => {
            OpenError::Missing { path }
        }
        Some(Errno::BUSY) => OpenError::InUse { path },
        Some(Errno::ROFS) => OpenError::ReadOnly { path },
        Some(Errno::ACCESS | Errno::PERM) if is_read_only_device(&path) => {
            OpenError::ReadOnly { path }
        }
        Some(Errno::ACCESS | Errno::PERM) => OpenError::Permission { path },
        _ => OpenError::Io { path, source },
    }
}

/// Whether the kernel has a block device read-only. Opening such a device for writing may succeed all
/// the same; only the writes fail.
fn is_read_only_device(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = std::fs::metadata(path) else {
        return false;
    };
    let (major, minor) = (
        rustix::fs::major(metadata.rdev()),
        rustix::fs::minor(metadata.rdev()),
    );
    std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/ro"))
        .is_ok_and(|ro| ro.trim() == "1")
}

fn file_type_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "directory",
        FileType::CharacterDevice => "character device",
        FileType::Fifo => "named pipe",
        FileType::Socket => "socket",
        FileType::Symlink => "dangling link",
        _ => "file of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size_bytes: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size_bytes).unwrap();
        file
    }

    fn open(path: &Path) -> Result<Drive, OpenError> {
        Drive::open(&DriveSpec::Path(path.into()))
    }

    #[test]
    fn a_file_is_claimed_until_it_is_closed() {
        let file = file(1 << 20);
        let first = open(file.path()).unwrap();
        assert_eq!(first.size_sectors(), 2048);
        assert!(matches!(open(file.path()), Err(OpenError::InUse { .. })));
        drop(first);
        open(file.path()).unwrap();
    }

    #[test]
    fn a_device_is_polled_by_what_the_kernel_tells() {
        let told = |fact: &str| has_poll_queues(Some(fact.to_owned()));
        assert!(told("1\n"));
        assert!(!told("0\n"));
        assert!(!has_poll_queues(None), "an old kernel, or no queue");
        // A file has no queue; what lies under it does not matter.
        let file = file(1 << 20);
        assert!(!open(file.path()).unwrap().is_polled());
    }

    #[test]
    fn what_is_no_drive_is_refused_by_name() {
        assert!(matches!(
            open(Path::new("/nowhere/at/all")),
            Err(OpenError::Missing { .. })
        ));
        assert!(matches!(
            open(Path::new("/tmp")),
            Err(OpenError::NotADrive {
                what: "directory",
                ..
            })
        ));
        assert!(matches!(
            open(Path::new("/dev/null")),
            Err(OpenError::NotADrive {
                what: "character device",
                ..
            })
        ));
        assert!(matches!(
            open(file(511).path()),
            Err(OpenError::TooSmall {
                size_bytes: 511,
                ..
            })
        ));
    }
}

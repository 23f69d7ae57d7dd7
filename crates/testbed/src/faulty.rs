//! Disks that are slow, hang, fail or vanish on command: files of FUSE file systems that pass everything
//! through to other files. Each disk is a file system of its own, because the kernel has only so many
//! requests of one under way.
//!
//! What a disk is asked while it hangs is done when it hangs no longer, in any order, as a disk does that
//! comes back from an error recovery: a write may land long after it was asked for.
//!
//! **Invariants**
//! - A dropped [`FaultyDisks`] lets go of whatever hangs, and unmounts them.
//! - Reads and writes of one disk are done side by side.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

/// How long the kernel may remember attributes: they never change.
const TTL: Duration = Duration::from_secs(3600);

/// The inode of the disk; the root is before it.
const DISK: INodeNo = INodeNo(2);

/// The name of the disk in its file system.
const NAME: &str = "disk";

/// Requests that the kernel has under way before it holds others back.
const UNDER_WAY_MAX: u16 = 1024;

/// What a disk does with reads, writes and flushes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// Does them at once.
    Well,
    /// Does them after so long.
    Slow(Duration),
    /// Does nothing before it behaves otherwise.
    Hanging,
    /// Fails them with EIO.
    Failing,
    /// Fails them as a device that was pulled: ENODEV.
    Gone,
    /// Fails reads of these sectors with EIO, and nothing else.
    Unreadable {
        /// The first.
        sector: u64,
        /// How many.
        sectors: u64,
    },
    /// Fails reads of these sectors with EIO, until a write has covered all of them: a medium that is bad in
    /// a place for which the drive has another one.
    UnreadableUntilWritten {
        /// The first.
        sector: u64,
        /// How many.
        sectors: u64,
    },
}

#[derive(Debug)]
struct Disk {
    file: File,
    size_bytes: u64,
    behaviour: Mutex<Behaviour>,
    changed: Condvar,
}

impl Disk {
    fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as the disk behaves so that this is to be waited for; whether it is then done.
    fn wait(&self) -> Result<(), Errno> {
        let slowness = match *self.behaviour() {
            Behaviour::Slow(time) => time,
            _ => Duration::ZERO,
        };
        thread::sleep(slowness);
        let hangs = |behaviour: &mut Behaviour| *behaviour == Behaviour::Hanging;
        let behaviour = self.changed.wait_while(self.behaviour(), hangs);
        match *behaviour.unwrap_or_else(PoisonError::into_inner) {
            Behaviour::Failing => Err(Errno::EIO),
            Behaviour::Gone => Err(Errno::ENODEV),
            Behaviour::Well
            | Behaviour::Slow(_)
            | Behaviour::Hanging
            | Behaviour::Unreadable { .. }
            | Behaviour::UnreadableUntilWritten { .. } => Ok(()),
        }
    }

    /// Whether bytes can be read.
    fn check_read(&self, offset: u64, bytes: u64) -> Result<(), Errno> {
        let (Behaviour::Unreadable { sector, sectors }
        | Behaviour::UnreadableUntilWritten { sector, sectors }) = *self.behaviour()
        else {
            return Ok(());
        };
        let bad = sector * 512..(sector + sectors) * 512;
        if offset < bad.end && bad.start < offset + bytes {
            Err(Errno::EIO)
        } else {
            Ok(())
        }
    }

    /// Bytes were written.
    fn note_write(&self, offset: u64, bytes: u64) {
        let mut behaviour = self.behaviour();
        if let Behaviour::UnreadableUntilWritten { sector, sectors } = *behaviour
            && offset <= sector * 512
            && (sector + sectors) * 512 <= offset + bytes
        {
            *behaviour = Behaviour::Well;
        }
    }
}

/// The disks, while they are mounted.
#[derive(Debug)]
pub struct FaultyDisks {
    directory: PathBuf,
    disks: Vec<Arc<Disk>>,
    sessions: Vec<BackgroundSession>,
}

impl FaultyDisks {
    /// Why this machine cannot have them; `None` when it can.
    #[must_use]
    pub fn unavailable() -> Option<String> {
        let device = File::options().read(true).write(true).open("/dev/fuse");
        device.err().map(|error| format!("/dev/fuse: {error}"))
    }

    /// Mounts one disk for each of the files, in `directory`, which is there and empty.
    ///
    /// # Errors
    /// A file cannot be opened, or a mount fails.
    pub fn mount(directory: &Path, files: &[PathBuf]) -> Result<Self> {
        let mut mounted = Self {
            directory: directory.to_owned(),
            disks: Vec::new(),
            sessions: Vec::new(),
        };
        for (index, path) in files.iter().enumerate() {
            let file = File::options().read(true).write(true).open(path);
            let file = file.with_context(|| path.display().to_string())?;
            let disk = Arc::new(Disk {
                size_bytes: file.metadata()?.len(),
                file,
                behaviour: Mutex::new(Behaviour::Well),
                changed: Condvar::new(),
            });
            mounted.disks.push(Arc::clone(&disk));
            let mut config = Config::default();
            config.mount_options = vec![MountOption::FSName("faulty".to_owned())];
            let point = directory.join(index.to_string());
            std::fs::create_dir(&point)?;
            let session = fuser::spawn_mount(OneDisk(disk), &point, &config);
            mounted.sessions.push(session.context("FUSE mount")?);
        }
        Ok(mounted)
    }

    /// The path of a disk.
    #[must_use]
    pub fn path(&self, disk: usize) -> PathBuf {
        self.directory.join(disk.to_string()).join(NAME)
    }

    /// Makes a disk behave so from now on.
    pub fn set(&self, disk: usize, behaviour: Behaviour) {
        *self.disks[disk].behaviour() = behaviour;
        self.disks[disk].changed.notify_all();
    }
}

impl Drop for FaultyDisks {
    fn drop(&mut self) {
        for disk in 0..self.disks.len() {
            self.set(disk, Behaviour::Well);
        }
        for disk in 0..self.sessions.len() {
            // At once, although namespaces of daemons that have just ended may still have it.
            let mut umount = Command::new("umount");
            umount.arg("-l").arg(self.directory.join(disk.to_string()));
            drop(umount.output());
        }
        // What the kernel still asks is answered no more: it gives up.
        self.sessions.clear();
    }
}

/// What the kernel asks.
struct OneDisk(Arc<Disk>);

impl OneDisk {
    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0o755, 0),
            DISK => (FileType::RegularFile, 0o600, self.0.size_bytes),
            _ => return None,
        };
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        })
    }

    /// Has something done with the disk when that does it: at once, or by a thread that waits.
    fn serve(&self, job: impl FnOnce(&Disk, Result<(), Errno>) + Send + 'static) {
        let disk = Arc::clone(&self.0);
        let is_well = *disk.behaviour() == Behaviour::Well;
        if is_well {
            job(&disk, Ok(()));
        } else {
            thread::spawn(move || {
                let verdict = disk.wait();
                job(&disk, verdict);
            });
        }
    }
}

impl Filesystem for OneDisk {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // What this kernel does not grant is only slower.
        let _ = config.set_max_background(UNDER_WAY_MAX);
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        Ok(())
    }

    fn lookup(&self, _: &Request, _: INodeNo, wanted: &OsStr, reply: ReplyEntry) {
        let found = (wanted == NAME).then_some(DISK);
        match found.and_then(|inode| self.attributes(inode)) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, reply: ReplyDirectory) {
        // Nobody lists it.
        reply.ok();
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.serve(move |disk, verdict| {
            let left = disk.size_bytes.saturating_sub(offset);
            let mut data = vec![0; usize::try_from(left.min(u64::from(size))).unwrap_or(0)];
            let verdict = verdict.and_then(|()| disk.check_read(offset, data.len() as u64));
            match verdict {
                Ok(()) => match disk.file.read_exact_at(&mut data, offset) {
                    Ok(()) => reply.data(&data),
                    Err(_) => reply.error(Errno::EIO),
                },
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = data.to_vec();
        self.serve(move |disk, verdict| match verdict {
            Ok(()) => match disk.file.write_all_at(&data, offset) {
                Ok(()) => {
                    disk.note_write(offset, data.len() as u64);
                    reply.written(u32::try_from(data.len()).unwrap_or(0));
                }
                Err(_) => reply.error(Errno::EIO),
            },
            Err(errno) => reply.error(errno),
        });
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        // Nothing here outlives the machine. The kernel asks for a flush with the file locked, so that one
        // that hung would hold up whoever hands over a write, which no disk does: it is told not to ask.
        reply.error(Errno::ENOSYS);
    }
}

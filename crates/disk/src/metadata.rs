//! A drive as the administration uses it: synchronous, aligned, durable, and never for ever.
//!
//! Files and devices are read and written by a thread of the drive's own, which begins with its first
//! use: a drive that hangs holds up that thread, and its user only until the deadline. From then on
//! whatever it is asked is refused at once, until the thread is back; so nothing overtakes what it is
//! still doing.

use crate::SECTOR_BYTES;
use crate::drive::{Drive, Medium};
use crate::helper::{Helper, HelperError};
use crate::job::{JobThread, Source};
use crate::page::{PAGE_BYTES, Pages};
use rustix::io::{Errno, ReadWriteFlags};
use shelf::job::{Job, JobHandle, JobSource, Pace};
use shelf::plane::Unit;
use shelf::plane::{DriveError, MetadataDrive};
use std::fmt;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::time::Duration;

/// Pages of the bounce buffer: O_DIRECT wants memory that a caller's slice is not.
const BOUNCE_PAGES: usize = 16;

/// How long a drive may take, unless it is said otherwise.
const DEADLINE: Duration = Duration::from_secs(10);

/// Metadata that is dropped is a LUN that never was.
const NULL_KEEPS_NOTHING: &str = "a null drive keeps nothing: only raw LUNs can be made of it";

/// What the thread of a drive is asked for.
#[derive(Debug)]
enum Request {
    Read { sector: u64, bytes: usize },
    Write { sector: u64, data: Vec<u8> },
}

/// What was read; nothing for a write.
type Answer = Result<Vec<u8>, Errno>;

/// A drive with the thread that does its metadata.
pub struct MetadataHandle {
    drive: Arc<Drive>,
    deadline: Duration,
    helper: Option<Helper<Request, Answer>>,
}

impl fmt::Debug for MetadataHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataHandle")
            .field("drive", &self.drive)
            .finish_non_exhaustive()
    }
}

impl MetadataHandle {
    /// A handle on a drive.
    #[must_use]
    pub const fn new(drive: Arc<Drive>) -> Self {
        Self::with_deadline(drive, DEADLINE)
    }

    /// A handle on a drive that may take so long for an answer.
    #[must_use]
    pub const fn with_deadline(drive: Arc<Drive>, deadline: Duration) -> Self {
        Self {
            drive,
            deadline,
            helper: None,
        }
    }

    fn check(&self, operation: &'static str, sector: u64, bytes: usize) -> Result<(), DriveError> {
        let sectors = (bytes / SECTOR_BYTES) as u64;
        let unit = self.drive.unit();
        let is_whole = bytes.is_multiple_of(unit.bytes() as usize) && unit.divides(sector);
        let reason = if !is_whole {
            "not a whole number of sectors of the drive"
        } else if sector
            .checked_add(sectors)
            .is_none_or(|end| end > self.drive.size_sectors())
        {
            "beyond the end of the drive"
        } else {
            return Ok(());
        };
        Err(DriveError::new(operation, sector, bytes, reason))
    }

    /// Has the thread of the drive do something.
    fn ask(&mut self, request: Request) -> Result<Answer, HelperError> {
        let helper = match &mut self.helper {
            Some(helper) => helper,
            none => {
                let drive = Arc::clone(&self.drive);
                let mut bounce = Pages::new_zeroed(BOUNCE_PAGES)
                    .ok_or_else(|| HelperError::NoThread("no memory for its buffer".to_owned()))?;
                let work = move |request| do_request(&drive, &mut bounce, request);
                none.insert(Helper::new("metadata", work)?)
            }
        };
        helper.ask(request, self.deadline)
    }

    fn refused(
        operation: &'static str,
        sector: u64,
        bytes: usize,
        helper_error: &HelperError,
    ) -> DriveError {
        DriveError {
            is_silent: helper_error.is_silence(),
            ..DriveError::new(operation, sector, bytes, helper_error.to_string())
        }
    }
}

impl MetadataDrive for MetadataHandle {
    fn size_sectors(&self) -> u64 {
        self.drive.size_sectors()
    }

    fn unit(&self) -> Unit {
        self.drive.unit()
    }

    fn keeps_nothing(&self) -> bool {
        matches!(self.drive.medium(), Medium::Null)
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), DriveError> {
        let bytes = buffer.len();
        self.check("read", sector, bytes)?;
        match self.drive.medium() {
            Medium::Ram(ram) => {
                ram.read(sector, buffer);
                return Ok(());
            }
            // It is empty, as it was before whatever was written.
            Medium::Null => {
                buffer.fill(0);
                return Ok(());
            }
            Medium::File(_) => {}
        }
        let answer = self
            .ask(Request::Read { sector, bytes })
            .map_err(|refusal| Self::refused("read", sector, bytes, &refusal))?;
        let data =
            answer.map_err(|errno| DriveError::new("read", sector, bytes, errno.to_string()))?;
        buffer.copy_from_slice(&data);
        Ok(())
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> Result<(), DriveError> {
        let bytes = data.len();
        self.check("write", sector, bytes)?;
        match self.drive.medium() {
            Medium::Ram(ram) => {
                ram.write(sector, data);
                return Ok(());
            }
            Medium::Null => {
                return Err(DriveError::new("write", sector, bytes, NULL_KEEPS_NOTHING));
            }
            Medium::File(_) => {}
        }
        let data = data.to_vec();
        let answer = self
            .ask(Request::Write { sector, data })
            .map_err(|refusal| Self::refused("write", sector, bytes, &refusal))?;
        answer
            .map(drop)
            .map_err(|errno| DriveError::new("write", sector, bytes, errno.to_string()))
    }

    fn begin(
        &mut self,
        job: Job,
        source: Option<Box<dyn JobSource>>,
        pace: Pace,
    ) -> Result<Box<dyn JobHandle>, String> {
        Ok(Box::new(JobThread::start(&self.drive, job, source, pace)?))
    }

    fn source(&self) -> Result<Box<dyn JobSource>, String> {
        Ok(Box::new(Source::new(&self.drive)))
    }
}

/// What the thread of a drive does.
fn do_request(drive: &Drive, bounce: &mut Pages, request: Request) -> Answer {
    let Medium::File(file) = drive.medium() else {
        return Err(Errno::INVAL);
    };
    let place = |sector: u64| sector * SECTOR_BYTES as u64;
    match request {
        Request::Read { sector, bytes } => {
            let mut data = vec![0; bytes];
            let mut at = place(sector);
            for run in data.chunks_mut(BOUNCE_PAGES * PAGE_BYTES) {
                let bounce = &mut bounce[..run.len()];
                read_exact(file, at, bounce)?;
                run.copy_from_slice(bounce);
                at += run.len() as u64;
            }
            Ok(data)
        }
        Request::Write { sector, data } => {
            let mut at = place(sector);
            for run in data.chunks(BOUNCE_PAGES * PAGE_BYTES) {
                let bounce = &mut bounce[..run.len()];
                bounce.copy_from_slice(run);
                write_all(file, at, bounce, ReadWriteFlags::DSYNC)?;
                at += run.len() as u64;
            }
            Ok(Vec::new())
        }
    }
}

pub(crate) fn read_exact(file: &File, place: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < buffer.len() {
        let mut rest = [IoSliceMut::new(&mut buffer[done..])];
        match rustix::io::preadv(file, &mut rest, place + done as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(bytes) => done += bytes,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(crate) fn write_all(
    file: &File,
    place: u64,
    data: &[u8],
    flags: ReadWriteFlags,
) -> Result<(), Errno> {
    let mut done = 0;
    while done < data.len() {
        let rest = [IoSlice::new(&data[done..])];
        match rustix::io::pwritev2(file, &rest, place + done as u64, flags) {
            Ok(0) => return Err(Errno::IO),
            Ok(bytes) => done += bytes,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DriveSpec;

    fn round_trip(spec: &DriveSpec) {
        let drive = Arc::new(Drive::open(spec).unwrap());
        let mut handle = MetadataHandle::new(drive);
        let data: Vec<u8> = (0..100 * 1024u32)
            .map(|i| (i / 7).to_le_bytes()[0])
            .collect();
        handle.write(8, &data).unwrap();
        let mut back = vec![0; data.len()];
        handle.read(8, &mut back).unwrap();
        assert!(data == back);
        let end = handle.size_sectors();
        assert!(handle.write(end - 1, &[0; 512]).is_ok());
        assert!(handle.write(end, &[0; 512]).is_err());
        assert!(handle.read(end - 1, &mut [0; 1024]).is_err());
        assert!(handle.read(0, &mut [0; 100]).is_err());
    }

    /// Else a LUN would be made that is gone with the next start, and whose members know nothing of it.
    #[test]
    fn a_null_drive_is_empty_and_refuses_metadata() {
        let size_bytes = 1 << 20;
        let drive = Drive::open(&DriveSpec::Null { size_bytes }).unwrap();
        let mut handle = MetadataHandle::new(Arc::new(drive));
        let mut buffer = [1; 512];
        handle.read(8, &mut buffer).unwrap();
        assert_eq!(buffer, [0; 512]);
        let error = handle.write(8, &buffer).unwrap_err();
        assert!(error.to_string().contains("only raw LUNs"), "{error}");
    }

    #[test]
    fn memory_and_files_give_back_what_was_written() {
        round_trip(&DriveSpec::Ram {
            size_bytes: 5 << 20,
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        round_trip(&DriveSpec::Path(file.path().into()));
    }
}

//! A drive as the administration uses it: synchronous, aligned, durable.

use crate::SECTOR_BYTES;
use crate::drive::{Drive, Medium};
use crate::page::{PAGE_BYTES, Pages};
use rustix::io::{Errno, ReadWriteFlags};
use shelf::plane::{DriveError, MetadataDrive};
use std::fmt;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

/// Pages of the bounce buffer: O_DIRECT wants memory that a caller's slice is not.
const BOUNCE_PAGES: usize = 16;

/// A drive with the bounce buffer that its metadata goes through.
pub struct MetadataHandle {
    drive: Arc<Drive>,
    bounce: Pages,
}

impl fmt::Debug for MetadataHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataHandle")
            .field("drive", &self.drive)
            .finish_non_exhaustive()
    }
}

impl MetadataHandle {
    /// A handle on a drive; `None` when there is no memory for its buffer.
    #[must_use]
    pub fn new(drive: Arc<Drive>) -> Option<Self> {
        Some(Self {
            drive,
            bounce: Pages::new_zeroed(BOUNCE_PAGES)?,
        })
    }

    fn check(&self, operation: &'static str, sector: u64, bytes: usize) -> Result<u64, DriveError> {
        let sectors = (bytes / SECTOR_BYTES) as u64;
        let reason = if !bytes.is_multiple_of(SECTOR_BYTES) {
            "not a whole number of sectors"
        } else if sector
            .checked_add(sectors)
            .is_none_or(|end| end > self.drive.size_sectors())
        {
            "beyond the end of the drive"
        } else {
            return Ok(sectors);
        };
        Err(DriveError {
            operation,
            sector,
            sectors,
            reason: reason.to_owned(),
        })
    }
}

impl MetadataDrive for MetadataHandle {
    fn size_sectors(&self) -> u64 {
        self.drive.size_sectors()
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), DriveError> {
        let sectors = self.check("read", sector, buffer.len())?;
        match self.drive.medium() {
            Medium::Ram(ram) => ram.read(sector, buffer),
            Medium::File(file) => {
                let mut place = sector * SECTOR_BYTES as u64;
                for run in buffer.chunks_mut(BOUNCE_PAGES * PAGE_BYTES) {
                    let bounce = &mut self.bounce.bytes_mut()[..run.len()];
                    read_exact(file, place, bounce).map_err(|errno| DriveError {
                        operation: "read",
                        sector,
                        sectors,
                        reason: errno.to_string(),
                    })?;
                    run.copy_from_slice(bounce);
                    place += run.len() as u64;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> Result<(), DriveError> {
        let sectors = self.check("write", sector, data.len())?;
        match self.drive.medium() {
            Medium::Ram(ram) => ram.write(sector, data),
            Medium::File(file) => {
                let mut place = sector * SECTOR_BYTES as u64;
                for run in data.chunks(BOUNCE_PAGES * PAGE_BYTES) {
                    let bounce = &mut self.bounce.bytes_mut()[..run.len()];
                    bounce.copy_from_slice(run);
                    write_durable(file, place, bounce).map_err(|errno| DriveError {
                        operation: "write",
                        sector,
                        sectors,
                        reason: errno.to_string(),
                    })?;
                    place += run.len() as u64;
                }
            }
        }
        Ok(())
    }
}

fn read_exact(file: &File, place: u64, buffer: &mut [u8]) -> Result<(), Errno> {
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

fn write_durable(file: &File, place: u64, data: &[u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < data.len() {
        let rest = [IoSlice::new(&data[done..])];
        match rustix::io::pwritev2(file, &rest, place + done as u64, ReadWriteFlags::DSYNC) {
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
        let mut handle = MetadataHandle::new(drive).unwrap();
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

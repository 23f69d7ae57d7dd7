//! What may be on an array: for each block of 16 sectors the last acknowledged write, the one that
//! was in flight when all ended, or zeros where nobody ever wrote.

use anyhow::{Context, Result, bail, ensure};
use aoe::SECTOR_BYTES;
use initiator::stamp::write_block;
use initiator::{Generation, GenerationModel, RunId, Stamp};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

/// Sectors written by one command: the payload of a jumbo frame.
pub(crate) const BLOCK_SECTORS: u8 = 16;

pub(crate) const BLOCK_BYTES: usize = BLOCK_SECTORS as usize * SECTOR_BYTES;

/// What was written to one array.
#[derive(Debug)]
pub(crate) struct Content {
    run: RunId,
    sectors: u64,
    model: GenerationModel,
}

/// A write that has begun.
#[derive(Debug)]
pub(crate) struct BlockWrite {
    pub(crate) lba: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Content {
    /// An array of which nothing is written. Blocks that do not fit it whole are never written.
    pub(crate) fn new(run: u64, sectors: u64) -> Result<Self> {
        let blocks = usize::try_from(sectors / u64::from(BLOCK_SECTORS))?;
        Ok(Self {
            run: RunId(run),
            sectors,
            model: GenerationModel::new(blocks),
        })
    }

    /// Sectors of the array.
    pub(crate) const fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Blocks that can be written.
    pub(crate) fn blocks(&self) -> usize {
        self.model.count()
    }

    /// Begins a write of a block; `None` when its content is in doubt already.
    pub(crate) fn begin(&mut self, block: usize) -> Option<BlockWrite> {
        let generation = self.model.begin_write(block)?;
        let lba = first_lba(block);
        let mut bytes = vec![0; BLOCK_BYTES];
        let stamp = Stamp {
            lba,
            run: self.run,
            generation,
            block_sectors: u16::from(BLOCK_SECTORS),
        };
        write_block(stamp, &mut bytes);
        Some(BlockWrite { lba, bytes })
    }

    /// The first so many blocks in a row of which none is in doubt.
    pub(crate) fn certain(&self, count: usize) -> Option<Range<usize>> {
        let is_certain = |block| {
            let allowed = self.model.allowed(block, self.model.floor(block));
            allowed.start() == allowed.end()
        };
        let mut starts = 0..=self.blocks().checked_sub(count)?;
        let start = starts.find(|start| (*start..start + count).all(is_certain))?;
        Some(start..start + count)
    }

    /// The write was acknowledged.
    pub(crate) fn settle(&mut self, block: usize) {
        self.model.settle(block);
    }

    /// The write was not acknowledged: each sector may be old or new.
    pub(crate) fn doubt(&mut self, block: usize) {
        self.model.doubt(block);
    }

    /// Writes the next generation of every block in turn to a file, and takes them for settled.
    pub(crate) fn write_image(&mut self, path: &Path) -> Result<()> {
        let mut file = File::create(path).with_context(|| path.display().to_string())?;
        for block in 0..self.blocks() {
            let write = self.begin(block).context("a block in doubt")?;
            file.write_all(&write.bytes)?;
            self.settle(block);
        }
        Ok(file.set_len(self.sectors * SECTOR_BYTES as u64)?)
    }

    /// Compares a copy of the array, which may be longer. Gives how many of its sectors are written.
    pub(crate) fn check_copy(&self, copy: &Path) -> Result<u64> {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(copy)?);
        reader.seek(SeekFrom::Start(0))?;
        self.check(&mut |sector| Ok(reader.read_exact(sector)?))
    }

    /// Compares the sectors of the array, given in order by `next`.
    pub(crate) fn check(
        &self,
        next: &mut dyn FnMut(&mut [u8; SECTOR_BYTES]) -> Result<()>,
    ) -> Result<u64> {
        let (mut written, mut wrong, mut first) = (0, 0_u64, None);
        let mut sector = [0; SECTOR_BYTES];
        for lba in 0..self.sectors {
            next(&mut sector).with_context(|| format!("LBA {lba}"))?;
            match self.check_sector(lba, &sector) {
                Ok(is_written) => written += u64::from(is_written),
                Err(error) => {
                    wrong += 1;
                    first.get_or_insert((lba, error));
                }
            }
        }
        if let Some((lba, error)) = first {
            bail!("{wrong} wrong sectors, the first at LBA {lba}: {error:#}");
        }
        ensure!(written > 0, "nothing of what was written is there");
        Ok(written)
    }

    /// Whether a sector may hold these bytes; gives whether they were written by us.
    fn check_sector(&self, lba: u64, sector: &[u8; SECTOR_BYTES]) -> Result<bool> {
        let block = usize::try_from(lba / u64::from(BLOCK_SECTORS))?;
        let allowed = self.model.allowed(block, self.model.floor(block));
        if sector.iter().all(|byte| *byte == 0) {
            let oldest = allowed.start().0;
            ensure!(
                oldest == 0,
                "zeros, though generation {oldest} was acknowledged"
            );
            return Ok(false);
        }
        let stamp = Stamp::read(sector).map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        ensure!(
            stamp.lba == lba && stamp.run == self.run,
            "the sector of LBA {} of run {:#x}",
            stamp.lba,
            stamp.run.0
        );
        ensure!(
            stamp.generation != Generation(0) && allowed.contains(&stamp.generation),
            "generation {} is not in {allowed:?}",
            stamp.generation.0
        );
        Ok(true)
    }
}

fn first_lba(block: usize) -> u64 {
    block as u64 * u64::from(BLOCK_SECTORS)
}

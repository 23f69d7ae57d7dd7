//! What will be done: the command line, with what the target and the interface allow.

use crate::cli::{LoadArgs, OperationArg, RetransmitArg, ShapeArgs};
use crate::connect::{Connection, first_port, fresh_number};
use anyhow::Result;
use aoe::{SECTOR_BYTES, sectors_per_frame};
use initiator::{GenerationModel, Retransmission, RunId};

/// Most memory for what verification has to remember.
const MODEL_BYTES_MAX: u64 = 1 << 30;
/// Depth where none is asked for: what the Linux initiator keeps outstanding to one station.
const DEPTH_DEFAULT_MAX: u16 = 64;
/// Deadline of a command where none is asked for.
const DEADLINE_NS_DEFAULT: u64 = 10_000_000_000;

/// Why the load that was asked for cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("--size {bytes} is not a multiple of {SECTOR_BYTES}")]
    SizeNotSectors { bytes: u64 },
    #[error("--size {bytes} is more than the {limit_bytes} bytes that {limited_by}")]
    SizeTooLarge {
        bytes: u64,
        limit_bytes: u64,
        limited_by: String,
    },
    #[error("--range {bytes} is more than the {lun_bytes} bytes of the LUN")]
    RangeTooLarge { bytes: u64, lun_bytes: u64 },
    #[error(
        "not even one command of {size_bytes} bytes fits {bytes} bytes: use a smaller --size or a larger --range"
    )]
    RangeTooSmall { bytes: u64, size_bytes: u64 },
    #[error(
        "--verify has to remember {blocks} blocks, more than the {limit} that it may: use a smaller --range, such as {limit_bytes}"
    )]
    TooManyBlocks {
        blocks: u64,
        limit: u64,
        limit_bytes: u64,
    },
    #[error("{option} 0: there must be some time")]
    NoTime { option: &'static str },
}

/// One load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) operation: OperationArg,
    /// Of a hundred commands, how many read.
    pub(crate) read_percent: u8,
    pub(crate) sequential: bool,
    /// Sectors per command: the size of a block.
    pub(crate) sectors: u8,
    /// Blocks of the LUN that are used.
    pub(crate) block_count: u64,
    pub(crate) depth: u16,
    /// Commands per second; `None`: as fast as answers come.
    pub(crate) rate: Option<f64>,
    pub(crate) warmup_ns: u64,
    pub(crate) measure_ns: u64,
    pub(crate) verify: bool,
    pub(crate) retransmission: Retransmission,
    pub(crate) deadline_ns: u64,
    pub(crate) seed: u64,
    pub(crate) run: RunId,
    /// Speed of a wire to compare with, if not that of the interface.
    pub(crate) line_rate_mbit: Option<f64>,
    /// Whether there is a bar on the terminal while the load runs.
    pub(crate) progress: bool,
}

impl Plan {
    pub(crate) fn new(args: &LoadArgs, connection: &Connection) -> Result<Self> {
        let retransmission = match args.retransmit {
            RetransmitArg::Adaptive => Retransmission::Adaptive,
            RetransmitArg::Never => Retransmission::Never,
            RetransmitArg::Milliseconds(ms) => Retransmission::Fixed(u64::from(ms) * 1_000_000),
        };
        let plan = Self {
            rate: args.rate,
            warmup_ns: nanoseconds(args.warmup),
            measure_ns: nanoseconds(args.seconds),
            verify: args.verify,
            retransmission,
            deadline_ns: nanoseconds(args.deadline),
            line_rate_mbit: args.line_rate,
            progress: !args.json,
            ..Self::with_shape(&args.shape, connection)?
        };
        plan.check_limits()?;
        Ok(plan)
    }

    /// A closed loop of this shape, measured for ten seconds.
    pub(crate) fn with_shape(shape: &ShapeArgs, connection: &Connection) -> Result<Self> {
        let sectors = sectors(shape.size, connection)?;
        let target_depth = connection.target.buffer_count.clamp(1, DEPTH_DEFAULT_MAX);
        Ok(Self {
            operation: shape.op,
            read_percent: match shape.op {
                OperationArg::Read => 100,
                OperationArg::Write => 0,
                OperationArg::Mixed => shape.mix,
            },
            sequential: shape.sequential,
            sectors,
            block_count: block_count(shape.range, sectors, connection)?,
            depth: shape.depth.unwrap_or(target_depth),
            rate: None,
            warmup_ns: 0,
            measure_ns: nanoseconds(10.0),
            verify: false,
            retransmission: Retransmission::Adaptive,
            deadline_ns: DEADLINE_NS_DEFAULT,
            seed: shape.seed.unwrap_or_else(fresh_number),
            run: RunId(fresh_number()),
            line_rate_mbit: None,
            progress: true,
        })
    }

    pub(crate) fn check_limits(&self) -> Result<(), UsageError> {
        for (time_ns, option) in [
            (self.measure_ns, "--seconds"),
            (self.deadline_ns, "--deadline"),
        ] {
            if time_ns == 0 {
                return Err(UsageError::NoTime { option });
            }
        }
        let limit = MODEL_BYTES_MAX / GenerationModel::BYTES_PER_BLOCK as u64;
        if self.verify && self.read_percent < 100 && self.block_count > limit {
            return Err(UsageError::TooManyBlocks {
                blocks: self.block_count,
                limit,
                limit_bytes: limit * self.size_bytes() as u64,
            });
        }
        Ok(())
    }

    /// Whether there are reads and writes.
    pub(crate) const fn is_mixed(&self) -> bool {
        matches!(self.operation, OperationArg::Mixed)
    }

    /// The name of the operation, as on the command line.
    pub(crate) const fn operation_name(&self) -> &'static str {
        match self.operation {
            OperationArg::Read => "read",
            OperationArg::Write => "write",
            OperationArg::Mixed => "mixed",
        }
    }

    /// Bytes of data per command.
    pub(crate) fn size_bytes(&self) -> usize {
        usize::from(self.sectors) * SECTOR_BYTES
    }

    /// What is allowed but may surprise.
    pub(crate) fn warnings(&self, connection: &Connection) -> Vec<String> {
        let buffer_count = connection.target.buffer_count;
        let mut lines = Vec::new();
        if self.depth > buffer_count {
            lines.push(format!(
                "note: depth {} is more than the Buffer Count {buffer_count} of the target, which may drop the excess",
                self.depth
            ));
        }
        if connection.target.macs.len() > 1 {
            lines.push(format!(
                "note: {} stations answer for the target; only {} is used",
                connection.target.macs.len(),
                connection.route.destination
            ));
        }
        lines
    }
}

/// Sectors per command: as asked for, or as many as the path takes.
fn sectors(size: Option<u64>, connection: &Connection) -> Result<u8> {
    let facts = first_port(&connection.ports)?.facts();
    let fit = sectors_per_frame(facts.mtu_bytes).min(usize::from(u8::MAX)) as u8;
    let accepted = connection.target.sector_count;
    let limit = fit.min(accepted);
    let Some(bytes) = size else {
        return Ok(limit);
    };
    if !bytes.is_multiple_of(SECTOR_BYTES as u64) {
        return Err(UsageError::SizeNotSectors { bytes }.into());
    }
    let sectors = bytes / SECTOR_BYTES as u64;
    if sectors > u64::from(limit) {
        let limited_by = if fit < accepted {
            format!("fit MTU {} of {}", facts.mtu_bytes, facts.interface)
        } else {
            format!("the target takes (Sector Count {accepted})")
        };
        return Err(UsageError::SizeTooLarge {
            bytes,
            limit_bytes: u64::from(limit) * SECTOR_BYTES as u64,
            limited_by,
        }
        .into());
    }
    Ok(sectors as u8)
}

/// Whole blocks in the range that is used.
fn block_count(range: Option<u64>, sectors: u8, connection: &Connection) -> Result<u64> {
    let lun_bytes = connection
        .identity
        .sectors
        .saturating_mul(SECTOR_BYTES as u64);
    let bytes = range.unwrap_or(lun_bytes);
    if bytes > lun_bytes {
        return Err(UsageError::RangeTooLarge { bytes, lun_bytes }.into());
    }
    let size_bytes = u64::from(sectors) * SECTOR_BYTES as u64;
    if bytes < size_bytes {
        return Err(UsageError::RangeTooSmall { bytes, size_bytes }.into());
    }
    Ok(bytes / size_bytes)
}

/// Seconds, which the command line limits to a year, as nanoseconds.
pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

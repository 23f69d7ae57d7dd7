//! What will be done: the command line, with what the target and the interface allow.

use crate::cli::TargetAddress;
use crate::cli::{LoadArgs, OperationArg, RetransmitArg, ShapeArgs};
use crate::connect::{Connection, Endpoint, fresh_number};
use anyhow::{Context, Result};
use aoe::{SECTOR_BYTES, sectors_per_frame};
use initiator::{GenerationModel, Retransmission, RunId};
use port::Mode;

/// Most memory for what verification has to remember.
const MODEL_BYTES_MAX: u64 = 1 << 30;
/// Depth where none is asked for: what the Linux initiator keeps outstanding to one station.
const DEPTH_DEFAULT_MAX: u16 = 64;
/// Depth to all stations of a target where none is asked for.
const DEPTH_DEFAULT_MAX_OF_ALL: u16 = 1024;
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
    #[error("--target {address} is there twice: writes of two windows to one LUN have no order")]
    SameTarget { address: TargetAddress },
    #[error(
        "--queues {queues} is more than {interface} has: {available} in mode {mode} (AF_PACKET has one for all)"
    )]
    TooManyQueues {
        queues: usize,
        interface: String,
        available: usize,
        mode: Mode,
    },
    #[error(
        "--peer-interface is there {given} times: there must be one for each of {count} interfaces, or none"
    )]
    PeersDiffer { given: usize, count: usize },
    #[error("--interface {name} is there twice")]
    SameInterface { name: String },
    #[error("{option} 0: there must be some time")]
    NoTime { option: &'static str },
}

/// One load.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) operation: OperationArg,
    /// Of a hundred commands, how many read.
    pub(crate) read_percent: u8,
    pub(crate) sequential: bool,
    /// Sectors per command: the size of a block.
    pub(crate) sectors: u8,
    /// Commands per second to all targets; `None`: as fast as answers come.
    pub(crate) rate: Option<f64>,
    pub(crate) warmup_ns: u64,
    pub(crate) measure_ns: u64,
    pub(crate) verify: bool,
    pub(crate) retransmission: Retransmission,
    pub(crate) deadline_ns: u64,
    pub(crate) seed: u64,
    /// What is done to each target, in the order of the command line.
    pub(crate) targets: Vec<TargetPlan>,
    /// Speed of a wire to compare with, if not that of the interface.
    pub(crate) line_rate_mbit: Option<f64>,
    /// Whether there is a bar on the terminal while the load runs.
    pub(crate) progress: bool,
}

/// What is done to one target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetPlan {
    /// Blocks of the LUN that are used.
    pub(crate) block_count: u64,
    pub(crate) depth: u16,
    pub(crate) seed: u64,
    /// A number of its own, so that sectors that went to another target are known for that.
    pub(crate) run: RunId,
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
        let seed = shape.seed.unwrap_or_else(fresh_number);
        Ok(Self {
            operation: shape.op,
            read_percent: match shape.op {
                OperationArg::Read => 100,
                OperationArg::Write => 0,
                OperationArg::Mixed => shape.mix,
            },
            sequential: shape.sequential,
            sectors,
            rate: None,
            warmup_ns: 0,
            measure_ns: nanoseconds(10.0),
            verify: false,
            retransmission: Retransmission::Adaptive,
            deadline_ns: DEADLINE_NS_DEFAULT,
            seed,
            targets: targets(shape, sectors, seed, connection)?,
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
        let blocks = self.block_count();
        if self.verify && self.read_percent < 100 && blocks > limit {
            let limit_of_each = limit / self.targets.len() as u64;
            return Err(UsageError::TooManyBlocks {
                blocks,
                limit,
                limit_bytes: limit_of_each * self.size_bytes() as u64,
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

    /// Blocks that are used, of all targets.
    pub(crate) fn block_count(&self) -> u64 {
        let counts = self.targets.iter().map(|target| target.block_count);
        counts.fold(0, u64::saturating_add)
    }

    /// Commands outstanding, to all targets.
    pub(crate) fn depth(&self) -> u64 {
        let depths = self.targets.iter().map(|target| u64::from(target.depth));
        depths.sum()
    }

    /// Bytes of data per command.
    pub(crate) fn size_bytes(&self) -> usize {
        usize::from(self.sectors) * SECTOR_BYTES
    }

    /// What is allowed but may surprise.
    pub(crate) fn warnings(&self, connection: &Connection) -> Vec<String> {
        let mut lines = Vec::new();
        for (plan, endpoint) in self.targets.iter().zip(&connection.endpoints) {
            let target = &endpoint.target;
            let address = endpoint.address();
            let ways = endpoint.ways.len();
            if usize::from(plan.depth) > usize::from(target.buffer_count) * ways {
                let of_each = if ways > 1 {
                    " at each of its addresses"
                } else {
                    ""
                };
                lines.push(format!(
                    "note: depth {} is more than the Buffer Count {} of target {address}{of_each}, which may drop the excess",
                    plan.depth, target.buffer_count
                ));
            }
            for name in &endpoint.silent {
                lines.push(format!(
                    "note: target {address} does not answer on {name}, which is not used for it"
                ));
            }
        }
        lines
    }
}

/// What is done to each target.
fn targets(
    shape: &ShapeArgs,
    sectors: u8,
    seed: u64,
    connection: &Connection,
) -> Result<Vec<TargetPlan>> {
    let run = fresh_number();
    let mut plans = Vec::with_capacity(connection.endpoints.len());
    for (endpoint, index) in connection.endpoints.iter().zip(0..) {
        let address = endpoint.address();
        let before = &connection.endpoints[..plans.len()];
        if before.iter().any(|other| other.address() == address) {
            return Err(UsageError::SameTarget { address }.into());
        }
        let buffer_count = endpoint.target.buffer_count;
        let ways = u16::try_from(endpoint.ways.len()).unwrap_or(u16::MAX);
        let depth_default = buffer_count
            .clamp(1, DEPTH_DEFAULT_MAX)
            .saturating_mul(ways)
            .min(DEPTH_DEFAULT_MAX_OF_ALL);
        plans.push(TargetPlan {
            block_count: block_count(shape.range, sectors, endpoint)?,
            depth: shape.depth.unwrap_or(depth_default),
            seed: seed.wrapping_add(index),
            run: RunId(run.wrapping_add(index)),
        });
    }
    Ok(plans)
}

/// Sectors per command: as asked for, or as many as the path takes.
fn sectors(size: Option<u64>, connection: &Connection) -> Result<u8> {
    let facts = connection.interfaces.narrowest()?;
    let fit = sectors_per_frame(facts.mtu_bytes).min(usize::from(u8::MAX)) as u8;
    let counts = connection.endpoints.iter().map(|endpoint| {
        let target = &endpoint.target;
        (target.sector_count, endpoint.address())
    });
    let (accepted, address) = counts.min_by_key(|count| count.0).context("no target")?;
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
            format!("target {address} takes (Sector Count {accepted})")
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
fn block_count(range: Option<u64>, sectors: u8, endpoint: &Endpoint) -> Result<u64> {
    let lun_bytes = endpoint
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

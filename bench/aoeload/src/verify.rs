//! What `--verify` does with each command: nothing, check what a former run left, or stamp and
//! check against what this run wrote.

use crate::cli::OperationArg;
use crate::plan::{Plan, TargetPlan};
use initiator::stamp::write_block;
use initiator::{CheckCounters, Checker, Generation, GenerationModel, Mismatch, RunId, Stamp};
use port::ReceivedFrame;

/// How data are verified.
#[derive(Debug)]
pub(crate) enum Verify {
    /// Not at all.
    Off,
    /// Reads are checked against what the sectors say about themselves.
    Stamped(Checker),
    /// Writes are stamped, and reads checked against what this run wrote.
    Own {
        checker: Checker,
        model: GenerationModel,
        run: RunId,
    },
}

impl Verify {
    pub(crate) fn new(plan: &Plan, target: &TargetPlan) -> Self {
        if !plan.verify {
            return Self::Off;
        }
        let checker = Checker::new(target.run);
        if plan.operation == OperationArg::Read {
            return Self::Stamped(checker);
        }
        Self::Own {
            checker,
            // The plan limits the number of blocks to what memory holds.
            model: GenerationModel::new(target.block_count as usize),
            run: target.run,
        }
    }

    /// A write to `block` is about to be sent: fills its data. `false` when the block may not be
    /// written now.
    pub(crate) fn begin_write(&mut self, block: u64, sectors: u8, data: &mut [u8]) -> bool {
        let Self::Own { model, run, .. } = self else {
            return true;
        };
        let Some(generation) = model.begin_write(block as usize) else {
            return false;
        };
        let first = Stamp {
            lba: block * u64::from(sectors),
            run: *run,
            generation,
            block_sectors: sectors.into(),
        };
        write_block(first, data);
        true
    }

    /// A write to `block` ended.
    pub(crate) fn end_write(&mut self, block: u64, done: bool) {
        if let Self::Own { model, .. } = self {
            if done {
                model.settle(block as usize);
            } else {
                model.doubt(block as usize);
            }
        }
    }

    /// A read of `block` is about to be sent: what to remember until its answer comes.
    pub(crate) fn begin_read(&self, block: u64) -> Generation {
        match self {
            Self::Own { model, .. } => model.floor(block as usize),
            Self::Off | Self::Stamped(_) => Generation::default(),
        }
    }

    /// The answer to a read of `block` is here.
    pub(crate) fn end_read(
        &mut self,
        block: u64,
        sectors: u8,
        floor: Generation,
        frame: &ReceivedFrame<'_>,
    ) -> Result<(), Mismatch> {
        let lba = block * u64::from(sectors);
        match self {
            Self::Off => Ok(()),
            Self::Stamped(checker) => checker.check_stamped(frame, lba, sectors),
            Self::Own { checker, model, .. } => {
                let allowed = model.allowed(block as usize, floor);
                checker.check_own(frame, lba, sectors, &allowed)
            }
        }
    }

    /// The first block from `block` on that this run has written or tried to.
    pub(crate) fn next_touched(&self, block: u64) -> Option<u64> {
        let Self::Own { model, .. } = self else {
            return None;
        };
        (block as usize..model.count())
            .find(|block| model.is_touched(*block))
            .map(|block| block as u64)
    }

    /// What was found, if anything was looked at.
    pub(crate) fn counters(&self) -> Option<&CheckCounters> {
        match self {
            Self::Off => None,
            Self::Stamped(checker) | Self::Own { checker, .. } => Some(checker.counters()),
        }
    }
}

//! The stages of a request, each by itself: nanoseconds here, instructions by `bench/instructions.py`.
//!
//! A stage is code of the shelf, called as the worker calls it, for some dozens of requests of 8 KiB at a
//! time, and has a budget in the documentation of the module that it is in. What a lap begins with is
//! prepared outside of what is measured; laps of all stages take turns, so that whoever else uses the machine
//! slows all of them alike.
//!
//! Nanoseconds are this thread's on the CPU. Some stages lie in others: `parse`, `order` and `map` in
//! `admit`.

mod budget;
mod core;
mod parity;
mod target;
mod wire;

use crate::cpu_seconds;
use crate::measured::measured_part;
use anyhow::{Result, ensure};
use budget::Budget;
use clap::ValueEnum;
use serde::Serialize;

/// Requests of a lap, if a stage has no other number.
const UNITS: usize = 256;

/// Sectors of a request of 8 KiB.
const SECTORS: u8 = 16;

/// Asks for the stages.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// One stage only.
    stage: Option<Name>,
    /// How often each stage is measured.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Does so many laps of a stage where `bench/instructions.py` counts, and prints how many requests these
    /// were.
    #[arg(long, requires = "stage")]
    count: Option<usize>,
    /// Prints the budgets as JSON, and measures nothing.
    #[arg(long, conflicts_with_all = ["stage", "count"])]
    budgets: bool,
}

/// The stages, by the names that the budgets have.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    /// A request, from the ring of a port.
    Receive,
    /// Header and arguments of a frame, as views.
    Parse,
    /// From a frame to I/O: parse, address, rights, a command slot, order, map.
    Admit,
    /// A command enters the order of its LUN and leaves it.
    Order,
    /// Where the sectors lie: segments of a raid0.
    Map,
    /// The watch over an I/O: begin and end.
    Watch,
    /// An I/O of a disk in memory, with the copy.
    Execute,
    /// From finished I/O to the reply, made in place of the request, and the slot free again.
    Reply,
    /// The reply to a read, from the buffers into the ring of a port, and the kernel told to send it.
    Transmit,
    /// Writes of whole stripes of a raid5, 4 + 1, from frame to reply, without their bytes: parity, log and
    /// checksums are left out.
    Slices,
    /// P, Q and the checksums of all blocks in one pass, 8 + 2, for each block of data.
    Parity,
    /// A write in the redo log: its entry, its content, its share of the header.
    Log,
    /// The checksum of a content of the redo log.
    Checksum,
}

/// A stage that is measured.
trait Stage {
    /// Brings about what a lap begins with.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Requests of a lap.
    fn units(&self) -> usize {
        UNITS
    }

    /// A lap. Returns how many requests came out as they should: all of them.
    fn run(&mut self) -> usize;
}

impl Name {
    fn make(self) -> Result<Box<dyn Stage>> {
        Ok(match self {
            Self::Receive => Box::new(wire::Receive::new()?),
            Self::Parse => Box::new(core::Parse::new()),
            Self::Admit => Box::new(target::Admit::new()?),
            Self::Order => Box::new(core::Ordering::new()),
            Self::Map => Box::new(core::Map::new()?),
            Self::Watch => Box::new(core::Watch::new()),
            Self::Execute => Box::new(target::Execute::new()?),
            Self::Reply => Box::new(target::Replying::new()?),
            Self::Transmit => Box::new(wire::Transmit::new()?),
            Self::Slices => Box::new(parity::Slices::new()?),
            Self::Parity => Box::new(parity::Parity::new()),
            Self::Log => Box::new(parity::Log::new()?),
            Self::Checksum => Box::new(parity::Checksum::new()),
        })
    }

    fn text(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// A stage with what its laps took, in nanoseconds for each request.
struct Laps {
    name: Name,
    stage: Box<dyn Stage>,
    each_ns: Vec<f64>,
}

impl Laps {
    fn new(name: Name) -> Result<Self> {
        let mut laps = Self {
            name,
            stage: name.make()?,
            each_ns: Vec::new(),
        };
        // The first one finds nothing in the caches.
        laps.lap(&mut |work| work())?;
        Ok(laps)
    }

    /// Does a lap; `around` does its measured part.
    fn lap(&mut self, around: &mut dyn FnMut(&mut dyn FnMut())) -> Result<()> {
        self.stage.prepare()?;
        let mut done = 0;
        around(&mut || done = self.stage.run());
        let (name, units) = (self.name.text(), self.stage.units());
        ensure!(done == units, "{name}: {done} of {units} requests came out");
        Ok(())
    }

    fn time(&mut self) -> Result<()> {
        let mut seconds = 0.0;
        self.lap(&mut |work| {
            let start = cpu_seconds();
            work();
            seconds = cpu_seconds() - start;
        })?;
        self.each_ns.push(seconds / self.stage.units() as f64 * 1e9);
        Ok(())
    }

    fn figures(mut self) -> Result<Figures> {
        self.each_ns.sort_unstable_by(f64::total_cmp);
        Ok(Figures {
            stage: self.name.text(),
            min_ns: self.each_ns[0],
            median_ns: self.each_ns[self.each_ns.len() / 2],
            budget: Budget::of(self.name)?,
        })
    }
}

/// What a stage takes.
#[derive(Serialize, Debug)]
struct Figures {
    stage: String,
    min_ns: f64,
    median_ns: f64,
    budget: Budget,
}

/// Measures stages, or does what counts their instructions.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.budgets {
        println!("{}", serde_json::to_string(&budget::all()?)?);
        return Ok(());
    }
    ensure!(arguments.rounds > 0, "--rounds 0 measures nothing");
    let all = Name::value_variants().iter().copied();
    let is_meant = |name: &Name| arguments.stage.is_none_or(|stage| stage == *name);
    let mut stages = all
        .filter(is_meant)
        .map(Laps::new)
        .collect::<Result<Vec<_>>>()?;
    if let (Some(laps), Some(stage)) = (arguments.count, stages.first_mut()) {
        (0..laps).try_for_each(|_| stage.lap(&mut |work| measured_part(work)))?;
        println!("{}", laps * stage.stage.units());
        return Ok(());
    }
    for _ in 0..arguments.rounds {
        stages.iter_mut().try_for_each(Laps::time)?;
    }
    let figures = stages.into_iter().map(Laps::figures);
    let figures = figures.collect::<Result<Vec<Figures>>>()?;
    if arguments.json {
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    println!(
        "{:10} {:>8} {:>8} {:>8}",
        "stage", "min", "median", "budget"
    );
    for of in &figures {
        let Figures { stage, min_ns, .. } = of;
        let (median_ns, budget_ns) = (of.median_ns, of.budget.ns);
        println!("{stage:10} {min_ns:5.0} ns {median_ns:5.0} ns {budget_ns:5} ns");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_does_all_that_is_counted_lap_after_lap() {
        for name in Name::value_variants() {
            let mut laps = Laps::new(*name).unwrap();
            for _ in 0..4 {
                laps.time().unwrap();
            }
        }
    }

    #[test]
    fn every_stage_has_a_budget() {
        assert_eq!(budget::all().unwrap().len(), Name::value_variants().len());
    }
}

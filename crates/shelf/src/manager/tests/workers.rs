//! Whoever carries out jobs on the drives of the tests: step by step, when the test wants it.

use super::memory::{Image, Power, Tear};
use crate::job::{
    Job, JobHandle, JobReport, JobSource, Pace, Step, StepEnd, StepKind, fill_pattern,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Work {
    job: Job,
    /// The drive that it copies, and what was fetched from there.
    source: Option<Box<dyn JobSource>>,
    fetched: Vec<u8>,
    image: Arc<Mutex<Image>>,
    power: Arc<Mutex<Power>>,
    pace: Pace,
    is_to_stop: bool,
    /// The test told the administration of the end.
    is_over: bool,
}

/// All jobs that were begun, oldest first.
#[derive(Clone, Default)]
pub(super) struct Works(Arc<Mutex<Vec<Arc<Mutex<Work>>>>>);

pub(super) struct MemoryJob(Arc<Mutex<Work>>);

impl MemoryJob {
    pub(super) fn begin(
        works: &Works,
        (image, power): (Arc<Mutex<Image>>, Arc<Mutex<Power>>),
        job: Job,
        source: Option<Box<dyn JobSource>>,
        pace: Pace,
    ) -> Self {
        let work = Arc::new(Mutex::new(Work {
            job,
            source,
            fetched: Vec::new(),
            image,
            power,
            pace,
            is_to_stop: false,
            is_over: false,
        }));
        works.0.lock().unwrap().push(Arc::clone(&work));
        Self(work)
    }
}

impl JobHandle for MemoryJob {
    fn report(&self) -> JobReport {
        let work = self.0.lock().unwrap();
        let mut progress = work.job.progress().clone();
        if !work.is_over {
            progress.end = None;
        }
        JobReport {
            progress,
            ..JobReport::default()
        }
    }

    fn set_pace(&mut self, pace: Pace) {
        self.0.lock().unwrap().pace = pace;
    }

    fn stop(&mut self) {
        self.0.lock().unwrap().is_to_stop = true;
    }

    /// The drive answers, unless it is silent.
    fn join(&mut self, _: Duration) -> bool {
        let mut work = self.0.lock().unwrap();
        work.step();
        work.is_over
    }
}

impl Work {
    /// One step, unless its drive is silent. Whether it goes on.
    fn step(&mut self) -> bool {
        if self.image.lock().unwrap().is_silent {
            return false;
        }
        if self.is_to_stop {
            self.job.stop();
        }
        let Some(step) = self.job.next() else {
            self.is_over = true;
            return false;
        };
        let end = self.carry_out(step);
        self.job.ended(end, Duration::from_millis(1));
        self.is_over = self.job.next().is_none();
        !self.is_over
    }

    fn carry_out(&mut self, step: Step) -> StepEnd {
        if let (StepKind::Fetch, Some(source)) = (step.kind, &mut self.source) {
            self.fetched = vec![0; usize::try_from(step.sectors).unwrap() * 512];
            return source.read(step.sector, &mut self.fetched);
        }
        let mut image = self.image.lock().unwrap();
        let range = step.sector..step.sector + step.sectors;
        if image.bad.range(range.clone()).next().is_some() {
            return StepEnd::Failed("Input/output error".to_owned());
        }
        let reads = matches!(step.kind, StepKind::Read | StepKind::Compare);
        if reads && image.unreadable.range(range).next().is_some() {
            return StepEnd::Failed("Medium error".to_owned());
        }
        if !image.is_present {
            return StepEnd::Gone("the drive is gone: No such device".to_owned());
        }
        let mut sectors = vec![0; usize::try_from(step.sectors).unwrap() * 512];
        match step.kind {
            StepKind::Flush | StepKind::Read => return StepEnd::Done,
            StepKind::Compare => {
                let mut wanted = sectors.clone();
                image.read(step.sector, &mut sectors);
                fill_pattern(step.sector, &mut wanted);
                return if sectors == wanted {
                    StepEnd::Done
                } else {
                    StepEnd::Failed("it does not read as it was written".to_owned())
                };
            }
            StepKind::Write => fill_pattern(step.sector, &mut sectors),
            StepKind::Store => {
                assert_eq!(self.fetched.len(), sectors.len());
                sectors.clone_from(&self.fetched);
            }
            StepKind::Fetch => panic!("there is nothing to copy"),
            StepKind::Zero | StepKind::Rewrite => {}
        }
        match self.power.lock().unwrap().write() {
            (Tear::Everything, true) => image.write(step.sector, &sectors),
            (Tear::Nothing, _) => return StepEnd::Gone("no power".to_owned()),
            // Of a step that was cut every other sector is done.
            _ => {
                for (at, bytes) in (step.sector..).zip(sectors.chunks(512)).step_by(2) {
                    image.write(at, bytes);
                }
                return StepEnd::Gone("no power".to_owned());
            }
        }
        StepEnd::Done
    }
}

/// A drive that is copied.
pub(super) struct MemorySource(pub(super) Arc<Mutex<Image>>);

impl JobSource for MemorySource {
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> StepEnd {
        let image = self.0.lock().unwrap();
        let range = sector..sector + (buffer.len() / 512) as u64;
        if !image.is_present {
            return StepEnd::Gone("the old drive is gone: No such device".to_owned());
        }
        let mut failing = image.bad.range(range.clone());
        if failing.next().is_some() || image.unreadable.range(range).next().is_some() {
            return StepEnd::Failed("Medium error".to_owned());
        }
        image.read(sector, buffer);
        StepEnd::Done
    }
}

impl Works {
    /// So many steps of each job that goes on.
    pub(super) fn step(&self, steps: usize) {
        for work in self.0.lock().unwrap().iter() {
            let mut work = work.lock().unwrap();
            (0..steps).all(|_| work.step());
        }
    }

    /// All of them to their end.
    pub(super) fn finish(&self) {
        self.step(usize::MAX);
    }

    /// What the last one was told of its pace.
    pub(super) fn pace(&self) -> Pace {
        let works = self.0.lock().unwrap();
        works.last().unwrap().lock().unwrap().pace
    }
}

//! The thread that asks drives for their health, one after the other, and changes what is to be changed.
//!
//! Each is asked every ten minutes, or as the configuration has it, once a minute while it tests itself,
//! after half a minute when it says for the first time that it will fail (nothing is done for one answer
//! alone), and at once when it is another one than before or was changed. What it tells, or that it does not,
//! goes to the administration, which is locked for no longer than to take it.

use super::{For, Hardware};
use crate::administration::Administration;
use console::host::{HostError, Task};
use disk::DriveSpec;
use disk::facts::{Facts, System};
use disk::smart::{SmartError, Smartctl};
use shelf::admin::{Admin, DriveSlot, DriveState, DriveStatus};
use shelf::smart::{Smart, SmartChange};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// From one question to the next while the drive tests itself.
const PERIOD_TESTING: Duration = Duration::from_mins(1);

/// When drives are asked again while they cannot be: somebody may install `smartctl`.
const PERIOD_UNABLE: Duration = Duration::from_secs(20);

/// When a drive is asked again that says that it will fail, and has not said so before.
const PERIOD_DOUBT: Duration = Duration::from_secs(30);

/// How often it is looked which drives there are.
const ROUND: Duration = Duration::from_secs(10);

/// How long an answer may take. Disks that wake up for a change take some ten seconds.
const DEADLINE: Duration = Duration::from_secs(45);

/// What is known of a drive that was asked.
struct Known {
    path: String,
    what: What,
    /// When it is asked again; `None` for never.
    due: Option<Instant>,
    /// Whether it told anything.
    has_told: bool,
    /// What was logged of it last.
    complaint: String,
}

/// What a drive is to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// A block device: which of all disks since boot.
    Device(Option<u64>),
    /// A file, or memory: it has no health.
    Plain,
    /// It is pulled, and the shelf does not know that yet.
    Gone,
}

impl What {
    fn of(path: &str) -> Self {
        match path.parse() {
            Ok(DriveSpec::Path(file)) => match (
                Facts::of_path(&System::default(), &file),
                std::fs::metadata(&file),
            ) {
                (Some(facts), _) => Self::Device(facts.sequence),
                (None, Ok(metadata)) if metadata.is_file() => Self::Plain,
                (None, _) => Self::Gone,
            },
            Ok(_) => Self::Plain,
            Err(_) => Self::Gone,
        }
    }
}

/// What came of asking a drive.
enum Told {
    Health(Smart),
    /// Why it did not tell.
    Nothing(String),
}

/// Asks and changes drives until the process ends. `interval` is from one question to the next; without it
/// none are asked.
pub(crate) fn run(
    hardware: &Hardware,
    administration: &Administration,
    interval: Option<Duration>,
) {
    let mut poller = Poller {
        smartctl: Smartctl::new(DEADLINE),
        known: BTreeMap::new(),
    };
    let mut round = Instant::now();
    loop {
        let patience = round.saturating_duration_since(Instant::now());
        if let Some((number, task)) = hardware.next(For::Smart, patience) {
            hardware.done(number, poller.change(task));
            round = Instant::now();
            continue;
        }
        let drives = administration.lock().drives();
        // One at a time, so that nobody waits for all of them.
        let has_asked = interval.is_some_and(|interval| {
            let told = poller.ask_next(&drives, interval, hardware);
            told.is_some_and(|(drive, told)| {
                if let Some(told) = told {
                    hear(administration, drive, told);
                }
                true
            })
        });
        if !has_asked {
            round = Instant::now() + ROUND;
        }
    }
}

/// Hands the administration what came of asking a drive.
fn hear(administration: &Administration, drive: &DriveStatus, told: Told) {
    let mut manager = administration.lock();
    match told {
        Told::Health(smart) => manager.drive_told(drive.slot, &drive.path, smart),
        Told::Nothing(reason) => manager.drive_not_told(drive.slot, &drive.path, reason),
    }
}

struct Poller {
    smartctl: Smartctl,
    known: BTreeMap<DriveSlot, Known>,
}

impl Poller {
    /// Asks the first drive that is due. Returns which it was, and what came of it, unless that is nothing to
    /// tell of.
    fn ask_next<'a>(
        &mut self,
        drives: &'a [DriveStatus],
        interval: Duration,
        hardware: &Hardware,
    ) -> Option<(&'a DriveStatus, Option<Told>)> {
        let up = |drive: &&DriveStatus| drive.state == DriveState::Up;
        self.known
            .retain(|slot, _| drives.iter().any(|drive| up(&drive) && drive.slot == *slot));
        for drive in drives.iter().filter(up) {
            let what = What::of(&drive.path);
            if what == What::Gone || !self.is_due(drive, what) {
                continue;
            }
            let known = self.known(drive, what, interval);
            let told = if what == What::Plain {
                (known.due, known.has_told) = (None, true);
                Some(Told::Health(unsupported()))
            } else {
                self.ask(drive, what, interval, hardware)
            };
            // It may be gone meanwhile, and another one in its place: then nothing is known.
            let is_same = What::of(&drive.path) == what;
            return Some((drive, told.filter(|_| is_same)));
        }
        None
    }

    fn is_due(&self, drive: &DriveStatus, what: What) -> bool {
        let Some(known) = self.known.get(&drive.slot) else {
            return true;
        };
        let is_another = known.path != drive.path || known.what != what;
        let is_forgotten = known.has_told && drive.smart.is_none();
        is_another || is_forgotten || known.due.is_some_and(|due| due <= Instant::now())
    }

    fn known(&mut self, drive: &DriveStatus, what: What, interval: Duration) -> &mut Known {
        let new = || Known {
            path: drive.path.clone(),
            what,
            due: Some(Instant::now() + interval),
            has_told: false,
            complaint: String::new(),
        };
        let known = self.known.entry(drive.slot).or_insert_with(new);
        if known.path != drive.path || known.what != what {
            *known = new();
        }
        known
    }

    fn ask(
        &mut self,
        drive: &DriveStatus,
        what: What,
        interval: Duration,
        hardware: &Hardware,
    ) -> Option<Told> {
        let answer = self.smartctl.read(Path::new(&drive.path));
        let slot = drive.slot;
        let known = self.known(drive, what, interval);
        known.due = Some(Instant::now() + interval);
        let error = match answer {
            Ok(smart) => {
                hardware.lock().smart_fault = None;
                if smart.self_test.remaining_percent.is_some() {
                    known.due = Some(Instant::now() + interval.min(PERIOD_TESTING));
                }
                if smart.predicts_failure && !drive.is_failing {
                    known.due = Some(Instant::now() + PERIOD_DOUBT);
                }
                known.has_told = true;
                known.complaint.clear();
                return Some(Told::Health(smart));
            }
            Err(SmartError::Asleep) => return None,
            // Virtual disks have no health, and are asked again all the same: `smartctl` may be a newer one.
            Err(SmartError::UnknownKind(_)) if !known.has_told => {
                hardware.lock().smart_fault = None;
                return Some(Told::Health(unsupported()));
            }
            Err(error) => error,
        };
        let text = error.to_string();
        if matches!(error, SmartError::NotInstalled | SmartError::CannotRun(_)) {
            known.due = Some(Instant::now() + interval.min(PERIOD_UNABLE));
            let mut state = hardware.lock();
            if state.smart_fault.as_ref() != Some(&text) {
                tracing::warn!("what drives tell of their health (SMART) is not known: {text}");
                state.smart_fault = Some(text);
            }
            return None;
        }
        if known.complaint != text {
            tracing::warn!("slot {slot}: what it tells of its health (SMART) is not known: {text}");
            known.complaint.clone_from(&text);
        }
        // What it has told before is kept.
        Some(Told::Nothing(text))
    }

    /// Changes something about a drive, which is asked soon after that.
    fn change(&mut self, task: Task) -> Result<(), HostError> {
        let Task::Smart { slot, path, change } = task else {
            return Err(HostError::Refused("not about a drive".to_owned()));
        };
        let changed = self.smartctl.change(Path::new(&path), change);
        if let Some(known) = self.known.get_mut(&slot) {
            known.due = Some(Instant::now());
        }
        let what = match change {
            SmartChange::Enable(true) => "keeps count of its health",
            SmartChange::Enable(false) => "keeps no count of its health",
            SmartChange::Timers(_) => "has other timers",
            SmartChange::SelfTest(_) => "tests itself",
            SmartChange::AbortSelfTest => "does not test itself any more",
        };
        match changed {
            Ok(()) => {
                tracing::info!("slot {slot}: the drive {what}");
                Ok(())
            }
            Err(error) => Err(HostError::Refused(error.to_string())),
        }
    }
}

/// Of a drive that cannot tell anything.
fn unsupported() -> Smart {
    Smart {
        is_supported: Some(false),
        ..Smart::default()
    }
}

//! The thread that asks drives for their health, one after the other, and changes what is to be changed.
//!
//! Each is asked every ten minutes, once a minute while it tests itself, and at once when it is another one
//! than before or was changed. What it tells goes to the administration, which is locked for no longer than
//! to take it.

use super::{For, Hardware};
use crate::administration::Administration;
use console::host::{HostError, Task};
use disk::facts::{Facts, System};
use disk::smart::{SmartError, Smartctl};
use shelf::admin::{Admin, DriveSlot, DriveState, DriveStatus};
use shelf::smart::{Smart, SmartChange};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// From one question to the next.
const PERIOD: Duration = Duration::from_mins(10);

/// The same while the drive tests itself.
const PERIOD_TESTING: Duration = Duration::from_mins(1);

/// How often it is looked which drives there are.
const ROUND: Duration = Duration::from_secs(10);

/// How long an answer may take. Disks that wake up for a change take some ten seconds.
const DEADLINE: Duration = Duration::from_secs(45);

/// What is known of a drive that was asked.
struct Known {
    path: String,
    sequence: Option<u64>,
    /// When it is asked again; `None` for never.
    due: Option<Instant>,
    /// Whether it told anything.
    has_told: bool,
    /// What was logged of it last.
    complaint: String,
}

/// Asks and changes drives until the process ends.
pub(crate) fn run(hardware: &Hardware, administration: &Administration) {
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
        if !poller.ask_next(&drives, hardware, administration) {
            round = Instant::now() + ROUND;
        }
    }
}

struct Poller {
    smartctl: Smartctl,
    known: BTreeMap<DriveSlot, Known>,
}

/// Which of all disks since boot a block device is; `None` for what is none.
fn sequence_of(path: &str) -> Option<Option<u64>> {
    let facts = Facts::of_path(&System::default(), Path::new(path))?;
    Some(facts.sequence)
}

impl Poller {
    /// Asks the first drive that is due. Returns whether there was one.
    fn ask_next(
        &mut self,
        drives: &[DriveStatus],
        hardware: &Hardware,
        administration: &Administration,
    ) -> bool {
        let up = |drive: &&DriveStatus| drive.state == DriveState::Up;
        self.known
            .retain(|slot, _| drives.iter().any(|drive| up(&drive) && drive.slot == *slot));
        for drive in drives.iter().filter(up) {
            let sequence = sequence_of(&drive.path);
            if !self.is_due(drive, sequence.flatten()) {
                continue;
            }
            let smart = match sequence {
                None => {
                    let known = self.known(drive, None);
                    (known.due, known.has_told) = (None, true);
                    Some(unsupported())
                }
                Some(sequence) => self.ask(drive, sequence, hardware),
            };
            // Another one may have come in its place meanwhile.
            let is_same = sequence_of(&drive.path) == sequence;
            if let Some(smart) = smart.filter(|_| is_same) {
                let mut manager = administration.lock();
                manager.drive_told(drive.slot, &drive.path, Some(smart));
            }
            return true;
        }
        false
    }

    fn is_due(&self, drive: &DriveStatus, sequence: Option<u64>) -> bool {
        let Some(known) = self.known.get(&drive.slot) else {
            return true;
        };
        let is_another = known.path != drive.path || known.sequence != sequence;
        let is_forgotten = known.has_told && drive.smart.is_none();
        is_another || is_forgotten || known.due.is_some_and(|due| due <= Instant::now())
    }

    fn known(&mut self, drive: &DriveStatus, sequence: Option<u64>) -> &mut Known {
        let new = || Known {
            path: drive.path.clone(),
            sequence,
            due: Some(Instant::now() + PERIOD),
            has_told: false,
            complaint: String::new(),
        };
        let known = self.known.entry(drive.slot).or_insert_with(new);
        if known.path != drive.path || known.sequence != sequence {
            *known = new();
        }
        known
    }

    fn ask(
        &mut self,
        drive: &DriveStatus,
        sequence: Option<u64>,
        hardware: &Hardware,
    ) -> Option<Smart> {
        let answer = self.smartctl.read(Path::new(&drive.path));
        let slot = drive.slot;
        let known = self.known(drive, sequence);
        known.due = Some(Instant::now() + PERIOD);
        let error = match answer {
            Ok(smart) => {
                hardware.lock().smart_fault = None;
                if smart.self_test.remaining_percent.is_some() {
                    known.due = Some(Instant::now() + PERIOD_TESTING);
                }
                known.has_told = true;
                known.complaint.clear();
                return Some(smart);
            }
            Err(SmartError::Asleep) => return None,
            Err(error) => error,
        };
        let text = error.to_string();
        if matches!(error, SmartError::NotInstalled | SmartError::CannotRun(_)) {
            let mut state = hardware.lock();
            if state.smart_fault.as_ref() != Some(&text) {
                tracing::warn!("what drives tell of their health (SMART) is not known: {text}");
                state.smart_fault = Some(text);
            }
            return None;
        }
        if known.complaint != text {
            tracing::info!("slot {slot}: what it tells of its health (SMART) is not known: {text}");
            known.complaint = text;
        }
        // Virtual disks tell nothing. One that has told something and hangs now keeps what it has told.
        let is_mute = matches!(error, SmartError::Other(_)) && !known.has_told;
        is_mute.then(unsupported)
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

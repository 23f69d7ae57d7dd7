//! Drives themselves, their slots, and sensors: `smartlog`, `selftest`, `setslotled`, `temp` and their like.
//!
//! Listings show what was found out last. What is changed takes seconds and is not waited for under the lock:
//! [`Tasks`] asks after it, one after the other.

mod leds;
mod sensors;
mod smart;

pub(super) use smart::{miss_words, running_self_tests};

use super::{Outcome, Watch};
use crate::command::{HardwareVerb, Invocation};
use crate::host::{HostError, LedState, Task, World};
use crate::names::{drive_name, parse_drive};
use crate::problem::Problem;
use crate::report::Report;
use shelf::admin::{Admin, AdminError, DriveStatus};
use std::collections::VecDeque;
use std::time::Duration;

/// How often it is asked whether something is done.
const PERIOD: Duration = Duration::from_millis(100);

/// Runs a command.
pub(super) fn run(verb: HardwareVerb, invocation: &Invocation, world: &mut World<'_>) -> Outcome {
    let mut report = Report::default();
    let words = invocation.operands.as_slice();
    match verb {
        HardwareVerb::SmartLog => smart::log(&mut report, world, words),
        HardwareVerb::SmartEnable => return smart::enable(world, true, words),
        HardwareVerb::SmartDisable => return smart::enable(world, false, words),
        HardwareVerb::SsdHealth => smart::life(&mut report, world, words),
        HardwareVerb::DriveTemp => smart::temperatures(&mut report, world, words),
        HardwareVerb::ErcTimers => return smart::timers(world, &invocation.options, words),
        HardwareVerb::SelfTest => return smart::self_test(world, invocation.command.usage, words),
        HardwareVerb::SetSlotLed => return leds::set(world, words),
        HardwareVerb::SlotLed => leds::list(&mut report, world, words),
        HardwareVerb::SpareLed => leds::spares(&mut report, world, words),
        HardwareVerb::Locate => return leds::locate(world, invocation.command.usage, words),
        HardwareVerb::Temp => sensors::temperatures(&mut report, world),
        HardwareVerb::Fans => sensors::fans(&mut report, world),
        HardwareVerb::Power => sensors::supplies(&mut report, world),
    }
    report.into()
}

/// The drives that words name, with their names; all when there are no words.
fn chosen(
    admin: &dyn Admin,
    words: &[String],
) -> Result<Vec<(String, DriveStatus)>, (Problem, usize)> {
    let (shelf, drives) = (admin.shelf(), admin.drives());
    if words.is_empty() {
        let named = drives.into_iter();
        return Ok(named
            .map(|drive| (drive_name(shelf, drive.slot), drive))
            .collect());
    }
    let mut chosen = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let drive = parse_drive(word, shelf).and_then(|slot| {
            let drive = drives.iter().find(|drive| drive.slot == slot);
            drive.ok_or_else(|| AdminError::NoSuchDrive(word.clone()).into())
        });
        match drive {
            Ok(drive) => chosen.push((word.clone(), drive.clone())),
            Err(problem) => return Err((problem, index + 1)),
        }
    }
    Ok(chosen)
}

/// Refuses something about a drive, in the words of Coraid's shelves: `S.N: not supported`.
fn refusal(name: &str, reason: &str) -> Problem {
    HostError::Refused(format!("{name}: {reason}")).into()
}

/// Things that are to be done one after the other, each with the word that named it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tasks {
    /// The one that is under way, and its number.
    current: Option<(u64, String)>,
    left: VecDeque<(String, Task)>,
}

impl Tasks {
    fn new(tasks: impl IntoIterator<Item = (String, Task)>) -> Self {
        Self {
            current: None,
            left: tasks.into_iter().collect(),
        }
    }

    /// Goes on until one is not done yet, or failed.
    pub(super) fn go_on(mut self, world: &mut World<'_>, mut report: Report) -> Outcome {
        loop {
            let Some((number, word)) = self.current.take() else {
                let Some((word, task)) = self.left.pop_front() else {
                    return report.into();
                };
                match world.host.begin(task) {
                    Ok(number) => self.current = Some((number, word)),
                    Err(error) => return self.fail(report, &word, &error),
                }
                continue;
            };
            match world.host.finished(number) {
                None => {
                    self.current = Some((number, word));
                    return Outcome {
                        report,
                        pending: None,
                        watch: Some((PERIOD, Watch::Hardware(self))),
                    };
                }
                Some(Ok(())) => {}
                Some(Err(error)) => return self.fail(std::mem::take(&mut report), &word, &error),
            }
        }
    }

    fn fail(self, mut report: Report, word: &str, error: &HostError) -> Outcome {
        let rest: Vec<String> = self.left.into_iter().map(|(word, _)| word).collect();
        report.fail(refusal(word, &error.to_string()), &rest);
        report.into()
    }
}

/// The word for what an LED shows.
fn led_state(word: &str) -> Option<LedState> {
    LedState::ALL.into_iter().find(|state| state.name() == word)
}

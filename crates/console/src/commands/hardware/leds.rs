//! The LEDs of slots.

use super::{Outcome, Tasks, chosen, led_state, refusal};
use crate::commands::machine::change;
use crate::host::{LedState, Task, World};
use crate::names::{decimal, parse_drive};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use shelf::admin::{AdminError, DriveSlot};

/// Longest time that a drive can be located: a week.
const MINUTES_MAX: u64 = 7 * 24 * 60;

/// Reads a bare slot number, or the name of a drive. A slot that has an LED is one also without a drive.
fn slot(world: &World<'_>, word: &str) -> Result<DriveSlot, Problem> {
    let admin = &*world.admin;
    let bare = decimal(word).and_then(|number| u16::try_from(number).ok());
    let slot = match bare {
        Some(number) => DriveSlot(number),
        None => parse_drive(word, admin.shelf())?,
    };
    let has_drive = || admin.drives().iter().any(|drive| drive.slot == slot);
    let has_led = || {
        let leds = world.host.leds();
        leds.is_ok_and(|leds| leds.iter().any(|led| led.slot == slot))
    };
    let is_known = has_drive() || has_led();
    let unknown = || AdminError::NoSuchDrive(word.to_owned()).into();
    is_known.then_some(slot).ok_or_else(unknown)
}

/// Sets what LEDs show: the state stands before the slots, or behind them, as before release 6.2.1.
pub(super) fn set(world: &mut World<'_>, words: &[String]) -> Outcome {
    let (first, last) = (&words[0], &words[words.len() - 1]);
    let (state, slots) = match (led_state(first), led_state(last)) {
        (Some(state), _) => (state, &words[1..]),
        (None, Some(state)) => (state, &words[..words.len() - 1]),
        (None, None) => return Report::from(Problem::InvalidLedState(first.clone())).into(),
    };
    begin(world, slots, state, None)
}

/// Begins with all of them, or with none.
fn begin(
    world: &mut World<'_>,
    words: &[String],
    state: LedState,
    seconds: Option<u64>,
) -> Outcome {
    let mut tasks = Vec::new();
    for word in words {
        match slot(world, word) {
            Ok(slot) => {
                let task = Task::Led {
                    slot,
                    state,
                    seconds,
                };
                tasks.push((word.clone(), task));
            }
            Err(problem) => return Report::from(problem).into(),
        }
    }
    Tasks::new(tasks).go_on(world, Report::default())
}

/// Lets the LEDs of drives blink.
pub(super) fn locate(world: &mut World<'_>, usage: &'static str, words: &[String]) -> Outcome {
    let state = match words[0].as_str() {
        "on" => LedState::Locate,
        "off" => LedState::Off,
        word => return Report::from(Problem::NotOnOff(word.to_owned())).into(),
    };
    let (drives, minutes) = match words[1..].split_last() {
        Some((last, drives)) if !last.contains('.') => (drives, Some(last)),
        _ => (&words[1..], None),
    };
    if drives.is_empty() || (minutes.is_some() && state == LedState::Off) {
        return Report::from(Problem::Usage(usage)).into();
    }
    let seconds = match minutes {
        None => None,
        Some(word) => {
            let minutes = decimal(word).filter(|minutes| (1..=MINUTES_MAX).contains(minutes));
            let Some(minutes) = minutes else {
                return Report::from(Problem::InvalidMinutes(word.clone())).into();
            };
            Some(minutes * 60)
        }
    };
    if let Err((problem, _)) = chosen(world.admin, drives) {
        return Report::from(problem).into();
    }
    begin(world, drives, state, seconds)
}

/// Lists what LEDs show.
pub(super) fn list(report: &mut Report, world: &World<'_>, words: &[String]) {
    let mut wanted = Vec::new();
    for (index, word) in words.iter().enumerate() {
        match slot(world, word) {
            Ok(slot) => wanted.push(slot),
            Err(problem) => return report.fail(problem, &words[index + 1..]),
        }
    }
    let leds = match world.host.leds() {
        Ok(leds) => leds,
        Err(error) => {
            return match words.split_first() {
                Some((first, rest)) => report.fail(refusal(first, &error.to_string()), rest),
                None => report.fail(error, &[]),
            };
        }
    };
    let wanted = |slot: DriveSlot| words.is_empty() || wanted.contains(&slot);
    report.line(format!("{:<5} {:>9}", "SLOT", "STATE"));
    for led in leds.iter().filter(|led| wanted(led.slot)) {
        let state = led.state.name();
        let record = Record::SlotLed {
            slot: led.slot.0,
            state,
        };
        report.row(format!("{:<5} {state:>9}", led.slot.to_string()), record);
    }
}

/// Tells or sets whether LEDs show spares.
pub(super) fn spares(report: &mut Report, world: &mut World<'_>, words: &[String]) {
    let on = match words.first().map(String::as_str) {
        None => {
            let enabled = world.host.settings().spare_leds;
            let word = if enabled { "enabled" } else { "disabled" };
            return report.row(word.to_owned(), Record::SpareLeds { enabled });
        }
        Some("enable") => true,
        Some("disable") => false,
        Some(_) => return report.fail(Problem::Usage("spareled [enable | disable] [-j]"), &[]),
    };
    change(report, world, |settings| settings.spare_leds = on);
}

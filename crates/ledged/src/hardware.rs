//! Drives, slots and sensors as the consoles use them: [`console::host::Hardware`].
//!
//! Two threads do what may take long, `smart` ([`smart`]) and `chassis` ([`chassis`]), and neither holds the
//! lock of the administration meanwhile. What they are asked for waits here, and what came of it.

mod chassis;
mod smart;

use crate::administration::Administration;
use crate::store::StateDir;
use crate::threads::spawn;
use console::host::{HostError, Sensors, SlotLed, Task, Trouble};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most that waits to be done, and most results that nobody has asked for.
const TASKS_MAX: usize = 1024;

/// What consoles and the two threads share.
#[derive(Clone, Default)]
pub(crate) struct Hardware(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to do.
    begun: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    waiting: VecDeque<(u64, Task)>,
    done: BTreeMap<u64, Result<(), HostError>>,
    /// Why drives cannot be asked.
    smart_fault: Option<String>,
    /// Drives are not to be asked.
    asks_nobody: bool,
    leds: Vec<SlotLed>,
    shows_spares: bool,
    sensors: Sensors,
}

/// For which of the two threads something is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Smart,
    Chassis,
}

impl For {
    fn is_for(self, task: &Task) -> bool {
        match task {
            Task::Smart { .. } => self == Self::Smart,
            Task::Led { .. } => self == Self::Chassis,
        }
    }
}

impl Hardware {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next thing to do; waits so long for one.
    fn next(&self, whom: For, patience: Duration) -> Option<(u64, Task)> {
        let position = |state: &State| state.waiting.iter().position(|(_, task)| whom.is_for(task));
        let state = self.lock();
        let waited = self
            .0
            .begun
            .wait_timeout_while(state, patience, |state| position(state).is_none());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let index = position(&state)?;
        state.waiting.remove(index)
    }

    fn done(&self, number: u64, result: Result<(), HostError>) {
        let mut state = self.lock();
        if state.done.len() >= TASKS_MAX {
            state.done.pop_first();
        }
        state.done.insert(number, result);
    }

    /// Starts the two threads. Drives are asked for their health so often, or never. Where disks are found,
    /// `numbers` has the slots of bays.
    pub(crate) fn serve(
        &self,
        administration: &Administration,
        smart_interval: Option<Duration>,
        numbers: Option<StateDir>,
    ) -> anyhow::Result<()> {
        self.lock().asks_nobody = smart_interval.is_none();
        crate::helper::ask_for_drives();
        let (hardware, shelf) = (self.clone(), administration.clone());
        spawn("smart", move || {
            smart::run(&hardware, &shelf, smart_interval);
        })?;
        let (hardware, shelf) = (self.clone(), administration.clone());
        spawn("chassis", move || {
            chassis::run(&hardware, &shelf, numbers);
        })
    }

    /// What is wrong with all drives at once: nobody would hear that one will fail.
    pub(crate) fn troubles(&self) -> Option<Trouble> {
        let problem = self.lock().smart_fault.clone()?;
        Some(Trouble {
            subject: "health of drives (SMART)".to_owned(),
            problem: format!("is not known: {problem}"),
            advice: "no drive is replaced before it fails until then".to_owned(),
        })
    }

    /// Whether LEDs show spares.
    pub(crate) fn show_spares(&self, shows: bool) {
        self.lock().shows_spares = shows;
    }
}

impl console::host::Hardware for Hardware {
    fn smart_fault(&self) -> Option<String> {
        let state = self.lock();
        if state.asks_nobody {
            let text = "drives are not asked for their health: smart_interval_minutes is 0";
            return Some(text.to_owned());
        }
        state.smart_fault.clone()
    }

    fn begin(&mut self, task: Task) -> Result<u64, HostError> {
        let mut state = self.lock();
        if state.waiting.len() >= TASKS_MAX {
            let text = "too much is to be done already; try again later";
            return Err(HostError::Refused(text.to_owned()));
        }
        let number = state.next;
        state.next += 1;
        state.waiting.push_back((number, task));
        drop(state);
        self.0.begun.notify_all();
        Ok(number)
    }

    fn finished(&mut self, number: u64) -> Option<Result<(), HostError>> {
        self.lock().done.remove(&number)
    }

    fn leds(&self) -> Result<Vec<SlotLed>, HostError> {
        let leds = self.lock().leds.clone();
        if leds.is_empty() {
            let text = "this box has no LEDs of slots that the kernel knows; setslotled tries ledctl of the \
                        package ledmon";
            return Err(HostError::Refused(text.to_owned()));
        }
        Ok(leds)
    }

    fn sensors(&self) -> Sensors {
        self.lock().sensors.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::host::{Hardware as _, LedState};
    use shelf::admin::DriveSlot;

    fn led(slot: u16) -> Task {
        Task::Led {
            slot: DriveSlot(slot),
            state: LedState::Fault,
            seconds: None,
        }
    }

    #[test]
    fn each_thread_finds_what_is_for_it_and_results_are_told_once() {
        let mut hardware = Hardware::default();
        let first = hardware.begin(led(1)).unwrap();
        let second = hardware.begin(led(2)).unwrap();
        assert!(hardware.next(For::Smart, Duration::ZERO).is_none());
        assert_eq!(
            hardware.next(For::Chassis, Duration::ZERO),
            Some((first, led(1)))
        );
        assert_eq!(
            hardware.next(For::Chassis, Duration::ZERO),
            Some((second, led(2)))
        );
        assert_eq!(hardware.finished(first), None);
        hardware.done(first, Ok(()));
        assert_eq!(
            (hardware.finished(first), hardware.finished(first)),
            (Some(Ok(())), None)
        );
    }

    #[test]
    fn neither_what_waits_nor_what_nobody_asks_for_grows_without_end() {
        let mut hardware = Hardware::default();
        for _ in 0..TASKS_MAX {
            hardware.begin(led(1)).unwrap();
        }
        assert!(hardware.begin(led(1)).is_err());
        for number in 0..2 * TASKS_MAX as u64 {
            hardware.done(number, Ok(()));
        }
        assert_eq!(hardware.finished(0), None);
        assert_eq!(hardware.finished(2 * TASKS_MAX as u64 - 1), Some(Ok(())));
    }
}

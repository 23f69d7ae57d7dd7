//! Slots and what is in them while the shelf runs: drives that are pulled and inserted, and disks that are
//! found.
//!
//! A thread looks when the kernel tells of a change, and once a second in any case.
//!
//! The way of a drive that is pulled: the administration lets LUNs do without it; then the workers give it
//! up, when all of its I/O has ended; then its slot is empty. One that is inserted goes the other way
//! round: it is opened and claimed, the workers get it, then the administration, which looks what is on it.
//!
//! Invariants:
//! * a slot takes a drive only after both halves have let go of the one before;
//! * a drive that cannot be used is told of once, and tried again when it is another, or when nobody has it
//!   any more;
//! * nothing is written to a disk here.

mod changes;

pub(crate) use changes::{SlotChange, SlotChanges};

use crate::administration::Administration;
use crate::config::{Config, DiskConfig};
use crate::drives::{self, Place};
use crate::finder::Finder;
use crate::store::StateDir;
use changes::Asked;
use crossbeam::channel::Receiver;
use disk::{Drive, DriveRoom, DriveSpec, OpenError, Presence, Uevents};
use engine::Workers;
use shelf::manager::NoDrive;
use std::thread::sleep;
use std::time::Duration;

/// Without news from the kernel it is looked so often.
const LOOK: Duration = Duration::from_secs(1);

/// However many news there are, no look follows another sooner.
const PAUSE: Duration = Duration::from_millis(100);

/// Slots that disks may be found for, and disks that may be at a time. The room for it is always there: so
/// disks can be added to a configuration that has none to be found.
pub(crate) const FOUND_MAX: u16 = 128;

/// What is in a slot.
#[derive(Debug)]
enum State {
    /// A drive.
    Holds(Presence),
    /// One that was pulled, and that LUNs or workers have not let go of.
    Leaving,
    /// Nothing that is of use. If there is something, it was tried, and is not tried again.
    Empty { refused: Option<Presence> },
}

/// A slot.
#[derive(Debug)]
struct Slot {
    place: Place,
    state: State,
    /// Why it does not take what is there, as it was told last.
    told: Option<String>,
    /// It is of a disk that was found, and that is not there now: its path may lead to another one.
    is_away: bool,
    /// The configuration has it no more: it goes as soon as the workers have let go of its drive.
    is_removed: bool,
    /// Its drive is memory that was not made yet: a configuration that was taken over has added it.
    is_new_memory: bool,
}

impl Slot {
    const fn new(place: Place, state: State, told: Option<String>) -> Self {
        Self {
            place,
            state,
            told,
            is_away: false,
            is_removed: false,
            is_new_memory: false,
        }
    }
}

/// All slots.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    finder: Option<Finder>,
    patience: Duration,
    room: DriveRoom,
    /// What the configuration asks for while the shelf runs.
    asked: Receiver<Asked>,
    state: StateDir,
}

impl Slots {
    /// The slots of the configuration, and of disks that are found, with their drives opened.
    /// Gives, too, by what they are changed.
    pub(crate) fn open(config: &Config, state: &StateDir) -> (Self, SlotChanges, drives::Opened) {
        let mut places: Vec<Place> = config.disks.iter().map(Place::from).collect();
        let mut finder = config
            .finds_disks
            .then(|| Finder::new(state.clone(), &config.disks));
        if let Some(finder) = &mut finder {
            places.extend(finder.look());
        }
        let opened = drives::open(&places, config.disk_timeout);
        let slot = |place: Place| {
            let mut drives = opened.drives.iter();
            let drive = drives.find(|(slot, _)| *slot == place.slot);
            let state = match drive {
                Some((_, drive)) => State::Holds(drive.presence().clone()),
                None => State::Empty { refused: None },
            };
            let mut known = opened.slots.iter();
            let known = known.find(|known| known.slot == place.slot);
            let told = known.and_then(|known| match &known.drive {
                Err(NoDrive::Down(reason)) => Some(reason.clone()),
                _ => None,
            });
            Slot::new(place, state, told)
        };
        let slots = places.into_iter().map(slot).collect();
        let patience = config.disk_timeout;
        let (changes, asked) = SlotChanges::new();
        let all = Self {
            slots,
            finder,
            patience,
            room: Self::room(config),
            asked,
            state: state.clone(),
        };
        (all, changes, opened)
    }

    /// How many drives there may be.
    pub(crate) fn room(config: &Config) -> DriveRoom {
        let slots = |disks: &[DiskConfig]| {
            let slots = disks.iter().map(|disk| usize::from(disk.slot.0) + 1);
            slots.max().unwrap_or(0)
        };
        let found = usize::from(FOUND_MAX);
        DriveRoom {
            slots: slots(&config.disks).max(found),
            drives: config.disks.len() + found,
        }
    }

    /// Follows what comes and goes, for ever.
    pub(crate) fn follow(mut self, administration: &Administration, workers: &Workers) {
        let mut uevents = Uevents::listen();
        if let Err(error) = &uevents {
            tracing::warn!(
                "the kernel tells nothing of disks ({error}); it is looked once a second"
            );
        }
        loop {
            match &uevents {
                Ok(open) => {
                    if let Err(error) = open.wait(LOOK) {
                        uevents = Err(error);
                    }
                }
                Err(_) => sleep(LOOK),
            }
            while let Ok(asked) = self.asked.try_recv() {
                asked.answer(|change| self.change(change, administration, workers));
            }
            self.look(administration, workers);
            sleep(PAUSE);
        }
    }

    /// Follows where the disks are that are found.
    fn find(&mut self) {
        let Some(finder) = &mut self.finder else {
            return;
        };
        for slot in &mut self.slots {
            slot.is_away = !finder.is_reserved(slot.place.slot);
        }
        for place in finder.look() {
            let mut slots = self.slots.iter_mut();
            match slots.find(|slot| slot.place.slot == place.slot) {
                Some(slot) => {
                    slot.is_away = false;
                    if matches!(slot.state, State::Empty { .. }) {
                        slot.place = place;
                    }
                }
                None => {
                    let state = State::Empty { refused: None };
                    self.slots.push(Slot::new(place, state, None));
                }
            }
        }
    }

    fn look(&mut self, administration: &Administration, workers: &Workers) {
        self.find();
        for slot in &mut self.slots {
            slot.look(administration, workers, self.patience);
        }
        let has_gone = |slot: &Slot| slot.is_removed && matches!(slot.state, State::Empty { .. });
        self.slots.retain(|slot| !has_gone(slot));
    }
}

impl Slot {
    fn look(&mut self, administration: &Administration, workers: &Workers, patience: Duration) {
        if matches!(&self.state, State::Holds(drive) if !drive.is_there()) {
            administration.lock().drive_pulled(self.place.slot);
            self.state = State::Leaving;
        }
        if matches!(self.state, State::Leaving) && self.has_left(administration, workers) {
            self.state = State::Empty { refused: None };
        }
        if matches!(self.state, State::Empty { .. }) && !self.is_removed {
            self.try_to_fill(administration, workers, patience);
        }
    }

    /// Whether both halves have let go of a drive that was pulled.
    fn has_left(&mut self, administration: &Administration, workers: &Workers) -> bool {
        if !administration.lock().may_insert(self.place.slot) {
            return false;
        }
        match workers.remove_drive(self.place.slot) {
            Ok(has_left) => has_left,
            Err(reason) => {
                self.tell(&reason);
                false
            }
        }
    }

    fn try_to_fill(
        &mut self,
        administration: &Administration,
        workers: &Workers,
        patience: Duration,
    ) {
        let DriveSpec::Path(path) = &self.place.spec else {
            if std::mem::take(&mut self.is_new_memory) {
                self.make_memory(administration, workers, patience);
            }
            return;
        };
        let present = Presence::at(path).filter(|_| !self.is_away);
        let State::Empty { refused } = &self.state else {
            return;
        };
        let Some(present) = present else {
            if self.told.take().is_some() {
                // What could not be used is gone.
                administration.lock().drive_pulled(self.place.slot);
            }
            self.state = State::Empty { refused: None };
            return;
        };
        if refused.as_ref() == Some(&present) || !administration.lock().may_insert(self.place.slot)
        {
            return;
        }
        match Drive::open(&self.place.spec) {
            Ok(drive) => self.fill(drive, administration, workers, patience),
            Err(OpenError::Missing { .. }) => {}
            Err(error) => {
                if self.told.as_ref() != Some(&error.to_string()) {
                    let slot = drives::empty(&self.place, &error);
                    administration.lock().drive_inserted(slot);
                    self.told = Some(error.to_string());
                }
                // Whoever has it may let go of it. All else is true of it for ever.
                if !matches!(error, OpenError::InUse { .. }) {
                    self.state = State::Empty {
                        refused: Some(present),
                    };
                }
            }
        }
    }

    /// Memory is opened once: it is not pulled, and what was in it is not there a second time.
    fn make_memory(
        &mut self,
        administration: &Administration,
        workers: &Workers,
        patience: Duration,
    ) {
        match Drive::open(&self.place.spec) {
            Ok(drive) => self.fill(drive, administration, workers, patience),
            Err(error) => administration
                .lock()
                .drive_inserted(drives::empty(&self.place, &error)),
        }
    }

    fn fill(
        &mut self,
        drive: Drive,
        administration: &Administration,
        workers: &Workers,
        patience: Duration,
    ) {
        let drive = drives::with_polling(drive, &self.place);
        let slot = drives::slot_of(&self.place, &drive, patience);
        if let Err(reason) = workers.add_drive(self.place.slot, &drive) {
            self.tell(&reason);
            return;
        }
        self.told = None;
        self.state = State::Holds(drive.presence().clone());
        administration.lock().drive_inserted(slot);
    }

    /// Logs what is new.
    fn tell(&mut self, reason: &str) {
        if self.told.as_deref() != Some(reason) {
            tracing::error!("slot {} ({}): {reason}", self.place.slot, self.place.origin);
            self.told = Some(reason.to_owned());
        }
    }
}

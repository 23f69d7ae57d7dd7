//! The thread that sets the LEDs of slots and reads the sensors of the box.
//!
//! A slot shows what somebody has set, until it is reset or its time is over; else what the shelf knows:
//! fault of a drive that failed, rebuild of one that is being filled, and, if that is set, spare.
//!
//! Invariants:
//! * an LED is written only when what it is to show has changed, or could not be shown: then every ten
//!   seconds, so that none stays lit for a drive that is well;
//! * at the start every LED is written, those of empty bays beside drives of the shelf, too: what it shows is
//!   from before;
//! * the path of a drive that is missing is not used: the kernel gives its name to another one;
//! * nothing but its own slot suffers from one that cannot be set.

use super::{For, Hardware};
use crate::administration::Administration;
use crate::store::StateDir;
use console::host::{Fan, HostError, LedState, PowerSupply, Sensors, SlotLed, Task, Temperature};
use disk::discover::Slots;
use disk::facts::{Facts, System};
use disk::leds::{SlotLeds, ledctl};
use disk::sensors::{Chip, chips};
use shelf::admin::{Admin, DriveRole, DriveSlot, DriveState, DriveStatus, ElementState, LunStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// From one look to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// How often sensors are read, and LEDs are looked for.
const PERIOD_SLOW: Duration = Duration::from_secs(10);

/// How long `ledctl` may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a slot is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Way {
    Kernel(SlotLeds),
    /// By `ledctl`, with this device.
    Ledctl(String),
    /// Neither can.
    None,
}

/// A slot and its LEDs.
struct Slot {
    path: String,
    way: Way,
    /// What it shows; `None` when that is not known.
    shown: Option<LedState>,
    /// It could not be shown.
    has_failed: bool,
    /// Whether `ledctl` was tried for this path.
    has_tried: bool,
    /// Whether its drive is missing.
    is_missing: bool,
}

/// What somebody has set, and until when.
type Set = (LedState, Option<Instant>);

/// Sets LEDs and reads sensors until the process ends.
pub(crate) fn run(hardware: &Hardware, administration: &Administration, numbers: Option<StateDir>) {
    let mut chassis = Chassis {
        system: System::default(),
        slots: BTreeMap::new(),
        set: BTreeMap::new(),
        enclosures: BTreeSet::new(),
        numbers,
    };
    let mut slow = Instant::now();
    loop {
        let (drives, luns) = {
            let manager = administration.lock();
            (manager.drives(), manager.luns())
        };
        chassis.miss(&drives);
        let is_slow_round = slow <= Instant::now();
        if is_slow_round {
            slow = Instant::now() + PERIOD_SLOW;
            chassis.find(&drives);
            chassis.find_empty(&drives);
            let sensors = sensors(&chips(&chassis.system));
            hardware.lock().sensors = sensors;
        }
        let shows_spares = hardware.lock().shows_spares;
        let wanted = wanted(&drives, &luns, shows_spares);
        chassis.update(&wanted, is_slow_round);
        hardware.lock().leds = chassis.leds();
        if let Some((number, task)) = hardware.next(For::Chassis, PERIOD) {
            let result = chassis.set(&task, &drives);
            chassis.update(&wanted, false);
            hardware.lock().leds = chassis.leds();
            hardware.done(number, result);
        }
    }
}

/// What the shelf knows of its drives, as LEDs show it.
fn wanted(
    drives: &[DriveStatus],
    luns: &[LunStatus],
    shows_spares: bool,
) -> BTreeMap<DriveSlot, LedState> {
    let mut wanted = BTreeMap::new();
    for drive in drives {
        let state = match (&drive.role, drive.state) {
            (_, DriveState::Down) => LedState::Fault,
            _ if drive.is_failing => LedState::Fault,
            (DriveRole::Spare, DriveState::Up) if shows_spares => LedState::Spare,
            _ => LedState::Off,
        };
        wanted.insert(drive.slot, state);
    }
    let parts = luns.iter().flat_map(|lun| &lun.parts);
    for element in parts.flat_map(|part| &part.elements) {
        let Some(slot) = element.drive else {
            continue;
        };
        match element.state {
            ElementState::Failed => drop(wanted.insert(slot, LedState::Fault)),
            ElementState::Replaced => drop(wanted.insert(slot, LedState::Rebuild)),
            ElementState::Normal | ElementState::Missing => {}
        }
    }
    wanted
}

struct Chassis {
    system: System,
    slots: BTreeMap<DriveSlot, Slot>,
    set: BTreeMap<DriveSlot, Set>,
    /// Directories of enclosures whose empty bays were put out.
    enclosures: BTreeSet<PathBuf>,
    /// Where the slots of bays are, if disks are found.
    numbers: Option<StateDir>,
}

impl Chassis {
    /// Lets go of what leads to the LEDs of slots by their drives, where those are missing.
    fn miss(&mut self, drives: &[DriveStatus]) {
        for drive in drives {
            let Some(slot) = self.slots.get_mut(&drive.slot) else {
                continue;
            };
            slot.is_missing = drive.state == DriveState::Missing;
            if slot.is_missing {
                slot.has_tried = false;
                if matches!(slot.way, Way::Ledctl(_)) {
                    (slot.way, slot.shown) = (Way::None, None);
                }
            }
        }
    }

    /// Looks for the LEDs of slots. Those of a slot whose drive is pulled are still there.
    fn find(&mut self, drives: &[DriveStatus]) {
        let present = |drive: &&DriveStatus| drive.state != DriveState::Missing;
        for drive in drives.iter().filter(present) {
            let facts = Facts::of_path(&self.system, Path::new(&drive.path));
            let leds = facts.and_then(|facts| SlotLeds::of(&self.system, &facts));
            let slot = self.slots.entry(drive.slot).or_insert_with(|| Slot {
                path: drive.path.clone(),
                way: Way::None,
                shown: None,
                has_failed: false,
                has_tried: false,
                is_missing: false,
            });
            if let Some(leds) = leds {
                let enclosure = leds.enclosure().map(Path::to_owned);
                if enclosure.is_some_and(|enclosure| self.enclosures.insert(enclosure)) {
                    put_out(&leds.of_empty_bays());
                }
                let way = Way::Kernel(leds);
                if slot.way != way {
                    (slot.way, slot.shown) = (way, None);
                }
            }
            if slot.path != drive.path {
                slot.path.clone_from(&drive.path);
                slot.has_tried = false;
                if matches!(slot.way, Way::Ledctl(_)) {
                    (slot.way, slot.shown) = (Way::None, None);
                }
            }
        }
    }

    /// Looks for the LEDs of slots that have had no drive yet: bays that are empty.
    fn find_empty(&mut self, drives: &[DriveStatus]) {
        let Some(state) = &self.numbers else {
            return;
        };
        // Whoever gives the numbers has told of what cannot be read of them.
        let (numbers, _) = Slots::parse(&state.slots().unwrap_or_default());
        for (bay, leds) in SlotLeds::of_all_empty_bays(&self.system) {
            let Some(number) = numbers.of_bay(&bay).map(DriveSlot) else {
                continue;
            };
            if drives.iter().any(|drive| drive.slot == number) {
                continue;
            }
            self.slots.entry(number).or_insert_with(|| Slot {
                path: String::new(),
                way: Way::Kernel(leds),
                shown: None,
                has_failed: false,
                has_tried: false,
                is_missing: true,
            });
        }
    }

    /// What each slot is to show: what somebody has set, else what the shelf knows. With `retries` LEDs that
    /// could not be set are tried again.
    fn update(&mut self, wanted: &BTreeMap<DriveSlot, LedState>, retries: bool) {
        let now = Instant::now();
        self.set
            .retain(|_, (_, until)| until.is_none_or(|until| now < until));
        for (number, slot) in &mut self.slots {
            let set = self.set.get(number).map(|(state, _)| *state);
            let state = set
                .or_else(|| wanted.get(number).copied())
                .unwrap_or_default();
            let is_told = slot.shown == Some(state);
            if is_told && !(slot.has_failed && retries) {
                continue;
            }
            let result = if slot.try_ledctl(state) {
                Ok(())
            } else {
                slot.show(state)
            };
            slot.has_failed = result.is_err();
            slot.shown = Some(state);
            if let Err(error) = result
                && !is_told
            {
                tracing::warn!(
                    "slot {number}: its LED cannot show {}: {error}",
                    state.name()
                );
            }
        }
    }

    fn leds(&self) -> Vec<SlotLed> {
        let has_led = |slot: &&Slot| slot.way != Way::None;
        let slots = self.slots.iter().filter(|(_, slot)| has_led(slot));
        slots
            .map(|(number, slot)| SlotLed {
                slot: *number,
                state: slot.shown.unwrap_or_default(),
            })
            .collect()
    }

    /// Somebody sets an LED, or lets go of it.
    fn set(&mut self, task: &Task, drives: &[DriveStatus]) -> Result<(), HostError> {
        let Task::Led {
            slot: number,
            state,
            seconds,
        } = *task
        else {
            return Err(HostError::Refused("not about an LED".to_owned()));
        };
        self.miss(drives);
        self.find(drives);
        let Some(slot) = self.slots.get_mut(&number) else {
            return Err(HostError::Refused("this slot has no LED".to_owned()));
        };
        if slot.way == Way::None && !slot.path.starts_with("/dev/") {
            let text = "this slot has no LED: its drive is no device";
            return Err(HostError::Refused(text.to_owned()));
        }
        if slot.way == Way::None && slot.is_missing {
            let text =
                "this slot has no LED that could be found without its drive, which is missing";
            return Err(HostError::Refused(text.to_owned()));
        }
        if state == LedState::Off {
            self.set.remove(&number);
        } else {
            if slot.way == Way::None {
                slot.way = Way::Ledctl(slot.path.clone());
            }
            if let Err(error) = slot.show(state) {
                if matches!(slot.way, Way::Ledctl(_)) {
                    slot.way = Way::None;
                }
                return Err(HostError::Refused(error));
            }
            (slot.shown, slot.has_failed) = (Some(state), false);
            let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
            self.set.insert(number, (state, until));
        }
        Ok(())
    }
}

/// Puts out what was lit for drives that are there no more.
fn put_out(bays: &[SlotLeds]) {
    // Most are dark, and to be told so takes less than to put them out.
    for bay in bays.iter().filter(|bay| bay.is_lit()) {
        if let Err(error) = bay.show(LedState::Off) {
            tracing::warn!("the LEDs of an empty bay cannot be put out: {error}");
        }
    }
}

impl Slot {
    /// Finds out whether `ledctl` knows an LED where the kernel has none. Returns whether it shows this now.
    fn try_ledctl(&mut self, state: LedState) -> bool {
        let is_device = self.path.starts_with("/dev/");
        if self.way != Way::None || self.has_tried || !is_device || self.is_missing {
            return false;
        }
        self.has_tried = true;
        match ledctl(Path::new(&self.path), state, PATIENCE) {
            Ok(()) => {
                self.way = Way::Ledctl(self.path.clone());
                true
            }
            Err(error) => {
                tracing::debug!("{}: {error}", self.path);
                false
            }
        }
    }

    fn show(&self, state: LedState) -> Result<(), String> {
        match &self.way {
            Way::Kernel(leds) => leds.show(state).map_err(|error| error.to_string()),
            Way::Ledctl(device) => {
                ledctl(Path::new(device), state, PATIENCE).map_err(|error| error.to_string())
            }
            Way::None => Ok(()),
        }
    }
}

/// What chips tell, as consoles list it.
fn sensors(chips: &[Chip]) -> Sensors {
    let mut sensors = Sensors::default();
    for chip in chips {
        let name = |label: &str| format!("{} {label}", chip.name);
        for one in &chip.temperatures {
            sensors.temperatures.push(Temperature {
                location: name(&one.label),
                celsius: one.celsius,
                celsius_limit: one.celsius_limit,
            });
        }
        for fan in &chip.fans {
            sensors.fans.push(Fan {
                name: name(&fan.label),
                rpm: fan.rpm,
                is_faulty: fan.is_faulty,
            });
        }
        if chip.is_supply {
            sensors.supplies.push(PowerSupply {
                name: chip.name.clone(),
                is_faulty: chip.is_faulty,
                celsius: chip.temperatures.first().map(|one| one.celsius),
                rpm: chip.fans.iter().map(|fan| fan.rpm).collect(),
            });
        }
    }
    sensors
}

#[cfg(test)]
mod tests {
    use super::*;
    use shelf::admin::{ElementId, ElementStatus, LunNumber, PartStatus, RaidState};
    use shelf::smart::Smart;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    fn drive(slot: u16, role: DriveRole) -> DriveStatus {
        DriveStatus {
            slot: DriveSlot(slot),
            size_bytes: 1 << 30,
            state: DriveState::Up,
            role,
            model: String::new(),
            path: format!("/dev/sd{slot}"),
            note: None,
            keeps_nothing: false,
            smart: None,
            is_failing: false,
            smart_miss: None,
            whole_bytes: 1 << 30,
            unfinished: None,
        }
    }

    fn element(member: u8, state: ElementState, slot: u16) -> ElementStatus {
        ElementStatus {
            id: ElementId {
                lun: LunNumber::new(0).unwrap(),
                part: 0,
                member,
            },
            state,
            size_bytes: 1 << 30,
            drive: Some(DriveSlot(slot)),
            bad_sectors: 0,
            is_replacement: false,
            read_errors: 0,
        }
    }

    fn lun(elements: Vec<ElementStatus>) -> LunStatus {
        let part = PartStatus {
            part: 0,
            size_bytes: 1 << 30,
            level: raid::Level::Raid1,
            chunk_bytes: None,
            state: RaidState::default(),
            is_stalled: false,
            is_bare: false,
            elements,
        };
        LunStatus {
            lun: LunNumber::new(0).unwrap(),
            size_bytes: 1 << 30,
            online: true,
            label: None,
            serial: String::new(),
            config_string: Vec::new(),
            access: shelf::admin::AccessStatus::default(),
            scrub: None,
            trouble: None,
            parts: vec![part],
        }
    }

    #[test]
    fn leds_show_what_the_shelf_knows() {
        let mut drives: Vec<DriveStatus> =
            (0..6).map(|slot| drive(slot, DriveRole::Free)).collect();
        drives[2].role = DriveRole::Spare;
        drives[3].state = DriveState::Down;
        drives[4].is_failing = true;
        // It has said so once.
        drives[5].smart = Some(Arc::new(Smart {
            predicts_failure: true,
            ..Smart::default()
        }));
        let luns = [lun(vec![
            element(0, ElementState::Failed, 0),
            element(1, ElementState::Replaced, 1),
            element(2, ElementState::Normal, 5),
        ])];
        let states = |shows_spares| {
            let wanted = wanted(&drives, &luns, shows_spares);
            wanted.into_values().collect::<Vec<_>>()
        };
        use LedState::{Fault, Off, Rebuild, Spare};
        assert_eq!(states(false), [Fault, Rebuild, Off, Fault, Fault, Off]);
        assert_eq!(states(true), [Fault, Rebuild, Spare, Fault, Fault, Off]);
    }

    /// A made-up bay of an enclosure with a disk in it.
    fn bay(root: &Path) -> PathBuf {
        let device = root.join("sys/devices/pci0/host0/target0:0:0/0:0:0:0");
        let disk = device.join("block/sda");
        let bay = root.join("sys/class/enclosure/0:0:8:0/Slot 00");
        fs::create_dir_all(&disk).unwrap();
        fs::create_dir_all(&bay).unwrap();
        fs::create_dir_all(root.join("sys/class/block")).unwrap();
        symlink(&disk, root.join("sys/class/block/sda")).unwrap();
        symlink(&device, disk.join("device")).unwrap();
        symlink(&device, bay.join("device")).unwrap();
        symlink(&bay, device.join("enclosure_device:Slot 00")).unwrap();
        for (file, text) in [
            ("type", "array device"),
            ("slot", "0"),
            ("locate", "?"),
            ("fault", "?"),
        ] {
            fs::write(bay.join(file), text).unwrap();
        }
        bay
    }

    /// The kernel gives the name of a drive that was pulled to another one.
    #[test]
    fn no_led_is_set_by_the_path_of_a_drive_that_is_missing() {
        let number = DriveSlot(0);
        let slot = Slot {
            path: "/dev/sd0".to_owned(),
            way: Way::Ledctl("/dev/sd0".to_owned()),
            shown: Some(LedState::Fault),
            has_failed: false,
            has_tried: true,
            is_missing: false,
        };
        let mut chassis = Chassis {
            system: System::default(),
            slots: [(number, slot)].into(),
            set: BTreeMap::new(),
            enclosures: BTreeSet::new(),
            numbers: None,
        };
        let mut drives = [drive(0, DriveRole::Free)];
        chassis.miss(&drives);
        assert_ne!(chassis.slots[&number].way, Way::None);
        drives[0].state = DriveState::Missing;
        chassis.miss(&drives);
        chassis.update(&BTreeMap::new(), true);
        let slot = &chassis.slots[&number];
        assert_eq!(slot.way, Way::None);
        assert!(!slot.has_tried, "it is not asked for an LED");
        let locate = Task::Led {
            slot: number,
            state: LedState::Locate,
            seconds: None,
        };
        let error = chassis.set(&locate, &drives).unwrap_err().to_string();
        assert!(error.contains("which is missing"), "{error}");
    }

    #[test]
    fn what_somebody_has_set_is_shown_until_it_is_reset_or_its_time_is_over() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let bay = bay(&root);
        let system = System::at(&root);
        let facts = Facts::of(&system, "sda").unwrap();
        let way = Way::Kernel(SlotLeds::of(&system, &facts).unwrap());
        let number = DriveSlot(0);
        let slot = Slot {
            path: "/dev/sda".to_owned(),
            way,
            shown: None,
            has_failed: false,
            has_tried: false,
            is_missing: false,
        };
        let mut chassis = Chassis {
            system,
            slots: [(number, slot)].into(),
            set: BTreeMap::new(),
            enclosures: BTreeSet::new(),
            numbers: None,
        };
        let read = || ["locate", "fault"].map(|file| fs::read_to_string(bay.join(file)).unwrap());
        let knows = |state| BTreeMap::from([(number, state)]);
        chassis.update(&knows(LedState::Off), false);
        assert_eq!(read(), ["0", "0"]);
        chassis.update(&knows(LedState::Fault), false);
        assert_eq!(read(), ["0", "1"]);
        let set = |chassis: &mut Chassis, state, seconds| {
            let slot = number;
            chassis.set(
                &Task::Led {
                    slot,
                    state,
                    seconds,
                },
                &[],
            )
        };
        set(&mut chassis, LedState::Locate, None).unwrap();
        chassis.update(&knows(LedState::Fault), false);
        assert_eq!(read(), ["1", "0"]);
        assert_eq!(chassis.leds()[0].state, LedState::Locate);
        set(&mut chassis, LedState::Off, None).unwrap();
        chassis.update(&knows(LedState::Fault), false);
        assert_eq!(read(), ["0", "1"]);
        set(&mut chassis, LedState::Locate, Some(0)).unwrap();
        assert_eq!(read(), ["1", "0"]);
        chassis.update(&knows(LedState::Off), false);
        assert_eq!(read(), ["0", "0"], "its time is over");
        let none = Task::Led {
            slot: DriveSlot(7),
            state: LedState::Locate,
            seconds: None,
        };
        assert!(chassis.set(&none, &[]).is_err());
        // An LED that cannot be set is told of, keeps nobody from the others, and is put out when it can be.
        chassis.update(&knows(LedState::Fault), false);
        assert_eq!(read(), ["0", "1"]);
        fs::remove_file(bay.join("fault")).unwrap();
        fs::create_dir(bay.join("fault")).unwrap();
        chassis.update(&knows(LedState::Off), false);
        fs::remove_dir(bay.join("fault")).unwrap();
        fs::write(bay.join("fault"), "1").unwrap();
        chassis.update(&knows(LedState::Off), false);
        assert_eq!(read(), ["0", "1"], "not every second");
        chassis.update(&knows(LedState::Off), true);
        assert_eq!(read(), ["0", "0"]);
    }
}

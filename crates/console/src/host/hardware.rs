//! The drives, slots and sensors of the box, beside what the shelf knows of drives.
//!
//! What drives tell of their health comes with [`shelf::admin::DriveStatus`]. What is changed about them
//! takes seconds, and is begun here and asked after.

use super::HostError;
use shelf::admin::DriveSlot;
pub use shelf::led::LedState;
use shelf::smart::SmartChange;

/// Drives, slots and sensors.
pub trait Hardware {
    /// Why no drive tells of its health; `None` when they are asked.
    fn smart_fault(&self) -> Option<String>;

    /// Begins to change something. Returns the number to ask after it.
    ///
    /// # Errors
    /// There is too much to do.
    fn begin(&mut self, task: Task) -> Result<u64, HostError>;

    /// How it went, once; `None` while it is not done.
    fn finished(&mut self, number: u64) -> Option<Result<(), HostError>>;

    /// The slots that have LEDs, in order, and what they show.
    ///
    /// # Errors
    /// None has any: says why.
    fn leds(&self) -> Result<Vec<SlotLed>, HostError>;

    /// What the sensors of the box tell.
    fn sensors(&self) -> Sensors;
}

/// What is to be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Something about a drive.
    Smart {
        /// Its slot.
        slot: DriveSlot,
        /// Where it was opened from.
        path: String,
        /// What.
        change: SmartChange,
    },
    /// What the LED of a slot shows.
    Led {
        /// The slot.
        slot: DriveSlot,
        /// What; [`LedState::Off`] for what the shelf would have it show.
        state: LedState,
        /// For how long.
        seconds: Option<u64>,
    },
}

/// The LED of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotLed {
    /// The slot.
    pub slot: DriveSlot,
    /// What it shows.
    pub state: LedState,
}

/// What the sensors of the box tell.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sensors {
    /// Temperatures.
    pub temperatures: Vec<Temperature>,
    /// Fans.
    pub fans: Vec<Fan>,
    /// Power supplies.
    pub supplies: Vec<PowerSupply>,
}

/// A thermometer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Temperature {
    /// Where it is.
    pub location: String,
    /// What it shows.
    pub celsius: i16,
    /// What it should not reach.
    pub celsius_limit: Option<i16>,
}

/// A fan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fan {
    /// Which.
    pub name: String,
    /// Turns in a minute.
    pub rpm: u32,
    /// It says that it is too slow.
    pub is_faulty: bool,
}

/// A power supply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PowerSupply {
    /// Which.
    pub name: String,
    /// It says that something is wrong.
    pub is_faulty: bool,
    /// Its temperature.
    pub celsius: Option<i16>,
    /// Turns in a minute of its fans.
    pub rpm: Vec<u32>,
}

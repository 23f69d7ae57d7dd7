//! What is told of drives.

use super::{DriveSlot, ElementId, Work};
use crate::job::JobKind;
use crate::smart::{Smart, SmartMiss};
use std::sync::Arc;

/// State of a drive, in the words that monitoring plug-ins know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriveState {
    /// Present and answering.
    Up,
    /// Present, but it failed to open or to answer.
    Down,
    /// The slot is configured but holds no drive.
    Missing,
}

impl DriveState {
    /// The word for the state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Missing => "missing",
        }
    }
}

/// What a drive is used for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DriveRole {
    /// Nothing on it that anybody would miss.
    Free,
    /// It waits for a member to fail.
    Spare,
    /// Element of a LUN of this shelf.
    Element(ElementId),
    /// It carries something that is not ours: a file system, a partition table, a foreign RAID
    /// signature, a LUN of another shelf. The text says what. `make` refuses it without `-f`.
    Foreign(String),
    /// A job that writes it is under way.
    Working(JobKind),
}

/// One row of `show`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriveStatus {
    /// The slot.
    pub slot: DriveSlot,
    /// How much of it may be used; 0 when it is not up.
    pub size_bytes: u64,
    /// State.
    pub state: DriveState,
    /// Role.
    pub role: DriveRole,
    /// What kind of drive it is: the model, or `file`, or `ram`.
    pub model: String,
    /// Where it was opened from.
    pub path: String,
    /// Why it is down, or a remark such as "buffered: the file system does not offer O_DIRECT".
    pub note: Option<String>,
    /// It is a null drive: it drops what is written to it.
    pub keeps_nothing: bool,
    /// Size of the whole drive, of which `size_bytes` may be used; 0 when it is not up.
    pub whole_bytes: u64,
    /// A job that destroys what is on it was begun, and has not come to its end.
    pub unfinished: Option<Work>,
    /// What it told of its health, if it was asked.
    pub smart: Option<Arc<Smart>>,
    /// It has said often enough that it will fail: [`crate::smart::WARNINGS_LIMIT`].
    pub is_failing: bool,
    /// It did not answer when it was asked last.
    pub smart_miss: Option<Arc<SmartMiss>>,
}

/// What the md superblock of a drive says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SuperblockStatus {
    /// Version of the metadata.
    pub version: &'static str,
    /// UUID of the array, as md prints it; the same on all its members.
    pub array: String,
    /// UUID of the device.
    pub device: String,
    /// Number of the device in the array.
    pub device_number: u32,
    /// Its role in the array: where its data lies. A spare has none.
    pub role: Option<u16>,
    /// How often the superblocks of the array were written: who has fewer missed something.
    pub events: u64,
}

//! Opening the drives of slots.
//!
//! A drive that cannot be used never stops the shelf: its slot shows why, and the LUNs that miss it
//! come up degraded or stay offline.

use crate::config::DiskConfig;
use disk::{Drive, DriveSpec, MetadataHandle, OpenError, signature};
use shelf::admin::DriveSlot;
use shelf::manager::NoDrive;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long all drives together may be in use before that is believed. The kernel lets go of the
/// files of an io_uring some time after its process has ended, so a shelf that is started right
/// after the last one ended or was killed finds its own drives claimed.
const PATIENCE: Duration = Duration::from_secs(15);

/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// What the sandbox may have to do with it.
const ELSEWHERE: &str = "; one that is neither a device nor in a directory where the configuration had disks at the \
                         start is opened after a restart only (sandbox)";

/// A slot, and what is to be in it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its number.
    pub(crate) slot: DriveSlot,
    /// Where its drive is.
    pub(crate) spec: DriveSpec,
    /// Whether poll queues are used, if the drive has any.
    pub(crate) io_poll: bool,
    /// Where it is known from, for messages.
    pub(crate) origin: String,
}

impl From<&DiskConfig> for Place {
    fn from(disk: &DiskConfig) -> Self {
        Self {
            slot: disk.slot,
            spec: disk.spec.clone(),
            io_poll: disk.io_poll,
            origin: format!("line {} of the configuration", disk.line),
        }
    }
}

/// The drives of the shelf, as its two halves need them.
pub(crate) struct Opened {
    /// For the administration: every slot.
    pub(crate) slots: Vec<shelf::manager::Drive>,
    /// For the worker: those that are up.
    pub(crate) drives: Vec<(DriveSlot, Arc<Drive>)>,
}

/// Opens, claims and probes every drive.
/// For metadata they get so long to answer.
pub(crate) fn open(places: &[Place], patience: Duration) -> Opened {
    let mut opened = Opened {
        slots: Vec::new(),
        drives: Vec::new(),
    };
    let deadline = Instant::now() + PATIENCE;
    for place in places {
        opened.slots.push(match claim(&place.spec, deadline) {
            Ok(drive) => {
                let drive = with_polling(drive, place);
                opened.drives.push((place.slot, Arc::clone(&drive)));
                slot_of(place, &drive, patience)
            }
            Err(error) => empty(place, &error),
        });
    }
    opened
}

/// A drive that was opened for a slot.
pub(crate) fn with_polling(drive: Drive, place: &Place) -> Arc<Drive> {
    Arc::new(if place.io_poll {
        drive
    } else {
        drive.without_polling()
    })
}

/// A slot whose drive was not opened, as the administration sees it.
pub(crate) fn empty(place: &Place, error: &OpenError) -> shelf::manager::Drive {
    let mut text = error.to_string();
    if matches!(error, OpenError::Permission { .. }) {
        text.push_str(ELSEWHERE);
    }
    tracing::error!("slot {} ({}): {text}", place.slot, place.origin);
    let reason = match error {
        OpenError::Missing { .. } => NoDrive::Missing,
        _ => NoDrive::Down(text),
    };
    without_drive(place, reason)
}

/// A slot without a drive, as the administration sees it.
pub(crate) fn without_drive(place: &Place, reason: NoDrive) -> shelf::manager::Drive {
    shelf::manager::Drive {
        slot: place.slot,
        path: place.spec.to_string(),
        model: String::new(),
        note: None,
        drive: Err(reason),
        foreign: None,
    }
}

/// Opens a drive; one that is in use is tried again until the deadline.
fn claim(spec: &DriveSpec, deadline: Instant) -> Result<Drive, OpenError> {
    loop {
        match Drive::open(spec) {
            Err(OpenError::InUse { .. }) if Instant::now() < deadline => sleep(PAUSE),
            result => return result,
        }
    }
}

/// A slot with its drive, as the administration sees it.
pub(crate) fn slot_of(
    place: &Place,
    drive: &Arc<Drive>,
    deadline: Duration,
) -> shelf::manager::Drive {
    let foreign = match &place.spec {
        DriveSpec::Ram { .. } | DriveSpec::Null { .. } => None,
        DriveSpec::Path(path) => signature::probe(path).unwrap_or_else(|error| {
            // Nobody may take for empty what could not be looked at.
            tracing::error!("slot {}: {error}", place.slot);
            Some(error.to_string())
        }),
    };
    let polled = drive
        .is_polled()
        .then_some("poll queues: its reads and writes are polled for");
    let note = drive.note().or(polled).map(str::to_owned);
    if let Some(note) = &note {
        if place.spec.is_null() {
            tracing::warn!("slot {} ({}): {note}", place.slot, drive.path());
        } else {
            tracing::info!("slot {} ({}): {note}", place.slot, drive.path());
        }
    }
    tracing::info!(
        "slot {} ({}): {}",
        place.slot,
        drive.path(),
        drive.zeroing()
    );
    let handle = MetadataHandle::with_deadline(Arc::clone(drive), deadline);
    shelf::manager::Drive {
        slot: place.slot,
        path: drive.path().to_owned(),
        model: drive.model().to_owned(),
        note,
        drive: Ok(Box::new(handle)),
        foreign,
    }
}

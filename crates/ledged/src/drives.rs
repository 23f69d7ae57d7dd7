//! Opening the drives of the configuration.
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
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// The drives of the shelf, as its two halves need them.
pub(crate) struct Opened {
    /// For the administration: every slot.
    pub(crate) slots: Vec<shelf::manager::Drive>,
    /// For the worker: those that are up.
    pub(crate) drives: Vec<(DriveSlot, Arc<Drive>)>,
}

/// Opens, claims and probes every drive.
/// For metadata they get so long to answer.
pub(crate) fn open(disks: &[DiskConfig], patience: Duration) -> Opened {
    let mut opened = Opened {
        slots: Vec::new(),
        drives: Vec::new(),
    };
    let deadline = Instant::now() + PATIENCE;
    for disk in disks {
        opened.slots.push(match claim(&disk.spec, deadline) {
            Ok(drive) => {
                let drive = if disk.io_poll {
                    drive
                } else {
                    drive.without_polling()
                };
                let drive = Arc::new(drive);
                opened.drives.push((disk.slot, Arc::clone(&drive)));
                slot_of(disk, &drive, patience)
            }
            Err(error) => {
                tracing::error!(
                    "slot {} (line {} of the configuration): {error}",
                    disk.slot,
                    disk.line
                );
                let reason = match error {
                    OpenError::Missing { .. } => NoDrive::Missing,
                    error => NoDrive::Down(error.to_string()),
                };
                shelf::manager::Drive {
                    slot: disk.slot,
                    path: disk.spec.to_string(),
                    model: String::new(),
                    note: None,
                    drive: Err(reason),
                    foreign: None,
                }
            }
        });
    }
    opened
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

fn slot_of(disk: &DiskConfig, drive: &Arc<Drive>, deadline: Duration) -> shelf::manager::Drive {
    let foreign = match &disk.spec {
        DriveSpec::Ram { .. } | DriveSpec::Null { .. } => None,
        DriveSpec::Path(path) => signature::probe(path).unwrap_or_else(|error| {
            // Nobody may take for empty what could not be looked at.
            tracing::error!("slot {}: {error}", disk.slot);
            Some(error.to_string())
        }),
    };
    let polled = drive
        .is_polled()
        .then_some("poll queues: its reads and writes are polled for");
    let note = drive.note().or(polled).map(str::to_owned);
    if let Some(note) = &note {
        if disk.spec.is_null() {
            tracing::warn!("slot {} ({}): {note}", disk.slot, drive.path());
        } else {
            tracing::info!("slot {} ({}): {note}", disk.slot, drive.path());
        }
    }
    tracing::info!("slot {} ({}): {}", disk.slot, drive.path(), drive.zeroing());
    let handle = MetadataHandle::with_deadline(Arc::clone(drive), deadline);
    shelf::manager::Drive {
        slot: disk.slot,
        path: drive.path().to_owned(),
        model: drive.model().to_owned(),
        note,
        drive: Ok(Box::new(handle)),
        foreign,
    }
}

//! `ledge-recover`: makes the disks of a dead shelf ready for `mdadm`.
//!
//! Members of a LUN are members of a Linux md array, and Linux assembles them. What it does not know is
//! the redo log of raid5 and raid6, which holds what was being written when the shelf died. This program
//! replays it, marks those arrays clean whose parity is then known to match, and prints for each array
//! the line that assembles it. A LUN that has grown is several arrays end to end: how they are joined it
//! prints, too.
//!
//! * Lines of the arrays go to the standard output, everything else to the standard error.
//! * It ends with 0 if every array can be assembled and every LUN joined, with 1 if not, with 2 for wrong
//!   arguments.
#![forbid(unsafe_code)]

mod arguments;
mod idle;
mod report;

use arguments::Arguments;
use clap::Parser;
use disk::{Drive, DriveSpec, MetadataHandle};
use idle::{NoPlane, NoStore};
use report::complain;
use shelf::admin::DriveSlot;
use shelf::manager::{Manager, Parts, SalvageOptions};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(drives) = open(&arguments.disks) else {
        return ExitCode::FAILURE;
    };
    let mut manager = Manager::start(Parts {
        shelf: None,
        drives,
        ports: Vec::new(),
        plane: Box::new(NoPlane),
        store: Box::new(NoStore),
        now_unix_seconds: Box::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map_or(0, |since| since.as_secs())
        }),
        new_uuid: Box::new(uuid::Uuid::new_v4),
    });
    // What a start tells, the recovery tells again.
    manager.take_notices();
    let sets = manager.salvage(SalvageOptions {
        only_show: arguments.dry_run,
        without_missing: arguments.degraded,
    });
    for notice in manager.take_notices() {
        complain(&notice);
    }
    if sets.is_empty() {
        complain("error: no member of a LUN is among the disks");
        return ExitCode::FAILURE;
    }
    let mut all_done = true;
    for set in &sets {
        all_done &= report::show(set, arguments.dry_run);
    }
    all_done &= report::show_joins(&sets);
    if all_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Opens and claims all disks, or none.
fn open(paths: &[PathBuf]) -> Option<Vec<shelf::manager::Drive>> {
    let mut drives = Vec::with_capacity(paths.len());
    let mut seen = BTreeSet::new();
    let mut is_ok = true;
    for (slot, path) in (0..).map(DriveSlot).zip(paths) {
        // A path that does not resolve is told by the attempt to open it.
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        if !seen.insert(real) {
            complain(&format!("error: {} is given twice", path.display()));
            is_ok = false;
            continue;
        }
        match Drive::open(&DriveSpec::Path(path.clone())) {
            Ok(drive) => drives.push(slot_of(slot, &Arc::new(drive))),
            Err(error) => {
                complain(&format!("error: {error}"));
                is_ok = false;
            }
        }
    }
    is_ok.then_some(drives)
}

fn slot_of(slot: DriveSlot, drive: &Arc<Drive>) -> shelf::manager::Drive {
    let handle = MetadataHandle::new(Arc::clone(drive));
    shelf::manager::Drive {
        slot,
        path: drive.path().to_owned(),
        model: drive.model().to_owned(),
        note: None,
        drive: Ok(Box::new(handle)),
        foreign: None,
    }
}

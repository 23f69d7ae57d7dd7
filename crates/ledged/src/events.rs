//! What a worker reports, carried to the administration.

use crate::administration::Administration;
use crate::read_errors::ReadErrors;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use engine::{FromWorker, Workers};
use raid::regions::RegionIndex;
use shelf::admin::LunNumber;
use shelf::manager::MemberFailure;
use shelf::plane::DataPlane;
use shelf::target::{Io, Operation, Purpose, Report};
use std::time::{Duration, Instant};

/// How long to wait for an event before looking whether anything is to be told.
const PATIENCE: Duration = Duration::from_secs(5);

/// Deals with the events of one worker, of this index, until it ends.
pub(crate) fn run(
    events: &Receiver<FromWorker>,
    (workers, index): (&Workers, usize),
    administration: &Administration,
) {
    let mut next = None;
    let mut read_errors = ReadErrors::default();
    while let Some(event) = next
        .take()
        .or_else(|| await_event(events, &mut read_errors))
    {
        match event {
            FromWorker::Change(change) => {
                let decision = administration.lock().change(&change);
                workers.change_done(index, &change, decision);
            }
            FromWorker::Impostor(impostor) => administration.lock().impostor_seen(impostor),
            FromWorker::DriveSuspect { drive, is_suspect } => {
                // It is well when no worker thinks otherwise.
                let elsewhere = || workers.drive_health(drive).is_ok_and(|h| h.is_suspect);
                let is_suspect = is_suspect || elsewhere();
                administration.lock().drive_suspect(drive, is_suspect);
            }
            FromWorker::Report(Report::WantRegions { lun, part, group }) => {
                let groups;
                (groups, next) = wanted_with(events, (lun, part), group);
                administration.lock().want_regions(lun, part, &groups);
            }
            FromWorker::Report(report) => hear(&report, administration, &mut read_errors),
            FromWorker::ZeroingChanged { drive, zeroing } => {
                tracing::warn!("slot {drive}: from now on {zeroing}");
            }
            FromWorker::InterfaceChanged {
                interface,
                mtu_bytes,
                has_link,
            } => {
                let mut manager = administration.lock();
                manager.interface_changed(&interface, mtu_bytes, has_link);
            }
            FromWorker::Broken(reason) => {
                tracing::error!("{reason}; the shelf cannot serve and ends");
                // systemd starts it again; what was acknowledged is durable.
                std::process::exit(1);
            }
        }
    }
}

/// Hands a report on, and logs what it says of members.
fn hear(report: &Report, administration: &Administration, read_errors: &mut ReadErrors) {
    let (element, what) = match report {
        Report::MemberError { lun, io } => {
            let element = element_of(*lun, io);
            let is_read = io.operation == Operation::Read;
            if !is_read || read_errors.note(io.drive, Instant::now()) {
                tracing::error!("{element}: {io} failed");
            }
            (element, String::new())
        }
        Report::MemberHangs { lun, io } => {
            (element_of(*lun, io), format!("{io} is not answered; "))
        }
        _ => (String::new(), String::new()),
    };
    let is_of_twin =
        matches!(report, Report::MemberError { io, .. } if io.purpose == Purpose::Twin);
    let Some(decided) = administration.lock().hear(report) else {
        return;
    };
    match decided {
        Ok(MemberFailure::GivenUp) if is_of_twin => {
            tracing::error!("{element}: its replacement is dropped");
        }
        Ok(MemberFailure::GivenUp) => {
            tracing::error!("{element}: {what}it is given up; the LUN goes on without it");
        }
        Ok(MemberFailure::Kept) => {
            tracing::error!("{element}: {what}it is the last copy and stays");
        }
        Err(error) => tracing::error!("{element}: {what}{error}"),
    }
}

fn element_of(lun: LunNumber, io: &Io) -> String {
    format!(
        "element {lun}.{}.{} (slot {})",
        io.part, io.member, io.drive
    )
}

/// The next event; `None` when the worker has ended. Meanwhile tells how many reads have failed.
fn await_event(events: &Receiver<FromWorker>, read_errors: &mut ReadErrors) -> Option<FromWorker> {
    loop {
        for (drive, more) in read_errors.due(Instant::now()) {
            tracing::error!("slot {drive}: {more} more reads failed in the last minute or so");
        }
        match events.recv_timeout(PATIENCE) {
            Ok(event) => return Some(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// The groups of regions of a part that are waited for by now, and the event behind them.
fn wanted_with(
    events: &Receiver<FromWorker>,
    of: (LunNumber, u8),
    first: RegionIndex,
) -> (Vec<RegionIndex>, Option<FromWorker>) {
    let mut groups = vec![first];
    for event in events.try_iter() {
        match event {
            FromWorker::Report(Report::WantRegions { lun, part, group }) if (lun, part) == of => {
                groups.push(group);
            }
            other => return (groups, Some(other)),
        }
    }
    (groups, None)
}

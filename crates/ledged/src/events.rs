//! What a worker reports, carried to the administration.

use crate::administration::Administration;
use crate::read_errors::ReadErrors;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use engine::{FromWorker, Workers};
use raid::bad_blocks::BadRange;
use raid::regions::RegionIndex;
use shelf::admin::LunNumber;
use shelf::manager::MemberFailure;
use shelf::target::{Io, Operation, Purpose};
use std::time::{Duration, Instant};

/// How long to wait for an event before looking whether anything is to be told.
const PATIENCE: Duration = Duration::from_secs(5);

/// Deals with the events of one worker until it ends.
pub(crate) fn run(
    events: &Receiver<FromWorker>,
    workers: &Workers,
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
                workers.change_done(&change, decision);
            }
            FromWorker::Impostor(impostor) => administration.lock().impostor_seen(impostor),
            FromWorker::MemberHangs { lun, io } => member_hangs(lun, &io, administration),
            FromWorker::DriveSuspect { drive, is_suspect } => {
                administration.lock().drive_suspect(drive, is_suspect);
            }
            FromWorker::MemberError { lun, io } => {
                member_error(lun, &io, administration, &mut read_errors);
            }
            FromWorker::WantRegions { lun, part, group } => {
                let groups;
                (groups, next) = wanted_with(events, (lun, part), group);
                administration.lock().want_regions(lun, part, &groups);
            }
            FromWorker::BadBlocksWritten {
                drive,
                range,
                ticket,
            } => {
                administration
                    .lock()
                    .bad_blocks_written(drive, &range, ticket);
            }
            FromWorker::LostWritten {
                lun,
                part,
                element,
                range,
                epoch,
                ticket,
            } => {
                let mut manager = administration.lock();
                manager.lost_written(lun, part, (element, &range), epoch, ticket);
            }
            FromWorker::MtuChanged {
                interface,
                mtu_bytes,
            } => {
                administration.lock().mtu_changed(&interface, mtu_bytes);
            }
            FromWorker::Broken(reason) => {
                tracing::error!("{reason}; the shelf cannot serve and ends");
                // systemd starts it again; what was acknowledged is durable.
                std::process::exit(1);
            }
            of_pass @ (FromWorker::ScrubFound { .. }
            | FromWorker::SyncReached { .. }
            | FromWorker::SyncUnreadable { .. }
            | FromWorker::SyncEnded { .. }) => pass_event(of_pass, administration),
        }
    }
}

/// What a pass over members has met.
fn pass_event(event: FromWorker, administration: &Administration) {
    match event {
        FromWorker::ScrubFound {
            lun,
            part,
            pass,
            found,
        } => {
            let mut manager = administration.lock();
            manager.scrub_found(lun, part, pass, &found);
        }
        FromWorker::SyncReached {
            lun,
            part,
            pass,
            lba,
        } => {
            administration.lock().sync_reached(lun, part, pass, lba);
        }
        FromWorker::SyncUnreadable {
            lun,
            part,
            pass,
            lacking,
        } => {
            administration
                .lock()
                .sync_unreadable(lun, part, pass, &lacking);
        }
        FromWorker::SyncEnded {
            lun,
            part,
            pass,
            complete,
        } => {
            administration.lock().sync_ended(lun, part, pass, complete);
        }
        other => unreachable!("{other:?} is no event of a pass"),
    }
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
            FromWorker::WantRegions { lun, part, group } if (lun, part) == of => groups.push(group),
            other => return (groups, Some(other)),
        }
    }
    (groups, None)
}

/// The sectors of an I/O on its drive.
fn range_of(io: &Io) -> BadRange {
    BadRange {
        sector: io.sector,
        sectors: u64::from(io.sectors),
    }
}

fn operation_of(io: &Io) -> &'static str {
    match io.operation {
        Operation::Read => "read",
        Operation::Write => "write",
        Operation::Flush => "flush",
    }
}

/// A drive does not answer: its member is given up, if it can be, until it does.
fn member_hangs(lun: LunNumber, io: &Io, administration: &Administration) {
    let (part, member, drive) = (io.part, io.member, io.drive);
    let element = format!("{lun}.{part}.{member}");
    let what = format!(
        "{} of {} sectors at sector {} is not answered",
        operation_of(io),
        io.sectors,
        io.sector
    );
    let mut manager = administration.lock();
    match manager.member_hangs(lun, part, member, drive, &what) {
        Ok(MemberFailure::GivenUp) => {
            tracing::error!("element {element} (slot {drive}): {what}; the LUN goes on without it");
        }
        Ok(MemberFailure::Kept) => {
            tracing::error!(
                "element {element} (slot {drive}): {what}; it is the last copy and stays"
            );
        }
        Err(error) => tracing::error!("element {element} (slot {drive}): {what}; {error}"),
    }
}

fn member_error(
    lun: LunNumber,
    io: &Io,
    administration: &Administration,
    read_errors: &mut ReadErrors,
) {
    let operation = operation_of(io);
    let element = format!("{lun}.{}.{}", io.part, io.member);
    let what = format!(
        "{operation} of {} sectors at sector {} failed",
        io.sectors, io.sector
    );
    let is_read = io.operation == Operation::Read;
    if !is_read || read_errors.note(io.drive, Instant::now()) {
        tracing::error!("element {element} (slot {}): {what}", io.drive);
    }
    let (part, member, range) = (io.part, io.member, range_of(io));
    let mut manager = administration.lock();
    if is_read {
        // The other copy was read instead, or the initiator was told; the member stays.
        manager.member_not_read(lun, part, member, io.drive, &range);
        return;
    }
    if io.purpose == Purpose::Repair {
        manager.member_not_repaired(lun, part, member, io.drive, &range);
        return;
    }
    match manager.member_not_written(lun, part, member, (io.drive, &range), &what) {
        Ok(MemberFailure::GivenUp) if io.purpose == Purpose::Twin => {
            tracing::error!("the replacement of element {element} is dropped");
        }
        Ok(MemberFailure::GivenUp) => {
            tracing::error!("element {element} is failed; the LUN is degraded");
        }
        Ok(MemberFailure::Kept) => {
            tracing::error!("element {element} is the last copy and stays");
        }
        Err(error) => tracing::error!("element {element}: {error}"),
    }
}

//! The redo log of a LUN with parity, as the administration sees it: when it is recovered, and which
//! epoch counts.
//!
//! A LUN that is found dirty was not stopped in good order: its log is *pending*, and is recovered when
//! the LUN goes live, before the data path gets it:
//!
//! 1. at a start, tried without writing when members are late. If what they hold cannot be told without
//!    them, the LUN is not served by itself, and nothing is changed: with their drives back it can;
//! 2. the superblocks leave absent members behind, durably: they will not have what recovery writes;
//! 3. recovered. A member that fails is given up, and it is done again;
//! 4. what still cannot be told is noted in the members' bad-block logs, so that it is never read. Parity is
//!    what is noted: a stripe is whole again when a write gives everything that parity is computed from,
//!    which is all that is lost of it at once. Until then what is lost is an error to read, and the same
//!    sectors of the other members can be read but not written: there would be no parity for them;
//! 5. the record gets the next epoch, in which groups begin at 1 again, and says whether parity matches.
//!
//! After a crash in between it is done again from the start. A log is *void* when Linux changed the array
//! since: it knows nothing of what was written there.

use super::drives::Drives;
use super::lun::{Lun, Member};
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot};
use raid::bad_blocks::BadRange;
use raid::log::recovery::{
    LoggedRaid, MemberIo, MemberRange, PresentMember, RecoveryError, Report, recover,
};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::Record;
use std::collections::BTreeMap;

/// What ends it that sectors of a stripe are unreadable. Parity of only a part of what is lost would have to
/// say which part.
const WRITTEN_AGAIN: &str = "all that is lost of their stripe is written at once; before that, writes to \
    the other sectors beside them fail";

/// What is to be done about the redo log of a LUN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LogState {
    /// Nothing: it was stopped in good order, or is live.
    Settled,
    /// It is to be recovered.
    Pending,
    /// Others changed the data since it was written.
    Void,
}

/// The state of the log of a set that was found on its drives.
pub(super) const fn found(record: &Record, is_dirty: bool, is_ours: bool) -> LogState {
    match (record.log, is_dirty) {
        (Some(_), true) if is_ours => LogState::Pending,
        (Some(_), true) => LogState::Void,
        _ => LogState::Settled,
    }
}

/// The members' drives. With `is_trial` nothing is written.
struct LogIo<'a> {
    drives: &'a mut Drives,
    slots: Vec<Option<DriveSlot>>,
    is_trial: bool,
}

impl LogIo<'_> {
    fn slot(&self, element: u8) -> Result<DriveSlot, String> {
        let slot = self.slots.get(usize::from(element)).copied().flatten();
        slot.ok_or_else(|| "it has no drive".to_owned())
    }
}

impl MemberIo for LogIo<'_> {
    type Error = String;

    fn read(&mut self, element: u8, sector: u64, buffer: &mut [u8]) -> Result<(), String> {
        let slot = self.slot(element)?;
        self.drives.read(slot, sector, buffer)
    }

    fn write(&mut self, element: u8, sector: u64, data: &[u8]) -> Result<(), String> {
        if self.is_trial {
            return Ok(());
        }
        let slot = self.slot(element)?;
        self.drives.write(slot, sector, data)
    }

    fn flush(&mut self, _: u8) -> Result<(), String> {
        // Every write was durable when it returned.
        Ok(())
    }
}

impl Manager {
    /// A LUN is about to be served by itself, without members that may come back: not if that loses what
    /// they hold.
    pub(super) fn doubt_log(&mut self, number: LunNumber) {
        let Some(lun) = self.luns.get(&number) else {
            return;
        };
        if lun.log_state != LogState::Pending || lun.late.is_empty() || !lun.can_serve() {
            return;
        }
        // A member that fails will be given up when it is served.
        let Ok(report) = run(&mut self.drives, lun, true) else {
            return;
        };
        let sectors = unreadable_sectors(&report);
        if sectors == 0 {
            return;
        }
        let late = lun.element_names(&lun.late);
        if let Some(lun) = self.luns.get_mut(&number) {
            lun.doubt = Some(format!(
                "{sectors} sectors were being overwritten when it stopped, and cannot be computed without \
                 elements {late}: bring their drives back; online {number} serves it without them, and \
                 these sectors are unreadable until {WRITTEN_AGAIN}"
            ));
        }
    }

    /// Before anything is changed for a LUN to go live: a void log is done with.
    pub(super) fn check_log(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let Some(lun) = self.luns.get(&number) else {
            return Err(AdminError::NoSuchLun(number));
        };
        match lun.log_state {
            LogState::Settled | LogState::Pending => Ok(()),
            LogState::Void => {
                let text = format!(
                    "LUN {number} was used by Linux after an unclean stop; its redo log is not replayed"
                );
                self.notices.push(text);
                self.begin_epoch(number)?;
                Ok(())
            }
        }
    }

    /// Recovers a pending log, and begins the next epoch. The superblocks have left absent members
    /// behind.
    pub(super) fn settle_log(&mut self, number: LunNumber) -> Result<(), AdminError> {
        loop {
            let Some(lun) = self.luns.get(&number) else {
                return Err(AdminError::NoSuchLun(number));
            };
            if lun.log_state != LogState::Pending {
                return self.begin_epoch(number);
            }
            let Some(lun) = self.luns.get(&number) else {
                return Err(AdminError::NoSuchLun(number));
            };
            #[cfg(feature = "planted")]
            if planted::is(Bug::LogNotReplayed) {
                return self.begin_epoch(number);
            }
            match run(&mut self.drives, lun, false) {
                Ok(report) => {
                    self.note_recovered(number, &report);
                    self.note_unreadable(number, &report)?;
                    return self.begin_epoch(number);
                }
                Err(RecoveryError::Member { element, error, .. }) => {
                    let Some(mut rounds) = self.rounds(number) else {
                        return Err(AdminError::NoSuchLun(number));
                    };
                    let failures = vec![(element, error)];
                    if !rounds.can_lose(&failures) {
                        let (_, reason) = &failures[0];
                        return Err(refused(number, reason));
                    }
                    rounds
                        .give_up(&failures)
                        .map_err(|reason| refused(number, &reason))?;
                }
                Err(error) => return Err(refused(number, &error.to_string())),
            }
        }
    }

    /// What the recovery of a log would do.
    pub(super) fn try_log(&mut self, number: LunNumber) -> Result<Report, String> {
        let Some(lun) = self.luns.get(&number) else {
            return Err(AdminError::NoSuchLun(number).to_string());
        };
        run(&mut self.drives, lun, true).map_err(|error| error.to_string())
    }

    /// Makes the next epoch durable, and what is known of parity with it.
    fn begin_epoch(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let Some(lun) = self.luns.get_mut(&number) else {
            return Err(AdminError::NoSuchLun(number));
        };
        let Some(log) = lun.record.log else {
            return Ok(());
        };
        let next = log.next_epoch();
        #[cfg(feature = "planted")]
        let next = if planted::is(Bug::EpochNotCounted) {
            log
        } else {
            next
        };
        let record = Record {
            log: Some(next),
            parity_synced: !lun.is_unsynced,
            ..lun.record.clone()
        };
        self.record(number, record)?;
        if let Some(lun) = self.luns.get_mut(&number) {
            lun.log_state = LogState::Settled;
        }
        Ok(())
    }

    /// Makes durable whether parity matches all over, if the record says otherwise.
    pub(super) fn note_parity(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let Some(lun) = self.luns.get(&number) else {
            return Ok(());
        };
        let parity_synced = !lun.is_unsynced;
        if lun.record.log.is_none() || lun.record.parity_synced == parity_synced {
            return Ok(());
        }
        let record = Record {
            parity_synced,
            ..lun.record.clone()
        };
        self.record(number, record)
    }

    /// What nobody can compute is not to be read: the parity of these stripes is bad, durably.
    fn note_unreadable(&mut self, number: LunNumber, report: &Report) -> Result<(), AdminError> {
        let mut bad = BTreeMap::<u8, Vec<BadRange>>::new();
        for range in report.bad_parity.iter().chain(&report.unreadable) {
            bad.entry(range.element).or_default().push(BadRange {
                sector: range.member_sector,
                sectors: u64::from(range.sectors),
            });
        }
        for (element, ranges) in bad {
            let Some(lun) = self.luns.get(&number) else {
                return Err(AdminError::NoSuchLun(number));
            };
            if lun.members[usize::from(element)].is_in_use() {
                self.add_bad_blocks(number, 0, element, &ranges)?;
            }
        }
        let sectors = unreadable_sectors(report);
        if sectors > 0 {
            self.notices.push(format!(
                "LUN {number}: {sectors} sectors that were being overwritten at an unclean stop cannot be \
                 computed without the members that are gone, and are unreadable until {WRITTEN_AGAIN}"
            ));
        }
        Ok(())
    }

    fn note_recovered(&mut self, number: LunNumber, report: &Report) {
        let (replayed, checked) = (report.slices_replayed, report.slices_checked);
        if replayed + checked > 0 {
            self.notices.push(format!(
                "LUN {number}: what was being written at an unclean stop was completed: {replayed} slices \
                 from the redo log, {checked} checked, of which {} had to be repaired",
                report.slices_repaired
            ));
        }
    }
}

fn run(drives: &mut Drives, lun: &Lun, is_trial: bool) -> Result<Report, RecoveryError<String>> {
    let (Some(set_uuid), Some(parameters)) = (lun.set_uuid, lun.record.log) else {
        return Ok(Report::default());
    };
    let present = |member: &Member| {
        let view = member.view()?;
        let all_sectors = lun.geometry.member_sectors();
        Some(PresentMember {
            tag: view.log_tag,
            log_area: view.log_area,
            data_offset_sectors: view.data_offset_sectors,
            synced_sectors: member
                .rebuilt_before()
                .map_or(all_sectors, |lba| lun.geometry.member_sectors_before(lba)),
        })
    };
    let bad_blocks: Vec<(u8, BadRange)> = lun
        .elements()
        .filter_map(|(element, member)| Some((element, member.metadata()?)))
        .flat_map(|(element, metadata)| {
            let offset = metadata.superblock.data_offset_sectors();
            metadata.bad_blocks.ranges().iter().map(move |range| {
                let sector = range.sector.saturating_sub(offset);
                (element, BadRange { sector, ..*range })
            })
        })
        .collect();
    let members: Vec<Option<PresentMember>> = lun.members.iter().map(present).collect();
    let raid = LoggedRaid {
        set_uuid,
        geometry: lun.geometry,
        parameters,
        members: &members,
        bad_blocks: &bad_blocks,
    };
    let mut io = LogIo {
        drives,
        slots: lun.members.iter().map(Member::drive).collect(),
        is_trial,
    };
    recover(&raid, &mut io)
}

/// Sectors that nobody can compute.
fn unreadable_sectors(report: &Report) -> u64 {
    let sectors = |range: &MemberRange| u64::from(range.sectors);
    report.unreadable.iter().map(sectors).sum()
}

fn refused(number: LunNumber, reason: &str) -> AdminError {
    AdminError::Io(format!(
        "the redo log of LUN {number} could not be recovered, so the LUN is not served: {reason}"
    ))
}

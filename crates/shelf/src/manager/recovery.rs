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
//! 4. what still cannot be told is noted in the members' bad-block logs, so that it is never read: parity is
//!    what is noted. It is also in the list of what is lost ([`super::lost`]): so the stripe can be written
//!    like any other, and only what is lost is an error to read until it is written. Without a place in the
//!    list a stripe is whole again when a write gives everything that parity is computed from, which is all
//!    that is lost of it at once; until then the same sectors of the other members can be read but not
//!    written: there would be no parity for them;
//! 5. the record gets the next epoch, in which groups begin at 1 again, and says whether parity matches.
//!
//! After a crash in between it is done again from the start. A log is *void* when Linux changed the array
//! since: it knows nothing of what was written there.

use super::drives::Drives;
use super::lost::what_mends;
use super::raid::{Member, Raid};
use super::twin::Device;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, PartId};
use raid::bad_blocks::BadRange;
use raid::log::recovery::{
    LoggedRaid, MemberIo, MemberRange, PresentMember, RecoveryError, Report, recover,
};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::Record;
use std::collections::BTreeMap;

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
    pub(super) fn doubt_log(&mut self, id: PartId) {
        let number = id.lun;
        let Some(raid) = self.raids.get(&id) else {
            return;
        };
        if raid.log_state != LogState::Pending || raid.late.is_empty() || !raid.can_serve() {
            return;
        }
        // A member that fails will be given up when it is served.
        let Ok(report) = run(&mut self.drives, raid, true) else {
            return;
        };
        let sectors = unreadable_sectors(&report);
        if sectors == 0 {
            return;
        }
        let late = raid.element_names(&raid.late);
        let mended = what_mends(raid, &report);
        if let Some(raid) = self.raids.get_mut(&id) {
            raid.doubt = Some(format!(
                "{sectors} sectors were being overwritten when it stopped, and cannot be computed without \
                 elements {late}: bring their drives back; online {number} serves it without them, and \
                 these sectors are unreadable until {mended}"
            ));
        }
    }

    /// Before anything is changed for a LUN to go live: a void log is done with.
    pub(super) fn check_log(&mut self, id: PartId) -> Result<(), AdminError> {
        let name = self.name_of(id);
        let Some(raid) = self.raids.get(&id) else {
            return Err(AdminError::NoSuchLun(id.lun));
        };
        match raid.log_state {
            LogState::Settled | LogState::Pending => Ok(()),
            LogState::Void => {
                let text = format!(
                    "{name} was used by Linux after an unclean stop; its redo log is not replayed"
                );
                self.notices.push(text);
                self.begin_epoch(id)?;
                Ok(())
            }
        }
    }

    /// Recovers a pending log, and begins the next epoch. The superblocks have left absent members
    /// behind.
    pub(super) fn settle_log(&mut self, id: PartId) -> Result<(), AdminError> {
        loop {
            let Some(raid) = self.raids.get(&id) else {
                return Err(AdminError::NoSuchLun(id.lun));
            };
            if raid.log_state != LogState::Pending {
                return self.begin_epoch(id);
            }
            let Some(raid) = self.raids.get(&id) else {
                return Err(AdminError::NoSuchLun(id.lun));
            };
            #[cfg(feature = "planted")]
            if planted::is(Bug::LogNotReplayed) {
                return self.begin_epoch(id);
            }
            match run(&mut self.drives, raid, false) {
                Ok(report) => {
                    self.note_recovered(id, &report);
                    self.note_unreadable(id, &report)?;
                    return self.begin_epoch(id);
                }
                Err(RecoveryError::Member { element, error, .. }) => {
                    let Some(mut rounds) = self.rounds(id) else {
                        return Err(AdminError::NoSuchLun(id.lun));
                    };
                    let failures = vec![(Device::member(element), error)];
                    if !rounds.can_lose(&failures) {
                        let (_, reason) = &failures[0];
                        return Err(refused(id.lun, reason));
                    }
                    rounds
                        .give_up(&failures)
                        .map_err(|reason| refused(id.lun, &reason))?;
                }
                Err(error) => return Err(refused(id.lun, &error.to_string())),
            }
        }
    }

    /// What the recovery of a log would do.
    pub(super) fn try_log(&mut self, id: PartId) -> Result<Report, String> {
        let Some(raid) = self.raids.get(&id) else {
            return Err(AdminError::NoSuchLun(id.lun).to_string());
        };
        run(&mut self.drives, raid, true).map_err(|error| error.to_string())
    }

    /// Makes the next epoch durable, and what is known of parity with it.
    fn begin_epoch(&mut self, id: PartId) -> Result<(), AdminError> {
        let Some(raid) = self.raids.get_mut(&id) else {
            return Err(AdminError::NoSuchLun(id.lun));
        };
        let Some(log) = raid.record.log else {
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
            parity_synced: !raid.is_unsynced,
            ..raid.record.clone()
        };
        self.record(id, record)?;
        if let Some(raid) = self.raids.get_mut(&id) {
            raid.log_state = LogState::Settled;
        }
        Ok(())
    }

    /// Makes durable whether parity matches all over, if the record says otherwise.
    pub(super) fn note_parity(&mut self, id: PartId) -> Result<(), AdminError> {
        let Some(raid) = self.raids.get(&id) else {
            return Ok(());
        };
        let parity_synced = !raid.is_unsynced;
        if raid.record.log.is_none() || raid.record.parity_synced == parity_synced {
            return Ok(());
        }
        let record = Record {
            parity_synced,
            ..raid.record.clone()
        };
        self.record(id, record)
    }

    /// What nobody can compute is not to be read: the parity of these stripes is bad, durably.
    fn note_unreadable(&mut self, id: PartId, report: &Report) -> Result<(), AdminError> {
        let name = self.name_of(id);
        let mut bad = BTreeMap::<u8, Vec<BadRange>>::new();
        for range in report.bad_parity.iter().chain(&report.unreadable) {
            bad.entry(range.element).or_default().push(BadRange {
                sector: range.member_sector,
                sectors: u64::from(range.sectors),
            });
        }
        for (element, ranges) in bad {
            let Some(raid) = self.raids.get(&id) else {
                return Err(AdminError::NoSuchLun(id.lun));
            };
            if raid.members[usize::from(element)].is_in_use() {
                self.add_bad_blocks(id.lun, id.part, element, &ranges)?;
            }
        }
        let sectors = unreadable_sectors(report);
        if sectors > 0 {
            let mended = self.list_lost(id, report);
            self.notices.push(format!(
                "{name}: {sectors} sectors that were being overwritten at an unclean stop cannot be \
                 computed without the members that are gone, and are unreadable until {mended}"
            ));
        }
        Ok(())
    }

    fn note_recovered(&mut self, id: PartId, report: &Report) {
        let name = self.name_of(id);
        let (replayed, checked) = (report.slices_replayed, report.slices_checked);
        if replayed + checked > 0 {
            self.notices.push(format!(
                "{name}: what was being written at an unclean stop was completed: {replayed} slices \
                 from the redo log, {checked} checked, of which {} had to be repaired",
                report.slices_repaired
            ));
        }
    }
}

fn run(drives: &mut Drives, raid: &Raid, is_trial: bool) -> Result<Report, RecoveryError<String>> {
    let (Some(set_uuid), Some(parameters)) = (raid.set_uuid, raid.record.log) else {
        return Ok(Report::default());
    };
    let present = |member: &Member| {
        let view = member.view()?;
        let all_sectors = raid.geometry.member_sectors();
        Some(PresentMember {
            tag: view.log_tag,
            log_area: view.log_area,
            data_offset_sectors: view.data_offset_sectors,
            synced_sectors: member
                .rebuilt_before()
                .map_or(all_sectors, |lba| raid.geometry.member_sectors_before(lba)),
        })
    };
    let bad_blocks: Vec<(u8, BadRange)> = raid
        .elements()
        .filter_map(|(element, member)| Some((element, member.metadata()?)))
        .flat_map(|(element, metadata)| {
            let offset = metadata.superblock.data_offset_sectors();
            let bad = raid.real_bad_blocks(element, metadata);
            let own = bad.ranges().iter().map(|range| {
                let sector = range.sector.saturating_sub(offset);
                (element, BadRange { sector, ..*range })
            });
            own.collect::<Vec<_>>()
        })
        .collect();
    let members: Vec<Option<PresentMember>> = raid.members.iter().map(present).collect();
    let logged = LoggedRaid {
        set_uuid,
        geometry: raid.geometry,
        parameters,
        members: &members,
        bad_blocks: &bad_blocks,
    };
    let mut io = LogIo {
        drives,
        slots: raid.members.iter().map(Member::drive).collect(),
        is_trial,
    };
    recover(&logged, &mut io)
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

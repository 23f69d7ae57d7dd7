//! Members by the administrator's word: failed, taken into use again, replaced.

use super::drives::{Entry, Usage};
use super::join::{Joining, divide};
use super::raid::Member;
use super::twin::Device;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, DriveState, ElementId, PartId};
use crate::target::ScrubFinding;
use aoe::SECTOR_BYTES;
use raid::layout::MetadataPlaces;

impl Manager {
    /// The member that is an element of a LUN that keeps records.
    pub(super) fn member(&self, id: ElementId) -> Result<&Member, AdminError> {
        self.lun(id.lun)?;
        let raid = self.raids.get(&id.raid());
        raid.and_then(|raid| raid.members.get(usize::from(id.member)))
            .ok_or(AdminError::NoSuchElement(id))
    }

    pub(super) fn fail_element(&mut self, id: ElementId) -> Result<(), AdminError> {
        let is_in_use = self.member(id)?.is_in_use();
        let raid = &self.raids[&id.raid()];
        if !raid.is_redundant() {
            return Err(AdminError::NotRedundant {
                raid: id.raid(),
                but: "would not sustain failure",
            });
        }
        if !raid.can_serve() {
            return Err(AdminError::RaidFailed(id.raid()));
        }
        if !is_in_use {
            return Err(AdminError::AlreadyFailed(id));
        }
        if !raid.can_serve_without(&[id.member]) {
            return Err(AdminError::WouldFailRaid(id));
        }
        let is_whole = raid.members[usize::from(id.member)].is_normal();
        if is_whole && raid.is_unsynced && raid.geometry.parity_count() > 0 {
            return Err(AdminError::UninitializedParity(id.raid()));
        }
        let Some(mut rounds) = self.rounds(id.raid()) else {
            return Err(AdminError::NoSuchLun(id.lun));
        };
        let failures = vec![(Device::member(id.member), "failed by command".to_owned())];
        let failed = rounds
            .give_up(&failures)
            .map_err(|reason| AdminError::Io(format!("{id} was not failed: {reason}")));
        let attached = self.attach_if_live(id.lun);
        failed?;
        attached
    }

    pub(super) fn unfail_element(&mut self, id: ElementId) -> Result<(), AdminError> {
        match *self.member(id)? {
            Member::Failed { drive } => self.rebuild(id, drive, false),
            Member::Missing => Err(AdminError::MissingDevice(id)),
            Member::Normal { .. } | Member::Rebuilding { .. } => Err(AdminError::NotFailed(id)),
        }
    }

    pub(super) fn replace_element(
        &mut self,
        id: ElementId,
        drive: DriveSlot,
        force: bool,
    ) -> Result<(), AdminError> {
        if self.member(id)?.is_in_use() {
            return self.begin_twin(id, drive, force);
        }
        self.rebuild(id, drive, force)
    }

    /// Begins to fill a drive that is to take the place of an element that still works.
    pub(super) fn begin_twin(
        &mut self,
        id: ElementId,
        drive: DriveSlot,
        force: bool,
    ) -> Result<(), AdminError> {
        let cannot = |is| Err(AdminError::Replacement { element: id, is });
        match self.member(id)? {
            Member::Normal { twin: Some(_), .. } => return cannot("is being replaced already"),
            Member::Normal { .. } => {}
            Member::Rebuilding { .. } => {
                return cannot(
                    "is being rebuilt: wait until it is done, or fail it before it is replaced",
                );
            }
            Member::Failed { .. } | Member::Missing => return Err(AdminError::AlreadyFailed(id)),
        }
        self.join(id, Device::twin(id.member), drive, force)
    }

    /// Drops the drive that is to take the place of an element.
    pub(super) fn fail_twin(&mut self, id: ElementId) -> Result<(), AdminError> {
        if self.member(id)?.twin().is_none() {
            let is = "is not being replaced";
            return Err(AdminError::Replacement { element: id, is });
        }
        let Some(mut rounds) = self.rounds(id.raid()) else {
            return Err(AdminError::NoSuchLun(id.lun));
        };
        let failures = vec![(Device::twin(id.member), "failed by command".to_owned())];
        let failed = rounds.give_up(&failures).map_err(|reason| {
            AdminError::Io(format!("the replacement of {id} was not failed: {reason}"))
        });
        let attached = self.attach_if_live(id.lun);
        failed?;
        attached
    }

    /// Rebuilds an element that takes no I/O on a drive.
    pub(super) fn rebuild(
        &mut self,
        id: ElementId,
        drive: DriveSlot,
        force: bool,
    ) -> Result<(), AdminError> {
        self.join(id, Device::member(id.member), drive, force)
    }

    /// Makes a drive a device of an element, to be filled.
    fn join(
        &mut self,
        id: ElementId,
        device: Device,
        drive: DriveSlot,
        force: bool,
    ) -> Result<(), AdminError> {
        let raid = self
            .raids
            .get(&id.raid())
            .ok_or(AdminError::NoSuchLun(id.lun))?;
        if !raid.is_redundant() {
            return Err(AdminError::NotRedundant {
                raid: id.raid(),
                but: "cannot rebuild a drive",
            });
        }
        if !raid.can_serve() {
            return Err(AdminError::RaidFailed(id.raid()));
        }
        let joining = self.fit_joining(id, drive, force)?;
        let Some(mut rounds) = self.rounds(id.raid()) else {
            return Err(AdminError::NoSuchLun(id.lun));
        };
        let joined = rounds.join(device, &joining);
        if joined.is_ok() {
            self.spare_was_taken(drive);
            self.drives.claim(drive, id);
            self.note_present(id);
            self.note_outgoing(id.lun);
            self.notices.push(if device.is_twin {
                format!("beginning replacement of device {id} by the drive in slot {drive}")
            } else {
                format!("beginning recovery of drive in slot {drive} (device {id})")
            });
        }
        self.begin_pass(id.raid());
        // Also after an error: the round may have given up a member.
        let attached = self.attach_if_live(id.lun);
        joined.map_err(|reason| {
            let drive = self.drive_name(drive);
            AdminError::Io(format!("{id} is not rebuilt on {drive}: {reason}"))
        })?;
        attached
    }

    /// Whether a spare is dedicated to another LUN.
    fn is_for_another(&self, slot: DriveSlot, lun: LunNumber) -> bool {
        let spare = self.spares.iter().find(|spare| spare.drive == slot);
        spare
            .and_then(super::spares::Spare::dedicated_to)
            .is_some_and(|dedicated| dedicated != lun)
    }

    /// An element is in use: it is not away any more.
    fn note_present(&mut self, id: ElementId) {
        let Some(raid) = self.raids.get_mut(&id.raid()) else {
            return;
        };
        raid.late.retain(|element| *element != id.member);
        if !raid.record.away.contains(&id.member) {
            return;
        }
        let mut record = raid.record.clone();
        record.away.retain(|element| *element != id.member);
        if let Err(error) = self.record(id.raid(), record) {
            self.notices.push(error.to_string());
        }
    }

    /// The next view of a RAID begins a new pass, if it needs one.
    pub(super) fn begin_pass(&mut self, id: PartId) {
        // One counter for all: a report of a RAID that was removed never fits its successor.
        self.last_pass += 1;
        let pass = self.last_pass;
        if let Some(raid) = self.raids.get_mut(&id) {
            raid.sync_pass = pass;
            raid.scrub_counted = ScrubFinding::default();
            raid.sync_noted = 0;
            raid.is_sync_stopped = false;
        }
    }

    /// Checks a drive that is to be rebuilt on.
    fn fit_joining(
        &mut self,
        id: ElementId,
        slot: DriveSlot,
        force: bool,
    ) -> Result<Joining, AdminError> {
        let drive = self.drive_name(slot);
        let member = self.member(id)?.clone();
        let geometry = self.raids[&id.raid()].geometry;
        let Some(entry) = self.drives.get(slot) else {
            return Err(AdminError::NoSuchDrive(drive));
        };
        let size_sectors = up(entry, &drive)?;
        self.expect_quiet(slot)?;
        match &entry.usage {
            Usage::Element(_) if member.drive() == Some(slot) && !member.is_in_use() => {}
            Usage::Element(_) | Usage::Working(_) => return Err(AdminError::DriveInUse(drive)),
            Usage::Spare if self.is_for_another(slot, id.lun) => {
                return Err(AdminError::DriveInUse(drive));
            }
            usage => {
                if let Some(what) = usage.foreign().filter(|_| !force) {
                    return Err(AdminError::DriveForeign { drive, what });
                }
            }
        }
        let chunk_sectors = geometry.chunk_sectors();
        let divided = divide(&mut self.drives, slot, size_sectors, chunk_sectors)
            .map_err(|reason| AdminError::Io(format!("{id} is not rebuilt: {reason}")))?;
        if let Some((layout, _)) = &divided {
            self.expect_fitting_unit(id.raid(), slot, layout.data_offset_sectors)?;
        }
        let room_sectors = divided
            .as_ref()
            .map_or(0, |(layout, _)| layout.data_sectors);
        let log = self.raids[&id.raid()].record.log;
        if let (Some(log), Some((layout, _))) = (log, &divided)
            && !MetadataPlaces::of(layout.data_offset_sectors)
                .is_some_and(|places| log.fits(places.redo_log))
        {
            let raid = id.raid();
            let text = format!("{drive} has no room for the redo log of raid {raid}");
            return Err(AdminError::Io(text));
        }
        match divided {
            Some((layout, present)) if room_sectors >= geometry.member_sectors() => Ok(Joining {
                drive: slot,
                layout,
                device_uuid: (self.new_uuid)(),
                present,
            }),
            _ => Err(AdminError::NotLargeEnough {
                drive,
                raid: id.raid(),
                room_bytes: room_sectors * SECTOR_BYTES as u64,
                needed_bytes: geometry.member_sectors() * SECTOR_BYTES as u64,
            }),
        }
    }
}

/// Refuses a drive that something is made of, and one that carries something unless that is forced.
pub(super) fn expect_unused(entry: &Entry, name: &str, force: bool) -> Result<(), AdminError> {
    match &entry.usage {
        Usage::Element(_) | Usage::Spare | Usage::Working(_) => {
            Err(AdminError::DriveInUse(name.to_owned()))
        }
        usage => match usage.foreign().filter(|_| !force) {
            Some(what) => Err(AdminError::DriveForeign {
                drive: name.to_owned(),
                what,
            }),
            None => Ok(()),
        },
    }
}

/// The size of a drive, if it is up.
pub(super) fn up(entry: &Entry, name: &str) -> Result<u64, AdminError> {
    let (state, reason) = entry.state();
    let size_sectors = entry.size_sectors().filter(|_| state == DriveState::Up);
    size_sectors.ok_or_else(|| AdminError::DriveNotUp {
        drive: name.to_owned(),
        state: state.name(),
        reason: reason.map(str::to_owned),
    })
}

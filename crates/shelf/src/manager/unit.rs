//! LUNs with drives whose sectors have 4096 bytes: which unit a LUN has, and where such a drive does not fit.
//!
//! Invariants:
//! * the unit of a LUN is as large as that of each of its drives that are in use;
//! * it is the same from when the data path gets the LUN until it lets go of it, so that no command, and no
//!   round of a stripe, is of sectors that a drive does not take. When a drive with larger sectors joins, the
//!   LUN leaves the data path and comes back, as a LUN that goes offline and online;
//! * such a drive holds no element of a LUN whose sizes, or whose data on it, are not whole units: nothing on
//!   it is read or written in part.

use super::drives::Drives;
use super::lun::Lun;
use super::raid::{Member, Raid};
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, PartId};
use crate::plane::Detached;
use raid::Unit;
use std::collections::BTreeMap;

/// The units of the LUNs that the data path has.
pub(super) type Units = BTreeMap<LunNumber, Unit>;

impl Manager {
    /// The unit that a LUN is to have in the data path. The one that it has there it keeps, if that is
    /// larger.
    pub(super) fn unit_of(&self, lun: &Lun<'_>) -> Unit {
        let live = lun.raids().filter(|raid| raid.is_live);
        let members = live.flat_map(|raid| raid.members.iter().filter(|member| member.is_in_use()));
        let drives = members.flat_map(Member::drives);
        let largest = drives.map(|drive| self.drives.unit(drive)).max();
        let present = self.units.get(&lun.number()).copied();
        largest.max(present).unwrap_or_default()
    }

    /// Whether the data path has a LUN with a smaller unit.
    pub(super) fn unit_rises(&self, number: LunNumber, unit: Unit) -> bool {
        let present = self.units.get(&number);
        present.is_some_and(|present| *present < unit)
    }

    /// Takes a LUN from the data path, so that it comes back with a larger unit.
    ///
    /// # Errors
    /// When the workers did not let go of it, or it cannot be served again.
    pub(super) fn raise_unit(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let detached = self.let_go(number).map_err(|reason| {
            AdminError::Io(format!(
                "the workers did not let go of LUN {number}, which has a drive with larger sectors now: {reason}"
            ))
        })?;
        self.note_detached(number, detached);
        let served = self.go_live(number);
        if let Err(error) = &served {
            self.notices.push(format!(
                "LUN {number} is not served any more, since a drive with larger sectors has joined it: {error}"
            ));
        }
        served
    }

    /// Takes a LUN from the data path.
    ///
    /// # Errors
    /// When the workers did not let go of it.
    pub(super) fn let_go(&mut self, number: LunNumber) -> Result<Detached, String> {
        let detached = self.plane.detach(number)?;
        self.units.remove(&number);
        Ok(detached)
    }

    /// Whether a drive may hold an element of a LUN, by its sectors.
    pub(super) fn expect_fitting_unit(
        &self,
        id: PartId,
        slot: DriveSlot,
        data_offset_sectors: u64,
    ) -> Result<(), AdminError> {
        let unit = self.drives.unit(slot);
        let odd = self.lun(id.lun)?.raids().find(|raid| !raid.fits_unit(unit));
        let of_offset = (!unit.divides(data_offset_sectors)).then_some(id);
        match odd.map(|raid| raid.id).or(of_offset) {
            None => Ok(()),
            Some(raid) => Err(AdminError::SectorsDoNotFit {
                drive: self.drive_name(slot),
                sector_bytes: unit.bytes(),
                raid,
            }),
        }
    }
}

/// Why a RAID cannot be served from its drives, because of their sectors.
pub(super) fn unfit_unit(drives: &Drives, raid: &Raid) -> Option<String> {
    let id = raid.id;
    let of_member = |member: &Member| {
        let twin = member.twin().map(super::twin::Twin::view);
        let mut devices = member.view().into_iter().chain(twin);
        let odd = devices.find(|device| {
            let unit = drives.unit(device.drive);
            !unit.divides(device.data_offset_sectors) || !raid.fits_unit(unit)
        })?;
        let (slot, bytes) = (odd.drive, drives.unit(odd.drive).bytes());
        Some(format!(
            "the drive in slot {slot} has sectors of {bytes} bytes, and raid {id} was made with sizes that are \
             not whole ones"
        ))
    };
    raid.members.iter().find_map(of_member)
}

//! Members that fail while the LUN is served.

use super::lun::{Lun, ids_of};
use super::raid::{Member, Raid};
use super::twin::Device;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, PartId};
use raid::bad_blocks::BadRange;

/// What became of a member that failed an I/O.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberFailure {
    /// The LUN goes on without it.
    GivenUp,
    /// It holds the last copy of something and stays; its errors are the initiator's.
    Kept,
}

impl Manager {
    /// The data path met an I/O error on a member. If the others hold all data, the member is given
    /// up: durably on the survivors first, then in the view, which is attached anew in any case,
    /// because commands may wait for that. A failure of another drive than the member's concerns a LUN
    /// that is no more, and is ignored.
    ///
    /// # Errors
    /// No such LUN or member, the survivors failed to record it (then the member is kept), or the
    /// workers did not take the view.
    pub(super) fn member_failed(
        &mut self,
        number: LunNumber,
        part: u8,
        member: u8,
        drive: DriveSlot,
        reason: &str,
    ) -> Result<MemberFailure, AdminError> {
        let device = (PartId { lun: number, part }, member, drive);
        self.answer_failure(device, None, reason)
    }

    /// As [`Manager::member_failed`], of a write of this range of the drive. A member that holds the last
    /// copy of something, and is kept for it, may hold a mixture there. With parity the other blocks of the
    /// stripe may hold the write, so that what is lost would be computed from old and new: before the view is
    /// attached the sectors are noted as bad, durably, and whatever needs them is an error until all that is
    /// lost of the stripe is written at once. Until the view comes the redo log keeps what was to be written.
    ///
    /// # Errors
    /// As [`Manager::member_failed`].
    pub(super) fn member_not_written(
        &mut self,
        number: LunNumber,
        part: u8,
        member: u8,
        (drive, range): (DriveSlot, &BadRange),
        reason: &str,
    ) -> Result<MemberFailure, AdminError> {
        let device = (PartId { lun: number, part }, member, drive);
        self.answer_failure(device, Some(range), reason)
    }

    fn answer_failure(
        &mut self,
        (raid, member, drive): (PartId, u8, DriveSlot),
        unwritten: Option<&BadRange>,
        reason: &str,
    ) -> Result<MemberFailure, AdminError> {
        self.plugs.note_failure(drive, self.uptime);
        self.lun(raid.lun)?;
        let id = raid.element(member);
        let no_element = || AdminError::Io(format!("element {id} does not exist"));
        let mut rounds = self.rounds(raid).ok_or_else(no_element)?;
        let present = rounds.raid.members.get(usize::from(member));
        let present = present.ok_or_else(no_element)?;
        let is_twin = present.twin().is_some_and(|twin| twin.drive == drive);
        let is_own = present.drive() == Some(drive) && present.is_in_use();
        if !is_twin && !is_own && !rounds.raid.is_view_stale {
            // An I/O of an older view: its command has seen the present one, or will. Or of an older LUN of
            // that number, which has other drives.
            return Ok(MemberFailure::GivenUp);
        }
        let decided = if is_twin {
            let failures = vec![(Device::twin(member), reason.to_owned())];
            rounds.give_up(&failures).map(|()| MemberFailure::GivenUp)
        } else if !is_own {
            Ok(MemberFailure::GivenUp)
        } else if rounds.raid.is_redundant() && rounds.raid.can_serve_without(&[member]) {
            rounds
                .give_up(&vec![(Device::member(member), reason.to_owned())])
                .map(|()| MemberFailure::GivenUp)
        } else {
            let text = format!("element {id} holds the last copy and is kept: {reason}");
            rounds.notices.push(text);
            Ok(MemberFailure::Kept)
        };
        if let (Ok(MemberFailure::Kept), Some(range)) = (&decided, unwritten) {
            self.note_unwritten(raid, member, range);
        }
        let attached = self.attach_if_live(raid.lun);
        let decided = decided.map_err(|reason| {
            AdminError::Io(format!(
                "the failure of {id} could not be recorded: {reason}"
            ))
        })?;
        attached?;
        Ok(decided)
    }

    /// Notes what a last copy did not take, if parity may have it. If that cannot be made durable, nobody
    /// knows after a crash what not to read: then the LUN is not served any more, and its redo log is kept.
    fn note_unwritten(&mut self, id: PartId, member: u8, range: &BadRange) {
        let Some(raid) = self.raids.get(&id) else {
            return;
        };
        let Some(Member::Normal {
            data_offset_sectors,
            ..
        }) = raid.members.get(usize::from(member))
        else {
            return;
        };
        let has_parity = raid.geometry.parity_count() > 0;
        // A record of the redo log that could not be written changed nothing.
        let sector = range.sector.checked_sub(*data_offset_sectors);
        let Some(sector) = sector.filter(|_| has_parity) else {
            return;
        };
        let own = BadRange {
            sector,
            sectors: range.sectors,
        };
        let Err(error) = self.note_bad_blocks(id, Device::member(member), &[own]) else {
            return;
        };
        self.notices.push(error.to_string());
        let has_log = |raid: &Raid| raid.is_live && raid.record.log.is_some();
        if !self.raids.get(&id).is_some_and(has_log) {
            return;
        }
        let name = self.name_of(id);
        self.notices.push(format!(
            "{name} is not served any more: what its last copy did not take is only in its redo log"
        ));
        if let Err(error) = self.stop(id.lun) {
            self.notices.push(error.to_string());
        }
    }

    /// The pass of one RAID of a LUN is the next. If the data path was told to leave it for that of another
    /// meanwhile, it is a new one: it counts from its beginning.
    fn give_turn(&mut self, number: LunNumber, holder: Option<PartId>) {
        let mut is_new = false;
        for (id, raid) in self.raids.range_mut(ids_of(number)) {
            if holder == Some(*id) {
                is_new = std::mem::take(&mut raid.is_passed_over);
            } else {
                raid.is_passed_over |= raid.pass().is_some();
            }
        }
        if let Some(id) = holder.filter(|_| is_new) {
            self.begin_pass(id);
        }
    }

    /// Hands the present view of a LUN that is served to the workers.
    pub(super) fn attach_if_live(&mut self, number: LunNumber) -> Result<(), AdminError> {
        self.note_outgoing(number);
        let (Some(lun), Some(shelf)) = (Lun::of(&self.raids, number), self.shelf) else {
            return Ok(());
        };
        if !lun.is_live() {
            return Ok(());
        }
        let unit = self.unit_of(&lun);
        if self.unit_rises(number, unit) {
            return self.raise_unit(number);
        }
        let holder = lun.pass_holder();
        self.give_turn(number, holder);
        let Some(lun) = Lun::of(&self.raids, number) else {
            return Ok(());
        };
        let view = lun.view(shelf, unit).into();
        self.tell_bad_blocks(number)?;
        self.units.insert(number, unit);
        let attached = self.plane.attach(view);
        for (_, raid) in self.raids.range_mut(ids_of(number)) {
            raid.is_view_stale = attached.is_err();
        }
        attached.map_err(|reason| {
            AdminError::Io(format!("the workers did not take LUN {number}: {reason}"))
        })
    }
}

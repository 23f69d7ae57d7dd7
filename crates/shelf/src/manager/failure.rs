//! Members that fail while the LUN is served.

use super::lun::{Lun, ids_of};
use super::twin::Device;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, PartId};

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
    pub fn member_failed(
        &mut self,
        number: LunNumber,
        part: u8,
        member: u8,
        drive: DriveSlot,
        reason: &str,
    ) -> Result<MemberFailure, AdminError> {
        self.lun(number)?;
        let raid = PartId { lun: number, part };
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
        let attached = self.attach_if_live(number);
        let decided = decided.map_err(|reason| {
            AdminError::Io(format!(
                "the failure of {id} could not be recorded: {reason}"
            ))
        })?;
        attached?;
        Ok(decided)
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
        let holder = lun.pass_holder();
        self.give_turn(number, holder);
        let Some(lun) = Lun::of(&self.raids, number) else {
            return Ok(());
        };
        let view = lun.view(shelf).into();
        self.tell_bad_blocks(number)?;
        let attached = self.plane.attach(view);
        for (_, raid) in self.raids.range_mut(ids_of(number)) {
            raid.is_view_stale = attached.is_err();
        }
        attached.map_err(|reason| {
            AdminError::Io(format!("the workers did not take LUN {number}: {reason}"))
        })
    }
}

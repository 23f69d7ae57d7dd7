//! Members that fail while the LUN is served.

use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot};

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
        let mut rounds = self.rounds(number).ok_or(AdminError::NoSuchLun(number))?;
        let Some(present) = rounds
            .lun
            .members
            .get(usize::from(member))
            .filter(|_| part == 0)
        else {
            let text = format!("element {number}.{part}.{member} does not exist");
            return Err(AdminError::Io(text));
        };
        if present.drive() != Some(drive) {
            // An I/O of an older LUN of that number, which has other drives.
            return Ok(MemberFailure::GivenUp);
        }
        if !present.is_in_use() && !rounds.lun.is_view_stale {
            // An I/O of an older view: its command has seen the present one, or will.
            return Ok(MemberFailure::GivenUp);
        }
        let decided = if !present.is_in_use() {
            Ok(MemberFailure::GivenUp)
        } else if rounds.lun.is_redundant() && rounds.lun.can_serve_without(&[member]) {
            rounds
                .give_up(&vec![(member, reason.to_owned())])
                .map(|()| MemberFailure::GivenUp)
        } else {
            let id = rounds.lun.element_id(member);
            let text = format!("element {id} holds the last copy and is kept: {reason}");
            rounds.notices.push(text);
            Ok(MemberFailure::Kept)
        };
        let attached = self.attach_if_live(number);
        let id = format!("{number}.{part}.{member}");
        let decided = decided.map_err(|reason| {
            AdminError::Io(format!(
                "the failure of {id} could not be recorded: {reason}"
            ))
        })?;
        attached?;
        Ok(decided)
    }

    /// Hands the present view of a LUN that is served to the workers.
    pub(super) fn attach_if_live(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let (Some(lun), Some(shelf)) = (self.luns.get(&number), self.shelf) else {
            return Ok(());
        };
        if !lun.is_live {
            return Ok(());
        }
        let view = lun.view(shelf).into();
        self.tell_bad_blocks(number)?;
        let attached = self.plane.attach(view);
        if let Some(lun) = self.luns.get_mut(&number) {
            lun.is_view_stale = attached.is_err();
        }
        attached.map_err(|reason| {
            AdminError::Io(format!("the workers did not take LUN {number}: {reason}"))
        })
    }
}

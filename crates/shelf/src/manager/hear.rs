//! What the data path reports, and who deals with it.

use super::{Manager, MemberFailure};
use crate::admin::AdminError;
use crate::target::{Operation, PassEvent, Purpose, Report};

impl Manager {
    /// Deals with a report of the data path. Gives what was decided about a member that did not take a write,
    /// or hangs; whatever it was, the commands that wait for it get a view.
    pub fn hear(&mut self, report: &Report) -> Option<Result<MemberFailure, AdminError>> {
        match *report {
            Report::MemberError { lun, io } => {
                let (part, member, range) = (io.part, io.member, io.range());
                if io.operation == Operation::Read {
                    // The other copy was read instead, or the initiator was told; the member stays.
                    self.member_not_read(lun, part, member, io.drive, &range);
                } else if io.purpose == Purpose::Repair {
                    self.member_not_repaired(lun, part, member, io.drive, &range);
                } else {
                    let what = format!("{io} failed");
                    let at = (io.drive, &range);
                    return Some(self.member_not_written(lun, part, member, at, &what));
                }
            }
            Report::MemberHangs { lun, io } => {
                let what = format!("{io} is not answered");
                return Some(self.member_hangs(lun, io.part, io.member, io.drive, &what));
            }
            Report::WantRegions { lun, part, group } => self.want_regions(lun, part, &[group]),
            Report::BadSectorsWritten {
                drive,
                range,
                ticket,
            } => self.bad_blocks_written(drive, &range, ticket),
            Report::LostWritten {
                lun,
                part,
                element,
                range,
                epoch,
                ticket,
            } => self.lost_written(lun, part, (element, &range), epoch, ticket),
            Report::Pass {
                lun,
                part,
                pass,
                event,
            } => match event {
                PassEvent::Reached(lba) => self.sync_reached(lun, part, pass, lba),
                PassEvent::Found(found) => self.scrub_found(lun, part, pass, &found),
                PassEvent::Unreadable(lacking) => self.sync_unreadable(lun, part, pass, &lacking),
                PassEvent::Ended { complete } => self.sync_ended(lun, part, pass, complete),
            },
        }
        None
    }
}

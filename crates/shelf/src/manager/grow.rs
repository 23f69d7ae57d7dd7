//! `grow`: another RAID for a LUN that is there.
//!
//! How it survives a crash at any write: the new set is written as `make` writes one, with records that say
//! `Making`; then the record of the LUN's first RAID names it; then its own records turn to `Complete`. The
//! change is done when one member of the first RAID names it: a start goes on from there. A set that says
//! `Making` and that no first RAID names was never served, and is erased by the start, unless an element is
//! away that was to name it: then it waits. One that says `Complete` may hold data: it is never erased, and
//! if the first RAID does not know it, that one is out of date ([`super::further`]). So no RAID is served
//! before its records say `Complete`.

use super::Manager;
use super::drives::Usage;
use super::lun::PARTS_MAX;
use super::raid::{Member, Raid};
use super::removal::erase_drive;
use crate::admin::{AdminError, MakeRequest, PartId};
use raid::Level;
use raid::record::{FurtherRaid, Record, RecordState, ScrubRecord};

impl Manager {
    pub(super) fn grow_lun(&mut self, request: &MakeRequest) -> Result<(), AdminError> {
        let id = self.next_part(request)?;
        let (raid, fits) = self.plan_raid(request, id)?;
        for member in &raid.members {
            if let Some(drive) = member.drive() {
                self.expect_fitting_unit(id, drive, 0)?;
            }
        }
        self.write_part(raid)?;
        self.claim(id, &fits);
        self.complete_part(id)?;
        let number = id.lun;
        if !self.lun(number)?.is_live() {
            return Ok(());
        }
        self.serve_part(id).map_err(|error| {
            AdminError::Io(format!(
                "LUN {number} has grown, but its new part is not served before it goes online the next \
                 time: {error}"
            ))
        })
    }

    /// Which RAID is the next of a LUN, if it can have one.
    fn next_part(&self, request: &MakeRequest) -> Result<PartId, AdminError> {
        if self.is_stopping {
            return Err(AdminError::Stopping);
        }
        let number = request.lun;
        let lun = self.lun(number)?;
        let part = lun.parts();
        let refusal = if part >= PARTS_MAX {
            Some(format!("it has {PARTS_MAX} RAIDs, and that is the most"))
        } else if !lun.is_recorded() || request.level == Level::Raw {
            Some("a raw drive has no place for the record of a LUN of several RAIDs".to_owned())
        } else if request.label.is_some() {
            Some("it keeps its label while it grows; label gives it another one".to_owned())
        } else {
            lun.refusal().or_else(|| self.reason_to_wait(&lun))
        };
        match refusal {
            None => Ok(PartId { lun: number, part }),
            Some(reason) => Err(AdminError::CannotGrow {
                lun: number,
                reason,
            }),
        }
    }

    /// Writes a new RAID to its drives and names it in the first one, or leaves nothing of it there.
    fn write_part(&mut self, mut raid: Raid) -> Result<(), AdminError> {
        let (id, number) = (raid.id, raid.id.lun);
        let lun = self.lun(number)?;
        let first = lun.record();
        raid.record = Record {
            namers: lun.first_in_use(),
            serial: first.serial.clone(),
            created_unix_seconds: first.created_unix_seconds,
            scrub: ScrubRecord {
                interval_days: first.scrub.interval_days,
                repair: first.scrub.repair,
                ..ScrubRecord::default()
            },
            ..raid.record
        };
        let mut named = first.clone();
        named.parts = id.part + 1;
        named.further.push(FurtherRaid {
            set_uuid: raid.set_uuid.unwrap_or_default(),
            level: raid.geometry.level(),
            elements: raid.geometry.members(),
            capacity_sectors: raid.geometry.capacity_sectors(),
        });
        let drives: Vec<_> = raid.members.iter().flat_map(Member::drives).collect();
        self.raids.insert(id, raid);
        if let Err(reason) = self.write_making(id, &drives) {
            self.raids.remove(&id);
            let mut text = format!("LUN {number} has not grown: {reason}");
            for drive in drives {
                if let Err(reason) = erase_drive(&mut self.drives, drive) {
                    text.push_str("; not erased: ");
                    text.push_str(&reason);
                }
            }
            return Err(AdminError::Io(text));
        }
        let recorded = self.record(PartId::first(number), named);
        // Also after an error: the round may have given up a member.
        let attached = self.attach_if_live(number);
        if let Err(error) = recorded.and(attached) {
            if self.lun(number)?.parts() > id.part {
                self.notices.push(error.to_string());
                return Ok(());
            }
            // A member may name it all the same: then the next start takes it, else it erases it.
            self.raids.remove(&id);
            for drive in drives {
                let what = format!("what an interruption of the growing of LUN {number} left");
                self.drives.set_usage(drive, Usage::Foreign(what));
            }
            let text = format!("LUN {number} has not grown: {error}");
            return Err(AdminError::Io(text));
        }
        Ok(())
    }

    /// A RAID that the first one names is good: its records say so from now on.
    pub(super) fn complete_part(&mut self, id: PartId) -> Result<(), AdminError> {
        let record = match self.raids.get(&id) {
            Some(raid) if raid.record.state == RecordState::Making => Record {
                state: RecordState::Complete,
                namers: Vec::new(),
                ..raid.record.clone()
            },
            _ => return Ok(()),
        };
        self.record(id, record)
    }

    /// Serves a new RAID of a LUN that is live.
    fn serve_part(&mut self, id: PartId) -> Result<(), AdminError> {
        self.prepare_to_serve(id)?;
        self.set_part_live(id, true);
        if let Err(error) = self.attach_if_live(id.lun) {
            self.set_part_live(id, false);
            return Err(error);
        }
        self.plane.advertise(id.lun);
        Ok(())
    }

    fn set_part_live(&mut self, id: PartId, is_live: bool) {
        if let Some(raid) = self.raids.get_mut(&id) {
            raid.is_live = is_live;
        }
    }
}

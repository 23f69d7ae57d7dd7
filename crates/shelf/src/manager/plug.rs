//! Drives that are pulled and inserted while the shelf runs.
//!
//! A pulled drive takes its place in each RAID with it. Where the others hold everything the member is given
//! up as one that fails ([`super::failure`]), durably on the survivors, and noted as awaited, so that it is
//! rebuilt by the write-intent bitmap when it comes back, also after a restart. Where they do not, the LUN is
//! taken from the data path and from memory: initiators get no answer, and ask again; the drives that are
//! left are looked at as at a start, and when the one that lacks is inserted the LUN is put together and
//! served.
//!
//! Invariants:
//! * a drive that comes back is whatever its superblock says, in whichever slot; nothing that was known of
//!   the slot counts any more;
//! * a member that comes back to a RAID that is served is never read before it was rebuilt, and only one that
//!   the RAID has left behind is taken: not one that went on elsewhere, and no second copy of a drive;
//! * a LUN whose drives are inserted one by one is not served by itself before all are there that were in use
//!   when it was served last; one that was ejected is not found again by drives that come and go;
//! * an element that the administrator has failed, or that failed by itself, waits for the administrator;
//! * a slot takes no drive before the RAIDs have let go of the one before, and its job has ended.
//!
//! How it survives a crash: the failure is recorded first, then that the member is awaited. Between the two a
//! restart finds a failed member, which waits for the administrator.

use super::drives::{Drive, Usage};
use super::lun::ids_of;
use super::raid::{Member, Raid};
use super::scan::{Candidate, Occasion};
use super::twin::Device;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, ElementId, PartId};
use raid::Geometry;
use raid::md::Role;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// I/O of a drive that is pulled fails a little before the kernel tells that it is gone: whoever failed so
/// shortly before was pulled.
const FAILED_BY_PULL: Duration = Duration::from_secs(15);

/// How long no spare takes the place of a drive that was pulled: it may have been the wrong one.
const SPARE_GRACE: Duration = Duration::from_secs(30);

/// How often an element is taken back by itself within [`RETURNS_WINDOW`].
const RETURNS_MAX: usize = 3;

/// See [`RETURNS_MAX`].
const RETURNS_WINDOW: Duration = Duration::from_hours(1);

/// What is remembered of drives that came and went.
#[derive(Clone, Default)]
pub(super) struct Plugs {
    /// When I/O on these drives failed last.
    failed: BTreeMap<DriveSlot, Duration>,
    /// Slots whose drives held members that were in use when they were pulled, and are not settled.
    pulled_in_use: BTreeSet<DriveSlot>,
    /// Elements whose drives were pulled, and when.
    pulled: Vec<(ElementId, Duration)>,
    /// Elements that were taken back, and when.
    returns: Vec<(ElementId, Duration)>,
}

impl Plugs {
    /// I/O on a drive has failed.
    pub(super) fn note_failure(&mut self, drive: DriveSlot, now: Duration) {
        self.failed.insert(drive, now);
    }

    /// Whether the drive of an element was pulled a moment ago.
    pub(super) fn was_pulled_lately(&self, id: ElementId, now: Duration) -> bool {
        let mut pulled = self.pulled.iter();
        pulled.any(|(element, at)| *element == id && now < *at + SPARE_GRACE)
    }

    fn note_return(&mut self, id: ElementId, now: Duration) {
        self.pulled.retain(|(element, _)| *element != id);
        self.returns.push((id, now));
    }

    /// Whether an element came back too often.
    fn is_loose(&mut self, id: ElementId, now: Duration) -> bool {
        self.returns.retain(|(_, at)| now < *at + RETURNS_WINDOW);
        let own = self.returns.iter().filter(|(element, _)| *element == id);
        own.count() >= RETURNS_MAX
    }
}

impl Manager {
    /// The drive of a slot is gone. What could not be settled at once is tried again with each
    /// [`Manager::tick`].
    pub fn drive_pulled(&mut self, slot: DriveSlot) {
        let name = self.drive_name(slot);
        self.note_failed_drives();
        let Some(entry) = self.drives.get_mut(slot).filter(|entry| !entry.is_empty()) else {
            return;
        };
        let usage = entry.usage.clone();
        entry.becomes_empty();
        self.job_drive_pulled(slot);
        self.plugs.pulled_in_use.remove(&slot);
        self.notices.push(format!("drive {name} was pulled"));
        self.silences.retain(|silence| silence.drive() != slot);
        self.wear.forget(slot);
        self.told_bad_blocks.remove(&slot);
        if let Err(reason) = self.plane.set_bad_blocks(slot, [].into()) {
            self.notices.push(reason);
        }
        match usage {
            Usage::Element(_) => self.settle_pulled(),
            Usage::Spare => {
                self.spare_was_taken(slot);
                self.drives.set_usage(slot, Usage::Free);
            }
            Usage::Free
            | Usage::Foreign(_)
            | Usage::Former { .. }
            | Usage::Second { .. }
            | Usage::Elsewhere { .. }
            | Usage::Working(_)
            | Usage::Unfinished(_) => {
                self.drives.set_usage(slot, Usage::Free);
            }
        }
    }

    /// Whether a slot is there for a drive: it is empty, or new, and no RAID holds on to what was in it.
    #[must_use]
    pub fn may_insert(&self, slot: DriveSlot) -> bool {
        let is_empty = |entry: &super::drives::Entry| {
            entry.drive.drive.is_err() && !matches!(entry.usage, Usage::Element(_))
        };
        !self.is_stopping
            && self.expect_no_job(slot).is_ok()
            && self.drives.get(slot).is_none_or(is_empty)
    }

    /// A drive is in a slot, of which [`Manager::may_insert`] was true and in which the workers have it
    /// already. It goes where its superblock says.
    pub fn drive_inserted(&mut self, drive: Drive) {
        let slot = drive.slot;
        if !self.may_insert(slot) {
            return;
        }
        let is_up = drive.drive.is_ok();
        self.drives.insert(drive);
        self.forget_job(slot);
        if !is_up {
            return;
        }
        let name = self.drive_name(slot);
        self.notices.push(format!("drive {name} was inserted"));
        self.look_again();
    }

    /// The configuration has no such slot any more: its drive is let go of, and the slot is not listed.
    /// Nothing of it is in the data path: a drive that nobody uses has no I/O.
    ///
    /// # Errors
    /// The drive is used, and for what; then nothing has changed.
    pub fn slot_removed(&mut self, slot: DriveSlot) -> Result<(), String> {
        self.expect_no_job(slot)
            .map_err(|error| error.to_string())?;
        let Some(entry) = self.drives.get(slot) else {
            return Ok(());
        };
        let name = self.drive_name(slot);
        match &entry.usage {
            Usage::Element(id) => {
                return Err(format!(
                    "drive {name} is element {id}: replace it there, or eject or remove LUN {}",
                    id.lun
                ));
            }
            Usage::Spare => return Err(format!("drive {name} is a spare: rmspare {name}")),
            _ => {}
        }
        self.plugs.pulled_in_use.remove(&slot);
        self.silences.retain(|silence| silence.drive() != slot);
        self.wear.forget(slot);
        self.told_bad_blocks.remove(&slot);
        if let Err(reason) = self.plane.set_bad_blocks(slot, [].into()) {
            self.notices.push(reason);
        }
        self.drives.remove(slot);
        self.forget_job(slot);
        self.notices
            .push(format!("drive {name} was taken out of the configuration"));
        Ok(())
    }

    fn look_again(&mut self) {
        if !self.is_stopping {
            self.assemble(Occasion::Plug);
        }
    }

    /// Remembers on which drives I/O has failed.
    pub(super) fn note_failed_drives(&mut self) {
        for slot in self.drives.take_failed() {
            self.plugs.note_failure(slot, self.uptime);
        }
    }

    /// Lets RAIDs do without drives that were pulled.
    pub(super) fn settle_pulled(&mut self) {
        let is_left = |entry: &super::drives::Entry| match entry.usage {
            Usage::Element(id) if entry.is_empty() => Some((id, entry.drive.slot)),
            _ => None,
        };
        let left: Vec<_> = self.drives.iter().filter_map(is_left).collect();
        for (id, slot) in left {
            if let Err(error) = self.lose(id, slot) {
                let name = self.drive_name(slot);
                let text = format!("drive {name} is not let go of: {error}");
                self.notices.push(text);
            }
        }
    }

    /// The drive of an element, or of its replacement, is gone.
    fn lose(&mut self, id: ElementId, slot: DriveSlot) -> Result<(), AdminError> {
        let Some(raid) = self.raids.get(&id.raid()) else {
            self.drives.set_usage(slot, Usage::Free);
            return Ok(());
        };
        if !raid.is_recorded() {
            return self.lose_raw(id, slot);
        }
        let member = &raid.members[usize::from(id.member)];
        let is_twin = member.twin().is_some_and(|twin| twin.drive == slot);
        let is_in_use = is_twin || member.is_in_use() && member.drive() == Some(slot);
        let is_spared = is_twin
            || !is_in_use
            || raid.is_redundant() && raid.can_serve() && raid.can_serve_without(&[id.member]);
        let is_stale = raid.is_view_stale;
        if !raid.is_live || !is_spared {
            return self.take_apart(id.lun, slot);
        }
        if is_in_use {
            // Perhaps it takes several attempts.
            self.plugs.pulled_in_use.insert(slot);
            let device = if is_twin {
                Device::twin(id.member)
            } else {
                Device::member(id.member)
            };
            if let Err(reason) = self.give_up_pulled(id.raid(), device) {
                self.notices.push(reason);
                return self.take_apart(id.lun, slot);
            }
        }
        if is_in_use || is_stale {
            // Not before the workers know of it may another drive come into the slot.
            self.attach_if_live(id.lun)?;
        }
        self.forget_drive(id, slot);
        if !is_twin {
            self.await_pulled(id, slot);
        }
        Ok(())
    }

    /// Makes durable on the others that a device is no member any more.
    fn give_up_pulled(&mut self, id: PartId, device: Device) -> Result<(), String> {
        let mut rounds = self.rounds(id).ok_or("no such RAID")?;
        rounds.give_up(&vec![(device, "its drive was pulled".to_owned())])
    }

    /// Nobody holds an element any more that a pulled drive held.
    fn forget_drive(&mut self, id: ElementId, slot: DriveSlot) {
        self.drives.set_usage(slot, Usage::Free);
        let raid = self.raids.get_mut(&id.raid());
        let member = raid.and_then(|raid| raid.members.get_mut(usize::from(id.member)));
        if let Some(member) = member
            && matches!(member, Member::Failed { drive } if *drive == slot)
        {
            *member = Member::Missing;
        }
    }

    /// Notes that an element is taken back when its drive is inserted, if it was pulled while it was well.
    fn await_pulled(&mut self, id: ElementId, slot: DriveSlot) {
        let now = self.uptime;
        let was_in_use = self.plugs.pulled_in_use.remove(&slot);
        let failed = self.plugs.failed.remove(&slot);
        let fails_by_pull = failed.is_some_and(|at| now < at + FAILED_BY_PULL);
        let is_missing = self
            .member(id)
            .is_ok_and(|member| matches!(member, Member::Missing));
        if !is_missing || !(was_in_use || fails_by_pull) {
            return;
        }
        if self.plugs.is_loose(id, now) {
            self.notices.push(format!(
                "WARNING: element {id} was pulled and taken back {RETURNS_MAX} times within an hour; when it comes \
                 back, take it into use with: unfail {id}"
            ));
            return;
        }
        self.plugs.pulled.push((id, now));
        self.set_awaited(id, true);
    }

    /// A raw LUN has no records by which its drive would be known again.
    fn lose_raw(&mut self, id: ElementId, slot: DriveSlot) -> Result<(), AdminError> {
        let number = id.lun;
        if self.lun(number)?.is_live() {
            self.stop(number)?;
        }
        if let Some(raid) = self.raids.get_mut(&id.raid()) {
            raid.members[usize::from(id.member)] = Member::Missing;
        }
        self.drives.set_usage(slot, Usage::Free);
        let text = format!("raw LUN {number} has lost its drive and is not served any more");
        self.notices.push(text);
        Ok(())
    }

    /// A LUN cannot go on, or is not served: it is put together anew from the drives that are left.
    fn take_apart(&mut self, number: LunNumber, slot: DriveSlot) -> Result<(), AdminError> {
        if self.lun(number)?.is_live() {
            self.stop(number)?;
            let name = self.drive_name(slot);
            self.notices.push(format!(
                "WARNING: LUN {number} is not served any more: its drive {name} was pulled, and the others do not \
                 hold everything; it is served again when that drive is back"
            ));
        }
        self.dissolve(number);
        self.drives.set_usage(slot, Usage::Free);
        self.look_again();
        Ok(())
    }

    /// Forgets a LUN that is not served: its drives are idle, with everything that is on them.
    fn dissolve(&mut self, number: LunNumber) {
        let ids: Vec<PartId> = self
            .raids
            .range(ids_of(number))
            .map(|(id, _)| *id)
            .collect();
        for raid in ids.iter().filter_map(|id| self.raids.remove(id)) {
            for drive in raid.members.iter().flat_map(Member::drives) {
                let entry = self.drives.get(drive);
                let is_own = |entry: &super::drives::Entry| matches!(entry.usage, Usage::Element(id) if id.raid() == raid.id);
                if entry.is_some_and(is_own) {
                    self.drives.release(drive);
                }
            }
        }
    }

    /// LUNs that were found when a drive came, and lack elements that were in use when they were served last,
    /// are not served by themselves: drives come one by one, and a later one may know more than the first.
    pub(super) fn doubt_incomplete(&mut self, found: &BTreeSet<LunNumber>) {
        for number in found {
            for (_, raid) in self.raids.range_mut(ids_of(*number)) {
                if raid.late.is_empty() || raid.doubt.is_some() {
                    continue;
                }
                let late = raid.element_names(&raid.late);
                raid.doubt = Some(format!(
                    "elements {late} are away, which were in use when it was served last; it is served when they \
                     are inserted; online {number} serves it without them, and what only they hold is lost"
                ));
            }
        }
    }

    /// Forgets the LUNs that are not served and lack one of these candidates. Whether there was any.
    pub(super) fn dissolve_lacking(&mut self, candidates: &[Candidate]) -> bool {
        let lacking: Vec<LunNumber> = self
            .raids
            .values()
            .filter(|raid| {
                let mut missed = candidates.iter().filter(|candidate| raid.misses(candidate));
                !raid.is_live && missed.next().is_some()
            })
            .map(|raid| raid.id.lun)
            .collect();
        for &number in &lacking {
            if self.lun(number).is_ok_and(|lun| !lun.is_live()) {
                self.dissolve(number);
            }
        }
        !lacking.is_empty()
    }

    /// Takes a drive back into the RAID that is served without it, as a member that failed. Gives the LUN;
    /// `None` when it is none that the RAID has left behind.
    pub(super) fn take_back(&mut self, candidate: &Candidate) -> Option<LunNumber> {
        let raid = self
            .raids
            .values_mut()
            .find(|raid| raid.is_live && raid.misses(candidate))?;
        if !raid.has_left_behind(candidate) {
            return None;
        }
        let (element, drive) = (candidate.stored.record.element, candidate.drive);
        raid.members[usize::from(element)] = Member::Failed { drive };
        let id = raid.element_id(element);
        let is_awaited = raid.record.away.contains(&element);
        self.drives.claim(drive, id);
        let now = self.uptime;
        if is_awaited {
            self.plugs.note_return(id, now);
        } else {
            let name = self.drive_name(drive);
            self.notices.push(format!(
                "drive {name} is element {id}, which had failed: take it into use with: unfail {id}"
            ));
        }
        Some(id.lun)
    }
}

impl Raid {
    /// Whether a candidate is of this RAID, and the element that it was is on no drive.
    fn misses(&self, candidate: &Candidate) -> bool {
        let element = usize::from(candidate.stored.record.element);
        self.set_uuid == Some(candidate.superblock.set_uuid())
            && self.recorded_geometry() == Some(candidate.geometry)
            && !candidate.superblock.is_replacement()
            && matches!(self.members.get(element), Some(Member::Missing))
    }

    /// Its geometry as superblocks have it: without what is of no meaning to its level.
    fn recorded_geometry(&self) -> Option<Geometry> {
        let metadata = self.members.iter().find_map(Member::metadata)?;
        metadata.superblock.geometry().ok()
    }

    /// Whether a former member knows nothing that this RAID does not: it has seen no change that this one has
    /// not, and calls none of its members failed.
    fn has_left_behind(&self, candidate: &Candidate) -> bool {
        let own = &candidate.superblock;
        let mut devices = self.active_devices().into_iter();
        own.events() <= self.events && devices.all(|(device, _)| own.role(device) != Role::Faulty)
    }
}

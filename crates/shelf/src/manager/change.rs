//! Changes of a LUN that is there: online, offline, remove.
//!
//! How each survives a crash at any write:
//! * **online**: the records say so (the change is done with the first), then the superblocks are
//!   marked dirty, then the data path gets the view. A start serves what the records call online. Of
//!   a mirror whose halves were served apart the other half is called failed before (and only then
//!   the change is done).
//! * **offline**: the data path lets go, the records say so, then the superblocks are marked clean.
//!   A crash before the last leaves a LUN that is offline and needs a resync it did not need.
//! * **remove**: the records say `Removing` (done with the first), then the store notes the set, then
//!   the metadata is erased, drive by drive. A start goes on with a LUN that any member calls so; a
//!   member that was away is told by its set. Last, spares of that LUN alone become spares for all; one that
//!   did not is no spare of the next LUN of that number, whose making begins with that.

use super::drives::{Entry, Usage};
use super::lun::{Lun, ids_of};
use super::raid::{Member, Raid};
use super::recovery::LogState;
use super::rounds::Rounds;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, PartId};
use crate::plane::Detached;
use raid::layout::SUPERBLOCK_SECTOR;
use raid::md::raw::BLOCK_BYTES;
use raid::md::{Resync, Superblock};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::Record;
use uuid::Uuid;

impl Manager {
    pub(super) fn bring_online(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let lun = self.lun(number)?;
        if lun.is_live() {
            return Ok(());
        }
        if self.is_stopping {
            return Err(AdminError::Stopping);
        }
        if let Some(reason) = lun.refusal() {
            return Err(AdminError::LunFailed {
                lun: number,
                reason,
            });
        }
        let records: Vec<_> = lun
            .raids()
            .map(|raid| (raid.id, record_online(raid)))
            .collect();
        // The record of the first RAID says that the LUN is online: it is the last.
        for (id, record) in records.into_iter().rev() {
            if self
                .raids
                .get(&id)
                .is_some_and(|raid| raid.record != record)
            {
                self.record(id, record)?;
            }
        }
        for id in self.ids(number) {
            self.give_up_rivals(id);
        }
        let served = self.go_live(number);
        if served.is_err() {
            if let Err(error) = self.record_offline(number) {
                self.notices
                    .push(format!("LUN {number} is still recorded as online: {error}"));
            }
            self.went_quiet(number);
        }
        served
    }

    /// Makes durable that a LUN is not to be served.
    fn record_offline(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let record = Record {
            online: false,
            ..self.lun(number)?.record().clone()
        };
        self.record(PartId::first(number), record)
    }

    /// Of a mirror whose halves were served apart, one is to be served again: notes on the drives of the
    /// other that they are failed, so that the next start does not ask again.
    fn give_up_rivals(&mut self, id: PartId) {
        let Some(raid) = self.raids.get_mut(&id) else {
            return;
        };
        raid.doubt = None;
        let rivals = std::mem::take(&mut raid.rivals);
        let Some(ours) = raid.members.iter().find_map(Member::metadata) else {
            return;
        };
        let superblock = ours.superblock.clone();
        let now = (self.now_unix_seconds)();
        for drive in rivals {
            if let Err(reason) = give_up_rival(&mut self.drives, drive, &superblock, now) {
                let number = id.lun;
                self.notices.push(format!(
                    "LUN {number}: the next start will ask again which half to serve: {reason}"
                ));
            }
        }
    }

    /// Serves a LUN that the records call online.
    pub(super) fn go_live(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let ids = self.ids(number);
        for &id in &ids {
            self.prepare_to_serve(id)?;
        }
        self.set_live(number, true);
        if let Err(error) = self.attach_if_live(number) {
            self.set_live(number, false);
            return Err(error);
        }
        self.plane.advertise(number);
        for id in ids {
            if let Some(extent) = self.raids.get(&id).and_then(Raid::sync_extent) {
                let name = self.name_of(id);
                self.notices
                    .push(format!("{name}: {extent} are to be synchronised"));
            }
        }
        Ok(())
    }

    /// Makes a RAID ready to be written: marked dirty, its log recovered.
    pub(super) fn prepare_to_serve(&mut self, id: PartId) -> Result<(), AdminError> {
        let number = id.lun;
        self.complete_part(id)?;
        self.begin_pass(id);
        self.check_log(id)?;
        let Some(mut rounds) = self.rounds(id) else {
            return Err(AdminError::NoSuchLun(number));
        };
        let is_to_be_marked = rounds.raid.is_redundant();
        #[cfg(feature = "planted")]
        let is_to_be_marked = is_to_be_marked && !planted::is(Bug::CleanWhileServed);
        if is_to_be_marked {
            rounds.superblocks(Resync::DirtyFrom(0)).map_err(|reason| {
                AdminError::Io(format!("LUN {number} could not be marked dirty: {reason}"))
            })?;
        }
        self.settle_log(id)
    }

    /// Says of all RAIDs of a LUN whether they are attached to the data path.
    pub(super) fn set_live(&mut self, number: LunNumber, is_live: bool) {
        for (_, raid) in self.raids.range_mut(ids_of(number)) {
            raid.is_live = is_live;
        }
    }

    pub(super) fn take_offline(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let lun = self.lun(number)?;
        let (was_live, is_recorded_online) = (lun.is_live(), lun.record().online);
        if was_live {
            self.stop(number)?;
        }
        if is_recorded_online && let Err(error) = self.record_offline(number) {
            self.resume(number, was_live);
            return Err(error);
        }
        self.went_quiet(number);
        Ok(())
    }

    pub(super) fn remove_lun(&mut self, number: LunNumber, force: bool) -> Result<(), AdminError> {
        self.expect_not_copied(number)?;
        let was_live = self.lun(number)?.is_live();
        if was_live && !force {
            return Err(AdminError::LunOnline {
                lun: number,
                action: "removal",
            });
        }
        if was_live {
            self.stop(number)?;
        }
        let mut failures = match self.erase_lun(number) {
            Ok(failures) => failures,
            Err(reason) => {
                self.resume(number, was_live);
                let text = format!("LUN {number} could not be removed: {reason}");
                return Err(AdminError::Io(text));
            }
        };
        self.forget(number);
        if let Err(reason) = self.free_spares_of(number) {
            failures.push(reason);
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(AdminError::Io(format!(
            "LUN {number} is removed, but not all drives could be written: {}",
            failures.join("; ")
        )))
    }

    /// Lets go of a LUN and its drives, on which it stays.
    pub(super) fn eject_lun(&mut self, number: LunNumber, force: bool) -> Result<(), AdminError> {
        self.expect_not_copied(number)?;
        let was_live = self.lun(number)?.is_live();
        if was_live && !force {
            return Err(AdminError::LunOnline {
                lun: number,
                action: "ejecting",
            });
        }
        if was_live {
            self.stop(number)?;
            self.went_quiet(number);
        }
        for raid in self.take_out(number) {
            for drive in raid.members.iter().flat_map(Member::drives) {
                self.drives.eject(drive, number);
            }
        }
        Ok(())
    }

    /// Forgets the RAIDs of a LUN, and gives them.
    fn take_out(&mut self, number: LunNumber) -> Vec<Raid> {
        let ids = self.ids(number);
        ids.iter().filter_map(|id| self.raids.remove(id)).collect()
    }

    /// Removes a LUN from its drives. Gives what could not be erased.
    ///
    /// # Errors
    /// When no member took the record that says so, or the store did not; then nothing was erased.
    pub(super) fn erase_lun(&mut self, number: LunNumber) -> Result<Vec<String>, String> {
        let mut raids = self.take_out(number);
        let is_recorded = raids.first().is_some_and(Raid::is_recorded);
        let erased = if is_recorded {
            self.remove_from_drives(&mut raids)
        } else {
            Ok(Vec::new())
        };
        let raids = raids.into_iter().map(|raid| (raid.id, raid));
        self.raids.extend(raids);
        erased
    }

    /// Removes a LUN, which need not be one of the listed ones, from its drives. The first RAID is the first
    /// of these; those that are away are noted as removed, too.
    pub(super) fn remove_from_drives(&mut self, raids: &mut [Raid]) -> Result<Vec<String>, String> {
        let now_unix_seconds = (self.now_unix_seconds)();
        let Some((first, others)) = raids.split_first_mut() else {
            return Ok(Vec::new());
        };
        let (store, removed_sets) = (&mut self.store, &mut self.removed_sets);
        let further = first.record.further.iter().map(|raid| raid.set_uuid);
        let sets: Vec<Uuid> = further.chain(first.set_uuid).collect();
        let mut note_removed = || {
            for &set in &sets {
                if !removed_sets.contains(&set) {
                    store.add_removed_set(set)?;
                    removed_sets.push(set);
                }
            }
            Ok(())
        };
        let mut rounds = Rounds {
            now_unix_seconds,
            drives: &mut self.drives,
            raid: first,
            notices: &mut self.notices,
        };
        rounds.begin_removal(&mut note_removed)?;
        let mut failures = Vec::new();
        for raid in others {
            let mut rounds = Rounds {
                now_unix_seconds,
                drives: &mut self.drives,
                raid,
                notices: &mut self.notices,
            };
            failures.extend(rounds.erase());
        }
        // The last, since it says what the others are to become.
        let mut rounds = Rounds {
            now_unix_seconds,
            drives: &mut self.drives,
            raid: first,
            notices: &mut self.notices,
        };
        failures.extend(rounds.erase());
        Ok(failures)
    }

    /// A LUN is no more; its drives are what they were, or free if they were erased. What its former elements
    /// carry is told as the next start tells it, which knows no LUN of which they were.
    pub(super) fn forget(&mut self, number: LunNumber) {
        let is_ours = |entry: &Entry| matches!(entry.usage, Usage::Element(id) if id.lun == number);
        for raid in self.take_out(number) {
            if let Some(set) = raid.set_uuid {
                self.drives.set_removed(raid.id, set);
            }
            for drive in raid.members.iter().flat_map(Member::drives) {
                if !self.drives.get(drive).is_some_and(is_ours) {
                    continue;
                }
                if raid.is_recorded() {
                    self.drives.release(drive);
                } else {
                    // Whatever was written through it is still there.
                    self.drives
                        .left(drive, format!("what raw LUN {number} left"));
                }
            }
        }
    }

    /// The LUN of a number.
    pub(super) fn lun(&self, number: LunNumber) -> Result<Lun<'_>, AdminError> {
        Lun::of(&self.raids, number).ok_or(AdminError::NoSuchLun(number))
    }

    /// What a RAID is called where administrators read of it: by its LUN, if it is the only one.
    pub(super) fn name_of(&self, id: PartId) -> String {
        match self.lun(id.lun) {
            Ok(lun) if lun.parts() > 1 => format!("raid {id}"),
            _ => format!("LUN {}", id.lun),
        }
    }

    /// The RAIDs of a LUN.
    pub(super) fn ids(&self, number: LunNumber) -> Vec<PartId> {
        let raids = self.raids.range(ids_of(number));
        raids.map(|(id, _)| *id).collect()
    }

    /// Makes a record durable.
    pub(super) fn record(&mut self, id: PartId, record: Record) -> Result<(), AdminError> {
        let number = id.lun;
        let mut rounds = self.rounds(id).ok_or(AdminError::NoSuchLun(number))?;
        rounds.record(record).map_err(|reason| {
            AdminError::Io(format!("LUN {number} could not be changed: {reason}"))
        })
    }

    /// Takes a LUN from the data path.
    pub(super) fn stop(&mut self, number: LunNumber) -> Result<(), AdminError> {
        match self.let_go(number) {
            Ok(detached) => {
                self.note_detached(number, detached);
                Ok(())
            }
            Err(reason) => {
                // Half-way out is nowhere: it is served as before.
                self.resume(number, true);
                Err(AdminError::Io(format!(
                    "the workers did not let go of LUN {number}: {reason}"
                )))
            }
        }
    }

    /// A LUN is out of the data path.
    pub(super) fn note_detached(&mut self, number: LunNumber, detached: Detached) {
        for (_, raid) in self.raids.range_mut(ids_of(number)) {
            raid.is_live = false;
            if detached.is_log_pending && raid.record.log.is_some() {
                raid.log_state = LogState::Pending;
            }
            if detached.mirrors_differ && raid.is_redundant() {
                raid.is_unsynced = true;
                raid.unsynced_regions = raid
                    .bitmap
                    .as_ref()
                    .map(|bitmap| bitmap.set().clone().into());
                raid.sync_from = 0;
            }
        }
    }

    /// Serves a LUN again that could not be changed.
    fn resume(&mut self, number: LunNumber, was_live: bool) {
        self.set_live(number, was_live);
        if let Err(error) = self.attach_if_live(number) {
            self.notices.push(error.to_string());
        }
    }

    /// A LUN takes no more I/O, or never did.
    pub(super) fn went_quiet(&mut self, number: LunNumber) {
        for id in self.ids(number) {
            self.raid_went_quiet(id);
        }
    }

    /// A RAID takes no more I/O, or never did: marks it clean if its mirrors are known to agree, else
    /// records how far they do. When that fails it stays dirty, which costs a resync and nothing else.
    pub(super) fn raid_went_quiet(&mut self, id: PartId) {
        let name = self.name_of(id);
        let is_pending = |raid: &Raid| raid.log_state != LogState::Settled;
        if self.raids.get(&id).is_some_and(is_pending) {
            // What was being written at the last stop is still to be completed.
            return;
        }
        if let Err(error) = self.note_parity(id) {
            self.notices.push(error.to_string());
            return;
        }
        let Some(mut rounds) = self.rounds(id) else {
            return;
        };
        rounds.raid.is_live = false;
        #[cfg(feature = "planted")]
        if planted::is(Bug::CleanWhileUnsynced) {
            rounds.raid.is_unsynced = false;
        }
        if !rounds.raid.is_dirty {
            return;
        }
        rounds.raid.keep_unsynced_bits();
        if rounds.raid.is_unsynced && rounds.raid.sync_from == 0 {
            if let Err(reason) = rounds.bitmap() {
                self.notices.push(format!(
                    "{name}: more than needed will be synchronised: {reason}"
                ));
            }
            return;
        }
        let resync = if rounds.raid.is_unsynced {
            Resync::DirtyFrom(rounds.raid.geometry.md_resync_sector(rounds.raid.sync_from))
        } else {
            Resync::Clean
        };
        if let Err(reason) = rounds.superblocks(resync) {
            self.notices
                .push(format!("{name} could not be marked clean: {reason}"));
        }
    }
}

/// The record of a RAID whose LUN goes online.
fn record_online(raid: &Raid) -> Record {
    let mut record = raid.record.clone();
    record.online |= raid.id.part == 0;
    if raid.rivals.is_empty() {
        // They miss every write from now on, and are rebuilt when their drives come back.
        let is_in_use = |element: u8| raid.members[usize::from(element)].is_in_use();
        let is_new = |element: &&u8| !raid.record.away.contains(element) && !is_in_use(**element);
        record.away.extend(raid.late.iter().filter(is_new));
    } else {
        // What was written to the other half is given up, but not written over by itself.
        record.away.clear();
    }
    record
}

/// Gives a member of the other half the roles of this one, in which it is failed, and no events: it has
/// missed what this half has, and has what this half has not, which no bitmap knows.
fn give_up_rival(
    drives: &mut super::drives::Drives,
    drive: DriveSlot,
    ours: &Superblock,
    now_unix_seconds: u64,
) -> Result<(), String> {
    let mut block = [0; BLOCK_BYTES];
    drives.read(drive, SUPERBLOCK_SECTOR, &mut block)?;
    let mut superblock =
        Superblock::decode(&block).map_err(|error| format!("drive in slot {drive}: {error}"))?;
    superblock.copy_roles(ours);
    superblock.set_events(0, now_unix_seconds);
    drives.write(drive, SUPERBLOCK_SECTOR, &superblock.encode())
}

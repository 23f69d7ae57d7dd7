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
//!   member that was away is told by its set.

use super::lun::{Lun, Member};
use super::recovery::LogState;
use super::rounds::Rounds;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot};
use crate::plane::Detached;
use raid::layout::SUPERBLOCK_SECTOR;
use raid::md::raw::BLOCK_BYTES;
use raid::md::{Resync, Superblock};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::Record;

impl Manager {
    pub(super) fn bring_online(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let lun = self
            .luns
            .get(&number)
            .ok_or(AdminError::NoSuchLun(number))?;
        if lun.is_live {
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
        let mut record = Record {
            online: true,
            ..lun.record.clone()
        };
        if lun.rivals.is_empty() {
            // They miss every write from now on, and are rebuilt when their drives come back.
            let is_new = |element: &&u8| !lun.record.away.contains(element);
            record.away.extend(lun.late.iter().filter(is_new));
        } else {
            // What was written to the other half is given up, but not written over by itself.
            record.away.clear();
        }
        self.record(number, record)?;
        self.give_up_rivals(number);
        let served = self.go_live(number);
        if served.is_err()
            && let Some(lun) = self.luns.get(&number)
        {
            let record = Record {
                online: false,
                ..lun.record.clone()
            };
            if let Err(error) = self.record(number, record) {
                self.notices
                    .push(format!("LUN {number} is still recorded as online: {error}"));
            }
            self.went_quiet(number);
        }
        served
    }

    /// Of a mirror whose halves were served apart, one is to be served again: notes on the drives of the
    /// other that they are failed, so that the next start does not ask again.
    fn give_up_rivals(&mut self, number: LunNumber) {
        let Some(lun) = self.luns.get_mut(&number) else {
            return;
        };
        lun.doubt = None;
        let rivals = std::mem::take(&mut lun.rivals);
        let Some(ours) = lun.members.iter_mut().find_map(Member::metadata_mut) else {
            return;
        };
        let superblock = ours.1.superblock.clone();
        let now = (self.now_unix_seconds)();
        for drive in rivals {
            if let Err(reason) = give_up_rival(&mut self.drives, drive, &superblock, now) {
                self.notices.push(format!(
                    "LUN {number}: the next start will ask again which half to serve: {reason}"
                ));
            }
        }
    }

    /// Serves a LUN that the records call online.
    pub(super) fn go_live(&mut self, number: LunNumber) -> Result<(), AdminError> {
        self.begin_pass(number);
        self.check_log(number)?;
        let Some(mut rounds) = self.rounds(number) else {
            return Err(AdminError::NoSuchLun(number));
        };
        let is_to_be_marked = rounds.lun.is_redundant();
        #[cfg(feature = "planted")]
        let is_to_be_marked = is_to_be_marked && !planted::is(Bug::CleanWhileServed);
        if is_to_be_marked {
            rounds.superblocks(Resync::DirtyFrom(0)).map_err(|reason| {
                AdminError::Io(format!("LUN {number} could not be marked dirty: {reason}"))
            })?;
        }
        self.settle_log(number)?;
        let Some(rounds) = self.rounds(number) else {
            return Err(AdminError::NoSuchLun(number));
        };
        rounds.lun.is_live = true;
        if let Err(error) = self.attach_if_live(number) {
            if let Some(lun) = self.luns.get_mut(&number) {
                lun.is_live = false;
            }
            return Err(error);
        }
        self.plane.advertise(number);
        let to_sync = self
            .luns
            .get(&number)
            .and_then(super::lun::Lun::sync_extent);
        self.notices
            .extend(to_sync.map(|extent| format!("LUN {number}: {extent} are to be synchronised")));
        Ok(())
    }

    pub(super) fn take_offline(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let lun = self
            .luns
            .get(&number)
            .ok_or(AdminError::NoSuchLun(number))?;
        let (was_live, is_recorded_online) = (lun.is_live, lun.record.online);
        let record = Record {
            online: false,
            ..lun.record.clone()
        };
        if was_live {
            self.stop(number)?;
        }
        if is_recorded_online && let Err(error) = self.record(number, record) {
            self.resume(number, was_live);
            return Err(error);
        }
        self.went_quiet(number);
        Ok(())
    }

    pub(super) fn remove_lun(&mut self, number: LunNumber, force: bool) -> Result<(), AdminError> {
        let lun = self
            .luns
            .get(&number)
            .ok_or(AdminError::NoSuchLun(number))?;
        let was_live = lun.is_live;
        if was_live && !force {
            return Err(AdminError::LunOnline {
                lun: number,
                action: "removal",
            });
        }
        if was_live {
            self.stop(number)?;
        }
        let failures = match self.erase_lun(number) {
            Ok(failures) => failures,
            Err(reason) => {
                self.resume(number, was_live);
                let text = format!("LUN {number} could not be removed: {reason}");
                return Err(AdminError::Io(text));
            }
        };
        self.forget(number);
        if failures.is_empty() {
            return Ok(());
        }
        Err(AdminError::Io(format!(
            "LUN {number} is removed, but not all drives could be erased: {}",
            failures.join("; ")
        )))
    }

    /// Lets go of a LUN and its drives, on which it stays.
    pub(super) fn eject_lun(&mut self, number: LunNumber, force: bool) -> Result<(), AdminError> {
        let lun = self
            .luns
            .get(&number)
            .ok_or(AdminError::NoSuchLun(number))?;
        if lun.is_live && !force {
            return Err(AdminError::LunOnline {
                lun: number,
                action: "ejecting",
            });
        }
        if lun.is_live {
            self.stop(number)?;
            self.went_quiet(number);
        }
        let Some(lun) = self.luns.remove(&number) else {
            return Err(AdminError::NoSuchLun(number));
        };
        for drive in lun.members.iter().filter_map(Member::drive) {
            let usage = super::drives::Usage::Foreign(format!("ejected LUN {number}"));
            self.drives.set_usage(drive, usage);
        }
        Ok(())
    }

    /// Removes a LUN from its drives. Gives what could not be erased.
    ///
    /// # Errors
    /// When no member took the record that says so, or the store did not; then nothing was erased.
    pub(super) fn erase_lun(&mut self, number: LunNumber) -> Result<Vec<String>, String> {
        let Some(mut lun) = self.luns.remove(&number) else {
            return Ok(Vec::new());
        };
        let erased = if lun.is_recorded() {
            self.remove_from_drives(&mut lun)
        } else {
            Ok(Vec::new())
        };
        self.luns.insert(number, lun);
        erased
    }

    /// Removes a LUN, which need not be one of the listed ones, from its drives.
    pub(super) fn remove_from_drives(&mut self, lun: &mut Lun) -> Result<Vec<String>, String> {
        let mut rounds = Rounds {
            now_unix_seconds: (self.now_unix_seconds)(),
            drives: &mut self.drives,
            lun,
            notices: &mut self.notices,
        };
        let (store, removed_sets) = (&mut self.store, &mut self.removed_sets);
        rounds.remove(&mut |set| {
            if !removed_sets.contains(&set) {
                store.add_removed_set(set)?;
                removed_sets.push(set);
            }
            Ok(())
        })
    }

    /// A LUN is no more; its drives are what they were, or free if they were erased.
    pub(super) fn forget(&mut self, number: LunNumber) {
        let Some(lun) = self.luns.remove(&number) else {
            return;
        };
        for drive in lun.members.iter().filter_map(super::lun::Member::drive) {
            let is_ours = |entry: &super::drives::Entry| matches!(entry.usage, super::drives::Usage::Element(id) if id.lun == number);
            if !self.drives.get(drive).is_some_and(is_ours) {
                continue;
            }
            if lun.is_recorded() {
                self.drives.release(drive);
            } else {
                // Whatever was written through it is still there.
                self.drives
                    .left(drive, format!("what raw LUN {number} left"));
            }
        }
    }

    /// Makes a record durable.
    pub(super) fn record(&mut self, number: LunNumber, record: Record) -> Result<(), AdminError> {
        let mut rounds = self.rounds(number).ok_or(AdminError::NoSuchLun(number))?;
        rounds.record(record).map_err(|reason| {
            AdminError::Io(format!("LUN {number} could not be changed: {reason}"))
        })
    }

    /// Takes a LUN from the data path.
    fn stop(&mut self, number: LunNumber) -> Result<(), AdminError> {
        match self.plane.detach(number) {
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
        if let Some(lun) = self.luns.get_mut(&number) {
            lun.is_live = false;
            if detached.is_log_pending && lun.record.log.is_some() {
                lun.log_state = LogState::Pending;
            }
            if detached.mirrors_differ && lun.is_redundant() {
                lun.is_unsynced = true;
                lun.unsynced_regions = lun
                    .bitmap
                    .as_ref()
                    .map(|bitmap| bitmap.set().clone().into());
                lun.sync_from = 0;
            }
        }
    }

    /// Serves a LUN again that could not be changed.
    fn resume(&mut self, number: LunNumber, was_live: bool) {
        if let Some(lun) = self.luns.get_mut(&number) {
            lun.is_live = was_live;
        }
        if let Err(error) = self.attach_if_live(number) {
            self.notices.push(error.to_string());
        }
    }

    /// A LUN takes no more I/O, or never did: marks it clean if its mirrors are known to agree, else
    /// records how far they do. When that fails it stays dirty, which costs a resync and nothing else.
    pub(super) fn went_quiet(&mut self, number: LunNumber) {
        let is_pending = |lun: &Lun| lun.log_state != LogState::Settled;
        if self.luns.get(&number).is_some_and(is_pending) {
            // What was being written at the last stop is still to be completed.
            return;
        }
        if let Err(error) = self.note_parity(number) {
            self.notices.push(error.to_string());
            return;
        }
        let Some(mut rounds) = self.rounds(number) else {
            return;
        };
        rounds.lun.is_live = false;
        #[cfg(feature = "planted")]
        if planted::is(Bug::CleanWhileUnsynced) {
            rounds.lun.is_unsynced = false;
        }
        if !rounds.lun.is_dirty {
            return;
        }
        rounds.lun.keep_unsynced_bits();
        if rounds.lun.is_unsynced && rounds.lun.sync_from == 0 {
            if let Err(reason) = rounds.bitmap() {
                self.notices.push(format!(
                    "LUN {number}: more than needed will be synchronised: {reason}"
                ));
            }
            return;
        }
        let resync = if rounds.lun.is_unsynced {
            Resync::DirtyFrom(rounds.lun.geometry.md_resync_sector(rounds.lun.sync_from))
        } else {
            Resync::Clean
        };
        if let Err(reason) = rounds.superblocks(resync) {
            self.notices
                .push(format!("LUN {number} could not be marked clean: {reason}"));
        }
    }
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

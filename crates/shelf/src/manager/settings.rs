//! The shelf number and the config strings.
//!
//! How a change of the shelf number survives a crash at any write: first every record names the
//! number to be, then the store takes it, then every record takes it. The store decides: a start
//! with the old number takes the intention back, a start with the new one finishes the change.

use super::drives::Usage;
use super::scan::Occasion;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, PartId};
use crate::plane::RateLimit;
use crate::target::ChangeDecision;
use aoe::{CONFIG_STRING_BYTES_MAX, ConfigCommand, Shelf};
use raid::record::Record;

impl Manager {
    /// Takes up the limit that was stored last.
    pub(super) fn restore_rate_limit(&mut self) {
        let told = self.store.rate_limit().and_then(|limit| {
            self.rate_limit = limit;
            self.plane.set_rate_limit(limit)
        });
        if let Err(reason) = told {
            self.notices
                .push(format!("WARNING: passes have no limit: {reason}"));
        }
    }

    pub(super) fn change_rate_limit(&mut self, limit: RateLimit) -> Result<(), AdminError> {
        self.store
            .save_rate_limit(limit)
            .map_err(|reason| AdminError::Io(format!("the limit could not be stored: {reason}")))?;
        self.rate_limit = limit;
        self.plane.set_rate_limit(limit).map_err(|reason| {
            AdminError::Io(format!(
                "the limit is stored, but does not hold yet: {reason}"
            ))
        })
    }

    pub(super) fn change_shelf(&mut self, number: u32) -> Result<(), AdminError> {
        let shelf = u16::try_from(number)
            .map(Shelf)
            .ok()
            .filter(|shelf| shelf.is_valid_target())
            .ok_or(AdminError::InvalidShelf(number))?;
        if self.is_stopping {
            return Err(AdminError::Stopping);
        }
        if self.shelf == Some(shelf) {
            return Ok(());
        }
        if self.raids.values().any(|raid| raid.is_live) {
            return Err(AdminError::OnlineLuns);
        }
        let mut copied = self.raids.values().filter(|raid| raid.is_copied);
        if let Some(number) = copied.next().map(|raid| raid.id.lun) {
            self.expect_not_copied(number)?;
        }
        self.check_nobody_is_there(shelf)?;
        let ids: Vec<PartId> = self.raids.keys().copied().collect();
        let intended = self
            .change_records(&ids, |record| record.next_shelf = Some(shelf.0))
            .and_then(|()| self.change_spares(|record| record.next_shelf = Some(shelf.0)))
            .and_then(|()| {
                self.store.save_shelf(shelf).map_err(|reason| {
                    AdminError::Io(format!("the shelf number could not be stored: {reason}"))
                })
            });
        if let Err(error) = intended {
            let undone = self.change_records(&ids, |record| record.next_shelf = None);
            if let Err(undo) = undone.and(self.change_spares(|record| record.next_shelf = None)) {
                self.notices.push(format!(
                    "the next start has to undo a change of shelf: {undo}"
                ));
            }
            return Err(error);
        }
        self.shelf = Some(shelf);
        let finished = self.change_records(&ids, |record| {
            record.shelf = shelf.0;
            record.next_shelf = None;
        });
        let finished = finished.and(self.change_spares(|record| {
            record.spare_of_shelf = shelf.0;
            record.next_shelf = None;
        }));
        for id in ids {
            self.rename(id, shelf);
        }
        // LUNs of that number may have been waiting on the drives.
        self.assemble(Occasion::Asked);
        finished.map_err(|error| {
            AdminError::Io(format!(
                "the shelf is {shelf}; the next start has to finish: {error}"
            ))
        })
    }

    /// Refuses a number under which a LUN of ours would meet a LUN that is on other drives.
    fn check_nobody_is_there(&self, shelf: Shelf) -> Result<(), AdminError> {
        for entry in self.drives.iter() {
            if let Usage::Elsewhere { shelf: other, lun } = entry.usage
                && other == shelf.0
                && self.raids.keys().any(|id| id.lun.get() == lun)
            {
                let drive = self.drive_name(entry.drive.slot);
                let text = format!(
                    "drive {drive} carries LUN {lun} of shelf {shelf}, and this shelf has a LUN \
                     {lun} too; remove one of them first"
                );
                return Err(AdminError::Io(text));
            }
        }
        Ok(())
    }

    /// Changes the records of RAIDs; all are tried.
    fn change_records(
        &mut self,
        ids: &[PartId],
        change: impl Fn(&mut Record),
    ) -> Result<(), AdminError> {
        let mut result = Ok(());
        for &id in ids {
            let Some(raid) = self.raids.get(&id) else {
                continue;
            };
            let mut record = raid.record.clone();
            change(&mut record);
            if record != raid.record {
                result = result.and(self.record(id, record));
            }
        }
        result
    }

    /// Brings the name in the superblocks up to date. It is for the eyes of Linux administrators
    /// only, so a member that fails this is not worse for it.
    pub(super) fn rename(&mut self, id: PartId, shelf: Shelf) {
        let Some(mut rounds) = self.rounds(id) else {
            return;
        };
        rounds.raid.record.shelf = shelf.0;
        rounds.raid.record.next_shelf = None;
        if let Err(reason) = rounds.rename() {
            self.notices
                .push(format!("md name of raid {id} was not changed: {reason}"));
        }
    }

    /// A Query Config request that changes the config string. What is stored is durable on every
    /// member, shown by the data path and advertised when this returns.
    ///
    /// Test-and-replace comes with two strings: see [`Manager::replace_config_string`].
    pub fn config_command(
        &mut self,
        number: LunNumber,
        command: ConfigCommand,
        string: &[u8],
    ) -> ChangeDecision {
        let Ok(lun) = self.lun(number) else {
            return ChangeDecision::Silence;
        };
        let present = lun.record().config_string.as_slice();
        match command {
            // The same string again is a retransmission whose answer was lost (row 36).
            ConfigCommand::SetIfEmpty if present == string => ChangeDecision::Stored,
            ConfigCommand::SetIfEmpty if !present.is_empty() => ChangeDecision::Present,
            ConfigCommand::SetIfEmpty | ConfigCommand::ForceSet => {
                self.store_config(number, string)
            }
            _ => ChangeDecision::BadArgument,
        }
    }

    /// Replaces the config string by `new` if it is `old` exactly, as [`Manager::config_command`].
    pub fn replace_config_string(
        &mut self,
        number: LunNumber,
        old: &[u8],
        new: &[u8],
    ) -> ChangeDecision {
        match self.lun(number) {
            Err(_) => ChangeDecision::Silence,
            // The same again is a retransmission whose answer was lost.
            Ok(lun) if lun.record().config_string == new => ChangeDecision::Stored,
            Ok(lun) if lun.record().config_string == old => self.store_config(number, new),
            Ok(_) => ChangeDecision::Present,
        }
    }

    fn store_config(&mut self, number: LunNumber, string: &[u8]) -> ChangeDecision {
        if string.len() > CONFIG_STRING_BYTES_MAX {
            return ChangeDecision::BadArgument;
        }
        let Ok(lun) = self.lun(number) else {
            return ChangeDecision::Silence;
        };
        if lun.record().config_string == string {
            return ChangeDecision::Stored;
        }
        let is_live = lun.is_live();
        let record = Record {
            config_string: string.to_vec(),
            ..lun.record().clone()
        };
        let stored = self.record(PartId::first(number), record);
        // Also after an error: the round may have given up a member.
        let attached = self.attach_if_live(number);
        match stored.and(attached) {
            Ok(()) => {
                if is_live {
                    self.plane.advertise(number);
                }
                ChangeDecision::Stored
            }
            Err(error) => {
                self.notices
                    .push(format!("config string of LUN {number}: {error}"));
                ChangeDecision::Silence
            }
        }
    }
}

//! Recovery without a shelf: what `ledge-recover` does with the members of sets that are to go to Linux.
//!
//! Linux does not know the redo log. Nothing lost, it computes parity anew after an unclean stop, which is
//! right but slow; with a member lost it refuses the array, rightly. So the log is replayed before, and
//! the superblocks say clean if parity then matches. Nothing is served, and no set is taken or removed.

use super::Manager;
use super::raid::Raid;
use super::recovery::LogState;
use super::scan::{Occasion, scan};
use super::set::{Set, put_all_together};
use crate::admin::{AdminError, PartId};
use raid::Level;
use raid::log::recovery::Report;
use raid::md::Resync;
use raid::record::RecordState;
use uuid::Uuid;

/// How sets are to be recovered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SalvageOptions {
    /// Nothing is written.
    pub only_show: bool,
    /// Members that are not among the drives, and that no superblock calls failed, are left behind.
    pub without_missing: bool,
}

/// What became of the log of a set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogFate {
    /// There is none: the level has no parity, or the members have no room.
    None,
    /// The set was stopped in good order.
    NotNeeded,
    /// Linux changed the array since; it is as Linux left it.
    Void,
    /// It was replayed, or would be, if nothing was to be written.
    Replayed(Report),
}

/// A set that was found.
#[derive(Clone, Debug)]
pub struct SalvagedSet {
    /// UUID of the md array.
    pub set_uuid: Uuid,
    /// Name of the md array: `<shelf>:<LUN>`.
    pub name: String,
    /// Which RAID of its LUN it is, from 0.
    pub part: u8,
    /// In the first RAID of a LUN: the sets that follow it, in this order.
    pub further: Vec<Uuid>,
    /// How many sectors of the array the LUN has; the array may be longer.
    pub sectors: u64,
    /// Level.
    pub level: Level,
    /// Paths of the members that are in use, in element order.
    pub members: Vec<Option<String>>,
    /// Paths of the devices that are to take the place of members that still work.
    pub replacements: Vec<String>,
    /// Whether the superblocks say that copies and parity match.
    pub is_clean: bool,
    /// What became of its log, or why the set was not touched.
    pub log: Result<LogFate, String>,
}

impl Manager {
    /// Recovers the logs of all sets on the drives, whichever shelf they are of, and marks those clean whose
    /// parity is known to match. For a manager that has no shelf number and so serves nothing.
    pub fn salvage(&mut self, options: SalvageOptions) -> Vec<SalvagedSet> {
        let found = scan(&mut self.drives, Occasion::Asked, &mut self.notices);
        put_all_together(found.candidates, &found.other_versions)
            .into_iter()
            .map(|set| self.salvage_set(set, options))
            .collect()
    }

    fn salvage_set(&mut self, set: Set, options: SalvageOptions) -> SalvagedSet {
        let id = set.raid.id;
        // It is printed, and may be anything.
        let name = set.freshest.name().replace(char::is_control, "?");
        self.raids.insert(id, set.raid);
        let log = self.salvage_log(id, options);
        let Some(raid) = self.raids.remove(&id) else {
            unreachable!("it was just put there")
        };
        let path = |member: &super::raid::Member| {
            let drive = member.drive().filter(|_| member.is_in_use())?;
            Some(self.drives.get(drive)?.drive.path.clone())
        };
        SalvagedSet {
            set_uuid: set.uuid,
            name,
            part: id.part,
            further: raid
                .record
                .further
                .iter()
                .map(|raid| raid.set_uuid)
                .collect(),
            sectors: raid.geometry.capacity_sectors(),
            level: raid.geometry.level(),
            members: raid.members.iter().map(path).collect(),
            replacements: raid
                .twins()
                .filter_map(|(_, twin)| Some(self.drives.get(twin.drive)?.drive.path.clone()))
                .collect(),
            is_clean: !raid.is_dirty,
            log,
        }
    }

    fn salvage_log(&mut self, id: PartId, options: SalvageOptions) -> Result<LogFate, String> {
        let Some(raid) = self.raids.get(&id) else {
            return Err(AdminError::NoSuchLun(id.lun).to_string());
        };
        if let Some(reason) = reason_to_leave(raid, options) {
            return Err(reason);
        }
        match raid.log_state {
            LogState::Settled if raid.record.log.is_none() => return Ok(LogFate::None),
            LogState::Settled => return Ok(LogFate::NotNeeded),
            LogState::Void => return Ok(LogFate::Void),
            LogState::Pending => {}
        }
        let text = |error: AdminError| error.to_string();
        self.check_log(id).map_err(text)?;
        let report = self.try_log(id)?;
        if options.only_show {
            return Ok(LogFate::Replayed(report));
        }
        // Whoever is missing is left behind before the others change.
        if let Some(mut rounds) = self.rounds(id) {
            rounds.superblocks(Resync::DirtyFrom(0))?;
        }
        self.settle_log(id).map_err(text)?;
        self.raid_went_quiet(id);
        Ok(LogFate::Replayed(report))
    }
}

/// Why a set is not touched.
fn reason_to_leave(raid: &Raid, options: SalvageOptions) -> Option<String> {
    if raid.record.state != RecordState::Complete {
        return Some("its making or its removal was interrupted: it is no LUN".to_owned());
    }
    if let Some(reason) = raid.refusal() {
        return Some(reason);
    }
    if !raid.rivals.is_empty() {
        return Some("its halves were served apart: give the members of one half only".to_owned());
    }
    if !raid.late.is_empty() && !options.without_missing {
        return Some(format!(
            "elements {} are not among the disks: give all disks that there are; if these are lost, say \
             so with --degraded",
            raid.element_names(&raid.late)
        ));
    }
    None
}

//! Scrubs: members that are to agree are compared from time to time.
//!
//! A scrub is a pass that compares. What it finds it only tells, unless the policy of the LUN, or whoever
//! began it, says that it is to repair. It waits while a LUN lacks members or is synchronised, and goes
//! on where it was, also after a restart. One LUN is scrubbed at a time, the one whose last scrub is the
//! longest ago first, so that scrubs are spread over the days.

use super::raid::Raid;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, PartId, ScrubAction, ScrubStatus};
use crate::target::ScrubFinding;
use raid::record::{Record, ScrubRecord, ScrubRepair};

/// Days from one scrub to the next, unless a LUN says otherwise.
const INTERVAL_DAYS_DEFAULT: u16 = 14;

/// How many times the place of a scrub is recorded.
const CHECKPOINTS: u64 = 64;

/// Wrong sectors are told one by one while a scrub has found fewer than this; then only counted.
const NAMED_MAX: u64 = 8;

const DAY_SECONDS: u64 = 86_400;

impl Raid {
    /// What is told of its scrubs; `None` for a RAID in which nothing is to agree.
    pub(super) fn scrub_status(&self) -> Option<ScrubStatus> {
        let scrub = self.record.scrub;
        self.is_redundant().then(|| ScrubStatus {
            interval_days: scrub.interval_days.unwrap_or(INTERVAL_DAYS_DEFAULT),
            last_unix_seconds: scrub.last_unix_seconds,
            last_mismatched_sectors: scrub.last_mismatched_sectors,
            last_repaired_sectors: scrub.last_repaired_sectors,
            last_is_incomplete: scrub.last_is_incomplete,
            done_sectors: scrub.done_lba,
            total_sectors: self.geometry.capacity_sectors(),
            mismatched_sectors: scrub.mismatched_sectors,
            repaired_sectors: scrub.repaired_sectors,
            repair: scrub.repair,
            is_repair: scrub.is_repair,
            is_paused: scrub.is_paused,
        })
    }

    /// What the present scrub does about members that do not agree.
    pub(super) const fn scrub_repair(&self) -> ScrubRepair {
        if self.record.scrub.is_repair {
            ScrubRepair::All
        } else {
            self.record.scrub.repair
        }
    }

    /// Since when it is due; `None` when it is not, or cannot be scrubbed now.
    fn scrub_due(&self, now_unix_seconds: u64) -> Option<u64> {
        let status = self.scrub_status().filter(|_| self.is_live)?;
        if status.done_sectors.is_some() || status.interval_days == 0 {
            return None;
        }
        let last = status.last_unix_seconds;
        let last = last.unwrap_or(self.record.created_unix_seconds);
        let due = last + u64::from(status.interval_days) * DAY_SECONDS;
        let is_well = self.all_normal() && !self.is_unsynced;
        (is_well && due <= now_unix_seconds).then_some(due)
    }
}

impl Manager {
    pub(super) fn scrub_lun(
        &mut self,
        number: LunNumber,
        action: ScrubAction,
    ) -> Result<(), AdminError> {
        let redundant = self.lun(number)?.raids().filter(|raid| raid.is_redundant());
        let scrubs: Vec<(PartId, ScrubRecord)> =
            redundant.map(|raid| (raid.id, raid.record.scrub)).collect();
        if scrubs.is_empty() {
            return Err(AdminError::NotRedundant {
                raid: PartId::first(number),
                but: "has nothing to compare",
            });
        }
        let is_there = scrubs.iter().any(|(_, scrub)| scrub.done_lba.is_some());
        match action {
            ScrubAction::Start | ScrubAction::Repair if is_there => {
                return Err(AdminError::ScrubUnderWay(number));
            }
            ScrubAction::Stop | ScrubAction::Pause | ScrubAction::Resume if !is_there => {
                return Err(AdminError::NoScrub(number));
            }
            _ => {}
        }
        let mut result = Ok(());
        for (id, scrub) in scrubs {
            let changed = changed(scrub, action);
            if changed != scrub {
                result = result.and(self.change_scrub(id, changed));
            }
        }
        result
    }

    /// Makes what is known of the scrubs of a RAID durable, and begins, ends or goes on with a pass.
    fn change_scrub(&mut self, id: PartId, scrub: ScrubRecord) -> Result<(), AdminError> {
        let Some(raid) = self.raids.get(&id) else {
            return Err(AdminError::NoSuchLun(id.lun));
        };
        let before = (raid.sync_start().is_none(), raid.check_start().is_some());
        let record = Record {
            scrub,
            ..raid.record.clone()
        };
        let recorded = self.record(id, record);
        let after = self.raids.get(&id).map(|raid| raid.check_start().is_some());
        if before == (true, false) && after == Some(true) {
            self.begin_pass(id);
        }
        // Also after an error: the round may have given up a member.
        let attached = self.attach_if_live(id.lun);
        recorded?;
        attached
    }

    /// What the pass of a scrub found to differ so far.
    pub(super) fn scrub_found(
        &mut self,
        number: LunNumber,
        part: u8,
        pass: u64,
        found: &ScrubFinding,
    ) {
        if let Some(raid) = self.raids.get_mut(&PartId { lun: number, part })
            && raid.sync_pass == pass
            && raid.sync_start().is_none()
            && raid.check_start().is_some()
        {
            let before = std::mem::replace(&mut raid.scrub_counted, *found);
            let repaired = found
                .repaired_sectors
                .saturating_sub(before.repaired_sectors);
            if let Some((element, sector)) = found.wrong
                && raid.record.scrub.mismatched_sectors < NAMED_MAX
            {
                let id = raid.element_id(element);
                let done = if repaired > 0 {
                    "; it is written anew"
                } else {
                    ""
                };
                self.notices.push(format!(
                    "element {id} holds something wrong at member sector {sector}: data and parity of \
                     the others agree{done}"
                ));
            }
            let scrub = &mut raid.record.scrub;
            let mismatched = found.mismatched_sectors;
            let new = mismatched.saturating_sub(before.mismatched_sectors);
            scrub.mismatched_sectors += new;
            scrub.repaired_sectors += repaired;
        }
    }

    /// A scrub has compared everything before `lba`.
    pub(super) fn scrub_reached(&mut self, id: PartId, lba: u64) {
        let Some(raid) = self.raids.get(&id) else {
            return;
        };
        let Some(recorded) = raid.check_start() else {
            return;
        };
        if lba < recorded + raid.geometry.capacity_sectors() / CHECKPOINTS {
            return;
        }
        let record = Record {
            scrub: ScrubRecord {
                done_lba: Some(lba),
                ..raid.record.scrub
            },
            ..raid.record.clone()
        };
        if let Err(error) = self.record(id, record) {
            self.notices.push(error.to_string());
        }
    }

    /// A scrub has come to its end.
    pub(super) fn scrub_ended(&mut self, id: PartId, complete: bool) {
        let name = self.name_of(id);
        let now_unix_seconds = (self.now_unix_seconds)();
        let Some(raid) = self.raids.get(&id) else {
            return;
        };
        let scrub = raid.record.scrub;
        let (found, repaired) = (scrub.mismatched_sectors, scrub.repaired_sectors);
        let mut text = format!("{name}: the scrub found {found} sectors that differ");
        if found > 0 {
            text.push_str(&format!(", and has repaired {repaired}"));
        }
        if !complete {
            text.push_str("; some sectors could not be read");
        }
        self.notices.push(text);
        let ended = ScrubRecord {
            last_unix_seconds: Some(now_unix_seconds),
            last_mismatched_sectors: found,
            last_repaired_sectors: repaired,
            last_is_incomplete: !complete,
            done_lba: None,
            mismatched_sectors: 0,
            repaired_sectors: 0,
            is_repair: false,
            is_paused: false,
            ..scrub
        };
        if let Err(error) = self.change_scrub(id, ended) {
            self.notices.push(error.to_string());
        }
    }

    /// Begins the scrub that is due the longest, if none is under way.
    pub(super) fn begin_due_scrub(&mut self) {
        let is_running = |raid: &Raid| raid.is_live && raid.check_start().is_some();
        if self.is_stopping || self.raids.values().any(is_running) {
            return;
        }
        let now_unix_seconds = (self.now_unix_seconds)();
        let due = self
            .raids
            .values()
            .filter_map(|raid| Some((raid.scrub_due(now_unix_seconds)?, raid.id)));
        let Some((_, id)) = due.min() else { return };
        let started = changed(self.raids[&id].record.scrub, ScrubAction::Start);
        let name = self.name_of(id);
        match self.change_scrub(id, started) {
            Ok(()) => self.notices.push(format!("{name}: a scrub begins")),
            Err(error) => self.notices.push(error.to_string()),
        }
    }
}

/// What is to be known of the scrubs of a RAID after an action. One that has no scrub is not paused.
const fn changed(scrub: ScrubRecord, action: ScrubAction) -> ScrubRecord {
    let is_there = scrub.done_lba.is_some();
    match action {
        ScrubAction::Start | ScrubAction::Repair => ScrubRecord {
            done_lba: Some(0),
            mismatched_sectors: 0,
            repaired_sectors: 0,
            is_repair: matches!(action, ScrubAction::Repair),
            is_paused: false,
            ..scrub
        },
        ScrubAction::Policy(repair) => ScrubRecord { repair, ..scrub },
        ScrubAction::Every(days) => ScrubRecord {
            interval_days: Some(days),
            ..scrub
        },
        ScrubAction::Stop => ScrubRecord {
            done_lba: None,
            is_repair: false,
            is_paused: false,
            ..scrub
        },
        ScrubAction::Pause => ScrubRecord {
            is_paused: is_there,
            ..scrub
        },
        ScrubAction::Resume => ScrubRecord {
            is_paused: false,
            ..scrub
        },
    }
}

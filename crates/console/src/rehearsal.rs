//! A shelf that only takes notes: what a command with `-n` runs on.
//!
//! It tells the truth about the shelf as it is, refuses what the shelf would refuse as far as that can be
//! known without doing it, and notes the rest. Steps of one command do not see one another.

use crate::commands::gigabytes;
use crate::names::{drive_name, shelf_name};
use aoe::Shelf;
use shelf::admin::{
    AccessChange, Admin, AdminError, ArrayStatus, DriveRole, DriveSlot, DriveState, DriveStatus,
    ElementId, ElsewhereStatus, JobStatus, LunNumber, LunStatus, MakeRequest, MemberChoice,
    PortStatus, RateLimit, ScrubAction, SpareStatus, SuperblockStatus, check_label,
};
use shelf::job::JobKind;
use shelf::observe::{DriveLoad, Initiators, Observe, PortStatistics, WorkerLoad};
use shelf::plane::{CounterGroup, RunningPass};
use shelf::statistics::{LunStatistics, Rates};

/// The shelf that only takes notes.
pub(crate) struct Rehearsal<'a> {
    real: &'a mut dyn Admin,
    steps: Vec<String>,
}

impl<'a> Rehearsal<'a> {
    /// Over the real one.
    pub(crate) fn new(real: &'a mut dyn Admin) -> Self {
        Self {
            real,
            steps: Vec::new(),
        }
    }

    /// What would be done, each as in "would bring LUN 0 online".
    pub(crate) fn into_steps(self) -> Vec<String> {
        self.steps
    }

    fn note(&mut self, step: String) -> Result<(), AdminError> {
        self.steps.push(step);
        Ok(())
    }

    fn lun(&self, number: LunNumber) -> Result<LunStatus, AdminError> {
        let found = self.real.luns().into_iter().find(|lun| lun.lun == number);
        found.ok_or(AdminError::NoSuchLun(number))
    }

    fn name(&self, slot: DriveSlot) -> String {
        drive_name(self.real.shelf(), slot)
    }

    /// A drive that is to be taken: it is there, up, and nobody's.
    fn check_free(&self, slot: DriveSlot, force: bool) -> Result<(), AdminError> {
        let drive = self.name(slot);
        let all = self.real.drives();
        let Some(status) = all.iter().find(|status| status.slot == slot) else {
            return Err(AdminError::NoSuchDrive(drive));
        };
        if status.state != DriveState::Up {
            return Err(AdminError::DriveNotUp {
                drive,
                state: status.state.name(),
                reason: status.note.clone(),
            });
        }
        match &status.role {
            DriveRole::Element(_) | DriveRole::Spare | DriveRole::Working(_) => {
                Err(AdminError::DriveInUse(drive))
            }
            DriveRole::Foreign(what) if !force => {
                let what = what.clone();
                Err(AdminError::DriveForeign { drive, what })
            }
            DriveRole::Foreign(_) | DriveRole::Free => Ok(()),
        }
    }

    fn check_element(&self, id: ElementId) -> Result<(), AdminError> {
        let lun = self.lun(id.lun)?;
        let part = lun.parts.get(usize::from(id.part));
        let mut elements = part.map_or([].iter(), |part| part.elements.iter());
        let found = elements.any(|element| element.id == id);
        found.then_some(()).ok_or(AdminError::NoSuchElement(id))
    }

    fn drives_of(&self, lun: &LunStatus) -> Vec<DriveSlot> {
        let elements = lun.parts.iter().flat_map(|part| &part.elements);
        elements.filter_map(|element| element.drive).collect()
    }

    /// `16 drives (1.0-15)`.
    fn count(&self, mut slots: Vec<DriveSlot>) -> String {
        slots.sort();
        let noun = if slots.len() == 1 { "drive" } else { "drives" };
        format!(
            "{} {noun} ({})",
            slots.len(),
            series(self.real.shelf(), &slots)
        )
    }

    fn members(&self, request: &MakeRequest) -> String {
        let slots = request.members.iter().filter_map(|choice| match choice {
            MemberChoice::Drive(slot) => Some(*slot),
            MemberChoice::Missing => None,
        });
        self.count(slots.collect())
    }
}

/// Slots in order, joined to series.
fn series(shelf: Option<Shelf>, slots: &[DriveSlot]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut rest = slots;
    while let [first, ..] = rest {
        let run = (first.0..)
            .zip(rest)
            .take_while(|(next, slot)| *next == slot.0)
            .count();
        let last = first.0 + u16::try_from(run - 1).unwrap_or(0);
        let name = drive_name(shelf, *first);
        words.push(if run > 1 {
            format!("{name}-{last}")
        } else {
            name
        });
        rest = &rest[run..];
    }
    words.join(" ")
}

impl Observe for Rehearsal<'_> {
    fn lun_statistics(&self, lun: LunNumber, seconds: u64) -> Option<LunStatistics> {
        self.real.lun_statistics(lun, seconds)
    }

    fn lun_rates(&self, seconds: u64) -> Vec<(LunNumber, Rates)> {
        self.real.lun_rates(seconds)
    }

    fn drive_load(&self, drive: DriveSlot, seconds: u64) -> DriveLoad {
        self.real.drive_load(drive, seconds)
    }

    fn workers(&self) -> Vec<WorkerLoad> {
        self.real.workers()
    }

    fn port_statistics(&self) -> Vec<PortStatistics> {
        self.real.port_statistics()
    }

    fn initiators(&self) -> Initiators {
        self.real.initiators()
    }
}

impl Admin for Rehearsal<'_> {
    fn shelf(&self) -> Option<Shelf> {
        self.real.shelf()
    }

    fn drives(&self) -> Vec<DriveStatus> {
        self.real.drives()
    }

    fn superblock(&self, drive: DriveSlot) -> Option<SuperblockStatus> {
        self.real.superblock(drive)
    }

    fn luns(&self) -> Vec<LunStatus> {
        self.real.luns()
    }

    fn ports(&self) -> Vec<PortStatus> {
        self.real.ports()
    }

    fn counters(&self) -> Vec<CounterGroup> {
        self.real.counters()
    }

    fn passes(&self) -> Vec<RunningPass> {
        self.real.passes()
    }

    fn spares(&self) -> Vec<SpareStatus> {
        self.real.spares()
    }

    fn elsewhere(&self, number: Option<LunNumber>) -> Vec<ElsewhereStatus> {
        self.real.elsewhere(number)
    }

    fn arrays(&mut self) -> Vec<ArrayStatus> {
        self.real.arrays()
    }

    fn rate_limit(&self) -> RateLimit {
        self.real.rate_limit()
    }

    fn plan_make(&mut self, request: &MakeRequest) -> Result<u64, AdminError> {
        self.real.plan_make(request)
    }

    fn make(&mut self, request: &MakeRequest) -> Result<(), AdminError> {
        let size = gigabytes(self.real.plan_make(request)?);
        let members = self.members(request);
        let (lun, level) = (request.lun, request.level);
        self.note(format!(
            "make LUN {lun}, {level} of {members}, {size}GB, offline"
        ))
    }

    fn grow(&mut self, request: &MakeRequest) -> Result<(), AdminError> {
        self.lun(request.lun)?;
        for choice in &request.members {
            if let MemberChoice::Drive(slot) = choice {
                self.check_free(*slot, request.force)?;
            }
        }
        let members = self.members(request);
        self.note(format!(
            "grow LUN {} by a {} of {members}",
            request.lun, request.level
        ))
    }

    fn online(&mut self, lun: LunNumber) -> Result<(), AdminError> {
        if self.lun(lun)?.online {
            return Ok(());
        }
        self.note(format!("bring LUN {lun} online"))
    }

    fn offline(&mut self, lun: LunNumber) -> Result<(), AdminError> {
        if !self.lun(lun)?.online {
            return Ok(());
        }
        self.note(format!("take LUN {lun} offline"))
    }

    fn remove(&mut self, lun: LunNumber, force: bool) -> Result<(), AdminError> {
        let status = self.lun(lun)?;
        if status.online && !force {
            let action = "removal";
            return Err(AdminError::LunOnline { lun, action });
        }
        let (drives, size) = (
            self.count(self.drives_of(&status)),
            gigabytes(status.size_bytes),
        );
        self.note(format!(
            "erase configuration of {drives}, {size}GB of data on LUN {lun}"
        ))
    }

    fn fail(&mut self, element: ElementId) -> Result<(), AdminError> {
        self.check_element(element)?;
        self.note(format!("fail {element}"))
    }

    fn fail_replacement(&mut self, element: ElementId) -> Result<(), AdminError> {
        self.check_element(element)?;
        self.note(format!("drop the replacement of {element}"))
    }

    fn unfail(&mut self, element: ElementId) -> Result<(), AdminError> {
        self.check_element(element)?;
        self.note(format!("rebuild {element} on its own drive"))
    }

    fn replace(
        &mut self,
        element: ElementId,
        drive: DriveSlot,
        force: bool,
    ) -> Result<(), AdminError> {
        self.check_element(element)?;
        let is_spare = self.real.spares().iter().any(|spare| spare.drive == drive);
        if !is_spare {
            self.check_free(drive, force)?;
        }
        let name = self.name(drive);
        self.note(format!("rebuild {element} on {name}"))
    }

    fn add_spare(
        &mut self,
        drive: DriveSlot,
        dedicated_to: Option<LunNumber>,
        force: bool,
    ) -> Result<(), AdminError> {
        if let Some(lun) = dedicated_to {
            self.lun(lun)?;
        }
        self.check_free(drive, force)?;
        let name = self.name(drive);
        let of = dedicated_to.map_or_else(String::new, |lun| format!(" of LUN {lun}"));
        self.note(format!("make {name} a spare{of}"))
    }

    fn remove_spare(&mut self, drive: DriveSlot, _force: bool) -> Result<(), AdminError> {
        let name = self.name(drive);
        if !self.real.spares().iter().any(|spare| spare.drive == drive) {
            return Err(AdminError::NotASpare(name));
        }
        self.note(format!("take {name} out of the spares"))
    }

    fn eject(&mut self, lun: LunNumber, force: bool) -> Result<(), AdminError> {
        let status = self.lun(lun)?;
        if status.online && !force {
            let action = "ejecting";
            return Err(AdminError::LunOnline { lun, action });
        }
        let drives = self.count(self.drives_of(&status));
        self.note(format!("let go of LUN {lun} and its {drives}"))
    }

    fn rescan(&mut self) -> Result<(), AdminError> {
        self.note("look at all drives that are in no LUN".to_owned())
    }

    fn adopt(&mut self, shelf: u16, lun: LunNumber, number: LunNumber) -> Result<(), AdminError> {
        if self.lun(number).is_ok() {
            return Err(AdminError::LunExists(number));
        }
        self.note(format!(
            "take over LUN {lun} of shelf {shelf} as LUN {number}"
        ))
    }

    fn adopt_spares(&mut self, shelf: u16) -> Result<(), AdminError> {
        self.note(format!("take over the spares of shelf {shelf}"))
    }

    fn import(&mut self, array: &str, lun: LunNumber) -> Result<(), AdminError> {
        if self.lun(lun).is_ok() {
            return Err(AdminError::LunExists(lun));
        }
        self.note(format!("take over md array {array} as LUN {lun}"))
    }

    fn scrub(&mut self, lun: LunNumber, action: ScrubAction) -> Result<(), AdminError> {
        self.lun(lun)?;
        self.note(match action {
            ScrubAction::Start => format!("scrub LUN {lun}"),
            ScrubAction::Repair => format!("scrub LUN {lun}, and repair what differs"),
            ScrubAction::Policy(_) => format!("change what scrubs of LUN {lun} repair"),
            ScrubAction::Stop => format!("stop the scrub of LUN {lun}"),
            ScrubAction::Pause => format!("pause the scrub of LUN {lun}"),
            ScrubAction::Resume => format!("go on with the scrub of LUN {lun}"),
            ScrubAction::Every(0) => format!("scrub LUN {lun} only on request"),
            ScrubAction::Every(days) => format!("scrub LUN {lun} every {days} days"),
        })
    }

    fn change_access(&mut self, lun: LunNumber, change: &AccessChange) -> Result<(), AdminError> {
        let is_read_only = self.lun(lun)?.access.is_read_only;
        self.note(match change {
            AccessChange::Masks { remove, add } => {
                let (less, more) = (remove.len(), add.len());
                format!("add {more} to the mask list of LUN {lun} and take {less} from it")
            }
            AccessChange::ClearMasks => format!("have LUN {lun} answer everybody"),
            AccessChange::ClearReservations => format!("clear the reservations of LUN {lun}"),
            AccessChange::Vlan(Some(vlan)) => format!("serve LUN {lun} in VLAN {}", vlan.get()),
            AccessChange::Vlan(None) => format!("serve LUN {lun} without tags"),
            AccessChange::ReadOnly(on) if *on == is_read_only => return Ok(()),
            AccessChange::ReadOnly(true) => format!("refuse writes of LUN {lun}"),
            AccessChange::ReadOnly(false) => format!("allow writes of LUN {lun}"),
        })
    }

    fn set_config_string(&mut self, lun: LunNumber, string: &[u8]) -> Result<(), AdminError> {
        self.lun(lun)?;
        if string.len() > 1024 {
            return Err(AdminError::ConfigStringTooLong(string.len()));
        }
        self.note(format!(
            "set the config string of LUN {lun}, {} bytes",
            string.len()
        ))
    }

    fn set_label(&mut self, lun: LunNumber, label: Option<&str>) -> Result<(), AdminError> {
        label.map_or(Ok(()), check_label)?;
        self.lun(lun)?;
        self.note(match label {
            Some(label) => format!("label LUN {lun} '{label}'"),
            None => format!("take the label of LUN {lun} away"),
        })
    }

    fn set_rate_limit(&mut self, limit: RateLimit) -> Result<(), AdminError> {
        let of = if limit.is_per_drive {
            " of each drive"
        } else {
            ""
        };
        self.note(match limit.bytes_per_second {
            0 => "let passes go without a limit".to_owned(),
            bytes => format!("limit passes to {bytes} bytes a second{of}"),
        })
    }

    fn set_shelf(&mut self, number: u32) -> Result<(), AdminError> {
        let from = shelf_name(self.real.shelf());
        let luns = self.real.luns().len();
        self.note(format!("change shelf {from} to {number} with {luns} LUNs"))
    }

    fn jobs(&self) -> Vec<JobStatus> {
        self.real.jobs()
    }

    fn check_job(&self, drive: DriveSlot, kind: JobKind) -> Result<(), AdminError> {
        self.real.check_job(drive, kind)
    }

    fn begin_job(&mut self, drive: DriveSlot, kind: JobKind) -> Result<(), AdminError> {
        self.real.check_job(drive, kind)?;
        let name = self.name(drive);
        let drives = self.real.drives();
        let status = drives.iter().find(|status| status.slot == drive);
        let size = gigabytes(status.map_or(0, |status| status.whole_bytes));
        self.note(match (kind, status.map(|status| &status.role)) {
            (JobKind::ReadTest, _) => format!("read {name}, {size}GB"),
            (JobKind::Erase, Some(DriveRole::Foreign(what))) => {
                format!("erase {name}, {size}GB, which carries {what}")
            }
            (JobKind::Erase, _) => format!("erase {name}, {size}GB"),
            (JobKind::WriteTest, Some(DriveRole::Foreign(what))) => {
                format!("overwrite {name}, {size}GB, which carries {what}, and read it back")
            }
            (JobKind::WriteTest, _) => format!("overwrite {name}, {size}GB, and read it back"),
        })
    }

    fn stop_job(&mut self, drive: DriveSlot, kinds: &[JobKind]) -> Result<(), AdminError> {
        let name = self.name(drive);
        let jobs = self.real.jobs();
        let is_meant =
            |job: &&JobStatus| job.drive == drive && job.is_running() && kinds.contains(&job.kind);
        match jobs.iter().find(is_meant) {
            Some(job) => self.note(format!("stop the {} of {name}", job.kind)),
            None => Err(AdminError::NoJob(name)),
        }
    }

    fn check_size(
        &self,
        drive: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<u64, AdminError> {
        self.real.check_size(drive, bytes, force)
    }

    fn set_size(
        &mut self,
        drive: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<(), AdminError> {
        let used = self.real.check_size(drive, bytes, force)?;
        let (name, size) = (self.name(drive), gigabytes(used));
        self.note(match bytes {
            Some(_) => format!("use {size}GB of {name}"),
            None => format!("use all of {name}, {size}GB"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_joined_to_series() {
        let of = |slots: &[u16]| {
            let slots: Vec<DriveSlot> = slots.iter().map(|slot| DriveSlot(*slot)).collect();
            series(Some(Shelf(1)), &slots)
        };
        assert_eq!(of(&[0, 1, 2, 3]), "1.0-3");
        assert_eq!(of(&[0, 2, 3, 7]), "1.0 1.2-3 1.7");
        assert_eq!(of(&[5]), "1.5");
        assert_eq!(of(&[]), "");
    }
}

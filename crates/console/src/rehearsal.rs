//! What a command with `-n` runs on: a shelf and a box that take notes.
//!
//! The shelf is the copy that [`Admin::rehearse`] gives: it runs the code of the real one, so that it refuses
//! what that would refuse, and steps of one command see one another. The box is asked about each step
//! ([`crate::host::Checks`]) by the very check that the step itself begins with.
//!
//! A step that changes nothing, such as bringing a LUN online that is, is not noted.

mod host;

pub(crate) use host::RehearsalHost;

use crate::commands::gigabytes;
use crate::names::{drive_name, shelf_name};
use aoe::Shelf;
use shelf::admin::{
    AccessChange, Admin, AdminError, ArrayStatus, DriveRole, DriveSlot, DriveStatus, ElementId,
    ElsewhereStatus, JobStatus, LunNumber, LunStatus, MakeRequest, MemberChoice, PortStatus,
    RateLimit, ScrubAction, SpareStatus, SuperblockStatus,
};
use shelf::job::{Extract, JobKind};
use shelf::observe::{DriveLoad, Initiators, Observe, PortStatistics, WorkerLoad};
use shelf::plane::{CounterGroup, RunningPass};
use shelf::statistics::{LunStatistics, Rates};
use std::cell::RefCell;

/// What would be done, each as in "bring LUN 0 online".
#[derive(Debug, Default)]
pub(crate) struct Steps(RefCell<Vec<String>>);

impl Steps {
    fn note(&self, step: String) {
        self.0.borrow_mut().push(step);
    }

    /// All of them, in order.
    pub(crate) fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

/// The copy of a shelf, and what is done to it.
pub(crate) struct Rehearsal<'a> {
    copy: &'a mut dyn Admin,
    steps: &'a Steps,
}

/// Everything that a command may change.
type Seen = (
    Option<Shelf>,
    Vec<DriveStatus>,
    Vec<LunStatus>,
    Vec<SpareStatus>,
    RateLimit,
);

impl<'a> Rehearsal<'a> {
    /// Over a copy.
    pub(crate) fn new(copy: &'a mut dyn Admin, steps: &'a Steps) -> Self {
        Self { copy, steps }
    }

    fn note(&mut self, step: String) -> Result<(), AdminError> {
        self.steps.note(step);
        Ok(())
    }

    fn seen(&self) -> Seen {
        let copy = &*self.copy;
        (
            copy.shelf(),
            copy.drives(),
            copy.luns(),
            copy.spares(),
            copy.rate_limit(),
        )
    }

    /// Does a step in the copy, and notes it if it has changed something.
    fn step(
        &mut self,
        step: String,
        act: impl FnOnce(&mut dyn Admin) -> Result<(), AdminError>,
    ) -> Result<(), AdminError> {
        let before = self.seen();
        act(self.copy)?;
        if self.seen() == before {
            return Ok(());
        }
        self.note(step)
    }

    fn lun(&self, number: LunNumber) -> Result<LunStatus, AdminError> {
        let found = self.copy.luns().into_iter().find(|lun| lun.lun == number);
        found.ok_or(AdminError::NoSuchLun(number))
    }

    fn name(&self, slot: DriveSlot) -> String {
        drive_name(self.copy.shelf(), slot)
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
            series(self.copy.shelf(), &slots)
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
        self.copy.lun_statistics(lun, seconds)
    }

    fn lun_rates(&self, seconds: u64) -> Vec<(LunNumber, Rates)> {
        self.copy.lun_rates(seconds)
    }

    fn drive_load(&self, drive: DriveSlot, seconds: u64) -> DriveLoad {
        self.copy.drive_load(drive, seconds)
    }

    fn workers(&self) -> Vec<WorkerLoad> {
        self.copy.workers()
    }

    fn port_statistics(&self) -> Vec<PortStatistics> {
        self.copy.port_statistics()
    }

    fn initiators(&self) -> Initiators {
        self.copy.initiators()
    }
}

impl Admin for Rehearsal<'_> {
    fn shelf(&self) -> Option<Shelf> {
        self.copy.shelf()
    }

    fn drives(&self) -> Vec<DriveStatus> {
        self.copy.drives()
    }

    fn superblock(&self, drive: DriveSlot) -> Option<SuperblockStatus> {
        self.copy.superblock(drive)
    }

    fn luns(&self) -> Vec<LunStatus> {
        self.copy.luns()
    }

    fn ports(&self) -> Vec<PortStatus> {
        self.copy.ports()
    }

    fn counters(&self) -> Vec<CounterGroup> {
        self.copy.counters()
    }

    fn passes(&self) -> Vec<RunningPass> {
        self.copy.passes()
    }

    fn spares(&self) -> Vec<SpareStatus> {
        self.copy.spares()
    }

    fn elsewhere(&self, number: Option<LunNumber>) -> Vec<ElsewhereStatus> {
        self.copy.elsewhere(number)
    }

    fn arrays(&mut self) -> Vec<ArrayStatus> {
        self.copy.arrays()
    }

    fn rate_limit(&self) -> RateLimit {
        self.copy.rate_limit()
    }

    fn plan_make(&mut self, request: &MakeRequest) -> Result<u64, AdminError> {
        self.copy.plan_make(request)
    }

    fn rehearse(&mut self, act: &mut dyn FnMut(&mut dyn Admin)) {
        self.copy.rehearse(act);
    }

    fn make(&mut self, request: &MakeRequest) -> Result<(), AdminError> {
        let members = self.members(request);
        let (lun, level) = (request.lun, request.level);
        self.copy.make(request)?;
        let made = self.lun(lun)?;
        let size = gigabytes(made.size_bytes);
        let labelled = |label| format!(", labelled '{label}'");
        let label = made.label.map_or_else(String::new, labelled);
        self.note(format!(
            "make LUN {lun}, {level} of {members}, {size}GB, offline{label}"
        ))
    }

    fn grow(&mut self, request: &MakeRequest) -> Result<(), AdminError> {
        let members = self.members(request);
        let (lun, level) = (request.lun, request.level);
        self.copy.grow(request)?;
        let size = gigabytes(self.lun(lun)?.size_bytes);
        self.note(format!(
            "grow LUN {lun} by a {level} of {members}, to {size}GB"
        ))
    }

    fn online(&mut self, lun: LunNumber) -> Result<(), AdminError> {
        self.step(format!("bring LUN {lun} online"), |copy| copy.online(lun))
    }

    fn offline(&mut self, lun: LunNumber) -> Result<(), AdminError> {
        self.step(format!("take LUN {lun} offline"), |copy| copy.offline(lun))
    }

    fn remove(&mut self, lun: LunNumber, force: bool) -> Result<(), AdminError> {
        let status = self.lun(lun)?;
        let (drives, size) = (
            self.count(self.drives_of(&status)),
            gigabytes(status.size_bytes),
        );
        let mut step = format!("erase configuration of {drives}, {size}GB of data on LUN {lun}");
        let spares = self.copy.spares();
        for spare in spares
            .iter()
            .filter(|spare| spare.dedicated_to == Some(lun))
        {
            let name = self.name(spare.drive);
            step.push_str(&format!(
                "; {name}, a spare for it alone, would be one for all"
            ));
        }
        self.step(step, |copy| copy.remove(lun, force))
    }

    fn fail(&mut self, element: ElementId) -> Result<(), AdminError> {
        self.step(format!("fail {element}"), |copy| copy.fail(element))
    }

    fn fail_replacement(&mut self, element: ElementId) -> Result<(), AdminError> {
        let step = format!("drop the replacement of {element}");
        self.step(step, |copy| copy.fail_replacement(element))
    }

    fn unfail(&mut self, element: ElementId) -> Result<(), AdminError> {
        let step = format!("rebuild {element} on its own drive");
        self.step(step, |copy| copy.unfail(element))
    }

    fn replace(
        &mut self,
        element: ElementId,
        drive: DriveSlot,
        force: bool,
    ) -> Result<(), AdminError> {
        let step = format!("rebuild {element} on {}", self.name(drive));
        self.step(step, |copy| copy.replace(element, drive, force))
    }

    fn add_spare(
        &mut self,
        drive: DriveSlot,
        dedicated_to: Option<LunNumber>,
        force: bool,
    ) -> Result<(), AdminError> {
        let name = self.name(drive);
        let of = dedicated_to.map_or_else(String::new, |lun| format!(" of LUN {lun}"));
        let step = format!("make {name} a spare{of}");
        self.step(step, |copy| copy.add_spare(drive, dedicated_to, force))
    }

    fn remove_spare(&mut self, drive: DriveSlot, force: bool) -> Result<(), AdminError> {
        let step = format!("take {} out of the spares", self.name(drive));
        self.step(step, |copy| copy.remove_spare(drive, force))
    }

    fn eject(&mut self, lun: LunNumber, force: bool) -> Result<(), AdminError> {
        let drives = self.count(self.drives_of(&self.lun(lun)?));
        let step = format!("let go of LUN {lun} and its {drives}");
        self.step(step, |copy| copy.eject(lun, force))
    }

    fn look_elsewhere(&mut self) -> Result<(), AdminError> {
        self.look_again(|copy| copy.look_elsewhere())
    }

    fn rescan(&mut self) -> Result<(), AdminError> {
        self.look_again(|copy| copy.rescan())
    }

    fn adopt(&mut self, shelf: u16, lun: LunNumber, number: LunNumber) -> Result<(), AdminError> {
        let step = format!("take over LUN {lun} of shelf {shelf} as LUN {number}");
        self.step(step, |copy| copy.adopt(shelf, lun, number))
    }

    fn adopt_spares(&mut self, shelf: u16) -> Result<(), AdminError> {
        let step = format!("take over the spares of shelf {shelf}");
        self.step(step, |copy| copy.adopt_spares(shelf))
    }

    fn import(&mut self, array: &str, lun: LunNumber) -> Result<(), AdminError> {
        let step = format!("take over md array {array} as LUN {lun}");
        self.step(step, |copy| copy.import(array, lun))
    }

    fn scrub(&mut self, lun: LunNumber, action: ScrubAction) -> Result<(), AdminError> {
        let step = match action {
            ScrubAction::Start => format!("scrub LUN {lun}"),
            ScrubAction::Repair => format!("scrub LUN {lun}, and repair what differs"),
            ScrubAction::Policy(_) => format!("change what scrubs of LUN {lun} repair"),
            ScrubAction::Stop => format!("stop the scrub of LUN {lun}"),
            ScrubAction::Pause => format!("pause the scrub of LUN {lun}"),
            ScrubAction::Resume => format!("go on with the scrub of LUN {lun}"),
            ScrubAction::Every(0) => format!("scrub LUN {lun} only on request"),
            ScrubAction::Every(days) => format!("scrub LUN {lun} every {days} days"),
        };
        self.step(step, |copy| copy.scrub(lun, action))
    }

    fn change_access(&mut self, lun: LunNumber, change: &AccessChange) -> Result<(), AdminError> {
        let step = match change {
            AccessChange::Masks { remove, add } => {
                let (less, more) = (remove.len(), add.len());
                format!("add {more} to the mask list of LUN {lun} and take {less} from it")
            }
            AccessChange::ClearMasks => format!("have LUN {lun} answer everybody"),
            AccessChange::ClearReservations => format!("clear the reservations of LUN {lun}"),
            AccessChange::Vlan(Some(vlan)) => format!("serve LUN {lun} in VLAN {}", vlan.get()),
            AccessChange::Vlan(None) => format!("serve LUN {lun} without tags"),
            AccessChange::ReadOnly(true) => format!("refuse writes of LUN {lun}"),
            AccessChange::ReadOnly(false) => format!("allow writes of LUN {lun}"),
        };
        self.step(step, |copy| copy.change_access(lun, change))
    }

    fn set_config_string(&mut self, lun: LunNumber, string: &[u8]) -> Result<(), AdminError> {
        let step = format!("set the config string of LUN {lun}, {} bytes", string.len());
        self.step(step, |copy| copy.set_config_string(lun, string))
    }

    fn set_label(&mut self, lun: LunNumber, label: Option<&str>) -> Result<(), AdminError> {
        let step = match label {
            Some(label) => format!("label LUN {lun} '{label}'"),
            None => format!("take the label of LUN {lun} away"),
        };
        self.step(step, |copy| copy.set_label(lun, label))
    }

    fn set_rate_limit(&mut self, limit: RateLimit) -> Result<(), AdminError> {
        let of = if limit.is_per_drive {
            " of each drive"
        } else {
            ""
        };
        let step = match limit.bytes_per_second {
            0 => "let passes go without a limit".to_owned(),
            bytes => format!("limit passes to {bytes} bytes a second{of}"),
        };
        self.step(step, |copy| copy.set_rate_limit(limit))
    }

    fn set_shelf(&mut self, number: u32) -> Result<(), AdminError> {
        let from = shelf_name(self.copy.shelf());
        let before = self.copy.luns();
        let step = format!("change shelf {from} to {number} with {} LUNs", before.len());
        self.step(step, |copy| copy.set_shelf(number))?;
        self.note_found(&before)
    }

    fn jobs(&self) -> Vec<JobStatus> {
        self.copy.jobs()
    }

    fn check_job(&mut self, drive: DriveSlot, kind: JobKind) -> Result<(), AdminError> {
        self.copy.check_job(drive, kind)
    }

    fn begin_job(&mut self, drive: DriveSlot, kind: JobKind) -> Result<(), AdminError> {
        let name = self.name(drive);
        let drives = self.copy.drives();
        let status = drives.iter().find(|status| status.slot == drive);
        let size = gigabytes(status.map_or(0, |status| status.whole_bytes));
        let carried = match status.map(|status| &status.role) {
            Some(DriveRole::Foreign(what)) => format!(", which carries {what}"),
            _ => String::new(),
        };
        // Only asked: what the copy had begun would be told of as under way.
        self.copy.check_job(drive, kind)?;
        self.note(match kind {
            JobKind::ReadTest => format!("read {name}, {size}GB"),
            JobKind::Condition { first_sector } => {
                let from = match first_sector {
                    0 => String::new(),
                    sector => format!(" from sector {sector}"),
                };
                format!("read {name}, {size}GB{from}, and write zeroes over what cannot be read")
            }
            JobKind::Erase => format!("erase {name}, {size}GB{carried}"),
            JobKind::Extract(extract) => self.copying(extract, &drives, &name),
            JobKind::WriteTest if carried.is_empty() => {
                format!("overwrite {name}, {size}GB, and read it back")
            }
            JobKind::WriteTest => format!("overwrite {name}, {size}GB{carried}, and read it back"),
        })
    }

    fn stop_job(&mut self, drive: DriveSlot, kinds: &[JobKind]) -> Result<(), AdminError> {
        let name = self.name(drive);
        let jobs = self.copy.jobs();
        self.copy.stop_job(drive, kinds)?;
        let mut running = jobs.iter().filter(|job| job.drive == drive);
        let job =
            running.find(|job| job.is_running() && kinds.iter().any(|kind| kind.is_like(job.kind)));
        job.map_or(Ok(()), |job| {
            self.note(format!("stop the {} of {name}", job.kind))
        })
    }

    fn check_size(
        &self,
        drive: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<u64, AdminError> {
        self.copy.check_size(drive, bytes, force)
    }

    fn set_size(
        &mut self,
        drive: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<(), AdminError> {
        let used = self.copy.check_size(drive, bytes, force)?;
        let (name, size) = (self.name(drive), gigabytes(used));
        let step = match bytes {
            Some(_) => format!("use {size}GB of {name}"),
            None => format!("use all of {name}, {size}GB"),
        };
        self.copy.set_size(drive, bytes, force)?;
        self.note(step)
    }
}

impl Rehearsal<'_> {
    /// Looks at the drives, and notes what was found.
    fn look_again(
        &mut self,
        look: impl FnOnce(&mut dyn Admin) -> Result<(), AdminError>,
    ) -> Result<(), AdminError> {
        let before = self.copy.luns();
        let spares = self.copy.spares();
        look(self.copy)?;
        self.note("look at all drives that are in no LUN".to_owned())?;
        self.note_found(&before)?;
        for spare in self.copy.spares() {
            if !spares.iter().any(|known| known.drive == spare.drive) {
                let name = self.name(spare.drive);
                self.note(format!("take {name} in as a spare"))?;
            }
        }
        Ok(())
    }

    /// What a copy of a drive would be.
    fn copying(&self, extract: Extract, drives: &[DriveStatus], name: &str) -> String {
        let source = drives.iter().find(|status| status.slot == extract.source);
        let size = gigabytes(source.map_or(0, |source| source.whole_bytes));
        let old = self.name(extract.source);
        let from = match extract.first_sector {
            0 => String::new(),
            sector => format!(" from sector {sector}"),
        };
        let past = if extract.passes_over {
            ", with zeroes where it cannot be read"
        } else {
            ""
        };
        format!("copy {old}, {size}GB{from}, onto {name}{past}")
    }

    /// Notes LUNs that were not there before.
    fn note_found(&mut self, before: &[LunStatus]) -> Result<(), AdminError> {
        for lun in self.copy.luns() {
            if before.iter().any(|known| known.lun == lun.lun) {
                continue;
            }
            let drives = self.count(self.drives_of(&lun));
            let way = if lun.online { "online" } else { "offline" };
            self.note(format!("find LUN {} again, of {drives}, {way}", lun.lun))?;
        }
        Ok(())
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

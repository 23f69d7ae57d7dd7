//! A shelf that exists in memory only: the rules of [`Admin`] without disks, for tests of consoles.

mod host;

pub(crate) use host::{FakeHost, administrator};

use aoe::{MacAddress, Shelf, StationAddresses};
use raid::Level;
use raid::geometry::is_striped;
use shelf::admin::{
    AccessChange, AccessStatus, Admin, AdminError, ArrayStatus, DriveRole, DriveSlot, DriveState,
    DriveStatus, ElementId, ElementState, ElementStatus, ElsewhereStatus, JobStatus, LunNumber,
    LunStatus, MakeRequest, MemberChoice, PartStatus, PortStatus, RaidState, RateLimit,
    ScrubAction, ScrubRepair, ScrubStatus, SpareStatus, SuperblockStatus, check_label,
};
use shelf::job::{Extract, Job, JobKind, JobReport};
use shelf::observe::{DriveLoad, Initiators, Observe, PortStatistics, WorkerLoad};
use shelf::statistics::{LunStatistics, Rates};
use std::collections::BTreeMap;

/// Size of a 4 TB drive.
const DRIVE_BYTES: u64 = 4_000_787_030_016;

/// What a member of it holds: whole chunks after the metadata.
const MEMBER_BYTES: u64 = 4_000_786_939_904;

/// The shelf. Tests may change it behind the console's back, as other consoles do.
#[derive(Clone, Debug)]
pub(crate) struct FakeShelf {
    pub(crate) shelf: Option<Shelf>,
    pub(crate) rate_limit: RateLimit,
    pub(crate) drives: Vec<DriveStatus>,
    pub(crate) luns: Vec<LunStatus>,
    pub(crate) ports: Vec<PortStatus>,
    pub(crate) passes: Vec<shelf::plane::RunningPass>,
    pub(crate) spares: Vec<SpareStatus>,
    pub(crate) arrays: Vec<ArrayStatus>,
    pub(crate) elsewhere: Vec<ElsewhereStatus>,
    pub(crate) lun_statistics: BTreeMap<LunNumber, LunStatistics>,
    pub(crate) drive_rates: BTreeMap<DriveSlot, Rates>,
    pub(crate) port_statistics: Vec<PortStatistics>,
    pub(crate) initiators: Initiators,
    pub(crate) jobs: Vec<JobStatus>,
    pub(crate) lun_rates: Vec<(LunNumber, Rates)>,
    pub(crate) workers: Vec<WorkerLoad>,
    /// How long each drive was busy.
    pub(crate) busy_ns: u64,
    ejected: Vec<LunStatus>,
    made: u32,
}

impl FakeShelf {
    /// Shelf 1 with 16 free drives of 4 TB and one port.
    pub(crate) fn new() -> Self {
        let drive = |slot| DriveStatus {
            slot: DriveSlot(slot),
            size_bytes: DRIVE_BYTES,
            state: DriveState::Up,
            role: DriveRole::Free,
            model: "ST4000NM0033".to_owned(),
            path: format!("/dev/disk{slot}"),
            note: None,
            keeps_nothing: false,
            smart: None,
            is_failing: false,
            smart_miss: None,
            whole_bytes: DRIVE_BYTES,
            unfinished: None,
        };
        let port = PortStatus {
            interface: "eth1".to_owned(),
            stations: StationAddresses::single(MacAddress([0x00, 0x10, 0x04, 0x01, 0x2e, 0x81])),
            mtu_bytes: 9000,
            has_link: true,
            mode: "native".to_owned(),
        };
        Self {
            shelf: Some(Shelf(1)),
            rate_limit: RateLimit::NONE,
            drives: (0..16).map(drive).collect(),
            luns: Vec::new(),
            ports: vec![port],
            passes: Vec::new(),
            spares: Vec::new(),
            arrays: Vec::new(),
            elsewhere: Vec::new(),
            lun_statistics: BTreeMap::new(),
            drive_rates: BTreeMap::new(),
            port_statistics: Vec::new(),
            initiators: Initiators::default(),
            jobs: Vec::new(),
            lun_rates: Vec::new(),
            workers: Vec::new(),
            busy_ns: 0,
            ejected: Vec::new(),
            made: 0,
        }
    }

    fn lun(&mut self, lun: LunNumber) -> Result<&mut LunStatus, AdminError> {
        let found = self.luns.iter_mut().find(|status| status.lun == lun);
        found.ok_or(AdminError::NoSuchLun(lun))
    }

    fn part(&mut self, id: ElementId) -> Result<&mut PartStatus, AdminError> {
        let part = self.lun(id.lun)?.parts.get_mut(usize::from(id.part));
        let part = part.ok_or(AdminError::NoSuchElement(id))?;
        if usize::from(id.member) >= part.elements.len() {
            return Err(AdminError::NoSuchElement(id));
        }
        Ok(part)
    }

    fn name(&self, slot: DriveSlot) -> String {
        format!("{}.{slot}", self.shelf.map_or(0xffff, |shelf| shelf.0))
    }

    fn is_redundant(&self, id: ElementId) -> bool {
        let lun = self.luns.iter().find(|lun| lun.lun == id.lun);
        let part = lun.and_then(|lun| lun.parts.get(usize::from(id.part)));
        part.is_some_and(|part| part.level.is_redundant())
    }

    /// Whether one drive may be copied onto another.
    fn check_extract(&self, slot: DriveSlot, extract: Extract) -> Result<(), AdminError> {
        let refused = |reason| {
            Err(AdminError::JobRefused {
                drive: self.name(slot),
                kind: JobKind::Extract(extract),
                reason,
            })
        };
        let old = self.name(extract.source);
        if extract.source == slot {
            return refused("it is the drive to copy".to_owned());
        }
        let mut drives = self.drives.iter();
        let Some(source) = drives.find(|status| status.slot == extract.source) else {
            return Err(AdminError::NoSuchDrive(old));
        };
        let mut running = self.jobs.iter().filter(|job| job.is_running());
        if let Some(job) = running.find(|job| job.kind.concerns(job.drive, extract.source)) {
            let (drive, kind) = (old, job.kind);
            return Err(AdminError::DriveBusy { drive, kind });
        }
        if let DriveRole::Foreign(what) = &self.drives[usize::from(slot.0)].role
            && self.drives[usize::from(slot.0)].unfinished.is_none()
        {
            return refused(format!("it carries {what}; erase empties it"));
        }
        match &source.role {
            DriveRole::Element(id) if !self.is_redundant(*id) => Ok(()),
            DriveRole::Element(id) => refused(format!(
                "{old} is {id}; replace {id} DRIVE copies it while the LUN is served, with what the others hold in \
                 the place of what cannot be read"
            )),
            DriveRole::Spare => refused(format!("{old} is a spare, which holds nothing to copy")),
            _ => Ok(()),
        }
    }

    fn check_drive(&self, slot: DriveSlot, force: bool) -> Result<(), AdminError> {
        let drive = self.name(slot);
        let Some(status) = self.drives.iter().find(|status| status.slot == slot) else {
            return Err(AdminError::NoSuchDrive(drive));
        };
        if status.state != DriveState::Up {
            let (state, reason) = (status.state.name(), status.note.clone());
            return Err(AdminError::DriveNotUp {
                drive,
                state,
                reason,
            });
        }
        match &status.role {
            DriveRole::Element(_) | DriveRole::Spare | DriveRole::Working(_) => {
                Err(AdminError::DriveInUse(drive))
            }
            DriveRole::Foreign(what) if !force => Err(AdminError::DriveForeign {
                drive,
                what: what.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn elements(&mut self, request: &MakeRequest, part: u8) -> Vec<ElementStatus> {
        let mut elements = Vec::new();
        for (member, choice) in (0..).zip(&request.members) {
            let id = ElementId {
                lun: request.lun,
                part,
                member,
            };
            elements.push(match choice {
                MemberChoice::Missing => ElementStatus {
                    id,
                    state: ElementState::Missing,
                    size_bytes: 0,
                    drive: None,
                    bad_sectors: 0,
                    is_replacement: false,
                    read_errors: 0,
                },
                MemberChoice::Drive(slot) => {
                    self.drives[usize::from(slot.0)].role = DriveRole::Element(id);
                    let (state, drive) = (ElementState::Normal, Some(*slot));
                    ElementStatus {
                        id,
                        state,
                        size_bytes: DRIVE_BYTES,
                        drive,
                        bad_sectors: 0,
                        is_replacement: false,
                        read_errors: 0,
                    }
                }
            });
        }
        elements
    }

    fn new_part(&mut self, request: &MakeRequest, part: u8) -> Result<PartStatus, AdminError> {
        let chunk_kib = request.chunk_kib.unwrap_or(64);
        if request.chunk_kib.is_some() && !is_striped(request.level) {
            return Err(AdminError::NoChunks(request.level));
        }
        if !chunk_kib.is_power_of_two() {
            return Err(AdminError::InvalidChunk(chunk_kib));
        }
        let data_members = check_count(request.level, request.members.len())?;
        for (index, choice) in request.members.iter().enumerate() {
            if let MemberChoice::Drive(slot) = choice
                && request.members[..index].contains(choice)
            {
                return Err(AdminError::DriveInUse(self.name(*slot)));
            }
            if let MemberChoice::Drive(slot) = choice {
                self.check_drive(*slot, request.force)?;
            }
        }
        let (level, size_bytes) = (request.level, data_members * MEMBER_BYTES);
        let degraded = request.members.contains(&MemberChoice::Missing);
        let state = RaidState {
            degraded,
            ..RaidState::default()
        };
        Ok(PartStatus {
            part,
            size_bytes,
            level,
            chunk_bytes: is_striped(level).then_some(chunk_kib * 1024),
            state,
            is_stalled: false,
            is_bare: false,
            elements: self.elements(request, part),
        })
    }
}

fn check_count(level: Level, given: usize) -> Result<u64, AdminError> {
    let wrong = |takes| {
        Err(AdminError::WrongMemberCount {
            level,
            takes,
            given,
        })
    };
    match level {
        Level::Raid5 if given < 3 => wrong("3 to 36"),
        Level::Raid6 if given < 4 => wrong("4 to 36"),
        Level::Raid5 => Ok(given as u64 - 1),
        Level::Raid6 => Ok(given as u64 - 2),
        Level::Raw | Level::Jbod if given != 1 => wrong("one drive"),
        Level::Raid1 if given != 2 => wrong("two drives"),
        Level::Raid10 if !given.is_multiple_of(2) => wrong("an even number of drives"),
        Level::Raid10 | Level::Raid1 => Ok(given as u64 / 2),
        _ => Ok(given as u64),
    }
}

impl Observe for FakeShelf {
    fn lun_statistics(&self, lun: LunNumber, _: u64) -> Option<LunStatistics> {
        self.lun_statistics.get(&lun).cloned()
    }

    fn lun_rates(&self, _: u64) -> Vec<(LunNumber, Rates)> {
        self.lun_rates.clone()
    }

    fn drive_load(&self, drive: DriveSlot, _: u64) -> DriveLoad {
        DriveLoad {
            rates: self.drive_rates.get(&drive).copied().unwrap_or_default(),
            busy_ns: vec![self.busy_ns],
        }
    }

    fn workers(&self) -> Vec<WorkerLoad> {
        self.workers.clone()
    }

    fn port_statistics(&self) -> Vec<PortStatistics> {
        self.port_statistics.clone()
    }

    fn initiators(&self) -> Initiators {
        self.initiators.clone()
    }
}

impl Admin for FakeShelf {
    fn shelf(&self) -> Option<Shelf> {
        self.shelf
    }

    fn drives(&self) -> Vec<DriveStatus> {
        self.drives.clone()
    }

    /// Members have one, and spares.
    fn superblock(&self, drive: DriveSlot) -> Option<SuperblockStatus> {
        let status = self.drives.iter().find(|status| status.slot == drive)?;
        let (array, role) = match status.role {
            DriveRole::Element(id) => (u16::from(id.lun.get()), Some(u16::from(id.member))),
            DriveRole::Spare => (0xffff, None),
            DriveRole::Free | DriveRole::Foreign(_) | DriveRole::Working(_) => return None,
        };
        Some(SuperblockStatus {
            version: "1.2",
            array: format!("00000000:00000000:00000000:0000{array:04x}"),
            device: format!("11111111:11111111:11111111:0000{:04x}", drive.0),
            device_number: role.map_or(0, u32::from),
            role,
            events: 7,
        })
    }

    fn luns(&self) -> Vec<LunStatus> {
        self.luns.clone()
    }

    fn ports(&self) -> Vec<PortStatus> {
        self.ports.clone()
    }

    fn passes(&self) -> Vec<shelf::plane::RunningPass> {
        self.passes.clone()
    }

    fn counters(&self) -> Vec<shelf::plane::CounterGroup> {
        vec![
            shelf::plane::CounterGroup {
                name: "target".to_owned(),
                counters: vec![("frames", 12), ("bad_version", 0), ("reads", 7)],
            },
            shelf::plane::CounterGroup {
                name: "port eth1".to_owned(),
                counters: vec![("rx_frames", 12), ("rx_dropped", 1)],
            },
        ]
    }

    fn rehearse(&mut self, act: &mut dyn FnMut(&mut dyn Admin)) {
        act(&mut self.clone());
    }

    fn plan_make(&mut self, request: &MakeRequest) -> Result<u64, AdminError> {
        let before = (self.drives.clone(), self.luns.clone(), self.made);
        let done = self.make(request);
        let bytes = self.lun(request.lun).map_or(0, |lun| lun.size_bytes);
        (self.drives, self.luns, self.made) = before;
        done.map(|()| bytes)
    }

    fn make(&mut self, request: &MakeRequest) -> Result<(), AdminError> {
        if self.lun(request.lun).is_ok() {
            return Err(AdminError::LunExists(request.lun));
        }
        if let Some(label) = &request.label {
            check_label(label)?;
            if request.level == Level::Raw {
                return Err(AdminError::NotRecorded(request.lun));
            }
        }
        let part = self.new_part(request, 0)?;
        self.made += 1;
        self.luns.push(LunStatus {
            lun: request.lun,
            size_bytes: part.size_bytes,
            online: false,
            label: request.label.clone(),
            serial: format!("serial{:02}", self.made),
            config_string: Vec::new(),
            access: AccessStatus::default(),
            scrub: request.level.is_redundant().then_some(ScrubStatus {
                interval_days: 14,
                last_unix_seconds: None,
                last_mismatched_sectors: 0,
                last_repaired_sectors: 0,
                last_is_incomplete: false,
                done_sectors: None,
                total_sectors: 8_000_000,
                mismatched_sectors: 0,
                repaired_sectors: 0,
                repair: ScrubRepair::Report,
                is_repair: false,
                is_paused: false,
            }),
            trouble: None,
            parts: vec![part],
        });
        self.luns.sort_by_key(|status| status.lun);
        Ok(())
    }

    fn grow(&mut self, request: &MakeRequest) -> Result<(), AdminError> {
        let number =
            u8::try_from(self.lun(request.lun)?.parts.len()).expect("there are four at most");
        if number == 4 {
            let reason = "it has 4 RAIDs, and that is the most".to_owned();
            let lun = request.lun;
            return Err(AdminError::CannotGrow { lun, reason });
        }
        let part = self.new_part(request, number)?;
        let lun = self.lun(request.lun)?;
        lun.size_bytes += part.size_bytes;
        lun.parts.push(part);
        Ok(())
    }

    fn online(&mut self, lun: LunNumber) -> Result<(), AdminError> {
        let status = self.lun(lun)?;
        if status.parts.iter().any(|part| part.state.failed) {
            let reason = "both halves of a mirror are missing".to_owned();
            return Err(AdminError::LunFailed { lun, reason });
        }
        status.online = true;
        Ok(())
    }

    fn offline(&mut self, lun: LunNumber) -> Result<(), AdminError> {
        self.lun(lun)?.online = false;
        Ok(())
    }

    fn remove(&mut self, lun: LunNumber, force: bool) -> Result<(), AdminError> {
        if self.lun(lun)?.online && !force {
            return Err(AdminError::LunOnline {
                lun,
                action: "removal",
            });
        }
        self.luns.retain(|status| status.lun != lun);
        for drive in &mut self.drives {
            if matches!(drive.role, DriveRole::Element(id) if id.lun == lun) {
                drive.role = DriveRole::Free;
            }
        }
        Ok(())
    }

    fn fail(&mut self, id: ElementId) -> Result<(), AdminError> {
        let part = self.part(id)?;
        let element = &mut part.elements[usize::from(id.member)];
        if element.state != ElementState::Normal {
            return Err(AdminError::AlreadyFailed(id));
        }
        if !part.level.is_redundant() {
            return Err(AdminError::NotRedundant {
                raid: id.raid(),
                but: "would not sustain failure",
            });
        }
        if part.state.degraded {
            return Err(AdminError::WouldFailRaid(id));
        }
        element.state = ElementState::Failed;
        part.state.degraded = true;
        Ok(())
    }

    fn fail_replacement(&mut self, id: ElementId) -> Result<(), AdminError> {
        let part = self.part(id)?;
        let is_twin = |element: &ElementStatus| element.id == id && element.is_replacement;
        let before = part.elements.len();
        part.elements.retain(|element| !is_twin(element));
        if part.elements.len() == before {
            let is = "is not being replaced";
            return Err(AdminError::Replacement { element: id, is });
        }
        part.state.recovering = false;
        Ok(())
    }

    fn unfail(&mut self, id: ElementId) -> Result<(), AdminError> {
        let part = self.part(id)?;
        let element = &mut part.elements[usize::from(id.member)];
        match element.state {
            ElementState::Missing => return Err(AdminError::MissingDevice(id)),
            ElementState::Failed => element.state = ElementState::Replaced,
            ElementState::Normal | ElementState::Replaced => return Err(AdminError::NotFailed(id)),
        }
        part.state.recovering = true;
        Ok(())
    }

    fn replace(&mut self, id: ElementId, drive: DriveSlot, force: bool) -> Result<(), AdminError> {
        self.check_drive(drive, force)?;
        let part = self.part(id)?;
        let element = &mut part.elements[usize::from(id.member)];
        if element.state == ElementState::Normal {
            let twin = ElementStatus {
                state: ElementState::Replaced,
                drive: Some(drive),
                is_replacement: true,
                ..element.clone()
            };
            part.elements.insert(usize::from(id.member) + 1, twin);
            part.state.recovering = true;
            self.drives[usize::from(drive.0)].role = DriveRole::Element(id);
            return Ok(());
        }
        element.state = ElementState::Replaced;
        element.drive = Some(drive);
        element.size_bytes = DRIVE_BYTES;
        part.state.recovering = true;
        self.drives[usize::from(drive.0)].role = DriveRole::Element(id);
        Ok(())
    }

    fn spares(&self) -> Vec<SpareStatus> {
        self.spares.clone()
    }

    fn add_spare(
        &mut self,
        drive: DriveSlot,
        dedicated_to: Option<LunNumber>,
        force: bool,
    ) -> Result<(), AdminError> {
        self.check_drive(drive, force)?;
        if let Some(lun) = dedicated_to {
            self.lun(lun)?;
        }
        self.drives[usize::from(drive.0)].role = DriveRole::Spare;
        self.spares.push(SpareStatus {
            drive,
            size_bytes: DRIVE_BYTES,
            dedicated_to,
            fault: None,
        });
        Ok(())
    }

    fn remove_spare(&mut self, drive: DriveSlot, _force: bool) -> Result<(), AdminError> {
        if !self.spares.iter().any(|spare| spare.drive == drive) {
            return Err(AdminError::NotASpare(self.name(drive)));
        }
        self.spares.retain(|spare| spare.drive != drive);
        self.drives[usize::from(drive.0)].role = DriveRole::Free;
        Ok(())
    }

    fn eject(&mut self, lun: LunNumber, force: bool) -> Result<(), AdminError> {
        if self.lun(lun)?.online && !force {
            let action = "ejecting";
            return Err(AdminError::LunOnline { lun, action });
        }
        let ejected = self.luns.extract_if(.., |status| status.lun == lun);
        self.ejected.extend(ejected);
        Ok(())
    }

    fn rescan(&mut self) -> Result<(), AdminError> {
        self.luns.append(&mut self.ejected);
        self.luns.sort_by_key(|status| status.lun);
        Ok(())
    }

    fn look_elsewhere(&mut self) -> Result<(), AdminError> {
        Ok(())
    }

    fn elsewhere(&self, number: Option<LunNumber>) -> Vec<ElsewhereStatus> {
        let mut found = self.elsewhere.clone();
        for status in &mut found {
            let number = status.lun.map(|lun| number.unwrap_or(lun));
            if self.luns.iter().any(|lun| Some(lun.lun) == number) {
                status.refusal = Some("it exists".to_owned());
            }
        }
        found
    }

    fn adopt(&mut self, shelf: u16, lun: LunNumber, number: LunNumber) -> Result<(), AdminError> {
        let is_it = |found: &ElsewhereStatus| (found.shelf, found.lun) == (shelf, Some(lun));
        let Some(status) = self.elsewhere(Some(number)).into_iter().find(is_it) else {
            let what = format!("LUN {lun}");
            return Err(AdminError::NothingElsewhere { what, shelf });
        };
        if let Some(reason) = status.refusal {
            return Err(AdminError::NotAdoptable { shelf, lun, reason });
        }
        self.elsewhere.retain(|found| !is_it(found));
        self.make(&MakeRequest {
            lun: number,
            level: status.levels[0],
            members: status
                .drives
                .iter()
                .map(|slot| MemberChoice::Drive(*slot))
                .collect(),
            force: true,
            clean: true,
            chunk_kib: None,
            label: None,
        })
    }

    fn adopt_spares(&mut self, shelf: u16) -> Result<(), AdminError> {
        let is_spare = |found: &&ElsewhereStatus| found.shelf == shelf && found.lun.is_none();
        let spares: Vec<_> = self.elsewhere.iter().filter(is_spare).cloned().collect();
        for spare in spares {
            self.add_spare(spare.drives[0], None, true)?;
        }
        self.elsewhere.retain(|found| !is_spare(&found));
        Ok(())
    }

    fn arrays(&mut self) -> Vec<ArrayStatus> {
        self.arrays.clone()
    }

    fn import(&mut self, array: &str, lun: LunNumber) -> Result<(), AdminError> {
        let found = self.arrays.iter().position(|found| found.name == array);
        let found = found.ok_or_else(|| AdminError::NoSuchArray(array.to_owned()))?;
        if let Some(reason) = self.arrays[found].refusal.clone() {
            let array = array.to_owned();
            return Err(AdminError::NotImportable { array, reason });
        }
        let array = self.arrays.remove(found);
        let members = array.drives.iter().map(|slot| MemberChoice::Drive(*slot));
        self.make(&MakeRequest {
            lun,
            level: array.level.unwrap_or(Level::Jbod),
            members: members.collect(),
            force: true,
            clean: true,
            chunk_kib: None,
            label: None,
        })
    }

    fn scrub(&mut self, lun: LunNumber, action: ScrubAction) -> Result<(), AdminError> {
        let raid = shelf::admin::PartId { lun, part: 0 };
        let but = "has nothing to compare";
        let status = self.lun(lun)?;
        let Some(scrub) = &mut status.scrub else {
            return Err(AdminError::NotRedundant { raid, but });
        };
        match action {
            ScrubAction::Every(days) => scrub.interval_days = days,
            ScrubAction::Policy(repair) => scrub.repair = repair,
            ScrubAction::Start | ScrubAction::Repair if scrub.done_sectors.is_some() => {
                return Err(AdminError::ScrubUnderWay(lun));
            }
            ScrubAction::Start => scrub.done_sectors = Some(0),
            ScrubAction::Repair => {
                scrub.done_sectors = Some(0);
                scrub.is_repair = true;
            }
            _ if scrub.done_sectors.is_none() => return Err(AdminError::NoScrub(lun)),
            ScrubAction::Stop => scrub.done_sectors = None,
            ScrubAction::Pause => scrub.is_paused = true,
            ScrubAction::Resume => scrub.is_paused = false,
        }
        Ok(())
    }

    fn rate_limit(&self) -> RateLimit {
        self.rate_limit
    }

    fn change_access(&mut self, lun: LunNumber, change: &AccessChange) -> Result<(), AdminError> {
        let access = &mut self.lun(lun)?.access;
        match change {
            AccessChange::Masks { remove, add } => {
                if let Some(group) = add.iter().find(|mac| mac.is_multicast()) {
                    return Err(AdminError::WrongMask(*group));
                }
                access.masks.retain(|known| !remove.contains(known));
                access.masks.extend(add);
                if access.masks.len() > 9 {
                    return Err(AdminError::MaskListFull(lun));
                }
            }
            AccessChange::ClearMasks => access.masks.clear(),
            AccessChange::ClearReservations => {
                access.reserved.clear();
                access.keys.clear();
                (access.reservation, access.owner) = (None, None);
            }
            AccessChange::Vlan(vlan) => access.vlan = *vlan,
            AccessChange::ReadOnly(is_read_only) => access.is_read_only = *is_read_only,
        }
        Ok(())
    }

    fn set_config_string(&mut self, lun: LunNumber, string: &[u8]) -> Result<(), AdminError> {
        if string.len() > 1024 {
            return Err(AdminError::ConfigStringTooLong(string.len()));
        }
        self.lun(lun)?.config_string = string.to_vec();
        Ok(())
    }

    fn set_label(&mut self, lun: LunNumber, label: Option<&str>) -> Result<(), AdminError> {
        label.map_or(Ok(()), check_label)?;
        self.lun(lun)?.label = label.map(str::to_owned);
        Ok(())
    }

    fn set_rate_limit(&mut self, limit: RateLimit) -> Result<(), AdminError> {
        self.rate_limit = limit;
        Ok(())
    }

    fn set_shelf(&mut self, number: u32) -> Result<(), AdminError> {
        if self.luns.iter().any(|status| status.online) {
            return Err(AdminError::OnlineLuns);
        }
        let shelf = u16::try_from(number).map_err(|_| AdminError::InvalidShelf(number))?;
        self.shelf = Some(Shelf(shelf));
        Ok(())
    }

    fn jobs(&self) -> Vec<JobStatus> {
        self.jobs.clone()
    }

    fn check_job(&mut self, slot: DriveSlot, kind: JobKind) -> Result<(), AdminError> {
        let drive = self.name(slot);
        let Some(status) = self.drives.iter().find(|status| status.slot == slot) else {
            return Err(AdminError::NoSuchDrive(drive));
        };
        if status.state != DriveState::Up {
            let (state, reason) = (status.state.name(), status.note.clone());
            return Err(AdminError::DriveNotUp {
                drive,
                state,
                reason,
            });
        }
        let mut running = self.jobs.iter().filter(|job| job.is_running());
        if let Some(job) = running.find(|job| job.kind.concerns(job.drive, slot)) {
            let kind = job.kind;
            return Err(AdminError::DriveBusy { drive, kind });
        }
        if let JobKind::Extract(extract) = kind {
            self.check_extract(slot, extract)?;
        }
        let role = match &status.role {
            DriveRole::Element(id) if kind.is_like(JobKind::CONDITION) => {
                let reason = format!(
                    "it is {id}; scrub start {} writes anew what cannot be read, with what the others hold",
                    id.lun
                );
                return Err(AdminError::JobRefused {
                    drive,
                    kind,
                    reason,
                });
            }
            DriveRole::Element(id) => id.to_string(),
            DriveRole::Spare => "spare".to_owned(),
            DriveRole::Foreign(what) if kind.is_like(JobKind::CONDITION) => {
                let reason = format!(
                    "it carries {what}, and zeroes in the place of what cannot be read would be taken for that; \
                     erase writes all of the drive"
                );
                return Err(AdminError::JobRefused {
                    drive,
                    kind,
                    reason,
                });
            }
            _ => return Ok(()),
        };
        if kind.takes_drive() {
            return Err(AdminError::DriveHasRole { drive, role });
        }
        Ok(())
    }

    fn begin_job(&mut self, slot: DriveSlot, kind: JobKind) -> Result<(), AdminError> {
        self.check_job(slot, kind)?;
        if kind.takes_drive() {
            self.drives[usize::from(slot.0)].role = DriveRole::Working(kind);
        }
        if let Some(source) = kind.source()
            && !matches!(
                self.drives[usize::from(source.0)].role,
                DriveRole::Element(_)
            )
        {
            self.drives[usize::from(source.0)].role = DriveRole::Working(kind);
        }
        self.jobs.retain(|job| job.drive != slot);
        self.made += 1;
        let job = Job::new(kind, DRIVE_BYTES / 512, raid::Unit::SECTOR);
        self.jobs.push(JobStatus {
            number: u64::from(self.made),
            drive: slot,
            kind,
            begun_unix_seconds: 1_700_000_000,
            is_stopping: false,
            report: JobReport {
                progress: job.progress().clone(),
                way: (kind == JobKind::Erase).then(|| "deallocated".to_owned()),
                ..JobReport::default()
            },
        });
        Ok(())
    }

    fn stop_job(&mut self, slot: DriveSlot, kinds: &[JobKind]) -> Result<(), AdminError> {
        let name = self.name(slot);
        if self.drives.iter().all(|status| status.slot != slot) {
            return Err(AdminError::NoSuchDrive(name));
        }
        let is_meant = |job: &&mut JobStatus| {
            let is_one = kinds.iter().any(|kind| kind.is_like(job.kind));
            job.drive == slot && job.is_running() && is_one
        };
        let job = self.jobs.iter_mut().find(is_meant);
        job.ok_or(AdminError::NoJob(name))?.is_stopping = true;
        Ok(())
    }

    fn check_size(
        &self,
        slot: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<u64, AdminError> {
        self.check_drive(slot, force)?;
        let bytes = bytes.unwrap_or(DRIVE_BYTES);
        if bytes > DRIVE_BYTES {
            return Err(AdminError::SizeTooLarge {
                drive: self.name(slot),
                most_bytes: DRIVE_BYTES - 4096,
            });
        }
        Ok(bytes)
    }

    fn set_size(
        &mut self,
        slot: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<(), AdminError> {
        self.drives[usize::from(slot.0)].size_bytes = self.check_size(slot, bytes, force)?;
        Ok(())
    }
}

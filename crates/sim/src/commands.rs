//! What an administrator does: members are failed and taken back, replaced, given spares; the LUN is
//! scrubbed, goes offline and comes back. What is refused is refused; what is done must lose nothing.

use crate::content::SECTOR;
use crate::run::{Life, the_lun};
use crate::switch::Micros;
use crate::world::World;
use raid::Geometry;
use shelf::admin::{Admin, AdminError, DriveSlot, ElementId, ScrubAction};
use shelf::manager::Manager;
use std::fmt;

/// Events between going offline and coming back.
const OFFLINE_EVENTS: u64 = 40;

/// A scrub takes no longer.
const SCRUB_PATIENCE: Micros = 600_000_000;

impl Life {
    /// Gives a command, if the shelf is there to take it.
    pub(crate) fn command(&mut self) {
        let Some(mut manager) = self.manager.take() else {
            return;
        };
        let (disks, members) = {
            let world = self.world.lock();
            (world.disks.len() as u64, self.geometry.members())
        };
        let random = &mut self.random;
        let kind = random.below(14);
        let member = u8::try_from(random.below(u64::from(members))).unwrap_or(0);
        let drive = DriveSlot(u16::try_from(random.below(disks)).unwrap_or(0));
        let is_chosen = random.chance(300);
        let element = ElementId {
            lun: the_lun(),
            part: 0,
            member,
        };
        let outcome = match kind {
            0..=2 => self.fail(&mut manager, element),
            3 => manager.unfail(element).map_err(|error| error.to_string()),
            4 => {
                let force = self.is_left_over(drive);
                let replaced = manager.replace(element, drive, force);
                replaced.map_err(|error| error.to_string())
            }
            5..=7 => {
                let dedicated = is_chosen.then(the_lun);
                let added = manager.add_spare(drive, dedicated, self.is_left_over(drive));
                added.map_err(|error| error.to_string())
            }
            8 => {
                let removed = manager.remove_spare(drive, is_chosen);
                removed.map_err(|error| error.to_string())
            }
            9..=11 => {
                let action = self.random.pick(&[
                    ScrubAction::Start,
                    ScrubAction::Repair,
                    ScrubAction::Pause,
                    ScrubAction::Resume,
                    ScrubAction::Stop,
                ]);
                let scrubbed = manager.scrub(the_lun(), action);
                scrubbed.map_err(|error| error.to_string())
            }
            _ => {
                self.manager = Some(manager);
                self.leave_and_return(is_chosen);
                return;
            }
        };
        self.world
            .lock()
            .note(|| format!("command {kind} {element} {drive}: {outcome:?}"));
        self.manager = Some(manager);
    }

    fn fail(&self, manager: &mut Manager, element: ElementId) -> Result<(), String> {
        if !self.world.lock().may_lose_element(element.member) {
            return Err("not without it".to_owned());
        }
        let failed = manager.fail(element);
        // What was begun and not done may be found half done.
        if matches!(&failed, Err(error) if !matches!(error, AdminError::Io(_))) {
            self.world.lock().keep_element(element.member);
        }
        failed.map_err(|error| error.to_string())
    }

    /// Whether the LUN does not use a drive, nor waits for it: an administrator may overwrite it.
    fn is_left_over(&self, drive: DriveSlot) -> bool {
        let world = self.world.lock();
        let disk = world.slots.get(usize::from(drive.0)).copied().flatten();
        disk.is_some_and(|disk| !world.placement.contains(&disk))
    }

    /// The LUN goes offline, or its drives are to be pulled, and it comes back a little later.
    fn leave_and_return(&mut self, ejects: bool) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        self.is_offline = true;
        let gone = if ejects {
            manager.eject(the_lun(), false)
        } else {
            manager.offline(the_lun())
        };
        self.world
            .lock()
            .note(|| format!("goes offline (ejects: {ejects}): {gone:?}"));
        let end = self.world.lock().counts.events + OFFLINE_EVENTS;
        self.serve_quietly(|world| world.counts.events >= end);
        let Some(manager) = &mut self.manager else {
            return;
        };
        if ejects {
            drop(manager.rescan());
        }
        self.come_back();
    }

    /// A LUN that was taken offline is asked for again.
    pub(crate) fn come_back(&mut self) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        let is_there = |manager: &Manager| {
            let luns = manager.luns();
            luns.iter().any(|lun| lun.lun == the_lun() && lun.online)
        };
        let mut outcome = Ok(());
        if !is_there(manager) {
            outcome = manager.online(the_lun());
        }
        let is_there = is_there(manager);
        let mut world = self.world.lock();
        world.note(|| format!("comes back: {outcome:?}"));
        if !world.has_power {
            return;
        }
        self.is_offline = false;
        if !is_there && !world.has_returned_disk() {
            world.fail(format!("the LUN cannot be brought online: {outcome:?}"));
        }
    }

    /// Sectors go bad without a word, and a scrub must find each; and nothing else. The last thing that
    /// happens to a shelf: what it has seen of these sectors is wrong.
    pub(crate) fn check_scrub(&mut self) {
        let spoiled = {
            let mut world = self.world.lock();
            let is_sound =
                world.is_synced() && !world.has_unreadable() && !world.oracle.has_taint();
            if !is_sound || !world.is_whole() || world.counts.errors > 0 {
                return;
            }
            world.corrupt(&self.geometry, self.random.below(4))
        };
        let Some(manager) = &mut self.manager else {
            return;
        };
        // One that was paused.
        drop(manager.scrub(the_lun(), ScrubAction::Stop));
        drop(manager.take_notices());
        self.heard.clear();
        // RAID 6 knows which block is wrong, and can make it right.
        let mends = self.geometry.parity_count() == 2 && self.random.chance(500);
        let action = if mends {
            ScrubAction::Repair
        } else {
            ScrubAction::Start
        };
        if let Err(error) = manager.scrub(the_lun(), action) {
            let mut world = self.world.lock();
            if world.has_power {
                world.fail(format!("no scrub begins: {error}"));
            }
            return;
        }
        if !self.serve_quietly_for(SCRUB_PATIENCE, World::is_quiet) {
            self.world.lock().fail("a scrub does not end".to_owned());
        }
        let notices = self.notices_of_scrub();
        let mut world = self.world.lock();
        if let Some(text) = objection(&self.geometry, &spoiled, &notices) {
            world.fail(format!("{text}; {spoiled:?}; {notices:?}"));
        }
        let is_left = |one: &&Spoiled| {
            let content = world.disks[one.disk].get(one.disk_sector);
            content != one.content.as_slice()
        };
        if mends && let Some(one) = spoiled.iter().find(is_left) {
            let text = format!("{one:?} was not mended");
            world.fail(text);
        }
        for one in spoiled {
            world.disks[one.disk].put(one.disk_sector, &one.content);
        }
    }

    fn notices_of_scrub(&mut self) -> Vec<String> {
        let manager = self.manager.as_mut();
        let mut notices = std::mem::take(&mut self.heard);
        notices.extend(manager.map(Manager::take_notices).unwrap_or_default());
        notices
    }
}

/// A sector that went bad.
#[derive(Clone)]
pub(crate) struct Spoiled {
    element: u8,
    member_sector: u64,
    disk: usize,
    disk_sector: u64,
    content: Box<[u8; SECTOR]>,
}

impl fmt::Debug for Spoiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (element, sector) = (self.element, self.member_sector);
        write!(f, "member sector {sector} of element {element}")
    }
}

impl World {
    /// Whether all members are there and hold everything, without exception.
    fn is_whole(&self) -> bool {
        let Some(view) = &self.view else { return false };
        let is_in_sync = |member: &Option<_>| {
            member
                .as_ref()
                .is_some_and(|member: &shelf::plane::MemberView| member.in_sync)
        };
        let part = &view.parts[0];
        let all_read = part.members.iter().flatten().all(|member| {
            let disk = self.slots[usize::from(member.drive.0)];
            disk.is_some_and(|disk| !self.disks[disk].is_gone)
        });
        part.geometry.level().is_redundant() && part.members.iter().all(is_in_sync) && all_read
    }

    /// Changes a bit in some sectors of members, at most one of each slice.
    fn corrupt(&mut self, geometry: &Geometry, count: u64) -> Vec<Spoiled> {
        let Some(view) = self.view.clone() else {
            return Vec::new();
        };
        let mut all: Vec<Spoiled> = Vec::new();
        let chunk = u64::from(geometry.chunk_sectors()).max(1);
        for _ in 0..count {
            let member_sector = self.random.below(geometry.member_sectors() / chunk * chunk);
            let is_near = |one: &Spoiled| one.member_sector / 16 == member_sector / 16;
            let element = self.random.below(u64::from(geometry.members()));
            let element = u8::try_from(element).unwrap_or(0);
            let Some(member) = view.parts[0].members[usize::from(element)] else {
                continue;
            };
            let Some(disk) = self.slots[usize::from(member.drive.0)] else {
                continue;
            };
            if all.iter().any(is_near) {
                continue;
            }
            let disk_sector = member.data_offset_sectors + member_sector;
            let mut content = Box::new([0; SECTOR]);
            content.copy_from_slice(self.disks[disk].get(disk_sector));
            let mut wrong = *content;
            wrong[self.random.index(SECTOR)] ^= 1 << self.random.below(8);
            self.disks[disk].put(disk_sector, &wrong);
            all.push(Spoiled {
                element,
                member_sector,
                disk,
                disk_sector,
                content,
            });
        }
        self.note(|| format!("sectors go bad: {all:?}"));
        all
    }
}

/// What is wrong with what a scrub told.
fn objection(geometry: &Geometry, spoiled: &[Spoiled], notices: &[String]) -> Option<String> {
    let told = notices.iter().find_map(|notice| {
        let (_, rest) = notice.split_once("the scrub found ")?;
        rest.split_whitespace().next()?.parse::<usize>().ok()
    });
    let Some(found) = told else {
        return Some("the scrub tells nothing".to_owned());
    };
    // Each of several copies that differ from a wrong one may count.
    let is_exact = geometry.parity_count() > 0;
    if found < spoiled.len() || (found > 0 && spoiled.is_empty()) {
        return Some(format!("{found} sectors found"));
    }
    if is_exact && found != spoiled.len() {
        return Some(format!("{found} sectors found"));
    }
    if geometry.parity_count() < 2 {
        return None;
    }
    let is_named = |one: &&Spoiled| {
        let text = format!(
            "element {}.0.{} holds something wrong at member sector {}:",
            the_lun(),
            one.element,
            one.member_sector
        );
        notices.iter().any(|notice| notice.starts_with(&text))
    };
    let missed = spoiled.iter().find(|one| !is_named(one));
    missed.map(|one| format!("{one:?} is not named"))
}

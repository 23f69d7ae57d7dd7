//! Finds events by comparing the shelf with what it was.
//!
//! Invariants:
//! * What was there when it looked first is no event.
//! * It asks nothing that a worker would have to answer, so that looking costs the data path nothing.
//! * A state that came and went between two looks is not told of.

use super::{Event, Severity};
use crate::names::{drive_name, shelf_name};
use aoe::Shelf;
use shelf::admin::{
    Admin, DriveSlot, DriveState, DriveStatus, ElementState, ElementStatus, JobStatus, LunStatus,
    PartStatus,
};
use shelf::job::JobEnd;
use shelf::smart::Smart;
use std::collections::BTreeMap;

/// What the shelf was at the last look.
#[derive(Debug, Default)]
pub struct Watcher {
    last: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    shelf: Option<Shelf>,
    luns: Vec<LunStatus>,
    drives: Vec<DriveStatus>,
    spares: Vec<DriveSlot>,
    /// What runs on drives, or ran last.
    jobs: Vec<JobStatus>,
    /// Whether each port has a link.
    links: BTreeMap<String, bool>,
}

impl Seen {
    fn of(admin: &dyn Admin) -> Self {
        let ports = admin.ports().into_iter();
        Self {
            shelf: admin.shelf(),
            luns: admin.luns(),
            drives: admin.drives(),
            spares: admin.spares().iter().map(|spare| spare.drive).collect(),
            jobs: admin.jobs(),
            links: ports.map(|port| (port.interface, port.has_link)).collect(),
        }
    }
}

impl Watcher {
    /// Looks at the shelf, and tells what has happened since the last time.
    pub fn look(&mut self, admin: &dyn Admin, unix_seconds: u64) -> Vec<Event> {
        let now = Seen::of(admin);
        let mut said = Said {
            unix_seconds,
            shelf: now.shelf,
            events: Vec::new(),
        };
        if let Some(before) = &self.last {
            compare(before, &now, &mut said);
        }
        self.last = Some(now);
        said.events
    }
}

/// Collects events.
struct Said {
    unix_seconds: u64,
    shelf: Option<Shelf>,
    events: Vec<Event>,
}

impl Said {
    fn say(&mut self, severity: Severity, tag: &str, text: &str) {
        let text = text.chars().filter(|c| !c.is_control()).collect();
        self.events.push(Event {
            unix_seconds: self.unix_seconds,
            severity,
            tag: tag.to_owned(),
            text,
        });
    }

    fn drive(&self, slot: DriveSlot) -> String {
        drive_name(self.shelf, slot)
    }
}

fn compare(before: &Seen, now: &Seen, said: &mut Said) {
    if before.shelf != now.shelf {
        let text = format!("shelf number is {}", shelf_name(now.shelf));
        said.say(Severity::Notice, "SHELF_ID_SET", &text);
    }
    for drive in &now.drives {
        let was = before.drives.iter().find(|other| other.slot == drive.slot);
        of_drive(was.map(|was| was.state), drive, said);
        of_smart(was, drive, said);
    }
    for lun in &now.luns {
        // A LUN that was removed and made again is another one.
        let is_same = |other: &&LunStatus| other.lun == lun.lun && other.serial == lun.serial;
        of_lun(before.luns.iter().find(is_same), lun, said);
    }
    for lun in &before.luns {
        if !now.luns.iter().any(|other| other.lun == lun.lun) {
            let text = format!("LUN {}.{} removed", shelf_name(before.shelf), lun.lun);
            said.say(Severity::Notice, "LUN_REMOVED", &text);
        }
    }
    let has = |spares: &[DriveSlot], slot| spares.contains(slot);
    for slot in now.spares.iter().filter(|slot| !has(&before.spares, slot)) {
        let text = format!("spare {} added", said.drive(*slot));
        said.say(Severity::Notice, "SPARE_ADD", &text);
    }
    for slot in before.spares.iter().filter(|slot| !has(&now.spares, slot)) {
        let text = format!("spare {} is no longer in the pool", said.drive(*slot));
        said.say(Severity::Notice, "SPARE_REMOVE", &text);
    }
    for job in &now.jobs {
        let mut jobs = before.jobs.iter();
        of_job(jobs.find(|was| was.number == job.number), job, said);
    }
    for (port, has_link) in &now.links {
        match (before.links.get(port), has_link) {
            (Some(true), false) => {
                said.say(
                    Severity::Critical,
                    "PORT_DOWN",
                    &format!("port {port} has no link"),
                );
            }
            (Some(false), true) => {
                said.say(
                    Severity::Notice,
                    "PORT_UP",
                    &format!("port {port} has a link"),
                );
            }
            (None, _) => {
                said.say(
                    Severity::Notice,
                    "PORT_OPENED",
                    &format!("port {port} is open"),
                );
            }
            _ => {}
        }
    }
    for port in before.links.keys() {
        if !now.links.contains_key(port) {
            let text = format!("port {port} is closed, or its interface is gone");
            said.say(Severity::Warning, "PORT_CLOSED", &text);
        }
    }
}

fn of_job(was: Option<&JobStatus>, job: &JobStatus, said: &mut Said) {
    let drive = said.drive(job.drive);
    let what = match job.kind.source() {
        Some(source) => format!("{} of drive {} onto {drive}", job.kind, said.drive(source)),
        None => format!("{} of drive {drive}", job.kind),
    };
    if was.is_none() {
        let text = format!("beginning {what}");
        said.say(Severity::Notice, "DRIVE_JOB_STARTED", &text);
    }
    let progress = &job.report.progress;
    let (true, Some(end)) = (was.is_none_or(JobStatus::is_running), &progress.end) else {
        return;
    };
    let bad = progress.bad.sectors();
    let rewritten = match progress.rewritten.sectors() {
        0 => String::new(),
        sectors => format!(": {sectors} sectors written anew"),
    };
    match end {
        JobEnd::Complete if bad == 0 => {
            let text = format!("{what} complete{rewritten}");
            said.say(Severity::Notice, "DRIVE_JOB_COMPLETED", &text);
        }
        JobEnd::Complete => {
            let text = format!("{what} complete: {bad} bad sectors");
            said.say(Severity::Critical, "DRIVE_JOB_BAD_SECTORS", &text);
        }
        JobEnd::Stopped => {
            let text = format!("{what} was stopped");
            said.say(Severity::Warning, "DRIVE_JOB_STOPPED", &text);
        }
        JobEnd::Failed(reason) => {
            let text = format!("{what} failed: {reason}");
            said.say(Severity::Critical, "DRIVE_JOB_FAILED", &text);
        }
    }
}

fn of_drive(was: Option<DriveState>, drive: &DriveStatus, said: &mut Said) {
    let name = said.drive(drive.slot);
    match (was, drive.state) {
        (Some(was), state) if was == state => {}
        (Some(_), DriveState::Down) => {
            let reason = drive.note.as_deref().unwrap_or("it does not answer");
            let text = format!("drive {name} is down: {reason}");
            said.say(Severity::Critical, "DRIVE_DOWN", &text);
        }
        (Some(_), DriveState::Missing) => {
            said.say(
                Severity::Critical,
                "DRIVE_MISSING",
                &format!("drive {name} is missing"),
            );
        }
        (Some(_), DriveState::Up) => {
            said.say(Severity::Notice, "DRIVE_UP", &format!("drive {name} is up"));
        }
        (None, _) => {
            let text = format!("drive {name} is {}", drive.state.name());
            said.say(Severity::Notice, "DRIVE_ADDED", &text);
        }
    }
}

/// What a drive tells of its health, where it is worse than before.
fn of_smart(was: Option<&DriveStatus>, drive: &DriveStatus, said: &mut Said) {
    let Some(now) = drive.smart.as_deref() else {
        return;
    };
    let before = was.and_then(|was| was.smart.as_deref());
    let begins = |is_so: fn(&Smart) -> bool| is_so(now) && !before.is_some_and(is_so);
    let pending = |smart: &Smart| smart.pending_sectors.unwrap_or(0);
    let name = said.drive(drive.slot);
    let mut warn = |tag: &str, text: String| said.say(Severity::Warning, tag, &text);
    if begins(|smart| smart.has_passed == Some(false)) {
        let what = if now.predicts_failure {
            ": it will fail"
        } else {
            ""
        };
        let text = format!("SMART threshold exceeded: drive {name}{what}");
        warn("SMART_THRESHOLD_EXCEEDED", text);
    }
    if begins(Smart::is_worn) {
        let left = now.life_left_percent.unwrap_or(0);
        let text = format!("drive {name} has {left}% of its life left");
        warn("DRIVE_WORN", text);
    }
    if begins(Smart::is_hot) {
        let text = format!("drive {name} is at {}C", now.celsius.unwrap_or(0));
        warn("DRIVE_HOT", text);
    }
    if pending(now) > before.map_or(0, pending) {
        let text = format!(
            "drive {name} has {} sectors that it could not read",
            pending(now)
        );
        warn("DRIVE_PENDING_SECTORS", text);
    }
}

fn of_lun(was: Option<&LunStatus>, lun: &LunStatus, said: &mut Said) {
    let name = format!("LUN {}.{}", shelf_name(said.shelf), lun.lun);
    let was_online = was.is_some_and(|was| was.online);
    if was.is_none() {
        said.say(Severity::Notice, "LUN_CREATED", &format!("{name} created"));
    }
    match (was_online, lun.online) {
        (false, true) => said.say(Severity::Notice, "LUN_ONLINE", &format!("{name} online")),
        (true, false) => said.say(Severity::Notice, "LUN_OFFLINE", &format!("{name} offline")),
        _ => {}
    }
    let trouble_before = was.and_then(|was| was.trouble.as_ref());
    match &lun.trouble {
        Some(trouble) if trouble_before != Some(trouble) => {
            said.say(
                Severity::Alert,
                "LUN_TROUBLE",
                &format!("{name}: {trouble}"),
            );
        }
        None if trouble_before.is_some() => {
            let text = format!("{name}: what kept it from being served is over");
            said.say(Severity::Notice, "LUN_TROUBLE_OVER", &text);
        }
        _ => {}
    }
    let running = |lun: &LunStatus| lun.scrub.is_some_and(|scrub| scrub.done_sectors.is_some());
    match (was.is_some_and(running), running(lun)) {
        (false, true) => said.say(
            Severity::Notice,
            "SCRUB_STARTED",
            &format!("beginning scrub: {name}"),
        ),
        (true, false) => said.say(
            Severity::Notice,
            "SCRUB_ENDED",
            &format!("scrub ended: {name}"),
        ),
        _ => {}
    }
    for part in &lun.parts {
        let before = was.and_then(|was| was.parts.iter().find(|other| other.part == part.part));
        of_part(before, (lun, part), said);
    }
}

fn of_part(was: Option<&PartStatus>, (lun, part): (&LunStatus, &PartStatus), said: &mut Said) {
    let name = format!("{}.{}", lun.lun, part.part);
    let state = |part: Option<&PartStatus>| part.map(|part| part.state).unwrap_or_default();
    let (before, now) = (state(was), part.state);
    if now.failed && !before.failed {
        let text = format!("unrecoverable failure on raid {name}");
        said.say(Severity::Alert, "RAID_FAILURE", &text);
    }
    if before.failed && !now.failed {
        said.say(
            Severity::Notice,
            "RAID_RECOVERED",
            &format!("raid {name} is no longer failed"),
        );
    }
    match (before.initing, now.initing) {
        (false, true) => {
            let text = format!("beginning building parity: {name}");
            said.say(Severity::Warning, "PARITY_STARTED", &text);
        }
        (true, false) => {
            let text = format!("building parity complete: {name}");
            said.say(Severity::Notice, "PARITY_COMPLETED", &text);
        }
        _ => {}
    }
    let Some(was) = was else {
        return;
    };
    for element in &part.elements {
        let is_same = |other: &&ElementStatus| {
            other.id == element.id && other.is_replacement == element.is_replacement
        };
        of_element(was.elements.iter().find(is_same), element, said);
    }
    // A replacement that is gone is the element now, or was given up.
    let replaced = was.elements.iter().filter(|element| element.is_replacement);
    for element in replaced {
        let is_left = |other: &ElementStatus| other.id == element.id && other.is_replacement;
        let took_over = |other: &ElementStatus| {
            other.id == element.id && !other.is_replacement && other.drive == element.drive
        };
        if !part.elements.iter().any(is_left) {
            ended(element, part.elements.iter().any(took_over), said);
        }
    }
}

/// A drive that was being filled no longer is.
fn ended(element: &ElementStatus, is_complete: bool, said: &mut Said) {
    let what = device(element, said);
    if is_complete {
        let text = format!("recovery complete: {what}");
        said.say(Severity::Notice, "DRIVE_RECOVERY_COMPLETED", &text);
    } else {
        let text = format!("aborted recovery of {what}");
        said.say(Severity::Critical, "DRIVE_RECOVERY_ABORTED", &text);
    }
}

fn of_element(was: Option<&ElementStatus>, element: &ElementStatus, said: &mut Said) {
    use ElementState::{Failed, Missing, Normal, Replaced};
    let what = device(element, said);
    let before = was.map(|was| (was.state, was.drive));
    let is_same_drive = before.is_some_and(|(_, drive)| drive == element.drive);
    match (before.map(|(state, _)| state), element.state) {
        (Some(Replaced), Replaced) if is_same_drive => {}
        (_, Replaced) => {
            let text = format!("beginning recovery of {what}");
            said.say(Severity::Critical, "DRIVE_RECOVERY_STARTED", &text);
        }
        (Some(Replaced), Normal) => ended(element, true, said),
        (Some(Replaced), Failed | Missing) => ended(was.unwrap_or(element), false, said),
        (Some(Normal), Failed) => {
            said.say(
                Severity::Alert,
                "DRIVE_FAILURE",
                &format!("{what} has failed"),
            );
        }
        (Some(Normal | Failed), Missing) => {
            // Its drive is gone: the one that it had tells which.
            let what = device(was.unwrap_or(element), said);
            said.say(
                Severity::Alert,
                "DRIVE_FAILURE",
                &format!("{what} is missing"),
            );
        }
        (Some(Failed | Missing), Normal) => {
            said.say(
                Severity::Notice,
                "DRIVE_RECOVERED",
                &format!("{what} is in use again"),
            );
        }
        _ => {}
    }
}

/// As Coraid's shelves name a member: `drive 1.3 (device 0.0.3)`.
fn device(element: &ElementStatus, said: &Said) -> String {
    match element.drive {
        Some(slot) => format!("drive {} (device {})", said.drive(slot), element.id),
        None => format!("device {}", element.id),
    }
}

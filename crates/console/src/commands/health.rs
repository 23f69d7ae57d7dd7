//! `health`: what is wrong, a line each, and what to do about it.

use super::hardware::miss_words;
use super::scrub::date;
use super::when::remaining;
use crate::host::{Trouble, World};
use crate::names::drive_name;
use crate::record::Record;
use crate::report::Report;
use aoe::{Shelf, advertised_sector_count};
use shelf::admin::{
    Admin, DriveRole, DriveState, DriveStatus, ElementId, ElementState, ElementStatus, JobStatus,
    LunStatus, PartStatus, PortStatus, READ_ERRORS_LIMIT, ScrubStatus, Work,
};
use shelf::job::{JobEnd, JobKind};
use shelf::smart::{MISSES_LIMIT, WEAR_LIMIT_PERCENT};

/// What to do about what mends itself.
const NOTHING_TO_DO: &str = "nothing to do";

/// Tells every problem, or `ok`.
pub(super) fn health(report: &mut Report, world: &World<'_>) {
    let troubles = troubles(world);
    if troubles.is_empty() {
        report.line("ok");
    }
    for trouble in troubles {
        let Trouble {
            subject,
            problem,
            advice,
        } = trouble;
        let line = format!("{subject} {problem}; {advice}");
        let record = Record::Trouble {
            subject,
            problem,
            advice,
        };
        report.row(line, record);
    }
}

/// Everything that is wrong.
pub(super) fn troubles(world: &World<'_>) -> Vec<Trouble> {
    let mut troubles = of_shelf(world.admin);
    troubles.extend(world.host.troubles());
    troubles
}

/// What is wrong with the shelf and does not mend itself.
#[must_use]
pub fn open_troubles(admin: &dyn Admin) -> Vec<Trouble> {
    let mut troubles = of_shelf(admin);
    troubles.retain(|trouble| trouble.advice != NOTHING_TO_DO);
    troubles
}

fn of_shelf(admin: &dyn Admin) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let mut tell = |subject: String, problem: String, advice: String| {
        troubles.push(Trouble {
            subject,
            problem,
            advice,
        });
    };
    let shelf = admin.shelf();
    if shelf.is_none() {
        let problem = "has no number: no LUN is served".to_owned();
        tell("the shelf".to_owned(), problem, "shelf NUMBER".to_owned());
    }
    for lun in admin.luns() {
        if let Some(trouble) = &lun.trouble {
            let (problem, advice) = if lun.online {
                (trouble.clone(), "until then: offline".to_owned())
            } else {
                (
                    format!("is not served: {trouble}"),
                    "then: online".to_owned(),
                )
            };
            let subject = format!("LUN {}", lun.lun);
            tell(subject, problem, format!("{advice} {}", lun.lun));
        }
        for part in &lun.parts {
            stalled(&lun, part, &mut tell);
            bare(&lun, part, &mut tell);
            for element in &part.elements {
                of_element(admin, (&lun, part), element, &mut tell);
                bad_sectors(shelf, part, element, &mut tell);
            }
        }
        if let Some(scrub) = &lun.scrub {
            of_scrub(&lun, scrub, &mut tell);
        }
    }
    for drive in admin.drives() {
        if drive.state == DriveState::Down {
            let name = drive_name(shelf, drive.slot);
            let reason = drive.note.as_deref().unwrap_or("it does not answer");
            let problem = format!("is down: {reason}");
            tell(format!("drive {name}"), problem, "replace it".to_owned());
        } else if drive.keeps_nothing {
            let name = drive_name(shelf, drive.slot);
            let problem = "is a null drive: nothing is stored on it".to_owned();
            let advice = "have none in the configuration but for load tests of the network";
            tell(format!("drive {name}"), problem, advice.to_owned());
        }
    }
    let drives = admin.drives();
    drives
        .iter()
        .for_each(|drive| of_smart(admin, drive, &mut tell));
    of_jobs(admin, &mut tell);
    of_spares(admin, shelf, &mut tell);
    of_ports(&admin.ports(), &mut tell);
    troubles
}

/// Ports without a link, and those whose small MTU makes the frames of all ports small.
fn of_ports(ports: &[PortStatus], tell: &mut Tell) {
    for port in ports.iter().filter(|port| !port.has_link) {
        let subject = format!("port {}", port.interface);
        let problem = "has no link".to_owned();
        tell(
            subject,
            problem,
            "look at the cable and the switch".to_owned(),
        );
    }
    let count = |port: &PortStatus| advertised_sector_count(port.mtu_bytes);
    let most = ports.iter().max_by_key(|port| count(port));
    for port in ports {
        if let Some(most) = most.filter(|most| count(port) < count(most)) {
            tell(
                format!("port {}", port.interface),
                format!(
                    "has MTU {}, {} has {}: on all ports {} sectors go into a frame, not {}",
                    port.mtu_bytes,
                    most.interface,
                    most.mtu_bytes,
                    count(port),
                    count(most),
                ),
                format!("ip link set {} mtu {}", port.interface, most.mtu_bytes),
            );
        }
    }
}

type Tell<'a> = dyn FnMut(String, String, String) + 'a;

fn stalled(lun: &LunStatus, part: &PartStatus, tell: &mut Tell) {
    if part.is_stalled {
        tell(
            format!("raid {}.{}", lun.lun, part.part),
            "is not consistent: some sectors can be read from no member".to_owned(),
            "copy off what can be read; writing those sectors makes them whole".to_owned(),
        );
    }
}

/// The next failure takes data with it.
fn bare(lun: &LunStatus, part: &PartStatus, tell: &mut Tell) {
    if part.is_bare {
        let problem = format!("of {} has no redundancy left", part.level);
        let advice = "the next drive that fails takes data with it: replace what is failed or missing, \
                      and have spares";
        let name = format!("raid {}.{}", lun.lun, part.part);
        tell(name, problem, advice.to_owned());
    }
}

fn bad_sectors(shelf: Option<Shelf>, part: &PartStatus, element: &ElementStatus, tell: &mut Tell) {
    let (id, sectors) = (element.id, element.bad_sectors);
    if sectors == 0 {
        return;
    }
    let drive = element.drive.map(|slot| drive_name(shelf, slot));
    let on = drive.map(|drive| format!(" ({drive})")).unwrap_or_default();
    let problem = format!("of {} has {sectors} bad sectors{on}", part.level);
    let advice = if part.level.is_redundant() && !part.is_bare {
        "they are not read, and are good again when they are written"
    } else {
        "what lies there is an error until it is written: restore it from a backup"
    };
    tell(id.to_string(), problem, advice.to_owned());
}

/// What the last scrub has left.
fn of_scrub(lun: &LunStatus, scrub: &ScrubStatus, tell: &mut Tell) {
    let number = lun.lun;
    let Some(day) = scrub.last_unix_seconds.map(date) else {
        return;
    };
    let (found, repaired) = (scrub.last_mismatched_sectors, scrub.last_repaired_sectors);
    if found > repaired {
        let mut problem = format!("has {} sectors that differ", found - repaired);
        if repaired > 0 {
            problem.push_str(&format!(", beside {repaired} that were repaired"));
        }
        problem.push_str(&format!(", by the scrub of {day}"));
        let advice = format!(
            "find out which drive is to blame, then: scrub repair {number} makes all agree with what is \
             read now"
        );
        tell(format!("LUN {number}"), problem, advice);
    }
    if scrub.last_is_incomplete {
        let problem = format!("has sectors that the scrub of {day} could not read");
        let advice = format!("replace what is failed, then: scrub start {number}");
        tell(format!("LUN {number}"), problem, advice);
    }
}

fn of_element(
    admin: &dyn Admin,
    (lun, part): (&LunStatus, &PartStatus),
    element: &ElementStatus,
    tell: &mut Tell,
) {
    let id = element.id;
    let shelf = admin.shelf();
    let drive = element.drive.map(|slot| drive_name(shelf, slot));
    let on = drive
        .as_ref()
        .map(|drive| format!(" ({drive})"))
        .unwrap_or_default();
    let redundant = part.level.is_redundant();
    match element.state {
        ElementState::Normal if element.read_errors >= READ_ERRORS_LIMIT => {
            let is_other = |other: &&ElementStatus| other.id == id && other.is_replacement;
            if part.elements.iter().find(is_other).is_none() {
                let errors = element.read_errors;
                tell(
                    id.to_string(),
                    format!(
                        "of {} had {errors} read errors{on}, which others made good",
                        part.level
                    ),
                    format!("replace {id} DRIVE, or add a spare that is large enough"),
                );
            }
        }
        ElementState::Normal => {}
        ElementState::Replaced => of_rebuild(admin, (lun, part), element, tell),
        ElementState::Failed if redundant => {
            let problem = format!("of {} is failed{on}", part.level);
            tell(
                id.to_string(),
                problem,
                format!("replace {id} DRIVE, or unfail {id}"),
            );
        }
        ElementState::Missing if redundant => {
            let problem = format!("of {} is missing", part.level);
            tell(
                id.to_string(),
                problem,
                format!("bring its drive back, or replace {id} DRIVE"),
            );
        }
        ElementState::Failed | ElementState::Missing => {
            let problem = format!("of {} is {}{on}", part.level, element.state.name());
            tell(
                id.to_string(),
                problem,
                "bring its drive back: nothing else holds its data".to_owned(),
            );
        }
    }
}

/// A drive that is being filled: one that takes the place of a failed member, or of one that still works.
fn of_rebuild(
    admin: &dyn Admin,
    (lun, part): (&LunStatus, &PartStatus),
    element: &ElementStatus,
    tell: &mut Tell,
) {
    let id = element.id;
    let pass = admin
        .passes()
        .into_iter()
        .find(|pass| (pass.progress.lun, pass.progress.part) == (id.lun, id.part));
    let left = match pass {
        Some(pass) => format!("{} left", remaining(&pass)),
        None if lun.online => "after what runs of its LUN now".to_owned(),
        None => "paused until the LUN is online".to_owned(),
    };
    let drive = element.drive.map(|slot| drive_name(admin.shelf(), slot));
    let drive = drive.unwrap_or_default();
    let job = if element.is_replacement {
        format!("replaced by {drive}")
    } else {
        format!("rebuilt ({drive})")
    };
    let problem = format!("of {} is being {job}, {left}", part.level);
    tell(id.to_string(), problem, NOTHING_TO_DO.to_owned());
}

/// What a drive tells of its health.
fn of_smart(admin: &dyn Admin, drive: &DriveStatus, tell: &mut Tell) {
    let name = drive_name(admin.shelf(), drive.slot);
    let mut tell = |problem: String, advice: String| tell(format!("drive {name}"), problem, advice);
    let miss = drive.smart_miss.as_deref();
    if let Some(miss) = miss.filter(|miss| miss.times >= MISSES_LIMIT) {
        let advice = "it may hang: see what the log of the kernel says of it";
        tell(miss_words(miss), advice.to_owned());
    }
    let Some(smart) = &drive.smart else {
        return;
    };
    let replace = match &drive.role {
        DriveRole::Element(id) if is_being_replaced(admin, *id) => NOTHING_TO_DO.to_owned(),
        DriveRole::Element(id) => {
            format!("replace {id} DRIVE, or add a spare that is large enough")
        }
        DriveRole::Spare => format!("rmspare {name}, and replace the drive"),
        DriveRole::Free | DriveRole::Foreign(_) | DriveRole::Working(_) => "replace it".to_owned(),
    };
    if smart.predicts_failure {
        tell(
            "says by SMART that it will fail".to_owned(),
            replace.clone(),
        );
    } else if smart.is_worn() {
        let problem = format!("has used up more than {WEAR_LIMIT_PERCENT}% of its life");
        tell(problem, replace.clone());
    }
    if smart.self_test.has_passed == Some(false) {
        let result = smart.self_test.result.as_deref().unwrap_or("failed");
        let problem = format!("did not pass its self-test: {result}");
        let advice = format!("{replace}; selftest long {name} tests it again");
        tell(problem, advice);
    }
    if let Some(limit) = smart.celsius_limit.filter(|_| smart.is_hot()) {
        let problem = format!("is warmer than its limit of {limit}C");
        tell(
            problem,
            "look at the fans, and at the air around the shelf".to_owned(),
        );
    }
    if let Some(pending) = smart.pending_sectors.filter(|pending| *pending > 0) {
        let advice = match &drive.role {
            DriveRole::Element(id) => {
                format!("scrub start {}: it writes anew what others hold", id.lun)
            }
            _ => replace,
        };
        tell(
            format!("has {pending} sectors that it could not read"),
            advice,
        );
    }
}

fn is_being_replaced(admin: &dyn Admin, id: ElementId) -> bool {
    let luns = admin.luns();
    let mut parts = luns.iter().flat_map(|lun| &lun.parts);
    parts.any(|part| {
        let mut elements = part.elements.iter();
        elements.any(|element| element.id == id && element.is_replacement)
    })
}

/// Drives that are half erased, and what the last jobs of drives have found.
fn of_jobs(admin: &dyn Admin, tell: &mut Tell) {
    let shelf = admin.shelf();
    let drives = admin.drives();
    for drive in &drives {
        let name = drive_name(shelf, drive.slot);
        let (problem, advice) = match drive.unfinished {
            Some(Work::Erase) => (
                "is not wholly erased: what was there before may be read in part",
                format!("erase {name} begins anew"),
            ),
            Some(Work::WriteTest) => (
                "holds what a write test has left that did not come to its end",
                format!("erase {name}, or disktest -w {name} begins anew"),
            ),
            Some(Work::Extract) => (
                "holds a part of a copy that did not come to its end",
                format!(
                    "extract OLD {name} begins anew, with -s it goes on; erase {name} empties it"
                ),
            ),
            None => continue,
        };
        tell(format!("drive {name}"), problem.to_owned(), advice);
    }
    for job in admin.jobs().iter().filter(|job| !job.is_running()) {
        let name = drive_name(shelf, job.drive);
        let progress = &job.report.progress;
        let bad = progress.bad.sectors();
        if let Some(source) = job.kind.source() {
            of_copy(job, [drive_name(shelf, source), name], tell);
            continue;
        }
        let problem = match &progress.end {
            Some(JobEnd::Failed(reason)) => {
                format!("did not come through its {}: {reason}", job.kind)
            }
            _ if bad > 0 => format!("has {bad} bad sectors, by its {}", job.kind),
            _ => continue,
        };
        let status = drives.iter().find(|status| status.slot == job.drive);
        let advice = match status.map(|status| &status.role) {
            Some(DriveRole::Element(id)) => format!(
                "scrub start {} writes them anew where others hold their data; if more come: replace {id} DRIVE",
                id.lun
            ),
            Some(DriveRole::Spare) => format!("rmspare {name}, and replace the drive"),
            // What carries something is not conditioned.
            Some(DriveRole::Free)
                if job.kind == JobKind::ReadTest && progress.end == Some(JobEnd::Complete) =>
            {
                format!("condition {name} writes them anew; if some stay bad, replace the drive")
            }
            _ => format!("replace the drive, or look again: disktest -r {name}"),
        };
        tell(format!("drive {name}"), problem, advice);
    }
}

/// A copy that did not come to its end, or that lacks something.
fn of_copy(job: &JobStatus, [old, new]: [String; 2], tell: &mut Tell) {
    let progress = &job.report.progress;
    let bad = progress.bad.sectors();
    let (drive, problem) = match &progress.end {
        Some(JobEnd::Failed(reason)) => (new, format!("did not become a copy of {old}: {reason}")),
        _ if bad > 0 => {
            let text = format!("has {bad} bad sectors, which its copy {new} lacks");
            (old, text)
        }
        _ => return,
    };
    let advice = if bad > 0 {
        "extract lists which they are; replace the old drive"
    } else {
        "extract tells how it goes on"
    };
    let advice = advice.to_owned();
    tell(format!("drive {drive}"), problem, advice);
}

fn of_spares(admin: &dyn Admin, shelf: Option<Shelf>, tell: &mut Tell) {
    for spare in admin.spares() {
        if let Some(fault) = spare.fault {
            let drive = drive_name(shelf, spare.drive);
            let advice = format!("rmspare {drive}, and replace the drive");
            tell(format!("spare {drive}"), format!("is bad: {fault}"), advice);
        }
    }
}

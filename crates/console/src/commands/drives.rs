//! `show`, `disks`, `drives`: the drives.
//!
//! Monitoring plug-ins take these apart: `show -l` is `shelf.slot`, size and state, `disks` and `drives` are
//! the tables of SRX 6 and 7. What is not always there stands behind the words that they look at.

use super::gigabytes;
use super::statistics::UNKNOWN;
use crate::command::Invocation;
use crate::host::{DriveFacts, World};
use crate::names::{drive_name, parse_drive, shelf_name};
use crate::problem::Problem;
use crate::record::{DriveRecord, Record};
use crate::report::Report;
use aoe::Shelf;
use shelf::admin::{Admin, AdminError, DriveRole, DriveState, DriveStatus, ElementId};

/// What SMART says of a drive that was not asked, or does not tell.
const NOT_ASKED: &str = "unknown";

/// What is told of drives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// Their names.
    Names,
    /// A row of `show -l`.
    Long,
    /// The table of SRX 6.
    Disks,
    /// The table of SRX 7.
    Drives,
    Attributes,
    Config,
    Geometry,
    Smart,
    Life,
    Temperature,
}

/// The forms that have a letter.
const LETTERS: [(char, Form); 6] = [
    ('a', Form::Attributes),
    ('c', Form::Config),
    ('g', Form::Geometry),
    ('s', Form::Smart),
    ('S', Form::Life),
    ('t', Form::Temperature),
];

/// A drive, and what is known of it.
struct Known {
    status: DriveStatus,
    facts: DriveFacts,
    celsius: Option<i32>,
}

/// Lists all drives, or those that are named.
pub(super) fn show(report: &mut Report, world: &World<'_>, invocation: &Invocation) {
    let (letters, operands) = (&invocation.options.letters, &invocation.operands);
    let asked = LETTERS
        .iter()
        .filter(|(letter, _)| letters.contains(letter));
    let mut forms: Vec<Form> = asked.map(|(_, form)| *form).collect();
    if forms.is_empty() {
        forms.push(match invocation.name {
            "disks" => Form::Disks,
            "drives" => Form::Drives,
            _ if invocation.options.long => Form::Long,
            _ => Form::Names,
        });
    }
    let (mut chosen, failed) = choose(world.admin, operands);
    if letters.contains(&'p') {
        chosen.retain(|drive| drive.state != DriveState::Missing);
    }
    let known = look(world, chosen, &forms);
    tell(report, world.admin, &forms, &known);
    if let Some((problem, rest)) = failed {
        report.fail(problem, &operands[rest..]);
    }
}

/// The drives that words name, up to the first that names none; all when there are no words.
fn choose(admin: &dyn Admin, words: &[String]) -> (Vec<DriveStatus>, Option<(Problem, usize)>) {
    let drives = admin.drives();
    if words.is_empty() {
        return (drives, None);
    }
    let mut chosen = Vec::new();
    for (index, word) in words.iter().enumerate() {
        match named(&drives, admin.shelf(), word) {
            Ok(drive) => chosen.push(drive.clone()),
            Err(problem) => return (chosen, Some((problem, index + 1))),
        }
    }
    (chosen, None)
}

fn named<'a>(
    drives: &'a [DriveStatus],
    shelf: Option<Shelf>,
    word: &str,
) -> Result<&'a DriveStatus, Problem> {
    let slot = parse_drive(word, shelf)?;
    let drive = drives.iter().find(|drive| drive.slot == slot);
    drive.ok_or_else(|| AdminError::NoSuchDrive(word.to_owned()).into())
}

/// Finds out what the forms tell.
fn look(world: &World<'_>, drives: Vec<DriveStatus>, forms: &[Form]) -> Vec<Known> {
    let wants = |these: &[Form]| forms.iter().any(|form| these.contains(form));
    let wants_facts = wants(&[Form::Disks, Form::Drives, Form::Attributes, Form::Geometry]);
    let mut celsius = vec![None; drives.len()];
    if wants(&[Form::Temperature]) {
        celsius = temperatures(world, &drives);
    }
    // Where the kernel has no sensor, the drive may have told.
    let told = |status: &DriveStatus| status.smart.as_ref()?.celsius.map(i32::from);
    let known = |(status, celsius): (DriveStatus, Option<i32>)| Known {
        facts: if wants_facts && is_there(&status) {
            world.host.drive_facts(&status.path)
        } else {
            DriveFacts::default()
        },
        celsius: celsius.or_else(|| told(&status)),
        status,
    };
    drives.into_iter().zip(celsius).map(known).collect()
}

/// Whether the path of a drive leads to it. The kernel gives the name of one that was pulled to another one,
/// or to the same in another slot.
fn is_there(drive: &DriveStatus) -> bool {
    drive.state != DriveState::Missing
}

/// Degrees of each drive, as the kernel measures them.
pub(super) fn temperatures(world: &World<'_>, drives: &[DriveStatus]) -> Vec<Option<i32>> {
    let paths = drives.iter().filter(|drive| is_there(drive));
    let paths: Vec<String> = paths.map(|drive| drive.path.clone()).collect();
    let mut told = world.host.temperatures(&paths).into_iter();
    let of = |drive: &DriveStatus| is_there(drive).then(|| told.next()).flatten().flatten();
    drives.iter().map(of).collect()
}

/// One table after the other; in JSON one record for each drive, with all of it.
fn tell(report: &mut Report, admin: &dyn Admin, forms: &[Form], drives: &[Known]) {
    let mut records: Vec<DriveRecord> = drives
        .iter()
        .map(|drive| DriveRecord::new(admin.shelf(), &drive.status))
        .collect();
    for form in forms {
        if let Some(title) = form.title().filter(|_| !drives.is_empty()) {
            report.line(title);
        }
        for (drive, record) in drives.iter().zip(&mut records) {
            let lines = form.lines(admin, drive, record);
            lines.into_iter().for_each(|line| report.line(line));
        }
    }
    for record in records {
        report.rows(Vec::new(), Record::Drive(Box::new(record)));
    }
}

impl Form {
    fn title(self) -> Option<String> {
        let title = match self {
            Self::Names | Self::Long | Self::Attributes => return None,
            Self::Disks => disks_columns("DISK", "SIZE", "MODEL", "FIRMWARE", "MODE"),
            Self::Drives => {
                drives_columns(["DRIVE", "SIZE (GB)", "ROLE", "MODEL", "FIRMWARE", "MODE"])
            }
            Self::Config => config_columns("DRIVE", "VERSION", "CONFIG"),
            Self::Geometry => geometry_columns("DRIVE", "RPM", "SECTORS"),
            Self::Smart => format!("{:<8} STATUS", "DRIVE"),
            Self::Life => format!("{:<8} {:>8}", "DRIVE", "LIFE(%)"),
            Self::Temperature => temperature_columns("DRIVE", "TEMP"),
        };
        Some(title)
    }

    /// What is told of a drive.
    fn lines(self, admin: &dyn Admin, drive: &Known, record: &mut DriveRecord) -> Vec<String> {
        let (shelf, status) = (admin.shelf(), &drive.status);
        let name = drive_name(shelf, status.slot);
        let line = match self {
            Self::Names => name,
            Self::Long => long_line(shelf, status),
            Self::Disks => disks_line(&name, drive),
            Self::Drives => drives_line(&name, drive),
            Self::Attributes => {
                record.with_attributes(drive.facts.clone());
                return attributes(&name, drive);
            }
            Self::Config => {
                let superblock = admin.superblock(status.slot);
                let version = superblock.as_ref().map_or(UNKNOWN, |of| of.version);
                let array = superblock.as_ref().map_or("", |of| of.array.as_str());
                let line = config_columns(&name, version, &config(admin, status, array));
                record.with_superblock(superblock);
                line
            }
            Self::Geometry => {
                record.with_attributes(drive.facts.clone());
                geometry_columns(&name, &rpm(&drive.facts), &sectors(&drive.facts))
            }
            Self::Smart => {
                let word = status
                    .smart
                    .as_ref()
                    .map_or(NOT_ASKED, |smart| smart.word());
                record.with_smart(word);
                format!("{name:<8} {word}")
            }
            Self::Life => {
                let left = status.smart.as_ref();
                let left = left.and_then(|smart| smart.life_left_percent);
                record.with_life(left);
                let left = left.map(|left| left.to_string());
                format!("{name:<8} {:>8}", left.as_deref().unwrap_or(UNKNOWN))
            }
            Self::Temperature => {
                record.with_temperature(drive.celsius);
                let celsius = drive.celsius.map(|celsius| format!("{celsius}C"));
                temperature_columns(&name, celsius.as_deref().unwrap_or(UNKNOWN))
            }
        };
        vec![line]
    }
}

/// A row of `show -l`. Monitoring plug-ins take the first three tokens; what is not always there
/// comes after them.
fn long_line(shelf: Option<Shelf>, drive: &DriveStatus) -> String {
    let name = drive_name(shelf, drive.slot);
    let size = gigabytes(drive.size_bytes);
    let mut line = format!("{name:<4} {size:>8}GB {}", drive.state.name());
    match &drive.role {
        DriveRole::Free => {}
        DriveRole::Spare => line.push_str(" spare"),
        DriveRole::Element(id) => line.push_str(&format!(" {id}")),
        DriveRole::Foreign(what) => line.push_str(&format!(" foreign: {what}")),
        DriveRole::Working(kind) => line.push_str(&format!(" in use: {kind}")),
    }
    if drive.state == DriveState::Up && drive.whole_bytes != drive.size_bytes {
        let whole = gigabytes(drive.whole_bytes);
        line.push_str(&format!(" (setsize, of {whole}GB)"));
    }
    if drive.keeps_nothing {
        line.push_str(" null drive: nothing is stored");
    }
    if drive.state != DriveState::Up
        && let Some(reason) = &drive.note
    {
        line.push_str(&format!(" {reason}"));
    }
    line
}

/// The columns of SRX 6.
fn disks_columns(disk: &str, size: &str, model: &str, firmware: &str, mode: &str) -> String {
    format!("{disk:<10} {size:>10} {model:>26} {firmware:>9} {mode:>17}")
}

fn disks_line(name: &str, drive: &Known) -> String {
    let status = &drive.status;
    if status.state != DriveState::Up {
        return absent_line(&format!("{name:<10} {:>10}", status.state.name()), status);
    }
    let size = format!("{}GB", gigabytes(status.size_bytes));
    let firmware = drive.facts.firmware.as_deref().unwrap_or(UNKNOWN);
    disks_columns(name, &size, model(drive), firmware, &mode(drive, " Gb/s"))
}

/// The columns of SRX 7.
fn drives_columns([drive, size, role, model, firmware, mode]: [&str; 6]) -> String {
    format!("{drive:<8} {size:>12} {role:>8} {model:>26} {firmware:>8} {mode:>12}")
}

fn drives_line(name: &str, drive: &Known) -> String {
    let status = &drive.status;
    if status.state != DriveState::Up {
        return absent_line(&format!("{name:<8} {:>12}", status.state.name()), status);
    }
    let role = match &status.role {
        DriveRole::Free | DriveRole::Foreign(_) => String::new(),
        DriveRole::Spare => "spare".to_owned(),
        DriveRole::Element(id) => id.to_string(),
        DriveRole::Working(_) => "working".to_owned(),
    };
    let firmware = drive.facts.firmware.as_deref().unwrap_or(UNKNOWN);
    let size = gigabytes(status.size_bytes);
    let mode = mode(drive, "Gb/s");
    drives_columns([name, &size, &role, model(drive), firmware, &mode])
}

/// A slot without a drive, or with one that does not answer, and why that is.
fn absent_line(begin: &str, status: &DriveStatus) -> String {
    let reason = status
        .note
        .as_deref()
        .filter(|_| status.state == DriveState::Down);
    match reason {
        Some(reason) => format!("{begin} {reason}"),
        None => begin.to_owned(),
    }
}

fn model(drive: &Known) -> &str {
    let model = drive.facts.model.as_deref().unwrap_or(&drive.status.model);
    if model.is_empty() { UNKNOWN } else { model }
}

/// How a drive is attached, and how fast that is.
fn mode(drive: &Known, gigabits: &str) -> String {
    let Some(bus) = &drive.facts.bus else {
        return UNKNOWN.to_owned();
    };
    let Some(speed) = &drive.facts.link_speed else {
        return bus.clone();
    };
    let speed = speed.replace(" Gbps", gigabits).replace(" Gbit", gigabits);
    format!("{bus} {speed}")
}

fn config_columns(drive: &str, version: &str, config: &str) -> String {
    let line = format!("{drive:<8} {version:>7} {config}");
    line.trim_end().to_owned()
}

/// What the metadata of a drive says, in the order of Coraid's: shelf, element, members, type, state, array.
fn config(admin: &dyn Admin, status: &DriveStatus, array: &str) -> String {
    let shelf = shelf_name(admin.shelf());
    match &status.role {
        DriveRole::Free => String::new(),
        DriveRole::Spare => format!("{shelf} spare {array}"),
        DriveRole::Foreign(what) => format!("foreign: {what}"),
        DriveRole::Working(kind) => format!("in use: {kind}"),
        DriveRole::Element(id) => element_config(admin, *id, &shelf, status).map_or_else(
            || format!("{shelf} {id}"),
            |config| format!("{config} {array}"),
        ),
    }
}

fn element_config(
    admin: &dyn Admin,
    id: ElementId,
    shelf: &str,
    status: &DriveStatus,
) -> Option<String> {
    let luns = admin.luns();
    let lun = luns.iter().find(|lun| lun.lun == id.lun)?;
    let part = lun.parts.get(usize::from(id.part))?;
    let is_own = |element: &&shelf::admin::ElementStatus| element.drive == Some(status.slot);
    let element = part.elements.iter().find(is_own)?;
    let members = part
        .elements
        .iter()
        .filter(|element| !element.is_replacement);
    let (level, state) = (part.level, element.state.name());
    Some(format!("{shelf} {id} {} {level} {state}", members.count()))
}

fn geometry_columns(drive: &str, rpm: &str, sectors: &str) -> String {
    format!("{drive:<8} {rpm:>8} {sectors:>10}")
}

/// Revolutions in a minute; `ssd` for what does not turn, as Linux knows.
fn rpm(facts: &DriveFacts) -> String {
    match (facts.is_rotating, facts.rpm) {
        (Some(false), _) => "ssd".to_owned(),
        (_, Some(rpm)) => rpm.to_string(),
        (Some(true), None) => "rotating".to_owned(),
        (None, None) => UNKNOWN.to_owned(),
    }
}

/// Bytes of the sectors that are addressed, and of those that are written.
fn sectors(facts: &DriveFacts) -> String {
    match (facts.logical_sector_bytes, facts.physical_sector_bytes) {
        (Some(logical), Some(physical)) => format!("{logical}/{physical}"),
        (Some(logical), None) => logical.to_string(),
        (None, _) => UNKNOWN.to_owned(),
    }
}

fn temperature_columns(drive: &str, celsius: &str) -> String {
    format!("{drive:<8} {celsius:>6}")
}

/// All that the kernel tells, a line each.
fn attributes(name: &str, drive: &Known) -> Vec<String> {
    let (status, facts) = (&drive.status, &drive.facts);
    let text = |value: &Option<String>| value.clone();
    let yes = |value: Option<bool>, yes: &str, no: &str| {
        value.map(|is| if is { yes.to_owned() } else { no.to_owned() })
    };
    let size = format!("{}GB", gigabytes(status.size_bytes));
    let rows: [(&str, Option<String>); 18] = [
        ("state", Some(status.state.name().to_owned())),
        (
            "size",
            Some(size).filter(|_| status.state == DriveState::Up),
        ),
        ("model", Some(model(drive).to_owned())),
        ("serial", text(&facts.serial)),
        ("wwn", text(&facts.wwn)),
        ("firmware", text(&facts.firmware)),
        ("bus", text(&facts.bus)),
        ("link", text(&facts.link_speed)),
        ("rotation", Some(rpm(facts))),
        ("sectors", Some(sectors(facts))),
        (
            "write cache",
            yes(facts.has_volatile_cache, "volatile", "none or protected"),
        ),
        ("fua", yes(facts.has_fua, "yes", "no")),
        ("poll queues", yes(facts.has_poll_queues, "yes", "no")),
        ("bay", text(&facts.bay)),
        ("place", text(&facts.place)),
        ("device", text(&facts.device)),
        ("path", Some(status.path.clone())),
        ("note", text(&status.note)),
    ];
    let is_known = |(_, value): &(&str, Option<String>)| {
        value.as_deref().is_some_and(|value| value != UNKNOWN)
    };
    let line = |(key, value): (&str, Option<String>)| {
        format!("    {key:<12} {}", value.unwrap_or_default())
    };
    let known = rows.into_iter().filter(is_known).map(line);
    std::iter::once(name.to_owned()).chain(known).collect()
}

/// Looks at the slots again.
pub(super) fn scan(report: &mut Report, admin: &mut dyn Admin) {
    if let Err(error) = admin.rescan() {
        report.fail(error, &[]);
    }
}

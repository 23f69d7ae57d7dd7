//! `list`, `make`, `jbod`, `online`, `offline`: the LUNs.

use super::{Outcome, consent, gigabytes};
use crate::command::Options;
use crate::names::{decimal, drive_name, parse_drive, parse_lun};
use crate::problem::Problem;
use crate::record::{LunRecord, Record, status_name};
use crate::report::Report;
use aoe::Shelf;
use raid::Level;
use shelf::admin::{Admin, AdminError, ElementStatus, LunNumber, LunStatus};
use shelf::admin::{MakeRequest, MemberChoice, PartStatus};

/// The word that stands for a member that is not there.
pub(crate) const MISSING: &str = "missing";

const MAKE_USAGE: &str = "make [-c] [-f] [-k KiB] [-s label] [-V format] LUN type drive ...";
const GROW_USAGE: &str = "grow [-c] [-f] [-y] [-k KiB] LUN type drive ...";

/// Lists all LUNs, or those that are named.
pub(super) fn list(report: &mut Report, admin: &dyn Admin, long: bool, operands: &[String]) {
    let shelf = admin.shelf();
    let luns = admin.luns();
    let row = |report: &mut Report, lun: &LunStatus| {
        let text = if long {
            long_lines(shelf, lun)
        } else {
            vec![lun_line(lun)]
        };
        report.rows(text, Record::Lun(LunRecord::new(shelf, lun)));
    };
    if operands.is_empty() {
        luns.iter().for_each(|lun| row(report, lun));
    }
    for (index, word) in operands.iter().enumerate() {
        match named(&luns, word) {
            Ok(lun) => row(report, lun),
            Err(problem) => return report.fail(problem, &operands[index + 1..]),
        }
    }
}

/// The LUNs that are served to the network, or those that are not.
pub(super) fn list_served(report: &mut Report, admin: &dyn Admin, online: bool) {
    let shelf = admin.shelf();
    for lun in admin.luns().iter().filter(|lun| lun.online == online) {
        let record = Record::Lun(LunRecord::new(shelf, lun));
        report.row(lun_line(lun), record);
    }
}

/// Stops serving LUNs, or asks whether to; without words, lists those that are not served.
pub(super) fn offline(
    admin: &mut dyn Admin,
    usage: &'static str,
    options: &Options,
    words: &[String],
) -> Outcome {
    let mut report = Report::default();
    match words {
        [] if options.force => report.fail(Problem::Usage(usage), &[]),
        [] => list_served(&mut report, admin, false),
        _ if options.force => go_offline(&mut report, admin, words),
        _ => match consent::offline(admin, words) {
            Some(outcome) => return outcome,
            None => go_offline(&mut report, admin, words),
        },
    }
    report.into()
}

/// Stops serving LUNs.
pub(super) fn go_offline(report: &mut Report, admin: &mut dyn Admin, words: &[String]) {
    each(report, words, |lun| admin.offline(lun));
}

/// The LUN that a word names.
pub(super) fn named<'a>(luns: &'a [LunStatus], word: &str) -> Result<&'a LunStatus, Problem> {
    let number = parse_lun(word)?;
    let lun = luns.iter().find(|lun| lun.lun == number);
    lun.ok_or_else(|| AdminError::NoSuchLun(number).into())
}

fn long_lines(shelf: Option<Shelf>, lun: &LunStatus) -> Vec<String> {
    let mut lines = vec![lun_line(lun)];
    for part in &lun.parts {
        lines.push(part_line(lun.lun, part));
        lines.extend(
            part.elements
                .iter()
                .map(|element| element_line(shelf, element)),
        );
    }
    lines
}

fn lun_line(lun: &LunStatus) -> String {
    let size = gigabytes(lun.size_bytes);
    let line = format!("{:>2} {size}GB {}", lun.lun.get(), status_name(lun.online));
    match &lun.label {
        Some(label) => format!("{line} '{}'", label.replace('\'', "''")),
        None => line,
    }
}

fn part_line(lun: LunNumber, part: &PartStatus) -> String {
    let name = format!("{lun}.{}", part.part);
    format!(
        "   {name:<5} {}GB {} {}",
        gigabytes(part.size_bytes),
        part.level,
        part.state
    )
}

fn element_line(shelf: Option<Shelf>, element: &ElementStatus) -> String {
    let size = gigabytes(element.size_bytes);
    let drive = element
        .drive
        .map_or_else(|| MISSING.to_owned(), |slot| drive_name(shelf, slot));
    // Plug-ins take a word behind the drive for how far it is rebuilt: read errors stand in JSON, and in
    // `health`.
    format!(
        "     {:<6} {:<10} {size:>8}GB {drive}",
        element.id,
        element.state.name()
    )
}

/// Creates a LUN.
pub(super) fn make(
    report: &mut Report,
    admin: &mut dyn Admin,
    options: &Options,
    words: &[String],
) {
    let done = make_request(admin, MAKE_USAGE, options, words).and_then(|request| {
        admin.make(&request)?;
        Ok(request)
    });
    made(report, admin, done);
}

/// Appends a RAID to a LUN, or asks whether to.
pub(super) fn grow(admin: &mut dyn Admin, options: &Options, words: &[String]) -> Outcome {
    let request = match make_request(admin, GROW_USAGE, options, words) {
        Ok(request) => request,
        Err(problem) => return Report::from(problem).into(),
    };
    if options.force || options.yes {
        let mut report = Report::default();
        grown(&mut report, admin, &request);
        return report.into();
    }
    match consent::grow(admin, request) {
        Ok(outcome) => outcome,
        Err(error) => Report::from(Problem::from(error)).into(),
    }
}

/// Appends a RAID to a LUN.
pub(super) fn grown(report: &mut Report, admin: &mut dyn Admin, request: &MakeRequest) {
    let done = admin.grow(request).map(|()| request.clone());
    made(report, admin, done.map_err(Problem::from));
}

fn made(report: &mut Report, admin: &dyn Admin, done: Result<MakeRequest, Problem>) {
    match done {
        Ok(request) => {
            warn_of_large_drives(report, admin, &request);
            warn_of_null_drives(report, admin, &request.members);
        }
        Err(problem) => report.fail(problem, &[]),
    }
}

/// A drive that large has unreadable sectors often enough that a second one is met in a rebuild.
const LARGE_DRIVE_BYTES: u64 = 4_000_000_000_000;

fn warn_of_large_drives(report: &mut Report, admin: &dyn Admin, request: &MakeRequest) {
    let is_large = |slot| {
        let drives = admin.drives();
        let mut large = drives.iter().filter(|d| d.size_bytes >= LARGE_DRIVE_BYTES);
        large.any(|drive| drive.slot == slot)
    };
    let mut members = request.members.iter();
    if request.level == Level::Raid5
        && members.any(|member| matches!(member, MemberChoice::Drive(slot) if is_large(*slot)))
    {
        report.warn(
            "with drives of 4 TB and more, a rebuild of raid5 is likely to meet a sector that \
             cannot be read; raid6 survives that",
        );
    }
}

/// Says which of the drives that were taken store nothing.
fn warn_of_null_drives(report: &mut Report, admin: &dyn Admin, members: &[MemberChoice]) {
    let is_taken = |slot| members.contains(&MemberChoice::Drive(slot));
    let drives = admin.drives();
    let null = drives.iter().filter(|drive| drive.keeps_nothing);
    let names: Vec<String> = null
        .filter(|drive| is_taken(drive.slot))
        .map(|drive| drive_name(admin.shelf(), drive.slot))
        .collect();
    if !names.is_empty() {
        report.warn(format!(
            "nothing is stored: {} drops what is written to it",
            names.join(" ")
        ));
    }
}

fn make_request(
    admin: &dyn Admin,
    usage: &'static str,
    options: &Options,
    words: &[String],
) -> Result<MakeRequest, Problem> {
    let [lun, level, drives @ ..] = words else {
        return Err(Problem::Usage(usage));
    };
    let shelf = admin.shelf();
    if shelf.is_none() {
        return Err(AdminError::ShelfUnset.into());
    }
    let lun = parse_lun(lun)?;
    let level = level.parse()?;
    check_format(options.value_of('V'), level)?;
    Ok(MakeRequest {
        lun,
        level,
        members: drives
            .iter()
            .map(|word| member(word, shelf))
            .collect::<Result<_, _>>()?,
        force: options.force,
        clean: options.clean,
        chunk_kib: options.value_of('k').map(chunk).transpose()?,
        label: options.value_of('s').map(str::to_owned),
    })
}

/// The format of the metadata, as `show -c` tells it.
const FORMAT: &str = "1.2";

/// Whether a LUN has metadata of the format that was asked for: a script of Coraid's shelves may ask for one
/// that they read.
fn check_format(word: Option<&str>, level: Level) -> Result<(), Problem> {
    match word {
        None => Ok(()),
        Some(FORMAT) if level == Level::Raw => Err(Problem::NoFormat),
        Some(FORMAT) => Ok(()),
        Some(other) => Err(Problem::InvalidFormat(other.to_owned())),
    }
}

/// Reads a chunk size in KiB; a K may follow the number.
fn chunk(word: &str) -> Result<u32, Problem> {
    decimal(word.strip_suffix(['k', 'K']).unwrap_or(word))
        .and_then(|kib| u32::try_from(kib).ok())
        .ok_or_else(|| Problem::InvalidChunk(word.to_owned()))
}

fn member(word: &str, shelf: Option<Shelf>) -> Result<MemberChoice, Problem> {
    if word == MISSING {
        return Ok(MemberChoice::Missing);
    }
    parse_drive(word, shelf).map(MemberChoice::Drive)
}

/// Creates one LUN of level `jbod` per drive, numbered as its slot.
pub(super) fn jbod(report: &mut Report, admin: &mut dyn Admin, force: bool, drives: &[String]) {
    if admin.shelf().is_none() {
        return report.fail(AdminError::ShelfUnset, &[]);
    }
    for (index, word) in drives.iter().enumerate() {
        if let Err(problem) = jbod_of(admin, force, word) {
            return report.fail(problem, &drives[index + 1..]);
        }
    }
}

fn jbod_of(admin: &mut dyn Admin, force: bool, word: &str) -> Result<(), Problem> {
    let slot = parse_drive(word, admin.shelf())?;
    let request = MakeRequest {
        lun: parse_lun(&slot.to_string())?,
        level: Level::Jbod,
        members: vec![MemberChoice::Drive(slot)],
        force,
        clean: false,
        chunk_kib: None,
        label: None,
    };
    Ok(admin.make(&request)?)
}

/// Does something to each LUN that is named, in order, until one fails.
pub(super) fn each(
    report: &mut Report,
    words: &[String],
    mut action: impl FnMut(LunNumber) -> Result<(), AdminError>,
) {
    for (index, word) in words.iter().enumerate() {
        let done = parse_lun(word).and_then(|lun| action(lun).map_err(Problem::from));
        if let Err(problem) = done {
            return report.fail(problem, &words[index + 1..]);
        }
    }
}

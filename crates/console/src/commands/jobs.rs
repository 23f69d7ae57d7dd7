//! `erase`, `disktest`, `condition` and `extract`: jobs on whole drives.
//!
//! What writes is asked for each drive, by its name, as `remove` does: every drive is looked at before the
//! first question, so that nobody is asked in vain, and after its answer, because another console may have
//! changed things in between.

use super::when::{percent, rate_of};
use super::{Outcome, Pending, gigabytes};
use crate::command::{DriveVerb, Options};
use crate::names::{drive_name, parse_drive};
use crate::problem::Problem;
use crate::record::{JobRecord, Record};
use crate::report::Report;
use aoe::Shelf;
use shelf::admin::{Admin, DriveRole, DriveSlot, DriveStatus, JobStatus};
use shelf::job::{BadSectors, Extract, JobEnd, JobKind, Progress};
use std::collections::VecDeque;

const ERASE_USAGE: &str = "erase [-f] drive ... | erase stop drive ...";
const TEST_USAGE: &str = "disktest [-r] [-w] [-f] drive ... | disktest stop drive ...";
const CONDITION_USAGE: &str = "condition [-f] [-s sector] drive ... | condition stop drive ...";

const EXTRACT_USAGE: &str = "extract [-f] [-y] [-s sector] drive drive | extract stop drive ...";

const TESTS: &[JobKind] = &[JobKind::ReadTest, JobKind::WriteTest];
const ERASES: &[JobKind] = &[JobKind::Erase];
const CONDITIONS: &[JobKind] = &[JobKind::CONDITION];
const EXTRACTS: &[JobKind] = &[JobKind::EXTRACT];

/// Runs of bad sectors that are shown of each drive; JSON has all.
const RUNS_SHOWN: usize = 8;

/// A job that writes, and the drives that it is still to be begun on; the first one is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Destruction {
    kind: JobKind,
    shelf: Option<Shelf>,
    targets: VecDeque<Target>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Target {
    drive: DriveSlot,
    /// What was there when the command was given.
    was: Option<DriveStatus>,
    /// The drive that is to be copied onto it, as it was then.
    source: Option<DriveStatus>,
}

/// The commands about whole drives.
pub(super) fn of_drives(
    verb: DriveVerb,
    admin: &mut dyn Admin,
    options: &Options,
    words: &[String],
) -> Outcome {
    let mut report = Report::default();
    let (kinds, command, usage) = match verb {
        DriveVerb::Erase => (ERASES, "erase", ERASE_USAGE),
        DriveVerb::Disktest => (TESTS, "test", TEST_USAGE),
        DriveVerb::Condition => (CONDITIONS, "condition", CONDITION_USAGE),
        DriveVerb::Extract => (EXTRACTS, "extract", EXTRACT_USAGE),
        DriveVerb::Setsize => {
            super::setsize::setsize(&mut report, admin, options, words);
            return report.into();
        }
    };
    // But for -n, which says that nothing is done.
    let is_bare = options.letters.iter().all(|letter| *letter == 'n');
    if words.is_empty() && is_bare {
        list(&mut report, admin, kinds);
        return report.into();
    }
    if let Some(words) = words.strip_prefix(&["stop".to_owned()]) {
        if words.is_empty() || !is_bare {
            return Report::from(Problem::Usage(usage)).into();
        }
        each(&mut report, admin, words, |_, admin, drive| {
            Ok(admin.stop_job(drive, kinds)?)
        });
        return report.into();
    }
    if verb == DriveVerb::Extract {
        return match words {
            [old, new] => extract(admin, options, [old, new]),
            _ => Report::from(Problem::Usage(usage)).into(),
        };
    }
    match kind_of(verb, options) {
        Ok(Some(kind)) if !words.is_empty() => begin(admin, kind, command, options.force, words),
        Ok(_) => Report::from(Problem::Usage(usage)).into(),
        Err(problem) => Report::from(problem).into(),
    }
}

/// The job that is asked for; `None` when the options do not say which.
fn kind_of(verb: DriveVerb, options: &Options) -> Result<Option<JobKind>, Problem> {
    Ok(match (verb, options.read, options.write) {
        (DriveVerb::Erase, _, _) => Some(JobKind::Erase),
        (DriveVerb::Condition, _, _) => {
            let first_sector = first_sector(options)?;
            Some(JobKind::Condition { first_sector })
        }
        (DriveVerb::Disktest, true, false) => Some(JobKind::ReadTest),
        (DriveVerb::Disktest, false, true) => Some(JobKind::WriteTest),
        (DriveVerb::Disktest | DriveVerb::Extract | DriveVerb::Setsize, _, _) => None,
    })
}

/// The sector to begin with.
fn first_sector(options: &Options) -> Result<u64, Problem> {
    let Some(word) = &options.value else {
        return Ok(0);
    };
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    let sector = is_number.then(|| word.parse().ok()).flatten();
    sector.ok_or_else(|| Problem::InvalidSector(word.clone()))
}

/// The copy that is asked for, if it could be begun.
fn copy_of(
    admin: &mut dyn Admin,
    options: &Options,
    words: [&String; 2],
) -> Result<(JobKind, Target), Problem> {
    let shelf = admin.shelf();
    let first_sector = first_sector(options)?;
    let [source, drive] = words.map(|word| parse_drive(word, shelf));
    let (source, drive) = (source?, drive?);
    let kind = JobKind::Extract(Extract {
        source,
        first_sector,
        passes_over: options.force,
        element: None,
    });
    let known = admin.drives();
    let status = |drive| known.iter().find(|one| one.slot == drive).cloned();
    let target = Target {
        drive,
        was: status(drive),
        source: status(source),
    };
    target.check(admin, kind)?;
    Ok((kind, target))
}

/// What is to be done with a drive and its copy.
const PULL_ONE: &str = "afterwards pull one of them before a host looks for what is on it";

/// Asks whether one drive is to be copied onto another.
fn extract(admin: &mut dyn Admin, options: &Options, words: [&String; 2]) -> Outcome {
    let shelf = admin.shelf();
    let (kind, target) = match copy_of(admin, options, words) {
        Ok(copy) => copy,
        Err(problem) => return Report::from(problem).into(),
    };
    let mut report = Report::default();
    if options.yes {
        if let Err(problem) = begin_one(&mut report, admin, target.drive, kind) {
            report.fail(problem, &[]);
        }
        return report.into();
    }
    let size = |status: &Option<DriveStatus>| {
        gigabytes(status.as_ref().map_or(0, |status| status.whole_bytes))
    };
    let (old, new) = (size(&target.source), size(&target.was));
    let (what, after) = match target.source.as_ref().map(|source| &source.role) {
        Some(DriveRole::Element(id)) => (
            format!("is {id}"),
            format!("afterwards it is {id}, and the other a former one: pull that for good"),
        ),
        Some(DriveRole::Foreign(what)) => (format!("carries {what}"), PULL_ONE.to_owned()),
        _ => (
            "carries nothing that is known".to_owned(),
            PULL_ONE.to_owned(),
        ),
    };
    let [source, drive] = words;
    report.line(format!(
        "Request to overwrite {drive} ({new}GB) with a copy of {source} ({old}GB), which {what}; {after}"
    ));
    Destruction {
        kind,
        shelf,
        targets: VecDeque::from([target]),
    }
    .proceed(admin, report, false)
}

fn begin(
    admin: &mut dyn Admin,
    kind: JobKind,
    command: &str,
    force: bool,
    words: &[String],
) -> Outcome {
    let mut report = Report::default();
    let shelf = admin.shelf();
    if !kind.takes_drive() || force {
        each(&mut report, admin, words, |report, admin, drive| {
            begin_one(report, admin, drive, kind)
        });
        return report.into();
    }
    // It writes: nothing is begun before every word is understood, and every drive may be written.
    let mut targets = VecDeque::new();
    let known = admin.drives();
    for word in words {
        let target = parse_drive(word, shelf).and_then(|drive| {
            let was = known.iter().find(|one| one.slot == drive).cloned();
            let source = None;
            let target = Target { drive, was, source };
            target.check(admin, kind).map(|()| target)
        });
        match target {
            Ok(target) => targets.push_back(target),
            Err(problem) => {
                let others: Vec<String> = words.iter().filter(|w| *w != word).cloned().collect();
                report.fail(problem, &others);
                return report.into();
            }
        }
    }
    report.line(format!("Request to {command} {}", count(words)));
    Destruction {
        kind,
        shelf,
        targets,
    }
    .proceed(admin, report, false)
}

/// `1 drive: 1.3`, `3 drives: 1.3 ... 1.5`.
fn count(words: &[String]) -> String {
    match words {
        [one] => format!("1 drive: {one}"),
        [one, two] => format!("2 drives: {one} and {two}"),
        [first, .., last] => format!("{} drives: {first} ... {last}", words.len()),
        [] => "0 drives".to_owned(),
    }
}

/// Does something to each drive that is named, in order, until one fails.
fn each(
    report: &mut Report,
    admin: &mut dyn Admin,
    words: &[String],
    action: impl Fn(&mut Report, &mut dyn Admin, DriveSlot) -> Result<(), Problem>,
) {
    let shelf = admin.shelf();
    for (index, word) in words.iter().enumerate() {
        let done = parse_drive(word, shelf).and_then(|drive| action(report, admin, drive));
        if let Err(problem) = done {
            return report.fail(problem, &words[index + 1..]);
        }
    }
}

/// Begins a job, and tells of it.
fn begin_one(
    report: &mut Report,
    admin: &mut dyn Admin,
    drive: DriveSlot,
    kind: JobKind,
) -> Result<(), Problem> {
    let job_of = |admin: &dyn Admin| {
        let jobs = admin.jobs();
        jobs.into_iter().find(|job| job.drive == drive)
    };
    let before = job_of(admin).map(|job| job.number);
    admin.begin_job(drive, kind)?;
    // Where it is only said what would be done there is none.
    if let Some(job) = job_of(admin).filter(|job| Some(job.number) != before) {
        begun(report, admin, &job);
    }
    Ok(())
}

fn begun(report: &mut Report, admin: &dyn Admin, job: &JobStatus) {
    let shelf = admin.shelf();
    let drive = drive_name(shelf, job.drive);
    let drives = admin.drives();
    let copied = job.kind.source().unwrap_or(job.drive);
    let status = drives.iter().find(|status| status.slot == copied);
    let size = gigabytes(status.map_or(0, |status| status.whole_bytes));
    let way = job.report.way.as_ref();
    let way = way.map(|way| format!(", {way}")).unwrap_or_default();
    report.row(
        format!(
            "{drive}: {} of {size}GB begun{way}; when tells how far it is",
            kind_name(shelf, job.kind)
        ),
        Record::Job(JobRecord::new(shelf, job)),
    );
}

impl Destruction {
    pub(super) fn question(&self) -> String {
        let target = self.targets.front();
        let name = target.map(|target| drive_name(self.shelf, target.drive));
        let name = name.unwrap_or_default();
        let what = match self.kind {
            JobKind::Erase => "erase",
            JobKind::ReadTest | JobKind::WriteTest => "overwrite",
            JobKind::Condition { .. } => "write zeroes over what cannot be read of",
            JobKind::Extract(extract) => {
                let old = drive_name(self.shelf, extract.source);
                return format!(
                    "'n' to cancel, or type {name} to copy {old} onto drive {name} [n]: "
                );
            }
        };
        format!("'n' to cancel, or type {name} to {what} drive {name} [n]: ")
    }

    pub(super) fn answer(self, admin: &mut dyn Admin, answer: &str) -> Outcome {
        let names = |target: &Target| answer.trim() == drive_name(self.shelf, target.drive);
        if self.targets.front().is_some_and(names) {
            self.proceed(admin, Report::default(), true)
        } else {
            Report::from(Problem::Canceled).into()
        }
    }

    /// All of it is consented to.
    pub(super) fn consent(mut self, admin: &mut dyn Admin) -> Outcome {
        let mut report = Report::default();
        while let Some(target) = self.targets.pop_front() {
            if let Err(problem) = target.begin(&mut report, admin, self.kind) {
                report.fail(problem, &self.rest());
                break;
            }
        }
        report.into()
    }

    /// Begins on the first drive if that is consented to, then stops at the next question, at a failure, or
    /// at the end.
    fn proceed(mut self, admin: &mut dyn Admin, mut report: Report, is_consent: bool) -> Outcome {
        if is_consent
            && let Some(target) = self.targets.pop_front()
            && let Err(problem) = target.begin(&mut report, admin, self.kind)
        {
            report.fail(problem, &self.rest());
            return report.into();
        }
        let Some(target) = self.targets.front() else {
            return report.into();
        };
        if let Err(problem) = target.check(admin, self.kind) {
            self.targets.pop_front();
            report.fail(problem, &self.rest());
            return report.into();
        }
        if let Some(DriveRole::Foreign(what)) = target.was.as_ref().map(|was| &was.role) {
            let name = drive_name(self.shelf, target.drive);
            report.line(format!("{name} carries {what}"));
        }
        Outcome {
            report,
            pending: Some(Pending::Destruction(self)),
            ..Outcome::default()
        }
    }

    fn rest(&self) -> Vec<String> {
        let names = self.targets.iter();
        names
            .map(|target| drive_name(self.shelf, target.drive))
            .collect()
    }
}

impl Target {
    fn begin(
        &self,
        report: &mut Report,
        admin: &mut dyn Admin,
        kind: JobKind,
    ) -> Result<(), Problem> {
        self.check(admin, kind)?;
        begin_one(report, admin, self.drive, kind)
    }

    /// Whether the job can be begun, and the drive is what it was when the command was given.
    fn check(&self, admin: &mut dyn Admin, kind: JobKind) -> Result<(), Problem> {
        admin.check_job(self.drive, kind)?;
        let drives = admin.drives();
        let same = |now: &DriveStatus, was: &DriveStatus| {
            (&now.role, &now.path, now.whole_bytes) == (&was.role, &was.path, was.whole_bytes)
        };
        let concerned = [(Some(self.drive), &self.was), (kind.source(), &self.source)];
        for (slot, was) in concerned {
            let Some(slot) = slot else { continue };
            let now = drives.iter().find(|status| status.slot == slot);
            let is_same = now
                .zip(was.as_ref())
                .is_some_and(|(now, was)| same(now, was));
            if !is_same {
                return Err(Problem::DriveChanged(drive_name(admin.shelf(), slot)));
            }
        }
        Ok(())
    }
}

fn is_of(job: &JobStatus, kinds: &[JobKind]) -> bool {
    kinds.iter().any(|kind| kind.is_like(job.kind))
}

/// Lists the jobs of these kinds: those that run, and the last of each drive.
fn list(report: &mut Report, admin: &dyn Admin, kinds: &[JobKind]) {
    let shelf = admin.shelf();
    let jobs = admin.jobs();
    for job in jobs.iter().filter(|job| is_of(job, kinds)) {
        report.rows(lines(shelf, job), Record::Job(JobRecord::new(shelf, job)));
    }
}

/// How a job stands, in a word.
pub(crate) fn state_of(job: &JobStatus) -> &'static str {
    match &job.report.progress.end {
        None if job.is_stopping => "stopping",
        None => "running",
        Some(JobEnd::Complete) => "complete",
        Some(JobEnd::Stopped) => "stopped",
        Some(JobEnd::Failed(_)) => "failed",
    }
}

/// What a job does, as in `extract of 1.2`.
pub(crate) fn kind_name(shelf: Option<Shelf>, kind: JobKind) -> String {
    match kind.source() {
        Some(source) => format!("{kind} of {}", drive_name(shelf, source)),
        None => kind.to_string(),
    }
}

fn lines(shelf: Option<Shelf>, job: &JobStatus) -> Vec<String> {
    let progress = &job.report.progress;
    let bytes_per_s = rate_of(progress.done_sectors, job.report.elapsed);
    let mut line = format!(
        "{:<6} {} {} {}% {}.{:02} KBps, {} bad sectors",
        drive_name(shelf, job.drive),
        kind_name(shelf, job.kind),
        state_of(job),
        percent(progress.done_sectors, progress.total_sectors),
        bytes_per_s / 1000,
        bytes_per_s % 1000 / 10,
        progress.bad.sectors(),
    );
    let rewritten = progress.rewritten.sectors();
    if rewritten > 0 {
        line.push_str(&format!(", {rewritten} written anew"));
    }
    if let Some(way) = &job.report.way {
        line.push_str(&format!(", {way}"));
    }
    if let Some(JobEnd::Failed(reason)) = &progress.end {
        line.push_str(&format!(": {reason}"));
    }
    let mut lines = vec![line];
    lines.extend(bad_line(progress));
    if rewritten > 0 {
        let runs = runs_of(&progress.rewritten);
        lines.push(format!("       written anew: {runs}"));
    }
    lines.extend(resume_line(shelf, job));
    if !progress.slowest.is_empty() {
        let places = progress.slowest.iter();
        let places: Vec<String> = places
            .map(|place| format!("{} ms at sector {}", place.took.as_millis(), place.sector))
            .collect();
        lines.push(format!("       slowest MiB: {}", places.join(", ")));
    }
    lines
}

/// How a copy goes on that did not come to its end.
fn resume_line(shelf: Option<Shelf>, job: &JobStatus) -> Option<String> {
    let JobKind::Extract(extract) = job.kind else {
        return None;
    };
    let progress = &job.report.progress;
    let (Some(JobEnd::Stopped | JobEnd::Failed(_)), Some(sector)) =
        (&progress.end, progress.resume_sector)
    else {
        return None;
    };
    let is_past = extract.passes_over || progress.bad.sectors() > 0;
    let force = if is_past { "-f " } else { "" };
    let (old, new) = (
        drive_name(shelf, extract.source),
        drive_name(shelf, job.drive),
    );
    Some(format!(
        "       goes on with: extract {force}-s {sector} {old} {new}"
    ))
}

/// The bad sectors, in runs.
fn bad_line(progress: &Progress) -> Option<String> {
    let reason = progress.last_reason.as_ref();
    let reason = reason.map(|text| format!(": {text}")).unwrap_or_default();
    let runs = runs_of(&progress.bad);
    (!runs.is_empty()).then(|| format!("       bad: {runs}{reason}"))
}

/// Sectors in runs, the first ones: `100-103 4000 and 3 more`.
fn runs_of(sectors: &BadSectors) -> String {
    let runs = sectors.ranges();
    let shown: Vec<String> = runs
        .iter()
        .take(RUNS_SHOWN)
        .map(|run| match run.end - run.start {
            1 => run.start.to_string(),
            _ => format!("{}-{}", run.start, run.end - 1),
        })
        .collect();
    let more = match runs.len().saturating_sub(RUNS_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(" "))
}

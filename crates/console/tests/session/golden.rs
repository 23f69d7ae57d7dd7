//! Transcripts: for each command a file of what is typed and what is read, in its normal form, in its empty
//! one (a shelf with nothing in it) and with errors.
//!
//! A file of `tests/golden` is a list of sections `== form: setup`, of which each has a shelf of its own.
//! `> ` is a line that is typed, also an answer; `! ` changes the shelf behind the console's back; everything
//! else is what is read, `? ` a question. `GOLDEN=write` writes the files anew from what is typed in them:
//! what changed is to be looked at before it is committed.

use super::{Bench, FakeHost, FakeShelf, access, consoles, hardware, protection, statistics, top};
use console::command::COMMANDS;
use console::host::{ImageVersions, UpdateState};
use console::{Next, Reply};
use shelf::admin::{DriveRole, DriveState, LunNumber, RateLimit};
use shelf::job::{JobEnd, JobKind, SlowPlace};
use shelf::plane::{RunningPass, SyncKind, SyncProgress};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The forms that every command has.
const FORMS: [&str; 3] = ["normal", "empty", "error"];

/// Files that are of no command.
const SESSIONS: [&str; 1] = ["journal"];

pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"))
}

#[test]
fn every_command_has_its_transcript() {
    let mut wrong = String::new();
    for command in COMMANDS {
        match fs::read_to_string(path(command.name)) {
            Err(error) => writeln!(wrong, "{}: {error}", path(command.name).display()).unwrap(),
            Ok(text) => check_forms(&mut wrong, command.name, &text),
        }
    }
    for entry in fs::read_dir(path("x").parent().unwrap()).unwrap() {
        let name = entry
            .unwrap()
            .file_name()
            .into_string()
            .expect("a String takes everything");
        let name = name.trim_end_matches(".txt");
        if !SESSIONS.contains(&name) && !COMMANDS.iter().any(|command| command.name == name) {
            writeln!(wrong, "{name}.txt is of no command").expect("a String takes everything");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Each form is there, types the command, and the errors are errors.
fn check_forms(wrong: &mut String, name: &str, text: &str) {
    for form in FORMS {
        let Some((_, section)) = text.split_once(&format!("== {form}: ")) else {
            writeln!(wrong, "{name}.txt has no form {form}").expect("a String takes everything");
            continue;
        };
        let section = section.split("== ").next().unwrap_or_default();
        if !section.contains(&format!("> {name}")) {
            writeln!(wrong, "{name}.txt does not type {name} in the form {form}")
                .expect("a String takes everything");
        }
        let is_error = section.contains("\nerror: ") || section.contains("\nusage: ");
        if form == "error" && !is_error {
            writeln!(wrong, "{name}.txt has no error in its form error")
                .expect("a String takes everything");
        }
    }
}

#[test]
fn transcripts_are_as_they_were() {
    let mut changed = String::new();
    for entry in fs::read_dir(path("x").parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).expect("a String takes everything");
        let now = replay(&text);
        if now == text {
            continue;
        }
        if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
            fs::write(&path, now).expect("a String takes everything");
            continue;
        }
        let (line, (old, new)) = (1..)
            .zip(text.lines().chain([""]).zip(now.lines().chain([""])))
            .find(|(_, (old, new))| old != new)
            .unwrap_or((0, ("", "")));
        let name = path.display();
        writeln!(changed, "{name}:{line}:\n  was {old}\n  is  {new}")
            .expect("a String takes everything");
    }
    assert!(changed.is_empty(), "GOLDEN=write takes over:\n{changed}");
}

/// Types what is typed in a transcript, and makes the transcript anew.
fn replay(text: &str) -> String {
    let (mut now, mut bench) = (String::new(), Bench::new());
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("== ") {
            bench = setup(header.split_once(": ").expect("form and setup").1);
            if !now.is_empty() {
                now.push('\n');
            }
            writeln!(now, "{line}").expect("a String takes everything");
        } else if let Some(change) = line.strip_prefix("! ") {
            writeln!(now, "{line}").expect("a String takes everything");
            if let Some(reply) = apply(&mut bench, change) {
                show(&mut now, &reply);
            }
        } else if let Some(typed) = line.strip_prefix("> ") {
            writeln!(now, "{line}").expect("a String takes everything");
            let reply = bench.line(typed);
            show(&mut now, &reply);
        }
    }
    now
}

fn show(now: &mut String, reply: &Reply) {
    now.push_str(&reply.output);
    match &reply.next {
        Next::Command => {}
        Next::Answer { prompt, .. } => {
            writeln!(now, "? {prompt}").expect("a String takes everything");
        }
        Next::Later { after } => {
            writeln!(now, "(goes on after {after:?})").expect("a String takes everything");
        }
        Next::Keys { after } => {
            writeln!(now, "(goes on after {after:?}, or with a key)")
                .expect("a String takes everything");
        }
        Next::End => writeln!(now, "(the session is over)").expect("a String takes everything"),
    }
}

/// The shelf of a section.
fn setup(name: &str) -> Bench {
    match name {
        "16 drives" => Bench::new(),
        "four LUNs" => Bench::with_luns(),
        "spares" => protection::protected(),
        "consoles" => consoles::busy(),
        "statistics" => statistics::measured(),
        "initiators" => statistics::heard(),
        "reservations" => access::reserved(),
        "watched" => hardware::watched(),
        "load" => top::loaded(),
        "nothing" => {
            let mut bench = Bench::new();
            bench.shelf.drives.clear();
            bench.shelf.ports.clear();
            bench
        }
        "no number" => {
            let mut bench = Bench::new();
            bench.shelf.shelf = None;
            bench
        }
        other => panic!("no such setup: {other}"),
    }
}

/// Changes the shelf as others do.
fn apply(bench: &mut Bench, change: &str) -> Option<Reply> {
    let words: Vec<&str> = change.split_whitespace().collect();
    let number = |word: &str| word.parse::<usize>().expect("a number");
    let shelf = &mut bench.shelf;
    match words.as_slice() {
        ["initing", lun] => shelf.luns[number(lun)].parts[0].state.initing = true,
        ["normal", lun] => shelf.luns[number(lun)].parts[0].state.initing = false,
        ["pass", lun] => shelf.passes.push(pass(lun.parse().expect("a LUN"))),
        ["down", slot] => {
            let drive = &mut shelf.drives[number(slot)];
            (drive.state, drive.size_bytes) = (DriveState::Down, 0);
            drive.note = Some("cannot open: permission denied".to_owned());
        }
        ["missing", slot] => {
            let drive = &mut shelf.drives[number(slot)];
            (drive.state, drive.size_bytes) = (DriveState::Missing, 0);
        }
        ["carries", slot, what @ ..] => {
            shelf.drives[number(slot)].role = DriveRole::Foreign(what.join(" "));
        }
        ["limit", bytes] => {
            shelf.rate_limit = RateLimit {
                bytes_per_second: bytes.parse().expect("bytes"),
                is_per_drive: false,
            };
        }
        ["seconds", seconds] => {
            bench.host.now += Duration::from_secs(seconds.parse().expect("seconds"));
            return Some(bench.session.go_on(&mut world!(bench)));
        }
        ["job", slot, hundredths, rest @ ..] => {
            let (bad, end) = job_end(rest);
            let slot = slot.parse().expect("a slot");
            work(
                shelf,
                slot,
                hundredths.parse().expect("a number"),
                &bad,
                end,
            );
        }
        ["mended", slot, sectors @ ..] => {
            mend(shelf, slot.parse().expect("a number"), sectors);
        }
        ["work"] => top::work(shelf),
        ["cancel"] => return Some(bench.session.cancel()),
        words => apply_to_box(&mut bench.host, words),
    }
    None
}

/// Changes the box.
fn apply_to_box(host: &mut FakeHost, change: &[&str]) {
    match change {
        ["no", "firmware"] => host.has_firmware = false,
        ["no", "time", "service"] => {
            host.has_time_service = false;
            host.is_clock_kept = false;
        }
        ["clock", seconds] => host.clock_seconds = seconds.parse().expect("a number"),
        ["no", "power"] => host.has_power = false,
        ["no", "smartctl"] => {
            let text = "smartctl is not installed: apt-get install smartmontools";
            host.smart_fault = Some(text.to_owned());
        }
        ["image", running, other @ ..] => {
            host.image = Some(ImageVersions {
                running: (*running).to_owned(),
                other: other.first().map(|&other| other.to_owned()),
                next: (*running).to_owned(),
                failed: vec!["1.1".to_owned()],
            });
        }
        ["written"] => {
            let text = "version 1.3 is in slot b and runs after a reboot";
            host.update = UpdateState::Done(text.to_owned());
        }
        ["saved", name, line @ ..] => {
            let text = host.saved.entry((*name).to_owned()).or_default();
            text.push_str(&line.join(" "));
            text.push('\n');
        }
        ["store", fault @ ..] => host.store_fault = Some(fault.join(" ")),
        _ => panic!("no such change: {change:?}"),
    }
}

/// `bad SECTOR ...`, then perhaps how a job ends.
fn job_end(words: &[&str]) -> (Vec<u64>, Option<JobEnd>) {
    let sectors = words.iter().filter_map(|word| word.parse().ok());
    let end = match words
        .iter()
        .position(|word| word.ends_with("ed") || *word == "complete")
    {
        Some(at) => match words[at..] {
            ["complete"] => Some(JobEnd::Complete),
            ["stopped"] => Some(JobEnd::Stopped),
            ["failed", ref why @ ..] => Some(JobEnd::Failed(why.join(" "))),
            _ => panic!("no such end: {words:?}"),
        },
        None => None,
    };
    (sectors.collect(), end)
}

/// The job of a drive is so many hundredths through, after 100 s for each, with these bad sectors.
pub(super) fn work(
    shelf: &mut FakeShelf,
    slot: u16,
    hundredths: u64,
    bad: &[u64],
    end: Option<JobEnd>,
) {
    let job = shelf.jobs.iter_mut().find(|job| job.drive.0 == slot);
    let job = job.expect("it has a job");
    let progress = &mut job.report.progress;
    progress.done_sectors = progress.total_sectors * hundredths / 100;
    job.report.elapsed = Duration::from_secs(100 * hundredths);
    assert!(bad.iter().all(|sector| progress.bad.add(*sector)));
    if !bad.is_empty() {
        progress.last_reason = Some("Input/output error".to_owned());
    }
    if job.kind != JobKind::Erase {
        progress.slowest = vec![SlowPlace {
            sector: 6144,
            took: Duration::from_millis(512),
        }];
    }
    let drive = &mut shelf.drives[usize::from(slot)];
    if end.is_some() && job.kind.is_like(JobKind::CONDITION) {
        drive.role = DriveRole::Free;
    }
    if let (Some(end), Some(work)) = (&end, job.kind.work()) {
        let is_copy = job.kind.source().is_some();
        let is_well = *end == JobEnd::Complete && (is_copy || bad.is_empty());
        let name = if is_copy { "extract" } else { "erase" };
        drive.role = if is_well {
            DriveRole::Free
        } else {
            DriveRole::Foreign(format!("what an {name} that did not end has left"))
        };
        drive.unfinished = (!is_well).then_some(work);
        let source = job.kind.source();
        if let Some(source) = source.and_then(|slot| shelf.drives.get_mut(usize::from(slot.0)))
            && !matches!(source.role, DriveRole::Element(_))
        {
            source.role = DriveRole::Free;
        }
    }
    progress.end = end;
}

/// What a condition could not read at first is written anew.
fn mend(shelf: &mut FakeShelf, slot: u16, rewritten: &[&str]) {
    let job = shelf.jobs.iter_mut().find(|job| job.drive.0 == slot);
    let progress = &mut job.expect("it has a job").report.progress;
    let bad = std::mem::take(&mut progress.bad);
    for sector in bad.ranges().iter().cloned().flatten() {
        let is_mended = rewritten.contains(&sector.to_string().as_str());
        let list = if is_mended {
            &mut progress.rewritten
        } else {
            &mut progress.bad
        };
        assert!(list.add(sector));
    }
}

/// A resynchronisation that is at 44 %.
fn pass(lun: u8) -> RunningPass {
    RunningPass {
        progress: SyncProgress {
            lun: LunNumber::new(lun).expect("a LUN number"),
            part: 0,
            pass: 1,
            begun_sectors: 0,
            done_sectors: 3_442_472_000,
            total_sectors: 7_814_037_000,
            kind: SyncKind::Resync,
        },
        elapsed: Duration::from_secs(10_000),
    }
}

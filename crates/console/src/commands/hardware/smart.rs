//! What drives tell of their health, and what is changed about that.

use super::{Outcome, Tasks, chosen, refusal};
use crate::command::Options;
use crate::host::{Task, World};
use crate::names::{decimal, drive_name};
use crate::problem::Problem;
use crate::record::Record;
use crate::record::hardware::SmartRecord;
use crate::report::Report;
use shelf::admin::{Admin, DriveState, DriveStatus};
use shelf::smart::{RecoveryTimers, SelfTest, SelfTestKind, Smart, SmartChange, SmartMiss};
use std::collections::BTreeMap;

/// What stands for what is not known.
const UNKNOWN: &str = "-";

/// Most milliseconds of a timer: what its 16 bits hold of tenths of a second.
const TIMER_MS_MAX: u64 = 6_553_500;

fn or_unknown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

/// What a drive told; why it did not.
fn told<'a>(world: &World<'_>, name: &str, drive: &'a DriveStatus) -> Result<&'a Smart, Problem> {
    if drive.state != DriveState::Up {
        return Err(refusal(name, drive.state.name()));
    }
    match drive.smart.as_deref() {
        Some(smart) if smart.is_supported == Some(false) => Err(refusal(name, "not supported")),
        Some(smart) => Ok(smart),
        None => Err(match (world.host.smart_fault(), &drive.smart_miss) {
            (Some(fault), _) => refusal(name, &fault),
            (None, Some(miss)) => refusal(name, &miss.reason),
            (None, None) => refusal(name, "it was not asked yet, or sleeps"),
        }),
    }
}

/// Shows everything that drives tell.
pub(super) fn log(report: &mut Report, world: &World<'_>, words: &[String]) {
    let drives = match chosen(world.admin, words) {
        Ok(drives) => drives,
        Err((problem, rest)) => return report.fail(problem, &words[rest..]),
    };
    for (index, (name, drive)) in drives.iter().enumerate() {
        match told(world, name, drive) {
            Ok(smart) => {
                let miss = drive.smart_miss.as_deref();
                let record = Record::Smart(Box::new(SmartRecord::new(name, smart, miss)));
                let mut lines = lines(name, smart);
                lines.extend(miss.map(|miss| format!("  {}", miss_words(miss))));
                report.rows(lines, record);
            }
            Err(problem) => return report.fail(problem, &words[index + 1..]),
        }
    }
}

/// That a drive did not tell when it was asked last.
pub(in crate::commands) fn miss_words(miss: &SmartMiss) -> String {
    let when = if miss.times == 1 {
        "when it was asked last".to_owned()
    } else {
        format!("{} times in a row", miss.times)
    };
    format!("did not tell of its health {when}: {}", miss.reason)
}

fn lines(name: &str, smart: &Smart) -> Vec<String> {
    let life = smart.life_left_percent.map(|left| format!("{left}%"));
    let celsius = smart.celsius.map(|celsius| format!("{celsius}C"));
    let hours = smart.power_on_hours.map(|hours| format!("{hours}h"));
    let mut lines = vec![
        format!(
            "{name:<6} {}, {}, on for {}, life left {}",
            smart.word(),
            or_unknown(celsius),
            or_unknown(hours),
            or_unknown(life)
        ),
        format!(
            "  sectors: {} reallocated, {} pending, {} uncorrectable; errors: {} of media, {} in the log",
            or_unknown(smart.reallocated_sectors),
            or_unknown(smart.pending_sectors),
            or_unknown(smart.uncorrectable_sectors),
            or_unknown(smart.media_errors),
            or_unknown(smart.error_count)
        ),
    ];
    lines.extend(smart.errors.iter().map(|error| format!("  {error}")));
    let (test, at) = self_test_words(smart);
    if test != UNKNOWN {
        lines.push(format!("  self-test: {test}{at}"));
    }
    lines
}

/// How far the self-test is, and when it ended.
fn self_test_words(smart: &Smart) -> (String, String) {
    let test = &smart.self_test;
    let kind = test.kind.as_ref();
    let kind = kind.map(|kind| format!("{kind}: ")).unwrap_or_default();
    match (test.remaining_percent, &test.result) {
        (Some(left), _) => (
            format!("{kind}running, {}% done", 100 - left.min(100)),
            String::new(),
        ),
        (None, Some(result)) => {
            let at = test.at_hours.map(|at| format!(", at {at}h"));
            (format!("{kind}{result}"), at.unwrap_or_default())
        }
        (None, None) => (UNKNOWN.to_owned(), String::new()),
    }
}

/// Lists something of each drive.
fn list(
    report: &mut Report,
    world: &World<'_>,
    words: &[String],
    title: &str,
    row: impl Fn(&str, Option<&Smart>) -> (String, Record),
) {
    match chosen(world.admin, words) {
        Ok(drives) => {
            if !drives.is_empty() {
                report.line(title);
            }
            for (name, drive) in &drives {
                let (line, record) = row(name, drive.smart.as_deref());
                report.row(line, record);
            }
        }
        Err((problem, rest)) => report.fail(problem, &words[rest..]),
    }
}

/// Lists the life that is left.
pub(super) fn life(report: &mut Report, world: &World<'_>, words: &[String]) {
    let title = format!("{:<8} {:>8}", "DRIVE", "LIFE(%)");
    list(report, world, words, &title, |name, smart| {
        let left = smart.and_then(|smart| smart.life_left_percent);
        let record = Record::DriveLife {
            drive: name.to_owned(),
            life_left_percent: left,
        };
        (format!("{name:<8} {:>8}", or_unknown(left)), record)
    });
}

/// Lists temperatures.
pub(super) fn temperatures(report: &mut Report, world: &World<'_>, words: &[String]) {
    let title = format!("{:<8} {:>8} {:>8}", "DRIVE", "TEMP", "LIMIT");
    let drives = world.admin.drives();
    let names = drives
        .iter()
        .map(|drive| drive_name(world.admin.shelf(), drive.slot));
    // What the kernel measures is of now.
    let now = names.zip(crate::commands::drives::temperatures(world, &drives));
    let now: BTreeMap<String, Option<i32>> = now.collect();
    list(report, world, words, &title, |name, smart| {
        let now = now.get(name).copied().flatten();
        let now = now.and_then(|celsius| i16::try_from(celsius).ok());
        let celsius = now.or_else(|| smart.and_then(|smart| smart.celsius));
        let limit = smart.and_then(|smart| smart.celsius_limit);
        let degrees = |celsius: Option<i16>| or_unknown(celsius.map(|c| format!("{c}C")));
        let record = Record::DriveTemperature {
            drive: name.to_owned(),
            celsius,
            celsius_limit: limit,
        };
        (
            format!("{name:<8} {:>8} {:>8}", degrees(celsius), degrees(limit)),
            record,
        )
    });
}

/// The changes of some drives, if all of them can tell of their health.
fn changes(
    world: &mut World<'_>,
    words: &[String],
    change: impl Fn(&Smart) -> Option<SmartChange>,
) -> Outcome {
    let mut tasks = Vec::new();
    let drives = match chosen(world.admin, words) {
        Ok(drives) => drives,
        Err((problem, _)) => return Report::from(problem).into(),
    };
    for (name, drive) in drives {
        let change = told(world, &name, &drive)
            .and_then(|smart| change(smart).ok_or_else(|| refusal(&name, "not supported")));
        match change {
            Ok(change) => {
                let task = Task::Smart {
                    slot: drive.slot,
                    path: drive.path,
                    change,
                };
                tasks.push((name, task));
            }
            // Nothing was done to any.
            Err(problem) => return Report::from(problem).into(),
        }
    }
    Tasks::new(tasks).go_on(world, Report::default())
}

/// Lets drives keep count, or keeps them from it.
pub(super) fn enable(world: &mut World<'_>, on: bool, words: &[String]) -> Outcome {
    let change = |smart: &Smart| {
        let can = on || !smart.is_nvme;
        can.then_some(SmartChange::Enable(on))
    };
    changes(world, words, change)
}

/// Lists or sets how long drives try.
pub(super) fn timers(world: &mut World<'_>, options: &Options, words: &[String]) -> Outcome {
    let mut wanted = (None, None);
    for (letter, word) in &options.values {
        let ms = decimal(word).filter(|ms| *ms <= TIMER_MS_MAX);
        let Some(ms) = ms.and_then(|ms| u32::try_from(ms).ok()) else {
            return Report::from(Problem::InvalidTimer(word.clone())).into();
        };
        *if *letter == 'r' {
            &mut wanted.0
        } else {
            &mut wanted.1
        } = Some(ms);
    }
    if wanted == (None, None) {
        let mut report = Report::default();
        list_timers(&mut report, world, words);
        return report.into();
    }
    if words.is_empty() {
        let usage = "erctimers [-r ms] [-w ms] drive ...";
        return Report::from(Problem::Usage(usage)).into();
    }
    changes(world, words, |smart| {
        let now = smart.recovery?;
        Some(SmartChange::Timers(RecoveryTimers {
            read_ms: wanted.0.unwrap_or(now.read_ms),
            write_ms: wanted.1.unwrap_or(now.write_ms),
        }))
    })
}

fn list_timers(report: &mut Report, world: &World<'_>, words: &[String]) {
    let title = format!("{:<8} {:>9} {:>9}", "DRIVE", "READ(ms)", "WRITE(ms)");
    list(report, world, words, &title, |name, smart| {
        let timers = smart.and_then(|smart| smart.recovery);
        let (read, write) = (timers.map(|of| of.read_ms), timers.map(|of| of.write_ms));
        let record = Record::RecoveryTimers {
            drive: name.to_owned(),
            read_ms: read,
            write_ms: write,
        };
        (
            format!("{name:<8} {:>9} {:>9}", or_unknown(read), or_unknown(write)),
            record,
        )
    });
}

/// Lists self-tests, begins or ends them.
pub(super) fn self_test(world: &mut World<'_>, usage: &'static str, words: &[String]) -> Outcome {
    let change = match words.first().map(String::as_str) {
        Some("short") => SmartChange::SelfTest(SelfTestKind::Short),
        Some("long") => SmartChange::SelfTest(SelfTestKind::Long),
        Some("abort") => SmartChange::AbortSelfTest,
        Some(word) if !word.contains('.') => return Report::from(Problem::Usage(usage)).into(),
        _ => {
            let mut report = Report::default();
            list_self_tests(&mut report, world, words);
            return report.into();
        }
    };
    let drives = &words[1..];
    if drives.is_empty() {
        return Report::from(Problem::Usage(usage)).into();
    }
    // A drive that tests itself begins anew, and would never end.
    let running = |smart: &Smart| smart.self_test.remaining_percent.is_some();
    if change != SmartChange::AbortSelfTest
        && let Ok(chosen) = chosen(world.admin, drives)
        && let Some((name, _)) = chosen
            .iter()
            .find(|(_, drive)| drive.smart.as_deref().is_some_and(running))
    {
        return Report::from(refusal(
            name,
            "a self-test is running; selftest tells how far it is, selftest abort ends it",
        ))
        .into();
    }
    changes(world, drives, |_| Some(change))
}

fn list_self_tests(report: &mut Report, world: &World<'_>, words: &[String]) {
    let title = format!("{:<8} SELFTEST", "DRIVE");
    list(report, world, words, &title, |name, smart| {
        let (test, at) = smart.map_or((UNKNOWN.to_owned(), String::new()), self_test_words);
        let test_of = smart.map(|smart| &smart.self_test);
        let record = self_test_record(name, test_of);
        (format!("{name:<8} {test}{at}"), record)
    });
}

fn self_test_record(name: &str, of: Option<&SelfTest>) -> Record {
    Record::SelfTest {
        drive: name.to_owned(),
        remaining_percent: of.and_then(|test| test.remaining_percent),
        kind: of.and_then(|test| test.kind.clone()),
        result: of.and_then(|test| test.result.clone()),
        passed: of.and_then(|test| test.has_passed),
        at_hours: of.and_then(|test| test.at_hours),
    }
}

/// Lists the self-tests that run, as `when` does jobs. At what rate a drive goes it does not tell.
pub(in crate::commands) fn running_self_tests(report: &mut Report, admin: &dyn Admin) {
    for drive in admin.drives() {
        let test = drive.smart.as_ref().map(|smart| &smart.self_test);
        let Some((test, left)) = test.and_then(|test| Some((test, test.remaining_percent?))) else {
            continue;
        };
        let name = drive_name(admin.shelf(), drive.slot);
        let done = 100 - left.min(100);
        let line = format!("{name} {done}.00% ? KBps ?:??:?? left self-test");
        report.row(line, self_test_record(&name, Some(test)));
    }
}

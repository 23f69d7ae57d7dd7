//! `scrub`: the comparison of members that are to agree.

use super::luns::each;
use super::when::percent;
use crate::names::{decimal, parse_lun};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use shelf::admin::{Admin, AdminError, LunNumber, ScrubAction, ScrubRepair, ScrubStatus};
use shelf::plane::SyncKind;

const USAGE: &str = "scrub [status | start | repair | stop | pause | resume | every DAYS | \
                     schedule off|weekly|monthly | policy report|located|all] [LUN ...]";

/// Tells of the scrubs of all LUNs or of those that are named, or does something about them.
pub(super) fn scrub(report: &mut Report, admin: &mut dyn Admin, words: &[String]) {
    let (action, luns) = match words {
        [word, luns @ ..] if word == "start" => (ScrubAction::Start, luns),
        [word, luns @ ..] if word == "status" => return status(report, admin, luns),
        [word, luns @ ..] if word == "repair" => (ScrubAction::Repair, luns),
        [word, policy, luns @ ..] if word == "policy" => match policy_of(policy) {
            Some(policy) => (ScrubAction::Policy(policy), luns),
            None => return report.fail(Problem::Usage(USAGE), &[]),
        },
        [word, often, luns @ ..] if word == "schedule" => match often_of(often) {
            Some(days) => (ScrubAction::Every(days), luns),
            None => return report.fail(Problem::Usage(USAGE), &[]),
        },
        [word, luns @ ..] if word == "stop" => (ScrubAction::Stop, luns),
        [word, luns @ ..] if word == "pause" => (ScrubAction::Pause, luns),
        [word, luns @ ..] if word == "resume" => (ScrubAction::Resume, luns),
        [word, days, luns @ ..] if word == "every" => match days_of(days) {
            Some(days) => (ScrubAction::Every(days), luns),
            None => return report.fail(Problem::Usage(USAGE), &[]),
        },
        luns => return status(report, admin, luns),
    };
    if luns.is_empty() {
        return report.fail(Problem::Usage(USAGE), &[]);
    }
    each(report, luns, |lun| admin.scrub(lun, action));
}

/// The names of what a scrub does about members that do not agree.
const POLICIES: [(&str, ScrubRepair); 3] = [
    ("report", ScrubRepair::Report),
    ("located", ScrubRepair::Located),
    ("all", ScrubRepair::All),
];

fn policy_of(word: &str) -> Option<ScrubRepair> {
    let mut policies = POLICIES.iter();
    policies
        .find(|(name, _)| *name == word)
        .map(|(_, policy)| *policy)
}

/// How often, in days.
fn often_of(word: &str) -> Option<u16> {
    match word {
        "off" => Some(0),
        "weekly" => Some(7),
        "monthly" => Some(30),
        _ => None,
    }
}

fn days_of(word: &str) -> Option<u16> {
    decimal(word).and_then(|days| u16::try_from(days).ok())
}

fn status(report: &mut Report, admin: &dyn Admin, words: &[String]) {
    let luns = admin.luns();
    if words.is_empty() {
        for lun in &luns {
            if let Some(scrub) = &lun.scrub {
                row(report, admin, lun.lun, scrub);
            }
        }
    }
    for (index, word) in words.iter().enumerate() {
        let found = parse_lun(word).and_then(|number| {
            let lun = luns.iter().find(|lun| lun.lun == number);
            Ok(lun.ok_or(AdminError::NoSuchLun(number))?)
        });
        match found {
            Ok(lun) => {
                if let Some(scrub) = &lun.scrub {
                    row(report, admin, lun.lun, scrub);
                }
            }
            Err(problem) => return report.fail(problem, &words[index + 1..]),
        }
    }
}

/// `LUN state percent differing; last one, interval`.
fn row(report: &mut Report, admin: &dyn Admin, lun: LunNumber, scrub: &ScrubStatus) {
    let pass = admin
        .passes()
        .into_iter()
        .find(|pass| pass.progress.lun == lun && pass.progress.kind == SyncKind::Check);
    let done_sectors = pass
        .map(|pass| pass.progress.done_sectors)
        .or(scrub.done_sectors);
    let state = match (scrub.done_sectors, scrub.is_paused, pass) {
        (None, _, _) => "idle",
        (Some(_), true, _) => "paused",
        (Some(_), false, Some(_)) => "running",
        (Some(_), false, None) => "waiting",
    };
    let mut line = format!("{lun} {state}");
    if let Some(done) = done_sectors {
        let percent = percent(done, scrub.total_sectors);
        line.push_str(&format!(" {percent}% {} differ", scrub.mismatched_sectors));
        line.push_str(&repaired(scrub.repaired_sectors));
    }
    match scrub.last_unix_seconds {
        Some(seconds) => {
            let found = scrub.last_mismatched_sectors;
            line.push_str(&format!("; last {} {found} differ", date(seconds)));
            line.push_str(&repaired(scrub.last_repaired_sectors));
        }
        None => line.push_str("; never"),
    }
    match scrub.interval_days {
        0 => line.push_str("; not by itself"),
        days => line.push_str(&format!("; every {days} days")),
    }
    line.push_str(match (scrub.is_repair, scrub.repair) {
        (true, _) => "; repairs all this time",
        (false, ScrubRepair::Report) => "",
        (false, ScrubRepair::Located) => "; repairs what is located",
        (false, ScrubRepair::All) => "; repairs all",
    });
    let mut policies = POLICIES.iter();
    let policy = policies.find(|(_, policy)| *policy == scrub.repair);
    let record = Record::Scrub {
        lun: lun.get(),
        state,
        done_sectors,
        total_sectors: scrub.total_sectors,
        mismatched_sectors: scrub.mismatched_sectors,
        last_unix_seconds: scrub.last_unix_seconds,
        last_mismatched_sectors: scrub.last_mismatched_sectors,
        interval_days: scrub.interval_days,
        repaired_sectors: scrub.repaired_sectors,
        last_repaired_sectors: scrub.last_repaired_sectors,
        policy: policy.map_or("", |(name, _)| *name),
        is_repair: scrub.is_repair,
    };
    report.row(line, record);
}

fn repaired(sectors: u64) -> String {
    if sectors == 0 {
        String::new()
    } else {
        format!(", {sectors} repaired")
    }
}

/// The day of a time, as `2026-11-21`: the civil calendar counted in eras of 400 years, which begin in
/// March, so that the day that not all years have comes last.
pub(super) fn date(unix_seconds: u64) -> String {
    const DAYS_TO_1970: u64 = 719_468;
    const ERA_DAYS: u64 = 146_097;
    let days = unix_seconds / 86_400 + DAYS_TO_1970;
    let (era, day) = (days / ERA_DAYS, days % ERA_DAYS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + carry;
    format!("{year:04}-{month:02}-{day_of_month:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_have_their_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_399), "2000-02-28");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(1_700_000_000), "2023-11-14");
        assert_eq!(date(1_735_689_600), "2025-01-01");
        assert_eq!(date(4_107_542_399), "2100-02-28");
        assert_eq!(date(4_107_542_400), "2100-03-01");
    }
}

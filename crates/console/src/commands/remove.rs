//! `remove` and `eject`: ask for each LUN, then remove it, or let go of it.
//!
//! What destroys is not done by a habit of typing `y`: `remove` wants the number or the label of the LUN.
//! Under its name of SRX 7, `rmlun`, it asks as those shelves did, and so does `eject`, which destroys
//! nothing.
//!
//! Every LUN is looked at twice: before its question, so that nobody is asked in vain, and after the
//! answer, because another console or a drive may have changed things in between.

use super::meanwhile::KnownLun;
use super::{Outcome, Pending};
use crate::command::Verb;
use crate::names::{drive_name, parse_lun};
use crate::problem::Problem;
use crate::report::Report;
use shelf::admin::{Admin, AdminError, LunNumber};
use std::collections::VecDeque;

/// How LUNs go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// They are erased.
    Remove,
    /// They stay on their drives.
    Eject,
}

impl Way {
    /// The way of a command.
    fn of(verb: Verb) -> Self {
        if verb == Verb::Eject {
            Self::Eject
        } else {
            Self::Remove
        }
    }

    /// As in "needs to be offline before removal".
    const fn action(self) -> &'static str {
        match self {
            Self::Remove => "removal",
            Self::Eject => "ejecting",
        }
    }

    fn go(self, admin: &mut dyn Admin, lun: LunNumber, force: bool) -> Result<(), AdminError> {
        match self {
            Self::Remove => admin.remove(lun, force),
            Self::Eject => admin.eject(lun, force),
        }
    }
}

/// A removal that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Removal {
    way: Way,
    /// The name the command was called by; it appears in the question.
    name: &'static str,
    /// What is still to be removed; the first one is asked about.
    targets: VecDeque<KnownLun>,
}

/// How far the answers reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Consent {
    No,
    ThisOne,
    All,
}

/// Begins a removal, or does it if it is forced.
pub(super) fn remove(
    verb: Verb,
    name: &'static str,
    admin: &mut dyn Admin,
    force: bool,
    words: &[String],
) -> Outcome {
    let way = Way::of(verb);
    let mut report = Report::default();
    // Destructive: nothing is begun before every word is understood.
    let mut luns = Vec::new();
    for word in words {
        match parse_lun(word) {
            Ok(lun) => luns.push(lun),
            Err(problem) => {
                let others: Vec<String> = words.iter().filter(|w| *w != word).cloned().collect();
                report.fail(problem, &others);
                return report.into();
            }
        }
    }
    if force {
        super::luns::each(&mut report, words, |lun| way.go(admin, lun, true));
        return report.into();
    }
    report.line(format!("Request to {name} {}", count(name, &luns)));
    if way == Way::Remove {
        for spare in admin.spares() {
            if let Some(lun) = spare.dedicated_to.filter(|lun| luns.contains(lun)) {
                let name = drive_name(admin.shelf(), spare.drive);
                report.line(format!(
                    "spare {name} is for LUN {lun} alone: it becomes one for all LUNs"
                ));
            }
        }
    }
    let target = |lun| KnownLun::now(lun, admin);
    let targets = luns.into_iter().map(target).collect();
    Removal { way, name, targets }.proceed(admin, report, Consent::No)
}

/// `1 LUN: 3`, `2 LUNs: 3 and 4`, `3 LUNs: 3 ... 5`; the commands of SRX 7 say `lun`.
fn count(name: &str, luns: &[LunNumber]) -> String {
    let noun = name.strip_prefix("rm").unwrap_or("LUN");
    match luns {
        [one] => format!("1 {noun}: {one}"),
        [one, two] => format!("2 {noun}s: {one} and {two}"),
        [first, .., last] => format!("{} {noun}s: {first} ... {last}", luns.len()),
        [] => format!("0 {noun}s"),
    }
}

impl Removal {
    /// Whether the LUN must be named in the answer.
    fn is_typed(&self) -> bool {
        self.way == Way::Remove && self.name == "remove"
    }

    pub(super) fn question(&self) -> String {
        let target = self.targets.front();
        let lun = target.map(|target| target.lun.to_string());
        let lun = lun.unwrap_or_default();
        if self.is_typed() {
            let label = target.and_then(KnownLun::label);
            let label = label.map(|label| format!(" or {label}"));
            let label = label.unwrap_or_default();
            return format!("'n' to cancel, or type {lun}{label} to remove LUN {lun} [n]: ");
        }
        format!(
            "'n' to cancel, 'a' for all, or 'y' to {} {lun} [n]: ",
            self.name
        )
    }

    pub(super) fn answer(self, admin: &mut dyn Admin, answer: &str) -> Outcome {
        let names = |target: &KnownLun| {
            let answer = answer.trim();
            let is_label = target.label() == Some(answer);
            answer == target.lun.to_string() || (is_label && !matches!(answer, "n" | "N"))
        };
        let consent = match answer.trim() {
            _ if self.is_typed() => match self.targets.front() {
                Some(target) if names(target) => Consent::ThisOne,
                _ => return Report::from(Problem::Canceled).into(),
            },
            "y" | "Y" => Consent::ThisOne,
            "a" | "A" => Consent::All,
            _ => return Report::from(Problem::Canceled).into(),
        };
        self.proceed(admin, Report::default(), consent)
    }

    /// All of it is consented to.
    pub(super) fn consent(self, admin: &mut dyn Admin) -> Outcome {
        self.proceed(admin, Report::default(), Consent::All)
    }

    /// Removes what is consented to, then stops at the next question, at a failure, or at the end.
    fn proceed(
        mut self,
        admin: &mut dyn Admin,
        mut report: Report,
        mut consent: Consent,
    ) -> Outcome {
        while let Some(target) = self.targets.front() {
            let mut done = check(target, self.way, admin);
            if consent == Consent::No && done.is_ok() {
                return Outcome {
                    report,
                    pending: Some(Pending::Removal(self)),
                    ..Outcome::default()
                };
            }
            done = done.and_then(|()| Ok(self.way.go(admin, target.lun, false)?));
            self.targets.pop_front();
            if let Err(problem) = done {
                let rest: Vec<String> = self.targets.iter().map(|t| t.lun.to_string()).collect();
                report.fail(problem, &rest);
                break;
            }
            if consent == Consent::ThisOne {
                consent = Consent::No;
            }
        }
        report.into()
    }
}

/// Whether a LUN can be removed, and is what it was when the command was given.
fn check(target: &KnownLun, way: Way, admin: &dyn Admin) -> Result<(), Problem> {
    let Some(before) = target.status() else {
        return Err(AdminError::NoSuchLun(target.lun).into());
    };
    if let Some(what) = target.change(admin) {
        return Err(Problem::Meanwhile(what));
    }
    if before.online {
        return Err(AdminError::LunOnline {
            lun: target.lun,
            action: way.action(),
        }
        .into());
    }
    Ok(())
}

//! The problems that are open: each has a number from when it was first seen until it is over, and may be
//! acknowledged by somebody.
//!
//! They are kept in `alerts` of the state directory, a JSON object a line, so that numbers and
//! acknowledgements survive a restart. A problem is known again by its subject and its words without the
//! numbers in them, which change while it lasts.
//!
//! Invariant: a number is never used again.

use console::host::{AlertStatus, Trouble};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    id: u64,
    since_unix_seconds: u64,
    subject: String,
    problem: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acknowledged_by: Option<String>,
}

/// What is stored beside the problems: the last number that was given out.
#[derive(Serialize, Deserialize)]
struct Head {
    last: u64,
}

/// All open problems.
#[derive(Debug)]
pub(crate) struct Alerts {
    path: PathBuf,
    last: u64,
    known: Vec<Known>,
    trouble: Option<String>,
}

impl Alerts {
    /// Reads those of a state directory. A file that is not understood is replaced at the next change: it
    /// holds nothing that the shelf does not find again, but for acknowledgements.
    pub(crate) fn open(directory: &Path) -> Self {
        let path = directory.join("alerts");
        let (mut last, mut known, mut trouble) = (0, Vec::new(), None);
        match fs::read_to_string(&path).map_err(|error| (error.kind(), error.to_string())) {
            Ok(text) => match parse(&text) {
                Some(read) => (last, known) = read,
                None => trouble = Some(format!("{} is damaged: begun anew", path.display())),
            },
            Err((io::ErrorKind::NotFound, _)) => {}
            Err((_, error)) => trouble = Some(format!("{}: {error}", path.display())),
        }
        Self {
            path,
            last,
            known,
            trouble,
        }
    }

    /// Why they are not stored, if they are not.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Compares with what is wrong now, and tells all open problems in the order of their numbers.
    pub(crate) fn update(&mut self, troubles: &[Trouble], unix_seconds: u64) -> Vec<AlertStatus> {
        let before = self.known.clone();
        let is_same = |known: &Known, trouble: &Trouble| {
            known.subject == trouble.subject && words(&known.problem) == words(&trouble.problem)
        };
        self.known
            .retain(|known| troubles.iter().any(|trouble| is_same(known, trouble)));
        let mut rows = Vec::new();
        for trouble in troubles {
            let at = self.known.iter().position(|known| is_same(known, trouble));
            let at = at.unwrap_or_else(|| {
                self.last += 1;
                self.known.push(Known {
                    id: self.last,
                    since_unix_seconds: unix_seconds,
                    subject: trouble.subject.clone(),
                    problem: trouble.problem.clone(),
                    acknowledged_by: None,
                });
                self.known.len() - 1
            });
            let known = &self.known[at];
            rows.push(AlertStatus {
                id: known.id,
                since_unix_seconds: known.since_unix_seconds,
                subject: trouble.subject.clone(),
                problem: trouble.problem.clone(),
                advice: trouble.advice.clone(),
                acknowledged_by: known.acknowledged_by.clone(),
            });
        }
        if self.known != before {
            self.trouble = self.store().err();
        }
        rows.sort_by_key(|row| row.id);
        rows.dedup_by_key(|row| row.id);
        rows
    }

    /// Where the problem of this number is.
    fn find(&self, id: u64) -> Result<usize, String> {
        let found = self.known.iter().position(|known| known.id == id);
        found.ok_or_else(|| format!("no alert {id} is open"))
    }

    /// Whether a problem of this number is open.
    pub(crate) fn check(&self, id: u64) -> Result<(), String> {
        self.find(id).map(drop)
    }

    /// Notes that somebody knows of a problem.
    pub(crate) fn acknowledge(&mut self, id: u64, by: &str) -> Result<(), String> {
        let at = self.find(id)?;
        let before = self.known[at].acknowledged_by.replace(by.to_owned());
        self.store()
            .inspect_err(|_| self.known[at].acknowledged_by = before)
    }

    fn store(&self) -> Result<(), String> {
        let store = || -> io::Result<()> {
            let mut text = serde_json::to_string(&Head { last: self.last })?;
            for known in &self.known {
                text.push('\n');
                text.push_str(&serde_json::to_string(known)?);
            }
            text.push('\n');
            let new = self.path.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            let directory = self.path.parent().unwrap_or(Path::new("/"));
            File::open(directory)?.sync_all()
        };
        store().map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

fn parse(text: &str) -> Option<(u64, Vec<Known>)> {
    let mut lines = text.lines();
    let head: Head = serde_json::from_str(lines.next()?).ok()?;
    let known: Option<Vec<Known>> = lines.map(|line| serde_json::from_str(line).ok()).collect();
    Some((head.last, known?))
}

/// A text without its numbers.
fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(subject: &str, problem: &str) -> Trouble {
        Trouble {
            subject: subject.to_owned(),
            problem: problem.to_owned(),
            advice: "do something".to_owned(),
        }
    }

    fn brief(rows: &[AlertStatus]) -> Vec<String> {
        rows.iter()
            .map(|row| {
                let by = row.acknowledged_by.as_deref().unwrap_or("-");
                format!("{} {} {} {by}", row.id, row.subject, row.since_unix_seconds)
            })
            .collect()
    }

    #[test]
    fn a_problem_keeps_its_number_and_its_acknowledgement_as_long_as_it_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let mut alerts = Alerts::open(directory.path());
        let first = trouble("0.0.1", "has 3 bad sectors");
        let more = trouble("0.0.1", "has 17 bad sectors");
        let other = trouble("port eth1", "has no link");
        assert_eq!(brief(&alerts.update(&[first], 5)), ["1 0.0.1 5 -"]);
        let both = [other.clone(), more.clone()];
        assert_eq!(
            brief(&alerts.update(&both, 6)),
            ["1 0.0.1 5 -", "2 port eth1 6 -"]
        );
        alerts.acknowledge(1, "ann").unwrap();
        assert!(alerts.acknowledge(3, "ann").is_err());
        let mut alerts = Alerts::open(directory.path());
        assert_eq!(
            brief(&alerts.update(&both, 7)),
            ["1 0.0.1 5 ann", "2 port eth1 6 -"]
        );
        assert_eq!(brief(&alerts.update(&[other], 8)), ["2 port eth1 6 -"]);
        assert!(alerts.update(&[], 8).is_empty());
        let mut alerts = Alerts::open(directory.path());
        assert_eq!(
            brief(&alerts.update(&[more], 9)),
            ["3 0.0.1 9 -"],
            "it is another time"
        );
    }

    #[test]
    fn damage_and_a_full_disk_cost_acknowledgements_only() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("alerts"), "x").unwrap();
        let mut alerts = Alerts::open(directory.path());
        assert!(alerts.trouble().unwrap().contains("damaged"));
        fs::create_dir(directory.path().join("alerts.new")).unwrap();
        assert_eq!(alerts.update(&[trouble("a", "b")], 1).len(), 1);
        assert!(alerts.trouble().unwrap().contains("alerts: "));
        assert!(alerts.acknowledge(1, "ann").is_err());
        assert_eq!(brief(&alerts.update(&[trouble("a", "b")], 1)), ["1 a 1 -"]);
        fs::remove_dir(directory.path().join("alerts.new")).unwrap();
        alerts.acknowledge(1, "ann").unwrap();
    }
}

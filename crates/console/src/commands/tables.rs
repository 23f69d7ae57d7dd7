//! `luns` and `spares`: what `list` and `spare` tell, as the tables of SRX 7, whose names for them these are.
//!
//! Invariant: whoever uses the names of one generation reads the forms of that generation; the JSON is the
//! same under every name.

use super::gigabytes;
use super::luns::{MISSING, named};
use crate::names::drive_name;
use crate::record::{LunRecord, Record, status_name};
use crate::report::Report;
use aoe::Shelf;
use shelf::admin::{Admin, LunStatus, RaidState};

/// What the columns are as wide as at least that grow with what is in them.
const LABEL_WIDTH: usize = 6;
const STATE_WIDTH: usize = 8;

/// One line of the table.
#[derive(Default)]
struct Row {
    lun: String,
    label: String,
    status: &'static str,
    level: String,
    size: String,
    element: String,
    drive: String,
    state: String,
}

/// Lists all LUNs, or those that are named; with their elements or without.
pub(super) fn luns(report: &mut Report, admin: &dyn Admin, long: bool, operands: &[String]) {
    let (shelf, all) = (admin.shelf(), admin.luns());
    let mut chosen: Vec<&LunStatus> = Vec::new();
    let mut failure = None;
    if operands.is_empty() {
        chosen.extend(&all);
    }
    for (index, word) in operands.iter().enumerate() {
        match named(&all, word) {
            Ok(lun) => chosen.push(lun),
            Err(problem) => {
                failure = Some((problem, index + 1));
                break;
            }
        }
    }
    let rows: Vec<Vec<Row>> = chosen.iter().map(|lun| rows_of(shelf, lun, long)).collect();
    let widest = |least: usize, width: fn(&Row) -> usize| {
        let widths = rows.iter().flatten().map(width);
        1 + widths.max().unwrap_or(0).max(least)
    };
    let label_width = widest(LABEL_WIDTH, |row| row.label.chars().count());
    let state_width = widest(STATE_WIDTH, |row| row.state.len());
    let line = |row: &Row| row.line(label_width, state_width, long);
    if !rows.is_empty() {
        report.line(line(&Row::header()));
    }
    for (lun, rows) in chosen.iter().zip(&rows) {
        let record = Record::Lun(LunRecord::new(shelf, lun));
        report.rows(rows.iter().map(line).collect(), record);
    }
    if let Some((problem, rest)) = failure {
        report.fail(problem, &operands[rest..]);
    }
}

fn rows_of(shelf: Option<Shelf>, lun: &LunStatus, long: bool) -> Vec<Row> {
    let mut levels: Vec<String> = lun
        .parts
        .iter()
        .map(|part| part.level.to_string())
        .collect();
    levels.dedup();
    let state = |is_so: fn(&RaidState) -> bool| lun.parts.iter().any(|part| is_so(&part.state));
    let state = RaidState {
        failed: state(|state| state.failed),
        initing: state(|state| state.initing),
        recovering: state(|state| state.recovering),
        degraded: state(|state| state.degraded),
    };
    let mut rows = vec![Row {
        lun: lun.lun.to_string(),
        label: lun.label.clone().unwrap_or_default(),
        status: status_name(lun.online),
        level: levels.join(","),
        size: gigabytes(lun.size_bytes),
        state: state_word(state),
        ..Row::default()
    }];
    let elements = lun.parts.iter().flat_map(|part| &part.elements);
    for element in elements.filter(|_| long) {
        let drive = element.drive.map(|slot| drive_name(shelf, slot));
        rows.push(Row {
            size: gigabytes(element.size_bytes),
            element: element.id.to_string(),
            drive: drive.unwrap_or_else(|| MISSING.to_owned()),
            state: element.state.name().to_owned(),
            ..Row::default()
        });
    }
    rows
}

/// SRX 7 left out that a RAID is degraded while it recovers: that is why it does.
fn state_word(state: RaidState) -> String {
    let degraded = state.degraded && !state.recovering;
    RaidState { degraded, ..state }.to_string()
}

impl Row {
    fn header() -> Self {
        Self {
            lun: "LUN".to_owned(),
            label: "LABEL".to_owned(),
            status: "STATUS",
            level: "TYPE".to_owned(),
            size: "SIZE(GB)".to_owned(),
            element: "ELEMENT".to_owned(),
            drive: "DRIVE".to_owned(),
            state: "STATE".to_owned(),
        }
    }

    fn line(&self, label_width: usize, state_width: usize, long: bool) -> String {
        let Self {
            lun,
            label,
            status,
            level,
            size,
            element,
            drive,
            state,
        } = self;
        let before = format!("{lun:<3} {label:>label_width$} {status:>8} {level:>8} {size:>10}");
        let elements = if long {
            format!(" {element:>9} {drive:>7}")
        } else {
            String::new()
        };
        format!("{before}{elements} {state:>state_width$}")
    }
}

/// Lists the spares; what is not always there stands behind the columns.
pub(super) fn spares(report: &mut Report, admin: &dyn Admin) {
    let row = |drive: &str, size: &str| format!("{drive:<9} {size:>10}");
    if !admin.spares().is_empty() {
        report.line(row("DRIVE", "SIZE"));
    }
    super::spares::rows(report, admin, row);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raid_that_recovers_is_not_told_to_be_degraded_as_well() {
        let word = |initing, recovering, degraded| {
            state_word(RaidState {
                failed: false,
                initing,
                recovering,
                degraded,
            })
        };
        assert_eq!(word(false, true, true), "recovering");
        assert_eq!(word(false, false, true), "degraded");
        assert_eq!(word(true, false, true), "initing,degraded");
        assert_eq!(word(false, false, false), "normal");
    }
}

//! `terminal` and `events`: how this console shows things. They are of the console, and gone with it.

use crate::command::{Invocation, Verb};
use crate::names::decimal;
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use crate::terminal::Terminal;

/// Shows or changes how this console shows things.
pub(crate) fn terminal(invocation: &Invocation, terminal: &mut Terminal) -> Report {
    let mut report = Report::default();
    let words: Vec<&str> = invocation.operands.iter().map(String::as_str).collect();
    let wrong = || Problem::Usage(invocation.command.usage);
    let switch = |word: &str| match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(wrong()),
    };
    let size = |word: &str, least: u64| {
        let size = decimal(word).filter(|size| (least..=1000).contains(size));
        let size = size.and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| Problem::InvalidSize(word.to_owned()))
    };
    let changed = match (invocation.command.verb, words.as_slice()) {
        (Verb::Events, []) => {
            let line = format!("events {}", word(terminal.shows_events));
            let shown = terminal.shows_events;
            report.row(line, Record::Events { shown });
            Ok(())
        }
        (Verb::Events, [word]) => switch(word).map(|on| terminal.shows_events = on),
        (_, []) => {
            report.row(
                format!(
                    "rows {} columns {} color {}",
                    number(terminal.rows),
                    number(terminal.columns),
                    word(terminal.has_color)
                ),
                Record::Terminal {
                    rows: terminal.rows,
                    columns: terminal.columns,
                    color: terminal.has_color,
                },
            );
            Ok(())
        }
        (_, ["rows", word]) => size(word, 2).map(|rows| terminal.rows = Some(rows)),
        (_, ["columns", word]) => size(word, 20).map(|columns| terminal.columns = Some(columns)),
        (_, ["color", word]) => switch(word).map(|on| terminal.has_color = on),
        _ => Err(wrong()),
    };
    if let Err(problem) = changed {
        report.fail(problem, &[]);
    }
    report
}

/// A size, or that nobody has told it.
fn number(size: Option<usize>) -> String {
    size.map_or_else(|| "-".to_owned(), |size| size.to_string())
}

const fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

//! `help`.

use crate::command::{COMMANDS, Command, find};
use crate::record::Record;
use crate::report::Report;

/// The text of `help series`.
pub const SERIES: &[&str] = &[
    "Two numbers joined by - stand for all numbers from the first to the last. What is left",
    "and right of them goes with each number; the digits of the first are kept.",
    "  1.0-3      1.0 1.1 1.2 1.3",
    "  0-10       0 1 2 3 4 5 6 7 8 9 10",
    "  LV000-2    LV000 LV001 LV002",
    "Inside single quotes nothing is expanded: '1.0-3'. Two quotes inside quotes are one quote.",
];

/// Lists all commands, or tells about one.
pub(super) fn help(report: &mut Report, operands: &[String]) {
    match operands.first().map(String::as_str) {
        None => all(report),
        Some("series") => SERIES.iter().for_each(|line| report.line(*line)),
        Some(word) => match find(word) {
            Ok((command, _)) => one(report, command),
            Err(problem) => report.fail(problem, &[]),
        },
    }
}

fn all(report: &mut Report) {
    for command in COMMANDS {
        report.row(
            format!("{:<8} {}", command.name, command.summary),
            record(command),
        );
    }
    report.line("help COMMAND tells more of a command, help series of series such as 1.0-15");
}

fn one(report: &mut Report, command: &Command) {
    report.row(format!("usage: {}", command.usage), record(command));
    report.line(command.summary);
    if command.is_planned() {
        report.line("-n only tells what would be done");
    }
    if !command.aliases.is_empty() {
        report.line(format!("other names: {}", command.aliases.join(", ")));
    }
    report.line("examples:");
    for example in command.examples {
        report.line(format!("  {example}"));
    }
}

fn record(command: &Command) -> Record {
    Record::Help {
        command: command.name,
        usage: command.usage,
        help: command.summary,
    }
}

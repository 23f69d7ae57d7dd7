//! What a command has to say, and its two renderings: lines of text, or one JSON document.

use crate::problem::Problem;
use crate::record::Record;
use serde::Serialize;

/// Version of the JSON schema.
const SCHEMA: u32 = 1;

/// What a command has to say, before it is rendered.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Report {
    lines: Vec<String>,
    records: Vec<Record>,
    warnings: Vec<String>,
    problems: Vec<Problem>,
}

impl Report {
    /// One row of a listing, as text and as data.
    pub(crate) fn row(&mut self, line: String, record: Record) {
        self.lines.push(line);
        self.records.push(record);
    }

    /// One item of a listing that takes several lines of text.
    pub(crate) fn rows(&mut self, lines: Vec<String>, record: Record) {
        self.lines.extend(lines);
        self.records.push(record);
    }

    /// A line that is only for people.
    pub(crate) fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Something was done, but is likely not what was meant: a line of text, and an entry of `warnings` in
    /// JSON.
    pub(crate) fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        self.lines.push(format!("warning: {warning}"));
        self.warnings.push(warning);
    }

    /// A failure that ends the command; `rest` are the arguments that were not tried.
    pub(crate) fn fail(&mut self, problem: impl Into<Problem>, rest: &[String]) {
        self.problems.push(problem.into());
        if !rest.is_empty() {
            self.problems.push(Problem::Skipped(rest.join(" ")));
        }
    }

    /// Whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.records.is_empty() && self.problems.is_empty()
    }

    /// A step of a plan, as text and as data.
    pub(crate) fn would(&mut self, step: impl Into<String>) {
        let step = step.into();
        self.row(format!("would {step}"), Record::Plan { would: step });
    }

    /// How many things failed; what was skipped because of one is none.
    pub(crate) fn problem_count(&self) -> usize {
        let is_cause = |problem: &&Problem| !matches!(problem, Problem::Skipped(_));
        self.problems.iter().filter(is_cause).count()
    }

    /// What failed first.
    pub(crate) fn first_problem(&self) -> Option<Problem> {
        self.problems.first().cloned()
    }

    /// Whether everything that was asked was done.
    pub(crate) fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    /// The text for a console; lines end in `\n`. Control characters, which may come from a disk or
    /// from the other end of a socket, are shown as `?`: they must not reach a terminal.
    pub(crate) fn text(&self) -> String {
        let problems = self.problems.iter().map(Problem::line);
        let mut text = String::new();
        for line in self.lines.iter().cloned().chain(problems) {
            text.extend(line.chars().map(|c| if c.is_control() { '?' } else { c }));
            text.push('\n');
        }
        text
    }

    /// The JSON document; one line, ends in `\n`. A failed command tells its errors and no data.
    pub(crate) fn json(&self) -> String {
        if self.is_ok() {
            return document(&Document {
                schema: SCHEMA,
                ok: true,
                content: Content::Data(&self.records),
                warnings: &self.warnings,
            });
        }
        let errors: Vec<ErrorRecord> = self.problems.iter().map(ErrorRecord::new).collect();
        document(&Document {
            schema: SCHEMA,
            ok: false,
            content: Content::Errors(&errors),
            warnings: &self.warnings,
        })
    }
}

impl From<Problem> for Report {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            ..Self::default()
        }
    }
}

/// A JSON document of the console's shape for one error, for front ends that fail before they
/// reach a console. One line, ends in `\n`.
#[must_use]
pub fn error_document(code: &'static str, arg: Option<&str>, text: &str) -> String {
    let errors = [ErrorRecord {
        code,
        arg: arg.map(str::to_owned),
        text: text.to_owned(),
    }];
    document(&Document {
        schema: SCHEMA,
        ok: false,
        content: Content::Errors(&errors),
        warnings: &[],
    })
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    ok: bool,
    #[serde(flatten)]
    content: Content<'a>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Content<'a> {
    Data(&'a [Record]),
    Errors(&'a [ErrorRecord]),
}

#[derive(Serialize)]
struct ErrorRecord {
    code: &'static str,
    arg: Option<String>,
    text: String,
}

impl ErrorRecord {
    fn new(problem: &Problem) -> Self {
        Self {
            code: problem.code(),
            arg: problem.arg(),
            text: problem.to_string(),
        }
    }
}

fn document(document: &Document<'_>) -> String {
    let mut text = serde_json::to_string(document)
        .expect("records are strings, numbers and lists: their serialization cannot fail");
    // DEL and the control characters above 127 are allowed in JSON, but what they do to a terminal is not.
    if text.contains(char::is_control) {
        text = text.chars().map(visible).collect();
    }
    text.push('\n');
    text
}

/// A character of a document, escaped if it is a control character. Those stand in strings only.
fn visible(character: char) -> String {
    if character.is_control() {
        format!("\\u{:04x}", u32::from(character))
    } else {
        character.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let mut report = Report::default();
        report.line("a\x1b[2Jb\u{9b}c\r\nd");
        assert_eq!(report.text(), "a?[2Jb?c??d\n");
    }

    /// JSON has escapes for those below 32, and lets the others through.
    #[test]
    fn control_characters_are_escaped_in_json() {
        let document = error_document("unreachable", Some("\u{7f}\u{9b}2J"), "\x1b\n");
        assert!(
            !document.trim_end().contains(char::is_control),
            "{document:?}"
        );
        let value: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(value["errors"][0]["arg"], "\u{7f}\u{9b}2J");
        assert_eq!(value["errors"][0]["text"], "\x1b\n");
    }

    #[test]
    fn front_ends_fail_in_the_same_shape() {
        assert_eq!(
            error_document("unreachable", Some("/run/x"), "no \"daemon\""),
            "{\"schema\":1,\"ok\":false,\"errors\":[{\"code\":\"unreachable\",\"arg\":\"/run/x\",\
             \"text\":\"no \\\"daemon\\\"\"}]}\n"
        );
    }
}

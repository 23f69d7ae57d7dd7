//! The conformance rows, and the code and tests that name them.
//!
//! A test that shows a row of the conformance list says so in its name: `row_118_…`,
//! `rows_68_to_71_…`, `rows_84_85_86_…`, `rows_8_and_10_to_17_…`; or in the comment above it, which names
//! rows in words, as comments in the code do. `crates/aoe/COMPLIANCE.md` is made of that, and must be up to
//! date: `COMPLIANCE=write cargo test -p tidy rows` writes it.

use crate::no_objections;
use crate::tree::{self, File};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The rows of the conformance list of the AoE target.
const ROWS: std::ops::RangeInclusive<u16> = 1..=130;

/// The list: number, level, statement.
const LIST: &str = include_str!("rows.txt");

/// The table, in the checkout.
const TABLE: &str = "crates/aoe/COMPLIANCE.md";

/// What is done where a row leaves a choice, and what is not done.
const EXCEPTIONS: &[(u16, &str)] = &[
    (4, "silence, counted as `bad_version`"),
    (24, "silence, counted as `runts`"),
    (43, "error 2"),
    (44, "error 2"),
    (53, "error 2"),
    (85, "ABRT"),
    (86, "ABRT"),
    (92, "ABRT"),
    (
        103,
        "LUNs with a part that has parity abort it and do not offer it in IDENTIFY (words 69, 105, 169): what \
         is trimmed there would have to be written, through the redo log",
    ),
    (
        116,
        "a LUN that fails while it is served answers with a fault; one that is removed, offline, or not served \
         after a start because too many members are missing, is silent: a host waits as long as it does, and \
         goes on when the LUN is back",
    ),
    (
        124,
        "that I/O goes on about 10 s after a path was lost is the Linux driver's time, not ours",
    ),
];

/// Who names a row.
#[derive(Default)]
struct Named {
    /// Files whose code does.
    code: BTreeSet<String>,
    /// Tests, and their files.
    tests: BTreeSet<String>,
}

#[test]
fn rows_are_shown_by_tests_and_the_table_says_by_which() {
    let mut objections = Vec::new();
    let mut named: BTreeMap<u16, Named> = BTreeMap::new();
    for file in tree::rust_files() {
        if file.package() != Some("tidy") {
            gather(&file, &mut named, &mut objections);
        }
    }
    for row in ROWS {
        let is_tested = named.get(&row).is_some_and(|named| !named.tests.is_empty());
        if !is_tested {
            objections.push(format!("row {row} has no test"));
        }
    }
    let table = table(&named);
    let path = tree::root().join(TABLE);
    if std::env::var_os("COMPLIANCE").is_some_and(|word| word == "write") {
        std::fs::write(&path, &table).expect("the checkout can be written");
    }
    if std::fs::read_to_string(&path).ok().as_deref() != Some(&table) {
        let how = "COMPLIANCE=write cargo test -p tidy rows";
        objections.push(format!("{TABLE} is out of date; write it by: {how}"));
    }
    no_objections(&objections);
}

/// Notes which rows a file names.
fn gather(file: &File, named: &mut BTreeMap<u16, Named>, objections: &mut Vec<String>) {
    // Rows of the comment above a test, until its name comes.
    let mut above = Vec::new();
    let mut is_test = false;
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim_start();
        let mut note = |rows: Vec<u16>, test: Option<&str>| {
            for row in rows {
                if !ROWS.contains(&row) {
                    objections.push(format!("{}there is no row {row}", file.at(index)));
                    continue;
                }
                let named = named.entry(row).or_default();
                match test {
                    Some(name) => named.tests.insert(format!("`{name}` ({})", file.name)),
                    None if file.is_source() => named.code.insert(file.name.clone()),
                    None => false,
                };
            }
        };
        if line == "#[test]" {
            is_test = true;
        } else if let Some(signature) = line.strip_prefix("fn ") {
            let name = signature.split(['(', '<']).next().unwrap_or(signature);
            let rows = std::mem::take(&mut above);
            if std::mem::take(&mut is_test) {
                note(rows, Some(name));
            }
            if test_name(signature).is_some() {
                note(rows_in(name, '_'), Some(name));
            }
        } else if let Some(text) = comment(line) {
            let rows = rows_in_words(text);
            note(rows.clone(), None);
            if line.starts_with("///") {
                above.extend(rows);
            }
        } else if !line.starts_with('#') {
            above.clear();
            is_test = false;
        }
    }
}

/// The table, whole.
fn table(named: &BTreeMap<u16, Named>) -> String {
    let mut text = String::from(
        "# Conformance\n\nMade by `COMPLIANCE=write cargo test -p tidy rows` from the comments and tests that \
         name rows; a test fails when it is out of\ndate. M: a target that fails this breaks a real initiator \
         or tool; S: should; O: optional.\n\n| row | | statement | code | tests |\n| --- | --- | --- | --- | \
         --- |\n",
    );
    let nobody = Named::default();
    for line in LIST.lines() {
        let mut fields = line.splitn(3, '\t');
        let mut next = || fields.next().expect("a number, a level and a statement");
        let (number, level, statement) = (next(), next(), next());
        let row: u16 = number.parse().expect("rows have numbers");
        let named = named.get(&row).unwrap_or(&nobody);
        let code = joined(&named.code);
        let tests = joined(&named.tests);
        let statement = statement.replace('|', "\\|");
        writeln!(
            text,
            "| {number} | {level} | {statement} | {code} | {tests} |"
        )
        .expect("a string takes any text");
    }
    text.push_str("\n## Exceptions\n\nWhat is done where a row leaves a choice, and what is not done.\n\n| row | |\n| --- | --- |\n");
    for (row, why) in EXCEPTIONS {
        writeln!(text, "| {row} | {why} |").expect("a string takes any text");
    }
    text
}

fn joined(words: &BTreeSet<String>) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.join("<br>")
}

/// The name of a function that is named for rows.
fn test_name(signature: &str) -> Option<&str> {
    let end = signature.find(['(', '<'])?;
    let name = &signature[..end];
    (name.starts_with("row_") || name.starts_with("rows_")).then_some(name)
}

/// The text of a line's comment.
fn comment(line: &str) -> Option<&str> {
    line.split_once("//").map(|(_, text)| text)
}

/// The rows of each `row 16`, `rows 25 to 46`, `rows 1 to 4 and 18` in a text.
fn rows_in_words(text: &str) -> Vec<u16> {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || "()[].;:".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    let mut rows = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if matches!(*word, "row" | "rows") {
            rows.extend(rows_in(&words[index..].join(" "), ' '));
        }
    }
    rows
}

/// The numbers after the first word, up to the first word that is neither a number, `to` nor `and`.
fn rows_in(text: &str, separator: char) -> Vec<u16> {
    let mut rows: Vec<u16> = Vec::new();
    let mut is_range = false;
    for word in text.split([separator, ',']).skip(1) {
        match (word.parse(), word) {
            (Ok(last), _) if is_range => {
                let first = rows.last().map_or(last, |row| row + 1);
                rows.extend(first..=last);
                is_range = false;
            }
            (Ok(row), _) => rows.push(row),
            (Err(_), "to") => is_range = true,
            (Err(_), "and" | "") => {}
            (Err(_), _) => break,
        }
    }
    rows
}

#[test]
fn rows_are_read_from_names_and_from_words() {
    assert_eq!(rows_in("row_118_addresses_10", '_'), [118]);
    assert_eq!(
        rows_in("rows_8_and_10_to_12_addressing", '_'),
        [8, 10, 11, 12]
    );
    assert_eq!(rows_in("rows_84_85_sector_counts", '_'), [84, 85]);
    assert_eq!(
        rows_in_words(" rows 1 to 3 and 18: row 7, no more"),
        [1, 2, 3, 18, 7]
    );
    assert_eq!(rows_in_words(" eight in a row; rows 85, 86"), [85, 86]);
}

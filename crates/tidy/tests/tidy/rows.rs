//! The conformance rows that tests name.
//!
//! A test that shows a row of the conformance list says so in its name: `row_118_…`,
//! `rows_68_to_71_…`, `rows_84_85_86_…`, `rows_8_and_10_to_17_…`. Comments name rows in words. The
//! table of rows and tests is printed by `cargo test -p tidy rows -- --nocapture`.

use crate::no_objections;
use crate::tree;
use std::collections::BTreeMap;

/// The rows of the conformance list of the AoE target.
const ROWS: std::ops::RangeInclusive<u16> = 1..=130;

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the table is what one runs this test for"
)]
fn rows_that_are_named_exist() {
    let mut objections = Vec::new();
    let mut table: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for file in tree::rust_files() {
        if file.package() == Some("tidy") {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            let test = line.trim_start().strip_prefix("fn ").and_then(test_name);
            let named = match test {
                Some(name) => rows_in(name, '_'),
                None => comment(line).map_or(Vec::new(), rows_in_words),
            };
            for row in named {
                if !ROWS.contains(&row) {
                    objections.push(format!("{}there is no row {row}", file.at(index)));
                } else if let Some(name) = test {
                    let place = file.at(index);
                    let place = place.trim_end_matches([':', ' ']);
                    table
                        .entry(row)
                        .or_default()
                        .push(format!("{name} ({place})"));
                }
            }
        }
    }
    no_objections(&objections);
    assert!(!table.is_empty(), "no test names a row");
    for (row, tests) in &table {
        println!("{row:>3}  {}", tests.join("\n     "));
    }
    let without: Vec<String> = ROWS
        .filter(|row| !table.contains_key(row))
        .map(|row| row.to_string())
        .collect();
    println!(
        "{} of {} rows are named by tests",
        table.len(),
        ROWS.count()
    );
    println!("not named: {}", without.join(" "));
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

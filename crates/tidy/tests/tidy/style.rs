//! Widths, lengths, headers, leftovers and names that have no place here.

use crate::no_objections;
use crate::tree::{self, File};

/// Columns of code, as in rustfmt.toml.
const CODE_COLUMNS: usize = 100;
/// Columns of a comment.
const COMMENT_COLUMNS: usize = 110;
/// Columns of what rustfmt leaves as it is: lines with a string, and the arguments of macros.
const UNFORMATTED_COLUMNS: usize = 140;
/// Lines of a file.
const LINES_MAX: usize = 1000;

#[test]
fn no_line_is_too_wide_and_no_file_too_long() {
    let mut objections = Vec::new();
    for file in tree::files(&[".rs", ".c"]) {
        for (index, line) in file.text.lines().enumerate() {
            let (columns, limit) = (line.chars().count(), columns_allowed(&file, line));
            if columns > limit {
                objections.push(format!(
                    "{}{columns} columns, at most {limit}",
                    file.at(index)
                ));
            }
        }
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            objections.push(format!("{}: {lines} lines, at most {LINES_MAX}", file.name));
        }
    }
    no_objections(&objections);
}

/// rustfmt itself objects to plain code that is too wide; it does not look at the rest.
fn columns_allowed(file: &File, line: &str) -> usize {
    if file.name.ends_with(".c") {
        CODE_COLUMNS
    } else if line.trim_start().starts_with("//") {
        COMMENT_COLUMNS
    } else {
        UNFORMATTED_COLUMNS
    }
}

#[test]
fn every_module_says_what_it_is() {
    let mut objections = Vec::new();
    for file in tree::rust_files() {
        let opens = file.text.strip_prefix("//! ").is_some_and(|rest| {
            let line = rest.lines().next().unwrap_or_default();
            line.chars().any(char::is_alphabetic)
        });
        if !opens {
            objections.push(format!(
                "{}: does not open with `//! ` and what it is",
                file.name
            ));
        }
    }
    no_objections(&objections);
}

#[test]
fn bpf_programs_name_their_licence() {
    let mut programs = tree::files(&[".c", ".h"]);
    programs.retain(|file| file.name.starts_with("bpf/"));
    assert!(!programs.is_empty(), "no program in bpf/");
    let mut objections = Vec::new();
    for file in programs {
        let line = "// SPDX-License-Identifier: MIT OR GPL-2.0-only\n";
        if !file.text.starts_with(line) {
            objections.push(format!("{}: first line is not {line:?}", file.name));
        }
    }
    no_objections(&objections);
}

#[test]
fn nothing_is_left_to_do() {
    // In pieces, so that they are not found here.
    let marks = [
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("TO", "DO"),
    ];
    let macros = ["todo!", "unimplemented!", "#[ignore"];
    let mut objections = Vec::new();
    for file in tree::files(&[".rs", ".c", ".h", ".sh"]) {
        for (index, line) in file.text.lines().enumerate() {
            for word in tree::words(line).filter(|word| marks.contains(word)) {
                objections.push(format!("{}{word}", file.at(index)));
            }
        }
        if !file.name.ends_with(".rs") {
            continue;
        }
        for (index, line) in file.code().iter().enumerate() {
            let dense: String = line.split_whitespace().collect();
            for word in macros.iter().filter(|word| dense.contains(**word)) {
                objections.push(format!("{}{word}", file.at(index)));
            }
        }
    }
    no_objections(&objections);
}

#[test]
fn nothing_depends_on_the_machine_it_was_written_on() {
    // In pieces, so that they are not found here.
    let paths = [
        concat!("/wo", "rk/"),
        concat!("/tmp", "/t/"),
        concat!("/root", "/"),
    ];
    let endings = [
        ".rs", ".c", ".h", ".toml", ".md", ".sh", ".service", ".yml", "Makefile", "run",
    ];
    let mut objections = Vec::new();
    for file in tree::files(&endings) {
        for (index, line) in file.text.lines().enumerate() {
            for path in paths.iter().filter(|path| line.contains(**path)) {
                objections.push(format!(
                    "{}path {path} of somebody's machine",
                    file.at(index)
                ));
            }
            for host in hosts(line).filter(|host| !is_public(host)) {
                objections.push(format!("{}host {host} is not a public one", file.at(index)));
            }
        }
    }
    no_objections(&objections);
}

/// The hosts of the URLs in a line.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    line.split("://").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-.@:".contains(c));
        let authority = &rest[..end.unwrap_or(rest.len())];
        let host = authority.rsplit('@').next().unwrap_or_default();
        host.split(':')
            .next()
            .unwrap_or_default()
            .trim_end_matches('.')
    })
}

/// Whether a host is a name under a public top level domain, left open (`http://{host}`), or one
/// letter, as tests of URLs use it.
fn is_public(host: &str) -> bool {
    let private = [
        "internal",
        "intranet",
        "local",
        "localdomain",
        "lan",
        "corp",
        "home",
    ];
    match host.rsplit_once('.') {
        None => host.len() <= 1,
        Some((_, top)) => top.chars().all(char::is_alphabetic) && !private.contains(&top),
    }
}

#[test]
fn dependencies_come_from_the_public_registry() {
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    for file in tree::files(&["Cargo.lock"]) {
        let sources = file
            .text
            .lines()
            .filter(|line| line.starts_with("source = "));
        assert!(sources.clone().count() > 0, "{} names no source", file.name);
        for source in sources {
            assert_eq!(source, public, "{}", file.name);
        }
    }
}

#[test]
fn hosts_are_told_apart() {
    // Put together here, so that the private one is not found by the test above.
    let line = "see https|docs.kernel.org/x and http|user@mirror.internal:80/y, file|/z";
    let line = line.replace('|', "://");
    let found: Vec<&str> = hosts(&line).collect();
    assert_eq!(found, ["docs.kernel.org", "mirror.internal", ""]);
    let public: Vec<bool> = found.iter().map(|host| is_public(host)).collect();
    assert_eq!(public, [true, false, true]);
    assert!(!is_public("localhost") && !is_public("10.0.0.1"));
}

//! Leaf and core packages are sans-I/O: no file, socket, thread, clock or logger.
//!
//! They take `now` and bytes, and return actions. That is what lets a test replay any order of
//! frames, completions and failures.

use crate::direction::PURE_PACKAGES;
use crate::no_objections;
use crate::tree;

/// Modules of `std` that reach out of the process, or wait.
const MODULES: &[&str] = &["env", "fs", "net", "os", "process", "thread"];

/// Words that no code of these packages needs.
const WORDS: &[&str] = &["Instant", "SystemTime", "tracing"];

/// Macros that write to the terminal; `eprintln!` ends in one of them.
const MACROS: &[&str] = &["print!", "println!", "dbg!"];

#[test]
fn leaf_and_core_packages_do_no_io_and_know_no_time() {
    let mut objections = Vec::new();
    for file in tree::rust_files() {
        let pure = file
            .package()
            .is_some_and(|name| PURE_PACKAGES.contains(&name));
        if !pure || !file.is_source() {
            continue;
        }
        let code = file.code();
        for (index, line) in code.iter().enumerate() {
            let words = tree::words(line).filter(|word| WORDS.contains(word));
            let macros = MACROS.iter().copied().filter(|name| line.contains(name));
            for word in words.chain(macros) {
                objections.push(format!("{}`{word}` in a sans-I/O package", file.at(index)));
            }
        }
        for module in std_modules(&code.join("\n")) {
            if MODULES.contains(&module.as_str()) {
                objections.push(format!(
                    "{}: `std::{module}` in a sans-I/O package",
                    file.name
                ));
            }
        }
    }
    no_objections(&objections);
}

/// The first name after each `std::`, also of those that a `use std::{…}` lists.
fn std_modules(code: &str) -> Vec<String> {
    let dense: String = code.split_whitespace().collect();
    let mut modules = Vec::new();
    for (start, _) in dense.match_indices("std::") {
        let rest = &dense[start + "std::".len()..];
        let mut depth = 0_usize;
        let mut expects_name = true;
        let mut name = String::new();
        for c in rest.chars() {
            let in_name = c.is_alphanumeric() || c == '_';
            if in_name && expects_name {
                name.push(c);
                continue;
            }
            if !name.is_empty() {
                modules.push(std::mem::take(&mut name));
                expects_name = false;
            }
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                ',' if depth == 1 => expects_name = true,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        modules.extend(Some(name).filter(|name| !name.is_empty()));
    }
    modules
}

#[test]
fn modules_are_found_in_paths_and_in_lists() {
    let found = |code| std_modules(code).join(" ");
    assert_eq!(found("use std::fs::File;"), "fs");
    assert_eq!(
        found("use std::{\n io::{self, net},\n thread, };"),
        "io thread"
    );
    assert_eq!(
        found("std::env::args(); x::<std::net::IpAddr>()"),
        "env net"
    );
    assert_eq!(found("let std = 1;"), "");
}

//! Unsafe code lives in named files, and each use says why it is sound.

use crate::no_objections;
use crate::tree::{self, File};

/// The files that may hold unsafe code: one to a package, with its submodules.
const PLACES: &[&str] = &[
    "crates/disk/src/uring.rs",
    "crates/port/src/ring.rs",
    "crates/port/src/ring/shared.rs",
    "crates/port/src/ring/umem.rs",
    "crates/raid/src/simd.rs",
];

#[test]
fn unsafe_code_lives_only_in_its_places_and_is_explained() {
    let mut objections = Vec::new();
    for file in tree::rust_files() {
        for index in unsafe_lines(&file) {
            if !PLACES.contains(&file.name.as_str()) {
                objections.push(format!("{}unsafe code; only in {PLACES:?}", file.at(index)));
            } else if !is_explained(&file, index) {
                objections.push(format!("{}no SAFETY comment right above", file.at(index)));
            }
        }
        let allows = file.code().iter().any(|line| {
            let line: String = line.split_whitespace().collect();
            line.contains("allow(unsafe_code") || line.contains("expect(unsafe_code")
        });
        if allows && !PLACES.contains(&file.name.as_str()) {
            objections.push(format!("{}: allows unsafe code", file.name));
        }
    }
    no_objections(&objections);
}

#[test]
fn crates_without_a_place_for_unsafe_code_forbid_it() {
    let mut objections = Vec::new();
    let files = tree::rust_files();
    for file in files.iter().filter(|file| is_crate_root(&file.name)) {
        let package = file.package().unwrap_or_default();
        let has_place = files
            .iter()
            .any(|other| other.package() == Some(package) && PLACES.contains(&other.name.as_str()));
        let forbids = file
            .code()
            .iter()
            .any(|line| line == "#![forbid(unsafe_code)]");
        if !has_place && !forbids {
            objections.push(format!("{}: no `#![forbid(unsafe_code)]`", file.name));
        }
    }
    no_objections(&objections);
}

/// `src/lib.rs`, `src/main.rs`, `src/bin/name.rs` and `src/bin/name/main.rs` of a package.
fn is_crate_root(name: &str) -> bool {
    let names: Vec<&str> = name.split('/').skip(2).collect();
    matches!(
        names.as_slice(),
        ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] | ["src", "bin", _, "main.rs"]
    )
}

/// The lines whose code says `unsafe`.
fn unsafe_lines(file: &File) -> Vec<usize> {
    let code = file.code();
    let says = |line: &String| tree::words(line).any(|word| word == "unsafe");
    (0..code.len())
        .filter(|index| says(&code[*index]))
        .collect()
}

/// Whether a comment with the word stands right above the statement or item that holds the line.
fn is_explained(file: &File, index: usize) -> bool {
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let mut above = lines[..index].iter().rev();
    // The line may be the continuation of a statement, and an item may have attributes.
    let mut comment = above.by_ref().skip_while(|line| {
        let begins_here = line.is_empty() || line.ends_with([';', '{', '}']);
        line.starts_with("#[") || !(begins_here || line.starts_with("//"))
    });
    let mut comment = comment.by_ref().take_while(|line| line.starts_with("//"));
    comment.any(|line| line.contains("SAFETY: ") || line.contains("# Safety"))
}

#[test]
fn a_comment_counts_only_right_above_its_statement() {
    let explained = |text: &str| {
        let (name, text) = ("x.rs".to_owned(), text.to_owned());
        let file = File { name, text };
        let lines = unsafe_lines(&file);
        assert_eq!(lines.len(), 1, "{}", file.text);
        is_explained(&file, lines[0])
    };
    assert!(explained("// SAFETY: a\n// b\nunsafe { f() }"));
    assert!(explained("// SAFETY: a\nlet x =\n    unsafe { f() };"));
    assert!(explained("// SAFETY: a\n#[inline]\nunsafe impl X for Y {}"));
    assert!(!explained("unsafe { f() } // SAFETY: a"));
    assert!(!explained("// SAFETY: a\n\nunsafe { f() }"));
    assert!(!explained(
        "// SAFETY: a\ng();\nlet x =\n    unsafe { f() };"
    ));
    assert!(!explained("// a\nunsafe { f() }"));
}

//! The files of the checkout.
//!
//! Not the files that git knows: a file is checked before it is first committed, and an unpacked
//! archive has no history. What a build or a fuzzer leaves behind is left out.

use crate::lexer;
use std::path::{Path, PathBuf};

/// A text file of the checkout.
pub(crate) struct File {
    /// Path from the root of the checkout, with `/` between names.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) text: String,
}

impl File {
    /// `name:line: ` of the line at `index`, counted from 0.
    pub(crate) fn at(&self, index: usize) -> String {
        format!("{}:{}: ", self.name, index + 1)
    }

    /// Its code line by line, with comments and the contents of strings blanked.
    pub(crate) fn code(&self) -> Vec<String> {
        let code = lexer::code_only(&self.text);
        code.lines().map(str::to_owned).collect()
    }

    /// Its package: `crates/aoe/src/lib.rs` and `bench/aoeload/src/main.rs` are of `aoe` and
    /// `aoeload`.
    pub(crate) fn package(&self) -> Option<&str> {
        let mut names = self.name.split('/');
        let in_package = matches!(names.next(), Some("crates" | "bench"));
        names.next().filter(|_| in_package)
    }

    /// Whether it is compiled into its package, rather than only into a test of it.
    pub(crate) fn is_source(&self) -> bool {
        let mut names = self.name.split('/').skip(2);
        let in_source = names.next() == Some("src");
        in_source && !names.any(|name| name == "tests" || name.ends_with("tests.rs"))
    }
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every text file whose name ends in one of `endings`, sorted by name.
pub(crate) fn files(endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    let root = root();
    collect(&root, &root, endings, &mut found);
    assert!(!found.is_empty(), "no {endings:?} below {}", root.display());
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// Every Rust file.
pub(crate) fn rust_files() -> Vec<File> {
    files(&[".rs"])
}

fn collect(root: &Path, directory: &Path, endings: &[&str], found: &mut Vec<File>) {
    let entries = std::fs::read_dir(directory).expect("a directory of the checkout is readable");
    for entry in entries {
        let path = entry
            .expect("a directory of the checkout is readable")
            .path();
        let name = path.strip_prefix(root).expect("the walk began at the root");
        let name = name.to_str().expect("names are UTF-8").to_owned();
        if path.is_dir() && !path.is_symlink() {
            if !is_generated(&path, &name) {
                collect(root, &path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            // Anything else than text is data of a test; nothing here applies to it.
            if let Ok(text) = std::fs::read_to_string(&path) {
                found.push(File { name, text });
            }
        }
    }
}

/// Whether a directory holds what a tool made. Build directories mark themselves with a tag;
/// `target` itself will not do, because the data path has a module of that name.
fn is_generated(path: &Path, name: &str) -> bool {
    let hidden = name != ".ci"
        && name
            .rsplit('/')
            .next()
            .is_some_and(|last| last.starts_with('.'));
    let fuzzer = matches!(
        name,
        "fuzz/corpus" | "fuzz/work" | "fuzz/artifacts" | "fuzz/coverage"
    );
    hidden || fuzzer || name == "target" || path.join("CACHEDIR.TAG").exists()
}

/// The identifiers and keywords of a line of code.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

//! The pages are read by `man` without a warning, and tell of everything.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests; a panic is the failure of the test"
)]

use console::command::COMMANDS;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const PROGRAMS: [&str; 5] = [
    "ledged.8",
    "ledge.8",
    "cec.8",
    "aoeload.1",
    "ledge-recover.8",
];

fn generate() -> TempDir {
    let directory = TempDir::new().expect("a temporary directory");
    let manual = Command::new(env!("CARGO_BIN_EXE_manual"))
        .arg(directory.path())
        .output()
        .expect("the generator runs");
    assert!(manual.status.success(), "{manual:?}");
    directory
}

/// What `man` makes of a page, 100 columns wide.
fn read(page: &Path) -> Output {
    let mut man = Command::new("man");
    man.args(["--warnings", "-E", "UTF-8", "-l"]).arg(page);
    man.env("LC_ALL", "C.UTF-8")
        .env("MANWIDTH", "100")
        .env_remove("MAN_KEEP_FORMATTING");
    man.output()
        .expect("man-db is installed: deploy/packages.sh test")
}

fn text(page: &Path) -> String {
    let output = read(page);
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && complaints.is_empty(),
        "{}: {complaints}",
        page.display()
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn every_page_is_read_without_a_warning() {
    let directory = generate();
    let man = directory.path().join("man");
    let names: BTreeSet<_> = fs::read_dir(&man)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let wanted: BTreeSet<_> = PROGRAMS
        .iter()
        .chain(&["ledge-console.7"])
        .map(Into::into)
        .collect();
    assert_eq!(names, wanted);
    for name in PROGRAMS {
        let page = text(&man.join(name));
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
            assert!(
                page.contains(&format!("\n{section}\n")),
                "{name} has no {section}:\n{page}"
            );
        }
    }
}

/// A page that is wrong is noticed.
#[test]
fn man_warns_of_what_is_wrong() {
    let directory = TempDir::new().expect("a temporary directory");
    let page = directory.path().join("wrong.1");
    fs::write(
        &page,
        ".TH wrong 1\n.SH NAME\nwrong \\- nothing\n.NOSUCHMACRO\n",
    )
    .unwrap();
    assert!(!read(&page).stderr.is_empty());
}

#[test]
fn each_command_of_the_language_has_its_section() {
    let directory = generate();
    let page = text(&directory.path().join("man/ledge-console.7"));
    let dense = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for command in COMMANDS {
        assert!(
            page.contains(&format!("\n   {}\n", command.name)),
            "no section {}",
            command.name
        );
        let usage = command
            .usage
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(dense.contains(&usage), "{usage}");
        for example in command.examples {
            assert!(page.contains(&format!("{example}\n")), "{example}");
        }
    }
}

#[test]
fn shells_complete_options_and_commands() {
    let directory = generate();
    for name in PROGRAMS {
        let name = name.split('.').next().unwrap();
        for script in [
            format!("bash/{name}"),
            format!("zsh/_{name}"),
            format!("fish/{name}.fish"),
        ] {
            assert!(directory.path().join(&script).exists(), "{script}");
        }
        let script = directory.path().join("bash").join(name);
        let checked = Command::new("bash")
            .arg("-n")
            .arg(&script)
            .output()
            .unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }
    // As a shell does when Tab is pressed.
    let ask = |words: &str| {
        let script = format!(
            "source {}/bash/ledge; COMP_WORDS=(ledge {words}); COMP_CWORD=1; \
             _ledge ledge {words} ledge; echo \"${{COMPREPLY[@]}}\"",
            directory.path().display()
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert_eq!(ask("--so").trim(), "--socket");
    assert_eq!(ask("onl").trim(), "online");
}

//! `manual DIRECTORY`: writes the manual pages of all programs and of the console's language, and the
//! completions for shells, into `man`, `bash`, `zsh` and `fish` below a directory.
//!
//! * Pages and completions of programs come from their command lines, which are compiled in from their own
//!   source files; those of the language from its command table. Nothing is told twice.
//! * What is written depends on nothing but the source: no time, no host.
#![forbid(unsafe_code)]

mod language;
mod programs;

use anyhow::{Context, bail};
use clap_complete::Shell;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory] = arguments.as_slice() else {
        return complain("usage: manual DIRECTORY");
    };
    match write_all(Path::new(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("error: {error:#}")),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the one place where this program speaks"
)]
fn complain(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}

/// Writes everything.
fn write_all(directory: &Path) -> anyhow::Result<()> {
    for program in programs::all() {
        let page = programs::page(&program)?;
        write(
            directory,
            "man",
            &format!("{}.{}", program.name, program.section),
            &page,
        )?;
        for (shell, folder) in [
            (Shell::Bash, "bash"),
            (Shell::Zsh, "zsh"),
            (Shell::Fish, "fish"),
        ] {
            let mut script = Vec::new();
            let mut command = program.command.clone();
            clap_complete::generate(shell, &mut command, program.name, &mut script);
            let name = match shell {
                Shell::Zsh => format!("_{}", program.name),
                Shell::Fish => format!("{}.fish", program.name),
                _ => program.name.to_owned(),
            };
            write(directory, folder, &name, &script)?;
        }
    }
    write(
        directory,
        "man",
        "ledge-console.7",
        language::page().as_bytes(),
    )
}

fn write(directory: &Path, folder: &str, name: &str, content: &[u8]) -> anyhow::Result<()> {
    if content.is_empty() {
        bail!("{folder}/{name} would be empty");
    }
    let folder = directory.join(folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(name);
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
}

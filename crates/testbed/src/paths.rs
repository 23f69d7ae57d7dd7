//! Where the rig finds our own programs and keeps its cache.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The directory of the running test's profile, e.g. `target/debug`: test programs live in its
/// `deps`, our binaries directly in it.
fn profile_dir() -> Result<PathBuf> {
    let executable = env::current_exe().context("the test's own path")?;
    let directory = executable.parent().context("the test's own directory")?;
    let profile = match directory.file_name() {
        Some(name) if name == "deps" || name == "examples" => directory.parent(),
        _ => Some(directory),
    };
    Ok(profile
        .context("the test does not lie in a cargo target directory")?
        .to_owned())
}

/// Cargo's target directory.
///
/// # Errors
/// The test program does not lie in a cargo target directory.
pub fn target_dir() -> Result<PathBuf> {
    let profile = profile_dir()?;
    Ok(profile
        .parent()
        .context("the profile directory has no parent")?
        .to_owned())
}

/// The directory for downloaded kernels and built guest images: `LEDGE_VM_CACHE`, or `vm-cache`
/// in the target directory.
///
/// # Errors
/// Neither is there.
pub fn cache_dir() -> Result<PathBuf> {
    match env::var_os("LEDGE_VM_CACHE") {
        Some(directory) if !directory.is_empty() => Ok(PathBuf::from(directory)),
        _ => Ok(target_dir()?.join("vm-cache")),
    }
}

/// One of our own binaries (`ledged`, `ledge`, `cec`, `aoeload`): in `LEDGE_BIN_DIR` when that is
/// set and nowhere else; otherwise beside this test, in the same profile first.
///
/// # Errors
/// Not built: lists the places searched and the command that builds it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let directories = match env::var_os("LEDGE_BIN_DIR") {
        Some(directory) if !directory.is_empty() => vec![PathBuf::from(directory)],
        _ => {
            let target = target_dir()?;
            vec![profile_dir()?, target.join("debug"), target.join("release")]
        }
    };
    first_file(&directories, name)
}

fn first_file(directories: &[PathBuf], name: &str) -> Result<PathBuf> {
    let mut found = directories.iter().map(|directory| directory.join(name));
    if let Some(path) = found.find(|path| path.is_file()) {
        return path
            .canonicalize()
            .with_context(|| path.display().to_string());
    }
    let places: Vec<String> = directories
        .iter()
        .map(|d| d.display().to_string())
        .collect();
    bail!(
        "{name} is not built: looked in {}. Build it with `cargo build --workspace --bins`, \
         or name its directory in LEDGE_BIN_DIR",
        places.join(", ")
    )
}

/// Waits until no other test of this target directory holds a virtual machine; released by dropping.
/// Two emulated machines on two cores would only wait for each other.
///
/// # Errors
/// The lock file cannot be made.
pub fn lock_vm() -> Result<File> {
    let path = target_dir()?.join("vm.lock");
    let lock = File::create(&path).with_context(|| path.display().to_string())?;
    lock.lock().with_context(|| path.display().to_string())?;
    Ok(lock)
}

/// The last component of a path as text, for messages.
pub(crate) fn base_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_is_found_in_the_first_directory_that_has_it() {
        let first = tempfile::tempdir().unwrap();
        let second = tempfile::tempdir().unwrap();
        std::fs::write(second.path().join("ledged"), "").unwrap();
        let directories = [first.path().to_owned(), second.path().to_owned()];
        let found = first_file(&directories, "ledged").unwrap();
        assert_eq!(found, second.path().canonicalize().unwrap().join("ledged"));
    }

    #[test]
    fn an_unbuilt_binary_names_the_command_that_builds_it() {
        let empty = tempfile::tempdir().unwrap();
        let error = first_file(&[empty.path().to_owned()], "ledged")
            .unwrap_err()
            .to_string();
        assert!(error.contains("cargo build"), "{error}");
        assert!(
            error.contains(&empty.path().display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn the_target_directory_holds_this_test() {
        let target = target_dir().unwrap();
        assert!(env::current_exe().unwrap().starts_with(&target));
    }
}

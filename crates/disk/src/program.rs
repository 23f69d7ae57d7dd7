//! Programs of the system that are run, and waited for only so long.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether one has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// Who runs programs in our stead.
static STAND_IN: OnceLock<PathBuf> = OnceLock::new();

/// Has everything that is asked of drives and their slots done by a program that has the rights for it: as
/// `PROGRAM --ask smartctl OPTION… DEVICE`, `PROGRAM --ask ledctl …`, and `PROGRAM --ask led FILE 0` or
/// `1`. It says what the other program says, and ends as that does.
///
/// To be said before the first is run; once it was said it stays so.
pub fn ask_by(program: PathBuf) {
    drop(STAND_IN.set(program));
}

/// That program, if there is one.
pub(crate) fn stand_in() -> Option<Command> {
    let mut command = Command::new(STAND_IN.get()?);
    command.arg("--ask");
    Some(command)
}

/// What runs a program; `None` when it is not installed.
pub(crate) fn command(name: &OsStr) -> Option<Command> {
    let program = find(name)?;
    let stand_in = stand_in().map(|mut command| {
        command.arg(name);
        command
    });
    Some(stand_in.unwrap_or_else(|| Command::new(program)))
}

/// Finds a program, also in the directories of administration, which the `PATH` of a plain `su` lacks; as it
/// is when it is a path already.
///
/// It is looked for here, and not by a `PATH` of the child: so the child is started without a copy of our
/// page tables, which would hold up the workers.
fn find(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(name.into());
    }
    let mut directories = std::env::var_os("PATH").unwrap_or_default();
    directories.push(":/usr/local/sbin:/usr/sbin:/sbin");
    let paths = std::env::split_paths(&directories).map(|directory| directory.join(name));
    let can_run = |path: &PathBuf| {
        let metadata = path.metadata();
        metadata.is_ok_and(|of| of.is_file() && of.permissions().mode() & 0o111 != 0)
    };
    paths.filter(|path| path.is_absolute()).find(can_run)
}

/// Waits for a process so long; whether it has ended.
///
/// # Errors
/// The kernel does not tell.
pub fn ends(child: &mut Child, patience: Duration) -> io::Result<bool> {
    let until = Instant::now() + patience;
    loop {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_where_they_are() {
        let found = find(OsStr::new("sh")).unwrap();
        assert!(found.is_absolute() && found.ends_with("sh"));
        let given = find(OsStr::new("/nowhere/sh"));
        assert_eq!(given, Some(PathBuf::from("/nowhere/sh")));
        assert_eq!(find(OsStr::new("no-such-program-at-all")), None);
        assert_eq!(find(OsStr::new("sbin")), None, "a directory is none");
    }
}

//! Programs of the system that are run, and waited for only so long.

use std::ffi::OsString;
use std::io;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether one has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// Where programs are looked for: the `PATH` of a plain `su` lacks the directories of administration.
pub(crate) fn search() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// Waits for a process so long; whether it has ended.
pub(crate) fn ends(child: &mut Child, patience: Duration) -> io::Result<bool> {
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

//! A place to get packages from: what this machine's apt is configured with, or one suite of Debian
//! that it is not.
//!
//! **Invariant**: the machine's own sources, package lists and packages are never changed, except
//! that its lists are brought up to date. The suite's lists lie in the directory of the caller.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::run;
use crate::requirements::program;

/// 70 MB over a slow line, and `apt-get update` before it.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// The mirror that every Debian machine knows by name.
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

/// Whom the suites are signed by.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An archive, as the options that make apt use it.
#[derive(Debug)]
pub(super) struct Archive {
    options: Vec<String>,
}

impl Archive {
    /// The archives that this machine is configured with.
    pub(super) fn of_system() -> Self {
        Self {
            options: Vec::new(),
        }
    }

    /// One suite from a mirror, with its package lists below `directory`.
    pub(super) fn of_suite(directory: &Path, suite: &str, mirror: &str) -> Result<Self> {
        let root = directory.join("apt").join(suite);
        for part in ["lists/partial", "archives/partial"] {
            let path = root.join(part);
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        let sources = root.join("sources.list");
        let line = format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        fs::write(&sources, line).with_context(|| sources.display().to_string())?;
        let root = root.display();
        let settings = [
            format!("Dir::Etc::sourcelist={root}/sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            // A pinned release of the machine's own has no candidate in a foreign suite.
            "Dir::Etc::preferences=-".to_owned(),
            "Dir::Etc::preferencesparts=-".to_owned(),
            "APT::Default-Release=".to_owned(),
            format!("Dir::State::lists={root}/lists"),
            format!("Dir::Cache={root}"),
            // apt's own user may not look into the cache directory.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let options = settings.into_iter().flat_map(|s| ["-o".to_owned(), s]);
        Ok(Self {
            options: options.collect(),
        })
    }

    /// The Debian mirror among the sources; Debian's default one where there is none.
    pub(super) fn mirror(&self) -> Result<String> {
        let mut command = Command::new(program("apt-get")?);
        command
            .args(&self.options)
            .args(["indextargets", "--format", "$(REPO_URI)"]);
        let listed = run(command, DOWNLOAD_TIMEOUT)?.success("apt-get indextargets")?;
        Ok(debian_mirror(&listed).unwrap_or_else(|| DEFAULT_MIRROR.to_owned()))
    }

    /// Brings the package lists up to date.
    pub(super) fn update(&self) -> Result<()> {
        // Without Error-Mode a suite that is not there is a warning.
        self.get(&["update", "-o", "APT::Update::Error-Mode=any"], None)
    }

    /// Downloads a package into a directory.
    pub(super) fn download(&self, package: &str, directory: &Path) -> Result<()> {
        self.get(&["download", package], Some(directory))
    }

    /// Asks `apt-cache`; a package it does not know is an empty answer.
    pub(super) fn query(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program("apt-cache")?);
        command
            .args(&self.options)
            .args(arguments)
            .env("LC_ALL", "C");
        Ok(run(command, DOWNLOAD_TIMEOUT)?.output)
    }

    fn get(&self, arguments: &[&str], directory: Option<&Path>) -> Result<()> {
        let mut command = Command::new(program("apt-get")?);
        command
            .args(&self.options)
            .args(arguments)
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        run(command, DOWNLOAD_TIMEOUT)?.success(&format!("apt-get {}", arguments.join(" ")))?;
        Ok(())
    }
}

/// Picks the first address that ends as all mirrors of the main archive do.
fn debian_mirror(listed: &str) -> Option<String> {
    let mut addresses = listed.lines().map(|line| line.trim_end_matches('/'));
    addresses
        .find(|address| address.ends_with("/debian"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_archive_is_told_from_security_and_others() {
        let listed = "http://mirror.example/debian-security/\nhttp://other.example/apt/\n\
                      http://mirror.example/debian/\nhttp://late.example/debian/\n";
        assert_eq!(
            debian_mirror(listed).as_deref(),
            Some("http://mirror.example/debian")
        );
        assert_eq!(debian_mirror("http://other.example/apt\n"), None);
    }

    #[test]
    fn a_suite_has_sources_and_lists_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let archive =
            Archive::of_suite(directory.path(), "trixie", "http://mirror.example/debian").unwrap();
        let root = directory.path().join("apt/trixie");
        let sources = fs::read_to_string(root.join("sources.list")).unwrap();
        assert!(
            sources.ends_with("http://mirror.example/debian trixie main\n"),
            "{sources}"
        );
        let lists = format!("Dir::State::lists={}/lists", root.display());
        assert!(archive.options.contains(&lists), "{:?}", archive.options);
    }
}

//! Debian's kernel package: found, downloaded and unpacked with apt and dpkg, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::run;
use crate::requirements::program;

/// The package whose dependency names the current kernel of the default flavour.
const META_PACKAGE: &str = "linux-image-amd64";

/// 70 MB over a slow line, and `apt-get update` before it.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Directory names of the unpacked package.
pub(crate) struct UnpackedKernel {
    /// Root of the unpacked tree; modules lie in `lib/modules/<release>` below it.
    pub(crate) root: PathBuf,
    /// What `uname -r` will say, e.g. `6.1.0-56-amd64`.
    pub(crate) release: String,
}

impl UnpackedKernel {
    /// The compressed kernel image.
    pub(crate) fn image(&self) -> PathBuf {
        self.root
            .join("boot")
            .join(format!("vmlinuz-{}", self.release))
    }
}

/// The kernel package in `directory`, downloaded unless it is there already. `series` is the
/// beginning of the wanted version ("6.12"), `None` the archive's default.
pub(crate) fn kernel_package(directory: &Path, series: Option<&str>) -> Result<PathBuf> {
    if let Some(package) = downloaded(directory)? {
        return Ok(package);
    }
    let name = match resolve(series)? {
        Some(name) => name,
        None => {
            // A fresh container has no package lists.
            apt("apt-get", &["update"], None)?;
            resolve(series)?.with_context(|| missing(series))?
        }
    };
    let staging = tempfile::tempdir_in(directory).context("staging directory")?;
    if apt("apt-get", &["download", &name], Some(staging.path())).is_err() {
        // Old package lists name a version that the archive has no more.
        apt("apt-get", &["update"], None)?;
        let name = resolve(series)?.with_context(|| missing(series))?;
        apt("apt-get", &["download", &name], Some(staging.path()))?;
    }
    let package = downloaded(staging.path())?.context("apt-get download left no package")?;
    let kept = directory.join(package.file_name().context("package name")?);
    fs::rename(&package, &kept).with_context(|| kept.display().to_string())?;
    Ok(kept)
}

fn missing(series: Option<&str>) -> String {
    match series {
        None => format!("apt knows no package {META_PACKAGE}: is this Debian on amd64?"),
        Some(series) => format!(
            "apt offers no {META_PACKAGE} {series}.*: add the suite that has it (Debian backports) \
             to the apt sources, or unset LEDGE_VM_KERNEL"
        ),
    }
}

fn downloaded(directory: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let name = crate::paths::base_name(&path);
        if name.starts_with("linux-image-") && name.ends_with(".deb") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The name of the kernel package, through the dependency of the meta package.
fn resolve(series: Option<&str>) -> Result<Option<String>> {
    let versioned = match series {
        None => META_PACKAGE.to_owned(),
        Some(series) => {
            let offers = query(&["madison", META_PACKAGE])?;
            match version_of_series(&offers, series) {
                Some(version) => format!("{META_PACKAGE}={version}"),
                None => return Ok(None),
            }
        }
    };
    Ok(dependency(&query(&[
        "show",
        "--no-all-versions",
        &versioned,
    ])?))
}

/// Picks the version from lines `package | version | source`.
fn version_of_series(offers: &str, series: &str) -> Option<String> {
    let versions = offers
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim);
    let in_series = |version: &&str| {
        version
            .strip_prefix(series)
            .is_some_and(|rest| rest.starts_with(['.', '-']))
    };
    versions.into_iter().find(in_series).map(str::to_owned)
}

/// Picks the package from a line `Depends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)`.
fn dependency(record: &str) -> Option<String> {
    let depends = record
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))?;
    depends
        .split([' ', ','])
        .find(|word| word.starts_with("linux-image-"))
        .map(str::to_owned)
}

/// Asks `apt-cache`; a package it does not know is an empty answer.
fn query(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program("apt-cache")?);
    command.args(arguments).env("LC_ALL", "C");
    Ok(run(command, DOWNLOAD_TIMEOUT)?.output)
}

fn apt(name: &str, arguments: &[&str], directory: Option<&Path>) -> Result<()> {
    let mut command = Command::new(program(name)?);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive");
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    run(command, DOWNLOAD_TIMEOUT)?.success(&format!("{name} {}", arguments.join(" ")))?;
    Ok(())
}

/// Unpacks the package below `directory` and computes its modules' dependencies.
pub(crate) fn unpack(package: &Path, directory: &Path) -> Result<UnpackedKernel> {
    let root = directory.join("kernel");
    let mut command = Command::new(program("dpkg-deb")?);
    command.arg("-x").args([package, &root]);
    run(command, Duration::from_secs(300))?.success("dpkg-deb -x")?;

    let mut releases = fs::read_dir(root.join("lib/modules")).context("lib/modules")?;
    let entry = releases
        .next()
        .context("the kernel package has no modules")??;
    let release = entry.file_name().to_string_lossy().into_owned();
    ensure!(
        releases.next().is_none(),
        "the kernel package holds more than one release"
    );

    let kernel = UnpackedKernel { root, release };
    if !kernel.image().is_file() {
        bail!("the kernel package has no {}", kernel.image().display());
    }
    let mut depmod = Command::new(program("depmod")?);
    depmod.arg("-b").arg(&kernel.root).arg(&kernel.release);
    run(depmod, Duration::from_secs(120))?.success("depmod")?;
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_package_is_read_from_the_meta_package() {
        let record = "Package: linux-image-amd64\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.2)\n";
        assert_eq!(
            dependency(record).as_deref(),
            Some("linux-image-6.1.0-56-amd64")
        );
        assert_eq!(dependency("Package: other\n"), None);
    }

    #[test]
    fn a_series_selects_its_own_versions_only() {
        let offers = " linux-image-amd64 | 6.12.9-1~bpo12+1 | http://a\n\
                       linux-image-amd64 | 6.1.192-2 | http://b\n";
        assert_eq!(
            version_of_series(offers, "6.1").as_deref(),
            Some("6.1.192-2")
        );
        assert_eq!(
            version_of_series(offers, "6.12").as_deref(),
            Some("6.12.9-1~bpo12+1")
        );
        assert_eq!(version_of_series(offers, "6.18"), None);
    }
}

//! Debian's kernel package: found, downloaded and unpacked with apt and dpkg, never installed.

mod archive;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use archive::Archive;

use crate::process::run;
use crate::requirements::program;

/// The package whose dependency names the current kernel of the default flavour.
const META_PACKAGE: &str = "linux-image-amd64";

/// Where kernels of other series than the machine's own are: backports to Debian 12, then Debian 13
/// (both 6.12), then Debian 12 (6.1). The first is the smallest by far.
const SUITES: &[&str] = &["bookworm-backports", "trixie", "bookworm"];

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
    let (archive, name) = find(directory, series)?;
    let staging = tempfile::tempdir_in(directory).context("staging directory")?;
    if archive.download(&name, staging.path()).is_err() {
        // Old package lists name a version that the archive has no more.
        archive.update()?;
        let name = resolve(&archive, series)?.with_context(|| missing(series))?;
        archive.download(&name, staging.path())?;
    }
    let package = downloaded(staging.path())?.context("apt-get download left no package")?;
    let kept = directory.join(package.file_name().context("package name")?);
    fs::rename(&package, &kept).with_context(|| kept.display().to_string())?;
    Ok(kept)
}

/// Finds the package in what apt knows, and then, for a named series, in the [`SUITES`].
fn find(directory: &Path, series: Option<&str>) -> Result<(Archive, String)> {
    let of_system = Archive::of_system();
    if let Some(name) = resolve(&of_system, series)? {
        return Ok((of_system, name));
    }
    // A fresh container has no package lists.
    let mut tried = Vec::new();
    match of_system.update() {
        Ok(()) => {
            if let Some(name) = resolve(&of_system, series)? {
                return Ok((of_system, name));
            }
        }
        Err(error) => tried.push(format!("this machine's sources: {error:#}")),
    }
    let suites = if series.is_some() { SUITES } else { &[] };
    for suite in suites {
        let archive = Archive::of_suite(directory, suite, &of_system.mirror()?)?;
        match archive.update() {
            Ok(()) => {
                if let Some(name) = resolve(&archive, series)? {
                    return Ok((archive, name));
                }
                tried.push(format!("{suite}: has none"));
            }
            Err(error) => tried.push(format!("{suite}: {error:#}")),
        }
    }
    bail!("{}\n{}", missing(series), tried.join("\n"))
}

fn missing(series: Option<&str>) -> String {
    match series {
        None => format!("apt knows no package {META_PACKAGE}: is this Debian on amd64?"),
        Some(series) => format!(
            "neither apt's own sources nor Debian's suites {} offer {META_PACKAGE} {series}.*: \
             choose another series in LEDGE_VM_KERNEL, or put the linux-image package into the \
             cache directory",
            SUITES.join(", ")
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
fn resolve(archive: &Archive, series: Option<&str>) -> Result<Option<String>> {
    let versioned = match series {
        None => META_PACKAGE.to_owned(),
        Some(series) => {
            let offers = archive.query(&["madison", META_PACKAGE])?;
            match version_of_series(&offers, series) {
                Some(version) => format!("{META_PACKAGE}={version}"),
                None => return Ok(None),
            }
        }
    };
    let record = archive.query(&["show", "--no-all-versions", &versioned])?;
    Ok(dependency(&record))
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

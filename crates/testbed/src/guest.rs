//! The guest: a Debian kernel and an initramfs, built once and kept in the cache.
//!
//! The cache directory ([`crate::paths::cache_dir`]) has one directory per kernel series with the
//! kernel package, the kernel image, the initramfs, and a manifest of what they were made from.
//!
//! **Invariants**
//! - Only one process builds at a time (a file lock).
//! - The manifest is written last: a build that was interrupted is done again.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{fetch, initramfs, paths, requirements, transcript};

/// What the emulator boots.
#[derive(Debug, Clone)]
pub struct GuestImage {
    /// The kernel image.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The same with `fio` and its many libraries, which most guests can do without.
    pub initramfs_with_fio: PathBuf,
}

/// The guest image, from the cache or built now. The first build downloads Debian's kernel package.
/// `LEDGE_VM_KERNEL` (e.g. `6.12`) selects another kernel series than the archive's default.
///
/// # Errors
/// A needed package is missing (named), the download fails, or the cache cannot be written.
pub fn prepare() -> Result<GuestImage> {
    prepare_series(chosen_series().as_deref())
}

/// The series that `LEDGE_VM_KERNEL` selects.
pub(crate) fn chosen_series() -> Option<String> {
    let chosen = env::var("LEDGE_VM_KERNEL").ok();
    chosen.filter(|series| !series.is_empty())
}

/// As [`prepare`], with a kernel of this series, or with the archive's default.
pub(crate) fn prepare_series(series: Option<&str>) -> Result<GuestImage> {
    requirements::check_vm()?;
    let directory = paths::cache_dir()?.join(series.unwrap_or("default"));
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let directory = directory
        .canonicalize()
        .with_context(|| directory.display().to_string())?;

    let lock = File::create(directory.join("lock")).context("the guest cache's lock")?;
    lock.lock().context("the guest cache's lock")?;
    let package = fetch::kernel_package(&directory, series)?;
    build_if_changed(&directory, &package)
}

/// Makes `target` of the guest's image and these programs of ours, which go to `/usr/sbin`.
pub(crate) fn with_programs(image: &GuestImage, programs: &[PathBuf], target: &Path) -> Result<()> {
    let files = initramfs::shelf_files(programs, &initramfs::host_files()?)?;
    let staging = tempfile::tempdir().context("staging directory")?;
    initramfs::add(&files, staging.path(), &image.initramfs, target)
}

fn build_if_changed(directory: &Path, package: &Path) -> Result<GuestImage> {
    let image = GuestImage {
        kernel: directory.join("vmlinuz"),
        initramfs: directory.join("initramfs.gz"),
        initramfs_with_fio: directory.join("initramfs-fio"),
    };
    let files = initramfs::host_files()?;
    let fio_files = initramfs::fio_files(&files)?;
    let manifest = initramfs::manifest(package, &[files.clone(), fio_files.clone()].concat())?;
    let manifest_path = directory.join("manifest");
    if fs::read_to_string(&manifest_path).is_ok_and(|built| built == manifest) {
        return Ok(image);
    }
    transcript::note(&format!(
        "building the guest from {}",
        paths::base_name(package)
    ));
    if manifest_path.exists() {
        fs::remove_file(&manifest_path).context("the guest's manifest")?;
    }
    let staging = tempfile::tempdir_in(directory).context("staging directory")?;
    let kernel = fetch::unpack(package, staging.path())?;
    fs::copy(kernel.image(), &image.kernel).context("copying the kernel image")?;
    initramfs::build(&kernel, &files, staging.path(), &image.initramfs)?;
    initramfs::add(
        &fio_files,
        staging.path(),
        &image.initramfs,
        &image.initramfs_with_fio,
    )?;
    fs::write(&manifest_path, manifest).context("the guest's manifest")?;
    Ok(image)
}

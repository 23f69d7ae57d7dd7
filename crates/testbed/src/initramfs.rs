//! Builds the guest's root file system: an initramfs with busybox, the kernel modules for both roles
//! of a guest, and Debian's own AoE, ext4 and md tools with their libraries.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::fetch::UnpackedKernel;
use crate::process::{run, run_ok};
use crate::requirements::program;

/// The guest's first process.
const INIT: &str = include_str!("guest-init.sh");

/// The programs taken from this machine; everything else is busybox. All go to `/usr/sbin`, which
/// is first in the guest's `PATH`, so that none is hidden by a busybox applet of the same name.
const TOOLS: &[&str] = &[
    "aoe-discover",
    "aoe-flush",
    "aoe-interfaces",
    "aoe-revalidate",
    "aoe-sancheck",
    "aoe-stat",
    "aoe-version",
    "aoecfg",
    "aoeping",
    "e2fsck",
    "mdadm",
    "mke2fs",
    "resize2fs",
];

/// Modules that each role of a guest needs beside what these depend on; inserted in this order.
const MODULES: &[(Role, &[&str])] = &[
    (
        Role::Client,
        &["virtio_pci", "virtio_net", "ext4", "md_mod", "raid1", "aoe"],
    ),
    (
        Role::Storage,
        &[
            "virtio_pci",
            "virtio_scsi",
            "sd_mod",
            "md_mod",
            "raid0",
            "raid1",
            "raid10",
            "raid456",
        ],
    ),
    (
        Role::Shelf,
        &["virtio_pci", "virtio_scsi", "sd_mod", "nvme", "veth"],
    ),
    (
        Role::Bays,
        &[
            "virtio_pci",
            "virtio_net",
            "virtio_blk",
            "sd_mod",
            "nvme",
            "ahci",
            "mptsas",
            "ses",
            "megaraid_sas",
            "virtio_scsi",
            "ext4",
            "md_mod",
            "raid1",
            "dm_mod",
        ],
    ),
];

/// What a guest is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// An AoE client, which may mirror its LUNs.
    Client,
    /// A host of disks with Linux md.
    Storage,
    /// A host of disks with a shelf of ours, and an initiator on the other end of a veth pair.
    Shelf,
    /// A host of disks of every kind, which come and go, with a shelf of ours that is reached from without.
    Bays,
}

impl Role {
    /// Its name on the guest's command line and in the name of its list of modules.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Storage => "storage",
            Self::Shelf => "shelf",
            Self::Bays => "bays",
        }
    }
}

/// Names that one program answers to.
const LINKS: &[(&str, &str)] = &[("/usr/sbin/mkfs.ext4", "mke2fs"), ("/bin/sh", "busybox")];

/// A file of this machine and its place in the guest.
type Copied = (PathBuf, PathBuf);

/// Everything from this machine that goes into the image.
pub(crate) fn host_files() -> Result<Vec<Copied>> {
    let mut files = vec![(program("busybox")?, PathBuf::from("/bin/busybox"))];
    // aoe-stat asks for bash by name.
    files.push((program("bash")?, PathBuf::from("/bin/bash")));
    for tool in TOOLS {
        files.push((program(tool)?, Path::new("/usr/sbin").join(tool)));
    }
    files.push((
        PathBuf::from("/etc/mke2fs.conf"),
        PathBuf::from("/etc/mke2fs.conf"),
    ));
    for (source, _) in files.clone() {
        add_libraries(&source, &mut files)?;
    }
    Ok(files)
}

/// `fio` and those of its libraries that are not among `present`.
pub(crate) fn fio_files(present: &[Copied]) -> Result<Vec<Copied>> {
    let fio = program("fio")?;
    let mut files = vec![(fio.clone(), PathBuf::from("/usr/sbin/fio"))];
    add_libraries(&fio, &mut files)?;
    files.retain(|file| !present.contains(file));
    Ok(files)
}

/// Programs of ours, what they call, and those of their libraries that are not among `present`.
pub(crate) fn shelf_files(programs: &[PathBuf], present: &[Copied]) -> Result<Vec<Copied>> {
    let mut files = Vec::new();
    for source in programs.iter().cloned().chain([program("blkid")?]) {
        let name = source.file_name().context("a program has a name")?;
        files.push((source.clone(), Path::new("/usr/sbin").join(name)));
        add_libraries(&source, &mut files)?;
    }
    files.retain(|file| !present.contains(file));
    Ok(files)
}

/// The libraries of a program, each in the place that it has here.
fn add_libraries(source: &Path, files: &mut Vec<Copied>) -> Result<()> {
    for library in libraries(source)? {
        let copied = (library.clone(), library);
        if !files.contains(&copied) {
            files.push(copied);
        }
    }
    Ok(())
}

/// The libraries and the loader of a dynamic program; none for scripts and static programs.
fn libraries(path: &Path) -> Result<Vec<PathBuf>> {
    let start = fs::read(path).with_context(|| path.display().to_string())?;
    if !start.starts_with(b"\x7fELF") {
        return Ok(Vec::new());
    }
    let mut command = Command::new(program("ldd")?);
    command.arg(path).env("LC_ALL", "C");
    // ldd fails for a static program and says so.
    let listing = run(command, Duration::from_secs(60))?.output;
    ensure!(
        !listing.contains("not found"),
        "{} lacks a library: {listing}",
        path.display()
    );
    Ok(library_paths(&listing))
}

/// Picks the paths from lines `name => /path (address)` and `/path (address)`.
fn library_paths(listing: &str) -> Vec<PathBuf> {
    let path_of = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words
            .into_iter()
            .find(|word| word.starts_with('/'))
            .map(PathBuf::from)
    };
    let is_library = |line: &&str| line.trim_end().ends_with(')');
    listing
        .lines()
        .filter(is_library)
        .filter_map(path_of)
        .collect()
}

/// What the image is made of, as text: the image is built again when this changes.
pub(crate) fn manifest(kernel_package: &Path, files: &[Copied]) -> Result<String> {
    let mut text = format!(
        "{}\n{MODULES:?}\n{LINKS:?}\n",
        crate::paths::base_name(kernel_package)
    );
    for (source, place) in files {
        let metadata = fs::metadata(source).with_context(|| source.display().to_string())?;
        let modified = metadata
            .modified()?
            .duration_since(std::time::UNIX_EPOCH)?
            .as_secs();
        text += &format!("{} {} {modified}\n", place.display(), metadata.len());
    }
    Ok(text + INIT)
}

/// Builds the image into `target`, using `staging` (removed by the caller) for its tree.
pub(crate) fn build(
    kernel: &UnpackedKernel,
    files: &[Copied],
    staging: &Path,
    target: &Path,
) -> Result<()> {
    let root = staging.join("initramfs");
    for directory in [
        "bin", "dev", "etc", "mnt", "proc", "run", "sys", "tmp", "usr/sbin",
    ] {
        let path = root.join(directory);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    for (source, place) in files {
        copy(source, &inside(&root, place)?)?;
    }
    for (link, original) in LINKS {
        std::os::unix::fs::symlink(original, inside(&root, Path::new(link))?)?;
    }
    for (role, modules) in MODULES {
        let order = copy_modules(kernel, modules, &root)?;
        let list = root.join("etc").join(format!("modules.{}", role.name()));
        fs::write(list, order.join("\n") + "\n")?;
    }
    let init = root.join("init");
    fs::write(&init, INIT)?;
    set_executable(&init)?;
    archive(&root, "gzip -1", target)
}

/// Makes `target` of the image `base` and an archive of further files; the kernel unpacks one after the
/// other. These are not compressed: to load more is quicker than to unpack in an emulated processor.
pub(crate) fn add(files: &[Copied], staging: &Path, base: &Path, target: &Path) -> Result<()> {
    let root = staging.join("further");
    for (source, place) in files {
        copy(source, &inside(&root, place)?)?;
    }
    let further = staging.join("further.cpio");
    archive(&root, "cat", &further)?;
    let partial = target.with_extension("partial");
    let mut image = File::create(&partial).with_context(|| partial.display().to_string())?;
    // A plain archive may stand before a compressed one; what follows that would have to be aligned.
    for part in [further.as_path(), base] {
        let mut part = File::open(part).with_context(|| part.display().to_string())?;
        std::io::copy(&mut part, &mut image).context("joining the guest's archives")?;
    }
    fs::rename(&partial, target).with_context(|| target.display().to_string())
}

/// The place below the new root.
fn inside(root: &Path, place: &Path) -> Result<PathBuf> {
    Ok(root.join(
        place
            .strip_prefix("/")
            .context("places in the guest are absolute")?,
    ))
}

fn copy(source: &Path, target: &Path) -> Result<()> {
    let directory = target.parent().context("a file has a directory")?;
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    fs::copy(source, target).with_context(|| format!("copying {}", source.display()))?;
    Ok(())
}

fn set_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Copies modules and their dependencies; returns their paths in the guest in loading order. modprobe
/// fails for a module that the kernel does not have.
fn copy_modules(kernel: &UnpackedKernel, modules: &[&str], root: &Path) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for module in modules {
        let mut command = Command::new(program("modprobe")?);
        command
            .arg("-d")
            .arg(&kernel.root)
            .args(["-S", &kernel.release]);
        command.args(["--show-depends", module]).env("LC_ALL", "C");
        for path in inserted(&run_ok(command)?) {
            let place = decompressed(&path, kernel, root)?;
            if !order.contains(&place) {
                order.push(place);
            }
        }
    }
    Ok(order)
}

/// Picks the paths from lines `insmod PATH [OPTIONS]`; `builtin NAME` needs nothing.
fn inserted(listing: &str) -> Vec<PathBuf> {
    let path_of = |line: &str| {
        line.strip_prefix("insmod ")?
            .split(' ')
            .next()
            .map(PathBuf::from)
    };
    listing.lines().filter_map(path_of).collect()
}

/// Copies one module to the same place in the image, uncompressed: the guest's insmod is plain.
fn decompressed(path: &Path, kernel: &UnpackedKernel, root: &Path) -> Result<String> {
    let relative = path
        .strip_prefix(&kernel.root)
        .context("a module outside of the package")?;
    if path.extension().is_none_or(|extension| extension != "xz") {
        copy(path, &root.join(relative))?;
        return Ok(format!("/{}", relative.display()));
    }
    copy(path, &root.join(relative))?;
    let mut command = Command::new(program("busybox")?);
    command.args(["unxz", "-f"]).arg(root.join(relative));
    run_ok(command)?;
    Ok(format!("/{}", relative.with_extension("").display()))
}

/// Packs the tree as a cpio archive, the form the kernel unpacks, through `compress`.
fn archive(root: &Path, compress: &str, target: &Path) -> Result<()> {
    let partial = target.with_extension("partial");
    let output = File::create(&partial).with_context(|| partial.display().to_string())?;
    let script =
        format!("set -e; find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | {compress}");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .current_dir(root)
        .stdout(output)
        .stdin(Stdio::null());
    let status = command.status().context("cannot start cpio")?;
    ensure!(
        status.success(),
        "packing the guest's initramfs failed: {status}"
    );
    fs::rename(&partial, target).with_context(|| target.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_paths_are_read_from_ldd() {
        let listing = "\tlinux-vdso.so.1 (0x00007f)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(library_paths(listing), expected.map(PathBuf::from));
        assert_eq!(
            library_paths("\tnot a dynamic executable\n"),
            Vec::<PathBuf>::new()
        );
    }

    #[test]
    fn module_paths_are_read_from_modprobe() {
        let listing = "builtin virtio\ninsmod /k/jbd2.ko \ninsmod /k/ext4.ko option=1\n";
        assert_eq!(
            inserted(listing),
            ["/k/jbd2.ko", "/k/ext4.ko"].map(PathBuf::from)
        );
    }
}

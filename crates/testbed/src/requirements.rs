//! The Debian packages and the privileges that the rig needs, and the message when one is missing.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Programs the rig starts or copies into the guest, and the Debian 12 package of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("apt-cache", "apt"),
    ("apt-get", "apt"),
    ("aoe-discover", "aoetools"),
    ("aoe-flush", "aoetools"),
    ("aoe-interfaces", "aoetools"),
    ("aoe-revalidate", "aoetools"),
    ("aoe-sancheck", "aoetools"),
    ("aoe-stat", "aoetools"),
    ("aoe-version", "aoetools"),
    ("aoecfg", "aoetools"),
    ("aoeping", "aoetools"),
    ("bash", "bash"),
    ("blkid", "util-linux"),
    ("busybox", "busybox-static"),
    ("chrt", "util-linux"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
    ("e2fsck", "e2fsprogs"),
    ("fio", "fio"),
    ("gzip", "gzip"),
    ("ip", "iproute2"),
    ("ldd", "libc-bin"),
    ("lvm", "lvm2"),
    ("mdadm", "mdadm"),
    ("mke2fs", "e2fsprogs"),
    ("mcopy", "mtools"),
    ("mformat", "mtools"),
    ("modprobe", "kmod"),
    ("nmap", "nmap"),
    ("nsenter", "util-linux"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("resize2fs", "e2fsprogs"),
    ("smartctl", "smartmontools"),
    ("syslinux", "syslinux"),
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
    ("vblade", "vblade"),
];

/// The program's full path, looked for in `PATH` and then in the system's own directories, which
/// a root shell started by `su` or a container may lack in `PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// The program's full path, or the `apt-get install` line that provides it.
///
/// # Errors
/// The program is not on this machine.
pub fn program(name: &str) -> Result<PathBuf> {
    if let Some(path) = find_program(name) {
        return Ok(path);
    }
    match PROGRAMS.iter().find(|(program, _)| *program == name) {
        Some((_, package)) => bail!("{name} is missing; install it: apt-get install -y {package}"),
        None => bail!("{name} is missing from PATH"),
    }
}

/// iPXE, as a kernel that loaders and emulators can start.
///
/// # Errors
/// It is not on this machine.
pub fn ipxe() -> Result<PathBuf> {
    let path = PathBuf::from("/usr/lib/ipxe/ipxe.lkrn");
    if !path.is_file() {
        bail!("iPXE is missing; install it: apt-get install -y ipxe");
    }
    Ok(path)
}

/// Checks that the emulator can be an initiator of iSCSI.
///
/// # Errors
/// Debian's part of it for that is not on this machine.
pub fn check_iscsi() -> Result<()> {
    let is_there = |directory: PathBuf| directory.join("qemu/block-iscsi.so").is_file();
    let libraries = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten();
    if !libraries.map(|entry| entry.path()).any(is_there) {
        bail!("QEMU's iSCSI is missing; install it: apt-get install -y qemu-block-extra");
    }
    Ok(())
}

/// Checks that this process may make network namespaces and taps.
///
/// # Errors
/// Not root, or no `/dev/net/tun`, or `ip`/`nsenter` missing.
pub fn check_network() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the test rig makes network namespaces and needs root: run the tests as root");
    }
    program("ip")?;
    program("nsenter")?;
    Ok(())
}

/// Checks everything that a test with a virtual machine needs.
///
/// # Errors
/// Lists every missing package in one `apt-get install` line, so that one round cures all.
pub fn check_vm() -> Result<()> {
    check_network()?;
    if !Path::new("/dev/net/tun").exists() {
        bail!(
            "/dev/net/tun does not exist: load the tun module, or give the container that device"
        );
    }
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(name, _)| find_program(name).is_none())
        .map(|(_, package)| *package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        bail!(
            "the virtual machine tests need: apt-get install -y {}",
            packages.join(" ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        assert!(find_program("no-such-program-anywhere").is_none());
        assert!(program("no-such-program-anywhere").is_err());
        assert_eq!(program("sh").unwrap().file_name().unwrap(), "sh");
    }
}

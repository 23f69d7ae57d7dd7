//! `ledged --check`: a look at this machine, whether it has what the configuration names.
//!
//! It writes nothing and claims nothing, and what it finds keeps no shelf from starting: these are warnings.

use crate::config::Config;
use disk::{DriveSpec, signature};
use std::fs;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Below this MTU a frame carries fewer sectors than it could.
const JUMBO_MTU_BYTES: usize = 9000;

/// What is not as it should be, a line each.
pub(crate) fn at_machine(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for port in &config.ports {
        warnings.extend(at_port(&port.interface));
    }
    for disk in &config.disks {
        if let DriveSpec::Path(path) = &disk.spec {
            let found = at_disk(path);
            warnings.extend(
                found.map(|what| format!("slot {} (line {}): {what}", disk.slot, disk.line)),
            );
        }
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if usize::from(config.workers) > cpus {
        let workers = config.workers;
        warnings.push(format!(
            "workers = {workers}, and there are {cpus} CPUs: each worker polls, on its own"
        ));
    }
    warnings
}

fn at_port(interface: &str) -> Option<String> {
    let problem = match port::mtu_and_link(interface) {
        Err(error) => format!("{error}"),
        Ok((_, false)) => "has no link: it is down, or nothing is connected".to_owned(),
        Ok((mtu, true)) if mtu < JUMBO_MTU_BYTES => {
            format!("has an MTU of {mtu}, and needs {JUMBO_MTU_BYTES} for frames of 16 sectors")
        }
        Ok(_) => return None,
    };
    Some(format!("interface {interface}: {problem}"))
}

fn at_disk(path: &Path) -> Option<String> {
    let shown = path.display();
    let kind = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) => return Some(format!("{shown}: {error}")),
    };
    if kind.is_block_device() {
        // As the shelf claims it, but to read.
        let exclusive = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_EXCL)
            .open(path);
        match exclusive {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                return Some(format!(
                    "{shown} is in use: mounted, part of an array, or of a shelf that runs"
                ));
            }
            Err(error) => return Some(format!("{shown}: {error}")),
        }
    } else if !kind.is_file() {
        return Some(format!(
            "{shown} is neither a block device nor a regular file"
        ));
    }
    match signature::probe(path) {
        Ok(Some(what)) if what != signature::MD_MEMBER => Some(format!(
            "{shown} carries {what}: `make` takes it only with -f"
        )),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        let missing = at_disk(Path::new("/nonexistent/disk")).unwrap();
        assert!(missing.contains("No such file"), "{missing}");
        let device = at_disk(Path::new("/dev/null")).unwrap();
        assert!(device.contains("neither"), "{device}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        assert_eq!(at_disk(&path), None);
        let gone = at_port("no-such-if0").unwrap();
        assert!(gone.starts_with("interface no-such-if0: "), "{gone}");
        // Its MTU is 65536.
        assert_eq!(at_port("lo"), None);
    }
}

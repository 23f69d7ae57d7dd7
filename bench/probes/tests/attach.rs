//! The probes on the kernel of this machine.
//!
//! Needs root. Skipped, with a line that says so, only where the kernel has no BTF and so no such tracing.

#![allow(
    clippy::unwrap_used,
    reason = "the functions around the tests are tests, too"
)]

use probes::{NamespacePath, Probes};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

#[test]
fn what_drives_do_is_seen_from_the_time_of_attaching() {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        writeln!(std::io::stderr(), "skipped: this kernel has no BTF").ok();
        return;
    }
    let probes = Probes::attach().unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("written");
    let mut file = File::create(&path).unwrap();
    file.write_all(&[1; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    let seen = probes.seen().unwrap();
    fs::remove_file(path).unwrap();
    let writes = seen.drives.iter().filter(|one| one.operation == "write");
    let slowest_ns = writes.map(|one| one.below_ns(1.0)).max();
    // Some microseconds at least, and less than a minute.
    assert!(
        slowest_ns.is_some_and(|ns| (1000..60_000_000_000).contains(&ns)),
        "{seen:?}"
    );
    assert_eq!(seen.uncounted, 0);
}

#[test]
fn an_interface_is_found_in_its_namespace() {
    let loopback = NamespacePath::own().interface("lo").unwrap();
    assert_eq!(loopback.index, 1);
    assert!(NamespacePath::own().interface("nothing0").is_err());
    assert!(NamespacePath::named("no-such").interface("lo").is_err());
}

//! Network namespaces and the wires between them, through `ip`.
//!
//! **Invariants**
//! - A namespace's name is `ledge-<pid>-<n>-<label>`; only names of that shape are ever deleted.
//! - IPv6 is off inside, so that nothing but the test's own frames is on the wire.
//! - Dropping a [`Namespace`] kills what runs in it and deletes it with its interfaces. Namespaces
//!   of tests that were killed are swept by the next [`Namespace::new`].

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::run_ok;
use crate::requirements;

const PREFIX: &str = "ledge-";

/// Where `ip netns` keeps the namespaces' handles.
const HANDLES: &str = "/run/netns";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace of this test.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with its loopback up and IPv6 off. `label` says whose it is ("target").
    ///
    /// # Errors
    /// Not root, `ip` missing, or the kernel refuses.
    pub fn new(label: &str) -> Result<Self> {
        requirements::check_network()?;
        sweep()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.disable_ipv6()?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name, as `ip netns list` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(HANDLES).join(&self.name)
    }

    /// A command that will run in the namespace. Mounts stay the host's: `/sys/class/net` shows the
    /// host's interfaces, and the BPF file system is the host's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs `work` on a new thread that has moved into the namespace: sockets that it opens belong to
    /// the namespace, and stay there when they are used elsewhere afterwards.
    ///
    /// # Errors
    /// The kernel refuses the move, or what `work` returns.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let handle = File::open(self.path()).with_context(|| self.path().display().to_string())?;
        let moved = || {
            move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot move a thread into {}", self.name))?;
            work()
        };
        let ended = thread::scope(|scope| scope.spawn(moved).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a program in the namespace; it must succeed. Returns its output.
    ///
    /// # Errors
    /// It cannot be started, fails, or takes longer than a minute.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(program);
        command.args(arguments);
        run_ok(command)
    }

    /// Runs `ip` in the namespace.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        self.run("ip", arguments)
    }

    /// Sets an interface up or down.
    ///
    /// # Errors
    /// No such interface.
    pub fn set_link(&self, interface: &str, up: bool) -> Result<()> {
        self.ip(&["link", "set", interface, if up { "up" } else { "down" }])?;
        Ok(())
    }

    /// Gives an interface a station address.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn set_address(&self, interface: &str, address: &str) -> Result<()> {
        self.ip(&["link", "set", interface, "address", address])?;
        Ok(())
    }

    /// Adds a tap. It has no carrier until a program opens it.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn add_tap(&self, interface: &str, mtu: u16) -> Result<()> {
        self.ip(&["tuntap", "add", "dev", interface, "mode", "tap"])?;
        self.ip(&["link", "set", interface, "mtu", &mtu.to_string(), "up"])?;
        Ok(())
    }

    /// Joins interfaces in a bridge that forwards at once and learns nothing from multicast.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn add_bridge(&self, bridge: &str, mtu: u16, ports: &[&str]) -> Result<()> {
        let kind = ["type", "bridge", "stp_state", "0", "forward_delay", "0"];
        let mut add = vec!["link", "add", bridge];
        add.extend(kind);
        add.extend(["mcast_snooping", "0"]);
        self.ip(&add)?;
        for port in ports {
            self.ip(&["link", "set", port, "master", bridge])?;
        }
        self.ip(&["link", "set", bridge, "mtu", &mtu.to_string(), "up"])?;
        Ok(())
    }

    /// Process ids of everything that runs in the namespace.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn processes(&self) -> Result<Vec<i32>> {
        processes(&self.name)
    }

    fn disable_ipv6(&self) -> Result<()> {
        let script = "for f in all default; do f=/proc/sys/net/ipv6/conf/$f/disable_ipv6; \
                      [ ! -e $f ] || echo 1 > $f || exit 1; done";
        self.run("sh", &["-c", script])?;
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            // The test's own result must not hide behind this; the next sweep tries again.
            crate::transcript::note(&format!("cannot remove {}: {error:#}", self.name));
        }
    }
}

/// One end of a veth pair: the interface's name in its namespace.
#[derive(Debug, Clone, Copy)]
pub struct VethEnd<'a> {
    /// The namespace that the end lies in.
    pub namespace: &'a Namespace,
    /// Its name there, at most 15 characters.
    pub interface: &'a str,
}

/// Connects two namespaces by a veth pair, both ends up with the given MTU.
///
/// # Errors
/// What `ip` says.
pub fn veth_pair(a: VethEnd<'_>, b: VethEnd<'_>, mtu: u16) -> Result<()> {
    let mtu = mtu.to_string();
    let mut arguments = vec![
        "link",
        "add",
        a.interface,
        "mtu",
        &mtu,
        "netns",
        a.namespace.name(),
    ];
    arguments.extend(["type", "veth", "peer", b.interface, "mtu", &mtu]);
    arguments.extend(["netns", b.namespace.name()]);
    ip(&arguments)?;
    a.namespace.set_link(a.interface, true)?;
    b.namespace.set_link(b.interface, true)
}

fn ip(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(requirements::program("ip")?);
    command.args(arguments);
    run_ok(command)
}

fn processes(name: &str) -> Result<Vec<i32>> {
    let pids = ip(&["netns", "pids", name])?;
    let parse = |word: &str| {
        word.parse()
            .with_context(|| format!("not a process id: {word}"))
    };
    pids.split_whitespace().map(parse).collect()
}

/// Kills what runs in the namespace, waits until it is gone, and deletes the namespace.
fn remove(name: &str) -> Result<()> {
    for _ in 0..100 {
        let pids = processes(name)?;
        if pids.is_empty() {
            ip(&["netns", "del", name])?;
            return Ok(());
        }
        for pid in pids.into_iter().filter_map(Pid::from_raw) {
            match kill_process(pid, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error).context("kill"),
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("processes in {name} do not end")
}

/// Removes namespaces whose test is no longer running.
fn sweep() -> Result<()> {
    let Ok(entries) = fs::read_dir(HANDLES) else {
        // `ip netns add` has not been used since boot.
        return Ok(());
    };
    for entry in entries {
        let name = entry
            .context(HANDLES)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if owner(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Two tests may sweep at once; what the other has removed is none of our business.
            if let Err(error) = remove(&name)
                && Path::new(HANDLES).join(&name).exists()
            {
                return Err(error.context(format!("cannot remove the stale namespace {name}")));
            }
        }
    }
    Ok(())
}

/// The process id in the name of one of our namespaces.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_have_an_owner() {
        assert_eq!(owner("ledge-123-0-target"), Some(123));
        assert_eq!(owner("ledge-target"), None);
        assert_eq!(owner("other-123-0-target"), None);
    }
}

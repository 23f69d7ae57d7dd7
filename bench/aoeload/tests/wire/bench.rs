//! The two ends of a wire: namespaces, a file to serve, vblade, and `aoeload` on the other end.

#![allow(
    clippy::unwrap_used,
    reason = "the functions around the tests are tests, too"
)]

use probes::NamespacePath;
use serde_json::Value;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const LUN_BYTES: u64 = 8 << 20;
pub(crate) const INSTALL: &str =
    "this test needs root and: apt-get install clang vblade iproute2 procps util-linux";

/// Two namespaces joined by a veth pair, with a file to serve.
pub(crate) struct Bench {
    /// What the names of the namespaces begin with.
    name: String,
    pub(crate) directory: TempDir,
    server: Option<Child>,
    /// Serves e1.1, or e1.0 on the second wire, where a test needs two.
    second: Option<Child>,
    mtu_bytes: u32,
}

impl Bench {
    pub(crate) fn new(mtu_bytes: u32) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("la-{}-{count}", std::process::id());
        let directory = tempfile::tempdir().unwrap();
        let lun = File::create(directory.path().join("lun")).unwrap();
        lun.set_len(LUN_BYTES).unwrap();
        let bench = Self {
            name,
            directory,
            server: None,
            second: None,
            mtu_bytes,
        };
        for end in ['t', 'c'] {
            ip(&format!("netns add {}", bench.namespace(end)));
            // Nothing but what is sent here: interfaces count frames of every protocol.
            for scope in ["all", "default"] {
                let off = format!("net.ipv6.conf.{scope}.disable_ipv6=1");
                let done = bench.inside(end, "sysctl", &["-qw", &off]).status();
                assert!(done.expect(INSTALL).success(), "{off}");
            }
        }
        bench.wire("t0", "c0", 1);
        bench
    }

    /// Joins the namespaces by a veth pair with so many queues each way.
    fn wire(&self, there: &str, here: &str, queues: u32) {
        let (target, client) = (self.namespace('t'), self.namespace('c'));
        let queues = format!("numtxqueues {queues} numrxqueues {queues}");
        ip(&format!(
            "link add {there} netns {target} {queues} type veth peer name {here} netns {client} {queues}"
        ));
        for (namespace, end) in [(&target, there), (&client, here)] {
            let mtu = self.mtu_bytes;
            ip(&format!("-n {namespace} link set {end} mtu {mtu} up"));
        }
    }

    /// Joins them once more, and serves the same LUN there.
    pub(crate) fn start_on_second_wire(&mut self, queues: u32) {
        self.wire("t1", "c1", queues);
        self.second = Some(self.vblade("0", "t1", &self.lun()));
        self.wait_for("c1", "1.0");
    }

    /// A program to be started at one end.
    pub(crate) fn inside(&self, end: char, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.namespace(end)))
            .arg(program)
            .args(arguments);
        command
    }

    /// Sends vblade a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let server = self.server.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([signal, &server]).status();
        assert!(sent.unwrap().success());
    }

    /// A bench with vblade serving e1.0.
    pub(crate) fn serving(mtu_bytes: u32) -> Self {
        let mut bench = Self::new(mtu_bytes);
        bench.start();
        bench
    }

    pub(crate) fn namespace(&self, end: char) -> String {
        format!("{}{end}", self.name)
    }

    pub(crate) fn lun(&self) -> PathBuf {
        self.directory.path().join("lun")
    }

    /// Starts vblade and waits until it answers.
    pub(crate) fn start(&mut self) {
        self.server = Some(self.vblade("0", "t0", &self.lun()));
        self.wait_for("c0", "1.0");
    }

    /// Starts a second vblade, for another LUN, and waits until it answers.
    pub(crate) fn start_second(&mut self) {
        let path = self.directory.path().join("second");
        File::create(&path).unwrap().set_len(LUN_BYTES).unwrap();
        self.second = Some(self.vblade("1", "t0", &path));
        self.wait_for("c0", "1.1");
    }

    fn vblade(&self, slot: &str, interface: &str, lun: &Path) -> Child {
        self.inside('t', "vblade", &["-b", "64", "1", slot, interface])
            .arg(lun)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(INSTALL)
    }

    fn wait_for(&mut self, interface: &str, target: &str) {
        for _ in 0..100 {
            let options = format!("discover --interface {interface} --seconds 0.2 --json");
            let found = self.aoeload(&options);
            assert_eq!(found.status.code(), Some(0), "{}", text(&found.stderr));
            if text(&found.stdout).contains(&format!("\"{target}\"")) {
                return;
            }
            let server = self.server.as_mut().unwrap();
            let ended = server.try_wait().unwrap();
            assert!(ended.is_none(), "vblade ended ({ended:?}): {INSTALL}");
        }
        panic!("vblade does not answer");
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Waits until something is written to the LUN.
    pub(crate) fn wait_for_writes(&self) {
        let modified = || self.lun().metadata().unwrap().modified().unwrap();
        let before = modified();
        for _ in 0..1500 {
            if modified() != before {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("nothing is written");
    }

    /// Waits until the target has received so many frames.
    pub(crate) fn wait_for_frames(&self, frames: u64) {
        let target = NamespacePath::named(&self.namespace('t'));
        for _ in 0..1500 {
            let link = target.within(|| port::link("t0")).unwrap();
            let received = link.counters.iter().find(|(name, _)| *name == "rx_packets");
            if received.unwrap().1 >= frames {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("nothing comes");
    }

    pub(crate) fn command(&self, options: &str) -> Command {
        let arguments: Vec<_> = options.split_whitespace().collect();
        self.inside('c', env!("CARGO_BIN_EXE_aoeload"), &arguments)
    }

    pub(crate) fn aoeload(&self, options: &str) -> Output {
        self.command(options).output().expect(INSTALL)
    }

    /// Runs `aoeload` with options that ask for JSON; returns its exit code and its result.
    pub(crate) fn report_of(&self, options: &str) -> (i32, Value) {
        report(&self.aoeload(options), options)
    }

    /// Starts a load that goes on meanwhile.
    pub(crate) fn running(&self, options: &str) -> Running {
        let options = format!("--interface c0 --target 1.0 --json {options}");
        let child = self
            .command(&options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running { child, options }
    }

    /// Takes an interface of the target down.
    pub(crate) fn cut(&self, interface: &str) {
        ip(&format!(
            "-n {} link set {interface} down",
            self.namespace('t')
        ));
    }

    /// Runs a load; returns its exit code and its result.
    pub(crate) fn load(&self, options: &str) -> (i32, Value) {
        let output = self.aoeload(&format!("--interface c0 --target 1.0 --json {options}"));
        report(&output, options)
    }
}

/// A load that goes on.
pub(crate) struct Running {
    child: Child,
    options: String,
}

impl Running {
    /// Waits for its end; its exit code and its result.
    pub(crate) fn result(self) -> (i32, Value) {
        report(&self.child.wait_with_output().unwrap(), &self.options)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for server in self.server.iter_mut().chain(&mut self.second) {
            // It may have ended by itself; either way nothing is left of it.
            if server.kill().is_ok() && server.wait().is_err() {
                writeln!(std::io::stderr(), "vblade has no exit status").ok();
            }
        }
        for end in ['t', 'c'] {
            let name = self.namespace(end);
            if Command::new("ip")
                .args(["netns", "del", &name])
                .status()
                .is_err()
            {
                writeln!(std::io::stderr(), "{name} is left over").ok();
            }
        }
    }
}

pub(crate) fn ip(arguments: &str) {
    match Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
    {
        Ok(output) => assert!(
            output.status.success(),
            "ip {arguments}: {}; {INSTALL}",
            text(&output.stderr)
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => panic!("{INSTALL}"),
        Err(error) => panic!("ip {arguments}: {error}"),
    }
}

pub(crate) fn report(output: &Output, options: &str) -> (i32, Value) {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let value = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{options}: {error}: {stdout:?}\n{stderr}"));
    (output.status.code().unwrap(), value)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

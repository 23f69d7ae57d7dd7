//! Network namespaces joined by a veth pair, and frames to send through them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot set up its network fails, and says why"
)]

use port::{ETHERTYPE_AOE, Opening, Port, RawSocket, RequestedMode, SharedMemory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// How long a frame may stay away before a test gives up. Never reached on a working machine.
const PATIENCE_S: i64 = 20;

/// Two namespaces, `near` with interface `lp0` and `far` with interface `lp1`. Gone when dropped.
pub(crate) struct Net {
    pub(crate) near: String,
    pub(crate) far: String,
}

pub(crate) const NEAR: &str = "lp0";
pub(crate) const FAR: &str = "lp1";

/// A mode, and whether the port is over memory that it shares.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) mode: RequestedMode,
    pub(crate) shares: bool,
}

impl From<RequestedMode> for Kind {
    fn from(mode: RequestedMode) -> Self {
        Self {
            mode,
            shares: false,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = if self.shares { ", shared memory" } else { "" };
        write!(f, "{}{how}", self.mode)
    }
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Net {
    pub(crate) fn new(mtu_bytes: usize) -> Self {
        Self::with_queues(mtu_bytes, 1, 1)
    }

    pub(crate) fn with_queues(mtu_bytes: usize, near: u32, far: u32) -> Self {
        let id = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let net = Self {
            near: format!("lp-{id}-near"),
            far: format!("lp-{id}-far"),
        };
        ip(&format!("netns add {}", net.near));
        ip(&format!("netns add {}", net.far));
        let queues = |count| format!("numrxqueues {count} numtxqueues {count}");
        let (near, far) = (queues(near), queues(far));
        ip(&format!(
            "link add {NEAR} netns {} {near} type veth peer name {FAR} netns {} {far}",
            net.near, net.far
        ));
        for (namespace, interface) in [(&net.near, NEAR), (&net.far, FAR)] {
            // Neighbour discovery would only add frames that no test asked for.
            inside(namespace, || {
                let file = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
                if std::path::Path::new(file).exists() {
                    std::fs::write(file, "1").unwrap();
                }
            });
            ip(&format!(
                "-n {namespace} link set {interface} mtu {mtu_bytes} up"
            ));
        }
        net
    }

    /// Opens the near interface.
    pub(crate) fn open(&self, kind: impl Into<Kind>) -> Vec<Box<dyn Port>> {
        let Kind { mode, shares } = kind.into();
        let memory = shares.then(|| SharedMemory::new(1).unwrap().0);
        self.open_sharing(mode, memory.as_ref())
    }

    /// Opens the near interface over this memory.
    pub(crate) fn open_sharing(
        &self,
        mode: RequestedMode,
        memory: Option<&SharedMemory>,
    ) -> Vec<Box<dyn Port>> {
        let open = || {
            let opening = Opening {
                mode,
                memory: &|_| memory,
                ..Opening::default()
            };
            port::open_as(NEAR, &opening)
        };
        inside(&self.near, open).unwrap()
    }

    /// Opens the near interface, which has one port.
    pub(crate) fn open_one(&self, kind: impl Into<Kind>) -> Box<dyn Port> {
        let mut ports = self.open(kind);
        assert_eq!(ports.len(), 1);
        ports.remove(0)
    }

    /// A packet socket for AoE on the far interface.
    pub(crate) fn peer(&self) -> RawSocket {
        self.far_socket(ETHERTYPE_AOE)
    }

    pub(crate) fn far_socket(&self, ethertype: u16) -> RawSocket {
        inside(&self.far, || RawSocket::open(FAR, ethertype)).unwrap()
    }

    /// A packet socket for AoE on an interface of a VLAN on the far interface; `None` when this kernel has no
    /// such interfaces.
    pub(crate) fn vlan_peer(&self, vlan: u16) -> Option<RawSocket> {
        let far = &self.far;
        let name = format!("{FAR}.{vlan}");
        let added = Command::new("ip")
            .args(["-n", far, "link", "add", "link", FAR, "name", &name])
            .args(["type", "vlan", "id", &vlan.to_string()])
            .output()
            .unwrap();
        if String::from_utf8_lossy(&added.stderr).contains("Unknown device type") {
            return None;
        }
        assert!(added.status.success(), "{added:?}");
        ip(&format!("-n {far} link set {name} up"));
        Some(inside(far, || RawSocket::open(&name, ETHERTYPE_AOE)).unwrap())
    }

    pub(crate) fn near_socket(&self, ethertype: u16) -> RawSocket {
        inside(&self.near, || RawSocket::open(NEAR, ethertype)).unwrap()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // The veth pair goes with its namespaces; a panic must not stop the second deletion.
        for namespace in [&self.near, &self.far] {
            let result = Command::new("ip")
                .args(["netns", "del", namespace])
                .status();
            if !result.as_ref().is_ok_and(std::process::ExitStatus::success) {
                say(&format!(
                    "could not delete namespace {namespace}: {result:?}"
                ));
            }
        }
    }
}

/// Runs `ip` with these arguments.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the body in a thread of its own inside the namespace. What it opens stays there.
pub(crate) fn inside<T: Send>(namespace: &str, body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(format!("/run/netns/{namespace}")).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            body()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Prints a line that shows with `--nocapture`.
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// An AoE frame of this length whose every byte depends on `seed`.
pub(crate) fn frame(len: usize, seed: usize) -> Vec<u8> {
    ethernet_frame(ETHERTYPE_AOE, len, seed)
}

pub(crate) fn ethernet_frame(ethertype: u16, len: usize, seed: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len)
        .map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed.wrapping_mul(97)) as u8)
        .collect();
    bytes[..6].fill(0xff);
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
    bytes
}

/// Waits until one of the descriptors is readable.
fn wait(fds: &[std::os::fd::BorrowedFd<'_>]) {
    let mut polls: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let patience = Timespec {
        tv_sec: PATIENCE_S,
        tv_nsec: 0,
    };
    let ready = poll(&mut polls, Some(&patience)).unwrap();
    assert!(ready > 0, "nothing arrived");
}

/// The next frame at the packet socket.
pub(crate) fn next_frame(socket: &mut RawSocket) -> Vec<u8> {
    let mut bytes = vec![0; 70_000];
    loop {
        if let Some(len) = socket.receive(&mut bytes).unwrap() {
            bytes.truncate(len);
            return bytes;
        }
        wait(&[socket.as_fd()]);
    }
}

/// Everything that waits at the packet socket now.
pub(crate) fn waiting_frames(socket: &mut RawSocket) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut bytes = vec![0; 70_000];
    while let Some(len) = socket.receive(&mut bytes).unwrap() {
        frames.push(bytes[..len].to_vec());
    }
    frames
}

/// Takes frames from the port until there are `count`, at most `budget` per call.
pub(crate) fn take(port: &mut dyn Port, count: usize, budget: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let handed = port.receive(budget, &mut |frame| {
            let whole = frame.len_bytes();
            assert!(
                frame.first.len() >= whole.min(60),
                "a first segment of {}",
                frame.first.len()
            );
            let mut bytes = vec![0; whole];
            assert_eq!(frame.copy_to(0, &mut bytes), whole);
            frames.push(bytes);
        });
        assert!(handed <= budget);
        if handed == 0 {
            wait(port.poll_fd().as_slice());
        }
    }
    frames
}

/// Sends the frame back as a header and a payload, as the shelf does.
pub(crate) fn send_back(port: &mut dyn Port, frame: &[u8]) {
    let (header, payload) = frame.split_at(frame.len().min(36));
    port.transmit(header, payload).unwrap();
    port.flush();
}

/// One frame there and back, compared byte for byte both times.
pub(crate) fn echo(port: &mut dyn Port, peer: &mut RawSocket, len: usize) {
    let sent = frame(len, len);
    peer.send(&sent).unwrap();
    let received = take(port, 1, 8).remove(0);
    assert!(received == sent, "{len} bytes changed on the way in");
    send_back(port, &received);
    let back = next_frame(peer);
    assert!(back == sent, "{len} bytes changed on the way out");
}

//! A console on a real wire: two network namespaces and a veth pair, with a toy at the shelf's end that
//! speaks the protocol, echoes, and knows a few commands.
#![allow(dead_code, reason = "each test program uses a part of it")]

use cec::{Action, Identity, PortIndex, Server, SessionId};
use port::RawSocket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use testbed::PairNetwork;
use testbed::network::{CLIENT_INTERFACE, TARGET_INTERFACE};

/// Output of the toy's command `big`, in bytes.
const BIG_BYTES: usize = 300_000;

/// A namespace needs privileges that some build machines do not give.
pub(crate) fn network() -> Option<PairNetwork> {
    let possible = Command::new("unshare").args(["-n", "true"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        skip("no network namespace can be made here");
        return None;
    }
    Some(PairNetwork::new(1500).expect("a veth pair between two namespaces"))
}

#[allow(clippy::print_stderr, reason = "a skipped test must say so")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// A shelf number 7 with a console that echoes, and knows `big`, `slow` and `bye`.
pub(crate) struct Toy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Toy {
    pub(crate) fn start(network: &PairNetwork) -> Self {
        Self::with(network, false)
    }

    /// One that answers probes, and nothing else.
    pub(crate) fn mute(network: &PairNetwork) -> Self {
        Self::with(network, true)
    }

    fn with(network: &PairNetwork, is_mute: bool) -> Self {
        let open = || Ok(RawSocket::open(TARGET_INTERFACE, cec::ETHERTYPE)?);
        let socket = network.target.enter(open).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || Console::new(socket, is_mute).run(&told));
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the toy console panicked");
        }
    }
}

struct Console {
    server: Server,
    socket: RawSocket,
    start: Instant,
    is_mute: bool,
    lines: BTreeMap<SessionId, Vec<u8>>,
    unsent: BTreeMap<SessionId, Vec<u8>>,
    slow: Option<(Duration, SessionId)>,
}

impl Console {
    fn new(socket: RawSocket, is_mute: bool) -> Self {
        let mut server = Server::new(Identity::new(Some(aoe::Shelf(7)), "toy"));
        server.attach(PortIndex(0), socket.mac());
        Self {
            server,
            socket,
            start: Instant::now(),
            is_mute,
            lines: BTreeMap::new(),
            unsent: BTreeMap::new(),
            slow: None,
        }
    }

    fn run(&mut self, stop: &AtomicBool) {
        let wait = Timespec::try_from(Duration::from_millis(5)).unwrap();
        let mut buffer = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            poll(&mut fds, Some(&wait)).unwrap();
            let now = self.start.elapsed();
            while let Some(length) = self.socket.receive(&mut buffer).unwrap() {
                self.server.receive(now, PortIndex(0), &buffer[..length]);
                self.perform(now);
            }
            if let Some((_, session)) = self.slow.take_if(|(time, _)| *time <= now) {
                self.print(now, session, b"at last\r\ntoy> ");
            }
            self.server.tick(now);
            self.perform(now);
        }
    }

    fn perform(&mut self, now: Duration) {
        while let Some(action) = self.server.next_action() {
            match action {
                Action::Transmit { frame, .. } => {
                    let kind = cec::Frame::parse(&frame).unwrap().kind;
                    if !self.is_mute || kind == cec::Kind::Offer {
                        self.socket.send(&frame).unwrap();
                    }
                }
                Action::Opened { session, .. } => self.print(now, session, b"toy> "),
                Action::Input { session, bytes } => {
                    for byte in bytes {
                        self.typed(now, session, byte);
                    }
                }
                Action::Writable { session } => self.print(now, session, b""),
                Action::Closed { session } => {
                    self.lines.remove(&session);
                    self.unsent.remove(&session);
                }
            }
        }
    }

    fn typed(&mut self, now: Duration, session: SessionId, byte: u8) {
        if byte != b'\r' {
            self.lines.entry(session).or_default().push(byte);
            self.print(now, session, &[byte]);
            return;
        }
        self.print(now, session, b"\r\n");
        match &self.lines.remove(&session).unwrap_or_default()[..] {
            b"big" => self.print(now, session, &big()),
            b"bye" => return self.server.close(now, session),
            b"slow" => {
                self.slow = Some((now + Duration::from_millis(300), session));
                return self.print(now, session, b"");
            }
            line => {
                let answer = format!("{} bytes\r\n", line.len());
                self.print(now, session, answer.as_bytes());
            }
        }
        self.print(now, session, b"toy> ");
    }

    /// Output, kept here as long as the server has no room.
    fn print(&mut self, now: Duration, session: SessionId, bytes: &[u8]) {
        let unsent = self.unsent.entry(session).or_default();
        unsent.extend(bytes);
        if let Ok(accepted) = self.server.output(now, session, unsent) {
            unsent.drain(..accepted);
        }
        let busy = !unsent.is_empty() || self.slow.is_some();
        self.server.set_busy(now, session, busy);
    }
}

pub(crate) fn big() -> Vec<u8> {
    (0..BIG_BYTES).map(|n| b'a' + (n % 23) as u8).collect()
}

pub(crate) fn cec(network: &PairNetwork, options: &str) -> Command {
    let mut command = network.client.command(env!("CARGO_BIN_EXE_cec"));
    command.args(options.split(' ')).arg(CLIENT_INTERFACE);
    command
}

/// Runs cec with piped input.
pub(crate) fn pipe(network: &PairNetwork, options: &str, input: &[u8]) -> Output {
    let mut child = cec(network, options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

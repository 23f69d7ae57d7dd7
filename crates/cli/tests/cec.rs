//! The `cec` program against a toy console on a real wire: two network namespaces and a veth pair.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use cec::{Action, Identity, PortIndex, Server, SessionId};
use port::RawSocket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use rustix::termios::LocalModes;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use testbed::PairNetwork;
use testbed::network::{CLIENT_INTERFACE, TARGET_INTERFACE};
use testbed::pty::Pty;

/// Output of the toy's command `big`, in bytes.
const BIG_BYTES: usize = 300_000;

/// A namespace needs privileges that some build machines do not give.
fn network() -> Option<PairNetwork> {
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
struct Toy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Toy {
    fn start(network: &PairNetwork) -> Self {
        let open = || Ok(RawSocket::open(TARGET_INTERFACE, cec::ETHERTYPE)?);
        let socket = network.target.enter(open).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || Console::new(socket).run(&told));
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
    lines: BTreeMap<SessionId, Vec<u8>>,
    unsent: BTreeMap<SessionId, Vec<u8>>,
    slow: Option<(Duration, SessionId)>,
}

impl Console {
    fn new(socket: RawSocket) -> Self {
        let mut server = Server::new(Identity::new(Some(aoe::Shelf(7)), "toy"));
        server.attach(PortIndex(0), socket.mac());
        Self {
            server,
            socket,
            start: Instant::now(),
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
                Action::Transmit { frame, .. } => self.socket.send(&frame).unwrap(),
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

fn big() -> Vec<u8> {
    (0..BIG_BYTES).map(|n| b'a' + (n % 23) as u8).collect()
}

fn cec(network: &PairNetwork, options: &str) -> Command {
    let mut command = network.client.command(env!("CARGO_BIN_EXE_cec"));
    command.args(options.split(' ')).arg(CLIENT_INTERFACE);
    command
}

/// Runs cec with piped input.
fn pipe(network: &PairNetwork, options: &str, input: &[u8]) -> Output {
    let mut child = cec(network, options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_probe_prints_one_row_per_shelf_and_fails_when_there_is_none() {
    let Some(network) = network() else { return };
    let output = pipe(&network, "-s 7 -w 1", b"");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, "Probing for shelves ... none found.\n");
    assert_eq!(pipe(&network, "-p -w 1", b"").status.code(), Some(1));
    let toy = Toy::start(&network);
    let output = pipe(&network, "-p -w 1", b"");
    let row = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        row.starts_with("7       ") && row.len() == 8 + 12 + 1,
        "{row:?}"
    );
    let mac = row.trim_end()[8..].to_owned();
    assert_eq!(mac, mac.to_uppercase());
    let output = pipe(&network, &format!("-m {mac}"), b"x\r");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(pipe(&network, "-w 1 -s 8", b"").status.code(), Some(1));
    drop(toy);
}

#[test]
fn piped_input_gets_its_whole_answer_and_status_0() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let output = pipe(&network, "-q -s 7", b"big\rslow\r");
    let mut expected = b"toy> big\r\n".to_vec();
    expected.extend(big());
    expected.extend(b"toy> slow\r\nat last\r\ntoy> ");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(
        output.stdout == expected,
        "{} bytes came",
        output.stdout.len()
    );

    let mut long = vec![b'z'; 20_000];
    long.push(b'\r');
    let output = pipe(&network, "-q -s 7", &long);
    assert!(output.stdout.ends_with(b"z\r\n20000 bytes\r\ntoy> "));

    let output = pipe(&network, "-q", b"7\nhi\r");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("SHELF | EA\n7       "), "{stdout:?}");
    assert!(
        stdout.ends_with("\n[#qp]: toy> hi\r\n2 bytes\r\ntoy> "),
        "{stdout:?}"
    );
    drop(toy);
}

#[test]
fn a_batch_beside_an_open_session_leaves_that_alone() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let mut user = Pty::start(cec(&network, "-s 7")).unwrap();
    user.expect("toy> ").unwrap();
    let output = pipe(&network, "-q -s 7", b"hi\r");
    assert_eq!(output.stdout, b"toy> hi\r\n2 bytes\r\ntoy> ");
    assert_eq!(output.status.code(), Some(0));
    user.type_text("still\r").unwrap();
    user.expect("5 bytes\r\ntoy> ").unwrap();
    user.type_text("bye\r").unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(0));
    drop(toy);
}

#[test]
fn a_user_has_echo_the_escape_menu_and_a_session_that_survives_a_restart() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let mut user = Pty::start(cec(&network, "-s 7 -e d")).unwrap();
    user.expect("Probing for shelves ... shelf 7 found.")
        .unwrap();
    user.expect("Escape is Ctrl-d").unwrap();
    user.expect("toy> ").unwrap();
    user.type_text("abc\r").unwrap();
    user.expect("abc\r\n3 bytes\r\ntoy> ").unwrap();
    user.type_text("\x04i\r").unwrap();
    user.expect(">>> ").unwrap();
    user.expect("\x04").unwrap();
    user.type_text("\r").unwrap();
    user.expect("1 bytes\r\ntoy> ").unwrap();
    drop(toy);
    let toy = Toy::start(&network);
    user.type_text("again\r").unwrap();
    user.expect("toy> ").unwrap();
    user.expect("5 bytes\r\ntoy> ").unwrap();
    user.type_text("\x04").unwrap();
    user.expect(">>> ").unwrap();
    user.type_text("q").unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(0));
    drop(toy);
}

#[test]
fn the_picker_asks_again_after_a_session_and_the_shelf_can_end_one() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let mut user = Pty::start(cec(&network, "-w 1")).unwrap();
    user.expect("SHELF | EA\r\n7       ").unwrap();
    user.expect("[#qp]: ").unwrap();
    user.type_text("8\n").unwrap();
    user.expect("[#qp]: ").unwrap();
    user.type_text("7\n").unwrap();
    user.expect("connecting ... ").unwrap();
    user.expect("toy> ").unwrap();
    user.type_text("bye\r").unwrap();
    user.expect("[#qp]: ").unwrap();
    user.type_text("p\n").unwrap();
    user.expect("done.").unwrap();
    user.expect("[#qp]: ").unwrap();
    user.type_text("7\n").unwrap();
    user.expect("toy> ").unwrap();
    drop(toy);
    user.type_text("x").unwrap();
    user.expect("Connection timed out").unwrap();
    user.expect("[#qp]: ").unwrap();
    user.type_text("q\n").unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(0));
}

#[test]
fn a_signal_ends_the_session_and_restores_the_terminal() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let mut user = Pty::start(cec(&network, "-s 7")).unwrap();
    user.expect("toy> ").unwrap();
    let during = user.local_modes().unwrap();
    assert!(!during.contains(LocalModes::ICANON), "raw mode");
    user.signal(Signal::TERM).unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(128 + 15));
    assert_eq!(user.local_modes().unwrap(), user.modes_before());
    drop(toy);
}

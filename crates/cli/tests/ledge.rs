//! The `ledge` program against a console in this process, over a real socket.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests; a panic is the failure of the test"
)]

#[path = "../../console/tests/fake/mod.rs"]
mod fake;

use console::host::World;
use console::protocol::{self, Greeting, PromptKind, Request};
use console::{Session, SessionOptions};
use fake::{FakeHost, FakeShelf, administrator};
use std::io::{BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use tempfile::TempDir;
use testbed::pty::Pty;

/// A socket with a shelf behind it. Its threads end with the process.
struct Server {
    _directory: TempDir,
    socket: PathBuf,
}

impl Server {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let shelf = Arc::new(Mutex::new((FakeShelf::new(), FakeHost::default())));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shelf = Arc::clone(&shelf);
                thread::spawn(move || serve(stream.unwrap(), &shelf));
            }
        });
        Self {
            _directory: directory,
            socket,
        }
    }

    fn run(&self, words: &[&str], stdin: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledge"));
        command.arg("--socket").arg(&self.socket).args(words);
        feed(command, stdin)
    }

    /// The standard output of a command that is done without a word of complaint.
    fn good(&self, words: &[&str], stdin: &str) -> String {
        let output = self.run(words, stdin);
        assert_eq!(text(&output.stderr), "", "{words:?}");
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        text(&output.stdout)
    }

    /// Standard output and standard error of a command that fails.
    fn bad(&self, words: &[&str], stdin: &str) -> (String, String) {
        let output = self.run(words, stdin);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        (text(&output.stdout), text(&output.stderr))
    }
}

fn serve(stream: UnixStream, shelf: &Mutex<(FakeShelf, FakeHost)>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let mut session = Session::new(SessionOptions::default());
    let who = administrator();
    let prompt = {
        let (admin, host) = &mut *shelf.lock().unwrap();
        let who = &who;
        Session::command_prompt(&World { admin, host, who })
    };
    protocol::write(&mut writer, &Greeting::new("test", prompt)).unwrap();
    while let Ok(Some(request)) = protocol::read::<Request>(&mut reader) {
        let response = {
            let (admin, host) = &mut *shelf.lock().unwrap();
            let who = &who;
            session.request(&mut World { admin, host, who }, &request)
        };
        protocol::write(&mut writer, &response).unwrap();
        if response.prompt.kind == PromptKind::End {
            return;
        }
    }
}

fn feed(command: Command, stdin: &str) -> Output {
    testbed::process::feed(command, stdin.as_bytes()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_command_prints_its_output_and_succeeds() {
    let server = Server::start();
    assert_eq!(server.good(&["show", "-l", "1.0-1"], ""), {
        "1.0  4000.787GB up\n1.1  4000.787GB up\n"
    });
    assert_eq!(server.good(&["make", "0", "raid10", "1.0-15"], ""), "");
    assert_eq!(server.good(&["online", "0"], ""), "");
    assert_eq!(server.good(&["list"], ""), " 0 32006.295GB online\n");
    assert!(
        server
            .good(&["help", "show"], "")
            .starts_with("usage: show")
    );
    assert_eq!(server.good(&["exit"], ""), "");
}

#[test]
fn failures_go_to_the_standard_error() {
    let server = Server::start();
    let (stdout, stderr) = server.bad(&["show", "1.15-17"], "");
    assert_eq!(stdout, "1.15\n");
    assert_eq!(stderr, "error: drive 1.16 does not exist\nskipping: 1.17\n");
    assert_eq!(
        server.bad(&["unlabel"], ""),
        (String::new(), "usage: unlabel LUN ...\n".to_owned())
    );
    let (_, stderr) = server.bad(&["frob nicate's"], "");
    assert_eq!(stderr, "error: unknown command frob nicate's\n");
    let (_, stderr) = server.bad(&["-x"], "");
    assert_eq!(stderr, "error: unknown command -x\n");
}

#[test]
fn json_is_asked_for_before_or_after_the_command() {
    let server = Server::start();
    let shelf = "{\"schema\":1,\"ok\":true,\"data\":[{\"shelf\":1}]}\n";
    assert_eq!(server.good(&["-j", "shelf"], ""), shelf);
    assert_eq!(server.good(&["--json", "shelf"], ""), shelf);
    assert_eq!(server.good(&["shelf", "-j"], ""), shelf);
    assert_eq!(server.good(&["-j"], "shelf\n"), shelf);
    let (stdout, stderr) = server.bad(&["-j", "online", "7"], "");
    assert_eq!(stderr, "");
    assert!(stdout.starts_with("{\"schema\":1,\"ok\":false,\"errors\":[{\"code\":\"no_such_lun\""));
}

#[test]
fn questions_are_answered_from_the_standard_input() {
    let server = Server::start();
    server.good(&["jbod", "1.0-3"], "");
    let question = "'n' to cancel, 'a' for all, or 'y' to rmlun";
    assert_eq!(server.good(&["rmlun", "0"], "y\n"), {
        format!("Request to rmlun 1 lun: 0\n{question} 0 [n]: \n")
    });
    let (stdout, stderr) = server.bad(&["rmlun", "1", "2"], "y\nn\n");
    assert_eq!(stderr, "");
    assert_eq!(stdout, {
        format!(
            "Request to rmlun 2 luns: 1 and 2\n{question} 1 [n]: \n{question} 2 [n]: \n\
             action canceled\n"
        )
    });
    assert_eq!(
        server.good(&["list"], ""),
        " 2 4000.786GB offline\n 3 4000.786GB offline\n"
    );
    assert_eq!(server.good(&["rmlun", "-f", "2"], ""), "");
}

#[test]
fn the_end_of_the_input_is_no_consent() {
    let server = Server::start();
    server.good(&["jbod", "1.0"], "");
    let (stdout, _) = server.bad(&["remove", "0"], "");
    assert!(stdout.ends_with("[n]: \naction canceled\n"), "{stdout}");
    let output = server.run(&["-j", "remove", "0"], "");
    assert!(text(&output.stderr).contains("or type 0 to remove LUN 0 [n]: "));
    assert!(text(&output.stdout).contains("\"code\":\"canceled\""));
    assert_eq!(server.good(&["list"], ""), " 0 4000.786GB offline\n");
}

#[test]
fn piped_lines_are_commands_and_answers() {
    let server = Server::start();
    let script = "jbod 1.0-1\r\n\nremove 0\n0\nlist\nexit\nshow\n";
    let stdout = server.good(&[], script);
    assert!(
        stdout.ends_with("[n]: \n 1 4000.786GB offline\n"),
        "{stdout}"
    );
    let (stdout, stderr) = server.bad(&[], "online 9\nlist\n");
    assert_eq!(stdout, " 1 4000.786GB offline\n");
    assert_eq!(stderr, "error: LUN 9 does not exist\n");
    assert_eq!(server.good(&[], ""), "");
}

#[test]
fn a_missing_daemon_is_told() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("none.sock");
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledge"));
        command.arg("--socket").arg(&socket).args(words);
        feed(command, "")
    };
    let output = run(&["show"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    let start = format!("error: cannot reach ledged at {}: ", socket.display());
    assert!(
        stderr.starts_with(&start) && stderr.ends_with("; is it running?\n"),
        "{stderr}"
    );
    let output = run(&["show", "-j"]);
    assert_eq!(
        (output.status.code(), text(&output.stderr).as_str()),
        (Some(1), "")
    );
    assert!(text(&output.stdout).contains("\"code\":\"unreachable\""));
}

/// What `ledge` says to a server that sends `bytes` and closes.
fn stderr_for(bytes: &'static [u8]) -> String {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("odd.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(bytes).unwrap();
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledge"));
    command.arg("--socket").arg(&socket).arg("show");
    let output = feed(command, "");
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    text(&output.stderr)
}

#[test]
fn a_wrong_or_dying_server_is_told() {
    assert!(stderr_for(b"").contains("closed the connection at once"));
    assert!(stderr_for(b"SSH-2.0-x\n").contains("malformed message"));
    let other =
        b"{\"protocol\":99,\"version\":\"9\",\"prompt\":{\"kind\":\"command\",\"text\":\"\"}}\n";
    assert!(stderr_for(other).contains("speaks version 99 of the control protocol"));
    let stderr = stderr_for(
        b"{\"protocol\":3,\"version\":\"9\",\"prompt\":{\"kind\":\"command\",\"text\":\"\"}}\n",
    );
    // Whether the end is met in sending or in receiving is up to the kernel.
    assert!(stderr.starts_with("error: "), "{stderr}");
}

/// `ledge` on a terminal of its own.
struct Terminal(Pty);

impl Terminal {
    fn start(server: &Server) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledge"));
        command
            .arg("--socket")
            .arg(&server.socket)
            .env("TERM", "xterm")
            .env("NO_COLOR", "1");
        Self(Pty::start(command).unwrap())
    }

    /// Reads until the screen shows `text`; returns what it showed before.
    fn until(&mut self, text: &str) -> String {
        self.0.expect(text).unwrap()
    }

    fn keys(&mut self, keys: &str) {
        self.0.type_text(keys).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.0.exit_code().unwrap()
    }
}

#[test]
fn on_a_terminal_it_is_a_console() {
    let server = Server::start();
    let mut terminal = Terminal::start(&server);
    terminal.until("SR shelf 1> ");
    terminal.keys("jbod 1.0-1\r");
    terminal.until("SR shelf 1> ");
    terminal.keys("online 9\r");
    terminal.until("error: LUN 9 does not exist");
    terminal.until("SR shelf 1> ");
    terminal.keys("remove 0\r");
    terminal.until("Request to remove 1 LUN: 0");
    terminal.until("[n]: ");
    // Ctrl-C at a question is no.
    terminal.keys("\x03");
    terminal.until("action canceled");
    terminal.until("SR shelf 1> ");
    terminal.keys("remove 1\r");
    terminal.until("[n]: ");
    terminal.keys("y\r");
    terminal.until("SR shelf 1> ");
    terminal.keys("list\r");
    terminal.until(" 0 4000.786GB offline");
    terminal.until("SR shelf 1> ");
    // Ctrl-D ends it; who sits there has seen what failed.
    terminal.keys("\x04");
    assert_eq!(terminal.exit_code(), Some(0));
}

#[test]
fn lines_are_completed_edited_and_remembered() {
    let server = Server::start();
    let mut terminal = Terminal::start(&server);
    terminal.until("SR shelf 1> ");
    // Completed: the command, the number that is free, the type, a drive, and a series of them.
    terminal.keys("mak\t\traid10\t1.0-1\t5\r");
    terminal.until("make 0 raid10 1.0-1");
    terminal.until("SR shelf 1> ");
    terminal.keys("list -l 7\x7f0?");
    let help = terminal.until("SR shelf 1> list -l 0");
    assert!(help.contains("usage: list [-l] [-j] [LUN ...]"), "{help}");
    terminal.keys("\r");
    terminal.until("raid10 normal");
    terminal.until("SR shelf 1> ");
    // Twice up is what made it; the number is changed, and the shelf refuses.
    terminal.keys("\x1b[A\x1b[A\x01\x06\x06\x06\x06\x06\x04\x31\r");
    terminal.until("error: 1.0 already in use");
    terminal.keys("\x04");
    assert_eq!(terminal.exit_code(), Some(0));
}

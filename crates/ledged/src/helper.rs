//! What needs more rights than the daemon has: asked of systemd, which starts `ledged --helper` each time.
//!
//! Under the unit of the package the daemon is no root: it may make no socket of the Internet, stop no
//! machine and set no clock (`ledge-helper.socket`), and it may send no commands to drives and write nothing
//! of `/sys` (`ledge-drives.socket`). Who may ask is a property of these sockets, which only the daemon's
//! user may open. A daemon that was started as root does all that itself, and keeps the rights for it.
//!
//! Invariants:
//! * a question is some words, and one of those that [`question`] knows; anything else does nothing;
//! * an answer is `ok`, with a socket or a file where one was asked for, or the reason why not.
//!
//! A program that is run about a drive is stood for by `ledged --ask`, which asks, says what the program
//! said, and ends as it ended: so it is started, waited for and killed as the program itself would be.

mod question;

pub(crate) use crate::arguments::Helper;
use crate::clock::SystemClock;
use crate::machine;
use console::host::TimeSource;
use question::{Program, Question};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, socket_with,
};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Seek, Write};
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Longest question: so many servers of the clock as the console takes, with names as long as names are.
const QUESTION_BYTES_MAX: usize = 4096;

/// Longest answer, without what a program said.
const ANSWER_BYTES_MAX: usize = 1024;

/// Between the words of a question.
const SEPARATOR: char = '\0';

/// How a program ended that was ended by a signal.
const KILLED: u8 = 255;

/// A UDP socket that may send to anybody, of the family of an address.
pub(crate) fn udp_socket(is_ipv4: bool) -> io::Result<UdpSocket> {
    let (_, socket) = ask(Helper::System, &[if is_ipv4 { "udp4" } else { "udp6" }])?;
    let socket = socket.ok_or_else(|| io::Error::other("the helper gave no socket"))?;
    Ok(UdpSocket::from(socket))
}

/// Has the machine rebooted or switched off.
pub(crate) fn power(verb: &str) -> io::Result<()> {
    ask(Helper::System, &[verb]).map(drop)
}

/// Whether the clock is set by the helper: there is one, and we are not root ourselves.
pub(crate) fn asks_for_clock() -> bool {
    !rustix::process::geteuid().is_root() && Path::new(Helper::System.path()).exists()
}

/// Has the clock of the box set, in seconds since 1970.
pub(crate) fn set_clock(unix_seconds: u64) -> io::Result<()> {
    let seconds = unix_seconds.to_string();
    ask(Helper::System, &["clock-set", &seconds]).map(drop)
}

/// Has the clock kept from a source; after a boot, only as far as that is not so yet.
pub(crate) fn keep_clock(source: &TimeSource, is_after_boot: bool) -> io::Result<()> {
    let verb = if is_after_boot {
        "clock-restore"
    } else {
        "clock-keep"
    };
    let words: Vec<&str> = match source {
        TimeSource::Default => vec![verb, "default"],
        TimeSource::Off => vec![verb, "off"],
        TimeSource::Servers(servers) => {
            let servers = servers.iter().map(String::as_str);
            [verb, "servers"].into_iter().chain(servers).collect()
        }
    };
    ask(Helper::System, &words).map(drop)
}

/// Whether drives and their slots are asked by the helper: there is one, and we are not root ourselves.
pub(crate) fn asks_drives() -> bool {
    !rustix::process::geteuid().is_root() && Path::new(Helper::Drives.path()).exists()
}

/// Has drives and their slots asked by the helper, where it is its part.
pub(crate) fn ask_for_drives() {
    if !asks_drives() {
        return;
    }
    match std::env::current_exe() {
        Ok(program) => disk::ask_by(program),
        Err(error) => tracing::warn!("drives are asked without the helper: own program: {error}"),
    }
}

/// How `smartctl` ends that could not open its device.
const NOT_OPENED: u8 = 2;

/// Stands for a program that the helper runs: says what it says, and ends as it ends.
pub(crate) fn stand_for(words: &[String]) -> io::Result<ExitCode> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is_smartctl = words.first() == Some(&Program::Smartctl.name());
    match ask(Helper::Drives, &words) {
        Ok((code, output)) => {
            let mut output = output.map(File::from);
            // Whoever runs this one listens to what it says, and else to complaints only.
            match &mut output {
                Some(output) if is_smartctl => drop(io::copy(output, &mut io::stdout())?),
                Some(output) => drop(io::copy(output, &mut io::stderr())?),
                None => {}
            }
            Ok(ExitCode::from(code))
        }
        Err(error) if is_smartctl => {
            let told = serde_json::json!({"smartctl": {"exit_status": NOT_OPENED, "messages": [
                {"string": error.to_string(), "severity": "error"}]}});
            writeln!(io::stdout(), "{told}")?;
            Ok(ExitCode::from(NOT_OPENED))
        }
        Err(error) => {
            writeln!(io::stderr(), "{error}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// An answer: how a program ended, and what came with it.
type Answer = (u8, Option<OwnedFd>);

fn ask(helper: Helper, question: &[&str]) -> io::Result<Answer> {
    let path = helper.path();
    let told = |error| io::Error::other(format!("{path}: {error}"));
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?).map_err(told)?;
    exchange(socket.as_fd(), question)
}

/// Asks by a connected socket, and waits for the answer.
fn exchange(socket: BorrowedFd<'_>, question: &[&str]) -> io::Result<Answer> {
    let question = question.join(&SEPARATOR.to_string());
    if question.len() > QUESTION_BYTES_MAX {
        // The rest would be cut off.
        let length = question.len();
        return Err(io::Error::other(format!(
            "the question is {length} bytes long, and {QUESTION_BYTES_MAX} are the most"
        )));
    }
    rustix::net::send(socket, question.as_bytes(), SendFlags::NOSIGNAL)?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut answer)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut parts, &mut ancillary, flags)?;
    let mut passed = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            passed = descriptors.last();
        }
    }
    let text = String::from_utf8_lossy(answer.get(..received.bytes).unwrap_or_default());
    if text.is_empty() {
        return Err(io::Error::other("the helper has ended without an answer"));
    }
    match text.strip_prefix("ok ").map(str::parse) {
        Some(Ok(code)) => Ok((code, passed)),
        _ => Err(io::Error::other(text.into_owned())),
    }
}

/// Answers one question by a connected socket.
pub(crate) fn answer_one(helper: Helper, socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut question = [0; QUESTION_BYTES_MAX];
    let (length, _) = rustix::net::recv(socket, &mut question, RecvFlags::empty())?;
    let question = String::from_utf8_lossy(&question[..length]).into_owned();
    let words: Vec<&str> = question.split(SEPARATOR).collect();
    let done = Question::parse(helper, &words).map_err(io::Error::other);
    let (text, given) = match done.and_then(act) {
        Ok((code, given)) => (format!("ok {code}"), given),
        Err(error) => (error.to_string(), None),
    };
    let text = &text.as_bytes()[..text.len().min(ANSWER_BYTES_MAX)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = given.as_ref().map(|given| [given.as_fd()]);
    if let Some(descriptors) = &descriptors {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(
        socket,
        &[IoSlice::new(text)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn act(question: Question) -> io::Result<Answer> {
    let done = match question {
        Question::Udp { is_ipv4 } => {
            let any = if is_ipv4 { "0.0.0.0:0" } else { "[::]:0" };
            return Ok((0, Some(UdpSocket::bind(any)?.into())));
        }
        Question::Run { program, arguments } => return run(program, &arguments),
        Question::Led { file, is_on } => disk::leds::write(&file, if is_on { "1" } else { "0" })
            .map_err(|error| io::Error::other(format!("{}: {error}", file.display()))),
        Question::Power(verb) => machine::systemctl(verb).map_err(io::Error::other),
        Question::SetClock(unix_seconds) => {
            let done = SystemClock::own().set(unix_seconds);
            done.map_err(io::Error::other)
        }
        Question::KeepClock {
            source,
            is_after_boot,
        } => {
            let clock = SystemClock::own();
            let done = if is_after_boot {
                clock.restore(&source)
            } else {
                clock.keep(&source)
            };
            done.map_err(io::Error::other)
        }
    };
    done.map(|()| (0, None))
}

/// Runs a program to its end.
fn run(program: Program, arguments: &[String]) -> io::Result<Answer> {
    let path = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    collect(Command::new(program.name()).env("PATH", path), &arguments)
}

/// What a program says is in the file that comes of it, errors behind the rest.
fn collect(command: &mut Command, arguments: &[&str]) -> io::Result<Answer> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other(format!("{name} is not installed")),
        _ => io::Error::other(format!("{name} cannot be run: {error}")),
    };
    let said = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(failed)?;
    let mut file = File::from(rustix::fs::memfd_create(&*name, MemfdFlags::CLOEXEC)?);
    file.write_all(&said.stdout)?;
    file.write_all(&said.stderr)?;
    file.rewind()?;
    let code = said.status.code().and_then(|code| u8::try_from(code).ok());
    Ok((code.unwrap_or(KILLED), Some(file.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn asked(of: Helper, question: &[&str]) -> io::Result<Answer> {
        let flags = SocketFlags::CLOEXEC;
        let (daemon, helper) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        std::thread::scope(|scope| {
            scope.spawn(|| answer_one(of, helper.as_fd()).unwrap());
            exchange(daemon.as_fd(), question)
        })
    }

    #[test]
    fn a_socket_is_given_and_sends() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let limit = std::time::Duration::from_secs(10);
        receiver.set_read_timeout(Some(limit)).unwrap();
        let socket = UdpSocket::from(asked(Helper::System, &["udp4"]).unwrap().1.unwrap());
        let to = receiver.local_addr().unwrap();
        socket.send_to(b"hello", to).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
    }

    #[test]
    fn what_nobody_knows_does_nothing() {
        for question in [
            &["halt"][..],
            &[""],
            &["udp4 "],
            &["udp4", ""],
            &["; reboot"],
        ] {
            let error = asked(Helper::System, question).unwrap_err().to_string();
            assert_eq!(error, "there is no such question", "{question:?}");
        }
        let wrong = asked(Helper::Drives, &["smartctl", "-x", "/dev/null"]).unwrap_err();
        assert_eq!(wrong.to_string(), "/dev/null is no block device");
    }

    #[test]
    fn a_question_that_would_be_cut_off_is_not_asked() {
        let long = "x".repeat(QUESTION_BYTES_MAX);
        let flags = SocketFlags::CLOEXEC;
        let (daemon, _helper) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .unwrap();
        let told = exchange(daemon.as_fd(), &["clock-keep", "servers", &long]);
        let told = told.unwrap_err().to_string();
        assert!(told.contains("are the most"), "{told}");
    }

    #[test]
    fn what_a_program_says_is_told_with_how_it_ended() {
        let (code, output) =
            collect(&mut Command::new("sh"), &["-c", "echo said; exit 4"]).unwrap();
        let mut text = String::new();
        File::from(output.unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!((code, text.as_str()), (4, "said\n"));
        let (code, _) = collect(&mut Command::new("sh"), &["-c", "kill -9 $$"]).unwrap();
        assert_eq!(code, KILLED);
        let nothing = collect(&mut Command::new("no-such-program"), &[]).unwrap_err();
        assert_eq!(nothing.to_string(), "no-such-program is not installed");
    }
}

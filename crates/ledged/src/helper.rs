//! What needs more rights than the daemon has: asked of systemd, which starts `ledged --helper` each time.
//!
//! Under the unit of the package the daemon is no root and may make no socket of the Internet. Who may ask is
//! a property of the socket (`ledge-helper.socket`), which only the daemon's user may open.
//!
//! Invariants:
//! * a question is one word of [`QUESTIONS`]; anything else does nothing;
//! * an answer is `ok`, with a socket where one was asked for, or the reason why not.

use crate::machine;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, socket_with,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::UdpSocket;

/// Where the helper is asked.
const PATH: &str = "/run/ledge-helper.sock";

/// Longest answer.
const ANSWER_BYTES_MAX: usize = 1024;

/// Everything that can be asked for.
const QUESTIONS: [&str; 4] = ["reboot", "poweroff", "udp4", "udp6"];

/// A UDP socket that may send to anybody, of the family of an address.
pub(crate) fn udp_socket(is_ipv4: bool) -> io::Result<UdpSocket> {
    let socket = ask(if is_ipv4 { "udp4" } else { "udp6" })?;
    let socket = socket.ok_or_else(|| io::Error::other("the helper gave no socket"))?;
    Ok(UdpSocket::from(socket))
}

/// Has the machine rebooted or switched off.
pub(crate) fn power(verb: &str) -> io::Result<()> {
    ask(verb).map(drop)
}

fn ask(question: &str) -> io::Result<Option<OwnedFd>> {
    let told = |error| io::Error::other(format!("{PATH} (ledge-helper.socket): {error}"));
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(PATH)?).map_err(told)?;
    exchange(socket.as_fd(), question)
}

/// Asks by a connected socket, and waits for the answer.
fn exchange(socket: BorrowedFd<'_>, question: &str) -> io::Result<Option<OwnedFd>> {
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
    match answer.get(..received.bytes) {
        Some(b"ok") => Ok(passed),
        Some(b"") | None => Err(io::Error::other("the helper has ended without an answer")),
        Some(reason) => Err(io::Error::other(
            String::from_utf8_lossy(reason).into_owned(),
        )),
    }
}

/// Answers one question by a connected socket.
pub(crate) fn answer_one(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut question = [0; 64];
    let (length, _) = rustix::net::recv(socket, &mut question, RecvFlags::empty())?;
    let question = String::from_utf8_lossy(&question[..length]).into_owned();
    let done = if QUESTIONS.contains(&question.as_str()) {
        act(&question)
    } else {
        Err(io::Error::other("there is no such question"))
    };
    let (text, socket_for_it) = match done {
        Ok(given) => ("ok".to_owned(), given),
        Err(error) => (error.to_string(), None),
    };
    let text = &text.as_bytes()[..text.len().min(ANSWER_BYTES_MAX)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = socket_for_it.as_ref().map(|given| [given.as_fd()]);
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

fn act(question: &str) -> io::Result<Option<UdpSocket>> {
    match question {
        "udp4" => UdpSocket::bind("0.0.0.0:0").map(Some),
        "udp6" => UdpSocket::bind("[::]:0").map(Some),
        verb => machine::systemctl(verb)
            .map(|()| None)
            .map_err(io::Error::other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(question: &str) -> io::Result<Option<OwnedFd>> {
        let flags = SocketFlags::CLOEXEC;
        let (daemon, helper) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        std::thread::scope(|scope| {
            scope.spawn(|| answer_one(helper.as_fd()).unwrap());
            exchange(daemon.as_fd(), question)
        })
    }

    #[test]
    fn a_socket_is_given_and_sends() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let limit = std::time::Duration::from_secs(10);
        receiver.set_read_timeout(Some(limit)).unwrap();
        let socket = UdpSocket::from(asked("udp4").unwrap().unwrap());
        let to = receiver.local_addr().unwrap();
        socket.send_to(b"hello", to).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
    }

    #[test]
    fn what_nobody_knows_does_nothing() {
        for question in ["halt", "", "udp4 ", "; reboot"] {
            let error = asked(question).unwrap_err().to_string();
            assert_eq!(error, "there is no such question", "{question:?}");
        }
    }
}

//! The log: to standard error, the last of it kept for `sos`, and by UDP to a syslog server.
//!
//! Invariants:
//! * Nobody waits for the network: what the thread cannot keep up with is dropped, and counted.
//! * What is kept and sent has no control characters.

use crate::threads::spawn;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Lines that are kept.
const LINES_MAX: usize = 4096;

/// Messages that wait for the network.
const WAITING_MAX: usize = 1024;

/// Longest message, as every receiver should take it (RFC 5424 §6.1).
const MESSAGE_BYTES_MAX: usize = 2048;

/// A message on its way to the syslog server.
struct Message {
    to: SocketAddr,
    time: SystemTime,
    level: Level,
    text: String,
}

/// What all parts of the daemon share of the log.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    target: Arc<Mutex<Option<SocketAddr>>>,
    sender: Sender<Message>,
    /// For the thread that sends.
    receiver: Receiver<Message>,
    dropped: Arc<AtomicU64>,
    filter: Handle<EnvFilter, Registry>,
    /// What `LEDGE_LOG` says.
    usual: String,
}

/// The filter of the log, from what is in `LEDGE_LOG`.
fn filter(text: &str) -> EnvFilter {
    EnvFilter::try_new(text).unwrap_or_else(|_| EnvFilter::new("info"))
}

impl Log {
    /// Begins to log.
    pub(crate) fn start(is_terminal: bool) -> Self {
        let usual = std::env::var("LEDGE_LOG").unwrap_or_else(|_| "info".to_owned());
        let (layer, handle) = reload::Layer::new(filter(&usual));
        let (sender, receiver) = bounded(WAITING_MAX);
        let log = Self {
            lines: Arc::default(),
            target: Arc::default(),
            sender,
            receiver,
            dropped: Arc::default(),
            filter: handle,
            usual,
        };
        let stderr = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(is_terminal)
            .with_target(false);
        tracing_subscriber::registry()
            .with(layer)
            .with(stderr)
            .with(Keeper(log.clone()))
            .init();
        log
    }

    /// Begins to send, on a thread of its own: once, when the daemon has given up what it does not need.
    ///
    /// # Errors
    /// The thread that sends cannot be started.
    pub(crate) fn send(&self) -> anyhow::Result<()> {
        let (receiver, dropped) = (self.receiver.clone(), Arc::clone(&self.dropped));
        spawn("syslog", move || send_all(&receiver, &dropped))
    }

    /// Where the log is sent from now on.
    pub(crate) fn set_target(&self, target: Option<SocketAddr>) {
        *lock(&self.target) = target;
    }

    /// The last lines.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for line in lock(&self.lines).iter() {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Makes the log tell everything, or what `LEDGE_LOG` says.
    pub(crate) fn set_debugging(&self, on: bool) -> Result<(), String> {
        let new = if on {
            filter("debug")
        } else {
            filter(&self.usual)
        };
        self.filter.reload(new).map_err(|error| error.to_string())
    }

    fn keep(&self, level: Level, text: &str) {
        let time = SystemTime::now();
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        {
            let mut lines = lock(&self.lines);
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(format!("{} {level} {text}", timestamp(time)));
        }
        let Some(to) = *lock(&self.target) else {
            return;
        };
        let message = Message {
            to,
            time,
            level,
            text,
        };
        if let Err(TrySendError::Full(_)) = self.sender.try_send(message) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes what is logged.
struct Keeper(Log);

impl<S: Subscriber> Layer<S> for Keeper {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.keep(*event.metadata().level(), &text.0);
    }
}

/// The message of an event, with its fields behind it.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}

fn send_all(messages: &Receiver<Message>, dropped: &AtomicU64) {
    let (mut ipv4, mut ipv6) = (None, None);
    for mut message in messages {
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = write!(
                message.text,
                " ({lost} messages before this one were dropped)"
            );
        }
        let is_ipv4 = message.to.is_ipv4();
        let socket = if is_ipv4 { &mut ipv4 } else { &mut ipv6 };
        if socket.is_none() {
            *socket = udp_socket(is_ipv4).ok();
        }
        // An error is not logged: it would come here again.
        if let Some(socket) = socket {
            let _ = send(socket, &message);
        }
    }
}

/// A socket that sends to servers of a family: made here, or by the helper where that is not allowed.
fn udp_socket(is_ipv4: bool) -> std::io::Result<UdpSocket> {
    let any = if is_ipv4 { "0.0.0.0:0" } else { "[::]:0" };
    match UdpSocket::bind(any) {
        // What systemd's RestrictAddressFamilies says.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            crate::helper::udp_socket(is_ipv4)
        }
        made => made,
    }
}

fn send(socket: &UdpSocket, message: &Message) -> std::io::Result<()> {
    let text = format(message.time, message.level, &message.text);
    socket.send_to(text.as_bytes(), message.to)?;
    Ok(())
}

/// Sends one message at once, and tells why it could not be sent.
pub(crate) fn send_now(to: SocketAddr, text: &str) -> std::io::Result<()> {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let message = Message {
        to,
        time: SystemTime::now(),
        level: Level::INFO,
        text,
    };
    send(&udp_socket(to.is_ipv4())?, &message)
}

/// A message as RFC 5424 has it: facility daemon, no structured data.
fn format(time: SystemTime, level: Level, text: &str) -> String {
    const DAEMON: u8 = 3;
    let severity = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    };
    let priority = DAEMON * 8 + severity;
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let is_plain = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    let host = if is_plain { host.as_ref() } else { "-" };
    let process = std::process::id();
    let mut line = format!(
        "<{priority}>1 {} {host} ledged {process} - - {text}",
        timestamp(time)
    );
    let mut end = line.len().min(MESSAGE_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

/// `2026-11-27T01:10:03.123456Z`.
fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "-".to_owned(), |time| format!("{time:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn messages_have_the_form_of_rfc_5424() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_764_205_803_123_456);
        let line = format(time, Level::WARN, "drive 1.4 is down");
        let process = std::process::id();
        assert!(
            line.starts_with("<28>1 2025-11-27T01:10:03.123456Z "),
            "{line}"
        );
        assert!(
            line.ends_with(&format!(" ledged {process} - - drive 1.4 is down")),
            "{line}"
        );
        assert_eq!(line.split(' ').count(), 11);
        assert!(format(time, Level::ERROR, "x").starts_with("<27>1 "));
        let long = format(time, Level::INFO, &"ä".repeat(2000));
        assert!(long.len() <= MESSAGE_BYTES_MAX && long.ends_with('ä'));
    }

    #[test]
    fn what_is_sent_arrives() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        send_now(receiver.local_addr().unwrap(), "a\nb").unwrap();
        let mut buffer = [0; 4096];
        let length = receiver.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(
            text.starts_with("<30>1 ") && text.ends_with(" - - a?b"),
            "{text}"
        );
    }
}

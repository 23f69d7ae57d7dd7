//! The control socket, for `ledge` on the same box. Everybody may connect; what for is a matter of who it is,
//! as the kernel says ([`peer`]): those who may not use the console are told so, and that is all.

use super::attended::Attended;
use super::peer;
use super::reception::Reception;
use super::registry::Told;
use crate::host::Premises;
use crate::threads::spawn;
use anyhow::{Context, bail};
use console::host::DoorKind;
use console::protocol::{self, Greeting, Prompt, PromptKind, Request};
use console::session::Session;
use std::collections::VecDeque;
use std::fs;
use std::io::{BufReader, ErrorKind};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Told to clients.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;

/// Events that wait for a client to ask for them.
const EVENTS_MAX: usize = 256;

/// The bound socket.
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Binds the socket. One that nobody listens on any more is replaced; one that somebody does is
    /// left alone.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<Self> {
        let named = || format!("control_socket {}", path.display());
        if let Some(directory) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            fs::create_dir_all(directory).with_context(named)?;
        }
        match UnixStream::connect(path) {
            Ok(_) => bail!("{} is in use: another ledged is running with it", named()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                remove_stale(path).with_context(named)?;
            }
            Err(error) => return Err(error).with_context(named),
        }
        let listener = UnixListener::bind(path).with_context(named)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).with_context(named)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Accepts connections on a thread of its own.
    pub(crate) fn serve(&self, reception: &Reception, premises: &Premises) -> anyhow::Result<()> {
        let listener = self.listener.try_clone().context("control socket")?;
        let (reception, premises) = (reception.clone(), premises.clone());
        spawn("control", move || {
            let connections = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => accept(stream, (&reception, &premises), &connections),
                    Err(error) => tracing::warn!("control socket: {error}"),
                }
            }
        })
    }
}

impl Drop for Door {
    /// Nobody finds the socket any more, also when the start fails later on.
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// Removes a socket without a listener, and nothing else that may lie at its path.
fn remove_stale(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    if fs::symlink_metadata(path)?.file_type().is_socket() {
        fs::remove_file(path)
    } else {
        Err(std::io::Error::new(
            ErrorKind::AlreadyExists,
            "there is a file that is no socket",
        ))
    }
}

fn accept(
    stream: UnixStream,
    (reception, premises): (&Reception, &Premises),
    connections: &Arc<AtomicUsize>,
) {
    let (reception, premises) = (reception.clone(), premises.clone());
    let connections = Arc::clone(connections);
    if connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        connections.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!(
            "control socket: {CONNECTIONS_MAX} connections are open; one more is refused"
        );
        return;
    }
    let started = spawn("control-connection", {
        let connections = Arc::clone(&connections);
        move || {
            if let Err(error) = converse(&stream, &reception, &premises) {
                tracing::debug!("control connection: {error:#}");
            }
            connections.fetch_sub(1, Ordering::Relaxed);
        }
    });
    if let Err(error) = started {
        connections.fetch_sub(1, Ordering::Relaxed);
        tracing::error!("control connection: {error:#}");
    }
}

/// Serves one connection. Whoever may not use the console is told so.
fn converse(stream: &UnixStream, reception: &Reception, premises: &Premises) -> anyhow::Result<()> {
    let mut writer = stream;
    let who = match peer::caller(stream, &reception.groups()) {
        Ok(who) => who,
        Err(reason) => {
            // Not in the log of commands, which any user of the box could flood then.
            tracing::warn!("control socket: {reason}");
            let prompt = Prompt::new(PromptKind::End, reason);
            protocol::write(&mut writer, &Greeting::new(VERSION, prompt))?;
            return Ok(());
        }
    };
    let hang_up = stream.try_clone()?;
    let happened = Arc::new(Mutex::new(VecDeque::new()));
    let told = Arc::clone(&happened);
    let tell = Box::new(move |what| match what {
        Told::Event(event) => {
            let mut events = told.lock().unwrap_or_else(PoisonError::into_inner);
            if events.len() == EVENTS_MAX {
                events.pop_front();
            }
            events.push_back(event);
        }
        Told::End(_) => {
            // It fails only when the client has gone already.
            let _ = hang_up.shutdown(Shutdown::Both);
        }
    });
    let place = reception
        .registry
        .enter(DoorKind::Socket, &who.address, tell);
    let prompt = Session::command_prompt(&premises.enter().world(&who));
    let mut attended = Attended::new(who, place, reception, "connected");
    protocol::write(&mut writer, &Greeting::new(VERSION, prompt))?;
    let mut reader = BufReader::new(stream);
    let ended = loop {
        match protocol::read::<Request>(&mut reader) {
            Ok(Some(request)) => {
                let mut response = attended.request(premises, &request);
                if request == Request::Events {
                    let mut events = happened.lock().unwrap_or_else(PoisonError::into_inner);
                    let is_muted = !attended.terminal().shows_events;
                    for event in events.drain(..).filter(|_| !is_muted) {
                        response.output.push_str(&event.text);
                        response.output.push('\n');
                    }
                }
                let over = response.prompt.kind == PromptKind::End;
                if let Err(error) = protocol::write(&mut writer, &response) {
                    break Err(error);
                }
                if over {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    attended.end_session("disconnected");
    Ok(ended?)
}

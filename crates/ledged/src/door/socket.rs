//! The control socket, for `ledge` on the same box. Who may connect is a matter of its permissions:
//! its owner and group.

use crate::host::Premises;
use crate::threads::spawn;
use anyhow::{Context, bail};
use console::host::{Caller, DoorKind, Role};
use console::protocol::{self, Greeting, Request};
use console::session::Session;
use std::fs;
use std::io::{BufReader, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;

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
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).with_context(named)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Accepts connections on a thread of its own.
    pub(crate) fn serve(&self, premises: &Premises) -> anyhow::Result<()> {
        let listener = self.listener.try_clone().context("control socket")?;
        let premises = premises.clone();
        spawn("control", move || {
            let connections = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => accept(stream, &premises, &connections),
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

fn accept(stream: UnixStream, premises: &Premises, connections: &Arc<AtomicUsize>) {
    let premises = premises.clone();
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
            if let Err(error) = converse(&stream, &premises) {
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

/// Whoever may open the socket is an administrator.
fn caller() -> Caller {
    Caller {
        user: "root".to_owned(),
        role: Role::Admin,
        door: DoorKind::Socket,
        address: String::new(),
    }
}

fn converse(stream: &UnixStream, premises: &Premises) -> anyhow::Result<()> {
    let mut session = Session::new(super::session_options());
    let who = caller();
    let prompt = Session::command_prompt(&premises.enter().world(&who));
    let mut writer = stream;
    protocol::write(
        &mut writer,
        &Greeting::new(env!("CARGO_PKG_VERSION"), prompt),
    )?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = protocol::read::<Request>(&mut reader)? {
        let response = session.request(&mut premises.enter().world(&who), &request);
        let over = response.prompt.kind == protocol::PromptKind::End;
        protocol::write(&mut writer, &response)?;
        if over {
            break;
        }
    }
    Ok(())
}

//! On which ports the Ethernet console answers: those of the configuration that say so, and what
//! `cecenable` and `cecdisable` have changed since, kept in `cec` of the state directory, a port a line.
//!
//! Invariant: without configuration or command the console answers nowhere; if the file is not understood
//! it answers nowhere either.

use super::ethernet::Message;
use crate::config::Config;
use anyhow::Context;
use aoe::MacAddress;
use cec::{Identity, PortIndex, Server, SessionId};
use console::host::{CecSession, CecStatus};
use crossbeam::channel::{Receiver, Sender, unbounded};
use port::RawSocket;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a probe shows beside the number.
const NAME: &str = "ledge";

/// The ports, shared by the thread that serves them and by commands.
#[derive(Clone)]
pub(crate) struct CecPorts {
    ports: Arc<Mutex<Ports>>,
    server: Arc<Mutex<Server>>,
    /// The number of the console of each session.
    consoles: Arc<Mutex<BTreeMap<SessionId, u64>>>,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    wake: Arc<OwnedFd>,
}

struct Ports {
    path: PathBuf,
    rows: Vec<Row>,
    trouble: Option<String>,
}

struct Row {
    interface: String,
    is_enabled: bool,
    admitted: BTreeSet<MacAddress>,
    /// The configuration has no such port any more. Its number stays.
    is_gone: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CecPorts {
    /// The ports of the configuration, none of them open yet.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let path = config.state_dir.join("cec");
        let (changed, trouble) = match read(&path) {
            Ok(changed) => (Some(changed), None),
            Err(reason) => {
                tracing::error!("{reason}; the Ethernet console answers nowhere");
                (None, Some(reason))
            }
        };
        let row = |port: &crate::config::PortConfig| Row {
            interface: port.interface.clone(),
            is_enabled: changed
                .as_ref()
                .is_some_and(|changed| changed.get(&port.interface).copied().unwrap_or(port.cec)),
            admitted: port.cec_allow.clone(),
            is_gone: false,
        };
        let rows = config.ports.iter().map(row).collect();
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).context("cec")?;
        let (sender, receiver) = unbounded();
        Ok(Self {
            ports: Arc::new(Mutex::new(Ports {
                path,
                rows,
                trouble,
            })),
            server: Arc::new(Mutex::new(Server::new(Identity::new(None, NAME)))),
            consoles: Arc::default(),
            sender,
            receiver,
            wake: Arc::new(wake),
        })
    }

    /// Opens the ports that are enabled. One that cannot be opened is told of.
    pub(crate) fn open_enabled(&self) {
        let mut ports = lock(&self.ports);
        let mut trouble = None;
        for (index, row) in ports
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.is_enabled)
        {
            match RawSocket::open(&row.interface, cec::ETHERTYPE) {
                Ok(socket) => self.attach(index, row, socket),
                Err(error) => {
                    let reason = format!("it does not answer on {}: {error}", row.interface);
                    tracing::error!("Ethernet console: {reason}");
                    trouble = Some(reason);
                }
            }
        }
        ports.trouble = ports.trouble.take().or(trouble);
    }

    /// The configuration has a port that was not there.
    pub(crate) fn add(&self, interface: &str, is_enabled: bool, stations: &BTreeSet<MacAddress>) {
        let mut ports = lock(&self.ports);
        let changed = read(&ports.path).map(|rows| rows.get(interface).copied());
        let row = Row {
            interface: interface.to_owned(),
            // Where the file is not understood it answers nowhere.
            is_enabled: changed.is_ok_and(|changed| changed.unwrap_or(is_enabled)),
            admitted: stations.clone(),
            is_gone: false,
        };
        let mut rows = ports.rows.iter();
        match rows.position(|row| row.interface == interface) {
            Some(index) => ports.rows[index] = row,
            None => ports.rows.push(row),
        }
    }

    /// The configuration has a port no more. Sessions end as those of hosts that are gone.
    pub(crate) fn remove(&self, interface: &str) {
        let mut ports = lock(&self.ports);
        let mut rows = ports.rows.iter_mut().enumerate();
        let Some((index, row)) = rows.find(|(_, row)| row.interface == interface) else {
            return;
        };
        row.is_gone = true;
        if self.server().is_attached(PortIndex(index)) {
            self.tell(Message::Detach(PortIndex(index)));
        }
    }

    /// The interface of a port is there, perhaps again: answers on it, if that is enabled.
    pub(crate) fn open_anew(&self, interface: &str) {
        let mut ports = lock(&self.ports);
        let mut rows = ports.rows.iter().enumerate();
        let is_it = |row: &Row| row.interface == interface && row.is_enabled && !row.is_gone;
        let Some((index, row)) = rows.find(|(_, row)| is_it(row)) else {
            return;
        };
        match RawSocket::open(interface, cec::ETHERTYPE) {
            Ok(socket) => self.attach(index, row, socket),
            Err(error) => {
                let reason = format!("it does not answer on {interface}: {error}");
                tracing::error!("Ethernet console: {reason}");
                ports.trouble = Some(reason);
            }
        }
    }

    fn attach(&self, index: usize, row: &Row, socket: RawSocket) {
        let mut server = self.server();
        server.attach(PortIndex(index), socket.mac());
        if !row.admitted.is_empty() {
            server.admit_only(PortIndex(index), row.admitted.clone());
        }
        drop(server);
        self.tell(Message::Attach(PortIndex(index), socket));
    }

    /// What the configuration says now of a port: it holds where no command has said otherwise.
    pub(crate) fn follow(&self, interface: &str, is_enabled: bool) -> Result<(), String> {
        let mut ports = lock(&self.ports);
        if read(&ports.path)?.contains_key(interface) {
            return Ok(());
        }
        let (index, socket) = self.open(&ports, interface, is_enabled)?;
        self.switch(&mut ports, index, is_enabled, socket);
        Ok(())
    }

    /// Changes which stations a port answers; everybody if there are none. Sessions of others end as those of
    /// hosts that are gone.
    pub(crate) fn admit(&self, interface: &str, stations: &BTreeSet<MacAddress>) {
        let mut ports = lock(&self.ports);
        let mut rows = ports.rows.iter_mut().enumerate();
        let Some((index, row)) = rows.find(|(_, row)| row.interface == interface) else {
            return;
        };
        row.admitted.clone_from(stations);
        let mut server = self.server();
        if stations.is_empty() {
            server.admit_all(PortIndex(index));
        } else {
            server.admit_only(PortIndex(index), stations.clone());
        }
    }

    /// Whether [`CecPorts::set`] would do it, but for writing the file.
    pub(crate) fn check(&self, interface: &str, is_enabled: bool) -> Result<(), String> {
        let ports = lock(&self.ports);
        self.open(&ports, interface, is_enabled).map(drop)
    }

    /// The index of a port, and the socket that it needs if the console is to answer there and does not yet.
    fn open(
        &self,
        ports: &Ports,
        interface: &str,
        is_enabled: bool,
    ) -> Result<(usize, Option<RawSocket>), String> {
        let mut rows = ports.rows.iter();
        let index = rows
            .position(|row| row.interface == interface && !row.is_gone)
            .ok_or_else(|| format!("interface {interface} does not exist"))?;
        let is_attached = self.server().is_attached(PortIndex(index));
        let socket = (is_enabled && !is_attached)
            .then(|| RawSocket::open(interface, cec::ETHERTYPE))
            .transpose()
            .map_err(|error| format!("{interface}: {error}"))?;
        Ok((index, socket))
    }

    /// Switches a port on or off, for good.
    pub(crate) fn set(&self, interface: &str, is_enabled: bool) -> Result<(), String> {
        let mut ports = lock(&self.ports);
        // Opened first: what cannot be done is not stored.
        let (index, socket) = self.open(&ports, interface, is_enabled)?;
        // What was said of ports that are away holds when they come back. A file that is not understood is
        // replaced: as long as it stands nothing is enabled.
        let mut switches = read(&ports.path).unwrap_or_default();
        let of_all = ports.rows.iter();
        switches.extend(of_all.map(|row| (row.interface.clone(), row.is_enabled)));
        switches.insert(interface.to_owned(), is_enabled);
        let word = |is_enabled: bool| if is_enabled { "on" } else { "off" };
        let lines = switches.iter();
        let lines = lines.map(|(interface, enabled)| format!("{interface} {}\n", word(*enabled)));
        let content: String = lines.collect();
        store(&ports.path, &content)
            .map_err(|error| format!("{}: {error}", ports.path.display()))?;
        ports.trouble = None;
        self.switch(&mut ports, index, is_enabled, socket);
        Ok(())
    }

    /// Has the console answer on a port, or not, with what [`CecPorts::open`] gave.
    fn switch(&self, ports: &mut Ports, index: usize, is_enabled: bool, socket: Option<RawSocket>) {
        let row = &mut ports.rows[index];
        row.is_enabled = is_enabled;
        if let Some(socket) = socket {
            self.attach(index, row, socket);
        }
        if !is_enabled && self.server().is_attached(PortIndex(index)) {
            self.tell(Message::Detach(PortIndex(index)));
        }
    }

    /// Port by port.
    pub(crate) fn status(&self) -> Vec<CecStatus> {
        let ports = lock(&self.ports);
        let server = self.server();
        let consoles = lock(&self.consoles);
        let sessions: Vec<_> = server.sessions(std::time::Duration::ZERO).collect();
        let of_port = |index: usize| {
            let here = sessions
                .iter()
                .filter(move |(_, peer, _)| peer.port.0 == index);
            here.map(|(session, peer, _)| CecSession {
                id: consoles.get(session).copied().unwrap_or_default(),
                mac: peer.mac,
                tag: peer.tag.0,
                counters: server
                    .session_counters(*session)
                    .map_or(Vec::new(), |counters| {
                        vec![
                            ("received_bytes", counters.received_bytes),
                            ("sent_bytes", counters.sent_bytes),
                            ("repeated", counters.repeated),
                            ("resent", counters.resent),
                            ("given_up", counters.given_up),
                            ("handshakes", counters.handshakes),
                        ]
                    }),
            })
            .collect()
        };
        let row = |(index, row): (usize, &Row)| CecStatus {
            interface: row.interface.clone(),
            is_enabled: row.is_enabled,
            admitted: row.admitted.iter().copied().collect(),
            sessions: of_port(index),
        };
        let rows = ports.rows.iter().enumerate();
        rows.filter(|(_, row)| !row.is_gone).map(row).collect()
    }

    /// What is wrong, if anything is.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.ports).trouble.clone()
    }

    /// The interface of a port.
    pub(crate) fn interface(&self, port: PortIndex) -> String {
        let ports = lock(&self.ports);
        ports
            .rows
            .get(port.0)
            .map_or_else(String::new, |row| row.interface.clone())
    }

    /// The protocol. Held for moments only: packets are to be acknowledged in time.
    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }

    /// The shelf has another number.
    pub(crate) fn set_shelf(&self, shelf: Option<aoe::Shelf>) {
        self.server().set_identity(Identity::new(shelf, NAME));
    }

    /// Notes which console belongs to a session.
    pub(crate) fn note_console(&self, session: SessionId, id: Option<u64>) {
        match id {
            Some(id) => lock(&self.consoles).insert(session, id),
            None => lock(&self.consoles).remove(&session),
        };
    }

    /// Tells the thread that serves the ports.
    pub(crate) fn tell(&self, message: Message) {
        if self.sender.send(message).is_err() {
            tracing::error!("cec: nobody serves the Ethernet console any more");
        }
        // It fails only when the count is at its limit: then the other thread is awake.
        let _ = rustix::io::write(&*self.wake, &1u64.to_le_bytes());
    }

    /// What the thread that serves the ports is told.
    pub(crate) fn messages(&self) -> (&Receiver<Message>, &OwnedFd) {
        (&self.receiver, &self.wake)
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, bool>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let parse = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [interface, "on"] => Some((interface.to_owned(), true)),
        [interface, "off"] => Some((interface.to_owned(), false)),
        _ => None,
    };
    let rows: Option<BTreeMap<String, bool>> = text.lines().map(parse).collect();
    rows.ok_or_else(|| format!("{} is damaged; remove it", path.display()))
}

fn store(path: &Path, content: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_switched_is_read_back_and_damage_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cec");
        assert!(read(&path).unwrap().is_empty());
        store(&path, "eth1 on\neth2 off\n").unwrap();
        let expected = BTreeMap::from([("eth1".to_owned(), true), ("eth2".to_owned(), false)]);
        assert_eq!(read(&path), Ok(expected));
        for text in ["eth1\n", "eth1 maybe\n", "eth1 on off\n"] {
            store(&path, text).unwrap();
            assert!(read(&path).unwrap_err().contains("damaged"));
        }
    }
}

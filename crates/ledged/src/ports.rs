//! Ports: the first ones, and those that come and go while the shelf serves.
//!
//! A thread looks once a second. An interface of the configuration that was not there, or down, gets its
//! port when it can; one that is gone loses it, and gets it again when it is back, under whichever number the
//! kernel has for it then. One that nobody has seen before, and that a pattern or an address of the
//! configuration is for, gets its port as one that a new configuration names ([`Newcomers`]). A configuration
//! that is taken over says for which interfaces that is so.
//!
//! Invariants:
//! * of the other ports no frame is dropped by any of it;
//! * a port is closed for the administrator only when all that came by it is answered, and the last one that
//!   is open never;
//! * what keeps a port from being opened is told of once, and again when it is something else.

use crate::administration::Administration;
use crate::config::{Config, PortConfig};
use crate::door::cec_ports::CecPorts;
use crate::interfaces::Newcomers;
use anyhow::bail;
use engine::{Paces, Workers};
use port::{OpenError, Opening, Port, SharedMemory, Sharing};
use shelf::admin::PortStatus;
use shelf::shard::GROUP_SECTORS;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// What a start has opened.
pub(crate) struct First {
    /// The queues of all interfaces.
    pub(crate) queues: Vec<Box<dyn Port>>,
    /// The ports.
    pub(crate) statuses: Vec<PortStatus>,
    /// By interface, why it has none.
    pub(crate) failures: BTreeMap<String, String>,
}

/// Opens every port that can be; at least one must. Each is over the memory of the worker that it will be of:
/// [`engine::seats`].
pub(crate) fn open_first(config: &Config, memories: &[SharedMemory]) -> anyhow::Result<First> {
    let mut first = First {
        queues: Vec::new(),
        statuses: Vec::new(),
        failures: BTreeMap::new(),
    };
    let mut queue_count = 0;
    for port in &config.ports {
        let before = queue_count;
        let owner = |queue: u32| (before + queue as usize) % memories.len();
        match open(port, memories, &owner) {
            Ok((queues, status)) => {
                first.statuses.extend(status);
                // Of those that workers share, the socket of the first one.
                let sharers = queues.iter().map(|port| port.facts().sharer);
                queue_count += sharers
                    .filter(|sharer| sharer.is_none_or(|of| of == 0))
                    .count();
                first.queues.extend(queues);
            }
            Err(error) => {
                let failure = error.to_string();
                first.failures.insert(port.interface.clone(), failure);
            }
        }
    }
    if config.ports.is_empty() {
        bail!("no [[port]] stands for an interface of this machine");
    }
    let all = || first.failures.values().cloned().collect::<Vec<_>>();
    if first.queues.is_empty() {
        bail!("no port can be opened: {}", all().join("; "));
    }
    for failure in all() {
        tracing::error!("port {failure}");
    }
    if u8::try_from(queue_count).is_err() {
        bail!("{queue_count} receive queues are too many: at most 255; fewer queues: ethtool -L");
    }
    Ok(first)
}

/// The queues of a port.
type Opened = (Vec<Box<dyn Port>>, Option<PortStatus>);

/// Opens a port, each queue over the memory of its owner.
fn open(
    port: &PortConfig,
    memories: &[SharedMemory],
    owner: &dyn Fn(u32) -> usize,
) -> Result<Opened, OpenError> {
    let opening = Opening {
        mode: port.mode,
        addresses: port.addresses,
        busy_poll: port.busy_poll,
        memory: &|queue| memories.get(owner(queue)),
        sharing: Some(Sharing {
            memories,
            first: u8::try_from(owner(0)).unwrap_or(0),
            group_sectors: GROUP_SECTORS,
        }),
    };
    let queues = port::open_as(&port.interface, &opening)?;
    let status = queues.first().map(|queue| {
        let facts = queue.facts();
        PortStatus {
            interface: facts.interface.clone(),
            stations: facts.stations,
            mtu_bytes: facts.mtu_bytes,
            has_link: facts.has_link,
            mode: facts.mode.to_string(),
        }
    });
    Ok((queues, status))
}

/// What ports are opened with, and who is told.
pub(crate) struct Parts {
    /// Of each worker.
    pub(crate) memories: Vec<SharedMemory>,
    /// How fast stations are sent to.
    pub(crate) paces: Paces,
    /// Who gets them.
    pub(crate) workers: Workers,
    /// Who is told.
    pub(crate) administration: Administration,
    /// The Ethernet console.
    pub(crate) cec: CecPorts,
}

/// The ports of a shelf that runs; clones are of the same.
#[derive(Clone)]
pub(crate) struct Ports(Arc<Mutex<State>>);

struct State {
    wanted: Vec<Wanted>,
    /// Who is looked for; nobody while the configuration is being changed.
    newcomers: Option<Newcomers>,
    /// Who has come since the configuration was changed last.
    come: Vec<PortConfig>,
    parts: Parts,
}

/// A `[[port]]`.
struct Wanted {
    config: PortConfig,
    /// The kernel's number of the interface that has ports.
    open: Option<u32>,
    /// Why there is none, as it was told last.
    told: Option<String>,
}

impl Ports {
    /// Those of the start, some of which have failed.
    pub(crate) fn of(
        config: &Config,
        mut failures: BTreeMap<String, String>,
        parts: Parts,
    ) -> Self {
        let wanted = |config: &PortConfig| {
            let told = failures.remove(&config.interface);
            // One that is gone again is met by the first look.
            let index = || port::interface_index(&config.interface).unwrap_or(0);
            Wanted {
                config: config.clone(),
                open: told.is_none().then(index),
                told,
            }
        };
        let wanted = config.ports.iter().map(wanted).collect();
        Self(Arc::new(Mutex::new(State {
            wanted,
            newcomers: Some(Newcomers::of(&config.written_ports)),
            come: Vec::new(),
            parts,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows what comes and goes, for ever.
    pub(crate) fn follow(&self) {
        loop {
            sleep(LOOK);
            self.lock().look();
        }
    }

    /// From now on no port is added but by [`Ports::add`]. Gives those that were since the last time.
    pub(crate) fn begin_changes(&self) -> Vec<PortConfig> {
        let mut state = self.lock();
        state.newcomers = None;
        std::mem::take(&mut state.come)
    }

    /// The configuration was changed: it is looked for those that it is for now.
    pub(crate) fn end_changes(&self, written: &[PortConfig]) {
        self.lock().newcomers = Some(Newcomers::of(written));
    }

    /// There is a `[[port]]` more. When it cannot be opened now that is told of, and it is opened once it
    /// can.
    pub(crate) fn add(&self, config: &PortConfig) {
        self.lock().add(config);
    }

    /// There is a `[[port]]` less.
    ///
    /// # Errors
    /// It stays, and why.
    pub(crate) fn remove(&self, interface: &str) -> Result<(), String> {
        let mut state = self.lock();
        let mut all = state.wanted.iter();
        let Some(at) = all.position(|port| port.config.interface == interface) else {
            return Ok(());
        };
        if state.wanted[at].open.is_some() {
            let others = state.parts.workers.interfaces();
            if others <= 1 {
                return Err("it is the only one that is open".to_owned());
            }
            state.parts.workers.remove_ports(interface, false)?;
            state.parts.administration.lock().port_closed(interface);
        }
        state.parts.cec.remove(interface);
        state.wanted.remove(at);
        Ok(())
    }

    /// Changes how many Mbit/s each station of a port is sent; whether it had a limit, or is not open.
    pub(crate) fn set_pace(&self, interface: &str, mbit_per_second: u64) -> bool {
        let mut state = self.lock();
        let is_set = state.parts.paces.set(interface, mbit_per_second);
        let mut all = state.wanted.iter_mut();
        let Some(port) = all.find(|port| port.config.interface == interface) else {
            return is_set;
        };
        port.config.pace_mbit_per_second = mbit_per_second;
        is_set || port.open.is_none()
    }
}

impl State {
    fn look(&mut self) {
        for wanted in &mut self.wanted {
            wanted.look(&self.parts);
        }
        let found = self.newcomers.as_mut().map(Newcomers::look);
        for config in found.unwrap_or_default() {
            let mut all = self.wanted.iter();
            if all.any(|wanted| wanted.config.interface == config.interface) {
                continue;
            }
            let interface = &config.interface;
            tracing::info!("interface {interface} has come, and is a port by its name or address");
            self.add(&config);
            self.come.push(config);
        }
    }

    fn add(&mut self, config: &PortConfig) {
        let (cec, interface) = (&self.parts.cec, &config.interface);
        cec.add(interface, config.cec, &config.cec_allow);
        let mut wanted = Wanted {
            config: config.clone(),
            open: None,
            told: None,
        };
        if port::interface_index(interface).is_err() {
            let reason = format!("interface {interface} does not exist");
            wanted.tell(reason);
        }
        wanted.look(&self.parts);
        self.wanted.push(wanted);
    }
}

impl Wanted {
    fn look(&mut self, parts: &Parts) {
        let interface = &self.config.interface.clone();
        let present = port::interface_index(interface).ok();
        if let Some(open) = self.open {
            if present == Some(open) {
                return;
            }
            match parts.workers.remove_ports(interface, true) {
                Ok(()) => {
                    parts.administration.lock().port_closed(interface);
                    self.open = None;
                    self.tell(format!("interface {interface} is gone"));
                }
                Err(reason) => return self.tell(reason),
            }
        }
        let Some(present) = present else {
            return;
        };
        match self.open(parts) {
            Ok(()) => {
                self.open = Some(present);
                self.told = None;
            }
            Err(reason) => self.tell(reason),
        }
    }

    fn open(&self, parts: &Parts) -> Result<(), String> {
        let interface = &self.config.interface;
        let owner = |queue| parts.workers.owner_of_queue(interface, queue);
        let opened = open(&self.config, &parts.memories, &owner);
        let (queues, status) = opened.map_err(|error| error.to_string())?;
        let pace = self.config.pace_mbit_per_second;
        parts.paces.name(interface, pace);
        parts.workers.add_ports(queues, &parts.paces)?;
        if let Some(status) = status {
            parts.administration.lock().port_opened(status);
        }
        // Its own socket was that of an interface that is gone, or could not be opened.
        parts.cec.open_anew(interface);
        Ok(())
    }

    /// Logs what is new.
    fn tell(&mut self, reason: String) {
        if self.told.as_ref() != Some(&reason) {
            tracing::error!("port {reason}; it is opened when it can be");
            self.told = Some(reason);
        }
    }
}

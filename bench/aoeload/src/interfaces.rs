//! The interfaces that lead to the targets, and the queues of each.
//!
//! Invariants:
//! * an interface has at least one queue, and everything that comes in on any of them is seen;
//! * what is sent takes the queues in turn, as many of them as were asked for.

use crate::cli::{Backend, PathArgs};
use crate::plan::UsageError;
use anyhow::{Context, Result, bail};
use port::{OpenError, Port, PortCounters, PortFacts, ReceivedFrame, RequestedMode, TransmitError};

/// How many frames are taken at once. They share one time, so that of the last is that much too early.
const BATCH: usize = 8;
/// How many batches are taken from a queue before it is the next one's turn.
const BATCHES: usize = 8;
/// How many frames are taken from a queue before it is the next one's turn.
pub(crate) const RECEIVE_BUDGET: usize = BATCH * BATCHES;

/// An open interface.
#[derive(Debug)]
pub(crate) struct Interface {
    facts: PortFacts,
    ports: Vec<Box<dyn Port>>,
    /// How many of them are sent through.
    queues: usize,
    turn: usize,
    /// What its driver says of its speed, in Mb/s.
    pub(crate) speed_mbit: Option<u32>,
    answers: u64,
}

/// What an interface has counted since it was opened.
#[derive(Clone, Debug)]
pub(crate) struct InterfaceCounters {
    /// Of each queue. Mode packet has one for all.
    pub(crate) queues: Vec<PortCounters>,
    /// Frames that answered a command of a load, in time or not.
    pub(crate) answers: u64,
}

impl Interface {
    /// An interface of these ports, of which so many are sent through.
    pub(crate) fn new(ports: Vec<Box<dyn Port>>, queues: usize) -> Result<Self> {
        let first = ports.first().context("the interface has no queue")?;
        let facts = first.facts().clone();
        let available = ports.len();
        if !(1..=available).contains(&queues) {
            let interface = facts.interface;
            return Err(UsageError::TooManyQueues {
                queues,
                interface,
                available,
                mode: facts.mode,
            }
            .into());
        }
        Ok(Self {
            facts,
            ports,
            queues,
            turn: 0,
            speed_mbit: None,
            answers: 0,
        })
    }

    /// Opens an interface with the back end that was asked for, and no other.
    fn open(name: &str, path: &PathArgs) -> Result<Self> {
        let ports = match path.backend {
            Backend::Xdp => open_xdp(name)?,
            Backend::Packet => port::open(name, RequestedMode::Packet)?,
        };
        let interface = Self::new(ports, path.queues.into())?;
        let link =
            port::link(name).with_context(|| format!("cannot ask for the link of {name}"))?;
        Ok(Self {
            speed_mbit: link.speed_mbps,
            ..interface
        })
    }

    /// What its first queue is.
    pub(crate) const fn facts(&self) -> &PortFacts {
        &self.facts
    }

    /// How many queues it is sent through.
    pub(crate) const fn queues(&self) -> usize {
        self.queues
    }

    /// What has been counted so far.
    pub(crate) fn counters(&self) -> InterfaceCounters {
        InterfaceCounters {
            queues: self.ports.iter().map(|port| port.counters()).collect(),
            answers: self.answers,
        }
    }

    /// Gives a frame to the queue whose turn it is.
    pub(crate) fn transmit(&mut self, header: &[u8], data: &[u8]) -> Result<(), TransmitError> {
        let Some(port) = self.ports.get_mut(self.turn) else {
            return Err(TransmitError::Full);
        };
        port.transmit(header, data)?;
        self.turn = (self.turn + 1) % self.queues;
        Ok(())
    }
}

/// Opens an interface for AF_XDP, in the best mode that works.
fn open_xdp(name: &str) -> Result<Vec<Box<dyn Port>>> {
    let mut refusals = Vec::new();
    for mode in [
        RequestedMode::Zerocopy,
        RequestedMode::Native,
        RequestedMode::Generic,
    ] {
        match port::open(name, mode) {
            Ok(ports) => return Ok(ports),
            Err(error @ OpenError::ModeRefused { .. }) => refusals.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    bail!(
        "AF_XDP does not work here: {}; use --backend packet",
        refusals.join("; ")
    )
}

/// All interfaces, in the order of the command line.
#[derive(Debug)]
pub(crate) struct Interfaces(Vec<Interface>);

impl Interfaces {
    /// Opens all interfaces of the command line.
    pub(crate) fn open(path: &PathArgs) -> Result<Self> {
        let mut opened: Vec<Interface> = Vec::with_capacity(path.interface.len());
        for name in &path.interface {
            if opened.iter().any(|other| other.facts.interface == *name) {
                let name = name.clone();
                return Err(UsageError::SameInterface { name }.into());
            }
            opened.push(Interface::open(name, path)?);
        }
        Ok(Self(opened))
    }

    /// These interfaces: at least one.
    #[cfg(test)]
    pub(crate) const fn of(interfaces: Vec<Interface>) -> Self {
        Self(interfaces)
    }

    pub(crate) fn each(&self) -> std::slice::Iter<'_, Interface> {
        self.0.iter()
    }

    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }

    /// The names, with commas between them.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self
            .each()
            .map(|one| one.facts.interface.as_str())
            .collect();
        names.join(",")
    }

    /// The facts of the interface with the smallest MTU.
    pub(crate) fn narrowest(&self) -> Result<&PortFacts> {
        let facts = self.each().map(Interface::facts);
        facts
            .min_by_key(|facts| facts.mtu_bytes)
            .context("no interface")
    }

    /// Mb/s of all together, if all drivers tell.
    pub(crate) fn speed_mbit(&self) -> Option<u32> {
        self.each().map(|one| one.speed_mbit).sum()
    }

    /// Gives a frame to an interface.
    pub(crate) fn transmit(
        &mut self,
        interface: usize,
        header: &[u8],
        data: &[u8],
    ) -> Result<(), TransmitError> {
        let found = self.0.get_mut(interface);
        found.map_or(Err(TransmitError::Full), |one| one.transmit(header, data))
    }

    /// Takes what has come, in small batches: `sink` gets the interface, the frame, and whether a batch
    /// begins with it; it returns whether the frame answered something. Returns how many frames there were.
    pub(crate) fn receive(
        &mut self,
        sink: &mut dyn FnMut(usize, &ReceivedFrame<'_>, bool) -> bool,
    ) -> usize {
        let mut received = 0;
        for (index, interface) in self.0.iter_mut().enumerate() {
            let answers = &mut interface.answers;
            for port in &mut interface.ports {
                for _ in 0..BATCHES {
                    let mut begins = true;
                    let taken = port.receive(BATCH, &mut |frame| {
                        *answers += u64::from(sink(index, frame, begins));
                        begins = false;
                    });
                    received += taken;
                    if taken < BATCH {
                        break;
                    }
                }
            }
        }
        received
    }

    /// Has the kernel send what is queued; whether some of it has to wait.
    pub(crate) fn flush(&mut self) -> bool {
        let ports = self.0.iter_mut().flat_map(|one| &mut one.ports);
        ports.fold(false, |waits, port| port.flush() | waits)
    }
}

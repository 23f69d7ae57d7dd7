//! The way to a target: interface, discovery, IDENTIFY.

use crate::cli::{Backend, PathArgs, TargetAddress};
use anyhow::{Context, Result, anyhow, bail};
use aoe::{Shelf, Slot, Tag};
use initiator::{Discovery, Identity, IdentityQuery, Route, Target};
use port::{Mode, Port, ReceivedFrame, RequestedMode, TransmitError};
use std::time::{Duration, Instant};

/// How often a question without an answer is asked again.
const ASK_INTERVAL_NS: u64 = 200_000_000;
/// How long to ask before giving up: a Linux bridge forwards nothing for a few seconds after start.
const ASK_LIMIT_NS: u64 = 5_000_000_000;
/// How long to rest between two looks at the ports while waiting for an answer.
const IDLE: Duration = Duration::from_micros(200);
/// How many frames to take at once.
pub(crate) const RECEIVE_BUDGET: usize = 64;

/// Nanoseconds since the program's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now_ns(&self) -> u64 {
        // 64 bits of nanoseconds last for 584 years.
        self.0.elapsed().as_nanos() as u64
    }
}

/// A target, and the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) route: Route,
    pub(crate) target: Target,
    pub(crate) identity: Identity,
}

impl Endpoint {
    /// The address of the target.
    pub(crate) fn address(&self) -> TargetAddress {
        TargetAddress {
            shelf: self.target.shelf,
            slot: self.target.slot,
        }
    }
}

/// An open interface and what is known of the targets behind it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ports: Vec<Box<dyn Port>>,
    pub(crate) clock: Clock,
    /// In the order of the command line.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Speed of the interface in Mb/s, if its driver tells.
    pub(crate) speed_mbit: Option<u32>,
}

impl Connection {
    pub(crate) fn open(path: &PathArgs, addresses: &[TargetAddress]) -> Result<Self> {
        let ports = open_ports(path)?;
        let link = port::link(&path.interface)
            .with_context(|| format!("cannot ask for the link of {}", path.interface))?;
        let connection = Self::establish(ports, Clock::start(), addresses)
            .with_context(|| format!("on {}", path.interface))?;
        Ok(Self {
            speed_mbit: link.speed_mbps,
            ..connection
        })
    }

    /// Finds the targets through open ports.
    pub(crate) fn establish(
        mut ports: Vec<Box<dyn Port>>,
        clock: Clock,
        addresses: &[TargetAddress],
    ) -> Result<Self> {
        let endpoints = addresses
            .iter()
            .map(|&address| {
                find(&mut ports, &clock, address).with_context(|| format!("target {address}"))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            ports,
            clock,
            endpoints,
            speed_mbit: None,
        })
    }
}

/// Finds a target and asks it what it is.
fn find(ports: &mut [Box<dyn Port>], clock: &Clock, address: TargetAddress) -> Result<Endpoint> {
    let source = first_port(ports)?.facts().stations.first();
    let mut discovery = Discovery::new(address.shelf, address.slot, fresh_tag());
    let request = discovery.request(source);
    let target = ask(ports, clock, &request, &mut |frame| {
        discovery.receive(frame);
        discovery.targets().first().cloned()
    })?
    .ok_or_else(|| anyhow!("no answer to Query Config: `aoeload discover` lists who answers"))?;
    let Some(&destination) = target.macs.first() else {
        bail!("an answer without sender");
    };
    let route = Route {
        source,
        destination,
        shelf: address.shelf,
        slot: address.slot,
    };
    let query = IdentityQuery::new(route, fresh_tag());
    let identity = ask(ports, clock, &query.request(), &mut |frame| {
        query.receive(frame)
    })?
    .ok_or_else(|| anyhow!("no answer to IDENTIFY, though it answers Query Config"))??;
    Ok(Endpoint {
        route,
        target,
        identity,
    })
}

/// Opens the interface with the back end that was asked for, and no other.
pub(crate) fn open_ports(path: &PathArgs) -> Result<Vec<Box<dyn Port>>> {
    let mode = match path.backend {
        Backend::Xdp => RequestedMode::Auto,
        Backend::Packet => RequestedMode::Packet,
    };
    let ports = port::open(&path.interface, mode)?;
    let facts = first_port(&ports)?.facts();
    if path.backend == Backend::Xdp && facts.mode == Mode::Packet {
        bail!(
            "{}: AF_XDP does not work here: {}; use --backend packet",
            path.interface,
            facts.reason
        );
    }
    Ok(ports)
}

/// The port through which everything is sent.
pub(crate) fn first_port(ports: &[Box<dyn Port>]) -> Result<&dyn Port> {
    let first = ports.first().context("the interface has no queue")?;
    Ok(first.as_ref())
}

/// All targets that answer within `wait_ns`.
pub(crate) fn discover_all(
    ports: &mut [Box<dyn Port>],
    clock: &Clock,
    wait_ns: u64,
) -> Result<Vec<Target>> {
    let source = first_port(ports)?.facts().stations.first();
    let mut discovery = Discovery::new(Shelf::ANY, Slot::ANY, fresh_tag());
    let request = discovery.request(source);
    // Twice, because a broadcast may be lost like any other frame.
    for _ in 0..2 {
        send(ports, &request)?;
        wait(ports, clock, wait_ns / 2, &mut |frame| {
            discovery.receive(frame);
            None::<()>
        });
    }
    Ok(discovery.targets().to_vec())
}

/// Sends `request` until `answer` makes something of a received frame, or the limit is reached.
fn ask<T>(
    ports: &mut [Box<dyn Port>],
    clock: &Clock,
    request: &[u8],
    answer: &mut dyn FnMut(&ReceivedFrame<'_>) -> Option<T>,
) -> Result<Option<T>> {
    for _ in 0..ASK_LIMIT_NS / ASK_INTERVAL_NS {
        send(ports, request)?;
        if let Some(found) = wait(ports, clock, ASK_INTERVAL_NS, answer) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn send(ports: &mut [Box<dyn Port>], request: &[u8]) -> Result<()> {
    let port = ports.first_mut().context("the interface has no queue")?;
    let sent = port.transmit(request, &[]);
    port.flush();
    match sent {
        // The interface takes nothing now: as good as lost, and asked again.
        Ok(()) | Err(TransmitError::Full) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn wait<T>(
    ports: &mut [Box<dyn Port>],
    clock: &Clock,
    wait_ns: u64,
    answer: &mut dyn FnMut(&ReceivedFrame<'_>) -> Option<T>,
) -> Option<T> {
    let end_ns = clock.now_ns() + wait_ns;
    let mut found = None;
    while found.is_none() && clock.now_ns() < end_ns {
        for port in &mut *ports {
            port.receive(RECEIVE_BUDGET, &mut |frame| {
                if found.is_none() {
                    found = answer(frame);
                }
            });
            port.flush();
        }
        std::thread::sleep(IDLE);
    }
    found
}

/// A tag that no former run of ours used lately, and that no advertisement has: never 0.
pub(crate) fn fresh_tag() -> Tag {
    Tag((fresh_number() as u32 & 0x7fff_ffff).max(1))
}

/// A number that differs from run to run: the time.
pub(crate) fn fresh_number() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

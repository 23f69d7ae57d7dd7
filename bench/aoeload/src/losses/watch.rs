//! Watching a load: snapshots of all counters before and after it, and the probes meanwhile.

use super::shelf::{Shelf, TargetCounters};
use super::{Sight, Snapshot, Way, WayLosses};
use crate::cli::{PeerInterface, ProbesArg, WatchArgs};
use crate::connect::Connection;
use crate::interfaces::Interface;
use crate::load::Outcome;
use crate::plan::UsageError;
use anyhow::{Context, Result};
use port::Mode;
use probes::{DriveLatency, Loss, NamespacePath, Probes, Seen};
use serde::Serialize;

/// What watches a load.
#[derive(Debug)]
pub(crate) struct Watch {
    ways: Vec<Way>,
    peers: Vec<PeerInterface>,
    shelf: Option<Shelf>,
    before: Vec<Snapshot>,
    probes: ProbesState,
}

/// Whether there are probes.
#[derive(Debug)]
enum ProbesState {
    Attached(Probes),
    /// Why there are none.
    Absent(String),
}

/// What was seen of a load. Field names are part of the interface of `--json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Watched {
    pub(super) ports: Vec<PortReport>,
    pub(super) losses: LossReport,
}

/// What went through one queue of an interface.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PortReport {
    pub(super) interface: String,
    pub(super) queue: u32,
    pub(super) mode: String,
    pub(super) sent_frames: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_frames: u64,
    pub(super) received_bytes: u64,
    /// How often it had no room for a frame, which then had to wait.
    pub(super) full: u64,
}

/// Where frames were lost, and how long drives took.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LossReport {
    /// Open loop: commands that were due and never sent, because all windows were full of others.
    pub(super) never_sent: u64,
    /// Frames with commands that the load has sent, those sent again included.
    pub(super) sent: u64,
    pub(super) answered: u64,
    /// Of the answers, those that came when the command had been sent again or had ended.
    pub(super) late: u64,
    pub(super) never_answered: u64,
    /// `attached`, or why there are none.
    pub(super) probes: String,
    pub(super) ways: Vec<WayLosses>,
    /// AoE frames that the kernel dropped at other interfaces of this machine, such as those of a bridge.
    pub(super) elsewhere: Vec<Sight>,
    pub(super) drives: Vec<DriveReport>,
    /// What the probes had no room to count.
    pub(super) uncounted: u64,
}

/// How long a drive took from getting a request to completing it: upper ends of powers of two.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DriveReport {
    pub(super) drive: String,
    pub(super) operation: &'static str,
    pub(super) requests: u64,
    pub(super) p50_below_us: f64,
    pub(super) p99_below_us: f64,
    pub(super) max_below_us: f64,
}

impl Watch {
    /// Begins to watch: to be called right before the load.
    pub(crate) fn begin(
        connection: &Connection,
        args: &WatchArgs,
        probes: ProbesArg,
    ) -> Result<Self> {
        let peers = args.peer_interface.as_slice();
        let count = connection.interfaces.count();
        if !peers.is_empty() && peers.len() != count {
            let given = peers.len();
            return Err(UsageError::PeersDiffer { given, count }.into());
        }
        let shelf = args.shelf_socket.as_deref();
        let shelf = shelf.map(|path| Shelf::find(path, connection).context("--shelf-socket"));
        let shelf = shelf.transpose()?;
        let probes = match probes {
            ProbesArg::Off => ProbesState::Absent("off".to_owned()),
            ProbesArg::On => ProbesState::Attached(Probes::attach().context("--probes on")?),
            ProbesArg::Auto => match Probes::attach() {
                Ok(probes) => ProbesState::Attached(probes),
                Err(error) => ProbesState::Absent(error.to_string()),
            },
        };
        let interfaces = connection.interfaces.each().enumerate();
        let ways = interfaces.map(|(index, one)| way(one, peers.get(index)));
        let ways = ways.collect::<Result<_>>()?;
        Ok(Self {
            ways,
            peers: peers.to_vec(),
            before: look(connection, peers, shelf.as_ref())?,
            shelf,
            probes,
        })
    }

    /// What happened since: to be called right after the load.
    pub(crate) fn end(self, connection: &Connection, outcome: &Outcome) -> Result<Watched> {
        let counters = &outcome.counters;
        let after = look(connection, &self.peers, self.shelf.as_ref())?;
        let (probes, seen) = match &self.probes {
            ProbesState::Attached(probes) => ("attached".to_owned(), probes.seen()?),
            ProbesState::Absent(why) => (why.clone(), Seen::default()),
        };
        let snapshots = self.before.iter().zip(&after);
        let ways = self.ways.iter().zip(snapshots.clone());
        let ways =
            ways.map(|(way, (before, after))| WayLosses::new(way, before, after, &seen.losses));
        let interfaces = connection.interfaces.each().zip(snapshots);
        let ports =
            interfaces.flat_map(|(interface, (before, after))| ports(interface, before, after));
        let sent = counters.started + counters.retransmissions;
        let late = counters.superseded + counters.duplicates;
        let answered = counters.done + counters.failed + late;
        Ok(Watched {
            ports: ports.collect(),
            losses: LossReport {
                never_sent: outcome.overdue,
                sent,
                answered,
                late,
                never_answered: sent.saturating_sub(answered),
                probes,
                ways: ways.collect(),
                elsewhere: self.elsewhere(&seen.losses),
                drives: seen.drives.iter().map(DriveReport::new).collect(),
                uncounted: seen.uncounted,
            },
        })
    }

    fn elsewhere(&self, losses: &[Loss]) -> Vec<Sight> {
        let known = |loss: &Loss| {
            let at = Some(loss.interface);
            let mut ways = self.ways.iter();
            ways.any(|way| way.own_id == at || way.peer_id == at)
        };
        let others = losses.iter().filter(|loss| !known(loss));
        let named = others.map(|loss| Sight {
            what: format!(
                "{loss} at interface {} of namespace {}",
                loss.interface.index, loss.interface.namespace
            ),
            frames: loss.frames,
        });
        named.collect()
    }
}

/// All counters as they are now.
fn look(
    connection: &Connection,
    peers: &[PeerInterface],
    shelf: Option<&Shelf>,
) -> Result<Vec<Snapshot>> {
    let targets = shelf.map(Shelf::read).transpose()?;
    let each = connection.interfaces.each().enumerate();
    each.map(|(index, interface)| {
        let target = targets.as_ref().map(|each| each[index].clone());
        snapshot(interface, peers.get(index), target)
    })
    .collect()
}

fn snapshot(
    interface: &Interface,
    peer: Option<&PeerInterface>,
    target: Option<TargetCounters>,
) -> Result<Snapshot> {
    let name = &interface.facts().interface;
    let own = is_of_kernel(interface).then(|| {
        let link = port::link(name);
        link.with_context(|| format!("cannot ask for the counters of {name}"))
    });
    let peer = peer.map(|peer| {
        let link = namespace(peer).within(|| port::link(&peer.interface));
        link.with_context(|| format!("cannot ask for the counters of {peer}"))
    });
    Ok(Snapshot {
        counters: interface.counters(),
        own: own.transpose()?,
        peer: peer.transpose()?,
        target,
    })
}

fn way(interface: &Interface, peer: Option<&PeerInterface>) -> Result<Way> {
    let name = &interface.facts().interface;
    let own_id = is_of_kernel(interface).then(|| {
        let found = NamespacePath::own().interface(name);
        found.with_context(|| format!("cannot find {name}"))
    });
    let peer_id = peer.map(|peer| {
        let found = namespace(peer).interface(&peer.interface);
        found.with_context(|| format!("--peer-interface {peer}"))
    });
    Ok(Way {
        interface: name.clone(),
        peer: peer.map(ToString::to_string),
        own_id: own_id.transpose()?,
        peer_id: peer_id.transpose()?,
    })
}

/// Where the other end of a wire is.
fn namespace(peer: &PeerInterface) -> NamespacePath {
    let name = peer.namespace.as_deref();
    name.map_or_else(NamespacePath::own, NamespacePath::named)
}

/// Whether an interface is one of the kernel.
fn is_of_kernel(interface: &Interface) -> bool {
    interface.facts().mode != Mode::Memory
}

/// What went through the queues of an interface, without those that nothing was to go through or did.
fn ports<'a>(
    interface: &'a Interface,
    before: &'a Snapshot,
    after: &'a Snapshot,
) -> impl Iterator<Item = PortReport> + 'a {
    let facts = interface.facts();
    let queues = before.counters.queues.iter().zip(&after.counters.queues);
    let queues = queues.zip(0..).map(|((before, after), queue)| PortReport {
        interface: facts.interface.clone(),
        queue,
        mode: facts.mode.to_string(),
        sent_frames: after.tx_frames - before.tx_frames,
        sent_bytes: after.tx_bytes - before.tx_bytes,
        received_frames: after.rx_frames - before.rx_frames,
        received_bytes: after.rx_bytes - before.rx_bytes,
        full: after.tx_full - before.tx_full,
    });
    let used = interface.queues();
    queues.filter(move |one| (one.queue as usize) < used || one.received_frames > 0)
}

impl DriveReport {
    fn new(latency: &DriveLatency) -> Self {
        let below_us = |part: f64| latency.below_ns(part) as f64 / 1e3;
        Self {
            drive: latency.drive.clone(),
            operation: latency.operation,
            requests: latency.count(),
            p50_below_us: below_us(0.5),
            p99_below_us: below_us(0.99),
            max_below_us: below_us(1.0),
        }
    }
}

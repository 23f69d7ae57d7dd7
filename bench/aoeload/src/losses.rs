//! Loss accounting: where frames stayed between this program, the target and back.
//!
//! ```text
//! sent ─ our interface ─ left ─ wire ─ arrived ─ their interface, target ─ answered ─ wire ─ came back ─
//! our interface ─ received
//! ```
//!
//! Frames are counted at these points, and those that one point has and the next one lacks were lost between
//! the two. So every lost frame is in exactly one layer, and the layers add up to what was sent and had no
//! answer, whatever is known of the reasons. Counters of interfaces and the probes in the kernel then say
//! why: one frame may be seen by several of them, so what they have seen is told beside a layer and never
//! added up.
//!
//! A shelf of ours also tells what its sockets have received and sent, and why its target was silent. Asked
//! on its control socket ([`shelf`]), it is two more points between *arrived* and *answered*.
//!
//! Interfaces count frames of every protocol. What else is on the wire shows as a difference without a
//! reason, and may be negative.

mod shelf;
mod text;
pub(crate) mod watch;

use crate::interfaces::InterfaceCounters;
use port::{Link, PortCounters};
use probes::{InterfaceId, Loss, LossKind};
use serde::Serialize;
use shelf::TargetCounters;

/// What the kernel calls the drop of a frame for an XDP program: an echo of what the probes on XDP see.
const XDP_REASON: &str = "XDP";
/// What the kernel calls the drop of a frame that no protocol wants, be it that a packet socket for all of
/// them had it before: then it is only a copy that is dropped.
const UNWANTED_REASON: &str = "UNHANDLED_PROTO";
/// What the functions are called with which packet sockets receive.
const PACKET_SOCKET: &str = "packet_rcv";

/// Layers of the target, by whatever is known of them.
const TARGET_RECEIVING: &str = "target's kernel, receiving";
const TARGET_SILENT: &str = "target, which got them and did not answer";
const TARGET_SENDING: &str = "target's kernel, sending";

/// One way: an interface of ours, and the other end of its wire if that is on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) interface: String,
    pub(crate) peer: Option<String>,
    pub(crate) own_id: Option<InterfaceId>,
    pub(crate) peer_id: Option<InterfaceId>,
}

/// What the counters on a way show.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) counters: InterfaceCounters,
    /// `None`: no interface of the kernel.
    pub(crate) own: Option<Link>,
    pub(crate) peer: Option<Link>,
    /// `None`: the shelf is not asked.
    pub(crate) target: Option<TargetCounters>,
}

/// Frames at each point of a way. `None`: nobody counts them there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Frames {
    /// Given to the sockets of our interface.
    pub(crate) sent: i64,
    /// Sent by our interface.
    pub(crate) left: Option<i64>,
    /// Received by the other end's.
    pub(crate) arrived: Option<i64>,
    /// Received through the sockets of the shelf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_received: Option<i64>,
    /// Given to the sockets of the shelf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_sent: Option<i64>,
    /// Sent by the other end's.
    pub(crate) answered: Option<i64>,
    /// Received by our interface.
    pub(crate) came_back: Option<i64>,
    /// Received through our sockets.
    pub(crate) received: i64,
    /// Those of them that answered a command.
    pub(crate) answers: i64,
}

/// Frames that stayed in one layer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Layer {
    pub(crate) layer: &'static str,
    pub(crate) lost: i64,
    /// Who has seen something of that.
    pub(crate) seen: Vec<Sight>,
}

/// Frames that a counter or a probe has seen lost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Sight {
    pub(crate) what: String,
    pub(crate) frames: u64,
}

/// What became of the frames of one way. Field names are part of the interface of `--json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WayLosses {
    interface: String,
    peer_interface: Option<String>,
    frames: Frames,
    /// Frames sent that have no answer: the sum of the layers.
    missing: i64,
    layers: Vec<Layer>,
}

/// What happened between two snapshots.
struct Between<'a> {
    before: &'a Snapshot,
    after: &'a Snapshot,
}

impl Between<'_> {
    /// A counter of the sockets, all queues together.
    fn port(&self, counter: impl Fn(&PortCounters) -> u64) -> u64 {
        let sum = |snapshot: &Snapshot| snapshot.counters.queues.iter().map(&counter).sum::<u64>();
        sum(self.after).saturating_sub(sum(self.before))
    }

    /// A counter of the sockets that is of the whole interface.
    fn port_of_all(&self, counter: impl Fn(&PortCounters) -> u64) -> u64 {
        let most = |snapshot: &Snapshot| snapshot.counters.queues.iter().map(&counter).max();
        most(self.after)
            .unwrap_or_default()
            .saturating_sub(most(self.before).unwrap_or_default())
    }

    fn own(&self, name: &str) -> Option<u64> {
        difference(self.before.own.as_ref()?, self.after.own.as_ref()?, name)
    }

    fn peer(&self, name: &str) -> Option<u64> {
        difference(self.before.peer.as_ref()?, self.after.peer.as_ref()?, name)
    }

    /// A counter of the shelf.
    fn target(&self, counter: impl Fn(&TargetCounters) -> u64) -> Option<u64> {
        let (before, after) = (self.before.target.as_ref()?, self.after.target.as_ref()?);
        Some(counter(after).saturating_sub(counter(before)))
    }

    /// What counters of the shelf have seen.
    fn target_seen(&self, counters: impl Fn(&TargetCounters) -> &shelf::Counts) -> Vec<Sight> {
        match (&self.before.target, &self.after.target) {
            (Some(before), Some(after)) => shelf::rises(counters(before), counters(after)),
            _ => Vec::new(),
        }
    }

    fn frames(&self) -> Frames {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        // What is of other protocols is no frame of ours.
        let foreign = self.port_of_all(|port| port.passed_to_kernel);
        let came_back = self.own("rx_packets");
        let answers = self.after.counters.answers - self.before.counters.answers;
        Frames {
            sent: signed(self.port(|port| port.tx_frames)),
            left: self.own("tx_packets").map(signed),
            arrived: self.peer("rx_packets").map(signed),
            target_received: self.target(|target| target.received).map(signed),
            target_sent: self.target(|target| target.sent).map(signed),
            answered: self.peer("tx_packets").map(signed),
            came_back: came_back.map(|frames| signed(frames.saturating_sub(foreign))),
            received: signed(self.port(|port| port.rx_frames)),
            answers: signed(answers),
        }
    }
}

fn difference(before: &Link, after: &Link, name: &str) -> Option<u64> {
    let of = |link: &Link| {
        let found = link.counters.iter().find(|(known, _)| *known == name);
        found.map(|(_, count)| *count)
    };
    Some(of(after)?.saturating_sub(of(before)?))
}

/// The sum of what was seen.
fn total(sights: &[Sight]) -> u64 {
    sights.iter().map(|sight| sight.frames).sum()
}

/// What the probes have seen at one interface: losses of these kinds.
fn drops<const N: usize>(
    losses: &[Loss],
    at: Option<InterfaceId>,
    kinds: [LossKind; N],
) -> Vec<Sight> {
    let ours = losses
        .iter()
        .filter(|loss| Some(loss.interface) == at && kinds.contains(&loss.kind));
    let name = |loss: &Loss| match loss.kind {
        LossKind::XdpException => format!("XDP exception: {loss}"),
        LossKind::XdpRedirect => format!("XDP redirection: {loss}"),
        _ => loss.to_string(),
    };
    let mut sights: Vec<Sight> = Vec::new();
    for loss in ours {
        let (what, frames) = (name(loss), loss.frames);
        // A function may be there several times, and a reason at several places of one.
        match sights.iter_mut().find(|known| known.what == what) {
            Some(known) => known.frames += frames,
            None => sights.push(Sight { what, frames }),
        }
    }
    sights
}

/// What the probes have seen at an interface of frames that it sent. What a packet socket has no room for is
/// only a copy then, for somebody who listens.
fn sent_drops(losses: &[Loss], at: Option<InterfaceId>, kind: LossKind) -> Vec<Sight> {
    let mut sights = drops(losses, at, [kind, LossKind::Sent]);
    sights.retain(|sight| !sight.what.contains(PACKET_SOCKET));
    sights
}

/// What the probes have seen at an interface of frames that it received, each frame once.
fn received_drops(losses: &[Loss], at: Option<InterfaceId>, kind: LossKind) -> Vec<Sight> {
    let mut sights = drops(losses, at, [LossKind::XdpException]);
    sights.extend(drops(losses, at, [LossKind::XdpRedirect]));
    let mut echoes = total(&sights);
    for mut drop in drops(losses, at, [kind, LossKind::Received]) {
        // In generic mode the frame of such an event is dropped by the kernel, too.
        if drop.what.split(' ').next() == Some(XDP_REASON) {
            let echo = drop.frames.min(echoes);
            echoes -= echo;
            drop.frames -= echo;
        }
        if drop.frames > 0 {
            sights.push(drop);
        }
    }
    sights
}

/// Takes so many frames out of what was seen: first what was dropped in sending. A veth drops what it cannot
/// take when the frame is the receiver's already.
fn take(sights: &mut Vec<Sight>, mut frames: u64) -> Vec<Sight> {
    let mut taken = Vec::new();
    sights.sort_by_key(|sight| !sight.what.contains("xmit"));
    for sight in &mut *sights {
        let part = sight.frames.min(frames);
        if part > 0 {
            frames -= part;
            sight.frames -= part;
            taken.push(Sight {
                what: sight.what.clone(),
                frames: part,
            });
        }
    }
    sights.retain(|sight| sight.frames > 0);
    taken
}

/// What counters have seen, without those that have seen nothing.
fn counted<const N: usize>(counters: [(&str, Option<u64>); N]) -> Vec<Sight> {
    let counted = counters.into_iter().filter_map(|(what, count)| {
        let frames = count.filter(|count| *count > 0)?;
        Some(Sight {
            what: what.to_owned(),
            frames,
        })
    });
    counted.collect()
}

impl WayLosses {
    /// What became of the frames of a way between two snapshots, with what the probes have seen meanwhile.
    pub(crate) fn new(way: &Way, before: &Snapshot, after: &Snapshot, losses: &[Loss]) -> Self {
        let between = Between { before, after };
        let frames = between.frames();
        let mut layers = Vec::new();
        let mut there = received_drops(losses, way.peer_id, LossKind::Request);
        let mut here = received_drops(losses, way.own_id, LossKind::Response);
        let (Some(left), Some(came_back)) = (frames.left, frames.came_back) else {
            layers.push(layer(
                "beyond the port",
                frames.sent - frames.received,
                Vec::new(),
            ));
            return Self::sum(way, frames, layers);
        };
        layers.push(sending(
            &between,
            way,
            losses,
            frames.sent - left,
            &mut there,
        ));
        match (frames.arrived, frames.answered) {
            _ if between.after.target.is_some() => {
                layers.extend(at_shelf(&between, way, losses, &frames, there, &mut here));
            }
            (Some(arrived), Some(answered)) => {
                layers.push(layer("wire, to the target", left - arrived, Vec::new()));
                let missing = arrived - answered;
                layers.extend(at_target(&between, way, losses, missing, there, &mut here));
                layers.push(layer("wire, back", answered - came_back, Vec::new()));
            }
            _ => layers.push(layer("beyond our interface", left - came_back, there)),
        }
        layers.push(receiving(&between, came_back - frames.received, here));
        Self::sum(way, frames, layers)
    }

    fn sum(way: &Way, frames: Frames, mut layers: Vec<Layer>) -> Self {
        let foreign = frames.received - frames.answers;
        layers.push(layer(
            "received, and no answer to anything",
            foreign,
            Vec::new(),
        ));
        Self {
            interface: way.interface.clone(),
            peer_interface: way.peer.clone(),
            frames,
            missing: frames.sent - frames.answers,
            layers,
        }
    }
}

const fn layer(layer: &'static str, lost: i64, seen: Vec<Sight>) -> Layer {
    Layer { layer, lost, seen }
}

/// From our sockets to the wire.
fn sending(
    between: &Between<'_>,
    way: &Way,
    losses: &[Loss],
    lost: i64,
    there: &mut Vec<Sight>,
) -> Layer {
    let mut seen = counted([
        (
            "refused by the kernel",
            Some(between.port(|port| port.tx_invalid)),
        ),
        ("tx_dropped", between.own("tx_dropped")),
        ("tx_errors", between.own("tx_errors")),
    ]);
    let dropped = sent_drops(losses, way.own_id, LossKind::Request);
    let unseen = u64::try_from(lost).unwrap_or_default();
    let unseen = unseen.saturating_sub(total(&dropped));
    seen.extend(dropped);
    seen.extend(take(there, unseen));
    layer("our kernel, sending", lost, seen)
}

/// Between the frames that the other end received and those that it sent.
fn at_target(
    between: &Between<'_>,
    way: &Way,
    losses: &[Loss],
    missing: i64,
    mut there: Vec<Sight>,
    here: &mut Vec<Sight>,
) -> [Layer; 3] {
    let limit = u64::try_from(missing).unwrap_or_default();
    let mut sent = counted([
        ("tx_dropped", between.peer("tx_dropped")),
        ("tx_errors", between.peer("tx_errors")),
    ]);
    let dropped = sent_drops(losses, way.peer_id, LossKind::Response);
    let lost_sending = total(&sent).max(total(&dropped)).min(limit);
    let unseen = lost_sending.saturating_sub(total(&dropped));
    sent.extend(dropped);
    sent.extend(take(here, unseen));
    let mut interface = at_interface(between);
    drop_copies(&mut interface, &mut there, limit);
    let seen_receiving = total(&there).max(total(&interface));
    let lost_receiving = seen_receiving.min(limit - lost_sending);
    let received = [interface, there].concat();
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let silent = missing - signed(lost_receiving) - signed(lost_sending);
    [
        layer(TARGET_RECEIVING, signed(lost_receiving), received),
        layer(TARGET_SILENT, silent, Vec::new()),
        layer(TARGET_SENDING, signed(lost_sending), sent),
    ]
}

/// Between the frames that left our interface and those that came back, where the shelf tells what it has
/// received and sent.
fn at_shelf(
    between: &Between<'_>,
    way: &Way,
    losses: &[Loss],
    frames: &Frames,
    mut there: Vec<Sight>,
    here: &mut Vec<Sight>,
) -> Vec<Layer> {
    let known = |count: Option<i64>| count.unwrap_or_default();
    let (left, came_back) = (known(frames.left), known(frames.came_back));
    let (received, sent) = (known(frames.target_received), known(frames.target_sent));
    let mut layers = Vec::new();
    let mut taken = between.target_seen(|target| &target.receiving);
    let mut given = counted([
        ("tx_dropped", between.peer("tx_dropped")),
        ("tx_errors", between.peer("tx_errors")),
    ]);
    given.extend(between.target_seen(|target| &target.sending));
    given.extend(sent_drops(losses, way.peer_id, LossKind::Response));
    if let Some(arrived) = frames.arrived {
        layers.push(layer("wire, to the target", left - arrived, Vec::new()));
        let lost = arrived - received;
        let limit = u64::try_from(lost).unwrap_or_default();
        let mut interface = at_interface(between);
        drop_copies(&mut interface, &mut there, limit);
        taken.extend(interface);
        taken.extend(there);
        layers.push(layer(TARGET_RECEIVING, lost, taken));
    } else {
        taken.extend(there);
        let lost = left - received;
        layers.push(layer("wire and target's kernel, receiving", lost, taken));
    }
    let kept = between.target_seen(|target| &target.silent);
    layers.push(layer(TARGET_SILENT, received - sent, kept));
    let lost = sent - frames.answered.unwrap_or(came_back);
    given.extend(take(here, u64::try_from(lost).unwrap_or_default()));
    if let Some(answered) = frames.answered {
        layers.push(layer(TARGET_SENDING, lost, given));
        layers.push(layer("wire, back", answered - came_back, Vec::new()));
    } else {
        layers.push(layer("target's kernel, sending, and wire", lost, given));
    }
    layers
}

/// What the other end's interface has counted as lost of what it received.
fn at_interface(between: &Between<'_>) -> Vec<Sight> {
    counted([
        ("rx_dropped", between.peer("rx_dropped")),
        ("rx_missed_errors", between.peer("rx_missed_errors")),
        ("rx_errors", between.peer("rx_errors")),
    ])
}

/// Leaves out what can only have been copies: more than is missing.
fn drop_copies(interface: &mut Vec<Sight>, probes: &mut Vec<Sight>, limit: u64) {
    let unwanted = |sight: &Sight| sight.what.starts_with(UNWANTED_REASON);
    if probes.iter().any(unwanted) && total(probes) > limit {
        probes.retain(|sight| !unwanted(sight));
        interface.retain(|sight| sight.what != "rx_dropped");
    }
}

/// From the wire to our sockets.
fn receiving(between: &Between<'_>, lost: i64, mut here: Vec<Sight>) -> Layer {
    let port = |counter: fn(&PortCounters) -> u64| Some(between.port(counter));
    let mut seen = counted([
        ("receive ring full", port(|port| port.rx_ring_full)),
        ("dropped by the socket", port(|port| port.rx_dropped)),
        ("cut short", port(|port| port.rx_invalid)),
        ("for another station", port(|port| port.rx_other_host)),
        (
            "left to the kernel",
            Some(between.port_of_all(|port| port.aoe_to_kernel)),
        ),
        ("rx_dropped", between.own("rx_dropped")),
        ("rx_missed_errors", between.own("rx_missed_errors")),
        ("rx_errors", between.own("rx_errors")),
    ]);
    drop_copies(
        &mut seen,
        &mut here,
        u64::try_from(lost).unwrap_or_default(),
    );
    seen.extend(here);
    layer("our kernel, receiving", lost, seen)
}

#[cfg(test)]
mod tests;

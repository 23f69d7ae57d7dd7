//! Where frames were lost, by counters and sights of the probes that are made up.

use super::*;

const OURS: InterfaceId = InterfaceId {
    namespace: 1,
    index: 2,
};
const THEIRS: InterfaceId = InterfaceId {
    namespace: 9,
    index: 2,
};

/// The counters of a way on which a hundred frames went there and back.
struct Counted {
    port: PortCounters,
    answers: u64,
    own: Vec<(&'static str, u64)>,
    peer: Vec<(&'static str, u64)>,
}

impl Counted {
    fn all_well() -> Self {
        let packets = vec![("rx_packets", 100), ("tx_packets", 100)];
        Self {
            port: PortCounters {
                tx_frames: 100,
                rx_frames: 100,
                ..PortCounters::default()
            },
            answers: 100,
            own: packets.clone(),
            peer: packets,
        }
    }

    /// So many of the requests get no further than to the other end's interface.
    fn without_answers(lost: u64) -> Self {
        let mut counted = Self::all_well();
        counted.answers -= lost;
        counted.port.rx_frames -= lost;
        counted.own[0].1 -= lost;
        counted.peer[1].1 -= lost;
        counted
    }

    /// What became of the frames, if the counters began at 0.
    fn losses(self, seen: &[Loss], has_peer: bool) -> WayLosses {
        let link = |counters: &[(&'static str, u64)]| Link {
            counters: counters.to_vec(),
            ..Link::default()
        };
        let zeroes = |counters: &[(&'static str, u64)]| Link {
            counters: counters.iter().map(|(name, _)| (*name, 0)).collect(),
            ..Link::default()
        };
        let snapshot = |port: PortCounters, answers, own: Link, peer: Link| Snapshot {
            counters: InterfaceCounters {
                queues: vec![port],
                answers,
            },
            own: Some(own),
            peer: has_peer.then_some(peer),
            target: None,
        };
        let none = PortCounters::default();
        let before = snapshot(none, 0, zeroes(&self.own), zeroes(&self.peer));
        let after = snapshot(self.port, self.answers, link(&self.own), link(&self.peer));
        let way = Way {
            interface: "c0".to_owned(),
            peer: has_peer.then(|| "t:t0".to_owned()),
            own_id: Some(OURS),
            peer_id: has_peer.then_some(THEIRS),
        };
        let losses = WayLosses::new(&way, &before, &after, seen);
        let sum: i64 = losses.layers.iter().map(|layer| layer.lost).sum();
        assert_eq!(sum, losses.missing, "{losses:?}");
        losses
    }
}

fn loss(interface: InterfaceId, kind: LossKind, reason: &str, place: &str, frames: u64) -> Loss {
    Loss {
        interface,
        kind,
        reason: reason.to_owned(),
        place: Some(place.to_owned()),
        frames,
    }
}

/// The layers that something was lost in.
fn lost(losses: &WayLosses) -> Vec<(&str, i64, String)> {
    let with = losses.layers.iter().filter(|layer| layer.lost != 0);
    let named = with.map(|layer| {
        let seen: Vec<_> = layer.seen.iter().map(ToString::to_string).collect();
        (layer.layer, layer.lost, seen.join(", "))
    });
    named.collect()
}

#[test]
fn what_all_got_is_lost_nowhere() {
    for has_peer in [false, true] {
        let losses = Counted::all_well().losses(&[], has_peer);
        assert_eq!(lost(&losses), []);
        assert_eq!(losses.missing, 0);
    }
}

#[test]
fn what_the_other_interface_did_not_get_was_lost_on_the_wire() {
    let mut counted = Counted::without_answers(7);
    counted.peer[0].1 -= 7;
    let losses = counted.losses(&[], true);
    assert_eq!(lost(&losses), [("wire, to the target", 7, String::new())]);
    let losses = Counted::without_answers(7).losses(&[], false);
    assert_eq!(lost(&losses), [("beyond our interface", 7, String::new())]);
}

#[test]
fn a_full_ring_of_a_veth_is_ours_though_the_frame_is_theirs_already() {
    let mut counted = Counted::without_answers(7);
    counted.peer[0].1 -= 7;
    counted.own[1].1 -= 7;
    counted.own.push(("tx_dropped", 7));
    let seen = [loss(THEIRS, LossKind::Request, "FULL_RING", "veth_xmit", 7)];
    let losses = counted.losses(&seen, true);
    let seen = "tx_dropped 7, FULL_RING in veth_xmit 7".to_owned();
    assert_eq!(lost(&losses), [("our kernel, sending", 7, seen)]);
}

#[test]
fn what_the_target_kept_is_told_from_what_its_kernel_dropped() {
    let seen = [loss(THEIRS, LossKind::Request, "TC_INGRESS", "tc_run", 5)];
    let losses = Counted::without_answers(7).losses(&seen, true);
    let target = "target, which got them and did not answer";
    assert_eq!(
        lost(&losses),
        [
            (
                "target's kernel, receiving",
                5,
                "TC_INGRESS in tc_run 5".to_owned()
            ),
            (target, 2, String::new()),
        ]
    );
}

#[test]
fn a_copy_that_no_protocol_wants_is_no_loss_of_what_a_socket_had_before() {
    let unwanted = |frames| {
        let (kind, place) = (LossKind::Received, "__netif_receive_skb_core");
        [loss(THEIRS, kind, UNWANTED_REASON, place, frames)]
    };
    let dropping = |frames| {
        let mut counted = Counted::without_answers(7);
        counted.peer.push(("rx_dropped", frames));
        counted
    };
    let target = "target, which got them and did not answer";
    let losses = dropping(100).losses(&unwanted(100), true);
    assert_eq!(lost(&losses), [(target, 7, String::new())]);
    // Nobody listens: the target is dead.
    let losses = dropping(7).losses(&unwanted(7), true);
    assert_eq!(lost(&losses)[0].0, "target's kernel, receiving");
}

#[test]
fn an_event_of_xdp_and_the_drop_that_follows_it_are_one_loss() {
    let redirect = Loss {
        place: None,
        ..loss(THEIRS, LossKind::XdpRedirect, "No space left", "", 5)
    };
    let echo = loss(THEIRS, LossKind::Request, "XDP", "do_xdp_generic", 6);
    let mut counted = Counted::without_answers(7);
    counted.peer.push(("rx_dropped", 5));
    let losses = counted.losses(&[redirect, echo], true);
    let (layer, frames, seen) = &lost(&losses)[0];
    assert_eq!((*layer, *frames), ("target's kernel, receiving", 6));
    assert_eq!(
        seen,
        "rx_dropped 5, XDP redirection: No space left 5, XDP in do_xdp_generic 1"
    );
}

#[test]
fn answers_are_lost_on_their_way_out_of_the_target_or_at_ours() {
    let mut counted = Counted::without_answers(7);
    counted.peer.push(("tx_dropped", 7));
    let seen = [loss(OURS, LossKind::Response, "FULL_RING", "veth_xmit", 7)];
    let losses = counted.losses(&seen, true);
    let seen = "tx_dropped 7, FULL_RING in veth_xmit 7".to_owned();
    assert_eq!(lost(&losses), [("target's kernel, sending", 7, seen)]);

    // A copy of an answer for somebody who listens is no loss.
    let seen = [loss(THEIRS, LossKind::Response, "PACKET", "packet_rcv", 5)];
    assert_eq!(lost(&Counted::all_well().losses(&seen, true)), []);

    let mut counted = Counted::all_well();
    counted.answers -= 7;
    counted.port.rx_frames -= 7;
    counted.port.rx_ring_full = 7;
    let losses = counted.losses(&[], true);
    let seen = "receive ring full 7".to_owned();
    assert_eq!(lost(&losses), [("our kernel, receiving", 7, seen)]);
}

#[test]
fn frames_that_answer_nothing_are_told_of_and_those_of_other_protocols_are_left_out() {
    let mut counted = Counted::all_well();
    counted.own[0].1 += 3;
    counted.port.passed_to_kernel = 3;
    counted.answers -= 1;
    let losses = counted.losses(&[], true);
    let foreign = "received, and no answer to anything";
    assert_eq!(lost(&losses), [(foreign, 1, String::new())]);
}

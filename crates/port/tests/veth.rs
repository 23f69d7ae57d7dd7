//! Ports on real interfaces: a veth pair between two network namespaces, a plain packet socket at
//! the other end. Needs root; makes and removes its own namespaces, whose names start with `lp-`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod net;

use aoe::MacAddress;
use net::{
    FAR, Kind, NEAR, Net, echo, ethernet_frame, frame, inside, ip, next_frame, say, send_back,
    take, waiting_frames,
};
use port::{
    ETHERTYPE_AOE, ETHERTYPE_CEC, Mode, OpenError, Opening, Port, RequestedMode, TransmitError,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const MODES: [RequestedMode; 3] = [
    RequestedMode::Native,
    RequestedMode::Generic,
    RequestedMode::Packet,
];

/// The kinds of port that this kernel can do at all.
fn kinds() -> impl Iterator<Item = Kind> {
    let (family, kind) = (AddressFamily::XDP, SocketType::RAW);
    let xdp = socket_with(family, kind, SocketFlags::CLOEXEC, None);
    let without_xdp = matches!(xdp, Err(rustix::io::Errno::AFNOSUPPORT));
    if without_xdp {
        say("SKIPPED native and generic: this kernel has no AF_XDP");
    }
    MODES
        .into_iter()
        .flat_map(|mode| [false, true].map(|shares| Kind { mode, shares }))
        .filter(move |kind| match kind.mode {
            RequestedMode::Packet => !kind.shares,
            _ => !without_xdp,
        })
}

fn echo_sizes(mtu_bytes: usize, sizes: &[usize]) {
    for kind in kinds() {
        let net = Net::new(mtu_bytes);
        let mut port = net.open_one(kind);
        assert_eq!(port.facts().mode.to_string(), kind.mode.to_string());
        assert_eq!(port.facts().mtu_bytes, mtu_bytes);
        let mut peer = net.peer();
        for &size in sizes {
            echo(&mut *port, &mut peer, size);
        }
        let bytes: usize = sizes.iter().sum();
        let counters = port.counters();
        assert_eq!(counters.rx_frames, sizes.len() as u64);
        assert_eq!(counters.tx_frames, sizes.len() as u64);
        assert_eq!(counters.rx_bytes, bytes as u64);
        assert_eq!(counters.tx_bytes, bytes as u64);
        assert_eq!(lost(&*port), 0, "{counters:?}");
    }
}

/// Everything that any counter calls a loss.
fn lost(port: &dyn Port) -> u64 {
    let counters = port.counters();
    counters.tx_full
        + counters.tx_too_long
        + counters.tx_invalid
        + counters.rx_dropped
        + counters.rx_ring_full
        + counters.fill_ring_empty
        + counters.rx_invalid
        + counters.rx_other_host
        + counters.aoe_to_kernel
        + counters.kernel_errors
}

#[test]
fn frames_of_every_size_come_and_go_unchanged_at_mtu_9000() {
    // Around the ends of one, two and three chunks of 3584 bytes, and the sizes that AoE uses.
    let mut sizes = vec![
        60, 61, 63, 64, 548, 1060, 1514, 4132, 8228, 8740, 9013, 9014,
    ];
    for chunks in 1..=2 {
        sizes.extend(chunks * 3584 - 3..=chunks * 3584 + 3);
    }
    sizes.extend((60..9014).step_by(89));
    echo_sizes(9000, &sizes);
}

#[test]
fn frames_of_every_size_come_and_go_unchanged_at_mtu_1500() {
    let mut sizes: Vec<usize> = (60..=1514).step_by(7).collect();
    sizes.extend([61, 1059, 1060, 1061, 1513, 1514]);
    echo_sizes(1500, &sizes);
}

#[test]
fn short_frames_are_padded_with_zeros() {
    for kind in kinds() {
        let net = Net::new(1500);
        let mut port = net.open_one(kind);
        let mut peer = net.peer();
        // Something else was in the buffers before.
        for _ in 0..3 {
            echo(&mut *port, &mut peer, 1514);
        }
        for len in [14, 24, 36, 59, 60] {
            let short = frame(len, 1);
            send_back(&mut *port, &short);
            let mut padded = short.clone();
            padded.resize(60, 0);
            assert_eq!(next_frame(&mut peer), padded, "{kind}, {len} bytes");
        }
    }
}

#[test]
fn frames_survive_batches_that_end_in_their_middle() {
    for kind in kinds() {
        let net = Net::new(9000);
        let mut port = net.open_one(kind);
        let mut peer = net.peer();
        for budget in 1..=7 {
            let sent: Vec<Vec<u8>> = (0..20)
                .map(|number| frame([9014, 60, 3600, 8228][number % 4], number))
                .collect();
            for frame in &sent {
                peer.send(frame).unwrap();
            }
            assert!(
                take(&mut *port, sent.len(), budget) == sent,
                "{kind}, budget {budget}"
            );
        }
        assert_eq!(
            port.receive(0, &mut |_| panic!("a frame beyond the budget")),
            0
        );
    }
}

#[test]
fn other_protocols_reach_the_kernel_while_the_port_is_open() {
    const EXPERIMENTAL: u16 = 0x88b5;
    for kind in kinds() {
        let net = Net::new(9000);
        let mut kernel_console = net.near_socket(ETHERTYPE_CEC);
        let mut kernel_other = net.near_socket(EXPERIMENTAL);
        let mut kernel_aoe = net.near_socket(ETHERTYPE_AOE);
        let mut port = net.open_one(kind);
        let mut peer = net.peer();
        for len in [60, 1514, 9014] {
            for (socket, ethertype) in [
                (&mut kernel_console, ETHERTYPE_CEC),
                (&mut kernel_other, EXPERIMENTAL),
            ] {
                let sent = ethernet_frame(ethertype, len, len);
                peer.send(&sent).unwrap();
                assert!(next_frame(socket) == sent, "{kind}, {len} bytes");
            }
        }
        echo(&mut *port, &mut peer, 1514);
        let counters = port.counters();
        if kind.mode == RequestedMode::Packet {
            assert_eq!(waiting_frames(&mut kernel_aoe).len(), 1);
            assert_eq!(counters.passed_to_kernel, 0);
        } else {
            assert!(waiting_frames(&mut kernel_aoe).is_empty());
            assert_eq!(counters.passed_to_kernel, 6);
        }
        assert_eq!(
            port.receive(8, &mut |_| panic!("a frame that is not AoE")),
            0
        );
    }
}

/// Conformance row 119. Mode packet serves no VLANs: the kernel has taken the tag off.
#[test]
fn row_119_tagged_frames_are_received_with_their_tag() {
    for kind in kinds() {
        let net = Net::new(1500);
        let mut port = net.open_one(kind);
        let mut kernel = net.near_socket(ETHERTYPE_AOE);
        let mut peer = net.peer();
        let untagged = frame(100, 1);
        let tagged = |vlan: [u8; 2]| {
            let mut bytes = untagged.clone();
            bytes.splice(12..12, [0x81, 0x00, vlan[0], vlan[1]]);
            bytes
        };
        peer.send(&tagged([0, 5])).unwrap();
        peer.send(&tagged([0x60, 0])).unwrap();
        // The last frame proves that those before it have been looked at.
        let last = frame(200, 2);
        peer.send(&last).unwrap();
        let received = take(&mut *port, 3, 8);
        let expected = [tagged([0, 5]), tagged([0x60, 0]), last.clone()];
        assert_eq!(received, expected, "{kind}");
        let kept_from_kernel = if kind.mode == RequestedMode::Packet {
            vec![untagged, last]
        } else {
            Vec::new()
        };
        assert_eq!(waiting_frames(&mut kernel), kept_from_kernel, "{kind}");
    }
}

/// The tag lies before the frame in its slot: it must not touch the one before.
#[test]
fn row_119_tags_in_every_slot_of_a_ring_leave_the_frames_whole() {
    for kind in kinds() {
        let net = Net::new(9000);
        let mut port = net.open_one(kind);
        let mut peer = net.peer();
        for round in 0..40 {
            let frames: Vec<Vec<u8>> = (0..64)
                .map(|number| {
                    let len = if number % 3 == 0 { 8228 } else { 60 + number };
                    let mut bytes = frame(len, round * 64 + number);
                    if number % 2 == 0 {
                        bytes.splice(12..12, [0x81, 0x00, 0x20, 7]);
                    }
                    bytes
                })
                .collect();
            for bytes in &frames {
                peer.send(bytes).unwrap();
            }
            assert!(take(&mut *port, 64, 16) == frames, "{kind}, round {round}");
        }
    }
}

/// The way of a Linux initiator that has an interface in the VLAN: its kernel gives the tag beside the frame,
/// as to a card that puts it in, and takes it off what comes.
#[test]
fn row_119_a_host_with_a_vlan_interface_is_heard_and_hears() {
    for kind in kinds() {
        let net = Net::new(9000);
        let mut port = net.open_one(kind);
        let Some(mut peer) = net.vlan_peer(5) else {
            say("SKIPPED: this kernel has no VLAN interfaces");
            return;
        };
        for len in [60, 1514, 8228, 9014] {
            let sent = frame(len, 3);
            peer.send(&sent).unwrap();
            let mut tagged = sent.clone();
            tagged.splice(12..12, [0x81, 0x00, 0, 5]);
            assert_eq!(take(&mut *port, 1, 8), [tagged.clone()], "{kind} {len}");
            send_back(&mut *port, &tagged);
            assert_eq!(next_frame(&mut peer)[12..], sent[12..], "{kind} {len}");
        }
        assert_eq!(
            port.counters().rx_other_host + port.counters().tx_too_long,
            0
        );
    }
}

/// Frames to each address of the port come in, also through the filter of the interface, and the addresses go
/// when the port is closed.
/// Opens the near interface under so many addresses.
fn open_with(mode: RequestedMode, addresses: u8) -> Result<Vec<Box<dyn Port>>, OpenError> {
    let opening = Opening {
        mode,
        addresses,
        ..Opening::default()
    };
    port::open_as(NEAR, &opening)
}

#[test]
fn a_port_hears_all_its_addresses_and_nobody_elses() {
    for kind in kinds() {
        let net = Net::new(9000);
        let mut ports = inside(&net.near, || open_with(kind.mode, 3)).unwrap();
        let port = &mut *ports[0];
        let addresses: Vec<MacAddress> = port.facts().stations.iter().collect();
        assert_eq!(addresses.len(), 3);
        let mut peer = net.peer();
        let to = |mac: MacAddress, seed| {
            let mut bytes = frame(8228, seed);
            bytes[..6].copy_from_slice(&mac.0);
            bytes
        };
        let sent: Vec<Vec<u8>> = (0..)
            .zip(&addresses)
            .map(|(seed, &mac)| to(mac, seed))
            .collect();
        for bytes in &sent {
            peer.send(bytes).unwrap();
        }
        assert!(take(port, 3, 8) == sent, "{kind}");
        for (bytes, &mac) in sent.iter().zip(&addresses) {
            let mut answer = bytes.clone();
            answer[..6].fill(0xff);
            answer[6..12].copy_from_slice(&mac.0);
            send_back(port, &answer);
            assert!(next_frame(&mut peer) == answer, "{kind}");
        }
        // veth has no filter: what it is asked for beside its own address makes it promiscuous.
        let is_open =
            || !ip(&format!("-n {} -d link show {NEAR}", net.near)).contains("promiscuity 0");
        assert!(is_open(), "{kind}");
        drop(ports);
        assert!(!is_open(), "{kind}: the addresses stayed");
    }
}

#[test]
fn a_port_has_one_to_sixteen_addresses() {
    let net = Net::new(1500);
    for addresses in [0, 17] {
        let error = inside(&net.near, || open_with(RequestedMode::Auto, addresses));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("must be 1 to 16"), "{error}");
    }
}

#[test]
fn a_full_port_says_so_and_every_buffer_comes_back() {
    for kind in kinds() {
        let net = Net::new(9000);
        let mut port = net.open_one(kind);
        let mut peer = net.peer();
        let jumbo = frame(9014, 3);
        let mut room = Vec::new();
        for _ in 0..4 {
            let mut accepted = 0;
            while port.transmit(&jumbo[..36], &jumbo[36..]) == Ok(()) {
                accepted += 1;
                assert!(accepted < 10_000, "{kind}: never full");
            }
            room.push(accepted);
            port.flush();
            // The receiver is slow and loses most of them; what arrives is whole.
            assert!(
                waiting_frames(&mut peer)
                    .iter()
                    .all(|bytes| *bytes == jumbo)
            );
        }
        assert!(room[0] > 256, "{kind}: room for {} frames", room[0]);
        assert!(
            room.iter().all(|&frames| frames == room[0]),
            "{kind}: {room:?}"
        );
        assert_eq!(port.counters().tx_full, 4);
        assert_eq!(
            port.transmit(&jumbo, &[0]),
            Err(TransmitError::TooLong {
                len_bytes: 9015,
                limit_bytes: 9014
            })
        );
        waiting_frames(&mut peer);
        echo(&mut *port, &mut peer, 8228);
    }
}

#[test]
fn every_receive_queue_has_its_own_port() {
    for kind in kinds().filter(|kind| kind.mode != RequestedMode::Packet) {
        let net = Net::with_queues(9000, 2, 2);
        let mut near = net.open(kind);
        let mut far = inside(&net.far, || port::open(FAR, kind.mode)).unwrap();
        assert_eq!((near.len(), far.len()), (2, 2));
        for queue in [0, 1, 1, 0] {
            // On veth a frame arrives on the queue of the number from which it was sent. A generic
            // program runs where that number is lost, and takes everything for queue 0.
            let arrival = match kind.mode {
                RequestedMode::Generic => 0,
                _ => queue,
            };
            let sent = frame(9014, queue);
            send_back(&mut *far[queue], &sent);
            assert_eq!(near[arrival].facts().queue_index as usize, arrival);
            assert!(take(&mut *near[arrival], 1, 8).remove(0) == sent, "{kind}");
            send_back(&mut *near[queue], &sent);
            assert!(take(&mut *far[arrival], 1, 8).remove(0) == sent, "{kind}");
            let other = &mut near[1 - arrival];
            assert_eq!(other.receive(8, &mut |_| panic!("wrong queue")), 0);
        }
    }
}

#[test]
fn the_interface_is_as_before_after_a_port_was_dropped() {
    for kind in kinds() {
        let net = Net::new(9000);
        for _ in 0..5 {
            // Opening again at once meets a queue that the kernel is still releasing.
            let mut port = net.open_one(kind);
            let mut peer = net.peer();
            echo(&mut *port, &mut peer, 9014);
            drop(port);
            assert_untouched(&net);
        }
    }
}

/// No XDP program on the near interface, and AoE goes to the kernel.
fn assert_untouched(net: &Net) {
    let link = ip(&format!("-n {} -d link show {NEAR}", net.near));
    assert!(!link.contains("xdp"), "{link}");
    let mut kernel = net.near_socket(ETHERTYPE_AOE);
    let sent = frame(9014, 4);
    net.peer().send(&sent).unwrap();
    assert!(next_frame(&mut kernel) == sent);
}

/// Not a test: the body of the process that holds a port until it is killed.
#[test]
fn child_that_holds_a_port() {
    let Ok(task) = std::env::var("LP_HOLD") else {
        return;
    };
    let (namespace, mode) = task.split_once(' ').unwrap();
    let mut ports = inside(namespace, || port::open(NEAR, mode.parse().unwrap())).unwrap();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\nholding").unwrap();
    stdout.flush().unwrap();
    loop {
        let frame = take(&mut *ports[0], 1, 1).remove(0);
        send_back(&mut *ports[0], &frame);
    }
}

fn spawn_holder(net: &Net, mode: RequestedMode) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_a_port", "--nocapture"])
        .env("LP_HOLD", format!("{} {mode}", net.near))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let ready = stdout.lines().any(|line| line.unwrap() == "holding");
    assert!(ready, "{mode}: the holder ended early: {:?}", child.wait());
    child
}

#[test]
fn the_interface_is_as_before_after_the_process_was_killed() {
    for kind in kinds() {
        let net = Net::new(9000);
        let mut peer = net.peer();
        for _ in 0..3 {
            let mut holder = spawn_holder(&net, kind.mode);
            let sent = frame(9014, 5);
            peer.send(&sent).unwrap();
            assert!(next_frame(&mut peer) == sent, "the holder answers");
            if kind.mode != RequestedMode::Packet {
                let second = inside(&net.near, || port::open(NEAR, kind.mode)).unwrap_err();
                assert!(matches!(second, OpenError::OtherProgram { .. }), "{second}");
            }
            // A supervisor that does not wait: the new process meets the old one's remains.
            holder.kill().unwrap();
            let mut port = net.open_one(kind);
            holder.wait().unwrap();
            echo(&mut *port, &mut peer, 9014);
            drop(port);
            assert_untouched(&net);
            waiting_frames(&mut peer);
        }
    }
}

#[test]
fn auto_takes_native_where_it_works_and_packet_where_xdp_is_taken() {
    let net = Net::new(3500);
    if kinds().count() < MODES.len() {
        return;
    }
    let mut port = net.open_one(RequestedMode::Auto);
    assert_eq!(port.facts().mode, Mode::Native);
    assert!(
        port.facts().reason.contains("no zero copy"),
        "{}",
        port.facts().reason
    );
    let mut peer = net.peer();
    echo(&mut *port, &mut peer, 3514);
    let mut second = net.open_one(RequestedMode::Auto);
    assert_eq!(second.facts().mode, Mode::Packet);
    let reason = &second.facts().reason;
    assert!(reason.contains("native XDP refused"), "{reason}");
    assert!(reason.contains("generic XDP refused"), "{reason}");
    drop(port);
    echo(&mut *second, &mut peer, 3514);
}

/// A veth copies jumbo frames for XDP: the rule is in `open.rs`.
#[test]
fn auto_takes_packet_on_a_veth_with_jumbo_frames() {
    let net = Net::new(9000);
    let mut port = net.open_one(RequestedMode::Auto);
    let facts = port.facts();
    assert_eq!(facts.mode, Mode::Packet);
    assert!(facts.reason.starts_with("by rule: "), "{}", facts.reason);
    echo(&mut *port, &mut net.peer(), 9014);
}

#[test]
fn auto_takes_generic_where_the_driver_refuses_native() {
    if kinds().count() < MODES.len() {
        return;
    }
    // veth wants as many receive queues here as there are transmit queues at the other end.
    let net = Net::with_queues(3500, 1, 2);
    let native = || port::open(NEAR, RequestedMode::Native);
    let error = inside(&net.near, native).unwrap_err();
    assert!(matches!(error, OpenError::ModeRefused { .. }), "{error}");
    let mut port = net.open_one(RequestedMode::Auto);
    assert_eq!(port.facts().mode, Mode::Generic);
    let reason = &port.facts().reason;
    assert!(reason.contains("native XDP refused"), "{reason}");
    echo(&mut *port, &mut net.peer(), 3514);
}

#[test]
fn missing_privileges_are_named() {
    let net = Net::new(9000);
    for mode in MODES.into_iter().chain([RequestedMode::Auto]) {
        let error = inside(&net.near, || {
            // Capabilities belong to the thread, which ends with this closure.
            let mut own = capabilities(None).unwrap();
            own.effective = CapabilitySet::empty();
            set_capabilities(None, own).unwrap();
            port::open(NEAR, mode)
        });
        let error = error.unwrap_err();
        assert!(
            matches!(error, OpenError::NotPermitted { .. }),
            "{mode}: {error}"
        );
        assert!(error.to_string().contains("CAP_NET_RAW"), "{mode}: {error}");
    }
}

#[test]
fn zero_copy_is_refused_where_the_driver_has_none() {
    let net = Net::new(9000);
    if kinds().count() < MODES.len() {
        return;
    }
    let open = || port::open(NEAR, RequestedMode::Zerocopy);
    let error = inside(&net.near, open).unwrap_err();
    assert!(matches!(error, OpenError::ModeRefused { .. }), "{error}");
    assert_untouched(&net);
}

#[test]
fn an_interface_that_is_down_or_too_small_is_refused_with_advice() {
    let net = Net::new(1059);
    for mode in MODES {
        let error = inside(&net.near, || port::open(NEAR, mode)).unwrap_err();
        assert!(
            matches!(
                error,
                OpenError::MtuTooSmall {
                    mtu_bytes: 1059,
                    ..
                }
            ),
            "{error}"
        );
    }
    ip(&format!("-n {} link set {NEAR} mtu 1060 down", net.near));
    for mode in MODES {
        let error = inside(&net.near, || port::open(NEAR, mode)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "lp0: the interface is down; bring it up with `ip link set lp0 up`"
        );
    }
    let error = inside(&net.near, || port::open("lp9", RequestedMode::Auto)).unwrap_err();
    assert!(
        matches!(error, OpenError::InterfaceMissing { .. }),
        "{error}"
    );
    ip(&format!("-n {} link set {NEAR} up", net.near));
    ip(&format!("-n {} link set {FAR} mtu 1060", net.far));
    for kind in kinds() {
        echo(&mut *net.open_one(kind), &mut net.peer(), 1074);
    }
}

#[test]
fn a_port_outlives_its_link_going_down_and_up() {
    for kind in kinds() {
        let net = Net::new(9000);
        let mut port = net.open_one(kind);
        let mut peer = net.peer();
        echo(&mut *port, &mut peer, 9014);
        ip(&format!("-n {} link set {NEAR} down", net.near));
        assert_eq!(port.receive(8, &mut |_| panic!("a frame from nowhere")), 0);
        let jumbo = frame(9014, 6);
        port.transmit(&jumbo[..36], &jumbo[36..]).unwrap();
        port.flush();
        ip(&format!("-n {} link set {NEAR} up", net.near));
        port.flush();
        let sent = frame(8228, 7);
        peer.send(&sent).unwrap();
        let received = take(&mut *port, 1, 8).remove(0);
        assert!(received == sent, "{kind}");
        send_back(&mut *port, &received);
        // The frame from in between may have been kept or lost; both are right.
        let mut back = next_frame(&mut peer);
        if back == jumbo {
            back = next_frame(&mut peer);
        }
        assert!(back == sent, "{kind}");
    }
}

#[test]
fn a_port_whose_interface_was_removed_does_nothing_and_does_not_crash() {
    for kind in kinds() {
        let net = Net::new(9000);
        let mut port = net.open_one(kind);
        ip(&format!("-n {} link del {FAR}", net.far));
        let jumbo = frame(9014, 7);
        for _ in 0..3 {
            assert_eq!(port.receive(8, &mut |_| panic!("a frame from nowhere")), 0);
            assert!(matches!(
                port.transmit(&jumbo[..36], &jumbo[36..]),
                Ok(()) | Err(TransmitError::Full)
            ));
            port.flush();
        }
        assert_eq!(port.counters().rx_frames, 0);
    }
}

#[test]
fn a_hundred_thousand_frames_go_round_and_are_all_counted() {
    const FRAMES: u64 = 100_000;
    const WINDOW: u64 = 32;
    for (kind, len) in kinds().flat_map(|kind| [(kind, 1060), (kind, 8228)]) {
        let net = Net::new(9000);
        let mut port = net.open_one(kind);
        let mut far = inside(&net.far, || port::open(FAR, RequestedMode::Packet))
            .unwrap()
            .remove(0);
        let sent = frame(len, 8);
        let mut backlog: Vec<Vec<u8>> = Vec::new();
        let (mut out, mut back) = (0, 0);
        let start = Instant::now();
        while back < FRAMES {
            while out < FRAMES && out - back < WINDOW {
                far.transmit(&sent[..36], &sent[36..]).unwrap();
                out += 1;
            }
            far.flush();
            backlog.extend(take(&mut *port, 1, 64));
            for bytes in backlog.drain(..) {
                port.transmit(&bytes[..36], &bytes[36..]).unwrap();
            }
            port.flush();
            for bytes in take(&mut *far, 1, 64) {
                assert!(bytes == sent);
                back += 1;
            }
        }
        let elapsed = start.elapsed().as_secs_f64();
        let rate = FRAMES as f64 / elapsed;
        say(&format!(
            "{kind}, {len} bytes: {rate:.0} round trips/s on one thread (information)"
        ));
        for (end, name) in [(&port, "near"), (&far, "far")] {
            let counters = end.counters();
            assert_eq!(counters.rx_frames, FRAMES, "{kind} {name}: {counters:?}");
            assert_eq!(counters.tx_frames, FRAMES, "{kind} {name}: {counters:?}");
            assert_eq!(counters.rx_bytes, FRAMES * len as u64, "{kind} {name}");
            assert_eq!(counters.tx_bytes, FRAMES * len as u64, "{kind} {name}");
            assert_eq!(lost(&**end), 0, "{kind} {name}: {counters:?}");
        }
    }
}

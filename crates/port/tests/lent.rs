//! Payloads that a port sends from where they lie, on a veth pair.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "the helpers are for other tests, too")]

mod net;

use net::{Net, next_frame, say, waiting_frames};
use port::{BufferMemory, Opening, Port, RequestedMode, SharedMemory, TransmitError};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::ops::Range;

const PAGE_BYTES: usize = 4096;
const MODES: [RequestedMode; 2] = [RequestedMode::Native, RequestedMode::Generic];

/// A port that lends from 64 pages, every byte of which tells where it is.
struct Lending {
    net: Net,
    buffers: BufferMemory,
    port: Box<dyn Port>,
}

/// Whether this kernel has AF_XDP at all; says where it has not.
fn has_xdp() -> bool {
    let xdp = socket_with(
        AddressFamily::XDP,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    );
    let is_missing = matches!(xdp, Err(rustix::io::Errno::AFNOSUPPORT));
    if is_missing {
        say("SKIPPED: this kernel has no AF_XDP");
    }
    !is_missing
}

/// In each mode in which this kernel can; says where it cannot.
fn lending(mtu_bytes: usize) -> Vec<Lending> {
    if !has_xdp() {
        return Vec::new();
    }
    let all = MODES.into_iter().map(|mode| {
        let (memory, mut buffers) = SharedMemory::new(64 * PAGE_BYTES).unwrap();
        for (at, byte) in buffers.iter_mut().enumerate() {
            *byte = pattern(at);
        }
        let net = Net::new(mtu_bytes);
        let port = net.open_sharing(mode, Some(&memory)).remove(0);
        Lending { net, buffers, port }
    });
    let (can, cannot): (Vec<_>, Vec<_>) = all.partition(|lending| lending.port.lends());
    for lending in cannot {
        say(&format!(
            "SKIPPED {}: this kernel does not say truly which frames are sent",
            lending.port.facts().mode
        ));
    }
    can
}

fn pattern(at: usize) -> u8 {
    (at.wrapping_mul(167) ^ (at >> 9)).to_le_bytes()[0]
}

fn header(number: u16) -> Vec<u8> {
    let mut header = net::frame(36, usize::from(number));
    header[20..22].copy_from_slice(&number.to_be_bytes());
    header
}

/// The tokens that come back while the port is flushed; the kernel may be done with them only a little later.
fn returned(port: &mut dyn Port, count: usize) -> Vec<u16> {
    let mut tokens = Vec::new();
    for _ in 0..1000 {
        port.flush();
        tokens.extend(std::iter::from_fn(|| port.next_returned()));
        if tokens.len() >= count {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    tokens
}

#[test]
fn what_is_lent_arrives_unchanged_and_comes_back() {
    for Lending {
        net,
        buffers,
        mut port,
    } in lending(9000)
    {
        let mut peer = net.peer();
        let lengths = [512, 1024, 3584, 4096, 4608, 8192, 8704];
        let starts = [0, 512, 3584, 4096, 12 * PAGE_BYTES - 512, 63 * PAGE_BYTES];
        let mut token = 0;
        for (start, len) in starts.iter().flat_map(|s| lengths.map(|l| (*s, l))) {
            let pages = (start + len).div_ceil(PAGE_BYTES) - start / PAGE_BYTES;
            if start + len > buffers.len() || pages > 3 {
                continue;
            }
            token += 1;
            let header = header(token);
            port.transmit_lent(&header, start..start + len, token)
                .unwrap();
            assert_eq!(returned(&mut *port, 1), [token]);
            let expected = [&header[..], &buffers[start..start + len]].concat();
            assert!(next_frame(&mut peer) == expected, "{start} {len}");
        }
        assert!(token > 20, "{token} frames");
        assert_eq!(port.counters().tx_frames, u64::from(token));
    }
}

#[test]
fn lent_and_copied_frames_leave_in_order() {
    for Lending {
        net,
        buffers,
        mut port,
    } in lending(9000)
    {
        let mut peer = net.peer();
        let mut expected = Vec::new();
        let mut tokens = Vec::new();
        for token in 0..12 {
            let header = header(token);
            let range = Range {
                start: usize::from(token) * PAGE_BYTES,
                end: usize::from(token) * PAGE_BYTES + 8192,
            };
            let bytes = &buffers[range.clone()];
            expected.push([&header[..], bytes].concat());
            if token % 3 == 0 {
                port.transmit(&header, bytes).unwrap();
            } else {
                port.transmit_lent(&header, range, token).unwrap();
                tokens.push(token);
            }
        }
        assert_eq!(returned(&mut *port, tokens.len()), tokens);
        let arrived: Vec<_> = expected.iter().map(|_| next_frame(&mut peer)).collect();
        assert!(arrived == expected);
    }
}

#[test]
fn a_full_port_lends_nothing_more_and_gives_everything_back() {
    for Lending { net, mut port, .. } in lending(9000) {
        let mut peer = net.peer();
        let header = header(1);
        for round in 0..3 {
            let mut lent = 0;
            let full = loop {
                match port.transmit_lent(&header, 0..8192, lent) {
                    Ok(()) => lent += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!(full, TransmitError::Full);
            assert!(lent > 1280, "room for {lent} frames only");
            let mut tokens = returned(&mut *port, usize::from(lent));
            tokens.sort_unstable();
            assert_eq!(tokens, (0..lent).collect::<Vec<_>>(), "round {round}");
            waiting_frames(&mut peer);
        }
        assert_eq!(
            port.transmit_lent(&header, 0..9216, 1),
            Err(TransmitError::TooLong {
                len_bytes: 9252,
                limit_bytes: 9014
            })
        );
        assert_eq!(port.next_returned(), None);
    }
}

#[test]
fn ports_of_one_memory_lend_the_same_bytes() {
    let Some(first) = lending(9000).into_iter().next() else {
        return;
    };
    let (memory, mut buffers) = SharedMemory::new(4 * PAGE_BYTES).unwrap();
    buffers.fill(7);
    drop(first);
    let nets = [Net::new(9000), Net::new(1500)];
    let mut ports: Vec<_> = nets
        .iter()
        .map(|net| {
            net.open_sharing(RequestedMode::Native, Some(&memory))
                .remove(0)
        })
        .collect();
    for (port, net) in ports.iter_mut().zip(&nets) {
        let mut peer = net.peer();
        let header = header(2);
        port.transmit_lent(&header, 512..1536, 2).unwrap();
        assert_eq!(returned(&mut **port, 1), [2]);
        assert_eq!(next_frame(&mut peer), [&header[..], &[7; 1024]].concat());
        // Its own chunks are its own.
        peer.send(&net::frame(1500, 3)).unwrap();
        assert_eq!(net::take(&mut **port, 1, 8), [net::frame(1500, 3)]);
    }
    assert!(buffers.iter().all(|&byte| byte == 7));
}

#[test]
fn what_was_lent_to_a_port_that_loses_its_interface_harms_nobody() {
    for Lending {
        net,
        buffers,
        mut port,
    } in lending(9000)
    {
        net::ip(&format!("-n {} link del {}", net.far, net::FAR));
        for token in 0..100 {
            let result = port.transmit_lent(&header(token), 0..8192, token);
            assert!(matches!(result, Ok(()) | Err(TransmitError::Full)));
        }
        port.flush();
        drop((port, buffers));
    }
}

#[test]
fn a_port_that_polls_busily_receives_and_sends() {
    if !has_xdp() {
        return;
    }
    for mode in MODES {
        let net = Net::new(9000);
        let (memory, _buffers) = SharedMemory::new(1).unwrap();
        let open = || {
            let opening = Opening {
                mode,
                busy_poll: true,
                memory: &|_| Some(&memory),
                ..Opening::default()
            };
            port::open_as(net::NEAR, &opening)
        };
        let mut ports = net::inside(&net.near, open).unwrap();
        let mut peer = net.peer();
        for size in [60, 1060, 8228, 9014] {
            net::echo(&mut *ports[0], &mut peer, size);
        }
        assert_eq!(ports[0].counters().kernel_errors, 0);
    }
}

//! The XDP program on byte arrays, through `BPF_PROG_TEST_RUN`. Needs CAP_BPF, no interface.

use super::*;
use crate::{ETHERTYPE_AOE, ETHERTYPE_CEC};
use libbpf_rs::ProgramInput;
use proptest::prelude::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// The kernel takes no shorter frame than an Ethernet header for a test run.
const TEST_RUN_BYTES_MIN: usize = 14;

fn frame(ethertype: u16, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
    bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
    bytes
}

struct Bench {
    object: Object,
    /// An AF_XDP socket in the map keeps its place only while it is open.
    _socket: Option<OwnedFd>,
}

impl Bench {
    /// The program with a socket on queue 0, which is the queue of test runs, or without.
    fn new(with_socket: bool) -> Self {
        let object = load(4).unwrap();
        let socket = with_socket.then(|| {
            let (family, kind) = (AddressFamily::XDP, SocketType::RAW);
            let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
            insert_socket(&map(&object, SOCKETS_MAP).unwrap(), 0, socket.as_fd()).unwrap();
            socket
        });
        Self {
            object,
            _socket: socket,
        }
    }

    /// The program's verdict on a frame, after checking that it left the frame alone.
    fn run(&self, bytes: &[u8]) -> u32 {
        let mut out = vec![0; bytes.len()];
        let input = ProgramInput {
            data_in: Some(bytes),
            data_out: Some(&mut out),
            ..ProgramInput::default()
        };
        let program = self.object.progs_mut().next().unwrap();
        let verdict = program.test_run(input).unwrap().return_value;
        assert_eq!(out, bytes, "the program changed the frame");
        verdict
    }

    fn counters(&self) -> SteerCounters {
        read_counters(&map(&self.object, OUTCOMES_MAP).unwrap()).unwrap()
    }
}

#[test]
fn aoe_of_every_size_goes_to_the_socket() {
    let bench = Bench::new(true);
    let sizes = [
        14, 15, 24, 36, 59, 60, 61, 1060, 1514, 3506, 4096, 8228, 9014,
    ];
    for size in sizes {
        assert_eq!(
            bench.run(&frame(ETHERTYPE_AOE, size)),
            XDP_REDIRECT,
            "{size}"
        );
    }
    let expected = SteerCounters {
        aoe_to_socket: sizes.len() as u64,
        ..SteerCounters::default()
    };
    assert_eq!(bench.counters(), expected);
}

#[test]
fn aoe_goes_to_the_kernel_when_the_queue_has_no_socket() {
    let bench = Bench::new(false);
    assert_eq!(bench.run(&frame(ETHERTYPE_AOE, 60)), XDP_PASS);
    assert_eq!(bench.run(&frame(ETHERTYPE_AOE, 9014)), XDP_PASS);
    assert_eq!(bench.counters().aoe_to_kernel, 2);
    assert_eq!(bench.counters().aoe_to_socket, 0);
}

#[test]
fn a_socket_that_closed_leaves_its_queue_to_the_kernel() {
    let mut bench = Bench::new(true);
    assert_eq!(bench.run(&frame(ETHERTYPE_AOE, 60)), XDP_REDIRECT);
    bench._socket = None;
    assert_eq!(bench.run(&frame(ETHERTYPE_AOE, 60)), XDP_PASS);
}

#[test]
fn console_frames_go_to_the_kernel() {
    let bench = Bench::new(true);
    assert_eq!(bench.run(&frame(ETHERTYPE_CEC, 60)), XDP_PASS);
    assert_eq!(bench.run(&frame(ETHERTYPE_CEC, 1514)), XDP_PASS);
    assert_eq!(bench.counters().console, 2);
}

/// Conformance row 119: what the target makes of the tag is its own affair.
#[test]
fn row_119_tagged_aoe_goes_to_the_socket_and_other_tagged_frames_to_the_kernel() {
    let bench = Bench::new(true);
    for outer in [0x8100, 0x88a8] {
        let tagged = |inner: u16, len| {
            let mut tagged = frame(outer, len);
            let [high, low] = inner.to_be_bytes();
            tagged[14..18].copy_from_slice(&[0xe0, 5, high, low]);
            tagged
        };
        for len in [18, 36, 64, 1518, 9018] {
            assert_eq!(bench.run(&tagged(ETHERTYPE_AOE, len)), XDP_REDIRECT);
        }
        for inner in [0x0800, 0x8100, ETHERTYPE_CEC, 0xa288] {
            assert_eq!(bench.run(&tagged(inner, 64)), XDP_PASS);
        }
        assert_eq!(bench.run(&tagged(ETHERTYPE_AOE, 64)[..17]), XDP_PASS);
    }
    assert_eq!(bench.counters().aoe_to_socket, 10);
    assert_eq!(bench.counters().tagged, 10);
}

#[test]
fn other_protocols_go_to_the_kernel() {
    let bench = Bench::new(true);
    let others = [
        0x0800, 0x0806, 0x86dd, 0x0000, 0x05dc, 0xffff, 0xa288, 0x88a1,
    ];
    for ethertype in others {
        assert_eq!(
            bench.run(&frame(ethertype, 98)),
            XDP_PASS,
            "{ethertype:#06x}"
        );
    }
    assert_eq!(bench.counters().other, others.len() as u64);
}

#[test]
fn the_kernel_lets_nothing_shorter_than_a_header_reach_a_test_run() {
    let bench = Bench::new(true);
    let short = frame(ETHERTYPE_AOE, TEST_RUN_BYTES_MIN);
    let program = bench.object.progs_mut().next().unwrap();
    let input = ProgramInput {
        data_in: Some(&short[..TEST_RUN_BYTES_MIN - 1]),
        ..ProgramInput::default()
    };
    assert!(program.test_run(input).is_err());
    assert_eq!(bench.counters(), SteerCounters::default());
}

/// Bytes in front of the data as metadata are the only way to ask for a frame with less data than
/// an Ethernet header. Newer kernels refuse to run such a frame; older ones run it.
#[test]
fn short_frames_never_reach_the_socket() {
    let bench = Bench::new(true);
    let program = bench.object.progs_mut().next().unwrap();
    let mut short = 0;
    for visible in 0u32..20 {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let metadata = 32u32;
        let mut bytes = vec![0; metadata as usize];
        bytes.extend(&frame(ETHERTYPE_AOE, 20)[..visible as usize]);
        let mut context: Vec<u8> = [metadata, metadata + visible, 0, 0, 0, 0]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let input = ProgramInput {
            data_in: Some(&bytes),
            context_in: Some(&mut context),
            ..ProgramInput::default()
        };
        match program.test_run(input) {
            Ok(output) if visible < 14 => {
                assert_eq!(output.return_value, XDP_PASS, "{visible} bytes");
                short += 1;
            }
            Ok(output) => assert_eq!(output.return_value, XDP_REDIRECT, "{visible} bytes"),
            Err(error) => assert!(visible < 14, "{visible} bytes: {error}"),
        }
    }
    assert_eq!(bench.counters().short, short);
    assert_eq!(bench.counters().aoe_to_socket, 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_get_the_verdict_of_their_ethertype(
        bytes in proptest::collection::vec(any::<u8>(), TEST_RUN_BYTES_MIN..2000),
        ethertype in prop_oneof![Just(ETHERTYPE_AOE), Just(ETHERTYPE_CEC), Just(0x8100), any::<u16>()],
    ) {
        thread_local!(static BENCH: Bench = Bench::new(true));
        let mut bytes = bytes;
        bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
        let behind_tag = ethertype == 0x8100 && bytes.get(16..18) == Some(&[0x88, 0xa2]);
        let is_aoe = ethertype == ETHERTYPE_AOE || behind_tag;
        let expected = if is_aoe { XDP_REDIRECT } else { XDP_PASS };
        prop_assert_eq!(BENCH.with(|bench| bench.run(&bytes)), expected);
    }
}

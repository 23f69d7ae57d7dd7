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
        Self::spreading(Spreading::NONE, with_socket.then_some(0))
    }

    /// The program with a socket at one place, or without.
    fn spreading(spreading: Spreading, key: Option<u32>) -> Self {
        let object = load(4, spreading).unwrap();
        let socket = key.map(|key| {
            let (family, kind) = (AddressFamily::XDP, SocketType::RAW);
            let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
            insert_socket(&map(&object, SOCKETS_MAP).unwrap(), key, socket.as_fd()).unwrap();
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

// --- Spreading -------------------------------------------------------------------------------------

/// Four workers; the second one is that of queue 0.
const FOUR: Spreading = Spreading {
    workers: 4,
    first: 1,
    group_shift: 11,
};
const GROUP: u64 = 1 << 11;

/// Ten groups are spread of LUN 0, nothing of LUN 5, and all that there can be of LUN 6; others are not
/// served.
const SPREAD: [(u8, u64); 3] = [(0, 10 * GROUP), (5, 0), (6, u64::MAX)];

/// The program once with the socket of each of the workers, and no other.
struct Benches([Bench; 4]);

impl Benches {
    fn new() -> Self {
        Self([0, 1, 2, 3].map(|key| {
            let bench = Bench::spreading(FOUR, Some(key));
            for (slot, sectors) in SPREAD {
                set_lun(&map(&bench.object, LUNS_MAP).unwrap(), slot, Some(sectors)).unwrap();
            }
            bench
        }))
    }

    /// The only worker whose socket gets a frame.
    fn receiver(&self, bytes: &[u8]) -> usize {
        let gets = |bench: &Bench| bench.run(bytes) == XDP_REDIRECT;
        let all: Vec<usize> = (0..4).filter(|worker| gets(&self.0[*worker])).collect();
        assert_eq!(all.len(), 1, "{all:?} get {bytes:02x?}");
        all[0]
    }
}

/// What may come between the addresses and the AoE header, or in front of its argument.
#[derive(Clone, Copy, Debug)]
struct Wrapping {
    tag: Option<u16>,
    is_redirected: bool,
}

const BARE: Wrapping = Wrapping {
    tag: None,
    is_redirected: false,
};

/// An ATA request with these registers, and as many bytes behind it.
fn ata(wrapping: Wrapping, shelf: u16, slot: u8, registers: &[u8; 12], behind: usize) -> Vec<u8> {
    let header = |command| {
        let [high, low] = shelf.to_be_bytes();
        [0x10, 0, high, low, slot, command, 1, 2, 3, 4]
    };
    let mut bytes = vec![2; 12];
    if let Some(ethertype) = wrapping.tag {
        bytes.extend(ethertype.to_be_bytes());
        bytes.extend([0xe0, 5]);
    }
    bytes.extend(ETHERTYPE_AOE.to_be_bytes());
    if wrapping.is_redirected {
        bytes.extend(header(0xf1));
        bytes.extend([3; 12]);
        bytes.extend(ETHERTYPE_AOE.to_be_bytes());
    }
    bytes.extend(header(0));
    bytes.extend(registers);
    bytes.resize(bytes.len() + behind, 0x5a);
    bytes
}

fn registers(opcode: u8, lba: u64, count: u8) -> [u8; 12] {
    let [l0, l1, l2, l3, l4, l5, ..] = lba.to_le_bytes();
    [0x40, 0, count, opcode, l0, l1, l2, l3, l4, l5, 0, 0]
}

/// What `shelf::shard::Place::receiver` says.
fn expected(slot: u8, opcode: u8, lba: u64, count: u8) -> usize {
    let Some((_, spread)) = SPREAD.iter().find(|(known, _)| *known == slot) else {
        return 1;
    };
    let home = usize::from(slot % 4);
    let lba = match opcode {
        0x24 | 0x34 => lba,
        0x20 | 0x30 => lba % (1 << 28),
        _ => return home,
    };
    let end = lba + u64::from(count);
    let is_spread = count > 0 && end <= *spread && lba / GROUP == (end - 1) / GROUP;
    if is_spread {
        usize::try_from((lba / GROUP + u64::from(slot)) % 4).unwrap()
    } else {
        home
    }
}

#[test]
fn commands_go_to_the_owner_of_their_group_and_all_others_home() {
    let benches = Benches::new();
    let wrappings = [None, Some(0x8100), Some(0x88a8)]
        .into_iter()
        .flat_map(|tag| [false, true].map(|is_redirected| Wrapping { tag, is_redirected }));
    for wrapping in wrappings {
        for (opcode, lba, count, receiver) in [
            (0x24, 0, 16, 0),
            (0x34, GROUP, 16, 1),
            (0x34, 2 * GROUP - 16, 16, 1),
            (0x24, 2 * GROUP - 16, 17, 0),
            (0x20, 3 * GROUP, 1, 3),
            (0x30, 7 * GROUP, 255, 3),
            (0x30, 1 << 28 | GROUP, 1, 1),
            (0x34, 1 << 28 | GROUP, 1, 0),
            (0x34, 10 * GROUP - 16, 16, 1),
            (0x34, 10 * GROUP - 16, 17, 0),
            (0x34, 11 * GROUP, 16, 0),
            (0x34, GROUP, 0, 0),
            (0x06, GROUP, 1, 0),
            (0xea, GROUP, 1, 0),
            (0xec, GROUP, 1, 0),
        ] {
            let bytes = ata(wrapping, 1, 0, &registers(opcode, lba, count), 0);
            let told = (wrapping, opcode, lba, count);
            assert_eq!(benches.receiver(&bytes), receiver, "{told:?}");
            assert_eq!(expected(0, opcode, lba, count), receiver, "{told:?}");
        }
    }
    // A jumbo frame, another shelf, the wildcard shelf: the LUN says where to.
    for (shelf, behind) in [(1, 8192), (1, 8978), (7, 0), (0xffff, 16)] {
        let bytes = ata(BARE, shelf, 0, &registers(0x34, 2 * GROUP, 16), behind);
        assert_eq!(benches.receiver(&bytes), 2, "{shelf} {behind}");
    }
    // With parity from its first sector on: home.
    let bytes = ata(BARE, 1, 5, &registers(0x34, 2 * GROUP, 16), 0);
    assert_eq!(benches.receiver(&bytes), 1);
    let last = ata(BARE, 1, 6, &registers(0x24, (1 << 48) - 1, 1), 0);
    assert_eq!(benches.receiver(&last), 1);
}

#[test]
fn what_is_for_no_lun_in_particular_goes_to_the_worker_of_the_queue() {
    let benches = Benches::new();
    // No such LUN; all LUNs.
    for slot in [1, 0xff] {
        let bytes = ata(BARE, 1, slot, &registers(0x34, 2 * GROUP, 16), 8192);
        assert_eq!(benches.receiver(&bytes), 1);
    }
    // Other AoE commands: config, mask lists, reservations, of vendors.
    for command in [1, 2, 3, 4, 0xf0, 0xff] {
        let mut bytes = ata(BARE, 1, 0, &registers(0x34, 2 * GROUP, 16), 24);
        bytes[19] = command;
        assert_eq!(benches.receiver(&bytes), 1, "{command:#x}");
    }
    // Redirected twice.
    let redirected = Wrapping {
        is_redirected: true,
        ..BARE
    };
    let mut bytes = ata(redirected, 1, 0, &registers(0x34, 2 * GROUP, 16), 24);
    bytes[43] = 0xf1;
    assert_eq!(benches.receiver(&bytes), 1);
    // Too short for what they would say.
    let whole = ata(BARE, 1, 0, &registers(0x34, 2 * GROUP, 16), 0);
    assert_eq!(benches.receiver(&whole), 2);
    for len in TEST_RUN_BYTES_MIN..whole.len() {
        assert_eq!(benches.receiver(&whole[..len]), 1, "{len} bytes");
    }
}

#[test]
fn frames_for_another_worker_than_that_of_the_queue_are_counted() {
    let bench = Bench::spreading(FOUR, Some(2));
    let bytes = ata(BARE, 1, 0, &registers(0x34, 2 * GROUP, 16), 0);
    assert_eq!(bench.run(&bytes), XDP_PASS, "nobody was told of the LUN");
    let luns = map(&bench.object, LUNS_MAP).unwrap();
    set_lun(&luns, 0, Some(u64::MAX)).unwrap();
    assert_eq!(bench.run(&bytes), XDP_REDIRECT);
    assert_eq!(bench.counters().aoe_spread, 1);
    set_lun(&luns, 0, None).unwrap();
    assert_eq!(bench.run(&bytes), XDP_PASS);
    let counters = bench.counters();
    assert_eq!((counters.aoe_spread, counters.aoe_to_socket), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_command_goes_to_its_receiver(
        slot in prop_oneof![Just(0u8), Just(5), Just(6), any::<u8>()],
        opcode in prop_oneof![Just(0x20u8), Just(0x24), Just(0x30), Just(0x34), any::<u8>()],
        lba in prop_oneof![0..12 * GROUP, any::<u64>().prop_map(|lba| lba >> 16)],
        count in any::<u8>(),
        tag in prop_oneof![Just(None), Just(Some(0x8100u16))],
        is_redirected in any::<bool>(),
        behind in 0usize..9000,
    ) {
        thread_local!(static BENCHES: Benches = Benches::new());
        let wrapping = Wrapping { tag, is_redirected };
        let bytes = ata(wrapping, 1, slot, &registers(opcode, lba, count), behind);
        let receiver = BENCHES.with(|benches| benches.receiver(&bytes));
        prop_assert_eq!(receiver, expected(slot, opcode, lba, count));
    }
}

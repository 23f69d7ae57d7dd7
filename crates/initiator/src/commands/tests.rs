//! The window against answers of every kind, and against a model of what may be outstanding.

use super::*;
use aoe::{Header, MacAddress, Shelf, Slot};
use proptest::prelude::*;
use std::collections::BTreeMap;
use zerocopy::{FromBytes, IntoBytes};

const ROUTE: Route = Route {
    source: MacAddress([2, 0, 0, 0, 0, 1]),
    destination: MacAddress([4, 0, 0, 0, 0, 1]),
    shelf: Shelf(1),
    slot: Slot(2),
};

const MS: u64 = 1_000_000;

fn window(depth: usize, retransmission: Retransmission) -> Commands {
    let spec = WindowSpec {
        depth,
        lba48: true,
        retransmission,
        deadline_ns: 1000 * MS,
        first_transmission: u32::MAX - 2,
    };
    Commands::new(ROUTE, spec)
}

/// The answer of a target that did what `request` asks for.
fn answer(request: &CommandFrame) -> Vec<u8> {
    let (header, _) = Header::ref_from_prefix(&request.header).unwrap();
    let reply = header.reply(header.destination, ROUTE.shelf, ROUTE.slot);
    let mut bytes = reply.as_bytes().to_vec();
    bytes.extend_from_slice(&request.header[24..36]);
    bytes[27] = 0x40;
    if request.operation == Operation::Read {
        bytes.resize(36 + 512 * usize::from(request.header[26]), 0);
    }
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

fn receive(commands: &mut Commands, bytes: &[u8], now_ns: u64) -> Event {
    let (first, rest) = bytes.split_at(bytes.len().min(60));
    let frame = ReceivedFrame {
        first,
        rest: &[rest],
    };
    commands.receive(&frame, now_ns)
}

fn result_of(event: Event) -> Option<Result<(), CommandError>> {
    match event {
        Event::Finished(finished) => Some(finished.result),
        Event::Repeated | Event::Ignored => None,
    }
}

#[test]
fn a_full_window_starts_nothing_until_an_answer_comes() {
    let mut commands = window(3, Retransmission::Never);
    let frames: Vec<_> = (0..3)
        .map(|lba| commands.start(Operation::Read, lba, 1, 0).unwrap())
        .collect();
    assert!(commands.start(Operation::Read, 9, 1, 0).is_none());
    let event = receive(&mut commands, &answer(&frames[1]), 5);
    assert_eq!(result_of(event), Some(Ok(())));
    assert!(commands.start(Operation::Write, 9, 1, 0).is_some());
    assert_eq!(commands.outstanding(), 3);
}

#[test]
fn wrong_answers_fail_the_command_and_say_why() {
    type Change = fn(&mut Vec<u8>);
    let length = |len_bytes| CommandError::Length {
        len_bytes,
        expected_bytes: 1060,
    };
    let failed = CommandError::Failed {
        status: 0x41,
        error: 0x10,
    };
    let cases: [(Change, CommandError); 4] = [
        (|b| (b[14], b[15]) = (0x1c, 2), CommandError::Refused(2)),
        (|b| (b[27], b[25]) = (0x41, 0x10), failed),
        (|b| b.truncate(1059), length(1059)),
        (|b| b.push(0), length(1061)),
    ];
    for (change, error) in cases {
        let mut commands = window(1, Retransmission::Never);
        let frame = commands.start(Operation::Read, 0, 2, 0).unwrap();
        let mut bytes = answer(&frame);
        change(&mut bytes);
        let event = receive(&mut commands, &bytes, 1);
        assert_eq!(result_of(event), Some(Err(error)));
        assert_eq!(commands.counters().failed, 1);
    }
}

#[test]
fn a_padded_answer_to_a_write_is_fine() {
    let mut commands = window(1, Retransmission::Never);
    let frame = commands.start(Operation::Write, 0, 2, 0).unwrap();
    let mut bytes = answer(&frame);
    bytes.resize(200, 0xaa);
    assert_eq!(result_of(receive(&mut commands, &bytes, 1)), Some(Ok(())));
}

#[test]
fn answers_from_elsewhere_end_nothing_and_are_counted() {
    let mut commands = window(4, Retransmission::Never);
    let frame = commands.start(Operation::Read, 0, 1, 0).unwrap();
    let good = answer(&frame);
    let with = |index: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[index] = value;
        bytes
    };
    for (bytes, unexpected) in [
        (with(11, 7), true), // another station of the sender
        (with(17, 9), true), // another shelf
        (with(18, 9), true), // another slot
        (with(20, 0x80), true),
        (with(21, good[21] ^ 0x40), true),
        (with(23, good[23] | 3), true), // a slot of the window that is not in use
        (with(5, 9), false),            // to another station
        (with(13, 0), false),           // another EtherType
        (with(14, 0x10), false),        // a request
        (with(14, 0x28), false),        // version 2
        (with(19, 1), false),           // Query Config
        (good[..23].to_vec(), false),
    ] {
        let before = *commands.counters();
        assert_eq!(receive(&mut commands, &bytes, 1), Event::Ignored);
        let after = *commands.counters();
        let (u, f) = (
            after.unexpected + after.duplicates - before.unexpected - before.duplicates,
            after.foreign - before.foreign,
        );
        assert_eq!((u, f), (u64::from(unexpected), u64::from(!unexpected)));
    }
    assert_eq!(commands.outstanding(), 1);
}

#[test]
fn routes_take_turns_and_an_answer_may_come_over_any_of_them() {
    let second = Route {
        source: MacAddress([2, 0, 0, 0, 0, 2]),
        destination: MacAddress([4, 0, 0, 0, 0, 2]),
        ..ROUTE
    };
    let spec = WindowSpec {
        depth: 4,
        lba48: true,
        retransmission: Retransmission::Fixed(10 * MS),
        deadline_ns: 1000 * MS,
        first_transmission: 0,
    };
    let mut commands = Commands::over(ROUTE, &[second], spec);
    let start = |commands: &mut Commands| commands.start(Operation::Read, 0, 1, 0).unwrap();
    let frames = [start(&mut commands), start(&mut commands)];
    assert_eq!(frames.map(|frame| frame.route), [0, 1]);
    for (frame, route) in frames.iter().zip([ROUTE, second]) {
        assert_eq!(frame.header[..6], route.destination.0);
        assert_eq!(frame.header[6..12], route.source.0);
    }
    let Some(Expired::Again(again)) = commands.next_expired(10 * MS) else {
        panic!("nothing to send again");
    };
    let Some(Expired::Again(other)) = commands.next_expired(10 * MS) else {
        panic!("nothing more to send again");
    };
    assert_eq!([again.route, other.route], [0, 1]);
    let mut crossed = answer(&again);
    crossed[..6].copy_from_slice(&second.source.0);
    crossed[6..12].copy_from_slice(&ROUTE.destination.0);
    assert_eq!(receive(&mut commands, &crossed, 11 * MS), Event::Ignored);
    assert_eq!(commands.counters().unexpected, 1);
    for frame in [again, other] {
        let event = receive(&mut commands, &answer(&frame), 11 * MS);
        assert_eq!(result_of(event), Some(Ok(())));
    }
}

#[test]
fn a_second_answer_is_a_duplicate() {
    let mut commands = window(2, Retransmission::Never);
    let frame = commands.start(Operation::Read, 0, 1, 0).unwrap();
    let bytes = answer(&frame);
    assert!(result_of(receive(&mut commands, &bytes, 1)).is_some());
    assert_eq!(receive(&mut commands, &bytes, 2), Event::Repeated);
    commands.start(Operation::Read, 5, 1, 3).unwrap();
    assert_eq!(receive(&mut commands, &bytes, 4), Event::Repeated);
    assert_eq!(commands.counters().duplicates, 2);
    assert_eq!(commands.outstanding(), 1);
}

#[test]
fn an_overdue_command_is_sent_again_under_a_new_tag_and_only_that_one_counts() {
    let mut commands = window(2, Retransmission::Fixed(10 * MS));
    let first = commands.start(Operation::Write, 7, 2, 0).unwrap();
    assert!(commands.next_expired(10 * MS - 1).is_none());
    let Some(Expired::Again(second)) = commands.next_expired(10 * MS) else {
        panic!("nothing to send again");
    };
    assert!(commands.next_expired(10 * MS).is_none());
    assert_eq!(second.id, first.id);
    assert_ne!(second.header[20..24], first.header[20..24]);
    assert_eq!(second.header[24..], first.header[24..]);

    assert_eq!(
        receive(&mut commands, &answer(&first), 11 * MS),
        Event::Repeated
    );
    assert_eq!(commands.counters().superseded, 1);
    let Event::Finished(finished) = receive(&mut commands, &answer(&second), 12 * MS) else {
        panic!("the answer to the newest transmission ends the command");
    };
    assert_eq!((finished.lba, finished.sends), (7, 2));
    assert_eq!(commands.counters().retransmissions, 1);
}

#[test]
fn after_the_deadline_a_command_is_lost_and_its_late_answer_means_nothing() {
    let mut commands = window(1, Retransmission::Never);
    let frame = commands.start(Operation::Read, 7, 2, 0).unwrap();
    assert!(commands.next_expired(1000 * MS - 1).is_none());
    let Some(Expired::Lost(finished)) = commands.next_expired(1000 * MS) else {
        panic!("not lost");
    };
    assert_eq!(finished.result, Err(CommandError::Lost));
    assert_eq!(
        receive(&mut commands, &answer(&frame), 1001 * MS),
        Event::Repeated
    );
    assert_eq!(
        (commands.counters().lost, commands.counters().duplicates),
        (1, 1)
    );
    assert_eq!(commands.outstanding(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Start,
    /// Answer the n-th frame ever sent, modulo their number.
    Answer(usize),
    /// Let time pass.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Start),
        3 => any::<usize>().prop_map(Step::Answer),
        2 => (0..400 * MS).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever is answered, twice, late or never: a command ends once, by the answer to its newest
    /// transmission or by its deadline; tags of outstanding commands differ and have bit 31 clear.
    #[test]
    fn every_command_ends_exactly_once(depth in 1usize..9, steps in proptest::collection::vec(step(), 1..200)) {
        let mut commands = window(depth, Retransmission::Fixed(100 * MS));
        let mut now_ns = 0;
        let mut sent: Vec<CommandFrame> = Vec::new();
        // By command: which of the frames sent is its newest.
        let mut newest: BTreeMap<CommandId, usize> = BTreeMap::new();
        let mut ended = 0;
        for step in steps {
            match step {
                Step::Start => match commands.start(Operation::Read, 3, 1, now_ns) {
                    Some(frame) => {
                        prop_assert!(newest.insert(frame.id, sent.len()).is_none());
                        prop_assert_eq!(frame.header[20] & 0x80, 0);
                        sent.push(frame);
                    }
                    None => prop_assert_eq!(newest.len(), depth),
                },
                Step::Answer(_) if sent.is_empty() => {}
                Step::Answer(n) => {
                    let n = n % sent.len();
                    let frame = sent[n];
                    let due = newest.get(&frame.id) == Some(&n);
                    let event = receive(&mut commands, &answer(&frame), now_ns);
                    prop_assert_eq!(due, matches!(event, Event::Finished(_)));
                    if due {
                        newest.remove(&frame.id);
                        ended += 1;
                    }
                }
                Step::Wait(wait_ns) => {
                    now_ns += wait_ns;
                    while let Some(expired) = commands.next_expired(now_ns) {
                        match expired {
                            Expired::Again(frame) => {
                                prop_assert!(newest.insert(frame.id, sent.len()).is_some());
                                sent.push(frame);
                            }
                            Expired::Lost(finished) => {
                                prop_assert!(newest.remove(&finished.id).is_some());
                                ended += 1;
                            }
                        }
                    }
                }
            }
            prop_assert_eq!(commands.outstanding(), newest.len());
            let counters = commands.counters();
            prop_assert_eq!(counters.done + counters.lost, ended);
            prop_assert_eq!(counters.started, ended + newest.len() as u64);
        }
    }

    #[test]
    fn no_frame_makes_the_window_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700), shape in any::<bool>()) {
        let mut commands = window(3, Retransmission::Never);
        let frame = commands.start(Operation::Read, 0, 1, 0).unwrap();
        let mut bytes = bytes;
        if shape {
            // A plausible start makes the rest of the frame count.
            let good = answer(&frame);
            let plausible = bytes.len().min(24);
            bytes[..plausible].copy_from_slice(&good[..plausible]);
        }
        receive(&mut commands, &bytes, 1);
    }
}

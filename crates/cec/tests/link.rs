//! Client and server over a link that loses and doubles frames: every byte arrives once, in
//! order, in both directions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use aoe::{MacAddress, Shelf};
use cec::{
    Action, Client, ClientAction, ConnectionTag, Ending, Frame, Identity, Kind, PortIndex, Server,
    SessionId,
};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::Duration;

const PORT: PortIndex = PortIndex(3);
const SHELF: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const HOST: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const LATENCY: Duration = Duration::from_micros(100);

/// What the link does to each frame in turn, over and over: lose it, double it, or pass it.
struct Faults {
    script: Vec<u8>,
    at: usize,
    exchanges: [(Option<u8>, u8); 3],
    /// A kind, whether the client sends it, and how many of it pass before one is lost.
    lose_one: Option<(Kind, bool, u32)>,
}

impl Faults {
    /// Number of copies of `frame` that arrive. Of one exchange (a packet and its answer) at most
    /// two frames are lost: after three sends without an answer the protocol goes on or gives up.
    fn copies(&mut self, frame: &Frame<'_>, from_client: bool) -> usize {
        if let Some((kind, is_from_client, left)) = &mut self.lose_one
            && (*kind, *is_from_client) == (frame.kind, from_client)
        {
            if *left == 0 {
                self.lose_one = None;
                return 0;
            }
            *left -= 1;
        }
        if self.script.is_empty() {
            return 1;
        }
        let exchange = match frame.kind {
            Kind::Data => usize::from(from_client),
            Kind::Ack => usize::from(!from_client),
            _ => 2,
        };
        let (key, lost) = &mut self.exchanges[exchange];
        let sequence = (exchange != 2).then_some(frame.sequence);
        if *key != sequence {
            (*key, *lost) = (sequence, 0);
        }
        self.at = (self.at + 1) % self.script.len();
        match self.script[self.at] % 4 {
            0 if *lost < 2 && frame.kind != Kind::Reset => {
                *lost += 1;
                0
            }
            1 => 2,
            _ => 1,
        }
    }
}

/// Both ends, the link, and what arrived.
struct World {
    now: Duration,
    server: Server,
    client: Client,
    faults: Faults,
    to_server: VecDeque<(Duration, Vec<u8>)>,
    to_client: VecDeque<(Duration, Vec<u8>)>,
    session: Option<SessionId>,
    input: Vec<u8>,
    output: Vec<u8>,
    server_closed: u32,
    ending: Option<Ending>,
}

impl World {
    fn new(script: Vec<u8>) -> Self {
        let now = Duration::ZERO;
        let mut server = Server::new(Identity::new(Some(Shelf(1)), "link"));
        server.attach(PORT, SHELF);
        let wait = Duration::from_secs(2);
        Self {
            now,
            server,
            client: Client::connect(now, HOST, SHELF, ConnectionTag(9), wait),
            faults: Faults {
                script,
                at: 0,
                exchanges: [(None, 0); 3],
                lose_one: None,
            },
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            session: None,
            input: Vec::new(),
            output: Vec::new(),
            server_closed: 0,
            ending: None,
        }
    }

    fn collect(&mut self) {
        let arrival = self.now + LATENCY;
        while let Some(action) = self.client.next_action() {
            match action {
                ClientAction::Transmit(bytes) => {
                    let copies = self.faults.copies(&Frame::parse(&bytes).unwrap(), true);
                    let frames = std::iter::repeat_n((arrival, bytes), copies);
                    self.to_server.extend(frames);
                }
                ClientAction::Opened => {}
                ClientAction::Output(bytes) => self.output.extend(bytes),
                ClientAction::Closed(ending) => {
                    assert_eq!(self.ending.replace(ending), None);
                }
            }
        }
        while let Some(action) = self.server.next_action() {
            match action {
                Action::Transmit { port, frame } => {
                    assert_eq!(port, PORT);
                    let copies = self.faults.copies(&Frame::parse(&frame).unwrap(), false);
                    let frames = std::iter::repeat_n((arrival, frame), copies);
                    self.to_client.extend(frames);
                }
                Action::Opened { session, .. } => {
                    assert_eq!(self.session.replace(session), None);
                }
                Action::Input { bytes, .. } => self.input.extend(bytes),
                Action::Writable { .. } => {}
                Action::Closed { .. } => self.server_closed += 1,
            }
        }
    }

    /// One event: the next arrival or timer. False when nothing is left to happen.
    fn step(&mut self) -> bool {
        self.collect();
        let arrivals = [self.to_server.front(), self.to_client.front()];
        let times = arrivals.map(|front| front.map(|(time, _)| *time));
        let timers = [self.server.deadline(), self.client.deadline()];
        let Some(next) = times.into_iter().chain(timers).flatten().min() else {
            return false;
        };
        self.now = self.now.max(next);
        if let Some((_, frame)) = self.to_server.pop_front_if(|(time, _)| *time <= next) {
            self.server.receive(self.now, PORT, &frame);
        } else if let Some((_, frame)) = self.to_client.pop_front_if(|(time, _)| *time <= next) {
            self.client.receive(self.now, &frame);
        } else {
            self.server.tick(self.now);
            self.client.tick(self.now);
        }
        self.collect();
        true
    }

    /// Runs a whole session: `typed` goes in, `printed` comes out, then the input ends.
    fn run(&mut self, typed: &[u8], printed: &[u8]) {
        let (mut typed, mut printed) = (typed, printed);
        let mut input_ended = false;
        while self.ending.is_none() && self.step() {
            typed = &typed[self.client.input(self.now, typed)..];
            if let Some(session) = self.session.filter(|_| !printed.is_empty()) {
                let Ok(accepted) = self.server.output(self.now, session, printed) else {
                    return;
                };
                printed = &printed[accepted..];
                self.server.set_busy(self.now, session, !printed.is_empty());
            }
            // As a script does it: all of the answer is there before the input ends.
            if !input_ended && typed.is_empty() && printed.is_empty() && self.session.is_some() {
                input_ended = true;
                self.client.finish_input(self.now);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_byte_is_lost_or_doubled(
        script in proptest::collection::vec(any::<u8>(), 1..200),
        typed in proptest::collection::vec(any::<u8>(), 0..3000),
        printed in proptest::collection::vec(any::<u8>(), 0..6000),
    ) {
        let mut world = World::new(script);
        world.run(&typed, &printed);
        prop_assert_eq!(&world.input, &typed);
        prop_assert_eq!(&world.output, &printed);
        prop_assert!(matches!(world.ending, Some(Ending::Reset | Ending::Finished)));
    }

    #[test]
    fn no_frame_makes_either_end_panic(
        frames in proptest::collection::vec(
            (0u8..10, 0u8..3, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..50), 0u64..3000),
            0..200),
    ) {
        let mut world = World::new(Vec::new());
        for (kind, tag, sequence, payload, time_ms) in frames {
            world.now += Duration::from_millis(time_ms);
            let mut bytes = vec![0xbc; 18];
            bytes[..6].copy_from_slice(&SHELF.0);
            bytes[6..12].copy_from_slice(&HOST.0);
            bytes[14..18].copy_from_slice(&[kind, tag * 9, sequence, 20]);
            bytes.extend(payload);
            world.server.receive(world.now, PORT, &bytes);
            bytes[..6].copy_from_slice(&HOST.0);
            bytes[6..12].copy_from_slice(&SHELF.0);
            world.client.receive(world.now, &bytes);
            world.server.tick(world.now);
            world.client.tick(world.now);
            while world.server.next_action().is_some() {}
            while world.client.next_action().is_some() {}
        }
    }
}

/// Numbers that look random, the same in every run.
fn noise(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[test]
fn tb_a_million_bytes_each_way_over_a_lossy_link() {
    let (typed, printed) = (noise(1, 1_000_000), noise(2, 1_000_000));
    let mut world = World::new(noise(3, 9973));
    world.run(&typed, &printed);
    assert!(world.input == typed, "{} bytes in", world.input.len());
    assert!(world.output == printed, "{} bytes out", world.output.len());
    assert!(world.now > Duration::from_secs(60), "nothing was lost");
}

/// Loses one frame: the `nth` of a kind in one direction.
#[test]
fn tb_each_kind_of_frame_lost_once_in_either_direction_costs_no_byte() {
    let (typed, printed) = (noise(4, 2000), noise(5, 3000));
    let from_client = [Kind::InitA, Kind::InitC, Kind::Data, Kind::Ack];
    let from_server = [Kind::InitB, Kind::Data, Kind::Ack, Kind::Reset];
    let client = from_client.map(|kind| (kind, true));
    let all = client
        .into_iter()
        .chain(from_server.map(|kind| (kind, false)));
    for (kind, is_from_client) in all {
        for nth in 0..3 {
            let mut world = World::new(Vec::new());
            world.faults.lose_one = Some((kind, is_from_client, nth));
            world.run(&typed, &printed);
            let lost = world.faults.lose_one.is_none();
            let kinds = [Kind::InitA, Kind::InitB, Kind::InitC, Kind::Reset];
            let once = kinds.contains(&kind);
            assert!(lost || once && nth > 0, "{kind} {nth} was never sent");
            assert!(world.input == typed, "{kind} {nth} {is_from_client}");
            assert!(world.output == printed, "{kind} {nth} {is_from_client}");
        }
    }
}

#[test]
fn tb_a_million_bytes_of_output_arrive_intact() {
    let printed: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut world = World::new(Vec::new());
    world.run(b"cat\r", &printed);
    assert_eq!(world.input, b"cat\r");
    assert!(world.output == printed);
    assert_eq!(world.ending, Some(Ending::Reset));
    assert_eq!(world.server_closed, 1);
}

#[test]
fn a_byte_typed_while_the_server_restarts_arrives_once() {
    let mut world = World::new(Vec::new());
    while world.session.is_none() {
        world.step();
    }
    world.client.input(world.now, b"a");
    while world.input.is_empty() || !world.client.is_input_delivered() {
        world.step();
    }
    world.server = Server::new(Identity::new(Some(Shelf(1)), "link"));
    world.server.attach(PORT, SHELF);
    world.session = None;
    world.client.input(world.now, b"b");
    while world.input.len() < 2 {
        assert!(world.step());
    }
    let session = world.session.expect("opened again");
    world.server.output(world.now, session, b"back").unwrap();
    while world.output.len() < 4 {
        assert!(world.step());
    }
    assert_eq!(
        (&world.input[..], &world.output[..]),
        (&b"ab"[..], &b"back"[..])
    );
    assert_eq!(world.ending, None);
}

#[test]
fn a_client_without_a_server_fails_to_connect_after_three_attempts() {
    let mut world = World::new(Vec::new());
    world.server = Server::new(Identity::new(None, ""));
    while world.ending.is_none() {
        assert!(world.step());
    }
    assert_eq!(world.ending, Some(Ending::ConnectFailed));
    assert_eq!(world.now.as_millis(), 1999, "a third of 2 s is rounded");
    assert_eq!(world.server.counters().misaddressed, 3);
}

#[test]
fn a_client_whose_server_vanished_times_out_three_seconds_after_its_input() {
    let mut world = World::new(Vec::new());
    while world.session.is_none() {
        world.step();
    }
    while world.step() && world.now < Duration::from_secs(1) {}
    let start = world.now;
    world.server = Server::new(Identity::new(None, ""));
    world.client.input(start, b"x");
    while world.ending.is_none() {
        assert!(world.step());
    }
    assert_eq!(world.ending, Some(Ending::TimedOut));
    assert_eq!(world.now - start, Duration::from_secs(3));
}

#[test]
fn a_server_without_the_end_of_input_rule_is_left_when_it_is_quiet() {
    let mut world = World::new(Vec::new());
    let from_server = |kind, sequence, payload: &[u8]| {
        Frame {
            destination: HOST,
            source: SHELF,
            kind,
            tag: ConnectionTag(9),
            sequence,
            payload: cec::Payload::prefix_of(payload),
        }
        .encode()
    };
    world
        .client
        .receive(world.now, &from_server(Kind::InitB, 0, b""));
    world
        .client
        .receive(world.now, &from_server(Kind::Data, 1, b"old shelf"));
    world.client.finish_input(world.now);
    let mut resets = 0;
    while let Some(deadline) = world.client.deadline() {
        world.now = deadline;
        world.client.tick(world.now);
        while let Some(action) = world.client.next_action() {
            match action {
                ClientAction::Transmit(bytes) => {
                    let frame = Frame::parse(&bytes).unwrap();
                    resets += u32::from(frame.kind == Kind::Reset);
                    if frame.kind == Kind::Data {
                        let ack = from_server(Kind::Ack, frame.sequence, b"");
                        world.client.receive(world.now, &ack);
                    }
                }
                ClientAction::Closed(ending) => world.ending = Some(ending),
                _ => {}
            }
        }
    }
    assert_eq!(world.ending, Some(Ending::Finished));
    assert_eq!(world.now, Duration::from_secs(5));
    assert_eq!(resets, 2);
}

#[test]
fn frames_of_other_sessions_and_stations_do_not_touch_the_client() {
    let mut world = World::new(Vec::new());
    while world.session.is_none() {
        world.step();
    }
    world.step();
    let frame = |source, kind, tag, sequence| {
        Frame {
            destination: HOST,
            source,
            kind,
            tag: ConnectionTag(tag),
            sequence,
            payload: cec::Payload::prefix_of(b"7 x"),
        }
        .encode()
    };
    let stranger = MacAddress([2, 0, 0, 0, 0, 7]);
    while world.client.next_action().is_some() {}
    for bytes in [
        frame(SHELF, Kind::Reset, 8, 0),
        frame(SHELF, Kind::Data, 8, 0),
        frame(stranger, Kind::Reset, 9, 0),
        frame(stranger, Kind::Offer, 0, 0),
        frame(SHELF, Kind::Offer, 0, 1),
    ] {
        world.client.receive(world.now, &bytes);
        assert_eq!(world.client.next_action(), None);
    }
    world
        .client
        .receive(world.now, &frame(SHELF, Kind::Offer, 0, 0));
    assert!(matches!(
        world.client.next_action(),
        Some(ClientAction::Transmit(_))
    ));
}

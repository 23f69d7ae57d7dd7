//! The server against scripted frames of a Unix client: one test per observed fact of the
//! protocol (numbered T1 to T19, TE, TB as in the experiments with the original client). `facts.rs` holds
//! that none is missing.

use super::session::OUTPUT_BYTES_MAX;
use super::*;
use crate::frame::{FRAME_BYTES_MIN, Payload};
use aoe::Shelf;

const PORT: PortIndex = PortIndex(0);
const PORT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xa0]);
const OTHER_PORT: PortIndex = PortIndex(1);
const OTHER_PORT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xa1]);
const HOST: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const OTHER_HOST: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// A server, its time, and a host that talks to it.
struct Bench {
    server: Server,
    now: Duration,
    host: MacAddress,
    port: (PortIndex, MacAddress),
}

impl Bench {
    fn new() -> Self {
        let mut server = Server::new(Identity::new(Some(Shelf(7)), "test shelf"));
        server.attach(PORT, PORT_MAC);
        server.attach(OTHER_PORT, OTHER_PORT_MAC);
        Self {
            server,
            now: Duration::from_secs(1000),
            host: HOST,
            port: (PORT, PORT_MAC),
        }
    }

    /// With an open session of tag 5 whose opening probe is acknowledged.
    fn open() -> Self {
        let mut bench = Self::new();
        bench.connect(5);
        bench
    }

    fn connect(&mut self, tag: u8) -> SessionId {
        self.say(Kind::InitA, tag, 0, b"");
        self.say(Kind::InitC, tag, 0, b"");
        self.say(Kind::Ack, tag, 1, b"");
        self.server
            .sessions
            .last_key_value()
            .map(|(id, _)| *id)
            .unwrap()
    }

    fn frame(&self, kind: Kind, tag: u8, sequence: u8, payload: &[u8]) -> Vec<u8> {
        Frame {
            destination: self.port.1,
            source: self.host,
            kind,
            tag: ConnectionTag(tag),
            sequence,
            payload: Payload::prefix_of(payload),
        }
        .encode()
    }

    /// Sends a frame, and returns what the server made of it.
    fn say(&mut self, kind: Kind, tag: u8, sequence: u8, payload: &[u8]) -> Vec<String> {
        let frame = self.frame(kind, tag, sequence, payload);
        self.server.receive(self.now, self.port.0, &frame);
        self.take()
    }

    fn probe(&mut self, sequence: u8) -> Vec<String> {
        let mut frame = self.frame(Kind::Discover, 0, sequence, b"");
        frame[..6].fill(0xff);
        self.server.receive(self.now, self.port.0, &frame);
        self.take()
    }

    fn print(&mut self, session: SessionId, bytes: &[u8]) -> Vec<String> {
        assert_eq!(
            self.server.output(self.now, session, bytes),
            Ok(bytes.len())
        );
        self.take()
    }

    fn close(&mut self, session: SessionId) -> Vec<String> {
        self.server.close(self.now, session);
        self.take()
    }

    /// Lets time pass, with a tick each 10 ms at which one is due.
    fn wait_ms(&mut self, time_ms: u64) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..time_ms / 10 {
            self.now += Duration::from_millis(10);
            if self
                .server
                .deadline()
                .is_some_and(|deadline| deadline <= self.now)
            {
                self.server.tick(self.now);
                let still_due = self.server.deadline().is_some_and(|d| d <= self.now);
                assert!(!still_due, "a tick does all that is due");
            }
            all.extend(self.take());
        }
        all
    }

    /// All actions in brief, and what must hold for every frame.
    fn take(&mut self) -> Vec<String> {
        let actions: Vec<Action> = core::iter::from_fn(|| self.server.next_action()).collect();
        actions
            .into_iter()
            .map(|action| match action {
                Action::Transmit { port, frame } => {
                    assert!(frame.len() >= FRAME_BYTES_MIN, "T2: padded");
                    let frame = Frame::parse(&frame).unwrap();
                    assert!(!frame.destination.is_multicast(), "T3: unicast");
                    if let Some(attached) = self.server.ports.get(&port) {
                        assert_eq!(frame.source, attached.mac);
                    }
                    let text = frame.payload.bytes().escape_ascii();
                    let (tag, sequence) = (frame.tag.0, frame.sequence);
                    format!("{} {tag}.{sequence} {text}", frame.kind)
                        .trim_end()
                        .to_owned()
                }
                Action::Opened { session, .. } => format!("opened {session}"),
                Action::Input { session, bytes } => {
                    format!("input {session} {}", bytes.escape_ascii())
                }
                Action::Writable { session } => format!("writable {session}"),
                Action::Closed { session } => format!("closed {session}"),
            })
            .collect()
    }
}

const NOTHING: [&str; 0] = [];
const SESSION: SessionId = SessionId(1);

#[test]
fn t01_a_probe_is_answered_with_shelf_and_name_and_its_own_number() {
    let mut bench = Bench::new();
    assert_eq!(bench.probe(0), ["Toffer 0.0 7 test shelf"]);
    assert_eq!(bench.probe(1), ["Toffer 0.1 7 test shelf"]);
}

#[test]
fn t02_every_frame_is_padded() {
    // `Bench::take` asserts it for each frame of each test; here all kinds that a server sends.
    let mut bench = Bench::new();
    bench.probe(0);
    bench.connect(5);
    bench.say(Kind::Data, 5, 1, b"x");
    bench.say(Kind::Data, 9, 1, b"x");
    bench.print(SESSION, b"y");
    bench.say(Kind::Ack, 5, 2, b"");
    assert_eq!(bench.close(SESSION), ["Treset 5.0", "closed 1"]);
}

#[test]
fn t03_an_offer_goes_to_the_asker_alone() {
    let mut bench = Bench::new();
    bench.server.receive(bench.now, PORT, &{
        let mut probe = bench.frame(Kind::Discover, 0, 0, b"");
        probe[..6].fill(0xff);
        probe
    });
    let Some(Action::Transmit { frame, .. }) = bench.server.next_action() else {
        panic!("no offer");
    };
    assert_eq!(Frame::parse(&frame).unwrap().destination, HOST);
    bench.server.set_identity(Identity::new(None, "other"));
    bench.server.attach(PortIndex(2), MacAddress([2; 6]));
    assert_eq!(bench.take(), NOTHING, "nothing is announced");
}

#[test]
fn t04_a_whole_session_ends_with_the_first_of_two_resets() {
    let mut bench = Bench::new();
    assert_eq!(bench.say(Kind::InitA, 5, 0, b""), ["Tinitb 5.0"]);
    assert_eq!(bench.say(Kind::InitC, 5, 0, b""), ["Tdata 5.1", "opened 1"]);
    assert_eq!(bench.say(Kind::Ack, 5, 1, b""), NOTHING);
    assert_eq!(bench.print(SESSION, b">>"), ["Tdata 5.2 >>"]);
    assert_eq!(bench.say(Kind::Ack, 5, 2, b""), NOTHING);
    assert_eq!(bench.say(Kind::Data, 5, 1, b"h"), ["Tack 5.1", "input 1 h"]);
    assert_eq!(
        bench.say(Kind::Data, 5, 2, b"\r"),
        ["Tack 5.2", r"input 1 \r"]
    );
    assert_eq!(bench.say(Kind::Reset, 5, 3, b""), ["closed 1"]);
    assert_eq!(bench.say(Kind::Reset, 5, 0x77, b""), NOTHING);
    assert_eq!(bench.server.deadline(), None);
}

#[test]
fn t05_a_handshake_that_nobody_completes_is_dropped_after_three_sends() {
    let mut bench = Bench::new();
    assert_eq!(bench.say(Kind::InitA, 5, 0, b""), ["Tinitb 5.0"]);
    assert_eq!(
        bench.say(Kind::InitA, 5, 0, b""),
        ["Tinitb 5.0"],
        "asked again"
    );
    assert_eq!(bench.wait_ms(1490), ["Tinitb 5.0", "Tinitb 5.0"]);
    assert_eq!(bench.wait_ms(10), NOTHING);
    assert!(bench.server.sessions.is_empty());
    assert_eq!(bench.say(Kind::InitC, 5, 0, b""), NOTHING, "too late");
}

#[test]
fn t06_close_delivers_the_output_first_and_then_resets() {
    let mut bench = Bench::open();
    bench.print(SESSION, b"bye");
    assert_eq!(bench.close(SESSION), NOTHING);
    assert_eq!(
        bench.server.output(bench.now, SESSION, b"x"),
        Err(SessionGone(SESSION))
    );
    assert_eq!(
        bench.say(Kind::Data, 5, 1, b"late"),
        ["Tack 5.1"],
        "no input any more"
    );
    assert_eq!(bench.say(Kind::Ack, 5, 2, b""), ["Treset 5.0", "closed 1"]);
    assert_eq!(bench.close(SESSION), NOTHING);
}

#[test]
fn t06_who_has_missed_the_reset_is_told_again_and_not_invited() {
    let mut bench = Bench::open();
    bench.close(SESSION);
    assert_eq!(bench.say(Kind::Data, 5, 1, b"x"), ["Treset 5.0"]);
    assert_eq!(bench.say(Kind::Data, 5, 1, b"x"), NOTHING, "once a second");
    bench.wait_ms(1000);
    assert_eq!(bench.say(Kind::Ack, 5, 1, b""), ["Treset 5.0"]);
    // Another tag of the host is not known from before.
    bench.wait_ms(1000);
    assert_eq!(
        bench.say(Kind::Data, 6, 1, b"x"),
        ["Toffer 0.0 7 test shelf"]
    );
    // Beside a session that lives nothing is said.
    bench.connect(6);
    bench.wait_ms(1000);
    assert_eq!(bench.say(Kind::Data, 5, 1, b"x"), NOTHING);
    bench.wait_ms(3000);
    assert_eq!(
        bench.say(Kind::Data, 5, 1, b"x"),
        ["Toffer 0.0 7 test shelf"],
        "too long ago"
    );
    // Whoever connects again with the tag is let in.
    let third = bench.connect(5);
    assert_eq!(bench.close(third), ["closed 3"]);
    assert_eq!(bench.say(Kind::InitA, 5, 0, b""), ["Tinitb 5.0"]);
}

#[test]
fn t07_another_handshake_continues_the_session() {
    let mut bench = Bench::open();
    assert_eq!(bench.say(Kind::Data, 5, 7, b"a"), ["Tack 5.7", "input 1 a"]);
    assert_eq!(
        bench.probe(0),
        ["Toffer 0.0 7 test shelf"],
        "by another process of the host"
    );
    assert_eq!(bench.say(Kind::InitA, 5, 0x99, b""), ["Tinitb 5.0"]);
    assert_eq!(
        bench.print(SESSION, b"out"),
        NOTHING,
        "would be thrown away now"
    );
    assert_eq!(
        bench.say(Kind::InitC, 5, 0, b""),
        ["Tdata 5.2 out"],
        "no second opening"
    );
    assert_eq!(
        bench.say(Kind::Data, 5, 7, b"a"),
        ["Tack 5.7"],
        "its acknowledgement was lost"
    );
    assert_eq!(bench.say(Kind::Data, 5, 8, b"b"), ["Tack 5.8", "input 1 b"]);
}

#[test]
fn t07_a_new_process_that_reuses_the_tag_starts_at_one() {
    let mut bench = Bench::open();
    bench.say(Kind::Data, 5, 1, b"a");
    bench.say(Kind::InitA, 5, 0, b"");
    assert_eq!(bench.say(Kind::InitC, 5, 0, b""), NOTHING);
    assert_eq!(bench.say(Kind::Data, 5, 1, b"b"), ["Tack 5.1", "input 1 b"]);
}

#[test]
fn t07_data_sent_into_a_handshake_is_repeated_after_it() {
    let mut bench = Bench::open();
    assert_eq!(bench.print(SESSION, b"out"), ["Tdata 5.2 out"]);
    bench.say(Kind::InitA, 5, 0, b"");
    assert_eq!(bench.say(Kind::InitC, 5, 0, b""), ["Tdata 5.2 out"]);
}

#[test]
fn t07_a_handshake_left_open_does_not_end_an_open_session() {
    let mut bench = Bench::open();
    bench.say(Kind::InitA, 5, 0, b"");
    bench.print(SESSION, b"out");
    assert_eq!(
        bench.wait_ms(1500),
        ["Tinitb 5.0", "Tinitb 5.0", "Tdata 5.2 out"]
    );
}

#[test]
fn t08_the_first_packet_after_a_handshake_never_has_number_255() {
    let mut bench = Bench::open();
    for sequence in 2..=254 {
        assert_eq!(
            bench.print(SESSION, b"."),
            [format!("Tdata 5.{sequence} .")]
        );
        bench.say(Kind::Ack, 5, sequence, b"");
    }
    bench.say(Kind::InitA, 5, 0, b"");
    bench.say(Kind::InitC, 5, 0, b"");
    assert_eq!(bench.print(SESSION, b"."), ["Tdata 5.0 ."]);
    bench.say(Kind::Ack, 5, 0, b"");
    for sequence in 1..=255 {
        assert_eq!(
            bench.print(SESSION, b"."),
            [format!("Tdata 5.{sequence} .")]
        );
        bench.say(Kind::Ack, 5, sequence, b"");
    }
    assert_eq!(
        bench.print(SESSION, b"."),
        ["Tdata 5.0 ."],
        "255 is fine in between"
    );
}

#[test]
fn t09_beside_a_second_session_of_the_host_the_first_dies_of_silence() {
    let mut bench = Bench::open();
    let other = bench.connect(6);
    assert_eq!(
        bench.close(SESSION),
        ["closed 1"],
        "no Treset: it would end both"
    );
    for _ in 0..3 {
        assert_eq!(
            bench.say(Kind::Data, 5, 1, b"x"),
            NOTHING,
            "the client gives up after 3 s"
        );
        bench.wait_ms(1000);
    }
    assert_eq!(bench.say(Kind::Data, 6, 1, b"y"), ["Tack 6.1", "input 2 y"]);
    bench.wait_ms(2000);
    assert_eq!(
        bench.say(Kind::Data, 5, 1, b"x"),
        ["Toffer 0.0 7 test shelf"]
    );
    assert_eq!(
        bench.close(other),
        ["Treset 6.0", "closed 2"],
        "now it is the only one"
    );
}

#[test]
fn t09_a_dying_tag_may_connect_again() {
    let mut bench = Bench::open();
    bench.connect(6);
    bench.close(SESSION);
    assert_eq!(bench.say(Kind::InitA, 5, 0, b""), ["Tinitb 5.0"]);
    assert_eq!(bench.say(Kind::InitC, 5, 0, b""), ["Tdata 5.1", "opened 3"]);
}

#[test]
fn t18_sessions_on_another_port_or_host_do_not_count_as_siblings() {
    let mut bench = Bench::open();
    bench.port = (OTHER_PORT, OTHER_PORT_MAC);
    bench.connect(5);
    bench.port = (PORT, PORT_MAC);
    bench.host = OTHER_HOST;
    bench.connect(5);
    assert_eq!(bench.close(SESSION), ["Treset 5.0", "closed 1"]);
    assert_eq!(bench.server.sessions(bench.now).count(), 2);
}

#[test]
fn t10_a_flood_of_empty_packets_is_acknowledged_packet_by_packet() {
    let mut bench = Bench::open();
    bench.server.set_busy(bench.now, SESSION, true);
    for n in 0..1000u32 {
        let sequence = (n % 256) as u8;
        assert_eq!(
            bench.say(Kind::Data, 5, sequence, b""),
            [format!("Tack 5.{sequence}")]
        );
    }
}

#[test]
fn t11_a_packet_whose_acknowledgement_was_lost_is_given_up_after_three_sends() {
    let mut bench = Bench::open();
    assert_eq!(bench.print(SESSION, b"one"), ["Tdata 5.2 one"]);
    bench.print(SESSION, b"two");
    assert_eq!(bench.wait_ms(990), NOTHING);
    assert_eq!(bench.wait_ms(10), ["Tdata 5.2 one"]);
    assert_eq!(bench.wait_ms(1000), ["Tdata 5.2 one"]);
    assert_eq!(
        bench.wait_ms(1000),
        ["Tdata 5.3 two"],
        "the client has it, and will not say so"
    );
    assert_eq!(bench.say(Kind::Ack, 5, 3, b""), NOTHING);
    assert_eq!(bench.server.sessions(bench.now).count(), 1);
}

#[test]
fn t11_repeated_input_is_acknowledged_again_and_discarded() {
    let mut bench = Bench::open();
    assert_eq!(bench.say(Kind::Data, 5, 1, b"a"), ["Tack 5.1", "input 1 a"]);
    assert_eq!(bench.say(Kind::Data, 5, 1, b"a"), ["Tack 5.1"]);
}

#[test]
fn t12_after_a_restart_the_unacknowledged_byte_arrives_once() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.say(Kind::Data, 5, 9, b"x"),
        ["Toffer 0.0 7 test shelf"],
        "no ack"
    );
    assert_eq!(
        bench.say(Kind::InitA, 5, 0xd3, b""),
        ["Tinitb 5.0"],
        "garbage number"
    );
    assert_eq!(
        bench.say(Kind::InitC, 5, 0xd3, b""),
        ["Tdata 5.1", "opened 1"]
    );
    assert_eq!(bench.say(Kind::Data, 5, 9, b"x"), ["Tack 5.9", "input 1 x"]);
}

#[test]
fn t12_invitations_go_out_once_per_resend_of_the_client() {
    let mut bench = Bench::new();
    let invited = ["Toffer 0.0 7 test shelf"];
    assert_eq!(bench.say(Kind::Data, 5, 9, b"x"), invited);
    assert_eq!(
        bench.say(Kind::Ack, 6, 9, b""),
        NOTHING,
        "limited per station"
    );
    bench.wait_ms(1000);
    assert_eq!(bench.say(Kind::Data, 5, 9, b"x"), invited);
    assert_eq!(bench.server.counters().rate_limited, 1);
}

#[test]
fn t13_probes_of_the_host_disturb_no_session() {
    let mut bench = Bench::open();
    let mut typed = String::new();
    for round in 1..=20 {
        assert_eq!(bench.probe(0), ["Toffer 0.0 7 test shelf"]);
        let letter = [b'a' + round];
        let printed = bench.print(SESSION, &letter);
        assert_eq!(printed.len(), 1);
        let sequence = round + 1;
        assert_eq!(bench.say(Kind::InitA, 5, 0x55, b""), ["Tinitb 5.0"]);
        assert_eq!(
            bench.say(Kind::InitC, 5, 0, b""),
            printed,
            "was thrown away"
        );
        bench.say(Kind::Ack, 5, sequence, b"");
        let heard = bench.say(Kind::Data, 5, sequence, &letter);
        let input = heard.last().unwrap().strip_prefix("input 1 ").unwrap();
        typed.push_str(input);
    }
    assert_eq!(typed, "bcdefghijklmnopqrstu");
    let counters = bench.server.session_counters(SESSION).unwrap();
    assert_eq!(counters.handshakes, 21);
    assert_eq!((counters.received_bytes, counters.sent_bytes), (20, 20));
}

#[test]
fn t14_an_unset_and_the_highest_shelf_number_are_offered() {
    let mut bench = Bench::new();
    bench.server.set_identity(Identity::new(None, "new"));
    assert_eq!(bench.probe(0), ["Toffer 0.0 -1 new"]);
    bench
        .server
        .set_identity(Identity::new(Some(Shelf(65534)), ""));
    assert_eq!(bench.probe(0), ["Toffer 0.0 65534"]);
}

#[test]
fn t15_payloads_of_255_bytes_come_in_and_250_go_out() {
    let mut bench = Bench::open();
    let text = [b'z'; 255];
    let typed = String::from_utf8(text.to_vec()).unwrap();
    let heard = bench.say(Kind::Data, 5, 1, &text);
    assert_eq!(heard, ["Tack 5.1".to_owned(), format!("input 1 {typed}")]);
    assert_eq!(
        bench.print(SESSION, &text),
        [format!("Tdata 5.2 {}", &typed[..250])]
    );
    assert_eq!(bench.say(Kind::Ack, 5, 2, b""), ["Tdata 5.3 zzzzz"]);
}

#[test]
fn t16_control_characters_pass_as_they_are() {
    let mut bench = Bench::open();
    assert_eq!(
        bench.say(Kind::Data, 5, 1, b"\x1c\0\xff"),
        ["Tack 5.1", r"input 1 \x1c\x00\xff"]
    );
}

#[test]
fn t17_data_replaces_a_lost_third_step_of_the_handshake() {
    let mut bench = Bench::new();
    bench.say(Kind::InitA, 5, 0, b"");
    let heard = bench.say(Kind::Data, 5, 1, b"x");
    assert_eq!(heard, ["Tdata 5.1", "opened 1", "Tack 5.1", "input 1 x"]);
}

#[test]
fn t19_a_swallowed_opening_probe_costs_one_second_and_no_byte() {
    let mut bench = Bench::new();
    bench.say(Kind::InitA, 5, 0, b"");
    assert_eq!(bench.say(Kind::InitC, 5, 0, b""), ["Tdata 5.1", "opened 1"]);
    assert_eq!(bench.print(SESSION, b"hello"), NOTHING);
    assert_eq!(bench.wait_ms(990), NOTHING);
    assert_eq!(bench.wait_ms(10), ["Tdata 5.2 hello"]);
}

#[test]
fn te_the_end_of_input_ends_the_session_when_the_answer_is_out() {
    let mut bench = Bench::open();
    bench.say(Kind::Data, 5, 1, b"\r");
    bench.server.set_busy(bench.now, SESSION, true);
    for sequence in 2..20 {
        bench.say(Kind::Data, 5, sequence, b"");
    }
    bench.print(SESSION, b"answer");
    bench.server.set_busy(bench.now, SESSION, false);
    assert_eq!(bench.take(), NOTHING, "not yet acknowledged");
    assert_eq!(bench.say(Kind::Ack, 5, 2, b""), ["Treset 5.0", "closed 1"]);
}

#[test]
fn te_eight_empty_packets_in_a_row_are_needed_and_repetitions_do_not_count() {
    let mut bench = Bench::open();
    for sequence in 1..=7 {
        bench.say(Kind::Data, 5, sequence, b"");
        assert_eq!(
            bench.say(Kind::Data, 5, sequence, b""),
            [format!("Tack 5.{sequence}")]
        );
    }
    bench.say(Kind::Data, 5, 8, b"x");
    for sequence in 9..=15 {
        assert_eq!(
            bench.say(Kind::Data, 5, sequence, b""),
            [format!("Tack 5.{sequence}")]
        );
    }
    assert_eq!(
        bench.say(Kind::Data, 5, 16, b""),
        ["Tack 5.16", "Treset 5.0", "closed 1"]
    );
}

#[test]
fn te_input_that_the_owner_has_not_taken_yet_keeps_the_session() {
    let mut bench = Bench::open();
    for (sequence, payload) in (1..20).map(|n| (n, if n == 1 { &b"\r"[..] } else { b"" })) {
        let frame = bench.frame(Kind::Data, 5, sequence, payload);
        bench.server.receive(bench.now, PORT, &frame);
    }
    assert!(!bench.take().contains(&"closed 1".to_owned()));
    assert_eq!(
        bench.say(Kind::Data, 5, 20, b""),
        ["Tack 5.20", "Treset 5.0", "closed 1"]
    );
}

#[test]
fn a_client_that_died_while_reading_is_forgotten_after_ten_packets() {
    let mut bench = Bench::open();
    bench.print(SESSION, &[b'.'; 250 * 20]);
    let waited = bench.wait_ms(30_000);
    assert_eq!(waited.last().unwrap(), "closed 1");
    assert!(!waited.iter().any(|line| line.starts_with("Treset")));
}

#[test]
fn a_silent_client_is_asked_for_a_sign_of_life_before_it_is_forgotten() {
    let mut bench = Bench::open();
    assert_eq!(bench.wait_ms(60_000), ["Tdata 5.2"]);
    assert_eq!(bench.say(Kind::Ack, 5, 2, b""), NOTHING);
    assert_eq!(bench.wait_ms(59_990), NOTHING);
    let waited = bench.wait_ms(30_010);
    assert_eq!(waited.len(), 31);
    assert_eq!(waited.last().unwrap(), "closed 1");
    assert_eq!(bench.server.deadline(), None);
}

#[test]
fn output_beyond_the_buffer_is_refused_until_half_of_it_is_free() {
    let mut bench = Bench::open();
    let text = vec![b'.'; OUTPUT_BYTES_MAX + 1000];
    let accepted = bench.server.output(bench.now, SESSION, &text);
    assert_eq!(accepted, Ok(OUTPUT_BYTES_MAX));
    bench.take();
    let mut acknowledged = 0;
    let mut sequence = 2u8;
    while !bench
        .say(Kind::Ack, 5, sequence, b"")
        .contains(&"writable 1".to_owned())
    {
        sequence = sequence.wrapping_add(1);
        acknowledged += 250;
    }
    assert!((OUTPUT_BYTES_MAX / 2 - 500..OUTPUT_BYTES_MAX / 2 + 500).contains(&acknowledged));
}

#[test]
fn the_table_of_sessions_is_bounded_and_full_is_counted() {
    let mut bench = Bench::new();
    for tag in 0..64 {
        let session = bench.connect(tag);
        bench.server.set_occupied(session, true);
    }
    assert_eq!(bench.say(Kind::InitA, 64, 0, b""), NOTHING);
    assert_eq!(bench.server.counters().sessions_exhausted, 1);
    assert_eq!(
        bench.say(Kind::InitA, 63, 0, b""),
        ["Tinitb 63.0"],
        "known ones may come back"
    );
    bench.say(Kind::Reset, 0, 0, b"");
    assert_eq!(bench.say(Kind::InitA, 64, 0, b""), ["Tinitb 64.0"]);
}

#[test]
fn whoever_only_begins_handshakes_keeps_nobody_out() {
    let mut bench = Bench::open();
    for tag in 10..74 {
        bench.say(Kind::InitA, tag, 0, b"");
    }
    assert_eq!(bench.server.sessions.len(), SESSIONS_MAX);
    assert_eq!(bench.server.counters().displaced, 1);
    bench.host = OTHER_HOST;
    let opened = bench.connect(1);
    assert_eq!(bench.print(opened, b"hi"), ["Tdata 1.2 hi"]);
    bench.host = HOST;
    assert_eq!(bench.print(SESSION, b"still"), ["Tdata 5.2 still"]);
}

#[test]
fn whoever_only_connects_keeps_nobody_out() {
    let mut bench = Bench::open();
    bench.server.set_occupied(SESSION, true);
    let left = bench.connect(6);
    bench.server.set_occupied(left, true);
    bench.server.set_occupied(left, false);
    for tag in 10..72 {
        bench.connect(tag);
    }
    bench.host = OTHER_HOST;
    let ended = format!("closed {}", left.0);
    assert_eq!(
        bench.say(Kind::InitA, 1, 0, b""),
        [ended.as_str(), "Tinitb 1.0"],
        "the oldest that nobody is in, without a Treset: its host has other sessions"
    );
    assert_eq!(bench.server.counters().displaced, 1);
    assert_eq!(bench.server.sessions.len(), SESSIONS_MAX);
    bench.host = HOST;
    assert_eq!(bench.print(SESSION, b"still"), ["Tdata 5.2 still"]);
}

#[test]
fn a_port_that_is_detached_ends_its_sessions() {
    let mut bench = Bench::open();
    bench.connect(6);
    bench.host = OTHER_HOST;
    bench.connect(5);
    bench.port = (OTHER_PORT, OTHER_PORT_MAC);
    let elsewhere = bench.connect(5);
    bench.server.detach(PORT);
    let mut ended = bench.take();
    ended.sort();
    let resets = ["Treset 5.0", "Treset 5.0", "Treset 6.0"];
    assert_eq!(ended[..3], resets);
    assert_eq!(ended[3..], ["closed 1", "closed 2", "closed 3"]);
    assert_eq!(bench.print(elsewhere, b"x"), ["Tdata 5.2 x"]);
    bench.port = (PORT, PORT_MAC);
    assert_eq!(bench.probe(0), NOTHING);
    assert_eq!(bench.say(Kind::Data, 5, 1, b"x"), NOTHING);
    bench.server.attach(PORT, PORT_MAC);
    assert_eq!(bench.probe(0), ["Toffer 0.0 7 test shelf"]);
}

#[test]
fn a_station_that_is_not_admitted_finds_no_console() {
    let mut bench = Bench::new();
    bench.server.admit_only(PORT, BTreeSet::from([HOST]));
    bench.connect(5);
    bench.host = OTHER_HOST;
    assert_eq!(bench.probe(0), NOTHING);
    assert_eq!(bench.say(Kind::InitA, 5, 0, b""), NOTHING);
    assert_eq!(bench.say(Kind::Data, 5, 1, b"x"), NOTHING);
    assert_eq!(bench.server.counters().not_admitted, 3);
    bench.host = HOST;
    assert_eq!(bench.say(Kind::Data, 5, 1, b"x"), ["Tack 5.1", "input 1 x"]);
}

#[test]
fn a_session_is_hung_up_with_last_words_whether_its_client_reads_or_not() {
    let mut bench = Bench::open();
    bench.print(SESSION, &[b'.'; 250 * 100]);
    bench.server.hang_up(bench.now, SESSION, b"bye");
    assert_eq!(bench.say(Kind::Ack, 5, 2, b""), ["Tdata 5.3 bye"]);
    assert_eq!(bench.say(Kind::Ack, 5, 3, b""), ["Treset 5.0", "closed 1"]);
    let other = bench.connect(6);
    bench.print(other, &[b'.'; 250 * 100]);
    bench.server.hang_up(bench.now, other, b"bye");
    let waited = bench.wait_ms(6000);
    assert_eq!(waited.last().unwrap(), "closed 2");
}

#[test]
fn a_session_counts_what_is_lost() {
    let mut bench = Bench::open();
    bench.say(Kind::Data, 5, 1, b"abc");
    bench.say(Kind::Data, 5, 1, b"abc");
    bench.print(SESSION, b"xy");
    bench.wait_ms(3000);
    let expected = SessionCounters {
        received_bytes: 3,
        sent_bytes: 2,
        repeated: 1,
        resent: 2,
        given_up: 1,
        handshakes: 1,
    };
    assert_eq!(bench.server.session_counters(SESSION), Some(expected));
}

#[test]
fn probes_of_one_station_are_limited_and_do_not_limit_others() {
    let mut bench = Bench::new();
    let answered = (0..200).filter(|_| !bench.probe(0).is_empty()).count();
    assert_eq!(answered, 50);
    assert_eq!(bench.server.counters().rate_limited, 150);
    bench.host = OTHER_HOST;
    assert_eq!(bench.probe(0).len(), 1);
    bench.host = HOST;
    bench.wait_ms(1000);
    assert_eq!(bench.probe(0).len(), 1);
}

#[test]
fn what_is_not_for_the_server_is_counted_by_reason_and_dropped() {
    let mut bench = Bench::open();
    assert_eq!(bench.say(Kind::InitB, 5, 0, b""), NOTHING);
    assert_eq!(bench.say(Kind::Offer, 0, 0, b"1 x"), NOTHING);
    assert_eq!(bench.say(Kind::Unknown(8), 5, 0, b"x"), NOTHING);
    bench.host = MacAddress([1, 0, 0x5e, 0, 0, 1]);
    assert_eq!(bench.probe(0), NOTHING);
    bench.host = HOST;
    bench.port.1 = OTHER_PORT_MAC;
    assert_eq!(bench.say(Kind::InitA, 6, 0, b""), NOTHING);
    bench.port = (PortIndex(9), PORT_MAC);
    assert_eq!(bench.probe(0), NOTHING);
    bench.server.receive(bench.now, PORT, &[0; 10]);
    let expected = Counters {
        malformed: 1,
        unknown_kind: 1,
        server_kind: 2,
        group_source: 1,
        misaddressed: 2,
        ..Counters::default()
    };
    assert_eq!(*bench.server.counters(), expected);
}

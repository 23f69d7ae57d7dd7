//! The client against servers that are not ours: Coraid's, which is that of the Plan 9 kernel, and others.
//! They acknowledge first and look afterwards, announce themselves to everybody, never start their numbers
//! anew, and give a packet up after three sends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use aoe::MacAddress;
use cec::{Client, ClientAction, ConnectionTag, Ending, Frame, Kind, Payload};
use std::time::Duration;

const SHELF: MacAddress = MacAddress([0, 0x10, 4, 1, 0x2e, 0x81]);
const HOST: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const TAG: u8 = 9;

/// A client, its time, and the server's half of the conversation.
struct Bench {
    client: Client,
    now: Duration,
    screen: String,
    ending: Option<Ending>,
}

impl Bench {
    fn new() -> Self {
        let (now, wait) = (Duration::ZERO, Duration::from_secs(2));
        let client = Client::connect(now, HOST, SHELF, ConnectionTag(TAG), wait);
        Self {
            client,
            now,
            screen: String::new(),
            ending: None,
        }
    }

    /// With an open session; the server repeats whatever number the handshake had.
    fn open() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.take(), ["Tinita 0 "]);
        assert_eq!(bench.hear(Kind::InitB, 3, b""), ["Tinitc 3 "]);
        bench
    }

    /// Sends the client a frame, and returns what it says to that.
    fn hear(&mut self, kind: Kind, sequence: u8, payload: &[u8]) -> Vec<String> {
        self.hear_at(HOST, TAG, kind, sequence, payload)
    }

    fn hear_at(
        &mut self,
        destination: MacAddress,
        tag: u8,
        kind: Kind,
        sequence: u8,
        payload: &[u8],
    ) -> Vec<String> {
        let frame = Frame {
            destination,
            source: SHELF,
            kind,
            tag: ConnectionTag(tag),
            sequence,
            payload: Payload::prefix_of(payload),
        };
        self.client.receive(self.now, &frame.encode());
        self.take()
    }

    fn type_text(&mut self, text: &str) -> Vec<String> {
        assert_eq!(self.client.input(self.now, text.as_bytes()), text.len());
        self.take()
    }

    fn wait_ms(&mut self, time_ms: u64) -> Vec<String> {
        let end = self.now + Duration::from_millis(time_ms);
        let mut said = Vec::new();
        while let Some(due) = self.client.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.client.tick(self.now);
            said.extend(self.take());
        }
        self.now = end;
        said
    }

    fn take(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(action) = self.client.next_action() {
            match action {
                ClientAction::Transmit(bytes) => {
                    let frame = Frame::parse(&bytes).unwrap();
                    assert_eq!((frame.destination, frame.tag.0), (SHELF, TAG));
                    let text = frame.payload.bytes().escape_ascii();
                    said.push(format!("{} {} {text}", frame.kind, frame.sequence));
                }
                ClientAction::Opened => {}
                ClientAction::Output(bytes) => {
                    self.screen.push_str(&String::from_utf8_lossy(&bytes));
                }
                ClientAction::Closed(ending) => self.ending = Some(ending),
            }
        }
        said
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn numbers_that_go_on_from_a_former_session_are_taken_as_they_come() {
    let mut bench = Bench::open();
    assert_eq!(bench.hear(Kind::Data, 37, b"login: "), ["Tack 37 "]);
    // Given up after three sends, of which the client saw none: the next number but one.
    assert_eq!(bench.hear(Kind::Data, 39, b"x"), ["Tack 39 "]);
    assert_eq!(bench.hear(Kind::Data, 255, b"y"), ["Tack 255 "]);
    assert_eq!(bench.hear(Kind::Data, 0, b"z"), ["Tack 0 "]);
    assert_eq!(bench.screen, "login: xyz");
}

#[test]
fn a_first_packet_with_number_255_is_shown() {
    let mut bench = Bench::open();
    assert_eq!(bench.hear(Kind::Data, 255, b"x"), ["Tack 255 "]);
    assert_eq!(bench.screen, "x");
}

#[test]
fn payloads_of_255_bytes_are_shown() {
    let mut bench = Bench::open();
    let mut expected = String::new();
    for sequence in 0..=255 {
        let text = char::from(b'a' + sequence % 26).to_string().repeat(255);
        assert_eq!(
            bench.hear(Kind::Data, sequence, text.as_bytes()),
            [format!("Tack {sequence} ")]
        );
        expected.push_str(&text);
    }
    assert!(bench.screen == expected && expected.len() > 65_000);
}

#[test]
fn what_is_repeated_is_acknowledged_again_and_shown_once() {
    let mut bench = Bench::open();
    for _ in 0..3 {
        assert_eq!(bench.hear(Kind::Data, 5, b"once"), ["Tack 5 "]);
    }
    assert_eq!(bench.screen, "once");
}

#[test]
fn a_lost_third_word_of_the_handshake_is_said_again_when_the_server_asks() {
    let mut bench = Bench::open();
    assert_eq!(bench.hear(Kind::InitB, 3, b""), ["Tinitc 3 "]);
    assert_eq!(bench.hear(Kind::InitB, 3, b""), ["Tinitc 3 "]);
    assert_eq!(bench.type_text("a"), ["Tdata 1 a"]);
}

/// It acknowledges data of a session that it does not know, so that this key is lost, and invites.
#[test]
fn a_restarted_server_that_acknowledges_first_is_connected_again() {
    let mut bench = Bench::open();
    assert_eq!(bench.type_text("a"), ["Tdata 1 a"]);
    assert_eq!(bench.hear(Kind::Ack, 1, b""), NOTHING);
    let invited = bench.hear_at(HOST, 0, Kind::Offer, 0, b"7 shelf");
    assert_eq!(invited, ["Tinita 0 "]);
    assert_eq!(bench.type_text("b"), NOTHING, "not into a handshake");
    assert_eq!(bench.hear(Kind::InitB, 0, b""), ["Tinitc 0 ", "Tdata 2 b"]);
    assert_eq!(bench.hear(Kind::Ack, 2, b""), NOTHING);
    assert_eq!(bench.hear(Kind::Data, 1, b"again"), ["Tack 1 "]);
    assert_eq!((bench.screen.as_str(), bench.ending), ("again", None));
}

/// It tells everybody when its name changes. What comes meanwhile is not thrown away.
#[test]
fn an_announcement_in_mid_session_costs_nothing() {
    let mut bench = Bench::open();
    assert_eq!(bench.type_text("a"), ["Tdata 1 a"]);
    let announced = bench.hear_at(MacAddress::BROADCAST, 0, Kind::Offer, 0, b"8 renamed");
    assert_eq!(announced, ["Tinita 0 "]);
    assert_eq!(bench.hear(Kind::Data, 4, b"meanwhile"), ["Tack 4 "]);
    assert_eq!(
        bench.hear(Kind::InitB, 0, b""),
        ["Tinitc 0 ", "Tdata 1 a"],
        "the packet that waits is sent again at once"
    );
    assert_eq!(bench.hear(Kind::Ack, 1, b""), NOTHING);
    assert_eq!(bench.screen, "meanwhile");
    // The answer to a probe of 9atom, whose number is not 0, is none of its business.
    assert_eq!(bench.hear_at(HOST, 0, Kind::Offer, 1, b"7 shelf"), NOTHING);
}

#[test]
fn a_server_that_never_answers_an_invitation_of_its_own_is_given_up() {
    let mut bench = Bench::open();
    bench.hear_at(HOST, 0, Kind::Offer, 0, b"7 shelf");
    let said = bench.wait_ms(5000);
    assert_eq!(said[..2], ["Tinita 0 ", "Tinita 0 "]);
    assert_eq!(bench.ending, Some(Ending::TimedOut));
}

/// It knows nothing of the end of input: it acknowledges empty packets one by one, as fast as they come, and
/// would do so forever.
#[test]
fn the_end_of_input_is_the_end_of_a_session_that_has_no_more_to_say() {
    let mut bench = Bench::open();
    bench.type_text("show\r");
    bench.hear(Kind::Ack, 1, b"");
    bench.client.finish_input(bench.now);
    let mut sequence = 2;
    let mut said = bench.take();
    let mut answers = vec![(6000, "slow "), (3000, "answer")];
    let begun = bench.now;
    while bench.ending.is_none() {
        for packet in said.split_off(0) {
            if packet.starts_with("Tdata") {
                bench.hear(Kind::Ack, sequence, b"");
                sequence += 1;
            }
        }
        said = bench.take();
        let elapsed = (bench.now - begun).as_millis();
        if let Some((_, text)) = answers.pop_if(|(at, _)| elapsed >= *at) {
            bench.hear(Kind::Data, 100 + sequence, text.as_bytes());
        }
        said.extend(bench.wait_ms(100));
        assert!(sequence < 100, "it floods");
    }
    assert_eq!(bench.screen, "answerslow ");
    assert_eq!(bench.ending, Some(Ending::Finished));
    assert!(
        bench.now - begun >= Duration::from_secs(11),
        "5 s of silence"
    );
}

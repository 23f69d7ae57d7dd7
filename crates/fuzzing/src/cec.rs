//! The Ethernet console: any frames at any time for its server, and any keys for what stands behind
//! it: line editor, lexer, control protocol.
//!
//! Checked: what is sent is a whole frame; sessions are bounded, open once and close once; lines
//! are clean and bounded; words survive being joined and split.

use aoe::{MacAddress, Shelf};
use arbitrary::Arbitrary;
use cec::server::{OUTPUT_BYTES_MAX, SESSIONS_MAX};
use cec::{Action, ConnectionTag, Frame, Identity, Kind, Payload, PortIndex, Server, SessionId};
use console::editor::{Editor, Event, LINE_BYTES_MAX};
use console::{lexer, protocol};
use std::collections::BTreeSet;
use std::time::Duration;

const PORT: PortIndex = PortIndex(0);
const PORT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// Where a frame says what it is for. Codes above 7 have no meaning.
const KIND: usize = 14;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A frame that is right but for its place in the conversation.
    Frame {
        client: u8,
        tag: u8,
        kind: u8,
        sequence: u8,
        to_all: bool,
        payload: Vec<u8>,
    },
    Bytes(Vec<u8>),
    Wait {
        milliseconds: u16,
    },
    Output {
        pick: u8,
        bytes: u16,
    },
    Busy {
        pick: u8,
        busy: bool,
    },
    Close {
        pick: u8,
    },
    HangUp {
        pick: u8,
        last_words: Vec<u8>,
    },
    /// The port loses the console, or has it again, for some stations only or for all.
    Switch {
        is_attached: bool,
        admitted: Option<Vec<u8>>,
    },
}

#[derive(Arbitrary, Debug)]
struct Input {
    steps: Vec<Step>,
    keys: Vec<u8>,
    line: Vec<u8>,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some(input) = crate::input::<Input>(data) else {
        return;
    };
    converse(&input.steps);
    type_keys(&input.keys);
    let _ = protocol::decode::<protocol::Request>(&input.line);
    let _ = protocol::decode::<protocol::Response>(&input.line);
}

fn converse(steps: &[Step]) {
    let mut server = Server::new(Identity::new(Some(Shelf(1)), "fuzz"));
    server.attach(PORT, PORT_MAC);
    let mut now = Duration::ZERO;
    let mut open = BTreeSet::new();
    for step in steps {
        act(&mut server, &mut now, &open, step);
        while let Some(action) = server.next_action() {
            check(action, &mut open);
        }
        assert!(open.len() <= SESSIONS_MAX);
        assert!(
            server
                .sessions(now)
                .all(|(session, _, _)| open.contains(&session))
        );
    }
}

fn station(client: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 1, client])
}

fn switch(server: &mut Server, is_attached: bool, admitted: Option<&[u8]>) {
    server.detach(PORT);
    if is_attached {
        server.attach(PORT, PORT_MAC);
    }
    if let Some(admitted) = admitted {
        let stations = admitted.iter().map(|client| station(*client));
        server.admit_only(PORT, stations.collect());
    }
}

fn act(server: &mut Server, now: &mut Duration, open: &BTreeSet<SessionId>, step: &Step) {
    let session = |pick: u8| {
        open.iter()
            .nth(usize::from(pick) % open.len().max(1))
            .copied()
    };
    match step {
        Step::Frame {
            client,
            tag,
            kind,
            sequence,
            to_all,
            payload,
        } => {
            let destination = if *to_all {
                MacAddress::BROADCAST
            } else {
                PORT_MAC
            };
            let frame = Frame {
                destination,
                source: station(*client),
                kind: Kind::Data,
                sequence: *sequence,
                tag: ConnectionTag(*tag),
                payload: Payload::prefix_of(payload),
            };
            let mut bytes = frame.encode();
            bytes[KIND] = *kind % 12;
            server.receive(*now, PORT, &bytes);
        }
        Step::Bytes(bytes) => server.receive(*now, PORT, bytes),
        Step::Wait { milliseconds } => {
            *now += Duration::from_millis(u64::from(*milliseconds));
            server.tick(*now);
            assert!(server.deadline().is_none_or(|deadline| deadline > *now));
        }
        Step::Output { pick, bytes } => {
            if let Some(session) = session(*pick) {
                let bytes = vec![b'x'; usize::from(*bytes)];
                let taken = server.output(*now, session, &bytes).unwrap_or(0);
                assert!(taken <= bytes.len() && taken <= OUTPUT_BYTES_MAX);
            }
        }
        Step::Busy { pick, busy } => {
            if let Some(session) = session(*pick) {
                server.set_busy(*now, session, *busy);
            }
        }
        Step::HangUp { pick, last_words } => {
            if let Some(session) = session(*pick) {
                server.hang_up(*now, session, last_words);
            }
        }
        Step::Switch {
            is_attached,
            admitted,
        } => switch(server, *is_attached, admitted.as_deref()),
        Step::Close { pick } => {
            if let Some(session) = session(*pick) {
                server.close(*now, session);
            }
        }
    }
}

fn check(action: Action, open: &mut BTreeSet<SessionId>) {
    match action {
        Action::Transmit { port, frame } => {
            assert_eq!(port, PORT);
            let bounds = cec::frame::FRAME_BYTES_MIN..=cec::frame::FRAME_BYTES_MAX;
            assert!(bounds.contains(&frame.len()), "{} bytes", frame.len());
            let frame = Frame::parse(&frame).expect("what is sent can be parsed");
            assert_eq!(frame.source, PORT_MAC);
        }
        Action::Opened { session, .. } => assert!(open.insert(session), "{session} opened twice"),
        Action::Input { session, bytes } => {
            assert!(!bytes.is_empty() && open.contains(&session));
        }
        Action::Writable { session } => assert!(open.contains(&session)),
        Action::Closed { session } => assert!(open.remove(&session), "{session} closed twice"),
    }
}

fn type_keys(keys: &[u8]) {
    let mut editor = Editor::new();
    let mut rest = keys;
    while !rest.is_empty() {
        let fed = editor.feed(rest);
        assert!(fed.taken > 0 && fed.taken <= rest.len());
        assert!(fed.event.is_some() || fed.taken == rest.len());
        assert!(editor.typed().len() <= LINE_BYTES_MAX);
        rest = &rest[fed.taken..];
        if let Some(Event::Line(line)) = fed.event {
            assert!(line.len() <= LINE_BYTES_MAX && !line.contains(char::is_control));
            read_line(&line);
        }
    }
}

fn read_line(line: &str) {
    let Ok(words) = lexer::split(line) else {
        return;
    };
    let texts: Vec<String> = words.iter().map(lexer::Word::text).collect();
    let again = lexer::split(&lexer::join(&texts)).expect("joined words can be split");
    let again: Vec<String> = again.iter().map(lexer::Word::text).collect();
    assert_eq!(texts, again);
    if let Ok(expanded) = lexer::expand(&words) {
        assert!(expanded.len() <= lexer::MAX_WORDS.max(words.len()));
    }
}

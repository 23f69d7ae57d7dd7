//! Log-in over the Ethernet: any frames of any stations at any time, through the server of the protocol, the
//! line editor and the log-in itself, as they are joined behind a port.
//!
//! Checked against a model of who has failed when:
//! * Nobody is in without the password, of the user whose name was typed, in the line that was typed last.
//! * Between two passwords of a station that are looked at, as much time passes as its failures in a row ask
//!   for, however many sessions it has; nobody waits for failures of others, and nobody for longer than
//!   [`WAIT_MAX`].
//! * Nothing of a password is echoed, and a third wrong one ends the session.
//! * Whatever went before, every station that waits for its time gets in with the right password.

use aoe::{MacAddress, Shelf};
use arbitrary::Arbitrary;
use cec::{Action, ConnectionTag, Frame, Identity, Kind, Payload, PortIndex, Server, SessionId};
use console::editor::{Editor, Event, Fed, Mode, to_terminal};
use console::host::Role;
use console::login::{ADMIN, ATTEMPTS_MAX, Lockout, Login, Standing, Step};
use std::collections::BTreeMap;
use std::time::Duration;

const PORT: PortIndex = PortIndex(0);
const PORT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// The longest that anybody has to wait.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// Failures are forgotten after this time without one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// The users, their passwords and their rights. Somebody without a password cannot log in.
const USERS: [(&str, Option<&str>, Role); 3] = [
    (ADMIN, Some("correct horse"), Role::Admin),
    ("ann", Some("Battery7 staple"), Role::Reader),
    ("bob", None, Role::Admin),
];

/// Words that are worth typing.
const WORDS: [&[u8]; 12] = [
    b"correct horse\r",
    b"Battery7 staple\r",
    b"admin\r",
    b"ann\r",
    b"bob\r",
    b"-\r",
    b"\r",
    b"\n",
    b"correct hors\x7f\x7frse\r",
    b"\x03",
    b"correct horse\x0c\t?\x1b[A\x12",
    b"\x1b[8;24;80t",
];

#[derive(Arbitrary, Debug)]
enum Deed {
    /// A frame that is right but for its place in the conversation.
    Frame {
        station: u8,
        tag: u8,
        kind: u8,
        sequence: u8,
        payload: Vec<u8>,
    },
    /// A client in order: it connects if it has to, and types.
    Type {
        station: u8,
        tag: u8,
        word: u8,
    },
    /// The same with any keys.
    Keys {
        station: u8,
        tag: u8,
        keys: Vec<u8>,
    },
    Wait {
        milliseconds: u16,
    },
    WaitLong {
        seconds: u16,
    },
    /// A console is idle for too long.
    LogOut {
        station: u8,
        tag: u8,
    },
}

#[derive(Arbitrary, Debug)]
struct Input {
    has_several: bool,
    steps: Vec<Deed>,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some(input) = crate::input::<Input>(data) else {
        return;
    };
    let mut house = House::new(input.has_several);
    for step in &input.steps {
        house.act(step);
    }
    house.everybody_gets_in();
}

/// What the model knows of a station.
#[derive(Debug, Default)]
struct Record {
    in_a_row: u32,
    last: Duration,
}

/// Somebody behind the protocol.
struct Guest {
    station: MacAddress,
    editor: Editor,
    mode: Mode,
    prompt: String,
    /// `None` for somebody who is in.
    login: Option<Login>,
    name: String,
    wrong: u32,
    over: bool,
}

struct House {
    server: Server,
    now: Duration,
    lockout: Lockout,
    standing: Standing,
    guests: BTreeMap<SessionId, Guest>,
    sessions: BTreeMap<(MacAddress, u8), SessionId>,
    records: BTreeMap<MacAddress, Record>,
    /// The sequence number of the next packet of each client, and of the shelf as the clients know it.
    sequences: BTreeMap<(MacAddress, u8), u8>,
}

impl House {
    fn new(has_several: bool) -> Self {
        let mut server = Server::new(Identity::new(Some(Shelf(1)), "fuzz"));
        server.attach(PORT, PORT_MAC);
        Self {
            server,
            now: Duration::ZERO,
            lockout: Lockout::default(),
            standing: Standing {
                is_open: false,
                has_several,
            },
            guests: BTreeMap::new(),
            sessions: BTreeMap::new(),
            records: BTreeMap::new(),
            sequences: BTreeMap::new(),
        }
    }

    fn act(&mut self, step: &Deed) {
        match step {
            Deed::Frame {
                station,
                tag,
                kind,
                sequence,
                payload,
            } => self.frame(mac(*station), *tag, *kind % 9, *sequence, payload),
            Deed::Type { station, tag, word } => {
                let word = WORDS[usize::from(*word) % WORDS.len()];
                self.type_keys(mac(*station), *tag, word);
            }
            Deed::Keys { station, tag, keys } => self.type_keys(mac(*station), *tag, keys),
            Deed::Wait { milliseconds } => {
                self.pass(Duration::from_millis((*milliseconds).into()));
            }
            Deed::WaitLong { seconds } => self.pass(Duration::from_secs((*seconds).into())),
            Deed::LogOut { station, tag } => {
                if let Some(session) = self.sessions.get(&(mac(*station), *tag)).copied() {
                    self.log_out(session);
                }
            }
        }
    }

    /// Time passes at once; what had become due meanwhile is done late, as on a busy machine.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.server.tick(self.now);
        self.perform();
    }

    fn frame(&mut self, station: MacAddress, tag: u8, kind: u8, sequence: u8, payload: &[u8]) {
        let frame = Frame {
            destination: PORT_MAC,
            source: station,
            kind: Kind::Data,
            tag: ConnectionTag(tag),
            sequence,
            payload: Payload::prefix_of(payload),
        };
        let mut bytes = frame.encode();
        // Where a frame says what it is for.
        bytes[14] = kind;
        self.server.receive(self.now, PORT, &bytes);
        self.perform();
    }

    fn type_keys(&mut self, station: MacAddress, tag: u8, keys: &[u8]) {
        if !self.sessions.contains_key(&(station, tag)) {
            self.frame(station, tag, 0, 0, b"");
            self.frame(station, tag, 2, 0, b"");
        }
        for part in keys.chunks(40) {
            let sequence = self.sequences.entry((station, tag)).or_default();
            *sequence = sequence.wrapping_add(1);
            let sequence = *sequence;
            self.frame(station, tag, 3, sequence, part);
        }
    }

    fn perform(&mut self) {
        while let Some(action) = self.server.next_action() {
            match action {
                Action::Transmit { frame, .. } => {
                    let frame = Frame::parse(&frame).expect("what is sent can be parsed");
                    if frame.kind == Kind::Data {
                        // Every client reads.
                        self.acknowledge(frame.destination, frame.tag.0, frame.sequence);
                    }
                }
                Action::Opened { session, peer } => {
                    self.sessions.insert((peer.mac, peer.tag.0), session);
                    let mut login = Login::new(peer.mac);
                    let step = login.begin(String::new(), self.standing);
                    let guest = Guest {
                        station: peer.mac,
                        editor: Editor::new(),
                        mode: Mode::Answer,
                        prompt: String::new(),
                        login: Some(login),
                        name: ADMIN.to_owned(),
                        wrong: 0,
                        over: false,
                    };
                    self.guests.insert(session, guest);
                    self.step(session, step, "");
                }
                Action::Input { session, bytes } => self.feed(session, &bytes),
                Action::Writable { .. } => {}
                Action::Closed { session } => {
                    self.guests.remove(&session);
                    self.sessions.retain(|_, other| *other != session);
                }
            }
        }
    }

    fn acknowledge(&mut self, station: MacAddress, tag: u8, sequence: u8) {
        let frame = Frame {
            destination: PORT_MAC,
            source: station,
            kind: Kind::Ack,
            tag: ConnectionTag(tag),
            sequence,
            payload: Payload::EMPTY,
        };
        self.server.receive(self.now, PORT, &frame.encode());
    }

    fn feed(&mut self, session: SessionId, mut bytes: &[u8]) {
        while let Some(guest) = self.guests.get_mut(&session)
            && !guest.over
            && !bytes.is_empty()
        {
            let secret = guest.mode == Mode::Secret;
            let Fed { taken, echo, event } = guest.editor.feed(bytes);
            bytes = &bytes[taken..];
            if secret {
                check_echo(&echo, &guest.prompt);
            }
            self.print(session, &echo);
            match event {
                None => {}
                Some(Event::Line(line)) => self.line(session, &line),
                Some(Event::Interrupt) => self.ask(session),
                Some(Event::End) => self.end(session),
                Some(event) => {
                    let guest = &self.guests[&session];
                    assert!(
                        guest.login.is_none(),
                        "{event:?} asks the shelf before anybody is in"
                    );
                }
            }
        }
    }

    fn line(&mut self, session: SessionId, line: &str) {
        let Some(guest) = self.guests.get_mut(&session) else {
            return;
        };
        let Some(login) = &mut guest.login else {
            // Somebody who is in gives commands, which are not the matter here.
            self.ask(session);
            return;
        };
        if guest.mode == Mode::Answer {
            let name = line.trim();
            name_or_admin(name).clone_into(&mut guest.name);
        }
        let step = login.line(self.now, &self.lockout, line, self.standing);
        if let Step::Check { user } = &step {
            assert_eq!(guest.mode, Mode::Secret, "a password that was seen");
            assert_eq!(*user, guest.name, "somebody else's password");
            let wait = wait_of(&self.records, guest.station, self.now);
            assert_eq!(wait, Duration::ZERO, "looked at too early");
            let role = role_of(user, line);
            self.check(session, role, line);
        } else {
            self.step(session, step, line);
        }
    }

    /// The password was looked at.
    fn check(&mut self, session: SessionId, role: Option<Role>, line: &str) {
        let Some(guest) = self.guests.get_mut(&session) else {
            return;
        };
        let record = self.records.entry(guest.station).or_default();
        if role.is_some() {
            *record = Record::default();
        } else {
            if self.now - record.last >= FORGOTTEN_AFTER {
                record.in_a_row = 0;
            }
            record.in_a_row += 1;
            record.last = self.now;
            guest.wrong += 1;
        }
        let login = guest.login.as_mut().expect("who is in types no password");
        let step = login.checked(self.now, &mut self.lockout, role, self.standing);
        match &step {
            Step::In {
                user,
                role: given,
                by_password,
                ..
            } => {
                assert!(*by_password && Some(*given) == role && *user == guest.name);
            }
            Step::End { .. } => assert!(role.is_none() && guest.wrong == ATTEMPTS_MAX),
            Step::Ask { .. } => assert!(role.is_none() && guest.wrong < ATTEMPTS_MAX),
            Step::Check { .. } => panic!("looked at twice"),
        }
        assert!(self.lockout.wait(self.now, guest.station) <= WAIT_MAX);
        self.step(session, step, line);
    }

    fn step(&mut self, session: SessionId, step: Step, typed: &str) {
        let Some(guest) = self.guests.get_mut(&session) else {
            return;
        };
        let (output, prompt, mode) = match step {
            Step::Ask {
                output,
                prompt,
                mode,
            } => (output, prompt, mode),
            Step::In { output, .. } => {
                assert!(!self.standing.is_open);
                guest.login = None;
                (output, "SR shelf 1> ".to_owned(), Mode::Command)
            }
            Step::End { output } => {
                self.print(session, to_terminal(&output).as_bytes());
                return self.end(session);
            }
            Step::Check { .. } => panic!("nobody has typed anything"),
        };
        // Words that are said anyway are no secrets.
        let is_secret = guest.mode == Mode::Secret && typed.len() >= 8;
        assert!(
            !is_secret || !output.contains(typed),
            "{output:?} tells {typed:?}"
        );
        (guest.mode, guest.prompt) = (mode, prompt);
        let mut echo = to_terminal(&output).into_bytes();
        let (prompt, mode) = (guest.prompt.clone(), guest.mode);
        echo.extend(guest.editor.begin(&prompt, mode));
        self.print(session, &echo);
    }

    /// The open question again.
    fn ask(&mut self, session: SessionId) {
        let Some(guest) = self.guests.get_mut(&session) else {
            return;
        };
        let step = match &guest.login {
            Some(login) => login.ask(String::new()),
            None => Step::Ask {
                output: String::new(),
                prompt: "SR shelf 1> ".to_owned(),
                mode: Mode::Command,
            },
        };
        self.step(session, step, "");
    }

    fn log_out(&mut self, session: SessionId) {
        let Some(guest) = self.guests.get_mut(&session).filter(|guest| !guest.over) else {
            return;
        };
        if guest.login.is_some() {
            return self.end(session);
        }
        let mut login = Login::new(guest.station);
        let step = login.begin("logged out\n".to_owned(), self.standing);
        guest.login = Some(login);
        guest.wrong = 0;
        ADMIN.clone_into(&mut guest.name);
        self.step(session, step, "");
    }

    fn end(&mut self, session: SessionId) {
        if let Some(guest) = self.guests.get_mut(&session) {
            guest.over = true;
        }
        self.server.close(self.now, session);
    }

    fn print(&mut self, session: SessionId, bytes: &[u8]) {
        // What does not fit is not the matter here.
        let taken = self.server.output(self.now, session, bytes);
        assert!(taken.unwrap_or(0) <= bytes.len());
    }

    /// Whoever has waited gets in, whatever went before.
    fn everybody_gets_in(&mut self) {
        self.pass(WAIT_MAX);
        let stations: Vec<MacAddress> = self.records.keys().copied().collect();
        for station in stations.into_iter().chain([mac(200)]) {
            let mut login = Login::new(station);
            login.begin(String::new(), self.standing);
            if self.standing.has_several {
                login.line(self.now, &self.lockout, ADMIN, self.standing);
            }
            let step = login.line(self.now, &self.lockout, "correct horse", self.standing);
            assert_eq!(
                step,
                Step::Check {
                    user: ADMIN.to_owned()
                },
                "{station} is locked out for good"
            );
        }
    }
}

fn mac(station: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 1, station])
}

fn name_or_admin(name: &str) -> &str {
    if name.is_empty() { ADMIN } else { name }
}

/// The rights of a user whose password this is.
fn role_of(user: &str, password: &str) -> Option<Role> {
    let right = |(name, secret, _): &&(&str, Option<&str>, Role)| {
        *name == user && *secret == Some(password)
    };
    USERS.iter().find(right).map(|(_, _, role)| *role)
}

/// What the model says of how long a station has to wait: 1, 2, 4 and 8 seconds, then 60 and twice as much
/// each time, up to [`WAIT_MAX`].
fn wait_of(records: &BTreeMap<MacAddress, Record>, station: MacAddress, now: Duration) -> Duration {
    let Some(record) = records.get(&station).filter(|record| record.in_a_row > 0) else {
        return Duration::ZERO;
    };
    let seconds = match record.in_a_row {
        in_a_row @ 1..=4 => 1 << (in_a_row - 1),
        in_a_row => 60u64.saturating_mul(1 << (in_a_row - 5).min(20)).min(900),
    };
    (record.last + Duration::from_secs(seconds)).saturating_sub(now)
}

/// Of what is shown while a password is typed nothing is a character but the question itself and the mark
/// of Ctrl-C.
fn check_echo(echo: &[u8], prompt: &str) {
    let text = String::from_utf8_lossy(echo)
        .replace(prompt, "")
        .replace("^C", "");
    // Moving the cursor takes letters, behind ESC.
    let mut shown = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => {
                let is_last = |c: &char| c.is_ascii_alphabetic();
                characters.find(is_last);
            }
            '\r' | '\n' | '\x07' | '\x08' | ' ' => {}
            other => shown.push(other),
        }
    }
    assert!(shown.is_empty(), "{shown:?} is shown of a password");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(house: &House, station: u8) -> bool {
        let session = house.sessions.get(&(mac(station), 5));
        session.is_some_and(|session| house.guests[session].login.is_none())
    }

    /// What is checked is reached: somebody guesses, waits and gets in, and others need not wait.
    #[test]
    fn the_stations_come_as_far_as_the_shelf_lets_them() {
        let mut house = House::new(false);
        house.type_keys(mac(1), 5, b"guess guess\r");
        assert_eq!(house.records[&mac(1)].in_a_row, 1);
        house.type_keys(mac(1), 5, b"correct horse\r");
        assert!(!is_in(&house, 1), "it has to wait for a second");
        house.type_keys(mac(2), 5, b"correct horse\r");
        assert!(is_in(&house, 2) && !is_in(&house, 1));
        house.pass(Duration::from_secs(1));
        house.type_keys(mac(1), 5, b"correct horse\r");
        assert!(is_in(&house, 1));
        house.log_out(house.sessions[&(mac(1), 5)]);
        assert!(!is_in(&house, 1));
        for _ in 0..3 {
            house.pass(Duration::from_secs(60));
            house.type_keys(mac(1), 5, b"guess guess\r");
        }
        assert!(
            !house.sessions.contains_key(&(mac(1), 5)),
            "three are enough"
        );
        house.everybody_gets_in();
    }

    #[test]
    fn users_get_in_by_their_own_names() {
        let mut house = House::new(true);
        house.type_keys(mac(1), 5, b"ann\rcorrect horse\r");
        assert!(!is_in(&house, 1));
        house.pass(Duration::from_secs(1));
        house.type_keys(mac(1), 5, b"ann\rBattery7 staple\r");
        assert!(is_in(&house, 1));
        house.type_keys(mac(2), 5, b"bob\r-\r");
        assert!(!is_in(&house, 2), "who has no password has no way in");
    }

    #[test]
    fn what_moves_the_cursor_is_no_part_of_a_password() {
        check_echo(b"\x07\r\nPassword: \x1b[2J\x1b[H^C\r\n", "Password: ");
        let told = std::panic::catch_unwind(|| check_echo(b"h", "Password: "));
        assert!(told.is_err());
    }
}

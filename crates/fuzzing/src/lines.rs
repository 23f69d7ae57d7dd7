//! Command lines of any bytes, on two consoles of a shelf with drives in memory.
//!
//! Lines are made of words that mean something, in places where they may not, or of anything at all; some are
//! typed key by key, through the line editor, as over the Ethernet console.
//!
//! Checked, after each line:
//! * what is said is text in whole lines without control characters; JSON is one document;
//! * an error says of which word it is, and a refusal has an error;
//! * nothing changes but by an accepted command of an administrator, or by those operands of a command that
//!   were done before one was refused; what a question was answered with other than yes changes nothing;
//! * who may only look changes nothing, and may list everything;
//! * after a stop in good order, and in the end after a power cut, everything is as it was.

pub mod house;
mod memory;
mod oracle;
mod words;

// The box is that of the console's own tests, so that there is one.
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the tests of the console, which need more of it"
)]
#[path = "../../console/tests/fake/host.rs"]
mod premises;

use aoe::MacAddress;
use arbitrary::Arbitrary;
use console::editor::{Editor, Event, Mode, to_terminal};
use console::protocol::{PromptKind, Request, Response};
use console::{Next, Session};
use house::{Disk, House, State};
use raid::Level;
use shelf::admin::{DriveRole, LunNumber};
use std::time::Duration;
use words::Line;

/// Sectors of a MiB.
const MIB: u64 = 2048;

/// Two of one size, one that is too small for anything, and one that carries something.
const DISKS: [Disk; 8] = [
    disk(2 * MIB, None),
    disk(2 * MIB, None),
    disk(2 * MIB + 128, None),
    disk(2 * MIB + 256, None),
    disk(3 * MIB, None),
    disk(3 * MIB + 128, None),
    disk(64, None),
    disk(2 * MIB, Some("an ext4 file system")),
];

/// Consoles.
const SESSIONS: usize = 2;

/// Steps of one input that are done; more of them find nothing new.
const STEPS_MAX: usize = 24;

const fn disk(sectors: u64, foreign: Option<&'static str>) -> Disk {
    Disk { sectors, foreign }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Line {
        session: bool,
        line: Line,
    },
    /// Text of any kind.
    Text {
        session: bool,
        text: String,
    },
    /// What is typed on a console, byte by byte.
    Keys {
        session: bool,
        keys: Vec<u8>,
    },
    /// The end of the input, or Ctrl-C.
    Cancel {
        session: bool,
    },
    /// Somebody who may only look.
    Look(Line),
    Passes,
    Tick {
        seconds: u16,
    },
    Restart {
        is_orderly: bool,
    },
    /// A host reserves a LUN.
    Reserve {
        lun: u8,
        host: u8,
    },
}

#[derive(Arbitrary, Debug)]
struct Input {
    steps: Vec<Step>,
}

/// A shelf, and what has been typed so far.
struct Scene {
    house: House,
    sessions: [Session; SESSIONS],
    editors: [Editor; SESSIONS],
    /// The question that is open, and whether its answer is a secret.
    asks: [Option<(String, bool)>; SESSIONS],
    /// What a start finds that was let go of: the next restart has it again.
    was_ejected: bool,
    uptime: Duration,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some(input) = crate::input::<Input>(data) else {
        return;
    };
    let mut scene = Scene {
        house: House::new(&DISKS),
        sessions: Default::default(),
        editors: Default::default(),
        asks: Default::default(),
        was_ejected: false,
        uptime: Duration::ZERO,
    };
    for step in input.steps.iter().take(STEPS_MAX) {
        scene.act(step);
    }
    scene.check_listings();
    scene.restart(true);
    scene.restart(false);
}

impl Scene {
    fn act(&mut self, step: &Step) {
        match step {
            Step::Line { session, line } => self.line(usize::from(*session), &line.text()),
            Step::Text { session, text } => self.line(usize::from(*session), text),
            Step::Keys { session, keys } => self.keys(usize::from(*session), keys),
            Step::Cancel { session } => self.cancel(usize::from(*session)),
            Step::Look(line) => self.look(&line.text()),
            Step::Passes => self.house.finish_passes(),
            Step::Tick { seconds } => {
                self.uptime += Duration::from_secs(u64::from(*seconds));
                self.house.tick(self.uptime);
            }
            Step::Restart { is_orderly } => self.restart(*is_orderly),
            Step::Reserve { lun, host } => {
                let station = MacAddress([2, 0, 0, 0, 1, *host]);
                if let Some(lun) = LunNumber::new(*lun % 4) {
                    self.house.reserve(lun, station);
                }
            }
        }
    }

    fn line(&mut self, index: usize, line: &str) {
        let before = self.house.state();
        let session = &mut self.sessions[index];
        let reply = self.house.line(session, line);
        let open = match &reply.next {
            Next::Answer { prompt, is_secret } => Some((prompt.clone(), *is_secret)),
            _ => None,
        };
        if let Some((prompt, _)) = &open {
            oracle::check_question(prompt);
        }
        let question = std::mem::replace(&mut self.asks[index], open);
        let now = self.house.state();
        let is_changed = now != before;
        self.was_ejected |= lets_go(&before, &now);
        oracle::check_output(&reply.output);
        match question {
            Some((_, true)) => assert!(!is_changed, "a secret changed the shelf"),
            Some((question, false)) => oracle::check_answer(&question, line, &reply, is_changed),
            None => oracle::check_command(line, &reply, is_changed),
        }
    }

    fn keys(&mut self, index: usize, keys: &[u8]) {
        let mut rest = keys;
        while !rest.is_empty() {
            let fed = self.editors[index].feed(rest);
            oracle::check_screen(&fed.echo);
            rest = &rest[fed.taken..];
            match fed.event {
                Some(Event::Line(line)) => {
                    self.line(index, &line);
                    let prompt = self.house.prompt(&self.sessions[index]);
                    let shown = self.editors[index].begin(&to_terminal(&prompt), Mode::Command);
                    oracle::check_screen(&shown);
                }
                Some(Event::Interrupt | Event::End) => self.cancel(index),
                Some(Event::Complete { line, cursor }) => {
                    let asked = Request::Complete { line, cursor };
                    let response = self.ask(index, &asked);
                    let completion = response.completion.unwrap_or_default();
                    oracle::check_screen(&self.editors[index].completed(&completion));
                }
                Some(Event::Help { line }) => {
                    let response = self.ask(index, &Request::Help(line));
                    oracle::check_output(&response.output);
                    oracle::check_screen(&self.editors[index].helped(&response.output));
                }
                None => {}
            }
        }
    }

    /// What is asked while a line is typed changes nothing, and leaves an open question open.
    fn ask(&mut self, index: usize, request: &Request) -> Response {
        let before = self.house.state();
        let response = self.house.request(&mut self.sessions[index], request);
        assert_eq!(self.house.state(), before, "{request:?} changed something");
        let is_asking = matches!(
            response.prompt.kind,
            PromptKind::Answer | PromptKind::Secret
        );
        // A request that is no answer drops the question, and says so.
        let was_asking = self.asks[index].is_some();
        assert!(is_asking || !was_asking || !response.ok, "{request:?}");
        if !is_asking {
            self.asks[index] = None;
        }
        response
    }

    fn cancel(&mut self, index: usize) {
        let before = self.house.state();
        let reply = self.sessions[index].cancel();
        self.asks[index] = None;
        oracle::check_output(&reply.output);
        assert_eq!(reply.next, Next::Command);
        assert_eq!(self.house.state(), before, "what is canceled is not done");
    }

    fn look(&mut self, line: &str) {
        let before = self.house.state();
        let reply = self.house.look(line);
        oracle::check_output(&reply.output);
        assert_eq!(
            self.house.state(),
            before,
            "{line:?} of a reader changed something"
        );
    }

    fn check_listings(&mut self) {
        for line in oracle::LISTINGS {
            let reply = self.house.look(line);
            oracle::check_output(&reply.output);
            assert!(reply.ok, "{line}: {}", reply.output);
        }
    }

    fn restart(&mut self, is_orderly: bool) {
        let before = self.house.state();
        self.house.restart(is_orderly);
        self.sessions = Default::default();
        self.asks = Default::default();
        self.uptime = Duration::ZERO;
        // Nothing but data is on the drive of a raw LUN.
        let mut parts = before.luns.iter().flat_map(|lun| &lun.parts);
        let has_raw = parts.any(|part| part.level == Level::Raw);
        if !std::mem::take(&mut self.was_ejected) && !has_raw {
            let after = self.house.state();
            oracle::check_restart(&forget_raw(before, &after), &after, is_orderly);
        }
    }
}

/// What was, without what only the running shelf knows: that a raw LUN which is gone had a drive. A start
/// looks at what is on that.
fn forget_raw(mut before: State, after: &State) -> State {
    for (drive, now) in before.drives.iter_mut().zip(&after.drives) {
        let is_left =
            matches!(&drive.role, DriveRole::Foreign(what) if what.starts_with("what raw LUN"));
        if is_left {
            drive.role = now.role.clone();
        }
    }
    before
}

/// Whether a LUN was let go of, which nothing records.
fn lets_go(before: &State, now: &State) -> bool {
    let is_let_go =
        |role: &DriveRole| matches!(role, DriveRole::Foreign(what) if what.starts_with("ejected"));
    now.luns.len() < before.luns.len() && now.drives.iter().any(|drive| is_let_go(&drive.role))
}

//! The Ethernet console on the ports where it is enabled.
//!
//! Two threads: `cec` feeds frames and time to the sans-I/O [`cec::Server`] and never waits for anything
//! else, so that packets are acknowledged in time; `cec-run` ([`guests`]) lets people in and runs their
//! commands, one after the other.
//!
//! Invariants: what is typed unseen is neither echoed nor remembered; a console that nobody types at for
//! [`Reception::idle_limit`] is logged out, if there is anything to log in with.

mod guests;

use super::reception::Reception;
use super::registry::Told;
use crate::host::Premises;
use crate::threads::spawn;
use aoe::Shelf;
use cec::{Action, Peer, PortIndex, SessionId};
use console::complete::Completion;
use console::editor::{Editor, Event, Mode, SEQUENCE, to_terminal};
use crossbeam::channel::{Sender, unbounded};
use port::RawSocket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Input that waits while a command runs; a client has one packet outstanding, so this is plenty.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// To the thread that serves the ports.
#[derive(Debug)]
pub(crate) enum Message {
    /// The console answers on another port.
    Attach(PortIndex, RawSocket),
    /// It answers on a port no more.
    Detach(PortIndex),
    /// A session is told something.
    Told(SessionId, Told),
    /// What was given to the other thread is done.
    Done(SessionId, Done),
    /// The shelf has this number.
    Shelf(Option<Shelf>),
}

/// To the thread that lets people in and runs commands.
#[derive(Debug)]
enum Job {
    Open(SessionId, Peer),
    Line(SessionId, String),
    GoOn(SessionId),
    Keys(SessionId, String),
    Cancel(SessionId),
    Complete(SessionId, String, usize),
    Help(SessionId, String),
    Logout(SessionId),
    Close(SessionId),
}

/// What came of a job.
#[derive(Debug)]
pub(crate) enum Done {
    /// Text, and what is waited for then.
    Said {
        /// Lines end in `\n`.
        output: String,
        next: Next,
        /// Somebody has logged in with a password, and may be logged out.
        is_locked: bool,
        /// How the terminal is to be used; `None` before somebody has come in.
        terminal: Option<console::terminal::Terminal>,
    },
    /// What may stand at the cursor.
    Completed(Completion),
    /// What may come there, in words.
    Helped(String),
}

/// What is waited for.
#[derive(Debug)]
pub(crate) enum Next {
    /// A line.
    Line { prompt: String, mode: Mode },
    /// Time.
    Later(Duration),
    /// Time, or keys.
    Keys(Duration),
    /// Nothing.
    End,
}

/// Opens the console on every port that has it.
pub(crate) fn serve(reception: &Reception, premises: &Premises) -> anyhow::Result<()> {
    reception.cec.set_shelf(premises.enter().admin().shelf());
    reception.cec.open_enabled();
    let (jobs, job_receiver) = unbounded();
    let mut guests = guests::Guests::new(reception, premises);
    spawn("cec-run", move || guests.run(&job_receiver))?;
    let mut door = Door {
        reception: reception.clone(),
        sockets: BTreeMap::new(),
        terminals: BTreeMap::new(),
        jobs,
        start: Instant::now(),
    };
    spawn("cec", move || door.run())
}

/// One session's terminal.
#[derive(Default)]
struct Terminal {
    editor: Editor,
    /// Typed while a command runs.
    input: Vec<u8>,
    /// Output that the server had no room for.
    output: Vec<u8>,
    busy: bool,
    over: bool,
    /// When the command that is not over goes on.
    later: Option<Duration>,
    /// That command takes keys, and is not ended by them.
    takes_keys: bool,
    typed_at: Duration,
    is_locked: bool,
    /// Events are shown: to those who have come in, and want to see them.
    shows_events: bool,
    /// When a sequence of keys that has begun is given up.
    sequence_until: Option<Duration>,
}

struct Door {
    reception: Reception,
    sockets: BTreeMap<PortIndex, RawSocket>,
    terminals: BTreeMap<SessionId, Terminal>,
    jobs: Sender<Job>,
    start: Instant,
}

impl Door {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn run(&mut self) {
        loop {
            self.receive();
            while let Ok(message) = self.reception.cec.messages().0.try_recv() {
                self.take(message);
            }
            let now = self.now();
            self.reception.cec.server().tick(now);
            self.act();
            self.go_on();
            self.log_out_the_idle();
            self.wait();
        }
    }

    fn receive(&mut self) {
        let mut frame = [0; 2048];
        let now = self.now();
        for (port, socket) in &mut self.sockets {
            loop {
                match socket.receive(&mut frame) {
                    Ok(Some(bytes)) => {
                        let mut server = self.reception.cec.server();
                        server.receive(now, *port, &frame[..bytes]);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!("cec: {error}");
                        break;
                    }
                }
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Attach(port, socket) => drop(self.sockets.insert(port, socket)),
            Message::Detach(port) => {
                self.reception.cec.server().detach(port);
                self.act();
                self.sockets.remove(&port);
            }
            Message::Shelf(shelf) => self.reception.cec.set_shelf(shelf),
            Message::Told(session, Told::Event(event)) => {
                if let Some(terminal) = self.terminals.get_mut(&session)
                    && terminal.shows_events
                {
                    let text = format!("{}\n", event.text);
                    let echo = terminal.editor.interject(&text);
                    self.push_output(session, &echo);
                }
            }
            Message::Told(session, Told::End(reason)) => {
                let now = self.now();
                let last_words = format!("\r\n{reason}\r\n");
                let mut server = self.reception.cec.server();
                server.hang_up(now, session, last_words.as_bytes());
            }
            Message::Done(session, done) => self.finish(session, done),
        }
    }

    fn act(&mut self) {
        loop {
            let action = self.reception.cec.server().next_action();
            let Some(action) = action else {
                return;
            };
            match action {
                Action::Transmit { port, frame } => {
                    // A lost frame is sent again by the protocol.
                    let sent = self
                        .sockets
                        .get_mut(&port)
                        .map(|socket| socket.send(&frame));
                    if let Some(Err(error)) = sent {
                        tracing::debug!("cec: {error}");
                    }
                }
                Action::Opened { session, peer } => self.open(session, peer),
                Action::Input { session, bytes } => {
                    let now = self.now();
                    if let Some(terminal) = self.terminals.get_mut(&session)
                        && terminal.input.len() < INPUT_BYTES_MAX
                    {
                        terminal.input.extend_from_slice(&bytes);
                        terminal.typed_at = now;
                    }
                    self.feed(session);
                }
                Action::Writable { session } => {
                    self.push_output(session, b"");
                    self.feed(session);
                }
                Action::Closed { session } => {
                    tracing::info!("cec session {session} ended");
                    self.terminals.remove(&session);
                    self.say(Job::Close(session));
                }
            }
        }
    }

    fn open(&mut self, session: SessionId, peer: Peer) {
        tracing::info!("cec session {session} from {}", peer.mac);
        let terminal = Terminal {
            busy: true,
            typed_at: self.now(),
            ..Terminal::default()
        };
        self.terminals.insert(session, terminal);
        self.give(session, Job::Open(session, peer));
    }

    /// Gives a job to the other thread, and takes no more input until it is done.
    fn give(&mut self, session: SessionId, job: Job) {
        if let Some(terminal) = self.terminals.get_mut(&session) {
            terminal.busy = true;
        }
        let now = self.now();
        self.reception.cec.server().set_busy(now, session, true);
        self.say(job);
    }

    fn say(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!("cec: nobody runs commands any more");
        }
    }

    /// Lets commands that are not over go on when it is time, and gives up keys that do not come.
    fn go_on(&mut self) {
        let now = self.now();
        let (mut due, mut tired) = (Vec::new(), Vec::new());
        for (session, terminal) in &mut self.terminals {
            if terminal.later.take_if(|at| *at <= now).is_some() {
                due.push(*session);
            }
            if terminal.sequence_until.take_if(|at| *at <= now).is_some() {
                terminal.editor.drop_sequence();
                // It was the key ESC, and any key ends what is watched.
                if terminal.later.take().is_some() {
                    tired.push(*session);
                }
            }
        }
        for session in due {
            self.say(Job::GoOn(session));
        }
        for session in tired {
            self.say(Job::Cancel(session));
        }
    }

    /// Whoever has not typed for long is logged out; whoever has not even logged in is shown the door.
    fn log_out_the_idle(&mut self) {
        let Some(limit) = self.reception.idle_limit() else {
            return;
        };
        let now = self.now();
        let is_idle = |terminal: &Terminal| {
            terminal.is_locked && !terminal.busy && now.saturating_sub(terminal.typed_at) >= limit
        };
        let idle = self
            .terminals
            .iter()
            .filter(|(_, terminal)| is_idle(terminal));
        let idle: Vec<SessionId> = idle.map(|(session, _)| *session).collect();
        for session in idle {
            if let Some(terminal) = self.terminals.get_mut(&session) {
                terminal.typed_at = now;
            }
            self.give(session, Job::Logout(session));
        }
    }

    /// Takes typed input up to the next command. Any key ends a command that goes on later, unless it takes
    /// keys itself; that the window has another size is no key. None is taken while output waits: a client
    /// that does not read gets no more to read.
    fn feed(&mut self, session: SessionId) {
        if let Some(terminal) = self.terminals.get_mut(&session)
            && !terminal.input.is_empty()
            && terminal.later.is_some()
        {
            let input = std::mem::take(&mut terminal.input);
            let is_pressed = terminal.editor.is_pressed(&input);
            let is_in_sequence = terminal.editor.is_in_sequence() && !is_pressed;
            terminal.sequence_until = is_in_sequence.then(|| self.start.elapsed() + SEQUENCE);
            if is_pressed {
                terminal.editor.drop_sequence();
            }
            if terminal.takes_keys {
                terminal.later = None;
                let typed = String::from_utf8_lossy(&input).into_owned();
                self.say(Job::Keys(session, typed));
            } else if is_pressed {
                terminal.later = None;
                self.say(Job::Cancel(session));
            }
            return;
        }
        while let Some(terminal) = self.terminals.get_mut(&session)
            && !terminal.busy
            && terminal.output.is_empty()
            && !terminal.input.is_empty()
        {
            let fed = terminal.editor.feed(&terminal.input);
            terminal.input.drain(..fed.taken);
            terminal.sequence_until = terminal
                .editor
                .is_in_sequence()
                .then(|| self.start.elapsed() + SEQUENCE);
            let job = match fed.event {
                None => None,
                Some(Event::Line(line)) => Some(Job::Line(session, line)),
                Some(Event::Interrupt) => Some(Job::Cancel(session)),
                Some(Event::Complete { line, cursor }) => {
                    Some(Job::Complete(session, line, cursor))
                }
                Some(Event::Help { line }) => Some(Job::Help(session, line)),
                Some(Event::End) => {
                    terminal.busy = true;
                    terminal.over = true;
                    self.push_output(session, &fed.echo);
                    return;
                }
            };
            self.push_output(session, &fed.echo);
            if let Some(job) = job {
                self.give(session, job);
            }
        }
    }

    fn finish(&mut self, session: SessionId, done: Done) {
        let now = self.now();
        let Some(terminal) = self.terminals.get_mut(&session) else {
            return;
        };
        let mut echo = Vec::new();
        let mut occupied = None;
        terminal.busy = false;
        match done {
            Done::Completed(completion) => echo = terminal.editor.completed(&completion),
            Done::Helped(text) => echo = terminal.editor.helped(&text),
            Done::Said {
                output,
                next,
                is_locked,
                terminal: wanted,
            } => {
                terminal.is_locked = is_locked;
                occupied = Some(wanted.is_some());
                terminal.shows_events = wanted.is_some_and(|wanted| wanted.shows_events);
                if let Some(wanted) = wanted {
                    let (rows, columns) = terminal.editor.size();
                    let rows = wanted.rows.unwrap_or(rows);
                    terminal
                        .editor
                        .resize(rows, wanted.columns.unwrap_or(columns));
                }
                echo.extend_from_slice(to_terminal(&output).as_bytes());
                terminal.takes_keys = matches!(next, Next::Keys(_));
                match next {
                    Next::Line { prompt, mode } => {
                        echo.extend(terminal.editor.begin(&prompt, mode));
                    }
                    Next::Later(after) | Next::Keys(after) => {
                        terminal.busy = true;
                        terminal.later = Some(now + after);
                    }
                    Next::End => {
                        terminal.busy = true;
                        terminal.over = true;
                    }
                }
            }
        }
        let is_running = terminal.later.is_some();
        self.push_output(session, &echo);
        let mut server = self.reception.cec.server();
        if let Some(occupied) = occupied {
            server.set_occupied(session, occupied);
        }
        server.set_busy(now, session, is_running);
        drop(server);
        self.feed(session);
    }

    /// Queues output, keeping what the server has no room for; closes the session behind the last of
    /// it when it is over.
    fn push_output(&mut self, session: SessionId, bytes: &[u8]) {
        let now = self.start.elapsed();
        let Some(terminal) = self.terminals.get_mut(&session) else {
            return;
        };
        terminal.output.extend_from_slice(bytes);
        let mut server = self.reception.cec.server();
        match server.output(now, session, &terminal.output) {
            Ok(taken) => drop(terminal.output.drain(..taken)),
            Err(_gone) => terminal.output.clear(),
        }
        if terminal.over && terminal.output.is_empty() {
            server.close(now, session);
        }
    }

    /// Sleeps until a frame, a message or a timer.
    fn wait(&self) {
        let now = self.now();
        let limit = self.reception.idle_limit();
        let timers = self.terminals.values().flat_map(|terminal| {
            let idle = limit.filter(|_| terminal.is_locked && !terminal.busy);
            [
                terminal.later,
                terminal.sequence_until,
                idle.map(|limit| terminal.typed_at + limit),
            ]
        });
        let deadline = self.reception.cec.server().deadline();
        let until = deadline
            .into_iter()
            .chain(timers.flatten())
            .min()
            .map_or(Duration::from_secs(60), |deadline| {
                deadline.saturating_sub(now)
            });
        let timeout = Timespec::try_from(until).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        let (_, wake) = self.reception.cec.messages();
        let mut fds: Vec<PollFd<'_>> = self
            .sockets
            .values()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        fds.push(PollFd::new(wake, PollFlags::IN));
        // Interrupted or not, the next turn looks at everything.
        let _ = poll(&mut fds, Some(&timeout));
        let mut count = [0; 8];
        // It fails only when nobody rang.
        let _ = rustix::io::read(wake, &mut count);
    }
}

//! The Ethernet console on the ports that have `cec = true`.
//!
//! Two threads: `cec` feeds frames and time to the sans-I/O [`Server`] and never waits for anything
//! else, so that packets are acknowledged in time; `cec-run` runs the commands, one after the other.

use crate::config::Config;
use crate::host::Premises;
use crate::threads::spawn;
use anyhow::Context;
use aoe::Shelf;
use cec::{Action, Identity, PortIndex, Server, SessionId};
use console::complete::{Completion, complete, help};
use console::editor::{Editor, Event, Mode, SEQUENCE, to_terminal};
use console::host::{Caller, DoorKind, Role};
use console::session::{Next, Session};
use crossbeam::channel::{Receiver, Sender, unbounded};
use port::RawSocket;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use shelf::admin::Admin;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a probe shows beside the number.
const NAME: &str = "ledge";

/// Input that waits while a command runs; a client has one packet outstanding, so this is plenty.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// To the thread that runs commands.
enum Job {
    Open(SessionId, Caller),
    Line(SessionId, String),
    /// What may stand at the cursor of a line?
    Complete(SessionId, String, usize),
    /// What may come after what is typed?
    Help(SessionId, String),
    GoOn(SessionId),
    Cancel(SessionId),
    Close(SessionId),
}

/// From the thread that runs commands.
struct Done {
    session: SessionId,
    said: Said,
    /// The session is over.
    over: bool,
    /// The command is not: when it goes on.
    later: Option<Duration>,
    shelf: Option<Shelf>,
}

/// What a job has to say.
enum Said {
    /// Output, and what is asked next, unless the command is not over or the session is.
    Output(String, Option<(String, Mode)>),
    /// The line that is being typed goes on.
    Completion(Completion),
    Help(String),
}

/// Opens the console on every port that has it.
pub(crate) fn serve(config: &Config, premises: &Premises) -> anyhow::Result<()> {
    let mut sockets = Vec::new();
    for port in config.ports.iter().filter(|port| port.cec) {
        match RawSocket::open(&port.interface, cec::ETHERTYPE) {
            Ok(socket) => sockets.push(socket),
            Err(error) => tracing::error!("no Ethernet console on {}: {error}", port.interface),
        }
    }
    if sockets.is_empty() {
        return Ok(());
    }
    let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).context("cec")?);
    let (jobs, job_receiver) = unbounded();
    let (done_sender, done) = unbounded();
    let shelf = premises.enter().manager().shelf();
    let runner_wake = Arc::clone(&wake);
    let premises = premises.clone();
    spawn("cec-run", move || {
        run_jobs(&job_receiver, &done_sender, &runner_wake, &premises);
    })?;
    let mut server = Server::new(Identity::new(shelf, NAME));
    for (index, socket) in sockets.iter().enumerate() {
        server.attach(PortIndex(index), socket.mac());
    }
    let terminals = BTreeMap::new();
    let start = Instant::now();
    let mut door = Door {
        server,
        sockets,
        terminals,
        jobs,
        done,
        wake,
        start,
        shelf,
    };
    spawn("cec", move || door.run())
}

fn run_jobs(jobs: &Receiver<Job>, done: &Sender<Done>, wake: &OwnedFd, premises: &Premises) {
    let mut sessions = BTreeMap::new();
    for job in jobs {
        let Some(finished) = run_job(job, &mut sessions, premises) else {
            continue;
        };
        if done.send(finished).is_err() {
            return;
        }
        // It fails only when the count is at its limit: then the other thread is awake.
        let _ = rustix::io::write(wake, &1u64.to_le_bytes());
    }
}

/// Runs one job; `None` when nobody waits for its end.
fn run_job(
    job: Job,
    sessions: &mut BTreeMap<SessionId, (Session, Caller)>,
    premises: &Premises,
) -> Option<Done> {
    let (Job::Open(id, _)
    | Job::Line(id, _)
    | Job::Complete(id, ..)
    | Job::Help(id, _)
    | Job::GoOn(id)
    | Job::Cancel(id)
    | Job::Close(id)) = job;
    if let Job::Open(_, who) = &job {
        let session = Session::new(super::session_options());
        sessions.insert(id, (session, who.clone()));
    }
    if matches!(job, Job::Close(_)) {
        sessions.remove(&id);
        return None;
    }
    let (session, who) = sessions.get_mut(&id)?;
    let mut entered = premises.enter();
    let mut world = entered.world(who);
    let mut done = Done {
        session: id,
        said: Said::Output(String::new(), None),
        over: false,
        later: None,
        shelf: world.admin.shelf(),
    };
    let reply = match job {
        Job::Complete(_, line, cursor) => {
            done.said = Said::Completion(complete(&line, cursor, world.admin));
            return Some(done);
        }
        Job::Help(_, line) => {
            done.said = Said::Help(help(&line, world.admin));
            return Some(done);
        }
        Job::Line(_, line) => session.line(&mut world, &line),
        Job::GoOn(_) => session.go_on(&mut world),
        Job::Open(..) | Job::Cancel(_) | Job::Close(_) => session.cancel(),
    };
    let mode = match reply.next {
        Next::Command => Some(Mode::Command),
        Next::Answer {
            is_secret: false, ..
        } => Some(Mode::Answer),
        Next::Answer {
            is_secret: true, ..
        } => Some(Mode::Secret),
        Next::Later { after } => {
            done.later = Some(after);
            None
        }
        Next::End => {
            done.over = true;
            None
        }
    };
    let prompt = mode.map(|mode| (session.prompt(&world), mode));
    done.said = Said::Output(reply.output, prompt);
    done.shelf = world.admin.shelf();
    Some(done)
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
    /// When an escape sequence that has begun was the key ESC.
    lone_escape: Option<Duration>,
}

struct Door {
    server: Server,
    sockets: Vec<RawSocket>,
    terminals: BTreeMap<SessionId, Terminal>,
    jobs: Sender<Job>,
    done: Receiver<Done>,
    wake: Arc<OwnedFd>,
    start: Instant,
    shelf: Option<Shelf>,
}

impl Door {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn run(&mut self) {
        loop {
            self.receive();
            while let Ok(done) = self.done.try_recv() {
                self.finish(done);
            }
            let now = self.now();
            self.server.tick(now);
            self.act();
            self.go_on();
            self.wait();
        }
    }

    fn receive(&mut self) {
        let mut frame = [0; 2048];
        let now = self.now();
        for (index, socket) in self.sockets.iter_mut().enumerate() {
            loop {
                match socket.receive(&mut frame) {
                    Ok(Some(bytes)) => self.server.receive(now, PortIndex(index), &frame[..bytes]),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!("cec: {error}");
                        break;
                    }
                }
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.server.next_action() {
            match action {
                Action::Transmit { port, frame } => {
                    // A lost frame is sent again by the protocol.
                    if let Err(error) = self.sockets[port.0].send(&frame) {
                        tracing::debug!("cec: {error}");
                    }
                }
                Action::Opened { session, peer } => {
                    tracing::info!("cec session {session} from {}", peer.mac);
                    self.terminals.insert(
                        session,
                        Terminal {
                            busy: true,
                            ..Terminal::default()
                        },
                    );
                    self.server.set_busy(self.start.elapsed(), session, true);
                    let who = Caller {
                        user: "admin".to_owned(),
                        role: Role::Admin,
                        door: DoorKind::Ethernet,
                        address: peer.mac.to_string(),
                    };
                    self.say(Job::Open(session, who));
                }
                Action::Input { session, bytes } => {
                    if let Some(terminal) = self.terminals.get_mut(&session)
                        && terminal.input.len() < INPUT_BYTES_MAX
                    {
                        terminal.input.extend_from_slice(&bytes);
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

    fn say(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!("cec: nobody runs commands any more");
        }
    }

    /// Lets commands that are not over go on when it is time.
    fn go_on(&mut self) {
        let now = self.now();
        for (session, terminal) in &mut self.terminals {
            if terminal.lone_escape.take_if(|at| *at <= now).is_some() {
                terminal.editor.drop_sequence();
            }
            if terminal.later.take_if(|at| *at <= now).is_some()
                && self.jobs.send(Job::GoOn(*session)).is_err()
            {
                tracing::error!("cec: nobody runs commands any more");
            }
        }
    }

    /// Takes typed input up to the next command. Any key ends a command that goes on later. None is taken
    /// while output waits: a client that does not read gets no more to read.
    fn feed(&mut self, session: SessionId) {
        if let Some(terminal) = self.terminals.get_mut(&session)
            && !terminal.input.is_empty()
            && terminal.later.take().is_some()
        {
            terminal.input.clear();
            self.say(Job::Cancel(session));
            return;
        }
        while let Some(terminal) = self.terminals.get_mut(&session)
            && !terminal.busy
            && terminal.output.is_empty()
            && !terminal.input.is_empty()
        {
            let fed = terminal.editor.feed(&terminal.input);
            terminal.input.drain(..fed.taken);
            let is_in_sequence = terminal.editor.is_in_sequence();
            terminal.lone_escape = is_in_sequence.then(|| self.start.elapsed() + SEQUENCE);
            let job = match fed.event {
                None => None,
                Some(Event::Complete { line, cursor }) => {
                    Some(Job::Complete(session, line, cursor))
                }
                Some(Event::Help { line }) => Some(Job::Help(session, line)),
                Some(Event::Line(line)) => Some(Job::Line(session, line)),
                Some(Event::Interrupt) => Some(Job::Cancel(session)),
                Some(Event::End) => {
                    terminal.busy = true;
                    terminal.over = true;
                    self.push_output(session, &fed.echo);
                    return;
                }
            };
            terminal.busy = job.is_some();
            self.push_output(session, &fed.echo);
            if let Some(job) = job {
                self.server.set_busy(self.start.elapsed(), session, true);
                self.say(job);
            }
        }
    }

    fn finish(&mut self, done: Done) {
        if done.shelf != self.shelf {
            self.shelf = done.shelf;
            self.server.set_identity(Identity::new(done.shelf, NAME));
        }
        let Some(terminal) = self.terminals.get_mut(&done.session) else {
            return;
        };
        terminal.busy = done.over || done.later.is_some();
        terminal.over = done.over;
        terminal.later = done.later.map(|after| self.start.elapsed() + after);
        let text = match done.said {
            Said::Output(output, prompt) => {
                let mut text = to_terminal(&output).into_bytes();
                if let Some((prompt, mode)) = prompt {
                    text.extend(terminal.editor.begin(&prompt, mode));
                }
                text
            }
            Said::Completion(completion) => terminal.editor.completed(&completion),
            Said::Help(text) => terminal.editor.helped(&text),
        };
        self.push_output(done.session, &text);
        self.server
            .set_busy(self.start.elapsed(), done.session, done.later.is_some());
        self.feed(done.session);
    }

    /// Queues output, keeping what the server has no room for; closes the session behind the last of
    /// it when it is over.
    fn push_output(&mut self, session: SessionId, bytes: &[u8]) {
        let now = self.start.elapsed();
        let Some(terminal) = self.terminals.get_mut(&session) else {
            return;
        };
        terminal.output.extend_from_slice(bytes);
        match self.server.output(now, session, &terminal.output) {
            Ok(taken) => drop(terminal.output.drain(..taken)),
            Err(_gone) => terminal.output.clear(),
        }
        if terminal.over && terminal.output.is_empty() {
            self.server.close(now, session);
        }
    }

    /// Sleeps until a frame, a finished command or a timer.
    fn wait(&self) {
        let timers = |terminal: &Terminal| terminal.later.into_iter().chain(terminal.lone_escape);
        let later = self.terminals.values().flat_map(timers).min();
        let until = self
            .server
            .deadline()
            .into_iter()
            .chain(later)
            .min()
            .map_or(Duration::from_secs(60), |deadline| {
                deadline.saturating_sub(self.now())
            });
        let timeout = Timespec::try_from(until).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        let mut fds: Vec<PollFd<'_>> = self
            .sockets
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        fds.push(PollFd::new(&*self.wake, PollFlags::IN));
        // Interrupted or not, the next turn looks at everything.
        let _ = poll(&mut fds, Some(&timeout));
        let mut count = [0; 8];
        // It fails only when nobody rang.
        let _ = rustix::io::read(&*self.wake, &mut count);
    }
}

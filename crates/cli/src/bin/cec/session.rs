//! One session: joins keyboard, screen and wire to a [`cec::Client`].

use crate::keyboard::{Keyboard, Typed};
use crate::link::{Link, Ready, Stopped};
use crate::options::Options;
use anyhow::Result;
use cec::{Client, ClientAction, ConnectionTag, Ending, Offer};
use cli::terminal::{RawTerminal, read_stdin, size, write_stdout};
use rustix::termios::isatty;
use std::collections::VecDeque;
use std::io::{stdin, stdout};
use std::time::Duration;

/// Keys taken at once from the terminal.
const READ_BYTES: usize = 4096;

/// How the name of a shelf begins that is one of ours. Others would take for typed what tells them the size.
const LEDGE: &str = "ledge";

struct Session<'a> {
    link: &'a mut Link,
    options: &'a Options,
    client: Client,
    keyboard: Keyboard,
    /// Output that the terminal or pipe cannot take yet. The shelf's packets are acknowledged all
    /// the same: it would give them up after 3 s.
    screen: VecDeque<u8>,
    terminal: Option<RawTerminal>,
    open: bool,
    at_end_of_input: bool,
    ending: Option<Ending>,
    /// The shelf understands how large the terminal is.
    tells_size: bool,
    /// What it was told.
    size: Option<(usize, usize)>,
}

/// Connects to the port of a shelf that made the offer, and lives until the session ends.
pub(crate) fn run(
    link: &mut Link,
    options: &Options,
    offer: &Offer,
    tag: ConnectionTag,
) -> Result<Ending> {
    options.chat("connecting ... ");
    let client = Client::connect(link.now(), link.mac(), offer.mac, tag, options.wait());
    let mut session = Session {
        link,
        options,
        client,
        keyboard: Keyboard::new(options.escape),
        screen: VecDeque::new(),
        terminal: None,
        open: false,
        at_end_of_input: false,
        ending: None,
        tells_size: offer.name.starts_with(LEDGE) && isatty(stdin()) && isatty(stdout()),
        size: None,
    };
    let ending = session.run();
    if let Err(error) = &ending
        && error.is::<Stopped>()
    {
        // The shelf would not notice our end by itself.
        session.client.leave();
        session.perform()?;
    }
    ending
}

impl Session<'_> {
    fn run(&mut self) -> Result<Ending> {
        loop {
            self.perform()?;
            if let Some(ending) = self.ending.filter(|_| self.screen.is_empty()) {
                return Ok(ending);
            }
            let ready = self.wait()?;
            if ready.stdout {
                let written = write_stdout(self.screen.make_contiguous())?;
                self.screen.drain(..written);
            }
            while let Some(frame) = self.link.receive()? {
                self.client.receive(self.link.now(), &frame);
                self.perform()?;
            }
            if ready.stdin {
                self.read()?;
            }
            self.tell_size();
            self.feed();
            self.client.tick(self.link.now());
        }
    }

    /// Does what the client asks for.
    fn perform(&mut self) -> Result<()> {
        while let Some(action) = self.client.next_action() {
            match action {
                ClientAction::Transmit(frame) => self.link.send(&frame)?,
                ClientAction::Output(bytes) => self.screen.extend(bytes),
                ClientAction::Closed(ending) => self.ending = Some(ending),
                ClientAction::Opened => {
                    let escape = self.options.escape;
                    self.options.chat(&format!("done.\nEscape is {escape}\n"));
                    self.terminal = RawTerminal::enter()?;
                    self.open = true;
                }
            }
        }
        Ok(())
    }

    /// Tells the shelf how large the terminal is, at first and when that has changed: as keys, which is all
    /// that the protocol carries, in the form in which terminals tell it.
    fn tell_size(&mut self) {
        let size = size().filter(|_| self.open && self.tells_size && self.ending.is_none());
        if let Some((rows, columns)) = size.filter(|size| self.size != Some(*size)) {
            let report = format!("\x1b[8;{rows};{columns}t");
            if self.client.room_bytes() >= report.len() {
                self.client.input(self.link.now(), report.as_bytes());
                self.size = size;
            }
        }
    }

    fn wait(&self) -> Result<Ready> {
        let wanted = Ready {
            stdin: self.open
                && self.ending.is_none()
                && !self.at_end_of_input
                && self.keyboard.is_empty(),
            stdout: !self.screen.is_empty(),
        };
        let deadline = self.client.deadline().unwrap_or(Duration::MAX);
        let limit = deadline.saturating_sub(self.link.now());
        self.link.wait_for(wanted, limit)
    }

    fn read(&mut self) -> Result<()> {
        let bytes = read_stdin(READ_BYTES)?;
        self.at_end_of_input = bytes.is_empty();
        self.keyboard.push(&bytes);
        Ok(())
    }

    /// Hands what was typed to the client, as much as it takes.
    fn feed(&mut self) {
        loop {
            let room_bytes = self.client.room_bytes();
            let delivered = self.client.is_input_delivered();
            let Some(typed) = self.keyboard.next(room_bytes, delivered) else {
                break;
            };
            match typed {
                Typed::Input(bytes) => {
                    self.client.input(self.link.now(), &bytes);
                }
                Typed::Menu => eprint!(">>> "),
                Typed::Unknown => eprint!(
                    "\r\nq: quit, i: send {}, .: continue\r\n>>> ",
                    self.options.escape
                ),
                Typed::Continue => eprint!(".\r\n"),
                Typed::Quit => {
                    eprint!("q\r\n");
                    self.client.leave();
                    return;
                }
            }
        }
        if self.at_end_of_input && self.keyboard.is_empty() {
            self.client.finish_input(self.link.now());
        }
    }
}

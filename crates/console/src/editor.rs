//! The line discipline of a raw terminal: bytes in, bytes to show and lines out. It serves both doors: the
//! Ethernet console, whose client sends every key as it is typed, without echo, and `ledge` on a terminal.
//!
//! * Keys: as readline has them. Ctrl-A E B F and arrows, Home, End, words with Ctrl or Alt; BS, DEL, Ctrl-D,
//!   Ctrl-W U K Y; Ctrl-P N or arrows for older lines, Ctrl-R to search them; Ctrl-L for a clear screen; Tab
//!   completes, and tells what there is when pressed again; `?` tells what may come, but within quotes.
//! * CR, LF and CR LF end a line. Ctrl-C drops it. Ctrl-D on an empty line ends the session.
//! * What is asked of the world (completion, help) is an [`Event`]; the line stays, and the answer is given
//!   to [`Editor::completed`] or [`Editor::helped`].
//! * A message from elsewhere goes above the line ([`Editor::interject`]), never into it.
//!
//! Invariants: a line never exceeds [`LINE_BYTES_MAX`], beyond which the bell rings; a finished line has no
//! control characters; input is taken up to the first event only, so that echo and output of pasted lines
//! come in order, and how input is split does not matter; what is typed at the end of a line is echoed as it
//! is, which is what programs wait for that type commands; nothing of a secret is echoed, remembered or told
//! by `Debug`.
//!
//! Whole line editors (rustyline, reedline, linefeed) own the terminal of their process and cannot serve
//! frames of a hundred sessions; noline asks the terminal where its cursor is before each line, which a pipe
//! behind a client never answers, and completes nothing. So the parts come from libraries without I/O, keys
//! from `vte`, the line from `tui-input`, widths from `unicode-width`, and are joined here.

mod history;
pub(crate) mod keys;
mod screen;

use crate::complete::{self, Completion};
use crate::terminal::as_page;
use history::History;
use keys::{Key, KeyReader};
use screen::{CLEAR, ERASE_BELOW, Place, go, in_columns, place, settle};
use std::fmt;
use std::time::Duration;
use tui_input::{Input, InputRequest};

/// Longest line in bytes; more than a line that names every drive of a shelf needs.
pub const LINE_BYTES_MAX: usize = 4096;

/// How long to wait for the rest of an escape sequence: a network or a serial line may bring its bytes one
/// by one, nobody types that fast.
pub const SEQUENCE: Duration = Duration::from_millis(50);

/// A terminal that does not tell its size.
const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// No terminal is smaller, and one that says so is not believed.
const COLUMNS_MIN: usize = 20;
const SIZE_MAX: usize = 1000;

/// More candidates than this are not listed.
const CANDIDATES_MAX: usize = 200;

const BELL: u8 = 0x07;

/// What finished a call of [`Editor::feed`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A line, without its end.
    Line(String),
    /// Ctrl-C: what was typed is gone, and an open question is answered no.
    Interrupt,
    /// Ctrl-D on an empty line: the session is to end.
    End,
    /// Tab: what may stand at the cursor? The answer goes to [`Editor::completed`].
    Complete {
        /// What is typed.
        line: String,
        /// Where the cursor is, in bytes.
        cursor: usize,
    },
    /// `?`: what may come here? The answer goes to [`Editor::helped`].
    Help {
        /// What is typed before the cursor.
        line: String,
    },
}

/// What a call of [`Editor::feed`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fed {
    /// How many bytes of the input were taken. The rest is to be fed again after the event was
    /// dealt with.
    pub taken: usize,
    /// What to send back to the terminal.
    pub echo: Vec<u8>,
    /// What the input amounted to; `None` when all of it was taken and no line is finished.
    pub event: Option<Event>,
}

/// What is being typed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Mode {
    /// A command: with history, completion and help.
    #[default]
    Command,
    /// The answer to a question.
    Answer,
    /// A password: nothing of it is shown or kept.
    Secret,
}

/// The state of one terminal.
pub struct Editor {
    keys: KeyReader,
    mode: Mode,
    prompt: String,
    input: Input,
    /// What Ctrl-W, U or K took, for Ctrl-Y.
    killed: String,
    history: History,
    search: Option<Search>,
    columns: usize,
    rows: usize,
    has_told_size: bool,
    painted: Painted,
    /// Prompt and line are on the screen.
    is_shown: bool,
    /// Tab was the last key, and did nothing: the next one lists.
    after_tab: bool,
}

/// A search for an older line.
#[derive(Debug)]
struct Search {
    wanted: String,
    /// Which line of the history is shown.
    index: usize,
    /// What was typed before.
    typed: String,
}

/// What is on the screen.
#[derive(Clone, Default, Debug)]
struct Painted {
    prompt: String,
    text: String,
    cursor: Place,
    end: Place,
    /// The cursor stays on the last column: see [`settle`].
    is_unsettled: bool,
}

impl Default for Editor {
    fn default() -> Self {
        Self {
            keys: KeyReader::default(),
            mode: Mode::default(),
            prompt: String::new(),
            input: Input::default(),
            killed: String::new(),
            history: History::default(),
            search: None,
            columns: COLUMNS,
            rows: ROWS,
            has_told_size: false,
            painted: Painted::default(),
            is_shown: false,
            after_tab: false,
        }
    }
}

impl fmt::Debug for Editor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Editor")
            .field("mode", &self.mode)
            .field("prompt", &self.prompt)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl Editor {
    /// An editor with an empty line and no prompt, for a terminal of 80 columns.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is typed so far.
    #[must_use]
    pub fn typed(&self) -> &str {
        self.input.value()
    }

    /// Rows and columns of the terminal.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Whether the terminal has told its size, by `ESC [ 8 ; rows ; columns t`: there is one, and it
    /// understands more than text.
    #[must_use]
    pub fn has_told_size(&self) -> bool {
        self.has_told_size
    }

    /// The size of the terminal, from the next line on. Sizes that no terminal has are left out.
    pub fn resize(&mut self, rows: usize, columns: usize) {
        if (COLUMNS_MIN..=SIZE_MAX).contains(&columns) {
            self.columns = columns;
        }
        if (1..=SIZE_MAX).contains(&rows) {
            self.rows = rows;
        }
    }

    /// Begins a line. Returns what to print.
    pub fn begin(&mut self, prompt: &str, mode: Mode) -> Vec<u8> {
        self.mode = mode;
        prompt.clone_into(&mut self.prompt);
        self.input.reset();
        self.search = None;
        self.show()
    }

    /// Takes input up to the end of the first line or other event.
    pub fn feed(&mut self, input: &[u8]) -> Fed {
        let mut echo = Vec::new();
        for (index, byte) in input.iter().enumerate() {
            for key in self.keys.take(*byte) {
                if let Some(event) = self.key(key, &mut echo) {
                    return Fed {
                        taken: index + 1,
                        echo,
                        event: Some(event),
                    };
                }
            }
        }
        Fed {
            taken: input.len(),
            echo,
            event: None,
        }
    }

    /// Takes what comes while no line is typed but a command goes on; whether a key was pressed. That a
    /// terminal tells its size is none, and neither is a sequence that is not complete.
    pub fn is_pressed(&mut self, input: &[u8]) -> bool {
        let mut is_pressed = false;
        for byte in input {
            for key in self.keys.take(*byte) {
                if let Key::Size { rows, columns } = key {
                    self.has_told_size = true;
                    self.resize(rows, columns);
                } else {
                    is_pressed = true;
                }
            }
        }
        is_pressed
    }

    /// Whether input has stopped within an escape sequence: if nothing follows in [`SEQUENCE`],
    /// [`Editor::drop_sequence`] is to be called.
    #[must_use]
    pub fn is_in_sequence(&self) -> bool {
        self.keys.in_sequence()
    }

    /// Nothing followed: it was the key ESC, which does nothing.
    pub fn drop_sequence(&mut self) {
        self.keys.reset();
    }

    /// Prints text above the line that is being typed, and the line again below it; as it is while no line
    /// is on the screen.
    pub fn interject(&mut self, text: &str) -> Vec<u8> {
        let mut echo = Vec::new();
        if self.is_shown {
            self.go_to(Place::default(), &mut echo);
            echo.extend_from_slice(ERASE_BELOW);
        }
        echo.extend_from_slice(to_terminal(text).as_bytes());
        if self.is_shown {
            echo.extend(self.show());
        }
        echo
    }

    /// Takes the answer to [`Event::Complete`].
    pub fn completed(&mut self, completion: &Completion) -> Vec<u8> {
        let mut echo = Vec::new();
        let listed = std::mem::take(&mut self.after_tab);
        let line = self.typed().to_owned();
        let cursor = self.cursor();
        let word = line.get(completion.start..cursor);
        let (Some(word), Some(insertion)) = (word, completion.insertion()) else {
            echo.push(BELL);
            return echo;
        };
        let is_longer =
            insertion != word && line.len() - word.len() + insertion.len() <= LINE_BYTES_MAX;
        if is_longer {
            let mut changed = format!("{}{insertion}", &line[..completion.start]);
            let at = changed.chars().count();
            changed.push_str(&line[cursor..]);
            self.input = Input::new(changed).with_cursor(at);
            self.paint(&mut echo);
        } else if listed && completion.candidates.len() > 1 {
            echo.extend(self.below(&self.list(completion)));
        } else {
            self.after_tab = true;
            echo.push(BELL);
        }
        echo
    }

    /// Takes the answer to [`Event::Help`].
    pub fn helped(&mut self, text: &str) -> Vec<u8> {
        self.below(&to_terminal(text))
    }

    /// Prints text below the line, and the line again below that.
    fn below(&mut self, text: &str) -> Vec<u8> {
        let mut echo = Vec::new();
        self.leave_line(&mut echo);
        echo.extend_from_slice(text.as_bytes());
        echo.extend(self.show());
        echo
    }

    fn list(&self, completion: &Completion) -> String {
        let shown = completion.candidates.iter().take(CANDIDATES_MAX);
        let words: Vec<&str> = shown.map(|candidate| candidate.label.as_str()).collect();
        let mut text = in_columns(&words, self.columns);
        let left = completion.candidates.len() - words.len();
        if left > 0 {
            text.push_str(&format!("and {left} more\r\n"));
        }
        text
    }

    fn key(&mut self, key: Key, echo: &mut Vec<u8>) -> Option<Event> {
        let after_tab = std::mem::take(&mut self.after_tab);
        if let Key::Size { rows, columns } = key {
            self.has_told_size = true;
            self.resize(rows, columns);
            return None;
        }
        if self.search.is_some() && self.search_key(key, echo) {
            return None;
        }
        let event = match key {
            Key::Enter => {
                let line = self.input.value().to_owned();
                if self.mode == Mode::Command {
                    self.history.add(&line);
                }
                Event::Line(line)
            }
            Key::Ctrl('C') => {
                self.leave_line_with(b"^C", echo);
                self.end_line();
                return Some(Event::Interrupt);
            }
            Key::Ctrl('D') if self.input.value().is_empty() => Event::End,
            Key::Tab if self.mode == Mode::Command => {
                self.after_tab = after_tab;
                return Some(Event::Complete {
                    line: self.typed().to_owned(),
                    cursor: self.cursor(),
                });
            }
            Key::Char('?') if self.mode == Mode::Command && !complete::is_quoted(self.before()) => {
                let line = self.before().to_owned();
                return Some(Event::Help { line });
            }
            _ => {
                if !self.edit(key, echo) {
                    echo.push(BELL);
                }
                self.paint(echo);
                return None;
            }
        };
        self.leave_line(echo);
        self.end_line();
        Some(event)
    }

    /// Changes the line, or moves in it; `false` when there is nothing to do.
    fn edit(&mut self, key: Key, echo: &mut Vec<u8>) -> bool {
        let request = match key {
            Key::Char(character) => return self.insert(character.encode_utf8(&mut [0; 4])),
            Key::Left | Key::Ctrl('B') => InputRequest::GoToPrevChar,
            Key::Right | Key::Ctrl('F') => InputRequest::GoToNextChar,
            Key::WordLeft | Key::Alt('b') => InputRequest::GoToPrevWord,
            Key::WordRight | Key::Alt('f') => InputRequest::GoToNextWord,
            Key::Home | Key::Ctrl('A') => InputRequest::GoToStart,
            Key::End | Key::Ctrl('E') => InputRequest::GoToEnd,
            Key::Backspace => InputRequest::DeletePrevChar,
            Key::Delete | Key::Ctrl('D') => InputRequest::DeleteNextChar,
            Key::Ctrl('W') => return self.kill(self.word_start(), self.cursor()),
            Key::Ctrl('U') => return self.kill(0, self.cursor()),
            Key::Ctrl('K') => return self.kill(self.cursor(), self.typed().len()),
            Key::Ctrl('Y') => {
                let killed = self.killed.clone();
                return self.insert(&killed);
            }
            Key::Up | Key::Ctrl('P') => return self.walk(true),
            Key::Down | Key::Ctrl('N') => return self.walk(false),
            Key::Ctrl('R') if self.mode == Mode::Command => {
                self.begin_search();
                return true;
            }
            Key::Ctrl('L') => {
                echo.extend_from_slice(CLEAR);
                echo.extend(self.show());
                return true;
            }
            _ => return false,
        };
        let is_move = matches!(
            request,
            InputRequest::GoToPrevChar
                | InputRequest::GoToNextChar
                | InputRequest::GoToPrevWord
                | InputRequest::GoToNextWord
                | InputRequest::GoToStart
                | InputRequest::GoToEnd
        );
        self.input.handle(request).is_some() || is_move
    }

    fn insert(&mut self, text: &str) -> bool {
        if self.typed().len() + text.len() > LINE_BYTES_MAX {
            return false;
        }
        for character in text.chars() {
            self.input.handle(InputRequest::InsertChar(character));
        }
        !text.is_empty()
    }

    /// Takes a part of the line out; the cursor is at one end of it.
    fn kill(&mut self, from: usize, to: usize) -> bool {
        let line = self.typed();
        let at = line[..from].chars().count();
        let left = format!("{}{}", &line[..from], &line[to..]);
        if self.mode != Mode::Secret && from < to {
            self.killed = line[from..to].to_owned();
        }
        self.input = Input::new(left).with_cursor(at);
        from < to
    }

    /// Where the word before the cursor begins: at the blank before it.
    fn word_start(&self) -> usize {
        let before = self.before();
        let word = before.trim_end_matches(' ');
        word.rfind(' ').map_or(0, |blank| blank + 1)
    }

    fn walk(&mut self, is_up: bool) -> bool {
        if self.mode != Mode::Command {
            return false;
        }
        let line = if is_up {
            self.history.older(self.input.value())
        } else {
            self.history.newer()
        };
        let found = line.map(str::to_owned);
        let has_moved = found.is_some();
        if let Some(line) = found {
            self.input = Input::new(line);
        }
        has_moved
    }

    fn begin_search(&mut self) {
        self.search = Some(Search {
            wanted: String::new(),
            index: self.history.len(),
            typed: self.typed().to_owned(),
        });
    }

    /// A key during a search; `false` when it ends the search and is yet to be dealt with.
    fn search_key(&mut self, key: Key, echo: &mut Vec<u8>) -> bool {
        let Some(search) = &mut self.search else {
            return false;
        };
        let before = match key {
            Key::Char(character) if search.wanted.len() < LINE_BYTES_MAX / 4 => {
                search.wanted.push(character);
                search.index.saturating_add(1)
            }
            Key::Backspace => {
                search.wanted.pop();
                usize::MAX
            }
            Key::Ctrl('R') => search.index,
            Key::Ctrl('G') => {
                self.input = Input::new(std::mem::take(&mut search.typed));
                self.search = None;
                self.paint(echo);
                return true;
            }
            _ => {
                self.search = None;
                self.paint(echo);
                return false;
            }
        };
        if search.wanted.is_empty() {
            search.index = self.history.len();
            self.input = Input::new(search.typed.clone());
        } else if let Some((index, line)) = self.history.find(&search.wanted, before) {
            search.index = index;
            let at = line.find(&search.wanted).unwrap_or(0);
            self.input = Input::new(line.to_owned()).with_cursor(line[..at].chars().count());
        } else {
            echo.push(BELL);
        }
        self.paint(echo);
        true
    }

    /// Where the cursor is, in bytes.
    fn cursor(&self) -> usize {
        let characters = self.input.value().char_indices();
        characters
            .map(|(index, _)| index)
            .nth(self.input.cursor())
            .unwrap_or(self.input.value().len())
    }

    fn before(&self) -> &str {
        &self.input.value()[..self.cursor()]
    }

    /// What is to be on the screen: prompt, line, and what of the line is before the cursor.
    fn wanted(&self) -> (String, &str, &str) {
        let prompt = match &self.search {
            Some(search) => format!("search '{}': ", search.wanted),
            None => self.prompt.clone(),
        };
        match self.mode {
            Mode::Secret => (prompt, "", ""),
            Mode::Command | Mode::Answer => (prompt, self.input.value(), self.before()),
        }
    }

    /// Prints prompt and line; nothing of them is on the screen.
    fn show(&mut self) -> Vec<u8> {
        self.is_shown = true;
        let (prompt, text, before) = self.wanted();
        let start = place(Place::default(), &prompt, self.columns);
        let cursor = place(start, before, self.columns);
        let end = place(start, text, self.columns);
        let mut echo = format!("{prompt}{text}").into_bytes();
        settle(end, &mut echo);
        go(end, cursor, &mut echo);
        self.painted = Painted {
            text: text.to_owned(),
            prompt,
            cursor,
            end,
            is_unsettled: false,
        };
        echo
    }

    /// Brings the screen up to date.
    fn paint(&mut self, echo: &mut Vec<u8>) {
        let (prompt, text, before) = self.wanted();
        if prompt != self.painted.prompt {
            self.go_to(Place::default(), echo);
            echo.extend_from_slice(ERASE_BELOW);
            echo.extend(self.show());
            return;
        }
        let columns = self.columns;
        let start = place(Place::default(), &prompt, columns);
        let (cursor, end) = (place(start, before, columns), place(start, text, columns));
        let text = text.to_owned();
        let painted = std::mem::take(&mut self.painted);
        let was_at_end = painted.cursor == painted.end;
        let mut is_unsettled = painted.is_unsettled;
        let appended = text
            .strip_prefix(&painted.text)
            .filter(|_| was_at_end && cursor == end);
        let removed = painted
            .text
            .strip_prefix(&text)
            .filter(|_| was_at_end && cursor == end);
        if let Some(appended) = appended {
            echo.extend_from_slice(appended.as_bytes());
            is_unsettled = if appended.is_empty() {
                is_unsettled
            } else {
                end.column == 0
            };
        } else if removed.is_some() && end.row == painted.end.row {
            for _ in end.column..painted.end.column {
                echo.extend_from_slice(b"\x08 \x08");
            }
        } else {
            if is_unsettled {
                settle(painted.end, echo);
            }
            is_unsettled = false;
            let same = common(&painted.text, &text);
            let from = place(start, &text[..same], columns);
            if text == painted.text {
                go(painted.cursor, cursor, echo);
            } else {
                go(painted.cursor, from, echo);
                if painted.text.len() > same {
                    echo.extend_from_slice(ERASE_BELOW);
                }
                echo.extend_from_slice(&text.as_bytes()[same..]);
                settle(end, echo);
                go(end, cursor, echo);
            }
        }
        self.painted = Painted {
            prompt,
            text,
            cursor,
            end,
            is_unsettled,
        };
    }

    fn go_to(&mut self, to: Place, echo: &mut Vec<u8>) {
        if std::mem::take(&mut self.painted.is_unsettled) {
            settle(self.painted.end, echo);
        }
        go(self.painted.cursor, to, echo);
        self.painted.cursor = to;
    }

    /// Goes to the row below the line.
    fn leave_line(&mut self, echo: &mut Vec<u8>) {
        self.leave_line_with(b"", echo);
    }

    fn leave_line_with(&mut self, mark: &[u8], echo: &mut Vec<u8>) {
        if self.painted.cursor != self.painted.end {
            self.go_to(self.painted.end, echo);
        }
        echo.extend_from_slice(mark);
        // A cursor that has been settled is on the row below already.
        let is_below = self.painted.end.row > 0 && self.painted.end.column == 0;
        if !is_below || self.painted.is_unsettled || !mark.is_empty() {
            echo.extend_from_slice(b"\r\n");
        }
    }

    /// The line is over; the screen is somebody else's until the next one begins.
    fn end_line(&mut self) {
        self.input.reset();
        self.history.leave();
        self.search = None;
        self.painted = Painted::default();
        self.is_shown = false;
        self.prompt.clear();
        self.mode = Mode::Command;
    }
}

/// How many bytes two texts have in common at their beginning, in whole characters that nothing follows
/// which would join them.
fn common(left: &str, right: &str) -> usize {
    let same = left
        .char_indices()
        .zip(right.chars())
        .take_while(|((_, l), r)| l == r);
    let bytes = same
        .map(|((index, character), _)| index + character.len_utf8())
        .last();
    // A combining mark after what is the same belongs to its last character: that one is printed anew.
    let mut bytes = bytes.unwrap_or(0);
    while bytes > 0 && [left, right].iter().any(|text| joins(text, bytes)) {
        bytes -= 1;
        while !left.is_char_boundary(bytes) {
            bytes -= 1;
        }
    }
    bytes
}

/// Whether the characters on both sides of a place in `text` are one on the screen.
fn joins(text: &str, at: usize) -> bool {
    use unicode_segmentation::GraphemeCursor;
    let boundary = GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0);
    boundary == Ok(false)
}

/// Text for a raw terminal: every `\n` becomes CR LF, and a new page an empty screen.
#[must_use]
pub fn to_terminal(text: &str) -> String {
    as_page(text).replace('\n', "\r\n")
}

#[cfg(test)]
mod tests;

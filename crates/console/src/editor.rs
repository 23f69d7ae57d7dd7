//! A small line discipline for a raw terminal, as the Ethernet console is one: the client sends
//! every key as it is typed, without echo, and the shelf does the rest.
//!
//! * Printable characters and UTF-8 are echoed; a tab counts as a blank.
//! * Backspace and DEL take one character, Ctrl-W a word, Ctrl-U the line.
//! * CR, LF and CR LF end a line. Ctrl-C drops it. Ctrl-D on an empty line ends the session.
//! * Escape sequences, such as those of arrow keys, do nothing.
//!
//! Invariants: a line never exceeds [`LINE_BYTES_MAX`], beyond which the bell rings; a finished line
//! has no control characters; input is taken up to the first finished line only, so that echo and
//! output of pasted lines come in order.
//!
//! It does not know the width of characters on the screen: all are taken to be one column wide.

/// Longest line in bytes; more than a line that names every drive of a shelf needs.
pub const LINE_BYTES_MAX: usize = 4096;

/// What finished a call of [`Editor::feed`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A line, without its end.
    Line(String),
    /// Ctrl-C: what was typed is gone, and an open question is answered no.
    Interrupt,
    /// Ctrl-D on an empty line: the session is to end.
    End,
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

/// The state of one terminal.
#[derive(Clone, Default, Debug)]
pub struct Editor {
    line: String,
    /// Bytes of a UTF-8 sequence that is not complete.
    partial: Vec<u8>,
    escape: Escape,
    /// The byte before was CR: an LF now belongs to it.
    after_cr: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After ESC O: one byte follows.
    Single,
    /// After ESC [: parameters, then a final byte follow.
    Sequence,
}

const BELL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// The Ctrl key with a capital letter.
const fn ctrl(letter: u8) -> u8 {
    letter & 0x1f
}

impl Editor {
    /// An editor with an empty line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is typed so far; to be printed again after a message went over it.
    #[must_use]
    pub fn typed(&self) -> &str {
        &self.line
    }

    /// Takes input up to the end of the first line or other event.
    pub fn feed(&mut self, input: &[u8]) -> Fed {
        let mut echo = Vec::new();
        for (index, byte) in input.iter().enumerate() {
            if let Some(event) = self.byte(*byte, &mut echo) {
                return Fed {
                    taken: index + 1,
                    echo,
                    event: Some(event),
                };
            }
        }
        Fed {
            taken: input.len(),
            echo,
            event: None,
        }
    }

    fn byte(&mut self, byte: u8, echo: &mut Vec<u8>) -> Option<Event> {
        let after_cr = std::mem::take(&mut self.after_cr);
        if byte == b'\n' && after_cr {
            return None;
        }
        if self.in_escape(byte) {
            return None;
        }
        if byte < 0x80 && !self.partial.is_empty() {
            self.partial.clear();
            echo.push(BELL);
        }
        match byte {
            b'\r' | b'\n' => return Some(self.end_of_line(byte, echo)),
            byte if byte == ctrl(b'C') => {
                self.line.clear();
                echo.extend_from_slice(b"^C\r\n");
                return Some(Event::Interrupt);
            }
            byte if byte == ctrl(b'D') && self.line.is_empty() => {
                echo.extend_from_slice(b"\r\n");
                return Some(Event::End);
            }
            BACKSPACE | DELETE => self.erase(1, echo),
            byte if byte == ctrl(b'U') => self.erase(usize::MAX, echo),
            byte if byte == ctrl(b'W') => self.erase(self.word_chars(), echo),
            b'\t' => self.insert(' ', echo),
            ESCAPE => self.escape = Escape::Begun,
            // Other control characters mean nothing here.
            0x00..0x20 => {}
            0x20..DELETE => self.insert(char::from(byte), echo),
            _ => self.utf8(byte, echo),
        }
        None
    }

    fn end_of_line(&mut self, byte: u8, echo: &mut Vec<u8>) -> Event {
        self.after_cr = byte == b'\r';
        echo.extend_from_slice(b"\r\n");
        Event::Line(std::mem::take(&mut self.line))
    }

    /// Swallows the bytes of an escape sequence. A control character ends one and counts itself, so
    /// that a lone ESC never costs the end of a line.
    fn in_escape(&mut self, byte: u8) -> bool {
        let state = std::mem::take(&mut self.escape);
        if !(0x20..DELETE).contains(&byte) {
            return false;
        }
        self.escape = match (state, byte) {
            (Escape::None, _) => return false,
            (Escape::Begun, b'[') => Escape::Sequence,
            (Escape::Begun, b'O') => Escape::Single,
            (Escape::Sequence, 0x20..0x40) => Escape::Sequence,
            (Escape::Begun | Escape::Single | Escape::Sequence, _) => Escape::None,
        };
        true
    }

    fn utf8(&mut self, byte: u8, echo: &mut Vec<u8>) {
        self.partial.push(byte);
        match std::str::from_utf8(&self.partial) {
            Ok(text) => {
                let complete = text.chars().next();
                self.partial.clear();
                // U+0080 to U+009F are control characters too.
                match complete.filter(|character| !character.is_control()) {
                    Some(character) => self.insert(character, echo),
                    None => echo.push(BELL),
                }
            }
            Err(error) if error.error_len().is_some() => {
                self.partial.clear();
                echo.push(BELL);
            }
            Err(_) => {}
        }
    }

    fn insert(&mut self, character: char, echo: &mut Vec<u8>) {
        if self.line.len() + character.len_utf8() > LINE_BYTES_MAX {
            echo.push(BELL);
            return;
        }
        self.line.push(character);
        echo.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Takes up to `count` characters from the end, on the screen too.
    fn erase(&mut self, count: usize, echo: &mut Vec<u8>) {
        for _ in 0..count {
            if self.line.pop().is_none() {
                return;
            }
            echo.extend_from_slice(b"\x08 \x08");
        }
    }

    /// How many characters the last word and the blanks after it have.
    fn word_chars(&self) -> usize {
        let word = self.line.trim_end_matches(' ');
        let start = word.rfind(' ').map_or(0, |blank| blank + 1);
        self.line[start..].chars().count()
    }
}

/// Text for a raw terminal: every `\n` becomes CR LF.
#[must_use]
pub fn to_terminal(text: &str) -> String {
    text.replace('\n', "\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds all of the input; returns the echo and the events.
    fn type_in(editor: &mut Editor, mut input: &[u8]) -> (String, Vec<Event>) {
        let (mut echo, mut events) = (Vec::new(), Vec::new());
        while !input.is_empty() {
            let fed = editor.feed(input);
            echo.extend(fed.echo);
            events.extend(fed.event);
            input = &input[fed.taken..];
        }
        (String::from_utf8(echo).unwrap(), events)
    }

    fn lines(input: &[u8]) -> Vec<String> {
        let (_, events) = type_in(&mut Editor::new(), input);
        let line = |event| {
            if let Event::Line(line) = event {
                line
            } else {
                format!("{event:?}")
            }
        };
        events.into_iter().map(line).collect()
    }

    #[test]
    fn keys_are_echoed_and_make_a_line() {
        let mut editor = Editor::new();
        assert_eq!(
            type_in(&mut editor, "list ü".as_bytes()),
            ("list ü".to_owned(), vec![])
        );
        assert_eq!(editor.typed(), "list ü");
        let (echo, events) = type_in(&mut editor, b"\r");
        assert_eq!(
            (echo.as_str(), events),
            ("\r\n", vec![Event::Line("list ü".to_owned())])
        );
        assert_eq!(editor.typed(), "");
    }

    #[test]
    fn every_kind_of_line_end_ends_one_line() {
        assert_eq!(lines(b"a\rb\nc\r\nd\n\re\r"), ["a", "b", "c", "d", "", "e"]);
        let mut editor = Editor::new();
        assert_eq!(type_in(&mut editor, b"a\r").1.len(), 1);
        assert_eq!(type_in(&mut editor, b"\n").1.len(), 0);
        assert_eq!(type_in(&mut editor, b"\n").1.len(), 1);
    }

    #[test]
    fn pasted_lines_come_one_at_a_time() {
        let mut editor = Editor::new();
        let fed = editor.feed(b"show\rlist\r");
        assert_eq!(
            (fed.taken, fed.echo.as_slice()),
            (5, b"show\r\n".as_slice())
        );
        assert_eq!(fed.event, Some(Event::Line("show".to_owned())));
    }

    #[test]
    fn erasing_takes_characters_words_and_lines() {
        assert_eq!(lines(b"shov\x08w\r"), ["show"]);
        assert_eq!(lines("ü\x7fx\r".as_bytes()), ["x"]);
        assert_eq!(lines(b"make 0 raid1  \x17raid0\r"), ["make 0 raid0"]);
        assert_eq!(lines(b"make 0\x15list\r"), ["list"]);
        assert_eq!(lines(b"\x08\x7f\x17\x15\r"), [""]);
        let (echo, _) = type_in(&mut Editor::new(), b"ab\x15");
        assert_eq!(echo, "ab\x08 \x08\x08 \x08");
    }

    #[test]
    fn interrupt_and_end() {
        assert_eq!(lines(b"remove 0\x03"), ["Interrupt"]);
        assert_eq!(lines(b"a\x04\r\x04"), ["a", "End"]);
    }

    #[test]
    fn escape_sequences_do_nothing() {
        assert_eq!(
            lines(b"a\x1b[Ab\x1bOPc\x1b[1;5Cd\x1b[15~e\x1bxf\r"),
            ["abcdef"]
        );
        assert_eq!(lines(b"a\x1b\rb\x1b[\rc\r"), ["a", "b", "c"]);
        let mut editor = Editor::new();
        for part in [b"\x1b".as_slice(), b"[", b"A", b"x"] {
            type_in(&mut editor, part);
        }
        assert_eq!(editor.typed(), "x");
    }

    #[test]
    fn broken_utf8_and_control_characters_are_dropped() {
        assert_eq!(lines(b"a\xffb\xc3c\x00\x1f\xc2\x85d\r"), ["abcd"]);
        assert_eq!(lines(b"\xc3\r"), [""]);
        assert_eq!(lines(b"a\tb\r"), ["a b"]);
    }

    #[test]
    fn beyond_the_longest_line_the_bell_rings() {
        let mut editor = Editor::new();
        type_in(&mut editor, &[b'x'; LINE_BYTES_MAX]);
        assert_eq!(type_in(&mut editor, b"yz").0, "\x07\x07");
        assert_eq!(
            lines(&[vec![b'x'; LINE_BYTES_MAX + 9], vec![b'\r']].concat())[0].len(),
            4096
        );
    }

    #[test]
    fn terminals_get_cr_lf() {
        assert_eq!(to_terminal("a\nb\n"), "a\r\nb\r\n");
    }

    proptest! {
        #[test]
        fn any_bytes_make_lines_without_control_characters(
            input in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200,
        ) {
            let whole = type_in(&mut Editor::new(), &input);
            let mut editor = Editor::new();
            let (left, right) = input.split_at(cut.min(input.len()));
            let mut parts = type_in(&mut editor, left);
            let rest = type_in(&mut editor, right);
            parts.0 += &rest.0;
            parts.1.extend(rest.1);
            prop_assert_eq!(&whole, &parts, "how the bytes arrive does not matter");
            for event in whole.1 {
                if let Event::Line(line) = event {
                    prop_assert!(!line.contains(char::is_control));
                }
            }
        }
    }
}

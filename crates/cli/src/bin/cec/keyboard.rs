//! What was typed: input for the shelf, and the escape menu.

use crate::options::Escape;
use std::collections::VecDeque;

/// What a key has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Bytes for the shelf.
    Input(Vec<u8>),
    /// The escape menu asks.
    Menu,
    /// An answer that the menu does not know: it explains itself and asks again.
    Unknown,
    /// Back from the menu to the session.
    Continue,
    /// The user leaves the session.
    Quit,
}

#[derive(Debug)]
pub(crate) struct Keyboard {
    escape: Escape,
    typed: VecDeque<u8>,
    in_menu: bool,
    /// The menu's answer is one key, but users of cec-14 press Enter after it.
    after_answer: bool,
}

impl Keyboard {
    pub(crate) fn new(escape: Escape) -> Self {
        Self {
            escape,
            typed: VecDeque::new(),
            in_menu: false,
            after_answer: false,
        }
    }

    /// Whether all that was typed has been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.typed.is_empty()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.typed.extend(bytes);
    }

    /// Takes the next thing. At most `room_bytes` of input, and an escape only when all input
    /// before it has been `delivered`, so that quitting loses nothing.
    pub(crate) fn next(&mut self, room_bytes: usize, delivered: bool) -> Option<Typed> {
        let is_enter = |byte: &mut u8| matches!(byte, b'\r' | b'\n');
        if self.after_answer && !self.typed.is_empty() {
            self.after_answer = false;
            self.typed.pop_front_if(is_enter);
        }
        if self.in_menu {
            let answer = self.typed.pop_front()?;
            return Some(self.answer_menu(answer));
        }
        let escape = self.escape.byte;
        if delivered && self.typed.front() == Some(&escape) {
            self.typed.pop_front();
            self.in_menu = true;
            return Some(Typed::Menu);
        }
        let plain = self
            .typed
            .iter()
            .take_while(|byte| **byte != escape)
            .count();
        let input: Vec<u8> = self.typed.drain(..plain.min(room_bytes)).collect();
        (!input.is_empty()).then_some(Typed::Input(input))
    }

    fn answer_menu(&mut self, answer: u8) -> Typed {
        let typed = match answer {
            b'q' => Typed::Quit,
            b'i' => Typed::Input(vec![self.escape.byte]),
            b'.' => Typed::Continue,
            _ => Typed::Unknown,
        };
        self.in_menu = typed == Typed::Unknown;
        self.after_answer = true;
        typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use clap::Parser;

    fn all(keyboard: &mut Keyboard) -> Vec<Typed> {
        std::iter::from_fn(|| keyboard.next(100, true)).collect()
    }

    fn keyboard() -> Keyboard {
        Keyboard::new(Options::parse_from(["cec", "-e", "a", "eth1"]).escape)
    }

    #[test]
    fn the_menu_sends_the_escape_continues_or_quits() {
        let mut keyboard = keyboard();
        keyboard.push(b"ls\r\x01i\x01.");
        let input = |text: &[u8]| Typed::Input(text.to_vec());
        let first = [
            input(b"ls\r"),
            Typed::Menu,
            input(b"\x01"),
            Typed::Menu,
            Typed::Continue,
        ];
        assert_eq!(all(&mut keyboard), first);
        keyboard.push(b"\r\r\x01x\r.more\x01\rq");
        let expected = [
            input(b"\r"),
            Typed::Menu,
            Typed::Unknown,
            Typed::Continue,
            input(b"more"),
            Typed::Menu,
            Typed::Unknown,
            Typed::Quit,
        ];
        assert_eq!(all(&mut keyboard), expected);
    }

    #[test]
    fn an_escape_waits_for_the_input_before_it() {
        let mut keyboard = keyboard();
        keyboard.push(b"abc\x01q");
        assert_eq!(keyboard.next(2, true), Some(Typed::Input(b"ab".to_vec())));
        assert_eq!(keyboard.next(0, false), None);
        assert_eq!(keyboard.next(9, false), Some(Typed::Input(b"c".to_vec())));
        assert_eq!(keyboard.next(9, false), None);
        assert_eq!(all(&mut keyboard), [Typed::Menu, Typed::Quit]);
    }
}

//! From the bytes of a terminal to keys, however the bytes are split.
//!
//! [`vte`] knows escape sequences and UTF-8. What is added here is for input that comes from keys and not
//! from a program: a control character within a sequence ends it and counts itself, so that a lone ESC never
//! costs the end of a line; and strings (OSC, DCS), which no key sends, do not swallow what follows.

use std::fmt;
use vte::{Params, Parser, Perform};

/// What was pressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// A character that is printed.
    Char(char),
    /// The Ctrl key with a capital letter.
    Ctrl(char),
    /// The Alt key, or ESC, with a character.
    Alt(char),
    Enter,
    Backspace,
    Delete,
    Tab,
    Up,
    Down,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    /// The terminal tells its size.
    Size {
        rows: usize,
        columns: usize,
    },
    /// Bytes that are no key: broken UTF-8, control characters of no use.
    Invalid,
}

const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// Takes bytes, gives keys.
#[derive(Default)]
pub(crate) struct KeyReader {
    parser: Parser,
    found: Found,
    /// An escape sequence has begun and is not complete.
    in_sequence: bool,
    /// The last byte was ESC.
    after_escape: bool,
    /// The last byte was CR: an LF now belongs to it.
    after_cr: bool,
}

impl fmt::Debug for KeyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyReader")
            .field("in_sequence", &self.in_sequence)
            .finish_non_exhaustive()
    }
}

impl KeyReader {
    /// Takes a byte. Mostly it makes one key or none; a byte that breaks a UTF-8 sequence makes two.
    pub(crate) fn take(&mut self, byte: u8) -> Vec<Key> {
        let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        if byte == b'\n' && after_cr {
            return Vec::new();
        }
        let is_control = byte < 0x20 || byte == DELETE;
        let begins_string = self.after_escape && matches!(byte, b']' | b'P' | b'X' | b'^' | b'_');
        if self.in_sequence && (is_control || begins_string) {
            self.reset();
            if begins_string {
                return vec![Key::Invalid];
            }
        }
        self.after_escape = byte == ESCAPE;
        self.in_sequence |= self.after_escape;
        self.parser.advance(&mut self.found, &[byte]);
        let keys = std::mem::take(&mut self.found.keys);
        if !keys.is_empty() || self.found.ended {
            self.in_sequence = self.found.single_shift;
            self.found.ended = false;
        }
        keys
    }

    /// Whether an escape sequence is not complete. If nothing follows it within 50 ms, it was the ESC key.
    pub(super) fn in_sequence(&self) -> bool {
        self.in_sequence
    }

    /// Nothing followed: what has begun is dropped.
    pub(crate) fn reset(&mut self) {
        self.parser = Parser::new();
        self.found = Found::default();
        self.in_sequence = false;
        self.after_escape = false;
    }
}

/// What the parser found in the last byte.
#[derive(Default)]
struct Found {
    keys: Vec<Key>,
    /// A sequence has ended, perhaps without a key.
    ended: bool,
    /// After ESC O: the next character says which key.
    single_shift: bool,
}

impl Found {
    fn sequence(&mut self, key: Option<Key>) {
        self.keys.extend(key);
        self.ended = true;
    }
}

/// The keys that have the same last byte after ESC O and after ESC [.
fn cursor_key(last: char, with_modifier: bool) -> Option<Key> {
    Some(match last {
        'A' => Key::Up,
        'B' => Key::Down,
        'C' if with_modifier => Key::WordRight,
        'D' if with_modifier => Key::WordLeft,
        'C' => Key::Right,
        'D' => Key::Left,
        'H' => Key::Home,
        'F' => Key::End,
        _ => return None,
    })
}

impl Perform for Found {
    fn print(&mut self, character: char) {
        if std::mem::take(&mut self.single_shift) {
            self.sequence(cursor_key(character, false));
            return;
        }
        self.keys.push(match character {
            '\u{7f}' => Key::Backspace,
            // U+0080 to U+009F are control characters too.
            other if other == char::REPLACEMENT_CHARACTER || other.is_control() => Key::Invalid,
            character => Key::Char(character),
        });
    }

    fn execute(&mut self, byte: u8) {
        self.keys.push(match byte {
            b'\r' | b'\n' => Key::Enter,
            b'\t' => Key::Tab,
            0x08 => Key::Backspace,
            // A control character is its letter without bit 6.
            0x01..=0x1a => Key::Ctrl(char::from(byte | 0x40)),
            _ => Key::Invalid,
        });
    }

    fn csi_dispatch(&mut self, params: &Params, private: &[u8], _ignore: bool, last: char) {
        if !private.is_empty() {
            return self.sequence(None);
        }
        let mut numbers = params.iter().map(|param| param.first().copied());
        let mut next = || numbers.next().flatten().map_or(0, usize::from);
        let (first, second, third) = (next(), next(), next());
        let key = match (last, first) {
            ('~', 1 | 7) => Some(Key::Home),
            ('~', 3) => Some(Key::Delete),
            ('~', 4 | 8) => Some(Key::End),
            ('t', 8) => Some(Key::Size {
                rows: second,
                columns: third,
            }),
            _ => cursor_key(last, second > 1),
        };
        self.sequence(key);
    }

    fn esc_dispatch(&mut self, _intermediates: &[u8], _ignore: bool, byte: u8) {
        if byte == b'O' {
            self.single_shift = true;
        }
        let key = (byte != b'O').then(|| Key::Alt(char::from(byte)));
        self.sequence(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut reader = KeyReader::default();
        bytes.iter().flat_map(|byte| reader.take(*byte)).collect()
    }

    #[test]
    fn sequences_of_both_kinds_are_keys() {
        assert_eq!(keys(b"\x1b[A\x1bOA"), [Key::Up, Key::Up]);
        assert_eq!(keys(b"\x1b[H\x1bOH\x1b[1~\x1b[7~"), [Key::Home; 4]);
        assert_eq!(keys(b"\x1b[F\x1bOF\x1b[4~\x1b[8~"), [Key::End; 4]);
        assert_eq!(keys(b"\x1b[1;5C\x1b[1;3D"), [Key::WordRight, Key::WordLeft]);
        assert_eq!(
            keys(b"\x1b[3~\x7f\x08"),
            [Key::Delete, Key::Backspace, Key::Backspace]
        );
        assert_eq!(keys(b"\x1bb"), [Key::Alt('b')]);
        assert_eq!(
            keys(b"\x1b[8;24;132t"),
            [Key::Size {
                rows: 24,
                columns: 132
            }]
        );
        assert_eq!(keys(b"\x1b[?25h\x1b[15~"), []);
    }

    #[test]
    fn a_lone_escape_costs_nothing_that_follows_it() {
        assert_eq!(keys(b"\x1b\r"), [Key::Enter]);
        assert_eq!(keys(b"\x1b[\r"), [Key::Enter]);
        assert_eq!(keys(b"\x1bO\x03"), [Key::Ctrl('C')]);
        assert_eq!(keys(b"\x1b]a"), [Key::Invalid, Key::Char('a')]);
        assert_eq!(keys(b"\x1b\x1b[A"), [Key::Up]);
        let mut reader = KeyReader::default();
        assert_eq!(reader.take(ESCAPE), []);
        assert!(reader.in_sequence());
        reader.reset();
        assert!(!reader.in_sequence());
        assert_eq!(reader.take(b'['), [Key::Char('[')]);
    }

    #[test]
    fn a_sequence_is_over_with_its_last_byte() {
        for sequence in [
            b"\x1b[A".as_slice(),
            b"\x1bOA",
            b"\x1bb",
            b"\x1b[15~",
            b"\x1b[?25h",
        ] {
            let mut reader = KeyReader::default();
            let (last, before) = sequence.split_last().unwrap();
            for byte in before {
                reader.take(*byte);
                assert!(reader.in_sequence(), "{sequence:?}");
            }
            reader.take(*last);
            assert!(!reader.in_sequence(), "{sequence:?}");
        }
    }

    #[test]
    fn line_ends_and_broken_characters() {
        assert_eq!(keys(b"\r\n"), [Key::Enter]);
        assert_eq!(keys(b"\n\r"), [Key::Enter, Key::Enter]);
        assert_eq!(keys("ü".as_bytes()), [Key::Char('ü')]);
        assert_eq!(
            keys(b"\xc3a\xff\xc2\x85\0"),
            [
                Key::Invalid,
                Key::Char('a'),
                Key::Invalid,
                Key::Invalid,
                Key::Invalid
            ]
        );
    }
}

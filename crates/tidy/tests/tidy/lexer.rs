//! Tells Rust code from comments and literals.
//!
//! Invariants:
//! * the result has the lines of the source, at the same places;
//! * comments, and what is between the quotes of strings and characters, become blanks;
//! * everything else stays as it is.

use std::iter::Peekable;
use std::str::Chars;

/// The source with comments and the contents of literals blanked.
pub(crate) fn code_only(source: &str) -> String {
    let mut lexer = Lexer {
        rest: source.chars().peekable(),
        code: String::with_capacity(source.len()),
        in_word: false,
    };
    while let Some(c) = lexer.rest.next() {
        lexer.take(c);
    }
    lexer.code
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    code: String,
    /// The last character belongs to an identifier or number: an `r` or `b` after it is no prefix.
    in_word: bool,
}

impl Lexer<'_> {
    fn take(&mut self, c: char) {
        match (c, self.rest.peek()) {
            ('/', Some('/')) => self.line_comment(),
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.character_or_lifetime(),
            ('r', Some('"' | '#')) if !self.in_word => {
                self.code.push(c);
                self.raw_string();
            }
            ('b' | 'c', Some('r')) if !self.in_word => {
                self.code.push(c);
                self.next_as_code();
                if matches!(self.rest.peek(), Some('"' | '#')) {
                    self.raw_string();
                } else {
                    self.in_word = true;
                }
            }
            // The quote of `b"…"` or `b'…'` comes next and is seen as that of a plain literal.
            ('b' | 'c', Some('"' | '\'')) if !self.in_word => self.code.push(c),
            _ => {
                self.code.push(c);
                self.in_word = c.is_alphanumeric() || c == '_';
            }
        }
    }

    fn blank(&mut self, c: char) {
        self.code.push(if c == '\n' { '\n' } else { ' ' });
    }

    fn next_as_code(&mut self) {
        self.code.extend(self.rest.next());
    }

    fn line_comment(&mut self) {
        self.blank('/');
        while let Some(c) = self.rest.next_if(|c| *c != '\n') {
            self.blank(c);
        }
        self.in_word = false;
    }

    fn block_comment(&mut self) {
        self.blank('/');
        self.rest.next();
        self.blank('*');
        let mut depth = 1;
        while depth > 0
            && let Some(c) = self.rest.next()
        {
            self.blank(c);
            let pair = (c, self.rest.peek().copied());
            if pair == ('/', Some('*')) || pair == ('*', Some('/')) {
                depth = if c == '/' { depth + 1 } else { depth - 1 };
                self.rest.next();
                self.blank(' ');
            }
        }
        self.in_word = false;
    }

    fn string(&mut self) {
        self.code.push('"');
        while let Some(c) = self.rest.next() {
            match c {
                '"' => {
                    self.code.push('"');
                    break;
                }
                '\\' => {
                    self.blank(c);
                    if let Some(escaped) = self.rest.next() {
                        self.blank(escaped);
                    }
                }
                _ => self.blank(c),
            }
        }
        self.in_word = false;
    }

    /// After its `r`.
    fn raw_string(&mut self) {
        let mut hashes = 0;
        while self.rest.next_if_eq(&'#').is_some() {
            self.code.push('#');
            hashes += 1;
        }
        if self.rest.next_if_eq(&'"').is_none() {
            return; // `r#name`
        }
        self.code.push('"');
        let mut seen = None;
        while let Some(c) = self.rest.next() {
            self.blank(c);
            seen = match (c, seen) {
                ('"', _) => Some(0),
                ('#', Some(count)) => Some(count + 1),
                _ => None,
            };
            if seen == Some(hashes) {
                break;
            }
        }
        self.in_word = false;
    }

    fn character_or_lifetime(&mut self) {
        self.code.push('\'');
        self.in_word = false;
        let mut ahead = self.rest.clone();
        let is_character = match ahead.next() {
            Some('\\') => true,
            Some(_) => ahead.next() == Some('\''),
            None => false,
        };
        if !is_character {
            return;
        }
        // At least one character, or an escape, before the quote that ends it.
        if let Some(c) = self.rest.next() {
            self.blank(c);
            if c == '\\'
                && let Some(escaped) = self.rest.next()
            {
                self.blank(escaped);
            }
        }
        while let Some(c) = self.rest.next_if(|c| *c != '\'') {
            self.blank(c);
        }
        self.next_as_code();
    }
}

#[test]
fn comments_and_literals_are_blanked_and_code_stays() {
    let cases = [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("a /**/ b /***/ c", "a      b       c"),
        ("/* a\n*/ b", "    \n   b"),
        (r#"x = "un\"safe";"#, r#"x = "        ";"#),
        (r##"r#"a"b"# + c"##, r##"r#"      + c"##),
        (r#"br"a\" b"#, r#"br"    b"#),
        ("r#type + bread", "r#type + bread"),
        (
            "'\"' 'a 'b' '\\'' '\\u{41}' c",
            "' ' 'a ' ' '  ' '      ' c",
        ),
        ("for \"\" 'x", "for \"\" 'x"),
        ("b'\"' b\"y\"", "b' ' b\" \""),
        ("\"// no comment\" + a", "\"             \" + a"),
    ];
    for (source, code) in cases {
        assert_eq!(code_only(source), code, "{source}");
    }
}

//! The words of a line that is not finished.

/// A word as it stands so far.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Typed {
    /// Where it begins, in bytes.
    pub(super) start: usize,
    /// Without its quotes.
    pub(super) text: String,
    /// A quote is open at its end, or it has one.
    pub(super) is_quoted: bool,
}

/// The words before the one that the line ends in, and that one, which is empty after a blank.
pub(super) fn split(line: &str) -> (Vec<Typed>, Typed) {
    let mut words = Vec::new();
    let mut current: Option<Typed> = None;
    let mut in_quotes = false;
    for (index, character) in line.char_indices() {
        if character.is_whitespace() && !in_quotes {
            words.extend(current.take());
            continue;
        }
        let word = current.get_or_insert_with(|| Typed {
            start: index,
            ..Typed::default()
        });
        if character == '\'' {
            // Two quotes within quotes are one quote; so are they here, closed and opened again.
            if !in_quotes && word.is_quoted && line[..index].ends_with('\'') {
                word.text.push('\'');
            }
            in_quotes = !in_quotes;
            word.is_quoted = true;
        } else {
            word.text.push(character);
        }
    }
    let last = current.unwrap_or(Typed {
        start: line.len(),
        ..Typed::default()
    });
    (words, last)
}

/// Whether a quote is open at the end of the line.
pub(crate) fn is_quoted(line: &str) -> bool {
    line.matches('\'').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_what_the_cursor_stands_at() {
        let of = |line| {
            let (words, last) = split(line);
            let texts: Vec<String> = words.into_iter().map(|word| word.text).collect();
            (texts.join("|"), last.start, last.text)
        };
        assert_eq!(of(""), (String::new(), 0, String::new()));
        assert_eq!(of("list"), (String::new(), 0, "list".to_owned()));
        assert_eq!(of("list "), ("list".to_owned(), 5, String::new()));
        assert_eq!(
            of("label 'vm st"),
            ("label".to_owned(), 6, "vm st".to_owned())
        );
        assert_eq!(
            of("label 'it''s' x"),
            ("label|it's".to_owned(), 14, "x".to_owned())
        );
    }

    #[test]
    fn an_open_quote_is_noticed() {
        assert!(is_quoted("label 'a") && is_quoted("'it''s"));
        assert!(!is_quoted("label 'a'") && !is_quoted(""));
    }
}

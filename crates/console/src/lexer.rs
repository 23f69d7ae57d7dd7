//! Words of a command line: quotes and series.
//!
//! * Words are separated by white space. Single quotes keep white space and take the meaning away
//!   from everything inside; two of them inside quotes are one literal quote, as in Plan 9's rc.
//! * A series is two decimal numbers joined by `-`, anywhere in the unquoted part of a word. The
//!   word stands for one word per number, glued to what is left and right of it: `1.0-15` is 1.0 to
//!   1.15. All numbers have at least as many digits as the first one: `LV000-5` is LV000 to LV005.
//!   With several series in one word the rightmost runs fastest.
//!
//! Invariant: one line never expands to more than [`MAX_WORDS`] words or [`MAX_BYTES`] bytes.

/// Most words that the series of one line may expand to. A shelf has at most a few hundred drives
/// and 255 LUNs.
pub const MAX_WORDS: usize = 4096;

/// Most bytes that the words of one line may take after expansion.
pub const MAX_BYTES: usize = 1 << 20;

/// Most digits that a number of a series may have: those of the largest `u64`.
const MAX_DIGITS: usize = 20;

/// Why a line could not be taken apart.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LexError {
    /// A quote was opened and not closed.
    #[error("unbalanced quote: a ' is missing at the end")]
    UnbalancedQuote,
    /// The last number of a series is below the first.
    #[error("series {0} runs backwards; quote it if it is not a series")]
    SeriesBackwards(String),
    /// The series of a line expand to too much.
    #[error("series {0} is too large: a line may have at most {MAX_WORDS} words")]
    SeriesTooLarge(String),
}

/// One word as it was typed: what was quoted in it is remembered, because series expand only
/// outside of quotes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Word {
    segments: Vec<Segment>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Segment {
    text: String,
    quoted: bool,
}

impl Word {
    /// The word without its quotes, series unexpanded.
    #[must_use]
    pub fn text(&self) -> String {
        self.segments
            .iter()
            .map(|segment| segment.text.as_str())
            .collect()
    }

    fn push(&mut self, character: char, quoted: bool) {
        match self.segments.last_mut() {
            Some(segment) if segment.quoted == quoted => segment.text.push(character),
            _ => self.segments.push(Segment {
                text: character.to_string(),
                quoted,
            }),
        }
    }
}

/// Splits a line into words.
///
/// # Errors
/// [`LexError::UnbalancedQuote`].
pub fn split(line: &str) -> Result<Vec<Word>, LexError> {
    let mut words = Vec::new();
    let mut current: Option<Word> = None;
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\'' if !quoted => {
                quoted = true;
                // An empty pair of quotes is a word too.
                current.get_or_insert_default();
            }
            '\'' if characters.peek() == Some(&'\'') => {
                characters.next();
                current.get_or_insert_default().push('\'', true);
            }
            '\'' => quoted = false,
            blank if blank.is_whitespace() && !quoted => words.extend(current.take()),
            other => current.get_or_insert_default().push(other, quoted),
        }
    }
    if quoted {
        return Err(LexError::UnbalancedQuote);
    }
    words.extend(current);
    Ok(words)
}

/// Expands the series of all words.
///
/// # Errors
/// A series that runs backwards, or more than [`MAX_WORDS`] words or [`MAX_BYTES`] bytes in all.
pub fn expand(words: &[Word]) -> Result<Vec<String>, LexError> {
    let mut expanded = Vec::new();
    let mut bytes = 0;
    for word in words {
        let parts = parts(word)?;
        let too_large = || LexError::SeriesTooLarge(word.text());
        let count = parts
            .iter()
            .try_fold(1_usize, |count, part| part.count()?.checked_mul(count));
        let count = count
            .filter(|count| *count <= MAX_WORDS)
            .ok_or_else(too_large)?;
        let widest: usize = parts.iter().map(Part::bytes_max).sum();
        bytes += widest.checked_mul(count).ok_or_else(too_large)?;
        if count > 1 && (bytes > MAX_BYTES || expanded.len() + count > MAX_WORDS) {
            return Err(too_large());
        }
        expanded.extend(product(&parts));
    }
    Ok(expanded)
}

/// Joins words to one line that [`split`] takes apart into the same words. Words are quoted only
/// where they must be, so that series in them still expand.
#[must_use]
pub fn join<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| quote(word.as_ref())).collect();
    words.join(" ")
}

fn quote(word: &str) -> String {
    let plain = !word.is_empty() && !word.contains(|c: char| c == '\'' || c.is_whitespace());
    if plain {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "''"))
    }
}

/// A piece of a word: text, or the numbers of a series.
enum Part<'a> {
    Text(&'a str),
    Series {
        first: u64,
        last: u64,
        digits: usize,
    },
}

impl Part<'_> {
    /// How many words this piece makes of one; `None` when they cannot be counted.
    fn count(&self) -> Option<usize> {
        match self {
            Self::Text(_) => Some(1),
            Self::Series { first, last, .. } => usize::try_from(last - first).ok()?.checked_add(1),
        }
    }

    fn bytes_max(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Series { .. } => MAX_DIGITS,
        }
    }
}

fn parts(word: &Word) -> Result<Vec<Part<'_>>, LexError> {
    let mut parts = Vec::new();
    for segment in &word.segments {
        if segment.quoted {
            parts.push(Part::Text(&segment.text));
        } else {
            unquoted_parts(&segment.text, &mut parts)?;
        }
    }
    Ok(parts)
}

fn unquoted_parts<'a>(mut rest: &'a str, parts: &mut Vec<Part<'a>>) -> Result<(), LexError> {
    while !rest.is_empty() {
        let digits = digits_of(rest);
        if digits == 0 {
            let text_len = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            parts.push(Part::Text(&rest[..text_len]));
            rest = &rest[text_len..];
            continue;
        }
        let (first, after) = rest.split_at(digits);
        let last = after
            .strip_prefix('-')
            .map_or("", |tail| &tail[..digits_of(tail)]);
        if last.is_empty() {
            parts.push(Part::Text(first));
            rest = after;
        } else {
            let series = &rest[..digits + 1 + last.len()];
            parts.push(series_part(series, first, last)?);
            rest = &rest[series.len()..];
        }
    }
    Ok(())
}

fn digits_of(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len())
}

fn series_part(series: &str, first: &str, last: &str) -> Result<Part<'static>, LexError> {
    let too_large = || LexError::SeriesTooLarge(series.to_owned());
    let digits = first.len();
    if digits > MAX_DIGITS {
        return Err(too_large());
    }
    let first: u64 = first.parse().map_err(|_| too_large())?;
    let last: u64 = last.parse().map_err(|_| too_large())?;
    if last < first {
        return Err(LexError::SeriesBackwards(series.to_owned()));
    }
    Ok(Part::Series {
        first,
        last,
        digits,
    })
}

/// All words that the parts stand for. The caller has bounded their number.
fn product(parts: &[Part<'_>]) -> Vec<String> {
    let mut words = vec![String::new()];
    for part in parts {
        words = match *part {
            Part::Text(text) => words.into_iter().map(|word| word + text).collect(),
            Part::Series {
                first,
                last,
                digits,
            } => words
                .iter()
                .flat_map(|word| (first..=last).map(move |n| format!("{word}{n:0digits$}")))
                .collect(),
        };
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Vec<String> {
        expand(&split(line).unwrap()).unwrap()
    }

    #[test]
    fn blanks_separate_and_quotes_keep_together() {
        assert_eq!(words("  make  0\traid10 \n"), ["make", "0", "raid10"]);
        assert_eq!(words("label 'vm store' 3"), ["label", "vm store", "3"]);
        assert_eq!(words("a'b c'd '' 'it''s'"), ["ab cd", "", "it's"]);
        assert_eq!(words(""), Vec::<String>::new());
        assert_eq!(split("label 'vm"), Err(LexError::UnbalancedQuote));
        assert_eq!(split("'a''"), Err(LexError::UnbalancedQuote));
    }

    #[test]
    fn series_expand_and_glue() {
        assert_eq!(words("1.0-3"), ["1.0", "1.1", "1.2", "1.3"]);
        assert_eq!(words("ether0-1 x"), ["ether0", "ether1", "x"]);
        assert_eq!(words("LV000-2"), ["LV000", "LV001", "LV002"]);
        assert_eq!(words("08-11"), ["08", "09", "10", "11"]);
        assert_eq!(words("99-101"), ["99", "100", "101"]);
        assert_eq!(words("1-2.0-1z"), ["1.0z", "1.1z", "2.0z", "2.1z"]);
        assert_eq!(words("5-5"), ["5"]);
    }

    #[test]
    fn what_is_no_series_stays() {
        assert_eq!(words("-l a-b 1- -1 1-x '1-3' 1'-'3"), {
            ["-l", "a-b", "1-", "-1", "1-x", "1-3", "1-3"]
        });
    }

    #[test]
    fn absurd_series_are_refused() {
        let error = |line: &str| expand(&split(line).unwrap()).unwrap_err();
        assert_eq!(error("1.9-3"), LexError::SeriesBackwards("9-3".to_owned()));
        for line in [
            "0-4096",
            "0-63.0-64",
            "0-18446744073709551615",
            "0-18446744073709551616",
            "1-999999999999999999999999",
            "000000000000000000000000000001-2",
            "0-9999999999.0-9999999999.0-9999999999",
            "0-4095 0-1",
        ] {
            assert!(matches!(error(line), LexError::SeriesTooLarge(_)), "{line}");
        }
        assert_eq!(words("0-4095").len(), MAX_WORDS);
        let glued = format!("{}0-1023", "x".repeat(4096));
        assert!(matches!(error(&glued), LexError::SeriesTooLarge(_)));
    }

    proptest! {
        #[test]
        fn series_agree_with_counting(
            left in "[a-z.]{0,3}", first in 0_u64..2000, count in 0_u64..50,
            right in "[a-z.]{0,3}", fill in 1_usize..6,
        ) {
            let line = format!("{left}{first:0fill$}-{}{right}", first + count);
            let model: Vec<String> =
                (0..=count).map(|n| format!("{left}{:0fill$}{right}", first + n)).collect();
            prop_assert_eq!(words(&line), model);
        }

        #[test]
        fn joined_words_split_again(list in prop::collection::vec("[a-z'\\-0-9 \t]{0,8}", 0..6)) {
            let split: Vec<String> = split(&join(&list)).unwrap().iter().map(Word::text).collect();
            prop_assert_eq!(split, list);
        }

        #[test]
        fn any_text_is_taken_apart_or_refused(line in "\\PC{0,60}|[0-9' .-]{0,40}") {
            if let Ok(words) = split(&line) && let Ok(expanded) = expand(&words) {
                prop_assert!(expanded.len() <= MAX_WORDS);
                prop_assert!(expanded.len() >= words.len());
            }
        }
    }
}

//! Where text comes to lie on a terminal that wraps at its last column, and how the cursor gets about there.
//!
//! Only what every terminal since the VT100 knows is sent: CR, LF, BS, cursor up, down and right, erase.
//!
//! Invariants: places count from the first character of the prompt; a place at the end of a row is the
//! beginning of the next one, and whoever has just printed up to there calls [`settle`] before moving.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Row and column, from the first character of the prompt.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Place {
    pub(super) row: usize,
    pub(super) column: usize,
}

/// Where the cursor is after `text`, printed at `start` on a terminal of `columns`.
pub(super) fn place(start: Place, text: &str, columns: usize) -> Place {
    let mut at = start;
    for grapheme in text.graphemes(true) {
        let width = grapheme.width();
        // What does not fit goes to the next row as a whole.
        if at.column + width > columns {
            at = Place {
                row: at.row + 1,
                column: 0,
            };
        }
        at.column += width;
        if at.column >= columns {
            at = Place {
                row: at.row + 1,
                column: 0,
            };
        }
    }
    at
}

/// A terminal stays on the last column until something is printed beyond it. Afterwards it is where
/// [`place`] says.
pub(super) fn settle(at: Place, echo: &mut Vec<u8>) {
    if at.column == 0 && at.row > 0 {
        echo.extend_from_slice(b" \x08");
    }
}

/// Moves the cursor.
pub(super) fn go(from: Place, to: Place, echo: &mut Vec<u8>) {
    if from.row > to.row {
        echo.extend_from_slice(format!("\x1b[{}A", from.row - to.row).as_bytes());
    } else if from.row < to.row {
        echo.extend_from_slice(format!("\x1b[{}B", to.row - from.row).as_bytes());
    }
    if to.column < from.column && from.column - to.column <= 4 {
        echo.resize(echo.len() + from.column - to.column, 0x08);
    } else if to.column != from.column {
        echo.push(b'\r');
        if to.column > 0 {
            echo.extend_from_slice(format!("\x1b[{}C", to.column).as_bytes());
        }
    }
}

/// Erases from the cursor to the end of the screen.
pub(super) const ERASE_BELOW: &[u8] = b"\x1b[J";

/// Erases everything; the cursor is in the upper left corner.
pub(super) const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

/// Words in columns, as `ls` shows them, for a terminal of `columns`; lines end in CR LF.
pub(super) fn in_columns(words: &[&str], columns: usize) -> String {
    let widest = words.iter().map(|word| word.width()).max().unwrap_or(0);
    let per_row = (columns.saturating_sub(1) / (widest + 2)).max(1);
    let rows = words.len().div_ceil(per_row);
    let mut text = String::new();
    for row in 0..rows {
        let mut line = String::new();
        for word in words.iter().skip(row).step_by(rows) {
            line.push_str(word);
            line.extend(std::iter::repeat_n(' ', widest + 2 - word.width()));
        }
        text.push_str(line.trim_end());
        text.push_str("\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(row: usize, column: usize) -> Place {
        Place { row, column }
    }

    #[test]
    fn text_wraps_at_the_last_column() {
        let start = Place::default();
        assert_eq!(place(start, "abc", 10), at(0, 3));
        assert_eq!(place(start, "0123456789", 10), at(1, 0));
        assert_eq!(place(at(0, 8), "abc", 10), at(1, 1));
        assert_eq!(place(start, "ü", 10), at(0, 1));
        // A wide character that does not fit begins the next row.
        assert_eq!(place(at(0, 9), "漢", 10), at(1, 2));
    }

    #[test]
    fn moves_are_short() {
        let echo = |from, to| {
            let mut echo = Vec::new();
            go(from, to, &mut echo);
            String::from_utf8(echo).unwrap()
        };
        assert_eq!(echo(at(0, 5), at(0, 5)), "");
        assert_eq!(echo(at(0, 5), at(0, 3)), "\x08\x08");
        assert_eq!(echo(at(1, 5), at(0, 30)), "\x1b[1A\r\x1b[30C");
        assert_eq!(echo(at(0, 30), at(2, 0)), "\x1b[2B\r");
    }

    #[test]
    fn words_stand_in_columns() {
        assert_eq!(
            in_columns(&["a", "bb", "ccc", "d"], 11),
            "a    ccc\r\nbb   d\r\n"
        );
        assert_eq!(in_columns(&["long", "longer"], 5), "long\r\nlonger\r\n");
        assert_eq!(in_columns(&[], 80), "");
    }
}

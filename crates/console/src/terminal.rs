//! What is known of the terminal of a console, and colours.
//!
//! Invariants: colour is added to what is said already, and taken away nothing is different; only words for
//! states are coloured, and beginnings of lines that tell of a failure; JSON never is.

use crate::session::PAGE;

/// What is known of a terminal, and what its user wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terminal {
    /// Rows, if somebody has said how many.
    pub rows: Option<usize>,
    /// Columns, if somebody has said how many.
    pub columns: Option<usize>,
    /// States are shown in colour.
    pub has_color: bool,
    /// There is a keyboard, so that somebody can end what fills the screen.
    pub has_keyboard: bool,
    /// Events are shown as they come.
    pub shows_events: bool,
}

impl Default for Terminal {
    /// Nobody tells an Ethernet console how large a terminal is, or whether there is one.
    fn default() -> Self {
        Self {
            rows: None,
            columns: None,
            has_color: false,
            has_keyboard: false,
            shows_events: true,
        }
    }
}

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Text that may be a page ([`crate::session::PAGE`]), for a terminal: a page begins in the upper left corner
/// and is alone on the screen. It is written over what was there, so that nothing flickers.
#[must_use]
pub fn as_page(text: &str) -> String {
    let Some((before, page)) = text.split_once(PAGE) else {
        return text.to_owned();
    };
    let page = page.replace('\n', "\x1b[K\n");
    format!("{before}\x1b[H{page}\x1b[J")
}

/// Words for states, as listings have them.
const STATES: &[(&str, &str)] = &[
    ("normal", GREEN),
    ("up", GREEN),
    ("online", GREEN),
    ("ok", GREEN),
    ("initing", YELLOW),
    ("recovering", YELLOW),
    ("degraded", YELLOW),
    ("replaced", YELLOW),
    ("offline", YELLOW),
    ("failed", RED),
    ("missing", RED),
    ("down", RED),
];

/// Text with its states in colour.
pub(crate) fn colored(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix("error: ") {
            out.push_str(&format!("{RED}error:{PLAIN} {rest}"));
            continue;
        }
        for word in line.split_inclusive([' ', '\n']) {
            let bare = word.trim_end_matches([' ', '\n']);
            let worst = bare.split(',').map(color_of).reduce(worse).flatten();
            match worst {
                Some(color) => {
                    out.push_str(&format!("{color}{bare}{PLAIN}{}", &word[bare.len()..]));
                }
                None => out.push_str(word),
            }
        }
    }
    out
}

fn color_of(word: &str) -> Option<&'static str> {
    STATES
        .iter()
        .find(|(state, _)| *state == word)
        .map(|(_, color)| *color)
}

/// Of the colours of a list of states the worst; none if one of them is no state.
fn worse(left: Option<&'static str>, right: Option<&'static str>) -> Option<&'static str> {
    let rank = |color| {
        [GREEN, YELLOW, RED]
            .iter()
            .position(|other| *other == color)
    };
    let (left, right) = (left?, right?);
    Some(if rank(left) >= rank(right) {
        left
    } else {
        right
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_over_what_was_there() {
        assert_eq!(as_page("a\nb\n"), "a\nb\n");
        assert_eq!(
            as_page(&format!("{PAGE}a\nb\n")),
            "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"
        );
    }

    #[test]
    fn states_have_colours_and_nothing_else_changes() {
        assert_eq!(
            colored("1.0 4000.787GB up\n"),
            "1.0 4000.787GB \x1b[32mup\x1b[0m\n"
        );
        assert_eq!(
            colored("   0.0 raid5 recovering,degraded\nerror: LUN 9 does not exist\n"),
            "   0.0 raid5 \x1b[33mrecovering,degraded\x1b[0m\n\x1b[31merror:\x1b[0m LUN 9 does not exist\n"
        );
        assert_eq!(colored("set,up  downs upper\n"), "set,up  downs upper\n");
        let text = " 0 32006.296GB offline\n   0.0 raid10 failed\n     0.0.1 missing 0.000GB missing\n\nok";
        let mut plain = colored(text);
        for code in [GREEN, YELLOW, RED, PLAIN] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, text);
    }
}

//! What must hold of every reply.

use super::house::State;
use console::Reply;
use console::lexer;
use shelf::admin::LunStatus;

/// Listings of everything, for everybody.
pub(super) const LISTINGS: [&str; 18] = [
    "list -l -j",
    "show -l -j",
    "spares -j",
    "mask -j",
    "reservations -j",
    "vlans -j",
    "readonly -j",
    "scrub -j",
    "ratelimit -j",
    "shelf -j",
    "restore -l -j",
    "when -j",
    "erase -j",
    "disktest -j",
    "condition -j",
    "extract -j",
    "iostats -j",
    "ifstat -j",
];

/// Commands that do one operand after the other: what was done before one was refused stays done, and
/// the others are told as skipped.
const ONE_BY_ONE: [&str; 32] = [
    "online",
    "offline",
    "remove",
    "rmlun",
    "eject",
    "ejectlun",
    "jbod",
    "mkjbod",
    "spare",
    "mkspare",
    "rmspare",
    "mask",
    "rmmask",
    "reservations",
    "lunreservations",
    "setvlan",
    "clrvlan",
    "readonly",
    "scrub",
    "restore",
    "restorelun",
    "label",
    "unlabel",
    "erase",
    "disktest",
    "condition",
    "setsize",
    "restoreconfig",
    "fail",
    "faildrive",
    "unfail",
    "lunfailguard",
];

/// Errors that do not say of which word they are: those of Coraid's consoles, which tools know as they are
/// (in JSON the word is beside them), and those that are about the command as a whole.
const WITHOUT_WORD: [&str; 25] = [
    "LUN must be an integer between 0 and 254 inclusive",
    "lun already exists",
    "no LUN specified",
    "vlanid must be in the range 1 to 4094",
    "unbalanced quote",
    "cannot change shelf address with online LUNs",
    "shelf address is unset",
    "too many spares",
    "wrong number of devices",
    "seconds must be an integer",
    "seconds to wait must be an integer",
    "config string of",
    "FLUSH CACHE is always honoured",
    "there is no syslog target",
    "systemd-timesyncd keeps the clock",
    "LUNs are always in mode random",
    "the guard is always there",
    "a message has at most",
    "the product is one word",
    "label length limited",
    "a label has no control characters",
    "the shelf is stopping",
    "a question was open",
    "shelf address changed",
    "this box has no LEDs",
];

/// Text without its colours, which a console may ask for.
fn plain(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        let rest = rest.strip_prefix('m');
        plain.push_str(rest.expect("a sequence in a reply is a colour"));
    }
    plain
}

/// Text in whole lines. A live view begins with a form feed, for which its door clears the screen.
pub(super) fn check_output(output: &str) {
    let output = plain(output);
    let output = output.strip_prefix('\x0c').unwrap_or(&output);
    assert!(output.is_empty() || output.ends_with('\n'), "{output:?}");
    let control = output.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "{output:?}");
}

/// What goes to a terminal: text, and nothing that a terminal does other than move the cursor, erase, beep.
pub(super) fn check_screen(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("what is shown is text");
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\x1b' => {
                assert_eq!(rest.next(), Some('['), "{text:?}");
                let end = rest.find(|c| !c.is_ascii_digit() && *c != ';');
                let is_known = end.is_some_and(|end| "ABCDGHJKmt".contains(end));
                assert!(is_known, "{end:?} in {text:?}");
            }
            '\r' | '\n' | '\x07' | '\x08' => {}
            other => assert!(!other.is_control(), "{other:?} in {text:?}"),
        }
    }
}

/// Scripts know a question by the default at its end.
pub(super) fn check_question(prompt: &str) {
    assert!(!prompt.contains(char::is_control), "{prompt:?}");
    let end = prompt.trim_end();
    assert!(end.ends_with(':') || end.ends_with(']'), "{prompt:?}");
}

/// A command was typed.
pub(super) fn check_command(line: &str, reply: &Reply, is_changed: bool) {
    let words = words_of(line);
    check_errors(line, &words, reply);
    if reply.ok || !is_changed {
        return;
    }
    let name = words.first().map_or("", String::as_str);
    let name = name.strip_prefix('/').unwrap_or(name);
    assert!(
        ONE_BY_ONE.contains(&name) && words.len() > 2,
        "{line:?} was refused and changed something: {}",
        reply.output
    );
}

/// The answer to a question was typed.
pub(super) fn check_answer(question: &str, line: &str, reply: &Reply, is_changed: bool) {
    let answer = line.trim();
    let is_asked_for =
        question.contains("type ") && !answer.is_empty() && question.contains(answer);
    let is_yes = is_asked_for || matches!(answer, "y" | "Y" | "a" | "A");
    assert!(is_yes || !is_changed, "{line:?} is not yes");
    assert!(is_yes || !reply.ok, "{line:?} is not yes");
    assert!(reply.ok || !reply.output.is_empty(), "{line:?} failed");
}

/// The words of a line as the shelf understands them, and as they were typed.
fn words_of(line: &str) -> Vec<String> {
    let Ok(words) = lexer::split(line) else {
        return Vec::new();
    };
    let mut texts: Vec<String> = words.iter().map(lexer::Word::text).collect();
    if let Ok(expanded) = lexer::expand(words.get(1..).unwrap_or_default()) {
        texts.truncate(1);
        texts.extend(expanded);
    }
    texts
}

fn check_errors(line: &str, words: &[String], reply: &Reply) {
    assert!(
        reply.ok || !reply.output.is_empty(),
        "{line:?} failed and says nothing"
    );
    let shown = |text: &str| -> String {
        let visible = |c: char| if c.is_control() { '?' } else { c };
        text.chars().map(visible).collect()
    };
    for error in plain(&reply.output).lines() {
        let Some(text) = error.strip_prefix("error: ") else {
            continue;
        };
        assert!(!text.trim().is_empty(), "{line:?}: an error without text");
        let names_one = words
            .iter()
            .any(|word| text.contains(&shown(word)) || is_about(text, word));
        // Without operands there is nothing to name.
        let is_known = words.len() == 1 || WITHOUT_WORD.iter().any(|known| text.starts_with(known));
        assert!(
            names_one || is_known,
            "{line:?}: {text:?} does not say of which word it is"
        );
    }
}

/// Whether a text is about a part of a word: the RAID of an element, the shelf of a drive, what follows the
/// sign of a mask, or the series that it holds.
fn is_about(text: &str, word: &str) -> bool {
    let series = text
        .strip_prefix("series ")
        .and_then(|rest| rest.split(' ').next());
    if series.is_some_and(|series| !series.is_empty() && word.contains(series)) {
        return true;
    }
    let mut parts = word.split(['.', '+']).filter(|part| !part.is_empty());
    parts.any(|part| text.contains(part))
}

/// After a start everything is as it was: after a power cut a LUN that was served may have to be
/// resynchronised.
pub(super) fn check_restart(before: &State, after: &State, is_orderly: bool) {
    let blank = |state: &State| {
        let mut state = state.clone();
        for lun in &mut state.luns {
            blank_lun(lun, is_orderly);
        }
        state
    };
    assert_eq!(blank(before), blank(after), "orderly: {is_orderly}");
}

fn blank_lun(lun: &mut LunStatus, is_orderly: bool) {
    if is_orderly {
        return;
    }
    for part in &mut lun.parts {
        part.state.initing = false;
    }
}

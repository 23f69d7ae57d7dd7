//! The record of a session: every command with its output, printed as a terminal would show it.
//!
//! It goes through the test harness's standard output, so it appears with `--nocapture`, or when
//! the test fails.

#![allow(
    clippy::print_stdout,
    reason = "the transcript is what the tests print"
)]

/// Prints one command and what it answered.
pub fn record(prompt: &str, command: &str, output: &str) {
    println!("{prompt} {command}");
    for line in output.lines() {
        println!("{}", as_shown(line));
    }
}

/// Prints a line about what happens outside of any terminal, such as a killed daemon.
pub fn note(text: &str) {
    println!("-- {text}");
}

/// What a terminal shows of a line in which a program has gone back over its own progress display.
fn as_shown(line: &str) -> String {
    let mut shown = String::new();
    for character in line.chars() {
        match character {
            '\u{8}' => drop(shown.pop()),
            _ => shown.push(character),
        }
    }
    shown.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backspaces_take_back_what_was_printed() {
        assert_eq!(
            as_shown("tables: 0/4\u{8}\u{8}\u{8}   \u{8}\u{8}\u{8}done   "),
            "tables: done"
        );
        assert_eq!(as_shown("\u{8}x"), "x");
    }
}

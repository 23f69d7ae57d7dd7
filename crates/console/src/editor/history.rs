//! The lines that were entered, newest last, and the walk through them.
//!
//! Invariants: at most [`LINES_MAX`] lines are kept; no line stands twice in a row; what is being typed is
//! kept while older lines are looked at, and comes back below the newest of them.

use std::collections::VecDeque;

/// A day of work at a console.
const LINES_MAX: usize = 500;

#[derive(Clone, Default, Debug)]
pub(super) struct History {
    lines: VecDeque<String>,
    /// Which line is shown; `None` when it is none of these.
    shown: Option<usize>,
    /// What was typed before the walk began.
    typed: String,
}

impl History {
    /// Keeps a line that was entered.
    pub(super) fn add(&mut self, line: &str) {
        self.shown = None;
        if line.trim().is_empty() || self.lines.back().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    /// The line before the one that is shown, which has become `current`.
    pub(super) fn older(&mut self, current: &str) -> Option<&str> {
        let index = self.shown.unwrap_or(self.lines.len()).checked_sub(1)?;
        if self.shown.is_none() {
            current.clone_into(&mut self.typed);
        }
        self.shown = Some(index);
        self.lines.get(index).map(String::as_str)
    }

    /// The line after the one that is shown, at last what was being typed.
    pub(super) fn newer(&mut self) -> Option<&str> {
        let index = self.shown? + 1;
        self.shown = Some(index).filter(|index| *index < self.lines.len());
        Some(
            self.shown
                .map_or(self.typed.as_str(), |index| &self.lines[index]),
        )
    }

    /// The newest line with `wanted` in it among those before `index`.
    pub(super) fn find(&self, wanted: &str, before: usize) -> Option<(usize, &str)> {
        let lines = self.lines.iter().enumerate().take(before).rev();
        let mut found = lines.filter(|(_, line)| line.contains(wanted));
        found.next().map(|(index, line)| (index, line.as_str()))
    }

    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Ends the walk.
    pub(super) fn leave(&mut self) {
        self.shown = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> History {
        let mut history = History::default();
        lines.iter().for_each(|line| history.add(line));
        history
    }

    #[test]
    fn the_walk_goes_up_and_comes_back_to_what_was_typed() {
        let mut history = of(&["show", "list", "list", "  "]);
        assert_eq!(history.newer(), None);
        assert_eq!(history.older("on"), Some("list"));
        assert_eq!(history.older("list"), Some("show"));
        assert_eq!(history.older("show"), None);
        assert_eq!(history.newer(), Some("list"));
        assert_eq!(history.newer(), Some("on"));
        assert_eq!(history.newer(), None);
    }

    #[test]
    fn old_lines_go_and_others_are_found_from_the_newest() {
        let mut history = History::default();
        (0..=LINES_MAX).for_each(|n| history.add(&format!("line {n}.")));
        assert_eq!(history.len(), LINES_MAX);
        assert_eq!(history.find("line 0.", usize::MAX), None);
        let history = of(&["make 0", "list", "make 1"]);
        assert_eq!(history.find("make", usize::MAX), Some((2, "make 1")));
        assert_eq!(history.find("make", 2), Some((0, "make 0")));
        assert_eq!(history.find("make", 0), None);
    }
}

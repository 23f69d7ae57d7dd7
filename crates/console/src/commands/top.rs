//! `top`: workers, LUNs, initiators, disks and ports, and what they do now.
//!
//! Where there is somebody to look at it, a page that is shown anew until a key ends it; elsewhere, and with
//! `-j` and `-b`, it is told once. Either takes two looks at what is counted, as far apart as rates are over.

mod sample;
mod tables;
mod view;

use super::{Outcome, Watch};
use crate::command::Invocation;
use crate::editor::keys::Key;
use crate::host::{DoorKind, World};
use crate::problem::Problem;
use crate::record::Record;
use crate::record::top::TopRecord;
use crate::report::Report;
use crate::terminal::Terminal;
use sample::Sample;
use shelf::statistics::WINDOW_SECONDS_MAX;
use std::time::Duration;
use view::{Pressed, View};

/// Seconds from one look to the next.
const SECONDS: u64 = 1;

/// The soonest that is looked again when a key has been in the way.
const SOON: Duration = Duration::from_millis(10);

/// Reverse video, and plain again.
const TITLE: (&str, &str) = ("\x1b[7m", "\x1b[0m");

/// A look that is followed by another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Top {
    seconds: u64,
    before: Sample,
    /// What is on the screen; `None` where it is told once.
    screen: Option<Box<Screen>>,
}

/// What is on a screen.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Screen {
    view: View,
    shown: TopRecord,
    titles: Vec<usize>,
}

/// Begins to look.
pub(crate) fn top(
    invocation: &Invocation,
    world: &World<'_>,
    terminal: &Terminal,
    json: bool,
) -> Outcome {
    let options = &invocation.options;
    let seconds = match options.value.as_deref() {
        None => Some(SECONDS),
        Some(word) => crate::names::decimal(word),
    };
    let Some(seconds) = seconds.filter(|seconds| (1..=WINDOW_SECONDS_MAX).contains(seconds)) else {
        let word = options.value.clone().unwrap_or_default();
        return Report::from(Problem::InvalidSeconds(word)).into();
    };
    // Over the Ethernet there is always somebody; nobody else is known to be there who has not said so.
    let has_reader = terminal.has_keyboard || world.who.door == DoorKind::Ethernet;
    let (before, shown) = sample::look(world, None, seconds);
    if json || options.batch || !has_reader {
        return Top {
            seconds,
            before,
            screen: None,
        }
        .again(Report::default(), Duration::from_secs(seconds));
    }
    let view = View::default();
    let screen = Screen {
        view,
        shown,
        titles: Vec::new(),
    };
    Top {
        seconds,
        before,
        screen: Some(Box::new(screen)),
    }
    .show(terminal, Duration::from_secs(seconds))
}

impl Top {
    /// Whether it has a screen, and takes keys.
    pub(crate) const fn is_screen(&self) -> bool {
        self.screen.is_some()
    }

    /// Looks again.
    pub(crate) fn go_on(mut self, world: &World<'_>, terminal: &Terminal) -> Outcome {
        let period = Duration::from_secs(self.seconds);
        let is_paused = |screen: &Screen| screen.view.is_paused();
        if self.screen.as_deref().is_some_and(is_paused) {
            return self.show(terminal, period);
        }
        let (sample, record) = sample::look(world, Some(&self.before), self.seconds);
        let Some(screen) = &mut self.screen else {
            let mut report = Report::default();
            let lines = View::text(&record).lines;
            report.rows(lines, Record::Top(Box::new(record)));
            return report.into();
        };
        screen.shown = record;
        self.before = sample;
        self.show(terminal, period)
    }

    /// Keys were pressed; the next look is when it would have been.
    pub(crate) fn press(mut self, keys: &[Key], world: &World<'_>, terminal: &Terminal) -> Outcome {
        if let Some(screen) = &mut self.screen {
            for key in keys {
                if screen.view.press(*key) == Pressed::End {
                    return Outcome::default();
                }
            }
        }
        let due = self.before.at() + Duration::from_secs(self.seconds);
        let after = due.saturating_sub(world.host.now()).max(SOON);
        self.show(terminal, after)
    }

    fn show(mut self, terminal: &Terminal, after: Duration) -> Outcome {
        let mut report = Report::default();
        if let Some(screen) = &mut self.screen {
            let page = screen
                .view
                .page(&screen.shown, (terminal.rows, terminal.columns));
            screen.titles = page.titles;
            page.lines.into_iter().for_each(|line| report.line(line));
        }
        self.again(report, after)
    }

    fn again(self, report: Report, after: Duration) -> Outcome {
        Outcome {
            report,
            pending: None,
            watch: Some((after, Watch::Top(Box::new(self)))),
        }
    }

    /// The page with its titles in reverse video, for a terminal with colours.
    pub(crate) fn emphasised(&self, text: &str) -> String {
        let titles = self.screen.as_ref().map(|screen| screen.titles.as_slice());
        let titles = titles.unwrap_or_default();
        let line = |(index, line): (usize, &str)| {
            if titles.contains(&index) {
                let (begin, end) = TITLE;
                format!("{begin}{}{end}\n", line.trim_end_matches('\n'))
            } else {
                line.to_owned()
            }
        };
        text.split_inclusive('\n').enumerate().map(line).collect()
    }
}

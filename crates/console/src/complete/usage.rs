//! What may stand where on a line, read from the usage of its command.
//!
//! The usage is what `help` shows, in Coraid's notation: `[ ]` for what may be left out, ` | ` for a choice,
//! `...` for more of the same, words as they are typed and words that stand for something. There is no second
//! description of a command that could fall behind it.
//!
//! Invariants: every word of every usage is in [`KEYWORDS`], or is a [`Kind`] that is known (a test holds the
//! table to it); options may stand anywhere, and are not in the pattern.

use std::collections::BTreeSet;

/// What a word of a usage stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// The number of a LUN.
    Lun,
    /// A drive.
    Drive,
    /// An element.
    Element,
    /// A RAID type.
    Type,
    /// A station to add to a list, or to take away.
    Mac,
    /// A network port.
    Port,
    /// A command.
    Command,
    /// Something that only the user knows, by the word of the usage.
    Free(&'static str),
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Item {
    /// A word as it is typed.
    Keyword(&'static str),
    /// A word that stands for something.
    Kind(Kind),
}

/// An option, and what its value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OptionUsage {
    pub(super) letter: char,
    pub(super) value: Option<Kind>,
}

/// Words of usages that are typed as they are.
pub(super) const KEYWORDS: &[&str] = &[
    "abort",
    "ack",
    "add",
    "admin",
    "all",
    "clear",
    "color",
    "columns",
    "default",
    "disable",
    "enable",
    "every",
    "fault",
    "locate",
    "located",
    "long",
    "monthly",
    "off",
    "on",
    "pause",
    "policy",
    "random",
    "read-only",
    "rebuild",
    "remove",
    "repair",
    "report",
    "reset",
    "resume",
    "role",
    "rows",
    "schedule",
    "sequential",
    "series",
    "short",
    "spare",
    "start",
    "status",
    "stop",
    "weekly",
];

/// Words of usages that stand for something that is not completed.
#[cfg(test)]
const FREE: &[&str] = &[
    "address", "array", "bytes", "day", "DAYS", "file", "format", "id", "KiB", "label", "lines",
    "minutes", "ms", "n", "name", "newlun", "number", "oldlun", "oldshelf", "secs", "sector",
    "server", "size", "slot", "string", "text", "time", "user", "value",
];

/// The types that `make` knows.
pub(super) const TYPES: &[&str] = &["raw", "jbod", "raid0", "raid1", "raid5", "raid6", "raid10"];

fn kind(word: &'static str) -> Kind {
    match word {
        "LUN" => Kind::Lun,
        "drive" | "drives" => Kind::Drive,
        "LUN.part.drive" => Kind::Element,
        "type" => Kind::Type,
        "mac" => Kind::Mac,
        "port" | "interface" => Kind::Port,
        "command" => Kind::Command,
        other => Kind::Free(other),
    }
}

impl Item {
    fn of(word: &'static str) -> Self {
        if KEYWORDS.contains(&word) {
            Self::Keyword(word)
        } else {
            Self::Kind(kind(word))
        }
    }

    /// Whether a word that was typed may be this.
    fn takes(self, word: &str) -> bool {
        let dots = word.matches('.').count();
        let begins_with_digit = word.starts_with(|c: char| c.is_ascii_digit());
        match self {
            Self::Keyword(keyword) => word == keyword,
            Self::Kind(Kind::Lun) => begins_with_digit && dots == 0,
            Self::Kind(Kind::Drive) => dots == 1 || word == "missing",
            Self::Kind(Kind::Element) => dots == 2,
            Self::Kind(Kind::Type) => word.starts_with(|c: char| c.is_ascii_alphabetic()),
            Self::Kind(Kind::Mac) => word.starts_with(['+', '-']),
            Self::Kind(Kind::Port | Kind::Command | Kind::Free(_)) => true,
        }
    }
}

/// The usage of a command, taken apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    /// Its options, but `-j`, which every command has.
    pub(super) options: Vec<OptionUsage>,
    states: Vec<State>,
}

/// A place in the pattern, and the ways on from it.
#[derive(Clone, Debug, Default)]
struct State {
    on: Vec<(Item, usize)>,
    free: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Open,
    Close,
    Or,
    More,
    Word(&'static str),
}

impl Usage {
    /// Reads a usage, which begins with the name of its command.
    pub(super) fn new(usage: &'static str) -> Self {
        let tokens = tokens(usage);
        let name = match tokens.first() {
            Some(Token::Word(name)) => *name,
            _ => "",
        };
        // In a choice of whole lines each begins with the name.
        let tokens: Vec<Token> = tokens
            .into_iter()
            .filter(|token| *token != Token::Word(name))
            .collect();
        let mut reader = Reader {
            tokens: &tokens,
            usage: Self::default(),
        };
        reader.usage.states.push(State::default());
        reader.choice(0);
        reader.usage
    }

    /// What may come after the words that were typed, options left out.
    pub(super) fn next(&self, words: &[String]) -> BTreeSet<Item> {
        let mut places = self.reach([0]);
        for word in words {
            let ways = places.iter().flat_map(|place| &self.states[*place].on);
            let mut taken: Vec<(Item, usize)> =
                ways.filter(|(item, _)| item.takes(word)).copied().collect();
            // A keyword is what it says, also where anything may stand.
            if taken
                .iter()
                .any(|(item, _)| matches!(item, Item::Keyword(_)))
            {
                taken.retain(|(item, _)| matches!(item, Item::Keyword(_)));
            }
            places = self.reach(taken.into_iter().map(|(_, to)| to));
        }
        let ways = places.iter().flat_map(|place| &self.states[*place].on);
        ways.map(|(item, _)| *item).collect()
    }

    fn reach(&self, from: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut left: Vec<usize> = from.into_iter().collect();
        while let Some(place) = left.pop() {
            if reached.insert(place) {
                left.extend(&self.states[place].free);
            }
        }
        reached
    }
}

/// Words, brackets and signs of a usage. `{+|-}mac` is one word.
fn tokens(usage: &'static str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = usage;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[1..];
            continue;
        }
        let sign = [
            ("...", Token::More),
            ("[", Token::Open),
            ("]", Token::Close),
        ];
        if let Some((text, token)) = sign.iter().find(|(text, _)| rest.starts_with(text)) {
            tokens.push(*token);
            rest = &rest[text.len()..];
            continue;
        }
        let bytes = rest
            .find(|c: char| c.is_whitespace() || c == '[' || c == ']')
            .unwrap_or(rest.len());
        let word = rest[..bytes].trim_end_matches("...");
        let (word, after) = (&rest[..word.len()], &rest[word.len()..]);
        rest = after;
        // What may be glued to a word is no word of its own: `n[K|M|G]`, `address[:port]`.
        if let Some((_, after)) = rest
            .strip_prefix('[')
            .and_then(|glued| glued.split_once(']'))
        {
            rest = after;
        }
        tokens.push(match word {
            "|" => Token::Or,
            "{+|-}mac" => Token::Word("mac"),
            word => Token::Word(word),
        });
    }
    tokens
}

/// Builds the pattern: each function reads from `from` and returns where it ends.
struct Reader<'a> {
    tokens: &'a [Token],
    usage: Usage,
}

impl Reader<'_> {
    fn peek(&self) -> Option<Token> {
        self.tokens.first().copied()
    }

    fn advance(&mut self) {
        self.tokens = self.tokens.get(1..).unwrap_or_default();
    }

    fn state(&mut self) -> usize {
        self.usage.states.push(State::default());
        self.usage.states.len() - 1
    }

    fn free(&mut self, from: usize, to: usize) {
        self.usage.states[from].free.push(to);
    }

    fn choice(&mut self, from: usize) -> usize {
        let end = self.state();
        loop {
            let to = self.sequence(from);
            self.free(to, end);
            if self.peek() != Some(Token::Or) {
                return end;
            }
            self.advance();
        }
    }

    fn sequence(&mut self, mut from: usize) -> usize {
        while let Some(token) = self.peek() {
            if matches!(token, Token::Or | Token::Close) {
                break;
            }
            self.advance();
            // A place of its own, so that whoever comes back for more finds this only.
            let begin = self.state();
            self.free(from, begin);
            from = match token {
                Token::Open => self.bracket(begin),
                Token::Word(word) => self.word(word, begin),
                Token::Or | Token::Close | Token::More => begin,
            };
            if self.peek() == Some(Token::More) {
                self.advance();
                self.free(from, begin);
            }
        }
        from
    }

    fn bracket(&mut self, from: usize) -> usize {
        let to = if let [Token::Word(option), Token::Word(value), Token::Close, ..] = self.tokens
            && let Some(letter) = option
                .strip_prefix('-')
                .and_then(|letters| letters.chars().next())
        {
            let value = Some(kind(value));
            self.usage.options.push(OptionUsage { letter, value });
            self.advance();
            self.advance();
            from
        } else {
            self.choice(from)
        };
        self.advance();
        self.free(from, to);
        to
    }

    fn word(&mut self, word: &'static str, from: usize) -> usize {
        if word.starts_with('-') {
            let letters = word
                .split('|')
                .flat_map(|letters| letters.trim_start_matches('-').chars());
            for letter in letters.filter(|letter| *letter != 'j') {
                self.usage.options.push(OptionUsage {
                    letter,
                    value: None,
                });
            }
            return from;
        }
        let to = self.state();
        for word in word.split('|') {
            self.usage.states[from].on.push((Item::of(word), to));
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::COMMANDS;

    fn next(usage: &'static str, words: &[&str]) -> Vec<Item> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Usage::new(usage).next(&words).into_iter().collect()
    }

    const LUN: Item = Item::Kind(Kind::Lun);
    const DRIVE: Item = Item::Kind(Kind::Drive);

    #[test]
    fn operands_follow_one_another() {
        let make = "make [-c] [-k KiB] LUN type drive ...";
        assert_eq!(next(make, &[]), [LUN]);
        assert_eq!(next(make, &["0"]), [Item::Kind(Kind::Type)]);
        assert_eq!(next(make, &["0", "raid5"]), [DRIVE]);
        assert_eq!(next(make, &["0", "raid5", "1.0-3", "missing"]), [DRIVE]);
        assert_eq!(next("fail [-r] LUN.part.drive", &["0.0.1"]), []);
        let [clean, chunk] = Usage::new(make).options[..] else {
            panic!("two options");
        };
        assert_eq!((clean.letter, clean.value), ('c', None));
        assert_eq!((chunk.letter, chunk.value), ('k', Some(Kind::Free("KiB"))));
    }

    #[test]
    fn choices_and_repeats() {
        let mask = "mask [LUN ...] [{+|-}mac ...] | mask clear LUN ...";
        let mac = Item::Kind(Kind::Mac);
        assert_eq!(next(mask, &[]), [Item::Keyword("clear"), LUN, mac]);
        assert_eq!(next(mask, &["clear"]), [LUN]);
        assert_eq!(next(mask, &["0", "1"]), [LUN, mac]);
        assert_eq!(next(mask, &["0", "+001004012e81"]), [mac]);
        let scrub = "scrub [status | every DAYS | schedule off|weekly] [LUN ...]";
        assert_eq!(
            next(scrub, &["schedule"]),
            [Item::Keyword("off"), Item::Keyword("weekly")]
        );
        assert_eq!(next(scrub, &["every"]), [Item::Kind(Kind::Free("DAYS"))]);
        assert_eq!(next(scrub, &["every", "7"]), [LUN]);
        assert_eq!(next(scrub, &["status", "0"]), [LUN]);
        assert_eq!(next(scrub, &["nonsense"]), []);
        let rate = "ratelimit [-p] [n[K|M|G]] [-j]";
        assert_eq!(next(rate, &[]), [Item::Kind(Kind::Free("n"))]);
        assert_eq!(next(rate, &["1"]), []);
        assert_eq!(next("show [-l] [drive...]", &["1.0"]), [DRIVE]);
    }

    /// A word that is in no list is one that nobody has thought about.
    #[test]
    fn every_word_of_every_usage_is_known() {
        for command in COMMANDS {
            for state in &Usage::new(command.usage).states {
                for (item, _) in &state.on {
                    if let Item::Kind(Kind::Free(word)) = item {
                        assert!(
                            FREE.contains(word),
                            "{word:?} in `{}` is in no list",
                            command.usage
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn examples_follow_their_usage() {
        for command in COMMANDS {
            let usage = Usage::new(command.usage);
            for example in command.examples {
                let words: Vec<String> = example.split(' ').skip(1).map(str::to_owned).collect();
                if example.contains(['-', '\'']) {
                    continue;
                }
                for count in 0..words.len() {
                    let items = usage.next(&words[..count]);
                    let fits = items.iter().any(|item| item.takes(&words[count]));
                    assert!(
                        fits,
                        "{example}: {} does not fit `{}`",
                        words[count], command.usage
                    );
                }
            }
        }
    }
}

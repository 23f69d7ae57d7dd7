//! What may stand at the cursor: completion and the help of `?`, with the names that there are now.
//!
//! Both are functions of line, cursor and shelf. The command table gives commands, options and, through their
//! usage, what may come where; the shelf gives drives, LUNs, elements and ports, those first that the
//! command can use: free drives for `make`, offline LUNs for `online`.
//!
//! * A series is completed at its second number: `1.0-` offers the slots after 0.
//! * Within quotes candidates are quoted; a word that needs quotes gets them.
//!
//! Invariants: nothing is changed; a candidate is never shorter than what it replaces allows: it begins with
//! what is typed; words that stand on the line already are not offered again.

mod usage;
mod words;

use crate::command::{COMMANDS, Command, DriveVerb, Verb, find};
use crate::lexer;
use crate::names::drive_name;
use serde::{Deserialize, Serialize};
use shelf::admin::{Admin, DriveRole, ElementState, LunNumber};
use std::collections::BTreeSet;
use usage::{Item, Kind, TYPES, Usage};
use words::Typed;

pub(crate) use words::is_quoted;

/// Something that may stand at the cursor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// What to put on the line.
    pub text: String,
    /// What to show in a list.
    pub label: String,
}

/// The answer to Tab.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Where the word begins that candidates replace, in bytes. It ends at the cursor.
    pub start: usize,
    /// What may stand there, in order.
    pub candidates: Vec<Candidate>,
}

impl Completion {
    /// What all candidates have in common, with a blank behind it if there is only one; `None` without
    /// candidates.
    #[must_use]
    pub fn insertion(&self) -> Option<String> {
        let (first, rest) = self.candidates.split_first()?;
        if rest.is_empty() {
            return Some(format!("{} ", first.text));
        }
        let same = |left: &str, right: &str| {
            let pairs = left.char_indices().zip(right.chars());
            let same = pairs.take_while(|((_, l), r)| l == r).last();
            same.map_or(0, |((index, character), _)| index + character.len_utf8())
        };
        let shortest = rest
            .iter()
            .map(|other| same(&first.text, &other.text))
            .min();
        Some(first.text[..shortest.unwrap_or(0)].to_owned())
    }
}

/// What may stand at the cursor, which is at a byte of the line.
#[must_use]
pub fn complete(line: &str, cursor: usize, admin: &dyn Admin) -> Completion {
    let Some(before) = line.get(..cursor) else {
        return Completion::default();
    };
    let (typed, word) = words::split(before);
    let place = Place::of(&typed, &word);
    let names = match &place {
        Place::Verb => verbs(&word),
        Place::Option(usage) => options(usage, &typed),
        Place::Operand {
            command,
            items,
            used,
        } => {
            let names = items.iter().flat_map(|item| names(*item, command, admin));
            let names = names.filter(|name| !used.contains(name));
            series(&word, names.collect())
        }
        Place::Nothing => Vec::new(),
    };
    let mut seen = BTreeSet::new();
    let fitting = names
        .into_iter()
        .filter(|name| name.starts_with(&word.text) && seen.insert(name.clone()));
    Completion {
        start: word.start,
        candidates: fitting
            .map(|name| candidate(name, word.is_quoted))
            .collect(),
    }
}

fn candidate(label: String, is_quoted: bool) -> Candidate {
    let text = if is_quoted {
        format!("'{}'", label.replace('\'', "''"))
    } else {
        lexer::join([&label])
    };
    Candidate { text, label }
}

/// What `?` tells after the line: the commands that may be meant, or usage, what may come here, options and
/// examples of one. Lines end in `\n`.
#[must_use]
pub fn help(line: &str, admin: &dyn Admin) -> String {
    let (typed, word) = words::split(line);
    let place = Place::of(&typed, &word);
    let command = typed.first().and_then(|first| find(&first.text).ok());
    let Some((command, _)) = command else {
        return verb_help(&word);
    };
    let mut text = format!("usage: {}\n{}\n", command.usage, command.summary);
    match &place {
        Place::Option(_) => {}
        Place::Operand { items, .. } if items.is_empty() => text.push_str("here: nothing more\n"),
        Place::Operand { items, .. } => {
            let words: Vec<String> = items.iter().map(|item| meaning(*item)).collect();
            text.push_str(&format!("here: {}\n", words.join("; or ")));
        }
        Place::Verb | Place::Nothing => {}
    }
    let candidates = complete(line, line.len(), admin).candidates;
    if !candidates.is_empty() {
        let labels: Vec<&str> = candidates
            .iter()
            .take(24)
            .map(|one| one.label.as_str())
            .collect();
        let more = if labels.len() < candidates.len() {
            " ..."
        } else {
            ""
        };
        text.push_str(&format!("now: {}{more}\n", labels.join(" ")));
    }
    for example in command.examples {
        text.push_str(&format!("  {example}\n"));
    }
    text
}

fn verb_help(word: &Typed) -> String {
    let mut text = String::new();
    let prefix = word.text.trim_start_matches('/');
    for command in COMMANDS
        .iter()
        .filter(|command| command.names().any(|name| name.starts_with(prefix)))
    {
        let summary: String = command
            .summary
            .split(';')
            .next()
            .unwrap_or_default()
            .chars()
            .collect();
        let row = format!("{:<12} {summary}", command.name);
        text.extend(row.chars().take(79));
        text.push('\n');
    }
    if text.is_empty() {
        text.push_str(&format!("no command begins with {}\n", word.text));
    }
    text.push_str("a command and ? tells more of it; Tab completes; help series tells of 1.0-15\n");
    text
}

/// What the cursor stands at.
enum Place {
    /// The command.
    Verb,
    /// An option.
    Option(Usage),
    /// An operand, or the value of an option.
    Operand {
        command: &'static Command,
        items: BTreeSet<Item>,
        used: BTreeSet<String>,
    },
    /// The command is not known.
    Nothing,
}

impl Place {
    fn of(typed: &[Typed], word: &Typed) -> Self {
        let Some((first, rest)) = typed.split_first() else {
            return Self::Verb;
        };
        let Ok((command, _)) = find(&first.text) else {
            return Self::Nothing;
        };
        let usage = Usage::new(command.usage);
        let mut operands = Vec::new();
        let mut value = None;
        let mut options_end = false;
        for word in rest {
            if value.take().is_some() {
                continue;
            }
            match word.text.strip_prefix('-') {
                Some("-") if !options_end => options_end = true,
                Some(letters)
                    if !options_end && !letters.is_empty() && command.verb != Verb::Mask =>
                {
                    let last = letters.chars().last();
                    let option = usage
                        .options
                        .iter()
                        .find(|option| Some(option.letter) == last);
                    value = option.and_then(|option| option.value);
                }
                _ => operands.push(word.text.clone()),
            }
        }
        let is_option = word.text.starts_with('-') && !word.is_quoted && !options_end;
        let items = match value {
            Some(kind) => BTreeSet::from([Item::Kind(kind)]),
            None => usage.next(&operands),
        };
        let has_macs = items.contains(&Item::Kind(Kind::Mac));
        if value.is_none() && !has_macs && (is_option || (items.is_empty() && operands.is_empty()))
        {
            return Self::Option(usage);
        }
        let expanded =
            lexer::split(&lexer::join(&operands)).and_then(|words| lexer::expand(&words));
        Self::Operand {
            command,
            items,
            used: expanded.unwrap_or_default().into_iter().collect(),
        }
    }
}

fn verbs(word: &Typed) -> Vec<String> {
    let (slash, prefix) = match word.text.strip_prefix('/') {
        Some(prefix) => ("/", prefix),
        None => ("", word.text.as_str()),
    };
    let mut names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    // Other names are for those who know them.
    if !prefix.is_empty() {
        names.extend(COMMANDS.iter().flat_map(|command| command.aliases).copied());
    }
    names.sort_unstable();
    names.iter().map(|name| format!("{slash}{name}")).collect()
}

fn options(usage: &Usage, typed: &[Typed]) -> Vec<String> {
    let letters = usage
        .options
        .iter()
        .map(|option| option.letter)
        .chain(['j']);
    let words = letters.map(|letter| format!("-{letter}"));
    words
        .filter(|word| typed.iter().all(|typed| typed.text != *word))
        .collect()
}

/// The words that may stand for an item, those only that the command can use now.
fn names(item: Item, command: &Command, admin: &dyn Admin) -> Vec<String> {
    match item {
        Item::Keyword(keyword) => vec![keyword.to_owned()],
        Item::Kind(Kind::Lun) => luns(command, admin),
        Item::Kind(Kind::Drive) => drives(command, admin),
        Item::Kind(Kind::Element) => elements(command, admin),
        Item::Kind(Kind::Type) => TYPES.iter().map(|name| (*name).to_owned()).collect(),
        Item::Kind(Kind::Mac) => stations(admin),
        Item::Kind(Kind::Port) => {
            let ports = admin.ports();
            ports.into_iter().map(|port| port.interface).collect()
        }
        Item::Kind(Kind::Command) => COMMANDS
            .iter()
            .map(|command| command.name.to_owned())
            .collect(),
        Item::Kind(Kind::Free(_)) => Vec::new(),
    }
}

fn luns(command: &Command, admin: &dyn Admin) -> Vec<String> {
    let luns = admin.luns();
    if command.verb == Verb::Make {
        let is_free = |number: &LunNumber| luns.iter().all(|lun| lun.lun != *number);
        let free = (0..=u8::MAX).filter_map(LunNumber::new).find(is_free);
        return free.iter().map(LunNumber::to_string).collect();
    }
    let wanted = luns.iter().filter(|lun| match command.verb {
        Verb::Online => !lun.online,
        Verb::Offline => lun.online,
        _ => true,
    });
    wanted.map(|lun| lun.lun.to_string()).collect()
}

fn drives(command: &Command, admin: &dyn Admin) -> Vec<String> {
    let shelf = admin.shelf();
    let takes_free = matches!(
        command.verb,
        Verb::Make | Verb::Grow | Verb::Jbod | Verb::Spare | Verb::Replace
    );
    let drives = admin.drives();
    let wanted = drives.iter().filter(|drive| match command.verb {
        Verb::Rmspare => drive.role == DriveRole::Spare,
        Verb::OfDrive(DriveVerb::Erase | DriveVerb::Setsize) => matches!(
            drive.role,
            DriveRole::Free | DriveRole::Foreign(_) | DriveRole::Working(_)
        ),
        Verb::OfDrive(DriveVerb::Extract) => matches!(
            drive.role,
            DriveRole::Free | DriveRole::Foreign(_) | DriveRole::Working(_)
        ),
        Verb::OfDrive(DriveVerb::Condition) => {
            matches!(drive.role, DriveRole::Free | DriveRole::Working(_))
        }
        _ if takes_free => matches!(drive.role, DriveRole::Free | DriveRole::Foreign(_)),
        _ => true,
    });
    let mut names: Vec<String> = wanted.map(|drive| drive_name(shelf, drive.slot)).collect();
    if matches!(command.verb, Verb::Make | Verb::Grow) {
        names.push("missing".to_owned());
    }
    names
}

fn elements(command: &Command, admin: &dyn Admin) -> Vec<String> {
    let luns = admin.luns();
    let parts = luns.iter().flat_map(|lun| &lun.parts);
    let elements = parts
        .flat_map(|part| &part.elements)
        .filter(|element| match command.verb {
            Verb::Fail => element.state != ElementState::Failed,
            Verb::Unfail => element.state == ElementState::Failed,
            _ => true,
        });
    elements.map(|element| element.id.to_string()).collect()
}

/// Stations to add: those that are known; and to take away: those that are in a list.
fn stations(admin: &dyn Admin) -> Vec<String> {
    let known = admin.initiators().known;
    let mut names: Vec<String> = known
        .iter()
        .map(|one| format!("+{}", one.statistics.mac))
        .collect();
    let luns = admin.luns();
    let masks = luns.iter().flat_map(|lun| &lun.access.masks);
    names.extend(masks.map(|mac| format!("-{mac}")));
    names
}

/// For a word such as `1.0-` or `1.0-1` the words that make a series of it, else the names themselves.
fn series(word: &Typed, names: Vec<String>) -> Vec<String> {
    let Some((before, typed_last)) = word.text.rsplit_once('-').filter(|_| !word.is_quoted) else {
        return names;
    };
    let first_at = before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (stem, first) = before.split_at(first_at);
    let is_series = typed_last.bytes().all(|byte| byte.is_ascii_digit());
    let Ok(first) = first.parse::<u64>() else {
        return names;
    };
    if !is_series {
        return names;
    }
    let numbers = names
        .iter()
        .filter_map(|name| name.strip_prefix(stem)?.parse::<u64>().ok());
    let after = numbers.filter(|number| *number > first);
    after.map(|number| format!("{before}-{number}")).collect()
}

/// What stands for an item, in words.
fn meaning(item: Item) -> String {
    match item {
        Item::Keyword(keyword) => keyword.to_owned(),
        Item::Kind(Kind::Lun) => "the number of a LUN, 0 to 254; 0-3 for several".to_owned(),
        Item::Kind(Kind::Drive) => "a drive, such as 1.0; 1.0-3 for several".to_owned(),
        Item::Kind(Kind::Element) => "an element, LUN.part.drive as list -l shows it".to_owned(),
        Item::Kind(Kind::Type) => format!("a type: {}", TYPES.join(" ")),
        Item::Kind(Kind::Mac) => "+ or - and the MAC address of a host".to_owned(),
        Item::Kind(Kind::Port) => "a network port, as ifstat shows it".to_owned(),
        Item::Kind(Kind::Command) => "a command".to_owned(),
        Item::Kind(Kind::Free(word)) => word.to_owned(),
    }
}

//! The command table, and the reading of options and operands by it.
//!
//! Invariants:
//! * Every name stands for exactly one row, or for one entry of [`NOT_AVAILABLE`].
//! * A row says all that the parser needs to know of its command.

mod nearest;
mod needs;
mod table;
mod unavailable;

pub use needs::{Lists, Needs};
pub use table::COMMANDS;
pub use unavailable::NOT_AVAILABLE;

use crate::commands::{MISSING, is_mask};
use crate::lexer::{self, Word};
use crate::problem::Problem;
use nearest::nearest;
use raid::Level;
use std::ops::RangeInclusive;

/// What a row of the table does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Lists drives.
    Show,
    /// Creates a LUN.
    Make,
    /// Creates one LUN per drive.
    Jbod,
    /// Appends a RAID to a LUN.
    Grow,
    /// Lists LUNs.
    List,
    /// Serves LUNs.
    Online,
    /// Stops serving LUNs.
    Offline,
    /// Forgets LUNs.
    Remove,
    /// Lets go of LUNs and their drives.
    Eject,
    /// Shows or sets the shelf number.
    Shelf,
    /// Lists ports.
    Ifstat,
    /// Tells how far long jobs are.
    When,
    /// Waits for long jobs.
    Wait,
    /// How this console shows things.
    Terminal,
    /// Whether this console shows events.
    Events,
    /// Lists or adds spares.
    Spare,
    /// Takes spares from the pool.
    Rmspare,
    /// Lists spares.
    Spares,
    /// Fails an element.
    Fail,
    /// Takes a failed element into use again.
    Unfail,
    /// Rebuilds an element on another drive.
    Replace,
    /// Tells of scrubs, begins, ends and schedules them.
    Scrub,
    /// Finds LUNs again, or takes over those of others.
    Restore,
    /// Tells what is wrong.
    Health,
    /// Lists and changes mask lists.
    Mask,
    /// Empties mask lists.
    Rmmask,
    /// Lists and clears reservations.
    Reservations,
    /// Serves LUNs in a VLAN.
    Setvlan,
    /// Serves LUNs without a tag.
    Clrvlan,
    /// Lists VLANs.
    Vlans,
    /// Lists and changes which LUNs are not written.
    Readonly,
    /// Shows and sets config strings.
    Confstr,
    /// Limits the rate of passes.
    Ratelimit,
    /// Tells how much LUNs and drives read and write.
    Iostats,
    /// Shows what everything does.
    Top,
    /// Lists the initiators.
    Initiators,
    /// Lists the counters of the data path.
    Aoestats,
    /// Lets the Ethernet console answer on ports.
    Cecenable,
    /// Keeps it from answering.
    Cecdisable,
    /// Tells on which ports it answers.
    Cecstat,
    /// Lists the consoles.
    Sessions,
    /// Ends consoles.
    Kick,
    /// Sets a password.
    Passwd,
    /// Lists and changes those who may log in.
    Users,
    /// Shows the log.
    Log,
    /// Shows who did what.
    History,
    /// Lists and acknowledges problems.
    Alerts,
    /// Labels LUNs.
    Label,
    /// Takes labels away.
    Unlabel,
    /// Something about whole drives.
    OfDrive(DriveVerb),
    /// Looks at the slots again.
    Scan,
    /// Something about the box.
    Box(BoxVerb),
    /// Something about drives themselves, slots and sensors.
    Hardware(HardwareVerb),
    /// Tells the version.
    Release,
    /// Tells about commands.
    Help,
    /// Ends the session.
    Exit,
}

/// What a row about whole drives does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriveVerb {
    /// Overwrites them with zeroes.
    Erase,
    /// Tests their surface.
    Disktest,
    /// Writes anew what of them cannot be read.
    Condition,
    /// Copies one onto another.
    Extract,
    /// Sets how much of them is used.
    Setsize,
}

/// What a row about the box does, or one that has one answer only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BoxVerb {
    /// Lists how LUNs read ahead.
    IoMode,
    /// Asks for a way to read ahead.
    SetIoMode,
    /// Lists whether FLUSH CACHE is honoured.
    FlushCacheStat,
    /// Asks for that.
    FlushCacheEnable,
    /// Asks for the opposite.
    FlushCacheDisable,
    /// Lists whether elements that are needed can be failed.
    LunFailGuard,
    /// Asks that they cannot.
    LunFailGuardEnable,
    /// Asks for the opposite.
    LunFailGuardDisable,
    /// Makes everything durable.
    Sync,
    /// Lists serial numbers of LUNs.
    LunSerial,
    /// Lists the MTU of ports.
    Mtu,
    /// Tells and sets the time.
    Date,
    /// Tells and sets who keeps the clock.
    Ntp,
    /// Tells and sets the time zone.
    Timezone,
    /// Tells since when everything runs.
    Uptime,
    /// Tells what the machine is.
    Model,
    /// Tells the serial number of the machine.
    Serial,
    /// Tells what the machine does.
    Sysstat,
    /// Makes the log tell everything.
    Debug,
    /// Shows and sets what sessions begin with.
    Motd,
    /// Tells the versions of the image, or begins an update.
    Update,
    /// Stops the machine and starts it again.
    Reboot,
    /// Stops the machine.
    Halt,
    /// Shows and sets where the log is sent.
    Syslog,
    /// Sends a text there.
    Syslogtest,
    /// Tells or saves the configuration.
    Saveconfig,
    /// Does what is missing of a saved configuration.
    Restoreconfig,
    /// Writes a bundle for those who are to help.
    Sos,
    /// Shows and sets how sessions behave.
    Set,
    /// Begins expert mode.
    Expertmode,
}

/// What a row about drives themselves, their slots or sensors does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HardwareVerb {
    /// Shows what drives tell of their health.
    SmartLog,
    /// Lets drives keep count.
    SmartEnable,
    /// Keeps them from it.
    SmartDisable,
    /// Lists the life that is left of drives.
    SsdHealth,
    /// Lists the temperatures of drives.
    DriveTemp,
    /// Lists and sets how long drives try.
    ErcTimers,
    /// Lists and begins self-tests.
    SelfTest,
    /// Sets what LEDs show.
    SetSlotLed,
    /// Lists what they show.
    SlotLed,
    /// Tells and sets whether they show spares.
    SpareLed,
    /// Lets LEDs blink.
    Locate,
    /// Lists temperatures.
    Temp,
    /// Lists fans.
    Fans,
    /// Lists power supplies.
    Power,
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command {
    /// What it does.
    pub verb: Verb,
    /// Its name in the SR and SRX 6 generation of the language.
    pub name: &'static str,
    /// Its other names, most of them of SRX 7.
    pub aliases: &'static [&'static str],
    /// Options and operands in Coraid's notation, without the word `usage`.
    pub usage: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Lines that can be typed.
    pub examples: &'static [&'static str],
    /// Who may use it.
    pub needs: Needs,
    /// Letters of its options, except `j`, which every command has. A colon after a letter says that a
    /// value follows it.
    options: &'static str,
    /// Least number of operands.
    operands_min: usize,
    /// Largest number of operands.
    operands_max: usize,
}

/// The options of one invocation.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// `-l`, or `-a` of SRX 7.
    pub long: bool,
    /// `-f`.
    pub force: bool,
    /// `-c`.
    pub clean: bool,
    /// `-r`.
    pub replacement: bool,
    /// `-d`.
    pub drives: bool,
    /// `-w` of a listing.
    pub watch: bool,
    /// `-r` of a test.
    pub read: bool,
    /// `-r` of an update.
    pub reboot: bool,
    /// `-b` of an update.
    pub back: bool,
    /// `-w` of a test.
    pub write: bool,
    /// `-b`: told once, although somebody is looking.
    pub batch: bool,
    /// `-n`: nothing is done, only told.
    pub plan: bool,
    /// `-y`: what would be asked is consented to.
    pub yes: bool,
    /// The letters that were given, but for `-j`.
    pub letters: Vec<char>,
    /// The value of the option that takes one, of a command that has one such option.
    pub value: Option<String>,
    /// The values of all options that take one, as they were given; each letter once.
    pub values: Vec<(char, String)>,
}

impl Options {
    /// The value of an option, if it was given.
    pub(crate) fn value_of(&self, letter: char) -> Option<&str> {
        let mut values = self.values.iter();
        let found = values.find(|(given, _)| *given == letter);
        found.map(|(_, value)| value.as_str())
    }
}

/// A command as it was typed: known, with right options and a right number of operands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// The row.
    pub command: &'static Command,
    /// The name that was used, without the expert prefix.
    pub name: &'static str,
    /// Its options.
    pub options: Options,
    /// Its operands, series expanded.
    pub operands: Vec<String>,
}

/// Finds the row for a name, which may have the expert prefix `/`. Returns the name as the table
/// spells it.
pub(crate) fn find(word: &str) -> Result<(&'static Command, &'static str), Problem> {
    let name = word.strip_prefix('/').unwrap_or(word);
    for command in COMMANDS {
        if let Some(name) = command.names().find(|candidate| *candidate == name) {
            return Ok((command, name));
        }
    }
    if let Some((name, reason)) = unavailable::reason(name) {
        return Err(Problem::NotAvailable { name, reason });
    }
    Err(Problem::UnknownCommand {
        name: word.to_owned(),
        nearest: nearest(name),
    })
}

/// Reads the words of a line. `None` for a line without words.
pub(crate) fn parse(words: &[Word]) -> Result<Option<Invocation>, Problem> {
    let Some((first, rest)) = words.split_first() else {
        return Ok(None);
    };
    let (command, name) = find(&first.text())?;
    // The SRX 6 and 7 names of the drive list always showed sizes.
    let long = matches!(name, "disks" | "drives");
    let mut options = Options {
        long,
        ..Options::default()
    };
    let mut operands = Vec::new();
    let mut options_end = false;
    let words = if command.takes_series() {
        lexer::expand(rest)?
    } else {
        rest.iter().map(Word::text).collect()
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.strip_prefix('-') {
            Some("-") if !options_end => options_end = true,
            Some(_) if command.verb == Verb::Mask && is_mask(&word) => operands.push(word),
            Some(letters) if !options_end && !letters.is_empty() => {
                if let Some(problem) = elsewhere(name, letters) {
                    return Err(problem);
                }
                for letter in letters.chars() {
                    command.set(&mut options, letter)?;
                    if command.takes_value(letter) {
                        let value = words.next().ok_or(Problem::Usage(command.usage))?;
                        if options.value_of(letter).is_some() {
                            return Err(Problem::NamedTwice(format!("-{letter}")));
                        }
                        options.values.push((letter, value.clone()));
                        options.value = Some(value);
                    }
                }
            }
            _ => operands.push(word),
        }
    }
    if operands.len() < command.operands_min || operands.len() > command.operands_max {
        return Err(miscounted(command, &operands));
    }
    if let Some(word) = twice(command, &operands) {
        return Err(Problem::NamedTwice(word.to_owned()));
    }
    Ok(Some(Invocation {
        command,
        name,
        options,
        operands,
    }))
}

/// Why a command has too few operands, or too many. Types that Coraid's shelves had and this one has not
/// are told as such, because some of them took no drives.
fn miscounted(command: &Command, operands: &[String]) -> Problem {
    let level = operands.get(1).map(|word| word.parse::<Level>());
    match (command.verb, level) {
        (Verb::Make | Verb::Grow, Some(Err(unknown))) => unknown.into(),
        _ => Problem::Usage(command.usage),
    }
}

/// What SRX 7 did with options of `drives`, and other commands do here.
fn elsewhere(name: &str, letters: &str) -> Option<Problem> {
    let is_one = |letter: &char| matches!(letter, 'r' | 'w' | 'x' | 'l');
    let letter = letters.chars().find(is_one).filter(|_| name == "drives")?;
    let instead = match letter {
        'l' => "smartlog shows what drives tell of their health, errors too",
        'x' => "erase overwrites drives, and secureerase tells what they can do beyond that",
        _ => "erctimers lists and sets how long drives try",
    };
    Some(Problem::Elsewhere {
        option: format!("-{letters}"),
        instead,
    })
}

/// The operands of which each does something of its own, so that none may be named twice: the last ones, of
/// commands that change something.
fn list<'a>(command: &Command, operands: &'a [String]) -> &'a [String] {
    let first = |words: &[&str]| {
        operands
            .first()
            .is_some_and(|word| words.contains(&word.as_str()))
    };
    let fixed = match command.verb {
        Verb::Make | Verb::Grow => 2,
        Verb::Label | Verb::Setvlan | Verb::Box(BoxVerb::SetIoMode) => 1,
        Verb::Scrub if first(&["every", "schedule", "policy"]) => 2,
        // Texts, and operands of which each stands for something else.
        Verb::Box(BoxVerb::Motd | BoxVerb::Syslogtest) => return &[],
        _ if !command.usage.contains("...") || !command.is_planned() => return &[],
        _ => 0,
    };
    operands.get(fixed..).unwrap_or_default()
}

/// What stands twice in the list of a command. Any number of members may be missing.
fn twice<'a>(command: &Command, operands: &'a [String]) -> Option<&'a str> {
    let list = list(command, operands);
    let later = |(index, word): &(usize, &String)| {
        word.as_str() != MISSING && list[..*index].contains(word)
    };
    let mut words = list.iter().enumerate();
    words.find(later).map(|(_, word)| word.as_str())
}

/// Whether a line asks for JSON. Looked at before the line is understood, because the error of a
/// line that is not understood must come in the form that was asked for.
#[must_use]
pub fn asks_for_json(line: &str) -> bool {
    line.split_whitespace()
        .skip(1)
        .take_while(|word| *word != "--")
        .any(|word| {
            word.strip_prefix('-').is_some_and(|letters| {
                letters.contains('j') && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
            })
        })
}

impl Command {
    /// Its name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// How many operands it takes.
    #[must_use]
    pub fn operands(&self) -> RangeInclusive<usize> {
        self.operands_min..=self.operands_max
    }

    /// The letters of its options that a value follows.
    pub fn value_options(&self) -> impl Iterator<Item = char> {
        let options = self.options;
        let letters = options
            .char_indices()
            .filter(|(at, _)| options[at + 1..].starts_with(':'));
        letters.map(|(_, letter)| letter)
    }

    /// Whether `-n` tells what it would do: whatever changes something has it.
    #[must_use]
    pub fn is_planned(&self) -> bool {
        let is_own = self.options.contains('n');
        (self.needs != Needs::Reader || self.verb == Verb::Passwd) && !is_own
    }

    /// Whether `1-3` in its words stands for several: not where days are written so.
    fn takes_series(&self) -> bool {
        self.verb != Verb::Box(BoxVerb::Date)
    }

    fn takes_value(&self, letter: char) -> bool {
        let after = self.options.split_once(letter).map(|(_, after)| after);
        letter != 'j' && after.is_some_and(|after| after.starts_with(':'))
    }

    fn set(&self, options: &mut Options, letter: char) -> Result<(), Problem> {
        let is_plan = letter == 'n' && self.is_planned();
        if letter == ':' || (letter != 'j' && !is_plan && !self.options.contains(letter)) {
            return Err(Problem::Usage(self.usage));
        }
        match letter {
            'l' | 'a' | 'p' => options.long = true,
            'f' => options.force = true,
            'r' if self.verb == Verb::OfDrive(DriveVerb::Disktest) => options.read = true,
            'w' if self.verb == Verb::OfDrive(DriveVerb::Disktest) => options.write = true,
            'r' if self.verb == Verb::Box(BoxVerb::Update) => options.reboot = true,
            'b' if self.verb == Verb::Box(BoxVerb::Update) => options.back = true,
            'r' => options.replacement = true,
            'c' => options.clean = true,
            'd' => options.drives = true,
            'w' if !self.takes_value('w') => options.watch = true,
            'b' => options.batch = true,
            'n' => options.plan = true,
            'y' => options.yes = true,
            // `-j` chooses the rendering of the whole reply; see `asks_for_json`.
            _ => {}
        }
        if letter != 'j' {
            options.letters.push(letter);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Invocation>, Problem> {
        parse(&lexer::split(line).unwrap())
    }

    #[test]
    fn every_name_is_known_once() {
        let mut names: Vec<&str> = COMMANDS
            .iter()
            .flat_map(Command::names)
            .chain(NOT_AVAILABLE.iter().map(|(name, _)| *name))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn examples_are_right_by_their_own_row() {
        for command in COMMANDS {
            assert!(command.usage.starts_with(command.name));
            assert!(!command.examples.is_empty());
            for example in command.examples {
                let invocation = read(example).unwrap().unwrap();
                assert_eq!(invocation.command.verb, command.verb, "{example}");
            }
        }
    }

    #[test]
    fn options_stand_anywhere_until_two_dashes() {
        let invocation = read("list 0 -lj 1").unwrap().unwrap();
        assert!(invocation.options.long && asks_for_json("list 0 -lj 1"));
        assert_eq!(invocation.operands, ["0", "1"]);
        let invocation = read("list -- -l").unwrap().unwrap();
        assert_eq!(
            (invocation.options.long, invocation.operands),
            (false, vec!["-l".to_owned()])
        );
        assert!(!asks_for_json("list -- -j") && !asks_for_json("-j") && !asks_for_json("a -1j"));
    }

    #[test]
    fn wrong_options_and_counts_tell_the_usage() {
        for line in [
            "show -x",
            "unlabel",
            "make 0 raid1",
            "shelf 1 2",
            "exit now",
            "online -l 0",
        ] {
            assert!(matches!(read(line), Err(Problem::Usage(_))), "{line}");
        }
    }

    #[test]
    fn the_value_of_an_option_is_the_next_word() {
        let invocation = read("make -ck 16 0 raid5 1.0 1.1 1.2").unwrap().unwrap();
        assert_eq!(invocation.options.value.as_deref(), Some("16"));
        assert!(invocation.options.clean);
        assert_eq!(invocation.operands.len(), 5);
        let line = "make -s 'a b' -k 16 0 raid5 -V 1.2 1.0-2";
        let invocation = read(line).unwrap().unwrap();
        let given = ['s', 'k', 'V', 'x'].map(|letter| invocation.options.value_of(letter));
        assert_eq!(given, [Some("a b"), Some("16"), Some("1.2"), None]);
        assert_eq!(invocation.operands.len(), 5);
        let twice = read("make -k 16 -k 32 0 raid5 1.0-2");
        assert_eq!(twice, Err(Problem::NamedTwice("-k".to_owned())));
        for line in ["spare -l", "spare -:", "spare -fl"] {
            assert!(matches!(read(line), Err(Problem::Usage(_))), "{line}");
        }
    }

    #[test]
    fn aliases_and_the_expert_prefix_are_accepted() {
        for (line, verb) in [
            ("/show", Verb::Show),
            ("luns", Verb::List),
            ("/rmlun 0", Verb::Remove),
        ] {
            assert_eq!(read(line).unwrap().unwrap().command.verb, verb);
        }
        assert!(read("drives").unwrap().unwrap().options.long);
    }
}

//! `saveconfig`, `restoreconfig`: the configuration as the commands that rebuild it.
//!
//! What a shelf is like is one list of lines. To restore is to run those lines of a saved list that are not
//! lines of the shelf as it is. Nothing is destroyed by that: no line forces anything, removes anything or
//! changes what a LUN consists of; `make` refuses drives that carry something, and LUNs that are there.

use super::{Outcome, consent, run};
use crate::command::{self, BoxVerb, Invocation, Options, Verb};
use crate::host::{HostError, Settings, World};
use crate::lexer;
use crate::names::drive_name;
use crate::options::{Modes, SessionOptions};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use aoe::Shelf;
use shelf::admin::{Admin, ElementState, LunStatus, PartStatus, ScrubRepair};

/// Most characters of the name of a saved configuration.
const NAME_CHARACTERS_MAX: usize = 32;

/// What a line of a configuration may do.
const RESTORING: &[Verb] = &[
    Verb::Shelf,
    Verb::Box(BoxVerb::Set),
    Verb::Box(BoxVerb::Motd),
    Verb::Box(BoxVerb::Syslog),
    Verb::Box(BoxVerb::Timezone),
    Verb::Box(BoxVerb::Ntp),
    Verb::Ratelimit,
    Verb::Make,
    Verb::Grow,
    Verb::Label,
    Verb::Mask,
    Verb::Setvlan,
    Verb::Readonly,
    Verb::Confstr,
    Verb::Scrub,
    Verb::Spare,
    Verb::Online,
];

/// Tells the configuration, or saves it under a name; asks before one of that name is replaced.
pub(super) fn save(world: &mut World<'_>, options: &Options, words: &[String]) -> Outcome {
    let mut report = Report::default();
    let Some(name) = words.first() else {
        if options.force {
            return Report::from(Problem::Usage("saveconfig [-f] [-j] [name]")).into();
        }
        for line in lines(world.admin, world.host.settings()) {
            report.row(line.clone(), Record::Line { line });
        }
        return report.into();
    };
    if !is_name(name) {
        return Report::from(Problem::InvalidName(name.clone())).into();
    }
    match world.host.saved() {
        Ok(saved) if !options.force && saved.contains(name) => return consent::overwrite(name),
        Ok(_) => write(&mut report, world, name),
        Err(error) => report.fail(error, &[]),
    }
    report.into()
}

/// Saves the configuration.
pub(super) fn write(report: &mut Report, world: &mut World<'_>, name: &str) {
    let mut text = lines(world.admin, world.host.settings()).join("\n");
    text.push('\n');
    if let Err(error) = world.host.save(name, &text) {
        report.fail(error, &[]);
    }
}

/// Lists saved configurations, or runs what is missing of one.
pub(super) fn restore(
    report: &mut Report,
    world: &mut World<'_>,
    session: &SessionOptions,
    is_plan: bool,
    words: &[String],
) {
    let Some(name) = words.first() else {
        match world.host.saved() {
            Ok(names) => names.into_iter().for_each(|name| {
                report.row(name.clone(), Record::Saved { name });
            }),
            Err(error) => report.fail(error, &[]),
        }
        return;
    };
    if !is_name(name) {
        return report.fail(Problem::InvalidName(name.clone()), &[]);
    }
    let text = match world.host.load(name) {
        Ok(text) => text,
        Err(error) => return report.fail(error, &[]),
    };
    match missing(&text, &lines(world.admin, world.host.settings())) {
        Err(problem) => report.fail(problem, &[]),
        Ok(missing) => restore_lines(report, world, session, is_plan, &missing),
    }
}

/// Runs lines until one fails.
fn restore_lines(
    report: &mut Report,
    world: &mut World<'_>,
    session: &SessionOptions,
    is_plan: bool,
    missing: &[(String, Invocation)],
) {
    for (index, (line, invocation)) in missing.iter().enumerate() {
        let Outcome {
            report: of_line,
            pending,
            ..
        } = run(invocation, world, session, &mut Modes::default());
        let problem = match pending {
            // What would have to be asked is not done.
            Some(_) => Some(Problem::WouldAsk(line.clone())),
            None => of_line.first_problem(),
        };
        if is_plan {
            report.would(line);
        } else {
            report.row(line.clone(), Record::Line { line: line.clone() });
        }
        if let Some(problem) = problem {
            let rest = missing[index + 1..]
                .iter()
                .map(|(line, _)| format!("({line})"));
            return report.fail(problem, &rest.collect::<Vec<_>>());
        }
    }
}

/// The lines that the shelf is not like, understood. Nothing is run when one of them may not be.
fn missing(text: &str, present: &[String]) -> Result<Vec<(String, Invocation)>, Problem> {
    let mut missing = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') || present.iter().any(|known| known == line) {
            continue;
        }
        let words = lexer::split(line)?;
        let Some(mut invocation) = command::parse(&words)? else {
            continue;
        };
        if !RESTORING.contains(&invocation.command.verb) || invocation.options.force {
            return Err(Problem::NoConfiguration(line.to_owned()));
        }
        // Whoever restores a configuration wants its LUNs to be as large as they were.
        invocation.options.yes |= invocation.command.verb == Verb::Grow;
        missing.push((line.to_owned(), invocation));
    }
    Ok(missing)
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_CHARACTERS_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

/// The commands that rebuild a shelf.
pub(super) fn lines(admin: &dyn Admin, settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    let shelf = admin.shelf();
    if let Some(number) = shelf {
        lines.push(format!("shelf {number}"));
    }
    lines.extend(setting_lines(settings));
    let limit = admin.rate_limit();
    let of_each = if limit.is_per_drive { "-p " } else { "" };
    lines.push(format!("ratelimit {of_each}{}", limit.bytes_per_second));
    for lun in admin.luns() {
        lines.extend(lun_lines(shelf, &lun));
    }
    for spare in admin.spares() {
        let drive = drive_name(shelf, spare.drive);
        lines.push(match spare.dedicated_to {
            Some(lun) => format!("spare -l {lun} {drive}"),
            None => format!("spare {drive}"),
        });
    }
    // A box may refuse it that has everything else: as the last line it keeps nothing from being restored.
    let source = super::clock::words_of(&settings.ntp);
    lines.push(format!("ntp {}", lexer::join(source)));
    lines
}

fn setting_lines(settings: &Settings) -> Vec<String> {
    let Settings {
        product,
        motd,
        syslog,
        timezone,
        spare_leds,
        // The last line of all.
        ntp: _,
    } = settings;
    let mut lines = vec![lexer::join(["set", "product", product.as_str()])];
    lines.push(if motd.is_empty() {
        "motd -c".to_owned()
    } else {
        format!("motd {}", quoted(motd))
    });
    let target = syslog.map_or_else(|| "off".to_owned(), |target| target.to_string());
    lines.push(format!("syslog {target}"));
    let zone = timezone.as_deref().unwrap_or("local");
    lines.push(lexer::join(["timezone", zone]));
    let spares = if *spare_leds { "enable" } else { "disable" };
    lines.push(format!("spareled {spares}"));
    lines
}

fn lun_lines(shelf: Option<Shelf>, lun: &LunStatus) -> Vec<String> {
    let number = lun.lun;
    let mut lines: Vec<String> = lun
        .parts
        .iter()
        .map(|part| part_line(shelf, lun, part))
        .collect();
    if let Some(label) = &lun.label {
        lines.push(format!("label {} {number}", quoted(label)));
    }
    if !lun.config_string.is_empty() {
        let text = std::str::from_utf8(&lun.config_string).ok();
        let text = text.filter(|text| !text.chars().any(char::is_control));
        lines.push(match text {
            Some(text) => format!("confstr {number} {}", quoted(text)),
            None => format!("# the config string of LUN {number} is no text"),
        });
    }
    let masks = &lun.access.masks;
    if !masks.is_empty() {
        let macs: Vec<String> = masks.iter().map(|mac| format!("+{mac}")).collect();
        lines.push(format!("mask {number} {}", macs.join(" ")));
    }
    if let Some(vlan) = lun.access.vlan {
        lines.push(format!("setvlan {} {number}", vlan.get()));
    }
    if lun.access.is_read_only {
        lines.push(format!("readonly on {number}"));
    }
    if let Some(scrub) = &lun.scrub {
        let policy = match scrub.repair {
            ScrubRepair::Report => "report",
            ScrubRepair::Located => "located",
            ScrubRepair::All => "all",
        };
        lines.push(format!("scrub every {} {number}", scrub.interval_days));
        lines.push(format!("scrub policy {policy} {number}"));
    }
    if lun.online {
        lines.push(format!("online {number}"));
    }
    lines
}

/// `make` for the first RAID of a LUN, `grow` for the others.
fn part_line(shelf: Option<Shelf>, lun: &LunStatus, part: &PartStatus) -> String {
    let verb = if part.part == 0 { "make" } else { "grow" };
    let chunk = part
        .chunk_bytes
        .map(|bytes| format!("-k {} ", bytes / 1024))
        .unwrap_or_default();
    let elements = part
        .elements
        .iter()
        .filter(|element| !element.is_replacement);
    let members: Vec<String> = elements
        .map(|element| match (element.state, element.drive) {
            (ElementState::Normal | ElementState::Replaced, Some(slot)) => drive_name(shelf, slot),
            _ => super::MISSING.to_owned(),
        })
        .collect();
    format!(
        "{verb} {chunk}{} {} {}",
        lun.lun,
        part.level,
        members.join(" ")
    )
}

/// A text as one word, in quotes: no series in it expands.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What `sos` collects, beside what the box adds: what listings tell, and the configuration.
pub(super) fn bundle(
    report: &mut Report,
    world: &mut World<'_>,
    session: &SessionOptions,
) -> Result<(), HostError> {
    const LISTINGS: [&str; 15] = [
        "show -l",
        "list -l",
        "when",
        "health",
        "spares",
        "scrub",
        "mask",
        "reservations",
        "vlans",
        "ifstat -a",
        "iostats -l",
        "initiators -l",
        "aoestats -a",
        "sysstat",
        "release",
    ];
    let mut files = Vec::new();
    for line in LISTINGS {
        let invocation = lexer::split(line)
            .map_err(Problem::from)
            .and_then(|words| command::parse(&words));
        let outcome = match invocation {
            Ok(Some(invocation)) => run(&invocation, world, session, &mut Modes::default()),
            Ok(None) => Outcome::default(),
            Err(problem) => Report::from(problem).into(),
        };
        let name = line.replace(' ', "");
        files.push((format!("{name}.txt"), outcome.report.text()));
        files.push((format!("{name}.json"), outcome.report.json()));
    }
    let lines = lines(world.admin, world.host.settings());
    files.push(("saveconfig.txt".to_owned(), lines.join("\n") + "\n"));
    if let Some(path) = world.host.write_bundle(&files)? {
        report.row(path.clone(), Record::Bundle { path });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_restores_is_run() {
        for line in [
            "remove -f 0",
            "make -f 0 jbod 1.0",
            "erase 1.0",
            "exit",
            "nonsense",
        ] {
            assert!(missing(line, &[]).is_err(), "{line}");
        }
        let text = "# a remark\n\nshelf 1\n  online 0 \nlabel 'a b' 0\n";
        let missing = missing(text, &["shelf 1".to_owned()]).unwrap();
        let lines: Vec<&str> = missing.iter().map(|(line, _)| line.as_str()).collect();
        assert_eq!(lines, ["online 0", "label 'a b' 0"]);
    }

    #[test]
    fn names_are_plain() {
        for name in ["", "a/b", "..", "a.b", "ä", &"x".repeat(33)] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("Before-move_2"));
    }
}

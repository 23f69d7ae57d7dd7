//! What is told of an array.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

use raid::log::recovery::Report;
use shelf::manager::{LogFate, SalvagedSet};

/// A line for whoever runs the program.
pub(crate) fn complain(line: &str) {
    eprintln!("{line}");
}

/// Tells of an array, and gives whether it can be assembled.
pub(crate) fn show(set: &SalvagedSet, is_dry: bool) -> bool {
    println!("# {}", describe(set, is_dry));
    if set.log.is_err() {
        return false;
    }
    let will_be_clean = set.is_clean || is_dry && matches!(set.log, Ok(LogFate::Replayed(_)));
    if !will_be_clean && is_spoilt_by_linux(set) {
        let names = set.replacements.join(", ");
        complain(&format!(
            "'{}': {names} was about to replace a member, and is left out: Linux does not synchronise such an \
             array right when it fills a disk, too; add it again when it is synchronised",
            set.name
        ));
    }
    println!("{}", assemble_line(set, will_be_clean));
    true
}

/// Tells how the arrays of LUNs that consist of several are joined, and gives whether none is missing.
pub(crate) fn show_joins(sets: &[SalvagedSet]) -> bool {
    let mut is_whole = true;
    for first in sets
        .iter()
        .filter(|set| set.part == 0 && !set.further.is_empty())
    {
        match parts_of(first, sets) {
            Ok(parts) => join_lines(&parts)
                .iter()
                .for_each(|line| println!("{line}")),
            Err(reason) => {
                complain(&format!("error: {reason}"));
                is_whole = false;
            }
        }
    }
    let is_named = |part: &SalvagedSet| sets.iter().any(|set| set.further.contains(&part.set_uuid));
    for part in sets.iter().filter(|set| set.part > 0 && !is_named(set)) {
        let (name, number) = (&part.name, part.part);
        complain(&format!(
            "error: '{name}' is part {number} of a LUN, from 0; none of the disks of its part 0, which says \
             how its arrays are joined, were given"
        ));
        is_whole = false;
    }
    is_whole
}

/// The arrays of a LUN in their order, or which of them is missing.
fn parts_of<'a>(
    first: &'a SalvagedSet,
    sets: &'a [SalvagedSet],
) -> Result<Vec<&'a SalvagedSet>, String> {
    let mut parts = vec![first];
    for (number, uuid) in (1..).zip(&first.further) {
        let found = sets.iter().find(|set| set.set_uuid == *uuid);
        let part = found.ok_or_else(|| {
            let (name, uuid) = (&first.name, md_uuid(*uuid));
            format!("part {number} of LUN '{name}', array {uuid}, is not among the disks: it cannot be joined")
        })?;
        parts.push(part);
    }
    Ok(parts)
}

/// How the arrays of a LUN are joined end to end, and the command that does it.
fn join_lines(parts: &[&SalvagedSet]) -> [String; 2] {
    let name = &parts[0].name;
    let mut start = 0;
    let mut rows = String::new();
    for part in parts {
        let (sectors, array) = (part.sectors, array_path(part));
        rows.push_str(&quoted(&format!("{start} {sectors} linear {array} 0")));
        rows.push(' ');
        start += sectors;
    }
    let count = parts.len();
    let told = format!(
        "# LUN '{name}' is these {count} arrays end to end, {start} sectors together; when they are assembled:"
    );
    let device = quoted(&device_name(parts[0]));
    let command = format!("printf '%s\\n' {rows}| dmsetup create {device}");
    [told, command]
}

/// What was found and done, in a line.
fn describe(set: &SalvagedSet, is_dry: bool) -> String {
    let present = set.members.iter().flatten().count();
    let (level, name, members) = (set.level, &set.name, set.members.len());
    let head = format!("{level} '{name}', {present} of {members} members");
    let state = match &set.log {
        Err(reason) => return format!("{head}: NOT RECOVERED: {reason}"),
        Ok(LogFate::None) => "no redo log".to_owned(),
        Ok(LogFate::NotNeeded) => "stopped in good order".to_owned(),
        Ok(LogFate::Void) => "changed by Linux since; not touched".to_owned(),
        Ok(LogFate::Replayed(report)) => format!(
            "{} {} slices from the redo log, {} checked{}",
            if is_dry { "would write" } else { "wrote" },
            report.slices_replayed,
            report.slices_checked,
            unreadable(report)
        ),
    };
    let would_be = is_dry && matches!(set.log, Ok(LogFate::Replayed(_)));
    let cleanness = match (would_be, set.is_clean) {
        (true, _) => "nothing was written",
        (false, true) => "clean",
        (false, false) => "dirty: Linux synchronises it",
    };
    format!("{head}: {state}; {cleanness}")
}

/// What is lost, if anything.
fn unreadable(report: &Report) -> String {
    match report.unreadable.len() {
        0 => String::new(),
        ranges => format!(
            ", {ranges} ranges that were being overwritten are unreadable without the missing members"
        ),
    }
}

/// Whether Linux would do wrong with disks of an array that it has to synchronise.
fn is_spoilt_by_linux(set: &SalvagedSet) -> bool {
    set.level != raid::Level::Raid6 && !set.replacements.is_empty()
}

/// The command that assembles an array.
fn assemble_line(set: &SalvagedSet, is_clean: bool) -> String {
    let (array, uuid) = (quoted(&array_path(set)), md_uuid(set.set_uuid));
    let mut line = format!("mdadm --assemble {array} --uuid={uuid}");
    let is_left_out = !is_clean && is_spoilt_by_linux(set);
    // mdadm wants to be told that a disk that was in use is left out.
    if is_left_out || set.members.iter().any(Option::is_none) {
        line.push_str(" --run");
    }
    let replacements = set.replacements.iter().filter(|_| !is_left_out);
    for path in set.members.iter().flatten().chain(replacements) {
        line.push(' ');
        line.push_str(&quoted(path));
    }
    line
}

/// What an array is assembled as.
fn array_path(set: &SalvagedSet) -> String {
    format!("/dev/md/{}", device_name(set))
}

/// A name for the device that is an array or a LUN.
fn device_name(set: &SalvagedSet) -> String {
    let (shelf, lun) = set.name.split_once(':').unwrap_or((&set.name, ""));
    format!("shelf{shelf}-lun{lun}")
}

/// A UUID as mdadm writes it: four words.
fn md_uuid(uuid: uuid::Uuid) -> String {
    let digits = uuid.simple().to_string();
    let words = [&digits[..8], &digits[8..16], &digits[16..24], &digits[24..]];
    words.join(":")
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,".contains(c);
    if path.chars().all(is_plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raid::Level;

    fn set(log: Result<LogFate, String>) -> SalvagedSet {
        SalvagedSet {
            set_uuid: uuid::Uuid::from_u128(0xa1b2_c3d4_0000_0001_0000_0002_0000_0003),
            name: "1:0".to_owned(),
            part: 0,
            further: Vec::new(),
            sectors: 1000,
            level: Level::Raid5,
            members: vec![
                Some("/dev/sdb".to_owned()),
                None,
                Some("/images/it's".to_owned()),
            ],
            replacements: Vec::new(),
            is_clean: true,
            log,
        }
    }

    #[test]
    fn the_line_for_mdadm_names_array_and_members() {
        assert_eq!(
            assemble_line(&set(Ok(LogFate::NotNeeded)), true),
            concat!(
                "mdadm --assemble /dev/md/shelf1-lun0 --uuid=a1b2c3d4:00000001:00000002:00000003 ",
                r"--run /dev/sdb '/images/it'\''s'"
            )
        );
    }

    #[test]
    fn a_replacement_is_left_out_where_linux_would_spoil_it() {
        let replacing = |level| SalvagedSet {
            level,
            members: vec![Some("/dev/sdb".to_owned()), Some("/dev/sdc".to_owned())],
            replacements: vec!["/dev/sdd".to_owned()],
            ..set(Ok(LogFate::None))
        };
        let end = |level, is_clean| {
            let line = assemble_line(&replacing(level), is_clean);
            line.split_once("0003").map(|(_, end)| end.to_owned())
        };
        let all = Some(" /dev/sdb /dev/sdc /dev/sdd".to_owned());
        assert_eq!(end(Level::Raid5, true), all);
        assert_eq!(end(Level::Raid6, false), all);
        let left_out = Some(" --run /dev/sdb /dev/sdc".to_owned());
        assert_eq!(end(Level::Raid5, false), left_out);
        assert_eq!(end(Level::Raid10, false), left_out);
    }

    #[test]
    fn the_arrays_of_a_lun_are_joined_in_its_order() {
        let part = |number: u8, sectors: u64| SalvagedSet {
            set_uuid: uuid::Uuid::from_u128(number.into()),
            name: if number == 0 {
                "1:7".to_owned()
            } else {
                format!("1:7.{number}")
            },
            part: number,
            further: Vec::new(),
            sectors,
            ..set(Ok(LogFate::NotNeeded))
        };
        let mut first = part(0, 1000);
        first.further = [2, 1].map(uuid::Uuid::from_u128).to_vec();
        let sets = [part(1, 16), first.clone(), part(2, 24)];
        let parts = parts_of(&first, &sets).unwrap();
        assert_eq!(
            join_lines(&parts),
            [
                "# LUN '1:7' is these 3 arrays end to end, 1040 sectors together; when they are assembled:",
                concat!(
                    r"printf '%s\n' '0 1000 linear /dev/md/shelf1-lun7 0' ",
                    "'1000 24 linear /dev/md/shelf1-lun7.2 0' '1024 16 linear /dev/md/shelf1-lun7.1 0' ",
                    "| dmsetup create shelf1-lun7"
                )
            ]
        );
        assert!(show_joins(&sets));
        assert!(!show_joins(&sets[1..]), "a part is missing");
        assert!(!show_joins(&sets[..1]), "the first part is missing");
        assert!(show_joins(&[part(0, 1)]));
        let missing = parts_of(&first, &sets[1..]).unwrap_err();
        assert!(
            missing.starts_with("part 2 of LUN '1:7', array 00000000:"),
            "{missing}"
        );
    }

    #[test]
    fn what_was_done_is_told() {
        assert_eq!(
            describe(&set(Ok(LogFate::NotNeeded)), false),
            "raid5 '1:0', 2 of 3 members: stopped in good order; clean"
        );
        assert_eq!(
            describe(&set(Err("why".to_owned())), false),
            "raid5 '1:0', 2 of 3 members: NOT RECOVERED: why"
        );
        let replayed = Ok(LogFate::Replayed(Report::default()));
        assert_eq!(
            describe(&set(replayed), true),
            "raid5 '1:0', 2 of 3 members: would write 0 slices from the redo log, 0 checked; \
             nothing was written"
        );
    }
}

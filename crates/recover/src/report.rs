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
    println!("{}", assemble_line(set));
    true
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

/// The command that assembles an array.
fn assemble_line(set: &SalvagedSet) -> String {
    let (shelf, lun) = set.name.split_once(':').unwrap_or((&set.name, ""));
    let mut line = format!(
        "mdadm --assemble /dev/md/shelf{shelf}-lun{lun} --uuid={}",
        md_uuid(set.set_uuid)
    );
    if set.members.iter().any(Option::is_none) {
        line.push_str(" --run");
    }
    for path in set.members.iter().flatten().chain(&set.replacements) {
        line.push(' ');
        line.push_str(&quoted(path));
    }
    line
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
            assemble_line(&set(Ok(LogFate::NotNeeded))),
            concat!(
                "mdadm --assemble /dev/md/shelf1-lun0 --uuid=a1b2c3d4:00000001:00000002:00000003 ",
                r"--run /dev/sdb '/images/it'\''s'"
            )
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

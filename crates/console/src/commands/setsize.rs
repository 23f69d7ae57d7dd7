//! `setsize`: how much of drives is used.

use crate::command::Options;
use crate::names::{decimal, parse_drive};
use crate::problem::Problem;
use crate::report::Report;
use shelf::admin::Admin;

const USAGE: &str = "setsize [-f] size drive ... | setsize [-c] drive ...";

/// Sets the size of drives, or with `-c` uses all of them.
pub(super) fn setsize(
    report: &mut Report,
    admin: &mut dyn Admin,
    options: &Options,
    words: &[String],
) {
    let (size, words) = match words {
        all if options.clean => (None, all),
        [size, rest @ ..] if !rest.is_empty() => match parse_size(size) {
            Some(bytes) => (Some(bytes), rest),
            None => return report.fail(Problem::InvalidDriveSize(size.clone()), rest),
        },
        _ => return report.fail(Problem::Usage(USAGE), &[]),
    };
    let shelf = admin.shelf();
    for (index, word) in words.iter().enumerate() {
        let done = parse_drive(word, shelf)
            .and_then(|drive| Ok(admin.set_size(drive, size, options.force)?));
        if let Err(problem) = done {
            return report.fail(problem, &words[index + 1..]);
        }
    }
}

/// Bytes; with K, M, G or T in units of 1000, with S of sectors.
fn parse_size(word: &str) -> Option<u64> {
    let (digits, unit) = match word.chars().last()? {
        'K' | 'k' => (&word[..word.len() - 1], 1_000),
        'M' | 'm' => (&word[..word.len() - 1], 1_000_000),
        'G' | 'g' => (&word[..word.len() - 1], 1_000_000_000),
        'T' | 't' => (&word[..word.len() - 1], 1_000_000_000_000),
        'S' | 's' => (&word[..word.len() - 1], 512),
        _ => (word, 1),
    };
    let bytes = decimal(digits)?.checked_mul(unit)?;
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_or_in_sectors() {
        assert_eq!(parse_size("4000G"), Some(4_000_000_000_000));
        assert_eq!(parse_size("4T"), Some(4_000_000_000_000));
        assert_eq!(parse_size("100s"), Some(51_200));
        assert_eq!(parse_size("5000000"), Some(5_000_000));
        for bad in ["", "0", "0G", "G", "1.5T", "-1", "1X", "99999999999T", "1é"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}

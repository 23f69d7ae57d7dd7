//! `ratelimit`: the most that each resynchronisation, rebuild or scrub goes over in a second.

use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use shelf::admin::{Admin, RateLimit};

/// The highest limit, as on Coraid's shelves: 2 GiB a second.
const MAX_BYTES: u64 = 2 << 30;

const USAGE: &str = "ratelimit [-p] [n[K|M|G]] [-j]";

/// Shows the limit, or sets it; with `is_per_drive` of each drive and not of all together.
pub(super) fn ratelimit(
    report: &mut Report,
    admin: &mut dyn Admin,
    is_per_drive: bool,
    operands: &[String],
) {
    if operands.is_empty() && is_per_drive {
        return report.fail(Problem::Usage(USAGE), &[]);
    }
    let Some(word) = operands.first() else {
        let limit = admin.rate_limit();
        let record = Record::RateLimit {
            bytes_per_second: limit.bytes_per_second,
            is_per_drive: limit.is_per_drive,
        };
        report.row(line(limit), record);
        return;
    };
    let Some(bytes_per_second) = parse(word) else {
        return report.fail(Problem::InvalidRate(word.clone()), &[]);
    };
    let limit = RateLimit {
        bytes_per_second,
        is_per_drive: is_per_drive && bytes_per_second > 0,
    };
    if let Err(error) = admin.set_rate_limit(limit) {
        report.fail(Problem::from(error), &[]);
    }
}

fn line(limit: RateLimit) -> String {
    let bytes = limit.bytes_per_second;
    if bytes == 0 {
        return "none".to_owned();
    }
    let units = [("G", 1_u64 << 30), ("M", 1 << 20), ("K", 1 << 10), ("", 1)];
    let fitting = units
        .into_iter()
        .find(|(_, unit)| bytes.is_multiple_of(*unit));
    let (letter, unit) = fitting.unwrap_or(("", 1));
    let of = if limit.is_per_drive { " per drive" } else { "" };
    format!("{}{letter}{of}", bytes / unit)
}

/// Bytes in units of 1024: `n`, `nK`, `nM` or `nG`.
fn parse(word: &str) -> Option<u64> {
    let units = [('K', 1_u64 << 10), ('M', 1 << 20), ('G', 1 << 30)];
    let upper = word.to_ascii_uppercase();
    let unit = units
        .into_iter()
        .find(|(letter, _)| upper.ends_with(*letter));
    let (digits, unit) = unit.map_or((word, 1), |(_, unit)| (&word[..word.len() - 1], unit));
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    number.checked_mul(unit).filter(|bytes| *bytes <= MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_shown_in_units_of_1024() {
        for (word, bytes) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("8K", Some(8 << 10)),
            ("128m", Some(128 << 20)),
            ("2G", Some(2 << 30)),
            ("3G", None),
            ("2147483649", None),
            ("", None),
            ("K", None),
            ("-1", None),
            ("+1", None),
            ("1.5M", None),
            ("1T", None),
            ("99999999999999999999G", None),
        ] {
            assert_eq!(parse(word), bytes, "{word}");
        }
        for (bytes_per_second, is_per_drive, text) in [
            (0, false, "none"),
            (512, false, "512"),
            (128 << 20, false, "128M"),
            (2 << 30, true, "2G per drive"),
            (1536, false, "1536"),
        ] {
            let limit = RateLimit {
                bytes_per_second,
                is_per_drive,
            };
            assert_eq!(line(limit), text);
        }
    }
}

//! What a mistyped command name was meant to be.

use super::{COMMANDS, Command, NOT_AVAILABLE};

/// The known name that a mistyped one is nearest to, if it is near enough to be meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    const LEN_MAX: usize = 24;
    let typed: Vec<char> = name.chars().take(LEN_MAX + 1).collect();
    if typed.is_empty() || typed.len() > LEN_MAX {
        return None;
    }
    let distance_max = if typed.len() <= 3 { 1 } else { 2 };
    COMMANDS
        .iter()
        .flat_map(Command::names)
        .chain(NOT_AVAILABLE.iter().map(|(name, _)| *name))
        .map(|known| (distance(&typed, known), known))
        .filter(|(distance, _)| *distance <= distance_max)
        // Of those that are as near, one that what was typed is the beginning of.
        .min_by_key(|(distance, known)| (*distance, !known.starts_with(name)))
        .map(|(_, known)| known)
}

/// How many letters must be inserted, deleted, replaced or swapped with their neighbour to make one
/// word of the other (optimal string alignment).
fn distance(typed: &[char], known: &str) -> usize {
    let known: Vec<char> = known.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=known.len()).collect()];
    for (i, a) in typed.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in known.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == known[j - 1] && typed[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[typed.len()][known.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_names_find_the_nearest() {
        let cases = [
            ("shwo", "show"),
            ("lst", "list"),
            ("onlin", "online"),
            ("grwo", "grow"),
            ("iostat", "iostats"),
        ];
        for (typed, meant) in cases {
            assert_eq!(nearest(typed), Some(meant), "{typed}");
        }
        for typed in ["", "x", "frobnicate", "zz", &"show".repeat(100)] {
            assert_eq!(nearest(typed), None, "{typed}");
        }
    }
}

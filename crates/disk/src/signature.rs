//! What a drive carries that is not ours: file systems, partition tables, RAID members.
//!
//! Asked of `blkid` (util-linux), which knows hundreds of formats and is on every Debian system.

use std::path::Path;
use std::process::Command;

/// The type that `blkid` gives to members of Linux md arrays, ours included: the superblock tells
/// whose they are.
pub const MD_MEMBER: &str = "linux_raid_member";

/// Why it is not known what a drive carries.
#[derive(Debug, thiserror::Error)]
#[error("what {path} carries is not known: {reason}")]
pub struct ProbeError {
    path: String,
    reason: String,
}

/// What a drive or file carries, in words; [`MD_MEMBER`] for a member of an md array; `None` when
/// nothing is known there.
///
/// # Errors
/// When `blkid` is not installed or failed: then nobody should assume that the drive is empty.
pub fn probe(path: &Path) -> Result<Option<String>, ProbeError> {
    let failed = |reason: String| ProbeError {
        path: path.display().to_string(),
        reason,
    };
    // blkid lives in sbin, which the PATH of a plain `su` has not.
    let search = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new("blkid")
        .env("PATH", search)
        .args(["-p", "-o", "export", "--"])
        .arg(path)
        .output()
        .map_err(|error| failed(format!("blkid (package util-linux) cannot be run: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => Ok(Some(describe(&text))),
        Some(2) => Ok(None),
        Some(8) => Ok(Some("signatures of several kinds".to_owned())),
        _ => Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

fn describe(export: &str) -> String {
    let value = |key: &str| {
        let mut pairs = export.lines().filter_map(|line| line.split_once('='));
        pairs
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned())
    };
    let label = value("LABEL").map_or(String::new(), |label| format!(" labelled {label:?}"));
    match (value("TYPE"), value("USAGE").as_deref(), value("PTTYPE")) {
        (Some(kind), _, _) if kind == MD_MEMBER => kind,
        (Some(kind), Some("filesystem"), _) => {
            format!("{} {kind} file system{label}", article(&kind))
        }
        (Some(kind), _, _) => format!("{} {kind} signature{label}", article(&kind)),
        (None, _, Some(table)) => format!("{} {table} partition table", article(&table)),
        (None, _, None) => "a signature that blkid does not name".to_owned(),
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_carries_nothing_and_a_file_system_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        assert_eq!(probe(file.path()).unwrap(), None);
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(file.path())
            .status()
            .unwrap();
        assert!(made.success());
        assert_eq!(
            probe(file.path()).unwrap().as_deref(),
            Some("an ext4 file system")
        );
    }

    #[test]
    fn partition_tables_and_md_members_are_told_apart() {
        assert_eq!(describe("PTTYPE=gpt\nPTUUID=x\n"), "a gpt partition table");
        assert_eq!(describe("TYPE=linux_raid_member\nUSAGE=raid\n"), MD_MEMBER);
        assert_eq!(
            describe("TYPE=LVM2_member\nUSAGE=raid\n"),
            "a LVM2_member signature"
        );
    }

    #[test]
    fn a_path_that_cannot_be_read_is_an_error() {
        assert!(
            probe(Path::new("/nowhere/at/all")).is_err()
                || probe(Path::new("/nowhere/at/all")).unwrap().is_none()
        );
    }
}

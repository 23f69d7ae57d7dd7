//! The log: who did what with which result, who came and went, and what happened; one JSON object a line in
//! `audit.log` of the state directory.
//!
//! Invariants:
//! * A line is written as a whole or not at all; what a crash left of one is cut off at the next start.
//! * The file is rotated at [`FILE_BYTES_MAX`]; the last [`FILES_MAX`] are kept, so it never fills a disk.
//! * When it cannot be written the shelf goes on: the lines are kept in memory, the reason is told by
//!   [`AuditLog::trouble`] until a line can be written again.
//! * Nothing secret gets here: answers typed unseen are never handed in.

use console::host::LogEntry;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Size at which a file is closed and another begun.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Files that are kept, the present one among them.
const FILES_MAX: u32 = 8;

/// Lines that are kept in memory, for whoever asks.
const LINES_MAX: usize = 4096;

/// Longest text of a line.
const TEXT_CHARS_MAX: usize = 1024;

/// The log.
#[derive(Debug)]
pub(crate) struct AuditLog {
    path: PathBuf,
    file_bytes_max: u64,
    file: Option<(File, u64)>,
    lines: VecDeque<LogEntry>,
    /// The number of the line behind the last one.
    next: u64,
    trouble: Option<String>,
}

impl AuditLog {
    /// Opens the log of a state directory and reads its last lines.
    pub(crate) fn open(directory: &Path) -> Self {
        Self::open_with(directory, FILE_BYTES_MAX)
    }

    fn open_with(directory: &Path, file_bytes_max: u64) -> Self {
        let mut log = Self {
            path: directory.join("audit.log"),
            file_bytes_max,
            file: None,
            lines: VecDeque::new(),
            next: 0,
            trouble: None,
        };
        for path in [log.rotated(1), log.path.clone()] {
            match fs::read(&path) {
                Ok(bytes) => log.remember_all(&bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => log.trouble = Some(format!("{}: {error}", path.display())),
            }
        }
        log
    }

    /// Why lines are not written, if they are not.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The last lines, oldest first, and the number of the next one.
    pub(crate) fn last(&self, count: usize) -> (Vec<LogEntry>, u64) {
        let skipped = self.lines.len().saturating_sub(count);
        (
            self.lines.iter().skip(skipped).cloned().collect(),
            self.next,
        )
    }

    /// The lines from this number on, as far as they are remembered, and the number of the next one.
    pub(crate) fn from(&self, number: u64) -> (Vec<LogEntry>, u64) {
        let count = self.next.saturating_sub(number);
        self.last(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Adds a line. It is on the disk when this returns, if it can be.
    pub(crate) fn add(&mut self, mut entry: LogEntry) {
        clean(&mut entry.text);
        clean(&mut entry.result);
        entry.answers.iter_mut().for_each(clean);
        let written = self.write(&entry);
        let trouble = written
            .err()
            .map(|error| format!("{}: {error}", self.path.display()));
        match (&self.trouble, &trouble) {
            (None, Some(reason)) => tracing::error!("{reason}: commands are not logged any more"),
            (Some(_), None) => tracing::info!("commands are logged again"),
            _ => {}
        }
        self.trouble = trouble;
        self.remember(entry);
    }

    fn remember(&mut self, entry: LogEntry) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(entry);
        self.next += 1;
    }

    fn remember_all(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n') {
            // A later version may have written what we do not know; that is no reason to forget the rest.
            if let Ok(entry) = serde_json::from_slice(line) {
                self.remember(entry);
            }
        }
    }

    fn write(&mut self, entry: &LogEntry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if self
            .file
            .as_ref()
            .is_some_and(|(_, length)| *length >= self.file_bytes_max)
        {
            self.rotate()?;
        }
        let (mut file, length) = match self.file.take() {
            Some(open) => open,
            None => open_whole(&self.path)?,
        };
        match file.write_all(&line).and_then(|()| file.sync_data()) {
            Ok(()) => {
                self.file = Some((file, length + line.len() as u64));
                Ok(())
            }
            Err(error) => {
                // Half a line would make the next one unreadable. If even this fails, the next open cuts it.
                drop(file.set_len(length));
                Err(error)
            }
        }
    }

    fn rotated(&self, number: u32) -> PathBuf {
        self.path.with_extension(format!("log.{number}"))
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        for number in (1..FILES_MAX - 1).rev() {
            match fs::rename(self.rotated(number), self.rotated(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.rotated(1))
    }
}

/// Opens the file for appending, behind its last whole line.
fn open_whole(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)?;
    let length = file.metadata()?.len();
    let tail_bytes = length.min(64 * 1024);
    file.seek(SeekFrom::End(-i64::try_from(tail_bytes).unwrap_or(0)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let whole_length = length - (tail.len() - whole) as u64;
    if whole_length < length {
        file.set_len(whole_length)?;
    }
    Ok((file, whole_length))
}

fn clean(text: &mut String) {
    if text.chars().any(char::is_control) {
        *text = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
    }
    if let Some((at, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        text.truncate(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::host::EntryKind;

    fn entry(text: &str) -> LogEntry {
        LogEntry {
            time: "2026-11-27T01:02:03Z".to_owned(),
            kind: EntryKind::Command,
            session: Some(3),
            user: Some("ann".to_owned()),
            role: Some("admin".to_owned()),
            door: Some("cec".to_owned()),
            address: Some("020000000001 on eth1".to_owned()),
            text: text.to_owned(),
            answers: vec!["y".to_owned()],
            ok: true,
            result: String::new(),
        }
    }

    fn texts(log: &AuditLog, count: usize) -> Vec<String> {
        log.last(count)
            .0
            .into_iter()
            .map(|entry| entry.text)
            .collect()
    }

    #[test]
    fn a_line_is_one_json_object() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(directory.path());
        log.add(entry("remove 0\u{1b}[2J\n"));
        let text = fs::read_to_string(directory.path().join("audit.log")).unwrap();
        let expected = "{\"time\":\"2026-11-27T01:02:03Z\",\"kind\":\"command\",\"session\":3,\"user\":\"ann\",\
                        \"role\":\"admin\",\"door\":\"cec\",\"address\":\"020000000001 on eth1\",\
                        \"text\":\"remove 0 [2J \",\"answers\":[\"y\"],\"ok\":true}\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn lines_survive_a_restart_and_a_torn_one_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(directory.path());
        log.add(entry("one"));
        log.add(entry("two"));
        let path = directory.path().join("audit.log");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"time\":\"20").unwrap();
        let mut log = AuditLog::open(directory.path());
        assert_eq!(texts(&log, 9), ["one", "two"]);
        let (_, next) = log.last(0);
        log.add(entry("three"));
        let from: Vec<LogEntry> = log.from(next).0;
        assert_eq!(from.len(), 1);
        assert_eq!(
            texts(&AuditLog::open(directory.path()), 2),
            ["two", "three"]
        );
    }

    #[test]
    fn files_are_rotated_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open_with(directory.path(), 1000);
        for number in 0..1000 {
            log.add(entry(&format!("{number}")));
        }
        let files: Vec<u64> = fs::read_dir(directory.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(files.len(), FILES_MAX as usize);
        assert!(files.iter().all(|length| *length < 1400), "{files:?}");
        assert_eq!(texts(&log, 2), ["998", "999"]);
        let again = AuditLog::open_with(directory.path(), 1000);
        assert_eq!(texts(&again, 2), ["998", "999"]);
    }

    #[test]
    fn a_log_that_cannot_be_written_is_told_of_and_goes_on_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        fs::create_dir(&path).unwrap();
        let mut log = AuditLog::open(directory.path());
        log.add(entry("one"));
        assert!(log.trouble().unwrap().contains("audit.log"));
        assert_eq!(texts(&log, 9), ["one"], "known as long as the daemon runs");
        fs::remove_dir(&path).unwrap();
        log.add(entry("two"));
        assert_eq!(log.trouble(), None);
        assert!(fs::read_to_string(&path).unwrap().contains("two"));
    }
}

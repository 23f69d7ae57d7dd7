//! What is known shelf-wide, in the state directory: the shelf number and the sets that were removed.
//!
//! The number is kept in `shelf` as decimal text, replaced atomically. It is what the command `shelf`
//! set; the configuration gives the number of a box on which nobody has used that command.
//!
//! The limit of passes is kept in `ratelimit`: bytes a second, and `per-drive` if it is one of each drive.
//!
//! Which place of a disk has which slot is in `slots`, where disks are found ([`crate::finder`]).
//!
//! Configurations that `saveconfig` saved are in `config`, bundles of `sos` in `sos`.
//!
//! What is set on a console is kept in `settings.toml`, replaced atomically. Keys that this version does not
//! know, since a newer one has written them, stay there as they are, and are told of.
//!
//! The sets are kept in `removed`, a UUID a line, the last one removed last, replaced atomically. Of
//! more than [`REMOVED_MAX`] the first are forgotten.

use aoe::Shelf;
use console::host::Settings;
use shelf::manager::ShelfStore;
use shelf::plane::RateLimit;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The state directory.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
}

/// Why the state directory is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("state_dir {path}: {cause}")]
    Directory { path: PathBuf, cause: io::Error },
    #[error(
        "{path} holds no shelf number but {text:?}; write a number from 0 to 65534 into it, or remove it"
    )]
    Damaged { path: PathBuf, text: String },
}

/// Where saved configurations are.
const SAVED: &str = "config";

/// Most removed sets that are kept: more than a shelf has slots, many times over.
const REMOVED_MAX: usize = 1024;

impl StateDir {
    /// Opens the directory, making it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(path).map_err(|cause| StateError::Directory {
            path: path.to_owned(),
            cause,
        })?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The number that the command `shelf` has set, if it ever did.
    pub(crate) fn shelf(&self) -> Result<Option<Shelf>, StateError> {
        let path = self.path.join("shelf");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(StateError::Directory { path, cause }),
        };
        let number = text
            .trim()
            .parse()
            .ok()
            .map(Shelf)
            .filter(|shelf| shelf.is_valid_target());
        number.map(Some).ok_or(StateError::Damaged { path, text })
    }
}

/// What is in the file of settings.
#[derive(Default, serde::Deserialize)]
struct StoredSettings {
    #[serde(flatten)]
    settings: Settings,
    /// Of a newer version, or misspelt.
    #[serde(flatten)]
    unknown: toml::Table,
}

impl StateDir {
    /// What was set on consoles; the defaults if nothing ever was.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        self.stored_settings().map(|stored| stored.settings)
    }

    /// What is wrong with the file of settings, if something is, and what to do.
    pub(crate) fn settings_trouble(&self) -> Option<(String, &'static str)> {
        match self.stored_settings() {
            Ok(stored) if stored.unknown.is_empty() => None,
            Ok(stored) => {
                let names: Vec<&str> = stored.unknown.keys().map(String::as_str).collect();
                let path = self.path.join("settings.toml");
                let text = format!(
                    "{} has {}, which this version does not know: kept as it is",
                    path.display(),
                    names.join(", ")
                );
                Some((text, "nothing, if a newer version has written it"))
            }
            Err(reason) => Some((reason, "until then the defaults hold")),
        }
    }

    fn stored_settings(&self) -> Result<StoredSettings, String> {
        let path = self.path.join("settings.toml");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(StoredSettings::default());
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        toml::from_str(&text).map_err(|error| {
            let reason = error.message();
            format!(
                "{}: {reason}; mend or remove it, and start anew",
                path.display()
            )
        })
    }

    /// Replaces what was set on consoles; what this version does not know stays.
    pub(crate) fn save_settings(&self, settings: &Settings) -> Result<(), String> {
        let mut table = toml::Table::try_from(settings).map_err(|error| error.to_string())?;
        table.extend(self.stored_settings()?.unknown);
        let text = toml::to_string(&table).map_err(|error| error.to_string())?;
        self.replace("settings.toml", &text)
    }

    /// Which place has which slot, as it was saved last; nothing if it never was.
    pub(crate) fn slots(&self) -> Result<String, String> {
        let path = self.path.join("slots");
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|error| format!("{}: {error}", path.display())),
        }
    }

    /// Replaces that.
    pub(crate) fn save_slots(&self, text: &str) -> Result<(), String> {
        self.replace("slots", text)
    }

    /// A place in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of the configurations that were saved.
    pub(crate) fn saved(&self) -> Result<Vec<String>, String> {
        let path = self.path.join(SAVED);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".txt")?.to_owned())
        };
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// A configuration that was saved, if it was. Names are plain: the console has seen to that.
    pub(crate) fn load(&self, name: &str) -> Result<Option<String>, String> {
        let path = self.path.join(format!("{SAVED}/{name}.txt"));
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Saves a configuration.
    pub(crate) fn save(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.path.join(SAVED);
        // The name of the folder is to be as durable as what is in it.
        fs::create_dir_all(&path)
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|error| format!("{}: {error}", path.display()))?;
        self.replace(&format!("{SAVED}/{name}.txt"), text)
    }

    /// Replaces a file; durable and atomic when this returns.
    fn replace(&self, name: &str, content: &str) -> Result<(), String> {
        replace_file(&self.path, name, content, &mut |_| Ok(()))
            .map_err(|error| format!("{}: {error}", self.path.join(name).display()))
    }
}

/// What is done to replace a file.
enum Step<'a> {
    Create,
    Write(
        #[cfg_attr(not(test), expect(dead_code, reason = "a test tears the write"))] &'a mut File,
    ),
    SyncFile,
    Rename,
    SyncDirectory,
}

/// Replaces a file in a directory. Whoever asks hears of each step before it is done, and may end it there.
fn replace_file(
    directory: &Path,
    name: &str,
    content: &str,
    before: &mut dyn FnMut(Step<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let path = directory.join(name);
    let new = directory.join(format!("{name}.new"));
    before(Step::Create)?;
    let mut file = File::create(&new)?;
    before(Step::Write(&mut file))?;
    file.write_all(content.as_bytes())?;
    before(Step::SyncFile)?;
    file.sync_all()?;
    before(Step::Rename)?;
    fs::rename(&new, &path)?;
    before(Step::SyncDirectory)?;
    File::open(path.parent().unwrap_or(directory))?.sync_all()
}

impl ShelfStore for StateDir {
    fn save_shelf(&mut self, shelf: Shelf) -> Result<(), String> {
        self.replace("shelf", &format!("{shelf}\n"))
    }

    fn rate_limit(&mut self) -> Result<RateLimit, String> {
        let path = self.path.join("ratelimit");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(RateLimit::NONE),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let mut words = text.split_whitespace();
        let bytes = words.next().and_then(|word| word.parse().ok());
        let is_per_drive = match (words.next(), words.next()) {
            (None, None) => Some(false),
            (Some("per-drive"), None) => Some(true),
            _ => None,
        };
        bytes
            .zip(is_per_drive)
            .map(|(bytes_per_second, is_per_drive)| RateLimit {
                bytes_per_second,
                is_per_drive,
            })
            .ok_or_else(|| {
                format!(
                    "{} holds {text:?}, which is no limit; set it anew with: ratelimit",
                    path.display()
                )
            })
    }

    fn save_rate_limit(&mut self, limit: RateLimit) -> Result<(), String> {
        let of = if limit.is_per_drive { " per-drive" } else { "" };
        self.replace("ratelimit", &format!("{}{of}\n", limit.bytes_per_second))
    }

    fn removed_sets(&mut self) -> Result<Vec<Uuid>, String> {
        let path = self.path.join("removed");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let parse = |line: &str| {
            Uuid::parse_str(line).map_err(|_| {
                format!(
                    "{} holds {line:?}, which is no UUID; mend or remove it",
                    path.display()
                )
            })
        };
        text.lines().map(parse).collect()
    }

    fn add_removed_set(&mut self, set: Uuid) -> Result<(), String> {
        let mut sets = self.removed_sets()?;
        sets.push(set);
        let kept = &sets[sets.len().saturating_sub(REMOVED_MAX)..];
        let lines: String = kept.iter().map(|set| format!("{set}\n")).collect();
        self.replace("removed", &lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_kept_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = StateDir::open(&dir.path().join("made/on/demand")).unwrap();
        assert_eq!(state.shelf().unwrap(), None);
        state.save_shelf(Shelf(7)).unwrap();
        assert_eq!(state.shelf().unwrap(), Some(Shelf(7)));
        for damaged in ["", "x", "4095", "70000"] {
            fs::write(state.path.join("shelf"), damaged).unwrap();
            assert!(
                matches!(state.shelf(), Err(StateError::Damaged { .. })),
                "{damaged:?}"
            );
        }
    }

    #[test]
    fn removed_sets_are_kept_in_order_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.removed_sets(), Ok(Vec::new()));
        let set = |number: usize| Uuid::from_u128(number as u128);
        for number in 0..3 {
            state.add_removed_set(set(number)).unwrap();
        }
        let mut again = StateDir::open(dir.path()).unwrap();
        assert_eq!(again.removed_sets(), Ok(vec![set(0), set(1), set(2)]));
        let full: String = (0..REMOVED_MAX).map(|n| format!("{}\n", set(n))).collect();
        fs::write(dir.path().join("removed"), full).unwrap();
        state.add_removed_set(set(REMOVED_MAX)).unwrap();
        let kept = state.removed_sets().unwrap();
        assert_eq!(kept.len(), REMOVED_MAX);
        assert_eq!((kept[0], kept[REMOVED_MAX - 1]), (set(1), set(REMOVED_MAX)));
    }

    #[test]
    fn the_limit_is_kept_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.rate_limit(), Ok(RateLimit::NONE));
        for is_per_drive in [false, true] {
            let limit = RateLimit {
                bytes_per_second: 128 << 20,
                is_per_drive,
            };
            state.save_rate_limit(limit).unwrap();
            assert_eq!(state.rate_limit(), Ok(limit));
        }
        for damaged in ["", "x", "5 per-disk", "5 per-drive 6"] {
            fs::write(dir.path().join("ratelimit"), damaged).unwrap();
            assert!(state.rate_limit().unwrap_err().contains("no limit"));
        }
    }

    /// Power is cut before each step, or in the middle of the write; what is not synchronised may be lost or
    /// not, so that the new content must be durable before it gets the name of the old one.
    #[test]
    fn whatever_the_power_a_file_is_replaced_wholly_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = StateDir::open(dir.path()).unwrap();
        state.save_shelf(Shelf(1)).unwrap();
        let mut steps = Vec::new();
        let replace = |before: &mut dyn FnMut(Step<'_>) -> io::Result<()>| {
            replace_file(dir.path(), "shelf", "65534\n", before)
        };
        for cut in 0..5 {
            let mut done = Vec::new();
            let result = replace(&mut |step| {
                let name = match step {
                    Step::Create => "create",
                    Step::Write(file) if done.len() == cut => {
                        file.write_all(b"65")?;
                        "write"
                    }
                    Step::Write(_) => "write",
                    Step::SyncFile => "sync file",
                    Step::Rename => "rename",
                    Step::SyncDirectory => "sync directory",
                };
                if done.len() == cut {
                    return Err(io::Error::other("no power"));
                }
                done.push(name);
                Ok(())
            });
            assert!(result.is_err(), "{done:?}");
            let expected = if done.contains(&"rename") { 65534 } else { 1 };
            assert_eq!(state.shelf().unwrap(), Some(Shelf(expected)), "{done:?}");
            assert!(
                !done.contains(&"rename") || done.contains(&"sync file"),
                "{done:?}"
            );
            // What the cut has left behind is in nobody's way.
            state.save_shelf(Shelf(1)).unwrap();
            assert_eq!(state.shelf().unwrap(), Some(Shelf(1)));
            steps = done;
        }
        assert_eq!(steps, ["create", "write", "sync file", "rename"]);
    }

    #[test]
    fn settings_are_kept_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.settings(), Ok(Settings::default()));
        let settings = Settings {
            product: "SRX".to_owned(),
            syslog: "[2001:db8::1]:514".parse().ok(),
            timezone: Some("Europe/Berlin".to_owned()),
            ..Settings::default()
        };
        state.save_settings(&settings).unwrap();
        assert_eq!(state.settings(), Ok(settings));
        for damaged in ["product = 1", "product"] {
            fs::write(dir.path().join("settings.toml"), damaged).unwrap();
            assert!(state.settings().unwrap_err().contains("mend"), "{damaged}");
            let (told, _) = state.settings_trouble().unwrap();
            assert!(told.contains("mend"), "{told}");
            // It is not written over.
            assert!(state.save_settings(&Settings::default()).is_err());
        }
    }

    /// What a box falls back to understands what it can of the settings, and the newer version finds its own
    /// again.
    #[test]
    fn what_a_newer_version_has_set_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let path = dir.path().join("settings.toml");
        let newer =
            "product = 'SRX'\ncolour = 'red'\n[mail]\nto = ['a', 'b']\nsince = 2027-01-01\n";
        fs::write(&path, newer).unwrap();
        let settings = state.settings().unwrap();
        assert_eq!(settings.product, "SRX");
        let (told, _) = state.settings_trouble().unwrap();
        assert!(told.contains("has colour, mail, which"), "{told}");
        let changed = Settings {
            motd: "hello".to_owned(),
            ..settings
        };
        state.save_settings(&changed).unwrap();
        assert_eq!(state.settings(), Ok(changed));
        let read = |text: &str| text.parse::<toml::Table>().unwrap();
        let (now, before) = (read(&fs::read_to_string(&path).unwrap()), read(newer));
        for key in ["product", "colour", "mail"] {
            assert_eq!(now[key], before[key], "{key}");
        }
        assert_eq!(now["motd"].as_str(), Some("hello"));
    }

    #[test]
    fn configurations_are_saved_under_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.saved(), Ok(Vec::new()));
        assert_eq!(state.load("a"), Ok(None));
        state.save("b", "shelf 1\n").unwrap();
        state.save("a", "shelf 2\n").unwrap();
        state.save("a", "shelf 3\n").unwrap();
        assert_eq!(state.saved(), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(state.load("a"), Ok(Some("shelf 3\n".to_owned())));
    }

    /// To take a damaged file for an empty one would be to serve what was removed.
    #[test]
    fn a_damaged_list_of_removed_sets_is_told_and_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = StateDir::open(dir.path()).unwrap();
        fs::write(dir.path().join("removed"), "not a UUID\n").unwrap();
        assert!(state.removed_sets().unwrap_err().contains("no UUID"));
        assert!(state.add_removed_set(Uuid::nil()).is_err());
        let text = fs::read_to_string(dir.path().join("removed")).unwrap();
        assert_eq!(text, "not a UUID\n");
    }
}

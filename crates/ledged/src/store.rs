//! Shelf-wide settings in the state directory: the shelf number.
//!
//! The number is kept in `shelf` as decimal text, replaced atomically. It is what the command `shelf`
//! set; the configuration gives the number of a box on which nobody has used that command.

use aoe::Shelf;
use shelf::manager::ShelfStore;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The state directory.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
}

/// Why the state directory is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("state_dir {path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "{path} holds no shelf number but {text:?}; write a number from 0 to 65534 into it, or remove it"
    )]
    Damaged { path: PathBuf, text: String },
}

impl StateDir {
    /// Opens the directory, making it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(path).map_err(|source| StateError::Directory {
            path: path.to_owned(),
            source,
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
            Err(source) => return Err(StateError::Directory { path, source }),
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

impl ShelfStore for StateDir {
    fn save_shelf(&mut self, shelf: Shelf) -> Result<(), String> {
        let path = self.path.join("shelf");
        let save = || -> io::Result<()> {
            let new = self.path.join("shelf.new");
            let mut file = File::create(&new)?;
            writeln!(file, "{shelf}")?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.path)?.sync_all()
        };
        save().map_err(|error| format!("{}: {error}", path.display()))
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
}

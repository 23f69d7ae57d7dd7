//! The bundle that `sos` writes: a tar file in the state directory, for nobody but its owner.
//!
//! It has what it is given, and nothing of the state directory itself: no secrets.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bundles that are kept; of more the oldest go.
const BUNDLES_MAX: usize = 4;

/// Writes a bundle of named texts below a directory. It is durable, or not there.
pub(crate) fn write(
    directory: &Path,
    name: &str,
    unix_seconds: u64,
    files: &[(String, String)],
) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let new = directory.join("bundle.new");
    let path = directory.join(format!("{name}.tar"));
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    let mut archive = tar::Builder::new(file);
    for (file, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(unix_seconds);
        archive.append_data(&mut header, format!("{name}/{file}"), text.as_bytes())?;
    }
    archive.into_inner()?.sync_all()?;
    fs::rename(&new, &path)?;
    forget_old(directory)?;
    File::open(directory)?.sync_all()?;
    Ok(path)
}

/// Names begin with the time, so that they sort by age.
fn forget_old(directory: &Path) -> io::Result<()> {
    let mut bundles: Vec<PathBuf> = fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .collect();
    bundles.sort();
    for old in bundles.iter().rev().skip(BUNDLES_MAX) {
        fs::remove_file(old)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_bundle_has_its_files_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("sos");
        let files = [("show-l.txt".to_owned(), "1.0 up\n".to_owned())];
        for number in 0..6 {
            write(&directory, &format!("ledge-{number}"), 7, &files).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["ledge-2.tar", "ledge-3.tar", "ledge-4.tar", "ledge-5.tar"]
        );
        let path = directory.join("ledge-5.tar");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let mut archive = tar::Archive::new(File::open(&path).unwrap());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some("ledge-5/show-l.txt"));
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "1.0 up\n");
    }
}

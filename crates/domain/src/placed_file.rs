//! A database file in use that somebody may move or remove.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file and where it was when it was opened. A process that has it open goes on writing to it
/// wherever it is moved to, and even when it was removed: all of that would be gone with the
/// process.
#[derive(Clone, Debug)]
pub struct PlacedFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

/// Another file, or none, is where the open one was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} was moved or removed while it is in use, and what is written to it now would be lost: \
     put it back, or restart to go on with what is there"
)]
pub struct Misplaced(pub String);

impl PlacedFile {
    /// The file at `path`, which must exist.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let identity = identity(&path)?;
        Ok(Self { path, identity })
    }

    /// Whether it is still there. One call of the system (`stat`).
    ///
    /// # Errors
    /// [`Misplaced`] when it is not.
    pub fn check(&self) -> Result<(), Misplaced> {
        match identity(&self.path) {
            Ok(found) if found == self.identity => Ok(()),
            _ => Err(Misplaced(self.path.display().to_string())),
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_missed_until_it_is_back_and_not_mistaken_for_another() {
        let folder = std::env::temp_dir().join(format!("placed-{}", uuid::Uuid::now_v7()));
        fs::create_dir_all(&folder).unwrap();
        let (here, gone) = (folder.join("file"), folder.join("gone"));
        fs::write(&here, "one").unwrap();
        let placed = PlacedFile::at(&here).unwrap();
        placed.check().unwrap();
        fs::rename(&here, &gone).unwrap();
        assert_eq!(placed.check(), Err(Misplaced(here.display().to_string())));
        fs::write(&here, "another").unwrap();
        assert!(placed.check().is_err());
        fs::rename(&gone, &here).unwrap();
        placed.check().unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}

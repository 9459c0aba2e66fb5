//! Files and folders that only their owner may read, whatever the umask is: databases hold what
//! users entrust to us.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a file may have, and a folder.
const FILE: u32 = 0o600;
const FOLDER: u32 = 0o700;

/// Everything that a mode can let others than the owner do.
const OTHERS: u32 = 0o077;

/// Makes a file of mode 0600 and opens it for writing. There is no moment at which it is wider.
///
/// # Errors
/// When there is one already ([`io::ErrorKind::AlreadyExists`]), or it cannot be made.
pub fn create_private_file(path: impl AsRef<Path>) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(FILE).open(path)?;
    // A umask can only have taken away from it.
    file.set_permissions(Permissions::from_mode(FILE))?;
    Ok(file)
}

/// Makes an empty file of mode 0600 unless there is one. SQLite gives its log and its index the
/// mode that the database's file has, so that it is made here and not there.
///
/// # Errors
/// When it cannot be made.
pub fn ensure_private_file(path: impl AsRef<Path>) -> io::Result<()> {
    match create_private_file(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

/// Makes a folder, and those above it, where there are none: what is made has the mode 0700, what
/// is there stays as it is.
///
/// # Errors
/// When one cannot be made.
pub fn ensure_private_folder(path: impl AsRef<Path>) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// A file or folder that others than its owner may read or write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path} may be read or written by others than its owner (mode {mode:o}): chmod {wanted:o} \
     {path}"
)]
pub struct OpenToOthers {
    /// As it is given to a shell.
    path: String,
    mode: u32,
    wanted: u32,
}

/// What is wrong with the mode of the file or folder at `path`; `None` for one that is not there.
#[must_use]
pub fn open_to_others(path: impl AsRef<Path>) -> Option<OpenToOthers> {
    let path = path.as_ref();
    let found = fs::metadata(path).ok()?;
    let mode = found.permissions().mode() & 0o777;
    let wanted = if found.is_dir() { FOLDER } else { FILE };
    (mode & OTHERS != 0).then(|| OpenToOthers { path: in_a_shell(path), mode, wanted })
}

/// The same of a SQLite database's file and of those beside it: SQLite's log and index, our lock.
pub fn database_open_to_others(path: impl AsRef<Path>) -> impl Iterator<Item = OpenToOthers> {
    let path = path.as_ref().to_owned();
    ["", "-wal", "-shm", ".lock"]
        .into_iter()
        .filter_map(move |end| open_to_others(beside(&path, end)))
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Quoted where a shell would read something else.
fn in_a_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_its_owners_and_what_was_there_is_told_of() {
        let folder = std::env::temp_dir().join(format!("private-{}", uuid::Uuid::now_v7()));
        let inner = folder.join("a b/c");
        ensure_private_folder(&inner).unwrap();
        ensure_private_folder(&inner).unwrap();
        assert_eq!([&folder, &folder.join("a b"), &inner].map(|path| mode(path)), [0o700; 3]);
        let file = inner.join("store.db");
        ensure_private_file(&file).unwrap();
        assert_eq!((mode(&file), open_to_others(&file)), (0o600, None));
        fs::write(&file, "kept").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        ensure_private_file(&file).unwrap();
        assert_eq!((fs::read(&file).unwrap().as_slice(), mode(&file)), (&b"kept"[..], 0o640));
        fs::write(inner.join("store.db-wal"), "").unwrap();
        fs::set_permissions(inner.join("store.db-wal"), Permissions::from_mode(0o604)).unwrap();
        let told: Vec<String> =
            database_open_to_others(&file).map(|wide| wide.to_string()).collect();
        let at = inner.display();
        assert!(told[0].ends_with(&format!("(mode 640): chmod 600 '{at}/store.db'")), "{told:?}");
        assert!(told[1].ends_with(&format!("chmod 600 '{at}/store.db-wal'")), "{told:?}");
        assert_eq!(create_private_file(&file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::remove_dir_all(&folder).unwrap();
    }
}

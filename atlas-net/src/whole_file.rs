//! Small files of a state folder that are replaced as a whole: whatever happens meanwhile, there is the old one or the new one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Replaces a file, or makes it, so that it is on the disk. A file that cannot be replaced stays as it was; one that is replaced lets in whom it
/// did before.
///
/// # Errors
///
/// The folder cannot be written, or has no room.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_as(path, bytes, Readers::Anybody)
}

/// As [`replace`], so that nobody but its owner can read it.
pub(crate) fn replace_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_as(path, bytes, Readers::Owner)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    Anybody,
    Owner,
}

fn replace_as(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let mut new = OsString::from(".");
    new.push(name);
    new.push(format!(".{}.new", std::process::id()));
    let new = folder.join(new);
    let replaced = write(&new, path, bytes, readers)
        .and_then(|()| fs::rename(&new, path))
        // The name is on the disk when its folder is.
        .and_then(|()| File::open(folder)?.sync_all());
    if replaced.is_err() {
        let _ = fs::remove_file(&new);
    }
    replaced
}

fn write(new: &Path, path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    if readers == Readers::Owner {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let mut file = options.open(new)?;
    match readers {
        // A file that was left there keeps its mode when it is opened.
        Readers::Owner => restrict(new, 0o600)?,
        Readers::Anybody => {
            if let Ok(before) = fs::metadata(path) {
                file.set_permissions(before.permissions())?;
            }
        }
    }
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
pub(crate) fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
pub(crate) fn restrict(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_replaced_stays_as_it_was_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings");
        for text in ["first", "second"] {
            replace(&file, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            restrict(&file, 0o640).unwrap();
        }
        replace(&file, b"third").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o640);
        }
        // A folder that is not empty cannot be replaced by a file.
        let occupied = folder.path().join("occupied");
        fs::create_dir_all(occupied.join("below")).unwrap();
        replace(&occupied, b"third").unwrap_err();
        assert!(occupied.join("below").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        replace(Path::new("/"), b"").unwrap_err();
    }
}

//! From the folder that a job has run in to the tree of what it made: whatever was not placed there, or is not as it was placed.
//!
//! A job is not believed: a link that it left must not make this machine send a file of somebody else's. What cannot be
//! sent is left out and said rather than being an error, since the job has done its work.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::gather::children;
use super::{FileTree, GatherError, Gathered, LeftOut, TreeEntry, TreeFile, TreePath};
use crate::add::{AddAs, hash};
use crate::file_error::FileError;
use crate::store::{Form, Store};

/// Something in the folder, with its path in the tree.
struct Found {
    path: PathBuf,
    at: TreePath,
}

/// What is to be done about it.
enum Kind {
    Folder,
    File,
    /// The file that a link leads to.
    Linked(PathBuf),
    Neither(&'static str),
}

impl FileTree {
    /// The tree of what is new or changed in a folder where `inputs` had been placed. That something is gone is not
    /// said. Nobody may write to the folder any more. Blocks for as long as it takes.
    ///
    /// # Errors
    ///
    /// Something cannot be read or added, or there is too much.
    pub fn of_outputs(
        folder: &Path,
        inputs: &FileTree,
        store: &Store,
        add_as: AddAs,
    ) -> Result<Gathered, GatherError> {
        let folder = folder
            .canonicalize()
            .map_err(|error| FileError::reading(folder, error))?;
        let mut gathered = Gathered::default();
        let mut pending = Vec::new();
        gathered.find(&folder, None, &mut pending)?;
        while let Some(Found { path, at }) = pending.pop() {
            match kind(&path, &folder)? {
                Kind::Folder => {
                    gathered.find(&path, Some(&at), &mut pending)?;
                    if !inputs.has_folder(at.as_str()) {
                        gathered.tree.insert(at, TreeEntry::Folder)?;
                    }
                }
                Kind::File => {
                    if !is_unchanged(&path, inputs.get(at.as_str()), store)? {
                        gathered.add_file(&path, at, store, add_as)?;
                    }
                }
                Kind::Linked(target) => {
                    // Not linked again: it may be one of the inputs, or be in the tree under its own name.
                    gathered.add_file(&target, at, store, unlinked(add_as))?;
                    gathered.followed.push(path);
                }
                Kind::Neither(why) => gathered.left_out.push(LeftOut { path, why }),
            }
        }
        gathered.followed.sort();
        gathered
            .left_out
            .sort_by(|one, two| one.path.cmp(&two.path));
        Ok(gathered)
    }
}

impl Gathered {
    /// Looks what is in a folder.
    fn find(
        &mut self,
        folder: &Path,
        at: Option<&TreePath>,
        pending: &mut Vec<Found>,
    ) -> Result<(), GatherError> {
        for path in children(folder)? {
            let name = path.file_name().and_then(|name| name.to_str());
            let at = name.and_then(|name| match at {
                Some(at) => at.join(name).ok(),
                None => TreePath::new(name).ok(),
            });
            match at {
                Some(at) => pending.push(Found { path, at }),
                None => self.left_out.push(LeftOut {
                    path,
                    why: "its name is not UTF-8, or its path too long",
                }),
            }
        }
        Ok(())
    }
}

fn kind(path: &Path, folder: &Path) -> Result<Kind, FileError> {
    let metadata = path
        .symlink_metadata()
        .map_err(|error| FileError::reading(path, error))?;
    if metadata.is_dir() {
        return Ok(unless_denied(Kind::Folder, fs::read_dir(path)));
    }
    if metadata.is_file() {
        return Ok(unless_denied(Kind::File, File::open(path)));
    }
    if !metadata.is_symlink() {
        return Ok(Kind::Neither("a socket, pipe or device"));
    }
    match path.canonicalize() {
        Ok(target) if target.starts_with(folder) && target.is_file() => Ok(Kind::Linked(target)),
        Ok(_) => Ok(Kind::Neither(
            "a symbolic link to something that is no file, or outside of the job's folder",
        )),
        Err(_) => Ok(Kind::Neither("a symbolic link that leads nowhere")),
    }
}

/// A job can take away the right to read what it made; what else is wrong is found when it is read.
fn unless_denied<T>(kind: Kind, opened: io::Result<T>) -> Kind {
    match opened {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Kind::Neither("this user may not read it")
        }
        _ => kind,
    }
}

/// Whether a file is the one that was placed.
fn is_unchanged(path: &Path, placed: Option<TreeEntry>, store: &Store) -> Result<bool, FileError> {
    let Some(TreeEntry::File(placed)) = placed else {
        return Ok(false);
    };
    let reading = |error| FileError::reading(path, error);
    let metadata = path.symlink_metadata().map_err(reading)?;
    let executable = metadata.permissions().mode() & 0o111 != 0;
    if metadata.len() != placed.bytes || executable != placed.executable {
        return Ok(false);
    }
    if is_linked(&metadata, placed, store) {
        return Ok(true);
    }
    let mut file = File::open(path).map_err(reading)?;
    Ok(hash(&mut file).map_err(reading)?.0 == placed.blob)
}

/// Whether it is the store's own file, which nobody has written to.
fn is_linked(metadata: &Metadata, placed: TreeFile, store: &Store) -> bool {
    store
        .lookup(placed.blob, Form::plain(placed.executable))
        .is_some_and(|(_, blob)| (blob.dev(), blob.ino()) == (metadata.dev(), metadata.ino()))
}

fn unlinked(add_as: AddAs) -> AddAs {
    match add_as {
        AddAs::Packed => AddAs::Packed,
        AddAs::Plain | AddAs::Linked => AddAs::Plain,
    }
}

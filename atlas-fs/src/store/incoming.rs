//! [`Incoming`]: a file that is to become a blob. It has a temporary name until it is whole and verified; dropped before,
//! it is removed.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::{Builder, NamedTempFile};

use super::{Form, Store, made_at};
use crate::file_error::FileError;
use crate::name::BlobName;

/// A file on its way into a store.
#[derive(Debug)]
pub(crate) struct Incoming {
    file: NamedTempFile,
    store: Store,
}

impl Incoming {
    /// An empty one.
    pub(crate) fn create(store: &Store) -> Result<Self, FileError> {
        Self::new(store, builder().tempfile_in(store.folder()))
    }

    /// Another name of a file elsewhere, or nothing where the file system does not let it have one.
    pub(crate) fn link(store: &Store, from: &Path) -> Result<Option<Self>, FileError> {
        let linked = builder().make_in(store.folder(), |path| {
            fs::hard_link(from, path)?;
            File::open(path)
        });
        match linked {
            Ok(file) => Ok(Some(Self {
                file,
                store: store.clone(),
            })),
            Err(error) if cannot_link(&error) => Ok(None),
            Err(error) => Err(FileError::making(store.folder(), error)),
        }
    }

    fn new(store: &Store, file: io::Result<NamedTempFile>) -> Result<Self, FileError> {
        Ok(Self {
            file: file.map_err(|error| FileError::writing(store.folder(), error))?,
            store: store.clone(),
        })
    }

    /// What is in the file, from its beginning.
    pub(crate) fn rewound(&mut self) -> Result<&mut File, FileError> {
        let file = self.file.as_file_mut();
        file.rewind()
            .map_err(|error| FileError::reading(self.store.folder(), error))?;
        Ok(file)
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all(bytes)
            .map_err(|error| FileError::writing(self.store.folder(), error))
    }

    /// Takes away everybody's right to write to it.
    pub(crate) fn seal(&self, form: Form) -> Result<(), FileError> {
        seal(self.file.as_file(), form)
            .map_err(|error| FileError::writing(self.store.folder(), error))
    }

    /// Makes it the blob of this name, which the caller has verified.
    pub(crate) fn keep(self, name: BlobName, form: Form) -> Result<PathBuf, FileError> {
        // A plain one that is there may have links already, which a second file would not share its room with.
        if form != Form::Packed
            && let Some((path, _)) = self.store.lookup(name, form)
        {
            return Ok(path);
        }
        self.seal(form)?;
        let path = self.store.path(name, form);
        // In the place of one that is equal, or that was damaged.
        self.file
            .persist(&path)
            .map_err(|error| FileError::making(&path, error.error))?;
        Ok(path)
    }
}

/// Gives a file the mode and time that a blob in this form has.
pub(crate) fn seal(file: &File, form: Form) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(form.mode()))?;
    file.set_times(
        FileTimes::new()
            .set_modified(made_at())
            .set_accessed(SystemTime::now()),
    )
}

/// Whether a hard link was refused for what it is rather than for the folder that it should be in.
pub(crate) fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::Unsupported
    )
}

/// Removes what is no blob and belongs to nobody.
pub(super) fn remove_leftovers(folder: &Path) -> Result<(), FileError> {
    let reading = |error| FileError::reading(folder, error);
    for entry in fs::read_dir(folder).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            let path = entry.path();
            fs::remove_file(&path).map_err(|error| FileError::refused("remove", &path, error))?;
        }
    }
    Ok(())
}

fn builder() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX);
    builder
}

const PREFIX: &str = ".incoming-";

//! From files and bytes on this machine to blobs: the name is found in the same pass in which the content is packed or
//! checked.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::blocking::blocking;
use crate::file_error::FileError;
use crate::name::BlobName;
use crate::pack::{LengthChanged, PIECE_BYTES, Packer, read_piece};
use crate::store::{Form, Incoming, Store};

/// How a file becomes a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddAs {
    /// Packed: it will travel.
    Packed,
    /// Plain: it will be used on this machine. The file is copied (without the bytes, where the file system can have two
    /// files share them), since its owner may write to it again.
    Plain,
    /// Plain, as another name of the same file, where that is possible; else as a copy. **The file becomes read-only, and nobody
    /// may write to it any more**: for files that are given up, such as a job's outputs.
    Linked,
}

/// A blob that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its name.
    pub name: BlobName,
    /// The length of its content.
    pub bytes: u64,
    /// Whether the file that it was made of is executable.
    pub executable: bool,
}

/// Why something cannot become a blob.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// A folder, a socket, a device and the like.
    #[error("{} is no regular file, and only those can be sent: leave it out", path.display())]
    NotAFile {
        /// What it is.
        path: PathBuf,
    },
    /// Somebody writes to it.
    #[error("{} was written to while it was read: wait until it is complete", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read, or the blob not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Store {
    /// Makes a blob of a file; a symbolic link stands for the file that it leads to. Blocks for as long as it takes.
    ///
    /// # Errors
    ///
    /// It is no regular file, changes meanwhile, or cannot be read, or the store cannot be written to.
    pub fn add_file(&self, path: &Path, add_as: AddAs) -> Result<Added, AddError> {
        let reading = |error| FileError::reading(path, error);
        // Before it is opened: that waits for a writer if it is a pipe.
        if !path.metadata().map_err(reading)?.is_file() {
            return Err(AddError::NotAFile { path: path.into() });
        }
        let mut file = File::open(path).map_err(reading)?;
        let metadata = file.metadata().map_err(reading)?;
        let executable = metadata.permissions().mode() & 0o111 != 0;
        let (name, bytes) = match add_as {
            AddAs::Packed => self.pack(path, &mut file, metadata.len())?,
            AddAs::Plain => self.copy(path, &mut file, Form::plain(executable))?,
            AddAs::Linked => {
                let real_path = path.canonicalize().map_err(reading)?;
                match Incoming::link(self, &real_path)? {
                    Some(linked) => self.keep_plain(path, linked, Form::plain(executable))?,
                    None => self.copy(path, &mut file, Form::plain(executable))?,
                }
            }
        };
        Ok(Added {
            name,
            bytes,
            executable,
        })
    }

    /// [`add_file`](Self::add_file) on a thread that may block.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn add_file_async(&self, path: PathBuf, add_as: AddAs) -> Result<Added, AddError> {
        let store = self.clone();
        blocking(move || store.add_file(&path, add_as)).await
    }

    /// Makes a packed blob of these bytes.
    ///
    /// # Errors
    ///
    /// The store cannot be written to.
    pub fn add_bytes(&self, content: &[u8]) -> Result<BlobName, AddError> {
        let added = self.pack(self.folder(), &mut &content[..], content.len() as u64)?;
        Ok(added.0)
    }

    fn pack(
        &self,
        path: &Path,
        file: &mut impl io::Read,
        bytes: u64,
    ) -> Result<(BlobName, u64), AddError> {
        let changed = |LengthChanged| AddError::Changed { path: path.into() };
        let mut incoming = Incoming::create(self)?;
        let mut packer = Packer::new(bytes);
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let mut packed = Vec::new();
        loop {
            read_piece(file, &mut piece).map_err(|error| FileError::reading(path, error))?;
            packer.take(&piece, &mut packed).map_err(changed)?;
            if piece.is_empty() {
                break;
            }
            incoming.append(&packed)?;
            packed.clear();
        }
        let name = packer.finish(&mut packed).map_err(changed)?;
        incoming.append(&packed)?;
        incoming.keep(name, Form::Packed)?;
        Ok((name, bytes))
    }

    /// What is hashed is the copy, so that it does not matter who writes to the file meanwhile.
    fn copy(&self, path: &Path, file: &mut File, form: Form) -> Result<(BlobName, u64), AddError> {
        let mut incoming = Incoming::create(self)?;
        // This asks the kernel to copy from file to file.
        io::copy(file, incoming.rewound()?)
            .map_err(|error| FileError::copying(path, self.folder(), error))?;
        self.keep_plain(path, incoming, form)
    }

    fn keep_plain(
        &self,
        path: &Path,
        mut incoming: Incoming,
        form: Form,
    ) -> Result<(BlobName, u64), AddError> {
        incoming.seal(form)?;
        let (name, bytes) =
            hash(incoming.rewound()?).map_err(|error| FileError::reading(path, error))?;
        incoming.keep(name, form)?;
        Ok((name, bytes))
    }
}

/// The name that a file would have as a blob, and its length.
pub(crate) fn hash(file: &mut impl io::Read) -> io::Result<(BlobName, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok((hasher.finalize().into(), hasher.count()))
}

//! A blob's content on the machine where it lies: in memory, or as a file. It is hashed again on the way: disks fail,
//! and files are written to. A blob that is not what its name says is removed, so that it is fetched anew.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::file_error::FileError;
use crate::name::BlobName;
use crate::pack::{PIECE_BYTES, read_piece};
use crate::store::{Form, Incoming, Store};
use crate::unpack::{Fault, Stop, Unpacker};

/// Why a blob cannot be had from a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadBlobError {
    /// It is not there.
    #[error("there is no blob {name} in {}: fetch it first", folder.display())]
    Missing {
        /// Which.
        name: BlobName,
        /// Where it is not.
        folder: PathBuf,
    },
    /// It is larger than wanted.
    #[error("blob {name} has more than the {bytes_max} bytes that are let in")]
    TooLarge {
        /// Which.
        name: BlobName,
        /// What was wanted at most.
        bytes_max: u64,
    },
    /// The file is not the blob any more.
    #[error(
        "{} is not blob {name} any more, and was removed: somebody wrote to it, or the disk is damaged; fetch it again",
        path.display()
    )]
    Damaged {
        /// Which.
        name: BlobName,
        /// Where it was.
        path: PathBuf,
        /// What is wrong.
        #[source]
        fault: Fault,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Store {
    /// The content of a blob of at most so many bytes. Blocks for as long as it takes.
    ///
    /// # Errors
    ///
    /// It is not there, larger, damaged, or cannot be read.
    pub fn read(&self, name: BlobName, bytes_max: u64) -> Result<Vec<u8>, ReadBlobError> {
        let mut content = Vec::new();
        self.content(name, bytes_max, |piece| {
            content.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(content)
    }

    /// The file with the blob's content, executable or not. It is made if the blob is there in another form. Blocks for
    /// as long as it takes.
    ///
    /// # Errors
    ///
    /// The blob is not there or damaged, or the store cannot be written to.
    pub fn plain_file(&self, name: BlobName, executable: bool) -> Result<PathBuf, ReadBlobError> {
        let form = Form::plain(executable);
        if let Some((path, _)) = self.lookup(name, form) {
            return Ok(path);
        }
        let mut incoming = Incoming::create(self)?;
        self.content(name, u64::MAX, |piece| incoming.append(piece))?;
        Ok(incoming.keep(name, form)?)
    }

    /// Reads a blob in each form in which it is there, and removes what is damaged: for who was told that what this store has
    /// sent was wrong. Blocks for as long as it takes.
    ///
    /// # Errors
    ///
    /// The blob is not there, was damaged, or cannot be read.
    pub fn verify(&self, name: BlobName) -> Result<(), ReadBlobError> {
        let mut verified = Err(self.missing(name));
        for form in FORMS {
            if self.lookup(name, form).is_some() {
                self.content_of(name, form, u64::MAX, |_| Ok(()))?;
                verified = Ok(());
            }
        }
        verified
    }

    /// Hands on the content piece by piece. It is verified when this has returned, and not before.
    pub(crate) fn content(
        &self,
        name: BlobName,
        bytes_max: u64,
        hand_on: impl FnMut(&[u8]) -> Result<(), FileError>,
    ) -> Result<u64, ReadBlobError> {
        let form = FORMS
            .into_iter()
            .find(|form| self.lookup(name, *form).is_some())
            .ok_or_else(|| self.missing(name))?;
        self.content_of(name, form, bytes_max, hand_on)
    }

    fn content_of(
        &self,
        name: BlobName,
        form: Form,
        bytes_max: u64,
        hand_on: impl FnMut(&[u8]) -> Result<(), FileError>,
    ) -> Result<u64, ReadBlobError> {
        let path = self.path(name, form);
        let handed_on = match form {
            Form::Packed => unpack(&path, name, bytes_max, hand_on),
            Form::Plain | Form::Run => read(&path, name, bytes_max, hand_on),
        };
        handed_on.map_err(|stop| match stop {
            Stop::File(error) => ReadBlobError::File(error),
            Stop::Fault(Fault::TooLarge { .. }) => ReadBlobError::TooLarge { name, bytes_max },
            Stop::Fault(fault) => {
                // If it cannot be removed, the next one to read it finds the same.
                let _ = fs::remove_file(&path);
                ReadBlobError::Damaged { name, path, fault }
            }
        })
    }

    fn missing(&self, name: BlobName) -> ReadBlobError {
        ReadBlobError::Missing {
            name,
            folder: self.folder().into(),
        }
    }
}

fn unpack(
    path: &Path,
    name: BlobName,
    bytes_max: u64,
    mut hand_on: impl FnMut(&[u8]) -> Result<(), FileError>,
) -> Result<u64, Stop> {
    let mut unpacker = Unpacker::new(bytes_max)?;
    pieces(path, |mut piece| {
        while !piece.is_empty() {
            let taken = unpacker.take(piece, usize::MAX, &mut hand_on)?;
            piece = &piece[taken..];
        }
        Ok(())
    })?;
    unpacker.finish(name, hand_on)
}

fn read(
    path: &Path,
    name: BlobName,
    bytes_max: u64,
    mut hand_on: impl FnMut(&[u8]) -> Result<(), FileError>,
) -> Result<u64, Stop> {
    let mut hasher = blake3::Hasher::new();
    pieces(path, |piece| {
        hasher.update(piece);
        if hasher.count() > bytes_max {
            let said = hasher.count();
            return Err(Fault::TooLarge { said, bytes_max }.into());
        }
        Ok(hand_on(piece)?)
    })?;
    let came = hasher.finalize().into();
    if came == name {
        Ok(hasher.count())
    } else {
        Err(Fault::WrongContent { came }.into())
    }
}

fn pieces(path: &Path, mut hand_on: impl FnMut(&[u8]) -> Result<(), Stop>) -> Result<(), Stop> {
    let reading = |error| FileError::reading(path, error);
    let mut file = File::open(path).map_err(reading)?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    loop {
        read_piece(&mut file, &mut piece).map_err(reading)?;
        if piece.is_empty() {
            return Ok(());
        }
        hand_on(&piece)?;
    }
}

/// What is read first costs least.
const FORMS: [Form; 3] = [Form::Plain, Form::Run, Form::Packed];

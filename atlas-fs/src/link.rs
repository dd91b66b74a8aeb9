//! Blobs under names outside of their store: hard links where that is possible, so that they cost nothing, else copies.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::content::ReadBlobError;
use crate::file_error::FileError;
use crate::name::BlobName;
use crate::store::{Form, Store, cannot_link, seal};

impl Store {
    /// Makes a file with a blob's content, read-only, as a hard link to that of the store if possible. Blocks for as long as
    /// it takes.
    ///
    /// # Errors
    ///
    /// The blob is not there or damaged, there is something in the file's place, or its folder cannot be written to.
    pub fn place(&self, name: BlobName, place: &Path) -> Result<(), ReadBlobError> {
        let blob = self.plain_file(name, false)?;
        Ok(link_or_copy(&blob, false, place)?)
    }
}

/// Makes a file of the store known elsewhere.
pub(crate) fn link_or_copy(blob: &Path, executable: bool, place: &Path) -> Result<(), FileError> {
    match fs::hard_link(blob, place) {
        Ok(()) => Ok(()),
        Err(error) if cannot_link(&error) => copy(blob, executable, place),
        Err(error) => Err(FileError::making(place, error)),
    }
}

fn copy(blob: &Path, executable: bool, place: &Path) -> Result<(), FileError> {
    let mut from = File::open(blob).map_err(|error| FileError::reading(blob, error))?;
    let making = |error| FileError::making(place, error);
    let mut to = File::create_new(place).map_err(making)?;
    io::copy(&mut from, &mut to)
        .and_then(|_| seal(&to, Form::plain(executable)))
        .map_err(|error| {
            // The first error is the one to tell.
            let _ = fs::remove_file(place);
            making(error)
        })
}

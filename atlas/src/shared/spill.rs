//! Where a value is encoded to: memory, as long as it is small, and from then on a file of the folder of shared values. It is
//! hashed on the way.
//!
//! Nothing half-written ever has a value's name: the file has a temporary one until it is whole, and is removed if that never comes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use atlas_engine::SharedName;
use serde::Serialize;

/// An encoded value.
pub(super) enum Spilt {
    /// It is small.
    Memory { hash: blake3::Hash, bytes: Vec<u8> },
    /// It lies in the folder, under its name.
    File {
        name: SharedName,
        /// It was not there before.
        is_new: bool,
    },
}

/// Why a value is not encoded.
#[derive(Debug)]
pub(super) enum SpillError {
    /// Its own implementation of `Serialize` has failed.
    Value(postcard::Error),
    /// The folder cannot be written to.
    Folder(io::Error),
}

/// Encodes a value; one of more than so many bytes into a file of the folder.
pub(super) fn spill(
    value: &impl Serialize,
    folder: &Path,
    memory_bytes_max: usize,
) -> Result<Spilt, SpillError> {
    let mut spill = BufWriter::with_capacity(
        BUFFER_BYTES,
        Spill {
            folder,
            memory_bytes_max,
            head: Vec::new(),
            file: None,
            hasher: blake3::Hasher::new(),
            failed: None,
        },
    );
    if let Err(error) = postcard::to_io(value, &mut spill) {
        let (spill, _) = spill.into_parts();
        return Err(match spill.failed {
            Some(error) => SpillError::Folder(error),
            None => SpillError::Value(error),
        });
    }
    // `to_io` has flushed.
    let (spill, _) = spill.into_parts();
    spill.finish().map_err(SpillError::Folder)
}

/// Writes bytes into a file of the folder.
pub(super) fn write(bytes: &[u8], folder: &Path) -> io::Result<SharedName> {
    let mut unfinished = Unfinished::create(folder)?;
    unfinished.file.write_all(bytes)?;
    let (name, _) = unfinished.finish(blake3::hash(bytes), folder)?;
    Ok(name)
}

/// The content of a file of the folder, if it is what its name says.
pub(super) fn read(folder: &Path, name: SharedName) -> io::Result<Vec<u8>> {
    let bytes = fs::read(path(folder, name))?;
    if blake3::hash(&bytes).as_bytes() != &name.0 {
        let what = "its content is not what its name says";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(bytes)
}

pub(super) fn path(folder: &Path, name: SharedName) -> PathBuf {
    folder.join(name.to_string())
}

struct Spill<'folder> {
    folder: &'folder Path,
    memory_bytes_max: usize,
    /// All, until there is a file.
    head: Vec<u8>,
    file: Option<Unfinished>,
    hasher: blake3::Hasher,
    failed: Option<io::Error>,
}

/// A file that has no value's name yet.
struct Unfinished {
    file: File,
    path: PathBuf,
}

impl Spill<'_> {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        if let Some(unfinished) = &mut self.file {
            return unfinished.file.write_all(bytes);
        }
        self.head.extend_from_slice(bytes);
        if self.head.len() > self.memory_bytes_max {
            let mut unfinished = Unfinished::create(self.folder)?;
            unfinished.file.write_all(&std::mem::take(&mut self.head))?;
            self.file = Some(unfinished);
        }
        Ok(())
    }

    fn finish(self) -> io::Result<Spilt> {
        let hash = self.hasher.finalize();
        let Some(unfinished) = self.file else {
            let bytes = self.head;
            return Ok(Spilt::Memory { hash, bytes });
        };
        let (name, is_new) = unfinished.finish(hash, self.folder)?;
        Ok(Spilt::File { name, is_new })
    }
}

impl Write for Spill<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                // The encoder does not hand on why.
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Unfinished {
    fn create(folder: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".unfinished-{}-{number}", std::process::id()));
        let file = File::create_new(&path)?;
        Ok(Self { file, path })
    }

    /// Gives it the name that follows from its content; also says whether there was none of that name before.
    fn finish(self, hash: blake3::Hash, folder: &Path) -> io::Result<(SharedName, bool)> {
        let name = SharedName(*hash.as_bytes());
        let path = path(folder, name);
        // What the server has put there need not be told to it.
        let is_new = !path.exists();
        if is_new {
            fs::rename(&self.path, path)?;
        }
        Ok((name, is_new))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is gone if it was finished.
        let _ = fs::remove_file(&self.path);
    }
}

/// As for any file.
const BUFFER_BYTES: usize = 64 << 10;

//! Sending a blob over any stream: a packed one as it lies there, a plain one packed on the way. The next piece is read
//! and packed while the one before is being sent.

use std::fs::File;
use std::path::PathBuf;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::try_join;

use crate::blocking::blocking;
use crate::file_error::FileError;
use crate::name::BlobName;
use crate::pack::{LengthChanged, PIECE_BYTES, Packer, read_piece};
use crate::store::{Form, Store};

/// Why a blob was not sent, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendBlobError {
    /// It is not there.
    #[error("there is no blob {name} in {}", folder.display())]
    Missing {
        /// What was asked for.
        name: BlobName,
        /// Where it is not.
        folder: PathBuf,
    },
    /// The stream does not take it.
    #[error("the stream broke while blob {name} was sent: send it again on another one")]
    Stream {
        /// What was sent.
        name: BlobName,
        /// The stream's word.
        source: std::io::Error,
    },
    /// The file is not that blob any more. The receiver has noticed, too.
    #[error(
        "{} is not blob {name} any more, and was removed: somebody wrote to it, or the disk is damaged; add it again",
        path.display()
    )]
    Damaged {
        /// What was sent.
        name: BlobName,
        /// Where it was.
        path: PathBuf,
    },
    /// The blob cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A blob that is being sent.
struct Sending {
    name: BlobName,
    path: PathBuf,
    file: File,
    /// For plain ones.
    packer: Option<Packer>,
    piece: Vec<u8>,
}

impl Store {
    /// Sends a blob in its packed form, flushes the stream, and says how many bytes it sent. A receiver reads to the end of
    /// the stream, which the caller brings about.
    ///
    /// # Errors
    ///
    /// The blob is not there or cannot be read, or the stream breaks.
    pub async fn send(
        &self,
        name: BlobName,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64, SendBlobError> {
        let broke = |source| SendBlobError::Stream { name, source };
        let store = self.clone();
        let (mut sending, mut out) = blocking(move || store.begin_to_send(name)?.advance()).await?;
        let mut sent = 0;
        while !out.is_empty() {
            let next = blocking(move || sending.advance());
            let write = async { to.write_all(&out).await.map_err(broke) };
            let (advanced, ()) = try_join!(next, write)?;
            sent += out.len() as u64;
            (sending, out) = advanced;
        }
        to.flush().await.map_err(broke)?;
        Ok(sent)
    }

    fn begin_to_send(&self, name: BlobName) -> Result<Sending, SendBlobError> {
        let (form, (path, metadata)) = [Form::Packed, Form::Plain, Form::Run]
            .into_iter()
            .find_map(|form| Some((form, self.lookup(name, form)?)))
            .ok_or_else(|| SendBlobError::Missing {
                name,
                folder: self.folder().into(),
            })?;
        Ok(Sending {
            name,
            file: File::open(&path).map_err(|error| FileError::reading(&path, error))?,
            path,
            packer: (form != Form::Packed).then(|| Packer::new(metadata.len())),
            piece: Vec::with_capacity(PIECE_BYTES),
        })
    }
}

impl Sending {
    /// What is to be sent next; nothing at the end.
    fn advance(mut self) -> Result<(Self, Vec<u8>), SendBlobError> {
        let mut out = Vec::with_capacity(2 * PIECE_BYTES);
        let mut pieces = 0;
        loop {
            read_piece(&mut self.file, &mut self.piece)
                .map_err(|error| FileError::reading(&self.path, error))?;
            let Some(packer) = &mut self.packer else {
                out.extend_from_slice(&self.piece);
                return Ok((self, out));
            };
            let is_end = self.piece.is_empty();
            let packed = packer.take(&self.piece, &mut out);
            if is_end {
                return self.finish(out);
            }
            if let Err(LengthChanged) = packed {
                return Err(self.damaged());
            }
            pieces += 1;
            // Nothing to send would be the end.
            if out.len() >= PIECE_BYTES || (pieces >= PIECES_MAX && !out.is_empty()) {
                return Ok((self, out));
            }
        }
    }

    /// The last of what is packed, and nothing when it has been sent.
    fn finish(mut self, mut out: Vec<u8>) -> Result<(Self, Vec<u8>), SendBlobError> {
        let Some(mut packer) = self.packer.take() else {
            return Ok((self, out));
        };
        match packer.finish(&mut out) {
            Ok(name) if name == self.name => Ok((self, out)),
            Ok(_) | Err(LengthChanged) => Err(self.damaged()),
        }
    }

    fn damaged(self) -> SendBlobError {
        // Whatever becomes of that: the receiver does not take it.
        let _ = std::fs::remove_file(&self.path);
        SendBlobError::Damaged {
            name: self.name,
            path: self.path,
        }
    }
}

/// How much is packed at a time.
const PIECES_MAX: usize = 8;

//! Receiving a blob over any stream, into either form. What comes is unpacked and hashed while it is written, and becomes a
//! blob once all of it is there and right. The next piece is read from the stream while the one before is dealt with.

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::try_join;

use crate::blocking::blocking;
use crate::file_error::FileError;
use crate::name::BlobName;
use crate::store::{Form, Incoming, Store};
use crate::unpack::{Fault, Stop, Unpacker};

/// Why a blob was not received. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The stream ended with an error.
    #[error("the stream broke while blob {name} was received: ask for it again")]
    Stream {
        /// What was asked for.
        name: BlobName,
        /// The stream's word.
        source: std::io::Error,
    },
    /// What came is not the blob, or more than was wanted.
    #[error("what came for blob {name} was thrown away: {fault}")]
    Refused {
        /// What was asked for.
        name: BlobName,
        /// What is wrong.
        fault: Fault,
    },
    /// It cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A blob that is being received.
struct Receiving {
    store: Store,
    name: BlobName,
    form: Form,
    unpacker: Unpacker,
    /// There from the first piece on.
    incoming: Option<Incoming>,
}

/// What came of a stream at a time.
struct Piece {
    bytes: Vec<u8>,
    /// How much is dealt with.
    taken: usize,
    is_last: bool,
}

impl Store {
    /// Receives a blob and keeps it as it travels, having verified it. Reads to the end of the stream; says how long the
    /// content is, of which no more than `bytes_max` bytes are let in.
    ///
    /// Dropped before it is done, it leaves nothing. Who waits no longer than so long for a peer drops it then.
    ///
    /// # Errors
    ///
    /// The stream breaks, what comes is not the blob or is too large, or the store cannot be written to.
    pub async fn receive_packed(
        &self,
        name: BlobName,
        from: &mut (impl AsyncRead + Unpin),
        bytes_max: u64,
    ) -> Result<u64, ReceiveError> {
        self.receive(name, Form::Packed, from, bytes_max).await
    }

    /// Receives a blob and keeps its content, otherwise as [`receive_packed`](Self::receive_packed) does.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn receive_plain(
        &self,
        name: BlobName,
        from: &mut (impl AsyncRead + Unpin),
        executable: bool,
        bytes_max: u64,
    ) -> Result<u64, ReceiveError> {
        self.receive(name, Form::plain(executable), from, bytes_max)
            .await
    }

    async fn receive(
        &self,
        name: BlobName,
        form: Form,
        from: &mut (impl AsyncRead + Unpin),
        bytes_max: u64,
    ) -> Result<u64, ReceiveError> {
        let mut receiving = Receiving {
            store: self.clone(),
            name,
            form,
            unpacker: Unpacker::new(bytes_max)
                .map_err(|fault| ReceiveError::Refused { name, fault })?,
            incoming: None,
        };
        let mut piece = read_piece(name, from).await?;
        while !piece.is_last {
            (receiving, piece) = try_join!(receiving.take(piece), read_piece(name, from))?;
        }
        let receiving = receiving.take(piece).await?;
        blocking(move || receiving.finish()).await
    }
}

impl Receiving {
    /// Deals with a piece, a bounded amount of content at a time: a small piece can have much of it.
    async fn take(mut self, mut piece: Piece) -> Result<Self, ReceiveError> {
        loop {
            (self, piece) = blocking(move || self.advance(piece)).await?;
            if piece.taken == piece.bytes.len() {
                return Ok(self);
            }
        }
    }

    fn advance(mut self, mut piece: Piece) -> Result<(Self, Piece), ReceiveError> {
        let form = self.form;
        let incoming = match &mut self.incoming {
            Some(incoming) => incoming,
            none => none.insert(Incoming::create(&self.store)?),
        };
        let came = &piece.bytes[piece.taken..];
        let taken = self
            .unpacker
            .take(came, CONTENT_BYTES_MAX, |content| {
                write_plain(incoming, form, content)
            })
            .map_err(|stop| refused(self.name, stop))?;
        if form == Form::Packed {
            incoming.append(&came[..taken])?;
        }
        piece.taken += taken;
        Ok((self, piece))
    }

    fn finish(mut self) -> Result<u64, ReceiveError> {
        let mut incoming = match self.incoming.take() {
            Some(incoming) => incoming,
            None => Incoming::create(&self.store)?,
        };
        let bytes = self
            .unpacker
            .finish(self.name, |content| {
                write_plain(&mut incoming, self.form, content)
            })
            .map_err(|stop| refused(self.name, stop))?;
        incoming.keep(self.name, self.form)?;
        Ok(bytes)
    }
}

fn write_plain(incoming: &mut Incoming, form: Form, content: &[u8]) -> Result<(), FileError> {
    match form {
        Form::Packed => Ok(()),
        Form::Plain | Form::Run => incoming.append(content),
    }
}

fn refused(name: BlobName, stop: Stop) -> ReceiveError {
    match stop {
        Stop::Fault(fault) => ReceiveError::Refused { name, fault },
        Stop::File(error) => ReceiveError::File(error),
    }
}

/// Reads until a piece is full, or the stream at its end.
async fn read_piece(
    name: BlobName,
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Piece, ReceiveError> {
    let mut bytes = Vec::with_capacity(PACKED_BYTES_MAX);
    from.take(PACKED_BYTES_MAX as u64)
        .read_to_end(&mut bytes)
        .await
        .map_err(|source| ReceiveError::Stream { name, source })?;
    Ok(Piece {
        is_last: bytes.len() < PACKED_BYTES_MAX,
        bytes,
        taken: 0,
    })
}

/// What is read from a stream at a time: enough that going to another thread and back costs little in comparison.
const PACKED_BYTES_MAX: usize = 256 * 1024;
/// How much content is dealt with at a time: some milliseconds of work that a dropped future still does.
const CONTENT_BYTES_MAX: usize = 4 * 1024 * 1024;

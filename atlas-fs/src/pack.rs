//! The packed form of a blob: what travels, and what a manager keeps.
//!
//! ```text
//! 8 bytes: length of the content, little-endian | one zstd frame with the content | end of the stream
//! ```
//!
//! [`Packer`] makes it of a content that comes in pieces, and finds the name on the way. zstd stores what it cannot
//! compress as it is, with three bytes for each 128 KiB, and finds that out quickly.

use std::io::{self, Read};

use zstd::stream::raw::{Encoder, InBuffer, Operation, OutBuffer};

use crate::name::BlobName;

/// Packs one blob.
pub(crate) struct Packer {
    hasher: blake3::Hasher,
    encoder: Encoder<'static>,
    header: Option<[u8; HEADER_LEN]>,
    plain_left: u64,
}

/// The content is not as long as it should be: somebody writes to it.
#[derive(Debug)]
pub(crate) struct LengthChanged;

impl Packer {
    /// For a content of this length.
    pub(crate) fn new(plain_bytes: u64) -> Self {
        let mut encoder = Encoder::new(LEVEL).expect("zstd has this level, and memory for it");
        encoder
            .set_pledged_src_size(Some(plain_bytes))
            .expect("nothing was encoded yet");
        Self {
            hasher: blake3::Hasher::new(),
            encoder,
            header: Some(plain_bytes.to_le_bytes()),
            plain_left: plain_bytes,
        }
    }

    /// Takes a piece of the content, and appends what comes of it: now, or with a later piece.
    pub(crate) fn take(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), LengthChanged> {
        self.begin(out);
        self.plain_left = self
            .plain_left
            .checked_sub(piece.len() as u64)
            .ok_or(LengthChanged)?;
        self.hasher.update(piece);
        let mut piece = InBuffer::around(piece);
        while piece.pos() < piece.src.len() {
            out.reserve(PIECE_BYTES);
            let end = out.len();
            self.encoder
                .run(&mut piece, &mut OutBuffer::around_pos(out, end))
                .expect("there is no content that cannot be packed");
        }
        Ok(())
    }

    /// Appends what is left. The name is that of all that was taken.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<BlobName, LengthChanged> {
        self.begin(out);
        if self.plain_left > 0 {
            return Err(LengthChanged);
        }
        loop {
            out.reserve(PIECE_BYTES);
            let end = out.len();
            let left = self
                .encoder
                .finish(&mut OutBuffer::around_pos(out, end), true)
                .expect("the content is as long as was pledged");
            if left == 0 {
                return Ok(self.hasher.finalize().into());
            }
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(header) = self.header.take() {
            out.extend(header);
        }
    }
}

/// Fills the buffer as far as there is something to read; less than that is the end.
pub(crate) fn read_piece(from: &mut impl Read, piece: &mut Vec<u8>) -> io::Result<()> {
    piece.clear();
    from.take(PIECE_BYTES as u64).read_to_end(piece)?;
    Ok(())
}

/// How long a packed blob may be. Frames can be drawn out without end by empty blocks; ours are shorter than that.
pub(crate) fn packed_bytes_max(plain_bytes: u64) -> u64 {
    plain_bytes
        .saturating_add(plain_bytes / 128)
        .saturating_add(1024)
}

/// Of the plain length.
pub(crate) const HEADER_LEN: usize = 8;
/// What is read, packed or hashed at a time: enough for BLAKE3 and zstd to be at their full speed.
pub(crate) const PIECE_BYTES: usize = 128 * 1024;
/// The window that a frame may ask of its receiver, as a power of two: 8 MiB, what zstd's own documents want every
/// decoder to have. Ours ask for less.
pub(crate) const WINDOW_LOG_MAX: u32 = 23;
/// zstd's quickest but the negative ones: blobs must not be slower than a fast network. See the decision on blobs.
const LEVEL: i32 = 1;

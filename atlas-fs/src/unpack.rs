//! [`Unpacker`]: from the packed form to the content, believing nothing. It knows no file and no stream: it is
//! handed pieces of what came, and hands on pieces of content. Memory is bounded by the window of `pack.rs`.
//!
//! Whatever is handed on is unverified until [`Unpacker::finish`] has said so.

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::file_error::FileError;
use crate::name::BlobName;
use crate::pack::{HEADER_LEN, PIECE_BYTES, WINDOW_LOG_MAX, packed_bytes_max};

/// Why bytes are not the blob that they should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Something else came.
    #[error("its content is that of blob {came}")]
    WrongContent {
        /// What came.
        came: BlobName,
    },
    /// There are too few bytes.
    #[error("it ends too early, after {packed_bytes} bytes as they travel")]
    CutShort {
        /// How many there are.
        packed_bytes: u64,
    },
    /// The content has another length than was said in front of it.
    #[error("its content is not as long as the {said} bytes that it begins with saying")]
    WrongLength {
        /// What was said.
        said: u64,
    },
    /// There are bytes behind the blob.
    #[error("there is something behind its end")]
    Extra,
    /// It is not compressed as blobs are.
    #[error("it is not packed as blobs are, or was changed on the way")]
    Garbled(#[source] std::io::Error),
    /// It is packed so as to be much longer than its content.
    #[error("it is longer as it travels than its content of {said} bytes can make it")]
    Bloated {
        /// The length of the content, as said.
        said: u64,
    },
    /// It is larger than wanted.
    #[error("its {said} bytes are more than the {bytes_max} that are let in")]
    TooLarge {
        /// The length of its content, as said.
        said: u64,
        /// What was wanted at most.
        bytes_max: u64,
    },
}

/// Why unpacking ended before its time.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The blob is wrong.
    Fault(Fault),
    /// Its content cannot be written.
    File(FileError),
}

/// Unpacks one blob.
pub(crate) struct Unpacker {
    bytes_max: u64,
    header: Vec<u8>,
    /// Known once the header is there.
    said: Option<u64>,
    packed_bytes: u64,
    plain_bytes: u64,
    decoder: Decoder<'static>,
    is_over: bool,
    hasher: blake3::Hasher,
    out: Vec<u8>,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<FileError> for Stop {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl Unpacker {
    /// For a blob with at most so many bytes of content.
    pub(crate) fn new(bytes_max: u64) -> Result<Self, Fault> {
        let mut decoder = Decoder::new().map_err(Fault::Garbled)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .map_err(Fault::Garbled)?;
        Ok(Self {
            bytes_max,
            header: Vec::with_capacity(HEADER_LEN),
            said: None,
            packed_bytes: 0,
            plain_bytes: 0,
            decoder,
            is_over: false,
            hasher: blake3::Hasher::new(),
            out: Vec::with_capacity(PIECE_BYTES),
        })
    }

    /// Takes what came, and hands on what comes of it, until all is taken or about `budget` bytes were handed on. Says
    /// how many bytes it took; the others must come first the next time.
    pub(crate) fn take(
        &mut self,
        came: &[u8],
        budget: usize,
        mut hand_on: impl FnMut(&[u8]) -> Result<(), FileError>,
    ) -> Result<usize, Stop> {
        let mut taken = self.take_header(came)?;
        let Some(said) = self.said else {
            return Ok(taken);
        };
        let mut handed_on = 0;
        while taken < came.len() && handed_on < budget {
            if self.is_over {
                return Err(Fault::Extra.into());
            }
            let step = self.step(&came[taken..], said)?;
            taken += step;
            handed_on += self.out.len();
            hand_on(&self.out)?;
        }
        Ok(taken)
    }

    /// What remains in the decoder when all bytes have come, and then the verdict: the length of the blob, if it is the
    /// one of this name.
    pub(crate) fn finish(
        &mut self,
        name: BlobName,
        mut hand_on: impl FnMut(&[u8]) -> Result<(), FileError>,
    ) -> Result<u64, Stop> {
        let cut_short = Fault::CutShort {
            packed_bytes: self.packed_bytes,
        };
        let Some(said) = self.said else {
            return Err(cut_short.into());
        };
        while !self.is_over {
            self.step(&[], said)?;
            if self.out.is_empty() && !self.is_over {
                return Err(cut_short.into());
            }
            hand_on(&self.out)?;
        }
        if self.plain_bytes != said {
            return Err(Fault::WrongLength { said }.into());
        }
        let came = self.hasher.finalize().into();
        if came != name {
            return Err(Fault::WrongContent { came }.into());
        }
        Ok(self.plain_bytes)
    }

    fn take_header(&mut self, came: &[u8]) -> Result<usize, Fault> {
        let taken = came.len().min(HEADER_LEN - self.header.len());
        self.header.extend_from_slice(&came[..taken]);
        self.packed_bytes += taken as u64;
        if self.said.is_none()
            && let Ok(header) = <[u8; HEADER_LEN]>::try_from(self.header.as_slice())
        {
            let said = u64::from_le_bytes(header);
            let bytes_max = self.bytes_max;
            if said > bytes_max {
                return Err(Fault::TooLarge { said, bytes_max });
            }
            self.said = Some(said);
        }
        Ok(taken)
    }

    /// Decodes one piece into `out`, and says how much of `came` it took.
    fn step(&mut self, came: &[u8], said: u64) -> Result<usize, Fault> {
        let mut came = InBuffer::around(came);
        let mut out = OutBuffer::around(&mut self.out);
        let hint = self
            .decoder
            .run(&mut came, &mut out)
            .map_err(Fault::Garbled)?;
        let taken = came.pos();
        self.is_over = hint == 0;
        self.packed_bytes += taken as u64;
        self.plain_bytes += self.out.len() as u64;
        if self.packed_bytes > packed_bytes_max(said) {
            return Err(Fault::Bloated { said });
        }
        if self.plain_bytes > said {
            return Err(Fault::WrongLength { said });
        }
        self.hasher.update(&self.out);
        Ok(taken)
    }
}

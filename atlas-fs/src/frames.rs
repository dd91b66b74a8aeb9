//! [`next`]: messages of programs, as a daemon reads them.

use std::io;

use atlas_engine::limits::FRAME_BYTES_MAX;
use atlas_engine::{ReadError, frame};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The next message of a stream of [`atlas_engine::frame`]s; none at its end. As [`frame::read`], without waiting on a thread.
///
/// # Errors
///
/// See [`ReadError`]; the stream is out of step then.
pub async fn next<M: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<M>, ReadError> {
    let length = match stream.read_u32_le().await {
        Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if length > FRAME_BYTES_MAX {
        return Err(frame::DecodeError::TooLarge { bytes: length }.into());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(frame::decode(&body)?))
}

//! The administrator's socket: a Unix socket in the state folder, which only the manager's own user can reach. It speaks as
//! clients do, and may make tokens of all roles.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atlas_proto::control::{ClientAnswer, ClientRequest, FRAME_BYTES_MAX};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::clients::{Clients, Way};
use crate::core::Core;

/// One conversation: frames of a length (little-endian, four bytes) and a message in postcard.
#[derive(Debug)]
pub(crate) struct LocalStream(UnixStream);

/// The socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the administrator's socket {} cannot be made: choose a state folder with a shorter path, or one that this user may write to", path.display())]
pub struct ListenError {
    path: PathBuf,
    source: io::Error,
}

/// A running manager cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskLocalError {
    /// None runs.
    #[error("no manager runs on the state folder {}: start one with `atlas-manager run`", folder.display())]
    NotRunning {
        /// Where it was looked for.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It has ended the conversation.
    #[error("the manager does not answer: see its log")]
    Broken(#[from] io::Error),
}

/// Serves the socket.
pub(crate) fn listen(
    folder: &Path,
    core: Arc<Core>,
    tasks: &mut JoinSet<()>,
) -> Result<(), ListenError> {
    let path = folder.join(SOCKET);
    // The store is locked by this process: whoever made the socket is gone.
    let _ = std::fs::remove_file(&path);
    let bind = || {
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
        Ok(listener)
    };
    let listener = bind().map_err(|source| {
        let path = path.clone();
        ListenError { path, source }
    })?;
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let core = core.clone();
            tokio::spawn(async move {
                let mut stream = LocalStream(stream);
                while let Ok(Some(request)) = stream.recv().await {
                    let answered =
                        Clients::answer_at(&core, request, Way::Local(&mut stream)).await;
                    if answered.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}

/// Asks the manager that runs on a state folder; for questions with one answer.
///
/// # Errors
///
/// None runs, or it breaks off.
pub async fn ask_local(
    folder: &Path,
    request: &ClientRequest,
) -> Result<ClientAnswer, AskLocalError> {
    let stream = UnixStream::connect(folder.join(SOCKET)).await;
    let stream = stream.map_err(|source| AskLocalError::NotRunning {
        folder: folder.to_owned(),
        source,
    })?;
    let mut stream = LocalStream(stream);
    stream.send(request).await?;
    let answer = stream.recv().await?;
    Ok(answer
        .ok_or(io::ErrorKind::UnexpectedEof)
        .map_err(io::Error::from)?)
}

impl LocalStream {
    pub(crate) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let message = postcard::to_stdvec(message).map_err(io::Error::other)?;
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        self.0.write_all(&length.to_le_bytes()).await?;
        self.0.write_all(&message).await
    }

    async fn recv<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let length = match self.0.read_u32_le().await {
            Ok(length) => usize::try_from(length).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        if length > FRAME_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length];
        self.0.read_exact(&mut message).await?;
        postcard::from_bytes(&message)
            .map(Some)
            .map_err(io::Error::other)
    }
}

const SOCKET: &str = "control.sock";

//! The way of a root's output to the manager: the files that the process prints to are followed, and what is new is sent.
//!
//! Only a file that is followed costs anything, some looks a second. If the connection to the manager breaks, all
//! is told again from the beginning on the next one: the receiver drops what it has.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use atlas_fs::{BlobName, FileTree};
use atlas_net::{Connection, Stream, StreamError, StreamKind};
use atlas_proto::control::{
    FRAME_BYTES_MAX, Files, NODE_TOPIC, NodeAnswer, NodeRequest, OUTPUT_CHUNK_BYTES_MAX,
    OutputFrame, OutputStream, Produced, Refusal,
};
use atlas_proto::ids::JobAlias;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::watch;
use tokio::time::sleep;

/// What a root prints and leaves, on its way.
pub(super) struct Output {
    manager: watch::Receiver<Option<Connection>>,
    job: JobAlias,
    files: [PathBuf; 2],
    /// So much of each was printed before the root began, by closures of others.
    from: [u64; 2],
    /// The stream that is open, and what was sent on it.
    open: Option<(Stream, [u64; 2])>,
}

/// What is produced is lost.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    #[error("the files that the program left cannot be gathered")]
    Gather(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("what the program printed and left could not be stored: {0}")]
    Refused(Refusal),
}

impl Output {
    pub(super) fn new(
        manager: watch::Receiver<Option<Connection>>,
        job: JobAlias,
        files: [PathBuf; 2],
    ) -> Self {
        let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
        let from = files.each_ref().map(length);
        Self {
            manager,
            job,
            files,
            from,
            open: None,
        }
    }

    /// Sends what is new, again and again.
    pub(super) async fn follow(&mut self) -> Infallible {
        let mut wait = LOOK_INTERVAL;
        loop {
            wait = match self.send_new().await {
                Ok(false) => (2 * wait).min(SILENT_INTERVAL),
                Ok(true) => LOOK_INTERVAL,
                Err(error) => match self.answer_after(error).await {
                    // The last word on it is what is said at the end.
                    Ok(answer) => {
                        tracing::info!(?answer, "a root's output is not taken now");
                        REFUSED_INTERVAL
                    }
                    Err(_) => LOOK_INTERVAL,
                },
            };
            sleep(wait).await;
        }
    }

    /// Sends the rest and what files there are, and waits until all is in safety.
    pub(super) async fn finish(
        &mut self,
        tree: &FileTree,
        name: BlobName,
    ) -> Result<(), OutputError> {
        loop {
            let answered = match self.try_finish(tree, name).await {
                Err(error) => self.answer_after(error).await,
                answered => answered,
            };
            match answered {
                Ok(NodeAnswer::Refused(refusal)) => return Err(OutputError::Refused(refusal)),
                Ok(_) => return Ok(()),
                Err(error) => tracing::debug!(%error, "telling a root's output again"),
            }
            self.open = None;
            sleep(LOOK_INTERVAL).await;
        }
    }

    async fn try_finish(
        &mut self,
        tree: &FileTree,
        name: BlobName,
    ) -> Result<NodeAnswer, StreamError> {
        self.send_new().await?;
        let stream = self.stream().await?;
        if !tree.is_empty() {
            let files = Files {
                tree: name.0,
                files: u64::try_from(tree.files().count()).unwrap_or(u64::MAX),
                bytes: tree.bytes(),
            };
            stream.send_frame(&Produced::Files(files)).await?;
        }
        stream.finish()?;
        let answer = stream.recv_frame(FRAME_BYTES_MAX).await?;
        answer.ok_or(StreamError::BrokenOff)
    }

    /// What came on the stream whose sending has ended with an error; it is not used any more.
    async fn answer_after(&mut self, error: StreamError) -> Result<NodeAnswer, StreamError> {
        match self.open.take() {
            Some((mut stream, _)) => stream.recv_answer_after(error, FRAME_BYTES_MAX).await,
            None => Err(error),
        }
    }

    /// True if there was something.
    async fn send_new(&mut self) -> Result<bool, StreamError> {
        let mut any = false;
        for which in OutputStream::BOTH {
            let sent = self.open.as_ref().map_or([0; 2], |(_, sent)| *sent);
            let path = &self.files[which.index()];
            let mut at = self.from[which.index()] + sent[which.index()];
            // Not by another thread: the folder is this server's own, and to wake one costs more than to look.
            let length = std::fs::metadata(path).map_or(0, |file| file.len());
            if length <= at {
                continue;
            }
            any = true;
            let Ok(mut file) = File::open(path).await else {
                continue;
            };
            let _ = file.seek(std::io::SeekFrom::Start(at)).await;
            while at < length {
                let mut bytes = vec![0; OUTPUT_CHUNK_BYTES_MAX];
                let read = file.read(&mut bytes).await.unwrap_or(0);
                if read == 0 {
                    break;
                }
                bytes.truncate(read);
                self.send(which, at - self.from[which.index()], bytes)
                    .await?;
                at += u64::try_from(read).unwrap_or(0);
            }
        }
        Ok(any)
    }

    async fn send(
        &mut self,
        stream: OutputStream,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<(), StreamError> {
        let read = u64::try_from(bytes.len()).unwrap_or(0);
        let bytes = bytes.into();
        let frame = OutputFrame {
            stream,
            offset,
            bytes,
        };
        self.stream()
            .await?
            .send_frame(&Produced::Output(frame))
            .await?;
        if let Some((_, sent)) = &mut self.open {
            sent[stream.index()] = offset + read;
        }
        Ok(())
    }

    async fn stream(&mut self) -> Result<&mut Stream, StreamError> {
        if self.open.is_none() {
            let connection = connected(&mut self.manager).await;
            let kind = StreamKind::Request { topic: NODE_TOPIC };
            let mut stream = connection.open_stream(kind).await?;
            stream
                .send_frame(&NodeRequest::Produce { job: self.job })
                .await?;
            self.open = Some((stream, [0; 2]));
        }
        match &mut self.open {
            Some((stream, _)) => Ok(stream),
            None => Err(StreamError::BrokenOff),
        }
    }
}

/// The connection to the manager, as soon as there is one.
pub(super) async fn connected(manager: &mut watch::Receiver<Option<Connection>>) -> Connection {
    loop {
        if let Some(connection) = manager.borrow_and_update().clone() {
            return connection;
        }
        if manager.changed().await.is_err() {
            // The membership is over.
            std::future::pending::<()>().await;
        }
    }
}

/// The membership is over to which the manager belongs: nobody there waits for anything.
pub(super) async fn over(mut manager: watch::Receiver<Option<Connection>>) {
    while manager.changed().await.is_ok() {}
}

/// Often enough for people who watch.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// A manager whose disk is full may have room some time later; each attempt sends all from the beginning.
const REFUSED_INTERVAL: Duration = Duration::from_secs(5);
/// While nothing is printed: each look takes its time from what computes.
const SILENT_INTERVAL: Duration = Duration::from_millis(200);

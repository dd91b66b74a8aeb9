//! What comes back on the stream of a question.

use atlas_net::{Stream, StreamError};
use atlas_proto::control::{ClientAnswer, FRAME_BYTES_MAX, JobStatus, OutputFrame};

use super::ClientError;

/// The answers to one question.
#[derive(Debug)]
pub(super) struct Answers(Stream);

/// A job as it goes on.
#[derive(Debug)]
pub struct Watch(Answers);

/// A job's output, each byte once.
#[derive(Debug)]
pub struct Output {
    answers: Answers,
    /// So many bytes of each stream were given.
    given: [u64; 2],
}

impl Answers {
    pub(super) fn new(stream: Stream) -> Self {
        Self(stream)
    }

    /// The next one; none at the end. A refusal is an error.
    async fn next(&mut self) -> Result<Option<ClientAnswer>, ClientError> {
        match self.0.recv_frame(FRAME_BYTES_MAX).await {
            Ok(Some(ClientAnswer::Refused(refusal))) => Err(ClientError::Refused(refusal)),
            Ok(answer) => Ok(answer),
            Err(StreamError::Garbage) => Err(ClientError::Unexpected),
            Err(error) => Err(ClientError::Lost(error)),
        }
    }

    /// The only one.
    pub(super) async fn one(&mut self) -> Result<ClientAnswer, ClientError> {
        let answer = self.next().await?;
        answer.ok_or(ClientError::Lost(StreamError::BrokenOff))
    }
}

impl Watch {
    pub(super) fn new(answers: Answers) -> Self {
        Self(answers)
    }

    /// How the job stands now; none once it was told that it has ended. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// The manager refuses, or is gone.
    pub async fn next(&mut self) -> Result<Option<JobStatus>, ClientError> {
        match self.0.next().await? {
            Some(ClientAnswer::Job(job)) => Ok(Some(job)),
            Some(_) => Err(ClientError::Unexpected),
            None => Ok(None),
        }
    }

    /// How the job stands once it has ended; `changed` is told of each change before.
    ///
    /// # Errors
    ///
    /// The manager refuses, or is gone.
    pub async fn ended(
        mut self,
        mut changed: impl FnMut(&JobStatus),
    ) -> Result<JobStatus, ClientError> {
        while let Some(job) = self.next().await? {
            if job.state.has_ended() {
                return Ok(job);
            }
            changed(&job);
        }
        Err(ClientError::Lost(StreamError::BrokenOff))
    }
}

impl Output {
    pub(super) fn new(answers: Answers, given: [u64; 2]) -> Self {
        Self { answers, given }
    }

    /// The next bytes; none at the end. What comes twice is given once. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// The manager refuses, is gone, or leaves something out.
    pub async fn next(&mut self) -> Result<Option<OutputFrame>, ClientError> {
        loop {
            let frame = match self.answers.next().await? {
                Some(ClientAnswer::Output(frame)) => frame,
                Some(_) => return Err(ClientError::Unexpected),
                None => return Ok(None),
            };
            let given = &mut self.given[frame.stream.index()];
            if let Some(frame) = beyond(*given, frame)? {
                *given += frame.bytes.len() as u64;
                return Ok(Some(frame));
            }
        }
    }
}

/// What of a frame is new to whom has so many bytes of its stream already.
fn beyond(given: u64, frame: OutputFrame) -> Result<Option<OutputFrame>, ClientError> {
    let old = given.checked_sub(frame.offset);
    let old = old.ok_or(ClientError::Unexpected)?;
    let old = usize::try_from(old).unwrap_or(usize::MAX);
    if old >= frame.bytes.len() {
        return Ok(None);
    }
    Ok(Some(OutputFrame {
        stream: frame.stream,
        offset: given,
        bytes: frame.bytes.slice(old..),
    }))
}

#[cfg(test)]
mod tests {
    use atlas_proto::control::OutputStream;

    use super::*;

    #[test]
    fn bytes_are_given_once_and_none_is_left_out() {
        let frame = |offset| OutputFrame {
            stream: OutputStream::Out,
            offset,
            bytes: "abcd".into(),
        };
        assert_eq!(beyond(10, frame(10)).unwrap(), Some(frame(10)));
        let tail = beyond(12, frame(10)).unwrap().unwrap();
        assert_eq!((tail.offset, &tail.bytes[..]), (12, &b"cd"[..]));
        assert_eq!(beyond(14, frame(10)).unwrap(), None);
        assert_eq!(beyond(99, frame(10)).unwrap(), None);
        assert!(beyond(9, frame(10)).is_err());
    }
}

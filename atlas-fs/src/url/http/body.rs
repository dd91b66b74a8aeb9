//! [`Body`]: the bytes of an answer over HTTP, which are still to come.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use super::super::options::Timeouts;
use super::failure::Failure;
use super::pace::Pace;

/// What follows an answer's headers. As long as it lives, it is one of those that its host may be asked for at a time.
#[derive(Debug)]
pub(crate) struct Body {
    url: Url,
    response: reqwest::Response,
    timeouts: Timeouts,
    pace: Pace,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Body {
    pub(super) fn new(
        url: &Url,
        response: reqwest::Response,
        permits: [OwnedSemaphorePermit; 2],
        timeouts: Timeouts,
    ) -> Self {
        Self {
            url: url.clone(),
            response,
            timeouts,
            pace: Pace::new(timeouts.idle, timeouts.bytes_per_second_min),
            _permits: permits,
        }
    }

    /// The next bytes, or that there are no more.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let asked = Instant::now();
        let idle = self.timeouts.idle;
        let Ok(chunk) = tokio::time::timeout(idle, self.response.chunk()).await else {
            return Err(Failure::timed_out(&self.url, "the next bytes", idle));
        };
        let chunk = chunk.map_err(|error| Failure::of_body(&self.url, error))?;
        let bytes = chunk.as_ref().map_or(0, Bytes::len);
        // Only the waiting counts: who writes slowly here is not the origin's fault.
        if self.pace.handle_bytes(bytes as u64, asked.elapsed()) {
            return Err(Failure::timed_out(
                &self.url,
                "a useful amount of bytes",
                idle,
            ));
        }
        Ok(chunk)
    }
}

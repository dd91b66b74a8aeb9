//! [`Answer`]: an answer whose bytes are still to come.

use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use super::super::options::Timeouts;
use super::failure::Failure;
use super::pace::Pace;

/// An answer. As long as it lives, it is one of those that its host may be asked for at a time.
#[derive(Debug)]
pub(crate) struct Answer {
    url: Url,
    response: reqwest::Response,
    timeouts: Timeouts,
    pace: Pace,
    _permit: OwnedSemaphorePermit,
}

impl Answer {
    pub(super) fn new(
        url: &Url,
        response: reqwest::Response,
        permit: OwnedSemaphorePermit,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            url: url.clone(),
            response,
            timeouts,
            pace: Pace::new(timeouts.idle, timeouts.bytes_per_second_min),
            _permit: permit,
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Where redirects led.
    pub(crate) fn at(&self) -> &Url {
        self.response.url()
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

    /// All of it, up to so many bytes.
    pub(crate) async fn whole(mut self, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > bytes_max {
                return Err(Failure::broken(
                    &self.url,
                    format!("a page of more than {bytes_max} bytes"),
                ));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}

//! [`Answer`]: an answer whose bytes are still to come, whoever gives it.

use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use url::Url;

use super::super::above;
use super::super::counts::Giver;
use super::super::error::UrlError;
use super::super::head::{Asked, Head};
use super::super::http::{Body as HttpBody, Failure};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) url: Url,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) at: Url,
    pub(super) told: Option<Told>,
    pub(super) body: Body,
}

/// What a manager knows of a URL.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// With the time of its origin's answer, on this machine's clock.
    pub(crate) head: Head,
    /// The origin could not be asked.
    pub(crate) stale: bool,
}

#[derive(Debug)]
pub(super) enum Body {
    Http(Box<HttpBody>),
    /// From a cache, or a client.
    Above(above::Body, Giver),
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Where redirects led.
    pub(crate) fn at(&self) -> &Url {
        &self.at
    }

    /// Of a manager's answer to what was asked without a version.
    pub(crate) fn told(&self) -> Option<&Told> {
        self.told.as_ref()
    }

    /// What it says of the URL, as if its status were this.
    pub(crate) fn head(&self, status: u16, asked: Asked, now: SystemTime) -> Head {
        match &self.told {
            Some(told) => told.head.clone(),
            None => Head::of(status, &self.headers, asked, now),
        }
    }

    /// Who gives it.
    pub(crate) fn giver(&self) -> Giver {
        match self.body {
            Body::Http(_) => Giver::Origin,
            Body::Above(_, giver) => giver,
        }
    }

    /// The next bytes, or that there are no more.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match &mut self.body {
            Body::Http(body) => body.chunk().await,
            Body::Above(body, _) => body.chunk().await,
        }
    }

    /// All of it, up to so many bytes.
    pub(crate) async fn whole(mut self, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > bytes_max {
                // Another answer would be as long.
                let what = format!("a page of more than {bytes_max} bytes");
                return Err(Failure::for_good(UrlError::broken(&self.url, what)));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}

//! [`Client`]: requests over HTTP/1.1, each with who asks, so many at a time to a host, and made again when that may help.
//!
//! It decides nothing of files: [`retry`](super::retry) says when to ask again, `failure.rs` which error is which.

mod answer;
mod credentials;
mod failure;
mod gates;
mod pace;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderValue, Method};
use reqwest::redirect::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::Url;

pub(crate) use answer::Answer;
pub use credentials::{Credential, Credentials, NetrcError};
pub(crate) use failure::Failure;
use gates::Gates;

use super::error::UrlError;
use super::options::{Options, Timeouts};
use super::retry::{Patience, Retry};
use super::version::{Condition, Version};

/// Asks origins.
#[derive(Debug)]
pub(crate) struct Client {
    /// For files, whose bytes are kept as they come.
    files: reqwest::Client,
    /// For pages, which may come compressed.
    pages: reqwest::Client,
    gates: Gates,
    credentials: Credentials,
    timeouts: Timeouts,
    begun: Instant,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) url: &'a Url,
    pub(crate) method: Ask,
    /// The first byte and the one behind the last.
    pub(crate) range: Option<(u64, u64)>,
    /// Of which version the range has to be.
    pub(crate) version: Option<&'a Version>,
    /// What is known: the answer may be that it is still so.
    pub(crate) known: Option<&'a Version>,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// All but the bytes.
    Head,
    /// The bytes as they are.
    Bytes,
    /// A page, decoded.
    Page,
    /// A folder's entries, by WebDAV.
    Entries,
}

/// No request can be made at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The additional authorities are no certificates.
    #[error("the additional authorities are no certificates in PEM")]
    Authorities(#[source] rustls::pki_types::pem::Error),
    /// One of them cannot be used.
    #[error("a certificate of an additional authority cannot be used")]
    Authority(#[source] rustls::Error),
    /// The library refuses, for example a proxy's address in the environment.
    #[error("HTTP cannot be set up: look at the proxies in the environment")]
    Setup(#[source] reqwest::Error),
}

impl Client {
    pub(crate) fn new(options: &Options) -> Result<Self, ClientError> {
        let tls = tls(&options.authorities_pem)?;
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .http1_only()
                .user_agent(concat!("atlas/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(options.timeouts.connect)
                .pool_max_idle_per_host(options.requests_per_host_max)
                .redirect(redirects())
        };
        Ok(Self {
            files: builder().no_gzip().build().map_err(ClientError::Setup)?,
            pages: builder().build().map_err(ClientError::Setup)?,
            gates: Gates::new(options.requests_per_host_max),
            credentials: options.credentials.clone(),
            timeouts: options.timeouts,
            begun: Instant::now(),
        })
    }

    /// Attempts at something that begins now.
    pub(crate) fn retry(&self) -> Retry {
        let patience = Patience {
            attempts_max: self.timeouts.attempts_max,
            give_up_after: self.timeouts.give_up_after,
            first_pause: self.timeouts.first_pause,
        };
        Retry::new(patience, self.now())
    }

    /// On the clock of [`Client::retry`].
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// For how long an answer may bring nothing.
    pub(crate) fn silence_max(&self) -> Duration {
        self.timeouts.idle
    }

    /// Asks until there is an answer that says something: success, that nothing has changed (304), that there is nothing
    /// (404, 410), that something has changed (412), that there is no such range (416).
    pub(crate) async fn ask(&self, request: Request<'_>) -> Result<Answer, UrlError> {
        let mut retry = self.retry();
        loop {
            match self.try_once(request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => self.wait_after(failure, &mut retry).await?,
            }
        }
    }

    /// Waits until the next attempt, if there is to be one.
    pub(crate) async fn wait_after(
        &self,
        failure: Failure,
        retry: &mut Retry,
    ) -> Result<(), UrlError> {
        let pause = failure
            .may_pass
            .then(|| retry.handle_failure(self.now(), failure.retry_after, fastrand::f64()))
            .flatten();
        let Some(pause) = pause else {
            return Err(failure.error);
        };
        tracing::debug!(error = %failure.error, ?pause, "asking again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// One attempt.
    pub(crate) async fn try_once(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let url = request.url;
        let permit = self.gates.enter(url).await;
        let (client, method) = match request.method {
            Ask::Head => (&self.files, Method::HEAD),
            Ask::Bytes => (&self.files, Method::GET),
            Ask::Page => (&self.pages, Method::GET),
            Ask::Entries => (&self.pages, propfind()),
        };
        let mut builder = client.request(method, url.clone());
        if request.method == Ask::Entries {
            builder = builder.header("depth", "1");
        }
        if !matches!(request.method, Ask::Page | Ask::Entries) {
            builder = builder.header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(secret) = self.credentials.header(url) {
            builder = builder.header(AUTHORIZATION, secret);
        }
        if let Some((start, end)) = request.range {
            builder = builder.header(RANGE, format!("bytes={start}-{}", end.saturating_sub(1)));
        }
        match request.version.map(Version::condition) {
            Some(Condition::Etag(etag)) => {
                builder = builder.header(IF_MATCH, etag).header(IF_RANGE, etag);
            }
            Some(Condition::Unmodified(date)) => {
                builder = builder
                    .header(IF_UNMODIFIED_SINCE, date)
                    .header(IF_RANGE, date);
            }
            Some(Condition::Nothing) | None => {}
        }
        if let Some(known) = request.known {
            if let Some(etag) = &known.etag {
                builder = builder.header(IF_NONE_MATCH, etag);
            }
            if let Some(date) = &known.modified {
                builder = builder.header(IF_MODIFIED_SINCE, date);
            }
        }
        let waited = tokio::time::timeout(self.timeouts.answer, builder.send()).await;
        let response = match waited {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Failure::of_request(url, error, &self.timeouts)),
            Err(_) => {
                return Err(Failure::timed_out(url, "an answer", self.timeouts.answer));
            }
        };
        match response.status().as_u16() {
            200 | 206 | 207 | 304 | 404 | 410 | 412 | 416 => {
                Ok(Answer::new(url, response, permit, self.timeouts))
            }
            _ => Err(Failure::of_status(url, &response)),
        }
    }
}

/// RFC 4918, section 9.1.
fn propfind() -> Method {
    Method::from_bytes(b"PROPFIND").expect("letters are a method")
}

/// So far and no further, and never from an encrypted connection to an open one.
fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let encrypted = attempt.previous().iter().any(|url| url.scheme() == "https");
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("too many redirects")
        } else if encrypted && attempt.url().scheme() != "https" {
            attempt.error("a redirect from https to http")
        } else {
            attempt.follow()
        }
    })
}

/// TLS by ring, as everywhere here, with the authorities that the system trusts.
fn tls(authorities_pem: &[u8]) -> Result<rustls::ClientConfig, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "some of the system's authorities cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    for certificate in CertificateDer::pem_slice_iter(authorities_pem) {
        let certificate = certificate.map_err(ClientError::Authorities)?;
        roots.add(certificate).map_err(ClientError::Authority)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Authority)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

const REDIRECTS_MAX: usize = 10;

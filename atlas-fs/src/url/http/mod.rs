//! [`Client`]: requests over HTTP/1.1, each with who asks, and so many at a time to a host.
//!
//! It decides nothing of files: [`retry`](super::retry) says when to ask again, `failure.rs` which error is which.

mod body;
mod credentials;
mod credentials_file;
mod failure;
mod gates;
mod pace;

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::RequestBuilder;
use reqwest::redirect::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;
use url::Url;

pub(crate) use body::Body;
pub use credentials::{Credential, Credentials, CredentialsError};
pub(crate) use failure::Failure;
use gates::Gates;
pub(crate) use gates::host_of;

use serde::{Deserialize, Serialize};

use super::error::UrlError;
use super::head::text;
use super::options::{Options, Timeouts};
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
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) url: &'a Url,
    pub(crate) method: Ask,
    /// The first byte and the one behind the last.
    pub(crate) range: Option<(u64, u64)>,
    /// Of which version the bytes have to be. An origin is told so of a range.
    pub(crate) version: Option<&'a Version>,
    /// What is known: the answer may be that it is still so.
    pub(crate) known: Option<&'a Version>,
}

/// An answer without its bytes.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Where redirects led.
    pub(crate) at: Url,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
            gates: Gates::new(options.requests_per_host_max, options.requests_max),
            credentials: options.credentials.clone(),
            timeouts: options.timeouts,
        })
    }

    /// Whether there is a secret of this user's own for the host.
    pub(crate) fn has_secret(&self, url: &Url) -> bool {
        self.credentials.header(url).is_some()
    }

    /// One attempt.
    pub(crate) async fn try_once(&self, request: Request<'_>) -> Result<(Response, Body), Failure> {
        let url = request.url;
        let permits = self.gates.enter(url).await;
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
        let waited =
            tokio::time::timeout(self.timeouts.answer, of_version(builder, request).send()).await;
        let response = match waited {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Failure::of_request(url, error, &self.timeouts)),
            Err(_) => {
                return Err(Failure::timed_out(url, "an answer", self.timeouts.answer));
            }
        };
        let status = response.status().as_u16();
        // A folder's page may come in any form: nobody takes its bytes for a file's.
        let is_file = matches!(request.method, Ask::Head | Ask::Bytes)
            && !url.path().ends_with('/')
            && !leads_to_folder(url, response.url());
        if is_file
            && matches!(status, 200 | 206)
            && let Some(encoding) = encoding(url, response.headers())
        {
            let what =
                format!("the encoding {encoding}, although it was asked for bytes as they are");
            return Err(Failure::for_good(UrlError::broken(url, what)));
        }
        match status {
            200 | 206 | 207 | 304 | 404 | 410 | 412 | 416 => {
                let head = Response {
                    status,
                    headers: response.headers().clone(),
                    at: response.url().clone(),
                };
                Ok((head, Body::new(url, response, permits, self.timeouts)))
            }
            _ => Err(Failure::of_status(url, &response)),
        }
    }
}

/// The range, and of which version it is to be, or that what is known need not be sent.
fn of_version(mut builder: RequestBuilder, request: Request<'_>) -> RequestBuilder {
    if let Some((start, end)) = request.range {
        builder = builder.header(RANGE, format!("bytes={start}-{}", end.saturating_sub(1)));
    }
    let version = request.version.filter(|_| request.range.is_some());
    match version.map(Version::condition) {
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
    builder
}

/// How an answer is compressed that should not be. Servers say so also of files that are compressed themselves, which their names tell:
/// those bytes are what is meant.
fn encoding(url: &Url, headers: &HeaderMap) -> Option<String> {
    let said = text(headers, "content-encoding")?;
    let is_one_of = |word: &str, known: &[&str]| {
        let mut known = known.iter();
        known.any(|known| word.trim().eq_ignore_ascii_case(known))
    };
    let extension = url.path().rsplit_once('.').map(|(_, last)| last);
    if extension.is_some_and(|extension| is_one_of(extension, COMPRESSED)) {
        return None;
    }
    let mut encodings = said.split(',');
    encodings
        .find(|word| is_one_of(word, ENCODINGS))
        .map(|word| word.trim().to_owned())
}

/// Whether a redirect has added a slash, and nothing else: servers do that for folders.
pub(crate) fn leads_to_folder(url: &Url, at: &Url) -> bool {
    at.path()
        .strip_suffix('/')
        .is_some_and(|path| path == url.path())
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
/// RFC 9110, section 8.4.1, and those that browsers know. Others are words that say nothing of the bytes, such as those of object stores.
const ENCODINGS: &[&str] = &[
    "gzip",
    "x-gzip",
    "deflate",
    "compress",
    "x-compress",
    "br",
    "zstd",
];
/// How the names of compressed files end, which servers take for encoded ones.
const COMPRESSED: &[&str] = &[
    "gz", "tgz", "taz", "svgz", "z", "br", "zst", "tzst", "bz2", "tbz2", "xz", "txz",
];

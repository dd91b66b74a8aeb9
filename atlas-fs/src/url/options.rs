//! [`Options`]: how files by URL are fetched and kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::above::Above;
use super::client::ClientWays;
use super::http::{Credentials, CredentialsError};

/// How files by URL are fetched and kept. [`Options::new`] has what suits most.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The store's folder. Processes that name the same one share it.
    pub folder: PathBuf,
    /// How many bytes it may hold. A file that does not fit beside those in use is read without being kept; if its origin tells no
    /// version of it or, where it sends no ranges of it, no length, there is no room for it.
    pub quota: Option<u64>,
    /// For how long after it was fresh something is served when its origin cannot be asked, if the answer itself allows
    /// less.
    pub stale: Duration,
    /// Requests at a time to one host and port.
    pub requests_per_host_max: usize,
    /// Requests at a time to all of them. Each that brings bytes takes some megabytes of memory.
    pub requests_max: usize,
    /// Bytes that are asked for at a time.
    pub range_bytes_max: u64,
    /// Ranges of one file at a time that are fetched in advance.
    pub ranges_parallel_max: usize,
    /// Bytes that are fetched in advance of who reads on and on.
    pub read_ahead_bytes_max: u64,
    /// How long is waited for what.
    pub timeouts: Timeouts,
    /// What hosts are told of who asks.
    pub credentials: Credentials,
    /// Certificates in PEM of authorities that are trusted beside the system's.
    pub authorities_pem: Vec<u8>,
    /// The next cache on the way to the origins, which is asked instead of them.
    pub above: Option<Arc<dyn Above>>,
    /// The ways to files of clients, which nobody else has.
    pub clients: Option<Arc<dyn ClientWays>>,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, with TLS.
    pub connect: Duration,
    /// For an answer's headers.
    pub answer: Duration,
    /// For the next bytes of an answer, and how long it may be slower than [`Timeouts::bytes_per_second_min`].
    pub idle: Duration,
    /// Who sends less, sends nothing.
    pub bytes_per_second_min: u64,
    /// Attempts in a row that bring nothing new.
    pub attempts_max: u32,
    /// From the last new bytes, or the first attempt. No later attempt begins; one that has begun ends by the others.
    pub give_up_after: Duration,
    /// Before a second attempt.
    pub first_pause: Duration,
    /// For how long a file whose length nobody knows before its end is fetched on when nobody waits for it any more.
    pub unwaited: Duration,
}

impl Options {
    /// A store in this folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            quota: None,
            stale: Duration::ZERO,
            requests_per_host_max: 8,
            requests_max: usize::MAX,
            range_bytes_max: 8 << 20,
            ranges_parallel_max: 4,
            read_ahead_bytes_max: 64 << 20,
            timeouts: Timeouts::default(),
            credentials: Credentials::default(),
            authorities_pem: Vec::new(),
            above: None,
            clients: None,
        }
    }
}

impl Options {
    /// Tells hosts who asks, and trusts authorities, as these files say.
    ///
    /// # Errors
    ///
    /// One of them cannot be read, or is of another form.
    pub fn add_access(&mut self, files: AccessFiles<'_>) -> Result<(), AccessError> {
        if let Some(path) = files.credentials {
            self.credentials.add_file(path)?;
        }
        if let Some(path) = files.netrc {
            self.credentials.add_netrc(path)?;
        }
        if let Some(path) = files.authorities {
            let wrong = |source| AccessError::Authorities {
                path: path.into(),
                source,
            };
            let pem = std::fs::read(path).map_err(wrong)?;
            let mut certificates = CertificateDer::pem_slice_iter(&pem);
            if !matches!(certificates.next(), Some(Ok(_))) {
                return Err(wrong(std::io::ErrorKind::InvalidData.into()));
            }
            self.authorities_pem = pem;
        }
        Ok(())
    }
}

/// What lets this machine in at origins.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessFiles<'a> {
    /// Credentials by host, as of [`Credentials::add_file`]. They go before those of a netrc file.
    pub credentials: Option<&'a Path>,
    /// A netrc file.
    pub netrc: Option<&'a Path>,
    /// Certificates, in PEM, of authorities that are trusted beside the system's.
    pub authorities: Option<&'a Path>,
}

/// What lets this machine in at origins cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The authorities.
    #[error("{} cannot be read as certificates in PEM", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Default for Timeouts {
    /// Those of CernVM-FS, with a little more patience.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(15),
            idle: Duration::from_secs(10),
            bytes_per_second_min: 1024,
            attempts_max: 4,
            give_up_after: Duration::from_secs(60),
            first_pause: Duration::from_millis(200),
            // A mount's call lasts a minute: whoever has been told that it goes on has another one to ask again.
            unwaited: Duration::from_secs(120),
        }
    }
}

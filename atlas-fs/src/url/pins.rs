//! [`Pins`]: one version of each URL for a job. What its first run has read, its second run reads, or is told that it
//! cannot; never some bytes of one version and some of another.
//!
//! A job runs on many machines. Where they are to agree, the pins have a [`Judge`], who is asked once for each URL and says which
//! version was the first.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use url::Url;

use super::client::ClientFiles;
use super::error::UrlError;
use super::version::Version;

/// The versions that a job, or a mount, has seen, and which files are its client's. Clones share the versions.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    versions: Arc<Mutex<HashMap<Url, Version>>>,
    judge: Option<Arc<dyn Judge>>,
    /// Whose turn it is to ask the judge for a URL.
    turns: Arc<Mutex<HashMap<Url, Weak<Turn>>>>,
    client: ClientFiles,
}

type Turn = tokio::sync::Mutex<()>;

/// Says which version of a URL was the first of a job.
pub trait Judge: fmt::Debug + Send + Sync + 'static {
    /// The first one, which is the one that is told here if there was none before. `url` is the BLAKE3 hash of the URL: which it is
    /// concerns nobody. Both versions are as [`Version::to_bytes`] writes them. An error says, for people, why nobody can tell.
    fn first(&self, url: [u8; 32], version: Vec<u8>) -> Judging<'_>;
}

/// What [`Judge::first`] gives.
pub type Judging<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>>;

impl Pins {
    /// Nothing is pinned yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of a job on several machines.
    #[must_use]
    pub fn judged(judge: Arc<dyn Judge>) -> Self {
        Self {
            judge: Some(judge),
            ..Self::default()
        }
    }

    /// The same, of a job that finds these files under `atlas://client/`.
    #[must_use]
    pub fn with_client(self, client: ClientFiles) -> Self {
        Self { client, ..self }
    }

    /// What is asked for when a program asks for this.
    pub(crate) fn resolve(&self, url: &Url) -> Result<Url, UrlError> {
        self.client.resolve(url)
    }

    /// The version that was first seen of it.
    #[must_use]
    pub fn pinned(&self, url: &Url) -> Option<Version> {
        self.lock().get(url).cloned()
    }

    /// Pins this version, unless one is pinned.
    ///
    /// # Errors
    ///
    /// Another one is pinned: the file has changed meanwhile.
    pub fn pin(&self, url: &Url, version: &Version) -> Result<(), UrlError> {
        let mut versions = self.lock();
        match versions.get(url) {
            None => {
                versions.insert(url.clone(), version.clone());
                Ok(())
            }
            Some(pinned) if pinned == version => Ok(()),
            Some(pinned) => Err(pinned.changed(url, version)),
        }
    }

    /// Pins this version, unless another one was the first of the job, which is pinned then. Gives the one that is pinned.
    ///
    /// # Errors
    ///
    /// Nobody can tell which was the first.
    pub async fn agree(&self, url: &Url, version: &Version) -> Result<Version, UrlError> {
        let Some(judge) = &self.judge else {
            return Ok(self.pin_first(url, version.clone()));
        };
        let turn = self.turn(url);
        let _turn = turn.lock().await;
        if let Some(pinned) = self.pinned(url) {
            return Ok(pinned);
        }
        let name = *blake3::hash(url.as_str().as_bytes()).as_bytes();
        let first = judge.first(name, version.to_bytes()).await;
        let first = first.and_then(|bytes| {
            Version::from_bytes(&bytes).ok_or_else(|| "the answer is no version".to_owned())
        });
        let first = first.map_err(|why| UrlError::Unpinned {
            url: Box::new(url.clone()),
            why,
        })?;
        Ok(self.pin_first(url, first))
    }

    /// Forgets what was pinned of it, so that the present version is pinned by its next use.
    pub fn unpin(&self, url: &Url) {
        self.lock().remove(url);
    }

    /// All that is pinned, for who keeps it with a job.
    #[must_use]
    pub fn all(&self) -> Vec<(Url, Version)> {
        let versions = self.lock();
        let all = versions
            .iter()
            .map(|(url, version)| (url.clone(), version.clone()));
        all.collect()
    }

    fn pin_first(&self, url: &Url, version: Version) -> Version {
        self.lock().entry(url.clone()).or_insert(version).clone()
    }

    fn turn(&self, url: &Url) -> Arc<Turn> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(url).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(url.clone(), Arc::downgrade(&turn));
        turn
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Url, Version>> {
        // Each change is one call of the map.
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(etag: &str) -> Version {
        Version {
            etag: Some(etag.to_owned()),
            modified: None,
            length: Some(10),
            seen: None,
        }
    }

    #[test]
    fn the_first_version_stays_and_another_is_an_error_that_names_the_url() {
        let url = Url::parse("http://example.org/x").unwrap();
        let pins = Pins::new();
        pins.pin(&url, &version("\"a\"")).unwrap();
        pins.clone().pin(&url, &version("\"a\"")).unwrap();
        let error = pins.pin(&url, &version("\"b\"")).unwrap_err();
        assert!(matches!(error, UrlError::Changed { .. }));
        assert!(error.to_string().contains("http://example.org/x"));
        assert_eq!(pins.pinned(&url), Some(version("\"a\"")));
        pins.unpin(&url);
        pins.pin(&url, &version("\"b\"")).unwrap();
        assert_eq!(pins.all(), [(url, version("\"b\""))]);
    }

    /// Keeps what it is told first, and counts how often it is asked.
    #[derive(Debug, Default)]
    struct Table(Mutex<(Firsts, usize)>);

    type Firsts = HashMap<[u8; 32], Vec<u8>>;

    impl Judge for Table {
        fn first(&self, url: [u8; 32], version: Vec<u8>) -> Judging<'_> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                let mut table = self.0.lock().unwrap();
                table.1 += 1;
                if version.is_empty() {
                    return Err("nobody knows".to_owned());
                }
                Ok(table.0.entry(url).or_insert(version).clone())
            })
        }
    }

    #[tokio::test]
    async fn machines_of_one_job_agree_and_each_asks_once() {
        let url = Url::parse("http://example.org/x").unwrap();
        let table = Arc::new(Table::default());
        let [one, other] = [(); 2].map(|()| Pins::judged(table.clone()));
        let [a, b] = ["\"a\"", "\"b\""].map(version);
        let (first, second) = tokio::join!(one.agree(&url, &a), one.agree(&url, &b));
        assert_eq!((first.unwrap(), second.unwrap()), (a.clone(), a.clone()));
        assert_eq!(table.0.lock().unwrap().1, 1);
        assert_eq!(other.agree(&url, &b).await.unwrap(), a);
        assert_eq!(other.pinned(&url), Some(a));
        assert_eq!(table.0.lock().unwrap().1, 2);
    }

    #[derive(Debug)]
    struct Away;

    impl Judge for Away {
        fn first(&self, _: [u8; 32], _: Vec<u8>) -> Judging<'_> {
            Box::pin(async { Err("nobody is there".to_owned()) })
        }
    }

    #[tokio::test]
    async fn nothing_is_pinned_that_is_not_agreed_on() {
        let url = Url::parse("http://example.org/x").unwrap();
        let pins = Pins::judged(Arc::new(Away));
        let error = pins.agree(&url, &version("\"a\"")).await.unwrap_err();
        assert!(
            error.to_string().contains("http://example.org/x"),
            "{error}"
        );
        assert!(error.to_string().contains("nobody is there"), "{error}");
        assert_eq!(pins.pinned(&url), None);
    }
}

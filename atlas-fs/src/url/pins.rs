//! [`Pins`]: one version of each URL for a job. What its first run has read, its second run reads, or is told that it
//! cannot; never some bytes of one version and some of another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use url::Url;

use super::error::UrlError;
use super::version::Version;

/// The versions that a job, or a mount, has seen. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    versions: Arc<Mutex<HashMap<Url, Version>>>,
}

impl Pins {
    /// Nothing is pinned yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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
}

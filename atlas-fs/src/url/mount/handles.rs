//! [`Handles`]: the files and folders that are open, by the numbers that the kernel knows them by.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use url::Url;

use super::nodes::Items;
use crate::url::UrlFile;

/// All that is open.
#[derive(Debug, Default)]
pub(super) struct Handles {
    next: AtomicU64,
    files: RwLock<HashMap<u64, Arc<OpenFile>>>,
    folders: RwLock<HashMap<u64, Arc<OpenFolder>>>,
}

/// A file that is open.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) url: Url,
    pub(super) file: Arc<UrlFile>,
    /// The file on disk, once it is whole: it is read on the thread that the kernel asks.
    pub(super) whole: OnceLock<File>,
    /// Whether somebody was told how far it is read, and not that this has ended.
    pub(super) is_told: AtomicBool,
}

/// A folder that is open: what is read of it comes from one listing.
#[derive(Debug)]
pub(super) enum OpenFolder {
    /// One of the web.
    Listed(Arc<Items>),
    /// One of this file system's own, with the names that are known.
    Own(Vec<(String, u64)>),
}

impl Handles {
    pub(super) fn add_file(&self, file: OpenFile) -> u64 {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.insert(handle, Arc::new(file));
        handle
    }

    pub(super) fn file(&self, handle: u64) -> Option<Arc<OpenFile>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(&handle).cloned()
    }

    /// Gives what was open.
    pub(super) fn close_file(&self, handle: u64) -> Option<Arc<OpenFile>> {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.remove(&handle)
    }

    pub(super) fn add_folder(&self, folder: OpenFolder) -> u64 {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        let mut folders = self.folders.write().unwrap_or_else(PoisonError::into_inner);
        folders.insert(handle, Arc::new(folder));
        handle
    }

    pub(super) fn folder(&self, handle: u64) -> Option<Arc<OpenFolder>> {
        let folders = self.folders.read().unwrap_or_else(PoisonError::into_inner);
        folders.get(&handle).cloned()
    }

    pub(super) fn close_folder(&self, handle: u64) {
        let mut folders = self.folders.write().unwrap_or_else(PoisonError::into_inner);
        folders.remove(&handle);
    }
}

//! Shelves of this very process: the inputs of the jobs that run here, and the files of a program that runs alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atlas_proto::control::FilesName;
use tokio::io::{duplex, split};

use super::super::above::Way;
use super::{ClientFiles, ClientWays, NoWay, Reached, ReachingClient, Shelf, answer};

/// Shelves by their names.
#[derive(Debug, Default)]
pub struct Shelves(Mutex<HashMap<FilesName, Arc<Shelf>>>);

/// One shelf, for who has no manager to ask.
#[derive(Debug)]
pub struct LocalFiles(Shelves);

impl Shelves {
    /// From now on there is this one.
    pub fn insert(&self, files: FilesName, shelf: Shelf) {
        self.lock().insert(files, Arc::new(shelf));
    }

    /// From now on it is not there.
    pub fn remove(&self, files: FilesName) {
        self.lock().remove(&files);
    }

    /// A way to it, if it is there. Must be called within a tokio runtime.
    #[must_use]
    pub fn way(&self, files: FilesName) -> Option<Reached> {
        let shelf = self.lock().get(&files).cloned()?;
        let (near, far) = duplex(BYTES_UNDER_WAY);
        let [(reader, writer), (far_reader, far_writer)] = [near, far].map(split);
        // It ends with the way.
        tokio::spawn(answer(shelf, files, Way::new(far_reader, far_writer)));
        Some(Reached {
            way: Way::new(reader, writer),
            is_client: true,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FilesName, Arc<Shelf>>> {
        // Each change is one call of the map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalFiles {
    /// The shelf, and what programs that read from it are told.
    #[must_use]
    pub fn new(shelf: Shelf) -> (Arc<Self>, ClientFiles) {
        // Whoever asks is this process.
        let files = FilesName(fastrand::u128(..).to_le_bytes());
        let shelves = Shelves::default();
        shelves.insert(files, shelf);
        (Arc::new(Self(shelves)), ClientFiles::new(Some(files)))
    }
}

impl ClientWays for LocalFiles {
    fn reach(&self, files: FilesName) -> ReachingClient<'_> {
        Box::pin(async move { self.0.way(files).ok_or_else(NoWay::none) })
    }
}

/// Some pieces.
const BYTES_UNDER_WAY: usize = 256 << 10;

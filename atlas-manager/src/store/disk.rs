//! The database as it lies on its disk: open, or to be opened again.
//!
//! After the first error of its disk the database refuses everything until it is opened anew, even when the disk has
//! room again. So whoever finds it so opens it again: the thread that writes, before its next attempt, and who reads.
//! As long as it cannot be opened there is nothing to read. What is wrong with the disk is known here, for people.

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use redb::Database;

use super::{OpenStoreError, unusable};

/// Shared by the thread that writes and those who read.
pub(super) struct Disk {
    path: PathBuf,
    open: Open,
    /// None only after it could not be opened again.
    database: RwLock<Option<Database>>,
    trouble: Mutex<Option<String>>,
}

/// Opens what is there, and makes nothing.
pub(super) type Open = Box<dyn Fn() -> Result<Database, OpenStoreError> + Send + Sync>;

impl Disk {
    pub(super) fn new(path: &Path, database: Database, open: Open) -> Self {
        Self {
            path: path.to_owned(),
            open,
            database: RwLock::new(Some(database)),
            trouble: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Does something with the database, which is opened again first if it has failed before.
    pub(super) fn read<T>(
        &self,
        read: impl Fn(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, OpenStoreError> {
        let done = match self.with(&read) {
            Err(redb::Error::PreviousIo) => {
                self.open_again()?;
                self.with(&read)
            }
            done => done,
        };
        done.map_err(|error| unusable(&self.path, error))
    }

    /// Does something with the database as it is.
    pub(super) fn with<T>(
        &self,
        use_it: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        use_it(database.as_ref().ok_or(redb::Error::PreviousIo)?)
    }

    /// Waits for those who use it, closes it, which gives its file free, and opens it.
    pub(super) fn open_again(&self) -> Result<(), OpenStoreError> {
        let database = self.database.write();
        let mut database = database.unwrap_or_else(PoisonError::into_inner);
        *database = None;
        *database = Some(caught(&self.path, &self.open)?);
        Ok(())
    }

    /// What is wrong, if something is.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_trouble(&self, cause: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }
}

/// Of some kinds of damage the database says nothing but that it has not reckoned with them.
pub(super) fn caught(
    path: &Path,
    open: impl Fn() -> Result<Database, OpenStoreError>,
) -> Result<Database, OpenStoreError> {
    let opened = panic::catch_unwind(AssertUnwindSafe(open));
    opened.unwrap_or_else(|_| {
        let what = "the database cannot make sense of it".to_owned();
        Err(unusable(path, redb::Error::Corrupted(what)))
    })
}

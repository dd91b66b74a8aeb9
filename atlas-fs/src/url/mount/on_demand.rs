//! [`OnDemand`]: a folder in which files by URL are mounted when somebody asks for that first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::options::MountOptions;
use super::{MountError, Mounted};
use crate::url::Source;

/// Where those who share this find files by URL, if they ask.
#[derive(Debug)]
pub struct OnDemand {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Nobody has asked.
    Unasked,
    /// They see a mount that is there already.
    Elsewhere(PathBuf),
    Mounted(Mounted),
    /// Nobody is to ask any more.
    Over,
}

impl OnDemand {
    /// At this folder, which is made.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            state: Mutex::new(State::Unasked),
        }
    }

    /// Whoever asks sees a mount there already.
    pub fn is_at(&self, folder: &Path) {
        *self.lock() = State::Elsewhere(folder.into());
    }

    /// Mounts, unless that is done, and tells where. Blocks, on a thread of the runtime on which what takes long is to run.
    ///
    /// # Errors
    ///
    /// As of [`Mounted::start`].
    pub fn mount(&self, source: impl Source, options: MountOptions) -> Result<PathBuf, MountError> {
        let mut state = self.lock();
        match &*state {
            State::Elsewhere(folder) => return Ok(folder.clone()),
            State::Mounted(mounted) => return Ok(mounted.folder().into()),
            State::Over => return Err(self.refused(io::ErrorKind::NotFound.into())),
            State::Unasked => {}
        }
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(self.refused(error));
            }
            _ => {}
        }
        let mounted = Mounted::start(source, &self.folder, options)?;
        let folder = mounted.folder().into();
        *state = State::Mounted(mounted);
        Ok(folder)
    }

    /// Unmounts what was mounted here, and mounts nothing any more. Blocks.
    pub fn end(&self) {
        *self.lock() = State::Over;
    }

    fn refused(&self, source: io::Error) -> MountError {
        MountError::Folder {
            folder: self.folder.clone(),
            source,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

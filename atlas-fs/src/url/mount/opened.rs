//! [`Opened`]: how an inode is open. The kernel allows one way at a time: with its page cache in between, or passed through to one backing file. What
//! mixes them is refused with `EIO`, and so the way is decided when the first one opens it, and kept until the last one closes it.

use std::sync::Arc;

use fuser::BackingId;

use crate::url::UrlFile;

/// The opens of an inode that are not closed yet.
#[derive(Debug, Default)]
pub(super) enum Opened {
    /// Nobody has it open.
    #[default]
    Not,
    /// Reads come here, by way of the page cache.
    Cached { count: u64, file: Arc<UrlFile> },
    /// Reads go to the backing file.
    Passthrough {
        count: u64,
        file: Arc<UrlFile>,
        /// It must live until the last one has closed it.
        id: Arc<BackingId>,
    },
}

impl Opened {
    pub(super) fn is_open(&self) -> bool {
        !matches!(self, Self::Not)
    }

    /// The version that is open.
    pub(super) fn file(&self) -> Option<&Arc<UrlFile>> {
        match self {
            Self::Not => None,
            Self::Cached { file, .. } | Self::Passthrough { file, .. } => Some(file),
        }
    }

    /// One more opens it, in the way that it is open in. If nobody has it open, the backing file that `passed` gives decides which way that is.
    pub(super) fn open(
        &mut self,
        opening: Arc<UrlFile>,
        passed: impl FnOnce(&UrlFile) -> Option<BackingId>,
    ) -> Option<Arc<BackingId>> {
        match self {
            Self::Cached { count, .. } => {
                *count += 1;
                None
            }
            Self::Passthrough { count, id, .. } => {
                *count += 1;
                Some(Arc::clone(id))
            }
            Self::Not => {
                let id = passed(&opening).map(Arc::new);
                let (count, file) = (1, opening);
                *self = match &id {
                    Some(id) => Self::Passthrough {
                        count,
                        file,
                        id: Arc::clone(id),
                    },
                    None => Self::Cached { count, file },
                };
                id
            }
        }
    }

    /// One has closed it.
    pub(super) fn close(&mut self) {
        if let Self::Cached { count, .. } | Self::Passthrough { count, .. } = self {
            *count -= 1;
            if *count == 0 {
                *self = Self::Not;
            }
        }
    }
}

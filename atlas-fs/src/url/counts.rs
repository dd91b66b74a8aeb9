//! [`Counts`]: how often what was asked for was there, and what came from where.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Sums since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Something has been counted.
    changed: Notify,
    /// What has been told to who keeps sums of several processes.
    told: Mutex<Figures>,
    hits: AtomicU64,
    misses: AtomicU64,
    requests: AtomicU64,
    origin_bytes: AtomicU64,
    above_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    passed_through: AtomicU64,
}

/// Who gives bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Giver {
    Origin,
    /// The next cache above.
    Above,
    /// This store, which had them already.
    Store,
}

/// Sums since the start of a [`Files`](super::Files), or of all that share its store since that was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Reads that found all on the disk.
    pub hits: u64,
    /// Reads that waited for an origin, or the next cache above.
    pub misses: u64,
    /// Questions of what there is: which version of a file, which entries of a folder.
    pub questions: u64,
    /// Bytes of files from origins.
    pub origin_bytes: u64,
    /// Bytes of files from the next cache above.
    pub above_bytes: u64,
    /// Bytes of files that those below were given, and that were there before they were asked for.
    pub stored_bytes: u64,
    /// Files that the kernel was given to read itself, each time that one was opened.
    pub passed_through: u64,
}

impl Figures {
    /// How many sums these are.
    pub(crate) const WORDS: usize = 7;

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn minus(self, earlier: Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    fn with(self, other: Self, combine: fn(u64, u64) -> u64) -> Self {
        let (mut words, others) = (self.to_words(), other.to_words());
        for (word, other) in words.iter_mut().zip(others) {
            *word = combine(*word, other);
        }
        Self::from_words(words)
    }

    /// In an order that files depend on: new ones come last.
    pub(crate) fn to_words(self) -> [u64; Self::WORDS] {
        let Self {
            hits,
            misses,
            questions,
            origin_bytes,
            above_bytes,
            stored_bytes,
            passed_through,
        } = self;
        [
            hits,
            misses,
            questions,
            origin_bytes,
            above_bytes,
            stored_bytes,
            passed_through,
        ]
    }

    pub(crate) fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [
            hits,
            misses,
            questions,
            origin_bytes,
            above_bytes,
            stored_bytes,
            passed_through,
        ] = words;
        Self {
            hits,
            misses,
            questions,
            origin_bytes,
            above_bytes,
            stored_bytes,
            passed_through,
        }
    }
}

// Sums for people: no other memory is read by them.
impl Counts {
    pub(crate) fn read(&self, misses: bool) {
        let sum = if misses { &self.misses } else { &self.hits };
        sum.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub(crate) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Waits until something is counted that was not when this was last asked, or until [`Counts::end`].
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Nothing is counted any more.
    pub(crate) fn end(&self) {
        self.changed.notify_one();
    }

    /// Tells what was counted since this last went well.
    pub(crate) fn tell<E>(&self, tell: impl FnOnce(Figures) -> Result<(), E>) -> Result<(), E> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = self.figures();
        let counted = figures.minus(*told);
        if counted != Figures::default() {
            tell(counted)?;
            *told = figures;
        }
        Ok(())
    }

    pub(crate) fn fetched(&self, giver: Giver, bytes: usize) {
        let sum = match giver {
            Giver::Origin => &self.origin_bytes,
            Giver::Above => &self.above_bytes,
            Giver::Store => &self.stored_bytes,
        };
        sum.fetch_add(bytes as u64, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// The kernel reads a file itself.
    pub(crate) fn passed(&self) {
        self.passed_through.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub(crate) fn figures(&self) -> Figures {
        let load = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        Figures {
            hits: load(&self.hits),
            misses: load(&self.misses),
            questions: load(&self.requests),
            origin_bytes: load(&self.origin_bytes),
            above_bytes: load(&self.above_bytes),
            stored_bytes: load(&self.stored_bytes),
            passed_through: load(&self.passed_through),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_told_is_told_later_and_nothing_twice() {
        let counts = Counts::default();
        counts.read(true);
        counts.fetched(Giver::Origin, 100);
        assert_eq!(counts.tell(|_| Err("full")), Err("full"));
        counts.read(false);
        let mut sums = Figures::default();
        let mut tell = || {
            let told = counts.tell(|counted| {
                sums = sums.plus(counted);
                Ok::<_, ()>(())
            });
            assert_eq!(told, Ok(()));
        };
        tell();
        tell();
        assert_eq!((sums.hits, sums.misses, sums.origin_bytes), (1, 1, 100));
        assert_eq!(counts.tell(|_| Err("there is nothing to tell")), Ok(()));
    }
}

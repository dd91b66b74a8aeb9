//! [`Turns`]: those who want one blob take turns, so that the second finds what the first has fetched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use crate::name::BlobName;

/// Who is fetching what. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    turns: Arc<Mutex<HashMap<BlobName, Weak<Waiting>>>>,
}

/// Nobody else fetches the blob until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    _guard: OwnedMutexGuard<()>,
}

type Waiting = tokio::sync::Mutex<()>;

impl Turns {
    /// Waits until nobody else fetches the blob. Then look whether it is there.
    pub async fn take(&self, name: BlobName) -> Turn {
        let waiting = self.waiting(name);
        Turn {
            _guard: waiting.lock_owned().await,
        }
    }

    /// Waits until nobody fetches the blob, if somebody does, but no longer than so.
    pub async fn pass(&self, name: BlobName, time_max: Duration) {
        let waiting = {
            let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.get(&name).and_then(Weak::upgrade)
        };
        if let Some(waiting) = waiting {
            let _ = timeout(time_max, waiting.lock()).await;
        }
    }

    fn waiting(&self, name: BlobName) -> Arc<Waiting> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, waiting| waiting.strong_count() > 0);
        if let Some(waiting) = turns.get(&name).and_then(Weak::upgrade) {
            return waiting;
        }
        let waiting = Arc::default();
        turns.insert(name, Arc::downgrade(&waiting));
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn one_at_a_time_has_the_turn_of_a_blob() {
        let turns = Turns::default();
        let [one, other] = [1, 2].map(|byte| BlobName([byte; 32]));
        turns.pass(one, LONG).await;
        let turn = turns.take(one).await;
        assert!(timeout(SHORT, turns.take(one)).await.is_err());
        drop(turns.take(other).await);
        // Whoever only waits does so for a while.
        turns.pass(one, SHORT).await;
        drop(turn);
        turns.pass(one, LONG).await;
        drop(timeout(LONG, turns.take(one)).await.unwrap());
        drop(turns.take(other).await);
        assert_eq!(
            turns.turns.lock().unwrap().len(),
            1,
            "what is over is forgotten"
        );
    }
}

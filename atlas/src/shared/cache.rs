//! The values that this process decoded or encoded, and still holds, by their names.
//!
//! Invariant: the cache holds weak pointers only; a value lives as long as its last [`Shared`].

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Inner, Shared};

/// The values that this process decoded or encoded, and still holds.
static CACHE: Mutex<Cache> = Mutex::new(Cache {
    entries: BTreeMap::new(),
    sweep_at: SWEEP_MIN,
});

pub(super) struct Cache {
    entries: BTreeMap<(TypeId, [u8; 32]), Weak<dyn Any + Send + Sync>>,
    /// The number of entries at which the dead ones are removed.
    sweep_at: usize,
}

impl Cache {
    pub(super) fn find<T: Send + Sync + 'static>(&self, hash: blake3::Hash) -> Option<Shared<T>> {
        let key = (TypeId::of::<T>(), *hash.as_bytes());
        let inner = self.entries.get(&key)?.upgrade()?;
        inner.downcast().ok().map(Shared)
    }

    /// The value of this hash; `shared` becomes it if there is none.
    pub(super) fn find_or_insert<T>(&mut self, hash: blake3::Hash, shared: &Shared<T>) -> Shared<T>
    where
        T: Send + Sync + 'static,
    {
        if let Some(found) = self.find(hash) {
            return found;
        }
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, entry| entry.strong_count() > 0);
            // Twice what is alive: a sweep costs each insertion a constant.
            self.sweep_at = (self.entries.len() * 2).max(SWEEP_MIN);
        }
        let inner: Arc<dyn Any + Send + Sync> = Arc::<Inner<T>>::clone(&shared.0);
        let key = (TypeId::of::<T>(), *hash.as_bytes());
        self.entries.insert(key, Arc::downgrade(&inner));
        shared.clone()
    }
}

pub(super) fn lock() -> MutexGuard<'static, Cache> {
    // No panic can leave the map half changed, so a poisoned one is sound.
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Below this number of entries, some of 100 bytes, the cache is not swept.
const SWEEP_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_dies_with_its_last_pointer_and_dead_entries_are_swept() {
        let pointers = (0..10_000_u32).map(|number| {
            let sent = postcard::to_allocvec(&crate::share((number, "swept".to_owned()))).unwrap();
            let received: Shared<(u32, String)> = postcard::from_bytes(&sent).unwrap();
            Arc::downgrade(&received.0)
        });
        let weak: Vec<_> = pointers.collect();
        assert!(weak.iter().all(|inner| inner.strong_count() == 0));
        let cache = lock();
        assert!(
            cache.entries.len() <= 2 * SWEEP_MIN,
            "{}",
            cache.entries.len()
        );
    }
}

//! Read-only data that many tasks use: [`share`] and [`Shared`].
//!
//! A [`Shared`] is passed as an argument like any other value. Within a process
//! it is a counted pointer. Where a closure leaves the process, the value *travels with it*,
//! encoded (once for all closures) with its BLAKE3 hash; where it arrives, it
//! is decoded once for all closures that bring the same bytes, as long as one
//! of them is alive, and not at all where it came from. So a large value costs its size on the wire for each closure
//! that leaves, and once in each process's memory.
//!
//! Invariant: the cache holds weak pointers only; a value lives as long as its
//! last [`Shared`]. The cache's lock is never held while a value is encoded or
//! decoded, as a value may itself hold [`Shared`] values.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use serde::de::{self, DeserializeOwned, DeserializeSeed, SeqAccess, Visitor};
use serde::ser::{self, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Makes a value fit to be an argument of many tasks: see [`Shared`].
///
/// ```
/// let words = atlas::share(vec!["join", "spawn", "steal"]);
/// let same = words.clone();
/// assert_eq!(same.len(), 3);
/// assert!(atlas::Shared::is_same(&words, &same));
/// ```
#[must_use]
pub fn share<T>(value: T) -> Shared<T> {
    Shared::new(value)
}

/// Read-only data that many tasks use.
///
/// A clone is another pointer to the same value. Serialised, it is the value's
/// postcard bytes with their BLAKE3 hash; the bytes are made at the first need
/// and kept as long as the value. Deserialised, it is the process's one value of these bytes,
/// if there is one.
///
/// ```
/// # fn main() -> Result<(), postcard::Error> {
/// use atlas::Shared;
///
/// let table = atlas::share(vec![1_u64, 1, 2, 3, 5, 8]);
/// let sent = postcard::to_allocvec(&table)?;       // as with a closure that leaves
///
/// let first: Shared<Vec<u64>> = postcard::from_bytes(&sent)?;
/// let second: Shared<Vec<u64>> = postcard::from_bytes(&sent)?;
/// assert_eq!(first[5], 8);
/// assert!(Shared::is_same(&first, &second));       // decoded once
/// # Ok(())
/// # }
/// ```
///
/// A value whose type encodes equal values differently, such as a
/// `HashMap`, is shared rightly, but two processes may name it by two hashes.
pub struct Shared<T>(Arc<Inner<T>>);

impl<T> Shared<T> {
    /// As [`share`].
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(Inner {
            value,
            encoded: OnceLock::new(),
        }))
    }

    /// True if both point to one value in memory.
    #[must_use]
    pub fn is_same(one: &Self, other: &Self) -> bool {
        Arc::ptr_eq(&one.0, &other.0)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> AsRef<T> for Shared<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.0.value).finish()
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Self::is_same(self, other) || self.0.value == other.0.value
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Serialize + Send + Sync + 'static> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encoded = self.encoded().map_err(ser::Error::custom)?;
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(encoded.hash.as_bytes())?;
        tuple.serialize_element(&Bytes(&encoded.bytes))?;
        tuple.end()
    }
}

impl<'de, T: DeserializeOwned + Send + Sync + 'static> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(2, SharedVisitor(std::marker::PhantomData))
    }
}

struct Inner<T> {
    value: T,
    encoded: OnceLock<Encoded>,
}

/// A value's postcard bytes and their name.
struct Encoded {
    hash: blake3::Hash,
    bytes: Vec<u8>,
}

impl<T: Serialize + Send + Sync + 'static> Shared<T> {
    /// The encoded value. Two threads that need it first may both make it; one is kept.
    fn encoded(&self) -> Result<&Encoded, postcard::Error> {
        if let Some(encoded) = self.0.encoded.get() {
            return Ok(encoded);
        }
        let bytes = postcard::to_allocvec(&self.0.value)?;
        let hash = blake3::hash(&bytes);
        // What this process sends may come back to it, with a closure that was lent.
        lock_cache().find_or_insert(hash, self);
        Ok(self.0.encoded.get_or_init(|| Encoded { hash, bytes }))
    }
}

/// The values that this process decoded or encoded, and still holds.
static CACHE: Mutex<Cache> = Mutex::new(Cache {
    entries: BTreeMap::new(),
    sweep_at: SWEEP_MIN,
});

struct Cache {
    entries: BTreeMap<(TypeId, [u8; 32]), Weak<dyn Any + Send + Sync>>,
    /// The number of entries at which the dead ones are removed.
    sweep_at: usize,
}

impl Cache {
    fn find<T: Send + Sync + 'static>(&self, hash: blake3::Hash) -> Option<Shared<T>> {
        let key = (TypeId::of::<T>(), *hash.as_bytes());
        let inner = self.entries.get(&key)?.upgrade()?;
        inner.downcast().ok().map(Shared)
    }

    /// The value of this hash; `shared` becomes it if there is none.
    fn find_or_insert<T>(&mut self, hash: blake3::Hash, shared: &Shared<T>) -> Shared<T>
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

fn lock_cache() -> MutexGuard<'static, Cache> {
    // No panic can leave the map half changed, so a poisoned one is sound.
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process's value of these bytes; decoded here if there is none.
fn resolve<T, E>(hash: blake3::Hash, bytes: &[u8]) -> Result<Shared<T>, E>
where
    T: DeserializeOwned + Send + Sync + 'static,
    E: de::Error,
{
    if let Some(found) = lock_cache().find(hash) {
        return Ok(found);
    }
    // Whoever sends a false hash must not name what others will find.
    if blake3::hash(bytes) != hash {
        return Err(E::custom("a shared value's bytes do not match their hash"));
    }
    let decoded = Shared::new(postcard::from_bytes(bytes).map_err(E::custom)?);
    // Another thread may have decoded the same bytes meanwhile: its value stays.
    Ok(lock_cache().find_or_insert(hash, &decoded))
}

struct SharedVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: DeserializeOwned + Send + Sync + 'static> Visitor<'de> for SharedVisitor<T> {
    type Value = Shared<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shared value: its hash and its bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Shared<T>, A::Error> {
        let hash: [u8; 32] = parts
            .next_element()?
            .ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let value = ValueSeed {
            hash: hash.into(),
            value: self.0,
        };
        parts
            .next_element_seed(value)?
            .ok_or_else(|| de::Error::invalid_length(1, &"the value's bytes"))
    }
}

/// Takes the bytes where they lie, without a copy if the format allows it.
struct ValueSeed<T> {
    hash: blake3::Hash,
    value: std::marker::PhantomData<T>,
}

impl<'de, T: DeserializeOwned + Send + Sync + 'static> DeserializeSeed<'de> for ValueSeed<T> {
    type Value = Shared<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shared<T>, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de, T: DeserializeOwned + Send + Sync + 'static> Visitor<'de> for ValueSeed<T> {
    type Value = Shared<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a shared value")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Shared<T>, E> {
        resolve(self.hash, bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Shared<T>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = parts.next_element::<u8>()? {
            bytes.push(byte);
        }
        resolve(self.hash, &bytes)
    }
}

/// Bytes as serde's own kind, not as a sequence of numbers.
struct Bytes<'bytes>(&'bytes [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Below this number of entries, some of 100 bytes, the cache is not swept.
const SWEEP_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn send<T: Serialize + Send + Sync + 'static>(shared: &Shared<T>) -> Vec<u8> {
        postcard::to_allocvec(shared).unwrap()
    }

    fn receive<T: DeserializeOwned + Send + Sync + 'static>(sent: &[u8]) -> Shared<T> {
        postcard::from_bytes(sent).unwrap()
    }

    #[test]
    fn value_arrives_equal_and_is_decoded_once() {
        let sent = send(&share("value_arrives".to_owned()));
        let [first, second] = [receive::<String>(&sent), receive(&sent)];
        assert_eq!(*first, "value_arrives");
        assert!(Shared::is_same(&first, &second));
        assert_eq!(send(&first), sent);
    }

    #[test]
    fn value_that_comes_back_is_the_one_that_was_sent() {
        let value = share("value_comes_back".to_owned());
        let back: Shared<String> = receive(&send(&value));
        assert!(Shared::is_same(&back, &value));
    }

    #[test]
    fn value_is_encoded_once() {
        static ENCODED: AtomicUsize = AtomicUsize::new(0);
        struct Counting;
        impl Serialize for Counting {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                ENCODED.fetch_add(1, Ordering::Relaxed);
                serializer.serialize_unit()
            }
        }
        let shared = share(Counting);
        assert_eq!(send(&shared), send(&shared.clone()));
        assert_eq!(ENCODED.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn equal_bytes_of_two_types_are_two_values() {
        let sent = send(&share(7_u8));
        let number: Shared<u8> = receive(&sent);
        let boxed: Shared<Box<u8>> = receive(&sent);
        assert_eq!((*number, **boxed), (7, 7));
    }

    #[test]
    fn false_hash_is_refused() {
        let mut sent = send(&share("false_hash".to_owned()));
        *sent.last_mut().unwrap() ^= 1;
        let error = postcard::from_bytes::<Shared<String>>(&sent);
        assert!(error.is_err());
    }

    #[test]
    fn value_dies_with_its_last_pointer_and_dead_entries_are_swept() {
        let pointers = (0..10_000_u32).map(|number| {
            let sent = send(&share((number, "swept".to_owned())));
            Arc::downgrade(&receive::<(u32, String)>(&sent).0)
        });
        let weak: Vec<_> = pointers.collect();
        assert!(weak.iter().all(|inner| inner.strong_count() == 0));
        let cache = CACHE.lock().unwrap();
        assert!(
            cache.entries.len() <= 2 * SWEEP_MIN,
            "{}",
            cache.entries.len()
        );
    }

    #[test]
    fn shared_values_may_hold_shared_values() {
        let inner = share(vec![1_u32, 2]);
        let outer = share([inner.clone(), inner]);
        let received: Shared<[Shared<Vec<u32>>; 2]> = receive(&send(&outer));
        assert_eq!(*received, *outer);
        assert!(Shared::is_same(&received[0], &received[1]));
    }

    #[test]
    fn threads_that_decode_together_get_one_value() {
        let sent = send(&share(vec![3_u64; 10_000]));
        let received: Vec<Shared<Vec<u64>>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| receive(&sent))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(
            received
                .iter()
                .all(|one| Shared::is_same(one, &received[0]))
        );
    }
}

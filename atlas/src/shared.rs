//! Read-only data that many tasks use: [`share`] and [`Shared`].
//!
//! A [`Shared`] is passed as an argument like any other value. Within a process it is a counted pointer. Outside it is its
//! postcard bytes, named by their BLAKE3 hash, in one of two forms:
//!
//! | form | is written | as |
//! | --- | --- | --- |
//! | whole | wherever no server is to take it: plain serde, runtimes in one process, results of tasks; and small values | hash and bytes |
//! | named | in closures that an engine lends, if it is not small (`apart.rs`) | hash, and no bytes |
//!
//! The bytes of a named value lie in a file (`spill.rs`), written once by each process that makes the value. The server takes them
//! from there as a blob, so that they travel once into each domain and to each server, whatever the number of closures;
//! an engine there reads them from a file of its server's. Values within values are named or not in the same way, and a
//! closure names all that it needs.
//!
//! Where a value arrives, it is decoded once for all closures that bring or name the same bytes, as long as one of them is
//! alive, and not at all where it came from. A process keeps no bytes beside the value if there is a file with them.
//!
//! The results of tasks that are too large for a message lie in files of the same folder ([`put_apart`], [`take_apart`]).
//!
//! Invariants: no bytes are decoded that are not what their name says. The cache's lock (`cache.rs`) is never held while a value is
//! encoded or decoded, as a value may itself hold [`Shared`] values.

mod apart;
mod cache;
mod spill;

use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use atlas_engine::SharedName;
use serde::de::{self, DeserializeOwned, DeserializeSeed, SeqAccess, Visitor};
use serde::ser::{self, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use apart::{Apart, Needs, WITHIN_BYTES_MAX};
use spill::{SpillError, Spilt};

pub(crate) use apart::{leaving, set_folder, take_new};

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
/// In a job on a cluster, a value of more than some KiB is not in the closures that use it: they name it, and its bytes go
/// once to each domain and server that runs any of them. So it may be much larger than a task's other arguments.
/// Values that tasks *return* are in their results, whole.
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
            whole: OnceLock::new(),
            apart: OnceLock::new(),
            spilling: Mutex::new(()),
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
        if apart::is_leaving()
            && let Some(apart) = self.apart().map_err(ser::Error::custom)?
            && apart::require(apart.names())
        {
            return match apart {
                Apart::Named { name, .. } => write(serializer, &name.0, &[]),
                Apart::Within { hash, bytes, .. } => write(serializer, hash.as_bytes(), bytes),
            };
        }
        let encoded = self.whole().map_err(ser::Error::custom)?;
        write(serializer, encoded.hash.as_bytes(), &encoded.bytes)
    }
}

impl<'de, T: DeserializeOwned + Send + Sync + 'static> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(2, SharedVisitor(std::marker::PhantomData))
    }
}

fn write<S: Serializer>(serializer: S, hash: &[u8; 32], bytes: &[u8]) -> Result<S::Ok, S::Error> {
    let mut tuple = serializer.serialize_tuple(2)?;
    tuple.serialize_element(hash)?;
    tuple.serialize_element(&Bytes(bytes))?;
    tuple.end()
}

struct Inner<T> {
    value: T,
    /// With all that is in it.
    whole: OnceLock<Arc<Encoded>>,
    apart: OnceLock<Apart>,
    /// Held by who makes the latter: a worker that names a result and the thread that lends may want it at the same time.
    spilling: Mutex<()>,
}

/// A value's postcard bytes and their name.
struct Encoded {
    hash: blake3::Hash,
    bytes: Vec<u8>,
}

impl<T: Serialize + Send + Sync + 'static> Shared<T> {
    /// The encoded value. Two threads that need it first may both make it; one is kept.
    fn whole(&self) -> Result<Arc<Encoded>, postcard::Error> {
        if let Some(encoded) = self.0.whole.get() {
            return Ok(encoded.clone());
        }
        let bytes = apart::whole(|| postcard::to_allocvec(&self.0.value))?;
        let hash = blake3::hash(&bytes);
        // What this process sends may come back to it, with a closure that was lent.
        cache::lock().find_or_insert(hash, self);
        let is_large = bytes.len() > WITHIN_BYTES_MAX;
        let encoded = Arc::new(Encoded { hash, bytes });
        // In an engine a large one has a file, and is written whole only into results, which are made once.
        if is_large && apart::folder().is_some() {
            return Ok(encoded);
        }
        Ok(self.0.whole.get_or_init(|| encoded).clone())
    }

    /// The value as it is written into closures that leave to a server; none if it can only be written whole.
    fn apart(&self) -> Result<Option<&Apart>, postcard::Error> {
        if let Some(apart) = self.0.apart.get() {
            return Ok(Some(apart));
        }
        let Some(folder) = apart::folder() else {
            return Ok(None);
        };
        // A value holds no other that holds it, so whoever waits here is waited for by nobody.
        let _spilling = self
            .0
            .spilling
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(apart) = self.0.apart.get() {
            return Ok(Some(apart));
        }
        let spilt = apart::encoding(|| spill::spill(&self.0.value, folder, WITHIN_BYTES_MAX));
        let (hash, apart) = match spilt {
            (Ok(Spilt::Memory { hash, bytes }), needs) => {
                let bytes = bytes.into();
                (hash, Apart::Within { hash, bytes, needs })
            }
            (Ok(Spilt::File { name, is_new }), needs) => {
                if is_new {
                    apart::note_new(name);
                }
                (name.0.into(), Apart::Named { name, needs })
            }
            (Err(SpillError::Value(error)), _) => return Err(error),
            (Err(SpillError::Folder(error)), _) => {
                eprintln!(
                    "atlas: a shared value cannot be written to {} ({error}), and is sent with each task that uses it",
                    folder.display()
                );
                return Ok(None);
            }
        };
        cache::lock().find_or_insert(hash, self);
        Ok(Some(self.0.apart.get_or_init(|| apart)))
    }
}

/// Puts an encoded result where the server takes it from; none if there is no place for it.
pub(crate) fn put_apart(bytes: &[u8]) -> Option<io::Result<SharedName>> {
    apart::folder().map(|folder| spill::write(bytes, folder))
}

/// An encoded result that the server has put where this process finds it; none if there is no place for it.
pub(crate) fn take_apart(name: SharedName) -> Option<io::Result<Vec<u8>>> {
    apart::folder().map(|folder| spill::read(folder, name))
}

/// The process's value of these bytes; decoded here if there is none.
fn resolve<T, E>(hash: blake3::Hash, bytes: &[u8]) -> Result<Shared<T>, E>
where
    T: DeserializeOwned + Send + Sync + 'static,
    E: de::Error,
{
    if bytes.is_empty() && hash != blake3::hash(&[]) {
        return resolve_named(SharedName(*hash.as_bytes()));
    }
    if let Some(found) = find(hash) {
        return Ok(found);
    }
    // Whoever sends a false hash must not name what others will find.
    if blake3::hash(bytes) != hash {
        return Err(E::custom("a shared value's bytes do not match their hash"));
    }
    decode(hash, bytes, |needs| {
        let bytes = bytes.into();
        // One that names nothing is written so without this, if need be.
        (!needs.is_empty()).then_some(Apart::Within { hash, bytes, needs })
    })
}

/// As [`resolve`], for a value whose bytes lie in a file.
fn resolve_named<T, E>(name: SharedName) -> Result<Shared<T>, E>
where
    T: DeserializeOwned + Send + Sync + 'static,
    E: de::Error,
{
    // What is decoded has room for as many names as it has.
    apart::require(std::iter::once(&name));
    let hash = name.0.into();
    if let Some(found) = find(hash) {
        // A value that came whole, or was only sent whole, names nothing.
        let needs = Needs::default();
        let named = || Apart::Named { name, needs };
        found.0.apart.get_or_init(named);
        return Ok(found);
    }
    let Some(folder) = apart::folder() else {
        return Err(E::custom(
            "a shared value is named that only an engine can find",
        ));
    };
    let bytes = spill::read(folder, name).map_err(|error| {
        let path = spill::path(folder, name);
        // The encoding's own errors have no room for this.
        eprintln!(
            "atlas: the shared value {} cannot be read: {error}",
            path.display()
        );
        E::custom(error)
    })?;
    decode(hash, &bytes, |needs| Some(Apart::Named { name, needs }))
}

/// The process's value of this name, which counts as named by whatever is being decoded.
fn find<T: Send + Sync + 'static>(hash: blake3::Hash) -> Option<Shared<T>> {
    let found: Shared<T> = cache::lock().find(hash)?;
    require(&found);
    Some(found)
}

/// Decodes bytes that are what their name says.
fn decode<T, E>(
    hash: blake3::Hash,
    bytes: &[u8],
    apart: impl FnOnce(Needs) -> Option<Apart>,
) -> Result<Shared<T>, E>
where
    T: DeserializeOwned + Send + Sync + 'static,
    E: de::Error,
{
    let (decoded, needs) = apart::decoding(|| postcard::from_bytes(bytes));
    let decoded = Shared::new(decoded.map_err(E::custom)?);
    if let Some(apart) = apart(needs) {
        decoded.0.apart.get_or_init(|| apart);
    }
    // Another thread may have decoded the same bytes meanwhile: its value stays.
    let shared = cache::lock().find_or_insert(hash, &decoded);
    require(&shared);
    Ok(shared)
}

fn require<T>(shared: &Shared<T>) {
    if let Some(apart) = shared.0.apart.get() {
        apart::require(apart.names());
    }
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

#[cfg(test)]
mod tests;

//! What travels apart from the closures that need it.
//!
//! While a closure is encoded to leave to a server ([`leaving`]), shared values that are not small write their names alone, and the
//! names are collected. While a value is decoded, the names in it are collected, too: whoever sends it on must name them.
//! Both happen on one thread, and the collection is that thread's; elsewhere values are written whole.
//!
//! The folder is the process's one place for them: the server has named it. A process without one writes all values whole.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use atlas_engine::SharedName;
use atlas_engine::limits::SHARED_NAMES_MAX;

/// How a value is written into what leaves.
#[derive(Debug)]
pub(super) enum Apart {
    /// By its name: it lies in a file.
    Named { name: SharedName, needs: Needs },
    /// With its bytes, in which other values are named.
    Within {
        hash: blake3::Hash,
        bytes: Box<[u8]>,
        needs: Needs,
    },
}

/// The values that are named within one.
pub(super) type Needs = Box<[SharedName]>;

/// What the names are collected for.
struct Collection {
    is_leaving: bool,
    names: BTreeSet<SharedName>,
    names_max: usize,
}

thread_local! {
    static COLLECTION: RefCell<Option<Collection>> = const { RefCell::new(None) };
}

/// Values are written into this folder from now on, and read from it.
pub(crate) fn set_folder(folder: PathBuf) {
    // A process is one engine: a second call changes nothing.
    let _ = FOLDER.set(folder);
}

/// Where values lie, if this is an engine that a server has given a place for them.
pub(super) fn folder() -> Option<&'static Path> {
    FOLDER.get().map(PathBuf::as_path)
}

/// Does what encodes a closure that is to leave to a server; also gives the shared values that it needs.
pub(crate) fn leaving<R>(encode: impl FnOnce() -> R) -> (R, Vec<SharedName>) {
    if folder().is_none() {
        return (encode(), Vec::new());
    }
    let (encoded, names) = collect(true, SHARED_NAMES_MAX, encode);
    (encoded, names.into_iter().collect())
}

/// The values that this process has put into the folder since it was asked last.
pub(crate) fn take_new() -> Vec<SharedName> {
    std::mem::take(&mut *NEW.lock().unwrap_or_else(PoisonError::into_inner))
}

/// There is a file for this value now.
pub(super) fn note_new(name: SharedName) {
    NEW.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(name);
}

/// Encodes a value that will lie in a file or within others; also gives what it needs.
pub(super) fn encoding<R>(encode: impl FnOnce() -> R) -> (R, Needs) {
    // With its own name there are as many as a closure has.
    let (encoded, names) = collect(true, SHARED_NAMES_MAX - 1, encode);
    (encoded, names.into_iter().collect())
}

/// Decodes a value; also gives what it needs.
pub(super) fn decoding<R>(decode: impl FnOnce() -> R) -> (R, Needs) {
    // As many as its bytes can name.
    let (decoded, names) = collect(false, usize::MAX, decode);
    (decoded, names.into_iter().collect())
}

/// Encodes a value with all that is in it, whatever is under way around it.
pub(super) fn whole<R>(encode: impl FnOnce() -> R) -> R {
    let (encoded, _) = collect(false, usize::MAX, encode);
    encoded
}

/// What is encoded on this thread now leaves to a server, or is hashed as if it did.
pub(super) fn is_leaving() -> bool {
    COLLECTION.with_borrow(|collection| {
        let collection = collection.as_ref();
        collection.map_or_else(atlas_core::is_keying, |collection| collection.is_leaving)
    })
}

/// What is under way on this thread needs these values, too. False if they are too many, and nothing is noted then.
pub(super) fn require<'names>(names: impl Iterator<Item = &'names SharedName> + Clone) -> bool {
    COLLECTION.with_borrow_mut(|collection| {
        let Some(Collection {
            names: known,
            names_max,
            ..
        }) = collection
        else {
            return true;
        };
        let new = names.clone().filter(|name| !known.contains(*name)).count();
        let has_room = new <= *names_max - known.len();
        if has_room {
            known.extend(names);
        }
        has_room
    })
}

impl Apart {
    /// What must be there for whoever reads it.
    pub(super) fn names(&self) -> impl Iterator<Item = &SharedName> + Clone {
        let (own, needs) = match self {
            Self::Named { name, needs } => (Some(name), needs),
            Self::Within { needs, .. } => (None, needs),
        };
        own.into_iter().chain(needs)
    }
}

/// The collection around the one that is under way; there again when this is dropped, also by a panic of the program's code.
struct Around(Option<Collection>);

impl Drop for Around {
    fn drop(&mut self) {
        COLLECTION.set(self.0.take());
    }
}

fn collect<R>(
    is_leaving: bool,
    names_max: usize,
    f: impl FnOnce() -> R,
) -> (R, BTreeSet<SharedName>) {
    let collection = Collection {
        is_leaving,
        names: BTreeSet::new(),
        names_max,
    };
    let _around = Around(COLLECTION.replace(Some(collection)));
    let result = f();
    let collected = COLLECTION.take();
    (
        result,
        collected.map_or_else(BTreeSet::new, |collection| collection.names),
    )
}

static FOLDER: OnceLock<PathBuf> = OnceLock::new();
static NEW: Mutex<Vec<SharedName>> = Mutex::new(Vec::new());
/// What has more bytes travels apart: a name, its file and the questions for it cost about as much as this.
pub(super) const WITHIN_BYTES_MAX: usize = 8 << 10;

//! Contents, stores and streams for the tests.

use std::fs;
use std::path::{Path, PathBuf};

use atlas_fs::{BlobName, Store};
use tempfile::TempDir;

/// More than any content here.
pub(crate) const BYTES_MAX: u64 = 1 << 30;

/// A store in a folder of its own.
pub(crate) struct Scratch {
    pub(crate) folder: TempDir,
    pub(crate) store: Store,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("blobs")).unwrap();
        Self { folder, store }
    }

    /// A path beside the store.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file beside the store.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// What lies in the store, its lock excepted.
    pub(crate) fn files(&self) -> Vec<String> {
        files(self.store.folder())
    }
}

pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "lock")
        .collect();
    names.sort();
    names
}

/// Bytes that cannot be compressed, the same for the same seed.
pub(crate) fn random(bytes: usize, seed: u64) -> Vec<u8> {
    let mut content = vec![0; bytes];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut content);
    content
}

/// Bytes that compress well.
pub(crate) fn text(bytes: usize) -> Vec<u8> {
    (0u64..)
        .flat_map(|line| format!("line {line} of the text\n").into_bytes())
        .take(bytes)
        .collect()
}

/// What is sent of a blob.
pub(crate) async fn sent(store: &Store, name: BlobName) -> Vec<u8> {
    let mut packed = Vec::new();
    let bytes = store.send(name, &mut packed).await.unwrap();
    assert_eq!(bytes, packed.len() as u64);
    packed
}

/// The packed form of a content.
pub(crate) async fn packed(content: &[u8]) -> Vec<u8> {
    let scratch = Scratch::new();
    let name = scratch.store.add_bytes(content).unwrap();
    sent(&scratch.store, name).await
}

/// Waits for what other threads bring about.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("still not so: {what}");
}

//! Every content goes through every form unchanged.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use atlas_fs::{AddAs, BlobName, ReadBlobError, SendBlobError};

use crate::support::{BYTES_MAX, Scratch, packed, random, sent, text};

fn contents() -> Vec<Vec<u8>> {
    let mut contents = vec![vec![]];
    for bytes in [1, 7, 8, 9, 64 * 1024, 256 * 1024 - 12, 5 * 1024 * 1024] {
        contents.push(random(bytes, 1));
        contents.push(text(bytes));
    }
    contents.push(vec![0; 5 * 1024 * 1024]);
    contents
}

#[tokio::test]
async fn content_survives_every_form() {
    for content in contents() {
        let (client, manager, server) = (Scratch::new(), Scratch::new(), Scratch::new());
        let file = client.file("content", &content);
        let added = client.store.add_file(&file, AddAs::Packed).unwrap();
        assert_eq!(added.name, BlobName::of(&content));
        assert_eq!(added.bytes, content.len() as u64);
        assert!(!added.executable);
        assert_eq!(
            client.store.read(added.name, BYTES_MAX).unwrap(),
            content,
            "read back"
        );

        let stream = sent(&client.store, added.name).await;
        let bytes = manager
            .store
            .receive_packed(added.name, &mut &stream[..], BYTES_MAX)
            .await;
        assert_eq!(bytes.unwrap(), added.bytes);
        assert!(manager.store.has_packed(added.name) && !manager.store.has_plain(added.name));

        let again = sent(&manager.store, added.name).await;
        assert!(again == stream, "a manager sends what it has received");
        server
            .store
            .receive_plain(added.name, &mut &again[..], false, BYTES_MAX)
            .await
            .unwrap();
        assert!(server.store.has_plain(added.name) && !server.store.has_packed(added.name));
        let path = server.store.plain_path(added.name).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(mode(&path), 0o444);

        let from_plain = sent(&server.store, added.name).await;
        assert!(from_plain == stream, "a plain blob is packed as any other");
    }
}

#[tokio::test]
async fn what_cannot_be_compressed_grows_by_less_than_a_percent() {
    for bytes in [100_000, 5 * 1024 * 1024] {
        let content = random(bytes, 2);
        assert!(packed(&content).await.len() <= bytes + bytes / 1000 + 32);
    }
    assert!(packed(&text(1 << 20)).await.len() < (1 << 20) / 3);
}

#[tokio::test]
async fn executables_are_executable() {
    let scratch = Scratch::new();
    let content = b"#!/bin/sh\necho ran\n";
    let (name, stream) = (BlobName::of(content), packed(content).await);
    scratch
        .store
        .receive_plain(name, &mut &stream[..], true, BYTES_MAX)
        .await
        .unwrap();
    let path = scratch.store.plain_path(name).unwrap();
    assert_eq!(mode(&path), 0o555);
    // The same content as a file that is none.
    let other = scratch.store.plain_file(name, false).unwrap();
    assert_eq!(mode(&other), 0o444);
    assert_eq!(fs::read(&other).unwrap(), content);
    assert_eq!(scratch.store.plain_path(name).unwrap(), path);
}

#[test]
fn a_plain_file_is_made_of_a_packed_blob() {
    let scratch = Scratch::new();
    let name = scratch.store.add_bytes(b"content").unwrap();
    let path = scratch.store.plain_file(name, true).unwrap();
    assert_eq!(fs::read(path).unwrap(), b"content");
    assert!(scratch.store.has_plain(name) && scratch.store.has_packed(name));
}

#[tokio::test]
async fn files_are_added_without_blocking() {
    let scratch = Scratch::new();
    let file = scratch.file("content", b"content");
    let added = scratch.store.add_file_async(file, AddAs::Packed).await;
    assert!(scratch.store.has_packed(added.unwrap().name));
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let scratch = Scratch::new();
    let name = BlobName::of(b"nowhere");
    let error = scratch.store.send(name, &mut Vec::new()).await.unwrap_err();
    assert!(matches!(error, SendBlobError::Missing { .. }));
    assert!(error.to_string().contains(&name.to_string()));
    let error = scratch.store.read(name, BYTES_MAX).unwrap_err();
    assert!(matches!(error, ReadBlobError::Missing { .. }));
    assert!(scratch.store.plain_file(name, false).is_err());
    assert!(scratch.files().is_empty());
}

#[test]
fn no_more_is_read_than_wanted() {
    let scratch = Scratch::new();
    let file = scratch.file("content", b"content");
    for add_as in [AddAs::Packed, AddAs::Plain] {
        let scratch = Scratch::new();
        let name = scratch.store.add_file(&file, add_as).unwrap().name;
        assert!(scratch.store.read(name, 7).is_ok());
        let error = scratch.store.read(name, 6).unwrap_err();
        assert!(matches!(error, ReadBlobError::TooLarge { .. }), "{error}");
        assert!(scratch.store.read(name, 7).is_ok());
    }
}

pub(crate) fn mode(path: &std::path::Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

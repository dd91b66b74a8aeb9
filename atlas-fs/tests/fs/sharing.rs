//! One store, and files outside of it, with several users.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use atlas_fs::{AddAs, AddError, BlobName, ReadBlobError, SendBlobError, Store};

use crate::blobs::mode;
use crate::support::{BYTES_MAX, Scratch, files, packed, random};

#[tokio::test]
async fn two_may_receive_the_same_blob_at_once() {
    let scratch = Scratch::new();
    let content = random(3 << 20, 10);
    let (name, stream) = (BlobName::of(&content), packed(&content).await);
    let (mut one, mut two, mut three) = (&stream[..], &stream[..], &stream[..]);
    let store = &scratch.store;
    let (one, two, three) = tokio::join!(
        store.receive_plain(name, &mut one, false, BYTES_MAX),
        store.receive_plain(name, &mut two, false, BYTES_MAX),
        store.receive_packed(name, &mut three, BYTES_MAX),
    );
    assert_eq!(one.unwrap() + two.unwrap() + three.unwrap(), 9 << 20);
    assert_eq!(
        scratch.files(),
        [format!("{name}.packed"), format!("{name}.plain")]
    );
}

#[test]
fn leftovers_are_removed_when_a_store_is_opened_and_blobs_are_not() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".incoming-abc"), b"half").unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(files(folder.path()).is_empty());
    let name = store.add_bytes(b"whole").unwrap();
    // As long as somebody has it open, what looks left over may be his.
    fs::write(folder.path().join(".incoming-def"), b"half").unwrap();
    let other = Store::open(folder.path()).unwrap();
    assert_eq!(files(folder.path()).len(), 2);
    drop((store, other));
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(files(folder.path()), [format!("{name}.packed")]);
    assert!(store.has_packed(name));
}

#[test]
fn a_copied_file_stays_its_owners() {
    let scratch = Scratch::new();
    let path = scratch.file("mine", b"mine");
    let added = scratch.store.add_file(&path, AddAs::Plain).unwrap();
    fs::write(&path, b"changed").unwrap();
    assert_eq!(scratch.store.read(added.name, BYTES_MAX).unwrap(), b"mine");
}

#[test]
fn a_linked_file_is_not_copied() {
    let scratch = Scratch::new();
    let path = scratch.file("given", b"given");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let link = scratch.path("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let added = scratch.store.add_file(&link, AddAs::Linked).unwrap();
    assert_eq!(added.name, BlobName::of(b"given"));
    assert!(added.executable);
    let blob = scratch.store.plain_path(added.name).unwrap();
    assert_eq!(
        path.metadata().unwrap().ino(),
        blob.metadata().unwrap().ino()
    );
    assert_eq!(mode(&path), 0o555);
}

fn overwrite(path: &Path, content: &[u8]) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_blob_that_somebody_wrote_to_is_none_any_more() {
    let scratch = Scratch::new();
    let path = scratch.file("given", b"given");
    let name = scratch.store.add_file(&path, AddAs::Linked).unwrap().name;
    overwrite(&path, b"taken");
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    assert!(!scratch.store.has_plain(name));
    let stream = packed(b"given").await;
    scratch
        .store
        .receive_plain(name, &mut &stream[..], false, BYTES_MAX)
        .await
        .unwrap();
    let blob = scratch.store.plain_path(name).unwrap();
    assert_eq!(fs::read(blob).unwrap(), b"given");
}

/// Writes to a blob as a disk that fails does: nothing else of the file changes.
fn damage(path: &Path) {
    let metadata = path.metadata().unwrap();
    let mut content = fs::read(path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    overwrite(path, &content);
    let file = File::open(path).unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
    file.set_permissions(metadata.permissions()).unwrap();
}

#[tokio::test]
async fn damage_is_found_on_use_and_removed() {
    for add_as in [AddAs::Packed, AddAs::Plain] {
        let scratch = Scratch::new();
        let file = scratch.file("content", &random(300_000, 11));
        let name = scratch.store.add_file(&file, add_as).unwrap().name;
        damage(&scratch.store.folder().join(&scratch.files()[0]));
        let error = scratch.store.read(name, BYTES_MAX).unwrap_err();
        assert!(matches!(error, ReadBlobError::Damaged { .. }), "{error}");
        assert!(scratch.files().is_empty());
    }
    let scratch = Scratch::new();
    let name = scratch.store.add_bytes(&random(300_000, 11)).unwrap();
    scratch.store.plain_file(name, true).unwrap();
    scratch.store.verify(name).unwrap();
    damage(&scratch.store.folder().join(format!("{name}.packed")));
    let error = scratch.store.verify(name).unwrap_err();
    assert!(matches!(error, ReadBlobError::Damaged { .. }), "{error}");
    scratch.store.verify(name).unwrap();
    assert_eq!(scratch.files(), [format!("{name}.run")]);

    let scratch = Scratch::new();
    let file = scratch.file("content", &random(300_000, 12));
    let name = scratch.store.add_file(&file, AddAs::Plain).unwrap().name;
    damage(&scratch.store.plain_path(name).unwrap());
    let error = scratch.store.send(name, &mut Vec::new()).await.unwrap_err();
    assert!(matches!(error, SendBlobError::Damaged { .. }), "{error}");
    assert!(scratch.files().is_empty());
}

#[test]
fn what_is_no_file_is_not_added() {
    let scratch = Scratch::new();
    let socket = scratch.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [scratch.folder.path(), &socket, Path::new("/dev/null")] {
        let error = scratch.store.add_file(path, AddAs::Packed).unwrap_err();
        assert!(matches!(error, AddError::NotAFile { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()));
    }
    let nowhere = scratch.path("nowhere");
    let error = scratch.store.add_file(&nowhere, AddAs::Plain).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_file_that_grows_is_not_added() {
    // It is always longer than it says.
    let endless = Path::new("/proc/self/maps");
    if endless.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        let scratch = Scratch::new();
        let error = scratch.store.add_file(endless, AddAs::Packed).unwrap_err();
        assert!(matches!(error, AddError::Changed { .. }), "{error}");
        assert!(scratch.files().is_empty());
    }
}

#[tokio::test]
async fn a_sender_says_that_its_stream_broke() {
    let scratch = Scratch::new();
    let name = scratch.store.add_bytes(&random(1 << 20, 13)).unwrap();
    let (mut here, there) = tokio::io::duplex(1000);
    drop(there);
    let error = scratch.store.send(name, &mut here).await.unwrap_err();
    assert!(matches!(error, SendBlobError::Stream { .. }), "{error}");
}

//! Where nothing can be written: full disks and folders of others.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use atlas_fs::{AddAs, AddError, BlobName, ReceiveError, Store};

use crate::support::{BYTES_MAX, Scratch, packed, random};

/// Set in the process whose files must not be large.
const IN_CHILD: &str = "ATLAS_TEST_LITTLE_ROOM";

/// A limit of file sizes stands for a full disk: it comes in the middle of writing as well, and needs no rights to be set.
#[test]
fn a_full_disk_names_the_folder_and_leaves_nothing() {
    if env::var_os(IN_CHILD).is_some() {
        return;
    }
    let script = r#"trap "" XFSZ; ulimit -f 256; exec "$0" "$@""#;
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "room::with_little_room", "--nocapture"])
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    assert!(said.contains("refused for want of room"), "{said}");
}

#[tokio::test]
async fn with_little_room() {
    if env::var_os(IN_CHILD).is_none() {
        return;
    }
    let scratch = Scratch::new();
    let folder = scratch.store.folder().display().to_string();
    let content = random(2 << 20, 20);
    let (name, stream) = (BlobName::of(&content), {
        let mut stream = Vec::new();
        stream.extend((content.len() as u64).to_le_bytes());
        stream.extend(zstd::stream::encode_all(&content[..], 1).unwrap());
        stream
    });
    for form in 0..2 {
        let error = match form {
            0 => {
                let mut stream = &stream[..];
                let store = &scratch.store;
                store.receive_packed(name, &mut stream, BYTES_MAX).await
            }
            _ => {
                let mut stream = &stream[..];
                let store = &scratch.store;
                store
                    .receive_plain(name, &mut stream, true, BYTES_MAX)
                    .await
            }
        }
        .unwrap_err();
        assert!(matches!(&error, ReceiveError::File(error) if error.is_full()));
        assert!(error.to_string().contains(&folder), "{error}");
        assert!(scratch.files().is_empty());
    }
    let error = scratch.store.add_bytes(&content).unwrap_err();
    assert!(matches!(&error, AddError::File(error) if error.is_full()));
    assert!(scratch.files().is_empty());
    println!("refused for want of room");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let scratch = Scratch::new();
    let file = scratch.file("file", b"");
    for folder in [file.join("blobs"), file] {
        let error = Store::open(&folder).unwrap_err();
        assert!(error.to_string().contains(folder.to_str().unwrap()));
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            cause.contains("another") || cause.contains("move it away"),
            "{cause}"
        );
    }
}

#[tokio::test]
async fn a_read_only_folder_is_named() {
    let scratch = Scratch::new();
    let file = scratch.file("content", b"content");
    let name = scratch.store.add_bytes(b"other").unwrap();
    let folder = scratch.store.folder();
    fs::set_permissions(folder, Permissions::from_mode(0o500)).unwrap();
    // To some users permissions mean nothing.
    let is_refused = fs::write(folder.join("probe"), b"").is_err();
    if is_refused {
        for add_as in [AddAs::Packed, AddAs::Plain, AddAs::Linked] {
            let error = scratch.store.add_file(&file, add_as).unwrap_err();
            assert!(error.to_string().contains(folder.to_str().unwrap()));
        }
        let stream = packed(b"content").await;
        let asked = BlobName::of(b"content");
        let received = scratch
            .store
            .receive_packed(asked, &mut &stream[..], BYTES_MAX)
            .await;
        assert!(matches!(received, Err(ReceiveError::File(_))));
        assert!(scratch.store.read(name, BYTES_MAX).is_ok());
        assert!(scratch.store.trim(0, |_| false).is_err());
    }
    fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
}

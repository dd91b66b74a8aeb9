//! Where there is little room, or none.

use std::env;
use std::process::Command;

use atlas_fs::url::{Pins, Source, UrlError};
use rustix::io::Errno;

use crate::origin::Origin;
use crate::support::{Scratch, random, read};

/// Set in the process whose files must not be large.
const IN_CHILD: &str = "ATLAS_TEST_LITTLE_ROOM";

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_larger_than_the_quota_is_read_and_not_kept() {
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| options.quota = Some(2 << 20));
    let content = random(6 << 20, 1);
    origin.put("/x", content.clone());
    assert!(
        read(&scratch.files, &origin.url("/x"), &Pins::new())
            .await
            .unwrap()
            == content
    );
    let usage = scratch.files.usage().unwrap();
    assert!(usage.bytes <= 2 << 20, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_least_recently_goes_first_and_what_is_open_stays() {
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| options.quota = Some(8 << 20));
    let open_path = "/open";
    origin.put(open_path, random(1 << 20, 100));
    let open = scratch
        .files
        .open(&origin.url(open_path), &Pins::new())
        .await
        .unwrap();
    open.fetch_all().await.unwrap();
    for name in 0..20 {
        let path = format!("/{name}");
        origin.put(&path, random(1 << 20, name));
        assert!(
            read(&scratch.files, &origin.url(&path), &Pins::new())
                .await
                .unwrap()
                == random(1 << 20, name)
        );
        let usage = scratch.files.usage().unwrap();
        assert!(usage.bytes <= 8 << 20, "{usage:?}");
    }
    let bytes = origin.bytes();
    read(&scratch.files, &origin.url("/19"), &Pins::new())
        .await
        .unwrap();
    open.read_at(1000, &mut [0; 1000]).await.unwrap();
    assert_eq!(origin.bytes(), bytes, "they are still there");
    read(&scratch.files, &origin.url("/0"), &Pins::new())
        .await
        .unwrap();
    assert!(origin.bytes() > bytes, "it is gone");
    let usage = scratch.files.shrink_to(0).unwrap();
    assert_eq!(usage.files, 1, "the open one");
}

/// A limit of file sizes stands for a full disk: it needs no rights to be set.
#[test]
fn a_full_disk_is_told_with_the_folder() {
    if env::var_os(IN_CHILD).is_some() {
        return;
    }
    let script = r#"trap "" XFSZ; ulimit -f 256; exec "$0" "$@""#;
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "storing::with_little_room", "--nocapture"])
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    assert!(said.contains("refused for want of room"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_little_room() {
    if env::var_os(IN_CHILD).is_none() {
        return;
    }
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    origin.put("/small", random(1000, 1));
    origin.put("/large", random(4 << 20, 2));
    assert!(
        read(&scratch.files, &origin.url("/small"), &Pins::new())
            .await
            .is_ok()
    );
    let error = scratch
        .files
        .open(&origin.url("/large"), &Pins::new())
        .await
        .unwrap_err();
    assert!(matches!(error, UrlError::NoRoom { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::NOSPC.raw_os_error());
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("no room left in")
    );
    println!("refused for want of room");
}

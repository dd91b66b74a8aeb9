//! Trees go from a folder to another machine's and come back; what is hostile in them stays outside.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use atlas_fs::tree::{CopyOutError, GatherError, PlaceError, TreeEntry, TreeFile, TreePath};
use atlas_fs::{AddAs, BlobName, FileTree};

use crate::blobs::mode;
use crate::support::{BYTES_MAX, Scratch, sent};

fn paths(tree: &FileTree) -> Vec<&str> {
    tree.iter().map(|(path, _)| path.as_str()).collect()
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A folder and a file beside it, as a job's inputs.
fn inputs(scratch: &Scratch) -> Vec<PathBuf> {
    let folder = scratch.path("data");
    write(&folder.join("deep/er/table.csv"), b"1,2,3\n");
    write(&folder.join("empty file"), b"");
    fs::create_dir(folder.join("empty folder")).unwrap();
    let script = scratch.file("elsewhere/run.sh", b"#!/bin/sh\n");
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    symlink(&script, folder.join("link.sh")).unwrap();
    vec![folder, script]
}

#[tokio::test]
async fn a_tree_reaches_another_machine_and_its_outputs_come_back() {
    let (client, server) = (Scratch::new(), Scratch::new());
    let gathered = FileTree::of_inputs(&inputs(&client), &client.store, AddAs::Packed).unwrap();
    let tree = gathered.tree;
    let expected = [
        "data",
        "data/deep",
        "data/deep/er",
        "data/deep/er/table.csv",
        "data/empty file",
        "data/empty folder",
        "data/link.sh",
        "run.sh",
    ];
    assert_eq!(paths(&tree), expected);
    assert_eq!(tree.bytes(), 6 + 10 + 10);
    assert_eq!(gathered.followed, [client.path("data/link.sh")]);
    assert!(gathered.left_out.is_empty());

    // The tree is a blob as well.
    let name = client.store.add_bytes(&tree.to_bytes()).unwrap();
    let stream = sent(&client.store, name).await;
    server
        .store
        .receive_packed(name, &mut &stream[..], BYTES_MAX)
        .await
        .unwrap();
    let bytes = server.store.read(name, FileTree::BYTES_MAX as u64).unwrap();
    let tree = FileTree::from_bytes(&bytes).unwrap();
    for (_, file) in tree.files() {
        let stream = sent(&client.store, file.blob).await;
        server
            .store
            .receive_plain(file.blob, &mut &stream[..], file.executable, BYTES_MAX)
            .await
            .unwrap();
    }
    let folder = server.path("job");
    tree.place(&server.store, &folder).unwrap();
    let table = folder.join("data/deep/er/table.csv");
    assert_eq!(fs::read(&table).unwrap(), b"1,2,3\n");
    assert_eq!(mode(&table), 0o444);
    assert!(table.metadata().unwrap().nlink() > 1, "it is a hard link");
    assert_eq!(mode(&folder.join("data/link.sh")), 0o555);
    assert!(folder.join("data/empty folder").is_dir());

    write(&folder.join("data/result"), b"6\n");
    write(&folder.join("new/result"), b"7\n");
    let outputs = FileTree::of_outputs(&folder, &tree, &server.store, AddAs::Linked).unwrap();
    let expected = ["data/result", "new", "new/result"];
    assert_eq!(paths(&outputs.tree), expected);

    for (_, file) in outputs.tree.files() {
        let stream = sent(&server.store, file.blob).await;
        client
            .store
            .receive_packed(file.blob, &mut &stream[..], BYTES_MAX)
            .await
            .unwrap();
    }
    let results = client.path("results");
    write(&results.join("data/result"), b"of yesterday");
    outputs.tree.copy_out(&client.store, &results).unwrap();
    assert_eq!(fs::read(results.join("data/result")).unwrap(), b"6\n");
    fs::write(results.join("new/result"), b"the user's own").unwrap();
}

#[test]
fn what_was_changed_is_an_output() {
    let scratch = Scratch::new();
    let tree = FileTree::of_inputs(&inputs(&scratch), &scratch.store, AddAs::Plain)
        .unwrap()
        .tree;
    let folder = scratch.path("job");
    tree.place(&scratch.store, &folder).unwrap();
    let outputs = || FileTree::of_outputs(&folder, &tree, &scratch.store, AddAs::Packed).unwrap();
    assert!(outputs().tree.is_empty());

    let replace = |path: &str, content: &[u8]| {
        fs::remove_file(folder.join(path)).unwrap();
        fs::write(folder.join(path), content).unwrap();
    };
    // The same content in another file is no change.
    replace("data/deep/er/table.csv", b"1,2,3\n");
    assert!(outputs().tree.is_empty());
    replace("data/deep/er/table.csv", b"1,2,4\n");
    replace("data/empty file", b"now with content");
    replace("run.sh", b"#!/bin/sh\n");
    fs::remove_file(folder.join("data/link.sh")).unwrap();
    let changed = ["data/deep/er/table.csv", "data/empty file", "run.sh"];
    assert_eq!(
        paths(&outputs().tree),
        changed,
        "the last is not executable"
    );
}

#[test]
fn a_file_written_to_through_its_link_is_an_output_and_no_blob() {
    let scratch = Scratch::new();
    let tree = FileTree::of_inputs(&inputs(&scratch), &scratch.store, AddAs::Plain)
        .unwrap()
        .tree;
    let folder = scratch.path("job");
    tree.place(&scratch.store, &folder).unwrap();
    let table = folder.join("data/deep/er/table.csv");
    fs::set_permissions(&table, Permissions::from_mode(0o644)).unwrap();
    fs::write(&table, b"9,9,9\n").unwrap();
    let outputs = FileTree::of_outputs(&folder, &tree, &scratch.store, AddAs::Packed).unwrap();
    assert_eq!(paths(&outputs.tree), ["data/deep/er/table.csv"]);
    assert!(!scratch.store.has_plain(BlobName::of(b"1,2,3\n")));
}

#[test]
fn a_job_cannot_make_a_server_send_files_of_others() {
    let scratch = Scratch::new();
    let secret = scratch.file("secret", b"secret");
    let folder = scratch.path("job");
    write(&folder.join("result"), b"result");
    symlink(&secret, folder.join("stolen")).unwrap();
    symlink("../secret", folder.join("stolen too")).unwrap();
    symlink(scratch.folder.path(), folder.join("stolen folder")).unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    symlink("result", folder.join("alias")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    for add_as in [AddAs::Packed, AddAs::Plain, AddAs::Linked] {
        let gathered =
            FileTree::of_outputs(&folder, &FileTree::new(), &scratch.store, add_as).unwrap();
        assert_eq!(paths(&gathered.tree), ["alias", "result"]);
        assert_eq!(gathered.followed.len(), 1);
        let left_out: Vec<_> = gathered
            .left_out
            .iter()
            .map(|left_out| left_out.path.file_name().unwrap().to_str().unwrap())
            .collect();
        let expected = [
            "dangling",
            "socket",
            "stolen",
            "stolen folder",
            "stolen too",
        ];
        assert_eq!(left_out, expected);
    }
}

#[test]
fn outputs_that_may_not_be_read_do_not_spoil_the_others() {
    let scratch = Scratch::new();
    let folder = scratch.path("job");
    write(&folder.join("result"), b"result");
    write(&folder.join("hidden"), b"hidden");
    fs::create_dir(folder.join("hidden folder")).unwrap();
    let hide = |mode| {
        for name in ["hidden", "hidden folder"] {
            fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
        }
    };
    hide(0o000);
    // To some users permissions mean nothing.
    let is_hidden = fs::read(folder.join("hidden")).is_err();
    let gathered =
        FileTree::of_outputs(&folder, &FileTree::new(), &scratch.store, AddAs::Packed).unwrap();
    if is_hidden {
        assert_eq!(paths(&gathered.tree), ["result"]);
        assert_eq!(gathered.left_out.len(), 2);
    }
    hide(0o700);
}

#[test]
fn inputs_that_cannot_be_sent_are_named() {
    let scratch = Scratch::new();
    let gather = |paths: &[PathBuf]| {
        FileTree::of_inputs(paths, &scratch.store, AddAs::Packed)
            .map(|gathered| gathered.tree.len())
            .unwrap_err()
    };
    let (one, two) = (scratch.file("one/x", b""), scratch.file("two/x", b""));
    let error = gather(&[one.clone(), two.clone()]).to_string();
    assert!(error.contains(one.to_str().unwrap()) && error.contains(two.to_str().unwrap()));

    let folder = scratch.path("one");
    symlink("nowhere", folder.join("dangling")).unwrap();
    let error = gather(std::slice::from_ref(&folder));
    assert!(matches!(&error, GatherError::DanglingLink { path } if path.ends_with("dangling")));
    fs::remove_file(folder.join("dangling")).unwrap();

    symlink(".", folder.join("circle")).unwrap();
    let error = gather(std::slice::from_ref(&folder));
    assert!(matches!(&error, GatherError::LinkToFolder { path } if path.ends_with("circle")));
    fs::remove_file(folder.join("circle")).unwrap();

    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let error = gather(&[folder]);
    assert!(matches!(&error, GatherError::Special { path } if path.ends_with("socket")));
    assert!(matches!(gather(&["/".into()]), GatherError::NoName { .. }));
    assert!(matches!(
        gather(&["/dev/null".into()]),
        GatherError::Special { .. }
    ));
    let error = gather(&[scratch.path("nowhere")]).to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn a_folder_that_was_given_as_a_dot_has_its_name() {
    let scratch = Scratch::new();
    scratch.file("data/x", b"");
    let dot = scratch.path("data/sub/..");
    fs::create_dir(scratch.path("data/sub")).unwrap();
    let gathered = FileTree::of_inputs(&[dot], &scratch.store, AddAs::Packed).unwrap();
    assert_eq!(paths(&gathered.tree), ["data", "data/sub", "data/x"]);
}

fn tree_of(path: &str, content: &[u8], bytes: u64) -> FileTree {
    let mut tree = FileTree::new();
    let file = TreeFile {
        bytes,
        executable: false,
        blob: BlobName::of(content),
    };
    tree.insert(TreePath::new(path).unwrap(), TreeEntry::File(file))
        .unwrap();
    tree
}

#[test]
fn outputs_do_not_go_through_links_out_of_their_folder() {
    let scratch = Scratch::new();
    scratch.store.add_bytes(b"new").unwrap();
    let outside = scratch.file("outside/file", b"precious");
    let into = scratch.path("into");
    fs::create_dir_all(into.join("inside")).unwrap();
    symlink(scratch.path("outside"), into.join("folder")).unwrap();
    symlink(&outside, into.join("link")).unwrap();
    symlink("inside", into.join("alias")).unwrap();
    symlink(scratch.path("nowhere"), into.join("dangling")).unwrap();

    let copy_out = |path| tree_of(path, b"new", 3).copy_out(&scratch.store, &into);
    for path in [
        "folder/file",
        "folder/new",
        "folder/new/er",
        "dangling/x",
        "inside/../x",
    ] {
        if TreePath::new(path).is_ok() {
            let error = copy_out(path).unwrap_err();
            assert!(matches!(error, CopyOutError::Target(_)), "{error}");
            let placed = tree_of(path, b"new", 3).place(&scratch.store, &into);
            assert!(matches!(placed, Err(PlaceError::Target(_))));
        }
    }
    let error = copy_out("link").unwrap_err();
    assert!(matches!(error, CopyOutError::Link { .. }), "{error}");
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
    assert_eq!(fs::read_dir(scratch.path("outside")).unwrap().count(), 1);
    assert!(!scratch.path("nowhere").exists());

    copy_out("alias/x").unwrap();
    assert_eq!(fs::read(into.join("inside/x")).unwrap(), b"new");
    let error = copy_out("inside").unwrap_err();
    assert!(error.to_string().contains("inside"), "{error}");
    let error = copy_out("inside/x/y").unwrap_err();
    assert!(error.to_string().contains("inside/x"), "{error}");
}

#[test]
fn a_tree_that_lies_or_lacks_a_blob_says_for_which_file() {
    let scratch = Scratch::new();
    scratch.store.add_bytes(b"new").unwrap();
    let into = scratch.path("into");
    let error = tree_of("a", b"new", 4)
        .place(&scratch.store, &into)
        .unwrap_err();
    assert!(
        matches!(error, PlaceError::Length { bytes: 3, .. }),
        "{error}"
    );
    let error = tree_of("a", b"new", 4)
        .copy_out(&scratch.store, &into)
        .unwrap_err();
    assert!(
        matches!(error, CopyOutError::Length { bytes: 3, .. }),
        "{error}"
    );
    let error = tree_of("a", b"gone", 4)
        .place(&scratch.store, &into)
        .unwrap_err();
    assert!(matches!(error, PlaceError::Blob { .. }), "{error}");
    assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
    write(&into.join("a"), b"there");
    let error = tree_of("a", b"new", 3)
        .place(&scratch.store, &into)
        .unwrap_err();
    assert!(matches!(error, PlaceError::File(_)), "{error}");
}
